"""Where credentials come from: sources, and role hops over STS AssumeRole. Touches botocore, and STS for the hops.

A source is a function that returns frozen credentials; it builds a new session each time and throws it away, so that
botocore's own refreshing never runs. What one role hop gave is kept, so that all who use the
chain (the tokens of eight clusters, DescribeCluster) cost one session, and a hop that lives for 12 hours is not taken
again for the next one's sake. botocore is imported inside the functions: the room's types must cost nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from eks_cross_account import endpoints
from eks_cross_account._discretion import discreet
from eks_cross_account._flight import Flight
from eks_cross_account._printable import printable, printable_line, without_secrets
from eks_cross_account.errors import (
    AssumeRoleError,
    CredentialsError,
    CredentialsUnavailableError,
    StsUnavailableError,
    UnknownRegionError,
    without_frames,
)

CONNECT_TIMEOUT, READ_TIMEOUT = 3, 4  # seconds; botocore's own are 60 and 60 a try
TRIES = 3  # so an STS that hangs costs 15 s in all; botocore before 1.44 would try five times
_STALE, _STALE_SHARE = timedelta(minutes=5), 0.2  # left of a life: time to look for a successor
_RENEWED = timedelta(minutes=1)  # a session that was refused is replaced this often at most
_SESSION_WAIT = 60  # seconds; a session of the user's refreshes under a lock that is not ours
_CLOCK_STEP = timedelta(minutes=1)  # set back by more, and what was signed is in STS's future

_ROLE_ARN = re.compile(r"arn:([a-z-]{3,20}):iam::(\d{12}):role/([\x21-\x7e]{1,511}/)?[\w+=,.@-]{1,64}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)  # STS AssumeRole, RoleSessionName
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)  # STS AssumeRole, ExternalId
_DEFAULT_SESSION_NAME = "eks-cross-account"
_MINIMUM_DURATION, _MAXIMUM_DURATION = 900, 43_200  # seconds, STS AssumeRole, DurationSeconds
_MESSAGE_LENGTH = 1000  # of AWS's, whose end says which kind of policy is missing
_TRANSIENT = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure", "SlowDown"}
)


@dataclass(frozen=True, slots=True)
class FrozenCredentials:
    """One set of AWS credentials at one moment. ``expiration``: aware UTC, None for keys that do not expire."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expiration: datetime | None = None

    def __post_init__(self) -> None:
        if self.expiration is not None and self.expiration.tzinfo is None:
            raise ValueError("expiration has no time zone: give an aware datetime")

    def __repr__(self) -> str:
        until = "no expiration" if self.expiration is None else f"until {self.expiration:%Y-%m-%dT%H:%M:%SZ}"
        return f"FrozenCredentials(...{self.access_key[-4:]}, {until})"


CredentialSource = Callable[[], FrozenCredentials]


def utc_now() -> datetime:
    """The wall clock: a monotonic one stands still while a Lambda is frozen or a laptop sleeps."""
    return datetime.now(UTC)


def is_stale(expiration: datetime, since: datetime, now: datetime) -> bool:
    """Whether what ends then, and began at ``since``, wants a successor; or was begun by another clock."""
    return now < since - _CLOCK_STEP or now > stale_after(expiration, since)


def stale_after(expiration: datetime, since: datetime) -> datetime:
    """The last moment at which what ends then, and began at ``since``, needs no looking after."""
    return expiration - share(expiration, since, _STALE, _STALE_SHARE)


def share(expiration: datetime | None, since: datetime, most: timedelta, part: float) -> timedelta:
    """``most``, or that part of a short life: a session of 30 seconds has no 30 seconds to spare."""
    return most if expiration is None else min(most, max(expiration - since, timedelta()) * part)


