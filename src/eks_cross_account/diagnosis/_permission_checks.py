"""The checks of what a caller may do: which rules are missing, what that does, and why, as far as it shows. Pure.

A denial's words are the same whether a policy, its scope, a group or a binding is missing; only what the caller may
look at beside them tells which.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from eks_cross_account._printable import printable_message
from eks_cross_account.diagnosis import _access_policies, manifests
from eks_cross_account.diagnosis._mapping_probes import EntryEvidence, NotChecked
from eks_cross_account.diagnosis.remedies import grant, is_group
from eks_cross_account.diagnosis.report import Finding, Remedy, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from eks_cross_account.cluster import AssociatedPolicy, DescribedEntry
    from eks_cross_account.diagnosis._permission_probes import Answer, Binding, DryRun, PermissionsEvidence, Subject
    from eks_cross_account.diagnosis._reach import ApiUser
    from eks_cross_account.diagnosis.evidence import Evidence
    from eks_cross_account.diagnosis.needs import Rule

PERMISSIONS, DENIED = "permissions", "forbidden"
_TITLE, _PLACE, _WHY, _ADMISSION = "permissions", "namespace", "why", "admission"
TITLES = frozenset({_TITLE, _PLACE, _WHY, _ADMISSION})
_SHOWN = 12
_GROUP = "airflow-workers"  # where the user is in none yet
_CREATED, _CONFLICT, _TOO_MANY = 201, 409, 429
_NO_VERDICT = {0, 401, _TOO_MANY, 503, 504}  # of admission
_SERVICE_ACCOUNT = "system:serviceaccount:"
_EVERYBODY = {"system:authenticated", "system:serviceaccounts"}


def check_permissions(evidence: Evidence) -> Iterator[Finding]:
    """Which of the wanted rules are denied, and what would become of the pod."""
    wanted, seen = evidence.wanted, evidence.permissions
    if wanted is None:
        return
    if seen is None:
        text = f"not asked in namespace {wanted.namespace}: nobody is signed in there yet"
        yield Finding(PERMISSIONS, "SKIP", "api-server", _TITLE, text)
        return
    if seen.namespace == "missing":
        yield _no_such_namespace(seen)
    if not seen.answers:
        yield Finding(PERMISSIONS, "UNKNOWN", "api-server", _TITLE, f"no rule of {wanted.title} was asked about")
        return
    denied = [answer for answer in seen.answers if answer.allowed is False]
    unanswered = [answer for answer in seen.answers if answer.allowed is None]
    if denied:
        yield from _denied(evidence, seen, denied)
    elif not unanswered:
        yield _allowed(seen)
    if unanswered:
        yield _unanswered(seen, unanswered)
    if seen.dry_run is not None:
        yield _admission(seen, seen.dry_run)


def _allowed(seen: PermissionsEvidence) -> Finding:
    text = f"all {len(seen.answers)} rules of {seen.wanted.title} in namespace {seen.wanted.namespace}"
    return Finding(PERMISSIONS, "PASS", "api-server", _TITLE, text)


def _unanswered(seen: PermissionsEvidence, unanswered: list[Answer]) -> Finding:
    problem = printable_message(unanswered[0].problem)
    text = (
        f"{len(unanswered)} of {len(seen.answers)} rules got no answer in namespace {seen.wanted.namespace}: {problem}"
    )
    return Finding(PERMISSIONS, "UNKNOWN", "api-server", _TITLE, text, retry=True)


def _no_such_namespace(seen: PermissionsEvidence) -> Finding:
    namespace = seen.wanted.namespace
    others = [name for name in seen.namespaces or () if not name.startswith("kube-")]
    close = [name for name in others if _is_close(name, namespace)]
    hint = f": {', '.join(map(printable_message, close[:_SHOWN]))}?" if close else ""
    text = f"there is no namespace {namespace}{hint}"
    remedy = Remedy(
        "mend the name, or let the cluster's owner make it; without the right to look this is a 403, no 404"
    )
    return Finding("namespace-missing", "FAIL", "api-server", _PLACE, text, remedy=remedy, cause="F9")


def _is_close(name: str, wanted: str) -> bool:
    from difflib import SequenceMatcher  # noqa: PLC0415 - only where a name is wrong

    return SequenceMatcher(None, name, wanted).ratio() > 0.7  # noqa: PLR2004 - "dta" and "data" have 0.86


# --- what is denied, and why


def _denied(evidence: Evidence, seen: PermissionsEvidence, denied: list[Answer]) -> Iterator[Finding]:
    rules = tuple(answer.rule for answer in denied)
    state: State = "FAIL" if any(rule.effect != "silent" for rule in rules) else "WARN"
    remedy = _grant(evidence, seen, rules)
    why = _why(evidence, seen, denied)
    if why is not None:
        why = replace(why, state=state, remedy=_either(why.remedy, remedy), owner=_owner(evidence))
        yield why
    what = ", ".join(map(_named, rules[:_SHOWN])) + (f" and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else "")
    found = Finding(
        DENIED,
        state,
        "api-server",
        _TITLE,
        f"{len(denied)} of {len(seen.answers)} rules of {seen.wanted.title} are missing in namespace "
        f"{seen.wanted.namespace}: {what}",
        tuple((_named(rule), _consequence(rule)) for rule in rules[:_SHOWN]),
        remedy,
        cause="F8" if why is None and (len(denied) < len(seen.answers) or _is_bound_here(evidence, seen)) else None,
        owner=_owner(evidence),
    )
    if why is not None:
        remedy = Remedy(f"this goes when {why.id} is mended")
        yield replace(found, consequence_of=why.id, remedy=remedy, retry=why.retry)
    elif seen.namespace == "missing":
        yield replace(found, consequence_of="namespace-missing", remedy=Remedy("this goes with the right namespace"))
    else:
        yield replace(found, evidence=(*found.evidence, *_left(evidence, seen)))


def _either(own: Remedy | None, rights: Remedy) -> Remedy:
    """What mends the cause, or else what gives the rights whatever the cause."""
    return rights if own is None else replace(rights, text=f"{own.text}. Or else: {rights.text}")


def _left(evidence: Evidence, seen: PermissionsEvidence) -> Iterator[tuple[str, str]]:
    """What nobody could look at."""
    entry = evidence.entry
    if isinstance(entry, NotChecked):
        yield "not checked", f"the policies of the access entry: needs {entry.needs or 'eks:DescribeAccessEntry'}"
    if isinstance(seen.bindings, NotChecked) and seen.bindings.needs:
        yield "not checked", f"who is bound to what: needs {seen.bindings.needs}"


def _named(rule: Rule) -> str:
    group = f".{rule.api_group}" if rule.api_group else ""
    where = " at cluster scope" if rule.cluster_scoped else ""
    return f"{rule.verb} {rule.resource}{group}{where}"


def _consequence(rule: Rule) -> str:
    return f"{rule.when}: {rule.consequence or rule.effect}"


def _owner(evidence: Evidence) -> str:
    return evidence.cluster.account if evidence.cluster is not None else ""


def _found(evidence: Evidence) -> EntryEvidence | None:
    """The access entry and its policies, where they count."""
    mode = evidence.cluster.authentication_mode if evidence.cluster is not None else None
    return evidence.entry if isinstance(evidence.entry, EntryEvidence) and mode != "CONFIG_MAP" else None


def _entry(evidence: Evidence) -> DescribedEntry | None:
    found = _found(evidence)
    return found.entry if found is not None else None


def _policies(evidence: Evidence) -> tuple[AssociatedPolicy, ...]:
    found = _found(evidence)
    return found.policies if found is not None and isinstance(found.policies, tuple) else ()


def _user(evidence: Evidence) -> ApiUser | None:
    return evidence.review.user if evidence.review is not None else None


def _grant(evidence: Evidence, seen: PermissionsEvidence, rules: Sequence[Rule]) -> Remedy:
    user, entry = _user(evidence), _entry(evidence)
    held = [name for name in (user.groups if user is not None else ()) if is_group(name)]
    group = held[0] if held else _GROUP
    name = manifests.name_of_more(rules, group)
    if evidence.cluster is None and user is not None and user.username.startswith(_SERVICE_ACCOUNT):
        return _grant_to_account(seen, rules, user.username)
    if evidence.cluster is None:
        manifest = manifests.role_manifest(rules, namespace=seen.wanted.namespace, group=group, name=name)
        whom = (
            "a group of this user" if held else f"the group {group}; this user is in no group of its own, put it there"
        )
        return Remedy(f"apply a Role and its binding (kubectl apply -f FILE), to {whom}", yaml=manifest)
    return grant(
        rules,
        namespace=seen.wanted.namespace,
        group=group,
        principal_arn=entry.principal_arn if entry is not None else evidence.subject_with_path,
        cluster_name=evidence.cluster_name,
        region=evidence.region,
        groups=entry.groups if entry is not None else held or None,
        name=name,
    )


def _grant_to_account(seen: PermissionsEvidence, rules: Sequence[Rule], username: str) -> Remedy:
    place, _, account = username.removeprefix(_SERVICE_ACCOUNT).partition(":")
    manifest = manifests.service_account_manifest(
        rules,
        namespace=seen.wanted.namespace,
        service_accounts=(account,),
        airflow_namespace=place,
        create=False,
        name=manifests.name_of_more(rules, username),
    )
    return Remedy("apply a Role and its binding (kubectl apply -f FILE), to this very account", yaml=manifest)


def _why(evidence: Evidence, seen: PermissionsEvidence, denied: list[Answer]) -> Finding | None:
    """The one reason that shows, None where none does."""
    if seen.namespace == "missing":
        return None
    nothing = len(denied) == len(seen.answers)
    return (
        _dangling(denied)
        or (_without_rights(evidence) if nothing else None)
        or _cluster_scope(evidence, seen, denied)
        or _by_bindings(evidence, seen, denied)
        or _by_policies(evidence, seen, denied)
        or _unbound(evidence, seen, nothing=nothing)
    )


def _because(name: str, summary: str, cause: str, remedy: Remedy | None = None) -> Finding:
    return Finding(name, "FAIL", "inferred", _WHY, summary, remedy=remedy, cause=cause)


def _dangling(denied: list[Answer]) -> Finding | None:
    """The authorizer's own reason: a binding names a role that is not there."""
    reason = next((answer.reason for answer in denied if "not found" in answer.reason), None)
    if reason is None:
        return None
    text = f"a binding of this user names a role that is not there: {printable_message(reason)}"
    remedy = Remedy("make the role that the binding names; a binding's roleRef cannot be changed, only made again")
    return _because("role-ref-dangling", text, "F7", remedy)


