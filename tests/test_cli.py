"""The command, as a program: what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokens import CREDENTIALS, assert_no_canary, token

from eks_cross_account import decode_token, encode_token, presign
from eks_cross_account.cli import main
from eks_cross_account.provider import utc_now

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

B = "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
COMMAND = [sys.executable, "-m", "eks_cross_account.cli"]


class Ran:
    """What one run of the command printed, and its code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str, stdin: str | bytes = b"") -> Ran:
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        code = main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ran(code, printed.out, printed.err)

    return call


def good(**options: Any) -> str:
    made = {"cluster_name": "analytics", "region": "eu-west-1", "now": utc_now(), **options}
    return encode_token(presign(CREDENTIALS, **made))


# --- decode


def test_decode_shows_what_is_in_a_token_and_that_it_is_not_verified(run: Any) -> None:
    ran = run("decode", stdin=good() + "\n")

    assert ran.code == 0
    assert ran.out.startswith("decoded, NOT verified")
    assert "sts.eu-west-1.amazonaws.com" in ran.out
    assert "ASIAEXAMPLEEXAMPLE01" in ran.out
    assert ran.out.endswith("breaks no rule\n")
    assert ran.err == ""
    assert_no_canary(ran.out)


def test_decode_as_json_has_every_field(run: Any) -> None:
    document = json.loads(run("decode", "--output", "json", stdin=token()).out)

    assert list(document) == ["schema", "command", "token", "violations"]
    assert (document["schema"], document["command"]) == ("eks-token-check/1", "decode")
    assert document["token"] == {
        "sts_host": "sts.us-west-2.amazonaws.com",
        "region": "us-west-2",
        "access_key_id": "ASIAEXAMPLEEXAMPLE01",
        "credential_scope": "20260203/us-west-2/sts/aws4_request",
        "issued_at": "2026-02-03T04:05:06Z",
        "expiration": "2026-02-03T04:20:06Z",
        "expires_in": 60,
        "signed_headers": ["host", "x-k8s-aws-id"],
        "has_session_token": True,
        "size_bytes": len(token()),
    }
    assert [sorted(violation) for violation in document["violations"]] == [["judge", "message", "remedy", "rule"]]
    assert document["violations"][0]["rule"] == "date_expired"


@pytest.mark.parametrize("stdin", ["garbage", "Bearer x", b"\xff\xfe\x00", "k8s-aws-v1.AAA=", "{", '{"status": {}}'])
def test_decode_of_what_is_no_token_is_code_1_and_null(run: Any, stdin: str | bytes) -> None:
    ran = run("decode", "--output", "json", stdin=stdin)

    assert ran.code == 1
    assert json.loads(ran.out)["token"] is None
    assert json.loads(ran.out)["violations"]


def test_decode_takes_the_exec_credential_of_any_plugin(run: Any) -> None:
    ran = run("decode", stdin=json.dumps({"kind": "ExecCredential", "status": {"token": good()}}, indent=2))

    assert ran.code == 0
    assert ran.err == "read status.token of the ExecCredential\n"


def test_decode_reads_a_file_and_strips_one_line_end_only(run: Any, tmp_path: Path) -> None:
    for ending, code in (("", 0), ("\n", 0), ("\r\n", 0), (" \n", 1)):
        (tmp_path / "token").write_bytes((good() + ending).encode())
        assert run("decode", str(tmp_path / "token")).code == code


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1"])
def test_decode_judges_a_token_by_its_own_partition_unless_told_the_clusters(run: Any, region: str) -> None:
    assert run("decode", stdin=good(region=region)).code == 0
    told = run("decode", "--region", "eu-west-1", "--output", "json", stdin=good(region=region))
    if region != "us-gov-west-1":  # the verifier takes either's names in the other
        assert json.loads(told.out)["violations"][0]["rule"] in {"host_partition", "host"}


