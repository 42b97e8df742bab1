"""Keeps a token fresh, with an honest expiration. Touches sources, and the clock that it is given.

For one token: ``get_token``; to call twice: ``TokenProvider``. A token is signed offline in microseconds; only the
credentials behind it may need the network, so all that is below about waiting is about credentials.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from eks_cross_account import endpoints
from eks_cross_account._flight import LoopFlight, OfProcess, again
from eks_cross_account.credentials import (
    FrozenCredentials,
    KeptSource,
    RoleHop,
    assume_roles,
    botocore_session,
    caller_region,
    current,
    find_region,
    freeze,
    is_portable,
    is_stale,
    role_chain,
    session_source,
    share,
    stale_after,
    utc_now,
)
from eks_cross_account.errors import CredentialsError, CredentialsUnavailableError
from eks_cross_account.token import LIFE, EksToken, check_cluster_name, encode_token, presign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eks_cross_account.credentials import CredentialSource
    from eks_cross_account.token import SigningCredentials

_LOG = logging.getLogger(__name__)

LIFETIME = timedelta(minutes=14)  # a minute less than the verifier allows, as every peer announces it
_MARGIN, _MARGIN_SHARE = timedelta(seconds=30), 0.1  # before the end of a session: a token must not arrive too late
_BACK_OFF, _LONGEST_BACK_OFF = timedelta(seconds=1), timedelta(minutes=1)
_LONGEST_OUTAGE_BACK_OFF = timedelta(seconds=10)  # with no good token left: who waits now is a task that fails
_FORCE_INTERVAL = timedelta(minutes=1)  # invalidate() asks for new credentials this often at most
_CLOCK_STEP = timedelta(minutes=1)  # set back by more, and what was signed is in STS's future


def mint(  # noqa: PLR0913 - a token's parts
    credentials: FrozenCredentials,
    *,
    cluster_name: str,
    region: str,
    now: datetime,
    lifetime: timedelta = LIFETIME,
    margin: timedelta = _MARGIN,
) -> EksToken:
    """A token of these credentials. Its expiration: ``now`` + ``lifetime``, or the credentials' less a margin."""
    url = presign(credentials, cluster_name=cluster_name, region=region, now=now)
    expiration = now.replace(microsecond=0) + lifetime
    if credentials.expiration is not None:
        expiration = min(expiration, credentials.expiration - margin)
    return EksToken(encode_token(url), expiration)


@dataclass(frozen=True, slots=True)
class _Held:
    """What a provider has: replaced as one, so that a reader needs no lock. Moments are aware UTC.

    ``fetched_at``: when the source last gave these credentials, ``since``: when it first did.
    Between the last two, both included, neither token nor credentials need looking after: all that a reader compares.
    """

    credentials: FrozenCredentials
    fetched_at: datetime
    since: datetime
    token: EksToken
    signed_at: datetime
    fresh_from: datetime
    fresh_until: datetime

    def __repr__(self) -> str:
        return f"_Held({self.credentials!r}, {self.token!r})"


