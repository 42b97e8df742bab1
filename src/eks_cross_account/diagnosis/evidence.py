"""What the probes saw: values, or the error that a probe ended with. The probes run in one budget of time.

The probes are in ``_probes``, ``_mapping_probes``, ``_reach`` and ``_environment``: no other module here looks
outside. Evidence holds no secret: a token appears decoded, an error without its URL.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account.credentials import botocore_session, caller_region, find_region, utc_now
from eks_cross_account.diagnosis import _probes
from eks_cross_account.diagnosis._budget import TIMEOUT, Budget
from eks_cross_account.diagnosis._environment import ClockEvidence, Environment, environment
from eks_cross_account.diagnosis._mapping_probes import AwsAuthEvidence, EntryEvidence, NotChecked, RoleEvidence
from eks_cross_account.diagnosis._probes import Asking, Changes, HopEvidence
from eks_cross_account.errors import (
    ClusterError,
    CredentialsUnavailableError,
    EksTokenError,
    InvalidArnError,
    StsUnavailableError,
    UnknownRegionError,
)
from eks_cross_account.identity import canonicalize, strip_path
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from datetime import datetime

    from eks_cross_account.cluster import Cluster
    from eks_cross_account.credentials import FrozenCredentials, RoleHop
    from eks_cross_account.diagnosis._facts import OtherSide
    from eks_cross_account.diagnosis._permission_probes import PermissionsEvidence, Wanted
    from eks_cross_account.diagnosis._reach import ReachEvidence, ReviewEvidence
    from eks_cross_account.identity import CallerIdentity
    from eks_cross_account.rules import Violation
    from eks_cross_account.token import DecodedToken

_UNAUTHORIZED = 401  # HTTP
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checks may look at. None: the probe did not run, because one before it failed."""

    cluster_name: str
    region: str
    region_from: str
    sts_region: str
    now: datetime
    profile: str | None = None
    principal_arn: str = ""  # whom the cluster's owner asks about; "" is: the token's own bearer
    environment: Environment | None = None
    clocks: tuple[ClockEvidence, ...] = ()
    out_of_time: tuple[str, ...] = ()  # what the budget left no time for
    budget: float = TIMEOUT
    credentials_from: str = ""  # botocore's name of the provider: env, shared-credentials-file, container-role ...
    credentials_expiration: datetime | None = None
    credentials_problem: EksTokenError | None = None
    caller: CallerIdentity | None = None
    caller_problem: EksTokenError | None = None
    hops: tuple[HopEvidence, ...] = ()
    cluster: Cluster | None = None
    cluster_problem: EksTokenError | None = None
    described: Cluster | None = None  # by EKS, where the cluster was given by hand and does not let one in
    reach: ReachEvidence | None = None
    token: DecodedToken | None = None
    token_violations: tuple[Violation, ...] = ()
    token_expiration: datetime | None = None
    token_problem: EksTokenError | None = None
    identity: CallerIdentity | None = None
    identity_problem: EksTokenError | None = None
    review: ReviewEvidence | None = None
    other: OtherSide | None = None
    first_review: ReviewEvidence | None = None  # a 401 that the same token did not meet again
    wanted: Wanted | None = None  # what one wants to do there
    permissions: PermissionsEvidence | None = None
    role: RoleEvidence | NotChecked | None = None  # of the principal
    role_is_missing: bool = False
    entry: EntryEvidence | NotChecked | None = None
    aws_auth: AwsAuthEvidence | NotChecked | None = None

    @property
    def sts_is_silent(self) -> bool:
        """Whether nobody knows what STS thinks of the token."""
        return isinstance(self.identity_problem, StsUnavailableError | UnknownRegionError)

    @property
    def is_accepted(self) -> bool:
        """Whether the API server has named a user for the token: here, or to the other side."""
        return (self.review is not None and self.review.user is not None) or self._was_answered("accepted")

    @property
    def is_refused(self) -> bool:
        """Whether the API server answered 401 to a token that AWS takes: here, or to the other side."""
        refused = self.review is not None and self.review.status == _UNAUTHORIZED and self.identity is not None
        return refused or self._was_answered("refused")

    def _was_answered(self, answer: str) -> bool:
        """What the other side's token met, if it is one of the principal's."""
        other = self.other
        return bool(self.principal_arn and other and other.api_server == answer and other.subject == self.subject)

    @property
    def subject(self) -> str:
        """The canonical ARN whose mapping is in question, "" where nobody knows it."""
        if self.principal_arn:
            return _path_less(self.principal_arn)
        if self.identity is not None:
            return self.identity.canonical_arn
        granted = [hop.role_arn for hop in self.hops if hop.problem is None]
        return strip_path(granted[-1]) if granted else ""

    @property
    def subject_with_path(self) -> str | None:
        """The same as an access entry must name it, None for a role whose path nobody here knows (STS hides it)."""
        if isinstance(self.role, RoleEvidence):
            return self.role.arn
        granted = [hop.role_arn for hop in self.hops if hop.problem is None]
        if self.principal_arn:  # one without a path may be what somebody copied from STS, which never shows it
            return self.principal_arn if self._names_a_path() else self._without_a_path()
        if granted and strip_path(granted[-1]).casefold() == self.subject.casefold():
            return granted[-1]
        return self._without_a_path()

    def _names_a_path(self) -> bool:
        return ":role/" in self.principal_arn and self.principal_arn != self.subject

    def _without_a_path(self) -> str | None:
        return self.subject if self.subject and ":role/" not in self.subject else None

    @property
    def credentials_source(self) -> str:
        """Where the credentials came from, in words."""
        return _SOURCES.get(self.credentials_from, self.credentials_from or "unknown source")

    @property
    def namespace(self) -> str:
        """Where the caller wants to do something, "" where that was not said."""
        return self.wanted.namespace if self.wanted is not None else ""

    @property
    def account_from(self) -> str:
        """Where the account that AWS is asked in came from, for a sentence."""
        granted = [hop for hop in self.hops if hop.problem is None]
        if granted:
            return f"that of the role of hop {granted[-1].number} of {granted[-1].of}"
        whose = f"profile {self.profile}" if self.profile else self.credentials_source
        return f"that of the credentials from {whose}: no role was assumed"


