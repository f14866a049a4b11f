"""What a paper exchange checks and reckons: pure functions of an order, a position and a price."""

from decimal import Decimal

from actors.domain.model import ZERO, Instrument, Micros, OrderSide, Quote, Source
from actors.venues.base import CancelRequest, OrderRejected, OrderRequest, VenueUnavailable
from actors.venues.paper_tables import OrderRow

_MICROS_PER_SECOND = 1_000_000
_FUTURE_SECONDS = 5


def moved(held: Decimal, entry_price: Decimal, delta: Decimal, price: Decimal) -> tuple[Decimal, Decimal]:
    """A position (signed size, average entry price) after a trade: adding averages, reducing keeps, crossing begins."""
    after = held + delta
    if not after:
        return ZERO, ZERO
    if held * delta > 0:
        return after, (held * entry_price + delta * price) / after
    return after, entry_price if held * after > 0 else price


def market_price(quote: Quote, side: OrderSide) -> Decimal:
    """What an order of this side trades at. Raises VenueUnavailable when there is nothing."""
    price = quote.ask if side is OrderSide.BUY else quote.bid
    if price is None:
        raise VenueUnavailable("no_price", "there is nothing to trade with")
    return price


def reducible(held: Decimal, side: OrderSide) -> Decimal:
    """How much of a position an order of this side can take away."""
    return max(ZERO, held if side is OrderSide.SELL else -held)


def is_through(side: OrderSide, trigger: Decimal, source: Source, quote: Quote) -> bool:
    """Whether the price of this source has reached a trigger, from the side it triggers on."""
    price = quote.last if source is Source.LAST else quote.mark
    if price is None:
        return False
    return price <= trigger if side is OrderSide.SELL else price >= trigger


def triggered(order: OrderRow, quote: Quote) -> bool:
    """Whether this price triggers a stop."""
    if order.trigger_price is None or order.trigger_source is None:
        return False
    return is_through(order.side, order.trigger_price, order.trigger_source, quote)


def is_crossed(order: OrderRow, quote: Quote) -> bool:
    """Whether the market has reached the price of a limit order: the bid where it sells, the ask where it buys."""
    touch = quote.ask if order.side is OrderSide.BUY else quote.bid
    if order.limit_price is None or touch is None:
        return False
    return touch <= order.limit_price if order.side is OrderSide.BUY else touch >= order.limit_price


def check_limit(request: OrderRequest, instrument: Instrument) -> Decimal:
    """The price of a limit order that is on the tick. Raises OrderRejected."""
    limit = request.limit_price
    if limit is None or limit <= 0 or limit % instrument.tick_size:
        raise OrderRejected("price_tick", f"the limit price {limit} is not on the tick")
    return limit


def check_quantity(request: OrderRequest, instrument: Instrument, price: Decimal) -> None:
    """Raises OrderRejected for a quantity off the step, or below a minimum."""
    quantity = request.quantity
    if quantity <= 0 or quantity < instrument.minimum_quantity:
        least = instrument.minimum_quantity
        raise OrderRejected("below_minimum", f"{quantity} is below the minimum quantity {least}")
    if quantity % instrument.quantity_step:
        raise OrderRejected("quantity_step", f"{quantity} is not a multiple of {instrument.quantity_step}")
    # A position must always be closable in full, however far its price has fallen: venues spare reduce-only orders.
    if not request.reduce_only and quantity * price < instrument.minimum_notional:
        least = instrument.minimum_notional
        raise OrderRejected("below_minimum", f"{quantity} at {price} is below the minimum notional {least}")


def check_expiry(request: OrderRequest | CancelRequest, now: Micros) -> None:
    """Raises OrderRejected for a request that arrives after its expiry, or was signed in the future."""
    if now > request.signed_at + int(request.expires_after_seconds * _MICROS_PER_SECOND):
        raise OrderRejected("expired", "the request arrived after its expiry")
    if request.signed_at - now > _FUTURE_SECONDS * _MICROS_PER_SECOND:
        raise OrderRejected("expired", "the request was signed in the future: compare the clocks")
