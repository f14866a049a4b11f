"""What goes wrong at OKX: its codes, its classes of orders, its contracts, and what ccxt by itself would send."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, Source
from actors.venues.base import OrderRejected, OrderUnknown, RequestFailed, VenueStatus, VenueUnavailable
from actors.venues.ccxt.okx import Okx
from tests.contract.live_trader import trading
from tests.contract.live_trouble import LiveTrouble, conclude, failure, refusals
from tests.contract.standins.okx import KEY, PASSWORD, SECRET, OkxStandin
from tests.contract.standins.server import Call
from tests.contract.test_venue_okx import settings, trading_at
from tests.contract.venue_contract import SYMBOL, Trader


@pytest.fixture
def standin() -> Iterator[OkxStandin]:
    """The exchange, which must not have stumbled over anything it was sent."""
    with OkxStandin() as found:
        yield found
    assert found.complaints == []


@pytest.fixture
def trader(standin: OkxStandin) -> Iterator[Trader]:
    """A trader on a fresh account."""
    with trading_at(standin) as found:
        yield found


def is_send(call: Call) -> bool:
    """Whether a call places a plain order."""
    return (call.method, call.path) == ("POST", "/api/v5/trade/order")


class TestOkxTrouble(LiveTrouble):
    """The suite."""

    secrets = (KEY, SECRET, PASSWORD)
    open = staticmethod(trading_at)
    is_send = staticmethod(is_send)

    @staticmethod
    def is_cancel(call: Call) -> bool:
        """Whether a call cancels a stop."""
        return call.path == "/api/v5/trade/cancel-algos"

    @staticmethod
    def is_look_up(call: Call) -> bool:
        """Whether a call reads one order."""
        return (call.method, call.path) == ("GET", "/api/v5/trade/order")

    @staticmethod
    def is_list_of_fills(call: Call) -> bool:
        """Whether a call lists fills."""
        return "/trade/fills" in call.path

    @staticmethod
    def without_fills(text: str) -> str:
        """An empty page."""
        return json.dumps(json.loads(text) | {"data": []})


def told(code: str, words: str = "words") -> str:
    """A reply with a code of its own."""
    return json.dumps({"code": code, "msg": words, "data": []})


def row(code: str, words: str = "words", order_id: str = "") -> str:
    """A reply with a code in its row."""
    data = [{"sCode": code, "sMsg": words, "clOrdId": order_id, "ordId": ""}]
    return json.dumps({"code": "0" if code == "0" else "1", "msg": "All operations failed", "data": data})


@refusals(
    {
        "time": (told("50102"), OrderRejected, "expired"),
        "key": (told("50111"), OrderRejected, "auth"),
        "signature": (told("50113"), OrderRejected, "auth"),
        "passphrase": (told("50105"), OrderRejected, "auth"),
        "address": (told("50110"), OrderRejected, "auth"),
        "instrument": (row("51001"), OrderRejected, "unknown_symbol"),
        "margin": (row("51008"), OrderRejected, "insufficient_margin"),
        "duplicate": (row("51016"), OrderRejected, "duplicate_id"),
        "minimum": (row("51020"), OrderRejected, "below_minimum"),
        "lot": (row("51121"), OrderRejected, "quantity_step"),
        "nothing to reduce": (row("51169"), OrderRejected, "reduce_only"),
        "reduce-only": (row("51205"), OrderRejected, "reduce_only"),
        "exits": (row("51112"), OrderRejected, "blocked_by_exits"),
        "stops": (row("51261"), OrderRejected, "too_many_stops"),
        "take profit through": (row("51277"), OrderRejected, "would_trigger"),
        "stop through": (row("51280"), OrderRejected, "would_trigger"),
        "mode": (row("51000", "Parameter posSide error"), OrderRejected, "position_mode"),
        "rate": (told("50011"), VenueUnavailable, "rate_limit"),
        "rate of orders": (row("50061"), VenueUnavailable, "rate_limit"),
        "timeout": (told("50004"), OrderUnknown, "50004"),
        "timed out": (row("51149"), OrderUnknown, "51149"),
        "upgrading": (told("50001"), OrderUnknown, "50001"),
        "busy": (told("50013"), OrderUnknown, "50013"),
        "system": (told("50026"), OrderUnknown, "50026"),
        "parameter": (row("51000", "Parameter px error"), OrderUnknown, "51000"),
        "new": (row("59999"), OrderUnknown, "59999"),
        "another order": (row("0", "", "x"), OrderUnknown, "no_answer"),
        "no row": (told("0"), OrderUnknown, "no_answer"),
    }
)
def test_only_codes_that_are_documented_as_not_executed_are_definite(
    trader: Trader, standin: OkxStandin, body: str, error: type[Exception], code: str
) -> None:
    """Everything else is unknown, and was sent once."""
    concluded = conclude(trader, standin, is_send, body)
    assert (type(concluded), concluded.code) == (error, code)
    assert len([call for call in standin.calls if is_send(call)]) == 1


def test_sizes_travel_in_contracts_and_are_told_in_base_units(trader: Trader, standin: OkxStandin) -> None:
    """A contract is a hundredth of a bitcoin."""
    order = trader.filled("a", quantity=Decimal("0.0123"))
    (call,) = [call for call in standin.calls if is_send(call)]
    assert (call.body["sz"], call.body["tdMode"]) == ("1.23", "cross")
    assert (order.quantity, order.filled) == (Decimal("0.0123"), Decimal("0.0123"))
    position = trader.account().position
    assert position is not None
    assert position.quantity == Decimal("0.0123")


def test_orders_carry_their_deadline(trader: Trader, standin: OkxStandin) -> None:
    """In a header, from the time they were signed with."""
    request = trader.order("a", expires_after_seconds=3.0)
    trader.submit(request)
    (call,) = [call for call in standin.calls if is_send(call)]
    # The exchange's clock and this machine's differ by what the measurement got wrong.
    assert abs(int(call.headers["exptime"]) - (request.signed_at // 1000 + 3000)) < 1000


def test_an_order_past_its_deadline_is_unknown_and_absent(trader: Trader) -> None:
    """The exchange's own words for it do not say that nothing happened."""
    late = trader.order("a", signed_at=trader.runtime.clock.now() - 10_000_000)
    answer = trader.submit(late)
    assert isinstance(answer, RequestFailed)
    assert isinstance(answer.error, OrderUnknown)
    assert trader.look_up("a", OrderKind.MARKET).order is None


