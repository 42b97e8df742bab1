"""aws-cli as it is, under the true host names: its tokens pass here, and what it refuses we explain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

pytestmark = pytest.mark.peers

B = "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
OURS = [sys.executable, "-m", "eks_cross_account.cli"]


def run(program: list[str], *arguments: str, sandbox: Sandbox, stdin: str = "") -> Any:
    variables = {**sandbox.environ, "PATH": os.environ["PATH"], "HOME": "/nonexistent",
                 "AWS_STS_REGIONAL_ENDPOINTS": "regional"}  # fmt: skip
    return subprocess.run(
        [*program, *arguments], env=variables, input=stdin, capture_output=True, text=True, check=False
    )


@pytest.fixture
def aws() -> list[str]:
    return [os.environ["AWSCLI"]]


def test_aws_cli_says_who_it_is(eks_sandbox: Sandbox, aws: list[str]) -> None:
    done = run(aws, "sts", "get-caller-identity", sandbox=eks_sandbox)

    assert json.loads(done.stdout)["Arn"] == "arn:aws:sts::111111111111:assumed-role/mwaa-exec/AmazonMWAA-prod"


@pytest.mark.parametrize("role", [[], ["--role-arn", ROLE]], ids=["own identity", "role"])
def test_a_token_of_aws_cli_passes_decode_and_verify(eks_sandbox: Sandbox, aws: list[str], role: list[str]) -> None:
    made = run(aws, "eks", "get-token", "--cluster-name", "analytics", *role, sandbox=eks_sandbox)
    assert made.returncode == 0, made.stderr

    decoded = run(OURS, "decode", "--output", "json", sandbox=eks_sandbox, stdin=made.stdout)
    verified = run(
        OURS, "verify", "--cluster-name", "analytics", "--output", "json", sandbox=eks_sandbox, stdin=made.stdout
    )

    assert json.loads(decoded.stdout)["violations"] == []
    account = B if role else "111111111111"
    assert json.loads(verified.stdout)["identity"]["account"] == account


def test_a_token_of_aws_cli_for_another_name_is_explained(eks_sandbox: Sandbox, aws: list[str]) -> None:
    made = run(aws, "eks", "get-token", "--cluster-name", "analytic", sandbox=eks_sandbox)

    verified = run(OURS, "verify", "--cluster-name", "analytics", sandbox=eks_sandbox, stdin=made.stdout)

    assert verified.returncode == 1
    assert "signed for another cluster name" in verified.stderr


def test_our_exec_credential_has_the_shape_of_aws_clis(eks_sandbox: Sandbox, aws: list[str]) -> None:
    theirs = json.loads(run(aws, "eks", "get-token", "--cluster-name", "analytics", sandbox=eks_sandbox).stdout)
    ours = json.loads(run(OURS, "token", "--cluster-name", "analytics", sandbox=eks_sandbox).stdout)

    assert {**ours, "status": sorted(ours["status"])} == {**theirs, "status": sorted(theirs["status"])}


def test_aws_cli_describes_the_cluster_of_the_role(eks_sandbox: Sandbox, aws: list[str]) -> None:
    done = run(aws, "eks", "describe-cluster", "--name", "analytics", sandbox=eks_sandbox)

    assert "is not authorized to perform: eks:DescribeCluster" in done.stderr


def test_the_put_role_policy_remedy_is_a_command_that_aws_cli_takes(eks_sandbox: Sandbox, aws: list[str]) -> None:
    """IAM has no PutRolePolicy here, so aws-cli's own parser is what judges: it gets as far as asking."""
    from eks_cross_account.diagnosis.remedies import identity_policy_remedy  # noqa: PLC0415 - one use

    command = identity_policy_remedy("arn:aws:sts::111111111111:assumed-role/mwaa-exec/s", ROLE).commands[0]
    done = run(["bash", "-c", command.replace("aws ", f"{aws[0]} ", 1)], sandbox=eks_sandbox)

    assert "InvalidAction" in done.stderr
