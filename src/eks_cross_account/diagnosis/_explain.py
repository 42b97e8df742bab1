"""What people paste when something is red: what it is, whose identity, and what to do. Touches nothing.

A paste is a task's log, an error of kubectl, an audit event, a line of the authenticator, an AWS error, or several in
one. Each thing is found by words that only it has; the words come from client-go, kubectl, botocore, the Kubernetes
clients, Airflow's provider and aws-iam-authenticator 0.7.18. Denials are ``forbidden``'s. Nothing of a token is ever
quoted, and every pattern is bounded: the time is linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable_message, without_secrets
from eks_cross_account.diagnosis import remedies
from eks_cross_account.diagnosis._ids import IDS
from eks_cross_account.diagnosis.forbidden import Denial, explain_forbidden
from eks_cross_account.diagnosis.needs import Rule, required_permissions
from eks_cross_account.diagnosis.report import WIDTH, Remedy, wrapped
from eks_cross_account.errors import MalformedTokenError
from eks_cross_account.token import decode_token, encode_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eks_cross_account.token import DecodedToken

_SHOWN = 20  # things told of one paste
_NO_RETRY = {"live-token", "expired-token"}  # they are no failures


@dataclass(frozen=True, slots=True)
class Explanation:
    """One thing that a paste says.

    ``id``: the finding's, or what it is; ``cause``: the id of the cause (U15, F7, N1 …) where the text decides it;
    ``identity``: an ARN or a user name, "" where the text names none; ``denial``: of a 403; ``retry``: whether trying
    again can help. Nothing in it needs escaping but what ``denial`` holds.
    """

    id: str
    summary: str
    remedy: Remedy
    cause: str | None = None
    identity: str = ""
    denial: Denial | None = None
    retry: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the JSON answer has it: the denial's fields, each None where this is none, and what is to be done."""
        denial = asdict(self.denial) if self.denial else dict.fromkeys(Denial.__dataclass_fields__)
        return {
            **denial,
            "id": self.id,
            "cause": self.cause,
            "identity": self.identity,
            "summary": self.summary,
            "remedy": self.remedy.to_dict(),
            "retry": self.retry,
        }

    def to_text(self, *, width: int | None = None) -> str:
        """A paragraph for people."""
        width = width or WIDTH
        help_it = "Retrying may help." if self.retry else "Retrying will not help."
        lines = wrapped(f"[{self.id}] {self.summary}", "FOUND", width)
        lines += wrapped(f"fix: {self.remedy.text}", width=width)
        return "\n".join([*lines, *(wrapped(help_it, width=width) if self.id not in _NO_RETRY else ())]) + "\n"


def explain(text: str, *, now: datetime) -> tuple[Explanation, ...]:
    """What the paste says, each thing once, at most 20; empty where nothing in it is known. Never raises."""
    shown = without_secrets(text)
    told = [*_tokens(text, now), *_denials(shown), *_known(shown)]
    unique = list({(item.id, item.cause, item.identity, item.denial): item for item in told}.values())
    says_more = any(item.id not in _GENERAL and item.id != "live-token" for item in unique)
    return tuple([item for item in unique if not (says_more and item.id in _GENERAL)][:_SHOWN])


# --- tokens in the paste

_TOKEN = re.compile(  # with the lines after it, into which a terminal may have wrapped it
    r"k8s-aws-v1\.[A-Za-z0-9_-]{20,6000}+(?:\r?\n(?!k8s-aws-v1\.)[A-Za-z0-9_-]{1,6000}+){0,200}+"
)
# What a token is made of; the verifier's log has it where it cannot read it, as JSON with & escaped
_URL = re.compile(r"https://sts(?:[^\s\"'\\<>]|\\u0026){50,6000}+", re.IGNORECASE)


