"""The trigger book of one symbol: which positions a tick wakes, at the cost of one comparison a field and of those.

Positions register what they wait for (actors/domain/watch.py). A tick that nobody waits for is not told to anybody:
its extremes are on the tape, and reach a position with the next tick that wakes it, or when it asks (`fold`). This
equals telling every tick to every position; tests/unit/test_price_book_naive.py compares the two tick for tick.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from actors.domain.model import Micros, Quote
from actors.domain.price_field import Field
from actors.domain.price_late import Follower, running_peak, surely_trailed, suspects
from actors.domain.price_levels import Alarms, Hits, Registration
from actors.domain.tape import SOURCES, Extremes
from actors.domain.watch import Missed, Watch, stop_source_of

RING = 4096

Prices = tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """A tick that a position waits for: `quote`, the tick of number `tick`. `serial` says which registration heard it.

    `missed` are the extremes of the position's stop source after its point, this tick included.
    """

    key: str
    serial: int
    quote: Quote
    tick: int
    missed: Missed


class PriceBook:
    """Ticks of one symbol, and who waits for what. Times of quotes do not go back.

    A point is a tick up to which a position knows all prices: `Wake.tick`, `point(key)`, or the present one when
    `register` was called without any. Only points of this book may be given to `register`.
    """

    def __init__(self, *, ring: int = RING, lineage: str = "") -> None:
        self.lineage = lineage
        self.sequence = 0
        self.woken: list[Wake] = []
        self._fields = tuple(Field() for _ in SOURCES)
        self._by_name = dict(zip(SOURCES, self._fields, strict=True))
        self._alarms = Alarms()
        self._registrations: dict[str, Registration] = {}
        self._serial = 0
        self._pointed = 0
        self._at: Micros = 0
        self._known: Prices = (None, None, None, None)
        # The latest ticks, at least `ring` of them where there were as many; what was known before the first of them.
        self._ring = ring
        self._quotes: list[Quote] = []
        self._before: Prices = (None, None, None, None)

    # -- ticks -----------------------------------------------------------------------------------------------------

    @property
    def latest(self) -> Quote | None:
        """The latest known price of each source, as of the latest tick; None before the first."""
        return _quote(self._at, self._known) if self.sequence else None

    @property
    def size(self) -> int:
        """How many entries the tapes hold."""
        return sum(len(field.tape) for field in self._fields)

    def play(self, quote: Quote) -> None:
        """One tick; whom it wakes is added to `woken`."""
        self.woken += self.play_all((quote,))

    def play_all(self, quotes: Iterable[Quote]) -> list[Wake]:
        """One tick after the other; returns whom they wake. A woken position hears nothing until it registers again."""
        woken: list[Wake] = []
        hits: Hits = []
        marks, lasts, bids, asks = self._fields
        mark, last, bid, ask = self._known
        mark_low, mark_high, last_low, last_high = marks.low, marks.high, lasts.low, lasts.high
        bid_low, bid_high, ask_low, ask_high = bids.low, bids.high, asks.low, asks.high
        deadline = self._alarms.nearest
        sequence, at = self.sequence, self._at
        remember = self._quotes.append
        for quote in quotes:
            sequence += 1
            remember(quote)
            at = quote.at
            if (price := quote.mark) is not None:
                mark = price
                if not mark_low < price < mark_high:
                    marks.take(price, at, sequence, hits)
                    mark_low, mark_high = marks.low, marks.high
            if (price := quote.last) is not None:
                last = price
                if not last_low < price < last_high:
                    lasts.take(price, at, sequence, hits)
                    last_low, last_high = lasts.low, lasts.high
            if (price := quote.bid) is not None:
                bid = price
                if not bid_low < price < bid_high:
                    bids.take(price, at, sequence, hits)
                    bid_low, bid_high = bids.low, bids.high
            if (price := quote.ask) is not None:
                ask = price
                if not ask_low < price < ask_high:
                    asks.take(price, at, sequence, hits)
                    ask_low, ask_high = asks.low, asks.high
            if at >= deadline:
                self._alarms.due(at, hits)
                deadline = self._alarms.nearest
            if hits:
                self._wake(hits, quote, sequence, _quote(at, (mark, last, bid, ask)), woken)
                hits.clear()
                mark_low, mark_high, last_low, last_high = marks.low, marks.high, lasts.low, lasts.high
                bid_low, bid_high, ask_low, ask_high = bids.low, bids.high, asks.low, asks.high
        self.sequence, self._at, self._known = sequence, at, (mark, last, bid, ask)
        if len(self._quotes) > 2 * self._ring:
            self._forget()
        return woken

    def _wake(self, hits: Hits, quote: Quote, sequence: int, latest: Quote, woken: list[Wake]) -> None:
        for registration in sorted(hits, key=_serial):
            missed = self._missed(registration, latest)
            wake = Wake(key=registration.key, serial=registration.serial, quote=quote, tick=sequence, missed=missed)
            woken.append(wake)
            registration.before, registration.since = registration.since, sequence
            self._uncount(registration)
        self._hand_out(sequence)

    def _forget(self) -> None:
        gone = len(self._quotes) - self._ring
        self._before = self._known_at(gone)
        del self._quotes[:gone]

    # -- who waits -------------------------------------------------------------------------------------------------

    def register(self, key: str, watch: Watch, since: int | None = None) -> tuple[int, Wake | None]:
        """Wait for what the watch says, in the ticks after the point `since` (None: the present one).

        Returns the number of the registration, and at once the first tick after `since` that wakes it, if one did. Of
        more ticks than the ring holds only the extremes are known, and the price of that tick is made of them.
        """
        self._disarm(key)
        self._serial += 1
        start = self.sequence if since is None else min(max(since, 0), self.sequence)
        registration = self._registrations[key] = Registration(key, self._serial, watch, start)
        peak = watch.peak
        if start == self.sequence:
            self._hand_out(start)
        else:
            stops = self._stops(watch).tape.since(start)
            found = suspects(watch, stops, self._targets(watch).tape.since(start), self._at)
            wake = self._late(registration, found, stops) if found else None
            if wake is not None:
                registration.alive = False
                registration.before, registration.since = registration.since, wake.tick
                return self._serial, wake
            peak = running_peak(watch, stops)
        self._arm(registration, peak)
        return self._serial, None

    def unregister(self, key: str) -> None:
        """It waits for nothing any more, and asks about nothing."""
        self._disarm(key)
        self._registrations.pop(key, None)

    def fold(self, key: str) -> Missed | None:
        """What a position has missed until now; its point is the present then. None: a wake is on its way, or it is
        not registered.
        """
        registration = self._registrations.get(key)
        if registration is None or not registration.alive:
            return None
        missed = self._missed(registration, self.latest)
        registration.since = self.sequence
        self._hand_out(self.sequence)
        return missed

    def point(self, key: str) -> int:
        """The tick up to which a position knows all prices. Raises KeyError when it is not registered."""
        return self._registrations[key].since

    # -- what is kept ----------------------------------------------------------------------------------------------

    def compact(self, points: Iterable[int] = ()) -> None:
        """Forget what answers neither these points (of saved states, say) nor those of the registered positions."""
        registered = self._registrations.values()
        # One that was woken may say what it waits for before it hears of its wake: from the point that it had.
        told = {point for each in registered for point in (each.since, each.before) if point is not None}
        kept = sorted({0, *points, *told})
        kept = [point for point in kept if 0 <= point <= self.sequence]
        for field in self._fields:
            field.tape.prune(kept)

    def dump(self, after: int = 0) -> dict[str, Any]:
        """The tapes from the point `after` on, as StoredTape reads them."""
        return {
            "lineage": self.lineage,
            "sequence": self.sequence,
            "at": self._at,
            "from": after,
            "sources": {name: field.tape.dump(after) for name, field in self._by_name.items()},
        }

    # -- inside ----------------------------------------------------------------------------------------------------

    def _stops(self, watch: Watch) -> Field:
        return self._by_name[stop_source_of(watch.stop_source, watch.side)]

    def _targets(self, watch: Watch) -> Field:
        return self._by_name[stop_source_of(watch.targets_source, watch.side)]

    def _missed(self, registration: Registration, latest: Quote | None) -> Missed:
        low, low_at, high, high_at = self._stops(registration.watch).tape.since(registration.since)
        return Missed(low=low, low_at=low_at, high=high, high_at=high_at, latest=latest)

    def _hand_out(self, sequence: int) -> None:
        """Somebody may ask for the prices after this tick, the latest one."""
        if sequence != self._pointed:
            self._pointed = sequence
            for field in self._fields:
                field.tape.point(sequence)
                field.look()

    def _arm(self, registration: Registration, peak: Decimal | None) -> None:
        watch = registration.watch
        side, stop = watch.side, watch.stop
        stops, targets = self._stops(watch), self._targets(watch)
        if peak is not None and not stops.trails(side).add(registration, peak):
            trailing = watch.trailing_stop(peak)
            stop = trailing if stop is None or side.sign * (trailing - stop) > 0 else stop
        if stop is not None:
            registration.stands = True
            stops.worse(side).add(stop, registration)
        if watch.peak_from is not None:
            stops.better(side).add(watch.peak_from, registration)
        if watch.target is not None:
            targets.better(side).add(watch.target, registration)
        if watch.deadline is not None:
            self._alarms.add(watch.deadline, registration)
        stops.look()
        targets.look()

    def _disarm(self, key: str) -> None:
        registration = self._registrations.get(key)
        if registration is not None and registration.alive:
            registration.alive = False
            self._uncount(registration)

    def _uncount(self, registration: Registration) -> None:
        """One has died; its entries go when they come up, or when they are too many."""
        watch = registration.watch
        side, stops = watch.side, self._stops(watch)
        if watch.peak is not None:
            stops.trails(side).remove()
        if registration.stands:
            stops.worse(side).remove()
        if watch.peak_from is not None:
            stops.better(side).remove()
        if watch.target is not None:
            self._targets(watch).better(side).remove()
        if watch.deadline is not None:
            self._alarms.remove()

    # -- late registrations ----------------------------------------------------------------------------------------

    def _late(self, registration: Registration, found: list[str], stops: Extremes) -> Wake | None:
        """The first tick after a registration's point that wakes it, if any does."""
        missing = self.sequence - registration.since
        if missing > len(self._quotes):
            return self._long_late(registration, found, stops)
        follower = Follower(registration.watch)
        first = len(self._quotes) - missing
        index = follower.first(self._quotes[first:])
        if index is None:
            return None
        tick = registration.since + index + 1
        self._hand_out_past(tick)
        return self._wake_of(registration, self._quotes[first + index], tick, follower.extremes)

    def _long_late(self, registration: Registration, found: list[str], stops: Extremes) -> Wake:
        """More ticks than the ring holds: the extreme of a source that may have woken it first, at its time."""
        watch = registration.watch
        long = watch.side.sign > 0
        candidates: list[tuple[Micros, str, Decimal]] = []
        targets = self._targets(watch).tape.since(registration.since)
        for name in found:
            source, (low, low_at, high, high_at) = watch.stop_source, stops
            if name == "target":
                source, (low, low_at, high, high_at) = watch.targets_source, targets
            at, price = (high_at, high) if long == (name in ("peak", "target")) else (low_at, low)
            if price is not None and name != "deadline" and (name != "trail" or surely_trailed(watch, stops)):
                candidates.append((at, stop_source_of(source, watch.side), price))
        quote = self._quotes[-1] if self._quotes else _quote(self._at, self._known)
        if candidates:
            at, field, price = min(candidates)
            quote = _quote(at, tuple(price if name == field else None for name in SOURCES))
        self._hand_out(self.sequence)
        return self._wake_of(registration, quote, self.sequence, stops)

    def _wake_of(self, registration: Registration, quote: Quote, tick: int, extremes: Extremes) -> Wake:
        low, low_at, high, high_at = extremes
        index = len(self._quotes) - (self.sequence - tick)
        at = self._quotes[index - 1].at if 0 < index < len(self._quotes) else self._at
        latest = _quote(at, self._known_at(index) if index < len(self._quotes) else self._known)
        missed = Missed(low=low, low_at=low_at, high=high, high_at=high_at, latest=latest)
        return Wake(key=registration.key, serial=registration.serial, quote=quote, tick=tick, missed=missed)

    def _known_at(self, count: int) -> Prices:
        """The latest known price of each source after the first `count` ticks that are remembered."""
        known: dict[str, Decimal] = {}
        for index in range(count - 1, -1, -1):
            for name in SOURCES:
                if name not in known and (price := getattr(self._quotes[index], name)) is not None:
                    known[name] = price
            if len(known) == len(SOURCES):
                break
        return tuple(known.get(name, before) for name, before in zip(SOURCES, self._before, strict=True))

    def _hand_out_past(self, tick: int) -> None:
        """Somebody may ask for the prices after a tick that was not a point when it came."""
        later = list(enumerate(self._quotes[len(self._quotes) - (self.sequence - tick) :], tick + 1))
        for name, field in self._by_name.items():
            entries = ((getattr(quote, name), quote.at, number) for number, quote in later)
            field.tape.point_back(tick, [entry for entry in entries if entry[0] is not None])
            field.look()


def _serial(registration: Registration) -> int:
    return registration.serial


def _quote(at: Micros, prices: Prices) -> Quote:
    mark, last, bid, ask = prices
    return Quote(at=at, mark=mark, last=last, bid=bid, ask=ask)
