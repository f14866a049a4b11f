"""How a PositionActor opens or adopts: read the slot, decide, save, and only then send.

Nothing is saved or sent for a refusal or a preview.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from actors.commands import refusal_of
from actors.directory import Published
from actors.domain.errors import DomainError
from actors.domain.events import ForeignOrderSeen, OpenPosition
from actors.domain.model import Quote, Terms
from actors.domain.opening import open_position, preview
from actors.messages import Opened, OpenRequest, Previewed, Refusal
from actors.runtime.base import Reply, tell
from actors.traffic import CancelForeign, SlotRead
from actors.venues.base import VenueOrder
from persistence.store import SnapshotConflict, StaleOwner

if TYPE_CHECKING:
    from actors.position import PositionActor


class Opening:
    """One opening under way."""

    def __init__(self, actor: "PositionActor", request: OpenRequest) -> None:
        """The actor has no position yet."""
        self._actor = actor
        self._request = request
        self._replies: list[Reply] = [request.reply]
        self._cancelled_foreign = False
        self._decided = False

    def begin(self) -> None:
        """Read what is in the slot."""
        self._actor.read_slot()

    def also(self, reply: Reply) -> None:
        """An identical request: it gets the same answer."""
        self._replies.append(reply)

    def on_slot(self, slot: SlotRead) -> None:
        """Decide on what the venue holds in this slot."""
        if self._decided:
            self._actor.recovery.on_slot(slot)
            return
        refusal = self._refusal(slot)
        if refusal is not None:
            self._refuse(refusal)
            return
        foreign = _foreign_exits(slot, self._actor.parts.order_tag)
        if self._request.adopt and foreign:
            if not self._request.foreign_orders:
                listed = ", ".join(f"{order.kind.value} {order.quantity:f}" for order in foreign)
                text = f"exit orders that are not ours rest there ({listed}); say foreign_orders keep or cancel"
                self._refuse(Refusal(code="foreign_exit_orders", message=text, field="foreign_orders"))
                return
            if self._request.foreign_orders == "cancel" and not self._request.preview and self._acceptable(slot):
                self._cancel_foreign(slot, foreign)
                return
        self._decide(slot, foreign)

    def _acceptable(self, slot: SlotRead) -> bool:
        """Whether the adoption itself would stand: somebody's stops are not cancelled for one that is then refused."""
        try:
            open_position(self._command(slot, []))
        except DomainError:
            return False
        return True

    def _refusal(self, slot: SlotRead) -> Refusal | None:
        request = self._request
        if slot.error:
            return Refusal(code=slot.error_code, message=slot.error, field="symbol")
        if slot.instrument is None or slot.quote is None:
            text = f"{request.symbol} has no price yet; try again when its feed is fresh"
            return Refusal(code="no_price", message=text, field="symbol")
        held = slot.position
        if request.adopt and held is None:
            text = f"the venue holds no position in {request.symbol}; open one instead of adopting"
            return Refusal(code="nothing_to_adopt", message=text, field="symbol")
        if request.adopt and held is not None:
            if request.side is not None and request.side is not held.side:
                text = f"the venue's position is {held.side.value}, not {request.side.value}"
                return Refusal(code="wrong_side", message=text, field="side")
            if request.quantity is not None and request.quantity != held.quantity:
                text = f"the venue's position is {held.quantity:f}; leave quantity out to adopt it whole"
                return Refusal(code="quantity", message=text, field="quantity")
        if not request.adopt and held is not None:
            text = (
                f"the venue already holds {held.quantity:f} {held.side.value} in {request.symbol} that nobody manages; "
                "adopt it, or close it first"
            )
            return Refusal(code="unmanaged_position", message=text, field="symbol")
        if not request.adopt and (request.side is None or request.quantity is None):
            return Refusal(code="missing", message="side and quantity are required to open", field="quantity")
        return None

    def _cancel_foreign(self, slot: SlotRead, foreign: list[VenueOrder]) -> None:
        if self._cancelled_foreign:
            text = "the foreign exit orders could not be cancelled; cancel them on the exchange and try again"
            self._refuse(Refusal(code="foreign_exit_orders", message=text, field="foreign_orders"))
            return
        self._cancelled_foreign = True
        orders = tuple((order.client_order_id or order.venue_order_id, order.kind) for order in foreign)
        tell(
            self._actor.parts.gateway,
            CancelForeign(symbol=slot.symbol, orders=orders, trades_since=slot.at, reply_to=self._actor.actor_ref),
        )

    def _decide(self, slot: SlotRead, foreign: list[VenueOrder]) -> None:
        actor, request = self._actor, self._request
        command = self._command(slot, foreign)
        try:
            if request.preview:
                position = preview(command)
                published = Published(
                    position_id=position.id, account=position.account, position=position, version=0, epoch=0
                )
                self._answer(Previewed(published=published))
                actor.abandon()
                return
            position, effects = open_position(command)
        except DomainError as error:
            self._refuse(_of_plan(refusal_of(error)))
            return
        self._decided = True
        actor.take(None, actor.listening.since_now(position), effects, self._opened)
        for order in () if request.adopt else foreign:
            actor.apply(
                ForeignOrderSeen(
                    at=position.updated_at, venue_order_id=order.venue_order_id, description=describe(order)
                )
            )
        actor.manage()

    def _command(self, slot: SlotRead, foreign: list[VenueOrder]) -> OpenPosition:
        actor, request, held = self._actor, self._request, slot.position
        quote = slot.quote or Quote(at=slot.at)
        if slot.instrument is None:
            raise ValueError("a slot without an instrument is refused before")
        adopting = held if request.adopt else None
        quantity = adopting.quantity if adopting else request.quantity
        side = adopting.side if adopting else request.side
        if quantity is None or side is None:
            raise ValueError("an opening without side or quantity is refused before")
        return OpenPosition(
            at=quote.at,
            id=request.id,
            account=request.account,
            symbol=request.symbol,
            side=side,
            quantity=quantity,
            plan=request.plan,
            instrument=slot.instrument,
            order_tag=actor.parts.order_tag,
            quote=quote,
            terms=terms_of(actor),
            adopt=request.adopt,
            entry_price=adopting.entry_price if adopting else None,
            liquidation_price=adopting.liquidation_price if adopting else None,
            act_now=request.act_now,
            request_digest=request.digest,
            tags=request.tags,
            kept_foreign_orders=tuple(order.venue_order_id for order in foreign) if request.adopt else (),
        )

    def _opened(self, published: Published) -> None:
        self._actor.opened()
        for index, reply in enumerate(self._replies):
            reply.set(Opened(published=published, repeated=index > 0))
        self._replies = []

    def on_save_failed(self, error: Exception) -> None:
        """The first save was refused: the id exists (it is remembered for 30 days), or the shard is not ours."""
        if isinstance(error, SnapshotConflict):
            text = f"id {self._request.id} was used before for another position; choose a new one"
            self._refuse(Refusal(code="id_taken", message=text, field="id"))
        elif isinstance(error, StaleOwner):
            text = "another keeper owns this account's shard; ask that one"
            self._refuse(Refusal(code="not_owner", message=text))
        else:
            self._refuse(Refusal(code="storage", message=f"not accepted: {error}"))

    def _refuse(self, refusal: Refusal) -> None:
        self._answer(refusal)
        self._actor.abandon()

    def _answer(self, answer: object) -> None:
        for reply in self._replies:
            reply.set(answer)
        self._replies = []


def terms_of(actor: "PositionActor") -> Terms:
    """What configuration and venue say about this account's orders."""
    return actor.parts.account.terms(actor.parts.stop_triggers)


def _of_plan(refusal: Refusal) -> Refusal:
    """The refusal with its fields named as in the request, where stop and targets stand under `plan`."""

    def name(field: str) -> str:
        return f"plan.{field}" if field.startswith(("stop", "targets")) else field

    faults = tuple(replace(fault, field=name(fault.field)) for fault in refusal.faults)
    return replace(refusal, field=name(refusal.field), faults=faults)


def describe(order: VenueOrder) -> str:
    """An order in a few words, for an alert."""
    words = f"{order.kind.value} {order.side.value} {order.quantity:f}"
    return words if order.trigger_price is None else f"{words} at {order.trigger_price:f}"


def _foreign_exits(slot: SlotRead, order_tag: str) -> list[VenueOrder]:
    """Orders at rest that would reduce the position and are not ours."""
    return [order for order in slot.orders if order.reduce_only and not order.client_order_id.startswith(order_tag)]