def _tokens(text: str, now: datetime) -> Iterator[Explanation]:
    for token, until in sorted(_dated(text), key=lambda dated: dated[1]):  # told once: of several the last to end
        whose = f"key {token.access_key_id}, " if token.access_key_id else ""
        when = f"{until:%Y-%m-%d %H:%M:%S} UTC"
        if until > now:
            yield Explanation(
                "live-token",
                f"this paste holds a token that is valid until {when} ({whose}region {token.region}): whoever reads "
                "it can use it until then",
                Remedy("do not pass this paste on before then; to judge the token itself: eks-token-check decode"),
            )
        else:
            yield Explanation(
                "expired-token",
                f"this paste holds a token that was valid until {when} ({whose}region {token.region})",
                Remedy("if it was sent later than that, it was kept for too long: make one for each request"),
                cause="U9",
            )


def _dated(text: str) -> Iterator[tuple[DecodedToken, datetime]]:
    """The tokens whose date can be read: of a wrapped one it is in a line further down."""
    for match in _TOKEN.finditer(text):
        lines = match[0].split()
        yield from _first_dated(lines[0], "".join(lines[:-1]), "".join(lines))  # the last may be something else
    for match in _URL.finditer(text):
        if "X-Amz-Signature=" in match[0]:
            yield from _first_dated(encode_token(match[0].replace("\\u0026", "&")))


def _first_dated(*readings: str) -> Iterator[tuple[DecodedToken, datetime]]:
    for reading in readings:
        try:
            token = decode_token(reading)
        except MalformedTokenError:
            continue
        if token.expiration is not None:
            yield token, token.expiration
            return


# --- denials

ADMISSION = {
    "pod-security": "PodSecurity refuses this pod: change its securityContext, or the namespace's level",
    "quota": "the namespace's ResourceQuota is used up, or wants requests and limits on every container",
    "limit-range": "the namespace's LimitRange does not allow these requests and limits",
    "service-account": "the ServiceAccount that the pod names is not in this namespace: make it, or name another",
    "priority-class": "the pod's PriorityClass does not exist, or does not fit",
    "namespace-terminating": "the namespace is being deleted: wait, and make it again",
    "owner-reference": "leave blockOwnerDeletion out, or allow `update` of the owner's finalizers",
    "not-ready": "the API server has just started: try again",
    "webhook": "an admission webhook said no, for the reason above: ask whoever runs it",
    "policy": "a ValidatingAdmissionPolicy said no, for the reason above: ask the cluster's owner",
}
_NOT_RBAC = "this is no matter of roles or bindings"


def _denials(text: str) -> Iterator[Explanation]:
    yield from map(explain_denial, explain_forbidden(text))


_BY_KIND = {  # the finding, its cause, what it is, and what to do
    "escalation": ("forbidden", "F12", "somebody would grant more rights than they have",
                   ("who makes a role must have every right in it, or the verb escalate on roles; who binds one, the "
                    "same, or the verb bind. AmazonEKSAdminPolicy has neither, AmazonEKSClusterAdminPolicy both")),
    "exec-create": ("forbidden", "F8", "exec was refused, and the server does not say to whom",
                    "allow `create pods/exec` beside `get`: Kubernetes 1.35 and newer ask for both"),
    "other": ("forbidden-unclear", None, "a 403 that does not say what was denied",
              "a proxy's or firewall's 403, or the body is missing: look at the body, and at who answered"),
}  # fmt: skip


def explain_denial(denial: Denial) -> Explanation:
    """What it is, and what to do."""
    if denial.kind == "aws":
        return _aws_denial(denial)
    found, cause, summary, text = _about(denial)
    return Explanation(found, summary, Remedy(text), cause, denial.user or "", denial, retry=denial.kind == "not-ready")


