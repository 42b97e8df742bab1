"""The checks of the cluster's own side: the way there, and the identity as AWS and as the API server say it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eks_cross_account._printable import printable_message
from eks_cross_account.diagnosis import remedies
from eks_cross_account.diagnosis.report import Finding, Remedy
from eks_cross_account.errors import ClusterError, EksTokenError
from eks_cross_account.identity import canonicalize, strip_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.diagnosis._reach import ApiUser, ReachEvidence
    from eks_cross_account.diagnosis.evidence import Evidence
    from eks_cross_account.identity import CallerIdentity

CONFIRMED = "same-identity"
_ANONYMOUS = "system:anonymous"
_SHOWN_GROUPS = 8
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 401, 403, 404, 429, 500  # HTTP
_RULED_OUT = "expired, malformed, for another cluster name, wrong clock (STS took the token)"
_ENTRIES = "no access entry | the entry is older than the role (deleted and made again) | it is of a type for nodes"
_ROWS = "no row in aws-auth | its rolearn has a path | aws-auth is damaged"
_LEFT = {
    "CONFIG_MAP": f"{_ROWS} (access entries count for nothing in mode CONFIG_MAP)",
    "API_AND_CONFIG_MAP": f"{_ENTRIES}; and {_ROWS}",
    "API": f"{_ENTRIES} (aws-auth counts for nothing in mode API)",
    "": f"{_ENTRIES} | {_ROWS} | the authentication mode leaves the one that it is in out of account",
}

_NEEDED = {"CONFIG_MAP": "to read ConfigMap kube-system/aws-auth", "": "eks:ListAccessEntries, eks:DescribeAccessEntry"}


def check_reach(evidence: Evidence) -> Iterator[Finding]:
    """Whether a Kubernetes API server answers where DescribeCluster says it is."""
    reached = evidence.reach
    if reached is None:
        return
    if reached.failed is None:
        seen = tuple(("address", address) for address in reached.addresses[:1])
        answer = (("GET /version", f"{reached.status} {reached.version}".rstrip()),)
        summary = f"{_place(reached)}: TLS by its CA, Kubernetes answers"
        yield Finding("reachable", "PASS", "api-server", "reachable", summary, (*seen, *_by_proxy(reached), *answer))
    elif reached.failed in {"chain", "ca"}:
        yield _other_authority(reached)
    elif reached.failed == "tls":
        yield _broken_tls(reached)
    elif reached.failed in {"foreign", "proxy"}:
        yield _something_else(reached)
    else:
        yield _unreachable(evidence, reached)


def check_api_server(evidence: Evidence) -> Iterator[Finding]:
    """Whom the API server takes the token's bearer for, and whether that is whom AWS says it is."""
    if evidence.reach is None and evidence.token is not None:
        yield from _not_asked(evidence)
    answer = evidence.review
    if answer is None:
        return
    if answer.user is not None:
        yield _user(answer.user)
        if not answer.user.username:
            yield _nameless(evidence)
        yield _compared(evidence, answer.user)
        if evidence.first_review is not None:
            yield _sporadic()
    elif answer.status == _UNAUTHORIZED:
        yield _unauthorized(evidence) if evidence.identity is None else _not_mapped(evidence, evidence.identity)
    elif answer.status == _FORBIDDEN:
        yield _forbidden(answer.problem)
    elif answer.status == _NOT_FOUND:
        yield Finding(
            "identity-unconfirmed", "UNKNOWN", "api-server", "API server",
            "the token was not refused, but this API server has no SelfSubjectReview (it came with Kubernetes 1.28)",
            remedy=Remedy("ask by hand: kubectl auth whoami needs the same; kubectl auth can-i --list shows rights"),
        )  # fmt: skip
    else:
        yield _no_answer(answer.status, answer.problem)


def check_user(evidence: Evidence) -> Iterator[Finding]:
    """Whom the API server takes its caller for, where no AWS was asked."""
    answer = evidence.review
    if answer is None:
        return
    if answer.user is not None:
        yield _user(answer.user)
    elif answer.status == _UNAUTHORIZED:
        yield Finding(
            "unauthorized", "FAIL", "api-server", "API server", f"{evidence.cluster_name} refused its credentials: 401",
            remedy=Remedy("on EKS: eks-token-check check says which link is broken"),
        )  # fmt: skip
    elif answer.status == _FORBIDDEN:
        yield _forbidden(answer.problem)
    elif answer.status != _NOT_FOUND:  # which has no SelfSubjectReview, and is older than Kubernetes 1.28
        yield _no_answer(answer.status, answer.problem)


