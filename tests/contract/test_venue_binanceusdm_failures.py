"""What can go wrong at Binance USDM, row by row, each brought about at the server that speaks its dialect."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide, Source
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    OrderUnknown,
    OrderUpdated,
    PricesUpdated,
    RequestFailed,
    StreamRestored,
    VenueError,
    VenueOrder,
    VenueStatus,
    VenueUnavailable,
)
from actors.venues.ccxt.doctor import probe_account
from actors.venues.exchange_server import ExchangeServer
from tests.contract.live_trader import trading, until
from tests.contract.live_trouble import everything_logged
from tests.contract.test_venue_binanceusdm import settings
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Trader
from tests.exchange_world import KEY, control, running_exchange

OURS = "0123456789abcdef0123456789abcdef"
QUICK: dict[str, Any] = {"request_timeout_seconds": 1.0, "check_every_seconds": 0.2, "clock_every_seconds": 0.2}


class World:
    """A server, and a trader on it."""

    def __init__(self, server: ExchangeServer, trader: Trader) -> None:
        self.server = server
        self.trader = trader

    def fault(self, on: str, **what: Any) -> None:
        """One fault."""
        control(self.server.endpoint, "faults", {"on": on, **what})

    def does(self, path: str, method: str = "POST", **content: Any) -> Any:
        """Meddle with the exchange."""
        return control(self.server.endpoint, path, content, method)

    def price(self, price: object) -> None:
        """Let every price be this one."""
        self.does("price", symbol=SYMBOL, price=str(price))

    def by_hand(self, side: str, quantity: str | None, **more: Any) -> None:
        """An order by the account's owner."""
        size = {} if quantity is None else {"quantity": quantity}
        self.does("order", account=ACCOUNT, symbol=SYMBOL, side=side, **size, **more)

    def held(self) -> Decimal:
        """The position as the exchange itself knows it."""
        state = control(self.server.endpoint, "state", method="GET")
        return Decimal(state["accounts"][ACCOUNT]["positions"].get(SYMBOL, {}).get("quantity", "0"))

    def count(self, kind: type) -> int:
        """How many messages of a kind were told."""
        return sum(isinstance(message, kind) for message in self.trader.heard)

    def again(self, kind: type, what: Callable[[], object]) -> bool:
        """Whether one more message of a kind is told after something was done."""
        had = self.count(kind)
        what()
        return until(lambda: self.count(kind) > had)

    def obstacle(self) -> str:
        """What stands in the way, as told last."""
        statuses = [message for message in self.trader.heard if isinstance(message, VenueStatus)]
        return statuses[-1].code

    def error(self, request: OrderRequest) -> VenueError:
        """Send an order that gets no outcome; why."""
        answer = self.trader.submit(request)
        assert isinstance(answer, RequestFailed), answer
        return answer.error

    def answer(self, request_id: str) -> Any:
        """Wait for the answer to a request."""

        def answers() -> list[Any]:
            return [message for message in self.trader.heard if getattr(message, "request_id", "") == request_id]

        assert until(lambda: bool(answers()))
        return answers()[0]

    def found(self, order_id: str, kind: OrderKind = OrderKind.MARKET) -> VenueOrder:
        """An order that must be there."""
        order = self.trader.look_up(order_id, kind).order
        assert order is not None
        return order


