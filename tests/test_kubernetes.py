"""The clients on the wire: the header that is really sent, the 401 that is answered once, and never without a token."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from apiserver import ApiServer
from clusters import collected
from tokens import CREDENTIALS

from eks_cross_account import (
    ClusterError,
    EksTokenError,
    StsUnavailableError,
    TokenProvider,
    decode_token,
)
from eks_cross_account.kubernetes import api_client, async_api_client, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.credentials import FrozenCredentials
    from eks_cross_account.sandbox import Sandbox

kubernetes = pytest.importorskip("kubernetes")
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning",  # old releases of the clients, on newer Pythons
    "default::PendingDeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # the clients leave the socket of a stream to the collector
)
collected_here = pytest.fixture(autouse=True)(collected)

VERBS = ["GET", "POST", "PATCH", "DELETE"]


class Ticking:
    """A clock on which every look is two seconds later: no two tokens are the same."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=2)
        return self.now


class Source:
    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> FrozenCredentials:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return replace(CREDENTIALS, expiration=datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    (tmp_path / "ca").mkdir()
    with ApiServer(tmp_path / "ca") as started:
        yield started


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def provider(source: Source) -> TokenProvider:
    return TokenProvider(source, cluster_name="analytics", region="eu-west-1", clock=Ticking())


@pytest.fixture
def client(provider: TokenProvider, server: ApiServer) -> Iterator[Any]:
    made = api_client(provider, server.cluster)
    yield made
    made.close()


def core(client: Any) -> Any:
    return kubernetes.client.CoreV1Api(client)


def assert_all_signed(server: ApiServer, count: int) -> None:
    assert len(server.authorizations) == count
    for authorization in server.authorizations:
        assert authorization is not None
        assert authorization.startswith("Bearer k8s-aws-v1.")
        assert decode_token(authorization.removeprefix("Bearer ")).access_key_id == CREDENTIALS.access_key


def verbs(api: Any) -> dict[str, Any]:
    return {
        "GET": lambda **o: api.list_namespaced_pod("data", **o),
        "POST": lambda **o: api.create_namespaced_pod("data", {"metadata": {"name": "p1"}}, **o),
        "PATCH": lambda **o: api.patch_namespaced_pod("p1", "data", {"metadata": {"labels": {"a": "b"}}}, **o),
        "DELETE": lambda **o: api.delete_namespaced_pod("p1", "data", **o),
    }


def test_making_a_client_asks_nobody(client: Any, source: Source, server: ApiServer) -> None:
    assert client is not None
    assert (source.calls, server.seen) == (0, [])


@pytest.mark.parametrize("verb", VERBS)
def test_the_token_is_in_the_header_on_the_wire(client: Any, server: ApiServer, verb: str) -> None:
    verbs(core(client))[verb]()

    assert_all_signed(server, 1)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("preload", [True, False], ids=["read", "streamed"])
def test_a_401_is_answered_once_with_another_token(
    client: Any,
    server: ApiServer,
    verb: str,
    preload: bool,  # noqa: FBT001 - a table
) -> None:
    server.refusals = 1

    verbs(core(client))[verb](_preload_content=preload)

    assert_all_signed(server, 2)
    assert len(set(server.authorizations)) == 2
    assert server.seen[0][3] == server.seen[1][3]  # the same body


def test_a_second_401_is_the_callers(client: Any, server: ApiServer) -> None:
    server.refusals = 5

    with pytest.raises(kubernetes.client.ApiException) as raised:
        core(client).list_namespaced_pod("data")

    assert raised.value.status == 401
    assert_all_signed(server, 2)


@pytest.mark.parametrize("status", [403, 404, 409, 500])
def test_another_refusal_is_not_tried_again(client: Any, server: ApiServer, status: int) -> None:
    server.status = status

    with pytest.raises(kubernetes.client.ApiException) as raised:
        core(client).create_namespaced_pod("data", {"metadata": {"name": "p1"}})

    assert raised.value.status == status
    assert len(server.seen) == 1


@pytest.mark.parametrize("refusals", [0, 1])
def test_a_watch_is_authenticated_and_survives_a_401(client: Any, server: ApiServer, refusals: int) -> None:
    server.refusals = refusals

    watch = kubernetes.watch.Watch()
    events = watch.stream(core(client).list_namespaced_pod, "data", timeout_seconds=1, _request_timeout=5)
    seen = [next(events)["type"], next(events)["type"]]
    events.close()

    assert seen == ["ADDED", "DELETED"]
    assert_all_signed(server, 1 + refusals)


@pytest.mark.parametrize("refusals", [0, 1])
def test_a_followed_log_is_authenticated_and_survives_a_401(client: Any, server: ApiServer, refusals: int) -> None:
    server.refusals = refusals

    answer = core(client).read_namespaced_pod_log("p1", "data", follow=True, _preload_content=False)
    text = b"".join(getattr(answer, "response", answer).stream())
    getattr(answer, "response", answer).release_conn()

    assert text == b"line 1\nline 2\n"
    assert_all_signed(server, 1 + refusals)


@pytest.mark.parametrize("refusals", [0, 1])
def test_exec_is_authenticated_and_survives_a_401(client: Any, server: ApiServer, refusals: int) -> None:
    from kubernetes.stream import stream  # noqa: PLC0415 - importorskip comes first

    server.refusals = refusals

    output = stream(
        core(client).connect_get_namespaced_pod_exec, "p1", "data", command=["cat", "x"], stdout=True, stderr=True,
        stdin=False, tty=False,
    )  # fmt: skip

    assert output == "hello"
    assert_all_signed(server, 1 + refusals)


def test_after_exec_the_client_is_as_before(client: Any, server: ApiServer) -> None:
    from kubernetes.stream import stream  # noqa: PLC0415 - importorskip comes first

    stream(core(client).connect_get_namespaced_pod_exec, "p1", "data", command=["x"], stdout=True)
    server.refusals = 1

    core(client).list_namespaced_pod("data")

    assert_all_signed(server, 3)


def test_a_refresh_that_fails_raises_and_nothing_is_sent(client: Any, source: Source, server: ApiServer) -> None:
    from kubernetes.stream import stream  # noqa: PLC0415 - importorskip comes first

    source.error = StsUnavailableError("down")

    for call in verbs(core(client)).values():
        with pytest.raises(StsUnavailableError):
            call()
    with pytest.raises(StsUnavailableError):
        stream(core(client).connect_get_namespaced_pod_exec, "p1", "data", command=["x"])

    assert server.seen == []


def test_connections_are_kept_alive(client: Any, server: ApiServer) -> None:
    for _ in range(3):
        core(client).list_namespaced_pod("data")

    pool = client.rest_client.pool_manager.connection_from_url(server.cluster.endpoint)
    assert pool.num_connections == 1


def test_a_timeout_of_the_caller_is_the_clients(provider: TokenProvider, server: ApiServer) -> None:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - beside its one use

    own = kubernetes.client.Configuration()
    own.retries = False
    client = api_client(provider, server.cluster, configuration=own)
    server.hold.clear()

    try:
        with pytest.raises(HTTPError):
            core(client).list_namespaced_pod("data", _request_timeout=(5, 0.3))  # a float alone is ignored before 35
    finally:
        server.hold.set()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_ca_is_on_no_disk_and_ends_with_the_client(
    provider: TokenProvider, server: ApiServer, tmp_path: Path
) -> None:
    before = descriptors()
    made = api_client(provider, server.cluster)

    assert made.configuration.ssl_ca_cert.startswith("/proc/self/fd/")
    assert Path(made.configuration.ssl_ca_cert).read_bytes() == server.authority.pem
    core(made).list_namespaced_pod("data")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca"]
    made.close()
    del made
    gc.collect()
    assert descriptors() <= before + 1  # the server's side of a closed connection


def test_a_wrong_ca_is_refused(provider: TokenProvider, server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with ApiServer(tmp_path / "other") as other:
        wrong = replace(server.cluster, certificate_authority=other.authority.base64_pem)
        client = api_client(provider, wrong)
        client.configuration.retries = False

        with pytest.raises(Exception, match=r"(?i)certificate verify failed"):
            client.rest_client.pool_manager.request("GET", wrong.endpoint, retries=False)

    assert server.seen == []


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": ""},
        {"certificate_authority": ""},
        {"certificate_authority": "not base64!"},
        {"certificate_authority": "aGVsbG8="},
        {"certificate_authority": "/w=="},
        {"endpoint": "http://127.0.0.1:1"},
        {"endpoint": "127.0.0.1"},
    ],
    ids=str,
)
def test_a_cluster_that_cannot_be_reached_is_refused(
    provider: TokenProvider, server: ApiServer, change: dict[str, str]
) -> None:
    with pytest.raises(ClusterError):
        api_client(provider, replace(server.cluster, **change))


