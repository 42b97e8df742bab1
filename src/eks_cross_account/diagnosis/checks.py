"""Evidence in, findings out, one check per link in the chain's order. Touches nothing.

A check that cannot tell says UNKNOWN; one whose link was never reached says nothing, because the break is above it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from eks_cross_account.diagnosis import _api_server, remedies
from eks_cross_account.diagnosis.report import Chain, Finding, Remedy, Report
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsUnavailableError,
    EksTokenError,
    ExpiredTokenError,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
)
from eks_cross_account.token import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eks_cross_account.diagnosis.evidence import Evidence, HopEvidence
    from eks_cross_account.identity import CallerIdentity

_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
_UNKNOWN_KEY = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId"}
_SOURCES = {
    "env": "environment variables",
    "shared-credentials-file": "shared credentials file",
    "config-file": "AWS configuration file",
    "custom-process": "credential_process of the AWS profile",
    "container-role": "container credentials endpoint",
    "iam-role": "instance metadata",
    "assume-role": "role of the AWS profile",
    "assume-role-with-web-identity": "web identity token file",
    "sso": "IAM Identity Center",
    "login": "aws login",
    "explicit": "the session's own keys",
}


def judge(evidence: Evidence) -> Report:
    """The report: what each check finds, in the chain's order."""
    found = [finding for check in CHECKS for finding in check(evidence)]
    return Report(
        cluster_name=evidence.cluster_name,
        region=f"{evidence.region} ({evidence.region_from})",
        findings=tuple(found),
        identity=identity_dict(evidence.identity) if evidence.identity else None,
        cluster=_cluster_dict(evidence),
        confirmed=any(finding.id == _api_server.CONFIRMED for finding in found),
        chain=_chain(evidence),
    )


def _chain(evidence: Evidence) -> Chain:
    """Who acted. One session of the last role, or of the caller, asks DescribeCluster and signs the token."""
    hops = tuple((hop.role_arn, hop.problem is None) for hop in evidence.hops)
    last = evidence.hops[-1].role_arn if evidence.hops else evidence.caller.arn if evidence.caller else None
    asked = evidence.cluster is not None or evidence.cluster_problem is not None
    return Chain(
        caller=evidence.caller.arn if evidence.caller else None,
        hops=hops,
        described_as=last if asked else None,
        token_of=evidence.identity.arn if evidence.identity else None,
    )


def identity_dict(identity: CallerIdentity) -> dict[str, str]:
    """An identity as the JSON answers have it."""
    return {
        "account": identity.account,
        "arn": identity.arn,
        "user_id": identity.user_id,
        "canonical_arn": identity.canonical_arn,
        "session_name": identity.session_name,
    }


def _cluster_dict(evidence: Evidence) -> dict[str, object] | None:
    return None if evidence.cluster is None else {**asdict(evidence.cluster), "account": evidence.cluster.account}


def _check_credentials(evidence: Evidence) -> Iterator[Finding]:
    if evidence.credentials_problem is not None:
        problem = evidence.credentials_problem
        missing = isinstance(problem, CredentialsUnavailableError)
        remedy = Remedy(
            "give this process credentials: a role of its container or instance, AWS_ACCESS_KEY_ID with "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or --profile"
        )
        name = "credentials-missing" if missing else "credentials-invalid"
        yield Finding(name, "FAIL", "inferred", "credentials", str(problem), remedy=remedy)
        return
    source = _SOURCES.get(evidence.credentials_from, evidence.credentials_from or "unknown source")
    if evidence.caller is not None:
        summary = f"{evidence.caller.arn} ({source})"
        yield Finding("credentials", "PASS", "aws", "credentials", summary, owner=evidence.caller.account)
    elif evidence.caller_problem is not None:
        yield _sts_problem(evidence.caller_problem, "credentials", f"the credentials from: {source}")


def _check_hops(evidence: Evidence) -> Iterator[Finding]:
    for hop in evidence.hops:
        if hop.problem is None:
            yield Finding("assume-role", "PASS", "aws", f"hop {hop.number} of {hop.of}", hop.role_arn)
        else:
            yield _refused_hop(evidence, hop, hop.problem)


def _refused_hop(evidence: Evidence, hop: HopEvidence, problem: EksTokenError) -> Finding:
    place = f"hop {hop.number} of {hop.of}"
    if not isinstance(problem, AssumeRoleError):
        return _sts_problem(problem, place, f"AssumeRole of {hop.role_arn}")
    caller = _caller_of(evidence, hop)
    seen = (
        ("AWS", f"{problem.code}: {problem.aws_message}"),
        ("external id sent", "yes" if hop.external_id_sent else "no"),
    )
    if problem.code != "AccessDenied":
        return _odd_refusal(problem, place, hop, seen)
    summary = f"{caller} may not assume {hop.role_arn} ({place})"
    remedy, owner = remedies.refused_hop_remedy(
        problem.aws_message, caller, hop.role_arn, external_id_sent=hop.external_id_sent
    )
    return Finding("assume-role-denied", "FAIL", "aws", place, summary, seen, remedy, cause="F14", owner=owner)


def _odd_refusal(problem: AssumeRoleError, place: str, hop: HopEvidence, seen: tuple[tuple[str, str], ...]) -> Finding:
    summary = f"AssumeRole of {hop.role_arn} ({place}) was refused: {problem.code}"
    name, text = "assume-role-refused", "change what AWS names above; the role was not assumed"
    if problem.code in _EXPIRED:
        name, text = "credentials-expired", "get new credentials: the session that asked has ended"
    elif problem.code in _UNKNOWN_KEY:
        name, text = "credentials-invalid", "AWS does not know the access key that asked, or not with this secret"
    elif problem.code == "RegionDisabledException":
        name, text = "sts-region-disabled", "switch STS on for this region in the caller's account, or use another"
    elif problem.retryable:
        return Finding("sts-unreachable", "UNKNOWN", "aws", place, summary, seen, Remedy("try again"), retry=True)
    return Finding(name, "FAIL", "aws", place, summary, seen, Remedy(text))


