"""Kubernetes clients that stay authenticated: every request carries a good token, or is not sent.

Touches kubernetes and kubernetes_asyncio, each only in its own function; writes nothing to disk. The seam is the
client's own REST object, whose ``request(method, url, headers=...)`` all releases of both clients have
(``ApiClient.request`` is gone in kubernetes 37): there the header is set, and a 401 is answered once with a new token.
"""

from __future__ import annotations

import os
import weakref
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eks_cross_account._discretion import quiet
from eks_cross_account.cluster import Cluster, authority_pem, describe_cluster
from eks_cross_account.credentials import (
    KeptSource,
    RoleHop,
    assume_roles,
    botocore_session,
    caller_region,
    find_region,
    role_chain,
    session_source,
)
from eks_cross_account.errors import ClusterError, EksTokenError, without_frames
from eks_cross_account.provider import TokenProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import kubernetes.client
    import kubernetes_asyncio.client

    from eks_cross_account.token import EksToken

_HEADER = "authorization"  # as both clients spell it in a request's headers
_KEYS = (_HEADER, "BearerToken")  # kubernetes < 36 reads the first, kubernetes_asyncio and 36.0.0 the second
_SWITCHING, _UNAUTHORIZED = 101, 401
_HANDSHAKE = f"Handshake status {_UNAUTHORIZED}"  # what websocket-client says, and all that stream() passes on
_NOT_YET = "Bearer (no token yet)"  # the hook replaces it; a slot must be there for the hook to be asked at all


