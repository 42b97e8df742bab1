"""The trigger in a loop of its own, with the parent's real code, against the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from stand import ROLE, admin, refuse_once, seen

from eks_cross_account import RoleHop
from eks_cross_account.airflow import CrossAccountEksPodTrigger, _clients, _connections
from eks_cross_account.airflow._target import Target
from eks_cross_account.sandbox import trust_policy

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

OLDEST = version("apache-airflow-providers-cncf-kubernetes").startswith("7.6.")
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


def add_second_role(sandbox: Sandbox) -> str:
    """A role that the connection's role may assume, with an access entry like its own."""
    arn = "arn:aws:iam::222222222222:role/team"
    sandbox.add_role(arn, trust=trust_policy(ROLE), allow=["eks:DescribeCluster"])
    sandbox._world.roles[ROLE].allow = (*sandbox._world.roles[ROLE].allow, "sts:AssumeRole")
    sandbox.add_access_entry(sandbox.cluster(), arn, groups=["airflow-workers"])
    return arn


def trigger(name: str = "report-1", **arguments: Any) -> CrossAccountEksPodTrigger:
    conn_id, hops = arguments.pop("aws_conn_id", "c"), arguments.pop("hops", ())
    eks = Target("analytics", region="eu-west-1", aws_conn_id=conn_id, hops=hops).to_dict()
    given = {"pod_name": name, "pod_namespace": "data", "trigger_start_time": datetime.now(UTC),
             "base_container_name": "base", "poll_interval": 0.1}  # fmt: skip
    if "startup_check_interval" in inspect.signature(KubernetesPodTrigger.__init__).parameters:  # from 7.13 on
        given["startup_check_interval"] = 1
    return CrossAccountEksPodTrigger(eks=eks, **{**given, **arguments})


async def first_event(of: CrossAccountEksPodTrigger) -> Any:
    async with contextlib.aclosing(of.run()) as events:
        async for event in events:
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
    while not running.done():  # the parent swallows a cancellation that comes while its watch of events ends
        running.cancel()
        await asyncio.sleep(0.02)
    assert running.cancelled()

    async def is_ended() -> bool:
        return state != "deferred"

    if hasattr(of, "safe_to_cancel"):  # how cncf-kubernetes 10.14 to 10.20 asks Airflow for the state
        of.safe_to_cancel = is_ended
    if not NEWER:
        await of.cleanup()
    elif state != "deferred":
        await of.on_kill()


