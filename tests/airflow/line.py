"""The process that runs the cases of line_dag.py, on a stand: one for all tests of a session."""

from __future__ import annotations

import json
import re
import select
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Self

from stand import CONNECTION, Stand, admin

FILE = Path(__file__).with_name("line_dag.py")
MODES = FILE.with_name("needs_modes.py")  # which it imports
CANNOT_DEFER = version("apache-airflow").startswith("2.7.")  # its dag.test has no inline trigger
KNOWS_ACCESS_ENTRIES = tuple(map(int, version("botocore").split(".")[:2])) >= (1, 34)
CASES = (
    "sync", "deferrable", "xcom", "page_sync", "page_deferred", "unauthorized", "denied", "log", "kill", "check",
    "needs",
)  # fmt: skip


class Line(Stand):
    """A stand with the process that runs the cases; what is seen of one is not seen of the next."""

    def __enter__(self) -> Self:
        super().__enter__()
        (self.home / "dags").mkdir(parents=True)
        shutil.copy(self._database, self.home / "airflow.db")
        for file in (FILE, MODES):
            shutil.copy(file, self.home / "dags")
        self._said = self._stack.enter_context((self.home / "said").open("wb"))
        self._process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(self.home / "dags" / FILE.name)],
                env=self.environ({f"c_{case}": CONNECTION for case in CASES}),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            )
        )  # fmt: skip
        self._stack.callback(self._end)
        return self

    def _end(self) -> None:
        """As its input ends it does, and writes down what it has covered; killed where it does not."""
        _pipes(self._process)[0].close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def run_case(self, case: str) -> dict[str, Any]:
        before = (self.home / "said").stat().st_size
        stdin, stdout = _pipes(self._process)
        stdin.write(f"{case}\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], 200)
        line = stdout.readline() if ready else ""
        with (self.home / "said").open("rb") as said:
            said.seek(before)
            self.output = re.sub(r"\x1b\[[0-9;]*m", "", said.read().decode(errors="replace"))
        assert line, self.output
        print(line, end="")  # noqa: T201 - what -rP shows
        return dict(json.loads(line))

    def says(self, text: str) -> bool:
        """Whether the case's output has it, wherever a console broke the line."""
        return "".join(text.split()) in "".join(self.output.split())

    @property
    def logged(self) -> list[str]:
        """The pod's lines in the task's log; Airflow 2 can show each record by dag.test's own handler as well."""
        records = self.output.splitlines()
        of_the_log = [record for record in records if re.match(r"\[[0-9-]+T", record)]
        found = re.findall(r"line \d+ of \d+", "\n".join(of_the_log))
        return found or re.findall(r"line \d+ of \d+", self.output)

    def forget(self) -> None:
        for name in self.left:
            admin(self.sandbox).delete_namespaced_pod(name, "data", grace_period_seconds=0)
        self.sandbox.requests.clear()
        self.sandbox.kubernetes_requests.clear()
        self.sandbox.clear_faults()
        self.sandbox.undeny()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
