"""The verifier's mapping against its verdicts, and what of aws-auth it reads otherwise than it looks: a row each."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokens import cases

from eks_cross_account import CallerIdentity, EksTokenError, _goyaml
from eks_cross_account.mapping import (
    EKS_RESERVED_PREFIXES,
    AccessEntries,
    AccessEntry,
    AwsAuth,
    AwsAuthRow,
    KubernetesUser,
    NotMapped,
    map_identity,
    parse_aws_auth,
)

ACCOUNT = "123456789012"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/airflow-xacct"
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/alice"
KEY_ID = "ASIAEXAMPLEEXAMPLE01"
ROLE_ID = "AROAEXAMPLEEXAMPLE001"
MAPPED_BY = {"EKSConfigMap", "DynamicFile"}
CASES = cases("mapping")
OURS = [case for case in CASES if set(case["server_config"]["backends"]) <= MAPPED_BY]
NOT_OURS = {
    "map-file-account": "MountedFile is a back end that EKS does not use",
    "map-file-account-federated": "MountedFile",
    "map-file-assumed-role-arn": "MountedFile alone canonicalizes its entries",
    "map-file-role-path": "MountedFile",
    "map-file-scrubbed": "MountedFile, and scrubbed accounts are a setting of the verifier's log",
    "map-file-user-case": "MountedFile",
}


def caller(session: str = "mwaa-session", role: str = "airflow-xacct") -> CallerIdentity:
    return CallerIdentity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}", f"{ROLE_ID}:{session}")


def user(arn: str = USER_ARN) -> CallerIdentity:
    return CallerIdentity(ACCOUNT, arn, "AIDAALICE")


def mapped(identity: CallerIdentity, *backends: AccessEntries | AwsAuth, **options: Any) -> Any:
    """The user name and groups, or the error."""
    found = map_identity(identity, access_key_id=KEY_ID, backends=backends, **options)
    return found.error if isinstance(found, NotMapped) else (found.username, found.groups)


def roles(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(row.arn, row.username, row.groups) for row in parse_aws_auth({"mapRoles": text}).roles]


# --- the verifier's own verdicts ---


def test_every_case_is_answered_or_has_a_reason_not_to_be() -> None:
    assert len(CASES) == 30
    assert {case["id"] for case in CASES} - {case["id"] for case in OURS} == set(NOT_OURS)


def entries_of(server: dict[str, Any]) -> AccessEntries:
    """The rows by user id. Without strictness the verifier looks at their ARN instead: such a file has no rows here."""
    file = server["dynamic_file"]
    rows = [*file["mapRoles"], *file["mapUsers"]]
    assert server["dynamic_file_userid_strict"] or rows == []
    entries = tuple(
        AccessEntry(
            row.get("rolearn") or row.get("userarn") or "", row["userid"], row["username"], tuple(row["groups"])
        )
        for row in rows
    )
    return AccessEntries(entries, tuple(file["mapAccounts"]), tuple(server["reserved_prefixes"].get("DynamicFile", ())))


def backends_of(server: dict[str, Any]) -> list[AccessEntries | AwsAuth]:
    reserved = tuple(server["reserved_prefixes"].get("EKSConfigMap", ()))
    return [
        entries_of(server)
        if backend == "DynamicFile"
        else parse_aws_auth(server["aws_auth"], reserved_prefixes=reserved)
        for backend in server["backends"]
    ]


@pytest.mark.parametrize("case", OURS, ids=[case["id"] for case in OURS])
def test_an_identity_is_mapped_as_the_verifier_maps_it(case: dict[str, Any]) -> None:
    fields = case["fields"]
    backends = backends_of(case["server_config"])

    found = map_identity(CallerIdentity(**case["input"]["caller"]), access_key_id=KEY_ID, backends=backends)

    if case["expect"] == "reject":
        assert found == NotMapped(case["observed"]["error"])
        return
    extra = {key: tuple(values) for key, values in fields["extra"].items()}
    assert found == KubernetesUser(fields["username"], fields["uid"], tuple(fields["groups"]), extra)


# --- access entries ---

ENTRY = AccessEntry(ROLE_ARN, ROLE_ID, "airflow", ("data-team",))
MISMATCH = "mapper DynamicFile Map error: ARN does not match User ID"
UNMAPPED = "identity is not mapped"

ENTRIES = [
    ("id and ARN", (ENTRY,), ("airflow", ("data-team",))),
    ("the id alone", (AccessEntry("", ROLE_ID, "u"),), ("u", ())),
    ("path in the entry", (AccessEntry(f"arn:aws:iam::{ACCOUNT}:role/a/b/airflow-xacct", ROLE_ID, "u"),), ("u", ())),
    ("other case in the entry", (AccessEntry(ROLE_ARN.replace("airflow", "AirFlow"), ROLE_ID, "u"),), ("u", ())),
    ("role recreated: same ARN, other id", (AccessEntry(ROLE_ARN, "AROAOLD", "u"),), UNMAPPED),
    ("ids are compared with their case", (AccessEntry("", ROLE_ID.lower(), "u"),), UNMAPPED),
    ("same id, other ARN", (AccessEntry(ROLE_ARN + "2", ROLE_ID, "u"),), MISMATCH),
    ("a session's ARN never matches", (AccessEntry(caller().arn, ROLE_ID, "u"),), MISMATCH),
    ("no ARN", (AccessEntry("airflow-xacct", ROLE_ID, "u"),), MISMATCH),
    ("upper-case partition", (AccessEntry("arn:AWS" + ROLE_ARN[7:], ROLE_ID, "u"),), MISMATCH),
    ("of two the later counts", (ENTRY, AccessEntry(ROLE_ARN, ROLE_ID, "later")), ("later", ())),
    ("an entry without id spoils the list", (ENTRY, AccessEntry(ROLE_ARN, "", "u")), UNMAPPED),
]


@pytest.mark.parametrize(("entries", "expected"), [row[1:] for row in ENTRIES], ids=[row[0] for row in ENTRIES])
def test_an_access_entry_matches_by_id_and_arn(entries: tuple[AccessEntry, ...], expected: object) -> None:
    assert mapped(caller(), AccessEntries(entries)) == expected


def test_an_entry_without_id_takes_the_accounts_with_it() -> None:
    broken = AccessEntries((AccessEntry("", "", "u"),), accounts=(ACCOUNT,))

    assert mapped(caller(), broken) == UNMAPPED


# --- the order of the search ---

CONFIG_MAP = parse_aws_auth({"mapRoles": f"- rolearn: {ROLE_ARN}\n  username: cm\n"})
OTHER_ARN = AccessEntries((AccessEntry(ROLE_ARN + "2", ROLE_ID, "u"),))


def test_an_access_entry_wins_over_aws_auth_when_it_is_asked_first() -> None:
    assert mapped(caller(), AccessEntries((ENTRY,)), CONFIG_MAP) == ("airflow", ("data-team",))
    assert mapped(caller(), CONFIG_MAP, AccessEntries((ENTRY,))) == ("cm", ())


def test_no_backends_map_nobody() -> None:
    assert mapped(caller()) == UNMAPPED


def test_a_mismatch_is_the_error_only_if_nothing_else_maps() -> None:
    assert mapped(caller(), OTHER_ARN, CONFIG_MAP) == ("cm", ())
    assert mapped(caller(), OTHER_ARN, AwsAuth()) == MISMATCH
    assert mapped(caller(), OTHER_ARN, OTHER_ARN) == MISMATCH


def test_the_accounts_of_a_backend_come_before_the_next_backend() -> None:
    arn = (ROLE_ARN, ())

    assert mapped(caller(), AccessEntries(accounts=(ACCOUNT,)), CONFIG_MAP) == arn
    assert mapped(caller(), AccessEntries(OTHER_ARN.entries, accounts=(ACCOUNT,))) == arn


def test_a_reserved_prefix_ends_the_search() -> None:
    entry = AccessEntry(ROLE_ARN, ROLE_ID, "{{SessionName}}")
    entries = AccessEntries((entry,), (ACCOUNT,), EKS_RESERVED_PREFIXES)

    assert mapped(caller("system:node:x"), entries, CONFIG_MAP) == (
        "invalid username 'system:node:x' for mapper DynamicFile: username must not begin with with the following "
        "prefixes: [aws: eks: amazon: iam: system:]"
    )
    assert mapped(caller("System:node:x"), entries) == ("System:node:x", ())


def test_an_empty_reserved_prefix_reserves_nothing() -> None:
    assert mapped(caller(), AccessEntries((ENTRY,), reserved_prefixes=("",))) == ("airflow", ("data-team",))


def test_a_template_error_ends_the_search() -> None:
    entry = AccessEntry(ROLE_ARN, ROLE_ID, "n", ('a"\t{{EC2PrivateDNSName}}\x01',))

    assert mapped(caller(), AccessEntries((entry,), (ACCOUNT,)), CONFIG_MAP) == (
        r'mapper DynamicFile renderTemplates error: error rendering group template "a\"\t{{EC2PrivateDNSName}}\x01": '
        "SessionName did not contain an instance id"
    )


# --- templates ---

TEMPLATES = [
    ("{{AccountID}}/{{AccessKeyID}}", "s", f"{ACCOUNT}/{KEY_ID}"),
    ("{{SessionName}} {{SessionNameRaw}}", "bob@example.com", "bob-example.com bob@example.com"),
    ("{{SessionName}}", "{{AccessKeyID}}", KEY_ID),  # the session is expanded by the replacements behind it
    ("{{SessionName}}", "{{AccountID}}", "{{AccountID}}"),  # ... and not by those before it
    ("{{SessionName}}", "{{SessionNameRaw}}", "{{SessionNameRaw}}"),  # the raw one puts itself in once
    ("{{ SessionName }}", "s", "{{ SessionName }}"),
    ("{{sessionname}}", "s", "{{sessionname}}"),
    ("node:{{EC2PrivateDNSName}}", "i-0123456789abcdef0", "node:ip-10-0-0-1.ec2.internal"),
    ("node:{{EC2PrivateDNSName}}", "i-01234567", "node:ip-10-0-0-1.ec2.internal"),
]


@pytest.mark.parametrize(("template", "session", "expected"), TEMPLATES, ids=[row[0] + row[1] for row in TEMPLATES])
def test_a_template_is_filled_in_from_left_to_right(template: str, session: str, expected: str) -> None:
    entries = AccessEntries((AccessEntry(ROLE_ARN, ROLE_ID, template, (template,)),))

    found = mapped(caller(session), entries, private_dns_name=lambda _: "ip-10-0-0-1.ec2.internal")

    assert found == (expected, (expected,))


def test_an_error_quotes_a_template_as_go_does() -> None:
    entry = AccessEntry(ROLE_ARN, ROLE_ID, "\u200b\U000e0001\u00e9{{EC2PrivateDNSName}}")

    assert r'template "\u200b\U000e0001é{{EC2PrivateDNSName}}"' in mapped(caller(), AccessEntries((entry,)))


def test_ec2_is_not_asked_unless_the_caller_says_how() -> None:
    entries = AccessEntries((AccessEntry(ROLE_ARN, ROLE_ID, "{{EC2PrivateDNSName}}"),))

    assert mapped(caller("i-0123456789abcdef0"), entries) == (
        'mapper DynamicFile renderTemplates error: error rendering username template "{{EC2PrivateDNSName}}": '
        "the private DNS name of i-0123456789abcdef0 is known to EC2 alone, which is not asked"
    )


@pytest.mark.parametrize("session", ["i-0123456", "i-0123456789abcdef01", "i-01234567\n", "i-0123456é", "x-01234567"])
def test_a_session_that_is_no_instance_has_no_private_name(session: str) -> None:
    entries = AccessEntries((AccessEntry(ROLE_ARN, ROLE_ID, "{{EC2PrivateDNSName}}"),))

    assert "did not contain an instance id" in mapped(caller(session), entries, private_dns_name=lambda _: "no")


# --- aws-auth: what matches ---

ARNS = [
    ("the role", ROLE_ARN, True),
    ("in another case", ROLE_ARN.upper(), True),
    ("with a path", f"arn:aws:iam::{ACCOUNT}:role/path/airflow-xacct", False),
    ("of the session", f"arn:aws:sts::{ACCOUNT}:assumed-role/airflow-xacct/mwaa-session", False),
    ("a wildcard", f"arn:aws:iam::{ACCOUNT}:role/*", False),
    ("a blank behind it", f"'{ROLE_ARN} '", False),
    ("long s", ROLE_ARN.replace("aws", "aw\u017f"), True),
    ("dotted capital I", ROLE_ARN.replace("air", "a\u0130r"), False),
]


@pytest.mark.parametrize("key", ["mapRoles", "mapUsers"])
@pytest.mark.parametrize(("arn", "matches"), [row[1:] for row in ARNS], ids=[row[0] for row in ARNS])
def test_both_lists_match_any_arn_in_any_case(key: str, arn: str, matches: bool) -> None:  # noqa: FBT001 - a column
    field = {"mapRoles": "rolearn", "mapUsers": "userarn"}[key]
    found = mapped(caller(), parse_aws_auth({key: f"- {field}: {arn}\n  username: u\n"}))

    assert found == (("u", ()) if matches else UNMAPPED)


def test_roles_are_asked_before_users_and_users_before_accounts() -> None:
    data = {
        "mapRoles": f"- rolearn: {USER_ARN}\n  username: role\n",
        "mapUsers": f"- userarn: {USER_ARN}\n  username: user\n",
        "mapAccounts": f"- '{ACCOUNT}'",
    }

    assert mapped(user(), parse_aws_auth(data)) == ("role", ())
    assert mapped(user(), parse_aws_auth({**data, "mapRoles": ""})) == ("user", ())
    assert mapped(user(), parse_aws_auth({"mapAccounts": data["mapAccounts"]})) == (USER_ARN, ())


def test_of_two_rows_for_a_role_the_later_counts() -> None:
    rows = f"- rolearn: {ROLE_ARN}\n  username: first\n- rolearn: {ROLE_ARN.upper()}\n  username: second\n"

    assert mapped(caller(), parse_aws_auth({"mapRoles": rows})) == ("second", ())


def test_a_user_in_two_spellings_is_a_problem_because_the_verifier_takes_either() -> None:
    rows = f"- userarn: {USER_ARN}\n  username: first\n- userarn: {USER_ARN.upper()}\n  username: second\n"

    found = parse_aws_auth({"mapUsers": rows})

    assert mapped(user(), found) == ("second", ())
    assert "the verifier takes either" in found.problems[0]


# --- aws-auth: what is read ---

A = "- rolearn: a\n  "
READ = [
    ("nothing", "", []),
    ("two quotes are nothing", ' "" ', []),
    ("two backticks are nothing", "``", []),
    ("null", "~", []),
    ("a comment", "# none yet", []),
    ("a mapping", "rolearn: a", []),
    ("JSON", '[{"rolearn": "a", "username": "u", "groups": ["g"]}]', [("a", "u", ("g",))]),
    ("one JSON object", '{"rolearn": "a"}', []),
    ("an element that is no mapping", "- x\n- rolearn: a", [("a", "", ())]),
    ("an empty element", "-\n- rolearn: a", [("a", "", ())]),
    ("no ARN", "- username: u", []),
    ("ARN that is a number", "- rolearn: 5", []),
    ("userarn in mapRoles", "- userarn: a", []),
    ("keys in any case", "- RoleARN: a\n  userName: u\n  GROUPS: [g]", [("a", "u", ("g",))]),
    ("a letter that is two of sso's in upper case", A + "\u00dfo: {}", [("a", "", ())]),
    ("long s in a key", "- rolearn: a\n  u\u017fername: u\n  group\u017f: [g]", [("a", "u", ("g",))]),
    ("two spellings: the later in the order of bytes", A + "username: x\n  Username: y", [("a", "x", ())]),
    ("two spellings: null keeps the first", A + "Username: x\n  username: ~", [("a", "x", ())]),
    ("two spellings: a wrong type keeps the first", A + "Username: x\n  username: 5", [("a", "x", ())]),
    ("two spellings of groups: null empties", A + "Groups: [x]\n  groups: ~", [("a", "", ())]),
    ("two spellings of groups: gaps show the first", A + "Groups: [v, w]\n  groups: [1, ~]", [("a", "", ("v", "w"))]),
    ("the same key twice: the later", A + "username: v\n  username: w", [("a", "w", ())]),
    ("name that is a number", A + "username: 12345", [("a", "", ())]),
    ("name that is true", A + "username: y", [("a", "", ())]),
    ("name that looks like a date", A + "username: 2001-01-01", [("a", "2001-01-01", ())]),
    ("name that looks like base 60", A + "username: 1:30", [("a", "1:30", ())]),
    ("number with underscores", A + "username: 1_2", [("a", "", ())]),
    ("not all eights are octal", A + "username: 089", [("a", "", ())]),
    ("number that no float holds", A + "username: 1e999", [("a", "1e999", ())]),
    ("digits without end", A + "username: " + "9" * 5000, [("a", "9" * 5000, ())]),
    ("word that only YAML 1.2 would not read", A + "username: oN", [("a", "oN", ())]),
    ("tagged as text", A + "username: !!str 5", [("a", "5", ())]),
    ("tag of somebody", A + "username: !foo 5", [("a", "5", ())]),
    ("tag !", A + "username: ! 5", [("a", "5", ())]),
    ("base64", A + "username: !!binary eHn/", [("a", "xy\ufffd", ())]),
    ("tag that does not fit drops the list", A + "username: !!int x", []),
    ("tag of a number on a null drops the list", A + "username: !!int ~", []),
    ("groups that are text", A + "groups: g", [("a", "", ())]),
    ("groups that are null", A + "groups:", [("a", "", ())]),
    ("group that is a number", A + "groups: [v, 1, w]", [("a", "", ("v", "", "w"))]),
    ("indentation that makes one text of a list", A + "groups:\n  - x\n   - y", [("a", "", ("x - y",))]),
    ("infinity anywhere drops the list", A + "note: .inf\n- rolearn: b", []),
    ("infinity that is overwritten does not", A + "note: .inf\n  note: 1", [("a", "", ())]),
    ("not a number as a key", A + ".nan: 1", [("a", "", ())]),
    ("null as a key drops the list", A + "~: 1", []),
    ("a list as a key drops the list", A + "? [x]\n  : 1", []),
    ("key beyond 63 bits drops the list", A + "18446744073709551615: 1", []),
    ("only the first document", "- rolearn: a\n---\n- rolearn: b\n", [("a", "", ())]),
    ("a broken second document", "- rolearn: a\n---\n[", [("a", "", ())]),
    ("YAML 1.2", "%YAML 1.2\n---\n- rolearn: a", []),
    ("anchors", "- rolearn: a\n  groups: &g [g]\n- rolearn: b\n  groups: *g",
     [("a", "", ("g",)), ("b", "", ("g",))]),
    ("unknown directive", "%FOO\n---\n- rolearn: a", []),
    ("merge key", "- &x {rolearn: a, username: u}\n- <<: *x\n  rolearn: b", [("a", "u", ()), ("b", "u", ())]),
    ("merge key behind", "- &x {rolearn: a}\n- rolearn: b\n  <<: *x", [("a", "", ()), ("a", "", ())]),
    ("quoted merge key", "- &x {rolearn: a}\n- '<<': *x\n  rolearn: b", [("a", "", ()), ("b", "", ())]),
    ("anchor set anew", "- &x {rolearn: a}\n- &x {rolearn: b}\n- *x", [("a", "", ()), ("b", "", ()), ("b", "", ())]),
    ("anchor that contains itself", "- &x [*x]", []),
    ("unknown anchor", "- rolearn: *x", []),
    ("tab behind a value", "- rolearn: a\t\n  username:\tu\tv\t# c", [("a", "u\tv", ())]),
    ("tab as indentation", "- rolearn: a\n\tusername: u", []),
    ("tab behind a block sign", "- rolearn: |-\t\n    a", [("a", "", ())]),
    ("colon in a flow", "- {rolearn: a:b, username: 'u'}", [("a:b", "u", ())]),
    ("escaped slash is of JSON, not of YAML 1.1", '- rolearn: "a\\/b"', []),
    ("escaped apostrophe", '- rolearn: "a\\\'b"', [("a'b", "", ())]),
    ("half of a surrogate pair", '- rolearn: "\\ud83d"', []),
    ("beyond Unicode", '- rolearn: "\\UFFFFFFFF"', []),
    ("control character", "- rolearn: a\x07", []),
    ("byte order mark", "\ufeff- rolearn: a", [("a", "", ())]),
    ("unclosed", "- rolearn: [a", []),
    ("an empty mapping as a key drops the list", "- rolearn: a\n- {}: b", []),
    ("an empty list as a key drops the list", "- rolearn: a\n  []: b", []),
    ("a question mark alone in a flow drops the list", A + "username: [?]", []),
    ("a question mark with a key in a flow", A + "username: u\n  x: [? y]", [("a", "u", ())]),
    ("leap day of year 0", A + "username: !!timestamp 0000-02-29", [("a", "0000-02-29", ())]),
    ("day that its month does not have", A + "username: !!timestamp 2001-02-29", []),
    ("hour 24", A + "username: !!timestamp 2001-02-28T24:00:00Z", []),
    ("time zone of a day", A + "username: !!timestamp 2001-02-28T1:0:0+24:60",
     [("a", "2001-02-28T1:0:0+24:60", ())]),
    ("time zone beyond a day", A + "username: !!timestamp 2001-02-28T1:0:0+25:00", []),
    # as sigs.k8s.io/yaml 1.6.0 reads them
    ("a merge key of a text drops the list", A + "<<: x", []),
    ("a merge key of several", A + "<<: [{username: u}, {username: v}]", [("a", "u", ())]),
    ("a number that a tag makes a float", A + "username: !!float 5", [("a", "", ())]),
    ("a fraction without a zero", A + "username: .5", [("a", "", ())]),
    ("a dot before what is no fraction", A + "username: .x", [("a", ".x", ())]),
    ("a negative binary number", A + "username: -0b101", [("a", "", ())]),
    ("a binary number of 65 digits", A + "username: 0b1" + "0" * 64, [("a", "0b1" + "0" * 64, ())]),
    ("a sign behind 0b", A + "username: 0b-101", [("a", "", ())]),
    ("a sign behind 0b, and 65 digits", A + "username: 0b-1" + "0" * 64, [("a", "0b-1" + "0" * 64, ())]),
    ("no base64", A + "username: !!binary '!'", []),
    ("a tag in full", A + "username: !<tag:yaml.org,2002:str> 5", [("a", "5", ())]),
    ("a tag in full that does not end", A + "username: !<tag:yaml.org,2002:str 5", []),
    ("a word behind a tag in full", A + "username: !<x>y 5", []),
    ("a comma in a tag", A + "username: !!str, 5", [("a", "5", ())]),
    ("a handle of nobody", A + "username: !a!b 5", []),
    ("a handle of the document", "%TAG !e! tag:yaml.org,2002:\n---\n" + A + "username: !e!str 5", [("a", "5", ())]),
    ("a colon in a tag", A + "username: !tag:x 5", [("a", "5", ())]),
    ("indentation 0", A + "username: |0\n    x", []),
    ("indentation, and a comment", A + "username: |2 # c\n      x", [("a", "  x", ())]),
    ("a comment at a block sign", A + "username: |# c\n    x", [("a", "x", ())]),
    ("a word behind a block sign", A + "username: | c\n    x", []),
    ("a tab before a block", A + "username: |\n\t x", []),
    ("a tab in a block's indentation", A + "username: |\n    x\n  \ty\n", []),
    ("a tab in a blank line's place", A + "username: |2\n \tx\n", []),
    ("a tab before the third line of a text", A + "username: x\n   y\n\t z", []),
    ("a blank line in a text", A + "username: x\n\n   y", [("a", "x\ny", ())]),
    ("a word in sso that the verifier does not know",
     "- sso: {permissionSetName: A, accountID: '123456789012', x: y}", [("", "", ())]),
    ("sso row stays without ARN", "- sso: {permissionSetName: Admin, accountID: '123456789012'}", [("", "", ())]),
    ("sso beside an ARN", A + "sso: {}", []),
    ("sso of a wrong type counts as there", A + "sso: 5", []),
    ("sso that is null does not", A + "sso: ~", [("a", "", ())]),
    ("sso with an account that is a number", "- sso: {permissionSetName: Admin, accountID: 123456789012}", []),
    ("sso without a set", "- sso: {accountID: '123456789012'}", []),
    ("sso in no partition", "- sso: {permissionSetName: A, accountID: '123456789012', partition: x}", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rows"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_map_roles_is_read_as_the_verifier_reads_it(text: str, rows: list[tuple[str, str, tuple[str, ...]]]) -> None:
    assert roles(text) == rows


ACCOUNTS = [
    ("quoted", "- '012345678901'", ("012345678901",)),
    ("numbers keep their text", "- 012345678901\n- 0x1F\n- 1_0", ("012345678901", "0x1F", "1_0")),
    ("null is an empty text", "- ~\n- 1", ("", "1")),
    ("lists and mappings are dropped", "- [1]\n- 2\n- {a: b}", ("2",)),
    ("aliases", "- &a 1\n- *a\n- &b [x]\n- *b", ("1", "1")),
    ("one account is no list", "123456789012", ()),
    ("a mapping", "a: b", ()),
    ("a document of nothing", "---", ()),
    ("broken", "- [", ()),
    ("what precedes a bad tag is used", "- 1\n- !!int x\n- 3", ("1", "", "")),
    ("base64", "- !!binary MTI=", ("12",)),
    ("infinity is text", "- .inf", (".inf",)),
    ("a date that is none", "- 1\n- !!timestamp 2001-02-30", ("1", "")),
    ("an empty mapping as a key", "- 1\n- {}: b", ()),
    ("a question mark and a comma", "- 1\n- [? , a]", ()),
    ("a tag that does not fit", "!!int x", ()),
]


@pytest.mark.parametrize(("text", "accounts"), [row[1:] for row in ACCOUNTS], ids=[row[0] for row in ACCOUNTS])
def test_map_accounts_is_read_as_text(text: str, accounts: tuple[str, ...]) -> None:
    assert parse_aws_auth({"mapAccounts": text}).accounts == accounts


def test_a_broken_list_leaves_the_others() -> None:
    found = parse_aws_auth({"mapRoles": "- [", "mapUsers": "- userarn: a", "mapAccounts": "- 1"})

    assert (found.roles, found.users, found.accounts) == ((), (AwsAuthRow("a", ""),), ("1",))


def test_sso_rows_match_nobody_but_take_the_place_of_a_role_of_their_pattern() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/AWSReservedSSO_Admin_*"
    sso = f"- sso: {{permissionSetName: Admin, accountID: '{ACCOUNT}'}}\n"

    assert mapped(caller(role="AWSReservedSSO_Admin_0123"), parse_aws_auth({"mapRoles": sso})) == UNMAPPED
    assert mapped(
        caller(role="AWSReservedSSO_Admin_*"), parse_aws_auth({"mapRoles": f"- rolearn: {role}\n{sso}"})
    ) == UNMAPPED  # fmt: skip


# --- aws-auth: what is said of it ---

PROBLEMS = [
    ({}, ()),
    ({"mapRoles": "- rolearn: a\n  username: u\n  groups: [g]", "mapUsers": '""', "mapAccounts": "- 1"}, ()),
    ({"maproles": ""}, ("the key 'maproles' is not read: write mapRoles",)),
    (
        {"mapRoles": "rolearn: a"},
        ("mapRoles is a mapping, not a list: begin each row with '- '; nothing of it is used",),
    ),
    (
        {"mapRoles": "- rolearn: a\n  username: 5\n  groups: g"},
        (
            "mapRoles, row 1: groups is text, not a list: write each group on a line, after '- '",
            "mapRoles, row 1: username is a number, not text: put it in quotes; until then it is not used",
        ),
    ),
    (
        {"mapUsers": "- userarn: yes"},
        (
            (
                "mapUsers, row 1: userarn is true or false (yes, no, on, off and y are such too), not text: put it in "
                "quotes; until then it is not used"
            ),
            "mapUsers, row 1 is left out: it has no userarn that can be read",
        ),
    ),
    (
        {"mapUsers": "- userarn: [a"},
        (
            "mapUsers: it is not YAML (line 1: \"expected ',' or ']', but got '<stream end>'\"); nothing of it is used",
        ),
    ),
    ({"mapRoles": "- rolearn: a\n  x: .nan"},
     ("mapRoles: JSON has no number like nan: put it in quotes; nothing of it is used",)),
    ({"mapUsers": "- userarn: a\n- userarn: b"}, ()),
    (
        {"mapRoles": "- rolearn: a\n  groups: [g, 1]"},
        ("mapRoles, row 1: group 2 is a number, not text: put it in quotes",),
    ),
    ({"mapAccounts": "- [1]"}, ("mapAccounts, row 1 is not an account id",)),
    ({"mapAccounts": "a: b"}, ("mapAccounts is not a list: begin each account with '- '; nothing of it is used",)),
    ({"mapRoles": "- sso: {accountID: '1', permissionSetName: A}"},
     ("mapRoles, row 1 is left out: sso.accountID is not 12 digits in quotes",)),
    ({"mapRoles": "- sso: {accountID: '123456789012'}"},
     ("mapRoles, row 1 is left out: sso.permissionSetName is not the name of a permission set",)),
    ({"mapRoles": "- rolearn: a\n  sso: {}"}, ("mapRoles, row 1 is left out: it has both rolearn and sso",)),
    ({"mapRoles": "- rolearn: a\n  sso: 5"},
     ("mapRoles, row 1: sso is a number, not a mapping", "mapRoles, row 1 is left out: it has both rolearn and sso")),
    ({"mapAccounts": "[] a: b"}, ()),  # the list ends the document
]  # fmt: skip


@pytest.mark.parametrize(("data", "problems"), PROBLEMS, ids=[repr(row[0]) for row in PROBLEMS])
def test_a_problem_says_where_what_and_what_to_do(data: dict[str, str], problems: tuple[str, ...]) -> None:
    assert parse_aws_auth(data).problems == problems


def test_a_thousand_problems_are_cut_to_what_a_person_reads() -> None:
    found = parse_aws_auth({"mapRoles": "- 5\n" * 1000})

    assert len(found.problems) == 51
    assert found.problems[-1] == "and 1950 more of this kind"
    assert len(parse_aws_auth({"mapRoles": "- 5\n" * 25}).problems) == 50


def test_hostile_text_in_a_problem_cannot_steer_a_terminal() -> None:
    found = parse_aws_auth({"MapRoles\x1b[2J": "", "mapROLES\x1b": "", "mapRoles": "- *\u202e", "mapUsers": "\x1b"})

    assert found.problems
    assert all(problem.isascii() and problem.isprintable() for problem in found.problems)


# --- bounds ---


def bomb(levels: int) -> str:
    lists = [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["- &a0 [x, x, x, x, x, x, x, x, x, x]", *lists])


def test_a_bomb_of_aliases_ends_where_the_verifier_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion texts in nine lines: goyaml.v2 stops at some 400,000 nodes, and so must we."""
    counted = 0
    count = _goyaml._Decoder._count

    def counting(self: _goyaml._Decoder) -> None:
        nonlocal counted
        counted += 1
        count(self)

    monkeypatch.setattr(_goyaml._Decoder, "_count", counting)

    found = parse_aws_auth({"mapRoles": bomb(9)})

    assert found.problems == ("mapRoles: document contains excessive aliasing; nothing of it is used",)
    assert counted < 500_000


