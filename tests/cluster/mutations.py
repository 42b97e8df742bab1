"""Questions about tokens by the thousand, from a seed: good tokens with up to three things changed in each.

A change is made where it belongs: to the parts of the URL, to the bytes of the URL, or to the token's text.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tokens import PARAMETERS

from eks_cross_account import endpoints
from eks_cross_account._partitions import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

LIFE = timedelta(minutes=15)
AT_THE_EDGE = [timedelta(), *(timedelta(microseconds=s * n) for s in (1, -1) for n in (1, 1000, 500_000, 1_000_000))]
REGIONS = {p.name: [r for r in p.regions if not r.endswith("-global")] for p in PARTITIONS}
SUFFIXES = sorted({s for p in PARTITIONS for s in (p.suffix, p.sdk_dual_stack_suffix, p.dual_stack_suffix or p.suffix)})
UNKNOWN_REGIONS = [
    "eu-west-9", "us-gov-south-1", "cn-east-9", "us-iso-middle-1", "us-isob-x-1", "eu-isoe-x-1", "eusc-de-west-9",
    "not-a-region", "a", "1", "-", "x-", "-x", "us_west_2", "US-WEST-2", "us-west-2 ", "global", "aws-global",
    "GLOBAL", "aws-cn-global", "s3", "", "us-west-2\u00e9", "us-we\u017ft-2", "\u212a", "x" * 64, "us--west-2",
]  # fmt: skip
IN_A_HOST = [
    "%2e", "%41", "%80", "%e2%84%aa", "%25", "%", " ", "\t", "\\", "[", "]", "<", ">", '"', "^", "|", "{", "}", "*",
    "_", "~", "!", "$", "'", "(", ",", ";", "=", "&", "+", "@", "/", "?", "#", ":", "::", ":443", ":x", ":0443", "\x7f",
    "\0", "\u00e9", "\u212a", "\u3002", "\u00ad", "\u202e", "\udcff", ".", "-", "a", "A", "0",
]  # fmt: skip
LITERALS = [
    "[::1]", "[::1]:443", "[::1]:x", "[::1]x", "x[::1]", "[]", "[", "[::1", "::1]", "[::ffff:1.2.3.4]", "[::1.2.3.04]",
    "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[::g]", "[12345::]", "[::00001]", "[v1.x]", "[1.2.3.4]",
    "[fe80::1%25en0]", "[fe80::1%25]", "[fe80::1%en0]", "[fe80::1%25%20.global.x]", "[::1%25.global.x]",
    "[::1%25a.global.x%2f]", "[::1%25a.global.x]:", "[::1%2541.global.x]", "[::ffff:1.2.3.4%25.global.]", "[%3a:1]",
    "[::1%25.global.%ff]", "[::1%25.global.%]", "[::1%25.global.\udcff]", "[::1%25.global.x%25]",
    "[::1%25%25.global.x]",
]  # fmt: skip
ACTIONS = ["GetCallerIdentity", "getCallerIdentity", "GetCallerIdentity+", "%47etCallerIdentity", "", "AssumeRole"]
EXPIRES = [
    "0", "1", "60", "899", "900", "901", "-1", "-0", "%2B60", "+60", "060", "0000000000000000000000900", "6e1", "0x3c",
    "60.0", "", "60%20", "%0960", "6_0", "9" * 25, "-" + "9" * 25, "%D9%A6%D9%A0", "\uff19\uff10", "%00", "%2B", "-",
]  # fmt: skip
SIGNED = [
    "host%3Bx-k8s-aws-id", "host;x-k8s-aws-id", "x-k8s-aws-id", "x-k8s-aws-id%3Bhost", "host", "", "%3B",
    "HOST%3BX-K8S-AWS-ID", "host%3Bx-%E2%84%AA8s-aws-id", "host%3Bx-k8%C5%BF-aws-id", "host%3Bx-k8s-aws-\u0131d",
    "host%3Bx-k8s-aws-\u0130d", "accept%3Bhost%3Bx-k8s-aws-id", "host%253Bx-k8s-aws-id", "host%2Cx-k8s-aws-id",
    "host%3B+x-k8s-aws-id", "host%3Bx-k8s-aws-id%00", "host%3Bx-k8s-aws-id%3B", "host%3Bx-k8s-aws-id%FF",
    "x_k8s_aws_id",
]  # fmt: skip
CREDENTIALS = [
    "", "%2F", "AKIAX", "ASIAX%2F20260203%2Fus-west-2%2Fsts%2Faws4_request", "/20260203", "\udcff",
    "a%2Fb%2Fc%2Fd%2Fe%2Ff",
]  # fmt: skip
POOLS = {"Action": ACTIONS, "X-Amz-Expires": EXPIRES, "X-Amz-SignedHeaders": SIGNED, "X-Amz-Credential": CREDENTIALS}
ADDED = [
    "x-k8s-aws-id=prod-eks", "X-Amz-Content-Sha256=x", "X-Amz-Target=x", "X-Amz-Region-Set=*", "=", "=x", "%", "%zz=1",
    "a=%zz", "a=%2", "a;b=1", ";", "", "&", "Action", "action=x", "%41ction=GetCallerIdentity", "Action%00=x",
    "VERSION=2011-06-15", "x-amz-signature=x", "X-Amz-Security-To\u212aen=x", "\uff21ction=x", "\udcff=x", "?a", "a?=1",
]  # fmt: skip
LOOKALIKES = {"k": "\u212a", "s": "\u017f", "i": "\u0130\u0131\uff49", "a": "\u0430\uff41", "-": "\u2010_"}
IN_A_DATE = [*"TZtz.,:-+ 0123456789", "%2B", "%20", "%00", "\u0662", "\uff10", ".5", ",25", ".123456789", ".1234567890"]
BYTES = [
    *(bytes([byte]) for byte in b"\0\t\n\r #%&+/:;=?@[]\x7f\x80\xc0\xed\xff"), b"%00", b"%2", b"%zz", b"&&", b"==",
    b"//", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x84\xaa",
]  # fmt: skip
IN_A_TOKEN = [
    "=", "==", "+", "/", "-", "_", " ", "\t", "\n", "\r", "\r\n", "\0", ".", "A", "z", "%3D", "\u00e9", "\u212a",
    "\ud800",
]  # fmt: skip
BEFORE = ["", "Bearer ", " ", "\n", "\ufeff", "k8s-aws-v1.", "K8S-AWS-V1.", "k8s-aws-v2.", "k8s-aws-v1", "{", '"', "b'"]


def questions(rng: Random, count: int) -> Iterator[dict[str, Any]]:
    """What the oracle is asked: ``token``, the server's configuration and ``clock``, and ``sts_reply`` or None."""
    for _ in range(count):
        server = _server(rng)
        changes = rng.choices(CHANGES, [change.weight for change in CHANGES], k=rng.choice((0, 1, 1, 1, 1, 2, 2, 3)))
        yield {**server, "token": _token(rng, server, changes), "sts_reply": _reply(rng)}


