"""The command ``permissions``, and what ``check --namespace`` adds: what they print, and their exit codes."""

from __future__ import annotations

import io
import json
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes.client import CoreV1Api
from tokens import assert_no_canary

from eks_cross_account import connect, required_permissions
from eks_cross_account.cli import main
from eks_cross_account.diagnosis import _permission_checks
from eks_cross_account.sandbox import Grant, Sandbox
from eks_cross_account.sandbox._grants import pod_runner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

B = "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
ASKING = ("--check", "--cluster-name", "analytics", "--role-arn", ROLE)
WITHOUT_EXEC = tuple(grant for grant in pod_runner("airflow-workers", "data") if "pods/exec" not in grant.resources)


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert_no_canary(printed.out + printed.err)
        return Ran(code, printed.out, printed.err)

    return call


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A cluster where pods may be run, and no command in them."""
    with Sandbox(grants=WITHOUT_EXEC) as started:
        for name, value in started.environ.items():
            monkeypatch.setenv(name, value)
        yield started


# --- the table


def test_the_table_names_each_rule_and_what_is_without_it(run: Any) -> None:
    ran = run("permissions", "--xcom", "--namespace", "data")

    assert ran.code == 0
    assert "      get pods/exec             fails   task fails after the work is done" in ran.out.splitlines()
    assert "(do_xcom_push)" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.err == ""


def test_without_a_namespace_it_says_which_it_takes(run: Any) -> None:
    assert "the namespace is default, as EksPodOperator's is" in run("permissions").err


def test_the_rules_as_json_are_those_of_the_library(run: Any) -> None:
    document = run("permissions", "--deferrable", "--xcom", "--namespace", "data", "--output", "json").document

    assert list(document) == ["schema", "command", "title", "namespace", "rules", "findings"]
    told = [(rule["api_group"], rule["resource"], rule["verb"], rule["effect"]) for rule in document["rules"]]
    assert told == [
        (rule.api_group, rule.resource, rule.verb, rule.effect)
        for rule in required_permissions(deferrable=True, xcom=True)
    ]
    assert {rule["allowed"] for rule in document["rules"]} == {None}


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (("--no-logs",), {"logs": False}),
        (("--init-logs",), {"init_logs": True}),
        (("--deferrable", "--interim-logs"), {"deferrable": True, "interim_logs": True}),
        (("--no-events",), {"events": False}),
        (("--events-on-failure",), {"events_on_failure": True}),
        (("--on-finish-action", "keep_pod"), {"on_finish_action": "keep_pod"}),
        (("--no-reattach",), {"reattach": False}),
        (("--callbacks", "--deferrable", "--no-reattach"), {"callbacks": True, "deferrable": True, "reattach": False}),
        (("--operator", "job", "--wait"), {"operator": "job", "wait": True}),
        (
            ("--operator", "create-resource", "--resource", "deployments.apps"),
            {"operator": "create-resource", "resources": ("deployments.apps",)},
        ),
        (("--provider-version", "10.7.0"), {"provider_version": "10.7.0"}),
        (("--server-version", "1.33", "--xcom"), {"server_version": "1.33", "xcom": True}),
    ],
)
def test_each_flag_is_an_option_of_the_library(run: Any, flags: tuple[str, ...], options: dict[str, Any]) -> None:
    document = run("permissions", "--namespace", "data", "--output", "json", *flags).document

    expected = [(rule.verb, rule.resource, rule.when) for rule in required_permissions(**options)]
    assert [(rule["verb"], rule["resource"], rule["when"]) for rule in document["rules"]] == expected


def test_an_upgrade_names_what_is_new(run: Any) -> None:
    ran = run("permissions", "--upgrade-from", "2.10.3", "--provider-version", "3.0.6")

    assert ran.out.startswith("operator pod: cncf-kubernetes 9.0.1 -> 10.7.0\n")
    assert "new   list events" in ran.out


def test_an_upgrade_that_changes_nothing_says_so(run: Any) -> None:
    assert "asks for the same" in run("permissions", "--upgrade-from", "10.24.0", "--provider-version", "10.24.1").out


# --- asking


@pytest.mark.usefixtures("cluster")
def test_all_there_is_code_0(run: Any) -> None:
    ran = run("permissions", *ASKING, "--namespace", "data")

    assert ran.code == 0
    assert "PASS    permissions: all 7 rules of operator pod in namespace data" in ran.out
    assert "NO " not in ran.out
    assert "PASS    API server: says groups airflow-workers" in ran.out  # as whom it was asked


@pytest.mark.usefixtures("cluster")
def test_a_missing_rule_is_code_1_with_the_role_that_gives_it(run: Any) -> None:
    ran = run("permissions", *ASKING, "--namespace", "data", "--xcom")

    assert ran.code == 1
    assert "NO    get pods/exec " in ran.out
    assert "yes   create pods " in ran.out
    assert "FAIL    [forbidden] 1 of 8 rules" in ran.out
    assert "- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: airflow-workers}" in ran.out


def test_a_server_older_than_1_35_is_not_asked_for_create_of_exec(run: Any, cluster: Sandbox) -> None:
    """The sandbox says that it is 1.34 in its description, and to GET /version."""
    document = run("permissions", *ASKING, "--namespace", "data", "--xcom", "--output", "json").document

    version = cluster.cluster().version
    asked = [rule["verb"] for rule in document["rules"] if rule["resource"] == "pods/exec"]
    assert asked == (["create", "get"] if version >= "1.35" else ["get"])


def test_where_nobody_could_be_asked_is_code_3_with_the_reason(run: Any, cluster: Sandbox) -> None:
    cluster.deny("eks:DescribeCluster")

    ran = run("permissions", *ASKING, "--namespace", "data")

    assert ran.code == 3
    assert "describe-cluster-denied" in ran.out
    assert "?     create pods" in ran.out


def test_a_broken_chain_is_told_instead_of_rights(run: Any, cluster: Sandbox) -> None:
    cluster.deny("sts:AssumeRole")

    ran = run("permissions", *ASKING, "--namespace", "data")
    manifest = run("permissions", *ASKING, "--namespace", "data", "--manifest", "--group", "g")

    assert ran.code == 3
    assert "assume-role-denied" in ran.out
    assert (manifest.code, manifest.out) == (3, "")
    assert "[assume-role-denied]" in manifest.err


@pytest.mark.usefixtures("cluster")
def test_a_pod_is_tried_without_being_made(run: Any) -> None:
    ran = run("permissions", *ASKING, "--namespace", "data", "--dry-run-pod")

    assert ran.code == 0
    assert "PASS    admission: the pod would be taken (dryRun=All)" in ran.out
    with connect(cluster_name="analytics", role_arn=ROLE) as client:
        assert CoreV1Api(client).list_namespaced_pod("data").items == []


# --- giving


def test_a_manifest_of_all_can_be_applied_as_it_is(run: Any) -> None:
    ran = run("permissions", "--xcom", "--namespace", "data", "--manifest", "--group", "airflow-workers")

    role, binding = yaml.safe_load_all(ran.out)
    assert ran.code == 0
    assert (role["kind"], role["metadata"]) == ("Role", {"name": "airflow-pod-runner", "namespace": "data"})
    held = {(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert held == {(rule.verb, rule.resource) for rule in required_permissions(xcom=True)}
    assert binding["subjects"][0]["name"] == "airflow-workers"


@pytest.mark.usefixtures("cluster")
def test_a_manifest_of_what_is_missing_has_a_name_that_replaces_no_other(run: Any) -> None:
    ran = run("permissions", *ASKING, "--namespace", "data", "--xcom", "--manifest", "--group", "airflow-workers")

    role, binding = yaml.safe_load_all(ran.out)
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"pods/exec"}
    assert role["metadata"]["name"] != "airflow-pod-runner"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.mark.usefixtures("cluster")
def test_a_manifest_of_nothing_is_empty(run: Any) -> None:
    ran = run("permissions", *ASKING, "--namespace", "data", "--manifest", "--group", "airflow-workers")

    assert (ran.code, ran.out) == (0, "")
    assert "nothing is missing" in ran.err


def test_commands_and_terraform_name_the_principal(run: Any) -> None:
    asked = ("permissions", "--namespace", "data", "--manifest", "--group", "airflow", "--principal-arn", ROLE,
             "--cluster-name", "analytics", "--region", "eu-west-1", "--remedy")  # fmt: skip

    commands, hcl = run(*asked, "cli").out, run(*asked, "hcl").out
    assert f"--principal-arn {ROLE}" in commands
    assert "--kubernetes-groups airflow" in commands
    assert 'resource "aws_eks_access_entry"' in hcl


def test_airflow_in_the_cluster_gets_an_account_and_the_charts_values(run: Any) -> None:
    asked = ("permissions", "--namespace", "data", "--manifest", "--service-account", "airflow:airflow-worker",
             "--cloud-identity", ROLE)  # fmt: skip

    account, role, binding = yaml.safe_load_all(run(*asked).out)
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": ROLE}
    assert (account["metadata"]["namespace"], role["metadata"]["namespace"]) == ("airflow", "data")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "airflow-worker", "namespace": "airflow"}]
    assert yaml.safe_load(run(*asked, "--chart").out)["workers"]["serviceAccount"]["name"] == "airflow-worker"


# --- what cannot be meant


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--operator", "nope"), "there is no operator 'nope'"),
        (("--namespace", "Data"), "a namespace is a DNS label"),
        (("--namespace", "../x"), "a namespace is a DNS label"),
        (("--group", "x"), "--group needs --manifest"),
        (("--manifest",), "--manifest needs --group or --service-account"),
        (("--manifest", "--group", "system:masters"), "system:masters may do everything"),
        (("--manifest", "--group", "x", "--service-account", "y"), "give one"),
        (("--cloud-identity", "x"), "--cloud-identity needs --service-account"),
        (("--manifest", "--service-account", "a:b", "--service-account", "c:d"), "are in one namespace"),
        (("--manifest", "--service-account", "a", "--cloud-identity", "x"), "neither the ARN of an IAM role"),
        (("--kubeconfig", "x"), "needs --check or --dry-run-pod"),
        (("--check",), "--check needs --cluster-name"),
        (("--check", "--in-cluster", "--context", "x"), "two ways in"),
        (("--check", "--in-cluster", "--profile", "x"), "have credentials of their own"),
        (("--check", "--kubeconfig", "/nowhere/to/be/found"), "cannot be used"),
        (("--check", "--in-cluster"), "cannot be used"),
        (("--provider-version", "x"), "is not a version"),
        (("--upgrade-from", "6.0.0"), "begins with"),
        (("--interim-logs",), "needs deferrable"),
        (("--from-dag", "x"), "FILE:DAG:TASK"),
        (("--manifest", "--group", "x", "--output", "json"), "does not go with it"),
        (("--manifest", "--group", "x", "--check", "--output", "json"), "does not go with it"),
        (("--manifest", "--group", "x", "--chart"), "--chart needs --service-account"),
        (("--principal-arn", "x"), "--principal-arn needs --group"),
        (("--upgrade-from", "2.10.3", "--check"), "give it alone"),
        (("--manifest", "--service-account", "a", "--remedy", "hcl"), "does not go with it"),
        (("--manifest", "--chart", "--service-account", "a", "--service-account", "a"), "give them two names"),
    ],
)
def test_what_cannot_be_meant_is_code_2_in_one_line(run: Any, flags: tuple[str, ...], told: str) -> None:
    ran = run("permissions", *flags)

    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err.splitlines()[-1]


# --- check --namespace


@pytest.mark.usefixtures("cluster")
def test_check_asks_for_rights_after_the_identity(run: Any) -> None:
    healthy = run("check", *ASKING[1:], "--namespace", "data")
    broken = run("check", *ASKING[1:], "--namespace", "data", "--xcom", "--output", "json")

    assert healthy.code == 0
    assert "PASS    permissions: all 7 rules" in healthy.out
    assert (broken.code, broken.document["root_cause"]) == (1, "forbidden")
    denied = [rule["resource"] for rule in broken.document["permissions"]["rules"] if rule["allowed"] is False]
    assert set(denied) == {"pods/exec"}


@pytest.mark.usefixtures("cluster")
def test_an_option_of_an_operator_is_a_question_about_rights_too(run: Any) -> None:
    ran = run("check", *ASKING[1:], "--xcom")

    assert ran.code == 1
    assert "no --namespace given" in ran.err


@pytest.mark.usefixtures("cluster")
def test_the_owner_is_asked_for_what_is_missing_and_nothing_else(run: Any) -> None:
    ran = run("check", *ASKING[1:], "--namespace", "data", "--xcom", "--ask-owner")

    assert ran.code == 1
    assert "may do this in namespace data: pods/exec get." in ran.out
    assert "| kubectl apply -f -" in ran.out
    assert "aws-auth" not in ran.out
    assert len(ran.out.splitlines()) <= 15
    line = next(line for line in ran.out.splitlines() if "| kubectl apply" in line)
    document = json.loads(shlex.split(line)[1])
    assert [item["kind"] for item in document["items"]] == ["Role", "RoleBinding"]


@pytest.mark.usefixtures("cluster")
def test_a_line_of_mwaa_names_its_provider(run: Any) -> None:
    assert "cncf-kubernetes 10.7.0" in run("permissions", "--provider-version", "3.0.6", "--namespace", "data").out


@pytest.mark.usefixtures("cluster")
def test_check_without_a_namespace_asks_for_no_rights(run: Any) -> None:
    document = run("check", *ASKING[1:], "--output", "json").document

    assert document["permissions"] is None
    assert "permissions" not in {finding["id"] for finding in document["findings"]}


def test_a_check_of_the_owner_asks_for_no_rights(run: Any) -> None:
    ran = run("check", "--cluster-name", "analytics", "--principal-arn", ROLE, "--namespace", "data")

    assert ran.code == 2
    assert "as the caller" in ran.err


# --- another cluster's kubeconfig


def test_a_kubeconfig_is_asked_by_its_own_way_in(run: Any, cluster: Sandbox) -> None:
    file = cluster.write_kubeconfig(cluster.cluster(), role_arn=ROLE)

    ran = run("permissions", "--check", "--kubeconfig", str(file), "--namespace", "data", "--xcom", "--output", "json")

    assert ran.code == 1
    allowed = {f"{rule['verb']} {rule['resource']}": rule["allowed"] for rule in ran.document["rules"]}
    assert allowed["create pods"] is True
    assert allowed["get pods/exec"] is False
    remedy = next(each["remedy"] for each in ran.document["findings"] if each["id"] == "forbidden")
    assert remedy["commands"] == []  # nobody knows an AWS there
    assert "pods/exec" in remedy["yaml"]


@pytest.mark.filterwarnings("ignore:HTTPResponse.getheaders:DeprecationWarning")  # of urllib3 2, in kubernetes 23
def test_a_kubeconfig_whose_user_is_nobody_says_so(run: Any, cluster: Sandbox, tmp_path: Path) -> None:
    file = cluster.write_kubeconfig(cluster.cluster(), role_arn=ROLE)
    document = json.loads(file.read_text())
    document["users"] = [{"name": user["name"], "user": {"token": "k8s-aws-v1.AAAA"}} for user in document["users"]]
    other = tmp_path / "kubeconfig"
    other.write_text(json.dumps(document))

    ran = run("permissions", "--check", "--kubeconfig", str(other), "--namespace", "data")

    assert "[unauthorized]" in ran.out
    assert ran.code == 3  # nobody answered for any right


def test_a_grant_for_everything_passes_and_names_cluster_scope(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = [Grant(verbs=("*",), resources=("*",), group="airflow-workers", namespace="*", api_group="*")]
    with Sandbox(grants=grants) as started:
        for name, value in started.environ.items():
            monkeypatch.setenv(name, value)
        ran = run("permissions", *ASKING, "--operator", "create-resource", "--resource", "namespaces",
                  "--namespace", "data")  # fmt: skip

    assert ran.code == 0
    assert "create namespaces, of the cluster" in ran.out


NO_KUBECONFIGS = {
    "no YAML": 'token: "k8s-aws-v1.canary\n',
    "a tab": "\tusers: k8s-aws-v1.canary",
    "a list": "[]",
    "text": "k8s-aws-v1.canary",
    "a number": "7",
    "nothing": "",
    "nested deeply": "[" * 5_000,
    "users that are text": "{users: canary, contexts: canary, clusters: canary, current-context: canary}",
    "contexts of numbers": "{users: [7], contexts: [7], clusters: [7], current-context: a}",
    "an object of Python": "!!python/object/apply:os.system ['echo canary']",
    "a server that is a list": "{current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}],"
    " clusters: [{name: a, cluster: {server: [1]}}], users: [{name: a, user: {token: canary}}]}",
}


@pytest.mark.parametrize("name", NO_KUBECONFIGS)
def test_what_is_no_kubeconfig_is_said_in_one_line_without_a_word_of_it(run: Any, tmp_path: Path, name: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(NO_KUBECONFIGS[name])

    ran = run("permissions", "--check", "--kubeconfig", str(file), "--namespace", "data")

    assert ran.code in {1, 2, 3}
    assert (ran.code == 2) is (ran.out == "")
    assert ran.err.count("\n") <= 1


@pytest.mark.parametrize("group", ["aws:readers", "iam:x", "eks:x", "a\nb", "\u202eb", " ", "file://x", "$(id)"])
@pytest.mark.parametrize("more", [(), ("--remedy", "cli"), ("--output", "json")])
def test_a_group_that_no_entry_can_have_is_in_no_manifest(
    run: Any, cluster: Sandbox, monkeypatch: pytest.MonkeyPatch, group: str, more: tuple[str, ...]
) -> None:
    file = cluster.write_kubeconfig(cluster.cluster(), role_arn=ROLE)
    said = _permission_checks._user

    def user(evidence: Any) -> Any:
        found = said(evidence)
        return None if found is None else replace(found, groups=(group,))

    monkeypatch.setattr(_permission_checks, "_user", user)

    ran = run("permissions", "--check", "--kubeconfig", str(file), "--namespace", "data", "--xcom", *more)

    assert ran.code == 1
    assert group not in ran.out.replace("\\n", "\n") or group == " "
    assert "airflow-workers" in ran.out or more == ("--remedy", "cli")
