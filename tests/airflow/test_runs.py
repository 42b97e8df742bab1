"""DAGs that run, with the parent's real code, against the sandbox's AWS and an API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE, Stand, operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def stand(tmp_path: Path, database: Path) -> Iterator[Stand]:
    with Stand(tmp_path, database) as started:
        yield started


def test_a_pod_runs_in_the_other_account(stand: Stand) -> None:
    run = stand.run(operator())

    assert run.state == "success", run.output
    assert stand.aws == ["sts:AssumeRole", "eks:DescribeCluster"]
    assert {seen.user for seen in stand.api.seen} == {"arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_cluster_connection"}
    assert {seen.status for seen in stand.api.seen} <= {200, 201}
    assert stand.api.deleted == stand.api.created
    assert "line 2 of 3" in run.output


def test_a_deferred_pod_runs_in_the_other_account(stand: Stand) -> None:
    run = stand.run(operator(deferrable=True, poll_interval=1))

    assert run.state == "success", run.output
    assert {seen.status for seen in stand.api.seen} <= {200, 201}
    assert stand.api.deleted == stand.api.created
    assert "line 2 of 3" in run.output


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_missing_connection_is_named_and_signs_nothing(stand: Stand, deferrable: Any) -> None:
    run = stand.run(operator(deferrable=deferrable), connections={})

    assert run.state == "failed", run.output
    assert "[eks:connection-missing]" in run.output
    assert (stand.aws, stand.api.seen) == ([], [])


def test_a_401_costs_one_new_token(stand: Stand) -> None:
    stand.api.refusals = 1

    run = stand.run(operator())

    assert run.state == "success", run.output
    assert [seen.status for seen in stand.api.seen].count(401) == 1


def test_an_unmapped_role_is_named(stand: Stand) -> None:
    stand.api.mapped = set()

    run = stand.run(operator())

    assert run.state == "failed", run.output
    assert f"[eks:not-mapped] Cluster analytics (222222222222, eu-west-1) refused {ROLE}: 401. Its token is valid (STS says so)" in run.output
    assert "STS says the token is that of arn:aws:sts::222222222222:assumed-role/cross-account-role/" in run.output


def test_a_pod_is_not_deleted_because_its_log_was_denied(stand: Stand) -> None:
    stand.api.denied = {("get", "pods/log")}

    run = stand.run(operator(life=60))

    assert run.state == "failed", run.output
    assert '[eks:forbidden]' in run.output
    assert 'may not "get pods/log" in namespace data on cluster analytics (403)' in run.output
    assert f"The pod is running and was NOT deleted: pod {stand.api.created[0]}. Retrying will not help." in run.output
    assert stand.api.deleted == []
