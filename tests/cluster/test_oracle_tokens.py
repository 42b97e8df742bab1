"""Every token is judged as aws-iam-authenticator's own verifier judges it, at the same instant, to the microsecond."""

from __future__ import annotations

import os
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from mutations import questions
from test_rules import NEAR, ONE_WRONG, QUIRKS
from tokens import NOW, cases, moment, token

from eks_cross_account import _gourl, endpoints, violations
from eks_cross_account.errors import MalformedTokenError, StsUnavailableError
from eks_cross_account.identity import parse_caller_identity
from eks_cross_account.sts import _rebuilt_query
from eks_cross_account.token import LIFE, amz_date_ns, read_url, single_parameters

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CASES = cases("token")
SEED = os.environ.get("ORACLE_SEED", "20260203")  # of the generated tokens
COUNT = int(os.environ.get("ORACLE_TOKENS", "5000"))
EDGE_NS = 1_500_000_000  # what counts as the edge of a token's life

# How the verifier begins what it says behind "input token was not properly formatted: "
REFUSALS = {
    "token is too large": "too_large",
    "token is missing expected": "prefix",
    "illegal base64 data": "base64",
    'parse "': "url_parse",
    "unexpected scheme": "scheme",
    "could not parse region": "host",
    "unexpected hostname": "host",
    "invalid region identifier": "host_region",
    "global endpoint unsupported": "host_global",
    "partition {": "host_partition",
    "unexpected path": "path",
    "malformed query parameter": "query",
    "duplicate query parameter found": "dup_case",
    "non-whitelisted query parameter": "param",
    "query parameter with multiple values": "dup",
    "unexpected action parameter": "action",
    "client did not sign": "signed_headers",
    "invalid X-Amz-Expires": "expires",
    "X-Amz-Date parameter must be present": "date_missing",
    "error parsing X-Amz-Date": "date_format",
    "X-Amz-Date parameter is expired": "date_expired",
    "error creating HTTP request": "host",
}
ONE_LOOP = {"param", "dup"}  # looked for together, in the random order of a Go map: either may be said first


def rule_of(error: str) -> str | None:
    said = error.removeprefix("input token was not properly formatted: ")
    return next((rule for start, rule in REFUSALS.items() if said.startswith(start)), None)


def rules_broken(question: dict[str, Any], judge: str | None = None) -> list[str]:
    found = violations(
        question["token"], now=question["clock"], partition=question["partition"], region=question["region"]
    )
    return [violation.rule for violation in found if judge in {None, violation.judge}]


def difference(question: dict[str, Any], verdict: dict[str, Any]) -> str | None:
    """What the verifier says of the token and we do not, or the other way round."""
    broken = rules_broken(question, "verifier")
    if verdict["kind"] in {"format", "other"}:
        rule = rule_of(verdict["error"])
        same = rule in broken[:1] or (rule in ONE_LOOP and rule in broken and broken[0] in ONE_LOOP)
        return None if same else f"the verifier refuses it ({rule}: {verdict['error']}), we find {broken}"
    if broken:
        return f"the verifier asks STS, we find {broken}"
    if verdict["request"] is None:
        return "the verifier refuses it without a reason of its own"
    return difference_in_identity(question["sts_reply"], verdict)


def difference_in_identity(reply: dict[str, Any] | None, verdict: dict[str, Any]) -> str | None:
    if reply is None or reply["status"] != 200:
        return None if verdict["identity"] is None else "the verifier takes an answer that is none"
    try:
        ours = parse_caller_identity(reply["body"].encode())
    except StsUnavailableError as error:
        return None if verdict["identity"] is None else f"the verifier takes an answer that we refuse: {error}"
    identity = verdict["identity"] or {}
    theirs = [identity.get(name) for name in ("ARN", "CanonicalARN", "AccountID", "UserID", "SessionName")]
    same = theirs == [ours.arn, ours.canonical_arn, ours.account, ours.principal_id, ours.session_name]
    return None if same else f"we see {ours}, the verifier {theirs}: {verdict['error']}"


def at_the_edge(question: dict[str, Any]) -> bool:
    """Whether the token's life ends, or has just ended, at this instant."""
    try:
        pairs, _ = _gourl.parse_query(read_url(question["token"]).query)
        date = amz_date_ns(single_parameters(pairs).get("x-amz-date", ""))
    except MalformedTokenError:
        return False
    now = question["clock"].timestamp() * 10**9
    return date is not None and abs(now - date - LIFE / timedelta(microseconds=1) * 1000) < EDGE_NS


