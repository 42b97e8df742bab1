"""aws-auth is read, and an identity is mapped, as aws-iam-authenticator's own code does it."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from documents import KEY_ID, documents, mappings
from test_mapping import ACCOUNTS, OURS, READ, backends_of

from eks_cross_account import CallerIdentity
from eks_cross_account.mapping import (
    AccessEntries,
    AccessEntry,
    AwsAuth,
    AwsAuthRow,
    NotMapped,
    map_identity,
    parse_aws_auth,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SEED = os.environ.get("ORACLE_SEED", "20260203")  # of what is generated
COUNT = int(os.environ.get("ORACLE_MAPPINGS", "2000"))
NOT_AN_ERROR = ("is there twice, in different case", "is not read: write")  # problems that the verifier has no word for


def question(caller: dict[str, str], backends: list[dict[str, Any]]) -> dict[str, Any]:
    identity = CallerIdentity(**caller)
    fields = {
        "ARN": identity.arn,
        "CanonicalARN": identity.canonical_arn,
        "AccountID": identity.account,
        "UserID": identity.principal_id,
        "SessionName": identity.session_name,
        "AccessKeyID": KEY_ID,
    }
    return {"map": {"identity": fields, "backends": backends}}


def ours(caller: dict[str, str], backends: list[AccessEntries | AwsAuth]) -> dict[str, Any]:
    """Worded as the webhook answers. JSON knows no empty list there, and no difference between none and empty."""
    found = map_identity(
        CallerIdentity(**caller), access_key_id=KEY_ID, backends=backends, private_dns_name=lambda name: f"ip-{name}"
    )
    if isinstance(found, NotMapped):
        return {"http_status": 403, "error": found.error, "user": {}}
    user = {
        "username": found.username,
        "uid": found.uid,
        "groups": list(found.groups),
        "extra": {key: list(values) for key, values in found.extra.items()},
    }
    return {"http_status": 200, "error": "", "user": {key: value for key, value in user.items() if value}}


def backend(asked: dict[str, Any]) -> AccessEntries | AwsAuth:
    reserved = tuple(asked["reserved_prefixes"])
    if "aws_auth" in asked:
        return parse_aws_auth(asked["aws_auth"], reserved_prefixes=reserved)
    file = asked["dynamic_file"]
    entries = (AccessEntry(r["rolearn"], r["userid"], r["username"], tuple(r["groups"])) for r in file["mapRoles"])
    return AccessEntries(tuple(entries), tuple(file["mapAccounts"]), reserved)


def backends_asked(server: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {"DynamicFile": "dynamic_file", "EKSConfigMap": "aws_auth"}
    reserved = server["reserved_prefixes"]
    return [
        {lists[name]: server[lists[name]], "reserved_prefixes": reserved.get(name, [])} for name in server["backends"]
    ]


def test_every_mapping_case_is_mapped_alike(oracle: Any, agreement: Any) -> None:
    servers = [case["server_config"] for case in OURS]
    callers = [case["input"]["caller"] for case in OURS]
    asked = [question(caller, backends_asked(server)) for caller, server in zip(callers, servers, strict=True)]

    answers = oracle(asked)

    expected = [ours(caller, backends_of(server)) for caller, server in zip(callers, servers, strict=True)]
    found = [answer for answer, mine in zip(answers, expected, strict=True) if answer != mine]
    agreement("mapping cases", len(OURS) - len(found), len(OURS))
    assert not found


def test_thousands_of_generated_mappings_are_mapped_alike(oracle: Any, agreement: Any) -> None:
    asked = list(mappings(Random(SEED), COUNT))  # noqa: S311 - the same ones again, from the seed

    answers = oracle(question(each["caller"], each["backends"]) for each in asked)

    found = []
    for each, answer in zip(asked, answers, strict=True):
        expected = ours(each["caller"], [backend(one) for one in each["backends"]])
        if answer != expected:
            found.append(f"the verifier: {answer}\n  ours: {expected}\n  {each}")
    agreement("generated mappings", len(asked) - len(found), len(asked))
    assert len(asked) / 10 < sum(answer["http_status"] == 200 for answer in answers) < len(asked) * 9 / 10
    assert not found, f"{len(found)} differences, seed {SEED}:\n" + "\n".join(found[:20])


def rows_read(answer: dict[str, Any]) -> dict[str, Any]:
    def rows(key: str) -> tuple[AwsAuthRow, ...]:
        found = answer[key] or []
        return tuple(AwsAuthRow(row["arn"], row["username"], tuple(row["groups"] or ()), row["sso"]) for row in found)

    return {"roles": rows("roles"), "users": rows("users"), "accounts": tuple(answer["accounts"] or ())}


def test_every_row_of_the_tables_is_what_the_verifier_reads(oracle: Any, agreement: Any) -> None:
    expected = [("roles", rows) for _, _, rows in READ] + [("accounts", accounts) for _, _, accounts in ACCOUNTS]
    asked = [{"mapRoles": text} for _, text, _ in READ] + [{"mapAccounts": text} for _, text, _ in ACCOUNTS]

    answers = [rows_read(answer) for answer in oracle({"read": data} for data in asked)]

    found = []
    for data, (key, rows), answer in zip(asked, expected, answers, strict=True):
        read = [(row.arn, row.username, row.groups) for row in answer["roles"]] if key == "roles" else answer[key]
        if read != rows:
            found.append(f"{data}: {rows}, the verifier: {read}")
    agreement("rows about aws-auth", len(asked) - len(found), len(asked))
    assert not found, "\n".join(found)


def test_thousands_of_generated_config_maps_are_read_alike(oracle: Any, agreement: Any) -> None:
    """The same rows, and a problem where, and only where, the verifier's log has an error."""
    asked = list(documents(Random(SEED), COUNT))  # noqa: S311 - the same ones again, from the seed

    answers = oracle({"read": data} for data in asked)

    found, not_empty = [], 0
    for data, answer in zip(asked, answers, strict=True):
        read = parse_aws_auth(data)
        mine = {"roles": read.roles, "users": read.users, "accounts": read.accounts}
        theirs = rows_read(answer)
        not_empty += any(theirs.values())
        wrong = [text for text in read.problems if not any(words in text for words in NOT_AN_ERROR)]
        if mine != theirs or bool(wrong) != bool(answer["error"]):
            found.append(f"the verifier: {theirs}, {answer['error']}\n  ours: {mine}, {read.problems}\n  {data}")
    agreement(f"generated ConfigMaps (seed {SEED})", len(asked) - len(found), len(asked))
    assert not_empty > len(asked) / 5
    assert not found, f"{len(found)} differences, seed {SEED}:\n" + "\n".join(found[:20])
