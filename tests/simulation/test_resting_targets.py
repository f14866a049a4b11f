"""Resting targets on an exchange that outlives the keeper: the incident was one that closed everything."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import IntentStatus, OrderKind, OrderSide, Phase, Position, Reason, Side
from actors.domain.plans import parse_plan
from actors.messages import Amended, CloseAccepted
from actors.venues.base import OrderRequest
from actors.venues.paper_faults import Partial
from tests.simulation.house import Keeper
from tests.simulation.test_recovery import step_alone

FIRST: dict[str, Any] = {"at": {"percent": "1"}, "close": "0.6", "order": "limit", "then": {"stop": {"percent": "0"}}}
BODY: dict[str, Any] = {
    "stop": {"percent": "1.5"},
    "targets": [FIRST, {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "0.8"}}}],
}
PLAN = parse_plan(BODY)
SEEDS = range(4)


def opened(folder: Path, seed: int = 1, **more: Any) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from 60000 whose first target rests."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened(plan=PLAN, **more)
    return keeper


def limits(keeper: Keeper) -> list[tuple[str, Decimal]]:
    """What rests for targets at the exchange: client id and what is left of it."""
    return [
        (order.client_order_id, order.quantity - order.filled)
        for order in keeper.venue().orders
        if order.kind is OrderKind.LIMIT
    ]


def legs(position: Position) -> list[tuple[str, Decimal]]:
    """What was booked: leg and quantity."""
    return [(fill.leg, fill.quantity) for fill in position.fills if fill.leg != "entry"]


def agrees(keeper: Keeper) -> None:
    """The books are the exchange's, trade by trade."""
    position = keeper.position()
    assert position.remaining == abs(keeper.held())
    traded = {(trade.trade_id, trade.quantity, trade.price) for trade in keeper.venue().trades}
    assert {(fill.trade_id, fill.quantity, fill.price) for fill in position.fills} == traded


# -- placed and filled -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_it_rests_from_the_entry_on_and_fills_without_any_order_of_software(tmp_path: Path, side: Side) -> None:
    """60 % at its price, the stop to breakeven and resized, 40 % for the runner."""
    keeper = opened(tmp_path, side=side)
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]
    keeper.moves(60000 + 650 * side.sign)
    position = keeper.position()
    assert legs(position) == [("target-1", Decimal("0.6"))]
    assert position.fills[-1].price == 60000 + 600 * side.sign
    assert position.targets[0].hit
    assert position.stop_price == 60000
    assert position.stop_reason is Reason.BREAKEVEN
    assert [order.quantity for order in keeper.venue().orders] == [Decimal("0.4")]
    assert keeper.reductions() == []
    agrees(keeper)


def test_its_intent_is_stored_before_the_exchange_gets_it(tmp_path: Path) -> None:
    """Durable, then sent."""
    keeper = Keeper(tmp_path, [60000])
    keeper.start()
    seen: list[IntentStatus] = []

    def look(request: OrderRequest) -> None:
        stored = keeper.stored()
        assert stored is not None
        seen.extend(i.status for i in stored.intents if i.client_order_id == request.client_order_id and i.limit_price)

    keeper.exchange.before_submit = look
    keeper.opened(plan=PLAN)
    assert seen == [IntentStatus.SENT]


def test_filled_in_part_the_stop_follows_each_part(tmp_path: Path) -> None:
    """`filled` grows, `hit` waits for the whole, and the stop at rest always covers exactly what remains."""
    keeper = opened(tmp_path)
    keeper.faults.next("fill", position="p1", leg="target-1", fill=Decimal("0.2"), rest="next_price")
    keeper.moves(60650, 60500, seconds=5)
    position = keeper.position()
    assert (position.targets[0].filled, position.targets[0].hit) == (Decimal("0.2"), False)
    assert position.stop_price == 59100
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.4"))]
    assert [order.quantity for order in keeper.venue().orders if order.trigger_price] == [Decimal("0.8")]
    keeper.restart()
    keeper.moves(60650, 60400)
    assert (keeper.position().targets[0].filled, keeper.position().targets[0].hit) == (Decimal("0.6"), True)
    assert keeper.reductions() == []
    agrees(keeper)