@contextmanager
def a_world(
    folder: Path, *, begun: bool = True, exchange: dict[str, Any] | None = None, **more: Any
) -> Iterator[World]:
    """A server and a trader with settings of their own."""
    with running_exchange(folder, **(exchange or {})) as server, trading(settings(server.endpoint, **more)) as trader:
        if begun:
            trader.begin()
        yield World(server, trader)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A trader that waits for one second, and looks at its clock and its account often."""
    with a_world(tmp_path, **QUICK) as found:
        yield found


# -- requests without a clear answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "executed"),
    [
        ({"hang_after": 3}, True),
        ({"hang_before": 3}, None),
        ({"drop_after": True}, True),
        ({"drop_before": True}, False),
        ({"code": -1007, "executed": True}, True),
        ({"code": -1007}, False),
        ({"code": -1000, "status": 503, "executed": True}, True),
        ({"code": -1006, "executed": True}, True),
        ({"code": -9999}, False),
        ({"truncate": 20}, True),
        ({"truncate": 0}, True),
        ({"html": True, "executed": True}, True),
        ({"html": True, "status": 502}, False),
    ],
    ids=str,
)
def test_no_clear_answer_is_unknown_and_is_looked_up(world: World, fault: Any, executed: bool | None) -> None:
    """No answer, a cut, a timeout inside the exchange, a damaged reply, a code nobody documented: look it up."""
    world.fault("POST order", **fault)
    assert isinstance(world.error(world.trader.order("a")), OrderUnknown)
    if executed is None:
        # Still under way; it expires or executes there, and only once.
        return
    order = world.trader.look_up("a", OrderKind.MARKET).order
    assert (order is not None and order.state is OrderState.FILLED) is executed
    assert world.held() == (Decimal("0.01") if executed else 0)


def test_an_unknown_stop_is_looked_up_in_its_own_class(world: World) -> None:
    """A stop whose acceptance was lost rests all the same."""
    world.trader.filled("a")
    trigger = world.trader.stop_below()
    world.fault("POST algoOrder", drop_after=True)
    assert isinstance(world.error(world.trader.stop_order("s", trigger)), OrderUnknown)
    assert world.found("s", OrderKind.STOP_MARKET).state is OrderState.OPEN


def test_nobody_there_is_a_request_that_never_left(tmp_path: Path) -> None:
    """A connection that was refused proves that nothing was sent."""
    with a_world(tmp_path) as world:
        world.server.stop()
        error = world.error(world.trader.order("a"))
        assert isinstance(error, VenueUnavailable)
        assert error.code == "unreachable"


def test_an_acceptance_is_no_fill(world: World) -> None:
    """An order that is accepted and still reads as new is asked for again until its fill can be read."""
    world.fault("GET order", behind_executions=1, times=2)
    assert world.trader.filled("a").filled == Decimal("0.01")


def test_an_acceptance_whose_fill_stays_out_of_sight_is_unknown(world: World) -> None:
    """What cannot be read yet is looked up, not taken for an open order."""
    world.fault("GET order", behind_executions=1, times=0)
    assert isinstance(world.error(world.trader.order("a")), OrderUnknown)
    world.does("faults", "DELETE")
    assert world.found("a").state is OrderState.FILLED


def test_an_order_without_its_trades_is_not_told(world: World) -> None:
    """Executions may lag behind their order; half a fact is not told."""
    world.fault("GET userTrades", behind_executions=1, times=2)
    order = world.trader.filled("a")
    assert order.filled == sum(trade.quantity for trade in order.trades)


def test_an_answer_about_something_else_is_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ids must be ours: an answer without them says nothing about the order."""
    session: Any = world.trader.venue._session  # type: ignore[attr-defined]

    async def elsewhere(_params: Any) -> dict[str, Any]:
        return {"orderId": None, "clientOrderId": None}

    monkeypatch.setattr(session.dialect.exchange, "fapiPrivatePostOrder", elsewhere)
    session.dialect.exchange.fapiPrivatePostOrder = elsewhere
    error = world.error(world.trader.order("a"))
    assert isinstance(error, VenueError)
    assert not isinstance(error, OrderRejected)
    assert world.trader.look_up("a", OrderKind.MARKET).order is None


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (-2019, "insufficient_margin"),
        (-2021, "would_trigger"),
        (-2022, "reduce_only"),
        (-4118, "blocked_by_exits"),
        (-4045, "too_many_stops"),
        (-4061, "position_mode"),
        (-4116, "duplicate_id"),
        (-4164, "below_minimum"),
        (-4003, "below_minimum"),
        (-1013, "below_minimum"),
        (-1111, "quantity_step"),
        (-4014, "price_tick"),
        (-1121, "unknown_symbol"),
        (-2014, "auth"),
        (-1022, "auth"),
    ],
)
def test_a_documented_refusal_is_definite(world: World, code: int, meaning: str) -> None:
    """By the code in the body, whatever the host is called."""
    world.fault("POST order", code=code)
    assert world.trader.refused(world.trader.order("a")) == meaning
    assert world.held() == 0