def ask(oracle: Any, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = oracle({"verify": {**question, "clock": question["clock"].isoformat()}} for question in asked)
    assert len(answers) == len(asked)
    return list(answers)


def differences(asked: list[dict[str, Any]], answers: list[dict[str, Any]]) -> list[str]:
    compared = ((question, difference(question, answer)) for question, answer in zip(asked, answers, strict=True))
    return [f"{text}\n  {question}" for question, text in compared if text]


def vector_questions() -> list[dict[str, Any]]:
    return [
        {**case["server_config"], "clock": moment(case["server_config"]["clock"]), "token": case["input"]["token"],
         "sts_reply": case["sts_reply"]}
        for case in CASES
    ]  # fmt: skip


def test_every_token_case_is_judged_alike(oracle: Any, agreement: Any) -> None:
    asked = vector_questions()

    found = differences(asked, ask(oracle, asked))

    edges = sum(map(at_the_edge, asked))
    agreement(f"token cases ({edges} at the edge of their life)", len(asked) - len(found), len(asked))
    assert edges == 2
    assert not found, "\n".join(found)


def test_every_row_of_the_tables_is_judged_alike(oracle: Any, agreement: Any) -> None:
    texts = [row[1] for row in (*QUIRKS, *ONE_WRONG)] + [token(**changes) for _, changes in NEAR]
    server = {"cluster_id": "prod-eks", "partition": "aws", "region": "us-west-2", "clock": NOW, "sts_reply": None}
    asked = [{**server, "token": text} for text in texts]

    found = differences(asked, ask(oracle, asked))

    agreement("rows about tokens", len(asked) - len(found), len(asked))
    assert not found, "\n".join(found)


def test_the_token_cases_are_what_this_verifier_says(oracle: Any) -> None:
    for case, verdict in zip(CASES, ask(oracle, vector_questions()), strict=True):
        observed, fields = case["observed"], case.get("fields", {})
        identity = verdict["identity"] or {}
        assert (verdict["request"] is not None) == observed["reached_sts"], case["id"]
        assert bool(verdict["error"]) == (case["expect"] == "reject"), case["id"]
        assert verdict["error"] == observed.get("error", "") or observed.get("error_text_varies"), case["id"]
        assert identity.get("CanonicalARN") == fields.get("canonical_arn"), case["id"]
        assert identity.get("STSEndpoint") == fields.get("sts_endpoint"), case["id"]


def test_we_ask_sts_what_the_verifier_asks(oracle: Any) -> None:
    """The same host, cluster and parameters; ours are encoded again, and no fragment and no user name is sent."""
    asked = vector_questions()
    compared = 0

    for question, verdict in zip(asked, ask(oracle, asked), strict=True):
        if verdict["request"] is None or "sts_userinfo" in rules_broken(question):
            continue
        sent = urlsplit(verdict["request"]["url"])
        host = endpoints.known_sts_host(sent.netloc)
        if host is not None:
            compared += 1
            assert host == _gourl.text(read_url(question["token"]).host)
            assert sent.path == "/"
            assert sorted(parse_qsl(sent.query, True)) == sorted(parse_qsl(_rebuilt_query(question["token"]), True))  # noqa: FBT003 - empty ones too
            assert verdict["request"]["headers"] == {"Accept": ["application/json"], "X-K8s-Aws-Id": ["prod-eks"]}

    assert compared > 20


def test_thousands_of_generated_tokens_are_judged_alike(oracle: Any, agreement: Any) -> None:
    asked = list(questions(Random(SEED), COUNT))  # noqa: S311 - the same ones again, from the seed

    answers = ask(oracle, asked)
    found = differences(asked, answers)

    edges = sum(map(at_the_edge, asked))
    what = f"generated tokens (seed {SEED}; {edges:,} at the edge of their life)"
    agreement(what, len(asked) - len(found), len(asked))
    reasons = {rule_of(answer["error"]) or answer["kind"] for answer in answers}
    assert set(REFUSALS.values()) <= reasons, "a rule that no generated token breaks"
    assert sum(answer["request"] is not None for answer in answers) > len(asked) / 10
    assert not found, f"{len(found)} differences, seed {SEED}:\n" + "\n".join(found[:20])
