"""The live feed of audit events: a bounded ring in memory that any thread may publish to and any loop may follow.

It is a window, not the record: the audit trail itself is in Redis. An id names the process it came from, so a reader
that comes back after a restart is told that it missed something instead of being given the wrong events.
"""

import asyncio
import itertools
import secrets
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CAPACITY: Final = 10_000
MAX_READERS: Final = 100


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One published event; `number` counts from 1 in this process."""

    id: str
    number: int
    body: Mapping[str, Any]


class HubFull(Exception):
    """There are as many readers as the hub serves."""


class EventHub:
    """Keeps the latest events and wakes whoever follows them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._boot = secrets.token_hex(4)
        # Their numbers follow from their places: most are never looked at.
        self._events: deque[Mapping[str, Any]] = deque(maxlen=capacity)
        self._count = 0
        self._lock = threading.Lock()
        self._readers: set[Reader] = set()
        self.closed = False

    def publish(self, body: Mapping[str, Any]) -> None:
        """Add one event. Never blocks on a reader."""
        event = dict(body)
        with self._lock:
            self._count += 1
            self._events.append(event)
            readers = tuple(self._readers) if self._readers else ()
        for reader in readers:
            reader.wake()

    def after(self, number: int, limit: int = 500) -> tuple[HubEvent, ...]:
        """The oldest kept events after this number."""
        with self._lock:
            first = self._count - len(self._events) + 1
            start = max(0, number + 1 - first)
            found = tuple(itertools.islice(self._events, start, start + limit))
        return tuple(
            HubEvent(f"{self._boot}-{count}", count, event) for count, event in enumerate(found, first + start)
        )

    def position_of(self, last_event_id: str) -> tuple[int, bool]:
        """Where to go on after an id: a number, and whether events in between are lost."""
        boot, _, text = last_event_id.partition("-")
        with self._lock:
            first = self._count - len(self._events) + 1
            if boot != self._boot or not (text.isascii() and text.isdigit() and len(text) < 20):
                return first - 1, True
            number = int(text)
            return min(number, self._count), number > self._count or number < first - 1

    def follow(self) -> "Reader":
        """A reader on the running loop, which must be closed. Raises HubFull."""
        reader = Reader(self)
        with self._lock:
            if len(self._readers) >= MAX_READERS:
                raise HubFull
            self._readers.add(reader)
        return reader

    def forget(self, reader: "Reader") -> None:
        """The reader is gone."""
        with self._lock:
            self._readers.discard(reader)

    @property
    def latest(self) -> int:
        """The number of the latest event."""
        return self._count

    def close(self) -> None:
        """End every reader."""
        self.closed = True
        with self._lock:
            readers = tuple(self._readers)
        for reader in readers:
            reader.wake()


class Reader:
    """Waits on its own loop for the hub's next event."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Called on any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            # The loop has ended, and its reader with it.
            self._hub.forget(self)

    async def wait(self, timeout_seconds: float) -> None:
        """Return when something was published since the last wait, or after the timeout."""
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_seconds)
        except TimeoutError:
            return
        self._woken.clear()

    def close(self) -> None:
        """Stop following."""
        self._hub.forget(self)
