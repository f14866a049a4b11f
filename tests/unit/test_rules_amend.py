"""Amending: a new revision never takes back what happened, and never acts by surprise."""

from typing import Any

import pytest

from actors.domain.errors import CommandRefused, DomainError, PlanRefused
from actors.domain.plans import plan_to_dict
from tests.unit.driver import D, Desk, instrument, opened

FIRST = {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}}
SECOND = {"at": {"percent": "2"}, "close": "0.2"}
PLAN: dict[str, Any] = {"stop": {"percent": "5"}, "targets": [FIRST, SECOND]}


def faults(desk: Desk, plan: dict[str, Any], **changes: Any) -> dict[str, str]:
    """The refusal of an amendment, code by code, after which the position is as it was."""
    before = desk.position
    with pytest.raises(PlanRefused) as caught:
        desk.amend(plan, **changes)
    assert desk.position == before
    return {fault.code: fault.message for fault in caught.value.faults}


def after_tp1(**changes: Any) -> Desk:
    """TP1 is hit and filled, the stop at breakeven, the price at 100.5."""
    desk = opened(PLAN, **changes)
    desk.price("101", "100.5")
    return desk


def test_an_amendment_is_a_new_revision() -> None:
    """Revision 1 is the plan of the opening."""
    desk = opened(PLAN)
    assert desk.position.plan_revision == 1
    desk.amend({**PLAN, "stop": {"percent": "4"}})
    assert desk.position.plan_revision == 2
    assert desk.position.stop_price == D(96)


def test_hit_targets_are_carried_over_with_hit_and_filled() -> None:
    """What happened stays, whether or not the new plan mentions it."""
    desk = after_tp1()
    hit = desk.target(1)
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "4"}, "close": "0.1"}]})
    assert desk.target(1) == hit
    assert [target.number for target in desk.position.targets] == [1, 3]
    desk.price("101")
    assert len(desk.exits()) == 1


def test_a_hit_target_keeps_its_level_and_what_it_filled_though_the_plan_would_say_otherwise() -> None:
    """Its level computed anew would be another one, its order is still filling: nothing of it is touched."""
    plan = {"stop": {"percent": "5"}, "atr": "1", "targets": [{"at": {"atr": "1"}, "close": "0.6"}]}
    desk = opened(plan, held=("target-1",))
    desk.price("101", "100.5")
    desk.fill("target-1", "2")
    hit = desk.target(1)
    assert (hit.hit, hit.filled, hit.price) == (True, D(2), D(101))
    desk.amend({**plan, "atr": "2"})
    assert desk.target(1) == hit
    desk.fill("target-1", "4")
    assert desk.target(1).filled == D(6)
    desk.price("102")
    assert len(desk.submits("target-1")) == 1
    assert desk.position.remaining == D(4)


def test_the_whole_plan_may_be_sent_back_as_it_was_read() -> None:
    """Reading, changing one thing and writing is how people amend."""
    desk = after_tp1()
    body = plan_to_dict(desk.position.plan)
    body["targets"][1]["at"] = {"percent": "3"}
    desk.amend(body)
    assert desk.target(1).hit
    assert desk.target(2).price == D(103)
    assert desk.position.stop_price == D(100)
    assert desk.position.stop_reason == "breakeven"


def test_changing_a_hit_target_is_refused() -> None:
    """Its fraction is closed; no revision can close another one."""
    desk = after_tp1()
    changed = {**PLAN, "targets": [{**FIRST, "number": 1, "close": "0.3"}, {**SECOND, "number": 2}]}
    assert faults(desk, changed)


def test_numbers_are_never_used_again() -> None:
    """A target that was dropped leaves its number empty for ever."""
    desk = opened(PLAN)
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "3"}, "close": "0.1"}]})
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "4"}, "close": "0.1"}]})
    numbers = [target.number for target in desk.position.targets]
    assert numbers == [4]
    reused = {"stop": {"percent": "5"}, "targets": [{"number": 1, "at": {"percent": "3"}, "close": "0.1"}]}
    assert faults(desk, reused)


def test_legs_of_new_targets_are_legs_of_their_own() -> None:
    """A new target at the old place has a new leg and so a new order id."""
    desk = after_tp1()
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1.5"}, "close": "0.1"}]})
    desk.price("101.5")
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(6)), ("target-3", D(1))]


def test_hit_targets_count_in_the_sum_of_fractions() -> None:
    """0.6 is gone: 0.5 more would be 1.1."""
    desk = after_tp1()
    refused = faults(desk, {"stop": {"percent": "5"}, "targets": [{"at": {"percent": "4"}, "close": "0.5"}]})
    assert "1.1" in str(refused)


def test_fractions_still_refer_to_the_original_quantity() -> None:
    """0.2 of 10 is 2, although only 4 remain."""
    desk = after_tp1()
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "4"}, "close": "0.2"}]})
    desk.price("104")
    assert desk.exits()[-1][3] == D(2)


def test_fractions_that_sum_to_one_with_the_hit_ones_leave_no_runner() -> None:
    """0.6 and 0.4 are everything."""
    desk = after_tp1()
    desk.amend({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "4"}, "close": "0.4"}]})
    desk.price("104")
    assert desk.position.remaining == 0


def test_a_looser_stop_is_refused_with_both_prices() -> None:
    """The stop is at breakeven since TP1; 95.5 would be a step back."""
    desk = after_tp1()
    refused = faults(desk, {**PLAN, "stop": {"percent": "4.5"}})
    assert "95.5" in str(refused)
    assert "100" in str(refused)


