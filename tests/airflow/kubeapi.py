"""A small API server for one cluster of the sandbox: pods with a life, their logs, reviews, denials, 401s.

It knows users by the key id in the token, which the sandbox issued; a pod's annotations say how it lives:
``test/life`` seconds, ``test/exit`` code, ``test/lines`` lines of log.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from eks_cross_account import decode_token
from eks_cross_account.errors import EksTokenError
from eks_cross_account.sandbox._ca import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

_POD_PATH = re.compile(r"/api/v1/namespaces/(?P<ns>[^/]+)/(?P<kind>pods|events)(?:/(?P<name>[^/]+)(?:/(?P<sub>\w+))?)?")
_VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch"}


@dataclass
class Pod:
    body: dict[str, Any]
    started: float = field(default_factory=time.monotonic)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def _annotation(self, name: str, default: str) -> str:
        return (self.body["metadata"].get("annotations") or {}).get(f"test/{name}", default)

    @property
    def life(self) -> float:
        return float(self._annotation("life", "0.5"))

    @property
    def ended(self) -> bool:
        return time.monotonic() - self.started >= self.life

    @property
    def exit_code(self) -> int:
        return int(self._annotation("exit", "0"))

    def lines(self) -> list[tuple[float, str]]:
        """Each with the moment of the pod's life at which it is written."""
        count = int(self._annotation("lines", "3"))
        return [(self.life * number / count, f"line {number} of {count}") for number in range(count)]

    def document(self) -> dict[str, Any]:
        state: dict[str, Any] = {"running": {"startedAt": _stamp(self.created)}}
        phase = "Running"
        if self.ended:
            phase = "Failed" if self.exit_code else "Succeeded"
            ended = _stamp(self.created + timedelta(seconds=self.life))
            reason = "Error" if self.exit_code else "Completed"
            state = {
                "terminated": {
                    "exitCode": self.exit_code,
                    "reason": reason,
                    "startedAt": _stamp(self.created),
                    "finishedAt": ended,
                }
            }
        statuses = [
            {
                "name": c["name"],
                "image": c.get("image", ""),
                "imageID": "",
                "ready": not self.ended,
                "restartCount": 0,
                "state": state,
            }
            for c in self.body["spec"]["containers"]
        ]
        started = {"type": "PodScheduled", "status": "True"}
        status = {
            "phase": phase,
            "containerStatuses": statuses,
            "conditions": [started],
            "startTime": _stamp(self.created),
        }
        return {**self.body, "status": status}


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Seen:
    verb: str
    resource: str
    name: str
    status: int
    user: str
    authorization: str | None = field(repr=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KubeApi

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = _POD_PATH.fullmatch(parts.path)
        resource, name, namespace, sub = "", "", "", ""
        if found:
            namespace, name, sub = found["ns"], found["name"] or "", found["sub"] or ""
            resource = found["kind"] + (f"/{sub}" if sub else "")
            watch = query.get("watch", "").lower() == "true"
            verb = _VERBS.get(self.command, "watch" if watch else "get" if name else "list")
        else:
            resource, verb = parts.path.rsplit("/", 1)[-1], _VERBS.get(self.command, "get")
        self._record = (verb, resource, name)
        user = self.server.user_of(self.headers.get("Authorization"))
        self._user = user or ""
        if self.server.take_refusal() or user is None:
            self._status(401, "Unauthorized", "Unauthorized")
            return
        if resource == "selfsubjectreviews":
            self._json({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                        "status": {"userInfo": {"username": user, "groups": ["system:authenticated"],
                                                "extra": {"arn": [self.server.arns[user]]}}}}, 201)  # fmt: skip
            return
        if resource == "selfsubjectaccessreviews":
            spec = json.loads(body)["spec"]["resourceAttributes"]
            wanted = spec["resource"] + (f"/{spec['subresource']}" if spec.get("subresource") else "")
            allowed = (spec["verb"], wanted) not in self.server.denied
            self._json({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {},
                        "status": {"allowed": allowed}}, 201)  # fmt: skip
            return
        if (verb, resource) in self.server.denied:
            what = f'"{name}" ' if name else ""
            self._status(
                403,
                "Forbidden",
                f'pods {what}is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "" in the '
                f'namespace "{namespace}"',
            )
            return
        self._answer(verb, resource, namespace, name, query, body)

    def _answer(self, verb: str, resource: str, namespace: str, name: str, query: dict[str, str], body: bytes) -> None:
        pods = self.server.pods
        if resource == "events":
            if verb == "watch":
                self._chunks([])
            else:
                self._json({"kind": "EventList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})
        elif (verb, resource) == ("list", "pods"):
            chosen = [pod.document() for pod in pods.values() if _selected(pod.body, query.get("labelSelector", ""))]
            self._json({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": chosen})
        elif (verb, resource) == ("create", "pods"):
            made = json.loads(body)
            made["metadata"].setdefault("namespace", namespace)
            made["metadata"]["uid"] = made["metadata"]["name"]
            self.server.created.append(made["metadata"]["name"])
            pods[made["metadata"]["name"]] = Pod(made)
            self._json(pods[made["metadata"]["name"]].document(), 201)
        elif name not in pods:
            self._status(404, "NotFound", f'pods "{name}" not found')
        elif resource == "pods/log":
            self._log(pods[name], follow=query.get("follow", "").lower() == "true",
                      stamps=query.get("timestamps", "").lower() == "true")  # fmt: skip
        elif verb == "delete":
            self.server.deleted.append(name)
            self._json(pods.pop(name).document())
        elif verb == "patch":
            labels = json.loads(body)["metadata"]["labels"]
            pods[name].body["metadata"].setdefault("labels", {}).update(labels)
            self._json(pods[name].document())
        else:
            self._json(pods[name].document())

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - http.server's names

    def _log(self, pod: Pod, *, follow: bool, stamps: bool) -> None:
        self._start(200, {"Transfer-Encoding": "chunked"})
        for moment, line in pod.lines():
            while time.monotonic() - pod.started < moment and follow:
                time.sleep(0.05)
            if time.monotonic() - pod.started < moment:
                break
            at = (pod.created + timedelta(seconds=moment)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self._chunk((f"{at} {line}\n" if stamps else f"{line}\n").encode())
        while follow and not pod.ended and not self.server.closing.is_set():
            time.sleep(0.05)
        self._chunk(b"")

    def _chunks(self, chunks: list[bytes]) -> None:
        self._start(200, {"Transfer-Encoding": "chunked", "Content-Type": "application/json"})
        for chunk in [*chunks, b""]:
            self._chunk(chunk)

    def _chunk(self, chunk: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _status(self, code: int, reason: str, message: str) -> None:
        self._json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                    "reason": reason, "code": code}, code)  # fmt: skip

    def _json(self, document: Any, status: int = 200) -> None:
        raw = json.dumps(document).encode()
        self._start(status, {"Content-Type": "application/json", "Content-Length": str(len(raw))})
        self.wfile.write(raw)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        verb, resource, name = self._record
        self.server.seen.append(Seen(verb, resource, name, status, self._user, self.headers.get("Authorization")))
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class KubeApi(ThreadingHTTPServer):
    """``mapped``: role ARNs that have an access entry; ``denied``: (verb, resource) pairs that get a 403."""

    daemon_threads = True

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = CertificateAuthority(folder, "cluster CA")
        self.socket = self.authority.context("127.0.0.1").wrap_socket(self.socket, server_side=True)
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.closing = threading.Event()
        self.mapped: set[str] = set()
        self.denied: set[tuple[str, str]] = set()
        self.refusals = 0
        self.arns: dict[str, str] = {}
        self.pods: dict[str, Pod] = {}
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.seen: list[Seen] = []

    def user_of(self, authorization: str | None) -> str | None:
        """The session's ARN where its role is mapped and the token has not expired."""
        try:
            token = decode_token((authorization or "").removeprefix("Bearer "))
        except EksTokenError:
            return None
        key = self._sandbox._world.keys.get(token.access_key_id or "")
        now = self._sandbox.clock.now()
        if key is None or key.principal.base_arn not in self.mapped or (key.expiration and key.expiration < now):
            return None
        self.arns[key.principal.arn] = key.principal.arn
        return key.principal.arn

    def take_refusal(self) -> bool:
        with self._lock:
            taken = self.refusals > 0
            self.refusals -= taken
            return taken

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def calls(self, verb: str, resource: str) -> int:
        return sum((seen.verb, seen.resource) == (verb, resource) for seen in self.seen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        with suppress(OSError):
            self.server_close()

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is a test, not an error."""


def _selected(body: dict[str, Any], selector: str) -> bool:
    labels = body["metadata"].get("labels") or {}
    for part in filter(None, selector.split(",")):
        name, _, value = part.partition("!=") if "!=" in part else part.partition("=")
        if "!=" in part:
            if labels.get(name) == value:
                return False
        elif part.startswith("!"):
            if part[1:] in labels:
                return False
        elif labels.get(name) != value:
            return False
    return True
