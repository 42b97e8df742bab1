"""The provider's other operators on the real cluster, by a user who may do what required_permissions says and no more.

They are the provider's own, by a kubeconfig. What controllers would do, of jobs and of Spark applications, is played.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from test_real_cluster import RealStand

from eks_cross_account.diagnosis import required_permissions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from real_cluster import RealCluster

    from eks_cross_account.diagnosis import Rule

pytestmark = pytest.mark.cluster
PROVIDER = version("apache-airflow-providers-cncf-kubernetes")
RELEASE = tuple(map(int, PROVIDER.split(".")))
CORE, BATCH = "/api/v1/namespaces/data", "/apis/batch/v1/namespaces/data"
SPARK = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/data/sparkapplications"
OPERATORS = "from airflow.providers.cncf.kubernetes.operators."
USERS = itertools.count(1)


class User(NamedTuple):
    name: str
    connections: dict[str, Any]
    kubeconfig: Path


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[RealCluster]:
    with real_cluster.test() as clean:
        yield clean


@pytest.fixture
def stand(cluster: RealCluster, tmp_path: Path, database: Path) -> Iterator[RealStand]:
    made = RealStand(tmp_path, database)
    made.real = cluster
    with made:
        yield made


def user_who_may(cluster: RealCluster, rules: Iterable[Rule], folder: Path) -> User:
    """By a client certificate; the rules are granted in the namespace, or in the cluster where they are of it."""
    name, rules = f"needs-{next(USERS)}", tuple(rules)
    cluster.grant(name, [as_rbac(rule) for rule in rules if not rule.cluster_scoped], namespace="data")
    base = "/apis/rbac.authorization.k8s.io/v1"
    wide = [as_rbac(rule) for rule in rules if rule.cluster_scoped]
    cluster.admin("POST", f"{base}/clusterroles", {"metadata": {"name": name}, "rules": wide})
    cluster.admin("POST", f"{base}/clusterrolebindings", {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
    })  # fmt: skip
    certificate, key = cluster._authority.client(name, name)
    file = folder / "kubeconfig"
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {
            "server": cluster.cluster.endpoint, "certificate-authority": str(cluster._authority.ca),
        }}],
        "users": [{"name": "c", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "data"}}],
    }))  # fmt: skip
    extra = {"kube_config_path": str(file), "namespace": "data"}
    return User(name, {"kubernetes_default": {"conn_type": "kubernetes", "extra": extra}}, file)


def as_rbac(rule: Rule) -> dict[str, list[str]]:
    return {"apiGroups": [rule.api_group], "resources": [rule.resource], "verbs": [rule.verb]}


def named(rules: Iterable[Rule]) -> set[str]:
    return {f"{rule.verb} {rule.resource}" for rule in rules}


def asked(cluster: RealCluster, user: User) -> set[str]:
    """By the audit log. AssertionError when something was refused."""
    found = set()
    for event in cluster.audit():
        if event["user"]["username"] == user.name:
            about = event.get("objectRef")
            if about is None:  # a path: which kinds there are
                continue
            resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
            assert event["responseStatus"]["code"] != 403, event
            found.add(f"{event['verb']} {resource}")
    return found


# --- controllers


class Controllers:
    """Makes the pods of jobs and Spark applications, and says of a job whose pod has ended that it is complete."""

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> None:
        self._running = self._pool.submit(self._run)

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()
        self._running.result()  # raises what it has met

    def _run(self) -> None:
        kinds = self._cluster.admin("GET", "/apis")["groups"]
        has_spark = any(group["name"] == "sparkoperator.k8s.io" for group in kinds)
        while not self._stopped.wait(0.1):
            for job in self._list(f"{BATCH}/jobs"):
                self._play_job(job)
            for application in self._list(SPARK) if has_spark else ():
                self._play_application(application)

    def _list(self, path: str) -> list[dict[str, Any]]:
        return list(self._cluster.admin("GET", path)["items"])

    def _play_job(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        if job["spec"].get("suspend") or job.get("status", {}).get("completionTime"):
            return
        template = job["spec"]["template"]
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        metadata = {**template["metadata"], "name": f"{name}-p", "ownerReferences": [owner]}
        made = self._cluster.admin("POST", f"{CORE}/pods", {"metadata": metadata, "spec": template["spec"]},
                                   accept=(201, 409))  # fmt: skip
        if made["kind"] == "Status":
            pod = self._cluster.admin("GET", f"{CORE}/pods/{name}-p", accept=(200, 404))
            if pod.get("status", {}).get("phase") == "Succeeded":
                self._complete(name, pod["status"]["startTime"])

    def _complete(self, name: str, since: str) -> None:
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": since} for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": since, "completionTime": since, "succeeded": 1, "conditions": conditions}
        self._cluster.admin(
            "PATCH", f"{BATCH}/jobs/{name}/status", {"status": status}, kind="application/merge-patch+json"
        )

    def _play_application(self, application: dict[str, Any]) -> None:
        name = application["metadata"]["name"]
        if application.get("status"):
            return
        labels = {**application["spec"]["driver"].get("labels", {}), "spark-role": "driver"}
        self._cluster.admin("POST", f"{CORE}/pods", {
            "metadata": {"name": f"{name}-driver", "labels": labels, "annotations": {"eks-sandbox/run-seconds": "13"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "spark-kubernetes-driver", "image": "spark"}]},
        })  # fmt: skip
        status = {"status": {"applicationState": {"state": "RUNNING"}, "driverInfo": {"podName": f"{name}-driver"}}}
        self._cluster.admin("PATCH", f"{SPARK}/{name}/status", status, kind="application/merge-patch+json")


@pytest.fixture
def spark(cluster: RealCluster) -> Iterator[None]:
    """The kind SparkApplication."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    cluster.admin("POST", path, {
        "metadata": {
            "name": "sparkapplications.sparkoperator.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "sparkoperator.k8s.io", "scope": "Namespaced",
            "names": {"plural": "sparkapplications", "singular": "sparkapplication", "kind": "SparkApplication"},
            "versions": [{
                "name": "v1beta2", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}},
            }],
        },
    })  # fmt: skip
    from clusters import until  # noqa: PLC0415 - beside its one use

    until(lambda: any(group["name"] == "sparkoperator.k8s.io" for group in cluster.admin("GET", "/apis")["groups"]))
    yield
    cluster.admin("DELETE", f"{path}/sparkapplications.sparkoperator.k8s.io")