def _without_rights(evidence: Evidence) -> Finding | None:
    entry, found = _entry(evidence), _found(evidence)
    if entry is None or entry.groups or found is None or found.policies != ():
        return None
    text = (
        f"the access entry of {entry.principal_arn} has neither policy nor group: it lets in, and allows nothing. Was "
        "it system:masters in aws-auth? An entry takes no group that begins with system:; AmazonEKSClusterAdminPolicy "
        "is what comes near"
    )
    return _because("access-entry-without-rights", text, "F2")


def _cluster_scope(evidence: Evidence, seen: PermissionsEvidence, denied: list[Answer]) -> Finding | None:
    """Only what belongs to no namespace is denied, to who has rights in one."""
    policies = _policies(evidence)
    in_one = len(denied) < len(seen.answers) or bool(policies) or _is_bound_here(evidence, seen)
    everywhere = not all(policy.namespaces for policy in policies)  # one that is for the whole cluster is too weak
    if not all(answer.rule.cluster_scoped for answer in denied) or not in_one or everywhere:
        return None
    text = (
        f"what is missing belongs to no namespace ({', '.join(_named(answer.rule) for answer in denied[:_SHOWN])}), "
        "and the rights are for namespaces only"
    )
    return _because("cluster-scope", text, "F5")


def _by_policies(evidence: Evidence, seen: PermissionsEvidence, denied: list[Answer]) -> Finding | None:
    """The access policies: scoped to other namespaces, or too weak."""
    policies, namespace = _policies(evidence), seen.wanted.namespace
    if not policies:
        return None
    here = [policy for policy in policies if _is_for(policy, namespace)]
    if not here and not _is_nothing_allowed(seen):
        return None  # what is allowed here comes from elsewhere, and may lack this
    if not here:
        shown = "; ".join(f"{_short(policy)} for {', '.join(policy.namespaces)}" for policy in policies)
        text = f"the access policies are for other namespaces than {namespace}: {shown}. EKS does not check their names"
        return _because("access-policy-scope", text, "F4")
    rules = tuple(answer.rule for answer in denied)
    named = {_short(policy): policy for policy in here if _short(policy) in _access_policies.POLICIES}
    if not named:
        return None  # of EKS's own parts, or newer than this release
    lacking = [rule for rule in rules if not any(_allows(policy, rule) for policy in named.values())]
    if not lacking:
        text = f"{', '.join(named)} should allow this: what was associated a moment ago counts after some seconds"
        wait = Remedy("wait a minute, and ask again")
        return replace(_because("access-policy-settling", text, "F4", wait), retry=True)
    least = _access_policies.smallest(rules).policy
    text = f"{', '.join(named)} does not allow {', '.join(map(_named, lacking[:_SHOWN]))}"
    return _because("access-policy-weak", f"{text}; {least} does", "F6")


