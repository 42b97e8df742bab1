"""From an Airflow connection to credentials, a token and a cluster. Touches Airflow's connections, STS and EKS.

Two steps, because the first may talk to Airflow's supervisor and so belongs to one certain thread, and the second may
wait for AWS: ``look_up`` asks Airflow and gives a finished wrapper; ``Access`` is made of that and asks AWS alone. The
whole vocabulary of the connection (keys, profile, roles, web identity, SAML, session factory) is the provider's code.

A connection that is not defined is an error, except ``aws_default``, which then means AWS's default chain; one that is
defined and fails is never replaced by anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async

from eks_cross_account import endpoints
from eks_cross_account._botocore_data import read_less
from eks_cross_account._discretion import discreet
from eks_cross_account._flight import Flight, LoopFlight, OfProcess, renew_locks_after_fork
from eks_cross_account._printable import printable, printable_line, without_secrets
from eks_cross_account.airflow._seams import AirflowNotFoundException, AwsConnectionWrapper, BaseHook, base_aws
from eks_cross_account.cluster import Cluster, describe_cluster
from eks_cross_account.credentials import (
    FrozenCredentials,
    KeptSource,
    RoleHop,
    assume_roles,
    botocore_session,
    brief_config,
    find_region,
    freeze,
    refused,
    utc_now,
)
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsError,
    CredentialsUnavailableError,
    EksTokenError,
    StsUnavailableError,
    without_frames,
)
from eks_cross_account.provider import TokenProvider, mint
from eks_cross_account.sts import verify_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from eks_cross_account.airflow._target import Target

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

renew_locks_after_fork(base_aws.SessionFactory, AwsConnectionWrapper)  # a task is a fork of its worker

DEFAULT_CONNECTION = "aws_default"
_CLUSTER_LIFE = timedelta(minutes=15)
_SESSION_NAME_LENGTH = 64  # STS AssumeRole, RoleSessionName
_HOP_FIELDS = {
    "RoleSessionName": "session_name",
    "ExternalId": "external_id",
    "DurationSeconds": "duration",
    "TransitiveTagKeys": "transitive_tag_keys",
    "Policy": "policy",
    "SourceIdentity": "source_identity",
}


class ConnectionMissingError(CredentialsError):
    """Airflow knows no connection of this id (``conn_id``)."""

    def __init__(self, message: str, *, conn_id: str) -> None:
        super().__init__(message)
        self.conn_id = conn_id


@dataclass(frozen=True, slots=True)
class Connected:
    """What Airflow said about the connection, and what follows from it without asking AWS.

    ``region``: the cluster's; ``sts_region``: where AssumeRole goes, the caller's own. ``hops``: those of the task,
    with session names, after the connection's own role. ``digest``: of all that the connection and the environment say.
    """

    target: Target
    wrapper: Any  # AwsConnectionWrapper, which has no types before 2.9
    digest: str
    region: str
    region_from: str
    sts_region: str
    hops: tuple[RoleHop, ...]
    undefined: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """Two tasks with equal keys may share credentials and tokens; anything that could differ is in it."""
        return (self.target, self.region, self.source_key)

    @property
    def source_key(self) -> tuple[object, ...]:
        """The part of the key that says whose credentials they are; the cluster is not in it."""
        return (self.target.aws_conn_id, self.digest, self.sts_region, endpoints.partition_of(self.region), self.hops)

    @property
    def label(self) -> str:
        """The connection, for messages."""
        if self.target.aws_conn_id is None:
            return "no connection (aws_conn_id=None: AWS's default chain)"
        if self.undefined:
            return f"connection {self.target.aws_conn_id} (not defined: AWS's default chain)"
        return f"connection {self.target.aws_conn_id}"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles on the way, the connection's own first."""
        own = (self.wrapper.role_arn,) if self.wrapper.role_arn else ()
        return (*own, *(hop.role_arn for hop in self.hops))


def look_up(target: Target, *, get_connection: Callable[[str], Any] | None = None) -> Connected:
    """Ask Airflow for the connection. Raises ConnectionMissingError, UnknownRegionError, CredentialsError.

    ``get_connection``: whom to ask; a task asks BaseHook.
    """
    connection = _connection(target.aws_conn_id, get_connection or BaseHook.get_connection)
    try:
        return _connected(target, connection)
    except EksTokenError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the provider stumbles at in an extra of other types
        raise _unusable(f"connection {target.aws_conn_id}", error) from without_frames(error)


