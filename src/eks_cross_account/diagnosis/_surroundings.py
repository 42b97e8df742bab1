"""The checks of what surrounds the chain: clock, installed versions, settings, and the time that was left. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eks_cross_account.diagnosis.report import Finding, Remedy, State, View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.diagnosis._environment import Defect, Environment
    from eks_cross_account.diagnosis.evidence import Evidence

CLOCK = "clock"
_TOLERATED = 60.0  # seconds: what an answer takes, and more
_USELESS = 300.0  # seconds: from here on services of AWS refuse a signed request
_TELLING = {"botocore", "kubernetes", "apache-airflow", "apache-airflow-providers-amazon"}
_SHORT = {"apache-airflow-providers-amazon": "amazon", "apache-airflow-providers-cncf-kubernetes": "cncf-kubernetes"}


def check_clock(evidence: Evidence) -> Iterator[Finding]:
    """The clock of this machine against those that answered."""
    if not evidence.clocks:
        return
    aws = [clock for clock in evidence.clocks if clock.whose in {"STS", "EKS"}]
    judge = max(aws or evidence.clocks, key=lambda clock: abs(clock.ahead))
    seen = tuple((clock.whose, f"{round(clock.ahead):+d} s") for clock in evidence.clocks)
    view: View = "aws" if aws else "api-server"
    off = abs(judge.ahead)
    if off < _TOLERATED:
        yield Finding(CLOCK, "PASS", view, CLOCK, f"within {off:.0f} s of {judge.whose}'s", seen)
        return
    side = "behind" if judge.ahead > 0 else "ahead of"
    summary = f"this machine's clock is {off:.0f} s {side} {judge.whose}'s"
    remedy = Remedy("set the clock (NTP): signatures and tokens carry the time, and AWS refuses what is minutes off")
    state: State = "FAIL" if off >= _USELESS and not evidence.is_accepted else "WARN"
    yield Finding(CLOCK, state, view, CLOCK, summary, seen, remedy, cause="U14")


def check_environment(evidence: Evidence) -> Iterator[Finding]:
    """What is installed and set here. Defects of other programs are warnings only where the way in is not proven."""
    found = evidence.environment
    if found is None:
        return
    if not evidence.is_accepted and not evidence.principal_arn:
        for defect in found.defects:
            yield _defect(found, defect)
        if evidence.credentials_from == "env" and "AWS_PROFILE" in found.variables and evidence.profile is None:
            yield _shadowed()
    names = {package: f"{_SHORT.get(package, package)} {version}" for package, version in found.versions}
    defects = ", ".join(f"{_SHORT.get(defect.package, defect.package)} ({defect.cause})" for defect in found.defects)
    parts = (
        f"Python {found.python}",
        *(name for package, name in names.items() if package in _TELLING),
        "Amazon MWAA" if found.mwaa else "",
        f"known defects, none of which touches this: {defects}" if defects and evidence.is_accepted else "",
    )
    seen = (("set", ", ".join(found.variables) or "none of AWS_*, KUBECONFIG, *_PROXY"),
            ("installed", ", ".join(names.values())), *_defects(found))  # fmt: skip
    yield Finding("environment", "PASS", "inferred", "environment", ", ".join(filter(None, parts)), seen)


def check_time(evidence: Evidence) -> Iterator[Finding]:
    """Whether all that could be asked was asked."""
    if evidence.out_of_time:
        left = ", ".join(evidence.out_of_time)
        summary = f"not checked, because the {evidence.budget:g} s were over: {left}"
        remedy = Remedy("see what was slow above; --timeout gives it more time")
        yield Finding("out-of-time", "UNKNOWN", "inferred", "time", summary, remedy=remedy, retry=True)


def _defects(found: Environment) -> Iterator[tuple[str, str]]:
    for defect in found.defects:
        yield f"{_SHORT.get(defect.package, defect.package)} {defect.first} to {defect.last}", defect.text


def _defect(found: Environment, defect: Defect) -> Finding:
    installed = dict(found.versions)[defect.package]
    summary = f"{defect.package} {installed} has a known defect, which this check has not: it {defect.text}"
    remedy = Remedy(f"where that is what fails: a release after {defect.last}, or what this package has instead")
    return Finding("known-defect", "WARN", "inferred", "environment", summary, remedy=remedy, cause=defect.cause)


def _shadowed() -> Finding:
    summary = "AWS_PROFILE is set, and access keys are set too: the keys were used, and other programs may differ"
    remedy = Remedy("unset one of them, or name the profile (--profile), which then counts")
    return Finding("profile-shadowed", "WARN", "inferred", "environment", summary, remedy=remedy, cause="U25")
