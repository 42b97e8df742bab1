"""The sandbox's AWS, asked by the real botocore: what it grants, what it refuses, and in whose words."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from eks_cross_account import encode_token, presign
from eks_cross_account.sandbox import Sandbox, trust_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.credentials import FrozenCredentials

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
ADMIN = f"arn:aws:iam::{B}:role/cluster-admin"
NEW = f"arn:aws:iam::{B}:role/team/new"
NO_RETRY = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=5, parameter_validation=False)


def client(service: str, credentials: FrozenCredentials | None = None, **options: Any) -> Any:
    keys = {}
    if credentials is not None:
        keys = {
            "aws_access_key_id": credentials.access_key,
            "aws_secret_access_key": credentials.secret_key,
            "aws_session_token": credentials.token,
        }
    made = {"region_name": "eu-west-1", "config": NO_RETRY, **keys, **options}
    return botocore.session.Session().create_client(service, **made)


def regional(service: str = "sts", credentials: FrozenCredentials | None = None) -> Any:
    """Old botocore would take the global STS."""
    return client(service, credentials, endpoint_url=f"https://{service}.eu-west-1.amazonaws.com")


def refusal(call: Any, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def assume(credentials: FrozenCredentials | None = None, **arguments: Any) -> Any:
    return regional("sts", credentials).assume_role(**{"RoleArn": ROLE, "RoleSessionName": "nightly", **arguments})


# --- identity


def test_a_signed_call_says_who_signed(eks_sandbox: Sandbox) -> None:
    identity = regional().get_caller_identity()

    assert identity["Account"] == A
    assert identity["Arn"] == f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod"
    assert identity["UserId"].startswith("AROA")
    assert identity["UserId"].endswith(":AmazonMWAA-prod")
    assert [(r.operation, r.status, r.caller) for r in eks_sandbox.requests] == [
        ("sts:GetCallerIdentity", 200, identity["Arn"])
    ]


@pytest.mark.usefixtures("eks_sandbox")
def test_the_global_host_answers_for_us_east_1() -> None:
    sts = client("sts", region_name="us-east-1", endpoint_url="https://sts.amazonaws.com")

    assert sts.get_caller_identity()["Account"] == A


def test_one_endpoint_url_leads_to_every_service(eks_sandbox: Sandbox) -> None:
    admin = eks_sandbox.issue_session(ADMIN)

    assert client("sts", admin, endpoint_url=eks_sandbox.endpoint_url).get_caller_identity()["Account"] == B
    assert client("eks", admin, endpoint_url=eks_sandbox.endpoint_url).list_clusters()["clusters"] == ["analytics"]
    role = client("iam", admin, endpoint_url=eks_sandbox.endpoint_url, region_name="us-east-1")
    assert role.get_role(RoleName="cross-account-role")["Role"]["Arn"] == ROLE


# --- signatures: every part that is signed, changed on its way


def presigned(sandbox: Sandbox, credentials: FrozenCredentials, **options: Any) -> str:
    made = {"cluster_name": "analytics", "region": "eu-west-1", "now": sandbox.clock.now(), **options}
    return presign(credentials, **made)


def get(sandbox: Sandbox, url: str, **headers: str) -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=sandbox.ca_bundle)
    sent = {"x-k8s-aws-id": "analytics", "Accept": "application/json", **headers}
    with urllib3.ProxyManager(sandbox.proxy_url, ssl_context=context) as pool:
        answer = pool.request("GET", url, headers={k: v for k, v in sent.items() if v}, retries=False)
    return answer.status, json.loads(answer.data)


def test_a_presigned_url_is_accepted_with_the_header_that_was_signed(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE, "nightly")

    status, body = get(eks_sandbox, presigned(eks_sandbox, session))

    result = body["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    assert (status, result["Arn"]) == (200, f"arn:aws:sts::{B}:assumed-role/cross-account-role/nightly")
    assert set(result) == {"Account", "Arn", "UserId"}


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        ("X-Amz-Signature=", "X-Amz-Signature=0", "SignatureDoesNotMatch", "does not match the signature you provided"),
        ("X-Amz-Expires=60", "X-Amz-Expires=61", "SignatureDoesNotMatch", "does not match the signature you provided"),
        ("Version=2011-06-15", "Version=2011-06-16", "SignatureDoesNotMatch", "does not match"),
        ("sts%2Faws4_request", "s3%2Faws4_request", "SignatureDoesNotMatch", "correct service: 'sts'"),
        ("%2Feu-west-1%2F", "%2Feu-west-2%2F", "SignatureDoesNotMatch", "valid region, not 'eu-west-2'"),
        ("aws4_request", "aws5_request", "SignatureDoesNotMatch", "valid terminator: 'aws4_request'"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "IncompleteSignature", "Unsupported AWS 'algorithm'"),
        ("Credential=ASIA", "Credential=ASIB", "InvalidClientTokenId", "security token included"),
        ("Security-Token=", "Security-Token=x", "InvalidClientTokenId", "security token included"),
        ("X-Amz-Security-Token", "X-Amz-Security-Tokn", "InvalidClientTokenId", "security token included"),
        ("X-Amz-Date=", "X-Amz-Dat=", "IncompleteSignature", "must include 'X-Amz-Date'"),
        ("host%3Bx-k8s-aws-id", "x-k8s-aws-id", "SignatureDoesNotMatch", "'Host' or ':authority'"),
    ],
    ids=lambda value: value[:24],
)
def test_a_changed_url_is_refused(eks_sandbox: Sandbox, before: str, after: str, code: str, words: str) -> None:
    url = presigned(eks_sandbox, eks_sandbox.issue_session(ROLE))
    assert before in url

    status, body = get(eks_sandbox, url.replace(before, after, 1))

    assert (status in {400, 403}, body["Error"]["Code"]) == (True, code)
    assert words in body["Error"]["Message"]


@pytest.mark.parametrize("header", ["another", ""], ids=["other cluster", "header missing"])
def test_the_cluster_name_in_the_header_is_part_of_the_signature(eks_sandbox: Sandbox, header: str) -> None:
    url = presigned(eks_sandbox, eks_sandbox.issue_session(ROLE))

    status, body = get(eks_sandbox, url, **{"x-k8s-aws-id": header})

    assert (status, body["Error"]["Code"]) == (403, "SignatureDoesNotMatch")


def test_two_signatures_at_once_are_refused(eks_sandbox: Sandbox) -> None:
    """A user name in a token's URL becomes a second Authorization header."""
    url = presigned(eks_sandbox, eks_sandbox.issue_session(ROLE))

    status, body = get(eks_sandbox, url, Authorization="Basic dXNlcjpwdw==")

    assert (status, body["Error"]["Code"]) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("age", "accepted"),
    [(timedelta(minutes=14, seconds=50), True), (timedelta(minutes=15, seconds=2), False),
     (-timedelta(minutes=4, seconds=50), True), (-timedelta(minutes=5, seconds=10), False)],
    ids=["14:50 old", "15:02 old", "4:50 ahead", "5:10 ahead"],
)  # fmt: skip
def test_a_presigned_url_lives_fifteen_minutes_and_may_be_five_ahead(
    eks_sandbox: Sandbox,
    age: timedelta,
    accepted: bool,  # noqa: FBT001 - a table
) -> None:
    session = eks_sandbox.issue_session(ROLE)
    url = presigned(eks_sandbox, session, now=eks_sandbox.clock.now() - age)

    status, body = get(eks_sandbox, url)

    assert (status == 200) is accepted
    if not accepted:
        assert body["Error"]["Message"].startswith(("Signature expired", "Signature not yet current"))


