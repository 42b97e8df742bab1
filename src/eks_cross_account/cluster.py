"""What EKS says about a cluster: its description, and its access entries. Touches EKS only.

A ``Cluster`` can as well be written by hand, where DescribeCluster is not allowed: its endpoint and CA are all that a
client needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account._printable import printable_line
from eks_cross_account.credentials import asked, botocore_session, client
from eks_cross_account.errors import ClusterError, without_frames
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from eks_cross_account.credentials import CredentialSource

_MESSAGE_LENGTH = 1000  # of AWS's
_MOST_PAGES = 10  # of 100 entries
_NOT_FOUND = "ResourceNotFoundException"
_NO_CLUSTER = "No cluster found"  # how EKS begins when it is the cluster that is missing, and not the entry


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as its clients need it. ``certificate_authority``: base64 of PEM, as EKS and kubeconfigs have it.

    ``authentication_mode``: CONFIG_MAP, API_AND_CONFIG_MAP or API; None where botocore is older than access entries.
    ``outpost_id``: of a local cluster on Outposts, whose tokens are signed for it and not for the name.
    """

    name: str
    endpoint: str
    certificate_authority: str = field(repr=False)
    arn: str = ""
    status: str = ""
    version: str = ""
    authentication_mode: str | None = None
    endpoint_public_access: bool | None = None
    endpoint_private_access: bool | None = None
    vpc_id: str = ""
    outpost_id: str = ""

    @property
    def account(self) -> str:
        """The account in the cluster's ARN, "" where the ARN is unknown."""
        return self.arn.split(":")[4] if self.arn.count(":") >= 5 else ""  # noqa: PLR2004 - an ARN's sections


def authority_pem(cluster: Cluster) -> str:
    """The cluster's CA, as its clients read it. Raises ClusterError for what is none."""
    import base64  # noqa: PLC0415 - with ssl, only where a client is made
    import ssl  # noqa: PLC0415 - heavy

    try:
        pem = base64.b64decode(cluster.certificate_authority, validate=True).decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ValueError, ssl.SSLError):
        raise ClusterError(f"the certificate authority of cluster {cluster.name} is not a PEM in base64") from None
    return pem


@dataclass(frozen=True, slots=True)
class DescribedEntry:
    """An access entry as EKS describes it. ``type``: STANDARD, or one for nodes; times: None where EKS says none."""

    principal_arn: str
    username: str = ""
    groups: tuple[str, ...] = ()
    type: str = "STANDARD"
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class AssociatedPolicy:
    """An access policy of an entry. ``namespaces``: its scope, () for the whole cluster."""

    arn: str
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Eks:
    """How EKS is asked: as whom, where, and for how long (``timeout``: seconds in all, None for the session's own).

    ``on_date``: is told the Date header of each answer.
    """

    source: CredentialSource
    region: str
    session: Any = None  # a boto3 or botocore session, neither of which has types
    timeout: float | None = None
    on_date: Callable[[str], None] | None = None


def describe_cluster(
    source: CredentialSource,
    cluster_name: str,
    *,
    region: str,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
) -> Cluster:
    """The cluster, by eks:DescribeCluster with the source's credentials.

    Raises ClusterError: not there (so: another account or region), not allowed, no answer (``retryable``).
    """
    return described(Eks(source, region, session), cluster_name)


def described(eks: Eks, cluster_name: str) -> Cluster:
    """As ``describe_cluster``."""
    answer = _ask(eks, cluster_name, "DescribeCluster", name=cluster_name)
    return _cluster(cluster_name, _member(answer, "cluster"))


def access_entry(eks: Eks, cluster_name: str, principal_arn: str) -> DescribedEntry | None:
    """The entry of exactly this principal, None where there is none (eks:DescribeAccessEntry).

    Raises ClusterError, also where botocore is older than access entries (1.34).
    """
    try:
        answer = _ask(eks, cluster_name, "DescribeAccessEntry", clusterName=cluster_name, principalArn=principal_arn)
    except ClusterError as error:
        if error.code == _NOT_FOUND and _NO_CLUSTER not in str(error):
            return None
        raise
    entry = _member(answer, "accessEntry")
    return DescribedEntry(
        principal_arn=_text(entry, "principalArn") or principal_arn,
        username=_text(entry, "username"),
        groups=_texts(entry.get("kubernetesGroups")),
        type=_text(entry, "type") or "STANDARD",
        created=entry.get("createdAt"),
        modified=entry.get("modifiedAt"),
    )


def access_entries(eks: Eks, cluster_name: str) -> tuple[str, ...]:
    """The principals of all entries, 1,000 at most (eks:ListAccessEntries). Raises ClusterError."""
    return _texts(list(_pages(eks, cluster_name, "ListAccessEntries", "accessEntries")))


