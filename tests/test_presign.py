from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import CREDENTIALS, NOW, assert_no_canary, botocore_url, moment, vectors

from eks_cross_account import encode_token, presign, violations
from eks_cross_account._partitions import PARTITIONS
from eks_cross_account.credentials import FrozenCredentials
from eks_cross_account.errors import ClusterError, CredentialsError, UnknownRegionError

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATION = vectors("generation")["generation"]
REGIONS = sorted(region for p in PARTITIONS for region in p.regions if not region.endswith("-global"))
CLUSTER_NAMES = st.from_regex(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}", fullmatch=True)
SESSION_TOKENS = st.none() | st.text(st.sampled_from("abcXYZ019+/=-_.~%&;"), min_size=1, max_size=400)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - as st asks


class _Clock(datetime):
    """botocore's clock: ``utcnow()`` in its old releases, ``get_current_datetime()`` in its new ones."""

    moment: datetime

    @classmethod
    def utcnow(cls) -> datetime:
        return cls.moment.replace(tzinfo=None)


@pytest.fixture(autouse=True, scope="module")
def botocore_clock() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    if hasattr(botocore.auth, "get_current_datetime"):
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: _Clock.moment.replace(tzinfo=None))
    else:
        patch.setattr(botocore.auth, "datetime", SimpleNamespace(datetime=_Clock))
    yield
    patch.undo()


def parameters(url: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True))


@given(
    access_key=st.from_regex(r"AKIA[A-Z2-7]{16}", fullmatch=True),
    secret_key=st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    session=SESSION_TOKENS,
    region=st.sampled_from(REGIONS),
    cluster_name=CLUSTER_NAMES,
    now=MOMENTS,
    expires_in=st.integers(0, 900),
)
@settings(max_examples=2000)
def test_a_url_is_botocores_in_parameters_and_signature(
    access_key: str,
    secret_key: str,
    session: str | None,
    region: str,
    cluster_name: str,
    now: datetime,
    expires_in: int,
) -> None:
    credentials = FrozenCredentials(access_key, secret_key, session)

    url = presign(credentials, cluster_name=cluster_name, region=region, now=now, expires_in=expires_in)

    _Clock.moment = now
    host = urlsplit(url).netloc
    theirs = botocore_url(credentials, cluster_name=cluster_name, host=host, region=region, expires_in=expires_in)
    assert parameters(url) == parameters(theirs)


@pytest.mark.parametrize(
    ("options", "host", "scope_region"),
    [
        ({"fips": True}, "sts-fips.us-west-2.amazonaws.com", "us-west-2"),
        ({"dual_stack": True}, "sts.us-west-2.api.aws", "us-west-2"),
        ({"fips": True, "dual_stack": True}, "sts-fips.us-west-2.api.aws", "us-west-2"),
        ({"region": "us-gov-west-1", "fips": True}, "sts.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ({"region": "cn-north-1", "dual_stack": True}, "sts.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
        ({"region": "us-iso-east-1", "fips": True}, "sts-fips.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ({"region": "eu-west-9"}, "sts.eu-west-9.amazonaws.com", "eu-west-9"),
        ({"sts_host": "sts.amazonaws.com"}, "sts.amazonaws.com", "us-east-1"),
        ({"sts_host": "sts.eu-west-1.amazonaws.com"}, "sts.eu-west-1.amazonaws.com", "eu-west-1"),
    ],
    ids=str,
)
def test_every_form_of_host_is_signed_as_botocore_signs_it(
    options: dict[str, Any], host: str, scope_region: str
) -> None:
    _Clock.moment = NOW

    url = sign(**options)

    assert urlsplit(url).netloc == host
    theirs = botocore_url(CREDENTIALS, cluster_name="prod-eks", host=host, region=scope_region)
    assert parameters(url) == parameters(theirs)


@pytest.mark.parametrize("options", [{"dual_stack": True}, {"fips": True, "dual_stack": True}], ids=str)
@pytest.mark.parametrize("region", ["us-iso-east-1", "us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1"])
def test_a_form_of_host_that_the_verifier_refuses_is_not_signed_for(region: str, options: dict[str, bool]) -> None:
    with pytest.raises(UnknownRegionError, match="dual-stack STS host that EKS accepts"):
        sign(region=region, **options)


@pytest.mark.parametrize("row", GENERATION, ids=[row["id"] for row in GENERATION])
def test_a_url_is_that_of_the_go_generator_to_the_byte(row: dict[str, Any]) -> None:
    given_ = row["input"]
    credentials = FrozenCredentials(
        given_["access_key_id"], given_["secret_access_key"], given_["session_token"] or None
    )

    url = presign(
        credentials,
        cluster_name=given_["cluster"],
        region=given_["region"],
        now=moment(given_["now"]),
        expires_in=given_["x_amz_expires"],
        fips=given_["use_fips"],
        dual_stack=given_["use_dualstack"],
    )

    assert url == row["go_url"]
    assert encode_token(url) == row["go_token"]


def sign(**changes: Any) -> str:
    options: dict[str, Any] = {"cluster_name": "prod-eks", "region": "us-west-2", "now": NOW, **changes}
    return presign(options.pop("credentials", CREDENTIALS), **options)


@pytest.mark.parametrize("name", ["a", "9", "A_b-c", "x" * 100])
def test_a_cluster_name_that_eks_allows_is_signed(name: str) -> None:
    assert sign(cluster_name=name).startswith("https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&")


@pytest.mark.parametrize(
    "name", ["", "-a", "_a", "a b", "a\n", "a\r\nx-evil: 1", "é", "x" * 101, "a.b", "a/b", None, 7,
             "arn:aws:eks:eu-west-1:222222222222:cluster/analytics"],
)  # fmt: skip
def test_a_name_that_no_cluster_has_is_refused(name: Any) -> None:
    with pytest.raises(ClusterError) as raised:
        sign(cluster_name=name)

    assert str(raised.value).isascii()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("region", ["us-east-1.evil.com", "x@evil", "us-east-1\r\n", "ünï", "", "nowhere"])
def test_an_impossible_region_is_refused(region: str) -> None:
    with pytest.raises(UnknownRegionError):
        sign(region=region)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"access_key": ""}, "no access key id"),
        ({"secret_key": ""}, "no secret access key"),
        ({"token": None}, "its session token is missing"),
        ({"token": ""}, "its session token is missing"),
    ],
)
def test_credentials_that_cannot_sign_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as raised:
        sign(credentials=replace(CREDENTIALS, **changes))

    assert_no_canary(str(raised.value))


