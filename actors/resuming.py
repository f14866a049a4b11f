"""Resuming: how a position comes back that was surveyed with others, in one turn of its actor.

One question was asked for many slots (actors/comebacks.py), and what it found in this one comes with BeginRecovery.
Where everything is as it was recorded (actors/domain/undisturbed.py) the position goes on at once. Everywhere else
nothing of the answer is used, and the comeback asks its own questions (actors/recovery.py), as if there had been none.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from actors.domain.advance import advance
from actors.domain.model import ZERO, Micros, Position, Quote
from actors.domain.records import builder, changed
from actors.domain.tape import StoredTape
from actors.domain.undisturbed import undisturbed
from actors.opening import terms_of
from actors.recovery import backfill_of, caught_up, saved_at
from actors.runtime.base import tell
from actors.survey import SlotAsked, SlotSurveyed
from actors.traffic import BeginRecovery, Recovered

if TYPE_CHECKING:
    from actors.position import PositionActor


# One for each position that is loaded.
_ASKED = builder(SlotAsked)


def slot_asked(position: Position, tape: StoredTape | None) -> SlotAsked:
    """What a survey is to find out about a stored position's slot."""
    plan = position.plan
    stops, targets = plan.stop_source, plan.targets_source
    orders = tuple([(intent.client_order_id, intent.kind) for intent in position.intents if not intent.ended])
    sources = (stops,) if stops is targets else (stops, targets)
    asked: SlotAsked = _ASKED((position.symbol, position.opened_at, orders, sources, saved_at(position, tape)))
    return asked


def resume(actor: "PositionActor", message: BeginRecovery) -> bool:
    """Go on with what the survey has found; false, and nothing has changed, where more is to be done."""
    slot, stored = message.slot, message.position
    if slot is None or stored is None or message.spilled or message.takeover or slot.fundings:
        return False
    before, seen = caught_up(stored, message.tape)
    position = _backfilled(before, slot, saved_at(before, message.tape))
    if position is None:
        return False
    after = undisturbed(
        position,
        terms_of(actor),
        at=max(slot.read_at, position.updated_at),
        held=held_of(position, slot),
        looked_up=slot.looked_up,
        listed=slot.orders,
        trades=slot.trades,
        quote=slot.quote if slot.quote is not None else Quote(at=slot.read_at),
        seen=seen,
    )
    if after is None:
        return False
    actor.listening.saving(stored)
    if after.seen != stored.seen:
        # What is shown asks the tape from there on, what a crash would leave from where it was saved.
        actor.listening.saving(after)
    # What the stored tape has beyond the stored state is durable with it: only candles may add what is not.
    actor.publish(after if position is before else changed(before, {"reconciling": True}))
    if position is before and not any(intent.retry_at is not None for intent in after.intents):
        # As `take` would leave it: nothing that is saved has changed, nothing waits, and time alone changes nothing.
        actor.position = after
    else:
        actor.take(after if position is before else before, after, ())
    actor.manage(surveyed=True)
    if message.arrivals is not None:
        message.arrivals.add(stored.id)
    else:
        tell(actor.parts.supervisor, Recovered(position_id=stored.id))
    return True


def held_of(position: Position, slot: SlotSurveyed) -> Decimal:
    """The size that was found, in the position's own direction."""
    found = slot.position
    if found is None:
        return ZERO
    return found.quantity if found.side is position.side else -found.quantity


def _backfilled(position: Position, slot: SlotSurveyed, since: Micros) -> Position | None:
    """The position with the extremes of the candles; None where they ask for more."""
    if all(read.complete and not read.candles for read in slot.candles):
        return position
    reads = {read.source: read for read in slot.candles}
    stops, targets = reads[position.plan.stop_source], reads[position.plan.targets_source]
    event = backfill_of(stops, targets, since, at=max(slot.read_at, position.updated_at))
    if event is None:
        return position
    after, effects = advance(changed(position, {"reconciling": True}), event)
    return None if effects else after
