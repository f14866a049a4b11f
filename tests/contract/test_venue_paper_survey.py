"""A survey of many slots tells exactly what the single reads of each would tell."""

from pathlib import Path

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Source
from actors.survey import SlotAsked, SurveyedVenue
from actors.venues.base import OrderRequest
from actors.venues.paper import PaperVenue
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_market import Tick
from actors.venues.paper_settings import MarketSettings, PaperSettings, WalkSettings
from tests.unit.driver import START, D, quote

SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT", "D/USDT:USDT")
MINUTE = 60_000_000


@pytest.fixture
def exchange(tmp_path: Path) -> PaperExchange:
    """Four symbols with some minutes behind them: a stop at rest, one that has ended, a limit half filled, nothing."""
    walks = {name: WalkSettings(price=D(100), start=START) for name in SYMBOLS}
    made = PaperExchange(PaperSettings(path=tmp_path / "paper.db", market=MarketSettings(symbols=walks)))
    for symbol in SYMBOLS:
        step(made, symbol, 0)
    for number, symbol in enumerate(SYMBOLS[:3]):
        submit(made, symbol, f"entry-{symbol}", OrderSide.BUY if number < 2 else OrderSide.SELL)
    submit(made, SYMBOLS[0], "stop-1", OrderSide.SELL, kind=OrderKind.STOP_MARKET, price="90")
    submit(made, SYMBOLS[0], "stop-2", OrderSide.SELL, kind=OrderKind.STOP_MARKET, price="80")
    submit(made, SYMBOLS[1], "stop-3", OrderSide.SELL, kind=OrderKind.STOP_MARKET, price="99")
    submit(made, SYMBOLS[2], "limit-1", OrderSide.BUY, kind=OrderKind.LIMIT, price="95")
    for minute in range(1, 4):
        for symbol in SYMBOLS:
            step(made, symbol, minute, "98.5")
    return made


def step(exchange: PaperExchange, symbol: str, minute: int, price: str = "100") -> None:
    """One price, a minute after the one before."""
    previous = exchange.cursors().get(symbol, "")
    told = quote(price, at=START + minute * MINUTE)
    exchange.step(Tick(symbol=symbol, quote=told, cursor=f"c{minute}", previous=previous))


def submit(
    exchange: PaperExchange,
    symbol: str,
    order_id: str,
    side: OrderSide,
    *,
    kind: OrderKind = OrderKind.MARKET,
    price: str = "",
) -> None:
    """One order of an account that trades all of them."""
    exchange.submit(
        OrderRequest(
            request_id=order_id,
            account="a",
            symbol=symbol,
            client_order_id=order_id,
            kind=kind,
            side=side,
            quantity=D(2),
            reduce_only=kind is not OrderKind.MARKET,
            signed_at=START,
            expires_after_seconds=5.0,
            trigger_price=D(price) if kind is OrderKind.STOP_MARKET else None,
            trigger_source=Source.MARK if kind is OrderKind.STOP_MARKET else None,
            limit_price=D(price) if kind is OrderKind.LIMIT else None,
        ),
        START,
    )


@pytest.mark.parametrize("since", [0, START + 1, START + MINUTE, START + 2 * MINUTE, START + 9 * MINUTE])
def test_each_slot_is_told_as_the_single_reads_tell_it(exchange: PaperExchange, since: int) -> None:
    """Position, open orders, trades, candles, quote; orders that rest, that have ended, and that never were."""
    asked_ids = tuple(
        (order_id, kind)
        for order_id in ("stop-1", "stop-2", "stop-3", "limit-1", "entry-A/USDT:USDT", "never")
        for kind in (OrderKind.STOP_MARKET, OrderKind.MARKET, OrderKind.LIMIT)
    )
    sources = (Source.MARK, Source.LAST, Source.BID_ASK)
    asked = [
        SlotAsked(symbol=symbol, trades_since=since, orders=asked_ids, sources=sources, candles_since=since)
        for symbol in SYMBOLS
    ]
    found = exchange.survey("a", asked, 7)
    assert list(found) == list(SYMBOLS)
    for symbol, slot in found.items():
        read = exchange.read_account("a", symbol, since)
        assert (slot.position, slot.orders, slot.trades, slot.quote) == (
            read.position,
            read.orders,
            read.trades,
            read.quote,
        )
        assert slot.read_at == START + 3 * MINUTE
        assert slot.looked_up == tuple(exchange.look_up("a", symbol, name, kind).order for name, kind in asked_ids)
        candles = [exchange.candles(symbol, source, since) for source in sources]
        assert [(each.candles, each.complete) for each in slot.candles] == candles
        assert [each.source for each in slot.candles] == list(sources)


def test_what_it_is_compared_with_is_not_empty(exchange: PaperExchange) -> None:
    """The slots of the test above: two stops, one that was executed, a limit order, and one that is flat."""
    assert [order.client_order_id for order in exchange.read_account("a", SYMBOLS[0], 0).orders] == ["stop-1", "stop-2"]
    stop = exchange.look_up("a", SYMBOLS[1], "stop-3", OrderKind.STOP_MARKET).order
    assert stop is not None
    assert stop.state is OrderState.FILLED
    assert len(exchange.read_account("a", SYMBOLS[1], 0).trades) == 2
    assert exchange.read_account("a", SYMBOLS[2], 0).orders[0].kind is OrderKind.LIMIT
    assert exchange.read_account("a", SYMBOLS[3], 0).position is None
    assert len(exchange.candles(SYMBOLS[0], Source.MARK, 0)[0]) == 3


def test_a_minute_that_ends_later_is_told_later(exchange: PaperExchange) -> None:
    """What is remembered of the newest minute does not outlive it."""
    (asked,) = [SlotAsked(symbol=SYMBOLS[0], trades_since=0, orders=(), sources=(Source.MARK,), candles_since=0)]
    assert len(exchange.survey("a", [asked], 7)[SYMBOLS[0]].candles[0].candles) == 3
    step(exchange, SYMBOLS[0], 4)
    assert len(exchange.survey("a", [asked], 7)[SYMBOLS[0]].candles[0].candles) == 4


def test_what_is_not_traded_here_is_left_out(exchange: PaperExchange) -> None:
    """And must be asked for by itself; another account's slot is empty."""
    names = ("X/USDT:USDT", SYMBOLS[0])
    asked = [SlotAsked(symbol=name, trades_since=0, orders=(), sources=(), candles_since=0) for name in names]
    found = exchange.survey("b", asked, 7)
    assert list(found) == [SYMBOLS[0]]
    assert (found[SYMBOLS[0]].position, found[SYMBOLS[0]].orders, found[SYMBOLS[0]].trades) == (None, (), ())


def test_the_paper_venue_offers_it() -> None:
    """A keeper finds out by the venue itself."""
    assert issubclass(PaperVenue, SurveyedVenue)