def _about(denial: Denial) -> tuple[str, str | None, str, str]:
    """The finding, the cause, what it is, and what to do."""
    if denial.kind in ADMISSION:
        why = f": {_shown(denial.reason)}" if denial.reason else ""
        told = f"admission refused it ({denial.kind}){why}"
        return "admission-denied", "F13", told, f"{ADMISSION[denial.kind]}; {_NOT_RBAC}"
    if denial.kind in _BY_KIND:
        found, cause, told, text = _BY_KIND[denial.kind]
        told = told.replace("somebody", f"user {_shown(denial.user)}") if denial.user else told
        needed = f". {_needed('', 'pods/exec', 'create')}" if denial.kind == "exec-create" else ""
        return found, cause, told, f"{text}{needed}"
    asked = _asked(denial)
    if denial.user == "system:anonymous":
        text = (
            "no token reached the API server: the client sent none, or something took the header away. A token that "
            "is refused is a 401. See whether the client's plugin failed (its error is above), and its version"
        )
        return "anonymous", "F1", f"no token arrived: {asked} was refused to system:anonymous", text
    if denial.user == "":
        text = "the row of aws-auth has an empty username, or a number: quote it"
        return "forbidden", "F10", f"a user without a name may not {asked}", text
    who = "somebody" if denial.user is None else f"user {_shown(denial.user)}"
    return "forbidden", _cause(denial), f"{who} may not {asked}", _grant(denial, asked)


def _is_dangling(denial: Denial) -> bool:
    """The authorizer says so itself; no other reason of its has these words."""
    return denial.kind != "node" and "not found" in (denial.reason or "")


def _cause(denial: Denial) -> str | None:
    """Where the text decides it."""
    if _is_dangling(denial):
        return "F7"
    return "F5" if denial.kind == "rbac" and denial.scope == "cluster" else None


def _asked(denial: Denial) -> str:
    if denial.verb is None:
        return "do what the text does not say"
    resource = "/".join(filter(None, (denial.resource, denial.subresource))) or "(not said)"
    group = f".{denial.api_group}" if denial.api_group else ""
    name = f' "{denial.name}"' if denial.name else ""
    where = {"cluster": " at the cluster scope", None: ""}.get(denial.scope, "")
    if denial.namespace is not None:
        where = f" in namespace {denial.namespace or '(empty)'}"
    if denial.kind == "non-resource":
        return _shown(f"{denial.verb} path {denial.resource}")
    return _shown(f"{denial.verb} {resource}{group}{name}{where}")


def _grant(denial: Denial, asked: str) -> str:
    why = ""
    if _is_dangling(denial):
        why = f" A binding names a role that is not there: {_shown(denial.reason)}."
    if denial.kind == "rbac" and denial.namespace and denial.resource and denial.verb:
        resource = "/".join(filter(None, (denial.resource, denial.subresource)))
        needed = _needed(denial.api_group or "", resource, denial.verb)
        why += f" {needed}." if needed else ""
    text = (
        f"allow it: {asked}.{why} The text cannot tell whether an access policy, its namespace scope, or a Role is "
        "missing. Bind a group, not this user name: a session's name changes."
    )
    if denial.scope == "cluster":
        text += " It was asked of the whole cluster: with a Role of one namespace, name that namespace in the request."
    if (denial.user or "").startswith(("system:serviceaccount:", "system:node:")):
        text += " The caller is no IAM role but an account of the cluster."
    return text


_ASKING: tuple[tuple[str, str, dict[str, Any]], ...] = (  # who asks for it, as people know him; the commonest first
    ("pod operator", "pod", {"xcom": True}),
    ("pod operator", "pod", {"xcom": True, "deferrable": True, "init_logs": True}),
    ("KubernetesJobOperator", "job", {"wait": True, "xcom": True}),
    ("KubernetesJobOperator", "job", {"wait": True, "xcom": True, "deferrable": True}),
    ("KubernetesDeleteJobOperator", "delete-job", {}),
    ("KubernetesPatchJobOperator", "patch-job", {}),
    ("SparkKubernetesOperator", "spark", {}),
    ("SparkKubernetesSensor", "spark-sensor", {}),
    ("KubernetesExecutor", "executor", {}),
    ("Kubernetes secrets backend", "secrets-backend", {}),
)
_BEFORE_NEWEST = "10.24.0"  # of cncf-kubernetes: what failed until then, and does no more


