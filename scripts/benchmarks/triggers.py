"""Deferred pods in one event loop: what a poll costs, how late the loop is, what AWS is asked. Run by scripts/bench.

Each row is a process of its own (``--one``), so that no row profits from another's caches; the sandbox is a third one.
A pod is watched for a while and not to its end: the rates are those of a triggerer in the middle of its work.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

warnings.simplefilter("ignore")
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
SECONDS = 20.0  # that a row watches
POLL = 2


def sandbox(pods: int) -> None:
    """Serve until stdin ends; then say what was asked."""
    from eks_cross_account.sandbox import Sandbox  # noqa: PLC0415 - of this process only

    with Sandbox() as started:
        from stand import admin  # noqa: PLC0415 - of the tests

        core = admin(started)
        for number in range(pods):
            core.create_namespaced_pod("data", {
                "metadata": {"name": f"p{number}", "annotations": {"eks-sandbox/run-seconds": "600"}},
                "spec": {"containers": [{"name": "base", "image": "busybox"}]},
            })  # fmt: skip
        started.requests.clear()
        before = len(started.kubernetes_requests)
        print(json.dumps(started.environ), flush=True)
        sys.stdin.readline()
        asked = [each.operation for each in started.requests]
        polls = sum(
            (each.verb, each.resource) == ("get", "pods") for each in tuple(started.kubernetes_requests)[before:]
        )
        print(json.dumps({"polls": polls, "sts": sum(it.startswith("sts:") for it in asked),
                          "eks": sum(it.startswith("eks:") for it in asked)}), flush=True)  # fmt: skip


def trigger(whose: str, number: int) -> Any:
    common = {
        "pod_name": f"p{number}", "pod_namespace": "data", "base_container_name": "base", "poll_interval": POLL,
        "trigger_start_time": datetime.now(UTC), "get_logs": False, "startup_timeout": 120,
    }  # fmt: skip
    if whose == "ours":
        from eks_cross_account.airflow import CrossAccountEksPodTrigger  # noqa: PLC0415 - heavy

        eks = {"v": 1, "cluster_name": "analytics", "region": "eu-west-1", "aws_conn_id": "c", "hops": []}
        return CrossAccountEksPodTrigger(eks=eks, **common)
    from airflow.providers.amazon.aws.triggers.eks import EksPodTrigger  # noqa: PLC0415 - heavy

    return EksPodTrigger(
        eks_cluster_name="analytics", aws_conn_id="c", region="eu-west-1", in_cluster=False,
        config_dict={}, **common,
    )  # fmt: skip


async def late(lateness: list[float]) -> None:
    """How much later than asked the loop comes back: what every other task in it feels."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        lateness.append(time.perf_counter() - start - 0.01)


async def watch(one: Any) -> None:
    async for event in one.run():
        raise RuntimeError(event.payload)


async def watched(whose: str, pods: int) -> dict[str, Any]:
    lateness: list[float] = []
    triggers = [trigger(whose, number) for number in range(pods)]
    tasks = [asyncio.create_task(watch(one)) for one in triggers]
    await asyncio.sleep(5)  # the start: imports, the connection, the first token
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticker = asyncio.create_task(late(lateness))
    await asyncio.sleep(SECONDS)
    ticker.cancel()
    failed = [task for task in tasks if task.done()]
    if failed:
        failed[0].result()
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
              for after, before in zip(spent, (own, children), strict=True))  # fmt: skip
    for task in tasks:
        task.cancel()
    with suppress(BaseException):
        await asyncio.gather(*tasks, return_exceptions=True)
    lateness.sort()
    return {"cpu": cpu, "late": lateness[int(len(lateness) * 0.99)] * 1000,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip


def one(whose: str, pods: int) -> dict[str, Any]:
    server = subprocess.Popen([sys.executable, __file__, "--sandbox", str(pods)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)  # noqa: S603 # fmt: skip
    assert server.stdin is not None
    assert server.stdout is not None
    os.environ.update(json.loads(server.stdout.readline()))
    os.environ["AIRFLOW_CONN_C"] = json.dumps({"conn_type": "aws", "extra": {"role_arn": ROLE, "region_name": "eu-west-1"}})
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    polled: dict[str, Any] = asyncio.run(watched(whose, pods))
    server.stdin.write("\n")
    server.stdin.flush()
    polled |= json.loads(server.stdout.readline())
    server.wait(30)
    polls = max(1, polled["polls"] * SECONDS / (SECONDS + 5))
    return {**polled, "whose": whose, "pods": pods, "cpu": polled["cpu"] * 1000 / polls, "programs": 0}


def main(arguments: list[str]) -> None:
    if arguments[0] == "--sandbox":
        sandbox(int(arguments[1]))
        return
    if arguments[0] == "--one":
        print(json.dumps(one(arguments[1], int(arguments[2]))))
        return
    rows = [("ours", 1), ("ours", 10)] if arguments[0] == "--quick" else [("ours", 10), ("ours", 100), ("ours", 1000)]
    told = []
    for whose, pods in rows:
        done = subprocess.run([sys.executable, __file__, "--one", whose, str(pods)], stdout=subprocess.PIPE, text=True)  # noqa: S603
        if done.returncode:
            sys.exit(done.returncode)
        told.append(json.loads(done.stdout.splitlines()[-1]))
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
