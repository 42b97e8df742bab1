"""Asks the API server itself: the way to it, what answers there, whom it takes the token's bearer for, and aws-auth.

Touches DNS and the cluster's endpoint, or the proxy to it. A token is sent only over TLS that the cluster's own CA
vouches for, nothing is redirected, 2 MiB are read at most; what is returned holds no secret.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from eks_cross_account._printable import printable, printable_message
from eks_cross_account._version import __version__
from eks_cross_account.diagnosis._environment import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eks_cross_account.cluster import Cluster
    from eks_cross_account.diagnosis._environment import ClockEvidence
    from eks_cross_account.token import EksToken

if TYPE_CHECKING:
    # Asks a question as somebody: method, path, document to send -> status and document of the answer
    Ask = Callable[[str, str, Mapping[str, Any] | None], tuple[int, dict[str, Any]]]

# Where the way to an API server can end: its endpoint is no https://host[:port]; its CA is no PEM; no address; no TCP
# connection; the proxy cannot be used; the proxy refuses; the certificate is another CA's; other trouble of TLS;
# TLS or HTTP without an answer; something answers that is no Kubernetes.
Stage = Literal["endpoint", "ca", "dns", "tcp", "proxy-kind", "proxy", "chain", "tls", "silent", "foreign"]

TIMEOUT = 5.0  # seconds, for each of: DNS, TCP, TLS, the answer
_LEAST_TCP = 1.0  # of an address, where several share the time: the first SYN is repeated after one second
_MAX_BODY = 65_536
_MAX_ANSWER = 2 << 20  # a ConfigMap has 1 MiB at most, and JSON escapes
_AWS_AUTH = "/api/v1/namespaces/kube-system/configmaps/aws-auth"
_CHUNK = 8_192
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_REVIEW_BODY = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
# A name or an address, as urlsplit has it. An empty or too long label is none: the idna codec raises for it.
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9][a-z0-9_-]{0,62}(?:\.[a-z0-9_-]{1,63})*\.?|(?=.*:)[0-9a-f:.]{2,45}")
# X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH of OpenSSL
NOT_THE_CHAIN = {9, 10, 62, 64}
_TUNNEL = "Tunnel connection failed: "  # how http.client begins what a proxy answered to CONNECT
_OK, _CREATED = 200, 201


@dataclass(frozen=True, slots=True)
class ReachEvidence:
    """How far the way to the API server went. ``failed``: where it ended, None when a Kubernetes API server answered.

    ``addresses``: of the endpoint, where this machine looked them up; ``proxy``: host:port, "" for none; ``status``: of
    the answer to GET /version without a token; ``version``: Kubernetes', where the server says it to anybody.
    """

    endpoint: str
    addresses: tuple[str, ...] = ()
    proxy: str = ""
    failed: Stage | None = None
    problem: str = ""
    status: int = 0
    version: str = ""
    timeout: float = TIMEOUT
    clock: ClockEvidence | None = None

    @property
    def is_private(self) -> bool:
        """Whether an address is one that the internet does not route."""
        return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in self.addresses)


@dataclass(frozen=True, slots=True)
class ApiUser:
    """The user that the API server sees. ``extra``: the authenticator's, (name, values)."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewEvidence:
    """The answer to a SelfSubjectReview with the token.

    ``status``: 0 unless Kubernetes answered; ``problem``: the message of its Status, or why there is no answer.
    """

    status: int = 0
    problem: str = ""
    user: ApiUser | None = None


