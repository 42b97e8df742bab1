"""Asks the API server what a caller may do, rule by rule, and what stands behind it. Touches nothing else.

Each question is a SelfSubjectAccessReview, as the caller. Not SelfSubjectRulesReview and not impersonation (``kubectl
auth can-i --list``, ``--as``): neither knows EKS access policies (EKS user guide, "Associate access policies").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from eks_cross_account._printable import printable
from eks_cross_account.diagnosis._mapping_probes import NotChecked
from eks_cross_account.diagnosis.manifests import is_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eks_cross_account.diagnosis._budget import Budget
    from eks_cross_account.diagnosis._reach import Ask
    from eks_cross_account.diagnosis.needs import Rule

SIDE_BY_SIDE = 6  # questions at once: each has a connection of its own
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_OK, _CREATED, _FORBIDDEN, _NOT_FOUND = 200, 201, 403, 404


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants to do. ``pod``: one that it would create, to be asked about with dryRun=All.

    Raises ValueError for a namespace that there cannot be: it goes into paths.
    """

    rules: tuple[Rule, ...]
    namespace: str
    title: str = "operator pod"
    pod: Mapping[str, Any] | None = field(default=None, repr=False)
    provider: str = ""  # the release that the rules are of, for a page; "" for the newest

    def __post_init__(self) -> None:
        if not is_namespace(self.namespace):
            raise ValueError(f"{printable(self.namespace)}: a namespace is a DNS label")