def test_a_session_that_ended_is_expired_although_the_signature_is_fresh(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE, life=timedelta(seconds=30))
    eks_sandbox.clock.advance(timedelta(seconds=31))

    _, body = get(eks_sandbox, presigned(eks_sandbox, session))

    assert body["Error"]["Code"] == "ExpiredToken"


def test_a_request_without_a_signature_is_refused(eks_sandbox: Sandbox) -> None:
    status, body = get(eks_sandbox, "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15")

    assert (status, body["Error"]["Code"]) == (403, "MissingAuthenticationToken")


def test_a_stranger_key_is_refused_and_leaves_no_trace_of_itself(eks_sandbox: Sandbox) -> None:
    stranger = Sandbox(default_world=True)
    with stranger:
        url = presigned(eks_sandbox, stranger.issue_session(ROLE))

    _, body = get(eks_sandbox, url)

    assert body["Error"]["Code"] == "InvalidClientTokenId"
    assert eks_sandbox.requests[-1].access_key_id == ""
    assert eks_sandbox.requests[-1].caller == ""


# --- AssumeRole


def test_the_trusted_role_assumes_and_is_then_the_other_role(eks_sandbox: Sandbox) -> None:
    granted = assume()

    assert granted["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{B}:assumed-role/cross-account-role/nightly"
    assert granted["Credentials"]["AccessKeyId"].startswith("ASIA")
    left = granted["Credentials"]["Expiration"] - eks_sandbox.clock.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ({"RoleArn": f"arn:aws:iam::{B}:role/nobody"}, "AccessDenied",
         "because no resource-based policy allows the sts:AssumeRole action"),
        ({"RoleSessionName": "a b"}, "ValidationError", "'roleSessionName' failed to satisfy constraint"),
        ({"ExternalId": "a b"}, "ValidationError", "'externalId' failed to satisfy constraint"),
        ({"DurationSeconds": 899}, "ValidationError", "greater than or equal to 900"),
        ({"DurationSeconds": 43201}, "ValidationError", "less than or equal to 43200"),
        ({"DurationSeconds": 3601}, "ValidationError", "1 hour session limit for roles assumed by role chaining"),
        ({"Policy": "{"}, "MalformedPolicyDocument", "invalid Json"),
        ({"SourceIdentity": "alice"}, "AccessDenied", "not authorized to perform: sts:SetSourceIdentity"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
@pytest.mark.usefixtures("eks_sandbox")
def test_a_bad_request_for_a_role_is_refused_in_awss_words(arguments: dict[str, Any], code: str, words: str) -> None:
    seen, message = refusal(assume, **arguments)

    assert seen == code
    assert words in message


def test_a_user_may_ask_for_longer_than_an_hour_up_to_the_roles_limit(eks_sandbox: Sandbox) -> None:
    user = eks_sandbox.add_user(f"arn:aws:iam::{B}:user/alice")
    arn = f"arn:aws:iam::{B}:role/long"
    eks_sandbox.add_role(arn, trust=[f"arn:aws:iam::{B}:user/alice"], max_session=timedelta(hours=2))

    assert assume(user, RoleArn=arn, DurationSeconds=7200)
    assert "exceeds the MaxSessionDuration" in refusal(assume, credentials=user, RoleArn=arn, DurationSeconds=7201)[1]


@pytest.mark.parametrize(("sent", "granted"), [("partner-7", True), ("partner-8", False), (None, False)])
def test_an_external_id_must_be_exactly_that(
    eks_sandbox: Sandbox,
    sent: str | None,
    granted: bool,  # noqa: FBT001 - a table
) -> None:
    arn = f"arn:aws:iam::{B}:role/external"
    eks_sandbox.add_role(arn, trust=trust_policy(EXECUTION, external_id="partner-7"))
    arguments = {} if sent is None else {"ExternalId": sent}

    if granted:
        assert assume(RoleArn=arn, **arguments)
    else:
        assert refusal(assume, RoleArn=arn, **arguments)[0] == "AccessDenied"


def test_tags_need_tag_session_in_the_trust_policy(eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/untagged"
    eks_sandbox.add_role(arn, trust=[EXECUTION])
    tags = [{"Key": "team", "Value": "data"}]

    assert assume(Tags=tags)
    assert "sts:TagSession" in refusal(assume, RoleArn=arn, Tags=tags)[1]


@pytest.mark.parametrize(
    ("statement", "granted"),
    [
        ({"Principal": {"AWS": EXECUTION}}, True),
        ({"Principal": {"AWS": f"arn:aws:iam::{A}:root"}}, True),
        ({"Principal": {"AWS": A}}, True),
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "arn:aws:iam::333333333333:root"}}, False),
        ({"Principal": {"AWS": A}, "Condition": {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{A}:role/*/mwaa-*"}}},
         True),
        ({"Principal": {"AWS": A}, "Condition": {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{A}:role/mwaa-exec"}}},
         False),
        ({"Principal": {"AWS": EXECUTION}, "Action": "sts:*"}, True),
        ({"Principal": {"AWS": EXECUTION}, "Action": "sts:TagSession"}, False),
        ({"Principal": {"AWS": EXECUTION}, "Effect": "Deny"}, False),
    ],
    ids=str,
)  # fmt: skip
def test_a_trust_policy_is_read_as_iam_reads_it(
    eks_sandbox: Sandbox,
    statement: dict[str, Any],
    granted: bool,  # noqa: FBT001 - a table
) -> None:
    arn = f"arn:aws:iam::{B}:role/tried"
    whole = {"Effect": "Allow", "Action": "sts:AssumeRole", **statement}
    eks_sandbox.add_role(arn, trust={"Version": "2012-10-17", "Statement": whole})

    if granted:
        assert assume(RoleArn=arn)
    else:
        assert refusal(assume, RoleArn=arn)[0] == "AccessDenied"


@pytest.mark.parametrize(
    "trust",
    [
        [f"arn:aws:iam::{A}:role/mwaa-exec"],  # the path is missing
        [f"arn:aws:iam::{A}:role/nobody"],
        {"Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": EXECUTION}, "Action": "sts:AssumeRole"}]},
        {
            "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": A}, "Condition": {"IpAddress": {"aws:SourceIp": "1"}}}
            ]
        },
    ],
    ids=["path left out", "no such role", "element not read", "operator not read"],
)
def test_a_trust_policy_that_iam_or_the_sandbox_cannot_take_is_refused(eks_sandbox: Sandbox, trust: Any) -> None:
    with pytest.raises(ValueError, match="MalformedPolicyDocument"):
        eks_sandbox.add_role(f"arn:aws:iam::{B}:role/bad", trust=trust)


def test_the_callers_own_policies_must_allow_it_too(eks_sandbox: Sandbox) -> None:
    poor = f"arn:aws:iam::{A}:role/poor"
    eks_sandbox.add_role(poor)
    eks_sandbox.add_role(f"arn:aws:iam::{B}:role/open", trust=[poor])
    session = eks_sandbox.issue_session(poor)

    message = refusal(assume, credentials=session, RoleArn=f"arn:aws:iam::{B}:role/open")[1]

    assert message.endswith("because no identity-based policy allows the sts:AssumeRole action")


def test_an_explicit_deny_wins(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("sts:Assume*", principal_arn=EXECUTION)

    assert refusal(assume)[1].endswith("with an explicit deny in an identity-based policy")

    eks_sandbox.undeny()
    assert assume()


def test_root_assumes_nothing(eks_sandbox: Sandbox) -> None:
    root = eks_sandbox.add_user(f"arn:aws:iam::{B}:root", allow=["*"])

    assert refusal(assume, credentials=root) == ("AccessDenied", "Roles may not be assumed by root accounts.")


def test_a_role_made_again_under_its_old_name_is_another_principal(eks_sandbox: Sandbox) -> None:
    eks_sandbox.delete_role(EXECUTION)
    assert refusal(regional().get_caller_identity)[0] == "InvalidClientTokenId"
    eks_sandbox.add_role(EXECUTION, allow=["sts:AssumeRole"])

    assert refusal(assume, credentials=eks_sandbox.issue_session(EXECUTION))[0] == "AccessDenied"


def test_a_revoked_key_is_unknown(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE)
    eks_sandbox.revoke(session)

    assert refusal(regional("sts", session).get_caller_identity)[0] == "InvalidClientTokenId"


def test_a_web_identity_is_taken_by_issuer_and_subject(eks_sandbox: Sandbox, tmp_path: Path) -> None:
    claims = {"iss": "https://token.actions.githubusercontent.com", "sub": "repo:team/jobs:ref:refs/heads/main"}
    jwt = f"e30.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"
    arn = f"arn:aws:iam::{B}:role/github"
    provider = f"arn:aws:iam::{B}:oidc-provider/token.actions.githubusercontent.com"
    condition = {"StringLike": {"token.actions.githubusercontent.com:sub": "repo:team/*"}}
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
                 "Condition": condition}  # fmt: skip
    eks_sandbox.add_role(arn, trust={"Statement": [statement]})
    (tmp_path / "jwt").write_text(jwt)

    call = regional().assume_role_with_web_identity
    granted = call(RoleArn=arn, RoleSessionName="ci", WebIdentityToken=jwt)

    assert granted["SubjectFromWebIdentityToken"] == claims["sub"]
    assert refusal(call, RoleArn=ROLE, RoleSessionName="ci", WebIdentityToken=jwt)[0] == "AccessDenied"
    assert refusal(call, RoleArn=arn, RoleSessionName="ci", WebIdentityToken="garbage")[0] == "InvalidIdentityToken"


def test_a_saml_assertion_is_asked_for_and_the_provider_must_be_trusted(eks_sandbox: Sandbox) -> None:
    arn, provider = f"arn:aws:iam::{B}:role/saml", f"arn:aws:iam::{B}:saml-provider/corp"
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithSAML"}
    eks_sandbox.add_role(arn, trust={"Statement": [statement]})
    call = regional().assume_role_with_saml

    assert call(RoleArn=arn, PrincipalArn=provider, SAMLAssertion="PHNhbWw+")["Credentials"]
    assert refusal(call, RoleArn=ROLE, PrincipalArn=provider, SAMLAssertion="PHNhbWw+")[0] == "AccessDenied"


def test_session_tokens_are_as_long_as_asked() -> None:
    with Sandbox(token_bytes=3000) as sandbox:
        assert len(sandbox.issue_session(ROLE).token or "") == 3000


# --- EKS and IAM


def test_eks_describes_the_cluster_of_the_callers_account(eks_sandbox: Sandbox) -> None:
    cluster = regional("eks", eks_sandbox.issue_session(ROLE)).describe_cluster(name="analytics")["cluster"]

    assert cluster["arn"] == f"arn:aws:eks:eu-west-1:{B}:cluster/analytics"
    assert cluster["status"] == "ACTIVE"


def test_eks_refuses_in_its_own_words(eks_sandbox: Sandbox) -> None:
    role, admin = (regional("eks", eks_sandbox.issue_session(arn)) for arn in (ROLE, ADMIN))

    assert refusal(admin.describe_cluster, name="nothing") == (
        "ResourceNotFoundException",
        "No cluster found for name: nothing.",
    )
    code, message = refusal(role.list_clusters)
    assert code == "AccessDeniedException"
    assert message == (
        f"User: arn:aws:sts::{B}:assumed-role/cross-account-role/session is not authorized to perform: "
        f"eks:ListClusters on resource: arn:aws:eks:eu-west-1:{B}:cluster/*"
    )


def needs_access_entries(eks: Any) -> Any:
    if not hasattr(eks, "create_access_entry"):
        pytest.skip("this botocore is older than access entries")
    return eks


def test_access_entries_are_made_changed_listed_and_deleted(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(NEW)
    eks = needs_access_entries(regional("eks", eks_sandbox.issue_session(ADMIN)))
    mine = {"clusterName": "analytics", "principalArn": NEW}
    view = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"

    entry = eks.create_access_entry(**mine)["accessEntry"]
    assert entry["username"] == f"arn:aws:sts::{B}:assumed-role/new/{{{{SessionName}}}}"
    assert eks.update_access_entry(**mine, kubernetesGroups=["data"])["accessEntry"]["kubernetesGroups"] == ["data"]
    eks.associate_access_policy(**mine, policyArn=view, accessScope={"type": "namespace", "namespaces": ["data"]})
    assert [p["policyArn"] for p in eks.list_associated_access_policies(**mine)["associatedAccessPolicies"]] == [view]
    assert eks.list_access_entries(clusterName="analytics")["accessEntries"] == [ADMIN, ROLE, NEW]
    eks.disassociate_access_policy(**mine, policyArn=view)
    assert eks.list_associated_access_policies(**mine)["associatedAccessPolicies"] == []
    assert refusal(eks.create_access_entry, **mine)[0] == "ResourceInUseException"
    eks.delete_access_entry(**mine)
    assert refusal(eks.describe_access_entry, **mine)[0] == "ResourceNotFoundException"


def test_access_policies_are_of_the_regions_partition() -> None:
    with Sandbox(region="cn-north-1") as sandbox:
        session = sandbox.issue_session(ADMIN.replace("arn:aws:", "arn:aws-cn:"))
        eks = client("eks", session, region_name="cn-north-1", endpoint_url=sandbox.endpoint_url)
        needs_access_entries(eks)
        mine = {"clusterName": "analytics", "principalArn": ROLE.replace("arn:aws:", "arn:aws-cn:")}
        view = "cluster-access-policy/AmazonEKSViewPolicy"
        scope = {"type": "cluster"}

        eks.associate_access_policy(**mine, policyArn=f"arn:aws-cn:eks::aws:{view}", accessScope=scope)

        code, _ = refusal(eks.associate_access_policy, **mine, policyArn=f"arn:aws:eks::aws:{view}", accessScope=scope)
        assert code == "InvalidParameterException"
        assert all(policy["arn"].startswith("arn:aws-cn:") for policy in eks.list_access_policies()["accessPolicies"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"principalArn": f"arn:aws:iam::{B}:role/nobody"},
            "The specified principalArn is invalid: invalid principal.",
        ),
        ({"principalArn": f"arn:aws:iam::{A}:role/mwaa-exec"}, "The specified principalArn is invalid"),
        ({"principalArn": f"arn:aws:sts::{B}:assumed-role/cross-account-role/s"}, "parameter format is not valid"),
        ({"principalArn": f"arn:aws:iam::{B}:role/aws-service-role/x/y"}, "Service Linked Role"),
        ({"kubernetesGroups": ["system:masters"]}, "system:masters is invalid, it cannot start with system:"),
        ({"username": "system:me"}, "it cannot start with system:"),
    ],
    ids=str,
)
def test_an_access_entry_that_eks_refuses_is_refused(eks_sandbox: Sandbox, arguments: Any, words: str) -> None:
    eks_sandbox.add_role(NEW)
    eks = needs_access_entries(regional("eks", eks_sandbox.issue_session(ADMIN)))

    code, message = refusal(eks.create_access_entry, **{"clusterName": "analytics", "principalArn": NEW, **arguments})

    assert code == "InvalidParameterException"
    assert words in message


def test_a_cluster_in_config_map_mode_has_no_entries_until_it_is_updated_one_way(eks_sandbox: Sandbox) -> None:
    eks = needs_access_entries(regional("eks", eks_sandbox.issue_session(ADMIN)))
    eks_sandbox.add_cluster("old", authentication_mode="CONFIG_MAP")
    update = {"name": "old", "accessConfig": {"authenticationMode": "API"}}

    assert refusal(eks.list_access_entries, clusterName="old")[0] == "InvalidRequestException"
    eks.update_cluster_config(**update)
    assert eks.list_access_entries(clusterName="old")["accessEntries"] == []
    back = {"name": "old", "accessConfig": {"authenticationMode": "CONFIG_MAP"}}
    assert refusal(eks.update_cluster_config, **back)[0] == "InvalidParameterException"


def test_lists_come_in_pages_of_a_hundred(eks_sandbox: Sandbox) -> None:
    eks = needs_access_entries(regional("eks", eks_sandbox.issue_session(ADMIN)))
    cluster = eks_sandbox.add_cluster("big")
    for number in range(120):
        eks_sandbox.add_role(f"arn:aws:iam::{B}:role/r{number}")
        eks_sandbox.add_access_entry(cluster, f"arn:aws:iam::{B}:role/r{number}")

    first = eks.list_access_entries(clusterName="big")
    second = eks.list_access_entries(clusterName="big", nextToken=first["nextToken"])

    assert (len(first["accessEntries"]), len(second["accessEntries"]), "nextToken" in second) == (100, 20, False)


def test_get_role_says_the_path_that_sts_hides(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(f"arn:aws:iam::{A}:role/reader", allow=["iam:GetRole"])
    iam = client("iam", eks_sandbox.issue_session(f"arn:aws:iam::{A}:role/reader"), region_name="us-east-1")

    role = iam.get_role(RoleName="mwaa-exec")["Role"]

    assert (role["Arn"], role["Path"]) == (EXECUTION, "/service-role/")
    assert refusal(iam.get_role, RoleName="nobody")[0] == "NoSuchEntity"
    assert refusal(client("iam", region_name="us-east-1").get_role, RoleName="mwaa-exec")[0] == "AccessDenied"


@pytest.mark.usefixtures("eks_sandbox")
def test_what_the_sandbox_does_not_do_never_succeeds() -> None:
    assert refusal(regional().get_session_token)[0] == "InvalidAction"
    assert refusal(client("iam", region_name="us-east-1").list_roles)[0] == "InvalidAction"


# --- where credentials come from


@pytest.mark.parametrize("kind", ["container", "instance"])
def test_botocore_finds_the_credentials_of_container_and_instance(kind: str) -> None:
    with Sandbox() as sandbox:
        environ = sandbox.container_environ if kind == "container" else sandbox.instance_environ
        code = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
        variables = {
            **environ,
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        }

        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)

    assert done.stdout.strip() == f"arn:aws:sts::{A}:assumed-role/mwaa-exec/i-0123456789abcdef0", done.stderr


@pytest.mark.parametrize("path", ["/latest/meta-data/iam/security-credentials/", "/v2/credentials/task"])
def test_credentials_are_not_given_to_who_does_not_bring_the_token(eks_sandbox: Sandbox, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised, _opened(eks_sandbox.endpoint_url + path):
        pass

    with raised.value:
        assert raised.value.code == 401


def _opened(url: str) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5)


# --- faults


def test_throttling_has_awss_code_and_ends_when_it_was_asked_to(eks_sandbox: Sandbox) -> None:
    eks_sandbox.throttle("sts:GetCallerIdentity", times=1)

    assert refusal(regional().get_caller_identity)[0] == "Throttling"
    assert regional().get_caller_identity()
    assert [request.code for request in eks_sandbox.requests] == ["Throttling", ""]


def test_any_answer_can_be_put_in_the_way(eks_sandbox: Sandbox) -> None:
    eks_sandbox.respond("sts:*", 503, "<html>gateway</html>")

    with pytest.raises(ClientError):
        regional().get_caller_identity()

    eks_sandbox.clear_faults()
    assert regional().get_caller_identity()


def test_a_delay_delays_and_does_nothing_else(eks_sandbox: Sandbox) -> None:
    eks_sandbox.delay("sts:*", 0.3, times=1)
    start = time.monotonic()

    assert regional().get_caller_identity()

    assert time.monotonic() - start >= 0.3


@pytest.mark.parametrize("fault", ["hang", "disconnect"])
def test_a_request_can_be_left_without_an_answer(eks_sandbox: Sandbox, fault: str) -> None:
    getattr(eks_sandbox, fault)("sts:*")
    sts = client(
        "sts",
        endpoint_url="https://sts.eu-west-1.amazonaws.com",
        config=Config(retries={"max_attempts": 0}, read_timeout=0.5),
    )

    with pytest.raises(Exception, match=r"(?i)timeout|connect|clos"):
        sts.get_caller_identity()


# --- the sandbox itself


def test_two_sandboxes_know_nothing_of_each_other() -> None:
    with Sandbox() as first, Sandbox() as second:
        foreign = first.issue_session(ROLE)
        _, body = get(second, presigned(second, foreign))

        assert body["Error"]["Code"] == "InvalidClientTokenId"
        assert first.proxy_url != second.proxy_url


def test_the_proxy_knows_the_sandboxs_names_only(eks_sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=eks_sandbox.ca_bundle)
    with urllib3.ProxyManager(eks_sandbox.proxy_url, ssl_context=context) as pool:
        for host in ("example.com", "s3.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com.evil.com", "127.0.0.1"):
            with pytest.raises(urllib3.exceptions.HTTPError):
                pool.request("GET", f"https://{host}/", retries=False)


def test_everything_listens_on_loopback_and_ends_with_it() -> None:
    sandbox = Sandbox()
    with sandbox:
        urls = (sandbox.proxy_url, sandbox.endpoint_url, sandbox.cluster().endpoint)
        ports = [int(url.rpartition(":")[2]) for url in urls]
        assert all(url.partition("://")[2].startswith("127.0.0.1:") for url in urls)
        folder = Path(sandbox.ca_bundle).parent
        assert stat.S_IMODE(Path(sandbox.ca_bundle).stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {file.suffix for file in folder.iterdir()} == {".pem"}
        assert not any("PRIVATE KEY" in file.read_text() for file in folder.iterdir())

    assert not folder.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "eks-sandbox"]
    for port in ports:
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
    sandbox.stop()


def test_a_sandbox_that_runs_is_not_started_twice(eks_sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="started already"):
        eks_sandbox.start()


def test_it_stops_when_the_test_in_it_fails() -> None:
    with pytest.raises(ZeroDivisionError), Sandbox() as sandbox:
        raise ZeroDivisionError

    assert not Path(sandbox.ca_bundle).exists()


def test_nothing_it_shows_holds_a_secret(eks_sandbox: Sandbox) -> None:
    session = eks_sandbox.issue_session(ROLE)
    made = encode_token(presigned(eks_sandbox, session))
    get(eks_sandbox, presigned(eks_sandbox, session))
    assume()

    shown = f"{eks_sandbox.requests!r} {vars(eks_sandbox)['_world'].keys!r} {session!r}"

    for secret in (session.secret_key, session.token or "", made, eks_sandbox.environ["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in shown


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from eks_cross_account.sandbox import Sandbox"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert 'ImportError: the sandbox needs aiohttp: pip install "eks-cross-account[sandbox]"' in done.stderr


def test_the_clock_can_be_set_to_any_moment(eks_sandbox: Sandbox) -> None:
    eks_sandbox.clock.set(datetime(2030, 1, 1, tzinfo=UTC))

    assert abs(eks_sandbox.clock.now() - datetime(2030, 1, 1, tzinfo=UTC)) < timedelta(seconds=5)


@pytest.fixture(autouse=True)
def no_request_leaves_a_thread() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]
