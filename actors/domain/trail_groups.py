"""Armed trails of one source and side, in groups that share a running peak.

A new best price is the peak of everybody whose peak it beats: those become one group, the top one, in which only the
peak is assigned, however many they are. So peaks fall from group to group towards the top, groups below it stand still
until a price beats theirs as well, and each member moves at most log n times from a smaller group into a larger one.
Within a group the smallest percent and the smallest gap have the nearest stops. Nothing here counts ticks or members.
"""

from decimal import Decimal
from heapq import heapify, heappop, heappush

from actors.domain.exits import better, crossed
from actors.domain.model import ZERO, Side
from actors.domain.price_levels import FEW, INFINITE, MINUS_INFINITE, Hits, Registration

Member = tuple[Decimal, int, Registration]


class Group:
    """Trails with one running peak, nearest stops first: by percent, and by gap."""

    __slots__ = ("gaps", "number", "peak", "percents")

    def __init__(self, peak: Decimal) -> None:
        self.peak = peak
        self.percents: list[Member] = []
        self.gaps: list[Member] = []
        # Under which number its stop waits while another group is above it; 0: under none.
        self.number = 0

    def __len__(self) -> int:
        return len(self.percents) + len(self.gaps)

    def add(self, registration: Registration) -> None:
        """Take one more trail in."""
        watch = registration.watch
        if watch.trail_percent is not None:
            heappush(self.percents, (watch.trail_percent, registration.serial, registration))
        else:
            heappush(self.gaps, (watch.trail_gap or ZERO, registration.serial, registration))

    def absorb(self, other: "Group") -> None:
        """Take in all trails of a smaller group."""
        for mine, theirs in ((self.percents, other.percents), (self.gaps, other.gaps)):
            for member in theirs:
                if member[2].alive:
                    heappush(mine, member)

    def sweep(self) -> None:
        """Forget the dead."""
        self.percents = [member for member in self.percents if member[2].alive]
        self.gaps = [member for member in self.gaps if member[2].alive]
        heapify(self.percents)
        heapify(self.gaps)

    def stop(self, side: Side) -> Decimal | None:
        """The stop that a falling price reaches first; None when nobody is left."""
        found: Decimal | None = None
        for heap in (self.percents, self.gaps):
            while heap and not heap[0][2].alive:
                heappop(heap)
            if heap:
                stop = heap[0][2].watch.trailing_stop(self.peak)
                if found is None or better(side, stop, found):
                    found = stop
        return found

    def collect(self, side: Side, price: Decimal, hits: Hits) -> None:
        """Add to `hits` those whose stop this price crosses."""
        for heap in (self.percents, self.gaps):
            while heap:
                registration = heap[0][2]
                if registration.alive:
                    if not crossed(side, price, registration.watch.trailing_stop(self.peak)):
                        break
                    registration.alive = False
                    hits.append(registration)
                heappop(heap)


class Trails:
    """All armed trails of one source and side. A price beyond `peak` must `rise`, one at `stop` or worse must `fall`.

    A trail of which no price has beaten the peak yet is in no group: its stop stands still, and its keeper sees to it.
    """

    __slots__ = ("_dead", "_groups", "_live", "_numbers", "_side", "_singles", "_waiting", "peak", "stop")

    def __init__(self, side: Side) -> None:
        self._side = side
        # By peak, the first to be beaten first.
        self._singles: list[Member] = []
        self._groups: list[Group] = []
        # The stops of groups below the top, nearest first.
        self._waiting: list[tuple[Decimal, int, Group]] = []
        self._numbers = 0
        self._live = self._dead = 0
        self.peak, self.stop = self._none()

    def add(self, registration: Registration, peak: Decimal) -> bool:
        """Follow a trail from this peak on; says whether its stop is seen to here, else it stands still."""
        if self._dead > self._live + FEW:
            self._sweep()
        self._live += 1
        top = self._groups[-1] if self._groups else None
        if top is not None and top.peak == peak:
            top.add(registration)
            # Its stop may have come nearer than the one that waits for it since it was not the top group.
            top.number = 0
            stop = registration.watch.trailing_stop(peak)
            if better(self._side, stop, self.stop):
                self.stop = stop
            return True
        heappush(self._singles, (self._key(peak), registration.serial, registration))
        if better(self._side, self.peak, peak):
            self.peak = peak
        return False

    def remove(self) -> None:
        """One of them has died."""
        self._live -= 1
        self._dead += 1

    def rise(self, price: Decimal) -> None:
        """A price beyond `peak`: everybody whose peak it beats has it as the peak now."""
        groups, singles, side = self._groups, self._singles, self._side
        group: Group | None = None
        while groups and not better(side, groups[-1].peak, price):
            beaten = groups.pop()
            beaten.number = 0
            if group is not None:
                if len(beaten) < len(group):
                    beaten, group = group, beaten
                beaten.absorb(group)
            group = beaten
        key = self._key(price)
        while singles and singles[0][0] <= key:
            registration = heappop(singles)[2]
            if registration.alive:
                if group is None:
                    group = Group(price)
                group.add(registration)
        if group is not None:
            if groups and not groups[-1].number:
                self._wait(groups[-1])
            group.peak = price
            groups.append(group)
        self._look()

    def fall(self, price: Decimal, hits: Hits) -> None:
        """A price at `stop` or worse: add to `hits` those whose stop it crosses."""
        side, waiting = self._side, self._waiting
        if self._groups:
            self._groups[-1].collect(side, price, hits)
        key = self._key(price)
        while waiting and waiting[0][0] <= key.copy_negate():
            _, number, group = heappop(waiting)
            if group.number == number:
                group.collect(side, price, hits)
                self._wait(group)
        self._look()

    def _wait(self, group: Group) -> None:
        """Keep an eye on the stop of a group that is not the top one."""
        stop = group.stop(self._side)
        if stop is None:
            group.number = 0
            return
        self._numbers += 1
        group.number = self._numbers
        heappush(self._waiting, (self._key(stop).copy_negate(), self._numbers, group))

    def _look(self) -> None:
        """Which prices matter next."""
        side, groups, waiting = self._side, self._groups, self._waiting
        self.peak, self.stop = self._none()
        while groups:
            stop = groups[-1].stop(side)
            if stop is not None:
                self.peak, self.stop = groups[-1].peak, stop
                break
            groups.pop().number = 0
        while waiting and waiting[0][2].number != waiting[0][1]:
            heappop(waiting)
        if waiting:
            stop = self._key(waiting[0][0].copy_negate())
            if better(side, stop, self.stop):
                self.stop = stop
        if self._singles:
            peak = self._key(self._singles[0][0])
            if better(side, self.peak, peak):
                self.peak = peak

    def _sweep(self) -> None:
        for group in self._groups:
            group.sweep()
        self._singles = [member for member in self._singles if member[2].alive]
        heapify(self._singles)
        self._dead = 0
        self._look()

    def _key(self, price: Decimal) -> Decimal:
        """Better prices have higher keys; its own inverse."""
        return price if self._side is Side.LONG else price.copy_negate()

    def _none(self) -> tuple[Decimal, Decimal]:
        return (INFINITE, MINUS_INFINITE) if self._side is Side.LONG else (MINUS_INFINITE, INFINITE)