# --- usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["check"],
        [],
        ["token"],
        ["verify"],
        ["verify", "--cluster-name", "bad name"],
        ["token", "--cluster-name", "c", "--region", "us-east-1.evil.com"],
        ["token", "--cluster-name", "c", "--region", "x@evil"],
        ["token", "--cluster-name", "c", "--role-arn", "role", "--region", "eu-west-1"],
        ["token", "--cluster-name", "c", "--external-id", "x7"],
        ["token", "--cluster-name", "c", "--role-arn", ROLE, "--external-id", "x7", "--external-id", "x8"],
        ["token", "--cluster-name", "c", "--output", "json"],
        ["check", "--cluster-name", "c", "--principal-arn", ROLE],
        ["check", "--cluster-name", "c", "--timeout", "3"],
        ["check", "--cluster-name", "c", "--clus", "d"],
        ["check", "--cluster-name", "c", "--output", "html"],
        ["check", "--cluster-name", "c"],
        ["decode", "/nonexistent/file"],
        ["decode", "/"],
        ["decode"],
        ["decode", "--region", ""],
        ["explane"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_usage_with_nothing_on_stdout(run: Any, arguments: list[str]) -> None:
    ran = run(*arguments)

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.strip().splitlines()[-1].startswith("eks-token-check")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"], ["token", "-h"]], ids=" ".join)
def test_help_and_version_are_answers(run: Any, arguments: list[str]) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out


# --- verify


def test_verify_prints_whose_the_token_is(run: Any, eks_sandbox: Sandbox) -> None:
    made = encode_token(
        presign(eks_sandbox.issue_session(ROLE, "nightly"), cluster_name="analytics", region="eu-west-1", now=utc_now())
    )

    ran = run("verify", "--cluster-name", "analytics", "--output", "json", stdin=made)

    assert (ran.code, ran.err) == (0, "")
    identity = json.loads(ran.out)["identity"]
    assert identity.pop("user_id").startswith("AROA")
    assert identity == {
        "account": B,
        "arn": f"arn:aws:sts::{B}:assumed-role/cross-account-role/nightly",
        "canonical_arn": ROLE,
        "session_name": "nightly",
    }
    assert f"canonical_arn  {ROLE}\n" in run("verify", "--cluster-name", "analytics", stdin=made).out


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (good(), 1),  # STS does not know the key
        (token(), 1),  # expired
        ("garbage", 1),
        (good(region="us-west-2"), 1),
    ],
    ids=["refused", "expired", "garbage", "another region"],
)
@pytest.mark.usefixtures("eks_sandbox")
def test_verify_of_a_bad_token_is_code_1(run: Any, stdin: str, code: int) -> None:
    ran = run("verify", "--cluster-name", "analytics", stdin=stdin)

    assert (ran.code, ran.out) == (code, "")
    assert len(ran.err.splitlines()) == 1
    assert_no_canary(ran.err)


