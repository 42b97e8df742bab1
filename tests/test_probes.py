"""The probes: side by side in one budget of time, and only those that the caller wants asked."""

from __future__ import annotations

import json
import re
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from clusters import until
from test_diagnosis import EXECUTION, ROLE, check, root, states
from test_mapping_diagnosis import LOOK, needs_access_entries

from eks_cross_account import Cluster
from eks_cross_account.diagnosis._budget import Budget, OutOfTimeError

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

REFUSAL = json.dumps({"kind": "Status", "apiVersion": "v1", "code": 401, "message": "Unauthorized"})


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "eks-check"]


def as_admin(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = sandbox.issue_session("arn:aws:iam::222222222222:role/cluster-admin")
    for name, value in (("ACCESS_KEY_ID", keys.access_key), ("SECRET_ACCESS_KEY", keys.secret_key),
                        ("SESSION_TOKEN", keys.token or "")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)


# --- the budget


def test_calls_run_side_by_side_and_answer_in_their_order() -> None:
    meeting = threading.Barrier(3, timeout=10)  # passed only if all three are there at once

    def call(answer: int) -> int:
        meeting.wait()
        return answer

    assert Budget(10).side_by_side(*(lambda number=number: call(number) for number in range(3))) == [0, 1, 2]
    assert threads() == []


def test_the_first_error_is_raised_when_all_have_ended() -> None:
    ended = threading.Event()

    def fail() -> None:
        raise KeyError("x")

    def work() -> None:
        ended.set()

    with pytest.raises(KeyError):
        Budget(10).side_by_side(fail, work)

    assert ended.is_set()
    assert threads() == []


def test_a_call_keeps_the_context_of_who_asked() -> None:
    kept = ContextVar("kept", default=False)
    kept.set(True)

    assert Budget(10).side_by_side(kept.get, kept.get) == [True, True]
    assert Budget(10).waited(kept.get) is True


def test_what_has_no_timeout_of_its_own_is_waited_for_no_longer_than_there_is_time() -> None:
    end = threading.Event()

    with pytest.raises(OutOfTimeError):
        Budget(0.2).waited(end.wait)
    end.set()

    until(lambda: not threads())


def test_a_share_is_never_too_small_to_fail_in_a_way_that_says_something() -> None:
    over = Budget(0)

    assert over.is_over
    assert over.share(5) == 0.2
    assert Budget(100).share(5) == 5
    assert 4.9 < Budget(20).share(100, steps=4) <= 5


# --- in the chain


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("sts:*", ("sts-unreachable", "UNKNOWN")),
        ("sts:AssumeRole", ("sts-unreachable", "UNKNOWN")),
        ("eks:DescribeCluster", ("cluster-unknown", "UNKNOWN")),
        ("kubernetes:get /version", ("unreachable", "UNKNOWN")),
        ("kubernetes:create selfsubjectreviews", ("api-server-unknown", "UNKNOWN")),
    ],
)
def test_what_hangs_is_unknown_in_time_and_leaves_no_thread(
    eks_sandbox: Sandbox, operation: str, expected: tuple[str, str]
) -> None:
    eks_sandbox.hang(operation)

    report = check(timeout=2)

    assert expected in states(report)
    assert (report.verdict, report.root_cause) == ("unknown", None)
    assert not re.search(r"[0-9][.][0-9]{3}", report.to_text())  # parts of a second, to a millionth
    assert threads() == []


def test_hanging_access_entries_do_not_keep_the_api_servers_answer_back(eks_sandbox: Sandbox) -> None:
    eks_sandbox.hang("eks:DescribeAccessEntry")

    report = check(timeout=4)

    assert report.verdict == "healthy"
    assert "not checked" in next(found for found in report.findings if found.id == "mapping").summary
    assert threads() == []


