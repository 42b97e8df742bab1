"""What a 403 says, out of every wrapper that it is pasted in. The sentences are a real API server's (vectors)."""

# ruff: noqa: E501 - the texts are lines of logs, as they are

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from re import _constants as sre  # type: ignore[attr-defined] # nothing else shows what a pattern is made of
from re import _parser as sre_parser  # type: ignore[attr-defined] # as above
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokens import vectors

from eks_cross_account import Denial, explain_forbidden
from eks_cross_account._printable import printable
from eks_cross_account.diagnosis import forbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = vectors("denials")
STATUSES = {row["id"]: row for row in VECTORS["statuses"]}
ARN = "arn:aws:sts::222222222222:assumed-role/cross-account-role/botocore-session-1700000000"
ROBOT = "system:serviceaccount:airflow:default"


def listed(user: str = ROBOT, *, verb: str = "list", namespace: str = "data", **more: Any) -> Denial:
    denial = Denial("rbac", user, verb, "pods", None, "", namespace, scope="namespace")
    return replace(denial, **more)


LISTED = f'pods is forbidden: User "{ROBOT}" cannot list resource "pods" in API group "" in the namespace "data"'
DELETED = (
    f'pods "p1" is forbidden: User "{ROBOT}" cannot delete resource "pods" in API group "" in the namespace "data"'
)


# --- what kube-apiserver and its clients write


@pytest.mark.parametrize("row", VECTORS["statuses"], ids=STATUSES)
@pytest.mark.parametrize("wrap", [json.dumps, lambda status: repr(json.dumps(status).encode()), lambda status: json.dumps(json.dumps(status))],
                         ids=["JSON", "bytes", "JSON in JSON"])  # fmt: skip
def test_every_sentence_of_the_api_server_is_read(row: dict[str, Any], wrap: Callable[[Any], str]) -> None:
    assert explain_forbidden(wrap(row["status"])) == (Denial(**row["denial"]),)


@pytest.mark.parametrize(
    "row", [row for row in VECTORS["statuses"] if row["id"] != "webhook, lines"], ids=lambda row: row["id"]
)
def test_a_line_of_kubectl_says_the_same(row: dict[str, Any]) -> None:
    assert explain_forbidden(f"Error from server (Forbidden): {row['status']['message']}\n") == (
        Denial(**row["denial"]),
    )


def test_a_reason_of_more_lines_than_are_seen_to_be_its_own_is_none() -> None:
    message = STATUSES["webhook, lines"]["status"]["message"]

    assert explain_forbidden(f"Error from server: {message}\n") == (Denial("webhook"),)


@pytest.mark.parametrize("client", VECTORS["clients"], ids=lambda client: client["id"].replace(", ", " "))
def test_every_release_of_the_clients_is_read(client: dict[str, str]) -> None:
    expected = Denial(**STATUSES["quotes and backslashes"]["denial"])
    if "asyncio" in client["id"] and client["id"].endswith("exec"):  # aiohttp throws the body away
        expected = Denial("other", None, None, "pods", "exec", "", "data", "p1", "namespace")

    assert explain_forbidden(client["text"]) == (expected,)


def test_every_kind_is_described() -> None:
    assert [kind for kind in get_args(forbidden.Kind) if f"``{kind}``" not in str(Denial.__doc__)] == []


# --- single texts


def status(message: str, code: int = 403, reason: str = "Forbidden") -> str:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code})


def event(message: str | None = None, **more: Any) -> dict[str, Any]:
    """As EKS writes it to CloudWatch."""
    answer = {"metadata": {}, "status": "Failure", "message": message, "reason": "Forbidden", "code": 403}
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "b7e3", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/data/pods", "verb": "create", "user": {"username": ARN, "groups": ["airflow"]},
        "objectRef": {"resource": "pods", "namespace": "data", "name": "p1", "apiVersion": "v1"},
        "responseStatus": answer if message is not None else {"metadata": {}, "code": 403},
        "annotations": {"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": ""}, **more,
    }  # fmt: skip


CREATED = listed(ARN, verb="create", name="p1")
QUOTA = "exceeded quota: compute, requested: cpu=2, used: cpu=1, limited: cpu=2"
ASSUME = "User: arn:aws:sts::111111111111:assumed-role/mwaa-exec/x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/cross-account-role"
ASSUMED = Denial(
    "aws",
    "arn:aws:sts::111111111111:assumed-role/mwaa-exec/x",
    "sts:AssumeRole",
    "arn:aws:iam::222222222222:role/cross-account-role",
)
CHAIN = f"""Traceback (most recent call last):
  File "pod_manager.py", line 882, in fetch
kubernetes.client.exceptions.ApiException: (403)
Reason: Forbidden
HTTP response body: {status(LISTED)}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "pod.py", line 921, in cleanup
kubernetes.client.exceptions.ApiException: (403)
Reason: Forbidden
HTTP response body: {status(DELETED)}

"""
DEEP = "\\" * 127 + '"'
DELETED_DENIAL = listed(verb="delete", name="p1")


