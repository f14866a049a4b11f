"""What becomes of orders that did not simply fill: refused, unknown, absent, withheld; and of every order after a
restart.
"""

from dataclasses import replace

from actors.domain.events import (
    OrderAbsent,
    OrderRefused,
    OrderUnknown,
    OrderWithheld,
    OrphanSeen,
    Reconciled,
    Recovered,
)
from actors.domain.model import Intent, IntentStatus, Micros, OrderKind, Position, Reason
from actors.domain.orders import in_bound
from actors.domain.plain import shared
from actors.domain.prices import watching
from actors.domain.step import Step, client_order_id, retry_after

# As many orders of a target as an orphan is recognised among.
KNOWN_GENERATIONS = 32

# How many stops in a row may fail to arrive before somebody is told (again).
ABSENCES_TOLD = 3


def on_refused(step: Step, event: OrderRefused) -> None:
    """Proven not executed, and the venue said why. Exits stay owed; an entry ends the position."""
    intent = step.intent(event.client_order_id)
    if intent is None or intent.status.terminal:
        return
    at = event.at
    step.note("order.refused", at, alert=True, leg=intent.leg, code=event.code, why=event.message)
    order_id = intent.client_order_id
    if event.code == "duplicate_id":
        # An order already has this id: it is ours, from before, an entry perhaps that has filled; the truth about it is
        # asked for.
        step.change_intent(order_id, status=IntentStatus.UNKNOWN)
        step.look_up(intent)
    elif intent.leg == "entry":
        step.change_intent(order_id, status=IntentStatus.REFUSED)
    elif intent.resident:
        _refuse_resident(step, event, at)
    else:
        step.change_intent(
            order_id,
            status=IntentStatus.PLANNED,
            attempts=intent.attempts + 1,
            retry_at=retry_after(intent, at),
        )
        if event.code == "reduce_only":
            step.observe("a reduction was refused as reduce-only")


def _refuse_resident(step: Step, event: OrderRefused, at: Micros) -> None:
    intent = step.intent(event.client_order_id)
    if intent is None:
        return
    refused = [other for other in step.position.intents if other.resident and other.status is IntentStatus.REFUSED]
    attempts = refused[-1].attempts + 1 if refused else 1
    step.change_intent(
        intent.client_order_id,
        status=IntentStatus.REFUSED,
        attempts=attempts,
        retry_at=retry_after(replace(intent, attempts=attempts - 1), at),
    )
    if not step.position.protected:
        step.note("position.unprotected", at, alert=True, why=event.message, code=event.code)
    if event.code == "would_trigger" and watching(step.position):
        # The venue sees the price beyond our stop already: close now at market, never stay naked.
        step.begin_full_close("stop", intent.reason)


def on_unknown(step: Step, event: OrderUnknown) -> None:
    """It may have been executed; until that is known nothing is concluded."""
    intent = step.intent(event.client_order_id)
    if intent is None or intent.status.terminal or intent.status is IntentStatus.UNKNOWN:
        return
    step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN)
    step.note("order.unknown", event.at, leg=intent.leg, client_order_id=intent.client_order_id)


def on_absent(step: Step, event: OrderAbsent) -> None:
    """Proven not executed: what is still wanted goes out again with the same id, a resident stop under its next
    number.
    """
    intent = step.intent(event.client_order_id)
    if intent is None or intent.status.terminal:
        return
    step.note("order.resolved", event.at, leg=intent.leg, state="absent", client_order_id=intent.client_order_id)
    withdrawn = intent.resident or (step.position.closing_reason is not None and not intent.full)
    if intent.leg == "entry":
        withdrawn = step.position.closing_reason is not None
    status = IntentStatus.WITHDRAWN if withdrawn else IntentStatus.PLANNED
    if intent.kind is OrderKind.LIMIT and (intent.cancel_requested or intent.status is IntentStatus.RESTING):
        # Not wanted any more; or it did rest, and what the exchange no longer knows is asked for under a new id.
        status = IntentStatus.WITHDRAWN
        step.observe("an order at rest is not known any more")
    if intent.filled > 0:
        # Something of it is booked, so it is not absent: a lagging read. Ask again.
        step.look_up(intent, proof=True)
        return
    step.change_intent(intent.client_order_id, status=status, retry_at=None)
    if intent.resident and not intent.cancel_requested and step.position.remaining > 0:
        _count_absence(step, intent, event.at)


