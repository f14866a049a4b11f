"""The trigger book against the plain meaning of a watch, on seeded random walks: far more ticks and watches than whole
positions allow, rings that overflow, and every tick's extremes compared with those of a list.
"""

import random
from decimal import Decimal
from typing import Any

import pytest

from actors.domain.exits import better, crossed, reached
from actors.domain.model import Quote, Side, Source
from actors.domain.price_book import PriceBook, Wake
from actors.domain.tape import SOURCES, Extremes, StoredTape
from actors.domain.watch import Missed, Watch, stop_source_of

D = Decimal


class Told:
    """One watch that is told every tick."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.peak = watch.peak

    def hears(self, quote: Quote) -> bool:
        """Whether this tick wakes it."""
        watch, side = self.watch, self.watch.side
        woken = watch.deadline is not None and quote.at >= watch.deadline
        price = quote.price(watch.stop_source, side)
        if price is not None:
            if self.peak is not None and better(side, price, self.peak):
                self.peak = price
            woken |= watch.stop is not None and crossed(side, price, watch.stop)
            woken |= watch.peak_from is not None and reached(side, price, watch.peak_from)
            woken |= self.peak is not None and crossed(side, price, watch.trailing_stop(self.peak))
        price = quote.price(watch.targets_source, side)
        return woken or (price is not None and watch.target is not None and reached(side, price, watch.target))


def any_watch(draw: random.Random, at: int) -> Watch:
    """A watch around 100; some of its levels have passed already, and some trails have no distance."""
    side = draw.choice(list(Side))
    given: dict[str, Any] = {}

    def away(low: int, high: int) -> Decimal:
        return D(100) + side.sign * D(draw.randint(low, high)) / 2

    if draw.random() < 0.7:
        given["stop"] = away(-16, -1)
    if draw.random() < 0.6:
        given["target"] = away(1, 16)
    if draw.random() < 0.6:
        given["peak"] = away(-6, 12)
        if draw.random() < 0.5:
            given["trail_percent"] = D(draw.randint(0, 60)) / 10
        else:
            given["trail_gap"] = D(draw.randint(0, 12)) / 2
        if draw.random() < 0.3:
            given["peak_from"] = given["peak"] + side.sign * D(draw.randint(0, 10)) / 2
    if draw.random() < 0.2:
        given["deadline"] = at + draw.randint(1, 12)
    sources = list(Source)
    return Watch(side=side, stop_source=draw.choice(sources), targets_source=draw.choice(sources), **given)


def extremes(quotes: list[Quote], name: str) -> Extremes:
    """Low, when, high, when, by looking at each."""
    prices = [(getattr(quote, name), quote.at) for quote in quotes if getattr(quote, name) is not None]
    if not prices:
        return None, 0, None, 0
    low, high = min(prices, key=lambda price: price[0]), max(prices, key=lambda price: price[0])
    return low[0], low[1], high[0], high[1]


def merged(quotes: list[Quote]) -> Quote | None:
    """The latest known price of each source, by looking for it."""
    known: dict[str, Any] = {}
    for name in SOURCES:
        known[name] = next((price for quote in reversed(quotes) if (price := getattr(quote, name)) is not None), None)
    return Quote(at=quotes[-1].at, **known) if quotes else None


def said(missed: Missed) -> Extremes:
    """The same four numbers."""
    return missed.low, missed.low_at, missed.high, missed.high_at


class Market:
    """A book, and beside it every tick and every watch."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.book = PriceBook(ring=self.draw.choice([8, 64, 4096]), lineage="here")
        self.quotes: list[Quote] = []
        self.armed: dict[str, Told] = {}
        self.points: dict[str, int] = {}
        self.disarmed: dict[str, int] = {}
        self.centre, self.at = D(100), 1

    def missed(self, key: str, until: int | None = None) -> Extremes:
        """What a position has missed since its point."""
        watch = self.armed[key].watch
        return extremes(self.quotes[self.points[key] : until], stop_source_of(watch.stop_source, watch.side))

    def next_quote(self) -> Quote:
        """One more price, with some sources missing."""
        draw = self.draw
        self.at += draw.randint(0, 2)
        self.centre += D(draw.randint(-3, 3)) / 2

        def price() -> Decimal | None:
            return None if draw.random() < 0.2 else self.centre + D(draw.randint(-1, 1)) / 2

        return Quote(at=self.at, mark=price(), last=price(), bid=price(), ask=price())

    def ticks(self, count: int) -> None:
        """Some prices at once."""
        batch = [self.next_quote() for _ in range(count)]
        woken = self.book.play_all(batch)
        for now in batch:
            self.quotes.append(now)
            due = [wake for wake in woken if wake.tick == len(self.quotes)]
            assert sorted(wake.key for wake in due) == sorted(
                key for key, told in self.armed.items() if told.hears(now)
            )
            assert [wake.serial for wake in due] == sorted(wake.serial for wake in due)
            for wake in due:
                assert wake.quote == now
                assert wake.missed == self.answer(wake.key, len(self.quotes) - 1)
                assert self.book.point(wake.key) == wake.tick
                self.disarm(wake.key, wake.tick)
        assert [wake.tick for wake in woken] == sorted(wake.tick for wake in woken)

    def disarm(self, key: str, tick: int) -> None:
        """A wake is on its way."""
        del self.armed[key], self.points[key]
        self.disarmed[key] = tick

    def arm(self, key: str, since: int | None) -> None:
        """Register, and look for the first tick that should have woken it."""
        at = self.at if since is None else self.quotes[since - 1].at
        told = Told(any_watch(self.draw, at))
        start = len(self.quotes) if since is None else since
        serial, wake = self.book.register(key, told.watch, since)
        self.armed[key], self.points[key] = told, start
        first = next((n for n in range(start, len(self.quotes)) if told.hears(self.quotes[n])), None)
        if first is None:
            assert wake is None
            return
        assert wake == Wake(
            key=key, serial=serial, quote=self.quotes[first], tick=first + 1, missed=self.answer(key, first)
        )
        self.disarm(key, first + 1)

    def answer(self, key: str, first: int) -> Missed:
        """What should come with a wake at this tick."""
        low, low_at, high, high_at = self.missed(key, first + 1)
        latest = merged(self.quotes[: first + 1])
        return Missed(low=low, low_at=low_at, high=high, high_at=high_at, latest=latest)

    def disturb(self) -> None:
        """Something between two ticks."""
        key, dice = str(self.draw.randint(0, 8)), self.draw.random()
        if dice < 0.5 and key not in self.disarmed:
            self.arm(key, None)
        elif dice < 0.7:
            missed = self.book.fold(key)
            assert (missed is None) == (key not in self.armed)
            if missed is not None:
                assert said(missed) == self.missed(key)
                assert missed.latest == merged(self.quotes)
                self.points[key] = len(self.quotes)
        elif dice < 0.75 and key in self.armed:
            self.book.unregister(key)
            del self.armed[key], self.points[key]
        elif dice < 0.8:
            self.book.compact()

    def check_saved(self) -> None:
        """What is saved answers the same."""
        stored = StoredTape(self.book.dump())
        for key, told in self.armed.items():
            name = stop_source_of(told.watch.stop_source, told.watch.side)
            assert said(stored.missed("here", self.points[key], name)) == self.missed(key)
        for name in SOURCES:
            assert said(stored.missed("elsewhere", 5, name)) == extremes(self.quotes, name)


@pytest.mark.parametrize("seed", range(250))
def test_the_book_means_what_the_watches_say(seed: int) -> None:
    """Registered late, replaced, folded, compacted, unregistered: each is woken by the first tick that it names."""
    market = Market(seed)
    for _ in range(market.draw.randint(5, 120)):
        for _ in range(market.draw.randint(0, 3)):
            market.disturb()
        for key, tick in list(market.disarmed.items()):
            if market.draw.random() < 0.4 and len(market.quotes) - tick <= 8:
                del market.disarmed[key]
                market.arm(key, tick)
        market.ticks(market.draw.choice([0, 1, 1, 1, 2, 6]))
    market.check_saved()
