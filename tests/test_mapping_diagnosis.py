"""Why a cluster does not know an identity that AWS knows, seen by the task and by the owner, on the sandbox.

Each cause is on top, with the 401 as its consequence, and the remedy it prints mends it.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from test_diagnosis import run_as_owner

from eks_cross_account import InvalidArnError, diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from eks_cross_account.diagnosis import Finding, Report
    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/team/seeing"
ADMIN = f"arn:aws:iam::{B}:role/cluster-admin"
needs_access_entries = pytest.mark.skipif(
    tuple(map(int, version("botocore").split(".")[:2])) < (1, 34), reason="this botocore is older than access entries"
)
pytestmark = needs_access_entries
LOOK = ("eks:Describe*", "eks:List*", "iam:GetRole")
AGO = timedelta(minutes=10)


@pytest.fixture
def world(eks_sandbox: Sandbox) -> Sandbox:
    """With a role that may look at its own mapping, and has none; whatever is made is ten minutes old in the end."""
    eks_sandbox.clock.advance(-AGO)
    eks_sandbox.add_role(ROLE, trust=[EXECUTION], allow=LOOK)
    return eks_sandbox


def now(world: Sandbox) -> None:
    world.clock.advance(AGO)


def as_task(role: str = ROLE) -> Report:
    return diagnose(cluster_name="analytics", role_arn=role)


def as_owner(world: Sandbox, monkeypatch: pytest.MonkeyPatch, principal: str = ROLE) -> Report:
    """With the credentials of the cluster's administrator in the environment."""
    keys = world.issue_session(ADMIN)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
        patch.setenv("AWS_SESSION_TOKEN", keys.token or "")
        return diagnose(cluster_name="analytics", principal_arn=principal)


def finding(report: Report, finding_id: str | None = None) -> Finding:
    return next(found for found in report.findings if found.id == (finding_id or report.root_cause))


def none(world: Sandbox) -> None:
    """Nothing maps it."""
    del world


def other_role(world: Sandbox) -> None:
    world.add_role(f"arn:aws:iam::{B}:role/other/seeing-not", trust=[EXECUTION])
    world.add_access_entry(world.cluster(), f"arn:aws:iam::{B}:role/other/seeing-not")


def recreated(world: Sandbox) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["airflow-workers"])
    world.clock.advance(timedelta(minutes=5))
    world.delete_role(ROLE)
    world.add_role(ROLE, trust=[EXECUTION], allow=LOOK)
    world.clock.advance(timedelta(minutes=-5))


def for_nodes(world: Sandbox) -> None:
    world.add_access_entry(world.cluster(), ROLE, entry_type="EC2_LINUX")


def node_template(world: Sandbox) -> None:
    world.add_access_entry(world.cluster(), ROLE, username="system:node:{{EC2PrivateDNSName}}")


def row(arn: str, username: str = "airflow") -> Callable[[Sandbox], None]:
    def write(world: Sandbox) -> None:
        rows = f"- rolearn: {arn}\n  username: '{username}'\n  groups: [airflow-workers]\n"
        world.cluster().aws_auth = {"mapRoles": rows}

    return write


def config_map_mode(world: Sandbox) -> None:
    row(f"arn:aws:iam::{B}:role/other")(world)
    world.cluster().authentication_mode = "CONFIG_MAP"


def api_mode(world: Sandbox) -> None:
    row(f"arn:aws:iam::{B}:role/seeing")(world)
    world.cluster().authentication_mode = "API"


def in_config_map_mode(change: Callable[[Sandbox], None]) -> Callable[[Sandbox], None]:
    def both(world: Sandbox) -> None:
        change(world)
        world.cluster().authentication_mode = "CONFIG_MAP"

    return both


def damaged(world: Sandbox) -> None:
    world.cluster().aws_auth = {"maproles": "- rolearn: x\n", "mapRoles": "- rolearn: [\n"}


