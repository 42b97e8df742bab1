"""The probes of the chain, a function for each rung: credentials, hops, cluster, token, API server, mapping. Does I/O.

Each returns the fields of Evidence that it found out. Which run, and when, ``evidence`` decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account.cluster import Cluster, Eks, described
from eks_cross_account.credentials import READ_TIMEOUT, FrozenCredentials, RoleHop, assume_role, freeze, utc_now
from eks_cross_account.diagnosis import _reach
from eks_cross_account.diagnosis._budget import Budget, OutOfTimeError
from eks_cross_account.diagnosis._environment import ClockEvidence, clock
from eks_cross_account.diagnosis._mapping_probes import (
    AwsAuthEvidence,
    EntryEvidence,
    NotChecked,
    get_role,
    judge_aws_auth,
    look_up_entry,
)
from eks_cross_account.diagnosis._permission_probes import ask_permissions
from eks_cross_account.diagnosis.needs import for_server
from eks_cross_account.errors import CredentialsError, CredentialsUnavailableError, EksTokenError
from eks_cross_account.provider import mint
from eks_cross_account.rules import violations
from eks_cross_account.sts import verify_token
from eks_cross_account.token import EksToken, decode_token

if TYPE_CHECKING:
    from eks_cross_account.diagnosis._reach import ReachEvidence
    from eks_cross_account.diagnosis.evidence import Evidence
    from eks_cross_account.identity import CallerIdentity

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404  # HTTP
_CALL = 10.0  # seconds for one call of AWS, its second try included
Changes = dict[str, Any]  # fields of Evidence


@dataclass(frozen=True, slots=True)
class HopEvidence:
    """One AssumeRole as it was asked for; ``problem`` None when it was granted."""

    number: int
    of: int
    role_arn: str
    external_id_sent: bool
    problem: EksTokenError | None


@dataclass(frozen=True, slots=True)
class Asking:
    """How AWS is asked: under whose settings, and in what time."""

    session: Any  # botocore's
    budget: Budget
    clocks: list[ClockEvidence] = field(default_factory=list)  # appended to by probes that run side by side

    def eks(self, region: str, credentials: FrozenCredentials) -> Eks:
        timeout = self.budget.share(_CALL)
        return Eks(lambda: credentials, region, self.session, timeout, lambda date: self.hear("EKS", date))

    def hear(self, whose: str, date: str) -> None:
        heard = clock(whose, date, utc_now())
        if heard is not None:
            self.clocks.append(heard)


def read_credentials(evidence: Evidence, asking: Asking, *, is_own: bool) -> tuple[Changes, FrozenCredentials | None]:
    """A session that was handed in is asked in its user's thread: it may be bound to it."""

    def read() -> FrozenCredentials:
        return freeze(asking.session, profile=evidence.profile)

    try:
        frozen: FrozenCredentials = asking.budget.waited(read) if is_own else read()
    except OutOfTimeError:
        text = (
            "the AWS credentials did not come in time: something that gives them out hangs (container or instance "
            "metadata, a credential_process, a proxy before IAM Identity Center)"
        )
        return {"credentials_problem": CredentialsUnavailableError(text, retryable=True)}, None
    except CredentialsError as error:
        return {"credentials_problem": error}, None
    method = str(getattr(asking.session.get_credentials(), "method", "") or "")
    return {"credentials_from": method, "credentials_expiration": frozen.expiration}, frozen


def ask_whose(evidence: Evidence, credentials: FrozenCredentials, asking: Asking) -> Changes:
    """Whose the credentials are before any hop, by a token of theirs: GetCallerIdentity, which nobody can be denied."""
    try:
        token = mint(credentials, cluster_name=evidence.cluster_name, region=evidence.sts_region, now=evidence.now)
        return {"caller": _verified(evidence, token, evidence.sts_region, asking)}
    except EksTokenError as error:
        return {"caller_problem": error}


def _verified(evidence: Evidence, token: EksToken, region: str, asking: Asking) -> CallerIdentity:
    return verify_token(
        token.value,
        cluster_name=evidence.cluster_name,
        region=region,
        timeout=asking.budget.share(READ_TIMEOUT, steps=2),
        session=asking.session,
        on_date=lambda date: asking.hear("STS", date),
    )


def walk_hops(
    evidence: Evidence, credentials: FrozenCredentials, hops: tuple[RoleHop, ...], asking: Asking
) -> tuple[Changes, FrozenCredentials | None]:
    seen: list[HopEvidence] = []
    current: FrozenCredentials | None = credentials
    for number, hop in enumerate(hops, start=1):
        problem: EksTokenError | None = None
        try:
            current = assume_role(
                current or credentials,
                hop,
                place=f"hop {number} of {len(hops)}",
                number=number,
                region=evidence.sts_region,
                session=asking.session,
                timeout=asking.budget.share(_CALL),
            )
        except EksTokenError as error:
            current, problem = None, error
        seen.append(HopEvidence(number, len(hops), hop.role_arn, hop.external_id is not None, problem))
        if current is None:
            break
    return {"hops": tuple(seen)}, current


def find_place(evidence: Evidence, credentials: FrozenCredentials, asking: Asking, cluster: Cluster | None) -> Changes:
    """The cluster, and the way to it."""
    found = {"cluster": cluster} if cluster else describe(evidence, credentials, asking)
    reached = _reached(found.get("cluster"), asking.budget)
    if reached is not None and reached.clock is not None:
        asking.clocks.append(reached.clock)
    return {**found, "reach": reached}


