"""OKX's codes and rows: what may be concluded of an error, and what a row of a list is in our words.

Sizes are told and sent in contracts; here they become base units and back.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import OrderState, Trade
from actors.domain.model import ZERO, Instrument, OrderKind, OrderSide, Side, Source
from actors.venues.base import OrderRejected, OrderUnknown, VenueError, VenueOrder, VenuePosition, VenueUnavailable
from actors.venues.ccxt.dialect import number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import MILLISECOND, filled_by, or_none

TRIGGER_TYPES: Final = {Source.MARK: "mark", Source.LAST: "last"}
STATES: Final = {
    "live": OrderState.OPEN,
    "partially_filled": OrderState.OPEN,
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELLED,
    "mmp_canceled": OrderState.CANCELLED,
}
ALGO_STATES: Final = {
    "live": OrderState.OPEN,
    "pause": OrderState.OPEN,
    "canceled": OrderState.CANCELLED,
    "order_failed": OrderState.REJECTED,
    "partially_failed": OrderState.REJECTED,
}
# Those of a child decide once an algo order has triggered.
TRIGGERED: Final = frozenset({"effective", "partially_effective"})
CATEGORIES: Final = {"full_liquidation": "liquidated", "partial_liquidation": "liquidated", "adl": "adl"}
# Documented as decided before matching. 50004 (timeout) and 51149 (timed out) say themselves that nothing is known;
# 50001, 50013 and 50026 (busy, upgrading, system error) say nothing of the order.
REFUSED: Final = {
    "50101": "auth",
    "50102": "expired",
    "50103": "auth",
    "50104": "auth",
    "50105": "auth",
    "50106": "auth",
    "50107": "auth",
    "50110": "auth",
    "50111": "auth",
    "50112": "expired",
    "50113": "auth",
    "50114": "auth",
    "50119": "auth",
    "50120": "auth",
    "51001": "unknown_symbol",
    "51007": "below_minimum",
    "51008": "insufficient_margin",
    "51010": "position_mode",
    "51016": "duplicate_id",
    "51020": "below_minimum",
    "51023": "reduce_only",
    "51065": "duplicate_id",
    "51112": "blocked_by_exits",
    "51119": "insufficient_margin",
    "51120": "below_minimum",
    "51121": "quantity_step",
    "51127": "insufficient_margin",
    "51131": "insufficient_margin",
    "51169": "reduce_only",
    "51170": "reduce_only",
    "51174": "too_many_stops",
    "51205": "reduce_only",
    "51261": "too_many_stops",
    "51277": "would_trigger",
    "51278": "would_trigger",
    "51279": "would_trigger",
    "51280": "would_trigger",
}
NOT_TAKEN: Final = {"50011": "rate_limit", "50061": "rate_limit"}
# 51000 is every wrong parameter, named in the words alone.
WORDED: Final = {"posside": "position_mode"}


@dataclass(frozen=True, slots=True)
class Contract:
    """One instrument. `size` is what one contract is in base units."""

    symbol: str
    id: str
    size: Decimal


def contract_of(market: dict[str, Any]) -> Contract:
    """The contract of one of ccxt's markets, from the exchange's own words: ccxt's numbers are floats."""
    info = market["info"]
    size = number(info["ctVal"]) * number(info.get("ctMult") or 1)
    return Contract(symbol=market["symbol"], id=market["id"], size=size)


def instrument_of(market: dict[str, Any]) -> Instrument:
    """What the exchange allows, in base units."""
    info, size = market["info"], contract_of(market).size
    return Instrument(
        symbol=market["symbol"],
        tick_size=number(info["tickSz"]),
        quantity_step=number(info["lotSz"]) * size,
        minimum_quantity=number(info["minSz"]) * size,
        taker_fee_percent=number(market["taker"]) * 100,
    )


def concluded(error: RestError) -> VenueError:
    """What may be concluded of a write that was answered so."""
    if error.code == "51000":
        words = error.message.lower()
        for part, code in WORDED.items():
            if part in words:
                return OrderRejected(code, error.message)
    if error.code in REFUSED:
        return OrderRejected(REFUSED[error.code], error.message)
    if error.code in NOT_TAKEN:
        return VenueUnavailable(NOT_TAKEN[error.code], error.message)
    return OrderUnknown(error.code or "no_code", error.message)


def trade_of(contract: Contract, row: dict[str, Any], client_order_id: str, cause: str) -> Trade:
    """One execution. A fee is told as what the balance changed by; `billId` is the account's own number of it."""
    return Trade(
        trade_id=row["billId"],
        client_order_id=client_order_id,
        symbol=contract.symbol,
        side=OrderSide(row["side"]),
        quantity=number(row["fillSz"]) * contract.size,
        price=number(row["fillPx"]),
        fee=-number(row["fee"] or 0),
        at=int(row["ts"]) * MILLISECOND,
        cause=cause,
    )


def order_of(contract: Contract, row: dict[str, Any], trades: tuple[Trade, ...]) -> VenueOrder:
    """A plain order with its trades, which may have come later than the order or lag behind it."""
    state = STATES.get(row["state"])
    if state is None:
        raise NoAnswer(f"an order state nobody knows: {row['state']}")
    limit = row["ordType"] != "market"
    return VenueOrder(
        client_order_id=row["clOrdId"],
        venue_order_id=row["ordId"],
        symbol=contract.symbol,
        kind=OrderKind.LIMIT if limit else OrderKind.MARKET,
        side=OrderSide(row["side"]),
        quantity=number(row["sz"]) * contract.size,
        filled=max(number(row["accFillSz"] or 0) * contract.size, filled_by(trades)),
        state=state,
        reduce_only=row["reduceOnly"] == "true",
        trigger_price=None,
        trades=trades,
        updated_at=int(row["uTime"]) * MILLISECOND,
        limit_price=or_none(row["px"]) if limit else None,
    )


def algo_of(contract: Contract, row: dict[str, Any], child: VenueOrder | None) -> VenueOrder:
    """An algo order; once it has triggered, its child says what became of it."""
    triggered = row["state"] in TRIGGERED or child is not None
    # Between triggering and the birth of the child nothing has ended yet.
    state = (child.state if child else OrderState.OPEN) if triggered else ALGO_STATES.get(row["state"])
    if state is None:
        raise NoAnswer(f"an algo order state nobody knows: {row['state']}")
    trigger = next((row[name] for name in ("slTriggerPx", "triggerPx", "tpTriggerPx") if row.get(name)), None)
    return VenueOrder(
        client_order_id=row["algoClOrdId"],
        venue_order_id=row["algoId"],
        symbol=contract.symbol,
        kind=OrderKind.STOP_MARKET,
        side=OrderSide(row["side"]),
        quantity=number(row["sz"] or 0) * contract.size,
        filled=child.filled if child else ZERO,
        state=state,
        reduce_only=row.get("reduceOnly") == "true",
        trigger_price=or_none(trigger),
        trades=child.trades if child else (),
        updated_at=max(int(row.get("uTime") or row["cTime"]) * MILLISECOND, child.updated_at if child else 0),
        position_wide=bool(row.get("closeFraction")),
    )


def position_of(contract: Contract, row: dict[str, Any]) -> VenuePosition:
    """One open position of net mode, where a short is negative."""
    size = number(row["pos"]) * contract.size
    return VenuePosition(
        symbol=contract.symbol,
        side=Side.LONG if size > 0 else Side.SHORT,
        quantity=abs(size),
        entry_price=number(row["avgPx"]),
        liquidation_price=or_none(row.get("liqPx")),
    )