def _not_asked(evidence: Evidence) -> Iterator[Finding]:
    problem, cluster = evidence.cluster_problem, evidence.cluster
    if isinstance(problem, ClusterError) and problem.code == "ResourceNotFoundException":
        return  # nothing to ask, as the finding above says
    reason = "EKS did not describe the cluster"
    if cluster is not None:
        reason = f"the cluster has no endpoint or no CA yet (status {cluster.status or 'not said'})"
    elif isinstance(problem, ClusterError) and problem.code == "AccessDeniedException":
        reason = "its endpoint is unknown: needs eks:DescribeCluster, or endpoint and CA by hand"
    yield Finding("api-server", "SKIP", "api-server", "API server", f"not asked: {reason}")


# --- the way there


def _place(reached: ReachEvidence) -> str:
    """The endpoint and how one gets there, for a sentence."""
    kinds = [f"{address}, {'private' if reached.is_private else 'public'}" for address in reached.addresses[:1]]
    more = len(reached.addresses) - 1
    kinds += [f"{more} more"] if more > 0 else []
    kinds += [f"by proxy {reached.proxy}"] if reached.proxy else []
    return f"{reached.endpoint} ({', '.join(kinds)})" if kinds else reached.endpoint


def _by_proxy(reached: ReachEvidence) -> tuple[tuple[str, str], ...]:
    return (("by proxy", reached.proxy),) if reached.proxy else ()


def _unreachable(evidence: Evidence, reached: ReachEvidence) -> Finding:
    fine = " AWS and the token are fine." if evidence.identity is not None else ""
    place, seconds = _place(reached), f"{reached.timeout:.2g} s"
    texts = {
        "endpoint": f"the endpoint {reached.endpoint} cannot be asked: {reached.problem}",
        "dns": f"the name in {reached.endpoint} was not found in DNS from here: {reached.problem}",
        "tcp": f"no TCP connection to {place} from here within {seconds}: {reached.problem}",
        "proxy-kind": f"{reached.endpoint} was not asked: {reached.problem}",
        "silent": f"{place} takes connections, but does not answer within {seconds}: {reached.problem}",
    }
    if reached.failed == "tcp" and reached.proxy:
        texts["tcp"] = f"no connection to the proxy {reached.proxy} of HTTPS_PROXY: {reached.problem}"
    known = reached.failed in {"endpoint", "dns", "tcp"}
    return Finding(
        "unreachable",
        "FAIL" if known else "UNKNOWN",
        "api-server",
        "API server",
        f"{texts[str(reached.failed)]}.{fine}",
        remedy=_way_remedy(evidence, reached),
        cause="N1",
        retry=reached.failed in {"dns", "tcp", "silent"},
    )


def _way_remedy(evidence: Evidence, reached: ReachEvidence) -> Remedy:
    cluster = evidence.cluster
    show = (remedies.describe_command(evidence.cluster_name, evidence.region, "cluster.resourcesVpcConfig"),)
    if reached.failed == "endpoint":
        return Remedy("take the endpoint as DescribeCluster gives it", show)
    if reached.failed == "proxy-kind" or reached.proxy:
        return Remedy("check HTTPS_PROXY and NO_PROXY: is the proxy there, and does it let this endpoint through?")
    if reached.failed == "silent":  # a route there is: the connection was taken
        text = (
            "The way to it is there, for the connection was taken. Ask again first: an API server that is busy or "
            "being upgraded does this for a while. Where it stays so: a firewall, load balancer or VPN between that "
            "takes connections and lets no TLS through, or packets too big for a tunnel (MTU). Nothing about roles or "
            "RBAC is wrong."
        )
        return Remedy(text, (remedies.certificate_command(reached.endpoint),))
    if reached.is_private or (cluster is not None and cluster.endpoint_public_access is False):
        vpc = f" {printable_message(cluster.vpc_id)}" if cluster is not None and cluster.vpc_id else ""
        text = (
            f"The endpoint is private: this network needs a route to its VPC{vpc} (peering, transit gateway), DNS that "
            "knows it, and the cluster's security group must admit 443 from here. Nothing about roles or RBAC is wrong."
        )
        return Remedy(text, show)
    text = (
        "The endpoint is public: is outgoing 443 open here (NAT, firewall, HTTPS_PROXY), and is this network's public "
        "address among the cluster's publicAccessCidrs? Nothing about roles or RBAC is wrong."
    )
    return Remedy(text, show)


def _other_authority(reached: ReachEvidence) -> Finding:
    if reached.failed == "ca":
        summary = f"the CA in the cluster's description cannot be used: {reached.problem}"
    else:
        summary = f"{_place(reached)} shows a certificate that is not of the cluster's CA: {reached.problem}"
    text = (
        "Who answers is not this cluster: a proxy or firewall that opens TLS, a name that leads elsewhere (private DNS "
        "of another VPC), or the endpoint or CA of a cluster that was made again. No token was sent."
    )
    command = (remedies.certificate_command(reached.endpoint, proxy=reached.proxy),)
    seen = _by_proxy(reached)
    return Finding("wrong-certificate-authority", "FAIL", "api-server", "API server", summary, seen,
                   Remedy(text, command), cause="N3")  # fmt: skip