def associated_policies(eks: Eks, cluster_name: str, principal_arn: str) -> tuple[AssociatedPolicy, ...]:
    """The entry's policies (eks:ListAssociatedAccessPolicies). Raises ClusterError."""
    found = _pages(eks, cluster_name, "ListAssociatedAccessPolicies", "associatedAccessPolicies", principal_arn)
    return tuple(
        AssociatedPolicy(_text(policy, "policyArn"), _texts((policy.get("accessScope") or {}).get("namespaces")))
        for policy in found
        if isinstance(policy, dict) and _text(policy, "policyArn")
    )


def _pages(eks: Eks, cluster_name: str, operation: str, member: str, principal_arn: str | None = None) -> Iterator[Any]:
    parameters = {"clusterName": cluster_name, **({"principalArn": principal_arn} if principal_arn else {})}
    for _ in range(_MOST_PAGES):
        answer = _ask(eks, cluster_name, operation, **parameters)
        yield from answer.get(member) or ()
        if not answer.get("nextToken"):
            return
        parameters = {**parameters, "nextToken": answer["nextToken"]}


def _ask(eks: Eks, cluster_name: str, operation: str, **parameters: str) -> dict[str, Any]:
    from botocore import xform_name  # noqa: PLC0415 - heavy, only where EKS is asked
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    check_cluster_name(cluster_name)
    endpoints.partition_of(eks.region)
    credentials = eks.source()
    try:
        used = client(botocore_session(eks.session), "eks", eks.region, credentials, timeout=eks.timeout)
        call = getattr(used, xform_name(operation), None)
        if call is None:
            raise ClusterError(f"{operation} needs botocore 1.34")
        answer = asked(call, **parameters)
    except ClientError as error:
        _tell_date(eks, error.response)
        raise _refused(error, operation, cluster_name, eks.region) from without_frames(error)
    except (BotoCoreError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"{operation} {cluster_name} got no answer from EKS in {eks.region}: {printable_line(str(error))}",
            retryable=True,
        ) from without_frames(error)
    _tell_date(eks, answer)
    return answer


def _tell_date(eks: Eks, answer: dict[str, Any]) -> None:
    if eks.on_date is not None:
        eks.on_date(str(((answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}).get("date") or ""))


def _member(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What the answer is about. Raises ClusterError for an answer without it, which botocore lets through."""
    found = answer.get(name)
    if not isinstance(found, dict):
        raise ClusterError(f"EKS answered without {name!r}: something that is not EKS answered", retryable=True)
    return found


def _text(answer: Mapping[str, Any], name: str) -> str:
    """A text of the answer, printable; "" for what is none: botocore looks at no type."""
    value = answer.get(name)
    return printable_line(value) if isinstance(value, str) else ""


def _texts(values: object) -> tuple[str, ...]:
    found = values if isinstance(values, list) else []
    return tuple(printable_line(value) for value in found if isinstance(value, str))


def _cluster(cluster_name: str, answer: Mapping[str, Any]) -> Cluster:
    vpc = answer.get("resourcesVpcConfig") or {}
    access = answer.get("accessConfig") or {}
    return Cluster(
        name=cluster_name,
        endpoint=_text(answer, "endpoint"),
        certificate_authority=_text(answer.get("certificateAuthority") or {}, "data"),
        arn=_text(answer, "arn"),
        status=_text(answer, "status"),
        version=_text(answer, "version"),
        authentication_mode=_text(access, "authenticationMode") or None,
        endpoint_public_access=_flag(vpc.get("endpointPublicAccess")),
        endpoint_private_access=_flag(vpc.get("endpointPrivateAccess")),
        vpc_id=_text(vpc, "vpcId"),
        outpost_id=_text(answer, "id"),
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _refused(error: Any, operation: str, cluster_name: str, region: str) -> ClusterError:  # noqa: ANN401 - botocore's ClientError
    code = printable_line(str(error.response.get("Error", {}).get("Code", "")))
    message = printable_line(str(error.response.get("Error", {}).get("Message", "")))[:_MESSAGE_LENGTH]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{operation} {cluster_name} in {region} was refused: {code}: {message}"
    if code == _NOT_FOUND and operation == "DescribeCluster":
        text = (
            f"there is no cluster {cluster_name} in {region} of the account that these credentials belong to: wrong "
            "region, wrong account (was the role assumed?), or wrong name"
        )
    return ClusterError(text, code=code, retryable=status >= 500 or "Throttling" in code)  # noqa: PLR2004 - HTTP