def test_a_duplicate_leads_to_the_order_that_is_there(world: World) -> None:
    """The refusal is definite, and the look-up finds the first order."""
    world.trader.filled("a")
    trigger = world.trader.stop_below()
    world.trader.submit(world.trader.stop_order("s", trigger))
    assert world.trader.refused(world.trader.stop_order("s", trigger)) == "duplicate_id"
    assert world.found("s", OrderKind.STOP_MARKET).trigger_price == trigger


def test_too_many_stops_is_told_as_such(tmp_path: Path) -> None:
    """The exchange has a limit of its own."""
    with a_world(tmp_path, exchange={"maximum_stops": 1}) as world:
        world.trader.filled("a")
        trigger = world.trader.stop_below()
        assert isinstance(world.trader.submit(world.trader.stop_order("s", trigger)), OrderAnswered)
        assert world.trader.refused(world.trader.stop_order("t", trigger)) == "too_many_stops"


def test_a_reduction_of_nothing_is_refused_and_the_account_reads_flat(world: World) -> None:
    """Closed by hand a moment before: refused as reduce-only, and the next read says why."""
    first = world.trader.filled("a").trades[0]
    world.by_hand("SELL", "0.01", reduceOnly=True)
    request = world.trader.order("b", side=OrderSide.SELL, reduce_only=True)
    assert world.trader.refused(request) == "reduce_only"
    account = world.trader.account(first.at)
    assert account.position is None
    assert [trade.client_order_id.startswith("web_") for trade in account.trades] == [False, True]


@pytest.mark.parametrize(
    "fault",
    [
        {"code": -1008, "status": 503},
        {"code": -1000, "status": 503, "message": "Service Unavailable."},
        {"code": -1003, "status": 429, "retry_after": 1},
        {"code": -1015, "status": 429, "retry_after": 1},
        {"code": -1003, "status": 418, "retry_after": 1},
    ],
    ids=str,
)
def test_overload_and_limits_are_requests_that_were_not_executed(world: World, fault: Any) -> None:
    """Binance says of exactly these that nothing was done."""
    world.fault("POST order", **fault)
    assert isinstance(world.error(world.trader.order("a")), VenueUnavailable)
    assert world.held() == 0