def test_accounts_of_aliases_are_not_expanded() -> None:
    found = parse_aws_auth({"mapAccounts": bomb(9)})

    assert found.accounts == ()


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "- &a [*a]", "- &a\n  <<: *a"])
def test_nesting_without_end_is_a_problem_and_no_recursion_error(text: str) -> None:
    found = parse_aws_auth({"mapRoles": "- rolearn: x\n- " + text, "mapAccounts": "- 1\n- " + text})

    assert found.roles == ()
    assert found.problems


SNIPPETS = st.sampled_from(
    ["- ", "\n", "\n  ", "rolearn: ", "username: ", "groups:", "[", "]", "{", "}", "&a ", "*a", "<<: ", "!!int ", "!!",
     "!", "'", '"', "\\u", "\\U00110000", "|", ">", "%TAG ", "---", "...", "\t", ": ", "? ", ".inf", "1_0", "\x85",
     "\ufeff", "~", "sso: ", "#", ","]
)  # fmt: skip
TEXTS = st.text() | st.lists(SNIPPETS | st.text(max_size=3), max_size=30).map("".join)


@given(texts=st.dictionaries(st.sampled_from(["mapRoles", "mapUsers", "mapAccounts"]), TEXTS))
def test_no_text_makes_reading_raise(texts: dict[str, str]) -> None:
    found = parse_aws_auth(texts)

    assert isinstance(map_identity(caller(), access_key_id="", backends=(found,)), KubernetesUser | NotMapped)


