"""The command ``kubeconfig``: what it prints, where from, and the clients that read it and get in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clusters import SandboxCluster, collected, pod
from tokens import assert_no_canary

from eks_cross_account import decode_token
from eks_cross_account._version import __version__
from eks_cross_account.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
CLUSTER = "arn:aws:eks:eu-west-1:222222222222:cluster/analytics"
NAMED = ("kubeconfig", "--cluster-name", "analytics")
SOURCE = Path(__file__).parents[1] / "src"
HOSTILE = "x;$(touch /tmp/x)`id`\n'\"\\ \u202e&|"
ENDPOINT = "https://0A1B.gr7.eu-west-1.eks.amazonaws.com"
collected_here = pytest.fixture(collected)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*arguments: str) -> Any:
        code = main([*NAMED, *arguments])
        caught = capsys.readouterr()
        assert (code, caught.err) == (0, "")
        return json.loads(caught.out)

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: str, code: int = 1) -> str:
        assert main([*NAMED, *arguments]) == code
        caught = capsys.readouterr()
        assert caught.out == ""
        assert caught.err.splitlines()[-1].startswith("eks-token-check")
        return caught.err

    return call


def authority(sandbox: Sandbox) -> str:
    return sandbox.cluster().certificate_authority


def offline(sandbox: Sandbox, endpoint: str = ENDPOINT) -> tuple[str, ...]:
    return ("--cluster-endpoint", endpoint, "--cluster-ca", authority(sandbox))


def plugin(document: Any) -> list[str]:
    found = document["users"][0]["user"]["exec"]
    return [found["command"], *found["args"]]


# --- what it prints


def test_it_is_one_cluster_one_user_one_context_and_one_command(
    printed: Callable[..., Any], eks_sandbox: Sandbox
) -> None:
    document = printed("--role-arn", ROLE, "--external-id", "x-7", "--session-name", "me", "--namespace", "data")

    name = f"cross-account-role@{CLUSTER}"
    assert document == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": CLUSTER,
                "cluster": {
                    "server": eks_sandbox.cluster().endpoint,
                    "certificate-authority-data": authority(eks_sandbox),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1",
                        "command": sys.executable,
                        "args": [
                            "-P", "-m", "eks_cross_account.cli", "token", "--cluster-name", "analytics",
                            "--region", "eu-west-1", "--role-arn", ROLE, "--external-id", "x-7", "--session-name", "me",
                        ],
                        "interactiveMode": "Never",
                        "provideClusterInfo": True,
                        "installHint": (
                            f"The plugin is eks-token-check of the Python package eks-cross-account ({__version__} "
                            "wrote this): install it (pipx install eks-cross-account), then write this file anew with: "
                            "eks-token-check kubeconfig"
                        ),
                    }
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": CLUSTER, "user": name, "namespace": "data"}}],
        "current-context": name,
    }  # fmt: skip


def test_the_cluster_is_described_to_the_identity_that_will_get_in(
    printed: Callable[..., Any], eks_sandbox: Sandbox
) -> None:
    printed("--role-arn", ROLE)

    asked = [(request.operation, request.caller.split(":")[5]) for request in eks_sandbox.requests]
    assert asked[-1][0] == "eks:DescribeCluster"
    assert asked[-1][1].startswith("assumed-role/cross-account-role/")


def test_it_holds_no_secret_and_writes_nothing(printed: Callable[..., Any], eks_sandbox: Sandbox) -> None:
    text = json.dumps(printed("--role-arn", ROLE))

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert eks_sandbox.environ[name] not in text
    assert "k8s-aws-v1." not in text


def test_a_chain_is_in_the_command_in_its_order(printed: Callable[..., Any], eks_sandbox: Sandbox) -> None:
    second = ROLE.replace("cross-account-role", "second")
    document = printed(*offline(eks_sandbox), "--role-arn", ROLE, "--external-id=-x7", "--role-arn", second)

    assert plugin(document)[5:] == [
        "--cluster-name", "analytics", "--region", "eu-west-1",
        "--role-arn", ROLE, "--external-id=-x7", "--role-arn", second,
    ]  # fmt: skip
    assert document["current-context"] == "second@analytics"


def test_with_endpoint_and_ca_nobody_is_asked_and_the_region_is_in_the_name(
    printed: Callable[..., Any], eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in eks_sandbox.environ:
        monkeypatch.delenv(name)

    document = printed(*offline(eks_sandbox))

    assert plugin(document)[5:] == ["--cluster-name", "analytics", "--region", "eu-west-1"]
    assert document["clusters"][0]["cluster"]["server"] == ENDPOINT
    assert document["current-context"] == "analytics"
    assert eks_sandbox.requests == []


def test_the_names_are_the_same_in_every_kind_of_yaml(printed: Callable[..., Any], eks_sandbox: Sandbox) -> None:
    yaml = pytest.importorskip("yaml")
    document = printed(*offline(eks_sandbox), "--profile", HOSTILE, "--alias", HOSTILE)

    assert yaml.safe_load(json.dumps(document, indent=2)) == document
    assert document["current-context"] == document["users"][0]["name"] == HOSTILE


def test_what_a_hostile_name_says_is_not_done(
    printed: Callable[..., Any], eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    name = f"x;$(touch {touched})`touch {touched}`\n'\"\\"
    command = plugin(printed(*offline(eks_sandbox), "--profile", name))

    done = subprocess.run(command, env={"PYTHONPATH": str(SOURCE), "HOME": "/nonexistent"}, capture_output=True,
                          text=True, timeout=50, check=False)  # fmt: skip

    assert command[-1] == name
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not be found" in done.stderr
    assert not touched.exists()


def test_the_command_of_an_installed_script_is_its_own_path_and_a_link_stays_one(
    eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "venv").mkdir()
    script = tmp_path / "venv/eks-token-check"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom eks_cross_account.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    link = tmp_path / "eks-token-check"
    link.symlink_to(script)
    environ = {**eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    called = ["eks-token-check", *NAMED, "--role-arn", ROLE]
    done = subprocess.run(called, env=environ, capture_output=True, text=True, check=True, cwd=tmp_path / "venv")

    command = plugin(json.loads(done.stdout))
    assert command == [str(link), "token", "--cluster-name", "analytics", "--region", "eu-west-1", "--role-arn", ROLE]
    minted = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert decode_token(json.loads(minted.stdout)["status"]["token"]).region == "eu-west-1"


# --- a file


def test_a_file_is_new_and_for_its_owner_alone_and_how_to_join_it_is_said(
    capsys: pytest.CaptureFixture[str], eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "my clusters"

    assert main([*NAMED, "--role-arn", ROLE, "--file", str(file)]) == 0

    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err == f"KUBECONFIG='{file}':\"${{KUBECONFIG:-$HOME/.kube/config}}\" kubectl get pods\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["clusters"][0]["cluster"]["server"] == eks_sandbox.cluster().endpoint


def test_no_file_is_written_over_and_no_link_followed(
    refused: Callable[..., str], eks_sandbox: Sandbox, tmp_path: Path
) -> None:
    given = offline(eks_sandbox)
    precious, link = tmp_path / "config", tmp_path / "link"
    precious.write_text("precious")
    link.symlink_to(tmp_path / "elsewhere")

    assert "File exists" in refused(*given, "--file", str(precious))
    assert "File exists" in refused(*given, "--file", str(link))
    assert "No such file" in refused(*given, "--file", str(tmp_path / "none/config"))

    assert precious.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


def test_where_the_disk_is_full_no_half_of_a_file_is_left(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "eks_cross_account.cli", *NAMED, *offline(eks_sandbox), "--file", "config"]
    limited = 'ulimit -f 0; exec "$@"'  # no byte in any file, which is met where a full disk would be

    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(["bash", "-c", limited, "bash", *command], cwd=tmp_path, capture_output=True, text=True,  # noqa: S607
                          check=False, env=unmeasured)  # fmt: skip

    assert (done.returncode, done.stderr) == (1, "eks-token-check: cannot write 'config': File too large\n")
    assert not (tmp_path / "config").exists()


# --- what it refuses


@pytest.mark.parametrize(
    "endpoint",
    ["http://10.0.0.1", "10.0.0.1", "https://", "https://a b", "https://u:p@host", "https://host/$(id)", "https://h\n"],
)
def test_an_endpoint_that_a_token_should_not_go_to_is_refused(
    refused: Callable[..., str], eks_sandbox: Sandbox, endpoint: str
) -> None:
    assert "is not the https:// address of an API server" in refused(*offline(eks_sandbox, endpoint))


@pytest.mark.parametrize(
    "data", ["", "LS0t", "not base64!", base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAAAA\n").decode(), "\u00e9"]
)
def test_a_ca_that_is_none_is_refused(refused: Callable[..., str], data: str) -> None:
    message = refused("--cluster-endpoint", ENDPOINT, "--cluster-ca", data)

    assert "the certificate authority of cluster analytics is not a PEM in base64" in message


@pytest.mark.parametrize(
    "arguments",
    [("--cluster-endpoint", ENDPOINT), ("--cluster-ca", "x"), ("--namespace", "a/b"), ("--namespace", "A\n")],
)
def test_what_cannot_be_meant_is_usage(refused: Callable[..., str], arguments: tuple[str, ...]) -> None:
    refused(*arguments, code=2)


def test_who_may_not_describe_the_cluster_is_told_the_other_way(
    refused: Callable[..., str], eks_sandbox: Sandbox
) -> None:
    eks_sandbox.deny("eks:DescribeCluster")

    message = refused("--role-arn", ROLE)

    assert "AccessDeniedException" in message
    assert "give --cluster-endpoint and --cluster-ca" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("environ", "words"),
    [({}, "no AWS credentials were found"), ({"AWS_REGION": ""}, "no region")],
    ids=["no credentials", "no region"],
)
def test_a_failure_is_code_1_one_line_and_an_empty_stdout(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], words: str
) -> None:
    for name, value in {"AWS_REGION": "eu-west-1", **environ}.items():
        monkeypatch.setenv(name, value)

    message = refused()

    assert words in message
    assert message.count("\n") == 1
    assert_no_canary(message)


# --- who reads it


@pytest.fixture
def config(eks_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A file of it, in namespace data, where a pod runs; for lightkube of the older version."""
    SandboxCluster(eks_sandbox).ask("POST", "/api/v1/namespaces/data/pods", pod("p1", run_seconds="600"))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))

    def write(api_version: str = "v1") -> Path:
        file = tmp_path / "config"
        options = ("--namespace", "data", "--exec-api-version", api_version, "--file", str(file))
        assert main([*NAMED, "--role-arn", ROLE, *options]) == 0
        return file

    return write


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


