"""What `check` says: each broken link has one root cause on top, and its remedy mends it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest
from tokens import NOW, SIGNATURE, assert_no_canary, token

from eks_cross_account import (
    CallerIdentity,
    Cluster,
    ClusterError,
    CredentialsError,
    EksToken,
    RoleHop,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
    decode_token,
    diagnose,
)
from eks_cross_account.diagnosis import Evidence, Finding, Remedy, Report, _reach
from eks_cross_account.diagnosis._environment import ClockEvidence
from eks_cross_account.diagnosis._reach import ApiUser, ReachEvidence, ReviewEvidence, asker, reach, review
from eks_cross_account.diagnosis.checks import judge
from eks_cross_account.diagnosis.evidence import HopEvidence
from eks_cross_account.diagnosis.remedies import trust_statement
from eks_cross_account.sandbox import trust_policy
from eks_cross_account.sandbox._ca import CertificateAuthority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"


def check(**options: Any) -> Report:
    return diagnose(**{"cluster_name": "analytics", "role_arn": ROLE, **options})


SURROUNDINGS = {"clock", "environment"}  # at the end of every page; tests/test_checks.py is about them


def states(report: Report) -> list[tuple[str, str]]:
    return [(finding.id, finding.state) for finding in report.findings if finding.id not in SURROUNDINGS]


def root(report: Report) -> Finding:
    return next(finding for finding in report.findings if finding.id == report.root_cause)


@pytest.mark.usefixtures("eks_sandbox")
def test_a_chain_that_holds_is_healthy_because_the_api_server_says_the_same_identity() -> None:
    report = check()

    assert states(report) == [
        ("credentials", "PASS"),
        ("assume-role", "PASS"),
        ("cluster", "PASS"),
        ("reachable", "PASS"),
        ("token", "PASS"),
        ("identity", "PASS"),
        ("api-server", "PASS"),
        ("same-identity", "PASS"),
        ("mapping", "SKIP"),  # the role may not look at access entries, and need not
    ]
    assert (report.verdict, report.exit_code, report.root_cause) == ("healthy", 0, None)
    assert report.identity is not None
    assert report.identity["canonical_arn"] == ROLE
    user = next(finding for finding in report.findings if finding.id == "api-server")
    assert dict(user.evidence)["arn"] == f"arn:aws:sts::{B}:assumed-role/cross-account-role/eks-cross-account"


@pytest.mark.usefixtures("eks_sandbox")
def test_the_page_of_a_healthy_chain_fits_a_terminal() -> None:
    lines = check().to_text().splitlines()

    assert len(lines) <= 24
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_a_cluster_written_by_hand_needs_no_describe_cluster(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:DescribeCluster")
    known = eks_sandbox.cluster()

    report = diagnose(
        cluster_name="analytics",
        role_arn=ROLE,
        cluster=Cluster("analytics", known.endpoint, known.certificate_authority),
    )

    assert report.verdict == "healthy"
    assert "eks:DescribeCluster" not in [request.operation for request in eks_sandbox.requests]
    assert "endpoint and CA as configured" in report.to_text()


def test_a_role_that_nothing_maps_and_the_remedy_that_mends_it(eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/team/unmapped"
    eks_sandbox.add_role(arn, trust=[EXECUTION], allow=["eks:DescribeCluster"])

    report = check(role_arn=arn)

    finding = root(report)
    assert (finding.id, finding.owner, finding.cause, finding.retry) == ("not-mapped", B, "U15", False)
    assert finding.summary == f"cluster analytics ({B}, eu-west-1) refused {arn}: 401. Its token is valid (STS says so)"
    assert finding.remedy is not None
    if report.cluster is None or report.cluster["authentication_mode"] is None:
        pytest.skip("this botocore is older than access entries, so which remedy is right it cannot say")
    run_as_owner(eks_sandbox, finding.remedy.commands[0])
    assert check(role_arn=arn).verdict == "healthy"


def test_an_entry_that_is_older_than_its_role_is_left_as_a_cause(eks_sandbox: Sandbox) -> None:
    eks_sandbox.delete_role(ROLE)
    eks_sandbox.add_role(ROLE, trust=[EXECUTION], allow=["eks:DescribeCluster"])

    finding = root(check())

    assert finding.id == "not-mapped"
    assert "older than the role" in dict(finding.evidence)["left"]


def run_as_owner(sandbox: Sandbox, command: str) -> None:
    """What the aws command line would do with an EKS command, as the cluster's administrator."""
    import boto3  # noqa: PLC0415 - one use

    keys = sandbox.issue_session(f"arn:aws:iam::{B}:role/cluster-admin")
    service, operation, *rest = words(command)
    flags = dict(zip(rest[::2], rest[1::2], strict=True))
    session = boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name=flags.pop("--region"))
    call = getattr(session.client(service), operation.replace("-", "_"))
    call(**{camel(name): value for name, value in flags.items()})


def words(command: str) -> list[str]:
    """The arguments that a shell gives to the aws command line."""
    script = f"aws() {{ printf '%s\\n' \"$@\"; }}; {command}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S607


def camel(flag: str) -> str:
    head, *tail = flag.removeprefix("--").split("-")
    return head + "".join(part.title() for part in tail)


def test_no_credentials() -> None:
    report = check(region="eu-west-1")

    assert states(report) == [("credentials-missing", "FAIL")]
    assert (report.verdict, report.exit_code) == ("broken", 1)


def test_a_profile_that_does_not_exist() -> None:
    assert states(check(region="eu-west-1", profile="nobody")) == [("credentials-missing", "FAIL")]


