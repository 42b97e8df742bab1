"""What the probes saw: values, or the error that a probe ended with. With ``_reach`` the only one here that does I/O.

Evidence holds no secret: a token appears decoded, an error without its URL.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account.cluster import Cluster, describe_cluster
from eks_cross_account.credentials import (
    FrozenCredentials,
    RoleHop,
    assume_roles,
    botocore_session,
    caller_region,
    find_region,
    freeze,
)
from eks_cross_account.diagnosis._reach import ReachEvidence, ReviewEvidence, reach, review
from eks_cross_account.errors import (
    CredentialsError,
    CredentialsUnavailableError,
    EksTokenError,
    StsUnavailableError,
    UnknownRegionError,
)
from eks_cross_account.provider import mint, utc_now
from eks_cross_account.rules import Violation, violations
from eks_cross_account.sts import verify_token
from eks_cross_account.token import DecodedToken, EksToken, check_cluster_name, decode_token

if TYPE_CHECKING:
    from datetime import datetime

    from eks_cross_account.identity import CallerIdentity


@dataclass(frozen=True, slots=True)
class HopEvidence:
    """One AssumeRole as it was asked for; ``problem`` None when it was granted."""

    number: int
    of: int
    role_arn: str
    external_id_sent: bool
    problem: EksTokenError | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checks may look at. None: the probe did not run, because one before it failed."""

    cluster_name: str
    region: str
    region_from: str
    sts_region: str
    now: datetime
    profile: str | None = None
    credentials_from: str = ""  # botocore's name of the provider: env, shared-credentials-file, container-role ...
    credentials_expiration: datetime | None = None
    credentials_problem: EksTokenError | None = None
    caller: CallerIdentity | None = None
    caller_problem: EksTokenError | None = None
    hops: tuple[HopEvidence, ...] = ()
    cluster: Cluster | None = None
    cluster_problem: EksTokenError | None = None
    reach: ReachEvidence | None = None
    token: DecodedToken | None = None
    token_violations: tuple[Violation, ...] = ()
    token_expiration: datetime | None = None
    token_problem: EksTokenError | None = None
    identity: CallerIdentity | None = None
    identity_problem: EksTokenError | None = None
    review: ReviewEvidence | None = None

    @property
    def sts_is_silent(self) -> bool:
        """Whether nobody knows what STS thinks of the token."""
        return isinstance(self.identity_problem, StsUnavailableError | UnknownRegionError)


def gather(  # noqa: PLR0913 - what is asked about, and with what
    cluster_name: str,
    *,
    region: str | None,
    hops: tuple[RoleHop, ...],
    profile: str | None,
    session: Any,  # noqa: ANN401 - a boto3 or botocore session
    cluster: Cluster | None = None,
) -> Evidence:
    """Run the probes in the chain's order; ``cluster``: instead of DescribeCluster.

    Raises only for arguments: ClusterError, UnknownRegionError.
    """
    check_cluster_name(cluster_name)
    if region is not None:
        endpoints.partition_of(region)
    try:
        used = botocore_session(session, profile=profile)
    except CredentialsUnavailableError as error:  # no such profile
        found = find_region(region, None, os.environ)
        return Evidence(
            cluster_name, found, _region_from(region), found, utc_now(), profile=profile, credentials_problem=error
        )
    found = find_region(region, used, os.environ)
    evidence = Evidence(
        cluster_name=cluster_name,
        region=found,
        region_from=_region_from(region),
        sts_region=caller_region(used, os.environ) or found,
        now=utc_now(),
        profile=profile,
    )
    evidence, credentials = _credentials(evidence, used)
    if credentials is None:
        return evidence
    evidence = _caller(evidence, credentials, used)
    evidence, credentials = _hops(evidence, credentials, hops, used)
    if credentials is None:
        return evidence
    evidence = replace(evidence, cluster=cluster) if cluster else _cluster(evidence, credentials, used)
    evidence = _reach(evidence)
    evidence, token = _token(evidence, credentials, used)
    return _review(evidence, token)


