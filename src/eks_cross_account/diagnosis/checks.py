"""Evidence in, findings out, one check per link in the chain's order. Touches nothing.

A check that cannot tell says UNKNOWN; one whose link was never reached says nothing, because the break is above it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from eks_cross_account._printable import printable, printable_line, printable_page
from eks_cross_account.diagnosis import (
    _api_server,
    _mapping_checks,
    _permission_checks,
    _surroundings,
    _two_sides,
    remedies,
)
from eks_cross_account.diagnosis._facts import facts_of
from eks_cross_account.diagnosis.report import Chain, Finding, Remedy, Report
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsError,
    CredentialsUnavailableError,
    EksTokenError,
    InvalidTokenError,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
)
from eks_cross_account.identity import account_of, strip_path
from eks_cross_account.token import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eks_cross_account.diagnosis._probes import HopEvidence
    from eks_cross_account.diagnosis.evidence import Evidence
    from eks_cross_account.identity import CallerIdentity
    from eks_cross_account.rules import Violation

_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
_UNKNOWN_KEY = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"}
_DISABLED = "RegionDisabledException"
_CODE_CAUSES = {**dict.fromkeys((*_EXPIRED, *_UNKNOWN_KEY), "U11"), _DISABLED: "U13"}
_SIGNATURE = "check the secret access key and this machine's clock (NTP)"
_UNKNOWN_REGION = "check the region's name (--region); if AWS has it, take a release of this package that knows it"
_CONFIGURATION = "mend what is named above, in the environment or in AWS's configuration file"
_NO_WAY_TO_EKS = "check route, proxy (HTTPS_PROXY) and CA (AWS_CA_BUNDLE) from here to EKS, and the region's name"
_REGION_DISABLED = "switch STS on for this region in the caller's account, or use another"
# Title of a check -> what its FAIL explains, though it shows earlier in the chain: a 401 by the mapping
_SYMPTOMS = {
    "both sides": ("not-mapped", "unauthorized", "access-entry-missing", "aws-auth-no-row"),
    "mapping": ("not-mapped", "unauthorized"),
    "cluster name": ("not-mapped", "unauthorized"),
    "endpoint": ("not-mapped", "unauthorized", "wrong-certificate-authority", "unreachable", "tls-failed"),
    _surroundings.CLOCK: ("signature-mismatch", "token-date-expired", "tls-failed"),
}
_OPEN_ENDS = {"left", "not checked", "not known"}  # of a symptom, when its cause is known
# What a token that breaks the rule is a case of (docs/causes.md)
_RULE_CAUSES = {
    "too_large": "U5",
    "prefix": "U24",
    "base64": "U4",
    "host": "U6",
    "host_region": "U6",
    "host_global": "U6",
    "host_partition": "U6",
    "param": "U8",
    "signed_headers": "U8",
    "sts_signed_headers": "U8",
    "expires": "U7",
    "date_expired": "U9",
    "sts_session_token": "U12",
    "sts_future": "U14",
}


def judge(evidence: Evidence) -> Report:
    """The report: what each check finds, in the chain's order."""
    found = _related([_printed(finding) for check in CHECKS for finding in check(evidence)])
    return Report(
        cluster_name=evidence.cluster_name,
        region=f"{evidence.region} ({evidence.region_from})",
        findings=tuple(found),
        identity=identity_dict(evidence.identity) if evidence.identity else None,
        cluster=_cluster_dict(evidence),
        confirmed=_is_confirmed(evidence, found),
        facts=facts_of(evidence),
        chain=_chain(evidence),
        permissions=_permissions_dict(evidence),
    )


def judge_rights_only(evidence: Evidence) -> Report:
    """The report on a cluster of which nothing but the API server was asked."""
    checks = (_api_server.check_user, _permission_checks.check_permissions)
    found = _related([_printed(finding) for check in checks for finding in check(evidence)])
    return Report(
        cluster_name=evidence.cluster_name,
        region="",
        findings=tuple(found),
        permissions=_permissions_dict(evidence),
    )


