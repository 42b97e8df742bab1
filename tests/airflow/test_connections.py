"""From an Airflow connection to a token, by the provider's real code, at the sandbox's STS."""

# ruff: noqa: ARG001 - rows of a table take what all rows take; fixtures set the environment

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import sys
import threading
import traceback
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eks_cross_account import RoleHop, verify_token
from eks_cross_account.airflow import CrossAccountEksHook, _connections
from eks_cross_account.airflow._connections import ConnectionMissingError, access_of, look_up
from eks_cross_account.airflow._seams import base_aws
from eks_cross_account.airflow._target import Target
from eks_cross_account.airflow.check import report_of
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsError,
    CredentialsUnavailableError,
    EksTokenError,
    StsUnavailableError,
    UnknownRegionError,
)
from eks_cross_account.sandbox import trust_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
ADMIN = f"arn:aws:iam::{B}:role/cluster-admin"
SESSION = f"arn:aws:sts::{B}:assumed-role/cross-account-role/"


@dataclass(frozen=True)
class Way:
    """One form of the connection: its fields, and whose the token must be."""

    arn: str
    fields: dict[str, Any] = field(default_factory=dict)
    aws: tuple[str, ...] = ("sts:AssumeRole",)


def signer(target: Target) -> str:
    token = access_of(look_up(target)).provider.get_token()
    return verify_token(token.value, cluster_name="analytics", region="eu-west-1").arn


def target(**given: Any) -> Target:
    return Target(**{"cluster_name": "analytics", "aws_conn_id": "c", "region": "eu-west-1", **given})


def by_role(sandbox: Sandbox, folder: Path) -> Way:
    return Way(SESSION + "airflow_c", {"extra": {"role_arn": ROLE}})


def by_role_with_its_options(sandbox: Sandbox, folder: Path) -> Way:
    arn = f"arn:aws:iam::{B}:role/team/external"
    sandbox.add_role(arn, trust=trust_policy(EXECUTION, external_id="partner-7"))
    options = {"ExternalId": "partner-7", "RoleSessionName": "mine", "DurationSeconds": 900}
    return Way(
        f"arn:aws:sts::{B}:assumed-role/external/mine", {"extra": {"role_arn": arn, "assume_role_kwargs": options}}
    )


def by_legacy_external_id(sandbox: Sandbox, folder: Path) -> Way:
    arn = f"arn:aws:iam::{B}:role/external"
    sandbox.add_role(arn, trust=trust_policy(EXECUTION, external_id="partner-7"))
    return Way(
        f"arn:aws:sts::{B}:assumed-role/external/airflow_c", {"extra": {"role_arn": arn, "external_id": "partner-7"}}
    )


def by_login(sandbox: Sandbox, folder: Path) -> Way:
    user = sandbox.add_user(f"arn:aws:iam::{A}:user/robot")
    return Way(f"arn:aws:iam::{A}:user/robot", {"login": user.access_key, "password": user.secret_key}, ())


def by_keys_in_extra(sandbox: Sandbox, folder: Path) -> Way:
    keys = sandbox.issue_session(ROLE, "given")
    named = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
    }
    return Way(SESSION + "given", {"extra": named}, ())


def by_profile(sandbox: Sandbox, folder: Path) -> Way:
    keys = sandbox.issue_session(EXECUTION, "profile")
    (folder / "no-aws-credentials").write_text(
        f"[team]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n"
        f"aws_session_token={keys.token}\n"
    )
    return Way(SESSION + "airflow_c", {"extra": {"profile_name": "team", "role_arn": ROLE}})


def by_web_identity(sandbox: Sandbox, folder: Path) -> Way:
    arn, provider = f"arn:aws:iam::{B}:role/web", f"arn:aws:iam::{B}:oidc-provider/issuer.example"
    condition = {"StringEquals": {"issuer.example:sub": "me", "issuer.example:aud": "sts.amazonaws.com"}}
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
                 "Condition": condition}  # fmt: skip
    sandbox.add_role(arn, trust={"Version": "2012-10-17", "Statement": [statement]})
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": "https://issuer.example", "sub": "me", "aud": "sts.amazonaws.com", "exp": now + 600, "iat": now}
    parts = ({"alg": "RS256"}, claims, "signature")
    jwt = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    (folder / "jwt").write_text(jwt)
    extra = {"role_arn": arn, "assume_role_method": "assume_role_with_web_identity",
             "assume_role_with_web_identity_federation": "file",
             "assume_role_with_web_identity_token_file": str(folder / "jwt")}  # fmt: skip
    return Way(f"arn:aws:sts::{B}:assumed-role/web/", {"extra": extra}, ("sts:AssumeRoleWithWebIdentity",))


