"""Plays the market of the exchange server: from its sources at their pace, or by hand.

A source goes on at the cursor in the journal. What is played carries the wall's time, whatever the source's own is.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from actors.domain.model import Micros, Quote
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.paper_market import MarketDataError, Tick
from actors.venues.paper_sources import open_market

_log = structlog.get_logger(__name__)

_MICROS_PER_SECOND: Final = 1_000_000
_POLL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
# A feed further behind than this goes on from where it is, instead of playing everything it missed in one burst.
_MOST_BEHIND_SECONDS: Final = 1.0


class Player:
    """Plays prices, one after another; `told` hears the symbol of each."""

    def __init__(self, desk: ExchangeDesk, told: Callable[[str], None]) -> None:
        """Play each symbol's first price where it has none yet. Raises MarketDataError."""
        self._desk = desk
        self._told = told
        self._market = open_market(desk.settings.paper(), desk.core.instruments, desk.core.cursors())
        self._paced_from: tuple[Micros, float] | None = None
        self.held: dict[str, Quote] = {}
        self.playing = not desk.settings.manual
        while not self._everybody_has_a_price() and (tick := self._market.peek(desk.clock.now())) is not None:
            self._play(tick)

    async def run(self) -> None:
        """Play until cancelled."""
        failure = ""
        while True:
            try:
                wait = self._play_what_is_due() if self.playing else _POLL_SECONDS
                failure = ""
            except (MarketDataError, sqlite3.Error) as error:
                if str(error) != failure:
                    failure = str(error)
                    _log.error("feed.stale", venue="exchange", reason=failure)
                wait = _RETRY_SECONDS
            await asyncio.sleep(wait)

    def push(self, symbol: str, quote: Quote, *, hold: bool = False) -> None:
        """Play this price now. Held, it stays while the source goes on beneath it."""
        if hold:
            self.held[symbol] = quote
        cursor = self._desk.core.cursors().get(symbol, "")
        self._tell(Tick(symbol=symbol, quote=quote, previous=cursor, cursor=cursor))

    def close(self) -> None:
        """Close the sources."""
        self._market.close()

    def _everybody_has_a_price(self) -> bool:
        return self._desk.core.cursors().keys() >= self._desk.core.instruments.keys()

    def _play_what_is_due(self) -> float:
        tick = self._market.peek(self._desk.clock.now() - self._desk.clock.skew)
        if tick is None:
            return _POLL_SECONDS
        wait = self._seconds_until(tick)
        if wait <= 0:
            self._play(tick)
            return 0.0
        return min(wait, _POLL_SECONDS)

    def _play(self, tick: Tick) -> None:
        self._tell(replace(tick, quote=self.held.get(tick.symbol, tick.quote)))
        self._market.advance(tick)

    def _tell(self, tick: Tick) -> None:
        now = self._desk.clock.now()
        self._desk.core.play(replace(tick, quote=replace(tick.quote, at=now)), now)
        self._desk.core.fill_rests(now)
        self._told(tick.symbol)

    def _seconds_until(self, tick: Tick) -> float:
        if tick.live:
            return (tick.quote.at - self._desk.clock.now() + self._desk.clock.skew) / _MICROS_PER_SECOND
        now = asyncio.get_running_loop().time()
        if self._paced_from is None:
            self._paced_from = (tick.quote.at, now)
        event, wall = self._paced_from
        wait = (tick.quote.at - event) / _MICROS_PER_SECOND / self._desk.settings.speed - (now - wall)
        if wait < -_MOST_BEHIND_SECONDS:
            self._paced_from = (tick.quote.at, now)
        return wait