def test_credentials_that_never_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    script = f"sh -c 'until [ -e {stop} ]; do sleep 0.05; done'"
    (tmp_path / "config").write_text(f"[profile slow]\ncredential_process = {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    report = check(profile="slow", region="eu-west-1", timeout=1)
    stop.touch()

    finding = root(report)
    assert (finding.id, finding.retry) == ("credentials-missing", True)
    assert "credential_process" in finding.summary
    until(lambda: not threads())


def test_a_budget_that_is_spent_says_what_was_left_out(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "is_over", property(lambda budget: bool(budget.seconds)))

    report = check()

    late = next(found for found in report.findings if found.id == "out-of-time")
    assert "AWS, cluster, token, API server" in late.summary
    assert eks_sandbox.requests == []


def test_a_401_that_is_not_met_twice_is_a_warning_and_no_verdict(eks_sandbox: Sandbox) -> None:
    eks_sandbox.respond("kubernetes:create selfsubjectreviews", 401, REFUSAL, content_type="application/json", times=1)

    report = check()

    assert report.verdict == "healthy"
    assert ("unauthorized-once", "WARN") in states(report)


def test_a_401_that_is_met_twice_is_one(eks_sandbox: Sandbox) -> None:
    eks_sandbox.respond("kubernetes:create selfsubjectreviews", 401, REFUSAL, content_type="application/json", times=2)

    assert root(check()).id == "not-mapped"


def test_without_asking_for_rights_nothing_is_asked_that_could_be_denied(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:*")
    eks_sandbox.deny("iam:*")

    report = check(ask_for_rights=False)

    assert {request.operation for request in eks_sandbox.requests} == {"sts:AssumeRole", "sts:GetCallerIdentity"}
    assert [request.code for request in eks_sandbox.requests if request.code] == []
    assert report.exit_code == 3


def test_without_asking_for_rights_a_cluster_by_hand_is_still_asked(eks_sandbox: Sandbox) -> None:
    known = eks_sandbox.cluster()

    by_hand = Cluster("analytics", known.endpoint, known.certificate_authority)

    report = check(ask_for_rights=False, cluster=by_hand)

    assert report.verdict == "healthy"
    assert {request.operation for request in eks_sandbox.requests} == {"sts:AssumeRole", "sts:GetCallerIdentity"}


def test_an_endpoint_of_another_cluster_is_found_out(eks_sandbox: Sandbox) -> None:
    old = eks_sandbox.add_cluster("old")
    by_hand = Cluster("analytics", old.endpoint, old.certificate_authority)

    report = check(cluster=by_hand)

    finding = root(report)
    assert (finding.id, finding.cause) == ("other-cluster", "U22")
    assert eks_sandbox.cluster().endpoint in finding.summary
    assert [found.consequence_of for found in report.findings if found.id == "not-mapped"] == ["other-cluster"]


@needs_access_entries
def test_the_owners_side_makes_no_token_for_the_principal_and_needs_no_way_to_the_cluster(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_admin(eks_sandbox, monkeypatch)
    eks_sandbox.hang("kubernetes:*")

    report = check(role_arn=None, principal_arn=ROLE, timeout=4)

    assert (report.verdict, report.exit_code) == ("healthy", 0)
    assert "sts:AssumeRole" not in [request.operation for request in eks_sandbox.requests]
    assert "create selfsubjectreviews" not in [
        f"{request.verb} {request.resource}" for request in eks_sandbox.kubernetes_requests
    ]


@pytest.mark.skipif(needs_access_entries.args[0] is False, reason="this botocore knows access entries")
def test_a_botocore_without_access_entries_says_so(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    as_admin(eks_sandbox, monkeypatch)

    report = check(role_arn=None, principal_arn=ROLE)

    found = next(found for found in report.findings if found.id == "mapping")
    assert (found.state, report.exit_code) == ("UNKNOWN", 3)
    assert "DescribeAccessEntry needs botocore 1.34" in found.summary


def test_no_secret_is_in_a_report_of_either_side(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role("arn:aws:iam::222222222222:role/seeing", trust=[EXECUTION], allow=LOOK)
    shown: list[Any] = []
    for options in ({}, {"role_arn": "arn:aws:iam::222222222222:role/seeing"}, {"principal_arn": ROLE}):
        report = check(**options)
        shown += [report.to_text(), report.to_json(), repr(report)]

    for text in shown:
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            assert eks_sandbox.environ[name] not in text
        assert "k8s-aws-v1" not in text
        assert "X-Amz" not in text
