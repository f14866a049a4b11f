"""Orders: decided once, sent once, looked up before any resend; booked by trade id."""

from decimal import Decimal

import pytest

from actors.domain.events import Cancel, LookUp, OrderReported, OrderState, OrderWithheld, Submit
from actors.domain.model import IntentStatus, OrderKind, OrderSide
from tests.unit.driver import SECOND, D, Desk, instrument, opened

PLAN = {
    "stop": {"percent": "5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0.2"},
    ],
}


def test_the_client_order_id_is_deterministic_and_belongs_to_one_leg() -> None:
    """32 lowercase hex: 8 of the installation's tag and 24 of position, leg and generation."""
    first, second = opened(PLAN), opened(PLAN)
    first.price("102")
    second.price("102")
    ids = [submit.client_order_id for submit in first.submits()]
    assert ids == [submit.client_order_id for submit in second.submits()]
    assert len(set(ids)) == len(ids)
    assert all(len(identity) == 32 and set(identity) <= set("0123456789abcdef") for identity in ids)
    assert all(identity.startswith("0badcafe") for identity in ids)


def test_another_position_has_other_ids() -> None:
    """An id that two positions share would book the fills of one into the other."""
    ids = {submit.client_order_id for name in ("p1", "p2") for submit in opened(PLAN, id=name).submits("entry")}
    assert len(ids) == 2


@pytest.mark.parametrize(("side", "entry", "exits"), [("long", "buy", "sell"), ("short", "sell", "buy")])
def test_every_order_but_the_entry_may_only_reduce(side: str, entry: str, exits: str) -> None:
    """Reduce-only, in the other direction."""
    desk = opened(PLAN, side)
    desk.price("102" if side == "long" else "98")
    desk.price("50" if side == "long" else "150")
    for submit in desk.submits():
        opening = submit.leg == "entry"
        assert submit.reduce_only is not opening
        assert submit.side == OrderSide(entry if opening else exits)


def test_partials_wait_for_their_intent_and_full_closes_need_not() -> None:
    """Entry and partials go out only after their intent is durable; protection may leave before."""
    desk = opened(PLAN)
    desk.price("101", "99")
    assert {submit.leg: submit.urgent for submit in desk.submits() if submit.kind is OrderKind.MARKET} == {
        "entry": False,
        "target-1": False,
        "stop": True,
    }


def test_one_exit_order_is_in_flight() -> None:
    """The second target's leg is decided at once and sent when the first one's order is terminal."""
    desk = opened(PLAN, held=("target-",))
    desk.price("103")
    assert [submit.leg for submit in desk.submits("target-")] == ["target-1"]
    assert desk.target(2).hit
    desk.fill("target-1", "2")
    assert len(desk.submits("target-")) == 1
    desk.fill("target-1")
    assert [submit.leg for submit in desk.submits("target-")] == ["target-1", "target-2"]
    desk.fill("target-2")
    assert [quantity for *_, quantity in desk.exits()] == [D(2), D(4), D(2)]


def test_a_full_close_does_not_wait_for_a_partial() -> None:
    """It asks for the tracked remainder, the unknown partial included."""
    desk = opened(PLAN, held=("target-", "stop"))
    desk.price("101", "99")
    assert [(submit.leg, submit.quantity) for submit in desk.submits("stop")] == [("stop", D(10))]


def test_a_full_close_after_a_late_partial_closes_only_the_rest() -> None:
    """The venue caps the close at what the partial left; everything is booked where it belongs."""
    desk = opened(PLAN, held=("target-", "stop"))
    desk.price("101", "99")
    desk.fill("target-1")
    desk.fill("stop")
    desk.report("stop", read_back=True)
    desk.report("stop", read_back=True)
    assert [(leg, quantity) for leg, _, _, quantity in desk.exits()] == [("target-1", D(6)), ("stop", D(4))]
    assert desk.venue == 0
    desk.held.clear()
    desk.price("99")
    assert desk.position.remaining == 0
    assert sum(quantity for *_, quantity in desk.exits()) == D(10)