def test_a_release_that_would_send_nothing_is_refused(provider: TokenProvider, server: ApiServer) -> None:
    class Broken(kubernetes.client.Configuration):  # type: ignore[misc, name-defined]
        def auth_settings(self) -> Any:
            return {}

    with pytest.raises(EksTokenError, match="would send no token"):
        api_client(provider, server.cluster, configuration=Broken())


def test_a_configuration_of_ones_own_is_used(provider: TokenProvider, server: ApiServer) -> None:
    own = kubernetes.client.Configuration()
    own.proxy = "http://127.0.0.1:9"
    own.no_proxy = "nothing.example"

    made = api_client(provider, server.cluster, configuration=own)

    assert made.rest_client.pool_manager.proxy is not None
    assert made.configuration.proxy == "http://127.0.0.1:9"


def test_the_process_wide_default_is_left_alone(client: Any) -> None:
    default = kubernetes.client.Configuration.get_default_copy()

    assert default.api_key == {}
    assert default.host != client.configuration.host


# --- asyncio


def with_async(provider: TokenProvider, server: ApiServer, work: Any) -> Any:
    asyncio_client = pytest.importorskip("kubernetes_asyncio")

    async def scenario() -> Any:
        async with await async_api_client(provider, server.cluster) as client:
            return await work(asyncio_client.client.CoreV1Api(client))

    return asyncio.run(scenario())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("refusals", [0, 1])
