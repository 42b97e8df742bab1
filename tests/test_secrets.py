"""Canaries: every secret of a whole way, looked for in all that a program may log, print, keep or report of it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client import CoreV1Api

from eks_cross_account import (
    EksTokenError,
    RoleHop,
    TokenProvider,
    assume_roles,
    connect,
    describe_cluster,
    diagnose,
    get_token,
    required_permissions,
    verify_token,
)
from eks_cross_account.cli import main
from eks_cross_account.credentials import session_source
from eks_cross_account.diagnosis import explain
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.provider import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
EXTERNAL_ID = "canary-external-id"
CHECK = ("check", "--cluster-name", "analytics", "--role-arn", ROLE)


def secrets_of(sandbox: Sandbox) -> set[str]:
    """Of all keys that the sandbox has given out: as they are, and as a URL has them."""
    from urllib.parse import quote  # noqa: PLC0415 - only here

    keys = sandbox._world.keys.values()
    plain = {key.secret_key for key in keys} | {key.session_token for key in keys if key.session_token}
    return plain | {quote(secret, safe="") for secret in plain}


def assert_kept(sandbox: Sandbox, text: str) -> None:
    """No secret and no token is in the text; nor a quarter of one, which is what a cut message would show."""
    assert len(secrets_of(sandbox)) > 2
    for secret in secrets_of(sandbox):
        assert secret[: max(12, len(secret) // 4)] not in text
    for trace in ("k8s-aws-v1.", "X-Amz-Signature=", "X-Amz-Security-Token="):
        assert trace not in text


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that any logger says, at the lowest level, with its arguments and exceptions."""
    said = io.StringIO()

    class Whole(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            said.write(f"{record.getMessage()} {record.args!r} {vars(record)!r} {shown}\n")

    handler = Whole(level=0)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.NOTSET)
    names = ("botocore", "boto3", "urllib3", "kubernetes", "kubernetes.client.rest", "eks_cross_account", "asyncio")
    for name in names:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    logging.root.manager._clear_cache()
    root.addHandler(handler)
    yield said
    root.removeHandler(handler)
    logging.root.manager._clear_cache()


def test_no_logger_says_a_secret_of_the_whole_way_at_any_level(
    eks_sandbox: Sandbox, everything: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 0)
    source = assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")

    token = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE)
    verify_token(token.value, cluster_name="analytics", region="eu-west-1")
    describe_cluster(source, "analytics", region="eu-west-1")
    with connect(cluster_name="analytics", region="eu-west-1", role_arn=ROLE) as client:
        CoreV1Api(client).list_namespaced_pod("data")
    diagnose(
        cluster_name="analytics",
        region="eu-west-1",
        role_hops=[RoleHop(ROLE)],
        wanted=Wanted(required_permissions(), "data"),
    )

    assert len(everything.getvalue()) > 10_000  # they do talk
    assert_kept(eks_sandbox, everything.getvalue())
    printed = capsys.readouterr()
    assert_kept(eks_sandbox, printed.out + printed.err)


FAULTS = ("sts:AssumeRole", "eks:DescribeCluster", "sts:GetCallerIdentity", "kubernetes:create selfsubjectreviews",
          "kubernetes:create selfsubjectaccessreviews")  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["garbage", "disconnect"])
def test_no_failure_says_a_secret_in_a_report_or_log(
    eks_sandbox: Sandbox, everything: io.StringIO, fault: str, kind: str
) -> None:
    if kind == "garbage":
        eks_sandbox.respond(fault, 500, "<html>")
    else:
        eks_sandbox.disconnect(fault)

    wanted = Wanted(required_permissions()[:2], "data")
    report = diagnose(cluster_name="analytics", region="eu-west-1", role_hops=[RoleHop(ROLE)], wanted=wanted)

    assert {"UNKNOWN", "FAIL"} & {finding.state for finding in report.findings}
    shown = report.to_json() + report.to_text() + report.to_html() + repr(report)
    assert_kept(eks_sandbox, shown + everything.getvalue())


