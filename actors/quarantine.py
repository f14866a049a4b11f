"""The last thing done for a quarantined position: its stop is verified, or placed, or `unprotected` is raised.

The emergency stop has a deterministic id of its own, so that it is found again; once the position runs again it is an
orphan there, which is replaced by a proper one.
"""

from dataclasses import dataclass

import structlog

from actors.domain.exits import away_from_market, floor_to_step
from actors.domain.model import OrderKind, Position
from actors.domain.orders import trigger_source
from actors.domain.step import client_order_id
from actors.traffic import SlotRead
from actors.venues.base import (
    AccountAnswered,
    OrderAnswered,
    OrderRequest,
    RequestFailed,
    VenueOrder,
    VenuePosition,
)

EMERGENCY_LEG = "resident-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyStop:
    """What a gateway still has to do for one quarantined position."""

    position_id: str
    symbol: str
    position: Position | None
    order_tag: str


def protecting(order_tag: str, slot: SlotRead | AccountAnswered) -> VenueOrder | None:
    """A stop of ours at rest that covers what the venue holds; None when there is none."""
    held = slot.position
    if held is None:
        return None
    for order in slot.orders:
        ours = order.client_order_id.startswith(order_tag) and order.kind is OrderKind.STOP_MARKET
        if ours and order.reduce_only and order.quantity - order.filled >= held.quantity:
            return order
    return None


def emergency_request(
    stop: EmergencyStop,
    held: VenuePosition,
    *,
    request_id: str,
    account: str,
    signed_at: int,
    expires_after_seconds: float,
) -> OrderRequest | None:
    """A stop at the last saved level for what we track; None when the saved state does not allow one."""
    position = stop.position
    if position is None or position.stop_price is None or position.side is not held.side:
        return None
    quantity = min(floor_to_step(position.remaining, position.instrument.quantity_step), held.quantity)
    if quantity <= 0:
        return None
    return OrderRequest(
        request_id=request_id,
        account=account,
        symbol=stop.symbol,
        client_order_id=client_order_id(position.order_tag, position.id, EMERGENCY_LEG, position.next_resident),
        kind=OrderKind.STOP_MARKET,
        side=position.exit_side,
        quantity=quantity,
        reduce_only=True,
        trigger_price=away_from_market(position.side, position.stop_price, position.instrument.tick_size),
        trigger_source=trigger_source(position),
        signed_at=signed_at,
        expires_after_seconds=expires_after_seconds,
    )


def tell_outcome(stop: EmergencyStop, answer: OrderAnswered | RequestFailed | None, *, why: str = "") -> bool:
    """Say whether the position is protected now; raise `position.unprotected` when it is not."""
    log = structlog.get_logger().bind(position=stop.position_id, symbol=stop.symbol)
    if isinstance(answer, OrderAnswered) and answer.order is not None:
        log.warning("position.emergency_stop", trigger_price=answer.order.trigger_price, quantity=answer.order.quantity)
        return True
    if isinstance(answer, RequestFailed):
        why = answer.error.message
    log.error(
        "position.unprotected",
        why=why or "no stop of ours rests there, and the saved state allows none",
        remedy="place a stop on the exchange by hand now",
    )
    return False


def tell_protected(stop: EmergencyStop, order: VenueOrder | None) -> None:
    """The resident stop was verified, or there is nothing to protect."""
    log = structlog.get_logger().bind(position=stop.position_id, symbol=stop.symbol)
    if order is None:
        log.info("position.flat", why="the venue holds nothing in this slot")
    else:
        log.info("position.protected", trigger_price=order.trigger_price, quantity=order.quantity)


