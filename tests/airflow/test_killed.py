"""A task that is killed while deferred, through dag.test(), with what the operator itself gave to the trigger."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from killing import KILL
from stand import Stand, operator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        tuple(map(int, version("apache-airflow").split(".")[:2])) < (3, 3), reason="its triggerer has no on_kill()"
    ),
]


def test_the_pod_is_deleted(tmp_path: Path, database: Path) -> None:
    with Stand(tmp_path, database) as stand:
        long = {"eks-sandbox/run-seconds": "120"}

        run = stand.run(KILL + operator(deferrable=True, poll_interval=1, annotations=long))

        assert run.says("KILLED while deferred"), run.output
        assert stand.codes() <= {200, 201}
        verbs = [request.verb for request in stand.sandbox.kubernetes_requests]
        assert (verbs.count("create"), verbs.count("delete")) == (1, 1)
