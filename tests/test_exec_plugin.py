"""``token`` as kubectl, helm and Python's clients start it: one line on stdout and nothing else, whatever is around."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokens import assert_no_canary

from eks_cross_account.cli import main

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
SOURCE = Path(__file__).parents[1] / "src"
GROUP = "client.authentication.k8s.io"
VERSIONS = {f"{GROUP}/v1", f"{GROUP}/v1beta1", f"{GROUP}/v1alpha1"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_REGION": "eu-west-1"}
TOKEN = ("token", "--cluster-name", "analytics")
HOSTILE = """
import atexit, logging, sys
print("printed before")
logging.basicConfig(stream=sys.stdout, level="DEBUG")
atexit.register(lambda: (print("printed at exit"), sys.stdout.flush(), logging.warning("logged at exit")))
"""
PROGRAM = f"import sys; sys.path[:0] = [{str(SOURCE)!r}]; from eks_cross_account.cli import main; sys.exit(main())"


def environment(*paths: Path, **variables: str) -> dict[str, str]:
    path = os.pathsep.join([*map(str, paths), str(SOURCE)])
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path, **variables}


def started(arguments: list[str], environ: dict[str, str], **options: Any) -> Any:
    return subprocess.run([sys.executable, *arguments], env=environ, text=True, timeout=50, check=False,
                          capture_output=True, **options)  # fmt: skip


def assert_one_credential(out: str) -> None:
    assert out.count("\n") == 1
    assert json.loads(out)["status"]["token"].startswith("k8s-aws-v1.")


# --- stdout


@pytest.mark.parametrize("role", [(), ("--role-arn", ROLE)], ids=["no role", "a role"])
@pytest.mark.parametrize(
    ("flags", "variables"),
    [((), {}), (("-O",), {}), ((), {"PYTHONWARNINGS": "error"}), ((), {"AWS_DEFAULT_OUTPUT": "table"})],
    ids=["plain", "-O", "warnings are errors", "AWS_DEFAULT_OUTPUT"],
)
def test_what_a_sitecustomize_prints_and_logs_is_no_part_of_the_answer(
    eks_sandbox: Sandbox, tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str], role: tuple[str, ...]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOSTILE)
    environ = environment(tmp_path, **eks_sandbox.environ, **variables)

    done = started([*flags, "-m", "eks_cross_account.cli", *TOKEN, *role], environ)

    assert done.returncode == 0, done.stderr
    assert_one_credential(done.stdout)
    for words in ("printed before", "printed at exit", "logged at exit"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_in_an_isolated_python_too() -> None:
    done = started(["-I", "-c", HOSTILE + PROGRAM, *TOKEN], environment(**KEYS))

    assert done.returncode == 0, done.stderr
    assert_one_credential(done.stdout)
    assert "printed at exit" in done.stderr


def test_a_failure_leaves_stdout_empty_also_when_others_print(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOSTILE)

    done = started(["-m", "eks_cross_account.cli", *TOKEN], environment(tmp_path, AWS_REGION="eu-west-1",
                   AWS_EC2_METADATA_DISABLED="true"))  # fmt: skip

    assert (done.returncode, done.stdout) == (1, "")
    assert "eks-token-check: no AWS credentials were found" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_an_answer_needs_neither_stdin_nor_stderr(closed: str) -> None:
    script = f'exec "$0" -m eks_cross_account.cli {" ".join(TOKEN)} {closed}'

    done = subprocess.run(["bash", "-c", script, sys.executable], env=environment(**KEYS), capture_output=True,  # noqa: S607
                          text=True, timeout=50, check=False)  # fmt: skip

    assert done.returncode == 0
    assert_one_credential(done.stdout)


@pytest.mark.parametrize("arguments", [TOKEN, ("decode", "/nonexistent")], ids=lambda words: words[0])
def test_an_error_does_not_go_to_stdout_where_stderr_is_closed(arguments: tuple[str, ...]) -> None:
    script = f'exec "$0" -m eks_cross_account.cli {" ".join(arguments)} 2>&-'
    environ = environment(AWS_REGION="eu-west-1", AWS_EC2_METADATA_DISABLED="true")

    done = subprocess.run(["bash", "-c", script, sys.executable], env=environ, capture_output=True, text=True,  # noqa: S607
                          timeout=50, check=False)  # fmt: skip

    assert done.returncode != 0
    assert done.stdout == ""


def test_who_calls_it_from_python_keeps_their_stdout_and_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    before = os.fstat(1)

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(TOKEN) == 0

    assert_one_credential(out.getvalue())
    assert os.fstat(1) == before
    assert gc.isenabled()


# --- stdin


def test_stdin_is_not_read(eks_sandbox: Sandbox) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"for another program")
    environ = environment(**eks_sandbox.environ)

    done = started(["-m", "eks_cross_account.cli", *TOKEN, "--role-arn", ROLE], environ, stdin=reading)

    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert os.read(reading, 100) == b"for another program"
    os.close(reading)


@pytest.mark.parametrize("warnings", ["default", "error"])
def test_a_profile_that_asks_for_an_mfa_code_fails_in_a_line_and_reads_no_stdin(tmp_path: Path, warnings: str) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"[profile m]\nrole_arn = {ROLE}\nsource_profile = s\nmfa_serial = arn:aws:iam::111111111111:mfa/phone\n"
        "[profile s]\naws_access_key_id = AKIAX\naws_secret_access_key = canary\n"
    )
    environ = environment(AWS_CONFIG_FILE=str(config), AWS_REGION="eu-west-1", PYTHONWARNINGS=warnings)
    reading, writing = os.pipe()
    os.write(writing, b"123456\n")

    done = started(["-m", "eks_cross_account.cli", *TOKEN, "--profile", "m"], environ, stdin=reading,
                   start_new_session=True)  # fmt: skip

    os.close(writing)
    assert (done.returncode, done.stdout) == (1, "")
    assert "eks-token-check: no AWS credentials: the profile's role wants an MFA code" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.read(reading, 100) == b"123456\n"
    os.close(reading)
    assert_no_canary(done.stderr)


# --- KUBERNETES_EXEC_INFO


def answered(info: str, **without: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    environ = {**KEYS, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **without}
    with (
        patch.dict(os.environ, {**environ, "KUBERNETES_EXEC_INFO": info}, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        return main(TOKEN), out.getvalue(), err.getvalue()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SERVERS = st.one_of(
    TEXT, st.sampled_from(["https://A.gr7.us-west-2.eks.amazonaws.com", "https://A.us-west-2.eks.evil.com", "https://"])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)
INFO = st.fixed_dictionaries(
    {},
    optional={
        "kind": JSON,
        "apiVersion": st.sampled_from(sorted(VERSIONS)) | JSON,
        "spec": JSON | st.fixed_dictionaries({}, optional={
            "interactive": JSON,
            "cluster": JSON | st.fixed_dictionaries({}, optional={"server": SERVERS | JSON, "config": JSON}),
        }),
    },
)  # fmt: skip


@given(TEXT | JSON.map(json.dumps) | INFO.map(json.dumps))
def test_whatever_a_client_sends_gets_an_answer_in_a_version_that_there_is(info: str) -> None:
    code, out, err = answered(info)

    assert (code, err) == (0, "")
    assert_one_credential(out)
    assert json.loads(out)["apiVersion"] in VERSIONS


@given(TEXT | INFO.map(json.dumps))
def test_whatever_a_client_sends_a_refusal_is_one_line_on_stderr(info: str) -> None:
    code, out, err = answered(info, AWS_ACCESS_KEY_ID="ASIAX")  # its session token is missing

    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("eks-token-check: ")


@pytest.mark.parametrize(
    "info",
    ["x" * (1 << 20), "[" * (1 << 20), '{"apiVersion":' * 70_000, '{"a":' + "1" * (1 << 20) + "}", "\udcff\udc80"],
    ids=["1 MiB", "1 MiB of brackets", "1 MiB of objects", "a number of a million digits", "no UTF-8"],
)
def test_size_depth_and_bytes_cost_no_answer(info: str) -> None:
    code, out, err = answered(info)

    assert (code, err) == (0, "")
    assert json.loads(out)["apiVersion"] == f"{GROUP}/v1beta1"
