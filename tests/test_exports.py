from __future__ import annotations

import ast
from pathlib import Path

import pytest

import eks_cross_account

PUBLIC = [
    "AssumeRoleError", "CallerIdentity", "Cluster", "ClusterError", "CredentialSource", "CredentialsError",
    "CredentialsUnavailableError", "DecodedToken", "Denial", "EksToken", "EksTokenError", "ExpiredTokenError",
    "Finding", "FrozenCredentials", "InvalidArnError", "InvalidTokenError", "MalformedTokenError", "Report",
    "RoleHop", "Rule", "StsUnavailableError", "TokenProvider", "TokenRejectedError", "UnknownRegionError", "Violation",
    "__version__", "api_client", "assume_roles", "async_api_client", "canonicalize", "connect", "decode_token",
    "describe_cluster", "diagnose", "encode_token", "explain_forbidden", "get_token", "presign",
    "required_permissions", "role_manifest", "strip_path", "token_signed_by", "verify_token", "violations",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert eks_cross_account.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(eks_cross_account))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_can_be_had(name: str) -> None:
    assert getattr(eks_cross_account, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        eks_cross_account.Nothing  # noqa: B018 - the look-up is the point


def test_type_checkers_are_told_the_same_homes_as_python() -> None:
    tree = ast.parse(Path(eks_cross_account.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        name.name: (node.module or "").removeprefix("eks_cross_account.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }

    assert told == eks_cross_account._HOME
