"""Role trust policies, as far as the sandbox reads them: a real IAM document, evaluated. Touches nothing.

Real documents, so that a policy that this project prints as a remedy can be put in here and tried. An element that is
not read here is refused when the role is made, never ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Condition"}
_ACCOUNT = re.compile(r"(?:arn:[a-z-]+:iam::)?(\d{12})(?::root)?")


def check_policy(document: Mapping[str, Any]) -> None:
    """Raises ValueError for anything that ``decide`` does not read."""
    for statement in _statements(document):
        unread = set(statement) - _ELEMENTS
        if unread or statement.get("Effect") not in {"Allow", "Deny"} or "Principal" not in statement:
            raise ValueError(f"MalformedPolicyDocument: the sandbox reads {sorted(_ELEMENTS)}, not {sorted(unread)}")
        unknown = set(statement.get("Condition", {})) - set(_OPERATORS)
        if unknown:
            raise ValueError(f"MalformedPolicyDocument: the sandbox knows no condition operator {sorted(unknown)}")


def principals(document: Mapping[str, Any]) -> Iterator[str]:
    """Every AWS principal that the document names."""
    for statement in _statements(document):
        yield from _aws_principals(statement)


def decide(
    document: Mapping[str, Any], action: str, *, is_principal: Callable[[str], bool], context: Mapping[str, str]
) -> bool:
    """Whether the document allows the action: some Allow applies and no Deny does.

    ``is_principal``: whether the caller is this AWS or federated principal. ``context``: condition keys,
    in lower case, as IAM does not tell cases apart; a missing one fails.
    """
    effects = {
        statement["Effect"]
        for statement in _statements(document)
        if any(_like(pattern, action) for pattern in _many(statement.get("Action")))
        and any(is_principal(principal) for principal in _all_principals(statement))
        and _conditions_hold(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def account_of_principal(principal: str) -> str | None:
    """The account, where the principal is a whole one (``arn:aws:iam::1:root`` or the number)."""
    match = _ACCOUNT.fullmatch(principal)
    return match[1] if match else None


def matches_any(patterns: Iterable[str], text: str) -> bool:
    """Whether one of IAM's patterns (``eks:Describe*``) fits."""
    return any(_like(pattern, text) for pattern in patterns)


def _statements(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = document.get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def _all_principals(statement: Mapping[str, Any]) -> Iterator[str]:
    principal = statement["Principal"]
    if isinstance(principal, str):
        yield principal
        return
    for kind in ("AWS", "Federated"):
        yield from _many(principal.get(kind))


def _aws_principals(statement: Mapping[str, Any]) -> Iterator[str]:
    principal = statement["Principal"]
    if not isinstance(principal, str):
        yield from _many(principal.get("AWS"))


def _many(value: Any) -> list[str]:  # noqa: ANN401 - IAM's "one or a list of them"
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _like(pattern: str, text: str) -> bool:
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, text, re.DOTALL) is not None


def _equals(wanted: str, seen: str) -> bool:
    return wanted == seen


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equals,
    "StringLike": _like,
    "ArnEquals": _like,  # IAM: ArnEquals and ArnLike behave identically
    "ArnLike": _like,
}


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        name.lower() in context and any(_OPERATORS[operator](wanted, context[name.lower()]) for wanted in _many(values))
        for operator, tests in conditions.items()
        for name, values in tests.items()
    )
