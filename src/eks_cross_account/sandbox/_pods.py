"""Pods of the sandbox and their lives, told in advance by annotations: states, logs and events at a moment.

Touches nothing: time is an argument, and what a pod is at a moment follows from its plan, so a test that moves the
sandbox's clock moves the pods too. There is no kubelet behind it; a page in docs says what that leaves out.
"""

from __future__ import annotations

import re
import secrets
import uuid
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eks_cross_account.sandbox import _status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

ANNOTATION = "eks-sandbox/"
NODE = "sandbox-node"
XCOM_SIDECAR = "airflow-xcom-sidecar"
XCOM_FILE = "/airflow/xcom/return.json"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_LENGTH = 253
_NAME_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # as apimachinery's names are generated
_SUFFIX_LENGTH = 5
_GRACE = 30
LONGEST = 10**9  # seconds; what is longer is cut to this: Python's dates end with the year 9999
_CREATING, _INITIALIZING = "ContainerCreating", "PodInitializing"  # why a container has not started yet
_KILLED, _INTERRUPTED = 143, 0  # SIGTERM; the sidecar traps SIGINT and exits 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a pod, before it gets a name and a version."""

    at: datetime
    reason: str
    message: str
    component: str = "kubelet"
    warning: bool = False
    container: str = ""


@dataclass
class Container:
    """One container and its life. ``ends``: None while nothing ends it."""

    name: str
    image: str
    is_init: bool
    starts: datetime | None
    ends: datetime | None
    exit_code: int
    reason: str
    lines: tuple[str, ...]
    waiting: tuple[str, str]  # reason and message while it has not started
    planned_end: datetime  # when it would end by itself: the lines are spread over the time until then

    def state(self, now: datetime) -> dict[str, Any]:
        """Its ``state``: waiting, running or terminated."""
        if self.starts is None or now < self.starts:
            reason, message = self.waiting
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        if self.ends is None or now < self.ends:
            return {"running": {"startedAt": seconds(self.starts)}}
        told = self.reason or ("Completed" if self.exit_code == 0 else "Error")
        times = {"startedAt": seconds(self.starts), "finishedAt": seconds(self.ends)}
        return {"terminated": {"exitCode": self.exit_code, "reason": told, **times, "containerID": self._id}}

    def stop(self, at: datetime, exit_code: int) -> None:
        """End it at this moment, unless it ends sooner by itself; one that has not started never will."""
        if self.starts is None or at < self.starts:
            self.starts = None
        elif self.ends is None or at < self.ends:
            self.ends, self.exit_code = at, exit_code

    def log(self, now: datetime) -> Iterator[tuple[datetime, str]]:
        """The lines it has written, spread evenly over its run; the last one shortly before its end."""
        if self.starts is None:
            return
        for number, line in enumerate(self.lines):
            at = self.starts + (self.planned_end - self.starts) * number / len(self.lines)
            if at <= now and (self.ends is None or at <= self.ends):
                yield at, line

    def is_over(self, now: datetime) -> bool:
        """Whether it will write no more."""
        return self.starts is not None and self.ends is not None and now >= self.ends

    def status(self, now: datetime) -> dict[str, Any]:
        """Its ``containerStatus``."""
        state = self.state(now)
        running = "running" in state
        return {
            "name": self.name,
            "state": state,
            "lastState": {},
            "ready": running or (self.is_init and state.get("terminated", {}).get("exitCode") == 0),
            "restartCount": 0,
            "image": self.image,
            "imageID": "" if "waiting" in state else f"sandbox/{self.image}",
            **({} if "waiting" in state else {"containerID": self._id}),
            "started": running,
        }

    @property
    def _id(self) -> str:
        return f"sandbox://{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.name} {self.starts}').hex}"


