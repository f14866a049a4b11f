"""One transition under way: the position as it becomes, and the effects so far.

`advance` makes one, hands it through the rules, and takes the result out; nothing outlives the transition.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from actors.domain.census import Census
from actors.domain.events import Cancel, Effect, LookUp, Note, Observe, Submit
from actors.domain.exits import MICROS_PER_SECOND
from actors.domain.model import (
    Intent,
    IntentStatus,
    Micros,
    OrderKind,
    OrderSide,
    Position,
    Quote,
    Reason,
    Source,
    Target,
)
from actors.domain.records import changed, copier, maker, values_of

ORDER_TAG_DIGITS = 8
ORDER_ID_DIGITS = 32
RETRY_SECONDS = (1, 2, 5, 10, 30, 60)


def client_order_id(tag: str, position_id: str, leg: str, generation: int) -> str:
    """The deterministic id of one order: 8 hex of the installation's tag + 24 of blake2b(position id, leg,
    generation).
    """
    digest = blake2b(f"{position_id}\0{leg}\0{generation}".encode(), digest_size=12)
    return tag + digest.hexdigest()


def retry_after(intent: Intent, at: Micros) -> Micros:
    """When an order that was refused, or taken away, may be tried again."""
    seconds = RETRY_SECONDS[min(intent.attempts, len(RETRY_SECONDS) - 1)]
    return at + seconds * MICROS_PER_SECOND


_NOBODY = Census(())
_draft_of: Callable[[Position], Position] = copier(Position)
_compared = values_of([field.name for field in fields(Position) if field.compare])
_new_intent, _new_note, _new_submit = maker(Intent), maker(Note), maker(Submit)


def _finished(draft: Position) -> Position:
    draft.__class__ = Position
    return draft


class Step:
    """The working copy of one transition. `before` is what it began with, the latest prices apart.

    `now` is the position under way: whoever keeps it sees every later change. `position` is a value that stays as it
    is when more is changed, and is made when somebody looks at it. Rules that read and then change ask `now`.
    """

    __slots__ = ("_began", "_census", "_position", "_touched", "effects", "now")

    def __init__(self, position: Position) -> None:
        self.effects: list[Effect] = []
        self.now = position
        self._began = position
        self._position: Position | None = position
        self._touched = False
        self._census = _NOBODY

    @property
    def before(self) -> Position:
        """What the step began with, with the latest prices where nothing else was changed."""
        return self._began if self._touched else self.position

    @property
    def position(self) -> Position:
        """What the position is by now; it stays as it is when more is changed."""
        found = self._position
        if found is None:
            found = self._position = _finished(_draft_of(self.now))
        return found

    def change(self, **fields: Any) -> None:
        """Set fields of the position. Raises KeyError for a name that is no field."""
        self._touched = True
        self._change(fields)

    def _change(self, fields: Mapping[str, Any]) -> None:
        now = self.now
        if now is self._began:
            now = self.now = _draft_of(now)
        self._position = None
        try:
            for name, value in fields.items():
                setattr(now, name, value)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def see(self, latest: Quote) -> None:
        """Take the latest prices, which make no difference to what the position is."""
        self._change({"latest": latest})

    @property
    def made_a_difference(self) -> bool:
        """Whether the position is not equal any more to what it was."""
        return self._touched and _compared(self.now) != _compared(self._began)

    def finish(self) -> Position:
        """What came of it. Nothing may be changed any more."""
        found = self._position
        if found is None:
            found = self._position = _finished(self.now)
        return found

    def note(self, name: str, at: Micros, *, alert: bool = False, **fields: Any) -> None:
        """Add a line to the audit trail."""
        self.effects.append(_new_note(name=name, at=at, fields=fields, alert=alert))

    # -- targets ---------------------------------------------------------------------------------------------------

    def target(self, number: int) -> Target:
        """A target's state. Raises KeyError when the position has none of this number."""
        for target in self.now.targets:
            if target.number == number:
                return target
        raise KeyError(number)

    def change_target(self, number: int, **fields: Any) -> None:
        """Set fields of one target."""
        self.change(
            targets=tuple(
                [changed(target, fields) if target.number == number else target for target in self.now.targets]
            )
        )

    # -- intents ---------------------------------------------------------------------------------------------------

    def census(self) -> Census:
        """What kinds of intents there are now."""
        intents = self.now.intents
        if self._census.intents is not intents:
            self._census = Census(intents)
        return self._census

    def intent(self, order_id: str) -> Intent | None:
        """The intent with this client order id."""
        for intent in self.now.intents:
            if intent.client_order_id == order_id:
                return intent
        return None

    def change_intent(self, order_id: str, **fields: Any) -> Intent:
        """Set fields of one intent and return it as it is then."""
        intents = list(self.now.intents)
        for place, intent in enumerate(intents):
            if intent.client_order_id == order_id:
                found = intents[place] = changed(intent, fields)
                self.change(intents=tuple(intents))
                return found
        raise KeyError(order_id)

    def next_generation(self, leg: str) -> int:
        """The number of the next order of a leg, 0 for its first."""
        return 1 + max((intent.generation for intent in self.now.intents if intent.leg == leg), default=-1)

    def plan_order(
        self,
        at: Micros,
        leg: str,
        reason: Reason,
        quantity: Decimal,
        *,
        kind: OrderKind = OrderKind.MARKET,
        side: OrderSide | None = None,
        generation: int = 0,
        level: Decimal | None = None,
        trigger_price: Decimal | None = None,
        trigger_source: Source | None = None,
        limit_price: Decimal | None = None,
        full: bool = False,
    ) -> Intent:
        """Decide one order: a new intent, not sent yet."""
        # Whose order it is never changes.
        position = self._began
        intent: Intent = _new_intent(
            leg=leg,
            reason=reason,
            kind=kind,
            side=side or position.exit_side,
            quantity=quantity,
            client_order_id=client_order_id(position.order_tag, position.id, leg, generation),
            decided_at=at,
            generation=generation,
            level=level,
            trigger_price=trigger_price,
            trigger_source=trigger_source,
            limit_price=limit_price,
            full=full,
        )
        self.change(intents=(*self.now.intents, intent))
        return intent

    def submit(self, intent: Intent, at: Micros, *, urgent: bool = False) -> None:
        """Let an intent go: from the next acknowledged state on it may have been sent."""
        self.change_intent(intent.client_order_id, status=IntentStatus.SENT, retry_at=None, reads=0)
        self.note(
            "intent.saved",
            at,
            leg=intent.leg,
            side=intent.side.value,
            quantity=intent.quantity,
            trigger_price=intent.trigger_price,
            limit_price=intent.limit_price,
            client_order_id=intent.client_order_id,
        )
        self.effects.append(
            _new_submit(
                client_order_id=intent.client_order_id,
                leg=intent.leg,
                kind=intent.kind,
                side=intent.side,
                quantity=intent.quantity,
                reduce_only=intent.reduce_only,
                trigger_price=intent.trigger_price,
                trigger_source=intent.trigger_source,
                limit_price=intent.limit_price,
                urgent=urgent,
            )
        )

    def cancel(self, intent: Intent) -> None:
        """Ask for the end of one order at rest; it counts until that is confirmed."""
        self.change_intent(intent.client_order_id, cancel_requested=True)
        self.effects.append(Cancel(client_order_id=intent.client_order_id, kind=intent.kind))

    def look_up(self, intent: Intent, *, proof: bool = False) -> None:
        """Ask for the truth about one order."""
        self.effects.append(LookUp(client_order_id=intent.client_order_id, kind=intent.kind, proof=proof))

    def observe(self, reason: str) -> None:
        """Ask for the venue's position in this slot."""
        self.effects.append(Observe(reason=reason))

    # -- the stop --------------------------------------------------------------------------------------------------

    def tighten_stop(self, price: Decimal, reason: Reason) -> bool:
        """Move the stop if that is in the position's favour, and say whether it moved."""
        position = self.now
        current = position.stop_price
        if current is not None and position.side.sign * (price - current) <= 0:
            return False
        self.change(stop_price=price, stop_reason=reason)
        return True

    def begin_full_close(self, leg: str, reason: Reason) -> None:
        """Decide to close all that remains; owed partials are withdrawn, the orders follow from the state."""
        self.change(closing_reason=reason, closing_leg=leg)
        for intent in self.now.intents:
            if intent.status is IntentStatus.PLANNED and not intent.full:
                self.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)
