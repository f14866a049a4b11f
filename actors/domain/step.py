"""One transition under way: the position as it becomes, and the effects so far.

`advance` makes one, hands it through the rules, and takes the result out; nothing outlives the transition.
"""

from collections.abc import Callable, Iterable
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
from actors.domain.records import builder, changed, field_names, values_of

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
_FIELDS = field_names(Position)
_PLACES = {name: place for place, name in enumerate(_FIELDS)}
_INTENTS, _TARGETS = _PLACES["intents"], _PLACES["targets"]
_values_of = values_of(_FIELDS)
_build: Callable[[Iterable[Any]], Position] = builder(Position)


class Step:
    """The working copy of one transition. `before` is what it began with, the latest prices apart.

    Fields change in place, and a position is made of them only when somebody looks at it.
    """

    def __init__(self, position: Position) -> None:
        self.before = position
        self.effects: list[Effect] = []
        self._values = list(_values_of(position))
        self._position: Position | None = position
        self._census = _NOBODY

    @property
    def position(self) -> Position:
        """What the position is by now; it stays as it is when more is changed."""
        found = self._position
        if found is None:
            found = self._position = _build(self._values)
        return found

    def change(self, **fields: Any) -> None:
        """Set fields of the position."""
        for name, value in fields.items():
            self._values[_PLACES[name]] = value
        self._position = None

    def see(self, latest: Quote) -> None:
        """Take the latest prices, which make no difference to what the position is."""
        untouched = self._position is self.before
        self.change(latest=latest)
        if untouched:
            self.before = self.position

    def note(self, name: str, at: Micros, *, alert: bool = False, **fields: Any) -> None:
        """Add a line to the audit trail."""
        self.effects.append(Note(name=name, at=at, fields=fields, alert=alert))

    @property
    def _intents(self) -> tuple[Intent, ...]:
        found: tuple[Intent, ...] = self._values[_INTENTS]
        return found

    @property
    def _targets(self) -> tuple[Target, ...]:
        found: tuple[Target, ...] = self._values[_TARGETS]
        return found

    # -- targets ---------------------------------------------------------------------------------------------------

    def target(self, number: int) -> Target:
        """A target's state. Raises KeyError when the position has none of this number."""
        for target in self._targets:
            if target.number == number:
                return target
        raise KeyError(number)

    def change_target(self, number: int, **fields: Any) -> None:
        """Set fields of one target."""
        self.change(
            targets=tuple(changed(target, fields) if target.number == number else target for target in self._targets)
        )

    # -- intents ---------------------------------------------------------------------------------------------------

    def census(self) -> Census:
        """What kinds of intents there are now."""
        intents = self._intents
        if self._census.intents is not intents:
            self._census = Census(intents)
        return self._census

    def intent(self, order_id: str) -> Intent | None:
        """The intent with this client order id."""
        for intent in self._intents:
            if intent.client_order_id == order_id:
                return intent
        return None

    def change_intent(self, order_id: str, **fields: Any) -> Intent:
        """Set fields of one intent and return it as it is then."""
        found: Intent | None = None
        intents: list[Intent] = []
        for intent in self._intents:
            if intent.client_order_id == order_id:
                intent = found = changed(intent, fields)  # noqa: PLW2901
            intents.append(intent)
        if found is None:
            raise KeyError(order_id)
        self.change(intents=tuple(intents))
        return found

    def next_generation(self, leg: str) -> int:
        """The number of the next order of a leg, 0 for its first."""
        return 1 + max((intent.generation for intent in self._intents if intent.leg == leg), default=-1)

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
        position = self.before
        intent = Intent(
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
        self.change(intents=(*self._intents, intent))
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
            Submit(
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
        position = self.position
        current = position.stop_price
        if current is not None and position.side.sign * (price - current) <= 0:
            return False
        self.change(stop_price=price, stop_reason=reason)
        return True

    def begin_full_close(self, leg: str, reason: Reason) -> None:
        """Decide to close all that remains; owed partials are withdrawn, the orders follow from the state."""
        self.change(closing_reason=reason, closing_leg=leg)
        for intent in self.position.intents:
            if intent.status is IntentStatus.PLANNED and not intent.full:
                self.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)