@pytest.mark.parametrize("then", [60700, 60300])
def test_filled_while_the_keeper_is_down(tmp_path: Path, then: int) -> None:
    """Found at boot and booked as its leg; nothing is sold a second time, wherever the price is by then."""
    keeper = opened(tmp_path)
    keeper.crash()
    step_alone(keeper, 60650, then)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert legs(position) == [("target-1", Decimal("0.6"))]
    assert position.targets[0].hit
    assert position.protected
    assert position.stop_price == 60000
    assert keeper.reductions() == []
    agrees(keeper)


def test_filled_in_part_while_the_keeper_is_down(tmp_path: Path) -> None:
    """The part is booked, the rest goes on resting, and the stop covers what remains."""
    keeper = opened(tmp_path)
    keeper.crash()
    keeper.exchange.matching.partial_fill = lambda _: Partial(Decimal("0.2"))
    step_alone(keeper, 60650, 60300)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert legs(position) == [("target-1", Decimal("0.2"))]
    assert not position.targets[0].hit
    assert position.stop_price == 59100
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.4"))]
    assert [order.quantity for order in keeper.venue().orders if order.trigger_price] == [Decimal("0.8")]
    keeper.moves(60650)
    assert keeper.position().targets[0].hit
    agrees(keeper)


def test_the_stop_and_the_target_both_filled_while_the_keeper_is_down(tmp_path: Path) -> None:
    """First the target, then the stop for what was left: both are booked, and the position is closed."""
    keeper = opened(tmp_path)
    keeper.crash()
    step_alone(keeper, 60650, 59000)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    assert dict(legs(position)) == {"target-1": Decimal("0.6"), "stop": Decimal("0.4")}
    assert keeper.venue().orders == ()
    agrees(keeper)


# -- the stop fires while it rests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stop_fires_while_it_rests(tmp_path: Path, seed: int) -> None:
    """Everything closes as the stop's; nothing rests behind a closed position."""
    keeper = opened(tmp_path, seed)
    keeper.moves(59050, 59000)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    assert {leg for leg, _ in legs(position)} == {"stop"}
    assert keeper.venue().orders == ()
    agrees(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_manual_close_meets_a_fill_of_what_rested(tmp_path: Path, seed: int) -> None:
    """Its cancellation is on its way as the price jumps: it fills, the close takes the rest, the books agree."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="manual-1", delay_request_seconds=1.5)
    keeper.faults.next("cancel", position="p1", leg="target-1", delay_request_seconds=1.5)
    keeper.add_prices([60700] * 10)
    assert isinstance(keeper.close(), CloseAccepted)
    keeper.run(10)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    assert dict(legs(position)) == {"target-1": Decimal("0.6"), "manual-1": Decimal("0.4")}
    assert keeper.venue().orders == ()
    agrees(keeper)


def test_a_position_is_closing_until_what_rested_is_read_back(tmp_path: Path) -> None:
    """Its cancellation is not answered: the slot stays taken until the exchange has said what became of it."""
    keeper = opened(tmp_path)
    keeper.faults.next("cancel", position="p1", leg="target-1", times=2, lose="request")
    keeper.faults.next("look_up", position="p1", leg="target-1", times=3, lose="reply")
    keeper.close()
    keeper.run(1)
    assert keeper.position().phase is Phase.CLOSING
    assert keeper.held() == 0
    keeper.run(30)
    assert keeper.position().phase is Phase.CLOSED


def test_while_the_venue_holds_more_what_rests_goes_before_the_software_close(tmp_path: Path) -> None:
    """Somebody bought one more: only ours is closed, and nothing of ours is left in the book."""
    keeper = opened(tmp_path)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.run(35)
    assert keeper.position().excess == 1
    keeper.exchange.asked.clear()
    keeper.close()
    keeper.run(10)
    asked = keeper.exchange.asked
    assert asked.index(("cancel", keeper.order_id("target-1"))) < asked.index(("submit", keeper.order_id("manual-1")))
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.held() == 1
    assert keeper.venue().orders == ()


def test_a_close_refused_because_of_what_rests_is_sent_again(tmp_path: Path) -> None:
    """An exchange that counts orders at rest against the position."""
    keeper = opened(tmp_path)
    keeper.faults.next("submit", position="p1", leg="manual-1", error="reduce_only")
    keeper.close()
    keeper.run(10)
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.held() == 0
    agrees(keeper)


# -- unknown outcomes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"lose": "reply"},
        {"lose": "request"},
        {"error": "unknown_after"},
        {"error": "unknown"},
        {"delay_request_seconds": 1.5},
        {"delay_reply_seconds": 5.0},
        {"repeat": 2},
    ],
)
def test_a_placement_without_an_outcome_rests_once(tmp_path: Path, fault: dict[str, Any], seed: int) -> None:
    """Looked up until it is known; sent again only with its own id; crashed in between or not."""
    for crash in (False, True):
        keeper = Keeper(tmp_path / str(crash), [60000], seed=seed, speed=1.0)
        keeper.start()
        keeper.faults.next("submit", position="p1", leg="target-1", **fault)
        keeper.open(plan=PLAN)
        keeper.run(0.5)
        if crash:
            keeper.restart()
        keeper.run(15)
        assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]
        assert {order.client_order_id for order in keeper.sent(OrderKind.LIMIT)} == {keeper.order_id("target-1")}
        keeper.moves(60650, 60650)
        assert keeper.held() == Decimal("0.4")
        agrees(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_placement_that_arrives_after_a_restart_rests_once(tmp_path: Path, seed: int) -> None:
    """Not to be found yet when the keeper comes back: absence counts only past the request's expiry."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.faults.next("submit", position="p1", leg="target-1", delay_request_seconds=1.5)
    keeper.open(plan=PLAN)
    keeper.simulator.run(lambda: bool(keeper.exchange.pending.next_due()), for_seconds=5)
    keeper.restart()
    keeper.run(10)
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]
    assert len(keeper.sent(OrderKind.LIMIT)) == 1