@pytest.mark.parametrize(
    ("change", "root", "cause"),
    [
        (none, "access-entry-missing", "U15"),
        (other_role, "access-entry-missing", "U15"),
        (recreated, "access-entry-stale", "U17"),
        (for_nodes, "access-entry-for-nodes", "U21"),
        (node_template, "access-entry-for-nodes", "U21"),
        (config_map_mode, "not-mapped", "U15"),  # EKS answers no question about entries in this mode
    ],
)
def test_what_the_task_itself_may_see_is_the_root_and_the_401_its_consequence(
    world: Sandbox, change: Callable[[Sandbox], None], root: str, cause: str
) -> None:
    change(world)
    now(world)

    report = as_task()

    assert (report.root_cause, finding(report).cause, finding(report).owner) == (root, cause, B)
    symptom = finding(report, "not-mapped")
    assert symptom.consequence_of == (None if root == "not-mapped" else root)
    assert (report.verdict, report.exit_code) == ("broken", 1)


@pytest.mark.parametrize(
    ("change", "root", "cause"),
    [
        (none, "access-entry-missing", "U15"),
        (recreated, "access-entry-stale", "U17"),
        (for_nodes, "access-entry-for-nodes", "U21"),
        (row(ROLE), "aws-auth-role-path", "U18"),
        (row(f"arn:aws:sts::{B}:assumed-role/seeing/s"), "aws-auth-role-path", "U18"),
        (damaged, "aws-auth-damaged", "U20"),
        (row(f"arn:aws:iam::{B}:role/seeing", "system:node:{{EC2PrivateDNSName}}"), "aws-auth-for-nodes", "U21"),
        (api_mode, "aws-auth-ignored", "U19"),
        (in_config_map_mode(row(f"arn:aws:iam::{B}:role/other")), None, None),
    ],
)  # fmt: skip
def test_what_the_owner_sees_is_the_same_root(
    world: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Sandbox], None],
    root: str | None,
    cause: str | None,
) -> None:
    change(world)
    now(world)

    report = as_owner(world, monkeypatch)

    if root is None:  # the administrator comes in by an entry, which counts for nothing in this mode: aws-auth is shut
        assert (report.root_cause, report.exit_code) == (None, 3)
        assert "get on ConfigMap kube-system/aws-auth" in finding(report, "mapping").summary
        return
    assert (report.root_cause, finding(report).cause, report.exit_code) == (root, cause, 1)
    assert "token" not in [found.id for found in report.findings]


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.add_access_entry(world.cluster(), ROLE, groups=["airflow-workers"]),
        lambda world: world.add_access_entry(world.cluster(), ROLE, policies={"AmazonEKSEditPolicy": ["data"]}),
        row(f"arn:aws:iam::{B}:role/seeing"),
        row(f"arn:aws:iam::{B}:role/SEEING"),
    ],
    ids=["entry with a group", "entry with a policy", "row of aws-auth", "row in another case"],
)
def test_a_principal_that_is_mapped_is_healthy_to_both_sides(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch, change: Callable[[Sandbox], Any]
) -> None:
    change(world)
    now(world)

    reports = [as_owner(world, monkeypatch), as_task()]

    for report in reports:
        assert (report.verdict, report.exit_code, report.root_cause) == ("healthy", 0, None)
        assert {found.state for found in report.findings} == {"PASS"}
        assert finding(report, "mapping").state == "PASS"


