# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of the sandbox in somebody's tests. Checked by scripts/types, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from eks_cross_account import FrozenCredentials
from eks_cross_account.sandbox import Sandbox, trust_policy

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "arn:aws:iam::222222222222:role/r"


def test_of_theirs(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(ROLE, trust=trust_policy("arn:aws:iam::111111111111:root", external_id="x7"))
    cluster = eks_sandbox.cluster()
    assert_type(cluster.endpoint, str)
    assert_type(eks_sandbox.issue_session(ROLE, "me"), FrozenCredentials)
    assert_type(eks_sandbox.environ, dict[str, str])
    file: Path = eks_sandbox.write_kubeconfig(cluster, role_arn=ROLE)
    eks_sandbox.add_role(1)  # type: ignore[arg-type]
    assert_type(file.read_text(), str)


def by_hand() -> None:
    with Sandbox(region="eu-west-1") as started:
        assert_type(started, Sandbox)
