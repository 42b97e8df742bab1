"""Mixin: an in-house operator that is built on EksPodOperator, with ours in front. Copy and adapt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG
from airflow.providers.amazon.aws.operators.eks import EksPodOperator

from eks_cross_account.airflow import CrossAccountEksMixin


class TeamPodOperator(EksPodOperator):  # type: ignore[misc] # Airflow has no types here
    """What you have already."""

    def __init__(self, *, team: str, **kwargs: Any) -> None:  # noqa: ANN401 - EksPodOperator's
        super().__init__(labels={"team": team}, **kwargs)
        self.team = team

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Still runs; its super().execute() is KubernetesPodOperator's now."""
        self.log.info("a pod for team %s", self.team)
        return super().execute(context)


class CrossAccountTeamPodOperator(CrossAccountEksMixin, TeamPodOperator):
    """All that is needed."""


with DAG("eks_own_operator", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, catchup=False) as dag:
    CrossAccountTeamPodOperator(
        task_id="report",
        team="data",
        cluster_name="analytics",
        region="eu-west-1",
        role_arn="arn:aws:iam::222222222222:role/cross-account-role",
        namespace="data",
        image="python:3.12-slim",
        pod_name="report",
    )
