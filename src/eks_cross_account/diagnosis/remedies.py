"""What to do, as text, commands and policies, filled from what was seen. Touches nothing.

What comes from outside is shell-quoted in commands and dumped by json in policies; an ARN that fails its grammar never
reaches one.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from eks_cross_account.diagnosis.report import Remedy
from eks_cross_account.errors import InvalidArnError
from eks_cross_account.identity import canonicalize, parse_arn


def trust_statement(caller_arn: str, *, external_id: str | None = None) -> dict[str, Any]:
    """The statement that lets this caller assume a role, for the role's trust policy. Raises InvalidArnError.

    STS does not say the path of the caller's role, and a trust policy that names the role without its path is refused
    by IAM; so the account is named, narrowed to the role under any path.
    """
    canonical = parse_arn(canonicalize(caller_arn))
    condition: dict[str, Any] = {}
    if ":assumed-role/" in caller_arn:
        name = canonical.resource.rsplit("/", 1)[1]
        root = f"arn:{canonical.partition}:iam::{canonical.account}"
        principal = f"{root}:root"
        condition["ArnLike"] = {"aws:PrincipalArn": [f"{root}:role/{name}", f"{root}:role/*/{name}"]}
    else:
        principal = caller_arn
    if external_id is not None:
        condition["StringEquals"] = {"sts:ExternalId": external_id}
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return {**statement, "Condition": condition} if condition else statement


def trust_policy_remedy(caller_arn: str, role_arn: str, *, external_id_sent: bool) -> Remedy:
    """For the owner of the role: the trust policy lacks this caller."""
    role_name = role_arn.rsplit("/", 1)[-1]
    external = (
        "The caller did send an external id: a Condition on sts:ExternalId, if there is one, must be exactly that."
        if external_id_sent
        else "The caller sent no external id: if the trust policy demands one, pass it (--external-id)."
    )
    try:
        statement = json.dumps(trust_statement(caller_arn), indent=2)
    except InvalidArnError:
        statement = '{"Effect": "Allow", "Principal": {"AWS": "<ARN of the caller>"}, "Action": "sts:AssumeRole"}'
    return Remedy(
        f"add this statement to the trust policy of {role_arn} (or mend the ARN: AWS says the same of a role that does "
        f"not exist). {external}\n{statement}",
        (f"aws iam get-role --role-name {shlex.quote(role_name)} --query Role.AssumeRolePolicyDocument",),
    )


def identity_policy_remedy(caller_arn: str, role_arn: str) -> Remedy:
    """For the owner of the caller: its own policies do not allow the hop."""
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn}],
        }
    )
    try:
        role_name = canonicalize(caller_arn).rsplit("/", 1)[-1]
    except InvalidArnError:
        role_name = "ROLE_NAME"
    put = f"aws iam put-role-policy --role-name {shlex.quote(role_name)} --policy-name assume-cluster-role"
    command = f"{put} --policy-document {shlex.quote(policy)}"
    return Remedy(f"allow sts:AssumeRole on {role_arn} in the policies of {role_name}", (command,))
