"""What to do, as text, commands and policies, filled from what was seen. Touches nothing.

What comes from outside is shell-quoted in commands and dumped by json in policies; an ARN that fails its grammar never
reaches one: a hole in angle brackets stands there instead.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from eks_cross_account import endpoints
from eks_cross_account._printable import printable
from eks_cross_account.diagnosis import _access_policies, _terraform, manifests
from eks_cross_account.diagnosis.report import Remedy
from eks_cross_account.errors import InvalidArnError, UnknownRegionError
from eks_cross_account.identity import CallerIdentity, account_of, canonicalize, parse_arn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eks_cross_account.diagnosis._access_policies import Right

_POLICY = "AmazonEKSEditPolicy"  # covers what the pod operators need, on one namespace
_BOTH = "API_AND_CONFIG_MAP"  # authentication mode
_HOLE = "<PRINCIPAL_ARN>"
_NAMESPACE = "<NAMESPACE>"
_REGION = "<REGION>"
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]{0,252}")  # what a shell, aws-cli and people read in one way
_NAME = r"[A-Za-z0-9_+=,.@-]{1,64}"  # IAM's, of roles and users; STS's, of sessions
_ROLE_OR_USER = rf"(role|user)/(?:[!-~]{{1,510}}/)?({_NAME})"
_PRINCIPAL = re.compile(rf"arn:[a-z-]{{3,20}}:iam::[0-9]{{12}}:{_ROLE_OR_USER}")
_CALLER = re.compile(
    rf"arn:[a-z-]{{3,20}}:(?:iam::[0-9]{{12}}:(?:root|{_ROLE_OR_USER})"
    rf"|sts::[0-9]{{12}}:(?:assumed-role/{_NAME}|federated-user)/{_NAME})"
)
WEB_IDENTITY_REFUSED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"  # STS names neither role nor policy


def trust_statement(
    caller_arn: str, *, external_id: str | None = None, actions: tuple[str, ...] = ("sts:AssumeRole",)
) -> dict[str, Any]:
    """The statement that lets this caller assume a role, for the role's trust policy. Raises InvalidArnError.

    ``actions``: with sts:TagSession where the hop passes tags, and sts:SetSourceIdentity where it passes one. An ARN
    with a character that IAM does not have in names is refused: in a condition ``*`` is everybody.

    STS does not say the path of the caller's role, and a trust policy that names the role without its path is refused
    by IAM; so the account is named, narrowed to the role under any path.
    """
    if _CALLER.fullmatch(caller_arn) is None:
        raise InvalidArnError(f"{printable(caller_arn)} is not the ARN of a principal that a policy can name")
    canonical = parse_arn(canonicalize(caller_arn))
    condition: dict[str, Any] = {}
    if ":assumed-role/" in caller_arn:
        name = canonical.resource.rsplit("/", 1)[1]
        root = f"arn:{canonical.partition}:iam::{canonical.account}"
        principal = f"{root}:root"
        condition["ArnLike"] = {"aws:PrincipalArn": [f"{root}:role/{name}", f"{root}:role/*/{name}"]}
    else:
        principal = caller_arn
    if external_id is not None:
        condition["StringEquals"] = {"sts:ExternalId": external_id}
    allowed: str | list[str] = actions[0] if len(actions) == 1 else list(actions)
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": allowed}
    return {**statement, "Condition": condition} if condition else statement


def refused_hop_remedy(message: str, caller_arn: str, role_arn: str, *, external_id_sent: bool) -> tuple[Remedy, str]:
    """What to do about a refused AssumeRole, and the account that can, "" where it is an organization's matter.

    ``message``: AWS's own words, which say what kind of policy decided ("because no ... policy allows", "with an
    explicit deny in a ..."; IAM User Guide, "Troubleshoot access denied error messages").
    """
    action = _action(message)
    actions = ("sts:AssumeRole",) if action == "sts:AssumeRole" else ("sts:AssumeRole", action)
    by, is_explicit = _decided(message)
    own = account_of(caller_arn)
    if by in _ELSEWHERE:
        return Remedy(_ELSEWHERE[by].format(action=action, role=role_arn)), own if by in _CALLERS else ""
    if is_explicit and by:
        whose = own if by == "identity-based policy" else account_of(role_arn)
        return Remedy(f"a statement with Deny in the {by} covers {action} on {role_arn}: narrow it"), whose
    if by == "identity-based policy":
        return identity_policy_remedy(caller_arn, role_arn, actions=actions), own
    return (
        trust_policy_remedy(caller_arn, role_arn, external_id_sent=external_id_sent, actions=actions),
        account_of(role_arn),
    )


_ELSEWHERE = {
    "permissions boundary": "the caller's permissions boundary does not allow {action} on {role}: who set it widens it",
    "session policy": "the caller's session was made with a policy that does not allow {action} on {role}: make it "
    "without that policy, or with a wider one",
    "service control policy": "a service control policy of the caller's organization forbids {action} on {role}: its "
    "administrators change that, neither of the two accounts can",
    "resource control policy": "a resource control policy of the role's organization forbids {action} on {role}: its "
    "administrators change that, neither of the two accounts can",
    "VPC endpoint policy": "the policy of the VPC endpoint for STS does not allow {action} on {role}: whoever owns the "
    "caller's network widens it",
}
_CALLERS = {"permissions boundary", "session policy", "VPC endpoint policy"}
_KINDS = ("identity-based policy", "resource-based policy", "role trust policy", *_ELSEWHERE)
_REASON = re.compile(rf"(?:because no|(with an explicit deny in) (?:an?|the)) ({'|'.join(_KINDS)})\b")
_ACTION = re.compile(r"perform: (sts:(?:AssumeRole|TagSession|SetSourceIdentity))\b")


def _action(message: str) -> str:
    found = _ACTION.search(message)
    return found[1] if found else "sts:AssumeRole"


def _decided(message: str) -> tuple[str, bool]:
    """The kind of policy that AWS names, "" for none; and whether by an explicit deny."""
    found = _REASON.search(message)
    return (found[2], found[1] is not None) if found else ("", False)


def trust_policy_remedy(
    caller_arn: str, role_arn: str, *, external_id_sent: bool, actions: tuple[str, ...] = ("sts:AssumeRole",)
) -> Remedy:
    """For the owner of the role: the trust policy lacks this caller."""
    _, role_name = _role_or_user(role_arn)
    external = (
        "The caller did send an external id: a Condition on sts:ExternalId, if there is one, must be exactly that."
        if external_id_sent
        else "The caller sent no external id: if the trust policy demands one, pass it (--external-id)."
    )
    try:
        statement = trust_statement(caller_arn, actions=actions)
    except InvalidArnError:
        principal = {"AWS": "<ARN of the caller>"}
        statement = {"Effect": "Allow", "Principal": principal, "Action": list(actions)}
    return Remedy(
        f"add this statement to the trust policy of {role_arn} (or mend the ARN: AWS says the same of a role that does "
        f"not exist). {external}\n{json.dumps(statement, indent=2)}",
        (f"aws iam get-role --role-name {shlex.quote(role_name)} --query Role.AssumeRolePolicyDocument",),
        hcl=_terraform.trust(statement, role_name),
    )


def identity_policy_remedy(caller_arn: str, role_arn: str, *, actions: tuple[str, ...] = ("sts:AssumeRole",)) -> Remedy:
    """For the owner of the caller: its own policies do not allow the hop."""
    allowed: str | list[str] = actions[0] if len(actions) == 1 else list(actions)
    resource = role_arn if _PRINCIPAL.fullmatch(role_arn) else "<ROLE_ARN>"
    statement = {"Effect": "Allow", "Action": allowed, "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kind, name = _role_or_user(caller_arn)
    put = f"aws iam put-{kind}-policy --{kind}-name {shlex.quote(name)} --policy-name assume-cluster-role"
    command = f"{put} --policy-document {shlex.quote(policy)}"
    text = f"allow {' and '.join(actions)} on {role_arn} in the policies of {name}"
    return Remedy(text, (command,), hcl=_terraform.identity_policy(statement, kind, name))


def describe_remedy(caller_arn: str, cluster_name: str, region: str, *, is_role_assumed: bool) -> Remedy:
    """For the owner of who asks: its policies do not allow eks:DescribeCluster."""
    account = account_of(caller_arn) or "<ACCOUNT>"
    resource = f"arn:{endpoints.partition_of(region)}:eks:{region}:{account}:cluster/{cluster_name}"
    statement = {"Effect": "Allow", "Action": "eks:DescribeCluster", "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    kind, name = _role_or_user(caller_arn)
    put = f"aws iam put-{kind}-policy --{kind}-name {shlex.quote(name)} --policy-name describe-cluster"
    text = f"allow eks:DescribeCluster on the cluster in the policies of {name}, or configure endpoint and CA by hand"
    if not is_role_assumed:
        text = f"is the cluster another account's? Then assume its role first (--role-arn): none was. Else {text}"
    command = f"{put} --policy-document {shlex.quote(policy)}"
    return Remedy(text, (command,), hcl=_terraform.identity_policy(statement, kind, name))


def _role_or_user(arn: str) -> tuple[str, str]:
    """Which of the two the ARN is of, a session's too, and the name; a hole for what is neither."""
    try:
        found = _PRINCIPAL.fullmatch(canonicalize(arn))
    except InvalidArnError:
        found = None
    return (found[1], found[2]) if found else ("role", "<ROLE_NAME>")


