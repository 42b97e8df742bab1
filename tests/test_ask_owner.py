"""The text to forward to the other account's owner: short, without secrets, and without a word of what runs here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eks_cross_account.diagnosis import (
    Finding,
    Remedy,
    Report,
    ask_owner,
    diagnose,
    remedies,
    required_permissions,
)
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.diagnosis.report import Chain
from eks_cross_account.identity import CallerIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
CALLER = f"arn:aws:sts::{A}:assumed-role/exec-role/AmazonMWAA-prod"
ROLES = tuple(f"arn:aws:iam::{B}:role/team/role-{number}" for number in (1, 2, 3))
SANDBOX_ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
WHERE = ("analytics", "eu-west-1")
HOP_MESSAGE = (
    "is not authorized to perform: sts:AssumeRole on resource: x because no {} allows the sts:AssumeRole action"
)
UNKNOWN_PATH = CallerIdentity(A, CALLER, "AROA:AmazonMWAA-prod")
FINDINGS = Path(__file__).parents[1] / "docs/findings"
IDS = sorted(page.stem for page in FINDINGS.glob("[!R]*.md") if "FAIL" in page.read_text().split("\n\n")[1])
OURS = {"credentials-invalid", "wrong-signer", "clock", "token-host", "anonymous", "cluster-not-found", "other-cluster"}


def refused(kind: str) -> Remedy:
    return remedies.refused_hop_remedy(HOP_MESSAGE.format(kind), CALLER, ROLES[0], external_id_sent=True)[0]


LONGEST = {  # the remedies as the checks make them, with all that they can have
    "assume-role-denied": (refused("role trust policy"), refused("identity-based policy"), refused("session policy"),
                           refused("service control policy")),
    "not-mapped": (
        remedies.mapping_remedy(*WHERE, UNKNOWN_PATH, principal_arn=None, mode=""),
        remedies.mapping_remedy(*WHERE, UNKNOWN_PATH, principal_arn=None, mode="CONFIG_MAP"),
    ),
    "access-entry-missing": (remedies.entry_remedy(*WHERE, ROLES[0], principal_arn=None, mode=""),),
    "access-entry-stale": (remedies.remade_entry_remedy(*WHERE, ROLES[0]),),
    "access-entry-for-nodes": (remedies.node_entry_remedy(*WHERE, ROLES[0]),),
    "access-entry-ignored": (remedies.mode_remedy(*WHERE),),
    "reserved-username": (remedies.username_remedy(*WHERE, ROLES[0]),),
    "aws-auth-no-row": tuple(
        remedies.aws_auth_remedy(*WHERE, UNKNOWN_PATH.canonical_arn, principal_arn=None, mode=mode)
        for mode in ("CONFIG_MAP", "API_AND_CONFIG_MAP", "")
    ),
}  # fmt: skip


def report(finding: Finding, hops: int = 1, caller: str | None = CALLER) -> Report:
    """With this many hops; of a refused one the last."""
    is_refused = finding.id.startswith("assume-role")
    walked = tuple((arn, not (is_refused and number == hops)) for number, arn in enumerate(ROLES[:hops], 1))
    signed = None if is_refused else f"arn:aws:sts::{B}:assumed-role/role-{hops}/s" if hops else caller
    chain = Chain(caller, walked, token_of=signed)
    cluster = {"account": B, "arn": f"arn:aws:eks:eu-west-1:{B}:cluster/analytics"}
    return Report("analytics", "eu-west-1 (argument)", (finding,), cluster=cluster, chain=chain)


def broken(name: str, remedy: Remedy | None = None, summary: str = "it is broken") -> Finding:
    return Finding(name, "FAIL", "aws", "a link", summary, (("seen", "x"),), remedy, owner=B)


def commands_in(lines: Sequence[str]) -> list[list[str]]:
    return [shlex.split(line) for line in lines if line.startswith("  aws ")]


@pytest.mark.parametrize("hops", range(4))
@pytest.mark.parametrize("name", IDS)
def test_the_text_is_short_and_speaks_of_no_airflow(name: str, hops: int) -> None:
    for remedy in (*LONGEST.get(name, ()), Remedy("do this", ("aws eks a", "aws eks b")), None):
        text = ask_owner(report(broken(name, remedy, "x" * 5000), hops))

        lines = text.splitlines()
        assert len(lines) <= 15
        assert text == "".join(f"{line}\n" for line in lines)
        prose = re.sub(r"arn:\S+", "", text).lower()
        assert not any(word in prose for word in ("airflow", "dag", "mwaa", "operator", "task"))
        if lines[0].startswith("To the owner"):
            assert lines[0] == f"To the owner of AWS account {B}, about EKS cluster analytics in eu-west-1:"
            assert [line.partition(":")[0] for line in lines[1:3]] == ["What we want", "Why"]
            assert any(line.startswith("To verify:") for line in lines)
        else:
            assert lines == [
                f"Nothing to ask another account's owner for: {name} is to be mended on our side, see the report."
            ]


def test_the_ids_are_those_of_the_pages() -> None:
    assert set(IDS) >= {*LONGEST, *OURS, "unauthorized", "unreachable", "assume-role-refused"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_is_our_own_fault_is_asked_of_nobody(name: str) -> None:
    assert ask_owner(report(broken(name, Remedy("mend it")))).startswith("Nothing to ask another account's owner for")


def test_a_refused_hop_asks_for_its_statement_or_for_an_entry_without_any_hop() -> None:
    remedy = refused("role trust policy")

    lines = ask_owner(report(broken("assume-role-denied", remedy))).splitlines()

    assert lines[1] == f"What we want: that {CALLER} may assume {ROLES[0]}."
    statement = next(line for line in lines if line.startswith("Add to its trust policy: ")).partition(": ")[2]
    assert json.loads(statement) == remedies.trust_statement(CALLER)
    assert "Least right: sts:AssumeRole on that one role, by this one principal." in lines
    entry = next(line for line in lines if line.startswith("Or, with no role to assume"))
    assert "<PATH/>: the role's path, or nothing" in entry
    assert shlex.split(entry[entry.index("aws eks") :]) == [
        "aws", "eks", "create-access-entry", "--cluster-name", "analytics", "--region", "eu-west-1",
        "--principal-arn", f"arn:aws:iam::{A}:role/<PATH/>exec-role", "--type", "STANDARD",
    ]  # fmt: skip
    assert lines[-2:] == ["To verify: we try again and tell you.", "To undo: put the policy back as it was."]


@pytest.mark.parametrize("hops", [2, 3])
def test_the_hop_that_was_refused_is_named_with_who_asked_for_it(hops: int) -> None:
    text = ask_owner(report(broken("assume-role-denied", refused("role trust policy")), hops))

    assert f"What we want: that {ROLES[hops - 2]} may assume {ROLES[hops - 1]}.\n" in text
    assert f"role/<PATH/>exec-role" in text  # noqa: F541 - as the ARNs beside it


@pytest.mark.parametrize(
    ("caller", "named"),
    [
        (f"arn:aws:iam::{A}:user/team/alice", f"--principal-arn arn:aws:iam::{A}:user/team/alice "),
        (f"arn:aws:iam::{A}:role/team/exec", f"--principal-arn arn:aws:iam::{A}:role/team/exec "),
        (f"arn:aws:iam::{A}:root", None),
        (None, None),
    ],
)
def test_who_has_a_full_arn_is_named_by_it_and_who_can_have_no_entry_gets_none(
    caller: str | None, named: str | None
) -> None:
    text = ask_owner(report(broken("assume-role-denied", refused("role trust policy")), caller=caller))

    assert ("Or, with no role to assume" in text) == (named is not None)
    assert named is None or (named in text and "<PATH/>" not in text)


def test_a_role_that_nothing_maps_asks_for_an_entry_and_shows_where_to_look() -> None:
    remedy = remedies.mapping_remedy(*WHERE, CallerIdentity(B, ROLES[0], "AROA"), principal_arn=ROLES[0], mode="API")

    lines = ask_owner(report(broken("not-mapped", remedy))).splitlines()

    made = commands_in(lines)
    assert [called[2] for called in made] == [
        "create-access-entry", "associate-access-policy", "start-query", "start-query",
    ]  # fmt: skip
    assert made[0][made[0].index("--principal-arn") + 1] == ROLES[0]
    assert any(line.startswith("To see it on your side") for line in lines)
    assert any(line.startswith("To undo: aws eks delete-access-entry --cluster-name analytics") for line in lines)


def test_a_refused_token_that_nobody_could_judge_asks_for_the_log() -> None:
    lines = ask_owner(report(broken("unauthorized", Remedy("look into the log")))).splitlines()

    signer = f"arn:aws:sts::{B}:assumed-role/role-1/s"
    assert lines[1] == f"What we want: to know why the cluster refuses the token of {signer}."
    assert [called[1:3] for called in commands_in(lines)] == [["logs", "start-query"]] * 2


def test_a_cluster_in_mode_config_map_is_asked_for_the_row() -> None:
    row = LONGEST["aws-auth-no-row"][0]

    lines = ask_owner(report(broken("aws-auth-no-row", row))).splitlines()

    first = lines.index("In the ConfigMap aws-auth of the namespace kube-system:") + 1
    assert "\n".join(line[2:] for line in lines[first : first + 5]) == row.yaml
    assert lines[first + 5] == "Or let the cluster take access entries, too; there is no way back:"
    assert "delete-access-entry" not in "\n".join(lines)
    assert lines[-1] == "To undo: take the row out again; the authentication mode cannot be put back."


def test_a_mode_that_has_no_way_back_says_so() -> None:
    lines = ask_owner(report(broken("access-entry-ignored", remedies.mode_remedy(*WHERE)))).splitlines()

    assert lines[-1] == "To undo: not possible, the mode stays; what is in aws-auth counts as before."


STEERING = ("\x1b[31m", "\u202e", "\n", "\r", "\u2028", "\x85", "\\\n", "x")
HOSTILE = st.text() | st.lists(st.sampled_from(STEERING)).map("".join)


@given(name=st.sampled_from(["assume-role-denied", "not-mapped", "unreachable", "wrong-signer"]), evil=HOSTILE)
def test_whatever_a_report_holds_it_steers_nothing_and_stays_short(name: str, evil: str) -> None:
    remedy = Remedy(f"{evil}\n{{{evil}", tuple(f"aws {evil}" for _ in range(20)), yaml=evil)
    finding = Finding(name, "FAIL", "aws", evil, evil, ((evil, evil),), remedy, owner=evil)
    chain = Chain(evil, ((evil, True), (evil, False)), token_of=evil)

    text = ask_owner(Report(evil or "c", "eu-west-1", (finding,), cluster={"account": evil}, chain=chain))

    assert len(text.split("\n")) <= 16
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))


def test_where_nothing_is_broken_there_is_nothing_to_ask_for() -> None:
    fine = Finding("same-identity", "PASS", "inferred", "same identity", "x")

    assert ask_owner(Report("c", "eu-west-1", (fine,), confirmed=True)) == "Nothing to ask for: c lets us in.\n"
    assert "nothing was confirmed" in ask_owner(Report("c", "eu-west-1", (fine,)))


def test_a_right_that_is_in_the_way_of_all_else_is_asked_for(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:DescribeCluster")

    text = ask_owner(diagnose(cluster_name="analytics", role_arn=f"arn:aws:iam::{B}:role/cross-account-role"))

    assert "may call eks:DescribeCluster on it" in text
    assert "aws iam put-role-policy --role-name cross-account-role" in text
    assert "arn:aws:eks:eu-west-1:222222222222:cluster/analytics" in text
    assert len(text.splitlines()) <= 15


def test_a_hole_is_named_before_the_commands_that_have_it(eks_sandbox: Sandbox) -> None:
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), SANDBOX_ROLE)

    lines = ask_owner(diagnose(cluster_name="analytics", role_arn=SANDBOX_ROLE)).splitlines()

    assert "Please fill in <NAMESPACE>, and run:" in lines
    assert any(line.endswith(" The policy below gives more, its secrets among it.") for line in lines)


def test_the_namespace_that_was_asked_about_is_in_the_fix(eks_sandbox: Sandbox) -> None:
    eks_sandbox.remove_access_entry(eks_sandbox.cluster(), SANDBOX_ROLE)
    wanted = Wanted(required_permissions(), "data")

    report = diagnose(cluster_name="analytics", role_arn=SANDBOX_ROLE, wanted=wanted)

    lines = ask_owner(report).splitlines()
    assert "Please run:" in lines
    assert any(command[-1] == "type=namespace,namespaces=data" for command in commands_in(lines))
    broken = next(finding for finding in report.findings if finding.id == "not-mapped")
    assert broken.remedy is not None
    assert broken.remedy.hcl is not None
    assert '"data"' in broken.remedy.hcl
