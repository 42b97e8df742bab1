"""What every line must do, in one process with one DAG file: each test runs a case of line_dag.py there."""

from __future__ import annotations

import json
import re
import select
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from stand import CONNECTION, ROLE, Stand, admin, refuse_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.sandbox import KubernetesRequest

FILE = Path(__file__).with_name("line_dag.py")
CASES = ("sync", "deferrable", "xcom", "unauthorized", "denied", "kill")
CANNOT_DEFER = version("apache-airflow").startswith("2.7.")  # its dag.test has no inline trigger
MINTED = ["sts:AssumeRole", "eks:DescribeCluster"]


class Line(Stand):
    """A stand with the process that runs the cases; what is seen of one is not seen of the next."""

    def __enter__(self) -> Line:
        super().__enter__()
        (self.home / "dags").mkdir(parents=True)
        shutil.copy(self._database, self.home / "airflow.db")
        shutil.copy(FILE, self.home / "dags")
        self._said = self._stack.enter_context((self.home / "said").open("wb"))
        self._process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(self.home / "dags" / FILE.name)],
                env=self.environ({f"c_{case}": CONNECTION for case in CASES}),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            )
        )  # fmt: skip
        self._stack.callback(self._process.kill)
        return self

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
        print(line, end="")
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


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Line]:
    with Line(tmp_path_factory.mktemp("line"), database) as line:
        yield line


@pytest.fixture
def line(started: Line) -> Line:
    started.forget()
    return started


def only_as_the_role(line: Line, case: str, *codes: int) -> list[KubernetesRequest]:
    """All requests, of which each was by the role's session and answered with one of the codes."""
    seen = line.seen()
    assert {request.code for request in seen} <= {*codes}, line.output
    user = f"arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_c_{case}"
    assert {request.user.get("username", user) for request in seen} == {user}
    return seen


@pytest.mark.contract
def test_a_sync_task(line: Line) -> None:
    ran = line.run_case("sync")

    assert (ran["state"], ran["tokens"]) == ("success", 1), line.output
    only_as_the_role(line, "sync", 200, 201)
    assert line.aws == MINTED
    assert (line.created, len(line.deleted), line.left) == (1, 1, [])
    assert line.logged == ["line 1 of 3", "line 2 of 3", "line 3 of 3"], line.output


@pytest.mark.skipif(CANNOT_DEFER, reason="dag.test cannot defer in 2.7")
def test_a_deferred_task(line: Line) -> None:
    ran = line.run_case("deferrable")

    assert (ran["state"], ran["tokens"]) == ("success", 1), line.output
    only_as_the_role(line, "deferrable", 200, 201)
    assert line.aws == MINTED
    assert (line.created, len(line.deleted), line.left) == (1, 1, [])
    assert line.logged == ["line 1 of 3", "line 2 of 3", "line 3 of 3"], line.output


def test_xcom_comes_back_by_exec(line: Line) -> None:
    ran = line.run_case("xcom")

    assert (ran["state"], ran["xcom"]) == ("success", {"rows": 7}), line.output
    only_as_the_role(line, "xcom", 101, 200, 201)
    assert line.aws == MINTED


def test_a_401_costs_one_new_token(line: Line) -> None:
    refuse_once(line.sandbox)

    ran = line.run_case("unauthorized")

    assert (ran["state"], ran["tokens"]) == ("success", 2), line.output
    seen = only_as_the_role(line, "unauthorized", 200, 201, 401)
    assert [request.code for request in seen].count(401) == 1
    assert (seen[0].code, seen[1].verb, seen[1].resource) == (401, seen[0].verb, seen[0].resource)
    assert line.aws == MINTED


def test_a_missing_connection_signs_nothing(line: Line) -> None:
    ran = line.run_case("missing")

    assert (ran["state"], ran["tokens"]) == ("failed", 0), line.output
    assert line.says("[eks:connection-missing] Airflow connection 'c_missing' was not found here")
    assert (line.aws, line.seen()) == ([], [])


def test_a_denied_log_is_named_and_its_pod_kept(line: Line) -> None:
    line.sandbox.deny("kubernetes:get pods/log", principal_arn=ROLE)

    ran = line.run_case("denied")

    assert ran["state"] == "failed", line.output
    assert line.says("[eks:forbidden]")
    assert line.says('may not "get pods/log" in namespace data on cluster analytics (403)')
    assert (line.created, line.deleted, len(line.left)) == (1, [], 1)


def test_killing_a_triggers_run_deletes_its_pod(line: Line) -> None:
    ran = line.run_case("kill")

    assert ran["state"] == "killed", line.output
    only_as_the_role(line, "kill", 200, 201)
    assert line.deleted == ["killed"]
    assert line.left == []
