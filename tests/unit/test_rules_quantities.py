"""Quantities: floored, never rounded up, never more than the plan says."""

from typing import Any

import pytest

from actors.domain.errors import CommandRefused, PlanRefused
from tests.unit.driver import D, adopted, instrument, opened


def refusal(plan: dict[str, Any], **changes: Any) -> PlanRefused:
    """The refusal of an opening."""
    with pytest.raises(PlanRefused) as caught:
        opened(plan, **changes)
    return caught.value


def ladder(*fractions: str) -> dict[str, Any]:
    """Targets 1 % apart that close these fractions, and a stop far away."""
    targets = [{"at": {"percent": str(place)}, "close": close} for place, close in enumerate(fractions, 1)]
    return {"stop": {"percent": "5"}, "targets": targets}


def test_a_leg_is_its_fraction_of_the_original_quantity() -> None:
    """Not of what remains: 30 % and 30 % of 10 are 3 and 3."""
    desk = opened(ladder("0.3", "0.3"))
    desk.price("101", "102")
    assert [quantity for *_, quantity in desk.exits()] == [D(3), D(3)]
    assert desk.position.remaining == D(4)


def test_legs_are_floored_to_the_step_and_the_runner_gets_what_that_leaves() -> None:
    """A third of 1 at a step of 0.01 is 0.33; the runner has 0.34."""
    market = instrument(quantity_step=D("0.01"), minimum_quantity=D("0.01"))
    desk = opened(ladder("0.3333", "0.3333"), quantity=D(1), instrument=market)
    desk.price("101", "102")
    assert [quantity for *_, quantity in desk.exits()] == [D("0.33"), D("0.33")]
    assert desk.position.remaining == D("0.34")


def test_fractions_that_sum_to_one_leave_no_runner() -> None:
    """The last closing target closes all that remains, what flooring left included."""
    market = instrument(quantity_step=D("0.01"), minimum_quantity=D("0.01"))
    desk = opened(ladder("0.333", "0.333", "0.334"), quantity=D("1"), instrument=market)
    desk.price("101", "102", "103")
    assert [quantity for *_, quantity in desk.exits()] == [D("0.33"), D("0.33"), D("0.34")]
    assert desk.phase() == "closed"
    assert desk.position.dust == 0
    assert desk.position.close_reason == "take_profit"


def test_the_last_closing_target_closes_all_even_when_one_without_a_fraction_follows() -> None:
    """Which target is the last one is a matter of fractions, not of places in the list."""
    plan = ladder("0.5", "0.5", "0")
    desk = opened(plan)
    desk.price("101", "102")
    assert desk.position.remaining == 0


def test_a_leg_under_the_minimum_quantity_is_refused_with_its_numbers() -> None:
    """0.06 of 10 is 0.6, and the venue takes 1 at least: never rounded up."""
    error = refusal(ladder("0.06", "0.3"), instrument=instrument(minimum_quantity=D(1)))
    assert [fault.field for fault in error.faults] == ["targets.0.close"]
    assert "0.6" in str(error)
    assert "1" in str(error)


def test_a_leg_under_the_minimum_notional_is_refused_with_its_numbers() -> None:
    """The value of the leg at its own level counts."""
    error = refusal(ladder("0.1"), instrument=instrument(minimum_notional=D("150")))
    assert "150" in str(error)
    assert "101" in str(error)


def test_a_runner_under_the_minimum_is_refused_with_its_numbers() -> None:
    """0.5 would remain, and could never be closed."""
    error = refusal(ladder("0.5", "0.45"), instrument=instrument(minimum_quantity=D(1)))
    assert "0.5" in str(error)
    assert "runner" in str(error)


def test_every_fault_is_named_at_once() -> None:
    """Two legs and the runner are too small: three faults in one refusal."""
    error = refusal(ladder("0.05", "0.05", "0.85"), instrument=instrument(minimum_quantity=D(1)))
    assert len(error.faults) == 3


def test_a_whole_position_under_the_minimum_is_refused() -> None:
    """A plan without targets has one leg: everything."""
    error = refusal({"stop": {"percent": "5"}}, quantity=D("0.5"), instrument=instrument(minimum_quantity=D(1)))
    assert "0.5" in str(error)