@dataclass(frozen=True, slots=True)
class Answer:
    """Of the authorizer. ``allowed``: None where nobody said; ``problem`` is why. ``reason``: the authorizer's own."""

    rule: Rule
    allowed: bool | None
    reason: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Of a binding. ``namespace``: of a service account, "" otherwise."""

    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """A RoleBinding, or a ClusterRoleBinding (``namespace`` is "")."""

    name: str
    namespace: str
    role_kind: str
    role: str
    subjects: tuple[Subject, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRun:
    """What came of creating the pod with dryRun=All. ``message``: of the Status, or why there is no answer."""

    status: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class PermissionsEvidence:
    """The answers, and what stands behind a denial as far as the caller may see it.

    ``namespace``: whether it is there. ``namespaces``: all of them, None where they may not be listed. ``bindings``:
    of the namespace, or of all where ``everywhere``. ``roles``: (kind, name) -> rules of the Roles of the namespace.
    Bindings and roles are looked at only where something is denied.
    """

    wanted: Wanted
    answers: tuple[Answer, ...]
    namespace: Literal["there", "missing", "unknown"] = "unknown"
    namespaces: tuple[str, ...] | None = None
    bindings: tuple[Binding, ...] | NotChecked = field(default_factory=NotChecked)
    everywhere: bool = False
    roles: Mapping[str, tuple[Mapping[str, Any], ...]] | NotChecked = field(default_factory=NotChecked)
    dry_run: DryRun | None = None


def ask_permissions(wanted: Wanted, ask: Ask, budget: Budget) -> PermissionsEvidence:
    """One question per rule, side by side; where one is denied, what is there to be seen of the reason."""
    answers = tuple(_reviewed(wanted, ask, budget))
    if all(answer.allowed is None for answer in answers) and answers:
        return PermissionsEvidence(wanted, answers)
    seen: dict[str, Any] = {} if budget.is_over else _namespace(wanted.namespace, ask)
    if any(answer.allowed is False for answer in answers) and not budget.is_over:
        bound, roles = budget.side_by_side(lambda: _bound(wanted.namespace, ask), lambda: _roles(wanted.namespace, ask))
        seen |= {**bound, "roles": roles}
    if wanted.pod is not None and not budget.is_over:
        seen["dry_run"] = _dry_run(wanted.pod, wanted.namespace, ask)
    return PermissionsEvidence(wanted, answers, **seen)


def _reviewed(wanted: Wanted, ask: Ask, budget: Budget) -> Iterator[Answer]:
    rules = list(wanted.rules)
    while rules:
        now, rules = rules[:SIDE_BY_SIDE], rules[SIDE_BY_SIDE:]
        if budget.is_over:
            yield from (Answer(rule, None, problem="no time was left (--timeout)") for rule in now)
            continue
        yield from budget.side_by_side(*(_question(rule, wanted.namespace, ask) for rule in now))


def _question(rule: Rule, namespace: str, ask: Ask) -> Callable[[], Answer]:
    def put() -> Answer:
        answer = _asked(rule, rule.verb, namespace, ask)
        if answer.allowed is False and rule.instead and _asked(rule, rule.instead, namespace, ask).allowed:
            return Answer(rule, allowed=True, reason=f"{rule.instead} is allowed, which serves")
        return answer

    return put


def _asked(rule: Rule, verb: str, namespace: str, ask: Ask) -> Answer:
    resource, _, subresource = rule.resource.partition("/")
    attributes = {
        "namespace": "" if rule.cluster_scoped else namespace,
        "verb": verb,
        "group": rule.api_group,
        "resource": resource,
        "subresource": subresource,
    }
    document = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }
    status, answer = ask("POST", _REVIEW, document)
    said = answer.get("status")
    if status not in {_OK, _CREATED} or not isinstance(said, dict) or not isinstance(said.get("allowed"), bool):
        return Answer(rule, None, problem=f"{status}: {_message(answer)}" if status else _message(answer))
    return Answer(rule, said["allowed"], reason=_text(said.get("reason")))


def _namespace(namespace: str, ask: Ask) -> dict[str, Any]:
    """Whether it is there. A 403 says nothing, the caller may only not be allowed to look."""
    status, answer = ask("GET", f"/api/v1/namespaces/{namespace}", None)
    if status == _OK:
        return {"namespace": "there"}
    listed = _items(ask, "/api/v1/namespaces")
    names = None if listed is None else tuple(_text(_metadata(item).get("name")) for item in listed)
    missing = (status == _NOT_FOUND and _is_about_namespaces(answer)) or (names is not None and namespace not in names)
    return {"namespace": "missing" if missing else "unknown" if names is None else "there", "namespaces": names}


def _is_about_namespaces(answer: Mapping[str, Any]) -> bool:
    """A 404 of this one; a server without namespaces (the sandbox's, say) means the path."""
    details = answer.get("details")
    return isinstance(details, dict) and details.get("kind") == "namespaces"


def _bound(namespace: str, ask: Ask) -> dict[str, Any]:
    """The bindings that may be listed: of all namespaces, else of this one; and the cluster's, where that goes too."""
    everywhere = _items(ask, f"{_RBAC}/rolebindings")
    here = everywhere if everywhere is not None else _items(ask, f"{_RBAC}/namespaces/{namespace}/rolebindings")
    if here is None:
        return {"bindings": NotChecked(f"list rolebindings in namespace {namespace}")}
    found = [*here, *(_items(ask, f"{_RBAC}/clusterrolebindings") or [])]
    return {"bindings": tuple(map(_binding, found)), "everywhere": everywhere is not None}


def _roles(namespace: str, ask: Ask) -> Mapping[str, tuple[Mapping[str, Any], ...]] | NotChecked:
    items = _items(ask, f"{_RBAC}/namespaces/{namespace}/roles")
    if items is None:
        return NotChecked(f"list roles in namespace {namespace}")
    return {_text(_metadata(item).get("name")): tuple(_dicts(item.get("rules"))) for item in items}


def _dry_run(pod: Mapping[str, Any], namespace: str, ask: Ask) -> DryRun:
    status, answer = ask("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    return DryRun(status, "" if status in {_OK, _CREATED} else _message(answer))


def _items(ask: Ask, path: str) -> list[dict[str, Any]] | None:
    """Of a list; None where it may not be had."""
    status, answer = ask("GET", path, None)
    return _dicts(answer.get("items")) if status == _OK else None


def _binding(item: dict[str, Any]) -> Binding:
    meta, role = _metadata(item), item.get("roleRef")
    role = role if isinstance(role, dict) else {}
    subjects = tuple(
        Subject(_text(each.get("kind")), _text(each.get("name")), _text(each.get("namespace")))
        for each in _dicts(item.get("subjects"))
    )
    return Binding(
        _text(meta.get("name")),
        _text(meta.get("namespace")),
        _text(role.get("kind")),
        _text(role.get("name")),
        subjects,
    )


def _metadata(item: Mapping[str, Any]) -> dict[str, Any]:
    found = item.get("metadata")
    return found if isinstance(found, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _message(answer: Mapping[str, Any]) -> str:
    return _text(answer.get("message")) or "no answer"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
