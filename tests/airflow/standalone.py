"""``airflow standalone`` on a stand: scheduler, workers, triggerer and web server, each a process of its own.

As a program it keeps one in a folder until its standard input ends, which also the death of a test run does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stand import Stand

AIRFLOW_2 = version("apache-airflow").startswith("2.")
_OVER = {"success", "failed", "upstream_failed", "skipped", "removed"}
_LOCAL_SETTINGS = '''"""Read by each of Airflow's programs."""

import os
import socket
import sys

__all__ = []
_bind = socket.socket.bind


def bind(self, address):
    """Airflow's log servers listen on every address, and no setting says otherwise."""
    if isinstance(address, tuple) and address[0] in {"", "0.0.0.0", "::"}:
        address = ("::1" if self.family == socket.AF_INET6 else "127.0.0.1", *address[1:])
    return _bind(self, address)


def load():
    """Before the executor makes its workers: each task would spend seconds on it, all of them minutes."""
    import eks_cross_account.airflow.operators


socket.socket.bind = bind
if "scheduler" in sys.argv:
    os.register_at_fork(before=load)
'''


class Standalone:
    """Runs the DAGs of one file. Every DAG once: ``start`` it, and ask the database what became of it.

    ``connections``: of Airflow, kept in the database, where no process's environment has them.
    """

    def __init__(
        self, stand: Stand, dags: Path, *, database: Path, connections: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.home: Path = stand.home
        self._dags = dags
        self._database = database
        self._connections = connections
        self._started: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._triggerer: subprocess.Popen[bytes] | None = None
        self._authorization = ""
        ports = [_free_port() for _ in range(4)]
        self._port = ports[0]
        self._environ = {
            **stand.environ({}),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # standalone starts "airflow"
            "HOME": str(self.home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(ports[0]),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__WEBSERVER__WORKERS": "1",
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(ports[0]),
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ports[0]}/execution/",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports[1]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[2]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports[3]),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",  # Airflow 2: tasks beside each other on SQLite
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout=60",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "200",
            "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "200",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "200",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # the file does not change
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
        }

    def __enter__(self) -> Self:
        (self.home / "dags").mkdir(parents=True)
        (self.home / "config").mkdir()
        (self.home / "config" / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS)
        shutil.copy(self._database, self.home / "airflow.db")
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute("pragma journal_mode = wal")  # readers and a writer beside each other
        file = self.home / "connections.json"
        file.write_text(json.dumps(self._connections))
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "airflow", "connections", "import", str(file)],
            env=self._environ, cwd=self.home, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        shutil.copy(self._dags, self.home / "dags" / self._dags.name)
        self._log = (self.home / "standalone.log").open("wb")
        try:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self.home)],
                env=self._environ, stdin=subprocess.PIPE, stdout=self._log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            self.until(self._answers, seconds=400)
            known = "select count(*) from serialized_dag"
            wanted = (self.home / "dags" / self._dags.name).read_text().count("\nwith dag(")
            self.until(lambda: self.query(known)[0][0] == wanted, seconds=300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=60)
        if self._triggerer is not None:
            self._triggerer.wait(timeout=20)
        self._log.close()
        assert not self.processes()

    def processes(self) -> list[int]:
        """All of this Airflow."""
        return processes_in(self.home)

    # --- what one does with it

    def start(self, dag_id: str) -> None:
        """Trigger the DAG, if it was not yet."""
        if dag_id not in self._started:
            self._started.add(dag_id)
            self.ask("POST", f"/dags/{dag_id}/dagRuns", {} if AIRFLOW_2 else {"logical_date": None})

    def ended(self, dag_id: str, task_id: str, *, seconds: float = 300) -> str:
        """The state of the task's end, after ``start``."""
        self.start(dag_id)
        with suppress(TimeoutError):
            self.until(lambda: self._states(dag_id, task_id) <= _OVER, seconds=seconds)
        return "+".join(sorted(map(str, self._states(dag_id, task_id))))

    def is_in(self, dag_id: str, task_id: str, state: str) -> bool:
        """Whether the task is in this state now."""
        return self._states(dag_id, task_id) == {state}

    def _states(self, dag_id: str, task_id: str) -> set[Any]:
        rows = self.query("select state from task_instance where dag_id = ? and task_id = ?", dag_id, task_id)
        return {row[0] for row in rows} or {None}

    def fail(self, dag_id: str, task_id: str) -> None:
        """Mark the task failed, as a user does in the web page."""
        run_id = self.query("select run_id from dag_run where dag_id = ?", dag_id)[0][0]
        body: dict[str, Any] = {"new_state": "failed", **({"dry_run": False} if AIRFLOW_2 else {})}
        self.ask("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", body)

    def lose_triggerer(self) -> None:
        """Its machine is lost, and found to be."""
        for pid in self.processes():
            with suppress(OSError):
                if b"triggerer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        self.change("update job set end_date = current_timestamp where job_type = 'TriggererJob'")

    def start_triggerer(self) -> None:
        """Another one; the first one's log server has the port."""
        self._triggerer = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "airflow", "triggerer", "--skip-serve-logs"],
            env=self._environ, cwd=self.home, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def query(self, sql: str, *values: Any) -> list[Any]:
        """Rows of Airflow's database."""
        with closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(sql, values).fetchall()

    def change(self, sql: str, *values: Any) -> None:
        """Write into it."""
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=60)) as database, database:
            database.execute(sql, values)

    def until(self, holds: Callable[[], Any], *, seconds: float = 60) -> None:
        """Wait until it does. Raises TimeoutError with the end of what Airflow said."""
        end = time.monotonic() + seconds
        while True:
            with suppress(sqlite3.Error):
                if holds():
                    return
            if self._process is not None and self._process.poll() is not None:
                raise TimeoutError(f"airflow standalone has ended: {self._said()}")
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {self._said()}")
            time.sleep(0.3)

    def log(self, dag_id: str, task_id: str) -> str:
        """The task's log: of all tries, of the worker and of the triggerer."""
        folder = self.home / "logs" / f"dag_id={dag_id}"
        files = sorted(file for file in folder.rglob("*.log*") if f"task_id={task_id}" in file.parts)
        return "\n".join(_readable(line) for file in files for line in file.read_text(errors="replace").splitlines())

    def files(self) -> Iterable[tuple[Path, bytes]]:
        """Everything that Airflow has written."""
        for file in self.home.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with suppress(FileNotFoundError):
                    yield file, file.read_bytes()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Airflow's REST API."""
        headers = {"Content-Type": "application/json", "Authorization": self._authorization}
        address = f"http://127.0.0.1:{self._port}{'/api/v1' if AIRFLOW_2 else '/api/v2'}{path}"
        request = Request(address, json.dumps(body).encode() if body is not None else None, headers, method=method)
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        with suppress(URLError, OSError, ValueError):
            if AIRFLOW_2:
                password = (self.home / "standalone_admin_password.txt").read_text().strip()
                self._authorization = f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"
            else:
                address = f"http://127.0.0.1:{self._port}/auth/token"
                with build_opener(ProxyHandler({})).open(address, timeout=20) as answer:
                    self._authorization = f"Bearer {json.load(answer)['access_token']}"
            self.ask("GET", "/dags")
            return True
        return False

    def _said(self) -> str:
        return (self.home / "standalone.log").read_text(errors="replace")[-4000:]


def _readable(line: str) -> str:
    """A line of a log; of Airflow 3's JSON all the texts in it."""
    with suppress(ValueError):
        return " ".join(_texts(json.loads(line)))
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def _texts(node: Any) -> Iterable[str]:
    if isinstance(node, str):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(child)


def processes_in(folder: Path) -> list[int]:
    """All that work in this folder: of Airflow's programs each does, whatever it calls itself."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder and ") Z " not in (process / "stat").read_text():
                found.append(int(process.name))
    return found


def _keep(folder: Path) -> None:
    airflow = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "airflow", "standalone"], cwd=folder, stdin=subprocess.DEVNULL
    )

    def end() -> None:
        airflow.wait()
        while left := processes_in(folder):  # some are in sessions of their own, and some begin others as they end
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        os._exit(0)

    threading.Thread(target=end).start()
    sys.stdin.read()
    airflow.terminate()


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
