"""The demonstration: the wrong identity, the 401, what ``check`` says, the fix, and a pod. Runs on a sandbox only."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import textwrap
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from eks_cross_account.cli._main import FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eks_cross_account.sandbox import Sandbox

_PODS = "/api/v1/namespaces/data/pods"
_POD = {
    "metadata": {
        "name": "hello",
        "annotations": {
            "eks-sandbox/log": "reading yesterday's orders\n1204 rows written",
            "eks-sandbox/run-seconds": "1",
        },
    },
    "spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "report:1.0"}]},
}
_EDIT_POLICY = "arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
_WIDTH = 80
_HANGING: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "          ", "break_long_words": False}
_PATIENCE = 20  # seconds for the pod, which runs for one


def play(sandbox: Sandbox, role_arn: str) -> int:
    """One page of terminal; 0 when every step ended as it should, else 1 and the step."""
    cluster = sandbox.cluster()
    sandbox.remove_access_entry(cluster, role_arn)  # the day before somebody maps it
    steps = _Steps(sandbox, role_arn)
    try:
        steps.wrong_identity()
        steps.checked()
        steps.mapped()
        steps.pod()
    except _UnexpectedError as error:
        print(f"eks-token-check: the demonstration went wrong: {error}", file=sys.stderr)
        return FAILED
    return OK


class _UnexpectedError(Exception):
    """A step ended in another way than the page says."""


class _Steps:
    def __init__(self, sandbox: Sandbox, role_arn: str) -> None:
        self._sandbox = sandbox
        self._role_arn = role_arn
        self._cluster = sandbox.cluster()
        self._token = ""

    def wrong_identity(self) -> None:
        _title("1. A task in account A. Nobody assumed the role: the execution role signs.")
        self._mint()
        self._ask(401)
        event = self._sandbox.kubernetes_requests[-1].audit_event()
        seen = {"verb": event["verb"], "user": event["user"], "code": event["responseStatus"]["code"]}
        print(f"  account B's audit log: {json.dumps(seen)}")

    def checked(self) -> None:
        _title(f"2. With ROLE={self._role_arn}")
        self._mint("--role-arn", self._role_arn)
        self._ask(401)
        arguments = ("check", "--cluster-name", self._cluster.name, "--role-arn", self._role_arn)
        print("  $ eks-token-check check --cluster-name analytics --role-arn $ROLE")
        report = json.loads(self._run(*arguments, "--output", "json", expected=1))
        for finding in report["findings"]:
            if finding["state"] == "PASS":
                print(f"  {_cut('PASS    ' + finding['title'] + ': ' + finding['summary'])}")
        cause = next(finding for finding in report["findings"] if finding["id"] == report["root_cause"])
        print("\n".join(textwrap.wrap(f"FAIL    [{cause['id']}] {cause['summary']}", _WIDTH, **_HANGING)))
        for command in cause["remedy"]["commands"]:
            print(textwrap.indent(_folded(command), "  "))

    def mapped(self) -> None:
        _title("3. The owner of account B runs these two, as cluster-admin:")
        self._map()
        self._ask(200)
        user = self._sandbox.kubernetes_requests[-1].user
        print(f"  as {user['username']}")

    def pod(self) -> None:
        _title("4. A pod runs, and its log is read:")
        self._call("POST", _PODS, 201, _POD)
        phases: list[str] = []
        until = time.monotonic() + _PATIENCE
        while phases[-1:] != ["Succeeded"]:
            phase = json.loads(self._call("GET", f"{_PODS}/hello", 200))["status"]["phase"]
            phases += [phase] if phases[-1:] != [phase] else []
            if time.monotonic() > until:
                raise _UnexpectedError(f"the pod is still {phase}")
            time.sleep(0.05)
        print(f"  pod hello: {' -> '.join(phases)}")
        for line in self._call("GET", f"{_PODS}/hello/log", 200).decode().splitlines():
            print(f"  | {line}")
        self._call("DELETE", f"{_PODS}/hello", 200)

    def _map(self) -> None:
        """What the remedy's two commands do, by the same two calls of EKS."""
        import botocore.session  # noqa: PLC0415 - heavy, only here

        admin = self._sandbox.issue_session(self._role_arn.rpartition("/")[0] + "/cluster-admin", "owner-of-b")
        eks = botocore.session.Session().create_client(
            "eks",
            region_name=self._cluster.region,
            endpoint_url=self._sandbox.endpoint_url,
            aws_access_key_id=admin.access_key,
            aws_secret_access_key=admin.secret_key,
            aws_session_token=admin.token,
        )
        if not hasattr(eks, "create_access_entry"):  # botocore before 1.34
            policies = {"AmazonEKSEditPolicy": ["data"]}
            self._sandbox.add_access_entry(self._cluster, self._role_arn, policies=policies)
            return
        whose = {"clusterName": self._cluster.name, "principalArn": self._role_arn}
        eks.create_access_entry(**whose, type="STANDARD")
        scope = {"type": "namespace", "namespaces": ["data"]}
        policy = _EDIT_POLICY.format(partition=self._cluster.arn.split(":")[1])
        eks.associate_access_policy(**whose, policyArn=policy, accessScope=scope)

    def _mint(self, *role: str) -> None:
        arguments = ("token", "--cluster-name", self._cluster.name, *role)
        print(f"  $ eks-token-check token --cluster-name analytics{' --role-arn $ROLE' if role else ''}")
        self._token = json.loads(self._run(*arguments))["status"]["token"]

    def _ask(self, expected: int) -> None:
        self._call("GET", _PODS, expected)
        print(f"  GET {_PODS} -> {expected} {http.client.responses[expected]}")

    def _run(self, *arguments: str, expected: int = 0) -> str:
        """Run our own command as a user would, in the environment of the sandbox."""
        kept = {name: value for name, value in os.environ.items() if not _leads_elsewhere(name)}
        command = [sys.executable, "-m", "eks_cross_account.cli", *arguments]
        done = subprocess.run(  # noqa: S603 - ourselves
            command, env={**kept, **self._sandbox.environ}, capture_output=True, text=True, check=False
        )
        if done.returncode != expected:
            raise _UnexpectedError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def _call(self, method: str, path: str, expected: int, body: Mapping[str, Any] | None = None) -> bytes:
        context = ssl.create_default_context(cadata=b64decode(self._cluster.certificate_authority).decode())
        host, _, port = self._cluster.endpoint.removeprefix("https://").partition(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=_PATIENCE)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        if answer.status != expected:
            raise _UnexpectedError(f"{method} {path} was answered {answer.status}, not {expected}")
        return read


def _title(text: str) -> None:
    print(f"\n{text}", flush=True)


def _folded(command: str) -> str:
    """With the last flag of a line that is too wide on a line of its own; here no flag is within quotes."""
    lines = []
    for line in command.splitlines():
        head, flag, last = line.rpartition(" --")
        is_wide = len(line) > _WIDTH - 2 and head.strip()
        lines += [f"{head} \\", f"   {flag}{last}"] if is_wide else [line]
    return "\n".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH - 2 else text[: _WIDTH - 5] + "..."


def _leads_elsewhere(name: str) -> bool:
    return name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "KUBECONFIG"
