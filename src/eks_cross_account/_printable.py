r"""Text from outside as printable ASCII: what would steer a terminal is shown as \x.. instead. Touches nothing."""

from __future__ import annotations

import re

# Bounded and possessive: linear in the text. In the order in which one may hold another.
_SECRETS = (
    re.compile(r"(k8s-aws-v1\.)[A-Za-z0-9_-]++"),
    re.compile(
        r"()(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,8000}+\.eyJ[A-Za-z0-9_-]{0,8000}+(?:\.[A-Za-z0-9_-]{0,8000}+)?+"
    ),
    re.compile(
        r"((?:X-Amz-Signature|X-Amz-Security-Token|secret_?access_?key|session_?token)[\"'\\\s]{0,8}+[=:][\"'\\\s]{0,8}+)"
        r"[^\s\"'\\&,;]++",
        re.IGNORECASE,
    ),
    re.compile(r"(\bBearer[ \t]{1,8}+)[A-Za-z0-9._~+/=-]{20,}+", re.IGNORECASE),
)
_QUOTED_LENGTH = 60
_MESSAGE_LENGTH = 300


def printable(text: object) -> str:
    """A value for a message: quoted, cut at 60 characters."""
    shown = str(text)
    return ascii(shown if len(shown) <= _QUOTED_LENGTH else shown[: _QUOTED_LENGTH - 3] + "...")


def printable_message(text: str) -> str:
    """A sentence of another program: its first line, cut at 300. AWS quotes canonical requests in those after it."""
    return _escaped(text.split("\n", 1)[0][:_MESSAGE_LENGTH])


def printable_line(text: str) -> str:
    """All of it, as one line."""
    return _escaped(text.replace("\n", " "))


def printable_page(text: str) -> str:
    """All of it, line by line."""
    return "\n".join(map(_escaped, text.splitlines()))


def without_secrets(text: str) -> str:
    """The text with ``(hidden)`` for tokens, JWTs, signatures and keys that somebody pasted or a server repeated."""
    for secret in _SECRETS:
        text = secret.sub(r"\1(hidden)", text)
    return text


def _escaped(text: str) -> str:
    """Control characters, ANSI sequences, bidi marks, look-alikes: none of them is left."""
    return "".join(char if " " <= char <= "~" else f"\\x{ord(char):02x}" for char in text)