OLD_CLIENTS = pytest.mark.filterwarnings(
    "default::DeprecationWarning",
    "default::PendingDeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # as test_kubernetes
)


@OLD_CLIENTS
@pytest.mark.usefixtures("collected_here")
@pytest.mark.parametrize("api_version", ["v1", "v1beta1"])
@pytest.mark.skipif(installed("kubernetes") == "36.0.0", reason="36.0.0 sends no token of any kubeconfig")
@pytest.mark.skipif(installed("kubernetes")[:3] in {"34.", "35."}, reason="34 and 35 read HTTPS_PROXY, forget NO_PROXY")
def test_the_python_client_lists_pods_by_it(config: Callable[..., Path], api_version: str) -> None:
    reader, kubernetes = pytest.importorskip("kubernetes.config"), pytest.importorskip("kubernetes.client")

    with reader.new_client_from_config(config_file=str(config(api_version))) as client:
        pods = kubernetes.CoreV1Api(client).list_namespaced_pod("data")

    assert [each.metadata.name for each in pods.items] == ["p1"]


@OLD_CLIENTS
@pytest.mark.usefixtures("collected_here")
@pytest.mark.parametrize("api_version", ["v1", "v1beta1"])
def test_the_asyncio_client_lists_pods_by_it(config: Callable[..., Path], api_version: str) -> None:
    kubernetes_asyncio = pytest.importorskip("kubernetes_asyncio")
    file = str(config(api_version))

    async def listed() -> list[str]:
        async with await kubernetes_asyncio.config.new_client_from_config(config_file=file) as client:
            pods = await kubernetes_asyncio.client.CoreV1Api(client).list_namespaced_pod("data")
        return [each.metadata.name for each in pods.items]

    assert asyncio.run(listed()) == ["p1"]