@dataclass(frozen=True, slots=True)
class ConfigMapEvidence:
    """The answer to GET configmap kube-system/aws-auth; ``status`` and ``problem`` as in ReviewEvidence.

    ``data``: None where there is none to be had, or (404) no such ConfigMap.
    """

    status: int = 0
    problem: str = ""
    data: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    headers: dict[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        return f"{printable_message(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Way:
    host: str
    port: int
    context: ssl.SSLContext
    proxy: _Proxy | None
    timeout: float
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    body: bytes
    limit: int
    clock: ClockEvidence | None = None


class _StoppedError(Exception):
    """The way ended at ``stage``."""

    def __init__(self, stage: Stage, problem: str) -> None:
        super().__init__(problem)
        self.stage: Stage = stage
        self.problem = problem


def reach(cluster: Cluster, *, timeout: float = TIMEOUT) -> ReachEvidence:
    """How far one gets from here to the cluster's API server, without a token: DNS, TCP, TLS, GET /version."""
    seen = ReachEvidence(printable_message(cluster.endpoint), timeout=timeout)
    try:
        way = _way(cluster, timeout)
        seen = replace(seen, proxy=way.proxy.shown if way.proxy else "")
        way = way if way.proxy else replace(way, addresses=_resolve(way))
        seen = replace(seen, addresses=way.addresses)
        answer = _ask(way, "GET", "/version")
    except _StoppedError as stop:
        return replace(seen, failed=stop.stage, problem=stop.problem)
    document = _document(answer)
    version = document.get("gitVersion")
    seen = replace(seen, status=answer.status, clock=answer.clock)
    if answer.status == _OK and isinstance(version, str):
        return replace(seen, version=printable_message(version))
    if answer.status != _OK and _is_status(document):
        return seen
    return replace(seen, failed="foreign", problem=_described(answer))


def asker(cluster: Cluster, reached: ReachEvidence, token: EksToken, *, timeout: float = TIMEOUT) -> Ask:
    """Asks the API server as the token's bearer, at the addresses that ``reach`` saw.

    What it returns takes a method, a path and a document to send; it returns the status and the document of the
    answer. Status 0: no Kubernetes answered, ``message`` says why.
    """

    def ask(method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        sent = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": token.bearer, **({} if sent is None else {"Content-Type": "application/json"})}
        try:
            way = replace(_way(cluster, timeout), addresses=reached.addresses)
            answer = _ask(way, method, path, headers, sent, limit=_MAX_ANSWER)
        except _StoppedError as stop:
            return 0, {"message": stop.problem}
        answer = replace(answer, body=answer.body.replace(token.value.encode(), b"(token)"))  # should a server echo it
        document = _document(answer)
        if _is_status(document) if answer.status >= 400 else document.get("kind"):  # noqa: PLR2004 - HTTP
            return answer.status, document
        return 0, {"message": f"the answer is not one of Kubernetes: {_described(answer)}"}

    return ask


def review(ask: Ask) -> ReviewEvidence:
    """Whom the API server takes the asker for: a SelfSubjectReview, which every user may ask for."""
    status, document = ask("POST", _REVIEW, _REVIEW_BODY)
    user = _user(document) if status in {_OK, _CREATED} else None
    if user is not None:
        return ReviewEvidence(status, user=user)
    if status in {_OK, _CREATED}:
        return ReviewEvidence(problem=f"the answer is not one of Kubernetes: {status}, and no SelfSubjectReview")
    return ReviewEvidence(status, printable_message(str(document.get("message") or "")))


def aws_auth(ask: Ask) -> ConfigMapEvidence:
    """The ConfigMap kube-system/aws-auth, if the asker may read it."""
    status, document = ask("GET", _AWS_AUTH, None)
    data = document.get("data") or {}
    if status == _OK and document.get("kind") == "ConfigMap" and isinstance(data, dict):
        return ConfigMapEvidence(_OK, data={key: value for key, value in data.items() if isinstance(value, str)})
    if status == _OK:
        return ConfigMapEvidence(problem=f"the answer is not one of Kubernetes: {status}, and no ConfigMap")
    return ConfigMapEvidence(status, printable_message(str(document.get("message") or "")))


# --- the way


def _way(cluster: Cluster, timeout: float) -> _Way:
    host, port = _endpoint(cluster.endpoint)
    return _Way(host, port, _context(cluster.certificate_authority), _proxy(host, port), timeout)


def _endpoint(endpoint: str) -> tuple[str, int]:
    try:
        parsed = urlsplit(endpoint)
        host, port = parsed.hostname or "", parsed.port or 443
    except ValueError:
        host, port = "", 0
    else:
        rest = (parsed.username, parsed.password, parsed.path.strip("/"), parsed.query, parsed.fragment)
        if parsed.scheme != "https" or any(rest):
            host = ""
    if _HOST.fullmatch(host) is None:
        raise _StoppedError("endpoint", "it is no https://host[:port]")
    return host, port


def _context(certificate_authority: str) -> ssl.SSLContext:
    """Trusts this CA and no other. Not X509_STRICT, which Python 3.13 adds to its default and EKS's CA may not meet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=base64.b64decode(certificate_authority, validate=True).decode("ascii"))
    except (ValueError, ssl.SSLError):
        raise _StoppedError("ca", "it is not a PEM in base64") from None
    return context


def _proxy(host: str, port: int) -> _Proxy | None:
    """The proxy of HTTPS_PROXY, unless NO_PROXY names the host: as urllib reads both."""
    url = urllib.request.getproxies_environment().get("https")
    if not url or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    try:
        parsed = urlsplit(url if "://" in url else f"http://{url}")
        proxy_port = parsed.port or 80
    except ValueError:
        raise _StoppedError("proxy-kind", "HTTPS_PROXY is not a URL (http://host:port)") from None
    if parsed.scheme != "http":
        kind = printable(parsed.scheme)
        raise _StoppedError("proxy-kind", f"HTTPS_PROXY names a proxy of kind {kind}; this check speaks http:// only")
    if not parsed.hostname or "@" in parsed.path + parsed.query + parsed.fragment:  # an unquoted / in a password
        raise _StoppedError("proxy-kind", "HTTPS_PROXY is not a URL (http://host:port)")
    return _Proxy(parsed.hostname, proxy_port, _proxy_headers(parsed.username, parsed.password))


def _proxy_headers(username: str | None, password: str | None) -> dict[str, str]:
    if username is None:
        return {}
    pair = f"{unquote(username)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _resolve(way: _Way) -> tuple[str, ...]:
    """The endpoint's addresses. In a thread, because getaddrinfo takes no timeout; it ends when the resolver does."""
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look, name="eks-token-check-dns", daemon=True)
    thread.start()
    thread.join(way.timeout)
    if not found:
        raise _StoppedError("dns", f"no answer from DNS within {way.timeout:.2g} s")
    if isinstance(found[0], Exception):
        raise _StoppedError("dns", getattr(found[0], "strerror", None) or "no such name is possible")
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found[0]))


