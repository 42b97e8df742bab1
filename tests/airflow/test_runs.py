"""DAGs that run, with the parent's real code, against the sandbox."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE, Stand, operator, refuse_once

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
    assert {request.user["username"] for request in stand.seen()} == {
        "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_cluster_connection"
    }
    assert {request.code for request in stand.seen()} <= {200, 201}
    assert (stand.created, len(stand.deleted), stand.left) == (1, 1, [])
    assert run.says("line 2 of 3")


def test_a_deferred_pod_runs_in_the_other_account(stand: Stand) -> None:
    run = stand.run(operator(deferrable=True, poll_interval=1))

    assert run.state == "success", run.output
    assert {request.code for request in stand.seen()} <= {200, 201}
    assert (stand.created, len(stand.deleted), stand.left) == (1, 1, [])
    assert run.says("line 2 of 3")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_missing_connection_is_named_and_signs_nothing(stand: Stand, deferrable: Any) -> None:
    run = stand.run(operator(deferrable=deferrable), connections={})

    assert run.state == "failed", run.output
    assert run.says("[eks:connection-missing]")
    assert (stand.aws, stand.seen()) == ([], [])


def test_a_401_costs_one_new_token(stand: Stand) -> None:
    refuse_once(stand.sandbox)

    run = stand.run(operator())

    assert run.state == "success", run.output
    assert [request.code for request in stand.seen()].count(401) == 1


def test_an_unmapped_role_is_named(stand: Stand) -> None:
    stand.sandbox.remove_access_entry(stand.sandbox.cluster(), ROLE)

    run = stand.run(operator())

    assert run.state == "failed", run.output
    assert run.says(
        f"[eks:not-mapped] Cluster analytics (222222222222, eu-west-1) refused {ROLE}: 401. "
        "Its token is valid (STS says so)"
    )
    assert run.says("STS says the token is that of arn:aws:sts::222222222222:assumed-role/cross-account-role/")


def test_a_pod_is_not_deleted_because_its_log_was_denied(stand: Stand) -> None:
    stand.sandbox.deny("kubernetes:get pods/log", principal_arn=ROLE)

    run = stand.run(operator(life=60))

    assert run.state == "failed", run.output
    assert run.says("[eks:forbidden]")
    assert run.says('may not "get pods/log" in namespace data on cluster analytics (403)')
    assert run.says(f"The pod is running and was NOT deleted: pod {stand.left[0]}. Retrying will not help.")
    assert (stand.created, stand.deleted, len(stand.left)) == (1, [], 1)


def test_an_operator_of_ones_own_runs_with_the_mixin_in_front(stand: Stand) -> None:
    task = """
from airflow.providers.amazon.aws.operators.eks import EksPodOperator
from eks_cross_account.airflow import CrossAccountEksMixin
class InHouse(EksPodOperator):
    def execute(self, context):
        print("IN-HOUSE BEFORE")
        return super().execute(context)
class CrossAccount(CrossAccountEksMixin, InHouse):
    pass
CrossAccount(task_id="t", cluster_name="analytics", region="eu-west-1", aws_conn_id="cluster_connection",
    namespace="data", pod_name="report", image="busybox", on_finish_action="delete_pod")
"""

    run = stand.run(task)

    assert run.state == "success", run.output
    assert run.says("IN-HOUSE BEFORE")
    assert stand.aws == ["sts:AssumeRole", "eks:DescribeCluster"]
    assert {request.code for request in stand.seen()} <= {200, 201}


@pytest.mark.parametrize("deferrable", [False, True])
def test_no_secret_is_in_a_log_at_debug_or_in_the_database(stand: Stand, deferrable: Any) -> None:
    stand.sandbox.deny("kubernetes:get pods/log", principal_arn=ROLE)
    stand.sandbox.deny("kubernetes:delete pods", principal_arn=ROLE)

    run = stand.run(
        operator(deferrable=deferrable, poll_interval=1, life=3), environ={"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
    )

    keys = stand.sandbox._world.keys.values()
    secrets = {key.secret_key for key in keys} | {key.session_token for key in keys if key.session_token}
    places = run.output.encode() + b"".join(file.read_bytes() for file in stand.home.rglob("*") if file.is_file())
    assert 403 in {request.code for request in stand.seen()}
    assert not [secret for secret in secrets if secret[:60].encode() in places]
    for part in (b"X-Amz-Signature=", b"k8s-aws-v1.", base64.b64encode(b"https://sts.")[:-1]):  # of every token
        assert part not in places


def test_the_check_dag_says_that_all_is_well(stand: Stand) -> None:
    task = """
from eks_cross_account.airflow import EksTokenCheckOperator
EksTokenCheckOperator(task_id="t", cluster_name="analytics", aws_conn_id="cluster_connection", namespace="data")
"""

    run = stand.run(task)

    assert run.state == "success", run.output
    assert run.says("verdict: healthy")
