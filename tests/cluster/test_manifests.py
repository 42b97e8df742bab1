"""The manifests on the real API server: applied by kubectl, they allow exactly the rules that they were made of."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from build import binary
from clusters import B, pod, until
from rights import POD, Rule, rules

from eks_cross_account.diagnosis import role_manifest, service_account_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from real_cluster import RealCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
RUNNER = f"arn:aws:iam::{B}:role/team/pod-runner"
NODES = Rule("", "nodes", "list", cluster_scoped=True)
JOBS = rules("create jobs batch", "get jobs/status batch")
WANTED = (*POD, *JOBS, NODES)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate")
RESOURCES = (
    ("", "pods"), ("", "pods/log"), ("", "pods/exec"), ("", "pods/status"), ("", "events"), ("", "secrets"),
    ("", "configmaps"), ("", "serviceaccounts"), ("batch", "jobs"), ("batch", "jobs/status"),
    ("rbac.authorization.k8s.io", "roles"),
)  # fmt: skip
ALL = [Rule(group, resource, verb) for group, resource in RESOURCES for verb in VERBS]


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[RealCluster]:
    with real_cluster.test() as clean:
        yield clean


@pytest.fixture
def kubectl(cluster: RealCluster, tmp_path: Path) -> Callable[..., str]:
    """What kubectl prints, as the owner of the cluster or as a role."""

    def run(*arguments: str, role: str | None = None, stdin: str = "") -> str:
        config = cluster._kubeconfig
        if role is not None:
            document = json.loads(config.read_text())
            document["users"][0]["user"] = {"token": cluster.token(role)}
            config = tmp_path / "kubeconfig"
            config.write_text(json.dumps(document))
        done = subprocess.run(
            [str(binary("kubectl")), f"--kubeconfig={config}", f"--cache-dir={tmp_path}", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, input=stdin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@contextlib.contextmanager
def applied(kubectl: Callable[..., str], manifest: str) -> Iterator[list[str]]:
    """While it is applied; the names of what was made."""
    made = kubectl("apply", "-f", "-", "-o", "name", stdin=manifest).split()
    try:
        yield made
    finally:
        kubectl("delete", "-f", "-", stdin=manifest)


def attributes(rule: Rule, namespace: str | None) -> dict[str, str]:
    resource, _, subresource = rule.resource.partition("/")
    asked = {"verb": rule.verb, "group": rule.api_group, "resource": resource, "subresource": subresource}
    return asked if rule.cluster_scoped or namespace is None else {**asked, "namespace": namespace}


def may(cluster: RealCluster, rule: Rule, namespace: str | None = "data") -> bool:
    """What the API server says to the role itself."""
    review = {"spec": {"resourceAttributes": attributes(rule, namespace)}}
    answer = cluster.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, role=RUNNER,
                         headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status == 201, answer.body
    return bool(answer.document["status"]["allowed"])


@pytest.fixture
def runner(cluster: RealCluster) -> Callable[[str], None]:
    """Gives the role an access entry in a group."""
    cluster.sandbox.add_role(RUNNER)
    return lambda group: cluster.add_access_entry(RUNNER, groups=[group]) and None


def test_a_caller_in_the_group_may_do_exactly_the_rules(
    cluster: RealCluster, kubectl: Any, runner: Callable[[str], None], record_property: Any
) -> None:
    runner("pod-runners")
    before = [rule for rule in WANTED if may(cluster, rule)]

    with applied(kubectl, role_manifest(WANTED, namespace="data", group="pod-runners")):
        allowed = [rule for rule in [*ALL, NODES] if may(cluster, rule)]
        elsewhere = [rule for rule in WANTED if not rule.cluster_scoped and may(cluster, rule, "default")]
        everywhere = [rule for rule in WANTED if not rule.cluster_scoped and may(cluster, rule, None)]

    record_property("asked", (len(ALL) + 1, len(allowed)))
    assert before == []
    assert sorted(allowed) == sorted(WANTED)
    assert (elsewhere, everywhere) == ([], [])
    assert not any(may(cluster, rule) for rule in WANTED)


@pytest.mark.parametrize("group", ["pod-runners", "1e3", "y", "null", "team: pods #1"])
@pytest.mark.parametrize("form", ["PyYAML", "JSON"])
def test_kubectl_reads_the_group_that_was_meant(
    cluster: RealCluster, kubectl: Any, runner: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, group: str,
    form: str,
) -> None:  # fmt: skip
    runner(group)
    with monkeypatch.context() as patch:
        if form == "JSON":
            patch.setitem(sys.modules, "yaml", None)
        manifest = role_manifest((*POD, NODES), namespace="data", group=group, name="1e3")

    with applied(kubectl, manifest) as made:
        assert [name.partition(".")[0] for name in made] == ["role", "rolebinding", "clusterrole", "clusterrolebinding"]
        assert (may(cluster, POD[0]), may(cluster, NODES)) == (True, True)


def test_kubectl_of_that_caller_makes_reads_and_deletes_a_pod(
    cluster: RealCluster, kubectl: Any, runner: Callable[[str], None]
) -> None:
    runner("pod-runners")

    with applied(kubectl, role_manifest(POD, namespace="data", group="pod-runners")):
        created = kubectl("create", "-n", "data", "-f", "-", role=RUNNER, stdin=json.dumps(pod("by-the-role")))
        seen = kubectl("get", "pod", "by-the-role", "-n", "data", "-o", "name", role=RUNNER)
        deleted = kubectl("delete", "pod", "by-the-role", "-n", "data", "--wait=false", role=RUNNER)

    assert (created, seen) == ("pod/by-the-role created\n", "pod/by-the-role\n")
    assert deleted.startswith('pod "by-the-role" deleted')
    path = "/api/v1/namespaces/data/pods/by-the-role"
    until(lambda: cluster.admin("GET", path, accept=(200, 404))["kind"] == "Status")


def test_airflows_own_accounts_may_do_the_rules_in_the_namespace_of_the_pods(
    cluster: RealCluster, kubectl: Any
) -> None:
    role = "arn:aws:iam::111111111111:role/airflow/worker"
    manifest = service_account_manifest(
        POD, namespace="data", service_accounts=("airflow-worker", "airflow-triggerer"), airflow_namespace="default",
        cloud_identity=role,
    )  # fmt: skip

    def account_may(account: str, rule: Rule, namespace: str) -> bool:
        user = f"system:serviceaccount:default:{account}"
        review = {"spec": {"user": user, "resourceAttributes": attributes(rule, namespace)}}
        answer = cluster.admin("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    with applied(kubectl, manifest):
        made = cluster.admin("GET", "/api/v1/namespaces/default/serviceaccounts/airflow-worker")
        for account in ("airflow-worker", "airflow-triggerer"):
            assert sorted(rule for rule in ALL if account_may(account, rule, "data")) == sorted(POD)
            assert [rule for rule in ALL if account_may(account, rule, "default")] == []
        assert not account_may("default", POD[0], "data")

    assert made["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == role
