"""STS, sources and clocks that fail: at every hop of a real chain, and through 24 simulated hours of everything."""

from __future__ import annotations

import math
import random
import socket
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.config import Config
from tokens import CREDENTIALS

from eks_cross_account import (
    AssumeRoleError,
    CredentialsUnavailableError,
    EksToken,
    EksTokenError,
    FrozenCredentials,
    RoleHop,
    StsUnavailableError,
    TokenProvider,
    assume_roles,
    credentials,
    decode_token,
    verify_token,
)
from eks_cross_account.credentials import KeptSource, session_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from eks_cross_account.sandbox import Sandbox

USER = "arn:aws:iam::111111111111:user/jobs"
ONE, TWO = "arn:aws:iam::111111111111:role/one", "arn:aws:iam::222222222222:role/two"
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
REGION = "eu-west-1"


class Ahead:
    """The wall clock, and more."""

    def __init__(self) -> None:
        self.by = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by


class Way:
    """A user's key, a role for 12 hours, and by that another one for an hour."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.clock = Ahead()
        user = sandbox.add_user(USER, allow=["sts:AssumeRole"])
        sandbox.add_role(ONE, trust=[USER], allow=["sts:AssumeRole"], max_session=12 * HOUR)
        sandbox.add_role(TWO, trust=[ONE])
        hops = [RoleHop(ONE, duration=12 * HOUR), RoleHop(TWO)]
        self.source = assume_roles(lambda: user, hops, region=REGION)
        self.provider = TokenProvider(self.source, cluster_name="analytics", region=REGION, clock=self.clock)

    def calls(self) -> int:
        return sum(request.operation == "sts:AssumeRole" for request in self.sandbox.requests)

    def let_the_second_hop_grow_old(self) -> EksToken:
        """The first one's session has eleven hours left then, the second's three minutes."""
        self.provider.get_token()
        self.clock.by = 57 * MINUTE
        self.sandbox.requests.clear()
        good = self.provider.peek()
        assert good is not None
        return good


@pytest.fixture
def way(eks_sandbox: Sandbox) -> Way:
    return Way(eks_sandbox)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that botocore waits between tries; here nobody waits."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def throttled(sandbox: Sandbox, _: pytest.MonkeyPatch) -> None:
    sandbox.throttle("sts:AssumeRole")


def hanging(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "READ_TIMEOUT", 0.2)
    sandbox.hang("sts:AssumeRole")


def broken_off(sandbox: Sandbox, _: pytest.MonkeyPatch) -> None:
    sandbox.disconnect("sts:AssumeRole")


def down(sandbox: Sandbox, _: pytest.MonkeyPatch) -> None:
    sandbox.respond("sts:AssumeRole", 503, "<html>Service Unavailable</html>")


def proxy_page(sandbox: Sandbox, _: pytest.MonkeyPatch) -> None:
    sandbox.respond("sts:AssumeRole", 200, "<html>Please log in</html>")


def refused(_: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{port}")


FAULTS = [throttled, hanging, broken_off, down, proxy_page, refused]
FAULT = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)


@FAULT
def test_a_fault_at_the_first_hop_is_an_error_that_may_pass_and_does(
    way: Way, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    with monkeypatch.context() as patched:
        fault(way.sandbox, patched)
        with pytest.raises(EksTokenError, match="hop 1 of 2") as caught:
            way.provider.get_token()
        way.sandbox.clear_faults()

    assert isinstance(caught.value, StsUnavailableError | AssumeRoleError)
    assert caught.value.retryable
    assert way.calls() <= credentials.TRIES
    assert sum(slept) + credentials.TRIES * credentials.READ_TIMEOUT <= 15
    way.clock.by += SECOND  # the pause after a failure
    assert verify_token(way.provider.get_token().value, cluster_name="analytics").canonical_arn == TWO


@FAULT
def test_a_fault_at_the_second_hop_is_not_noticed_while_the_old_session_is_good(
    way: Way, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    old = way.let_the_second_hop_grow_old()
    with monkeypatch.context() as patched:
        fault(way.sandbox, patched)
        for _ in range(100):
            served = way.provider.get_token()
            assert decode_token(served.value).access_key_id == decode_token(old.value).access_key_id
            assert served.expiration > way.clock()
        way.sandbox.clear_faults()

    assert way.calls() <= credentials.TRIES
    assert sum(slept) + credentials.TRIES * credentials.READ_TIMEOUT <= 15
    way.clock.by += SECOND
    new = way.provider.get_token()
    assert decode_token(new.value).access_key_id != decode_token(old.value).access_key_id


@FAULT
def test_a_fault_at_the_second_hop_is_an_error_when_nothing_good_is_left(
    way: Way, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    way.let_the_second_hop_grow_old()
    way.clock.by = HOUR
    fault(way.sandbox, monkeypatch)

    with pytest.raises(EksTokenError, match="hop 2 of 2") as caught:
        way.provider.get_token()

    assert caught.value.retryable
    assert sum(slept) <= 15


@pytest.mark.parametrize("mode", [None, "legacy", "standard", "adaptive"])
def test_a_throttled_sts_is_tried_three_times_whatever_botocores_default_is(
    way: Way, slept: list[float], monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    if mode:  # legacy is the default of botocore before 1.44, and tries five times
        monkeypatch.setenv("AWS_RETRY_MODE", mode)
    way.sandbox.throttle("sts:AssumeRole")

    with pytest.raises(AssumeRoleError, match="Throttling"):
        way.provider.get_token()

    assert way.calls() == 3
    assert len(slept) >= 2


def test_the_users_own_number_of_tries_is_kept(way: Way, monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    way.sandbox.throttle("sts:AssumeRole")

    with pytest.raises(AssumeRoleError, match="Throttling"):
        way.provider.get_token()

    assert (way.calls(), len(slept)) == (5, 4)


@pytest.mark.parametrize(
    ("retries", "tries"), [({"mode": "legacy"}, 3), ({"max_attempts": 1}, 2), ({"total_max_attempts": 4}, 4), (None, 3)]
)
def test_a_mode_of_retries_in_the_users_config_is_no_number_of_tries(
    way: Way, slept: list[float], retries: dict[str, Any] | None, tries: int
) -> None:
    session = botocore.session.Session()
    session.set_default_client_config(Config(retries=retries))
    user = session_source(session)
    way.sandbox.throttle("sts:AssumeRole")

    with pytest.raises(AssumeRoleError, match="Throttling"):
        assume_roles(user, [RoleHop(ONE)], region=REGION, session=session)()

    assert (way.calls(), len(slept)) == (tries, tries - 1)


def test_a_regional_endpoint_that_is_gone_is_never_replaced_by_another(way: Way, slept: list[float]) -> None:
    way.let_the_second_hop_grow_old()
    way.sandbox.respond("sts:AssumeRole", 503)
    way.provider.get_token()
    way.clock.by = HOUR

    with pytest.raises(EksTokenError, match="hop 2 of 2"):
        way.provider.get_token()

    assert {request.host for request in way.sandbox.requests} == {f"sts.{REGION}.amazonaws.com"}
    assert slept


def test_signing_needs_no_network(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    first = way.provider.get_token()

    def no_network(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    way.clock.by = 40 * MINUTE

    assert way.provider.get_token().expiration - first.expiration >= 35 * MINUTE


@pytest.mark.usefixtures("eks_sandbox")
def test_a_container_endpoint_that_hangs_is_an_error_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{silent.getsockname()[1]}/v2/credentials"
        )
        provider = TokenProvider(session_source(), cluster_name="analytics", region=REGION)
        begun = time.monotonic()
        with pytest.raises(CredentialsUnavailableError, match=r"container|metadata"):
            provider.get_token()

    assert time.monotonic() - begun < 15  # 9 s: botocore's three tries of two seconds, and a second between


def test_a_slow_container_endpoint_is_waited_for(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for name, value in eks_sandbox.container_environ.items():
        monkeypatch.setenv(name, value)
    eks_sandbox.delay("*", 1.0)

    assert TokenProvider(session_source(), cluster_name="analytics", region=REGION).get_token()


# --- revoked and expiring sessions before the last hop


def test_a_kept_session_that_was_revoked_is_replaced_at_once(way: Way) -> None:
    """As AWSRevokeOlderSessions does; the second hop needs it only an hour later."""
    old = way.let_the_second_hop_grow_old()
    kept = way.source._source._kept  # type: ignore[attr-defined]
    way.sandbox.revoke(kept[0])

    new = way.provider.get_token()

    assert decode_token(new.value).access_key_id != decode_token(old.value).access_key_id
    assert way.calls() == 3  # refused, the first role again, the second


def test_a_hop_that_is_refused_is_not_asked_again_and_again(way: Way) -> None:
    way.let_the_second_hop_grow_old()
    way.clock.by = HOUR
    way.sandbox.delete_role(TWO)

    for _ in range(50):
        with pytest.raises(AssumeRoleError, match="hop 2 of 2"):
            way.provider.get_token()

    assert way.calls() == 3  # by the kept session, a new one of the first role, and by that


def test_one_chain_serves_the_tokens_of_many_clusters(way: Way) -> None:
    for number in range(8):
        provider = TokenProvider(way.source, cluster_name=f"cluster-{number}", region=REGION)
        assert verify_token(provider.get_token().value, cluster_name=f"cluster-{number}").canonical_arn == TWO

    assert way.calls() == 2


# --- a day of everything


class Sts:
    """AssumeRole in simulated time. Refuses expired credentials, as AWS does, and counts whoever brings them."""

    def __init__(self, clock: Any, chance: random.Random) -> None:
        self.clock, self.chance = clock, chance
        self.ends: dict[str, datetime] = {}
        self.revoked: set[str] = set()
        self.given: dict[int, int] = {}
        self.trouble = "none"
        self.failed_at = clock.now - HOUR
        self.with_expired = 0

    def assume_role(self, by: FrozenCredentials, hop: RoleHop, **where: Any) -> FrozenCredentials:
        number = where["number"]
        self.clock.now += timedelta(seconds=self.chance.random() * (20 if self.trouble == "slow" else 0.5))
        if self.ends.get(by.access_key, self.clock.now + HOUR) <= self.clock.now:
            self.with_expired += 1
        if self.trouble in {"down", "hanging"}:
            self.failed_at = self.clock.now
            raise StsUnavailableError("no answer")
        if self.trouble == "throttled" and self.chance.random() < 0.8:
            self.failed_at = self.clock.now
            raise AssumeRoleError("Throttling", retryable=True)
        if by.access_key in self.revoked:
            raise AssumeRoleError("ExpiredToken", code="ExpiredToken")
        self.given[number] = self.given.get(number, 0) + 1
        assert isinstance(hop.duration, timedelta)
        return self.session(f"{number}", hop.duration, by.expiration)

    def session(self, name: str, life: timedelta, most: datetime | None = None) -> FrozenCredentials:
        key = f"ASIA{name}X{len(self.ends):011d}"
        end = min(self.clock.now + life, most) if most else self.clock.now + life
        self.ends[key] = end
        return replace(CREDENTIALS, access_key=key, expiration=end)


class Instance:
    """Credentials of an instance or a container: those at hand until five minutes before their end; may be silent."""

    def __init__(self, sts: Sts, life: timedelta | None) -> None:
        self.sts, self.life = sts, life
        self.silent = False
        self.at_hand: FrozenCredentials | None = None

    def __call__(self) -> FrozenCredentials:
        if self.silent:
            self.sts.failed_at = self.sts.clock.now
            raise CredentialsUnavailableError("no answer from the container endpoint", retryable=True)
        if self.life is None:
            return CREDENTIALS
        held = self.at_hand
        if held is None or held.expiration is None or held.expiration - self.sts.clock.now < 5 * MINUTE:
            self.at_hand = self.sts.session("0", self.life)
        assert self.at_hand is not None
        return self.at_hand


class Simulated:
    def __init__(self) -> None:
        self.now = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


DAYS = [
    pytest.param(None, (12 * HOUR, HOUR), id="user, 12 h, 1 h"),
    pytest.param(6 * HOUR, (HOUR, HOUR), id="instance 6 h, 1 h, 1 h"),
    pytest.param(None, (15 * MINUTE, 15 * MINUTE), id="user, 15 min, 15 min"),
    pytest.param(HOUR, (15 * MINUTE,), id="container 1 h, 15 min"),
    pytest.param(None, (HOUR,), id="user, 1 h"),
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("base", "lives"), DAYS)
def test_a_day_of_faults_costs_no_token_that_could_have_been_had(
    monkeypatch: pytest.MonkeyPatch, base: timedelta | None, lives: tuple[timedelta, ...], seed: int
) -> None:
    chance, clock = random.Random(seed), Simulated()  # noqa: S311 - a test's
    begin = clock.now
    sts = Sts(clock, chance)
    monkeypatch.setattr(credentials, "assume_role", sts.assume_role)
    instance = Instance(sts, base)
    hops = [RoleHop(TWO, duration=life) for life in lives]
    chain = assume_roles(instance, hops, region=REGION)
    assert isinstance(chain, KeptSource)
    providers = [
        TokenProvider(chain, cluster_name=name, region=REGION, clock=clock) for name in ("analytics", "training")
    ]
    refusals, until = 0, clock.now

    while clock.now < begin + 24 * HOUR:
        clock.now += timedelta(seconds=chance.choice([1, 1, 5, 30, 60]))
        if chance.random() < 0.002:
            clock.now += 40 * MINUTE  # frozen, and woken
        if clock.now >= until:
            sts.trouble = chance.choice(["none"] * 6 + ["down", "throttled", "slow", "hanging"])
            instance.silent = chance.random() < 0.1
            until = clock.now + timedelta(minutes=chance.choice([1, 3, 10]))
        provider = chance.choice(providers)
        try:
            token = provider.get_token()
        except EksTokenError:
            # only where somebody has just refused, and no session at hand could sign
            assert clock.now - sts.failed_at <= 11 * SECOND
            assert provider.peek() is None
            continue
        key = decode_token(token.value).access_key_id or ""
        assert clock.now < token.expiration
        assert sts.ends[key] > clock.now
        if key in sts.revoked:  # the API server answers 401: an attempt with another token has to be possible
            provider.invalidate(token)
        elif chance.random() < 0.001:
            sts.revoked.add(key)
            refusals += 1

    elapsed = clock.now - begin
    assert sts.with_expired == 0
    for number, life in enumerate(lives, start=1):
        ideal = elapsed / (life - min(5 * MINUTE, life * 0.2))
        assert sts.given[number] <= math.ceil(1.2 * ideal) + refusals  # which force a new session


def test_what_is_not_kept_is_asked_for_each_time() -> None:
    """Keys without an end may be in a file that somebody else renews."""
    keys = iter([CREDENTIALS, replace(CREDENTIALS, access_key="ASIAEXAMPLEEXAMPLE02")])
    source = KeptSource(lambda: next(keys))

    assert [source().access_key, source().access_key] == ["ASIAEXAMPLEEXAMPLE01", "ASIAEXAMPLEEXAMPLE02"]
