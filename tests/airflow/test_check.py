"""The check and the hook, without a DAG run: what they say of each broken link."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from kubeapi import KubeApi

from eks_cross_account.airflow import CrossAccountEksHook, EksTokenCheckOperator
from eks_cross_account.airflow._failures import EksFailure, EksMistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"


class Pushed:
    """A task instance, as far as the operator asks for one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value


@pytest.fixture
def api(eks_sandbox: Sandbox, tmp_path: Path, connection: Any) -> Iterator[KubeApi]:
    (tmp_path / "ca").mkdir()
    with KubeApi(tmp_path / "ca", eks_sandbox) as started:
        started.mapped = {ROLE}
        cluster = eks_sandbox.add_cluster("analytics")
        cluster.endpoint, cluster.certificate_authority = started.endpoint, started.authority.base64_pem
        connection("c", extra={"role_arn": ROLE})
        yield started


def check(**given: Any) -> EksTokenCheckOperator:
    return EksTokenCheckOperator(**{"task_id": "t", "cluster_name": "analytics", "aws_conn_id": "c", **given})


def run(operator: EksTokenCheckOperator, pushed: Pushed) -> str:
    """Below Airflow's guard against execute() outside of a task."""
    execute = type(operator).execute
    return getattr(execute, "__wrapped__", execute)(operator, {"ti": pushed})


def test_all_is_well_where_the_api_server_names_the_tokens_identity(api: KubeApi) -> None:
    pushed = Pushed()

    verdict = run(check(namespace="data"), pushed)

    assert verdict == "healthy"
    report = pushed.values["report"]
    assert (report["schema"], report["verdict"], report["root_cause"]) == ("eks-token-check/1", "healthy", None)
    assert report["identity"]["canonical_arn"] == ROLE
    assert [finding["id"] for finding in report["findings"]] == [
        "connection", "credentials", "assume-role", "cluster", "token", "identity", "api-server", "permissions",
    ]  # fmt: skip
    assert json.dumps(report)


def no_such_role(api: KubeApi, sandbox: Sandbox) -> dict[str, Any]:
    return {"role_arn": "arn:aws:iam::222222222222:role/other"}


def not_mapped(api: KubeApi, sandbox: Sandbox) -> dict[str, Any]:
    api.mapped = set()
    return {}


def no_such_cluster(api: KubeApi, sandbox: Sandbox) -> dict[str, Any]:
    return {"cluster_name": "other"}


def no_log(api: KubeApi, sandbox: Sandbox) -> dict[str, Any]:
    api.denied = {("get", "pods/log")}
    return {"namespace": "data"}


def no_connection(api: KubeApi, sandbox: Sandbox) -> dict[str, Any]:
    return {"aws_conn_id": "not_there"}


@pytest.mark.parametrize(
    ("broken", "line", "kind"),
    [
        (no_such_role, "[eks:assume-role-denied] Cluster analytics: hop 2 of 2: arn:aws:iam::222222222222:role/cross-account-role may not assume arn:aws:iam::222222222222:role/other (hop 2 of 2)", EksFailure),
        (not_mapped, "[eks:not-mapped] Cluster analytics: API server: refused the token (401), which STS knows", EksFailure),
        (no_such_cluster, "[eks:cluster-not-found] Cluster other: cluster: there is no cluster other in eu-west-1", EksFailure),
        (no_log, "[eks:forbidden] Cluster analytics: permissions: missing in namespace data: get pods/log", EksFailure),
        (no_connection, "[eks:connection-missing] Cluster analytics: connection: Airflow connection 'not_there'", EksMistake),
    ],
)  # fmt: skip
def test_the_task_fails_with_the_first_broken_link(
    api: KubeApi,
    eks_sandbox: Sandbox,
    broken: Callable[[KubeApi, Sandbox], dict[str, Any]],
    line: str,
    kind: type[Exception],
) -> None:
    pushed = Pushed()

    with pytest.raises(kind) as failed:
        run(check(**broken(api, eks_sandbox)), pushed)

    assert str(failed.value).startswith(line)
    assert pushed.values["report"]["verdict"] == "broken"


def test_the_hook_gives_token_and_client(api: KubeApi) -> None:
    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1")

    pods = hook.core_v1.list_namespaced_pod("data").items

    assert pods == []
    assert hook.get_token().value not in repr(hook.get_token())
    assert hook.test_connection() == (
        True,
        "STS: arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c; cluster analytics: user "
        "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c",
    )


@pytest.mark.parametrize(
    ("given", "mapped", "text"),
    [
        ({"aws_conn_id": "not_there"}, {ROLE}, "[eks:connection-missing] Airflow connection 'not_there' was not found"),
        ({}, set(), f"[eks:unauthorized] Cluster analytics refused the token of {ROLE}: 401"),
    ],
)
def test_testing_the_hook_says_what_is_broken(api: KubeApi, given: Any, mapped: Any, text: str) -> None:
    api.mapped = mapped
    hook = CrossAccountEksHook(**{"aws_conn_id": "c", "cluster_name": "analytics", "region": "eu-west-1", **given})

    well, said = hook.test_connection()

    assert not well
    assert said.startswith(text)


def test_a_failed_call_leaves_no_token_in_the_variables_of_its_frames(api: KubeApi) -> None:
    import traceback  # noqa: PLC0415

    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1")
    api.denied = {("list", "pods")}

    with pytest.raises(Exception, match="Forbidden") as failed:
        hook.core_v1.list_namespaced_pod("data")

    shown = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format())
    assert "in request" in shown
    assert "k8s-aws-v1." not in shown
