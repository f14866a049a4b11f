"""Binance's JSON for what the exchange's tables say. Numbers are strings there, times milliseconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import OrderState
from actors.domain.model import ZERO, Instrument, Micros, OrderKind, OrderSide, Source
from actors.venues.exchange_core import AccountState, Holding
from actors.venues.exchange_journal import Algo
from actors.venues.exchange_settings import market_id
from actors.venues.paper_tables import OrderRow

Json = Mapping[str, Any]

STATUSES: Final = {
    OrderState.OPEN: "NEW",
    OrderState.FILLED: "FILLED",
    OrderState.CANCELLED: "CANCELED",
    OrderState.EXPIRED: "EXPIRED",
    OrderState.REJECTED: "REJECTED",
}
WORKING_TYPES: Final = {Source.MARK: "MARK_PRICE", Source.LAST: "CONTRACT_PRICE"}
_MICROS_PER_MILLISECOND: Final = 1000
_PLACES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution with all that userTrades tells."""

    trade_id: int
    order_id: int
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: Micros
    realized: Decimal
    maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A plain order with everything that is told of it."""

    row: OrderRow
    created_at: Micros
    fills: Sequence[Fill]
    time_in_force: str = "GTC"

    @property
    def cost(self) -> Decimal:
        """What its fills cost."""
        return sum((fill.price * fill.quantity for fill in self.fills), ZERO)

    @property
    def average(self) -> Decimal:
        """The average price of its fills; 0 without any."""
        filled = sum((fill.quantity for fill in self.fills), ZERO)
        return self.cost / filled if filled else ZERO


def milliseconds(at: Micros) -> int:
    """Binance's times."""
    return at // _MICROS_PER_MILLISECOND


def text(number: Decimal) -> str:
    """A number, plainly; of more than eight places the rest is rounded, as it is there."""
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_PLACES:
        # Adding zero takes the sign from what has been rounded to nothing.
        number = round(number, _PLACES) + ZERO
    return f"{number:f}"


def status_of(row: OrderRow) -> str:
    """A plain order's status."""
    if row.state is OrderState.OPEN and row.filled:
        return "PARTIALLY_FILLED"
    return STATUSES[row.state]


def type_of(row: OrderRow) -> str:
    """A plain order's type."""
    if row.client_order_id.startswith("autoclose-"):
        return "LIQUIDATION"
    return "LIMIT" if row.kind is OrderKind.LIMIT else "MARKET"


def order_json(told: Told) -> Json:
    """A plain order, as `order`, `openOrders` and `allOrders` tell it."""
    row = told.row
    return {
        "orderId": row.id,
        "symbol": market_id(row.symbol),
        "status": status_of(row),
        "clientOrderId": row.client_order_id,
        "price": text(row.limit_price or ZERO),
        "avgPrice": text(told.average),
        "origQty": text(row.quantity),
        "executedQty": text(row.filled),
        "cumQty": text(row.filled),
        "cumQuote": text(told.cost),
        "timeInForce": told.time_in_force,
        "type": type_of(row),
        "origType": type_of(row),
        "reduceOnly": row.reduce_only,
        "closePosition": False,
        "side": row.side.value.upper(),
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "time": milliseconds(told.created_at),
        "updateTime": milliseconds(row.updated_at),
    }


def acknowledged(order: Json) -> Json:
    """The same order as ACK tells it: accepted, and nothing more."""
    return {**order, "status": "NEW", "executedQty": "0", "cumQty": "0", "cumQuote": "0", "avgPrice": "0"}


def algo_status(row: OrderRow, child: Told | None) -> str:
    """A conditional order's status: that of its trigger, then of the plain order it became."""
    if child is not None:
        return "TRIGGERED" if child.row.state is OrderState.OPEN else "FINISHED"
    return STATUSES[row.state]


def algo_json(row: OrderRow, algo: Algo, created_at: Micros, child: Told | None) -> Json:
    """A conditional order, as `algoOrder`, `openAlgoOrders` and `allAlgoOrders` tell it."""
    return {
        "algoId": row.id,
        "clientAlgoId": row.client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.type,
        "symbol": market_id(row.symbol),
        "side": row.side.value.upper(),
        "positionSide": "BOTH",
        "timeInForce": "GTE_GTC" if algo.close_position else "GTC",
        "quantity": "0" if algo.close_position else text(row.quantity),
        "algoStatus": algo_status(row, child),
        "actualOrderId": "" if child is None else str(child.row.id),
        "actualPrice": "0.00000" if child is None else text(child.average),
        "triggerPrice": text(row.trigger_price or ZERO),
        "price": "0.00000",
        "icebergQuantity": None,
        "tpTriggerPrice": "0.000",
        "tpPrice": "0.000",
        "slTriggerPrice": "0.000",
        "slPrice": "0.000",
        "tpOrderType": "",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": WORKING_TYPES[row.trigger_source or Source.MARK],
        "priceMatch": "NONE",
        "closePosition": algo.close_position,
        "priceProtect": False,
        "reduceOnly": row.reduce_only,
        "createTime": milliseconds(created_at),
        "updateTime": milliseconds(row.updated_at),
        "triggerTime": milliseconds(algo.triggered_at),
        "goodTillDate": 0,
    }


