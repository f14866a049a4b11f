"""The machine's time. One thread serves every timer: a thread per timer would be a thread per waiting position."""

import threading
import time

from actors.runtime.base import Ref
from actors.runtime.timers import PendingTimer, Timers, micros_of

# Linux's CLOCK_MONOTONIC stands still while the machine is suspended, and a lease would seem to live on. Elsewhere
# CLOCK_BOOTTIME does not exist, and CLOCK_MONOTONIC counts suspended time by itself.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# Conditions wait on CLOCK_MONOTONIC. Looking at the time this often bounds how late a timer is after a suspend.
_LONGEST_WAIT_SECONDS = 1.0


class SystemClock:
    """Wall time, monotonic time that counts suspended time, and timers."""

    def __init__(self) -> None:
        self._timers = Timers()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def now(self) -> int:
        """Wall time in microseconds UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back and counts suspended time."""
        return time.clock_gettime(_CLOCK)

    def tell_after(self, delay_seconds: float, ref: Ref, message: object) -> PendingTimer:
        """Tell `message` to `ref` once, after the delay; dropped if the actor is dead by then, or the clock closed."""
        due = self._micros() + micros_of(delay_seconds)
        with self._changed:
            if self._closed:
                return PendingTimer(None)
            timer = self._timers.add(due, ref, message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="timers", daemon=True)
                self._thread.start()
            elif self._timers.is_first(timer):
                self._changed.notify()
        return timer

    def close(self) -> None:
        """Drop every timer and end the thread. The clock still tells the time; later timers are dropped at once."""
        with self._changed:
            self._closed = True
            self._timers.clear()
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _micros(self) -> int:
        return time.clock_gettime_ns(_CLOCK) // 1000

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not (due := self._timers.pop_due(self._micros())):
                    self._changed.wait(self._wait_seconds())
                if self._closed:
                    return
            # Told outside of the lock, so that a mailbox that blocks could never block tell_after as well.
            for timer in due:
                timer.tell()

    def _wait_seconds(self) -> float | None:
        due = self._timers.next_due()
        if due is None:
            return None
        return min(_LONGEST_WAIT_SECONDS, max(0, due - self._micros()) / 1_000_000)
