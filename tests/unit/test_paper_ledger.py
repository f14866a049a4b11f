"""The paper exchange: what it executes, refuses, caps and remembers."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Quote, Side, Source
from actors.venues.base import (
    REJECTIONS,
    CancelRequest,
    OrderRejected,
    OrderRequest,
    OrderUnknown,
    VenueOrder,
    VenueUnavailable,
)
from actors.venues.paper_candles import KEPT_MINUTES, MINUTE
from actors.venues.paper_checks import moved
from actors.venues.paper_faults import Partial
from actors.venues.paper_ledger import CursorMoved, PaperExchange
from actors.venues.paper_market import Tick
from actors.venues.paper_settings import MarketSettings, PaperSettings, WalkSettings
from actors.venues.paper_tables import LedgerError, PaperTables

SYMBOL = "BTC/USDT:USDT"
D = Decimal
SECOND = 1_000_000


def settings(path: Path | str, **changes: Any) -> PaperSettings:
    """An exchange with one symbol."""
    return replace(
        PaperSettings(path=path, market=MarketSettings(symbols={SYMBOL: WalkSettings(price=D(60000))})), **changes
    )


class Pit:
    """An exchange whose prices the test calls out."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.exchange = exchange

    def price(self, last: object, *, bid: object = None, ask: object = None, mark: object = None) -> list[VenueOrder]:
        """Play a price, a second after the one before; the stops it triggered."""
        previous = self.exchange.cursors().get(SYMBOL, "")
        at = int(previous or 0) + SECOND
        price = D(str(last))
        quote = Quote(
            at=at,
            last=price,
            mark=price if mark is None else D(str(mark)),
            bid=price if bid is None else D(str(bid)),
            ask=price if ask is None else D(str(ask)),
        )
        executed = self.exchange.step(Tick(symbol=SYMBOL, quote=quote, previous=previous, cursor=str(at)))
        return [order for _, order in executed]

    def order(self, client_order_id: str, side: OrderSide, quantity: str, **changes: Any) -> OrderRequest:
        """A market order."""
        request = OrderRequest(
            request_id="r",
            account=changes.pop("account", "main"),
            symbol=SYMBOL,
            client_order_id=client_order_id,
            kind=OrderKind.MARKET,
            side=side,
            quantity=D(quantity),
            reduce_only=False,
            signed_at=0,
            expires_after_seconds=5,
        )
        return replace(request, **changes)

    def buy(self, quantity: str, client_order_id: str = "b", **changes: Any) -> VenueOrder:
        """Buy at the market."""
        return self._sent(self.order(client_order_id, OrderSide.BUY, quantity, **changes))

    def sell(self, quantity: str, client_order_id: str = "s", **changes: Any) -> VenueOrder:
        """Sell at the market."""
        return self._sent(self.order(client_order_id, OrderSide.SELL, quantity, **changes))

    def stop(self, quantity: str, trigger: str, client_order_id: str = "stop", **changes: Any) -> VenueOrder:
        """Rest a reduce-only stop that sells."""
        return self._sent(self.stop_request(quantity, trigger, client_order_id, **changes))

    def stop_request(self, quantity: str, trigger: str, client_order_id: str = "stop", **changes: Any) -> OrderRequest:
        """A reduce-only stop that sells."""
        return self.order(
            client_order_id,
            changes.pop("side", OrderSide.SELL),
            quantity,
            **{"kind": OrderKind.STOP_MARKET, "reduce_only": True, "trigger_price": D(trigger)} | changes,
        )

    def held(self) -> Decimal:
        """The signed size."""
        return self.exchange.look_up("main", SYMBOL, "", OrderKind.MARKET).venue_quantity

    def found(self, client_order_id: str, kind: OrderKind = OrderKind.STOP_MARKET) -> VenueOrder:
        """An order that exists."""
        order = self.exchange.look_up("main", SYMBOL, client_order_id, kind).order
        assert order is not None
        return order

    def refused(self, request: OrderRequest, now: int = 0) -> str:
        """The code that an order is refused with, one of the white list."""
        with pytest.raises(OrderRejected) as caught:
            self.exchange.submit(request, now)
        assert caught.value.code in REJECTIONS
        return caught.value.code

    def _sent(self, request: OrderRequest) -> VenueOrder:
        order = self.exchange.submit(request, 0).order
        assert order is not None
        return order


@pytest.fixture
def pit() -> Pit:
    """An exchange in memory at 60000, with a spread of 2."""
    found = Pit(PaperExchange(settings(":memory:")))
    found.price(60000, bid=59999, ask=60001)
    return found