# --- jobs

JOB = (
    OPERATORS
    + """job import KubernetesJobOperator as Operator
Operator(task_id="t", name="count", namespace="data", image="busybox", parallelism=1, discover_pods_retry_number=300,
    annotations={"eks-sandbox/log-lines": "3", "eks-sandbox/xcom": "7", "eks-sandbox/run-seconds": "2"}%s)
"""
)
KILLED = {"delete jobs"}  # asked for by a task that is killed
SUCCEEDED = KILLED | {"patch pods"}


@pytest.mark.parametrize(
    ("arguments", "options", "unasked"),
    [
        ("", {}, KILLED | {"create pods"}),  # of 9.0 to 10.12, where parallelism is not set
        (", wait_until_job_complete=True, job_poll_interval=1", {"wait": True}, SUCCEEDED | {"create pods"}),
        (", wait_until_job_complete=True, job_poll_interval=1, get_logs=False", {"wait": True, "logs": False},
         SUCCEEDED | {"create pods"}),
        (", wait_until_job_complete=True, job_poll_interval=1, do_xcom_push=True", {"wait": True, "xcom": True},
         SUCCEEDED | {"create pods"}),
        (", wait_until_job_complete=True, job_poll_interval=1, deferrable=True", {"wait": True, "deferrable": True},
         SUCCEEDED | {"create pods"}),
        (", wait_until_job_complete=True, job_poll_interval=1, deferrable=True, do_xcom_push=True",
         {"wait": True, "deferrable": True, "xcom": True}, SUCCEEDED | {"create pods"}),
    ],
    ids=["not waited for", "waited for", "without logs", "xcom", "deferred", "deferred, xcom"],
)  # fmt: skip
def test_a_job(
    stand: RealStand, cluster: RealCluster, tmp_path: Path, arguments: str, options: dict[str, Any], unasked: set[str]
) -> None:
    needed = required_permissions("job", **options, provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    with Controllers(cluster):
        run = stand.run(JOB % arguments, connections=user.connections)

    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed) - unasked
    delete_jobs(cluster)


def delete_jobs(cluster: RealCluster) -> None:
    cluster.admin("DELETE", f"{BATCH}/jobs?propagationPolicy=Background")


