"""The checks of the mapping: by what way the cluster lets a principal in, or why it does not. Pure.

There are two: an access entry, and a row of the ConfigMap aws-auth; the cluster's authentication mode says which count.
A way that nobody could look into is never taken for one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from eks_cross_account._printable import printable_message
from eks_cross_account.diagnosis import remedies
from eks_cross_account.diagnosis._mapping_probes import AwsAuthEvidence, EntryEvidence, NotChecked, RoleEvidence
from eks_cross_account.diagnosis.report import Finding, Remedy
from eks_cross_account.errors import ClusterError
from eks_cross_account.mapping import EKS_RESERVED_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eks_cross_account.cluster import AssociatedPolicy, DescribedEntry
    from eks_cross_account.diagnosis.evidence import Evidence

MAPPED = "mapping"
_STANDARD = "STANDARD"
_NODE_TEMPLATE = "{{EC2PrivateDNSName}}"
_SETTLES = timedelta(seconds=60)  # "several seconds" (EKS user guide), and the clocks of two machines
_SHOWN = 5
_TITLE = "mapping"
_ENTRY, _AWS_AUTH = "access entry", "aws-auth"
_READ_AWS_AUTH = NotChecked("get on ConfigMap kube-system/aws-auth, by somebody whom the cluster lets in")
_BROKEN_ENTRIES = {"access-entry-stale", "access-entry-for-nodes", "reserved-username"}
_SHADOWING = {"access-entry-for-nodes", "reserved-username"}  # found, and refused: no row is looked at (doMapping)
_PLAIN = {"access-entry-missing", "aws-auth-no-row", "aws-auth-missing"}
_STORES = {"API": (_ENTRY,), "CONFIG_MAP": (_AWS_AUTH,)}


@dataclass(frozen=True, slots=True)
class _Way:
    """What one store says: it maps the principal, it does not (``finding`` says why), or nobody looked (``needs``)."""

    says: Literal["maps", "no", "unknown"]
    finding: Finding | None = None
    needs: str = ""


def check_mapping(evidence: Evidence) -> Iterator[Finding]:
    """Whether the cluster maps the principal in question; after a 401, why it does not."""
    if evidence.cluster is None and evidence.other is not None:
        evidence = replace(evidence, cluster=evidence.other.cluster)
    if evidence.cluster is None and evidence.principal_arn:
        yield from _cluster_unseen(evidence)
    if evidence.cluster is None or not evidence.subject:
        return
    if evidence.role_is_missing and evidence.principal_arn:
        yield _no_such_role(evidence)
        return
    ways = {_ENTRY: _entry_way(evidence), _AWS_AUTH: _aws_auth_way(evidence)}
    if evidence.is_accepted:
        yield _proven(evidence, ways[_ENTRY])
    else:
        yield from _judged(evidence, ways)
    yield from _rights(evidence)


def _cluster_unseen(evidence: Evidence) -> Iterator[Finding]:
    """The owner's side, without a cluster to look into; where there is none, that is said above."""
    problem = evidence.cluster_problem
    if isinstance(problem, ClusterError) and problem.code == "AccessDeniedException":
        text = f"what maps {_named(evidence)} was {NotChecked('eks:DescribeCluster')}"
        yield Finding(MAPPED, "UNKNOWN", "aws", _TITLE, text)


def _judged(evidence: Evidence, ways: dict[str, _Way]) -> Iterator[Finding]:
    mode = _mode(evidence)
    counting = _STORES.get(mode, (_ENTRY, _AWS_AUTH))
    open_ways = [ways[name] for name in counting if ways[name].says == "unknown"]
    broken = [found for name in counting for found in [ways[name].finding] if found is not None]
    ignored = next((name for name in ways if name not in counting and ways[name].says == "maps"), None)
    entry = ways[_ENTRY].finding if _ENTRY in counting else None
    if entry is not None and entry.id in _SHADOWING:
        yield entry
    elif entry is not None and entry.id in _BROKEN_ENTRIES and _maps_by(_AWS_AUTH, counting, ways):
        yield _beside_a_row(evidence, entry)
    elif any(_maps_by(name, counting, ways) for name in ways):
        yield _mapped(evidence, counting, ways)
    elif ignored is not None and (evidence.is_refused or not open_ways):
        yield _ignored(evidence, ignored, mode)
    elif broken and (not open_ways or _is_certain(broken) or (evidence.is_refused and ways[_ENTRY].says == "no")):
        first = min(broken, key=_plainness)
        others = [("also", finding.summary) for finding in broken if finding is not first]
        yield replace(first, evidence=(*first.evidence, *(others if first.id not in _BROKEN_ENTRIES else ())))
    else:
        yield _not_checked(evidence, open_ways, broken)


