from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import CREDENTIALS, NOW, SIGNATURE, assert_no_canary, token, token_of, url

from eks_cross_account import EksToken, MalformedTokenError, decode_token, encode_token, presign, violations
from eks_cross_account.token import amz_date_ns

GOOD = token()
MALFORMED = {"too_large", "prefix", "base64", "url_parse"}


def test_a_good_token_says_all_of_itself() -> None:
    decoded = decode_token(GOOD)

    assert decoded._asdict() == {
        "sts_host": "sts.us-west-2.amazonaws.com",
        "region": "us-west-2",
        "access_key_id": "ASIAEXAMPLEEXAMPLE01",
        "credential_scope": "20260203/us-west-2/sts/aws4_request",
        "issued_at": NOW,
        "expiration": NOW + timedelta(minutes=15),
        "expires_in": 60,
        "signed_headers": ("host", "x-k8s-aws-id"),
        "has_session_token": True,
        "size_bytes": len(GOOD),
    }


def test_what_is_encoded_is_decoded() -> None:
    made = encode_token(presign(CREDENTIALS, cluster_name="prod-eks", region="eu-west-1", now=NOW))

    decoded = decode_token(made)

    assert (decoded.sts_host, decoded.issued_at) == ("sts.eu-west-1.amazonaws.com", NOW)


