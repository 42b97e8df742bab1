"""required_permissions against what the pod operator of this line asks the sandbox for."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from needs_modes import KILLED, MODES, WAITS, exists
from stand import ROLE

from eks_cross_account.diagnosis import required_permissions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from line import Line
    from needs_modes import Mode

    from eks_cross_account.diagnosis import Rule
    from eks_cross_account.diagnosis.needs import Effect

PROVIDER = version("apache-airflow-providers-cncf-kubernetes")
RELEASE = tuple(map(int, PROVIDER.split(".")))
SERVER = "1.34"  # of the sandbox's cluster
EVENTS = {"list events", "watch events"}
OF_THE_DIAGNOSIS = {"create selfsubjectreviews", "create selfsubjectaccessreviews"}


def asked(line: Line) -> set[str]:
    return {f"{request.verb} {request.resource}" for request in line.seen()} - OF_THE_DIAGNOSIS


def needed(mode: Mode) -> tuple[Rule, ...]:
    return required_permissions("pod", **mode.options, provider_version=PROVIDER, server_version=SERVER)


def told(rules: Iterable[Rule]) -> set[str]:
    return {f"{rule.verb} {rule.resource}" for rule in rules}


IN_CI = {"sync", "failed", "xcom", "keep_pod", "deferred_sync", "deferred_xcom"}  # the rest takes minutes on each line


@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_CI else pytest.param(name, marks=pytest.mark.slow)
        for name, mode in MODES.items()
        if exists(mode)
    ],
)
def test_what_is_asked_for_is_what_is_needed(line: Line, name: str) -> None:
    mode = MODES[name]

    ran = line.run_case(f"needs.{name}")

    assert (ran["state"] == "success") is mode.succeeds, line.output
    maybe = mode.maybe if name in WAITS else mode.maybe | EVENTS  # the pod may run before anybody looks
    assert asked(line) | maybe == told(needed(mode)) - mode.unasked | maybe


@pytest.mark.skipif(
    not version("apache-airflow").startswith("2."), reason="dag.test of Airflow 3 has no handler of SIGTERM"
)
def test_a_task_that_is_killed_deletes_the_pod_that_it_would_have_kept(line: Line) -> None:
    ran = line.run_case("needs.killed")

    assert ran["state"] != "success", line.output
    assert "delete pods" in asked(line)
    assert asked(line) <= told(needed(KILLED))


def effects() -> list[Any]:
    """Each rule in the first mode that asks for it, sync and deferred, and again where another option asks."""
    found: dict[tuple[Any, ...], Any] = {}
    for name, mode in MODES.items():
        if exists(mode):
            for rule in needed(mode):
                what = f"{rule.verb} {rule.resource}"
                if what not in mode.unasked | mode.maybe:
                    key = (name.startswith("deferred"), what, rule.when, rule.effect, rule.consequence)
                    found.setdefault(key, pytest.param(name, rule, id=f"{name}-{what}-{rule.effect}"))
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rule"), effects())
def test_without_a_rule_the_task_ends_as_the_rule_says(line: Line, name: str, rule: Rule) -> None:
    for verb in filter(None, (rule.verb, rule.instead)):
        line.sandbox.deny(f"kubernetes:{verb} {rule.resource}", principal_arn=ROLE)

    ran = line.run_case(f"needs.{name}")

    refused = {f"{request.verb} {request.resource}" for request in line.seen() if request.code == 403}
    assert f"{rule.verb} {rule.resource}" in refused
    assert ended(ran, line) == expected(name, rule), line.output


def expected(name: str, rule: Rule) -> Effect:
    if not MODES[name].succeeds and rule.effect == "silent":
        return "fails"  # as without the denial
    if name == "deferred_interim_logs" and (10, 15) <= RELEASE < (10, 18) and rule.resource == "pods/log":
        return "fails"  # the provider's client takes the refusal for a log, ours reads it
    return rule.effect


def ended(ran: Mapping[str, Any], line: Line) -> Effect:
    if ran["state"] == "success":
        return "silent"
    return "hangs" if "HangsError" in f"{ran} {line.output}" else "fails"