def test_a_fill_that_no_report_tells_is_found(tmp_path: Path) -> None:
    """The stream is silent; the next look around the slot books it."""
    keeper = opened(tmp_path)
    keeper.faults.always("report", lose="reply")
    keeper.moves(60650, seconds=40)
    assert keeper.position().targets[0].filled == Decimal("0.6")
    assert keeper.position().targets[0].hit
    agrees(keeper)


def test_a_refused_placement_is_tried_again_with_back_off(tmp_path: Path) -> None:
    """Told each time; then it rests."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.faults.next("submit", position="p1", leg="target-1", times=2, error="insufficient_margin")
    keeper.opened(plan=PLAN)
    keeper.moves(*[60000] * 10, seconds=10)
    assert [event["code"] for event in keeper.told("order.refused")] == ["insufficient_margin"] * 2
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]


# -- changed by people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_amended_plan_moves_it_without_ever_having_two(tmp_path: Path, seed: int) -> None:
    """Cancelled, read back, placed anew; what had filled is not asked for again."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("fill", position="p1", leg="target-1", fill=Decimal("0.2"), rest="next_price")
    keeper.moves(60650, 60500, seconds=4)
    most = 0

    def count(actor: object, message: object) -> None:
        nonlocal most
        most = max(most, len(limits(keeper)))

    keeper.simulator.before_turn = count
    body = {**BODY, "targets": [{"number": 1, **FIRST, "at": {"percent": "1.5"}}, BODY["targets"][1]]}
    assert isinstance(keeper.amend(body), Amended)
    keeper.run(5)
    assert most == 1
    assert limits(keeper) == [(keeper.order_id("target-1", 1), Decimal("0.4"))]
    keeper.moves(60650, 60950)
    assert keeper.position().targets[0].filled == Decimal("0.6")
    assert keeper.held() == Decimal("0.4")
    agrees(keeper)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("numbered", [True, False])
