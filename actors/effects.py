"""Where the effects of one position go, once they are released."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from actors.audit import line_of
from actors.domain.events import Cancel, Effect, LookUp, Note, Observe, Submit
from actors.domain.orders import resting_ids
from actors.price_bound import bound_of
from actors.runtime.base import tell
from actors.traffic import CancelOrder, LookUpOrder, SendOrder

if TYPE_CHECKING:
    from actors.position import PositionActor

_log = structlog.get_logger()

CONFIRM_SECONDS = 1.0


def release(actor: "PositionActor", effect: Effect) -> None:
    """Let one effect go: to the gateway, or into the log and the stream of events."""
    parts = actor.parts
    match effect:
        case Submit():
            guards = resting_ids(actor.position) if effect.urgent and actor.position is not None else ()
            bound = bound_of(actor.position, effect, parts.clock.monotonic())
            send = SendOrder(symbol=parts.symbol, submit=effect, reply_to=actor.actor_ref, guards=guards, bound=bound)
            tell(parts.gateway, send)
        case Cancel():
            tell(parts.gateway, CancelOrder(symbol=parts.symbol, cancel=effect, reply_to=actor.actor_ref))
        case LookUp():
            tell(parts.gateway, LookUpOrder(symbol=parts.symbol, look_up=effect, reply_to=actor.actor_ref))
        case Observe():
            _read_again(actor)
        case Note():
            tell_notes(actor, [effect])


def _read_again(actor: "PositionActor") -> None:
    """Read the slot in a moment, once for all that ask before that read leaves.

    Its answer may ask again, and every look around would else begin another such row of reads beside it.
    """
    now = actor.parts.clock.monotonic()
    if now >= actor.reads_at:
        actor.reads_at = now + CONFIRM_SECONDS
        actor.read_slot(delay_seconds=CONFIRM_SECONDS)


def tell_notes(actor: "PositionActor", notes: Sequence[Note]) -> None:
    """Write notes into the log and the stream of events."""
    if not notes:
        return
    parts = actor.parts
    account, position = parts.account.name, parts.position_id
    for note in notes:
        line = line_of(note, position)
        write = _log.warning if note.alert else _log.info
        write(note.name, **{"position": position, "account": account, **line["fields"]})
        line["account"] = account
        parts.publish(line)
