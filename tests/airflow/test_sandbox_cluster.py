"""DAGs on the sandbox's own cluster: authentication, grants, XCom by exec, long pods, as the API server has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE, Stand, operator

from eks_cross_account.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(Sandbox, "cluster"), reason="this sandbox has no Kubernetes side yet"),
]
USER = "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_cluster_connection"


@pytest.fixture
def stand(tmp_path: Path, database: Path) -> Iterator[Stand]:
    with Stand(tmp_path, database) as started:
        yield started


@pytest.mark.parametrize("deferrable", [False, True])
def test_xcom_comes_back_by_exec(stand: Stand, deferrable: Any) -> None:
    lives = {"eks-sandbox/xcom": '{"rows": 7}', "eks-sandbox/log-lines": "3"}

    run = stand.run(operator(do_xcom_push=True, deferrable=deferrable, poll_interval=1, annotations=lives))

    assert run.state == "success", run.output
    assert run.says("XCOM {'rows': 7}")
    assert stand.codes() <= {101, 200, 201}
    assert stand.aws.count("sts:AssumeRole") == 1


def test_a_long_pod_outlives_role_sessions_and_loses_no_line(stand: Stand) -> None:
    from datetime import timedelta  # noqa: PLC0415

    stand.sandbox._world.roles[ROLE].life = timedelta(seconds=4)
    lives = {"eks-sandbox/run-seconds": "14", "eks-sandbox/log-lines": "28"}

    run = stand.run(operator(deferrable=True, poll_interval=1, annotations=lives))

    assert run.state == "success", run.output
    assert stand.codes() <= {200, 201}
    said = re.findall(r"line (\d+) of 28", run.output)
    assert said == [str(number) for number in range(1, 29)]
    assert stand.aws.count("sts:AssumeRole") >= 3


def test_exec_that_is_denied_is_named(stand: Stand) -> None:
    stand.sandbox._grants = tuple(grant for grant in stand.sandbox._grants if "pods/exec" not in grant.resources)
    stand.serve_again()

    run = stand.run(operator(do_xcom_push=True, annotations={"eks-sandbox/xcom": "1"}))

    assert run.state == "failed", run.output
    assert run.says("[eks:forbidden]")
    assert run.says('"get pods/exec" in namespace data on cluster analytics (403)')
    deleted = [request for request in stand.sandbox.kubernetes_requests if request.verb == "delete"]
    assert {request.code for request in deleted} == {200}  # its work is done, and the sidecar would wait for ever


def test_a_role_without_access_entry_is_named(stand: Stand) -> None:
    stand.sandbox.remove_access_entry(stand.sandbox.cluster(), ROLE)

    run = stand.run(operator())

    assert run.state == "failed", run.output
    assert run.says(f"[eks:not-mapped] Cluster analytics (222222222222, eu-west-1) refused {ROLE}: 401.")


def test_the_check_task_is_healthy(stand: Stand) -> None:
    run = stand.run(
        "from eks_cross_account.airflow import EksTokenCheckOperator\n"
        "EksTokenCheckOperator(task_id='t', cluster_name='analytics', aws_conn_id='cluster_connection', "
        "namespace='data')"
    )

    assert run.state == "success", run.output
    assert run.says("verdict: healthy")