def github_remedy(role_arn: str = "") -> Remedy:
    """For the owner of the role: AssumeRoleWithWebIdentity was refused, as it is to a workflow of GitHub Actions."""
    account = account_of(role_arn) if _PRINCIPAL.fullmatch(role_arn) else "<ACCOUNT>"
    issuer = "token.actions.githubusercontent.com"
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{issuer}:aud": "sts.amazonaws.com"},
            "StringLike": {f"{issuer}:sub": "repo:<OWNER>/<REPOSITORY>:ref:refs/heads/<BRANCH>"},
        },
    }
    text = (
        "the role's trust policy must name the provider of the token and fit its claim `sub` to the letter. In GitHub "
        "Actions that is repo:OWNER/REPOSITORY:ref:refs/heads/BRANCH, or :environment:NAME where the job has one, or "
        f":pull_request. The workflow needs `permissions: id-token: write`.\n{json.dumps(statement, indent=2)}"
    )
    _, role_name = _role_or_user(role_arn)
    return Remedy(text, hcl=_terraform.trust(statement, role_name))


def log_queries(cluster_name: str, region: str) -> tuple[str, ...]:
    """For the owner of the cluster: the last hour's refusals, in CloudWatch Logs Insights.

    The first needs the log type ``authenticator``, the second ``audit``.
    """
    refused = "filter @logStream like /authenticator/ and @message like /access denied/"
    unknown = "filter @logStream like /kube-apiserver-audit/ and responseStatus.code in [401, 403]"
    fields = "fields @timestamp, user.username, verb, requestURI, responseStatus.code"
    return tuple(
        f"aws logs start-query --region {shlex.quote(region)} \\\n"
        f"    --log-group-name {shlex.quote(f'/aws/eks/{cluster_name}/cluster')} \\\n"
        f'    --start-time "$(($(date +%s) - 3600))" --end-time "$(date +%s)" \\\n'
        f"    --query-string {shlex.quote(query)}"
        for query in (f"fields @timestamp, @message | {refused} | sort @timestamp desc", f"{fields} | {unknown}")
    )