def _dial(way: _Way) -> socket.socket:
    """A TCP connection to the first address that takes one."""
    share = min(way.timeout, max(way.timeout / len(way.addresses), _LEAST_TCP))
    seen: list[str] = []
    for address in way.addresses:
        try:
            return socket.create_connection((address, way.port), timeout=share)
        except OSError as error:
            seen.append(_os_reason(error))
    raise _StoppedError("tcp", "; ".join(dict.fromkeys(seen)))


def _tunnel(way: _Way, proxy: _Proxy) -> socket.socket:
    """A connection to the endpoint by the proxy's CONNECT."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=way.timeout)
    connection.set_debuglevel(0)  # a program may have raised the class's: it prints headers
    connection.set_tunnel(f"[{way.host}]" if ":" in way.host else way.host, way.port, headers=proxy.headers)
    try:
        connection.connect()
    except http.client.HTTPException:
        connection.close()
        raise _StoppedError("proxy", "what it answered to CONNECT is not HTTP") from None
    except (OSError, UnicodeError) as error:
        connection.close()
        if str(error).startswith(_TUNNEL):
            raise _StoppedError("proxy", printable_message(str(error).removeprefix(_TUNNEL))) from None
        raise _StoppedError("tcp", _os_reason(error)) from None
    return connection.sock


def _secured(way: _Way) -> ssl.SSLSocket:
    """TLS with whoever proves by the cluster's CA to be the endpoint."""
    plain = _tunnel(way, way.proxy) if way.proxy else _dial(way)
    plain.settimeout(way.timeout)
    try:
        return way.context.wrap_socket(plain, server_hostname=way.host)
    except ssl.SSLCertVerificationError as error:
        stage: Stage = "tls" if error.verify_code in NOT_THE_CHAIN else "chain"
        raise _StoppedError(stage, printable_message(error.verify_message)) from None
    except ssl.SSLError as error:
        raise _StoppedError("tls", printable_message(error.reason or "the connection ended")) from None
    except OSError as error:
        raise _StoppedError("silent", f"TLS: {_os_reason(error)}") from None
    finally:
        plain.close()  # does nothing where TLS has taken it over


