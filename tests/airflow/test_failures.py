"""What a failure says first, and whether retries go on."""

# ruff: noqa: E501 - the lines compared are whole sentences

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from airflow.exceptions import AirflowException
from kubernetes.client import ApiException

from eks_cross_account.airflow import _failure_page, _failures
from eks_cross_account.airflow._connections import ConnectionMissingError
from eks_cross_account.airflow._failures import EksFailure, EksMistake, denial_of, failure_of, named_failures
from eks_cross_account.airflow._target import Target
from eks_cross_account.diagnosis import Denial, explain_forbidden
from eks_cross_account.diagnosis.forbidden import Kind
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsUnavailableError,
    StsUnavailableError,
    UnknownRegionError,
)

if TYPE_CHECKING:
    from eks_cross_account.airflow._connections import Access

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
USER = "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c"
DENIED = f'pods "report-1" is forbidden: User "{USER}" cannot get resource "pods/log" in API group "" in the namespace "data"'
STATUS = '{"kind":"Status","message":"' + DENIED.replace('"', '\\"') + '","reason":"Forbidden","code":403}'


def access() -> Any:
    connected = SimpleNamespace(
        target=Target("analytics"),
        region="eu-west-1",
        region_from="argument",
        label="connection c",
        roles=(ROLE,),
    )
    return SimpleNamespace(connected=connected, known_cluster=lambda: None, provider=SimpleNamespace(peek=lambda: None))


def api_error(status: int, body: str = "") -> ApiException:
    error = ApiException(status=status, reason="Forbidden" if status == 403 else "Unauthorized")
    error.body = body
    return error


def status(message: str) -> str:
    return json.dumps({"kind": "Status", "message": message, "reason": "Forbidden", "code": 403})


def behind(error: BaseException, *, cause: BaseException) -> BaseException:
    error.__context__ = cause
    return error


def of(error: BaseException, given: Access | None = None) -> Any:
    return failure_of(error, lambda: Target("analytics"), given or access())


AWS_DENIED = (
    "User: arn:aws:sts::111111111111:assumed-role/mwaa-exec/x is not authorized to perform: sts:AssumeRole on resource: "
    f"{ROLE} because no resource-based policy allows the sts:AssumeRole action"
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            api_error(403, STATUS),
            (f'[eks:forbidden] {USER} may not "get pods/log" in namespace data on cluster analytics (403). Mend: owner of '
            "the cluster, account 222222222222: a Role and a RoleBinding. Retrying will not help."),
        ),
        (  # the provider's own exception, with the 403 behind it
            behind(AirflowException("Pod report-1 returned a failure."), cause=api_error(403, STATUS)),
            (f'[eks:forbidden] {USER} may not "get pods/log" in namespace data on cluster analytics (403). Mend: owner of '
            "the cluster, account 222222222222: a Role and a RoleBinding. Retrying will not help."),
        ),
        (  # exec, as websocket-client says it
            ApiException(status=0, reason=f"Handshake status 403 Forbidden -+-+- {{}} -+-+- b'{STATUS}'"),
            (f'[eks:forbidden] {USER} may not "get pods/log" in namespace data on cluster analytics (403). Mend: owner of '
            "the cluster, account 222222222222: a Role and a RoleBinding. Retrying will not help."),
        ),
        (  # a denial that says nothing (pods/exec without create, on 1.35)
            api_error(403, '{"message":"pods \\"p1\\" is forbidden: "}'),
            (f"[eks:forbidden] {ROLE} may not what this task asked for on cluster analytics (403). Mend: owner of the "
            'cluster, account 222222222222: "create pods/exec" in the Role beside "get": Kubernetes 1.35 and newer ask for '
            "both. Retrying will not help."),
        ),
        (  # brought from the triggerer as text
            AirflowException(f"Traceback (most recent call last):\nkubernetes_asyncio.client.ApiException: (403)\n{STATUS}"),
            (f'[eks:forbidden] {USER} may not "get pods/log" in namespace data on cluster analytics (403). Mend: owner of '
            "the cluster, account 222222222222: a Role and a RoleBinding. Retrying will not help."),
        ),
        (
            api_error(401),
            (f"[eks:unauthorized] Cluster analytics refused the token of {ROLE}: 401. Mend: owner of account 222222222222, "
            "if STS knows the token (no access entry, or one older than the role). Retrying will not help."),
        ),
        (
            AssumeRoleError(
                f"AssumeRole of {ROLE} (hop 1 of 1, connection c) was refused: AccessDenied: x (external id sent: no)",
                role_arn=ROLE,
                code="AccessDenied",
                aws_message=AWS_DENIED,
                hop=1,
            ),
            (f"[eks:assume-role-denied] arn:aws:sts::111111111111:assumed-role/mwaa-exec/x may not assume {ROLE} (hop 1 of "
            "1, connection c; external id sent: no). Mend: trust policy, owner of account 222222222222. Retrying will "
            "not help."),
        ),
        (
            StsUnavailableError("no answer from sts.eu-west-1.amazonaws.com: no connection"),
            ("[eks:sts-unreachable] no answer from sts.eu-west-1.amazonaws.com: no connection (connection c). Route, proxy "
            "or VPC endpoint of this machine. Retrying may help."),
        ),
        (
            CredentialsUnavailableError("connection c: Unable to locate credentials"),
            "[eks:credentials-missing] connection c: Unable to locate credentials (connection c). Retrying will not help.",
        ),
        (
            ClusterError("there is no cluster analytics", code="ResourceNotFoundException"),
            f"[eks:cluster-not-found] there is no cluster analytics; asked as {ROLE}. Retrying will not help.",
        ),
        (
            AirflowException("Traceback ...\n[eks:trigger-version] a newer one. Retrying will not help.\nmore"),
            "[eks:trigger-version] a newer one. Retrying will not help.",
        ),
    ],
    ids=["403", "403 behind", "403 of exec", "403 that says nothing", "403 of the trigger", "401", "assume role", "sts",
         "no credentials", "no cluster", "said in the triggerer"],
)  # fmt: skip
def test_the_first_line_stands_alone(error: BaseException, line: str) -> None:
    assert of(error).line == line