def test_a_quantity_off_the_step_is_refused_not_rounded() -> None:
    """Nobody's order is changed in silence."""
    error = refusal({"stop": {"percent": "5"}}, quantity=D("1.0005"))
    assert "1.0005" in str(error)


def test_adoption_refuses_what_opening_refuses() -> None:
    """A plan that cannot be carried out is refused whoever opened the position."""
    with pytest.raises(PlanRefused):
        adopted(ladder("0.06", "0.3"), instrument=instrument(minimum_quantity=D(1)))


def test_what_remains_below_the_minimum_after_fills_is_dust() -> None:
    """The position ends as `closed` with `dust` reported, and the slot is free."""
    market = instrument(minimum_quantity=D("0.01"))
    desk = opened({"stop": {"percent": "5"}}, instrument=market, held=("stop",))
    desk.price("95")
    desk.fill("stop", "9.995")
    desk.cancelled("stop")
    desk.report("stop", read_back=True)
    desk.report("stop", read_back=True)
    assert desk.phase() == "closed"
    assert desk.position.dust == D("0.005")
    assert desk.position.remaining == 0
    assert len(desk.submits("stop")) == 1


def test_a_manual_close_that_would_leave_dust_is_refused_with_its_numbers() -> None:
    """0.5 would remain and could never be closed: nobody asked for that."""
    desk = opened({"stop": {"percent": "5"}}, instrument=instrument(minimum_quantity=D(1)))
    with pytest.raises(CommandRefused) as caught:
        desk.close("0.95", "r1")
    assert "0.5" in caught.value.message
    assert desk.position.remaining == D(10)


def test_too_little_entry_for_the_plan_keeps_the_stop_and_disables_the_targets() -> None:
    """Half of the entry filled: the plan's legs would be under the minimum, the stop still stands, somebody is told."""
    market = instrument(minimum_quantity=D(2))
    desk = opened(ladder("0.3", "0.3"), instrument=market, held=("entry",))
    desk.fill("entry", "4")
    desk.cancelled("entry")
    desk.report("entry", read_back=True)
    desk.report("entry", read_back=True)
    assert desk.position.quantity == D(4)
    assert desk.position.targets_disabled
    assert any(note.alert for note in desk.notes())
    desk.price("101", "102", "103")
    assert desk.exits() == []
    desk.price("95")
    assert desk.exits() == [("stop", "stop_loss", D(95), D(4))]


def test_what_the_entry_filled_is_the_original_quantity() -> None:
    """Fractions refer to what was bought, not to what was asked for."""
    desk = opened(ladder("0.5"), held=("entry",))
    desk.fill("entry", "4", price="100")
    desk.cancelled("entry")
    desk.report("entry", read_back=True)
    desk.report("entry", read_back=True)
    desk.price("101")
    assert [quantity for *_, quantity in desk.exits()] == [D(2)]


def test_the_venues_average_fill_is_the_entry_price() -> None:
    """4 at 100 and 6 at 101 are 10 at 100.6; the stop counts from there."""
    desk = opened({"stop": {"percent": "10"}}, held=("entry",))
    desk.fill("entry", "4", price="100")
    assert desk.position.entry_price == D(100)
    desk.fill("entry", "6", price="101")
    assert desk.position.entry_price == D("100.6")
    assert desk.position.stop_price == D("90.54")
    assert desk.position.initial_stop_price == D("90.54")


def test_nothing_filled_ends_the_position() -> None:
    """`entry_refused`, and the slot is free."""
    desk = opened({"stop": {"percent": "10"}}, held=("entry",))
    desk.refuse("entry")
    assert desk.phase() == "closed"
    assert desk.position.close_reason == "entry_refused"
    assert desk.submits("resident") == []


def test_a_cancelled_entry_without_a_fill_ends_the_position() -> None:
    """Accepted and never executed comes to the same."""
    desk = opened({"stop": {"percent": "10"}}, held=("entry",))
    desk.cancelled("entry")
    desk.report("entry", read_back=True)
    desk.report("entry", read_back=True)
    assert desk.phase() == "closed"
    assert desk.position.close_reason == "entry_refused"