@pytest.mark.parametrize(
    ("text", "denials"),
    [
        # of other servers and other times
        (f'User "{ROBOT}" cannot list pods in the namespace "data"', [listed()]),
        (f'jobs.batch is forbidden: User "{ROBOT}" cannot list jobs.batch in the namespace "data": no RBAC policy matched\n',
         [listed(resource="jobs", api_group="batch", reason="no RBAC policy matched")]),
        ('nodes is forbidden: User "100" cannot list nodes at the cluster scope\n',
         [Denial("rbac", "100", "list", "nodes", None, "", scope="cluster")]),
        (f'pods "p1" is forbidden: User "{ROBOT}" cannot get pods/log in the namespace "data"\n',
         [listed(verb="get", subresource="log", name="p1")]),
        ('User "system:anonymous" cannot get path "/".: "No policy matched."\n',
         [Denial("non-resource", "system:anonymous", "get", "/", reason='"No policy matched."')]),
        ('pods "p1" is forbidden: unable to validate against any security context constraint: [provider "x": Forbidden: not usable by user]\n',
         [Denial("pod-security", resource="pods", api_group="", name="p1", reason='unable to validate against any security context constraint: [provider "x": Forbidden: not usable by user]')]),
        # wrappers
        (f"Error: UPGRADE FAILED: could not get information about the resource: {LISTED}", [listed()]),
        (f'Error from server (Forbidden): error when creating "f.yaml": {LISTED}\n', [listed()]),
        (f"W0709 20:16:22.501014       1 reflector.go:539] failed to list *v1.Pod: {LISTED}\nE0709 20:16:22.501074       1 reflector.go:147] Failed to watch *v1.Pod: failed to list *v1.Pod: {LISTED}\n",
         [listed()]),
        (f'E0203 03:00:00.000000       1 reflector.go:204] "Failed to watch" err="failed to list *v1.Pod: {LISTED}" logger="x"\n'.replace('"', '\\"').replace('\\"Failed to watch\\" err=\\"', '"Failed to watch" err="').replace('\\"\\" logger=\\"x\\"', '\\"" logger="x"'),
         [listed()]),
        (f"\u2502 Error: {LISTED}\n\u2502 \n\u2502   with helm_release.x,\n", [listed()]),
        (f'Warning  FailedCreate  3s (x12 over 14s)  job-controller  (combined from similar events): Error creating: pods "p1-" is forbidden: {QUOTA}\n',
         [Denial("quota", resource="pods", api_group="", name="p1-", reason=QUOTA)]),
        (f"Failure executing: GET at: https://10.0.0.1/api/v1/namespaces/data/pods. Message: Forbidden!Configured service account doesn't have access. Service account may have been revoked. {LISTED}.",
         [listed()]),
        ('"status":"Failure","message":"pods \\\\"dag-c4\\\\" is forbidden: User \\\\"system:serviceaccount:a:b\\\\" cannot get resource \\\\"pods/log\\\\" ',
         [Denial("rbac", "system:serviceaccount:a:b", "get", "pods", "log", "", name="dag-c4")]),
        (status(LISTED).replace("serviceaccount:air", "serviceaccount:air\n"), [listed()]),  # a line break inside JSON's string
        ("# " + status(LISTED).replace(" ", "\n# "), [listed()]),
        (f"Handshake status 403 Forbidden -+-+- {{'date': 'x'}} -+-+- {status(LISTED).encode()!r}", [listed()]),
        (LISTED.replace(ROBOT, r"a\xffb"), [listed(r"a\xffb")]),  # bytes that are no text stay as they were written
        (f'err=\\nnodes "n" is forbidden: {QUOTA}\n', [Denial("quota", resource="nodes", api_group="", name="n", reason=QUOTA)]),
        ('(Forbidden): pods is forbidden: no "x" here\n', [Denial("other", resource="pods", api_group="", reason='no "x" here')]),
        (r'pods is forbidden: User \"u" cannot list resource', [Denial("other", resource="pods", api_group="")]),  # its string ended
        (f'pods is forbidden: User "{ROBOT}" can', [Denial("other", ROBOT, resource="pods", api_group="")]),  # cut
        ('User "u" cannot list resource "po\nds"', [Denial("rbac", "u", "list")]),  # or it is a blank that the line break took
        # quoted more often than six strings within each other are
        (f"pods is forbidden: User {DEEP}u{DEEP} cannot list", [Denial("other", resource="pods", api_group="")]),
        (f'pods "p" is forbidden: user {DEEP}u{DEEP} (groups=["a"]) is attempting to grant', [Denial("other", resource="pods", api_group="", name="p")]),
        # several
        (f"{LISTED}\n{DELETED}\n{LISTED}\n", [DELETED_DENIAL, listed()]),
        (CHAIN, [DELETED_DENIAL, listed()]),  # Python prints the cause first
        (f"{CHAIN}[2026-02-03 03:00] {DELETED.replace('delete', 'patch')}\n", [DELETED_DENIAL, listed(), listed(verb="patch", name="p1")]),
        (f"[2026] {LISTED}\n{CHAIN}", [DELETED_DENIAL, listed()]),
        (status(f'admission webhook "w" denied the request: {DELETED}'),
         [Denial("webhook", reason=f'admission webhook "w" denied the request: {DELETED}'), DELETED_DENIAL]),
        (f"{LISTED[:-30]}\n{LISTED}\n", [listed()]),  # the same, cut, in another line
        (f"{LISTED}: {ASSUME}", [listed(), replace(ASSUMED, resource=None)]),
        # audit events
        (json.dumps(event(LISTED)), [listed(name="p1")]),
        ("2026-02-03T03:00:00Z " + json.dumps(event(f'pods "p1" is forbidden: {QUOTA}')),
         [Denial("quota", ARN, "create", "pods", None, "", "data", "p1", "namespace", QUOTA)]),
        (json.dumps(event()), [CREATED]),
        (json.dumps({"items": [event(), event(LISTED)]}, indent=1), [CREATED, listed(name="p1")]),
        (json.dumps({"@message": json.dumps(event())}), [CREATED]),
        (json.dumps(event(annotations={"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "no policy"})),
         [replace(CREATED, reason="no policy")]),
        (json.dumps({**event(), "more": event(LISTED)}), [CREATED, listed()]),  # one in another: the message alone
        (json.dumps(["auditID", {"m": ["no auditID", 5, json.dumps(event())]}]), [CREATED]),
        (json.dumps(event(impersonatedUser={"username": "eve"})), [listed("eve", verb="create", name="p1")]),
        (json.dumps(event(annotations={})), [Denial("other", ARN, "create", "pods", None, "", "data", "p1", "namespace")]),
        (json.dumps(event(f'admission webhook "w" denied the request: {DELETED}', objectRef={"resource": "nodes", "name": "n"})),
         [Denial("webhook", ARN, "create", "nodes", None, "", None, "n", "cluster", f'admission webhook "w" denied the request: {DELETED}'), DELETED_DENIAL]),
        (json.dumps(event(LISTED)).replace('"v1"', "9" * 5000), [listed(name="p1")]),  # no int in Python
        (json.dumps(event(f'pods "p1" is forbidden: {QUOTA}')).partition(', "reason"')[0], [Denial("quota", resource="pods", api_group="", name="p1", reason=QUOTA)]),
        # AWS
        (f"An error occurred (AccessDenied) when calling the AssumeRole operation: {ASSUME}", [replace(ASSUMED, resource=None)]),
        (f"{ASSUME}\n", [ASSUMED]),
        *((f"{ASSUME} because no {policy} allows the sts:AssumeRole action",
           [replace(ASSUMED, reason=f"because no {policy} allows the sts:AssumeRole action")]) for policy in forbidden._POLICIES),
        *((f"{ASSUME} with an explicit deny in {a} {policy}", [replace(ASSUMED, reason=f"with an explicit deny in {a} {policy}")])
          for a, policy in zip(("an", "a", "a", "a", "the", "a", "a", "a"), forbidden._POLICIES, strict=True)),
        (f'{ASSUME} with an explicit deny in a service control policy: arn:aws:organizations::333333333333:policy/o-a/service_control_policy/p-1"',
         [replace(ASSUMED, reason="with an explicit deny in a service control policy: arn:aws:organizations::333333333333:policy/o-a/service_control_policy/p-1")]),
        ("User: arn:aws:iam::111111111111:user/b is not authorized to perform: autoscaling:DescribeTags because no identity-based policy allows the autoscaling:DescribeTags action",
         [Denial("aws", "arn:aws:iam::111111111111:user/b", "autoscaling:DescribeTags", reason="because no identity-based policy allows the autoscaling:DescribeTags action")]),
        ("User: arn:aws:iam::111111111111:user/b is not authorized to perform: iam:GetRole on resource: role deploy because no identity-based policy allows the iam:GetRole action",
         [Denial("aws", "arn:aws:iam::111111111111:user/b", "iam:GetRole", "role deploy", reason="because no identity-based policy allows the iam:GetRole action")]),
        ('User: arn:aws:iam::111111111111:user/b is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::b/a.pdf"\nwith an explicit deny in an identity-based policy',
         [Denial("aws", "arn:aws:iam::111111111111:user/b", "s3:GetObject", "arn:aws:s3:::b/a.pdf", reason="with an explicit deny in an identity-based policy")]),
        (f"{ASSUME} with an explicit deny in a service\\ncontrol\n# policy", [replace(ASSUMED, reason="with an explicit deny in a service control policy")]),
        # nothing but that it was a 403
        ("403, message='Forbidden', url=URL('https://h/apis/batch/v1/namespaces/data/jobs/j1/status')",
         [Denial("other", None, None, "jobs", "status", "batch", "data", "j1", "namespace")]),
        ("403 Client Error: Forbidden for url: https://h/api/v1/nodes?limit=1\n", [Denial("other", resource="nodes", api_group="")]),
        ("403 Client Error: Forbidden for url: https://h/api/v1/nam", [Denial("other")]),
        ("(403)\nReason: Forbidden\nHTTP response body: <html>blocked</html>\n", [Denial("other")]),
        ("Handshake status 403 Forbidden -+-+- {} -+-+- None", [Denial("other")]),
        (status("no"), [Denial("other")]),
        (f"(403)\nReason: Forbidden\nHTTP response body: {status(LISTED)}", [listed()]),
    ],
    ids=lambda value: re.sub(r"[^A-Za-z0-9:]+", "-", value)[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_text_says(text: str, denials: list[Denial]) -> None:
    assert explain_forbidden(text) == tuple(denials)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(401)\nReason: Unauthorized\nHTTP response body: " + status("Unauthorized", 401, "Unauthorized"),
        status('pods "p1" not found', 404, "NotFound"),
        status('pods "p1" already exists', 409, "AlreadyExists"),
        status('Pod "p1" is invalid: spec.containers: Required value', 422, "Invalid"),
        json.dumps(event("x", responseStatus={"metadata": {}, "code": 200})),
        json.dumps(event("Unauthorized", user={}, responseStatus={"message": "Unauthorized", "code": 401})),
        json.dumps(event("x"))[:300],  # cut before the answer
        "error: You must be logged in to the server (Unauthorized)",
        'Internal error occurred: failed calling webhook "w": context deadline exceeded',
        'the admission webhook "w" was installed',
        "It is forbidden: ask the operator.",
        "Smoking is forbidden: see the rules.",
        'Access to "x" is forbidden: see the rules.',
        'The use of cookies "x" is forbidden: see the rules.',
        'User "bob" cannot log in',
        'User "bob" cannot list his friends in the park',
        "User admin logged in; forbidden: nothing",
        "User system:serviceaccount:airflow:default cannot list resource pods in namespace airflow",  # told by a person
        "pods/log is forbidden",
        "GET /api/v1/pods 403",
        "Forbidden",
        "User: alice is not happy",
    ],
)  # fmt: skip
def test_a_text_that_denies_nothing_says_nothing(text: str) -> None:
    assert explain_forbidden(text) == ()


def test_only_the_authorizer_writes_html() -> None:
    escalation = STATUSES["escalation"]["status"]["message"].replace(ARN, "a&lt;b")

    assert [denial.user for denial in explain_forbidden(f"{LISTED.replace(ROBOT, 'a&lt;b')}\n{escalation}\n")] == [
        "a<b",
        "a&lt;b",
    ]


def test_values_come_back_raw_and_are_escaped_where_they_are_printed() -> None:
    (denial,) = explain_forbidden(json.dumps(STATUSES["line break, controls, bidi"]["status"]))

    assert denial.user == "a\nb\t\x1b[31m\u202e\u00e9\U0001f600"
    assert printable(denial.user) == r"'a\nb\t\x1b[31m\u202e\xe9\U0001f600'"


def test_a_name_that_a_line_break_may_have_split_between_words_is_not_guessed() -> None:
    text = LISTED.replace(ROBOT, "Alice\nCooper")

    assert explain_forbidden(text) == (listed(user=None),)


def test_a_resource_that_a_line_break_may_have_split_is_not_guessed() -> None:
    assert explain_forbidden(f'Error creating: po\nds "p1" is forbidden: {QUOTA}\n') == (
        Denial("quota", name="p1", reason=QUOTA),
    )


@pytest.mark.parametrize("rest", ["", "batch", "batch/v"])
def test_of_a_group_that_was_cut_only_what_the_beginning_names_is_known(rest: str) -> None:
    text = f'jobs.batch is forbidden: User "{ROBOT}" cannot list resource "jobs" in API group "{rest}'

    assert explain_forbidden(text) == (Denial("rbac", ROBOT, "list", "jobs", api_group="batch"),)


# --- any sentence, in any wrapper


def quoted(value: str) -> str:
    """As Go's %q."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(short.get(char) or (char if char.isprintable() else escaped(char)) for char in value) + '"'


def escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def sanitized(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)
PLAIN_USER = st.sampled_from(
    [ARN, ROBOT, "system:anonymous", "system:node:ip-10-0-0-1", "arn:aws:iam::222222222222:user/a"]
)
USER = PLAIN_USER | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RESOURCE = st.sampled_from(["pods", "jobs", "sparkapplications", "users", "*"])
GROUP = st.sampled_from(["", "batch", "sparkoperator.k8s.io", "*"])
VERB = st.sampled_from(["get", "list", "deletecollection", "*", "impersonate", "impersonate-on:user-info:get"])
REASON = st.sampled_from([
    None, 'RBAC: role.rbac.authorization.k8s.io "nope" not found', 'RBAC: [role.rbac.authorization.k8s.io "a" not found, x]',
    'requires one of ["container.pods.list"] permission(s).', "no RBAC policy matched",
])  # fmt: skip
ADMISSION = st.sampled_from([
    (row["denial"]["kind"], row["denial"]["reason"], row["denial"].get("namespace"))
    for row in VECTORS["statuses"]
    if "user" not in row["denial"] and row["denial"].get("name") == "p1" and row["denial"]["kind"] != "exec-create"
])  # fmt: skip
WHOLE_LINES = {"service-account", "namespace-terminating", "not-ready"}  # reasons that end where they end


def kind_of(user: str, verb: str) -> forbidden.Kind:
    if verb.startswith("impersonate"):
        return "impersonation"
    return "node" if user.startswith("system:node:") else "rbac"


@st.composite
def authorized(draw: st.DrawFn, users: st.SearchStrategy[str] = USER) -> tuple[str, Denial]:
    user, verb, reason = draw(users), draw(VERB), draw(REASON)
    resource, group, name = draw(RESOURCE), draw(GROUP), draw(st.none() | LABEL)
    subresource, namespace = draw(st.sampled_from([None, "log", "exec", "status"])), draw(st.none() | LABEL)
    whole = f"{resource}/{subresource}" if subresource else resource
    where = f"in the namespace {quoted(namespace)}" if namespace else "at the cluster scope"
    tail = f"User {quoted(user)} cannot {verb} resource {quoted(whole)} in API group {quoted(group)} {where}"
    head = f"{resource}.{group}" if group else resource
    message = (
        f"{head}{f' {quoted(name)}' if name else ''} is forbidden: {sanitized(tail)}{f': {reason}' if reason else ''}"
    )
    scope: Any = "namespace" if namespace else "cluster"
    return message, Denial(
        kind_of(user, verb), user, verb, resource, subresource, group, namespace, name, scope, reason
    )


@st.composite
def of_paths(draw: st.DrawFn, users: st.SearchStrategy[str] = USER) -> tuple[str, Denial]:
    user, path, reason = draw(users), draw(st.sampled_from(["/", "/metrics", "/version", "/a<b>&c"])), draw(REASON)
    message = f"forbidden: {sanitized(f'User {quoted(user)} cannot get path {quoted(path)}')}{f': {reason}' if reason else ''}"
    return message, Denial("non-resource", user, "get", path, reason=reason)


@st.composite
def admitted(draw: st.DrawFn) -> tuple[str, Denial]:
    kind, reason, namespace = draw(ADMISSION)
    resource, group, name = draw(st.sampled_from(["pods", "jobs"])), draw(st.sampled_from(["", "batch"])), draw(LABEL)
    head = f"{resource}.{group}" if group else resource
    return f'{head} "{name}" is forbidden: {reason}', Denial(
        kind, None, None, resource, None, group, namespace, name, None, reason
    )


@st.composite
def escalated(draw: st.DrawFn, users: st.SearchStrategy[str] = USER) -> tuple[str, Denial]:
    user, name, groups = draw(users), draw(LABEL), draw(st.lists(LABEL, max_size=3))
    rule = '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'
    told = f"user {quoted(user)} (groups=[{' '.join(map(quoted, groups))}]) is attempting to grant RBAC permissions not currently held:\n{rule}"
    group = "rbac.authorization.k8s.io"
    return f'roles.{group} "{name}" is forbidden: {told}', Denial(
        "escalation", user, None, "roles", None, group, None, name, None, rule
    )


@st.composite
def by_webhook(draw: st.DrawFn) -> tuple[str, Denial]:
    said = f'admission webhook "{draw(LABEL)}.example.com" denied the request: {draw(st.sampled_from(["no", "images need a tag", "a: b"]))}'
    return said, Denial("webhook", reason=said)


@st.composite
def of_aws(draw: st.DrawFn) -> tuple[str, Denial]:
    policy = draw(st.sampled_from(forbidden._POLICIES))
    action = draw(st.sampled_from(["sts:AssumeRole", "eks:DescribeCluster"]))
    why = draw(
        st.sampled_from([f"because no {policy} allows the {action} action", f"with an explicit deny in a {policy}"])
    )
    user, resource = "arn:aws:sts::111111111111:assumed-role/mwaa-exec/x", "arn:aws:iam::222222222222:role/team/cross"
    return f"User: {user} is not authorized to perform: {action} on resource: {resource} {why}", Denial(
        "aws", user, action, resource, reason=why
    )


SENTENCES = authorized() | of_paths() | admitted() | escalated() | by_webhook() | of_aws()
PLAIN_SENTENCES = (
    authorized(PLAIN_USER) | of_paths(PLAIN_USER) | admitted() | escalated(PLAIN_USER) | by_webhook() | of_aws()
)
HEADERS = "HTTPHeaderDict({'Audit-Id': 'b7e3', 'Content-Type': 'application/json'})"


def of_client(body: str) -> str:
    return f"(403)\nReason: Forbidden\nHTTP response headers: {HEADERS}\nHTTP response body: {body}\n"


LINES: dict[str, Callable[[str], str]] = {
    "line": lambda message: f"{message}\n",
    "kubectl": lambda message: f"Error from server (Forbidden): {message}\n",
    "kubectl create": lambda message: f'Error from server (Forbidden): error when creating "pod.yaml": {message}\n',
    "Helm": lambda message: f"Error: UPGRADE FAILED: could not get information about the resource: {message}\n",
    "event": lambda message: f"Warning  FailedCreate  3s (x12 over 14s)  job-controller  Error creating: {message}\n",
    "combined": lambda message: f"(combined from similar events): Error creating: {message}\n",
    "klog": lambda message: f"W0203 03:00:00.000000       1 reflector.go:539] failed to list *v1.Pod: {message}\n",
}
STRINGS: dict[str, Callable[[str], str]] = {
    "Status": status,
    "client": lambda message: of_client(status(message)),
    "client, bytes": lambda message: of_client(repr(status(message).encode())),
    "client, unescaped": lambda message: of_client(repr(json.dumps({"message": message}, ensure_ascii=False).encode())),
    "websocket": lambda message: f"(0)\nReason: Handshake status 403 Forbidden -+-+- {{}} -+-+- {status(message)}\n",
    "websocket, bytes": lambda message: f"(0)\nReason: Handshake status 403 Forbidden -+-+- {{}} -+-+- {status(message).encode()!r}\n",
    "JSON log": lambda message: json.dumps({"level": "error", "exc_value": of_client(status(message))}),
    "JSON log, bytes": lambda message: json.dumps({"exc_value": of_client(repr(status(message).encode()))}),
    "JSON log in JSON": lambda message: json.dumps({"message": json.dumps({"error": status(message)})}),
    "klog": lambda message: f'E0203 03:00:00.000000       1 reflector.go:204] "Failed to watch" err={quoted("failed to list *v1.Pod: " + message)} logger="x"\n',
    "audit": lambda message: json.dumps({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "b7e3", "responseStatus": {"message": message, "code": 403}}),
    "traceback": lambda message: f'Traceback (most recent call last):\n  File "x.py", line 1, in y\nApiException: {of_client(status(message))}\n',
}  # fmt: skip
WRAPPERS = {f"{name} (line)": wrap for name, wrap in LINES.items()} | STRINGS
WRAPPER = st.sampled_from(sorted(WRAPPERS))


@given(SENTENCES, WRAPPER)
@settings(max_examples=1500)
def test_any_sentence_in_any_wrapper_comes_back_as_it_went_in(sentence: tuple[str, Denial], wrapper: str) -> None:
    message, denial = sentence

    assert explain_forbidden(WRAPPERS[wrapper](message)) == (denial,)


@given(st.lists(st.tuples(PLAIN_SENTENCES, WRAPPER), min_size=2, max_size=4))
@settings(max_examples=300)
def test_several_come_back_in_their_order_and_one_in_several_wrappers_once(
    told: list[tuple[tuple[str, Denial], str]],
) -> None:
    assume(not any("traceback" in wrapper for _, wrapper in told))
    denials = [denial for (_, denial), _ in told]
    whole = [
        denial for denial in dict.fromkeys(reversed(denials)) if not any(is_part(denial, other) for other in denials)
    ]

    text = "\n".join(WRAPPERS[wrapper](message) for (message, _), wrapper in told)

    assert explain_forbidden(text) == tuple(reversed(whole))


def is_part(denial: Denial, other: Denial) -> bool:
    return denial != other and all(
        mine in {None, "other", theirs}
        for mine, theirs in zip(asdict(denial).values(), asdict(other).values(), strict=True)
    )


@given(PLAIN_SENTENCES, st.sampled_from(sorted(STRINGS)), st.data())
@settings(max_examples=1000)
def test_lines_may_be_broken_between_any_words_of_a_string(
    sentence: tuple[str, Denial], wrapper: str, data: st.DataObject
) -> None:
    message, denial = sentence
    text = STRINGS[wrapper](message)
    spaces = [place.start() for place in re.finditer(r"(?<=[\w:,]) (?=[\w\"\\])", text)]
    sign = data.draw(st.sampled_from(["\n", " \n", "\n    ", "\r\n", "\n# ", "\n\u2502 ", "\n> "]))
    for place in sorted(data.draw(st.sets(st.sampled_from(spaces), max_size=6)), reverse=True):
        text = text[:place] + sign + text[place + 1 :]

    assert explain_forbidden(text) == (denial,)


@given(authorized(PLAIN_USER) | of_paths(PLAIN_USER), WRAPPER, st.integers(12, 120))
@settings(max_examples=1000)
def test_lines_may_be_broken_at_any_column(sentence: tuple[str, Denial], wrapper: str, width: int) -> None:
    """Inside words, values and escapes; only of a reason nobody can tell whether the break was a space."""
    message, denial = sentence
    text = WRAPPERS[wrapper](message)
    broken = "\n".join(text[place : place + width] for place in range(0, len(text), width))

    (found,) = explain_forbidden(broken)

    assert replace(found, reason=None, name=denial.name) == replace(denial, reason=None)
    assert found.name in {denial.name, None}


@given(SENTENCES, WRAPPER, st.data())
@settings(max_examples=2000)
def test_a_cut_text_says_nothing_or_what_is_right(
    sentence: tuple[str, Denial], wrapper: str, data: st.DataObject
) -> None:
    message, denial = sentence
    text = WRAPPERS[wrapper](message)

    found = explain_forbidden(text[: data.draw(st.integers(0, len(text)))])

    assert len(found) <= 1
    for cut in found:
        assert cut.kind in {denial.kind, "other"}
        for field in fields(Denial)[1:]:
            assert getattr(cut, field.name) in {None, getattr(denial, field.name)}, field.name


# --- hostile text

PIECES = st.sampled_from([
    '"', "'", "\\", "\\\\", "\n", "\\n", " ", ":", "is forbidden:", "User ", 'User "', "cannot ", "get ", "resource ", "403",
    "user ", "(groups=[", "]) is attempting to grant RBAC permissions not currently held:", "{A}", "admission webhook ",
    "denied the request", "User: arn:", " is not authorized to perform:", "a:b", " on resource: ", " because no ", "identity-based", "policy", " allows the ", "action", " with an explicit deny in ", "a", "pods",
    '{"kind":"Event","apiVersion":"audit.k8s.io/v1",', '"auditID":', "{", "}", "[", "]", "Traceback (most recent call last):",
    "\\u", "\\ud83d", "\\xff", "\\U00110000", "\ud800", "\x00", "'url=URL('", "https://h/api/v1/", "RBAC: ",
])  # fmt: skip


@given(st.text() | st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join))
@settings(max_examples=2000)
def test_no_text_is_too_much(text: str) -> None:
    for denial in explain_forbidden(text):
        assert denial.kind in get_args(forbidden.Kind)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deeply_nested_json_is_only_text(depth: int) -> None:
    text = '{"kind":"Event","apiVersion":"audit.k8s.io/v1","a":' + "[" * depth + "\n" + LISTED

    assert explain_forbidden(text) == (listed(),)


def repeats(tree: Any) -> Iterator[tuple[Any, int]]:
    """The operator and the upper bound of every repeat in a parsed pattern."""
    for operator, argument in tree:
        if operator in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}:
            yield operator, argument[1]
        for part in argument if isinstance(argument, tuple) else (argument,):
            for inner in part if isinstance(part, list) else (part,):
                if isinstance(inner, sre_parser.SubPattern):
                    yield from repeats(inner)


def goes_back(pattern: re.Pattern[str]) -> bool:
    found = repeats(sre_parser.parse(pattern.pattern, pattern.flags))
    return any(bound == sre.MAXREPEAT and operator != sre.POSSESSIVE_REPEAT for operator, bound in found)


def test_no_pattern_goes_back_without_bound() -> None:
    """Every repeat without an upper bound is possessive, so that no pattern costs more than the text it reads."""
    patterns = [value for value in vars(forbidden).values() if isinstance(value, re.Pattern)]
    patterns += [*forbidden._WHOLE_REASONS, *(pattern for _, pattern in forbidden._ADMISSION), forbidden._closing(3)]

    assert len(patterns) > 40
    assert [pattern.pattern for pattern in patterns if goes_back(pattern)] == []
    assert all(map(goes_back, map(re.compile, ["a+", "(?:b|(a*))", "(?=a*?)", "(?>x(?:y|a+)){1,2}"])))


@pytest.mark.parametrize(
    "piece",
    ['"', "\\", '\\"', " ", "\n", "cannot ", 'User "x" cannot ', 'pods "x" is forbidden: ', "User: arn:a",
     'User "' + " " * 4000 + '"', 'pods "x" is forbidden: y' + " " * 8000 + "\n",
     '\\\\"admission webhook \\"w\\" denied the request: ', 'is forbidden: user "u" (groups=[', '{"kind":"Event","apiVersion":"audit.k8s.io/v1","a":'],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read(piece: str) -> None:
    """What is not linear does not end within the time that a test has."""
    text = piece * (1_000_000 // len(piece)) + "\n\n" + LISTED + "\n"

    assert explain_forbidden(text)[-1] == listed()


def test_ten_megabytes_are_read() -> None:
    piece = 'User \\"x\\" cannot \\\\" is forbidden: "User: \\\\\\" admission webhook "w\\" 403 '
    text = piece * (10_000_000 // len(piece)) + "\n\n" + LISTED + "\n"

    assert explain_forbidden(text)[-1] == listed()


# --- what only a changed program showed


def in_traceback(name: str) -> str:
    return f'Traceback (most recent call last):\n  File "x.py", line 1, in y\nApiException: {DELETED.replace("p1", name)}\n'


@pytest.mark.parametrize(
    ("between", "order"),
    [
        pytest.param(
            "\nDuring handling of the above exception, another exception occurred:\n\n", ["b", "a"], id="chained"
        ),
        pytest.param("\nINFO - tried again\n", ["a", "b"], id="of two tries"),
    ],
)
def test_only_chained_exceptions_come_last_first(between: str, order: list[str]) -> None:
    found = explain_forbidden(f"INFO - a task\n{in_traceback('a')}{between}{in_traceback('b')}")

    assert [denial.name for denial in found] == order


def test_the_api_group_of_an_event_without_a_message_is_that_of_its_object() -> None:
    event = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "verb": "get", "user": {"username": ROBOT},
        "objectRef": {"resource": "jobs", "namespace": "data", "name": "j", "apiGroup": "batch"},
        "responseStatus": {"code": 403}, "annotations": {"authorization.k8s.io/decision": "forbid"},
    }  # fmt: skip

    (denial,) = explain_forbidden(json.dumps(event))

    assert (denial.resource, denial.api_group, denial.name) == ("jobs", "batch", "j")


def test_the_verb_of_a_sentence_that_was_cut_is_the_one_where_it_ends() -> None:
    text = f'Error from server (Forbidden): jobs.batch "j" is forbidden: User "{ROBOT}" cannot list jo'

    (denial,) = explain_forbidden(text)

    assert (denial.verb, denial.resource, denial.api_group) == ("list", "jobs", "batch")


@pytest.mark.parametrize("head", ['"', 'pods \\"p1"', 'pods "p1\\"'])
def test_a_name_whose_quotes_are_no_pair_is_none(head: str) -> None:
    (denial,) = explain_forbidden(DELETED.replace('pods "p1"', head, 1))

    assert (denial.user, denial.verb, denial.resource, denial.name) == (ROBOT, "delete", "pods", None)