def gather(  # noqa: PLR0913 - what is asked about, with what, and for how long
    cluster_name: str,
    *,
    region: str | None,
    hops: tuple[RoleHop, ...],
    profile: str | None,
    session: Any,  # noqa: ANN401 - a boto3 or botocore session
    cluster: Cluster | None = None,
    principal_arn: str = "",
    wanted: Wanted | None = None,
    ask_for_rights: bool = True,
    timeout: float = TIMEOUT,
) -> Evidence:
    """Run the probes, those side by side that need nothing of each other; ``cluster``: instead of DescribeCluster.

    ``principal_arn``: the owner's side, who asks how this principal would come in. ``wanted``: what the token's bearer
    wants to do, to be asked about. ``ask_for_rights``: also ask what may be denied, and so leaves an AccessDenied in an
    audit log (access entries, iam:GetRole, aws-auth). ``timeout``: seconds for all. Raises only for arguments:
    ClusterError, UnknownRegionError, InvalidArnError.
    """
    check_cluster_name(cluster_name)
    if region is not None:
        endpoints.partition_of(region)
    if principal_arn:
        canonicalize(principal_arn)
    budget = Budget(timeout)
    evidence, used = _begin(cluster_name, region, profile, session)
    evidence = replace(evidence, environment=environment(), principal_arn=principal_arn, wanted=wanted, budget=timeout)
    if used is None:
        return evidence
    asking = Asking(used, budget)
    evidence = _walk(evidence, asking, hops, cluster, is_own=session is None, ask_for_rights=ask_for_rights)
    heard = tuple({each.whose: each for each in reversed(asking.clocks)}.values())
    return replace(evidence, clocks=heard)


def _begin(
    cluster_name: str,
    region: str | None,
    profile: str | None,
    session: Any,  # noqa: ANN401 - as above
) -> tuple[Evidence, Any]:
    """What is known before anybody is asked, and the botocore session, None where there can be none."""
    problem: EksTokenError | None = None
    used = None
    try:
        used = botocore_session(session, profile=profile)
    except CredentialsUnavailableError as error:  # no such profile
        problem = error
    found = find_region(region, used, os.environ)
    evidence = Evidence(
        cluster_name=cluster_name,
        region=found,
        region_from=_region_from(region, profile),
        sts_region=(caller_region(used, os.environ) if used is not None else None) or found,
        now=utc_now(),
        profile=profile,
        credentials_problem=problem,
    )
    return evidence, used


