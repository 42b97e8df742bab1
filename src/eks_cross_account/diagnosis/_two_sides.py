"""One page out of two: the evidence of one side, joined with the report of the other, and where they disagree. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable_message
from eks_cross_account.diagnosis._mapping_probes import NotChecked
from eks_cross_account.diagnosis.report import Finding, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.cluster import Cluster
    from eks_cross_account.diagnosis._facts import OtherSide
    from eks_cross_account.diagnosis.evidence import Evidence

_TITLE = "both sides"


def joined(evidence: Evidence, other: OtherSide) -> Evidence:
    """The evidence, with what only the other side could see. Raises ValueError where both are the same side."""
    own = "owner" if evidence.principal_arn else "task"
    if own == other.side:
        hint = "with --principal-arn" if own == "task" else "without --principal-arn"
        raise ValueError(f"it is the report of the same side: of the other one is needed, made {hint}")
    seen = replace(evidence, other=other)
    if other.subject != evidence.subject or not _is_same_cluster(evidence, other):
        return seen
    filled: dict[str, Any] = {}
    for name in ("role", "entry", "aws_auth"):
        mine, theirs = getattr(evidence, name), getattr(other, name)
        if (mine is None or isinstance(mine, NotChecked)) and theirs is not None:
            filled[name] = theirs
    return replace(seen, **filled)


def check_two_sides(evidence: Evidence) -> Iterator[Finding]:
    """What the other side's report adds, and where the two cannot both be right."""
    other = evidence.other
    if other is None:
        return
    yield _summary(other)
    if not _is_same_cluster(evidence, other):
        yield _other_cluster(evidence, other)
    elif other.subject and evidence.subject and other.subject.casefold() != evidence.subject.casefold():
        yield _other_signer(evidence, other)
    elif _differs(_mode(evidence.cluster), _mode(other.cluster)):
        text = f"authentication mode {_mode(evidence.cluster)} here, {_mode(other.cluster)} in the other report"
        yield Finding("views-disagree", "UNKNOWN", "inferred", _TITLE, text,
                      remedy=Remedy("it was changed between the two: make both reports again"), retry=True)  # fmt: skip


def _summary(other: OtherSide) -> Finding:
    arn = printable_message(other.subject) or "nobody that it names"
    seen = [("root cause", other.broken or "none"), ("API server", other.api_server or "not said")]
    seen += [("seen", name) for name in ("role", "entry", "aws_auth") if getattr(other, name) is not None]
    whose = "the cluster's owner, who looked for" if other.side == "owner" else "the task's side, with a token of"
    text = f"the report of {whose} {arn}" + (f"; its root cause: {other.broken}" if other.broken else "")
    return Finding("other-side", "PASS", "inferred", "other side", text, tuple(seen))


def _is_same_cluster(evidence: Evidence, other: OtherSide) -> bool:
    mine, theirs = evidence.cluster, other.cluster
    if other.cluster_name != evidence.cluster_name or _differs(evidence.region, other.region):
        return False
    if mine is None or theirs is None:
        return True
    same_place = mine.endpoint.rstrip("/").casefold() == theirs.endpoint.rstrip("/").casefold()
    return not _differs(mine.arn, theirs.arn) and (same_place or not mine.endpoint or not theirs.endpoint)


def _differs(mine: str, theirs: str) -> bool:
    """Whether both are known and not the same."""
    return bool(mine and theirs and mine != theirs)


def _mode(cluster: Cluster | None) -> str:
    return (cluster.authentication_mode if cluster is not None else None) or ""


def _other_cluster(evidence: Evidence, other: OtherSide) -> Finding:
    def shown(name: str, region: str, cluster: Cluster | None) -> str:
        place = f"{name} in {region}"
        known = (cluster.arn or place, cluster.endpoint) if cluster is not None else (place,)
        return printable_message(", ".join(filter(None, known)))

    seen = (
        ("here", shown(evidence.cluster_name, evidence.region, evidence.cluster)),
        ("other report", shown(other.cluster_name, other.region, other.cluster)),
    )
    summary = f"the two sides speak of different clusters: {seen[0][1]} here, {seen[1][1]} in the other report"
    remedy = Remedy(
        "a token is good for every cluster of its name, and mapped in one: take region, account and endpoint from the "
        "same DescribeCluster"
    )
    return Finding("other-cluster", "FAIL", "inferred", _TITLE, summary, seen, remedy, cause="U22")


def _other_signer(evidence: Evidence, other: OtherSide) -> Finding:
    signer, meant = evidence.subject, other.subject
    if evidence.principal_arn:
        signer, meant = meant, signer
    summary = f"the token is that of {signer}, and the cluster's owner looked for {meant}"
    remedy = Remedy(
        "sign as the one that is mapped (--role-arn, the role of the connection), or map the one that signs"
    )
    account = signer.split(":")[4]
    return Finding("wrong-signer", "FAIL", "inferred", _TITLE, summary, remedy=remedy, cause="U16", owner=account)
