"""From an AWS identity to the Kubernetes user: access entries and the aws-auth ConfigMap. Touches nothing.

Follows aws-iam-authenticator v0.7.18: doMapping of pkg/server, and the back ends pkg/mapper/dynamicfile (with user-id
strictness that is what EKS access entries do) and pkg/mapper/configmap. Of a ConfigMap the verifier reads what
goyaml.v2 and encoding/json make of it, which is not what a YAML 1.2 reader makes of it: ``username: 12345`` is an empty
name, ``Groups`` is ``groups``, and one ``.nan`` anywhere drops the list. Reading one needs PyYAML, imported only then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eks_cross_account import _gourl, _goyaml
from eks_cross_account._printable import printable
from eks_cross_account.endpoints import partition_names
from eks_cross_account.errors import InvalidArnError
from eks_cross_account.identity import strip_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eks_cross_account.identity import CallerIdentity

EKS_RESERVED_PREFIXES = ("aws:", "eks:", "amazon:", "iam:", "system:")
"""What a user name of an access entry may not begin with, as AWS documents it."""

_NOT_MAPPED = "identity is not mapped"  # errutil.ErrNotMapped
_MISMATCH = "ARN does not match User ID"  # errutil.ErrIDAndARNMismatch
_INSTANCE_ID = re.compile(r"i-(\w{8}|\w{17})", re.ASCII)  # server.go: instanceIDPattern


@dataclass(frozen=True, slots=True)
class KubernetesUser:
    """The user that the API server is told. ``groups``: as mapped; the API server adds system:authenticated.

    ``uid``: aws-iam-authenticator:<account>:<principal id>. ``extra``: what SelfSubjectReview shows of the token.
    """

    username: str
    uid: str
    groups: tuple[str, ...]
    extra: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class NotMapped:
    """The verifier found no user; the client sees 401. ``error``: as the authenticator's log words it."""

    error: str


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """Who may come in, by the unique id of the role or user, which a deleted and recreated one does not keep.

    ``principal_arn``: compared too, without a role's path; "" is the id alone. ``user_id``: AROA... or AIDA...
    """

    principal_arn: str
    user_id: str
    username: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessEntries:
    """The back end DynamicFile with user-id strictness. Of two entries with one id the later counts.

    An entry without an id makes the verifier refuse the whole list, accounts included. ``accounts``: every identity
    of these is let in, under its own ARN and without groups.
    """

    entries: tuple[AccessEntry, ...] = ()
    accounts: tuple[str, ...] = ()
    reserved_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AwsAuthRow:
    """One valid row of mapRoles or mapUsers. ``sso``: the pattern of a row without an ARN, which matches nobody.

    (The feature gate SSORoleMatch is off unless somebody turns it on, and EKS does not.)
    """

    arn: str
    username: str
    groups: tuple[str, ...] = ()
    sso: str = ""


@dataclass(frozen=True, slots=True)
class AwsAuth:
    """The back end EKSConfigMap, made by ``parse_aws_auth``. ``problems``: what could not be read, and what to do."""

    roles: tuple[AwsAuthRow, ...] = ()
    users: tuple[AwsAuthRow, ...] = ()
    accounts: tuple[str, ...] = ()
    reserved_prefixes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class _TemplateError(Exception):
    """A template cannot be filled in. Never leaves this module."""


class _MismatchError(Exception):
    """The id is known, under another ARN. Never leaves this module."""


