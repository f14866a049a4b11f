"""The paper exchange: positions, orders and their matching, on a durable ledger of its own.

Deterministic: no clock, no threads, no randomness; wall time is handed in, event time is that of the latest price.
Each execution is one transaction, and so is each price with everything it triggers. It plays an exchange that outlives
the keeper and its Redis: an exchange object (or another one on the same file) goes on exactly where a crash left it.

Like real venues it refuses a client order id only while an order with that id is open: a filled one is executed again.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from threading import RLock

from actors.domain.events import OrderState, Trade
from actors.domain.model import ZERO, Micros, OrderKind, OrderSide, Quote, Side, Source
from actors.survey import SlotAsked, SlotSurveyed
from actors.venues.base import (
    CancelRequest,
    Candle,
    OrderRejected,
    OrderRequest,
    OrderUnknown,
    VenueOrder,
    VenuePosition,
    VenueUnavailable,
)
from actors.venues.paper_candles import next_market, read_candles
from actors.venues.paper_checks import (
    check_expiry,
    check_limit,
    check_quantity,
    is_crossed,
    is_through,
    market_price,
    reducible,
    triggered,
)
from actors.venues.paper_feed import PaperFeed
from actors.venues.paper_market import Tick
from actors.venues.paper_matching import PaperMatching
from actors.venues.paper_past import taken_back
from actors.venues.paper_pending import PaperPending
from actors.venues.paper_settings import PaperSettings
from actors.venues.paper_sources import instruments_from
from actors.venues.paper_survey import read_slots
from actors.venues.paper_tables import OrderRow, PaperTables

_TRIGGERS = (Source.MARK, Source.LAST)


class CursorMoved(Exception):
    """Another process has played this price already: go to the ledger's cursors and go on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRead:
    """One order and the signed size of the position, of one moment. `at` is event time, 0 before the first price."""

    order: VenueOrder | None
    venue_quantity: Decimal
    at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRead:
    """One symbol of an account, of one moment."""

    position: VenuePosition | None
    orders: tuple[VenueOrder, ...]
    trades: tuple[Trade, ...]
    quote: Quote | None


