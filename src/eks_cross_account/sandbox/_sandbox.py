"""The sandbox as its users hold it: started, changed by knobs, read by records, stopped."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from eks_cross_account import endpoints
from eks_cross_account.credentials import FrozenCredentials
from eks_cross_account.sandbox import _aws, _server
from eks_cross_account.sandbox._authn import Authenticator
from eks_cross_account.sandbox._ca import CertificateAuthority
from eks_cross_account.sandbox._faults import THROTTLED, Fault, Faults
from eks_cross_account.sandbox._grants import Grant, pod_runner
from eks_cross_account.sandbox._kubernetes import ApiServer, KubernetesRequest
from eks_cross_account.sandbox._sigv4 import AwsError, Received, claim
from eks_cross_account.sandbox._world import AccessEntry, EksCluster, Key, Role, World, trust_policy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

__all__ = ["Clock", "Grant", "KubernetesRequest", "Sandbox", "SandboxRequest", "pod_runner", "trust_policy"]

_WORKERS, _NAMESPACE = "airflow-workers", "data"
_NAMESPACES = ("default", "kube-system", _NAMESPACE)
_ACCOUNT_A, _ACCOUNT_B = "111111111111", "222222222222"
_TOKEN_BYTES = 720  # of the order of what STS hands out; a knob for the day it grows
_HOUR = timedelta(hours=1)
_IMDS_HEADER = "x-aws-ec2-metadata-token"
_IMDS_CREDENTIALS = "/latest/meta-data/iam/security-credentials/"


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """One request that the sandbox answered. Holds no secret: of a key id the last four characters, of a body nothing.

    ``operation``: such as ``sts:AssumeRole``; ``caller``: the ARN that signed, "" where no signature held; ``code``:
    AWS's error code, "" for a success.
    """

    operation: str
    host: str
    status: int
    code: str
    caller: str
    access_key_id: str
    user_agent: str
    at: datetime


class Clock:
    """The sandbox's idea of now: the wall clock, moved by ``advance`` or ``set``."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def now(self) -> datetime:
        """An aware UTC datetime."""
        return datetime.now(UTC) + self._offset

    def advance(self, delta: timedelta) -> None:
        """Move it, backwards too."""
        self._offset += delta

    def set(self, moment: datetime) -> None:
        """Let it be ``moment`` now, and go on from there."""
        self._offset = moment - datetime.now(UTC)


