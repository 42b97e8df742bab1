"""A DAG with the operator of this package, sync and deferrable; `scripts/demo` runs it against the sandbox."""

from __future__ import annotations

import logging
import warnings
from datetime import UTC, datetime

warnings.simplefilter("ignore")  # Airflow's own deprecations are not the point

from airflow.sdk import DAG  # noqa: E402 - after the line above

from eks_cross_account.airflow import CrossAccountEksPodOperator  # noqa: E402 - as above

POD = {
    "cluster_name": "analytics",
    "region": "eu-west-1",
    "aws_conn_id": "cluster_connection",  # extra: {"role_arn": "arn:aws:iam::222222222222:role/cross-account-role"}
    "namespace": "data",
    "image": "report:1.0",
    "annotations": {"eks-sandbox/log": "1204 rows written", "eks-sandbox/run-seconds": "1"},
    "startup_check_interval_seconds": 1,
}

with DAG("demo", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as dag:
    sync = CrossAccountEksPodOperator(task_id="sync", pod_name="report-sync", **POD)
    deferred = CrossAccountEksPodOperator(
        task_id="deferred", pod_name="report-deferred", deferrable=True, poll_interval=1, **POD
    )
    sync >> deferred

if __name__ == "__main__":
    run = dag.test()
    logging.shutdown()
    for task in sorted(run.get_task_instances(), key=lambda task: str(task.start_date)):
        print(f"DEMO task {task.task_id}: {task.state}", flush=True)
