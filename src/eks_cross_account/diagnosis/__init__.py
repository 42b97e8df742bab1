"""Finds the broken link between AWS credentials and a Kubernetes user, and says how to mend it.

``diagnose`` runs probes (``evidence``), judges what they saw (``checks``) and reports it (``report``); only the probes
touch anything. ``explain_forbidden`` reads a 403 out of a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eks_cross_account.diagnosis._diagnose import diagnose
from eks_cross_account.diagnosis.evidence import Evidence
from eks_cross_account.diagnosis.report import Finding, Remedy, Report

if TYPE_CHECKING:
    from eks_cross_account.diagnosis.forbidden import Denial, explain_forbidden

__all__ = ["Denial", "Evidence", "Finding", "Remedy", "Report", "diagnose", "explain_forbidden"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: either of the two below
    """Its patterns take a tenth of a second to compile, which is only paid where there is a 403 to read."""
    if name not in {"Denial", "explain_forbidden"}:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from eks_cross_account.diagnosis import forbidden  # noqa: PLC0415 - a lazy export is the point

    return getattr(forbidden, name)
