"""Resting targets: a limit order of exactly its quantity, never also closed in software, never the runner's share."""

from dataclasses import replace
from typing import Any

import pytest

from actors.domain.errors import PlanRefused
from actors.domain.events import Cancel, ExtremesBackfilled, LookUp, OrderState, OrphanSeen, Submit
from actors.domain.model import IntentStatus, OrderKind, Source
from actors.domain.plans import parse_plan, plan_to_dict
from actors.domain.prices import next_deadline
from tests.unit.driver import SECOND, D, Desk, Order, adopted, instrument, opened, quote
from tests.unit.test_rules_coming_back import reconciled, restart

FIRST = {"at": {"percent": "1"}, "close": "0.6", "order": "limit", "then": {"stop": {"percent": "0"}}}
SECOND_TARGET = {"at": {"percent": "2"}, "close": "0.2", "order": "limit", "then": {"trail": {"percent": "1"}}}
PLAN: dict[str, Any] = {"stop": {"percent": "5"}, "targets": [FIRST, SECOND_TARGET]}
ONE: dict[str, Any] = {"stop": {"percent": "5"}, "targets": [FIRST]}


def legs(desk: Desk) -> list[tuple[str, Any]]:
    """What rests at the venue for targets: leg and what is left."""
    return [(leg, left) for leg, _, left in desk.limits()]


def market_exits(desk: Desk) -> list[tuple[str, Any]]:
    """Every market order that reduces, in the order of sending."""
    return [(one.leg, one.quantity) for one in desk.submits() if one.kind is OrderKind.MARKET and one.reduce_only]


# -- placed ------------------------------------------------------------------------------------------------------------


def test_a_resting_target_is_a_reduce_only_limit_order_of_exactly_its_quantity() -> None:
    """Placed once the entry is complete, and not before its intent is durable."""
    desk = opened(PLAN, held=("entry",))
    assert desk.submits("target-") == []
    desk.fill("entry", "4")
    assert desk.submits("target-") == []
    desk.fill("entry")
    sent = desk.submits("target-")
    assert [(one.leg, one.kind, one.quantity, one.limit_price) for one in sent] == [
        ("target-1", OrderKind.LIMIT, D(6), D(101)),
        ("target-2", OrderKind.LIMIT, D(2), D(102)),
    ]
    assert all(one.reduce_only and not one.urgent and one.trigger_price is None for one in sent)
    assert [intent.reason for intent in desk.position.intents if intent.leg.startswith("target-")] == [
        "take_profit"
    ] * 2


@pytest.mark.parametrize(("side", "price"), [("long", "101.24"), ("short", "98.76")])
def test_its_price_is_rounded_in_the_positions_favour(side: str, price: str) -> None:
    """A sell never below the level, a buy never above it."""
    plan = {"stop": {"percent": "5"}, "targets": [{**FIRST, "at": {"percent": "1.233"}}]}
    desk = opened(plan, side, instrument=instrument(tick_size=D("0.01")))
    assert desk.limits() == [("target-1", D(price), D(6))]


def test_it_rests_only_after_it_was_read_back() -> None:
    """The answer to a submission is a word, the read is the proof."""
    desk = opened(ONE, held=("target-1",))
    assert desk.intent("target-1").status is IntentStatus.SENT
    desk.report("target-1")
    assert desk.intent("target-1").status is IntentStatus.SENT
    desk.report("target-1", read_back=True)
    assert desk.intent("target-1").status is IntentStatus.RESTING


def test_an_adopted_position_has_its_resting_targets_at_once() -> None:
    """Like the stop."""
    assert legs(adopted(PLAN)) == [("target-1", D(6)), ("target-2", D(2))]


def test_too_little_entry_places_nothing() -> None:
    """The plan's minimums do not fit what was filled: the targets are off, the stop stays."""
    desk = opened(PLAN, held=("entry",), instrument=instrument(minimum_quantity=D("0.5")))
    desk.fill("entry", "2")
    desk.cancelled("entry")
    assert desk.position.targets_disabled
    assert legs(desk) == []
    assert desk.position.protected


def test_a_former_owners_stop_is_replaced_before_anything_is_placed() -> None:
    """By that stop the former owner would still act."""
    desk = opened(ONE, held=("target-1", "resident-"))
    desk.absent("target-1")
    before = len(desk.submits("target-1"))
    desk.position = replace(desk.position, residents_replaced_below=2)
    desk.absent("target-1")
    assert len(desk.submits("target-1")) == before


# -- filled ------------------------------------------------------------------------------------------------------------


