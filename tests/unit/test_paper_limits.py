"""The paper exchange's limit orders: where they rest, what fills them, and what ends them."""

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide
from actors.venues.base import CancelRequest, OrderRequest, VenueOrder
from actors.venues.paper_faults import Partial
from actors.venues.paper_ledger import PaperExchange
from tests.unit.test_paper_ledger import SYMBOL, D, Pit, settings


@pytest.fixture
def pit() -> Pit:
    """An exchange in memory at 60000, with a spread of 2, and a long of 0.1."""
    found = Pit(PaperExchange(settings(":memory:")))
    found.price(60000, bid=59999, ask=60001)
    found.buy("0.1")
    return found


def request(pit: Pit, price: object, quantity: str = "0.04", name: str = "limit", **changes: Any) -> OrderRequest:
    """A reduce-only limit order that sells."""
    side = changes.pop("side", OrderSide.SELL)
    usual = {"kind": OrderKind.LIMIT, "reduce_only": True, "limit_price": D(str(price))}
    return pit.order(name, side, quantity, **usual | changes)


def limit(pit: Pit, price: object, quantity: str = "0.04", name: str = "limit", **changes: Any) -> VenueOrder:
    """Send one that is taken."""
    order = pit.exchange.submit(request(pit, price, quantity, name, **changes), 0).order
    assert order is not None
    return order


def state(pit: Pit, name: str = "limit") -> tuple[OrderState, Decimal]:
    """What became of a limit order."""
    order = pit.found(name, OrderKind.LIMIT)
    return order.state, order.filled


def test_a_sell_limit_waits_for_the_bid_and_a_buy_limit_for_the_ask(pit: Pit) -> None:
    """The last price alone fills nothing; the fill is at the limit, however far the price jumped."""
    limit(pit, 60600)
    limit(pit, 59400, name="dip", side=OrderSide.BUY, reduce_only=False)
    assert pit.price(60600, bid=60599, ask=60601) == []
    (sold,) = pit.price(60900)
    assert [(trade.price, trade.quantity) for trade in sold.trades] == [(D(60600), D("0.04"))]
    assert pit.price(59400, bid=59399, ask=59401) == []
    (bought,) = pit.price(59000)
    assert bought.trades[0].price == D(59400)
    assert pit.held() == D("0.1")


def test_a_crossed_limit_takes_what_the_market_gives(pit: Pit) -> None:
    """It pays the taker fee like any other, and never rests."""
    order = limit(pit, 59000)
    assert (order.state, order.trades[0].price) == (OrderState.FILLED, D(59999))
    assert order.trades[0].fee == D("0.04") * 59999 * D("0.0005")


def test_what_rests_fills_oldest_first_and_no_more_than_is_held(pit: Pit) -> None:
    """The second of two orders for more than the position is capped by what the first left."""
    limit(pit, 60600, "0.07", "first")
    limit(pit, 60500, "0.07", "second")
    pit.price(60700)
    assert (state(pit, "first"), state(pit, "second")) == (
        (OrderState.FILLED, D("0.07")),
        (OrderState.EXPIRED, D("0.03")),
    )
    assert pit.held() == 0


def test_reduce_only_limits_end_with_the_position_and_others_stay(pit: Pit) -> None:
    """Also when somebody else closes it, and when a stop does."""
    limit(pit, 60600)
    limit(pit, 61000, name="open", reduce_only=False)
    limit(pit, 59000, name="dip", side=OrderSide.BUY, reduce_only=False)
    pit.exchange.trade_by_hand("main", SYMBOL, OrderSide.SELL, D("0.1"))
    assert state(pit) == (OrderState.EXPIRED, D(0))
    assert state(pit, "open")[0] is state(pit, "dip")[0] is OrderState.OPEN
    pit.buy("0.1", "again")
    limit(pit, 60600, name="next")
    pit.stop("0.1", "59500")
    pit.price(59400)
    assert (state(pit, "next"), pit.held()) == ((OrderState.EXPIRED, D(0)), D(0))


def test_a_limit_filled_in_part_rests_for_the_rest(pit: Pit) -> None:
    """With the next price only where that price is still good enough."""
    pit.exchange.matching.partial_fill = lambda _: Partial(D("0.01"))
    limit(pit, 60600)
    pit.price(60700)
    pit.exchange.matching.partial_fill = None
    assert state(pit) == (OrderState.OPEN, D("0.01"))
    pit.price(60500)
    assert state(pit) == (OrderState.OPEN, D("0.01"))
    pit.price(60600)
    assert [trade.price for trade in pit.found("limit", OrderKind.LIMIT).trades] == [D(60600), D(60600)]
    assert state(pit) == (OrderState.FILLED, D("0.04"))


