"""How long ``check`` takes on loopback, healthy; beside the same calls in a row, and the longest chain of them.

Run by scripts/bench. The chain is measured in the very run: each call that goes out is timed, and the chain is the
longest way through what had to wait for what (credentials, hop; then DescribeCluster, reach, review; or the token's
replay; or role and entry).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from eks_cross_account import diagnose
from eks_cross_account.diagnosis import _budget, _probes, _reach
from eks_cross_account.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
DELAYED = ("sts:*", "eks:*", "iam:*", "kubernetes:*")


class Chain:
    """The longest chain of calls: of those side by side the longest counts, of those in a row the sum."""

    def __init__(self) -> None:
        self._local = threading.local()

    def add(self, seconds: float) -> None:
        self._local.seconds = getattr(self._local, "seconds", 0.0) + seconds

    def take(self) -> float:
        seconds: float = getattr(self._local, "seconds", 0.0)
        self._local.seconds = 0.0
        return seconds


CHAIN = Chain()


def timed(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call's own time goes to its thread's chain."""

    def measured(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            CHAIN.add(time.perf_counter() - start)

    return measured


def side_by_side(self: _budget.Budget, *calls: Callable[[], Any]) -> list[Any]:
    """As the budget's own, and the longest of its calls' chains is added to the chain of who waits."""
    took = [0.0] * len(calls)

    def run(place: int, call: Callable[[], Any]) -> Any:
        CHAIN.take()
        try:
            return call()
        finally:
            took[place] = CHAIN.take()

    found = SIDE_BY_SIDE(self, *(lambda place=place, call=call: run(place, call) for place, call in enumerate(calls)))
    CHAIN.add(max(took))
    return found


def in_a_row(_: _budget.Budget, *calls: Callable[[], Any]) -> list[Any]:
    return [call() for call in calls]


SIDE_BY_SIDE = _budget.Budget.side_by_side


@contextmanager
def patched(**replaced: Any) -> Iterator[None]:
    with mock.patch.multiple(_budget.Budget, **replaced):
        yield


def check() -> float:
    start = time.perf_counter()
    report = diagnose(cluster_name="analytics", role_arn=ROLE)
    if report.verdict != "healthy":
        raise RuntimeError(report.to_text())
    return time.perf_counter() - start


LEAVES = (  # what goes out, as the probes call it
    (_probes, ("assume_role", "verify_token", "described", "get_role", "look_up_entry")),
    (_reach, ("_resolve", "_ask")),
)


def chained() -> tuple[float, float]:
    """The check's time and its longest dependent chain's, of one run."""
    CHAIN.take()
    with patched(side_by_side=side_by_side):
        leaves = [(module, name) for module, names in LEAVES for name in names]
        stack = [mock.patch.object(module, name, timed(getattr(module, name))) for module, name in leaves]
        for each in stack:
            each.start()
        try:
            whole = check()
        finally:
            for each in stack:
                each.stop()
    return whole, CHAIN.take()


def main(runs: int) -> None:
    told = []
    for delay in (0.0, 0.1):
        with Sandbox() as sandbox:
            os.environ.update(sandbox.environ)
            if delay:
                for operation in DELAYED:
                    sandbox.delay(operation, delay)
            row: dict[str, Any] = {"delay": delay, "check": [], "serial": [], "chain": []}
            check()
            for _ in range(runs):
                whole, chain = chained()
                row["check"].append(whole)
                row["chain"].append(chain)
                with patched(side_by_side=in_a_row):
                    row["serial"].append(check())
            told.append(row)
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]))
