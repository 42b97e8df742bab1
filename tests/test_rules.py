"""The verifier's rules against its own verdicts, and the Go quirks that a re-implementation gets wrong, a row each."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import CREDENTIALS, NOW, cases, moment, token, token_of, url

from eks_cross_account import encode_token, presign, violations
from eks_cross_account._partitions import PARTITIONS
from eks_cross_account.rules import STS_RULES, VERIFIER_RULES

CASES = cases("token")
BASE = "https://sts.us-west-2.amazonaws.com/"
GLOBAL = "https://sts.amazonaws.com/"


def rules(text: str, **options: Any) -> list[str]:
    return [violation.rule for violation in violations(text, now=options.pop("now", NOW), **options)]


def payload(raw: bytes) -> str:
    return "k8s-aws-v1." + urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_there_are_as_many_cases_as_were_copied() -> None:
    assert len(CASES) == 121


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_token_is_refused_exactly_when_the_verifier_refuses_it_offline(case: dict[str, Any]) -> None:
    server = case["server_config"]
    stage = case["stage"] if case["expect"] == "reject" else None
    offline = None if stage in {"sts", "sts_throttled"} else stage

    found = violations(
        case["input"]["token"], now=moment(server["clock"]), partition=server["partition"], region=server["region"]
    )

    broken = [violation.rule for violation in found if violation.judge == "verifier"]
    if "error_text_varies" in json.dumps(case):
        assert bool(broken) == bool(offline)
    else:
        assert broken[:1] == ([offline] if offline else [])


QUIRKS = [
    ("plus in the payload", token()[:60] + "+" + token()[61:], ["base64"]),
    ("slash in the payload", token()[:60] + "/" + token()[61:], ["base64"]),
    ("space in the payload", token()[:60] + " " + token()[61:], ["base64"]),
    ("tab in the payload", token()[:60] + "\t" + token()[61:], ["base64"]),
    ("padding", token() + "=", ["base64"]),
    ("dash and underscore in the payload", token(query="#?~?>\u00ff"), []),
    ("line ends in the payload", token()[:60] + "\r\n" + token()[60:] + "\n", []),
    ("raw semicolon in the query", token(query=";x=1"), ["query"]),
    ("escaped semicolon in a value", token(Version="2011-06-15;x=1"), []),
    ("bad escape %gh", token(query="&Version=%gh"), ["query"]),
    ("cut escape %2", token(query="&Version=%2"), ["query"]),
    ("line end in the URL", token(base="https://sts.us-west-2.amazonaws.com\n/"), ["url_parse"]),
    ("tab in the URL", token(base="https://sts.us-west-2.amazonaws.com/\t"), ["url_parse"]),
    ("upper-case host", token(base="https://STS.us-west-2.amazonaws.com/"), ["host"]),
    ("port 443", token(base="https://sts.us-west-2.amazonaws.com:443/"), ["host"]),
    ("trailing dot", token(base="https://sts.us-west-2.amazonaws.com./"), ["host"]),
    ("user name", token(base="https://User@sts.us-west-2.amazonaws.com/"), ["sts_userinfo"]),
    ("blanks around the number", token(X_Amz_Expires=" 60 "), ["expires"]),
    ("underscore in the number", token(X_Amz_Expires="6_0"), ["expires"]),
    ("Arabic digits", token(X_Amz_Expires="٦٠"), ["expires"]),
    ("sign before the number, unescaped, is a blank", token(without="X-Amz-Expires", query="&X-Amz-Expires=+60"),
     ["expires"]),
    ("leading zeros", token(X_Amz_Expires="0060"), []),
    ("fraction of a second", token(X_Amz_Expires="60.0"), ["expires"]),
    ("more digits than a Python int may have", token(X_Amz_Expires="9" * 2200), ["expires"]),
    ("negative", token(X_Amz_Expires="-1"), ["expires"]),
    ("sign before the number", token(X_Amz_Expires="+60"), []),
    ("no life at all", token(X_Amz_Expires="0"), []),
    ("fraction after a dot", token(X_Amz_Date="20260203T040406.5Z"), []),
    ("fraction after a comma", token(X_Amz_Date="20260203T040406,5Z"), []),
    ("dot without a fraction", token(X_Amz_Date="20260203T040406.Z"), ["date_format"]),
    ("leap second", token(X_Amz_Date="20260203T035960Z"), ["date_format"]),
    ("hour 24", token(X_Amz_Date="20260203T240000Z"), ["date_format"]),
    ("minute 60", token(X_Amz_Date="20260203T046000Z"), ["date_format"]),
    ("day 0", token(X_Amz_Date="20260200T040406Z"), ["date_format"]),
    ("month 13", token(X_Amz_Date="20261303T040406Z"), ["date_format"]),
    ("year 0", token(X_Amz_Date="00000101T000000Z"), ["date_expired"]),
    ("date with Arabic digits", token(X_Amz_Date="\u0662\u0660\u0662\u06660203T040406Z"), ["date_format"]),
    ("blank behind the date", token(X_Amz_Date="20260203T040406Z "), ["date_format"]),
    ("date without leading zeros", token(X_Amz_Date="202623T040406Z"), ["date_format"]),
    ("lower-case t", token(X_Amz_Date="20260203t040406Z"), ["date_format"]),
    ("lower-case z", token(X_Amz_Date="20260203T040406z"), ["date_format"]),
    ("Kelvin sign in a name", token(without="X-Amz-Security-Token", query="&X-Amz-Security-To\u212aen=s"), []),
    ("dotted capital I in a name", token(without="Action", query="&Act\u0130on=GetCallerIdentity"), []),
    ("dotless i in a name", token(without="Action", query="&Act\u0131on=GetCallerIdentity"), ["param", "action"]),
    ("long s in a name", token(without="X-Amz-Expires", query="&X-Amz-Expire\u017f=60"), ["param", "expires"]),
    ("long s and Kelvin sign in a header", token(X_Amz_SignedHeaders="host;x-\u212a8\u017f-aws-id"),
     ["sts_signed_headers"]),
    ("second label global", token(base="https://[::1%25.global.x]/"), []),
    ("second label global, and a byte that no zone may have when written out again",
     token(base="https://[::1%25.global.\u00e9]/"), ["host"]),
    ("that byte in no zone", token(base="https://x.global.\u00e9/"), []),
    ("that host, said last", token(base="https://[::1%25.global.\u00e9]/", Action=""), ["action", "host"]),
    ("an address", token(base="https://[::1]/"), ["host"]),
    ("an address without an end", token(base="https://[::1/"), ["url_parse"]),
    ("an address and a port that is no number", token(base="https://[::1]:x/"), ["url_parse"]),
    ("an address that is none", token(base="https://[::g]/"), ["url_parse"]),
    ("an escape in an address", token(base="https://[::1%41]/"), ["url_parse"]),
    ("no zone", token(base="https://[::1%25]/"), ["url_parse"]),
    ("a bad escape in a zone", token(base="https://[::1%25%zz]/"), ["url_parse"]),
    ("a letter escaped in a zone", token(base="https://[::1%25%41]/"), ["host"]),
    ("a blank escaped in a zone", token(base="https://[::1%25%20]/"), ["host"]),
    ("a star is a path", token_of("*"),
     ["scheme", "host", "path", "action", "signed_headers", "expires", "date_missing"]),
    ("fragment", token(query="#here"), []),
    ("upper-case scheme", token(base="HTTPS://sts.us-west-2.amazonaws.com/"), []),
    ("host behind the user name", token(base="https://sts.us-west-2.amazonaws.com@evil.com/"),
     ["host", "sts_userinfo"]),
    ("blank in the host", token(base="https://sts.us-west-2.amazonaws.com /"), ["url_parse"]),
    ("escaped dot in the host", token(base="https://sts%2eus-west-2.amazonaws.com/"), ["url_parse"]),
    ("port that is no number", token(base="https://sts.us-west-2.amazonaws.com:x/"), ["url_parse"]),
    ("question mark in the query", token(base="https://sts.us-west-2.amazonaws.com/?"), ["param", "action"]),
    ("empty segments", token(query="&&"), []),
    ("escaped slash as path", token(base="https://sts.us-west-2.amazonaws.com/%2f"), ["path"]),
    ("double slash as path", token(base="https://sts.us-west-2.amazonaws.com//"), ["path"]),
    ("dot as path", token(base="https://sts.us-west-2.amazonaws.com/."), ["path"]),
    ("no path", token(base="https://sts.us-west-2.amazonaws.com"), ["path"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "broken"), [row[1:] for row in QUIRKS], ids=[row[0] for row in QUIRKS])
def test_go_reads_it_otherwise_than_python(text: str, broken: list[str]) -> None:
    found = rules(text)

    verifier = [rule for rule in found if rule in VERIFIER_RULES]
    assert verifier == [rule for rule in broken if rule in VERIFIER_RULES]
    assert set(broken) <= set(found)


ONE_WRONG = [
    ("too_large", token_of(url() + "&" * 4000)),
    ("prefix", "Bearer " + token()),
    ("base64", token() + "=="),
    ("url_parse", token(base="https://sts us.amazonaws.com/")),
    ("scheme", token(base="http://sts.us-west-2.amazonaws.com/")),
    ("host", token(base="https://localhost.us-west-2.example.com/")),
    ("host_region", token(base="https://sts.-.amazonaws.com/")),
    ("host_partition", token(base="https://sts.cn-north-1.amazonaws.com.cn/")),
    ("path", token(base=BASE + "x")),
    ("query", token(query="&%")),
    ("dup_case", token(query="&action=GetCallerIdentity")),
    ("param", token(query="&x-k8s-aws-id=prod-eks")),
    ("dup", token(query="&Action=GetCallerIdentity")),
    ("action", token(Action="getcalleridentity")),
    ("signed_headers", token(X_Amz_SignedHeaders="host")),
    ("expires", token(X_Amz_Expires="901")),
    ("date_missing", token(without="X-Amz-Date")),
    ("date_format", token(X_Amz_Date="2026-02-03T04:05:06Z")),
    ("date_expired", token(X_Amz_Date="20260203T035005Z")),
    ("sts_signed_headers", token(X_Amz_SignedHeaders="amz-sdk-request;host;x-k8s-aws-id")),
    ("sts_scope_host", token(X_Amz_Credential="ASIAX/20260203/eu-west-1/sts/aws4_request")),
    ("sts_scope_date", token(X_Amz_Credential="ASIAX/20260204/us-west-2/sts/aws4_request")),
    ("sts_key_id", token(X_Amz_Credential="/20260203/us-west-2/sts/aws4_request")),
    ("sts_session_token", token(without="X-Amz-Security-Token")),
    ("sts_future", token(X_Amz_Date="20260203T041007Z")),
    ("sts_userinfo", token(base="https://a:b@sts.us-west-2.amazonaws.com/")),
]


@pytest.mark.parametrize(("rule", "text"), ONE_WRONG, ids=[row[0] for row in ONE_WRONG])
def test_one_thing_wrong_is_found_and_named_first(rule: str, text: str) -> None:
    found = violations(text, now=NOW)

    assert found[0].rule == rule
    assert found[0].judge == ("sts" if rule.startswith("sts_") else "verifier")
    assert found[0].message
    assert found[0].remedy


def test_the_global_endpoint_is_for_partition_aws_only() -> None:
    text = token(base="https://sts.amazonaws.com/", X_Amz_Credential="ASIAX/20260203/us-east-1/sts/aws4_request")

    assert rules(text) == []
    assert rules(text, partition="aws-us-gov") == ["host_global"]


NEAR = [
    ("accept may be signed too", {"X_Amz_SignedHeaders": "accept;host;x-k8s-aws-id"}),
    ("a user key has no session token",
     {"without": "X-Amz-Security-Token", "X_Amz_Credential": "AKIAX/20260203/us-west-2/sts/aws4_request"}),
    ("five minutes ahead", {"X_Amz_Date": "20260203T041006Z"}),
    ("exactly fifteen minutes old", {"X_Amz_Date": "20260203T035006Z"}),
    ("nine hundred seconds", {"X_Amz_Expires": "900"}),
    ("a region that is not the cluster's",
     {"base": "https://sts.eu-west-1.amazonaws.com/", "X_Amz_Credential": "AKIAX/20260203/eu-west-1/sts/aws4_request"}),
]  # fmt: skip


@pytest.mark.parametrize("changes", [row[1] for row in NEAR], ids=[row[0] for row in NEAR])
def test_what_looks_wrong_but_is_right_breaks_nothing(changes: dict[str, str]) -> None:
    assert rules(token(**changes), region="us-west-2") == []


STS_NEAR = [
    ("sts_signed_headers", {"X_Amz_SignedHeaders": "accept;host;x-k8s-aws-id"},
     {"X_Amz_SignedHeaders": "x-k8s-aws-id"}),
    ("sts_signed_headers", {}, {"X_Amz_SignedHeaders": "x-k8s-aws-id;host"}),  # SigV4 wants them sorted
    ("sts_scope_host", {"X_Amz_Credential": "AKIAX/20260203/us-west-2/sts/aws4_request"},
     {"X_Amz_Credential": "AKIAX/20260203/us-west-2/eks/aws4_request"}),
    ("sts_scope_host", {"base": GLOBAL, "X_Amz_Credential": "AKIAX/20260203/us-east-1/sts/aws4_request"},
     {"base": GLOBAL, "X_Amz_Credential": "AKIAX/20260203/aws-global/sts/aws4_request"}),
    ("sts_scope_date",
     {"X_Amz_Date": "20260202T235959Z", "X_Amz_Credential": "AKIAX/20260202/us-west-2/sts/aws4_request"},
     {"X_Amz_Date": "20260203T000000Z", "X_Amz_Credential": "AKIAX/20260202/us-west-2/sts/aws4_request"}),
    ("sts_key_id", {"X_Amz_Credential": "A/20260203/us-west-2/sts/aws4_request"},
     {"X_Amz_Credential": "/20260203/us-west-2/sts/aws4_request"}),
    ("sts_session_token", {"X_Amz_Security_Token": "s"}, {"X_Amz_Security_Token": ""}),
    ("sts_session_token",
     {"without": "X-Amz-Security-Token", "X_Amz_Credential": "AKIAX/20260203/us-west-2/sts/aws4_request"},
     {"without": "X-Amz-Security-Token"}),
    ("sts_future", {"X_Amz_Date": "20260203T000506Z"}, {"X_Amz_Date": "20260203T000506.000001Z"}),
    ("sts_userinfo", {"query": "#a@b"}, {"base": "https://@sts.us-west-2.amazonaws.com/"}),
    ("sts_userinfo", {"X_Amz_Security_Token": "a@b"}, {"base": "https://a:b@sts.us-west-2.amazonaws.com/"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "near", "wrong"), STS_NEAR, ids=[f"{row[0]} {number}" for number, row in enumerate(STS_NEAR)]
)
def test_a_rule_of_sts_speaks_at_what_is_wrong_and_is_silent_at_what_is_near(
    rule: str, near: dict[str, str], wrong: dict[str, str]
) -> None:
    """At midnight and five past: so that the day changes and the future begins within the rows."""
    now = moment("2026-02-03T00:00:06Z")
    fresh = {"X_Amz_Date": "20260203T000006Z"}

    assert rules(token(**{**fresh, **near}), now=now) == []
    assert rules(token(**{**fresh, **wrong}), now=now) == [rule]


def test_every_rule_of_sts_has_a_row() -> None:
    assert {row[0] for row in STS_NEAR} == set(STS_RULES)


def test_every_rule_has_a_token_that_breaks_it() -> None:
    assert {row[0] for row in ONE_WRONG} | {"host_global"} == {*VERIFIER_RULES, *STS_RULES}


@pytest.mark.parametrize(
    ("late", "broken"),
    [(timedelta(), []), (timedelta(microseconds=1), ["date_expired"]), (timedelta(milliseconds=1), ["date_expired"])],
)
def test_a_token_lives_fifteen_minutes_to_the_microsecond(late: timedelta, broken: list[str]) -> None:
    assert rules(token(), now=NOW + timedelta(minutes=15) + late) == broken


def test_a_fraction_of_a_second_lengthens_the_life_by_itself() -> None:
    half_past = token(X_Amz_Date="20260203T040506.5Z")
    end = NOW + timedelta(minutes=15, milliseconds=500)

    assert rules(half_past, now=end) == []
    assert rules(half_past, now=end + timedelta(microseconds=1)) == ["date_expired"]


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda partition: partition.name)
def test_a_token_of_ours_breaks_no_rule_in_any_region_of_its_partition(partition: Any) -> None:
    regions = [region for region in partition.regions if not region.endswith("-global")]
    forms = [{}, {"fips": True}]
    if partition.dual_stack_suffix:
        forms += [{"dual_stack": True}, {"fips": True, "dual_stack": True}]
    assert regions

    for region, form in product(regions, forms):
        made = encode_token(presign(CREDENTIALS, cluster_name="prod-eks", region=region, now=NOW, **form))
        assert rules(made, partition=partition.name, region=region) == []
        assert rules(made, partition=partition.name) == []


@given(
    text=st.text(st.characters(), max_size=40) | st.binary(max_size=200).map(payload) | st.just(token()),
    partition=st.sampled_from(["aws", "aws-cn", "aws-iso", "", "nowhere"]) | st.text(max_size=5),
    region=st.none()
    | st.sampled_from(["us-west-2", "eu-west-9", "global", "aws-global", "-", ""])
    | st.text(max_size=5),
    now=st.datetimes(timezones=st.just(UTC)),
)
@settings(max_examples=1000)
def test_no_token_no_cluster_and_no_moment_makes_the_rules_raise(
    text: str, partition: str, region: str | None, now: datetime
) -> None:
    for violation in violations(text, now=now, partition=partition, region=region):
        assert violation.rule in {*VERIFIER_RULES, *STS_RULES}
        assert violation.message
        assert violation.remedy


@pytest.mark.parametrize(
    ("now", "broken"),
    [(datetime.min.replace(tzinfo=UTC), "sts_future"), (datetime.max.replace(tzinfo=UTC), "date_expired")],
    ids=["the first", "the last"],
)
def test_the_ends_of_time_are_moments_too(now: datetime, broken: str) -> None:
    assert rules(token(), now=now) == [broken]


@given(st.data())
@settings(max_examples=1000)
def test_rules_are_reported_in_the_verifiers_order(data: st.DataObject) -> None:
    changes = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "base": st.sampled_from(["http://x/", "https://localhost/y", "https://sts.amazonaws.com", BASE]),
                "Action": st.text(max_size=3),
                "X_Amz_Expires": st.text(max_size=3),
                "X_Amz_Date": st.text(max_size=17),
                "X_Amz_SignedHeaders": st.text(max_size=20),
                "query": st.text(st.sampled_from("&=;%aA"), max_size=6),
            },
        )
    )

    found = rules(token(**changes))

    order = [*VERIFIER_RULES, *STS_RULES]
    positions = [order.index(rule) for rule in found]
    assert positions == sorted(positions)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "changes",
    [{"base": "https://\u202eevil\x1b.com/"}, {"Action": "\x1b[31m\u202e"}, {"query": "&\x00\u202e=1"},
     {"X_Amz_Date": "\x07" * 900}, {"X_Amz_Credential": "\u202e/x/y/z/\n"}],
    ids=str,
)  # fmt: skip
def test_hostile_text_is_shown_as_short_printable_ascii(changes: dict[str, str]) -> None:
    found = violations(token(**changes), now=NOW)

    assert found
    for violation in found:
        assert violation.message.isprintable()
        assert violation.message.isascii()
        assert len(violation.message) < 300
        assert violation.remedy.isprintable()
        assert violation.remedy.isascii()


# --- what a person reads

SAYS = [
    ("scheme", token(base="http://sts.us-west-2.amazonaws.com/"), ["the URL's scheme is 'http', not https"]),
    ("host", token(base="https://example.com/"), ["'example.com' is not a host name of STS"]),
    ("no host", token(base="https:///"), ["an empty host is not a host name of STS"]),
    ("host_region", token(base="https://sts..amazonaws.com/"),
     ["'sts..amazonaws.com' has no region where an STS name has one"]),
    ("host_partition, scope", token(base="https://sts.cn-north-1.amazonaws.com.cn/"),
     ["'sts.cn-north-1.amazonaws.com.cn' is not of the cluster's partition aws",
      "the host needs the scope cn-north-1/sts/aws4_request, the credential has 'us-west-2/sts/aws4_request'"]),
    ("no request", token(base="https://[::1%25.global.\u00e9]/"),
     [r"'[::1%.global.\xe9]' is not a host name of STS, and no request can be made to it",
      "the host is no STS name that this release knows, so no scope can be told to fit it"]),
    ("path", token(base="https://sts.us-west-2.amazonaws.com/x"), ["the URL's path is not '/'"]),
    ("query", token(query="&a=%gh"), ["the query has a raw ';' or a percent sign without two hex digits"]),
    ("three parameters", token(query="&a=1&b=2&c=3"), ["the verifier knows no parameter 'a', 'b', 'c'"]),
    ("four parameters", token(query="&a=1&b=2&c=3&d=4"), ["the verifier knows no parameter 'a', 'b', 'c' ..."]),
    ("dup_case", token(query="&action=GetCallerIdentity"),
     ["a parameter occurs twice, in different upper and lower case"]),
    ("dup", token(query="&Version=2011-06-15"), ["a parameter occurs more than once"]),
    ("action", token(Action="ListUsers"), ["Action is 'ListUsers', not 'GetCallerIdentity'"]),
    ("no action", token(without="Action"), ["Action is missing, not 'GetCallerIdentity'"]),
    ("48 characters", token(Action="a" * 48), [f"Action is '{'a' * 48}', not 'GetCallerIdentity'"]),
    ("49 characters", token(Action="a" * 49), [f"Action is '{'a' * 45}...', not 'GetCallerIdentity'"]),
    ("a lost separator", token(Action="List&X-Amz-Signature=5"), ["Action is 'List...', not 'GetCallerIdentity'"]),
    ("signed_headers", token(X_Amz_SignedHeaders="host"),
     ["the header x-k8s-aws-id (the cluster's name) was not signed"]),
    ("sts_signed_headers", token(X_Amz_SignedHeaders="host;x-k8s-aws-id;x-y"),
     ["signed headers are 'host;x-k8s-aws-id;x-y'; the cluster sends host, x-k8s-aws-id and accept and no other"]),
    ("expires", token(X_Amz_Expires="901"), ["X-Amz-Expires is '901'; it must be 0 to 900 seconds"]),
    ("no expires", token(without="X-Amz-Expires"), ["X-Amz-Expires is missing; it must be 0 to 900 seconds"]),
    ("no date", token(without="X-Amz-Date"), ["X-Amz-Date is missing"]),
    ("date", token(X_Amz_Date="yesterday"), ["X-Amz-Date is 'yesterday', not of the form 20060102T150405Z"]),
    ("no credential", token(without="X-Amz-Credential"),
     ["the host needs the scope us-west-2/sts/aws4_request, the credential has none",
      "the scope's day is missing, X-Amz-Date's is 20260203",
      "the access key id is empty: the signer had no credentials"]),
    ("no session token", token(without="X-Amz-Security-Token"),
     ["the access key id is temporary (ASIA...) but there is no X-Amz-Security-Token"]),
    ("user name", token(base="https://user@sts.us-west-2.amazonaws.com/"),
     ["the URL has a user name, which the verifier turns into a second Authorization header"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "messages"), [row[1:] for row in SAYS], ids=[row[0] for row in SAYS])
def test_a_violation_says_what_was_seen_and_what_was_expected(text: str, messages: list[str]) -> None:
    assert [violation.message for violation in violations(text, now=NOW)] == messages


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (timedelta(minutes=15), None),
        (timedelta(minutes=15, microseconds=1), "token expired less than a second ago"),
        (timedelta(minutes=15, seconds=1), "token expired 1 s ago"),
        (timedelta(minutes=16, seconds=59), "token expired 119 s ago"),
        (timedelta(minutes=17), "token expired 2 min ago"),
        (timedelta(minutes=134, seconds=59), "token expired 119 min ago"),
        (timedelta(minutes=135), "token expired 2 h ago"),
        (timedelta(days=2, minutes=14, seconds=59), "token expired 47 h ago"),
        (timedelta(days=2, minutes=15), "token expired 2 days ago"),
        (timedelta(minutes=-5), None),
        (timedelta(minutes=-5, microseconds=-1), "the token's date is 5 min in the future"),
        (timedelta(hours=-3), "the token's date is 3 h in the future"),
    ],
    ids=str,
)
def test_a_time_is_told_as_people_tell_it(later: timedelta, message: str | None) -> None:
    found = [violation.message for violation in violations(token(), now=NOW + later)]

    signed = " (signed 2026-02-03 04:05:06Z, good for 15 minutes)" if later > timedelta() else ""
    assert found == ([message + signed] if message else [])


REGIONAL = (
    "sign for the plain regional name, https://sts.<region>.<suffix of the partition>/, whatever endpoint URL the "
    "client is configured with (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS)"
)
REMINT = "mint a new token: eks-token-check token, or get_token()"
REMEDIES = {
    "too_large": "assume the role with fewer session tags, without a session policy, or over fewer hops: the session "
    "token is what grows",
    "prefix": "paste the token alone, from 'k8s-aws-v1.' to its end",
    "base64": "encode with base64.urlsafe_b64encode(...).rstrip(b'='), and keep other output off the token's line",
    "url_parse": REMINT,
    "scheme": REGIONAL,
    "host": REGIONAL,
    "host_region": REGIONAL,
    "host_partition": REGIONAL,
    "path": "sign https://<host>/?..., with that one slash",
    "query": "percent-encode every value",
    "param": "sign only what presign() signs; x-k8s-aws-id and other headers must stay headers, some presigners hoist "
    "them into the query",
    "dup_case": "sign a URL that has each parameter once",
    "dup": "sign a URL that has each parameter once",
    "action": "presign sts:GetCallerIdentity",
    "signed_headers": "add the header before signing, so that X-Amz-SignedHeaders is exactly host;x-k8s-aws-id",
    "expires": "sign with X-Amz-Expires=60",
    "date_missing": REMINT,
    "date_format": REMINT,
    "date_expired": f"{REMINT}; if it was new, this clock or the signer's is wrong",
    "sts_signed_headers": "sign exactly host;x-k8s-aws-id; switch off the SDK's middleware that adds headers "
    "(amz-sdk-request)",
    "sts_scope_date": "read the clock once for both",
    "sts_key_id": "find out why none were found",
    "sts_session_token": "pass all three of key, secret and session token (AWS_SESSION_TOKEN) to the signer",
    "sts_future": "set the signer's clock (NTP)",
    "sts_userinfo": "sign a URL without anything before the host",
}


def test_a_violation_says_what_to_do() -> None:
    texts = [row[1] for row in SAYS] + ["x", "k8s-aws-v1.=", token_of(":"), "k8s-aws-v1." + "A" * 5000]
    moved = [violations(token(), now=NOW + timedelta(days=days)) for days in (-1, 1)]

    said = [each for found in (*(violations(text, now=NOW) for text in texts), *moved) for each in found]

    remedies = {(each.rule, each.remedy) for each in said if each.rule != "sts_scope_host"}
    assert remedies == set(REMEDIES.items())


@pytest.mark.parametrize(
    ("base", "remedy"),
    [
        ("https://sts.us-west-2.amazonaws.com:443/",
         f"leave the port out, 443 too: the verifier compares the whole name; {REGIONAL}"),
        ("https://vpce-1.sts.us-west-2.vpce.amazonaws.com/",
         f"a VPC endpoint's own name is refused; with private DNS the regional name reaches it; {REGIONAL}"),
    ],
)  # fmt: skip
def test_a_host_of_a_known_mistake_gets_its_own_remedy(base: str, remedy: str) -> None:
    assert violations(token(base=base), now=NOW)[0].remedy == remedy


def test_a_scope_of_another_region_gets_its_own_remedy() -> None:
    (found,) = violations(token(X_Amz_Credential="ASIAEXAMPLE/20260203/eu-west-1/sts/aws4_request"), now=NOW)

    assert found.message == (
        "the host needs the scope us-west-2/sts/aws4_request, the credential has 'eu-west-1/sts/aws4_request'"
    )
    assert found.remedy == "sign with the region of the host; for sts.amazonaws.com it is us-east-1"
    unknown = violations(token(base="https://[::1%25.global.x]/"), now=NOW)
    assert [(each.rule, each.remedy) for each in unknown] == [("sts_scope_host", REGIONAL)]
