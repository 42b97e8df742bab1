from __future__ import annotations

import json
from typing import Any

import pytest
from tokens import cases

from eks_cross_account import CallerIdentity, InvalidArnError, StsUnavailableError, canonicalize, strip_path
from eks_cross_account.identity import account_of, parse_arn, parse_caller_identity

FUNCTIONS = {"canonicalize": canonicalize, "strip_path": strip_path, "strip": strip_path}
ARNS = [case for case in cases("arn") if case["input"]["function"] in FUNCTIONS]
REPLIES = [
    case
    for case in cases("token")
    if (case.get("sts_reply") or {}).get("status") == 200 and case.get("stage") in {"sts", "sts_throttled", None}
]


def body(**changes: Any) -> bytes:
    result = {
        "Account": "222222222222",
        "Arn": "arn:aws:sts::222222222222:assumed-role/cross-account-role/nightly",
        "UserId": "AROAEXAMPLEEXAMPLE001:nightly",
        **changes,
    }
    return json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result}}).encode()


@pytest.mark.parametrize("case", ARNS, ids=[case["id"] for case in ARNS])
def test_an_arn_is_read_as_the_verifier_reads_it(case: dict[str, Any]) -> None:
    function = FUNCTIONS[case["input"]["function"]]

    if case["expect"] == "accept":
        assert function(case["input"]["arn"]) == case["fields"]["result"]
    else:
        with pytest.raises(InvalidArnError):
            function(case["input"]["arn"])


NO_ARN = "is not an ARN (arn:partition:service:region:account:resource)"
WRONG = [
    ("role/r", f"'role/r' {NO_ARN}"),
    ("arn:aws:iam::222222222222", f"'arn:aws:iam::222222222222' {NO_ARN}"),
    ("urn:aws:iam::222222222222:role/r", f"'urn:aws:iam::222222222222:role/r' {NO_ARN}"),
    ("arn:mars:iam::222222222222:role/r",
     "'arn:mars:iam::222222222222:role/r' is in no partition that EKS knows (aws, "),
    ("arn:aws:iam::222222222222:group/g",
     "'arn:aws:iam::222222222222:group/g' is not the ARN of a role, user, root, assumed role or federated user"),
    ("arn:aws:sts::222222222222:assumed-role/r",
     "'arn:aws:sts::222222222222:assumed-role/r' names no role and session (assumed-role/<role>/<session>)"),
]  # fmt: skip


@pytest.mark.parametrize(("arn", "message"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_wrong_with_an_arn_is_said_of_it(arn: str, message: str) -> None:
    with pytest.raises(InvalidArnError) as raised:
        canonicalize(arn)

    assert str(raised.value).startswith(message)


def test_the_resource_is_all_behind_the_fifth_colon() -> None:
    assert parse_arn("arn:aws:iam::222222222222:user/a:b") == ("aws", "iam", "222222222222", "user/a:b")
    assert canonicalize("arn:aws:sts::222222222222:assumed-role/a/b/session") == "arn:aws:iam::222222222222:role/a/b"
    assert strip_path("arn:aws:iam::222222222222:role/a/b/name") == "arn:aws:iam::222222222222:role/name"
    assert canonicalize("arn:aws:iam::222222222222:user/a:b:c") == "arn:aws:iam::222222222222:user/a:b:c"


@pytest.mark.parametrize(
    ("arn", "account"),
    [
        ("arn:aws:iam::222222222222:role/r", "222222222222"),
        ("arn:aws:eks:eu-west-1:333333333333:cluster/a:b", "333333333333"),
        ("arn:aws:iam::444444444444", "444444444444"),
        ("arn:aws:iam:", ""),
        ("r", ""),
    ],
)
def test_the_account_of_an_arn_is_its_fifth_section(arn: str, account: str) -> None:
    assert account_of(arn) == account


@pytest.mark.parametrize("case", REPLIES, ids=[case["id"] for case in REPLIES])
def test_an_answer_of_sts_is_read_as_the_verifier_reads_it(case: dict[str, Any]) -> None:
    raw = case["sts_reply"]["body"].encode()

    if case["expect"] == "accept":
        identity = parse_caller_identity(raw)
        assert identity.canonical_arn == case["fields"]["canonical_arn"]
        assert identity.session_name == case["fields"]["session_name"]
    else:
        with pytest.raises(StsUnavailableError):
            parse_caller_identity(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>captive portal</html>",
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"></GetCallerIdentityResponse>',
        b'<?xml version="1.0"?><ListAllMyBucketsResult></ListAllMyBucketsResult>',
        b'{"Account": "1", "Arn": "a", "UserId": "u"}',
        b'{"ListBucketsResponse": {}}',
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        body(Extra="x"),
        body(Account=""),
        body(Account=222222222222),
        body(Account="333333333333"),
        body(Arn="arn:aws:s3:::bucket"),
        body(UserId="AROAEXAMPLEEXAMPLE001"),
        body(UserId="a:b:c"),
        b'{"GetCallerIdentityResponse": {}, "GetCallerIdentityResponse": {}}',
        body().replace(b'"Account": ', b'"Account": "222222222222", "Account": '),
    ],
    ids=[
        "empty",
        "html",
        "xml",
        "xml-of-s3",
        "no-envelope",
        "another-answer",
        "list",
        "null",
        "not-utf-8",
        "deep",
        "one-more-member",
        "no-account",
        "account-is-a-number",
        "account-of-another",
        "arn-of-s3",
        "role-without-session",
        "user-id-of-three-parts",
        "twice",
        "one member twice",
    ],
)
def test_what_sts_would_not_write_is_no_identity(raw: bytes) -> None:
    with pytest.raises(StsUnavailableError) as raised:
        parse_caller_identity(raw)

    assert raised.value.retryable
    assert str(raised.value).isascii()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>" + b"x" * 100,
         "the answer is not the JSON of STS; it begins '<html>xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"),
        (body(Extra="x"), "the answer is JSON, but not that of GetCallerIdentity"),
        (body(Account=""), "the answer of GetCallerIdentity has an empty or non-text field"),
        (body(Arn="x"), f"the answer of GetCallerIdentity has no usable ARN: 'x' {NO_ARN}"),
        (body(Account="333333333333"),
         "the answer of GetCallerIdentity has one account in its ARN and another beside it"),
        (body(UserId="a:b:c"), "the UserId 'a:b:c' is not of the form id:session"),
    ],
    ids=["html", "extra", "empty", "ARN", "account", "UserId"],
)  # fmt: skip
def test_why_an_answer_is_not_that_of_sts_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(StsUnavailableError) as raised:
        parse_caller_identity(raw)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arn", "user_id", "canonical", "session", "principal"),
    [
        ("arn:aws:sts::222222222222:assumed-role/r/s", "AROAX:s", "arn:aws:iam::222222222222:role/r", "s", "AROAX"),
        ("arn:aws:iam::222222222222:user/team/alice", "AIDAX", "arn:aws:iam::222222222222:user/team/alice", "",
         "AIDAX"),
        ("arn:aws:iam::222222222222:root", "222222222222", "arn:aws:iam::222222222222:root", "", "222222222222"),
        ("arn:aws:sts::222222222222:federated-user/bob", "222222222222:bob",
         "arn:aws:sts::222222222222:federated-user/bob", "", "222222222222:bob"),
    ],
)  # fmt: skip
def test_an_identity_says_who_is_mapped(arn: str, user_id: str, canonical: str, session: str, principal: str) -> None:
    identity = CallerIdentity("222222222222", arn, user_id)

    assert (identity.canonical_arn, identity.session_name, identity.principal_id) == (canonical, session, principal)