def test_why_credentials_cannot_sign_is_said_whole() -> None:
    class Refreshing:
        access_key = secret_key = token = "x"

        def refresh_needed(self) -> bool:
            return False

    with pytest.raises(TypeError) as tearing:
        sign(credentials=Refreshing())
    with pytest.raises(CredentialsError) as incomplete:
        sign(credentials=replace(CREDENTIALS, token=None))

    assert str(tearing.value) == (
        "these credentials refresh themselves, so key and session token can belong to two sessions: pass "
        "credentials.get_frozen_credentials()"
    )
    assert str(incomplete.value) == (
        f"access key id ...{CREDENTIALS.access_key[-4:]} is temporary (ASIA) but its session token is missing: set "
        "AWS_SESSION_TOKEN beside the key, or pass all three"
    )
    assert incomplete.value.rule == "sts_session_token"


@pytest.mark.parametrize(
    ("field", "name"),
    [("access_key", "access key id"), ("secret_key", "secret access key"), ("token", "session token")],
)
def test_which_part_of_the_credentials_was_copied_badly_is_said(field: str, name: str) -> None:
    with pytest.raises(CredentialsError) as raised:
        sign(credentials=replace(CREDENTIALS, **{field: "x y"}))

    assert str(raised.value) == (f"the {name} has a blank, a line end or a non-ASCII character in it: copy it again")


def test_a_moment_without_a_time_zone_is_no_moment() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is compared
        sign(now=NOW.replace(tzinfo=None))

    assert str(raised.value) == "now has no time zone: pass an aware datetime, such as datetime.now(UTC)"


@pytest.mark.parametrize("bad", [" x", "x\n", "x\r\ny", "x\x00", "\u00e9", "x y"], ids=ascii)
@pytest.mark.parametrize("field", ["access_key", "secret_key", "token"])
def test_credentials_that_were_copied_badly_are_refused_without_showing_them(field: str, bad: str) -> None:
    credentials = replace(CREDENTIALS, **{field: f"canary{bad}"})

    with pytest.raises(CredentialsError, match="copy it again") as raised:
        sign(credentials=credentials)

    assert_no_canary(str(raised.value))


def test_a_key_id_that_is_none_is_refused() -> None:
    with pytest.raises(CredentialsError, match="are key id and secret swapped"):
        sign(credentials=FrozenCredentials("canary/secret+key", "AKIAEXAMPLE"))


def test_a_user_key_needs_no_session_token() -> None:
    assert "X-Amz-Security-Token" not in sign(credentials=FrozenCredentials("AKIAEXAMPLEEXAMPLE02", "secret"))