def _server(rng: Random) -> dict[str, Any]:
    partition = "aws" if rng.random() < 0.6 else rng.choice(PARTITIONS).name
    region = rng.choice(REGIONS[partition] if rng.random() < 0.9 else UNKNOWN_REGIONS)
    clock = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randrange(10**14))
    return {"cluster_id": "prod-eks", "partition": partition, "region": region, "clock": clock}


@dataclass(slots=True)
class Draft:
    """A URL in parts, as they stand in it. ``pairs``: name, value; None for no ``=`` at all."""

    server: dict[str, Any]
    host: str
    pairs: list[tuple[str, str | None]]
    scheme: str = "https://"
    userinfo: str = ""
    path: str = "/"
    mark: str = "?"
    fragment: str = ""
    grow_to: int = 0

    def url(self) -> str:
        query = "&".join(name if value is None else f"{name}={value}" for name, value in self.pairs)
        return f"{self.scheme}{self.userinfo}{self.host}{self.path}{self.mark}{query}{self.fragment}"

    def set(self, name: str, value: str) -> None:
        self.pairs = [(other, value if other == name else kept) for other, kept in self.pairs]


@dataclass(frozen=True, slots=True)
class Change:
    weight: int
    of_parts: Callable[[Random, Draft], None] | None = None
    of_bytes: Callable[[Random, bytes], bytes] | None = None
    of_text: Callable[[Random, str], str] | None = None


def _token(rng: Random, server: dict[str, Any], changes: list[Change]) -> str:
    draft = _good(rng, server)
    for change in changes:
        if change.of_parts:
            change.of_parts(rng, draft)
    url = _grown(draft).encode("utf-8", "surrogateescape")
    for change in changes:
        if change.of_bytes:
            url = change.of_bytes(rng, url)
    token = "k8s-aws-v1." + urlsafe_b64encode(url).rstrip(b"=").decode()
    for change in changes:
        if change.of_text:
            token = change.of_text(rng, token)
    return token


