"""PaperActor: the paper exchange at work, one for all accounts that share it.

It answers requests and plays the market. In lockstep (speed "max") a price follows once every account has settled the
one before; otherwise prices follow event time at a multiple of wall time, and those that are due together are played in
one transaction. A price is matched and saved before it is told, and what it executed is told before it. It has no
thread and no sleep of its own: time is the runtime's clock.

On a shared ledger one process plays; the others follow: they tell the newest price and what was executed meanwhile.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pykka
import structlog

from actors.domain.model import Micros, Quote
from actors.runtime.base import Clock, Timer, tell
from actors.venues.base import PricesUpdated, VenueFailed, VenueOrder
from actors.venues.paper_audience import Audiences
from actors.venues.paper_desk import Arrived, Desk, Due, Told
from actors.venues.paper_faults import Faults
from actors.venues.paper_ledger import CursorMoved, PaperExchange
from actors.venues.paper_market import Market, MarketDataError, Tick
from actors.venues.paper_queue import Door, Queue, Serve
from actors.venues.paper_sources import open_market

_log = structlog.get_logger(__name__)

# How often a file that has ended is asked for more rows, and a ledger that failed is tried again.
_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
# On a shared ledger: how often a follower looks, and how long a player may leave its lease alone.
_FOLLOW_SECONDS = 0.05
_RENEW_SECONDS = 0.25
# A feed further behind than this goes on from where it is, instead of telling everything it missed in one burst.
_MOST_BEHIND_SECONDS = 1.0
_MICROS_PER_SECOND = 1_000_000
# As many requests, and as many prices, as one transaction takes: an order in the next one waits no longer than that.
_MOST_REQUESTS = 200
_MOST_TICKS = 200


@dataclass(frozen=True, slots=True)
class Attach:
    """An account has started; a door it had before is forgotten."""

    door: Door


@dataclass(frozen=True, slots=True)
class Resume:
    """An account is ready for prices, and is told them where it wants to be."""

    door: Door
    prices: bool = True


@dataclass(frozen=True, slots=True)
class Detach:
    """An account has stopped; with the last one the actor ends."""

    door: Door
    last: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """An account's price has settled."""

    door: Door
    symbol: str
    sequence: int


@dataclass(frozen=True, slots=True)
class PlayOn:
    """It may be time for the next price."""


