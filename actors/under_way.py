"""The requests of one account that are under way, and when they have had time enough.

All have the same time, so that one reminder for the oldest does for all: a timer for each would cost more than the
rest of sending it.
"""

from dataclasses import dataclass
from typing import Any

from actors.runtime.base import Clock, Ref


@dataclass(frozen=True, slots=True)
class Overdue:
    """A reminder that the oldest request under way may have had its time."""


class UnderWay:
    """Part of a gateway, to which Overdue is told."""

    __slots__ = ("_clock", "_own", "_reminded", "_requests", "_seconds")

    def __init__(self, clock: Clock, own: Ref, seconds: float) -> None:
        """Every request has so many `seconds`."""
        self._clock = clock
        self._own = own
        self._seconds = seconds
        # The oldest first, each with the monotonic time from which on it is overdue.
        self._requests: dict[str, tuple[float, Any]] = {}
        self._reminded = False

    def add(self, request_id: str, request: Any) -> None:
        """A request has been sent."""
        self._requests[request_id] = (self._clock.monotonic() + self._seconds, request)
        if not self._reminded:
            self._remind(self._seconds)

    def pop(self, request_id: str) -> Any:
        """The request that an answer belongs to; None when it was answered before, or overdue."""
        found = self._requests.pop(request_id, None)
        return None if found is None else found[1]

    def take_overdue(self) -> list[Any]:
        """At the reminder: the requests that have had their time, oldest first; the next one is reminded of then."""
        self._reminded = False
        now = self._clock.monotonic()
        overdue: list[str] = []
        for request_id, (overdue_at, _) in self._requests.items():
            if overdue_at > now:
                self._remind(overdue_at - now)
                break
            overdue.append(request_id)
        return [self.pop(request_id) for request_id in overdue]

    def _remind(self, seconds: float) -> None:
        self._reminded = True
        self._clock.tell_after(seconds, self._own, Overdue())