def test_it_is_hit_when_it_has_filled_and_then_its_actions_follow() -> None:
    """In parts: each is booked and the stop resized; only the last makes it hit."""
    desk = opened(PLAN)
    desk.fill("target-1", "2.5", price="101")
    assert (desk.target(1).filled, desk.target(1).hit, desk.position.stop_price) == (D("2.5"), False, D(95))
    assert [stop.submit.quantity for stop in desk.resting()] == [D("7.5")]
    desk.fill("target-1", "3.5", price="101")
    assert (desk.target(1).filled, desk.target(1).hit, desk.position.stop_price) == (D(6), True, D(100))
    assert [stop.submit.quantity for stop in desk.resting()] == [D(4)]
    assert desk.target(1).hit_at == desk.at
    assert [note.fields["target"] for note in desk.notes("position.target_hit")] == [1]
    assert desk.intent("target-1").status is IntentStatus.FILLED


def test_it_is_never_also_closed_in_software() -> None:
    """However far the price has gone without a fill."""
    desk = opened(ONE)
    desk.fills_limits = False
    desk.price("101", "105", "150")
    assert market_exits(desk) == []
    assert not desk.target(1).hit
    assert desk.position.stop_price == D(95)


def test_with_touch_its_actions_follow_the_price_and_its_order_rests_on() -> None:
    """`hit` and `filled` are two facts; the fill makes it no second hit."""
    plan = {"stop": {"percent": "5"}, "targets": [{**FIRST, "actions_on": "touch"}]}
    desk = opened(plan)
    desk.fills_limits = False
    desk.price("101")
    assert (desk.target(1).hit, desk.target(1).filled, desk.position.stop_price) == (True, D(0), D(100))
    assert legs(desk) == [("target-1", D(6))]
    assert market_exits(desk) == []
    desk.price("100.5")
    desk.fill("target-1", price="101")
    assert desk.target(1).filled == D(6)
    assert len(desk.notes("position.target_hit")) == 1
    assert legs(desk) == []


def test_a_fill_without_a_touch_is_a_hit_as_well() -> None:
    """The exchange's price reached it, whatever we were told of prices."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{**FIRST, "actions_on": "touch"}]})
    desk.fill("target-1", price="101")
    assert (desk.target(1).hit, desk.position.stop_price) == (True, D(100))


def test_the_last_resting_target_of_a_plan_without_runner_ends_the_position() -> None:
    """Its fractions sum to 1: it takes what rounding left, and nothing remains."""
    plan = {"stop": {"percent": "5"}, "targets": [{**FIRST, "close": "0.333"}, {**SECOND_TARGET, "close": "0.667"}]}
    desk = opened(plan, quantity=D("0.1"))
    assert legs(desk) == [("target-1", D("0.033")), ("target-2", D("0.067"))]
    desk.price("101", "102")
    assert (desk.phase(), desk.position.close_reason) == ("closed", "take_profit")
    assert desk.resting() == []
    assert [leg for leg, *_ in desk.exits()] == ["target-1", "target-2"]


def test_what_is_left_of_an_order_at_rest_is_not_dust() -> None:
    """Less than the minimum remains, but its order may still fill."""
    plan = {"stop": {"percent": "5"}, "targets": [{**FIRST, "close": "1"}]}
    desk = opened(plan, quantity=D(1), instrument=instrument(minimum_quantity=D("0.5")), held=("resident-2",))
    desk.fill("target-1", "0.9", price="101")
    assert (desk.position.dust, desk.position.remaining) == (D(0), D("0.1"))
    desk.held.clear()
    desk.fill("target-1", price="101")
    assert (desk.phase(), desk.position.dust) == ("closed", D(0))


def test_one_market_exit_may_be_in_flight_beside_what_rests() -> None:
    """What rests is not under way."""
    market = {"at": {"percent": "0.5"}, "close": "0.1"}
    desk = opened({"stop": {"percent": "5"}, "targets": [market, FIRST]})
    assert legs(desk) == [("target-2", D(6))]
    desk.price("100.5")
    assert market_exits(desk) == [("target-1", D(1))]
    assert legs(desk) == [("target-2", D(6))]


def test_a_last_market_target_leaves_what_rests_to_its_order() -> None:
    """A jump over both: the market target takes all that is not spoken for."""
    market = {"at": {"percent": "2"}, "close": "0.4"}
    desk = opened({"stop": {"percent": "5"}, "targets": [FIRST, market]})
    desk.fills_limits = False
    desk.price("103")
    assert market_exits(desk) == [("target-2", D(4))]
    desk.fill("target-1", price="101")
    assert desk.phase() == "closed"


# -- the stop and other full closes ------------------------------------------------------------------------------------


def test_a_full_close_leaves_at_once_and_what_rests_is_cancelled_beside_it() -> None:
    """For all that is tracked; each order at rest by its own id."""
    desk = opened(PLAN, held=("target-", "stop"))
    for leg in ("target-1", "target-2"):
        desk.report(leg, read_back=True)
    effects = desk.price("95")
    closes = [one for one in effects if isinstance(one, Submit) and one.urgent]
    assert [(one.leg, one.quantity) for one in closes] == [("stop", D(10))]
    cancelled = {one.client_order_id for one in effects if isinstance(one, Cancel) and one.kind is OrderKind.LIMIT}
    assert cancelled == {desk.order(leg).submit.client_order_id for leg in ("target-1", "target-2")}


def test_what_filled_while_the_stop_fired_is_booked_as_its_own_leg() -> None:
    """The close is capped at the venue; the books agree."""
    desk = opened(PLAN, held=("target-", "stop"))
    for leg in ("target-1", "target-2"):
        desk.report(leg, read_back=True)
    desk.price("95")
    desk.held.clear()
    desk.fill("target-1", price="101")
    desk.fill("stop")
    desk.cancelled("stop")
    desk.cancelled("target-2")
    desk.report("target-2", read_back=True)
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(6)), ("stop", D(4))]
    assert (desk.phase(), desk.position.remaining, desk.venue) == ("closed", D(0), D(0))
    assert desk.target(1).hit


def test_a_position_is_not_closed_before_what_rested_is_read_back() -> None:
    """Two reads of its end, as of any order that ended short."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.price("95")
    assert (desk.position.remaining, desk.phase()) == (D(0), "closing")
    desk.cancelled("target-1", read_back=False)
    assert desk.phase() == "closing"
    desk.report("target-1", read_back=True)
    assert desk.phase() == "closing"
    desk.report("target-1", read_back=True)
    assert desk.phase() == "closed"