def _connected(target: Target, connection: Any) -> Connected:  # noqa: ANN401 - Airflow's, or None
    wrapper = AwsConnectionWrapper(conn=connection)
    if not isinstance(wrapper.assume_role_kwargs, dict):
        raise CredentialsError(f"connection {target.aws_conn_id} cannot be used: assume_role_kwargs is no JSON object")
    _take_legacy_external_id(wrapper)
    region, region_from = _region(target, wrapper)
    sts_region = _sts_region(region, wrapper)
    return Connected(
        target=target,
        wrapper=wrapper,
        digest=_digest(connection),
        region=region,
        region_from=region_from,
        sts_region=sts_region,
        hops=_own_hops(target, wrapper),
        undefined=connection is None and target.aws_conn_id is not None,
    )


async def alook_up(target: Target) -> Connected:
    """As ``look_up``, from a triggerer's loop: in the one thread in which Airflow 3.0 can be asked."""
    found: Connected = await sync_to_async(look_up)(target)
    return found


def _connection(conn_id: str | None, get_connection: Callable[[str], Any]) -> Any:  # noqa: ANN401 - of either Airflow
    if not conn_id:
        return None
    try:
        return get_connection(conn_id)
    except AirflowNotFoundException:
        if conn_id == DEFAULT_CONNECTION:
            return None
        raise ConnectionMissingError(
            f"Airflow connection {printable(conn_id)} was not found here. Nothing was signed: going on with this "
            "machine's own credentials would be another identity. aws_conn_id=None means that on purpose",
            conn_id=conn_id,
        ) from None


def _take_legacy_external_id(wrapper: Any) -> None:  # noqa: ANN401 - AwsConnectionWrapper
    """A top-level external_id in the extra: amazon 8 took it, 9 ignores it without a word."""
    external_id = wrapper.extra_config.get("external_id")
    if not external_id or not wrapper.role_arn or "ExternalId" in wrapper.assume_role_kwargs:
        return
    _say_once(
        logging.WARNING,
        'connection %s has "external_id" at the top of its extra, which the Amazon provider ignores from 9.0 on; it is '
        'sent, but belongs into "assume_role_kwargs": {"ExternalId": ...}',
        str(wrapper.conn_id),
    )
    wrapper.assume_role_kwargs = {**wrapper.assume_role_kwargs, "ExternalId": external_id}


def _region(target: Target, wrapper: Any) -> tuple[str, str]:  # noqa: ANN401 - as above
    """Argument, connection, environment, profile: the first that says one. Raises UnknownRegionError."""
    if target.region:
        return find_region(target.region, None, {}), "argument"
    if wrapper.region_name:
        return find_region(wrapper.region_name, None, {}), f"connection {wrapper.conn_id}"
    session = botocore_session(profile=wrapper.profile_name)
    return find_region(None, session, os.environ), "environment"


def _sts_region(region: str, wrapper: Any) -> str:  # noqa: ANN401 - as above
    """Where AssumeRole goes: a private network has a VPC endpoint in the caller's own region, if anywhere."""
    own = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    for candidate in (own, wrapper.region_name):
        if candidate and _same_partition(candidate, region):
            return str(candidate)
    return region


def _same_partition(candidate: str, region: str) -> bool:
    try:
        return endpoints.partition_of(candidate) == endpoints.partition_of(region)
    except EksTokenError:
        return False


def _own_hops(target: Target, wrapper: Any) -> tuple[RoleHop, ...]:  # noqa: ANN401 - as above
    """The task's hops: named as Airflow names its sessions, and without the one into the role that one already is."""
    hops = target.hops
    if hops and hops[0].role_arn == wrapper.role_arn:
        _say_once(
            logging.INFO,
            "role_arn %s is the role of connection %s already: it is assumed once, not twice",
            hops[0].role_arn,
            str(target.aws_conn_id),
        )
        hops = hops[1:]
    name = _session_name(target.aws_conn_id)
    return tuple(hop if hop.session_name else replace(hop, session_name=name) for hop in hops)


def _session_name(conn_id: str | None) -> str:
    """As the provider names the sessions of a connection (in lower case): the cluster's owner searches for it."""
    return re.sub(r"[^\w+=,.@-]+", "-", f"airflow_{conn_id or 'default-chain'}".lower(), flags=re.ASCII)[
        :_SESSION_NAME_LENGTH
    ]


