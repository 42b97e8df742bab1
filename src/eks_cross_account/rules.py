"""The verifier's rules, in its order, and the further ones that STS enforces. Touches nothing.

Source of the first: tokenVerifier.Verify of aws-iam-authenticator v0.7.18, the program EKS runs; ids are the stages
of tests/vectors. Of the second: the verifier sends STS only ``host``, ``x-k8s-aws-id`` and ``accept``, so what else
was signed, or signed for another scope, fails there.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from eks_cross_account import _gourl, endpoints
from eks_cross_account._printable import printable
from eks_cross_account.errors import MalformedTokenError
from eks_cross_account.token import LIFE, MAX_EXPIRES_IN, amz_date_ns, read_url, single_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERIFIER_RULES = (
    "too_large",
    "prefix",
    "base64",
    "url_parse",
    "scheme",
    "host",
    "host_region",
    "host_global",
    "host_partition",
    "path",
    "query",
    "dup_case",
    "param",
    "dup",
    "action",
    "signed_headers",
    "expires",
    "date_missing",
    "date_format",
    "date_expired",
)
STS_RULES = (
    "sts_signed_headers",
    "sts_scope_host",
    "sts_scope_date",
    "sts_key_id",
    "sts_session_token",
    "sts_future",
    "sts_userinfo",
)

_PARAMETERS = frozenset(
    {
        "action",
        "version",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)
_SENT_HEADERS = ("host;x-k8s-aws-id", "accept;host;x-k8s-aws-id")  # all that the verifier's request to STS carries
_SECRETS = re.compile(r"[&=?]|x-amz-(?:security-token|signature)(?!;)", re.IGNORECASE | re.ASCII)
_SHOWN_LENGTH = 48  # shorter than a signature
_ATOI = re.compile(r"[+-]?[0-9]+")
_DATE_SHAPE = "20060102T150405Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_NS = 60 * 10**9
_LIFE_NS = int(LIFE.total_seconds()) * 10**9
_FUTURE_NS = 5 * _MINUTE_NS  # how far ahead STS lets a date be
_REMINT = "mint a new token: eks-token-check token, or get_token()"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule. ``judge``: who refuses, the cluster's verifier or STS behind it."""

    rule: str
    judge: Literal["verifier", "sts"]
    message: str
    remedy: str


class _Subject(NamedTuple):
    """What the rules look at. ``names`` and ``values`` are by lower-cased name; ``values`` has the unambiguous ones."""

    url: _gourl.Url
    names: tuple[tuple[str, str], ...]
    clean_query: bool
    values: dict[str, str]
    now_ns: int
    partition: str
    region: str | None


def violations(
    token: str, *, now: datetime, partition: str = "aws", region: str | None = None
) -> tuple[Violation, ...]:
    """Every rule this token breaks, the verifier's in its order, then those of STS; empty when none.

    ``now``: an aware datetime. ``partition``: the cluster's. ``region``: the cluster's, if known; it makes the
    verifier accept that region's host names even where no SDK knows the region. Never raises for any token. A rule
    whose input an earlier one destroyed is skipped: a text that is no URL has no date.
    """
    try:
        url = read_url(token)
    except MalformedTokenError as error:
        return (Violation(error.rule, "verifier", str(error), _MALFORMED_REMEDIES[error.rule]),)
    pairs, clean = _gourl.parse_query(url.query)
    texts = [_gourl.text(name) for name, _ in pairs]
    names = tuple((name, _gourl.lower(name)) for name in texts)
    now_ns = (now - _EPOCH) // timedelta(microseconds=1) * 1000
    subject = _Subject(url, names, clean, single_parameters(pairs), now_ns, partition, region)
    found: list[Violation] = []
    for rule in (*_VERIFIER, *_STS):
        found.extend(rule(subject))
    return tuple(found)


_MALFORMED_REMEDIES = {
    "too_large": "assume the role with fewer session tags, without a session policy, or over fewer hops: the session "
    "token is what grows",
    "prefix": "paste the token alone, from 'k8s-aws-v1.' to its end",
    "base64": "encode with base64.urlsafe_b64encode(...).rstrip(b'='), and keep other output off the token's line",
    "url_parse": _REMINT,
}


def _verifier(rule: str, message: str, remedy: str) -> Violation:
    return Violation(rule, "verifier", message, remedy)


def _sts(rule: str, message: str, remedy: str) -> Violation:
    return Violation(rule, "sts", message, remedy)


def _scheme(subject: _Subject) -> Iterator[Violation]:
    if subject.url.scheme != "https":
        yield _verifier("scheme", f"the URL's scheme is {_shown(subject.url.scheme)}, not https", _REGIONAL_HOST)