def _good(rng: Random, server: dict[str, Any]) -> Draft:
    region = rng.choice(REGIONS[server["partition"]])
    signed_at = server["clock"] - timedelta(seconds=rng.randrange(1, 890))
    pairs: list[tuple[str, str | None]] = [(name, quote(value, safe="")) for name, value in PARAMETERS.items()]
    draft = Draft(server, endpoints.sts_host(region), pairs)
    draft.set("X-Amz-Date", f"{signed_at:%Y%m%dT%H%M%SZ}")
    draft.set("X-Amz-Credential", f"ASIAEXAMPLEEXAMPLE01%2F{signed_at:%Y%m%d}%2F{region}%2Fsts%2Faws4_request")
    return draft


def _grown(draft: Draft) -> str:
    """With a session token that brings the token's text to ``grow_to`` characters, or one less."""
    missing = (draft.grow_to - len("k8s-aws-v1.")) * 3 // 4 - len(draft.url().encode("utf-8", "surrogateescape"))
    if missing > 0:
        session = dict(draft.pairs).get("X-Amz-Security-Token") or ""
        draft.set("X-Amz-Security-Token", session + "s" * missing)
    return draft.url()


def _inserted(rng: Random, text: Any, pieces: list[Any]) -> Any:
    """At a random place: put in, put over what is there, taken out, doubled or exchanged with the next."""
    at = rng.randrange(len(text) + 1)
    piece = rng.choice(pieces)
    how = rng.randrange(6)
    if how < 2:
        return text[:at] + piece + text[at:]
    if how == 2:
        return text[:at] + piece + text[at + 1 :]
    if how == 3:
        return text[:at] + text[at + rng.randrange(1, 4) :]
    if how == 4:
        return text[:at] + text[max(0, at - 3) : at] + text[at:]
    return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]


# --- changes of the parts ---


def _another_host(rng: Random, draft: Draft) -> None:
    everywhere = rng.choice(list(REGIONS.values()))
    region = rng.choice(everywhere if rng.random() < 0.6 else UNKNOWN_REGIONS)
    if rng.random() < 0.4:
        draft.host = rng.choice(endpoints.sts_hosts(region))
    elif rng.random() < 0.2:
        draft.host = endpoints.GLOBAL_STS_HOST
    else:
        own = draft.server["region"]
        label = rng.choice(("sts", "sts", "sts", "sts-fips", "STS", "", "vpce-1.sts", "st\u017f"))
        draft.host = f"{label}.{rng.choice((region, own))}.{rng.choice(SUFFIXES)}"


def _host_with_a_part_changed(rng: Random, draft: Draft) -> None:
    if rng.random() < 0.2:
        literal = rng.choice(LITERALS)
        draft.host = literal if rng.random() < 0.5 else _inserted(rng, literal, [*IN_A_HOST, *"0123456789abcdef:."])
        return
    labels = draft.host.split(".")
    at = rng.randrange(len(labels))
    how = rng.randrange(6)
    if how == 0:
        labels[at] = rng.choice((labels[at].upper(), labels[at].title(), "", "global", labels[at] * 2))
    elif how == 1:
        del labels[at]
    elif how == 2:
        labels.insert(at, rng.choice(("", "global", "x", "sts")))
    draft.host = ".".join(labels)
    if how > 2:
        draft.host = _inserted(rng, draft.host, IN_A_HOST)


def _around_the_host(rng: Random, draft: Draft) -> None:
    how = rng.randrange(5)
    if how == 0:
        draft.scheme = rng.choice(
            ("http://", "HTTPS://", "https:", "https:/", "https:///", "//", "", "://", " https://", "http\u017f://")
        )
    elif how == 1:
        draft.userinfo = rng.choice(
            ("@", "a@", "a:b@", ":@", "a@b@", "%40@", "%zz@", "\u00e9@", "a b@", "a/b@", "a?@", "[@", "a%2fb@", "<@")
        )
    elif how == 2:
        draft.path = rng.choice(
            ("", "//", "/%2f", "%2f", "/.", "/./", "/..", "/x", "/ ", "/;", "/%", "/\u00e9", "/%00", "/\\", "\\")
        )
    elif how == 3:
        draft.mark = rng.choice(("", "??", "%3f", "?&", "?;", "#", "/?", "?#"))
    else:
        draft.fragment = rng.choice(("#", "#x", "#%zz", "#%41", "# ", "#\u00e9", "##", "#&a=b", "#\t", "#\udcff"))


