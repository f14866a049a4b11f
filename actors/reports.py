"""What a venue answers, in the words of the domain and of the positions."""

from decimal import Decimal

from actors.domain.events import OrderReported
from actors.domain.model import Micros
from actors.traffic import SlotRead
from actors.venues.base import AccountAnswered, VenueError, VenueOrder


def report_of(order: VenueOrder, *, read_back: bool, venue_quantity: Decimal | None) -> OrderReported:
    """A venue's order as the domain's event. The venue's signed quantity becomes a size."""
    return OrderReported(
        at=order.updated_at,
        client_order_id=order.client_order_id,
        state=order.state,
        quantity=order.quantity,
        filled=order.filled,
        trades=order.trades,
        read_back=read_back,
        venue_quantity=None if venue_quantity is None else abs(venue_quantity),
        position_wide=order.position_wide,
        reduce_only=order.reduce_only,
        limit_price=order.limit_price,
    )


def slot_read(answer: AccountAnswered) -> SlotRead:
    """A read of one symbol of the account as a read of its slot."""
    return SlotRead(
        symbol=answer.symbol,
        position=answer.position,
        orders=answer.orders,
        trades=answer.trades,
        quote=answer.quote,
        instrument=answer.instrument,
        at=answer.read_at,
        fundings=answer.fundings,
    )


def slot_unknown(symbol: str, error: VenueError, at: Micros) -> SlotRead:
    """A slot that the venue does not have: nothing is said of position, orders and trades."""
    return SlotRead(
        symbol=symbol,
        position=None,
        orders=(),
        trades=(),
        quote=None,
        instrument=None,
        at=at,
        error=error.message,
        error_code=error.code,
    )
