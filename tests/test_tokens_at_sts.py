"""get_token and verify_token: a token, and whose it is, judged by something that verifies signatures."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
import urllib3
from tokens import CREDENTIALS, NOW, assert_no_canary, token

from eks_cross_account import (
    Cluster,
    ClusterError,
    CredentialsError,
    EksToken,
    ExpiredTokenError,
    InvalidTokenError,
    MalformedTokenError,
    RoleHop,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
    describe_cluster,
    encode_token,
    get_token,
    presign,
    sts,
    verify_token,
)
from eks_cross_account.credentials import session_source
from eks_cross_account.provider import mint, utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eks_cross_account.credentials import FrozenCredentials
    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"


def minted(credentials: FrozenCredentials, cluster_name: str = "analytics", **options: Any) -> str:
    made = {"region": "eu-west-1", "now": utc_now(), **options}
    return encode_token(presign(credentials, cluster_name=cluster_name, **made))


def verify(text: str, cluster_name: str = "analytics", **options: Any) -> Any:
    return verify_token(text, cluster_name=cluster_name, region="eu-west-1", **options)


def test_the_whole_way_from_account_a_to_the_role_in_account_b(eks_sandbox: Sandbox) -> None:
    made = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE, session_name="nightly")

    identity = verify(made.value)

    assert identity.arn == f"arn:aws:sts::{B}:assumed-role/cross-account-role/nightly"
    assert (identity.account, identity.canonical_arn, identity.session_name) == (B, ROLE, "nightly")
    assert timedelta(minutes=13) < made.expiration - utc_now() <= timedelta(minutes=14)
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "sts:GetCallerIdentity"]


def test_without_a_role_the_token_is_the_callers_own(eks_sandbox: Sandbox) -> None:
    made = get_token(cluster_name="analytics")

    assert verify(made.value).arn == f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod"
    assert len(eks_sandbox.requests) == 1


def test_assume_role_goes_to_the_callers_region_and_the_token_is_for_the_clusters(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    made = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE)
    verify(made.value)

    assert [r.host for r in eks_sandbox.requests] == ["sts.us-west-2.amazonaws.com", "sts.eu-west-1.amazonaws.com"]


def test_a_configured_endpoint_does_not_get_into_the_token(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", eks_sandbox.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", eks_sandbox.endpoint_url)

    made = get_token(cluster_name="analytics", role_arn=ROLE)

    assert verify(made.value).canonical_arn == ROLE


@pytest.mark.parametrize(
    "options",
    [
        {"role_arn": ROLE, "role_hops": [RoleHop(ROLE)]},
        {"external_id": "x7"},
        {"session_name": "nightly"},
        {"session": botocore.session.Session(), "profile": "p"},
    ],
    ids=["role and hops", "external id alone", "session name alone", "session and profile"],
)
def test_arguments_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give one|is missing"):
        get_token(cluster_name="analytics", region="eu-west-1", **options)


@pytest.mark.usefixtures("eks_sandbox")
def test_nothing_of_a_token_is_written_or_exported(tmp_path: Any) -> None:
    before = dict(os.environ)

    get_token(cluster_name="analytics", role_arn=ROLE)

    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


def test_a_token_does_not_outlive_the_session_that_signed_it() -> None:
    short = replace(CREDENTIALS, expiration=NOW + timedelta(minutes=5))

    assert mint(short, cluster_name="c", region="eu-west-1", now=NOW).expiration == NOW + timedelta(
        minutes=4, seconds=30
    )
    assert mint(CREDENTIALS, cluster_name="c", region="eu-west-1", now=NOW).expiration == NOW + timedelta(minutes=14)


# --- every wrong variant ends in its cause


def test_another_cluster_name_is_a_signature_mismatch(eks_sandbox: Sandbox) -> None:
    text = minted(eks_sandbox.issue_session(ROLE), "analytics")

    with pytest.raises(TokenRejectedError, match="signed for another cluster name") as raised:
        verify(text, "analytic")

    assert (raised.value.status, raised.value.code) == (403, "SignatureDoesNotMatch")


def test_another_secret_key_is_a_signature_mismatch(eks_sandbox: Sandbox) -> None:
    text = minted(replace(eks_sandbox.issue_session(ROLE), secret_key="wrong"))

    with pytest.raises(TokenRejectedError, match="with another secret key"):
        verify(text)


def test_an_unknown_key_is_said_to_be_unknown(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE)
    eks_sandbox.revoke(session)

    with pytest.raises(TokenRejectedError, match="does not know the access key id") as raised:
        verify(minted(session))

    assert raised.value.code == "InvalidClientTokenId"


def test_a_session_that_ended_is_said_to_have_ended(eks_sandbox: Sandbox) -> None:
    text = minted(eks_sandbox.issue_session(ROLE, life=timedelta(seconds=-1)))

    with pytest.raises(TokenRejectedError, match="the session that signed it has ended"):
        verify(text)


def test_an_expired_token_is_not_even_sent(eks_sandbox: Sandbox) -> None:
    text = minted(eks_sandbox.issue_session(ROLE), now=utc_now() - timedelta(minutes=16))

    with pytest.raises(ExpiredTokenError, match=r"token expired 6\d s ago") as raised:
        verify(text)

    assert [violation.rule for violation in raised.value.violations] == ["date_expired"]
    assert eks_sandbox.requests == []


def test_a_missing_session_token_is_not_even_sent(eks_sandbox: Sandbox) -> None:
    with pytest.raises(InvalidTokenError, match="no X-Amz-Security-Token"):
        verify(token(without="X-Amz-Security-Token", base="https://sts.eu-west-1.amazonaws.com/",
                     X_Amz_Credential=f"ASIAX/{utc_now():%Y%m%d}/eu-west-1/sts/aws4_request",
                     X_Amz_Date=f"{utc_now():%Y%m%dT%H%M%SZ}"))  # fmt: skip

    with pytest.raises(CredentialsError, match="its session token is missing"):
        minted(replace(eks_sandbox.issue_session(ROLE), token=None))

    assert eks_sandbox.requests == []


@pytest.mark.parametrize("text", ["", "Bearer x", "k8s-aws-v1.aHR0cDovLw==", "k8s-aws-v1." + "A" * 5000])
def test_what_is_no_token_is_not_sent(text: str) -> None:
    with pytest.raises(MalformedTokenError):
        verify(text)


@pytest.mark.parametrize(
    "host", ["sts.s3.amazonaws.com", "sts.eu-west-9.amazonaws.com", "sts.global.evil.example", "x.global.amazonaws.com"]
)
def test_a_host_that_the_verifier_takes_and_we_do_not_know_is_never_sent_to(eks_sandbox: Sandbox, host: str) -> None:
    now = utc_now()
    text = token(
        base=f"https://{host}/",
        X_Amz_Date=f"{now:%Y%m%dT%H%M%SZ}",
        X_Amz_Credential=f"ASIAX/{now:%Y%m%d}/us-east-1/sts/aws4_request",
    )

    with pytest.raises((UnknownRegionError, InvalidTokenError)):
        verify(text)

    assert eks_sandbox.requests == []


def test_a_cluster_name_that_cannot_be_is_refused_first() -> None:
    with pytest.raises(ClusterError):
        verify("k8s-aws-v1.x", "bad name")


# --- silence, and answers that are not of STS


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>captive portal</html>"),
        (200, '{"ListBucketsResponse": {}}'),
        (200, "x" * 70_000),
        (302, ""),
        (403, "<html>proxy says no</html>"),
        (403, '{"Error": {"Code": 7}}'),
        (500, '{"Error": {"Code": "InternalFailure", "Message": "x"}}'),
        (400, '{"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}'),
    ],
)
def test_what_is_not_an_answer_of_sts_is_no_verdict(eks_sandbox: Sandbox, status: int, body: str) -> None:
    eks_sandbox.respond("sts:*", status, body)

    with pytest.raises(StsUnavailableError) as raised:
        verify(minted(eks_sandbox.issue_session(ROLE)))

    assert raised.value.retryable
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("fault", ["hang", "disconnect"])
def test_silence_is_no_verdict_and_shows_no_url(eks_sandbox: Sandbox, fault: str) -> None:
    session = eks_sandbox.issue_session(ROLE)
    text = minted(session)
    getattr(eks_sandbox, fault)("sts:*")

    with pytest.raises(StsUnavailableError, match=r"no answer from sts\.eu-west-1\.amazonaws\.com") as raised:
        verify(text, timeout=0.5)

    assert raised.value.__cause__ is None
    for secret in (session.token or "", "X-Amz", text):
        assert secret not in f"{raised.value} {raised.value!r}"


def test_an_answer_that_only_drips_is_silence(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes before anybody's timeout; all of them would take hours."""
    over = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "60000")
            self.end_headers()
            with suppress(OSError):
                while not over.wait(0.05):
                    self.wfile.write(b" ")

    class Pool(urllib3.PoolManager):
        def request(self, method: str, _: str, **options: Any) -> Any:
            return super().request(method, f"http://127.0.0.1:{server.server_port}/", **options)

    with HTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.handle_request).start()
        monkeypatch.setattr(sts, "_pool", lambda *_: Pool())
        begun = time.monotonic()
        with pytest.raises(StsUnavailableError, match="did not end in time"):
            verify(minted(eks_sandbox.issue_session(ROLE, "nightly")), timeout=0.3)
        took = time.monotonic() - begun
        over.set()

    assert took < 3