@pytest.mark.parametrize(("name", "value"), [("AWS_RETRY_MODE", "x"), ("AWS_MAX_ATTEMPTS", "many")])
def test_a_configuration_that_makes_no_client_is_no_trouble_with_the_way_to_sts(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    found = root(check())

    assert found.id == "credentials-missing"
    assert "AWS configuration: no client for STS: " in found.summary
    assert value in found.summary
    assert found.remedy is not None
    assert found.remedy.text == "mend what is named above, in the environment or in AWS's configuration file"
    assert "sts:AssumeRole" not in {request.operation for request in eks_sandbox.requests}


def test_a_configuration_that_makes_no_client_for_eks_says_what_to_mend(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_RETRY_MODE", "x")

    found = next(finding for finding in check(role_arn=None).findings if finding.id == "cluster-unknown")

    assert "AWS configuration: no client for EKS: " in found.summary
    assert found.remedy is not None
    assert found.remedy.text == "mend what is named above, in the environment or in AWS's configuration file"
    assert not found.retry
    assert "eks:DescribeCluster" not in {request.operation for request in eks_sandbox.requests}


def test_credentials_that_aws_does_not_know(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLE01")

    report = check()

    assert report.root_cause == "credentials-invalid"
    assert eks_sandbox.requests


def test_credentials_whose_session_has_ended(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = eks_sandbox.issue_session(EXECUTION, life=timedelta(seconds=-1))
    for name, value in (("ACCESS_KEY_ID", ended.access_key), ("SECRET_ACCESS_KEY", ended.secret_key),
                        ("SESSION_TOKEN", ended.token or "")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)

    assert check().root_cause == "credentials-expired"


def test_a_wrong_secret_key(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    assert check().root_cause == "signature-mismatch"
    assert eks_sandbox.requests


def test_a_clock_that_is_wrong(eks_sandbox: Sandbox) -> None:
    eks_sandbox.clock.advance(timedelta(hours=1))

    report = check()

    finding = root(report)
    assert (finding.id, finding.cause) == ("clock", "U14")
    assert finding.summary in {f"this machine's clock is {seconds} s behind STS's" for seconds in range(3595, 3605)}
    symptoms = [found for found in report.findings if found.consequence_of == "clock"]
    assert {found.id for found in symptoms} == {"signature-mismatch"}


def test_a_trust_policy_that_lacks_the_caller_and_the_remedy_that_mends_it(eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/closed"
    eks_sandbox.add_role(arn, trust=[f"arn:aws:iam::{B}:root"])

    report = check(role_arn=arn)

    finding = root(report)
    assert (finding.id, finding.owner, finding.cause, finding.retry) == ("assume-role-denied", B, "F14", False)
    assert ("external id sent", "no") in finding.evidence
    assert "because no resource-based policy allows the sts:AssumeRole action" in dict(finding.evidence)["AWS"]
    statement = trust_statement(f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod")
    assert finding.remedy is not None
    assert json.dumps(statement, indent=2) in finding.remedy.text
    eks_sandbox.delete_role(arn)
    eks_sandbox.add_role(arn, trust={"Statement": [statement]}, allow=["eks:DescribeCluster"])
    assert ("identity", "PASS") in states(check(role_arn=arn))


@pytest.mark.parametrize("sent", [None, "wrong-7"])
def test_an_external_id_that_is_missing_or_wrong_is_hinted_at(eks_sandbox: Sandbox, sent: str | None) -> None:
    arn = f"arn:aws:iam::{B}:role/external"
    eks_sandbox.add_role(arn, trust=trust_policy(EXECUTION, external_id="partner-7"))

    finding = root(check(role_arn=arn, external_id=sent))

    assert finding.id == "assume-role-denied"
    assert finding.remedy is not None
    assert ("sent no external id" if sent is None else "did send an external id") in finding.remedy.text


def test_a_caller_that_is_not_allowed_to_ask_is_told_apart(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(f"arn:aws:iam::{A}:role/poor")
    eks_sandbox.add_role(f"arn:aws:iam::{B}:role/open", trust=[f"arn:aws:iam::{A}:root"])
    poor = eks_sandbox.issue_session(f"arn:aws:iam::{A}:role/poor")
    import botocore.session  # noqa: PLC0415 - one use

    session = botocore.session.Session()
    session.set_credentials(poor.access_key, poor.secret_key, poor.token)

    finding = root(check(role_arn=f"arn:aws:iam::{B}:role/open", session=session))

    assert (finding.id, finding.owner) == ("assume-role-denied", A)
    assert finding.remedy is not None
    assert finding.remedy.commands[0].startswith("aws iam put-role-policy --role-name poor ")


def test_the_second_hop_is_named_as_the_second(eks_sandbox: Sandbox) -> None:
    gate = f"arn:aws:iam::{B}:role/gateway"
    eks_sandbox.add_role(gate, trust=[EXECUTION], allow=["sts:AssumeRole"])

    report = check(role_arn=None, role_hops=[RoleHop(gate), RoleHop("arn:aws:iam::333333333333:role/nobody")])

    assert [finding.title for finding in report.findings][:3] == ["credentials", "hop 1 of 2", "hop 2 of 2"]
    assert root(report).summary.startswith(f"{gate} may not assume arn:aws:iam::333333333333:role/nobody")


@pytest.mark.usefixtures("eks_sandbox")
def test_a_duration_that_chaining_forbids_is_shown_in_awss_words() -> None:
    finding = root(check(role_arn=None, role_hops=[RoleHop(ROLE, duration=7200)]))

    assert finding.id == "assume-role-refused"
    assert "1 hour session limit for roles assumed by role chaining" in dict(finding.evidence)["AWS"]


@pytest.mark.usefixtures("eks_sandbox")
def test_a_cluster_that_is_not_there() -> None:
    report = check(cluster_name="analytic")

    assert report.root_cause == "cluster-not-found"
    assert f"account {B}" in root(report).summary
    assert "eu-west-1 (AWS_REGION)" in root(report).summary


def test_a_cluster_that_may_not_be_described_is_no_failure_of_the_token(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:DescribeCluster")

    report = check()

    assert ("describe-cluster-denied", "WARN") in states(report)
    assert ("identity", "PASS") in states(report)
    assert states(report)[-1] == ("api-server", "SKIP")
    skipped = next(finding for finding in report.findings if finding.state == "SKIP")
    assert "needs eks:DescribeCluster" in skipped.summary
    assert (report.verdict, report.exit_code) == ("unknown", 3)


def test_sts_out_of_reach_is_unknown_and_never_broken(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.disconnect("sts:*")

    report = check()

    assert {name for name, _ in states(report)} == {"sts-unreachable"}
    assert (report.verdict, report.exit_code) == ("unknown", 3)
    assert all(finding.retry for finding in report.findings if finding.id == "sts-unreachable")


def test_a_token_that_sts_refuses_is_not_sent_to_the_cluster(eks_sandbox: Sandbox) -> None:
    refusal = json.dumps({"Error": {"Code": "ExpiredToken", "Message": "x"}})
    eks_sandbox.respond("sts:GetCallerIdentity", 403, refusal, content_type="application/json")

    report = check()

    assert report.root_cause == "credentials-expired"
    assert [request.path for request in eks_sandbox.kubernetes_requests] == ["/version"]


def test_without_sts_the_api_server_itself_confirms_the_key_id(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.disconnect("sts:GetCallerIdentity", times=2)  # the caller's question and the token's; not the cluster's

    report = check()

    assert [found.id for found in report.findings if found.state == "UNKNOWN"] == ["sts-unreachable"] * 2
    assert (report.verdict, report.identity) == ("healthy", None)


def test_a_region_that_nobody_knows_is_no_trouble_with_the_way_to_sts(eks_sandbox: Sandbox) -> None:
    report = check(region="eu-nowhere-1", role_arn=None)

    found = {finding.title: finding for finding in report.findings}
    told = found["identity"].remedy
    assert eks_sandbox.kubernetes_requests == []
    assert found["identity"].id == "sts-unreachable"
    assert told is not None
    assert "--region" in told.text
    assert not found["identity"].retry
    way = found["cluster"].remedy
    assert way is not None
    assert "from here to EKS" in way.text


def test_a_proxys_refusal_of_a_hop_is_not_stss(eks_sandbox: Sandbox) -> None:
    eks_sandbox.respond("sts:AssumeRole", 403, "<html>blocked</html>")

    report = check()

    assert (report.verdict, report.root_cause) == ("unknown", None), report.to_text()
    assert "what answered is not STS" in report.to_text()


def test_a_throttled_hop_is_unknown(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.throttle("sts:AssumeRole")

    assert ("sts-unreachable", "UNKNOWN") in states(check())


def test_a_token_that_would_be_too_large(eks_sandbox: Sandbox) -> None:
    eks_sandbox._aws.token_bytes = 2800

    report = check()

    assert report.root_cause == "token-unusable"
    assert "the session token has 2800 bytes" in root(report).summary


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cluster_name": "bad name"}, ClusterError),
        ({"region": "us-east-1.evil.com"}, UnknownRegionError),
        ({"region": None}, UnknownRegionError),
        ({"role_arn": "role"}, CredentialsError),
        ({"external_id": "x7", "role_arn": None}, ValueError),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_asked_about_is_an_error(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check(**{"region": "eu-west-1", **options})


def test_where_the_credentials_came_from_is_said(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "from environment variables: " in check().findings[0].summary
    keys = eks_sandbox.issue_session(EXECUTION)
    script = tmp_path / "keys.sh"
    document = {"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key,
                "SessionToken": keys.token}  # fmt: skip
    script.write_text(f"echo '{json.dumps(document)}'\n")
    (tmp_path / "config").write_text(f"[profile process]\ncredential_process = sh {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    report = check(profile="process")

    assert "from credential_process of the AWS profile: " in report.findings[0].summary


@pytest.mark.parametrize("denied", ["eks:*", "none:*"], ids=["cluster not described", "healthy"])
def test_a_report_shows_no_secret(eks_sandbox: Sandbox, denied: str) -> None:
    eks_sandbox.deny(denied)

    report = check()

    shown = report.to_text() + report.to_json() + repr(report)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert eks_sandbox.environ[name] not in shown
    assert "k8s-aws-v1" not in shown
    assert "X-Amz" not in shown


# --- the way to the API server: real sockets


class Peer:
    """Listens on loopback, notes each request, answers with the same bytes: TLS with ``context``, plain without.

    ``answer`` None: takes the request and never answers. ``tunnel``: the port that CONNECT leads to.
    """

    def __init__(self, answer: bytes | None, context: ssl.SSLContext | None = None, tunnel: int = 0) -> None:
        self._answer, self._context, self._tunnel = answer, context, tunnel
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(OSError):
                plain, _ = self._listener.accept()
                plain.settimeout(10)
                with self._context.wrap_socket(plain, server_side=True) if self._context else plain as connection:
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65_536)
            if not chunk:
                return
            head += chunk
        raw, _, body = head.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        self.seen.append((first, headers))
        while len(body) < int(headers.get("Content-Length", "0")):  # closing with unread bytes would reset
            body += connection.recv(65_536)
        if self._tunnel:
            self._pipe(connection)
        elif self._answer is None:
            self._done.wait()
        else:
            for at in range(0, len(self._answer), 65_536):
                connection.sendall(self._answer[at : at + 65_536])

    def _pipe(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self._tunnel)) as inner:
            back = threading.Thread(target=pump, args=(inner, connection))
            back.start()
            pump(connection, inner)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def http_answer(status: int, body: Any, kind: str = "application/json", extra: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{extra}\r\n"
    return head.encode() + raw


def status_answer(code: int, message: str = "no") -> bytes:
    return http_answer(code, {"kind": "Status", "apiVersion": "v1", "code": code, "message": message})


def user_answer(**info: Any) -> bytes:
    return http_answer(201, {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": "alice", **info}}})


HTML = http_answer(403, b"<html>\x1b[31mno way</html>", "text/html")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"), "cluster CA")


@pytest.fixture
def serve(authority: CertificateAuthority) -> Iterator[Callable[[bytes | None], tuple[Peer, Cluster]]]:
    """Starts an API server of sorts, and describes it as a cluster."""
    with contextlib.ExitStack() as stack:

        def start(answer: bytes | None, names: str = "127.0.0.1") -> tuple[Peer, Cluster]:
            peer = stack.enter_context(Peer(answer, authority.context(names)))
            return peer, Cluster("analytics", f"https://127.0.0.1:{peer.port}", authority.base64_pem)

        yield start


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (status_answer(401), None),  # EKS >= 1.32 without a token
        (http_answer(200, {"major": "1", "gitVersion": "v1.31.4-eks-1"}), None),  # before
        (status_answer(403), None),
        (status_answer(429), None),
        (http_answer(200, {"kind": "Status", "apiVersion": "v1"}), "foreign"),
        (HTML, "foreign"),
        (http_answer(407, b"<html>", "text/html"), "foreign"),
        (http_answer(302, b"", extra="Location: https://127.0.0.1/login\r\n"), "foreign"),
        (http_answer(200, b""), "foreign"),
        (http_answer(200, [1]), "foreign"),
        (http_answer(200, b"[" * 60_000), "foreign"),
        (http_answer(200, b'{"gitVersion": "v1"}' + b" " * 10_000_000), "foreign"),
        (b"SSH-2.0-OpenSSH\r\n", "foreign"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "foreign"),
        (b"", "silent"),
        (None, "silent"),
    ],
    ids=["401", "200 with a version", "403", "429", "a Status with 200", "HTML 403", "HTML 407", "a redirect", "empty",
         "a list", "deep", "huge", "SSH", "bad chunks", "closed", "never"],
)  # fmt: skip
def test_what_answers_is_told_from_kubernetes(serve: Any, answer: bytes | None, failed: str | None) -> None:
    peer, cluster = serve(answer)

    seen = reach(cluster, timeout=0.5 if answer is None else 5)

    assert seen.failed == failed, seen
    assert "\x1b" not in seen.problem
    assert [first for first, _ in peer.seen] == ["GET /version HTTP/1.1"]
    assert "Authorization" not in peer.seen[0][1]


def test_the_version_of_a_server_that_tells_everybody_is_kept(serve: Any) -> None:
    _, cluster = serve(http_answer(200, {"gitVersion": "v1.31.4-eks-1"}))

    seen = reach(cluster)

    assert (seen.status, seen.version, seen.addresses, seen.is_private) == (200, "v1.31.4-eks-1", ("127.0.0.1",), True)


def test_a_body_that_only_drips_ends_in_time(authority: CertificateAuthority) -> None:
    class Dripping(Peer):
        def _serve(self, connection: socket.socket) -> None:
            super()._serve(connection)
            while not self._done.wait(0.1):
                connection.sendall(b" ")

    with Dripping(b"HTTP/1.1 200 X\r\nContent-Length: 999\r\n\r\n", authority.context("127.0.0.1")) as peer:
        began = time.monotonic()
        seen = reach(Cluster("c", f"https://127.0.0.1:{peer.port}", authority.base64_pem), timeout=0.5)

    assert (seen.failed, seen.problem) == ("silent", "no answer in time")
    assert time.monotonic() - began < 3


def test_a_body_without_an_end_is_not_read_for_long(authority: CertificateAuthority) -> None:
    class Endless(Peer):
        def _serve(self, connection: socket.socket) -> None:
            super()._serve(connection)
            while not self._done.is_set():
                connection.sendall(b" " * 65_536)

    with Endless(b"HTTP/1.1 200 X\r\n\r\n", authority.context("127.0.0.1")) as peer:
        seen = reach(Cluster("c", f"https://127.0.0.1:{peer.port}", authority.base64_pem))

    assert (seen.failed, seen.problem) == ("foreign", "200, text/plain, more than 65536 bytes")


def test_a_closed_port(authority: CertificateAuthority) -> None:
    with Peer(b"") as peer:
        pass

    seen = reach(Cluster("c", f"https://127.0.0.1:{peer.port}", authority.base64_pem))

    assert (seen.failed, seen.problem) == ("tcp", "Connection refused")


def test_the_second_address_is_tried_too(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, cluster = serve(status_answer(401), "localhost")
    look, dial, dialled = socket.getaddrinfo, socket.create_connection, []

    def two(host: str, *arguments: Any, **options: Any) -> Any:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        found = [(*kind, ("10.0.0.1", peer.port)), (*kind, ("127.0.0.1", peer.port))]
        return found if host == "localhost" else look(host, *arguments, **options)

    def connect(address: tuple[str, int], **options: Any) -> socket.socket:
        dialled.append(address[0])
        if address[0] == "10.0.0.1":
            raise TimeoutError
        return dial(address, **options)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    monkeypatch.setattr(socket, "create_connection", connect)

    assert reach(replace(cluster, endpoint=f"https://localhost:{peer.port}")).failed is None
    assert dialled == ["10.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "no such name is possible"),
        (None, "no answer from DNS within 0.2 s"),
    ],
    ids=["no such name", "impossible", "silent"],
)
def test_a_name_that_dns_does_not_know(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, answer: Exception | None, problem: str
) -> None:
    end = threading.Event()

    def look(*_: Any, **__: Any) -> Any:
        if answer is not None:
            raise answer
        end.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look)

    seen = reach(Cluster("c", "https://abc.gr7.eu-west-1.eks.amazonaws.com", authority.base64_pem), timeout=0.2)
    end.set()

    assert (seen.failed, seen.problem) == ("dns", problem)


def test_the_certificate_of_another_ca_gets_no_request(tmp_path: Path, serve: Any) -> None:
    peer, cluster = serve(status_answer(401))
    other = replace(cluster, certificate_authority=CertificateAuthority(tmp_path, "other").base64_pem)

    seen = reach(other)
    answer = review(asker(other, replace(seen, failed=None), EksToken(token(), NOW)))

    assert seen.failed == "chain"
    assert (answer.status, answer.user) == (0, None)
    assert peer.seen == []


def test_a_certificate_for_another_name(serve: Any) -> None:
    peer, cluster = serve(status_answer(401), "elsewhere.example")

    assert reach(cluster).failed == "tls"
    assert peer.seen == []


def test_a_port_that_speaks_no_tls(authority: CertificateAuthority) -> None:
    class Plain(Peer):
        def _serve(self, connection: socket.socket) -> None:
            connection.recv(65_536)
            connection.sendall(HTML)

    with Plain(b"") as peer:
        seen = reach(Cluster("c", f"https://127.0.0.1:{peer.port}", authority.base64_pem))

    assert seen.failed == "tls"


def test_a_port_that_never_begins_tls(authority: CertificateAuthority) -> None:
    class Mute(Peer):
        def _serve(self, connection: socket.socket) -> None:
            del connection
            self._done.wait()

    with Mute(b"") as peer:
        seen = reach(Cluster("c", f"https://127.0.0.1:{peer.port}", authority.base64_pem), timeout=0.3)

    assert (seen.failed, seen.problem) == ("silent", "TLS: no answer in time")


@pytest.mark.parametrize(
    "endpoint",
    ["http://h", "h", "", "https://", "https://u:p@h", "https://h/path", "https://h?q", "https://h:x", "https://h h",
     "https://-h", "https://[::1", "https://h\r\nX: y", "https://a..b", f"https://{'a' * 64}.b", "https://.a",
     f"https://{'a.' * 127}b"],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_not_asked(authority: CertificateAuthority, endpoint: str) -> None:
    assert reach(Cluster("c", endpoint, authority.base64_pem)).failed == "endpoint"


@pytest.mark.parametrize("ca", ["", "x", base64.b64encode(b"no PEM").decode(), base64.b64encode(b"\xff").decode()])
def test_a_ca_that_is_none_is_not_used(ca: str) -> None:
    assert reach(Cluster("c", "https://127.0.0.1:9", ca)).failed == "ca"


# --- by a proxy


def test_a_proxy_leads_to_the_endpoint_and_its_password_is_shown_nowhere(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, cluster = serve(status_answer(401))
    monkeypatch.setattr(socket, "getaddrinfo", no_dns(socket.getaddrinfo))
    with Peer(None, tunnel=peer.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s%2Fcret@127.0.0.1:{proxy.port}")
        far = replace(cluster, endpoint=f"https://127.0.0.1:{peer.port}")

        seen = reach(far)

    assert (seen.failed, seen.proxy, seen.addresses) == (None, f"127.0.0.1:{proxy.port}", ())
    first, headers = proxy.seen[0]
    assert first.startswith(f"CONNECT 127.0.0.1:{peer.port} ")
    assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'me:s/cret').decode()}"
    assert "cret" not in repr(seen)
    assert len(peer.seen) == 1


def no_dns(real: Any) -> Any:
    """Only the proxy resolves the endpoint's name."""

    def look(host: Any, *arguments: Any, **options: Any) -> Any:
        assert host == "127.0.0.1"
        return real(host, *arguments, **options)

    return look


def test_no_proxy_is_heeded(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cluster = serve(status_answer(401))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")

    assert reach(cluster).failed is None


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (http_answer(407, b"<html>", "text/html"), "proxy"),
        (HTML, "proxy"),
        (b"no HTTP\r\n\r\n", "proxy"),
        (b"", "proxy"),
        (None, "tcp"),
    ],
    ids=["407", "HTML 403", "garbage", "closed", "never"],
)
def test_a_proxy_that_does_not_let_one_through(
    serve: Any, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, failed: str
) -> None:
    peer, cluster = serve(status_answer(401))
    with Peer(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.port}")

        seen = reach(cluster, timeout=0.5 if answer is None else 5)

    assert seen.failed == failed, seen
    assert peer.seen == []


def test_a_proxy_that_is_not_there(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cluster = serve(status_answer(401))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    assert reach(cluster).failed == "tcp"


@pytest.mark.parametrize(
    "url",
    ["socks5://me:cret@127.0.0.1:9", "https://me:cret@127.0.0.1:9", "http://me:12/cret@127.0.0.1:9", "http://me:x/cret@h",
     "http:///cret", "http://me:cret@h:99999"],
)  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_named_without_its_secrets(
    serve: Any, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    peer, cluster = serve(status_answer(401))
    monkeypatch.setenv("HTTPS_PROXY", url)

    seen = reach(cluster)

    assert seen.failed == "proxy-kind"
    assert "HTTPS_PROXY" in seen.problem
    assert "cret" not in repr(seen)
    assert peer.seen == []


# --- SelfSubjectReview


def asked(serve: Any, answer: bytes | None, **options: Any) -> tuple[Peer, ReviewEvidence]:
    peer, cluster = serve(answer)
    way = ReachEvidence(cluster.endpoint, ("127.0.0.1",))
    return peer, review(asker(cluster, way, EksToken(token(), NOW), **options))


def test_the_token_is_sent_once_as_a_bearer(serve: Any) -> None:
    peer, answer = asked(serve, user_answer(uid="u1", groups=["a", "b"], extra={"arn": ["x"], "n": []}))

    assert answer == ReviewEvidence(201, "", ApiUser("alice", "u1", ("a", "b"), (("arn", ("x",)), ("n", ()))))
    (first, headers), = peer.seen  # fmt: skip
    assert first == "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1"
    assert headers["Authorization"] == f"Bearer {token()}"


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (status_answer(401, "Unauthorized"), 401, "Unauthorized"),
        (status_answer(403, 'User "system:anonymous" cannot\x1b'), 403, 'User "system:anonymous" cannot\\x1b'),
        (status_answer(404), 404, "no"),
        (status_answer(500), 500, "no"),
        (http_answer(401, b"<html>", "text/html"), 0, "401, text/html, '<html>'"),
        (HTML, 0, "403, text/html"),
        (http_answer(201, {"kind": "SelfSubjectReview"}), 0, "201, and no SelfSubjectReview"),
        (http_answer(201, {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": 7}}}), 0, "201"),
        (http_answer(200, {"kind": "Status", "apiVersion": "v1"}), 0, "200"),
        (http_answer(302, b"", extra="Location: https://127.0.0.1/\r\n"), 0, "302"),
        (http_answer(201, b" " * 3_000_000), 0, "more than 2097152 bytes"),
        (b"", 0, "closed without an answer"),
        (None, 0, "no answer in time"),
    ],
    ids=["401", "403", "404", "500", "HTML 401", "HTML 403", "no user", "a number", "success", "a redirect", "huge",
         "closed", "never"],
)  # fmt: skip
def test_only_kubernetes_own_words_are_a_status(serve: Any, answer: bytes | None, status: int, problem: str) -> None:
    peer, seen = asked(serve, answer, timeout=0.5 if answer is None else 5)

    assert (seen.status, seen.user) == (status, None)
    assert problem in seen.problem
    assert len(peer.seen) == 1


@pytest.mark.parametrize("echo", ["status", "html", "user"])
def test_a_server_that_echoes_the_token_does_not_bring_it_into_the_evidence(
    serve: Any, echo: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)  # as some programs set it to see headers
    answers = {
        "status": status_answer(500, token()),
        "html": http_answer(502, token().encode(), "text/html"),
        "user": user_answer(username=token()),
    }

    _, seen = asked(serve, answers[echo])

    printed = capsys.readouterr()
    shown = repr(seen) + printed.out + printed.err
    assert token()[:40] not in shown
    assert_no_canary(shown)


# --- what the checks make of it: evidence in, findings out


SESSION_ARN = f"arn:aws:sts::{B}:assumed-role/cross-account-role/nightly"
IDENTITY = CallerIdentity(B, SESSION_ARN, "AROAEXAMPLE:nightly")
ENDPOINT = "https://ABC.gr7.eu-west-1.eks.amazonaws.com"
CLUSTER = Cluster("analytics", ENDPOINT, "Q0E=", f"arn:aws:eks:eu-west-1:{B}:cluster/analytics", "ACTIVE", "1.34",
                  "API_AND_CONFIG_MAP", endpoint_public_access=False, vpc_id="vpc-1")  # fmt: skip
WAY = ReachEvidence(ENDPOINT, ("10.20.3.7",), status=401)
EXTRA = (("arn", (SESSION_ARN,)), ("canonicalArn", (ROLE,)), ("accessKeyId", ("ASIAEXAMPLEEXAMPLE01",)))
USER = ApiUser("airflow", "u", ("airflow-workers",), EXTRA)
GOOD = Evidence(
    "analytics", "eu-west-1", "argument", "eu-west-1", NOW,
    hops=(HopEvidence(1, 1, ROLE, external_id_sent=False, problem=None),), cluster=CLUSTER, reach=WAY,
    token=decode_token(token()), identity=IDENTITY, review=ReviewEvidence(201, user=USER),
)  # fmt: skip
SILENT_STS: dict[str, Any] = {"identity": None, "identity_problem": StsUnavailableError("no answer")}


def way(failed: Any, problem: str = "x", **fields: Any) -> dict[str, Any]:
    """The evidence of a way that ended."""
    return {"reach": replace(WAY, failed=failed, problem=problem, **fields), "review": None}


def answered(status: int, problem: str = "", **fields: Any) -> dict[str, Any]:
    return {"review": ReviewEvidence(status, problem), **fields}


def undescribed(**options: Any) -> dict[str, Any]:
    return {"reach": None, "review": None, "cluster": None, "cluster_problem": ClusterError("x", **options)}


def user(**fields: Any) -> dict[str, Any]:
    return {"review": ReviewEvidence(201, user=replace(USER, **fields))}


def extra(**fields: str) -> dict[str, Any]:
    return user(extra=tuple((name, (value,)) for name, value in fields.items()))


@pytest.mark.parametrize(
    ("changes", "expected", "verdict"),
    [
        ({}, ["reachable PASS", "api-server PASS", "same-identity PASS"], "healthy"),
        (way("dns"), ["unreachable FAIL N1 retry"], "broken"),
        (way("tcp"), ["unreachable FAIL N1 retry"], "broken"),
        (way("endpoint"), ["unreachable FAIL N1"], "broken"),
        (way("silent"), ["unreachable UNKNOWN N1 retry"], "unknown"),
        (way("proxy-kind"), ["unreachable UNKNOWN N1"], "unknown"),
        (way("chain"), ["wrong-certificate-authority FAIL N3"], "broken"),
        (way("ca"), ["wrong-certificate-authority FAIL N3"], "broken"),
        (way("tls"), ["tls-failed FAIL N3"], "broken"),
        (way("proxy", proxy="p:1"), ["not-kubernetes FAIL N4"], "broken"),
        (way("foreign", status=403), ["not-kubernetes FAIL N4"], "broken"),
        (way("foreign", status=503), ["not-kubernetes UNKNOWN N4 retry"], "unknown"),
        (way("foreign", status=429), ["not-kubernetes UNKNOWN N4 retry"], "unknown"),
        (answered(401), ["reachable PASS", "not-mapped FAIL U15"], "broken"),
        (answered(401, **SILENT_STS), ["reachable PASS", "unauthorized FAIL", "sts"], "broken"),
        (answered(403, 'User "system:anonymous" cannot'), ["reachable PASS", "anonymous FAIL F1"], "broken"),
        (answered(403, 'User "alice" cannot'), ["reachable PASS", "forbidden UNKNOWN F7"], "unknown"),
        (answered(404), ["reachable PASS", "identity-unconfirmed UNKNOWN"], "unknown"),
        (answered(500, "etcd"), ["reachable PASS", "api-server-unknown UNKNOWN retry"], "unknown"),
        (answered(0, "no answer"), ["reachable PASS", "api-server-unknown UNKNOWN retry"], "unknown"),
        (user(extra=()), ["reachable PASS", "api-server PASS", "identity-unconfirmed UNKNOWN"], "unknown"),
        (extra(other="x"), ["reachable PASS", "api-server PASS", "identity-unconfirmed UNKNOWN"], "unknown"),
        (extra(arn=SESSION_ARN), ["reachable PASS", "api-server PASS", "same-identity PASS"], "healthy"),
        (extra(canonicalArn=ROLE.upper()), ["reachable PASS", "api-server PASS", "same-identity PASS"], "healthy"),
        (extra(arn=SESSION_ARN + "x"), ["reachable PASS", "api-server PASS", "identity-mismatch FAIL"], "broken"),
        (extra(canonicalArn=ROLE, accessKeyId="ASIAOTHER"),
         ["reachable PASS", "api-server PASS", "identity-mismatch FAIL"], "broken"),
        (SILENT_STS, ["reachable PASS", "api-server PASS", "same-identity PASS", "sts"], "healthy"),
        (undescribed(code="AccessDeniedException"), ["api-server SKIP"], "unknown"),
        (undescribed(retryable=True), ["api-server SKIP"], "unknown"),
        (undescribed(code="ResourceNotFoundException"), [], "broken"),
        ({"reach": None, "review": None, "cluster": replace(CLUSTER, endpoint="", status="CREATING")},
         ["api-server SKIP"], "unknown"),
        ({"review": None, "identity": None, "identity_problem": TokenRejectedError("", code="ExpiredToken")},
         ["reachable PASS"], "broken"),
    ],
)  # fmt: skip
def test_findings_of_the_clusters_side(changes: dict[str, Any], expected: list[str], verdict: str) -> None:
    report = judge(replace(GOOD, **changes))

    cluster_side = [
        " ".join(filter(None, (found.id, found.state, found.cause, "retry" if found.retry else "")))
        for found in report.findings
        if found.view == "api-server" or found.title == "same identity"
    ]
    cluster_side += ["sts" for found in report.findings if found.id == "sts-unreachable"]
    assert (cluster_side, report.verdict) == (expected, verdict)
    for found in report.findings:
        if found.state == "FAIL":
            assert found.remedy is not None


def only(finding_id: str, **changes: Any) -> Finding:
    return next(found for found in judge(replace(GOOD, **changes)).findings if found.id == finding_id)


@pytest.mark.parametrize("problem", ["no answer in time", "TLS: no answer in time"])
def test_an_endpoint_that_is_silent_is_not_told_as_a_way_that_is_missing(problem: str) -> None:
    remedy = only("unreachable", **way("silent", problem)).remedy

    assert remedy is not None
    assert remedy.text.startswith("The way to it is there, for the connection was taken.")
    for word in ("route", "peering", "publicAccessCidrs", "NAT"):
        assert word not in remedy.text
    assert remedy.commands[0].startswith("openssl s_client -connect ")


@pytest.mark.parametrize(("ahead", "shown"), [(-0.4, "+0 s"), (0.4, "+0 s"), (-1.6, "-2 s"), (2.4, "+2 s")])
def test_a_clock_that_is_right_is_not_said_to_be_minus_nothing_off(ahead: float, shown: str) -> None:
    clock = only("clock", clocks=(ClockEvidence("STS", ahead),))

    assert clock.evidence == (("STS", shown),)


def test_a_private_endpoint_out_of_reach_says_that_aws_and_the_token_are_fine() -> None:
    finding = only("unreachable", **way("tcp", "no answer in time"))

    assert finding.summary == (
        f"no TCP connection to {ENDPOINT} (10.20.3.7, private) from here within 5 s: no answer in time. "
        "AWS and the token are fine."
    )
    assert finding.remedy is not None
    assert finding.remedy.text.startswith("The endpoint is private: this network needs a route to its VPC vpc-1 ")


def test_nothing_is_said_to_be_fine_that_was_not_seen() -> None:
    summary = only("unreachable", **way("tcp"), **SILENT_STS).summary

    assert "fine" not in summary


def test_a_public_endpoint_out_of_reach_leads_to_the_way_out() -> None:
    finding = only("unreachable", **way("tcp", addresses=("52.1.2.3", "52.1.2.4")),
                   cluster=replace(CLUSTER, endpoint_public_access=True))  # fmt: skip

    assert "(52.1.2.3, public, 1 more)" in finding.summary
    assert finding.remedy is not None
    assert "publicAccessCidrs" in finding.remedy.text


def test_a_proxy_is_named_where_it_stands_in_the_way() -> None:
    finding = only("unreachable", **way("tcp", addresses=(), proxy="proxy.corp:3128"))

    assert finding.summary.startswith("no connection to the proxy proxy.corp:3128 of HTTPS_PROXY: x")
    assert only("reachable", reach=replace(WAY, addresses=(), proxy="proxy.corp:3128")).summary.startswith(
        f"{ENDPOINT} (by proxy proxy.corp:3128)"
    )


def test_both_views_of_an_identity_that_differs_are_named() -> None:
    finding = only("identity-mismatch", **extra(arn="arn:aws:iam::9:user/eve\x1b[2J", accessKeyId="AKIAOTHERKEYID"))

    assert finding.evidence == (
        ("ARN", f"AWS says {SESSION_ARN}, the API server says arn:aws:iam::9:user/eve\\x1b[2J"),
        ("access key id", "AWS says ...LE01, the API server says ...EYID"),
    )


def commands(**changes: Any) -> list[list[str]]:
    remedy = only("not-mapped", **answered(401, **changes)).remedy
    assert remedy is not None
    return [words(command) for command in remedy.commands]


def hop(role_arn: str) -> tuple[HopEvidence, ...]:
    return (HopEvidence(1, 1, role_arn, external_id_sent=False, problem=None),)


def test_the_remedy_names_the_role_with_the_path_that_was_typed() -> None:
    typed = f"arn:aws:iam::{B}:role/team/a/cross-account-role"

    create, associate = commands(hops=hop(typed))

    assert create == ["eks", "create-access-entry", "--cluster-name", "analytics", "--region", "eu-west-1",
                      "--principal-arn", typed, "--type", "STANDARD"]  # fmt: skip
    assert associate[:2] + associate[6:] == [
        "eks", "associate-access-policy", "--principal-arn", typed, "--policy-arn",
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy", "--access-scope",
        "type=namespace,namespaces=<NAMESPACE>",
    ]  # fmt: skip


def test_a_path_that_nobody_here_knows_is_a_marked_hole() -> None:
    execution = CallerIdentity(A, f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod", "AROA:AmazonMWAA-prod")

    look, create, _ = commands(hops=(), identity=execution)

    assert look[:4] == ["iam", "get-role", "--role-name", "mwaa-exec"]
    assert f"arn:aws:iam::{A}:role/<PATH/>mwaa-exec" in create


def test_a_users_arn_has_its_path_already() -> None:
    alice = f"arn:aws:iam::{B}:user/team/alice"

    create, _ = commands(hops=(), identity=CallerIdentity(B, alice, "AIDA"))

    assert alice in create


def test_what_can_have_no_access_entry_gets_no_command() -> None:
    assert commands(hops=(), identity=CallerIdentity(B, f"arn:aws:iam::{B}:root", B)) == []


def test_a_mode_that_is_unknown_is_to_be_looked_at_first() -> None:
    first, *_ = commands(cluster=replace(CLUSTER, authentication_mode=None))

    assert first[-1] == "cluster.accessConfig"


def test_a_cluster_in_mode_config_map_gets_a_row_without_the_path() -> None:
    finding = only("not-mapped", **answered(401, cluster=replace(CLUSTER, authentication_mode="CONFIG_MAP"),
                                            hops=hop(f"arn:aws:iam::{B}:role/team/cross-account-role")))  # fmt: skip

    assert finding.remedy is not None
    assert finding.remedy.yaml == (
        "mapRoles: |\n"
        f'  - rolearn: "{ROLE}"\n'
        '    username: "eks-cross-account"\n'
        "    groups:\n"
        '      - "<GROUP>"'
    )  # fmt: skip
    assert "create-access-entry" not in str(finding.remedy.commands)
    assert "access entries count for nothing" in dict(finding.evidence)["left"]


def test_the_policy_of_a_remedy_is_of_the_clusters_partition() -> None:
    _, associate = commands(region="us-gov-west-1")

    assert "arn:aws-us-gov:eks::aws:cluster-access-policy/AmazonEKSEditPolicy" in associate


def test_hostile_text_of_the_api_server_steers_no_terminal() -> None:
    report = judge(replace(GOOD, **user(username="a\x1b]0;x\x07\nPASS", groups=("g\u202e",) * 20)))

    shown = next(finding.summary for finding in report.findings if finding.id == "api-server")
    assert report.to_text().isascii()
    assert "; user a\\x1b]0;x\\x07" in shown
    assert "and 12 more" in shown
    assert shown.isascii()


def test_a_key_id_is_shown_by_its_last_four() -> None:
    report = judge(GOOD)

    assert "ASIAEXAMPLEEXAMPLE01" not in report.to_text() + report.to_json()
    assert dict(only("api-server").evidence)["accessKeyId"] == "...LE01"


def test_evidence_holds_no_token() -> None:
    assert SIGNATURE not in repr(GOOD)
    assert {name for name in dir(_reach.ReviewEvidence) if not name.startswith("_")} == {"problem", "status", "user"}


# --- the report


PASSED = Finding("credentials", "PASS", "aws", "credentials", "arn:aws:iam::111111111111:user/alice (env)")
BROKEN = Finding(
    "assume-role-denied",
    "FAIL",
    "aws",
    "hop 1 of 1",
    "alice may not assume r (hop 1 of 1)",
    (("AWS", "AccessDenied: no"),),
    Remedy("add this:\n{\n  1\n}", ("aws iam get-role --role-name r",)),
    cause="F14",
    owner="222222222222",
)


def test_a_report_as_text() -> None:
    report = Report("analytics", "eu-west-1 (argument)", (PASSED, BROKEN))

    assert report.to_text() == (
        "cluster analytics, region eu-west-1 (argument)\n"
        "\n"
        "PASS    credentials: arn:aws:iam::111111111111:user/alice (env)\n"
        "FAIL    [assume-role-denied] alice may not assume r (hop 1 of 1)\n"
        "        AWS: AccessDenied: no\n"
        "        fix (account 222222222222): add this:\n"
        "        {\n"
        "          1\n"
        "        }\n"
        "        aws iam get-role --role-name r\n"
        "        Retrying will not help.\n"
        "\n"
        "verdict: broken - root cause: assume-role-denied\n"
    )


def test_a_report_as_json() -> None:
    report = Report("analytics", "eu-west-1 (argument)", (BROKEN,))

    assert json.loads(report.to_json()) == {
        "schema": "eks-token-check/1",
        "command": "check",
        "verdict": "broken",
        "exit_code": 1,
        "root_cause": "assume-role-denied",
        "identity": None,
        "cluster": None,
        "chain": {"caller": None, "hops": [], "described_as": None, "token_of": None},
        "findings": [
            {
                "id": "assume-role-denied",
                "state": "FAIL",
                "view": "aws",
                "title": "hop 1 of 1",
                "summary": "alice may not assume r (hop 1 of 1)",
                "evidence": {"AWS": "AccessDenied: no"},
                "remedy": {
                    "text": "add this:\n{\n  1\n}",
                    "commands": ["aws iam get-role --role-name r"],
                    "hcl": None,
                    "yaml": None,
                },
                "cause": "F14",
                "owner": "222222222222",
                "retry": False,
                "consequence_of": None,
            }
        ],
        "facts": None,
        "permissions": None,
    }


@pytest.mark.parametrize(
    ("findings", "confirmed", "verdict"),
    [
        ((), False, "unknown"),
        ((PASSED,), False, "unknown"),
        ((PASSED,), True, "healthy"),
        ((PASSED, BROKEN), True, "broken"),
        ((replace(BROKEN, state="UNKNOWN"),), False, "unknown"),
    ],
    ids=["nothing checked", "not confirmed", "confirmed", "one broken", "one unknown"],
)
def test_a_verdict_is_never_good_by_default(
    findings: tuple[Finding, ...],
    confirmed: bool,  # noqa: FBT001 - a table
    verdict: str,
) -> None:
    assert Report("c", "r", findings, confirmed=confirmed).verdict == verdict
