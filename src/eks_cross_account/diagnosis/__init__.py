"""Finds the broken link between AWS credentials and a Kubernetes user, and says how to mend it.

``diagnose`` runs probes (``evidence``), judges what they saw (``checks``) and reports it (``report``). Only the probes
touch anything.
"""

from __future__ import annotations

from eks_cross_account.diagnosis._diagnose import diagnose
from eks_cross_account.diagnosis._owner import ask_owner
from eks_cross_account.diagnosis.evidence import Evidence
from eks_cross_account.diagnosis.report import Finding, Remedy, Report

__all__ = ["Evidence", "Finding", "Remedy", "Report", "ask_owner", "diagnose"]