class Sandbox:
    """AWS and EKS on loopback, a context manager. Two at once know nothing of each other.

    With ``default_world``: account 111111111111 with role ``service-role/mwaa-exec``, which ``environ`` holds the
    credentials of; account 222222222222 with ``cross-account-role`` (trusts the first), ``cluster-admin`` and the EKS
    cluster ``analytics``. An access entry puts the first of the two into the group ``airflow-workers``; the second has
    AmazonEKSClusterAdminPolicy. The execution role of account A is not mapped.

    ``token_bytes``: the length of session tokens. ``grants``: who may do what in the clusters; without it
    ``airflow-workers`` may run pods in the namespace ``data``. ``namespaces``: those that every cluster has.
    """

    def __init__(
        self,
        *,
        region: str = "eu-west-1",
        default_world: bool = True,
        token_bytes: int = _TOKEN_BYTES,
        grants: Iterable[Grant] | None = None,
        namespaces: Iterable[str] = _NAMESPACES,
    ) -> None:
        endpoints.partition_of(region)
        self.region = region
        self.clock: Clock = Clock()
        self.requests: list[SandboxRequest] = []
        self.kubernetes_requests: list[KubernetesRequest] = []
        self._world = World()
        self._aws = _aws.Aws(self._world, token_bytes=token_bytes)
        self._faults = Faults()
        self._authenticator = Authenticator(self._aws, self._faults)
        self._grants = pod_runner(_WORKERS, _NAMESPACE) if grants is None else tuple(grants)
        self._namespaces = tuple(namespaces)
        self._lock = threading.RLock()
        self._default_world = default_world
        self._loop: _server.Loop | None = None
        self._folder: Path | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._container_token = secrets.token_urlsafe(16)
        self._imds_tokens: set[str] = set()
        self._instance: Key | None = None
        self._environ: dict[str, str] = {}

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on free loopback ports. RuntimeError when it is started already."""
        if self._loop is not None:
            raise RuntimeError("this sandbox is started already")
        self._folder = Path(tempfile.mkdtemp(prefix="eks-sandbox-"))
        self._loop = _server.Loop("eks-sandbox")
        try:
            self._authority = CertificateAuthority(self._folder, "sandbox AWS")
            self._loop.call(self._listen(self._loop))
            for cluster in self._world.clusters.values():
                self._serve_cluster(cluster)
            if self._default_world and not self._world.roles:
                self._make_default_world()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection, end the thread, remove the CA's folder. A second call does nothing."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def hanging(self) -> int:
        """Requests that met ``hang`` and are still waiting."""
        return self._faults.hanging

    @property
    def authenticator_log(self) -> list[str]:
        """What the clusters' authenticator wrote: the only place that says why a token was refused.

        On EKS the log of type ``authenticator``.
        """
        return self._authenticator.log

    # --- where it is

    @property
    def proxy_url(self) -> str:
        """For HTTPS_PROXY: under it the sandbox has the true host names of STS, EKS and IAM."""
        return f"http://{_server.LOOPBACK}:{self._proxy_port}"

    @property
    def endpoint_url(self) -> str:
        """For AWS_ENDPOINT_URL: plain HTTP, every service."""
        return f"http://{_server.LOOPBACK}:{self._plain_port}"

    @property
    def ca_bundle(self) -> str:
        """For AWS_CA_BUNDLE: the file with the CA of the AWS names."""
        return str(self._authority.file)

    @property
    def network(self) -> dict[str, str]:
        """The environment that leads a program to the sandbox: proxy, CA and region, no credentials."""
        return {
            "HTTPS_PROXY": self.proxy_url,
            "NO_PROXY": "127.0.0.1,localhost",
            "AWS_CA_BUNDLE": self.ca_bundle,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }

    @property
    def environ(self) -> dict[str, str]:
        """``network`` and the credentials of account A's role: what a task in account A would have."""
        return {**self.network, **self._environ}

    @property
    def container_environ(self) -> dict[str, str]:
        """``network``, and the container credentials endpoint (ECS, EKS Pod Identity) instead of keys."""
        return {
            **self.network,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.endpoint_url}/v2/credentials/task",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._container_token,
        }

    @property
    def instance_environ(self) -> dict[str, str]:
        """``network``, and the instance metadata service (IMDSv2 only) instead of keys."""
        return {**self.network, "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint_url}

    # --- what exists

    def add_role(
        self,
        arn: str,
        *,
        trust: Mapping[str, Any] | Iterable[str] = (),
        allow: Iterable[str] = (),
        max_session: timedelta = _HOUR,
        life: timedelta | None = None,
    ) -> Role:
        """A role. ``trust``: a trust policy document, or the ARNs that may assume; ``allow``: action patterns.

        ``life``: a session's length, below AWS's least too. ValueError where IAM refuses (a principal without path).
        """
        with self._lock:
            return self._world.add_role(
                arn, trust=trust, allow=allow, max_session=max_session, life=life, now=self.clock.now()
            )

    def delete_role(self, arn: str) -> None:
        """Delete it: its sessions end, and a new role of this name is another principal."""
        with self._lock:
            role = self._world.roles.pop(arn)
            for key in self._world.keys.values():
                key.revoked = key.revoked or key.principal.unique_id == role.unique_id

    def add_user(self, arn: str, *, allow: Iterable[str] = ()) -> FrozenCredentials:
        """An IAM user or ``...:root`` with a long-lived key, which is returned."""
        with self._lock:
            return _frozen(self._world.issue_user_key(self._world.add_user(arn, allow)))

    def issue_session(
        self, role_arn: str, session_name: str = "session", *, life: timedelta | None = None
    ) -> FrozenCredentials:
        """Credentials of the role without asking anybody, as a service (MWAA, Lambda) gets them."""
        with self._lock:
            return _frozen(self._issue(role_arn, session_name, life))

    def revoke(self, credentials: FrozenCredentials) -> None:
        """AWS forgets this key id."""
        with self._lock:
            self._world.keys[credentials.access_key].revoked = True

    def deny(self, action: str, *, principal_arn: str = "*") -> None:
        """An explicit deny of an action pattern (``eks:Describe*``), for one role or user or for all."""
        with self._lock:
            self._world.denied.add((principal_arn, action))

    def undeny(self) -> None:
        """Take every ``deny`` back."""
        with self._lock:
            self._world.denied.clear()

    def add_cluster(
        self,
        name: str,
        *,
        account: str = _ACCOUNT_B,
        region: str | None = None,
        authentication_mode: str = "API_AND_CONFIG_MAP",
        version: str = "1.34",
    ) -> EksCluster:
        """A cluster that EKS describes, and its API server with a CA of its own.

        ``aws_auth`` of what is returned is the data of its ConfigMap aws-auth: change it, and the next request is
        judged by it.
        """
        cluster = EksCluster(
            name=name,
            account=account,
            region=region or self.region,
            authentication_mode=authentication_mode,
            endpoint="",
            certificate_authority="",
            version=version,
            created=self.clock.now(),
        )
        if self._loop is not None:
            self._serve_cluster(cluster)
        with self._lock:
            self._world.clusters[cluster.account, cluster.region, name] = cluster
        return cluster

    def cluster(self, name: str = "analytics") -> EksCluster:
        """The cluster of this name. KeyError where there is none."""
        with self._lock:
            found = [cluster for cluster in self._world.clusters.values() if cluster.name == name]
        if not found:
            raise KeyError(f"the sandbox has no cluster {name}")
        return found[0]

    def add_access_entry(  # noqa: PLR0913 - what an entry has
        self,
        cluster: EksCluster,
        principal_arn: str,
        *,
        username: str | None = None,
        groups: Iterable[str] = (),
        policies: Mapping[str, Iterable[str]] | None = None,
        entry_type: str = "STANDARD",
    ) -> AccessEntry:
        """An access entry, as CreateAccessEntry makes it but without asking for permission.

        ``policies``: names of access policies, such as AmazonEKSEditPolicy, each with the namespaces it is scoped to;
        none: the whole cluster.
        """
        with self._lock:
            unique_id = self._world.principal_exists(principal_arn)
            if unique_id is None:
                raise ValueError(f"The specified principalArn is invalid: invalid principal. ({principal_arn})")
            now = self.clock.now()
            name = username or _aws.default_username(principal_arn, entry_type)
            entry = AccessEntry(principal_arn, unique_id, name, tuple(groups), entry_type, now, now)
            for policy, namespaces in (policies or {}).items():
                scope = {"type": "namespace" if namespaces else "cluster", "namespaces": list(namespaces)}
                made = _aws.associated_policy(_aws.policy_arn(policy, cluster.region), scope, now)
                entry.policies[made["policyArn"]] = made
            cluster.entries[principal_arn] = entry
            return entry

    def remove_access_entry(self, cluster: EksCluster, principal_arn: str) -> None:
        """Take an access entry away. KeyError where there is none."""
        with self._lock:
            del cluster.entries[principal_arn]

    def write_kubeconfig(self, cluster: EksCluster, *, role_arn: str | None = None) -> Path:
        """A kubeconfig whose exec plugin is this package's ``token``; the file, which goes when the sandbox stops.

        It holds no credentials: the plugin finds them in the environment of whoever uses it (``environ``).
        """
        if self._folder is None:
            raise RuntimeError("this sandbox is not started")
        arguments = ["-m", "eks_cross_account.cli", "token", "--cluster-name", cluster.name, "--region", cluster.region]
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [*arguments, *(["--role-arn", role_arn] if role_arn else [])],
            "interactiveMode": "Never",
        }
        name = f"eks-sandbox-{cluster.name}"
        server = {"server": cluster.endpoint, "certificate-authority-data": cluster.certificate_authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": server}],
            "users": [{"name": name, "user": {"exec": plugin}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": _NAMESPACE}}],
            "current-context": name,
        }
        file = self._folder / f"kubeconfig-{cluster.name}"
        file.touch(mode=0o600)
        file.write_text(json.dumps(document, indent=2) + "\n")
        return file

    # --- faults; operation: a pattern such as "sts:*" or "eks:DescribeCluster"

    def throttle(self, operation: str, *, times: int | None = None) -> None:
        """Answer with AWS's throttling error, ``times`` times or until ``clear_faults``."""
        self._faults.add(Fault(operation, "throttle", times))

    def respond(
        self,
        operation: str,
        status: int,
        body: bytes | str = b"",
        *,
        content_type: str = "text/html",
        times: int | None = None,
    ) -> None:
        """Answer with this text, as a broken proxy or a captive portal would."""
        raw = body.encode() if isinstance(body, str) else body
        self._faults.add(Fault(operation, "respond", times, status=status, body=raw, content_type=content_type))

    def delay(self, operation: str, seconds: float, *, times: int | None = None) -> None:
        """Answer later."""
        self._faults.add(Fault(operation, "delay", times, seconds=seconds))

    def hang(self, operation: str, *, times: int | None = None) -> None:
        """Take the request and never answer."""
        self._faults.add(Fault(operation, "hang", times))

    def disconnect(self, operation: str, *, times: int | None = None) -> None:
        """Take the request and cut the connection."""
        self._faults.add(Fault(operation, "disconnect", times))

    def clear_faults(self) -> None:
        """No fault any more; requests that hang stay so."""
        self._faults.clear()

    # --- inside

    def _make_default_world(self) -> None:
        partition = endpoints.partition_of(self.region)
        execution = f"arn:{partition}:iam::{_ACCOUNT_A}:role/service-role/mwaa-exec"
        self.add_role(
            execution, allow=["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"], max_session=12 * _HOUR
        )
        trust = trust_policy(execution, tag_session=True)
        self.add_role(
            f"arn:{partition}:iam::{_ACCOUNT_B}:role/cross-account-role", trust=trust, allow=["eks:DescribeCluster"]
        )
        self.add_role(
            f"arn:{partition}:iam::{_ACCOUNT_B}:role/cluster-admin", trust=trust, allow=["eks:*", "iam:GetRole"]
        )
        cluster = self.add_cluster("analytics")
        self.add_access_entry(cluster, f"arn:{partition}:iam::{_ACCOUNT_B}:role/cross-account-role", groups=[_WORKERS])
        admin = f"arn:{partition}:iam::{_ACCOUNT_B}:role/cluster-admin"
        self.add_access_entry(cluster, admin, policies={"AmazonEKSClusterAdminPolicy": ()})
        credentials = self.issue_session(execution, "AmazonMWAA-prod")
        self._environ = {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_SESSION_TOKEN": credentials.token or "",
        }

    def _issue(self, role_arn: str, session_name: str, life: timedelta | None) -> Key:
        role = self._world.roles[role_arn]
        until = self.clock.now().replace(microsecond=0) + (life or role.life or _HOUR)
        return self._world.issue_session(role, session_name, expiration=until, token_bytes=self._aws.token_bytes)

    def _serve_cluster(self, cluster: EksCluster) -> None:
        """Let the cluster's API server listen; its endpoint and CA are known from then on."""
        if self._loop is None or self._folder is None:
            raise RuntimeError("this sandbox is not started")
        name = f"cluster {cluster.name} {cluster.account} {cluster.region}"
        authority = CertificateAuthority(self._folder, name)
        server = ApiServer(
            cluster,
            world=self._world,
            authenticator=self._authenticator,
            faults=self._faults,
            grants=self._grants,
            namespaces=self._namespaces,
            now=self.clock.now,
            record=self.kubernetes_requests.append,
        )
        context = authority.context("localhost", _server.LOOPBACK)
        port = self._loop.call(_server.listen(self._loop, server.handle, context))
        cluster.endpoint = f"https://{_server.LOOPBACK}:{port}"
        cluster.certificate_authority = authority.base64_pem

    async def _listen(self, loop: _server.Loop) -> None:
        context = self._authority.context("localhost", _server.LOOPBACK)
        context.sni_callback = self._choose_certificate
        self._tls_port = await _server.listen(loop, self._serve_aws, context)
        self._plain_port = await _server.listen(loop, self._serve_plain)
        self._proxy_port = await _server.listen_proxy(loop, self._port_of)

    def _port_of(self, host: str) -> int | None:
        return self._tls_port if _service_of_host(host) else None

    def _choose_certificate(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is None or _service_of_host(name) is None:
            return
        if name not in self._contexts:
            self._contexts[name] = self._authority.context(name)
        connection.context = self._contexts[name]

    async def _serve_aws(self, request: web.BaseRequest) -> web.StreamResponse:
        received = await _received(request)
        found = _service_of_host(received.host)
        if found is None:
            return web.Response(status=421, text="no host of the sandbox\n")
        return await self._answer(request, received, *found)

    async def _serve_plain(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/latest/"):
            return self._instance_metadata(request)
        if request.path.startswith("/v2/credentials/"):
            return self._container_credentials(request)
        received = await _received(request)
        return await self._answer(request, received, _service_of_scope(received), None)

    async def _answer(
        self, request: web.BaseRequest, received: Received, service: str, region: str | None
    ) -> web.StreamResponse:
        operation = _aws.operation_of(service, received)
        for fault in self._faults.take(operation):
            early = await _server.meet(self._faults, fault, request)
            if fault.kind == "throttle":
                early = _throttled(service, request)
            if early is not None:
                code = THROTTLED[service][1] if fault.kind == "throttle" else ""
                self._record(operation, received, early.status, code, "", "")
                return early
        with self._lock:
            answer = self._aws.answer(service, received, region=region, now=self.clock.now())
        caller = answer.caller.arn if answer.caller else ""
        self._record(operation, received, answer.status, answer.code, caller, answer.access_key_id)
        headers = {"x-amzn-RequestId": secrets.token_hex(16), "Date": _server.http_date(self.clock.now())}
        if answer.code and service == "eks":
            headers["x-amzn-ErrorType"] = answer.code
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type, headers=headers)

    def _record(  # noqa: PLR0913, PLR0917 - a record's fields
        self, operation: str, received: Received, status: int, code: str, caller: str, access_key_id: str
    ) -> None:
        agent = received.header("user-agent")
        at = self.clock.now()
        self.requests.append(
            SandboxRequest(operation, received.host, status, code, caller, access_key_id[-4:], agent, at)
        )

    def _container_credentials(self, request: web.BaseRequest) -> web.Response:
        if not secrets.compare_digest(request.headers.get("Authorization", ""), self._container_token):
            return web.json_response({"code": "AccessDenied", "message": "no valid authorization token"}, status=401)
        return web.json_response(_aws.container_credentials(self._instance_key()))

    def _instance_metadata(self, request: web.BaseRequest) -> web.Response:
        if (request.method, request.path) == ("PUT", "/latest/api/token"):
            token = secrets.token_urlsafe(24)
            self._imds_tokens.add(token)
            return web.Response(text=token)
        if request.headers.get(_IMDS_HEADER, "") not in self._imds_tokens:
            return web.Response(status=401)  # IMDSv1 is off
        key = self._instance_key()
        name = key.principal.base_arn.rsplit("/", 1)[1]
        known = {
            _IMDS_CREDENTIALS: name,
            _IMDS_CREDENTIALS + name: json.dumps(_aws.instance_credentials(key, self.clock.now())),
            "/latest/meta-data/placement/availability-zone/": f"{self.region}a",
        }
        found = known.get(request.path)
        return web.Response(status=404) if found is None else web.Response(text=found)

    def _instance_key(self) -> Key:
        """The session of account A's role that container and instance serve; a new one shortly before its end."""
        with self._lock:
            key = self._instance
            if key is None or key.expiration is None or key.expiration - self.clock.now() < timedelta(minutes=5):
                role_arn = next(arn for arn in self._world.roles if arn.split(":")[4] == _ACCOUNT_A)
                key = self._instance = self._issue(role_arn, "i-0123456789abcdef0", None)
            return key


def _throttled(service: str, request: web.BaseRequest) -> web.Response:
    status, code, message = THROTTLED[service]
    refused = _aws.refusal(service, request.headers.get("Accept", ""), AwsError(status, code, message))
    headers = {"x-amzn-ErrorType": code} if service == "eks" else {}
    return web.Response(status=status, body=refused[1], content_type=refused[0], headers=headers)


def _frozen(key: Key) -> FrozenCredentials:
    return FrozenCredentials(key.access_key_id, key.secret_key, key.session_token, key.expiration)


async def _received(request: web.BaseRequest) -> Received:
    raw_path, _, query = request.raw_path.partition("?")
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in request.raw_headers:
        lowered = name.decode("latin-1").lower()
        headers[lowered] = (*headers.get(lowered, ()), value.decode("utf-8", "surrogateescape"))
    body = await request.read()
    return Received(request.method, raw_path, query, headers, body, request.headers.get("Host", ""))


def _service_of_host(host: str) -> tuple[str, str] | None:
    """The service and the region that a true AWS host name stands for."""
    region = endpoints.region_of_sts_host(host)
    if region is not None:
        return "sts", region
    service, _, rest = host.partition(".")
    if host == "iam.amazonaws.com":
        return "iam", "us-east-1"
    region = rest.partition(".")[0]
    if service != "eks" or not endpoints.is_known_region(region):
        return None
    suffixes = {name.partition(f".{region}.")[2] for name in endpoints.sts_hosts(region)}
    return ("eks", region) if rest.partition(".")[2] in suffixes else None


def _service_of_scope(received: Received) -> str:
    """Behind one endpoint URL only the signature says which service is meant; unsigned actions are STS's."""
    try:
        service = claim(received).service
    except AwsError:
        return "sts"
    return service if service in THROTTLED else "sts"
