"""Each test on the page of faults is there, and each guard that scripts/guards takes away stands where it says."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/faults.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
TESTS = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))


def guards() -> list[tuple[str, str, str, str]]:
    loader = SourceFileLoader("guards", str(ROOT / "scripts/guards"))
    spec = spec_from_loader("guards", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    found: list[tuple[str, str, str, str]] = module.GUARDS
    return found


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_is_there(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard[3].rpartition("::")[2])
def test_a_guard_is_where_it_is_taken_away_and_its_test_on_the_page(guard: tuple[str, str, str, str]) -> None:
    file, old, _, test = guard

    assert (ROOT / "src/eks_cross_account" / file).read_text().count(old) == 1
    assert test.rpartition("::")[2] in NAMED
