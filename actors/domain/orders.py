"""Which orders a position needs next, derived from its state after every event.

One exit order in flight, save for a full close and what rests; a protective stop that is created and verified before
the old one goes; the end once nothing remains and every order is read back terminal.
"""

from actors.domain.booking import settle_dust
from actors.domain.exits import MICROS_PER_SECOND, away_from_market, floor_to_step, within_bound
from actors.domain.model import (
    HUNDRED,
    ZERO,
    Intent,
    IntentStatus,
    Micros,
    OrderKind,
    Phase,
    Position,
    Reason,
    Source,
)
from actors.domain.prices import limit_time
from actors.domain.resting import cancel_resting, settle_hits, work_resting
from actors.domain.shares import in_flight, owed_to
from actors.domain.step import Step

KEPT_RESIDENTS = 4
ENTRY_RESEND_SECONDS = 60


def work(step: Step, at: Micros) -> None:
    """Bring the orders in line with the state. Does nothing while the position is not reconciled."""
    position = step.now
    if position.phase in (Phase.CLOSED, Phase.QUARANTINED) or position.reconciling:
        return
    if step.census().planned:
        _work_entry(step, at)
    settle_hits(step, at)
    if not step.census().exit_live:
        settle_dust(step, at)
    limit_time(step, at)
    if step.now.closing_reason is not None:
        cancel_resting(step)
        _work_full_close(step, at)
    else:
        work_resting(step, at, may_place=_former_owners_stop(step.now) is None)
        if step.census().planned:
            _work_partials(step, at)
    if step.now.remaining > 0 and step.now.closing_reason is None:
        _work_resident(step, at)
    _work_end(step, at)
    _set_phase(step)


def _work_entry(step: Step, at: Micros) -> None:
    """An entry that is proven not executed goes out again, unless too much time has passed for a market order."""
    for intent in step.now.intents:
        if intent.leg == "entry" and intent.status is IntentStatus.PLANNED:
            if step.now.closing_reason or at - intent.decided_at > ENTRY_RESEND_SECONDS * MICROS_PER_SECOND:
                step.change_intent(intent.client_order_id, status=IntentStatus.REFUSED)
                step.note("order.refused", at, leg="entry", why="not executed in time, and not sent again")
            elif intent.retry_at is None or intent.retry_at <= at:
                step.submit(intent, at)


def _work_full_close(step: Step, at: Micros) -> None:
    """Ask for the tracked remainder, an unknown partial included. It may leave before it is durable, unless somebody
    else holds more there: then reduce-only would not stop the same close of a next life that knows nothing of this one.
    """
    position = step.position
    if position.excess > 0:
        _cancel_partials(step)
    if position.remaining <= 0 or position.disputed:
        return
    closes = [intent for intent in position.intents if intent.full]
    if any(intent.live for intent in closes):
        return
    triggered = [intent for intent in position.intents if intent.resident and intent.live and intent.filled > 0]
    if triggered:
        return
    owed = next((intent for intent in closes if intent.status is IntentStatus.PLANNED), None)
    shared, known = position.excess > 0, owed is not None
    if owed is None:
        generation = 1 + max((intent.generation for intent in closes if intent.leg == position.closing_leg), default=-1)
        reason = position.closing_reason or Reason.MANUAL
        owed = step.plan_order(at, position.closing_leg, reason, position.remaining, generation=generation, full=True)
    if shared and not _rests_gone(step):
        # The cancels wait for the save, and what they make room for is saved with them.
        return
    if owed.retry_at is not None and owed.retry_at > at:
        return
    if known:
        owed = step.change_intent(owed.client_order_id, quantity=position.remaining)
    step.submit(owed, at, urgent=known or not shared)


def _rests_gone(step: Step) -> bool:
    """While the venue holds more than we track, two of our orders could close too much: the partial that is under way
    goes first, then the resident stop and the resting targets. A partial whose end nobody knows leaves the stop.
    """
    live = [intent for intent in step.position.intents if intent.reduce_only and not intent.full and intent.live]
    if any(not (intent.resident or intent.kind is OrderKind.LIMIT) for intent in live):
        return False
    for intent in live:
        if not intent.cancel_requested:
            step.cancel(intent)
    return not live