@pytest.mark.parametrize(
    ("changes", "unreadable"),
    [
        ({"base": "https://evil.com/"}, {"region"}),
        ({"base": "https://e!vil.com/"}, {"sts_host", "region"}),
        ({"without": "X-Amz-Credential"}, {"access_key_id", "credential_scope"}),
        ({"X_Amz_Credential": "a/b"}, {"access_key_id", "credential_scope"}),
        ({"query": "&X-Amz-Credential=b/1/2/3/4"}, {"access_key_id", "credential_scope"}),
        ({"X_Amz_Credential": "/20260203/us-west-2/sts/aws4_request"}, {"access_key_id"}),
        ({"X_Amz_Date": "yesterday"}, {"issued_at", "expiration"}),
        ({"X_Amz_Date": "99991231T235959Z"}, {"expiration"}),
        ({"X_Amz_Date": "00000101T000000Z"}, {"issued_at", "expiration"}),
        ({"X_Amz_Expires": "6_0"}, {"expires_in"}),
        ({"without": "X-Amz-Expires"}, {"expires_in"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_what_cannot_be_read_is_none_and_the_rest_is_there(changes: dict[str, str], unreadable: set[str]) -> None:
    decoded = decode_token(token(**changes))._asdict()

    assert {name for name, value in decoded.items() if value is None} == unreadable


def test_what_is_not_there_is_neither_a_header_nor_a_session_token() -> None:
    assert decode_token(token(without="X-Amz-SignedHeaders")).signed_headers == ()
    assert not decode_token(token(without="X-Amz-Security-Token")).has_session_token
    assert not decode_token(token(X_Amz_Security_Token="")).has_session_token


def test_a_header_name_that_could_carry_anything_is_not_shown() -> None:
    assert decode_token(token(X_Amz_SignedHeaders="host;\x1b[31mred")).signed_headers == ("host", "(unreadable)")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "prefix"),
        ("Bearer " + GOOD, "prefix"),
        ("K8S-AWS-V1." + GOOD[11:], "prefix"),
        (" " + GOOD, "prefix"),
        (GOOD + "=", "base64"),
        (GOOD + " ", "base64"),
        ("k8s-aws-v1.A", "base64"),
        ("k8s-aws-v1." + "A" * 4086, "too_large"),
        (token_of("https://exa mple.com/"), "url_parse"),
        (token_of("https://sts.us-west-2.amazonaws.com/\n"), "url_parse"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_no_token_says_where_reading_ended(text: str, rule: str) -> None:
    with pytest.raises(MalformedTokenError) as raised:
        decode_token(text)

    assert raised.value.rule == rule
    assert str(raised.value).isascii()


NO_PREFIX = "token does not start with 'k8s-aws-v1.'"
NO_BASE64 = "the part after the prefix is not base64url: "
OTHER_CASE = f"{NO_PREFIX}: it is spelled in another case, or something stands before it"
STANDARD = f"{NO_BASE64}it has '+' or '/', so it is standard base64 (use the URL alphabet)"
BLANKS = f"{NO_BASE64}it has blanks, so something was printed around or into the token"
HINTS = [
    ("nothing", "", NO_PREFIX),
    ("a word", "x", NO_PREFIX),
    ("blanks before a word", " x", f"{NO_PREFIX}: it has blanks in front"),
    ("blanks", " " + GOOD, OTHER_CASE),
    ("upper case", "K8S-AWS-V1.x", OTHER_CASE),
    ("a header's value", "Bearer " + GOOD, f"{NO_PREFIX}: give the token without 'Bearer'"),
    ("a header", "Authorization: Bearer x", f"{NO_PREFIX}: give the token without the header's name"),
    ("JSON", '{"kind"', f"{NO_PREFIX}: this looks like JSON; the token is its status.token"),
    ("bytes", "b'" + GOOD, f"{NO_PREFIX}: this is a Python bytes literal; decode it first"),
    ("quotes", f'"{GOOD}"', f"{NO_PREFIX}: it is in quotes"),
    ("None", "None", f"{NO_PREFIX}: no token was made"),
    ("a URL", "https://sts", f"{NO_PREFIX}: this is the URL itself; it must be encoded"),
    ("a JWT", "eyJhbGci", f"{NO_PREFIX}: this looks like a service account's JWT, which is another kind of token"),
    ("padding", GOOD + "=", f"{NO_BASE64}it has '=' padding, which the verifier refuses (strip it)"),
    ("plus", GOOD[:60] + "+" + GOOD[61:], STANDARD),
    ("slash", GOOD[:60] + "/" + GOOD[61:], STANDARD),
    ("a blank", GOOD[:60] + " " + GOOD[61:], BLANKS),
    ("a tab behind", GOOD + "\t", BLANKS),
    ("a tilde", GOOD[:60] + "~" + GOOD[61:], f"{NO_BASE64}it has characters of neither alphabet"),
    ("cut", "k8s-aws-v1.aaaaa", f"{NO_BASE64}it was cut off"),
    ("5,000 bytes", "x" * 5000, "token has 5000 bytes, the verifier takes at most 4096"),
]


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in HINTS], ids=[row[0] for row in HINTS])
def test_what_is_no_token_says_what_it_may_be(text: str, message: str) -> None:
    with pytest.raises(MalformedTokenError) as raised:
        decode_token(text)

    assert str(raised.value) == message


@pytest.mark.parametrize("text", [None, b"k8s-aws-v1.", 7])
def test_what_is_not_text_is_refused_as_malformed(text: object) -> None:
    with pytest.raises(MalformedTokenError):
        decode_token(text)  # type: ignore[arg-type]


def only_our_errors(text: str) -> None:
    """Nothing but our error comes out, rules agree with it, and all of it can be printed."""
    found = violations(text, now=NOW)
    refused = ""
    try:
        decoded = decode_token(text)
        shown = f"{decoded} {decoded._asdict()}"
    except MalformedTokenError as error:
        refused = error.rule
        shown = f"{error} {error!r}"

    malformed = [violation.rule for violation in found if violation.rule in MALFORMED]
    assert malformed == ([refused] if refused else [])
    assert len(found) == 1 or not refused
    shown += "".join(f"{violation.message} {violation.remedy}" for violation in found)
    assert shown.isascii()
    assert shown.isprintable()


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=1000)
def test_any_text_is_decoded_or_refused_by_our_error(text: str) -> None:
    only_our_errors(text)


@given(st.binary(max_size=3000))
@settings(max_examples=1000)
def test_any_bytes_behind_the_prefix_are_decoded_or_refused_by_our_error(raw: bytes) -> None:
    only_our_errors("k8s-aws-v1." + urlsafe_b64encode(raw).rstrip(b"=").decode())


@given(st.data())
@settings(max_examples=2000)
def test_any_change_to_a_good_url_is_decoded_or_refused_by_our_error(data: st.DataObject) -> None:
    text = url()
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 8))
    put = data.draw(
        st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["%", "%zz", ";", "&&", "[", "@"])
    )

    only_our_errors(token_of(text[:start] + put + text[start + length :]))


