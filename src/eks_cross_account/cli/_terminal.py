"""What only a terminal gets: its width, colour, and a sign that something is still going on. Never part of an answer.

Colour and spinner are for terminals, NO_COLOR (https://no-color.org) and FORCE_COLOR are heard; the text is the same.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_NARROWEST, _WIDEST = 60, 100  # longer lines are hard to read
_PATIENCE = 0.3  # seconds in which nobody asks whether it hangs
_BEAT = 0.12  # seconds
_FRAMES = "|/-\\"
# Of the sixteen, those that can be read on black and on white; yellow cannot
_GREEN, _RED, _MAGENTA, _BOLD, _DIM, _PLAIN = "\x1b[32m", "\x1b[1;31m", "\x1b[35m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLOURS = {
    **dict.fromkeys(("PASS", "healthy", "yes", "breaks no rule"), _GREEN),
    **dict.fromkeys(("FAIL", "broken", "NO", "breaks"), _RED),
    **dict.fromkeys(("WARN", "UNKNOWN", "unknown", "?"), _MAGENTA),
    **dict.fromkeys(("FOUND", "fix"), _BOLD),
    "SKIP": _DIM,
}
_PAINTED = re.compile(
    r"^(?P<before>verdict: (?=\w)|        (?=fix[ :])|)"
    r"(?P<word>(?:PASS|FAIL|WARN|UNKNOWN|SKIP|FOUND)(?= )|(?<=verdict: )(?:healthy|broken|unknown)"
    r"|(?<= )fix(?=(?: \([^)]*\))?: )|(?:yes|NO|\?)(?= {3,5}\w)|breaks no rule$|breaks(?= \d))",
    re.MULTILINE,
)


def show(text: str) -> None:
    """The answer, on stdout, in colour where that is wanted."""
    sys.stdout.write(_painted(text) if _wants_colour(sys.stdout, os.environ) else text)


def width() -> int | None:
    """Of a page on stdout: the terminal's, within what can be read; None where stdout is none, or it has no width."""
    if not sys.stdout.isatty():
        return None
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(_NARROWEST, min(columns, _WIDEST)) if columns else None


def _wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def _painted(text: str) -> str:
    """With the words that are looked for in colour: they stand at the beginning of a line, never in foreign text."""
    return _PAINTED.sub(lambda found: f"{found['before']}{_COLOURS[found['word']]}{found['word']}{_PLAIN}", text)


class Working:
    """Says on stderr, where that is a terminal, that something is going on, once it has taken a while.

    The thread that says so is over, and its line is gone, when the block is left, by Ctrl-C too.
    """

    def __init__(self, what: str, *, patience: float = _PATIENCE) -> None:
        self._what = what
        self._patience = patience
        self._stream = sys.stderr  # as it is now: within the block it may be another
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._turn, name="eks-token-check-working", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _turn(self) -> None:
        if self._over.wait(self._patience):
            return
        beat = 0
        try:
            while not self._over.is_set():
                self._say(f"\r{_FRAMES[beat % len(_FRAMES)]} {self._what} ({self._patience + beat * _BEAT:.0f} s)")
                beat += 1
                self._over.wait(_BEAT)
            self._say("\r\x1b[K")
        except (OSError, ValueError):  # the terminal is gone, or closed: nobody looks
            return

    def _say(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
