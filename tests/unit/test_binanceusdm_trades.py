"""Binance's executions, past its limits: a window of a week, a page of a thousand."""

import asyncio
from typing import Any

from actors.venues.ccxt.binanceusdm_trades import Executions

DAY = 86_400_000
NOW = 1_700_000_000_000
SYMBOL = "BTC/USDT:USDT"


def row(number: int, order: int, time: int) -> dict[str, Any]:
    """One execution as Binance lists it."""
    return {
        "id": number,
        "orderId": order,
        "side": "SELL",
        "qty": "0.01",
        "price": "100",
        "time": time,
        "commission": "0",
        "commissionAsset": "USDT",
        "symbol": "BTCUSDT",
    }


class Lists:
    """Answers userTrades by Binance's own rules."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    async def fapiPrivateGetUserTrades(self, asked: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802 - ccxt's
        """At most a week from a start on, or from an id on; at most a page."""
        first = asked.get("startTime", 0)
        last = asked.get("endTime", first + 7 * DAY if first else NOW * 2)
        assert not first or last - first <= 7 * DAY
        rows = [each for each in self._rows if first <= each["time"] <= last]
        rows = [each for each in rows if str(each["orderId"]) == str(asked.get("orderId", each["orderId"]))]
        return [each for each in rows if each["id"] >= asked.get("fromId", 0)][: asked["limit"]]

    async def fapiPrivateGetOrder(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - ccxt's
        """Whose order it was."""
        del asked
        return {"clientOrderId": "a" * 32, "reduceOnly": True}


def executions(rows: list[dict[str, Any]]) -> Executions:
    """Those of an account with these."""
    return Executions(Lists(rows), lambda _: "BTCUSDT")


def test_executions_after_the_first_week_are_read_too() -> None:
    """A position that is older than a week still hears of what happened an hour ago."""
    opened = NOW - 10 * DAY
    account = executions([row(1, 11, opened + 1000), row(2, 12, NOW - 3_600_000)])
    found = asyncio.run(account.since(SYMBOL, opened * 1000, NOW * 1000))
    assert [trade.trade_id for trade in found] == ["1", "2"]


def test_an_order_with_more_executions_than_a_page_is_read_whole() -> None:
    """Else its fill would never be explained, and it would stay unknown for good."""
    account = executions([row(number, 7, NOW + number) for number in range(1200)])
    order = {"clientOrderId": "b" * 32, "orderId": 7, "executedQty": "12.00"}
    assert len(asyncio.run(account.of_order(SYMBOL, order))) == 1200
