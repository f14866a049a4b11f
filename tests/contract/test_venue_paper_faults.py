"""The paper venue's faults: each one does what it says, once, and the ledger stays true."""

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderKind, OrderSide
from actors.domain.step import client_order_id
from actors.runtime.simulator import Simulator
from actors.runtime.threads import ThreadRuntime
from actors.venues.base import (
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderUnknown,
    OrderUpdated,
    RequestFailed,
    VenueUnavailable,
)
from actors.venues.paper import PaperVenue
from actors.venues.paper_faults import Faults, Rule
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Trader, VenueContract

LOT = Decimal("0.01")


class World:
    """An exchange that outlives crashes, its faults, and a trader on it."""

    def __init__(self, folder: Path, *prices: str) -> None:
        file = folder / "prices.csv"
        rows = [f"2024-01-01T00:00:{n:02d}Z,{price}\n" for n, price in enumerate(prices or ("60000", "60010"))]
        file.write_text("".join(rows))
        market = MarketSettings(symbols={SYMBOL: ReplaySettings(file=file)})
        self.settings = PaperSettings(path=folder / "paper.db", market=market, speed="max")
        self.exchange = PaperExchange(self.settings)
        self.faults = Faults()
        self.simulator = Simulator(seed=1)
        self.trader = self.begun()

    def begun(self) -> Trader:
        """A trader that has heard the price."""
        venue = PaperVenue(
            account=ACCOUNT,
            settings=self.settings,
            runtime=self.simulator,
            exchange=self.exchange,
            faults=self.faults,
        )
        trader = Trader(venue, self.simulator, lambda until: self.simulator.run(until, for_seconds=60))
        trader.begin()
        return trader

    def send(self, client_order_id: str, **changes: Any) -> str:
        """Send an order and let half a second pass; its request id."""
        request = self.trader.order(client_order_id, **changes)
        self.trader.venue.submit(request)
        self.run(0.5)
        return request.request_id

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.simulator.run(for_seconds=seconds)
        assert self.simulator.failures == []

    def answers(self, request_id: str) -> list[Any]:
        """What has been told about a request."""
        return [message for message in self.trader.heard if getattr(message, "request_id", "") == request_id]

    def order(self, client_order_id: str) -> Any:
        """The order in the ledger itself."""
        return self.exchange.look_up(ACCOUNT, SYMBOL, client_order_id, OrderKind.MARKET).order

    def held(self) -> Decimal:
        """The position in the ledger itself."""
        return self.exchange.look_up(ACCOUNT, SYMBOL, "", OrderKind.MARKET).venue_quantity

    def next_price(self) -> None:
        """Settle the price heard last, so that the next one is played."""
        prices = self.trader.prices()[-1]
        self.trader.venue.settled(prices.symbol, prices.sequence)
        self.run(0.5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world at its first price, without faults so far."""
    return World(tmp_path)


class TestPaperVenueWithoutRules(VenueContract):
    """Faults that never come change nothing."""

    @pytest.fixture
    def trader(self, tmp_path: Path) -> Trader:
        """A trader on a venue with no rule in force."""
        return World(tmp_path).trader


# -- lost, refused, unknown --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "executed"), [("request", False), ("reply", True)])
def test_what_is_lost_is_never_answered(world: World, lost: str, executed: bool) -> None:
    """A lost request leaves nothing; a lost reply leaves an executed order. Only the next one is lost."""
    world.faults.next("submit", lose=lost)
    request_id = world.send("a")
    world.run(60)
    assert world.answers(request_id) == []
    assert (world.order("a") is not None) is executed
    assert world.trader.filled("b").filled == LOT


@pytest.mark.parametrize(
    ("error", "kind", "executed"),
    [
        ("unavailable", VenueUnavailable, False),
        ("unknown", OrderUnknown, False),
        ("unknown_after", OrderUnknown, True),
        ("too_many_stops", OrderRejected, False),
    ],
)
def test_errors_say_what_may_be_concluded(world: World, error: str, kind: type[Exception], executed: bool) -> None:
    """Each error is of its class; only "unknown_after" executes."""
    world.faults.next("submit", error=error)
    (answer,) = world.answers(world.send("a"))
    assert isinstance(answer, RequestFailed)
    assert type(answer.error) is kind
    assert (world.order("a") is not None) is executed


def test_a_cancellation_may_be_executed_and_unanswered(world: World) -> None:
    """Every request can be lost, not only orders."""
    world.trader.filled("a")
    world.trader.submit(world.trader.stop_order("s", Decimal(50000)))
    world.faults.next("cancel", error="unknown_after")
    assert isinstance(world.trader.cancel("s", OrderKind.STOP_MARKET), RequestFailed)
    assert world.trader.account().orders == ()


# -- late --------------------------------------------------------------------------------------------------------------


def test_a_delayed_reply_comes_late_but_the_order_is_executed_at_once(world: World) -> None:
    """Between the two, the order is found by its id."""
    world.faults.next("submit", delay_reply_seconds=3)
    request_id = world.send("a")
    assert world.answers(request_id) == []
    assert world.trader.look_up("a", OrderKind.MARKET).order is not None
    world.run(3)
    assert len(world.answers(request_id)) == 1


def test_a_delayed_request_is_executed_when_it_arrives(world: World) -> None:
    """Absent before, executed and answered after."""
    world.faults.next("submit", delay_request_seconds=3)
    request_id = world.send("a")
    assert world.trader.look_up("a", OrderKind.MARKET).order is None
    world.run(3)
    (answer,) = world.answers(request_id)
    assert answer.order.filled == LOT
    assert world.held() == LOT


def test_a_request_that_arrives_past_its_expiry_is_rejected(world: World) -> None:
    """Signed long ago: the venue refuses it as it arrives."""
    world.faults.next("submit", delay_request_seconds=6)
    request_id = world.send("a")
    world.run(6)
    (answer,) = world.answers(request_id)
    assert (type(answer.error), answer.error.code) == (OrderRejected, "expired")
    assert world.order("a") is None


def test_a_delayed_request_arrives_though_its_sender_has_crashed(world: World) -> None:
    """A late duplicate's nightmare: the next keeper reads it as absent, then it executes, and the stream tells it."""
    world.faults.next("submit", delay_request_seconds=3)
    world.send("a", quantity=Decimal("0.011"), expires_after_seconds=10.0)
    world.simulator.crash()
    world.trader = world.begun()
    assert world.trader.look_up("a", OrderKind.MARKET).order is None
    world.run(3)
    assert world.held() == Decimal("0.011")
    (update,) = [message for message in world.trader.heard if isinstance(message, OrderUpdated)]
    assert (update.order.client_order_id, update.order.state) == ("a", OrderState.FILLED)


def test_a_delayed_stop_keeps_its_level(world: World) -> None:
    """All of a request survives the way through the ledger."""
    world.trader.filled("a")
    world.faults.next("submit", delay_request_seconds=2)
    request = world.trader.stop_order("s", Decimal(50000))
    world.trader.venue.submit(request)
    world.run(3)
    (order,) = world.trader.account().orders
    assert (order.trigger_price, order.reduce_only, order.side) == (Decimal(50000), True, OrderSide.SELL)


def test_a_delayed_read_sees_the_moment_it_arrives(world: World) -> None:
    """A read that is slow to arrive is not an old read."""
    world.faults.next("look_up", delay_request_seconds=2)
    request = LookUpRequest(
        request_id="late", account=ACCOUNT, symbol=SYMBOL, client_order_id="a", kind=OrderKind.MARKET
    )
    world.trader.venue.look_up(request)
    world.send("a")
    world.run(2)
    (answer,) = world.answers("late")
    assert answer.order is not None


# -- lagging reads -----------------------------------------------------------------------------------------------------


def test_an_order_is_absent_for_some_reads(world: World) -> None:
    """Executed, yet not found twice."""
    world.trader.filled("a")
    world.faults.next("look_up", client_order_id="a", times=2, absent=True)
    found = [world.trader.look_up("a", OrderKind.MARKET).order is not None for _ in range(3)]
    assert found == [False, False, True]


def test_an_order_is_absent_for_some_seconds(world: World) -> None:
    """The seconds count from the first read that is affected."""
    world.trader.filled("a")
    world.run(10)
    world.faults.next("look_up", for_seconds=5, absent=True)
    assert world.trader.look_up("a", OrderKind.MARKET).order is None
    world.run(4)
    assert world.trader.look_up("a", OrderKind.MARKET).order is None
    world.run(2)
    assert world.trader.look_up("a", OrderKind.MARKET).order is not None


def test_a_lagging_read_lacks_the_last_executions(world: World) -> None:
    """Position, trades and orders are those of before; the next read is true again, and nothing was changed."""
    first = world.trader.filled("a")
    world.trader.filled("b", quantity=Decimal("0.03"))
    world.faults.next("read_account", behind_executions=1)
    past, present = world.trader.account(), world.trader.account()
    assert past.position is not None
    assert present.position is not None
    assert (past.position.quantity, present.position.quantity) == (LOT, Decimal("0.04"))
    assert past.trades == first.trades
    world.faults.next("look_up", behind_executions=1)
    answer = world.trader.look_up("b", OrderKind.MARKET)
    assert (answer.order, answer.venue_quantity) == (None, LOT)
    world.faults.next("read_account", behind_executions=9)
    assert world.trader.account().position is None
    assert world.trader.look_up("b", OrderKind.MARKET).order is not None


def test_a_lagging_read_shows_a_triggered_stop_still_at_rest(tmp_path: Path) -> None:
    """The stop has executed; the read says that it rests and that the position is there."""
    world = World(tmp_path, "60000", "50000")
    world.trader.filled("a")
    world.trader.submit(world.trader.stop_order("s", Decimal(55000)))
    world.next_price()
    assert world.held() == 0
    world.faults.next("read_account", behind_executions=1)
    past = world.trader.account()
    assert past.position is not None
    assert [(order.client_order_id, order.filled) for order in past.orders] == [("s", Decimal(0))]
    assert world.trader.account().orders == ()


# -- repeated and out of order -----------------------------------------------------------------------------------------


def test_an_answer_is_told_more_than_once(world: World) -> None:
    """The very same message."""
    world.faults.next("submit", repeat=2)
    first, second, third = world.answers(world.send("a"))
    assert first == second == third
    assert world.held() == LOT


def test_a_report_is_told_twice_or_never(tmp_path: Path) -> None:
    """The stream's reports have faults of their own."""
    world = World(tmp_path, "60000", "50000")
    world.trader.filled("a", quantity=Decimal("0.02"))
    for name in ("s", "t"):
        world.trader.submit(world.trader.stop_order(name, Decimal(55000)))
    world.faults.next("report", client_order_id="s", repeat=1)
    world.faults.next("report", client_order_id="t", lose="reply")
    world.next_price()
    updates = [message.order.client_order_id for message in world.trader.heard if isinstance(message, OrderUpdated)]
    assert updates == ["s", "s"]


def test_an_answer_comes_after_later_ones(world: World) -> None:
    """Held back until two others have been told."""
    world.faults.next("submit", hold_for=2)
    sent = [world.send(name) for name in ("a", "b", "c", "d")]
    told = [message.request_id for message in world.trader.heard if isinstance(message, OrderAnswered)]
    assert told == [sent[1], sent[2], sent[0], sent[3]]


# -- partial fills -----------------------------------------------------------------------------------------------------


def test_a_market_order_is_filled_in_part_and_expires(world: World) -> None:
    """The rest never comes: the order is terminal with what it has."""
    world.faults.next("fill", kind=OrderKind.MARKET, fill=Decimal("0.004"))
    (answer,) = world.answers(world.send("a"))
    assert (answer.order.state, answer.order.filled) == (OrderState.EXPIRED, Decimal("0.004"))
    assert answer.venue_quantity == Decimal("0.004")


def test_the_rest_comes_with_the_next_price(world: World) -> None:
    """Open until then; the report carries both trades."""
    world.faults.next("fill", fill=Decimal("0.004"), rest="next_price")
    (answer,) = world.answers(world.send("a"))
    assert (answer.order.state, answer.order.filled) == (OrderState.OPEN, Decimal("0.004"))
    world.next_price()
    (update,) = [message for message in world.trader.heard if isinstance(message, OrderUpdated)]
    assert update.order.state is OrderState.FILLED
    assert [(trade.quantity, trade.price) for trade in update.order.trades] == [
        (Decimal("0.004"), Decimal(60000)),
        (Decimal("0.006"), Decimal(60010)),
    ]


def test_the_rest_comes_after_seconds_also_past_a_crash(world: World) -> None:
    """The exchange owes it to the order, not to the keeper."""
    world.faults.next("fill", fill=Decimal(0), rest=5)
    world.send("a")
    assert world.held() == 0
    world.simulator.crash()
    world.trader = world.begun()
    world.run(4)
    assert world.held() == 0
    world.run(1)
    assert world.held() == LOT


def test_a_cancelled_rest_never_comes(world: World) -> None:
    """A cancellation keeps what was filled."""
    world.faults.next("fill", fill=Decimal("0.004"), rest=5)
    world.send("a")
    answer = world.trader.cancel("a", OrderKind.MARKET)
    assert isinstance(answer, OrderAnswered)
    assert answer.order is not None
    assert (answer.order.state, answer.order.filled) == (OrderState.CANCELLED, Decimal("0.004"))
    world.run(6)
    assert world.held() == Decimal("0.004")


def test_a_triggered_stop_is_filled_in_parts_and_triggers_once(tmp_path: Path) -> None:
    """What it left is filled at the next price, not by a second trigger."""
    world = World(tmp_path, "60000", "50000", "49000")
    world.trader.filled("a")
    world.trader.submit(world.trader.stop_order("s", Decimal(55000)))
    world.faults.next("fill", kind=OrderKind.STOP_MARKET, fill=Decimal("0.004"), rest="next_price")
    world.next_price()
    assert world.held() == Decimal("0.006")
    world.next_price()
    assert world.held() == 0
    order = world.trader.look_up("s", OrderKind.STOP_MARKET).order
    assert order is not None
    assert [trade.price for trade in order.trades] == [Decimal(50000), Decimal(49000)]


# -- which -------------------------------------------------------------------------------------------------------------


def test_a_leg_is_known_by_its_client_order_id(world: World) -> None:
    """Whichever installation and generation: other legs and other positions pass."""
    world.faults.always("submit", position="p1", leg="target-1", error="unavailable")
    unharmed = [client_order_id("0badc0de", *which, 0) for which in (("p1", "target-2"), ("p2", "target-1"))]
    for name in unharmed:
        assert world.trader.filled(name).filled == LOT
    for generation in (0, 3):
        name = client_order_id("0badc0de", "p1", "target-1", generation)
        assert isinstance(world.answers(world.send(name))[0], RequestFailed)


def test_rules_are_counted_and_the_first_that_matches_takes_all(world: World) -> None:
    """Skip one, take two; the rule behind gets what it leaves."""
    world.faults.next("submit", skip=1, times=2, error="unavailable")
    world.faults.next("request", account=ACCOUNT, side=OrderSide.BUY, error="unknown")
    codes = [getattr(getattr(world.answers(world.send(f"o{n}"))[0], "error", None), "code", "") for n in range(4)]
    assert codes == ["timeout", "network", "network", ""]
    assert [rule.error for rule, _ in world.faults.taken] == ["unknown", "unavailable", "unavailable"]


def test_a_share_is_drawn_from_a_seed(tmp_path: Path) -> None:
    """The same seed harms the same requests."""

    def harmed(folder: Path, seed: int) -> list[bool]:
        folder.mkdir()
        world = World(folder)
        world.faults.sometimes("submit", seed=seed, share=0.5, error="unavailable")
        return [isinstance(world.answers(world.send(f"o{n}"))[0], RequestFailed) for n in range(20)]

    first = harmed(tmp_path / "a", 1)
    assert first == harmed(tmp_path / "b", 1)
    assert first != harmed(tmp_path / "c", 2)
    assert 4 < sum(first) < 16


@pytest.mark.parametrize(
    "fields",
    [
        {"on": "sumbit"},
        {"on": "submit", "lose": "everything"},
        {"on": "submit", "error": "bad_luck"},
        {"on": "submit", "leg": "stop"},
        {"on": "submit", "fill": Decimal(1)},
        {"on": "fill"},
        {"on": "fill", "fill": Decimal(1), "rest": "soon"},
        {"on": "report", "error": "unknown"},
        {"on": "submit", "absent": True},
        {"on": "submit", "behind_executions": 1},
        {"on": "submit", "delay_reply_seconds": -1},
    ],
)
def test_a_rule_that_could_never_act_is_refused(fields: dict[str, Any]) -> None:
    """A fault that silently does not happen would make a test pass for nothing."""
    with pytest.raises(ValueError):
        Rule(**fields)


def test_faults_work_on_threads(tmp_path: Path) -> None:
    """The same rules on the runtime of the service."""
    file = tmp_path / "prices.csv"
    file.write_text("2024-01-01T00:00:00Z,60000\n")
    market = MarketSettings(symbols={SYMBOL: ReplaySettings(file=file)})
    paper = PaperSettings(path=tmp_path / "paper.db", market=market)
    runtime, faults = ThreadRuntime(), Faults()

    def until(condition: Callable[[], bool]) -> bool:
        for _ in range(4000):
            if condition():
                return True
            threading.Event().wait(0.005)
        return condition()

    venue = PaperVenue(account=ACCOUNT, settings=paper, runtime=runtime, faults=faults)
    trader = Trader(venue, runtime, until)
    try:
        trader.begin()
        faults.next("submit", delay_request_seconds=0.2, repeat=1)
        request = trader.order("a")
        venue.submit(request)
        assert trader.look_up("a", OrderKind.MARKET).order is None
        assert until(lambda: [getattr(item, "request_id", "") for item in trader.heard].count(request.request_id) == 2)
        faults.next("fill", fill=Decimal("0.004"), rest=0.2)
        trader.submit(trader.order("b"))
        assert until(lambda: any(isinstance(item, OrderUpdated) for item in trader.heard))
        position = trader.account().position
        assert position is not None
        assert position.quantity == Decimal("0.02")
        venue.stop()
    finally:
        runtime.stop(trader.listener, 5)
        runtime.close()
