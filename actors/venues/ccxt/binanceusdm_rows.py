"""Binance's rows of JSON as our records. Numbers are strings there, times milliseconds."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import FundingPaid, OrderState, Trade
from actors.domain.model import ZERO, Instrument, OrderKind, OrderSide, Side
from actors.venues.base import VenueOrder, VenuePosition
from actors.venues.ccxt.dialect import Holding, number
from actors.venues.ccxt.errors import NoAnswer
from actors.venues.ccxt.plain import MILLISECOND, or_none

Row = Mapping[str, Any]

STATES: Final = {
    "NEW": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.OPEN,
    "TRIGGERING": OrderState.OPEN,
    "TRIGGERED": OrderState.OPEN,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
    "REJECTED": OrderState.REJECTED,
}
FORCED: Final = (("autoclose-", "liquidated"), ("adl_autoclose", "adl"), ("settlement_autoclose-", "liquidated"))
"""How the ids begin of orders that the exchange itself made, and what they are."""


def forced(client_order_id: str) -> str:
    """Why the exchange made this order; "order" for one it did not make."""
    return next((cause for prefix, cause in FORCED if client_order_id.startswith(prefix)), "order")


def kind_of(row_type: str) -> OrderKind:
    """A plain order's kind."""
    return OrderKind.LIMIT if row_type == "LIMIT" else OrderKind.MARKET


def instrument_of(row: Row, symbol: str, taker_fee_percent: Decimal) -> Instrument:
    """A symbol of `exchangeInfo`. At market there is a lot size of its own: the coarser of both is kept to."""
    filters = {each["filterType"]: each for each in row["filters"]}
    lots = [filters[name] for name in ("LOT_SIZE", "MARKET_LOT_SIZE") if name in filters]
    return Instrument(
        symbol=symbol,
        tick_size=number(filters["PRICE_FILTER"]["tickSize"]),
        quantity_step=max(number(lot["stepSize"]) for lot in lots),
        minimum_quantity=max(number(lot["minQty"]) for lot in lots),
        minimum_notional=number(filters.get("MIN_NOTIONAL", {}).get("notional", 0)),
        taker_fee_percent=taker_fee_percent,
    )


def trade_of(row: Row, symbol: str, client_order_id: str, fee: Decimal, cause: str) -> Trade:
    """One row of `userTrades`."""
    return Trade(
        trade_id=str(row["id"]),
        client_order_id=client_order_id,
        symbol=symbol,
        side=OrderSide(row["side"].lower()),
        quantity=number(row["qty"]),
        price=number(row["price"]),
        fee=fee,
        at=int(row["time"]) * MILLISECOND,
        cause=cause,
    )


def plain_of(row: Row, symbol: str, trades: Sequence[Trade]) -> VenueOrder:
    """A plain order."""
    kind = kind_of(row["type"])
    return VenueOrder(
        client_order_id=row["clientOrderId"],
        venue_order_id=str(row["orderId"]),
        symbol=symbol,
        kind=kind,
        side=OrderSide(row["side"].lower()),
        quantity=number(row["origQty"]),
        filled=number(row["executedQty"]),
        state=_state(row["status"]),
        reduce_only=bool(row["reduceOnly"]),
        trigger_price=None,
        trades=tuple(trades),
        updated_at=int(row["updateTime"]) * MILLISECOND,
        limit_price=or_none(row["price"]) if kind is OrderKind.LIMIT else None,
        position_wide=bool(row.get("closePosition", False)),
    )


def conditional_of(row: Row, symbol: str, child: Row | None, trades: Sequence[Trade]) -> VenueOrder:
    """A conditional order and the plain one it became, as one order under the conditional one's id."""
    if child is None and row["algoStatus"] == "FINISHED":
        # It has ended in the matching engine, and only its plain order knows how.
        raise NoAnswer("a conditional order has finished, and its plain order cannot be read")
    return VenueOrder(
        client_order_id=row["clientAlgoId"],
        venue_order_id=str(row["algoId"]),
        symbol=symbol,
        kind=OrderKind.STOP_MARKET,
        side=OrderSide(row["side"].lower()),
        quantity=number(row["quantity"] if child is None else child["origQty"]),
        filled=ZERO if child is None else number(child["executedQty"]),
        state=_state(row["algoStatus"] if child is None else child["status"]),
        reduce_only=bool(row["reduceOnly"]) or bool(row["closePosition"]),
        trigger_price=or_none(row["triggerPrice"]),
        trades=tuple(trades),
        updated_at=max(int(row["updateTime"]), 0 if child is None else int(child["updateTime"])) * MILLISECOND,
        position_wide=bool(row["closePosition"]),
    )


def child_id(row: Row) -> str:
    """The plain order that a conditional one became; "" while it did not."""
    found = str(row.get("actualOrderId") or "")
    return "" if found == "0" else found


def holding_of(rows: Sequence[Row], symbol: str) -> Holding:
    """One symbol of `positionRisk`, which leaves out what is flat."""
    open_rows = [row for row in rows if number(row["positionAmt"])]
    if len(open_rows) > 1 or any(row["positionSide"] != "BOTH" for row in open_rows):
        raise NoAnswer("the account is in hedge mode: there is more than one position in a symbol")
    # The break-even price moves with every trade, fees included; the time of this row is not always the trade's.
    stamp = "/".join(f"{row['positionAmt']} {row['entryPrice']} {row['breakEvenPrice']}" for row in open_rows)
    if not open_rows:
        return Holding(position=None, stamp=stamp)
    row = open_rows[0]
    amount = number(row["positionAmt"])
    liquidation = or_none(row["liquidationPrice"])
    position = VenuePosition(
        symbol=symbol,
        side=Side.LONG if amount > 0 else Side.SHORT,
        quantity=abs(amount),
        entry_price=number(row["entryPrice"]),
        liquidation_price=liquidation if liquidation is not None and liquidation > 0 else None,
    )
    return Holding(position=position, stamp=stamp)


def funding_of(row: Row) -> FundingPaid:
    """One row of `income`."""
    return FundingPaid(at=int(row["time"]) * MILLISECOND, funding_id=str(row["tranId"]), amount=number(row["income"]))


def _state(status: str) -> OrderState:
    try:
        return STATES[status]
    except KeyError:
        # A word nobody knows is not taken for any of those that are known.
        raise NoAnswer(f"an order with the status {status}") from None
