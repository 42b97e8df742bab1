"""Sources and role hops, by the real botocore against the sandbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from tokens import CREDENTIALS, assert_no_canary

from eks_cross_account import (
    AssumeRoleError,
    CredentialsError,
    CredentialsUnavailableError,
    FrozenCredentials,
    RoleHop,
    StsUnavailableError,
    UnknownRegionError,
    assume_roles,
)
from eks_cross_account.credentials import find_region, freeze, session_source
from eks_cross_account.sandbox import Sandbox, trust_policy

if TYPE_CHECKING:
    from pathlib import Path

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"


def fetch(*hops: RoleHop, region: str = "eu-west-1", **options: Any) -> FrozenCredentials:
    return assume_roles(session_source(), hops, region=region, **options)()


def test_making_a_source_asks_nobody(eks_sandbox: Sandbox) -> None:
    assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")

    assert eks_sandbox.requests == []


def test_a_hop_is_one_call_to_the_regional_sts(eks_sandbox: Sandbox) -> None:
    granted = fetch(RoleHop(ROLE, session_name="nightly"))

    assert granted.access_key.startswith("ASIA")
    assert granted.token
    assert granted.expiration is not None
    assert [(r.operation, r.host, r.status) for r in eks_sandbox.requests] == [
        ("sts:AssumeRole", "sts.eu-west-1.amazonaws.com", 200)
    ]


def test_without_hops_a_source_is_itself() -> None:
    source = session_source()

    assert assume_roles(source, [], region="eu-west-1") is source


def test_a_chain_walks_from_role_to_role(eks_sandbox: Sandbox) -> None:
    last = "arn:aws:iam::333333333333:role/cluster-user"
    gate = f"arn:aws:iam::{B}:role/gateway"
    eks_sandbox.add_role(gate, trust=trust_policy(EXECUTION, external_id="partner-7"), allow=["sts:AssumeRole"])
    eks_sandbox.add_role(last, trust=[gate])

    fetch(RoleHop(gate, external_id="partner-7", session_name="first"), RoleHop(last, session_name="second"))

    assert [request.caller for request in eks_sandbox.requests] == [
        f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod",
        f"arn:aws:sts::{B}:assumed-role/gateway/first",
    ]


def test_a_chain_lives_as_long_as_its_shortest_session(eks_sandbox: Sandbox) -> None:
    gate, last = f"arn:aws:iam::{B}:role/gateway", "arn:aws:iam::333333333333:role/cluster-user"
    eks_sandbox.add_role(gate, trust=[EXECUTION], allow=["sts:AssumeRole"], life=timedelta(minutes=15))
    eks_sandbox.add_role(last, trust=[gate])

    granted = fetch(RoleHop(gate), RoleHop(last))

    assert granted.expiration is not None
    assert granted.expiration - eks_sandbox.clock.now() <= timedelta(minutes=15)


def test_everything_a_hop_says_reaches_sts(eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/particular"
    document = trust_policy(EXECUTION, external_id="partner-7", tag_session=True)
    document["Statement"][0]["Action"] = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
    eks_sandbox.add_role(arn, trust=document)
    hop = RoleHop(
        arn,
        session_name="nightly",
        external_id="partner-7",
        duration=timedelta(minutes=20),
        tags={"team": "data"},
        transitive_tag_keys=["team"],
        policy='{"Version": "2012-10-17", "Statement": []}',
        source_identity="alice",
    )

    granted = fetch(hop)

    assert granted.expiration is not None
    assert timedelta(minutes=19) < granted.expiration - eks_sandbox.clock.now() <= timedelta(minutes=20)
    assert hop.request() == {
        "RoleArn": arn,
        "RoleSessionName": "nightly",
        "ExternalId": "partner-7",
        "DurationSeconds": 1200,
        "Tags": [{"Key": "team", "Value": "data"}],
        "TransitiveTagKeys": ["team"],
        "Policy": '{"Version": "2012-10-17", "Statement": []}',
        "SourceIdentity": "alice",
    }


def test_a_refused_hop_says_which_role_and_what_aws_said(eks_sandbox: Sandbox) -> None:
    gate, last = f"arn:aws:iam::{B}:role/gateway", "arn:aws:iam::333333333333:role/nobody"
    eks_sandbox.add_role(gate, trust=[EXECUTION], allow=["sts:AssumeRole"])

    with pytest.raises(AssumeRoleError) as raised:
        fetch(RoleHop(gate), RoleHop(last, external_id="wrong"))

    error = raised.value
    assert (error.role_arn, error.code, error.hop, error.retryable) == (last, "AccessDenied", 2, False)
    assert "because no resource-based policy allows the sts:AssumeRole action" in error.aws_message
    assert str(error).startswith(f"AssumeRole of {last} (hop 2 of 2) was refused: AccessDenied: User: arn:aws:sts::{B}")
    assert str(error).endswith("(external id sent: yes)")


@pytest.mark.parametrize(
    ("kind", "error", "retryable"), [("throttle", AssumeRoleError, True), ("disconnect", StsUnavailableError, True)]
)
@pytest.mark.parametrize("attempts", ["1"])
def test_trouble_on_the_way_may_be_tried_again(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Any], retryable: Any, attempts: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    getattr(eks_sandbox, kind)("sts:AssumeRole")

    with pytest.raises(error) as raised:
        fetch(RoleHop(ROLE))

    assert raised.value.retryable is retryable
    assert len(eks_sandbox.requests) == 1  # the user's retry setting was honoured


def test_the_users_endpoint_is_honoured_for_assume_role(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", eks_sandbox.endpoint_url)
    config = botocore.session.Session().create_client("sts", region_name="eu-west-1").meta.endpoint_url
    if config != eks_sandbox.endpoint_url:
        pytest.skip("this botocore is older than AWS_ENDPOINT_URL")

    fetch(RoleHop(ROLE))

    assert eks_sandbox.requests[-1].host == eks_sandbox.endpoint_url.removeprefix("http://")


def test_a_wrong_ca_is_refused(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with Sandbox() as other:
        monkeypatch.setenv("AWS_CA_BUNDLE", other.ca_bundle)

        with pytest.raises(StsUnavailableError, match=r"(?i)certificate verify failed"):
            fetch(RoleHop(ROLE))

    assert eks_sandbox.requests == []


def test_the_callers_session_with_its_own_timeouts_is_used(eks_sandbox: Sandbox) -> None:
    session = botocore.session.Session()
    from botocore.config import Config  # noqa: PLC0415 - beside its one use

    session.set_default_client_config(Config(read_timeout=0.3, retries={"max_attempts": 0}))
    eks_sandbox.hang("sts:AssumeRole")

    with pytest.raises(StsUnavailableError, match=r"(?i)read timeout"):
        fetch(RoleHop(ROLE), session=session)


# --- sources


def test_the_environment_is_found(eks_sandbox: Sandbox) -> None:
    assert session_source()().access_key == eks_sandbox.environ["AWS_ACCESS_KEY_ID"]


def test_a_profile_is_found_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[jobs]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = canary\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    assert session_source(profile="jobs")() == FrozenCredentials("AKIAEXAMPLE", "canary")
    with pytest.raises(CredentialsUnavailableError, match="nobody"):
        session_source(profile="nobody")()


def test_a_boto3_and_a_botocore_session_are_taken() -> None:
    keys = ("AKIAEXAMPLE", "canary", "canary/token")
    inner = botocore.session.Session()
    inner.set_credentials(*keys)

    for session in (boto3.Session(*keys), inner):
        assert session_source(session)() == FrozenCredentials(*keys)


def test_no_credentials_at_all_is_said() -> None:
    with pytest.raises(CredentialsUnavailableError, match="no AWS credentials were found"):
        session_source()()


@pytest.mark.parametrize("name", ["access_key", "secret_key", "token"])
def test_credentials_that_are_no_text_are_refused_by_name_alone(name: str) -> None:
    session = botocore.session.Session()
    session.set_credentials(**{"access_key": "ASIAX", "secret_key": "x", "token": "y", name: {"canary": 1}})

    with pytest.raises(CredentialsError, match=f"{name} is no text, but dict") as refused:
        session_source(session)()

    assert "canary" not in str(refused.value)


def test_a_profile_whose_role_is_refused_says_so(
    eks_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = f"role_arn = arn:aws:iam::{B}:role/nobody\ncredential_source = Environment\nregion = eu-west-1\n"
    (tmp_path / "config").write_text(f"[profile jobs]\n{profile}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")

    with pytest.raises(CredentialsError, match=r"AssumeRole operation: User: .* is not authorized"):
        session_source(profile="jobs")()

    assert eks_sandbox.requests[-1].code == "AccessDenied"


def test_half_a_pair_is_said_without_the_half() -> None:
    session = botocore.session.Session()
    session.set_credentials("AKIAEXAMPLE", "")

    with pytest.raises(CredentialsError) as raised:
        freeze(session)

    assert_no_canary(str(raised.value))


@pytest.mark.parametrize(
    "arguments",
    [
        {"role_arn": "cross-account-role"},
        {"role_arn": "arn:aws:sts::222222222222:assumed-role/r/s"},
        {"role_arn": "arn:aws:iam::2222:role/r"},
        {"role_arn": "arn:aws-mars:iam::222222222222:role/r"},
        {"role_arn": "arn:aws:iam::222222222222:role/r\n"},
        {"role_arn": None},
        {"session_name": "a"},
        {"session_name": "a b"},
        {"session_name": "x" * 65},
        {"external_id": "\u202e\u202e"},
        {"external_id": ""},
        {"source_identity": "x y"},
        {"duration": 899},
        {"duration": timedelta(hours=13)},
    ],
    ids=str,
)
def test_a_hop_that_sts_could_not_take_is_refused_before_it_is_sent(arguments: Any) -> None:
    with pytest.raises(CredentialsError) as raised:
        RoleHop(**{"role_arn": ROLE, **arguments})

    assert str(raised.value).isascii()
    assert "\n" not in str(raised.value)


def test_a_hop_can_be_compared_and_kept_as_a_key() -> None:
    assert RoleHop(ROLE, tags={"a": "b"}, duration=900) == RoleHop(
        ROLE, tags=[("a", "b")], duration=timedelta(minutes=15)
    )
    assert len({RoleHop(ROLE), RoleHop(ROLE), RoleHop(ROLE, session_name="other")}) == 2


def test_credentials_hide_their_secrets() -> None:
    shown = f"{CREDENTIALS!r} {CREDENTIALS} {[CREDENTIALS]}"

    assert_no_canary(shown)
    assert "...LE01" in shown
    assert "ASIAEXAMPLE" not in shown


@pytest.mark.parametrize(
    ("argument", "environ", "found"),
    [("eu-west-1", {"AWS_REGION": "us-east-1"}, "eu-west-1"), (None, {"AWS_REGION": "us-east-1"}, "us-east-1"),
     (None, {"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"),
     (None, {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-west-2"}, "us-east-1")],
)  # fmt: skip
def test_the_region_is_the_argument_then_the_environment(argument: str | None, environ: Any, found: str) -> None:
    assert find_region(argument, botocore.session.Session(), environ) == found


def test_the_region_may_come_from_the_profile_and_is_never_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-central-1\n")

    with pytest.raises(UnknownRegionError, match="no region: pass region="):
        find_region(None, botocore.session.Session(), {})

    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert find_region(None, botocore.session.Session(), {}) == "eu-central-1"


def test_a_source_of_static_keys_is_any_function(eks_sandbox: Sandbox) -> None:
    keys = eks_sandbox.issue_session(EXECUTION)

    granted = assume_roles(lambda: replace(keys, expiration=None), [RoleHop(ROLE)], region="eu-west-1")()

    assert granted.expiration is not None


# --- credentials that are not to be had


def missing_web_identity(folder: Path) -> dict[str, str]:
    return {"AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "gone"), "AWS_ROLE_ARN": ROLE}


def missing_program(folder: Path) -> dict[str, str]:
    (folder / "config").write_text(f"[profile job]\ncredential_process = {folder / 'gone'}\n")
    return {"AWS_PROFILE": "job", "AWS_CONFIG_FILE": str(folder / "config")}


@pytest.mark.parametrize("of", [missing_web_identity, missing_program])
def test_a_file_that_credentials_need_and_that_is_gone_is_named(
    of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in of(tmp_path).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(CredentialsUnavailableError, match=r"no AWS credentials: .*No such file or directory: .*gone"):
        session_source()()


def test_what_a_credential_process_complains_of_is_printable_and_holds_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "said").write_text("\x1b[31mexpired\nsecret_access_key=HUSHHUSH\n")
    (tmp_path / "program").write_text(f"cat {tmp_path / 'said'} >&2; exit 3\n")
    (tmp_path / "config").write_text(f"[profile job]\ncredential_process = sh {tmp_path / 'program'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    with pytest.raises(CredentialsUnavailableError) as raised:
        session_source(profile="job")()

    assert str(raised.value).endswith("\\x1b[31mexpired secret_access_key=(hidden) ")
