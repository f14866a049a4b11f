"""Resting targets: a limit order of exactly its quantity, never also closed in software, never the runner's share."""

from dataclasses import replace
from typing import Any

import pytest

from actors.domain.events import Cancel, Submit
from actors.domain.model import IntentStatus, OrderKind
from tests.unit.driver import D, Desk, adopted, instrument, opened

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
    assert desk.position.stop_price == D(95)


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