def test_it_watches_a_pod_to_its_end(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")

    event = asyncio.run(first_event(trigger()))

    assert (event["status"], event["name"], event["namespace"]) == ("success", "report-1", "data")
    assert {request.code for request in seen(sandbox)} == {200}
    assert [request.operation for request in sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


async def all_of_them(triggers: list[CrossAccountEksPodTrigger]) -> list[Any]:
    return await asyncio.gather(*(first_event(one) for one in triggers))


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_pods_cost_one_assume_role_per_hop(sandbox: Sandbox, count: int) -> None:
    names = [f"p{number}" for number in range(count)]
    team = add_second_role(sandbox)
    add_pods(sandbox, *names, life=count / 100)

    started = time.thread_time()
    events = asyncio.run(all_of_them([trigger(name, hops=(RoleHop(team),), poll_interval=1) for name in names]))
    spent = time.thread_time() - started

    assert Counter(event["message"][-200:] for event in events if event["status"] != "success") == Counter()
    assert [request.operation for request in sandbox.requests] == [
        "sts:AssumeRole",
        "sts:AssumeRole",
        "eks:DescribeCluster",
    ]
    assert {request.code for request in seen(sandbox)} == {200}
    print(f"{count} pods: {spent / count * 1000:.1f} ms of the loop's own time for each")  # noqa: T201 - what -rP shows
    assert spent / count < 0.1


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
    assert "[eks:connection-missing] Airflow connection 'not_there' was not found here" in event["message"]
    assert seen(sandbox) == []


@pytest.mark.skipif(OLDEST, reason="there the parent makes its hook before it catches anything: the trigger fails")
def test_a_format_of_a_newer_release_is_named_in_the_event(sandbox: Sandbox) -> None:
    watching = trigger()
    watching.eks["v"] = 2

    event = asyncio.run(first_event(watching))

    assert event["status"] == "error"
    assert "[eks:trigger-version] this task was deferred by a newer eks-cross-account" in event["message"]
    assert seen(sandbox) == []


def test_no_secret_is_in_row_event_or_log_at_debug(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    add_pods(sandbox, "report-1")
    watching = trigger()

    with caplog.at_level(logging.DEBUG):
        event = asyncio.run(first_event(watching))

    text = "\n".join([repr(watching.serialize()), json.dumps(event, default=str), repr(vars(watching)),
                      *(f"{record.getMessage()} {record.args}" for record in caplog.records)])  # fmt: skip
    secrets = [key.secret_key for key in sandbox._world.keys.values()] + ["k8s-aws-v1.", "X-Amz-Signature"]
    secrets += [key.session_token for key in sandbox._world.keys.values() if key.session_token]
    assert not [secret for secret in secrets if secret in text]


def test_tokens_are_renewed_once_for_all_triggers(sandbox: Sandbox) -> None:
    team = add_second_role(sandbox)
    for arn in (ROLE, team):
        sandbox._world.roles[arn].life = timedelta(seconds=8)  # a tenth is the margin: a busy machine needs that
    names = [f"p{number}" for number in range(5)]
    add_pods(sandbox, *names, life=12)

    events = asyncio.run(all_of_them([trigger(name, hops=(RoleHop(team),), poll_interval=0.5) for name in names]))

    assert {event["status"] for event in events} == {"success"}
    assert {request.code for request in seen(sandbox)} == {200}
    used = {request.user["extra"]["accessKeyId"][0] for request in seen(sandbox)}
    assert len(used) > 1
    assumed = [request.caller.split("/")[-2] for request in sandbox.requests if request.operation == "sts:AssumeRole"]
    each_hop_once = ["mwaa-exec", "cross-account-role"] * (len(used) + 1)
    assert assumed in [each_hop_once[:-2], each_hop_once[:-1], each_hop_once]  # the last may be on its way at the end
    assert [request.operation for request in sandbox.requests].count("eks:DescribeCluster") == 1


def test_a_row_of_a_later_release_is_watched(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")
    path, kwargs = trigger(hops=(RoleHop(add_second_role(sandbox)),)).serialize()
    kwargs["eks"] |= {"later": {"key": 1}, "hops": [{**hop, "later": [1]} for hop in kwargs["eks"]["hops"]]}

    event = asyncio.run(first_event(CrossAccountEksPodTrigger(**kwargs)))

    assert path == "eks_cross_account.airflow.triggers.CrossAccountEksPodTrigger"
    assert event["status"] == "success"


def test_a_row_is_enough_on_another_machine(sandbox: Sandbox) -> None:
    add_pods(sandbox, "report-1")
    _, kwargs = trigger().serialize()
    row = json.dumps({name: value for name, value in kwargs.items() if name != "trigger_start_time"})
    for _ in range(2):  # a triggerer, and the one after it: nothing is left of the first
        _connections._ACCESSES.clear()
        _connections._SOURCES.clear()
        again = CrossAccountEksPodTrigger(trigger_start_time=kwargs["trigger_start_time"], **json.loads(row))

        event = asyncio.run(first_event(again))

        assert event["status"] == "success"
    assert [request.operation for request in sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"] * 2


@pytest.mark.skipif(not NEWER, reason="Airflow calls on_kill() from 3.3 on")
@pytest.mark.parametrize(("state", "gone"), [("deferred", []), ("failed", ["report-1"])])
def test_on_kill_deletes_the_pod_of_a_task_that_was_ended(sandbox: Sandbox, state: str, gone: list[str]) -> None:
    add_pods(sandbox, "report-1", life=60)
    watching = trigger()
    watching.task_instance = TaskInstance(state)

    asyncio.run(watching.on_kill())

    assert deleted(sandbox) == gone


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every client that was made, in its order."""
    clients: list[Any] = []

    async def counted(*arguments: Any, **options: Any) -> Any:
        clients.append(await make(*arguments, **options))
        return clients[-1]

    make = _clients._async_client
    monkeypatch.setattr(_clients, "_async_client", counted)
    return clients


def is_closed(client: Any) -> bool:
    return bool(client.rest_client.pool_manager.closed)


def test_triggers_of_one_way_in_share_a_client_which_the_last_one_closes(sandbox: Sandbox, made: list[Any]) -> None:
    add_pods(sandbox, "p0", "p1", "p2")

    events = asyncio.run(all_of_them([trigger(name) for name in ("p0", "p1", "p2")]))

    assert [event["status"] for event in events] == ["success"] * 3
    assert len(made) == 1
    assert is_closed(made[0])


def test_each_loop_and_each_connection_has_a_client_of_its_own(
    sandbox: Sandbox, connection: Any, made: list[Any]
) -> None:
    connection("other", extra={"role_arn": ROLE})
    add_pods(sandbox, "p0", "p1")

    asyncio.run(all_of_them([trigger("p0"), trigger("p1", aws_conn_id="other")]))
    asyncio.run(first_event(trigger("p0")))

    assert len(made) == 3
    assert all(map(is_closed, made))


def test_a_cancelled_trigger_leaves_the_client_to_the_others(sandbox: Sandbox, made: list[Any]) -> None:
    add_pods(sandbox, "short", life=1)
    add_pods(sandbox, "long", life=600)
    pods = admin(sandbox)
    while any(pod.status.phase == "Pending" for pod in pods.list_namespaced_pod("data").items):
        time.sleep(0.01)  # the provider of 7.6 reads a cancelled pod's log, which one that waits does not have

    async def run() -> Any:
        long = asyncio.create_task(first_event(trigger("long")))
        short = asyncio.create_task(first_event(trigger("short")))
        while not made:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
        long.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await long
        return await short

    assert asyncio.run(run())["status"] == "success"
    assert len(made) == 1
    assert is_closed(made[0])


@pytest.mark.usefixtures("sandbox")
def test_a_cluster_that_was_made_anew_gets_a_client_of_its_own(made: list[Any]) -> None:
    async def run() -> None:
        hook = trigger().hook
        async with hook.kept():
            access = await hook.access()
            cluster = await access.acluster()
            kept = hook._shared(access)
            first = await kept.client_for(access, cluster)
            assert await kept.client_for(access, replace(cluster, version="9.9")) is first
            second = await kept.client_for(access, replace(cluster, endpoint=f"{cluster.endpoint}/"))
            assert second is not first
            assert not is_closed(first)  # somebody may be waiting for its answer

    asyncio.run(run())

    assert len(made) == 2
    assert all(map(is_closed, made))


def test_many_looks_in_one_moment_take_turns(sandbox: Sandbox, made: list[Any]) -> None:
    names = [f"p{number}" for number in range(200)]
    add_pods(sandbox, *names, life=600)
    busy = most = 0

    async def run() -> None:
        nonlocal busy, most
        hook = trigger().hook
        async with hook.kept():
            await hook.get_pod("p0", "data")
            session = made[0].rest_client.pool_manager
            send = session.request

            async def counted(*arguments: Any, **options: Any) -> Any:
                nonlocal busy, most
                busy += 1
                most = max(most, busy)
                try:
                    return await send(*arguments, **options)
                finally:
                    busy -= 1

            with mock.patch.object(session, "request", counted):
                await asyncio.gather(*(hook.get_pod(name, "data") for name in names))

    asyncio.run(run())

    assert most == _clients._AT_ONCE


def test_looks_that_hang_keep_no_other_waiting(
    sandbox: Sandbox, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several API servers, or of the connections to them, that is silent: a look takes a minute to give up."""
    monkeypatch.setattr(_clients, "_AT_ONCE", 4)
    monkeypatch.setattr(_clients, "_SLOW", 0.2)
    add_pods(sandbox, "silent", "p0", life=600)

    async def run() -> tuple[str, int]:
        hook = trigger().hook
        async with hook.kept():
            await hook.get_pod("p0", "data")
            session = made[0].rest_client.pool_manager
            send = session.request

            async def answered(*arguments: Any, **options: Any) -> Any:
                if "silent" in f"{arguments} {options}":
                    await asyncio.Event().wait()
                return await send(*arguments, **options)

            with mock.patch.object(session, "request", answered):
                silent = [asyncio.create_task(hook.get_pod("silent", "data")) for _ in range(4)]
                await asyncio.sleep(0)
                found = await asyncio.wait_for(hook.get_pod("p0", "data"), 10)
                for each in silent:
                    each.cancel()
                ended = await asyncio.gather(*silent, return_exceptions=True)
                again = await asyncio.gather(*(hook.get_pod("p0", "data") for _ in range(20)))
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        return found.metadata.name, len(again)

    assert asyncio.run(run()) == ("p0", 20)


def test_a_connection_that_was_closed_while_idle_costs_a_second_try(sandbox: Sandbox, made: list[Any]) -> None:
    """As aiohttp before 3.10 tells it; from then on it tries again by itself."""
    from aiohttp import ServerDisconnectedError  # noqa: PLC0415 - Airflow's settings first

    add_pods(sandbox, "report-1", life=600)

    async def run() -> str:
        hook = trigger().hook
        async with hook.kept():
            await hook.get_pod("report-1", "data")
            session = made[0].rest_client.pool_manager
            send, calls = session.request, []

            async def once(*arguments: Any, **options: Any) -> Any:
                calls.append(arguments)
                if len(calls) == 1:
                    raise ServerDisconnectedError
                return await send(*arguments, **options)

            with mock.patch.object(session, "request", once):
                pod = await hook.get_pod("report-1", "data")
            assert len(calls) == 2
            return str(pod.metadata.name)

    assert asyncio.run(run()) == "report-1"
