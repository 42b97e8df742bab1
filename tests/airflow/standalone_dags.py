"""The DAGs of test_standalone.py: it copies this file into the DAG folder of an Airflow of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG

from eks_cross_account.airflow import CrossAccountEksPodOperator

ROLES = "arn:aws:iam::222222222222:role/"
DENIED = {  # what the role of the task may not do: what the task is beside an ordinary one
    "list pods": {},
    "create pods": {},
    "get pods": {"run": 60},
    "get pods/log": {"run": 300},
    "get pods/exec": {"do_xcom_push": True, "xcom": "1"},
    "delete pods": {},
    "* events": {"run": 60, "start-seconds": 4},
    "patch pods": {"on_finish_action": "keep_pod"},
    "deferred get pods/log": {"deferrable": True},
}


def name_of(denied: str) -> str:
    """A task's id and the last part of a role's name."""
    return denied.replace("*", "any").replace(" ", "-").replace("/", "-")


def arguments(task_id: str, *, role: str = "", run: float = 1, **more: Any) -> dict[str, Any]:
    """``role``: assumed by the task, from account A; without it the connection's own role is. ``run``: seconds."""
    lives = {name: str(more.pop(name)) for name in ("xcom", "exit-code", "log-lines", "start-seconds") if name in more}
    # Airflow takes a task for failed that is queued again before its scheduler has seen that it ended by deferring
    lives["run-seconds"] = str(max(run, 8) if more.get("deferrable") else run)
    way = {"aws_conn_id": "account_a", "role_arn": ROLES + role} if role else {"aws_conn_id": "cluster_connection"}
    return {
        "task_id": task_id, "pod_name": task_id, "cluster_name": "analytics", "region": "eu-west-1",
        "namespace": "data", "image": "busybox", "on_finish_action": "delete_pod", "poll_interval": 1,
        "startup_check_interval_seconds": 1, "annotations": {f"eks-sandbox/{name}": lives[name] for name in lives},
        **way, **more,
    }  # fmt: skip


def pod(task_id: str, **more: Any) -> None:
    CrossAccountEksPodOperator(**arguments(task_id, **more))


def dag(dag_id: str) -> DAG:
    return DAG(dag_id, start_date=datetime(2024, 1, 1, tzinfo=UTC), schedule=None, catchup=False)


with dag("works"):
    for how, deferrable in (("sync", False), ("deferred", True)):
        pod(how, deferrable=deferrable, run=3, **{"log-lines": 5})
        pod(f"{how}-xcom", deferrable=deferrable, do_xcom_push=True, xcom='{"rows": 7}')

with dag("fails"):
    pod("fails", **{"exit-code": 3})
    pod("fails-deferred", deferrable=True, **{"exit-code": 3})

with dag("long"):
    pod("long", role="short-sessions", run=60, **{"log-lines": 120})
    pod("long-deferred", role="short-sessions", run=60, deferrable=True, **{"log-lines": 120})

with dag("worker_killed"):
    pod("worker-killed", run=25, retries=1, retry_delay=timedelta(seconds=1), **{"log-lines": 5})

with dag("mapped"):
    for how, deferrable in (("mapped", False), ("mapped-deferred", True)):
        given = arguments(how, role=how, deferrable=deferrable)
        CrossAccountEksPodOperator.partial(**given).expand(arguments=[["one"], ["two"], ["three"]])

with dag("denied"):
    for denied, more in DENIED.items():
        pod(name_of(denied), role=f"not-{name_of(denied)}", **more)

with dag("refused"):  # on a cluster of its own, where nobody is mapped
    pod("wrong-external-id", role="wants-external-id", cluster_name="strict", external_id="wrong")
    pod("unmapped", role="unmapped", cluster_name="strict")
    pod("no-connection", role="never", cluster_name="strict", aws_conn_id="not_there")

with dag("killed_deferred"):
    pod("killed-deferred", deferrable=True, run=600)

with dag("newer_release"):
    pod("newer-release", deferrable=True, run=40)

with dag("taken_over"):
    pod("taken-over", deferrable=True, run=25)
