"""What a task wants: which cluster, by which connection and roles. Names only, no secret; touches nothing.

It travels in the trigger's row as ``{"v": 1, ...}``: keys that this release does not know are ignored, a higher number
is refused, so that a worker and a triggerer may be of two releases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable
from eks_cross_account.cluster import Cluster
from eks_cross_account.credentials import RoleHop, role_chain
from eks_cross_account.errors import CredentialsError, EksTokenError
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = 1


class UnknownTriggerVersionError(EksTokenError):
    """A newer release of this package deferred the task than the one that is to watch it."""


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster and the way in. ``aws_conn_id`` None: AWS's default chain, on purpose.

    ``cluster_endpoint`` and ``cluster_ca`` (base64 of PEM): where DescribeCluster is not allowed or not wanted.
    """

    cluster_name: str
    region: str | None = None
    aws_conn_id: str | None = None
    hops: tuple[RoleHop, ...] = ()
    cluster_endpoint: str | None = None
    cluster_ca: str | None = None

    def __post_init__(self) -> None:
        check_cluster_name(self.cluster_name)
        if bool(self.cluster_endpoint) != bool(self.cluster_ca):
            raise CredentialsError("cluster_endpoint and cluster_ca belong together: give both or neither")

    @property
    def cluster(self) -> Cluster | None:
        """The cluster, where endpoint and CA are given."""
        if not self.cluster_endpoint or not self.cluster_ca:
            return None
        return Cluster(self.cluster_name, self.cluster_endpoint, self.cluster_ca)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; what is not set is left out."""
        plain = {name: getattr(self, name) for name in ("region", "cluster_endpoint", "cluster_ca")}
        return {
            "v": VERSION,
            "cluster_name": self.cluster_name,
            "aws_conn_id": self.aws_conn_id,
            **{name: value for name, value in plain.items() if value},
            "hops": [_hop_to_dict(hop) for hop in self.hops],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Target:
        """What ``to_dict`` made, here or in another release. Raises UnknownTriggerVersionError."""
        number = stored.get("v")
        if not isinstance(number, int) or number > VERSION:
            raise UnknownTriggerVersionError(
                f"this task was deferred by a newer eks-cross-account (trigger format {number}, this triggerer reads "
                f"up to {VERSION}): install the same release in workers and triggerers"
            )
        known = {field.name for field in fields(cls)} - {"hops"}
        hops = tuple(hop_of(hop) for hop in stored.get("hops") or ())
        return cls(hops=hops, **{name: value for name, value in stored.items() if name in known})


def target_of(task: Any) -> Target:  # noqa: ANN401 - an operator
    """What an operator's arguments mean, once templates are rendered: an empty text is none."""
    chain = hops_of(task.role_hops) if task.role_hops else None
    return Target(
        cluster_name=task.cluster_name,
        region=task.region or None,
        aws_conn_id=task.aws_conn_id or None,
        hops=role_chain(task.role_arn or None, task.external_id or None, task.session_name or None, chain),
        cluster_endpoint=task.cluster_endpoint or None,
        cluster_ca=task.cluster_ca or None,
    )


def hops_of(role_hops: Iterable[RoleHop | Mapping[str, Any] | str] | None) -> tuple[RoleHop, ...]:
    """Hops as an operator takes them: RoleHop, a mapping of its fields (which can be templated), or a role's ARN."""
    if isinstance(role_hops, str | Mapping | RoleHop):
        return (hop_of(role_hops),)
    return tuple(hop_of(hop) for hop in role_hops or ())


def hop_of(hop: RoleHop | Mapping[str, Any] | str) -> RoleHop:
    """One hop. Raises CredentialsError for what is none."""
    if isinstance(hop, RoleHop):
        return hop
    if isinstance(hop, str):
        return RoleHop(hop)
    if not isinstance(hop, Mapping) or "role_arn" not in hop:
        raise CredentialsError(f"a role hop is a role ARN, a mapping with role_arn, or a RoleHop, not {printable(hop)}")
    known = {field.name for field in fields(RoleHop)}
    return RoleHop(**{name: value for name, value in hop.items() if name in known})


def _hop_to_dict(hop: RoleHop) -> dict[str, Any]:
    values = {field.name: getattr(hop, field.name) for field in fields(hop)}
    return {name: _plain(value) for name, value in values.items() if value}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a hop's field
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    return value