class KeptSource:
    """A source whose credentials are kept until they are stale, for any number of users; those who wait share one try.

    Credentials without an expiration are not kept: they may be in a file that somebody else renews. Can be pickled
    where its source can; what it keeps is never in the pickle.
    """

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._begin()

    def _begin(self) -> None:
        self._kept: tuple[FrozenCredentials, datetime] | None = None
        self._flight: Flight[FrozenCredentials] = Flight()

    def __call__(self) -> FrozenCredentials:
        """As ``at``, now."""
        return self.at(utc_now())

    def at(self, now: datetime, *, other_than: FrozenCredentials | None = None) -> FrozenCredentials:
        """Credentials that are not stale at ``now``, and not those that the caller has seen fail or grow old."""
        return self._good(now, other_than) or self._flight.join(partial(self._renewed, now, other_than))

    def another(self, now: datetime, refused: FrozenCredentials) -> FrozenCredentials | None:
        """After a refusal: others than these, where they were kept for a while and may have been revoked since.

        None where they are new, or there are no others. At most once a minute: a refusal that is meant stays one.
        """
        kept = self._kept
        if kept is None or (kept[0] == refused and timedelta() <= now - kept[1] < _RENEWED):
            return None
        found = self.at(now, other_than=refused)
        return None if found == refused else found

    def _good(self, now: datetime, other_than: FrozenCredentials | None) -> FrozenCredentials | None:
        if self._kept is None:
            return None
        credentials, since = self._kept
        if credentials.expiration is None or credentials == other_than:
            return None
        return None if is_stale(credentials.expiration, since, now) else credentials

    def _renewed(self, now: datetime, other_than: FrozenCredentials | None) -> FrozenCredentials:
        good = self._good(now, other_than)  # somebody else was faster
        if good is None:
            good = self._fetch(now)
            self._kept = good, now
        return good

    def _fetch(self, now: datetime) -> FrozenCredentials:
        return current(self._source, now)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"_kept", "_flight"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()


def current(
    source: CredentialSource, now: datetime, *, other_than: FrozenCredentials | None = None
) -> FrozenCredentials:
    """What the source gives at ``now``; one that keeps credentials is told which of them will not do."""
    return source.at(now, other_than=other_than) if isinstance(source, KeptSource) else source()


@dataclass(frozen=True, slots=True)
class RoleHop:
    """One AssumeRole: the role, and what is said to STS about the session.

    ``duration``: a timedelta or seconds, 15 min to 12 h (STS allows 1 h for a role assumed from a role).
    ``tags``: a mapping or pairs. ``policy``: a session policy as JSON text. Raises CredentialsError for values that
    STS cannot take, before anything is sent.
    """

    role_arn: str
    session_name: str | None = None
    external_id: str | None = None
    duration: timedelta | int | None = None
    tags: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    transitive_tag_keys: Iterable[str] = ()
    policy: str | None = None
    source_identity: str | None = None

    def __post_init__(self) -> None:
        match = _ROLE_ARN.fullmatch(self.role_arn) if isinstance(self.role_arn, str) else None
        if match is None or match[1] not in endpoints.partition_names():
            raise CredentialsError(
                f"{printable(self.role_arn)} is not the ARN of an IAM role: expected "
                "arn:aws:iam::<12 digits>:role/<path and name>"
            )
        _check(self.session_name, _SESSION_NAME, "a session name", "2 to 64 letters, digits and +=,.@-_")
        _check(self.external_id, _EXTERNAL_ID, "an external id", "2 to 1224 letters, digits and +=,.@:/-_")
        _check(self.source_identity, _SESSION_NAME, "a source identity", "2 to 64 letters, digits and +=,.@-_")
        pairs = self.tags.items() if isinstance(self.tags, Mapping) else self.tags
        object.__setattr__(self, "tags", tuple((str(key), str(value)) for key, value in pairs))
        object.__setattr__(self, "transitive_tag_keys", tuple(self.transitive_tag_keys))
        object.__setattr__(self, "duration", _whole_duration(self.duration))

    def request(self) -> dict[str, Any]:
        """The parameters of AssumeRole, as botocore takes them (its types, hence Any)."""
        duration = self.duration
        parameters = {
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name or _DEFAULT_SESSION_NAME,
            "ExternalId": self.external_id,
            "DurationSeconds": int(duration.total_seconds()) if isinstance(duration, timedelta) else duration,
            "Tags": [{"Key": key, "Value": value} for key, value in tuple(self.tags)],
            "TransitiveTagKeys": list(self.transitive_tag_keys),
            "Policy": self.policy,
            "SourceIdentity": self.source_identity,
        }
        return {name: value for name, value in parameters.items() if value}