def describe(evidence: Evidence, credentials: FrozenCredentials, asking: Asking) -> Changes:
    try:
        return {"cluster": described(asking.eks(evidence.region, credentials), evidence.cluster_name)}
    except EksTokenError as error:
        return {"cluster_problem": error}


def _reached(cluster: Cluster | None, budget: Budget) -> ReachEvidence | None:
    if cluster is None or not cluster.endpoint or not cluster.certificate_authority:
        return None
    return _reach.reach(cluster, timeout=budget.share(_reach.TIMEOUT, steps=4))


def make_token(evidence: Evidence, credentials: FrozenCredentials, asking: Asking) -> tuple[Changes, EksToken | None]:
    """The token is returned beside the evidence, which must not hold it."""
    now = utc_now()
    try:
        token = mint(credentials, cluster_name=evidence.cluster_name, region=evidence.region, now=now)
    except EksTokenError as error:
        return {"token_problem": error}, None
    partition = endpoints.partition_of(evidence.region)
    seen = {
        "token": decode_token(token.value),
        "token_violations": violations(token.value, now=now, partition=partition, region=evidence.region),
        "token_expiration": token.expiration,
    }
    try:
        return {**seen, "identity": _verified(evidence, token, evidence.region, asking)}, token
    except EksTokenError as error:
        return {**seen, "identity_problem": error}, token


def ask_api_server(evidence: Evidence, token: EksToken | None, budget: Budget) -> Changes:
    """Ask the API server, unless nothing of the kind answers or STS has refused the token already.

    A 401 to a token that STS takes is asked for twice: the cluster's own question to STS may have failed.
    """
    reached, cluster = evidence.reach, evidence.cluster
    if reached is None or reached.failed is not None or cluster is None or token is None:
        return {}
    if evidence.identity is None and not evidence.sts_is_silent:
        return {}
    ask = _reach.asker(cluster, reached, token, timeout=budget.share(_reach.TIMEOUT, steps=6))
    first = _reach.review(ask)
    if first.status != _UNAUTHORIZED or evidence.identity is None:
        return {"review": first}
    second = _reach.review(ask)
    return {"review": second, "first_review": first} if second.user is not None else {"review": first}


def ask_rights(evidence: Evidence, token: EksToken | None, budget: Budget) -> Changes:
    """Ask for the rights of what is wanted, as soon as the API server has named a user."""
    reached, cluster, wanted = evidence.reach, evidence.cluster, evidence.wanted
    known = evidence.review is not None and evidence.review.user is not None
    if wanted is None or not known or reached is None or cluster is None or token is None:
        return {}
    wanted = replace(wanted, rules=for_server(wanted.rules, reached.version or cluster.version))
    ask = _reach.asker(cluster, reached, token, timeout=budget.share(_reach.TIMEOUT, steps=6))
    return {"wanted": wanted, "permissions": ask_permissions(wanted, ask, budget)}


def look_up_mapping(evidence: Evidence, credentials: FrozenCredentials, asking: Asking) -> Changes:
    """The principal's role, then its access entry."""
    role = get_role(
        evidence.subject,
        credentials,
        _account_of(evidence),
        region=evidence.region,
        session=asking.session,
        timeout=asking.budget.share(_CALL, steps=2),
    )
    seen = replace(evidence, role=role)
    if asking.budget.is_over:
        entry: EntryEvidence | NotChecked = NotChecked(why="no time was left (--timeout)")
    else:
        eks = replace(asking.eks(evidence.region, credentials), timeout=asking.budget.share(_CALL, steps=4))
        entry = look_up_entry(eks, evidence.cluster_name, evidence.subject, seen.subject_with_path)
    return {"role": role, "role_is_missing": role is None, "entry": entry}


def _account_of(evidence: Evidence) -> str:
    """Of the credentials that AWS is asked with."""
    granted = [hop.role_arn for hop in evidence.hops if hop.problem is None]
    if granted:
        return granted[-1].split(":")[4]
    return evidence.caller.account if evidence.caller is not None else ""


def read_aws_auth(evidence: Evidence, credentials: FrozenCredentials, budget: Budget) -> AwsAuthEvidence | NotChecked:
    """What the cluster's ConfigMap says of the principal, read with a token of one's own."""
    needs = "get on ConfigMap kube-system/aws-auth"
    cluster, reached = evidence.cluster, _reached(evidence.cluster, budget)
    if cluster is None or reached is None or reached.failed is not None:
        return NotChecked(needs, "the API server was not reached from here")
    try:
        token = mint(credentials, cluster_name=evidence.cluster_name, region=evidence.region, now=utc_now())
    except EksTokenError as error:
        return NotChecked(why=str(error))
    read = _reach.aws_auth(_reach.asker(cluster, reached, token, timeout=budget.share(_reach.TIMEOUT, steps=3)))
    if read.data is not None or read.status == _NOT_FOUND:
        return judge_aws_auth(read.data, evidence.subject)
    if read.status == _UNAUTHORIZED:
        return NotChecked(needs, "the cluster does not let these credentials in")
    return NotChecked(needs) if read.status == _FORBIDDEN else NotChecked(why=f"aws-auth: {read.problem}")
