"""A real worker and a real triggerer, each a process of its own, with the connection in the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from stand import Stand, Standalone, operator

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


def test_a_deferred_pod_runs_to_its_end(stand: Stand) -> None:
    with Standalone(stand, operator(deferrable=True, poll_interval=1, life=8)) as airflow:
        airflow.run_dag()
        state = airflow.wait(STATE, "success", "failed")

        assert state == "success", airflow.logs()
        assert {seen.status for seen in stand.api.seen} <= {200, 201}
        assert stand.api.deleted == stand.api.created
        assert "You cannot use AsyncToSync" not in airflow.logs()


def test_killing_a_deferred_task_deletes_its_pod(stand: Stand) -> None:
    with Standalone(stand, operator(deferrable=True, poll_interval=1, life=300)) as airflow:
        airflow.run_dag()
        assert airflow.wait(TASK, "deferred") == "deferred", airflow.logs()
        polled = stand.api.calls("get", "pods")
        while stand.api.calls("get", "pods") < polled + 3:
            time.sleep(0.2)
        airflow.change("update task_instance set state = 'failed', trigger_id = null")
        end = time.monotonic() + 60
        while not stand.api.deleted and time.monotonic() < end:
            time.sleep(0.2)

        assert stand.api.deleted == stand.api.created, airflow.logs()
