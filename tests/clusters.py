"""A cluster as the tests ask it, whichever it is: tokens by role, requests on the wire, and its audit log.

The sandbox is one; the real API server behind the real authenticator is the other (tests/cluster).
"""

from __future__ import annotations

import gc
import http.client
import json
import ssl
import time
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from eks_cross_account import Cluster, TokenProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eks_cross_account.sandbox import Sandbox
    from eks_cross_account.sandbox._world import AccessEntry

B = "222222222222"
WORKER = f"arn:aws:iam::{B}:role/cross-account-role"  # in group airflow-workers: may run pods in namespace data
ADMIN = f"arn:aws:iam::{B}:role/cluster-admin"  # may do everything
STRANGER = f"arn:aws:iam::{B}:role/team/stranger"  # not mapped
BARE = f"arn:aws:iam::{B}:role/bare"  # mapped, in no group
SESSION = "tests"
SECONDS = 20


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Target:
    """A cluster ``analytics`` with the four roles above, in the accounts of a sandbox that is started."""

    name: str

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.world = sandbox.cluster()  # what AWS knows of it
        self.asked = 0
        for role in (STRANGER, BARE):
            sandbox.add_role(role)
        sandbox.add_access_entry(self.world, BARE)

    @property
    def cluster(self) -> Cluster:
        """Where it is."""
        world = self.world
        return Cluster(world.name, world.endpoint, world.certificate_authority, arn=world.arn)

    def provider(self, role: str = WORKER) -> TokenProvider:
        session = self.sandbox.issue_session(role, SESSION)
        return TokenProvider(
            lambda: session, cluster_name="analytics", region="eu-west-1", clock=self.sandbox.clock.now
        )

    def token(self, role: str = WORKER) -> str:
        return self.provider(role).get_token().value

    def audit(self) -> list[dict[str, Any]]:
        """The events of its audit log for what this test has asked, the oldest first."""
        raise NotImplementedError

    def authenticator_log(self) -> list[str]:
        """The lines of its authenticator that say who was let in and who was not, and why, in this test."""
        raise NotImplementedError

    def set_aws_auth(self, data: Mapping[str, str]) -> None:
        """Let kube-system/aws-auth have this data; it counts when this returns, as all that follows."""
        raise NotImplementedError

    def set_mode(self, mode: str) -> None:
        """Another authentication mode."""
        raise NotImplementedError

    def add_access_entry(self, role_arn: str, **entry: Any) -> AccessEntry:
        """An access entry, with what the sandbox's has."""
        return self.sandbox.add_access_entry(self.world, role_arn, **entry)

    def remove_access_entry(self, role_arn: str) -> None:
        """Take one away."""
        self.sandbox.remove_access_entry(self.world, role_arn)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        role: str | None = WORKER,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """One request on a connection of its own; ``role`` None: without a token."""
        self.asked += 1
        sent = {} if role is None else {"Authorization": f"Bearer {self.token(role)}"}
        with self.connection() as connection:
            target = f"{path}?{urlencode(query, doseq=True)}" if query else path
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, target, raw, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def connection(self) -> Connection:
        context = ssl.create_default_context(cadata=b64decode(self.cluster.certificate_authority).decode())
        host, _, port = self.cluster.endpoint.removeprefix("https://").partition(":")
        return Connection(host, int(port), context=context, timeout=SECONDS)


class SandboxCluster(Target):
    """The sandbox's own."""

    name = "sandbox"

    def audit(self) -> list[dict[str, Any]]:
        return [request.audit_event() for request in self.sandbox.kubernetes_requests]

    def authenticator_log(self) -> list[str]:
        return self.sandbox.authenticator_log

    def set_aws_auth(self, data: Mapping[str, str]) -> None:
        self.world.aws_auth = dict(data)

    def set_mode(self, mode: str) -> None:
        self.world.authentication_mode = mode


class Connection(http.client.HTTPSConnection):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pod(name: str | None = "p1", *, containers: tuple[str, ...] = ("base",), **life: str) -> dict[str, Any]:
    """A pod document; ``life``: annotations, ``run_seconds="1"`` for ``eks-sandbox/run-seconds``."""
    annotations = {f"eks-sandbox/{key.replace('_', '-')}": value for key, value in life.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **({"name": name} if name else {"generateName": "made-"}),
            "labels": {"team": "a"},
            "annotations": annotations,
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": each, "image": "busybox"} for each in containers]},
    }


def collected() -> Iterator[None]:
    """For a fixture around each test with Kubernetes clients, which leave sockets to the collector.

    So it collects in that very test, whose module ignores it, and not in one that happens to run later; what was there
    before is not looked at, which with all that is imported would take a tenth of a second each time.
    """
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


def until(condition: Callable[[], Any]) -> Any:
    """The condition's first true value. Fails after 20 s."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come true")


def lines(connection: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of a streamed answer as they come."""
    while line := connection.readline():
        yield line