def _ask(  # noqa: PLR0913 - a request
    way: _Way,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    limit: int = _MAX_BODY,
) -> _Answer:
    """One request on a connection of its own."""
    sent = {"Accept": "application/json", "User-Agent": f"eks-token-check/{__version__}", "Connection": "close"}
    connection = http.client.HTTPSConnection(way.host, way.port, timeout=way.timeout, context=way.context)
    connection.set_debuglevel(0)  # as in _tunnel; here the token would be printed
    with contextlib.closing(connection):
        connection.sock = _secured(way)
        until = time.monotonic() + way.timeout
        try:
            connection.request(method, path, body=body, headers={**sent, **(headers or {})})
            with connection.getresponse() as response:
                kind = printable_message(response.headers.get_content_type())
                told = clock("the API server", response.headers.get("Date", ""), datetime.now(UTC))
                return _Answer(response.status, kind, _body(response, until, limit), limit, told)
        except http.client.RemoteDisconnected:
            raise _StoppedError("silent", "the connection was closed without an answer") from None
        except http.client.HTTPException:
            raise _StoppedError("foreign", "what answers is not HTTP") from None
        except OSError as error:
            raise _StoppedError("silent", _os_reason(error)) from None


def _body(response: http.client.HTTPResponse, until: float, limit: int) -> bytes:
    """The body, or as much of it as shows that it is too long. Raises TimeoutError for one that only drips."""
    body = b""
    while len(body) <= limit and (chunk := response.read1(_CHUNK)):
        if time.monotonic() > until:
            raise TimeoutError
        body += chunk
    return body


def _os_reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name was not found in DNS"
    return getattr(error, "strerror", None) or type(error).__name__


# --- what was answered


def _document(answer: _Answer) -> dict[str, Any]:
    """The JSON object, {} for anything else."""
    try:
        found = json.loads(answer.body) if len(answer.body) <= answer.limit else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _is_status(document: dict[str, Any]) -> bool:
    return document.get("kind") == "Status" and document.get("apiVersion") == "v1"


def _described(answer: _Answer) -> str:
    if len(answer.body) > answer.limit:
        return f"{answer.status}, {answer.content_type}, more than {answer.limit} bytes"
    begins = printable(answer.body[:200].decode("utf-8", "replace")) if answer.body else "nothing"
    return f"{answer.status}, {answer.content_type}, {begins}"


def _user(document: dict[str, Any]) -> ApiUser | None:
    """The user of a SelfSubjectReview's status, None where it is none."""
    status = document.get("status")
    info = status.get("userInfo") if document.get("kind") == "SelfSubjectReview" and isinstance(status, dict) else None
    if not isinstance(info, dict) or not isinstance(info.get("username", ""), str):
        return None
    extra = info.get("extra")
    return ApiUser(
        username=info.get("username", ""),
        uid=info["uid"] if isinstance(info.get("uid"), str) else "",
        groups=_texts(info.get("groups")),
        extra=tuple((name, _texts(values)) for name, values in extra.items()) if isinstance(extra, dict) else (),
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