def test_a_buy_pays_the_ask_and_a_sell_gets_the_bid(pit: Pit) -> None:
    """Market orders cross the spread, and pay the taker fee on what they trade."""
    bought, sold = pit.buy("0.02"), pit.sell("0.02")
    assert (bought.trades[0].price, sold.trades[0].price) == (D(60001), D(59999))
    assert bought.trades[0].fee == D("0.02") * 60001 * D("0.0005")
    assert pit.held() == 0


@pytest.mark.parametrize(
    ("held", "entry", "delta", "price", "after"),
    [
        ("0", "0", "2", "100", ("2", "100")),
        ("2", "100", "2", "110", ("4", "105")),
        ("-2", "100", "-2", "110", ("-4", "105")),
        ("4", "105", "-1", "200", ("3", "105")),
        ("-4", "105", "1", "50", ("-3", "105")),
        ("4", "105", "-4", "200", ("0", "0")),
        ("4", "105", "-6", "200", ("-2", "200")),
    ],
)
def test_a_position_moves_as_in_one_way_mode(held: str, entry: str, delta: str, price: str, after: Any) -> None:
    """Adding averages the entry, reducing keeps it, crossing zero begins anew."""
    assert moved(D(held), D(entry), D(delta), D(price)) == (D(after[0]), D(after[1]))


def test_a_reduce_only_order_is_capped_and_the_rest_expires(pit: Pit) -> None:
    """It ends as expired, filled by what there was."""
    pit.buy("0.01")
    order = pit.sell("0.03", reduce_only=True)
    assert (order.state, order.filled, pit.held()) == (OrderState.EXPIRED, D("0.01"), D(0))


def test_a_reduce_only_order_that_would_add_is_refused(pit: Pit) -> None:
    """Also a stop, and also when flat."""
    pit.buy("0.01")
    assert pit.refused(pit.order("a", OrderSide.BUY, "0.01", reduce_only=True)) == "reduce_only"
    assert pit.refused(pit.stop_request("0.01", "70000", side=OrderSide.BUY)) == "reduce_only"


def test_reduce_only_does_not_protect_a_partial_close(pit: Pit) -> None:
    """The incident: the same 60 % sent twice closes everything. That is why the keeper looks up before it resends."""
    pit.buy("0.010")
    pit.sell("0.006", "tp1", reduce_only=True)
    pit.sell("0.006", "tp1", reduce_only=True)
    assert pit.held() == 0


def test_a_stop_executes_at_the_price_that_triggered_it(pit: Pit) -> None:
    """Inclusive at its trigger, at the bid of that price, with its trade; a gap fills where the market is."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    assert pit.price("59000.1") == []
    (order,) = pit.price(58000, bid=57999, ask=58001)
    assert (order.state, order.filled, order.trades[0].price) == (OrderState.FILLED, D("0.01"), D(57999))
    assert pit.held() == 0
    assert pit.found("stop") == order


def test_a_stop_triggers_exactly_at_its_price(pit: Pit) -> None:
    """A float in the index must never decide: neighbours at the twentieth digit are told apart."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    assert pit.price("59000.00000000000001") == []
    assert len(pit.price("59000")) == 1


def test_a_buy_stop_protects_a_short(pit: Pit) -> None:
    """The mirror image."""
    pit.sell("0.01")
    pit.stop("0.01", "61000", side=OrderSide.BUY)
    assert pit.price("60999.9") == []
    assert pit.price(61000)[0].trades[0].side is OrderSide.BUY
    assert pit.held() == 0


def test_a_stop_follows_its_own_source(pit: Pit) -> None:
    """Mark and last trigger separately."""
    pit.buy("0.02")
    pit.stop("0.01", "59000", "by-mark", trigger_source=Source.MARK)
    pit.stop("0.01", "59000", "by-last", trigger_source=Source.LAST)
    assert [order.client_order_id for order in pit.price(58000, mark=60000)] == ["by-last"]
    assert [order.client_order_id for order in pit.price(60000, mark=58000)] == ["by-mark"]


def test_stops_trigger_in_the_order_they_were_placed(pit: Pit) -> None:
    """Two stops for one position: the older takes it, the younger finds too little and expires."""
    pit.buy("0.010")
    pit.stop("0.006", "59000", "older")
    pit.stop("0.010", "59500", "younger")
    older, younger = pit.price(58000)
    assert (older.client_order_id, older.state, older.filled) == ("older", OrderState.FILLED, D("0.006"))
    assert (younger.state, younger.filled) == (OrderState.EXPIRED, D("0.004"))
    assert pit.held() == 0