def role_chain(
    role_arn: str | None, external_id: str | None, session_name: str | None, role_hops: Iterable[RoleHop] | None
) -> tuple[RoleHop, ...]:
    """The hops that these arguments mean: one role with its ``external_id`` and ``session_name``, or hops, or none."""
    if role_arn is not None and role_hops is not None:
        raise ValueError("role_arn and role_hops are two ways to say the same: give one")
    if role_arn is None and (external_id is not None or session_name is not None):
        raise ValueError("external_id and session_name belong to a role_arn, which is missing")
    if role_arn is None:
        return tuple(role_hops or ())
    return (RoleHop(role_arn, session_name=session_name, external_id=external_id),)


def assume_roles(
    source: CredentialSource,
    hops: Iterable[RoleHop],
    *,
    region: str,
    session: Any = None,  # noqa: ANN401 - a boto3 or botocore session, neither of which has types
) -> CredentialSource:
    """A source that assumes the roles one after the other, starting with ``source``'s credentials. Does no I/O yet.

    Each session is kept until less than 5 minutes or a fifth of it are left: give one source to all that go this way.

    AssumeRole goes to the STS of ``region`` (the caller's: a private network has one VPC endpoint) under the endpoint,
    proxy, CA and retry settings of ``session`` or, without one, of the environment and the AWS configuration file.
    Its expiration is the earliest of the chain's. The source raises AssumeRoleError, StsUnavailableError and what
    ``source`` raises.
    """
    chain = tuple(hops)
    endpoints.partition_of(region)
    for number, hop in enumerate(chain, start=1):
        source = _AssumedRole(
            source, hop, place=f"hop {number} of {len(chain)}", number=number, region=region, session=session
        )
    return source


def session_source(session: Any = None, *, profile: str | None = None) -> CredentialSource:  # noqa: ANN401 - as above
    """A source that reads the credentials of a session, or of a new one by AWS's default chain (and ``profile``).

    Raises CredentialsUnavailableError when there are none, or when the session does not give them within a minute.
    """
    return _SessionSource(session, profile)


@dataclass(frozen=True, slots=True)
class _SessionSource:
    """A class and not a closure: a provider whose source needs no session of the user's can be pickled."""

    session: Any
    profile: str | None

    def __call__(self) -> FrozenCredentials:
        ask = partial(freeze, _botocore_session(self.session, self.profile), profile=self.profile)
        return ask() if self.session is None else _in_time(ask)


def _in_time(ask: Callable[[], FrozenCredentials]) -> FrozenCredentials:
    """The credentials of a user's session, whose own refresh takes a lock that a fork may have left closed."""
    answer: SimpleQueue[FrozenCredentials | Exception] = SimpleQueue()

    def look() -> None:
        try:
            answer.put(ask())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            answer.put(error)

    # a daemon: should it wait for that lock for ever, the interpreter must still be able to end
    asking = threading.Thread(target=look, name="eks-session", daemon=True)
    try:
        asking.start()
    except RuntimeError as error:  # no more threads for this user or container; or the interpreter is ending
        raise CredentialsUnavailableError(f"no thread to ask the session in: {error}") from None
    try:
        found = answer.get(timeout=_SESSION_WAIT)
    except Empty:
        raise CredentialsUnavailableError(
            f"the session's own credentials did not come within {_SESSION_WAIT} s: it is refreshing them, or was "
            "forked while it did"
        ) from None
    if isinstance(found, Exception):
        raise found
    return found