def _region_from(region: str | None, profile: str | None) -> str:
    if region is not None:
        return "argument"
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if os.environ.get(name):
            return name
    chosen = profile or os.environ.get("AWS_PROFILE")
    return f"AWS configuration, profile {chosen}" if chosen else "AWS configuration"


def _walk(  # noqa: PLR0913 - the chain, and what may be asked
    evidence: Evidence,
    asking: Asking,
    hops: tuple[RoleHop, ...],
    cluster: Cluster | None,
    *,
    is_own: bool,
    ask_for_rights: bool,
) -> Evidence:
    """Down the chain, each rung where the one before it holds and there is time left."""
    changes, credentials = _probes.read_credentials(evidence, asking, is_own=is_own)
    evidence = replace(evidence, **changes)
    if credentials is None:
        return evidence
    if asking.budget.is_over:
        return replace(evidence, out_of_time=("AWS", "cluster", "token", "API server"))
    first = credentials
    caller, (walked, last) = asking.budget.side_by_side(
        lambda: _probes.ask_whose(evidence, first, asking), lambda: _probes.walk_hops(evidence, first, hops, asking)
    )
    evidence = replace(evidence, **caller, **walked)
    if last is None:
        return evidence
    if asking.budget.is_over:
        left = ("cluster", "mapping") if evidence.principal_arn else ("cluster", "token", "API server", "mapping")
        return replace(evidence, out_of_time=left)
    if evidence.principal_arn:
        return _owners_side(evidence, last, asking, cluster)
    return _own_side(evidence, last, asking, cluster, ask_for_rights=ask_for_rights)


def _own_side(
    evidence: Evidence,
    credentials: FrozenCredentials,
    asking: Asking,
    cluster: Cluster | None,
    *,
    ask_for_rights: bool,
) -> Evidence:
    def place() -> Changes:
        if cluster is None and not ask_for_rights:
            return {"cluster_problem": ClusterError("DescribeCluster was not asked for: it could be denied")}
        return _probes.find_place(evidence, credentials, asking, cluster)

    found, (spoken, token) = asking.budget.side_by_side(
        place, lambda: _probes.make_token(evidence, credentials, asking)
    )
    evidence = replace(evidence, **found, **spoken)
    if asking.budget.is_over:
        return replace(evidence, out_of_time=("API server", "mapping"))

    def mapping() -> Changes:
        known = ask_for_rights and evidence.cluster is not None and evidence.subject
        return _probes.look_up_mapping(evidence, credentials, asking) if known else {}

    def asked() -> Changes:
        reviewed = _probes.ask_api_server(evidence, token, asking.budget)
        return {**reviewed, **_probes.ask_rights(replace(evidence, **reviewed), token, asking.budget)}

    reviewed, mapped = asking.budget.side_by_side(asked, mapping)
    evidence = replace(evidence, **reviewed, **mapped)
    if cluster is not None and ask_for_rights and _is_shut(evidence) and not asking.budget.is_over:
        described = _probes.describe(evidence, credentials, asking)
        evidence = replace(evidence, described=described.get("cluster"))
    return evidence


def _is_shut(evidence: Evidence) -> bool:
    return evidence.is_refused or (evidence.reach is not None and evidence.reach.failed is not None)


def _owners_side(
    evidence: Evidence, credentials: FrozenCredentials, asking: Asking, cluster: Cluster | None
) -> Evidence:
    """How a principal would come in: by what the cluster's owner may see. No token is made but to read aws-auth."""
    place = _probes.describe(evidence, credentials, asking) if cluster is None else {"cluster": cluster}
    evidence = replace(evidence, **place)
    if evidence.cluster is None:
        return evidence
    if asking.budget.is_over:
        return replace(evidence, out_of_time=("mapping",))
    mapped, read = asking.budget.side_by_side(
        lambda: _probes.look_up_mapping(evidence, credentials, asking),
        lambda: _probes.read_aws_auth(evidence, credentials, asking.budget),
    )
    return replace(evidence, **mapped, aws_auth=read)


def _path_less(arn: str) -> str:
    try:
        return strip_path(canonicalize(arn))
    except InvalidArnError:
        return ""