def _broken_tls(reached: ReachEvidence) -> Finding:
    summary = f"no TLS with {_place(reached)}: {reached.problem}"
    text = (
        "Check that the name is the endpoint's own, this machine's clock (certificates have dates), and what stands "
        "between: a proxy or firewall that breaks TLS. No token was sent."
    )
    command = (remedies.certificate_command(reached.endpoint, proxy=reached.proxy),)
    return Finding("tls-failed", "FAIL", "api-server", "API server", summary, _by_proxy(reached),
                   Remedy(text, command), cause="N3")  # fmt: skip


def _something_else(reached: ReachEvidence) -> Finding:
    if reached.failed == "proxy":
        summary = f"the proxy {reached.proxy} does not let one through to {reached.endpoint}: {reached.problem}"
        text = (
            "let the proxy's owner allow CONNECT to this host, or name the host in NO_PROXY where a direct way exists"
        )
        return Finding("not-kubernetes", "FAIL", "api-server", "API server", summary, (("by proxy", reached.proxy),),
                       Remedy(text), cause="N4")  # fmt: skip
    busy = reached.status == _TOO_MANY or reached.status >= _SERVER_ERROR
    summary = f"what answers at {_place(reached)} is not a Kubernetes API server: {reached.problem}"
    text = "see what answers: a proxy, a load balancer, or another service. No token was sent."
    return Finding("not-kubernetes", "UNKNOWN" if busy else "FAIL", "api-server", "API server", summary,
                   _by_proxy(reached), Remedy(text), cause="N4", retry=busy)  # fmt: skip


# --- whom it says one is


def _user(user: ApiUser) -> Finding:
    name, groups = printable_message(user.username), [printable_message(group) for group in user.groups]
    shown = ", ".join(groups[:_SHOWN_GROUPS]) or "none"
    more = f" and {len(groups) - _SHOWN_GROUPS} more" if len(groups) > _SHOWN_GROUPS else ""
    seen = [("username", name), ("uid", printable_message(user.uid)), ("groups", ", ".join(groups))]
    for key, values in user.extra:
        text = printable_message(", ".join(values))
        seen.append((printable_message(key), _last_four(text) if key == "accessKeyId" else text))
    summary = f"says groups {shown}{more}; user {name or '(empty)'}"
    return Finding("api-server", "PASS", "api-server", "API server", summary, tuple(seen))


def _nameless(evidence: Evidence) -> Finding:
    """Every denial then says ``User ""``, and no binding of a user can name it."""
    account = evidence.cluster.account if evidence.cluster is not None else ""
    return Finding(
        "user-name-empty", "FAIL", "api-server", "user name", "the user that it is mapped to has an empty name",
        remedy=Remedy("in aws-auth: write a username, in quotes where it is a number; an access entry has its own"),
        cause="F10", owner=account,
    )  # fmt: skip


def _compared(evidence: Evidence, user: ApiUser) -> Finding:
    """AWS's view of the token's bearer beside the API server's: role and session by ARN, and the key id."""
    theirs = {name: values[0] for name, values in user.extra if values}
    pairs = [(name, ours, theirs[name]) for name, ours in _views(evidence).items() if name in theirs]
    if not pairs:
        summary = (
            "the API server does not say which AWS identity its user is (another authenticator than EKS's): user "
            f"{printable_message(user.username) or '(empty)'} cannot be compared with {_bearer(evidence)}"
        )
        return Finding("identity-unconfirmed", "UNKNOWN", "api-server", "same identity", summary)
    different = [pair for pair in pairs if not _same(*pair)]
    if different:
        return _mismatch(different)
    said = ", ".join(_NAMES[name] for name, _, _ in pairs)
    summary = f"AWS and the API server agree ({said})"
    return Finding(CONFIRMED, "PASS", "inferred", "same identity", summary)


_NAMES = {"arn": "ARN", "canonicalArn": "role", "accessKeyId": "access key id"}


def _views(evidence: Evidence) -> dict[str, str]:
    """What AWS says, under the names of the authenticator's extra."""
    views: dict[str, str] = {}
    if evidence.identity is not None:
        views = {"arn": evidence.identity.arn, "canonicalArn": evidence.identity.canonical_arn}
    if evidence.token is not None and evidence.token.access_key_id:
        views["accessKeyId"] = evidence.token.access_key_id
    return views


def _same(name: str, ours: str, theirs: str) -> bool:
    """IAM keeps role names apart without regard to case, and so do mappings; sessions and key ids with."""
    return ours.casefold() == theirs.casefold() if name == "canonicalArn" else ours == theirs