def _maps_by(name: str, counting: tuple[str, ...], ways: dict[str, _Way]) -> bool:
    return name in counting and ways[name].says == "maps"


def _beside_a_row(evidence: Evidence, stale: Finding) -> Finding:
    """An entry for another principal of this name, and a row that maps it: the verifier goes on to the row.

    Whether EKS does is not published; its user guide says that an entry counts before a row.
    """
    if evidence.is_refused:
        return stale
    return replace(stale, state="UNKNOWN", summary=f"{stale.summary}; a row of aws-auth maps it, and may count instead")


def _mapped(evidence: Evidence, counting: tuple[str, ...], ways: dict[str, _Way]) -> Finding:
    """A way that counts maps the principal; if its token was refused all the same, why."""
    if not evidence.is_refused:
        return _maps(evidence, counting, ways)
    return _settling(evidence) if _is_new(evidence) else _disagreeing(evidence)


def _plainness(finding: Finding) -> int:
    """A broken entry or row says more than a missing one."""
    return 1 if finding.id in _PLAIN else 0


def _is_certain(broken: list[Finding]) -> bool:
    """Whether an entry is there and broken: it counts before aws-auth, whatever that says (EKS user guide)."""
    return any(finding.id in _BROKEN_ENTRIES for finding in broken)


def _mode(evidence: Evidence) -> str:
    cluster = evidence.cluster
    return (cluster.authentication_mode if cluster is not None else None) or ""


def _owner(evidence: Evidence) -> str:
    return evidence.cluster.account if evidence.cluster is not None else ""


def _named(evidence: Evidence) -> str:
    return printable_message(evidence.subject_with_path or evidence.subject)


def _where(evidence: Evidence) -> str:
    """The cluster, with where its region and its account came from."""
    account = f", account {_owner(evidence)} ({evidence.account_from})" if _owner(evidence) else ""
    return f"cluster {evidence.cluster_name} in {evidence.region} ({evidence.region_from}){account}"


def _broken(  # noqa: PLR0913 - a finding
    evidence: Evidence, name: str, cause: str, summary: str, *, seen: tuple[tuple[str, str], ...] = (), remedy: Remedy
) -> Finding:
    return Finding(name, "FAIL", "aws", _TITLE, summary, seen, remedy, cause=cause, owner=_owner(evidence))


# --- the access entry


def _entry_way(evidence: Evidence) -> _Way:
    found = evidence.entry
    if found is None or isinstance(found, NotChecked):
        return _Way("unknown", needs=str(found or NotChecked("eks:DescribeAccessEntry")))
    if found.entry is None:
        return _Way("no", _missing_entry(evidence, found))
    wrong = _wrong_entry(evidence, found.entry)
    return _Way("no", wrong) if wrong is not None else _Way("maps")


def _missing_entry(evidence: Evidence, found: EntryEvidence) -> Finding:
    others = [printable_message(arn) for arn in found.listed or ()]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    shown = "not listed: needs eks:ListAccessEntries" if found.listed is None else ", ".join(others[:_SHOWN]) or "none"
    summary = f"no access entry for {_named(evidence)}: {_where(evidence)}"
    seen = (("entries", shown + more),)
    return _broken(evidence, "access-entry-missing", "U15", summary, seen=seen, remedy=_mapping_remedy(evidence))


def _wrong_entry(evidence: Evidence, entry: DescribedEntry) -> Finding | None:
    """Why an entry that is there lets nobody in, or None."""
    seen = _entry_facts(evidence, entry)
    arn = printable_message(entry.principal_arn)
    role = evidence.role if isinstance(evidence.role, RoleEvidence) else None
    if role is not None and role.created is not None and entry.created is not None and entry.created < role.created:
        summary = (
            f"the access entry of {arn} is older than the role ({_moment(entry.created)}, {_moment(role.created)}): "
            "it is for the role that had this name before, and lets nobody in"
        )
        remedy = remedies.remade_entry_remedy(evidence.cluster_name, evidence.region, entry.principal_arn)
        return _broken(evidence, "access-entry-stale", "U17", summary, seen=seen, remedy=remedy)
    if entry.type != _STANDARD or _NODE_TEMPLATE in entry.username:
        summary = (
            f"the access entry of {arn} is of type {printable_message(entry.type)}, for nodes: a session that is named "
            "after no instance gets no user by it"
        )
        remedy = remedies.node_entry_remedy(evidence.cluster_name, evidence.region, entry.principal_arn)
        return _broken(evidence, "access-entry-for-nodes", "U21", summary, seen=seen, remedy=remedy)
    if entry.username.startswith(EKS_RESERVED_PREFIXES):
        name = printable_message(entry.username)
        summary = f"the user name {name} of the access entry of {arn} begins with a prefix that is EKS's own"
        remedy = remedies.username_remedy(evidence.cluster_name, evidence.region, entry.principal_arn)
        return _broken(evidence, "reserved-username", "U15", summary, seen=seen, remedy=remedy)
    return None


