"""The locks of requirements/locked are of the requirements beside them, and of the package's own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
SETS = sorted(lock.stem for lock in (REQUIREMENTS / "locked").glob("*.txt"))
AGAIN = "run scripts/locks dev"


def requirements(file: Path) -> Iterator[Requirement]:
    for line in file.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from requirements(file.parent / text.removeprefix("-r "))
        elif text:
            yield Requirement(text)


def of_the_package(extra: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"].get(extra, [])]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> dict[str, str]:
    """Versions by name; each with a hash, or this is no lock."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (REQUIREMENTS / "locked" / f"{name}.txt").read_text().strip()):
        if not entry.startswith("#"):
            pinned = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)( ; .*)? \\\n    --hash=sha256:[0-9a-f]{64}", entry)
            assert pinned, entry
            found[normalized(pinned[1])] = pinned[2]
    return found


def test_there_are_locks() -> None:
    assert {"test", "lint", "package", "coverage", "lowest", "awscli", "fuzz", "mutation", "uv"} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_a_lock_fits_its_requirements(name: str) -> None:
    wanted = list(requirements(REQUIREMENTS / f"{name}.txt"))
    if name != "uv":  # which is installed alone, before the rest
        wanted += requirements(REQUIREMENTS / "build.txt")
        wanted += of_the_package("" if name == "fuzz" else "sandbox")

    versions = locked(name)

    for each in wanted:
        version = versions.get(normalized(each.name))
        assert version, f"{each} is not in requirements/locked/{name}.txt: {AGAIN}"
        assert each.specifier.contains(version), f"requirements/locked/{name}.txt has {version} for {each}: {AGAIN}"


def test_what_is_installed_into_one_environment_has_one_version() -> None:
    versions: dict[str, str] = {}
    for name in ("test", "lint", "package", "coverage"):
        for package, version in locked(name).items():
            assert versions.setdefault(package, version) == version, f"{package} in {name}: {AGAIN}"