def test_while_the_venue_holds_more_what_rests_goes_before_the_close() -> None:
    """Two of our orders could close more than is ours."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.observe("15")
    desk.price("95")
    assert market_exits(desk) == []
    desk.cancelled("target-1")
    assert market_exits(desk) == []
    desk.report("target-1", read_back=True)
    assert market_exits(desk) == [("stop", D(10))]
    assert desk.venue == D(5)


def test_a_close_that_own_resting_exits_blocked_is_tried_again_once_they_are_gone() -> None:
    """Some venues count them against the position; nothing waits for a back-off then."""
    desk = opened(ONE, held=("target-1", "stop", "observe"))
    desk.report("target-1", read_back=True)
    desk.price("95")
    desk.refuse("stop", "reduce_only")
    assert len(market_exits(desk)) == 1
    desk.held.clear()
    desk.cancelled("target-1")
    desk.report("target-1", read_back=True)
    assert market_exits(desk) == [("stop", D(10))] * 2
    assert desk.phase() == "closed"


def test_an_order_on_its_way_when_everything_closes_is_cancelled_too() -> None:
    """It may arrive after all; nothing rests behind a closed position."""
    desk = opened(ONE, held=("target-1",))
    effects = desk.price("95")
    order_id = desk.order("target-1").submit.client_order_id
    assert order_id in [one.client_order_id for one in effects if isinstance(one, Cancel)]
    desk.report("target-1", read_back=True)
    assert desk.intent("target-1").cancel_requested
    desk.held.clear()
    desk.cancelled("target-1")
    desk.report("target-1", read_back=True)
    assert desk.phase() == "closed"


def test_the_time_limit_does_not_wait_for_what_rests() -> None:
    """It closes everything, orders at rest included."""
    desk = opened({**ONE, "time_limit_seconds": 10})
    desk.wait(10)
    assert market_exits(desk) == [("time_limit", D(10))]
    assert (desk.phase(), legs(desk)) == ("closed", [])


# -- less remains ------------------------------------------------------------------------------------------------------


def test_what_rests_is_cut_down_before_it_reaches_the_runners_share() -> None:
    """Somebody took 5 of 10; 2 are the runner's: 3 may rest, the nearest first, each anew under the next generation."""
    desk = opened(PLAN)
    desk.venue = D(5)
    desk.observe("5")
    assert desk.position.remaining == D(5)
    assert legs(desk) == [("target-1", D(3))]
    assert desk.intent("target-1").generation == 1
    desk.price("101")
    assert (desk.position.remaining, desk.target(1).hit, desk.position.stop_price) == (D(2), True, D(100))


def test_a_cut_waits_for_two_reads_of_the_old_orders_end() -> None:
    """Nothing new rests while the old one may still fill."""
    desk = opened(PLAN, held=("target-",))
    for leg in ("target-1", "target-2"):
        desk.report(leg, read_back=True)
    desk.observe("5")
    assert len(desk.submits("target-1")) == 1
    desk.cancelled("target-2")
    desk.report("target-2", read_back=True)
    desk.cancelled("target-1")
    assert len(desk.submits("target-1")) == 1
    desk.report("target-1", read_back=True)
    assert [one.quantity for one in desk.submits("target-1")] == [D(6), D(3)]


