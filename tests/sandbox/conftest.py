from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters import SandboxCluster

if TYPE_CHECKING:
    from eks_cross_account.sandbox import Sandbox


@pytest.fixture
def target(eks_sandbox: Sandbox) -> SandboxCluster:
    """The cluster that is asked."""
    return SandboxCluster(eks_sandbox)
