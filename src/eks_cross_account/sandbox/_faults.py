"""Faults on demand: an operation throttled, delayed, hanging, cut off, or answered with a text. Touches nothing."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

THROTTLED = {
    "sts": (400, "Throttling", "Rate exceeded"),
    "iam": (400, "Throttling", "Rate exceeded"),
    "eks": (429, "ThrottlingException", "Rate exceeded"),
}


@dataclass
class Fault:
    """``operation``: a pattern such as ``sts:*``; ``left``: how many requests it still meets, None for all."""

    operation: str
    kind: Literal["throttle", "respond", "delay", "hang", "disconnect"]
    left: int | None = None
    seconds: float = 0.0
    status: int = 0
    body: bytes = b""
    content_type: str = "text/plain"


class Faults:
    """The faults that are set, the oldest first. ``hanging``: requests that met ``hang`` and still wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # tests set them from their own thread
        self._set: list[Fault] = []
        self.hanging = 0

    def add(self, fault: Fault) -> None:
        """One more."""
        with self._lock:
            self._set.append(fault)

    def clear(self) -> None:
        """None any more."""
        with self._lock:
            self._set.clear()

    def take(self, operation: str) -> list[Fault]:
        """The faults that this request meets, each counted down; all delays, and the first of another kind."""
        met: list[Fault] = []
        with self._lock:
            for fault in list(self._set):
                if not fnmatchcase(operation, fault.operation) or (
                    fault.kind != "delay" and any(f.kind != "delay" for f in met)
                ):
                    continue
                met.append(fault)
                if fault.left is not None:
                    fault.left -= 1
                    if fault.left <= 0:
                        self._set.remove(fault)
        return met