def test_the_owner_sees_policies_scopes_and_times(world: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"], policies={"AmazonEKSEditPolicy": ["data", "dta"]})
    now(world)

    seen = dict(finding(as_owner(world, monkeypatch), "mapping").evidence)

    assert seen["access entry"] == ROLE
    assert (seen["type"], seen["groups"]) == ("STANDARD", "g")
    assert seen["policies"] == "AmazonEKSEditPolicy (namespaces data dta)"
    assert seen["username"] == f"arn:aws:sts::{B}:assumed-role/seeing/{{{{SessionName}}}}"
    assert seen["created"] >= seen["role created"]


@pytest.mark.parametrize("principal", [f"arn:aws:iam::{B}:role/seeing", f"arn:aws:sts::{B}:assumed-role/seeing/s"])
def test_a_principal_without_its_path_is_found_by_its_account(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch, principal: str
) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    now(world)

    assert as_owner(world, monkeypatch, principal).exit_code == 0


def test_an_entry_is_found_by_its_name_where_nobody_may_say_the_path(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.deny("iam:GetRole")
    now(world)

    report = as_owner(world, monkeypatch, f"arn:aws:iam::{B}:role/seeing")

    found = finding(report, "mapping")
    assert (found.state, report.exit_code) == ("UNKNOWN", 3)
    assert f"access entry of {ROLE}" in found.summary
    assert f"not checked: needs iam:GetRole in account {B}" in found.summary


@pytest.mark.parametrize(
    ("denied", "needs"),
    [
        ("eks:DescribeAccessEntry", "needs eks:DescribeAccessEntry"),
        ("eks:*AccessEntr*", "needs eks:DescribeAccessEntry"),
    ],
)
def test_what_may_not_be_looked_at_is_unknown_and_names_the_right(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch, denied: str, needs: str
) -> None:
    world.deny(denied)
    now(world)

    report = as_owner(world, monkeypatch)

    assert (report.root_cause, report.exit_code) == (None, 3)
    assert needs in finding(report, "mapping").summary


def test_a_missing_entry_needs_no_list_where_the_path_is_known(world: Sandbox) -> None:
    world.deny("eks:ListAccessEntries")
    now(world)

    found = finding(as_task())

    assert found.id == "access-entry-missing"
    assert dict(found.evidence)["entries"] == "not listed: needs eks:ListAccessEntries"


def test_a_missing_entry_is_not_believed_where_the_path_is_unknown(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.deny("eks:ListAccessEntries")
    world.deny("iam:GetRole")
    now(world)

    report = as_owner(world, monkeypatch, f"arn:aws:iam::{B}:role/seeing")

    assert (report.root_cause, report.exit_code) == (None, 3)
    assert "eks:ListAccessEntries (or iam:GetRole" in finding(report, "mapping").summary


def test_a_role_that_does_not_exist(world: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    now(world)

    report = as_owner(world, monkeypatch, f"arn:aws:iam::{B}:role/no-such")

    assert (report.root_cause, report.exit_code) == ("role-missing", 1)
    assert (
        f"in account {B} (that of the credentials from environment variables: no role was assumed)"
        in finding(report).summary
    )


def test_a_principal_of_another_account_has_times_that_only_that_account_knows(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_access_entry(world.cluster(), EXECUTION, groups=["g"])
    now(world)

    found = finding(as_owner(world, monkeypatch, EXECUTION), "mapping")

    assert found.state == "UNKNOWN"
    assert f"needs iam:GetRole in account {A}" in found.summary


def test_an_entry_without_policy_and_group_lets_in_and_allows_nothing(
    world: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_access_entry(world.cluster(), ROLE)
    now(world)

    report = as_owner(world, monkeypatch)

    found = finding(report, "access-entry-without-rights")
    assert (found.state, found.cause, report.exit_code) == ("WARN", "F2", 0)


@pytest.mark.parametrize("change", [none, recreated])
def test_the_remedy_mends_it(world: Sandbox, change: Callable[[Sandbox], None]) -> None:
    change(world)
    now(world)
    remedy = finding(as_task()).remedy

    assert remedy is not None
    for command in remedy.commands:
        if "<NAMESPACE>" not in command:
            run_as_owner(world, command)

    assert as_task().verdict == "healthy"


def test_an_entry_that_was_made_just_now_is_waited_for(world: Sandbox) -> None:
    """EKS takes some seconds; the sandbox does not, so the entry of the role that was there before stands in."""
    now(world)
    old = world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.delete_role(ROLE)
    world.clock.advance(timedelta(seconds=-30))
    world.add_role(ROLE, trust=[EXECUTION], allow=LOOK)
    world.clock.advance(timedelta(seconds=30))
    assert old.created

    report = as_task()

    assert (report.root_cause, finding(report).retry) == ("access-entry-settling", True)


@pytest.mark.usefixtures("eks_sandbox")
@pytest.mark.parametrize("arn", ["role", "arn:aws:iam::1:group/x", "arn:aws:s3:::bucket"])
def test_what_is_no_principal_is_an_error(arn: str) -> None:
    with pytest.raises(InvalidArnError):
        diagnose(cluster_name="analytics", principal_arn=arn)