def _allows(policy: AssociatedPolicy, rule: Rule) -> bool:
    in_scope = not (rule.cluster_scoped and policy.namespaces)
    return in_scope and not _access_policies.missing(_short(policy), (rule,))


def _is_nothing_allowed(seen: PermissionsEvidence) -> bool:
    """Of what belongs to a namespace, and there is such."""
    namespaced = [answer.allowed for answer in seen.answers if not answer.rule.cluster_scoped]
    return bool(namespaced) and not any(namespaced)


def _short(policy: AssociatedPolicy) -> str:
    return printable_message(policy.arn.rpartition("/")[2])


def _is_for(policy: AssociatedPolicy, namespace: str) -> bool:
    """Scope () is the whole cluster; a name may hold ``*``."""
    return not policy.namespaces or any(fnmatchcase(namespace, scope) for scope in policy.namespaces)


def _by_bindings(evidence: Evidence, seen: PermissionsEvidence, denied: list[Answer]) -> Finding | None:
    """What the bindings and roles say, where they may be listed."""
    user, namespace = _user(evidence), seen.wanted.namespace
    if user is None or isinstance(seen.bindings, NotChecked):
        return None
    here = [binding for binding in _of(user, seen.bindings) if binding.namespace in {"", namespace}]
    if _is_nothing_allowed(seen) and not any(binding.namespace for binding in here):
        return _elsewhere(seen, user) or _other_subject(seen, user, denied)
    return _wrong_role(seen, here, denied)


