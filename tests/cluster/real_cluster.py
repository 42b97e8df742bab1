"""The real thing, as tests ask it: etcd, kube-apiserver, aws-iam-authenticator and kwok, each unmodified.

The authenticator's STS is the sandbox's AWS side under its true host name. Access entries are the sandbox's, written
into the authenticator's dynamic file with strict user ids; aws-auth is the ConfigMap; the order of the two follows the
cluster's authentication mode. What an access policy allows is a ClusterRole here: EKS's own authorizer is not public.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import yaml
from build import KUBERNETES, binary
from clusters import ADMIN, Target, until
from kubelet import Kubelet
from pki import Authority

from eks_cross_account import required_permissions, role_manifest
from eks_cross_account.mapping import EKS_RESERVED_PREFIXES
from eks_cross_account.sandbox import Sandbox, _server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eks_cross_account.sandbox._world import AccessEntry

HERE = Path(__file__).parent
NODE = "node-1"
NAMESPACES = ("data", "default", "kube-system")
_START_SECONDS = 60
_STOP_SECONDS = 5
_RBAC = "rbac.authorization.k8s.io"
_HEALTH_PORT = 21363  # the authenticator's, on every address, and no flag moves it
_MODES = {
    "API": "DynamicFile",
    "API_AND_CONFIG_MAP": "DynamicFile EKSConfigMap",
    "CONFIG_MAP": "EKSConfigMap",
    "MOUNTED_FILE": "MountedFile",  # none of EKS's: the authenticator's own way elsewhere
}
_ADMINS = "cluster-admins"  # for AmazonEKSClusterAdminPolicy


class Process:
    """A program with its log; ended by its own pid."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.arguments = [str(binary(name)), *arguments]
        self.environ = {**os.environ, **(environ or {})}
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.arguments, stdout=log, stderr=log, env=self.environ,
                                             start_new_session=True)  # fmt: skip

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ask, and then insist: the authenticator has been seen to take no SIGTERM."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def check(self) -> None:
        """AssertionError with the end of its log when it has ended."""
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"{self.name} has ended:\n{self.log.read_text()[-3000:]}")