def _host(subject: _Subject) -> Iterator[Violation]:
    host = _gourl.text(subject.url.host)
    rule = endpoints.host_violation(host, partition=subject.partition, region=subject.region)
    if rule is None:
        return
    shown = _shown_host(host)
    messages = {
        "host": f"{shown} is not a host name of STS",
        "host_region": f"{shown} has no region where an STS name has one",
        "host_global": f"{shown} is the global endpoint, which only clusters of partition aws take",
        "host_partition": f"{shown} is not of the cluster's partition {subject.partition}",
    }
    yield _verifier(rule, messages[rule], _host_hint(host) or _REGIONAL_HOST)


_REGIONAL_HOST = (
    "sign for the plain regional name, https://sts.<region>.<suffix of the partition>/, whatever endpoint URL the "
    "client is configured with (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS)"
)


def _shown_host(host: str) -> str:
    return _shown(host) if host else "an empty host"


def _host_hint(host: str) -> str | None:
    if ":" in host:
        return "leave the port out, 443 too: the verifier compares the whole name; " + _REGIONAL_HOST
    if ".vpce." in host:
        return "a VPC endpoint's own name is refused; with private DNS the regional name reaches it; " + _REGIONAL_HOST
    return None


def _path(subject: _Subject) -> Iterator[Violation]:
    if subject.url.path != "/":
        yield _verifier("path", "the URL's path is not '/'", "sign https://<host>/?..., with that one slash")


def _query(subject: _Subject) -> Iterator[Violation]:
    if not subject.clean_query:
        yield _verifier(
            "query", "the query has a raw ';' or a percent sign without two hex digits", "percent-encode every value"
        )


def _names(subject: _Subject) -> Iterator[Violation]:
    if not subject.clean_query:
        return
    spellings = Counter(lowered for _, lowered in dict.fromkeys(subject.names))
    if any(count > 1 for count in spellings.values()):
        yield _verifier("dup_case", "a parameter occurs twice, in different upper and lower case", _ONCE)
    foreign = sorted({lowered for _, lowered in subject.names} - _PARAMETERS)
    if foreign:
        shown = ", ".join(_shown(name) for name in foreign[:3]) + (" ..." if foreign[3:] else "")
        yield _verifier("param", f"the verifier knows no parameter {shown}", _FOREIGN)
    if any(count > 1 for count in Counter(name for name, _ in subject.names).values()):
        yield _verifier("dup", "a parameter occurs more than once", _ONCE)


_ONCE = "sign a URL that has each parameter once"
_FOREIGN = (
    "sign only what presign() signs; x-k8s-aws-id and other headers must stay headers, some presigners hoist them "
    "into the query"
)


def _action(subject: _Subject) -> Iterator[Violation]:
    action = _value(subject, "action")
    if action is not None and action != "GetCallerIdentity":
        shown = _shown(action) if action else "missing"
        yield _verifier("action", f"Action is {shown}, not 'GetCallerIdentity'", "presign sts:GetCallerIdentity")


def _signed_headers(subject: _Subject) -> Iterator[Violation]:
    headers = _value(subject, "x-amz-signedheaders")
    # Go compares with EqualFold: simple case folding, which casefold() agrees with for this ASCII name
    if headers is not None and "x-k8s-aws-id" not in (name.casefold() for name in headers.split(";")):
        yield _verifier(
            "signed_headers",
            "the header x-k8s-aws-id (the cluster's name) was not signed",
            "add the header before signing, so that X-Amz-SignedHeaders is exactly host;x-k8s-aws-id",
        )


def _expires(subject: _Subject) -> Iterator[Violation]:
    expires = _value(subject, "x-amz-expires")
    if expires is None or (_ATOI.fullmatch(expires) and 0 <= int(expires) <= MAX_EXPIRES_IN):
        return
    shown = _shown(expires) if expires else "missing"
    yield _verifier("expires", f"X-Amz-Expires is {shown}; it must be 0 to 900 seconds", "sign with X-Amz-Expires=60")


def _date(subject: _Subject) -> Iterator[Violation]:
    date = _value(subject, "x-amz-date")
    if date is None:
        return
    if not date:
        yield _verifier("date_missing", "X-Amz-Date is missing", _REMINT)
        return
    signed_at = amz_date_ns(date)
    if signed_at is None:
        yield _verifier("date_format", f"X-Amz-Date is {_shown(date)}, not of the form {_DATE_SHAPE}", _REMINT)
    elif subject.now_ns > signed_at + _LIFE_NS:
        ago = _duration(subject.now_ns - signed_at - _LIFE_NS)
        yield _verifier(
            "date_expired",
            f"token expired {ago} ago (signed {_clock(date)}, good for 15 minutes)",
            f"{_REMINT}; if it was new, this clock or the signer's is wrong",
        )


def _request(subject: _Subject) -> Iterator[Violation]:
    """http.NewRequest reads the URL as written out again, and what is ``%FF`` then no zone of an IPv6 address may have.

    (Other names with such a byte, whose second label is "global", get as far as DNS.)
    """
    host = subject.url.host
    if host.startswith("[") and not host.isascii() and not any(_host(subject)):
        shown = _shown_host(_gourl.text(host))
        yield _verifier("host", f"{shown} is not a host name of STS, and no request can be made to it", _REGIONAL_HOST)


