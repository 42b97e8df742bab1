"""The facts of a report, and how they are read back from the other side's JSON. Pure.

The task's side sees the token, the owner's sees the mapping. What comes in a file is anybody's text: its schema is
checked, its sentences and remedies are left alone, and everything is judged again here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from eks_cross_account.cluster import AssociatedPolicy, Cluster, DescribedEntry
from eks_cross_account.diagnosis._mapping_probes import (
    AwsAuthEvidence,
    AwsAuthVerdict,
    EntryEvidence,
    NotChecked,
    RoleEvidence,
)
from eks_cross_account.diagnosis.report import read_document
from eks_cross_account.errors import ClusterError, InvalidArnError
from eks_cross_account.identity import canonicalize, strip_path
from eks_cross_account.token import check_cluster_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from eks_cross_account.diagnosis.evidence import Evidence

_LONGEST = 2048  # characters of a text in the other side's JSON
_MOST = 200  # items of a list in it
_TYPE = re.compile(r"[A-Z0-9_]{1,40}")
_WORD = re.compile(r"[a-z0-9-]{1,60}")
_MODES = {"CONFIG_MAP", "API_AND_CONFIG_MAP", "API"}
_UNAUTHORIZED = 401  # HTTP


@dataclass(frozen=True, slots=True)
class OtherSide:
    """What the other report says was seen. Nobody vouches for it.

    ``subject``: the canonical ARN that it is about; ``api_server``: what the task's token met, "" where it says
    nothing; ``broken``: the id of its root cause, "" for none.
    """

    side: Literal["task", "owner"]
    cluster_name: str
    region: str = ""
    subject: str = ""
    cluster: Cluster | None = None
    api_server: str = ""
    broken: str = ""
    role: RoleEvidence | None = None
    entry: EntryEvidence | None = None
    aws_auth: AwsAuthEvidence | None = None


# --- out


def facts_of(evidence: Evidence) -> dict[str, Any]:
    """What was seen, for the other side's `check --evidence` and for comparison. Holds no secret."""
    cluster, role, entry, aws_auth = evidence.cluster, evidence.role, evidence.entry, evidence.aws_auth
    return {
        "side": "owner" if evidence.principal_arn else "task",
        "cluster_name": evidence.cluster_name,
        "region": evidence.region,
        "principal_arn": evidence.subject_with_path or evidence.subject or None,
        "cluster": None
        if cluster is None
        else {"arn": cluster.arn, "endpoint": cluster.endpoint, "authentication_mode": cluster.authentication_mode,
              "version": cluster.version},
        "api_server": _api_server(evidence),
        "role": {"arn": role.arn, "unique_id": role.unique_id, "created": _iso(role.created)}
        if isinstance(role, RoleEvidence)
        else None,
        "access_entry": _entry_facts(entry) if isinstance(entry, EntryEvidence) else None,
        "aws_auth": {"verdict": aws_auth.verdict, "row": aws_auth.row, "username": aws_auth.username,
                     "groups": list(aws_auth.groups)}
        if isinstance(aws_auth, AwsAuthEvidence)
        else None,
    }  # fmt: skip


def _api_server(evidence: Evidence) -> str | None:
    if evidence.review is None or evidence.principal_arn:
        return None
    if evidence.review.user is not None:
        return "accepted"
    return "refused" if evidence.review.status == _UNAUTHORIZED else None


