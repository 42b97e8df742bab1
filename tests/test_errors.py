from __future__ import annotations

import copy
import pickle

import pytest

from eks_cross_account import errors
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsError,
    CredentialsUnavailableError,
    EksTokenError,
    ExpiredTokenError,
    InvalidArnError,
    InvalidTokenError,
    MalformedTokenError,
    StsUnavailableError,
    TokenRejectedError,
    UnknownRegionError,
)
from eks_cross_account.rules import Violation

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_ours_and_only_silence_is_retryable(kind: type[EksTokenError]) -> None:
    assert issubclass(kind, EksTokenError)
    assert kind("x").retryable is (kind is StsUnavailableError)


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (ExpiredTokenError, InvalidTokenError),
        (CredentialsUnavailableError, CredentialsError),
        (AssumeRoleError, CredentialsError),
        (InvalidArnError, ValueError),
    ],
)
def test_an_error_can_be_caught_by_its_wider_kind(kind: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(kind, parent)


@pytest.mark.parametrize(
    "error",
    [
        MalformedTokenError("m", rule="prefix"),
        ExpiredTokenError("m", violations=[Violation("date_expired", "verifier", "a", "b")]),
        TokenRejectedError("m", status=403, code="ExpiredToken"),
        AssumeRoleError("m", role_arn="a", code="AccessDenied", aws_message="no", hop=2, retryable=True),
        ClusterError("m", code="ResourceNotFoundException"),
        UnknownRegionError("m"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_another_process_with_its_evidence(error: EksTokenError) -> None:
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(copied) is type(error)
        assert str(copied) == str(error)
        assert vars(copied) == vars(error)