def _sts_signed_headers(subject: _Subject) -> Iterator[Violation]:
    headers = _value(subject, "x-amz-signedheaders")
    if headers is None or headers in _SENT_HEADERS or any(_signed_headers(subject)):
        return
    yield _sts(
        "sts_signed_headers",
        f"signed headers are {_shown(headers)}; the cluster sends host, x-k8s-aws-id and accept and no other",
        "sign exactly host;x-k8s-aws-id; switch off the SDK's middleware that adds headers (amz-sdk-request)",
    )


def _sts_scope(subject: _Subject) -> Iterator[Violation]:
    credential = _value(subject, "x-amz-credential")
    if credential is None:
        return
    scope = credential.split("/")[1:]
    expected = _scope_region(subject)
    if expected is None and not any(_host(subject)):
        message = "the host is no STS name that this release knows, so no scope can be told to fit it"
        yield _sts("sts_scope_host", message, _REGIONAL_HOST)
    elif expected is not None and scope[1:] != [expected, "sts", "aws4_request"]:
        seen = _shown("/".join(scope[1:])) if scope[1:] else "none"
        message = f"the host needs the scope {expected}/sts/aws4_request, the credential has {seen}"
        yield _sts("sts_scope_host", message, "sign with the region of the host; for sts.amazonaws.com it is us-east-1")
    date = _value(subject, "x-amz-date")
    if date and amz_date_ns(date) is not None and (not scope or scope[0] != date[:8]):
        yield _sts(
            "sts_scope_date",
            f"the scope's day is {_shown(scope[0]) if scope else 'missing'}, X-Amz-Date's is {date[:8]}",
            "read the clock once for both",
        )


def _scope_region(subject: _Subject) -> str | None:
    host = _gourl.text(subject.url.host)
    if subject.region is not None and host.split(".")[1:2] == [subject.region] and not any(_host(subject)):
        return subject.region  # a region younger than our data, vouched for by the cluster itself
    return endpoints.region_of_sts_host(host)


def _sts_key(subject: _Subject) -> Iterator[Violation]:
    credential = _value(subject, "x-amz-credential")
    if credential is None:
        return
    access_key_id = credential.split("/", maxsplit=1)[0]
    if not access_key_id:
        yield _sts(
            "sts_key_id", "the access key id is empty: the signer had no credentials", "find out why none were found"
        )
    elif access_key_id.startswith("ASIA") and _value(subject, "x-amz-security-token") == "":
        yield _sts(
            "sts_session_token",
            "the access key id is temporary (ASIA...) but there is no X-Amz-Security-Token",
            "pass all three of key, secret and session token (AWS_SESSION_TOKEN) to the signer",
        )


def _sts_future(subject: _Subject) -> Iterator[Violation]:
    signed_at = amz_date_ns(_value(subject, "x-amz-date") or "")
    if signed_at is not None and signed_at > subject.now_ns + _FUTURE_NS:
        ahead = _duration(signed_at - subject.now_ns)
        yield _sts("sts_future", f"the token's date is {ahead} in the future", "set the signer's clock (NTP)")


def _sts_userinfo(subject: _Subject) -> Iterator[Violation]:
    if subject.url.has_userinfo:
        yield _sts(
            "sts_userinfo",
            "the URL has a user name, which the verifier turns into a second Authorization header",
            "sign a URL without anything before the host",
        )


_VERIFIER: tuple[Callable[[_Subject], Iterator[Violation]], ...] = (
    _scheme,
    _host,
    _path,
    _query,
    _names,
    _action,
    _signed_headers,
    _expires,
    _date,
    _request,
)
_STS: tuple[Callable[[_Subject], Iterator[Violation]], ...] = (
    _sts_signed_headers,
    _sts_scope,
    _sts_key,
    _sts_future,
    _sts_userinfo,
)


def _value(subject: _Subject, name: str) -> str | None:
    """The parameter's value, "" when it is missing; None when it is ambiguous or the query could not be read."""
    if not subject.clean_query:
        return None
    if name in subject.values:
        return subject.values[name]
    return None if any(lowered == name for _, lowered in subject.names) else ""


def _shown(value: str) -> str:
    """What a message may quote. A lost separator makes a secret a part of the value before it: cut where it begins."""
    match = _SECRETS.search(value)
    kept = value if match is None else value[: match.start()]
    return printable(kept if kept == value and len(kept) <= _SHOWN_LENGTH else kept[: _SHOWN_LENGTH - 3] + "...")


def _duration(nanoseconds: int) -> str:
    seconds = nanoseconds // 10**9
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds else "less than a second"


def _clock(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]} {date[9:11]}:{date[11:13]}:{date[13:15]}Z"
