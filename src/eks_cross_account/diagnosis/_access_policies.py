"""What each EKS access policy allows, and which one is enough. Touches nothing.

From the EKS user guide, "Review access policy permissions". Left out are the policies of EKS's own parts (AutoNode,
Compute, Networking and their like): most are for service-linked roles only, and the guide has no tables of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class Right(Protocol):
    """A verb on a resource, "pods/log" for a subresource; ``cluster_scoped``: in no namespace, or in all of them."""

    @property
    def api_group(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def verb(self) -> str: ...
    @property
    def cluster_scoped(self) -> bool: ...


R = TypeVar("R", bound=Right)


class _Allowed(NamedTuple):
    """One thing that a policy allows, ``*`` for any."""

    api_group: str
    resource: str
    verb: str
    cluster_scoped: bool = False


class Choice(NamedTuple):
    """``policy``: the least that covers all; ``smaller``: the next smaller one, or None; it lacks ``lacks``."""

    policy: str
    smaller: str | None
    lacks: tuple[Right, ...]


_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"


def _table(*rows: tuple[str, str, str]) -> tuple[_Allowed, ...]:
    """Of rows with words as the guide has them: API group, resources, verbs."""
    return tuple(
        _Allowed(group, resource, verb)
        for group, resources, verbs in rows
        for resource in resources.split()
        for verb in verbs.split()
    )


_VIEW = _table(
    (
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status",
        _READ,
    ),
    ("apps", "replicasets replicasets/scale replicasets/status", _READ),
    ("apps", "statefulsets statefulsets/scale statefulsets/status", _READ),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    ("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    ("discovery.k8s.io", "endpointslices", _READ),
    ("extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status", _READ),
    ("extensions", "ingresses ingresses/status networkpolicies", _READ),
    ("extensions", "replicasets replicasets/scale replicasets/status replicationcontrollers/scale", _READ),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    ("", "bindings configmaps endpoints events limitranges namespaces namespaces/status", _READ),
    ("", "persistentvolumeclaims persistentvolumeclaims/status pods pods/log pods/status", _READ),
    ("", "replicationcontrollers replicationcontrollers/scale replicationcontrollers/status", _READ),
    ("", "resourcequotas resourcequotas/status serviceaccounts services services/status", _READ),
)
_EDIT = _VIEW + _table(
    ("apps", "daemonsets deployments deployments/rollback deployments/scale", _WRITE),
    ("apps", "replicasets replicasets/scale statefulsets statefulsets/scale", _WRITE),
    ("autoscaling", "horizontalpodautoscalers", _WRITE),
    ("batch", "cronjobs jobs", _WRITE),
    ("extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies", _WRITE),
    ("extensions", "replicasets replicasets/scale replicationcontrollers/scale", _WRITE),
    ("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    ("policy", "poddisruptionbudgets", _WRITE),
    ("", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", f"{_READ} {_WRITE}"),
    ("", "configmaps events persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale", _WRITE),
    ("", "serviceaccounts services", _WRITE),
    ("", "serviceaccounts", "impersonate"),
)
_ADMIN = _EDIT + _table(
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    ("rbac.authorization.k8s.io", "rolebindings roles", f"{_READ} {_WRITE}"),
)

POLICIES = {  # a smaller one before what holds it
    "AmazonEKSSecretReaderPolicy": _table(("", "secrets", _READ)),
    "AmazonEKSViewPolicy": _VIEW,
    "AmazonEKSAdminViewPolicy": _table(("*", "*", _READ)),
    "AmazonEKSEditPolicy": _EDIT,
    "AmazonEKSAdminPolicy": _ADMIN,
    "AmazonEKSClusterAdminPolicy": _table(("*", "*", "*")),
}
_NOTABLE = (  # what one would not hand out unawares
    (_Allowed("", "secrets", "get"), "read secrets"),
    (_Allowed("", "secrets", "update"), "write secrets"),
    (_Allowed("", "serviceaccounts", "impersonate"), "act as every service account"),
    (_Allowed("", "pods/exec", "create"), "run commands in every pod"),
    (_Allowed("rbac.authorization.k8s.io", "roles", "update"), "change roles and their bindings"),
    (_Allowed("*", "*", "get"), "read everything"),
    (_Allowed("*", "*", "*"), "do everything"),
)


def missing(policy: str, rules: Iterable[R]) -> tuple[R, ...]:
    """Those of the rules that the policy does not allow. Raises KeyError for a policy that is not among POLICIES."""
    allowed = POLICIES[policy]
    return tuple(rule for rule in rules if not any(_fits(one, rule) for one in allowed))


def smallest(rules: Iterable[Right]) -> Choice:
    """The least policy that covers the rules, and how near the next smaller one comes."""
    wanted = tuple(rules)
    policy = next(name for name in POLICIES if not missing(name, wanted))  # the last allows everything
    lacks = {name: missing(name, wanted) for name in _within(policy)}
    if not lacks:
        return Choice(policy, None, ())
    smaller = min(reversed(lacks), key=lambda name: len(lacks[name]))
    return Choice(policy, smaller, lacks[smaller])


def beyond(policy: str, rules: Iterable[Right]) -> tuple[str, ...]:
    """What the policy allows besides the rules and deserves a word."""
    held = {(rule.api_group, rule.resource, rule.verb) for rule in rules}
    return tuple(
        words
        for right, words in _NOTABLE
        if not missing(policy, (right,)) and (right.api_group, right.resource, right.verb) not in held
    )


def _within(policy: str) -> tuple[str, ...]:
    """The policies that allow nothing which this one does not."""
    return tuple(name for name, allowed in POLICIES.items() if name != policy and not missing(policy, allowed))


def _fits(allowed: _Allowed, rule: Right) -> bool:
    """As RBAC reads wildcards: ``*`` of resources is every subresource too."""
    return (
        allowed.api_group in {"*", rule.api_group}
        and allowed.resource in {"*", rule.resource}
        and allowed.verb in {"*", rule.verb}
    )
