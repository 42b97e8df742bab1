"""The trigger in a loop of its own, with the parent's real code, against the sandbox's AWS and an API server."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from kubeapi import KubeApi, Pod

from eks_cross_account.airflow import CrossAccountEksPodTrigger
from eks_cross_account.airflow._target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
NEWER = hasattr(KubernetesPodTrigger, "on_kill") and "on_kill" in vars(KubernetesPodTrigger)


@pytest.fixture
def api(eks_sandbox: Sandbox, tmp_path: Path, connection: Any) -> Iterator[KubeApi]:
    (tmp_path / "ca").mkdir()
    with KubeApi(tmp_path / "ca", eks_sandbox) as started:
        started.mapped = {ROLE}
        cluster = eks_sandbox.add_cluster("analytics")
        cluster.endpoint, cluster.certificate_authority = started.endpoint, started.authority.base64_pem
        connection("c", extra={"role_arn": ROLE})
        yield started


def a_pod(api: KubeApi, name: str, *, life: float = 0.3) -> None:
    metadata = {"name": name, "namespace": "data", "annotations": {"test/life": str(life)}}
    spec = {"containers": [{"name": "base", "image": "busybox"}]}
    api.pods[name] = Pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


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


async def cancelled(of: CrossAccountEksPodTrigger, api: KubeApi, *, state: str) -> None:
    """As the triggerer does when somebody marks the task: cancel run(), then on_kill() or cleanup()."""
    of.task_instance = TaskInstance(state)
    running = asyncio.create_task(first_event(of))
    while not api.calls("get", "pods"):  # noqa: ASYNC110 - the server runs in a thread
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    if NEWER and state != "deferred":
        await of.on_kill()
    elif "cleanup" not in vars(KubernetesPodTrigger):
        await of.cleanup()


def test_it_watches_a_pod_to_its_end(api: KubeApi, eks_sandbox: Sandbox) -> None:
    a_pod(api, "report-1")

    event = asyncio.run(first_event(trigger()))

    assert (event["status"], event["name"], event["namespace"]) == ("success", "report-1", "data")
    assert {seen.status for seen in api.seen} == {200}
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_hundred_pods_cost_one_assume_role(api: KubeApi, eks_sandbox: Sandbox) -> None:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(first_event(trigger(f"p{number}")) for number in range(100)))

    for number in range(100):
        a_pod(api, f"p{number}")

    events = asyncio.run(all_of_them())

    assert {event["status"] for event in events} == {"success"}
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_401_costs_one_new_token(api: KubeApi) -> None:
    a_pod(api, "report-1")
    api.refusals = 1

    event = asyncio.run(first_event(trigger()))

    assert event["status"] == "success"
    assert [seen.status for seen in api.seen].count(401) == 1


@pytest.mark.skipif(
    "CancelledError" in KubernetesPodTrigger.run.__code__.co_names, reason="the parent deletes it in run()"
)
def test_killing_a_deferred_task_deletes_its_pod(api: KubeApi) -> None:
    a_pod(api, "report-1", life=60)

    asyncio.run(cancelled(trigger(), api, state="failed"))

    assert api.deleted == ["report-1"]


@pytest.mark.skipif(
    "CancelledError" in KubernetesPodTrigger.run.__code__.co_names, reason="the parent deletes it in run()"
)
def test_the_end_of_a_triggerer_deletes_no_pod(api: KubeApi) -> None:
    a_pod(api, "report-1", life=60)

    asyncio.run(cancelled(trigger(), api, state="deferred"))

    assert api.deleted == []


def test_after_its_event_no_pod_is_deleted(api: KubeApi) -> None:
    a_pod(api, "report-1")

    async def to_the_end() -> None:
        watching = trigger()
        watching.task_instance = TaskInstance("success")
        await first_event(watching)
        await (watching.on_kill() if NEWER else watching.cleanup())

    asyncio.run(to_the_end())

    assert api.deleted == []


def test_a_connection_that_this_triggerer_lacks_is_named_in_the_event(api: KubeApi) -> None:
    a_pod(api, "report-1")

    event = asyncio.run(first_event(trigger(aws_conn_id="not_there")))

    assert event["status"] == "error"
    assert "Airflow connection 'not_there' was not found here" in event["message"]
    assert api.seen == []


def test_a_format_of_a_newer_release_is_named_in_the_event(api: KubeApi) -> None:
    watching = trigger()
    watching.eks["v"] = 2

    event = asyncio.run(first_event(watching))

    assert event["status"] == "error"
    assert "this task was deferred by a newer eks-cross-account" in event["message"]
    assert api.seen == []


def test_no_secret_is_in_row_event_or_log_at_debug(
    api: KubeApi, eks_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    a_pod(api, "report-1")
    watching = trigger()

    with caplog.at_level(logging.DEBUG):
        event = asyncio.run(first_event(watching))

    text = "\n".join([repr(watching.serialize()), json.dumps(event, default=str), repr(vars(watching)),
                      *(f"{record.getMessage()} {record.args}" for record in caplog.records)])  # fmt: skip
    secrets = [key.secret_key for key in eks_sandbox._world.keys.values()] + ["k8s-aws-v1.", "X-Amz-Signature"]
    secrets += [key.session_token for key in eks_sandbox._world.keys.values() if key.session_token]
    assert not [secret for secret in secrets if secret in text]


def test_a_token_is_renewed_while_the_trigger_runs(api: KubeApi, eks_sandbox: Sandbox) -> None:
    eks_sandbox._world.roles[ROLE].life = timedelta(seconds=6)  # a tenth of it is the margin: a busy machine needs that
    a_pod(api, "report-1", life=10)

    event = asyncio.run(first_event(trigger()))

    assert event["status"] == "success"
    assert {seen.status for seen in api.seen} == {200}
    assert len({seen.authorization for seen in api.seen}) > 1
    assert eks_sandbox.requests[-1].operation == "sts:AssumeRole"


@pytest.mark.skipif(not NEWER, reason="Airflow calls on_kill() from 3.3 on")
@pytest.mark.parametrize(("state", "deleted"), [("deferred", []), ("failed", ["report-1"])])
def test_on_kill_deletes_the_pod_of_a_task_that_was_ended(api: KubeApi, state: str, deleted: list[str]) -> None:
    a_pod(api, "report-1", life=60)
    watching = trigger()
    watching.task_instance = TaskInstance(state)

    asyncio.run(watching.on_kill())

    assert api.deleted == deleted
