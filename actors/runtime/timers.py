"""Timers: which message is due next. A heap without thread or clock; both runtimes' clocks keep theirs in one.

Times are microseconds of whatever clock keeps them. Equal times keep the order in which they were asked for.
"""

import heapq
import math

from actors.runtime.base import Ref, tell

_FIRST_SWEEP = 64


def micros_of(delay_seconds: float) -> int:
    """A delay in whole microseconds, rounded up: an actor that waits again for a tiny rest must see time pass."""
    return math.ceil(max(0.0, delay_seconds) * 1_000_000)


class PendingTimer:
    """One message that waits for its time."""

    __slots__ = ("target",)

    def __init__(self, target: tuple[Ref, object] | None) -> None:
        # Both halves live in one attribute, so that a thread that delivers sees both or, once cancelled, neither.
        self.target = target

    def cancel(self) -> None:
        """Forget it; harmless when it was already told."""
        self.target = None

    def tell(self) -> None:
        """Tell the message, unless it was cancelled or its actor is dead."""
        target, self.target = self.target, None
        if target is not None:
            tell(*target)

    @property
    def wanted(self) -> bool:
        """Whether anybody would still receive it."""
        target = self.target
        return target is not None and target[0].is_alive()


class Timers:
    """The pending timers of one clock, the earliest first. Not thread-safe: its clock holds the lock."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, PendingTimer]] = []
        self._sequence = 0
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: int, ref: Ref, message: object) -> PendingTimer:
        """Keep a message for `ref` until `due`."""
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        self._sequence += 1
        timer = PendingTimer((ref, message))
        heapq.heappush(self._heap, (due, self._sequence, timer))
        return timer

    def is_first(self, timer: PendingTimer) -> bool:
        """Whether this one is due before all others, those that nobody wants any more included."""
        return self._heap[0][2] is timer

    def next_due(self) -> int | None:
        """When the next wanted timer is due; None when none waits."""
        while self._heap and not self._heap[0][2].wanted:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: int) -> list[PendingTimer]:
        """Remove and return the timers due by `now`, in order."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def clear(self) -> None:
        """Forget them all."""
        for _, _, timer in self._heap:
            timer.cancel()
        self._heap.clear()

    def _sweep(self) -> None:
        # A cancelled timer stays in the heap until its time, and an actor that re-arms a long timeout at every message
        # would fill memory with them. Sweeping whenever the heap has doubled bounds that at a constant cost a timer.
        self._heap = [entry for entry in self._heap if entry[2].wanted]
        heapq.heapify(self._heap)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._heap))