def _region_from(region: str | None) -> str:
    if region is not None:
        return "argument"
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if os.environ.get(name):
            return name
    return "AWS configuration"


def _credentials(evidence: Evidence, session: Any) -> tuple[Evidence, FrozenCredentials | None]:  # noqa: ANN401 - botocore's
    try:
        frozen = freeze(session, profile=evidence.profile)
    except CredentialsError as error:
        return replace(evidence, credentials_problem=error), None
    method = str(getattr(session.get_credentials(), "method", "") or "")
    return replace(evidence, credentials_from=method, credentials_expiration=frozen.expiration), frozen


def _caller(evidence: Evidence, credentials: FrozenCredentials, session: Any) -> Evidence:  # noqa: ANN401 - botocore's
    """Whose the credentials are before any hop, by a token of theirs: GetCallerIdentity, which nobody can be denied."""
    try:
        token = mint(credentials, cluster_name=evidence.cluster_name, region=evidence.sts_region, now=evidence.now)
        caller = verify_token(
            token.value, cluster_name=evidence.cluster_name, region=evidence.sts_region, session=session
        )
    except EksTokenError as error:
        return replace(evidence, caller_problem=error)
    return replace(evidence, caller=caller)


def _hops(
    evidence: Evidence,
    credentials: FrozenCredentials,
    hops: tuple[RoleHop, ...],
    session: Any,  # noqa: ANN401 - botocore's
) -> tuple[Evidence, FrozenCredentials | None]:
    seen: list[HopEvidence] = []
    current: FrozenCredentials | None = credentials
    for number, hop in enumerate(hops, start=1):
        held, problem = current, None
        try:
            current = assume_roles(lambda held=held: held, [hop], region=evidence.sts_region, session=session)()  # type: ignore[misc]
        except EksTokenError as error:
            current, problem = None, error
        seen.append(HopEvidence(number, len(hops), hop.role_arn, hop.external_id is not None, problem))
        if current is None:
            break
    return replace(evidence, hops=tuple(seen)), current


def _cluster(evidence: Evidence, credentials: FrozenCredentials, session: Any) -> Evidence:  # noqa: ANN401 - botocore's
    try:
        found = describe_cluster(lambda: credentials, evidence.cluster_name, region=evidence.region, session=session)
    except EksTokenError as error:
        return replace(evidence, cluster_problem=error)
    return replace(evidence, cluster=found)


def _reach(evidence: Evidence) -> Evidence:
    cluster = evidence.cluster
    if cluster is None or not cluster.endpoint or not cluster.certificate_authority:
        return evidence
    return replace(evidence, reach=reach(cluster))


def _token(
    evidence: Evidence,
    credentials: FrozenCredentials,
    session: Any,  # noqa: ANN401 - botocore's
) -> tuple[Evidence, EksToken | None]:
    """The token is returned beside the evidence, which must not hold it."""
    now = utc_now()
    try:
        token = mint(credentials, cluster_name=evidence.cluster_name, region=evidence.region, now=now)
    except EksTokenError as error:
        return replace(evidence, token_problem=error), None
    partition = endpoints.partition_of(evidence.region)
    seen = replace(
        evidence,
        token=decode_token(token.value),
        token_violations=violations(token.value, now=now, partition=partition, region=evidence.region),
        token_expiration=token.expiration,
    )
    try:
        identity = verify_token(
            token.value, cluster_name=evidence.cluster_name, region=evidence.region, session=session
        )
    except EksTokenError as error:
        return replace(seen, identity_problem=error), token
    return replace(seen, identity=identity), token


def _review(evidence: Evidence, token: EksToken | None) -> Evidence:
    """Ask the API server, unless nothing of the kind answers or STS has refused the token already."""
    reached, cluster = evidence.reach, evidence.cluster
    if reached is None or reached.failed is not None or cluster is None or token is None:
        return evidence
    if evidence.identity is None and not evidence.sts_is_silent:
        return evidence
    return replace(evidence, review=review(cluster, reached, token))
