"""What exists in the sandbox's AWS: accounts' roles and users, key ids, clusters, access entries. Touches nothing.

Principals are kept by their unique id, as AWS does: a role that was deleted and made again under its old name is
another one, for trust policies and for access entries.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eks_cross_account import endpoints
from eks_cross_account.sandbox import _policy
from eks_cross_account.sandbox._sigv4 import AwsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_ROLE_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):iam::(?P<account>\d{12}):role/(?P<path>(?:[^/]+/)*)(?P<name>[\w+=,.@-]{1,64})"
)
_USER_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):iam::(?P<account>\d{12}):user/(?P<path>(?:[^/]+/)*)(?P<name>[\w+=,.@-]{1,64})"
)
_ID_LETTERS = string.ascii_uppercase + "234567"
_SECRET_LENGTH = 40
_HOUR = timedelta(hours=1)


@dataclass
class Role:
    """An IAM role. ``life``: a session's length when the caller asks for none, and its most (a knob beside AWS's)."""

    arn: str
    trust: Mapping[str, Any]
    allow: tuple[str, ...]
    max_session: timedelta
    life: timedelta | None
    created: datetime
    unique_id: str
    trusted_ids: dict[str, str] = field(default_factory=dict)  # principal ARN in the trust policy -> unique id it meant

    @property
    def account(self) -> str:
        """Twelve digits."""
        return self.arn.split(":")[4]

    @property
    def partition(self) -> str:
        """As in the ARN."""
        return self.arn.split(":")[1]

    @property
    def name(self) -> str:
        """Without the path, as STS shows it."""
        return self.arn.rsplit("/", 1)[1]

    @property
    def path(self) -> str:
        """``/`` or ``/service-role/``."""
        return "/" + self.arn.split("role/", 1)[1][: -len(self.name)]


@dataclass
class User:
    """An IAM user, or the root of an account (``arn:aws:iam::1:root``)."""

    arn: str
    allow: tuple[str, ...]
    unique_id: str


@dataclass(frozen=True)
class Principal:
    """Who a key id belongs to. ``arn``: as GetCallerIdentity says it; ``base_arn``: the role's or user's, with path."""

    account: str
    arn: str
    user_id: str
    base_arn: str
    unique_id: str
    is_session: bool


@dataclass
class Key:
    """A key id and what AWS knows about it."""

    access_key_id: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    principal: Principal
    expiration: datetime | None
    revoked: bool = False


@dataclass
class AccessEntry:
    """An access entry of a cluster; ``unique_id`` is the principal's at the time the entry was made."""

    principal_arn: str
    unique_id: str
    username: str
    groups: tuple[str, ...]
    type: str
    created: datetime
    modified: datetime
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class EksCluster:
    """A cluster as EKS describes it. ``aws_auth``: the data of the ConfigMap kube-system/aws-auth."""

    name: str
    account: str
    region: str
    authentication_mode: str
    endpoint: str
    certificate_authority: str
    version: str
    created: datetime
    entries: dict[str, AccessEntry] = field(default_factory=dict)
    aws_auth: dict[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """With the region's partition."""
        return f"arn:{endpoints.partition_of(self.region)}:eks:{self.region}:{self.account}:cluster/{self.name}"


class World:
    """Everything that exists, and the questions about it that AWS answers."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}
        self.users: dict[str, User] = {}
        self.keys: dict[str, Key] = {}
        self.clusters: dict[tuple[str, str, str], EksCluster] = {}  # account, region, name
        self.denied: set[tuple[str, str]] = set()  # principal ARN or "*", action pattern

    def add_role(  # noqa: PLR0913 - what a role has
        self,
        arn: str,
        *,
        trust: Mapping[str, Any] | Iterable[str],
        allow: Iterable[str],
        max_session: timedelta,
        life: timedelta | None,
        now: datetime,
    ) -> Role:
        """A new role. ValueError where IAM refuses: bad ARN, no such principal (path left out!), unreadable policy."""
        if _ROLE_ARN.fullmatch(arn) is None:
            raise ValueError(f"not the ARN of a role: {arn!r}")
        document = trust if isinstance(trust, Mapping) else trust_policy(*trust)
        _policy.check_policy(document)
        role = Role(arn, document, tuple(allow), max_session, life, now, _unique_id("AROA"))
        for principal in _policy.principals(document):
            role.trusted_ids[principal] = self._resolve(principal)
        self.roles[arn] = role
        return role

    def add_user(self, arn: str, allow: Iterable[str]) -> User:
        """A new user, or the root of an account."""
        if _USER_ARN.fullmatch(arn) is None and not arn.endswith(":root"):
            raise ValueError(f"not the ARN of a user: {arn!r}")
        is_root = arn.endswith(":root")
        user = User(arn, tuple(allow), arn.split(":")[4] if is_root else _unique_id("AIDA"))
        self.users[arn] = user
        return user

    def issue_user_key(self, user: User) -> Key:
        """A long-lived key (AKIA...)."""
        principal = Principal(
            user.arn.split(":")[4], user.arn, user.unique_id, user.arn, user.unique_id, is_session=False
        )
        return self._keep(Key(_unique_id("AKIA"), _secret(), None, principal, None))

    def issue_session(self, role: Role, session_name: str, *, expiration: datetime, token_bytes: int) -> Key:
        """Temporary credentials (ASIA...) of the role."""
        arn = f"arn:{role.partition}:sts::{role.account}:assumed-role/{role.name}/{session_name}"
        principal = Principal(
            role.account, arn, f"{role.unique_id}:{session_name}", role.arn, role.unique_id, is_session=True
        )
        key = Key(_unique_id("ASIA"), _secret(), session_token(token_bytes), principal, expiration)
        return self._keep(key)

    def is_principal(self, caller: Principal, role: Role, principal: str) -> bool:
        """Whether a trust policy's principal means this caller: by unique id, or by account."""
        if principal == "*" or _policy.account_of_principal(principal) == caller.account:
            return True
        meant = role.trusted_ids.get(principal)
        return meant in {caller.unique_id, caller.arn}

    def allowed(self, caller: Principal, action: str) -> bool:
        """What the caller's own policies say, and the sandbox's ``deny``."""
        if self.denies(caller, action):
            return False
        owner = self.roles.get(caller.base_arn) or self.users.get(caller.base_arn)
        if owner is None or owner.unique_id != caller.unique_id:
            return False
        return _policy.matches_any(owner.allow, action)

    def denies(self, caller: Principal, action: str) -> bool:
        """An explicit deny by the knob."""
        return any(
            who in {"*", caller.base_arn} and _policy.matches_any((pattern,), action)
            for who, pattern in tuple(self.denied)  # a copy: tests change it from their own thread
        )

    def principal_exists(self, arn: str) -> str | None:
        """The unique id of the role or user with exactly this ARN."""
        found = self.roles.get(arn) or self.users.get(arn)
        return found.unique_id if found else None

    def cluster(self, account: str, region: str, name: str) -> EksCluster:
        """Raises AwsError as EKS does."""
        try:
            return self.clusters[account, region, name]
        except KeyError:
            raise AwsError(404, "ResourceNotFoundException", f"No cluster found for name: {name}.") from None

    def _keep(self, key: Key) -> Key:
        self.keys[key.access_key_id] = key
        return key

    def _resolve(self, principal: str) -> str:
        account = _policy.account_of_principal(principal)
        if principal == "*" or account is not None:
            return principal
        unique_id = self.principal_exists(principal)
        if unique_id is None and ":assumed-role/" in principal:
            return principal  # a session's ARN is taken as it is
        if unique_id is None:
            raise ValueError(f'MalformedPolicyDocument: Invalid principal in policy: "AWS":"{principal}"')
        return unique_id


def trust_policy(*principals: str, external_id: str | None = None, tag_session: bool = False) -> dict[str, Any]:
    """The usual trust policy: these AWS principals may assume, with the external id if one is given."""
    actions = ["sts:AssumeRole", *(["sts:TagSession"] if tag_session else [])]
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": actions}
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def session_token(size: int) -> str:
    """A random token of this many characters of the alphabet that AWS uses."""
    letters = string.ascii_letters + string.digits + "+/"
    return "".join(secrets.choice(letters) for _ in range(size - 2)) + "=="


def default_life(role: Role, asked: int | None, *, chained: bool) -> timedelta:
    """The length of a session. Raises AwsError where STS refuses the asked seconds."""
    if asked is None:
        return role.life or min(_HOUR, role.max_session)
    if chained and asked > _HOUR.total_seconds():
        raise AwsError(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for "
                       "roles assumed by role chaining")  # fmt: skip
    if asked > role.max_session.total_seconds():
        raise AwsError(400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for "
                       "this role.")  # fmt: skip
    wanted = timedelta(seconds=asked)
    return wanted if role.life is None else min(wanted, role.life)


def _unique_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(17 if prefix == "AROA" else 16))


def _secret() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits + "+/") for _ in range(_SECRET_LENGTH))
