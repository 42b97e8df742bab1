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
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

warnings.simplefilter("ignore")
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
SECONDS = 20.0  # that a row watches, or the time between two looks at a pod where that is longer
POLL = 2  # seconds between two looks at one pod; more for so many that no API server would bear it
MANY, SELDOM = 2000, 40


def serve() -> None:
    """AWS by the sandbox; an API server that only says that every pod runs: the sandbox's own could not keep up."""
    from aiohttp import web  # noqa: PLC0415 - of this process only

    from eks_cross_account.sandbox import Sandbox  # noqa: PLC0415 - as above
    from eks_cross_account.sandbox._ca import CertificateAuthority  # noqa: PLC0415 - as above

    folder = tempfile.TemporaryDirectory(prefix="bench-")
    authority = CertificateAuthority(Path(folder.name), "bench")
    polls = 0
    status = {"phase": "Running", "containerStatuses": [{
        "name": "base", "ready": True, "restartCount": 0, "image": "i", "imageID": "i",
        "state": {"running": {"startedAt": "2026-02-03T04:05:06Z"}},
    }]}  # fmt: skip

    async def pod(request: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        name = request.match_info["name"]
        spec = {"containers": [{"name": "base", "image": "i"}]}
        metadata = {"name": name, "namespace": "data", "uid": name}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
        return web.json_response(document)

    async def events(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:  # nothing happens to a pod that runs
            stream = web.StreamResponse()
            await stream.prepare(request)
            await asyncio.sleep(600)
            return stream
        return web.json_response({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": []})

    async def run() -> int:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/data/pods/{name}", pod)
        app.router.add_get("/api/v1/namespaces/data/events", events)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context("127.0.0.1"), backlog=2048)
        await site.start()
        port = runner.addresses[0][1]
        place = {"endpoint": f"https://127.0.0.1:{port}", "ca": authority.base64_pem}
        cluster = started.cluster()  # EksPodTrigger asks EKS where it is
        cluster.endpoint, cluster.certificate_authority = place["endpoint"], place["ca"]
        loop = asyncio.get_running_loop()
        print(json.dumps({"environ": started.environ, **place}), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        before = polls  # the measurement begins
        await loop.run_in_executor(None, sys.stdin.readline)
        found = polls - before
        await runner.cleanup()
        return found

    with Sandbox() as started:
        found = asyncio.run(run())
        asked = [each.operation for each in started.requests]
        print(json.dumps({"polls": found, "sts": sum(it.startswith("sts:") for it in asked),
                          "eks": sum(it.startswith("eks:") for it in asked)}), flush=True)  # fmt: skip


def poll_of(pods: int) -> int:
    return SELDOM if pods > MANY else POLL


def trigger(whose: str, number: int, pods: int, place: dict[str, str]) -> Any:
    common = {
        "pod_name": f"p{number}", "pod_namespace": "data", "base_container_name": "base",
        "poll_interval": poll_of(pods), "trigger_start_time": datetime.now(UTC), "get_logs": False,
        "startup_timeout": 120,
    }  # fmt: skip
    if whose == "ours":
        from eks_cross_account.airflow import CrossAccountEksPodTrigger  # noqa: PLC0415 - heavy

        eks = {
            "v": 1, "cluster_name": "analytics", "region": "eu-west-1", "aws_conn_id": "c", "hops": [],
            "cluster_endpoint": place["endpoint"], "cluster_ca": place["ca"],
        }  # fmt: skip
        return CrossAccountEksPodTrigger(eks=eks, **common)
    from airflow.providers.amazon.aws.triggers.eks import EksPodTrigger  # noqa: PLC0415 - heavy

    return EksPodTrigger(
        eks_cluster_name="analytics", aws_conn_id="c", region="eu-west-1", in_cluster=False, **common,
    )  # fmt: skip


async def late(lateness: list[float]) -> None:
    """How much later than asked the loop comes back: what every other task in it feels."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        lateness.append(time.perf_counter() - start - 0.01)


async def watch(one: Any, begin: float) -> None:
    """``begin``: seconds from now; tasks of a real day are not deferred in one instant."""
    await asyncio.sleep(begin)
    async for event in one.run():
        raise RuntimeError(event.payload)


async def watched(whose: str, pods: int, place: dict[str, str], mark: Callable[[], None]) -> dict[str, Any]:
    lateness: list[float] = []
    triggers = [trigger(whose, number, pods, place) for number in range(pods)]
    tasks = [asyncio.create_task(watch(one, poll_of(pods) * number / pods)) for number, one in enumerate(triggers)]
    # imports, the connection, the first token, each pod's watch of events; a program for each token of the peer
    await asyncio.sleep(10 + (pods / 40 if whose == "ours" else pods * 5))
    mark()
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ticker = asyncio.create_task(late(lateness))
    watching = max(SECONDS, poll_of(pods))
    await asyncio.sleep(watching)
    ticker.cancel()
    failed = [task for task in tasks if task.done()]
    if failed:
        failed[0].result()
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
              for after, before in zip(spent, (own, children), strict=True))  # fmt: skip
    lateness.sort()
    return {"due": round(pods * watching / poll_of(pods)), "cpu": cpu,
            "late": lateness[int(len(lateness) * 0.99)] * 1000,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip


def one(whose: str, pods: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    assert server.stdin is not None
    assert server.stdout is not None
    place = json.loads(server.stdout.readline())
    os.environ.update(place["environ"])
    extra = {"role_arn": ROLE, "region_name": "eu-west-1"}
    os.environ["AIRFLOW_CONN_C"] = json.dumps({"conn_type": "aws", "extra": extra})
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    tell = server.stdin

    def mark() -> None:
        tell.write("\n")
        tell.flush()

    # not asyncio.run, which would cancel them all: the provider's trigger swallows that where it comes while it starts
    polled: dict[str, Any] = asyncio.new_event_loop().run_until_complete(watched(whose, pods, place, mark))
    mark()
    polled |= json.loads(server.stdout.readline())
    server.wait(60)
    return {**polled, "whose": whose, "pods": pods, "cpu": polled["cpu"] * 1000 / max(1, polled["polls"])}


def main(arguments: list[str]) -> None:
    if arguments[0] == "--serve":
        serve()
        return
    if arguments[0] == "--one":
        print(json.dumps(one(arguments[1], int(arguments[2]))), flush=True)
        os._exit(0)
    quick = arguments[0] == "--quick"
    rows = [("ours", pods) for pods in ((1, 10, 100) if quick else (1, 10, 100, 1000, 3000, 10000))]
    rows += [("EksPodTrigger", pods) for pods in ((1, 2) if quick else (1, 3, 10))]
    told = []
    for whose, pods in rows:
        command = [sys.executable, __file__, "--one", whose, str(pods)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
        told.append(json.loads(done.stdout.splitlines()[-1]))
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
