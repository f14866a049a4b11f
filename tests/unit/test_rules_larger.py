"""While somebody else holds more in the slot, reduce-only saves nobody: what is known of it, and what waits for it."""

from dataclasses import replace
from typing import Any

import pytest

from actors.domain.events import Cancel, Effect, Observe
from actors.domain.model import Fill, IntentStatus, Reason
from actors.recovery import is_behind
from actors.traffic import SlotRead
from tests.unit.driver import SECOND, START, D, Desk, command, opened

PLAN: dict[str, Any] = {
    "stop": {"percent": "5"},
    "targets": [{"at": {"percent": "1"}, "close": "0.6"}, {"at": {"percent": "2"}, "close": "0"}],
}


def larger(*, held: tuple[str, ...] = ()) -> Desk:
    """Ten are ours, and twenty more are somebody else's."""
    desk = opened(PLAN)
    desk.observe("30")
    assert desk.position.excess == 20
    desk.held = set(held)
    return desk


def cancelled(effects: tuple[Effect, ...] | list[Effect], desk: Desk, leg: str) -> bool:
    """Whether an order of this leg is asked to end."""
    ids = {intent.client_order_id for intent in desk.position.intents if intent.leg == leg}
    return any(isinstance(effect, Cancel) and effect.client_order_id in ids for effect in effects)


def test_an_excess_is_told_while_the_entry_is_still_filling() -> None:
    """Two of ten are ours so far: of twenty-five, ten may be ours in the end, and fifteen are not."""
    desk = Desk.start(command(PLAN), held=("entry",))
    desk.fill("entry", "2")
    desk.observe("10")
    assert desk.position.excess == 0
    desk.observe("25")
    assert desk.position.excess == 15
    desk.fill("entry")
    assert desk.position.remaining == 10
    assert desk.position.excess == 15


def test_a_full_close_waits_for_the_end_of_a_partial_half_filled() -> None:
    """The rest of the partial would be filled beside it, out of what is not ours."""
    desk = larger(held=("target-1",))
    desk.price("101")
    desk.fill("target-1", "2")
    before = len(desk.effects)
    desk.close()
    assert desk.submits("manual-1") == []
    assert cancelled(desk.effects[before:], desk, "target-1")
    desk.cancelled("target-1")
    desk.cancelled("target-1")
    assert [submit.quantity for submit in desk.submits("manual-1")] == [D(8)]


def test_a_partial_that_is_read_open_after_its_cancel_is_cancelled_again() -> None:
    """The cancel never arrived."""
    desk = larger(held=("target-1",))
    desk.price("101")
    desk.fill("target-1", "2")
    desk.close()
    before = len(desk.effects)
    desk.report("target-1", read_back=True)
    assert cancelled(desk.effects[before:], desk, "target-1")
    assert desk.submits("manual-1") == []


def test_the_stop_rests_until_the_end_of_a_partial_is_known() -> None:
    """Nobody may know it for long, and until then no close goes out that could take the stop's place."""
    desk = larger(held=("target-1",))
    desk.price("101")
    assert len(desk.resting()) == 1
    desk.close()
    assert len(desk.resting()) == 1
    desk.cancelled("target-1")
    assert len(desk.resting()) == 1
    desk.cancelled("target-1")
    assert desk.resting() == []
    assert [submit.quantity for submit in desk.submits("manual-1")] == [D(10)]


def test_a_full_close_of_what_is_ours_alone_waits_for_no_partial() -> None:
    """There reduce-only ends what is under way."""
    desk = opened(PLAN, held=("target-1",))
    desk.price("101")
    desk.fill("target-1", "2")
    desk.close()
    assert [submit.quantity for submit in desk.submits("manual-1")] == [D(8)]


def test_reads_that_lack_our_own_latest_trade_are_believed_only_when_long_apart() -> None:
    """They may be older than that trade; a venue that never lists it is believed in the end."""
    desk = opened(PLAN, held=("observe",))
    for _ in range(29):
        desk.at += SECOND
        desk.observe("0", behind=True)
    assert desk.position.remaining == 10
    desk.at += 2 * SECOND
    desk.observe("0", behind=True)
    assert desk.position.close_reason == "external"


