"""The API server of one sandbox cluster: authenticates, authorizes, and serves pods, their logs, events and exec.

Touches the sandbox's sockets only. What it does not have it refuses as a server without it would; docs/sandbox.md
lists that.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import WSMsgType, web

from eks_cross_account.sandbox import _exec, _grants, _patch, _pods, _selectors, _server, _shapes, _status
from eks_cross_account.sandbox._status import ApiError, Attributes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from eks_cross_account.mapping import KubernetesUser
    from eks_cross_account.sandbox._authn import Authenticated, Authenticator
    from eks_cross_account.sandbox._faults import Faults
    from eks_cross_account.sandbox._world import EksCluster, World

_OVER = ("Succeeded", "Failed")
_TYPE_META = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)
_LOG_OPTIONS = "PodLogOptions"
_TICK = 0.02  # how often what is followed is looked at again, in seconds
_BODY_LIMIT = 3 * 1024 * 1024  # as kube-apiserver
_DEPTH_LIMIT = 100  # of a body's JSON: Go's decoder stops at 10000, Python's copies stop sooner
_NAMESPACE_SUBRESOURCES = {"status", "finalize"}
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_HEALTH = ("/healthz", "/livez", "/readyz")  # all that EKS >= 1.32 answers without a user
_STREAMED = {"get pods/log", "get pods/exec", "watch events"}
_HEADERS = {"Cache-Control": "no-cache, private"}
_PROTOCOL = "v4.channel.k8s.io"
_COMPOUND_SINCE = (1, 35)  # from here exec needs `create` beside the verb of its method (kubernetes#134577)
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_UNAUTHORIZED = 401
_WATCH_SECONDS = 1800  # --min-request-timeout


@dataclass(frozen=True, slots=True)
class KubernetesRequest:
    """One request that a cluster of the sandbox answered; ``audit_event`` is what an audit log would have of it.

    ``user``: username, uid, groups and extra as the audit log has them; {} where nobody was authenticated.
    ``resource``: with its subresource, "" where ``path`` is no resource. ``code``: the HTTP status. ``message``: of a
    refusal but for a 401, whose event has none of the authenticator's.
    """

    cluster: str
    verb: str
    resource: str
    api_group: str
    namespace: str
    name: str
    path: str
    code: int
    reason: str
    user: Mapping[str, Any]
    user_agent: str
    at: datetime
    message: str = ""

    def audit_event(self) -> dict[str, Any]:
        """The event of audit.k8s.io/v1, level Metadata."""
        resource, _, subresource = self.resource.partition("/")
        reference = {
            "resource": resource,
            "namespace": self.namespace,
            "name": self.name,
            "apiGroup": self.api_group,
            "apiVersion": "v1",
            "subresource": subresource,
        }
        moment = f"{self.at:%Y-%m-%dT%H:%M:%S.%fZ}"
        status = {"status": "Failure", "reason": self.reason} if self.reason else {}
        if self.message:
            status["message"] = self.message
        return {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": str(uuid.uuid4()),
            "stage": "ResponseComplete",
            "requestURI": self.path,
            "verb": self.verb,
            "user": dict(self.user),
            "sourceIPs": [_server.LOOPBACK],
            "userAgent": self.user_agent,
            **({"objectRef": {name: value for name, value in reference.items() if value}} if resource else {}),
            "responseStatus": {"metadata": {}, **status, "code": self.code},
            "requestReceivedTimestamp": moment,
            "stageTimestamp": moment,
        }


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that was let through, and what its handler needs."""

    request: web.BaseRequest
    asked: Attributes
    who: Authenticated | None
    now: datetime

    def query(self, name: str, default: str = "") -> str:
        return self.request.rel_url.query.get(name, default)

    def flag(self, name: str) -> bool:
        return self.query(name).lower() in {"true", "1"}

    def number(self, name: str) -> int | None:
        """Raises ApiError for what is no integer."""
        text = self.query(name)
        if text and _NUMBER.fullmatch(text) is None:
            raise _status.bad_request(f'strconv.ParseInt: parsing "{text[:20]}": invalid syntax')
        return int(text) if text else None

    @property
    def is_waited_for(self) -> bool:
        """Whether the client is still there."""
        return self.request.transport is not None and not self.request.transport.is_closing()