@pytest.mark.parametrize("preload", [True, False], ids=["read", "streamed"])
def test_the_asyncio_client_sends_the_token_and_answers_a_401_once(
    provider: TokenProvider,
    server: ApiServer,
    verb: str,
    refusals: int,
    preload: bool,  # noqa: FBT001 - a table
) -> None:
    server.refusals = refusals

    async def work(api: Any) -> None:
        answer = await verbs(api)[verb](_preload_content=preload)
        if not preload:
            answer.release()

    with_async(provider, server, work)

    assert_all_signed(server, 1 + refusals)
    assert len(set(server.authorizations)) == 1 + refusals


@pytest.mark.parametrize("status", [401, 403, 500])
@pytest.mark.parametrize("preload", [True, False], ids=["read", "streamed"])
def test_the_asyncio_client_raises_for_every_refusal(
    provider: TokenProvider,
    server: ApiServer,
    status: int,
    preload: bool,  # noqa: FBT001 - a table
) -> None:
    from kubernetes_asyncio.client import ApiException  # noqa: PLC0415 - an extra

    server.status = status

    async def work(api: Any) -> Any:
        return await api.read_namespaced_pod_log("p1", "data", _preload_content=preload)

    with pytest.raises(ApiException) as raised:
        with_async(provider, server, work)

    assert raised.value.status == status
    assert json.loads(raised.value.body)["kind"] == "Status"


