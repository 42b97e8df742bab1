"""A stand-in for the kubelet's port: logs that end with their container, and the commands of Airflow's XCom sidecar.

kwok plays the pods; what it cannot do is done here: it never ends a followed log when the pod ends, and its exec has no
container to run in. It runs commands on this machine, so it is given another command: shell.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from eks_cross_account.sandbox import _pods, _server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

_TICK = 0.05
_HEAD_LIMIT = 65_536
INTERRUPTED = f"{_pods.ANNOTATION}interrupted"


class Kubelet:
    """``pod``: reads one, None when it is gone; ``annotate``: writes one of its annotations.

    Listens with ``context`` on ``port``; what is not its own it passes to ``kwok_port``.
    """

    def __init__(
        self,
        pod: Callable[[str, str], Awaitable[dict[str, Any] | None]],
        annotate: Callable[[str, str, str, str], Awaitable[None]],
        kwok_port: int,
    ) -> None:
        self._pod = pod
        self._annotate = annotate
        self._kwok_port = kwok_port

    async def listen(self, loop: _server.Loop, port: int, context: ssl.SSLContext) -> None:
        """Serve until the loop stops."""
        own_port = await _server.listen(loop, self._answer)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._route(reader, writer, own_port)
            writer.close()

        server = await asyncio.start_server(serve, _server.LOOPBACK, port, ssl=context, limit=_HEAD_LIMIT)

        async def close() -> None:
            server.close()

        loop.on_stop(close)

    async def _route(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, own_port: int) -> None:
        """The connection's one request: to itself, or to kwok."""
        head = await reader.readuntil(b"\r\n\r\n")
        kind, namespace, name, container = head.split(b" ")[1].partition(b"?")[0].decode().strip("/").split("/")[:4]
        is_own = kind == "containerLogs"
        if kind == "exec":
            document = await self._pod(namespace, name)
            if document is None or "running" not in _state(document, container):
                text = f'container not found ("{container}")'
                writer.write(
                    f"HTTP/1.1 500 Internal Server Error\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
                )
                await writer.drain()
                return
            head = _shell_head(head, own_port)
        if b"\r\nupgrade:" not in head.lower():  # or the next request on this connection would go where this one goes
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        inner_reader, inner_writer = await asyncio.open_connection(
            _server.LOOPBACK, own_port if is_own else self._kwok_port
        )
        inner_writer.write(head)
        ends = {asyncio.ensure_future(_pipe(reader, inner_writer)), asyncio.ensure_future(_pipe(inner_reader, writer))}
        done, rest = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in rest:  # a client that has gone ends the followed log
            end.cancel()
        await asyncio.gather(*done, *rest, return_exceptions=True)
        inner_writer.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        kind, namespace, name, container = request.path.strip("/").split("/")[:4]
        document = await self._pod(namespace, name)
        if document is None:
            return web.Response(status=404, text=f'pods "{name}" not found')
        if kind == "shell":
            return await self._shell(request, document)
        if request.rel_url.query.get("previous") == "true":
            return web.Response(
                status=400, text=f'previous terminated container "{container}" in pod "{name}" not found'
            )
        waiting = _state(document, container).get("waiting")
        if waiting:
            text = f'container "{container}" in pod "{name}" is waiting to start: {waiting["reason"]}'
            return web.Response(status=400, text=text)
        return await self._log(request, document, container)

    async def _log(self, request: web.BaseRequest, document: dict[str, Any], container: str) -> web.StreamResponse:
        namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
        reader = _reader(_container(document, container), request.rel_url.query)
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await answer.prepare(request)
        follow = request.rel_url.query.get("follow") == "true"
        while True:
            told = _container(document, container)
            for line in reader.read(told, _until(told)):
                await answer.write(line)
            if told.ends is not None or not follow or request.transport is None or request.transport.is_closing():
                break
            await asyncio.sleep(_TICK)
            found = await self._pod(namespace, name)
            if found is None or found["metadata"]["uid"] != document["metadata"]["uid"]:
                break
            document = found
        await answer.write_eof()
        return answer

    async def _shell(self, request: web.BaseRequest, document: dict[str, Any]) -> web.StreamResponse:
        """For shell.py: what is in the container's file; POST: it got its SIGINT."""
        metadata = document["metadata"]
        if request.method == "POST":
            await self._annotate(metadata["namespace"], metadata["name"], INTERRUPTED, "true")
        return web.json_response({"xcom": metadata.get("annotations", {}).get(f"{_pods.ANNOTATION}xcom", "")})


def _shell_head(head: bytes, own_port: int) -> bytes:
    """The request for an exec with shell.py as its command, which is told the command that was meant."""
    line, _, rest = head.partition(b"\r\n")
    method, target, version = line.decode().split(" ")
    path, _, query = target.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    shell = [sys.executable, str(Path(__file__).with_name("shell.py")), str(own_port), path.removeprefix("/exec/")]
    command = [("command", word) for word in (*shell, *(value for name, value in given if name == "command"))]
    sent = urlencode([*command, *(pair for pair in given if pair[0] != "command")])
    return f"{method} {path}?{sent} {version}\r\n".encode() + rest


def _statuses(document: dict[str, Any]) -> list[dict[str, Any]]:
    status = document.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _state(document: dict[str, Any], container: str) -> dict[str, Any]:
    return next((found["state"] for found in _statuses(document) if found["name"] == container), {})


def _container(document: dict[str, Any], name: str) -> _pods.Container:
    """The container as the API server has it now: when it began and ended, and what it writes meanwhile."""
    is_init = any(each["name"] == name for each in document["spec"].get("initContainers", []))
    state = _state(document, name)
    life = _pods._Annotations(document["metadata"].get("annotations", {})).of(
        name, only=is_init or name == _pods.XCOM_SIDECAR
    )
    times = state.get("running") or state.get("terminated") or {}
    starts = _moment(times.get("startedAt"))
    ends = _moment(times.get("finishedAt"))
    planned = None if starts is None else starts + life.seconds("run-seconds", 0 if is_init else 0.5)
    if ends is not None:  # the API's dates are whole seconds: all that was planned has been written
        ends = max(ends, planned or ends)
    return _pods.Container(
        name, "", is_init, starts, ends, 0, "", () if name == _pods.XCOM_SIDECAR else life.lines(name),
        ("ContainerCreating", ""), planned or datetime.now(UTC),
    )  # fmt: skip


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _reader(container: _pods.Container, query: Any) -> _pods.LogReader:
    """The kubelet's reading of the options, which the API server has checked."""
    since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else None
    if "sinceSeconds" in query:
        since = datetime.now(UTC) - timedelta(seconds=min(int(query["sinceSeconds"]), _pods.LONGEST))
    limit, tail = (int(query[name]) if name in query else None for name in ("limitBytes", "tailLines"))
    timestamps = query.get("timestamps") == "true"
    return _pods.LogReader(container, _until(container), timestamps=timestamps, limit=limit, since=since, tail=tail)


def _until(container: _pods.Container) -> datetime:
    """Until when it has written: now, or its end."""
    return datetime.now(UTC) if container.ends is None else container.ends


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_HEAD_LIMIT):
            writer.write(chunk)
            await writer.drain()
