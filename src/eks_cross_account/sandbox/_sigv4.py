"""Checks the signature of a request as AWS does (Signature Version 4). Touches nothing.

Written apart from ``token``, which it must not import: a sandbox that verifies with the signer's own code would
agree with any mistake in it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"
_LIFE = timedelta(minutes=15)  # of a header-signed request, and of STS's presigned ones whatever X-Amz-Expires says
_AHEAD = timedelta(minutes=5)
_SCOPE_PARTS = 5  # key id, day, region, service, aws4_request
_DATE_FORM = "%Y%m%dT%H%M%SZ"


class AwsError(Exception):
    """AWS's answer to a request that it does not carry out."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came off the wire. ``headers``: lower-cased names, all values of a name in order."""

    method: str
    path: str = field(repr=False)
    query: str = field(repr=False)
    headers: Mapping[str, tuple[str, ...]] = field(repr=False)
    body: bytes = field(repr=False)
    host: str

    def header(self, name: str) -> str:
        """The first value, "" where there is none."""
        return (self.headers.get(name) or ("",))[0]

    def parameters(self) -> dict[str, str]:
        """Query and form parameters; the form wins, as nobody sends one in both."""
        text = self.query
        if self.header("content-type").startswith("application/x-www-form-urlencoded"):
            text = f"{text}&{self.body.decode('utf-8', 'replace')}"
        return {name: value for name, value in _pairs(text) if name}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature: nothing of it is proven before ``verify``."""

    access_key_id: str
    day: str
    region: str
    service: str
    moment: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    session_token: str | None = field(repr=False)
    presigned: bool


def claim(request: Received) -> Claim:
    """The claim in the Authorization header or in the query. Raises AwsError when there is none or half of one."""
    query = dict(_pairs(request.query))
    presigned = "X-Amz-Signature" in query or "X-Amz-Algorithm" in query
    authorization = request.header("authorization")
    if presigned and authorization:
        raise AwsError(400, "InvalidRequest", "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                       "parameter or the Authorization header should be specified")  # fmt: skip
    if presigned:
        return _presigned_claim(query)
    if not authorization:
        raise AwsError(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    return _header_claim(request, authorization)


def verify(request: Received, made: Claim, secret_key: str, *, now: datetime, region: str | None) -> None:
    """Raises AwsError unless the claim holds for this secret key, this moment and this service's region."""
    _check_scope(request, made, region)
    _check_moment(made, now)
    expected = _signature(request, made, secret_key)
    if not hmac.compare_digest(expected, made.signature):
        raise AwsError(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )


def _presigned_claim(query: dict[str, str]) -> Claim:
    needed = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
    missing = [name for name in needed if not query.get(name)]
    if missing:
        raise _incomplete(f"AWS query-string parameters must include '{missing[0]}'. Re-examine the query-string "
                          "parameters.")  # fmt: skip
    algorithm, credential, moment, signed, signature = (query[name] for name in needed)
    token = query.get("X-Amz-Security-Token")
    return _claim(algorithm, credential, moment, signed, signature, token, presigned=True)


def _header_claim(request: Received, authorization: str) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    parts = (part.strip().partition("=") for part in rest.split(","))
    fields = {name: value for name, _, value in parts}
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    moment, token = request.header("x-amz-date"), request.header("x-amz-security-token") or None
    return _claim(
        algorithm, fields["Credential"], moment, fields["SignedHeaders"], fields["Signature"], token, presigned=False
    )


def _claim(  # noqa: PLR0913, PLR0917 - the six parts of a claim
    algorithm: str, credential: str, moment: str, signed: str, signature: str, token: str | None, *, presigned: bool
) -> Claim:
    if algorithm != _ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm[:30]}'.")
    parts = credential.split("/")
    if len(parts) != _SCOPE_PARTS:
        raise _incomplete(
            f"Credential must have exactly {_SCOPE_PARTS} slash-delimited elements, e.g. "
            f"keyid/date/region/service/term, got '{len(parts)}' elements"
        )
    key_id, day, region, service, terminator = parts
    if terminator != "aws4_request":
        raise _mismatch(
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator[:30]}'."
        )
    return Claim(key_id, day, region, service, moment, tuple(signed.split(";")), signature, token, presigned)


def _check_scope(request: Received, made: Claim, region: str | None) -> None:
    if region is not None and made.region != region:
        raise _mismatch(f"Credential should be scoped to a valid region, not '{made.region[:30]}'. ")
    if made.day != made.moment[:8]:
        raise _mismatch(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{made.day[:8]}' != '{made.moment[:8]}', from '{made.moment[:16]}'."
        )
    if "host" not in made.signed_headers:
        raise _mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in made.signed_headers]
    if unsigned:
        raise _mismatch(f"'{unsigned[0]}' must be a 'SignedHeader' in the AWS Authorization.")


def _check_moment(made: Claim, now: datetime) -> None:
    try:
        signed_at = datetime.strptime(made.moment, _DATE_FORM).replace(tzinfo=UTC)
    except ValueError:
        raise _incomplete("Date must be in ISO-8601 'basic format'. Got '" + made.moment[:20] + "'.") from None
    if now > signed_at + _LIFE:
        raise _mismatch(
            f"Signature expired: {made.moment} is now earlier than {now - _LIFE:{_DATE_FORM}} "
            f"({now:{_DATE_FORM}} - 15 min.)"
        )
    if signed_at > now + _AHEAD:
        raise _mismatch(
            f"Signature not yet current: {made.moment} is still later than {now + _AHEAD:{_DATE_FORM}} "
            f"({now:{_DATE_FORM}} + 5 min.)"
        )


def _signature(request: Received, made: Claim, secret_key: str) -> str:
    query = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in _pairs(request.query)
        if not (made.presigned and name == "X-Amz-Signature")
    )
    lines = [
        request.method,
        quote(request.path, safe="/-_.~") or "/",
        "&".join(f"{name}={value}" for name, value in query),
        *(f"{name}:{_canonical_value(request, name)}" for name in made.signed_headers),
        "",
        ";".join(made.signed_headers),
        hashlib.sha256(request.body).hexdigest(),
    ]
    canonical = "\n".join(lines).encode("utf-8", "surrogateescape")
    scope = f"{made.day}/{made.region}/{made.service}/aws4_request"
    text = f"{_ALGORITHM}\n{made.moment}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in (made.day, made.region, made.service, "aws4_request", text):
        key = hmac.new(key, part.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return key.hex()


def _canonical_value(request: Received, name: str) -> str:
    if name == "host":
        return request.host
    return ",".join(" ".join(value.split()) for value in request.headers.get(name, ()))


def _pairs(text: str) -> list[tuple[str, str]]:
    found = []
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if part:
            found.append((unquote_plus(name), unquote_plus(value)))
    return found


def _incomplete(message: str) -> AwsError:
    return AwsError(400, "IncompleteSignature", message)


def _mismatch(message: str) -> AwsError:
    return AwsError(403, "SignatureDoesNotMatch", message)