def _digest(connection: Any) -> str:  # noqa: ANN401 - as above
    """Of everything in the connection and what AWS's default chain reads beside it; never shown.

    So a changed secret is another key, and other keys or another profile in the environment are.
    """
    names = ("conn_id", "conn_type", "login", "password", "schema", "host", "port")
    content = None if connection is None else {name: getattr(connection, name, None) for name in names}
    extra = None if connection is None else connection.extra_dejson
    environ = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    text = json.dumps([content, extra, environ], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


_SAID: set[tuple[str, ...]] = set()


def _say_once(level: int, message: str, *arguments: str) -> None:
    """Once per process: a DAG with a thousand tasks says it a thousand times otherwise."""
    if (message, *arguments) not in _SAID:
        _SAID.add((message, *arguments))
        _LOG.log(level, message, *arguments)


# --- AWS


class ConnectionSource:
    """A source: the connection's credentials by a new session, frozen, the session thrown away."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected

    def __call__(self) -> FrozenCredentials:
        connected = self._connected
        try:
            with discreet():
                credentials = _frozen(_factory(connected).create_session(), connected)
        except EksTokenError:
            raise
        except Exception as error:  # noqa: BLE001 - the provider's and its plug-ins': any
            raise _translated(error, connected) from without_frames(error)
        _name_default_chain(connected, credentials)
        return credentials


def _factory(connected: Connected) -> Any:  # noqa: ANN401 - the session factory, perhaps of the user's
    """The provider's (or the user's) session factory, with a wrapper of its own to change."""
    wrapper = copy(connected.wrapper)
    wrapper.__dict__.pop("conn_repr", None)
    wrapper.region_name = connected.sts_region
    factory = base_aws.SessionFactory(conn=wrapper, region_name=connected.sts_region, config=_config(wrapper))
    if wrapper.role_arn:
        basic = botocore_session(factory.basic_session)
        if type(factory) is base_aws.BaseSessionFactory:  # another may hand out a session of the user's
            read_less(basic)
        # old botocore takes the global STS endpoint, which no VPC endpoint serves and opt-in regions do not know
        basic.set_config_variable("sts_regional_endpoints", "regional")
    return factory


def _config(wrapper: Any) -> Any:  # noqa: ANN401 - botocore's Config
    """Short timeouts and few tries, under whatever the connection's config_kwargs say."""
    return brief_config(botocore_session(profile=wrapper.profile_name), wrapper.botocore_config)


def _frozen(session: Any, connected: Connected) -> FrozenCredentials:  # noqa: ANN401 - boto3's
    credentials = session.get_credentials()
    # a session of 15 minutes is "to be refreshed" for botocore from its first second: it would assume the role twice
    for name in ("_advisory_refresh_timeout", "_mandatory_refresh_timeout"):
        if hasattr(credentials, name):
            setattr(credentials, name, 0)
    try:
        return freeze(session, profile=connected.wrapper.profile_name)
    except CredentialsError as error:
        cause = error.__cause__
        if isinstance(cause, Exception) and hasattr(cause, "response"):
            raise _translated(cause, connected) from cause
        raise


def _translated(error: Exception, connected: Connected) -> EksTokenError:
    """What the provider's session code raised, as an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415 - as above
    from botocore.exceptions import ConnectionError as NoConnectionError  # noqa: PLC0415 - as above
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - as above

    if isinstance(error, ResponseParserError):
        error.args = ()  # its text is the whole answer, with the keys in it
        return StsUnavailableError(f"{connected.label}: something that is not AWS answered, or broke off")
    wrapper = connected.wrapper
    place = f"hop 1 of {len(connected.roles)}, {connected.label}"
    if isinstance(error, ClientError):
        hop = _named_role(wrapper)
        if hop is not None:
            return refused(error, hop, place, 1)
        return CredentialsError(f"{connected.label}: AWS refused: {error}")
    if isinstance(error, HTTPClientError | NoConnectionError):
        return StsUnavailableError(f"{connected.label}: no answer from AWS: {error}")
    if isinstance(error, BotoCoreError):  # no credentials to begin with, no such profile, a container without a role
        return CredentialsUnavailableError(f"{connected.label}: {error}")
    return _unusable(connected.label, error)


def _unusable(label: str, error: Exception) -> CredentialsError:
    said = printable_line(without_secrets(str(error)))
    return CredentialsError(f"{label} cannot be used: {type(error).__name__}: {said}")


def _named_role(wrapper: Any) -> RoleHop | None:  # noqa: ANN401 - as above
    """The connection's role as a hop, for messages: only what they need."""
    if not wrapper.role_arn:
        return None
    external_id = wrapper.assume_role_kwargs.get("ExternalId")
    try:
        return RoleHop(wrapper.role_arn, external_id=external_id)
    except CredentialsError:
        return None


