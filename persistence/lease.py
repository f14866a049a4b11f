"""Who owns a shard, as this process believes it: the deadlines that the gateways check before they sign.

Deadlines count from before the renewal was sent, on a clock that counts suspended time, so a process that was frozen
wakes up knowing that it may have been replaced.
"""

import time
from dataclasses import dataclass


def boottime() -> float:
    """Seconds since the machine's boot, suspended time included (CLOCK_BOOTTIME; monotonic where there is none)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One shard's lease as last confirmed. `deadline` is on the clock that `boottime` reads, in seconds; from
    `ours_since` on every epoch was this process's.
    """

    shard: str
    epoch: int
    deadline: float
    fenced: bool = False
    ours_since: int = 0


class LeaseBoard:
    """The leases of this process: written by the persistence actor, read by the gateways on their own threads."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def post(self, lease: Lease) -> None:
        """Publish a lease as confirmed (or as lost: `fenced`)."""
        self._leases[lease.shard] = lease

    def get(self, shard: str) -> Lease | None:
        """The lease as last published."""
        return self._leases.get(shard)

    def seconds_left(self, shard: str, now: float, *, epoch: int | None = None) -> float:
        """How long the shard is surely ours, in seconds; 0 or less when it is not. With `epoch`: how long it is that
        life's. A shard that was taken again is the next life's, though it is the same process that has its lease.
        """
        lease = self._leases.get(shard)
        if lease is None or lease.fenced or epoch not in (None, lease.epoch):
            return 0.0
        return lease.deadline - now
