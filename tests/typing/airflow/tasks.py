# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of the operator, the hook and the check. Checked by scripts/types, never run."""

from __future__ import annotations

from typing import assert_type

from eks_cross_account import EksToken, RoleHop, TokenProvider
from eks_cross_account.airflow import (
    CrossAccountEksHook,
    CrossAccountEksMixin,
    CrossAccountEksPodOperator,
    EksTokenCheckOperator,
)

ROLE = "arn:aws:iam::222222222222:role/r"


def pod() -> CrossAccountEksPodOperator:
    made = CrossAccountEksPodOperator(
        task_id="t", cluster_name="analytics", region="eu-west-1", role_arn=ROLE, image="busybox", deferrable=True
    )
    assert_type(made, CrossAccountEksPodOperator)
    assert_type(made.cluster_name, str)
    assert_type(made.region, str | None)
    assert_type(made.aws_conn_id, str | None)
    assert_type(made.role_arn, str | None)
    CrossAccountEksPodOperator(task_id="t", cluster_name="c", role_hops=[ROLE, RoleHop(ROLE), {"role_arn": ROLE}])
    CrossAccountEksPodOperator(task_id="t")  # type: ignore[call-arg]
    CrossAccountEksPodOperator(task_id="t", cluster_name=3)  # type: ignore[arg-type]
    CrossAccountEksPodOperator(task_id="t", cluster_name="c", role_hops=[3])  # type: ignore[list-item]
    return made


class Own(CrossAccountEksMixin):
    """An operator of a user's own."""


def hook() -> CrossAccountEksHook:
    made = CrossAccountEksHook("connection", cluster_name="analytics", role_arn=ROLE)
    assert_type(made, CrossAccountEksHook)
    assert_type(made.get_token(), EksToken)
    assert_type(made.provider, TokenProvider)
    assert_type(made.test_connection(), tuple[bool, str])
    CrossAccountEksHook("connection")  # type: ignore[call-arg]
    return made


def check() -> EksTokenCheckOperator:
    made = EksTokenCheckOperator(task_id="check", cluster_name="analytics", namespace="data")
    assert_type(made, EksTokenCheckOperator)
    EksTokenCheckOperator(task_id="check")  # type: ignore[call-arg]
    return made
