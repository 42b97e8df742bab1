"""Hook: Python of your own that talks to the cluster. Copy and adapt."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from eks_cross_account.airflow import CrossAccountEksHook

with DAG("eks_own_hook", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as dag:

    @task  # type: ignore[untyped-decorator] # Airflow has no types here
    def pods() -> list[str]:
        """The names of the pods in a namespace."""
        hook = CrossAccountEksHook("cluster_connection", cluster_name="analytics", region="eu-west-1")
        return [pod.metadata.name for pod in hook.core_v1.list_namespaced_pod("data").items]

    pods()
