"""``token``: one ExecCredential line. With keys in the environment and no role to assume it loads no botocore."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from eks_cross_account import endpoints
from eks_cross_account.cli._main import OK, role_hops
from eks_cross_account.errors import UnknownRegionError
from eks_cross_account.token import EksToken, encode_token, presign

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_VERSIONS = ("client.authentication.k8s.io/v1beta1", "client.authentication.k8s.io/v1")
_CLUSTER_HOST = re.compile(r"https://[^/@]+\.([a-z0-9-]+)\.eks\.[a-z0-9.-]+")
_LIFETIME = timedelta(minutes=14)  # a minute less than the verifier allows, as every peer announces it


class _Keys(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"_Keys(...{self.access_key[-4:]})"


def token(options: argparse.Namespace) -> int:
    """Print the line; the exit code."""
    info = _exec_info(os.environ.get("KUBERNETES_EXEC_INFO", ""))
    region = options.region or _region_of(info)
    made = _minted(options, region)
    expiration = made.expiration.astimezone(UTC)
    credential = {
        "kind": "ExecCredential",
        "apiVersion": _api_version(info),
        "spec": {},
        "status": {"expirationTimestamp": f"{expiration:%Y-%m-%dT%H:%M:%SZ}", "token": made.value},
    }
    sys.stdout.write(json.dumps(credential) + "\n")
    return OK


def _minted(options: argparse.Namespace, region: str | None) -> EksToken:
    keys = None if options.profile or options.hops else _environment_keys(os.environ)
    found = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if keys is not None and found:
        endpoints.partition_of(found)
        now = datetime.now(UTC)
        url = presign(keys, cluster_name=options.cluster_name, region=found, now=now)
        return EksToken(encode_token(url), now + _LIFETIME)
    from eks_cross_account.provider import get_token  # noqa: PLC0415 - botocore, only where it is needed

    return get_token(
        cluster_name=options.cluster_name, region=region, role_hops=role_hops(options), profile=options.profile
    )


def _environment_keys(environ: Mapping[str, str]) -> _Keys | None:
    """The keys that botocore would take first, unless it knows more about them (an expiration)."""
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or environ.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    return _Keys(access_key, secret_key, environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN") or None)


def _exec_info(text: str) -> Mapping[str, object]:
    """KUBERNETES_EXEC_INFO where it is what kubectl sends, else empty: garbage there must not cost the token."""
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _api_version(info: Mapping[str, object]) -> str:
    """The version that the client asked for; v1beta1, which all take, where it asked for none."""
    asked = info.get("apiVersion")
    return asked if isinstance(asked, str) and asked in _VERSIONS else _VERSIONS[0]


def _region_of(info: Mapping[str, object]) -> str | None:
    """The region in the API server's host name, where kubectl says it (provideClusterInfo)."""
    spec = info.get("spec")
    cluster = spec.get("cluster") if isinstance(spec, dict) else None
    server = cluster.get("server") if isinstance(cluster, dict) else None
    match = _CLUSTER_HOST.match(server) if isinstance(server, str) else None
    try:
        return match[1] if match and endpoints.partition_of(match[1]) else None
    except UnknownRegionError:
        return None
