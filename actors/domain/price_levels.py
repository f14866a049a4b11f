"""Who waits for which level: heaps from which the dead are taken only when they come up, or are half of all."""

from dataclasses import dataclass
from decimal import Decimal
from heapq import heapify, heappop, heappush
from typing import Any

from actors.domain.model import Micros
from actors.domain.watch import Watch

FEW = 64
NEVER: Micros = 1 << 100
INFINITE = Decimal("Infinity")
MINUS_INFINITE = Decimal("-Infinity")


@dataclass(slots=True, eq=False)
class Registration:
    """One watch of one position. Not `alive`: it was woken or replaced, and what refers to it is refuse.

    `since` is its point: the tick up to which its position knows all prices, or will once it has heard of its wake;
    `before` is the point that it had when it was woken. `stands`: its stop is among the levels.
    """

    key: str
    serial: int
    watch: Watch
    since: int
    alive: bool = True
    stands: bool = False
    before: int | None = None


Hits = list[Registration]


class Alarms:
    """Registrations by the moment from which any price wakes them."""

    __slots__ = ("_dead", "_heap", "_live", "nearest")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Registration]] = []
        self._live = self._dead = 0
        # It may be that of a dead registration, which costs one look.
        self.nearest = NEVER

    def add(self, moment: int, registration: Registration) -> None:
        """Wake it from this moment on."""
        if self._dead > self._live + FEW:
            self._heap = [entry for entry in self._heap if entry[2].alive]
            heapify(self._heap)
            self._dead = 0
        heappush(self._heap, (moment, registration.serial, registration))
        self._live += 1
        self.nearest = self._heap[0][0]

    def remove(self) -> None:
        """One of them has died."""
        self._live -= 1
        self._dead += 1

    def due(self, at: int, hits: Hits) -> None:
        """Add to `hits` those whose moment has come."""
        heap = self._heap
        while heap and (heap[0][0] <= at or not heap[0][2].alive):
            registration = heappop(heap)[2]
            if registration.alive:
                registration.alive = False
                hits.append(registration)
        self.nearest = heap[0][0] if heap else NEVER


class Levels:
    """Registrations by a price: `upward`, those at the price or above wake, else those at it or below."""

    __slots__ = ("_dead", "_heap", "_live", "_upward", "nearest")

    def __init__(self, *, upward: bool) -> None:
        self._upward = upward
        self._heap: list[tuple[Decimal, int, Registration]] = []
        self._live = self._dead = 0
        # The level that wakes first; it may be that of a dead registration, which costs one look.
        self.nearest = self._none()

    def add(self, level: Decimal, registration: Registration) -> None:
        """Wake it at this price."""
        if self._dead > self._live + FEW:
            self._heap = [entry for entry in self._heap if entry[2].alive]
            heapify(self._heap)
            self._dead = 0
        heap = self._heap
        heappush(heap, (level if self._upward else level.copy_negate(), registration.serial, registration))
        self._live += 1
        first = heap[0][0]
        self.nearest = first if self._upward else first.copy_negate()

    def remove(self) -> None:
        """One of them has died."""
        self._live -= 1
        self._dead += 1

    def due(self, price: Decimal, hits: Hits) -> None:
        """Add to `hits` those that wake at this price."""
        heap, key = self._heap, self._key(price)
        while heap and (heap[0][0] <= key or not heap[0][2].alive):
            registration = heappop(heap)[2]
            if registration.alive:
                registration.alive = False
                hits.append(registration)
        self.nearest = self._key(heap[0][0]) if heap else self._none()

    def _key(self, price: Decimal) -> Decimal:
        # Unlike a minus sign, which rounds to the context's precision.
        return price if self._upward else price.copy_negate()

    def _none(self) -> Any:
        return INFINITE if self._upward else MINUS_INFINITE