def test_a_close_does_not_wait_behind_reads_when_the_exchange_says_to_wait(world: World) -> None:
    """After a 429 reads wait as long as it says, and a close goes out at once."""
    trader = world.trader
    trader.filled("a")
    world.fault("GET positionRisk", code=-1003, status=429, retry_after=3)
    read = AccountRequest(request_id="limited", account=ACCOUNT, symbol=SYMBOL, trades_since=0)
    trader.venue.read_account(read)
    assert isinstance(world.answer("limited"), RequestFailed)
    trader.venue.read_account(AccountRequest(request_id="waiting", account=ACCOUNT, symbol=SYMBOL, trades_since=0))
    close = trader.submit(trader.order("b", side=OrderSide.SELL, reduce_only=True))
    assert isinstance(close, OrderAnswered)
    assert isinstance(world.answer("waiting"), AccountAnswered)
    told = [getattr(message, "request_id", "") for message in trader.heard]
    assert told.index(close.request_id) < told.index("waiting")


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_a_request_is_signed_with_the_time_it_was_decided_at(world: World) -> None:
    """Not with the clock of the moment at which it is sent."""
    signed_at = world.trader.runtime.clock.now() - 2_000_000
    world.trader.submit(world.trader.order("a", signed_at=signed_at))
    asked = control(world.server.endpoint, "journal", method="GET")["requests"]
    sent = next(json.loads(one["parameters"]) for one in asked if one["client_order_id"] == "a")
    assert abs(int(sent["timestamp"]) - signed_at // 1000) < 1000
    assert sent["recvWindow"] == "5000"


def test_a_request_that_was_held_up_on_its_way_expires(world: World) -> None:
    """A keeper or a network that froze in between leaves a request that the exchange refuses."""
    world.fault("POST order", hang_before=0.8)
    assert world.trader.refused(world.trader.order("a", expires_after_seconds=0.5)) == "expired"
    assert world.trader.look_up("a", OrderKind.MARKET).order is None


def test_a_clock_that_is_set_wrong_is_measured_again(tmp_path: Path) -> None:
    """Refused as expired, for certain not executed; then the offset is measured, and the next order passes."""
    with a_world(tmp_path, clock_every_seconds=3600.0, check_every_seconds=3600.0) as world:
        world.does("clock", skew_ms=-30_000)
        assert world.trader.refused(world.trader.order("a")) == "expired"
        assert world.held() == 0
        session: Any = world.trader.venue._session  # type: ignore[attr-defined]
        assert until(lambda: session.wires.offset < -20_000_000)
        assert world.trader.filled("b").filled == Decimal("0.01")


def test_a_clock_that_is_off_from_the_beginning_is_allowed_for(tmp_path: Path) -> None:
    """Measured before anything else is asked."""
    with a_world(tmp_path, begun=False) as world:
        world.does("clock", skew_ms=60_000)
        world.trader.begin()
        assert world.trader.filled("a").filled == Decimal("0.01")


# -- fills -------------------------------------------------------------------------------------------------------------


def test_a_partial_fill_that_ends_is_told_with_what_it_filled(world: World) -> None:
    """The rest of a market order may never fill."""
    world.fault("fill", fill="0.004", rest="never")
    answer = world.trader.submit(world.trader.order("a"))
    assert isinstance(answer, OrderAnswered)
    assert answer.order is not None
    assert (answer.order.filled, answer.venue_quantity) == (Decimal("0.004"), Decimal("0.004"))
    assert answer.order.state in (OrderState.EXPIRED, OrderState.CANCELLED)


def test_a_partial_fill_that_goes_on_is_told_as_it_goes(world: World) -> None:
    """Its end is unknown until it is there; what has filled is told at once, and each execution once."""
    world.fault("fill", fill="0.004", rest="next_price")
    assert isinstance(world.error(world.trader.order("a")), OrderUnknown)
    assert (world.found("a").state, world.found("a").filled) == (OrderState.OPEN, Decimal("0.004"))
    updates = [message.order for message in world.trader.heard if isinstance(message, OrderUpdated)]
    assert Decimal("0.004") in [order.filled for order in updates]
    world.price("60000")
    assert until(lambda: world.found("a").state is OrderState.FILLED)
    assert [trade.quantity for trade in world.found("a").trades] == [Decimal("0.004"), Decimal("0.006")]


def test_a_triggered_stop_is_one_order_with_the_fill_of_its_child(world: World) -> None:
    """Told by the stream under the stop's own id, and read back so by the account."""
    entry = world.trader.filled("a").trades[0]
    trigger = world.trader.stop_below()
    world.trader.submit(world.trader.stop_order(OURS, trigger))
    world.price(trigger)

    def told() -> list[VenueOrder]:
        updates = [message.order for message in world.trader.heard if isinstance(message, OrderUpdated)]
        return [order for order in updates if order.client_order_id == OURS and order.state is OrderState.FILLED]

    assert until(lambda: bool(told()))
    found = world.found(OURS, OrderKind.STOP_MARKET)
    assert found.trades == told()[0].trades
    assert [(trade.client_order_id, trade.quantity) for trade in found.trades] == [(OURS, Decimal("0.01"))]
    assert world.trader.account(entry.at).trades == (entry, *found.trades)


def test_the_child_of_a_stop_is_known_after_a_restart(world: World) -> None:
    """Nothing is saved of it: the list of conditional orders says whose child it was."""
    entry = world.trader.filled("a").trades[0]
    trigger = world.trader.stop_below()
    world.trader.submit(world.trader.stop_order(OURS, trigger))
    world.trader.venue.stop()
    world.price(trigger)
    assert until(lambda: world.held() == 0)
    with trading(settings(world.server.endpoint)) as later:
        later.begin()
        assert [trade.client_order_id for trade in later.account(entry.at).trades] == ["a", OURS]


def test_cancelling_a_stop_that_triggered_meanwhile_tells_its_fill(world: World) -> None:
    """Gone does not mean cancelled."""
    world.trader.filled("a")
    trigger = world.trader.stop_below()
    world.trader.submit(world.trader.stop_order("s", trigger))
    world.price(trigger)
    answer = world.trader.cancel("s", OrderKind.STOP_MARKET)
    assert isinstance(answer, OrderAnswered)
    assert answer.order is not None
    assert (answer.order.state, answer.order.filled) == (OrderState.FILLED, Decimal("0.01"))
    assert answer.venue_quantity == 0


def test_a_cancellation_without_an_answer_is_followed_until_it_is_known(world: World) -> None:
    """The order itself says what became of it."""
    world.trader.filled("a")
    world.trader.submit(world.trader.stop_order("s", world.trader.stop_below()))
    world.fault("DELETE algoOrder", drop_after=True, times=2)
    answer = world.trader.cancel("s", OrderKind.STOP_MARKET)
    assert isinstance(answer, OrderAnswered)
    assert answer.order is not None
    assert answer.order.state is OrderState.CANCELLED


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_dropped_stream_comes_back_and_says_so(world: World) -> None:
    """Whatever it told meanwhile is lost: everything is to be read again."""
    assert world.again(StreamRestored, lambda: world.does("streams", drop="user"))
    trigger_before = world.count(OrderUpdated)
    world.trader.filled("a")
    assert until(lambda: world.count(OrderUpdated) > trigger_before)


def test_an_expired_listen_key_is_replaced(world: World) -> None:
    """The exchange says that the key is good no more; a new one is asked for."""
    assert world.again(StreamRestored, lambda: world.does("listen-keys", account=ACCOUNT))
    assert world.again(OrderUpdated, lambda: world.trader.filled("a"))


def test_a_silent_order_stream_is_found_out_by_rest(tmp_path: Path) -> None:
    """It is connected, it answers pings, it says nothing: positions that change unheard give it away."""
    with a_world(tmp_path, reckon_every_seconds=0.3) as world:
        world.trader.filled(OURS)
        world.does("streams", silence="user", seconds=60)
        had = world.count(StreamRestored)

        def reduced() -> bool:
            if world.held():
                world.by_hand("SELL", "0.001", reduceOnly=True)
            return world.count(StreamRestored) > had

        assert until(reduced)


def test_a_silent_price_stream_is_connected_anew(tmp_path: Path) -> None:
    """Prices flow again; they were only late, so nothing else is told."""
    with a_world(tmp_path, price_silence_seconds=0.5) as world:
        world.does("streams", silence="market", seconds=2)
        session: Any = world.trader.venue._session  # type: ignore[attr-defined]
        held = session.streams._held["market"]
        assert until(lambda: not held.up)
        assert world.again(PricesUpdated, lambda: None)
        assert world.count(StreamRestored) == 0


def test_dropped_price_streams_come_back(world: World) -> None:
    """And tell the prices of after the break."""
    world.does("streams", drop="market")
    world.price("61000")

    def known() -> bool:
        quote = world.trader.prices()[-1].quote
        return (quote.mark, quote.last, quote.bid) == (Decimal(61000),) * 3

    assert until(known)


def test_a_symbol_watched_later_is_followed_too(world: World) -> None:
    """Streams that are up subscribe it; after a break all are subscribed again."""
    other = "ETH/USDT:USDT"
    world.trader.venue.watch(other)
    assert until(lambda: {message.symbol for message in world.trader.prices()} == {SYMBOL, other})
    world.does("streams", drop="all")
    world.price("61000")
    world.does("price", symbol=other, price="3100")
    lasts: dict[str, Decimal | None] = {}

    def both() -> bool:
        lasts.update({message.symbol: message.quote.last for message in world.trader.prices()})
        return lasts == {SYMBOL: Decimal(61000), other: Decimal(3100)}

    assert until(both)


def test_no_price_is_told_before_resume(tmp_path: Path) -> None:
    """The keeper says when it is ready; the account can be read before."""
    with a_world(tmp_path, begun=False) as world:
        world.trader.venue.start(world.trader.listener)
        assert until(world.trader.ready)
        world.trader.venue.watch(SYMBOL)
        session: Any = world.trader.venue._session  # type: ignore[attr-defined]
        assert until(lambda: not session.quotes.unheard(SYMBOL))
        assert world.trader.prices() == []
        assert world.trader.quote().mark == Decimal(60000)
        assert world.again(PricesUpdated, world.trader.venue.resume)


# -- what happens to the account from outside --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "cause"), [("adl", "adl"), ("settle", "liquidated"), ("liquidate", "liquidated")], ids=str
)
def test_what_the_exchange_closes_itself_is_told_as_such(world: World, event: str, cause: str) -> None:
    """Its own orders have ids of their own; the account is to be read again."""
    entry = world.trader.filled(OURS).trades[0]
    assert world.again(StreamRestored, lambda: world.does(event, account=ACCOUNT, symbol=SYMBOL))
    account = world.trader.account(entry.at)
    assert account.position is None
    assert [trade.cause for trade in account.trades] == ["order", cause]


