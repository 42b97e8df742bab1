"""TokenProvider: on an injected clock; with threads, coroutines and forks; at the sandbox."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import sys
import threading
import time
import weakref
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from forking import FORKED, ends_well, in_child
from hypothesis import given
from hypothesis import strategies as st
from tokens import CREDENTIALS, assert_no_canary

from eks_cross_account import (
    ClusterError,
    CredentialsError,
    CredentialsUnavailableError,
    EksToken,
    FrozenCredentials,
    RoleHop,
    StsUnavailableError,
    TokenProvider,
    UnknownRegionError,
    _flight,
    assume_roles,
    connect,
    credentials,
    decode_token,
    get_token,
    verify_token,
)
from eks_cross_account.credentials import KeptSource, session_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

START = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, delta: timedelta) -> None:
        self.now += delta


class Source:
    """Sessions of a given life, each with a key of its own; may fail, or wait, on demand."""

    def __init__(self, clock: Clock, life: timedelta | None = HOUR) -> None:
        self.clock, self.life = clock, life
        self.calls = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self) -> FrozenCredentials:
        self.calls += 1
        self.entered.set()
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        expiration = None if self.life is None else self.clock.now + self.life
        return replace(CREDENTIALS, access_key=f"ASIASESSION{self.calls:05d}", expiration=expiration)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def provider_of(source: Any, clock: Any = None, **options: Any) -> TokenProvider:
    made = {"cluster_name": "analytics", "region": "eu-west-1", **options}
    return TokenProvider(source, **made, **({} if clock is None else {"clock": clock}))


def key_of(token: Any) -> str:
    return decode_token(token.value).access_key_id or ""


# --- one caller, an injected clock


def test_nothing_is_asked_before_the_first_token(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)

    assert provider.peek() is None
    assert source.calls == 0


def test_a_fresh_token_is_served_again_without_asking_anybody(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)

    first = provider.get_token()
    clock.advance(MINUTE)

    assert provider.get_token() is first
    assert provider.peek() is first
    assert first.expiration == START + timedelta(minutes=14)
    assert source.calls == 1


def test_an_old_token_is_signed_anew_with_the_same_credentials(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    first = provider.get_token()

    clock.advance(timedelta(minutes=12))
    second = provider.get_token()

    assert second.expiration == clock.now + timedelta(minutes=14)
    assert (key_of(first), key_of(second), source.calls) == ("ASIASESSION00001", "ASIASESSION00001", 1)


@pytest.mark.parametrize(
    ("life", "asked_again_after"),
    [
        (12 * HOUR, 12 * HOUR - 5 * MINUTE),
        (HOUR, 55 * MINUTE),
        (15 * MINUTE, 12 * MINUTE),
        (30 * SECOND, 24 * SECOND),
    ],
    ids=str,
)
def test_new_credentials_are_asked_for_shortly_before_the_old_end(
    clock: Clock, life: timedelta, asked_again_after: timedelta
) -> None:
    source = Source(clock, life)
    provider = provider_of(source, clock)
    provider.get_token()

    clock.now = START + asked_again_after
    provider.get_token()
    assert source.calls == 1

    clock.now = START + asked_again_after + timedelta(milliseconds=1)
    provider.get_token()
    assert source.calls == 2


@pytest.mark.parametrize(
    ("life", "margin"), [(HOUR, 30 * SECOND), (2 * MINUTE, 12 * SECOND), (30 * SECOND, 3 * SECOND)]
)
def test_a_token_ends_a_margin_before_its_credentials(clock: Clock, life: timedelta, margin: timedelta) -> None:
    source = Source(clock, life)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("down")

    clock.now = START + life - margin - timedelta(milliseconds=1)
    assert provider.get_token().expiration == START + life - margin

    clock.now = START + life - margin
    assert provider.peek() is None
    with pytest.raises(StsUnavailableError):
        provider.get_token()


@pytest.mark.parametrize("life", [12 * HOUR, HOUR, 15 * MINUTE], ids=str)
def test_a_day_costs_hardly_more_sessions_than_it_must(clock: Clock, life: timedelta) -> None:
    source = Source(clock, life)
    provider = provider_of(source, clock)
    seen = set()

    while clock.now < START + 24 * HOUR:
        token = provider.get_token()
        assert clock.now < token.expiration <= clock.now + timedelta(minutes=14)
        seen.add(token.value)
        clock.advance(10 * SECOND)

    useful = life - min(5 * MINUTE, life * 0.2)
    ideal = 24 * HOUR / useful
    assert 24 * HOUR / life <= source.calls <= ideal + 1
    assert len(seen) <= 24 * 60 / 11 + 2 * source.calls


def test_sessions_of_thirty_seconds_are_no_mint_loop(clock: Clock) -> None:
    source = Source(clock, 30 * SECOND)
    provider = provider_of(source, clock)

    for _ in range(600):
        assert provider.get_token().expiration > clock.now
        clock.advance(SECOND)

    assert source.calls <= 600 / 24 + 1


@given(
    life=st.integers(20, 7200) | st.none(),
    steps=st.lists(st.tuples(st.integers(0, 1800), st.booleans()), max_size=40),
)
def test_no_token_is_ever_handed_out_past_its_end_or_its_credentials(
    life: int | None, steps: list[tuple[int, bool]]
) -> None:
    clock = Clock()
    source = Source(clock, None if life is None else timedelta(seconds=life))
    provider = provider_of(source, clock)
    ends: dict[str, datetime | None] = {}

    for seconds, works in steps:
        clock.advance(timedelta(seconds=seconds))
        source.error = None if works else StsUnavailableError("down")
        calls = source.calls
        try:
            token = provider.get_token()
        except StsUnavailableError:
            assert not works or source.calls == calls  # it waits a little after a failure
            continue
        if works and source.calls > calls and life is not None:
            ends[f"ASIASESSION{source.calls:05d}"] = clock.now + timedelta(seconds=life)
        end = ends.get(key_of(token))
        assert clock.now < token.expiration <= clock.now + timedelta(minutes=14)
        assert end is None or token.expiration < end
        assert decode_token(token.value).issued_at is not None
        assert clock.now < decode_token(token.value).expiration  # type: ignore[operator]


def test_credentials_without_an_end_are_looked_for_again_with_each_token(clock: Clock) -> None:
    """They may be in a file that somebody else renews."""
    source = Source(clock, None)
    provider = provider_of(source, clock)

    for _ in range(6):
        provider.get_token()
        clock.advance(12 * MINUTE)

    assert source.calls == 6


def test_credentials_that_have_expired_already_are_refused(clock: Clock) -> None:
    with pytest.raises(CredentialsError, match="have expired"):
        provider_of(Source(clock, -SECOND), clock).get_token()


# --- failures


def test_a_failed_refresh_serves_the_old_token_and_waits_longer_each_time(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("canary-free text")
    clock.now = START + 55 * MINUTE + SECOND
    asked = []

    for _ in range(240):
        before = source.calls
        assert provider.get_token().expiration > clock.now
        if source.calls > before:
            asked.append((clock.now - START - 55 * MINUTE).total_seconds())
        clock.advance(SECOND)

    assert asked == [1, 2, 4, 8, 16, 32, 64, 124, 184]
    assert "no new credentials for cluster analytics" in caplog.text
    assert_no_canary(caplog.text.replace("canary-free", ""))


def test_the_pause_ends_with_the_first_success(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("down")
    clock.now = START + 56 * MINUTE
    provider.get_token()
    source.error = None
    clock.advance(2 * SECOND)

    assert key_of(provider.get_token()) == "ASIASESSION00003"


def test_a_pause_ends_where_the_good_token_ends(clock: Clock) -> None:
    """Ten failures make pauses of a minute; the source works again before the old token has ended."""
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("down")
    clock.now = START + 55 * MINUTE + SECOND
    while clock.now < START + 59 * MINUTE + 20 * SECOND:
        provider.get_token()
        clock.advance(SECOND)
    source.error = None
    clock.now = START + 59 * MINUTE + 30 * SECOND  # the old one ends here

    assert provider.get_token().expiration == clock.now + timedelta(minutes=14)


def test_with_no_good_token_left_pauses_stay_short(clock: Clock) -> None:
    source = Source(clock)
    source.error = StsUnavailableError("down")
    provider = provider_of(source, clock)
    asked = []

    for second in range(60):
        before = source.calls
        with pytest.raises(StsUnavailableError):
            provider.get_token()
        asked += [second] * (source.calls - before)
        clock.advance(SECOND)

    assert asked == [0, 1, 3, 7, 15, 25, 35, 45, 55]


def test_a_pause_that_a_wrong_clock_began_is_none(clock: Clock) -> None:
    """The clock was a day ahead when the source failed, and was then set right."""
    source = Source(clock)
    source.error = StsUnavailableError("down")
    provider = provider_of(source, clock)
    clock.now = START + 24 * HOUR
    with pytest.raises(StsUnavailableError):
        provider.get_token()
    source.error, clock.now = None, START

    assert provider.get_token()


def test_a_refusal_that_a_wrong_clock_dated_does_not_stop_new_credentials(clock: Clock) -> None:
    """The clock was a day ahead when a token was refused, and was then set right."""
    source = Source(clock)
    provider = provider_of(source, clock)
    clock.now = START + 24 * HOUR
    refused = provider.get_token()
    clock.advance(2 * MINUTE)
    provider.invalidate(refused)
    provider.get_token()
    assert source.calls == 2
    clock.now = START
    refused = provider.get_token()
    calls = source.calls
    clock.advance(2 * MINUTE)

    provider.invalidate(refused)
    provider.get_token()

    assert source.calls == calls + 1


def test_the_margin_of_credentials_that_come_again_does_not_shrink(clock: Clock) -> None:
    """A source that hands out what it has cached: the end of its session comes near, and no token may arrive late."""
    end = START + HOUR
    provider = provider_of(lambda: replace(CREDENTIALS, expiration=end), clock)

    while clock.now < end - 30 * SECOND:
        assert provider.get_token().expiration <= end - 30 * SECOND
        clock.advance(SECOND)

    with pytest.raises(CredentialsError, match="have expired"):
        provider.get_token()


@pytest.mark.parametrize("left", [4 * MINUTE, MINUTE], ids=str)
def test_a_hundred_reads_at_a_failing_source_are_one_try_per_pause(clock: Clock, left: timedelta) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("down")
    clock.now = START + HOUR - left

    for _ in range(100):
        assert provider.get_token().expiration == START + HOUR - 30 * SECOND
    assert source.calls == 2
    clock.advance(SECOND)
    for _ in range(100):
        provider.get_token()

    assert source.calls == 3


def test_with_nine_minutes_left_of_an_hour_nobody_is_asked(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    source.error = StsUnavailableError("down")
    clock.now = START + 51 * MINUTE

    assert [provider.get_token().expiration > clock.now for _ in range(100)] == [True] * 100
    assert source.calls == 1


@pytest.mark.parametrize("slept", [40 * MINUTE, 58 * MINUTE, 3 * HOUR, 40 * HOUR], ids=str)
def test_frozen_and_woken_it_signs_anew(clock: Clock, slept: timedelta) -> None:
    """A Lambda, a laptop: no thread of ours missed anything, because there is none."""
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()

    clock.advance(slept)
    token = provider.get_token()

    assert decode_token(token.value).issued_at == clock.now
    assert clock.now < token.expiration <= clock.now + timedelta(minutes=14)
    assert source.calls == (1 if slept <= 55 * MINUTE else 2)


def test_without_a_good_token_the_typed_error_comes_again_without_a_storm(clock: Clock) -> None:
    source = Source(clock)
    source.error = StsUnavailableError("down")
    provider = provider_of(source, clock)

    for _ in range(100):
        with pytest.raises(StsUnavailableError, match="down"):
            provider.get_token()

    assert source.calls == 1
    clock.advance(SECOND)
    source.error = None
    assert provider.get_token()


def test_a_clock_that_was_set_back_makes_a_new_token(clock: Clock) -> None:
    """What is signed is in STS's future then, and refused."""
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()

    clock.now = START - timedelta(minutes=30)

    assert decode_token(provider.get_token().value).issued_at == clock.now