def trade_json(fill: Fill) -> Json:
    """An execution, as `userTrades` tells it: without any client order id."""
    return {
        "symbol": market_id(fill.symbol),
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "side": fill.side.value.upper(),
        "price": text(fill.price),
        "qty": text(fill.quantity),
        "realizedPnl": text(fill.realized),
        "quoteQty": text(fill.price * fill.quantity),
        "commission": text(fill.fee),
        "commissionAsset": "USDT",
        "marginAsset": "USDT",
        "time": milliseconds(fill.at),
        "positionSide": "BOTH",
        "buyer": fill.side is OrderSide.BUY,
        "maker": fill.maker,
    }


def risk_json(holding: Holding, now: Micros, position_side: str = "BOTH") -> Json:
    """A position, as `positionRisk` tells it; the fields of both versions."""
    return {
        "symbol": market_id(holding.symbol),
        "positionSide": position_side,
        "positionAmt": text(holding.quantity),
        "entryPrice": text(holding.entry_price),
        "breakEvenPrice": text(holding.entry_price),
        "markPrice": text(holding.mark_price),
        "unRealizedProfit": text(holding.unrealized),
        "liquidationPrice": text(holding.liquidation_price),
        "isolatedMargin": "0",
        "notional": text(holding.notional),
        "marginAsset": "USDT",
        "isolatedWallet": "0",
        "initialMargin": text(holding.initial_margin),
        "maintMargin": text(holding.maintenance_margin),
        "positionInitialMargin": text(holding.initial_margin),
        "openOrderInitialMargin": "0",
        "adl": 2,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": milliseconds(now) if holding.quantity else 0,
    }


def risk_json_v2(holding: Holding, now: Micros, position_side: str = "BOTH") -> Json:
    """The older version told the leverage and the margin type too."""
    more = {"leverage": str(holding.leverage), "marginType": "cross", "isAutoAddMargin": "false"}
    return {**risk_json(holding, now, position_side), **more, "maxNotionalValue": "100000000"}


def balance_json(account: str, state: AccountState, now: Micros) -> Sequence[Json]:
    """An account's one asset, as `balance` tells it."""
    return [
        {
            "accountAlias": account,
            "asset": "USDT",
            "balance": text(state.wallet.balance),
            "crossWalletBalance": text(state.wallet.balance),
            "crossUnPnl": text(state.unrealized),
            "availableBalance": text(state.available),
            "maxWithdrawAmount": text(state.available),
            "marginAvailable": True,
            "updateTime": milliseconds(now),
        }
    ]


def account_json(state: AccountState, now: Micros) -> Json:
    """An account, as `account` tells it; the fields of both versions."""
    totals = {
        "initialMargin": text(state.initial_margin),
        "maintMargin": text(state.maintenance_margin),
        "walletBalance": text(state.wallet.balance),
        "unrealizedProfit": text(state.unrealized),
        "marginBalance": text(state.equity),
        "positionInitialMargin": text(state.initial_margin),
        "openOrderInitialMargin": "0",
        "crossWalletBalance": text(state.wallet.balance),
        "crossUnPnl": text(state.unrealized),
    }
    asset = {
        "asset": "USDT",
        **totals,
        "availableBalance": text(state.available),
        "maxWithdrawAmount": text(state.available),
        "marginAvailable": True,
        "updateTime": milliseconds(now),
    }
    return {
        **{f"total{name[0].upper()}{name[1:]}": value for name, value in totals.items()},
        "availableBalance": text(state.available),
        "maxWithdrawAmount": text(state.available),
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": False,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
        "updateTime": 0,
        "assets": [asset],
        "positions": [_account_position(holding, now) for holding in state.holdings],
    }


def _account_position(holding: Holding, now: Micros) -> Json:
    return {
        "symbol": market_id(holding.symbol),
        "positionSide": "BOTH",
        "positionAmt": text(holding.quantity),
        "entryPrice": text(holding.entry_price),
        "breakEvenPrice": text(holding.entry_price),
        "unrealizedProfit": text(holding.unrealized),
        "isolated": False,
        "isolatedMargin": "0",
        "isolatedWallet": "0",
        "notional": text(holding.notional),
        "initialMargin": text(holding.initial_margin),
        "maintMargin": text(holding.maintenance_margin),
        "positionInitialMargin": text(holding.initial_margin),
        "openOrderInitialMargin": "0",
        "leverage": str(holding.leverage),
        "bidNotional": "0",
        "askNotional": "0",
        "maxNotional": "100000000",
        "updateTime": milliseconds(now),
    }


def instrument_json(instrument: Instrument, maximum_quantity: Decimal) -> Json:
    """A symbol, as `exchangeInfo` tells it."""
    base, _, rest = instrument.symbol.partition("/")
    quote = rest.partition(":")[0]
    lot = {
        "minQty": text(instrument.minimum_quantity),
        "maxQty": text(maximum_quantity),
        "stepSize": text(instrument.quantity_step),
    }
    return {
        "symbol": market_id(instrument.symbol),
        "pair": market_id(instrument.symbol),
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": _places(instrument.tick_size),
        "quantityPrecision": _places(instrument.quantity_step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": text(instrument.tick_size),
                "maxPrice": "100000000",
                "tickSize": text(instrument.tick_size),
            },
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MARKET_LOT_SIZE", **lot},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": text(instrument.minimum_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET"],
        "timeInForce": ["GTC", "GTX"],
    }


def _places(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
