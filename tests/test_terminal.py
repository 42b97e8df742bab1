"""What a terminal gets and a file does not: colour, the page's width, and a sign that something is going on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eks_cross_account.cli import _terminal
from eks_cross_account.cli._terminal import Working
from eks_cross_account.diagnosis.report import Finding, Remedy, Report
from eks_cross_account.sandbox import trust_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eks_cross_account.sandbox import Sandbox

B = "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
SOURCE = Path(__file__).parents[1] / "src"
# a process that a shell started in the background ignores Ctrl-C, and so would its children
CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from eks_cross_account.cli import main; sys.exit(main())"
)
PROGRAM = [sys.executable, "-c", CODE]
CHECK = ("check", "--cluster-name", "analytics", "--role-arn", ROLE)
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CLEARED = "\r\x1b[K"


class Terminal:
    """A program on a terminal of its own: what it shows, by stream, and its exit code."""

    def __init__(self, environ: dict[str, str], size: tuple[int, int], *arguments: str, both: bool) -> None:
        rows, columns = size
        self._pairs = {"err": pty.openpty()}
        self._pairs["out"] = self._pairs["err"] if both else pty.openpty()
        for _, end in self._pairs.values():
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.shown = {"out": "", "err": ""}
        self.process = subprocess.Popen([*PROGRAM, *arguments], env=environ, stdin=subprocess.DEVNULL,
                                        stdout=self._pairs["out"][1], stderr=self._pairs["err"][1])  # fmt: skip
        self._open = {main: name for name, (main, _) in self._pairs.items()}
        for end in {end for _, end in self._pairs.values()}:
            os.close(end)

    def until(self, condition: Callable[[], bool]) -> None:
        """Read on until it is so. Fails after 40 s."""
        end = time.monotonic() + 40
        while not condition():
            assert time.monotonic() < end, self.shown
            self._read()

    def ended(self) -> int:
        self.until(lambda: not self._open)
        return self.process.wait(20)

    def _read(self) -> None:
        for main in select.select(list(self._open), [], [], 1)[0]:
            try:
                raw = os.read(main, 65536)
            except OSError:  # the other end is closed
                raw = b""
            if raw:
                self.shown[self._open[main]] += raw.decode().replace("\r\n", "\n")
            else:
                os.close(main)
                del self._open[main]


@pytest.fixture
def terminal(eks_sandbox: Sandbox) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*arguments: str, size: tuple[int, int] = (24, 80), both: bool = False, **variables: str) -> Terminal:
        environ = {**eks_sandbox.environ, "PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm",
                   "PYTHONPATH": str(SOURCE), **variables}  # fmt: skip
        started.append(Terminal(environ, size, *arguments, both=both))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def rows(text: str, columns: int) -> int:
    """How many lines of a terminal it takes."""
    return sum(-(-len(line) // columns) or 1 for line in ANSI.sub("", text).splitlines())


# --- colour


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False),
     ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
    ids=["a terminal", "NO_COLOR", "NO_COLOR is empty", "dumb", "both"],
)  # fmt: skip
def test_a_terminal_is_shown_colour(
    terminal: Callable[..., Terminal],
    variables: dict[str, str],
    expected: bool,  # noqa: FBT001 - a column
) -> None:
    shown = terminal(*CHECK, **variables)

    assert shown.ended() == 0
    assert ("\x1b[32mPASS\x1b[0m" in shown.shown["out"]) == expected
    assert ANSI.sub("", shown.shown["out"]).endswith("\nverdict: healthy\n")


@pytest.mark.parametrize(
    ("variables", "expected"), [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "0"}, False)]
)
def test_a_file_is_not_unless_it_is_forced(
    eks_sandbox: Sandbox,
    variables: dict[str, str],
    expected: bool,  # noqa: FBT001 - a column
) -> None:
    environ = {**eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent", **variables}

    done = subprocess.run([*PROGRAM, *CHECK], env=environ, capture_output=True, text=True, timeout=50, check=True)

    assert ("\x1b[" in done.stdout) == expected
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [(*CHECK, "--output", "json"), (*CHECK, "--output", "html"), (*CHECK, "--ask-owner"),
     ("permissions", "--namespace", "data", "--manifest", "--group", "g"), ("token", "--cluster-name", "analytics"),
     ("kubeconfig", *CHECK[1:])],
    ids=["json", "html", "a text to forward", "a manifest", "token", "kubeconfig"],
)  # fmt: skip
def test_what_is_for_programs_or_other_people_has_none_even_when_forced(
    eks_sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    environ = {**eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent", "FORCE_COLOR": "1"}

    done = subprocess.run([*PROGRAM, *arguments], env=environ, capture_output=True, text=True, timeout=50, check=True)

    assert "\x1b" not in done.stdout


def test_only_words_of_ours_are_painted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    foreign = "FAIL it said\nPASS    no\nverdict: healthy"
    findings = (
        Finding("a", "FAIL", "aws", "t", foreign, remedy=Remedy("fix it", ("fix",))),
        Finding("b", "WARN", "aws", "t", "yes"),
    )
    text = Report("c", "r", findings).to_text()

    _terminal.show(text)

    shown = capsys.readouterr().out
    assert ANSI.sub("", shown) == text
    red, magenta, bold, plain = "\x1b[1;31m", "\x1b[35m", "\x1b[1m", "\x1b[0m"
    assert re.findall(r"\x1b\[[0-9;]+m\w+\x1b\[0m", shown) == [
        f"{red}FAIL{plain}", f"{bold}fix{plain}", f"{magenta}WARN{plain}", f"{red}broken{plain}",
    ]  # fmt: skip


# --- width


def long_chain(sandbox: Sandbox) -> tuple[str, ...]:
    names = ("gateways/eu/very-long-gateway-role-name-for-the-data-platform-production",
             "clusters/eu/very-long-cluster-user-role-name-for-the-analytics-cluster")  # fmt: skip
    first, second = (f"arn:aws:iam::{B}:role/platform/{name}" for name in names)
    sandbox.add_role(first, trust=trust_policy("arn:aws:iam::111111111111:role/service-role/mwaa-exec"),
                     allow=["sts:AssumeRole"])  # fmt: skip
    sandbox.add_role(second, trust=trust_policy(first), allow=["eks:DescribeCluster"])
    sandbox.add_access_entry(sandbox.cluster(), second)
    return ("check", "--cluster-name", "analytics", "--role-arn", first, "--role-arn", second)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_page_where_all_is_well_fits_a_screen_of_24_lines_and_the_prompt(
    terminal: Callable[..., Terminal], eks_sandbox: Sandbox, columns: int
) -> None:
    shown = terminal(*long_chain(eks_sandbox), size=(24, columns))

    assert shown.ended() == 0
    assert rows(shown.shown["out"], columns) <= 23
    assert "name-for-the-data-platform-production" in shown.shown["out"]


def test_in_a_file_every_arn_is_whole(eks_sandbox: Sandbox) -> None:
    arguments = long_chain(eks_sandbox)
    environ = {**eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent"}

    done = subprocess.run([*PROGRAM, *arguments], env=environ, capture_output=True, text=True, timeout=50, check=True)

    for arn in (arguments[4], arguments[6]):
        assert arn in done.stdout


@pytest.mark.parametrize(("columns", "widest"), [(40, 62), (62, 62), (72, 72), (80, 80), (120, 100), (200, 100)])
def test_the_table_of_permissions_takes_the_terminals_width_within_what_can_be_read(
    terminal: Callable[..., Terminal], columns: int, widest: int
) -> None:
    shown = terminal("permissions", "--xcom", "--namespace", "data", size=(40, columns))

    assert shown.ended() == 0
    longest = max(map(len, ANSI.sub("", shown.shown["out"]).splitlines()))
    assert widest - 25 < longest <= widest


# --- the sign that something is going on


def working(terminal: Callable[..., Terminal], sandbox: Sandbox, **options: Any) -> Terminal:
    sandbox.hang("sts:*", times=1)
    shown = terminal(*CHECK, "--timeout", "4", **options)
    shown.until(lambda: "checking cluster analytics" in "".join(shown.shown.values()))
    return shown


def test_it_is_on_stderr_and_gone_before_the_answer(terminal: Callable[..., Terminal], eks_sandbox: Sandbox) -> None:
    shown = working(terminal, eks_sandbox)

    shown.ended()

    assert "| checking cluster analytics (0 s)" in shown.shown["err"]
    assert shown.shown["err"].endswith(CLEARED)
    assert "checking cluster" not in shown.shown["out"]
    assert shown.shown["out"].startswith("cluster analytics, region ")


def test_on_one_terminal_it_is_cleared_before_the_first_line(
    terminal: Callable[..., Terminal], eks_sandbox: Sandbox
) -> None:
    shown = working(terminal, eks_sandbox, both=True)

    shown.ended()

    (everything,) = filter(None, shown.shown.values())
    before, _, after = everything.rpartition(CLEARED)
    assert "checking cluster" in before
    assert after.startswith("cluster analytics, region ")


def test_ctrl_c_clears_it_away(terminal: Callable[..., Terminal], eks_sandbox: Sandbox) -> None:
    shown = working(terminal, eks_sandbox)

    shown.process.send_signal(signal.SIGINT)

    assert shown.ended() == 130
    assert shown.shown["err"].endswith(CLEARED)
    assert shown.shown["out"] == ""


def test_where_stderr_is_no_terminal_there_is_none(eks_sandbox: Sandbox) -> None:
    eks_sandbox.delay("sts:*", 1.0, times=1)
    environ = {**eks_sandbox.environ, "PYTHONPATH": str(SOURCE), "HOME": "/nonexistent"}

    done = subprocess.run([*PROGRAM, *CHECK], env=environ, capture_output=True, text=True, timeout=50, check=True)

    assert done.stderr == ""


class Screen:
    """A stream that says it is a terminal, and keeps what it is told."""

    def __init__(self) -> None:
        self.text = ""
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text
        self.written.set()

    def flush(self) -> None: ...


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def working_on(screen: Any, patience: float) -> Working:
    with contextlib.redirect_stderr(screen):
        return Working("asking", patience=patience)


def test_what_is_quick_shows_nothing_and_leaves_no_thread(screen: Screen) -> None:
    before = threading.enumerate()

    with working_on(screen, 60):
        pass

    assert screen.text == ""
    assert threading.enumerate() == before


def test_what_lasts_is_cleared_and_leaves_no_thread_after_an_error_too(screen: Screen) -> None:
    before = threading.enumerate()

    def interrupted() -> None:
        with working_on(screen, 0):
            assert screen.written.wait(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert screen.text.startswith("\r| asking (0 s)")
    assert screen.text.endswith(CLEARED)
    assert threading.enumerate() == before


def test_a_terminal_that_goes_away_ends_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(text: str) -> None:
        screen.written.set()
        raise OSError(5, text)

    monkeypatch.setattr(screen, "write", gone)

    with working_on(screen, 0):
        assert screen.written.wait(20)
