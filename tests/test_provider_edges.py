"""TokenProvider where a comparison or a type decides: a minute to the second, foreign triples, a refusal's end."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from tokens import CREDENTIALS

from eks_cross_account import (
    CredentialsUnavailableError,
    FrozenCredentials,
    TokenProvider,
    _flight,
    decode_token,
    get_token,
)
from eks_cross_account._flight import submit

START = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
LIFE = timedelta(minutes=5)


class Stand:
    """A clock that is moved by hand, and a source with a new key at each call."""

    def __init__(self, life: timedelta = timedelta(hours=1)) -> None:
        self.now, self.life, self.calls = START, life, 0
        self.error: Exception | None = None
        self.provider = TokenProvider(self, cluster_name="c", region="eu-west-1", clock=lambda: self.now)

    def __call__(self) -> FrozenCredentials:
        self.calls += 1
        if self.error:
            raise self.error
        return replace(CREDENTIALS, access_key=f"ASIASESSION{self.calls:05d}", expiration=self.now + self.life)

    def key(self) -> str | None:
        return decode_token(self.provider.get_token().value).access_key_id


@pytest.mark.parametrize(("age", "calls"), [(59.999999, 1), (60, 2)])
def test_a_refused_token_brings_new_credentials_once_they_are_a_minute_old(age: float, calls: int) -> None:
    stand = Stand()
    token = stand.provider.get_token()
    stand.now += timedelta(seconds=age)

    stand.provider.invalidate(token)

    assert stand.provider.get_token().value != token.value
    assert stand.calls == calls


def test_a_token_of_credentials_that_have_ended_can_be_refused() -> None:
    stand = Stand(life=timedelta(minutes=2))
    token = stand.provider.get_token()
    stand.now += timedelta(minutes=3)

    stand.provider.invalidate(token)

    assert stand.key() == "ASIASESSION00002"


def test_where_new_credentials_are_refused_the_old_ones_serve_and_are_not_asked_for_again() -> None:
    stand = Stand()
    token = stand.provider.get_token()
    stand.now += timedelta(minutes=2)
    stand.provider.invalidate(token)
    stand.error = CredentialsUnavailableError("no")

    served = stand.key()
    stand.error = None
    stand.now += timedelta(minutes=2)  # long after any back-off

    assert served == "ASIASESSION00001"
    assert stand.key() == "ASIASESSION00001"
    assert stand.calls == 2


def test_any_triple_with_an_end_is_a_source() -> None:
    triple = SimpleNamespace(access_key="ASIAEXAMPLE", secret_key="s", token="t", expiration=START + LIFE)
    provider = TokenProvider(lambda: triple, cluster_name="c", region="eu-west-1", clock=lambda: START)

    token = provider.get_token()

    assert decode_token(token.value).access_key_id == "ASIAEXAMPLE"
    assert START < token.expiration < START + LIFE


@pytest.mark.parametrize("made", [{}, None, "key"], ids=["dict", "None", "text"])
def test_what_is_no_triple_is_named(made: Any) -> None:
    provider = TokenProvider(lambda: made, cluster_name="c", region="eu-west-1", clock=lambda: START)

    with pytest.raises(TypeError) as raised:
        provider.get_token()

    assert str(raised.value) == f"a source returns FrozenCredentials, not {type(made).__name__}"


def test_a_process_has_one_executor_whose_threads_say_whose_they_are() -> None:
    names = {submit(lambda: threading.current_thread().name).result() for _ in range(50)}

    assert len(names) <= _flight._THREADS
    assert all(name.startswith("eks-token") for name in names)


def test_each_process_has_an_executor_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    executors = _flight.OfProcess(_flight._executor)
    monkeypatch.setattr(_flight, "_EXECUTOR", executors)
    for pid in (1, 2, 2):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        submit(lambda: None).result()

    parents, childs = executors._made[1], executors._made[2]

    assert childs is not parents
    for each in (parents, childs):
        each.shutdown()


def test_a_session_is_asked_in_a_thread_that_does_not_keep_the_interpreter() -> None:
    asked: list[tuple[str, bool]] = []

    class Asking(botocore.session.Session):
        def get_credentials(self, *_: Any, **__: Any) -> Any:
            asked.append((threading.current_thread().name, threading.current_thread().daemon))
            return super().get_credentials()

    session = Asking()
    session.set_credentials("ASIAOFTHESESSION", "s", "t")

    TokenProvider(session, cluster_name="c", region="eu-west-1").get_token()

    assert ("eks-session", True) in asked


def test_get_token_signs_with_the_session_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    session = botocore.session.Session()
    session.set_credentials("ASIAOFTHESESSION", "s", "t")

    token = get_token(cluster_name="c", region="eu-west-1", session=session)

    assert decode_token(token.value).access_key_id == "ASIAOFTHESESSION"


def test_get_token_assumes_roles_by_the_settings_of_the_session_that_it_is_given() -> None:
    session = botocore.session.Session()
    session.set_credentials("ASIAOFTHESESSION", "s", "t")
    session.set_config_variable("retry_mode", "x")

    with pytest.raises(CredentialsUnavailableError, match="no client for STS"):
        get_token(cluster_name="c", region="eu-west-1", session=session, role_arn="arn:aws:iam::222222222222:role/r")


def test_a_session_and_a_profile_are_one_too_many() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is compared
        get_token(cluster_name="c", region="eu-west-1", session=botocore.session.Session(), profile="p")

    assert str(raised.value) == "a session has its profile already: give one of session and profile"
