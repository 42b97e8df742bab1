"""A small scripted API server (TLS): it records what arrives, and answers 401 as often as it was told."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from eks_cross_account import Cluster
from eks_cross_account.sandbox._ca import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1", "namespace": "data"}}


def frame(payload: bytes, opcode: int = 2) -> bytes:
    assert len(payload) < 126
    return bytes([0x80 | opcode, len(payload)]) + payload


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.hold.wait()
        with self.server.lock:
            self.server.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
            refused = self.server.refusals > 0
            self.server.refusals -= refused
            status = 401 if refused else self.server.status
        if status != 200:
            self._json({"kind": "Status", "status": "Failure", "reason": "scripted", "code": status}, status)
        elif self.headers.get("Upgrade", "").lower() == "websocket":
            self._websocket()
        elif "watch=True" in self.path or "watch=true" in self.path:
            self._chunks([json.dumps({"type": kind, "object": POD}).encode() + b"\n" for kind in ("ADDED", "DELETED")])
        elif "/log" in self.path:
            self._chunks([b"line 1\n", b"line 2\n"])
        else:
            self._json(POD if self.command != "GET" else {"apiVersion": "v1", "kind": "PodList", "items": [POD]})

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle  # noqa: N815 - http.server's names

    def _json(self, document: Any, status: int = 200) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _chunks(self, chunks: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*chunks, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _websocket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _MAGIC
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accepted = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324 - RFC 6455
        self.send_header("Sec-WebSocket-Accept", accepted)
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        self.wfile.write(frame(b"\x01hello") + frame(b'\x03{"status": "Success"}') + frame(b"\x03\xe8", 8))
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class ApiServer(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.authority = CertificateAuthority(folder, "cluster CA")
        self.socket = self.authority.context("127.0.0.1").wrap_socket(self.socket, server_side=True)
        self.lock = threading.Lock()
        self.hold = threading.Event()  # cleared: no request is answered
        self.hold.set()
        self._open: list[socket.socket] = []
        self.seen: list[tuple[str, str, str | None, bytes]] = []
        self.refusals = 0
        self.status = 200
        self.location = ""  # where an answer sends the client
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        for connection in self._open:
            with suppress(OSError):  # most have ended
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self._open.append(connection)
        return connection, address

    @property
    def cluster(self) -> Cluster:
        return Cluster("analytics", f"https://127.0.0.1:{self.server_port}", self.authority.base64_pem)

    @property
    def authorizations(self) -> list[str | None]:
        return [authorization for _, _, authorization, _ in self.seen]

    def handle_error(self, *_: Any) -> None:
        """A client that refuses our certificate is a test, not an error."""