def test_verify_is_code_3_where_sts_cannot_be_asked(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    ran = run("verify", "--cluster-name", "analytics", stdin=good())

    assert (ran.code, ran.out) == (3, "")


@pytest.mark.usefixtures("eks_sandbox")
def test_verify_is_code_3_for_a_host_that_is_not_in_our_data(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    ran = run("verify", "--cluster-name", "analytics", stdin=good(region="eu-west-9"))

    assert (ran.code, ran.out) == (3, "")
    assert "nothing was sent" in ran.err


# --- check


@pytest.mark.usefixtures("eks_sandbox")
def test_check_is_what_runs_without_a_command(run: Any) -> None:
    ran = run("--cluster-name", "analytics", "--role-arn", ROLE)

    assert ran.code == 0
    assert ran.out.startswith("cluster analytics, region eu-west-1 (AWS_REGION)\n")
    assert ran.out.endswith("\nverdict: healthy\n")
    assert ran.err == ""


def test_check_is_code_3_where_the_api_server_could_not_be_asked(run: Any, eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:DescribeCluster")

    ran = run("check", "--cluster-name", "analytics", "--role-arn", ROLE)

    assert ran.code == 3
    assert ran.out.endswith("\nverdict: unknown - not known: API server\n")


def test_check_of_a_role_that_nothing_maps_is_code_1(run: Any, eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/unmapped"
    eks_sandbox.add_role(
        arn, trust=["arn:aws:iam::111111111111:role/service-role/mwaa-exec"], allow=["eks:DescribeCluster"]
    )

    ran = run("check", "--cluster-name", "analytics", "--role-arn", arn, "--output", "json")

    document = json.loads(ran.out)
    assert ran.code == document["exit_code"] == 1
    assert (document["verdict"], document["root_cause"]) == ("broken", "not-mapped")


@pytest.mark.usefixtures("eks_sandbox")
def test_check_of_a_broken_chain_is_code_1_and_names_the_root_cause(run: Any) -> None:
    ran = run(
        "check", "--cluster-name", "analytics", "--role-arn", f"{ROLE}x", "--external-id", "x7", "--output", "json"
    )

    document = json.loads(ran.out)
    assert ran.code == document["exit_code"] == 1
    assert (document["verdict"], document["root_cause"]) == ("broken", "assume-role-denied")


def test_a_chain_of_roles_keeps_each_its_own_external_id(run: Any, eks_sandbox: Sandbox) -> None:
    from eks_cross_account.sandbox import trust_policy  # noqa: PLC0415 - an extra

    gate, last = f"arn:aws:iam::{B}:role/gateway", f"arn:aws:iam::{B}:role/last"
    execution = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
    eks_sandbox.add_role(gate, trust=trust_policy(execution, external_id="one-1"), allow=["sts:AssumeRole"])
    eks_sandbox.add_role(last, trust=trust_policy(gate, external_id="two-2"), allow=["eks:DescribeCluster"])

    ran = run("check", "--cluster-name", "analytics", "--role-arn", gate, "--external-id", "one-1", "--session-name",
              "first", "--role-arn", last, "--external-id", "two-2")  # fmt: skip

    assert "PASS    hop 2 of 2" in ran.out
    assert ran.code == 1
    assert "FAIL    [not-mapped]" in ran.out  # the last role has no access entry
    assert eks_sandbox.requests[2].caller.endswith("/gateway/first")


# --- token


def exec_credential(run: Any, *arguments: str) -> Any:
    ran = run("token", "--cluster-name", "analytics", *arguments)
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    return json.loads(ran.out)


@pytest.mark.usefixtures("eks_sandbox")
def test_token_prints_one_exec_credential_line(run: Any) -> None:
    document = exec_credential(run)

    assert (document["kind"], document["apiVersion"]) == ("ExecCredential", V1BETA1)
    assert document["spec"] == {}
    assert sorted(document["status"]) == ["expirationTimestamp", "token"]
    left = time.mktime(time.strptime(document["status"]["expirationTimestamp"], "%Y-%m-%dT%H:%M:%SZ"))
    assert left
    assert decode_token(document["status"]["token"]).sts_host == "sts.eu-west-1.amazonaws.com"


@pytest.mark.usefixtures("eks_sandbox")
def test_token_of_a_role_is_that_roles(run: Any) -> None:
    document = exec_credential(run, "--role-arn", ROLE, "--session-name", "nightly")

    ran = run("verify", "--cluster-name", "analytics", stdin=json.dumps(document))

    assert f"assumed-role/cross-account-role/nightly\n" in ran.out  # noqa: F541 - reads like the others


V1BETA1 = "client.authentication.k8s.io/v1beta1"
INFO = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1"}


@pytest.mark.parametrize(
    ("info", "version"),
    [
        (json.dumps(INFO), "client.authentication.k8s.io/v1"),
        (json.dumps({**INFO, "apiVersion": V1BETA1}), V1BETA1),
        (json.dumps({**INFO, "apiVersion": "client.authentication.k8s.io/v1alpha1"}),
         "client.authentication.k8s.io/v1alpha1"),  # as aws-cli: Python's client sends no token for another answer
        (json.dumps({**INFO, "apiVersion": "client.authentication.k8s.io/v2"}), V1BETA1),
        ("[]", V1BETA1),
        ("null", V1BETA1),
        ("{garbage", V1BETA1),
        ('{"apiVersion": ["x"], "spec": 7}', V1BETA1),
        ("[" * 100_000, V1BETA1),
    ],
    ids=["v1", "v1beta1", "v1alpha1", "v2", "list", "null", "garbage", "wrong types", "deep"],
)  # fmt: skip
@pytest.mark.usefixtures("eks_sandbox")
def test_token_answers_in_the_version_it_is_asked_for_and_survives_garbage(
    run: Any, monkeypatch: pytest.MonkeyPatch, info: str, version: str
) -> None:
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", info)

    assert exec_credential(run)["apiVersion"] == version


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("https://ABC.gr7.us-west-2.eks.amazonaws.com", "sts.us-west-2.amazonaws.com"),
        ("https://ABC.sk1.cn-north-1.eks.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"),
        ("https://ABC.gr7.us-east-2.eks.amazonaws.com:443/", "sts.us-east-2.amazonaws.com"),
        ("https://abc.us-east-2.api.aws", "sts.us-east-2.amazonaws.com"),
        ("https://ABC.gr7.nowhere.eks.evil.com", "sts.eu-west-1.amazonaws.com"),
        ("https://ABC.gr7.us-east-2.eks.evil.com", "sts.eu-west-1.amazonaws.com"),
        ("https://x@ABC.gr7.us-east-2.eks.amazonaws.com", "sts.eu-west-1.amazonaws.com"),
        ("http://ABC.gr7.us-east-2.eks.amazonaws.com", "sts.eu-west-1.amazonaws.com"),
        ("https://127.0.0.1:6443", "sts.eu-west-1.amazonaws.com"),
    ],
)
@pytest.mark.usefixtures("eks_sandbox")
def test_token_takes_the_region_from_the_api_servers_name(
    run: Any, monkeypatch: pytest.MonkeyPatch, server: str, host: str
) -> None:
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", json.dumps({**INFO, "spec": {"cluster": {"server": server}}}))

    assert decode_token(exec_credential(run)["status"]["token"]).sts_host == host


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"AWS_REGION": "eu-west-1"}, "no AWS credentials were found"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary"}, "no region"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_REGION": "eu-west-1"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "ASIAX", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_REGION": "eu-west-1"},
         "its session token is missing"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_REGION": "evil.com"},
         "not an AWS region"),
        ({"AWS_CONFIG_FILE": "/etc/passwd", "AWS_REGION": "eu-west-1"}, "Unable to parse config file"),
        ({"AWS_PROFILE": "nobody", "AWS_REGION": "eu-west-1"}, "(nobody) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_REGION": "eu-west-1",
          "AWS_CREDENTIAL_EXPIRATION": "soon"}, "cannot be used: Unknown string format: soon"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary", "AWS_REGION": "eu-west-1",
          "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"}, "still expired"),
        ({"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "canary\n", "AWS_REGION": "eu-west-1"},
         "copy it again"),
    ],
    ids=["no credentials", "no region", "half a pair", "no session token", "bad region", "bad file", "no profile",
         "bad expiration", "past expiration", "bad copy"],
)  # fmt: skip
def test_token_fails_with_code_1_one_line_and_an_empty_stdout(
    run: Any, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], words: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    ran = run("token", "--cluster-name", "analytics")

    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1
    assert words in ran.err
    assert_no_canary(ran.err)