@pytest.mark.parametrize(("source", "name"), [(Source.MARK, "mark"), (Source.LAST, "last")])
def test_a_stop_is_an_algo_order_under_its_own_id(
    trader: Trader, standin: OkxStandin, source: Source, name: str
) -> None:
    """With its trigger's source, without a broker's tag, and in the list of its class."""
    trader.filled("a")
    trader.submit(trader.stop_order("s", trader.stop_below(), trigger_source=source))
    body = standin.seen("/trade/order-algo")[0].body
    assert (body["algoClOrdId"], body["clOrdId"], body["slTriggerPxType"]) == ("s", "s", name)
    assert (body["ordType"], body["reduceOnly"], "tag" in body) == ("conditional", True, False)
    assert [order.client_order_id for order in trader.account().orders] == ["s"]
    assert {call.query["ordType"] for call in standin.seen("orders-algo-pending")} >= {"conditional,oco", "trigger"}


def test_a_stop_already_through_is_refused_by_the_exchange(trader: Trader) -> None:
    """The refusal is definite."""
    trader.filled("a")
    assert trader.refused(trader.stop_order("s", Decimal(66000))) == "would_trigger"


def test_a_stop_whose_child_cannot_be_read_yet_is_not_told(trader: Trader, standin: OkxStandin) -> None:
    """It has triggered; what came of it is not known, and it is neither open nor gone."""
    trader.filled("a")
    stop = trader.stop_below()
    trader.submit(trader.stop_order("s", stop))
    standin.unborn = True
    trader.moved_to(stop)
    error = failure(LiveTrouble.raw_look_up(trader, trader.next_id(), "s", OrderKind.STOP_MARKET))
    assert isinstance(error, VenueUnavailable)
    standin.unborn = False
    found = trader.look_up("s", OrderKind.STOP_MARKET).order
    assert found is not None
    assert (found.state, found.filled) == (OrderState.FILLED, Decimal("0.01"))


