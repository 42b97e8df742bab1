"""One DAG per case in one file, and a loop that runs those that it is told to: test_line.py has the other end.

A line of stdin is a case, a line of stdout its result as JSON; all else that is printed goes to stderr.
"""

# ruff: noqa: E402 - warnings are silenced before Airflow is imported

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

warnings.simplefilter("ignore")
if __name__ == "__main__":  # before Airflow is imported, which logs to stdout then on some lines
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
from airflow.exceptions import TaskDeferred
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager
from needs_modes import KILLED, MODES, exists
from tenacity import wait_fixed

from eks_cross_account import provider
from eks_cross_account.airflow import (
    CrossAccountEksHook,
    CrossAccountEksPodOperator,
    CrossAccountEksPodTrigger,
    EksTokenCheckOperator,
)

POD: dict[str, Any] = {
    "task_id": "t", "cluster_name": "analytics", "region": "eu-west-1", "namespace": "data", "pod_name": "report",
    "image": "busybox", "on_finish_action": "delete_pod",
}  # fmt: skip
if not version("apache-airflow-providers-cncf-kubernetes").startswith("7."):  # 7.13 has it, 7.6 has not
    POD["startup_check_interval_seconds"] = 1
CASES: dict[str, dict[str, Any]] = {
    "sync": {"annotations": {"eks-sandbox/log-lines": "3"}},
    "deferrable": {"deferrable": True, "poll_interval": 1, "annotations": {"eks-sandbox/log-lines": "3"}},
    "xcom": {"do_xcom_push": True, "annotations": {"eks-sandbox/xcom": '{"rows": 7}'}},
    "page_sync": {"do_xcom_push": True, "annotations": {"eks-sandbox/xcom": "1"}},
    "page_deferred": {"deferrable": True, "poll_interval": 1},
    "unauthorized": {},
    "missing": {},
    "log": {"annotations": {"eks-sandbox/log-lines": "2000", "eks-sandbox/run-seconds": "3"}},
    "denied": {"annotations": {"eks-sandbox/run-seconds": "120"}},
}
CASES |= {f"needs.{name}": mode.arguments for name, mode in {**MODES, "killed": KILLED}.items() if exists(mode)}
TOKENS: list[Any] = []  # as many as were minted
MINT = provider.mint
DAGS = {}
for name, arguments in CASES.items():  # a connection of its own for each, so that none profits from another's session
    with DAG(name, start_date=datetime(2024, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as DAGS[name]:
        CrossAccountEksPodOperator(aws_conn_id=f"c_{name.partition('.')[0]}", **{**POD, **arguments})
with DAG("check", start_date=datetime(2024, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as DAGS["check"]:
    EksTokenCheckOperator(task_id="t", cluster_name="analytics", region="eu-west-1", aws_conn_id="c_check")


def counted(*given: Any, **named: Any) -> Any:
    TOKENS.append(MINT(*given, **named))
    return TOKENS[-1]


class HangsError(BaseException):
    """Of a task that has not ended."""


def hangs(*_: object) -> None:
    raise HangsError


def within_seconds(case: str) -> dict[str, Any]:
    """As by_dag_test, but what has not ended after half a minute hangs."""
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(30)
    try:
        return by_dag_test(case)
    finally:
        signal.alarm(0)


def by_dag_test(case: str) -> dict[str, Any]:
    run = DAGS[case].test()
    instance = run.get_task_instances()[0]
    try:
        pushed = instance.xcom_pull(task_ids="t")
    except Exception as error:  # noqa: BLE001 - Airflow 3 lets a plain process ask in some releases only
        pushed = f"{type(error).__name__}: {error}"
    return {"state": str(getattr(run.state, "value", run.state)), "task": str(instance.state), "xcom": pushed}


def by_killing_its_task(case: str) -> dict[str, Any]:
    """As a worker is told that somebody has marked the task: SIGTERM, which Airflow's handler turns into on_kill()."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until the handler is there
    killer = threading.Timer(4, os.kill, (os.getpid(), signal.SIGTERM))
    killer.start()
    try:
        return by_dag_test(case)
    finally:
        killer.cancel()


def play_triggers() -> None:
    """Run the trigger of a deferred task, and resume the task with its event: dag.test of Airflow 2.7 does not."""
    execute = CrossAccountEksPodOperator.execute

    async def first_event(trigger: Any) -> Any:
        return await anext(trigger.run())

    def execute_and_resume(operator: Any, context: Any) -> Any:
        try:
            return execute(operator, context)
        except TaskDeferred as deferred:
            event = asyncio.run(first_event(deferred.trigger))
            return getattr(operator, deferred.method_name)(context, event.payload)

    CrossAccountEksPodOperator.execute = execute_and_resume


class Killed:
    """The task instance as a triggerer of Airflow 2 asks for it: somebody has marked it failed."""

    dag_id, task_id, run_id, map_index, state = "d", "t", "r", -1, "failed"

    def refresh_from_db(self) -> None:
        pass


async def by_cancelling(hook: CrossAccountEksHook) -> None:
    """As a triggerer ends a trigger whose task somebody has marked: cancel run(), then on_kill(), else cleanup()."""
    trigger = CrossAccountEksPodTrigger(
        eks=hook.target.to_dict(), pod_name="killed", pod_namespace="data", trigger_start_time=datetime.now(UTC),
        base_container_name="base", poll_interval=0.2, on_finish_action="delete_pod",
    )  # fmt: skip
    trigger.task_instance = Killed()

    async def watch() -> None:
        async for _ in trigger.run():
            pass

    running = asyncio.create_task(watch())
    await asyncio.sleep(2)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    async def is_ended() -> bool:
        return True

    if hasattr(trigger, "safe_to_cancel"):  # how cncf-kubernetes 10.14 to 10.20 asks Airflow for the state
        trigger.safe_to_cancel = is_ended
    await (trigger.on_kill() if "on_kill" in vars(KubernetesPodTrigger) else trigger.cleanup())


def by_killing_its_trigger(_: str) -> dict[str, Any]:
    hook = CrossAccountEksHook("c_kill", cluster_name="analytics", region="eu-west-1")
    metadata = {"name": "killed", "annotations": {"eks-sandbox/run-seconds": "120"}}
    spec = {"containers": [{"name": "base", "image": "busybox"}]}
    hook.core_v1.create_namespaced_pod("data", {"metadata": metadata, "spec": spec})
    asyncio.run(by_cancelling(hook))
    return {"state": "killed"}


KILLS = {"kill": by_killing_its_trigger, "needs.killed": by_killing_its_task}
if __name__ == "__main__":
    provider.mint = counted
    for method in vars(PodManager).values():  # the provider's own are 31 s for a denied log, 42 s for a denied exec
        if hasattr(method, "retry"):
            method.retry.wait = wait_fixed(0.1)
    if version("apache-airflow").startswith("2.7."):
        play_triggers()
    for line in sys.stdin:
        case, start = line.strip(), time.monotonic()
        TOKENS.clear()
        try:
            result = KILLS.get(case, within_seconds if case.startswith("needs.") else by_dag_test)(case)
        except BaseException as error:  # noqa: BLE001 - the test shows it
            result = {"state": f"{type(error).__name__}: {error}"}
        result |= {"case": case, "tokens": len(TOKENS), "seconds": round(time.monotonic() - start, 1)}
        answers.write(json.dumps(result) + "\n")
