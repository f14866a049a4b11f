"""What the venue says against what we recorded.

Same size: go on. Smaller, and our orders explain it: book it. Smaller, unexplained: believed on the second read. Gone:
likewise. Larger: go on with the tracked size and alert. Flipped: ours is gone, and what is there now is not ours: it
ends, and is never managed with the wrong sign. Nothing is ever dropped on one read.
"""

from dataclasses import replace
from decimal import Decimal

from actors.domain.booking import book_external, book_trade
from actors.domain.events import ForeignOrderSeen, FundingPaid, OrderReported, PositionObserved, Trade
from actors.domain.exits import MICROS_PER_SECOND
from actors.domain.model import ZERO, Intent, IntentStatus, Micros, Observation, Phase, Position, Reason
from actors.domain.shares import in_flight
from actors.domain.step import Step, client_order_id

# An urgent full close may have left before its intent was durable; its ids are deterministic, so it is recognised.
LOST_GENERATIONS = 8
# Two reads that lack what is booked are not believed before they are this far apart: no read lags behind for so long.
BEHIND_SECONDS = 30


def on_observed(step: Step, event: PositionObserved) -> None:
    """Take in one read of the venue's position in this slot."""
    if step.position.phase in (Phase.CLOSED, Phase.QUARANTINED):
        return
    for trade in event.trades:
        _book_own(step, trade)
    doubtful = _ask_for_unlisted(step, event)
    position = step.position
    if doubtful or any(in_flight(intent) for intent in position.intents if not intent.resident):
        # An order of ours is under way: any difference may be its doing. The verdict waits for its end.
        step.change(observed=None)
        _tell_excess(step, event)
        if doubtful and event.quantity != position.remaining + position.excess:
            step.observe("an order that is listed no more is asked for first")
        elif position.disputed:
            # Nothing owed goes out before that is understood: not left to the next look around.
            step.observe("a size that was disputed waits for an order under way")
        return
    held, tracked, read_at = event.quantity, position.remaining, event.read_at or event.at
    repeated = _is_repeated(position, event, held, read_at)
    if held == tracked or (held == tracked + position.dust and held >= 0):
        if not repeated and (position.disputed or (event.behind and position.excess > 0)):
            # An order's own report, or a newer read, said otherwise: this, too, is believed on its second read.
            _read_again(step, held, read_at, "a size that was disputed is believed on its second read")
            return
        step.change(observed=None, excess=ZERO, disputed=False)
    elif (
        held > tracked and not repeated and (position.disputed or (event.behind and held != tracked + position.excess))
    ):
        # A read from before our own trades shows what they have closed since as if it were somebody else's. One that
        # shows what is known already says nothing new: it would be asked again for ever where they are never listed.
        _read_again(step, held, read_at, "a size that was disputed is believed on its second read")
    elif held > tracked:
        _take_excess(step, held - tracked, event)
    elif not repeated:
        _read_again(step, held, read_at, "a difference is believed on its second read")
    else:
        _shrink(step, event)


def _read_again(step: Step, held: Decimal, read_at: Micros, why: str) -> None:
    observed = step.position.observed
    if observed is None or observed.quantity != held or read_at < observed.at:
        # Of another size, or from before the wall's clock was set back: the wait begins anew.
        step.change(observed=Observation(quantity=held, at=read_at))
    step.observe(why)


def _is_repeated(position: Position, event: PositionObserved, held: Decimal, read_at: Micros) -> bool:
    """Whether an earlier read said the same; of those that may lag behind our own trades, one from long before."""
    apart = BEHIND_SECONDS * MICROS_PER_SECOND if event.behind else 1
    observed = position.observed
    return observed is not None and observed.quantity == held and read_at - observed.at >= apart


def _tell_excess(step: Step, event: PositionObserved) -> None:
    """While an entry is under way: what is there beyond all that it can still fill is somebody else's already."""
    position = step.position
    coming = (i.quantity - i.filled for i in position.intents if i.leg == "entry" and in_flight(i))
    beyond = event.quantity - position.remaining - sum(coming, ZERO)
    if beyond > max(position.excess, position.dust) and not (position.disputed or event.behind):
        _take_excess(step, beyond, event)


def _ask_for_unlisted(step: Step, event: PositionObserved) -> bool:
    """A listing of open orders never proves that one has ended: the order itself is asked for, and waited for.

    True where that of a target is missing. A stop covers all that remains: where it fired, nothing there is ours now.
    """
    doubtful = False
    for intent in step.position.intents:
        listed = event.open_orders is None or intent.client_order_id in event.open_orders
        if intent.status is IntentStatus.RESTING and not intent.cancel_requested and not listed:
            step.look_up(intent)
            doubtful = doubtful or not intent.resident
    return doubtful


