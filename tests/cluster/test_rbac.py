"""What is missing, by Roles, bindings and admission as they are, and the one cause on top; what the fix says mends it.

Each test has a namespace of its own, and a role of account B whose access entry has the groups that the test gives it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asking import ASKER, DEFERRED, RUN, asked, entered, explained, in_account_a, on_top, warned
from clusters import B, until

from eks_cross_account import required_permissions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from real_cluster import RealCluster

    from eks_cross_account.diagnosis import Report
    from eks_cross_account.diagnosis.needs import Rule

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
RBAC = "rbac.authorization.k8s.io"
CORE = "/api/v1"
NUMBERS = itertools.count(1)
TEAM, LOOKERS = "team", "lookers"
WHO = f"arn:aws:sts::{B}:assumed-role/asker"  # and the session's name
PLURALS = {"Role": "roles", "RoleBinding": "rolebindings", "ClusterRole": "clusterroles",
           "ClusterRoleBinding": "clusterrolebindings"}  # fmt: skip
LOOK = [
    {"apiGroups": [RBAC], "resources": ["roles", "rolebindings", "clusterrolebindings"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]},
]


class Owner:
    """The cluster's, who makes objects and takes them all away again."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.namespace = f"team-{next(NUMBERS):02}-pods"
        self.made: list[str] = []

    def make(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.cluster.admin("POST", path, document)
        self.made.append(f"{path}/{made['metadata']['name']}")
        return made

    def add_namespace(self, name: str, **metadata: Any) -> None:
        self.make(f"{CORE}/namespaces", {"metadata": {"name": name, **metadata}})
        self.make(f"{CORE}/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})

    def rbac(self, kind: str, name: str, namespace: str | None = None, **parts: Any) -> None:
        """One object of RBAC; in the test's namespace where it has one."""
        place = "" if kind.startswith("Cluster") else f"/namespaces/{namespace or self.namespace}"
        self.make(f"/apis/{RBAC}/v1{place}/{PLURALS[kind]}", {"metadata": {"name": name}, **parts})

    def role(self, rules: Iterable[Rule], name: str = "runner", namespace: str | None = None) -> None:
        """A Role of exactly these."""
        self.rbac("Role", name, namespace, rules=[
            {"apiGroups": [rule.api_group], "resources": [rule.resource], "verbs": [rule.verb]} for rule in rules
        ])  # fmt: skip

    def bind(
        self, subject: str = f"Group {TEAM}", role: str = "Role runner", namespace: str | None = None, name: str = "b"
    ) -> None:
        kind, _, held = role.partition(" ")
        who, _, named = subject.partition(" ")
        subjects = [{"kind": who, "name": named}]
        subjects[0] |= {"namespace": self.namespace} if who == "ServiceAccount" else {"apiGroup": RBAC}
        self.rbac("RoleBinding", name, namespace, subjects=subjects,
                  roleRef={"apiGroup": RBAC, "kind": kind, "name": held})  # fmt: skip

    def cluster_bind(self, name: str, group: str, rules: list[dict[str, Any]]) -> None:
        self.rbac("ClusterRole", name, rules=rules)
        self.rbac("ClusterRoleBinding", name, subjects=[{"kind": "Group", "name": group, "apiGroup": RBAC}],
                  roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": name})  # fmt: skip

    def apply(self, manifest: str) -> None:
        for document in yaml.safe_load_all(manifest):
            place = f"/namespaces/{document['metadata']['namespace']}" if "namespace" in document["metadata"] else ""
            self.make(f"/apis/{RBAC}/v1{place}/{PLURALS[document['kind']]}", document)

    def settle(self) -> None:
        """Until the authorizer knows all that was made: it hears of each kind in its order."""
        name = f"sentinel-{next(NUMBERS)}"
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
        subjects = [{"kind": "Group", "name": name, "apiGroup": RBAC}]
        self.rbac("Role", name, rules=rules)
        self.rbac("RoleBinding", name, subjects=subjects, roleRef={"apiGroup": RBAC, "kind": "Role", "name": name})
        until(lambda: self._may(name, "pods", self.namespace))
        self.cluster_bind(name, name, [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}])
        until(lambda: self._may(name, "nodes", ""))

    def _may(self, group: str, resource: str, namespace: str) -> bool:
        asked = {"verb": "get", "resource": resource, "namespace": namespace}
        review = {"spec": {"user": "sentinel", "groups": [group], "resourceAttributes": asked}}
        answer = self.cluster.admin("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def take_away(self) -> None:
        for path in reversed(self.made):
            self.cluster.admin("DELETE", path, accept=(200, 202, 404))
            if path.startswith(f"{CORE}/namespaces/") and path.count("/") == 4:
                document = {"metadata": {"name": path.rpartition("/")[2]}, "spec": {"finalizers": []}}
                self.cluster.admin("PUT", f"{path}/finalize", document, accept=(200, 404, 409))


@pytest.fixture
def owner(real_cluster: RealCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    with real_cluster.test() as cluster:
        made = Owner(cluster)
        try:
            made.add_namespace(made.namespace)
            made.cluster_bind(f"look-{made.namespace}", LOOKERS, LOOK)
            in_account_a(cluster, monkeypatch)
            yield made
        finally:
            made.take_away()


# --- what there is; a scene returns what is asked then: arguments of asked


def without(*names: str, of: Iterable[Rule] = RUN) -> list[Rule]:
    left = [rule for rule in of if f"{rule.verb} {rule.resource}" not in names]
    assert len(left) == len(tuple(of)) - len(names)
    return left


def all_of_it(owner: Owner) -> dict[str, Any]:
    owner.role(RUN)
    owner.bind()
    return {}


def all_of_a_deferred_one(owner: Owner) -> dict[str, Any]:
    owner.role(DEFERRED)
    owner.bind()
    return {"rules": DEFERRED}


def events_listed_instead_of_watched(owner: Owner) -> dict[str, Any]:
    owner.role([*without("watch events", of=DEFERRED), *(rule for rule in RUN if rule.resource == "events")])
    owner.bind()
    return {"rules": DEFERRED}


def by_a_cluster_role(owner: Owner) -> dict[str, Any]:
    rules = [{"apiGroups": [""], "resources": ["pods", "pods/log", "pods/exec", "events"], "verbs": ["*"]}]
    owner.rbac("ClusterRole", f"pods-{owner.namespace}", rules=rules)
    owner.bind(role=f"ClusterRole pods-{owner.namespace}")
    return {}


def in_every_namespace(owner: Owner) -> dict[str, Any]:
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    owner.cluster_bind(f"all-{owner.namespace}", TEAM, rules)
    return {}


def nothing_bound(_: Owner) -> dict[str, Any]:
    return {}


def bound_to(subject: str) -> Callable[[Owner], dict[str, Any]]:
    def bound(owner: Owner) -> dict[str, Any]:
        owner.role(RUN)
        owner.bind(subject)
        return {}

    bound.__name__ = subject.partition(":")[0].replace(" ", "_")
    return bound


def bound_to_a_role_of_nothing(owner: Owner) -> dict[str, Any]:
    owner.role([])
    owner.bind()
    return {}


def dangling(role: str) -> Callable[[Owner], dict[str, Any]]:
    def bound(owner: Owner) -> dict[str, Any]:
        owner.bind(role=role)
        return {}

    bound.__name__ = role.replace(" ", "_")
    return bound


def missing(*names: str, **options: Any) -> Callable[[Owner], dict[str, Any]]:
    def lacking(owner: Owner) -> dict[str, Any]:
        rules = required_permissions(**{"xcom": True, **options})
        owner.role(without(*names, of=rules))
        owner.bind()
        return {"rules": rules}

    lacking.__name__ = "-".join(names).replace(" ", "_")
    return lacking


def bound_elsewhere(owner: Owner) -> dict[str, Any]:
    owner.add_namespace(f"{owner.namespace}-2")
    owner.role(RUN, namespace=f"{owner.namespace}-2")
    owner.bind(namespace=f"{owner.namespace}-2")
    return {}


def one_missing_and_bound_elsewhere(owner: Owner) -> dict[str, Any]:
    """By a ClusterRoleBinding here, and by a RoleBinding in a namespace that is no matter."""
    bound_elsewhere(owner)
    rules = [{"apiGroups": [""], "resources": ["pods", "pods/log", "events"], "verbs": ["*"]}]
    owner.cluster_bind(f"most-{owner.namespace}", TEAM, rules)
    return {}


def pods_in_group_apps(owner: Owner) -> dict[str, Any]:
    owner.rbac("Role", "runner", rules=[
        {"apiGroups": ["apps"], "resources": ["pods", "pods/log", "pods/exec", "events"], "verbs": ["*"]},
    ])  # fmt: skip
    owner.bind()
    return {}


def jobs_in_no_group(owner: Owner) -> dict[str, Any]:
    rules = required_permissions("job")
    owner.rbac("Role", "runner", rules=[
        {"apiGroups": [""], "resources": ["jobs", "pods"], "verbs": ["create", "get", "list", "delete"]},
    ])  # fmt: skip
    owner.bind()
    return {"rules": rules}


def in_a_misspelt_namespace(owner: Owner) -> dict[str, Any]:
    all_of_it(owner)
    return {"namespace": owner.namespace.replace("team", "tema")}


def namespaces_too(owner: Owner) -> dict[str, Any]:
    rules = required_permissions("create-resource", resources=("namespaces", "pods"))
    owner.role(rule for rule in rules if rule.resource == "pods")
    owner.bind()
    return {"rules": rules}


def only_namespaces(owner: Owner) -> dict[str, Any]:
    all_of_it(owner)
    return {"rules": required_permissions("create-resource", resources=("namespaces",))}


def one_missing_beside_an_account_of_pods(owner: Owner) -> dict[str, Any]:
    owner.bind("ServiceAccount default", name="a-of-pods")
    return missing("get pods/log")(owner)


def unbound_beside_an_account_of_other_pods(owner: Owner) -> dict[str, Any]:
    """It may read secrets, which nobody asked for."""
    owner.rbac("Role", "runner", rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}])
    owner.bind("ServiceAccount default")
    return {}


def jobs_that_a_deferred_task_waits_for(owner: Owner) -> dict[str, Any]:
    rules = required_permissions("job", deferrable=True, wait=True, xcom=True)
    owner.role(rules)
    owner.bind()
    return {"rules": rules}


BROKEN_ROWS = [
    # scene, groups of the entry, root cause, cause
    (nothing_bound, (), "access-entry-without-rights", "F2"),
    (nothing_bound, (TEAM,), "forbidden", None),  # who may not list bindings does not know why
    (nothing_bound, (TEAM, LOOKERS), "group-unbound", "F7"),
    (bound_to("Group temn"), (TEAM, LOOKERS), "group-unbound", "F7"),
    (bound_to("ServiceAccount default"), (TEAM, LOOKERS), "binding-other-subject", "F7"),
    (bound_to("ServiceAccount default"), (TEAM,), "forbidden", None),
    (bound_to(f"User {WHO}/of-yesterday"), (TEAM, LOOKERS), "binding-other-session", "F7"),
    (bound_to("Group system:authenticatd"), (TEAM, LOOKERS), "binding-other-subject", "F7"),
    (bound_to("Group system:masters"), (TEAM, LOOKERS), "binding-other-subject", "F7"),
    (bound_to_a_role_of_nothing, (TEAM, LOOKERS), "forbidden", "F8"),
    (dangling("Role gone"), (TEAM,), "role-ref-dangling", "F7"),
    (dangling("Role gone"), (TEAM, LOOKERS), "role-ref-dangling", "F7"),
    (dangling("ClusterRole gone"), (TEAM,), "role-ref-dangling", "F7"),
    (missing("create pods"), (TEAM,), "forbidden", "F8"),
    (missing("get pods"), (TEAM,), "forbidden", "F8"),
    (missing("list pods"), (TEAM,), "forbidden", "F8"),
    (missing("get pods/log"), (TEAM,), "forbidden", "F8"),
    (missing("get pods/log"), (TEAM, LOOKERS), "forbidden", "F8"),
    (missing("get pods/exec"), (TEAM,), "forbidden", "F8"),
    (missing("create pods/exec"), (TEAM,), "forbidden", "F8"),
    (missing("list events", provider_version="10.21.0"), (TEAM,), "forbidden", "F8"),
    (missing("get pods/log", "get pods/exec", "create pods/exec"), (TEAM, LOOKERS), "forbidden", "F8"),
    (bound_elsewhere, (TEAM, LOOKERS), "binding-elsewhere", "F9"),
    (bound_elsewhere, (TEAM,), "forbidden", None),
    (one_missing_and_bound_elsewhere, (TEAM, LOOKERS), "forbidden", "F8"),
    (pods_in_group_apps, (TEAM, LOOKERS), "role-api-group", "F8"),
    (pods_in_group_apps, (TEAM,), "forbidden", None),
    (jobs_in_no_group, (TEAM, LOOKERS), "role-api-group", "F8"),
    (in_a_misspelt_namespace, (TEAM, LOOKERS), "namespace-missing", "F9"),
    (in_a_misspelt_namespace, (TEAM,), "forbidden", None),  # 403, no 404
    (namespaces_too, (TEAM,), "cluster-scope", "F5"),
    (namespaces_too, (TEAM, LOOKERS), "cluster-scope", "F5"),
    (only_namespaces, (TEAM, LOOKERS), "cluster-scope", "F5"),
    (only_namespaces, (TEAM,), "forbidden", None),  # nobody knows whether there are rights in the namespace
    (one_missing_beside_an_account_of_pods, (TEAM, LOOKERS), "forbidden", "F8"),
    (unbound_beside_an_account_of_other_pods, (TEAM, LOOKERS), "group-unbound", "F7"),
]  # fmt: skip
WELL_ROWS = [
    # scene, groups of the entry, warnings
    (all_of_it, (TEAM,), []),
    (all_of_it, (TEAM, LOOKERS), []),
    (all_of_a_deferred_one, (TEAM,), []),
    (events_listed_instead_of_watched, (TEAM,), []),
    (by_a_cluster_role, (TEAM, LOOKERS), []),
    (in_every_namespace, (TEAM,), []),
    (bound_to("Group system:authenticated"), (TEAM,), []),
    (jobs_that_a_deferred_task_waits_for, (TEAM,), []),
    (missing("list events"), (TEAM,), [("WARN", "forbidden", "F8")]),  # silent since cncf-kubernetes 10.25.0
    (missing("delete pods"), (TEAM,), [("WARN", "forbidden", "F8")]),
    (missing("patch pods"), (TEAM, LOOKERS), [("WARN", "forbidden", "F8")]),
]  # fmt: skip


def names_of(value: Any) -> str:
    return getattr(value, "__name__", "-".join(value) if isinstance(value, tuple) else str(value))


def seen(
    owner: Owner, scene: Callable[[Owner], dict[str, Any]], groups: tuple[str, ...]
) -> tuple[dict[str, Any], Report]:
    entered(owner.cluster, groups=groups)
    wanted = {"namespace": owner.namespace, **scene(owner)}
    owner.settle()
    return wanted, asked(**wanted)


@pytest.mark.parametrize(("scene", "groups", "root", "cause"), BROKEN_ROWS, ids=names_of)
def test_one_cause_is_on_top_and_each_403_is_explained(
    owner: Owner, scene: Callable[[Owner], dict[str, Any]], groups: tuple[str, ...], root: str, cause: str | None
) -> None:
    wanted, report = seen(owner, scene, groups)

    assert on_top(report) == (root, cause, "broken"), report.to_text()
    denied = [rule for rule in report.permissions["rules"] if rule["allowed"] is False]
    assert denied
    for rule in denied:
        is_explained(owner, rule, wanted["namespace"], reason="not found" in rule["reason"])


@pytest.mark.parametrize(("scene", "groups", "warnings"), WELL_ROWS, ids=names_of)
def test_what_is_well_or_fails_nothing_is_healthy(
    owner: Owner, scene: Callable[[Owner], dict[str, Any]], groups: tuple[str, ...],
    warnings: list[tuple[str, str, str | None]],
) -> None:  # fmt: skip
    _, report = seen(owner, scene, groups)

    assert (report.root_cause, report.verdict, warned(report)) == (None, "healthy", warnings), report.to_text()


METHODS = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "delete": "DELETE", "patch": "PATCH"}


def is_explained(owner: Owner, rule: dict[str, Any], namespace: str, *, reason: bool) -> None:
    """The 403 that the rule's lack is on the wire."""
    place = "" if rule["cluster_scoped"] else f"/namespaces/{namespace}"
    resource, _, subresource = rule["resource"].partition("/")
    named = subresource or rule["verb"] in {"get", "delete", "patch"}
    group = f"/apis/{rule['api_group']}/v1" if rule["api_group"] else CORE
    path = f"{group}{place}/{resource}{'/p1' if named else ''}{f'/{subresource}' if subresource else ''}"
    method = "GET" if subresource == "exec" else METHODS[rule["verb"]]  # a websocket is opened by GET
    query = {"command": "true"} if subresource == "exec" else {"watch": "1"} if rule["verb"] == "watch" else {}
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = owner.cluster.ask(method, path, {} if method in {"POST", "PATCH"} else None, role=ASKER,
                               headers={"Content-Type": kind}, **query)  # fmt: skip

    (found,) = explained(answer)

    assert (answer.status, found.id) == (403, "forbidden"), answer.body
    denial = found.denial
    assert denial is not None
    if denial.kind == "exec-create":
        assert (rule["verb"], rule["resource"], found.cause) == ("create", "pods/exec", "F8")
        assert "create pods/exec" in found.remedy.text
        return
    verb = "get" if subresource == "exec" else rule["verb"]
    assert (denial.kind, denial.verb, denial.resource, denial.subresource, denial.api_group) == (
        "rbac", verb, resource, subresource or None, rule["api_group"])  # fmt: skip
    assert denial.namespace == (None if rule["cluster_scoped"] else namespace)
    assert found.cause == ("F7" if reason else "F5" if rule["cluster_scoped"] else None)