def by_endpoint_of_its_own(sandbox: Sandbox, folder: Path) -> Way:
    service = {"sts": {"endpoint_url": sandbox.endpoint_url}}
    return Way(SESSION + "airflow_c", {"extra": {"role_arn": ROLE, "service_config": service}})


def by_config_and_verify(sandbox: Sandbox, folder: Path) -> Way:
    extra = {"role_arn": ROLE, "config_kwargs": {"retries": {"mode": "standard"}}, "verify": sandbox.ca_bundle}
    return Way(SESSION + "airflow_c", {"extra": extra})


WAYS = [by_role, by_role_with_its_options, by_legacy_external_id, by_login, by_keys_in_extra, by_profile,
        by_web_identity, by_endpoint_of_its_own, by_config_and_verify]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_token_is_that_of_the_connection(
    eks_sandbox: Sandbox, connection: Any, tmp_path: Path, way: Callable[[Sandbox, Path], Way]
) -> None:
    expected = way(eks_sandbox, tmp_path)
    connection("c", **expected.fields)

    arn = signer(target())

    assert arn.startswith(expected.arn)
    assert tuple(request.operation for request in eks_sandbox.requests[:-1]) == expected.aws


def test_a_session_factory_of_ones_own_is_used(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = eks_sandbox.issue_session(ROLE, "factory")

    class Factory(base_aws.BaseSessionFactory):  # type: ignore[misc]
        def create_session(self, deferrable: bool = False) -> Any:  # noqa: FBT001, FBT002, ARG002 - the provider's
            import boto3  # noqa: PLC0415

            return boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name=self.region_name)

    monkeypatch.setattr(base_aws, "SessionFactory", Factory)
    connection("c", extra={"role_arn": ROLE})

    assert signer(target()) == SESSION + "factory"