def test_what_is_cut_leaves_no_room_until_all_old_ones_are_gone() -> None:
    """The first has ended, the second is still being cancelled: together they could reach the runner."""
    desk = opened(PLAN, held=("target-",))
    for leg in ("target-1", "target-2"):
        desk.report(leg, read_back=True)
    desk.observe("5")
    desk.cancelled("target-1")
    desk.report("target-1", read_back=True)
    assert len(desk.submits("target-1")) == 1
    desk.cancelled("target-2")
    desk.report("target-2", read_back=True)
    assert len(desk.submits("target-1")) == 2


def test_where_nothing_can_rest_the_actions_follow_the_price() -> None:
    """Only the runner's share remains: the target closes nothing, and its stop still moves."""
    desk = opened(ONE)
    desk.observe("4")
    assert legs(desk) == []
    desk.price("101")
    assert (desk.target(1).hit, desk.target(1).filled, desk.position.stop_price) == (True, D(0), D(100))
    assert market_exits(desk) == []


def test_a_manual_part_waits_until_what_rests_is_cut_down_to_the_rest() -> None:
    """Half of 10 by hand, 4 for the runner: 1 may still rest, and never 6 beside the 5."""
    desk = opened(ONE, held=("target-1", "manual-1"))
    desk.report("target-1", read_back=True)
    desk.close("0.5", "half")
    assert market_exits(desk) == []
    assert desk.intent("target-1").cancel_requested
    desk.cancelled("target-1")
    assert market_exits(desk) == []
    desk.report("target-1", read_back=True)
    assert [one.quantity for one in desk.submits("target-1")] == [D(6), D(1)]
    desk.held.clear()
    desk.report("target-1", read_back=True)
    assert market_exits(desk) == [("manual-1", D(5))]
    desk.fill("manual-1")
    desk.price("101")
    assert desk.position.remaining == D(4)


def test_what_filled_before_the_cut_counts() -> None:
    """It filled while it was being cancelled for a manual part: the part still closes, the target nothing more."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.close("0.3", "part")
    desk.held.clear()
    desk.fill("target-1", price="101")
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(6)), ("manual-1", D(3))]
    assert legs(desk) == []


# -- ended, refused, unknown -------------------------------------------------------------------------------------------


def test_an_order_cancelled_by_hand_is_placed_again_for_what_is_missing() -> None:
    """After two agreeing reads, under the next generation, not at once."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.fill("target-1", "2", price="101")
    desk.cancelled("target-1")
    desk.report("target-1", read_back=True)
    desk.held.clear()
    assert len(desk.submits("target-1")) == 1
    desk.wait(1)
    again = desk.submits("target-1")[-1]
    assert (again.quantity, desk.intent("target-1").generation) == (D(4), 1)
    assert again.client_order_id != desk.submits("target-1")[0].client_order_id


def test_an_exchange_that_takes_it_away_every_time_is_asked_ever_more_rarely() -> None:
    """1, 2, 5, 10 seconds."""
    desk = opened(ONE)
    waits = []
    for _ in range(4):
        desk.cancelled("target-1")
        sent, waited = len(desk.submits("target-1")), 0
        while len(desk.submits("target-1")) == sent:
            desk.wait(1)
            waited += 1
        waits.append(waited)
    assert waits == [1, 2, 5, 10]


def test_a_refusal_is_told_and_tried_again_under_the_same_id() -> None:
    """It was definitely not executed."""
    desk = opened(ONE, held=("target-1",))
    desk.refuse("target-1", "insufficient_margin")
    assert [note.fields["leg"] for note in desk.notes("order.refused") if note.alert] == ["target-1"]
    desk.wait(0.5)
    assert len(desk.submits("target-1")) == 1
    desk.wait(1)
    first, second = desk.submits("target-1")
    assert first == second


def test_an_unknown_placement_is_looked_up_and_never_gets_a_second_id() -> None:
    """Only proven absent is it sent again, with the same id; found at rest, it rests."""
    desk = opened(ONE, held=("target-1",))
    desk.lose("target-1")
    desk.price("100.5", "100.2")
    assert len(desk.submits("target-1")) == 1
    desk.absent("target-1")
    first, second = desk.submits("target-1")
    assert first == second
    desk.lose("target-1")
    desk.report("target-1", read_back=True)
    assert desk.intent("target-1").status is IntentStatus.RESTING
    assert len(desk.submits("target-1")) == 2