class _AssumedRole(KeptSource):
    """One hop: the session of a role that the source before it may assume."""

    def __init__(  # noqa: PLR0913 - as assume_role has them
        self,
        source: CredentialSource,
        hop: RoleHop,
        *,
        place: str,
        number: int,
        region: str,
        session: Any,  # noqa: ANN401 - a boto3 or botocore session
    ) -> None:
        super().__init__(source)
        self.session = session
        self._assume = partial(assume_role, hop=hop, place=place, number=number, region=region, session=session)

    def _fetch(self, now: datetime) -> FrozenCredentials:
        before = current(self._source, now)
        try:
            return self._assume(before)
        except AssumeRoleError as error:
            if error.retryable:
                raise
            # a session that was kept may have been revoked since: then another one of the same role will do
            another = self._source.another(now, before) if isinstance(self._source, KeptSource) else None
            if another is None:
                raise
        return self._assume(another)


def is_portable(source: Any) -> bool:  # noqa: ANN401 - any function may be a source
    """Whether a source can go into a pickle without taking a session, and so keys, with it."""
    if isinstance(source, KeptSource):
        return getattr(source, "session", None) is None and is_portable(source._source)  # noqa: SLF001 - own class
    return not isinstance(source, _SessionSource) or source.session is None


def freeze(session: Any, *, profile: str | None = None) -> FrozenCredentials:  # noqa: ANN401 - as above
    """The session's credentials at this moment, with their expiration where botocore knows one."""
    from getpass import GetPassWarning  # noqa: PLC0415 - as botocore

    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy, only where AWS is asked

    def ask() -> dict[str, Any]:
        credentials = session.get_credentials()
        return {"all": credentials, "now": None if credentials is None else credentials.get_frozen_credentials()}

    try:
        found = asked(ask)
    except (BotoCoreError, OSError) as error:  # OSError: of a web identity's file, a credential_process' program
        raise CredentialsUnavailableError(f"no AWS credentials: {_said(error)}") from without_frames(error)
    except (EOFError, GetPassWarning) as error:  # botocore's prompt; the warning where warnings are errors
        raise CredentialsUnavailableError(
            "no AWS credentials: the profile's role wants an MFA code, and there is no terminal to type it on"
        ) from without_frames(error)
    except (
        ClientError,
        ValueError,
        RuntimeError,
    ) as error:  # a profile's role was refused; an expiration is bad or past
        raise CredentialsError(f"the AWS credentials cannot be used: {_said(error)}") from without_frames(error)
    credentials, frozen = found["all"], found["now"]
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        where = f"profile {printable(profile)}" if profile else "environment, AWS profile, container or instance role"
        raise CredentialsUnavailableError(f"no AWS credentials were found ({where})")
    for name in ("access_key", "secret_key", "token"):  # an Airflow connection's may be anything that JSON has
        value = getattr(frozen, name)
        if not isinstance(value, str | None):
            raise CredentialsError(f"the AWS credentials cannot be used: {name} is no text, but {type(value).__name__}")
    # _expiry_time is private, and the only place where botocore keeps it: absent means "do not know"
    expiration = getattr(credentials, "_expiry_time", None)
    return FrozenCredentials(frozen.access_key, frozen.secret_key, frozen.token, expiration)


def region_of_session(session: Any) -> str | None:  # noqa: ANN401 - as above
    """The region that the session is configured for (argument, AWS_DEFAULT_REGION, profile), if any."""
    region = session.get_config_variable("region") if hasattr(session, "get_config_variable") else session.region_name
    return region or None


def botocore_session(session: Any = None, *, profile: str | None = None) -> Any:  # noqa: ANN401 - as above
    """The botocore session inside a boto3 one, the session itself, or a new one. Raises CredentialsUnavailableError."""
    return _botocore_session(session, profile)