def _is_confirmed(evidence: Evidence, found: list[Finding]) -> bool:
    """The API server means whom AWS means; asked about a principal: the cluster maps it."""
    wanted = (_mapping_checks.MAPPED, "PASS") if evidence.principal_arn else (_api_server.CONFIRMED, "PASS")
    return any((finding.id, finding.state) == wanted for finding in found)


def _printed(finding: Finding) -> Finding:
    """The finding as printable ASCII, whatever AWS, a server or a file put into it."""
    remedy = finding.remedy
    if remedy is not None:
        commands = tuple(map(printable_page, remedy.commands))
        remedy = replace(remedy, text=printable_page(remedy.text), commands=commands)
    seen = tuple((printable_line(name), printable_line(value)) for name, value in finding.evidence)
    summary, owner = printable_line(finding.summary), printable_line(finding.owner)
    return replace(finding, summary=summary, evidence=seen, remedy=remedy, owner=owner)


def _related(found: list[Finding]) -> list[Finding]:
    """The findings, each symptom with the cause that explains it."""
    causes = {
        symptom: finding
        for finding in reversed(found)
        if finding.state == "FAIL"
        for symptom in _SYMPTOMS.get(finding.title, ())
    }
    return [_with_cause(finding, causes.get(finding.id)) for finding in found]


