"""Closing by hand: whole or in part, once per request."""

import pytest

from actors.domain.errors import CommandRefused
from tests.unit.driver import D, instrument, opened

PLAN = {"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "0.6"}]}


def test_a_manual_close_closes_all_that_remains() -> None:
    """Reason `manual`, leg `manual-1`, and the slot is free."""
    desk = opened(PLAN)
    desk.price("101", "100.5")
    desk.close()
    assert desk.exits()[1:] == [("manual-1", "manual", D("100.5"), D(4))]
    assert desk.phase() == "closed"
    assert desk.position.close_reason == "manual"


def test_a_fraction_is_of_what_remains_when_it_is_accepted() -> None:
    """Half of the 4 that TP1 left is 2."""
    desk = opened(PLAN)
    desk.price("101")
    desk.close("0.5", "r1")
    assert desk.exits()[-1] == ("manual-1", "manual", D(101), D(2))
    assert desk.position.remaining == D(2)


def test_repeating_a_request_closes_once() -> None:
    """The same id again is the same close, whatever happened in between."""
    desk = opened(PLAN)
    desk.close("0.5", "r1")
    desk.close("0.5", "r1")
    desk.price("100.2")
    desk.close("0.5", "r1")
    assert [quantity for *_, quantity in desk.exits()] == [D(5)]


def test_another_request_closes_again_under_another_number() -> None:
    """manual-1 and manual-2: numbers of legs are never used twice."""
    desk = opened(PLAN)
    desk.close("0.5", "r1")
    desk.close("0.5", "r2")
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("manual-1", D(5)), ("manual-2", D("2.5"))]


def test_a_fraction_below_one_needs_a_request_id() -> None:
    """Without one a repeat could not be told from a second wish."""
    desk = opened(PLAN)
    before = desk.position
    with pytest.raises(CommandRefused) as caught:
        desk.close("0.5")
    assert "request_id" in (caught.value.field, caught.value.message)
    assert desk.position == before


@pytest.mark.parametrize("fraction", ["0", "-0.5", "1.1"])
def test_a_fraction_outside_its_range_is_refused(fraction: str) -> None:
    """0 < fraction <= 1."""
    with pytest.raises(CommandRefused):
        opened(PLAN).close(fraction, "r1")


def test_a_manual_fraction_is_floored_to_the_step() -> None:
    """A third of 10 at a step of 0.1 is 3.3."""
    desk = opened({"stop": {"percent": "5"}}, instrument=instrument(quantity_step=D("0.1")))
    desk.close("0.3333333", "r1")
    assert [quantity for *_, quantity in desk.exits()] == [D("3.3")]


def test_a_manual_fraction_under_the_minimum_is_refused_with_its_numbers() -> None:
    """Never rounded up."""
    desk = opened({"stop": {"percent": "5"}}, instrument=instrument(minimum_quantity=D(1)))
    with pytest.raises(CommandRefused) as caught:
        desk.close("0.05", "r1")
    assert "0.5" in caught.value.message


def test_a_target_after_a_manual_close_never_takes_more_than_remains() -> None:
    """60 % of the original is 6, but only 2.5 are left."""
    desk = opened(PLAN)
    desk.close("0.75", "r1")
    desk.price("101")
    assert sum(quantity for *_, quantity in desk.exits()) <= D(10)
    assert desk.venue >= 0
    assert desk.target(1).filled <= D("2.5")


def test_closing_all_twice_is_harmless() -> None:
    """A second click while the first close is on its way sends nothing more."""
    desk = opened(PLAN, held=("manual-",))
    desk.close(request_id="r1")
    desk.close(request_id="r1")
    assert len(desk.submits("manual-")) == 1
    desk.fill("manual-1")
    assert desk.position.remaining == 0


def test_a_close_without_an_id_repeated_while_closing_sends_nothing_more() -> None:
    """All of it is already on its way out."""
    desk = opened(PLAN, held=("manual-",))
    desk.close()
    try:
        desk.close()
    except CommandRefused as error:
        assert error.code
    assert len(desk.submits("manual-")) == 1


def test_a_manual_close_of_an_opening_position_is_not_lost() -> None:
    """Nothing was filled yet: whatever the entry brings is closed, or the command is refused; it is never forgotten."""
    desk = opened(PLAN, held=("entry",))
    try:
        desk.close()
    except CommandRefused:
        return
    desk.held.clear()
    desk.fill("entry")
    desk.price("100")
    assert desk.venue == 0


def test_a_closed_position_cannot_be_closed() -> None:
    """There is nothing left to close."""
    desk = opened(PLAN)
    desk.close()
    with pytest.raises(CommandRefused):
        desk.close("0.5", "r9")


def test_a_request_that_was_accepted_is_known_after_the_close_too() -> None:
    """A client that missed the answer asks again and gets it, not an error."""
    desk = opened(PLAN)
    desk.close("1", "r1")
    assert desk.phase() == "closed"
    desk.close("1", "r1")
    assert len(desk.submits("manual-")) == 1
    assert desk.position.close_requests[0].request_id == "r1"
    assert desk.position.close_requests[0].quantity == D(10)
