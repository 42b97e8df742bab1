"""Turns credentials into tokens with an honest expiration. Touches sources, and the clock that it is given.

For one token: ``get_token``. A token is signed offline; only the credentials behind it may need the network.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from eks_cross_account.credentials import (
    FrozenCredentials,
    RoleHop,
    assume_roles,
    botocore_session,
    caller_region,
    find_region,
    role_chain,
    session_source,
)
from eks_cross_account.token import EksToken, encode_token, presign

if TYPE_CHECKING:
    from collections.abc import Iterable

LIFETIME = timedelta(minutes=14)  # a minute less than the verifier allows, as every peer announces it
_MARGIN = timedelta(seconds=30)  # a token must not outlive the session that signed it, nor arrive in its last seconds


def utc_now() -> datetime:
    """The wall clock: a monotonic one stands still while a Lambda is frozen or a laptop sleeps."""
    return datetime.now(UTC)


def mint(
    credentials: FrozenCredentials,
    *,
    cluster_name: str,
    region: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
) -> EksToken:
    """A token of these credentials. Its expiration: ``now`` + ``lifetime``, or the credentials' less a margin."""
    url = presign(credentials, cluster_name=cluster_name, region=region, now=now)
    expiration = now.replace(microsecond=0) + lifetime
    if credentials.expiration is not None:
        expiration = min(expiration, credentials.expiration - _MARGIN)
    return EksToken(encode_token(url), expiration)


def get_token(  # noqa: PLR0913 - the one-liner: every flag of the command `token`
    *,
    cluster_name: str,
    region: str | None = None,
    role_arn: str | None = None,
    external_id: str | None = None,
    session_name: str | None = None,
    role_hops: Iterable[RoleHop] | None = None,
    profile: str | None = None,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
) -> EksToken:
    """One token, by a new chain of credentials at each call; keep a TokenProvider to call twice.

    ``role_arn`` (with ``external_id`` and ``session_name``) or ``role_hops``: the role or roles to assume. Without
    either the token is that of the session's own credentials. Raises ClusterError, UnknownRegionError,
    CredentialsUnavailableError, AssumeRoleError, StsUnavailableError, CredentialsError.
    """
    if session is not None and profile is not None:
        raise ValueError("a session has its profile already: give one of session and profile")
    hops = role_chain(role_arn, external_id, session_name, role_hops)
    used = botocore_session(session, profile=profile)
    found = find_region(region, used, os.environ)
    source = session_source(used, profile=profile)
    credentials = assume_roles(source, hops, region=caller_region(used, os.environ) or found, session=used)()
    return mint(credentials, cluster_name=cluster_name, region=found, now=utc_now())
