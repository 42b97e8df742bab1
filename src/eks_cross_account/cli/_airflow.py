"""``check --airflow-conn-id``: the way of a task, by an Airflow connection, from a shell beside that Airflow.

A shell is no task: from Airflow 3.2 on the task SDK sees only the environment and secrets backends there, so the
connection is asked for as the server does, which looks into the metadata database too.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from eks_cross_account.cli._main import UsageError, role_hops

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from eks_cross_account.airflow._target import Target
    from eks_cross_account.airflow._task_needs import TaskNeeds
    from eks_cross_account.diagnosis import Report
    from eks_cross_account.diagnosis._permission_probes import Wanted


def task_of(place: str) -> TaskNeeds:
    """The task of ``FILE:DAG:TASK``. UsageError."""
    file, dag_id, task_id = ([*place.rsplit(":", 2), "", ""])[:3]
    if not dag_id or not task_id:
        raise UsageError("--from-dag is FILE:DAG:TASK, as dags/nightly.py:nightly:load")
    with _airflow("--from-dag"):
        from eks_cross_account.airflow._task_needs import NoSuchTaskError, task_needs  # noqa: PLC0415 - as below

        try:
            return task_needs(file, dag_id, task_id)
        except NoSuchTaskError as error:
            raise UsageError(f"--from-dag: {error}") from None


def pod_of(task: TaskNeeds) -> Mapping[str, Any]:
    """The pod that the task would create. UsageError."""
    if task.make_pod is None:
        raise UsageError(f"--dry-run-pod: task {task.name} makes no pod of its own")
    with _airflow("--from-dag"):
        from eks_cross_account.airflow._task_needs import NoSuchTaskError  # noqa: PLC0415 - as below

        try:
            return task.make_pod()
        except NoSuchTaskError as error:
            raise UsageError(f"--dry-run-pod: {error}") from None


def report_of_target(target: Target, wanted: Wanted | None, timeout: float) -> Report:
    """The report on the way of a task, by its own connection."""
    with _airflow("--from-dag"):
        from airflow.models.connection import Connection  # noqa: PLC0415 - as below

        from eks_cross_account.airflow.check import report_of  # noqa: PLC0415 - as below

        return report_of(
            target,
            get_connection=Connection.get_connection_from_secrets,
            wanted=wanted,
            timeout=timeout,
        )


@contextlib.contextmanager
def _airflow(flag: str) -> Iterator[None]:
    """Airflow logs to stdout, where the answer goes. UsageError where it or its providers are not installed."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except ImportError as error:
            raise UsageError(f"{flag} needs Airflow where this command is installed: {error}") from None
        finally:
            atexit.register(_leave_stdout)  # before what Airflow has registered, which logs at DEBUG


def report(options: argparse.Namespace, other_side: bytes | None, wanted: Wanted | None) -> Report:
    """The report. UsageError where Airflow or its providers are not installed beside this command."""
    if options.profile is not None:
        raise UsageError("--profile and --airflow-conn-id are two places for credentials: give one")
    with _airflow("--airflow-conn-id"):
        from airflow.models.connection import Connection  # noqa: PLC0415 - heavy, and not installed everywhere

        from eks_cross_account.airflow._target import Target  # noqa: PLC0415 - as above
        from eks_cross_account.airflow.check import report_of  # noqa: PLC0415 - as above

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
            wanted=wanted,
            timeout=options.timeout,
        )


def _leave_stdout() -> None:
    """From here on the process has given its answer: what is still printed goes to stderr."""
    sys.stdout = sys.stderr
