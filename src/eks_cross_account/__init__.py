"""EKS from another AWS account: tokens, whose they are, and why a cluster refuses them.

The names below are the public surface. Each is imported at its first use (PEP 562), so that
``import eks_cross_account`` costs neither botocore nor kubernetes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eks_cross_account._version import __version__

if TYPE_CHECKING:
    from eks_cross_account.cluster import Cluster, describe_cluster
    from eks_cross_account.credentials import CredentialSource, FrozenCredentials, RoleHop, assume_roles
    from eks_cross_account.diagnosis import Finding, Report, diagnose
    from eks_cross_account.diagnosis.forbidden import Denial, explain_forbidden
    from eks_cross_account.diagnosis.manifests import role_manifest
    from eks_cross_account.diagnosis.needs import Rule, required_permissions
    from eks_cross_account.errors import (
        AssumeRoleError,
        ClusterError,
        CredentialsError,
        CredentialsUnavailableError,
        EksTokenError,
        ExpiredTokenError,
        InvalidArnError,
        InvalidTokenError,
        MalformedTokenError,
        StsUnavailableError,
        TokenRejectedError,
        UnknownRegionError,
    )
    from eks_cross_account.identity import CallerIdentity, canonicalize, strip_path
    from eks_cross_account.kubernetes import api_client, async_api_client, connect
    from eks_cross_account.provider import TokenProvider, get_token
    from eks_cross_account.rules import Violation, violations
    from eks_cross_account.sts import verify_token
    from eks_cross_account.token import (
        DecodedToken,
        EksToken,
        decode_token,
        encode_token,
        presign,
        token_signed_by,
    )

_HOME = {
    "AssumeRoleError": "errors",
    "CallerIdentity": "identity",
    "Cluster": "cluster",
    "ClusterError": "errors",
    "CredentialSource": "credentials",
    "CredentialsError": "errors",
    "CredentialsUnavailableError": "errors",
    "DecodedToken": "token",
    "Denial": "diagnosis.forbidden",
    "EksToken": "token",
    "EksTokenError": "errors",
    "ExpiredTokenError": "errors",
    "Finding": "diagnosis",
    "FrozenCredentials": "credentials",
    "InvalidArnError": "errors",
    "InvalidTokenError": "errors",
    "MalformedTokenError": "errors",
    "Report": "diagnosis",
    "RoleHop": "credentials",
    "Rule": "diagnosis.needs",
    "StsUnavailableError": "errors",
    "TokenProvider": "provider",
    "TokenRejectedError": "errors",
    "UnknownRegionError": "errors",
    "Violation": "rules",
    "api_client": "kubernetes",
    "assume_roles": "credentials",
    "async_api_client": "kubernetes",
    "canonicalize": "identity",
    "connect": "kubernetes",
    "decode_token": "token",
    "describe_cluster": "cluster",
    "diagnose": "diagnosis",
    "encode_token": "token",
    "explain_forbidden": "diagnosis.forbidden",
    "get_token": "provider",
    "presign": "token",
    "required_permissions": "diagnosis.needs",
    "role_manifest": "diagnosis.manifests",
    "strip_path": "identity",
    "token_signed_by": "token",
    "verify_token": "sts",
    "violations": "rules",
}

__all__ = [
    "AssumeRoleError",
    "CallerIdentity",
    "Cluster",
    "ClusterError",
    "CredentialSource",
    "CredentialsError",
    "CredentialsUnavailableError",
    "DecodedToken",
    "Denial",
    "EksToken",
    "EksTokenError",
    "ExpiredTokenError",
    "Finding",
    "FrozenCredentials",
    "InvalidArnError",
    "InvalidTokenError",
    "MalformedTokenError",
    "Report",
    "RoleHop",
    "Rule",
    "StsUnavailableError",
    "TokenProvider",
    "TokenRejectedError",
    "UnknownRegionError",
    "Violation",
    "__version__",
    "api_client",
    "assume_roles",
    "async_api_client",
    "canonicalize",
    "connect",
    "decode_token",
    "describe_cluster",
    "diagnose",
    "encode_token",
    "explain_forbidden",
    "get_token",
    "presign",
    "required_permissions",
    "role_manifest",
    "strip_path",
    "token_signed_by",
    "verify_token",
    "violations",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any of the names above
    home = _HOME.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415 - a lazy export is the point

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
