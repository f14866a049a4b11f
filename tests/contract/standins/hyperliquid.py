"""A loopback stand-in of Hyperliquid's API: `/info`, `/exchange` and `/ws`, for one account and one coin.

It checks what it is sent as the exchange does: the signature over the action, its nonce and its deadline, ids of `0x`
and 32 hex digits, prices of five significant figures. Any action but orders and cancellations is a complaint: neither a
builder's fee nor a referrer must ever be signed.
"""

import re
from decimal import Decimal
from importlib import import_module
from typing import Any

from tests.contract.standins.market import Fill, Market, Order, Refused, Rules
from tests.contract.standins.server import Call, Reply, Socket, Standin

# It has no types; only what signs is taken from it.
HYPERLIQUID: Any = import_module("ccxt.pro").hyperliquid
# The key of an API wallet, which signs for the account's own wallet.
PRIVATE_KEY = "0x" + "4c" * 32
WALLET = "0x" + "ab" * 20
COIN = "BTC"
SIZE_DECIMALS = 5
PAGE = 500
REFUSALS = {
    "duplicate": "Duplicate cloid",
    "step": "Order has invalid size.",
    "minimum": "Order must have minimum value of $10.",
    "tick": "Price must be divisible by tick size.",
    "rising": "Invalid TP/SL price. asset=0",
    "falling": "Invalid TP/SL price. asset=0",
    "reduce_only": "Reduce only order would increase position. asset=0",
}
GONE = "Order was never placed, already canceled, or filled. asset=0"


