"""Bybit's streams: orders and positions on one connection, tickers on the other. Each is up once it was confirmed."""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from actors.venues.ccxt.bybit_rows import kind_of
from actors.venues.ccxt.dialect import Dialect, StreamSpec, number
from actors.venues.ccxt.errors import NotSent
from actors.venues.ccxt.plain import MILLISECOND, Marks, or_none, ours

ORDERS, PRICES = "orders", "prices"
LOGIN_SECONDS: Final = 10
TICKER: Final = {"mark": "markPrice", "last": "lastPrice", "bid": "bid1Price", "ask": "ask1Price"}


class BybitStreams(Dialect):
    """What Bybit tells unasked."""

    def __init__(self, *args: Any) -> None:
        """Nothing was told yet."""
        super().__init__(*args)
        self._marks = Marks(self.settings.price_silence_seconds)

    def streams(self) -> Sequence[StreamSpec]:
        """Orders on one, tickers on the other; both are pinged, and each pong counts as life."""
        settings = self.settings
        return (
            StreamSpec(name=ORDERS, private=True, silent_after_seconds=settings.private_silence_seconds, pongs=True),
            StreamSpec(name=PRICES, private=False, silent_after_seconds=settings.price_silence_seconds),
        )

    def _url(self, stream: str) -> str:
        urls = self.exchange.urls["api"]["ws"]
        url = urls["private"]["contract"] if stream == ORDERS else urls["public"]["linear"]
        found: str = self.exchange.implode_hostname(url)
        return found

    async def hold(self, stream: str, symbols: Sequence[str]) -> None:
        """Subscribed once the exchange says so: for orders it wants to know who asks first."""
        if stream == ORDERS:
            expires = str(self.exchange.milliseconds() + LOGIN_SECONDS * 1000)
            signature = hmac.new(self.settings.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256)
            first = {"op": "auth", "args": [self.settings.api_key, expires, signature.hexdigest()]}
            await self.exchange.listen(self._url(stream), [first], lambda: None)
            return
        self._marks.subscribed(symbols)
        topics = [self._ticker(symbol) for symbol in symbols]
        first = {"op": "subscribe", "args": topics, "req_id": PRICES}
        # Without symbols there is nothing to subscribe, hence nothing to wait for.
        up = (lambda: None) if topics else (lambda: self.desk.stream_up(PRICES))
        await self.exchange.listen(self._url(stream), [first] if topics else [], up)

    def _ticker(self, symbol: str) -> str:
        return f"tickers.{self._id(symbol)}"

    async def follow(self, stream: str, symbol: str) -> None:
        """One more ticker."""
        if stream == PRICES:
            self._marks.subscribed([symbol])
            await self.exchange.say(self._url(stream), {"op": "subscribe", "args": [self._ticker(symbol)]})

    def on_message(self, stream: str, message: Any) -> bool:
        """Acknowledgements, orders and tickers; a ticker after the first tells only what changed."""
        if not isinstance(message, dict):
            return False
        operation, topic = message.get("op"), str(message.get("topic", ""))
        if operation in ("auth", "subscribe"):
            self._acknowledged(stream, operation, message)
            return True
        if topic == "order":
            for row in message["data"]:
                symbol = self._symbols().get(row["symbol"])
                if symbol is not None:
                    self.desk.order_changed(symbol, row["orderLinkId"] or row["orderId"], kind_of(row))
                    if number(row.get("cumExecQty") or 0) and not ours(row["orderLinkId"]):
                        self.desk.foreign_trade()
            return True
        if topic == "position":
            self.desk.account_changed()
            return True
        if topic.startswith("tickers."):
            row = message["data"]
            symbol = self._symbols().get(row.get("symbol", topic.removeprefix("tickers.")))
            told = {name: or_none(row[field]) for name, field in TICKER.items() if row.get(field)}
            if symbol is not None and told:
                self.desk.price(symbol, int(message["ts"]) * MILLISECOND, **told)
                if "mark" in told and (why := self._marks.told(symbol)):
                    self.desk.broken(PRICES, why)
            return True
        return False

    def _acknowledged(self, stream: str, operation: str, message: dict[str, Any]) -> None:
        if not message.get("success", True) or str(message.get("retCode", 0)) != "0":
            self.desk.broken(stream, f"{operation} was refused: {message.get('ret_msg') or message.get('retMsg')}")
        elif operation == "auth":
            subscribe = {"op": "subscribe", "args": ["order", "position"]}
            self._saying = asyncio.ensure_future(self.exchange.say(self._url(stream), subscribe))
        else:
            self.desk.stream_up(stream)

    # -- instruments ---------------------------------------------------------------------------------------------------

    def _id(self, symbol: str) -> str:
        market = (self.exchange.markets or {}).get(symbol)
        if market is None:
            raise NotSent("unknown_symbol", f"Bybit has no {symbol}")
        found: str = market["id"]
        return found

    def _markets(self) -> list[dict[str, Any]]:
        return [market for market in self.exchange.markets.values() if market["swap"] and market["linear"]]

    def _symbols(self) -> dict[str, str]:
        return {market["id"]: market["symbol"] for market in self._markets()}