def test_a_duplicate_id_means_that_it_rests_already() -> None:
    """The first request arrived after all: it is read, not sent."""
    desk = opened(ONE, held=("target-1",))
    desk.lose("target-1")
    desk.absent("target-1")
    order = desk.order("target-1")
    desk.refuse("target-1", "duplicate_id")
    assert desk.intent("target-1").status is IntentStatus.UNKNOWN
    order.state = OrderState.OPEN
    desk.report("target-1", read_back=True)
    assert desk.intent("target-1").status is IntentStatus.RESTING


def test_an_order_at_rest_that_the_exchange_no_longer_knows_is_placed_anew() -> None:
    """It did exist, so its id is not used again."""
    desk = opened(ONE)
    desk.absent("target-1")
    first, second = desk.submits("target-1")
    assert first.client_order_id != second.client_order_id
    assert (second.quantity, desk.intent("target-1").generation) == (D(6), 1)


def test_an_end_short_of_its_trades_asks_for_them_first() -> None:
    """Terminal, and the position says that more was sold: nothing is asked for before that is understood."""
    desk = opened(ONE, held=("target-1", "observe"))
    desk.report("target-1", read_back=True)
    order = desk.order("target-1")
    order.state = OrderState.CANCELLED
    for _ in range(2):
        desk.tell(replace(desk._report(order, read_back=True), venue_quantity=D(4)))
    desk.wait(60)
    assert len(desk.submits("target-1")) == 1
    desk.held.clear()
    desk.observe("10")
    desk.wait(60)
    assert len(desk.submits("target-1")) == 2


def test_only_so_many_ended_orders_are_remembered() -> None:
    """A level that moves often leaves many; the numbering goes on."""
    desk = opened(ONE)
    for _ in range(12):
        desk.cancelled("target-1")
        desk.wait(60)
    assert len([intent for intent in desk.position.intents if intent.leg == "target-1"]) <= 5
    assert len({one.client_order_id for one in desk.submits("target-1")}) == 13
    desk.price("101")
    assert desk.target(1).filled == D(6)


# -- seen by reads of the slot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", ["target-1", "resident-1"])
def test_an_order_missing_from_the_open_ones_is_looked_up_and_nothing_is_concluded(leg: str) -> None:
    """A listing proves nothing: some omit a class, some lag."""
    desk = opened(ONE)
    order_id = desk.order(leg).submit.client_order_id
    listed = tuple(order.submit.client_order_id for order in desk.orders.values())
    effects = desk.observe("10", open_orders=listed)
    assert effects == ()
    effects = desk.observe("10", open_orders=tuple(one for one in listed if one != order_id))
    assert [getattr(one, "client_order_id", "") for one in effects] == [order_id]
    assert desk.intent(leg).status is IntentStatus.RESTING
    assert desk.position.protected
    order = desk.order(leg)
    order.state = OrderState.CANCELLED
    desk.observe("10", open_orders=())
    assert desk.intent(leg).status is not IntentStatus.RESTING or desk.order(leg) is not order


def test_a_size_is_judged_while_orders_rest() -> None:
    """What rests is not under way, so a change by hand is found."""
    desk = opened(ONE)
    desk.observe("9")
    assert desk.position.remaining == D(9)


def test_a_fill_that_only_the_trades_tell_is_booked_as_its_leg() -> None:
    """A report that was lost; the order's end is then asked for."""
    desk = opened(ONE)
    order_id = desk.order("target-1").submit.client_order_id
    trade = desk.trade("x1", "2", "101", client_order_id=order_id)
    desk.order("target-1").trades = (trade,)
    desk.observe("8", trades=(trade,))
    assert (desk.target(1).filled, desk.position.remaining) == (D(2), D(8))


def test_candles_neither_fill_nor_miss_it() -> None:
    """What became of its order is read from the exchange."""
    desk = opened(ONE)
    desk.tell(
        ExtremesBackfilled(at=desk.at, exact=True, high=D(110), low=D(99), targets_high=D(110), targets_low=D(99))
    )
    assert (desk.target(1).hit, desk.target(1).filled, desk.target(1).missed) == (False, D(0), False)


# -- altered -----------------------------------------------------------------------------------------------------------

ALTERATIONS: list[dict[str, Any]] = [
    {"position_wide": True},
    {"position_wide": True, "quantity": D(0)},
    {"quantity": D(10)},
    {"reduce_only": False},
    {"limit_price": D("100.5")},
]