def test_it_fills_while_the_plan_is_amended(tmp_path: Path, numbered: bool, seed: int) -> None:
    """The cancellation comes too late: 60 % are closed once, whichever number the new target has."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("cancel", position="p1", leg="target-1", delay_request_seconds=1.5)
    keeper.add_prices([60700] * 5)
    number = {"number": 1} if numbered else {}
    body = {**BODY, "targets": [{**number, **FIRST, "at": {"percent": "1.3"}}]}
    assert isinstance(keeper.amend(body, act_now=True), Amended)
    keeper.run(8)
    keeper.moves(60900, 61000, seconds=5)
    assert legs(keeper.position()) == [("target-1", Decimal("0.6"))]
    assert keeper.held() == Decimal("0.4")
    assert limits(keeper) == []
    agrees(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_fills_while_a_market_target_takes_its_place(tmp_path: Path, seed: int) -> None:
    """What the dropped one filled too late was the new one's part: the runner keeps its share."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("cancel", position="p1", leg="target-1", delay_request_seconds=1.5)
    keeper.add_prices([60700] * 5)
    body = {**BODY, "targets": [{"at": {"percent": "1.3"}, "close": "0.6"}]}
    assert isinstance(keeper.amend(body, act_now=True), Amended)
    keeper.run(8)
    keeper.moves(60900, 61000, 61000, 61000, seconds=8)
    assert legs(keeper.position()) == [("target-1", Decimal("0.6"))]
    assert keeper.held() == Decimal("0.4")


def test_cancelled_by_hand_it_is_placed_again(tmp_path: Path) -> None:
    """A listing without it leads to a read of it, and its end to another generation."""
    keeper = opened(tmp_path)
    keeper.cancel_by_hand(keeper.order_id("target-1"), OrderKind.LIMIT)
    keeper.moves(*[60000] * 40, seconds=40)
    assert limits(keeper) == [(keeper.order_id("target-1", 1), Decimal("0.6"))]
    assert ("look_up", keeper.order_id("target-1")) in keeper.exchange.asked


def test_a_stop_cancelled_by_hand_is_placed_again(tmp_path: Path) -> None:
    """The same for the stop: nothing stays unprotected because a listing was not compared."""
    keeper = opened(tmp_path)
    (stop,) = [order for order in keeper.venue().orders if order.kind is OrderKind.STOP_MARKET]
    keeper.cancel_by_hand(stop.client_order_id, OrderKind.STOP_MARKET)
    keeper.run(40)
    (again,) = [order for order in keeper.venue().orders if order.kind is OrderKind.STOP_MARKET]
    assert again.quantity == 1
    assert again.client_order_id != stop.client_order_id
    assert keeper.position().protected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_manual_part_never_meets_what_rests(tmp_path: Path, seed: int) -> None:
    """Half by hand as the price is at the target: 0.5 for him, 0.4 for the runner, 0.1 for the target."""
    keeper = opened(tmp_path, seed)
    assert isinstance(keeper.close(fraction="0.5", request_id="half"), CloseAccepted)
    keeper.add_prices([60700] * 10)
    keeper.run(10)
    done = dict(legs(keeper.position()))
    # Whichever was first, the runner has its share or the target had filled whole before it could be cut.
    assert done in (
        {"manual-1": Decimal("0.5"), "target-1": Decimal("0.1")},
        {"target-1": Decimal("0.6"), "manual-1": Decimal("0.4")},
    )
    agrees(keeper)


def test_somebody_takes_a_part_away_and_what_rests_is_cut(tmp_path: Path) -> None:
    """0.7 left of 1: the runner keeps 0.4."""
    keeper = opened(tmp_path)
    keeper.by_hand(OrderSide.SELL, "0.3")
    keeper.run(40)
    assert limits(keeper) == [(keeper.order_id("target-1", 1), Decimal("0.3"))]
    keeper.moves(60650)
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().stop_price == 60000
    agrees(keeper)