def describe_command(cluster_name: str, region: str, query: str) -> str:
    """One part of what EKS says about the cluster."""
    return (
        f"aws eks describe-cluster {_cluster_flags(cluster_name, region, flag='--name')} --query {shlex.quote(query)}"
    )


def certificate_command(endpoint: str, *, proxy: str = "") -> str:
    """Shows the certificate that answers at the endpoint."""
    parsed = urlsplit(endpoint)
    host, target = shlex.quote(parsed.hostname or ""), shlex.quote(f"{parsed.hostname}:{parsed.port or 443}")
    by = f" -proxy {shlex.quote(proxy)}" if proxy else ""
    show = "openssl x509 -noout -subject -issuer -dates"
    return f"openssl s_client -connect {target} -servername {host}{by} </dev/null \\\n    | {show}"


def mapping_remedy(  # noqa: PLR0913 - who, where, and what is known of both
    cluster_name: str,
    region: str,
    identity: CallerIdentity,
    *,
    principal_arn: str | None,
    mode: str,
    namespace: str = "",
) -> Remedy:
    """For the owner of the cluster: nothing maps this identity, or nothing does any more.

    ``principal_arn``: as an access entry must name it, with the path; None where the path is unknown, which leaves a
    hole. ``mode``: the cluster's authentication mode, ``namespace``: of the pods; "" where they are unknown.
    """
    canonical = parse_arn(identity.canonical_arn)
    kind = canonical.resource.partition("/")[0]
    if mode == "CONFIG_MAP":
        return _aws_auth_remedy(cluster_name, region, identity.canonical_arn, is_role=kind == "role")
    if kind not in {"role", "user"}:
        return Remedy(f"no access entry can be made for a {kind}: go to the cluster with a role, and map that")
    principal = _principal(principal_arn) if principal_arn else _with_hole(identity.canonical_arn)
    flags = _entry_flags(cluster_name, region, principal)
    place = namespace if manifests.is_namespace(namespace) else _NAMESPACE
    commands: tuple[str, ...] = (
        f"aws eks create-access-entry {flags} --type STANDARD",
        _associate_command(flags, _policy_arn(region), place),
    )
    text = (
        "give it an access entry, and a policy on its namespace; both count after some seconds. ResourceInUseException "
        "means that there is an entry: of an earlier role with this name, or of a type for nodes. Then delete it (aws "
        "eks delete-access-entry), and do both again."
    )
    if not mode:
        text = f"{text} In authentication mode CONFIG_MAP entries count for nothing: see cluster.accessConfig first."
        commands = (describe_command(cluster_name, region, "cluster.accessConfig"), *commands)
    hcl = _terraform.access_entry(cluster_name, principal, _policy_arn(region), place)
    if principal_arn is None:
        _, name = _role_or_user(identity.canonical_arn)
        text = (
            f"{text} <PATH/>: the role's path, or nothing; only its account {canonical.account} can say (iam get-role)."
        )
        commands = (f"aws iam get-role --role-name {shlex.quote(name)} --query Role.Arn", *commands)
    return Remedy(text, commands, hcl=hcl)


