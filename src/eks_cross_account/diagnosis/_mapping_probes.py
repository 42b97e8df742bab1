"""Asks what the cluster's owner can see of a principal: its role in IAM, its access entry, aws-auth. Touches AWS.

Each probe ends with a value, or with ``NotChecked``: what nobody could see is never taken for "not there".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from eks_cross_account._printable import printable_line, printable_message
from eks_cross_account.cluster import (
    AssociatedPolicy,
    DescribedEntry,
    Eks,
    access_entries,
    access_entry,
    associated_policies,
)
from eks_cross_account.credentials import UnreadableAnswerError, asked, client
from eks_cross_account.errors import ClusterError, CredentialsUnavailableError, EksTokenError, InvalidArnError
from eks_cross_account.identity import canonicalize, parse_arn, strip_path
from eks_cross_account.mapping import AwsAuth, AwsAuthRow, parse_aws_auth

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from eks_cross_account.credentials import FrozenCredentials

_DENIED = {"AccessDenied", "AccessDeniedException"}
_NODE_TEMPLATE = "{{EC2PrivateDNSName}}"

# What aws-auth says of a principal: a row maps it; none does; one does, but with a path in its ARN; it has rows for it
# that only an instance can use; there is no ConfigMap; what is there cannot be read, and no row maps it
AwsAuthVerdict = Literal["maps", "no-row", "path", "nodes", "absent", "damaged"]


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Why there is no value. ``needs``: the right that was missing, "" where it was no matter of rights."""

    needs: str = ""
    why: str = ""

    def __str__(self) -> str:
        reasons = (f"needs {self.needs}" if self.needs else "", self.why)
        return ": ".join(filter(None, ("not checked", "; ".join(filter(None, reasons)))))


@dataclass(frozen=True, slots=True)
class RoleEvidence:
    """A role as its own account knows it; the path is in the ARN."""

    arn: str
    unique_id: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryEvidence:
    """``asked``: the principal ARN that was looked up. ``entry``: None where there is none.

    ``listed``: all entries, None where they were not listed. ``policies``: of the entry.
    """

    asked: str
    entry: DescribedEntry | None = None
    listed: tuple[str, ...] | None = None
    policies: tuple[AssociatedPolicy, ...] | NotChecked = NotChecked()


