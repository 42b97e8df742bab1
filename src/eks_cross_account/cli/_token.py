"""``token``: one ExecCredential line. With keys in the environment and no role to assume it loads no botocore.

As a program it keeps stdout for that line alone, to the end of the process: what a sitecustomize, a log handler or an
atexit function prints there would be a part of the credential for kubectl, and in Airflow has been.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from eks_cross_account import endpoints
from eks_cross_account.cli._main import OK, role_hops
from eks_cross_account.token import EksToken, encode_token, presign

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_GROUP = "client.authentication.k8s.io"
# The last is gone since Kubernetes 1.24, but providers before 9.22 write it and Python's client asks for it: another
# version in the answer, and the request is sent without any token. What is answered is the same in all three.
_VERSIONS = (f"{_GROUP}/v1beta1", f"{_GROUP}/v1", f"{_GROUP}/v1alpha1")
_SERVER = re.compile(r"https://([A-Za-z0-9.-]+)(?::[0-9]{1,5})?/?")
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_LIFETIME = timedelta(minutes=14)  # a minute less than the verifier allows, as every peer announces it


class _Keys(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"_Keys(...{self.access_key[-4:]})"


def token(options: argparse.Namespace) -> int:
    """Print the line; the exit code."""
    answer = None
    if options.is_program:
        gc.disable()  # 6 to 8 % of the CPU where a role is assumed; a process this short has no garbage
        answer = _own_stdout()
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
    line = json.dumps(credential) + "\n"
    if answer is None:
        sys.stdout.write(line)
    else:
        _write(answer, line.encode())
    return OK


def _own_stdout() -> int:
    """A descriptor of its own for the answer. Stdout is stderr from here on, for good, and stdin is empty."""
    null = os.open(os.devnull, os.O_RDWR)
    while null <= _STDERR:  # fills what the caller has closed of the three
        null = os.open(os.devnull, os.O_RDWR)
    answer = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    os.dup2(null, _STDIN)
    return answer


def _write(descriptor: int, left: bytes) -> None:
    while left:  # one write; more only where a signal or a full pipe cuts it
        left = left[os.write(descriptor, left) :]
    os.close(descriptor)


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
    """The version that the client asked for; v1beta1, as aws-cli, where it asked for none that there is."""
    asked = info.get("apiVersion")
    return asked if isinstance(asked, str) and asked in _VERSIONS else _VERSIONS[0]


def _region_of(info: Mapping[str, object]) -> str | None:
    """The region in the API server's host name, where kubectl says it (provideClusterInfo)."""
    spec = info.get("spec")
    cluster = spec.get("cluster") if isinstance(spec, dict) else None
    server = cluster.get("server") if isinstance(cluster, dict) else None
    match = _SERVER.fullmatch(server) if isinstance(server, str) else None
    return endpoints.region_of_cluster_host(match[1]) if match else None