def test_the_rest_of_a_limit_comes_after_a_time_or_goes_back_to_rest(pit: Pit) -> None:
    """When its time has come and the price has gone, it waits for its price again."""
    pit.exchange.matching.partial_fill = lambda _: Partial(D("0.01"), due_at=5)
    limit(pit, 60600)
    pit.price(60700)
    assert pit.price(60800) == []
    pit.price(60500)
    assert pit.exchange.fill_rests(5) == ()
    assert state(pit) == (OrderState.OPEN, D("0.01"))
    pit.exchange.matching.partial_fill = None
    pit.price(60600)
    assert state(pit) == (OrderState.FILLED, D("0.04"))


def test_a_limit_may_end_with_what_it_has(pit: Pit) -> None:
    """An exchange that cancels the rest."""
    pit.exchange.matching.partial_fill = lambda _: Partial(D("0.01"), ends=True)
    limit(pit, 60600)
    pit.price(60700)
    assert (state(pit), pit.held()) == ((OrderState.EXPIRED, D("0.01")), D("0.09"))


def test_a_cancelled_limit_fills_no_more(pit: Pit) -> None:
    """Cancelled in its own class; its price changes nothing any more."""
    limit(pit, 60600)
    cancel = CancelRequest(
        request_id="r",
        account="main",
        symbol=SYMBOL,
        client_order_id="limit",
        kind=OrderKind.LIMIT,
        signed_at=0,
        expires_after_seconds=5,
    )
    read = pit.exchange.cancel(cancel, 0)
    assert read.order is not None
    assert read.order.state is OrderState.CANCELLED
    assert pit.price(60700) == []


def test_limits_are_checked(pit: Pit) -> None:
    """On the tick, on the step, above the minimums (whose worth is reckoned at the limit where it may open)."""
    assert pit.refused(request(pit, "60600.05")) == "price_tick"
    assert pit.refused(request(pit, 60600, limit_price=None)) == "price_tick"
    assert pit.refused(request(pit, 60600, "0.0405")) == "quantity_step"
    assert pit.refused(request(pit, 60600, "0.0004")) == "below_minimum"
    assert pit.refused(request(pit, 100, "0.001", side=OrderSide.BUY, reduce_only=False)) == "below_minimum"
    assert pit.refused(request(pit, 59000, side=OrderSide.BUY)) == "reduce_only"


def test_limits_do_not_count_among_the_stops(pit: Pit) -> None:
    """The most stops an account may have are stops."""
    for number in range(pit.exchange.settings.maximum_stops):
        limit(pit, 61000 + number, "0.001", f"l{number}")
    assert pit.stop("0.1", "59000").state is OrderState.OPEN


def test_a_limit_turned_position_wide_closes_everything(pit: Pit) -> None:
    """What an exchange may do that takes a resting exit for one of the whole position."""
    limit(pit, 60600)
    pit.exchange.alter_by_hand("main", "limit", position_wide=True)
    assert pit.found("limit", OrderKind.LIMIT).position_wide
    (order,) = pit.price(60700)
    assert (order.quantity, order.filled, pit.held()) == (D("0.04"), D("0.1"), D(0))


def test_a_limit_altered_by_hand_tells_what_it_is(pit: Pit) -> None:
    """Its quantity and whether it only reduces."""
    limit(pit, 60600)
    pit.exchange.alter_by_hand("main", "limit", quantity=D("0.08"), reduce_only=False)
    order = pit.found("limit", OrderKind.LIMIT)
    assert (order.quantity, order.reduce_only, order.position_wide) == (D("0.08"), False, False)


def test_limits_outlive_the_process_and_an_older_file_learns_them(tmp_path: Path) -> None:
    """What rested goes on resting; a file without the columns gets them."""
    path = tmp_path / "paper.db"
    pit = Pit(PaperExchange(settings(path)))
    pit.price(60000)
    pit.buy("0.1")
    limit(pit, 60600)
    pit.exchange.close()
    pit = Pit(PaperExchange(settings(path)))
    pit.price(60700)
    assert state(pit) == (OrderState.FILLED, D("0.04"))
    pit.exchange.close()
    with sqlite3.connect(path) as file:
        file.execute("DROP INDEX orders_limits")
        for column in ("limit_price", "limit_hint", "position_wide"):
            file.execute(f"ALTER TABLE orders DROP COLUMN {column}")
    file.close()
    pit = Pit(PaperExchange(settings(path)))
    limit(pit, 60900, name="newer")
    pit.price(61000)
    assert state(pit, "newer") == (OrderState.FILLED, D("0.04"))