def environment(**variables: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        **variables,
    }


def test_token_with_keys_in_the_environment_loads_no_botocore() -> None:
    code = (
        "import sys; from eks_cross_account.cli import main; code = main(['token', '--cluster-name', 'c']); "
        "print(code, [n for n in ('botocore', 'urllib3', 'ssl', 'socket') if n in sys.modules], file=sys.stderr)"
    )
    keys = environment(AWS_ACCESS_KEY_ID="AKIAX", AWS_SECRET_ACCESS_KEY="s", AWS_REGION="eu-west-1")

    done = subprocess.run([sys.executable, "-c", code], env=keys, capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "0 []"
    assert json.loads(done.stdout)["status"]["token"].startswith("k8s-aws-v1.")


# --- as a process


def test_no_secret_is_ever_printed_in_a_debug_log(eks_sandbox: Sandbox) -> None:
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG); logging.getLogger('botocore').setLevel('INFO');"
        "from eks_cross_account.cli import main;"
        f"main(['check', '--cluster-name', 'analytics', '--role-arn', '{ROLE}'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(**eks_sandbox.environ), capture_output=True, text=True, check=True
    )

    for secret in (
        eks_sandbox.environ["AWS_SECRET_ACCESS_KEY"],
        eks_sandbox.environ["AWS_SESSION_TOKEN"],
        "k8s-aws-v1.",
    ):
        assert secret not in done.stdout + done.stderr


# A process that a shell started in the background ignores Ctrl-C, and so would its children.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from eks_cross_account.cli import main; sys.exit(main())"
    ),
]


