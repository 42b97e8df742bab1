"""docs/permissions.md holds the tables of the code. ``python tests/test_permissions_page.py`` writes them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eks_cross_account import required_permissions
from eks_cross_account.diagnosis.needs import MWAA_LINES, NEWEST, OPERATORS, changes_between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account import Rule

PAGE = Path(__file__).parents[1] / "docs/permissions.md"
ALL: dict[str, dict[str, Any]] = {
    "KubernetesPodOperator, sync": {"xcom": True, "init_logs": True, "events_on_failure": True},
    "KubernetesPodOperator, deferrable": {
        "deferrable": True, "xcom": True, "interim_logs": True, "events_on_failure": True, "callbacks": True,
    },
    **{
        f"`{name}`": {"operator": name, **({"wait": True, "xcom": True} if name in {"job", "kueue-job"} else {}),
                      **({"resources": ("deployments.apps",)} if name.endswith("-resource") else {})}
        for name in OPERATORS
        if name != "pod"
    },
}  # fmt: skip
MODES: dict[str, dict[str, Any]] = {
    "sync": {},
    "deferrable": {"deferrable": True},
    "sync, XCom": {"xcom": True},
}


def named(rule: Rule) -> str:
    group = f".{rule.api_group}" if rule.api_group else ""
    return f"`{rule.verb} {rule.resource}{group}`"


def rules() -> Iterator[str]:
    for title, options in ALL.items():
        yield f"\n### {title}\n"
        yield "| rule | without it | asked for by | asks |"
        yield "|---|---|---|---|"
        for rule in required_permissions(**options):
            instead = f", or `{rule.instead}`" if rule.instead else ""
            where = " (cluster)" if rule.cluster_scoped else ""
            told = f"**{rule.effect}**: {rule.consequence}"
            yield f"| {named(rule)}{instead}{where} | {told} | {rule.when} | {', '.join(rule.callers)} |"


def upgrades() -> Iterator[str]:
    yield "| from | to | mode | new, or no longer without consequence |"
    yield "|---|---|---|---|"
    lines = [*MWAA_LINES, ("newest", NEWEST)]
    lines.sort(key=lambda line: tuple(map(int, line[1].split("."))))
    for (old, before), (new, after) in pairwise(lines):
        for mode, options in MODES.items():
            told = [
                f"{named(rule)} {change}: {rule.consequence}"
                for rule, change in changes_between(before, after, **options)
                if change != "gone"
            ]
            if told:
                yield f"| {old} ({before}) | {new} ({after}) | {mode} | {'; '.join(told)} |"


SECTIONS = {"rules": rules, "upgrades": upgrades}


def written(page: str) -> str:
    """The page with the code's tables between its markers."""
    for name, make in SECTIONS.items():
        block = f"<!-- {name} -->\n" + "\n".join(make()) + f"\n<!-- end of {name} -->"
        page, count = re.subn(
            rf"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, block=block: block, page, flags=re.DOTALL
        )
        assert count == 1, name
    return page


def test_the_page_of_permissions_has_the_tables_of_the_code() -> None:
    page = PAGE.read_text()

    assert written(page) == page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
