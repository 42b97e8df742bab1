# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of reports, denials and permissions. Checked by scripts/types, never run."""

from __future__ import annotations

from typing import Literal, assert_type

from eks_cross_account import (
    AssumeRoleError,
    Denial,
    EksTokenError,
    Finding,
    Report,
    Rule,
    diagnose,
    explain_forbidden,
    required_permissions,
    role_manifest,
)


def report() -> None:
    made = diagnose(cluster_name="analytics", role_arn="arn:aws:iam::222222222222:role/r", timeout=5)
    assert_type(made, Report)
    assert_type(made.verdict, Literal["healthy", "broken", "unknown"])
    assert_type(made.root_cause, str | None)
    assert_type(made.exit_code, int)
    assert_type(made.to_text("hcl"), str)
    assert_type(made.to_json(), str)
    made.to_text("html")  # type: ignore[arg-type]
    for finding in made.findings:
        assert_type(finding, Finding)
        assert_type(finding.state, Literal["PASS", "WARN", "FAIL", "UNKNOWN", "SKIP"])
        if finding.remedy is not None:
            assert_type(finding.remedy.commands, tuple[str, ...])
    diagnose(cluster="analytics")  # type: ignore[call-arg, arg-type]


def denied(text: str) -> None:
    found = explain_forbidden(text)
    assert_type(found, tuple[Denial, ...])
    assert_type(found[0].namespace, str | None)


def needed() -> None:
    rules = required_permissions("pod", deferrable=True, xcom=True)
    assert_type(rules, tuple[Rule, ...])
    assert_type(role_manifest(rules, namespace="data", group="airflow-workers"), str)
    required_permissions("pod", True)  # type: ignore[call-arg]  # noqa: FBT003 - that it is refused is the point


def failed(error: EksTokenError) -> None:
    assert_type(error.retryable, bool)
    if isinstance(error, AssumeRoleError):
        assert_type(error.role_arn, str)
        assert_type(error.code, str)