@pytest.mark.parametrize("refusals", [0, 1])
def test_the_asyncio_watch_and_log_survive_a_401(provider: TokenProvider, server: ApiServer, refusals: int) -> None:
    from kubernetes_asyncio import watch  # noqa: PLC0415 - an extra

    server.refusals = refusals

    async def work(api: Any) -> Any:
        answer = await api.read_namespaced_pod_log("p1", "data", follow=True, _preload_content=False)
        text = await answer.read()
        seen = []
        async with watch.Watch().stream(api.list_namespaced_pod, "data", timeout_seconds=1) as events:
            async for event in events:
                seen.append(event["type"])
                if len(seen) == 2:
                    break
        return text, seen

    assert with_async(provider, server, work) == (b"line 1\nline 2\n", ["ADDED", "DELETED"])
    assert_all_signed(server, 2 + refusals)


def with_websocket(provider: TokenProvider, server: ApiServer) -> str:
    pytest.importorskip("kubernetes_asyncio")
    from kubernetes_asyncio.client import CoreV1Api  # noqa: PLC0415 - an extra
    from kubernetes_asyncio.stream import WsApiClient  # noqa: PLC0415 - an extra

    async def scenario() -> Any:
        async with await async_api_client(provider, server.cluster, client_class=WsApiClient) as client:
            return await CoreV1Api(client).connect_get_namespaced_pod_exec(
                "p1", "data", command=["cat", "x"], stdout=True, stderr=True, stdin=False, tty=False
            )

    return str(asyncio.run(scenario()))


@pytest.mark.parametrize("refusals", [0, 1])
def test_asyncio_exec_is_authenticated_and_survives_a_401(
    provider: TokenProvider, server: ApiServer, refusals: int
) -> None:
    server.refusals = refusals

    assert with_websocket(provider, server) == "hello"
    assert_all_signed(server, 1 + refusals)
    assert len(set(server.authorizations)) == 1 + refusals


@pytest.mark.parametrize(("status", "tries"), [(401, 2), (403, 1)])
def test_an_asyncio_handshake_that_is_refused_is_the_callers(
    provider: TokenProvider, server: ApiServer, status: int, tries: int
) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    server.status = status

    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        with_websocket(provider, server)

    assert raised.value.status == status
    assert_all_signed(server, tries)


def test_an_asyncio_refresh_that_fails_raises_and_nothing_is_sent(
    provider: TokenProvider, source: Source, server: ApiServer
) -> None:
    source.error = StsUnavailableError("down")

    with pytest.raises(StsUnavailableError):
        with_async(provider, server, lambda api: api.list_namespaced_pod("data"))
    with pytest.raises(StsUnavailableError):
        with_websocket(provider, server)

    assert server.seen == []


# --- connect


def test_connect_assumes_each_role_once_and_describes_once(
    eks_sandbox: Sandbox, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = kubernetes.client.Configuration()
    if default.proxy and not default.no_proxy:
        pytest.skip("kubernetes 34 and 35 read HTTPS_PROXY and forget NO_PROXY")
    world = eks_sandbox._world.clusters["222222222222", "eu-west-1", "analytics"]
    monkeypatch.setattr(world, "endpoint", server.cluster.endpoint)
    monkeypatch.setattr(world, "certificate_authority", server.cluster.certificate_authority)

    client = connect(cluster_name="analytics", role_arn="arn:aws:iam::222222222222:role/cross-account-role")
    for _ in range(3):
        core(client).list_namespaced_pod("data")
    client.close()

    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]
    assert len(server.authorizations) == 3


