"""What is left in the providers' own EKS hook (facts of the newest: docs/airflow.md), shown there, and not in ours."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import kubernetes.client
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.eks import EksHook
from stand import EXECUTION, ROLE

from eks_cross_account import decode_token, verify_token
from eks_cross_account.airflow import CrossAccountEksHook
from eks_cross_account.airflow._connections import ConnectionMissingError

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox

ELSEWHERE = "https://vpce-0abc.sts.eu-west-1.vpce.amazonaws.com"
WRITES_CREDENTIALS = "credentials_file" in inspect.signature(EksHook.generate_config_file).parameters  # from 9.13 on


@pytest.fixture
def sandbox(eks_sandbox: Sandbox, connection: Any) -> Sandbox:
    connection("c", extra={"role_arn": ROLE, "region_name": "eu-west-1"})
    return eks_sandbox


def ours(conn_id: str = "c") -> CrossAccountEksHook:
    return CrossAccountEksHook(conn_id, cluster_name="analytics", region="eu-west-1")


def kubeconfig_of_the_provider() -> str:
    hook = EksHook(aws_conn_id="c", region_name="eu-west-1")
    given = {"eks_cluster_name": "analytics", "pod_namespace": "data"}
    if WRITES_CREDENTIALS:
        given["credentials_file"] = "/nowhere"
    with hook.generate_config_file(**given) as file, open(file) as opened:  # noqa: PTH123 - a path as text
        return opened.read()


def test_a_connection_that_is_not_there_is_another_identity_or_an_error(sandbox: Sandbox) -> None:
    theirs = AwsBaseHook(aws_conn_id="not_there", client_type="sts").get_session().get_credentials()

    assert theirs.access_key == sandbox.environ["AWS_ACCESS_KEY_ID"]  # the execution role's, without a word
    with pytest.raises(ConnectionMissingError):
        ours("not_there").get_token()
    assert EXECUTION.startswith("arn:aws:iam::111111111111:")
    assert sandbox.requests == []


def test_the_token_is_for_regional_sts_whatever_aws_default_or_the_environment_say(
    sandbox: Sandbox, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection("aws_default", extra={"endpoint_url": ELSEWHERE, "service_config": {"sts": {"endpoint_url": ELSEWHERE}}})
    if WRITES_CREDENTIALS:
        assert f"{ELSEWHERE}/" in kubeconfig_of_the_provider()  # aws_default's, of a task with connection c

    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sandbox.endpoint_url)
    token = ours().get_token()

    assert decode_token(token.value).sts_host == "sts.eu-west-1.amazonaws.com"
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    assert verify_token(token.value, cluster_name="analytics").canonical_arn == ROLE


def test_the_environment_of_the_process_stays_as_it_is(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    if WRITES_CREDENTIALS:
        kubeconfig_of_the_provider()
        assert "AWS_STS_REGIONAL_ENDPOINTS" not in os.environ  # the user's own value is gone
        monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    before = dict(os.environ)

    ours().core_v1.list_namespaced_pod("data")

    assert dict(os.environ) == before
    assert sandbox.kubernetes_requests[-1].code == 200


def test_the_default_configuration_of_the_kubernetes_client_stays_as_it_is(sandbox: Sandbox) -> None:
    before = kubernetes.client.Configuration.get_default_copy().host

    ours().core_v1.list_namespaced_pod("data")

    assert kubernetes.client.Configuration.get_default_copy().host == before
    assert sandbox.cluster().endpoint != before
