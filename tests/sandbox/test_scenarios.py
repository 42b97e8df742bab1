"""What is broken, and the one cause that `check` puts on top: on the sandbox, and on the real cluster."""

from __future__ import annotations

import base64
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from clusters import ADMIN, BARE, WORKER, B

from eks_cross_account import Cluster, RoleHop, diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusters import Target

    from eks_cross_account.diagnosis import Report

pytestmark = pytest.mark.skipif(
    tuple(map(int, version("botocore").split(".")[:2])) < (1, 34), reason="this botocore is older than access entries"
)
EXECUTION = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
SEEING = f"arn:aws:iam::{B}:role/team/seeing"  # may look at its own mapping, and has none
LOOK = ("eks:Describe*", "eks:List*", "iam:GetRole")
AGO = timedelta(minutes=10)
SEEING_WITHOUT_PATH = SEEING.replace("team/", "")


@pytest.fixture(autouse=True)
def account_a(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a task in account A, and a role in B that is ten minutes old."""
    for name, value in target.sandbox.environ.items():
        monkeypatch.setenv(name, value)
    target.sandbox.add_role(SEEING, trust=[EXECUTION], allow=LOOK).created -= AGO


def entered(target: Target, **entry: Any) -> None:
    """An access entry that has settled long ago."""
    made = target.add_access_entry(SEEING, **entry)
    made.created = made.modified = made.created - AGO / 2


# --- what is done, and what is asked then: arguments of diagnose


def asked(**arguments: Any) -> Callable[[Target], dict[str, Any]]:
    return lambda _: arguments


def as_seeing(_: Target) -> dict[str, Any]:
    return {"role_arn": SEEING}


def older_than_its_role(target: Target) -> dict[str, Any]:
    entered(target)
    target.sandbox.delete_role(SEEING)
    target.sandbox.add_role(SEEING, trust=[EXECUTION], allow=LOOK)
    return {"role_arn": SEEING}


def for_nodes(target: Target) -> dict[str, Any]:
    entered(target, username="system:node:{{EC2PrivateDNSName}}", entry_type="EC2_LINUX")
    return {"role_arn": SEEING}


def a_row_in_api_mode(target: Target) -> dict[str, Any]:
    target.set_aws_auth(row(SEEING_WITHOUT_PATH))
    target.set_mode("API")
    return as_owner(target)


def a_row(arn: str, username: str = "airflow") -> Callable[[Target], dict[str, Any]]:
    def write(target: Target) -> dict[str, Any]:
        target.set_aws_auth(row(arn, username))
        return as_owner(target)

    return write


def row(arn: str, username: str = "airflow") -> dict[str, str]:
    return {"mapRoles": f"- rolearn: {arn}\n  username: '{username}'\n  groups: [airflow-workers]\n"}


def damaged(target: Target) -> dict[str, Any]:
    target.set_aws_auth({"mapRoles": "- rolearn: [\n"})
    return as_owner(target)


def no_such_role(target: Target) -> dict[str, Any]:
    return {**as_owner(target), "principal_arn": f"arn:aws:iam::{B}:role/gone"}


def as_owner(target: Target) -> dict[str, Any]:
    """The cluster's owner, about the role, with credentials of the administrator."""
    return {"principal_arn": SEEING, "session": session_of(target, ADMIN)}


def session_of(target: Target, role: str, **life: Any) -> Any:
    import boto3  # noqa: PLC0415 - one use

    keys = target.sandbox.issue_session(role, **life)
    return boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name="eu-west-1")


def an_ended_session(target: Target) -> dict[str, Any]:
    return {"session": session_of(target, EXECUTION, life=timedelta(minutes=-1)), "role_arn": WORKER}


def a_revoked_key(target: Target) -> dict[str, Any]:
    keys = target.sandbox.issue_session(EXECUTION)
    target.sandbox.revoke(keys)
    import boto3  # noqa: PLC0415 - as above

    made = boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name="eu-west-1")
    return {"session": made, "role_arn": WORKER}


def a_role_that_trusts_nobody(target: Target) -> dict[str, Any]:
    target.sandbox.add_role(f"arn:aws:iam::{B}:role/shut")
    return {"role_arn": f"arn:aws:iam::{B}:role/shut"}


def a_hop_that_is_denied(target: Target) -> dict[str, Any]:
    target.sandbox.deny("sts:AssumeRole", principal_arn=EXECUTION)
    return {"role_arn": WORKER}


def an_external_id_that_is_wanted(target: Target) -> dict[str, Any]:
    from eks_cross_account.sandbox import trust_policy  # noqa: PLC0415 - one use

    target.sandbox.add_role(f"arn:aws:iam::{B}:role/partner", trust=trust_policy(EXECUTION, external_id="x-7"))
    return {"role_arn": f"arn:aws:iam::{B}:role/partner"}


def a_second_hop(target: Target) -> dict[str, Any]:
    target.sandbox.add_role(f"arn:aws:iam::{B}:role/last", trust=[EXECUTION])
    return {"role_hops": [RoleHop(SEEING), RoleHop(f"arn:aws:iam::{B}:role/last")]}


def described_to_nobody(target: Target) -> dict[str, Any]:
    target.sandbox.deny("eks:DescribeCluster")
    return {"role_arn": WORKER}


