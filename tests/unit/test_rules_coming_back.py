"""After a restart, and whenever the venue says something else than the books: nothing is dropped on one read."""

from dataclasses import replace
from typing import Any

import pytest

from actors.domain import schema
from actors.domain.advance import advance
from actors.domain.events import ExtremesBackfilled, LookUp, Observe, PositionObserved, Reconciled, Recovered, Submit
from actors.domain.model import IntentStatus, Reason
from actors.domain.step import client_order_id
from tests.unit.driver import SECOND, D, Desk, opened

PLAN: dict[str, Any] = {
    "stop": {"percent": "5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}},
    ],
}


def restart(desk: Desk, *, held: tuple[str, ...] = ()) -> list[Any]:
    """Everything but the saved state is lost; the venue answers what it is asked. Returns what was asked."""
    before = len(desk.effects)
    desk.held = set(held)
    desk.position = schema.load(schema.dump(desk.position), schema.SCHEMA)
    desk.tell(Recovered(at=desk.at, terms=desk.position.terms, instrument=desk.position.instrument))
    return desk.effects[before:]


def reconciled(desk: Desk) -> None:
    """The venue's word is taken in, and the prices go on."""
    desk.tell(Reconciled(at=desk.at, quote=desk.quote))


def test_every_intent_without_an_outcome_is_looked_up() -> None:
    """Durable means possibly sent, whatever status was saved."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    asked = restart(desk, held=("target-", "resident-"))
    looked_up = {effect.client_order_id for effect in asked if isinstance(effect, LookUp)}
    open_intents = {intent.client_order_id for intent in desk.position.intents if not intent.status.terminal}
    assert open_intents <= looked_up
    assert desk.submits("target-1")[1:] == []


def test_the_incident_tp1_executed_and_not_recorded_is_not_sent_again() -> None:
    """Killed between the venue's acceptance of TP1 and our commit: 60 % stays 60 %."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    saved = desk.position
    desk.fill("target-1")
    desk.position = saved
    restart(desk)
    reconciled(desk)
    desk.price("101", "101.5")
    assert len(desk.submits("target-1")) == 1
    assert desk.target(1).filled == D(6)
    assert desk.position.remaining == desk.venue == D(4)


def test_tp1_that_never_reached_the_venue_is_sent_once_after_the_restart() -> None:
    """Proven absent: the same id, the same quantity."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    first = desk.submits("target-1")[0]
    del desk.orders[first.client_order_id]
    restart(desk)
    reconciled(desk)
    desk.price("101")
    assert [submit.client_order_id for submit in desk.submits("target-1")] == [first.client_order_id] * 2
    assert desk.position.remaining == desk.venue == D(4)


def test_the_runner_state_survives() -> None:
    """tp2Hit, trailingStopActive, peakPrice: what the incident lost."""
    desk = opened(PLAN)
    desk.price("101", "102", "110")
    before = desk.position
    restart(desk)
    reconciled(desk)
    after = desk.position
    assert after.targets == before.targets
    assert after.trailing_stop_active
    assert (after.peak_price, after.peak_at) == (D(110), before.peak_at)
    assert (after.stop_price, after.stop_reason) == (D("108.9"), Reason.TRAILING_STOP)
    assert after.protected


def test_a_price_through_the_stop_after_the_gap_closes_at_once() -> None:
    """Decisions after the gap are made on the present price."""
    desk = opened(PLAN)
    desk.price("101", "102", "110")
    restart(desk)
    reconciled(desk)
    desk.price("105")
    assert desk.exits()[-1] == ("stop", "trailing_stop", D(105), D(4))


def test_nothing_is_sent_before_the_position_is_reconciled() -> None:
    """A decision on half the truth is how 60 % becomes 100 %."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    restart(desk, held=("target-", "resident-"))
    before = len(desk.submits())
    desk.wait(1)
    assert len(desk.submits()) == before


def backfill(desk: Desk, low: str, high: str, *, exact: bool = True) -> None:
    """The extremes of a gap, for both sources."""
    low_at, high_at = desk.at + SECOND, desk.at + 2 * SECOND
    desk.at += 3 * SECOND
    desk.tell(
        ExtremesBackfilled(
            at=desk.at,
            exact=exact,
            high=D(high),
            high_at=high_at,
            low=D(low),
            low_at=low_at,
            targets_high=D(high),
            targets_low=D(low),
        )
    )


