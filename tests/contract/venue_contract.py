"""What every venue must do, whoever it trades with. A venue's own test module subclasses `VenueContract`.

The suite drives a venue through its port alone, from an actor that notes what it is told.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pykka
import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Quote, Side, Source
from actors.runtime.base import Ref, Runtime
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    CancelRequest,
    CandlesAnswered,
    CandlesRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    PricesUpdated,
    RequestFailed,
    Venue,
    VenueOrder,
    VenueStatus,
)

ACCOUNT = "main"
SYMBOL = "BTC/USDT:USDT"


class Listener(pykka.ThreadingActor):
    """Notes everything it is told."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self.heard = heard

    def on_receive(self, message: Any) -> None:
        """Note it."""
        self.heard.append(message)


class Trader:
    """A test's hand on one venue: asks, lets the actors run until the answer is there, and returns it."""

    def __init__(self, venue: Venue, runtime: Runtime, until: Callable[[Callable[[], bool]], bool]) -> None:
        self.venue = venue
        self.runtime = runtime
        self.until = until
        self.heard: list[Any] = []
        self.requests = 0
        self.listener: Ref = runtime.spawn(Listener, self.heard)
        # Lets the market go to a price, where the test has it in hand.
        self.move_to: Callable[[Decimal], None] | None = None

    def begin(self) -> None:
        """Start, resume, and wait for the first price; of a venue that subscribes, also until it is ready."""
        self.venue.start(self.listener)
        if self.venue.traits.subscribes:
            assert self.until(self.ready)
            self.venue.watch(SYMBOL)
        self.venue.resume()
        assert self.until(lambda: bool(self.prices()))

    def ready(self) -> bool:
        """Whether the venue said last that it can be traded."""
        statuses = [message for message in self.heard if isinstance(message, VenueStatus)]
        return bool(statuses) and statuses[-1].ready

    def prices(self) -> list[PricesUpdated]:
        """Every price heard."""
        return [message for message in self.heard if isinstance(message, PricesUpdated)]

    def order(self, client_order_id: str, **changes: Any) -> OrderRequest:
        """A market buy of 0.01, with changes."""
        request = OrderRequest(
            request_id=self.next_id(),
            account=ACCOUNT,
            symbol=SYMBOL,
            client_order_id=client_order_id,
            kind=OrderKind.MARKET,
            side=OrderSide.BUY,
            quantity=Decimal("0.01"),
            reduce_only=False,
            signed_at=self.runtime.clock.now(),
            expires_after_seconds=5.0,
        )
        return replace(request, **changes)

    def stop_order(self, client_order_id: str, trigger_price: Decimal, **changes: Any) -> OrderRequest:
        """A reduce-only stop for a long of 0.01."""
        return self.order(
            client_order_id,
            **{
                "kind": OrderKind.STOP_MARKET,
                "side": OrderSide.SELL,
                "reduce_only": True,
                "trigger_price": trigger_price,
                "trigger_source": Source.MARK,
            }
            | changes,
        )

    def limit_order(self, client_order_id: str, limit_price: Decimal, **changes: Any) -> OrderRequest:
        """A reduce-only limit order that takes the profit of a long of 0.01."""
        return self.order(
            client_order_id,
            **{"kind": OrderKind.LIMIT, "side": OrderSide.SELL, "reduce_only": True, "limit_price": limit_price}
            | changes,
        )

    def limited(self, client_order_id: str, limit_price: Decimal, **changes: Any) -> VenueOrder:
        """Send a limit order that must be accepted."""
        answer = self.submit(self.limit_order(client_order_id, limit_price, **changes))
        assert isinstance(answer, OrderAnswered)
        assert answer.order is not None
        return answer.order

    def submit(self, request: OrderRequest) -> OrderAnswered | RequestFailed:
        """Send an order and return its outcome."""
        self.venue.submit(request)
        answer: OrderAnswered | RequestFailed = self._outcome(request.request_id)
        return answer

    def filled(self, client_order_id: str, **changes: Any) -> VenueOrder:
        """Send a market order that must fill."""
        answer = self.submit(self.order(client_order_id, **changes))
        assert isinstance(answer, OrderAnswered)
        assert answer.order is not None
        assert answer.order.state is OrderState.FILLED
        return answer.order

    def refused(self, request: OrderRequest) -> str:
        """Send an order that must be refused for certain; the code."""
        answer = self.submit(request)
        assert isinstance(answer, RequestFailed)
        assert isinstance(answer.error, OrderRejected)
        return answer.error.code

    def cancel(self, client_order_id: str, kind: OrderKind) -> OrderAnswered | RequestFailed:
        """Cancel an order and return the outcome."""
        request = CancelRequest(
            request_id=self.next_id(),
            account=ACCOUNT,
            symbol=SYMBOL,
            client_order_id=client_order_id,
            kind=kind,
            signed_at=self.runtime.clock.now(),
            expires_after_seconds=5.0,
        )
        self.venue.cancel(request)
        answer: OrderAnswered | RequestFailed = self._outcome(request.request_id)
        return answer

    def look_up(self, client_order_id: str, kind: OrderKind) -> OrderAnswered:
        """Read an order."""
        request = LookUpRequest(
            request_id=self.next_id(), account=ACCOUNT, symbol=SYMBOL, client_order_id=client_order_id, kind=kind
        )
        self.venue.look_up(request)
        answer = self._outcome(request.request_id)
        assert isinstance(answer, OrderAnswered)
        return answer

    def account(self, trades_since: int = 0) -> AccountAnswered:
        """Read the account."""
        request = AccountRequest(request_id=self.next_id(), account=ACCOUNT, symbol=SYMBOL, trades_since=trades_since)
        self.venue.read_account(request)
        answer = self._outcome(request.request_id)
        assert isinstance(answer, AccountAnswered)
        return answer

    def candles(self, source: Source = Source.MARK, since: int = 0) -> CandlesAnswered:
        """Read candles."""
        request = CandlesRequest(request_id=self.next_id(), account=ACCOUNT, symbol=SYMBOL, source=source, since=since)
        self.venue.read_candles(request)
        answer = self._outcome(request.request_id)
        assert isinstance(answer, CandlesAnswered)
        return answer

    def quote(self) -> Quote:
        """The present quote."""
        quote = self.account().quote
        assert quote is not None
        return quote

    def stop_below(self) -> Decimal:
        """A trigger price on the tick, a tenth below the market."""
        tick = next(item.tick_size for item in self.venue.instruments() if item.symbol == SYMBOL)
        mark = self.quote().mark
        assert mark is not None
        return (mark * Decimal("0.9") / tick).to_integral_value() * tick

    def profit_above(self) -> Decimal:
        """A limit price on the tick, a tenth above the market."""
        tick = next(item.tick_size for item in self.venue.instruments() if item.symbol == SYMBOL)
        mark = self.quote().mark
        assert mark is not None
        return (mark * Decimal("1.1") / tick).to_integral_value() * tick

    def moved_to(self, price: Decimal) -> None:
        """Let the market go to a price and wait until it is there."""
        if self.move_to is None:
            pytest.skip("nobody can move this market")
        self.move_to(price)
        assert self.until(lambda: self.prices()[-1].quote.last == price)

    def next_id(self) -> str:
        """A request id not used before."""
        self.requests += 1
        return f"request-{self.requests}"

    def _outcome(self, request_id: str) -> Any:
        def answered() -> list[Any]:
            return [message for message in self.heard if getattr(message, "request_id", "") == request_id]

        assert self.until(lambda: bool(answered()))
        return answered()[0]


