"""The time that a diagnosis may take, and probes that run side by side in it. Touches threads and a clock only."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 20.0  # seconds for all probes
_LEAST = 0.2  # seconds that a probe gets at least: less could not even fail in a way that says something


class OutOfTimeError(Exception):
    """What was waited for did not end in time. Never leaves this package's probes."""


class Budget:
    """``seconds`` from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing more should be begun."""
        return self.left <= 0

    def share(self, most: float, *, steps: int = 1) -> float:
        """A timeout for each of ``steps`` one after the other: ``most``, or what is left for each."""
        return max(_LEAST, min(most, self.left / steps))

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Any]:
        """What the calls return, in their order; all have ended when this does. The first error is raised again.

        Each call keeps to its own timeouts. Its thread has a copy of the caller's context (what is kept out of logs).
        """
        running = [_Running(call) for call in calls]
        for each in running:
            each.thread.join()
        return [each.outcome() for each in running]

    def waited(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call returns
        """What a call without timeouts of its own returns. Raises OutOfTimeError after half of what is left.

        Its thread is then left to itself, and ends when the call does (a credential_process, the instance metadata).
        """
        running = _Running(call)
        running.thread.join(self.left / 2)
        if running.thread.is_alive():
            raise OutOfTimeError
        return running.outcome()


class _Running:
    """A call in a thread; a daemon, so that Ctrl-C ends the program at once."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=copy_context().run, args=(self._run,), name="eks-check", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error

    def outcome(self) -> Any:  # noqa: ANN401 - what the call returned
        if self._error is not None:
            raise self._error
        return self._result
