"""Reconciliation: what the venue says is taken in once, in any order, as often as it is said."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.domain import schema
from actors.domain.events import (
    ForeignOrderSeen,
    FundingPaid,
    LookUp,
    Observe,
    OrderReported,
    OrderState,
    PositionObserved,
    Reconciled,
    Recovered,
    Trade,
)
from actors.domain.model import IntentStatus, Reason
from tests.unit.driver import SECOND, D, Desk, opened

PLAN: dict[str, Any] = {
    "stop": {"percent": "5"},
    "targets": [{"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}}],
}


def read(desk: Desk, quantity: object, trades: tuple[Trade, ...]) -> int:
    """One whole pass: a read of the slot, and the reads that it asks for. Returns how many effects came of it."""
    before, asked = len(desk.effects), True
    desk.held.add("observe")
    desk.venue = D(str(quantity))
    while asked:
        desk.at += SECOND
        seen = len(desk.effects)
        desk.tell(PositionObserved(at=desk.at, quantity=desk.venue, trades=trades))
        asked = any(isinstance(effect, Observe) for effect in desk.effects[seen:])
    return len(desk.effects) - before


def restart(desk: Desk) -> None:
    """Only what was saved goes on."""
    desk.position = schema.load(schema.dump(desk.position), schema.SCHEMA)
    desk.tell(Recovered(at=desk.at, terms=desk.position.terms, instrument=desk.position.instrument))
    desk.tell(Reconciled(at=desk.at, quote=desk.quote))


hands = st.lists(st.integers(1, 9), max_size=3)


@given(held=st.integers(-5, 15), sizes=hands, partial=st.booleans(), again=st.booleans())
def test_one_pass_converges_and_a_second_on_the_same_facts_does_nothing(
    held: int, sizes: list[int], *, partial: bool, again: bool
) -> None:
    """Smaller, gone, flipped, larger or the same: the books agree after one pass; then there is nothing to say."""
    desk = opened(PLAN)
    if partial:
        desk.price("101")
    trades = tuple(desk.trade(f"hand-{number}", size, "102") for number, size in enumerate(sizes))
    read(desk, held, trades)
    settled = desk.position
    assert settled.remaining + settled.excess == max(D(0), D(held))
    if again:
        restart(desk)
        settled = desk.position
    fills, closed = settled.fills, settled.phase
    assert read(desk, held, trades) == 0
    assert (desk.position.fills, desk.position.phase) == (fills, closed)
    assert desk.position.remaining == settled.remaining


def test_a_logical_fill_has_the_same_id_after_any_restart() -> None:
    """Also one that no trade explains: the restart books it once and not again."""
    desk = opened(PLAN)
    read(desk, 7, ())
    ids = [fill.trade_id for fill in desk.position.fills]
    for _ in range(3):
        restart(desk)
        read(desk, 7, ())
    assert [fill.trade_id for fill in desk.position.fills] == ids
    assert len(set(ids)) == len(ids)


@given(order=st.permutations(range(6)), repeats=st.lists(st.integers(0, 5), max_size=6))
def test_reports_may_come_in_any_order_and_more_than_once(order: list[int], repeats: list[int]) -> None:
    """Fills by stream, by look-up and by the trades of the slot, before or after the order's own word: booked once."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    submit = desk.submits("target-1")[0]
    trades = tuple(desk.trade(f"t-{number}", 2, "101", client_order_id=submit.client_order_id) for number in range(3))

    def report(state: OrderState, count: int, *, read_back: bool) -> OrderReported:
        told = trades[:count]
        return OrderReported(
            at=desk.at,
            client_order_id=submit.client_order_id,
            state=state,
            quantity=submit.quantity,
            filled=D(2 * count),
            trades=told,
            read_back=read_back,
        )

    events: list[OrderReported | PositionObserved] = [
        report(OrderState.OPEN, 0, read_back=False),
        report(OrderState.OPEN, 1, read_back=False),
        report(OrderState.OPEN, 2, read_back=True),
        report(OrderState.FILLED, 3, read_back=False),
        report(OrderState.FILLED, 3, read_back=True),
        PositionObserved(at=desk.at, quantity=D(4), trades=trades),
    ]
    for index in [*order, *repeats]:
        desk.at += SECOND
        desk.tell(replace(events[index], at=desk.at))
    desk.tell(replace(events[4], at=desk.at))
    assert desk.target(1).filled == D(6)
    assert desk.position.remaining == D(4)
    assert desk.intent("target-1").status is IntentStatus.FILLED
    assert len(desk.submits("target-1")) == 1


