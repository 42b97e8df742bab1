"""A real worker and a real triggerer, each a process of its own, with the connection in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stand import Standalone, Stand, operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STATE = "select state from dag_run where dag_id = 'd' order by id desc limit 1"
TASK = "select state from task_instance where dag_id = 'd'"


@pytest.fixture
def stand(tmp_path: Path, database: Path) -> Iterator[Stand]:
    with Stand(tmp_path, database) as started:
        yield started


def test_a_deferred_pod_runs_and_a_killed_one_is_deleted(stand: Stand) -> None:
    with Standalone(stand, operator(deferrable=True, poll_interval=1, life=12)) as airflow:
        assert airflow.wait("select dag_id from dag where dag_id = 'd'", "d") == "d", airflow.logs()
        airflow.airflow("dags", "trigger", "d")
        state = airflow.wait(STATE, "success", "failed")

        assert state == "success", airflow.logs()
        assert {seen.status for seen in stand.api.seen} <= {200, 201}
        assert stand.api.deleted == stand.api.created
        assert "You cannot use AsyncToSync" not in airflow.logs()
