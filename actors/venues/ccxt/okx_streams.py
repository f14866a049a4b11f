"""OKX's streams: orders, algo orders (which have a door of their own) and prices, each on its own connection.

Each wants a text `ping` within 30 seconds of silence, which ccxt says, and is up once every channel has been confirmed.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from actors.domain.model import OrderKind
from actors.venues.ccxt.dialect import Dialect, StreamSpec, number
from actors.venues.ccxt.errors import NotSent
from actors.venues.ccxt.okx_rows import Contract, contract_of
from actors.venues.ccxt.plain import MILLISECOND, Marks, or_none, ours

ORDERS, ALGOS, PRICES = "orders", "algos", "prices"
PATHS: Final = {ORDERS: "/private", ALGOS: "/business", PRICES: "/public"}
CHANNELS: Final = {
    ORDERS: [{"channel": "orders", "instType": "SWAP"}, {"channel": "positions", "instType": "SWAP"}],
    ALGOS: [{"channel": "orders-algo", "instType": "SWAP"}],
}
TICKER: Final = {"mark": "markPx", "last": "last", "bid": "bidPx", "ask": "askPx"}


class OkxStreams(Dialect):
    """What OKX tells unasked."""

    def __init__(self, *args: Any) -> None:
        """Nothing was told yet."""
        super().__init__(*args)
        self._unconfirmed: dict[str, int] = {}
        self._marks = Marks(self.settings.price_silence_seconds)

    def streams(self) -> Sequence[StreamSpec]:
        """Two for orders, one for prices."""
        silent = self.settings.private_silence_seconds
        return (
            StreamSpec(name=ORDERS, private=True, silent_after_seconds=silent, pongs=True),
            StreamSpec(name=ALGOS, private=True, silent_after_seconds=silent, pongs=True),
            StreamSpec(name=PRICES, private=False, silent_after_seconds=self.settings.price_silence_seconds),
        )

    def _url(self, stream: str) -> str:
        base: str = self.exchange.urls["api"]["ws"]
        return base + PATHS[stream]

    async def hold(self, stream: str, symbols: Sequence[str]) -> None:
        """Log in where orders are told, then subscribe; the answers say when the stream is up."""
        self._unconfirmed[stream] = 0
        if stream != PRICES:
            await self.exchange.listen(self._url(stream), [self._login()], lambda: None)
            return
        self._marks.subscribed(symbols)
        channels = [channel for symbol in symbols for channel in self._channels(symbol)]
        if channels:
            self._unconfirmed[PRICES] = len(channels)
            subscribe = {"op": "subscribe", "args": channels}
            await self.exchange.listen(self._url(stream), [subscribe], lambda: None)
        else:
            # Nothing to subscribe, hence nothing to wait for.
            await self.exchange.listen(self._url(stream), [], lambda: self.desk.stream_up(PRICES))

    async def follow(self, stream: str, symbol: str) -> None:
        """One more symbol's prices."""
        if stream == PRICES:
            self._marks.subscribed([symbol])
            await self.exchange.say(self._url(stream), {"op": "subscribe", "args": self._channels(symbol)})

    def _channels(self, symbol: str) -> list[dict[str, str]]:
        instrument = self._contract(symbol).id
        return [{"channel": name, "instId": instrument} for name in ("tickers", "mark-price")]

    def _login(self) -> dict[str, Any]:
        settings = self.settings
        stamp = str(self.exchange.milliseconds() // 1000)
        digest = hmac.new(settings.secret.encode(), f"{stamp}GET/users/self/verify".encode(), hashlib.sha256).digest()
        signed = {"timestamp": stamp, "sign": base64.b64encode(digest).decode()}
        return {"op": "login", "args": [{"apiKey": settings.api_key, "passphrase": settings.password, **signed}]}

    def on_message(self, stream: str, message: Any) -> bool:
        """Confirmations, orders, positions and prices."""
        if not isinstance(message, dict):
            return False
        if "event" in message:
            self._on_event(stream, message)
            return True
        channel = message.get("arg", {}).get("channel", "")
        for row in message.get("data") or ():
            if channel == "positions":
                self.desk.account_changed()
            elif channel in ("orders", "orders-algo"):
                self._on_order(row)
            elif channel in ("tickers", "mark-price"):
                symbol = self._symbols().get(row["instId"])
                told = {name: or_none(row[field]) for name, field in TICKER.items() if row.get(field)}
                if symbol is not None and told:
                    self.desk.price(symbol, int(row["ts"]) * MILLISECOND, **told)
                    if "mark" in told and (why := self._marks.told(symbol)):
                        self.desk.broken(PRICES, why)
        return True

    def _on_event(self, stream: str, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "login" and message.get("code", "0") == "0":
            self._unconfirmed[stream] = len(CHANNELS[stream])
            subscribe = {"op": "subscribe", "args": CHANNELS[stream]}
            self._saying = asyncio.ensure_future(self.exchange.say(self._url(stream), subscribe))
        elif event == "subscribe":
            self._unconfirmed[stream] = self._unconfirmed.get(stream, 0) - 1
            if self._unconfirmed[stream] == 0:
                self.desk.stream_up(stream)
        elif event in ("error", "login", "notice"):
            # A notice says that the connection is about to be closed for an upgrade.
            self.desk.broken(stream, f"{event} {message.get('code', '')}: {message.get('msg', '')}")

    def _on_order(self, row: dict[str, Any]) -> None:
        symbol = self._symbols().get(row["instId"])
        if symbol is None:
            return
        if row.get("algoClOrdId") or row.get("algoId"):
            # An algo order, or its child.
            if number(row.get("accFillSz") or 0) and not ours(row.get("algoClOrdId")):
                self.desk.foreign_trade()
            self.desk.order_changed(symbol, row.get("algoClOrdId") or row["algoId"], OrderKind.STOP_MARKET)
            return
        if number(row.get("accFillSz") or 0) and not ours(row["clOrdId"]):
            self.desk.foreign_trade()
        kind = OrderKind.MARKET if row["ordType"] == "market" else OrderKind.LIMIT
        self.desk.order_changed(symbol, row["clOrdId"] or row["ordId"], kind)

    # -- instruments ---------------------------------------------------------------------------------------------------

    def _markets(self) -> list[dict[str, Any]]:
        return [market for market in (self.exchange.markets or {}).values() if market["swap"] and market["linear"]]

    def _symbols(self) -> dict[str, str]:
        return {market["id"]: market["symbol"] for market in self._markets()}

    def _contract(self, symbol: str) -> Contract:
        market = (self.exchange.markets or {}).get(symbol)
        if market is None:
            raise NotSent("unknown_symbol", f"OKX has no {symbol}")
        return contract_of(market)
