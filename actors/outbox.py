"""Outbox: what a position lets go once the state that decided it is acknowledged."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.domain.events import Effect, Note, OrderAbsent, OrderWithheld, Submit
from actors.domain.model import Position
from actors.domain.outcomes import overtaken_by_price, wanted
from actors.effects import release, tell_notes
from actors.position_parts import Waiting

if TYPE_CHECKING:
    from actors.position import PositionActor


def release_due(actor: "PositionActor", due: Sequence[Waiting], acknowledged: Position) -> None:
    """Let go what waited for this acknowledgement, and of the orders only those still wanted in it."""
    withheld: list[str] = []
    overtaken: list[str] = []
    notes: list[Note] = []
    for waiting in due:
        if waiting.answer is not None:
            waiting.answer(actor.parts.directory.positions[acknowledged.id])
        elif isinstance(waiting.effect, Submit) and not wanted(acknowledged, waiting.effect.client_order_id):
            withheld.append(waiting.effect.client_order_id)
        elif isinstance(waiting.effect, Submit) and _overtaken(actor, waiting.effect):
            overtaken.append(waiting.effect.client_order_id)
        elif isinstance(waiting.effect, Note):
            notes.append(waiting.effect)
        elif waiting.effect is not None:
            release(actor, waiting.effect)
    # After the orders: what is written down about them is durable already, and they are what cannot wait.
    tell_notes(actor, notes)
    for order_id in withheld:
        actor.apply(OrderWithheld(at=actor.event_time(), client_order_id=order_id))
    for order_id in overtaken:
        # The save took so long that its price has gone: never sent, still owed, under the same id.
        actor.apply(OrderAbsent(at=actor.event_time(), client_order_id=order_id))


def may_leave_unsaved(actor: "PositionActor", submit: Submit) -> bool:
    """A full close may, unless somebody else holds more there: then only one whose intent is acknowledged may.

    It may have become possible only now, before the state that planned it is saved.
    """
    position = actor.position
    if not submit.urgent or position is None or position.excess <= 0:
        return submit.urgent
    published = actor.parts.directory.positions.acknowledged(position.id)
    known = published.position if published is not None else None
    return known is not None and any(each.client_order_id == submit.client_order_id for each in known.intents)


def press(actor: "PositionActor", effect: Effect) -> None:
    """An order that waits for its acknowledgement goes before what other positions make of theirs.

    Not one that protects: it follows an execution itself.
    """
    if isinstance(effect, Submit) and not effect.leg.startswith("resident-"):
        actor.parts.directory.pressing.add(actor.parts.position_id)


def _overtaken(actor: "PositionActor", submit: Submit) -> bool:
    position, order_id = actor.position, submit.client_order_id
    if position is None or all(each.level is None for each in position.intents if each.client_order_id == order_id):
        return False
    actor.listening.catch_up()
    return overtaken_by_price(actor.position, order_id)