def _aws_auth_remedy(cluster_name: str, region: str, canonical_arn: str, *, is_role: bool) -> Remedy:
    section, key = ("mapRoles", "rolearn") if is_role else ("mapUsers", "userarn")
    row = (
        f"{section}: |",
        f"  - {key}: {json.dumps(canonical_arn if _CALLER.fullmatch(canonical_arn) else '<ARN>')}",
        '    username: "eks-cross-account"',
        "    groups:",
        '      - "<GROUP>"',
    )
    text = (
        "add this row to the ConfigMap aws-auth in kube-system: the ARN has no path there, even where the role has "
        "one, and <GROUP> is a group that a RoleBinding names. The cluster is in mode CONFIG_MAP, where access entries "
        "count for nothing; the command lets it take both (there is no way back)."
    )
    return replace(mode_remedy(cluster_name, region), text=text, yaml="\n".join(row))


def direct_entry(cluster_name: str, region: str, caller_arn: str) -> str:
    """The command that lets the caller itself in, with no role to assume; "" for who can have no access entry."""
    try:
        canonical = canonicalize(caller_arn)
    except InvalidArnError:
        return ""
    if _CALLER.fullmatch(caller_arn) is None or _PRINCIPAL.fullmatch(canonical) is None:
        return ""
    arn = _with_hole(canonical) if ":assumed-role/" in caller_arn else caller_arn
    flags = f"{_cluster_flags(cluster_name, region)} --principal-arn {shlex.quote(arn)}"
    return f"aws eks create-access-entry {flags} --type STANDARD"


