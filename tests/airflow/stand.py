"""A stand: the sandbox, its cluster with it, and DAGs that run in a process of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from conftest_settings import SETTINGS

from eks_cross_account.cluster import Cluster
from eks_cross_account.kubernetes import api_client
from eks_cross_account.provider import TokenProvider
from eks_cross_account.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eks_cross_account.sandbox import KubernetesRequest

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
ADMIN = "arn:aws:iam::222222222222:role/cluster-admin"
EXECUTION = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
CONNECTION = {"conn_type": "aws", "extra": {"role_arn": ROLE, "region_name": "eu-west-1"}}
_RUNNER = """
import logging, sys, warnings
warnings.simplefilter("ignore")
from datetime import datetime, timezone
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), schedule=None, catchup=False) as dag:
{task}
if __name__ == "__main__":
    run = dag.test()
    ti = run.get_task_instances()[0]
    try:
        print("XCOM", ti.xcom_pull(task_ids="t"))
    except Exception as error:
        print("no XCom:", error)
    print("STATE", run.state.value if hasattr(run.state, "value") else run.state, "TRY", ti.state)
"""


@dataclass(frozen=True)
class Run:
    state: str
    output: str

    def says(self, text: str) -> bool:
        """Whether the output has it, wherever a console broke the line."""
        return "".join(text.split()) in "".join(self.output.split())


def refuse_once(sandbox: Sandbox) -> None:
    """The next request of a cluster is answered 401, as the API server does it."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
              "reason": "Unauthorized", "code": 401}  # fmt: skip
    sandbox.respond("kubernetes:*", 401, json.dumps(status), content_type="application/json", times=1)


def admin(sandbox: Sandbox) -> Any:
    """CoreV1Api of the cluster's admin, who asks AWS nothing; ``seen`` leaves his requests out."""
    import kubernetes.client  # noqa: PLC0415 - after Airflow's settings are made

    keys, cluster = sandbox.issue_session(ADMIN, "admin"), sandbox.cluster()
    provider = TokenProvider(lambda: keys, cluster_name=cluster.name, region=sandbox.region)
    described = Cluster(cluster.name, cluster.endpoint, cluster.certificate_authority)
    configuration = kubernetes.client.Configuration()
    configuration.no_proxy, configuration.proxy = "127.0.0.1", None
    return kubernetes.client.CoreV1Api(api_client(provider, described, configuration=configuration))


def seen(sandbox: Sandbox, verb: str = "", resource: str = "") -> list[KubernetesRequest]:
    """What the clusters were asked by all but the admin; of this verb and resource."""
    return [
        request
        for request in tuple(sandbox.kubernetes_requests)
        if verb in {"", request.verb}
        and resource in {"", request.resource}
        and "/cluster-admin/" not in request.user.get("username", "")
    ]


class Stand:
    """``sandbox``; the role of account B is mapped, the execution role of account A is not.

    ``python``: of the environment whose Airflow runs the DAGs.
    """

    def __init__(self, folder: Path, database: Path, python: str = sys.executable) -> None:
        self._folder = folder
        self._database = database
        self._python = python
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.sandbox = self._begin()
        return self

    def _begin(self) -> Sandbox:
        """The AWS, and the cluster, that the DAGs meet."""
        return self._stack.enter_context(Sandbox())

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environ(self, connections: Mapping[str, Any]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW_CONN_"))}
        named = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
        source = str(Path(__file__).parents[2] / "src")
        return {**kept, **SETTINGS, **self.sandbox.environ, **named, "PYTHONPATH": source, "HOME": str(self._folder),
                "AIRFLOW_HOME": str(self._folder / "home")}  # fmt: skip

    def run(
        self, task: str, *, connections: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> Run:
        """Run a DAG with this task (Python, a DAG is open) to its end by dag.test()."""
        file = self.write_dag(task)
        chosen = {"cluster_connection": CONNECTION} if connections is None else connections
        done = subprocess.run(
            [self._python, str(file)],
            env={**self.environ(chosen), **(environ or {})},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)  # Airflow 3.0 colours and wraps what it says
        state = next(
            (line.split()[1] for line in output.splitlines() if line.startswith("STATE")), f"rc={done.returncode}"
        )
        return Run(state, output)

    def write_dag(self, task: str) -> Path:
        """The DAG's file, in a home with a database that nobody has used."""
        (self.home / "dags").mkdir(parents=True, exist_ok=True)
        shutil.copy(self._database, self.home / "airflow.db")
        file = self.home / "dags" / "d.py"
        indented = "\n".join(f"    {line}" for line in task.strip().splitlines())
        file.write_text(_RUNNER.replace("{task}", indented))
        return file

    @property
    def home(self) -> Path:
        """Airflow's folder."""
        return self._folder / "home"

    @property
    def aws(self) -> list[str]:
        """What was asked of AWS, in order."""
        return [request.operation for request in self.sandbox.requests]

    def seen(self, verb: str = "", resource: str = "") -> list[KubernetesRequest]:
        """As the function of this name."""
        return seen(self.sandbox, verb, resource)

    @property
    def created(self) -> int:
        """How many pods were."""
        return sum(request.code == 201 for request in self.seen("create", "pods"))

    @property
    def deleted(self) -> list[str]:
        """The names of the pods that were, in order."""
        return [request.name for request in self.seen("delete", "pods") if request.code == 200]

    def codes(self) -> set[int]:
        """The statuses of all that was answered."""
        return {request.code for request in self.sandbox.kubernetes_requests}

    def serve_again(self) -> None:
        """Let the cluster's API server begin anew, with the grants that the sandbox has now."""
        self.sandbox._serve_cluster(self.sandbox.cluster())

    @property
    def left(self) -> list[str]:
        """The names of the pods that are there, and not on their way out."""
        pods = admin(self.sandbox).list_namespaced_pod("data").items
        return [pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None]


def operator(name: str = "CrossAccountEksPodOperator", **arguments: Any) -> str:
    """The line of a DAG file that makes the operator."""
    short = {"life": "run-seconds", "exit": "exit-code", "lines": "log-lines"}
    told = {"lines": 3, **{key: arguments.pop(key) for key in short if key in arguments}}
    annotations = {f"eks-sandbox/{short[key]}": str(value) for key, value in told.items()}
    given: dict[str, Any] = {
        "task_id": "t", "cluster_name": "analytics", "region": "eu-west-1", "aws_conn_id": "cluster_connection",
        "namespace": "data", "pod_name": "report", "image": "busybox", "annotations": annotations,
        "on_finish_action": "delete_pod", "startup_check_interval_seconds": 1, **arguments,
    }  # fmt: skip
    if version("apache-airflow-providers-cncf-kubernetes").startswith("7."):  # 7.13 has it, 7.6 has not
        given.pop("startup_check_interval_seconds", None)
    return f"from eks_cross_account.airflow import {name}\n{name}({', '.join(f'{k}={v!r}' for k, v in given.items())})"
