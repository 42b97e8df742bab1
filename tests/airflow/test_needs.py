"""required_permissions against what the pod operator of this line asks the sandbox for."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from needs_modes import KILLED, MODES, exists

from eks_cross_account.diagnosis import required_permissions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from line import Line
    from needs_modes import Mode

    from eks_cross_account.diagnosis import Rule

PROVIDER = version("apache-airflow-providers-cncf-kubernetes")
SERVER = "1.34"  # of the sandbox's cluster
OF_THE_DIAGNOSIS = {"create selfsubjectreviews", "create selfsubjectaccessreviews"}


def asked(line: Line) -> set[str]:
    return {f"{request.verb} {request.resource}" for request in line.seen()} - OF_THE_DIAGNOSIS


def needed(mode: Mode) -> tuple[Rule, ...]:
    return required_permissions("pod", **mode.options, provider_version=PROVIDER, server_version=SERVER)


def told(rules: Iterable[Rule]) -> set[str]:
    return {f"{rule.verb} {rule.resource}" for rule in rules}


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if exists(mode)])
def test_what_is_asked_for_is_what_is_needed(line: Line, name: str) -> None:
    mode = MODES[name]

    ran = line.run_case(f"needs.{name}")

    assert (ran["state"] == "success") is mode.succeeds, line.output
    assert asked(line) | mode.maybe == told(needed(mode)) - mode.unasked | mode.maybe


@pytest.mark.skipif(
    not version("apache-airflow").startswith("2."), reason="dag.test of Airflow 3 has no handler of SIGTERM"
)
def test_a_task_that_is_killed_deletes_the_pod_that_it_would_have_kept(line: Line) -> None:
    ran = line.run_case("needs.killed")

    assert ran["state"] != "success", line.output
    assert "delete pods" in asked(line)
    assert asked(line) <= told(needed(KILLED))