def _with_hole(canonical_arn: str) -> str:
    """The ARN of a role as an access entry names it, where nobody here knows the path."""
    if _PRINCIPAL.fullmatch(canonical_arn) is None:
        return _HOLE
    return canonical_arn.replace(":role/", ":role/<PATH/>", 1)


def _policy_arn(region: str, policy: str = _POLICY) -> str:
    return f"arn:{endpoints.partition_of(region)}:eks::aws:cluster-access-policy/{policy}"


def _entry_flags(cluster_name: str, region: str, principal_arn: str) -> str:
    return f"{_cluster_flags(cluster_name, region)} \\\n    --principal-arn {shlex.quote(principal_arn)}"


def _associate_command(entry_flags: str, policy_arn: str, namespace: str | None = _NAMESPACE) -> str:
    """``namespace``: None for the whole cluster."""
    scope = shlex.quote(f"type=namespace,namespaces={namespace}" if namespace else "type=cluster")
    named = f"--policy-arn {shlex.quote(policy_arn)} \\\n    --access-scope {scope}"
    return f"aws eks associate-access-policy {entry_flags} \\\n    {named}"


def _cluster_flags(cluster_name: str, region: str, *, flag: str = "--cluster-name") -> str:
    return f"{flag} {shlex.quote(cluster_name)} --region {shlex.quote(region)}"


# --- what the mapping checks ask for; each for the owner of the cluster


def entry_remedy(  # noqa: PLR0913 - as mapping_remedy
    cluster_name: str,
    region: str,
    canonical_arn: str,
    *,
    principal_arn: str | None,
    mode: str,
    namespace: str = "",
) -> Remedy:
    """As ``mapping_remedy``, for a principal that nobody has a token of."""
    identity = CallerIdentity(parse_arn(canonical_arn).account, canonical_arn, "")
    return mapping_remedy(cluster_name, region, identity, principal_arn=principal_arn, mode=mode, namespace=namespace)


def remade_entry_remedy(cluster_name: str, region: str, principal_arn: str) -> Remedy:
    """The entry is for an earlier principal of this name: only a new one has the new one's unique id."""
    flags = _entry_flags(cluster_name, region, _principal(principal_arn))
    text = (
        "delete the entry and make it again: it keeps the unique id of the role that it was made for. Its policies go "
        "with it: look at them first, and associate them again (aws eks associate-access-policy)."
    )
    commands = (
        f"aws eks list-associated-access-policies {flags}",
        f"aws eks delete-access-entry {flags}",
        f"aws eks create-access-entry {flags} --type STANDARD",
    )
    return Remedy(text, commands, hcl=_terraform.remade_entry(cluster_name, _principal(principal_arn)))


def node_entry_remedy(cluster_name: str, region: str, principal_arn: str) -> Remedy:
    """The entry makes nodes of its role."""
    flags = _entry_flags(cluster_name, region, _principal(principal_arn))
    text = (
        "take a role of its own for this access, with an entry of type STANDARD. Only where no node uses this role: "
        "delete the entry, and make it again with that type."
    )
    hcl = _terraform.access_entry(cluster_name, _HOLE, _policy_arn(region), _NAMESPACE)
    return Remedy(text, (f"aws eks describe-access-entry {flags}",), hcl=hcl)