@pytest.mark.parametrize("altered", ALTERATIONS)
def test_an_altered_order_goes_at_once_and_its_target_is_closed_in_software(altered: dict[str, Any]) -> None:
    """Told, saved, and owed as a market target from then on: exactly its quantity."""
    desk = opened(ONE)
    effects = desk.alter("target-1", **altered)
    assert [one.kind for one in effects if isinstance(one, Cancel)] == [OrderKind.LIMIT]
    assert [note.fields["leg"] for note in desk.notes("order.altered") if note.alert] == ["target-1"]
    assert desk.target(1).software
    assert legs(desk) == []
    desk.price("100.9", "101")
    assert market_exits(desk) == [("target-1", D(6))]
    assert (desk.target(1).filled, desk.position.remaining, desk.position.stop_price) == (D(6), D(4), D(100))
    assert len({one.client_order_id for one in desk.submits("target-1")}) == 2


def test_what_an_altered_order_had_filled_counts() -> None:
    """Only the rest is closed in software."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    desk.alter("target-1", position_wide=True)
    desk.price("101")
    assert market_exits(desk) == [("target-1", D(4))]


def test_a_touched_target_whose_order_is_altered_is_owed_at_once() -> None:
    """It is hit already; only its closing is missing, within its price bound."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{**FIRST, "actions_on": "touch"}]})
    desk.fills_limits = False
    desk.price("101")
    desk.alter("target-1", position_wide=True)
    assert market_exits(desk) == [("target-1", D(6))]


def test_an_order_that_was_cut_down_by_the_exchange_is_placed_anew() -> None:
    """Less than was asked closes nothing wrong: what is missing is asked for after a while."""
    desk = opened(ONE)
    desk.alter("target-1", quantity=D(3))
    assert not desk.target(1).software
    assert legs(desk) == []
    desk.wait(1)
    assert legs(desk) == [("target-1", D(6))]


def test_an_overfill_is_booked_as_what_it_is_and_leads_to_nothing_more() -> None:
    """It closed everything: told, booked under its leg, and no order follows."""
    desk = opened(PLAN)
    order = desk.order("target-1")
    order.trades = (desk.trade("x1", "10", "101", client_order_id=order.submit.client_order_id),)
    order.state = OrderState.FILLED
    desk.venue = D(0)
    sent = len(desk.submits("target-"))
    desk.report("target-1", read_back=True)
    assert desk.target(1).filled == D(10)
    assert [note for note in desk.notes("order.altered") if note.alert]
    assert len(desk.submits("target-")) == sent
    assert (desk.phase(), desk.position.close_reason) == ("closed", "take_profit")


# -- amended -----------------------------------------------------------------------------------------------------------


def moved(**changes: Any) -> dict[str, Any]:
    """The plan with its first target changed."""
    return {"stop": {"percent": "5"}, "targets": [{"number": 1, **FIRST, **changes}]}


@pytest.mark.parametrize(
    ("changes", "price", "left"),
    [({"at": {"percent": "1.5"}}, "101.5", "6"), ({"close": "0.4"}, "101", "4"), ({"close": "0.8"}, "101", "8")],
)
def test_an_amended_target_is_cancelled_verified_and_placed_anew(changes: Any, price: str, left: str) -> None:
    """One leg, the next generation, never two at once."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.amend(moved(**changes))
    desk.cancelled("target-1")
    assert len(desk.submits("target-1")) == 1
    desk.held.clear()
    desk.report("target-1", read_back=True)
    assert desk.limits() == [("target-1", D(price), D(left))]
    assert desk.intent("target-1").generation == 1


def test_an_unchanged_target_keeps_its_order_and_its_fills() -> None:
    """Repeating the plan changes nothing at the exchange."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    desk.amend({**ONE, "stop": {"percent": "4"}})
    assert len(desk.submits("target-1")) == 1
    assert desk.target(1).filled == D(2)
    desk.price("101")
    assert (desk.target(1).filled, desk.target(1).hit) == (D(6), True)


def test_what_a_moved_target_had_filled_is_not_asked_for_again() -> None:
    """2 of 6 are done: 4 rest at the new price."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    desk.amend(moved(at={"percent": "3"}))
    assert desk.limits() == [("target-1", D(103), D(4))]
    desk.price("103")
    assert (desk.target(1).filled, desk.target(1).hit, desk.position.remaining) == (D(6), True, D(4))


def test_a_target_that_fills_while_the_plan_is_amended_closes_once() -> None:
    """The cancellation came too late; the replacement, under a new number, finds nothing left to ask for."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    desk.amend({"stop": {"percent": "5"}, "targets": [{**FIRST, "at": {"percent": "3"}}]})
    assert desk.submits("target-2") == []
    desk.held.clear()
    desk.fill("target-1", price="101")
    desk.price("101", "103", "104")
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(6))]
    assert desk.position.remaining == D(4)
    assert desk.submits("target-2") == []
    assert desk.target(2).hit