def _needed(api_group: str, resource: str, verb: str) -> str:
    """What of Airflow asks for this, and what happens without; "" for what nothing of it asks for."""
    for who, operator, options in _ASKING:
        now, before = (
            _rule(operator, version, options, (api_group, resource, verb)) for version in (None, _BEFORE_NEWEST)
        )
        rule = now or before
        if rule is None:
            continue
        asks = f"Airflow's {who} asks for it" + ("" if rule.when == "always" else f" ({rule.when})")
        older = ""
        if now is not None and before is not None and before.consequence != now.consequence:
            older = f" (until cncf-kubernetes {_BEFORE_NEWEST}: {before.consequence})"
        return f"{asks}; without it: {rule.consequence or rule.effect}{older}"
    return ""


@cache
def _rules(
    operator: str, version: str | None, options: tuple[tuple[str, Any], ...]
) -> dict[tuple[str, str, str], Rule]:
    rules = required_permissions(operator, provider_version=version, **dict(options))
    return {(rule.api_group, rule.resource, rule.verb): rule for rule in rules}


def _rule(operator: str, version: str | None, options: dict[str, Any], key: tuple[str, str, str]) -> Rule | None:
    return _rules(operator, version, tuple(options.items())).get(key)


def _aws_denial(denial: Denial) -> Explanation:
    who = denial.user or ""
    action = denial.verb or "an action"
    reason = denial.reason or ""
    if "resource-based policy" in reason or "trust" in reason:
        text = (
            "the policy of the resource does not allow it: for sts:AssumeRole the role's trust policy, in its account"
        )
    elif "permissions boundary" in reason:
        text = "the permissions boundary of the caller does not allow it: its own account mends that"
    elif "service control policy" in reason or "resource control policy" in reason:
        text = "the organization does not allow it: its administrators mend that, not the two accounts"
    elif "session policy" in reason:
        text = "the session was made with a policy that does not allow it: leave that out, or widen it"
    elif "VPC endpoint" in reason:
        text = "the VPC endpoint's policy does not allow it: the network's owner mends that"
    elif "identity-based policy" in reason:
        text = "the caller's own policies do not allow it: its own account mends that"
    else:
        text = "the caller's own policies must allow it, and for sts:AssumeRole the role's trust policy too"
    on = f" on {_shown(denial.resource)}" if denial.resource else ""
    found = "assume-role-denied" if action == "sts:AssumeRole" else "aws-denied"
    summary = f"AWS, not the cluster: {_shown(who) or 'the caller'} may not {_shown(action)}{on}"
    return Explanation(found, summary, Remedy(text), "F14", who, denial)


# --- all else, by its words


@dataclass(frozen=True, slots=True)
class _Known:
    id: str
    cause: str | None
    pattern: re.Pattern[str]
    summary: str
    remedy: str
    retry: bool = False
    before: str = ""  # what stands before it, on its way here

    def is_in(self, text: str) -> bool:
        """Whether the text has it."""
        return any(
            self.before in text[max(0, found.start() - _BEFORE) : found.start()]
            for found in self.pattern.finditer(text)
        )


def _known_by(  # noqa: PLR0913 - a row
    finding: str, cause: str | None, pattern: str, summary: str, remedy: str, *, retry: bool = False, before: str = ""
) -> _Known:
    return _Known(finding, cause, re.compile(pattern), summary, remedy, retry, before)


