"""What EKS says about a cluster: DescribeCluster. Touches EKS only.

A ``Cluster`` can as well be written by hand, where DescribeCluster is not allowed: its endpoint and CA are all that a
client needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account._printable import printable_line
from eks_cross_account.credentials import botocore_session, client
from eks_cross_account.errors import ClusterError
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from eks_cross_account.credentials import CredentialSource

_MESSAGE_LENGTH = 1000  # of AWS's


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as its clients need it. ``certificate_authority``: base64 of PEM, as EKS and kubeconfigs have it.

    ``authentication_mode``: CONFIG_MAP, API_AND_CONFIG_MAP or API; None where botocore is older than access entries.
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

    @property
    def account(self) -> str:
        """The account in the cluster's ARN, "" where the ARN is unknown."""
        return self.arn.split(":")[4] if self.arn.count(":") >= 5 else ""  # noqa: PLR2004 - an ARN's sections


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
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy, only where EKS is asked

    check_cluster_name(cluster_name)
    endpoints.partition_of(region)
    credentials = source()
    try:
        eks = client(botocore_session(session), "eks", region, credentials)
        return _cluster(eks.describe_cluster(name=cluster_name)["cluster"])
    except ClientError as error:
        raise _refused(error, cluster_name, region) from error.with_traceback(None)
    except (BotoCoreError, ValueError) as error:
        raise ClusterError(
            f"DescribeCluster {cluster_name} got no answer from EKS in {region}: {error}", retryable=True
        ) from error.with_traceback(None)


def _cluster(answer: dict[str, Any]) -> Cluster:
    vpc = answer.get("resourcesVpcConfig") or {}
    access = answer.get("accessConfig") or {}
    return Cluster(
        name=answer["name"],
        endpoint=answer.get("endpoint") or "",
        certificate_authority=(answer.get("certificateAuthority") or {}).get("data") or "",
        arn=answer.get("arn") or "",
        status=answer.get("status") or "",
        version=answer.get("version") or "",
        authentication_mode=access.get("authenticationMode"),
        endpoint_public_access=vpc.get("endpointPublicAccess"),
        endpoint_private_access=vpc.get("endpointPrivateAccess"),
        vpc_id=vpc.get("vpcId") or "",
    )


def _refused(error: Any, cluster_name: str, region: str) -> ClusterError:  # noqa: ANN401 - botocore's ClientError
    code = printable_line(str(error.response.get("Error", {}).get("Code", "")))
    message = printable_line(str(error.response.get("Error", {}).get("Message", "")))[:_MESSAGE_LENGTH]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"DescribeCluster {cluster_name} in {region} was refused: {code}: {message}"
    if code == "ResourceNotFoundException":
        text = (
            f"there is no cluster {cluster_name} in {region} of the account that these credentials belong to: wrong "
            "region, wrong account (was the role assumed?), or wrong name"
        )
    return ClusterError(text, code=code, retryable=status >= 500 or "Throttling" in code)  # noqa: PLR2004 - HTTP