def test_what_the_owner_does_by_hand_is_told(world: World) -> None:
    """Trades under other ids than ours; the account is to be read again."""
    entry = world.trader.filled(OURS).trades[0]
    assert world.again(StreamRestored, lambda: world.by_hand("SELL", "0.004", reduceOnly=True))
    account = world.trader.account(entry.at)
    assert account.position is not None
    assert account.position.quantity == Decimal("0.006")
    assert [(trade.quantity, trade.cause) for trade in account.trades[1:]] == [(Decimal("0.004"), "order")]


def test_orders_of_others_are_listed_in_both_classes(world: World) -> None:
    """A stop for the whole position says that it is one."""
    world.trader.filled("a")
    world.by_hand("SELL", "0.01", type="LIMIT", price="70000", timeInForce="GTC", reduceOnly=True)
    world.by_hand("SELL", None, type="STOP_MARKET", triggerPrice="50000", closePosition=True)
    orders = world.trader.account().orders
    assert [order.kind for order in orders] == [OrderKind.LIMIT, OrderKind.STOP_MARKET]
    assert [order.position_wide for order in orders] == [False, True]


def test_funding_is_told_for_the_ledger_and_is_no_trade(world: World) -> None:
    """Positive when received."""
    entry = world.trader.filled("a").trades[0]
    world.does("fund", account=ACCOUNT, symbol=SYMBOL, amount="-1.25")
    account = world.trader.account(entry.at)
    assert [payment.amount for payment in account.fundings] == [Decimal("-1.25")]
    assert account.trades == (entry,)


