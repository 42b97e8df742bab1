"""What must hold for any bytes, by what reads them. Needs no fuzzer: tests/test_fuzz.py runs the corpus through it."""

from __future__ import annotations

import json
import re
import time
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from eks_cross_account import MalformedTokenError, decode_token, endpoints
from eks_cross_account._partitions import PARTITIONS
from eks_cross_account.credentials import FrozenCredentials
from eks_cross_account.diagnosis import explain as explain_text
from eks_cross_account.mapping import parse_aws_auth
from eks_cross_account.rules import STS_RULES, VERIFIER_RULES, violations
from eks_cross_account.token import PREFIX, encode_token, read_url, token_signed_by

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
_UNREADABLE = {"too_large", "prefix", "base64", "url_parse"}
_RULES = (*VERIFIER_RULES, *STS_RULES)
_KEYS = FrozenCredentials("AKIAEXAMPLEEXAMPLE01", "secret")
_OUR_HOSTS = {endpoints.GLOBAL_STS_HOST} | {
    host for partition in PARTITIONS for region in partition.regions for host in endpoints.sts_hosts(region)
}
_TOKEN = re.compile(r"k8s-aws-v1\.[A-Za-z0-9_-]{20}")
_LARGE = 200_000  # characters
_PATIENCE = 20.0  # seconds of this process for them; a second is usual
_SOME = 64  # one input of so many is repeated until it is large
_LONG = 49  # characters, one more than a message quotes
_SECRET_PARAMETERS = {"x-amz-signature", "x-amz-security-token"}


def decode_token_target(data: bytes) -> None:
    """``decode_token`` raises its own error alone, shows nothing secret, and agrees with the rules."""
    for token in _tokens(data):
        rules = [violation.rule for violation in violations(token, now=NOW)]
        try:
            shown = repr(decode_token(token))
        except MalformedTokenError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert refused.rule in _UNREADABLE
            assert rules == [refused.rule]
            _assert_printable(str(refused))
            continue
        assert not _UNREADABLE & set(rules)
        assert not any(secret in shown for secret in _secrets(token))


def violations_target(data: bytes) -> None:
    """``violations`` never raises; the order is the verifier's; what passes goes to a host of our data or nowhere."""
    for token in _tokens(data):
        for partition, region in (("aws", None), ("aws", "us-west-2"), ("aws-cn", "cn-north-1"), ("aws-eusc", None)):
            found = violations(token, now=NOW, partition=partition, region=region)
            verifiers = [_RULES.index(broken.rule) for broken in found if broken.judge == "verifier"]
            assert len(set(verifiers)) >= len(verifiers) - 1, "only host can be broken twice"
            assert {broken.rule for broken in found if broken.judge == "sts"} <= set(STS_RULES)
            for broken in found:
                _assert_printable(broken.message)
                assert not any(secret in broken.message for secret in _secrets(token))
            if not found:
                assert endpoints.known_sts_host(read_url(token).host) in {*_OUR_HOSTS, None}
        assert not token_signed_by(token, cluster_name="prod-eks", credentials=_KEYS)


def explain_target(data: bytes) -> None:
    """``explain`` never raises, echoes no token, steers no terminal, and takes time by the length of the text."""
    text = data.decode("utf-8", "replace")
    items = explain_text(text, now=NOW)
    assert len(items) <= 20
    assert explain_text(text, now=NOW) == items
    for item in items:
        _assert_printable(item.summary + item.remedy.text)
        _assert_printable(item.to_text().replace("\n", ""))
        assert _TOKEN.search(json.dumps(item.to_dict())) is None
    if text and zlib.crc32(data) % _SOME == 0:
        _in_time(lambda: explain_text(text * (_LARGE // len(text) + 1), now=NOW))


def aws_auth_target(data: bytes) -> None:
    """``parse_aws_auth`` never raises, and reads the rows that it found again where they are written plainly."""
    text = data.decode("utf-8", "surrogatepass" if _is_passed(data) else "replace")
    found = parse_aws_auth({"mapRoles": text, "mapUsers": text, "mapAccounts": text})
    assert parse_aws_auth({"mapRoles": text, "mapUsers": text, "mapAccounts": text}) == found
    for problem in found.problems:
        _assert_printable(problem)
    for key, field, rows in (("mapRoles", "rolearn", found.roles), ("mapUsers", "userarn", found.users)):
        plain = tuple(row for row in rows if row.arn)
        written = "[" + ",".join(_flow(field, row.arn, row.username, row.groups) for row in plain) + "]"
        again = parse_aws_auth({key: written})
        assert (again.roles or again.users) == plain
    accounts = "[" + ",".join(map(_quoted, found.accounts)) + "]"
    assert parse_aws_auth({"mapAccounts": accounts}).accounts == found.accounts
    if text and zlib.crc32(data) % _SOME == 0:
        _in_time(lambda: parse_aws_auth({"mapRoles": text * (_LARGE // 4 // len(text) + 1)}))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "decode": decode_token_target,
    "violations": violations_target,
    "explain": explain_target,
    "aws_auth": aws_auth_target,
}


def _tokens(data: bytes) -> tuple[str, ...]:
    """The bytes as a token, and as the URL in one."""
    text = data.decode("utf-8", "surrogateescape")
    url = data.decode("latin-1")
    return text, PREFIX + text, encode_token(url), encode_token(f"https://sts.us-west-2.amazonaws.com/?{url}")


def _secrets(token: str) -> list[str]:
    """The values of the token's signature and session token that no message is short enough to hold by chance."""
    query = read_url(token).query if _is_url(token) else ""
    pairs = parse_qsl(query.replace(";", "%3B"), keep_blank_values=True)
    return [value[:_LONG] for name, value in pairs if name.lower() in _SECRET_PARAMETERS and len(value) >= _LONG]


def _is_url(token: str) -> bool:
    try:
        read_url(token)
    except MalformedTokenError:
        return False
    return True


def _is_passed(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _assert_printable(text: str) -> None:
    assert text.isascii(), ascii(text)
    assert text.isprintable(), ascii(text)


def _in_time(call: Callable[[], object]) -> None:
    start = time.process_time()
    call()
    assert time.process_time() - start < _PATIENCE


def _flow(field: str, arn: str, username: str, groups: tuple[str, ...]) -> str:
    return f"{{{field}: {_quoted(arn)}, username: {_quoted(username)}, groups: [{','.join(map(_quoted, groups))}]}}"


def _quoted(text: str) -> str:
    """YAML 1.1's double quotes, with every character of the text as an escape."""
    return '"' + "".join(f"\\U{ord(char):08X}" for char in text) + '"'
