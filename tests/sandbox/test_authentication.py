"""Who gets in: by the verifier's rules, STS and the mapping; and that a refusal says nothing."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from clusters import ADMIN, BARE, SESSION, STRANGER, WORKER, B, Target

from eks_cross_account import decode_token, encode_token, presign

if TYPE_CHECKING:
    from collections.abc import Callable

    from eks_cross_account.credentials import FrozenCredentials

PODS = "/api/v1/namespaces/data/pods"
UNAUTHORIZED = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "Unauthorized",
    "reason": "Unauthorized",
    "code": 401,
}


def ask_with(target: Target, authorization: str | None, path: str = PODS) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return target.ask("GET", path, role=None, headers=headers)


def test_a_mapped_role_gets_in(target: Target) -> None:
    assert target.ask("GET", PODS).status == 200
    assert target.audit()[-1]["user"]["username"] == f"arn:aws:sts::{B}:assumed-role/cross-account-role/{SESSION}"


@pytest.mark.parametrize(
    ("authorization", "status", "health"),
    [
        (None, 401, 200),  # anonymous: EKS >= 1.32 answers the three health paths and nothing else
        ("", 401, 200),
        ("Bearer", 401, 200),
        ("Bearer ", 401, 200),
        ("Basic eDp5", 401, 200),  # another scheme is no token at all
        ("{token}", 401, 200),  # clients that lost the prefix
        ("Bearer not-a-token", 401, 401),  # a token that is refused is refused everywhere
        ("Bearer Bearer {token}", 401, 401),
        ("Bearer {token}=", 401, 401),
        ("bearer {token}", 200, 200),  # the scheme's case does not matter
        ("Bearer {token} and what a shell printed", 200, 200),  # what follows a blank is not looked at
    ],
)
def test_what_stands_in_the_header_decides(target: Target, authorization: str | None, status: int, health: int) -> None:
    sent = None if authorization is None else authorization.format(token=target.token())

    assert ask_with(target, sent).status == status
    assert [ask_with(target, sent, path).status for path in ("/healthz", "/livez", "/readyz")] == [health] * 3


@pytest.mark.parametrize("path", ["/version", "/api", "/", "/apis/authentication.k8s.io/v1/selfsubjectreviews"])
def test_without_a_token_everything_but_health_is_refused(target: Target, path: str) -> None:
    assert target.ask("GET", path, role=None).status == 401


def signed(target: Target, credentials: FrozenCredentials, **options: Any) -> str:
    given = {"cluster_name": "analytics", "region": "eu-west-1", "now": target.sandbox.clock.now(), **options}
    return encode_token(presign(credentials, **given))


def of_session(target: Target, **options: Any) -> str:
    return signed(target, target.sandbox.issue_session(WORKER), **options)


def with_another_session_token(target: Target) -> str:
    session, other = target.sandbox.issue_session(WORKER), target.sandbox.issue_session(WORKER)
    return signed(target, replace(session, token=other.token))


def expired(target: Target) -> str:
    return of_session(target, now=target.sandbox.clock.now() - timedelta(minutes=15, seconds=1))


def of_an_ended_session(target: Target) -> str:
    return signed(target, target.sandbox.issue_session(WORKER, life=timedelta(minutes=-1)))


def of_a_revoked_key(target: Target) -> str:
    session = target.sandbox.issue_session(WORKER)
    target.sandbox.revoke(session)
    return signed(target, session)


def of_a_recreated_role(target: Target) -> str:
    target.sandbox.delete_role(WORKER)
    target.sandbox.add_role(WORKER)
    return target.token(WORKER)


def when_sts_throttles(target: Target) -> str:
    target.sandbox.throttle("sts:GetCallerIdentity", times=5)
    return target.token()


def when_sts_is_a_proxy_page(target: Target) -> str:
    target.sandbox.respond("sts:GetCallerIdentity", 200, "<html>", times=1)
    return target.token()


def without_an_entry(target: Target) -> str:
    target.remove_access_entry(WORKER)
    return target.token()


def in_config_map_mode(target: Target) -> str:
    target.set_mode("CONFIG_MAP")
    return target.token()


def with_a_row_in_api_mode(target: Target) -> str:
    target.set_mode("API")
    target.set_aws_auth(row(f"arn:aws:iam::{B}:role/stranger"))
    return target.token(STRANGER)


def with_a_path_in_aws_auth(target: Target) -> str:
    target.set_aws_auth(row(STRANGER))
    return target.token(STRANGER)


def row(arn: str) -> dict[str, str]:
    return {"mapRoles": f"- rolearn: {arn}\n  username: airflow\n  groups:\n  - airflow-workers\n"}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda _: "x" * 5000, "token is too large"),
        (lambda _: "not-a-token", 'token is missing expected \\"k8s-aws-v1.\\" prefix'),
        (lambda t: t.token() + "=", "illegal base64 data"),
        (
            lambda t: of_session(t, expires_in=60).replace("k8s-aws-v1.", "k8s-aws-v1.AA"),
            "input token was not properly",
        ),
        (expired, "X-Amz-Date parameter is expired (15 minute expiration)"),
        (lambda t: of_session(t, cluster_name="analytic"), "SignatureDoesNotMatch"),
        (lambda t: of_session(t, now=t.sandbox.clock.now() + timedelta(minutes=6)), "SignatureDoesNotMatch"),
        (with_another_session_token, "InvalidClientTokenId"),
        (of_an_ended_session, "ExpiredToken"),
        (of_a_revoked_key, "InvalidClientTokenId"),
        (when_sts_throttles, "sts getCallerIdentity was throttled"),
        (when_sts_is_a_proxy_page, "sts getCallerIdentity failed"),
        (lambda t: t.token(STRANGER), "identity is not mapped"),
        (without_an_entry, "identity is not mapped"),
        (of_a_recreated_role, "identity is not mapped"),  # an entry pins the role's unique id
        (in_config_map_mode, "identity is not mapped"),  # entries are ignored
        (with_a_row_in_api_mode, "identity is not mapped"),  # aws-auth is ignored
        (with_a_path_in_aws_auth, "identity is not mapped"),  # aws-auth knows no paths
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:40],
)
def test_every_refusal_is_the_same_401_and_only_the_authenticators_log_says_why(
    target: Target, make: Callable[[Target], str], error: str
) -> None:
    token = make(target)

    answer = ask_with(target, f"Bearer {token}")

    assert (answer.status, answer.document) == (401, UNAUTHORIZED)
    assert answer.headers["content-type"].startswith("application/json")
    event = target.audit()[-1]
    assert (event["user"], event["responseStatus"]["code"]) == ({}, 401)
    line = target.authenticator_log()[-1]
    assert 'level=warning msg="access denied"' in line
    assert error in line


def test_a_token_without_a_header_leaves_no_line_of_the_authenticator(target: Target) -> None:
    ask_with(target, None)

    assert target.authenticator_log() == []
    assert target.audit()[-1]["user"] == {}


def test_aws_auth_is_read_as_it_is_at_that_moment(target: Target) -> None:
    before = target.ask("GET", PODS, role=STRANGER).status
    target.set_aws_auth(row(f"arn:aws:iam::{B}:role/stranger"))
    mapped = target.ask("GET", PODS, role=STRANGER).status
    target.set_aws_auth({})
    after = target.ask("GET", PODS, role=STRANGER).status

    assert (before, mapped, after) == (401, 200, 401)


def test_an_access_entry_wins_over_aws_auth(target: Target) -> None:
    target.set_aws_auth(row(BARE))

    target.ask("GET", PODS, role=BARE)

    assert target.audit()[-1]["user"]["username"] == f"arn:aws:sts::{B}:assumed-role/bare/{SESSION}"


def test_a_review_of_oneself_says_what_the_verifier_hands_over(target: Target) -> None:
    token = target.token()
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

    answer = target.ask("POST", path, {}, role=None, headers={"Authorization": f"Bearer {token}"})

    assert answer.status == 201
    info = answer.document["status"]["userInfo"]
    role_id = target.sandbox.cluster().entries[WORKER].unique_id
    assert info["uid"] == f"aws-iam-authenticator:{B}:{role_id}"
    assert info["groups"] == ["airflow-workers", "system:authenticated"]
    assert info["extra"] == {
        "accessKeyId": [decode_token(token).access_key_id],
        "arn": [f"arn:aws:sts::{B}:assumed-role/cross-account-role/{SESSION}"],
        "canonicalArn": [WORKER],
        "principalId": [role_id],
        "sessionName": [SESSION],
        "sigs.k8s.io/aws-iam-authenticator/principalId": [role_id],
    }


def test_a_token_of_another_region_gets_in_and_one_of_another_partition_does_not(target: Target) -> None:
    assert ask_with(target, f"Bearer {of_session(target, region='us-east-2')}").status == 200
    assert ask_with(target, f"Bearer {of_session(target, region='cn-north-1')}").status == 401


def test_a_slow_sts_makes_a_slow_answer_and_not_a_refusal(target: Target) -> None:
    target.sandbox.delay("sts:GetCallerIdentity", 0.2, times=1)

    assert target.ask("GET", PODS).status == 200


def test_an_sts_that_throttles_is_asked_again_before_anybody_is_refused(target: Target) -> None:
    target.sandbox.throttle("sts:GetCallerIdentity", times=2)

    assert target.ask("GET", PODS).status == 200
    assert ["throttled" in line for line in target.authenticator_log()] == [True, True, False]


def test_no_secret_of_a_token_is_in_any_log(target: Target) -> None:
    session = target.sandbox.issue_session(WORKER)
    token = signed(target, session)
    for sent in (token, token[:-1], "k8s-aws-v1." + base64.urlsafe_b64encode(token.encode()).decode()):
        ask_with(target, f"Bearer {sent}")

    shown = f"{target.authenticator_log()} {target.audit()}"

    for secret in (session.secret_key, session.token or "?", token, token[-40:]):
        assert secret not in shown


def test_masters_may_do_everything_and_admins_by_their_policy(target: Target) -> None:
    root = f"- userarn: arn:aws:iam::{B}:role/stranger\n  username: root\n  groups: ['system:masters']\n"
    target.set_aws_auth({"mapUsers": root})

    for role in (STRANGER, ADMIN):
        assert target.ask("GET", "/api/v1/namespaces/kube-system/pods", role=role).status == 200