def _parameters(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.pairs))
    name, value = draft.pairs[at]
    how = rng.randrange(8)
    if how == 0:
        del draft.pairs[at]
    elif how == 1:
        other = rng.choice((name, name.lower(), name.swapcase(), name.upper()))
        draft.pairs.insert(rng.randrange(len(draft.pairs) + 1), (other, rng.choice((value, "", "x", None))))
    elif how == 2:
        draft.pairs[at] = (rng.choice((name.lower(), name.upper(), name.swapcase(), name.title())), value)
    elif how == 3:
        draft.pairs[at] = (_lookalike(rng, name), value)
    elif how == 4:
        draft.pairs.insert(rng.randrange(len(draft.pairs) + 1), (rng.choice(ADDED), None))
    elif how == 5:
        rng.shuffle(draft.pairs)
    elif how == 6:
        other = rng.choice((None, "", f"={value}", f"{value}=", f"{value}&", f"{value};", f"+{value}"))
        draft.pairs[at] = (name, other)
    else:
        draft.pairs[at] = (_escaped(rng, name), value)


def _lookalike(rng: Random, name: str) -> str:
    letter = rng.choice([char for char in name if char.lower() in LOOKALIKES] or [name[0]])
    instead = rng.choice(LOOKALIKES.get(letter.lower(), "\u00e9"))
    return name.replace(letter, rng.choice((instead, quote(instead))), rng.choice((1, -1)))


def _escaped(rng: Random, text: str) -> str:
    at = rng.randrange(len(text))
    digits = f"{ord(text[at]):02x}" if ord(text[at]) < 0x80 else "80"
    escape = rng.choice((f"%{digits}", f"%{digits.upper()}", f"%{digits[0]}", f"%25{digits}"))
    return text[:at] + escape + text[at + 1 :]


def _values(rng: Random, draft: Draft) -> None:
    name = rng.choice(list(POOLS))
    draft.set(name, rng.choice(POOLS[name]))


def _any_value(rng: Random, draft: Draft) -> None:
    name, value = rng.choice(draft.pairs)
    draft.set(name, _inserted(rng, value or "x", [*IN_A_HOST, "%3B", "%2B", "+", "%26"]))


def _moment_near(rng: Random, draft: Draft) -> None:
    late = rng.choice((LIFE, timedelta(), timedelta(minutes=-5))) + timedelta(seconds=rng.randrange(-90, 90))
    draft.set("X-Amz-Date", f"{draft.server['clock'] - late:%Y%m%dT%H%M%SZ}")


def _moment_at_the_edge(rng: Random, draft: Draft) -> None:
    end = draft.server["clock"] + rng.choice(AT_THE_EDGE)
    draft.set("X-Amz-Date", f"{end - LIFE:%Y%m%dT%H%M%S}{rng.choice('.,')}{end.microsecond:06}Z")


def _date(rng: Random, draft: Draft) -> None:
    clock = draft.server["clock"]
    date = f"{clock:%Y%m%dT%H%M%SZ}"
    shapes = (
        f"{clock:%Y-%m-%dT%H:%M:%SZ}", f"{clock:%Y%m%dT%H%M%S}", f"{clock:%Y%m%dT%H%MZ}", f"{clock:%y%m%dT%H%M%SZ}",
        date.lower(), f"{clock:%Y%m%d}T240000Z", f"{clock:%Y%m%d}T235960Z", f"{clock:%Y}0230T000000Z",
        f"{clock:%Y}0229T000000Z", "20280229T000000Z", f"{clock:%Y}1300T000000Z", f"{clock:%Y%m}00T000000Z",
        f"{clock:%Y%m}31T120000Z", "00000101T000000Z", "99991231T235959Z", "00000229T000000Z", "19000229T000000Z",
        "21000229T000000Z", "", date + "Z", date.replace("Z", "%2B0000"), date + "%20",
    )  # fmt: skip
    draft.set("X-Amz-Date", rng.choice(shapes) if rng.random() < 0.5 else _inserted(rng, date, IN_A_DATE))


def _size(rng: Random, draft: Draft) -> None:
    draft.grow_to = rng.randrange(4090, 4103)


# --- changes of the bytes and of the text ---