SCRIPT = """
import os, sys, time

opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(args))

from kubernetes.client import CoreV1Api
from eks_cross_account import Cluster, api_client, get_token
from eks_cross_account.provider import TokenProvider
from eks_cross_account.credentials import session_source

provider = TokenProvider(session_source(), cluster_name="analytics", region="eu-west-1")
client = api_client(provider, Cluster("analytics", sys.argv[1], sys.argv[2]))
CoreV1Api(client).list_namespaced_pod("data")
flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
print([path for path, _, how in opened if how is not None and how & flags], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_nothing_is_written_and_nothing_left_after_a_kill(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    import signal as signals  # noqa: PLC0415 - the parameter has the better name

    folder = tmp_path / "everything"
    folder.mkdir()
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", str(CREDENTIALS.token))
    cluster = server.cluster

    command = [sys.executable, "-c", SCRIPT, cluster.endpoint, cluster.certificate_authority]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = process.stdout.readline().strip()
        process.send_signal(getattr(signals, signal))

    assert written == "[]"
    assert list(folder.iterdir()) == []
    assert_all_signed(server, 1)


def test_importing_the_room_loads_no_client() -> None:
    code = "import sys, eks_cross_account.kubernetes; print([n for n in sys.modules if n.startswith('kubernetes')])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# --- who answers does not say where the next request goes


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """A port that nothing may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def assert_nobody_came(elsewhere: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        elsewhere.accept()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_redirect_is_followed(
    client: Any, server: ApiServer, elsewhere: socket.socket, verb: str, status: int, scheme: str
) -> None:
    server.status, server.location = status, f"{scheme}://127.0.0.1:{elsewhere.getsockname()[1]}/"

    with pytest.raises(kubernetes.client.ApiException) as raised:
        verbs(core(client))[verb]()

    assert raised.value.status == status
    assert_all_signed(server, 1)
    assert_nobody_came(elsewhere)


@pytest.mark.parametrize("scheme", ["ws", "wss", "http"])
def test_no_redirect_of_exec_is_followed(client: Any, server: ApiServer, elsewhere: socket.socket, scheme: str) -> None:
    from kubernetes.stream import stream  # noqa: PLC0415 - an extra

    server.status, server.location = 307, f"{scheme}://127.0.0.1:{elsewhere.getsockname()[1]}/"

    # AttributeError: kubernetes 36.0.0, which decodes the body of a failed handshake that has none
    with pytest.raises((kubernetes.client.ApiException, AttributeError)):
        stream(core(client).connect_get_namespaced_pod_exec, "p1", "data", command=["true"], _request_timeout=2)

    assert_nobody_came(elsewhere)


@pytest.mark.parametrize("preload", [True, False], ids=["read", "streamed"])
def test_the_asyncio_client_follows_no_redirect(
    provider: TokenProvider,
    server: ApiServer,
    elsewhere: socket.socket,
    preload: bool,  # noqa: FBT001 - a table
) -> None:
    from kubernetes_asyncio.client import ApiException  # noqa: PLC0415 - an extra

    server.status, server.location = 307, f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"

    async def work(api: Any) -> Any:
        return await api.read_namespaced_pod_log("p1", "data", _preload_content=preload)

    with pytest.raises(ApiException) as raised:
        with_async(provider, server, work)

    assert raised.value.status == 307
    assert_nobody_came(elsewhere)


def test_the_clients_debug_mode_prints_no_token(
    provider: TokenProvider, server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 0)  # of the whole process
    configuration = kubernetes.client.Configuration()
    configuration.debug = True

    with api_client(provider, server.cluster, configuration=configuration) as made:
        monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)  # old releases undo it when they copy
        core(made).list_namespaced_pod("data")

    assert_all_signed(server, 1)
    printed = capsys.readouterr()
    assert "k8s-aws-v1" not in printed.out + printed.err
    configuration.debug = False


@pytest.mark.parametrize("package", ["kubernetes", "kubernetes_asyncio"])
def test_without_the_extra_the_error_names_it_and_nobody_was_asked(
    package: str, provider: TokenProvider, source: Source, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(package), *sys.meta_path])

    def make() -> Any:
        if package == "kubernetes":
            return connect(cluster_name="analytics", region="eu-west-1")  # no credentials, which it would look for
        return asyncio.run(async_api_client(provider, server.cluster))

    with pytest.raises(ImportError, match=rf'{package}: pip install "eks-cross-account\[kubernetes\]"'):
        make()

    assert source.calls == 0


class NotInstalled:
    """An importer for whom a package is not there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)
