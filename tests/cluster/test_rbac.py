"""What is missing, by Roles, bindings and admission as they are, and the one cause on top; what the fix says mends it.

Each test has a namespace of its own, and a role of account B whose access entry has the groups that the test gives it.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asking import ASKER, DEFERRED, RUN, asked, entered, explained, in_account_a, on_top, warned
from clusters import B, pod, until

from eks_cross_account import required_permissions
from eks_cross_account.diagnosis import _any_cluster, explain
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.provider import utc_now

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


# --- what the fix says mends it


@pytest.mark.parametrize(
    ("scene", "groups", "root"),
    [
        (nothing_bound, (TEAM,), "forbidden"),
        (nothing_bound, (TEAM, LOOKERS), "group-unbound"),
        (nothing_bound, (), "access-entry-without-rights"),
        (bound_to("ServiceAccount default"), (TEAM, LOOKERS), "binding-other-subject"),
        (bound_to(f"User {WHO}/of-yesterday"), (TEAM, LOOKERS), "binding-other-session"),
        (dangling("Role gone"), (TEAM,), "role-ref-dangling"),
        (missing("get pods/log", "list events"), (TEAM,), "forbidden"),
        (missing("create pods/exec"), (TEAM,), "forbidden"),
        (bound_elsewhere, (TEAM, LOOKERS), "binding-elsewhere"),
        (pods_in_group_apps, (TEAM, LOOKERS), "role-api-group"),
        (jobs_in_no_group, (TEAM, LOOKERS), "role-api-group"),
        (namespaces_too, (TEAM,), "cluster-scope"),
    ],
    ids=names_of,
)
def test_the_yaml_of_the_fix_mends_it(
    owner: Owner, scene: Callable[[Owner], dict[str, Any]], groups: tuple[str, ...], root: str
) -> None:
    wanted, broken = seen(owner, scene, groups)
    found = next(finding for finding in broken.findings if finding.id == broken.root_cause)
    assert found.remedy is not None
    assert found.remedy.yaml is not None

    owner.apply(found.remedy.yaml)
    if not groups:  # as the command beside it has it
        assert any("--kubernetes-groups airflow-workers" in command for command in found.remedy.commands)
        entered(owner.cluster, groups=("airflow-workers",))
    owner.settle()
    mended = asked(**wanted)

    assert (broken.root_cause, mended.verdict, warned(mended)) == (root, "healthy", []), mended.to_text()


def test_two_fixes_for_two_groups_leave_each_other_alone(owner: Owner) -> None:
    for group in (TEAM, "other"):
        _, broken = seen(owner, nothing_bound, (group,))
        found = next(finding for finding in broken.findings if finding.id == "forbidden")
        assert found.remedy is not None
        owner.apply(found.remedy.yaml or "")
        owner.settle()

    healthy = [seen(owner, nothing_bound, (group,))[1].verdict for group in (TEAM, "other")]

    assert healthy == ["healthy", "healthy"]


def test_a_fix_for_another_operator_leaves_the_first_its_rights(owner: Owner) -> None:
    job = required_permissions("job", wait=True)
    for rules in (RUN, job):
        entered(owner.cluster, groups=(TEAM,))
        broken = asked(rules, owner.namespace)
        found = next(finding for finding in broken.findings if finding.id == "forbidden")
        assert found.remedy is not None
        owner.apply(found.remedy.yaml or "")
        owner.settle()

    assert [asked(rules, owner.namespace).verdict for rules in (RUN, job)] == ["healthy", "healthy"]


# --- users that are no roles


def as_account(owner: Owner, name: str) -> Callable[..., tuple[int, dict[str, Any]]]:
    """What a client asks with the token of a ServiceAccount."""
    path = f"{CORE}/namespaces/{owner.namespace}/serviceaccounts/{name}/token"
    token = owner.cluster.admin("POST", path, {"spec": {}})["status"]["token"]

    def ask(method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = owner.cluster.ask(method, path, body, role=None, headers=sent)
        return answer.status, answer.document

    return ask


def test_the_account_of_a_pod_of_airflow_is_given_its_own_rights(owner: Owner) -> None:
    owner.make(f"{CORE}/namespaces/{owner.namespace}/serviceaccounts", {"metadata": {"name": "airflow-worker"}})
    wanted, ask = Wanted(RUN, owner.namespace), as_account(owner, "airflow-worker")

    broken = _any_cluster.judge_rights("here", wanted, ask, timeout=20)
    (found,) = (finding for finding in broken.findings if finding.state == "FAIL")
    assert found.remedy is not None
    owner.apply(found.remedy.yaml or "")
    owner.settle()
    mended = _any_cluster.judge_rights("here", wanted, ask, timeout=20)

    assert (found.id, warned(mended)) == ("forbidden", []), mended.to_text()


def test_who_sends_no_token_is_nobody_to_the_health_paths(owner: Owner) -> None:
    """As EKS has it since 1.32; before, and on other clusters, so is every request without a token."""
    answer = owner.cluster.ask("POST", "/healthz", {}, role=None)
    event = next(event for event in owner.cluster.audit() if event["requestURI"] == "/healthz")

    (found,) = explained(answer)
    (of_event,) = explain(json.dumps(event), now=utc_now())
    assert answer.document["message"] == 'forbidden: User "system:anonymous" cannot post path "/healthz"'
    assert (answer.status, found.id, found.cause) == (403, "anonymous", "F1")
    assert (of_event.id, of_event.cause, of_event.identity) == ("anonymous", "F1", "system:anonymous")


# --- granting more than one has

ROLES = f"/apis/{RBAC}/v1/namespaces/{{}}/roles"
SECRETS = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]


def test_a_role_of_more_than_its_maker_has_is_an_escalation(owner: Owner) -> None:
    manage = [{"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create"]}]
    owner.rbac("Role", "runner", rules=manage)
    owner.bind()
    owner.rbac("Role", "reader", rules=SECRETS)
    entered(owner.cluster, groups=(TEAM,))
    owner.settle()
    path = ROLES.format(owner.namespace)
    body = {"kind": "RoleBinding", "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "Group", "name": TEAM, "apiGroup": RBAC}], "metadata": {"name": "mine"}}  # fmt: skip

    for answer in (
        owner.cluster.ask("POST", path, {"metadata": {"name": "more"}, "rules": SECRETS}, role=ASKER,
                          headers={"Content-Type": "application/json"}),
        owner.cluster.ask("POST", path.replace("/roles", "/rolebindings"), body, role=ASKER,
                          headers={"Content-Type": "application/json"}),
    ):  # fmt: skip
        (found,) = explained(answer)
        assert (answer.status, found.id, found.cause) == (403, "forbidden", "F12"), answer.body
        assert found.identity.startswith(WHO)
        assert found.denial is not None
        assert found.denial.kind == "escalation"
        assert "secrets" in str(found.denial.reason)


# --- admission


def admitted(**spec: Any) -> dict[str, Any]:
    document = pod("p1")
    document["spec"] |= spec
    return document


def resources(**limits: str) -> list[dict[str, Any]]:
    return [{"name": "base", "image": "busybox", "resources": {"limits": limits, "requests": limits}}]


def as_it_is(_: Owner) -> dict[str, Any]:
    return admitted()


def without_its_account(_: Owner) -> dict[str, Any]:
    return admitted(serviceAccountName="nobody")


def privileged_where_that_is_restricted(owner: Owner) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    owner.cluster.admin("PATCH", f"{CORE}/namespaces/{owner.namespace}", {"metadata": {"labels": labels}},
                        kind="application/merge-patch+json")  # fmt: skip
    return admitted(hostNetwork=True)


def over_the_quota(owner: Owner) -> dict[str, Any]:
    path = f"{CORE}/namespaces/{owner.namespace}/resourcequotas"
    hard = {"pods": "1"}
    made = owner.make(path, {"metadata": {"name": "few"}, "spec": {"hard": hard}})
    owner.cluster.admin("PUT", f"{path}/few/status", {**made, "status": {"hard": hard, "used": {"pods": "1"}}})
    return admitted()


def without_the_limits_that_a_quota_wants(owner: Owner) -> dict[str, Any]:
    path = f"{CORE}/namespaces/{owner.namespace}/resourcequotas"
    hard = {"limits.cpu": "4"}
    made = owner.make(path, {"metadata": {"name": "cpu"}, "spec": {"hard": hard}})
    owner.cluster.admin("PUT", f"{path}/cpu/status", {**made, "status": {"hard": hard, "used": {"limits.cpu": "0"}}})
    return admitted()


def over_a_limit(owner: Owner) -> dict[str, Any]:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}}]
    owner.make(f"{CORE}/namespaces/{owner.namespace}/limitranges",
               {"metadata": {"name": "small"}, "spec": {"limits": limits}})  # fmt: skip
    return admitted(containers=resources(memory="2Gi", cpu="1"))


def of_a_class_that_is_not_there(_: Owner) -> dict[str, Any]:
    return admitted(priorityClassName="urgent")


def where_all_is_ending(owner: Owner) -> dict[str, Any]:
    owner.cluster.admin("DELETE", f"{CORE}/namespaces/{owner.namespace}", accept=(200, 202))
    return admitted()


def against_a_policy(owner: Owner) -> dict[str, Any]:
    base, name = "/apis/admissionregistration.k8s.io/v1", f"no-{owner.namespace}"
    owner.make(f"{base}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": owner.namespace}},
        },
        "validations": [{"expression": "'owner' in object.metadata.labels", "message": "every pod has an owner"}],
    }})  # fmt: skip
    owner.make(f"{base}/validatingadmissionpolicybindings",
               {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}})  # fmt: skip
    return admitted()


ADMISSION_ROWS = [
    # scene, status, kind, a word of the fix
    (without_its_account, 403, "service-account", "ServiceAccount"),
    (privileged_where_that_is_restricted, 403, "pod-security", "PodSecurity"),
    (over_the_quota, 403, "quota", "ResourceQuota"),
    (without_the_limits_that_a_quota_wants, 403, "quota", "ResourceQuota"),
    (over_a_limit, 403, "limit-range", "LimitRange"),
    (of_a_class_that_is_not_there, 403, "priority-class", "PriorityClass"),
    (where_all_is_ending, 403, "namespace-terminating", "being deleted"),
    (against_a_policy, 422, "policy", "ValidatingAdmissionPolicy"),
]


@pytest.mark.parametrize(("scene", "status", "kind", "word"), ADMISSION_ROWS, ids=names_of)
def test_a_pod_that_would_be_refused_is_no_matter_of_rights(
    owner: Owner, scene: Callable[[Owner], dict[str, Any]], status: int, kind: str, word: str
) -> None:
    path = f"{CORE}/namespaces/{owner.namespace}/pods?dryRun=All"
    all_of_it(owner)
    owner.settle()
    entered(owner.cluster, groups=(TEAM,))
    tried = scene(owner)
    until(lambda: owner.cluster.admin("POST", path, tried, accept=(201, 403, 422))["kind"] == "Status")

    report = asked(namespace=owner.namespace, pod=tried)
    answer = owner.cluster.ask("POST", path, tried, role=ASKER, headers={"Content-Type": "application/json"})

    assert on_top(report) == ("admission-denied", "F13", "broken"), report.to_text()
    (told,) = (finding for finding in report.findings if finding.state == "FAIL")
    assert word in str(told.remedy and told.remedy.text)
    (found,) = explained(answer)
    assert (answer.status, found.id, found.cause) == (status, "admission-denied", "F13"), answer.body
    assert found.denial is not None
    assert found.denial.kind == kind


def test_a_pod_that_would_be_taken_is_well_and_is_not_made(owner: Owner) -> None:
    all_of_it(owner)
    owner.settle()
    entered(owner.cluster, groups=(TEAM,))

    report = asked(namespace=owner.namespace, pod=as_it_is(owner))

    assert (report.verdict, warned(report)) == ("healthy", []), report.to_text()
    assert ("admission", "PASS") in [(finding.id, finding.state) for finding in report.findings]
    assert owner.cluster.admin("GET", f"{CORE}/namespaces/{owner.namespace}/pods")["items"] == []


def test_a_pod_of_a_name_that_is_taken_would_be_taken(owner: Owner) -> None:
    all_of_it(owner)
    owner.settle()
    entered(owner.cluster, groups=(TEAM,))
    owner.make(f"{CORE}/namespaces/{owner.namespace}/pods", admitted())
    owner.made[-1] += "?gracePeriodSeconds=0"

    report = asked(namespace=owner.namespace, pod=admitted())

    assert (report.verdict, warned(report)) == ("healthy", []), report.to_text()


def test_a_pod_is_not_judged_by_who_may_make_none(owner: Owner) -> None:
    wanted, _ = seen(owner, missing("create pods"), (TEAM,))

    report = asked(**wanted, pod=admitted(serviceAccountName="nobody"))

    assert on_top(report) == ("forbidden", "F8", "broken"), report.to_text()
    assert ("admission", "SKIP") in [(finding.id, finding.state) for finding in report.findings]


def test_a_pod_in_no_namespace_is_a_matter_of_the_namespace_alone(owner: Owner) -> None:
    owner.cluster_bind(f"all-{owner.namespace}", TEAM, [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    entered(owner.cluster, groups=(TEAM,))
    owner.settle()

    report = asked(namespace=owner.namespace.replace("team", "tema"), pod=admitted())

    assert [found[:2] for found in warned(report)] == [("FAIL", "namespace-missing")], report.to_text()
    assert owner.namespace in report.findings[[each.id for each in report.findings].index("namespace-missing")].summary