def username_remedy(cluster_name: str, region: str, principal_arn: str) -> Remedy:
    """The entry's user name is one that the authenticator refuses."""
    flags = _entry_flags(cluster_name, region, _principal(principal_arn))
    text = "give the entry another user name; aws:, eks:, amazon:, iam: and system: are EKS's own"
    command = f"aws eks update-access-entry {flags} --username {shlex.quote('<USERNAME>')}"
    return Remedy(text, (command,), hcl=_terraform.entry(cluster_name, _principal(principal_arn), "<USERNAME>"))


def mode_remedy(cluster_name: str, region: str) -> Remedy:
    """Access entries count for nothing in the cluster's mode."""
    update = f"aws eks update-cluster-config {_cluster_flags(cluster_name, region, flag='--name')}"
    command = f"{update} \\\n    --access-config authenticationMode={_BOTH}"
    text = "let the cluster take access entries beside aws-auth; there is no way back"
    return Remedy(text, (command,), hcl=_terraform.authentication_mode(_BOTH))


def policy_remedy(cluster_name: str, region: str, principal_arn: str) -> Remedy:
    """The entry lets in and allows nothing."""
    flags = _entry_flags(cluster_name, region, _principal(principal_arn))
    text = "associate a policy on its namespace, or give the entry a group that a RoleBinding names"
    hcl = _terraform.policy(cluster_name, _principal(principal_arn), _policy_arn(region), _NAMESPACE)
    return Remedy(text, (_associate_command(flags, _policy_arn(region)),), hcl=hcl)


def aws_auth_remedy(  # noqa: PLR0913 - as mapping_remedy
    cluster_name: str,
    region: str,
    canonical_arn: str,
    *,
    principal_arn: str | None,
    mode: str,
    namespace: str = "",
) -> Remedy:
    """aws-auth has no row that matches. Where the mode takes access entries one of those does as well."""
    row = _aws_auth_remedy(cluster_name, region, canonical_arn, is_role=":role/" in canonical_arn)
    if mode == "CONFIG_MAP":
        return row
    entry = entry_remedy(
        cluster_name, region, canonical_arn, principal_arn=principal_arn, mode=mode, namespace=namespace
    )
    text = (
        "either write its row in the ConfigMap aws-auth of kube-system (no path in the ARN; <GROUP> is one "
        f"that a RoleBinding names), or {entry.text}"
    )
    return Remedy(text, entry.commands, hcl=entry.hcl, yaml=row.yaml)


def _principal(arn: str) -> str:
    """The ARN; what is no ARN of a role or user becomes a hole."""
    return arn if _PRINCIPAL.fullmatch(arn) else _HOLE


# --- what a caller may do in the cluster


@dataclass(frozen=True, slots=True)
class _Entry:
    """An access entry that is, or is to be; ``groups``: None where there is none yet, or nobody knows."""

    cluster_name: str
    region: str
    principal_arn: str
    groups: tuple[str, ...] | None

    @property
    def flags(self) -> str:
        return _entry_flags(self.cluster_name, self.region, self.principal_arn)

    def policy_arn(self, policy: str) -> str:
        if self.region != _REGION:
            return _policy_arn(self.region, policy)
        partition = "<PARTITION>" if self.principal_arn == _HOLE else parse_arn(self.principal_arn).partition
        return f"arn:{partition}:eks::aws:cluster-access-policy/{policy}"


