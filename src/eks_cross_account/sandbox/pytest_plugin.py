"""The pytest fixture ``eks_sandbox``. Loaded by every pytest run where the package is, so it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.sandbox._sandbox import Sandbox


@pytest.fixture
def eks_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A started sandbox, and the environment of a task in its account A for the time of the test."""
    from eks_cross_account.sandbox import Sandbox  # noqa: PLC0415 - aiohttp and cryptography, only where it is used

    with Sandbox() as sandbox:
        for name, value in sandbox.environ.items():
            monkeypatch.setenv(name, value)
        yield sandbox