def _with_cause(finding: Finding, cause: Finding | None) -> Finding:
    if cause is None or finding.state != "FAIL":
        return finding
    return replace(
        finding,
        evidence=tuple(pair for pair in finding.evidence if pair[0] not in _OPEN_ENDS),
        remedy=Remedy(f"this goes when {cause.id} is mended"),
        consequence_of=cause.id,
        retry=finding.retry or cause.retry,
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


def _permissions_dict(evidence: Evidence) -> dict[str, object] | None:
    """What was asked about each rule: ``allowed`` is None where nobody said."""
    wanted, seen = evidence.wanted, evidence.permissions
    if wanted is None:
        return None
    said = {answer.rule: answer for answer in seen.answers} if seen is not None else {}
    rules = [
        {
            **asdict(rule),
            "allowed": said[rule].allowed if rule in said else None,
            "reason": printable_line(said[rule].reason) if rule in said else "",
        }
        for rule in wanted.rules
    ]
    return {"namespace": wanted.namespace, "rules": rules}


def _check_credentials(evidence: Evidence) -> Iterator[Finding]:
    if evidence.credentials_problem is not None:
        problem = evidence.credentials_problem
        missing = isinstance(problem, CredentialsUnavailableError)
        remedy = Remedy(
            "give this process credentials: a role of its container or instance, AWS_ACCESS_KEY_ID with "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or --profile"
        )
        name, cause = "credentials-missing" if missing else "credentials-invalid", None
        if remedies.WEB_IDENTITY_REFUSED in str(problem):
            remedy, cause = remedies.github_remedy(), "F14"
        yield Finding(name, "FAIL", "inferred", "credentials", str(problem), remedy=remedy, cause=cause,
                      retry=problem.retryable)  # fmt: skip
        return
    source = evidence.credentials_source
    if evidence.caller is not None:
        summary = f"from {source}: {evidence.caller.arn}"
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
        name, text = "credentials-invalid", "AWS does not know the access key that asked: get new credentials"
    elif problem.code == "SignatureDoesNotMatch":
        name, text = "signature-mismatch", _SIGNATURE
    elif problem.code == _DISABLED:
        name, text = "sts-region-disabled", _REGION_DISABLED
    elif problem.retryable:
        return Finding("sts-unreachable", "UNKNOWN", "aws", place, summary, seen, Remedy("try again"), retry=True)
    return Finding(name, "FAIL", "aws", place, summary, seen, Remedy(text), cause=_CODE_CAUSES.get(problem.code))


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
        account = account_of(_last_arn(evidence))
        yield Finding(
            "cluster-not-found",
            "FAIL",
            "aws",
            "cluster",
            f"there is no cluster {evidence.cluster_name} in {evidence.region} ({evidence.region_from}) of account "
            f"{account or 'unknown'} ({evidence.account_from})",
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
            (("account", f"{account_of(_last_arn(evidence)) or 'unknown'} ({evidence.account_from})"),),
            remedy=remedies.describe_remedy(
                _last_arn(evidence),
                evidence.cluster_name,
                evidence.region,
                is_role_assumed=any(hop.problem is None for hop in evidence.hops),
            ),
            cause="F14",
            owner=account_of(_last_arn(evidence)),
        )
    elif problem is not None:
        remedy = None
        if isinstance(problem, CredentialsUnavailableError):
            remedy = Remedy(_CONFIGURATION)
        elif problem.retryable and isinstance(problem, ClusterError) and not problem.code:
            remedy = Remedy(_NO_WAY_TO_EKS)
        yield Finding("cluster-unknown", "UNKNOWN", "aws", "cluster", str(problem), remedy=remedy,
                      retry=problem.retryable)  # fmt: skip


def _check_token(evidence: Evidence) -> Iterator[Finding]:
    problem = evidence.token_problem
    if problem is not None:
        rule = problem.rule if isinstance(problem, CredentialsError) else ""
        yield Finding(
            "token-unusable", "FAIL", "token", "token", str(problem),
            remedy=Remedy("see above: no token can be made with these credentials"), cause=_RULE_CAUSES.get(rule),
        )  # fmt: skip
    elif evidence.token_violations:
        yield _violation("token", evidence.token_violations)
    elif evidence.token is not None:
        until = f"{evidence.token_expiration:%H:%M:%SZ}" if evidence.token_expiration else "unknown"
        size = f"{evidence.token.size_bytes} of {MAX_BYTES} bytes"
        yield Finding("token", "PASS", "token", "token", f"breaks no rule; {size}; good until {until}")


def _violation(title: str, violations: Sequence[Violation]) -> Finding:
    first = violations[0]
    broken = tuple((violation.rule, violation.message) for violation in violations)
    return Finding(f"token-{first.rule.replace('_', '-')}", "FAIL", "token", title, first.message, broken,
                   Remedy(first.remedy), cause=_RULE_CAUSES.get(first.rule))  # fmt: skip


def _check_cluster_name(evidence: Evidence) -> Iterator[Finding]:
    """The name that the token is signed for: another's than the cluster's own makes STS refuse it."""
    cluster = evidence.cluster
    if cluster is None or evidence.token is None:
        return
    signed, right = evidence.cluster_name, cluster.outpost_id if evidence.is_refused else ""
    if cluster.name and cluster.name != signed:
        right = cluster.name
    if right:
        shown = printable(right)
        summary = f"the token is signed for the cluster name {printable(signed)}, and the cluster's own is {shown}"
        if right == cluster.outpost_id:
            summary = f"a local cluster on Outposts takes tokens that are signed for its id, {shown}, not for its name"
        remedy = Remedy(f"sign for {shown} (--cluster-name), and give endpoint and CA by hand where that is no name")
        yield Finding("wrong-cluster-name", "FAIL", "token", "cluster name", summary, remedy=remedy, cause="U10")


def _check_endpoint(evidence: Evidence) -> Iterator[Finding]:
    """An endpoint that was given by hand, against what EKS says now."""
    given, right = evidence.cluster, evidence.described
    if given is None or right is None or given.endpoint.rstrip("/").casefold() == right.endpoint.casefold():
        return
    summary = f"the endpoint that was given, {given.endpoint}, is not that of {right.arn}, which is {right.endpoint}"
    remedy = Remedy(
        "take endpoint and CA of this cluster as EKS says them: a cluster that is made again has new ones",
        (remedies.describe_command(evidence.cluster_name, evidence.region, "cluster.[endpoint,certificateAuthority]"),),
    )
    yield Finding("other-cluster", "FAIL", "aws", "endpoint", summary, remedy=remedy, cause="U22")


def _check_identity(evidence: Evidence) -> Iterator[Finding]:
    if evidence.identity is not None:
        identity = evidence.identity
        yield Finding("identity", "PASS", "aws", "identity", f"the token's is {identity.arn}", owner=identity.account)
        yield from _check_signer(evidence, identity)
    elif evidence.identity_problem is not None:
        yield _sts_problem(evidence.identity_problem, "identity", "the token")


def _check_signer(evidence: Evidence, identity: CallerIdentity) -> Iterator[Finding]:
    """Whether the token is that of the last role of the chain."""
    granted = [hop.role_arn for hop in evidence.hops if hop.problem is None]
    if granted and strip_path(granted[-1]).casefold() != identity.canonical_arn.casefold():
        summary = f"the token was signed by {identity.arn}, not by {granted[-1]}"
        remedy = Remedy("pass the credentials of the role to whatever signs: it took those of the default chain")
        yield Finding("wrong-signer", "FAIL", "aws", "both sides", summary, remedy=remedy, cause="U16",
                      owner=identity.account)  # fmt: skip


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _check_credentials,
    _check_hops,
    _check_cluster,
    _api_server.check_reach,
    _check_token,
    _check_cluster_name,
    _check_endpoint,
    _check_identity,
    _api_server.check_api_server,
    _two_sides.check_two_sides,
    _mapping_checks.check_mapping,
    _permission_checks.check_permissions,
    _surroundings.check_clock,
    _surroundings.check_environment,
    _surroundings.check_time,
)


