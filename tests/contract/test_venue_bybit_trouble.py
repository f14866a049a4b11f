"""What goes wrong at Bybit: its codes, its pages, its modes, and what ccxt by itself would send."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Source
from actors.venues.base import OrderRejected, OrderUnknown, VenueStatus, VenueUnavailable
from actors.venues.ccxt.bybit import Bybit
from tests.contract.live_trader import trading
from tests.contract.live_trouble import LiveTrouble, answered, conclude, failure, refusals
from tests.contract.standins.bybit import KEY, SECRET, BybitStandin
from tests.contract.standins.server import Call
from tests.contract.test_venue_bybit import settings, trading_at
from tests.contract.venue_contract import SYMBOL, Trader


@pytest.fixture
def standin() -> Iterator[BybitStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with BybitStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: BybitStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


def is_send(call: Call) -> bool:
    """Whether a call places an order."""
    return call.path == "/v5/order/create"


class TestBybitTrouble(LiveTrouble):
    """The suite."""

    secrets = (KEY, SECRET)
    late_rejection = "EC_NoImmediateQtyToFill"
    open = staticmethod(trading_at)
    is_send = staticmethod(is_send)

    @staticmethod
    def is_cancel(call: Call) -> bool:
        """Whether a call cancels."""
        return call.path == "/v5/order/cancel"

    @staticmethod
    def is_look_up(call: Call) -> bool:
        """Whether a call reads one order."""
        return call.path.startswith("/v5/order/") and call.method == "GET"

    @staticmethod
    def is_list_of_fills(call: Call) -> bool:
        """Whether a call lists fills."""
        return call.path == "/v5/execution/list"

    @staticmethod
    def without_fills(text: str) -> str:
        """An empty page."""
        reply = json.loads(text)
        reply["result"] |= {"list": [], "nextPageCursor": ""}
        return json.dumps(reply)

    @staticmethod
    def pay(standin: Any, at: int, received: Decimal) -> None:
        """Bybit tells what was paid."""
        standin.fundings.append((at, -received))


def told(code: int, words: str = "words") -> str:
    """A reply with a code."""
    return json.dumps({"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}, "time": 1})


@refusals(
    {
        "time": (told(10002), OrderRejected, "expired"),
        "key": (told(10003), OrderRejected, "auth"),
        "signature": (told(10004), OrderRejected, "auth"),
        "permission": (told(10005), OrderRejected, "auth"),
        "address": (told(10010), OrderRejected, "auth"),
        "expired key": (told(33004), OrderRejected, "auth"),
        "margin": (told(110007), OrderRejected, "insufficient_margin"),
        "balance": (told(110012), OrderRejected, "insufficient_margin"),
        "reduce-only": (told(110017), OrderRejected, "reduce_only"),
        "duplicate": (told(110072), OrderRejected, "duplicate_id"),
        "rising": (told(110092), OrderRejected, "would_trigger"),
        "falling": (told(110093), OrderRejected, "would_trigger"),
        "value": (told(110094), OrderRejected, "below_minimum"),
        "stops": (told(110009), OrderRejected, "too_many_stops"),
        "mode": (told(10001, "position idx not match position mode"), OrderRejected, "position_mode"),
        "rate": (told(10006), VenueUnavailable, "rate_limit"),
        "rate of the address": (told(10018), VenueUnavailable, "rate_limit"),
        "timeout": (told(10000, "Server Timeout"), OrderUnknown, "10000"),
        "internal": (told(10016), OrderUnknown, "10016"),
        "restarting": (told(10019), OrderUnknown, "10019"),
        "parameter": (told(10001, "something else"), OrderUnknown, "10001"),
        "busy": (told(429), OrderUnknown, "429"),
        "new": (told(199999), OrderUnknown, "199999"),
        "another order": (
            told(0) and json.dumps({"retCode": 0, "result": {"orderLinkId": "x"}}),
            OrderUnknown,
            "no_answer",
        ),
    }
)
def test_only_codes_that_are_documented_as_not_executed_are_definite(
    trader: Trader, standin: BybitStandin, body: str, error: type[Exception], code: str
) -> None:
    """Everything else is unknown, and was sent once."""
    concluded = conclude(trader, standin, is_send, body)
    assert (type(concluded), concluded.code) == (error, code)
    assert len(standin.seen("/v5/order/create")) == 1


def test_orders_carry_their_window_and_our_id(trader: Trader, standin: BybitStandin) -> None:
    """The receive window of the request, the id in `orderLinkId`, one-way mode."""
    trader.filled("a", expires_after_seconds=3.0)
    (call,) = standin.seen("/v5/order/create")
    assert call.headers["x-bapi-recv-window"] == "3000"
    assert (call.body["orderLinkId"], call.body["positionIdx"], call.body["orderType"]) == ("a", 0, "Market")
    assert {read.headers["x-bapi-recv-window"] for read in standin.seen("/v5/order/realtime")} == {"5000"}


@pytest.mark.parametrize(("source", "name"), [(Source.MARK, "MarkPrice"), (Source.LAST, "LastPrice")])
def test_a_stop_says_what_price_triggers_it(trader: Trader, standin: BybitStandin, source: Source, name: str) -> None:
    """Left out, it would be the last price."""
    trader.filled("a")
    trader.submit(trader.stop_order("s", trader.stop_below(), trigger_source=source))
    body = standin.seen("/v5/order/create")[-1].body
    assert (body["triggerBy"], body["triggerDirection"], body["reduceOnly"]) == (name, 2, True)
    assert body["orderFilter"] == "StopOrder"


def test_a_stop_of_a_short_waits_for_the_price_to_rise(trader: Trader, standin: BybitStandin) -> None:
    """The other direction."""
    trader.filled("a", side=OrderSide.SELL)
    answer = trader.submit(trader.stop_order("s", Decimal(66000), side=OrderSide.BUY))
    assert answered(answer).state is OrderState.OPEN
    assert standin.seen("/v5/order/create")[-1].body["triggerDirection"] == 1


def test_a_stop_already_through_is_refused_by_the_exchange(trader: Trader) -> None:
    """Whichever way it looks."""
    trader.filled("a")
    assert trader.refused(trader.stop_order("s", Decimal(66000))) == "would_trigger"
    assert trader.refused(trader.stop_order("s", Decimal(50000), side=OrderSide.BUY)) == "would_trigger"


def test_an_order_below_the_minimum_value_is_refused_by_the_exchange(trader: Trader, standin: BybitStandin) -> None:
    """Its quantity is fine, its value is not."""
    trader.filled("a")
    standin.market.rules.minimum_notional = Decimal(1000)
    assert trader.refused(trader.order("b")) == "below_minimum"


def test_what_has_ended_is_found_in_the_history_too(trader: Trader, standin: BybitStandin) -> None:
    """After a restart of the exchange, recent orders are listed there alone."""
    trader.filled("a")
    standin.history_only = True
    found = trader.look_up("a", OrderKind.MARKET).order
    assert found is not None
    assert found.state is OrderState.FILLED
    assert standin.seen("/v5/order/history")


def test_trades_of_many_weeks_are_told(trader: Trader, standin: BybitStandin) -> None:
    """A request spans a week at most."""
    trader.filled("a")
    week = 7 * 86_400_000
    now = standin.market.fills[0].at
    standin.market.fills[0].at = now - 3 * week
    trader.filled("b")
    trades = trader.account((now - 3 * week - 1000) * 1000).trades
    assert [trade.client_order_id for trade in trades] == ["a", "b"]


def test_hedge_mode_refuses_the_account(standin: BybitStandin) -> None:
    """Nothing is traded in it, and it is said what to do."""
    standin.hedge = True
    with trading(settings(standin.url)) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any(getattr(m, "code", "") == "position_mode" for m in trader.heard))
        status = next(m for m in trader.heard if isinstance(m, VenueStatus) and m.code == "position_mode")
        assert "one-way" in status.detail
        assert isinstance(failure(trader.submit(trader.order("a"))), VenueUnavailable)
        assert standin.seen("/v5/order/create") == []


def test_hedge_mode_that_is_switched_on_later_is_noticed(trader: Trader, standin: BybitStandin) -> None:
    """By the first order it refuses."""
    standin.hedge = True
    assert trader.refused(trader.order("a")) == "position_mode"
    assert trader.until(lambda: not trader.ready())


def test_a_key_that_may_only_read_is_told(standin: BybitStandin) -> None:
    """Before anything is tried with it."""
    edit = {"edit": lambda text: text.replace('"readOnly": 0', '"readOnly": 1'), "times": 1000}
    standin.fail("/v5/user/query-api", **edit)
    with trading(settings(standin.url)) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any(getattr(m, "code", "") == "auth" for m in trader.heard))


def test_candles_are_paged_and_complete(trader: Trader) -> None:
    """Of the mark and the last price; of bid and ask there are none."""
    since = trader.runtime.clock.now() - 2500 * 60_000_000
    for source in (Source.MARK, Source.LAST):
        answer = trader.candles(source, since)
        assert answer.complete
        assert 2498 <= len(answer.candles) <= 2500
    assert (trader.candles(Source.BID_ASK, since).candles, trader.candles(Source.BID_ASK, since).complete) == (
        (),
        False,
    )


def test_what_ccxt_itself_would_send_is_seen(standin: BybitStandin) -> None:
    """A look-up by client id alone says `orderId=None`: the stand-in complains of it, so it would not pass here."""

    async def ask() -> None:
        exchange = import_module("ccxt.async_support").bybit({"apiKey": KEY, "secret": SECRET, **Bybit.config(None)})
        Bybit.point_at(exchange.urls, standin.url)
        try:
            await exchange.fetch_open_order(None, SYMBOL, {"clientOrderId": "a", "acknowledged": True})
        finally:
            await exchange.close()

    with pytest.raises(Exception):  # noqa: B017 - what ccxt makes of it does not matter
        asyncio.run(ask())
    assert "None" in standin.complaints.pop()
