"""OKX, V5 API: linear swaps of an account in net mode, on cross margin.

A stop is an *algo* order with an id of its own class (`algoClOrdId`); when it triggers, a plain order is born that
carries no client id of ours, so fills are traced to it through the algo order's children. Sizes are in contracts. Plain
orders carry their deadline in the header `expTime`; the algo endpoint knows none, there a request dies with its
timestamp, after 30 seconds, so that much later a stop (never more than a reduction) may still arrive.

ccxt's unified methods send a stop's id in the wrong field, list stops of one class only, and put a broker's tag on
orders without `clOrdId`; none of that happens here.

Facts: https://www.okx.com/docs-v5/en/ (trade: place order, algo trading, transaction details; error codes).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import FundingPaid, OrderState, Trade
from actors.domain.model import Instrument, Micros, OrderKind, Quote, Source
from actors.venues.base import CancelRequest, Candle, OrderRequest, VenueError, VenueOrder
from actors.venues.ccxt.dialect import Finding, Holding, Readiness, number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.okx_rows import (
    CATEGORIES,
    REFUSED,
    TRIGGER_TYPES,
    Contract,
    algo_of,
    concluded,
    contract_of,
    instrument_of,
    order_of,
    position_of,
    trade_of,
)
from actors.venues.ccxt.okx_streams import OkxStreams
from actors.venues.ccxt.plain import DAY, MILLISECOND, candles_of, decimal_text, explained, milliseconds, or_none

ROWS: Final = 100
MAXIMUM_PAGES: Final = 200
RECENT: Final = 2 * DAY
FUNDING_BILLS: Final = "8"
NO_SUCH_ORDER: Final = "51603"
GONE: Final = frozenset({"51400", "51401", "51402", "51603"})
ALGO_CLASSES: Final = ("conditional,oco", "trigger", "move_order_stop")
MODE_HELP: Final = "switch the account to net mode (position mode: one-way) on OKX"
MAXIMUM_REMEMBERED: Final = 10_000


class Okx(OkxStreams):
    """OKX's own words."""

    exchange_id = "okx"
    stop_triggers = (Source.MARK, Source.LAST)
    weight_per_minute = 600.0

    def __init__(self, *args: Any) -> None:
        """What was learnt of orders that carry no id of ours: whose child they are, and why they were made."""
        super().__init__(*args)
        self._origins: dict[str, tuple[str, str]] = {}

    # -- phrasing ------------------------------------------------------------------------------------------------------

    @classmethod
    def config(cls, settings: Any) -> dict[str, Any]:
        """Swaps only; ccxt would load spot, futures, options and every currency as well."""
        del settings
        return {"has": {"fetchCurrencies": False}, "options": {"fetchMarkets": {"types": ["swap"]}}}

    @classmethod
    def use_demo(cls, exchange: Any) -> None:
        """Demo trading is the same place, and a header."""
        exchange.set_sandbox_mode(True)

    @classmethod
    def sign(cls, signed: dict[str, Any], expires_after_seconds: float, timestamp_milliseconds: int) -> dict[str, Any]:
        """The deadline travels in a header of its own."""
        if signed["method"] == "POST":
            deadline = timestamp_milliseconds + int(expires_after_seconds * 1000)
            signed["headers"] = {**signed["headers"], "expTime": str(deadline)}
        return signed

    @classmethod
    def refusal(cls, status: int, body: Any) -> tuple[str, str] | None:
        """Every true reply has a `code`; what is wrong with an order stands in its row."""
        if not isinstance(body, dict) or "code" not in body:
            return "", f"HTTP {status} without a code"
        for row in body.get("data") or ():
            if isinstance(row, dict) and row.get("sCode", "0") != "0":
                return str(row["sCode"]), str(row.get("sMsg", ""))
        if body["code"] != "0":
            return str(body["code"]), str(body.get("msg", ""))
        return None if status == 200 else ("", f"HTTP {status}")

    def verdict(self, error: RestError) -> VenueError:
        """What its code says of a write."""
        return concluded(error)

    # -- before anything else ------------------------------------------------------------------------------------------

    async def server_time(self) -> Micros:
        """The exchange's clock."""
        reply = await self.exchange.public_get_public_time()
        return int(reply["data"][0]["ts"]) * MILLISECOND

    async def instruments(self) -> Sequence[Instrument]:
        """Linear swaps that are live."""
        await self.exchange.load_markets()
        return [instrument_of(market) for market in self._markets() if market["info"].get("state") == "live"]

    async def readiness(self) -> Readiness | None:
        """Keys that are valid and may trade, net mode, and an account that may hold swaps."""
        try:
            config = (await self.exchange.private_get_account_config())["data"][0]
        except RestError as error:
            if REFUSED.get(error.code) == "auth":
                return Readiness(code="auth", detail=f"OKX does not accept the API key: {error.message}")
            raise
        if config["posMode"] != "net_mode":
            return Readiness(code="position_mode", detail=MODE_HELP)
        if str(config.get("acctLv")) == "1":
            detail = "the account is in spot mode: choose futures mode, or one above it, on OKX"
            return Readiness(code="position_mode", detail=detail)
        if "trade" not in str(config.get("perm", "trade")):
            return Readiness(code="auth", detail="the API key may only read: give it the permission to trade")
        return None

    async def probe(self) -> list[Finding]:
        """The key's permissions."""
        config = (await self.exchange.private_get_account_config())["data"][0]
        found = []
        if "withdraw" in str(config.get("perm", "")):
            found.append(Finding(level="warn", text="the key may withdraw", remedy="make one that may only trade"))
        if not config.get("ip"):
            remedy = "bind the key to this machine's address: it then does not expire either"
            found.append(Finding(level="warn", text="the key may be used from any address", remedy=remedy))
        return found or [Finding(level="ok", text="the key may trade and no more")]

    # -- orders --------------------------------------------------------------------------------------------------------

    async def send(self, request: OrderRequest) -> None:
        """Post an order, or an algo order."""
        contract = self._contract(request.symbol)
        order: dict[str, Any] = {
            "instId": contract.id,
            "tdMode": "cross",
            "side": request.side.value,
            "sz": decimal_text(request.quantity / contract.size),
            "reduceOnly": request.reduce_only,
            # Also in an algo order: without one, ccxt makes one up and adds a broker's tag.
            "clOrdId": request.client_order_id,
        }
        if request.trigger_price is not None:
            order |= {
                "ordType": "conditional",
                "algoClOrdId": request.client_order_id,
                "slTriggerPx": decimal_text(request.trigger_price),
                "slTriggerPxType": TRIGGER_TYPES[request.trigger_source or Source.MARK],
                "slOrdPx": "-1",
            }
            reply = await self.exchange.private_post_trade_order_algo(order)
            told = reply["data"][0].get("algoClOrdId")
        else:
            order["ordType"] = "limit" if request.kind is OrderKind.LIMIT else "market"
            if request.limit_price is not None:
                order["px"] = decimal_text(request.limit_price)
            reply = await self.exchange.private_post_trade_order(order)
            told = reply["data"][0].get("clOrdId")
        if told != request.client_order_id:
            raise NoAnswer("the reply to the order is about another one")

    async def withdraw(self, request: CancelRequest) -> None:
        """Cancel an order in its class by our id, or a foreign one that has none by the exchange's."""
        instrument, order_id = self._contract(request.symbol).id, request.client_order_id
        ours, theirs = "clOrdId", "ordId"
        if request.kind is OrderKind.STOP_MARKET:
            ours, theirs = "algoClOrdId", "algoId"
        try:
            await self._cancel({"instId": instrument, ours: order_id})
        except RestError as error:
            if error.code not in GONE or not order_id.isdecimal():
                raise
            await self._cancel({"instId": instrument, theirs: order_id})

    async def _cancel(self, order: dict[str, str]) -> None:
        if "algoId" in order or "algoClOrdId" in order:
            await self.exchange.private_post_trade_cancel_algos([order])
        else:
            await self.exchange.private_post_trade_cancel_order(order)

    async def find(self, symbol: str, client_order_id: str, kind: OrderKind) -> VenueOrder | None:
        """Of its own class; a triggered algo order is followed to its child."""
        contract = self._contract(symbol)
        if kind is OrderKind.STOP_MARKET:
            algo = await self._algo(client_order_id)
            return None if algo is None else await self._algo_order(contract, algo)
        row = await self._plain(contract, "clOrdId", client_order_id)
        if row is None and client_order_id.isdecimal():
            row = await self._plain(contract, "ordId", client_order_id)
        if row is None:
            return None
        order = await self._order(contract, row)
        return order if order.kind is kind else None

    async def _plain(self, contract: Contract, field: str, order_id: str) -> dict[str, Any] | None:
        """One order, of those of the last hours, or else of those that ended in the last week."""
        try:
            reply = await self.exchange.private_get_trade_order({"instId": contract.id, field: order_id})
            found = reply["data"]
        except RestError as error:
            if error.code != NO_SUCH_ORDER:
                raise
            found = []
        if not found:
            query = {"instType": "SWAP", "instId": contract.id}
            found = await self._pages(self.exchange.private_get_trade_orders_history, "ordId", **query)
        return next((row for row in found if row[field] == order_id), None)

    async def _algo(self, order_id: str) -> dict[str, Any] | None:
        fields = ["algoClOrdId", "algoId"] if order_id.isdecimal() else ["algoClOrdId"]
        for field in fields:
            try:
                reply = await self.exchange.private_get_trade_order_algo({field: order_id})
            except RestError as error:
                if error.code != NO_SUCH_ORDER:
                    raise
                continue
            for row in reply["data"]:
                if row[field] == order_id:
                    found: dict[str, Any] = row
                    return found
        return None

    async def _order(self, contract: Contract, row: dict[str, Any], client_order_id: str | None = None) -> VenueOrder:
        client_order_id = row["clOrdId"] if client_order_id is None else client_order_id
        trades: tuple[Trade, ...] = ()
        if number(row["accFillSz"] or 0):
            cause = CATEGORIES.get(row.get("category", ""), "order")
            rows = await self._fills(contract, int(row["cTime"]) * MILLISECOND, ordId=row["ordId"])
            trades = tuple(trade_of(contract, fill, client_order_id, cause) for fill in rows)
        return order_of(contract, row, trades)

    async def _algo_order(self, contract: Contract, row: dict[str, Any]) -> VenueOrder:
        children = list(row.get("ordIdList") or ([row["ordId"]] if row.get("ordId") else []))
        child = None
        if children:
            born = await self._plain(contract, "ordId", children[-1])
            if born is None:
                raise NoAnswer(f"the algo order {row['algoId']} has triggered, but its child cannot be read yet")
            child = await self._order(contract, born, row["algoClOrdId"])
        return algo_of(contract, row, child)

    # -- the account ---------------------------------------------------------------------------------------------------

    async def holding(self, symbol: str) -> Holding:
        """The one position of net mode on cross margin."""
        contract = self._contract(symbol)
        rows = await self._positions(instId=contract.id)
        if any(row["posSide"] != "net" for row in rows):
            raise NoAnswer(f"the position is in long/short mode: {MODE_HELP}")
        stamp = "|".join(str(row.get(name)) for row in rows for name in ("pos", "avgPx", "realizedPnl", "uTime"))
        held = [row for row in rows if number(row["pos"] or 0)]
        return Holding(position=position_of(contract, held[0]) if held else None, stamp=stamp)

    async def sizes(self) -> dict[str, Decimal]:
        """Every open position on cross margin."""
        contracts = {contract.id: contract for contract in map(contract_of, self._markets())}
        return {
            contracts[row["instId"]].symbol: number(row["pos"]) * contracts[row["instId"]].size
            for row in await self._positions()
            if row["instId"] in contracts and number(row["pos"] or 0)
        }

    async def _positions(self, **query: str) -> list[dict[str, Any]]:
        reply = await self.exchange.private_get_account_positions({"instType": "SWAP", **query})
        return [row for row in reply["data"] if row["mgnMode"] == "cross"]

    async def open_orders(self, symbol: str) -> Sequence[VenueOrder]:
        """Plain orders, and algo orders of every class that can close a position."""
        contract = self._contract(symbol)
        query = {"instType": "SWAP", "instId": contract.id}
        plain = await self._pages(self.exchange.private_get_trade_orders_pending, "ordId", **query)
        found = [await self._order(contract, row) for row in plain if not row.get("algoId")]
        for kind in ALGO_CLASSES:
            ask = self.exchange.private_get_trade_orders_algo_pending
            rows = await self._pages(ask, "algoId", ordType=kind, **query)
            found += [await self._algo_order(contract, row) for row in rows]
        return [explained(order) for order in found if order.state is OrderState.OPEN]

    async def trades(self, symbol: str, since: Micros) -> Sequence[Trade]:
        """Fills, each traced to the order of ours that made it."""
        contract = self._contract(symbol)
        found = []
        for row in await self._fills(contract, since):
            client_order_id, cause = await self._origin(contract, row)
            found.append(trade_of(contract, row, client_order_id, cause))
        return [trade for trade in found if trade.at >= since]

    async def _origin(self, contract: Contract, fill: dict[str, Any]) -> tuple[str, str]:
        """Whose fill it is. A child of an algo order, a liquidation and a reduction by the exchange carry no id."""
        order_id = fill["ordId"]
        if fill.get("clOrdId"):
            return fill["clOrdId"], "order"
        if order_id not in self._origins:
            row = await self._plain(contract, "ordId", order_id)
            if row is None:
                return "", "order"
            if len(self._origins) >= MAXIMUM_REMEMBERED:
                self._origins.clear()
            cause = CATEGORIES.get(row.get("category", ""), "order")
            self._origins[order_id] = (row.get("algoClOrdId") or "", cause)
        return self._origins[order_id]

    async def _fills(self, contract: Contract, since: Micros, **query: str) -> list[dict[str, Any]]:
        """Oldest first. The quick list reaches back three days; what is older is in the history, which lags."""
        query = {"instType": "SWAP", "instId": contract.id, **query}
        if since:
            query["begin"] = str(milliseconds(since))
        found = await self._pages(self.exchange.private_get_trade_fills, "billId", **query)
        if since and since < self._now() - RECENT:
            found += await self._pages(self.exchange.private_get_trade_fills_history, "billId", **query)
        unique = {row["billId"]: row for row in found}
        return sorted(unique.values(), key=lambda row: (int(row["ts"]), int(row["billId"])))

    async def fundings(self, symbol: str, since: Micros) -> Sequence[FundingPaid]:
        """Funding fees among the account's bills."""
        if not since:
            return ()
        contract = self._contract(symbol)
        query = {"instType": "SWAP", "instId": contract.id, "type": FUNDING_BILLS, "begin": str(milliseconds(since))}
        recent = since >= self._now() - RECENT
        ask = self.exchange.private_get_account_bills if recent else self.exchange.private_get_account_bills_archive
        rows = [row for row in await self._pages(ask, "billId", **query) if row["instId"] == contract.id]
        paid = [
            FundingPaid(
                at=int(row["ts"]) * MILLISECOND, funding_id=row["billId"], amount=number(row["balChg"] or row["pnl"])
            )
            for row in rows
        ]
        return sorted((payment for payment in paid if payment.at >= since), key=lambda payment: payment.at)

    async def quote(self, symbol: str) -> Quote:
        """Present prices; the mark price has a request of its own."""
        query = {"instId": self._contract(symbol).id}
        ticker = (await self.exchange.public_get_market_ticker(query))["data"][0]
        mark = (await self.exchange.public_get_public_mark_price({"instType": "SWAP", **query}))["data"][0]
        return Quote(
            at=max(int(ticker["ts"]), int(mark["ts"])) * MILLISECOND,
            mark=or_none(mark["markPx"]),
            last=or_none(ticker["last"]),
            bid=or_none(ticker["bidPx"]),
            ask=or_none(ticker["askPx"]),
        )

    async def candles(self, symbol: str, source: Source, since: Micros) -> tuple[Sequence[Candle], bool]:
        """Candles of the mark or the last price; of bid and ask there are none."""
        ask = {
            Source.MARK: self.exchange.public_get_market_history_mark_price_candles,
            Source.LAST: self.exchange.public_get_market_history_candles,
        }.get(source)
        if ask is None:
            return (), False
        instrument = self._contract(symbol).id

        async def page(start: int, end: int) -> list[list[str]]:
            # Both bounds are exclusive, and the last column says whether the minute is over.
            query = {"instId": instrument, "bar": "1m", "limit": ROWS, "before": start - 1, "after": end + 1}
            return [row for row in (await ask(query))["data"] if row[-1] == "1"]

        return await candles_of(page, since=since, now=self._now(), rows=ROWS)

    # -- small things --------------------------------------------------------------------------------------------------

    def _now(self) -> Micros:
        at: int = self.exchange.milliseconds()
        return at * MILLISECOND

    async def _pages(self, ask: Any, order_by: str, **query: str) -> list[dict[str, Any]]:
        """Every page of a list that is told newest first; the next page begins after the last row's id."""
        found: list[dict[str, Any]] = []
        for _ in range(MAXIMUM_PAGES):
            after = {"after": found[-1][order_by]} if found else {}
            rows = (await ask({**query, **after, "limit": ROWS}))["data"]
            found += rows
            if len(rows) < ROWS:
                return found
        raise NoAnswer(f"a list has more than {MAXIMUM_PAGES} pages")
