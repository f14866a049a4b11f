"""What goes wrong at Hyperliquid: its sentences, its signatures, its pages, and what ccxt by itself would sign."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Source
from actors.venues.base import OrderRejected, OrderUnknown, VenueUnavailable
from actors.venues.ccxt.hyperliquid import Hyperliquid
from actors.venues.ccxt.hyperliquid_rows import bound, cause_of, state_of, tick_at
from tests.contract.live_trader import trading
from tests.contract.live_trouble import LiveTrouble, answered, conclude, failure, refusals
from tests.contract.standins.hyperliquid import PRIVATE_KEY, WALLET, HyperliquidStandin
from tests.contract.standins.server import Call
from tests.contract.test_venue_hyperliquid import NATIVE, HexTrader, hexed, settings, trading_at
from tests.contract.venue_contract import Trader


@pytest.fixture
def standin() -> Iterator[HyperliquidStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with HyperliquidStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: HyperliquidStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


def is_send(call: Call) -> bool:
    """Whether a call places an order at market."""
    return call.path == "/exchange" and call.action == "order" and "limit" in call.body["action"]["orders"][0]["t"]


def orders_of(standin: HyperliquidStandin) -> list[dict[str, Any]]:
    """Every order that was signed."""
    return [call.body["action"]["orders"][0] for call in standin.seen("order")]


class TestHyperliquidTrouble(LiveTrouble):
    """The suite."""

    secrets = (PRIVATE_KEY, PRIVATE_KEY.removeprefix("0x"))
    late_rejection = "iocCancelRejected"
    page = 500
    open = staticmethod(trading_at)
    is_send = staticmethod(is_send)

    @staticmethod
    def is_cancel(call: Call) -> bool:
        """Whether a call cancels."""
        return call.action == "cancelByCloid"

    @staticmethod
    def is_look_up(call: Call) -> bool:
        """Whether a call reads one order."""
        return call.action == "orderStatus"

    @staticmethod
    def is_list_of_fills(call: Call) -> bool:
        """Whether a call lists fills."""
        return call.action.startswith("userFills")

    @staticmethod
    def without_fills(text: str) -> str:
        """An empty list."""
        del text
        return "[]"


def action_error(sentence: str) -> str:
    """A whole action that is refused."""
    return json.dumps({"status": "err", "response": sentence})


def statuses(*told: Any) -> str:
    """What the orders of an action are answered."""
    return json.dumps({"status": "ok", "response": {"type": "order", "data": {"statuses": list(told)}}})


def order_error(sentence: str) -> str:
    """One order that is refused."""
    return statuses({"error": sentence})


@refusals(
    {
        "no such wallet": (action_error("User or API Wallet 0xaa does not exist."), OrderRejected, "auth"),
        "no money": (action_error("Must deposit before performing actions. User: 0xaa"), OrderRejected, "auth"),
        "deadline": (action_error("Action expired"), OrderRejected, "expired"),
        "tick": (order_error("Price must be divisible by tick size. asset=0"), OrderRejected, "price_tick"),
        "minimum": (order_error("Order must have minimum value of $10. asset=0"), OrderRejected, "below_minimum"),
        "margin": (order_error("Insufficient margin to place order. asset=0"), OrderRejected, "insufficient_margin"),
        "reduce-only": (
            order_error("Reduce only order would increase position. asset=0"),
            OrderRejected,
            "reduce_only",
        ),
        "through": (order_error("Invalid TP/SL price. asset=0"), OrderRejected, "would_trigger"),
        "size": (order_error("Order has invalid size."), OrderRejected, "quantity_step"),
        "duplicate": (order_error("Duplicate cloid"), OrderRejected, "duplicate_id"),
        "rate": (action_error("Too many cumulative requests sent (37986 > 10436)"), VenueUnavailable, "rate_limit"),
        "nonce": (action_error("Invalid nonce: duplicate nonce"), OrderUnknown, "action"),
        "expired agent": (action_error("Agent has expired"), OrderUnknown, "action"),
        "new sentence": (action_error("Something else"), OrderUnknown, "action"),
        "no match": (order_error("Order could not immediately match against any orders."), OrderUnknown, "order"),
        "words out of place": (action_error("Invalid TP/SL price."), OrderUnknown, "action"),
        "another order": (statuses({"filled": {"oid": 1, "cloid": "0xbb"}}), OrderUnknown, "no_answer"),
        "no id": (statuses({"resting": {}}), OrderUnknown, "no_answer"),
        "no status": (statuses(), OrderUnknown, "no_answer"),
        "two statuses": (statuses({"resting": {"oid": 1}}, {"resting": {"oid": 2}}), OrderUnknown, "no_answer"),
    }
)
def test_only_sentences_that_are_documented_as_not_executed_are_definite(
    trader: Trader, standin: HyperliquidStandin, body: str, error: type[Exception], code: str
) -> None:
    """Everything else is unknown, and was sent once."""
    concluded = conclude(trader, standin, is_send, body)
    assert (type(concluded), concluded.code) == (error, code)
    assert len(orders_of(standin)) == 1


# -- what is signed ----------------------------------------------------------------------------------------------------


def test_nothing_but_the_order_is_signed(trader: Trader, standin: HyperliquidStandin) -> None:
    """No builder is approved, no referrer named, no fee added."""
    trader.filled("a")
    trader.submit(trader.stop_order("s", trader.stop_below()))
    trader.cancel("s", OrderKind.STOP_MARKET)
    actions = [call.body["action"] for call in standin.seen("/exchange")]
    assert [action["type"] for action in actions] == ["order", "order", "cancelByCloid"]
    assert [action for action in actions if "builder" in action] == []


def test_actions_carry_their_deadline_and_nonces_of_their_own(trader: Trader, standin: HyperliquidStandin) -> None:
    """From the time the request was signed with, also where two requests have the same."""
    first = trader.order("a", expires_after_seconds=3.0)
    second = trader.order("b", signed_at=first.signed_at, expires_after_seconds=3.0)
    for request in (first, second):
        answered(trader.submit(request))
    calls = standin.seen("/exchange")
    # The exchange's clock and this machine's differ by what the measurement got wrong.
    assert all(abs(call.body["expiresAfter"] - (first.signed_at // 1000 + 3000)) < 1000 for call in calls)
    assert len({call.body["nonce"] for call in calls}) == 2


def test_our_ids_are_the_clients_ids_and_stops_have_their_own(trader: Trader, standin: HyperliquidStandin) -> None:
    """`0x` and our 32 digits; an entry and its stop are two orders with two ids."""
    trader.filled("a")
    trader.submit(trader.stop_order("s", trader.stop_below()))
    assert [order["c"] for order in orders_of(standin)] == [f"0x{hexed('a')}", f"0x{hexed('s')}"]
    calls = standin.seen("order")
    assert all(call.body["action"]["grouping"] == "na" and len(call.body["action"]["orders"]) == 1 for call in calls)


@pytest.mark.parametrize("side", list(OrderSide))
def test_an_order_at_market_is_bounded(trader: Trader, standin: HyperliquidStandin, side: OrderSide) -> None:
    """It fills at once or not at all, no worse than a twentieth away, at a price the exchange takes."""
    trader.filled("a", side=side)
    (order,) = orders_of(standin)
    assert order["t"] == {"limit": {"tif": "Ioc"}}
    worst = Decimal(60001) * Decimal("1.05") if side is OrderSide.BUY else Decimal(60000) * Decimal("0.95")
    assert abs(Decimal(order["p"]) - worst) <= 1


def test_without_a_price_nothing_is_sent_at_market(standin: HyperliquidStandin) -> None:
    """There is nothing to bound the order by."""
    with trading(settings(standin), HexTrader) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(trader.ready)
        standin.fail("l2Book", times=10, body="{}", status=500)
        error = failure(trader.submit(trader.order("a")))
        assert isinstance(error, VenueUnavailable)
        assert error.code == "no_price"
        assert orders_of(standin) == []


def test_a_stop_by_the_last_price_is_never_sent(trader: Trader, standin: HyperliquidStandin) -> None:
    """The exchange would trigger it by the mark price all the same."""
    trader.filled("a")
    stop = trader.stop_order("s", trader.stop_below(), trigger_source=Source.LAST)
    error = failure(trader.submit(stop))
    assert isinstance(error, VenueUnavailable)
    assert len(orders_of(standin)) == 1
    assert trader.venue.traits.stop_triggers == (Source.MARK,)


def test_an_order_below_ten_dollars_is_refused_by_the_exchange(trader: Trader) -> None:
    """Its quantity is fine, its value is not."""
    assert trader.refused(trader.order("a", quantity=Decimal("0.0001"))) == "below_minimum"


# -- what is read ------------------------------------------------------------------------------------------------------


def test_fills_that_do_not_say_whose_they_are_are_traced(trader: Trader, standin: HyperliquidStandin) -> None:
    """Their order is asked, once."""
    standin.cloids_with_fills = False
    first = trader.filled("a").trades[0]
    trader.filled("b")
    before = len([call for call in standin.seen("orderStatus") if isinstance(call.body["oid"], int)])
    for _ in range(2):
        assert [trade.client_order_id for trade in trader.account(first.at).trades] == ["a", "b"]
    asked = [call for call in standin.seen("orderStatus") if isinstance(call.body["oid"], int)]
    assert (before, len(asked)) == (0, 2)


def test_a_liquidation_of_somebody_else_is_an_ordinary_trade() -> None:
    """Both sides of it are told of the liquidation."""
    theirs = {"liquidation": {"liquidatedUser": "0x" + "cd" * 20}, "dir": "Open Long"}
    ours = {"liquidation": {"liquidatedUser": WALLET.upper().replace("X", "x")}, "dir": "Close Long"}
    assert [cause_of(row, WALLET) for row in (theirs, ours, {"dir": "Auto-Deleveraging"}, {})] == [
        "order",
        "liquidated",
        "adl",
        "order",
    ]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("open", OrderState.OPEN),
        ("triggered", OrderState.OPEN),
        ("filled", OrderState.FILLED),
        ("canceled", OrderState.CANCELLED),
        ("reduceOnlyCanceled", OrderState.CANCELLED),
        ("liquidatedCanceled", OrderState.CANCELLED),
        ("scheduledCancel", OrderState.CANCELLED),
        ("perpMarginRejected", OrderState.REJECTED),
        ("rejected", OrderState.REJECTED),
    ],
)
def test_every_documented_status_is_understood(status: str, state: OrderState) -> None:
    """There are dozens of reasons for a rejection or a cancellation."""
    assert state_of(status) is state


def test_a_key_that_is_no_api_wallet_of_the_account_is_told(standin: HyperliquidStandin) -> None:
    """Before anything is signed with it."""
    standin.revoked = True
    with trading(settings(standin), HexTrader) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any("no API wallet" in getattr(m, "detail", "") for m in trader.heard))
        assert isinstance(failure(trader.submit(trader.order("a"))), VenueUnavailable)
        assert standin.seen("/exchange") == []


def test_a_key_that_is_none_is_told_without_being_shown(standin: HyperliquidStandin) -> None:
    """A typing error in a secret must not end up in a log."""
    with trading(settings(standin, private_key="0xnothing-of-the-kind"), HexTrader) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any(getattr(m, "code", "") == "auth" for m in trader.heard))
        assert "nothing-of-the-kind" not in repr(trader.heard)


def test_candles_are_of_the_last_price_only(trader: Trader) -> None:
    """Of the mark price there are none, and that is said."""
    since = trader.runtime.clock.now() - 300 * 60_000_000
    last = trader.candles(Source.LAST, since)
    assert last.complete
    assert 298 <= len(last.candles) <= 300
    mark = trader.candles(Source.MARK, since)
    assert (mark.candles, mark.complete) == ((), False)


# -- prices it takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "size_decimals", "tick"),
    [
        ("60000", 5, "1"),
        ("123456", 5, "1"),
        ("9999.9", 5, "0.1"),
        ("3500", 4, "0.1"),
        ("150", 2, "0.01"),
        ("0.15", 0, "0.00001"),
        ("0.0123", 0, "0.000001"),
        ("1.5", 5, "0.1"),
    ],
)
def test_prices_have_five_figures_and_a_bounded_number_of_decimals(price: str, size_decimals: int, tick: str) -> None:
    """Six less those of the sizes; whole numbers are always taken."""
    assert tick_at(Decimal(price), size_decimals) == Decimal(tick)


def test_a_bound_is_rounded_towards_the_market() -> None:
    """It never allows more slippage than was meant."""
    assert bound(Decimal("3333.3"), OrderSide.BUY, Decimal("0.05"), 4) == Decimal("3499.9")
    assert bound(Decimal("3333.3"), OrderSide.SELL, Decimal("0.05"), 4) == Decimal("3166.7")


def test_what_ccxt_itself_would_sign_is_seen(standin: HyperliquidStandin) -> None:
    """Its first order also approves a builder's fee and names a referrer: the stand-in complains of both."""

    async def ask() -> None:
        config = {"walletAddress": WALLET, "privateKey": PRIVATE_KEY, **Hyperliquid.config(None)}
        exchange = import_module("ccxt.async_support").hyperliquid(config)
        Hyperliquid.point_at(exchange.urls, standin.url)
        try:
            await exchange.create_order(NATIVE, "market", "buy", 0.01, 60000, {"clientOrderId": f"0x{hexed('a')}"})
        finally:
            await exchange.close()

    with pytest.raises(Exception):  # noqa: B017 - what ccxt makes of it does not matter
        asyncio.run(ask())
    signed = " ".join(standin.complaints)
    standin.complaints.clear()
    assert "approveBuilderFee" in signed
    assert "setReferrer" in signed