def test_a_revoked_key_refuses_writes_and_is_told_until_it_is_good_again(world: World) -> None:
    """The stop at rest stays where it is; the account says what is in the way."""
    world.trader.filled("a")
    world.trader.submit(world.trader.stop_order("s", world.trader.stop_below()))
    world.does("keys", account=ACCOUNT)
    error = world.error(world.trader.order("b"))
    assert error.code == "auth"
    assert until(lambda: world.obstacle() == "auth")
    assert isinstance(world.error(world.trader.order("c")), VenueUnavailable)
    world.does("keys", account=ACCOUNT, revoked=False)
    assert until(world.trader.ready)
    assert [order.client_order_id for order in world.trader.account().orders] == ["s"]


def test_hedge_mode_is_told_with_its_remedy(world: World) -> None:
    """Requests fail as never sent until the account is back in one-way mode."""
    world.does("mode", account=ACCOUNT, dual=True)
    assert until(lambda: world.obstacle() == "position_mode")
    assert world.error(world.trader.order("a")).code == "position_mode"
    world.does("mode", account=ACCOUNT, dual=False)
    assert until(world.trader.ready)
    assert world.trader.filled("a").filled == Decimal("0.01")


def test_hedge_mode_at_the_start_keeps_the_account_from_being_ready(tmp_path: Path) -> None:
    """It begins when the mode is right."""
    with a_world(tmp_path, begun=False) as world:
        world.does("mode", account=ACCOUNT, dual=True)
        world.trader.venue.start(world.trader.listener)
        assert until(lambda: world.count(VenueStatus) > 0 and world.obstacle() == "position_mode")
        world.does("mode", account=ACCOUNT, dual=False)
        assert until(world.trader.ready)


# -- the doctor --------------------------------------------------------------------------------------------------------


def findings(world: World, **changes: Any) -> dict[str, list[str]]:
    """What the doctor says, by how grave it is."""
    found: dict[str, list[str]] = {}
    for finding in probe_account(settings(world.server.endpoint, **changes), world.trader.runtime.clock):
        assert finding.level == "ok" or finding.remedy
        found.setdefault(finding.level, []).append(finding.text)
    return found


def test_the_doctor_finds_a_good_account_good(world: World) -> None:
    """Clock, credentials, mode and permissions."""
    assert set(findings(world)) == {"ok"}


