"""Bybit's codes and rows: what may be concluded of an error, and what a row of a list is in our words."""

from typing import Any, Final

from actors.domain.events import OrderState, Trade
from actors.domain.model import Instrument, OrderKind, OrderSide, Side, Source
from actors.venues.base import (
    OrderRejected,
    OrderUnknown,
    VenueError,
    VenueOrder,
    VenuePosition,
    VenueUnavailable,
)
from actors.venues.ccxt.dialect import number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import MILLISECOND, filled_by, or_none

TRIGGER_BY: Final = {Source.MARK: "MarkPrice", Source.LAST: "LastPrice"}
CAUSES: Final = {"AdlTrade": "adl", "BustTrade": "liquidated"}
NOT_TRADES: Final = frozenset({"Funding", "Settle", "SessionSettlePnL", "FutureSpread"})
STATES: Final = {
    "New": OrderState.OPEN,
    "PartiallyFilled": OrderState.OPEN,
    "Untriggered": OrderState.OPEN,
    "Triggered": OrderState.OPEN,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED,
    "Rejected": OrderState.REJECTED,
}
# Documented as decided before matching. Whatever is not here is unknown: 10000 and 10016 (timeout, internal error)
# say nothing of the order, and 110001 on a new order would make no sense.
REFUSED: Final = {
    "10002": "expired",
    "10003": "auth",
    "10004": "auth",
    "10005": "auth",
    "10007": "auth",
    "10009": "auth",
    "10010": "auth",
    "10024": "auth",
    "10027": "auth",
    "10028": "auth",
    "33004": "auth",
    "110004": "insufficient_margin",
    "110006": "insufficient_margin",
    "110007": "insufficient_margin",
    "110009": "too_many_stops",
    "110012": "insufficient_margin",
    "110017": "reduce_only",
    "110030": "duplicate_id",
    "110044": "insufficient_margin",
    "110045": "insufficient_margin",
    "110052": "insufficient_margin",
    "110072": "duplicate_id",
    "110092": "would_trigger",
    "110093": "would_trigger",
    "110094": "below_minimum",
}
# 10001 is every wrong parameter: what it means is in the words alone.
WORDED: Final = {
    "position idx not match position mode": "position_mode",
    "symbol invalid": "unknown_symbol",
    "qty invalid": "quantity_step",
    "minimum limit": "below_minimum",
    "price invalid": "price_tick",
}
NOT_TAKEN: Final = {"10006": "rate_limit", "10018": "rate_limit"}


def concluded(error: RestError) -> VenueError:
    """What may be concluded of a write that was answered so."""
    if error.code == "10001":
        words = error.message.lower()
        for part, code in WORDED.items():
            if part in words:
                return OrderRejected(code, error.message)
    if error.code in REFUSED:
        return OrderRejected(REFUSED[error.code], error.message)
    if error.code in NOT_TAKEN:
        return VenueUnavailable(NOT_TAKEN[error.code], error.message)
    return OrderUnknown(error.code or "no_code", error.message)


def trade_of(symbol: str, row: dict[str, Any]) -> Trade:
    """One execution."""
    return Trade(
        trade_id=row["execId"],
        client_order_id=row["orderLinkId"],
        symbol=symbol,
        side=OrderSide(row["side"].lower()),
        quantity=number(row["execQty"]),
        price=number(row["execPrice"]),
        fee=number(row["execFee"] or 0),
        at=int(row["execTime"]) * MILLISECOND,
        cause=CAUSES.get(row["execType"], "order"),
    )


def order_of(symbol: str, row: dict[str, Any], trades: tuple[Trade, ...]) -> VenueOrder:
    """One order with its trades, which may have come later than the order or lag behind it."""
    state = STATES.get(row["orderStatus"])
    if state is None:
        raise NoAnswer(f"an order status nobody knows: {row['orderStatus']}")
    return VenueOrder(
        client_order_id=row["orderLinkId"],
        venue_order_id=row["orderId"],
        symbol=symbol,
        kind=kind_of(row),
        side=OrderSide(row["side"].lower()),
        quantity=number(row["qty"]),
        filled=max(number(row["cumExecQty"] or 0), filled_by(trades)),
        state=state,
        reduce_only=bool(row["reduceOnly"]),
        trigger_price=or_none(row.get("triggerPrice")),
        trades=trades,
        updated_at=int(row["updatedTime"]) * MILLISECOND,
        limit_price=or_none(row["price"]) if row["orderType"] == "Limit" else None,
        position_wide=_position_wide(row),
    )


def instrument_of(market: dict[str, Any]) -> Instrument:
    """What the exchange allows, of what it says itself: ccxt's own numbers are floats."""
    lot, price = market["info"]["lotSizeFilter"], market["info"]["priceFilter"]
    return Instrument(
        symbol=market["symbol"],
        tick_size=number(price["tickSize"]),
        quantity_step=number(lot["qtyStep"]),
        minimum_quantity=number(lot["minOrderQty"]),
        minimum_notional=number(lot.get("minNotionalValue") or 0),
        taker_fee_percent=number(market["taker"]) * 100,
    )


def position_of(symbol: str, row: dict[str, Any]) -> VenuePosition:
    """One open position."""
    return VenuePosition(
        symbol=symbol,
        side=Side.LONG if row["side"] == "Buy" else Side.SHORT,
        quantity=number(row["size"]),
        entry_price=number(row["avgPrice"]),
        liquidation_price=or_none(row.get("liqPrice")),
    )


def kind_of(row: dict[str, Any]) -> OrderKind:
    """The class of an order, also once it has triggered."""
    if row.get("stopOrderType") not in (None, "", "UNKNOWN") or or_none(row.get("triggerPrice")):
        return OrderKind.STOP_MARKET
    return OrderKind.LIMIT if row["orderType"] == "Limit" else OrderKind.MARKET


def _position_wide(row: dict[str, Any]) -> bool:
    """The position's own take profit and stop close all of it, unless they are told to be partial."""
    if row.get("stopOrderType") in ("TakeProfit", "StopLoss", "TrailingStop"):
        return row.get("tpslMode") != "Partial"
    return bool(row.get("closeOnTrigger")) and not number(row["qty"] or 0)