def test_a_dropped_target_counts_with_what_it_has_filled() -> None:
    """0.2 are closed: 0.9 more would be 1.1, 0.8 are possible and leave no runner."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    more = {"at": {"percent": "3"}, "order": "limit"}
    with pytest.raises(PlanRefused, match=r"1\.1"):
        desk.amend({"stop": {"percent": "5"}, "targets": [{**more, "close": "0.9"}]})
    desk.amend({"stop": {"percent": "5"}, "targets": [{**more, "close": "0.8"}]})
    assert legs(desk) == [("target-2", D(8))]
    desk.price("103")
    assert desk.phase() == "closed"
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(2)), ("target-2", D(8))]


def test_a_target_cannot_be_amended_to_less_than_it_has_closed() -> None:
    """What is sold is sold."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    with pytest.raises(PlanRefused, match="closed already"):
        desk.amend(moved(close="0.1"))


def test_a_resting_target_may_become_a_market_target_and_back() -> None:
    """Its order goes; what it filled counts in both."""
    desk = opened(ONE)
    desk.fill("target-1", "2", price="101")
    market = {key: value for key, value in FIRST.items() if key != "order"}
    desk.amend({"stop": {"percent": "5"}, "targets": [{"number": 1, **market}]})
    assert legs(desk) == []
    desk.amend(moved())
    assert legs(desk) == [("target-1", D(4))]
    desk.amend({"stop": {"percent": "5"}, "targets": [{"number": 1, **market}]})
    desk.price("101")
    assert market_exits(desk) == [("target-1", D(4))]
    assert desk.target(1).filled == D(6)


def test_a_market_order_of_an_amended_leg_waits_for_the_end_of_its_limit_order() -> None:
    """Never two of one leg at the exchange."""
    desk = opened(ONE, held=("target-1",))
    desk.report("target-1", read_back=True)
    market = {key: value for key, value in FIRST.items() if key != "order"}
    desk.amend({"stop": {"percent": "5"}, "targets": [{"number": 1, **market}]})
    desk.price("101")
    assert desk.target(1).hit
    assert market_exits(desk) == []
    desk.held.clear()
    desk.cancelled("target-1")
    desk.report("target-1", read_back=True)
    assert market_exits(desk) == [("target-1", D(6))]


# -- levels that move with time ----------------------------------------------------------------------------------------


STEPS = [{"percent": "2"}, {"percent": "1.5", "after_seconds": 60}, {"percent": "1", "after_seconds": 120}]


def test_a_level_that_comes_closer_moves_its_order() -> None:
    """By time alone: cancelled, read back twice, placed anew for what is missing."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{**FIRST, "at": STEPS}]})
    assert desk.limits() == [("target-1", D(102), D(6))]
    desk.wait(59)
    assert len(desk.submits("target-1")) == 1
    desk.wait(1)
    assert desk.limits() == [("target-1", D("101.5"), D(6))]
    desk.fill("target-1", "1", price="101.5")
    desk.wait(60)
    assert desk.limits() == [("target-1", D(101), D(5))]
    assert desk.intent("target-1").generation == 2


def test_the_next_move_is_a_deadline() -> None:
    """Somebody must be woken for it; what is past does not hide what comes."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{**FIRST, "at": STEPS}], "time_limit_seconds": 300})
    start = desk.at
    assert next_deadline(desk.position, start) == start + 60 * SECOND
    assert next_deadline(desk.position, start + 60 * SECOND) == start + 120 * SECOND
    assert next_deadline(desk.position, start + 120 * SECOND) == start + 300 * SECOND


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_with_resting_targets_is_read_and_written_back() -> None:
    """`actions_on` only where it differs from the default."""
    body = {"stop": {"percent": "5"}, "targets": [{**FIRST, "actions_on": "touch"}, SECOND_TARGET]}
    plan = parse_plan(body)
    assert [(target.order, target.actions_on) for target in plan.targets] == [("limit", "touch"), ("limit", "fill")]
    written = plan_to_dict(plan)
    assert [target.get("actions_on") for target in written["targets"]] == ["touch", None]
    assert parse_plan(written, numbers=True) == plan


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order": "stop"}, "targets.0.order"),
        ({"close": "0"}, "targets.0.order"),
        ({"actions_on": "sight"}, "targets.0.actions_on"),
        ({"order": "market", "actions_on": "touch"}, "targets.0.actions_on"),
    ],
)
def test_what_no_resting_target_can_be_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    """Each fault names where it is."""
    with pytest.raises(PlanRefused) as caught:
        parse_plan({"stop": {"percent": "5"}, "targets": [{**FIRST, **changes}]})
    assert field in [fault.field for fault in caught.value.faults]