class HyperliquidStandin(Standin):
    """Hyperliquid on loopback. `agent` is the API wallet of the account, until it is `revoked`."""

    def __init__(self, market: Market | None = None) -> None:
        rules = Rules(
            tick=Decimal(1),
            step=Decimal("0.00001"),
            minimum=Decimal("0.00001"),
            minimum_notional=Decimal(10),
            fee=Decimal("0.00045"),
        )
        super().__init__(market or Market(rules))
        self.market.spread = Decimal(1)
        self.wallet = WALLET
        self.agent = str(HYPERLIQUID.eth_get_address_from_private_key(PRIVATE_KEY))
        self.revoked = False
        self.fundings: list[tuple[int, Decimal]] = []
        self.cloids_with_fills = True
        self._nonces: set[int] = set()
        self._signer = HYPERLIQUID({"privateKey": PRIVATE_KEY, "walletAddress": WALLET})

    def answer(self, call: Call) -> Reply:
        """What a call is answered."""
        assert call.method == "POST"
        if call.path == "/info":
            return Reply(self._info(call.body))
        assert call.path == "/exchange", f"nobody should ask for {call.path}"
        return Reply(self._exchange(call.body))

    # -- actions -------------------------------------------------------------------------------------------------------

    def _exchange(self, body: dict[str, Any]) -> dict[str, Any]:
        action, nonce, deadline = body["action"], body["nonce"], body.get("expiresAfter")
        assert deadline, "an action without a deadline"
        assert "builder" not in action, "an order with a builder's fee"
        expected = self._signer.sign_l1_action(action, nonce, body.get("vaultAddress"), deadline)
        if expected != body["signature"] or self.revoked:
            # A wrong signature is somebody else's: the exchange recovers whose.
            return _error("User or API Wallet 0x00000000000000000000000000000000000000aa does not exist.")
        if deadline < self.market.now():
            return _error("Action expired: expiresAfter has passed")
        if nonce in self._nonces:
            return _error("Invalid nonce: duplicate nonce")
        self._nonces.add(nonce)
        if action["type"] == "order":
            assert list(action) == ["type", "orders", "grouping"]
            statuses = [self._create(order) for order in action["orders"]]
        elif action["type"] == "cancelByCloid":
            statuses = [self._cancel(self.market.find(_plain(each["cloid"]))) for each in action["cancels"]]
        elif action["type"] == "cancel":
            statuses = [self._cancel(self.market.by_number(each["o"])) for each in action["cancels"]]
        else:
            raise AssertionError(f"nobody should sign a {action['type']}")
        kind = "order" if action["type"] == "order" else "cancel"
        return {"status": "ok", "response": {"type": kind, "data": {"statuses": statuses}}}

    def _create(self, wire: dict[str, Any]) -> Any:
        assert list(wire) == ["a", "b", "p", "s", "r", "t", "c"]
        assert re.fullmatch(r"0x[0-9a-f]{32}", wire["c"]), f"not an id: {wire['c']}"
        assert wire["a"] == 0
        assert not re.search(r"\.\d*0$", wire["p"] + " " + wire["s"]), "zeros at the end change the signature"
        trigger, limit = wire["t"].get("trigger"), wire["t"].get("limit")
        price = Decimal(wire["p"])
        assert len(price.normalize().as_tuple().digits) <= 5 or price == price.to_integral_value()
        kind: Any = "stop" if trigger else "limit" if limit["tif"] == "Gtc" else "market"
        order = Order(
            number=self.market.number(),
            client_id=_plain(wire["c"]),
            kind=kind,
            side="buy" if wire["b"] else "sell",
            quantity=Decimal(wire["s"]),
            reduce_only=wire["r"],
            trigger_price=Decimal(trigger["triggerPx"]) if trigger else None,
            rising=wire["b"],
            limit_price=price if kind == "limit" else None,
        )
        if trigger:
            assert (trigger["isMarket"], trigger["tpsl"]) == (True, "sl")
        elif kind == "market":
            market = self.market
            assert price > market.ask if wire["b"] else price < market.bid, "a bound the market is already through"
        try:
            self.market.place(order)
        except Refused as refusal:
            return {"error": REFUSALS[refusal.reason]}
        if order.fills and order.state != "open":
            worth = sum((fill.price * fill.quantity for fill in order.fills), Decimal(0)) / order.filled
            filled = {"totalSz": _text(order.filled), "avgPx": _text(worth), "oid": order.number, "cloid": wire["c"]}
            return {"filled": filled}
        return {"resting": {"oid": order.number, "cloid": wire["c"]}}

    def _cancel(self, order: Order | None) -> Any:
        if order is None:
            return {"error": GONE}
        try:
            self.market.cancel(order)
        except Refused:
            return {"error": GONE}
        return "success"

    # -- questions -----------------------------------------------------------------------------------------------------

    def _info(self, body: dict[str, Any]) -> Any:  # noqa: PLR0912 - one line for each question
        market, now = self.market, self.market.now()
        if "user" in body and body["type"] != "userRole":
            assert body["user"] == self.wallet, "asked for another account"
        match body["type"]:
            case "exchangeStatus":
                return {"specialStatuses": None, "time": now}
            case "metaAndAssetCtxs":
                universe = [{"name": COIN, "szDecimals": SIZE_DECIMALS, "maxLeverage": 40}]
                return [{"universe": universe}, [self._context()]]
            case "userRole":
                known = body["user"] == self.agent and not self.revoked
                return {"role": "agent", "data": {"user": self.wallet}} if known else {"role": "missing"}
            case "l2Book":
                levels = [[{"px": _text(price), "sz": "1", "n": 1}] for price in (market.bid, market.ask)]
                return {"coin": COIN, "time": now, "levels": levels}
            case "recentTrades":
                return [{"coin": COIN, "side": "B", "px": _text(market.last), "sz": "1", "time": now, "tid": 1}]
            case "candleSnapshot":
                return self._candles(body["req"])
            case "clearinghouseState":
                return {"assetPositions": self._positions(), "time": now, "withdrawable": "1000"}
            case "frontendOpenOrders":
                return [self._order(order) for order in market.orders if order.open]
            case "orderStatus":
                return self._status(body["oid"])
            case "userFills":
                return [self._fill(fill) for fill in reversed(market.fills[-2000:])]
            case "userFillsByTime":
                return [self._fill(fill) for fill in market.fills if fill.at >= body["startTime"]][:PAGE]
            case "userFunding":
                return [self._funding(*paid) for paid in self.fundings if paid[0] >= body["startTime"]][:PAGE]
        raise AssertionError(f"nobody should ask for {body['type']}")

    def _context(self) -> dict[str, str]:
        mark = _text(self.market.mark)
        return {"markPx": mark, "midPx": mark, "oraclePx": mark, "funding": "0.0000125", "openInterest": "1"}

    def _candles(self, ask: dict[str, Any]) -> list[dict[str, Any]]:
        minute, now = 60_000, self.market.now()
        first, last = -(-ask["startTime"] // minute) * minute, min(ask["endTime"], now) // minute * minute
        price = _text(self.market.last)
        prices = {"o": price, "h": price, "l": price, "c": price, "v": "1", "n": 1, "s": COIN, "i": "1m"}
        times = range(max(first, last - 4999 * minute), last + 1, minute)
        return [{"t": at, "T": at + minute - 1, **prices} for at in times]

    def _positions(self) -> list[dict[str, Any]]:
        held = self.market.position
        if not held:
            return []
        position = {
            "coin": COIN,
            "szi": _text(held),
            "entryPx": _text(self.market.entry_price),
            "liquidationPx": "30000.0" if held > 0 else "90000.0",
            "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
        }
        return [{"type": "oneWay", "position": position}]

    def _status(self, oid: str | int) -> dict[str, Any]:
        market = self.market
        order = market.by_number(oid) if isinstance(oid, int) else market.find(_plain(oid))
        if order is None:
            return {"status": "unknownOid"}
        told = {"order": self._order(order), "status": self._state(order), "statusTimestamp": order.updated}
        return {"status": "order", "order": told}

    @staticmethod
    def _state(order: Order) -> str:
        if order.reason:
            return order.reason
        if order.state == "cancelled":
            return "reduceOnlyCanceled" if order.fills and order.reduce_only else "canceled"
        return "filled" if order.state == "filled" else "open"

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _order(self, order: Order) -> dict[str, Any]:
        stop = order.kind == "stop"
        limit = order.limit_price or order.trigger_price or Decimal(0)
        return {
            "coin": COIN,
            "side": "B" if order.side == "buy" else "A",
            "limitPx": _text(limit),
            "sz": _text(order.quantity - order.filled),
            "origSz": _text(order.quantity),
            "oid": order.number,
            "timestamp": order.created,
            "triggerCondition": "N/A",
            "isTrigger": stop,
            "triggerPx": _text(order.trigger_price or Decimal("0.0")),
            "children": [],
            "isPositionTpsl": False,
            "reduceOnly": order.reduce_only,
            "orderType": "Stop Market" if stop else "Limit",
            "tif": None if stop else "Ioc" if order.kind == "market" else "Gtc",
            "cloid": f"0x{order.client_id}" if order.client_id else None,
        }

    def _fill(self, fill: Fill) -> dict[str, Any]:
        order = fill.order
        row: dict[str, Any] = {
            "coin": COIN,
            "px": _text(fill.price),
            "sz": _text(fill.quantity),
            "side": "B" if fill.side == "buy" else "A",
            "time": fill.at,
            "startPosition": "0.0",
            "dir": "Auto-Deleveraging" if fill.cause == "adl" else "Close Long",
            "hash": "0x" + "0" * 64,
            "oid": order.number,
            "crossed": True,
            "fee": _text(fill.fee),
            "feeToken": "USDC",
            "tid": fill.number,
        }
        if fill.cause == "liquidated":
            row["liquidation"] = {"liquidatedUser": self.wallet, "markPx": row["px"], "method": "market"}
        if self.cloids_with_fills:
            row["cloid"] = f"0x{order.client_id}" if order.client_id else None
        return row

    @staticmethod
    def _funding(at: int, received: Decimal) -> dict[str, Any]:
        delta = {"type": "funding", "coin": COIN, "usdc": _text(received), "szi": "0.01", "fundingRate": "0.0001"}
        return {"delta": delta, "time": at, "hash": "0x" + "0" * 64}

    # -- streams -------------------------------------------------------------------------------------------------------

    def heard(self, socket: Socket, message: Any) -> list[Any]:
        """A stream's message."""
        if message["method"] == "ping":
            return [{"channel": "pong"}]
        subscription = message["subscription"]
        socket.topics.add(subscription["type"])
        answers: list[Any] = [{"channel": "subscriptionResponse", "data": message}]
        if subscription["type"] == "userFills":
            fills = [self._fill(fill) for fill in self.market.fills]
            answers.append({"channel": "userFills", "data": {"isSnapshot": True, "user": self.wallet, "fills": fills}})
        return answers + [each for each in self.told(socket, None) if each["channel"] == subscription["type"]]

    def told(self, socket: Socket, order: Order | None) -> list[Any]:
        """What a stream is told."""
        now, market = self.market.now(), self.market
        if order is None:
            levels = [{"px": _text(price), "sz": "1", "n": 1} for price in (market.bid, market.ask)]
            trade = {"coin": COIN, "side": "B", "px": _text(market.last), "sz": "1", "time": now, "tid": 1}
            told: dict[str, Any] = {
                "activeAssetCtx": {"coin": COIN, "ctx": self._context()},
                "bbo": {"coin": COIN, "time": now, "bbo": levels},
                "trades": [trade],
            }
        else:
            names = ("coin", "side", "limitPx", "sz", "oid", "timestamp", "origSz", "cloid")
            row = {name: value for name, value in self._order(order).items() if name in names}
            told = {"orderUpdates": [{"order": row, "status": self._state(order), "statusTimestamp": now}]}
            if order.fills:
                told["userFills"] = {"user": self.wallet, "fills": [self._fill(fill) for fill in order.fills]}
        return [{"channel": name, "data": data} for name, data in told.items() if name in socket.topics]


def _plain(cloid: str) -> str:
    return cloid.removeprefix("0x")


def _text(number: Decimal) -> str:
    """As the exchange writes numbers: always with a point."""
    text = f"{number:f}"
    return text if "." in text else f"{text}.0"


def _error(sentence: str) -> dict[str, Any]:
    return {"status": "err", "response": sentence}