def test_a_stop_without_a_position_expires_unfilled(pit: Pit) -> None:
    """It never opens one."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    pit.exchange.trade_by_hand("main", SYMBOL, OrderSide.SELL, D("0.01"))
    (order,) = pit.price(58000)
    assert (order.state, order.filled, order.trades, pit.held()) == (OrderState.EXPIRED, D(0), (), D(0))


def test_a_cancelled_stop_never_triggers(pit: Pit) -> None:
    """Cancelled is terminal."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    request = CancelRequest(
        request_id="c",
        account="main",
        symbol=SYMBOL,
        client_order_id="stop",
        kind=OrderKind.STOP_MARKET,
        signed_at=0,
        expires_after_seconds=5,
    )
    pit.exchange.cancel(request, 0)
    assert pit.price(58000) == []
    assert pit.held() == D("0.01")
    with pytest.raises(OrderRejected, match="expiry"):
        pit.exchange.cancel(request, 6 * SECOND)


def test_a_client_id_is_free_again_once_its_order_is_terminal(pit: Pit) -> None:
    """Duplicates are refused among open orders of the account only, as real venues do."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    assert pit.refused(pit.stop_request("0.01", "58000")) == "duplicate_id"
    pit.buy("0.01", account="other")
    pit.stop("0.01", "50000", account="other")
    pit.price(58500)
    pit.buy("0.01")
    assert pit.stop("0.01", "57000").state is OrderState.OPEN


def test_requests_expire_by_wall_time(pit: Pit) -> None:
    """To the microsecond; one signed more than five seconds in the future is refused as well."""
    request = pit.order("a", OrderSide.BUY, "0.01", signed_at=100 * SECOND)
    assert pit.refused(request, 105 * SECOND + 1) == "expired"
    assert pit.refused(request, 95 * SECOND - 1) == "expired"
    assert pit.held() == 0
    pit.exchange.submit(request, 105 * SECOND)
    pit.exchange.submit(request, 95 * SECOND)
    assert pit.held() == D("0.02")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NO/SUCH:SUCH"}, "unknown_symbol"),
        ({"quantity": D("0.0015")}, "quantity_step"),
        ({"quantity": D("0.0005")}, "below_minimum"),
        ({"quantity": D(0)}, "below_minimum"),
        ({"quantity": D(-1)}, "below_minimum"),
    ],
)
def test_what_the_instrument_does_not_allow_is_refused(pit: Pit, change: Any, code: str) -> None:
    """Nothing is rounded."""
    assert pit.refused(replace(pit.order("a", OrderSide.BUY, "0.01"), **change)) == code


def test_reduce_only_is_spared_the_notional_minimum_only() -> None:
    """A position must stay closable however far its price has fallen; the quantity's minimum still holds."""
    limits = {SYMBOL: {"minimum_notional": D(100)}}
    pit = Pit(PaperExchange(settings(":memory:", limits=limits)))
    pit.price(60000)
    pit.buy("0.002")
    assert pit.refused(pit.order("a", OrderSide.BUY, "0.001")) == "below_minimum"
    assert pit.refused(pit.order("a", OrderSide.SELL, "0.0001", reduce_only=True)) == "below_minimum"
    assert pit.sell("0.001", reduce_only=True).state is OrderState.FILLED


def test_stops_are_limited_in_number_and_in_place(pit: Pit) -> None:
    """Already through, off the tick, or too many: refused."""
    pit.buy("0.01")
    assert pit.refused(pit.stop_request("0.01", "60000")) == "would_trigger"
    assert pit.refused(pit.stop_request("0.01", "59000.05")) == "price_tick"
    for n in range(pit.exchange.settings.maximum_stops):
        pit.stop("0.01", "59000", str(n))
    assert pit.refused(pit.stop_request("0.01", "59000")) == "too_many_stops"


def test_an_order_before_the_first_price_is_unavailable() -> None:
    """Definite: nothing was executed."""
    pit = Pit(PaperExchange(settings(":memory:")))
    with pytest.raises(VenueUnavailable, match="no price"):
        pit.buy("0.01")


def test_interference_by_hand_shows_in_position_and_trades(pit: Pit) -> None:
    """Somebody else trades in the account: the position shrinks by a trade without our id."""
    pit.buy("0.03")
    trade = pit.exchange.trade_by_hand("main", SYMBOL, OrderSide.SELL, D("0.01"), price=D(50000), cause="liquidated")
    assert (trade.client_order_id, trade.price, trade.cause) == ("", D(50000), "liquidated")
    read = pit.exchange.read_account("main", SYMBOL, 0)
    assert read.trades[-1] == trade
    assert read.position is not None
    assert (read.position.side, read.position.quantity, read.position.entry_price) == (Side.LONG, D("0.02"), D(60001))