def test_no_network_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    with pytest.raises(StsUnavailableError, match="HTTPS_PROXY"):
        verify(minted(CREDENTIALS))


def test_a_name_that_dns_does_not_know_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)

    with pytest.raises(StsUnavailableError, match="not found in DNS"):
        verify(minted(CREDENTIALS))


@pytest.mark.parametrize("proxy", ["::::", "socks5://127.0.0.1:9", "ftp://x", "http://[::1"])
def test_a_proxy_that_cannot_be_one_is_said(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(StsUnavailableError, match="the proxy's URL cannot be used"):
        verify(minted(CREDENTIALS))


def test_a_ca_file_without_certificates_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "empty.pem"))

    with pytest.raises(StsUnavailableError, match="holds no certificate"):
        verify(minted(CREDENTIALS))


def test_a_ca_file_that_is_not_there_is_said(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent/ca.pem")

    with pytest.raises(StsUnavailableError, match="CA bundle file does not exist"):
        verify(minted(eks_sandbox.issue_session(ROLE)))


def test_a_wrong_ca_ends_the_connection(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")

    with pytest.raises(StsUnavailableError, match="TLS failed"):
        verify(minted(eks_sandbox.issue_session(ROLE)))

    assert eks_sandbox.requests == []


class _Recorder(BaseHTTPRequestHandler):
    seen: list[str]

    def do_CONNECT(self) -> None:
        self.seen.append(f"{self.requestline} {dict(self.headers)}")
        self.send_error(407)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def proxy() -> Iterator[HTTPServer]:
    _Recorder.seen = []
    with HTTPServer(("127.0.0.1", 0), _Recorder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_users_proxy_with_its_password_is_used(proxy: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@127.0.0.1:{proxy.server_port}")

    with pytest.raises(StsUnavailableError) as raised:
        verify(minted(CREDENTIALS))

    assert "CONNECT sts.eu-west-1.amazonaws.com:443" in _Recorder.seen[0]
    assert "Basic dXNlcjpjYW5hcnk=" in _Recorder.seen[0]
    assert_no_canary(str(raised.value))


# --- tokens of others


def test_a_token_of_botocores_signer_is_verified(eks_sandbox: Sandbox) -> None:
    from botocore.signers import RequestSigner  # noqa: PLC0415 - the peer

    session = botocore.session.Session()
    client = session.create_client("sts", region_name="eu-west-1")
    signer = RequestSigner(client.meta.service_model.service_id, "eu-west-1", "sts", "v4",
                           session.get_credentials(), session.get_component("event_emitter"))  # fmt: skip
    request = {
        "method": "GET",
        "url": "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": "analytics"},
        "context": {},
    }
    url = signer.generate_presigned_url(request, region_name="eu-west-1", expires_in=60, operation_name="")

    assert verify(encode_token(url)).account == A
    assert len(eks_sandbox.requests) == 1


# --- DescribeCluster


def test_a_cluster_is_described(eks_sandbox: Sandbox) -> None:
    source = session_source_of(eks_sandbox)

    cluster = describe_cluster(source, "analytics", region="eu-west-1")

    assert (cluster.name, cluster.account, cluster.status) == ("analytics", B, "ACTIVE")
    assert cluster.arn == f"arn:aws:eks:eu-west-1:{B}:cluster/analytics"
    assert cluster.certificate_authority
    assert cluster.certificate_authority not in repr(cluster)
    assert cluster.authentication_mode in {"API_AND_CONFIG_MAP", None}  # None: botocore older than access entries


def session_source_of(sandbox: Sandbox) -> Any:
    session = sandbox.issue_session(ROLE)
    return lambda: session


@pytest.mark.parametrize(
    ("name", "region", "code", "words"),
    [("analytic", "eu-west-1", "ResourceNotFoundException", "wrong region, wrong account"),
     ("analytics", "eu-west-2", "ResourceNotFoundException", "there is no cluster analytics in eu-west-2")],
)  # fmt: skip
def test_a_cluster_that_is_not_there_is_said_to_be_elsewhere(
    eks_sandbox: Sandbox, name: str, region: str, code: str, words: str
) -> None:
    with pytest.raises(ClusterError, match=words) as raised:
        describe_cluster(session_source_of(eks_sandbox), name, region=region)

    assert (raised.value.code, raised.value.retryable) == (code, False)


@pytest.mark.usefixtures("eks_sandbox")
def test_a_cluster_that_may_not_be_described_is_refused_in_awss_words() -> None:
    with pytest.raises(ClusterError, match="is not authorized to perform: eks:DescribeCluster") as raised:
        describe_cluster(session_source(), "analytics", region="eu-west-1")

    assert raised.value.code == "AccessDeniedException"


def test_eks_out_of_reach_may_be_tried_again(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.disconnect("eks:*")

    with pytest.raises(ClusterError, match="got no answer from EKS") as raised:
        describe_cluster(session_source_of(eks_sandbox), "analytics", region="eu-west-1")

    assert raised.value.retryable


def test_a_cluster_can_be_written_by_hand() -> None:
    cluster = Cluster("analytics", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", "Q0E=")

    assert (cluster.account, cluster.authentication_mode) == ("", None)


def test_a_token_is_not_in_a_verify_error(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE)
    made = EksToken(minted(session, "other"), utc_now())

    with pytest.raises(TokenRejectedError) as raised:
        verify(made.value)

    shown = f"{raised.value} {raised.value!r} {vars(raised.value)} {json.dumps(str(raised.value))}"
    for secret in (made.value, session.token or "", session.secret_key):
        assert secret not in shown
