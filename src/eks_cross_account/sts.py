"""Asks STS whom a token belongs to, by a request that is rebuilt from the token's parts. Touches STS only.

The URL inside a token is a stranger's: it is never requested. Host and path are literals of our own data, the nine
parameters are encoded again, nothing is redirected, 64 KiB are read.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from eks_cross_account import _gourl, endpoints
from eks_cross_account._discretion import discreet, quiet
from eks_cross_account._printable import printable, printable_message
from eks_cross_account.credentials import CONNECT_TIMEOUT, READ_TIMEOUT
from eks_cross_account.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    MalformedTokenError,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
)
from eks_cross_account.identity import CallerIdentity, parse_caller_identity
from eks_cross_account.rules import Violation, violations
from eks_cross_account.token import CLUSTER_HEADER, check_cluster_name, read_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_BODY = 65_536
_MALFORMED = ("too_large", "prefix", "base64", "url_parse")
_THROTTLED = "Throttling"  # the verifier looks for this very word in the body
_CAUSES = {
    "SignatureDoesNotMatch": "it was signed for another cluster name, with another secret key, or with a wrong clock",
    "ExpiredToken": "the session that signed it has ended: assume the role again, then sign",
    "ExpiredTokenException": "the session that signed it has ended: assume the role again, then sign",
    "InvalidClientTokenId": "AWS does not know the access key id or session token (deleted, deactivated, another "
    "partition, or a session token of the global endpoint in an opt-in region)",
    "RegionDisabledException": "STS is switched off for this region in the signer's account",
    "MissingAuthenticationToken": "the signature did not arrive: a proxy between here and STS rewrote the request",
}


def verify_token(  # noqa: PLR0913 - the subject, the cluster, and how to reach STS
    token: str,
    *,
    cluster_name: str,
    region: str | None = None,
    partition: str = "aws",
    now: datetime | None = None,
    timeout: float = READ_TIMEOUT,
    session: Any = None,  # noqa: ANN401 - a botocore session, which has no types
    on_date: Callable[[str], None] | None = None,
) -> CallerIdentity:
    """The identity that STS finds behind the token: the very question that the cluster's authenticator asks.

    ``region``: the cluster's; its partition takes the place of ``partition``. ``timeout``: seconds. ``on_date``: is
    told the Date header of STS's answer. Needs no credentials and no permission. Raises MalformedTokenError,
    InvalidTokenError or ExpiredTokenError (offline, nothing sent), UnknownRegionError (a host that is not in our data:
    nothing sent), TokenRejectedError (STS said no), StsUnavailableError (STS did not answer), ClusterError (no such
    name is possible).
    """
    check_cluster_name(cluster_name)
    judged = endpoints.partition_of(region) if region is not None else partition
    broken = violations(token, now=now or datetime.now(UTC), partition=judged, region=region)
    host = _known_host(token, broken)
    if broken:
        raise violation_error(broken)
    status, body, date = _send(host, _rebuilt_query(token), cluster_name, timeout, session)
    if on_date is not None:
        on_date(date)
    if status == 200:  # noqa: PLR2004 - HTTP
        return parse_caller_identity(body)
    raise _rejection(status, body, host)


def violation_error(broken: tuple[Violation, ...]) -> MalformedTokenError | InvalidTokenError:
    """The error that says these violations: of the class whose next step fits the first."""
    first = broken[0]
    if first.rule in _MALFORMED:
        return MalformedTokenError(f"{first.message}; {first.remedy}", rule=first.rule)
    only_old = {violation.rule for violation in broken} == {"date_expired"}
    kind = ExpiredTokenError if only_old else InvalidTokenError
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    return kind(f"{first.message}; {first.remedy}{more}", violations=broken)


def _known_host(token: str, broken: tuple[Violation, ...]) -> str:
    """The literal of our data; only asked for when the verifier itself would pass the token."""
    if any(violation.rule != "sts_scope_host" for violation in broken):
        return ""
    shown = _gourl.text(read_url(token).host)
    host = endpoints.known_sts_host(shown)
    if host is None:
        raise UnknownRegionError(
            f"the token is for {printable(shown)}, which is not an STS host of a region that this release knows: "
            "nothing was sent"
        )
    return host


def _rebuilt_query(token: str) -> str:
    """The token's parameters, decoded and encoded again. The rules have passed: nine known names, each once."""
    pairs, _ = _gourl.parse_query(read_url(token).query)
    return urlencode([(_gourl.text(name), _gourl.text(value)) for name, value in pairs], quote_via=quote, safe="-_.~")