def map_identity(
    identity: CallerIdentity,
    *,
    access_key_id: str,
    backends: Sequence[AccessEntries | AwsAuth],
    private_dns_name: Callable[[str], str] | None = None,
) -> KubernetesUser | NotMapped:
    """The user that the first back end with an answer gives, else the verifier's reason why there is none.

    ``private_dns_name``: the EC2 name of an instance id, for ``{{EC2PrivateDNSName}}``; what it raises passes through.
    Raises InvalidArnError for an identity that is none, and no other.
    """
    render = _Renderer(identity, access_key_id, private_dns_name)
    errors: list[str] = []
    for backend in backends:
        name = "DynamicFile" if isinstance(backend, AccessEntries) else "EKSConfigMap"
        try:
            row = _find(identity, backend)
        except _MismatchError:  # the search goes on: doMapping only collects it
            errors.append(f"mapper {name} Map error: {_MISMATCH}")
            row = None
        if row is not None:
            return _rendered(row, render, name, backend.reserved_prefixes)
        if identity.account in _accounts(backend):
            return _user(render, identity.canonical_arn, ())
    return NotMapped(_aggregate(errors) if errors else _NOT_MAPPED)


def _find(identity: CallerIdentity, backend: AccessEntries | AwsAuth) -> AccessEntry | AwsAuthRow | None:
    canonical = _gourl.lower(identity.canonical_arn)
    if isinstance(backend, AwsAuth):
        roles = {_gourl.lower(row.arn or row.sso): row for row in backend.roles}
        users = {row.arn: row for row in backend.users}  # UserMapping.Key does not lower-case
        return _matching(roles, canonical) or _matching(users, canonical)
    if not _is_loaded(backend):
        return None
    entry = {entry.user_id: entry for entry in backend.entries}.get(identity.principal_id)
    if entry is not None and entry.principal_arn and _without_path(entry.principal_arn) != canonical:
        raise _MismatchError
    return entry


def _matching(rows: Mapping[str, AwsAuthRow], canonical: str) -> AwsAuthRow | None:
    """The last that matches. Go takes any of several that differ in case alone: see ``_ambiguous``."""
    wanted = _fold(canonical)
    found = None
    for row in rows.values():
        if row.arn and _fold(row.arn) == wanted:
            found = row
    return found


def _without_path(arn: str) -> str:
    try:
        return _gourl.lower(strip_path(arn))
    except InvalidArnError:
        raise _MismatchError from None


def _is_loaded(backend: AccessEntries) -> bool:
    return all(entry.user_id for entry in backend.entries)  # CallBackForFileLoad: one without its key refuses the file


def _accounts(backend: AccessEntries | AwsAuth) -> tuple[str, ...]:
    return backend.accounts if isinstance(backend, AwsAuth) or _is_loaded(backend) else ()


def _rendered(
    row: AccessEntry | AwsAuthRow, render: _Renderer, mapper: str, reserved: tuple[str, ...]
) -> KubernetesUser | NotMapped:
    try:
        username = render.template("username", row.username)
        groups = tuple(render.template("group", group) for group in row.groups)
    except _TemplateError as error:
        return NotMapped(f"mapper {mapper} renderTemplates error: {error}")
    if any(prefix and username.startswith(prefix) for prefix in reserved):
        return NotMapped(
            f"invalid username '{username}' for mapper {mapper}: username must not begin with with the following "
            f"prefixes: [{' '.join(reserved)}]"
        )
    return _user(render, username, groups)


def _user(render: _Renderer, username: str, groups: tuple[str, ...]) -> KubernetesUser:
    identity = render.identity
    extra = {
        "accessKeyId": (render.access_key_id,),
        "arn": (identity.arn,),
        "canonicalArn": (identity.canonical_arn,),
        "principalId": (identity.principal_id,),
        "sessionName": (identity.session_name,),
        "sigs.k8s.io/aws-iam-authenticator/principalId": (identity.principal_id,),
    }
    uid = f"aws-iam-authenticator:{identity.account}:{identity.principal_id}"
    return KubernetesUser(username, uid, groups, extra)


