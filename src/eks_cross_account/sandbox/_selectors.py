"""Label and field selectors of list and watch requests. Touches nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from eks_cross_account.sandbox import _status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REQUIREMENT = re.compile(
    r"\s*(?:"
    r"!\s*(?P<absent>[^\s,()=!<>]+)"
    r"|(?P<set_key>[^\s,()=!<>]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<key>[^\s,()=!<>]+)\s*(?:(?P<operator>==|=|!=)\s*(?P<value>[^\s,()=!<>]*))?"
    r")\s*(?:,|$)"
)
_POD_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
)
_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.uid",
    "metadata.name",
    "metadata.namespace",
    "reason",
    "type",
)
FIELDS = {"pods": _POD_FIELDS, "events": _EVENT_FIELDS}


def by_labels(selector: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether labels fit the selector. Raises ApiError (400) for one that cannot be read."""
    wanted: list[tuple[str, bool, tuple[str, ...] | None]] = []  # key, whether it must hold, values (None: any)
    rest = selector.strip()
    while rest:
        match = _REQUIREMENT.match(rest)
        if match is None:
            raise _status.bad_request(f'unable to parse requirement: found "{rest[:60]}"')
        wanted.append(_requirement(match))
        rest = rest[match.end() :]

    def fits(labels: Mapping[str, str]) -> bool:
        return all(
            (key in labels and (values is None or labels[key] in values)) == holds for key, holds, values in wanted
        )

    return fits


def _requirement(match: re.Match[str]) -> tuple[str, bool, tuple[str, ...] | None]:
    if match["absent"]:
        return match["absent"], False, None
    if match["set"]:
        return match["set_key"], match["set"] == "in", tuple(value.strip() for value in match["values"].split(","))
    if match["operator"] is None:
        return match["key"], True, None
    return match["key"], match["operator"] != "!=", (match["value"],)


def by_fields(selector: str, resource: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an object fits the selector. Raises ApiError (400) for a field that this resource is not selected by."""
    wanted: list[tuple[str, bool, str]] = []
    for part in filter(None, selector.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if match is None:
            raise _status.bad_request(f"invalid selector: '{part[:60]}'; can't understand '{part[:60]}'")
        if match[1] not in FIELDS[resource]:
            raise _status.bad_request(f"field label not supported: {match[1]}")
        wanted.append((match[1], match[2] != "!=", match[3]))

    def fits(document: Mapping[str, Any]) -> bool:
        return all((_at(document, path) == value) == holds for path, holds, value in wanted)

    return fits


def _at(document: Any, path: str) -> str:  # noqa: ANN401 - JSON
    for name in path.split("."):
        document = document.get(name, "") if isinstance(document, dict) else ""
    return str(document)