class PaperExchange:
    """All accounts of one paper exchange. Its methods raise VenueError and, when the file fails, sqlite3.Error."""

    def __init__(self, settings: PaperSettings) -> None:
        """Open the ledger. Raises MarketDataError and LedgerError."""
        self.settings = settings
        self.instruments = instruments_from(settings)
        self._tables = PaperTables(settings.path)
        # The venue's actor is the only user in production; tests interfere by hand from their own thread.
        self._lock = RLock()
        self.pending = PaperPending(self._tables, self._lock)
        self.feed = PaperFeed(self._tables, self._lock)
        self.matching = PaperMatching(self._tables, self.pending, settings.taker_fee_percent)
        # Told instead of the time of the latest price, where a server's answers carry the wall's time.
        self.clock: Callable[[], Micros] | None = None

    def close(self) -> None:
        """Close the ledger."""
        with self._lock:
            self._tables.close()

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        """The requests inside are served in one durable transaction, or those that only read in one snapshot.

        Nothing may be told before the end of the block. A request that raises a VenueError has written nothing, and
        harms none of the others. Raises Spoiled, InDoubt and sqlite3.Error (see PaperFile.shared_transaction).
        """
        with self._lock, self._tables.shared_transaction() if writes else self._tables.snapshot():
            yield

    # -- what an account asks ------------------------------------------------------------------------------------------

    def submit(self, request: OrderRequest, now: Micros) -> OrderRead:
        """Accept an order; a market order, and a limit order already crossed, is executed at once. `now` is wall time.

        Raises OrderRejected and VenueUnavailable, both of which mean that nothing was executed, or OrderUnknown.
        """
        check_expiry(request, now)
        if request.symbol not in self.instruments:
            raise OrderRejected("unknown_symbol", f"{request.symbol} is not traded here")
        began = False
        try:
            with self._lock, self._tables.transaction(durable=True):
                began = True
                order = self._accept(request)
                return self._read_order(request.account, request.symbol, order)
        except sqlite3.Error as error:
            if not began:
                raise VenueUnavailable("ledger_busy", f"the paper ledger cannot be written: {error}") from error
            raise OrderUnknown("ledger", f"the paper ledger failed: {error}") from error

    def cancel(self, request: CancelRequest, now: Micros) -> OrderRead:
        """Cancel an order; one that is not open any more stays as it is. Raises OrderRejected when expired."""
        check_expiry(request, now)
        with self._lock, self._tables.transaction(durable=True):
            order = self._tables.find_order(request.account, request.symbol, request.client_order_id, request.kind)
            if order is not None and order.state is OrderState.OPEN:
                order = self._tables.change_order(
                    order.id, OrderState.CANCELLED, order.filled, self._event_time(request.symbol)
                )
            return self._read_order(request.account, request.symbol, order)

    def look_up(
        self, account: str, symbol: str, client_order_id: str, kind: OrderKind, *, behind: int = 0
    ) -> OrderRead:
        """The most recent order with this client id in the class of this kind, as it was `behind` executions ago."""
        with self._lock, self._tables.snapshot(), taken_back(self._tables, account, symbol, behind):
            return self._read_order(account, symbol, self._tables.find_order(account, symbol, client_order_id, kind))

    def read_account(self, account: str, symbol: str, trades_since: Micros, *, behind: int = 0) -> AccountRead:
        """Position, open orders of every class, trades since, quote; all but the quote as `behind` executions ago."""
        with self._lock, self._tables.snapshot(), taken_back(self._tables, account, symbol, behind):
            quantity, entry_price = self._tables.position(account, symbol)
            position = VenuePosition(
                symbol=symbol,
                side=Side.LONG if quantity > 0 else Side.SHORT,
                quantity=abs(quantity),
                entry_price=entry_price,
            )
            return AccountRead(
                position=position if quantity else None,
                orders=tuple(self._tables.told(order) for order in self._tables.open_orders(account, symbol)),
                trades=self._tables.trades_since(account, symbol, trades_since),
                quote=self._quote(symbol),
            )

    def candles(self, symbol: str, source: Source, since: Micros) -> tuple[tuple[Candle, ...], bool]:
        """Completed minutes that began at or after `since`, and whether they are all on record.

        For `bid_ask` they are the bid's: the one series less half the spread, not rounded to the tick.
        """
        with self._lock, self._tables.snapshot():
            candles, complete = read_candles(self._tables, symbol, since)
        if source is not Source.BID_ASK or symbol not in self.instruments:
            return candles, complete
        factor = 1 - self.settings.market.symbols[symbol].spread_percent / 200
        return tuple(
            replace(
                candle,
                open=candle.open * factor,
                high=candle.high * factor,
                low=candle.low * factor,
                close=candle.close * factor,
            )
            for candle in candles
        ), complete

    def survey(self, account: str, slots: Sequence[SlotAsked], now: Micros) -> Mapping[str, SlotSurveyed]:
        """Many slots at one moment, those that are traded here, each with all that is asked about it. `now`: wall time,
        told where there is no price.
        """
        with self._lock, self._tables.snapshot():
            traded = [slot for slot in slots if slot.symbol in self.instruments]
            return read_slots(self._tables, account, traded, now, self.candles)

    # -- the market ----------------------------------------------------------------------------------------------------

    def cursors(self) -> dict[str, str]:
        """Where each symbol's prices stand."""
        with self._lock:
            return self._tables.cursors()

    def quote(self, symbol: str) -> Quote | None:
        """The latest price played, if there was one."""
        with self._lock:
            return self._quote(symbol)

    def step(self, tick: Tick) -> tuple[tuple[str, VenueOrder], ...]:
        """Play one price: in one transaction save cursor and quote, and execute what it triggers, oldest first.

        Returns (account, order) of each order it fills. Raises CursorMoved when another process was first.
        """
        return self.steps((tick,))[1]

    def steps(self, ticks: Sequence[Tick]) -> tuple[int, tuple[tuple[str, VenueOrder], ...]]:
        """Play the first of these prices, at least one, in one transaction: how many, and what they filled (see step).

        Nearly every price triggers nothing, and its commit need not wait for the disk: all before the first that does
        are one transaction. That one and all that follow are another, which is durable.
        """
        with self._lock:
            played, executed = self._play(ticks, durable=False)
            return (played, executed) if played else self._play(ticks, durable=True)

    def _play(self, ticks: Sequence[Tick], *, durable: bool) -> tuple[int, tuple[tuple[str, VenueOrder], ...]]:
        executed: list[tuple[str, VenueOrder]] = []
        with self._tables.transaction(durable=durable):
            for number, tick in enumerate(ticks):
                quote = tick.quote
                prices = [price for price in (quote.mark, quote.last, quote.bid, quote.ask) if price is not None]
                maybe = self._tables.maybe_due(tick.symbol, min(prices), max(prices))
                hits = [order for order in maybe if self._is_due(order, quote)]
                waiting = self.matching.partial_fill is not None and self.pending.has_rests(tick.symbol)
                if (hits or waiting) and not durable:
                    return number, ()
                before = self._tables.market(tick.symbol)
                if (before.cursor if before else "") != tick.previous or not (number or self.feed.is_ours()):
                    raise CursorMoved(tick.symbol)
                after = next_market(self._tables, tick.symbol, before, tick.cursor, quote)
                self._tables.save_market(tick.symbol, after)
                rests = self.pending.rests(tick.symbol) if waiting else ()
                executed.extend(self.matching.fill_all(rests, quote, rest=True))
                executed.extend(self.matching.fill_all(hits, quote))
        return len(ticks), tuple(executed)

    def fill_rests(self, now: Micros) -> tuple[tuple[str, VenueOrder], ...]:
        """Fill what partial fills left until now: (account, order) of each."""
        with self._lock, self._tables.transaction(durable=True):
            due = self.pending.rests_due(now)
            return tuple(
                filled
                for order in due
                for filled in self.matching.fill_all([order], self._require_quote(order.symbol), rest=True)
            )

    # -- by hand: what tests interfere with ----------------------------------------------------------------------------

    def trade_by_hand(
        self,
        account: str,
        symbol: str,
        side: OrderSide,
        quantity: Decimal,
        *,
        price: Decimal | None = None,
        cause: str = "order",
    ) -> Trade:
        """Trade as someone else at this account would: no client id, no checks; at the market unless a price is given.

        `cause` is told with the trade (`liquidated`, `adl`). Nobody is notified.
        """
        with self._lock, self._tables.transaction(durable=True):
            quote = self._require_quote(symbol)
            row = OrderRow(
                id=0,
                account=account,
                symbol=symbol,
                client_order_id="",
                kind=OrderKind.MARKET,
                side=side,
                quantity=quantity,
                filled=ZERO,
                state=OrderState.OPEN,
                reduce_only=False,
                trigger_price=None,
                trigger_source=None,
                updated_at=quote.at,
            )
            return self.matching.trade_by_hand(row, quote, price=price, cause=cause)

    def alter_by_hand(
        self,
        account: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        reduce_only: bool | None = None,
        position_wide: bool | None = None,
    ) -> None:
        """Change the open order of this client id, as no exchange should. Nobody is notified."""
        changes = (None if quantity is None else str(quantity), reduce_only, position_wide)
        with self._lock, self._tables.transaction(durable=True):
            self._tables.execute(
                "UPDATE orders SET quantity = COALESCE(?, quantity), reduce_only = COALESCE(?, reduce_only),"
                " position_wide = COALESCE(?, position_wide)"
                " WHERE state = 'open' AND account = ? AND client_order_id = ?",
                (*changes, account, client_order_id),
            )

    # -- inside a transaction ------------------------------------------------------------------------------------------

    def _accept(self, request: OrderRequest) -> OrderRow:
        if request.client_order_id and self._tables.is_open(request.account, request.client_order_id):
            raise OrderRejected("duplicate_id", f"an open order has the client id {request.client_order_id}")
        quote = self._require_quote(request.symbol)
        stop, limit = request.kind is OrderKind.STOP_MARKET, request.kind is OrderKind.LIMIT
        if stop:
            reference = self._checked_trigger(request, quote)
        elif limit:
            reference = check_limit(request, self.instruments[request.symbol])
        else:
            reference = market_price(quote, request.side)
        check_quantity(request, self.instruments[request.symbol], reference)
        held, _ = self._tables.position(request.account, request.symbol)
        if request.reduce_only and not reducible(held, request.side):
            raise OrderRejected("reduce_only", f"the position is {held}: there is nothing to reduce")
        order = self._tables.add_order(
            OrderRow(
                id=0,
                account=request.account,
                symbol=request.symbol,
                client_order_id=request.client_order_id,
                kind=request.kind,
                side=request.side,
                quantity=request.quantity,
                filled=ZERO,
                state=OrderState.OPEN,
                reduce_only=request.reduce_only,
                trigger_price=request.trigger_price if stop else None,
                trigger_source=(request.trigger_source or Source.MARK) if stop else None,
                updated_at=quote.at,
                limit_price=request.limit_price if limit else None,
            )
        )
        return order if stop else self.matching.arrive(order, quote)

    def _is_due(self, order: OrderRow, quote: Quote) -> bool:
        return triggered(order, quote) or is_crossed(order, quote)

    def _checked_trigger(self, request: OrderRequest, quote: Quote) -> Decimal:
        """The trigger price of a stop that may rest. Raises OrderRejected and VenueUnavailable."""
        trigger = request.trigger_price
        if trigger is None or trigger <= 0 or trigger % self.instruments[request.symbol].tick_size:
            raise OrderRejected("price_tick", f"the trigger price {trigger} is not on the tick")
        source = request.trigger_source or Source.MARK
        if source not in _TRIGGERS:
            raise VenueUnavailable("unsupported_trigger", f"stops are triggered by mark or last, not by {source.value}")
        if is_through(request.side, trigger, source, quote):
            raise OrderRejected("would_trigger", f"the {source.value} price is already through {trigger}")
        resting = [
            order
            for order in self._tables.open_orders(request.account, request.symbol)
            if order.kind is OrderKind.STOP_MARKET
        ]
        if len(resting) >= self.settings.maximum_stops:
            raise OrderRejected("too_many_stops", f"{len(resting)} stops rest already")
        return trigger

    def _read_order(self, account: str, symbol: str, order: OrderRow | None) -> OrderRead:
        held, _ = self._tables.position(account, symbol)
        told = None if order is None else self._tables.told(order)
        return OrderRead(order=told, venue_quantity=held, at=self._event_time(symbol))

    def _quote(self, symbol: str) -> Quote | None:
        row = self._tables.market(symbol)
        return row.quote if row else None

    def _event_time(self, symbol: str) -> Micros:
        if self.clock is not None:
            return self.clock()
        quote = self._quote(symbol)
        return quote.at if quote else 0

    def _require_quote(self, symbol: str) -> Quote:
        quote = self._quote(symbol)
        if quote is None:
            raise VenueUnavailable("no_price", f"{symbol} has no price yet")
        return quote if self.clock is None else replace(quote, at=self.clock())
