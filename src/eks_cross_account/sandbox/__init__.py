"""AWS on loopback to try and test against: STS, EKS, iam:GetRole, container and instance credentials.

It really checks signatures, session tokens, dates, trust policies, external ids and the name in a token,
under the true host names (by an HTTPS proxy and a CA of its own) or by ``AWS_ENDPOINT_URL``. Needs extra ``sandbox``.
"""

from __future__ import annotations

try:
    from eks_cross_account.sandbox._sandbox import Clock, Sandbox, SandboxRequest, trust_policy
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"aiohttp", "cryptography"}:
        raise
    raise ImportError(
        f'the sandbox needs {error.name}: pip install "eks-cross-account[sandbox]"', name=error.name
    ) from error

__all__ = ["Clock", "Sandbox", "SandboxRequest", "trust_policy"]