def test_the_largest_token_fits_and_a_byte_more_names_the_session_tokens_size() -> None:
    """4096 itself cannot be reached: a URL of 3063 bytes makes 4095, one of 3064 makes 4097."""
    fits, too_long = (replace(CREDENTIALS, token="t" * size) for size in (2680, 2681))

    largest = encode_token(sign(credentials=fits))

    assert len(largest) == 4095
    assert violations(largest, now=NOW) == ()
    with pytest.raises(CredentialsError, match=r"would have 4097 bytes .* the session token has 2681 bytes") as raised:
        sign(credentials=too_long)
    assert raised.value.rule == "too_large"
    assert "tttt" not in str(raised.value)


def test_what_the_size_counts_is_the_session_token_as_it_is_quoted() -> None:
    """Every ``/`` becomes ``%2F``, so a third of the bytes is already too many."""
    fits, too_long = (replace(CREDENTIALS, token="/" * size) for size in (893, 894))

    assert len(encode_token(sign(credentials=fits))) == 4094
    with pytest.raises(CredentialsError, match="the session token has 894 bytes"):
        sign(credentials=too_long)


def test_credentials_that_refresh_themselves_are_refused() -> None:
    """Key and session token are two reads, and a refresh may come between them."""
    refreshable = RefreshableCredentials("AKIA", "s", "t", datetime.now(UTC) + timedelta(hours=1), dict, "test")

    with pytest.raises(TypeError, match="get_frozen_credentials"):
        sign(credentials=refreshable)


def test_botocores_frozen_triple_is_taken() -> None:
    frozen = ReadOnlyCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token)

    assert sign(credentials=frozen) == sign()


@pytest.mark.parametrize("expires_in", [0, 1, 60, 900])
def test_an_expiry_that_the_verifier_takes_is_signed_as_given(expires_in: int) -> None:
    assert ("X-Amz-Expires", str(expires_in)) in parameters(sign(expires_in=expires_in))


@pytest.mark.parametrize("expires_in", [-1, 901, 3600, 1.5, True, "60"])
def test_an_expiry_that_the_verifier_refuses_is_not_signed(expires_in: Any) -> None:
    with pytest.raises(ValueError, match="expires_in must be 0 to 900"):
        sign(expires_in=expires_in)


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        sign(now=datetime(2026, 2, 3))  # noqa: DTZ001 - the mistake that is meant


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    assert sign(now=NOW.astimezone(timezone(timedelta(hours=9)))) == sign()


@pytest.mark.parametrize(
    "host",
    ["sts.us-west-2.amazonaws.com:443", "localhost:4566", "vpce-1.sts.us-west-2.vpce.amazonaws.com", "evil.com",
     "sts.cn-north-1.amazonaws.com.cn", "sts.global.evil.com", "sts.s3.amazonaws.com", "",
     "sts.us-west-2.amazonaws.com\n", "STS.us-west-2.amazonaws.com", "x@sts.us-west-2.amazonaws.com",
     "sts.us-west-2.amazonaws.com.", "amazonaws.com"],
)  # fmt: skip
def test_a_host_that_is_not_sts_of_the_partition_is_not_signed_for(host: str) -> None:
    with pytest.raises(UnknownRegionError, match="leave sts_host out"):
        sign(sts_host=host)


def test_the_scope_is_the_hosts_region() -> None:
    assert "%2Feu-west-1%2Fsts%2F" in sign(sts_host="sts.eu-west-1.amazonaws.com")
    assert "%2Fus-east-1%2Fsts%2F" in sign(sts_host="sts.amazonaws.com")


@pytest.mark.parametrize("form", ["fips", "dual_stack"])
def test_a_host_and_a_form_of_host_contradict_each_other(form: str) -> None:
    with pytest.raises(ValueError, match="sts_host says which form"):
        sign(sts_host="sts.us-west-2.amazonaws.com", **{form: True})


def test_signing_reads_neither_clock_nor_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://localhost:4566")

    assert sign() == sign()
    assert sign().startswith("https://sts.us-west-2.amazonaws.com/?")
    assert "botocore" in sys.modules  # by this test, not by the package: see test_architecture


HINT = "(this looks like an ARN: the name is the part after ':cluster/')"


@pytest.mark.parametrize(("name", "hinted"), [("arn:aws:eks:eu-west-1:222222222222:cluster/c", True), ("a b", False)])
def test_an_arn_for_a_name_is_told_from_a_wrong_name(name: str, hinted: bool) -> None:  # noqa: FBT001 - a column
    with pytest.raises(ClusterError) as raised:
        sign(cluster_name=name)

    assert (f"EKS cluster {HINT}: expected" in str(raised.value)) == hinted


def test_a_host_and_a_form_of_host_are_one_too_many() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is compared
        sign(sts_host="sts.us-west-2.amazonaws.com", fips=True)

    assert str(raised.value) == "sts_host says which form of name is meant: give either it or fips/dual_stack"
