"""aws-auth by the thousand, from a seed: what people write, what YAML makes of other things, and both cut and spliced.

Not made, because ours is known to differ there and says so where it does:
- two rows of mapUsers, or of mapRoles, that only Unicode's case folding makes equal: the verifier asks a Go map, in
  random order (mapping._ambiguous);
- nesting deeper than 100 (_goyaml._MAX_DEPTH);
- a character that YAML does not allow, in a text of more than 512 bytes (_goyaml.compose).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

ACCOUNT, OTHER = "123456789012", "999999999999"
BLOCK = 512  # bytes that the verifier's YAML reader takes at once
DISALLOWED = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

LISTS = [
    """\
- rolearn: arn:aws:iam::123456789012:role/airflow
  username: airflow
  groups:
  - system:masters
  - data-team
- rolearn: arn:aws:iam::123456789012:role/node
  username: system:node:{{EC2PrivateDNSName}}
  groups:
    - system:nodes
    - "system:bootstrappers"
""",
    """\
- userarn: arn:aws:iam::123456789012:user/alice
  username: alice
  groups: [system:masters, g]
-
  groups:
    - 'x y'
  userarn: "arn:aws:iam::123456789012:user/NIC"
  username: nic
""",
    """\
- {rolearn: arn:aws:iam::1:role/a, username: 'u', groups: [a, b]}
- sso:
    permissionSetName: Admin
    accountID: "123456789012"
  username: sso
  groups: [g]
""",
    """\
- &a
  rolearn: arn:x
  username: &u name
  groups: &g
  - one
  - two
- <<: *a
  rolearn: arn:y
- rolearn: z
  username: *u
  groups: *g
""",
    """\
- rolearn: >-
    arn:aws:iam::1:role/
    x
  username: |
    two
    lines
  groups:
  - |+
    keep

  - last
""",
    """\
# comment
---
- rolearn: a # c
  username: b