def _of(user: ApiUser, bindings: Iterable[Binding]) -> list[Binding]:
    """Those that name the user."""
    return [binding for binding in bindings if any(_is_me(subject, user, binding) for subject in binding.subjects)]


def _is_bound_here(evidence: Evidence, seen: PermissionsEvidence) -> bool:
    """Whether a binding of this very namespace names the user; False also where nobody could look."""
    user = _user(evidence)
    if user is None or isinstance(seen.bindings, NotChecked):
        return False
    return any(binding.namespace == seen.wanted.namespace for binding in _of(user, seen.bindings))


def _elsewhere(seen: PermissionsEvidence, user: ApiUser) -> Finding | None:
    """Bound in another namespace; not as one of all users, whom some namespaces of the system let in."""
    if isinstance(seen.bindings, NotChecked):
        return None
    own = replace(user, groups=tuple(group for group in user.groups if group not in _EVERYBODY))
    namespace = seen.wanted.namespace
    others = sorted({printable_message(binding.namespace) for binding in _of(own, seen.bindings)} - {"", namespace})
    if not others:
        return None
    text = f"this user is bound in namespace {', '.join(others[:_SHOWN])}, and not in {namespace}"
    remedy = Remedy(f"ask for namespace {others[0]}, if that was meant") if len(others) == 1 else None
    return _because("binding-elsewhere", text, "F9", remedy)