class LogReader:
    """What one request for a log has not been given yet, line by line, by the options of PodLogOptions.

    ``since``: lines before it do not count; ``tail``: of those at ``now`` the last so many; ``limit``: bytes in all.
    """

    def __init__(  # noqa: PLR0913 - the options
        self,
        container: Container,
        now: datetime,
        *,
        timestamps: bool = False,
        limit: int | None = None,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> None:
        self._timestamps = timestamps
        self._limit = limit
        self._since = since
        self._given = 0 if tail is None else max(0, len(self._lines(container, now)) - tail)

    def read(self, container: Container, now: datetime) -> Iterator[bytes]:
        """The lines that are new since the last call."""
        for at, line in self._lines(container, now)[self._given :]:
            self._given += 1
            raw = f"{nanoseconds(at)} {line}\n".encode() if self._timestamps else f"{line}\n".encode()
            if self._limit is not None:
                raw = raw[: self._limit]
                self._limit -= len(raw)
            if raw:
                yield raw

    def _lines(self, container: Container, now: datetime) -> list[tuple[datetime, str]]:
        return [(at, line) for at, line in container.log(now) if self._since is None or at >= self._since]


class Pod:
    """A pod: its metadata and spec as they are stored, and its life."""

    def __init__(self, document: Mapping[str, Any], *, namespace: str, now: datetime) -> None:
        metadata = deepcopy(document.get("metadata", {}))
        metadata.pop("resourceVersion", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(
                secrets.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH)
            )
        metadata.update(namespace=namespace, uid=str(uuid.uuid4()), creationTimestamp=seconds(now), generation=1)
        self.metadata = metadata
        self.spec = _with_defaults(document.get("spec", {}))
        self.created = now
        self.version = 0
        self.removal: datetime | None = None
        self._life = _Annotations(metadata.get("annotations", {}))
        self._check(document)
        self.starts = None if self._life.pending else now + self._life.seconds("start-seconds", 0.1)
        self.containers: tuple[Container, ...] = ()
        self.containers = tuple(self._plan(init=True))
        self.containers += tuple(self._plan(init=False))
        self.files = {XCOM_FILE: self._life.text("xcom", "")}
        self._told = 0
        self._killed: list[Event] = []

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata["namespace"], self.metadata["name"]

    def container(self, name: str) -> Container | None:
        """The container of this name."""
        return next((found for found in self.containers if found.name == name), None)

    def document(self, now: datetime) -> dict[str, Any]:
        """The object as the API serves it at this moment."""
        spec = self.spec if not self._is_scheduled(now) else {**self.spec, "nodeName": NODE}
        metadata = {**self.metadata, "resourceVersion": str(self.version)}
        return deepcopy(
            {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": self.status(now)}
        )

    def status(self, now: datetime) -> dict[str, Any]:
        """Phase, conditions and the state of every container."""
        if not self._is_scheduled(now):
            why = {"reason": "Unschedulable", "message": self._life.pending} if now > self.created else {}
            unscheduled = {"type": "PodScheduled", "status": "False", "lastTransitionTime": seconds(self.created)}
            return {"phase": "Pending", "conditions": [{**unscheduled, **why}] if why else [], "qosClass": "BestEffort"}
        inits = [container.status(now) for container in self.containers if container.is_init]
        mains = [container.status(now) for container in self.containers if not container.is_init]
        phase = _phase(inits, mains)
        ready = all(found["ready"] for found in mains)
        return {
            "phase": phase,
            "conditions": [
                _condition("Initialized", holds=all(found["ready"] for found in inits), since=self.created),
                _condition("Ready", holds=ready, since=self.starts or self.created, why=_why_unready(phase)),
                _condition("ContainersReady", holds=ready, since=self.starts or self.created, why=_why_unready(phase)),
                _condition("PodScheduled", holds=True, since=self.created),
            ],
            "hostIP": "127.0.0.1",
            "startTime": seconds(self.created),
            **({"initContainerStatuses": inits} if inits else {}),
            "containerStatuses": mains,
            "qosClass": "BestEffort",
        }

    def news(self, now: datetime) -> list[Event]:
        """What has happened since it was last asked, each once."""
        happened = sorted((event for event in self._events() if event.at <= now), key=lambda event: event.at)
        fresh = happened[self._told :]
        self._told = max(self._told, len(happened))  # a clock that is set back tells nothing twice
        return fresh

    def delete(self, now: datetime, grace: int | None) -> None:
        """Begin its end: containers get SIGTERM and some time, then it is gone. Grace 0, no node, or over: at once."""
        wanted = self.spec["terminationGracePeriodSeconds"] if grace is None else grace
        if not self._is_scheduled(now) or self.status(now)["phase"] in {"Succeeded", "Failed"}:
            wanted = 0
        wanted = 1 if wanted < 0 else wanted  # podStrategy.CheckGracefulDelete
        patience = timedelta(seconds=min(wanted, LONGEST))
        stop = min(patience, self._life.seconds("stop-seconds", 0.1))
        self.metadata["deletionTimestamp"] = seconds(now + patience)
        self.metadata["deletionGracePeriodSeconds"] = wanted
        for container in self.containers:
            if "running" in container.state(now):
                self._killed.append(
                    Event(now, "Killing", f"Stopping container {container.name}", container=container.name)
                )
            container.stop(now + stop, _KILLED)
        self.removal = now + (stop if wanted else timedelta())

    def interrupt(self, container: Container, now: datetime) -> None:
        """SIGINT to the container's shell, as Airflow ends its XCom sidecar."""
        container.stop(now, _INTERRUPTED)

    def _is_scheduled(self, now: datetime) -> bool:
        return not self._life.pending and now > self.created

    def _plan(self, *, init: bool) -> Iterator[Container]:
        before = self.containers[-1] if self.containers else None  # what must have ended well: an init container
        for given in self.spec.get("initContainers" if init else "containers", ()):
            name, life = given["name"], self._life.of(given["name"], only=init or given["name"] == XCOM_SIDECAR)
            waiting = life.text("waiting", "")
            why = (waiting, life.text("waiting-message", "")) if waiting else (_CREATING, "")
            started = None if waiting else self.starts
            if before is not None:
                is_held = before.ends is None or before.exit_code != 0
                why = why if waiting and not is_held else (_INITIALIZING, "")
                started = None if waiting or is_held else before.ends
            run = life.seconds("run-seconds", 0 if init else 0.5)
            ends = None if started is None or name == XCOM_SIDECAR else started + run
            container = Container(
                name=name,
                image=given["image"],
                is_init=init,
                starts=started,
                ends=ends,
                exit_code=life.number("exit-code", 0),
                reason=life.text("reason", ""),
                lines=() if name == XCOM_SIDECAR else life.lines(name),
                waiting=why,
                planned_end=ends or started or self.created,
            )
            before = container if init else before
            yield container

    def _events(self) -> Iterator[Event]:
        if self._life.pending:
            yield Event(self.created, "FailedScheduling", self._life.pending, "default-scheduler", warning=True)
            return
        assigned = f"Successfully assigned {self.metadata['namespace']}/{self.metadata['name']} to {NODE}"
        yield Event(self.created, "Scheduled", assigned, "default-scheduler")
        for container in self.containers:
            if container.starts is not None:
                at, name, image = container.starts, container.name, container.image
                present = f'Container image "{image}" already present on machine'
                yield Event(at, "Pulled", present, container=name)
                yield Event(at, "Created", f"Created container: {name}", container=name)
                yield Event(at, "Started", f"Started container {name}", container=name)
            elif container.waiting[0] not in {_CREATING, _INITIALIZING}:
                reason, message = container.waiting
                told = message or f'Back-off pulling image "{container.image}"'
                yield Event(self.created, "Failed", f"Error: {reason}", warning=True, container=container.name)
                yield Event(self.created, "BackOff", told, container=container.name)
        yield from self._killed

    def _check(self, document: Mapping[str, Any]) -> None:
        causes = [*_invalid_parts(self.metadata, document.get("spec", {})), *self._life.problems()]
        if causes:
            raise _status.invalid(self.metadata.get("name", ""), *causes)


class _Annotations:
    """A pod's annotations that tell its life, for one container: ``exit-code.base`` before ``exit-code``."""

    def __init__(self, annotations: Mapping[str, str], container: str = "", *, only: bool = False) -> None:
        self._all = annotations
        self._container = container
        self._only = only

    def of(self, container: str, *, only: bool) -> _Annotations:
        """The same, for a container; ``only``: what does not name it is not about it."""
        return _Annotations(self._all, container, only=only)

    @property
    def pending(self) -> str:
        """Why it is never scheduled, "" where it is."""
        return self.text("pending", "")

    def text(self, name: str, default: str) -> str:
        """The value; ``default`` where there is none."""
        of_all = default if self._only else self._all.get(f"{ANNOTATION}{name}", default)
        return self._all.get(f"{ANNOTATION}{name}.{self._container}", of_all)

    def seconds(self, name: str, default: float) -> timedelta:
        """The value as a time."""
        return timedelta(seconds=float(self.text(name, str(default))))

    def number(self, name: str, default: int) -> int:
        """The value as a number."""
        return int(self.text(name, str(default)))

    def lines(self, container: str) -> tuple[str, ...]:
        """What the container writes."""
        count = self.number("log-lines", 0)
        if count:
            return tuple(f"line {number} of {count}" for number in range(1, count + 1))
        return tuple(self.text("log", f"container {container} of the sandbox").split("\n"))

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """Causes of an Invalid: values that are no numbers."""
        kinds = {
            "start-seconds": float,
            "run-seconds": float,
            "stop-seconds": float,
            "exit-code": int,
            "log-lines": int,
        }
        for key, value in self._all.items():
            kind = kinds.get(key.removeprefix(ANNOTATION).split(".")[0]) if key.startswith(ANNOTATION) else None
            if kind is not None and not _is_number(kind, value):
                yield "FieldValueInvalid", f"metadata.annotations[{key}]", f'Invalid value: "{value}": must be a number'


def _is_number(kind: type[float | int], value: str) -> bool:
    try:
        return 0 <= kind(value) < LONGEST
    except (TypeError, ValueError):
        return False


def _phase(inits: list[dict[str, Any]], mains: list[dict[str, Any]]) -> str:
    ended = [found["state"]["terminated"]["exitCode"] for found in mains if "terminated" in found["state"]]
    if any(found["state"].get("terminated", {}).get("exitCode") for found in inits):
        return "Failed"
    if len(ended) == len(mains):
        return "Failed" if any(ended) else "Succeeded"
    if any("waiting" in found["state"] for found in mains):
        return "Pending"
    return "Running"


def _why_unready(phase: str) -> str:
    return {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")


def _condition(kind: str, *, holds: bool, since: datetime, why: str = "") -> dict[str, Any]:
    told = {} if holds or not why else {"reason": why}
    return {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": seconds(since), **told}


def _with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a server fills in where a client leaves them out, those that clients look at."""
    given: dict[str, Any] = deepcopy(dict(spec))
    for name in ("containers", "initContainers"):
        for container in given.get(name, ()):
            container.setdefault("resources", {})
            container.setdefault("imagePullPolicy", "IfNotPresent")
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")
    defaults: dict[str, Any] = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": _GRACE,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }
    filled = {name: value for name, value in defaults.items() if given.get(name) is None}
    return {**given, **filled}


def _invalid_parts(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    name = metadata.get("name")
    if not name:
        yield "FieldValueRequired", "metadata.name", "Required value: name or generateName is required"
    elif len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        yield "FieldValueInvalid", "metadata.name", f'Invalid value: "{name}": {_NAME_TEXT}'
    if not spec.get("containers"):
        yield "FieldValueRequired", "spec.containers", "Required value"
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field, ())):
            for wanted in ("name", "image"):
                if not container.get(wanted):
                    yield "FieldValueRequired", f"spec.{field}[{index}].{wanted}", "Required value"


def seconds(moment: datetime) -> str:
    """A Kubernetes ``Time``: RFC 3339, whole seconds, UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def nanoseconds(moment: datetime) -> str:
    """The date in front of a log line: nine digits, as container runtimes write them."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"