@pytest.fixture
def sandbox_process() -> Any:
    started = subprocess.Popen(
        [*INTERRUPTIBLE, "sandbox"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["Ctrl-C", "TERM"])
def test_the_sandbox_prints_exports_runs_and_stops_cleanly(sandbox_process: Any, number: int, code: int) -> None:
    lines = [sandbox_process.stdout.readline() for _ in range(8)]
    exported = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
    assert "Ctrl-C" in sandbox_process.stderr.readline()

    checked = subprocess.run(
        [*COMMAND, "check", "--cluster-name", "analytics", "--role-arn", ROLE],
        env=environment(**exported), capture_output=True, text=True, check=False,
    )  # fmt: skip
    sandbox_process.send_signal(number)
    _, errors = sandbox_process.communicate(timeout=20)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert sandbox_process.returncode == code
    assert "Traceback" not in errors
    assert not Path(exported["AWS_CA_BUNDLE"]).exists()


def test_ctrl_c_during_a_check_is_130_without_a_traceback(eks_sandbox: Sandbox) -> None:
    eks_sandbox.hang("sts:*")
    variables = environment(**eks_sandbox.environ)
    checking = subprocess.Popen(
        [*INTERRUPTIBLE, "check", "--cluster-name", "analytics"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not _connected(eks_sandbox) and time.monotonic() < deadline:
        time.sleep(0.02)

    checking.send_signal(signal.SIGINT)
    out, err = checking.communicate(timeout=20)

    assert (checking.returncode, out, err) == (130, "", "")


def _connected(sandbox: Sandbox) -> bool:
    return sandbox.hanging > 0


@pytest.mark.parametrize("where", [">&-", ">/dev/full"], ids=["closed", "full"])
def test_an_answer_that_cannot_be_written_is_code_1(where: str) -> None:
    keys = environment(AWS_ACCESS_KEY_ID="AKIAX", AWS_SECRET_ACCESS_KEY="s", AWS_REGION="eu-west-1")
    script = f"{' '.join(COMMAND)} token --cluster-name c {where}"

    done = subprocess.run(["bash", "-c", script], env=keys, capture_output=True, text=True, check=False)  # noqa: S607

    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_machine_that_gives_no_file_is_not_told_as_an_answer_that_could_not_be_written(tmp_path: Path) -> None:
    code = (
        f"import sys, tempfile; tempfile.tempdir = {str(tmp_path / 'gone')!r}; "
        "from eks_cross_account.cli import main; sys.exit(main(['sandbox']))"
    )

    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "eks-token-check: cannot go on: No such file or directory\n"


@pytest.mark.parametrize("arguments", ["explain", "decode", "verify --cluster-name c"])
@pytest.mark.parametrize("stdin", ["<&-", "0>/dev/null"], ids=["closed", "for writing"])
def test_a_stdin_that_cannot_be_read_is_code_2_in_a_line(arguments: str, stdin: str) -> None:
    script = f"{' '.join(COMMAND)} {arguments} {stdin}"

    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False)  # noqa: S607

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("eks-token-check: cannot read stdin: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--cluster-name", "c", "--region", "eu-west-1", "--profile", "x\x1b[31m"),
        ("kubeconfig", "--cluster-name", "c", "--region", "eu-west-1", "--profile", "x\x1b[31m"),
        ("token", "--cluster-name", "c", "x\x1b[31m"),
        ("completions", "x\x1b[31m"),
        ("x\x1b[31m",),
    ],
)
def test_no_word_of_the_caller_steers_the_terminal(run: Any, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)

    assert ran.code in {1, 2}
    assert "\x1b" not in ran.err
    assert "x\\x1b[31m" in ran.err


def test_a_reader_that_goes_away_ends_in_no_traceback() -> None:
    script = f"{' '.join(COMMAND)} decode --help | true; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False)  # noqa: S607

    assert "Traceback" not in done.stderr


# --- check --airflow-conn-id; with Airflow: tests/airflow/test_command.py


def test_an_airflow_connection_needs_an_airflow(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow", None)

    ran = run("check", "--cluster-name", "analytics", "--airflow-conn-id", "c")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("eks-token-check: --airflow-conn-id needs Airflow where this command is installed: ")


def test_an_airflow_connection_and_a_profile_are_two_places(run: Any) -> None:
    ran = run("check", "--cluster-name", "analytics", "--airflow-conn-id", "c", "--profile", "p")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "eks-token-check: --profile and --airflow-conn-id are two places for credentials: give one\n"


@pytest.mark.parametrize(
    ("pasted", "code", "told"),
    [
        ("error: You must be logged in to the server (Unauthorized)", 0, "[unauthorized] the API server answered 401"),
        ("all is well", 3, "nothing in it is known here"),
        ("", 3, "nothing in it is known here"),
    ],
)
def test_explain_tells_what_a_paste_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pasted: str, code: int, told: str
) -> None:
    file = tmp_path / "paste"
    file.write_text(pasted)

    assert main(["explain", str(file)]) == code
    assert told in capsys.readouterr().out


def test_explain_answers_in_json_with_a_denials_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "paste"
    file.write_text('pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n"')

    assert main(["explain", "--output", "json", str(file)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["command"]) == ("eks-token-check/1", "explain")
    assert {"id": "forbidden", "user": "u", "verb": "list", "namespace": "n"}.items() <= document["items"][0].items()


def test_explain_takes_ten_megabytes_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "paste"
    file.write_bytes(b"x" * 10_000_001)

    assert main(["explain", str(file)]) == 2
    assert "more than 10 MB" in capsys.readouterr().err