class ApiServer:
    """One cluster's API server. ``handle`` is what listens; ``record`` gets every request that was answered."""

    def __init__(  # noqa: PLR0913 - what a server stands on
        self,
        cluster: EksCluster,
        *,
        world: World,
        authenticator: Authenticator,
        faults: Faults,
        grants: Iterable[_grants.Grant],
        namespaces: Iterable[str],
        now: Callable[[], datetime],
        record: Callable[[KubernetesRequest], None],
    ) -> None:
        self._cluster = cluster
        self._world = world
        self._authenticator = authenticator
        self._faults = faults
        self._grants = tuple(grants)
        self._namespaces = frozenset(namespaces)
        self._now = now
        self._record = record
        self._version = 1
        self._pods: dict[tuple[str, str], _pods.Pod] = {}
        self._changing: dict[tuple[str, str], _pods.Pod] = {}  # those to which something may still happen
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._handlers: dict[str, Callable[[_Call], Awaitable[web.StreamResponse]]] = {
            "create pods": self._create_pod,
            "get pods": self._get_pod,
            "list pods": self._list_pods,
            "patch pods": self._patch_pod,
            "delete pods": self._delete_pod,
            "get pods/log": self._get_log,
            "get pods/exec": self._get_exec,
            "list events": self._list_events,
            "watch events": self._watch_events,
            "get configmaps": self._get_config_map,
            "create selfsubjectreviews": self._review_self,
            "create selfsubjectaccessreviews": self._review_access,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        asked, now = attributes_of(request), self._now()
        for fault in self._faults.take(asked.operation):
            early = await _server.meet(self._faults, fault, request)
            if fault.kind == "throttle":
                early = _refusal(_status.too_many_requests())
            if early is not None:
                self._note(request, asked, None, early.status, "TooManyRequests" if early.status == 429 else "")  # noqa: PLR2004 - HTTP
                return early
        who: Authenticated | None = None
        streamed = f"{asked.verb} {asked.resource}" in _STREAMED
        try:
            who = await self._authenticate(request, asked, now)
            self._authorize(asked, who)
            answer = await self._answer(_Call(request, asked, who, now))
        except ApiError as error:
            self._note(request, asked, who, error.code, error.document.get("reason", ""), str(error))
            return _dated(_refusal(error), now)
        if not (streamed and answer.prepared):
            self._note(request, asked, who, answer.status, "")
        return _dated(answer, now)

    # --- who, and may he

    async def _authenticate(self, request: web.BaseRequest, asked: Attributes, now: datetime) -> Authenticated | None:
        scheme, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
        token = rest.partition(" ")[0] if scheme.lower() == "bearer" else ""
        if not token:  # anonymous: kube-apiserver takes another scheme, and an empty token, for none at all
            if asked.verb == "get" and asked.path in _HEALTH:
                return None
            raise _status.unauthorized()
        who = await self._authenticator.authenticate(self._cluster, token, now)
        if who is None:
            raise _status.unauthorized()
        return who

    def _authorize(self, asked: Attributes, who: Authenticated | None) -> None:
        if who is None:
            return
        if self._reason(asked, who) is None:
            raise _status.forbidden(asked, who.user.username)
        if asked.resource == "pods/exec" and _minor(self._cluster.version) >= _COMPOUND_SINCE:
            also = replace(asked, verb="create")
            if self._reason(also, who) is None:
                raise _status.refused(asked, "")

    def _reason(self, asked: Attributes, who: Authenticated) -> str | None:
        if self._world.denies(who.principal, asked.operation):
            return None
        policies = [
            policy
            for entry in list(self._cluster.entries.values())
            if entry.unique_id == who.principal.unique_id and self._cluster.authentication_mode != "CONFIG_MAP"
            for policy in list(entry.policies.values())
        ]
        return _grants.reason_to_allow(asked, who.user, self._grants, policies)

    # --- what

    async def _answer(self, call: _Call) -> web.StreamResponse:
        asked = call.asked
        if not asked.resource:
            return self._answer_path(asked)
        self._settle(call.now)
        handler = self._handlers.get(f"{asked.verb} {asked.resource}")
        if handler is not None and (asked.api_group, asked.resource) in _SERVED:
            return await handler(call)
        known = asked.resource.partition("/")[0] in {"pods", "events", "configmaps"} and not asked.api_group
        if known:
            raise _status.not_allowed()
        raise _status.page_not_found() if asked.api_group else _status.no_such_resource()

    def _answer_path(self, asked: Attributes) -> web.Response:
        if asked.path not in {*_HEALTH, "/version"}:
            raise _status.page_not_found()
        if asked.verb not in {"get", "head"}:
            raise _status.not_allowed()
        if asked.path in _HEALTH:
            return web.Response(text="ok", headers=_HEADERS)
        major, minor = _minor(self._cluster.version)
        version = f"v{major}.{minor}.0-eks-sandbox"
        return _json({"major": str(major), "minor": str(minor), "gitVersion": version, "platform": "sandbox"})

    async def _create_pod(self, call: _Call) -> web.Response:
        document = await _body(call.request, _shapes.POD)
        namespace = call.asked.namespace
        if not namespace:
            raise _status.not_allowed()
        given = document.get("metadata", {}).get("namespace") or namespace
        if given != namespace:
            raise _status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if namespace not in self._namespaces:
            raise _status.not_found("namespaces", namespace)
        pod = _pods.Pod(document, namespace=namespace, now=call.now)
        if pod.key in self._pods:
            raise _status.already_exists("pods", pod.metadata["name"])
        if call.query("dryRun") != "All":
            self._version += 1
            pod.version = self._version
            self._pods[pod.key] = self._changing[pod.key] = pod
        return _json(pod.document(call.now), 201)

    async def _get_pod(self, call: _Call) -> web.Response:
        return _json(self._pod(call).document(call.now))

    async def _list_pods(self, call: _Call) -> web.Response:
        fits_labels = _selectors.by_labels(call.query("labelSelector"))
        fits_fields = _selectors.by_fields(call.query("fieldSelector"), "pods")
        found = [
            document
            for (namespace, _), pod in sorted(self._pods.items())
            if call.asked.namespace in {"", namespace}
            for document in [pod.document(call.now)]
            if fits_labels(document["metadata"].get("labels") or {}) and fits_fields(document)
        ]
        return self._list("PodList", found)

    async def _patch_pod(self, call: _Call) -> web.Response:
        pod = self._pod(call)
        before = pod.document(call.now)
        kind = call.request.headers.get("Content-Type", "").partition(";")[0]
        after = _patch.patched(before, await _body(call.request), kind)
        metadata = _patch.checked(before, after)
        if metadata != pod.metadata and call.query("dryRun") != "All":
            self._version += 1
            pod.metadata, pod.version = metadata, self._version
        return _json(pod.document(call.now))

    async def _delete_pod(self, call: _Call) -> web.Response:
        pod = self._pod(call)
        options: dict[str, Any] = {"gracePeriodSeconds": call.number("gracePeriodSeconds")}
        if call.request.can_read_body:  # then the query counts for nothing, as in kube-apiserver's DeleteResource
            options = await _body(call.request, _shapes.DELETE_OPTIONS)
        wanted = options.get("preconditions", {}).get("uid")
        if wanted not in {None, pod.metadata["uid"]}:
            why = (
                f"the UID in the precondition ({wanted}) does not match the UID in record ({pod.metadata['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise _status.conflict("Pod", pod.metadata["name"], why)
        grace = options.get("gracePeriodSeconds")
        if call.query("dryRun") != "All" and (pod.removal is None or grace == 0):
            pod.delete(call.now, grace)
            self._changing[pod.key] = pod
            self._version += 1
            pod.version = self._version
        document = pod.document(call.now)
        self._settle(call.now)
        return _json(document)

    async def _get_log(self, call: _Call) -> web.StreamResponse:
        pod = self._pod(call)
        if "nodeName" not in pod.document(call.now)["spec"]:
            return web.Response(status=204, headers=_HEADERS)  # no kubelet to ask
        container = _chosen(pod, call.query("container"))
        name = pod.metadata["name"]
        if call.flag("previous"):
            raise _status.bad_request(f'previous terminated container "{container.name}" in pod "{name}" not found')
        state = container.state(call.now)
        if "waiting" in state:
            reason = state["waiting"]["reason"]
            raise _status.bad_request(f'container "{container.name}" in pod "{name}" is waiting to start: {reason}')
        lines = _pods.LogReader(
            container,
            call.now,
            timestamps=call.flag("timestamps"),
            limit=_at_least(call, "limitBytes", 1),
            since=_since(call),
            tail=_at_least(call, "tailLines", 0),
        )
        if not call.flag("follow"):
            return web.Response(
                body=b"".join(lines.read(container, call.now)), content_type="text/plain", headers=_HEADERS
            )
        self._note(call.request, call.asked, call.who, 200, "")
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/plain"})
        await answer.prepare(call.request)
        over = False
        while not over and call.is_waited_for:
            now = self._now()
            over = container.is_over(now) or self._pods.get(pod.key) is not pod
            for line in lines.read(container, now):
                await answer.write(line)
            self._settle(now)
            await asyncio.sleep(0 if over else _TICK)
        return answer

    async def _get_exec(self, call: _Call) -> web.StreamResponse:
        pod = self._pod(call)
        if "nodeName" not in pod.document(call.now)["spec"]:
            raise _status.bad_request(f"pod {pod.metadata['name']} does not have a host assigned")
        container = _chosen(pod, call.query("container"))
        command = call.request.rel_url.query.getall("command", [])
        if not command:
            raise _status.bad_request("you must specify at least one command for the container")
        if call.request.headers.get("Upgrade", "").lower() != "websocket":
            raise _status.bad_request("Upgrade request required")
        if "running" not in container.state(call.now):
            raise _status.internal(f'unable to upgrade connection: container not found ("{container.name}")')
        socket = web.WebSocketResponse(protocols=(_PROTOCOL,), max_msg_size=_BODY_LIMIT)
        if not socket.can_prepare(call.request).ok:
            raise _status.bad_request("the handshake is not one of a websocket")
        self._note(call.request, call.asked, call.who, 101, "")
        await socket.prepare(call.request)
        shell = _exec.Shell(pod, container, command)
        await self._converse(socket, shell, stdin=call.flag("stdin"))
        return socket

    async def _converse(self, socket: web.WebSocketResponse, shell: _exec.Shell, *, stdin: bool) -> None:
        for channel, payload in shell.begin(self._now()):
            await socket.send_bytes(bytes([channel]) + payload)
        while stdin and not shell.is_over:
            message = await socket.receive()
            if message.type not in {WSMsgType.BINARY, WSMsgType.TEXT}:
                return
            raw = message.data if isinstance(message.data, bytes) else message.data.encode()
            for channel, payload in shell.feed(raw[1:], self._now()) if raw[:1] == b"\0" else ():
                await socket.send_bytes(bytes([channel]) + payload)
        await socket.send_bytes(bytes([_exec.ERROR]) + json.dumps(shell.status).encode())
        await socket.close()

    async def _list_events(self, call: _Call) -> web.Response:
        return self._list("EventList", list(self._matching_events(call, self._events)))

    async def _watch_events(self, call: _Call) -> web.StreamResponse:
        version = _version(call.query("resourceVersion"))
        seconds = min(max(call.number("timeoutSeconds") or _WATCH_SECONDS, 0), _pods.LONGEST)
        until = call.now + timedelta(seconds=seconds)
        self._matching_events(call, [])  # a bad selector is refused before the stream begins
        start = sum(int(event["metadata"]["resourceVersion"]) <= version for event in self._events)
        self._note(call.request, call.asked, call.who, 200, "")
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": "application/json"})
        await answer.prepare(call.request)
        while self._now() < until and call.is_waited_for:
            fresh, start = self._events[start:], len(self._events)
            for event in self._matching_events(call, fresh):
                line = {"type": "ADDED", "object": {"kind": "Event", "apiVersion": "v1", **event}}
                await answer.write(json.dumps(line).encode() + b"\n")
            await asyncio.sleep(_TICK)
            self._settle(self._now())
        return answer

    async def _get_config_map(self, call: _Call) -> web.Response:
        """The only one there is: kube-system/aws-auth, while it has data."""
        asked, data = call.asked, dict(self._cluster.aws_auth)
        if (asked.namespace, asked.name) != ("kube-system", "aws-auth") or not data:
            raise _status.not_found("configmaps", asked.name)
        metadata = {"name": "aws-auth", "namespace": "kube-system"}
        return _json({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data})

    async def _review_self(self, call: _Call) -> web.Response:
        await _body(call.request, _shapes.ANYTHING)
        return _json(
            {
                "kind": "SelfSubjectReview",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"creationTimestamp": _pods.seconds(call.now)},
                "status": {"userInfo": _user_info(call.who)},
            },
            201,
        )

    async def _review_access(self, call: _Call) -> web.Response:
        document = await _body(call.request, _shapes.ACCESS_REVIEW)
        spec = document.get("spec", {})
        asked = _attributes_of_review(spec)
        reason = self._reason(asked, call.who) if call.who else None
        status = {"allowed": False} if reason is None else {"allowed": True, "reason": reason}
        return _json(
            {
                "kind": "SelfSubjectAccessReview",
                "apiVersion": "authorization.k8s.io/v1",
                "metadata": {},
                "spec": spec,
                "status": status,
            },
            201,
        )

    # --- inside

    def _settle(self, now: datetime) -> None:
        """Let everything that was to happen until now have happened: versions, events, pods that are gone."""
        for key in list(self._changing):
            pod = self._pods[key]
            for event in pod.news(now):
                self._version += 1
                self._events.append(_event(pod, event, self._version))
            status = pod.status(now)
            if self._seen.get(key) not in (None, status):
                self._version += 1
                pod.version = self._version
            self._seen[key] = status
            if pod.removal is not None and now >= pod.removal:
                self._version += 1
                del self._pods[key], self._seen[key], self._changing[key]
            elif pod.removal is None and status["phase"] in _OVER:
                del self._changing[key]  # until somebody deletes it: a thousand of them would slow every request

    def _pod(self, call: _Call) -> _pods.Pod:
        found = self._pods.get((call.asked.namespace, call.asked.name))
        if found is None:
            raise _status.not_found("pods", call.asked.name)
        return found

    def _matching_events(self, call: _Call, events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        fits = _selectors.by_fields(call.query("fieldSelector"), "events")
        if not _selectors.by_labels(call.query("labelSelector"))({}):  # events have none
            events = []
        namespace = call.asked.namespace
        return (event for event in events if namespace in {"", event["metadata"]["namespace"]} and fits(event))

    def _list(self, kind: str, items: list[dict[str, Any]]) -> web.Response:
        bare = [{name: value for name, value in item.items() if name not in {"kind", "apiVersion"}} for item in items]
        metadata = {"resourceVersion": str(self._version)}
        return _json({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": bare})

    def _note(  # noqa: PLR0913, PLR0917 - what an event has
        self,
        request: web.BaseRequest,
        asked: Attributes,
        who: Authenticated | None,
        code: int,
        reason: str,
        message: str = "",
    ) -> None:
        self._record(
            KubernetesRequest(
                cluster=self._cluster.name,
                verb=asked.verb,
                resource=asked.resource,
                api_group=asked.api_group,
                namespace=asked.namespace,
                name=asked.name,
                path=request.raw_path,
                code=code,
                reason=reason,
                user=_user_info(who),
                user_agent=request.headers.get("User-Agent", ""),
                at=self._now(),
                message=message if code != _UNAUTHORIZED else "",
            )
        )


_SERVED = {
    ("", "pods"),
    ("", "pods/log"),
    ("", "pods/exec"),
    ("", "events"),
    ("", "configmaps"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
}


def attributes_of(request: web.BaseRequest) -> Attributes:
    """What the request asks for (RequestInfo of k8s.io/apiserver)."""
    parts = [unquote(part) for part in request.raw_path.partition("?")[0].strip("/").split("/")]
    verb = request.method.lower()
    if parts[0] == "api" and len(parts) > 2:  # noqa: PLR2004 - api/v1/resource
        api_group, parts = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:  # noqa: PLR2004 - apis/group/version/resource
        api_group, parts = parts[1], parts[3:]
    else:
        return Attributes(verb=verb, path="/" + "/".join(parts))
    verb = _VERBS.get(request.method, verb)
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if parts[2:3] and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    name = parts[1] if len(parts) > 1 else ""
    resource = "/".join([parts[0], *parts[2:3]])
    if verb == "get" and not name:
        watching = request.rel_url.query.get("watch", "").lower() in {"true", "1"}
        verb = "watch" if watching else "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(verb, resource, api_group, namespace, name)


_NO_ATTRIBUTES = (
    "FieldValueInvalid",
    "spec.resourceAttributes",
    "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
)


def _attributes_of_review(spec: Mapping[str, Any]) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(verb=path.get("verb", ""), path=path.get("path", ""))
    given = spec.get("resourceAttributes")
    if given is None:
        raise _status.invalid("", _NO_ATTRIBUTES, kind="", api_group="authorization.k8s.io")
    resource = "/".join(filter(None, (given.get("resource", ""), given.get("subresource", ""))))
    return Attributes(
        verb=given.get("verb", ""),
        resource=resource,
        api_group=given.get("group", ""),
        namespace=given.get("namespace", ""),
        name=given.get("name", ""),
    )


def _user_info(who: Authenticated | None) -> dict[str, Any]:
    if who is None:
        return {}
    user: KubernetesUser = who.user
    return {
        "username": user.username,
        "uid": user.uid,
        "groups": [*user.groups, _grants.AUTHENTICATED],
        "extra": {name: list(values) for name, values in user.extra.items()},
    }


def _chosen(pod: _pods.Pod, wanted: str) -> _pods.Container:
    name = pod.metadata["name"]
    mains = [container.name for container in pod.containers if not container.is_init]
    inits = [container.name for container in pod.containers if container.is_init]
    if not wanted and len(mains) + len(inits) > 1:
        also = f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
        raise _status.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(mains)}]{also}"
        )
    found = pod.container(wanted or mains[0])
    if found is None:
        raise _status.bad_request(f"container {wanted} is not valid for pod {name}")
    return found


def _since(call: _Call) -> datetime | None:
    ago = _at_least(call, "sinceSeconds", 1)
    text = call.query("sinceTime")
    if ago is not None and text:
        both = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        raise _status.invalid(call.asked.name, ("FieldValueForbidden", "[]", both), kind=_LOG_OPTIONS)
    if ago is not None:
        return call.now - timedelta(seconds=min(ago, _pods.LONGEST))
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        moment = None
    if text and (moment is None or moment.tzinfo is None):
        left, wanted = (text, "2006") if moment is None else ("", "Z07:00")
        shown = f'parsing time "{text[:40]}" as "2006-01-02T15:04:05Z07:00"'
        raise _status.bad_request(f'{shown}: cannot parse "{left[:40]}" as "{wanted}"')
    return moment


def _at_least(call: _Call, name: str, least: int) -> int | None:
    value = call.number(name)
    if value is not None and value < least:
        wanted = "greater than 0" if least else "greater than or equal to 0"
        cause = ("FieldValueInvalid", name, f"Invalid value: {value}: must be {wanted}")
        raise _status.invalid(call.asked.name, cause, kind=_LOG_OPTIONS)
    return value


def _version(text: str) -> int:
    """A watch's resourceVersion. Raises ApiError, as a real server does: 500, and no reason."""
    try:
        return int(text or "0")
    except ValueError:
        why = f'strconv.ParseUint: parsing "{text[:40]}": invalid syntax'
        raise ApiError(500, "", f'resourceVersion: Invalid value: "{text[:40]}": {why}') from None


def _event(pod: _pods.Pod, event: _pods.Event, version: int) -> dict[str, Any]:
    moment = _pods.seconds(event.at)
    namespace, name = pod.key
    involved = {
        "kind": "Pod",
        "namespace": namespace,
        "name": name,
        "uid": pod.metadata["uid"],
        "apiVersion": "v1",
        **({"fieldPath": f"spec.containers{{{event.container}}}"} if event.container else {}),
    }
    return {
        "metadata": {
            "name": f"{name}.{secrets.token_hex(8)}",
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "resourceVersion": str(version),
            "creationTimestamp": moment,
        },
        "involvedObject": involved,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": event.component, **({"host": _pods.NODE} if event.component == "kubelet" else {})},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "type": "Warning" if event.warning else "Normal",
        "eventTime": None,
        "reportingComponent": event.component,
        "reportingInstance": _pods.NODE if event.component == "kubelet" else "",
    }


async def _body(request: web.BaseRequest, shape: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """The object of this shape; without one any object or list. Raises ApiError."""
    raw, unread = b"", "couldn't get version/kind; json parse error"
    if shape is _shapes.POD:
        unread = f"the object provided is unrecognized (must be of type Pod): {unread}"
    async for chunk in request.content.iter_any():
        raw += chunk
        if len(raw) > _BODY_LIMIT:
            raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {_BODY_LIMIT}", {})
    try:
        document = json.loads(raw or b"{}", parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise _status.bad_request(f"{unread}: invalid JSON") from None
    if document is None:
        return {}
    if not isinstance(document, dict) and not (shape is None and isinstance(document, list)):
        raise _status.bad_request(f"{unread}: json: cannot unmarshal {_shapes.kind_of(document)} into {_TYPE_META}")
    if _is_deep(document):
        raise _status.bad_request(f"{unread}: exceeded max depth")
    return document if shape is None or isinstance(document, list) else _read(document, shape)


def _read(document: dict[str, Any], shape: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """As Go's decoder reads it; of a pod kube-apiserver says so."""
    try:
        return _shapes.read(document, shape)
    except ApiError as error:
        if shape is not _shapes.POD:
            raise
        told = error.document["message"]
        raise _status.bad_request(f'Pod in version "v1" cannot be handled as a Pod: {told}') from None


def _finite(text: str) -> float:
    """Raises ValueError for NaN and the infinities, which are no JSON."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _is_deep(document: Any) -> bool:  # noqa: ANN401 - JSON
    level = [document]
    for _ in range(_DEPTH_LIMIT):
        values = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = [child for children in values for child in children]
    return bool(level)


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(document).encode() + b"\n", content_type="application/json", headers=_HEADERS
    )


def _dated(answer: web.StreamResponse, now: datetime) -> web.StreamResponse:
    if not answer.prepared:
        answer.headers["Date"] = _server.http_date(now)
    return answer


def _refusal(error: ApiError) -> web.Response:
    if isinstance(error, _status.NoApiError):
        return web.Response(status=error.code, text=f"{error}\n", headers=_HEADERS)
    answer = _json(error.document, error.code)
    if error.code == 403:  # noqa: PLR2004 - HTTP
        answer.headers["X-Content-Type-Options"] = "nosniff"
    if error.code == 429:  # noqa: PLR2004 - HTTP
        answer.headers["Retry-After"] = "1"
    return answer
