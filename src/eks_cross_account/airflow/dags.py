"""A ready check DAG: press Trigger, say connection and cluster, read the page. For MWAA, which has no shell.

In a file of the DAG folder::

    from eks_cross_account.airflow.dags import check_dag

    dag = check_dag()
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from eks_cross_account.airflow._seams import DAG, Param
from eks_cross_account.airflow.check import EksTokenCheckOperator

_OPTIONAL = ["null", "string"]


def check_dag(dag_id: str = "eks_token_check", **options: Any) -> Any:  # noqa: ANN401 - Airflow's DAG
    """A DAG with one task and the params connection, cluster, region, role, namespace, deferrable and xcom.

    ``options``: of the DAG (tags, owner_links, ...); ``params`` of yours are added to these.
    """
    params = {
        "connection": Param("aws_default", type="string", description="Airflow connection; the one your tasks use"),
        "cluster": Param("", type="string", description="Name of the EKS cluster"),
        "region": Param(None, type=_OPTIONAL, description="Its region; empty: the connection's or the environment's"),
        "role": Param(None, type=_OPTIONAL, description="ARN of a role to assume after the connection's; or empty"),
        "namespace": Param(None, type=_OPTIONAL, description="Ask for a pod operator's rights there; or empty"),
        "deferrable": Param(default=False, type="boolean", description="The rights of a deferred task"),
        "xcom": Param(default=False, type="boolean", description="The rights of do_xcom_push too"),
        **options.pop("params", {}),
    }
    settings = {
        "schedule": None,
        "start_date": datetime(2024, 1, 1, tzinfo=UTC),
        "catchup": False,
        "tags": ["eks"],
        "doc_md": __doc__,
        **options,
    }
    with DAG(dag_id, params=params, **settings) as dag:
        EksTokenCheckOperator(
            task_id="check",
            aws_conn_id="{{ params.connection }}",
            cluster_name="{{ params.cluster }}",
            region="{{ params.region or '' }}",
            role_arn="{{ params.role or '' }}",
            namespace="{{ params.namespace or '' }}",
            permissions={"deferrable": "{{ params.deferrable }}", "xcom": "{{ params.xcom }}"},
            retries=0,
        )
    return dag
