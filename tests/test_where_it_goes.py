"""No text from outside, of a token, a region or a connection, decides where a request goes: recorded, for any text."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokens import CREDENTIALS, token

from eks_cross_account import (
    EksTokenError,
    RoleHop,
    assume_roles,
    describe_cluster,
    encode_token,
    endpoints,
    presign,
    sts,
    verify_token,
)
from eks_cross_account._partitions import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
SUFFIXES = {
    suffix
    for each in PARTITIONS
    for suffix in (each.suffix, each.dual_stack_suffix, each.sdk_dual_stack_suffix)
    if suffix is not None
}
KNOWN = {
    endpoints.GLOBAL_STS_HOST,
    *(host for each in PARTITIONS for region in each.regions for host in endpoints.sts_hosts(region)),
}
PIECES = (
    "sts", "sts-fips", "s3", "global", "eu-west-1", "eu-west-9", "us-gov-west-1", "cn-north-1", "aws-global", "com",
    "cn", "amazonaws", "evil", "example", "api.aws", "localhost", "127.0.0.1", "[::1]", "169.254.169.254", "x", "",
)  # fmt: skip
BETWEEN = (".", ".", ".", ".", "@", "/", ":443", "%2e", "#", "?", "\\", "\u3002", "\uff0e", "\r\n", " ", "\x00")


@st.composite
def places(draw: Callable[[Any], Any]) -> str:
    """Something like a host or a region, and often not."""
    pieces = draw(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=5))
    return "".join(piece + draw(st.sampled_from(BETWEEN)) for piece in pieces[:-1]) + pieces[-1]


HOSTS = st.sampled_from(sorted(KNOWN)) | st.sampled_from(("sts.s3.amazonaws.com", "x.global.amazonaws.com")) | places()


class Recording:
    """urllib3's pool manager, which keeps where it was sent to and says no."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def request(self, _method: str, url: str, *, redirect: bool, **_: Any) -> Any:
        assert not redirect
        self.urls.append(url)
        body = BytesIO(b'{"Error": {"Code": "AccessDenied", "Message": "x"}}')
        return SimpleNamespace(status=403, headers={}, read=body.read, close=body.close)


@given(HOSTS, st.sampled_from(("aws", "aws-cn", "aws-us-gov")), st.sampled_from((None, "eu-west-1", "eu-west-9")))
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_token_is_sent_to_sts_of_a_known_region_or_to_nobody(
    monkeypatch: pytest.MonkeyPatch, host: str, partition: str, region: str | None
) -> None:
    recording = Recording()
    monkeypatch.setattr(sts, "_pool", lambda *_: recording)
    scope = f"ASIAX/20260203/{endpoints.region_of_sts_host(host) or 'us-east-1'}/sts/aws4_request"
    text = token(base=f"https://{host}/", X_Amz_Credential=scope)

    with pytest.raises(EksTokenError):
        verify_token(text, cluster_name="analytics", partition=partition, region=region, now=NOW)

    assert len(recording.urls) <= 1
    for url in recording.urls:
        assert urlsplit(url).netloc in KNOWN
        assert urlsplit(url).netloc == host
        assert (urlsplit(url).scheme, urlsplit(url).path) == ("https", "/")


def test_a_token_for_the_clusters_region_is_sent_there(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording()
    monkeypatch.setattr(sts, "_pool", lambda *_: recording)
    url = presign(CREDENTIALS, cluster_name="analytics", region="eu-west-1", now=NOW)

    with pytest.raises(EksTokenError, match="AccessDenied"):
        verify_token(encode_token(url), cluster_name="analytics", region="eu-west-1", now=NOW)

    assert [urlsplit(seen).netloc for seen in recording.urls] == ["sts.eu-west-1.amazonaws.com"]


@given(places(), st.booleans(), st.booleans())
def test_a_region_is_one_label_of_a_host_of_amazon_or_an_error(region: str, fips: bool, dual_stack: bool) -> None:  # noqa: FBT001 - drawn
    host = None
    try:
        host = endpoints.sts_host(region, fips=fips, dual_stack=dual_stack)
    except EksTokenError:
        return

    service, found, suffix = host.split(".", 2)
    assert (service in {"sts", "sts-fips"}, found, suffix in SUFFIXES) == (True, region, True)


@given(places(), places())
def test_what_is_signed_for_is_a_host_of_amazon_or_an_error(region: str, host: str) -> None:
    for options in ({"region": region}, {"region": "eu-west-1", "sts_host": host}):
        try:
            url = presign(CREDENTIALS, cluster_name="analytics", now=NOW, **options)
        except EksTokenError:
            continue
        name = urlsplit(url).netloc
        assert name == endpoints.GLOBAL_STS_HOST or name.split(".", 2)[2] in SUFFIXES


@given(places())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_region_from_outside_sends_no_keys_to_another_host(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    asked: list[str] = []

    def send(_self: Any, request: Any) -> Any:
        asked.append(urlsplit(request.url).netloc)
        raise OSError("recorded")

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", send)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    role = RoleHop("arn:aws:iam::222222222222:role/cross-account-role")

    with pytest.raises((EksTokenError, OSError)):
        describe_cluster(lambda: CREDENTIALS, "analytics", region=region)
    with pytest.raises((EksTokenError, OSError)):
        assume_roles(lambda: CREDENTIALS, [role], region=region)()

    assert all(name.split(".", 2)[2] in SUFFIXES and name.split(".")[0] in {"eks", "sts"} for name in asked)