def may_not(what: str, *, user: str = "u") -> str:
    return f'x is forbidden: User "{user}" cannot {what}'


LIST = 'list resource "pods" in API group ""'
REFUSED = 'pods "p" is forbidden: '


RIGHTS = (
    (may_not(f'{LIST} in the namespace "data"'), "a Role and a RoleBinding"),
    (may_not(f"{LIST} at the cluster scope"), "a ClusterRole and a ClusterRoleBinding, or ask in one namespace"),
    (may_not(f'{LIST} in the namespace "data"', user=""), "a user name in the row of aws-auth, which has none or a number"),
    (may_not(f'{LIST} in the namespace "data"', user="system:node:ip-10"), "a mapping that is not for nodes, then a Role and a RoleBinding"),
    (may_not('impersonate resource "users" in API group "" at the cluster scope'), "a ClusterRole with the verb impersonate, and a ClusterRoleBinding"),
    ('forbidden: User "u" cannot get path "/metrics"', "a ClusterRole with this path in nonResourceURLs, and a ClusterRoleBinding"),
    ('roles "r" is forbidden: user "u" (groups=["g"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["get"]}', "every right that is to be granted, or the verbs escalate and bind"),
    (REFUSED, '"create pods/exec" in the Role beside "get": Kubernetes 1.35 and newer ask for both'),
    ("x is forbidden: what nobody has heard of", "the answer does not say what is missing; often a Role and a RoleBinding"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "mend"),
    RIGHTS,
    ids=["namespace", "cluster", "no user name", "node", "impersonation", "path", "escalation", "exec", "unclear"],
)
def test_a_missing_right_is_asked_for_in_the_kind_of_role_that_can_give_it(message: str, mend: str) -> None:
    failure = of(api_error(403, status(message)))

    assert failure.id == "forbidden"
    assert failure.line.endswith(
        f"(403). Mend: owner of the cluster, account 222222222222: {mend}. Retrying will not help."
    )


ADMISSION = (
    (f"{REFUSED}exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1", "quota", "the namespace's ResourceQuota is used up"),
    (f'{REFUSED}violates PodSecurity "restricted:latest": runAsNonRoot != true', "pod-security", "change its securityContext"),
    (f"{REFUSED}[maximum cpu usage per Container is 1, but limit is 2]", "limit-range", "the namespace's LimitRange"),
    (f'{REFUSED}error looking up service account data/x: serviceaccount "x" not found', "service-account", "make it, or name another"),
    (f"{REFUSED}no PriorityClass with name high was found", "priority-class", "the pod's PriorityClass does not exist"),
    (f"{REFUSED}unable to create new content in namespace data because it is being terminated", "namespace-terminating", "the namespace is being deleted"),
    (f"{REFUSED}cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>", "owner-reference", "leave blockOwnerDeletion out"),
    (f"{REFUSED}not yet ready to handle request", "not-ready", "try again"),
    ('admission webhook "w.example" denied the request: no latest tag', "webhook", "ask whoever runs it"),
    (f"{REFUSED}ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", "policy", "ask the cluster's owner"),
)  # fmt: skip


@pytest.mark.parametrize(("message", "kind", "mend"), ADMISSION, ids=[kind for _, kind, _ in ADMISSION])
def test_what_admission_refuses_is_told_by_its_own_reason_and_asks_for_no_role(
    message: str, kind: str, mend: str
) -> None:
    failure = of(api_error(403, status(message)))

    assert failure.line.startswith(f"[eks:admission-denied] Cluster analytics (403): admission refused it ({kind})")
    assert mend in failure.line
    assert "a RoleBinding" not in failure.line
    assert failure.retry == (kind == "not-ready")


