"""PriceBound: the price and the moment by which a partial was let go, and when they count no more.

Between its release and its signing a keeper may stand still. What is signed then would be sold by the price of before:
so the gateway looks once more, at the latest price that is known and at the time that has passed.
"""

from dataclasses import dataclass
from decimal import Decimal

from actors.domain.events import Submit
from actors.domain.exits import reached, worst_price
from actors.domain.model import OrderKind, Position, Quote, Side, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBound:
    """A partial may go at `worst` or better; it was let go at `released_at`, in monotonic seconds."""

    side: Side
    source: Source
    worst: Decimal
    released_at: float

    def overtaken(self, quote: Quote | None, now: float, lasts_seconds: float) -> str:
        """Why it may not go any more, in words; empty while it may."""
        if now - self.released_at > lasts_seconds:
            return "it was decided too long ago; what is wanted now is decided anew"
        price = None if quote is None else quote.price(self.source, self.side)
        if quote is not None and (price is None or not reached(self.side, price, self.worst)):
            return f"the price is {price} by now, and it may not go below {self.worst} (above it for a short)"
        return ""


def bound_of(position: Position | None, submit: Submit, now: float) -> PriceBound | None:
    """The bound of an order that is let go now; None for one that may go at any price, or rests at its own."""
    if position is None or submit.urgent or submit.kind is not OrderKind.MARKET:
        return None
    for intent in position.intents:
        if intent.client_order_id == submit.client_order_id and intent.level is not None:
            source, worst = position.plan.targets_source, worst_price(position, intent.level)
            return PriceBound(side=position.side, source=source, worst=worst, released_at=now)
    return None
