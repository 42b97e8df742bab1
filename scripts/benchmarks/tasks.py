"""From the start of a task to its pod: EksPodOperator and ours in turn, by dag.test(). Run by scripts/bench.

The stand, the DAG and the surroundings are those of scripts/beside, where nothing is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LINE = "3.3.1"
TASKS: dict[str, dict[str, Any]] = {
    "sync": {},
    "deferrable": {"deferrable": True, "poll_interval": 1},
    "XCom": {"do_xcom_push": True},
}
MEMORY = """
import atexit, os, resource
atexit.register(lambda: open(os.environ["BESIDE_MEMORY"], "w").write(
    str(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))))
"""


def beside() -> Any:
    """scripts/beside as a module: it has no ending."""
    loader = SourceFileLoader("beside", str(ROOT / "scripts/beside"))
    spec = spec_from_loader("beside", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["beside"] = module
    loader.exec_module(module)
    return module


def run(tools: Any, row: Any, operator: str, python: Path, database: Path) -> dict[str, Any]:
    from stand import Stand  # noqa: PLC0415 - of the tests; main made it importable

    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        environ = {**tools.surroundings(row, python, folder), "BESIDE_MEMORY": str(folder / "memory")}
        stand = stack.enter_context(Stand(folder, database, str(python)))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = stand.run(MEMORY + tools.task(row, operator), environ=environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = tools.outcome(row, stand, done, folder)
        if not found.is_green:
            raise RuntimeError(f"{operator}: {found.state}: {found.evidence}\n{done.output[-3000:]}")
        started = float((folder / "started").read_text().split()[0])
        return {
            "auth": stand.sandbox.kubernetes_requests[0].at.timestamp() - started,
            "seconds": found.seconds,
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "memory": int((folder / "memory").read_text()) / 1024,
            "sts": found.sts,
            "eks": found.eks,
            "processes": found.token_processes,
        }


def main(runs: int, work: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW", "AWS_", "PYTHON_OPERATORS_"))]:
        del os.environ[name]
    sys.path.insert(0, str(ROOT / "tests/airflow"))
    tools = beside()
    rows = []
    for task, arguments in TASKS.items():
        given = {**arguments, "annotations": {"eks-sandbox/run-seconds": "1", "eks-sandbox/xcom": "1"}}
        row = tools.Row(task, "nothing is wrong", LINE, arguments=given)
        python = tools.environment(row)
        database = tools.migrated(python, work)
        found: dict[str, list[dict[str, Any]]] = {"EksPodOperator": [], "ours": []}
        for _ in range(runs):
            for name, operator in (("EksPodOperator", tools.OLD), ("ours", tools.OURS)):
                found[name].append(run(tools, row, operator, python, database))
        for name, each in found.items():
            rows.append({"task": task, "operator": name, **{key: [it[key] for it in each] for key in each[0]}})
    airflow, amazon, kubernetes = tools.versions(python)
    print(json.dumps({"rows": rows, "versions": f"amazon {amazon}, cncf-kubernetes {kubernetes}, Airflow {airflow}"}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