def _cancel_partials(step: Step) -> None:
    """What is left of a partial would be filled beside a full close, and nothing at the venue would end it: the
    position there is larger than ours.
    """
    for intent in step.position.intents:
        at_rest = intent.resident or intent.kind is OrderKind.LIMIT
        if intent.reduce_only and intent.live and not (intent.full or at_rest or intent.cancel_requested):
            step.cancel(intent)


def _work_partials(step: Step, at: Micros) -> None:
    """Send the oldest owed partial, if no other exit order is in flight and its price is still within its bound.

    What rests for targets is cut down before it, and while it is being cancelled it is in flight: together they would
    reach more than they may.
    """
    position = step.now
    if any(in_flight(i) for i in position.intents if not i.resident and i.leg != "entry"):
        return
    if position.remaining <= 0 or position.disputed or _former_owners_stop(position):
        return
    if position.excess > 0 and _stop_reaches_beyond(position):
        return
    for intent in position.intents:
        if intent.status is not IntentStatus.PLANNED or not intent.reduce_only or intent.resident or intent.full:
            continue
        if intent.kind is OrderKind.LIMIT:
            continue
        if intent.retry_at is not None and intent.retry_at > at:
            continue
        if not in_bound(position, intent):
            continue
        quantity = min(intent.quantity, position.remaining, owed_to(position, intent.leg))
        if quantity <= 0:
            # A trade of an earlier order of this leg was booked meanwhile: the leg has what it asked for.
            step.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)
            continue
        if quantity != intent.quantity:
            intent = step.change_intent(intent.client_order_id, quantity=quantity)  # noqa: PLW2901
        step.submit(intent, at)
        return


def _stop_reaches_beyond(position: Position) -> bool:
    """Whether a stop at the venue is still as large as before the latest partial. Where somebody else holds more there,
    it would close theirs as it fires: one partial's worth at most, if the next waits until it has been cut down.
    """
    return any(i.resident and i.live and i.quantity - i.filled > position.remaining for i in position.intents)


def _former_owners_stop(position: Position) -> Intent | None:
    """A resident stop that a former owner placed and that is not replaced yet, by which that owner would still act."""
    if position.residents_replaced_below == 0:
        return None
    for intent in position.intents:
        number = int(intent.leg.removeprefix("resident-")) if intent.resident else position.residents_replaced_below
        if number < position.residents_replaced_below and not intent.status.terminal:
            return intent
    return None


def in_bound(position: Position, intent: Intent) -> bool:
    """Whether a partial may go out at the present price; one without a level always may."""
    if intent.level is None:
        return True
    price = position.latest.price(position.plan.targets_source, position.side) if position.latest else None
    return price is not None and within_bound(position, intent.level, price)


def quiet(position: Position) -> bool:
    """No order of it is under way: all are at rest, owed or done."""
    return not any(in_flight(intent) for intent in position.intents)


def resting_ids(position: Position) -> tuple[str, ...]:
    """The resident stops that were read back at the venue and are not being cancelled."""
    resting = IntentStatus.RESTING
    return tuple(
        intent.client_order_id
        for intent in position.intents
        if intent.resident and intent.status is resting and not intent.cancel_requested
    )


# -- the resident stop -------------------------------------------------------------------------------------------------


def trigger_source(position: Position) -> Source:
    """The venue's nearest source to the plan's own: the same where it has it, else the last price."""
    wanted = position.plan.stop_source
    offered = position.terms.stop_triggers
    if wanted in offered:
        return wanted
    return Source.LAST if Source.LAST in offered else offered[0]


def _work_resident(step: Step, at: Micros) -> None:
    """Create, verify, cancel: there is never a moment without a stop where the venue allows two."""
    position = step.now
    if position.stop_price is None:
        return
    residents = step.census().residents
    active = [intent for intent in residents if not intent.cancel_requested]
    if any(intent.status is not IntentStatus.RESTING for intent in active):
        return
    newest = active[-1] if active else None
    for old in active[:-1]:
        step.cancel(old)
    quantity = floor_to_step(position.remaining, position.instrument.quantity_step)
    replaced = newest is not None and newest is _former_owners_stop(position)
    resized = newest is not None and newest.quantity != quantity
    if newest is not None and not replaced and not resized and not _move_due(position, newest, at):
        return
    if position.excess > 0 and residents:
        if newest is not None:
            step.cancel(newest)
        return
    if not _retry_due(position, at):
        return
    _create_resident(step, at)


