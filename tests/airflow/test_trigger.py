"""The trigger in a loop of its own, with the parent's real code, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from stand import ROLE, admin, refuse_once, seen

from eks_cross_account.airflow import CrossAccountEksPodTrigger
from eks_cross_account.airflow._target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

NEWER = hasattr(KubernetesPodTrigger, "on_kill") and "on_kill" in vars(KubernetesPodTrigger)


@pytest.fixture
def sandbox(eks_sandbox: Sandbox, connection: Any) -> Sandbox:
    connection("c", extra={"role_arn": ROLE})
    return eks_sandbox


def add_pods(sandbox: Sandbox, *names: str, life: float = 0.3) -> None:
    cluster = admin(sandbox)
    for name in names:
        metadata = {"name": name, "namespace": "data", "annotations": {"eks-sandbox/run-seconds": str(life)}}
        spec = {"containers": [{"name": "base", "image": "busybox"}]}
        cluster.create_namespaced_pod("data", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def deleted(sandbox: Sandbox) -> list[str]:
    return [request.name for request in seen(sandbox, "delete", "pods") if request.code == 200]


def trigger(name: str = "report-1", **arguments: Any) -> CrossAccountEksPodTrigger:
    eks = Target("analytics", region="eu-west-1", aws_conn_id=arguments.pop("aws_conn_id", "c")).to_dict()
    given = {"pod_name": name, "pod_namespace": "data", "trigger_start_time": datetime.now(UTC),
             "base_container_name": "base", "poll_interval": 0.1, "startup_check_interval": 1}  # fmt: skip
    return CrossAccountEksPodTrigger(eks=eks, **{**given, **arguments})


async def first_event(of: CrossAccountEksPodTrigger) -> Any:
    async for event in of.run():
        return event.payload
    return None


class TaskInstance:
    """Of Airflow 2, whose state is asked of the database."""

    dag_id, task_id, run_id, map_index = "d", "t", "r", -1

    def __init__(self, state: str) -> None:
        self.state = "deferred"
        self._after = state

    def refresh_from_db(self) -> None:
        self.state = self._after


async def cancelled(of: CrossAccountEksPodTrigger, sandbox: Sandbox, *, state: str) -> None:
    """As the triggerer does when somebody marks the task: cancel run(), then on_kill() or cleanup()."""
    of.task_instance = TaskInstance(state)
    running = asyncio.create_task(first_event(of))
    while not seen(sandbox, "get", "pods"):  # noqa: ASYNC110 - the server runs in a thread
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    if NEWER and state != "deferred":
        await of.on_kill()
    elif "cleanup" not in vars(KubernetesPodTrigger):
        await of.cleanup()


def test_it_watches_a_pod_to_its_end(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")

    event = asyncio.run(first_event(trigger()))

    assert (event["status"], event["name"], event["namespace"]) == ("success", "report-1", "data")
    assert {request.code for request in seen(sandbox)} == {200}
    assert [request.operation for request in sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_hundred_pods_cost_one_assume_role(sandbox: Sandbox) -> None:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(first_event(trigger(f"p{number}")) for number in range(100)))

    add_pods(sandbox, *(f"p{number}" for number in range(100)))

    events = asyncio.run(all_of_them())

    assert {event["status"] for event in events} == {"success"}
    assert [request.operation for request in sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_401_costs_one_new_token(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")
    refuse_once(sandbox)

    event = asyncio.run(first_event(trigger()))

    assert event["status"] == "success"
    assert [request.code for request in seen(sandbox)].count(401) == 1


@pytest.mark.skipif(
    "CancelledError" in KubernetesPodTrigger.run.__code__.co_names, reason="the parent deletes it in run()"
)
def test_killing_a_deferred_task_deletes_its_pod(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1", life=60)

    asyncio.run(cancelled(trigger(), sandbox, state="failed"))

    assert deleted(sandbox) == ["report-1"]


@pytest.mark.skipif(
    "CancelledError" in KubernetesPodTrigger.run.__code__.co_names, reason="the parent deletes it in run()"
)
def test_the_end_of_a_triggerer_deletes_no_pod(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1", life=60)

    asyncio.run(cancelled(trigger(), sandbox, state="deferred"))

    assert deleted(sandbox) == []


def test_after_its_event_no_pod_is_deleted(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")

    async def to_the_end() -> None:
        watching = trigger()
        watching.task_instance = TaskInstance("success")
        await first_event(watching)
        await (watching.on_kill() if NEWER else watching.cleanup())

    asyncio.run(to_the_end())

    assert deleted(sandbox) == []


def test_a_connection_that_this_triggerer_lacks_is_named_in_the_event(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")

    event = asyncio.run(first_event(trigger(aws_conn_id="not_there")))

    assert event["status"] == "error"
    assert "Airflow connection 'not_there' was not found here" in event["message"]
    assert seen(sandbox) == []


def test_no_secret_is_in_row_event_or_log_at_debug(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    add_pods(sandbox, "report-1")
    watching = trigger()

    with caplog.at_level(logging.DEBUG):
        event = asyncio.run(first_event(watching))

    text = "\n".join([repr(watching.serialize()), json.dumps(event, default=str), repr(vars(watching)),
                      *(f"{record.getMessage()} {record.args}" for record in caplog.records)])  # fmt: skip
    secrets = [key.secret_key for key in sandbox._world.keys.values()] + ["k8s-aws-v1.", "X-Amz-Signature"]
    secrets += [key.session_token for key in sandbox._world.keys.values() if key.session_token]
    assert not [secret for secret in secrets if secret in text]


def test_a_token_is_renewed_while_the_trigger_runs(sandbox: Sandbox) -> None:
    sandbox._world.roles[ROLE].life = timedelta(seconds=6)  # a tenth of it is the margin: a busy machine needs that
    add_pods(sandbox, "report-1", life=10)

    event = asyncio.run(first_event(trigger()))

    assert event["status"] == "success"
    assert {request.code for request in seen(sandbox)} == {200}
    assert len({request.user["extra"]["accessKeyId"][0] for request in seen(sandbox)}) > 1
    assert sandbox.requests[-1].operation == "sts:AssumeRole"