_MEND_PLUGIN = "mint in the process: CrossAccountEksPodOperator, connect() or eks-token-check token; then no shell runs"
_AGAIN = "make a new token"
_BEFORE = 2000  # characters
_REPLAYED = "sts getCallerIdentity failed: error from AWS"  # the verifier, of STS's answer
# In the verifier's log every refusal stands behind error="…"; the quotes in it are escaped.
_LOG = (
    _known_by("token-too-large", "U5", r"token is too large", "the verifier: the token is longer than 4096 bytes",
              "fewer session tags, no session policy, fewer role hops: the session token is too long"),
    _known_by("token-prefix", "U3", r"token is missing expected \\*+\"?k8s-aws-v1",
              "the verifier: what was sent is no token; a wrapper's output, `Bearer` twice, or another secret",
              f"look at what the client's plugin prints; {_MEND_PLUGIN}"),
    _known_by("token-base64", "U4", r"illegal base64 data at input byte",
              "the verifier: the token's base64 has padding, or is not base64url",
              "base64url without `=`; eks-token-check decode says more"),
    _known_by("token-url-parse", None, r"input token was not properly formatted: parse \\*+\"",
              "the verifier: what is in the token is no URL; this line holds all of it, and may be a live secret",
              f"do not pass the line on; {_AGAIN}"),
    _known_by("token-scheme", None, r"unexpected scheme [^\n]{0,200}? in pre-signed URL",
              "the verifier: the URL in the token is not https", "sign for https://sts.<region>.<suffix>/"),
    _known_by("token-path", None, r"unexpected path in pre-signed URL",
              "the verifier: the path of the URL in the token is not /", "sign for https://sts.<region>.<suffix>/"),
    _known_by("token-query", None, r"not properly formatted: malformed query parameter",
              "the verifier: the query of the URL in the token cannot be read",
              "percent-encode what is in it, the session token too"),
    _known_by("token-dup-case", None, r"duplicate query parameter found",
              "the verifier: a parameter of the URL in the token occurs twice", "sign with each parameter once"),
    _known_by("token-dup", None, r"query parameter with multiple values not supported",
              "the verifier: a parameter of the URL in the token occurs twice", "sign with each parameter once"),
    _known_by("token-action", None, r"unexpected action parameter in pre-signed URL",
              "the verifier: the token was signed for another action of STS", "sign GetCallerIdentity"),
    _known_by("token-date-missing", None, r"X-Amz-Date parameter must be present",
              "the verifier: the URL in the token has no date", "sign it as a presigned URL, with X-Amz-Date"),
    _known_by("token-date-format", None, r"error parsing X-Amz-Date parameter",
              "the verifier: the date in the token cannot be read", "write X-Amz-Date as 20060102T150405Z, in UTC"),
    _known_by("token-host", "U6",
              r"unexpected hostname (?:\\*+\"[^\"\\]{0,200}+\\*+\" )?in pre-signed URL"
              r"|global endpoint unsupported in partition|does not support hostname|invalid region identifier",
              "the verifier: the token was signed for a host that is not STS of this partition",
              "sign for sts.<region>.<suffix>; AWS_ENDPOINT_URL must not reach the presigned URL"),
    _known_by("token-param", "U8", r"non-whitelisted query parameter",
              "the verifier: the URL in the token has a parameter that a token has not, often a header's",
              "keep x-k8s-aws-id a header, and sign exactly host;x-k8s-aws-id"),
    _known_by("token-signed-headers", "U8", r"client did not sign the x-k8s-aws-id header",
              "the verifier: the header with the cluster's name was not signed", "sign exactly host;x-k8s-aws-id"),
    _known_by("token-expires", "U7", r"invalid X-Amz-Expires parameter in pre-signed URL",
              "the verifier: X-Amz-Expires is missing, not a number, or above 900", "sign with X-Amz-Expires=60"),
    _known_by("token-date-expired", "U9", r"X-Amz-Date parameter is expired",
              "the verifier: the token is older than 15 minutes, or the signer's clock is behind",
              f"{_AGAIN} for each request; check the signer's clock (NTP)"),
    _known_by("signature-mismatch", "U10",
              r"SignatureDoesNotMatch",
              "STS refused the token's signature: another cluster name, another secret key, or a clock that is ahead",
              "sign for the cluster's very name (no ARN, no alias); eks-token-check verify tells which",
              before=_REPLAYED),
    _known_by("credentials-expired", "U11",
              r"ExpiredToken",
              "STS: the session that signed the token has ended", "assume the role again, then sign", before=_REPLAYED),
    _known_by("credentials-invalid", "U11",
              r"InvalidClientTokenId",
              "STS does not know the key or session token that the token was signed with",
              "pass all three parts of the credentials; assume the role at a regional endpoint", before=_REPLAYED),
    _known_by("sts-region-disabled", "U13",
              r"RegionDisabled",
              "STS is switched off, in the signer's account, for the region that the token names",
              "switch it on, or use another region", before=_REPLAYED),
    _known_by("sts-throttled", "U23", r"sts getCallerIdentity (?:was throttled|failed: error during GET)",
              "the cluster could not ask STS: throttled or not reached", "try again; keep a token instead of making "
              "one for each request", retry=True),
    _known_by("not-mapped", "U21", r"SessionName did not contain an instance id",
              "the identity is mapped as a node ({{EC2PrivateDNSName}}), and this session is none",
              "use another role than the nodes', with a mapping of its own"),
    _known_by("not-mapped", "U17", r"ARN does not match User ID",
              "the entry's id belongs to another ARN: the role was renamed, or deleted and made again",
              "delete the access entry and make it again; its policies go with it"),
    _known_by("reserved-username", "U15", r"username must not begin with with the following prefixes",
              "the user name of the mapping begins with a reserved prefix", "choose another username in the mapping"),
)  # fmt: skip
# OpenSSL's words, and Python's, for the verdicts that _reach.NOT_THE_CHAIN has as numbers
_NOT_THE_CHAIN = r"(?:certificate (?:has expired|is not yet valid)|Hostname mismatch|IP address mismatch)"
_ENDPOINT = r"(?:Could not connect to the|(?:Connect|Read) timeout on) endpoint URL:"  # botocore's words
_GENERAL_TABLE = (
    _known_by("cluster-not-found", "N2", r"ResourceNotFoundException[^\n]{0,300}?No cluster found for name"
              r"|No cluster found for name: ",
              "AWS: there is no such cluster in the account and region that were asked",
              "check region and account: was the role assumed before DescribeCluster was asked?"),
    _known_by("region-unknown", None, r"NoRegionError|You must specify a region",
              "AWS's library was not told a region",
              "set AWS_REGION, or name the region in the call or the connection"),
    _known_by("sts-unreachable", None, rf"{_ENDPOINT} \"https://sts[.-]", "no connection to AWS STS from there",
              "a route or VPC endpoint to STS of that region, or HTTPS_PROXY; nothing about roles", retry=True),
    _known_by("eks-unreachable", None, rf"{_ENDPOINT} \"https://eks[.-]",
              "no connection to AWS EKS's own API (DescribeCluster) from there",
              "a route or VPC endpoint to EKS of that region, or HTTPS_PROXY; nothing about roles", retry=True),
    _known_by("credentials-missing", None, r"The config profile \([^)\n]{0,200}\) could not be found",
              "AWS's library does not find the profile that it was told",
              "define it where that process runs, or name none"),
    _known_by("credentials-missing", None, r"Unable to locate credentials|NoCredentialsError|NoCredentialProviders"
              r"|failed to refresh cached credentials, no EC2 IMDS role found",
              "AWS credentials were not found by the process that needed them",
              "give that very process credentials: a role, or all three AWS_* variables"),
    _known_by("credentials-expired", "U11", r"\(ExpiredToken(?:Exception)?\) when calling"
              r"|security token included in the request is expired", "AWS: the session has ended",
              "assume the role again"),
    _known_by("credentials-invalid", "U11", r"\((?:InvalidClientTokenId|UnrecognizedClientException)\) when calling"
              r"|The security token included in the request is invalid",
              "AWS does not know this key, or its session token is missing or another's",
              "a key that begins with ASIA needs its session token: pass all three parts"),
    _known_by("signature-mismatch", "U14", r"\((?:SignatureDoesNotMatch|InvalidSignatureException)\) when calling"
              r"|Signature (?:expired|not yet current)",
              "AWS: the signature does not fit: the secret key, or the clock", "check the clock (NTP), then the key"),
    _known_by("sts-region-disabled", "U13", r"RegionDisabledException|STS is not activated in this region",
              "STS is switched off for this region in the account", "switch it on, or use another region"),
    _known_by("throttled", "U23", r"\(Throttling(?:Exception)?\) when calling|Rate exceeded",
              "AWS throttled the call", "try again later; ask less often", retry=True),
    _known_by("connection-missing", None, r"[Cc]onn_id [`'][^`'\n]{1,250}[`'] isn't defined|AirflowNotFoundException"
              r"|Unable to find AWS Connection ID",
              "Airflow: the connection was not found by this process; the provider then goes on as another identity",
              "define the connection where worker and triggerer find it; CrossAccountEksPodOperator stops instead"),
    _known_by("plugin-version", "U26", r"exec: plugin api version [^\n]{0,200}? does not match"
              r"|exec plugin is configured to use API version [^\n]{0,200}? plugin returned version"
              r"|exec plugin: invalid apiVersion|decoding stdout: no kind \\*+\"ExecCredential",
              "client and plugin speak different versions of ExecCredential",
              "set apiVersion in the kubeconfig to the version that the plugin prints (v1 or v1beta1)"),
    _known_by("plugin-failed", "U2", r"source: not found|exec: process returned \d{1,5}"
              r"|exec: executable [^\n]{0,300}? (?:failed|not found)|eks_get_token failed with exit code"
              r"|getting credentials: exec: |'NoneType' object has no attribute '(?:groups|group|token)"
              r"|\[Errno \d{1,3}\] [^\n]{0,80}?: 'aws'|\.aws_creds: No such file"
              r"|python3(?:\.\d{1,2})?: (?:command )?not found",
              "the client's exec plugin failed, and the request went out without a token: that is the 401 that follows",
              _MEND_PLUGIN),
    _known_by("plugin-failed", None, r"Expected key current-context|You cannot use AsyncToSync in the same thread",
              "a deferred EksPodOperator has no way in: its kubeconfig was deleted before the trigger read it, or the "
              "trigger may not look up the connection",
              "deferrable=False, or CrossAccountEksPodOperator; docs/airflow.md has what works on which release"),
    _known_by("tls-failed", "N3", r"x509: (?:cannot validate certificate|certificate is (?:not )?valid for)"
              r"|x509: certificate has expired"
              rf"|certificate verify failed: {_NOT_THE_CHAIN}",
              "TLS: the certificate is for another name, or its dates do not include now",
              "use the endpoint's own name; set the clock (NTP); is a proxy between that breaks TLS?"),
    _known_by("wrong-certificate-authority", "N3", r"x509: certificate signed by unknown authority"
              rf"|CERTIFICATE_VERIFY_FAILED(?!\] certificate verify failed: {_NOT_THE_CHAIN})",
              "TLS: who answers has no certificate of the CA that was trusted",
              "take endpoint and CA from DescribeCluster again; is a proxy between that opens TLS?"),
    _known_by("not-kubernetes", "N4", r"407 Proxy Authentication Required|Tunnel connection failed: |Proxy Error"
              r"|Cannot connect to proxy", "a proxy stands between, and refused",
              "check HTTPS_PROXY and NO_PROXY; is the endpoint allowed there?"),
    _known_by("unreachable", "N1", r"i/o timeout|[Cc]onnection timed out|TLS handshake timeout"
              rf"|ConnectTimeoutError(?!: {_ENDPOINT})"
              r"|connect: no route to host"
              r"|Network is unreachable|NewConnectionError|no such host|Name or service not known"
              r"|Temporary failure in name resolution|nodename nor servname|getaddrinfo failed|Connection refused"
              r"|connection refused", "no connection: the endpoint was not reached from there",
              "a private endpoint needs a route, DNS and 443 in the cluster's security group; nothing about roles",
              retry=True),
    _known_by("unauthorized", "N5", r"the server doesn't have a resource type",
              "kubectl could not read the list of resources: usually a 401 on the way",
              "kubectl get --raw /version shows the answer; then treat it as a 401"),
    _known_by("entry-refused", "U18", r"The specified principalArn is invalid: invalid principal"
              r"|The principalArn parameter format is not valid|The specified principalArn could not be found",
              "EKS: the access entry's principal is not one",
              "the role's full ARN with its path (aws iam get-role), no session's; the entry comes before its policy"),
    _known_by("entry-refused", "F11", r"it cannot start with system:",
              "EKS: an access entry takes no group that begins with system:",
              "a group of another name, bound to a role; instead of system:masters: AmazonEKSClusterAdminPolicy"),
    _known_by("token-sts-scope-host", None, r"Credential should be scoped to a valid region",
              "STS: the signature is for another region than the host's",
              "sign with the region of the host that is asked; us-east-1 for sts.amazonaws.com"),
    _known_by("unauthorized", None, r"the server has asked for the client to provide credentials"
              r"|You must be logged in to the server|Handshake status 401|\(401\)\s{1,4}Reason: Unauthorized"
              r"|WSServerHandshakeError: 401|(?m:^Error: Unauthorized$)"
              r"|\"reason\": ?\\*+\"Unauthorized|401 Client Error|\b401,? (?:message=)?'?Unauthorized",
              "the API server answered 401: no authenticator took the request; the answer never says why",
              "run eks-token-check check with the same credentials; or ask the cluster's owner for the line of the "
              "authenticator's log (log type authenticator) at that time"),
    _known_by("busy", None, r"TooManyRequests|Too many requests, please try again later",
              "the API server is busy (429)", "try again", retry=True),
)  # fmt: skip
_GENERAL = {"unauthorized"}  # told alone or beside a live token, or not at all: what is beside it says more
_OURS = re.compile(r"\[eks:([a-z0-9-]{1,60})\] ([^\n]{0,2000})")
_NOT_MAPPED = re.compile(r"(?:identity|ARN) is not mapped")
_LINE = re.compile(r"msg=\\*+\"access denied\\*+\"([^\n]{0,6000})")
_LINE_ARN = re.compile(r"\barn=\\*+\"?(arn:[^\s\"\\]{1,300})")
_NOBODY, _CODE = re.compile(r"\"user\": ?\{\}"), re.compile(r"\"code\": ?(\d{3})\b")