def test_a_job_of_kueue(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    """It is suspended, and nobody runs it here."""
    needed = required_permissions("kueue-job", provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)
    task = JOB.replace("job import KubernetesJobOperator", "kueue import KubernetesStartKueueJobOperator")

    run = stand.run(task.replace("=300", "=0") % ', queue_name="q"', connections=user.connections)

    looks_for_its_pod = "list pods" in named(needed)  # which a suspended job has not
    assert run.state == ("failed" if looks_for_its_pod else "success"), run.output
    assert asked(cluster, user) == named(needed) - KILLED - {"create pods"}
    delete_jobs(cluster)


@pytest.mark.parametrize(
    ("operator", "name", "arguments"),
    [
        ("delete-job", "KubernetesDeleteJobOperator", ""),
        ("patch-job", "KubernetesPatchJobOperator", ", body={'spec': {'suspend': True}}"),
    ],
    ids=["delete", "patch"],
)
def test_a_job_that_is_there(
    stand: RealStand, cluster: RealCluster, tmp_path: Path, operator: str, name: str, arguments: str
) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "base", "image": "busybox"}]}}
    cluster.admin("POST", f"{BATCH}/jobs", {"metadata": {"name": "old"}, "spec": {"template": template}})
    needed = required_permissions(operator, provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    run = stand.run(
        f"{OPERATORS}job import {name}\n{name}(task_id='t', name='old', namespace='data'{arguments})",
        connections=user.connections,
    )

    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed)
    delete_jobs(cluster)


# --- Spark

APPLICATION = (
    OPERATORS
    + """spark_kubernetes import SparkKubernetesOperator as Operator
Operator(task_id="t", name="pi", namespace="data", base_container_name="spark-kubernetes-driver",
    container_logs=["spark-kubernetes-driver"], template_spec={"spark": {
        "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication",
        "spec": {"driver": {}, "executor": {}},
    }}%s)
"""
)


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_spark_application(stand: RealStand, cluster: RealCluster, tmp_path: Path, deferrable: bool) -> None:  # noqa: FBT001 - both modes
    if deferrable and RELEASE < (10, 9):
        pytest.skip("deferrable Spark came with 10.9.0")
    needed = required_permissions("spark", deferrable=deferrable, provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    with Controllers(cluster):
        run = stand.run(APPLICATION % (", deferrable=True" if deferrable else ""), connections=user.connections)

    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed) - {"patch pods"}


@pytest.mark.usefixtures("spark")
def test_a_sensor_of_a_spark_application(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    application = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication",
                   "metadata": {"name": "pi"}, "spec": {"driver": {}}}  # fmt: skip
    cluster.admin("POST", SPARK, application)
    pod = {"metadata": {"name": "driver"}, "spec": {"containers": [{"name": "spark-kubernetes-driver", "image": "i"}]}}
    cluster.admin("POST", f"{CORE}/pods", pod)
    status = {"status": {"applicationState": {"state": "COMPLETED"}, "driverInfo": {"podName": "driver"}}}
    cluster.admin("PATCH", f"{SPARK}/pi/status", status, kind="application/merge-patch+json")
    needed = required_permissions("spark-sensor", provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    run = stand.run("""
from airflow.providers.cncf.kubernetes.sensors.spark_kubernetes import SparkKubernetesSensor
SparkKubernetesSensor(task_id="t", application_name="pi", namespace="data", attach_log=True)
""", connections=user.connections)  # fmt: skip

    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed)


# --- resources, exec, secrets