@OLD_CLIENTS
@pytest.mark.usefixtures("collected_here")
def test_lightkube_lists_pods_by_it_in_the_older_version(config: Callable[..., Path]) -> None:
    lightkube = pytest.importorskip("lightkube")
    from lightkube.resources.core_v1 import Pod  # noqa: PLC0415 - not in every environment

    client = lightkube.Client(lightkube.KubeConfig.from_file(str(config("v1beta1"))))

    assert [each.metadata.name for each in client.list(Pod, namespace="data")] == ["p1"]


def test_kr8s_lists_pods_by_it(config: Callable[..., Path]) -> None:
    pytest.importorskip("kr8s")
    code = "import kr8s, sys; print([each.name for each in kr8s.api(kubeconfig=sys.argv[1]).get('pods')])"

    # a process of its own: it leaves a thread and its sockets behind
    done = subprocess.run([sys.executable, "-c", code, str(config())], capture_output=True, text=True, timeout=50,
                          check=False)  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "['p1']\n"), done.stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here; tests/cluster builds one")
def test_kubectl_lists_pods_by_it(config: Callable[..., Path], eks_sandbox: Sandbox, tmp_path: Path) -> None:
    environ = {**os.environ, **eks_sandbox.environ, "HOME": str(tmp_path)}
    command = ["kubectl", f"--kubeconfig={config()}", "get", "--raw", "/api/v1/namespaces/data/pods"]

    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stderr
    assert [each["metadata"]["name"] for each in json.loads(done.stdout)["items"]] == ["p1"]