def _entry_facts(evidence: Evidence, entry: DescribedEntry) -> tuple[tuple[str, str], ...]:
    role = evidence.role
    created = _moment(role.created) if isinstance(role, RoleEvidence) else str(role or "not checked")
    policies = evidence.entry.policies if isinstance(evidence.entry, EntryEvidence) else ()
    shown = str(policies) if isinstance(policies, NotChecked) else ", ".join(map(_scoped, policies)) or "none"
    return (
        ("access entry", printable_message(entry.principal_arn)),
        ("type", printable_message(entry.type)),
        ("username", printable_message(entry.username)),
        ("groups", ", ".join(map(printable_message, entry.groups)) or "none"),
        ("policies", shown),
        ("created", _moment(entry.created)),
        ("modified", _moment(entry.modified)),
        ("role created", created),
    )


def _scoped(policy: AssociatedPolicy) -> str:
    where = f"namespaces {' '.join(policy.namespaces)}" if policy.namespaces else "the whole cluster"
    return printable_message(f"{policy.arn.rsplit('/', 1)[-1]} ({where})")


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment is not None else "unknown"


def _is_new(evidence: Evidence) -> bool:
    found = evidence.entry
    entry = found.entry if isinstance(found, EntryEvidence) else None
    moments = [moment for moment in (entry.created, entry.modified) if moment is not None] if entry is not None else []
    return bool(moments) and abs(evidence.now - max(moments)) < _SETTLES and _entry_way(evidence).says == "maps"


def _settling(evidence: Evidence) -> Finding:
    summary = (
        f"the access entry of {_named(evidence)} is less than {_SETTLES.seconds} s old: it counts after some seconds"
    )
    remedy = Remedy("wait a minute and run this again")
    found = _broken(evidence, "access-entry-settling", "U15", summary, remedy=remedy)
    return replace(found, retry=True, owner="")


# --- aws-auth


def _aws_auth_way(evidence: Evidence) -> _Way:
    found = evidence.aws_auth
    if found is None or isinstance(found, NotChecked):
        return _Way("unknown", needs=str(found or _READ_AWS_AUTH))
    return _Way("maps") if found.verdict == "maps" else _Way("no", _wrong_row(evidence, found))


_NEVER = "the row {row} of aws-auth never matches: write the ARN of the role, without its path"
_NODES = "the row {row} of aws-auth is for nodes: a session that is named after no instance gets no user by it"
_WRONG_ROWS = {
    "no-row": ("aws-auth-no-row", "U15", "aws-auth has no row for {arn}: {where}"),
    "path": ("aws-auth-role-path", "U18", _NEVER),
    "nodes": ("aws-auth-for-nodes", "U21", _NODES),
    "absent": ("aws-auth-missing", "U20", "no ConfigMap aws-auth in kube-system: {where}"),
    "damaged": ("aws-auth-damaged", "U20", "a part of aws-auth cannot be read, and the rest has no row for {arn}"),
}


def _wrong_row(evidence: Evidence, found: AwsAuthEvidence) -> Finding:
    name, cause, text = _WRONG_ROWS[found.verdict]
    summary = text.format(row=printable_message(found.row), arn=_named(evidence), where=_where(evidence))
    seen = tuple(("unreadable", problem) for problem in found.problems[:_SHOWN])
    remedy = remedies.aws_auth_remedy(
        evidence.cluster_name,
        evidence.region,
        evidence.subject,
        principal_arn=evidence.subject_with_path,
        mode=_mode(evidence),
        namespace=evidence.namespace,
    )
    return replace(_broken(evidence, name, cause, summary, seen=seen, remedy=remedy), view="api-server")


# --- both


def _mapping_remedy(evidence: Evidence) -> Remedy:
    return remedies.entry_remedy(
        evidence.cluster_name,
        evidence.region,
        evidence.subject,
        principal_arn=evidence.subject_with_path,
        mode=_mode(evidence),
        namespace=evidence.namespace,
    )


def _no_such_role(evidence: Evidence) -> Finding:
    account = evidence.subject.split(":")[4]
    summary = f"there is no role {_named(evidence)} in account {account} ({evidence.account_from})"
    remedy = Remedy("check the ARN: a role that was deleted is nobody, whatever maps it")
    return Finding("role-missing", "FAIL", "aws", _TITLE, summary, remedy=remedy, cause="U17", owner=account)


