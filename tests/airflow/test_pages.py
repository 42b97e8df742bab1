"""The code in README and docs that needs Airflow runs as it stands there, against the sandbox."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from eks_cross_account.airflow import CrossAccountEksMixin, CrossAccountEksPodOperator
from eks_cross_account.airflow._seams import DAG, EksPodOperator

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
HERE = re.compile(r"^<!-- [^\n]*; tests/airflow runs it -->\n```py\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if HERE.search(page.read_text())]


@pytest.fixture
def _of_the_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of somebody's own operators that a page speaks of."""
    module = ModuleType("my_company.operators")
    module.TeamPodOperator = type("TeamPodOperator", (EksPodOperator,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_company", ModuleType("my_company"))
    monkeypatch.setitem(sys.modules, "my_company.operators", module)


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES} == {"README.md", "airflow.md", "mwaa.md", "topologies.md"}


@pytest.mark.contract
@pytest.mark.usefixtures("_of_the_company")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(
    page: Path, eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    connection("cluster_connection", extra={"role_arn": ROLE, "region_name": "eu-west-1"})
    names: dict[str, Any] = {
        "__file__": str(page),
        "CrossAccountEksPodOperator": CrossAccountEksPodOperator,
    }

    for block in HERE.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)  # noqa: S102 - our own pages

    assert names.get("EksPodOperator", CrossAccountEksPodOperator) is CrossAccountEksPodOperator
    assert isinstance(names.get("dag"), DAG) == (page.name != "topologies.md")
    if page.name == "airflow.md":
        assert names["names"] == []
        assert issubclass(names["CrossAccountTeamPodOperator"], CrossAccountEksMixin)
        assert eks_sandbox.kubernetes_requests[-1].user["groups"] == ["airflow-workers", "system:authenticated"]
