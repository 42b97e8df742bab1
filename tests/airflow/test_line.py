"""What every line must do, in one process with one DAG file: each test runs a case of line_dag.py there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from line import CANNOT_DEFER, KNOWS_ACCESS_ENTRIES
from stand import ROLE, refuse_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from line import Line

    from eks_cross_account.sandbox import KubernetesRequest

MINTED = ["sts:AssumeRole", "eks:DescribeCluster"]


def only_as_the_role(line: Line, case: str, *codes: int) -> list[KubernetesRequest]:
    """All requests, of which each was by the role's session and answered with one of the codes."""
    seen = line.seen()
    assert {request.code for request in seen} <= {*codes}, line.output
    user = f"arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c_{case}"
    assert {request.user.get("username", user) for request in seen} == {user}
    return seen


@pytest.mark.contract
def test_a_sync_task(line: Line) -> None:
    ran = line.run_case("sync")

    assert (ran["state"], ran["tokens"]) == ("success", 1), line.output
    only_as_the_role(line, "sync", 200, 201)
    assert line.aws == MINTED
    assert (line.created, len(line.deleted), line.left) == (1, 1, [])
    assert line.logged == ["line 1 of 3", "line 2 of 3", "line 3 of 3"], line.output


@pytest.mark.skipif(CANNOT_DEFER, reason="dag.test cannot defer in 2.7")
def test_a_deferred_task(line: Line) -> None:
    ran = line.run_case("deferrable")

    assert (ran["state"], ran["tokens"]) == ("success", 1), line.output
    only_as_the_role(line, "deferrable", 200, 201)
    assert line.aws == MINTED
    assert (line.created, len(line.deleted), line.left) == (1, 1, [])
    assert line.logged == ["line 1 of 3", "line 2 of 3", "line 3 of 3"], line.output


def test_xcom_comes_back_by_exec(line: Line) -> None:
    ran = line.run_case("xcom")

    assert (ran["state"], ran["xcom"]) == ("success", {"rows": 7}), line.output
    only_as_the_role(line, "xcom", 101, 200, 201)
    assert line.aws == MINTED


def test_a_401_costs_one_new_token(line: Line) -> None:
    refuse_once(line.sandbox)

    ran = line.run_case("unauthorized")

    assert (ran["state"], ran["tokens"]) == ("success", 2), line.output
    seen = only_as_the_role(line, "unauthorized", 200, 201, 401)
    assert [request.code for request in seen].count(401) == 1
    assert (seen[0].code, seen[1].verb, seen[1].resource) == (401, seen[0].verb, seen[0].resource)
    assert line.aws == MINTED


def test_a_missing_connection_signs_nothing(line: Line) -> None:
    ran = line.run_case("missing")

    assert (ran["state"], ran["tokens"]) == ("failed", 0), line.output
    assert line.says("[eks:connection-missing] Airflow connection 'c_missing' was not found here")
    assert (line.aws, line.seen()) == ([], [])


def test_a_denied_log_is_named_and_its_pod_kept(line: Line) -> None:
    line.sandbox.deny("kubernetes:get pods/log", principal_arn=ROLE)

    ran = line.run_case("denied")

    assert ran["state"] == "failed", line.output
    assert line.says("[eks:forbidden]")
    assert line.says('may not "get pods/log" in namespace data on cluster analytics (403)')
    assert (line.created, line.deleted, len(line.left)) == (1, [], 1)


def test_killing_a_triggers_run_deletes_its_pod(line: Line) -> None:
    ran = line.run_case("kill")

    assert ran["state"] == "killed", line.output
    only_as_the_role(line, "kill", 200, 201)
    assert line.deleted == ["killed"]
    assert line.left == []


def test_a_long_log_arrives_whole_and_in_order(line: Line) -> None:
    ran = line.run_case("log")

    assert ran["state"] == "success", line.output
    assert line.logged == [f"line {number} of 2000" for number in range(1, 2001)]


@pytest.fixture
def made_anew(line: Line) -> Iterator[Callable[[], None]]:
    """Makes the role anew, as Terraform does that replaces it: its access entry is the one before's."""
    sandbox, cluster = line.sandbox, line.sandbox.cluster()
    first, groups = sandbox._world.roles[ROLE], cluster.entries[ROLE].groups
    allow = first.allow
    first.allow = (*allow, "eks:DescribeAccessEntry", "iam:GetRole")

    def make(allow: tuple[str, ...] = first.allow) -> None:
        sandbox.delete_role(ROLE)
        sandbox.add_role(ROLE, trust=first.trust, allow=allow)

    yield make
    make(allow)
    sandbox.add_access_entry(cluster, ROLE, groups=groups)


def test_a_red_check_says_what_has_changed_since_the_green_run_before_it(
    line: Line, made_anew: Callable[[], None]
) -> None:
    green = line.run_case("check")
    said_of_green = line.output
    made_anew()

    red = line.run_case("check")

    assert (green["state"], red["state"]) == ("success", "failed"), line.output
    assert "changed since the last healthy run" not in said_of_green
    assert line.says("changed since the last healthy run of this task: verdict: healthy -> broken")
    assert line.says("API server: PASS api-server -> FAIL not-mapped")
    assert not line.says("environment: PASS environment ->")
    if KNOWS_ACCESS_ENTRIES:
        assert line.says("mapping: PASS mapping -> FAIL access-entry-stale")
        created = re.findall(r"mapping: role created: (\S+) -> (\S+)", line.output)
        assert created
        assert all(before < after for before, after in created)
