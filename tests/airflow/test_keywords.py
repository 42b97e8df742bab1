"""Airflow's entrances say the way in in the library's words; for profile and session Airflow has a connection."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from eks_cross_account import get_token
from eks_cross_account.airflow import (
    CrossAccountEksHook,
    CrossAccountEksMixin,
    CrossAccountEksPodOperator,
    EksTokenCheckOperator,
)
from eks_cross_account.airflow._target import Target
from eks_cross_account.airflow.operators import _EKS_ARGUMENTS

AIRFLOWS = {
    "aws_conn_id": "aws_default",
    "role_arn": None,
    "role_hops": None,
    "external_id": None,
    "session_name": None,
    "region": None,
    "cluster_endpoint": None,
    "cluster_ca": None,
}
ENTRANCES = [CrossAccountEksPodOperator, CrossAccountEksMixin, CrossAccountEksHook, EksTokenCheckOperator]


def parameters(entrance: type) -> dict[str, inspect.Parameter]:
    """Of the class and, as operators pass on what they do not know, of those behind it that are ours."""
    ours = [each for each in entrance.__mro__ if each.__module__.startswith("eks_cross_account")]
    inits = [vars(each)["__init__"] for each in reversed(ours) if "__init__" in vars(each)]
    return {name: each for init in inits for name, each in inspect.signature(init).parameters.items()}


@pytest.mark.parametrize("entrance", ENTRANCES, ids=lambda entrance: entrance.__name__)
def test_an_entrance_takes_the_same_words_with_the_same_defaults(entrance: type) -> None:
    found = {name: each.default for name, each in parameters(entrance).items()}
    if entrance is CrossAccountEksMixin:  # takes these for an operator that has no such arguments
        found = {**_EKS_ARGUMENTS, "cluster_name": inspect.Parameter.empty, **found}

    assert {name: found[name] for name in AIRFLOWS if name in found} == AIRFLOWS
    assert found["cluster_name"] is inspect.Parameter.empty


def test_what_both_have_is_the_librarys_word() -> None:
    library = set(inspect.signature(get_token).parameters)

    assert library - {"profile", "session"} == {"cluster_name", *AIRFLOWS} - {
        "aws_conn_id", "cluster_endpoint", "cluster_ca",
    }  # fmt: skip


def test_what_travels_to_the_triggerer_has_them_too() -> None:
    fields: Any = inspect.signature(Target).parameters

    assert set(fields) == {"cluster_name", "region", "aws_conn_id", "hops", "cluster_endpoint", "cluster_ca"}


def test_the_operators_templates_are_the_way_in() -> None:
    for operator in (CrossAccountEksPodOperator, EksTokenCheckOperator):
        assert {"cluster_name", *AIRFLOWS} <= set(operator.template_fields)