def _caller_of(evidence: Evidence, hop: HopEvidence) -> str:
    """Who asked for the hop: the caller, or the role of the hop before."""
    if hop.number > 1:
        return evidence.hops[hop.number - 2].role_arn
    return evidence.caller.arn if evidence.caller else "the caller"


def _check_cluster(evidence: Evidence) -> Iterator[Finding]:
    problem = evidence.cluster_problem
    if evidence.cluster is not None:
        cluster = evidence.cluster
        if not cluster.arn:
            yield Finding("cluster", "PASS", "inferred", "cluster", f"{cluster.name}, endpoint and CA as configured")
            return
        mode = cluster.authentication_mode or "authentication mode not said"
        summary = f"{cluster.arn}, {cluster.status}, Kubernetes {cluster.version}, {mode}"
        yield Finding("cluster", "PASS", "aws", "cluster", summary, owner=cluster.account)
    elif isinstance(problem, ClusterError) and problem.code == "ResourceNotFoundException":
        account = _account(_last_arn(evidence))
        yield Finding(
            "cluster-not-found",
            "FAIL",
            "aws",
            "cluster",
            f"there is no cluster {evidence.cluster_name} in {evidence.region} ({evidence.region_from}) of account "
            f"{account or 'of these credentials'}",
            remedy=Remedy(
                "check the name, the region, and the account: with no role assumed, one's own account is asked",
                (f"aws eks list-clusters --region {evidence.region}",),
            ),
            cause="N2",
            owner=account,
        )
    elif isinstance(problem, ClusterError) and problem.code == "AccessDeniedException":
        yield Finding(
            "describe-cluster-denied",
            "WARN",
            "aws",
            "cluster",
            f"{_last_arn(evidence)} may not call eks:DescribeCluster; a token needs no such right, a client needs the "
            "endpoint and the CA from elsewhere",
            remedy=Remedy("allow eks:DescribeCluster on the cluster, or configure endpoint and CA by hand"),
            cause="F14",
            owner=_account(_last_arn(evidence)),
        )
    elif problem is not None:
        yield Finding("cluster-unknown", "UNKNOWN", "aws", "cluster", str(problem), retry=problem.retryable)


def _check_token(evidence: Evidence) -> Iterator[Finding]:
    if evidence.token_problem is not None:
        yield Finding(
            "token-unusable", "FAIL", "token", "token", str(evidence.token_problem),
            remedy=Remedy("see above: no token can be made with these credentials"),
        )  # fmt: skip
    elif evidence.token_violations:
        first = evidence.token_violations[0]
        broken = tuple((violation.rule, violation.message) for violation in evidence.token_violations)
        name = f"token-{first.rule.replace('_', '-')}"
        yield Finding(name, "FAIL", "token", "token", first.message, broken, Remedy(first.remedy))
    elif evidence.token is not None:
        until = f"{evidence.token_expiration:%H:%M:%SZ}" if evidence.token_expiration else "unknown"
        size = f"{evidence.token.size_bytes} of {MAX_BYTES} bytes"
        yield Finding("token", "PASS", "token", "token", f"breaks no rule of the verifier; {size}; good until {until}")


def _check_identity(evidence: Evidence) -> Iterator[Finding]:
    if evidence.identity is not None:
        identity = evidence.identity
        yield Finding(
            "identity", "PASS", "aws", "identity", f"the token is that of {identity.arn}", owner=identity.account
        )
    elif evidence.identity_problem is not None:
        yield _sts_problem(evidence.identity_problem, "identity", "the token")


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _check_credentials,
    _check_hops,
    _check_cluster,
    _api_server.check_reach,
    _check_token,
    _check_identity,
    _api_server.check_api_server,
)


def _sts_problem(problem: EksTokenError, title: str, what: str) -> Finding:
    """STS's refusal of a token of ours, or its silence, as a finding."""
    if isinstance(problem, StsUnavailableError | UnknownRegionError):
        remedy = Remedy("check route, proxy (HTTPS_PROXY) and CA (AWS_CA_BUNDLE) from here to STS")
        summary = f"STS could not be asked about {what}: {problem}"
        return Finding("sts-unreachable", "UNKNOWN", "aws", title, summary, remedy=remedy, retry=True)
    code = problem.code if isinstance(problem, TokenRejectedError) else ""
    name, text = "token-rejected", "see what AWS says above"
    if code in _EXPIRED:
        name, text = "credentials-expired", "get new credentials: the session behind them has ended"
    elif code in _UNKNOWN_KEY - {"SignatureDoesNotMatch"}:
        name, text = "credentials-invalid", "AWS does not know this access key id and session token: get new ones"
    elif code == "SignatureDoesNotMatch":
        name, text = "signature-mismatch", "check the secret access key and this machine's clock (NTP)"
    elif isinstance(problem, ExpiredTokenError):
        name, text = "clock", "check this machine's clock (NTP)"
    return Finding(name, "FAIL", "aws", title, f"{what}: {problem}", remedy=Remedy(text))


def _last_arn(evidence: Evidence) -> str:
    granted = [hop.role_arn for hop in evidence.hops if hop.problem is None]
    if granted:
        return granted[-1]
    return evidence.caller.arn if evidence.caller else "the caller"


def _account(arn: str) -> str:
    sections = arn.split(":")
    return sections[4] if len(sections) > 4 else ""  # noqa: PLR2004 - an ARN's sections
