"""The token format: presign a GetCallerIdentity request (SigV4), encode and decode it. Touches nothing.

No socket, no clock, no environment: time is an argument. The format is the one of aws-iam-authenticator and
``aws eks get-token``: ``k8s-aws-v1.`` and the base64url, unpadded, of a presigned URL of STS.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from eks_cross_account import _gourl, endpoints
from eks_cross_account._printable import printable
from eks_cross_account.errors import ClusterError, CredentialsError, MalformedTokenError, UnknownRegionError

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "k8s-aws-v1."
MAX_BYTES = 4096  # maxTokenLenBytes of the verifier, prefix included
LIFE = timedelta(minutes=15)  # presignedURLExpiration of the verifier, from X-Amz-Date, whatever X-Amz-Expires says
MAX_EXPIRES_IN = 900  # the verifier's upper bound for X-Amz-Expires, in seconds
CLUSTER_HEADER = "x-k8s-aws-id"

_CLUSTER_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")  # EKS CreateCluster
_PAYLOAD = re.compile(rb"[A-Za-z0-9_-]*")
_AMZ_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:[.,](\d+))?Z", re.ASCII)
_DECODABLE_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{0,5})?")
_CREDENTIAL = re.compile(r"(\w{0,128})/([\w.-]{1,64}(?:/[\w.-]{1,64}){3})", re.ASCII)
_ACCESS_KEY_ID = re.compile(r"\w{1,128}", re.ASCII)  # accessKeyIdType of STS, with a shorter least length
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,48}")  # shorter than a signature
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NO_BODY = hashlib.sha256(b"").hexdigest()
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"  # RFC 3986; SigV4 quotes all else
_VISIBLE = bytes(range(0x21, 0x7F))  # of ASCII
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # the Gregorian calendar repeats; it carries year 0, which datetime lacks
_NANOSECONDS = 10**9


class SigningCredentials(Protocol):
    """A frozen triple, named as botocore names it."""

    @property
    def access_key(self) -> str: ...  # noqa: D102
    @property
    def secret_key(self) -> str: ...  # noqa: D102
    @property
    def token(self) -> str | None: ...  # noqa: D102


class EksToken:
    """A bearer token and the moment (UTC) after which it must not be sent. ``str()`` and ``repr()`` hide the value.

    Written out, because the module dataclasses alone costs the command ``token`` a fifth of its time.
    """

    __slots__ = ("expiration", "value")
    value: str
    expiration: datetime

    def __init__(self, value: str, expiration: datetime) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "expiration", expiration)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a token does not change: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a token does not change: {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EksToken):
            return NotImplemented
        return (self.value, self.expiration) == (other.value, other.expiration)

    def __hash__(self) -> int:
        return hash((self.value, self.expiration))

    def __reduce__(self) -> tuple[type[EksToken], tuple[str, datetime]]:
        return EksToken, (self.value, self.expiration)

    def __repr__(self) -> str:
        return f"EksToken(expiration={self.expiration!r})"

    @property
    def bearer(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self.value}"


class DecodedToken(NamedTuple):
    """What can be read in a token. *Unverified*: only an answer of STS makes an identity of it.

    A field is None where the token has it missing, twice or unreadable. ``expiration`` is ``issued_at`` + 15 min (the
    verifier's own reckoning); ``expires_in`` is X-Amz-Expires in seconds, which nobody heeds. Holds neither the
    signature nor the session token nor the URL.
    """

    sts_host: str | None
    region: str | None
    access_key_id: str | None
    credential_scope: str | None
    issued_at: datetime | None
    expiration: datetime | None
    expires_in: int | None
    signed_headers: tuple[str, ...]
    has_session_token: bool
    size_bytes: int


def presign(  # noqa: PLR0913 - a token's parts
    credentials: SigningCredentials,
    *,
    cluster_name: str,
    region: str,
    now: datetime,
    sts_host: str | None = None,
    expires_in: int = 60,
    fips: bool = False,
    dual_stack: bool = False,
) -> str:
    """The presigned GetCallerIdentity URL that ``encode_token`` turns into a token.

    ``credentials``: one frozen triple. ``expires_in``: seconds, 0 to 900; 60 as every peer signs, although the
    verifier counts 15 minutes from the date. ``sts_host`` must be an STS name that the verifier accepts; the scope's
    region is then the host's. Parameters are in the order of the Go generator.

    Raises ClusterError, UnknownRegionError, CredentialsError (empty; ASIA key without session token; token over 4096
    bytes), TypeError for credentials that refresh themselves (they can change between two reads), ValueError for a
    naive ``now`` or an impossible ``expires_in``.
    """
    check_cluster_name(cluster_name)
    host, scope_region = _host_and_region(region, sts_host, fips=fips, dual_stack=dual_stack)
    _check_credentials(credentials)
    _check_expires_in(expires_in)
    moment = _amz_date(now)
    scope = f"{moment[:8]}/{scope_region}/sts/aws4_request"
    session = f"&X-Amz-Security-Token={_quote(credentials.token)}" if credentials.token else ""
    # in SigV4's order as written, and quoted: of what is filled in only the session token can need it
    query = (
        "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={credentials.access_key}%2F{scope.replace('/', '%2F')}&X-Amz-Date={moment}"
        f"&X-Amz-Expires={expires_in}{session}&X-Amz-SignedHeaders=host%3B{CLUSTER_HEADER}"
    )
    headers = f"host:{host}\n{CLUSTER_HEADER}:{cluster_name}\n"
    signature = _signature(credentials.secret_key, scope, moment, query, headers, f"host;{CLUSTER_HEADER}")
    url = f"https://{host}/?{query}&X-Amz-Signature={signature}"
    _check_size(url, credentials)
    return url


def encode_token(url: str) -> str:
    """The token of a presigned URL: prefix and unpadded base64url."""
    # base64.urlsafe_b64encode and rstrip, in half their time
    text = b2a_base64(url.encode(), newline=False).decode("ascii")
    return PREFIX + text.rstrip("=").replace("+", "-").replace("/", "_")


def decode_token(token: str) -> DecodedToken:
    """What the token says of itself, unverified.

    Raises MalformedTokenError (``.rule``: too_large, prefix, base64 or url_parse) and nothing else.
    """
    url = read_url(token)
    pairs, _ = _gourl.parse_query(url.query)
    parameters = single_parameters(pairs)
    host = url.host if _DECODABLE_HOST.fullmatch(url.host) else None
    credential = _CREDENTIAL.fullmatch(parameters.get("x-amz-credential", ""))
    expires = _INTEGER.fullmatch(parameters.get("x-amz-expires", ""))
    headers = parameters.get("x-amz-signedheaders")
    issued_at = _datetime(amz_date_ns(parameters.get("x-amz-date", "")))
    return DecodedToken(
        sts_host=host,
        region=None if host is None else endpoints.region_of_sts_host(host),
        access_key_id=credential[1] or None if credential else None,
        credential_scope=credential[2] if credential else None,
        issued_at=issued_at,
        expiration=_later(issued_at, LIFE),
        expires_in=int(expires[0]) if expires else None,
        signed_headers=() if headers is None else tuple(_header_name(name) for name in headers.split(";")),
        has_session_token=bool(parameters.get("x-amz-security-token")),
        size_bytes=size_bytes(token),
    )


def token_signed_by(token: str, *, cluster_name: str, credentials: SigningCredentials) -> bool:
    """Whether these credentials signed this token for this cluster name: signed again, compared in constant time.

    False also for a text that is no token. Without a network: says nothing about the key being alive at AWS.
    """
    try:
        url = read_url(token)
    except MalformedTokenError:
        return False
    pairs, _ = _gourl.parse_query(url.query)
    texts = [(_gourl.text(name), _gourl.text(value)) for name, value in pairs]
    values = dict(texts)
    access_key, _, scope = values.get("X-Amz-Credential", "").partition("/")
    names = values.get("X-Amz-SignedHeaders", "")
    sent = {"host": url.host, CLUSTER_HEADER: cluster_name, "accept": "application/json"}
    if scope.count("/") != 3 or len(values) != len(texts) or not set(names.split(";")) <= set(sent):  # noqa: PLR2004
        return False
    expected = _signature(
        credentials.secret_key,
        scope,
        values.get("X-Amz-Date", ""),
        _canonical_query((name, value) for name, value in texts if name != "X-Amz-Signature"),
        "".join(f"{name}:{sent[name]}\n" for name in names.split(";")),
        names,
    )
    same_key = hmac.compare_digest(access_key.encode(), credentials.access_key.encode())
    return hmac.compare_digest(expected.encode(), values.get("X-Amz-Signature", "").encode()) and same_key


def check_cluster_name(cluster_name: str) -> None:
    """ClusterError unless EKS could have given a cluster this name."""
    if not isinstance(cluster_name, str) or not _CLUSTER_NAME.fullmatch(cluster_name):
        hint = ""
        if isinstance(cluster_name, str) and ":cluster/" in cluster_name:
            hint = " (this looks like an ARN: the name is the part after ':cluster/')"
        raise ClusterError(
            f"{printable(cluster_name)} cannot be the name of an EKS cluster{hint}: expected 1 to 100 letters, digits, "
            "'-' and '_', starting with a letter or digit"
        )


def size_bytes(token: str) -> int:
    """The length that the verifier compares with 4096: bytes, prefix included."""
    return len(token.encode("utf-8", "surrogatepass"))


def read_url(token: str) -> _gourl.Url:
    """The URL inside a token, read as the verifier reads it. Raises MalformedTokenError with the rule's id."""
    if not isinstance(token, str):
        raise MalformedTokenError(f"a token is text, not {type(token).__name__}", rule="prefix")
    size = size_bytes(token)
    if size > MAX_BYTES:
        raise MalformedTokenError(f"token has {size} bytes, the verifier takes at most {MAX_BYTES}", rule="too_large")
    if not token.startswith(PREFIX):
        raise MalformedTokenError(f"token does not start with {PREFIX!r}{_prefix_hint(token)}", rule="prefix")
    raw = _decode_payload(token[len(PREFIX) :].encode("utf-8", "surrogatepass"))
    try:
        return _gourl.parse(raw.decode("latin-1"))
    except _gourl.UrlError as error:
        raise MalformedTokenError(f"the token's content is not a URL: {error}", rule="url_parse") from None


def single_parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a parsed query that occur once, by their lower-cased name, as text."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(_gourl.lower(_gourl.text(name)), []).append(_gourl.text(value))
    return {name: found[0] for name, found in values.items() if len(found) == 1}


def amz_date_ns(text: str) -> int | None:
    """Nanoseconds since 1970 of an X-Amz-Date as Go's ``time.Parse("20060102T150405Z")`` reads it, else None.

    Go takes a fraction after the seconds (dot or comma), which strptime refuses, and refuses the short and lower-case
    forms that strptime takes. An integer, because datetime has no year 0 and ends at 9999.
    """
    match = _AMZ_DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - a clock
        return None
    try:
        ordinal = date(year + _CYCLE_YEARS if year < _CYCLE_YEARS else year, month, day).toordinal()
    except ValueError:
        return None
    days = ordinal - _EPOCH_ORDINAL - (_CYCLE_DAYS if year < _CYCLE_YEARS else 0)
    fraction = int((match[7] or "0")[:9].ljust(9, "0"))
    return ((days * 24 + hour) * 60 + minute) * 60 * _NANOSECONDS + second * _NANOSECONDS + fraction


def _host_and_region(region: str, sts_host: str | None, *, fips: bool, dual_stack: bool) -> tuple[str, str]:
    partition = endpoints.partition_of(region)
    if sts_host is None:
        return endpoints.sts_host(region, fips=fips, dual_stack=dual_stack), region
    if fips or dual_stack:
        raise ValueError("sts_host says which form of name is meant: give either it or fips/dual_stack")
    host_region = endpoints.region_of_sts_host(sts_host)
    if host_region is None or endpoints.host_violation(sts_host, partition=partition, region=region) is not None:
        raise UnknownRegionError(
            f"{printable(sts_host)} is not a host that a cluster of partition {partition} accepts in a token; leave "
            f"sts_host out to sign for {endpoints.sts_host(region)}"
        )
    return sts_host, host_region


def _check_credentials(credentials: SigningCredentials) -> None:
    if hasattr(credentials, "refresh_needed"):
        raise TypeError(
            "these credentials refresh themselves, so key and session token can belong to two sessions: pass "
            "credentials.get_frozen_credentials()"
        )
    access_key, secret_key, token = credentials.access_key, credentials.secret_key, credentials.token
    if not access_key or not secret_key:
        missing = "access key id" if not access_key else "secret access key"
        raise CredentialsError(f"the credentials have no {missing}: nothing can be signed with them")
    for name, value in (("access key id", access_key), ("secret access key", secret_key), ("session token", token)):
        if value and (not value.isascii() or value.encode().translate(None, _VISIBLE)):
            raise CredentialsError(f"the {name} has a blank, a line end or a non-ASCII character in it: copy it again")
    if not _ACCESS_KEY_ID.fullmatch(access_key):
        raise CredentialsError("the access key id has characters that no key id has: are key id and secret swapped?")
    if access_key.startswith("ASIA") and not token:
        raise CredentialsError(
            f"access key id ...{access_key[-4:]} is temporary (ASIA) but its session token is missing: set "
            "AWS_SESSION_TOKEN beside the key, or pass all three",
            rule="sts_session_token",
        )


def _check_expires_in(expires_in: int) -> None:
    if not isinstance(expires_in, int) or isinstance(expires_in, bool) or not 0 <= expires_in <= MAX_EXPIRES_IN:
        raise ValueError(f"expires_in must be 0 to {MAX_EXPIRES_IN} seconds, not {printable(expires_in)}")


def _check_size(url: str, credentials: SigningCredentials) -> None:
    size = len(PREFIX) + (len(url) * 4 + 2) // 3
    if size > MAX_BYTES:
        session = len((credentials.token or "").encode())
        raise CredentialsError(
            f"the token would have {size} bytes and the verifier takes {MAX_BYTES}: the session token has {session} "
            "bytes, about 2500 fit; assume the role with fewer session tags, no session policy, or over fewer hops",
            rule="too_large",
        )


def _amz_date(now: datetime) -> str:
    if now.tzinfo is None:
        raise ValueError("now has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    utc = now.astimezone(UTC)
    return f"{utc.year:04d}{utc.month:02d}{utc.day:02d}T{utc.hour:02d}{utc.minute:02d}{utc.second:02d}Z"


def _quote(text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    reserved = set(raw.translate(None, _UNRESERVED))  # a session token has three of them, in 800 bytes
    quoted = raw.replace(b"%", b"%25")
    for byte in reserved - {ord("%")}:
        quoted = quoted.replace(bytes((byte,)), b"%%%02X" % byte)
    return quoted.decode("ascii")


def _canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    quoted = sorted((_quote(name), _quote(value)) for name, value in parameters)
    return "&".join([f"{name}={value}" for name, value in quoted])


def _signature(  # noqa: PLR0913, PLR0917 - the parts that SigV4 signs, in its order
    secret_key: str, scope: str, moment: str, query: str, headers: str, signed_headers: str
) -> str:
    """Signature version 4, section "Create a canonical request" to "Calculate the signature"."""
    request = f"GET\n/\n{query}\n{headers}\n{signed_headers}\n{_NO_BODY}"
    digest = hashlib.sha256(request.encode("utf-8", "surrogatepass")).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key = b"AWS4" + secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _decode_payload(payload: bytes) -> bytes:
    """Go's base64.RawURLEncoding: no padding, line ends skipped, unused bits of the last character not looked at."""
    kept = payload.replace(b"\r", b"").replace(b"\n", b"")
    if not _PAYLOAD.fullmatch(kept):
        raise MalformedTokenError(f"the part after the prefix is not base64url: {_payload_hint(kept)}", rule="base64")
    if len(kept) % 4 == 1:
        raise MalformedTokenError("the part after the prefix is not base64url: it was cut off", rule="base64")
    return urlsafe_b64decode(kept + b"=" * (-len(kept) % 4))


def _payload_hint(payload: bytes) -> str:
    if b"=" in payload:
        return "it has '=' padding, which the verifier refuses (strip it)"
    if b"+" in payload or b"/" in payload:
        return "it has '+' or '/', so it is standard base64 (use the URL alphabet)"
    if payload.strip() != payload or b" " in payload:
        return "it has blanks, so something was printed around or into the token"
    return "it has characters of neither alphabet"


def _prefix_hint(token: str) -> str:
    """The usual ways to lose the prefix (facts U24)."""
    head = token.lstrip()[:32].lower()
    for start, hint in _PREFIX_HINTS:
        if head.startswith(start):
            return f": {hint}"
    return ": it has blanks in front" if token[:1].isspace() else ""


_PREFIX_HINTS = (
    ("bearer", "give the token without 'Bearer'"),
    ("authorization", "give the token without the header's name"),
    ("{", "this looks like JSON; the token is its status.token"),
    ("b'", "this is a Python bytes literal; decode it first"),
    ('"', "it is in quotes"),
    ("none", "no token was made"),
    ("https:", "this is the URL itself; it must be encoded"),
    ("k8s-aws-v1.", "it is spelled in another case, or something stands before it"),
    ("eyj", "this looks like a service account's JWT, which is another kind of token"),
)


def _datetime(nanoseconds: int | None) -> datetime | None:
    return (
        None
        if nanoseconds is None
        else _later(datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=nanoseconds // 1000))
    )


def _later(moment: datetime | None, delta: timedelta) -> datetime | None:
    try:
        return None if moment is None else moment + delta
    except OverflowError:  # year 0, or after 9999: readable for Go, not for datetime
        return None


def _header_name(name: str) -> str:
    return name if _HEADER_NAME.fullmatch(name) else "(unreadable)"