def by_hand(**changed: str) -> Callable[[Target], dict[str, Any]]:
    """The cluster's data from elsewhere: nobody here may describe it."""

    def make(target: Target) -> dict[str, Any]:
        target.sandbox.deny("eks:DescribeCluster")
        here = target.cluster
        given = {"endpoint": here.endpoint, "certificate_authority": here.certificate_authority, **changed}
        return {"role_arn": WORKER, "cluster": Cluster("analytics", **given)}

    return make


def as_the_execution_role(target: Target) -> dict[str, Any]:
    return {**by_hand()(target), "role_arn": None}


def an_endpoint_of_yesterday(target: Target) -> dict[str, Any]:
    """It is given by hand, and EKS says another."""
    here = target.cluster
    return {"role_arn": WORKER, "cluster": Cluster("analytics", "https://127.0.0.1:1", here.certificate_authority)}


def another_authority(target: Target) -> dict[str, Any]:
    return by_hand(certificate_authority=aws_authority(target))(target)


def no_kubernetes(target: Target) -> dict[str, Any]:
    """The endpoint leads to something else, with a certificate of the very CA that is told."""
    endpoint = f"https://127.0.0.1:{target.sandbox._tls_port}"
    return by_hand(endpoint=endpoint, certificate_authority=aws_authority(target))(target)


def aws_authority(target: Target) -> str:
    return base64.b64encode(target.sandbox._authority.pem).decode()


def throttled(target: Target) -> dict[str, Any]:
    target.sandbox.throttle("sts:GetCallerIdentity")
    return {"role_arn": WORKER}


def without_path_in_mode_config_map(target: Target) -> dict[str, Any]:
    target.set_mode("CONFIG_MAP")
    return {"role_arn": SEEING}


@pytest.mark.parametrize(
    ("scene", "root", "verdict"),
    [
        (asked(role_arn=WORKER), None, "healthy"),
        (as_the_execution_role, "not-mapped", "broken"),  # as the origin issue has it
        (as_seeing, "access-entry-missing", "broken"),
        (older_than_its_role, "access-entry-stale", "broken"),
        (for_nodes, "access-entry-for-nodes", "broken"),
        (without_path_in_mode_config_map, "not-mapped", "broken"),
        (as_owner, "access-entry-missing", "broken"),
        (a_row(SEEING), "aws-auth-role-path", "broken"),
        (a_row(f"arn:aws:sts::{B}:assumed-role/seeing/s"), "aws-auth-role-path", "broken"),
        (a_row(SEEING_WITHOUT_PATH, "system:node:{{EC2PrivateDNSName}}"), "aws-auth-for-nodes", "broken"),
        (a_row(SEEING_WITHOUT_PATH), None, "healthy"),
        (a_row_in_api_mode, "aws-auth-ignored", "broken"),
        (damaged, "aws-auth-damaged", "broken"),
        (no_such_role, "role-missing", "broken"),
        (a_role_that_trusts_nobody, "assume-role-denied", "broken"),
        (a_hop_that_is_denied, "assume-role-denied", "broken"),
        (an_external_id_that_is_wanted, "assume-role-denied", "broken"),
        (a_second_hop, "assume-role-denied", "broken"),
        (an_ended_session, "credentials-expired", "broken"),
        (a_revoked_key, "credentials-invalid", "broken"),
        (asked(role_arn=WORKER, profile="no-such"), "credentials-missing", "broken"),
        (asked(role_arn=WORKER, cluster_name="other"), "cluster-not-found", "broken"),
        (asked(role_arn=WORKER, region="us-east-2"), "cluster-not-found", "broken"),
        (described_to_nobody, None, "unknown"),
        (by_hand(endpoint="https://127.0.0.1:1"), "unreachable", "broken"),
        (an_endpoint_of_yesterday, "other-cluster", "broken"),
        (another_authority, "wrong-certificate-authority", "broken"),
        (no_kubernetes, "not-kubernetes", "broken"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_one_cause_is_on_top_and_it_is_the_right_one(
    target: Target, scene: Callable[[Target], dict[str, Any]], root: str | None, verdict: str
) -> None:
    report = report_of(scene(target))

    assert (report.root_cause, report.verdict) == (root, verdict), report.to_text()
    if verdict == "healthy":
        assert {finding.state for finding in report.findings} <= {"PASS", "SKIP"}, report.to_text()


def report_of(arguments: dict[str, Any]) -> Report:
    return diagnose(**{"cluster_name": "analytics", **arguments})


def test_an_sts_that_throttles_everybody_is_no_verdict_on_the_chain(target: Target) -> None:
    report = report_of(throttled(target))

    assert report.root_cause in {None, "unauthorized"}, report.to_text()
    assert "sts-unreachable" in {finding.id for finding in report.findings}


def test_an_entry_that_allows_nothing_is_a_warning_to_its_owner(target: Target) -> None:
    target.sandbox._world.roles[BARE].created -= 2 * AGO
    target.world.entries[BARE].created -= AGO

    report = report_of({"principal_arn": BARE, "session": session_of(target, ADMIN)})

    assert "access-entry-without-rights" in {finding.id for finding in report.findings}, report.to_text()


@pytest.mark.parametrize("mend", ["entry", "row"])
def test_what_the_fix_says_mends_it_at_once(target: Target, mend: str) -> None:
    broken = report_of({"role_arn": SEEING})
    if mend == "entry":
        entered(target, groups=("airflow-workers",))
    else:
        target.set_aws_auth(row(SEEING_WITHOUT_PATH))

    mended = report_of({"role_arn": SEEING})

    assert (broken.root_cause, mended.verdict) == ("access-entry-missing", "healthy"), mended.to_text()
