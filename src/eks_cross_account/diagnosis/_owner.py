"""The text to forward to the owner of the other account, who knows nothing of what runs here. Touches nothing."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from eks_cross_account._printable import printable_line
from eks_cross_account.diagnosis import manifests, remedies
from eks_cross_account.diagnosis.needs import required_permissions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.diagnosis.report import Finding, Report

_HOP = "assume-role"
_MAPPING = ("not-mapped", "access-entry-", "aws-auth-", "reserved-username")
_UNKNOWN = "unauthorized"
_DESCRIBE = "describe-cluster-denied"
_RIGHTS = (
    "forbidden", "access-policy-", "binding-", "group-unbound", "role-ref-dangling", "role-api-group", "cluster-scope",
    "user-name-empty",
)  # fmt: skip
_WAY = ("unreachable", "wrong-certificate-authority", "tls-failed", "not-kubernetes")
_THEIRS = (_HOP, _DESCRIBE, *_MAPPING, _UNKNOWN, *_RIGHTS, *_WAY)  # what somebody else can mend; the rest is ours
_LONGEST = 15  # lines
_HOLE = re.compile(r"<[A-Z_]{2,20}/?>")  # what a fix leaves open; EKS takes any text for a namespace
_CUT = 600  # characters of a finding's or a remedy's text


def ask_owner(report: Report) -> str:
    """At most 15 lines: what we want, why, the least rights, commands, how to verify, how to undo. Nothing secret."""
    broken = next((finding for finding in report.findings if finding.id == report.root_cause), None)
    if broken is None and not report.confirmed:
        broken = next(
            (finding for finding in report.findings if finding.id == _DESCRIBE), None
        )  # in the way of all else
    lines = _nothing(report) if broken is None else _asked(report, broken)
    return "".join(f"{printable_line(line)}\n" for line in lines)


def _nothing(report: Report) -> list[str]:
    if report.confirmed:
        return [f"Nothing to ask for: {report.cluster_name} lets us in."]
    return [f"Nothing is known to be broken at {report.cluster_name}, and nothing was confirmed: see the report."]


def _asked(report: Report, broken: Finding) -> list[str]:
    if not broken.id.startswith(_THEIRS):
        return [f"Nothing to ask another account's owner for: {broken.id} is to be mended on our side, see the report."]
    owner = broken.owner or str((report.cluster or {}).get("account") or "(unknown)")
    lines = [f"To the owner of AWS account {owner}, about EKS cluster {report.cluster_name} in {_region(report)}:"]
    lines += [*_wish(report, broken), *_to_run(broken), *_afterwards(report, broken)]
    looks = _to_look(report, broken)
    return [*lines, *looks] if len(lines) + len(looks) <= _LONGEST else lines[:_LONGEST]


def _wish(report: Report, broken: Finding) -> Iterator[str]:
    hops = [arn for arn, granted in report.chain.hops if granted]
    who = report.chain.token_of or (hops[-1] if hops else report.chain.caller) or "our role"
    how = _cut(broken.remedy.text) if broken.remedy is not None else "please have a look"
    if broken.id.startswith(_HOP):
        role = next((arn for arn, granted in report.chain.hops if not granted), "the role")
        yield f"What we want: that {hops[-1] if hops else report.chain.caller or 'our role'} may assume {role}."
    elif broken.id.startswith(_MAPPING):
        yield f"What we want: that {who} may run pods in one namespace of the cluster."
    elif broken.id == _DESCRIBE:
        yield f"What we want: that {who} may call eks:DescribeCluster on it, or its endpoint and CA by hand."
    elif broken.id.startswith(_RIGHTS):
        yield f"What we want: that {who} may do this in namespace {_place(report)}: {_missing(report)}."
    elif broken.id == _UNKNOWN:
        yield f"What we want: to know why the cluster refuses the token of {who}."
    else:
        yield f"What we want: that we reach the cluster's API server. {how}"
    yield f"Why: {_cut(broken.summary)}"
    if broken.id.startswith(_HOP):
        yield f"How: {how}"
        yield from _statement(broken)
        yield "Least right: sts:AssumeRole on that one role, by this one principal."
        yield from _without_the_hop(report)
    elif broken.id.startswith((*_RIGHTS, _DESCRIBE)):
        yield f"How: {how}"
    elif broken.id.startswith(_MAPPING):
        yield f"How: {how}"
        yield f"Least rights, in that namespace: {_least_rights()}.{_broader(broken)}"


def _place(report: Report) -> str:
    return str((report.permissions or {}).get("namespace") or "(not said)")


def _missing(report: Report) -> str:
    """The rights that were denied, per resource its verbs."""
    denied: dict[str, list[str]] = {}
    for rule in (report.permissions or {}).get("rules", ()):
        if rule["allowed"] is False:
            denied.setdefault(f"{rule['resource']}{'.' * bool(rule['api_group'])}{rule['api_group']}", []).append(
                rule["verb"]
            )
    return "; ".join(f"{resource} {', '.join(verbs)}" for resource, verbs in denied.items()) or "see below"


def _least_rights() -> str:
    """Of a pod operator, run at once or deferred, with XCom: per resource its verbs."""
    rules = {*required_permissions(xcom=True), *required_permissions(xcom=True, deferrable=True)}
    held = manifests.merged(rules)
    return "; ".join(f"{', '.join(each['resources'])} {', '.join(each['verbs'])}" for each in held)


def _broader(broken: Finding) -> str:
    commands = broken.remedy.commands if broken.remedy is not None else ()
    has_policy = any("associate-access-policy" in command for command in commands)
    return " The policy below gives more, its secrets among it." if has_policy else ""


def _statement(broken: Finding) -> list[str]:
    """The JSON that a remedy's text ends with, on one line."""
    _, brace, rest = (broken.remedy.text if broken.remedy is not None else "").partition("\n{")
    return [f"Add to its trust policy: {{{' '.join(rest.split())}"] if brace else []