@dataclass(frozen=True, slots=True)
class _Renderer:
    identity: CallerIdentity
    access_key_id: str
    private_dns_name: Callable[[str], str] | None

    def template(self, what: str, template: str) -> str:
        """Filled in one placeholder after the other, so a session called ``{{AccessKeyID}}`` is expanded itself."""
        session = self.identity.session_name
        filled = template
        if "{{EC2PrivateDNSName}}" in filled:
            filled = filled.replace("{{EC2PrivateDNSName}}", self._private_dns_name(what, template))
        filled = filled.replace("{{AccountID}}", self.identity.account)
        filled = filled.replace("{{SessionName}}", session.replace("@", "-"))
        filled = filled.replace("{{SessionNameRaw}}", session)
        return filled.replace("{{AccessKeyID}}", self.access_key_id)

    def _private_dns_name(self, what: str, template: str) -> str:
        session = self.identity.session_name
        start = f"error rendering {what} template {_quoted(template)}: "
        if not _INSTANCE_ID.fullmatch(session):
            raise _TemplateError(start + "SessionName did not contain an instance id")
        if self.private_dns_name is None:
            raise _TemplateError(f"{start}the private DNS name of {session} is known to EC2 alone, which is not asked")
        return self.private_dns_name(session)


def _aggregate(errors: list[str]) -> str:
    """The text of k8s.io/apimachinery's Aggregate: equal ones once, brackets around several."""
    different = tuple(dict.fromkeys(errors))
    return different[0] if len(different) == 1 else f"[{', '.join(different)}]"


_QUOTES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"} | {
    "\\": r"\\",
    '"': r"\"",
}


def _quoted(text: str) -> str:
    """Go's %q."""
    return '"' + "".join(_QUOTES.get(char) or _go_escape(char) for char in text) + '"'


def _go_escape(char: str) -> str:
    code = ord(char)
    if char.isprintable():
        return char
    if code < 0x80:  # noqa: PLR2004 - ASCII
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - what four digits hold


def _fold(text: str) -> str:
    """Equal for texts that ``strings.EqualFold`` finds equal: Unicode's simple folding, one rune for one."""
    if text.isascii():
        return text.lower()
    return "".join(_fold_rune(char) for char in text)


def _fold_rune(char: str) -> str:
    return next((folded for folded in (char.casefold(), char.lower()) if len(folded) == 1), char)


# --- aws-auth: what configmap.ParseMap makes of the three lists -----------------------------------------------------

_SHOWN_PROBLEMS = 50
_SKIPPABLE = ("", "``", '""', "''")  # configmap.isSkippable
_SPELLINGS = ("mapRoles", "mapUsers", "mapAccounts")
_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_PERMISSION_SET = re.compile(r"[\w+=,.@-]{1,32}", re.ASCII)


def parse_aws_auth(data: Mapping[str, str], *, reserved_prefixes: tuple[str, ...] = ()) -> AwsAuth:
    """The rows that the verifier reads from the ConfigMap's ``data``; what it cannot read is in ``problems``.

    Never raises for what is in it. Raises EksTokenError if there is something to read and no PyYAML.
    """
    problems: list[str] = []
    roles = tuple(_valid_rows("mapRoles", _rows("mapRoles", data.get("mapRoles", ""), problems), problems))
    users = tuple(_valid_rows("mapUsers", _rows("mapUsers", data.get("mapUsers", ""), problems), problems))
    accounts = _parse_accounts(data.get("mapAccounts", ""), problems)
    problems.extend(_ambiguous(users))
    problems.extend(_misspelled(data))
    return AwsAuth(roles, users, accounts, reserved_prefixes, _shortened(problems))


def _shortened(problems: list[str]) -> tuple[str, ...]:
    if len(problems) <= _SHOWN_PROBLEMS:
        return tuple(problems)
    return (*problems[:_SHOWN_PROBLEMS], f"and {len(problems) - _SHOWN_PROBLEMS} more of this kind")


def _misspelled(data: Mapping[str, str]) -> Iterator[str]:
    for key in data:
        for right in _SPELLINGS:
            if key != right and key.lower() == right.lower():
                yield f"the key {printable(key)} is not read: write {right}"