# -- an exchange that alters it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"position_wide": True}, {"quantity": Decimal(1)}, {"reduce_only": False}],
    ids=lambda one: next(iter(one)),
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_exchange_that_turns_it_position_wide(tmp_path: Path, at_once: bool, change: dict[str, Any]) -> None:
    """Read back or listed as something that could close more: it goes, it is told, and 60 % close in software."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()

    def alter(request: OrderRequest) -> None:
        if request.kind is OrderKind.LIMIT:
            keeper.exchange.alter_by_hand("paper", request.client_order_id, **change)

    if at_once:
        keeper.exchange.after_submit = alter
    keeper.opened(plan=PLAN)
    if not at_once:
        keeper.exchange.alter_by_hand("paper", keeper.order_id("target-1"), **change)
        keeper.run(35)
    keeper.run(2)
    assert limits(keeper) == []
    assert len(keeper.told("order.altered")) == 1
    assert keeper.position().targets[0].software
    keeper.restart()
    keeper.moves(60650, 60700)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")
    agrees(keeper)


def test_one_that_closed_everything_is_booked_as_what_it_did(tmp_path: Path) -> None:
    """Turned position-wide and filled before anybody could look: the incident, told truthfully, and nothing follows."""
    keeper = opened(tmp_path)
    keeper.crash()
    keeper.exchange.alter_by_hand("paper", keeper.order_id("target-1"), position_wide=True)
    step_alone(keeper, 60650)
    assert keeper.held() == 0
    keeper.start()
    keeper.run(5)
    position = keeper.position()
    assert (position.phase, legs(position)) == (Phase.CLOSED, [("target-1", Decimal(1))])
    assert keeper.told("order.altered")
    assert keeper.reductions() == []
    assert keeper.venue().orders == ()
    agrees(keeper)


# -- the store, and other owners ---------------------------------------------------------------------------------------


def test_nothing_is_placed_or_moved_while_the_store_is_out_of_reach(tmp_path: Path) -> None:
    """What rests goes on resting, and may fill; the fill is booked when the store is back."""
    keeper = opened(tmp_path)
    keeper.store_is_down = True
    keeper.by_hand(OrderSide.SELL, "0.3")
    keeper.run(6)
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]
    assert len(keeper.sent(OrderKind.LIMIT)) == 1
    keeper.store_is_down = False
    keeper.run(60)
    assert limits(keeper) == [(keeper.order_id("target-1", 1), Decimal("0.3"))]


def test_a_new_owner_takes_what_rests_over_as_it_is(tmp_path: Path) -> None:
    """The same order under the same id; its fill is booked by whoever owns it then."""
    keeper = opened(tmp_path)
    keeper.crash()
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.run(30)
    assert limits(keeper) == [(keeper.order_id("target-1"), Decimal("0.6"))]
    keeper.moves(60650)
    assert keeper.position().targets[0].hit
    assert len(keeper.sent(OrderKind.LIMIT)) == 1
    agrees(keeper)


# -- levels that move with time ----------------------------------------------------------------------------------------


def test_a_level_that_comes_closer_moves_the_order_at_its_time(tmp_path: Path) -> None:
    """Though no price has come since."""
    at = [{"percent": "2"}, {"percent": "1", "after_seconds": "10"}]
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(plan=parse_plan({"stop": {"percent": "1.5"}, "targets": [{**FIRST, "at": at}]}))
    assert [order.limit_price for order in keeper.sent(OrderKind.LIMIT)] == [61200]
    keeper.add_prices([60001 + n for n in range(14)])
    keeper.run(14)
    assert [order.limit_price for order in keeper.sent(OrderKind.LIMIT)] == [61200, 60600]
    assert limits(keeper) == [(keeper.order_id("target-1", 1), Decimal("0.6"))]
    keeper.moves(60650)
    assert keeper.held() == Decimal("0.4")
    agrees(keeper)


@pytest.mark.parametrize("lag", [0, 4])
def test_a_fill_whose_trades_lag_behind_the_position_is_booked_once(tmp_path: Path, lag: int) -> None:
    """The position is smaller, the order is listed no more, its trade is not told yet: no verdict before it is."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(
        plan=parse_plan(
            {"stop": {"percent": "1.5"}, "targets": [{"at": {"percent": "1"}, "close": "0.6", "order": "limit"}]}
        )
    )
    read, lagging, limit = keeper.exchange.read_account, [False], keeper.order_id("target-1")

    def late(account: str, symbol: str, since: int, *, behind: int = 0) -> Any:
        told = read(account, symbol, since, behind=behind)
        known = tuple(trade for trade in told.trades if trade.client_order_id != limit)
        return replace(told, trades=known) if lagging[0] else told

    keeper.exchange.read_account = late  # type: ignore[assignment]
    keeper.faults.always("report", lose="reply")
    keeper.run(24)
    if lag:
        lagging[0] = True
        keeper.faults.next(
            "look_up", position="p1", leg="target-1", times=0, for_seconds=float(lag), error="unavailable"
        )
    keeper.moves(60650, seconds=8)
    lagging[0] = False
    keeper.run(36)
    position = keeper.position()
    assert position.remaining == abs(keeper.held()) == Decimal("0.4")
    assert [fill.leg for fill in position.fills] == ["entry", "target-1"]
    assert position.protected
