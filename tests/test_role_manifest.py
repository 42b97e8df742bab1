"""What is to be applied, read back by a YAML parser: exactly the rules that went in, for exactly these subjects."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rights import NAMESPACES, POD, Rule, rules

import eks_cross_account
from eks_cross_account.diagnosis import chart_values, role_manifest, service_account_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

RBAC = "rbac.authorization.k8s.io"


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
GROUPS = st.text(min_size=1, max_size=40).filter(
    lambda name: (
        name.isprintable()
        and name == name.strip()
        and not name.startswith(("system:", "eks:", "aws:", "amazon:", "iam:"))
    )
)
NAMES = st.from_regex(r"[A-Za-z0-9:._-]{1,40}", fullmatch=True).filter(lambda name: name not in {".", ".."})
RULES = st.lists(
    st.builds(
        Rule,
        st.sampled_from(["", "batch", "apps", "sparkoperator.k8s.io"]),
        st.sampled_from(["pods", "pods/log", "pods/exec", "jobs", "jobs/status", "events"]),
        st.sampled_from(["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "approve"]),
        st.booleans(),
    ),
    min_size=1,
)


def expanded(documents: Iterable[Any], kind: str) -> set[tuple[str, str, str]]:
    """What the roles of this kind allow, one by one."""
    return {
        (group, resource, verb)
        for document in documents
        if document["kind"] == kind
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@given(rules=RULES, namespace=LABELS, group=GROUPS, name=NAMES)
def test_the_rules_that_are_read_back_are_those_that_went_in(
    rules: list[Rule], namespace: str, group: str, name: str
) -> None:
    documents = list(yaml.safe_load_all(role_manifest(rules, namespace=namespace, group=group, name=name)))

    for kind, scoped in (("Role", False), ("ClusterRole", True)):
        assert expanded(documents, kind) == {rule[:3] for rule in rules if rule.cluster_scoped == scoped}
    for document in documents:
        assert document["metadata"].get("namespace") == (namespace if document["kind"].startswith("Role") else None)
        if document["kind"].endswith("Binding"):
            assert document["subjects"] == [{"apiGroup": RBAC, "kind": "Group", "name": group}]


def test_the_rules_of_a_pod_operator_read_as_a_person_writes_them() -> None:
    assert (
        role_manifest(POD, namespace="data", group="airflow-workers")
        == """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: airflow-pod-runner, namespace: data}
rules:
- apiGroups: ['']
  resources: [events]
  verbs: [list, watch]
- apiGroups: ['']
  resources: [pods]
  verbs: [get, list, create, patch, delete]
- apiGroups: ['']
  resources: [pods/exec]
  verbs: [get, create]
- apiGroups: ['']
  resources: [pods/log]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: airflow-pod-runner, namespace: data}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: airflow-pod-runner}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: airflow-workers}