# --- invalidate


def test_a_refused_token_is_replaced_by_one_of_new_credentials(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    refused = provider.get_token()
    clock.advance(2 * MINUTE)

    provider.invalidate(refused)

    assert key_of(provider.get_token()) == "ASIASESSION00002"


def test_new_credentials_are_forced_at_most_once_a_minute(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    clock.advance(10 * MINUTE)

    for _ in range(120):
        provider.invalidate(provider.get_token())
        clock.advance(SECOND)
        assert provider.get_token().expiration > clock.now

    assert source.calls <= 4


def test_a_token_that_was_replaced_already_invalidates_nothing(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    old = provider.get_token()
    clock.advance(12 * MINUTE)
    new = provider.get_token()

    provider.invalidate(old)

    assert provider.get_token() is new


def test_a_forced_refresh_that_fails_leaves_a_newly_signed_token(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    refused = provider.get_token()
    clock.advance(2 * MINUTE)
    source.error = StsUnavailableError("down")

    provider.invalidate(refused)
    token = provider.get_token()

    assert token.value != refused.value
    assert key_of(token) == "ASIASESSION00001"


def test_a_thousand_threads_that_were_refused_cost_one_session(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    refused = provider.get_token()
    clock.advance(2 * MINUTE)
    got = []

    def retry() -> None:
        provider.invalidate(refused)
        got.append(provider.get_token().value)

    threads = [threading.Thread(target=retry) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert source.calls == 2
    assert len(got) == 200
    assert refused.value not in got


# --- threads


def test_without_a_good_token_all_threads_wait_for_one_attempt(clock: Clock) -> None:
    source = Source(clock)
    source.gate.clear()
    provider = provider_of(source, clock)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(provider.get_token().value)) for _ in range(50)]

    for thread in threads:
        thread.start()
    assert source.entered.wait(20)
    source.gate.set()
    for thread in threads:
        thread.join(20)

    assert source.calls == 1
    assert len(got) == 50
    assert len(set(got)) == 1


def test_while_one_thread_refreshes_the_others_take_what_is_good(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    clock.now = START + 56 * MINUTE
    source.gate.clear()
    source.entered.clear()
    first = threading.Thread(target=provider.get_token)
    first.start()
    assert source.entered.wait(20)

    token = provider.get_token()  # at once, while the first still waits

    assert (key_of(token), token.expiration) == ("ASIASESSION00001", START + HOUR - 30 * SECOND)
    source.gate.set()
    first.join(20)
    assert key_of(provider.get_token()) == "ASIASESSION00002"


def test_good_credentials_are_signed_with_even_when_their_successors_cannot_be_had(clock: Clock) -> None:
    """Nobody asked for half an hour, so the token at hand is long over; its session is not."""
    source = Source(clock)
    provider = provider_of(source, clock)
    provider.get_token()
    clock.now = START + 56 * MINUTE
    source.error = StsUnavailableError("down")

    assert provider.get_token().expiration == START + HOUR - 30 * SECOND
    assert decode_token(provider.get_token().value).issued_at == clock.now


# --- coroutines


def test_a_thousand_coroutines_share_one_attempt(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(provider.aget_token() for _ in range(1000)))

    tokens = asyncio.run(all_of_them())

    assert source.calls == 1
    assert len({token.value for token in tokens}) == 1


def test_a_slow_source_never_blocks_the_loop(clock: Clock) -> None:
    source = Source(clock)
    source.gate.clear()
    provider = provider_of(source, clock)

    async def scenario() -> int:
        waiting = asyncio.create_task(provider.aget_token())
        turns = 0
        while not source.entered.is_set() or turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        source.gate.set()
        await waiting
        return turns

    assert asyncio.run(scenario()) >= 100


def test_a_cancelled_waiter_does_not_cancel_the_attempt(clock: Clock) -> None:
    source = Source(clock)
    source.gate.clear()
    provider = provider_of(source, clock)

    async def scenario() -> Any:
        tasks = [asyncio.create_task(provider.aget_token()) for _ in range(3)]
        await asyncio.to_thread(source.entered.wait, 20)
        tasks[0].cancel()
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        source.gate.set()
        return await tasks[2]

    assert key_of(asyncio.run(scenario())) == "ASIASESSION00001"
    assert source.calls == 1


def test_a_failure_reaches_every_coroutine_as_the_typed_error(clock: Clock) -> None:
    source = Source(clock)
    source.error = StsUnavailableError("down")
    provider = provider_of(source, clock)

    async def scenario() -> list[Any]:
        return await asyncio.gather(*(provider.aget_token() for _ in range(20)), return_exceptions=True)

    assert {type(result) for result in asyncio.run(scenario())} == {StsUnavailableError}
    assert source.calls == 1


def test_a_stale_token_is_served_at_once_while_the_attempt_runs(clock: Clock) -> None:
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)
    old = provider.get_token()
    clock.now = START + 8 * MINUTE + SECOND
    source.gate.clear()
    source.entered.clear()

    async def scenario() -> Any:
        token = await provider.aget_token()
        source.gate.set()
        await next(iter(provider._coroutines._waiting.here().of.values()))
        return token

    assert key_of(asyncio.run(scenario())) == key_of(old)
    assert key_of(provider.get_token()) == "ASIASESSION00002"


def test_several_loops_in_several_threads_share_one_attempt(clock: Clock) -> None:
    source = Source(clock)
    source.gate.clear()
    provider = provider_of(source, clock)
    got: list[str] = []

    async def some() -> None:
        tokens = await asyncio.gather(*(provider.aget_token() for _ in range(20)))
        got.extend(token.value for token in tokens)

    threads = [threading.Thread(target=lambda: asyncio.run(some())) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert source.entered.wait(20)
    source.gate.set()
    for thread in threads:
        thread.join(20)

    assert (source.calls, len(got), len(set(got))) == (1, 120, 1)


def test_a_loop_after_another_works(clock: Clock) -> None:
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)

    for _ in range(3):
        assert asyncio.run(provider.aget_token())
        clock.advance(20 * MINUTE)

    assert source.calls == 3


def test_a_loop_that_ends_during_an_attempt_leaves_no_noise(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)
    provider.get_token()
    clock.now = START + 8 * MINUTE + SECOND
    source.gate.clear()
    source.entered.clear()

    asyncio.run(provider.aget_token())
    assert source.entered.wait(20)
    source.gate.set()

    assert key_of(provider.get_token()) in {"ASIASESSION00001", "ASIASESSION00002"}
    with provider._flights.here().lock:
        assert source.calls == 2
    assert caplog.records == []


def no_thread(*_: Any, **__: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_where_no_thread_can_be_started_coroutines_get_the_good_token_or_an_error(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container at its limit of processes; waiting for what was never begun would be waiting for ever."""
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)
    monkeypatch.setattr(_flight, "_EXECUTOR", _flight.OfProcess(_flight._executor))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        for _ in range(2):
            with pytest.raises(CredentialsUnavailableError, match="can't start new thread"):
                asyncio.run(provider.aget_token())
        old = provider.get_token()
        clock.advance(9 * MINUTE)
        assert key_of(asyncio.run(provider.aget_token())) == key_of(old)

    assert asyncio.run(provider.aget_token())


def test_where_no_thread_can_be_started_a_session_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = provider_of(botocore.session.Session())
    monkeypatch.setattr(threading.Thread, "start", no_thread)

    with pytest.raises(CredentialsUnavailableError, match="can't start new thread"):
        provider.get_token()


def test_a_loop_that_is_over_is_not_kept_alive(clock: Clock) -> None:
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)
    loops = []

    async def ask() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await provider.aget_token()

    for _ in range(3):
        asyncio.run(ask())
        clock.advance(20 * MINUTE)

    assert all(map(is_let_go, loops))


def is_let_go(held: weakref.ref[Any]) -> bool:
    """Whether nobody keeps it; a thread of ours that has just brought an answer may be about to."""
    ends = time.monotonic() + 10
    while held() is not None and time.monotonic() < ends:
        gc.collect()
        time.sleep(0.01)
    return held() is None


class Held:
    """What somebody holds while a token is asked for."""


def test_a_failure_that_is_kept_keeps_nothing_of_those_who_met_it(clock: Clock) -> None:
    source = Source(clock, HOUR)
    source.error = StsUnavailableError("no answer")
    provider = provider_of(KeptSource(source), clock)
    held: list[weakref.ref[Any]] = []

    def ask() -> None:
        mine = Held()
        held.append(weakref.ref(mine))
        provider.get_token()

    async def aask() -> None:
        held.append(weakref.ref(asyncio.get_running_loop()))
        await provider.aget_token()

    for attempt in (ask, lambda: asyncio.run(aask())):
        for _ in range(2):  # the second is told by the pause after the first
            with pytest.raises(StsUnavailableError, match="no answer"):
                attempt()
            assert is_let_go(held[-1])
        clock.advance(MINUTE)

    assert source.calls == 2


class WantsTwoError(Exception):
    """One that cannot be copied."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class WantsOneError(Exception):
    """One whose text is made of its argument."""

    def __init__(self, one: str) -> None:
        super().__init__(f"no {one}")


@pytest.mark.parametrize("error", [WantsTwoError("one", "two"), WantsOneError("answer"), OSError(5, "io", "file")])
def test_a_foreign_error_that_is_kept_is_raised_as_it_was(clock: Clock, error: Exception) -> None:
    source = Source(clock, HOUR)
    source.error = error
    provider = provider_of(KeptSource(source), clock)

    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            provider.get_token()
        assert str(caught.value) == str(error)


def test_a_source_that_raises_stop_iteration_leaves_nobody_waiting(clock: Clock) -> None:
    """No future takes that exception, up to Python 3.11."""
    nothing: list[FrozenCredentials] = []
    provider = TokenProvider(lambda: next(iter(nothing)), cluster_name="analytics", region="eu-west-1", clock=clock)

    async def ask() -> None:
        await asyncio.wait_for(provider.aget_token(), 5)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(ask())


def test_a_handler_of_signals_has_the_good_token_and_makes_no_other_attempt(clock: Clock) -> None:
    """It runs in the thread whose attempt it interrupts, and which holds the locks."""
    source = Source(clock, HOUR)
    asked = 0
    served: list[EksToken] = []

    def interrupted() -> FrozenCredentials:
        nonlocal asked
        asked += 1
        if asked == 2:
            served.append(provider.get_token())
        return source()

    provider = TokenProvider(interrupted, cluster_name="analytics", region="eu-west-1", clock=clock)
    first = provider.get_token()
    clock.advance(57 * MINUTE)

    new = provider.get_token()

    assert asked == 2
    key = decode_token(first.value).access_key_id
    assert [decode_token(token.value).access_key_id for token in served] == [key]
    assert decode_token(new.value).access_key_id != key


# --- forks and pickles


@FORKED
def test_a_child_that_was_forked_during_a_refresh_makes_its_own(clock: Clock) -> None:
    source = Source(clock)
    source.gate.clear()
    provider = provider_of(source, clock)
    thread = threading.Thread(target=provider.get_token)
    thread.start()
    assert source.entered.wait(20)

    def child() -> None:
        provider._source = Source(clock)
        assert provider.get_token()
        assert asyncio.run(provider.aget_token())

    assert ends_well(in_child(child), 60)
    source.gate.set()
    thread.join(20)


@FORKED
def test_a_child_keeps_the_token_that_its_parent_had(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(source, clock)
    token = provider.get_token()

    def child() -> None:
        assert provider.get_token() is token
        assert asyncio.run(provider.aget_token()) is token

    assert ends_well(in_child(child), 60)
    assert source.calls == 1


def test_a_provider_whose_source_finds_its_keys_can_be_pickled(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")
    provider = provider_of(source)
    provider.get_token()

    raw = pickle.dumps(provider)
    copied = pickle.loads(raw)  # noqa: S301 - our own bytes

    assert copied.peek() is None
    assert verify_token(copied.get_token().value, cluster_name="analytics").canonical_arn == ROLE
    for secret in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        assert eks_sandbox.environ[secret].encode() not in raw
    monkeypatch.undo()


@pytest.mark.parametrize(
    "given_",
    [CREDENTIALS, botocore.session.Session(), session_source(botocore.session.Session()),
     assume_roles(session_source(botocore.session.Session()), [RoleHop(ROLE)], region="eu-west-1")],
    ids=["keys", "session", "source of a session", "role of a session"],
)  # fmt: skip
def test_a_provider_that_holds_keys_refuses_to_be_pickled(given_: Any) -> None:
    with pytest.raises(TypeError, match="must not get into a pickle"):
        pickle.dumps(provider_of(given_))


# --- what a provider is made of


def test_every_kind_of_source_is_taken() -> None:
    session = botocore.session.Session()
    session.set_credentials("ASIASESSION00001", "canary", "canary")

    for given_ in (session, CREDENTIALS, lambda: CREDENTIALS, session.get_credentials().get_frozen_credentials()):
        assert provider_of(given_).get_token().value.startswith("k8s-aws-v1.")


def test_credentials_that_a_source_keeps_are_not_taken_again_after_a_refusal(clock: Clock) -> None:
    source = Source(clock)
    provider = provider_of(KeptSource(source), clock)
    refused = provider.get_token()
    clock.advance(2 * MINUTE)

    provider.invalidate(refused)

    assert (key_of(refused), key_of(provider.get_token())) == ("ASIASESSION00001", "ASIASESSION00002")


@pytest.mark.parametrize("given_", [None, "arn", 7, {"access_key": "x"}])
def test_what_is_no_source_is_refused(given_: Any) -> None:
    with pytest.raises(TypeError, match=f"a source is a function.*, not {type(given_).__name__}$"):
        provider_of(given_)


@pytest.mark.parametrize("returned", [None, {"AccessKeyId": "x"}, "keys"])
def test_a_source_that_returns_something_else_is_refused(returned: Any) -> None:
    with pytest.raises(TypeError, match="a source returns FrozenCredentials, not "):
        provider_of(lambda: returned).get_token()


def test_a_source_may_return_botocores_frozen_triple() -> None:
    triple = ReadOnlyCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token)

    assert key_of(provider_of(lambda: triple).get_token()) == CREDENTIALS.access_key


def test_an_expiration_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="expiration has no time zone"):
        replace(CREDENTIALS, expiration=datetime(2026, 2, 3))  # noqa: DTZ001 - the mistake


def test_credentials_that_refresh_themselves_are_refused() -> None:
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415 - one use

    keys = RefreshableCredentials("AKIA", "s", "t", datetime.now(UTC) + HOUR, dict, "test")

    with pytest.raises(TypeError, match="pass the session"):
        provider_of(keys)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cluster_name": "bad name"}, ClusterError),
        ({"region": "x@evil"}, UnknownRegionError),
        ({"lifetime": timedelta(0)}, ValueError),
        ({"lifetime": timedelta(minutes=16)}, ValueError),
    ],
    ids=str,
)
def test_an_impossible_provider_is_refused_when_it_is_made(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        provider_of(CREDENTIALS, **options)


def test_the_lifetime_is_the_callers(clock: Clock) -> None:
    token = provider_of(Source(clock), clock, lifetime=2 * MINUTE).get_token()

    assert token.expiration == START + 2 * MINUTE


@pytest.mark.parametrize("hops", [[], [RoleHop(ROLE)]], ids=["no hop", "a hop"])
@pytest.mark.parametrize("way", ["a provider", "a source", "connect", "get_token"])
def test_a_session_that_never_answers_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, way: str, hops: list[RoleHop]
) -> None:
    """A child that was forked while botocore refreshed finds its lock closed for ever."""
    monkeypatch.setattr(credentials, "_SESSION_WAIT", 0.2)
    session = botocore.session.Session()
    session._credentials = RefreshableCredentials("ASIAX", "canary", "canary", datetime.now(UTC), dict, "somewhere")
    session._credentials._refresh_lock.acquire()
    given = {"cluster_name": "analytics", "region": "eu-west-1", "session": session, "role_hops": hops}
    source = assume_roles(session_source(session), hops, region="eu-west-1")
    ways: dict[str, Callable[[], object]] = {
        "a provider": lambda: provider_of(session).get_token(),
        "a source": lambda: provider_of(source).get_token(),
        "connect": lambda: connect(**given),
        "get_token": lambda: get_token(**given),
    }

    with pytest.raises(CredentialsUnavailableError, match="was forked while it did"):
        ways[way]()
    session._credentials._refresh_lock.release()


def test_a_provider_shows_no_secret(clock: Clock) -> None:
    provider = provider_of(Source(clock), clock)
    provider.get_token()

    assert_no_canary(f"{provider!r} {provider} {vars(provider)!r}")


# --- at the sandbox


def test_the_role_is_assumed_once_per_session(eks_sandbox: Sandbox) -> None:
    provider = provider_of(assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1"))

    for _ in range(50):
        assert verify_token(provider.get_token().value, cluster_name="analytics").canonical_arn == ROLE

    assert [r.operation for r in eks_sandbox.requests].count("sts:AssumeRole") == 1


def of_environment(_: Sandbox, __: Path) -> dict[str, str]:
    return {}


def of_profile(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    keys = sandbox.environ
    lines = [f"{name} = {keys[name.upper()]}" for name in ("aws_access_key_id", "aws_secret_access_key")]
    lines = ["[job]", *lines, f"aws_session_token = {keys['AWS_SESSION_TOKEN']}"]
    (folder / "credentials").write_text("\n".join(lines))
    return {"AWS_PROFILE": "job", "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}


def of_web_identity(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    claims = {"iss": "https://token.actions.githubusercontent.com", "sub": "repo:team/jobs"}
    arn = "arn:aws:iam::111111111111:role/github"
    principal = {"Federated": "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"}
    condition = {"StringEquals": {"token.actions.githubusercontent.com:sub": claims["sub"]}}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRoleWithWebIdentity",
                 "Condition": condition}  # fmt: skip
    sandbox.add_role(arn, trust={"Statement": [statement]}, allow=["sts:AssumeRole"])
    sandbox.add_role(ROLE, trust=[arn])
    jwt = f"e30.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"
    (folder / "jwt").write_text(jwt)
    return {"AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "jwt"), "AWS_ROLE_ARN": arn}


def of_program(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    keys = sandbox.environ
    said = {"Version": 1, "AccessKeyId": keys["AWS_ACCESS_KEY_ID"], "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": keys["AWS_SESSION_TOKEN"]}  # fmt: skip
    (folder / "said").write_text(json.dumps(said))
    (folder / "config").write_text(f"[profile job]\ncredential_process = cat {folder}/said\n")
    return {"AWS_PROFILE": "job", "AWS_CONFIG_FILE": str(folder / "config")}


def of_container(sandbox: Sandbox, _: Path) -> dict[str, str]:
    return sandbox.container_environ


def of_instance(sandbox: Sandbox, _: Path) -> dict[str, str]:
    return sandbox.instance_environ


@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize(
    ("place", "identity"),
    [
        (of_environment, "mwaa-exec"),
        (of_profile, "mwaa-exec"),
        (of_web_identity, "github"),
        (of_program, "mwaa-exec"),
        (of_container, "mwaa-exec"),
        (of_instance, "mwaa-exec"),
    ],
)
def test_credentials_of_every_place_sign_by_themselves_and_behind_a_hop(
    eks_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, identity: str, hops: int
) -> None:
    found = place(eks_sandbox, tmp_path)
    if found:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED"):
            monkeypatch.delenv(name)
    for name, value in found.items():
        monkeypatch.setenv(name, value)

    provider = provider_of(assume_roles(session_source(), [RoleHop(ROLE)] * hops, region="eu-west-1"))
    signer = verify_token(provider.get_token().value, cluster_name="analytics")

    assert signer.canonical_arn == (ROLE if hops else f"arn:aws:iam::111111111111:role/{identity}")


def test_sts_down_while_the_session_is_good_is_not_noticed(eks_sandbox: Sandbox) -> None:
    sandbox_clock = eks_sandbox.clock
    provider = provider_of(assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1"), sandbox_clock.now)
    provider.get_token()
    eks_sandbox.throttle("sts:AssumeRole")

    assert provider.get_token()


def test_many_refreshes_do_not_grow(clock: Clock) -> None:
    """2,000 here; the suite of the clients sets REFRESHES=100000."""
    source = Source(clock, 10 * MINUTE)
    provider = provider_of(source, clock)

    def spin(rounds: int) -> None:
        for _ in range(rounds):
            provider.get_token()
            clock.advance(9 * MINUTE)

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        spin(int(os.environ.get("REFRESHES", "2000")))
        gc.collect()
        return sys.getallocatedblocks() - before

    spin(500)

    # the count is the whole process's: a thread that another test left behind may add to it once, a leak adds each time
    assert any(growth() < 200 for _ in range(3))