def _entry_facts(found: EntryEvidence) -> dict[str, Any]:
    entry = found.entry
    if entry is None:
        return {"found": False, "asked": found.asked}
    policies = None if isinstance(found.policies, NotChecked) else found.policies
    return {
        "found": True,
        "asked": found.asked,
        "principal_arn": entry.principal_arn,
        "type": entry.type,
        "username": entry.username,
        "groups": list(entry.groups),
        "created": _iso(entry.created),
        "modified": _iso(entry.modified),
        "policies": None
        if policies is None
        else [{"arn": policy.arn, "namespaces": list(policy.namespaces)} for policy in policies],
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# --- in


def read_other_side(text: str | bytes) -> OtherSide:
    """The facts of the JSON that `check --output json` printed on the other side. Raises ValueError for any other."""
    document = read_document(text)
    facts = _Reader(document, "report").inner("facts")
    if facts is None:
        raise ValueError("it has no facts: it was made by an older release")
    return _other_side(facts, document.get("root_cause"))


class _Reader:
    """The members of one object, each of the type that it must have. Raises ValueError with the member's place."""

    def __init__(self, members: dict[str, Any], place: str) -> None:
        self._members = members
        self._place = place

    def bad(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{self._place}.{name} is not {expected}")

    def text(self, name: str, fits: Callable[[str], object] = bool, expected: str = "a text") -> str:
        """A text that fits; "" for null."""
        value = self._members.get(name)
        if value is None or value == "":
            return ""
        if not isinstance(value, str) or len(value) > _LONGEST or not fits(value):
            raise self.bad(name, expected)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._members.get(name) or []
        if not isinstance(value, list) or len(value) > _MOST:
            raise self.bad(name, f"a list of at most {_MOST} texts")
        if not all(isinstance(item, str) and len(item) <= _LONGEST for item in value):
            raise self.bad(name, "a list of texts")
        return tuple(value)

    def arn(self, name: str) -> str:
        """The ARN of a principal, "" for null."""
        return self.text(name, _is_principal, "the ARN of a principal")

    def moment(self, name: str) -> datetime | None:
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            raise self.bad(name, "a time") from None
        if moment is not None and moment.tzinfo is None:
            raise self.bad(name, "a time with a zone")
        return moment

    def inner(self, name: str) -> _Reader | None:
        value = self._members.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.bad(name, "an object")
        return None if value is None else _Reader(value, f"{self._place}.{name}")

    def inners(self, name: str) -> list[_Reader] | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > _MOST or not all(isinstance(item, dict) for item in value):
            raise self.bad(name, f"a list of at most {_MOST} objects")
        return [_Reader(item, f"{self._place}.{name}") for item in value]

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise self.bad(name, "true or false")
        return value


def _is_principal(text: str) -> bool:
    try:
        return bool(canonicalize(text))
    except InvalidArnError:
        return False


def _other_side(facts: _Reader, root_cause: object) -> OtherSide:
    side = facts.text("side", {"task", "owner"}.__contains__, "task or owner")
    name = facts.text("cluster_name", _is_cluster_name, "the name of a cluster")
    if not side or not name:
        raise facts.bad("side" if not side else "cluster_name", "there")
    cluster, role, entry, aws_auth = (facts.inner(name) for name in ("cluster", "role", "access_entry", "aws_auth"))
    principal = facts.arn("principal_arn")
    return OtherSide(
        side="owner" if side == "owner" else "task",
        cluster_name=name,
        region=facts.text("region"),
        subject=strip_path(canonicalize(principal)) if principal else "",
        cluster=_cluster(cluster, name) if cluster else None,
        api_server=facts.text("api_server", {"accepted", "refused"}.__contains__, "accepted or refused"),
        broken=root_cause if isinstance(root_cause, str) and _WORD.fullmatch(root_cause) else "",
        role=_role(role) if role else None,
        entry=_entry(entry) if entry else None,
        aws_auth=_aws_auth(aws_auth) if aws_auth else None,
    )


def _is_cluster_name(text: str) -> bool:
    try:
        check_cluster_name(text)
    except ClusterError:
        return False
    return True


def _cluster(facts: _Reader, name: str) -> Cluster:
    return Cluster(
        name=name,
        endpoint=facts.text("endpoint"),
        certificate_authority="",
        arn=facts.text("arn", lambda text: text.startswith("arn:") and text.count(":") >= 5, "an ARN"),  # noqa: PLR2004
        version=facts.text("version"),
        authentication_mode=facts.text("authentication_mode", _MODES.__contains__, "an authentication mode") or None,
    )


def _role(facts: _Reader) -> RoleEvidence:
    return RoleEvidence(facts.arn("arn"), facts.text("unique_id"), facts.moment("created"))


def _entry(facts: _Reader) -> EntryEvidence:
    asked = facts.arn("asked")
    if not facts.flag("found"):
        return EntryEvidence(asked)
    policies = facts.inners("policies")
    entry = DescribedEntry(
        principal_arn=facts.arn("principal_arn"),
        username=facts.text("username"),
        groups=facts.texts("groups"),
        type=facts.text("type", _TYPE.fullmatch, "the type of an entry"),
        created=facts.moment("created"),
        modified=facts.moment("modified"),
    )
    read = tuple(AssociatedPolicy(policy.text("arn"), policy.texts("namespaces")) for policy in policies or ())
    return EntryEvidence(asked, entry, policies=NotChecked() if policies is None else read)


def _aws_auth(facts: _Reader) -> AwsAuthEvidence:
    verdicts = {verdict: verdict for verdict in get_args(AwsAuthVerdict)}
    verdict: AwsAuthVerdict | None = verdicts.get(facts.text("verdict"))
    if verdict is None:
        raise facts.bad("verdict", f"one of {', '.join(verdicts)}")
    return AwsAuthEvidence(verdict, facts.text("row"), facts.text("username"), facts.texts("groups"))
