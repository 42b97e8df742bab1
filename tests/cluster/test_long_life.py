"""A client that lives longer than its tokens and its role sessions, and the bad days of a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from clusters import SESSION, WORKER, B, collected, pod, until
from urllib3.exceptions import ProtocolError

from eks_cross_account import TokenProvider, assume_roles, connect, violations
from eks_cross_account.credentials import FrozenCredentials, RoleHop
from eks_cross_account.kubernetes import api_client

if TYPE_CHECKING:
    from real_cluster import RealCluster

kubernetes = pytest.importorskip("kubernetes")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the client leaves its sockets open
]
collected_here = pytest.fixture(autouse=True)(collected)
PODS = "/api/v1/namespaces/data/pods"
LONG_LIFE = f"arn:aws:iam::{B}:role/long-life"
RE_MINTS, SESSIONS = 20, 2


@pytest.fixture(autouse=True)
def environ(real_cluster: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in real_cluster.sandbox.environ.items():
        monkeypatch.setenv(name, value)


def test_a_client_and_a_followed_log_outlive_tokens_and_sessions(real_cluster: RealCluster) -> None:
    sandbox = real_cluster.sandbox
    execution = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
    if LONG_LIFE not in sandbox._world.roles:
        sandbox.add_role(LONG_LIFE, trust=[execution], life=timedelta(seconds=20))
        real_cluster.add_access_entry(LONG_LIFE, groups=("airflow-workers",))
    source = assume_roles(_environment, [RoleHop(LONG_LIFE, SESSION)], region=sandbox.region)
    provider = TokenProvider(source, cluster_name="analytics", region=sandbox.region, lifetime=timedelta(seconds=2))
    core = kubernetes.client.CoreV1Api(api_client(provider, real_cluster.cluster))
    before, assumed = len(real_cluster.refused()), _assumed(real_cluster)
    core.create_namespaced_pod("data", pod("long-life", run_seconds="44", log_lines="440"))
    until(lambda: core.read_namespaced_pod("long-life", "data").status.phase == "Running")
    followed: list[str] = []

    def follow() -> None:
        answer = core.read_namespaced_pod_log("long-life", "data", follow=True, _preload_content=False)
        followed.extend(answer.read().decode().splitlines())

    follower = threading.Thread(target=follow)
    follower.start()
    tokens: set[str] = set()
    while core.read_namespaced_pod("long-life", "data").status.phase == "Running":
        tokens.add(provider.get_token().value)
        time.sleep(0.1)
    follower.join(20)

    assert followed == [f"line {number} of 440" for number in range(1, 441)]
    assert len(tokens) > RE_MINTS
    assert _assumed(real_cluster) - assumed > SESSIONS
    assert real_cluster.refused()[before:] == []
    core.delete_namespaced_pod("long-life", "data", grace_period_seconds=0)


def _environment() -> FrozenCredentials:
    return FrozenCredentials(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_SESSION_TOKEN"]
    )


def _assumed(real_cluster: RealCluster) -> int:
    return sum(request.operation == "sts:AssumeRole" for request in real_cluster.sandbox.requests)


def test_while_the_authenticator_is_away_all_are_refused_and_then_nobody(real_cluster: RealCluster) -> None:
    core = kubernetes.client.CoreV1Api(connect(cluster_name="analytics", role_arn=WORKER))
    core.list_namespaced_pod("data")
    real_cluster.stop("aws-iam-authenticator", signal.SIGKILL)
    try:
        refused = until(lambda: _refusal(core))  # what the API server remembers of the token lasts a second
    finally:
        real_cluster.start("aws-iam-authenticator")

    assert refused.status == 401
    assert real_cluster.refused()[-1]["user"] == {}
    assert until(lambda: _refusal(core) is None)


def test_while_sts_throttles_the_verifier_all_are_refused_and_then_nobody(real_cluster: RealCluster) -> None:
    sandbox = real_cluster.sandbox
    provider = real_cluster.provider()
    core = kubernetes.client.CoreV1Api(api_client(provider, real_cluster.cluster))
    sandbox.throttle("sts:GetCallerIdentity")
    try:
        refused = _refusal(core)
        log = real_cluster.log()
    finally:
        sandbox.clear_faults()

    assert refused is not None
    assert refused.status == 401
    assert real_cluster.refused()[-1]["user"] == {}
    assert "sts getCallerIdentity was throttled" in log
    core.list_namespaced_pod("data")  # and nothing of it is remembered


def test_a_log_that_breaks_with_the_api_server_can_be_followed_again_without_a_new_session(
    real_cluster: RealCluster,
) -> None:
    core = kubernetes.client.CoreV1Api(connect(cluster_name="analytics", role_arn=WORKER))
    before, assumed = len(real_cluster.refused()), _assumed(real_cluster)
    core.create_namespaced_pod("data", pod("restarted", run_seconds="8", log_lines="80"))
    until(lambda: core.read_namespaced_pod("restarted", "data").status.phase == "Running")
    answer = core.read_namespaced_pod_log("restarted", "data", follow=True, _preload_content=False)
    first = answer.readline()
    real_cluster.stop("kube-apiserver", signal.SIGKILL)
    with pytest.raises(ProtocolError):
        answer.read()
    real_cluster.start("kube-apiserver")
    again = core.read_namespaced_pod_log("restarted", "data", follow=True)

    assert first == b"line 1 of 80\n"
    assert again.splitlines() == [f"line {number} of 80" for number in range(1, 81)]
    assert _assumed(real_cluster) == assumed
    assert real_cluster.refused()[before:] == []
    core.delete_namespaced_pod("restarted", "data", grace_period_seconds=0)


@pytest.mark.parametrize(
    ("minutes", "status", "said"),
    [
        (-20, 401, "token expired"),
        (-16, 401, "token expired"),
        (-14, 200, ""),
        (0, 200, ""),
        (4, 200, ""),
        (6, 401, "in the future"),
        (20, 401, "in the future"),
    ],
)
def test_a_clock_that_is_off_is_named(real_cluster: RealCluster, minutes: int, status: int, said: str) -> None:
    session = real_cluster.sandbox.issue_session(WORKER, SESSION)
    provider = TokenProvider(
        FrozenCredentials(session.access_key, session.secret_key, session.token),
        cluster_name="analytics",
        region=real_cluster.sandbox.region,
        clock=lambda: datetime.now(UTC) + timedelta(minutes=minutes),
    )
    token, written = provider.get_token().value, len(real_cluster.log())

    with real_cluster.connection() as connection:
        connection.request("GET", PODS, headers={"Authorization": f"Bearer {token}"})
        answered = connection.getresponse().status
    told = " ".join(violation.message for violation in violations(token, now=datetime.now(UTC)))

    assert answered == status
    assert (said in told) if said else told == ""
    log = real_cluster.log()[written:]
    assert ("X-Amz-Date parameter is expired" in log) == (minutes < -15)
    assert ("Signature not yet current" in log) == (minutes > 5)  # the verifier lets it pass, STS does not


def _refusal(core: Any) -> Any:
    """The client's exception; None where it got an answer."""
    try:
        core.list_namespaced_pod("data")
    except kubernetes.client.ApiException as error:
        return error
    return None