def test_a_backfill_raises_peak_and_extremes_with_their_times() -> None:
    """What the market did while nobody looked still counts."""
    desk = opened(PLAN)
    desk.price("101", "102")
    gap = desk.at
    backfill(desk, "101.2", "108")
    assert (desk.position.peak_price, desk.position.peak_at) == (D(108), gap + 2 * SECOND)
    assert desk.position.stop_price == D("106.92")
    assert desk.position.mfe is not None
    assert (desk.position.mfe.price, desk.position.mfe.at) == (D(108), gap + 2 * SECOND)
    assert not desk.position.extremes_approximate


def test_a_backfill_never_fills_a_target_and_never_stops_out() -> None:
    """Targets passed only during the gap are not hit and act on nothing; somebody is told."""
    desk = opened(PLAN)
    backfill(desk, "80", "103")
    assert desk.exits() == []
    assert not desk.target(1).hit
    assert desk.position.stop_price == D(95)
    assert [note.fields["target"] for note in desk.notes("position.target_missed")] == [1, 2]
    assert all(note.alert for note in desk.notes("position.target_missed"))


def test_without_a_record_of_the_gap_the_peak_stays_and_the_extremes_are_approximate() -> None:
    """Said plainly instead of guessed."""
    desk = opened(PLAN)
    desk.price("101", "102")
    desk.tell(ExtremesBackfilled(at=desk.at, exact=False))
    assert desk.position.peak_price == D(102)
    assert desk.position.extremes_approximate


def test_the_same_size_changes_nothing() -> None:
    """Same size: go on."""
    desk = opened(PLAN)
    before = desk.position
    desk.observe("10")
    assert desk.position == before


def test_a_smaller_position_is_believed_on_the_second_read() -> None:
    """One read proves nothing: asked again, then booked as `external`."""
    desk = opened(PLAN, held=("observe",))
    effects = desk.observe("7")
    assert any(isinstance(effect, Observe) for effect in effects)
    assert desk.position.remaining == D(10)
    desk.at += SECOND
    desk.observe("7", trades=(desk.trade("x1", 3, "100.4"),))
    assert desk.exits() == [("external-1", "external", D("100.4"), D(3))]
    assert desk.position.remaining == D(7)


def test_a_difference_that_the_second_read_does_not_confirm_is_forgotten() -> None:
    """A lagging read is not an event."""
    desk = opened(PLAN, held=("observe",))
    desk.observe("7")
    desk.at += SECOND
    desk.observe("10")
    desk.at += SECOND
    desk.observe("7")
    assert desk.position.remaining == D(10)


@pytest.mark.parametrize("cause", [Reason.EXTERNAL, Reason.LIQUIDATED, Reason.ADL])
def test_a_position_that_is_gone_ends_with_its_cause(cause: Reason) -> None:
    """Two reads and fills, then closed."""
    desk = opened(PLAN, held=("observe",))
    desk.observe("0")
    assert desk.position.remaining == D(10)
    desk.at += SECOND
    desk.observe("0", trades=(desk.trade("x1", 10, "90"),), cause=cause)
    desk.wait(1)
    assert desk.phase() == "closed"
    assert desk.position.close_reason == cause
    assert desk.exits() == [("external-1", cause.value, D(90), D(10))]
    assert desk.resting() == []


def test_a_larger_position_goes_on_with_the_tracked_size() -> None:
    """Somebody added by hand: an alert, and only what we track is ever closed."""
    desk = opened(PLAN)
    desk.observe("15")
    assert any(note.alert for note in desk.notes("position.external_change"))
    desk.price("95")
    assert desk.venue == D(5)
    assert desk.position.remaining == 0


def test_a_flipped_position_ends_and_is_never_managed_with_the_wrong_sign() -> None:
    """Somebody traded through zero: ours is gone, its stop goes too, and what is there now is not ours."""
    desk = opened(PLAN, held=("observe",))
    trade = desk.trade("t-hand", 14, "102", client_order_id="web-1")
    desk.observe("-4", trades=(trade,))
    assert desk.phase() == "open"
    desk.at += SECOND
    before = len(desk.submits())
    desk.observe("-4", trades=(trade,))
    assert [note.fields["kind"] for note in desk.notes("position.external_change")] == ["flipped"]
    assert desk.exits() == [("external-1", "external", D(102), D(10))]
    assert desk.phase() == "closed"
    assert desk.position.close_reason == "external"
    assert desk.resting() == []
    desk.price("50", "150")
    assert len(desk.submits()) == before