def _mismatch(different: list[tuple[str, str, str]]) -> Finding:
    seen = []
    for name, ours, theirs in different:
        hide = _last_four if name == "accessKeyId" else str
        seen.append((_NAMES[name], f"AWS says {hide(ours)}, the API server says {hide(printable_message(theirs))}"))
    summary = f"the token's bearer is not one and the same: {seen[0][1]}"
    text = (
        "something between here and the API server signs in with an identity of its own (kubectl proxy, an "
        "impersonating gateway), or exchanges the token: go to the endpoint directly"
    )
    return Finding("identity-mismatch", "FAIL", "inferred", "same identity", summary, tuple(seen), Remedy(text))


def _sporadic() -> Finding:
    return Finding(
        "unauthorized-once",
        "WARN",
        "api-server",
        "API server",
        "the same token was refused (401) a moment before it was accepted",
        remedy=Remedy(
            "retry a 401 once; where it happens often, make fewer tokens (each lives 14 min), and let the cluster's "
            "owner look into the log of its authenticator for: was throttled, error during GET"
        ),
        cause="U23",
        retry=True,
    )


def _not_mapped(evidence: Evidence, identity: CallerIdentity) -> Finding:
    cluster = evidence.cluster
    account = cluster.account if cluster is not None else ""
    mode = (cluster.authentication_mode if cluster is not None else None) or ""
    place = f"({account}, {evidence.region})" if account else f"({evidence.region})"
    arn = principal_arn(evidence, identity)
    return Finding(
        "not-mapped",
        "FAIL",
        "api-server",
        "API server",
        f"cluster {evidence.cluster_name} {place} refused {arn or identity.arn}: 401. Its token is valid (STS says so)",
        (
            ("ruled out", _RULED_OUT),
            ("left", f"{_LEFT.get(mode, _LEFT[''])} | EKS could not ask STS just then (a second run passes)"),
            ("not checked", f"which of these it is: needs {_NEEDED.get(mode, _NEEDED[''])}"),
        ),
        remedies.mapping_remedy(
            evidence.cluster_name,
            evidence.region,
            identity,
            principal_arn=arn,
            mode=mode,
            namespace=evidence.namespace,
        ),
        cause="U15",
        owner=account,
    )


def principal_arn(evidence: Evidence, identity: CallerIdentity) -> str | None:
    """The ARN that an access entry must name; None for a role whose path nobody here knows (STS does not say it)."""
    granted = [hop.role_arn for hop in evidence.hops if hop.problem is None]
    try:
        if granted and strip_path(granted[-1]).casefold() == canonicalize(identity.arn).casefold():
            return granted[-1]
    except EksTokenError:
        return None
    return None if ":assumed-role/" in identity.arn else identity.arn


def _unauthorized(evidence: Evidence) -> Finding:
    account = evidence.cluster.account if evidence.cluster is not None else ""
    return Finding(
        "unauthorized",
        "FAIL",
        "api-server",
        "API server",
        f"cluster {evidence.cluster_name} refused the token: 401",
        (
            ("ruled out", "malformed, expired by its own date"),
            ("left", "AWS does not take the token | it is for another cluster name | its identity is not mapped"),
            ("not known", "which of these it is: STS could not be asked from here (see above)"),
        ),
        Remedy(
            "mend the way to STS and run this again; or let the cluster's owner look into the log of its authenticator "
            "(CloudWatch, log type authenticator): access denied, with arn= where STS took the token"
        ),
        owner=account,
    )


def _forbidden(message: str) -> Finding:
    seen = (("Kubernetes", message),)
    if _ANONYMOUS in message:
        return Finding(
            "anonymous", "FAIL", "api-server", "API server",
            "the API server saw no token: to it the request was anonymous (403)", seen,
            Remedy("something between here and there takes the Authorization header away: go to the endpoint directly"),
            cause="F1",
        )  # fmt: skip
    return Finding(
        "forbidden", "UNKNOWN", "api-server", "API server",
        "the token was accepted, but its user may not ask who it is (403)", seen,
        Remedy("bind the ClusterRole system:basic-user to the group system:authenticated, as Kubernetes does itself"),
        cause="F7",
    )  # fmt: skip


def _no_answer(status: int, problem: str) -> Finding:
    said = f"it answered {status}: {problem}" if status else problem
    return Finding("api-server-unknown", "UNKNOWN", "api-server", "API server",
                   f"the API server did not say whom it takes the token's bearer for: {said}",
                   remedy=Remedy("try again"), retry=True)  # fmt: skip


def _bearer(evidence: Evidence) -> str:
    return evidence.identity.arn if evidence.identity is not None else "the token's bearer"


def _last_four(access_key_id: str) -> str:
    return f"...{access_key_id[-4:]}"