def _proven(evidence: Evidence, entry_way: _Way) -> Finding:
    """The API server knows the user, so something maps it; what, is said where it can be seen."""
    found = evidence.entry
    if entry_way.says == "unknown":
        summary = f"{entry_way.needs} (it works)"
        return Finding(MAPPED, "SKIP", "aws", _TITLE, summary)
    if isinstance(found, EntryEvidence) and found.entry is not None:
        return _by_entry(evidence, found.entry)
    summary = f"{_named(evidence)} comes in by aws-auth: it has no access entry"
    return Finding(MAPPED, "PASS", "inferred", _TITLE, summary)


def _by_entry(evidence: Evidence, entry: DescribedEntry) -> Finding:
    seen = _entry_facts(evidence, entry)
    shown = dict(seen)
    summary = f"policies {shown['policies']}, groups {shown['groups']}: access entry of {shown['access entry']}"
    return Finding(MAPPED, "PASS", "aws", _TITLE, summary, seen, owner=_owner(evidence))


def _maps(evidence: Evidence, counting: tuple[str, ...], ways: dict[str, _Way]) -> Finding:
    found = evidence.entry
    if _ENTRY in counting and ways[_ENTRY].says == "maps" and isinstance(found, EntryEvidence) and found.entry:
        passed = _by_entry(evidence, found.entry)
        if isinstance(evidence.role, NotChecked) and ":role/" in evidence.subject:
            summary = f"{passed.summary}; whether it is older than the role was {evidence.role}"
            return replace(passed, state="UNKNOWN", summary=summary, cause="U17")
        return passed
    row = evidence.aws_auth
    groups = ", ".join(row.groups) if isinstance(row, AwsAuthEvidence) else ""
    summary = f"a row of aws-auth maps {_named(evidence)}, groups {printable_message(groups) or 'none'}"
    return Finding(MAPPED, "PASS", "api-server", _TITLE, summary, owner=_owner(evidence))


def _ignored(evidence: Evidence, store: str, mode: str) -> Finding:
    what = "an access entry" if store == _ENTRY else "a row of aws-auth"
    summary = f"{_named(evidence)} has {what}, which counts for nothing in mode {mode}: {_where(evidence)}"
    if store == _ENTRY:
        remedy = remedies.mode_remedy(evidence.cluster_name, evidence.region)
        return _broken(evidence, "access-entry-ignored", "U19", summary, remedy=remedy)
    return _broken(evidence, "aws-auth-ignored", "U19", summary, remedy=_mapping_remedy(evidence))


def _disagreeing(evidence: Evidence) -> Finding:
    """Seen to be mapped, and refused: what is left when all that can be seen is right."""
    role = evidence.role
    open_end = f"; whether the entry is older than the role was {role}" if isinstance(role, NotChecked) else ""
    summary = f"{_named(evidence)} is mapped, and its token was refused all the same{open_end}: {_where(evidence)}"
    left = (
        "the token went to another cluster of this name | the role was made again after the entry | EKS could not ask "
        "STS just then"
    )
    return Finding(
        "mapping-contradicted",
        "UNKNOWN",
        "inferred",
        _TITLE,
        summary,
        (("left", left),),
        remedies.remade_entry_remedy(evidence.cluster_name, evidence.region, _named(evidence)),
        cause="U22",
        retry=True,
    )


def _not_checked(evidence: Evidence, open_ways: list[_Way], broken: list[Finding]) -> Finding:
    needs = [way.needs for way in open_ways] or ["not checked"]
    known = f" ({broken[0].summary})" if broken else ""
    summary = f"what maps {_named(evidence)} was {'; '.join(dict.fromkeys(needs))}{known}"
    return Finding(MAPPED, "UNKNOWN", "aws", _TITLE, summary, owner=_owner(evidence))


def _is_denied(evidence: Evidence) -> bool:
    """Whether rights were asked for and denied: that check says why then."""
    asked = evidence.permissions
    return asked is not None and any(answer.allowed is False for answer in asked.answers)


def _rights(evidence: Evidence) -> Iterator[Finding]:
    """An entry that lets its principal in, and allows it nothing."""
    found = evidence.entry
    if not isinstance(found, EntryEvidence) or found.entry is None or _entry_way(evidence).says != "maps":
        return
    if found.entry.groups or found.policies or _is_denied(evidence):
        return
    summary = f"the access entry of {_named(evidence)} has neither policy nor group: it lets in, and allows nothing"
    remedy = remedies.policy_remedy(evidence.cluster_name, evidence.region, found.entry.principal_arn)
    yield Finding("access-entry-without-rights", "WARN", "aws", "rights", summary, remedy=remedy, cause="F2",
                  owner=_owner(evidence))  # fmt: skip
