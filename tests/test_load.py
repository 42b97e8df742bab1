"""Many threads, clusters and refusals: what they cost STS, counted."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tokens import CREDENTIALS

from eks_cross_account import (
    FrozenCredentials,
    RoleHop,
    StsUnavailableError,
    TokenProvider,
    assume_roles,
    credentials,
    verify_token,
)
from eks_cross_account.credentials import KeptSource, session_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
NEXT = "arn:aws:iam::222222222222:role/next"
CLUSTERS = [f"cluster-{number}" for number in range(8)]


@pytest.fixture
def small_stacks() -> Iterator[None]:
    before = threading.stack_size(256 * 1024)
    yield
    threading.stack_size(before)


@pytest.mark.usefixtures("small_stacks")
def test_two_thousand_threads_at_eight_clusters_cost_one_session_per_hop(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(ROLE, trust=["arn:aws:iam::111111111111:role/service-role/mwaa-exec"], allow=["sts:*"])
    eks_sandbox.add_role(NEXT, trust=[ROLE])
    eks_sandbox.delay("sts:AssumeRole", 0.3)  # so that all have come before the first is answered
    source = assume_roles(session_source(), [RoleHop(ROLE), RoleHop(NEXT)], region="eu-west-1")
    providers = [TokenProvider(source, cluster_name=name, region="eu-west-1") for name in CLUSTERS]
    got: dict[str, set[str]] = {name: set() for name in CLUSTERS}
    start = threading.Event()

    def task(provider: TokenProvider) -> None:
        start.wait(30)
        got[provider.cluster_name].add(provider.get_token().value)

    threads = [threading.Thread(target=task, args=(providers[number % 8],)) for number in range(2000)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join(30)

    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "sts:AssumeRole"]
    assert [len(tokens) for tokens in got.values()] == [1] * 8
    for name, (token,) in got.items():
        assert verify_token(token, cluster_name=name).canonical_arn == NEXT


def test_who_looked_just_before_an_attempt_ended_makes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is kept and the wait for the lock another thread's attempt ends."""
    asked: list[datetime] = []
    now = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)

    def source() -> FrozenCredentials:
        asked.append(now)
        return replace(CREDENTIALS, expiration=now + timedelta(hours=1))

    kept = KeptSource(source)
    join = kept._flight.join

    def late(attempt: Callable[[], FrozenCredentials]) -> FrozenCredentials:
        monkeypatch.undo()
        kept.at(now)
        return join(attempt)

    monkeypatch.setattr(kept._flight, "join", late)
    kept.at(now)

    assert len(asked) == 1


def test_an_outage_is_one_try_for_all_clusters_that_wait(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would wait for its own three tries else, one after the other, and the last for two minutes."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(credentials, "READ_TIMEOUT", 2)
    eks_sandbox.hang("sts:AssumeRole")
    source = assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")
    errors: list[StsUnavailableError] = []

    def task(name: str) -> None:
        with pytest.raises(StsUnavailableError) as caught:
            TokenProvider(source, cluster_name=name, region="eu-west-1").get_token()
        errors.append(caught.value)

    threads = [threading.Thread(target=task, args=(name,)) for name in CLUSTERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(errors) == 8
    assert eks_sandbox.hanging == 1


def test_a_role_that_is_not_mapped_and_a_thousand_pods_are_no_storm() -> None:
    """Each of them is answered 401 at every try, for ten minutes."""
    now = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    calls = 0

    def source() -> FrozenCredentials:
        nonlocal calls
        calls += 1
        return replace(CREDENTIALS, access_key=f"ASIASESSION{calls:05d}", expiration=now + timedelta(hours=1))

    provider = TokenProvider(source, cluster_name="analytics", region="eu-west-1", clock=lambda: now)
    for _ in range(60):
        for _ in range(1000):
            provider.invalidate(provider.get_token())
        now += timedelta(seconds=10)

    assert calls <= 11
