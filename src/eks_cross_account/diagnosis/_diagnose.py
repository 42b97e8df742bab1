"""The whole ladder as one call: gather, judge, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eks_cross_account.credentials import RoleHop, role_chain
from eks_cross_account.diagnosis._budget import TIMEOUT
from eks_cross_account.diagnosis._facts import read_other_side
from eks_cross_account.diagnosis._two_sides import joined
from eks_cross_account.diagnosis.checks import judge
from eks_cross_account.diagnosis.evidence import gather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eks_cross_account.cluster import Cluster
    from eks_cross_account.diagnosis._permission_probes import Wanted
    from eks_cross_account.diagnosis.report import Report


def diagnose(  # noqa: PLR0913 - every flag of the command `check`
    *,
    cluster_name: str,
    region: str | None = None,
    role_arn: str | None = None,
    external_id: str | None = None,
    session_name: str | None = None,
    role_hops: Iterable[RoleHop] | None = None,
    profile: str | None = None,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
    cluster: Cluster | None = None,
    principal_arn: str | None = None,
    other_side: str | bytes | None = None,
    wanted: Wanted | None = None,
    ask_for_rights: bool = True,
    timeout: float = TIMEOUT,
) -> Report:
    """A report on the chain: credentials, role hops, cluster, token, identity at AWS and at the API server.

    Arguments as ``get_token`` has them; ``cluster``: written by hand, where DescribeCluster is not to be asked.
    ``principal_arn``: for the cluster's owner, who asks whether this role or user has a way in. ``ask_for_rights``:
    also ask AWS what may be denied and leave an AccessDenied in its audit log (access entries, iam:GetRole).
    ``other_side``: the JSON that the other side's report was printed as, to be joined. ``wanted``: what the caller
    wants to do in a namespace (rules of ``required_permissions``), to be asked about rule by rule. ``timeout``: seconds
    for all.

    Failures of the chain are findings. Raises only for arguments that cannot be asked about: ClusterError,
    UnknownRegionError, CredentialsError (an impossible role ARN or session name), InvalidArnError and ValueError.
    """
    if session is not None and profile is not None:
        raise ValueError("a session has its profile already: give one of session and profile")
    hops = role_chain(role_arn, external_id, session_name, role_hops)
    other = read_other_side(other_side) if other_side is not None else None
    evidence = gather(
        cluster_name,
        region=region,
        hops=hops,
        profile=profile,
        session=session,
        cluster=cluster,
        principal_arn=principal_arn or "",
        wanted=wanted,
        ask_for_rights=ask_for_rights,
        timeout=timeout,
    )
    return judge(evidence if other is None else joined(evidence, other))
