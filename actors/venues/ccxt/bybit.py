"""Bybit, V5 API: linear perpetuals of a unified account in one-way mode.

Its answer to a new order holds ids only, and the order may still be rejected afterwards, so what became of one is
always read back, by `orderLinkId`: first among open and recently ended orders, then in the history. A conditional order
keeps both of its ids when it triggers. Lists are paged: the default is 20 rows. Nothing goes through ccxt's unified
methods: they leave the client id out of look-ups and cancellations, send the text "None" for an `orderId`, and ignore
the price source of a trigger.

Facts: https://bybit-exchange.github.io/docs/v5/ (order/create-order, order/open-order, order/order-list,
order/execution, position, error).
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import FundingPaid, OrderState, Trade
from actors.domain.model import Instrument, Micros, OrderKind, OrderSide, Quote, Source
from actors.venues.base import CancelRequest, Candle, OrderRequest, VenueError, VenueOrder
from actors.venues.ccxt.bybit_rows import (
    NOT_TRADES,
    REFUSED,
    TRIGGER_BY,
    concluded,
    instrument_of,
    kind_of,
    order_of,
    position_of,
    trade_of,
)
from actors.venues.ccxt.bybit_streams import BybitStreams
from actors.venues.ccxt.dialect import Finding, Holding, Readiness, number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import (
    DAY,
    MILLISECOND,
    MINUTE,
    candles_of,
    decimal_text,
    explained,
    milliseconds,
    or_none,
)

WEEK: Final = 7 * DAY
HISTORY_WEEKS: Final = 4
ORDER_ROWS: Final = 50
TRADE_ROWS: Final = 100
CANDLE_ROWS: Final = 1000
MAXIMUM_PAGES: Final = 200
GONE: Final = "110001"
OWN_ID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
MODE_HELP: Final = "switch the account's linear contracts to one-way mode on Bybit"


class Bybit(BybitStreams):
    """Bybit's own words."""

    exchange_id = "bybit"
    stop_triggers = (Source.MARK, Source.LAST)
    weight_per_minute = 600.0
    weight_per_cost = 0.2

    # -- phrasing ------------------------------------------------------------------------------------------------------

    @classmethod
    def config(cls, settings: Any) -> dict[str, Any]:
        """Linear contracts only; ccxt would load spot, inverse and options as well."""
        del settings
        options = {"defaultType": "swap", "fetchMarkets": {"types": ["linear"]}}
        return {"has": {"fetchCurrencies": False}, "options": options}

    @classmethod
    def before_sign(cls, exchange: Any, expires_after_seconds: float) -> None:
        """The receive window is signed, and an option of ccxt's object."""
        exchange.options["recvWindow"] = int(expires_after_seconds * 1000)

    @classmethod
    def refusal(cls, status: int, body: Any) -> tuple[str, str] | None:
        """Every true reply has a `retCode`."""
        if not isinstance(body, dict) or "retCode" not in body:
            return "", f"HTTP {status} without a retCode"
        # A number or a text: that depends on which JSON library ccxt found.
        if str(body["retCode"]) != "0":
            return str(body["retCode"]), str(body.get("retMsg", ""))
        return None if status == 200 else ("", f"HTTP {status}")

    def verdict(self, error: RestError) -> VenueError:
        """What its code says of a write."""
        return concluded(error)

    # -- before anything else ------------------------------------------------------------------------------------------

    async def server_time(self) -> Micros:
        """The exchange's clock."""
        reply = await self.exchange.public_get_v5_market_time()
        return int(reply["result"]["timeNano"]) // 1000

    async def instruments(self) -> Sequence[Instrument]:
        """Linear perpetuals that are trading."""
        markets = await self.exchange.load_markets()
        return [
            instrument_of(market)
            for market in markets.values()
            if market["swap"] and market["linear"] and market["info"].get("status") == "Trading"
        ]

    async def readiness(self) -> Readiness | None:
        """A key that is valid and may trade, and positions without a hedge index."""
        try:
            key = (await self.exchange.private_get_v5_user_query_api())["result"]
            if str(key.get("readOnly")) == "1":
                return Readiness(code="auth", detail="the API key may only read: give it the permission to trade")
            market = self._markets()[0]
            rows = await self._rows("position_list", {"symbol": market["id"]}, TRADE_ROWS)
        except RestError as error:
            if REFUSED.get(error.code) == "auth":
                return Readiness(code="auth", detail=f"Bybit does not accept the API key: {error.message}")
            raise
        if any(str(row["positionIdx"]) != "0" for row in rows + await self._held()):
            return Readiness(code="position_mode", detail=MODE_HELP)
        return None

    async def probe(self) -> list[Finding]:
        """The key's permissions."""
        key = (await self.exchange.private_get_v5_user_query_api())["result"]
        permissions = key.get("permissions") or {}
        found = []
        if "Withdraw" in (permissions.get("Wallet") or ()):
            found.append(Finding(level="warn", text="the key may withdraw", remedy="make one that may only trade"))
        if list(key.get("ips") or ["*"]) == ["*"]:
            remedy = "bind the key to this machine's address: it then does not expire either"
            found.append(Finding(level="warn", text="the key may be used from any address", remedy=remedy))
        return found or [Finding(level="ok", text="the key may trade and no more")]

    # -- orders --------------------------------------------------------------------------------------------------------

    async def send(self, request: OrderRequest) -> None:
        """Post an order."""
        limit = request.kind is OrderKind.LIMIT
        order: dict[str, Any] = {
            "category": "linear",
            "symbol": self._id(request.symbol),
            "side": "Buy" if request.side is OrderSide.BUY else "Sell",
            "orderType": "Limit" if limit else "Market",
            "timeInForce": "GTC" if limit else "IOC",
            "qty": decimal_text(request.quantity),
            "orderLinkId": request.client_order_id,
            "positionIdx": 0,
            "reduceOnly": request.reduce_only,
        }
        if request.limit_price is not None:
            order["price"] = decimal_text(request.limit_price)
        if request.trigger_price is not None:
            order["triggerPrice"] = decimal_text(request.trigger_price)
            order["triggerDirection"] = 1 if request.side is OrderSide.BUY else 2
            order["triggerBy"] = TRIGGER_BY[request.trigger_source or Source.MARK]
            order["orderFilter"] = "StopOrder"
        reply = await self.exchange.private_post_v5_order_create(order)
        if reply["result"].get("orderLinkId") != request.client_order_id:
            raise NoAnswer("the reply to the order is about another one")

    async def withdraw(self, request: CancelRequest) -> None:
        """Cancel an order by our id, or a foreign one that has none by the exchange's."""
        cancel = {"category": "linear", "symbol": self._id(request.symbol)}
        try:
            await self.exchange.private_post_v5_order_cancel({**cancel, "orderLinkId": request.client_order_id})
        except RestError as error:
            if error.code != GONE or not OWN_ID.fullmatch(request.client_order_id):
                raise
            await self.exchange.private_post_v5_order_cancel({**cancel, "orderId": request.client_order_id})

    async def find(self, symbol: str, client_order_id: str, kind: OrderKind) -> VenueOrder | None:
        """Among open and recent orders, then week by week in the history."""
        rows = await self._named(symbol, "orderLinkId", client_order_id)
        if not rows and OWN_ID.fullmatch(client_order_id):
            rows = await self._named(symbol, "orderId", client_order_id)
        rows = [row for row in rows if kind_of(row) is kind]
        if not rows:
            return None
        return await self._order(symbol, max(rows, key=lambda row: int(row["createdTime"])))

    async def _named(self, symbol: str, field: str, order_id: str) -> list[dict[str, Any]]:
        query = {"symbol": self._id(symbol), field: order_id}
        rows = await self._rows("order_realtime", query, ORDER_ROWS)
        now = self._now()
        for week in range(HISTORY_WEEKS):
            if rows:
                break
            # The newest week without bounds: an order of this very moment must not fall behind them.
            end = now - week * WEEK
            bounds = {"startTime": milliseconds(end - WEEK), "endTime": milliseconds(end)} if week else {}
            rows = await self._rows("order_history", {**query, **bounds}, ORDER_ROWS)
        return [row for row in rows if row[field] == order_id]

    async def _order(self, symbol: str, row: dict[str, Any]) -> VenueOrder:
        trades: tuple[Trade, ...] = ()
        if number(row["cumExecQty"] or 0):
            since, until = int(row["createdTime"]) * MILLISECOND, int(row["updatedTime"]) * MILLISECOND
            rows = await self._executions(symbol, since, max(until, since) + DAY, orderId=row["orderId"])
            trades = tuple(trade_of(symbol, execution) for execution in rows)
        return order_of(symbol, row, trades)

    # -- the account ---------------------------------------------------------------------------------------------------

    async def holding(self, symbol: str) -> Holding:
        """The one position of one-way mode."""
        rows = await self._rows("position_list", {"symbol": self._id(symbol)}, TRADE_ROWS)
        if any(str(row["positionIdx"]) != "0" for row in rows):
            raise NoAnswer(f"the position is in hedge mode: {MODE_HELP}")
        stamp = "|".join(
            str(row.get(name)) for row in rows for name in ("side", "size", "avgPrice", "curRealisedPnl", "updatedTime")
        )
        open_rows = [row for row in rows if number(row["size"] or 0)]
        return Holding(position=position_of(symbol, open_rows[0]) if open_rows else None, stamp=stamp)

    async def sizes(self) -> dict[str, Decimal]:
        """Every open position."""
        found: dict[str, Decimal] = {}
        for row in await self._held():
            size = number(row["size"] or 0) * (1 if row["side"] == "Buy" else -1)
            symbol = self._symbols().get(row["symbol"])
            if size and symbol is not None:
                found[symbol] = size
        return found

    async def _held(self) -> list[dict[str, Any]]:
        coins = sorted({market["settleId"] for market in self._markets()})
        found: list[dict[str, Any]] = []
        for coin in coins:
            found += await self._rows("position_list", {"settleCoin": coin}, TRADE_ROWS)
        return found

    async def open_orders(self, symbol: str) -> Sequence[VenueOrder]:
        """Plain and conditional orders come in one list."""
        rows = await self._rows("order_realtime", {"symbol": self._id(symbol), "openOnly": 0}, ORDER_ROWS)
        orders = [explained(await self._order(symbol, row)) for row in rows]
        return [order for order in orders if order.state is OrderState.OPEN]

    async def trades(self, symbol: str, since: Micros) -> Sequence[Trade]:
        """Executions that changed the position."""
        rows = await self._executions(symbol, since, None)
        found = [trade_of(symbol, row) for row in rows if row["execType"] not in NOT_TRADES]
        return [trade for trade in found if trade.at >= since]

    async def fundings(self, symbol: str, since: Micros) -> Sequence[FundingPaid]:
        """Funding is told as an execution whose fee is what was paid."""
        if not since:
            return ()
        rows = await self._executions(symbol, since, None, execType="Funding")
        return [
            FundingPaid(at=int(row["execTime"]) * MILLISECOND, funding_id=row["execId"], amount=-number(row["execFee"]))
            for row in rows
            if row["execType"] == "Funding" and int(row["execTime"]) * MILLISECOND >= since
        ]

    async def _executions(self, symbol: str, since: Micros, until: Micros | None, **query: Any) -> list[dict[str, Any]]:
        """Oldest first. A request spans a week at most, so longer times are walked in weeks."""
        now = self._now()
        until = now if until is None else min(until, now)
        start = since or now - WEEK + MINUTE
        found: dict[str, dict[str, Any]] = {}
        while True:
            # Up to a week after its start is answered; without an end, what happens meanwhile is in it too.
            bounds = {"startTime": milliseconds(start)}
            for row in await self._rows("execution_list", {"symbol": self._id(symbol), **query, **bounds}, TRADE_ROWS):
                found[row["execId"]] = row
            start += WEEK
            if start > until:
                return sorted(found.values(), key=lambda row: (int(row["execTime"]), row["execId"]))

    async def quote(self, symbol: str) -> Quote:
        """Present prices."""
        query = {"category": "linear", "symbol": self._id(symbol)}
        reply = await self.exchange.public_get_v5_market_tickers(query)
        row = next(row for row in reply["result"]["list"] if row["symbol"] == query["symbol"])
        return Quote(
            at=int(reply["time"]) * MILLISECOND,
            mark=or_none(row["markPrice"]),
            last=or_none(row["lastPrice"]),
            bid=or_none(row["bid1Price"]),
            ask=or_none(row["ask1Price"]),
        )

    async def candles(self, symbol: str, source: Source, since: Micros) -> tuple[Sequence[Candle], bool]:
        """Candles of the mark or the last price; of bid and ask there are none."""
        ask = {
            Source.MARK: self.exchange.public_get_v5_market_mark_price_kline,
            Source.LAST: self.exchange.public_get_v5_market_kline,
        }.get(source)
        if ask is None:
            return (), False

        async def page(start: int, end: int) -> list[list[str]]:
            query = {"category": "linear", "symbol": self._id(symbol), "interval": "1", "limit": CANDLE_ROWS}
            rows: list[list[str]] = (await ask({**query, "start": start, "end": end}))["result"]["list"]
            return rows

        return await candles_of(page, since=since, now=self._now(), rows=CANDLE_ROWS)

    # -- small things --------------------------------------------------------------------------------------------------

    def _now(self) -> Micros:
        at: int = self.exchange.milliseconds()
        return at * MILLISECOND

    async def _rows(self, endpoint: str, query: dict[str, Any], limit: int) -> list[dict[str, Any]]:
        """Every page of a list."""
        ask = getattr(self.exchange, f"private_get_v5_{endpoint}")
        found: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(MAXIMUM_PAGES):
            page = {"category": "linear", **query, "limit": limit, **({"cursor": cursor} if cursor else {})}
            result = (await ask(page))["result"]
            found += result["list"]
            cursor = result.get("nextPageCursor") or ""
            if not cursor or not result["list"]:
                return found
        raise NoAnswer(f"{endpoint} has more than {MAXIMUM_PAGES} pages")
