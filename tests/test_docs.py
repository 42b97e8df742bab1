"""The code in README and docs is run, as it stands there, against the sandbox."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from clusters import SandboxCluster, collected, pod

from eks_cross_account import errors
from eks_cross_account.cli._main import _parser
from eks_cross_account.rules import STS_RULES, VERIFIER_RULES
from eks_cross_account.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text()
]


collected_here = pytest.fixture(collected)


@pytest.fixture
def _running_pod(eks_sandbox: Sandbox) -> None:
    """The pod `report-1`, which the pages look into."""
    SandboxCluster(eks_sandbox).ask("POST", "/api/v1/namespaces/data/pods", pod("report-1", run_seconds="600"))


@pytest.mark.usefixtures("_running_pod", "collected_here")
@pytest.mark.filterwarnings("default::DeprecationWarning")  # old releases of the clients, on newer Pythons
@pytest.mark.filterwarnings("default::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of streams, as test_kubernetes
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)  # noqa: S102 - our own pages

    for name, value in list(names.items()):
        if name.startswith("test_"):
            with Sandbox() as fresh, monkeypatch.context() as patch:
                for variable, setting in fresh.environ.items():
                    patch.setenv(variable, setting)
                value(fresh)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_rules_lists_them_all_in_their_order() -> None:
    listed = re.findall(r"^\| `([a-z0-9_]+)` \| (verifier|sts) \|", (ROOT / "docs/rules.md").read_text(), re.MULTILINE)

    assert [rule for rule, _ in listed] == [*VERIFIER_RULES, *STS_RULES]
    assert all((judge == "sts") == rule.startswith("sts_") for rule, judge in listed)


def test_every_error_is_on_the_page_of_the_library() -> None:
    page = (ROOT / "docs/library.md").read_text()

    for name in vars(errors):
        if name.endswith("Error"):
            assert name in page


def test_every_command_is_on_the_page_of_the_command() -> None:
    page = (ROOT / "docs/command.md").read_text()
    commands = next(action.choices for action in _parser()._actions if action.dest == "command")

    assert commands
    for command in commands:
        assert f"| `{command}" in page
