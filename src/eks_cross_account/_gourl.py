"""How Go reads a URL (net/url of Go 1.26), as far as the verifier looks. Touches nothing.

The verifier is a Go program, and Python's urllib reads the same bytes differently: it strips tabs and newlines,
lower-cases hosts, keeps bad escapes and splits nothing at ``;``. Text here is latin-1: one character per byte, as Go
indexes strings; ``text()`` turns the percent-decoded bytes into what a Go string prints as.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Host bytes below 0x80 that Go takes unescaped: RFC 3986 unreserved and sub-delims, plus :[]<>" (url.shouldEscape).
_HOST = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"\x80-\xff]|%25|%[89A-Fa-f][0-9A-Fa-f])*")
_ZONE_ESCAPED = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\" %]")
_PORT = re.compile(r"(?::[0-9]*)?")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_MAX_PARAMETERS = 10_000  # GODEBUG urlmaxqueryparams, the default since Go 1.25.6


class UrlError(ValueError):
    """net/url.Parse refuses this text. The message names the reason and never quotes the URL: it is a credential."""


class Url(NamedTuple):
    """The parts that the verifier looks at, percent-decoded where Go decodes them."""

    scheme: str
    host: str
    has_userinfo: bool
    path: str
    query: str


def parse(raw: str) -> Url:
    """Split ``raw`` (latin-1: a character per byte) as ``url.Parse`` does.

    Raises UrlError where Go returns an error.
    """
    url, _, fragment = raw.partition("#")
    if _CONTROL.search(url):
        raise UrlError("control character in the URL")
    _check_escapes(fragment)
    if url == "*":
        return Url("", "", has_userinfo=False, path="*", query="")
    scheme, rest = _split_scheme(url)
    rest, query = _split_query(rest)
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "", has_userinfo=False, path="", query=query)  # opaque, as in mailto:x
        if ":" in rest.partition("/")[0]:
            raise UrlError("the first path segment has a colon")
    authority = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, tail = rest[2:].partition("/")
        rest = slash + tail
    userinfo, at, host = authority.rpartition("@")
    host = _parse_host(scheme, host)
    if at:
        _check_userinfo(userinfo)
    return Url(scheme, host, bool(at), unescape(rest), query)


def parse_query(query: str) -> tuple[list[tuple[str, str]], bool]:
    """The (name, value) pairs that ``url.ParseQuery`` keeps, and whether it returned no error."""
    if query.count("&") + 1 > _MAX_PARAMETERS:
        return [], False
    pairs: list[tuple[str, str]] = []
    clean = True
    for segment in query.split("&"):
        if not segment:
            continue
        name, _, value = segment.partition("=")
        if ";" in segment or _BAD_ESCAPE.search(segment):
            clean = False
            continue
        pairs.append((_unescape_query(name), _unescape_query(value)))
    return pairs, clean


def unescape(raw: str) -> str:
    """Decode ``%XX``; UrlError at a percent sign that two hex digits do not follow."""
    if "%" not in raw:
        return raw
    _check_escapes(raw)
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), raw)


def text(raw: str) -> str:
    """What a Go string of these bytes is as text: UTF-8, each byte that is not becomes U+FFFD of its own."""
    if raw.isascii():
        return raw
    decoded = raw.encode("latin-1").decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", "\ufffd", decoded)


def lower(value: str) -> str:
    """``strings.ToLower``: one rune in, one rune out (Python makes U+0130 two characters, Go makes it ``i``)."""
    if value.isascii():
        return value.lower()
    return "".join("i" if char == "\u0130" else char.lower() for char in value)


def _split_scheme(url: str) -> tuple[str, str]:
    if url.startswith(":"):
        raise UrlError("missing protocol scheme")
    match = _SCHEME.match(url)
    if match is None:
        return "", url
    return match[1].lower(), url[match.end() :]


def _split_query(rest: str) -> tuple[str, str]:
    path, _, query = rest.partition("?")
    return path, query


def _parse_host(scheme: str, host: str) -> str:
    bracket = host.rfind("[")
    if bracket > 0:
        raise UrlError("invalid IP literal in the host")
    if bracket == 0:
        return _parse_ip_literal(host)
    _, colon, port = host.partition(":") if scheme in ("http", "https") else host.rpartition(":")
    if colon and not _PORT.fullmatch(":" + port):
        raise UrlError("the port is not a number")
    if not _HOST.fullmatch(host):
        raise UrlError("a character that no host may have")
    return unescape(host)


def _parse_ip_literal(host: str) -> str:
    """An IPv6 address in brackets. No STS host is one, so only the verdict of Go's parser matters."""
    import ipaddress  # noqa: PLC0415 - no honest token comes here; a token must not pay for the import

    literal, bracket, port = host[1:].rpartition("]")
    if not bracket:
        raise UrlError("missing ']' in the host")
    if not _PORT.fullmatch(port):
        raise UrlError("the port is not a number")
    address, percent, zone = literal.partition("%25")
    if not _HOST.fullmatch(address) or not _is_zone(zone) or (percent and not zone):
        raise UrlError("invalid IP literal in the host")
    try:
        ipaddress.IPv6Address(unescape(address))
    except ValueError:
        raise UrlError("invalid IP literal in the host") from None
    return unescape(host)


def _is_zone(zone: str) -> bool:
    """Mode encodeZone: what a host may have, and escapes of that, of a blank and of a percent sign."""
    if _BAD_ESCAPE.search(zone):
        return False
    escaped = all(_ZONE_ESCAPED.match(chr(int(match[1], 16))) for match in _ESCAPE.finditer(zone))
    return escaped and _HOST.fullmatch(_ESCAPE.sub("", zone)) is not None


def _check_userinfo(userinfo: str) -> None:
    if not _USERINFO.fullmatch(userinfo):
        raise UrlError("a character that no user name may have")
    _check_escapes(userinfo)


def _check_escapes(raw: str) -> None:
    if _BAD_ESCAPE.search(raw):
        raise UrlError("a percent sign without two hex digits")


def _unescape_query(raw: str) -> str:
    return unescape(raw.replace("+", " "))