@given(at=st.integers(0, len(GOOD)), cut=st.integers(0, 8), put=st.text(st.characters(), max_size=4))
@settings(max_examples=1000)
def test_any_change_to_a_good_token_is_decoded_or_refused_by_our_error(at: int, cut: int, put: str) -> None:
    only_our_errors(GOOD[:at] + put + GOOD[at + cut :])


@pytest.mark.parametrize(
    "changes",
    [{}, {"X_Amz_Date": "20260203T030000Z"}, {"Action": "x"}, {"X_Amz_Expires": "901"}, {"query": "&canary=1;"},
     {"base": "https://u@localhost:4566/"}, {"base": "https://sts.us-west-2.amazonaws.com/%zz"},
     {"X_Amz_SignedHeaders": "host"}, {"query": "&X-Amz-Signature=" + SIGNATURE}],
    ids=str,
)  # fmt: skip
def test_nothing_that_can_be_printed_holds_a_secret(changes: dict[str, str]) -> None:
    text = token(**changes)

    try:
        decoded = decode_token(text)
        shown = f"{decoded} {decoded!r} {decoded._asdict()}"
    except MalformedTokenError as error:
        shown = f"{error} {error!r} {error.__cause__!r}"
    if "canary" not in changes.get("query", ""):
        shown += "".join(f"{violation!r} {violation}" for violation in violations(text, now=NOW))

    assert_no_canary(shown.replace("X-Amz-SignedHeaders", ""))
    assert "https://sts" not in shown.replace("https://sts.<region>", "")


LOST_SEPARATORS = [
    ("expires", "X-Amz-Expires=60", "X-Amz-Security-Token="),
    ("date", "X-Amz-Date=20260203T040506Z", "X-Amz-Signature="),
    ("action", "Action=GetCallerIdentity", "X-Amz-Security-Token="),
    ("signed headers", "X-Amz-SignedHeaders=host%3Bx-k8s-aws-id", "X-Amz-Signature="),
]


@pytest.mark.parametrize("separator", ["", "%26"], ids=["lost", "escaped"])
@pytest.mark.parametrize(
    ("before", "after"), [row[1:] for row in LOST_SEPARATORS], ids=[row[0] for row in LOST_SEPARATORS]
)
def test_a_secret_that_ran_into_another_parameter_is_not_shown(before: str, after: str, separator: str) -> None:
    """One '&' lost between two parameters makes the second one a part of the first one's value."""
    query = url().partition("?")[2].split("&")
    secret = next(parameter for parameter in query if parameter.startswith(after))
    others = [parameter for parameter in query if parameter not in {before, secret}]

    found = violations(
        token_of("https://sts.us-west-2.amazonaws.com/?" + "&".join([*others, before + separator + secret])), now=NOW
    )

    assert found
    for violation in found:
        assert "canary" not in violation.message
        assert SIGNATURE[:8] not in violation.message


def test_a_token_hides_its_value() -> None:
    made = EksToken(GOOD, datetime(2026, 2, 3, tzinfo=UTC))

    assert str(made) == repr(made) == f"{made}"
    assert repr(made) == "EksToken(expiration=datetime.datetime(2026, 2, 3, 0, 0, tzinfo=datetime.timezone.utc))"
    assert made.bearer == "Bearer " + GOOD


@pytest.mark.parametrize("year", [399, 400, 401, 1970, 2000])
def test_a_date_is_that_of_the_calendar_on_both_sides_of_a_cycle(year: int) -> None:
    moment = datetime(year, 3, 1, 4, 5, 6, tzinfo=UTC)

    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert amz_date_ns(f"{year:04d}0301T040506Z") == seconds * 10**9