def _known(text: str) -> Iterator[Explanation]:
    for line in _LINE.finditer(text):
        yield from _refused(line[1])
    for row in (*_LOG, *_GENERAL_TABLE):
        if row.is_in(text):
            yield Explanation(row.id, row.summary, Remedy(row.remedy), row.cause, retry=row.retry)
    if remedies.WEB_IDENTITY_REFUSED in text:
        yield Explanation("assume-role-denied", "AWS: a role's trust policy does not let this web identity assume it",
                          remedies.github_remedy(), "F14")  # fmt: skip
    codes = {code[1] for code in _CODE.finditer(text)}
    if _NOBODY.search(text) is not None and (not codes or "401" in codes):  # the two words alone, as people paste them
        yield _unauthenticated()
    for ours in _OURS.finditer(text):
        yield Explanation(ours[1], _shown(ours[2]), _page_of(ours[1]))


def _page_of(finding: str) -> Remedy:
    if finding in IDS:
        return Remedy(f"this is one of our own: docs/findings/{finding}.md")
    return Remedy("this release has no finding of this id: look at the pages of the release that wrote the line")


def _refused(rest: str) -> Iterator[Explanation]:
    """A line of the authenticator about an identity that STS found, and that nothing maps."""
    arn = _LINE_ARN.search(rest)
    if _NOT_MAPPED.search(rest) is None:
        return
    who = arn[1] if arn else ""
    remedy = Remedy(
        "is that the role that was meant? If not, another identity signed: pass the credentials explicitly, and see "
        "that no plugin falls back to the default chain. If it is: no access entry, an entry older than the role, "
        "mode CONFIG_MAP, or a path in aws-auth; eks-token-check check --principal-arn tells which"
    )
    yield Explanation("not-mapped", f"the cluster knows who it is, {_shown(who) or 'not said'}, and nothing maps it",
                      remedy, "U15", who)  # fmt: skip


def _unauthenticated() -> Explanation:
    return Explanation(
        "unauthorized",
        'the audit event has 401 and "user":{}: no authenticator took the request. It does not say that the token '
        "was malformed: no token, a bad one, and a good one of an unmapped identity look the same",
        Remedy(
            "look for a line `access denied` of the authenticator at that time: with arn=, the identity is not mapped; "
            "without, the token was refused; none at all, no token arrived"
        ),
    )


def _shown(text: str | None) -> str:
    return printable_message(text or "")