def _ambiguous(users: tuple[AwsAuthRow, ...]) -> Iterator[str]:
    """MapStore keeps users under their ARN as written and asks them in the random order of a Go map."""
    seen: dict[str, str] = {}
    for row in users:
        other = seen.setdefault(_fold(row.arn), row.arn)
        if other != row.arn:
            yield (
                f"mapUsers: {printable(row.arn)} is there twice, in different case, and the verifier takes either: "
                "remove one"
            )


@dataclass(slots=True)
class _Row:
    """A RoleMapping or UserMapping while encoding/json fills it."""

    number: int
    texts: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)  # Go's array: what a shorter list left behind is still there
    length: int = 0  # ... and how much of it the slice has
    sso: dict[str, str] | None = None


_TEXT_FIELDS = {"mapRoles": ("rolearn", "username", "userid"), "mapUsers": ("userarn", "username", "userid")}
_SSO_FIELDS = ("permissionSetName", "accountID", "partition")


def _rows(key: str, text: str, problems: list[str]) -> Iterator[_Row]:
    """The elements of the list, each field that has the wrong type left at its zero value, as encoding/json does."""
    if text.strip(_goyaml.SPACES) in _SKIPPABLE:
        return
    try:
        value = _goyaml.to_json(text)
    except _goyaml.YamlError as error:
        problems.append(f"{key}: {error}; nothing of it is used")
        return
    if not isinstance(value, list):
        if value is not None:
            problems.append(f"{key} is {_kind(value)}, not a list: begin each row with '- '; nothing of it is used")
        return
    for number, element in enumerate(value, start=1):
        row = _Row(number)
        if isinstance(element, dict):
            _fill(key, row, element, problems)
        elif element is not None:
            problems.append(f"{key}, row {number} is {_kind(element)}, not a mapping with an ARN")
        yield row


def _fill(key: str, row: _Row, element: dict[str, object], problems: list[str]) -> None:
    where = f"{key}, row {row.number}"
    for name, value in _in_go_order(element):
        if name in map(_fold_key, _TEXT_FIELDS[key]):
            _fill_text(row.texts, name, value, where, problems)
        elif name == "GROUPS":
            _fill_groups(row, value, where, problems)
        elif name == "SSO" and key == "mapRoles":
            _fill_sso(row, value, where, problems)


def _fill_text(texts: dict[str, str], name: str, value: object, where: str, problems: list[str]) -> None:
    if isinstance(value, str):
        texts[name] = value
    elif value is not None:
        problems.append(
            f"{where}: {name.lower()} is {_kind(value)}, not text: put it in quotes; until then it is not used"
        )


def _fill_groups(row: _Row, value: object, where: str, problems: list[str]) -> None:
    if value is None:
        row.groups, row.length = [], 0
    elif not isinstance(value, list):
        problems.append(f"{where}: groups is {_kind(value)}, not a list: write each group on a line, after '- '")
    else:
        row.groups, row.length = (row.groups if value else []), len(value)
        row.groups.extend([""] * (len(value) - len(row.groups)))
        for index, group in enumerate(value):
            if isinstance(group, str):
                row.groups[index] = group
            elif group is not None:
                problems.append(f"{where}: group {index + 1} is {_kind(group)}, not text: put it in quotes")


def _fill_sso(row: _Row, value: object, where: str, problems: list[str]) -> None:
    if value is None:
        row.sso = None
        return
    row.sso = row.sso or {}  # any other value makes the struct, even one that cannot be read into it
    if not isinstance(value, dict):
        problems.append(f"{where}: sso is {_kind(value)}, not a mapping")
        return
    for name, text in _in_go_order(value):
        if name in map(_fold_key, _SSO_FIELDS):
            _fill_text(row.sso, name, text, f"{where}, sso", problems)