def test_the_session_of_a_factory_of_ones_own_lists_services_as_before(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3  # noqa: PLC0415 - as the provider does

    own = boto3.Session(region_name="eu-west-1")

    class Factory(base_aws.BaseSessionFactory):  # type: ignore[misc]
        @property
        def basic_session(self) -> Any:
            return own

    monkeypatch.setattr(base_aws, "SessionFactory", Factory)
    connection("c", extra={"role_arn": ROLE})

    assert signer(target()) == SESSION + "airflow_c"
    assert isinstance(own.get_available_services(), list)


def test_the_folders_of_all_services_are_not_looked_through(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the provider's session nor by ours."""
    monkeypatch.setattr(Loader, "list_available_services", lambda *_: pytest.fail("all services were looked for"))
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))

    access.provider.get_token()
    access.cluster()

    assert [it.operation for it in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_legacy_external_id_is_warned_of_once(
    eks_sandbox: Sandbox, connection: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection("c", **by_legacy_external_id(eks_sandbox, tmp_path).fields)

    with caplog.at_level(logging.WARNING, _connections.__name__):
        look_up(target())
        look_up(target())

    said = [record.getMessage() for record in caplog.records if "external_id" in record.getMessage()]
    assert len([text for text in said if "is sent" in text]) <= 1  # amazon 8 says it in its own words


EXTRAS = [
    "role_arn", "region_name", "external_id", "assume_role_kwargs", "assume_role_method", "session_kwargs", "verify",
    "config_kwargs", "service_config", "endpoint_url", "profile_name", "aws_account_id", "aws_iam_role",
    "aws_access_key_id", "aws_session_token", "assume_role_with_saml", "assume_role_with_web_identity_federation",
    "assume_role_with_web_identity_token_file",
]  # fmt: skip
WORDS = st.text(max_size=20) | st.sampled_from([ROLE, "eu-west-1", "assume_role", "file", "\x1b[2J", "a" * 5000])
NAMES = WORDS | st.sampled_from(["ExternalId", "DurationSeconds", "Tags", "Policy", "retries", "sts", "endpoint_url"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(EXTRAS), VALUES, max_size=4), st.sampled_from([{}, {"role_arn": ROLE}]))
@example(extra={"config_kwargs": []}, role={"role_arn": ROLE})
@example(extra={"config_kwargs": {"": None}}, role={"role_arn": ROLE})
@example(extra={"assume_role_method": None}, role={"role_arn": ROLE})
@example(extra={"assume_role_kwargs": [{}]}, role={"role_arn": ROLE})
@example(extra={"assume_role_kwargs": {"Tags": [{}]}}, role={"role_arn": ROLE})
@example(extra={"service_config": None}, role={})
@example(extra={"endpoint_url": [1]}, role={"role_arn": ROLE})
@example(extra={"aws_access_key_id": {"a": 1}}, role={})
def test_whatever_an_extra_holds_errors_are_ours(
    eks_sandbox: Sandbox, connection: Any, extra: dict[str, Any], role: dict[str, str]
) -> None:
    """In the task and in its check, which says what is wrong; the secret is in neither."""
    connection("c", extra={"aws_secret_access_key": "canary", **role, **extra})

    try:
        access = access_of(look_up(target()))
        access.provider.get_token()
        access.cluster()
        said = ""
    except EksTokenError as error:
        said = str(error)
    report = report_of(target(), timeout=3)

    assert "canary" not in said + report.to_text() + report.to_json()


def test_an_extra_that_the_provider_stumbles_at_is_a_finding(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE, "config_kwargs": ["retries"]})

    report = report_of(target())

    assert report.root_cause == "connection-unusable"
    assert "connection c cannot be used: " in report.findings[0].summary
    assert eks_sandbox.requests == []


def test_a_connection_that_is_not_defined_signs_nothing(eks_sandbox: Sandbox) -> None:
    with pytest.raises(ConnectionMissingError, match="Airflow connection 'not_there' was not found here") as missing:
        look_up(target(aws_conn_id="not_there"))

    assert missing.value.conn_id == "not_there"
    assert eks_sandbox.requests == []


def test_no_connection_is_the_default_chain_on_purpose(eks_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, _connections.__name__):
        arn = signer(target(aws_conn_id=None))

    assert arn == f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod"
    assert not [record for record in caplog.records if record.name == _connections.__name__]


def test_aws_default_that_is_not_defined_is_the_default_chain_and_named_once(
    eks_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, _connections.__name__):
        for cluster in ("analytics", "other"):
            access_of(look_up(target(aws_conn_id="aws_default", cluster_name=cluster))).provider.get_token()

    said = [record.getMessage() for record in caplog.records if record.name == _connections.__name__]
    assert said == [
        (
            "connection aws_default is not defined, so AWS's default chain is used: "
            f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod"
        )
    ]


def test_a_defined_connection_that_fails_is_never_replaced(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": f"arn:aws:iam::{B}:role/no-such-role"})

    with pytest.raises(AssumeRoleError, match="no-such-role") as refused:
        signer(target())

    assert refused.value.code == "AccessDenied"
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole"]


def test_a_profile_that_is_not_there_is_named(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"profile_name": "nobody"})

    with pytest.raises(CredentialsError, match="nobody"):
        signer(target())


def test_hops_come_after_the_connections_role(eks_sandbox: Sandbox, connection: Any) -> None:
    last = f"arn:aws:iam::{B}:role/last"
    eks_sandbox.add_role(last, trust=trust_policy(ADMIN))
    eks_sandbox._world.roles[ADMIN].allow = ("sts:AssumeRole",)
    connection("c", extra={"role_arn": ADMIN})

    arn = signer(target(hops=(RoleHop(last),)))

    assert arn == f"arn:aws:sts::{B}:assumed-role/last/airflow_c"
    assert [request.operation for request in eks_sandbox.requests[:-1]] == ["sts:AssumeRole", "sts:AssumeRole"]


def test_a_hop_into_the_role_one_already_is_is_skipped_and_said_once(
    eks_sandbox: Sandbox, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    connection("c", extra={"role_arn": ROLE})

    with caplog.at_level(logging.INFO, _connections.__name__):
        signer(target(hops=(RoleHop(ROLE),)))
        look_up(target(hops=(RoleHop(ROLE),)))

    assert [request.operation for request in eks_sandbox.requests[:-1]] == ["sts:AssumeRole"]
    said = [record for record in caplog.records if "is the role of connection" in record.getMessage()]
    assert len(said) == 1


def test_cluster_and_token_cost_one_assume_role_and_one_describe_cluster(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))

    for _ in range(3):
        assert access.cluster().name == "analytics"
        access.provider.get_token()

    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_clusters_that_are_reached_the_same_way_share_its_sessions(eks_sandbox: Sandbox, connection: Any) -> None:
    last = f"arn:aws:iam::{B}:role/last"
    eks_sandbox.add_role(last, trust=trust_policy(ADMIN))
    eks_sandbox._world.roles[ADMIN].allow = ("sts:AssumeRole",)
    connection("c", extra={"role_arn": ADMIN})
    connection("d", extra={"role_arn": ADMIN})
    names = [f"cluster-{number}" for number in range(8)]

    held = [access_of(look_up(target(cluster_name=name, hops=(RoleHop(last),)))) for name in names]
    tokens = {access.provider.get_token().value for access in held}

    assert len(tokens) == 8
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "sts:AssumeRole"]
    other = access_of(look_up(target(aws_conn_id="d", hops=(RoleHop(last),))))
    assert other.provider.get_token().value not in tokens
    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole"] * 4


