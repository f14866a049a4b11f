"""The simulator's time: it passes only when the simulator says so."""

from actors.runtime.base import Ref
from actors.runtime.timers import PendingTimer, Timers, micros_of

# Monotonic time starts neither at zero, where "no time yet" would look like "never", nor near the wall time, where code
# that mixes the two clocks would go unnoticed.
_BOOTED_MICROS = 1_000_000_000


class VirtualClock:
    """Time that is moved by hand. `elapsed` counts microseconds since the simulation began."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.elapsed = 0
        self.timers = Timers()

    def now(self) -> int:
        """Wall time in microseconds UTC."""
        return self._start + self.elapsed

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return (_BOOTED_MICROS + self.elapsed) / 1_000_000

    def tell_after(self, delay_seconds: float, ref: Ref, message: object) -> PendingTimer:
        """Tell `message` to `ref` once, after the delay; a dead actor by then is no error."""
        return self.timers.add(self.elapsed + micros_of(delay_seconds), ref, message)

    def move_to(self, elapsed: int) -> None:
        """Let time pass up to `elapsed`, never back."""
        self.elapsed = max(self.elapsed, elapsed)

    def tell_due(self) -> None:
        """Tell every message that is due by now, by time and then in the order in which they were asked for."""
        for timer in self.timers.pop_due(self.elapsed):
            timer.tell()
