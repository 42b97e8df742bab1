"""Imports point one way, and a room touches only what it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rooms import PURE_FILES, ROOMS, SOURCE, is_pure, room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMPURE = {"os", "socket", "ssl", "time", "http", "urllib", "logging", "subprocess", "pathlib", "threading", "asyncio"}
SANDBOX_MAY = {
    "_printable", "errors", "_partitions", "endpoints", "identity", "mapping", "credentials", "rules", "sandbox",
}  # fmt: skip
FILES = sorted(SOURCE.rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported when the code runs: blocks for type checkers do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        else:
            yield from imports(node)


def rooms_imported(file: Path) -> set[str]:
    own = [name.split(".") for name in imports(ast.parse(file.read_text())) if name.startswith("eks_cross_account")]
    return {parts[1] for parts in own if len(parts) > 1} - {"_version"}


CHECKED = [file for file in FILES if room(file) not in {"__init__", "_version"}]


@pytest.mark.parametrize("file", CHECKED, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_up_only(file: Path) -> None:
    allowed = set(ROOMS[: ROOMS.index(room(file)) + 1])

    assert rooms_imported(file) <= allowed


@pytest.mark.parametrize("file", [f for f in CHECKED if room(f) == "sandbox"], ids=lambda file: file.name)
def test_the_sandbox_does_not_verify_with_the_signers_code(file: Path) -> None:
    assert rooms_imported(file) <= SANDBOX_MAY
    if file.name in {"_sigv4.py", "_policy.py"}:
        assert rooms_imported(file) <= {"sandbox"}


@pytest.mark.parametrize("file", [f for f in CHECKED if is_pure(f)], ids=lambda file: file.name)
def test_a_pure_room_touches_nothing(file: Path) -> None:
    tree = ast.parse(file.read_text())
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    # urlsplit only computes; token and rules read URLs as Go does, and may not have it
    imported = set(imports(tree)) - ({"urllib.parse.urlsplit"} if room(file) == "diagnosis" else set())
    assert {name.partition(".")[0] for name in imported} & IMPURE == set()
    assert calls & {"now", "utcnow", "today", "environ", "getenv"} - {"now"} == set()
    assert not any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"now", "utcnow"}
        for node in ast.walk(tree)
    )


PROBES = {"_budget.py", "_environment.py", "_mapping_probes.py", "_probes.py", "_reach.py", "evidence.py"}


@pytest.mark.parametrize(
    "file", [f for f in CHECKED if room(f) == "diagnosis" and f.name not in PROBES], ids=lambda file: file.name
)
def test_only_the_probes_of_a_diagnosis_look_outside(file: Path) -> None:
    tree = ast.parse(file.read_text())

    assert {name.partition(".")[0] for name in imports(tree)} & (IMPURE - {"urllib"}) == set()  # urllib.parse is pure
    assert {name for name in imports(tree) if name.startswith("urllib.")} <= {"urllib.parse.urlsplit"}


def test_the_pure_files_are_there() -> None:
    assert {file.relative_to(SOURCE).as_posix() for file in FILES} >= PURE_FILES


def test_no_room_is_named_after_nothing() -> None:
    names = {part.removesuffix(".py") for file in FILES for part in file.relative_to(SOURCE).parts}

    assert names & {"utils", "common", "constants", "models", "helpers", "misc"} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_importing_does_nothing_and_the_environment_is_never_written(file: Path) -> None:
    tree = ast.parse(file.read_text())
    top = [node for statement in tree.body if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
           for node in ast.walk(statement)]  # fmt: skip

    assert not any(
        isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "basicConfig"} for node in top
    )
    written = [
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.Delete)
        for target in node.targets
        if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "os.environ"
    ]
    assert written == []
    assert "os.environ.update" not in file.read_text()
    assert "putenv" not in file.read_text()


@pytest.mark.parametrize(
    "code",
    [
        "import eks_cross_account",
        "import eks_cross_account as e; e.presign, e.encode_token, e.decode_token, e.violations, e.canonicalize",
        "import eks_cross_account as e; e.RoleHop, e.FrozenCredentials, e.get_token, e.EksTokenError",
        "import eks_cross_account.sandbox.pytest_plugin",
    ],
)
def test_heavy_packages_are_not_loaded(code: str) -> None:
    heavy = "('boto3', 'botocore', 'kubernetes', 'kubernetes_asyncio', 'aiohttp', 'cryptography', 'urllib3', 'yaml')"
    check = f"import sys; {code}; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