def _in_go_order(element: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Keys folded as encoding/json folds them, in json.Marshal's order: of two spellings the later one counts."""
    return ((_fold_key(key), element[key]) for key in sorted(element))


def _fold_key(key: str) -> str:
    """encoding/json's foldName, as far as it can meet an ASCII name: U+017F is an S and U+212A a K."""
    return "".join(char.upper() if char.isascii() else {"\u017f": "S", "\u212a": "K"}.get(char, char) for char in key)


def _valid_rows(key: str, rows: Iterator[_Row], problems: list[str]) -> Iterator[AwsAuthRow]:
    """RoleMapping.Validate and UserMapping.Validate: a row that fails is left out, the others stay."""
    arn_field = _fold_key(_TEXT_FIELDS[key][0])
    for row in rows:
        arn = row.texts.get(arn_field, "")
        fault = _fault(arn_field.lower(), arn, row.sso)
        if fault:
            problems.append(f"{key}, row {row.number} is left out: {fault}")
            continue
        groups = tuple(row.groups[: row.length])
        yield AwsAuthRow(arn, row.texts.get("USERNAME", ""), groups, "" if arn else _sso_pattern(row.sso or {}))


def _fault(arn_field: str, arn: str, sso: dict[str, str] | None) -> str:
    if sso is None:
        return "" if arn else f"it has no {arn_field} that can be read"
    if arn:
        return f"it has both {arn_field} and sso"
    if not _ACCOUNT_ID.fullmatch(sso.get("ACCOUNTID", "")):
        return "sso.accountID is not 12 digits in quotes"
    if not _PERMISSION_SET.fullmatch(sso.get("PERMISSIONSETNAME", "")):
        return "sso.permissionSetName is not the name of a permission set"
    if sso.get("PARTITION", "") not in {"", *partition_names()}:
        return f"sso.partition is none of {', '.join(partition_names())}"
    return ""


def _sso_pattern(sso: dict[str, str]) -> str:
    """RoleMapping.SSOArnLike, which forgets a partition that is given."""
    partition = "" if sso.get("PARTITION") else "aws"
    return f"arn:{partition}:iam::{sso['ACCOUNTID']}:role/AWSReservedSSO_{sso['PERMISSIONSETNAME']}_*".lower()


def _parse_accounts(text: str, problems: list[str]) -> tuple[str, ...]:
    """goyaml.v2 straight into []string: scalars keep their text (0123 stays 0123), other elements are dropped."""
    if text.strip(_goyaml.SPACES) in _SKIPPABLE:
        return ()
    try:
        root = _goyaml.compose(text)
    except _goyaml.YamlError as error:
        problems.append(f"mapAccounts: {error}; nothing of it is used")
        return ()
    if root is None or (root.kind == "scalar" and _is_null(root)):
        return ()
    if root.kind != "sequence":
        problems.append("mapAccounts is not a list: begin each account with '- '; nothing of it is used")
        return ()
    return tuple(_account_texts(root, problems))


def _account_texts(root: _goyaml.Node, problems: list[str]) -> list[str]:
    texts: list[str] = []
    for number, child in enumerate(root.children, start=1):
        node = child.target or child
        if node.kind != "scalar":
            problems.append(f"mapAccounts, row {number} is not an account id")
            continue
        try:
            value = _goyaml.resolve(node)
        except _goyaml.YamlError as error:
            problems.append(f"mapAccounts, row {number}: {error}; it and what follows is not used")
            # goyaml.v2 made the whole slice before it failed; ParseMap uses it all the same
            return texts + [""] * (len(root.children) - len(texts))
        resolved = value if node.tag == _goyaml.BINARY else node.value
        texts.append("" if value is None else str(resolved))
    return texts


def _is_null(node: _goyaml.Node) -> bool:
    try:
        return _goyaml.resolve(node) is None
    except _goyaml.YamlError:
        return False


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false (yes, no, on, off and y are such too)"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"