def test_a_price_is_played_once(pit: Pit) -> None:
    """A step from a cursor that is not the ledger's changes nothing."""
    before = pit.exchange.cursors()
    stale = Tick(symbol=SYMBOL, quote=Quote(at=9, mark=D(1), last=D(1), bid=D(1), ask=D(1)), previous="", cursor="9")
    with pytest.raises(CursorMoved):
        pit.exchange.step(stale)
    assert pit.exchange.cursors() == before


def test_two_exchanges_on_one_file_see_each_other(tmp_path: Path) -> None:
    """Nothing is cached: what one writes the other decides by."""
    one = Pit(PaperExchange(settings(tmp_path / "paper.db")))
    two = Pit(PaperExchange(settings(tmp_path / "paper.db")))
    one.price(60000)
    two.buy("0.01")
    one.stop("0.01", "59000")
    assert two.refused(two.stop_request("0.01", "58000")) == "duplicate_id"
    assert [order.client_order_id for order in two.price(58000)] == ["stop"]
    assert one.held() == 0


def test_a_reopened_ledger_goes_on(tmp_path: Path) -> None:
    """Positions, orders, trades, quote and cursor are all in the file."""
    first = Pit(PaperExchange(settings(tmp_path / "paper.db")))
    first.price(60000)
    first.buy("0.01")
    first.stop("0.01", "59000")
    read, cursors = first.exchange.read_account("main", SYMBOL, 0), first.exchange.cursors()
    first.exchange.close()
    second = Pit(PaperExchange(settings(tmp_path / "paper.db")))
    assert second.exchange.read_account("main", SYMBOL, 0) == read
    assert second.exchange.cursors() == cursors
    assert second.buy("0.01").trades[0].trade_id == "2"


