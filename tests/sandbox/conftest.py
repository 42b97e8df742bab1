"""What the sandbox's cluster is asked here, the real one is asked too (scripts/test --cluster): ``target`` is both.

A test about a knob of the sandbox is marked ``knobs``, with the knob: it has no real counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clusters import SandboxCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters import Target

REAL = pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.timeout(120)])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        is_knob = any(metafunc.definition.iter_markers("knobs"))
        metafunc.parametrize("target", ["sandbox"] if is_knob else ["sandbox", REAL], indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The cluster that is asked."""
    if request.param == "real":
        with request.getfixturevalue("real_cluster").test() as real:
            yield real
    else:
        yield SandboxCluster(request.getfixturevalue("eks_sandbox"))