def _is_me(subject: Subject, user: ApiUser, binding: Binding) -> bool:
    if subject.kind == "User":
        return subject.name == user.username
    if subject.kind == "Group":
        return subject.name in user.groups
    place = subject.namespace or binding.namespace
    return subject.kind == "ServiceAccount" and user.username == f"{_SERVICE_ACCOUNT}{place}:{subject.name}"


def _wrong_role(seen: PermissionsEvidence, here: list[Binding], denied: list[Answer]) -> Finding | None:
    """A role of this user that is not there, or that names a resource in a group that is not its own."""
    if isinstance(seen.roles, NotChecked):
        return None
    for binding in here:
        if binding.role_kind != "Role" or not binding.namespace:
            continue
        rules = seen.roles.get(binding.role)
        if rules is None:
            text = f"RoleBinding {binding.name} names the Role {binding.role}, and there is none in {binding.namespace}"
            remedy = Remedy("make the Role, or make the binding again: its roleRef cannot be changed")
            return _because("role-ref-dangling", printable_message(text), "F7", remedy)
        for answer in denied:
            wrong = [rule for rule in rules if _names_in_another_group(rule, answer.rule)]
            if wrong:
                groups = ", ".join(repr(str(group)) for group in wrong[0].get("apiGroups") or ())
                text = (
                    f"Role {binding.role} allows {answer.rule.verb} {answer.rule.resource} in API group {groups}, and "
                    f"it is in {answer.rule.api_group!r}"
                )
                return _because("role-api-group", printable_message(text), "F8")
    return None


def _names_in_another_group(held: Mapping[str, object], wanted: Rule) -> bool:
    groups, resources, verbs = (_strings(held.get(name)) for name in ("apiGroups", "resources", "verbs"))
    fits = wanted.resource in resources and bool({wanted.verb, "*"} & verbs)
    return fits and not {wanted.api_group, "*"} & groups


def _other_subject(seen: PermissionsEvidence, user: ApiUser, denied: list[Answer]) -> Finding | None:
    """A binding of the namespace that names an earlier session, or the pod's account, instead of this caller."""
    if isinstance(seen.bindings, NotChecked):
        return None
    found = [
        (binding, subject)
        for binding in seen.bindings
        if binding.namespace == seen.wanted.namespace and _may_help(seen, binding, denied)
        for subject in binding.subjects
    ]
    told = (_instead(binding, subject, user) for binding, subject in sorted(found, key=lambda each: _rank(each[1])))
    return next((finding for finding in told if finding is not None), None)


def _rank(subject: Subject) -> int:
    """The likelier mistake first: many an account of pods is bound where it should be."""
    return {"User": 0, "Group": 1}.get(subject.kind, 2)


def _may_help(seen: PermissionsEvidence, binding: Binding, denied: list[Answer]) -> bool:
    """Whether its role may have something of what is denied: what is in a ClusterRole nobody looked at."""
    if binding.role_kind != "Role" or isinstance(seen.roles, NotChecked):
        return True
    rules = seen.roles.get(binding.role) or ()
    return any(_holds(rule, answer.rule) for rule in rules for answer in denied)