def _take_excess(step: Step, excess: Decimal, event: PositionObserved) -> None:
    if step.position.excess != excess:
        step.note(
            "position.external_change",
            event.at,
            alert=True,
            kind="larger",
            venue_quantity=event.quantity,
            tracked=step.position.remaining,
        )
    step.change(excess=excess, observed=None, disputed=False)


def _book_own(step: Step, trade: Trade) -> None:
    """Book a trade that one of our orders made, an urgent close that was sent and not yet recorded included."""
    intent = step.intent(trade.client_order_id) or _lost_close(step, trade)
    if intent is not None and book_trade(step, intent, trade):
        known = step.intent(intent.client_order_id)
        if known is not None and known.live:
            # Its trade was never told, so its end may not be either.
            step.look_up(known)


def _lost_close(step: Step, trade: Trade) -> Intent | None:
    position = step.position
    if not trade.client_order_id.startswith(position.order_tag):
        return None
    legs = {
        "stop": position.stop_reason,
        "time_limit": Reason.TIME_LIMIT,
        f"manual-{position.next_manual}": Reason.MANUAL,
    }
    if position.closing_reason is not None:
        # That all is to close was saved, and not yet that its order has left.
        legs[position.closing_leg] = position.closing_reason
    for leg, reason in legs.items():
        for generation in range(LOST_GENERATIONS):
            if client_order_id(position.order_tag, position.id, leg, generation) == trade.client_order_id:
                intent = step.plan_order(trade.at, leg, reason, position.remaining, generation=generation, full=True)
                step.begin_full_close(leg, reason)
                step.note("order.resolved", trade.at, leg=leg, state="found", client_order_id=trade.client_order_id)
                step.look_up(intent)
                return step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN)
    return None


def _shrink(step: Step, event: PositionObserved) -> None:
    """Two reads agree that less is there than we hold, and nothing of ours explains it."""
    position = step.position
    missing = position.remaining - max(event.quantity, ZERO)
    leg = f"external-{position.next_external}"
    step.change(next_external=position.next_external + 1, observed=None, disputed=False)
    step.note(
        "position.external_change",
        event.at,
        alert=True,
        kind="flipped" if event.quantity < 0 else "gone" if event.quantity == 0 else "smaller",
        venue_quantity=event.quantity,
        tracked=position.remaining,
        cause=event.cause.value,
    )
    booked = ZERO
    for trade in event.trades:
        part = min(trade.quantity, missing - booked)
        if part <= 0 or trade.side is not position.exit_side:
            continue
        # A trade that went through zero closed ours with its first part only.
        ours = replace(trade, quantity=part, fee=trade.fee * part / trade.quantity)
        if book_external(step, leg, event.cause, ours):
            booked += part
    if booked < missing:
        price = position.latest.price(position.plan.stop_source, position.side) if position.latest else None
        guess = Trade(
            trade_id=f"{position.id}:{leg}",
            client_order_id="",
            symbol=position.symbol,
            side=position.exit_side,
            quantity=missing - booked,
            price=price if price is not None else (position.entry_price or ZERO),
            fee=ZERO,
            at=event.at,
        )
        book_external(step, leg, event.cause, guess)
        step.change(extremes_approximate=True)
    if step.position.remaining == 0 and step.position.closing_reason is None:
        step.begin_full_close(leg, event.cause)


def on_foreign(step: Step, event: ForeignOrderSeen) -> None:
    """Somebody else's exit order in our slot: told once, left alone."""
    if event.venue_order_id in step.position.kept_foreign_orders:
        return
    step.change(kept_foreign_orders=(*step.position.kept_foreign_orders, event.venue_order_id))
    step.note(
        "position.foreign_order", event.at, alert=True, venue_order_id=event.venue_order_id, order=event.description
    )


def on_funding(step: Step, event: FundingPaid) -> None:
    """Funding goes to the ledger once, and nowhere else."""
    if event.funding_id in step.position.funding_ids:
        return
    step.change(
        funding=step.position.funding + event.amount,
        funding_ids=(*step.position.funding_ids, event.funding_id)[-200:],
    )


def adopt_lost_report(step: Step, event: OrderReported) -> None:
    """An order report for an id we can recognise and have no intent for: an urgent close from before a crash."""
    if step.intent(event.client_order_id) is None and event.trades:
        _lost_close(step, event.trades[0])