NAMES = st.text("abcXYZ019+=,.@_-", min_size=1, max_size=20)
ROLES = st.builds(caller, NAMES, NAMES)
USERS = NAMES.map(lambda name: user(f"arn:aws:iam::{ACCOUNT}:user/{name}"))
ENTRY_LISTS = st.lists(
    st.builds(AccessEntry, TEXTS, st.sampled_from(["", ROLE_ID, "AIDAALICE"]), TEXTS, st.tuples(TEXTS))
)
ENTRY_BACKENDS = st.builds(AccessEntries, ENTRY_LISTS.map(tuple), st.tuples(TEXTS), st.tuples(TEXTS))


@given(identity=ROLES | USERS, backends=st.lists(ENTRY_BACKENDS, max_size=3))
def test_no_entries_make_mapping_raise(identity: CallerIdentity, backends: list[AccessEntries]) -> None:
    assert map_identity(identity, access_key_id=KEY_ID, backends=backends)


@given(identity=ROLES | USERS)
def test_a_row_or_an_entry_for_an_identitys_own_arn_maps_it(identity: CallerIdentity) -> None:
    row = f'- {{"rolearn": "{identity.canonical_arn}", "username": "u", "groups": ["g"]}}'
    entry = AccessEntry(identity.canonical_arn, identity.principal_id, "u", ("g",))

    assert mapped(identity, parse_aws_auth({"mapRoles": row})) == ("u", ("g",))
    assert mapped(identity, AccessEntries((entry,))) == ("u", ("g",))


# --- PyYAML ---


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(EksTokenError, match=r'needs PyYAML: pip install "eks-cross-account\[kubernetes\]"'):
        parse_aws_auth({"mapRoles": "- rolearn: a"})


def test_nothing_to_read_needs_no_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    assert parse_aws_auth({"mapRoles": "``"}) == AwsAuth()


def test_importing_and_mapping_entries_loads_no_yaml() -> None:
    code = (
        "import sys; from eks_cross_account import CallerIdentity, mapping as m; "
        "print(m.map_identity(CallerIdentity('1', 'arn:aws:iam::1:root', '1'), access_key_id='', "
        "backends=[m.AccessEntries()])); print('yaml' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "NotMapped(error='identity is not mapped')\nFalse\n"


def test_blank_lines_within_a_scalar_take_time_by_their_number() -> None:
    def seconds(lines: int) -> float:
        start = time.process_time()
        assert roles("- a" + "\n" * lines + " b") == []
        return time.process_time() - start

    few, many = min(seconds(100_000) for _ in range(3)), seconds(800_000)

    assert many < 24 * few  # 8 times the lines; by its square it is 64
