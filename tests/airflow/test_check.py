"""The check and the hook, without a DAG run: what they say of each broken link."""

# ruff: noqa: ARG001, ARG002, E501 - rows take what all rows take; the lines compared are whole sentences

from __future__ import annotations

import contextlib
import json
import logging
import socketserver
import threading
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE

from eks_cross_account import diagnose
from eks_cross_account.airflow import CrossAccountEksHook, EksTokenCheckOperator
from eks_cross_account.airflow._failures import EksFailure, EksMistake
from eks_cross_account.airflow._target import target_of
from eks_cross_account.airflow.check import report_of
from eks_cross_account.sandbox import Sandbox
from eks_cross_account.sandbox._ca import CertificateAuthority
from eks_cross_account.sandbox._grants import pod_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from ssl import SSLContext


class Pushed:
    """A task instance, as far as the operator asks for one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, include_prior_dates: bool) -> Any:
        assert (task_ids, include_prior_dates) == ("t", True)
        return self.values.get(key)


@pytest.fixture
def sandbox(eks_sandbox: Sandbox, connection: Any) -> Sandbox:
    connection("c", extra={"role_arn": ROLE})
    return eks_sandbox


def check(**given: Any) -> EksTokenCheckOperator:
    return EksTokenCheckOperator(**{"task_id": "t", "cluster_name": "analytics", "aws_conn_id": "c", **given})


def run(operator: EksTokenCheckOperator, pushed: Pushed) -> str:
    """Below Airflow's guard against execute() outside of a task."""
    execute = type(operator).execute
    return getattr(execute, "__wrapped__", execute)(operator, {"ti": pushed})


