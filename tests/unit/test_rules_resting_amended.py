"""Resting targets whose plan changes: amended, moved by time, read and written."""

from typing import Any

import pytest

from actors.domain.errors import PlanRefused
from actors.domain.model import Source
from actors.domain.plans import parse_plan, plan_to_dict
from actors.domain.prices import next_deadline
from tests.unit.driver import SECOND, D, opened
from tests.unit.test_rules_resting import FIRST, ONE, SECOND_TARGET, legs, market_exits

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


def test_a_market_exit_waits_while_an_order_at_rest_is_being_moved() -> None:
    """What is being cancelled may still fill: it is in flight, and one exit order is in flight at a time."""
    market = {"at": {"percent": "0.5"}, "close": "0.1"}
    desk = opened({"stop": {"percent": "5"}, "targets": [market, FIRST]}, held=("target-2",))
    desk.report("target-2", read_back=True)
    moved_on = {**FIRST, "number": 2, "at": {"percent": "3"}}
    desk.amend({"stop": {"percent": "5"}, "targets": [{"number": 1, **market}, moved_on]})
    desk.price("100.5")
    assert desk.target(1).hit
    assert market_exits(desk) == []
    desk.observe("9")
    assert desk.position.remaining == D(10)
    desk.venue = D(10)
    desk.held.clear()
    desk.cancelled("target-2")
    desk.report("target-2", read_back=True)
    assert market_exits(desk) == [("target-1", D(1))]


def test_a_leg_asks_for_what_its_target_says_now_not_for_what_its_first_order_said() -> None:
    """0.4 rested, 0.8 are asked for since."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{**FIRST, "close": "0.4"}]})
    desk.fill("target-1", "1", price="101")
    market = {key: value for key, value in FIRST.items() if key != "order"}
    desk.amend({"stop": {"percent": "5"}, "targets": [{"number": 1, **market, "close": "0.8"}]})
    desk.price("101")
    assert market_exits(desk) == [("target-1", D(7))]
    assert desk.target(1).filled == D(8)


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