def _send(host: str, query: str, cluster_name: str, timeout: float, session: Any) -> tuple[int, bytes, str]:  # noqa: ANN401
    import urllib3  # noqa: PLC0415 - heavy, only where STS is asked

    url = f"https://{host}/?{query}"
    headers = {CLUSTER_HEADER: cluster_name, "Accept": "application/json", "Connection": "close"}
    limits = urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout), read=timeout)
    try:
        with discreet(), _pool(f"https://{host}/", session, os.environ) as pool:
            answer = pool.request(
                "GET",
                url,
                headers=headers,
                timeout=limits,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            body = _body(answer, time.monotonic() + timeout)
            answer.close()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = _reason(error)
    else:
        reason = ""
    # urllib3 puts the whole URL into its messages, and the URL is the credential: neither its error goes on, nor ours
    # with the URL among the variables of its frame
    del url, query
    if reason:
        raise StsUnavailableError(f"no answer from {host}: {reason}")
    if len(body) > _MAX_BODY:
        raise StsUnavailableError(f"{host} answered more than {_MAX_BODY} bytes: that is not STS")
    return answer.status, body, str(answer.headers.get("Date", ""))


def _body(answer: Any, until: float) -> bytes:  # noqa: ANN401 - urllib3's response
    """The body, or as much of it as shows that it is too long. Raises TimeoutError for one that only drips.

    Byte by byte: urllib3's timeout is for each wait at the socket, and a larger read waits until it is full.
    """
    body = bytearray()
    while len(body) <= _MAX_BODY and (byte := answer.read(1)):
        if time.monotonic() > until:
            raise TimeoutError
        body += byte
    return bytes(body)


def _pool(url: str, session: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - urllib3's pool or proxy manager
    """Proxy and CA bundle as botocore would take them for this URL, from the environment and the AWS configuration."""
    import ssl  # noqa: PLC0415 - heavy, only where STS is asked

    import urllib3  # noqa: PLC0415
    from botocore.httpsession import get_cert_path  # noqa: PLC0415
    from botocore.utils import get_environ_proxies  # noqa: PLC0415
    from urllib3.util import parse_url  # noqa: PLC0415

    bundle = environ.get("AWS_CA_BUNDLE") or _configured_bundle(session) or environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=get_cert_path(bundle or True))
    proxy = get_environ_proxies(url).get("https")
    if proxy is None:
        return quiet(urllib3.PoolManager(ssl_context=context))
    parsed = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    headers = urllib3.make_headers(proxy_basic_auth=parsed.auth) if parsed.auth else None
    return quiet(urllib3.ProxyManager(parsed._replace(auth=None).url, proxy_headers=headers, ssl_context=context))


def _configured_bundle(session: Any) -> str | None:  # noqa: ANN401 - a botocore session
    if session is None:
        return None
    bundle = session.get_config_variable("ca_bundle")
    return str(bundle) if bundle else None


def _reason(error: BaseException) -> str:
    """Why there is no answer, without urllib3's texts."""
    import socket  # noqa: PLC0415 - loaded already
    import ssl  # noqa: PLC0415 - loaded already

    import urllib3  # noqa: PLC0415 - loaded already

    inner = getattr(error, "reason", None)
    seen = inner if isinstance(inner, BaseException) else error
    if isinstance(seen.__cause__ or seen.__context__, socket.gaierror):
        return "a name was not found in DNS (STS, or the proxy)"
    kinds = (
        (urllib3.exceptions.ProxyError, "the proxy is not there, refused, or cut the connection (HTTPS_PROXY)"),
        (urllib3.exceptions.ConnectTimeoutError, "no connection in time (is there a route, or a VPC endpoint?)"),
        (urllib3.exceptions.ReadTimeoutError, "connected, but no answer in time"),
        (TimeoutError, "connected, but the answer did not end in time"),
        (
            urllib3.exceptions.SSLError,
            "TLS failed: the certificate is not of a CA that AWS_CA_BUNDLE or the system has",
        ),
        (urllib3.exceptions.NewConnectionError, "no connection"),
        (urllib3.exceptions.LocationValueError, "the proxy's URL cannot be used (HTTPS_PROXY)"),
        (ssl.SSLError, "the CA bundle file holds no certificate (AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE)"),
        (FileNotFoundError, "the CA bundle file does not exist (AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE)"),
    )
    for kind, text in kinds:
        if isinstance(seen, kind) or isinstance(error, kind):
            return text
    return getattr(seen, "strerror", None) or type(seen).__name__


def _rejection(status: int, body: bytes, host: str) -> Exception:
    code, message = _error_fields(body)
    if status == 429 or status >= 500 or _THROTTLED.encode() in body:  # noqa: PLR2004 - HTTP
        return StsUnavailableError(f"{host} answered {status} {code or 'without a code'}: try again")
    if not code:
        return StsUnavailableError(f"{host} answered {status} with something that is not an error of STS")
    cause = _CAUSES.get(code)
    said = f"STS refused the token: {code}: {printable_message(message)}"
    return TokenRejectedError(f"{said} - {cause}" if cause else said, status=status, code=code)


def _error_fields(body: bytes) -> tuple[str, str]:
    try:
        error = json.loads(body)["Error"]
        code, message = error["Code"], error.get("Message", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    if not isinstance(code, str) or not isinstance(message, str) or not code.isidentifier():
        return "", ""
    return code, message
