# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of tokens. Checked by scripts/types, never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from eks_cross_account import (
    CallerIdentity,
    DecodedToken,
    EksToken,
    FrozenCredentials,
    RoleHop,
    TokenProvider,
    Violation,
    canonicalize,
    decode_token,
    encode_token,
    get_token,
    presign,
    strip_path,
    token_signed_by,
    verify_token,
    violations,
)

NOW = datetime(2026, 2, 3, tzinfo=UTC)
KEYS = FrozenCredentials("AKIAX", "secret")
ROLE = "arn:aws:iam::222222222222:role/r"


def one_call() -> None:
    token = get_token(cluster_name="analytics", region="eu-west-1", role_arn=ROLE, external_id="x7", session_name="me")
    assert_type(token, EksToken)
    assert_type(token.value, str)
    assert_type(token.bearer, str)
    assert_type(token.expiration, datetime)
    assert_type(get_token(cluster_name="analytics", role_hops=[RoleHop(ROLE)], profile="p"), EksToken)
    get_token("analytics")  # type: ignore[call-arg]
    get_token(cluster_name="analytics", role=ROLE)  # type: ignore[call-arg]
    get_token(cluster_name=1)  # type: ignore[arg-type]


async def kept(token: EksToken) -> None:
    provider = TokenProvider(lambda: KEYS, cluster_name="analytics", region="eu-west-1", lifetime=timedelta(minutes=5))
    assert_type(provider.get_token(), EksToken)
    assert_type(await provider.aget_token(), EksToken)
    assert_type(provider.peek(), EksToken | None)
    provider.invalidate(token)
    provider.invalidate(token.value)  # type: ignore[arg-type]


def by_hand() -> None:
    url = presign(KEYS, cluster_name="analytics", region="eu-west-1", now=NOW)
    assert_type(url, str)
    token = encode_token(url)
    assert_type(token, str)
    assert_type(token_signed_by(token, cluster_name="analytics", credentials=KEYS), bool)
    decoded = decode_token(token)
    assert_type(decoded, DecodedToken)
    assert_type(decoded.sts_host, str | None)
    assert_type(decoded.expiration, datetime | None)
    assert_type(decoded.signed_headers, tuple[str, ...])
    broken = violations(token, now=NOW, region="eu-west-1")
    assert_type(broken, tuple[Violation, ...])
    assert_type(broken[0].message, str)


def whose(token: str) -> None:
    identity = verify_token(token, cluster_name="analytics")
    assert_type(identity, CallerIdentity)
    assert_type(identity.canonical_arn, str)
    assert_type(identity.session_name, str)
    assert_type(canonicalize(identity.arn), str)
    assert_type(strip_path(ROLE), str)
