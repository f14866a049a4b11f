"""Resting targets in trouble: ended, refused, unknown, altered, filled while nobody was there."""

from dataclasses import replace
from typing import Any

import pytest

from actors.domain.events import Cancel, ExtremesBackfilled, LookUp, OrderState, OrphanSeen
from actors.domain.model import IntentStatus, OrderKind
from tests.unit.driver import D, Desk, Order, opened, quote
from tests.unit.test_rules_coming_back import reconciled, restart
from tests.unit.test_rules_resting import FIRST, ONE, PLAN, SECOND_TARGET, legs, market_exits

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
