"""Who may do what in the sandbox's clusters: a table given at the start, and what access policies add. Touches nothing.

There are no RBAC objects here: a row says outright what some Role and its binding would say on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eks_cross_account.mapping import KubernetesUser
    from eks_cross_account.sandbox._status import Attributes

AUTHENTICATED = "system:authenticated"
_MASTERS = "system:masters"
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_SELF = {("selfsubjectreviews", "authentication.k8s.io"), ("selfsubjectaccessreviews", "authorization.k8s.io")}
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")  # system:public-info-viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One row: this group, or this user, may do these verbs on these resources.

    ``resources``: such as ``pods`` and ``pods/log``; ``namespace``: "*" for all of them and the cluster's scope, or a
    pattern such as ``dev-*``.
    """

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    group: str = ""
    user: str = ""
    namespace: str = "*"
    api_group: str = ""

    def __post_init__(self) -> None:
        if bool(self.group) == bool(self.user):
            raise ValueError("a grant is for a group or for a user: give one of the two")

    def allows(self, asked: Attributes) -> bool:
        """Whether the row covers the request."""
        return (
            _in(asked.verb, self.verbs)
            and _in(asked.resource, self.resources)  # "" for a path, which only "*" covers
            and self.api_group in {"*", asked.api_group}
            and (self.namespace == "*" or (asked.namespace != "" and fnmatchcase(asked.namespace, self.namespace)))
        )

    def is_for(self, user: KubernetesUser) -> bool:
        """Whether the row is about this user."""
        return self.user == user.username if self.user else self.group in (*user.groups, AUTHENTICATED)


def pod_runner(group: str, namespace: str) -> tuple[Grant, ...]:
    """What a pod operator needs in one namespace, with logs, events and XCom: the least that is enough."""
    rules = (
        (("create", "get", "list", "delete", "patch"), "pods"),
        (("get",), "pods/log"),
        (("list", "watch"), "events"),
        (("get", "create"), "pods/exec"),
    )
    return tuple(
        Grant(verbs=verbs, resources=(resource,), group=group, namespace=namespace) for verbs, resource in rules
    )


def reason_to_allow(
    asked: Attributes,
    user: KubernetesUser,
    grants: Iterable[Grant],
    policies: Iterable[dict[str, Any]],
) -> str | None:
    """Why the request is allowed, or None. ``policies``: as ListAssociatedAccessPolicies has them."""
    if _MASTERS in user.groups:
        return f"group {_MASTERS}"
    if (asked.verb, asked.resource, asked.api_group) in {("create", *own) for own in _SELF}:
        return "everybody may ask about himself (system:basic-user)"
    if asked.verb == "get" and asked.path in _PUBLIC:
        return "public (system:public-info-viewer)"
    for grant in grants:
        if grant.is_for(user) and grant.allows(asked):
            who = f'user "{grant.user}"' if grant.user else f'group "{grant.group}"'
            return f"a grant of the sandbox to {who}"
    for policy in policies:
        name = str(policy["policyArn"]).rpartition("/")[2]
        if any(grant.allows(asked) for grant in _of_policy(name, policy["accessScope"])):
            return f"access policy {name}"
    return None


def _of_policy(name: str, scope: dict[str, Any]) -> Iterable[Grant]:
    """The policy's rules as far as the sandbox has the resources (EKS user guide, access policy permissions)."""
    view = ((_READ, ("pods", "pods/log", "events")),)
    edit = (*view, (_WRITE, ("pods",)), (("get", "create"), ("pods/exec",)))
    rules: dict[str, Any] = {
        "AmazonEKSViewPolicy": view,
        "AmazonEKSEditPolicy": edit,
        "AmazonEKSAdminPolicy": edit,
        "AmazonEKSAdminViewPolicy": ((_READ, ("*",)),),
        "AmazonEKSClusterAdminPolicy": ((("*",), ("*",)),),
    }
    for namespace in scope.get("namespaces") or ("*",):
        for verbs, resources in rules.get(name, ()):
            api_group = "*" if resources == ("*",) else ""
            yield Grant(verbs=verbs, resources=resources, user="-", namespace=namespace, api_group=api_group)


def _in(value: str, wanted: tuple[str, ...]) -> bool:
    return "*" in wanted or value in wanted