def test_the_stops_source_starts_the_peak() -> None:
    """A fill arms the trail from the latest price of the stop's source."""
    plan = {"stop": {"percent": "5"}, "targets": [{**SECOND_TARGET, "close": "0.5"}]}
    desk = opened(plan)
    assert desk.position.plan.stop_source is Source.MARK
    desk.fills_limits = False
    desk.price(None, mark="101.7", last="102", bid="102", ask="102.1")
    desk.fill("target-1", price="102")
    assert desk.position.peak_price == D("101.7")


# -- coming back -------------------------------------------------------------------------------------------------------


def orphan(desk: Desk, order_id: str) -> OrphanSeen:
    """A limit order with our tag that a slot read found."""
    return OrphanSeen(at=desk.at, client_order_id=order_id, kind=OrderKind.LIMIT, quantity=D(6), trigger_price=None)


def back(desk: Desk, price: str) -> None:
    """Reconciled, at this present price."""
    desk.quote = quote(price, at=desk.at)
    reconciled(desk)


def away(desk: Desk, leg: str, quantity: object = None) -> None:
    """Killed; (part of) an order at rest fills meanwhile, and every order is looked up."""
    order = desk.order(leg)
    desk._execute(order, None if quantity is None else D(str(quantity)), order.submit.limit_price)
    restart(desk)


def test_what_filled_while_nobody_was_there_is_booked_at_boot() -> None:
    """Hit then, and its stop moves then: nothing acts before the position is reconciled."""
    desk = opened(PLAN)
    away(desk, "target-1")
    assert (desk.target(1).filled, desk.position.remaining) == (D(6), D(4))
    assert (desk.target(1).hit, desk.position.stop_price) == (False, D(95))
    back(desk, "101.5")
    assert (desk.target(1).hit, desk.position.stop_price) == (True, D(100))
    assert [stop.submit.quantity for stop in desk.resting()] == [D(4)]
    assert legs(desk) == [("target-2", D(2))]


def test_the_trail_of_a_target_that_filled_meanwhile_starts_at_the_present_price() -> None:
    """Not at the price it filled at, which may be long gone."""
    plan = {"stop": {"percent": "5"}, "targets": [{**SECOND_TARGET, "close": "0.5"}]}
    desk = opened(plan)
    away(desk, "target-1")
    back(desk, "101")
    assert (desk.position.trailing_stop_active, desk.position.peak_price) == (True, D(101))


def test_what_filled_in_part_meanwhile_goes_on_resting() -> None:
    """Cumulative: the same read twice changes nothing."""
    desk = opened(ONE)
    away(desk, "target-1", "2")
    back(desk, "100.5")
    desk.report("target-1", read_back=True)
    assert (desk.target(1).filled, desk.target(1).hit) == (D(2), False)
    assert desk.intent("target-1").status is IntentStatus.RESTING
    assert len(desk.submits("target-1")) == 1
    assert [stop.submit.quantity for stop in desk.resting()] == [D(8)]


def test_an_order_at_rest_is_looked_up_with_proof_after_a_restart() -> None:
    """Durable means possibly sent."""
    desk = opened(ONE)
    sent = len(desk.effects)
    restart(desk)
    asked = [one for one in desk.effects[sent:] if isinstance(one, LookUp) and one.kind is OrderKind.LIMIT]
    assert [(one.client_order_id, one.proof) for one in asked] == [
        (desk.order("target-1").submit.client_order_id, True)
    ]


def test_an_order_that_the_saved_state_does_not_know_joins_its_leg_and_is_taken_back() -> None:
    """Its fills, if any, are its leg's; what should rest rests once."""
    desk = opened(ONE)
    known = desk.position
    for _ in range(2):
        desk.cancelled("target-1")
        desk.wait(60)
    third = desk.order("target-1").submit.client_order_id
    desk.position = known
    restart(desk)
    desk.tell(orphan(desk, third))
    assert desk.intent("target-1").client_order_id == third
    back(desk, "100")
    desk.wait(60)
    assert legs(desk) == [("target-1", D(6))]
    assert desk.orders[third].state == "cancelled"


def test_an_order_of_ours_that_nothing_explains_is_taken_back() -> None:
    """It belongs to no leg; it goes all the same."""
    desk = opened(ONE)
    stray = replace(desk.order("target-1").submit, client_order_id="0badcafe" + "0" * 24, leg="stray")
    desk.orders[stray.client_order_id] = Order(stray)
    restart(desk)
    desk.tell(orphan(desk, stray.client_order_id))
    back(desk, "100")
    assert desk.orders[stray.client_order_id].state == "cancelled"
    assert legs(desk) == [("target-1", D(6))]
