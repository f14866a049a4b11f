"""The paper market: every symbol's prices merged by time, each at a cursor of its own.

A source is asked for its next tick (`peek`) as often as one likes, and moves on only when told that the tick was
played (`advance`). What it needs to go on exactly there after a restart is in the tick's cursor, a short text that
the ledger saves together with the price. A symbol whose file has no further row yet does not hold up the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

from actors.domain.model import Instrument, Micros, Quote


class MarketDataError(Exception):
    """Prices that cannot be read: the message names the file, the line and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One price of one symbol. `previous` and `cursor` are the source's position before and after it.

    `live` says that event time follows wall time, so the tick is due at its own time.
    """

    symbol: str
    quote: Quote
    previous: str
    cursor: str
    live: bool = False


class PriceSource(Protocol):
    """One symbol's prices."""

    def peek(self, now: Micros) -> Tick | None:
        """The next tick, or None when there is none yet. `now` is wall time. Raises MarketDataError."""

    def advance(self, tick: Tick) -> None:
        """The tick was played: move on to the next one."""

    def close(self) -> None:
        """Let go of the file, if there is one."""


def quote_of(at: Micros, price: Decimal, spread_percent: Decimal, tick_size: Decimal) -> Quote:
    """The quote around a last price: mark is last; bid and ask are half a spread away, on the tick outwards."""
    if not spread_percent:
        # Without a spread the price is taken as it came, even where the data is finer than the instrument's tick.
        return Quote(at=at, mark=price, last=price, bid=price, ask=price)
    half = price * spread_percent / 200
    bid = ((price - half) / tick_size).to_integral_value(ROUND_FLOOR) * tick_size
    ask = ((price + half) / tick_size).to_integral_value(ROUND_CEILING) * tick_size
    return Quote(at=at, mark=price, last=price, bid=max(bid, tick_size), ask=ask)


class Market:
    """All symbols' sources, merged by time; ties go to the symbol named first."""

    def __init__(self, sources: Mapping[str, PriceSource]) -> None:
        self._sources = dict(sources)
        self._places = {symbol: place for place, symbol in enumerate(self._sources)}
        # The next tick of each symbol by time and place; those whose next tick is not known are asked at each look.
        self._next: list[tuple[Micros, int, Tick]] = []
        self._unknown = dict.fromkeys(self._sources)

    def peek(self, now: Micros) -> Tick | None:
        """The earliest next tick of all symbols, or None when no symbol has one yet. Raises MarketDataError."""
        for symbol in list(self._unknown):
            tick = self._sources[symbol].peek(now)
            if tick is not None:
                del self._unknown[symbol]
                heappush(self._next, (tick.quote.at, self._places[symbol], tick))
        while self._next:
            at, place, tick = self._next[0]
            if not tick.live or at >= now:
                return tick
            # One that follows the wall is never before it: what was next a while ago is that no more.
            fresh = self._sources[tick.symbol].peek(now)
            if fresh is None or fresh.quote.at <= at:
                return fresh or tick
            heapreplace(self._next, (fresh.quote.at, place, fresh))
        return None

    def advance(self, tick: Tick) -> None:
        """The tick that was peeked has been played."""
        self._sources[tick.symbol].advance(tick)
        if self._next and self._next[0][2].symbol == tick.symbol:
            heappop(self._next)
        else:
            self._next = [entry for entry in self._next if entry[2].symbol != tick.symbol]
            heapify(self._next)
        self._unknown[tick.symbol] = None

    def close(self) -> None:
        """Close every source."""
        for source in self._sources.values():
            source.close()


def rounded_to_tick(price: Decimal, instrument: Instrument) -> Decimal:
    """The nearest price on the instrument's tick, never zero."""
    return max((price / instrument.tick_size).to_integral_value() * instrument.tick_size, instrument.tick_size)
