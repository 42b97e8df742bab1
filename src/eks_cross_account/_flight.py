"""Attempts that several share: threads, the coroutines of a loop, forked children. Touches locks and threads.

A forked child inherits its parent's locks as they were, perhaps closed by a thread that the child does not have. So
everything here belongs to one process, and a child begins anew. And a handler of signals runs in the midst of what its
own thread does, with the locks that are held there: Airflow's on_kill needs a token while one is being waited for. So
every lock here lets its own thread in again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from copy import copy
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, TypeVar

from eks_cross_account.errors import CredentialsUnavailableError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
_THREADS = 4


class OfProcess(Generic[T]):
    """Something that each process has its own of, made by ``make`` when it is first asked for: a lock, threads."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def here(self) -> T:
        """Of the process that asks."""
        pid = os.getpid()
        made = self._made.get(pid)
        return made if made is not None else self._made.setdefault(pid, self._make())


class _Ended(Generic[T]):
    """How often an attempt has ended in this process, and how the last one did."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.times = 0
        self.error: Exception | None = None
        self.result: T | None = None


class Flight(Generic[T]):
    """One attempt at a time; those who come while it is under way get its end, be it an error, and make no other."""

    def __init__(self) -> None:
        self._ended: OfProcess[_Ended[T]] = OfProcess(_Ended)

    def join(self, attempt: Callable[[], T]) -> T:
        """What ``attempt``, or the one under way, returns or raises."""
        last = self._ended.here()
        seen = last.times
        with last.lock:
            if last.times == seen:
                self._make(attempt, last)
            if last.error is not None:
                raise again(last.error)
            return last.result  # type: ignore[return-value] # an attempt has ended, and not with an error

    def _make(self, attempt: Callable[[], T], last: _Ended[T]) -> None:
        try:
            last.result, last.error = attempt(), None
        except Exception as error:  # noqa: BLE001 - raised to all that wait
            last.result, last.error = None, error.with_traceback(None)  # whose frames hold keys, and ourselves
        last.times += 1


def again(error: Exception) -> Exception:
    """A copy to raise of an error that is kept: the frames of whoever it is raised to would be kept with it else."""
    try:
        made = copy(error)
    except Exception:  # noqa: BLE001 - a foreign error that its arguments do not make: raised as it is
        return error.with_traceback(None)
    made.args = error.args  # its __init__ may have made its text of them, and would have twice
    made.__cause__, made.__suppress_context__ = error.__cause__, error.__suppress_context__
    return made


class _Waiting(Generic[T]):
    """What the coroutines of each loop of this process wait for, and the lock of that."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.of: dict[asyncio.AbstractEventLoop, asyncio.Future[T]] = {}


class LoopFlight(Generic[T]):
    """One attempt in our own threads for all coroutines of a loop; a loop that is no more is not kept."""

    def __init__(self) -> None:
        self._waiting: OfProcess[_Waiting[T]] = OfProcess(_Waiting)

    def join(self, attempt: Callable[[], T]) -> asyncio.Future[T]:
        """To be awaited by ``asyncio.shield``: others may await it too. Raises CredentialsUnavailableError.

        It goes on without a waiter that was cancelled.
        """
        import asyncio  # noqa: PLC0415 - loaded already where there is a loop

        loop = asyncio.get_running_loop()
        known = self._waiting.here()
        with known.lock:
            waiting = known.of.get(loop)
            if waiting is not None:
                return waiting
            started = submit(attempt)
            waiting = known.of[loop] = loop.create_future()
        started.add_done_callback(partial(self._land, loop, waiting))
        return waiting

    def _land(self, loop: asyncio.AbstractEventLoop, waiting: asyncio.Future[T], ended: Future[T]) -> None:
        """Bring the attempt's end to those who await it; a loop that was closed meanwhile has none."""
        known = self._waiting.here()
        with known.lock:
            known.of.pop(loop, None)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, waiting, ended)


def _settle(waiting: asyncio.Future[T], ended: Future[T]) -> None:
    error = ended.exception()
    if error is None:
        waiting.set_result(ended.result())
        return
    if isinstance(error, StopIteration):  # which no future takes: who awaits it would wait for ever
        error = RuntimeError("StopIteration was raised where a token was asked for")
    waiting.set_exception(error)
    waiting.exception()  # looked at: that nobody awaits it any more is no news, the next caller hears of it


def _executor() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where coroutines wait

    return ThreadPoolExecutor(_THREADS, thread_name_prefix="eks-token")


_EXECUTOR = OfProcess(_executor)


def submit(call: Callable[[], T]) -> Future[T]:
    """Run it in our own few threads: made when first needed, once in each process, and never asyncio's default ones.

    Raises CredentialsUnavailableError where no thread can be had.
    """
    try:
        return _EXECUTOR.here().submit(call)
    except RuntimeError as error:  # no more threads for this user or container; or the interpreter is ending
        raise CredentialsUnavailableError(f"no thread to ask for credentials in: {error}") from None


def renew_locks_after_fork(*classes: type) -> None:
    """Give the cached properties of these classes and of their parents new locks in each forked child.

    functools.cached_property has one lock for all instances up to Python 3.11, and holds it while the value is made.
    """
    properties = {
        value
        for made in classes
        for parent in made.__mro__
        for value in vars(parent).values()
        if isinstance(value, cached_property) and hasattr(value, "lock")
    }
    if properties:
        os.register_at_fork(after_in_child=partial(_renew, properties))


def _renew(properties: Iterable[cached_property[object]]) -> None:
    for each in properties:
        each.lock = threading.RLock()  # type: ignore[attr-defined] # gone in 3.12
