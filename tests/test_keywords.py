"""One set of keywords everywhere: who knows get_token knows connect, diagnose and the command; and Airflow's part."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import eks_cross_account
from eks_cross_account import RoleHop, connect, diagnose, get_token
from eks_cross_account.cli._main import _parser

WAY_IN = ("cluster_name", "region", "role_arn", "external_id", "session_name", "role_hops", "profile", "session")
SAID_ONCE = {"cluster_name": "str", "region": "str | None"}
# What other programs call the same; role_manifest(name=) names a Role, Denial and Finding are data of other things
OTHERS = {"cluster", "cluster_id", "eks_cluster_name", "region_name", "aws_region", "role", "role_session_name",
          "aws_profile", "profile_name", "boto_session", "boto3_session", "botocore_session", "credential"}  # fmt: skip
FLAGS = ("--cluster-name", "--region", "--profile", "--role-arn", "--external-id", "--session-name")


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("function", [get_token, connect, diagnose], ids=lambda function: function.__name__)
def test_a_way_into_a_cluster_is_said_in_the_same_words_of_the_same_types(function: Any) -> None:
    found = parameters(function)

    assert tuple(found)[: len(WAY_IN)] == WAY_IN
    assert {each.kind for each in found.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert found["cluster_name"].default is inspect.Parameter.empty
    for name in WAY_IN:
        expected = parameters(get_token)[name]
        assert (found[name].annotation, found[name].default) == (expected.annotation, expected.default), name


def test_a_hop_has_the_words_of_the_one_role() -> None:
    assert {"role_arn", "external_id", "session_name"} <= set(parameters(RoleHop))


def public_functions() -> list[Any]:
    found = [getattr(eks_cross_account, name) for name in eks_cross_account.__all__]
    functions = [each for each in found if inspect.isfunction(each)]
    return [*functions, eks_cross_account.TokenProvider, RoleHop]


@pytest.mark.parametrize("function", public_functions(), ids=lambda function: function.__name__)
def test_no_other_word_is_used_for_any_of_them(function: Any) -> None:
    taken = {name: each.annotation for name, each in parameters(function).items() if name in OTHERS}

    assert {name for name, annotation in taken.items() if "Cluster" not in str(annotation)} == set()


def flags(command: str) -> set[str]:
    actions = next(action for action in _parser()._actions if action.dest == "command").choices[command]._actions
    return {flag for action in actions for flag in action.option_strings}


@pytest.mark.parametrize("command", ["check", "token", "kubeconfig", "permissions"])
def test_the_commands_flags_are_the_keywords(command: str) -> None:
    assert set(FLAGS) <= flags(command)
    words = {flag.removeprefix("--").replace("-", "_") for flag in FLAGS}
    assert words == set(WAY_IN) - {"role_hops", "session"}  # --role-arn repeats; a shell has no session


def test_every_command_that_names_a_cluster_names_it_so() -> None:
    commands = next(action for action in _parser()._actions if action.dest == "command").choices

    assert commands
    for command in commands:
        words = {flag.removeprefix("--").replace("-", "_") for flag in flags(command)}
        assert words & OTHERS == set(), command


ANY = {"session": "a boto3 or botocore session", "source": "one too", "cluster": "JSON", "facts": "JSON",
       "permissions": "JSON"}  # fmt: skip


def test_what_has_no_type_is_a_session_of_theirs_or_json() -> None:
    for name in eks_cross_account.__all__:
        found = getattr(eks_cross_account, name)
        if not callable(found) or name == "CredentialSource":
            continue
        untyped = {each.name for each in parameters(found).values() if "Any" in str(each.annotation)}
        assert untyped <= set(ANY), name
