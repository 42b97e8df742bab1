"""Places that are not a developer's machine: read-only, full, homeless, hostile to Python, behind other CAs."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from apiserver import ApiServer
from kubernetes.client import CoreV1Api
from urllib3.exceptions import MaxRetryError

import eks_cross_account
from eks_cross_account import Cluster, StsUnavailableError, TokenProvider, api_client, get_token
from eks_cross_account.credentials import session_source
from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
PACKAGE = Path(eks_cross_account.__file__).parent
WORK = f"""
from eks_cross_account import connect, get_token, verify_token
from kubernetes.client import CoreV1Api
token = get_token(cluster_name="analytics", role_arn="{ROLE}")
print(verify_token(token.value, cluster_name="analytics").canonical_arn)
print(len(CoreV1Api(connect(cluster_name="analytics", role_arn="{ROLE}")).list_namespaced_pod("data").items))
"""


def run(sandbox: Sandbox, *flags: str, before: tuple[str, ...] = (), **environ: str | None) -> list[str]:
    """What the work prints in a new interpreter; an environ of None is not there."""
    given = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        **sandbox.environ,
        **environ,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    command = [*before, sys.executable, *flags, "-c", WORK]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("flags", [(), ("-O",), ("-OO",), ("-W", "error"), ("-X", "utf8=0")], ids=" ".join)
def test_it_works_under_the_interpreters_flags(eks_sandbox: Sandbox, flags: tuple[str, ...]) -> None:
    # -W error: what the clients and botocore themselves warn of at import is not ours to judge
    warned = ("-W", "ignore::DeprecationWarning") if "-W" in flags else ()

    assert run(eks_sandbox, *flags, *warned) == [ROLE, "0"]


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": None},
        {"HOME": "/proc/1/nowhere"},
        {"TMPDIR": "/nonexistent"},
        {"LANG": "C", "LC_ALL": "C"},
        {"PYTHONWARNINGS": "error,ignore::DeprecationWarning"},
        {"PYTHONUNBUFFERED": "1", "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        {"AWS_PROFILE": None, "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"},
    ],
    ids=str,
)
def test_it_works_in_a_bare_environment(eks_sandbox: Sandbox, environ: dict[str, str | None]) -> None:
    assert run(eks_sandbox, **environ) == [ROLE, "0"]


def test_the_isolated_interpreter_reads_no_path_of_the_environment(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    """With ``-I`` a ``json.py`` on PYTHONPATH is nobody's."""
    (tmp_path / "json.py").write_text("raise SystemExit('not the json you wanted')")

    assert run(eks_sandbox, "-I", PYTHONPATH=str(tmp_path)) == [ROLE, "0"]


def may_unshare() -> bool:
    program = shutil.which("unshare")
    return (
        program is not None
        and subprocess.run([program, "-m", "true"], capture_output=True, check=False).returncode == 0
    )


UNSHARED = pytest.mark.skipif(not may_unshare(), reason="needs the right to make mounts of its own (unshare -m)")


@UNSHARED
def test_it_works_where_nothing_can_be_written(eks_sandbox: Sandbox) -> None:
    """A container with a read-only root, and no /tmp or /dev/shm either."""
    script = (
        "mount -o remount,bind,ro / && mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /dev/shm "
        '&& ! touch /tmp/x 2>/dev/null && ! touch /x 2>/dev/null && exec "$@"'
    )
    if Path(eks_sandbox.ca_bundle).is_relative_to("/tmp"):  # noqa: S108 - the sandbox's own files are there
        script = script.replace("mount -t tmpfs -o ro none /tmp", "mount -o bind,ro /tmp /tmp")

    assert run(eks_sandbox, before=("unshare", "-m", "sh", "-c", script, "sh")) == [ROLE, "0"]


@UNSHARED
def test_it_works_where_tmp_is_full(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    script = (
        f"mount -t tmpfs -o size=4k none {full} && {{ head -c 8192 /dev/zero > {full}/all 2>/dev/null; true; }} "
        f'&& ! echo more > {full}/more && exec "$@"'
    )

    before = ("unshare", "-m", "sh", "-c", f"{{ {script}; }} 2>/dev/null", "sh")
    assert run(eks_sandbox, before=before, TMPDIR=str(full)) == [ROLE, "0"]


def test_it_works_as_a_zip_on_the_path(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    """A wheel is a zip: two minutes of trying it from a folder of DAGs."""
    archive = tmp_path / "eks_cross_account.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for file in PACKAGE.rglob("*"):
            if file.suffix in {".py", ".typed", ".json", ".yaml"}:
                wheel.write(file, file.relative_to(PACKAGE.parent))
    others = [path for path in sys.path if path and not (Path(path) / "eks_cross_account").exists()]
    hidden = tmp_path / "sitecustomize.py"  # an editable install would be found first
    hidden.write_text(f"import sys; sys.path.insert(0, {str(archive)!r})")

    assert run(eks_sandbox, PYTHONPATH=os.pathsep.join([str(tmp_path), *others])) == [ROLE, "0"]


@pytest.mark.usefixtures("eks_sandbox")
def test_without_a_network_it_is_an_error_that_names_sts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    with pytest.raises(StsUnavailableError, match="got no answer from STS in eu-west-1"):
        get_token(cluster_name="analytics", role_arn=ROLE)


# --- two authorities, crossed


def test_the_clusters_ca_is_not_believed_about_aws(
    eks_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox() as other:  # another authority
        authority = base64.b64decode(other.cluster().certificate_authority)
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))

    with pytest.raises(StsUnavailableError, match=r"SSL|CERTIFICATE"):
        get_token(cluster_name="analytics", role_arn=ROLE)
    assert [request.operation for request in eks_sandbox.requests] == []


def test_the_ca_of_aws_is_not_believed_about_the_cluster(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    of_aws = base64.b64encode(Path(eks_sandbox.ca_bundle).read_bytes()).decode()
    provider = TokenProvider(session_source(), cluster_name="analytics", region="eu-west-1")
    with ApiServer(tmp_path) as server:
        client = api_client(provider, Cluster("analytics", server.cluster.endpoint, of_aws))
        with pytest.raises(MaxRetryError, match="CERTIFICATE_VERIFY_FAILED"):
            CoreV1Api(client).list_namespaced_pod("data", _request_timeout=5)
    assert server.authorizations == []
