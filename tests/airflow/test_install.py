"""How the package gets into an Airflow: the wheel in the DAG folder, the example DAGs, the provider's entry point."""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stand import Stand, operator

import eks_cross_account
from eks_cross_account.airflow import example_dags

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(eks_cross_account.__file__).parent
WHEEL = "eks_cross_account-0.1.0-py3-none-any.whl"
EXAMPLES = {"eks_canary", "eks_token_check", "eks_drop_in", "eks_own_hook", "eks_own_operator"}


NOT_INSTALLED = """
import importlib.metadata, pathlib, sys
sys.path[:] = [folder for folder in sys.path if not pathlib.Path(folder, "eks_cross_account").is_dir()]
found = importlib.metadata.distributions
importlib.metadata.distributions = lambda **how: (
    one for one in found(**how) if one.metadata["Name"] != "eks-cross-account"
)
"""


def put_wheel(folder: Path) -> Path:
    """The wheel, as far as Python is concerned: hatchling is not in Airflow's environments."""
    wheel = folder / WHEEL
    with zipfile.ZipFile(wheel, "w") as made:
        for file in sorted(PACKAGE.rglob("*.py")):
            made.write(file, file.relative_to(PACKAGE.parent))
        made.writestr("eks_cross_account-0.1.0.dist-info/METADATA", "Name: eks-cross-account\nVersion: 0.1.0\n")
    return wheel


def dag_bag(folder: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415 - where Airflow 3.2 and later has it
    except ImportError:
        from airflow.models.dagbag import DagBag  # noqa: PLC0415 - before
    return DagBag(str(folder))  # without Airflow's own examples: they are switched off by conftest_settings.py


@pytest.fixture
def stand(tmp_path: Path, database: Path) -> Iterator[Stand]:
    with Stand(tmp_path, database) as started:
        yield started


@pytest.mark.skipif(not version("apache-airflow").startswith("3.3"), reason="the same on every line: one is enough")
def test_the_trial_is_the_wheel_in_the_dag_folder_and_one_line(stand: Stand, tmp_path: Path) -> None:
    (stand.home / "dags").mkdir(parents=True)
    wheel = put_wheel(stand.home / "dags")
    task = (
        f'import sys; sys.path.insert(0, "{wheel}")\n{operator()}\n'
        'import eks_cross_account.token\nprint("FROM", eks_cross_account.token.__file__)'
    )

    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)  # whose checkout is in this environment

    run = stand.run(task, environ={"PYTHONPATH": str(tmp_path)})

    assert run.state == "success", run.output
    assert run.says(f"FROM {wheel}/eks_cross_account/token.py")
    assert (stand.created, len(stand.deleted), stand.left) == (1, 1, [])


@pytest.mark.usefixtures("database")
def test_airflow_finds_the_example_dags_and_no_others_beside_a_wheel(tmp_path: Path) -> None:
    put_wheel(tmp_path)
    for file in Path(example_dags.__file__).parent.glob("[a-z]*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())

    bag = dag_bag(tmp_path)

    assert bag.import_errors == {}
    assert set(bag.dags) == EXAMPLES


def test_airflow_lists_the_provider() -> None:
    from airflow.providers_manager import ProvidersManager  # noqa: PLC0415 - heavy

    listed = ProvidersManager().providers["eks-cross-account"]

    assert listed.version == version("eks-cross-account")
    assert listed.data["name"] == "EKS cross-account"
