"""The least that lets a caller do given rules, as Kubernetes objects and as values of Airflow's chart. Touches nothing.

Written by PyYAML where that is installed, else as JSON, which is YAML. No rule has a wildcard, and no right is given to
the name of a session, which is another one tomorrow.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eks_cross_account.diagnosis._access_policies import Right

NAME = "airflow-pod-runner"
_RBAC = "rbac.authorization.k8s.io"
_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")  # as people list them
_WIDTH = 120
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123, as Kubernetes has it
_NAMESPACE = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_ROLE_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9:._-]{1,253}")  # Kubernetes takes all but "/" and "%" in it
_RESOURCE = re.compile(rf"{_LABEL}(?:/[a-z0-9-]+)?")
_VERB = re.compile(r"[a-z]+")
_CLOUDS: tuple[
    tuple[re.Pattern[str], str, dict[str, str]], ...
] = (  # the form of an identity, its annotation on a ServiceAccount, labels on the pods
    (re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]{1,576}"), "eks.amazonaws.com/role-arn", {}),
    (re.compile(r"[a-z0-9-]{6,30}@[a-z0-9.-]+\.iam\.gserviceaccount\.com"), "iam.gke.io/gcp-service-account", {}),
    (
        re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        "azure.workload.identity/client-id",
        {"azure.workload.identity/use": "true"},
    ),
)


def role_manifest(rules: Iterable[Right], *, namespace: str, group: str, name: str = NAME) -> str:
    """YAML that lets a group do these rules: a Role in the namespace, and its RoleBinding.

    Rules of the cluster's scope come as a ClusterRole and its binding, named after the namespace too. The group is
    what an access entry or a row of aws-auth names.

    Raises ValueError: no rules, one with a wildcard, or a name that Kubernetes or EKS would refuse.
    """
    subjects = [group_subject(checked_group(group))]
    return dumped(_checked_objects(rules, namespace=namespace, name=name, subjects=subjects))


def name_of_more(rules: Iterable[Right], *bound: str) -> str:
    """A name for a Role that adds rules to what there is, and for its binding to the group or the accounts ``bound``.

    Applying a Role replaces one of the same name, rules that are there already and all, and a binding its subjects;
    this name is another one for other rules or subjects, and the same for the same.
    """
    told = [*sorted(f"{rule.verb} {rule.resource}.{rule.api_group}" for rule in rules), *bound]
    return f"{NAME}-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()[:6]}"


def service_account_manifest(  # noqa: PLR0913 - each names one thing of the objects
    rules: Iterable[Right],
    *,
    namespace: str,
    service_accounts: Sequence[str],
    airflow_namespace: str | None = None,
    cloud_identity: str | None = None,
    create: bool = True,
    name: str = NAME,
) -> str:
    """YAML that lets Airflow inside the cluster do these rules: as ``role_manifest``, for the accounts of its pods.

    ``service_accounts``: of the workers, and of the triggerer where tasks are deferred. ``airflow_namespace``: where
    they are, if not in that of the rules. ``create``: False where a chart makes them.

    ``cloud_identity``: the ARN of an IAM role (IRSA), the address of a Google service account or an Azure client id;
    with ``create`` it becomes the annotation that gives *the pod* its rights in the cloud. It does nothing for who may
    call this cluster: the binding does. On Azure the pods need the label azure.workload.identity/use: "true" besides.

    Raises ValueError as ``role_manifest``, and for an identity of no such form.
    """
    where = _checked(airflow_namespace or namespace, _NAMESPACE, "a namespace is a DNS label")
    if not service_accounts:
        raise ValueError("no service account to bind the rules to")
    accounts = [_checked(account, _SUBDOMAIN, "a ServiceAccount is a DNS subdomain") for account in service_accounts]
    annotations, _ = _of_the_cloud(cloud_identity)
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": where} for account in accounts]
    objects = _checked_objects(rules, namespace=namespace, name=name, subjects=subjects)
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": where, **annotations}}
        for account in accounts
    ]
    return dumped([*made, *objects] if create else objects)


def chart_values(
    *, workers: str = "airflow-worker", triggerer: str = "airflow-triggerer", cloud_identity: str | None = None
) -> str:
    """Values of the official Apache Airflow chart: the two accounts that call Kubernetes, by name, and their identity.

    The chart's own Role (``rbac.create``) is for its own namespace, and ``multiNamespaceMode`` would make it one for
    every namespace: for another one bind ``service_account_manifest(create=False)`` to these accounts. It has no
    ``watch events``, which deferrable tasks ask for first.

    The identity is as there: rights in the cloud for the pods, none in the cluster. ``workers.serviceAccount`` is
    deprecated since chart 1.21 and what every version reads (apache/airflow#67261). Raises ValueError.
    """
    if workers == triggerer:
        raise ValueError("the chart makes an account for the workers and one for the triggerer: give them two names")
    annotations, labels = _of_the_cloud(cloud_identity)
    account = {
        name: {"create": True, "name": _checked(name, _SUBDOMAIN, "a ServiceAccount is a DNS subdomain"), **annotations}
        for name in (workers, triggerer)
    }
    return dumped([{
        "rbac": {"create": True},
        "multiNamespaceMode": False,
        "workers": {"serviceAccount": account[workers], **labels},
        "triggerer": {"serviceAccount": account[triggerer], **labels},
    }])  # fmt: skip


def objects(
    rules: Iterable[Right], *, namespace: str, name: str, subjects: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    """A Role and its binding; for rules of the cluster's scope a ClusterRole and its binding. Names are not checked."""
    every = tuple(rules)
    scoped = {"Role": [rule for rule in every if not rule.cluster_scoped],
              "ClusterRole": [rule for rule in every if rule.cluster_scoped]}  # fmt: skip
    made: list[dict[str, Any]] = []
    for kind, held in scoped.items():
        if held:
            metadata = {"name": name, "namespace": namespace} if kind == "Role" else {"name": f"{namespace}-{name}"}
            made += (
                {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, "rules": merged(held)},
                {
                    "apiVersion": f"{_RBAC}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": dict(metadata),
                    "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": metadata["name"]},
                    "subjects": list(subjects),
                },
            )
    return made