class _Flight:
    """The refresh under way or last tried, of one process: a forked child begins with another.

    ``lock`` is held while the source is asked, which is ``under_way`` then; ``swap`` for the moment of replacing what
    is held, never for I/O.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.swap = threading.RLock()
        self.under_way = False
        self.failures = 0
        self.failed: _Failed | None = None


class _Failed(NamedTuple):
    """The last attempt, where it failed, and until when no other is made."""

    error: Exception
    at: datetime
    not_before: datetime

    def rests(self, now: datetime) -> bool:
        """Not where the clock was set back meanwhile."""
        return self.at <= now < self.not_before


class TokenProvider:
    """One token, kept good: for any number of threads, coroutines and forked children.

    ``source``: a CredentialSource, a boto3 or botocore session, or static credentials. ``lifetime``: of a token, at
    most 15 minutes less what it travels. ``clock``: the wall clock, an aware UTC datetime at each call.

    FRESH: served without a lock. STALE (less than 5 minutes or a fifth of the session left): the first caller looks for
    new credentials, the others take what is good; when that fails the old token is served to its end, with a growing
    pause between attempts. EXPIRED: all wait for one attempt. No thread runs in between.

    A provider can be pickled where its source can and holds no keys; what it has cached is never in the pickle.
    """

    def __init__(
        self,
        source: CredentialSource | SigningCredentials | Any,  # noqa: ANN401 - sessions have no types
        *,
        cluster_name: str,
        region: str,
        lifetime: timedelta = LIFETIME,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        check_cluster_name(cluster_name)
        endpoints.partition_of(region)
        if not timedelta() < lifetime <= LIFE:
            raise ValueError(f"lifetime must be more than nothing and at most {LIFE}, not {lifetime}")
        self.cluster_name: str = cluster_name
        self.region: str = region
        self._given: Any = source  # as it came: what can be pickled
        self._source = _as_source(source)
        self._lifetime = lifetime
        self._clock = clock
        self._held: _Held | None = None
        self._forced_at: datetime | None = None
        self._force = False
        self._flights: OfProcess[_Flight] = OfProcess(_Flight)  # a child must not wait for its parent's lock
        self._coroutines: LoopFlight[EksToken] = LoopFlight()

    def __repr__(self) -> str:
        return f"TokenProvider(cluster_name={self.cluster_name!r}, region={self.region!r})"

    def get_token(self) -> EksToken:
        """A token that may be sent now. Raises what the source raises, when there is no good token left."""
        now = self._clock()
        token = self._fresh(now)
        if token is not None:
            return token
        flight = self._flights.here()
        good = None if self._force else self._usable(now)
        if good is None:
            with flight.lock:
                return self._refreshed(flight)
        if flight.under_way or not flight.lock.acquire(blocking=False):  # the lock lets a signal's handler in
            return good
        try:
            return self._refreshed(flight)
        finally:
            flight.lock.release()

    async def aget_token(self) -> EksToken:
        """As ``get_token``, without ever blocking the event loop: all that wait in a loop await one attempt."""
        now = self._clock()
        token = self._fresh(now)
        if token is not None:
            return token
        import asyncio  # noqa: PLC0415 - loaded already where there is a loop

        good = None if self._force else self._usable(now)
        try:
            waiting = self._coroutines.join(self.get_token)
        except CredentialsUnavailableError:  # no thread to be had
            if good is None:
                raise
            return good
        # the attempt goes on without a waiter that was cancelled: others await it, and its result is kept
        return good if good is not None else await asyncio.shield(waiting)

    def peek(self) -> EksToken | None:
        """The token at hand if it may still be sent; asks nobody."""
        return self._usable(self._clock())

    def invalidate(self, token: EksToken) -> None:
        """Say that a token was refused: the next one is signed anew, with new credentials if those are a minute old.

        Does nothing when another token has taken its place already. New credentials are asked for at most once a
        minute: an identity that is not mapped, and a thousand pods, must not become a storm at STS.
        """
        now = self._clock()
        with self._flights.here().swap:
            held = self._held
            if held is None or held.token.value != token.value:
                return
            last = max(held.fetched_at, self._forced_at or held.fetched_at)
            if not timedelta() <= now - last < _FORCE_INTERVAL:  # before it: the clock was set back
                self._force, self._forced_at = True, now
            with contextlib.suppress(CredentialsError):  # they have ended: get_token will say so
                self._held = self._signed(held.credentials, held.fetched_at, held.since, now)

    def __reduce__(self) -> tuple[Callable[..., TokenProvider], tuple[object, ...]]:
        if not callable(self._given) or not is_portable(self._given):
            raise TypeError(
                "this provider holds a session or keys, which must not get into a pickle: make it of a source that "
                "finds them where it runs, such as session_source()"
            )
        return _remade, (self._given, self.cluster_name, self.region, self._lifetime, self._clock)

    # --- inside

    def _fresh(self, now: datetime) -> EksToken | None:
        """The token where the credentials need no looking after."""
        held = self._held
        if held is None or self._force:
            return None
        if held.fresh_from <= now <= held.fresh_until:
            return held.token
        return (
            None if is_stale(self._end(held.credentials, held.fetched_at), held.fetched_at, now) else self._usable(now)
        )

    def _end(self, credentials: FrozenCredentials, fetched_at: datetime) -> datetime:
        """Of the credentials; where nobody knows it, look again at the pace of tokens."""
        return credentials.expiration or fetched_at + self._lifetime

    def _usable(self, now: datetime) -> EksToken | None:
        """A token of the credentials at hand, signed anew where only the token is old; None when they have ended."""
        held = self._held
        if held is None or not is_stale(held.token.expiration, held.signed_at, now):
            return None if held is None else held.token
        try:
            signed = self._signed(held.credentials, held.fetched_at, held.since, now)
        except CredentialsError:
            return None
        with self._flights.here().swap:
            if self._held is held:  # else a refresh came between, and has better credentials
                self._held = signed
        return signed.token

    def _refreshed(self, flight: _Flight) -> EksToken:
        """With the flight's lock: new credentials and their token; or the old one; or the error."""
        now = self._clock()
        token = self._fresh(now)  # somebody else was faster
        if token is not None:
            return token
        usable = self._usable(now)
        if flight.failed is not None and flight.failed.rests(now):
            if usable is not None:
                return usable
            raise again(flight.failed.error)
        outer, flight.under_way = flight.under_way, True
        try:
            held = self._held
            seen = None if held is None else held.credentials
            credentials = current(self._source, now, other_than=seen)
            fetched_at = self._clock()
            # the same again are as old as they were: what a margin is a share of must not shrink with each look
            since = held.since if held is not None and credentials == seen else fetched_at
            found = self._signed(credentials, fetched_at, since, fetched_at)
        except Exception as error:
            self._failed(flight, error)
            usable = self._usable(self._clock())
            if usable is None:
                raise
            _LOG.warning("no new credentials for cluster %s, the old are still good: %s", self.cluster_name, error)
            return usable
        finally:
            flight.under_way = outer
        flight.failures, flight.failed = 0, None
        with flight.swap:
            self._held, self._force = found, False
        return found.token

    def _failed(self, flight: _Flight, error: Exception) -> None:
        now = self._clock()
        usable = self._usable(now)
        pause = min(_BACK_OFF * 2**flight.failures, _LONGEST_OUTAGE_BACK_OFF if usable is None else _LONGEST_BACK_OFF)
        flight.failures = min(flight.failures + 1, 10)
        until = now + pause
        if usable is not None:
            # no pause outlasts what is good: when that ends, somebody has to ask
            until = min(until, usable.expiration)
            self._force = False  # what was refused once may be all there is
        flight.failed = _Failed(again(error), now, until)

    def _signed(self, credentials: FrozenCredentials, fetched_at: datetime, since: datetime, now: datetime) -> _Held:
        margin = share(credentials.expiration, since, _MARGIN, _MARGIN_SHARE)
        token = mint(
            credentials,
            cluster_name=self.cluster_name,
            region=self.region,
            now=now,
            lifetime=self._lifetime,
            margin=margin,
        )
        if token.expiration <= now:
            raise CredentialsError("the credentials have expired, or will before a token of theirs could arrive")
        return _Held(
            credentials,
            fetched_at,
            since,
            token,
            now,
            fresh_from=max(fetched_at, now) - _CLOCK_STEP,
            fresh_until=min(
                stale_after(self._end(credentials, fetched_at), fetched_at), stale_after(token.expiration, now)
            ),
        )


