"""``check --airflow-conn-id`` beside an Airflow: where it finds connections, and what is on stdout."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE

from eks_cross_account.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ARGUMENTS = ["check", "--cluster-name", "analytics", "--region", "eu-west-1", "--output", "json", "--airflow-conn-id"]
ARN = "arn:aws:sts::222222222222:assumed-role/cross-account-role/airflow_{}"


@pytest.fixture
def stored(database: Path) -> str:
    """The id of a connection that is in the metadata database, and nowhere else."""
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("delete from connection where conn_id = 'in_database'")
        opened.execute(
            "insert into connection (conn_id, conn_type, extra, is_encrypted, is_extra_encrypted)"
            " values ('in_database', 'aws', ?, 0, 0)",
            (json.dumps({"role_arn": ROLE}),),
        )
    return "in_database"


@pytest.fixture
def run(eks_sandbox: Sandbox, database: Path, capfd: pytest.CaptureFixture[str]) -> Any:  # noqa: ARG001 - their world
    def call(conn_id: str) -> tuple[int, dict[str, Any]]:
        code = main([*ARGUMENTS, conn_id])
        return code, json.loads(capfd.readouterr().out)

    return call


def test_a_connection_of_the_metadata_database_from_a_shell(eks_sandbox: Sandbox, stored: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eks_cross_account.cli", *ARGUMENTS, stored],
        env={**os.environ, **eks_sandbox.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    report = json.loads(done.stdout)
    assert (done.returncode, report["verdict"]) == (0, "healthy"), done.stderr
    assert report["identity"]["arn"] == ARN.format(stored)
    assert "k8s-aws-v1." not in done.stderr


def test_a_connection_of_the_environment(run: Any, connection: Any) -> None:
    connection("in_environment", extra={"role_arn": ROLE})

    code, report = run("in_environment")

    assert (code, report["verdict"]) == (0, "healthy")
    assert report["identity"]["arn"] == ARN.format("in_environment")


def test_a_connection_that_is_nowhere(run: Any, eks_sandbox: Sandbox) -> None:
    code, report = run("not_there")

    assert (code, report["verdict"], report["root_cause"]) == (1, "broken", "connection-missing")
    assert "'not_there' was not found here" in report["findings"][0]["summary"]
    assert (eks_sandbox.requests, eks_sandbox.kubernetes_requests) == ([], [])


def test_a_profile_beside_it_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "c", "--profile", "p"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "--profile and --airflow-conn-id are two places for credentials: give one" in err
