"""The sandbox's authenticator: a token in, a Kubernetes user out, by the verifier's rules, STS and the mapping.

Asks the sandbox's own STS only. What it knows of a refusal goes into its log, as on EKS (log type ``authenticator``);
the client learns nothing.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from eks_cross_account import endpoints, mapping
from eks_cross_account.identity import CallerIdentity
from eks_cross_account.rules import violations
from eks_cross_account.sandbox._sigv4 import Received

if TYPE_CHECKING:
    from datetime import datetime

    from eks_cross_account.sandbox._aws import Answer, Aws
    from eks_cross_account.sandbox._faults import Faults
    from eks_cross_account.sandbox._world import EksCluster, Principal

_PREFIX = "k8s-aws-v1."
_STS_SECONDS = 10  # the verifier's patience with STS
_OPERATION = "sts:GetCallerIdentity"
_THROTTLED = "sts getCallerIdentity was throttled: "
# The API server asks a webhook that answers 429 again, five times in all (WithExponentialBackoff of k8s.io/apiserver).
_PAUSES = (0.5, 0.75, 1.125, 1.6875, 0)  # seconds after each
_NOT_A_TOKEN = "input token was not properly formatted: "  # noqa: S105 - the verifier's words
_TOLD = {  # rule -> the verifier's words; what it quotes of the token is left out: it may be a live credential
    "too_large": "token is too large",
    "prefix": f'token is missing expected "{_PREFIX}" prefix',
    "base64": "illegal base64 data at input byte",
    "url_parse": "parse: the URL cannot be read",
    "scheme": "unexpected scheme in pre-signed URL",
    "host": "unexpected hostname in pre-signed URL",
    "host_region": "invalid region identifier format provided",
    "host_global": "global endpoint unsupported in partition",
    "host_partition": "partition does not support hostname",
    "path": "unexpected path in pre-signed URL",
    "query": "malformed query parameter",
    "dup_case": "duplicate query parameter found",
    "param": "non-whitelisted query parameter",
    "dup": "query parameter with multiple values not supported",
    "action": "unexpected action parameter in pre-signed URL",
    "signed_headers": "client did not sign the x-k8s-aws-id header in the pre-signed URL",
    "expires": "invalid X-Amz-Expires parameter in pre-signed URL",
    "date_missing": "X-Amz-Date parameter must be present in pre-signed URL",
    "date_format": "error parsing X-Amz-Date parameter",
    "date_expired": "X-Amz-Date parameter is expired (15 minute expiration)",
}


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Who sent a request: as AWS knows him, and as Kubernetes does."""

    principal: Principal
    user: mapping.KubernetesUser


@dataclass(frozen=True, slots=True)
class _Refused:
    error: str
    arn: str = ""


class Authenticator:
    """One for all clusters of a sandbox. ``log``: its lines, the oldest first; no secret is in them."""

    def __init__(self, aws: Aws, faults: Faults) -> None:
        self._aws = aws
        self._faults = faults
        self.log: list[str] = []

    async def authenticate(self, cluster: EksCluster, token: str, now: datetime) -> Authenticated | None:
        """The user, or None: the API server then answers 401 and does not say why."""
        for pause in _PAUSES:
            found = await self._judge(cluster, token, now)
            self.log.append(_line(found, now))
            if not isinstance(found, _Refused) or not found.error.startswith(_THROTTLED):
                break
            await asyncio.sleep(pause)
        return None if isinstance(found, _Refused) else found

    async def _judge(self, cluster: EksCluster, token: str, now: datetime) -> Authenticated | _Refused:
        partition = endpoints.partition_of(cluster.region)
        broken = [
            violation
            for violation in violations(token, now=now, partition=partition, region=cluster.region)
            if violation.judge == "verifier"
        ]
        if broken:
            return _Refused(_NOT_A_TOKEN + _TOLD[broken[0].rule])
        answer = await self._ask_sts(token, cluster.name, now)
        if isinstance(answer, _Refused):
            return answer
        caller = answer.caller
        if caller is None or answer.status != 200:  # noqa: PLR2004 - HTTP
            return _Refused(
                f"sts getCallerIdentity failed: error from AWS (expected 200, got {answer.status}). "
                f'Body: {{"Error":{{"Code":"{answer.code}"}}}}'
            )
        identity = CallerIdentity(caller.account, caller.arn, caller.user_id)
        user = mapping.map_identity(identity, access_key_id=answer.access_key_id, backends=backends(cluster))
        if isinstance(user, mapping.NotMapped):
            return _Refused(user.error, identity.canonical_arn)
        return Authenticated(caller, user)

    async def _ask_sts(self, token: str, cluster_name: str, now: datetime) -> Answer | _Refused:
        """What the verifier does: the very URL, with the cluster's name, and ten seconds of patience."""
        for fault in self._faults.take(_OPERATION):
            if fault.kind == "throttle":
                return _Refused(f"{_THROTTLED}Throttling: Rate exceeded")
            if fault.kind != "delay" or fault.seconds > _STS_SECONDS:
                await asyncio.sleep(_STS_SECONDS if fault.kind in {"hang", "delay"} else 0)
                return _Refused("sts getCallerIdentity failed: error during GET")
            await asyncio.sleep(fault.seconds)
        encoded = token.removeprefix(_PREFIX).replace("\n", "").replace("\r", "")
        url = urlsplit(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8", "surrogateescape"))
        host = url.netloc.rpartition("@")[2]
        headers = {"host": (host,), "x-k8s-aws-id": (cluster_name,), "accept": ("application/json",)}
        if "@" in url.netloc:
            headers["authorization"] = ("Basic",)  # as Go's client adds it; STS then finds two signatures
        request = Received("GET", "/", url.query, headers, b"", host)
        return self._aws.answer("sts", request, region=endpoints.region_of_sts_host(host), now=now)


def backends(cluster: EksCluster) -> list[mapping.AccessEntries | mapping.AwsAuth]:
    """Where the cluster looks users up, in order: its authentication mode decides."""
    entries = mapping.AccessEntries(
        entries=tuple(
            mapping.AccessEntry(entry.principal_arn, entry.unique_id, entry.username, entry.groups)
            for entry in list(cluster.entries.values())  # a copy: tests change them from their own thread
        ),
    )
    of_mode = {
        "API": (True, False),
        "API_AND_CONFIG_MAP": (True, True),
        "CONFIG_MAP": (False, True),
    }
    has_entries, has_config_map = of_mode[cluster.authentication_mode]
    found: list[mapping.AccessEntries | mapping.AwsAuth] = [entries] if has_entries else []
    return [*found, mapping.parse_aws_auth(cluster.aws_auth)] if has_config_map else found


def _line(found: Authenticated | _Refused, now: datetime) -> str:
    """As logrus writes it: level, message, and the fields by name."""
    if isinstance(found, _Refused):
        fields = {"arn": found.arn, "client": "127.0.0.1", "error": found.error}
        level, message = "warning", "access denied"
    else:
        user = found.user
        groups = f"[{' '.join(user.groups)}]"
        fields = {"arn": user.extra["canonicalArn"][0], "client": "127.0.0.1", "groups": groups, "uid": user.uid}
        fields["username"] = user.username
        level, message = "info", "access granted"
    told = "".join(f" {name}={_quoted(value)}" for name, value in fields.items() if value)
    return f'time="{now:%Y-%m-%dT%H:%M:%SZ}" level={level} msg="{message}"{told} method=POST path=/authenticate'


def _quoted(value: str) -> str:
    plain = all(char.isalnum() or char in "-._/@^+:" for char in value)
    return value if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