COMMANDS = {
    "text": CHECK,
    "HTML": (*CHECK, "--output", "html"),
    "JSON": (*CHECK, "--output", "json"),
    "Terraform": (*CHECK, "--remedy", "hcl"),
    "to the owner": (*CHECK, "--ask-owner"),
    "of the owner": ("check", "--cluster-name", "analytics", "--principal-arn", ROLE),
    "external id": (*CHECK, "--external-id", EXTERNAL_ID, "--output", "json"),
    "rights": (*CHECK, "--namespace", "data", "--xcom", "--output", "json"),
    "permissions": ("permissions", "--check", *CHECK[1:], "--namespace", "data"),
    "permissions as JSON": ("permissions", "--check", *CHECK[1:], "--namespace", "data", "--output", "json"),
    "manifest": ("permissions", "--check", "--manifest", "--group", "g", *CHECK[1:], "--namespace", "data"),
    "a pod": ("permissions", "--check", "--dry-run-pod", *CHECK[1:], "--namespace", "data"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("broken", [True, False], ids=["broken", "whole"])
def test_no_command_prints_or_logs_a_secret(
    eks_sandbox: Sandbox,
    everything: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    command: str,
    broken: bool,  # noqa: FBT001 - a table
) -> None:
    if broken:
        eks_sandbox.remove_access_entry(eks_sandbox.cluster(), ROLE)

    code = main(COMMANDS[command])

    printed = capsys.readouterr()
    assert code in {0, 1, 3} or (command, broken) == ("manifest", True)
    assert printed.out + printed.err != ""
    assert "Traceback" not in printed.err
    assert_kept(eks_sandbox, printed.out + printed.err + everything.getvalue())
    assert EXTERNAL_ID not in printed.out + printed.err


def test_the_kubeconfigs_way_prints_and_logs_no_secret(
    eks_sandbox: Sandbox, everything: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    file = eks_sandbox.write_kubeconfig(eks_sandbox.cluster(), role_arn=ROLE)

    main(("permissions", "--check", "--kubeconfig", str(file), "--namespace", "data", "--output", "json"))

    printed = capsys.readouterr()
    assert json.loads(printed.out)["rules"]
    assert_kept(eks_sandbox, printed.out + printed.err + everything.getvalue())


def test_an_earlier_report_and_a_live_token_are_told_of_without_it(
    eks_sandbox: Sandbox, everything: io.StringIO, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    token = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE).value
    main((*CHECK, "--output", "json"))
    earlier = json.loads(capsys.readouterr().out)
    earlier["facts"]["caller"] = token  # a paste that went wrong
    before, paste = tmp_path / "before.json", tmp_path / "paste"
    before.write_text(json.dumps(earlier))
    paste.write_text(f'admission webhook "w.x" denied the request: {token}\n[eks:forbidden] {token}\n')

    compared = main((*CHECK, "--compare", str(before)))
    explained = main(("explain", str(paste), "--output", "json"))

    printed = capsys.readouterr()
    assert (compared, explained) == (0, 0)
    assert "live-token" in printed.out
    shown = printed.out.replace("k8s-aws-v1.(hidden)", "")
    assert_kept(eks_sandbox, shown + printed.err + everything.getvalue())
    assert token not in repr(explain(paste.read_text(), now=utc_now()))


def test_verify_prints_no_token_where_a_program_has_http_client_print_requests(
    eks_sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = get_token(cluster_name="analytics", region="eu-west-1").value
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)

    verify_token(token, cluster_name="analytics", region="eu-west-1")

    assert_kept(eks_sandbox, capsys.readouterr().out)


def walked(error: BaseException) -> str:
    """All that a reporter of errors may send: each frame of each error, its variables to a depth of five."""
    shown = []
    link: BaseException | None = error
    while link is not None:
        shown.append(f"{link!r} {link} {vars(link)!r}")
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown += [_deep(value, 5) for value in frame.f_locals.values()]
        link = link.__cause__ or link.__context__
    return "\n".join(shown)


def _deep(value: Any, depth: int) -> str:
    if depth and isinstance(value, dict):
        return " ".join(f"{name!r} {_deep(inner, depth - 1)}" for name, inner in list(value.items())[:50])
    if depth and isinstance(value, list | tuple | set):
        return " ".join(_deep(inner, depth - 1) for inner in list(value)[:50])
    return repr(value)[:10_000]


@pytest.mark.parametrize("fault", ["sts:AssumeRole", "eks:DescribeCluster", "sts:GetCallerIdentity"])
@pytest.mark.parametrize("kind", ["garbage", "disconnect", "deny"])
def test_no_frame_of_a_failure_holds_a_secret_to_be_seen(eks_sandbox: Sandbox, fault: str, kind: str) -> None:
    source = assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")
    token = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE)
    if kind == "garbage":
        eks_sandbox.respond(fault, 200, "<html>")
    elif kind == "disconnect":
        eks_sandbox.disconnect(fault)
    else:
        eks_sandbox.respond(fault, 403, "{}")

    def ask() -> None:
        if fault == "sts:GetCallerIdentity":
            verify_token(token.value, cluster_name="analytics", region="eu-west-1")
        describe_cluster(source, "analytics", region="eu-west-1")

    with pytest.raises(EksTokenError) as raised:
        ask()

    assert_kept_but_the_argument(eks_sandbox, walked(raised.value), token.value)


def assert_kept_but_the_argument(sandbox: Sandbox, shown: str, token: str) -> None:
    """``verify_token`` is given the token by its caller, whose frame has it too."""
    assert_kept(sandbox, shown.replace(token, ""))


def test_what_is_kept_of_a_token_shows_none(eks_sandbox: Sandbox) -> None:
    source = assume_roles(session_source(), [RoleHop(ROLE, external_id=EXTERNAL_ID)], region="eu-west-1")
    provider = TokenProvider(
        assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1"),
        cluster_name="analytics",
        region="eu-west-1",
    )
    token = provider.get_token()

    pickled = pickle.dumps(provider)

    assert token.bearer.startswith("Bearer k8s-aws-v1.")
    assert_kept(eks_sandbox, f"{provider!r} {provider} {token!r} {token} {source!r} {vars(provider)!r}")
    assert_kept(eks_sandbox, pickled.decode("latin-1"))


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="/proc is Linux's")
def test_no_child_of_the_command_has_a_secret_among_its_arguments_or_a_token_in_its_environment(
    eks_sandbox: Sandbox,
) -> None:
    stop = threading.Event()
    seen: set[str] = set()
    environs: set[str] = set()

    def look() -> None:
        while not stop.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    seen.add((folder / "cmdline").read_text("latin-1"))
                    environs.add((folder / "environ").read_text("latin-1"))
            time.sleep(0.002)

    watching = threading.Thread(target=look)
    watching.start()
    command = [
        sys.executable,
        "-m",
        "eks_cross_account.cli",
        "token",
        "--cluster-name",
        "analytics",
        "--role-arn",
        ROLE,
    ]
    done = subprocess.run(command, env={**os.environ, "AWS_REGION": "eu-west-1"}, capture_output=True, check=True)
    stop.set()
    watching.join()

    token = json.loads(done.stdout)["status"]["token"]
    assert any("eks_cross_account.cli\0token" in arguments for arguments in seen)
    assert not any(token in arguments for arguments in seen)
    ours = [environ for environ in environs if os.environ["AWS_SESSION_TOKEN"] in environ]
    assert ours
    assert not any("k8s-aws-v1." in environ or "X-Amz-Signature" in environ for environ in ours)
    assert_kept(eks_sandbox, "\n".join(seen))