def test_a_cluster_is_described_by_a_new_session_where_the_kept_one_was_revoked(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))
    access.cluster()
    eks_sandbox.revoke(access._source.at(datetime.now(UTC)))
    later = datetime.now(UTC) + timedelta(minutes=16)
    monkeypatch.setattr(_connections, "utc_now", lambda: later)

    assert access.cluster().name == "analytics"

    asked = [request.operation for request in eks_sandbox.requests]
    assert asked == ["sts:AssumeRole", *["eks:DescribeCluster"] * 2, "sts:AssumeRole", "eks:DescribeCluster"]


def test_a_cluster_that_may_not_be_described_costs_no_session_at_each_try(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection("c", extra={"role_arn": ROLE})
    eks_sandbox.deny("eks:DescribeCluster")
    access = access_of(look_up(target()))
    start = datetime.now(UTC)

    for second in range(0, 300, 10):
        monkeypatch.setattr(_connections, "utc_now", lambda by=second: start + timedelta(seconds=by))
        with pytest.raises(ClusterError, match="AccessDenied"):
            access.cluster()

    assert sum(request.operation == "sts:AssumeRole" for request in eks_sandbox.requests) == 5  # one a minute


def test_other_keys_in_the_environment_are_another_way_in(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of two users of a process has made is not served to the other."""
    other = eks_sandbox.add_user(f"arn:aws:iam::{A}:user/robot")
    first = access_of(look_up(target(aws_conn_id=None)))
    same = access_of(look_up(target(aws_conn_id=None)))
    first.provider.get_token()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", other.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", other.secret_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    assert same is first
    assert signer(target(aws_conn_id=None)) == f"arn:aws:iam::{A}:user/robot"


def locked_while_made() -> threading.RLock:
    """The lock that functools.cached_property holds while a session factory makes its session, up to Python 3.11."""
    found = inspect.getattr_static(base_aws.SessionFactory, "basic_session")
    return found.lock  # type: ignore[no-any-return]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="functools.cached_property has no lock from Python 3.12 on")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_task_that_was_forked_while_a_session_was_made_makes_its_own(eks_sandbox: Sandbox, connection: Any) -> None:
    """A worker's other thread holds the provider's lock, and does not exist in the task's process."""
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))
    held, done = threading.Event(), threading.Event()

    def other_thread() -> None:
        with locked_while_made():
            held.set()
            done.wait(30)

    thread = threading.Thread(target=other_thread)
    thread.start()
    assert held.wait(10)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # a child that hangs ends by SIGALRM
        access.provider.get_token()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    done.set()
    thread.join()

    assert status == 0


def test_a_thousand_coroutines_cost_one_assume_role_and_one_describe_cluster(
    eks_sandbox: Sandbox, connection: Any
) -> None:
    connection("c", extra={"role_arn": ROLE})

    async def task() -> None:
        access = access_of(await _connections.alook_up(target()))
        await access.acluster()
        await access.provider.aget_token()

    async def all_of_them() -> None:
        held = access_of(await _connections.alook_up(target()))
        await asyncio.gather(*(task() for _ in range(1000)))
        del held

    asyncio.run(all_of_them())

    assert [request.operation for request in eks_sandbox.requests] == ["sts:AssumeRole", "eks:DescribeCluster"]