def _bytes(rng: Random, url: bytes) -> bytes:
    return bytes(_inserted(rng, url, BYTES))


def _cut(rng: Random, url: bytes) -> bytes:
    return url[: rng.randrange(len(url) + 1)] if rng.random() < 0.5 else url[rng.randrange(len(url) + 1) :]


def _text(rng: Random, token: str) -> str:
    return str(_inserted(rng, token, IN_A_TOKEN))


def _ends(rng: Random, token: str) -> str:
    how = rng.randrange(4)
    if how == 0:
        return token + rng.choice(IN_A_TOKEN)
    if how == 1:
        return rng.choice(BEFORE) + token
    if how == 2:
        return rng.choice(BEFORE) + token.removeprefix("k8s-aws-v1.")
    return token[: -rng.randrange(1, 5)]


def _last_bits(rng: Random, token: str) -> str:
    """Another last character: its unused bits are not looked at, the others change the URL's last byte."""
    return token[:-1] + rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def _line_ends(rng: Random, token: str) -> str:
    """Skipped by the decoder, counted by the limit."""
    return token + rng.choice("\r\n") * max(0, rng.randrange(4090, 4103) - len(token))


CHANGES = [
    Change(6, of_parts=_another_host),
    Change(5, of_parts=_host_with_a_part_changed),
    Change(3, of_parts=_around_the_host),
    Change(7, of_parts=_parameters),
    Change(5, of_parts=_values),
    Change(3, of_parts=_any_value),
    Change(2, of_parts=_moment_near),
    Change(3, of_parts=_moment_at_the_edge),
    Change(3, of_parts=_date),
    Change(2, of_parts=_size),
    Change(5, of_bytes=_bytes),
    Change(1, of_bytes=_cut),
    Change(2, of_text=_text),
    Change(2, of_text=_ends),
    Change(1, of_text=_last_bits),
    Change(1, of_text=_line_ends),
]


# --- what STS answers ---


def _reply(rng: Random) -> dict[str, Any] | None:
    """An answer of STS's shape, an error of its, nothing at all, or what is not STS.

    Not here, because ours is stricter on purpose (identity.parse_caller_identity): fields in other case, more or
    fewer of them or twice, an account that is not the ARN's, an empty UserId.
    """
    how = rng.random()
    if how < 0.15:
        return None
    if how < 0.25:
        code = rng.choice(("Throttling", "ThrottlingException", "SignatureDoesNotMatch", "ExpiredToken"))
        return {"status": rng.choice((400, 403, 429, 500)), "body": json.dumps({"Error": {"Code": code}})}
    if how < 0.3:
        body = rng.choice(("", "{}", "null", "[]", "<html>", '"x"', '{"GetCallerIdentityResponse": null}', "\u00e9"))
        return {"status": rng.choice((200, 200, 204, 302)), "body": body}
    fields = _identity(rng)
    return {"status": 200, "body": json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": fields}})}


def _identity(rng: Random) -> dict[str, str]:
    account = rng.choice(("123456789012", "000000000000"))
    partition = rng.choice((*endpoints.partition_names(), "aws", "aws", "aws-mars", "AWS"))
    name = rng.choice(("airflow", "a/b/airflow", "Airflow", "a+=,.@-_b", "\u00e9", "/", "a//b", "x:y", ""))
    session = rng.choice(("nightly", "i-0123456789abcdef0", "a@b.c", "", "x:y", "a/b", "{{SessionName}}"))
    resource, service, user_id = rng.choice(
        (
            (f"assumed-role/{name}/{session}", "sts", f"AROAEXAMPLE:{session}"),
            (f"assumed-role/{name}/{session}", "sts", f"AROAEXAMPLE:{session}"),
            (f"role/{name}", "iam", rng.choice(("AROAEXAMPLE:x", "AROAEXAMPLE"))),
            (f"user/{name}", "iam", rng.choice(("AIDAEXAMPLE", "AIDA:EXAMPLE"))),
            ("root", "iam", account),
            (f"federated-user/{name}", "sts", f"{account}:{name}"),
            (rng.choice((f"assumed-role/{name}", f"group/{name}", "", "self", "Root")), "iam", "AROA:x"),
            (rng.choice((f"assumed-role/{name}", "assumed-role", f"role/{name}")), "sts", "AROA:x"),
        )
    )
    return {"Account": account, "Arn": f"arn:{partition}:{service}::{account}:{resource}", "UserId": user_id}
