"""What answers in the place of AWS: a proxy's page, half an answer, a bomb, other types. Our errors, and no secret."""

from __future__ import annotations

import gzip
import json
import logging
import threading
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokens import CREDENTIALS, SECRET, SESSION, assert_no_canary

from eks_cross_account import (
    ClusterError,
    CredentialsError,
    EksTokenError,
    FrozenCredentials,
    RoleHop,
    StsUnavailableError,
    assume_roles,
    describe_cluster,
)
from eks_cross_account.cluster import Eks, access_entries, access_entry, associated_policies
from eks_cross_account.credentials import session_source
from eks_cross_account.diagnosis._mapping_probes import NotChecked, get_role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REGION = "eu-west-1"
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
KEYS = (
    f"<AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{SESSION}</SessionToken>"
)


class Answering(ThreadingHTTPServer):
    """Gives every request one answer, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.headers = 200, b"", {"Content-Type": "application/json"}
        self.asked = 0

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def _handle(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked += 1
        self.send_response(self.server.status)
        for name, value in {"Content-Length": str(len(self.server.body)), **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):  # the client has heard enough
            self.wfile.write(self.server.body)

    do_GET = do_POST = _handle  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """AWS, which answers what the test says."""
    with Answering() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield server
        server.shutdown()


def eks() -> Eks:
    return Eks(lambda: CREDENTIALS, REGION)


QUESTIONS: dict[str, Callable[[], Any]] = {
    "cluster": lambda: describe_cluster(lambda: CREDENTIALS, "analytics", region=REGION),
    "entry": lambda: access_entry(eks(), "analytics", ROLE),
    "entries": lambda: access_entries(eks(), "analytics"),
    "policies": lambda: associated_policies(eks(), "analytics", ROLE),
}
if tuple(map(int, version("botocore").split(".")[:2])) < (1, 34):  # older than access entries
    del QUESTIONS["entry"], QUESTIONS["entries"], QUESTIONS["policies"]
SHAPES = {
    "nothing": b"",
    "HTML": b"<html><body>Sign in to the network</body></html>",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "half an answer": b'{"cluster": {"name": "analytics", "endpo',
    "no UTF-8": b'\xff\xfe{"cluster": {}}',
    "nested deeply": b"[" * 100_000,
    "an object nested deeply": b'{"cluster":' * 100_000,
    "a number of many digits": b'{"cluster": {"name": %s}}' % (b"9" * 10_000),
    "no date": b'{"cluster": {"createdAt": "soon"}, "accessEntry": {"createdAt": {}}}',
    "a date beyond all": b'{"cluster": {"createdAt": 1e400}, "accessEntry": {"createdAt": 1e400}}',
    "null where an object is": b'{"cluster": null, "accessEntry": null, "associatedAccessPolicies": [null]}',
    "a list where an object is": b'{"cluster": [1], "accessEntry": [1], "associatedAccessPolicies": [[1]]}',
    "text where a list is": b'{"accessEntries": "abc", "associatedAccessPolicies": "abc"}',
    "an object where a list is": b'{"accessEntries": {"a": 1}, "associatedAccessPolicies": {"a": 1}}',
    "an empty object": b"{}",
    "gzip that nobody asked for": gzip.compress(b" " * 10_000_000),
}


def outcome(call: Callable[[], Any]) -> tuple[Any, EksTokenError | None]:
    try:
        return call(), None
    except EksTokenError as error:
        return None, error


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_answer_of_eks_is_a_cluster_error_that_may_be_tried_again(
    aws: Answering, question: str, shape: str
) -> None:
    aws.answer(SHAPES[shape], Content_Type="application/json")

    found, error = outcome(QUESTIONS[question])

    if error is None:  # an answer without the member that is a list: none of it
        assert question in {"entries", "policies"}
        assert all(isinstance(each, str) or isinstance(each.arn, str) for each in found)
        return
    assert isinstance(error, ClusterError)
    assert error.retryable
    assert (str(error).isprintable(), len(str(error)) < 300) == (True, True)


@pytest.mark.parametrize("shape", ["HTML", "null where an object is", "a list where an object is", "an empty object"])
def test_a_cluster_is_never_made_of_an_answer_without_one(aws: Answering, shape: str) -> None:
    aws.answer(SHAPES[shape])

    with pytest.raises(ClusterError, match=r"something that is not (?:EKS|AWS) answered"):
        QUESTIONS["cluster"]()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_redirect_of_eks_is_followed(aws: Answering, status: int, question: str) -> None:
    with Answering() as elsewhere:
        aws.answer(b"", status, Location=f"http://127.0.0.1:{elsewhere.server_port}/")

        with pytest.raises(ClusterError):
            QUESTIONS[question]()

        assert (aws.asked, elsewhere.asked) == (1, 0)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = ("name", "endpoint", "certificateAuthority", "arn", "status", "version", "accessConfig", "id", "createdAt",
            "resourcesVpcConfig", "principalArn", "kubernetesGroups", "username", "type", "policyArn",
            "accessScope")  # fmt: skip


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON, max_size=6), st.sampled_from(sorted(QUESTIONS)))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_types_eks_answers_with_what_is_read_is_text_or_an_error_of_ours(
    aws: Answering, members: dict[str, Any], question: str
) -> None:
    body = {"cluster": members, "accessEntry": members, "accessEntries": [members, *members.values()],
            "associatedAccessPolicies": [members]}  # fmt: skip
    aws.answer(json.dumps(body).encode())

    found, error = outcome(QUESTIONS[question])

    shown = [] if error is not None else [found] if not isinstance(found, tuple) else [*found]
    for each in shown:
        values = [each] if isinstance(each, str) else [getattr(each, name) for name in each.__dataclass_fields__]
        for value in values:
            texts = value if isinstance(value, tuple) else [value]
            assert all(not isinstance(text, str) or (text.isascii() and text.isprintable()) for text in texts)
            assert not isinstance(value, dict | list | int) or isinstance(value, bool)


# --- STS AssumeRole


def sts_answer(inside: str) -> bytes:
    result = f"<AssumeRoleResult><Credentials>{inside}</Credentials></AssumeRoleResult>"
    return (
        f'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{result}</AssumeRoleResponse>'.encode()
    )


NO_ANSWERS = {
    "nothing": b"",
    "HTML": b"<html><body>Sign in</body></html>",
    "JSON": b"{}",
    "cut off within the keys": sts_answer(KEYS)[:-60],
    "cut off within the secret": sts_answer(KEYS).partition(SECRET[-8:].encode())[0],
    "without the keys": b"<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>",
    "with a part of the keys": sts_answer(f"<SecretAccessKey>{SECRET}</SecretAccessKey>"),
    "without an expiration": sts_answer(KEYS),
    "without a time zone": sts_answer(f"{KEYS}<Expiration>2030-01-01T00:00:00</Expiration>"),
    "no date": sts_answer(f"{KEYS}<Expiration>soon</Expiration>"),
    "empty keys": sts_answer(
        "<AccessKeyId/><SecretAccessKey/><SessionToken/><Expiration>2030-01-01T00:00:00Z</Expiration>"
    ),
    "a bomb of entities": b'<!DOCTYPE l [<!ENTITY a0 "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
    + b"]><AssumeRoleResponse>&a11;</AssumeRoleResponse>",
    "nested deeply": b"<a>" * 100_000,
    "an entity of a file": b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<AssumeRoleResponse>&x;</AssumeRoleResponse>",
}


def shown_with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def texts_of(error: BaseException | None) -> str:
    """What the error and all behind it say, also those that a traceback leaves out."""
    return "" if error is None else f"{error!r} {error} {texts_of(error.__cause__)} {texts_of(error.__context__)}"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", NO_ANSWERS)
def test_what_is_no_answer_of_sts_is_said_without_a_word_of_it(
    aws: Answering, caplog: pytest.LogCaptureFixture, body: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    aws.answer(NO_ANSWERS[body], status, Content_Type="text/xml")
    source = assume_roles(lambda: FrozenCredentials("AKIAX", SECRET), [RoleHop(ROLE)], region=REGION)

    with pytest.raises(EksTokenError) as raised:
        source()

    assert isinstance(raised.value, StsUnavailableError) or status != 200
    assert str(raised.value).isprintable()
    assert_no_canary(shown_with_locals(raised.value) + texts_of(raised.value) + caplog.text)


@pytest.mark.parametrize("body", ["cut off within the keys", "with a part of the keys", "HTML"])
def test_a_profiles_own_role_is_refused_as_quietly(
    aws: Answering, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    caplog.set_level(logging.DEBUG)
    aws.answer(NO_ANSWERS[body], 200, Content_Type="text/xml")
    config = tmp_path / "config"
    config.write_text(f"[profile jobs]\nrole_arn = {ROLE}\ncredential_source = Environment\nregion = {REGION}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAX")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    with pytest.raises(CredentialsError) as raised:
        session_source(profile="jobs")()

    assert_no_canary(shown_with_locals(raised.value) + texts_of(raised.value) + caplog.text)


def test_no_redirect_of_sts_is_followed(aws: Answering) -> None:
    with Answering() as elsewhere:
        aws.answer(b"", 307, Location=f"http://127.0.0.1:{elsewhere.server_port}/")
        source = assume_roles(lambda: CREDENTIALS, [RoleHop(ROLE)], region=REGION)

        with pytest.raises(EksTokenError):
            source()

        assert (aws.asked, elsewhere.asked) == (1, 0)


def test_a_configuration_that_makes_no_client_of_iam_is_not_checked() -> None:
    session = botocore.session.Session()
    session.set_config_variable("retry_mode", "x")

    found = get_role(ROLE, CREDENTIALS, "222222222222", region=REGION, session=session, timeout=2)

    assert isinstance(found, NotChecked)
    assert "AWS configuration: no client for IAM: " in found.why


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<GetRoleResponse/>", b"<a", b"{}", b"<a>" * 100_000])
def test_what_is_no_answer_of_iam_is_not_checked(aws: Answering, body: bytes) -> None:
    aws.answer(body, 200, Content_Type="text/xml")

    session = botocore.session.Session()
    found = get_role(ROLE, CREDENTIALS, "222222222222", region=REGION, session=session, timeout=2)

    assert isinstance(found, NotChecked)
    assert found.why.startswith("no answer from IAM")