def test_all_is_well_where_the_api_server_names_the_tokens_identity(sandbox: Sandbox) -> None:
    pushed = Pushed()

    verdict = run(check(namespace="data"), pushed)

    assert verdict == "healthy"
    report = pushed.values["report"]
    assert (report["schema"], report["verdict"], report["root_cause"]) == ("eks-token-check/1", "healthy", None)
    assert report["identity"]["canonical_arn"] == ROLE
    ids = [finding["id"] for finding in report["findings"]]
    expected = ["connection", "credentials", "assume-role", "cluster", "token", "identity", "api-server", "permissions"]
    assert [name for name in ids if name in expected] == expected
    assert json.dumps(report)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the operator logs; by line of Airflow its logger is one of logging or of structlog."""
    lines: list[str] = []
    monkeypatch.setattr(EksTokenCheckOperator, "log", SimpleNamespace(info=lambda _, text: lines.append(text)))
    return lines


def test_a_red_run_says_what_has_changed_since_the_last_green_one(sandbox: Sandbox, logged: list[str]) -> None:
    pushed = Pushed()
    run(check(), pushed)
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)
    sandbox.cluster().version = "1.35"

    with pytest.raises(EksFailure):
        run(check(), pushed)

    said = logged[-1].splitlines()
    assert said[0] == "changed since the last healthy run of this task:"
    assert "  cluster version: 1.34 -> 1.35" in said
    assert "  API server: PASS api-server -> FAIL not-mapped" in said
    assert pushed.values["healthy_report"]["verdict"] == "healthy"


@pytest.mark.parametrize("held", [None, "x", {}, {"schema": "eks-token-check/1", "command": "check"}], ids=str)
def test_a_red_run_without_a_green_one_says_so(sandbox: Sandbox, logged: list[str], held: Any) -> None:
    pushed = Pushed()
    pushed.values["healthy_report"] = held
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)

    with pytest.raises(EksFailure):
        run(check(), pushed)

    assert ("no earlier run" if held is None else "could not be compared with: UnreadableReportError") in logged[-1]


@pytest.mark.parametrize(
    ("broken", "first"),
    [
        ({}, "To the owner of AWS account 222222222222, about EKS cluster analytics in eu-west-1:"),
        (
            {"aws_conn_id": "not_there"},
            "Nothing to ask another account's owner for: connection-missing is to be mended",
        ),
    ],
)
def test_a_red_run_logs_the_text_for_the_other_accounts_owner(
    sandbox: Sandbox, logged: list[str], broken: dict[str, Any], first: str
) -> None:
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)

    with pytest.raises((EksFailure, EksMistake)):
        run(check(**broken), Pushed())

    page, text, _ = logged
    assert page.startswith("cluster analytics, region ")
    assert text.startswith(first)


def no_such_role(sandbox: Sandbox) -> dict[str, Any]:
    return {"role_arn": "arn:aws:iam::222222222222:role/other"}


def not_mapped(sandbox: Sandbox) -> dict[str, Any]:
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)
    return {}


def no_such_cluster(sandbox: Sandbox) -> dict[str, Any]:
    return {"cluster_name": "other"}


def no_log(sandbox: Sandbox) -> dict[str, Any]:
    sandbox.deny("kubernetes:get pods/log", principal_arn=ROLE)
    return {"namespace": "data"}


def no_connection(sandbox: Sandbox) -> dict[str, Any]:
    return {"aws_conn_id": "not_there"}


@pytest.mark.parametrize(
    ("broken", "line", "kind"),
    [
        (no_such_role, "[eks:assume-role-denied] Cluster analytics: hop 2 of 2: arn:aws:iam::222222222222:role/cross-account-role may not assume arn:aws:iam::222222222222:role/other (hop 2 of 2)", EksFailure),
        (not_mapped, "[eks:not-mapped] Cluster analytics: API server: ", EksFailure),
        (no_such_cluster, "[eks:cluster-not-found] Cluster other: cluster: there is no cluster other in eu-west-1", EksFailure),
        (no_log, "[eks:forbidden] Cluster analytics: permissions: 1 of", EksFailure),
        (no_connection, "[eks:connection-missing] Cluster analytics: connection: Airflow connection 'not_there'", EksMistake),
    ],
)  # fmt: skip
def test_the_task_fails_with_the_first_broken_link(
    sandbox: Sandbox, broken: Callable[[Sandbox], dict[str, Any]], line: str, kind: type[Exception]
) -> None:
    pushed = Pushed()

    with pytest.raises(kind) as failed:
        run(check(**broken(sandbox)), pushed)

    assert str(failed.value).startswith(line)
    assert pushed.values["report"]["verdict"] == "broken"


@pytest.mark.parametrize(
    ("permissions", "missing"),
    [
        (None, set()),
        ({"xcom": True}, {"pods/exec"}),
        ({"xcom": "True", "deferrable": "False"}, {"pods/exec"}),  # as a template renders a param
        ({"xcom": "False"}, set()),
        ({"operator": "job"}, {"jobs"}),
    ],
)
@pytest.mark.skipif(version("apache-airflow-providers-cncf-kubernetes").startswith("7."), reason="it has no job")
def test_the_rights_asked_for_are_those_of_the_options(connection: Any, permissions: Any, missing: set[str]) -> None:
    connection("c", extra={"role_arn": ROLE})
    grants = [grant for grant in pod_runner("airflow-workers", "data") if "pods/exec" not in grant.resources]
    with Sandbox(grants=grants) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environ.items():
            patch.setenv(name, value)
        report = check(namespace="data", permissions=permissions).report()

    asked = (report.permissions or {})["rules"]
    assert {rule["resource"] for rule in asked if rule["allowed"] is False} == missing


def test_the_owners_report_is_joined_with_the_tasks(sandbox: Sandbox) -> None:
    import botocore.session  # noqa: PLC0415 - one use

    admin = sandbox.issue_session("arn:aws:iam::222222222222:role/cluster-admin")
    session = botocore.session.Session()
    session.set_credentials(admin.access_key, admin.secret_key, admin.token)
    sandbox.remove_access_entry(sandbox.cluster(), ROLE)
    owner = diagnose(cluster_name="analytics", region="eu-west-1", principal_arn=ROLE, session=session)

    report = report_of(target_of(check()), other_side=owner.to_json().encode())

    entries = owner.root_cause == "access-entry-missing"  # botocore before 1.34 knows of none
    assert report.root_cause == ("access-entry-missing" if entries else "not-mapped")
    assert [finding.id for finding in report.findings if finding.id == "other-side"] == ["other-side"]


def test_at_debug_the_probes_side_by_side_log_no_keys(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        report_of(target_of(check()))

    assert sandbox.requests
    for text in (sandbox.environ["AWS_SESSION_TOKEN"], "SecretAccessKey", "X-Amz-Signature", "k8s-aws-v1."):
        assert text not in caplog.text


def test_the_hook_gives_token_and_client(sandbox: Sandbox) -> None:
    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1")

    pods = hook.core_v1.list_namespaced_pod("data").items

    assert pods == []
    assert hook.get_token().value not in repr(hook.get_token())
    assert hook.test_connection() == (
        True,
        (
            "STS: arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c; cluster analytics: user "
            "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c"
        ),
    )


@pytest.mark.parametrize(
    ("given", "mapped", "text"),
    [
        ({"aws_conn_id": "not_there"}, True, "[eks:connection-missing] Airflow connection 'not_there' was not found"),
        ({}, False, f"[eks:unauthorized] Cluster analytics refused the token of {ROLE}: 401"),
    ],
)
def test_testing_the_hook_says_what_is_broken(sandbox: Sandbox, given: Any, mapped: Any, text: str) -> None:
    if not mapped:
        sandbox.remove_access_entry(sandbox.cluster(), ROLE)
    hook = CrossAccountEksHook(**{"aws_conn_id": "c", "cluster_name": "analytics", "region": "eu-west-1", **given})

    well, said = hook.test_connection()

    assert not well
    assert said.startswith(text)


class Answering(socketserver.ThreadingTCPServer):
    """Answers on loopback by TLS with this context, or by plain HTTP."""

    def __init__(self, context: SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._context = context
        self.endpoint = f"https://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                self._context.wrap_socket(request, server_side=True)
            else:
                request.recv(65_536)
                request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_trouble_of_tls_has_the_id_that_the_check_gives_it(sandbox: Sandbox, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, "another")
    with Answering(authority.context("elsewhere.example")) as another_name, Answering(None) as plain:
        rows = (
            (
                sandbox.cluster().endpoint,
                "wrong-certificate-authority",
                "its certificate is not of the CA that EKS gave",
            ),
            (another_name.endpoint, "tls-failed", "its certificate is for another name, or its dates are wrong"),
            (plain.endpoint, "tls-failed", "what answers breaks off, or speaks no TLS"),
        )

        for endpoint, found, why in rows:
            given = {"cluster_endpoint": endpoint, "cluster_ca": authority.base64_pem}
            hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1", **given)
            line = f"[eks:{found}] TLS to cluster analytics at {endpoint} failed: {why}. Retrying may help."
            assert hook.test_connection() == (False, line)


def test_a_failed_call_leaves_no_token_in_the_variables_of_its_frames(sandbox: Sandbox) -> None:
    import traceback  # noqa: PLC0415

    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1")
    sandbox.deny("kubernetes:list pods", principal_arn=ROLE)

    with pytest.raises(Exception, match="Forbidden") as failed:
        hook.core_v1.list_namespaced_pod("data")

    shown = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format())
    assert "in request" in shown
    assert "k8s-aws-v1." not in shown
