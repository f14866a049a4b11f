"""Hyperliquid's words and rows: what may be concluded of an error, and what a row of a list is in our words.

It has no error codes, only sentences, so the white list is one of sentences. A client order id is `0x` and 32 hex
digits: ours is those digits.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from actors.domain.events import OrderState, Trade
from actors.domain.model import ZERO, Instrument, Micros, OrderKind, OrderSide, Side
from actors.venues.base import OrderRejected, OrderUnknown, VenueError, VenueOrder, VenuePosition, VenueUnavailable
from actors.venues.ccxt.dialect import number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import MILLISECOND, MINUTE, filled_by, or_none, ours

LAG: Final = MINUTE
MINIMUM_NOTIONAL: Final = Decimal(10)
SIGNIFICANT_FIGURES: Final = 5
PRICE_DECIMALS: Final = 6
STATES: Final = {
    "open": OrderState.OPEN,
    # The order that a trigger sets off is the same one, under the same id: it has not ended yet.
    "triggered": OrderState.OPEN,
    "filled": OrderState.FILLED,
    "rejected": OrderState.REJECTED,
    "canceled": OrderState.CANCELLED,
    "scheduledCancel": OrderState.CANCELLED,
}
# What one order of an action is answered, decided by the matching engine: none of it was executed.
ORDER_WORDS: Final = {
    "price must be divisible by tick size": "price_tick",
    "order must have minimum value": "below_minimum",
    "order has zero size": "below_minimum",
    "order has invalid size": "quantity_step",
    "insufficient margin to place order": "insufficient_margin",
    "reduce only order would increase position": "reduce_only",
    "invalid tp/sl price": "would_trigger",
}
# What a whole action is answered, before any order of it was looked at.
ACTION_WORDS: Final = {
    "user or api wallet": "auth",
    "must deposit before performing actions": "auth",
}
ACTION_ERROR, ORDER_ERROR, CANCEL_ERROR = "action", "order", "cancel"


def wire_id(client_order_id: str) -> str | int:
    """An id as it is sent: ours as the client's, a foreign one as the exchange's own number."""
    if ours(client_order_id):
        return f"0x{client_order_id}"
    if client_order_id.isdecimal():
        return int(client_order_id)
    raise ValueError(f"no id for Hyperliquid: {client_order_id}")


def own_id(cloid: str | None) -> str:
    """A client id as we write it; "" for orders that have none."""
    return (cloid or "").removeprefix("0x")


def reply_error(body: Any) -> tuple[str, str] | None:
    """What kind of error a reply is, and its sentence."""
    if not isinstance(body, dict):
        return None
    if body.get("status") == "err":
        return ACTION_ERROR, str(body.get("response", ""))
    response = body.get("response")
    data = response.get("data") if isinstance(response, dict) else None
    for status in (data.get("statuses") or ()) if isinstance(data, dict) else ():
        if isinstance(status, dict) and "error" in status:
            kind = CANCEL_ERROR if response and response.get("type") == "cancel" else ORDER_ERROR
            return kind, str(status["error"])
    return None


def concluded(error: RestError) -> VenueError:
    """What may be concluded of a write that was answered so."""
    words = error.message.lower()
    if error.code == ORDER_ERROR:
        for part, code in ORDER_WORDS.items():
            if part in words:
                return OrderRejected(code, error.message)
        if "cloid" in words and ("duplicate" in words or "already" in words):
            return OrderRejected("duplicate_id", error.message)
    if error.code == ACTION_ERROR:
        for part, code in ACTION_WORDS.items():
            if part in words:
                return OrderRejected(code, error.message)
        if "expire" in words and "agent" not in words:
            return OrderRejected("expired", error.message)
        if "too many cumulative requests" in words:
            return VenueUnavailable("rate_limit", error.message)
    return OrderUnknown(error.code or "no_code", error.message)


# -- prices ------------------------------------------------------------------------------------------------------------


def tick_at(price: Decimal, size_decimals: int) -> Decimal:
    """The finest step of prices up to this one: five significant figures, six decimals less those of sizes, and
    whole numbers always.
    """
    by_figures = price.adjusted() - (SIGNIFICANT_FIGURES - 1)
    by_decimals = size_decimals - PRICE_DECIMALS
    return Decimal(1).scaleb(min(0, max(by_figures, by_decimals)))


def bound(price: Decimal, side: OrderSide, slippage: Decimal, size_decimals: int) -> Decimal:
    """The worst price an order at market may have, on a step the exchange takes."""
    buys = side is OrderSide.BUY
    worst = price * (1 + slippage if buys else 1 - slippage)
    tick = tick_at(worst, size_decimals)
    return (worst / tick).to_integral_value(ROUND_FLOOR if buys else ROUND_CEILING) * tick


# -- rows --------------------------------------------------------------------------------------------------------------


def instrument_of(market: dict[str, Any]) -> Instrument:
    """What the exchange allows. The price step grows with the price; the one of twice the present mark holds for every
    level in reach.
    """
    info = market["info"]
    size_decimals = int(info["szDecimals"])
    step = Decimal(1).scaleb(-size_decimals)
    return Instrument(
        symbol=market["symbol"],
        tick_size=tick_at(number(info["markPx"]) * 2, size_decimals),
        quantity_step=step,
        minimum_quantity=step,
        minimum_notional=MINIMUM_NOTIONAL,
        taker_fee_percent=number(market["taker"]) * 100,
    )


def kind_of(row: dict[str, Any]) -> OrderKind:
    """The class of an order, also once it has triggered."""
    words = str(row.get("orderType", "")).lower()
    if row.get("isTrigger") or "stop" in words or "take profit" in words or or_none(row.get("triggerPx")):
        return OrderKind.STOP_MARKET
    at_market = words == "market" or row.get("tif") in ("Ioc", "FrontendMarket", "LiquidationMarket")
    return OrderKind.MARKET if at_market else OrderKind.LIMIT


def side_of(row: dict[str, Any]) -> OrderSide:
    """B(id) buys, A(sk) sells."""
    return OrderSide.BUY if row["side"] == "B" else OrderSide.SELL


def state_of(status: str) -> OrderState:
    """What a status comes to; there are dozens of reasons for a rejection or a cancellation."""
    found = STATES.get(status)
    if found is not None:
        return found
    if status.endswith("Rejected"):
        return OrderState.REJECTED
    if status.endswith("Canceled"):
        return OrderState.CANCELLED
    raise NoAnswer(f"an order status nobody knows: {status}")


def order_of(symbol: str, told: dict[str, Any], trades: tuple[Trade, ...], now: Micros) -> VenueOrder:
    """One order with its trades, of `{order, status, statusTimestamp}`."""
    row, at = told["order"], int(told["statusTimestamp"]) * MILLISECOND
    state, kind, quantity = state_of(told["status"]), kind_of(row), number(row["origSz"])
    filled = max(filled_by(trades), _claimed(row, state))
    if state is not OrderState.OPEN and now - at > LAG:
        # What the list of fills does not tell after so long, was not: an order to reduce may end with less.
        filled = filled_by(trades)
    if filled >= quantity > 0 and state is OrderState.OPEN:
        state = OrderState.FILLED
    elif filled < quantity and state is OrderState.FILLED:
        state = OrderState.CANCELLED
    return VenueOrder(
        client_order_id=own_id(row.get("cloid")),
        venue_order_id=str(row["oid"]),
        symbol=symbol,
        kind=kind,
        side=side_of(row),
        quantity=quantity,
        filled=filled,
        state=state,
        reduce_only=bool(row.get("reduceOnly")),
        trigger_price=or_none(row.get("triggerPx")),
        trades=trades,
        updated_at=at,
        limit_price=or_none(row["limitPx"]) if kind is OrderKind.LIMIT else None,
        position_wide=bool(row.get("isPositionTpsl")),
    )


def _claimed(row: dict[str, Any], state: OrderState) -> Decimal:
    """What an order itself says was executed: its size without what is left of it."""
    quantity, left = number(row["origSz"]), number(row["sz"])
    if state is OrderState.REJECTED or (state is OrderState.CANCELLED and not left):
        # Nothing is left of an order that is gone, however much of it was executed.
        return ZERO
    return quantity - left


def fill_id(row: dict[str, Any]) -> str:
    """`tid` is a hash of both orders: only together with the time is it unique."""
    return f"{row['tid']}-{row['time']}"


def cause_of(row: dict[str, Any], wallet_address: str) -> str:
    """A liquidation is somebody's: it is told to both sides of the trade."""
    if "auto-deleverag" in str(row.get("dir", "")).lower():
        return "adl"
    liquidated = (row.get("liquidation") or {}).get("liquidatedUser") or ""
    return "liquidated" if liquidated.lower() == wallet_address.lower() else "order"


def trade_of(symbol: str, row: dict[str, Any], client_order_id: str, cause: str) -> Trade:
    """One fill. Its fee is in USDC, positive when paid."""
    return Trade(
        trade_id=fill_id(row),
        client_order_id=client_order_id,
        symbol=symbol,
        side=side_of(row),
        quantity=number(row["sz"]),
        price=number(row["px"]),
        fee=number(row.get("fee") or 0),
        at=int(row["time"]) * MILLISECOND,
        cause=cause,
    )


def position_of(symbol: str, row: dict[str, Any]) -> VenuePosition:
    """One open position."""
    size = number(row["szi"])
    return VenuePosition(
        symbol=symbol,
        side=Side.LONG if size > 0 else Side.SHORT,
        quantity=abs(size),
        entry_price=number(row["entryPx"]),
        liquidation_price=or_none(row.get("liquidationPx")),
    )
