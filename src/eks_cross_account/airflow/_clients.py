"""The provider's two Kubernetes hooks, with a client of ours in the place of kubeconfig and exec plugin.

Each overrides ``get_conn`` and nothing else: it is all that pods, logs, events and exec are done by, in every release
of the provider. Writes nothing to disk and sets no process-wide default.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from eks_cross_account._discretion import discreet
from eks_cross_account.airflow._connections import Access, access_of, alook_up, look_up
from eks_cross_account.airflow._seams import AsyncKubernetesHook, KubernetesHook
from eks_cross_account.errors import without_frames
from eks_cross_account.kubernetes import api_client, async_api_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from eks_cross_account.airflow._target import Target
    from eks_cross_account.cluster import Cluster

_AT_ONCE = 24  # requests of one client in a triggerer's loop: to read an answer takes it a millisecond
_SLOW = 2.0  # seconds, after which a request keeps no other waiting: it is not its answer that takes the loop's time
REQUEST_TIMEOUT = 60  # seconds; the provider's API_TIMEOUT. The clients' own is none: a half-open connection hangs
_KEEPALIVE = (  # the provider's: a NAT gateway forgets a silent log stream after 350 s
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0x4), 120),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 0x5), 30),
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 0x6), 6),
)


class EksKubernetesHook(KubernetesHook):  # type: ignore[misc] # Airflow has no types here
    """KubernetesHook, whose client authenticates by tokens made in this process.

    ``access``: one that is in use already, to go on with.
    """

    def __init__(self, *, target: Target, access: Access | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - the parent's
        super().__init__(**kwargs)
        self.target: Target = target
        self._access = access
        self._is_in_cluster = False  # asked for when a pod is built, also where there is no network

    @property
    def access(self) -> Access:
        """The way into the cluster; the first look asks Airflow for the connection."""
        if self._access is None:
            self._access = access_of(look_up(self.target))
        return self._access

    @property
    def known_access(self) -> Access | None:
        """As ``access``, if it has been asked for already."""
        return self._access

    def get_conn(self) -> Any:  # noqa: ANN401 - kubernetes.client.ApiClient
        """A client of this cluster, with a configuration of its own."""
        import kubernetes.client  # noqa: PLC0415 - heavy, and here already where it is used

        access = self.access
        configuration = _configured(kubernetes.client.Configuration())
        with discreet():
            client: Any = api_client(access.provider, access.cluster(), configuration=configuration)
        # the header is set on the wire alone: what the client holds would stay in the frames of a traceback
        client.configuration.refresh_api_key_hook = None
        send = client.rest_client.request

        def request(method: str, url: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's
            try:
                return send(method, url, *arguments, **_limited(options))
            except Exception as error:  # noqa: BLE001 - raised again
                _forget_after_tls_failure(error, access)
                raise without_frames(error)  # noqa: B904 - the same error

        client.rest_client.request = request
        return client


def review(access: Access, kind: str, body: dict[str, Any], *, timeout: float) -> dict[str, Any]:
    """The API server's answer to a question about oneself, by one POST. Raises what the client raises.

    ``kind``: SelfSubjectReview or SelfSubjectAccessReview. As custom objects, because kubernetes 23 has no class for
    the first, and the low level call differs by release.
    """
    import kubernetes.client  # noqa: PLC0415 - as above

    group = "authentication.k8s.io" if kind == "SelfSubjectReview" else "authorization.k8s.io"
    question = {"apiVersion": f"{group}/v1", "kind": kind, **body}
    configuration = _configured(kubernetes.client.Configuration())
    with discreet(), api_client(access.provider, access.cluster(), configuration=configuration) as client:
        objects: Any = kubernetes.client.CustomObjectsApi(client)
        answer: dict[str, Any] = objects.create_cluster_custom_object(
            group, "v1", f"{kind.lower()}s", question, _request_timeout=timeout
        )
        return answer


class _Kept:
    """One client of a loop, for all hooks that share a way in, while any of them keeps it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.client: Any = None
        self._made_for: tuple[str, str] | None = None
        self._replaced: list[Any] = []  # with requests of others under way

    async def client_for(self, access: Access, cluster: Cluster) -> Any:  # noqa: ANN401 - kubernetes_asyncio's ApiClient
        """The client; another one where endpoint or CA have changed."""
        wanted = (cluster.endpoint, cluster.certificate_authority)
        async with self.lock:
            if self.client is None or self._made_for != wanted:
                if self.client is not None:
                    self._replaced.append(self.client)
                self.client, self._made_for = await _async_client(access, cluster, unlimited=True), wanted
            return self.client

    async def left(self) -> None:
        """One user less; the last one closes it."""
        self.users -= 1
        if self.users == 0:
            _forget(self)  # whose lock and client hold the loop, which would keep itself alive
            clients, self.client, self._replaced = [*self._replaced, self.client], None, []
            for client in clients:
                if client is not None:
                    await client.close()


_KEPT: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Access, _Kept]] = WeakKeyDictionary()


def _forget(kept: _Kept) -> None:
    of_loop: MutableMapping[Access, _Kept] = _KEPT.get(asyncio.get_running_loop(), {})
    for access in [access for access, each in of_loop.items() if each is kept]:
        del of_loop[access]