def test_our_own_fill_explains_a_smaller_position() -> None:
    """A partial whose report was lost is booked by its trade, as the target's, not as external."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    order = desk.order("target-1")
    identity = order.submit.client_order_id
    trade = desk.trade("t-own", 6, "101", client_order_id=identity)
    desk.observe("4", trades=(trade,))
    assert desk.exits() == [("target-1", "take_profit", D(101), D(6))]
    assert desk.position.remaining == D(4)
    assert desk.intent("target-1").status is not IntentStatus.PLANNED
    desk.at += SECOND
    desk.observe("4", trades=(trade,))
    assert desk.position.remaining == D(4)


def test_two_reads_of_the_same_moment_are_one_read() -> None:
    """The same answer delivered twice confirms nothing."""
    desk = opened(PLAN, held=("observe",))
    desk.observe("7")
    desk.observe("7")
    assert desk.position.remaining == D(10)


def test_a_difference_waits_for_our_own_order_under_way() -> None:
    """TP1 may have filled without our knowing: 6 less is not `external` while that is open."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    desk.lose("target-1")
    for _ in range(3):
        desk.at += SECOND
        desk.observe("4")
    assert desk.exits() == []
    desk.venue = D(10)
    desk.fill("target-1")
    desk.at += SECOND
    desk.observe("4")
    assert desk.exits() == [("target-1", "take_profit", D(101), D(6))]


def test_what_is_decided_while_reconciling_goes_out_afterwards() -> None:
    """The time limit came during the gap: the close waits for the venue's word, and then for nothing."""
    desk = opened({**PLAN, "time_limit_seconds": 60})
    restart(desk)
    desk.wait(60)
    assert desk.submits("time_limit") == []
    reconciled(desk)
    assert [submit.quantity for submit in desk.submits("time_limit")] == [D(10)]
    assert desk.venue == 0


def test_a_comeback_asks_for_proof_about_everything_that_may_have_left() -> None:
    """A request of the former life may still be on its way: that it is not there yet proves nothing."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "0.6"}]}, held=("target-",))
    desk.price("101")
    sent = desk.order("target-1").submit.client_order_id
    asked = [effect for effect in restart(desk, held=("target-",)) if isinstance(effect, LookUp)]
    assert [effect.proof for effect in asked if effect.client_order_id == sent] == [True]


def test_a_full_close_that_left_before_it_was_saved_is_recognised_by_its_id() -> None:
    """The saved state knows nothing of it; the exchange's trade carries an id that only our stop can have."""
    desk = opened({"stop": {"percent": "5"}})
    lost = client_order_id(desk.position.order_tag, desk.position.id, "stop", 0)
    trade = desk.trade("lost", 10, "95", client_order_id=lost)
    position, effects = advance(desk.position, PositionObserved(at=desk.at, quantity=D(0), trades=(trade,)))
    assert position.closing_reason is Reason.STOP_LOSS
    assert position.remaining == 0
    assert [fill.leg for fill in position.fills] == ["entry", "stop"]
    assert lost in [effect.client_order_id for effect in effects if isinstance(effect, LookUp)]


def test_a_close_that_left_unsaved_is_recognised_where_its_decision_was_saved() -> None:
    """All was to close once a dispute was understood; the order left, and the crash took only that it had."""
    desk = opened(PLAN, held=("observe",))
    desk.position = replace(desk.position, disputed=True)
    desk.close()
    assert desk.submits("manual-1") == []
    ours = client_order_id(desk.position.order_tag, desk.position.id, "manual-1", 0)
    trade = desk.trade("t9", 10, 100, client_order_id=ours)
    after, effects = advance(desk.position, PositionObserved(at=desk.at, quantity=D(0), trades=(trade,)))
    assert [(fill.leg, fill.quantity) for fill in after.fills[1:]] == [("manual-1", D(10))]
    assert not any(isinstance(effect, Submit) for effect in effects)