def test_the_doctor_says_what_is_wrong_and_what_to_do(world: World) -> None:
    """A clock that is off, a mode, a key, an exchange that is not there: each with a remedy, none with a secret."""
    world.does("clock", skew_ms=5_000)
    assert "ms apart" in findings(world)["warn"][0]
    world.does("mode", account=ACCOUNT, dual=True)
    assert "position_mode" in findings(world)["fail"][0]
    wrong = findings(world, secret="another-secret")["fail"]  # noqa: S106
    assert "another-secret" not in repr(wrong)
    assert findings(world, api_key="")["fail"]
    world.does("keys", account=ACCOUNT)
    assert findings(world)["fail"]
    world.server.stop()
    assert findings(world)["fail"] == ["no connection to binanceusdm"]


# -- reads -------------------------------------------------------------------------------------------------------------

READS = ["positionRisk", "openOrders", "openAlgoOrders", "userTrades", "ticker/bookTicker", "premiumIndex", "income"]


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize("fault", [{"html": True}, {"truncate": 1}, {"code": -1000}, {"drop_after": True}], ids=str)
def test_a_read_that_failed_in_part_has_failed(world: World, endpoint: str, fault: Any) -> None:
    """A failed query is not "flat", not "no orders", not "no trades"."""
    entry = world.trader.filled("a").trades[0]
    # A connection that broke makes the client ask once more by itself, for what only reads.
    world.fault(f"GET {endpoint}", times=0, **fault)
    request = AccountRequest(request_id="read", account=ACCOUNT, symbol=SYMBOL, trades_since=entry.at)
    world.trader.venue.read_account(request)
    answer = world.answer("read")
    assert isinstance(answer, RequestFailed)
    assert isinstance(answer.error, VenueUnavailable)


def test_a_failed_look_up_is_not_absence(world: World) -> None:
    """Only the exchange's own "does not exist" is."""
    world.trader.filled("a")
    world.fault("GET order", code=-1000, times=0)
    request = LookUpRequest(
        request_id="look", account=ACCOUNT, symbol=SYMBOL, client_order_id="a", kind=OrderKind.MARKET
    )
    world.trader.venue.look_up(request)
    assert isinstance(world.answer("look"), RequestFailed)


def test_a_position_that_changes_during_a_read_is_read_again(world: World) -> None:
    """The position and its trades are of one moment."""
    entry = world.trader.filled("a").trades[0]
    world.fault("GET openAlgoOrders", hang_after=0.5)
    request = AccountRequest(request_id="read", account=ACCOUNT, symbol=SYMBOL, trades_since=entry.at)
    world.trader.venue.read_account(request)
    taken = lambda: control(world.server.endpoint, "faults", method="GET")["rules"][0]["taken"]  # noqa: E731
    assert until(taken)
    world.by_hand("SELL", "0.004", reduceOnly=True)
    answer = world.answer("read")
    assert isinstance(answer, AccountAnswered)
    signed = [trade.quantity if trade.side is OrderSide.BUY else -trade.quantity for trade in answer.trades]
    assert answer.position is not None
    assert answer.position.quantity == sum(signed) == Decimal("0.006")


def test_candles_are_of_mark_and_last_only(world: World) -> None:
    """Of bid and ask there are none, and that is said."""
    assert not world.trader.candles(Source.BID_ASK).complete
    assert world.trader.candles(Source.BID_ASK).candles == ()


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_secret_is_ever_told_or_logged(world: World) -> None:
    """Neither in errors, nor in statuses, nor in log lines: not the key, not the secret, not a signature."""
    told: list[Any] = []
    with everything_logged() as logs:
        for fault in ({"drop_after": True}, {"html": True}, {"code": -2015}, {"code": -1, "message": KEY.key}):
            world.fault("POST order", **fault)
            told.append(world.trader.submit(world.trader.order("a")))
            assert until(world.trader.ready)
        world.does("streams", drop="all")
        assert world.again(StreamRestored, lambda: world.does("streams", drop="user"))
    # The exchange runs in this process too, and tells the faults that it was given.
    ours = [line for line in logs if line["event"] != "exchange.fault"]
    words = repr([*told, *world.trader.heard, *ours, world.trader.venue._settings])  # type: ignore[attr-defined]
    for answer in told:
        words += str(getattr(answer, "error", ""))
    for secret in (KEY.key, KEY.secret, "signature="):
        assert secret not in words