class RealCluster(Target):
    """The cluster ``analytics`` of the sandbox's account B on a real API server. A context manager.

    ``test``: one test's view of it, clean before and after.
    """

    name = "real"

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        self._folder = Path(tempfile.mkdtemp(prefix="eks-cluster-"))
        self._loop: _server.Loop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._versions = itertools.count(1)
        self._guard: socket.socket | None = None
        self._audited = self._logged = 0
        self.processes: dict[str, Process] = {}

    # --- life

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.stop()
        if self._loop is not None:
            if self._session is not None:
                self._loop.call(self._session.close())
            self._loop.stop()
        self.sandbox.stop()
        if self._guard is not None:
            self._guard.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self.sandbox.start()
        world = self.sandbox.cluster()
        self._authority = Authority(self._folder)
        self._ports = _free_ports("api", "etcd", "peer", "authenticator", "kubelet", "kwok")
        self._admin = self._authority.client("admin", "system:masters")
        world.endpoint = f"https://127.0.0.1:{self._ports['api']}"
        world.certificate_authority = base64.b64encode(self._authority.ca.read_bytes()).decode()
        world.version = ".".join(KUBERNETES.split(".")[:2])
        self._kubeconfig = self._write_kubeconfig()
        self._start_etcd()
        self._start_authenticator()
        self._start_api_server()
        self._start_node()
        self._furnish()
        super().__init__(self.sandbox)
        self._settle_entries()

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peer"))
        self._run("etcd", [
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ])  # fmt: skip

    def _start_authenticator(self) -> None:
        self._guard = _hold(_HEALTH_PORT)
        self._entries = self._folder / "entries.json"
        self._entries.write_text(json.dumps({"Version": "0"}))
        self._mode = self._folder / "mode.json"
        self._mode.write_text(json.dumps({"backendMode": _MODES["API_AND_CONFIG_MAP"], "LastUpdatedDateTime": "0"}))
        config = {
            "clusterID": self.sandbox.cluster().name,
            "server": {
                "dynamicfilepath": str(self._entries),
                "dynamicfileUserIDStrict": True,
                "dynamicBackendModePath": str(self._mode),
                # as the authenticator's own example has it, and EKS documents it for access entries
                "reservedPrefixConfig": [
                    {"backendMode": "DynamicFile", "usernamePrefixReserveList": list(EKS_RESERVED_PREFIXES)}
                ],
                "mapRoles": [
                    {"rolearn": ADMIN, "username": "mounted:{{SessionName}}", "groups": ["system:masters"]},
                ],
            },
        }
        file = self._folder / "authenticator.yaml"
        file.write_text(json.dumps(config))
        self._webhook = self._folder / "webhook.yaml"
        environ = {
            "HTTPS_PROXY": self.sandbox.proxy_url, "NO_PROXY": "127.0.0.1,localhost", "AWS_REGION": self.sandbox.region,
            "SSL_CERT_FILE": self.sandbox.ca_bundle, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        self._run("aws-iam-authenticator", [
            "server", f"--config={file}", f"--state-dir={self._folder}", f"--generate-kubeconfig={self._webhook}",
            f"--port={self._ports['authenticator']}", f"--kubeconfig={self._kubeconfig}",
            "--backend-mode=DynamicFile,EKSConfigMap",
        ], environ)  # fmt: skip
        self._wait(self._webhook.exists)

    def _start_api_server(self) -> None:
        (self._folder / "authentication.yaml").write_text(json.dumps({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "anonymous": {
                "enabled": True,
                "conditions": [{"path": path} for path in ("/healthz", "/livez", "/readyz")],
            },
        }))  # fmt: skip
        self.audit_log = self._folder / "audit.log"
        (self._folder / "audit.yaml").write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }))  # fmt: skip
        certificate, key = self._authority.server("api-server")
        signing = self._authority.client("service-accounts")
        kubelet_client = self._authority.client("api-server-to-kubelet")
        self._run("kube-apiserver", [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}", "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['api']}", f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
            f"--client-ca-file={self._authority.ca}", f"--cert-dir={self._folder}",
            f"--authentication-config={self._folder / 'authentication.yaml'}",
            f"--authentication-token-webhook-config-file={self._webhook}",
            "--authentication-token-webhook-cache-ttl=1s", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes", f"--service-account-key-file={signing[1]}",
            f"--service-account-signing-key-file={signing[1]}", "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none", f"--audit-log-path={self.audit_log}",
            f"--audit-policy-file={self._folder / 'audit.yaml'}",
            f"--kubelet-certificate-authority={self._authority.ca}",
            f"--kubelet-client-certificate={kubelet_client[0]}", f"--kubelet-client-key={kubelet_client[1]}",
            "--kubelet-preferred-address-types=InternalIP",
        ])  # fmt: skip
        self.wait_ready()

    def _start_node(self) -> None:
        loop = self._loop = _server.Loop("kubelet")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._authority.server("kubelet"))
        kubelet = Kubelet(self._read_pod, self._annotate, self._ports["kwok"])
        loop.call(kubelet.listen(loop, self._ports["kubelet"], context))
        self._run("kwok", [
            f"--config={HERE / 'kwok.yaml'}", f"--kubeconfig={self._kubeconfig}", "--manage-all-nodes=true",
            "--node-ip=127.0.0.1", f"--node-port={self._ports['kubelet']}",
            f"--server-address=127.0.0.1:{self._ports['kwok']}",
        ])  # fmt: skip
        self.admin("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})

    def _furnish(self) -> None:
        """Namespaces, the accounts that pods run as, who may do what, and the policy that stands in for a scheduler."""
        for namespace in NAMESPACES:
            self.admin("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, accept=(201, 409))
            account = {"metadata": {"name": "default"}}
            self.admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account, accept=(201, 409))
        needed = {*required_permissions(xcom=True), *required_permissions(xcom=True, deferrable=True)}
        manifest = role_manifest(needed, namespace="data", group="airflow-workers", name="operators")
        self.apply(manifest)  # so that operators run by what we hand out
        admins = {
            "metadata": {"name": _ADMINS},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "Group", "name": _ADMINS, "apiGroup": _RBAC}],
        }
        self.admin("POST", f"/apis/{_RBAC}/v1/clusterrolebindings", admins)
        for kind, document in _scheduler().items():
            self.admin("POST", f"/apis/admissionregistration.k8s.io/v1/{kind}", document)
        until(lambda: "Ready" in {
            found["type"] for found in self.admin("GET", f"/api/v1/nodes/{NODE}")["status"].get("conditions", [])
            if found["status"] == "True"
        })  # fmt: skip
        probe = {"metadata": {"generateName": "probe-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        until(lambda: self.admin("POST", "/api/v1/namespaces/default/pods?dryRun=All", probe)["spec"].get("nodeName"))

    # --- what the owner of the cluster can do

    def admin(
        self, method: str, path: str, body: Any = None, *, accept: tuple[int, ...] = (200, 201), kind: str = ""
    ) -> Any:
        """One request by a client certificate in system:masters. AssertionError for another status than these."""
        context = ssl.create_default_context(cafile=str(self._authority.ca))
        context.load_cert_chain(*self._admin)
        connection = http.client.HTTPSConnection("127.0.0.1", self._ports["api"], context=context, timeout=20)
        with contextlib.closing(connection):
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"Content-Type": kind or "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status in accept, f"{method} {path}: {answer.status} {text[:500]!r}"
        return json.loads(text)

    def grant(self, group: str, rules: list[dict[str, Any]], *, namespace: str) -> None:
        """A Role of these rules in the namespace, bound to the group; both named after it."""
        base = f"/apis/{_RBAC}/v1/namespaces/{namespace}"
        self.admin("POST", f"{base}/roles", {"metadata": {"name": group}, "rules": rules})
        self.admin("POST", f"{base}/rolebindings", {
            "metadata": {"name": group}, "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": group},
            "subjects": [{"kind": "Group", "name": group, "apiGroup": _RBAC}],
        })  # fmt: skip

    def apply(self, manifest: str) -> None:
        """Roles and their bindings."""
        for document in yaml.safe_load_all(manifest):
            base = f"/apis/{_RBAC}/v1/namespaces/{document['metadata']['namespace']}"
            self.admin("POST", f"{base}/{document['kind'].lower()}s", document)

    def set_aws_auth(self, data: Mapping[str, str]) -> None:
        before = self.log().count("Received aws-auth watch event")
        path, document = (
            "/api/v1/namespaces/kube-system/configmaps",
            {"metadata": {"name": "aws-auth"}, "data": dict(data)},
        )
        made = self.admin("POST", path, document, accept=(201, 409))
        if made["kind"] == "Status":
            self.admin("PUT", f"{path}/aws-auth", document)
        until(lambda: self.log().count("Received aws-auth watch event") > before)
        self.sandbox.cluster().aws_auth = dict(data)

    def set_mode(self, mode: str) -> None:
        self.sandbox.cluster().authentication_mode = mode
        text = json.dumps(self._mode_of(mode))
        self._mode.write_text(text)
        until(lambda: f"BackendMode dynamic file got changed to {text}" in self.log().replace('\\"', '"'))

    def _mode_of(self, mode: str) -> dict[str, str]:
        return {"backendMode": _MODES[mode], "Version": str(next(self._versions)), "LastUpdatedDateTime": "0"}

    def _settle_entries(self) -> None:
        """Let the authenticator know the sandbox's access entries."""
        version = f"entries-{next(self._versions)}"
        rows = [
            {
                "rolearn": entry.principal_arn, "userid": entry.unique_id, "username": entry.username,
                "groups": [*entry.groups, *([_ADMINS] if entry.policies else [])],
            }
            for entry in self.sandbox.cluster().entries.values()
        ]  # fmt: skip
        self._entries.write_text(json.dumps({"Version": version, "mapRoles": rows, "LastUpdatedDateTime": "0"}))
        until(lambda: f'"Version": "{version}"' in self.log().replace('\\"', '"'))

    def add_access_entry(self, role_arn: str, **entry: Any) -> AccessEntry:
        made = super().add_access_entry(role_arn, **entry)
        self._settle_entries()
        return made

    def remove_access_entry(self, role_arn: str) -> None:
        super().remove_access_entry(role_arn)
        self._settle_entries()

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        """End one of the programs."""
        self.processes[name].stop(how)

    def start(self, name: str) -> None:
        """Start it again, and wait until it does its work."""
        process = self.processes[name]
        heard = _occurrences(process, "listening on")
        process.start()
        if name == "aws-iam-authenticator":
            self._wait(lambda: _occurrences(process, "listening on") > heard)
            self._settle_entries()
        elif name == "kube-apiserver":
            self.wait_ready()

    @contextlib.contextmanager
    def test(self) -> Iterator[Self]:
        """What one test changes is put back: pods, access entries, aws-auth, mode, roles; its records are its own."""
        world, cluster = self.sandbox._world, self.sandbox.cluster()
        roles, entries, mode = dict(world.roles), dict(cluster.entries), cluster.authentication_mode
        self._audited, self._logged, self.asked = self.audit_log.stat().st_size, len(self.log()), 0
        try:
            yield self
        finally:
            self.sandbox.clear_faults()
            self.sandbox.undeny()
            world.roles.clear()
            world.roles.update(roles)
            if cluster.authentication_mode != mode:
                self.set_mode(mode)  # first: in mode CONFIG_MAP nobody reads the entries
            if cluster.entries != entries:
                cluster.entries.clear()
                cluster.entries.update(entries)
                self._settle_entries()
            if cluster.aws_auth:
                self.set_aws_auth({})
            self._delete_pods()
            self._audited = self._logged = 0

    def _delete_pods(self) -> None:
        for item in self.admin("GET", "/api/v1/pods")["items"]:
            path = f"/api/v1/namespaces/{item['metadata']['namespace']}/pods/{item['metadata']['name']}"
            self.admin("DELETE", f"{path}?gracePeriodSeconds=0", accept=(200, 404))
        for namespace in NAMESPACES:
            self.admin("DELETE", f"/api/v1/namespaces/{namespace}/events")

    # --- records

    def log(self) -> str:
        """All that the authenticator has written."""
        return self.processes["aws-iam-authenticator"].log.read_text(errors="replace")

    def authenticator_log(self) -> list[str]:
        lines = self.log()[self._logged :].splitlines()
        return [line for line in lines if 'msg="access ' in line]

    def audit(self) -> list[dict[str, Any]]:
        """Those of the cluster's own programs and of its owner are left out."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:  # an event is written when its answer has been sent
            found[:] = [event for event in self._events(self._audited) if not _is_own(event)]
            return len(found) >= self.asked

        until(enough)
        return found

    def _events(self, begin: int = 0) -> list[dict[str, Any]]:
        """Those from this byte on, one per request, its last stage.

        A refusal has ResponseStarted alone, what is streamed has it first. A line that is being written is left out.
        """
        with self.audit_log.open("rb") as log:
            log.seek(begin)
            every = [json.loads(line) for line in log if line.endswith(b"\n")]
        return list({event["auditID"]: event for event in every}.values())

    def refused(self) -> list[dict[str, Any]]:
        """Of the events of all tests, the 401s."""
        return [event for event in self._events() if event["responseStatus"]["code"] == 401]

    # --- inside

    def _run(self, name: str, arguments: list[str], environ: Mapping[str, str] | None = None) -> None:
        process = self.processes[name] = Process(name, arguments, self._folder, environ)
        process.start()

    def wait_ready(self) -> None:
        """Until the API server says that it is ready."""
        self._wait(self._is_ready)

    def _is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._authority.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self._ports["api"], context=context, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except OSError:
                return False

    def _wait(self, condition: Any) -> None:
        end = time.monotonic() + _START_SECONDS
        while not condition():
            for process in self.processes.values():
                process.check()
            if time.monotonic() > end:
                logs = "\n".join(f"--- {each.name}\n{each.log.read_text()[-1500:]}" for each in self.processes.values())
                raise AssertionError(f"not ready after {_START_SECONDS} s\n{logs}")
            time.sleep(0.05)

    def _write_kubeconfig(self) -> Path:
        """For the authenticator and kwok, which are part of the cluster."""
        certificate, key = self._admin
        file = self._folder / "admin.yaml"
        file.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": f"https://127.0.0.1:{self._ports['api']}",
                "certificate-authority": str(self._authority.ca),
            }}],
            "users": [{"name": "c", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }))  # fmt: skip
        return file

    async def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=str(self._authority.ca))
            context.load_cert_chain(*self._admin)
            self._session = aiohttp.ClientSession(
                f"https://127.0.0.1:{self._ports['api']}", connector=aiohttp.TCPConnector(ssl=context)
            )
        return self._session

    async def _read_pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        for _ in range(100):  # while the API server is restarted
            try:
                async with (await self._http()).get(f"/api/v1/namespaces/{namespace}/pods/{name}") as answer:
                    return None if answer.status == 404 else await answer.json()
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
        return None

    async def _annotate(self, namespace: str, name: str, key: str, value: str) -> None:
        body = json.dumps({"metadata": {"annotations": {key: value}}})
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        async with (await self._http()).patch(path, data=body, headers=headers) as answer:
            answer.raise_for_status()


def _is_own(event: Mapping[str, Any]) -> bool:
    name = event["user"].get("username", "")
    return name == "admin" or (name.startswith("system:") and name != "system:anonymous")


def _occurrences(process: Process, text: str) -> int:
    return process.log.read_text(errors="replace").count(text)


def _scheduler() -> dict[str, dict[str, Any]]:
    """A MutatingAdmissionPolicy with its binding: a pod that names no node, and is not to stay pending, gets ours."""
    name = {"name": "scheduler"}
    pending = 'has(object.metadata.annotations) && "eks-sandbox/pending" in object.metadata.annotations'
    unscheduled = f"!has(object.spec.nodeName) && !({pending})"
    return {
        "mutatingadmissionpolicies": {
            "metadata": name,
            "spec": {
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]},
                "matchConditions": [{"name": "unscheduled", "expression": unscheduled}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": f'Object{{spec: Object.spec{{nodeName: "{NODE}"}}}}'},
                }],
            },
        },
        "mutatingadmissionpolicybindings": {"metadata": name, "spec": {"policyName": "scheduler"}},
    }  # fmt: skip


def _free_ports(*names: str) -> dict[str, int]:
    sockets = {name: socket.socket() for name in names}
    for each in sockets.values():
        each.bind(("127.0.0.1", 0))
    ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def _hold(port: int) -> socket.socket | None:
    """Take the port without listening, so that the authenticator's health page, which nobody asks for, is not served.

    It would listen on every address of the machine. None where somebody else has the port, which serves as well.
    """
    held = socket.socket(socket.AF_INET6)
    try:
        held.bind(("::", port))
    except OSError:
        held.close()
        return None
    return held
