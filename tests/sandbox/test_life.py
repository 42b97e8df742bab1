"""The sandbox as a whole: two at once, loopback only, a clean end whatever happens, and the demonstration."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters import ADMIN, WORKER, SandboxCluster, Target, pod, until

from eks_cross_account.sandbox import Sandbox
from eks_cross_account.sandbox._faults import Fault, Faults
from eks_cross_account.sandbox._world import Principal, World

if TYPE_CHECKING:
    from collections.abc import Iterator

PODS = "/api/v1/namespaces/data/pods"
INTERRUPTIBLE_DEMO = """
import signal
from eks_cross_account.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have switched it off
raise SystemExit(main(["sandbox", "--demo"]))
"""
pytestmark = pytest.mark.knobs("the sandbox's own life")
COMMAND = [sys.executable, "-m", "eks_cross_account.cli"]


def test_two_sandboxes_know_nothing_of_each_other(target: Target) -> None:
    with Sandbox() as other:
        second = SandboxCluster(other)
        assert second.ask("POST", PODS, pod()).status == 201
        foreign = {"Authorization": f"Bearer {target.token()}"}

        assert second.ask("GET", PODS, role=None, headers=foreign).status == 401
        assert target.ask("GET", PODS).document["items"] == []
        assert second.cluster.certificate_authority != target.cluster.certificate_authority
        assert len({target.cluster.endpoint, second.cluster.endpoint}) == 2


def test_two_clusters_of_one_sandbox_have_their_own_pods_entries_and_ca(target: Target) -> None:
    sandbox = target.sandbox
    twin = sandbox.add_cluster("twin")
    sandbox.add_access_entry(twin, WORKER, groups=["airflow-workers"])
    target.ask("POST", PODS, pod())
    same_token = {"Authorization": f"Bearer {target.token()}"}

    target.world = twin
    for headers, status in ((same_token, 401), ({}, 401)):  # x-k8s-aws-id is another
        assert target.ask("GET", PODS, role=None, headers=headers).status == status

    assert [request.cluster for request in sandbox.kubernetes_requests] == ["analytics", "twin", "twin"]
    assert twin.certificate_authority != sandbox.cluster().certificate_authority


def test_a_cluster_that_was_added_before_the_start_listens_after_it() -> None:
    sandbox = Sandbox(default_world=False)
    cluster = sandbox.add_cluster("early")
    assert cluster.endpoint == ""

    with sandbox:
        assert cluster.endpoint.startswith("https://127.0.0.1:")

    with pytest.raises(KeyError):
        sandbox.cluster("late")


def listening() -> set[tuple[str, int]]:
    """Every address that this process listens on (Linux)."""
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()}
    found = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        if not Path(table).exists():
            continue
        for row in Path(table).read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                host, _, port = fields[1].partition(":")
                found.add((host, int(port, 16)))
    return found


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="/proc is Linux's")
def test_every_socket_that_listens_is_on_loopback() -> None:
    before = {port for _, port in listening()}
    with Sandbox() as sandbox:
        opened = [(host, port) for host, port in listening() if port not in before]

        assert len(opened) == 4  # AWS by TLS, AWS plain, the proxy, the cluster
        assert {host for host, _ in opened} == {"0100007F"}
        assert int(sandbox.cluster().endpoint.rpartition(":")[2]) in {port for _, port in opened}


def test_it_stops_while_logs_are_followed_and_requests_hang(target: Target) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", run_seconds="600"))
    target.sandbox.hang("kubernetes:list events")
    answers: list[int] = []

    def ask(path: str) -> None:
        try:
            answers.append(target.ask("GET", path, role=ADMIN, follow="true").status)
        except (OSError, http.client.HTTPException):
            answers.append(0)

    paths = (f"{PODS}/p1/log", "/api/v1/namespaces/data/events")
    threads = [threading.Thread(target=ask, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    until(lambda: target.sandbox.hanging == 1)
    until(lambda: any(request.resource == "pods/log" for request in target.sandbox.kubernetes_requests))

    target.sandbox.stop()
    for thread in threads:
        thread.join(20)

    assert len(answers) == 2
    assert not [thread for thread in threading.enumerate() if thread.name == "eks-sandbox"]


@pytest.mark.parametrize(
    "path", [f"{PODS}/p1/log?follow=true", "/api/v1/namespaces/data/events?watch=1"], ids=["log", "events"]
)
def test_what_is_followed_is_let_go_when_the_client_leaves(target: Target, path: str) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", run_seconds="600"))
    loop = target.sandbox._loop._loop
    with target.connection() as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {target.token(ADMIN)}"})
        answer = connection.getresponse()
        assert answer.readline()
        assert asyncio.all_tasks(loop)
        answer.close()

    until(lambda: not asyncio.all_tasks(loop))


def test_faults_and_denials_may_be_set_while_requests_meet_them() -> None:
    faults, world, over = Faults(), World(), threading.Event()
    caller = Principal("1", "arn:aws:sts::1:x", "id", "arn:aws:iam::1:role/x", "id", is_session=True)

    def change() -> None:
        while not over.is_set():
            for number in range(50):
                faults.add(Fault("*", "delay", 1))
                world.denied.add(("*", f"sts:{number}"))
            faults.clear()
            world.denied.clear()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        until_then = time.monotonic() + 0.5
        while time.monotonic() < until_then:
            faults.take("sts:GetCallerIdentity")
            world.denies(caller, "eks:DescribeCluster")
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **more}


def test_a_test_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(
        "from pathlib import Path\n"
        "def test_it(eks_sandbox):\n"
        "    Path('folder').write_text(str(Path(eks_sandbox.ca_bundle).parent))\n"
        "    raise ZeroDivisionError\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_failing.py"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert not Path((tmp_path / "folder").read_text()).exists()


def test_the_demonstration_fits_a_page_and_ends_as_it_says() -> None:
    done = subprocess.run(
        [*COMMAND, "sandbox", "--demo"], env=environment(), capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    told = ["401 Unauthorized", '"user": {}', "[not-mapped]", "create-access-entry", "200 OK", "Running -> Succeeded",
            "1204 rows written"]  # fmt: skip
    places = [next(number for number, line in enumerate(lines) if words in line) for words in told]
    assert places == sorted(places)
    assert len(lines) <= 40
    assert "k8s-aws-v1." not in done.stdout


@pytest.fixture
def demonstration() -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTIBLE_DEMO],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        yield started
        started.kill()


def test_ctrl_c_in_the_demonstration_is_130_without_a_traceback(demonstration: Any) -> None:
    while "1. A task" not in demonstration.stdout.readline():
        assert demonstration.poll() is None

    demonstration.send_signal(signal.SIGINT)
    _, errors = demonstration.communicate(timeout=30)

    assert (demonstration.returncode, errors) == (130, "")


def test_the_kubeconfig_leads_the_kubernetes_client_in(target: Target) -> None:
    kubernetes = pytest.importorskip("kubernetes")
    pytest.importorskip("yaml")
    file = target.sandbox.write_kubeconfig(target.sandbox.cluster(), role_arn=WORKER)
    configuration = kubernetes.client.Configuration()

    kubernetes.config.load_kube_config(str(file), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as client:
        found = kubernetes.client.CoreV1Api(client).list_namespaced_pod("data").items

    assert found == []
    assert target.audit()[-1]["user"]["groups"] == ["airflow-workers", "system:authenticated"]
    assert oct(file.stat().st_mode)[-3:] == "600"
    assert not any(secret in file.read_text() for secret in target.sandbox.environ.values() if len(secret) > 15)