def api_client(
    provider: TokenProvider,
    cluster: Cluster,
    *,
    configuration: kubernetes.client.Configuration | None = None,
) -> kubernetes.client.ApiClient:
    """A ``kubernetes.client.ApiClient`` of this cluster. Asks nobody yet.

    ``configuration``: one of your own, for proxies, retries and the like; its host, CA and credentials are set here.
    A refresh that fails raises the provider's error out of the call: no request is ever sent without a token. A 401 is
    answered once with a new token, whatever the verb; websockets (exec, attach, port-forward) too.
    Raises ClusterError for a cluster without endpoint or CA.
    """
    classes = _client("kubernetes")
    used = configuration or classes.Configuration()
    authority = _configure(used, cluster, provider.get_token)
    _check_sends(used.auth_settings, used)
    client: Any = _stream_aware(classes.ApiClient, classes.ApiException, provider)(used)
    weakref.finalize(client, authority)
    _keep_to_the_cluster(client.rest_client.pool_manager)
    send = client.rest_client.request

    def request(method: str, url: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's
        token = provider.get_token()
        try:
            answer = send(method, url, *arguments, **_with_token(options, token))
        except classes.ApiException as error:
            if error.status != _UNAUTHORIZED:
                raise
        else:
            if answer.status != _UNAUTHORIZED:
                return answer
            _discard(answer)
        provider.invalidate(token)
        return send(method, url, *arguments, **_with_token(options, provider.get_token()))

    client.rest_client.request = request
    made: kubernetes.client.ApiClient = client
    return made


async def async_api_client(
    provider: TokenProvider,
    cluster: Cluster,
    *,
    configuration: kubernetes_asyncio.client.Configuration | None = None,
    client_class: type[kubernetes_asyncio.client.ApiClient] | None = None,
) -> kubernetes_asyncio.client.ApiClient:
    """A ``kubernetes_asyncio.client.ApiClient`` of this cluster, for the running loop; use it with ``async with``.

    As ``api_client``; tokens come by ``aget_token``, so a slow STS never blocks the loop. An answer that is no success
    raises ApiException also where the body is streamed, which this client leaves to its caller otherwise.
    ``client_class``: kubernetes_asyncio.stream.WsApiClient for exec. Its handshake too is tried once more after a 401,
    except with ``_preload_content=False``, where it has not happened yet when the call returns.
    """
    classes = _client("kubernetes_asyncio")
    from kubernetes_asyncio.client.rest import RESTResponse  # noqa: PLC0415 - an extra, and heavy
    from kubernetes_asyncio.stream import WsApiClient  # noqa: PLC0415 - as above

    used = configuration or classes.Configuration()
    authority = _configure(used, cluster, provider.peek)
    hook, used.refresh_api_key_hook = used.refresh_api_key_hook, None
    settings = used.auth_settings()
    _check_value(await settings if hasattr(settings, "__await__") else settings)
    used.refresh_api_key_hook = hook
    client: Any = (client_class or classes.ApiClient)(used)
    weakref.finalize(client, authority)
    _keep_session_to_the_cluster(client.rest_client.pool_manager)
    send = client.rest_client.request

    async def request(method: str, url: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's
        token = await provider.aget_token()
        try:
            answer = await send(method, url, *arguments, **_with_token(options, token))
        except classes.ApiException as error:
            if error.status != _UNAUTHORIZED:
                raise
        else:
            if answer.status != _UNAUTHORIZED:
                return await checked(answer)
            answer.release()
        provider.invalidate(token)
        token = await provider.aget_token()
        return await checked(await send(method, url, *arguments, **_with_token(options, token)))

    async def checked(answer: Any) -> Any:  # noqa: ANN401 - RESTResponse, or aiohttp's where the body is streamed
        if isinstance(answer, RESTResponse) or 200 <= answer.status <= 299:  # noqa: PLR2004 - HTTP
            return answer
        read: Any = RESTResponse(answer, await answer.read())
        raise classes.ApiException(http_resp=read)

    client.rest_client.request = request
    if isinstance(client, WsApiClient):  # WsApiClient, which goes past rest_client.request
        client.request = _retried_handshake(client.request, provider)  # type: ignore[method-assign]
    made: kubernetes_asyncio.client.ApiClient = client
    return made


def connect(  # noqa: PLR0913 - as get_token
    *,
    cluster_name: str,
    region: str | None = None,
    role_arn: str | None = None,
    external_id: str | None = None,
    session_name: str | None = None,
    role_hops: Iterable[RoleHop] | None = None,
    profile: str | None = None,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
) -> kubernetes.client.ApiClient:
    """The client of a cluster by its name: credentials, roles, DescribeCluster. Arguments as ``get_token`` has them.

    Each role is assumed once, for DescribeCluster and the first token. Raises what ``get_token`` and
    ``describe_cluster`` raise; ImportError, before anybody is asked, where the extra kubernetes is not installed.
    """
    _client("kubernetes")
    if session is not None and profile is not None:
        raise ValueError("a session has its profile already: give one of session and profile")
    hops = role_chain(role_arn, external_id, session_name, role_hops)
    used = botocore_session(session, profile=profile)
    found = find_region(region, used, os.environ)
    base = KeptSource(session_source(session, profile=profile))
    source = assume_roles(base, hops, region=caller_region(used, os.environ) or found, session=session)
    cluster = describe_cluster(source, cluster_name, region=found, session=session)
    return api_client(TokenProvider(source, cluster_name=cluster_name, region=found), cluster)


def _client(package: str) -> Any:  # noqa: ANN401 - without types, or with some, by release
    """Its module ``client``, which is heavy and an extra. Raises an ImportError that names the extra."""
    try:
        return import_module(f"{package}.client")
    except ModuleNotFoundError as missing:
        if missing.name != package:
            raise
        raise ImportError(
            f'this needs the client {package}: pip install "eks-cross-account[kubernetes]"', name=package
        ) from missing


def _configure(
    configuration: Any,  # noqa: ANN401 - of either client
    cluster: Cluster,
    token_of: Callable[[], EksToken | None],
) -> Callable[[], None]:
    """Set host, CA and credentials; what ends the CA's file."""
    if not cluster.endpoint or not cluster.certificate_authority:
        missing = "endpoint" if not cluster.endpoint else "certificate authority"
        raise ClusterError(f"cluster {cluster.name} has no {missing} (is it still being created?)")
    if not cluster.endpoint.startswith("https://"):
        raise ClusterError(f"the endpoint of cluster {cluster.name} is no https:// URL: a token would be there for all")
    path, end = _authority_file(cluster)
    configuration.host = cluster.endpoint
    configuration.ssl_ca_cert = path
    configuration.api_key = dict.fromkeys(_KEYS, _NOT_YET)
    configuration.api_key_prefix = {}

    def refresh(asking: Any) -> None:  # noqa: ANN401 - the Configuration that asks, perhaps a copy of ours
        token = token_of()
        if token is not None:  # else the request itself, which may await, sets its header
            asking.api_key.update(dict.fromkeys(_KEYS, token.bearer))

    configuration.refresh_api_key_hook = refresh
    return end


def _authority_file(cluster: Cluster) -> tuple[str, Callable[[], None]]:
    """The CA as a file that is on no disk (Linux), for clients that take nothing but a path; and its end.

    /proc/self is whoever asks, so a forked child finds its own copy of the descriptor.
    """
    pem = authority_pem(cluster).encode()
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("eks-cluster-ca")
        os.write(descriptor, pem)
        return f"/proc/self/fd/{descriptor}", lambda: os.close(descriptor)
    import tempfile  # noqa: PLC0415 - only where memfd is not

    descriptor, path = tempfile.mkstemp(prefix="eks-cluster-ca-", suffix=".pem")  # 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return path, lambda: Path(path).unlink(missing_ok=True)


def _check_sends(auth_settings: Callable[[], Any], configuration: Any) -> None:  # noqa: ANN401 - the client's
    hook, configuration.refresh_api_key_hook = configuration.refresh_api_key_hook, None
    _check_value(auth_settings())
    configuration.refresh_api_key_hook = hook


def _check_value(settings: Any) -> None:  # noqa: ANN401 - the client's
    """Raise where this release of the client would send websockets without a token (kubernetes 36.0.0 did)."""
    if (settings.get("BearerToken") or {}).get("value") != _NOT_YET:
        raise EksTokenError("this release of the Kubernetes client would send no token: install another one")


def _with_token(options: dict[str, Any], token: EksToken) -> dict[str, Any]:
    headers = {name: value for name, value in (options.get("headers") or {}).items() if name.lower() != _HEADER}
    return {**options, "headers": {**headers, _HEADER: token.bearer}}


def _keep_to_the_cluster(manager: Any) -> None:  # noqa: ANN401 - urllib3's PoolManager, or one for a proxy
    """Follow no redirect: who answers does not say where the next request goes. And print no header."""
    quiet(manager)
    send = manager.urlopen

    def urlopen(method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # noqa: ANN401, ARG001, FBT001, FBT002 - urllib3's
        return send(method, url, redirect=False, **options)

    manager.urlopen = urlopen


_HELD = ContextVar("eks_cross_account_held", default=False)  # a handshake of ours goes on


def _hold_websockets() -> None:
    """The same for the websockets of ``stream()``: websocket-client repeats the token to any ws:// that it is sent to.

    It takes no option from us, so the class is replaced where ``stream()`` finds it; other clients' are as they were.
    """
    from kubernetes.stream import ws_client  # noqa: PLC0415 - loaded already, where there is a stream

    module: Any = ws_client
    base: Any = module.WebSocket
    if getattr(base, "is_held", False):
        return

    class HeldWebSocket(base):  # type: ignore[misc]
        is_held = True

        def connect(self, url: str, **options: Any) -> None:  # noqa: ANN401 - websocket-client's
            if not _HELD.get():
                super().connect(url, **options)
                return
            super().connect(url, **{**options, "redirect_limit": 0})
            status = getattr(self.handshake_response, "status", _SWITCHING)
            if status != _SWITCHING:  # an old release takes the redirect for a connection
                self.shutdown()
                raise EksTokenError(f"the API server answered {status}, and no redirect of a websocket is followed")

    module.WebSocket = HeldWebSocket


def _keep_session_to_the_cluster(session: Any) -> None:  # noqa: ANN401 - aiohttp's
    """Follow no redirect: aiohttp would go on without the token."""
    send = session.request

    def request(method: str, url: Any, **options: Any) -> Any:  # noqa: ANN401 - aiohttp's
        return send(method, url, **{**options, "allow_redirects": False})

    object.__setattr__(session, "request", request)  # past ClientSession's own, which warns in asyncio's debug mode


def _discard(answer: Any) -> None:  # noqa: ANN401 - a RESTResponse, around urllib3's
    """Give the connection of an answer that nobody reads back to its pool."""
    raw = getattr(answer, "response", answer)
    raw.drain_conn()
    raw.release_conn()


def _retried_handshake(dial: Callable[..., Any], provider: TokenProvider) -> Callable[..., Any]:
    """WsApiClient's ``request`` with a token, and with another one after a 401."""
    import aiohttp  # noqa: PLC0415 - comes with the client

    async def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's
        token = await provider.aget_token()
        try:
            return await dial(*arguments, **_with_token(options, token))
        except aiohttp.WSServerHandshakeError as error:
            if error.status != _UNAUTHORIZED:
                raise
        provider.invalidate(token)
        return await dial(*arguments, **_with_token(options, await provider.aget_token()))

    return call


def _signed(arguments: tuple[Any, ...], options: dict[str, Any], token: EksToken) -> tuple[list[Any], dict[str, Any]]:
    """A handshake's arguments, with the token in new headers: the client's own stay in the frames of a traceback."""
    if not any(_has_header(value) for value in (*arguments, *options.values())):
        raise EksTokenError("this release of the Kubernetes client would send no token: install another one")

    def signed(value: Any) -> Any:  # noqa: ANN401 - one argument
        return {**value, _HEADER: token.bearer} if _has_header(value) else value

    return [signed(value) for value in arguments], {name: signed(value) for name, value in options.items()}


def _has_header(value: Any) -> bool:  # noqa: ANN401 - one argument
    return isinstance(value, dict) and _HEADER in value


def _stream_aware(base: Any, api_exception: Any, provider: TokenProvider) -> Any:  # noqa: ANN401 - classes of the client
    """An ApiClient on which ``stream()`` also answers a 401 once.

    For a websocket ``stream()`` puts a function of its own in the place of ``request`` (``call_api`` from 37 on) on
    the instance, so that is where it is taken hold of.
    """

    class EksApiClient(base):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - any attribute
            if name in {"request", "call_api"} and getattr(value, "__self__", None) is not self:
                value = retried(value)
            super().__setattr__(name, value)

    def retried(handshake: Any) -> Any:  # noqa: ANN401 - stream()'s function
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - its arguments
            token = provider.get_token()
            try:
                return send(arguments, options, token)
            except api_exception as error:
                if error.status != _UNAUTHORIZED and _HANDSHAKE not in str(error.reason):
                    raise
            provider.invalidate(token)
            return send(arguments, options, provider.get_token())

        def send(arguments: tuple[Any, ...], options: dict[str, Any], token: EksToken) -> Any:  # noqa: ANN401 - as above
            sent, named = _signed(arguments, options, token)
            _hold_websockets()
            held = _HELD.set(True)
            try:
                return handshake(*sent, **named)
            except api_exception as error:
                del sent, named
                raise without_frames(error)  # noqa: B904 - the same error
            finally:
                _HELD.reset(held)

        return call

    return EksApiClient
