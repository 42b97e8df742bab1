"""Rules as the manifests take them, and those of a pod operator with logs, events and XCom."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    api_group: str
    resource: str
    verb: str
    cluster_scoped: bool = False


def rules(*rows: str) -> tuple[Rule, ...]:
    """Of "verb resource" or "verb resource group"."""
    return tuple(Rule(group, resource, verb) for verb, resource, group in (f"{row}  ".split(" ")[:3] for row in rows))


POD = rules(
    "create pods", "get pods", "list pods", "delete pods", "patch pods", "get pods/log", "list events", "watch events",
    "get pods/exec", "create pods/exec",
)  # fmt: skip
NAMESPACES = (Rule("", "namespaces", "get", cluster_scoped=True),)