def _sts_problem(problem: EksTokenError, title: str, what: str) -> Finding:
    """STS's refusal of a token of ours, or its silence, as a finding."""
    if isinstance(problem, UnknownRegionError):  # nothing was sent: no way to STS can be wrong
        summary = f"STS could not be asked about {what}: {problem}"
        return Finding("sts-unreachable", "UNKNOWN", "aws", title, summary, remedy=Remedy(_UNKNOWN_REGION))
    if isinstance(problem, StsUnavailableError):
        remedy = Remedy("check route, proxy (HTTPS_PROXY) and CA (AWS_CA_BUNDLE) from here to STS")
        summary = f"STS could not be asked about {what}: {problem}"
        return Finding("sts-unreachable", "UNKNOWN", "aws", title, summary, remedy=remedy, retry=True)
    if isinstance(problem, InvalidTokenError) and problem.violations:
        return _violation(title, problem.violations)
    if isinstance(problem, CredentialsUnavailableError):
        summary = f"{what}: {problem}"
        return Finding("credentials-missing", "FAIL", "inferred", title, summary, remedy=Remedy(_CONFIGURATION))
    if isinstance(problem, CredentialsError):
        remedy = Remedy("give this process whole credentials: key id, secret key, and the session token of a session")
        return Finding("credentials-invalid", "FAIL", "token", title, f"{what}: {problem}", remedy=remedy,
                       cause=_RULE_CAUSES.get(problem.rule))  # fmt: skip
    code = problem.code if isinstance(problem, TokenRejectedError) else ""
    name, text = "token-rejected", "see what AWS says above"
    if code in _EXPIRED:
        name, text = "credentials-expired", "get new credentials: the session behind them has ended"
    elif code in _UNKNOWN_KEY:
        name, text = "credentials-invalid", "AWS does not know this access key id and session token: get new ones"
    elif code == "SignatureDoesNotMatch":
        name, text = "signature-mismatch", _SIGNATURE
    elif code == _DISABLED:
        name, text = "sts-region-disabled", _REGION_DISABLED
    return Finding(name, "FAIL", "aws", title, f"{what}: {problem}", remedy=Remedy(text), cause=_CODE_CAUSES.get(code))


def _last_arn(evidence: Evidence) -> str:
    granted = [hop.role_arn for hop in evidence.hops if hop.problem is None]
    if granted:
        return granted[-1]
    return evidence.caller.arn if evidence.caller else "the caller"
