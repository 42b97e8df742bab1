"""Pastes, and what they are said to be: each thing by a case that fires it, and neighbours that do not."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokens import CANARIES, NOW, token, url

from eks_cross_account._printable import without_secrets
from eks_cross_account.diagnosis import explain

if TYPE_CHECKING:
    from eks_cross_account.diagnosis import Explanation

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
LINE = 'time="2026-11-25T06:11:20Z" level=warning msg="access denied" arn="{}" client="127.0.0.1:1" error="{}"'
FORMAT = "input token was not properly formatted:"
CERTIFICATE = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed:"
WORKER = "arn:aws:sts::222222222222:assumed-role/r/s"


def said(text: str) -> list[tuple[str, str | None]]:
    return [(item.id, item.cause) for item in explain(text, now=NOW)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LINE.format(ROLE, "identity is not mapped"), ("not-mapped", "U15")),
        (LINE.format("", "input token was not properly formatted: token is too large"), ("token-too-large", "U5")),
        ('error="input token was not properly formatted: token is missing expected \\"k8s-aws-v1.\\" prefix"',
         ("token-prefix", "U3")),
        ('error="… illegal base64 data at input byte 60"', ("token-base64", "U4")),
        ('unexpected hostname \\"sts.local\\" in pre-signed URL', ("token-host", "U6")),
        ('non-whitelisted query parameter \\"x\\"', ("token-param", "U8")),
        ("client did not sign the x-k8s-aws-id header in the pre-signed URL", ("token-signed-headers", "U8")),
        ("invalid X-Amz-Expires parameter in pre-signed URL: 0", ("token-expires", "U7")),
        ("X-Amz-Date parameter is expired (15 minute expiration) 2026", ("token-date-expired", "U9")),
        (f'{FORMAT} parse \\"https://sts.x/?a=\\": net/url: invalid control character', ("token-url-parse", None)),
        (f'{FORMAT} unexpected scheme \\"http\\" in pre-signed URL', ("token-scheme", None)),
        (f"{FORMAT} unexpected path in pre-signed URL", ("token-path", None)),
        (f"{FORMAT} malformed query parameter", ("token-query", None)),
        (f'{FORMAT} duplicate query parameter found: \\"action\\"', ("token-dup-case", None)),
        (f"{FORMAT} query parameter with multiple values not supported", ("token-dup", None)),
        (f"{FORMAT} unexpected action parameter in pre-signed URL", ("token-action", None)),
        (f"{FORMAT} X-Amz-Date parameter must be present in pre-signed URL", ("token-date-missing", None)),
        (f"{FORMAT} error parsing X-Amz-Date parameter 2026 into format 20060102T150405Z",
         ("token-date-format", None)),
        ("sts getCallerIdentity failed: error from AWS (expected 200, got 403). Body: SignatureDoesNotMatch",
         ("signature-mismatch", "U10")),
        ("sts getCallerIdentity failed: error from AWS (expected 200, got 403). Body: ExpiredToken",
         ("credentials-expired", "U11")),
        ("sts getCallerIdentity failed: error from AWS (expected 200, got 403). Body: InvalidClientTokenId",
         ("credentials-invalid", "U11")),
        ("sts getCallerIdentity failed: error from AWS (expected 200, got 403). Body: RegionDisabledException",
         ("sts-region-disabled", "U13")),
        ("sts getCallerIdentity was throttled: x", ("sts-throttled", "U23")),
        ("renderTemplates error: SessionName did not contain an instance id", ("not-mapped", "U21")),
        ("mapper DynamicFile Map error: ARN does not match User ID", ("not-mapped", "U17")),
        ("invalid username 'x:y' for mapper m: username must not begin with with the following prefixes: [x:]",
         ("reserved-username", "U15")),
        ("error: You must be logged in to the server (Unauthorized)", ("unauthorized", None)),
        ("error: the server has asked for the client to provide credentials", ("unauthorized", None)),
        ("kubernetes.client.exceptions.ApiException: (401)\nReason: Unauthorized", ("unauthorized", None)),
        ('{"kind":"Event","user":{},"verb":"list","responseStatus":{"code":401}}', ("unauthorized", None)),
        ('"user":{}', ("unauthorized", None)),
        ("Invalid kube-config file. Expected key current-context in kube-config", ("plugin-failed", None)),
        ("RuntimeError: You cannot use AsyncToSync in the same thread as an async event loop", ("plugin-failed", None)),
        ("The kubernetes group name system:masters is invalid, it cannot start with system:", ("entry-refused", "F11")),
        ("Credential should be scoped to a valid region", ("token-sts-scope-host", None)),
        ("(ResourceNotFoundException) when calling the DescribeCluster operation: No cluster found for name: x.",
         ("cluster-not-found", "N2")),
        ("AssumeRoleWithWebIdentity operation: Not authorized to perform sts:AssumeRoleWithWebIdentity",
         ("assume-role-denied", "F14")),
        ("botocore.exceptions.NoRegionError: You must specify a region.", ("region-unknown", None)),
        ("botocore.exceptions.ProfileNotFound: The config profile (x) could not be found",
         ("credentials-missing", None)),
        ('EndpointConnectionError: Could not connect to the endpoint URL: "https://sts.eu-west-1.amazonaws.com/"',
         ("sts-unreachable", None)),
        ('ConnectTimeoutError: Connect timeout on endpoint URL: "https://eks.eu-west-1.amazonaws.com/clusters/x"',
         ("eks-unreachable", None)),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", ("credentials-missing", None)),
        ("An error occurred (ExpiredToken) when calling the AssumeRole operation: x", ("credentials-expired", "U11")),
        ("Unable to connect to the server: getting credentials: exec: executable aws not found",
         ("plugin-failed", "U2")),
        ("sh: 5: source: not found", ("plugin-failed", "U2")),
        ("exec plugin is configured to use API version v1, plugin returned version v1beta1", ("plugin-version", "U26")),
        ('getting credentials: decoding stdout: no kind "ExecCredential" is registered for version "x/v1alpha1"',
         ("plugin-version", "U26")),
        ("dial tcp 10.0.0.1:443: i/o timeout", ("unreachable", "N1")),
        ("Unable to connect to the server: net/http: TLS handshake timeout", ("unreachable", "N1")),
        ("Error: Unauthorized\n\n  with kubernetes_namespace.x, on main.tf line 5", ("unauthorized", None)),
        ("aiohttp.client_exceptions.WSServerHandshakeError: 401, message='x'", ("unauthorized", None)),
        ("An error occurred (InvalidClientTokenId) when calling the AssumeRole operation: x",
         ("credentials-invalid", "U11")),
        ("x509: certificate signed by unknown authority", ("wrong-certificate-authority", "N3")),
        (f"{CERTIFICATE} unable to get local issuer certificate (_ssl.c:1)", ("wrong-certificate-authority", "N3")),
        (f"{CERTIFICATE} certificate has expired (_ssl.c:1)", ("tls-failed", "N3")),
        (f"{CERTIFICATE} Hostname mismatch, certificate is not valid for 'x'.", ("tls-failed", "N3")),
        ("x509: certificate is valid for a.example, not b.example", ("tls-failed", "N3")),
        ("x509: certificate has expired or is not yet valid: current time 2026", ("tls-failed", "N3")),
        ('pods is forbidden: User "" cannot list resource "pods" in API group "" in the namespace "data"',
         ("forbidden", "F10")),
        ("OSError: Tunnel connection failed: 403 Forbidden-by-proxy", ("not-kubernetes", "N4")),
        ("The conn_id `cluster_connection` isn't defined", ("connection-missing", None)),
        ("The specified principalArn is invalid: invalid principal.", ("entry-refused", "U18")),
        (f'pods is forbidden: User "{WORKER}" cannot list resource "pods" in API group "" in the namespace "data"',
         ("forbidden", None)),
        ('pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope',
         ("anonymous", "F1")),
        ('pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
         ("admission-denied", "F13")),
        ("[eks:unreachable] No TCP connection to https://x", ("unreachable", None)),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_paste_is_known_by_its_words(text: str, found: tuple[str, str | None]) -> None:
    assert said(text) == [found]
    assert all(item.remedy.text for item in explain(text, now=NOW))


@pytest.mark.parametrize(
    "text",
    ["", "hello", "GET /pods 200", "the request was forbidden by nobody", "status 401 days", "ExpiredTokens galore",
     '{"kind":"Event","user":{"username":"x"},"responseStatus":{"code":200}}', "k8s-aws-v1.", "k8s-aws-v1." + "A" * 40],
)  # fmt: skip
def test_what_is_not_known_is_not_explained(text: str) -> None:
    assert said(text) == []


def test_only_a_finding_of_this_release_is_linked() -> None:
    ours, another = explain("[eks:unreachable] No way\n[eks:never-heard-of] x", now=NOW)

    assert ours.remedy.text.endswith("docs/findings/unreachable.md")
    assert (another.id, "docs/findings" in another.remedy.text) == ("never-heard-of", False)


def test_a_live_token_is_announced_and_not_echoed() -> None:
    pasted = f"Authorization: Bearer {token()}\nerror: You must be logged in to the server (Unauthorized)"

    found = explain(pasted, now=NOW)

    assert [item.id for item in found] == ["live-token", "unauthorized"]
    assert "valid until 2026-02-03 04:20:06 UTC" in found[0].summary
    _holds_no_secret(found)


@pytest.mark.parametrize(
    "pasted",
    [
        "\n".join([*(token()[at : at + 72] for at in range(0, len(token()), 72)), "kubernetes said no"]),
        "\r\n".join([token()[:40], token()[40:]]),
        f'error="{FORMAT} parse \\"{url()}\\": net/url: invalid" method=POST',
        json.dumps({"message": f"GET {url()}"}).replace("&", "\\u0026"),
    ],
    ids=["wrapped", "cut in two", "the verifier's log", "a log as JSON"],
)
def test_a_live_token_is_known_in_every_form(pasted: str) -> None:
    found = explain(pasted, now=NOW)

    assert found[0].id == "live-token"
    assert "valid until 2026-02-03 04:20:06 UTC" in found[0].summary
    _holds_no_secret(found)


def test_of_several_live_tokens_the_last_to_end_is_told() -> None:
    pasted = f"{token()}\n{token(X_Amz_Date='20260203T040406Z')}\n"

    found = explain(pasted, now=NOW)

    assert [item.id for item in found] == ["live-token"]
    assert "valid until 2026-02-03 04:20:06 UTC" in found[0].summary


def test_a_token_that_is_over_says_so() -> None:
    assert said(f"token: {token()}") != []
    late = explain(f"token: {token()}", now=NOW + timedelta(hours=1))

    assert [(item.id, item.cause) for item in late] == [("expired-token", "U9")]
    _holds_no_secret(late)


def _holds_no_secret(found: tuple[Explanation, ...]) -> None:
    shown = f"{found} {json.dumps([item.to_dict() for item in found])}"
    assert not any(canary in shown for canary in (*CANARIES, token()[:60]))


def test_whose_it_is_and_what_to_do_are_told_of_a_denial() -> None:
    found = explain(
        f'pods "p1" is forbidden: User "{WORKER}" cannot get resource "pods/log" in API group "" '
        'in the namespace "data"',
        now=NOW,
    )

    assert found[0].identity == WORKER
    assert found[0].summary == f'user {WORKER} may not get pods/log "p1" in namespace data'
    fields = found[0].to_dict()
    assert (fields["kind"], fields["verb"], fields["subresource"]) == ("rbac", "get", "log")


IN_DATA = 'in the namespace "data"'
GONE = 'RBAC: role.rbac.authorization.k8s.io "gone" not found'
RULE = '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (f'User "{WORKER}" cannot get resource "pods/log" in API group "" {IN_DATA}', None),
        (f'User "{WORKER}" cannot get resource "pods/log" in API group "" {IN_DATA}: {GONE}', "F7"),
        (f'User "{WORKER}" cannot list resource "pods" in API group "" at the cluster scope', "F5"),
        (f'User "{WORKER}" cannot list resource "pods" in API group "" at the cluster scope: {GONE}', "F7"),
        ('User "" cannot list resource "pods" in API group "" at the cluster scope', "F10"),
        (f'User "{WORKER}" cannot impersonate resource "users" in API group "" at the cluster scope', None),
        ('User "system:node:n" cannot get resource "pods" in API group "" at the cluster scope', None),
        ("\n", "F8"),
        (f'user "{WORKER}" (groups=["g"]) is attempting to grant RBAC permissions not currently held:\n{RULE}', "F12"),
    ],
)
def test_the_cause_is_told_where_the_text_decides_it(text: str, cause: str | None) -> None:
    assert said(f'pods "p1" is forbidden: {text}') == [("forbidden", cause)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ('get resource "pods/exec"', "pod operator asks for it (do_xcom_push); without it: task fails after the work"),
        ('create resource "pods/exec"', "(do_xcom_push); without it: task fails after the work is done. The"),
        ('create resource "pods"', "Airflow's pod operator asks for it; without it: no pod is made. The"),
        ('list resource "events"', "are missing from the log (until cncf-kubernetes 10.24.0: task fails, and its"),
        ('watch resource "events"', "(log_events_on_startup); without it: the pod's events are missing from the log"),
        ('watch resource "pods"', "KubernetesExecutor asks for it; without it: tasks end, and the executor does not"),
        ('list resource "secrets"', "Kubernetes secrets backend asks for it; without it: connections, variables or"),
    ],
)
def test_what_of_airflow_asks_for_the_right_is_told(asked: str, words: str) -> None:
    (found,) = explain(f'x is forbidden: User "{WORKER}" cannot {asked} in API group "" {IN_DATA}', now=NOW)

    assert words in found.remedy.text


@pytest.mark.parametrize(
    "asked",
    [f'get resource "secrets" in API group "" {IN_DATA}', 'list resource "pods" in API group "" at the cluster scope',
     f'create resource "pods" in API group "metrics.k8s.io" {IN_DATA}'],
)  # fmt: skip
def test_what_airflow_never_asks_for_is_not_put_down_to_it(asked: str) -> None:
    (found,) = explain(f'x is forbidden: User "{WORKER}" cannot {asked}', now=NOW)

    assert "Airflow" not in found.remedy.text


@pytest.mark.parametrize(
    ("because", "whose"),
    [
        ("because no identity-based policy allows the sts:AssumeRole action", "own account"),
        ("because no resource-based policy allows the sts:AssumeRole action", "trust policy"),
        ("with an explicit deny in a service control policy", "organization"),
        ("because no permissions boundary allows the sts:AssumeRole action", "boundary"),
        ("because no session policy allows the sts:AssumeRole action", "session"),
        ("with an explicit deny in a VPC endpoint policy", "VPC endpoint"),
    ],
)
def test_awss_own_words_decide_who_mends_a_refused_hop(because: str, whose: str) -> None:
    text = (
        "An error occurred (AccessDenied) when calling the AssumeRole operation: User: "
        f"arn:aws:sts::111111111111:assumed-role/mwaa-exec/s is not authorized to perform: sts:AssumeRole on resource: "
        f"{ROLE} {because}"
    )

    found = explain(text, now=NOW)

    assert [(item.id, item.cause) for item in found] == [("assume-role-denied", "F14")]
    assert whose in found[0].remedy.text


def test_several_things_in_one_paste_are_told_each_once_and_the_bare_401_not() -> None:
    text = "\n".join(
        [
            "sh: 5: source: not found",
            "kubernetes.client.exceptions.ApiException: (401)\nReason: Unauthorized",
            "sh: 5: source: not found",
            LINE.format(ROLE, "identity is not mapped"),
        ]
    )

    assert said(text) == [("not-mapped", "U15"), ("plugin-failed", "U2")]


@given(
    st.text(max_size=400),
    st.sampled_from(['is forbidden: User "', 'msg="access denied"', "[eks:x] ", "k8s-aws-v1.", "401"]),
)
def test_no_text_makes_it_raise_or_print_what_steers_a_terminal(text: str, around: str) -> None:
    for item in explain(f"{text}{around}{text}\n", now=NOW):
        assert (item.summary + item.remedy.text).isprintable()


@pytest.mark.parametrize(
    "unit",
    [
        'msg="access denied" ',
        '"user":{} ',
        "k8s-aws-v1.AAAA",
        "(401) ",
        'User "',
        "error from AWS ",
        '\\"',
        "exec: ",
        "x",
    ],
)
def test_megabytes_of_what_looks_like_it_come_to_an_end(unit: str) -> None:
    size = 10_000_000 if unit == "x" else 1_000_000
    assert len(explain(unit * (size // len(unit)), now=NOW)) <= 20


def test_a_web_identity_that_is_refused_is_told_what_the_trust_policy_needs() -> None:
    (item,) = explain(
        "Could not assume role with OIDC: Not authorized to perform sts:AssumeRoleWithWebIdentity", now=NOW
    )

    assert "token.actions.githubusercontent.com:sub" in item.remedy.text
    assert "aws_iam_policy_document" in str(item.to_dict()["remedy"]["hcl"])
    assert '"Action": "sts:AssumeRoleWithWebIdentity"' in item.to_text()


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.canary-signature"


@pytest.mark.parametrize(
    "secret",
    [
        token(),
        JWT,
        "https://sts.us-west-2.amazonaws.com/?X-Amz-Security-Token=canary%2Fsession&X-Amz-Signature=canary",
        "AWS_SECRET_ACCESS_KEY=canary/key",
        "aws_session_token = canary",
        "'SecretAccessKey': 'canary/key'",
        '\\"SessionToken\\": \\"canary\\"',
        "Bearer canary-of-an-opaque-kind",
    ],
    ids=["token", "JWT", "URL", "environment", "AWS configuration", "Python", "JSON in JSON", "header"],
)
@pytest.mark.parametrize(
    "around",
    [
        'pods "p" is forbidden: admission webhook "w.x" denied the request: {} is bad\n',
        'pods "p" is forbidden: User "{}" cannot get resource "pods" in API group "" in the namespace "data"\n',
        'pods "{}" is forbidden: exceeded quota: {}\n',
        "[eks:forbidden] {}\n",
        "User: arn:aws:iam::111111111111:user/{} is not authorized to perform: sts:AssumeRole on resource: {}\n",
        LINE.format("arn:aws:iam::111111111111:user/{}", "identity is not mapped: {}"),
    ],
    ids=["reason", "user", "name", "our line", "AWS", "authenticator"],
)
def test_what_is_secret_in_a_paste_is_in_no_answer(secret: str, around: str) -> None:
    found = explain(around.replace("{}", secret), now=NOW)

    shown = json.dumps([item.to_dict() for item in found]) + "".join(item.to_text() for item in found) + repr(found)
    assert "canary" not in shown
    assert "k8s-aws-v1.a" not in shown


def test_a_sentence_of_the_verifier_about_the_prefix_is_no_token() -> None:
    text = 'error="input token was not properly formatted: token is missing expected \\"k8s-aws-v1.\\" prefix"'

    assert said(text) == [("token-prefix", "U3")]


@pytest.mark.parametrize(
    "unit", ["eyJaaaaaaaa-", "eyJaaaaaaaa.", "k8s-aws-v1.", "Bearer ", "session_token", "X-Amz-Signature="]
)
def test_secrets_are_looked_for_in_time_by_the_length_of_the_text(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        start = time.process_time()
        without_secrets(text)
        return time.process_time() - start

    few, many = min(seconds(100_000) for _ in range(3)), seconds(1_600_000)

    assert many < 48 * few + 0.05  # 16 times the text; by its square it is 256
