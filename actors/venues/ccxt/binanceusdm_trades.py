"""Binance's executions, each under the client id of the order that made it.

`userTrades` names orders by the exchange's number only, and a conditional order that triggered executes under the
number of the plain order it became. Which number is whose is asked for once, never saved, and found again after a
restart: the plain order says its own client id, the list of conditional orders says who became it.

Fees are told in quote units. One that was paid in another coin (BNB) is valued at that coin's price at the opening of
the minute of the trade, which stays the same whenever it is asked for; where there is no such price it is the
account's taker rate of the trade's value.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from actors.domain.events import Trade
from actors.domain.model import HUNDRED, ZERO, Instrument, Micros
from actors.venues.ccxt.binanceusdm_codes import ABSENT
from actors.venues.ccxt.binanceusdm_rows import Row, child_id, forced, trade_of
from actors.venues.ccxt.dialect import number
from actors.venues.ccxt.errors import NoAnswer, RestError
from actors.venues.ccxt.plain import DAY, MILLISECOND, MINUTE, milliseconds

PAGE: Final = 1000
WEEK: Final = 7 * DAY
RECENT: Final = 180 * DAY
CONDITIONAL_WEEKS: Final = 13
KNOWN: Final = 20_000
# Of such ids no child of a conditional order is made, so those of ours need no search for a parent.
OWN_ID: Final = re.compile(r"[0-9a-f]{32}")
DOLLARS: Final = frozenset({"USDT", "USDC", "FDUSD", "BFUSD", "LDUSDT", "USD1", "RWUSD", "BNFCR"})


@dataclass(frozen=True, slots=True)
class _Name:
    client_order_id: str
    cause: str
    child: bool = False


class Executions:
    """Who made which execution. Lives as long as the connection."""

    def __init__(self, exchange: Any, market_id: Callable[[str], str]) -> None:
        """`market_id` gives Binance's name of a symbol."""
        self._exchange = exchange
        self._market_id = market_id
        self._names: dict[str, _Name] = {}
        self._instruments: dict[str, Instrument] = {}
        self._prices: dict[tuple[str, int], Decimal] = {}

    def learn(self, instruments: Sequence[Instrument]) -> None:
        """What is traded, for what fees are paid in."""
        self._instruments = {instrument.symbol: instrument for instrument in instruments}

    def name(self, order_number: str, client_order_id: str, cause: str, *, child: bool = False) -> None:
        """Remember whose an order's number is. That it is the child of a conditional order is never forgotten."""
        known = self._names.get(order_number)
        if known is not None and known.child and not child:
            return
        if len(self._names) >= KNOWN:
            del self._names[next(iter(self._names))]
        self._names[order_number] = _Name(client_order_id, cause, child)

    def parent(self, order_number: str) -> str:
        """The client id of the conditional order that became this one; "" where that is not known."""
        known = self._names.get(order_number)
        return known.client_order_id if known is not None and known.child else ""

    @staticmethod
    def ours(client_order_id: str) -> bool:
        """Whether an id looks like a keeper's."""
        return OWN_ID.fullmatch(client_order_id) is not None

    async def of_order(self, symbol: str, order: Row) -> Sequence[Trade]:
        """The executions of one plain order, whose name is known."""
        if not number(order["executedQty"]):
            return ()
        params = {"symbol": self._market_id(symbol), "orderId": order["orderId"], "limit": PAGE}
        rows = more = await self._exchange.fapiPrivateGetUserTrades(params)
        while len(more) == PAGE:
            more = await self._exchange.fapiPrivateGetUserTrades({**params, "fromId": int(more[-1]["id"]) + 1})
            rows = rows + more
        return await self._told(symbol, [row for row in rows if str(row["orderId"]) == str(order["orderId"])])

    async def since(self, symbol: str, since: Micros, now: Micros) -> Sequence[Trade]:
        """Every execution from `since` on. Since 0: those of the last week."""
        start = max(since, now - RECENT) if since else now - WEEK + MINUTE
        rows = await self._first_rows(symbol, start, now)
        while rows:
            more = await self._rows(symbol, {"fromId": int(rows[-1]["id"]) + 1})
            if not more:
                break
            rows += more
            if len(more) < PAGE:
                break
        wanted = {str(row["id"]): row for row in rows if int(row["time"]) * MILLISECOND >= start}
        await self._find_names(symbol, list(wanted.values()), now)
        return await self._told(symbol, sorted(wanted.values(), key=lambda row: int(row["id"])))

    async def _first_rows(self, symbol: str, start: Micros, now: Micros) -> list[Row]:
        """The first page that is not empty: a week may be asked for at a time."""
        while True:
            end = start + WEEK - MINUTE
            times = {"startTime": milliseconds(start + MILLISECOND - 1)}
            if end < now:
                times["endTime"] = milliseconds(end)
            rows = await self._rows(symbol, times)
            if rows or end >= now:
                return rows
            start = end

    async def _rows(self, symbol: str, params: dict[str, int]) -> list[Row]:
        market = self._market_id(symbol)
        rows = await self._exchange.fapiPrivateGetUserTrades({"symbol": market, "limit": PAGE, **params})
        if not isinstance(rows, list):
            raise NoAnswer("executions that are no list")
        return rows

    async def _find_names(self, symbol: str, rows: Sequence[Row], now: Micros) -> None:
        orphans: dict[str, Micros] = {}
        for row in rows:
            order_number = str(row["orderId"])
            if order_number in self._names or order_number in orphans:
                continue
            client_order_id, reduces = await self._plain_name(symbol, order_number)
            cause = forced(client_order_id)
            self.name(order_number, client_order_id, cause)
            if cause == "order" and reduces and not self.ours(client_order_id):
                orphans[order_number] = int(row["time"]) * MILLISECOND
        if orphans:
            await self._find_parents(symbol, set(orphans), min(now, max(orphans.values()) + MINUTE))

    async def _plain_name(self, symbol: str, order_number: str) -> tuple[str, bool]:
        try:
            row = await self._exchange.fapiPrivateGetOrder({"symbol": self._market_id(symbol), "orderId": order_number})
        except RestError as error:
            if error.code == ABSENT:
                return "", True
            raise
        return str(row["clientOrderId"]), bool(row["reduceOnly"]) or bool(row.get("closePosition"))

    async def _find_parents(self, symbol: str, orphans: set[str], until: Micros) -> None:
        """Conditional orders are listed a week at a time, by when they were made, and kept for ninety days."""
        for _ in range(CONDITIONAL_WEEKS):
            start = until - WEEK + MINUTE
            times = {"startTime": milliseconds(start), "endTime": milliseconds(until)}
            rows = await self._exchange.fapiPrivateGetAllAlgoOrders(
                {"symbol": self._market_id(symbol), "limit": PAGE, **times}
            )
            for row in rows:
                if (number_of_child := child_id(row)) in orphans:
                    self.name(number_of_child, row["clientAlgoId"], "order", child=True)
                    orphans.discard(number_of_child)
            if not orphans:
                return
            until = start

    async def _told(self, symbol: str, rows: Sequence[Row]) -> Sequence[Trade]:
        found = []
        for row in rows:
            name = self._names.get(str(row["orderId"]), _Name("", "order"))
            found.append(trade_of(row, symbol, name.client_order_id, await self._fee(symbol, row), name.cause))
        return found

    async def _fee(self, symbol: str, row: Row) -> Decimal:
        paid, coin = number(row["commission"]), str(row["commissionAsset"])
        quote = symbol.partition("/")[2].partition(":")[0]
        if not paid or coin == quote or (coin in DOLLARS and quote in DOLLARS):
            return paid
        pair = f"{coin}/{quote}:{quote}"
        if pair not in self._instruments:
            instrument = self._instruments.get(symbol)
            rate = instrument.taker_fee_percent / HUNDRED if instrument else ZERO
            return number(row["qty"]) * number(row["price"]) * rate
        minute = int(row["time"]) * MILLISECOND // MINUTE * MINUTE
        if (pair, minute) not in self._prices:
            candles = await self._exchange.fapiPublicGetKlines(
                {"symbol": self._market_id(pair), "interval": "1m", "startTime": milliseconds(minute), "limit": 1}
            )
            if not candles:
                raise NoAnswer(f"no price of {pair} for a fee")
            self._prices[pair, minute] = number(candles[0][1])
        return paid * self._prices[pair, minute]