def test_a_full_close_withdraws_what_is_owed() -> None:
    """Once everything is on its way out, no partial goes out any more."""
    desk = opened(PLAN, held=("target-",))
    desk.price("103")
    desk.held.clear()
    desk.price("99")
    assert desk.submits("target-2") == []
    assert desk.venue == 0


def test_fills_are_booked_once_by_trade_id() -> None:
    """A repeat of any report changes nothing."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.fill("target-1", "1")
    desk.fill("target-1", "2")
    before = desk.position
    desk.report("target-1")
    assert desk.position == before
    desk.fill("target-1")
    before = desk.position
    for read_back in (False, True, True):
        desk.report("target-1", read_back=read_back)
        assert desk.position == before
    assert [quantity for *_, quantity in desk.exits()] == [D(1), D(2), D(3)]
    assert desk.target(1).filled == D(6)


def test_an_old_report_that_arrives_late_takes_nothing_back() -> None:
    """Numbers in events are cumulative: the smaller one is the older one."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.fill("target-1", "1")
    old = desk.events[-1]
    desk.fill("target-1")
    before = desk.position
    desk.tell(old)
    assert desk.position == before


def test_an_order_that_is_not_ours_is_not_booked() -> None:
    """An id that no intent has changes nothing."""
    desk = opened(PLAN)
    before = desk.position
    desk.tell(
        OrderReported(
            at=desk.at,
            client_order_id="f" * 32,
            state=OrderState.FILLED,
            quantity=D(3),
            filled=D(3),
            trades=(desk.trade("x", 3, 100),),
        )
    )
    assert desk.position == before


def test_an_unknown_order_is_looked_up_and_not_sent_again() -> None:
    """The fault behind this product: a resend without a look-up turns 60 % into 100 %."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    effects = desk.lose("target-1")
    identity = desk.order("target-1").submit.client_order_id
    assert desk.intent("target-1").status is IntentStatus.UNKNOWN
    assert not any(isinstance(effect, Submit) for effect in effects)
    desk.price("101", "101.5")
    desk.wait(60)
    assert len(desk.submits("target-1")) == 1
    desk.fill("target-1")
    assert desk.intent("target-1").client_order_id == identity
    assert desk.target(1).filled == D(6)


def test_an_order_proven_absent_is_sent_again_under_the_same_id() -> None:
    """Only the proof that it was never executed allows a resend, and the id makes even that harmless."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.lose("target-1")
    desk.absent("target-1")
    desk.price("101")
    submits = desk.submits("target-1")
    assert len(submits) == 2
    assert submits[0].client_order_id == submits[1].client_order_id
    assert submits[1].quantity == D(6)


def test_a_submission_that_was_withheld_never_left() -> None:
    """The acknowledged state no longer wanted it: it is over, and books nothing."""
    desk = opened(PLAN, held=("target-", "stop"))
    desk.price("101", "99")
    identity = desk.order("target-1").submit.client_order_id
    desk.tell(OrderWithheld(at=desk.at, client_order_id=identity))
    assert desk.intent("target-1").status is IntentStatus.WITHDRAWN
    desk.fill("stop")
    assert desk.exits() == [("stop", "breakeven", D(99), D(10))]
    assert len(desk.submits("target-1")) == 1


def short_fill(desk: Desk, quantity: str) -> None:
    """The venue executes part of TP1 and ends the order."""
    desk.fill("target-1", quantity)
    desk.cancelled("target-1", read_back=False)