...
---
- rolearn: c
""",
]
ACCOUNTS = [
    '- "123456789012"\n- 012345678901\n- 0123\n', "- 1\n- [2]\n- ~\n- x\n", "[1, '2', a: b, !!str 5]\n",
    "- !!int x\n- 5\n", "5\n", "- &a 1\n- *a\n",
]  # fmt: skip
SCALARS = [
    "12345", "0x1F", "0b11", "0o17", "017", "089", "1_000", "1e3", "1.5", ".5", ".5e3", ".1_0", "1:30", "-1", "+5",
    "-0b1", "0b-1", "0b+1", "+0x1", "-0o7", "0_1", "_1", "-1.5e-3", "1.", "1.e5", "+.5", "-.5", "0.0", "-0", "00", "0x",
    "0b", "1__0", "12_", "1,000", "012345678901", "0777_7", "1e3_0", "1_0.5", ".5_", ".e5", ". 5", "..5", "1e999",
    "18446744073709551615", "9223372036854775808", "99999999999999999999999", "-9223372036854775808",
    "-9223372036854775809", "yes", "No", "on", "y", "N", "true", "True", "tRUE", "~", "null", "Null", "nULL", "", "''",
    '""', ".inf", "-.INF", ".nan", "+.inf", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "!!timestamp 2001-01-01",
    "!!timestamp 2001-02-30", "!!timestamp 2000-02-29", "!!timestamp 2001-1-1T24:00:00Z",
    "!!timestamp 2001-1-1 1:1:1,5", "!!timestamp 2001-1-1T1:1:1+24:60", "!!timestamp 2001-1-1T1:1:1+25:00",
    "!!timestamp '0000-02-29'", "!!str 5", "!!int 5", "!!int x", "!!float 1", "!!bool yes", "!!null x", "!!null ''",
    "!!binary YWJj", "!!binary x=", "!foo bar", "! 12", "!<tag:yaml.org,2002:str> 5", "!!seq [a]", "!!map {a: b}",
    "!!set {a}", '!!int "5"', "!!float 'x'", "!!bool 'yes'", "!", "!!", "!a!b c", "[]", "{}", "[a, b]", "[a, 1, ~, x]",
    "{a: b}", "[[a], [b]]", "[a: b]", "[? a : b]", "[?]", "[? , a]", "[? : b]", "[: b]", "{: b}", "{a: , b}", "{a,b: }",
    "{? a}", "{?}", "[a,,b]", "[,]", "[a,]", "{a:b}", "{'a':b}", "[a:b]", "[a::b]", "{}: b", "[]: b", "[] a: b",
    "[{}: b]", "[a,b", "{a", "a]", "<<", "=", "-", "?", ":", "a:b", "a: b", "a #b", "a#b", "a,b", "'it''s'", "'a", '"a',
    '"\\u0041\\x41\\n"', '"\\/"', '"\\\'"', '"\\ud800"', '"\\U00110000"', '"a\\\n  b"', "\u00e9", "\u65e5\u672c",
    "\u017f", "\u212a", "{{SessionName}}", "*a", "*u", "&b c", "&", "*", "@x", "`x", "%x", "|", "|\n    text",
    "> \n    a\n    b", "|2\n    x", "|-\n      x\n      y", '"a\n  b\n\n  c"', "plain\n    more\n\n    most", "a\tb",
    "a\t", "\ta", "\t", "\u00a0x", "x\u2028y", "x\u0085y", "\ufeffx", "--", "---", "...", "--- a", "- a", "- - a",
    "? a", "? a\n  : b", ": a", "http://x", "x: ",
]  # fmt: skip
FIELDS = ["rolearn", "userarn", "username", "groups", "sso"]
SSO_FIELDS = ["permissionSetName", "accountID", "partition", "accountid"]
KEYS = [
    *FIELDS, *SSO_FIELDS, "userid", "RoleARN", "roleArn", "USERNAME", "Groups", "gROUPS", "SSO", "u\u017fername",
    "group\u017f", "\u017f\u017fo", "username\u212a", "\u212ausername", "extra", "1", "1.0", "true", "~",
    "18446744073709551615", "9223372036854775807", ".nan", "'rolearn'", '"username"', "!!str rolearn", "? username",
    "<<", "'<<'", "! <<", "!!merge <<", "[a]", "{a: b}", "{}", "[]", "*u", "&k username", "\trolearn", "username\t",
    "username ", "user name",
]  # fmt: skip
VALUES = ["arn:aws:iam::1:role/x", "[a, b]", "u", "\n  - a\n  - b", "\n    - a\n    - b"]
SSO_VALUES = ["Admin", '"123456789012"', "aws", "x"]
PIECES = [
    "\t", " ", "  ", "\n", "\n\n", "#", "# c\n", ":", "-", " - ", "- ", "'", '"', "[", "]", "{", "}", ",", "&a ", "*a",
    "*u", "!", "!!str ", "|", "> ", "?", "? ", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n", "%TAG ! tag:x,2000:\n---\n",
    "---\n", "...\n", "\r", "\r\n", "\u0085", "\u2028", "\ufeff", "\x00", "\x07", "\\", "`", "@", "~", "<<: *a\n",
    "\n  <<: [*a, *a]", "\n  username: dup", "\n  Username: dup2", "\n  groups: [x, 1]", "\n  GROUPS: ~",
    "\n  Groups: []", "\n  sso: {}", "\n  sso: ~", "\u00e9", "\U0001f600", "\u00a0", "a" * 1030,
]  # fmt: skip


def documents(rng: Random, count: int) -> Iterator[dict[str, str]]:
    """The ``data`` of ConfigMaps, each with one list or more."""
    made = 0
    while made < count:
        data = {key: _mutated(rng, _rows(rng)) for key in ("mapRoles", "mapUsers") if rng.random() < 0.75}
        if rng.random() < 0.4:
            data["mapAccounts"] = _mutated(rng, _accounts(rng))
        if data:
            made += 1
            yield data


def _rows(rng: Random) -> str:
    if rng.random() < 0.45:
        return rng.choice(LISTS)
    rows = (_row(rng) for _ in range(rng.randint(1, 3)))
    return "\n".join(rows) + rng.choice(("", "\n"))


def _row(rng: Random) -> str:
    lines = [_line(rng) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.6:
        lines.insert(0, rng.choice(("rolearn: arn:r", "userarn: arn:u")))
    return "- " + "\n  ".join(lines)


def _line(rng: Random) -> str:
    key = rng.choice(KEYS if rng.random() < 0.5 else FIELDS)
    value = rng.choice(SCALARS if rng.random() < 0.7 else VALUES)
    if key in {"sso", "SSO"} and rng.random() < 0.6:
        inner = (f"{rng.choice(SSO_FIELDS)}: {rng.choice([*SSO_VALUES * 10, *SCALARS])}" for _ in range(3))
        value = "\n    " + "\n    ".join(inner)
    return f"{key}:{rng.choice((' ', ' ', ' ', ' ', '', '  ', chr(9)))}{value}"


def _accounts(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(ACCOUNTS)
    return "".join(f"- {rng.choice(SCALARS)}\n" for _ in range(3))


def _mutated(rng: Random, text: str) -> str:
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        text = _changed(rng, text)
    return text if len(text.encode()) <= BLOCK else DISALLOWED.sub("", text)


def _changed(rng: Random, text: str) -> str:
    at, how = rng.randint(0, len(text)), rng.random()
    if how < 0.45:
        return text[:at] + rng.choice(PIECES) + text[at:]
    if how < 0.6:
        return text[:at] + text[at + rng.randint(1, 4) :]
    if how < 0.7:
        start, end = sorted((at, rng.randint(0, len(text))))
        return text[:end] + text[start:end] + text[end:]
    if how < 0.8:
        return _line_changed(rng, text)
    words = re.findall(r"[\w:/\"'-]+", text)
    if how < 0.9 and words:
        return text.replace(rng.choice(words), rng.choice(SCALARS), 1)
    return text[:at] + rng.choice(SCALARS) + text[at:]


def _line_changed(rng: Random, text: str) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    line = lines[at]
    lines[at] = rng.choice((" " + line, line[1:], line + "\t", "\t" + line, line + " # c", line.upper()))
    return "\n".join(lines)


# --- who comes, and how the lists say he is let in ---

NAMES = ["air", "AIR", "p/air", "air*", "key", "\u212aey", "s", "\u017f", "ix", "\u0130x"]
SESSIONS = [
    "s", "bob@x.y", "i-0123456789abcdef0", "i-01234567", "i-0123", "{{AccessKeyID}}", "{{SessionNameRaw}}",
    "{{EC2PrivateDNSName}}", "",
]  # fmt: skip
TEMPLATES = [
    "u", "system:x", "eks:a", "{{SessionName}}", "{{SessionNameRaw}}-{{AccountID}}", "{{AccessKeyID}}",
    "{{EC2PrivateDNSName}}", 'a{{EC2PrivateDNSName}}\n"\u00e9\u0007\u00ad\U0001f600\\', "",
    "{{Session{{AccountID}}Name}}", "eks:{{SessionName}}",
]  # fmt: skip
RESERVED = [(), ("aws:", "eks:", "system:"), ("",), ("u",)]
USER_IDS = ["AROA1", "AIDA1", "AROA2"]
KEY_ID = "ASIAEXAMPLEEXAMPLE01"


def mappings(rng: Random, count: int) -> Iterator[dict[str, Any]]:
    """What is asked: ``caller`` (STS's three fields) and ``backends``, each ``aws_auth`` or ``dynamic_file``."""
    for _ in range(count):
        yield {"caller": _caller(rng), "backends": [_backend(rng) for _ in range(rng.randint(1, 3))]}


def _caller(rng: Random) -> dict[str, str]:
    account, name, session = rng.choice((ACCOUNT, ACCOUNT, ACCOUNT, OTHER)), rng.choice(NAMES), rng.choice(SESSIONS)
    arn, user_id = rng.choice(
        (
            *[(f"arn:aws:sts::{account}:assumed-role/{name}/{session}", f"AROA1:{session}")] * 6,
            *[(f"arn:aws:iam::{account}:user/{name}", "AIDA1")] * 2,
            (f"arn:aws:sts::{account}:federated-user/{name}", f"{account}:{name}"),
            (f"arn:aws:iam::{account}:root", account),
        )
    )
    return {"account": account, "arn": arn, "user_id": user_id}


def _backend(rng: Random) -> dict[str, Any]:
    reserved, accounts = rng.choice(RESERVED), rng.choice(([], [ACCOUNT], [OTHER]))
    if rng.random() < 0.5:
        return {"dynamic_file": _dynamic_file(rng, accounts), "reserved_prefixes": reserved}
    roles = _rows_of_one_spelling(rng, "rolearn")
    if rng.random() < 0.1:
        roles.append({"sso": {"permissionSetName": "Admin", "accountID": ACCOUNT}})
    lists = {"mapRoles": roles, "mapUsers": _rows_of_one_spelling(rng, "userarn"), "mapAccounts": accounts}
    return {"aws_auth": {key: json.dumps(rows) for key, rows in lists.items()}, "reserved_prefixes": reserved}


def _rows_of_one_spelling(rng: Random, field: str) -> list[dict[str, Any]]:
    """Rows of which none has another's ARN in other letters. The very same ARN may be there twice."""
    rows = [_mapping(rng, field) for _ in range(rng.randint(0, 3))]
    spellings = {row[field].casefold().replace("i\u0307", "i"): row[field] for row in rows}
    return [row for row in rows if row[field] in spellings.values()]


def _mapping(rng: Random, field: str) -> dict[str, Any]:
    name = rng.choice(NAMES)
    arn = rng.choice(
        (
            *[f"arn:aws:iam::{ACCOUNT}:role/{name}"] * 4,
            *[f"arn:aws:iam::{ACCOUNT}:user/{name}"] * 2,
            f"ARN:aws:iam::{ACCOUNT}:role/{name}",
            f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/s",
            f"arn:aws:sts::{ACCOUNT}:federated-user/{name}",
            f"arn:aws:iam::{ACCOUNT}:root",
            "arn:aws-xx:iam::1:role/a",
            "x",
        )
    )
    groups = [rng.choice(TEMPLATES) for _ in range(rng.randint(0, 2))]
    return {field: arn, "username": rng.choice(TEMPLATES), "groups": groups}


def _dynamic_file(rng: Random, accounts: list[str]) -> dict[str, Any]:
    ids = [*USER_IDS, ACCOUNT, ""] if rng.random() < 0.2 else USER_IDS
    rows = [{**_mapping(rng, "rolearn"), "userid": rng.choice(ids)} for _ in range(rng.randint(0, 3))]
    if rows and rng.random() < 0.3:
        rows[0]["rolearn"] = ""
    return {"mapRoles": rows, "mapUsers": [], "mapAccounts": accounts}