def merged(rules: Iterable[Right]) -> list[dict[str, list[str]]]:
    """The rules as a Role has them: resources of one API group and the same verbs are one rule."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        verbs.setdefault((rule.api_group, rule.resource), set()).add(rule.verb)
    resources: dict[tuple[str, frozenset[str]], list[str]] = {}
    for (group, resource), allowed in sorted(verbs.items()):
        resources.setdefault((group, frozenset(allowed)), []).append(resource)
    return [
        {"apiGroups": [group], "resources": named, "verbs": sorted(allowed, key=_place)}
        for (group, allowed), named in resources.items()
    ]


def _place(verb: str) -> tuple[int, str]:
    return (_VERBS.index(verb) if verb in _VERBS else len(_VERBS), verb)


def group_subject(group: str) -> dict[str, str]:
    """A group as a binding names it."""
    return {"apiGroup": _RBAC, "kind": "Group", "name": group}


def dumped(documents: Sequence[dict[str, Any]]) -> str:
    """The documents as YAML that can be applied."""
    try:
        import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - an optional extra; JSON does without
    except ImportError:
        # a file that begins with a brace is JSON alone to older kubectls, which take no "---" in it (istio/istio#1394)
        return "".join(f"---\n{json.dumps(document, indent=2, ensure_ascii=False)}\n" for document in documents)
    return str(yaml.dump_all(documents, Dumper=_dumper(yaml), sort_keys=False, default_flow_style=None, width=_WIDTH))


def _dumper(yaml: Any) -> Any:  # noqa: ANN401 - PyYAML has no types
    """A dumper for other readers: kubectl takes 1e3 for a number and y for a boolean, where PyYAML does not.

    And what occurs twice is written twice: people edit one of them.
    """

    def quoted(dumper: Any, text: str) -> Any:  # noqa: ANN401 - as above
        is_clear = not text or (len(text) > 1 and text[0].isalpha())
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_clear else "'")

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    dumper.add_representer(str, quoted)
    return dumper


# --- what Kubernetes and EKS take


def checked_rules(rules: Iterable[Right]) -> tuple[Right, ...]:
    """The rules. Raises ValueError where there are none, and for one with a wildcard or no grammar."""
    every = tuple(rules)
    if not every:
        raise ValueError("no rules: a Role without any lets nobody do anything")
    for rule in every:
        fits = _RESOURCE.fullmatch(rule.resource) and _VERB.fullmatch(rule.verb)
        if not fits or (rule.api_group and _SUBDOMAIN.fullmatch(rule.api_group) is None):
            what = f"{printable(rule.verb)} on {printable(rule.resource)} of {printable(rule.api_group)}"
            raise ValueError(f"{what} is no verb on one resource; a wildcard is not the least that does")
    return every


def is_namespace(name: str) -> bool:
    """Whether a namespace can have this name."""
    return _NAMESPACE.fullmatch(name) is not None


def checked_group(group: str) -> str:
    """The group. Raises ValueError for one that no access entry can have, or nobody should."""
    if group == "system:masters":
        raise ValueError("system:masters may do everything, whatever RBAC says, and EKS takes it in no access entry")
    if not group or group != group.strip() or not group.isprintable():
        raise ValueError(f"{printable(group)} is no name of a group: empty, blank at an end, or not printable")
    if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
        raise ValueError(f"{printable(group)}: EKS takes no group whose name begins so in an access entry")
    return group


def _checked_objects(
    rules: Iterable[Right], *, namespace: str, name: str, subjects: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    return objects(
        checked_rules(rules),
        namespace=_checked(namespace, _NAMESPACE, "a namespace is a DNS label"),
        name=_checked(name, _ROLE_NAME, "a Role is named by letters, digits and -._:"),
        subjects=subjects,
    )


def _checked(name: str, grammar: re.Pattern[str], what: str) -> str:
    if grammar.fullmatch(name) is None:
        raise ValueError(f"{printable(name)}: {what}")
    return name


def _of_the_cloud(identity: str | None) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """The part of an account with its annotation, and of pods with their labels; empty where there is none."""
    if identity is None:
        return {}, {}
    for form, annotation, labels in _CLOUDS:
        if form.fullmatch(identity):
            return {"annotations": {annotation: identity}}, {"labels": dict(labels)} if labels else {}
    raise ValueError(
        f"{printable(identity)} is neither the ARN of an IAM role, nor a Google service account, nor an Azure client id"
    )
