"""Canary: every quarter of an hour the whole way to the cluster, before a real task finds it broken. Copy and adapt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG

from eks_cross_account.airflow import EksTokenCheckOperator

with DAG(
    "eks_canary",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    schedule=timedelta(minutes=15),
    catchup=False,
    max_active_runs=1,
) as dag:
    EksTokenCheckOperator(
        task_id="check",
        cluster_name="analytics",
        region="eu-west-1",
        aws_conn_id="cluster_connection",
        namespace="data",
        retries=1,
    )