def test_fills_of_the_last_months_are_told(trader: Trader, standin: OkxStandin) -> None:
    """The quick list reaches back three days; the rest is in the history, and nothing is told twice."""
    trader.filled("a")
    now, month = standin.market.fills[0].at, 30 * 86_400_000
    standin.market.fills[0].at = now - month
    trader.filled("b")
    trades = trader.account((now - month - 1000) * 1000).trades
    assert [trade.client_order_id for trade in trades] == ["a", "b"]


def test_long_short_mode_refuses_the_account(standin: OkxStandin) -> None:
    """Nothing is traded in it, and it is said what to do."""
    standin.hedge = True
    with trading(settings(standin.url)) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any(getattr(m, "code", "") == "position_mode" for m in trader.heard))
        status = next(m for m in trader.heard if isinstance(m, VenueStatus) and m.code == "position_mode")
        assert "net mode" in status.detail
        assert isinstance(failure(trader.submit(trader.order("a"))), VenueUnavailable)
        assert not [call for call in standin.calls if is_send(call)]


def test_long_short_mode_that_is_switched_on_later_is_noticed(trader: Trader, standin: OkxStandin) -> None:
    """By the first order it refuses."""
    standin.hedge = True
    assert trader.refused(trader.order("a")) == "position_mode"
    assert trader.until(lambda: not trader.ready())


def test_an_account_that_may_hold_no_swaps_is_told(standin: OkxStandin) -> None:
    """Before anything is tried with it."""
    standin.fail("/account/config", times=1000, edit=lambda text: text.replace('"acctLv": "2"', '"acctLv": "1"'))
    with trading(settings(standin.url)) as trader:
        trader.venue.start(trader.listener)
        assert trader.until(lambda: any("futures mode" in getattr(m, "detail", "") for m in trader.heard))


def test_candles_are_paged_and_complete(trader: Trader) -> None:
    """Of the mark and the last price; of bid and ask there are none."""
    since = trader.runtime.clock.now() - 250 * 60_000_000
    for source in (Source.MARK, Source.LAST):
        answer = trader.candles(source, since)
        assert answer.complete
        assert 248 <= len(answer.candles) <= 250
    assert not trader.candles(Source.BID_ASK, since).complete


def test_what_ccxt_itself_would_send_is_seen(standin: OkxStandin) -> None:
    """A stop with a client id says it in the field of plain orders: the stand-in finds no such stop afterwards."""

    async def ask() -> Any:
        exchange = import_module("ccxt.async_support").okx(
            {"apiKey": KEY, "secret": SECRET, "password": PASSWORD, **Okx.config(None)}
        )
        Okx.point_at(exchange.urls, standin.url)
        stop = {"stopLossPrice": 50000, "clientOrderId": "s", "reduceOnly": True, "tdMode": "cross"}
        try:
            return await exchange.create_order(SYMBOL, "market", "sell", 1, None, stop)
        finally:
            await exchange.close()

    # It carries no deadline either, which is what the stand-in stumbles over first.
    with pytest.raises(Exception):  # noqa: B017 - what ccxt makes of it does not matter
        asyncio.run(ask())
    assert "deadline" in standin.complaints.pop()
    (call,) = standin.seen("/trade/order-algo")
    assert (call.body.get("clOrdId"), call.body.get("algoClOrdId")) == ("s", None)
