"""A watch that reaches the book some ticks late: which of the ticks it has missed is the first that wakes it.

This is the watch's meaning word for word, one tick after the other; the book only comes here when the extremes say
that some tick may match.
"""

from collections.abc import Iterable
from decimal import Decimal

from actors.domain.exits import better, crossed, reached
from actors.domain.model import Micros, Position, Quote
from actors.domain.tape import Extremes
from actors.domain.watch import Watch


class Follower:
    """What one watch has seen so far: the extremes of its stop's source, and the running peak of its trail."""

    __slots__ = ("_high", "_high_at", "_low", "_low_at", "_watch", "peak")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._low: Decimal | None = None
        self._high: Decimal | None = None
        self._low_at: Micros = 0
        self._high_at: Micros = 0
        self.peak = watch.peak

    @property
    def extremes(self) -> Extremes:
        """Low, when, high, when, of the stop's source so far."""
        return self._low, self._low_at, self._high, self._high_at

    def matches(self, quote: Quote) -> bool:
        """Whether this tick wakes the watch."""
        watch = self._watch
        price = quote.price(watch.stop_source, watch.side)
        due = watch.deadline is not None and quote.at >= watch.deadline
        if price is not None:
            self._take(price, quote.at)
            due = due or self._stops(price)
        price = quote.price(watch.targets_source, watch.side)
        return due or (price is not None and watch.target is not None and reached(watch.side, price, watch.target))

    def first(self, quotes: Iterable[Quote]) -> int | None:
        """How many of these ticks come before the first that wakes the watch; None when all do."""
        for index, quote in enumerate(quotes):
            if self.matches(quote):
                return index
        return None

    def _take(self, price: Decimal, at: Micros) -> None:
        if self._low is None or price < self._low:
            self._low, self._low_at = price, at
        if self._high is None or price > self._high:
            self._high, self._high_at = price, at
        if self.peak is not None and better(self._watch.side, price, self.peak):
            self.peak = price

    def _stops(self, price: Decimal) -> bool:
        watch, side = self._watch, self._watch.side
        if watch.stop is not None and crossed(side, price, watch.stop):
            return True
        if watch.peak_from is not None and reached(side, price, watch.peak_from):
            return True
        return self.peak is not None and crossed(side, price, watch.trailing_stop(self.peak))


def passes_by(position: Position, watch: Watch, quote: Quote) -> bool:
    """Whether a price is none that the position waits for, and within the extremes that it knows: then it changes
    nothing but the latest price, and what is waited for afterwards is what was before.
    """
    side, mae, mfe = position.side, position.mae, position.mfe
    price = quote.price(position.plan.stop_source, side)
    if price is not None:
        if mae is None or mfe is None or better(side, price, mfe.price) or better(side, mae.price, price):
            return False
        if position.peak_price is not None and better(side, price, position.peak_price):
            return False
    if watch.peak is not None or watch.peak_from is not None:
        return not Follower(watch).matches(quote)
    # The same for one without a trail.
    if watch.deadline is not None and quote.at >= watch.deadline:
        return False
    if price is not None and watch.stop is not None and crossed(side, price, watch.stop):
        return False
    reach = quote.price(watch.targets_source, side)
    return reach is None or watch.target is None or not reached(side, reach, watch.target)


def running_peak(watch: Watch, extremes: Extremes) -> Decimal | None:
    """The peak of an armed trail after prices with these extremes."""
    best = extremes[2] if watch.side.sign > 0 else extremes[0]
    if watch.peak is None or best is None or not better(watch.side, best, watch.peak):
        return watch.peak
    return best


def suspects(watch: Watch, stops: Extremes, targets: Extremes, newest: Micros) -> list[str]:
    """What of a watch (`deadline`, `stop`, `trail`, `peak`, `target`) these extremes may have met; empty: none."""
    side = watch.side
    best, worst = (stops[2], stops[0]) if side.sign > 0 else (stops[0], stops[2])
    reach = targets[2] if side.sign > 0 else targets[0]
    found = []
    if watch.deadline is not None and newest >= watch.deadline:
        found.append("deadline")
    if worst is not None and watch.stop is not None and crossed(side, worst, watch.stop):
        found.append("stop")
    peak = running_peak(watch, stops)
    if worst is not None and peak is not None and crossed(side, worst, watch.trailing_stop(peak)):
        found.append("trail")
    if best is not None and watch.peak_from is not None and reached(side, best, watch.peak_from):
        found.append("peak")
    if reach is not None and watch.target is not None and reached(side, reach, watch.target):
        found.append("target")
    return found


def surely_trailed(watch: Watch, stops: Extremes) -> bool:
    """Whether the worst price crossed the trail's stop: that of the first peak, or that of a best price before it."""
    low, low_at, high, high_at = stops
    worst, after = (low, low_at > high_at) if watch.side.sign > 0 else (high, high_at > low_at)
    peak = running_peak(watch, stops) if after else watch.peak
    return worst is not None and peak is not None and crossed(watch.side, worst, watch.trailing_stop(peak))