def test_fills_are_taken_in_before_the_end_that_comes_with_them() -> None:
    """A cancellation that arrives with a fill first books, and only what is then missing is asked for."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    submit = desk.submits("target-1")[0]
    trade = desk.trade("t-1", 5, "101", client_order_id=submit.client_order_id)
    ended = OrderReported(
        at=desk.at,
        client_order_id=submit.client_order_id,
        state=OrderState.CANCELLED,
        quantity=submit.quantity,
        filled=D(5),
        trades=(trade,),
        read_back=True,
    )
    desk.venue -= 5
    for _ in range(3):
        desk.at += SECOND
        desk.tell(replace(ended, at=desk.at))
    assert desk.target(1).filled == D(5)
    assert [order.quantity for order in desk.submits("target-1")] == [D(6), D(1)]


def test_a_known_trade_with_other_numbers_keeps_ours_and_is_told_once() -> None:
    """Books that change behind one's back are worse than a venue that contradicts itself."""
    desk = opened(PLAN)
    desk.price("101")
    fill = desk.position.fills[-1]
    before = desk.position
    lie = desk.trade(fill.trade_id, 7, "99", client_order_id=fill.client_order_id)
    for _ in range(3):
        read(desk, 4, (lie,))
        restart(desk)
    assert desk.position.fills == before.fills
    assert (desk.position.remaining, desk.position.realized_pnl) == (before.remaining, before.realized_pnl)
    (note,) = desk.notes("order.differs")
    assert note.alert
    assert (note.fields["told_quantity"], note.fields["booked_quantity"]) == (D(7), D(6))


def test_a_difference_waits_while_an_order_of_ours_is_under_way() -> None:
    """Its doing, most likely: no shrinking before it has ended."""
    desk = opened(PLAN, held=("target-", "observe"))
    desk.price("101")
    for _ in range(3):
        desk.at += SECOND
        desk.observe(4)
    assert desk.position.remaining == D(10)
    assert desk.notes("position.external_change") == []


def test_one_read_never_shrinks_a_position() -> None:
    """Not to less, not to nothing, not to the other side; and another size in between starts the count anew."""
    desk = opened(PLAN, held=("observe",))
    for quantity in ("6", "0", "-3", "6.5"):
        desk.at += SECOND
        desk.observe(quantity)
        assert desk.position.remaining == D(10)
    desk.at += SECOND
    desk.observe("6.5")
    assert desk.position.remaining == D("6.5")


def test_an_entry_refused_as_a_duplicate_is_looked_up_and_protected() -> None:
    """Sent again after it had seemed absent, and it had arrived: the refusal means that it is there."""
    desk = opened(PLAN, held=("entry",))
    desk.lose("entry")
    desk.refuse("entry", "duplicate_id")
    assert desk.phase() == "opening"
    assert any(isinstance(effect, LookUp) for effect in desk.effects)
    desk.held.clear()
    desk.fill("entry")
    assert desk.position.remaining == D(10)
    assert desk.position.protected
    assert desk.phase() == "open"


def test_a_restart_does_not_book_its_own_reconciliation_again() -> None:
    """A reduction by hand was found; killed before and after its save, the books say it once."""
    desk = opened(PLAN)
    hand = desk.trade("hand-1", 3, "102")
    before = desk.position
    read(desk, 7, (hand,))
    once = [fill.trade_id for fill in desk.position.fills]
    desk.position = before
    read(desk, 7, (hand,))
    assert [fill.trade_id for fill in desk.position.fills] == once
    restart(desk)
    read(desk, 7, (hand,))
    assert [fill.trade_id for fill in desk.position.fills] == once
    assert desk.exits() == [("external-1", "external", D(102), D(3))]


def test_the_cause_of_a_reduction_is_kept() -> None:
    """Liquidated and reduced by the exchange are not the trader's hand."""
    for cause in (Reason.LIQUIDATED, Reason.ADL, Reason.EXTERNAL):
        desk = opened(PLAN, held=("observe",))
        for _ in range(2):
            desk.at += SECOND
            desk.tell(PositionObserved(at=desk.at, quantity=D(0), cause=cause))
        assert desk.position.close_reason == cause.value


def test_funding_and_foreign_orders_are_told_once() -> None:
    """Every read brings them again."""
    desk = opened(PLAN)
    for _ in range(3):
        desk.tell(FundingPaid(at=desk.at, funding_id="f1", amount=D("-0.5")))
        desk.tell(ForeignOrderSeen(at=desk.at, venue_order_id="v1", description="limit sell 3"))
        restart(desk)
    assert desk.position.funding == D("-0.5")
    assert len(desk.notes("position.foreign_order")) == 1