def test_a_connection_whose_secret_changed_is_another_one(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", login="AKIAAAAAAAAAAAAAAAAA", password="one")
    before = access_of(look_up(target()))
    same = access_of(look_up(target()))
    connection("c", login="AKIAAAAAAAAAAAAAAAAA", password="two")
    after = access_of(look_up(target()))

    assert same is before
    assert after is not before


@pytest.mark.parametrize(
    ("argument", "extra", "environ", "expected"),
    [
        ("eu-central-1", {"region_name": "eu-west-2"}, "eu-west-1", ("eu-central-1", "argument")),
        (None, {"region_name": "eu-west-2"}, "eu-west-1", ("eu-west-2", "connection c")),
        (None, {}, "eu-west-1", ("eu-west-1", "environment")),
    ],
)
def test_the_region_is_the_arguments_then_the_connections_then_the_environments(
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    extra: dict[str, Any],
    environ: str,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setenv("AWS_REGION", environ)
    connection("c", extra=extra)

    connected = look_up(target(region=argument))

    assert (connected.region, connected.region_from) == expected
    assert connected.sts_region == environ  # AssumeRole goes to the caller's own region


def test_sts_is_asked_in_the_partition_of_the_cluster(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    connection("c", extra={"region_name": "cn-north-1"})

    assert look_up(target(region=None)).sts_region == "cn-north-1"


def test_no_region_anywhere_is_an_error(connection: Any) -> None:
    connection("c", extra={})

    with pytest.raises(UnknownRegionError, match="no region"):
        look_up(target(region=None))


def test_assume_role_goes_to_regional_sts_on_every_botocore(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE})

    signer(target())

    assert {request.host for request in eks_sandbox.requests} == {"sts.eu-west-1.amazonaws.com"}


def test_no_key_or_token_is_logged_at_debug(
    eks_sandbox: Sandbox, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    last = f"arn:aws:iam::{B}:role/last"
    eks_sandbox.add_role(last, trust=trust_policy(ADMIN), allow=["eks:DescribeCluster"])
    eks_sandbox._world.roles[ADMIN].allow = ("sts:AssumeRole",)
    connection("c", extra={"role_arn": ADMIN})
    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1", role_arn=last)

    with caplog.at_level(logging.DEBUG):
        token = hook.get_token()
        hook._access.cluster()
        hook.test_connection()

    secrets = {key.secret_key for key in eks_sandbox._world.keys.values()}
    secrets |= {key.session_token or "-" for key in eks_sandbox._world.keys.values()} | {token.value, "X-Amz-Signature"}
    text = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert not [secret for secret in secrets if len(secret) > 1 and secret in text]


def test_cluster_data_is_asked_for_again_after_a_quarter_of_an_hour_or_a_tls_failure(
    eks_sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))
    access.cluster()
    access.forget_cluster()
    access.cluster()
    later = datetime.now(UTC) + timedelta(minutes=15, seconds=1)
    monkeypatch.setattr(_connections, "utc_now", lambda: later)

    access.cluster()

    operations = [request.operation for request in eks_sandbox.requests]
    assert operations.count("eks:DescribeCluster") == 3
    assert operations.count("sts:AssumeRole") == 1


def test_an_endpoint_by_hand_asks_no_eks(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE})

    access = access_of(look_up(target(cluster_endpoint="https://example.com", cluster_ca="Q0E=")))

    assert access.cluster().endpoint == "https://example.com"
    assert eks_sandbox.requests == []


GRANTED = (
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>canary"
    "</SecretAccessKey><SessionToken>canary</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>"
)


@pytest.mark.parametrize("cut", [10, 40, 90, 130])
def test_half_an_answer_of_sts_is_said_without_the_keys_in_it(
    eks_sandbox: Sandbox, connection: Any, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    eks_sandbox.respond("sts:AssumeRole", 200, GRANTED[:-cut])
    connection("c", extra={"role_arn": ROLE})
    access = access_of(look_up(target()))

    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(StsUnavailableError, match="something that is not AWS") as raised,
    ):
        access.provider.get_token()

    shown, link = "", raised.value
    while link is not None:
        whole = traceback.TracebackException.from_exception(link, capture_locals=True)
        shown += f"{link!r} {link} {''.join(whole.format())}"
        link = link.__cause__ or link.__context__
    assert "canary" not in shown
    assert "canary" not in caplog.text


def client_error(code: str) -> Exception:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "AssumeRole")


