"""What changed between two reports, as their JSON has them: this one, and one of a day when all was well. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable_line
from eks_cross_account.diagnosis.report import UnreadableReportError, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 1000  # characters of a value that is shown
_CLUSTER = ("arn", "endpoint", "status", "version", "authentication_mode", "vpc_id", "endpoint_public_access")
# what findings tell of the owner's side, and the server's: the rest of their evidence is another one at each run
_EVIDENCE = ("access entry", "type", "username", "groups", "policies", "created", "modified", "role created", "row",
             "GET /version", "installed")  # fmt: skip
_SUSPICIONS = {"known-defect", "profile-shadowed"}  # told only of what is red: no change of what they are about


@dataclass(frozen=True, slots=True)
class Change:
    """``what`` was ``before`` and is ``after``; "(none)" where it was not, or is not any more."""

    what: str
    before: str
    after: str


def read_report(raw: bytes) -> dict[str, Any]:
    """A report's JSON. Raises UnreadableReportError for anything else; what it holds is still a stranger's."""
    document = read_document(raw)
    if not isinstance(document.get("verdict"), str):
        raise UnreadableReportError("its verdict cannot be read")
    findings = document.get("findings")
    if not isinstance(findings, list) or not all(_is_finding(found) for found in findings):
        raise UnreadableReportError("its findings cannot be read")
    for name in ("identity", "cluster"):
        if document.get(name) is not None and not _is_flat(document[name]):
            raise UnreadableReportError(f"its {name} cannot be read")
    return document


def _is_finding(found: object) -> bool:
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(name), str) for name in ("id", "state", "title", "summary"))
        and _is_flat(found.get("evidence"))
    )


def _is_flat(members: object) -> bool:
    return isinstance(members, dict) and all(isinstance(value, str | int | None) for value in members.values())


def changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[Change, ...]:
    """What differs, in the chain's order: identity, cluster, the findings' states, and what they tell of both sides."""
    pairs = [*_facts(before, after), *_states(before, after)]
    return tuple(Change(_shown(what), _shown(was), _shown(became)) for what, was, became in pairs if was != became)


def _facts(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield "verdict", before.get("verdict"), after.get("verdict")
    who, then = before.get("identity") or {}, after.get("identity") or {}
    for name in ("account", "arn"):
        yield f"identity {name}", who.get(name), then.get(name)
    old, new = before.get("cluster") or {}, after.get("cluster") or {}
    for name in _CLUSTER:
        yield f"cluster {name.replace('_', ' ')}", old.get(name), new.get(name)
    yield "cluster CA", _digest(old.get("certificate_authority")), _digest(new.get("certificate_authority"))


def _states(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    was, became = _by_title(before), _by_title(after)
    for title in dict.fromkeys([*was, *became]):
        yield title, _state(was.get(title)), _state(became.get(title))
        old, new = was.get(title, {}).get("evidence", {}), became.get(title, {}).get("evidence", {})
        for name in _EVIDENCE:
            if name in old and name in new:
                yield f"{title}: {name}", old[name], new[name]


def _by_title(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The finding of each link; of several the worst."""
    found: dict[str, dict[str, Any]] = {}
    for each in report["findings"]:
        if each["id"] in _SUSPICIONS:
            continue
        if each["title"] not in found or each["state"] == "FAIL":
            found[each["title"]] = each
    return found


def _state(finding: dict[str, Any] | None) -> str | None:
    return None if finding is None else f"{finding['state']} {finding['id']}"


def _digest(certificate: object) -> str | None:
    if not isinstance(certificate, str):
        return None
    return hashlib.sha256(certificate.encode("utf-8", "surrogatepass")).hexdigest()[:16]  # JSON has half pairs, too


def _shown(value: object) -> str:
    return "(none)" if value is None else printable_line(str(value)[:_LONGEST])
