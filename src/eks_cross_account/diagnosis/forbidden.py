"""What a 403 says was denied, read out of any text that it was pasted in. Touches nothing.

The sentences are those of kube-apiserver 1.36 (apiserver ``responsewriters/errors.go``, apimachinery
``api/errors``, the admission plugins), of the older and the hosted servers, and of AWS's AccessDenied (IAM User Guide,
"Troubleshoot access denied error messages"). The wrapping is not parsed: a sentence is found by its words, wherever it
stands, and the backslashes before its first quote say how often the text around it was quoted. JSON and Go add one to
those of a quote and double the rest, Python's repr doubles them; so their number, in binary, has one digit per layer,
and undoing one layer halves it. Words may be broken by a line break at any column.

Linear in the text: every pattern is possessive or bounded, a quoted value is looked at for ``_LONGEST`` characters at
most, and where a string ends is looked up once per layer, not once per sentence.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import astuple, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal[
    "rbac",
    "node",
    "impersonation",
    "non-resource",
    "exec-create",
    "escalation",
    "pod-security",
    "quota",
    "limit-range",
    "service-account",
    "priority-class",
    "namespace-terminating",
    "owner-reference",
    "not-ready",
    "webhook",
    "policy",
    "aws",
    "other",
]
Scope = Literal["namespace", "cluster"]


@dataclass(frozen=True, slots=True)
class Denial:
    """One denial, as far as the text says: a part is None where the text does not say it, or was cut.

    Values are as they were before anybody quoted them, and hostile: whoever prints them escapes them.

    ``kind``, a word to search for:

    - ``rbac``: the authorizer said no; no Role, access policy or cloud role allows it (the text cannot tell which)
    - ``node``: as ``rbac``, to the user of a node (``system:node:...``); or the plugin NodeRestriction
    - ``impersonation``: as ``rbac``, for acting as somebody else (``--as``)
    - ``non-resource``: as ``rbac``, for a path such as ``/metrics``, which is in ``resource``
    - ``exec-create``: ``get`` of exec, attach or portforward is allowed, ``create`` is not (Kubernetes 1.35 and newer)
    - ``escalation``: a role or binding that would give more than its author has; ``reason`` lists the rules
    - ``pod-security``: PodSecurity, PodSecurityPolicy or a SecurityContextConstraint
    - ``quota``, ``limit-range``: ResourceQuota and LimitRange
    - ``service-account``, ``priority-class``: the one that the pod names does not exist, or does not fit
    - ``namespace-terminating``: the namespace is being deleted
    - ``owner-reference``: blockOwnerDeletion on an owner whose finalizers the caller may not set
    - ``not-ready``: the API server has just started; the same call succeeds later
    - ``webhook``, ``policy``: an admission webhook, a ValidatingAdmissionPolicy (which answers 422)
    - ``aws``: AWS's AccessDenied; ``user`` is an ARN, ``verb`` the action, ``resource`` what AWS calls the resource
    - ``other``: a 403 that says no more, or no more than its beginning: a proxy's, an unknown plugin's, or cut

    ``api_group``: "" for the core group. ``scope``: whether a namespace was asked, or the whole cluster. ``reason``:
    the authorizer's after the denial, or what admission said; only where the text shows its end (a line's, a string's).
    """

    kind: Kind
    user: str | None = None
    verb: str | None = None
    resource: str | None = None
    subresource: str | None = None
    api_group: str | None = None
    namespace: str | None = None
    name: str | None = None
    scope: Scope | None = None
    reason: str | None = None


def explain_forbidden(text: str) -> tuple[Denial, ...]:
    """Every denial in the text once, in its order: one inside another after it, the cause of an exception after that.

    Empty where there is none. Never raises; reads escapes, and line breaks at any column, as what they stand for.
    """
    found = [*_events(text), *_Reader(text).denials()]
    chains = _chains(text)
    found.sort(key=lambda item: chains.key(item[0]))
    told = list(dict.fromkeys(denial for _, denial in reversed(found)))[::-1]  # the last of equals stays
    return tuple(_without_fragments(told) or ([Denial("other")] if _BARE_403.search(text) else []))


# --- the words, with a line break in any of them

_WRAP = r"(?:[ \t]*+\r?\n[ \t]*+(?:[#>|\u2502]++[ \t]*+)?+)"  # comment signs, quoted mail, terraform's box
_BREAK = r"[\s#>|\u2502]*+"  # the same in a word of ours: there, no more than this has to be told from it
_GAP = r"(?:[\s#>|\u2502]++|(?<!\\)\\++[nrt])++"  # between words; also where it is escaped
_RUN = rf"(?:\\{_WRAP}?+)*+\""  # a quote with its backslashes
_BLANK = " \t\r\n#>|\u2502"
_LONGEST = 4096  # characters of a quoted value, as it is in the text
_LONGEST_REASON = 4096
_LONGEST_RUN = 80  # a quote with its backslashes, which may hold a line break
_LAYERS = 63  # backslashes before a quote: six strings within each other


def _lax(words: str) -> str:
    return _GAP.join(_BREAK.join(map(re.escape, word)) for word in words.split())


@cache
def _words(pattern: str) -> re.Pattern[str]:
    """A pattern in which `words` may be broken, ~ is a gap between words, and % an opening quote."""
    lax = re.sub(r"`([^`]+)`", lambda found: _lax(found[1]), pattern)
    return re.compile(lax.replace("~", _GAP).replace("%", f"(?P<quote>{_RUN})"))


_ANCHOR = _words(
    r"(?P<head>`is forbidden:`)|(?P<path>`forbidden:`)|(?P<user>`User`(?=~\\*+\"))|(?P<aws>`User:`)"
    r"|(?P<webhook>`admission webhook`(?=~))|(?P<url>403)"
)
_TOKEN = rf"[^\s\"\\]{{1,253}}+(?:{_WRAP}[^\s\"\\]{{1,253}}+){{0,3}}?"
_LABEL = rf"(?:[a-z0-9.:-]|{_WRAP}){{1,253}}?"
_USER = _words(r"`User`~%")
_CANNOT = _words(r"~`cannot`(?=~)")
_VERB = _words(rf"~(?P<verb>{_TOKEN})~(?:(?P<resource>`resource`)|`path`)~%")
_FIRST_WORD = _words(r"~(?P<verb>[^\s\"\\]{1,253}+)[ \t]")
_LEGACY = _words(  # Kubernetes 1.11 and older, OpenShift 3
    rf"~(?P<verb>{_TOKEN})~(?P<resource>[a-z*](?:[a-z0-9.*/-]|{_WRAP}){{0,253}}?)~"
    r"(?:`at the cluster scope`|`in the namespace`~%)"
)
_IN_GROUP = _words(r"~`in API group`~%")
_IN_NAMESPACE = _words(r"~`in the namespace`~%")
_AT_CLUSTER = _words(r"~`at the cluster scope`")
_BECAUSE = _words(r"\.?+:~")
_ESCALATING = _words(r"`user`~%")
_GROUPS = _words(r"~\(`groups=`\[")
_GRANTING = _words(r"\]\)~`is attempting to grant RBAC permissions not currently held:`~")
_RULES = _words(r"\{[A-Z][^{}]{1,4000}+\}(?:~\{[A-Z][^{}]{1,4000}+\})*+")
_BETWEEN_RULES = re.compile(r"\}\s++\{")
_WEBHOOK = _words(r"~%")
_DENIED = _words(r"~`denied the request`")
_NOT_FOUND = r"(?P<q>\\*+\")[^\"\\]{1,253}+(?P=q)~`not found`"
_DANGLING = _words(r"`RBAC:`")
_WHOLE_REASONS = tuple(  # those that end where they end, whatever follows
    _words(reason)
    for reason in (
        rf"`RBAC:`~[a-z.0-9]{{1,253}}+~{_NOT_FOUND}",
        r"`RBAC:`~\[[^\]]{1,4000}+\]",
        r"`requires one of`~\[[^\]]{1,400}+\]~`permission(s).`",
        r"`User does not have access to the resource in Azure. Update role assignment to allow access.`",
        r"`no relationship found between node`~'[^'\n]{1,253}+'~`and this object`",
        rf"`error looking up service account`~[^\s:]{{1,507}}+:~`serviceaccount`~{_NOT_FOUND}",
        r"`no PriorityClass with name`~\S{1,253}+~`was found`",
        r"`unable to create new content in namespace`~\S{1,253}+~`because it is being terminated`",
        r"`not yet ready to handle request`",
        r"`admission webhook`~(?P<q>\\*+\")[^\"\\]{1,253}+(?P=q)~`denied the request without explanation`",
    )
)
_PLUGINS: tuple[tuple[Kind, str], ...] = (
    ("pod-security", r"`violates PodSecurity`~"),
    ("pod-security", r"`unable to validate against any`~(?:`pod security policy`|`security context constraint`)"),
    ("quota", r"`exceeded quota:`|[Ff]`ailed quota:`|`insufficient quota to`|`status unknown for quota:`"),
    ("limit-range", r"\[?+(?:`maximum`|`minimum`)~\S{1,99}+~`usage per`"),
    ("limit-range", r"\[?+\S{1,99}+~`max limit to request ratio per`"),
    ("service-account", rf"`error looking up service account`~(?:(?P<namespace>{_LABEL})/)?"),
    ("service-account", r"`no service account specified for pod`"),
    ("priority-class", r"`no PriorityClass with name`|`the integer value of priority`"),
    ("namespace-terminating", rf"`unable to create new content in namespace`~(?:(?P<namespace>{_LABEL})~`because`)?"),
    ("owner-reference", r"`cannot set blockOwnerDeletion`"),
    ("not-ready", r"`not yet ready to handle request`"),
    ("webhook", r"`admission webhook`~(?=\\*+\")"),
    ("policy", r"`ValidatingAdmissionPolicy`~\\*+'"),
    ("node", r"`node`~\\*+\"[^\"\\]{1,253}+\\*+\"~(?:`is not allowed to`|`can only`|`cannot`|`can not`|`must not`)"),
)
_ADMISSION: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple((kind, _words(pattern)) for kind, pattern in _PLUGINS)
_ARN = r"[^\s\"'\\<>,;]{1,700}+"
_NOT_AUTHORIZED = _words(
    rf"~(?P<user>arn:{_ARN}(?:{_WRAP}{_ARN}){{0,4}}?|[A-Za-z0-9_.@-]{{1,128}}+)~`is not authorized to perform:`"
)
_ACTION = _words(
    rf"~(?P<action>[A-Za-z0-9-]{{1,64}}+(?:{_WRAP}[A-Za-z0-9-]{{1,64}}+)?+:[A-Za-z0-9*]{{1,128}}+)(?=[\s\"',.\\])"
)
_POLICIES = (
    "identity-based policy", "resource-based policy", "session policy", "permissions boundary", "role trust policy",
    "service control policy", "resource control policy", "VPC endpoint policy",
)  # fmt: skip
_POLICY = "|".join(f"`{policy}`" for policy in _POLICIES)
_CLAUSE = (
    rf"(?:`because no`~(?P<no>{_POLICY})~`allows the`~(?P<allows>[^\s\"\\]{{1,200}}+)~`action`"
    rf"|`with an explicit deny in`~(?P<article>`an`|`a`|`the`)~(?P<deny>{_POLICY})"
    rf"(?::~(?P<by>arn:{_ARN})(?=[\s\"]))?+)"
)
_ON = r"~`on resource`:?+~(?:\\*+\")?+"
_ON_CLAUSE = _words(rf"{_ON}(?P<resource>{_ARN}(?:{_WRAP}{_ARN}){{0,4}}?(?:[ ]{_ARN})?)(?:\\*+\")?+:?+~{_CLAUSE}")
_NO_RESOURCE = _words(rf"~{_CLAUSE}")
_ON_ALONE = _words(rf"{_ON}(?P<resource>{_ARN})(?=[\s\"'\\<>,;])")
_OF_URL = re.compile(
    r"403(?:, message='[^'\n]{0,60}+', url=(?:URL\()?+'| Client Error: Forbidden for url: )(?:http|ws)s?+://[^\s/'\"]{1,300}+"
    r"(?P<path>/[^\s?'\"]{1,2000}+)(?=[\s?'\"])"
)
_API_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]++))/[^/]++(?:/namespaces/(?P<namespace>[^/]++)(?=/))?"
    r"/(?P<resource>[^/]++)(?:/(?P<name>[^/]++)(?:/(?P<subresource>[^/]++))?)?"
)
_BARE_403 = re.compile(  # a refusal that names nothing: reported where nothing else was found
    r"\(403\)\s*+Reason: Forbidden|Handshake status 403 Forbidden|\b403, message='|403 Client Error: Forbidden"
    r"|Error from server \(Forbidden\)|Forbidden!Configured service account|reason\\*+\"\s*+:\s*+\\*+\"Forbidden\\*+\""
)


# --- quoting

_QUOTE = re.compile(rf"(?<!\\){_RUN}")
_WRAPPED = re.compile(rf"(?<![ \t]){_WRAP}")
_SKIP = re.compile(_GAP)
_ESCAPE = re.compile(r"((?:\\x[0-9a-fA-F]{2})++)|((?:\\u[0-9a-fA-F]{4})++)|\\U([0-9a-fA-F]{8})|\\(.)", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_LAST_RUNE = 0x10FFFF
_NEW_RECORD = re.compile(r"\n(?:[ \t]*+\r?\n|\[|\d{4}[-/]|[IWEF]\d{4} |\{\"|Traceback |time=)")
_NO_LEVEL = re.compile(r"(?<!\\)\\*+\"(?=\s*+(?:[,}\]]|\Z))|\n")  # the end, where no quote says which level it is
_NOTHING = re.compile(rf"[ \t]*+(?:(?P<cut>\Z)|(?P<line>\r?\n|\\++n)|(?P<quote>{_RUN}))")
_LAST_TOKEN = re.compile(r"[A-Za-z0-9.*-]{1,253}+")
_SPACELESS = re.compile(r"(?:arn:|system:)\S++")


def _unescape(found: re.Match[str]) -> str:
    octets, units, rune, char = found.groups()
    if octets:  # Go's and Python's: bytes of UTF-8
        try:
            return bytes.fromhex(octets.replace("\\x", "")).decode()
        except UnicodeDecodeError:
            return str(octets)
    if units:  # JSON's: UTF-16
        return bytes.fromhex(units.replace("\\u", "")).decode("utf-16-be", "replace")
    if rune:
        return chr(int(rune, 16)) if int(rune, 16) <= _LAST_RUNE else found[0]
    return _SHORT.get(char, char)


def _decoded(text: str, layers: int) -> str:
    for _ in range(layers):
        text = _ESCAPE.sub(_unescape, text)
    return text


def _level(quote: str) -> int:
    """How many backslashes: 0 for a quote that stands in no other string."""
    return quote.count("\\")


@cache
def _closing(level: int) -> re.Pattern[str]:
    """The end of the string that a message of this level stands in, or of its line where it stands in none."""
    return re.compile(r"\n" if level == 0 else rf"(?<!\\)\\{{0,{level - 1}}}\"")


def _joined(text: str) -> str:
    """A word that holds no spaces, without its line breaks."""
    return _WRAPPED.sub("", text)


class _Value(NamedTuple):
    """What stands between two quotes, still escaped: None where it was cut. ``broken``: by a line break."""

    text: str | None
    level: int
    end: int
    broken: bool = False

    def plain(self) -> str | None:
        """Of a value that holds no spaces."""
        value = self.unquoted()
        return None if value is None or any(char.isspace() for char in value) else value

    def user(self) -> str | None:
        """Of a name that may hold spaces: a line break in it may have been one, and nobody can tell."""
        value = self.unquoted()
        return None if value is None or (self.broken and not _SPACELESS.fullmatch(value)) else value

    def unquoted(self) -> str | None:
        return None if self.text is None else _decoded(self.text, self.level.bit_length() + 1)  # Go's own is one more


class _Head(NamedTuple):
    """What stands before ``is forbidden:``. ``level``: of the quotes around the name, None where there is none.

    ``certain``: it looks like an API server's, even if what follows is not known.
    """

    denial: Denial
    level: int | None
    certain: bool


class _Reader:
    """One text, read once from its start to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[re.Pattern[str], tuple[int, re.Match[str] | None]] = {}

    def denials(self) -> Iterator[tuple[int, Denial]]:
        """Where and what."""
        read = {
            "head": self._at_head,
            "path": self._at_path,
            "user": self._at_user,
            "webhook": self._at_webhook,
            "aws": self._at_aws,
            "url": self._at_url,
        }
        done = 0
        for anchor in _ANCHOR.finditer(self._text):
            if anchor.start() < done:
                continue
            denial, done = read[anchor.lastgroup or ""](anchor)
            if denial is not None:
                yield anchor.start(), denial

    # --- by anchor: what was denied, or None; and where to read on

    def _at_head(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        head = self._head(anchor.start())
        if head is None:
            return None, anchor.end()
        at = self._skip(anchor.end())
        if _USER.match(self._text, at):
            return self._authorizer(at, head.denial)
        if _ESCALATING.match(self._text, at):
            return self._escalation(at, head.denial)
        for kind, pattern in _ADMISSION:
            found = pattern.match(self._text, at)
            if found:
                return self._admission(kind, found, head), found.end()
        return self._unknown(anchor.end(), head), anchor.end()

    def _at_path(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        at = self._skip(anchor.end())
        return self._authorizer(at, None) if _USER.match(self._text, at) else (None, anchor.end())

    def _at_user(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        return self._authorizer(anchor.start(), None)

    def _at_webhook(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        opened = _WEBHOOK.match(self._text, anchor.end())
        if opened is None:
            return None, anchor.end()
        level = _level(opened["quote"])
        denied = _DENIED.match(self._text, self._value(opened).end)
        if denied is None or level > _LAYERS:
            return None, opened.end()
        return Denial("webhook", reason=self._reason(anchor.start(), level)), denied.end()

    def _at_aws(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        found = _NOT_AUTHORIZED.match(self._text, anchor.end())
        if found is None:
            return None, anchor.end()
        denial = Denial("aws", user=_joined(found["user"]))
        action = _ACTION.match(self._text, found.end())
        if action is None:
            return denial, found.end()
        denial, at = replace(denial, verb=_joined(action["action"])), action.end()
        clause = _ON_CLAUSE.match(self._text, at) or _NO_RESOURCE.match(self._text, at)
        alone = None if clause else _ON_ALONE.match(self._text, at)
        read = clause or alone
        if read is None:
            return denial, at
        resource = read.groupdict().get("resource")
        denial = replace(denial, resource=_joined(resource) if resource else None)
        return (replace(denial, reason=_aws_reason(clause)) if clause else denial), read.end()

    def _at_url(self, anchor: re.Match[str]) -> tuple[Denial | None, int]:
        found = _OF_URL.match(self._text, anchor.start())
        path = _API_PATH.fullmatch(found["path"]) if found else None
        if path is None:
            return None, anchor.end()
        asked: dict[str, Any] = path.groupdict()
        scope: Scope | None = "namespace" if asked["namespace"] else None
        return Denial("other", api_group=asked.pop("group") or "", scope=scope, **asked), anchor.end()

    # --- the parts of a sentence

    def _head(self, at: int) -> _Head | None:
        """``pods "p1"`` before ``is forbidden:``; None where something else stands there."""
        before = self._text[max(0, at - _LONGEST // 4) : at].rstrip(_BLANK)
        name, level = None, None
        if before.endswith('"'):
            quotes = list(_QUOTE.finditer(before, max(0, before.rfind('"', 0, -1) - _LONGEST_RUN)))[-2:]
            levels = [_level(quote[0]) for quote in quotes]
            if len(quotes) == 1 or levels[0] != levels[1] or levels[0] > _LAYERS:
                return None
            level = levels[0]
            inner = before[quotes[0].end() : quotes[1].start()]
            name = _Value(_joined(inner), level, at).plain()
            before = before[: quotes[0].start()].rstrip(_BLANK)
        token = _LAST_TOKEN.match(before[::-1])
        if token is None:
            return None
        plural, rest = token[0][::-1], before[: len(before) - token.end()]
        if rest.endswith("\\") and plural[0] in "nrt":  # the end of an escaped line break
            plural, rest = plural[1:], rest.rstrip("\\") + "\n"
        if _breaks_a_word(rest):
            return _Head(Denial("other", name=name), level, certain=False)
        resource, _, group = plural.partition(".")
        said = name is not None or rest.endswith('"') or "(Forbidden)" in rest[-160:]
        certain = said and (resource.endswith("s") or group != "") and _starts_here(rest)
        return _Head(Denial("other", resource=resource, api_group=group, name=name), level, certain)

    def _authorizer(self, at: int, head: Denial | None) -> tuple[Denial | None, int]:
        """``User "u" cannot get resource ...``. Without a head, only what cannot be anything else."""
        opened = _USER.match(self._text, at)
        if opened is None or _level(opened["quote"]) > _LAYERS:
            return head, at + 1
        user = self._value(opened)
        cannot = _CANNOT.match(self._text, user.end)
        if user.text is None or cannot is None:
            return (self._named(head, user) if head else None), user.end
        denial = replace(head or Denial("other"), user=_unsanitized(user.user()))
        verb = _VERB.match(self._text, cannot.end())
        if verb is None:
            return self._legacy(cannot.end(), user.level, denial, cut=head)
        denial = replace(denial, verb=_joined(verb["verb"]))
        value = self._value(verb)
        if verb["resource"]:
            return self._resource(value, denial)
        return self._because(replace(denial, kind="non-resource", resource=_unsanitized(value.plain())), value)

    def _named(self, head: Denial, user: _Value) -> Denial:
        """The user of a text that ends behind it."""
        left = "".join(self._text[user.end : user.end + _LONGEST // 16].split())
        return replace(head, user=_unsanitized(user.user())) if "cannot".startswith(left) else head

    def _legacy(self, at: int, level: int, denial: Denial, *, cut: Denial | None) -> tuple[Denial | None, int]:
        """``cannot list jobs.batch in the namespace "n"``; or a sentence that ends before it is clear what it is."""
        found = _LEGACY.match(self._text, at)
        if found is None:
            word = _FIRST_WORD.match(self._text, at)
            return (None if cut is None else _judged(replace(denial, verb=word["verb"])) if word else denial), at
        named, _, rest = _joined(found["resource"]).partition("/")
        resource, _, group = named.partition(".")
        denial = replace(
            denial, verb=_joined(found["verb"]), resource=resource, api_group=group, subresource=rest or None
        )
        if found["quote"] is None:
            return self._because(replace(_judged(denial), scope="cluster"), _Value("", level, found.end()))
        namespace = self._value(found)
        return self._because(replace(_judged(denial), namespace=namespace.plain(), scope="namespace"), namespace)

    def _resource(self, value: _Value, denial: Denial) -> tuple[Denial, int]:
        """``"pods/log" in API group "" in the namespace "n"``: each part is there, or the text was cut before it."""
        denial = _judged(denial)
        in_group = _IN_GROUP.match(self._text, value.end)
        named = value.plain() if in_group or not value.broken else None
        if named is None:
            return denial, value.end
        resource, _, subresource = named.partition("/")
        denial = replace(denial, resource=resource, subresource=subresource or None)
        if in_group is None:
            return denial, value.end
        group = self._value(in_group)
        at_cluster = _AT_CLUSTER.match(self._text, group.end)
        in_namespace = _IN_NAMESPACE.match(self._text, group.end)
        if group.text is not None and (at_cluster or in_namespace or not group.broken):
            denial = replace(denial, api_group=group.plain())
        if at_cluster:
            return self._because(replace(denial, scope="cluster"), group._replace(end=at_cluster.end()))
        if in_namespace is None:
            return denial, group.end
        namespace = self._value(in_namespace)
        return self._because(replace(denial, namespace=namespace.plain(), scope="namespace"), namespace)

    def _because(self, denial: Denial, last: _Value) -> tuple[Denial, int]:
        """With the authorizer's reason, if there is one behind the last value."""
        because = _BECAUSE.match(self._text, last.end) if last.text is not None else None
        if because is None:
            return denial, last.end
        return replace(denial, reason=self._reason(because.end(), last.level)), because.end()

    def _escalation(self, at: int, denial: Denial) -> tuple[Denial, int]:
        """``user "u" (groups=["a" "b"]) is attempting to grant RBAC permissions not currently held:`` and the rules."""
        opened = _ESCALATING.match(self._text, at)
        if opened is None or _level(opened["quote"]) > _LAYERS:
            return denial, at + 1
        user = self._value(opened)
        groups = _GROUPS.match(self._text, user.end) if user.text is not None else None
        if groups is None:
            return denial, user.end
        denial = replace(denial, kind="escalation", user=user.user())
        granting = self._next(_GRANTING, groups.end())
        if granting is None or granting.start() - groups.end() > _LONGEST_REASON:
            return denial, groups.end()
        rules = _RULES.match(self._text, granting.end())
        end = rules.end() if rules else granting.end()
        reason = self._reason(granting.end(), user.level, over=end)
        return replace(denial, reason=_BETWEEN_RULES.sub("}\n{", reason) if reason else None), end

    def _admission(self, kind: Kind, found: re.Match[str], head: _Head) -> Denial:
        namespace = found.groupdict().get("namespace")
        denial = replace(head.denial, kind=kind, namespace=_joined(namespace) if namespace else None)
        return replace(denial, reason=self._reason(found.start(), head.level))

    def _unknown(self, at: int, head: _Head) -> Denial | None:
        """A head with nothing behind it, or with what no plugin of Kubernetes says."""
        pod = head.denial.resource == "pods" and head.denial.name is not None
        nothing = _NOTHING.match(self._text, at)
        if nothing and nothing["cut"] is not None:
            return head.denial if head.certain else None
        ends = nothing and (nothing["line"] if not head.level else nothing["quote"])
        if ends is not None and pod and (ends[-1] != '"' or _level(ends) < (head.level or 0)):
            return replace(head.denial, kind="exec-create")
        start = self._skip(at)
        if pod and _DANGLING.match(self._text, start):
            return replace(head.denial, kind="exec-create", reason=self._reason(start, head.level))
        return replace(head.denial, reason=self._reason(start, head.level)) if head.certain else None

    def _reason(self, start: int, level: int | None, *, over: int = 0) -> str | None:
        """The rest of the sentence, on one line of its own or to its string's end; None where that is not seen."""
        whole = next((found for pattern in _WHOLE_REASONS if (found := pattern.match(self._text, start))), None)
        found = whole or self._next(_NO_LEVEL if level is None else _closing(level), max(start, over))
        if found is None:
            return None
        end = whole.end() if whole else found.start()
        raw = self._text[start:end] if end - max(start, over) <= _LONGEST_REASON else ""
        if level is None:
            quote = _QUOTE.search(raw)
            level = _level(quote[0]) if quote else 0
        if level and _NEW_RECORD.search(raw):
            return None
        reason = _decoded(_WRAPPED.sub(" ", raw), min(level, _LAYERS).bit_length()).strip()
        return reason if reason and (level or reason[-1] != ":") else None

    def _value(self, opened: re.Match[str]) -> _Value:
        """What stands between the quote that a match ends with and the next one of its level."""
        start, level = opened.end(), _level(opened["quote"])
        unit = 1 << level.bit_length()  # how many backslashes one of the value's own is written as
        for quote in _QUOTE.finditer(self._text, start, start + _LONGEST):
            run = _level(quote[0])
            if run < level:
                return _Value(None, level, quote.start())
            if (run - level) % (2 * unit) == 0:
                raw = self._text[start : quote.end() - 1]
                inner = _joined(raw)
                cut = _NEW_RECORD.search(raw) is not None
                return _Value(None if cut else inner[: len(inner) - level], level, quote.end(), inner != raw)
        return _Value(None, level, start)

    def _next(self, pattern: re.Pattern[str], start: int) -> re.Match[str] | None:
        """As ``search`` from a start that only grows: what was found, or not, is not looked for again."""
        since, found = self._found.get(pattern, (-1, None))
        if not 0 <= since <= start or (found is not None and found.start() < start):
            found = pattern.search(self._text, start)
            self._found[pattern] = (start, found)
        return found

    def _skip(self, at: int) -> int:
        gap = _SKIP.match(self._text, at)
        return gap.end() if gap else at


def _unsanitized(value: str | None) -> str | None:
    """Without the HTML that the authorizer's answer is made safe with (responsewriters/errors.go)."""
    return value and value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _judged(denial: Denial) -> Denial:
    """With the kind of an authorizer's denial whose verb is known."""
    if (denial.verb or "").partition(":")[0] in {"impersonate", "impersonate-on"}:
        return replace(denial, kind="impersonation")
    return replace(denial, kind="node" if (denial.user or "").startswith("system:node:") else "rbac")


def _breaks_a_word(rest: str) -> bool:
    """Whether the line before may end in the first half of the resource's name."""
    line, _, indent = rest.rpartition("\n")
    return len(line) != len(rest) and not indent.strip(_BLANK) and line[-1:].islower()


def _starts_here(rest: str) -> bool:
    """Whether a sentence may start behind this: at the start of a line, or behind a colon, a bracket or a quote."""
    line = rest.rpartition("\n")[2].rstrip(" \t")
    return not line.strip(_BLANK) or line[-1] in ":\"'[({"


def _aws_reason(found: re.Match[str]) -> str:
    """As AWS writes it, without line breaks."""
    said = found["no"] or found["deny"]
    policy = next(policy for policy in _POLICIES if _words(f"`{policy}`").fullmatch(said))
    if found["no"]:
        return f"because no {policy} allows the {found['allows']} action"
    article = "".join(filter(str.isalpha, found["article"]))
    by = f": {found['by'].rstrip('.')}" if found["by"] else ""
    return f"with an explicit deny in {article} {policy}{by}"


# --- audit events

_EVENT = re.compile(r'\{\s*+"kind"\s*+:\s*+"Event"\s*+,\s*+"apiVersion"\s*+:\s*+"audit\.k8s\.io')


def _events(text: str) -> list[tuple[int, Denial]]:
    """What audit events deny, with what they know of the request: whose it was, and what it was about."""
    found: list[tuple[int, Denial]] = []
    decoder, done = json.JSONDecoder(parse_int=float), 0  # an int of many digits is an error in Python
    try:
        for start in _EVENT.finditer(text):
            if start.start() >= done:
                try:
                    event, done = decoder.raw_decode(text, start.start())
                except json.JSONDecodeError as error:
                    done = error.pos  # nothing is read twice
                else:
                    found.extend((start.start(), denial) for denial in _of_event(event))
        if not found and "auditID" in text and text.lstrip()[:1] in {"{", "["}:
            found.extend((0, denial) for event in _documents(decoder, text) for denial in _of_event(event))
    except RecursionError:  # nested as no event is
        return found
    return found


def _documents(decoder: json.JSONDecoder, text: str) -> Iterator[dict[str, Any]]:
    """Every object with an auditID in a document of JSON, or in a string in it."""
    try:
        rest = [decoder.decode(text)]
    except json.JSONDecodeError:
        return
    while rest:
        value = rest.pop()
        if isinstance(value, dict) and "auditID" in value:
            yield value
        elif isinstance(value, dict):
            rest.extend(reversed(value.values()))
        elif isinstance(value, list):
            rest.extend(reversed(value))
        elif isinstance(value, str) and "auditID" in value and value.lstrip()[:1] == "{":
            yield from _documents(decoder, value)


def _of_event(event: dict[str, Any]) -> Iterator[Denial]:
    def of(name: str) -> dict[str, Any]:
        part = event.get(name)
        return part if isinstance(part, dict) else {}

    def said(part: dict[str, Any], name: str) -> str | None:
        value = part.get(name)
        return value if isinstance(value, str) else None

    status, asked, notes = of("responseStatus"), of("objectRef"), of("annotations")
    who = of("impersonatedUser") or of("user")
    known: dict[str, Any] = {"user": said(who, "username"), "verb": said(event, "verb")}
    if asked:
        namespace = said(asked, "namespace") or None
        known |= {name: said(asked, name) or None for name in ("resource", "subresource", "name")}
        known |= {"namespace": namespace, "api_group": said(asked, "apiGroup") or ""}
        known["scope"] = "namespace" if namespace else "cluster"
    known["reason"] = said(notes, "authorization.k8s.io/reason") or None
    message = json.dumps(said(status, "message") or "")  # in a string, so that its end is seen
    denials = [denial for _, denial in _Reader(message).denials()]
    if not denials and status.get("code") == _FORBIDDEN:
        forbidden = notes.get("authorization.k8s.io/decision") == "forbid"
        denials = [_judged(Denial("other", **known)) if forbidden and asked else Denial("other", **known)]
    for denial in denials[:1]:  # those in it may be about other requests
        yield replace(denial, **{name: value for name, value in known.items() if getattr(denial, name) is None})
    yield from denials[1:]


_FORBIDDEN = 403


# --- order, and what is said twice

_CHAIN = re.compile(
    r"(?P<start>Traceback \(most recent call last\):)"
    r"|(?P<link>The above exception was the direct cause of the following exception:"
    r"|During handling of the above exception, another exception occurred:)"
    r"|(?P<end>\n(?=\r?\n|\[|\d{4}-))"
)


class _Chains(NamedTuple):
    """Where Python's chained exceptions are in a text. It prints the cause first, we say it last."""

    starts: list[int]
    keys: list[tuple[int, int] | None]  # the chain, and how far from its last exception; None outside

    def key(self, at: int) -> tuple[int, int, int]:
        """What to sort by."""
        block = bisect_right(self.starts, at) - 1
        where = self.keys[block] if block >= 0 else None
        return (*where, at) if where else (at, 0, at)


def _chains(text: str) -> _Chains:
    chains = _Chains([], [])
    first, depth, linked = 0, 0, False
    for mark in _CHAIN.finditer(text):
        if mark.lastgroup == "link":
            linked = True
            continue
        if mark.lastgroup == "start":
            first, depth = (first, depth - 1) if linked else (mark.start(), 0)
            linked = False
            chains.keys.append((first, depth))
        elif chains.keys and chains.keys[-1] is not None:
            chains.keys.append(None)
        else:
            continue
        chains.starts.append(mark.start())
    return chains


def _without_fragments(denials: list[Denial]) -> list[Denial]:
    """Without those that are a part of another: the same sentence, cut, or in a wrapper that knows less."""
    whole = [astuple(denial) for denial in denials]
    masks = {tuple(value is not None and value != "other" for value in values) for values in whole}
    known: dict[tuple[bool, ...], dict[tuple[object, ...], int]] = {}
    for mask in masks:
        seen = known[mask] = {}
        for values in whole:
            part = tuple(value if keep else None for value, keep in zip(values, mask, strict=True))
            seen[part] = seen.get(part, 0) + 1
    kept = []
    for denial, values in zip(denials, whole, strict=True):
        mask = tuple(value is not None and value != "other" for value in values)
        part = tuple(value if keep else None for value, keep in zip(values, mask, strict=True))
        if known[mask][part] == 1:
            kept.append(denial)
    return kept
