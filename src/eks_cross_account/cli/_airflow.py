"""``check --airflow-conn-id``: the way of a task, by an Airflow connection, from a shell beside that Airflow.

A shell is no task: from Airflow 3.2 on the task SDK sees only the environment and secrets backends there, so the
connection is asked for as the server does, which looks into the metadata database too.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from typing import TYPE_CHECKING

from eks_cross_account.cli._main import UsageError, role_hops

if TYPE_CHECKING:
    import argparse

    from eks_cross_account.diagnosis import Report


def report(options: argparse.Namespace, other_side: bytes | None) -> Report:
    """The report. UsageError where Airflow or its providers are not installed beside this command."""
    if options.profile is not None:
        raise UsageError("--profile and --airflow-conn-id are two places for credentials: give one")
    with contextlib.redirect_stdout(sys.stderr):  # Airflow logs to stdout, where the answer goes
        try:
            from airflow.models.connection import Connection  # noqa: PLC0415 - heavy, and not installed everywhere

            from eks_cross_account.airflow._target import Target  # noqa: PLC0415 - as above
            from eks_cross_account.airflow.check import report_of  # noqa: PLC0415 - as above
        except ImportError as error:
            raise UsageError(f"--airflow-conn-id needs Airflow where this command is installed: {error}") from None
        atexit.register(_leave_stdout)  # before what Airflow has registered, which logs at DEBUG
        target = Target(
            cluster_name=options.cluster_name,
            region=options.region,
            aws_conn_id=options.airflow_conn_id,
            hops=role_hops(options),
        )
        return report_of(
            target,
            get_connection=Connection.get_connection_from_secrets,
            other_side=other_side,
            timeout=options.timeout,
        )


def _leave_stdout() -> None:
    """From here on the process has given its answer: what is still printed goes to stderr."""
    sys.stdout = sys.stderr