def brief_config(session: Any, given: Any = None) -> Any:  # noqa: ANN401 - a session, and botocore's Config
    """Short timeouts and few tries, under what ``given`` says, the environment and the configuration file."""
    from botocore.config import Config  # noqa: PLC0415 - heavy, only where AWS is asked

    brief = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
    if given is not None:
        brief = brief.merge(given)
    retries = getattr(given, "retries", None) or {}  # may say a mode alone, and that of `legacy` is five
    if session.get_config_variable("max_attempts") is None and not {"max_attempts", "total_max_attempts"} & {*retries}:
        brief = brief.merge(Config(retries={**retries, "total_max_attempts": TRIES}))
    return brief


def client(
    session: Any,  # noqa: ANN401 - as above
    service: str,
    region: str,
    credentials: FrozenCredentials,
    *,
    timeout: float | None = None,
) -> Any:  # noqa: ANN401 - botocore's
    """A client of ``service`` with exactly these credentials and the session's other settings; short timeouts.

    ``timeout``: about so many seconds in all, over what the session says; two tries share them.
    For STS always a regional endpoint: old botocore would take the global one, whose session
    tokens opt-in regions refuse. Raises CredentialsUnavailableError for a configuration that botocore refuses.
    """
    from botocore.config import Config  # noqa: PLC0415 - heavy, only where AWS is asked
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    keys = {
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
        "aws_session_token": credentials.token,
    }
    try:
        config = brief_config(session, session.get_default_client_config())
        if timeout is not None:
            connect, read = min(CONNECT_TIMEOUT, timeout * 0.15), min(READ_TIMEOUT, timeout * 0.35)
            config = config.merge(Config(connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": 2}))
        made = session.create_client(service, region_name=region, config=config, **keys)
    except (BotoCoreError, ValueError) as error:  # nobody was asked yet
        raise CredentialsUnavailableError(
            f"AWS configuration: no client for {service.upper()}: {_said(error)}"
        ) from without_frames(error)
    if service == "sts" and made.meta.endpoint_url == f"https://{endpoints.GLOBAL_STS_HOST}":
        url = f"https://{endpoints.sts_host(region)}"
        made = session.create_client(service, region_name=region, config=config, endpoint_url=url, **keys)
    return made


def assume_role(  # noqa: PLR0913 - one hop, where it stands and how to ask
    credentials: FrozenCredentials,
    hop: RoleHop,
    *,
    place: str,
    number: int,
    region: str,
    session: Any,  # noqa: ANN401 - as above
    timeout: float | None = None,
) -> FrozenCredentials:
    """One hop, at once. ``place``: such as "hop 1 of 2"; ``timeout``: as ``client`` has it.

    Raises AssumeRoleError and StsUnavailableError.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy, only where AWS is asked

    try:
        sts = client(_botocore_session(session, None), "sts", region, credentials, timeout=timeout)
        return _granted(asked(sts.assume_role, **hop.request()), credentials)
    except ClientError as error:
        if not error.response.get("Error", {}).get("Code"):  # a page: every refusal of STS has a code
            raise StsUnavailableError(
                f"AssumeRole of {hop.role_arn} ({place}) got no answer from STS in {region}: what answered is not STS"
            ) from without_frames(error)
        raise refused(error, hop, place, number) from without_frames(error)
    except (BotoCoreError, ValueError, RuntimeError) as error:
        raise StsUnavailableError(
            f"AssumeRole of {hop.role_arn} ({place}) got no answer from STS in {region}: {printable_line(str(error))}"
        ) from without_frames(error)


def _granted(answer: Mapping[str, Any], before: FrozenCredentials) -> FrozenCredentials:
    """The credentials in an answer of AssumeRole. Raises UnreadableAnswerError where they are not there."""
    granted = answer.get("Credentials") or {}
    key, secret, token = (granted.get(name) or "" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    expiration = granted.get("Expiration")
    if not (key and secret and token) or not isinstance(expiration, datetime) or expiration.tzinfo is None:
        raise UnreadableAnswerError("an answer without credentials: something that is not STS answered")
    return FrozenCredentials(key, secret, token, _earliest(expiration, before.expiration))


class UnreadableAnswerError(ValueError):
    """What answered is not AWS. The text is ours: botocore's own holds the whole answer, keys and all."""


def asked(call: Callable[..., Any], **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - the operation's
    """What AWS answers to a call of botocore's, without a word of it in a log. Raises what botocore raises.

    But UnreadableAnswerError for an answer that botocore's parsers stumble over: they raise whatever they meet.
    """
    from json import JSONDecodeError  # noqa: PLC0415 - only where AWS is asked

    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - heavy, only where AWS is asked

    stumbled = (
        ResponseParserError,
        JSONDecodeError,
        UnicodeError,
        RecursionError,
        LookupError,
        TypeError,
        AttributeError,
    )
    try:
        with discreet():
            answer: dict[str, Any] = call(**parameters)
        return answer
    except stumbled as error:
        kind = type(error).__name__
    # not inside the handler: there it would keep the error, whose text and frames hold the answer
    raise UnreadableAnswerError(f"something that is not AWS answered, or broke off ({kind})")


def refused(error: Any, hop: RoleHop, place: str, number: int) -> AssumeRoleError:  # noqa: ANN401 - botocore's ClientError
    """The error for STS's refusal of a hop; ``place`` says where it stands, as in "hop 1 of 2"."""
    code = printable_line(str(error.response.get("Error", {}).get("Code", "")))
    message = printable_line(str(error.response.get("Error", {}).get("Message", "")))[:_MESSAGE_LENGTH]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    retryable = code in _TRANSIENT or status >= 500  # noqa: PLR2004 - HTTP
    text = f"AssumeRole of {hop.role_arn} ({place}) was refused: {code}: {message}"
    if code == "AccessDenied":
        text += f" (external id sent: {'yes' if hop.external_id else 'no'})"
    return AssumeRoleError(text, role_arn=hop.role_arn, code=code, aws_message=message, hop=number, retryable=retryable)


def _botocore_session(session: Any, profile: str | None) -> Any:  # noqa: ANN401 - as above
    if session is not None:
        return getattr(session, "_session", session)  # boto3 keeps botocore's there; it has no public name
    import botocore.session  # noqa: PLC0415 - heavy, only where AWS is asked
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    from eks_cross_account._botocore_data import read_less  # noqa: PLC0415 - it imports botocore

    made = botocore.session.Session(profile=profile)
    try:
        made.get_scoped_config()
    except BotoCoreError as error:  # no such profile, or a file that cannot be read
        raise CredentialsUnavailableError(f"AWS configuration: {_said(error)}") from without_frames(error)
    read_less(made)
    return made


def _said(error: BaseException) -> str:
    """What botocore says, which quotes a profile's name, and what a credential_process printed."""
    return printable_line(without_secrets(str(error)))[:_MESSAGE_LENGTH]


def find_region(region: str | None, session: Any, environ: Mapping[str, str]) -> str:  # noqa: ANN401 - as above
    """The region to sign for: argument, AWS_REGION, the session's own. Raises UnknownRegionError, never guesses."""
    found = region or caller_region(session, environ)
    if not found:
        raise UnknownRegionError(
            "no region: pass region= (--region), set AWS_REGION or AWS_DEFAULT_REGION, or give the AWS profile one"
        )
    endpoints.partition_of(found)
    return found


def caller_region(session: Any, environ: Mapping[str, str]) -> str | None:  # noqa: ANN401 - as above
    """The region that the caller itself is configured for; AssumeRole goes there, not to the cluster's region."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or region_of_session(session)


def _earliest(first: datetime, second: datetime | None) -> datetime:
    return first if second is None else min(first, second)


def _whole_duration(duration: timedelta | int | None) -> timedelta | None:
    if duration is None:
        return None
    whole = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    if not _MINIMUM_DURATION <= whole.total_seconds() <= _MAXIMUM_DURATION:
        raise CredentialsError(f"a role session lasts 15 min to 12 h, not {whole}")
    return whole


def _check(value: str | None, grammar: re.Pattern[str], what: str, expected: str) -> None:
    if value is not None and not grammar.fullmatch(value):
        raise CredentialsError(f"{printable(value)} cannot be {what}: expected {expected}")
