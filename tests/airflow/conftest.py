"""Airflow in a folder of its own, made once per session; nothing here is collected where Airflow is not installed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest_settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from line import Line

HERE = Path(__file__).parent
INSTALLED = any(dist.name == "apache-airflow" for dist in importlib.metadata.distributions())
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
if INSTALLED and importlib.metadata.version("apache-airflow").startswith(("2.7.", "2.8.")):
    collect_ignore_glob = ["test_standalone.py"]  # its DAGs take arguments that these providers do not have

if INSTALLED:
    _HOME = Path(tempfile.mkdtemp(prefix="eks-airflow-"))
    os.environ.update(SETTINGS, AIRFLOW_HOME=str(_HOME))  # read by Airflow when it is imported, here and in children
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import eks_cross_account.airflow.check
        import eks_cross_account.airflow.dags
        import eks_cross_account.airflow.hooks
        import eks_cross_account.airflow.operators  # noqa: F401 - imported here, where warnings are no errors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            if item.get_closest_marker("cluster") is None:  # which scripts/test --cluster runs
                item.add_marker(pytest.mark.airflow)
            item.add_marker(pytest.mark.filterwarnings("default"))  # Airflow's own, on every line others
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(240))
            if "database" in getattr(item, "fixturenames", ()):  # --dist loadgroup: one process migrates, and runs DAGs
                item.add_marker(pytest.mark.xdist_group("database"))
    # tests that share one Airflow run as they are written, wherever pytest-randomly puts their module
    places = [place for place, item in enumerate(items) if item.get_closest_marker("standalone")]
    written = sorted((items[place] for place in places), key=lambda item: item.location[1] or 0)
    for place, item in zip(places, written, strict=True):
        items[place] = item


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    yield _HOME
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def database(airflow_home: Path) -> Path:
    """A migrated database, to be copied by each test that runs a DAG."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "airflow", "db", "migrate"],
        env={**environ, **SETTINGS, "AIRFLOW_HOME": str(airflow_home)},
        check=True,
        capture_output=True,
        timeout=200,
    )
    return airflow_home / "airflow.db"


@pytest.fixture(scope="session")
def started_line(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Line]:
    from line import Line  # noqa: PLC0415 - as below

    with Line(tmp_path_factory.mktemp("line"), database) as started:
        yield started


@pytest.fixture
def line(started_line: Line) -> Line:
    """One process for the whole session that runs the DAGs of line_dag.py; nothing is left of the case before."""
    started_line.forget()
    return started_line


@pytest.fixture(autouse=True)
def nothing_said_before() -> Iterator[None]:
    """What is said once per process is said once per test."""
    from eks_cross_account.airflow import _connections, _failures  # noqa: PLC0415 - not without Airflow

    _connections._SAID.clear()
    _failures._SHOWN.clear()
    yield
    _connections._ACCESSES.clear()
    _connections._SOURCES.clear()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Define an Airflow connection by its JSON, as AIRFLOW_CONN_X does."""
    import json  # noqa: PLC0415

    def define(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "aws", **fields}))

    return define
