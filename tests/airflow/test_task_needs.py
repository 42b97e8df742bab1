"""``permissions --from-dag``: what is read off the tasks of a DAG, and what is asked by the task's own connection."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from stand import ROLE

from eks_cross_account import required_permissions
from eks_cross_account.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

PROVIDER = version("apache-airflow-providers-cncf-kubernetes")
DAG = """
from datetime import datetime
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
from airflow.providers.amazon.aws.operators.eks import EksPodOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.operators.resource import KubernetesCreateResourceOperator
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
try:
    from airflow.providers.standard.operators.empty import EmptyOperator
except ImportError:
    from airflow.operators.empty import EmptyOperator
from eks_cross_account.airflow import CrossAccountEksPodOperator

POD = {"image": "busybox", "namespace": "data", "pod_name": "p"}
OURS = {**POD, "cluster_name": "analytics", "region": "eu-west-1", "aws_conn_id": "prod"}
with DAG("nightly", start_date=datetime(2024, 1, 1), schedule=None):
    CrossAccountEksPodOperator(task_id="plain", **OURS)
    CrossAccountEksPodOperator(task_id="deferred", deferrable=True, do_xcom_push=True, **OURS)
    CrossAccountEksPodOperator(task_id="kept", on_finish_action="keep_pod", get_logs=False, **OURS)
    EksPodOperator(task_id="theirs", cluster_name="other", region="eu-west-1", aws_conn_id="prod", **POD)
    KubernetesPodOperator(task_id="any", name="p", image="busybox", reattach_on_restart=False)
    KubernetesCreateResourceOperator(task_id="made", yaml_conf="apiVersion: apps/v1\\nkind: Deployment")
    SparkKubernetesOperator(task_id="spark", application_file="x.yaml", namespace="data")
    EmptyOperator(task_id="nothing")
"""


@pytest.fixture
def dag_file(tmp_path: Path) -> str:
    file = tmp_path / "nightly.py"
    file.write_text(DAG)
    return str(file)


@pytest.fixture
def run(eks_sandbox: Sandbox, database: Path, capfd: pytest.CaptureFixture[str]) -> Any:  # noqa: ARG001 - their world
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["permissions", *arguments])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.mark.parametrize(
    ("task", "namespace", "options"),
    [
        ("plain", "data", {}),
        ("deferred", "data", {"deferrable": True, "xcom": True}),
        ("kept", "data", {"on_finish_action": "keep_pod", "logs": False}),
        ("theirs", "data", {}),
        ("any", "default", {"reattach": False}),
        ("made", "default", {"operator": "create-resource", "resources": ("deployments.apps",)}),
        ("spark", "data", {"operator": "spark"}),
    ],
)
def test_the_rules_are_those_of_the_tasks_own_options(
    run: Any, dag_file: str, task: str, namespace: str, options: dict[str, Any]
) -> None:
    code, out, _ = run("--from-dag", f"{dag_file}:nightly:{task}", "--output", "json")

    document = json.loads(out)
    assert (code, document["title"], document["namespace"]) == (0, f"task {task}", namespace)
    told = [(rule["verb"], rule["resource"], rule["effect"]) for rule in document["rules"]]
    expected = required_permissions(provider_version=PROVIDER, **options)
    assert told == [(rule.verb, rule.resource, rule.effect) for rule in expected]


def test_a_flag_counts_more_than_the_task(run: Any, dag_file: str) -> None:
    _, out, _ = run("--from-dag", f"{dag_file}:nightly:plain", "--xcom", "--namespace", "other", "--output", "json")

    document = json.loads(out)
    assert document["namespace"] == "other"
    assert "pods/exec" in {rule["resource"] for rule in document["rules"]}


def test_the_cluster_is_asked_by_the_tasks_own_connection(
    run: Any, dag_file: str, connection: Any, eks_sandbox: Sandbox
) -> None:
    connection("prod", extra={"role_arn": ROLE})

    code, out, _ = run("--from-dag", f"{dag_file}:nightly:deferred", "--check", "--dry-run-pod", "--output", "json")

    document = json.loads(out)
    assert (code, {rule["allowed"] for rule in document["rules"]}) == (0, {True}), out
    assert [f["state"] for f in document["findings"] if f["id"] == "admission"] == ["PASS"]
    asked = [each for each in eks_sandbox.kubernetes_requests if each.verb == "create" and each.resource == "pods"]
    assert len(asked) == 1  # with dryRun=All: no pod is there
    assert any(each.caller.endswith("/airflow_prod") for each in eks_sandbox.requests)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("{file}:nightly:nothing", "task 'nothing' is a EmptyOperator, and no operator of Kubernetes"),
        ("{file}:nightly:gone", "DAG 'nightly' has no task 'gone'; it has: 'plain', 'deferred'"),
        ("{file}:gone:plain", "has no DAG 'gone'; it has: 'nightly'"),
        ("/not/there.py:nightly:plain", "there is no file"),
        ("nightly", "FILE:DAG:TASK"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(run: Any, dag_file: str, place: str, told: str) -> None:
    code, out, err = run("--from-dag", place.format(file=dag_file))

    assert (code, out) == (2, "")
    assert told in err.strip().splitlines()[-1]


def test_a_file_that_cannot_be_imported_says_why(run: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("from airflow import DAG\nimport no_such_module\n")

    code, out, err = run("--from-dag", f"{tmp_path / 'broken.py'}:nightly:plain")

    assert (code, out) == (2, "")
    assert "no_such_module" in err.strip().splitlines()[-1]


def test_reading_a_dag_leaves_stdout_to_the_answer(run: Any, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(f"print('loud')\n{DAG}")

    _, out, _ = run("--from-dag", f"{tmp_path / 'loud.py'}:nightly:plain", "--output", "json")

    assert json.loads(out)["title"] == "task plain"
    assert "loud" not in out
    assert sys.stdout is not sys.stderr
