"""One page out of two reports: what only the other side could see is filled in; what cannot both be right is said."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mapping_diagnosis import ADMIN, AGO, EXECUTION, LOOK, ROLE, A, B, finding, needs_access_entries, recreated

from eks_cross_account import Cluster, diagnose
from eks_cross_account.cli import main
from eks_cross_account.diagnosis._facts import read_other_side
from eks_cross_account.diagnosis.report import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eks_cross_account.diagnosis import Report
    from eks_cross_account.sandbox import Sandbox


@pytest.fixture
def world(eks_sandbox: Sandbox) -> Sandbox:
    """With a role whose session may see nothing but the cluster; what is made is ten minutes old in the end."""
    eks_sandbox.clock.advance(-AGO)
    eks_sandbox.add_role(ROLE, trust=[EXECUTION], allow=["eks:DescribeCluster"])
    return eks_sandbox


@pytest.fixture
def as_owner(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    def ask(principal: str = ROLE, **options: Any) -> Report:
        keys = eks_sandbox.issue_session(ADMIN)
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
            patch.setenv("AWS_SESSION_TOKEN", keys.token or "")
            return diagnose(**{"cluster_name": "analytics", "principal_arn": principal, **options})

    return ask


def as_task(**options: Any) -> Report:
    return diagnose(**{"cluster_name": "analytics", "role_arn": ROLE, **options})


@needs_access_entries
def test_what_the_task_could_not_see_is_filled_in_and_becomes_the_root(world: Sandbox, as_owner: Any) -> None:
    recreated(world)
    world.clock.advance(AGO)
    world.deny("eks:*AccessEntr*", principal_arn=ROLE)
    world.deny("iam:*", principal_arn=ROLE)
    assert as_task().root_cause == "not-mapped"

    report = as_task(other_side=as_owner().to_json())

    assert report.root_cause == "access-entry-stale"
    assert finding(report, "not-mapped").consequence_of == "access-entry-stale"
    told = finding(report, "other-side")
    assert told.summary == (
        f"the report of the cluster's owner, who looked for arn:aws:iam::{B}:role/seeing; "
        "its root cause: access-entry-stale"
    )
    assert [value for name, value in told.evidence if name == "seen"] == ["role", "entry", "aws_auth"]


@needs_access_entries
def test_what_the_owner_could_not_see_is_the_tasks_401(world: Sandbox, as_owner: Any) -> None:
    world.clock.advance(AGO)
    task = as_task()
    world.clock.advance(-AGO)
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.clock.advance(AGO)
    assert as_owner().exit_code == 0

    report = as_owner(other_side=task.to_json())

    found = finding(report, "mapping-contradicted")
    assert (found.state, found.cause, found.retry, report.exit_code) == ("UNKNOWN", "U22", True, 3)
    assert finding(report, "other-side").summary.startswith("the report of the task's side, with a token of arn:")


@needs_access_entries
def test_both_sides_of_a_way_that_works_are_healthy(world: Sandbox, as_owner: Any) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.clock.advance(AGO)
    owner, task = as_owner(), as_task()

    for report in (as_task(other_side=owner.to_json()), as_owner(other_side=task.to_json().encode())):
        assert (report.verdict, report.exit_code) == ("healthy", 0)
        assert {found.state for found in report.findings} == {"PASS"}


@needs_access_entries
def test_a_date_that_only_the_tasks_account_knows_is_filled_in_on_the_owners_page(
    world: Sandbox, as_owner: Any
) -> None:
    seeing = f"arn:aws:iam::{A}:role/team/seeing"
    world.add_role(seeing, trust=[EXECUTION], allow=["iam:GetRole"])
    world.add_access_entry(world.cluster(), seeing, groups=["g"])
    world.clock.advance(AGO)
    assert as_owner(seeing).exit_code == 3
    known = world.cluster()
    by_hand = Cluster("analytics", known.endpoint, known.certificate_authority)
    world.hang("kubernetes:create selfsubjectreviews")
    task = as_task(role_arn=seeing, cluster=by_hand, timeout=4)

    report = as_owner(seeing, other_side=task.to_json())

    assert (finding(report, "mapping").state, report.exit_code) == ("PASS", 0)


@needs_access_entries
def test_a_task_that_signs_as_another_than_the_owner_looked_for(world: Sandbox, as_owner: Any) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    other = f"arn:aws:iam::{B}:role/unmapped"
    world.add_role(other, trust=[EXECUTION], allow=LOOK)
    world.clock.advance(AGO)
    owner, task = as_owner(), as_task(role_arn=other)

    reports = [as_task(role_arn=other, other_side=owner.to_json()), as_owner(other_side=task.to_json())]

    for report in reports:
        found = finding(report)
        assert (found.id, found.cause, found.owner) == ("wrong-signer", "U16", B)
        assert found.summary == (
            f"the token is that of {other}, and the cluster's owner looked for arn:aws:iam::{B}:role/seeing"
        )
    assert finding(reports[0], "not-mapped").consequence_of == "wrong-signer"


def test_sides_that_speak_of_different_clusters(world: Sandbox, as_owner: Any) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.clock.advance(AGO)
    owner = json.loads(as_owner().to_json())
    for name, value in (("endpoint", "https://OLD.gr7.eu-west-1.eks.amazonaws.com"),
                        ("arn", f"arn:aws:eks:eu-west-1:{A}:cluster/analytics")):  # fmt: skip
        changed = {**owner, "facts": {**owner["facts"], "cluster": {**owner["facts"]["cluster"], name: value}}}

        found = finding(as_task(other_side=json.dumps(changed)))

        assert (found.id, found.cause) == ("other-cluster", "U22")
        assert value in found.summary


@needs_access_entries
def test_a_mode_that_was_changed_in_between(world: Sandbox, as_owner: Any) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.clock.advance(AGO)
    owner = as_owner()
    world.cluster().authentication_mode = "API"

    report = as_task(other_side=owner.to_json())

    found = finding(report, "views-disagree")
    assert (found.state, found.summary) == (
        "UNKNOWN", "authentication mode API here, API_AND_CONFIG_MAP in the other report",
    )  # fmt: skip


@needs_access_entries
def test_a_cluster_that_only_the_owner_may_describe_is_known_by_his_report(world: Sandbox, as_owner: Any) -> None:
    world.cluster().authentication_mode = "API"
    world.clock.advance(AGO)
    world.deny("eks:*", principal_arn=ROLE)
    owner = as_owner()

    report = as_task(other_side=owner.to_json())

    assert report.root_cause == "access-entry-missing"


def test_two_reports_of_one_side_are_refused(world: Sandbox, as_owner: Any) -> None:
    world.clock.advance(AGO)
    task, owner = as_task().to_json(), as_owner().to_json()

    with pytest.raises(ValueError, match="with --principal-arn"):
        as_task(other_side=task)
    with pytest.raises(ValueError, match="without --principal-arn"):
        as_owner(other_side=owner)


# --- a file is anybody's text


GOOD: dict[str, Any] = {
    "schema": "eks-token-check/1",
    "command": "check",
    "root_cause": "not-mapped",
    "facts": {
        "side": "owner",
        "cluster_name": "analytics",
        "region": "eu-west-1",
        "principal_arn": ROLE,
        "cluster": {"arn": f"arn:aws:eks:eu-west-1:{B}:cluster/analytics", "endpoint": "https://x",
                    "authentication_mode": "API", "version": "1.34"},
        "api_server": None,
        "role": {"arn": ROLE, "unique_id": "AROA", "created": "2026-02-03T04:05:06+00:00"},
        "access_entry": {"found": True, "asked": ROLE, "principal_arn": ROLE, "type": "STANDARD", "username": "u",
                         "groups": ["g"], "created": "2026-02-03T04:05:06+00:00", "modified": None,
                         "policies": [{"arn": "p", "namespaces": ["data"]}]},
        "aws_auth": {"verdict": "no-row", "row": "", "username": "", "groups": []},
    },
}  # fmt: skip


def changed(place: str, value: Any) -> str:
    document = json.loads(json.dumps(GOOD))
    *path, last = place.split(".")
    target = document
    for name in path:
        target = target[name]
    target[last] = value
    return json.dumps(document)


def test_a_report_is_read_back() -> None:
    other = read_other_side(json.dumps(GOOD))

    assert (other.side, other.subject, other.broken) == ("owner", f"arn:aws:iam::{B}:role/seeing", "not-mapped")
    assert other.entry is not None
    assert other.entry.entry is not None
    assert other.entry.entry.groups == ("g",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is not JSON"),
        ("{" * 100_000, "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        ("[]", "no report of check"),
        ('{"schema": "eks-token-check/2", "command": "check"}', "no report of check"),
        ('{"schema": "eks-token-check/1", "command": "decode"}', "no report of check"),
        ('{"schema": "eks-token-check/1", "command": "check"}', "older release"),
        (" " * (MAX_BYTES + 1), "not more than"),
        (changed("facts", []), "report.facts is not an object"),
        (changed("facts.side", "third"), "facts.side is not task or owner"),
        (changed("facts.side", None), "facts.side is not there"),
        (changed("facts.cluster_name", "a b"), "facts.cluster_name is not the name of a cluster"),
        (changed("facts.cluster_name", 7), "facts.cluster_name is not"),
        (changed("facts.principal_arn", "role"), "facts.principal_arn is not the ARN of a principal"),
        (changed("facts.principal_arn", {}), "facts.principal_arn is not"),
        (changed("facts.api_server", "yes"), "facts.api_server is not accepted or refused"),
        (changed("facts.cluster", 1), "facts.cluster is not an object"),
        (changed("facts.cluster.arn", "x"), "facts.cluster.arn is not an ARN"),
        (changed("facts.cluster.authentication_mode", "ALL"), "facts.cluster.authentication_mode is not"),
        (changed("facts.role.created", "yesterday"), "facts.role.created is not a time"),
        (changed("facts.role.created", "2026-02-03T04:05:06"), "facts.role.created is not a time with a zone"),
        (changed("facts.access_entry.found", "yes"), "facts.access_entry.found is not true or false"),
        (changed("facts.access_entry.type", "x; rm"), "facts.access_entry.type is not the type of an entry"),
        (changed("facts.access_entry.groups", "g"), "facts.access_entry.groups is not a list"),
        (changed("facts.access_entry.groups", [1]), "facts.access_entry.groups is not a list of texts"),
        (changed("facts.access_entry.groups", ["g"] * 201), "facts.access_entry.groups is not a list of at most 200"),
        (changed("facts.access_entry.policies", [1]), "facts.access_entry.policies is not a list"),
        (changed("facts.access_entry.username", "x" * 3000), "facts.access_entry.username is not a text"),
        (changed("facts.aws_auth.verdict", "good"), "facts.aws_auth.verdict is not one of maps, no-row"),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused_by_its_place(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_other_side(text)


PLACES = ["facts", *(f"facts.{name}" for name in GOOD["facts"]),
          *(f"facts.{part}.{name}" for part in ("cluster", "role", "access_entry", "aws_auth")
            for name in GOOD["facts"][part])]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(place=st.sampled_from(PLACES), value=JSON)
def test_whatever_stands_in_a_report_it_is_read_or_refused(place: str, value: Any) -> None:
    with contextlib.suppress(ValueError):
        read_other_side(changed(place, value))


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|report"):
        read_other_side(text)


def test_hostile_text_of_a_report_steers_no_terminal_and_is_no_command(world: Sandbox) -> None:
    world.clock.advance(AGO)
    evil = "\x1b[31m$(touch x)`x`\u202e"
    document = json.loads(json.dumps(GOOD))
    document["root_cause"] = evil
    document["findings"] = [{"id": "x", "remedy": {"text": "x", "commands": ["rm -rf /"]}}]
    document["facts"]["access_entry"] |= {"username": evil, "groups": [evil], "principal_arn": f"{ROLE}{evil}",
                                          "type": "EC2"}  # fmt: skip
    document["facts"]["role"]["arn"] = f"{ROLE}{evil}"
    document["facts"]["cluster"] = None

    report = as_task(other_side=json.dumps(document))

    assert report.root_cause == "access-entry-for-nodes"
    assert report.to_text().isascii()
    assert "rm -rf" not in report.to_text() + report.to_json()
    commands = [command for found in report.findings if found.remedy for command in found.remedy.commands]
    assert commands
    assert [command for command in commands if "touch" in command] == []


# --- the command


@needs_access_entries
@pytest.mark.parametrize("owner_first", [True, False])
def test_two_runs_of_the_command_make_one_page(
    world: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    owner_first: bool,  # noqa: FBT001 - a table
) -> None:
    recreated(world)
    world.clock.advance(AGO)
    keys = world.issue_session(ADMIN)
    owner = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key,
             "AWS_SESSION_TOKEN": keys.token or ""}  # fmt: skip
    task_flags = ["check", "--cluster-name", "analytics", "--role-arn", ROLE]
    owner_flags = ["check", "--cluster-name", "analytics", "--principal-arn", ROLE]

    def run(flags: list[str], environ: dict[str, str]) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            code = main(flags)
        return code, capsys.readouterr().out

    runs = [(owner_flags, owner), (task_flags, {})]
    first, second = runs if owner_first else reversed(runs)
    code, printed = run([*first[0], "--output", "json"], first[1])
    (tmp_path / "other.json").write_text(printed)
    joined_code, page = run([*second[0], "--evidence", str(tmp_path / "other.json")], second[1])

    assert (code, joined_code) == (1, 1)
    assert page.endswith("verdict: broken - root cause: access-entry-stale\n")
    assert "other side: the report of" in page


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--evidence", "/no/such/file"], "cannot read"),
        (["--evidence", "{bad}"], "--evidence '{bad}': it is not JSON"),
        (["--principal-arn", "role"], "is not an ARN"),
        (["--timeout", "0"], "'0' is not 1 to 600 seconds"),
        (["--timeout", "nan"], "'nan' is not 1 to 600 seconds"),
        (["--timeout", "soon"], "'soon' is not 1 to 600 seconds"),
        (["--airflow-conn-id", "c", "--principal-arn", ROLE], "--principal-arn is for the cluster's owner"),
    ],
)
@pytest.mark.usefixtures("eks_sandbox")
def test_arguments_that_cannot_be_meant(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    given_flags = [flag.replace("{bad}", str(bad)) for flag in flags]

    code = main(["check", "--cluster-name", "analytics", *given_flags])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert said.replace("{bad}", str(bad))[:40] in " ".join(printed.err.split())
    assert "Traceback" not in printed.err


@needs_access_entries
def test_times_survive_the_way_through_json(world: Sandbox, as_owner: Any) -> None:
    world.add_access_entry(world.cluster(), ROLE, groups=["g"])
    world.clock.advance(AGO)
    report = as_owner()

    other = read_other_side(report.to_json())

    assert other.role is not None
    assert other.role.created is not None
    assert other.entry is not None
    assert other.entry.entry is not None
    assert other.entry.entry.created is not None
    assert timedelta() <= other.entry.entry.created - other.role.created < timedelta(minutes=1)