def _holds(held: Mapping[str, object], wanted: Rule) -> bool:
    """As RBAC reads a rule, names of single objects aside."""
    parts = (("apiGroups", wanted.api_group), ("resources", wanted.resource), ("verbs", wanted.verb))
    return all(bool({value, "*"} & _strings(held.get(name))) for name, value in parts)


def _strings(value: object) -> set[str]:
    return {str(each) for each in value} if isinstance(value, list) else set()


def _instead(binding: Binding, subject: Subject, user: ApiUser) -> Finding | None:
    session = user.username.rpartition("/")[0]
    named = f"RoleBinding {binding.name} names {subject.kind} {subject.name}"
    if subject.kind == "User" and session and subject.name.rpartition("/")[0] == session:
        text = f"{named}: another session of this role. A session's name changes; bind a group"
        return _because("binding-other-session", printable_message(text), "F7")
    if subject.kind == "Group" and subject.name.startswith("system:"):
        text = f"{named}, which this user is not in (groups: {', '.join(user.groups)})"
        return _because("binding-other-subject", printable_message(text), "F7")
    if subject.kind == "ServiceAccount" and not user.username.startswith(_SERVICE_ACCOUNT):
        text = f"{named}: the account that a pod runs as. Who makes the pod is another: user {user.username}"
        return _because("binding-other-subject", printable_message(text), "F7")
    return None


def _unbound(evidence: Evidence, seen: PermissionsEvidence, *, nothing: bool) -> Finding | None:
    """All that there is was listed, and nothing names this user, or one of its groups."""
    user = _user(evidence)
    if not nothing or user is None or isinstance(seen.bindings, NotChecked) or _is_bound_here(evidence, seen):
        return None
    named = {subject.name for binding in seen.bindings if binding.namespace in {"", seen.wanted.namespace}
             for subject in binding.subjects if subject.kind == "Group"}  # fmt: skip
    groups = [group for group in user.groups if group not in _EVERYBODY]
    free = [group for group in groups if group not in named]
    if groups and not free:
        return None
    who = f"group {', '.join(map(printable_message, free))}" if free else "this user, who is in no group of its own"
    text = f"no binding in namespace {seen.wanted.namespace} names {who}"
    return _because("group-unbound", text, "F7")


# --- admission


def _admission(seen: PermissionsEvidence, tried: DryRun) -> Finding:
    """What creating the pod with dryRun=All came to."""
    from eks_cross_account.diagnosis._explain import ADMISSION  # noqa: PLC0415 - its patterns are costly
    from eks_cross_account.diagnosis.forbidden import explain_forbidden  # noqa: PLC0415 - as above

    said = printable_message(tried.message)
    if tried.status == _CREATED:
        return Finding("admission", "PASS", "api-server", _ADMISSION, "the pod would be taken (dryRun=All)")
    if tried.status == _CONFLICT and tried.message.endswith("already exists"):  # said after admission
        text = "the pod would be taken (dryRun=All), were there none of its name"
        return Finding("admission", "PASS", "api-server", _ADMISSION, text)
    if "does not support dry run" in tried.message or tried.status in _NO_VERDICT:
        text = f"whether the pod would be taken is not known: {said}"
        return Finding("admission", "UNKNOWN", "api-server", _ADMISSION, text, retry=tried.status == _TOO_MANY)
    kind = next((denial.kind for denial in explain_forbidden(tried.message)), "other")
    if kind == "rbac":
        return Finding("admission", "SKIP", "api-server", _ADMISSION, "not tried: needs create pods")
    if seen.namespace == "missing":
        text = f"not tried: there is no namespace {seen.wanted.namespace}"
        return Finding("admission", "SKIP", "api-server", _ADMISSION, text)
    text = ADMISSION.get(kind, "mend the pod as the message says")
    remedy = Remedy(f"{text}; this is no matter of roles or bindings")
    summary = f"the pod would be refused ({tried.status}): {said}"
    return Finding("admission-denied", "FAIL", "api-server", _ADMISSION, summary, remedy=remedy, cause="F13",
                   retry=kind == "not-ready")  # fmt: skip