class PaperActor(pykka.ThreadingActor):
    """Owns the market's cursor and the exchange, and answers every account that shares them."""

    use_daemon_thread = True
    own_thread: ClassVar[bool] = True  # It writes its ledger, and would hold up whoever shares a thread with it.

    def __init__(
        self,
        exchange: PaperExchange,
        clock: Clock,
        *,
        owns_exchange: bool,
        accounts: set[str],
        queue: Queue,
        faults: Faults | None = None,
    ) -> None:
        """`accounts` are those that lockstep waits for before the first price; `owns_exchange`: closed at the end.

        Requests come in `queue`.
        """
        super().__init__()
        self._exchange = exchange
        self._clock = clock
        self._owns_exchange = owns_exchange
        self._accounts = accounts
        self._speed = exchange.settings.speed
        self._queue = queue
        self._audiences = Audiences(lockstep=self._speed == "max")
        self._market: Market | None = None
        self._timer: Timer | None = None
        # Where event time and monotonic time were last matched; None until prices flow.
        self._paced_from: tuple[Micros, float] | None = None
        self._failure = ""
        self._desk = Desk(exchange, clock, faults, self.actor_ref, self._audiences.door_of)
        self._shared = exchange.settings.shared
        self._playing = False
        self._seen_trade = 0
        self._seen_cursors: dict[str, str] = {}
        if self._shared:
            exchange.feed.player = self.actor_urn

    def on_receive(self, message: object) -> None:
        """Handle one message of a venue, or the own reminder to play on."""
        match message:
            case Serve():
                self._desk.handle(self._queue.take(_MOST_REQUESTS, self.actor_ref))
                self._queue.served()
            case Settled(door, symbol, sequence):
                if self._audiences.settle(door, symbol, sequence):
                    self._play_on()
            case PlayOn():
                self._play_on()
            case Attach(door):
                self._attach(door)
            case Resume(door, prices):
                self._audiences.resume(door, prices=prices)
                self._play_on()
            case Detach(door, last):
                self._detach(door, last)
            case Arrived() | Told() | Due():
                self._desk.go_on(message)

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Its accounts begin anew, and start it again."""
        del exception_type, traceback
        for door in self._audiences.doors():
            tell(door.listener, VenueFailed(error=repr(exception_value)))

    # -- accounts ------------------------------------------------------------------------------------------------------

    def _attach(self, door: Door) -> None:
        self._audiences.attach(door)
        self._desk.look()
        if self._market is None:
            self._guarded(self._begin_to_share if self._shared else self._open_market)

    def _detach(self, door: Door, last: bool) -> None:
        self._audiences.detach(door)
        if last:
            self._cancel_timer()
            self._desk.close()
            self._close_market()
            if self._shared:
                self._guarded(self._exchange.feed.release)
                self._cancel_timer()
            if self._owns_exchange:
                self._exchange.close()
            self.stop()
        else:
            self._play_on()

    # -- the market ----------------------------------------------------------------------------------------------------

    def _guarded(self, play: Callable[[], None]) -> None:
        """A market that cannot be read must not end the exchange: orders are answered, prices wait."""
        try:
            play()
            self._failure = ""
        except (MarketDataError, sqlite3.Error) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                _log.error("feed.stale", venue="paper", reason=self._failure)
            self._play_after(_RETRY_SECONDS)
        except CursorMoved:
            self._close_market()
            self._play_after(0)

    def _open_market(self) -> None:
        """Go to the cursors. On the very first start the first price is played, so that there is one to read."""
        exchange = self._exchange
        cursors = exchange.cursors()
        self._market = open_market(exchange.settings, exchange.instruments, cursors)
        if cursors:
            return
        now = self._clock.now()
        first = tick = self._market.peek(now)
        while tick is not None and first is not None and tick.quote.at == first.quote.at:
            self._play_one(self._market, tick)
            tick = self._market.peek(now)

    def _close_market(self) -> None:
        if self._market is not None:
            self._market.close()
        self._market = None

    def _play_on(self) -> None:
        self._cancel_timer()
        self._guarded(self._play_what_is_due)

    def _play_what_is_due(self) -> None:
        if self._market is None and not self._shared:
            self._open_market()
        for audience in list(self._audiences.newcomers.values()):
            # The price at the cursor may never have arrived: it is told again, and is not matched again.
            quotes = self._current_quotes() if audience.wants_prices else []
            present = [PricesUpdated(symbol=symbol, quote=quote) for quote, symbol in quotes]
            if self._audiences.welcome(audience, present):
                self._paced_from = None
        if not self._audiences.are_ready(self._accounts):
            return
        if self._shared and not self._our_turn():
            self._play_after(_FOLLOW_SECONDS)
            return
        market = self._market
        if market is None:
            return
        if self._speed == "max":
            tick = market.peek(self._clock.now())
            if tick is None:
                self._play_after(_POLL_SECONDS)
            else:
                self._play_one(market, tick)
            return
        try:
            ticks, wait = self._due(market, self._speed)
            self._play_all(ticks)
        except (sqlite3.Error, MarketDataError):
            # The market is past what the ledger has: it goes on from there, and nothing is left out.
            self._close_market()
            raise
        self._play_after(max(0.0, wait))

    def _due(self, market: Market, speed: float) -> tuple[list[Tick], float]:
        """The ticks that are due by now, taken off the market, and how long in seconds until the next may be."""
        ticks: list[Tick] = []
        while len(ticks) < _MOST_TICKS:
            tick = market.peek(self._clock.now())
            if tick is None:
                return ticks, _POLL_SECONDS
            wait = self._seconds_until(tick, speed)
            if wait > 0:
                return ticks, wait
            ticks.append(tick)
            market.advance(tick)
        return ticks, 0.0

    def _play_one(self, market: Market, tick: Tick) -> None:
        executed = self._exchange.step(tick)
        market.advance(tick)
        self._tell_played([tick], executed)

    def _play_all(self, ticks: Sequence[Tick]) -> None:
        while ticks:
            played, executed = self._exchange.steps(ticks)
            self._tell_played(ticks[:played], executed)
            ticks = ticks[played:]

    def _tell_played(self, ticks: Sequence[Tick], executed: Iterable[tuple[str, VenueOrder]]) -> None:
        """What prices executed is told before them; of each symbol all that were played together, as one message."""
        if self._shared:
            self._tell_executions()
        else:
            self._report(executed)
        quotes: dict[str, list[Quote]] = {}
        for tick in ticks:
            quotes.setdefault(tick.symbol, []).append(tick.quote)
        for symbol, (*earlier, latest) in quotes.items():
            self._audiences.tell(PricesUpdated(symbol=symbol, quote=latest, earlier=tuple(earlier)))

    def _report(self, executed: Iterable[tuple[str, VenueOrder]]) -> None:
        for account, order in executed:
            door = self._audiences.door_of(account)
            if door is not None:
                self._desk.report(door, order)

    def _seconds_until(self, tick: Tick, speed: float) -> float:
        """How long in wall time until a tick is due; not above zero when it is."""
        if tick.live:
            return (tick.quote.at - self._clock.now()) / _MICROS_PER_SECOND
        now = self._clock.monotonic()
        if self._paced_from is None:
            current = max((quote.at for quote, _ in self._current_quotes()), default=tick.quote.at)
            self._paced_from = (current, now)
        event, wall = self._paced_from
        wait = (tick.quote.at - event) / _MICROS_PER_SECOND / speed - (now - wall)
        if wait < -_MOST_BEHIND_SECONDS:
            self._paced_from = (tick.quote.at, now)
        return wait

    def _current_quotes(self) -> list[tuple[Quote, str]]:
        """Every symbol's price at the cursor, in the order they were played."""
        quotes = [(self._exchange.quote(symbol), symbol) for symbol in self._exchange.instruments]
        return sorted(((quote, symbol) for quote, symbol in quotes if quote), key=lambda pair: pair[0].at)

    # -- a shared ledger -----------------------------------------------------------------------------------------------

    def _begin_to_share(self) -> None:
        """What was executed before is read, not told. Whoever comes first plays the first price."""
        exchange = self._exchange
        self._seen_trade = exchange.feed.newest_trade()
        if not exchange.cursors() and exchange.feed.claim(self._clock.now()):
            self._open_market()

    def _our_turn(self) -> bool:
        """Whether it is ours to play; if not, what the player did is told."""
        self._desk.look()
        self._tell_executions()
        plays = self._exchange.feed.claim(self._clock.now())
        if plays and (self._market is None or not self._playing):
            self._close_market()
            self._paced_from = None
            self._open_market()
        if plays is not self._playing:
            _log.info("paper.feed", plays=plays)
            self._playing, self._seen_cursors = plays, {}
        if not plays:
            self._tell_news()
        return plays

    def _tell_executions(self) -> None:
        self._seen_trade, executed = self._exchange.feed.executed_after(self._seen_trade)
        self._report(executed)

    def _tell_news(self) -> None:
        """Of each symbol the newest price, if there has been one since the last look."""
        cursors = self._exchange.cursors()
        for symbol in self._exchange.instruments:
            quote = self._exchange.quote(symbol)
            if quote is not None and cursors.get(symbol) != self._seen_cursors.get(symbol):
                self._audiences.tell(PricesUpdated(symbol=symbol, quote=quote))
        self._seen_cursors = cursors

    def _play_after(self, seconds: float) -> None:
        if self._shared:
            seconds = min(seconds, _RENEW_SECONDS)
        self._cancel_timer()
        self._timer = self._clock.tell_after(seconds, self.actor_ref, PlayOn())

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