def _create_resident(step: Step, at: Micros) -> None:
    position = step.now
    if position.stop_price is None:
        return
    number = position.next_resident
    intent = step.plan_order(
        at,
        f"resident-{number}",
        position.stop_reason,
        floor_to_step(position.remaining, position.instrument.quantity_step),
        kind=OrderKind.STOP_MARKET,
        trigger_price=away_from_market(position.side, position.stop_price, position.instrument.tick_size),
        trigger_source=trigger_source(position),
    )
    step.change(next_resident=number + 1, resident_moved_at=at)
    step.submit(intent, at)
    _forget_old_residents(step)


def _forget_old_residents(step: Step) -> None:
    """A trail makes many; those that are read back terminal say nothing any more, and the numbers go on."""
    done = [intent for intent in step.now.intents if intent.resident and intent.status.terminal]
    gone = {intent.client_order_id for intent in done[:-KEPT_RESIDENTS]}
    if gone:
        kept = tuple(intent for intent in step.now.intents if intent.client_order_id not in gone)
        step.change(intents=kept)


def _move_due(position: Position, newest: Intent, at: Micros) -> bool:
    """Whether the resting stop must be replaced now: at once when moved by a rule, by a trail only now and then."""
    old = newest.trigger_price
    if old is None or position.stop_price is None:
        return False
    if old == away_from_market(position.side, position.stop_price, position.instrument.tick_size):
        return False
    trailing = Reason.TRAILING_STOP
    if position.stop_reason is not trailing or newest.reason is not trailing:
        return True
    waited = at - (position.resident_moved_at or 0)
    if waited < position.terms.resident_interval_seconds * MICROS_PER_SECOND:
        return False
    moved = position.side.sign * (position.stop_price - old)
    return moved >= old * position.terms.resident_step_percent / HUNDRED


def _retry_due(position: Position, at: Micros) -> bool:
    """After a refusal the next attempt waits its turn."""
    refused = [intent for intent in position.intents if intent.resident and intent.status is IntentStatus.REFUSED]
    return not refused or refused[-1].retry_at is None or refused[-1].retry_at <= at


# -- the end -----------------------------------------------------------------------------------------------------------


def _work_end(step: Step, at: Micros) -> None:
    """Once nothing remains: cancel what rests, and end when every order is read back terminal."""
    if step.now.remaining > 0:
        return
    position = step.position
    entry = next((intent for intent in position.intents if intent.leg == "entry"), None)
    if entry is not None and not entry.ended:
        return
    for intent in position.intents:
        rests = intent.resident or intent.kind is OrderKind.LIMIT
        if rests and intent.live and not intent.cancel_requested:
            step.cancel(intent)
        elif intent.status is IntentStatus.PLANNED:
            step.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)
    if any(intent.live for intent in step.position.intents):
        return
    exits = [fill for fill in position.fills if fill.leg != "entry"]
    if position.quantity == 0:
        reason = "entry_refused"
    elif position.closing_reason is not None:
        reason = position.closing_reason.value
    else:
        reason = exits[-1].reason.value if exits else Reason.EXTERNAL.value
    closed_at = exits[-1].at if exits else at
    step.change(phase=Phase.CLOSED, closed_at=closed_at, close_reason=reason, observed=None)
    position = step.position
    step.note(
        "position.closed",
        closed_at,
        reason=reason,
        realized_pnl=position.realized_pnl,
        fees=position.fees,
        funding=position.funding,
        dust=position.dust,
    )


def _is_runner(position: Position) -> bool:
    """Whether a target is hit, and all that close something are; a planned one without a state is not waited for."""
    hit = {target.number: target.hit for target in position.targets}
    if True not in hit.values():
        return False
    return all(hit.get(planned.number, True) for planned in position.plan.targets if planned.close > 0)


def _set_phase(step: Step) -> None:
    position = step.now
    if position.phase is Phase.CLOSED or not position.entry_complete:
        return
    if position.closing_reason is not None or position.remaining <= ZERO:
        phase = Phase.CLOSING
    else:
        phase = Phase.RUNNER if _is_runner(position) else Phase.OPEN
    if phase is not position.phase:
        step.change(phase=phase)