def test_an_excess_is_not_taken_from_a_read_that_lacks_our_own_latest_trade() -> None:
    """What that trade closed would be taken for somebody else's, and the next stop moved without one in between."""
    desk = opened(PLAN, held=("observe",))
    desk.price("101")
    before = len(desk.effects)
    desk.observe("10", behind=True)
    assert desk.position.remaining == 4
    assert desk.position.excess == 0
    assert any(isinstance(effect, Observe) for effect in desk.effects[before:])
    desk.observe("4")
    assert desk.position.excess == 0
    assert desk.position.observed is None


def test_a_disputed_size_is_asked_for_again_when_an_order_was_under_way() -> None:
    """What is owed waits for it: it is not left to the next look around."""
    desk = opened(PLAN, held=("target-1", "observe"))
    desk.price("101")
    desk.cancelled("target-1", read_back=False)
    order = desk.order("target-1")
    desk.alter("target-1", venue_quantity=D(4))
    assert desk.position.disputed
    assert desk.intent("target-1").status is not IntentStatus.FILLED
    assert order.filled == 0
    effects = desk.observe("4")
    assert any(isinstance(effect, Observe) for effect in effects)


def test_an_excess_that_is_known_is_not_asked_about_for_ever_where_our_own_latest_trade_is_never_listed() -> None:
    """Such a read says nothing new: each look around would begin half a minute of one read a second."""
    desk = larger(held=("observe",))
    before = len(desk.effects)
    desk.observe("30", behind=True)
    assert not any(isinstance(effect, Observe) for effect in desk.effects[before:])
    assert desk.position.excess == 20
    desk.observe("35", behind=True)
    assert any(isinstance(effect, Observe) for effect in desk.effects[before:])


def test_a_difference_is_believed_though_the_wall_clock_was_set_back_between_two_reads() -> None:
    """The first of the two is then in the future: the wait begins anew, and does not last until that comes again."""
    desk = opened(PLAN, held=("observe",))
    desk.observe("8", read_at=desk.at)
    desk.observe("8", read_at=desk.at - 3600 * SECOND)
    assert desk.position.remaining == 10
    desk.observe("8", read_at=desk.at - 3599 * SECOND)
    assert desk.position.remaining == 8


@pytest.mark.parametrize(
    ("listed", "behind"),
    [
        (("first", "second", "late"), False),
        (("first", "second"), False),
        (("first", "late"), True),
        (("second",), False),
        ((), True),
    ],
)
def test_a_read_is_behind_where_it_lacks_the_latest_of_our_trades_by_its_own_time(
    listed: tuple[str, ...], behind: bool
) -> None:
    """An earlier one may be booked after it; one from before the opening is never listed, and says nothing."""
    desk = opened(PLAN)
    moments = {"before": -5, "first": 1, "second": 9, "late": 3}
    usual: dict[str, Any] = {"leg": "entry", "reason": Reason.MANUAL, "price": D(100), "quantity": D(1), "fee": D(0)}
    fills = [Fill(at=START + at * SECOND, trade_id=name, **usual) for name, at in moments.items()]
    trades = tuple(desk.trade(name, 1, 100, at=START + moments[name] * SECOND) for name in listed)
    slot = SlotRead(
        symbol=desk.position.symbol, position=None, orders=(), trades=trades, quote=None, instrument=None, at=START
    )
    assert is_behind(replace(desk.position, fills=tuple(fills)), slot) is behind
    assert not is_behind(replace(desk.position, fills=tuple(fills[:1])), slot)


def test_an_excess_does_not_end_with_one_read_that_lacks_our_own_latest_trade() -> None:
    """From before a part of our entry that is as large as what somebody else holds, it looks as if he held nothing."""
    desk = larger(held=("observe",))
    before = len(desk.effects)
    desk.observe("10", behind=True)
    assert desk.position.excess == 20
    assert any(isinstance(effect, Observe) for effect in desk.effects[before:])
    desk.at += 30 * SECOND
    desk.observe("10", behind=True)
    assert desk.position.excess == 0


def test_a_partial_waits_until_the_stop_has_been_cut_down_after_the_one_before() -> None:
    """A stop that fires meanwhile would close both of them once more, out of what is not ours."""
    desk = opened(
        {"stop": {"percent": "5"}, "targets": [{"at": {"percent": n}, "close": "0.3"} for n in ("1", "2", "3")]}
    )
    desk.observe("30")
    desk.held = {"target-1", "resident-"}
    desk.price("102")
    assert len(desk.submits("target-1")) == 1
    desk.fill("target-1")
    assert desk.position.remaining == 7
    assert desk.submits("target-2") == []
    desk.cancelled("resident-1")
    assert len(desk.submits("target-2")) == 1
