"""The futures of the pool: small, and safe to wait for from anywhere.

pykka's own waits on a condition, and would hold the thread that the answer needs. This one lends the thread's place to
another while it waits, and makes a lock to wait on only when the answer is not there yet.
"""

import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pykka

from actors.runtime.pool_threads import lent, wait_limit

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
_Outcome = tuple[Any, _ExcInfo | None]


class PoolFuture(pykka.Future[Any]):
    """A future that may be waited for from actors and from outside, with the behaviour of pykka's ThreadingFuture."""

    def __init__(self) -> None:
        super().__init__()
        self._outcomes: list[_Outcome] = []  # The first counts.
        self._waiters: list[threading.Lock] = []  # Each is held, until the answer releases it.
        self._hook_turn: threading.RLock | None = None

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer, or what was set as exception. Raises pykka.Timeout after `timeout` seconds."""
        if not self._outcomes:
            if self._get_hook is None:
                self._wait(timeout)
            if self._get_hook is not None:
                return self._call_hook(timeout)
        value, exc_info = self._outcomes[0]
        if exc_info is None:
            return value
        kind, error, traceback = exc_info
        if error is None:
            error = kind() if kind is not None else RuntimeError("no exception was given")
        if error.__traceback__ is not traceback:
            raise error.with_traceback(traceback)
        raise error

    def set(self, value: Any | None = None) -> None:
        """Answer, once; queue.Full after that, as pykka's futures do."""
        self._settle((value, None))

    def set_exception(self, exc_info: _ExcInfo | None = None) -> None:
        """Answer with an exception, the one being handled unless given."""
        self._settle((None, exc_info or sys.exc_info()))

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Answer with what `func` returns, called once, with the timeout of the first `get`."""
        if self._outcomes:
            raise queue.Full
        self._hook_turn = threading.RLock()
        super().set_get_hook(func)
        self._release_waiters()

    def _settle(self, outcome: _Outcome) -> None:
        if self._outcomes or self._get_hook is not None:
            raise queue.Full
        # One step for every thread: of two that answer at once, one is first.
        self._outcomes.append(outcome)
        if self._outcomes[0] is not outcome:
            raise queue.Full
        self._release_waiters()

    def _release_waiters(self) -> None:
        while self._waiters:
            try:
                self._waiters.pop().release()
            except IndexError:
                return

    def _wait(self, timeout: float | None) -> None:
        gate = threading.Lock()
        gate.acquire()
        self._waiters.append(gate)
        # Whoever answers looks for waiters after the answer is there; so this one looks for the answer after it waits.
        if self._outcomes or self._get_hook is not None:
            return
        with lent():
            answered = gate.acquire(timeout=wait_limit(timeout))
        if not answered and not self._outcomes and self._get_hook is None:
            with contextlib.suppress(ValueError):
                self._waiters.remove(gate)
            raise pykka.Timeout(f"{timeout} seconds")

    def _call_hook(self, timeout: float | None) -> Any:
        turn = self._hook_turn
        assert turn is not None  # noqa: S101 - set with the hook; this tells the type checker.
        if not turn.acquire(blocking=False):
            with lent():
                turn.acquire()
        try:
            return super().get(timeout=timeout)
        finally:
            turn.release()
