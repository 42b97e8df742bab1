"""A stand: the sandbox's AWS, one cluster with an API server, and DAGs that run in a process of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from conftest_settings import SETTINGS
from kubeapi import KubeApi

from eks_cross_account.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
EXECUTION = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
CONNECTION = {"conn_type": "aws", "extra": {"role_arn": ROLE, "region_name": "eu-west-1"}}
_RUNNER = """
import logging, sys, warnings
warnings.simplefilter("ignore")
from datetime import datetime, timezone
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), schedule=None, catchup=False) as dag:
{task}
if __name__ == "__main__":
    run = dag.test()
    ti = run.get_task_instances()[0]
    try:
        print("XCOM", ti.xcom_pull(task_ids="t"))
    except Exception as error:
        print("no XCom:", error)
    print("STATE", run.state.value if hasattr(run.state, "value") else run.state, "TRY", ti.state)
"""


@dataclass(frozen=True)
class Run:
    state: str
    output: str

    def says(self, text: str) -> bool:
        """Whether the output has it, wherever a console broke the line."""
        return "".join(text.split()) in "".join(self.output.split())


class Stand:
    """``sandbox`` and ``api``; the role of account B is mapped, the execution role of account A is not.

    ``python``: of the environment whose Airflow runs the DAGs.
    """

    def __init__(self, folder: Path, database: Path, python: str = sys.executable) -> None:
        self._folder = folder
        self._database = database
        self._python = python
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.sandbox = self._stack.enter_context(Sandbox())
        (self._folder / "ca").mkdir()
        self.api = self._stack.enter_context(KubeApi(self._folder / "ca", self.sandbox))
        self.api.mapped = {ROLE}
        self.cluster = self.sandbox.add_cluster("analytics")
        self.cluster.endpoint = self.api.endpoint
        self.cluster.certificate_authority = self.api.authority.base64_pem
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environ(self, connections: Mapping[str, Any]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW_CONN_"))}
        named = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
        source = str(Path(__file__).parents[2] / "src")
        return {**kept, **SETTINGS, **self.sandbox.environ, **named, "PYTHONPATH": source, "HOME": str(self._folder),
                "AIRFLOW_HOME": str(self._folder / "home")}  # fmt: skip

    def run(
        self, task: str, *, connections: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> Run:
        """Run a DAG with this task (Python, a DAG is open) to its end by dag.test()."""
        file = self.write_dag(task)
        chosen = {"cluster_connection": CONNECTION} if connections is None else connections
        done = subprocess.run(
            [self._python, str(file)],
            env={**self.environ(chosen), **(environ or {})},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)  # Airflow 3.0 colours and wraps what it says
        state = next(
            (line.split()[1] for line in output.splitlines() if line.startswith("STATE")), f"rc={done.returncode}"
        )
        return Run(state, output)

    def write_dag(self, task: str) -> Path:
        """The DAG's file, in a home with a database that nobody has used."""
        (self.home / "dags").mkdir(parents=True, exist_ok=True)
        shutil.copy(self._database, self.home / "airflow.db")
        file = self.home / "dags" / "d.py"
        indented = "\n".join(f"    {line}" for line in task.strip().splitlines())
        file.write_text(_RUNNER.replace("{task}", indented))
        return file

    @property
    def home(self) -> Path:
        """Airflow's folder."""
        return self._folder / "home"

    @property
    def aws(self) -> list[str]:
        """What was asked of AWS, in order."""
        return [request.operation for request in self.sandbox.requests]


def operator(name: str = "CrossAccountEksPodOperator", **arguments: Any) -> str:
    """The line of a DAG file that makes the operator."""
    annotations = {f"test/{key}": str(arguments.pop(key)) for key in ("life", "exit", "lines") if key in arguments}
    given: dict[str, Any] = {
        "task_id": "t", "cluster_name": "analytics", "region": "eu-west-1", "aws_conn_id": "cluster_connection",
        "namespace": "data", "pod_name": "report", "image": "busybox", "annotations": annotations,
        "on_finish_action": "delete_pod", "startup_check_interval_seconds": 1, **arguments,
    }  # fmt: skip
    return f"from eks_cross_account.airflow import {name}\n{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})"


class SandboxStand(Stand):
    """The same with the sandbox's own cluster in the place of our small API server."""

    def __enter__(self) -> Self:
        self.sandbox = self._stack.enter_context(Sandbox())
        return self

    def serve_again(self) -> None:
        """Let the cluster's API server begin anew, with the grants that the sandbox has now."""
        self.sandbox._serve_cluster(self.sandbox.cluster())

    def codes(self) -> set[int]:
        """The statuses of all that was answered."""
        return {request.code for request in self.sandbox.kubernetes_requests}


class Standalone:
    """``airflow standalone`` on a stand: scheduler, worker, triggerer, each a process of its own."""

    def __init__(self, stand: Stand, task: str, *, environ: Mapping[str, str] | None = None) -> None:
        self._stand = stand
        stand.write_dag(task)
        ports = [_free_port() for _ in range(4)]
        airflow_2 = version("apache-airflow").startswith("2.")
        self._environ = {
            **stand.environ({}),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(ports[0]),
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(ports[0]),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ports[0]}/execution/",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports[1]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[2]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports[3]),
            "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor" if airflow_2 else "LocalExecutor",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            **(environ or {}),
        }

    def __enter__(self) -> Self:
        home = self._stand.home
        for name, value in {"cluster_connection": CONNECTION}.items():  # in the database, where no process's env is it
            extra = json.dumps(value["extra"])
            self.airflow("connections", "add", name, "--conn-type", "aws", "--conn-extra", extra)
        self._log = (home / "standalone.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "airflow", "standalone"],
            env=self._environ, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def airflow(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "airflow", *arguments],
            env=self._environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def query(self, sql: str) -> Any:
        with closing(sqlite3.connect(f"file:{self._stand.home / 'airflow.db'}?mode=ro", uri=True, timeout=20)) as database:
            row = database.execute(sql).fetchone()
            return row[0] if row else None

    def wait(self, sql: str, *values: str, seconds: float = 150) -> str:
        """The first of these values that the query answers; or what it answers in the end."""
        end = time.monotonic() + seconds
        found = None
        while time.monotonic() < end:
            with suppress(sqlite3.Error):
                found = self.query(sql)
            if found in values:
                return str(found)
            time.sleep(0.5)
        return str(found)

    def logs(self) -> str:
        texts = [file.read_text(errors="replace") for file in self._stand.home.rglob("*.log*") if file.is_file()]
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(texts))


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