def test_every_kind_of_denial_has_a_row_here_or_is_awss() -> None:
    told = {
        denial.kind
        for row in (RIGHTS, ADMISSION)
        for message, *_ in row
        for denial in explain_forbidden(status(message))
    }

    assert told | {"aws"} == set(get_args(Kind))


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), AirflowException("Pod report-1 returned a failure."), api_error(404), api_error(500)],
    ids=["a bug", "a pod that failed", "404", "500"],
)
def test_what_is_not_ours_passes_as_it_is(error: BaseException) -> None:
    assert of(error) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionMissingError("Airflow connection 'c' was not found here", conn_id="c"), EksMistake),
        (UnknownRegionError("no region"), EksMistake),
        (api_error(401), EksFailure),
        (api_error(403), EksFailure),
        (AssumeRoleError("denied", code="AccessDenied"), EksFailure),
        (CredentialsUnavailableError("container endpoint had a bad minute"), EksFailure),
        (StsUnavailableError("throttled"), EksFailure),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_mistakes_in_dag_or_connection_end_the_retries(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as named, naming(diagnose=False):
        raise error

    assert named.value.__cause__ is error


def naming(*, diagnose: bool, given: Any = None) -> Any:
    return named_failures(lambda: Target("analytics"), lambda: given or access(), diagnose=diagnose, pod=lambda: "")


def test_impossible_arguments_end_the_retries() -> None:
    def target() -> Target:
        raise ValueError("external_id and session_name belong to a role_arn, which is missing")

    with (
        pytest.raises(EksMistake, match=r"^\[eks:arguments\] external_id and session_name belong"),
        named_failures(target, lambda: None, diagnose=True, pod=lambda: ""),
    ):
        target()


def test_the_page_is_one_ascii_record_once_per_cluster_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, _failures.__name__):
        for _ in range(3):
            with pytest.raises(EksFailure), naming(diagnose=True):
                raise AssumeRoleError("denied by Jos\u00e9 \x1b[31m", role_arn=ROLE, code="RegionDisabledException")

    said = [record.getMessage() for record in caplog.records if record.name == _failures.__name__]
    assert len(said) == 1
    assert said[0].isascii()
    assert "\x1b" not in said[0]
    assert "verdict: broken - root cause: assume-role-refused" in said[0]


def test_a_pod_that_was_left_is_in_the_first_line() -> None:
    with (
        pytest.raises(EksFailure) as named,
        named_failures(
            lambda: Target("analytics"),
            access,
            diagnose=False,
            pod=lambda: "The pod is running and was NOT deleted: pod report-1",
        ),
    ):
        raise api_error(403, STATUS)

    assert str(named.value).endswith(
        "a RoleBinding. The pod is running and was NOT deleted: pod report-1. Retrying will not help."
    )


@pytest.mark.parametrize("text", [DENIED, STATUS, STATUS.replace("\\", "\\\\"), f"b'{STATUS}'"])
def test_a_denial_is_read_however_often_it_was_quoted(text: str) -> None:
    assert denial_of(text) == Denial("rbac", USER, "get", "pods", "log", "", "data", "report-1", "namespace")


def test_what_the_triggerer_named_keeps_its_name_and_ends_the_retries() -> None:
    target = Target("analytics", "eu-west-1", "not_there")
    said = AirflowException(
        "Pod report returned a failure: [eks:connection-missing] Airflow connection 'not_there' was not found here. "
        "Retrying will not help.\nTraceback (most recent call last): ..."
    )

    failure = failure_of(said, lambda: target, None)

    assert failure is not None
    assert (failure.id, failure.for_good) == ("connection-missing", True)
    assert failure.line.count("Retrying will not help.") == 1


WRONG_ANSWERS: dict[str, Any] = {
    "a list": [],
    "text": "x",
    "nothing": None,
    "a status that is a list": {"status": [1]},
    "a status that is text": {"status": "denied"},
    "a user that is a list": {"status": {"userInfo": ["x"]}},
    "groups that are a number": {"status": {"userInfo": {"username": 7, "groups": 7}}},
    "groups of mappings": {"status": {"userInfo": {"username": {}, "groups": [{}, None]}}},
    "allowed that is text": {"status": {"allowed": "false", "reason": ["x"]}},
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_cluster_that_answers_with_other_types_does_not_hide_the_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(_failure_page, "review", lambda *_, **__: WRONG_ANSWERS[name])

    with (
        pytest.raises(EksFailure, match=r"\[eks:forbidden\]"),
        named_failures(lambda: Target("analytics"), access, diagnose=True, pod=lambda: ""),
    ):
        raise api_error(403, STATUS)

    assert "is allowed now" not in caplog.text


def test_a_token_that_a_server_repeats_is_not_in_the_line() -> None:
    token = "k8s-aws-v1.aHR0cHM6Ly9zdHMuZXUtd2VzdC0xLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1HZXRDYWxsZXI"
    error = api_error(403, status(f'pods "p" is forbidden: exceeded quota: {token}'))

    assert "k8s-aws-v1.(hidden)" in of(error).line
    assert token not in of(error).line
