"""What the streams of Bybit, OKX and Hyperliquid are taken for: whose trade it was, and what has fallen silent."""

from decimal import Decimal
from typing import Any

import pytest

from actors.domain.model import OrderKind
from actors.venues.ccxt.bybit import Bybit
from actors.venues.ccxt.dialect import Dialect
from actors.venues.ccxt.hyperliquid import Hyperliquid
from actors.venues.ccxt.okx import Okx
from actors.venues.ccxt.plain import Marks
from actors.venues.ccxt.settings import CcxtSettings
from tests.contract.standins.bybit import BybitStandin
from tests.contract.standins.hyperliquid import HyperliquidStandin
from tests.contract.standins.market import Market, Order
from tests.contract.standins.okx import OkxStandin
from tests.contract.standins.server import Socket, Standin

OURS = "0123456789abcdef0123456789abcdef"
SYMBOL = "BTC/USDT:USDT"
PLACES: dict[str, tuple[type[Dialect], type[Standin], str]] = {
    "bybit": (Bybit, BybitStandin, "BTCUSDT"),
    "okx": (Okx, OkxStandin, "BTC-USDT-SWAP"),
    "hyperliquid": (Hyperliquid, HyperliquidStandin, "0"),
}


class Desk:
    """Notes what is reported."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: self.told.append((name, *args, *more.items()))

    def names(self) -> list[str]:
        """What was reported, without the details."""
        return [each[0] for each in self.told]


class Exchange:
    """As much of ccxt's object as reading a message takes."""

    def __init__(self, market_id: str) -> None:
        info = {"name": "BTC", "ctVal": "0.01"}
        market = {"id": market_id, "symbol": SYMBOL, "swap": True, "linear": True, "info": info}
        self.markets = {SYMBOL: market}

    def milliseconds(self) -> int:
        """Some time."""
        return 1_800_000_000_000


class Place:
    """One exchange's file, fed with what its stand-in would tell. The stand-in's server is never started."""

    def __init__(self, name: str) -> None:
        dialect, standin, market_id = PLACES[name]
        self.desk = Desk()
        self.dialect = dialect(CcxtSettings(exchange=name, account="main"), Exchange(market_id), self.desk)
        self.standin = standin()
        topics = {"order", "orders", "orders-algo", "orderUpdates", "userFills"}
        self.socket = Socket(None, topics)  # type: ignore[arg-type]

    @property
    def market(self) -> Market:
        """Where it happens."""
        return self.standin.market

    def happens(self, client_id: str, **changes: Any) -> Order:
        """An order at market, and what the streams tell of it."""
        order = Order(
            number=self.market.number(),
            client_id=client_id,
            **{"kind": "market", "side": "buy", "quantity": Decimal("0.01"), **changes},
        )
        self.market.place(order)
        self.tell(order)
        return order

    def tell(self, order: Order) -> None:
        """What the streams tell of an order."""
        for message in self.standin.told(self.socket, order):
            assert self.dialect.on_message("orders", message)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Each exchange."""
    return Place(request.param)


def test_our_own_trade_wakes_its_order_and_nothing_else(place: Place) -> None:
    """Reading everything after each of our own fills would use up the budget."""
    place.happens(OURS)
    assert ("order_changed", SYMBOL, OURS) in [each[:3] for each in place.desk.told]
    assert "foreign_trade" not in place.desk.names()


def test_a_stop_of_ours_that_triggers_is_no_foreign_trade(place: Place) -> None:
    """Also where a child without an id executes it."""
    place.happens(OURS[::-1])
    stop = {"kind": "stop", "side": "sell", "reduce_only": True, "trigger_price": Decimal(50000)}
    order = place.happens(OURS, **stop)
    place.market.move("49000")
    place.tell(order)
    assert ("order_changed", SYMBOL, OURS, OrderKind.STOP_MARKET) in place.desk.told
    assert "foreign_trade" not in place.desk.names()


@pytest.mark.parametrize("client_id", ["", "somebody-elses-order"])
def test_a_trade_of_somebody_else_lets_everything_be_read_again(place: Place, client_id: str) -> None:
    """Whether it has an id of another program or none."""
    place.happens(client_id)
    assert "foreign_trade" in place.desk.names()


@pytest.mark.parametrize("cause", ["liquidated", "adl"])
def test_what_the_exchange_closes_itself_lets_everything_be_read_again(place: Place, cause: str) -> None:
    """It is nobody's order."""
    place.happens(OURS)
    place.tell(place.market.seize(cause))
    assert "foreign_trade" in place.desk.names()


def test_an_order_of_somebody_else_that_only_rests_is_no_trade(place: Place) -> None:
    """It wakes nothing but itself."""
    place.happens("", kind="limit", limit_price=Decimal(50000))
    assert "foreign_trade" not in place.desk.names()


def test_fills_without_a_client_id_are_ours_where_their_order_is() -> None:
    """Hyperliquid does not always tell the id with the fill; the order's number was told before."""
    place = Place("hyperliquid")
    assert isinstance(place.standin, HyperliquidStandin)
    place.standin.cloids_with_fills = False
    place.happens(OURS)
    assert "foreign_trade" not in place.desk.names()
    place.happens("")
    assert "foreign_trade" in place.desk.names()


def test_a_mark_that_is_not_told_while_others_are_is_noticed() -> None:
    """One's silence says nothing while all are silent: that is noticed elsewhere."""
    now = [100.0]
    marks = Marks(15.0, lambda: now[0])
    marks.subscribed(["A", "B"])
    now[0] += 15
    assert marks.told("A") == ""
    now[0] += 1
    assert "the mark of B was not told for 16 s" in marks.told("A")
    assert marks.told("B") == ""
    assert marks.told("A") == ""