def test_a_partial_that_ended_short_is_completed_only_after_two_reads() -> None:
    """A generation is raised only when fill, trades and position agree on two reads; it asks for what is missing."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    short_fill(desk, "2")
    assert len(desk.submits("target-1")) == 1
    desk.report("target-1", read_back=True)
    assert len(desk.submits("target-1")) == 1
    desk.report("target-1", read_back=True)
    desk.price("101")
    submits = desk.submits("target-1")
    assert [submit.quantity for submit in submits] == [D(6), D(4)]
    assert submits[0].client_order_id != submits[1].client_order_id
    desk.fill("target-1")
    assert desk.target(1).filled == D(6)
    assert desk.position.remaining == D(4)


def test_two_reads_with_a_position_that_disagrees_do_not_raise_a_generation() -> None:
    """The position shrank by more than the trades show: the missing trade may still appear."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    short_fill(desk, "2")
    order = desk.order("target-1")
    for _ in range(4):
        desk.tell(
            OrderReported(
                at=desk.at,
                client_order_id=order.submit.client_order_id,
                state=OrderState.CANCELLED,
                quantity=D(6),
                filled=D(2),
                trades=order.trades,
                read_back=True,
                venue_quantity=D(4),
            )
        )
    assert len(desk.submits("target-1")) == 1


def test_a_report_ahead_of_its_trades_is_asked_for_again() -> None:
    """`filled` without the trades that make it up books nothing and concludes nothing."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    identity = desk.order("target-1").submit.client_order_id
    effects = desk.tell(
        OrderReported(at=desk.at, client_order_id=identity, state=OrderState.FILLED, quantity=D(6), filled=D(6))
    )
    assert desk.position.remaining == D(10)
    assert any(isinstance(effect, LookUp) for effect in effects)
    desk.fill("target-1")
    assert desk.position.remaining == D(4)


def test_a_refused_full_close_is_tried_again() -> None:
    """A stop that was refused is still a stop: it goes on trying until nothing remains."""
    desk = opened(PLAN, held=("stop",))
    desk.price("95")
    desk.refuse("stop")
    desk.held.clear()
    for _ in range(30):
        desk.price("94", seconds=10)
    assert desk.position.remaining == 0
    assert desk.venue == 0


def test_a_full_close_short_of_everything_asks_for_the_rest() -> None:
    """Each order of the close asks for the tracked remainder, never for more."""
    desk = opened(PLAN, held=("stop",))
    desk.price("95")
    desk.fill("stop", "7")
    desk.cancelled("stop")
    desk.report("stop", read_back=True)
    desk.report("stop", read_back=True)
    desk.wait(30)
    desk.price("94")
    assert [submit.quantity for submit in desk.submits("stop")] == [D(10), D(3)]
    desk.fill("stop")
    assert desk.position.remaining == 0


def test_the_slot_is_free_only_when_every_order_is_read_back_terminal() -> None:
    """Flat is not free: a late duplicate must find nothing to eat."""
    desk = opened(PLAN, held=("resident-",))
    desk.price("95")
    assert desk.position.remaining == 0
    assert desk.phase() == "closing"
    assert any(isinstance(effect, Cancel) for effect in desk.effects)
    desk.cancelled("resident-1")
    desk.wait(1)
    assert desk.phase() == "closed"


def test_a_duplicate_of_an_executed_partial_is_seen_and_told() -> None:
    """More was executed than asked for: it is booked as it happened, and never makes the books negative."""
    desk = opened(PLAN, held=("target-", "stop"))
    desk.price("101", "99")
    desk.fill("stop")
    assert desk.position.remaining == 0
    late = Decimal(6)
    order = desk.order("target-1")
    order.trades = (desk.trade("late", late, "99", client_order_id=order.submit.client_order_id),)
    order.state = OrderState.FILLED
    desk.report("target-1", read_back=True)
    assert desk.position.remaining >= 0


def test_minimums_do_not_stop_a_protective_close() -> None:
    """A stop closes what remains whatever its size, unless it is dust."""
    desk = opened(PLAN, instrument=instrument(minimum_quantity=D(2)))
    desk.price("102")
    assert desk.position.remaining == D(2)
    desk.price("99")
    assert desk.venue == 0


def test_an_end_without_its_trades_never_raises_a_generation() -> None:
    """The order says it executed 6 and shows none of it: asking again for 6 would close 12."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    identity = desk.order("target-1").submit.client_order_id
    for _ in range(4):
        effects = desk.tell(
            OrderReported(
                at=desk.at,
                client_order_id=identity,
                state=OrderState.CANCELLED,
                quantity=D(6),
                filled=D(6),
                read_back=True,
            )
        )
        assert any(isinstance(effect, LookUp) for effect in effects)
    desk.price("101")
    assert len(desk.submits("target-1")) == 1