def _count_absence(step: Step, intent: Intent, at: Micros) -> None:
    """A stop that never arrives is placed again, and told where nothing protects meanwhile."""
    others = [other for other in step.position.intents if other.resident and other.leg != intent.leg]
    again = bool(others) and others[-1].status is IntentStatus.WITHDRAWN
    attempts = others[-1].attempts + 1 if again else 1
    step.change_intent(intent.client_order_id, attempts=attempts)
    if attempts % ABSENCES_TOLD == 0 and not step.position.protected:
        step.note("position.unprotected", at, alert=True, why="its stop does not arrive at the exchange", code="absent")


def on_withheld(step: Step, event: OrderWithheld) -> None:
    """A submission that never left, because the acknowledged state no longer wanted it."""
    intent = step.intent(event.client_order_id)
    if intent is not None and intent.status is IntentStatus.SENT and intent.filled == 0:
        step.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)


def on_recovered(step: Step, event: Recovered) -> None:
    """After a restart every intent without a terminal outcome is looked up: durable means possibly sent."""
    step.change(terms=shared(event.terms), instrument=event.instrument, reconciling=True)
    if event.takeover:
        step.change(residents_replaced_below=step.position.next_resident)
    for intent in step.position.intents:
        if intent.status.terminal:
            continue
        if intent.status is IntentStatus.PLANNED and not intent.full:
            step.look_up(intent)
            continue
        if intent.status is not IntentStatus.RESTING or intent.cancel_requested:
            # What was read back at rest is believed to rest until its look-up says otherwise: a comeback that finds
            # everything as it was recorded changes nothing, and has nothing to save.
            step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN)
        step.look_up(intent, proof=True)


def on_reconciled(step: Step, event: Reconciled) -> None:
    """The venue's word is taken in; the rules go on from here."""
    step.change(reconciling=False)
    if event.quote is not None:
        step.change(latest=event.quote)


def on_orphan(step: Step, event: OrphanSeen) -> None:
    """An order of ours that this state does not know (an emergency stop): it joins as a resident, and is replaced."""
    position = step.position
    if step.intent(event.client_order_id) is not None:
        return
    if event.kind is OrderKind.LIMIT:
        _take_orphan_limit(step, event)
        return
    number = position.next_resident
    intent = step.plan_order(
        event.at,
        f"resident-{number}",
        position.stop_reason,
        event.quantity,
        kind=event.kind if event.kind is OrderKind.STOP_MARKET else OrderKind.MARKET,
        side=position.exit_side,
        trigger_price=event.trigger_price,
    )
    step.change(next_resident=number + 1)
    step.change_intent(intent.client_order_id, client_order_id=event.client_order_id, status=IntentStatus.RESTING)
    step.note("position.orphan_order", event.at, client_order_id=event.client_order_id, leg=intent.leg)


def _take_orphan_limit(step: Step, event: OrphanSeen) -> None:
    """An order for a target that this state does not know: it joins the leg it was for, and is taken back."""
    position = step.position
    for number in range(1, position.next_target):
        for generation in range(KNOWN_GENERATIONS):
            leg = f"target-{number}"
            known = any(target.number == number for target in position.targets)
            identity = client_order_id(position.order_tag, position.id, leg, generation)
            if known and identity == event.client_order_id:
                _join_orphan_limit(step, event, leg, generation)
                return
    _join_orphan_limit(step, event, f"orphan-{position.next_resident}", 0)
    step.change(next_resident=position.next_resident + 1)


def _join_orphan_limit(step: Step, event: OrphanSeen, leg: str, generation: int) -> None:
    intent = step.plan_order(
        event.at, leg, Reason.TAKE_PROFIT, event.quantity, kind=OrderKind.LIMIT, generation=generation
    )
    step.change_intent(intent.client_order_id, client_order_id=event.client_order_id, status=IntentStatus.RESTING)
    step.note("position.orphan_order", event.at, client_order_id=event.client_order_id, leg=leg)


def overtaken_by_price(position: Position | None, order_id: str) -> bool:
    """Whether a partial that is about to leave has lost its price bound while its save was under way."""
    if position is None:
        return False
    own = (intent for intent in position.intents if intent.client_order_id == order_id)
    return any(not in_bound(position, intent) for intent in own)


def wanted(acknowledged: Position, order_id: str) -> bool:
    """Whether this acknowledged state still wants an order to be sent: a partial is not wanted once all is to close."""
    for intent in acknowledged.intents:
        if intent.client_order_id == order_id:
            superseded = acknowledged.closing_reason is not None and not intent.full
            return not intent.status.terminal and not intent.cancel_requested and not superseded
    return False
