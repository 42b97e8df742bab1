"""Why a right is missing, as far as it shows: evidence in, findings out. Each branch, and a neighbour that it is not.

The same on clusters: tests/sandbox/test_rights.py, tests/cluster/test_rbac.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from test_diagnosis import CLUSTER, GOOD, ROLE, SESSION_ARN, USER
from tokens import NOW

from eks_cross_account import required_permissions
from eks_cross_account.cluster import AssociatedPolicy, DescribedEntry
from eks_cross_account.diagnosis._mapping_probes import EntryEvidence, NotChecked
from eks_cross_account.diagnosis._permission_checks import check_permissions
from eks_cross_account.diagnosis._permission_probes import (
    Answer,
    Binding,
    DryRun,
    PermissionsEvidence,
    Subject,
    Wanted,
)
from eks_cross_account.diagnosis._reach import ReviewEvidence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eks_cross_account.diagnosis import Finding
    from eks_cross_account.diagnosis.evidence import Evidence

RUN = required_permissions(xcom=True)
NAMESPACES_TOO = required_permissions("create-resource", resources=("namespaces", "pods"))
ONLY_NAMESPACES = required_permissions("create-resource", resources=("namespaces",))
NOTHING: tuple[str, ...] = ()
BUT_LOGS = tuple(f"{rule.verb} {rule.resource}" for rule in RUN if rule.resource != "pods/log")
BUT_DELETE = tuple(f"{rule.verb} {rule.resource}" for rule in RUN if rule.verb != "delete")
ALL = tuple(f"{rule.verb} {rule.resource}" for rule in RUN)
GROUP = Subject("Group", "airflow-workers")
ACCOUNT = Subject("ServiceAccount", "airflow-worker", "data")
MINE = Binding("mine", "data", "Role", "runner", (GROUP,))
PODS = {"apiGroups": [""], "resources": ["pods", "pods/log", "pods/exec", "events"], "verbs": ["*"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
GONE = 'RBAC: role.rbac.authorization.k8s.io "gone" not found'


def rights(
    allowed: Iterable[str] = NOTHING, *, rules: Any = RUN, reason: str = "", asked: str = "data", **seen: Any
) -> dict[str, Any]:
    """Evidence of the rules, of which these are allowed."""
    wanted = Wanted(rules, asked)
    held = set(allowed)
    answers = tuple(
        Answer(rule, allowed=True)
        if f"{rule.verb} {rule.resource}" in held
        else Answer(rule, allowed=False, reason=reason)
        for rule in rules
    )
    return {"wanted": wanted, "permissions": PermissionsEvidence(wanted, answers, **seen)}


def bound(*bindings: Binding, roles: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """As one sees it who may list them, everywhere."""
    seen = {"bindings": bindings, "everywhere": True, "roles": roles or {}, "namespace": "there"}
    return {**seen, **more}


def to(*subjects: Subject, name: str = "b", namespace: str = "data", role: str = "runner") -> Binding:
    return Binding(name, namespace, "Role", role, subjects)


def entry(*policies: tuple[str, tuple[str, ...]], groups: tuple[str, ...] = ()) -> dict[str, Any]:
    found = DescribedEntry(ROLE, "u", groups, "STANDARD", NOW, NOW)
    made = tuple(AssociatedPolicy(f"arn:aws:eks::aws:cluster-access-policy/{name}", scope) for name, scope in policies)
    return {"entry": EntryEvidence(ROLE, found, policies=made)}


def as_user(username: str, *groups: str) -> dict[str, Any]:
    return {"review": ReviewEvidence(201, user=replace(USER, username=username, groups=groups))}


def findings(changes: dict[str, Any]) -> list[Finding]:
    evidence: Evidence = replace(GOOD, **changes)
    return list(check_permissions(evidence))


def told(changes: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(found.id, found.state, found.cause) for found in findings(changes) if found.consequence_of is None]


VIEW, EDIT, ADMIN = "AmazonEKSViewPolicy", "AmazonEKSEditPolicy", "AmazonEKSClusterAdminPolicy"
LISTED = {"runner": (PODS,)}
F7, F8, NO_CAUSE = ("forbidden", "FAIL", "F7"), ("forbidden", "FAIL", "F8"), ("forbidden", "FAIL", None)
BRANCHES = [
    # what it is, evidence, what is on top, a neighbour, what is on top of that
    ("allowed", rights(ALL), ("permissions", "PASS", None), rights(BUT_LOGS), F8),
    ("only what is silent", rights(BUT_DELETE), ("forbidden", "WARN", "F8"), rights(BUT_LOGS), F8),
    ("nothing, and nobody could look", rights(), NO_CAUSE, rights(bindings=(MINE,), roles={}, namespace="there"),
     ("role-ref-dangling", "FAIL", "F7")),
    ("entry without rights", {**rights(), **entry()}, ("access-entry-without-rights", "FAIL", "F2"),
     {**rights(BUT_LOGS), **entry()}, F8),
    ("entry without rights in mode CONFIG_MAP, which leaves it out of account",
     {**rights(), **entry(), "cluster": replace(CLUSTER, authentication_mode="CONFIG_MAP")}, NO_CAUSE,
     {**rights(), **entry(), "cluster": replace(CLUSTER, authentication_mode="API")},
     ("access-entry-without-rights", "FAIL", "F2")),
    ("policy of another namespace in mode CONFIG_MAP",
     {**rights(), **entry((EDIT, ("x",))), "cluster": replace(CLUSTER, authentication_mode="CONFIG_MAP")}, NO_CAUSE,
     {**rights(), **entry((EDIT, ("x",)))}, ("access-policy-scope", "FAIL", "F4")),
    ("entry with a group", {**rights(), **entry(groups=("g",))}, NO_CAUSE, {**rights(), **entry()},
     ("access-entry-without-rights", "FAIL", "F2")),
    ("policies that could not be listed",
     {**rights(), "entry": replace(entry()["entry"], policies=NotChecked("eks:ListAssociatedAccessPolicies"))},
     NO_CAUSE, {**rights(), **entry()}, ("access-entry-without-rights", "FAIL", "F2")),
    ("policy of another namespace", {**rights(), **entry((EDIT, ("staging",)))}, ("access-policy-scope", "FAIL", "F4"),
     {**rights(), **entry((EDIT, ("da*",)))}, ("access-policy-settling", "FAIL", "F4")),
    ("policy of another namespace, and a group of this one that lacks a rule",
     {**rights(BUT_LOGS), **entry((EDIT, ("staging",)), groups=("g",))}, F8,
     {**rights(), **entry((EDIT, ("staging",)), groups=("g",))}, ("access-policy-scope", "FAIL", "F4")),
    ("policy that is too weak", {**rights(), **entry((VIEW, ("data",)))}, ("access-policy-weak", "FAIL", "F6"),
     {**rights(BUT_LOGS), **entry((VIEW, ("data",)))}, ("access-policy-settling", "FAIL", "F4")),
    ("two policies of which one is enough", {**rights(), **entry((VIEW, ("data",)), (EDIT, ("data",)))},
     ("access-policy-settling", "FAIL", "F4"), {**rights(), **entry((VIEW, ("data",)), (EDIT, ("x",)))},
     ("access-policy-weak", "FAIL", "F6")),
    ("a policy that is not known", {**rights(), **entry(("AmazonEKSAutoNodePolicy", ()))}, NO_CAUSE,
     {**rights(), **entry(("AmazonEKSAutoNodePolicy", ()), (VIEW, ()))}, ("access-policy-weak", "FAIL", "F6")),
    ("cluster scope", rights(["create pods"], rules=NAMESPACES_TOO), ("cluster-scope", "FAIL", "F5"),
     rights(["create namespaces"], rules=NAMESPACES_TOO), F8),
    ("cluster scope alone, bound in the namespace", rights(rules=ONLY_NAMESPACES, **bound(MINE, roles=LISTED)),
     ("cluster-scope", "FAIL", "F5"), rights(rules=ONLY_NAMESPACES), NO_CAUSE),
    ("cluster scope alone, with a policy of the namespace",
     {**rights(rules=ONLY_NAMESPACES), **entry((ADMIN, ("data",)))}, ("cluster-scope", "FAIL", "F5"),
     {**rights(rules=ONLY_NAMESPACES), **entry((ADMIN, ()))},
     ("access-policy-settling", "FAIL", "F4")),
    ("cluster scope, with a policy of the whole cluster",
     {**rights(["create pods"], rules=NAMESPACES_TOO), **entry((EDIT, ()))}, ("access-policy-weak", "FAIL", "F6"),
     {**rights(["create pods"], rules=NAMESPACES_TOO), **entry((EDIT, ("data",)))}, ("cluster-scope", "FAIL", "F5")),
    ("dangling, says the authorizer", rights(reason=GONE), ("role-ref-dangling", "FAIL", "F7"),
     rights(reason="no"), NO_CAUSE),
    ("dangling, by the lists", rights(**bound(MINE)), ("role-ref-dangling", "FAIL", "F7"),
     rights(**bound(MINE, roles={"runner": ()})), F8),
    ("dangling, but nobody may list roles", rights(bindings=(MINE,), roles=NotChecked("x"), namespace="there"), F8,
     rights(**bound(MINE)), ("role-ref-dangling", "FAIL", "F7")),
    ("a ClusterRole that nobody looked at", rights(**bound(replace(MINE, role_kind="ClusterRole"))), F8,
     rights(**bound(MINE)), ("role-ref-dangling", "FAIL", "F7")),
    ("another API group", rights(**bound(MINE, roles={"runner": ({**PODS, "apiGroups": ["apps"]},)})),
     ("role-api-group", "FAIL", "F8"), rights(**bound(MINE, roles={"runner": ({**PODS, "apiGroups": ["*"]},)})), F8),
    ("another API group, and another verb",
     rights(**bound(MINE, roles={"runner": ({**PODS, "apiGroups": ["apps"], "verbs": ["update"]},)})), F8,
     rights(**bound(MINE, roles={"runner": ({**PODS, "apiGroups": ["apps"], "verbs": ["list"]},)})),
     ("role-api-group", "FAIL", "F8")),
    ("a rule that is none", rights(**bound(MINE, roles={"runner": ({"apiGroups": 1, "verbs": None},)})), F8,
     rights(**bound(MINE)), ("role-ref-dangling", "FAIL", "F7")),
    ("bound elsewhere", rights(**bound(replace(MINE, namespace="staging"))), ("binding-elsewhere", "FAIL", "F9"),
     rights(BUT_LOGS, **bound(replace(MINE, namespace="staging"))), F8),
    ("everybody is bound elsewhere",
     {**rights(**bound(to(Subject("Group", "system:authenticated"), namespace="kube-x"))),
      **as_user("u", "team", "system:authenticated")}, ("group-unbound", "FAIL", "F7"),
     {**rights(**bound(to(Subject("Group", "team"), namespace="kube-x"))),
      **as_user("u", "team", "system:authenticated")}, ("binding-elsewhere", "FAIL", "F9")),
    ("another session", {**rights(**bound(to(Subject("User", SESSION_ARN.replace("nightly", "old"))), roles=LISTED)),
                         **as_user(SESSION_ARN, "g")}, ("binding-other-session", "FAIL", "F7"),
     {**rights(**bound(to(Subject("User", f"{SESSION_ARN}/x")), roles=LISTED)), **as_user(SESSION_ARN, "g")},
     ("group-unbound", "FAIL", "F7")),
    ("the pod's account", rights(**bound(to(ACCOUNT), roles=LISTED)), ("binding-other-subject", "FAIL", "F7"),
     rights(**bound(to(ACCOUNT), roles={"runner": (SECRETS,)})), ("group-unbound", "FAIL", "F7")),
    ("the pod's account, and one's own group that lacks a rule",
     rights(BUT_LOGS, **bound(to(ACCOUNT), MINE, roles={"runner": (SECRETS,)})), F8,
     rights(**bound(to(ACCOUNT, GROUP), roles={"runner": (SECRETS,)})), F8),
    ("an account, asked by an account", {**rights(**bound(to(ACCOUNT), roles=LISTED)),
                                         **as_user("system:serviceaccount:data:other", "system:serviceaccounts")},
     ("group-unbound", "FAIL", "F7"), rights(**bound(to(ACCOUNT), roles=LISTED)),
     ("binding-other-subject", "FAIL", "F7")),
    ("one's own account", {**rights(**bound(to(ACCOUNT), roles={"runner": (SECRETS,)})),
                           **as_user("system:serviceaccount:data:airflow-worker")}, F8,
     {**rights(**bound(to(replace(ACCOUNT, namespace="x")), roles={"runner": (SECRETS,)})),
      **as_user("system:serviceaccount:data:airflow-worker")}, ("group-unbound", "FAIL", "F7")),
    ("a system group, misspelt", rights(**bound(to(Subject("Group", "system:authenticatd")), roles=LISTED)),
     ("binding-other-subject", "FAIL", "F7"),
     rights(**bound(to(Subject("Group", "airflow-wrkers")), roles=LISTED)), ("group-unbound", "FAIL", "F7")),
    ("the session before the account",
     {**rights(**bound(to(ACCOUNT), to(Subject("User", SESSION_ARN.replace("nightly", "old"))), roles=LISTED)),
      **as_user(SESSION_ARN)}, ("binding-other-session", "FAIL", "F7"),
     {**rights(**bound(to(ACCOUNT), roles=LISTED)), **as_user(SESSION_ARN)},
     ("binding-other-subject", "FAIL", "F7")),
    ("unbound", rights(**bound()), ("group-unbound", "FAIL", "F7"), rights(BUT_LOGS, **bound()), F8),
    ("unbound, and in a group that is bound by the cluster",
     {**rights(**bound(Binding("c", "", "ClusterRole", "look", (Subject("Group", "look"),)))),
      **as_user("u", "look", "team")}, ("group-unbound", "FAIL", "F7"),
     {**rights(**bound(Binding("c", "", "ClusterRole", "look", (Subject("Group", "look"),)))), **as_user("u", "look")},
     NO_CAUSE),
    ("no such namespace", rights(**bound(namespace="missing")), ("namespace-missing", "FAIL", "F9"),
     rights(**bound()), ("group-unbound", "FAIL", "F7")),
    ("an unknown namespace", rights(), NO_CAUSE,
     rights(**bound(namespace="missing")), ("namespace-missing", "FAIL", "F9")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected", "neighbour", "there"), [row[1:] for row in BRANCHES], ids=[row[0] for row in BRANCHES]
)
def test_the_cause_that_shows_is_told_and_no_other(
    changes: dict[str, Any], expected: tuple[str, str, str | None], neighbour: dict[str, Any],
    there: tuple[str, str, str | None],
) -> None:  # fmt: skip
    assert told(changes) == [expected]
    assert told(neighbour) == [there]


@pytest.mark.parametrize("changes", [row[1] for row in BRANCHES], ids=[row[0] for row in BRANCHES])
def test_what_is_red_has_a_remedy_whose_yaml_is_whole(changes: dict[str, Any]) -> None:
    for found in findings(changes):
        if found.state == "FAIL" and found.consequence_of is None:
            assert found.remedy is not None
            if found.remedy.yaml is not None:
                kinds = [document["kind"] for document in yaml.safe_load_all(found.remedy.yaml)]
                assert set(kinds) <= {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
                assert len(kinds) in {2, 4}


def test_nothing_is_said_where_nothing_is_wanted() -> None:
    assert findings({}) == []


def test_nobody_is_asked_before_somebody_is_signed_in() -> None:
    assert told({"wanted": Wanted(RUN, "data")}) == [("permissions", "SKIP", None)]


def test_the_symptom_names_its_cause() -> None:
    why, symptom = findings(rights(**bound()))

    assert (why.id, symptom.id, symptom.consequence_of) == ("group-unbound", "forbidden", "group-unbound")
    assert [name for name, _ in symptom.evidence][:2] == ["create pods", "get pods"]


def test_what_nobody_could_look_at_is_said_where_no_cause_shows() -> None:
    nobody = NotChecked("list rolebindings in namespace data")
    (found,) = findings({**rights(bindings=nobody), "entry": NotChecked("eks:DescribeAccessEntry")})

    assert [value for name, value in found.evidence if name == "not checked"] == [
        "the policies of the access entry: needs eks:DescribeAccessEntry",
        "who is bound to what: needs list rolebindings in namespace data",
    ]


def test_a_silent_lack_is_a_warning_with_its_why() -> None:
    seen = findings({**rights(BUT_DELETE), **entry((VIEW, ("data",)))})

    assert [(found.id, found.state) for found in seen] == [("access-policy-weak", "WARN"), ("forbidden", "WARN")]


@pytest.mark.parametrize(
    ("namespace", "hint"),
    [("dta", ": data?"), ("zzz", ""), ("kube-sistem", "")],
)
def test_a_namespace_that_is_close_is_offered(namespace: str, hint: str) -> None:
    seen = rights(asked=namespace, **{**bound(), "namespaces": ("data", "data-2", "staging", "kube-system")})
    missing = replace(seen["permissions"], namespace="missing")

    first = findings({**seen, "permissions": missing})[0]

    assert first.summary == f"there is no namespace {namespace}{hint}"


def test_rules_without_an_answer_are_no_verdict() -> None:
    wanted = Wanted(RUN, "data")
    answers = tuple(Answer(rule, None, problem="429: busy") for rule in RUN)

    (found,) = findings({"wanted": wanted, "permissions": PermissionsEvidence(wanted, answers)})

    assert (found.id, found.state, found.retry) == ("permissions", "UNKNOWN", True)
    assert found.summary == f"{len(RUN)} of {len(RUN)} rules got no answer in namespace data: 429: busy"


@pytest.mark.parametrize(
    "namespace", ["", "a b", "Data", "../x", "data/pods", "data?x=1", "d\x1b[31m", "\xe9", "a" * 64]
)
def test_a_namespace_that_there_cannot_be_is_not_asked_about(namespace: str) -> None:
    with pytest.raises(ValueError, match="a namespace is a DNS label") as refused:
        Wanted(RUN, namespace)

    assert str(refused.value).isprintable()


def test_no_rules_are_no_success() -> None:
    assert told(rights(rules=())) == [("permissions", "UNKNOWN", None)]


# --- a pod, tried with dryRun=All


POD = 'pods "p" is forbidden: '


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (201, "", ("admission", "PASS", None)),
        (409, 'pods "p" already exists', ("admission", "PASS", None)),  # said after admission
        (409, "Operation cannot be fulfilled on resourcequotas", ("admission-denied", "FAIL", "F13")),
        (403, f"{POD}exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
         ("admission-denied", "FAIL", "F13")),
        (403, f"{POD}a plugin that nobody knows", ("admission-denied", "FAIL", "F13")),
        (403, 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "data"',
         ("admission", "SKIP", None)),
        (422, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", ("admission-denied", "FAIL", "F13")),
        (500, "Internal error occurred: failed calling webhook", ("admission-denied", "FAIL", "F13")),
        (400, 'admission webhook "x" does not support dry run', ("admission", "UNKNOWN", None)),
        (0, "timed out", ("admission", "UNKNOWN", None)),
        (401, "Unauthorized", ("admission", "UNKNOWN", None)),
        (429, "busy", ("admission", "UNKNOWN", None)),
        (503, "apiserver is shutting down", ("admission", "UNKNOWN", None)),
    ],
)  # fmt: skip
def test_a_pod_that_was_tried_is_judged_by_the_answer(
    status: int, message: str, expected: tuple[str, str, str | None]
) -> None:
    assert told(rights(ALL, dry_run=DryRun(status, message))) == [("permissions", "PASS", None), expected]


def test_a_pod_that_is_refused_at_the_start_may_be_tried_again() -> None:
    found = findings(rights(ALL, dry_run=DryRun(403, f"{POD}not yet ready to handle request")))[-1]

    assert (found.id, found.retry) == ("admission-denied", True)


def test_a_pod_in_no_namespace_was_not_tried() -> None:
    seen = findings(rights(ALL, **bound(namespace="missing"), dry_run=DryRun(404, 'namespaces "data" not found')))

    assert [(found.id, found.state) for found in seen] == [
        ("namespace-missing", "FAIL"), ("permissions", "PASS"), ("admission", "SKIP"),
    ]  # fmt: skip


# --- the remedy fits the caller


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        (as_user("u", "team", "system:authenticated"), {"kind": "Group", "name": "team"}),
        (as_user("u", "system:authenticated"), {"kind": "Group", "name": "airflow-workers"}),
    ],
)
@pytest.mark.parametrize("cluster", [GOOD.cluster, None], ids=["EKS", "another"])
def test_the_role_is_bound_to_a_group_of_the_caller(
    user: dict[str, Any], subject: dict[str, str], cluster: Any
) -> None:
    (found,) = findings({**rights(), **user, "cluster": cluster})

    assert bound_in(found) == [{"apiGroup": "rbac.authorization.k8s.io", **subject}]


def test_a_service_account_of_another_cluster_is_bound_itself() -> None:
    (found,) = findings({**rights(), **as_user("system:serviceaccount:airflow:worker"), "cluster": None})

    assert bound_in(found) == [{"kind": "ServiceAccount", "name": "worker", "namespace": "airflow"}]


def bound_in(found: Finding) -> Any:
    assert found.remedy is not None
    return list(yaml.safe_load_all(found.remedy.yaml or ""))[1]["subjects"]


def test_two_groups_get_two_roles() -> None:
    names = set()
    for group in ("a", "b"):
        (found,) = findings({**rights(), **as_user("u", group)})
        assert found.remedy is not None
        names.add(next(yaml.safe_load_all(found.remedy.yaml or ""))["metadata"]["name"])

    assert len(names) == 2
