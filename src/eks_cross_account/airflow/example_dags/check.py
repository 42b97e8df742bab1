"""Check: press Trigger, say connection and cluster, read the page."""

from __future__ import annotations

from eks_cross_account.airflow.dags import check_dag

dag = check_dag()
