"""Forked, spawned, killed, ending: what a process inherits, and what it leaves."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from forking import FORKED, ends_well, in_child

from eks_cross_account import RoleHop, TokenProvider, assume_roles, verify_token
from eks_cross_account.credentials import session_source

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"


def provider() -> TokenProvider:
    source = assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")
    return TokenProvider(source, cluster_name="analytics", region="eu-west-1")


@FORKED
def test_a_child_that_was_forked_while_sts_was_asked_has_a_token(eks_sandbox: Sandbox) -> None:
    """The parent's thread holds every lock on the way, and does not exist in the child."""
    eks_sandbox.hang("sts:AssumeRole", times=1)
    shared = provider()
    asking = threading.Thread(target=shared.get_token)
    asking.start()
    while not eks_sandbox.hanging:
        time.sleep(0.01)

    child = in_child(shared.get_token)

    assert ends_well(child, 10)
    asking.join(20)


@FORKED
def test_children_of_a_warm_parent_ask_nobody(eks_sandbox: Sandbox) -> None:
    shared = provider()
    shared.get_token()
    eks_sandbox.requests.clear()

    children = [in_child(shared.get_token) for _ in range(10)]

    assert all(ends_well(child, 10) for child in children)
    assert eks_sandbox.requests == []


@pytest.mark.usefixtures("eks_sandbox")
def test_a_spawned_process_makes_its_own_token_from_a_pickle() -> None:
    shared = provider()
    first = shared.get_token()

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs = pool.apply(shared.get_token)

    assert theirs.value != first.value
    assert verify_token(theirs.value, cluster_name="analytics").canonical_arn == ROLE


WORK = """
import sys
from eks_cross_account import connect
from kubernetes.client import CoreV1Api
client = connect(cluster_name="analytics", role_arn=sys.argv[1])
print("connected", flush=True)
while True:
    CoreV1Api(client).list_namespaced_pod("data")
"""


def run(code: str, home: Path, sandbox: Sandbox, *arguments: str) -> subprocess.Popen[str]:
    place = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=home,
        env={**place, **sandbox.environ, "HOME": str(home), "TMPDIR": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


KILLED = """
import os, signal, sys
from kubernetes.client import CoreV1Api
from eks_cross_account import connect

seen = dying_at = 0

def count(*_):  # an audit event is a file that is opened, a socket, an import ...: the points at which to die
    global seen
    seen += 1
    if seen == dying_at:
        os.kill(os.getpid(), signal.SIGKILL)

def work():
    client = connect(cluster_name="analytics", role_arn=sys.argv[1])
    for _ in range(3):
        CoreV1Api(client).list_namespaced_pod("data")

work()  # what is imported late is there now
sys.addaudithook(count)
seen = 0
work()
every = seen
for number in range(50):
    child = os.fork()
    if child == 0:
        seen, dying_at = 0, 1 + number * (every - 1) // 49
        work()
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else f"ended with {os.WEXITSTATUS(status)}")
"""


@FORKED
def test_killed_at_fifty_points_it_leaves_no_file(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    """From the search for credentials to the third request: nothing that has keys or a token is ever on a disk."""
    home = tmp_path / "everything"
    home.mkdir()

    out, err = run(KILLED, home, eks_sandbox, ROLE).communicate(timeout=50)

    assert out.split() == ["9"] * 50, err
    assert list(home.rglob("*")) == []


def test_a_process_that_waits_for_sts_ends_at_sigterm(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    eks_sandbox.hang("sts:AssumeRole")
    process = run(WORK, tmp_path, eks_sandbox, ROLE)
    while not eks_sandbox.hanging:
        assert process.poll() is None
        time.sleep(0.02)

    process.terminate()
    process.communicate(timeout=5)

    assert process.returncode == -15
    assert list(tmp_path.rglob("*")) == []


ENDING = """
import asyncio, atexit, sys
from eks_cross_account import EksTokenError, RoleHop, TokenProvider, assume_roles
from eks_cross_account.credentials import session_source

source = assume_roles(session_source(), [RoleHop(sys.argv[1])], region="eu-west-1")
provider = TokenProvider(source, cluster_name="analytics", region="eu-west-1")

def last() -> None:
    provider.get_token()
    print("a token")
    fresh = TokenProvider(source, cluster_name="training", region="eu-west-1")
    try:
        asyncio.run(fresh.aget_token())
    except EksTokenError as error:
        print(type(error).__name__)

atexit.register(last)
asyncio.run(provider.aget_token())
"""


def test_at_the_end_of_the_interpreter_a_token_can_be_had_and_nothing_hangs(
    eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    """No thread can be started any more: coroutines are told so."""
    process = run(ENDING, tmp_path, eks_sandbox, ROLE)
    out, err = process.communicate(timeout=20)

    assert out.splitlines() == ["a token", "CredentialsUnavailableError"]
    assert (process.returncode, err) == (0, "")


HANDLED = """
import os, signal, sys, time
from datetime import UTC, datetime, timedelta
from eks_cross_account import FrozenCredentials, TokenProvider
from eks_cross_account.credentials import KeptSource

given = timedelta(hours=1)
ask = lambda: os.kill(os.getpid(), signal.SIGTERM)

def source():
    global ask
    asking, ask = ask, lambda: None
    asking()  # and while it waits for the answer the task is ended
    return FrozenCredentials("ASIAEXAMPLEEXAMPLE01", "s" * 40, "t", datetime.now(UTC) + given)

def on_kill(*_):
    print(len(provider.get_token().value) > 100)
    sys.exit(7)

provider = TokenProvider(KeptSource(source), cluster_name="analytics", region="eu-west-1")
signal.signal(signal.SIGTERM, on_kill)
provider.get_token()
"""


def test_a_handler_of_signals_has_a_token_while_its_own_thread_waits_for_one(
    eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Airflow calls on_kill, which deletes the pod, in a handler of SIGTERM."""
    process = run(HANDLED, tmp_path, eks_sandbox)
    try:
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()

    assert (out, err, process.returncode) == ("True\n", "", 7)
