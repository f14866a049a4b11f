"""The request budget of one account: protection never waits, and reads never starve a close.

A bucket that refills evenly over the minute. Each kind of request leaves a share of it untouched for the kinds above
it. ccxt's own throttler is a plain queue, in which a stop would wait behind candles; it is switched off.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum

from actors.venues.ccxt.errors import NotSent

LONGEST_PAUSE_SECONDS = 0.25


class Priority(IntEnum):
    """What a request is for; the lower, the more urgent."""

    PROTECT = 0
    ENTER = 1
    LOOK = 2
    READ = 3
    BACKGROUND = 4


# What a kind of request leaves in the bucket for those above it, as a share of the whole.
RESERVES = {
    Priority.PROTECT: float("-inf"),
    Priority.ENTER: 0.1,
    Priority.LOOK: 0.1,
    Priority.READ: 0.2,
    Priority.BACKGROUND: 0.5,
}


class Budget:
    """What may still be asked of an exchange in this minute."""

    def __init__(self, weight_per_minute: float, monotonic: Callable[[], float]) -> None:
        """A full bucket."""
        self._capacity = weight_per_minute
        self._monotonic = monotonic
        self._level = weight_per_minute
        self._at = monotonic()
        self._barred_until = float("-inf")

    def told(self, used_weight: float) -> None:
        """The exchange's own count of this minute, which includes other programs of the same address."""
        self._refill()
        self._level = min(self._level, self._capacity - used_weight)

    def back_off(self, seconds: float) -> None:
        """The exchange said to wait: everything does but what protects."""
        self._barred_until = max(self._barred_until, self._monotonic() + seconds)

    async def take(self, weight: float, priority: Priority, timeout_seconds: float) -> None:
        """Wait for this much budget. Raises NotSent when it does not come in time."""
        deadline = self._monotonic() + timeout_seconds
        while (wait := self._wait_seconds(weight, priority)) > 0:
            if self._monotonic() + wait > deadline:
                raise NotSent("rate_limited", f"the request budget of this account is used up for {wait:.1f} s")
            await asyncio.sleep(min(wait, LONGEST_PAUSE_SECONDS))
        self._level -= weight

    def _wait_seconds(self, weight: float, priority: Priority) -> float:
        if priority is Priority.PROTECT:
            return 0.0
        self._refill()
        missing = weight + RESERVES[priority] * self._capacity - self._level
        barred = self._barred_until - self._monotonic()
        return max(0.0, barred, missing / self._capacity * 60)

    def _refill(self) -> None:
        now = self._monotonic()
        self._level = min(self._capacity, self._level + (now - self._at) / 60 * self._capacity)
        self._at = now