def test_a_failed_step_changes_nothing(pit: Pit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Price and executions are one transaction: a failure after the execution takes both back."""
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    before = pit.exchange.read_account("main", SYMBOL, 0)

    def failing(self: PaperTables, order: object) -> VenueOrder:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(PaperTables, "told", failing)
        with pytest.raises(RuntimeError):
            pit.price(58000)
    assert pit.exchange.read_account("main", SYMBOL, 0) == before
    assert len(pit.price(58000)) == 1


def test_a_ledger_that_fails_midway_leaves_the_order_unknown(pit: Pit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was executed must then be looked up; before the transaction began it is definitely not."""
    execute: Callable[..., Any] = PaperTables.execute

    def failing_at(word: str) -> Callable[..., Any]:
        def run(self: PaperTables, sql: str, *values: Any) -> Any:
            if sql.startswith(word):
                raise sqlite3.OperationalError("disk I/O error")
            return execute(self, sql, *values)

        return run

    for word, error in (("COMMIT", OrderUnknown), ("BEGIN", VenueUnavailable)):
        with monkeypatch.context() as patch:
            patch.setattr(PaperTables, "execute", failing_at(word))
            with pytest.raises(error):
                pit.buy("0.01")
    assert pit.held() == 0


def test_only_executions_and_orders_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price that triggers nothing commits without waiting; an order and a triggered stop do wait."""
    pit = Pit(PaperExchange(settings(tmp_path / "paper.db")))
    modes: list[str] = []
    execute: Callable[..., Any] = PaperTables.execute

    def watching(self: PaperTables, sql: str, *values: Any) -> Any:
        if sql == "COMMIT" and self._connection.in_transaction:
            (mode,) = execute(self, "PRAGMA synchronous").fetchone()
            modes.append({1: "normal", 2: "full"}[mode])
        return execute(self, sql, *values)

    monkeypatch.setattr(PaperTables, "execute", watching)
    pit.price(60000)
    assert modes == ["normal"]
    pit.buy("0.01")
    pit.stop("0.01", "59000")
    modes.clear()
    pit.price(58000)
    assert modes[-1] == "full"


def test_a_ledger_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """It is not guessed at."""
    path = tmp_path / "paper.db"
    tables = PaperTables(path)
    tables.execute("PRAGMA user_version=99")
    tables.close()
    with pytest.raises(LedgerError, match="newer release"):
        PaperExchange(settings(path))


def test_old_candles_are_dropped_and_missed() -> None:
    """The newest 1,500 minutes are kept; asking for more is answered as incomplete."""
    pit = Pit(PaperExchange(settings(":memory:")))
    cursor = ""
    for minute in range(KEPT_MINUTES + 12):
        quote = Quote(at=minute * MINUTE, mark=D(1), last=D(1), bid=D(1), ask=D(1))
        pit.exchange.step(Tick(symbol=SYMBOL, quote=quote, previous=cursor, cursor=str(minute)))
        cursor = str(minute)
    candles, complete = pit.exchange.candles(SYMBOL, Source.MARK, 0)
    assert (len(candles), complete) == (KEPT_MINUTES, False)
    recent, complete = pit.exchange.candles(SYMBOL, Source.MARK, candles[0].at)
    assert (recent, complete) == (candles, True)


def test_the_memory_of_what_rests_never_hides_an_order(tmp_path: Path) -> None:
    """Whatever two processes place, cancel and play: what a price executes is what a search of all orders finds."""
    chance = Random("nearest")
    pits = [Pit(PaperExchange(settings(tmp_path / "paper.db"))) for _ in range(2)]
    last = 60000
    pits[0].price(last)
    for account in "abcdefgh":
        pits[0].buy("1", account=account)
    executed = 0
    for number in range(400):
        pit, account = chance.choice(pits), chance.choice("abcdefgh")
        away = chance.randint(1, 300)
        request = pit.stop_request("0.001", str(last - away), f"s{number}", account=account)
        if chance.random() < 0.3:
            limits: dict[str, Any] = {"kind": OrderKind.LIMIT, "trigger_price": None, "limit_price": D(last + away)}
            request = replace(request, **limits)
        pit.exchange.submit(request, 0)
        if chance.random() < 0.3:
            some = chance.choice(pits).exchange
            name = f"s{chance.randint(0, number)}"
            for kind in (OrderKind.STOP_MARKET, OrderKind.LIMIT):
                cancel: dict[str, Any] = {
                    "request_id": "c",
                    "account": account,
                    "symbol": SYMBOL,
                    "client_order_id": name,
                }
                some.cancel(CancelRequest(**cancel, kind=kind, signed_at=0, expires_after_seconds=5), 0)
        last += chance.randint(-100, 100)
        expected = _due_by_search(tmp_path, last)
        assert [order.client_order_id for order in chance.choice(pits).price(last)] == expected
        executed += len(expected)
    assert executed > 100


def _due_by_search(folder: Path, last: int) -> list[str]:
    rows = sqlite3.connect(folder / "paper.db").execute(
        "SELECT client_order_id, CAST(trigger_price AS REAL), CAST(limit_price AS REAL) FROM orders"
        " WHERE state = 'open' ORDER BY id"
    )
    return [name for name, stop, limit in rows if (last <= stop if limit is None else last >= limit)]


def test_the_rest_of_a_limit_order_waits_for_its_price_again(pit: Pit) -> None:
    """It is looked for once more, though prices in between found nothing at rest."""
    pit.buy("0.02")
    limit: dict[str, Any] = {"kind": OrderKind.LIMIT, "reduce_only": True, "limit_price": D(61000)}
    pit.sell("0.02", "limit", **limit)
    pit.exchange.matching.partial_fill = lambda _: Partial(D("0.01"), due_at=7 * SECOND)
    assert [order.filled for order in pit.price(61000)] == [D("0.01")]
    assert pit.price(60000) == []
    assert pit.exchange.fill_rests(7 * SECOND) == ()
    pit.exchange.matching.partial_fill = None
    assert pit.price(60500) == []
    assert [order.filled for order in pit.price(61000)] == [D("0.02")]


def test_a_price_that_reaches_nothing_searches_nothing(pit: Pit, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many orders rest; one that was cancelled is searched for at most once more."""
    pit.buy("1")
    for number in range(50):
        pit.stop("0.001", str(50000 + number), f"s{number}")
    pit.stop("0.001", "59000", "near")
    pit.price(60000)
    cancel: dict[str, Any] = {"request_id": "c", "account": "main", "symbol": SYMBOL, "client_order_id": "near"}
    pit.exchange.cancel(CancelRequest(**cancel, kind=OrderKind.STOP_MARKET, signed_at=0, expires_after_seconds=5), 0)
    pit.price(58000)
    pit.price(58000)
    execute: Callable[..., Any] = PaperTables.execute
    searched: list[str] = []

    def watching(self: PaperTables, sql: str, *values: Any) -> Any:
        if "FROM orders" in sql:
            searched.append(sql)
        return execute(self, sql, *values)

    monkeypatch.setattr(PaperTables, "execute", watching)
    for price in (58000, 57000, 60000):
        pit.price(price)
    assert searched == []