class AsyncEksKubernetesHook(AsyncKubernetesHook):  # type: ignore[misc] # as above
    """AsyncKubernetesHook, likewise. The connection is looked up once, in the thread that may ask Airflow.

    Each ``get_conn`` opens a client and closes it, as the provider's does. Within ``kept`` they are one and the same
    client for all hooks of one way in: a thousand deferred pods then make no TLS handshake at each look at a pod.
    """

    def __init__(self, *, target: Target, **kwargs: Any) -> None:  # noqa: ANN401 - the parent's
        super().__init__(**kwargs)
        self.target: Target = target
        self._access: Access | None = None
        self._is_in_cluster = False
        self._keeps = False
        self._kept: _Kept | None = None

    @property
    def known_access(self) -> Access | None:
        """The way into the cluster, if it has been asked for already."""
        return self._access

    async def access(self) -> Access:
        """The way into the cluster; the first call asks Airflow for the connection."""
        if self._access is None:
            self._access = access_of(await alook_up(self.target))
        return self._access

    @contextlib.asynccontextmanager
    async def get_conn(self) -> AsyncIterator[Any]:
        """A client of this cluster for the running loop."""
        access = await self.access()
        cluster = await access.acluster()
        if self._keeps:
            yield await self._shared(access).client_for(access, cluster)
            return
        client = await _async_client(access, cluster)
        try:
            yield client
        finally:
            await client.close()

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Within it ``get_conn`` gives a shared client. Asks nobody: the first ``get_conn`` does."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            kept, self._kept = self._kept, None
            if kept is not None:
                await asyncio.shield(kept.left())

    def _shared(self, access: Access) -> _Kept:
        if self._kept is None:
            of_loop = _KEPT.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
            self._kept = of_loop.setdefault(access, _Kept())
            self._kept.users += 1
        return self._kept


async def _async_client(access: Access, cluster: Cluster, *, unlimited: bool = False) -> Any:  # noqa: ANN401 - kubernetes_asyncio's ApiClient
    """``unlimited``: in connections, because what watches for long must not keep others waiting.

    What is answered at once waits for its turn then: a thousand pods that are looked at in the same moment would stop
    the loop for as long as their answers take to read, and open a thousand connections.
    """
    import kubernetes_asyncio.client  # noqa: PLC0415 - heavy, and here already where it is used
    from aiohttp import ServerDisconnectedError  # noqa: PLC0415 - as above

    configuration = _configured(kubernetes_asyncio.client.Configuration())
    if unlimited:
        configuration.connection_pool_maxsize = 0
    client: Any = await async_api_client(access.provider, cluster, configuration=configuration)
    client.configuration.refresh_api_key_hook = None  # as above
    send = client.rest_client.request
    slots = asyncio.Semaphore(_AT_ONCE)

    async def answered(method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's
        try:
            return await send(method, *arguments, **options)
        except ServerDisconnectedError:  # a connection that was idle: aiohttp before 3.10 tries no other
            if method != "GET":
                raise
            return await send(method, *arguments, **options)

    async def request(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as above
        waits = unlimited and options.get("_preload_content", True)
        try:
            async with _turn(slots) if waits else contextlib.nullcontext():
                return await answered(*arguments, **_limited(options))
        except Exception as error:  # noqa: BLE001 - raised again
            _forget_after_tls_failure(error, access)
            raise without_frames(error)  # noqa: B904 - the same error

    client.rest_client.request = request
    return client


@contextlib.asynccontextmanager
async def _turn(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    """Within it one has a slot, but for two seconds at most: few that hang would be the end of all looks else."""
    await slots.acquire()
    with contextlib.ExitStack() as once:
        once.callback(slots.release)
        slow = asyncio.get_running_loop().call_later(_SLOW, once.close)
        once.callback(slow.cancel)
        yield


def _configured(configuration: Any) -> Any:  # noqa: ANN401 - of either client
    """Keepalive as the provider has it; and NO_PROXY, which kubernetes 34 and 35 forget beside HTTPS_PROXY."""
    if hasattr(configuration, "socket_options"):
        from urllib3.connection import HTTPConnection  # noqa: PLC0415 - loaded already

        configuration.socket_options = [*HTTPConnection.default_socket_options, *_KEEPALIVE]
    if getattr(configuration, "proxy", None) and not getattr(configuration, "no_proxy", None):
        configuration.no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    return configuration


def _limited(options: dict[str, Any]) -> dict[str, Any]:
    """A request ends some time; a stream, whose silence means nothing, only with its connection (keepalive)."""
    if options.get("_request_timeout") is not None or not options.get("_preload_content", True):
        return options
    return {**options, "_request_timeout": REQUEST_TIMEOUT}


def _forget_after_tls_failure(error: BaseException, access: Access) -> None:
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError) or type(link).__name__ == "SSLError":  # urllib3's has no ssl ancestor
            access.forget_cluster()
            return
        reason = getattr(link, "reason", None)
        link = reason if isinstance(reason, BaseException) else link.__cause__ or link.__context__