def connection_hop(wrapper: Any) -> RoleHop | None:  # noqa: ANN401 - as above
    """The connection's own AssumeRole as a hop, None where it has none or one that a hop cannot say (web identity)."""
    options = wrapper.assume_role_kwargs if wrapper.role_arn else {}
    if not wrapper.role_arn or wrapper.assume_role_method != "assume_role":
        return None
    if set(options) - {*_HOP_FIELDS, "Tags"}:
        return None
    values = {field: options[name] for name, field in _HOP_FIELDS.items() if name in options}
    values.setdefault("session_name", _session_name(wrapper.conn_id))
    try:
        tags = {str(tag["Key"]): str(tag["Value"]) for tag in options.get("Tags", ())}
        return RoleHop(wrapper.role_arn, tags=tags, **values)
    except (KeyError, TypeError):  # values of other types, which botocore will name
        return None


def _name_default_chain(connected: Connected, credentials: FrozenCredentials) -> None:
    """aws_default that nobody defined: say once whom it became."""
    if not connected.undefined or ("default-chain", connected.sts_region) in _SAID:
        return
    _SAID.add(("default-chain", connected.sts_region))
    name = connected.target.cluster_name
    arn = "an identity that STS did not name"
    with contextlib.suppress(EksTokenError), discreet():
        token = mint(credentials, cluster_name=name, region=connected.sts_region, now=utc_now())
        arn = verify_token(
            token.value, cluster_name=name, region=connected.sts_region, session=ConnectionSession(connected)
        ).arn
    _LOG.info("connection aws_default is not defined, so AWS's default chain is used: %s", arn)


class ConnectionSession:
    """A session as ``credentials.client`` uses one: the connection's profile, config, endpoints and verify.

    ``credentials``: those of the connection before its role; only the diagnosis asks for them.
    """

    def __init__(self, connected: Connected, credentials: Callable[[], Any] | None = None) -> None:
        self._wrapper = connected.wrapper
        self._region = connected.sts_region
        self._credentials = credentials

    def get_credentials(self) -> Any:  # noqa: ANN401 - botocore's
        """Of the connection before its role."""
        return self._credentials() if self._credentials else None

    def get_default_client_config(self) -> Any:  # noqa: ANN401 - botocore's Config
        """The connection's config_kwargs; None where it has none, as a new botocore session says."""
        return self._wrapper.botocore_config

    def get_config_variable(self, name: str) -> Any:  # noqa: ANN401 - botocore's
        """Of the connection's profile, or the default one; ``region`` is the caller's."""
        if name == "region":
            return self._region
        if name == "ca_bundle" and isinstance(self._wrapper.verify, str):
            return self._wrapper.verify
        return self._base().get_config_variable(name)

    def create_client(self, service: str, **options: Any) -> Any:  # noqa: ANN401 - botocore's
        """A client with the connection's endpoint (for STS never the global endpoint_url) and verify."""
        try:
            options.setdefault("endpoint_url", _endpoint_url(self._wrapper, service))
            return self._base().create_client(service, verify=self._wrapper.verify, **options)
        except (AttributeError, TypeError) as error:  # a value of another type than the provider or botocore takes
            raise _unusable(f"connection {self._wrapper.conn_id}", error) from without_frames(error)

    def _base(self) -> Any:  # noqa: ANN401 - a botocore session
        return botocore_session(profile=self._wrapper.profile_name)


def _endpoint_url(wrapper: Any, service: str) -> str | None:  # noqa: ANN401 - as above
    """As the provider has it: for AssumeRole only what service_config says of STS, never the global endpoint_url."""
    if not hasattr(wrapper, "get_service_endpoint_url"):  # amazon before 8.8
        return None if service == "sts" else wrapper.endpoint_url
    if service == "sts":
        return wrapper.get_service_endpoint_url(service, sts_connection_assume=True)  # type: ignore[no-any-return]
    return wrapper.get_service_endpoint_url(service)  # type: ignore[no-any-return]


