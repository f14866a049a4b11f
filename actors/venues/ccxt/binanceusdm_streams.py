"""Binance's streams: orders, best prices, mark and trades, from three addresses.

Every message is taken here, the moment it comes. What the order stream tells is a wake-up: an event names one execution
at most, and one of a triggered stop comes under the number of its plain order.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from actors.domain.model import Micros, OrderKind
from actors.venues.ccxt.binanceusdm_rows import Row, kind_of
from actors.venues.ccxt.binanceusdm_trades import Executions
from actors.venues.ccxt.dialect import Dialect, StreamSpec
from actors.venues.ccxt.errors import RestError
from actors.venues.ccxt.plain import MILLISECOND, or_none

USER, BOOK, MARKET = "user", "book", "market"
KEEP_KEY_SECONDS: Final = 1200.0
QUIET_BOOK: Final = 4


class BinanceStreams(Dialect):
    """What Binance's file says of streams."""

    def __init__(self, *args: Any) -> None:
        """Symbols by Binance's names are known once the instruments were read."""
        super().__init__(*args)
        self._symbols: dict[str, str] = {}
        self._said = 0
        self._marks: dict[str, float] = {}
        self._executions = Executions(self.exchange, self.market_id)

    @abstractmethod
    def market_id(self, symbol: str) -> str:
        """Binance's name of a symbol."""

    def streams(self) -> Sequence[StreamSpec]:
        """Orders; best prices; mark and trades. Binance serves them from three addresses."""
        prices, private = self.settings.price_silence_seconds, self.settings.private_silence_seconds
        return (
            StreamSpec(name=USER, private=True, silent_after_seconds=private, pongs=True),
            # Best prices are told when they change: a quiet book is silent for longer than a mark.
            StreamSpec(name=BOOK, private=False, silent_after_seconds=prices * QUIET_BOOK),
            StreamSpec(name=MARKET, private=False, silent_after_seconds=prices),
        )

    async def hold(self, stream: str, symbols: Sequence[str]) -> None:
        """Connect and stay."""
        if stream != USER:
            if stream == MARKET:
                self._marks.clear()
            said = self._subscription(stream, symbols)
            await self.exchange.listen(self._url(stream), [said], lambda: self.desk.stream_up(stream))
            return
        key = (await self.exchange.fapiPrivatePostListenKey())["listenKey"]
        keeper = asyncio.create_task(self._keep_key())
        try:
            url = self.exchange.get_private_ws_url("linear", key)
            await self.exchange.listen(url, (), lambda: self.desk.stream_up(stream))
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def follow(self, stream: str, symbol: str) -> None:
        """Subscribe one more symbol."""
        await self.exchange.say(self._url(stream), self._subscription(stream, [symbol]))

    def _url(self, stream: str) -> str:
        return str(self.exchange.get_ws_url("linear", "public" if stream == BOOK else "market"))

    def _subscription(self, stream: str, symbols: Sequence[str]) -> dict[str, Any]:
        kinds = ("bookTicker",) if stream == BOOK else ("markPrice@1s", "aggTrade")
        if stream == MARKET:
            self._marks.update(dict.fromkeys(symbols, _seconds()))
        self._said += 1
        names = [f"{self.market_id(symbol).lower()}@{kind}" for symbol in symbols for kind in kinds]
        return {"method": "SUBSCRIBE", "params": names, "id": self._said}

    async def _keep_key(self) -> None:
        """A key to listen with is good for an hour, unless it is renewed."""
        while True:
            await asyncio.sleep(KEEP_KEY_SECONDS)
            try:
                await self.exchange.fapiPrivatePutListenKey()
            except RestError as error:
                self.desk.broken(USER, f"its key could not be renewed: {error.message}")
            except Exception:  # noqa: BLE001, S112 - it is tried again in time, or its end is told by the stream
                continue

    def on_message(self, stream: str, message: Any) -> bool:
        """Every message is ours: ccxt's own handlers would only keep lists of them."""
        event = message.get("e") if isinstance(message, dict) else None
        symbol = self._symbols.get(str(message.get("s", ""))) if event else None
        if event == "bookTicker" and symbol:
            self.desk.price(symbol, _time(message, "T"), bid=or_none(message["b"]), ask=or_none(message["a"]))
        elif event == "markPriceUpdate" and symbol:
            self.desk.price(symbol, _time(message, "E"), mark=or_none(message["p"]))
            self._on_mark(symbol)
        elif event == "aggTrade" and symbol:
            self.desk.price(symbol, _time(message, "T"), last=or_none(message["p"]))
        elif event == "ORDER_TRADE_UPDATE":
            self._on_order(message["o"])
        elif event == "ALGO_UPDATE":
            self._on_conditional(message["o"])
        elif event == "ACCOUNT_UPDATE":
            self.desk.account_changed()
        elif event == "listenKeyExpired":
            self.desk.broken(USER, "its key has expired")
        elif isinstance(message, dict) and message.get("error"):
            self.desk.broken(stream, f"refused: {message['error']}")
        return True

    def _on_mark(self, symbol: str) -> None:
        """Each symbol's mark is told every second: one that is not, while others are, has lost its subscription."""
        now = self._marks[symbol] = _seconds()
        for other, heard in self._marks.items():
            if now - heard > self.settings.price_silence_seconds:
                self.desk.broken(MARKET, f"the mark of {other} was not told for {now - heard:.0f} s")
                return

    def _on_order(self, row: Row) -> None:
        symbol = self._symbols.get(row["s"])
        if symbol is None:
            return
        known = self._executions.parent(str(row["i"]))
        if known:
            self.desk.order_changed(symbol, known, OrderKind.STOP_MARKET)
            return
        self.desk.order_changed(symbol, row["c"], kind_of(row["o"]))
        if row["x"] in ("TRADE", "CALCULATED") and not self._executions.ours(row["c"]):
            self.desk.foreign_trade()

    def _on_conditional(self, row: Row) -> None:
        symbol = self._symbols.get(row["s"])
        if symbol is None:
            return
        number_of_child = str(row.get("ai") or "")
        if number_of_child not in ("", "0"):
            self._executions.name(number_of_child, row["caid"], "order", child=True)
        self.desk.order_changed(symbol, row["caid"], OrderKind.STOP_MARKET)


def _time(message: Row, name: str) -> Micros:
    return int(message[name]) * MILLISECOND


def _seconds() -> float:
    return asyncio.get_running_loop().time()
