"""Finds the broken link between AWS credentials and a Kubernetes user, and says how to mend it.

``diagnose`` runs probes (``evidence``), judges what they saw (``checks``) and reports it (``report``); only the probes
touch anything. ``explain_forbidden`` reads a 403 out of a text, ``required_permissions`` says what an operator needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eks_cross_account.diagnosis._budget import TIMEOUT
from eks_cross_account.diagnosis._diagnose import diagnose
from eks_cross_account.diagnosis._owner import ask_owner
from eks_cross_account.diagnosis.evidence import Evidence
from eks_cross_account.diagnosis.report import Finding, Remedy, Report

if TYPE_CHECKING:
    from eks_cross_account.diagnosis._explain import Explanation, explain
    from eks_cross_account.diagnosis.forbidden import Denial, explain_forbidden
    from eks_cross_account.diagnosis.manifests import chart_values, role_manifest, service_account_manifest
    from eks_cross_account.diagnosis.needs import Rule, required_permissions

__all__ = [
    "TIMEOUT",
    "Denial",
    "Evidence",
    "Explanation",
    "Finding",
    "Remedy",
    "Report",
    "Rule",
    "ask_owner",
    "chart_values",
    "diagnose",
    "explain",
    "explain_forbidden",
    "required_permissions",
    "role_manifest",
    "service_account_manifest",
]
_LAZY = {
    "Denial": "forbidden",
    "Explanation": "_explain",
    "Rule": "needs",
    "chart_values": "manifests",
    "explain": "_explain",
    "explain_forbidden": "forbidden",
    "required_permissions": "needs",
    "role_manifest": "manifests",
    "service_account_manifest": "manifests",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: one of those above
    """The patterns of a paste take a tenth of a second to compile; who reads none and writes none pays nothing."""
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
