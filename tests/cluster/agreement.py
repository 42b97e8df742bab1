"""Fixtures that ask aws-iam-authenticator's own code (oracle/), and the line that says how often it agreed."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from build import AUTHENTICATOR, NoGoError, binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_COUNTS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def oracle() -> Callable[[Iterable[dict[str, Any]]], list[Any]]:
    """The answers to questions such as ``{"verify": ...}``, ``{"map": ...}``, ``{"read": ...}``: see oracle/main.go."""
    try:
        program = binary("oracle")
    except NoGoError as error:
        pytest.skip(str(error))

    def ask(questions: Iterable[dict[str, Any]]) -> list[Any]:
        lines = "\n".join(map(json.dumps, questions))
        done = subprocess.run([program], input=lines.encode(), capture_output=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]  # of bytes: at line feeds alone

    return ask


@pytest.fixture(scope="session")
def agreement(pytestconfig: pytest.Config) -> Callable[[str, int, int], None]:
    """Takes what was asked, how often the two agreed, and how often it was asked."""
    counts = pytestconfig.stash.setdefault(_COUNTS, [])
    return lambda what, agreed, asked: counts.append(f"{agreed:,}/{asked:,} {what}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    counts = config.stash.get(_COUNTS, [])
    if counts:
        terminalreporter.write_line(f"oracle: {', '.join(counts)} agree with aws-iam-authenticator v{AUTHENTICATOR}")