REFUSALS = [
    ("a role", ROLE, client_error("AccessDenied"), AssumeRoleError,
     f"AssumeRole of {ROLE} (hop 1 of 1, connection c) was refused: AccessDenied: no (external id sent: no)"),
    ("no role", None, client_error("InvalidClientTokenId"), CredentialsError,
     "connection c: AWS refused: An error occurred (InvalidClientTokenId) when calling the AssumeRole operation: no"),
    ("what is no role", "deploy", client_error("ValidationError"), CredentialsError,
     "connection c: AWS refused: An error occurred (ValidationError) when calling the AssumeRole operation: no"),
    ("no network", ROLE, EndpointConnectionError(endpoint_url="https://sts"), StsUnavailableError,
     'connection c: no answer from AWS: Could not connect to the endpoint URL: "https://sts"'),
    ("no credentials", ROLE, NoCredentialsError(), CredentialsUnavailableError,
     "connection c: Unable to locate credentials"),
    ("half an answer", ROLE, ResponseParserError("<SecretAccessKey>canary"), StsUnavailableError,
     "connection c: something that is not AWS answered, or broke off"),
    ("anything else", ROLE, KeyError("x"), CredentialsError, "connection c cannot be used: KeyError: 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "error", "kind", "message"), [row[1:] for row in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_what_the_providers_session_raises_is_an_error_of_ours(
    connection: Any, role: str | None, error: Exception, kind: type[Exception], message: str
) -> None:
    connection("c", extra={"role_arn": role} if role else {})

    found = _connections._translated(error, look_up(target()))

    assert type(found) is kind
    assert str(found) == message
    assert "canary" not in str(error)


def test_two_connections_with_the_same_hops_and_other_keys_never_share_in_one_triggerer(
    eks_sandbox: Sandbox, connection: Any
) -> None:
    other = f"arn:aws:iam::{B}:role/other"
    eks_sandbox.add_role(other, trust=trust_policy(ROLE), allow=["eks:DescribeCluster"])
    sessions = {name: eks_sandbox.issue_session(ROLE, name) for name in ("one", "two")}
    for name, keys in sessions.items():
        connection(name, login=keys.access_key, password=keys.secret_key, extra={"aws_session_token": keys.token})
    eks_sandbox._world.roles[ROLE].allow = ("sts:AssumeRole",)

    async def signed(name: str) -> tuple[str, Any]:
        access = access_of(
            await _connections.alook_up(target(aws_conn_id=name, hops=(RoleHop(other, session_name="same"),)))
        )
        await access.acluster()
        return (await access.provider.aget_token()).value, access

    async def both() -> list[tuple[str, Any]]:
        return list(await asyncio.gather(*(signed(name) for name in ("one", "two") * 50)))

    found = asyncio.run(both())

    tokens = [value for value, _ in found]
    assert len({id(access) for _, access in found}) == 2
    assert len(set(tokens[::2])) == len(set(tokens[1::2])) == 1
    assert tokens[0] != tokens[1]
    seen = [(request.operation, request.access_key_id) for request in eks_sandbox.requests]
    assert {key for operation, key in seen if operation == "sts:AssumeRole"} == {
        keys.access_key[-4:]
        for keys in sessions.values()  # of which the sandbox shows so much
    }
    assert len({key for operation, key in seen if operation == "eks:DescribeCluster"}) == 2


@pytest.mark.parametrize(
    "region",
    ["evil.example/", "eu-west-1.evil.example#", "x@evil.example", "eu-west-1\r\nHost: x", "EU-WEST-1", "127.0.0.1"],
)
def test_a_region_of_the_extra_cannot_become_a_host(eks_sandbox: Sandbox, connection: Any, region: str) -> None:
    connection("c", extra={"role_arn": ROLE, "region_name": region})

    with pytest.raises(UnknownRegionError):
        access_of(look_up(target(region=None))).provider.get_token()
    signer(target())  # where the argument says the cluster's, the extra's is not where STS is asked either

    assert {request.host for request in eks_sandbox.requests} == {"sts.eu-west-1.amazonaws.com"}