RESOURCES = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: two}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: three}
value: 1
"""


def test_resources_are_made_and_deleted(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    resources = ["configmaps", "deployments.apps", "priorityclasses.scheduling.k8s.io"]
    for operator in ("create", "delete"):
        needed = required_permissions(f"{operator}-resource", resources=resources, provider_version=PROVIDER)
        user = user_who_may(cluster, needed, tmp_path)
        name = f"Kubernetes{operator.title()}ResourceOperator"

        run = stand.run(f"{OPERATORS}resource import {name}\n{name}(task_id='t', yaml_conf={RESOURCES!r})",
                        connections=user.connections)  # fmt: skip

        assert run.state == "success", run.output
        assert asked(cluster, user) == named(needed)


@pytest.mark.skipif(RELEASE < (10, 22), reason="KubernetesPodExecOperator came with 10.22.0")
def test_exec_in_a_pod(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    from clusters import until  # noqa: PLC0415 - beside its one use

    cluster.admin("POST", f"{CORE}/pods", {
        "metadata": {"name": "shell", "annotations": {"eks-sandbox/run-seconds": "300"}},
        "spec": {"containers": [{"name": "base", "image": "i"}]},
    })  # fmt: skip
    until(lambda: cluster.admin("GET", f"{CORE}/pods/shell")["status"].get("phase") == "Running")
    needed = required_permissions("pod-exec", provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    run = stand.run(f"""
{OPERATORS}pod_exec import KubernetesPodExecOperator as Operator
Operator(task_id="t", pod_name="shell", namespace="data", command=["/bin/sh", "-c", "exit 0"])
""", connections=user.connections)  # fmt: skip

    # create is asked of the authorizer only: the audit log has the verb of the request, which is get
    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed) - {"create pods/exec"}


@pytest.mark.skipif(RELEASE < (10, 13), reason="the secrets backend came with 10.13.0")
def test_the_secrets_backend(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    needed = required_permissions("secrets-backend", provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)

    run = stand.run(f"""
from airflow.providers.cncf.kubernetes.secrets.kubernetes_secrets_backend import KubernetesSecretsBackend
from kubernetes import client, config
from airflow.providers.standard.operators.python import PythonOperator
def look():
    backend = KubernetesSecretsBackend(namespace="data")
    config.load_kube_config({str(user.kubeconfig)!r})
    backend.__dict__["client"] = client.CoreV1Api()
    assert backend.get_variable("x") is None
PythonOperator(task_id="t", python_callable=look)
""", connections={})  # fmt: skip

    assert run.state == "success", run.output
    assert asked(cluster, user) == named(needed)


# --- the executor

EXECUTOR = """
import sys, time
import airflow
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor import KubernetesExecutor
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_types import KubernetesJob

if __name__ == "__main__":
    executor = KubernetesExecutor()
    executor.job_id = "1"
    executor.start()
    key = TaskInstanceKey("d", "t", "r", 1, -1)
    executor.running.add(key)
    command = ["airflow", "tasks", "run", "d", "t", "r"]
    executor.task_queue.put(KubernetesJob(key, command, None, None))
    ends = time.monotonic() + 30
    while not executor.event_buffer and time.monotonic() < ends:
        executor.sync()
        time.sleep(0.2)
    print("ENDED", executor.event_buffer)
    executor.end()
"""
TEMPLATE = """
apiVersion: v1
kind: Pod
metadata:
  name: worker
  annotations: {eks-sandbox/run-seconds: "1"}
spec:
  restartPolicy: Never
  containers: [{name: base, image: airflow}]
"""


@pytest.mark.parametrize(("deletes", "unasked"), [("True", "patch pods"), ("False", "delete pods")])
def test_the_executor(stand: RealStand, cluster: RealCluster, tmp_path: Path, deletes: str, unasked: str) -> None:
    needed = required_permissions("executor", provider_version=PROVIDER)
    user = user_who_may(cluster, needed, tmp_path)
    template, script = tmp_path / "worker.yaml", tmp_path / "executor.py"
    template.write_text(TEMPLATE)
    script.write_text(EXECUTOR)
    stand.write_dag("pass")  # a database
    settings = {
        "IN_CLUSTER": "False", "CONFIG_FILE": str(user.kubeconfig), "NAMESPACE": "data", "DELETE_WORKER_PODS": deletes,
        "POD_TEMPLATE_FILE": str(template), "WORKER_CONTAINER_REPOSITORY": "a", "WORKER_CONTAINER_TAG": "b",
        "ENABLE_TCP_KEEPALIVE": "False",
    }  # fmt: skip
    environ = {f"AIRFLOW__KUBERNETES_EXECUTOR__{name}": value for name, value in settings.items()}

    done = subprocess.run(
        [sys.executable, str(script)], env={**stand.environ({}), **environ}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip

    assert "ENDED {TaskInstanceKey(" in done.stdout, done.stdout + done.stderr
    # pods are adopted, and logs looked at, where there is more than one scheduler and a page
    assert asked(cluster, user) == named(needed) - {unasked, "get pods", "get pods/log"}
