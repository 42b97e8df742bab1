from __future__ import annotations

from dataclasses import replace

import pytest
from tokens import CREDENTIALS, NOW, botocore_url, token

from eks_cross_account import encode_token, presign, token_signed_by

OURS = encode_token(presign(CREDENTIALS, cluster_name="prod-eks", region="us-west-2", now=NOW))


def test_the_right_name_and_key_are_recognised() -> None:
    assert token_signed_by(OURS, cluster_name="prod-eks", credentials=CREDENTIALS)


def test_the_header_that_the_verifier_sends_besides_may_be_signed() -> None:
    url = botocore_url(CREDENTIALS, cluster_name="prod-eks", host="sts.us-west-2.amazonaws.com", region="us-west-2",
                       headers={"accept": "application/json"})  # fmt: skip

    assert "SignedHeaders=accept%3Bhost%3Bx-k8s-aws-id&" in url
    assert token_signed_by(encode_token(url), cluster_name="prod-eks", credentials=CREDENTIALS)


@pytest.mark.parametrize("name", ["prod-eks2", "PROD-EKS", "", "prod-eks\nhost:x", "\ud800"])
def test_another_cluster_name_is_told_apart(name: str) -> None:
    assert not token_signed_by(OURS, cluster_name=name, credentials=CREDENTIALS)


@pytest.mark.parametrize("change", [{"secret_key": "another"}, {"access_key": "ASIAEXAMPLEEXAMPLE02"}], ids=str)
def test_another_key_is_told_apart(change: dict[str, str]) -> None:
    assert not token_signed_by(OURS, cluster_name="prod-eks", credentials=replace(CREDENTIALS, **change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k8s-aws-v1.",
        "k8s-aws-v1.aHR0cHM6Ly8",
        token(),
        OURS[:-4],
        "Bearer " + OURS,
        token(query="&a=1&a=2"),
        token(without="X-Amz-Signature"),
        token(without="X-Amz-Credential"),
        token(without="X-Amz-SignedHeaders"),
    ],
)
def test_what_is_not_that_token_is_not_signed_by_it(text: str) -> None:
    assert not token_signed_by(text, cluster_name="prod-eks", credentials=CREDENTIALS)