def test_a_looser_stop_is_set_when_that_is_said() -> None:
    """`allow_looser_stop` means it."""
    desk = opened(PLAN)
    desk.amend({**PLAN, "stop": {"percent": "6"}}, allow_looser_stop=True)
    assert desk.position.stop_price == D(94)


def test_a_plan_whose_stop_is_unchanged_does_not_move_the_stop() -> None:
    """The same words again are no wish to loosen what a target has tightened."""
    desk = after_tp1()
    desk.amend({**PLAN, "targets": [{"at": {"percent": "4"}, "close": "0.1"}]})
    assert desk.position.stop_price == D(100)


def test_a_stop_that_the_price_has_passed_is_refused_with_both_prices() -> None:
    """`already_crossed`: the new stop and the present price."""
    desk = opened(PLAN)
    desk.price("99.4")
    refused = faults(desk, {**PLAN, "stop": {"percent": "0.5"}})
    assert "99.5" in refused["already_crossed"]
    assert "99.4" in refused["already_crossed"]


def test_a_target_that_the_price_has_passed_is_refused_with_both_prices() -> None:
    """`already_crossed`: the new target and the present price."""
    desk = opened(PLAN)
    desk.price("100.9")
    refused = faults(desk, {**PLAN, "targets": [{"at": {"percent": "0.5"}, "close": "0.5"}]})
    assert "100.5" in refused["already_crossed"]
    assert "100.9" in refused["already_crossed"]


def test_act_now_acts_on_the_next_price() -> None:
    """What was refused as a surprise is done when it is asked for."""
    desk = opened(PLAN)
    desk.price("100.9")
    desk.amend({**PLAN, "targets": [{"at": {"percent": "0.5"}, "close": "0.5"}]}, act_now=True)
    desk.price("100.9")
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-3", D(5))]


def test_act_now_on_a_crossed_stop_closes_on_the_next_price() -> None:
    """Likewise for a stop."""
    desk = opened(PLAN)
    desk.price("99.4")
    desk.amend({**PLAN, "stop": {"percent": "0.5"}}, act_now=True)
    desk.price("99.4")
    assert desk.position.remaining == 0


def test_targets_out_of_order_are_refused_in_an_amendment_too() -> None:
    """In order of profit."""
    later = {"at": {"percent": "5"}, "close": "0.1"}
    earlier = {"at": {"percent": "4"}, "close": "0.1"}
    assert faults(opened(PLAN), {**PLAN, "targets": [later, earlier]})


def test_a_leg_under_the_minimum_is_refused_in_an_amendment_too() -> None:
    """With the numbers."""
    desk = opened(PLAN, instrument=instrument(minimum_quantity=D(1)))
    refused = faults(desk, {**PLAN, "targets": [{"at": {"percent": "4"}, "close": "0.05"}]})
    assert "0.5" in str(refused)


def test_a_runner_under_the_minimum_is_refused_in_an_amendment_too() -> None:
    """0.5 would remain, and could never be closed."""
    desk = opened(PLAN, instrument=instrument(minimum_quantity=D(1)))
    refused = faults(desk, {**PLAN, "targets": [{"at": {"percent": "4"}, "close": "0.95"}]})
    assert "0.5" in str(refused)


def test_an_amended_trail_is_armed_at_the_present_price() -> None:
    """A plan that gains a trail starts its peak now, and tests it at the next price."""
    desk = after_tp1()
    desk.amend({**PLAN, "trail": {"price": "0.3"}})
    assert desk.position.trailing_stop_active
    assert desk.position.peak_price == D("100.5")
    assert desk.position.stop_price == D("100.2")
    assert len(desk.exits()) == 1


def test_an_armed_trail_holds_at_the_next_price_whatever_was_amended() -> None:
    """stop = best(stop, peak - d) at every price: a looser stop that was allowed lasts no longer than that."""
    desk = opened({"stop": {"percent": "5"}, "trail": {"price": "2"}})
    desk.price("110", "109")
    desk.amend({"stop": {"percent": "6"}, "trail": {"price": "2"}}, allow_looser_stop=True)
    desk.price("109")
    assert desk.position.stop_price == D(108)


def test_the_time_limit_may_be_amended() -> None:
    """It still counts from the entry."""
    desk = opened(PLAN)
    desk.price("100.1", seconds=50)
    desk.amend({**PLAN, "time_limit_seconds": 60})
    desk.price("100.1", seconds=9)
    assert desk.exits() == []
    desk.price("100.1", seconds=1)
    assert desk.exits()[0][1] == "time_limit"


def test_a_position_on_its_way_out_is_not_amended() -> None:
    """Nothing that is decided is taken back."""
    desk = opened(PLAN, held=("stop",))
    desk.price("95")
    with pytest.raises(CommandRefused):
        desk.amend(PLAN)


@pytest.mark.parametrize("phase", ["opening", "closed"])
def test_there_is_nothing_to_amend_before_the_entry_or_after_the_end(phase: str) -> None:
    """Refused by name, not by accident."""
    desk = opened(PLAN, held=("entry",) if phase == "opening" else ())
    if phase == "closed":
        desk.close()
    with pytest.raises(DomainError):
        desk.amend(PLAN)


def test_a_new_target_may_not_lie_before_the_last_that_was_hit_by_surprise() -> None:
    """What the price has passed is `already_crossed` whichever target it belonged to before."""
    desk = opened(PLAN)
    desk.price("101")
    refused = faults(desk, {**PLAN, "targets": [FIRST, {"at": {"percent": "0.9"}, "close": "0.1"}]})
    assert "already_crossed" in refused