def _without_the_hop(report: Report) -> list[str]:
    command = remedies.direct_entry(report.cluster_name, _region(report), report.chain.caller or "")
    hint = " (<PATH/>: the role's path, or nothing)" if "<PATH/>" in command else ""
    return [f"Or, with no role to assume, the cluster's owner lets ours in{hint}: {command}"] if command else []


def _to_run(broken: Finding) -> Iterator[str]:
    """The commands; or where none makes an entry, the row of aws-auth before them; a Role in one line."""
    remedy = broken.remedy
    if remedy is None:
        return
    commands = [command for command in remedy.commands if not command.startswith("#")]  # the broader way
    if remedy.yaml and "roleRef" in remedy.yaml:
        commands.append(f"echo {shlex.quote(_in_one_line(remedy.yaml))} | kubectl apply -f -")
    elif remedy.yaml and not _makes_an_entry(remedy.commands):
        yield "In the ConfigMap aws-auth of the namespace kube-system:"
        yield from (f"  {line}" for line in remedy.yaml.splitlines())
        yield "Or let the cluster take access entries, too; there is no way back:"
        yield from (f"  {_one_line(command)}" for command in commands)
        return
    if commands:
        holes = sorted({hole for command in commands for hole in _HOLE.findall(command)})
        yield f"Please fill in {', '.join(holes)}, and run:" if holes else "Please run:"
        yield from (f"  {_one_line(command)}" for command in commands)


def _in_one_line(manifest: str) -> str:
    """The documents as a List in JSON."""
    try:
        documents = [json.loads(part) for part in manifest.split("---\n") if part.strip()]
    except ValueError:
        import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - it has written this

        documents = list(yaml.safe_load_all(manifest))
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}, separators=(",", ":"))


def _afterwards(report: Report, broken: Finding) -> Iterator[str]:
    """How to verify, and how to undo."""
    commands = broken.remedy.commands if broken.remedy is not None else ()
    flags = f"--cluster-name {shlex.quote(report.cluster_name)} --region {shlex.quote(_region(report))}"
    if _makes_an_entry(commands):
        yield f"To verify: aws eks list-access-entries {flags}; we try again, it counts after some seconds."
        yield f"To undo: aws eks delete-access-entry {flags} --principal-arn (as above)"
        return
    yield "To verify: we try again and tell you."
    if broken.id.startswith(_HOP):
        yield "To undo: put the policy back as it was."
    elif broken.remedy is not None and broken.remedy.yaml and "roleRef" not in broken.remedy.yaml:
        yield "To undo: take the row out again; the authentication mode cannot be put back."
    elif broken.remedy is not None and broken.remedy.yaml and "roleRef" in broken.remedy.yaml:
        yield "To undo: delete the Role and the RoleBinding of that name."
    elif any("update-cluster-config" in command for command in commands):
        yield "To undo: not possible, the mode stays; what is in aws-auth counts as before."


def _makes_an_entry(commands: tuple[str, ...]) -> bool:
    return any("create-access-entry" in command for command in commands)


def _to_look(report: Report, broken: Finding) -> list[str]:
    """Where the owner of the cluster sees the refusals."""
    if broken.id not in {"not-mapped", _UNKNOWN}:
        return []
    queries = map(_one_line, remedies.log_queries(report.cluster_name, _region(report)))
    head = "To see it on your side (log types authenticator, audit; then aws logs get-query-results --query-id ID):"
    return [head, *(f"  {query}" for query in queries)]


def _region(report: Report) -> str:
    return report.region.partition(" ")[0]


def _one_line(command: str) -> str:
    return re.sub(r"\s*\\\n\s*", " ", command)


def _cut(text: str) -> str:
    shown = " ".join(text.partition("\n{")[0].split())
    return shown if len(shown) <= _CUT else shown[: _CUT - 3] + "..."
