"""Programs that users have, as they are: kubectl with our exec plugin, and tokens of other hands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from build import binary
from clusters import WORKER, B, pod, until
from tokens import botocore_url, token_of

from eks_cross_account import TokenProvider, assume_roles
from eks_cross_account.credentials import FrozenCredentials, RoleHop

if TYPE_CHECKING:
    from pathlib import Path

    from real_cluster import RealCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
OURS = [sys.executable, "-m", "eks_cross_account.cli"]
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def run(program: list[str], *arguments: str, cluster: RealCluster, home: Path, stdin: str = "") -> Any:
    environ = {**cluster.sandbox.environ, "PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run(
        [*program, *arguments], env=environ, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def kubectl(real_cluster: RealCluster, tmp_path: Path) -> Any:
    """kubectl by what our command `kubeconfig` prints."""
    file = tmp_path / "kubeconfig"
    named = ("--cluster-name", "analytics", "--role-arn", WORKER, "--namespace", "data")
    made = run(OURS, "kubeconfig", *named, "--file", str(file), cluster=real_cluster, home=tmp_path)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    program = [str(binary("kubectl")), f"--kubeconfig={file}", f"--cache-dir={tmp_path}"]
    return lambda *arguments, **options: run(program, *arguments, cluster=real_cluster, home=tmp_path, **options)


def test_kubectl_gets_in_by_our_exec_plugin(kubectl: Any) -> None:
    done = kubectl("auth", "whoami", "-o", "json")

    assert done.returncode == 0, done.stderr
    extra = json.loads(done.stdout)["status"]["userInfo"]["extra"]
    assert extra["canonicalArn"] == [WORKER]


def test_kubectl_runs_a_pod_follows_its_log_and_runs_a_command_in_it(kubectl: Any) -> None:
    applied = kubectl("create", "-f", "-", stdin=json.dumps(pod("by-kubectl", run_seconds="6", log_lines="12")))
    assert applied.returncode == 0, applied.stderr
    until(lambda: "Running" in kubectl("get", "pod", "by-kubectl").stdout)

    spoken = kubectl("exec", "by-kubectl", "--", "echo", "inside")
    followed = kubectl("logs", "-f", "by-kubectl")
    deleted = kubectl("delete", "pod", "by-kubectl", "--wait=false")

    assert spoken.stdout == "inside\n", spoken.stderr
    assert followed.stdout.splitlines() == [f"line {number} of 12" for number in range(1, 13)]
    assert deleted.returncode == 0, deleted.stderr


def test_kubectl_says_what_our_plugin_says(real_cluster: RealCluster, kubectl: Any) -> None:
    sandbox = real_cluster.sandbox
    sandbox.deny("sts:AssumeRole")
    try:
        done = kubectl("get", "pods")
    finally:
        sandbox.undeny()

    assert done.returncode != 0
    assert "eks-token-check: " in done.stderr
    assert "AccessDenied" in done.stderr


def test_kubectl_names_a_plugin_that_has_gone(kubectl: Any, tmp_path: Path) -> None:
    """It shows the installHint for commands that it looks for in PATH only; it still stands in the file."""
    file = tmp_path / "kubeconfig"
    file.write_text(file.read_text().replace(json.dumps(sys.executable), '"/nonexistent/eks-token-check"'))

    done = kubectl("get", "pods")

    assert done.returncode != 0
    assert "exec: fork/exec /nonexistent/eks-token-check: no such file or directory" in done.stderr
    assert "pipx install eks-cross-account" in file.read_text()


def tokens_of_peers(cluster: RealCluster, home: Path) -> dict[str, str]:
    """A token of each signer there is, for one and the same role session's credentials."""
    source = assume_roles(_account_a(cluster), [RoleHop(WORKER, "peers")], region=cluster.sandbox.region)
    frozen = source()
    environ = {
        **cluster.sandbox.network,
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        "AWS_SESSION_TOKEN": frozen.token or "",
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "PATH": os.environ["PATH"],
        "HOME": str(home),
    }

    def exec_credential(*command: str) -> str:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["status"]["token"])

    provider = TokenProvider(frozen, cluster_name="analytics", region=cluster.sandbox.region)
    made = {
        "library": provider.get_token().value,
        "eks-token-check token": exec_credential(*OURS, "token", "--cluster-name", "analytics"),
        "aws-iam-authenticator token": exec_credential(
            str(binary("aws-iam-authenticator")), "token", "-i", "analytics", "--region", cluster.sandbox.region
        ),
        "botocore": token_of(
            botocore_url(
                frozen,
                cluster_name="analytics",
                host=f"sts.{cluster.sandbox.region}.amazonaws.com",
                region=cluster.sandbox.region,
            )
        ),
    }
    if "AWSCLI" in os.environ:
        made["aws eks get-token"] = exec_credential(
            os.environ["AWSCLI"], "eks", "get-token", "--cluster-name", "analytics"
        )
    return made


def _account_a(cluster: RealCluster) -> Any:
    environ = cluster.sandbox.environ
    held = FrozenCredentials(
        environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ["AWS_SESSION_TOKEN"]
    )
    return lambda: held


def test_tokens_of_the_peers_and_ours_make_the_same_user(
    real_cluster: RealCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    for name, value in real_cluster.sandbox.network.items():
        monkeypatch.setenv(name, value)
    users: dict[str, Any] = {}
    for signer, token in tokens_of_peers(real_cluster, tmp_path).items():
        answer = real_cluster.ask("POST", REVIEW, {}, role=None, headers={
            "Authorization": f"Bearer {token}", "Content-Type": "application/json"})  # fmt: skip
        assert answer.status == 201, signer
        users[signer] = answer.document["status"]["userInfo"]

    record_property("accepted", sorted(users))
    first, *others = users.values()
    assert first["extra"]["arn"] == [f"arn:aws:sts::{B}:assumed-role/cross-account-role/peers"]
    assert len(others) >= 3
    assert all(other == first for other in others)
