"""Rights at a cluster whose way in is somebody else's matter: a kubeconfig's, or a ServiceAccount's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eks_cross_account.credentials import utc_now
from eks_cross_account.diagnosis import _reach
from eks_cross_account.diagnosis._budget import Budget
from eks_cross_account.diagnosis._permission_probes import ask_permissions
from eks_cross_account.diagnosis.checks import judge_rights_only
from eks_cross_account.diagnosis.evidence import Evidence

if TYPE_CHECKING:
    from eks_cross_account.diagnosis._permission_probes import Wanted
    from eks_cross_account.diagnosis._reach import Ask
    from eks_cross_account.diagnosis.report import Report


def judge_rights(name: str, wanted: Wanted, ask: Ask, *, timeout: float) -> Report:
    """Who one is there, and what one may do. ``name``: of the cluster, for the page."""
    review = _reach.review(ask)
    known = review.user is not None or review.status not in {0, 401}
    evidence = Evidence(
        cluster_name=name, region="", region_from="", sts_region="", now=utc_now(), review=review, wanted=wanted,
        permissions=ask_permissions(wanted, ask, Budget(timeout)) if known else None,
    )  # fmt: skip
    return judge_rights_only(evidence)