def test_an_order_with_booked_fills_is_not_absent() -> None:
    """A lagging read that misses it is asked again, and nothing is sent."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.fill("target-1", "2")
    effects = desk.absent("target-1")
    assert any(isinstance(effect, LookUp) for effect in effects)
    desk.price("101", "101.5")
    assert len(desk.submits("target-1")) == 1


def test_a_full_close_that_is_sent_again_asks_for_what_remains_by_then() -> None:
    """Between its refusal and the next attempt the partial under way has filled."""
    desk = opened(PLAN, held=("target-", "stop"))
    desk.price("101", "99")
    desk.refuse("stop")
    desk.fill("target-1")
    desk.wait(120)
    assert [submit.quantity for submit in desk.submits("stop")] == [D(10), D(4)]


# -- a partial that ended short, and a position that does not agree ----------------------------------------------------


def ended_short(*reads: tuple[str, str], then: str = "101") -> tuple[Desk, str]:
    """TP1 of 6 out of 10 was cancelled; each read tells (filled so far, the position's size). `then` is the price."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    order_id = desk.order("target-1").submit.client_order_id
    if then != "101":
        desk.price(then)
    for filled, size in reads:
        trades = tuple(
            desk.trade(f"late-{number}", 1, "101", client_order_id=order_id) for number in range(int(Decimal(filled)))
        )
        desk.tell(
            OrderReported(
                at=desk.at,
                client_order_id=order_id,
                state=OrderState.CANCELLED,
                quantity=D(6),
                filled=D(filled),
                trades=trades,
                read_back=True,
                venue_quantity=D(size),
            )
        )
    return desk, order_id


def test_a_new_generation_asks_for_what_is_missing() -> None:
    """Also while it waits for its price, before it is held against what the leg has booked."""
    desk, _ = ended_short(("2", "8"), ("2", "8"), then="100.5")
    owed = [intent for intent in desk.position.intents if intent.leg == "target-1" and not intent.status.terminal]
    assert [(intent.generation, intent.quantity) for intent in owed] == [(1, D(4))]


def test_a_missing_trade_that_appears_later_is_not_sold_again() -> None:
    """2 were told, 4 more appear with the position: the leg has its 6, and its next generation is withdrawn."""
    desk, order_id = ended_short(("2", "4"), ("2", "4"))
    desk.held.discard("target-")
    trades = tuple(desk.trade(f"late-{number}", 1, "101", client_order_id=order_id) for number in range(6))
    for _ in range(3):
        desk.at += SECOND
        desk.observe("4", trades=trades)
    desk.price("101")
    assert len(desk.submits("target-1")) == 1
    assert desk.position.remaining == D(4)
    assert desk.position.targets[0].filled == D(6)


def test_a_disputed_size_is_not_settled_by_one_read_that_says_larger() -> None:
    """A lagging read shows what was there before the order: it releases nothing."""
    desk, _ = ended_short(("2", "10"), ("2", "10"))
    desk.at += SECOND
    desk.observe("10")
    assert len(desk.submits("target-1")) == 1


def test_a_first_read_that_disagrees_is_not_made_good_by_the_second() -> None:
    """Two reads must agree; one is not two."""
    desk, _ = ended_short(("2", "4"), ("2", "8"))
    assert len(desk.submits("target-1")) == 1


def test_two_reads_with_different_fills_do_not_agree() -> None:
    """The second brought a fill of its own: it is the first of the next two."""
    desk, _ = ended_short(("2", "8"), ("3", "7"))
    assert len(desk.submits("target-1")) == 1
    desk, _ = ended_short(("2", "8"), ("3", "7"), ("3", "7"))
    assert len(desk.submits("target-1")) == 2