def _remade(
    source: CredentialSource, cluster_name: str, region: str, lifetime: timedelta, clock: Callable[[], datetime]
) -> TokenProvider:
    return TokenProvider(source, cluster_name=cluster_name, region=region, lifetime=lifetime, clock=clock)


def _as_source(source: Any) -> CredentialSource:  # noqa: ANN401 - sessions have no types
    if isinstance(source, KeptSource):
        return source
    if hasattr(source, "get_credentials"):
        return session_source(source)
    if hasattr(source, "access_key") and hasattr(source, "secret_key"):
        frozen = _frozen(source)
        return lambda: frozen
    if not callable(source):
        raise TypeError(
            f"a source is a function, a boto3 or botocore session, or credentials, not {type(source).__name__}"
        )
    return lambda: _frozen(source())


def _frozen(credentials: Any) -> FrozenCredentials:  # noqa: ANN401 - what a user's function returns
    if isinstance(credentials, FrozenCredentials):
        return credentials
    if hasattr(credentials, "refresh_needed"):
        raise TypeError(
            "these credentials refresh themselves, so key and session token can belong to two sessions: pass the "
            "session, or credentials.get_frozen_credentials()"
        )
    if not (hasattr(credentials, "access_key") and hasattr(credentials, "secret_key")):
        raise TypeError(f"a source returns FrozenCredentials, not {type(credentials).__name__}")
    expiration = getattr(credentials, "expiration", None)
    return FrozenCredentials(credentials.access_key, credentials.secret_key, credentials.token, expiration)


def get_token(  # noqa: PLR0913 - the one-liner: every flag of the command `token`
    *,
    cluster_name: str,
    region: str | None = None,
    role_arn: str | None = None,
    external_id: str | None = None,
    session_name: str | None = None,
    role_hops: Iterable[RoleHop] | None = None,
    profile: str | None = None,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
) -> EksToken:
    """One token, by a new chain of credentials at each call; keep a TokenProvider to call twice.

    ``role_arn`` (with ``external_id`` and ``session_name``) or ``role_hops``: the role or roles to assume. Without
    either the token is that of the session's own credentials. Raises ClusterError, UnknownRegionError,
    CredentialsUnavailableError, AssumeRoleError, StsUnavailableError, CredentialsError.
    """
    if session is not None and profile is not None:
        raise ValueError("a session has its profile already: give one of session and profile")
    hops = role_chain(role_arn, external_id, session_name, role_hops)
    used = botocore_session(session, profile=profile)
    found = find_region(region, used, os.environ)
    source = partial(freeze, used, profile=profile) if session is None else session_source(session)
    credentials = assume_roles(source, hops, region=caller_region(used, os.environ) or found, session=used)()
    return mint(credentials, cluster_name=cluster_name, region=found, now=utc_now())
