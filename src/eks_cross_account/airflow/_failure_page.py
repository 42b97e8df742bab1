"""The page behind a failed task's first line. Asks STS and the API server what needs nobody's right.

Loaded when something has failed: the rooms of the diagnosis cost a DAG file a fifth of a second otherwise.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from eks_cross_account._discretion import discreet
from eks_cross_account.airflow._clients import review
from eks_cross_account.airflow._failures import asked
from eks_cross_account.credentials import utc_now
from eks_cross_account.diagnosis import Finding, Report
from eks_cross_account.endpoints import partition_of
from eks_cross_account.errors import EksTokenError, InvalidArnError, TokenRejectedError
from eks_cross_account.identity import canonicalize
from eks_cross_account.rules import violations
from eks_cross_account.sts import verify_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.airflow._connections import Access
    from eks_cross_account.airflow._failures import Failure
    from eks_cross_account.diagnosis import Denial

_BUDGET = 10.0  # seconds for the page
_STEP = 3.0  # seconds for one question


def page_of(failure: Failure, access: Access) -> Report:
    """The findings that cost nobody a right, most useful first to last in the chain's order."""
    end = time.monotonic() + _BUDGET
    connected = access.connected
    findings = [
        Finding("connection", "PASS", "inferred", "connection", f"{connected.label}; roles: {_roles(access)}"),
        *_token_findings(access, end),
        *_server_findings(failure, access, end),
        Finding(failure.id, "FAIL", "api-server", "task", failure.text, retry=failure.retry),
    ]
    identity = next((dict(finding.evidence) for finding in findings if finding.id == "identity"), None)
    return Report(
        connected.target.cluster_name,
        f"{connected.region} ({connected.region_from})",
        tuple(_first_fail_last(findings)),
        identity=identity or None,
    )


def _first_fail_last(findings: list[Finding]) -> Iterator[Finding]:
    """The failure itself is no root cause where a finding before it is one."""
    broken = any(finding.state == "FAIL" for finding in findings[:-1])
    yield from findings[:-1]
    if not broken:
        yield findings[-1]


def _roles(access: Access) -> str:
    return " -> ".join(access.connected.roles) or "none"


def _token_findings(access: Access, end: float) -> Iterator[Finding]:
    """Offline rules, then STS's own word, about the token at hand."""
    token = access.provider.peek()
    if token is None:
        yield Finding("token", "SKIP", "token", "token", "there is none: no credentials were had")
        return
    connected = access.connected
    partition = partition_of(connected.region)
    broken = violations(token.value, now=utc_now(), partition=partition, region=connected.region)
    if broken:
        yield Finding(f"token-{broken[0].rule.replace('_', '-')}", "FAIL", "token", "token", broken[0].message)
        return
    yield Finding("token", "PASS", "token", "token", "breaks no rule of the verifier")
    try:
        with discreet():
            identity = verify_token(
                token.value,
                cluster_name=connected.target.cluster_name,
                region=connected.region,
                timeout=_left(end),
                session=access.session,
            )
    except TokenRejectedError as error:
        yield Finding("token-rejected", "FAIL", "aws", "identity", str(error))
        return
    except EksTokenError as error:
        yield Finding("identity", "UNKNOWN", "aws", "identity", str(error), retry=True)
        return
    said = (("arn", identity.arn), ("canonical_arn", identity.canonical_arn))
    yield Finding("identity", "PASS", "aws", "identity", f"STS says the token is that of {identity.arn}", said)
    yield from _expected(access, identity.canonical_arn)


def _expected(access: Access, canonical_arn: str) -> Iterator[Finding]:
    """Whether the token is that of the last role; the path of a role's ARN is not in what STS says."""
    roles = access.connected.roles
    if roles and roles[-1].rsplit("/", 1)[-1] != canonical_arn.rsplit("/", 1)[-1]:
        with contextlib.suppress(InvalidArnError):
            expected = canonicalize(roles[-1])
            yield Finding("wrong-signer", "FAIL", "aws", "signer", f"expected {expected}, STS says {canonical_arn}")


def _server_findings(failure: Failure, access: Access, end: float) -> Iterator[Finding]:
    """Whom the API server sees, and whether it would allow what it denied."""
    if failure.id not in {"forbidden", "unauthorized"}:
        return
    review = _ask(access, "SelfSubjectReview", {}, end)
    if isinstance(review, str):
        yield Finding("api-server", "UNKNOWN", "api-server", "API server", review)
        return
    user = _mapping(_mapping(review.get("status")).get("userInfo"))
    found = user.get("groups")
    groups = ", ".join(map(str, found if isinstance(found, list) else [])) or "none"
    seen = f"sees user {user.get('username')!r}, groups {groups}"
    yield Finding("api-server", "PASS", "api-server", "API server", seen)
    denial = failure.denial
    if denial is not None and denial.verb and denial.resource and denial.kind != "non-resource":
        yield from _access_finding(denial, access, end)


def _access_finding(denial: Denial, access: Access, end: float) -> Iterator[Finding]:
    attributes = {
        "verb": denial.verb,
        "resource": denial.resource,
        "subresource": denial.subresource,
        "group": denial.api_group,
        "namespace": denial.namespace,
    }
    spec = {"spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}}}
    review = _ask(access, "SelfSubjectAccessReview", spec, end)
    if isinstance(review, str):
        yield Finding("permission", "UNKNOWN", "api-server", "permission", review)
        return
    status = _mapping(review.get("status"))
    if status.get("allowed") is True:
        yield Finding(
            "permission", "WARN", "api-server", "permission", f"{asked(denial)} is allowed now: tried too early"
        )
        return
    why = f" ({status.get('reason')})" if status.get("reason") else ""
    yield Finding("not-allowed", "FAIL", "api-server", "permission", f"{asked(denial)} is not allowed{why}")


def _ask(access: Access, kind: str, body: dict[str, Any], end: float) -> dict[str, Any] | str:
    """The API server's answer, or why there is none."""
    try:
        answer: object = review(access, kind, body, timeout=_left(end))
        return answer if isinstance(answer, dict) else f"{kind} was answered by something that is no Kubernetes"
    except EksTokenError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a diagnosis must not hide the failure that it is about
        status = getattr(error, "status", None)
        return f"{kind} was answered {status}" if status else f"{kind} was not answered: {type(error).__name__}"


def _mapping(value: object) -> dict[str, Any]:
    """What a server calls an object, {} where it is none."""
    return value if isinstance(value, dict) else {}


def _left(end: float) -> float:
    return max(0.1, min(_STEP, end - time.monotonic()))
