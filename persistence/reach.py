"""Whether the store does its work, said once for each change, and when it is asked again."""

from collections.abc import Callable
from typing import Protocol

from persistence.messages import Ref
from persistence.reports import Reports
from persistence.store import Outage
from persistence.words import outage_in

FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0


class Clock(Protocol):
    """The part of the runtime's clock that is needed here."""

    def tell_after(self, delay_seconds: float, ref: Ref, message: object) -> object:
        """Tell `message` to `ref` once, after the delay."""


class Reach:
    """The state of an outage. `ok` until the first trouble, and again after `back`."""

    def __init__(self, reports: Reports, boottime: Callable[[], float], on_change: Callable[[bool], None]) -> None:
        self._reports = reports
        self._boottime = boottime
        self._on_change = on_change
        self.ok = True
        self.troubles = 0
        self.outage: Outage | None = None
        self.retry_pending = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._since = 0.0
        self._last = ("", 0)

    @property
    def lasts(self) -> bool:
        """Whether asking on at once, for another shard, would only wait for the same answer."""
        return self.outage is not None and self.outage.lasts

    def lost(self, shard: str, epoch: int, error: Exception) -> None:
        """The store did not do its work. The first time, and whenever the reason changes, it is written down."""
        self.troubles += 1
        self._last = (shard, epoch)
        outage = outage_in(error)
        if outage is not self.outage:
            self.outage = outage
            self._reports.unreachable(shard, epoch, error, outage)
        if self.ok:
            self.ok = False
            self._since = self._boottime()
            self._retry_seconds = FIRST_RETRY_SECONDS
            self._on_change(False)

    def next_retry(self) -> float | None:
        """After how many seconds to ask again; None when that is arranged already. Backs off from call to call."""
        if self.retry_pending:
            return None
        self.retry_pending = True
        seconds = self._retry_seconds
        self._retry_seconds = min(seconds * 2, LONGEST_RETRY_SECONDS)
        return seconds

    def back(self) -> None:
        """The store does its work, and nothing waits any more."""
        if self.ok:
            return
        self.ok, self.outage = True, None
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._reports.reachable(*self._last, self._boottime() - self._since)
        self._on_change(True)
