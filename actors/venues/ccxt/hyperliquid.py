"""Hyperliquid: its own perpetuals, signed by a wallet or by an API wallet of it.

There are no market orders: one is a limit order that fills at once or not at all (`Ioc`), at a price bounded by
slippage. Stops are triggered by the mark price alone, and what they set off is the same order under the same id.
Each action carries its own deadline, `expiresAfter`, inside the signature.

ccxt's unified methods sign two actions of their own before the first order (approving a builder's fee, naming a
referrer) and then give every order a builder, and leave the deadline out. Actions are therefore put together here, and
ccxt signs and carries exactly these.

Facts: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api (exchange endpoint, info endpoint, nonces,
tick and lot size, error responses).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

from actors.domain.events import FundingPaid, OrderState, Trade
from actors.domain.model import Instrument, Micros, OrderKind, OrderSide, Quote, Source
from actors.venues.base import CancelRequest, Candle, OrderRequest, VenueError, VenueOrder
from actors.venues.ccxt.dialect import Finding, Holding, Readiness, number
from actors.venues.ccxt.errors import NoAnswer, NotSent, RestError
from actors.venues.ccxt.hyperliquid_rows import (
    bound,
    cause_of,
    concluded,
    fill_id,
    instrument_of,
    kind_of,
    order_of,
    own_id,
    position_of,
    reply_error,
    trade_of,
    wire_id,
)
from actors.venues.ccxt.hyperliquid_streams import HyperliquidStreams
from actors.venues.ccxt.plain import MILLISECOND, candles_of, decimal_text, explained, milliseconds, or_none

Shape = TypeVar("Shape", dict[str, Any], list[Any])
SLIPPAGE: Final = Decimal("0.05")
STOP_SLIPPAGE: Final = Decimal("0.1")
FRESH: Final = 5_000_000
FULL_PAGE: Final = 500
MAXIMUM_PAGES: Final = 100
CANDLE_ROWS: Final = 5000
MAXIMUM_REMEMBERED: Final = 10_000


class Hyperliquid(HyperliquidStreams):
    """Hyperliquid's own words."""

    exchange_id = "hyperliquid"
    stop_triggers = (Source.MARK,)
    weight_per_minute = 1200.0
    # ccxt counts half of what most requests weigh.
    weight_per_cost = 2.0

    def __init__(self, *args: Any) -> None:
        """What was learnt: the last nonce, whose order a number is, why it was made."""
        super().__init__(*args)
        self._nonce = 0
        self._origins: dict[str, str] = {}

    # -- phrasing ------------------------------------------------------------------------------------------------------

    @classmethod
    def config(cls, settings: Any) -> dict[str, Any]:
        """Its own perpetuals only: no spot, no other dexes."""
        del settings
        options = {"fetchMarkets": {"types": ["swap"]}, "builderFee": False, "approvedBuilderFee": False}
        return {"has": {"fetchCurrencies": False}, "options": options}

    @classmethod
    def use_demo(cls, exchange: Any) -> None:
        """The testnet signs under another name."""
        exchange.set_sandbox_mode(True)

    @classmethod
    def refusal(cls, status: int, body: Any) -> tuple[str, str] | None:
        """Errors come with HTTP 200, for a whole action or for one order of it."""
        return reply_error(body) or (("", f"HTTP {status}") if status != 200 else None)

    def verdict(self, error: RestError) -> VenueError:
        """What its sentence says of a write."""
        return concluded(error)

    # -- before anything else ------------------------------------------------------------------------------------------

    async def server_time(self) -> Micros:
        """The exchange's clock."""
        return int((await self._info(dict, type="exchangeStatus"))["time"]) * MILLISECOND

    async def instruments(self) -> Sequence[Instrument]:
        """Perpetuals that are not delisted."""
        await self.exchange.load_markets()
        return [instrument_of(market) for market in self._markets() if not market["info"].get("isDelisted")]

    async def readiness(self) -> Readiness | None:
        """Whether the key signs for this account: its own, or an API wallet's that it has approved."""
        wallet = self.settings.wallet_address
        try:
            signer = str(self.exchange.eth_get_address_from_private_key(self.settings.private_key))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, its text must not get into a message
            return Readiness(code="auth", detail="the private key is not a key: 0x and 64 hex digits are wanted")
        if signer.lower() == wallet.lower():
            return None
        role = await self._info(dict, type="userRole", user=signer)
        master = str((role.get("data") or {}).get("user", ""))
        if role.get("role") == "agent" and master.lower() == wallet.lower():
            return None
        detail = f"the private key belongs to {signer}, which is no API wallet of {wallet} (any more): approve it anew"
        return Readiness(code="auth", detail=detail)

    async def probe(self) -> list[Finding]:
        """Whether the key can move money: an API wallet cannot."""
        signer = str(self.exchange.eth_get_address_from_private_key(self.settings.private_key))
        if signer.lower() == self.settings.wallet_address.lower():
            remedy = "approve an API wallet on Hyperliquid, and give its key instead"
            return [Finding(level="warn", text="the key is the account's own, and may withdraw", remedy=remedy)]
        return [Finding(level="ok", text="the key is an API wallet's: it may trade and no more")]

    # -- orders --------------------------------------------------------------------------------------------------------

    async def send(self, request: OrderRequest) -> None:
        """Sign and post one order."""
        market = self._market(request.symbol)
        size_decimals, buys = int(market["info"]["szDecimals"]), request.side is OrderSide.BUY
        if request.trigger_price is not None:
            if request.trigger_source not in (None, Source.MARK):
                raise NotSent("trigger_source", "Hyperliquid triggers stops by the mark price alone")
            price = bound(request.trigger_price, request.side, STOP_SLIPPAGE, size_decimals)
            how: dict[str, Any] = {
                "trigger": {"isMarket": True, "triggerPx": decimal_text(request.trigger_price), "tpsl": "sl"}
            }
        elif request.limit_price is not None:
            price, how = request.limit_price, {"limit": {"tif": "Gtc"}}
        else:
            price = bound(await self._present(request.symbol, request.side), request.side, SLIPPAGE, size_decimals)
            how = {"limit": {"tif": "Ioc"}}
        # The order of the names is part of what is signed.
        order = {
            "a": int(market["baseId"]),
            "b": buys,
            "p": decimal_text(price),
            "s": decimal_text(request.quantity),
            "r": request.reduce_only,
            "t": how,
            "c": wire_id(request.client_order_id),
        }
        action = {"type": "order", "orders": [order], "grouping": "na"}
        self._kinds[request.client_order_id] = request.kind
        reply = await self._act(action, request.expires_after_seconds)
        statuses = reply["response"]["data"]["statuses"]
        if len(statuses) != 1:
            raise NoAnswer(f"{len(statuses)} answers to one order")
        told = statuses[0]
        if isinstance(told, dict):
            taken = told.get("resting") or told.get("filled") or {}
            if not taken.get("oid") or taken.get("cloid", order["c"]) != order["c"]:
                raise NoAnswer("the reply to the order is about another one")
        elif told not in ("waitingForTrigger", "waitingForFill"):
            raise NoAnswer(f"an answer to an order that nobody knows: {told}")

    async def withdraw(self, request: CancelRequest) -> None:
        """Cancel an order by our id, or a foreign one that has none by the exchange's."""
        asset, order_id = int(self._market(request.symbol)["baseId"]), wire_id(request.client_order_id)
        if isinstance(order_id, str):
            action: dict[str, Any] = {"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": order_id}]}
        else:
            action = {"type": "cancel", "cancels": [{"a": asset, "o": order_id}]}
        await self._act(action, request.expires_after_seconds)

    async def _act(self, action: dict[str, Any], expires_after_seconds: float) -> dict[str, Any]:
        """Sign an action with the time of its request, and with its deadline."""
        signed_at: int = self.exchange.milliseconds()
        deadline = signed_at + int(expires_after_seconds * 1000)
        # Two actions of one millisecond need nonces of their own.
        self._nonce = nonce = max(signed_at, self._nonce + 1)
        signature = self.exchange.sign_l1_action(action, nonce, None, deadline)
        reply = await self.exchange.private_post_exchange(
            {"action": action, "nonce": nonce, "signature": signature, "expiresAfter": deadline}
        )
        if not isinstance(reply, dict) or reply.get("status") != "ok":
            raise NoAnswer("the reply to an action has no status")
        return reply

    async def _present(self, symbol: str, side: OrderSide) -> Decimal:
        """The price an order at market would get now. Not to know it means that nothing is sent."""
        field = "ask" if side is OrderSide.BUY else "bid"
        known = self.told(symbol, field, self._now() - FRESH)
        if known is not None:
            return known
        try:
            price = (await self._book(symbol))[1][field]
        except (RestError, NoAnswer) as error:
            raise NotSent("no_price", f"no present price to bound the order by: {error}") from None
        if price is None:
            raise NotSent("no_price", "nobody is there to trade with")
        return price

    async def find(self, symbol: str, client_order_id: str, kind: OrderKind) -> VenueOrder | None:
        """One order, in whatever state it is."""
        try:
            order_id = wire_id(client_order_id)
        except ValueError:
            # Nothing can be there under an id that the exchange does not take.
            return None
        told = await self._status(order_id)
        if told is None or kind_of(told["order"]) is not kind or told["order"]["coin"] != self._coin(symbol):
            return None
        self._kinds[client_order_id] = kind
        return await self._order(symbol, told)

    async def _status(self, order_id: str | int) -> dict[str, Any] | None:
        reply = await self._info(dict, type="orderStatus", user=self.settings.wallet_address, oid=order_id)
        if reply["status"] == "unknownOid":
            return None
        told: dict[str, Any] = reply["order"]
        return told

    async def _order(self, symbol: str, told: dict[str, Any]) -> VenueOrder:
        row = told["order"]
        trades: tuple[Trade, ...] = ()
        untouched = told["status"] == "open" and number(row["sz"]) == number(row["origSz"])
        if not untouched and not told["status"].endswith("Rejected"):
            fills = await self._fills(symbol, int(row["timestamp"]))
            mine = [fill for fill in fills if str(fill["oid"]) == str(row["oid"])]
            trades = tuple(
                trade_of(symbol, fill, own_id(row.get("cloid")), cause_of(fill, self.settings.wallet_address))
                for fill in mine
            )
        return order_of(symbol, told, trades, self._now())

    # -- the account ---------------------------------------------------------------------------------------------------

    async def holding(self, symbol: str) -> Holding:
        """The one position of this coin."""
        coin = self._coin(symbol)
        rows = [row for row in await self._positions() if row["coin"] == coin]
        stamp = "|".join(
            f"{row['szi']}|{row['entryPx']}|{(row.get('cumFunding') or {}).get('allTime')}" for row in rows
        )
        held = [row for row in rows if number(row["szi"])]
        return Holding(position=position_of(symbol, held[0]) if held else None, stamp=stamp)

    async def sizes(self) -> dict[str, Decimal]:
        """Every open position."""
        symbols = self._symbols()
        rows = await self._positions()
        return {
            symbols[row["coin"]]: number(row["szi"]) for row in rows if row["coin"] in symbols and number(row["szi"])
        }

    async def _positions(self) -> list[dict[str, Any]]:
        state = await self._info(dict, type="clearinghouseState", user=self.settings.wallet_address)
        return [row["position"] for row in state["assetPositions"]]

    async def open_orders(self, symbol: str) -> Sequence[VenueOrder]:
        """Plain and trigger orders come in one list."""
        coin = self._coin(symbol)
        rows = await self._info(list, type="frontendOpenOrders", user=self.settings.wallet_address)
        found = []
        for row in rows:
            if row["coin"] == coin:
                told = {"order": row, "status": "open", "statusTimestamp": row["timestamp"]}
                found.append(explained(await self._order(symbol, told)))
        return [order for order in found if order.state is OrderState.OPEN]

    async def trades(self, symbol: str, since: Micros) -> Sequence[Trade]:
        """Fills, each traced to the order that made it."""
        found = []
        for fill in await self._fills(symbol, milliseconds(since)):
            client_order_id = await self._origin(fill)
            found.append(trade_of(symbol, fill, client_order_id, cause_of(fill, self.settings.wallet_address)))
        return [trade for trade in found if trade.at >= since]

    async def _origin(self, fill: dict[str, Any]) -> str:
        """Whose order a fill is: told with it, or else asked for once."""
        if "cloid" in fill:
            return own_id(fill["cloid"])
        order_id = str(fill["oid"])
        if order_id not in self._origins:
            told = await self._status(int(order_id))
            if told is None:
                return ""
            if len(self._origins) >= MAXIMUM_REMEMBERED:
                self._origins.clear()
            self._origins[order_id] = own_id(told["order"].get("cloid"))
        return self._origins[order_id]

    async def _fills(self, symbol: str, since: int) -> list[dict[str, Any]]:
        """Oldest first, from a time in milliseconds on; since 0 the most recent ones."""
        user, coin = self.settings.wallet_address, self._coin(symbol)
        if since == 0:
            rows = await self._info(list, type="userFills", user=user)
        else:
            rows = await self._pages("userFillsByTime", since, fill_id)
        mine = [row for row in rows if row["coin"] == coin]
        return sorted(mine, key=lambda row: (int(row["time"]), str(row["tid"])))

    async def _pages(self, kind: str, since: int, name: Any) -> list[dict[str, Any]]:
        """A list that begins at a time; the next page begins at the last row's, which is then told again."""
        found: dict[str, dict[str, Any]] = {}
        for _ in range(MAXIMUM_PAGES):
            rows = await self._info(list, type=kind, user=self.settings.wallet_address, startTime=since)
            known = len(found)
            found |= {name(row): row for row in rows}
            if len(rows) < FULL_PAGE:
                return list(found.values())
            if len(found) == known:
                raise NoAnswer(f"{kind}: more rows in one millisecond than are told")
            since = max(int(row["time"]) for row in rows)
        raise NoAnswer(f"{kind} has more than {MAXIMUM_PAGES} pages")

    async def fundings(self, symbol: str, since: Micros) -> Sequence[FundingPaid]:
        """Hourly payments; negative when paid."""
        if not since:
            return ()
        coin = self._coin(symbol)
        rows = await self._pages(
            "userFunding", milliseconds(since), lambda row: f"{row['delta']['coin']}-{row['time']}"
        )
        paid = [
            FundingPaid(
                at=int(row["time"]) * MILLISECOND,
                funding_id=f"{coin}-{row['time']}",
                amount=number(row["delta"]["usdc"]),
            )
            for row in rows
            if row["delta"]["coin"] == coin
        ]
        return sorted((payment for payment in paid if payment.at >= since), key=lambda payment: payment.at)

    # -- prices --------------------------------------------------------------------------------------------------------

    async def quote(self, symbol: str) -> Quote:
        """Bid and ask of the book; mark and last as streamed a moment ago, or else asked for: those are dear."""
        coin = self._coin(symbol)
        at, prices = await self._book(symbol)
        mark = self.told(symbol, "mark", at - FRESH)
        if mark is None:
            meta, contexts = await self._info(list, type="metaAndAssetCtxs")
            names = [row["name"] for row in meta["universe"]]
            mark = or_none(contexts[names.index(coin)]["markPx"])
        last = self.told(symbol, "last", at - FRESH)
        if last is None:
            trades = await self._info(list, type="recentTrades", coin=coin)
            last = or_none(max(trades, key=lambda row: int(row["time"]))["px"]) if trades else None
        return Quote(at=at, mark=mark, last=last, bid=prices["bid"], ask=prices["ask"])

    async def _book(self, symbol: str) -> tuple[Micros, dict[str, Decimal | None]]:
        reply = await self._info(dict, type="l2Book", coin=self._coin(symbol))
        bids, asks = reply["levels"]
        best = {"bid": number(bids[0]["px"]) if bids else None, "ask": number(asks[0]["px"]) if asks else None}
        return int(reply["time"]) * MILLISECOND, best

    async def candles(self, symbol: str, source: Source, since: Micros) -> tuple[Sequence[Candle], bool]:
        """Only of the last price, and no more than the latest five thousand."""
        if source is not Source.LAST:
            return (), False
        coin = self._coin(symbol)

        async def page(start: int, end: int) -> list[list[Any]]:
            ask = {"coin": coin, "interval": "1m", "startTime": start, "endTime": end}
            rows = await self._info(list, type="candleSnapshot", req=ask)
            return [[row[name] for name in "tohlc"] for row in rows]

        return await candles_of(page, since=since, now=self._now(), rows=CANDLE_ROWS)

    # -- small things --------------------------------------------------------------------------------------------------

    async def _info(self, shape: type[Shape], **query: Any) -> Shape:
        """One question. What is answered in another shape is no answer."""
        reply = await self.exchange.public_post_info(query)
        if not isinstance(reply, shape):
            raise NoAnswer(f"{query['type']} was answered by {type(reply).__name__}")
        return reply
