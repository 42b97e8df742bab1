"""The sandbox's sockets: one asyncio loop in one thread, loopback only. Knows no AWS beyond host names.

The proxy tunnels to the sandbox's own listeners and to nothing else: a host that is not the sandbox's is refused, so
nothing that talks to it can reach the real AWS by mistake.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from eks_cross_account.sandbox._faults import Fault, Faults

LOOPBACK = "127.0.0.1"
_HEAD_LIMIT = 65_536
_CHUNK = 65_536
_START_SECONDS = 30
_LAST_TURNS = 10


class Loop:
    """An event loop in a daemon thread; ``call`` runs a coroutine there and returns its result."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout: float = _START_SECONDS) -> Any:  # noqa: ANN401 - its result
        """The coroutine's result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """Run a function in the loop's thread, without waiting."""
        self._loop.call_soon_threadsafe(callback, *arguments)

    def on_stop(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Something to await before the loop ends; the last first."""
        self._closers.append(closer)

    def stop(self) -> None:
        """Close all, then end the thread. A second call does nothing."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(TimeoutError):
            self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_SECONDS)

    async def _close(self) -> None:
        while self._closers:
            await self._closers.pop()()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for _ in range(_LAST_TURNS):  # a closed transport lets go of its socket some turns of the loop later
            await asyncio.sleep(0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


async def listen(
    loop: Loop,
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    context: ssl.SSLContext | None = None,
) -> int:
    """Serve the handler on a free loopback port; the port."""
    server = web.Server(handler, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.5)
    await runner.setup()

    async def close() -> None:
        """Let handlers end, then cut: a TLS connection would wait for the client's half of its good-bye."""
        transports = [connection.transport for connection in server.connections]
        await runner.cleanup()
        for transport in transports:
            if transport is not None:
                transport.abort()

    loop.on_stop(close)
    site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=context)
    await site.start()
    return int(runner.addresses[0][1])


def http_date(moment: datetime) -> str:
    """For the header Date: the sandbox's clock, which may not be the machine's."""
    return format_datetime(moment, usegmt=True)


async def meet(faults: Faults, fault: Fault, request: web.BaseRequest) -> web.Response | None:
    """Let the request meet the fault: the answer it gets, or None where it goes on.

    It does so after a delay; a throttle each server words itself.
    """
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "hang":
        faults.hanging += 1
        try:
            await asyncio.Event().wait()
        finally:
            faults.hanging -= 1
    elif fault.kind == "disconnect":
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=499)
    elif fault.kind == "respond":
        return web.Response(status=fault.status, body=fault.body, content_type=fault.content_type)
    return None


async def listen_proxy(loop: Loop, port_of: Callable[[str], int | None]) -> int:
    """An HTTPS proxy (CONNECT) for the host names that ``port_of`` knows; the port."""
    tunnels: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, ends = asyncio.current_task(), [writer]
        if task is not None:
            tunnels[task] = ends
            task.add_done_callback(lambda done: tunnels.pop(done, None))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await _tunnel(reader, writer, ends, port_of)
        for end in ends:
            end.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0, limit=_HEAD_LIMIT)

    async def close() -> None:
        """Cut every tunnel: their tasks then end by themselves (asyncio reports a cancelled one as an error)."""
        server.close()
        open_tasks = list(tunnels)
        for end in [end for ends in tunnels.values() for end in ends]:
            end.transport.abort()
        await asyncio.gather(*open_tasks, return_exceptions=True)

    loop.on_stop(close)
    return int(server.sockets[0].getsockname()[1])


async def _tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ends: list[asyncio.StreamWriter],
    port_of: Callable[[str], int | None],
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, _, rest = head.partition(" ")
    host, _, port = rest.partition(" ")[0].rpartition(":")
    target = port_of(host) if method == "CONNECT" and port == "443" else None
    if target is None:
        text = b"This is the proxy of the eks-cross-account sandbox: it knows the sandbox's own AWS host names only.\n"
        head_lines = (
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        )
        writer.write(head_lines % len(text) + text)
        await writer.drain()
        return
    inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, target)
    ends.append(inner_writer)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
