"""Drop-in: a DAG that was written for EksPodOperator, with the import changed. Copy and adapt."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG

from eks_cross_account.airflow import CrossAccountEksPodOperator as EksPodOperator

with DAG("eks_drop_in", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as dag:
    EksPodOperator(
        task_id="report",
        cluster_name="analytics",
        region="eu-west-1",
        aws_conn_id="cluster_connection",  # extra: {"role_arn": "arn:aws:iam::222222222222:role/cross-account-role"}
        namespace="data",
        image="python:3.12-slim",
        pod_name="report",
        cmds=["python", "-c", "print('test')"],
        get_logs=True,
        deferrable=True,
    )