def grant(  # noqa: PLR0913 - who, what, where
    rules: Iterable[Right],
    *,
    namespace: str,
    group: str,
    principal_arn: str | None = None,
    cluster_name: str | None = None,
    region: str | None = None,
    groups: Sequence[str] | None = None,
    name: str = manifests.NAME,
) -> Remedy:
    """Lets a principal do these rules: the least that does, by a group; in comments the broader way, by a policy.

    ``groups``: those that its access entry has; None where it has none, or nobody knows. What is None or fails its
    grammar is a hole. ``name``: of the Role. Raises ValueError for no rules, and for one with a wildcard.
    """
    wanted = manifests.checked_rules(rules)
    had = None if groups is None else tuple(each if is_group(each) else "<GROUP>" for each in groups)
    cluster = cluster_name if cluster_name and _CLUSTER.fullmatch(cluster_name) else "<CLUSTER>"
    entry = _Entry(cluster, _region(region or ""), _principal(principal_arn or ""), had)
    place = namespace if manifests.is_namespace(namespace) else _NAMESPACE
    least = _by_group(entry, wanted, place, group if is_group(group) else "<GROUP>", name)
    broader = _by_policy(entry, wanted, None if any(rule.cluster_scoped for rule in wanted) else place)
    return Remedy(
        f"two ways, of which one is enough. {least.text} {broader.text}",
        (*least.commands, _commented("or, broader:", *broader.commands)),
        hcl=f"{least.hcl}\n\n{_commented('or, broader, without kubernetes_groups and the Role:', broader.hcl or '')}",
        yaml=least.yaml,
    )


def _by_group(entry: _Entry, rules: Iterable[Right], namespace: str, group: str, name: str) -> Remedy:
    subjects = [manifests.group_subject(group)]
    objects = manifests.objects(rules, namespace=namespace, name=name, subjects=subjects)
    groups = tuple(dict.fromkeys((*(entry.groups or ()), group)))
    named = f"--kubernetes-groups {shlex.join(groups)}"
    apply = "apply the Role and its binding (kubectl apply -f FILE)"
    text = f"The least: put the principal into the group {group}, and {apply}."
    commands: tuple[str, ...] = (f"aws eks update-access-entry {entry.flags} \\\n    {named}",)
    if entry.groups is None:
        commands = (f"aws eks create-access-entry {entry.flags} --type STANDARD \\\n    {named}",)
        text = (
            f"{text} ResourceInUseException means that it has an entry: update that (aws eks update-access-entry), "
            "with its groups beside this one. In authentication mode CONFIG_MAP its row in aws-auth names them."
        )
    elif group in entry.groups:
        commands, text = (), f"The least: the principal is in the group {group}; {apply}."
    hcl = f"{_terraform.entry(entry.cluster_name, entry.principal_arn, groups=groups)}\n\n{_terraform.rbac(objects)}"
    return Remedy(text, commands, hcl=hcl, yaml=manifests.dumped(objects))


def _by_policy(entry: _Entry, rules: Sequence[Right], namespace: str | None) -> Remedy:
    """``namespace``: None for the whole cluster."""
    policy, smaller, lacks = _access_policies.smallest(rules)
    where = f"the namespace {namespace}" if namespace else "the whole cluster"
    text = f"Broader, with no objects in the cluster: {policy} on {where}."
    more = _access_policies.beyond(policy, rules)
    if more:
        text = f"{text} Besides, it lets the principal {', '.join(more)}."
    if smaller:
        text = f"{text} {smaller} is not enough: it lacks {', '.join(map(_said, lacks))}."
    arn = entry.policy_arn(policy)
    create = (f"aws eks create-access-entry {entry.flags} --type STANDARD",) if entry.groups is None else ()
    return Remedy(
        text,
        (*create, _associate_command(entry.flags, arn, namespace)),
        hcl=_terraform.policy(entry.cluster_name, entry.principal_arn, arn, namespace),
    )


def _said(right: Right) -> str:
    """As kubectl names it."""
    resource, slash, subresource = right.resource.partition("/")
    return f"{right.verb} {resource}{right.api_group and '.'}{right.api_group}{slash}{subresource}"


def _region(name: str) -> str:
    """The region; what is none becomes a hole."""
    try:
        endpoints.partition_of(name)
    except UnknownRegionError:
        return _REGION
    return name


def is_group(name: str) -> bool:
    """Whether an access entry can have it, and shell, aws-cli and people read it in one way."""
    try:
        return _GROUP.fullmatch(manifests.checked_group(name)) is not None and "://" not in name  # aws-cli opens URLs
    except ValueError:
        return False


def _commented(*texts: str) -> str:
    return "\n".join(f"# {line}" for text in texts for line in text.splitlines())
