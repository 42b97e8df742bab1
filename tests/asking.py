"""A role of account B that a task in account A assumes, what it wants of the cluster, and what is said of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from clusters import B

from eks_cross_account import diagnose, required_permissions
from eks_cross_account.diagnosis import explain
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.provider import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest
    from clusters import Answer, Target

    from eks_cross_account.diagnosis import Explanation, Report
    from eks_cross_account.diagnosis.needs import Rule

EXECUTION = "arn:aws:iam::111111111111:role/service-role/mwaa-exec"
ASKER = f"arn:aws:iam::{B}:role/team/asker"  # may look at its own mapping
LOOK = ("eks:Describe*", "eks:List*", "iam:GetRole")
AGO = timedelta(minutes=10)
RUN = required_permissions(xcom=True)
DEFERRED = required_permissions(xcom=True, deferrable=True)


def in_account_a(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a task there, and the role, ten minutes old."""
    for name, value in target.sandbox.environ.items():
        monkeypatch.setenv(name, value)
    target.sandbox.add_role(ASKER, trust=[EXECUTION], allow=LOOK).created -= AGO


def entered(target: Target, **entry: Any) -> None:
    """An access entry that has settled long ago."""
    made = target.add_access_entry(ASKER, **entry)
    made.created = made.modified = made.created - AGO / 2


def asked(
    rules: Iterable[Rule] = RUN, namespace: str = "data", *, role: str = ASKER, pod: dict[str, Any] | None = None
) -> Report:
    """What check says of the role that wants this."""
    wanted = Wanted(tuple(rules), namespace, pod=pod)
    return diagnose(cluster_name="analytics", role_arn=role, wanted=wanted)


def on_top(report: Report) -> tuple[str | None, str | None, str]:
    """The root cause, the id of its cause, and the verdict."""
    first = next((found for found in report.findings if found.id == report.root_cause), None)
    return report.root_cause, first.cause if first else None, report.verdict


def warned(report: Report) -> list[tuple[str, str, str | None]]:
    """All that is neither well nor left out."""
    return [(each.state, each.id, each.cause) for each in report.findings if each.state not in {"PASS", "SKIP"}]


def explained(answer: Answer) -> list[Explanation]:
    """What explain says of the answer, as a person would paste it."""
    return list(explain(answer.body.decode(), now=utc_now()))