class VenueContract:
    """The suite. A subclass provides the fixture `trader`, flat and without orders, on a symbol with a price."""

    @pytest.fixture
    def trader(self) -> Trader:
        """A trader on the venue under test."""
        raise NotImplementedError

    def test_instruments_are_known_once_it_is_ready(self, trader: Trader) -> None:
        """A plan can be checked at once. A venue that does not subscribe was ready when `start` returned."""
        assert SYMBOL in [instrument.symbol for instrument in trader.venue.instruments()]

    def test_a_market_order_answers_with_its_trades(self, trader: Trader) -> None:
        """The answer to a submission carries what was executed, and the position after it."""
        answer = trader.submit(trader.order("a"))
        assert isinstance(answer, OrderAnswered)
        assert answer.order is not None
        assert answer.order.filled == sum(trade.quantity for trade in answer.order.trades) == Decimal("0.01")
        assert all(trade.client_order_id == "a" and trade.fee >= 0 for trade in answer.order.trades)
        assert answer.venue_quantity == Decimal("0.01")

    def test_a_short_is_read_as_a_negative_quantity(self, trader: Trader) -> None:
        """The size read with an order is signed; the account's position has a side."""
        trader.filled("a", side=OrderSide.SELL)
        assert trader.look_up("a", OrderKind.MARKET).venue_quantity == Decimal("-0.01")
        position = trader.account().position
        assert position is not None
        assert (position.side, position.quantity) == (Side.SHORT, Decimal("0.01"))

    def test_a_filled_order_is_found_by_its_client_id(self, trader: Trader) -> None:
        """Looked up before any resend: a terminal order is found with all its trades."""
        sent = trader.filled("a")
        found = trader.look_up("a", OrderKind.MARKET).order
        assert found is not None
        assert (found.state, found.trades) == (OrderState.FILLED, sent.trades)

    def test_an_order_never_sent_is_not_found(self, trader: Trader) -> None:
        """Absence is an answer of its own."""
        assert trader.look_up("never", OrderKind.MARKET).order is None

    def test_an_order_is_found_in_its_own_class_only(self, trader: Trader) -> None:
        """A look-up in the wrong class finds nothing, so the class is part of what must be remembered."""
        trader.filled("a")
        assert trader.look_up("a", OrderKind.STOP_MARKET).order is None

    def test_a_reduce_only_order_cannot_open(self, trader: Trader) -> None:
        """Flat: there is nothing to reduce."""
        assert trader.refused(trader.order("a", reduce_only=True)) == "reduce_only"

    def test_a_reduce_only_order_closes_no_more_than_the_position(self, trader: Trader) -> None:
        """It is capped, and the position ends flat rather than turned over."""
        trader.filled("a")
        answer = trader.submit(trader.order("b", side=OrderSide.SELL, reduce_only=True, quantity=Decimal("0.03")))
        assert isinstance(answer, OrderAnswered)
        assert answer.order is not None
        assert answer.order.filled == Decimal("0.01")
        assert answer.order.state is not OrderState.OPEN
        assert answer.venue_quantity == 0

    def test_a_stop_rests_and_is_read_back_everywhere(self, trader: Trader) -> None:
        """A stop at rest is open by its client id and among the account's open orders."""
        trader.filled("a")
        trigger = trader.stop_below()
        answer = trader.submit(trader.stop_order("s", trigger))
        assert isinstance(answer, OrderAnswered)
        found = trader.look_up("s", OrderKind.STOP_MARKET).order
        assert found is not None
        assert (found.state, found.trigger_price, found.reduce_only) == (OrderState.OPEN, trigger, True)
        assert [order.client_order_id for order in trader.account().orders] == ["s"]

    def test_a_cancelled_stop_is_gone_and_a_repeat_says_so(self, trader: Trader) -> None:
        """Cancelling answers with what became of the order, also the second time."""
        trader.filled("a")
        trader.submit(trader.stop_order("s", trader.stop_below()))
        for _ in range(2):
            answer = trader.cancel("s", OrderKind.STOP_MARKET)
            assert isinstance(answer, OrderAnswered)
            assert answer.order is not None
            assert answer.order.state is OrderState.CANCELLED
        assert trader.account().orders == ()

    def test_cancelling_the_unknown_finds_nothing(self, trader: Trader) -> None:
        """An order that never was is told as None."""
        answer = trader.cancel("never", OrderKind.STOP_MARKET)
        assert isinstance(answer, OrderAnswered)
        assert answer.order is None

    def test_cancelling_a_filled_order_tells_its_fill(self, trader: Trader) -> None:
        """A cancellation that came too late does not hide the execution."""
        trader.filled("a")
        answer = trader.cancel("a", OrderKind.MARKET)
        assert isinstance(answer, OrderAnswered)
        assert answer.order is not None
        assert (answer.order.state, answer.order.filled) == (OrderState.FILLED, Decimal("0.01"))

    def test_an_open_client_id_is_refused_a_second_time(self, trader: Trader) -> None:
        """Duplicates are refused while the first order is open."""
        trader.filled("a")
        trigger = trader.stop_below()
        trader.submit(trader.stop_order("s", trigger))
        assert trader.refused(trader.stop_order("s", trigger)) == "duplicate_id"

    def test_a_filled_client_id_executes_again(self, trader: Trader) -> None:
        """Venues do not protect us from a resend: that is the keeper's own business."""
        first, second = trader.filled("a"), trader.filled("a")
        assert first.venue_order_id != second.venue_order_id
        position = trader.account().position
        assert position is not None
        assert position.quantity == Decimal("0.02")
        found = trader.look_up("a", OrderKind.MARKET).order
        assert found is not None
        assert found.venue_order_id == second.venue_order_id

    def test_a_request_past_its_expiry_is_rejected(self, trader: Trader) -> None:
        """A keeper that froze before sending wakes to a refusal."""
        late = trader.runtime.clock.now() - 60_000_000
        assert trader.refused(trader.order("a", signed_at=late)) == "expired"
        assert trader.look_up("a", OrderKind.MARKET).order is None

    def test_quantities_off_the_step_and_below_the_minimum_are_refused(self, trader: Trader) -> None:
        """Nothing is rounded for us."""
        assert trader.refused(trader.order("a", quantity=Decimal("0.0100001"))) == "quantity_step"
        assert trader.refused(trader.order("b", quantity=Decimal("0.0000001"))) == "below_minimum"

    def test_a_trigger_price_off_the_tick_is_refused(self, trader: Trader) -> None:
        """A stop's level must be a price the venue has."""
        trader.filled("a")
        off = trader.stop_below() + Decimal("0.0000001")
        assert trader.refused(trader.stop_order("s", off)) == "price_tick"

    def test_a_stop_already_through_is_refused(self, trader: Trader) -> None:
        """A stop that would trigger at once does not rest."""
        trader.filled("a")
        assert trader.refused(trader.stop_order("s", trader.stop_below() * 2)) == "would_trigger"

    # -- limit orders --------------------------------------------------------------------------------------------------

    def test_a_limit_order_rests_and_is_read_back_everywhere(self, trader: Trader) -> None:
        """It is open by its client id in the plain class, and among the account's open orders, with its price."""
        trader.filled("a")
        price = trader.profit_above()
        assert trader.limited("l", price).state is OrderState.OPEN
        found = trader.look_up("l", OrderKind.LIMIT).order
        assert found is not None
        assert (found.kind, found.state, found.limit_price) == (OrderKind.LIMIT, OrderState.OPEN, price)
        assert (found.quantity, found.filled) == (Decimal("0.01"), Decimal(0))
        assert found.trades == ()
        assert (found.reduce_only, found.position_wide, found.trigger_price) == (True, False, None)
        assert trader.account().orders == (found,)
        assert trader.look_up("l", OrderKind.STOP_MARKET).order is None

    def test_a_limit_order_fills_at_its_price_when_the_market_comes(self, trader: Trader) -> None:
        """No sooner, and no better than it asked for, however far the market jumps."""
        trader.filled("a")
        price = trader.profit_above()
        trader.limited("l", price)
        trader.moved_to(price - 10)
        assert trader.look_up("l", OrderKind.LIMIT).order == trader.account().orders[0]
        trader.moved_to(price + 10)
        found = trader.look_up("l", OrderKind.LIMIT)
        assert found.order is not None
        assert (found.order.state, found.order.filled, found.venue_quantity) == (
            OrderState.FILLED,
            Decimal("0.01"),
            Decimal(0),
        )
        assert [(trade.price, trade.client_order_id) for trade in found.order.trades] == [(price, "l")]
        assert trader.account().orders == ()

    def test_a_limit_order_that_is_crossed_already_fills_at_once_and_better(self, trader: Trader) -> None:
        """It is no refusal: the answer carries the trades, at the market's price."""
        trader.filled("a")
        low = trader.stop_below()
        order = trader.limited("l", low)
        assert order.state is OrderState.FILLED
        assert all(trade.price > low for trade in order.trades)
        assert trader.account().position is None

    def test_a_cancelled_limit_order_is_gone_and_a_repeat_says_so(self, trader: Trader) -> None:
        """Cancelling answers with what became of the order, also the second time; it takes no other with it."""
        trader.filled("a")
        trader.limited("l", trader.profit_above())
        trader.submit(trader.stop_order("s", trader.stop_below()))
        for _ in range(2):
            answer = trader.cancel("l", OrderKind.LIMIT)
            assert isinstance(answer, OrderAnswered)
            assert answer.order is not None
            assert answer.order.state is OrderState.CANCELLED
        assert [order.client_order_id for order in trader.account().orders] == ["s"]

    def test_an_open_limit_id_is_refused_a_second_time(self, trader: Trader) -> None:
        """A resend whose first request arrived after all places nothing."""
        trader.filled("a")
        price = trader.profit_above()
        trader.limited("l", price)
        assert trader.refused(trader.limit_order("l", price)) == "duplicate_id"
        assert len(trader.account().orders) == 1

    def test_a_reduce_only_limit_cannot_open(self, trader: Trader) -> None:
        """Flat: there is nothing to reduce, now or later."""
        assert trader.refused(trader.limit_order("l", trader.profit_above())) == "reduce_only"

    def test_a_reduce_only_limit_ends_with_the_position(self, trader: Trader) -> None:
        """Once nothing is left to reduce it is terminal, and finds nothing to eat in the next position."""
        trader.filled("a")
        trader.limited("l", trader.profit_above())
        trader.filled("b", side=OrderSide.SELL, reduce_only=True)
        found = trader.look_up("l", OrderKind.LIMIT).order
        assert found is not None
        assert found.state in (OrderState.CANCELLED, OrderState.EXPIRED)
        assert found.filled == 0
        assert trader.account().orders == ()

    def test_a_reduce_only_limit_closes_no_more_than_the_position(self, trader: Trader) -> None:
        """Where the position has shrunk below it, it is capped, and the position ends flat rather than turned over."""
        trader.filled("a", quantity=Decimal("0.03"))
        price = trader.profit_above()
        trader.limited("l", price, quantity=Decimal("0.03"))
        trader.filled("b", side=OrderSide.SELL, reduce_only=True, quantity=Decimal("0.02"))
        trader.moved_to(price)
        found = trader.look_up("l", OrderKind.LIMIT)
        assert found.order is not None
        assert (found.order.filled, found.venue_quantity) == (Decimal("0.01"), Decimal(0))
        assert found.order.state is not OrderState.OPEN

    def test_a_limit_price_off_the_tick_and_a_quantity_off_the_step_are_refused(self, trader: Trader) -> None:
        """Nothing is rounded for us."""
        trader.filled("a")
        price = trader.profit_above()
        assert trader.refused(trader.limit_order("l", price + Decimal("0.0000001"))) == "price_tick"
        assert trader.refused(trader.limit_order("l", price, quantity=Decimal("0.0050001"))) == "quantity_step"

    def test_an_unknown_symbol_is_refused(self, trader: Trader) -> None:
        """The refusal is definite."""
        assert trader.refused(trader.order("a", symbol="NO/SUCH:SUCH")) == "unknown_symbol"

    def test_trades_are_told_from_a_time_on(self, trader: Trader) -> None:
        """Trades since a moment include it, oldest first, each with an id of its own."""
        first = trader.filled("a").trades[0]
        second = trader.filled("b").trades[0]
        assert trader.account(first.at).trades == (first, second)
        assert trader.account(second.at + 1).trades == ()
        assert first.trade_id != second.trade_id

    def test_prices_have_every_source(self, trader: Trader) -> None:
        """Mark, last, bid and ask are told, bid not above ask: at once, or by several streams one after another."""

        def whole() -> list[Quote]:
            quotes = [prices.quote for prices in trader.prices()]
            return [quote for quote in quotes if quote.mark and quote.last and quote.bid and quote.ask]

        assert trader.until(lambda: bool(whole()))
        if not trader.venue.traits.subscribes:
            assert whole()[0] == trader.prices()[0].quote
        quote = whole()[0]
        assert quote.mark
        assert quote.last
        assert quote.bid
        assert quote.ask
        assert quote.bid <= quote.ask

    def test_nothing_is_told_after_stop(self, trader: Trader) -> None:
        """The listener is let go of."""
        trader.venue.stop()
        heard = len(trader.heard)
        trader.until(lambda: False)
        assert len(trader.heard) == heard