@dataclass(frozen=True, slots=True)
class AwsAuthEvidence:
    """``row``: its ARN as written, user and groups; ``problems``: what the verifier cannot read."""

    verdict: AwsAuthVerdict
    row: str = ""
    username: str = ""
    groups: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def get_role(  # noqa: PLR0913 - whose role, as whom, and how to ask
    canonical_arn: str,
    credentials: FrozenCredentials,
    account: str,
    *,
    region: str,
    session: Any,  # noqa: ANN401 - a botocore session
    timeout: float,
) -> RoleEvidence | NotChecked | None:
    """The role behind a canonical ARN, by iam:GetRole; None where its account has no such role.

    ``account``: of the credentials. Only a role of that very account can be asked about.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - heavy, only where IAM is asked

    principal = parse_arn(canonical_arn)
    needs = f"iam:GetRole in account {principal.account}"
    if not principal.resource.startswith("role/"):
        return NotChecked(why=f"it is a {principal.resource.partition('/')[0]}, and no role")
    if principal.account != account:
        return NotChecked(needs, f"these credentials are of account {account or 'unknown'}")
    try:
        iam = client(session, "iam", region, credentials, timeout=timeout)
        role = _role_in(asked(iam.get_role, RoleName=principal.resource.rsplit("/", 1)[1]))
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code == "NoSuchEntity":
            return None
        return NotChecked(needs) if code in _DENIED else NotChecked(why=f"iam:GetRole: {printable_line(code)}")
    except (CredentialsUnavailableError, BotoCoreError, ValueError, RuntimeError) as error:
        return NotChecked(why=f"no answer from IAM: {printable_message(str(error))}")
    return RoleEvidence(printable_line(role["Arn"]), printable_line(role.get("RoleId") or ""), role.get("CreateDate"))


def _role_in(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    found = answer.get("Role") or {}
    if not found.get("Arn"):
        raise UnreadableAnswerError("something that is not IAM answered")
    role: Mapping[str, Any] = found
    return role


def look_up_entry(
    eks: Eks, cluster_name: str, canonical_arn: str, principal_arn: str | None
) -> EntryEvidence | NotChecked:
    """The access entry of a principal. ``principal_arn``: with its path; None for a role whose path nobody here knows.

    EKS finds an entry by the exact ARN only, so what is not under the known one is looked for in the list, by name.
    """
    asked = principal_arn or canonical_arn
    try:
        found = access_entry(eks, cluster_name, asked)
    except ClusterError as error:
        return _unseen(error, "eks:DescribeAccessEntry")
    listed: tuple[str, ...] | None = None
    if found is None:
        try:
            listed = access_entries(eks, cluster_name)
        except ClusterError as error:
            if principal_arn is None:  # under another path there may be one
                return _unseen(error, "eks:ListAccessEntries (or iam:GetRole, for the path of the role)")
        same = next((arn for arn in listed or () if _is_same(arn, canonical_arn)), None)
        try:
            found = access_entry(eks, cluster_name, same) if same is not None else None
        except ClusterError as error:
            return _unseen(error, "eks:DescribeAccessEntry")
    if found is None:
        return EntryEvidence(asked, None, listed)
    return EntryEvidence(asked, found, listed, _policies(eks, cluster_name, found.principal_arn))


def _policies(eks: Eks, cluster_name: str, principal_arn: str) -> tuple[AssociatedPolicy, ...] | NotChecked:
    try:
        return associated_policies(eks, cluster_name, principal_arn)
    except ClusterError as error:
        return _unseen(error, "eks:ListAssociatedAccessPolicies")


def _unseen(error: ClusterError, needs: str) -> NotChecked:
    return NotChecked(needs) if error.code in _DENIED else NotChecked(why=str(error))


def _is_same(arn: str, canonical_arn: str) -> bool:
    """IAM keeps names apart without regard to case."""
    try:
        return strip_path(arn).casefold() == strip_path(canonical_arn).casefold()
    except InvalidArnError:
        return False


def judge_aws_auth(data: Mapping[str, str] | None, canonical_arn: str) -> AwsAuthEvidence | NotChecked:
    """What the ConfigMap's data says of a principal; None: there is no ConfigMap."""
    if data is None:
        return AwsAuthEvidence("absent")
    try:
        read = parse_aws_auth(data)
    except EksTokenError as error:  # no PyYAML
        return NotChecked(why=str(error))
    wanted = strip_path(canonical_arn).casefold()
    row = _last(read, lambda arn: arn.casefold() == wanted)
    if row is not None:
        verdict: AwsAuthVerdict = "nodes" if _is_for_nodes(row) else "maps"
        return _row(verdict, row, read)
    if canonical_arn.split(":")[4] in read.accounts:
        return AwsAuthEvidence("maps", "mapAccounts", canonical_arn, (), read.problems)
    near = _last(read, lambda arn: arn.casefold() != wanted and _is_near(arn, wanted))
    if near is not None:
        return _row("path", near, read)
    return AwsAuthEvidence("damaged" if read.problems else "no-row", problems=read.problems)


def _row(verdict: AwsAuthVerdict, row: AwsAuthRow, read: AwsAuth) -> AwsAuthEvidence:
    return AwsAuthEvidence(verdict, row.arn, row.username, row.groups, read.problems)


def _last(read: AwsAuth, fits: Any) -> AwsAuthRow | None:  # noqa: ANN401 - a predicate on ARNs
    return next((row for row in reversed((*read.users, *read.roles)) if row.arn and fits(row.arn)), None)


def _is_for_nodes(row: AwsAuthRow) -> bool:
    return any(_NODE_TEMPLATE in text for text in (row.username, *row.groups))


def _is_near(arn: str, wanted: str) -> bool:
    """Whether a row means the principal and is written so that it never matches: a path, a session's ARN, blanks."""
    try:
        return strip_path(canonicalize(arn.strip())).casefold() == wanted
    except InvalidArnError:
        return False
