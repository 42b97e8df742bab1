# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of the way to a cluster. Checked by scripts/types, never run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, assert_type

from eks_cross_account import (
    Cluster,
    CredentialSource,
    FrozenCredentials,
    RoleHop,
    TokenProvider,
    api_client,
    assume_roles,
    async_api_client,
    connect,
    describe_cluster,
)

if TYPE_CHECKING:
    import kubernetes.client
    import kubernetes_asyncio.client

ROLE = "arn:aws:iam::222222222222:role/r"


def my_source() -> FrozenCredentials:
    return FrozenCredentials("AKIAX", "secret", expiration=None)


def roles() -> CredentialSource:
    hop = RoleHop(ROLE, session_name="me", external_id="x7", duration=timedelta(hours=1), tags={"team": "data"})
    assert_type(hop.role_arn, str)
    source = assume_roles(my_source, [hop, RoleHop(ROLE, duration=900)], region="eu-west-1")
    assert_type(source(), FrozenCredentials)
    assert_type(source().expiration, datetime | None)
    assume_roles(my_source, [ROLE], region="eu-west-1")  # type: ignore[list-item]
    assume_roles(lambda: "AKIAX", [hop], region="eu-west-1")  # type: ignore[arg-type, return-value]
    return source


def cluster() -> Cluster:
    found = describe_cluster(my_source, "analytics", region="eu-west-1")
    assert_type(found, Cluster)
    assert_type(found.endpoint, str)
    assert_type(found.authentication_mode, str | None)
    return Cluster("analytics", "https://10.0.0.1", "LS0t")


async def clients(provider: TokenProvider) -> None:
    made: kubernetes.client.ApiClient = connect(cluster_name="analytics", region="eu-west-1", role_arn=ROLE)
    also: kubernetes.client.ApiClient = api_client(provider, cluster())
    asynchronous: kubernetes_asyncio.client.ApiClient = await async_api_client(provider, cluster())
    connect("analytics")  # type: ignore[call-arg]
    api_client(provider)  # type: ignore[call-arg]
    print(made, also, asynchronous)  # noqa: T201 - they are used