"""
    )


def test_resources_with_the_same_verbs_in_one_api_group_are_one_rule() -> None:
    wanted = rules("get pods", "list pods", "get events", "list events", "get jobs batch", "list jobs batch")

    role, _ = yaml.safe_load_all(role_manifest(wanted, namespace="data", group="g"))

    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["events", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
    ]


def test_rules_of_the_cluster_are_a_cluster_role_whose_name_no_other_namespace_takes() -> None:
    documents = list(yaml.safe_load_all(role_manifest((*POD, *NAMESPACES), namespace="data", group="g")))

    assert [(one["kind"], one["metadata"]["name"]) for one in documents] == [
        ("Role", "airflow-pod-runner"),
        ("RoleBinding", "airflow-pod-runner"),
        ("ClusterRole", "data-airflow-pod-runner"),
        ("ClusterRoleBinding", "data-airflow-pod-runner"),
    ]
    assert documents[3]["roleRef"] == {"apiGroup": RBAC, "kind": "ClusterRole", "name": "data-airflow-pod-runner"}
    alone = list(yaml.safe_load_all(role_manifest(NAMESPACES, namespace="data", group="g")))
    assert [one["kind"] for one in alone] == ["ClusterRole", "ClusterRoleBinding"]


@pytest.mark.parametrize(
    "name", ["1e3", "0o17", "0x1f", "1_000", "y", "n", "on", "null", ".5", "12:30:45", "2001-01-01"]
)
def test_a_name_that_some_reader_takes_for_something_else_is_quoted(name: str) -> None:
    document = list(yaml.compose_all(role_manifest(POD, namespace="data", group=name), Loader=yaml.SafeLoader))[1]

    (subject,) = {key.value: value for key, value in document.value}["subjects"].value
    (written,) = [value for key, value in subject.value if key.value == "name"]
    assert (written.value, written.style) == (name, "'")


@given(rules=RULES, namespace=LABELS, group=GROUPS, name=NAMES)
def test_without_pyyaml_json_says_the_same(rules: list[Rule], namespace: str, group: str, name: str) -> None:
    written = role_manifest(rules, namespace=namespace, group=group, name=name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        as_json = role_manifest(rules, namespace=namespace, group=group, name=name)

    assert as_json.startswith("---\n{")
    assert list(yaml.safe_load_all(as_json)) == list(yaml.safe_load_all(written))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"namespace": "Data"}, "a namespace is a DNS label"),
        ({"namespace": ""}, "a namespace is a DNS label"),
        ({"namespace": "data\n"}, r"'data\\n': a namespace"),
        ({"namespace": "a" * 64}, "a namespace is a DNS label"),
        ({"namespace": "data; kind: x"}, "a namespace is a DNS label"),
        ({"namespace": "data-"}, "a namespace is a DNS label"),
        ({"group": ""}, "no name of a group"),
        ({"group": " "}, "no name of a group"),
        ({"group": "a\nb"}, r"'a\\nb' is no name of a group"),
        ({"group": "\x1b[31mred"}, r"x1b\[31mred' is no name of a group"),
        ({"group": "\u202eevil"}, r"u202eevil' is no name of a group"),
        ({"group": "system:masters"}, "may do everything, whatever RBAC says"),
        ({"group": "system:authenticated"}, "EKS takes no group whose name begins so"),
        ({"group": "eks:x"}, "EKS takes no group whose name begins so"),
        ({"name": "a/b"}, "a Role is named by"),
        ({"name": ".."}, "a Role is named by"),
        ({"name": ""}, "a Role is named by"),
        ({"name": "a\n"}, "a Role is named by"),
        ({"rules": ()}, "no rules"),
        ({"rules": rules("* pods")}, "a wildcard is not the least"),
        ({"rules": rules("get *")}, "a wildcard is not the least"),
        ({"rules": rules("get pods *")}, "a wildcard is not the least"),
        ({"rules": rules("get pods/*")}, "a wildcard is not the least"),
        ({"rules": (Rule("", "pods\n", "get"),)}, "no verb on one resource"),
        ({"rules": (Rule("", "", "get"),)}, "no verb on one resource"),
        ({"rules": (Rule("", "pods", "\x1b[31m"),)}, r"'\\x1b\[31m' on 'pods'"),
    ],
)  # fmt: skip
def test_what_kubernetes_or_eks_would_refuse_is_refused(changed: dict[str, Any], said: str) -> None:
    asked: dict[str, Any] = {"rules": POD, "namespace": "data", "group": "airflow-workers", "name": "r", **changed}

    with pytest.raises(ValueError, match=said) as caught:
        role_manifest(asked.pop("rules"), **asked)

    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


# --- Airflow inside the cluster

IRSA = "arn:aws:iam::111111111111:role/airflow/worker"
GOOGLE = "airflow-worker@my-project.iam.gserviceaccount.com"
AZURE = "01234567-89ab-cdef-0123-456789abcdef"
ANNOTATIONS = [
    (IRSA, {"eks.amazonaws.com/role-arn": IRSA}),
    (GOOGLE, {"iam.gke.io/gcp-service-account": GOOGLE}),
    (AZURE, {"azure.workload.identity/client-id": AZURE}),
]


@pytest.mark.parametrize(("identity", "annotations"), ANNOTATIONS, ids=["EKS", "GKE", "AKS"])
def test_the_accounts_have_the_clouds_annotation_and_are_who_may_do_the_rules(
    identity: str, annotations: dict[str, str]
) -> None:
    made = service_account_manifest(
        POD, namespace="data", service_accounts=("worker", "triggerer"), airflow_namespace="airflow",
        cloud_identity=identity,
    )  # fmt: skip

    *accounts, role, binding = yaml.safe_load_all(made)
    assert accounts == [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": "airflow", "annotations": annotations},
        }
        for name in ("worker", "triggerer")
    ]
    assert expanded([role], "Role") == {rule[:3] for rule in POD}
    assert (role["metadata"]["namespace"], binding["metadata"]["namespace"]) == ("data", "data")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "worker", "namespace": "airflow"},
        {"kind": "ServiceAccount", "name": "triggerer", "namespace": "airflow"},
    ]


def test_accounts_that_a_chart_makes_are_bound_only_and_live_with_the_pods_if_nothing_else_is_said() -> None:
    made = service_account_manifest(POD, namespace="data", service_accounts=("worker",), create=False)

    role, binding = yaml.safe_load_all(made)
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "worker", "namespace": "data"}]


def test_the_charts_values_name_the_two_accounts_that_call_kubernetes() -> None:
    """As chart/values.yaml of apache/airflow has them; multiNamespaceMode would be rights in every namespace."""
    assert yaml.safe_load(chart_values(cloud_identity=IRSA)) == {
        "rbac": {"create": True},
        "multiNamespaceMode": False,
        "workers": {
            "serviceAccount": {
                "create": True, "name": "airflow-worker", "annotations": {"eks.amazonaws.com/role-arn": IRSA},
            },
        },
        "triggerer": {
            "serviceAccount": {
                "create": True, "name": "airflow-triggerer", "annotations": {"eks.amazonaws.com/role-arn": IRSA},
            },
        },
    }  # fmt: skip


def test_azure_wants_a_label_on_the_pods_too_and_a_string_in_it() -> None:
    values = yaml.safe_load(chart_values(workers="w", triggerer="t", cloud_identity=AZURE))

    for component, name in (("workers", "w"), ("triggerer", "t")):
        assert values[component] == {
            "serviceAccount": {
                "create": True, "name": name, "annotations": {"azure.workload.identity/client-id": AZURE},
            },
            "labels": {"azure.workload.identity/use": "true"},
        }  # fmt: skip


def test_without_an_identity_in_a_cloud_there_is_no_annotation() -> None:
    account, *_ = yaml.safe_load_all(service_account_manifest(POD, namespace="data", service_accounts=("worker",)))

    assert account["metadata"] == {"name": "worker", "namespace": "data"}
    assert yaml.safe_load(chart_values())["workers"] == {"serviceAccount": {"create": True, "name": "airflow-worker"}}


@pytest.mark.parametrize(
    "identity",
    ["", "airflow", "arn:aws:iam::111111111111:user/x", "arn:aws:sts::111111111111:assumed-role/x/s", f"{IRSA}\n",
     "worker@example.com", f"{AZURE}0", f"{GOOGLE}\x1b[31m"],
)  # fmt: skip
def test_an_identity_of_no_cloud_is_refused(identity: str) -> None:
    with pytest.raises(ValueError, match="neither the ARN of an IAM role"):
        service_account_manifest(POD, namespace="data", service_accounts=("worker",), cloud_identity=identity)
    with pytest.raises(ValueError, match="neither the ARN of an IAM role"):
        chart_values(cloud_identity=identity)


@pytest.mark.parametrize("name", ["", "Worker", "a_b", "a/b", "a\n", "-a", "a" * 254])
def test_an_account_that_kubernetes_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a ServiceAccount is a DNS subdomain"):
        service_account_manifest(POD, namespace="data", service_accounts=("worker", name))
    with pytest.raises(ValueError, match="a ServiceAccount is a DNS subdomain"):
        chart_values(triggerer=name)


def test_a_binding_to_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="no service account"):
        service_account_manifest(POD, namespace="data", service_accounts=())
    with pytest.raises(ValueError, match="a namespace is a DNS label"):
        service_account_manifest(POD, namespace="data", service_accounts=("worker",), airflow_namespace="No")


def test_it_is_a_public_name() -> None:
    assert eks_cross_account.role_manifest is role_manifest
