"""The text to forward to the owner of the other account, who knows nothing of what runs here. Touches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eks_cross_account.diagnosis.report import Finding, Report

_RIGHTS = "pods create, get, list, patch, delete; pods/log get; pods/exec get, create; events list, watch"
_MAPPING = ("not-mapped", "access-entry-", "aws-auth-", "mode-", "reserved-username", "anonymous", "unauthorized")
_LONGEST = 15  # lines
_CUT = 400  # characters of a finding's or a remedy's text


def ask_owner(report: Report) -> str:
    """At most 15 lines: what we want, why, the least rights, commands, how to verify, how to undo. Nothing secret."""
    broken = next((finding for finding in report.findings if finding.id == report.root_cause), None)
    if broken is None:
        return (
            f"Nothing to ask for: {report.cluster_name} lets us in.\n"
            if report.confirmed
            else (
                f"Nothing is known to be broken at {report.cluster_name}, and nothing was confirmed: see the report.\n"
            )
        )
    owner = broken.owner or str((report.cluster or {}).get("account") or "(unknown)")
    lines = [f"To the owner of AWS account {owner}, about EKS cluster {report.cluster_name} in {_region(report)}:"]
    lines += _wish(report, broken)
    commands = broken.remedy.commands if broken.remedy is not None else ()
    verify, undo = _afterwards(report, broken)
    room = _LONGEST - len(lines) - len(verify) - len(undo) - 1
    if commands:
        lines += ["Please run:", *(f"  {_one_line(command)}" for command in commands[:room])]
    return "\n".join([*lines, *verify, *undo]) + "\n"


def _wish(report: Report, broken: Finding) -> list[str]:
    who = (
        report.chain.token_of or (report.chain.hops[-1][0] if report.chain.hops else report.chain.caller) or "our role"
    )
    if broken.id.startswith("assume-role"):
        role = next((arn for arn, granted in report.chain.hops if not granted), "the role")
        asker = _asker(report)
        wanted = f"What we want: that {asker} may assume {role}."
        least = "Least right: sts:AssumeRole on that one role, by this one principal."
        return [wanted, f"Why: {_cut(broken.summary)}", least, *_statement(broken)]
    if broken.id.startswith(_MAPPING):
        wanted = f"What we want: that {who} may run pods in one namespace of the cluster."
        return [wanted, f"Why: {_cut(broken.summary)}", f"Least rights, in that namespace: {_RIGHTS}."]
    text = broken.remedy.text if broken.remedy is not None else "please have a look"
    return [f"What we want: {_cut(text)}", f"Why: {_cut(broken.summary)}"]


def _asker(report: Report) -> str:
    """Who asked for the hop that was refused."""
    granted = [arn for arn, was_granted in report.chain.hops if was_granted]
    return granted[-1] if granted else report.chain.caller or "our role"


def _statement(broken: Finding) -> list[str]:
    """The JSON that a remedy's text ends with, on one line."""
    _, brace, rest = (broken.remedy.text if broken.remedy is not None else "").partition("\n{")
    return [f"Add to its trust policy: {{{' '.join(rest.split())}"] if brace else []


def _afterwards(report: Report, broken: Finding) -> tuple[list[str], list[str]]:
    flags = f"--cluster-name {report.cluster_name} --region {_region(report)}"
    if broken.id.startswith("assume-role"):
        return ["To verify: we try again and tell you."], ["To undo: take the statement out again."]
    if broken.id.startswith(_MAPPING):
        return (
            [f"To verify: aws eks list-access-entries {flags}; we try again, it counts after some seconds."],
            [f"To undo: aws eks delete-access-entry {flags} --principal-arn (as above)"],
        )
    return ["To verify: we try again and tell you."], []


def _region(report: Report) -> str:
    return report.region.partition(" ")[0]


def _one_line(command: str) -> str:
    return " ".join(command.replace("\\\n", " ").split())


def _cut(text: str) -> str:
    shown = " ".join(text.partition("\n{")[0].split())
    return shown if len(shown) <= _CUT else shown[: _CUT - 3] + "..."
