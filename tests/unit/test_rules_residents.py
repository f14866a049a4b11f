"""The protective stop at the venue: there from the first fill on, sized to what remains, never absent."""

from decimal import Decimal
from typing import Any

import pytest

from actors.domain.events import Cancel, Effect, LookUp, Submit
from actors.domain.model import IntentStatus, OrderKind, Source, Terms
from tests.unit.driver import D, Desk, instrument, opened

PLAN: dict[str, Any] = {
    "stop": {"percent": "5"},
    "targets": [{"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}}],
}
TRAIL: dict[str, Any] = {"stop": {"percent": "5"}, "trail": {"percent": "1"}}


def guarded(desk: Desk) -> Decimal:
    """How much of the position the open stop orders at the venue cover."""
    return sum((order.submit.quantity - order.filled for order in desk.resting()), D(0))


def only_stop(desk: Desk) -> Submit:
    """The one stop that rests."""
    (order,) = desk.resting()
    return order.submit


@pytest.mark.parametrize(("side", "level"), [("long", "95"), ("short", "105")])
def test_a_reduce_only_stop_rests_from_the_first_fill_on(side: str, level: str) -> None:
    """At the stop's level, for the whole quantity, and it can only reduce."""
    desk = opened(PLAN, side)
    stop = only_stop(desk)
    assert stop.leg == "resident-1"
    assert stop.kind is OrderKind.STOP_MARKET
    assert stop.reduce_only
    assert stop.quantity == D(10)
    assert stop.trigger_price == D(level)
    assert desk.position.protected


def test_each_entry_fill_is_protected_at_once() -> None:
    """Half an entry is half a risk: it does not wait for the other half."""
    desk = opened(PLAN, held=("entry",))
    desk.fill("entry", "4")
    assert guarded(desk) == D(4)
    desk.fill("entry")
    assert guarded(desk) == D(10)
    assert only_stop(desk).quantity == D(10)


def test_it_is_protected_only_after_the_stop_was_read_back() -> None:
    """An acknowledgement is not yet an order at rest."""
    desk = opened(PLAN, held=("resident-",))
    assert [desk.position.protected] == [False]
    effects = desk.report("resident-1")
    assert any(isinstance(effect, LookUp) for effect in effects)
    assert [desk.position.protected] == [False]
    desk.report("resident-1", read_back=True)
    assert [desk.position.protected] == [True]
    assert desk.intent("resident-1").status is IntentStatus.RESTING


@pytest.mark.parametrize(("side", "level"), [("long", "98.7"), ("short", "101.3")])
def test_the_level_is_rounded_away_from_the_market(side: str, level: str) -> None:
    """The venue's stop must not fire before ours."""
    desk = opened({"stop": {"percent": "1.234"}}, side, instrument=instrument(tick_size=D("0.1")))
    assert only_stop(desk).trigger_price == D(level)
    assert desk.position.stop_price == (D("98.766") if side == "long" else D("101.234"))


@pytest.mark.parametrize(
    ("wanted", "offered", "used"),
    [
        ("mark", (Source.MARK, Source.LAST), "mark"),
        ("last", (Source.MARK, Source.LAST), "last"),
        ("bid_ask", (Source.MARK, Source.LAST), "last"),
        ("mark", (Source.LAST,), "last"),
        ("last", (Source.MARK,), "mark"),
    ],
)
def test_the_stop_triggers_by_the_venues_nearest_source(wanted: str, offered: tuple[Source, ...], used: str) -> None:
    """The plan's own source where the venue has it."""
    plan = {**PLAN, "trigger_by": {"stop": wanted}}
    desk = opened(plan, terms=Terms(stop_triggers=offered))
    assert only_stop(desk).trigger_source == Source(used)


def test_after_every_fill_it_is_resized() -> None:
    """Sized to what remains, and at the level to which the target moved the stop."""
    desk = opened(PLAN)
    desk.price("101")
    stop = only_stop(desk)
    assert stop.quantity == D(4)
    assert stop.trigger_price == D(100)
    assert desk.position.protected


def test_each_resident_stop_is_a_leg_of_its_own() -> None:
    """Numbers go up and are never used again."""
    desk = opened(PLAN)
    desk.price("101")
    desk.close("0.5", "r1")
    legs = [submit.leg for submit in desk.submits("resident-")]
    assert len(set(legs)) == len(legs)
    assert [int(leg.removeprefix("resident-")) for leg in legs] == sorted(range(1, len(legs) + 1))


def test_moving_it_is_create_new_verify_cancel_old() -> None:
    """There is never a moment without one."""
    desk = opened(PLAN)
    desk.held.add("resident-")
    before: list[Effect] = list(desk.effects)
    desk.price("101")
    new = desk.effects[len(before) :]
    assert [effect.leg for effect in new if isinstance(effect, Submit) and effect.leg != "target-1"] == ["resident-2"]
    assert not any(isinstance(effect, Cancel) for effect in new)
    desk.report("resident-2")
    assert not any(isinstance(effect, Cancel) for effect in desk.effects)
    # The first replacement was sized before the partial filled, or after it; either way the old one goes only once a
    # new one was read back.
    desk.report("resident-2", read_back=True)
    assert any(isinstance(effect, Cancel) for effect in desk.effects) or desk.submits("resident-3")


def test_there_is_never_a_moment_without_a_stop() -> None:
    """Through targets, manual closes and a long trail the venue always holds at least what remains."""
    desk = opened({**PLAN, "targets": [*PLAN["targets"], TRAIL_TARGET]})
    for price in ("100.5", "101", "101.5", "102", "103", "104", "105"):
        desk.price(price, seconds=10)
        assert guarded(desk) >= desk.position.remaining
        assert desk.position.protected
    desk.close("0.5", "r1")
    assert guarded(desk) == desk.position.remaining == D(2)


TRAIL_TARGET = {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}}


def test_the_trail_is_followed_at_most_once_an_interval() -> None:
    """Thirty new peaks in three seconds are not thirty orders."""
    desk = opened(TRAIL, terms=Terms(resident_interval_seconds=D(5), resident_step_percent=D("0.1")))
    for step in range(1, 31):
        desk.price(D(100) + step, seconds=0.1)
    assert len(desk.submits("resident-")) == 1
    desk.price("131", seconds=5)
    assert len(desk.submits("resident-")) == 2
    assert only_stop(desk).trigger_price == D("129.69")


def test_the_trail_is_followed_by_a_step_at_least() -> None:
    """A move of less than the step is not worth an order."""
    desk = opened(TRAIL, terms=Terms(resident_interval_seconds=D(5), resident_step_percent=D("0.5")))
    desk.price("100.4", seconds=10)
    assert len(desk.submits("resident-")) == 1
    desk.price("100.6", seconds=10)
    assert len(desk.submits("resident-")) == 2


def test_a_step_that_came_within_the_interval_is_made_up_for_later() -> None:
    """The resting stop lags by an interval, not for ever."""
    desk = opened(TRAIL, terms=Terms(resident_interval_seconds=D(5), resident_step_percent=D("0.1")))
    desk.price("110", seconds=1)
    assert only_stop(desk).trigger_price == D(99)
    desk.price("109.5", seconds=5)
    assert only_stop(desk).trigger_price == D("108.9")


def test_a_stop_moved_by_a_target_is_moved_at_once() -> None:
    """The interval is for the trail alone."""
    desk = opened(PLAN, terms=Terms(resident_interval_seconds=D(500), resident_step_percent=D(50)))
    desk.price("101", seconds=0.001)
    assert only_stop(desk).trigger_price == D(100)


def test_its_fills_are_booked_as_the_stops() -> None:
    """While we were away the venue closed the position: leg `stop`, the reason of the stop."""
    desk = opened(PLAN)
    desk.price("101", "100.5")
    resident = only_stop(desk).leg
    desk.held.add("resident-")
    desk.fill(resident, price="99.9")
    assert desk.exits()[1:] == [("stop", "breakeven", D("99.9"), D(4))]
    assert desk.position.remaining == 0
    assert desk.phase() == "closed"


def test_a_fill_of_the_resident_stop_and_a_software_close_never_close_twice() -> None:
    """Both at once: reduce-only caps them at the position, and the books say what happened."""
    desk = opened(PLAN, held=("stop",))
    desk.price("95")
    desk.held.add("resident-")
    desk.fill("resident-1", price="95")
    desk.fill("stop")
    for _ in range(2):
        desk.report("stop", read_back=True)
    desk.held.clear()
    desk.wait(1)
    assert desk.venue == 0
    assert desk.position.remaining == 0
    assert sum(quantity for *_, quantity in desk.exits()) == D(10)


def test_all_stops_are_gone_before_the_slot_is_free() -> None:
    """A stop left at rest would eat the next position."""
    desk = opened(PLAN)
    desk.price("101", "100")
    assert desk.phase() == "closed"
    assert desk.resting() == []


def test_while_the_venue_holds_more_a_software_close_first_cancels_the_resident() -> None:
    """Two of our orders could otherwise close more than we track."""
    desk = opened(PLAN, held=("resident-",))
    desk.report("resident-1")
    desk.report("resident-1", read_back=True)
    desk.observe("15")
    desk.price("95")
    assert desk.submits("stop") == []
    assert any(isinstance(effect, Cancel) for effect in desk.effects)
    desk.cancelled("resident-1")
    assert [submit.quantity for submit in desk.submits("stop")] == [D(10)]
    assert desk.venue == D(5)


def test_while_the_venue_holds_more_stops_are_moved_cancel_first() -> None:
    """Two stops at rest could close twice what we track."""
    desk = opened(PLAN, held=("resident-",))
    desk.report("resident-1")
    desk.report("resident-1", read_back=True)
    desk.observe("15")
    desk.price("101")
    assert len(desk.submits("resident-")) == 1
    desk.cancelled("resident-1")
    assert len(desk.submits("resident-")) == 2


def test_a_refused_stop_is_told_and_tried_again() -> None:
    """`position.unprotected`, an alert, and another attempt later."""
    desk = opened(PLAN, held=("resident-",))
    desk.refuse("resident-1")
    assert any(note.alert for note in desk.notes("position.unprotected"))
    desk.price("100", seconds=0.01)
    desk.held.clear()
    desk.price("100", seconds=120)
    assert desk.position.protected


def test_a_stop_that_the_venue_cancelled_is_replaced() -> None:
    """Whoever cancelled it, the position must not stay naked."""
    desk = opened(PLAN)
    desk.cancelled("resident-1")
    desk.price("100")
    assert desk.position.protected
    assert only_stop(desk).leg == "resident-2"


def test_a_resident_stop_that_fills_in_part_has_decided_the_close() -> None:
    """The venue fired our stop; what it leaves unfilled is closed in software, and no target fires any more."""
    desk = opened(PLAN, held=("resident-", "stop"))
    desk.report("resident-1")
    desk.report("resident-1", read_back=True)
    desk.fill("resident-1", "3", price="95")
    desk.price("101")
    assert not desk.target(1).hit
    assert desk.submits("stop") == []
    desk.cancelled("resident-1")
    desk.wait(1)
    assert [submit.quantity for submit in desk.submits("stop")] == [D(7)]
