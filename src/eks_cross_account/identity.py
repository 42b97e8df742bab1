"""ARNs of principals, their canonical form, and the identity that STS states. Touches nothing.

``canonicalize`` and ``strip_path`` follow pkg/arn of aws-iam-authenticator v0.7.18, case by case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from eks_cross_account._printable import printable
from eks_cross_account.endpoints import partition_names
from eks_cross_account.errors import InvalidArnError, StsUnavailableError

_SECTIONS = 6  # arn:partition:service:region:account:resource
_KEEPS_ARN = {("sts", "federated-user"), ("iam", "role"), ("iam", "user"), ("iam", "root")}
_SESSION_SEGMENTS = 3  # assumed-role/name/session


class Arn(NamedTuple):
    """The sections of an ARN; ``resource`` is all after the fifth colon."""

    partition: str
    service: str
    account: str
    resource: str


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """Whom AWS says the caller is: the answer of GetCallerIdentity, and nothing else makes one.

    ``user_id``: STS's UserId whole, ``AROA...:session`` for an assumed role.
    """

    account: str
    arn: str
    user_id: str

    @property
    def canonical_arn(self) -> str:
        """The ARN that mappings are compared with: the IAM role's (always without its path), or the ARN itself."""
        return canonicalize(self.arn)

    @property
    def session_name(self) -> str:
        """The session's name of an assumed role, "" for a user, root or federated user."""
        return self.user_id.partition(":")[2] if _has_session(self.arn) else ""

    @property
    def principal_id(self) -> str:
        """The unique id (``AROA...``), which a deleted and recreated role changes; else the whole UserId."""
        return self.user_id.partition(":")[0] if _has_session(self.arn) else self.user_id


def account_of(arn: str) -> str:
    """The account in an ARN of any service, "" where the text has none. For a sentence: nothing else is checked."""
    sections = arn.split(":", _SECTIONS - 1)
    return sections[4] if len(sections) > 4 else ""  # noqa: PLR2004 - the fifth section


def parse_arn(arn: str) -> Arn:
    """Split an ARN of a partition the verifier knows. Raises InvalidArnError."""
    sections = arn.split(":", _SECTIONS - 1)
    if len(sections) != _SECTIONS or sections[0] != "arn":
        raise InvalidArnError(f"{printable(arn)} is not an ARN (arn:partition:service:region:account:resource)")
    _, partition, service, _, account, resource = sections
    if partition not in partition_names():
        raise InvalidArnError(f"{printable(arn)} is in no partition that EKS knows ({', '.join(partition_names())})")
    return Arn(partition, service, account, resource)


def canonicalize(arn: str) -> str:
    """The ARN the verifier looks up: an assumed role becomes its IAM role, other principals stay as they are.

    Raises InvalidArnError for anything that is no role, user, root, assumed role or federated user.
    """
    parsed = parse_arn(arn)
    kind, *rest = parsed.resource.split("/")
    if (parsed.service, kind) in _KEEPS_ARN:
        return arn
    if (parsed.service, kind) != ("sts", "assumed-role"):
        raise InvalidArnError(f"{printable(arn)} is not the ARN of a role, user, root, assumed role or federated user")
    if len(rest) + 1 < _SESSION_SEGMENTS:
        raise InvalidArnError(f"{printable(arn)} names no role and session (assumed-role/<role>/<session>)")
    return f"arn:{parsed.partition}:iam::{parsed.account}:role/{'/'.join(rest[:-1])}"


def strip_path(arn: str) -> str:
    """A role's ARN without the path in front of its name; any other ARN as it is. Raises InvalidArnError."""
    parsed = parse_arn(arn)
    kind, *rest = parsed.resource.split("/")
    if kind != "role" or len(rest) < 2:  # noqa: PLR2004 - role/name has no path
        return arn
    return f"arn:{parsed.partition}:iam::{parsed.account}:role/{rest[-1]}"


def parse_caller_identity(body: bytes) -> CallerIdentity:
    """The identity in the JSON body of a GetCallerIdentity answer.

    Exactly STS's shape is taken: XML, HTML, another action's answer and a principal that the verifier would refuse
    are StsUnavailableError, because something that is not STS wrote them (CVE-2020-16250: never be lenient here).
    """
    try:
        document = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise StsUnavailableError(f"the answer is not the JSON of STS; it begins {printable(_start(body))}") from None
    fields = _member(_member(document, "GetCallerIdentityResponse"), "GetCallerIdentityResult")
    if not isinstance(fields, dict) or set(fields) != {"Account", "Arn", "UserId"}:
        raise StsUnavailableError("the answer is JSON, but not that of GetCallerIdentity")
    if not all(isinstance(value, str) and value for value in fields.values()):
        raise StsUnavailableError("the answer of GetCallerIdentity has an empty or non-text field")
    return _checked(CallerIdentity(account=fields["Account"], arn=fields["Arn"], user_id=fields["UserId"]))


def _checked(identity: CallerIdentity) -> CallerIdentity:
    try:
        canonicalize(identity.arn)
    except InvalidArnError as error:
        raise StsUnavailableError(f"the answer of GetCallerIdentity has no usable ARN: {error}") from None
    if identity.account != parse_arn(identity.arn).account:
        raise StsUnavailableError("the answer of GetCallerIdentity has one account in its ARN and another beside it")
    if _has_session(identity.arn) and identity.user_id.count(":") != 1:
        raise StsUnavailableError(f"the UserId {printable(identity.user_id)} is not of the form id:session")
    return identity


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _has_session(arn: str) -> bool:
    """Roles, in either spelling: the verifier splits their UserId into id and session, and no other's."""
    parsed = parse_arn(arn)
    return (parsed.service, parsed.resource.split("/")[0]) in {("sts", "assumed-role"), ("iam", "role")}


def _start(body: bytes) -> str:
    return body[:40].decode("utf-8", "replace")
