"""AWS and EKS on loopback to try and test against: STS, EKS, iam:GetRole, credentials, and clusters that run pods.

It really checks signatures, session tokens, dates, trust policies, external ids and the cluster's name in a token,
under the true host names (by an HTTPS proxy and a CA of its own) or by ``AWS_ENDPOINT_URL``; its clusters authenticate
by the verifier's rules and the access entries, and authorize by a table. Needs the extra
``sandbox``; loaded at its first use, because every pytest run imports this package for the plugin in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eks_cross_account.sandbox._sandbox import (
        Clock,
        Grant,
        KubernetesRequest,
        Sandbox,
        SandboxRequest,
        pod_runner,
        trust_policy,
    )

__all__ = ["Clock", "Grant", "KubernetesRequest", "Sandbox", "SandboxRequest", "pod_runner", "trust_policy"]

_EXTRA = {"aiohttp", "cryptography"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any of the names above
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from eks_cross_account.sandbox import _sandbox  # noqa: PLC0415 - a lazy export is the point
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise ImportError(
            f'the sandbox needs {missing.name}: pip install "eks-cross-account[sandbox]"', name=missing.name
        ) from missing
    return getattr(_sandbox, name)
