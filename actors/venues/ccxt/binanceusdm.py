"""Binance USDⓈ-M futures in one-way mode.

Stops are conditional orders of a service of their own (`algoOrder`): they are created, listed, read and cancelled only
there. One that triggers becomes a plain order under another id, which holds its fills; both are told as one order. An
attached stop would create nothing, and an edit cannot move one: a stop is created, read back, and the old one
cancelled. Executions (`userTrades`) name no client id, so the order of each is read, once.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import FundingPaid, Trade
from actors.domain.model import Instrument, Micros, OrderKind, Quote, Source
from actors.venues.base import CancelRequest, Candle, OrderRequest, VenueError, VenueOrder
from actors.venues.ccxt.binanceusdm_codes import ABSENT, REJECTED, concluded
from actors.venues.ccxt.binanceusdm_rows import (
    Row,
    child_id,
    conditional_of,
    forced,
    funding_of,
    holding_of,
    instrument_of,
    plain_of,
)
from actors.venues.ccxt.binanceusdm_streams import BinanceStreams
from actors.venues.ccxt.dialect import Finding, Holding, Readiness, number
from actors.venues.ccxt.endpoint import use_endpoint
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import DAY, MILLISECOND, candles_of, decimal_text, milliseconds, or_none

PAGE: Final = 1000
FUNDING_DAYS: Final = 80
WORKING_TYPES: Final = {Source.MARK: "MARK_PRICE", Source.LAST: "CONTRACT_PRICE"}
PING_MILLISECONDS: Final = 10_000
MODE_HELP: Final = (
    "the account is in hedge mode: switch it to one-way mode (Futures, Preferences, Position Mode) while no position "
    "and no order is open"
)
KEY_HELP: Final = "Binance does not accept the API key: check the key, its permissions and the addresses it is bound to"


class BinanceUsdm(BinanceStreams):
    """Binance's own words."""

    exchange_id = "binanceusdm"
    stop_triggers = (Source.MARK, Source.LAST)
    weight_per_minute = 2400.0

    def __init__(self, *args: Any) -> None:
        """Binance's names are known once the instruments were read."""
        super().__init__(*args)
        self._ids: dict[str, str] = {}

    # -- phrasing ------------------------------------------------------------------------------------------------------

    @classmethod
    def config(cls, settings: Any) -> dict[str, Any]:
        """Frequent pings, so that a connection that died is seen. The receive window is given with each request."""
        return {
            "streaming": {"keepAlive": PING_MILLISECONDS},
            "options": {"recvWindow": int(settings.read_window_seconds * 1000)},
        }

    @classmethod
    def point_at(cls, urls: dict[str, Any], endpoint: str) -> None:
        """Lead everything to an endpoint."""
        use_endpoint(urls, endpoint)

    @classmethod
    def used_weight(cls, headers: dict[str, str]) -> float | None:
        """The weight of this address in this minute."""
        used = headers.get("x-mbx-used-weight-1m", "")
        return float(used) if used.isdigit() else None

    @classmethod
    def refusal(cls, status: int, body: Any) -> tuple[str, str] | None:
        """An error is an object with a code; a cancellation says 200 in it."""
        del status
        code = str(body.get("code", "200")) if isinstance(body, dict) else "200"
        return None if code in ("200", "0") else (code, str(body.get("msg", "")))

    def verdict(self, error: RestError) -> VenueError:
        """What its code says of a write."""
        return concluded(error)

    def market_id(self, symbol: str) -> str:
        """Binance's name of a symbol."""
        return self._ids[symbol]

    # -- before anything else ------------------------------------------------------------------------------------------

    async def server_time(self) -> Micros:
        """The exchange's clock."""
        return int((await self.exchange.fapiPublicGetTime())["serverTime"]) * MILLISECOND

    async def instruments(self) -> Sequence[Instrument]:
        """Perpetuals that are trading. The taker fee is that of one symbol: it hangs on the account's tier."""
        rows = [
            row
            for row in (await self.exchange.fapiPublicGetExchangeInfo())["symbols"]
            if row["contractType"].endswith("PERPETUAL") and row["status"] == "TRADING"
        ]
        if not rows:
            raise NoAnswer("the exchange lists no symbols")
        names = [row["symbol"] for row in rows]
        probe = "BTCUSDT" if "BTCUSDT" in names else names[0]
        rates = await self.exchange.fapiPrivateGetCommissionRate({"symbol": probe})
        fee = number(rates["takerCommissionRate"]) * 100
        self._symbols = {row["symbol"]: self._symbol(row) for row in rows}
        self._ids = {symbol: name for name, symbol in self._symbols.items()}
        found = [instrument_of(row, self._symbols[row["symbol"]], fee) for row in rows]
        self._executions.learn(found)
        return found

    def _symbol(self, row: Row) -> str:
        base, quote, margin = (
            self.exchange.safe_currency_code(row[name]) for name in ("baseAsset", "quoteAsset", "marginAsset")
        )
        return f"{base}/{quote}:{margin}"

    async def readiness(self) -> Readiness | None:
        """A key that is accepted, an account that may trade, in one-way mode."""
        if not self.settings.api_key or not self.settings.secret:
            return Readiness(code="auth", detail="the account has no API key: set its api_key and secret")
        try:
            account = await self.exchange.fapiPrivateGetAccountConfig()
        except RestError as error:
            if REJECTED.get(error.code) == "auth":
                return Readiness(code="auth", detail=f"{KEY_HELP} ({error.message})")
            raise
        if not account["canTrade"]:
            return Readiness(code="auth", detail="Binance does not let this account trade futures")
        return Readiness(code="position_mode", detail=MODE_HELP) if account["dualSidePosition"] else None

    async def probe(self) -> list[Finding]:
        """The key's permissions, which Binance tells on the spot host only."""
        if self.settings.demo:
            return [Finding(level="ok", text="demo trading: the key's permissions are not told, and move no money")]
        key = await self.exchange.sapiGetAccountApiRestrictions()
        found = []
        if not key["enableFutures"]:
            found.append(Finding(level="fail", text="the key may not trade futures", remedy="allow futures for it"))
        if key["enableWithdrawals"]:
            remedy = "take that permission away: the keeper never withdraws"
            found.append(Finding(level="warn", text="the key may withdraw", remedy=remedy))
        if not key["ipRestrict"]:
            remedy = "bind it to this machine's address"
            found.append(Finding(level="warn", text="the key may be used from any address", remedy=remedy))
        return found or [Finding(level="ok", text="the key may trade futures, and may not withdraw")]

    # -- orders --------------------------------------------------------------------------------------------------------

    async def send(self, request: OrderRequest) -> None:
        """Post it, and see that the answer is about it."""
        params: dict[str, Any] = {
            "symbol": self.market_id(request.symbol),
            "side": request.side.value.upper(),
            "quantity": decimal_text(request.quantity),
            "recvWindow": int(request.expires_after_seconds * 1000),
        }
        if request.reduce_only:
            params["reduceOnly"] = "true"
        if request.kind is OrderKind.STOP_MARKET:
            params |= {"algoType": "CONDITIONAL", "type": "STOP_MARKET", "clientAlgoId": request.client_order_id}
            params["triggerPrice"] = decimal_text(request.trigger_price or Decimal(0))
            params["workingType"] = WORKING_TYPES[request.trigger_source or Source.MARK]
            answer = await self.exchange.fapiPrivatePostAlgoOrder(params)
            named = answer.get("clientAlgoId")
        else:
            params |= {"newClientOrderId": request.client_order_id, "newOrderRespType": "RESULT", "type": "MARKET"}
            if request.kind is OrderKind.LIMIT:
                limit = decimal_text(request.limit_price or Decimal(0))
                params |= {"type": "LIMIT", "timeInForce": "GTC", "price": limit}
            answer = await self.exchange.fapiPrivatePostOrder(params)
            named = answer.get("clientOrderId")
        if named != request.client_order_id:
            raise NoAnswer("an answer that is not about our order")

    async def withdraw(self, request: CancelRequest) -> None:
        """Cancel it in its own class."""
        window = {"recvWindow": int(request.expires_after_seconds * 1000)}
        if request.kind is OrderKind.STOP_MARKET:
            await self.exchange.fapiPrivateDeleteAlgoOrder({"clientAlgoId": request.client_order_id, **window})
        else:
            name = {"symbol": self.market_id(request.symbol), "origClientOrderId": request.client_order_id}
            await self.exchange.fapiPrivateDeleteOrder({**name, **window})

    async def find(self, symbol: str, client_order_id: str, kind: OrderKind) -> VenueOrder | None:
        """Read it in its own class; a triggered one is followed to its plain order."""
        market = self.market_id(symbol)
        try:
            if kind is OrderKind.STOP_MARKET:
                row = await self.exchange.fapiPrivateGetAlgoOrder({"clientAlgoId": client_order_id})
            else:
                row = await self.exchange.fapiPrivateGetOrder({"symbol": market, "origClientOrderId": client_order_id})
        except RestError as error:
            if error.code == ABSENT:
                return None
            raise
        if row.get("symbol") != market or client_order_id not in (row.get("clientAlgoId"), row.get("clientOrderId")):
            raise NoAnswer("an answer that is not about the order that was asked for")
        return await self._conditional(row, symbol) if kind is OrderKind.STOP_MARKET else await self._plain(row, symbol)

    async def _plain(self, row: Row, symbol: str) -> VenueOrder:
        name = row["clientOrderId"]
        self._executions.name(str(row["orderId"]), name, forced(name))
        return plain_of(row, symbol, await self._executions.of_order(symbol, row))

    async def _conditional(self, row: Row, symbol: str) -> VenueOrder:
        number_of_child = child_id(row)
        if not number_of_child:
            return conditional_of(row, symbol, None, ())
        self._executions.name(number_of_child, row["clientAlgoId"], "order", child=True)
        market = self.market_id(symbol)
        child = await self.exchange.fapiPrivateGetOrder({"symbol": market, "orderId": number_of_child})
        return conditional_of(row, symbol, child, await self._executions.of_order(symbol, child))

    # -- the account ---------------------------------------------------------------------------------------------------

    async def holding(self, symbol: str) -> Holding:
        """The position in one symbol."""
        market = self.market_id(symbol)
        rows = await self.exchange.fapiPrivateV3GetPositionRisk({"symbol": market})
        return holding_of([row for row in rows if row["symbol"] == market], symbol)

    async def sizes(self) -> dict[str, Decimal]:
        """Every open position."""
        rows = await self.exchange.fapiPrivateV3GetPositionRisk()
        sizes = {self._symbols.get(row["symbol"], row["symbol"]): number(row["positionAmt"]) for row in rows}
        return {symbol: size for symbol, size in sizes.items() if size}

    async def open_orders(self, symbol: str) -> Sequence[VenueOrder]:
        """Open orders of both classes."""
        market = {"symbol": self.market_id(symbol)}
        plain, conditional = await asyncio.gather(
            self.exchange.fapiPrivateGetOpenOrders(market), self.exchange.fapiPrivateGetOpenAlgoOrders(market)
        )
        children = {child_id(row) for row in conditional}
        orders = [await self._plain(row, symbol) for row in plain if str(row["orderId"]) not in children]
        return orders + [await self._conditional(row, symbol) for row in conditional]

    async def trades(self, symbol: str, since: Micros) -> Sequence[Trade]:
        """Every execution from a time on, each under the client id of its order."""
        return await self._executions.since(symbol, since, self.exchange.milliseconds() * MILLISECOND)

    async def fundings(self, symbol: str, since: Micros) -> Sequence[FundingPaid]:
        """Funding payments; the exchange has about three months of them."""
        now = self.exchange.milliseconds() * MILLISECOND
        start = milliseconds(max(since, now - FUNDING_DAYS * DAY) + MILLISECOND - 1)
        market, found = self.market_id(symbol), dict[str, FundingPaid]()
        while True:
            rows = await self.exchange.fapiPrivateGetIncome(
                {"symbol": market, "incomeType": "FUNDING_FEE", "startTime": start, "limit": PAGE}
            )
            found |= {str(row["tranId"]): funding_of(row) for row in rows}
            if len(rows) < PAGE or int(rows[-1]["time"]) <= start:
                return sorted(found.values(), key=lambda payment: payment.at)
            start = int(rows[-1]["time"])

    async def quote(self, symbol: str) -> Quote:
        """Best prices, mark and last trade."""
        market = {"symbol": self.market_id(symbol)}
        book, mark, last = await asyncio.gather(
            self.exchange.fapiPublicGetTickerBookTicker(market),
            self.exchange.fapiPublicGetPremiumIndex(market),
            self.exchange.fapiPublicGetTickerPrice(market),
        )
        return Quote(
            at=max(int(row["time"]) for row in (book, mark, last)) * MILLISECOND,
            mark=or_none(mark["markPrice"]),
            last=or_none(last["price"]),
            bid=or_none(book["bidPrice"]),
            ask=or_none(book["askPrice"]),
        )

    async def candles(self, symbol: str, source: Source, since: Micros) -> tuple[Sequence[Candle], bool]:
        """Candles of the mark or of trades; there are none of bid and ask."""
        if source is Source.BID_ASK:
            return (), False
        mark = source is Source.MARK
        read = self.exchange.fapiPublicGetMarkPriceKlines if mark else self.exchange.fapiPublicGetKlines
        market = self.market_id(symbol)

        async def page(start: int, end: int) -> Sequence[Sequence[Any]]:
            rows: Sequence[Sequence[Any]] = await read(
                {"symbol": market, "interval": "1m", "startTime": start, "endTime": end, "limit": PAGE}
            )
            return rows

        now = self.exchange.milliseconds() * MILLISECOND
        return await candles_of(page, since=since, now=now, rows=PAGE)