class Access:
    """The way into one cluster: its token provider and its description, shared by all tasks of a process with one key.

    Holds no client and no socket. Makes nothing and asks nobody until it is asked.
    """

    def __init__(self, connected: Connected) -> None:
        self.connected: Connected = connected
        self._session = ConnectionSession(connected)
        self._source = _source_of(connected)
        self.provider: TokenProvider = TokenProvider(
            self._source, cluster_name=connected.target.cluster_name, region=connected.region
        )
        self._described: tuple[Cluster, datetime] | None = None
        self._flight: Flight[Cluster] = Flight()
        self._coroutines: LoopFlight[Cluster] = LoopFlight()

    def __repr__(self) -> str:
        return f"Access({self.connected.target.cluster_name!r}, {self.connected.label})"

    @property
    def session(self) -> ConnectionSession:
        """For calls to AWS under the connection's settings."""
        return self._session

    def cluster(self) -> Cluster:
        """The cluster: as given, or described at most every 15 minutes. Raises ClusterError, and as the source."""
        return self.known_cluster() or self._flight.join(self._describe)

    def _describe(self) -> Cluster:
        known = self.known_cluster()  # somebody was faster
        if known is not None:
            return known
        now = utc_now()
        credentials = self._source.at(now)
        try:
            found = self._described_by(credentials)
        except ClusterError as error:
            # a session that was kept may have been revoked since: tokens of it are still good, AWS calls are not
            another = self._source.another(now, credentials) if error.code and not error.retryable else None
            if another is None:
                raise
            found = self._described_by(another)
        self._described = (found, utc_now())
        return found

    def _described_by(self, credentials: FrozenCredentials) -> Cluster:
        name, region = self.connected.target.cluster_name, self.connected.region
        with discreet():
            return describe_cluster(lambda: credentials, name, region=region, session=self._session)

    async def acluster(self) -> Cluster:
        """As ``cluster``, in our own threads; all that wait in a loop await one call."""
        import asyncio  # noqa: PLC0415 - loaded already where there is a loop

        known = self.known_cluster()
        return known if known is not None else await asyncio.shield(self._coroutines.join(self.cluster))

    def forget_cluster(self) -> None:
        """After a TLS failure: endpoint and CA may be those of a cluster that is no more."""
        self._described = None

    def known_cluster(self) -> Cluster | None:
        """The cluster, where nobody needs to be asked."""
        given = self.connected.target.cluster
        if given is not None:
            return given
        described = self._described
        if described is None or utc_now() - described[1] >= _CLUSTER_LIFE or not described[0].endpoint:
            return None
        return described[0]


_ACCESSES: WeakValueDictionary[tuple[object, ...], Access] = WeakValueDictionary()
_SOURCES: WeakValueDictionary[tuple[object, ...], KeptSource] = WeakValueDictionary()
_REGISTRY = OfProcess(threading.RLock)


def access_of(connected: Connected) -> Access:
    """The shared one; it lives as long as a hook or a trigger holds it."""
    return _shared(_ACCESSES, connected.key, lambda: Access(connected))


def _shared(registry: WeakValueDictionary[tuple[object, ...], T], key: tuple[object, ...], make: Callable[[], T]) -> T:
    """What the registry has under the key; made where nobody holds one any more."""
    with _REGISTRY.here():
        found = registry.get(key)
        if found is None:
            found = registry[key] = make()
        return found


def _source_of(connected: Connected) -> KeptSource:
    """The credentials of a connection and its hops: one for all clusters that are reached this way."""

    def make() -> KeptSource:
        session = ConnectionSession(connected)
        base = KeptSource(ConnectionSource(connected))
        chain = assume_roles(base, connected.hops, region=connected.sts_region, session=session)
        return chain if isinstance(chain, KeptSource) else base

    return _shared(_SOURCES, connected.source_key, make)


def base_session(connected: Connected) -> Any:  # noqa: ANN401 - boto3's
    """The connection's session before its role, for the diagnosis. Raises EksTokenError."""
    try:
        with discreet():
            return _factory(connected).basic_session
    except Exception as error:  # noqa: BLE001 - the provider's and its plug-ins': any
        raise _translated(error, connected) from without_frames(error)


def role_session(connected: Connected) -> Any:  # noqa: ANN401 - as above
    """The connection's session with its role, where that is no plain AssumeRole. Raises EksTokenError."""
    try:
        with discreet():
            return _factory(connected).create_session()
    except Exception as error:  # noqa: BLE001 - the provider's and its plug-ins': any
        raise _translated(error, connected) from without_frames(error)


__all__ = [
    "DEFAULT_CONNECTION",
    "Access",
    "AssumeRoleError",
    "Connected",
    "ConnectionMissingError",
    "ConnectionSession",
    "access_of",
    "alook_up",
    "base_session",
    "connection_hop",
    "look_up",
    "role_session",
]
