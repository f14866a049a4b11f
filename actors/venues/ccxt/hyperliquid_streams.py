"""Hyperliquid's streams: orders and fills of the account on one connection, prices on another, at the same address."""

from collections import OrderedDict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from actors.domain.model import Micros, OrderKind
from actors.venues.ccxt.dialect import Dialect, StreamSpec
from actors.venues.ccxt.errors import NotSent
from actors.venues.ccxt.hyperliquid_rows import own_id
from actors.venues.ccxt.plain import MILLISECOND, Marks, or_none, ours

ORDERS, PRICES = "orders", "prices"
ACCOUNT_CHANNELS: Final = ("orderUpdates", "userFills")
PRICE_CHANNELS: Final = ("activeAssetCtx", "bbo", "trades")
MAXIMUM_KINDS: Final = 10_000


class Kinds(OrderedDict[str, OrderKind]):
    """The classes of orders that were sent or read; the oldest are forgotten."""

    def __setitem__(self, order_id: str, kind: OrderKind) -> None:
        super().__setitem__(order_id, kind)
        if len(self) > MAXIMUM_KINDS:
            self.popitem(last=False)


class HyperliquidStreams(Dialect):
    """What Hyperliquid tells unasked."""

    def __init__(self, *args: Any) -> None:
        """Nothing was told yet."""
        super().__init__(*args)
        self._kinds = Kinds()
        self._prices: dict[tuple[str, str], tuple[Micros, Decimal]] = {}
        self._unconfirmed: dict[str, int] = {}
        self._marks = Marks(self.settings.price_silence_seconds)
        self._numbers: OrderedDict[str, None] = OrderedDict()

    def streams(self) -> Sequence[StreamSpec]:
        """One for the account, one for prices; both are pinged."""
        settings = self.settings
        silent = settings.private_silence_seconds
        return (
            StreamSpec(name=ORDERS, private=True, silent_after_seconds=silent, pongs=True),
            StreamSpec(name=PRICES, private=False, silent_after_seconds=settings.price_silence_seconds),
        )

    def _url(self, stream: str) -> str:
        # The part after # never leaves this machine; it keeps the two connections apart.
        base: str = self.exchange.urls["api"]["ws"]["public"]
        return f"{base}#{stream}"

    async def hold(self, stream: str, symbols: Sequence[str]) -> None:
        """Subscribe; the stream is up once every subscription was confirmed."""
        user = self.settings.wallet_address
        subscriptions: list[dict[str, str]] = [{"type": channel, "user": user} for channel in ACCOUNT_CHANNELS]
        if stream == PRICES:
            self._marks.subscribed(symbols)
            subscriptions = [each for symbol in symbols for each in self._subscriptions(symbol)]
        self._unconfirmed[stream] = len(subscriptions)
        await self.exchange.listen(self._url(stream), [_subscribe(each) for each in subscriptions], lambda: None)

    async def follow(self, stream: str, symbol: str) -> None:
        """One more symbol's prices."""
        self._marks.subscribed([symbol])
        for subscription in self._subscriptions(symbol):
            await self.exchange.say(self._url(stream), _subscribe(subscription))

    def _subscriptions(self, symbol: str) -> list[dict[str, str]]:
        return [{"type": channel, "coin": self._coin(symbol)} for channel in PRICE_CHANNELS]

    def on_message(self, stream: str, message: Any) -> bool:
        """Confirmations, orders, fills and prices."""
        channel = message.get("channel") if isinstance(message, dict) else None
        data = message.get("data") if channel else None
        if channel in PRICE_CHANNELS:
            if data:
                self._on_price(channel, data)
            return True
        match channel:
            case "subscriptionResponse":
                self._unconfirmed[stream] = self._unconfirmed.get(stream, 0) - 1
                if self._unconfirmed[stream] == 0:
                    self.desk.stream_up(stream)
            case "error":
                self.desk.broken(stream, str(data))
            case "orderUpdates":
                for told in data or ():
                    self._on_order(told["order"])
            case "userFills":
                # The first message repeats what is long known.
                if data and not data.get("isSnapshot"):
                    self._on_fills(data["fills"])
            case _:
                return False
        return True

    def _on_price(self, channel: str, data: Any) -> None:
        if channel == "activeAssetCtx":
            # The one channel that does not say when.
            self._price(data["coin"], self._now(), mark=or_none(data["ctx"].get("markPx")))
            symbol = self._symbols().get(data["coin"])
            if symbol is not None and (why := self._marks.told(symbol)):
                self.desk.broken(PRICES, why)
        elif channel == "bbo":
            bid, ask = [or_none(level["px"]) if level else None for level in data["bbo"]]
            self._price(data["coin"], int(data["time"]) * MILLISECOND, bid=bid, ask=ask)
        else:
            newest = max(data, key=lambda row: int(row["time"]))
            self._price(newest["coin"], int(newest["time"]) * MILLISECOND, last=or_none(newest["px"]))

    def _on_fills(self, fills: Sequence[dict[str, Any]]) -> None:
        """Those of our own orders are told with the orders."""
        self.desk.account_changed()
        for fill in fills:
            known = ours(own_id(fill["cloid"])) if "cloid" in fill else str(fill["oid"]) in self._numbers
            if not known:
                self.desk.foreign_trade()
                return

    def _on_order(self, row: dict[str, Any]) -> None:
        symbol = self._symbols().get(row["coin"])
        if symbol is None:
            return
        order_id = own_id(row.get("cloid")) or str(row["oid"])
        if ours(order_id):
            self._numbers[str(row["oid"])] = None
            if len(self._numbers) > MAXIMUM_KINDS:
                self._numbers.popitem(last=False)
        # An update does not say what class the order is of; one that nobody remembers is looked for in each.
        known = self._kinds.get(order_id)
        for kind in [known] if known else list(OrderKind):
            self.desk.order_changed(symbol, order_id, kind)

    def _price(self, coin: str, at: Micros, **sources: Decimal | None) -> None:
        symbol = self._symbols().get(coin)
        if symbol is None:
            return
        for name, price in sources.items():
            if price is None:
                self._prices.pop((symbol, name), None)
            else:
                self._prices[symbol, name] = at, price
        self.desk.price(symbol, at, **sources)

    def told(self, symbol: str, source: str, since: Micros) -> Decimal | None:
        """A price that was streamed at or after `since`."""
        at, price = self._prices.get((symbol, source), (0, None))
        return price if at >= since else None

    # -- instruments ---------------------------------------------------------------------------------------------------

    def _now(self) -> Micros:
        at: int = self.exchange.milliseconds()
        return at * MILLISECOND

    def _markets(self) -> list[dict[str, Any]]:
        return [market for market in (self.exchange.markets or {}).values() if market["swap"]]

    def _market(self, symbol: str) -> dict[str, Any]:
        market: dict[str, Any] | None = (self.exchange.markets or {}).get(symbol)
        if market is None:
            raise NotSent("unknown_symbol", f"Hyperliquid has no {symbol}")
        return market

    def _coin(self, symbol: str) -> str:
        name: str = self._market(symbol)["info"]["name"]
        return name

    def _symbols(self) -> dict[str, str]:
        return {market["info"]["name"]: market["symbol"] for market in self._markets()}


def _subscribe(subscription: dict[str, str]) -> dict[str, Any]:
    return {"method": "subscribe", "subscription": subscription}
