"""Every error this package raises: one class per different next step of the caller. Touches nothing.

EksTokenError
├── MalformedTokenError          not a token at all: paste or encode it again
├── InvalidTokenError            the verifier or STS will refuse it (.violations)
│   └── ExpiredTokenError        mint a new one
├── TokenRejectedError           STS answered no (.status, .code)
├── CredentialsError             the AWS credentials cannot sign a token
│   ├── CredentialsUnavailableError   none were found
│   └── AssumeRoleError          a role hop was refused (.role_arn, .code)
├── ClusterError                 the cluster's name or description
├── StsUnavailableError          STS gave no answer, or something else answered
├── UnknownRegionError           no STS host may be built for this region
└── InvalidArnError              the text is not the ARN of an IAM or STS principal
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eks_cross_account.rules import Violation


class EksTokenError(Exception):
    """Base of every error of this package. ``retryable``: the same call may succeed later without a change."""

    retryable: bool = False

    def __init__(self, message: str = "", *, retryable: bool | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable


class MalformedTokenError(EksTokenError):
    """The text is no token: the ``rule`` says at which of too_large, prefix, base64, url_parse reading ended."""

    def __init__(self, message: str = "", *, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class InvalidTokenError(EksTokenError):
    """The token can be read, but breaks rules of the verifier or of STS."""

    def __init__(self, message: str = "", *, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.violations: tuple[Violation, ...] = tuple(violations)


class ExpiredTokenError(InvalidTokenError):
    """The token's date is more than 15 minutes ago."""


class TokenRejectedError(EksTokenError):
    """STS answered, and refused. ``status`` is the HTTP status, ``code`` AWS's error code."""

    def __init__(self, message: str = "", *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CredentialsError(EksTokenError):
    """These AWS credentials cannot make a token that the cluster accepts. ``rule``: the rule it would break, or ""."""

    def __init__(self, message: str = "", *, rule: str = "", retryable: bool | None = None) -> None:
        super().__init__(message, retryable=retryable)
        self.rule = rule


class CredentialsUnavailableError(CredentialsError):
    """No AWS credentials were found where they were looked for."""


class AssumeRoleError(CredentialsError):
    """A role hop failed. ``hop`` counts from 1; ``code`` and ``aws_message`` are AWS's own words."""

    def __init__(  # noqa: PLR0913 - evidence as attributes, all optional
        self,
        message: str = "",
        *,
        role_arn: str = "",
        code: str = "",
        aws_message: str = "",
        hop: int = 0,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.role_arn = role_arn
        self.code = code
        self.aws_message = aws_message
        self.hop = hop


class ClusterError(EksTokenError):
    """The cluster's name is impossible, or EKS did not describe it. ``code`` is AWS's error code, if it gave one."""

    def __init__(self, message: str = "", *, code: str = "", retryable: bool | None = None) -> None:
        super().__init__(message, retryable=retryable)
        self.code = code


class StsUnavailableError(EksTokenError):
    """STS could not be asked: no connection, throttled, or something that is not STS answered."""

    retryable = True


class UnknownRegionError(EksTokenError):
    """No STS host of our data belongs to this region or host, so nothing is signed for it or sent to it."""


class InvalidArnError(EksTokenError, ValueError):
    """The text is not the ARN of a role, user, root, assumed role or federated user in a known partition."""


def without_frames(error: BaseException) -> BaseException:
    """The error, and those behind it, without the frames that a token was in: some log the variables of each frame."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
