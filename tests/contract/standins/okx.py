"""A loopback stand-in of OKX's V5 API, linear swaps of one account in net mode on cross margin.

It checks what it is sent as the exchange does: the signature, the timestamp, the deadline in `expTime`, the id in the
field of the order's own class. Sizes are in contracts of a hundredth. A stop that triggers begets a plain order without
a client id. Lists never have more than 100 rows, newest first.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.contract.standins.market import Fill, Market, Order, Refused, Rules
from tests.contract.standins.server import Call, Reply, Socket, Standin

KEY, SECRET, PASSWORD = "okx-key", "okx-secret-41c", "okx-passphrase-7"
INSTRUMENT = "BTC-USDT-SWAP"
CONTRACT = Decimal("0.01")
TIMESTAMP_SECONDS = 30
REFUSALS = {
    "duplicate": ("51016", "Duplicated client order ID"),
    "step": ("51121", "Order count should be the integer multiples of the lot size"),
    "minimum": ("51020", "Your order should meet or exceed the minimum order amount"),
    "tick": ("51000", "Parameter px error"),
    "rising": ("51278", "SL trigger price can not be lower than the last price"),
    "falling": ("51280", "SL trigger price can not be higher than the last price"),
    "reduce_only": ("51169", "Order failed because you don't have any positions in this direction to reduce"),
}
CATEGORIES = {"order": "normal", "liquidated": "full_liquidation", "adl": "adl"}


class OkxStandin(Standin):
    """OKX on loopback. `hedge` puts the account in long/short mode, `revoked` makes its key worthless."""

    def __init__(self, market: Market | None = None) -> None:
        rules = Rules(step=Decimal("0.0001"), minimum=Decimal("0.0001"), minimum_notional=Decimal(0))
        super().__init__(market or Market(rules))
        self.hedge = False
        self.revoked = False
        self.unborn = False
        self.fundings: list[tuple[int, Decimal]] = []

    # -- calls ---------------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Reply:
        """What a call is answered."""
        assert "None" not in call.query.values(), f"a literal None was sent: {call.query}"
        name = f"{call.method} {call.path.removeprefix('/api/v5/')}"
        public = self._public(name, call)
        if public is not None:
            return self._ok(public)
        error = self._authenticate(call)
        if error is not None:
            return Reply({"code": error[0], "msg": error[1], "data": []}, 401)
        if call.method == "POST":
            return self._write(name, call)
        return self._read(name, call)

    @staticmethod
    def _ok(rows: Sequence[Any]) -> Reply:
        return Reply({"code": "0", "msg": "", "data": list(rows)})

    @staticmethod
    def _refuse(code: str, message: str) -> Reply:
        row = {"ordId": "", "clOrdId": "", "sCode": code, "sMsg": message}
        return Reply({"code": "1", "msg": "All operations failed", "data": [row]})

    def _public(self, name: str, call: Call) -> Sequence[Any] | None:
        market, now = self.market, str(self.market.now())
        if name == "GET public/time":
            return [{"ts": now}]
        if name == "GET public/instruments":
            return [self._instrument()] if call.query["instType"] == "SWAP" else []
        if name == "GET market/ticker":
            return [self._ticker()]
        if name == "GET public/mark-price":
            return [{"instId": INSTRUMENT, "instType": "SWAP", "markPx": str(market.mark), "ts": now}]
        if name in ("GET market/history-candles", "GET market/history-mark-price-candles"):
            return self._candles(call)
        return None

    def _instrument(self) -> dict[str, str]:
        rules = self.market.rules
        return {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "uly": "BTC-USDT",
            "instFamily": "BTC-USDT",
            "baseCcy": "",
            "quoteCcy": "",
            "settleCcy": "USDT",
            "ctVal": str(CONTRACT),
            "ctMult": "1",
            "ctValCcy": "BTC",
            "ctType": "linear",
            "tickSz": str(rules.tick),
            "lotSz": str(rules.step / CONTRACT),
            "minSz": str(rules.minimum / CONTRACT),
            "lever": "100",
            "state": "live",
            "listTime": "1606468572000",
            "expTime": "",
        }

    def _ticker(self) -> dict[str, str]:
        market = self.market
        return {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "last": str(market.last),
            "bidPx": str(market.bid),
            "bidSz": "1",
            "askPx": str(market.ask),
            "askSz": "1",
            "ts": str(market.now()),
        }

    def _candles(self, call: Call) -> list[list[str]]:
        minute, now, query = 60_000, self.market.now(), call.query
        limit = min(int(query.get("limit", 100)), 100)
        last = (min(int(query.get("after", now + 1)), now + 1) - 1) // minute * minute
        first = -(-(int(query.get("before", 0)) + 1) // minute) * minute
        first = max(first, last - (limit - 1) * minute)
        price = str(self.market.mark if "mark" in call.path else self.market.last)
        extra = [] if "mark" in call.path else ["1", "1", "1"]
        times = range(first, last + 1, minute)
        return [[str(at), *[price] * 4, *extra, str(int(at + minute <= now))] for at in reversed(times)]

    def _authenticate(self, call: Call) -> tuple[str, str] | None:
        headers = call.headers
        stamp = headers.get("ok-access-timestamp", "")
        if headers.get("ok-access-key") != KEY or self.revoked:
            return "50111", "Invalid OK-ACCESS-KEY"
        if headers.get("ok-access-passphrase") != PASSWORD:
            return "50105", 'Request header "OK_ACCESS_PASSPHRASE" incorrect'
        path = call.path + (f"?{call.raw_query}" if call.raw_query else "")
        payload = f"{stamp}{call.method}{path}{call.text}".encode()
        signed = base64.b64encode(hmac.new(SECRET.encode(), payload, hashlib.sha256).digest()).decode()
        if headers.get("ok-access-sign") != signed:
            return "50113", "Invalid signature"
        at = datetime.fromisoformat(stamp.replace("Z", "+00:00")).astimezone(UTC).timestamp()
        if abs(self.market.now() / 1000 - at) > TIMESTAMP_SECONDS:
            return "50102", "Timestamp request expired"
        return None

    # -- writes --------------------------------------------------------------------------------------------------------

    def _write(self, name: str, call: Call) -> Reply:
        deadline = call.headers.get("exptime")
        assert deadline, "a write without a deadline"
        body = call.body
        if name == "POST trade/order":
            if int(deadline) < self.market.now():
                return self._refuse("51149", "Order timed out. Please try again later.")
            return self._create(body, "clOrdId")
        if name == "POST trade/order-algo":
            # The algo endpoint knows no deadline.
            return self._create(body, "algoClOrdId")
        if name == "POST trade/cancel-order":
            return self._cancel(self._plain(body), "ordId")
        if name == "POST trade/cancel-algos":
            return self._cancel(self._algo(body[0]), "algoId")
        raise AssertionError(f"nobody should ask for {name}")

    def _create(self, body: dict[str, Any], field: str) -> Reply:
        if body.get("instId") != INSTRUMENT:
            return self._refuse("51001", "Instrument ID doesn't exist.")
        assert body["tdMode"] == "cross"
        assert "tag" not in body, "a broker's tag was sent"
        assert all(isinstance(body[name], str) for name in ("sz", "px", "slTriggerPx") if name in body)
        if self.hedge:
            return self._refuse("51000", "Parameter posSide error")
        stop = field == "algoClOrdId"
        if stop:
            assert (body["ordType"], body["slOrdPx"]) == ("conditional", "-1")
        order = Order(
            number=self.market.number(),
            client_id=body.get(field, ""),
            kind="stop" if stop else body["ordType"],
            side=body["side"],
            quantity=Decimal(body["sz"]) * CONTRACT,
            reduce_only=body.get("reduceOnly", False),
            trigger_price=Decimal(body["slTriggerPx"]) if stop else None,
            # The exchange's default is the last price: a mark stop must say so.
            trigger_source=body.get("slTriggerPxType", "last"),
            rising=body["side"] == "buy",
            limit_price=Decimal(body["px"]) if "px" in body else None,
        )
        assert len(order.client_id) <= 32
        try:
            self.market.place(order)
        except Refused as refusal:
            return self._refuse(*REFUSALS[refusal.reason])
        own = "algoId" if stop else "ordId"
        row = {own: str(order.number), field: order.client_id, "sCode": "0", "sMsg": "", "tag": ""}
        return self._ok([row])

    def _cancel(self, order: Order | None, own: str) -> Reply:
        if order is None:
            return self._refuse(
                "51400", "Order cancellation failed as the order has been filled, canceled or is absent"
            )
        try:
            self.market.cancel(order)
        except Refused:
            return self._refuse("51402" if order.state == "filled" else "51401", "Order cancellation failed")
        return self._ok([{own: str(order.number), "sCode": "0", "sMsg": ""}])

    def _plain(self, query: dict[str, Any]) -> Order | None:
        """A plain order, or the child of a stop, which has no client id of ours."""
        if query.get("ordId"):
            number = int(query["ordId"])
            return next((o for o in self.market.orders if number in (o.number, o.child) and number), None)
        return self.market.find(query.get("clOrdId", ""), ("market", "limit"))

    def _algo(self, query: dict[str, Any]) -> Order | None:
        if query.get("algoId"):
            found = self.market.by_number(int(query["algoId"]))
            return found if found is not None and found.kind == "stop" else None
        return self.market.find(query.get("algoClOrdId", ""), ("stop",))

    # -- reads ---------------------------------------------------------------------------------------------------------

    def _read(self, name: str, call: Call) -> Reply:
        query, orders = call.query, list(reversed(self.market.orders))
        if name == "GET account/config":
            mode = "long_short_mode" if self.hedge else "net_mode"
            row = {"posMode": mode, "acctLv": "2", "perm": "read_only,trade", "ip": "127.0.0.1", "uid": "1"}
            return self._ok([row])
        if name == "GET account/positions":
            return self._ok(self._positions())
        if name == "GET trade/order":
            order = self._plain(query)
            if order is None or (self.unborn and order.child):
                return Reply({"code": "51603", "msg": "Order does not exist", "data": []})
            return self._ok([self._order(order)])
        if name == "GET trade/order-algo":
            order = self._algo(query)
            if order is None:
                return Reply({"code": "51603", "msg": "Order does not exist", "data": []})
            return self._ok([self._algo_row(order)])
        if name == "GET trade/orders-pending":
            return self._page(query, [self._order(o) for o in orders if o.open and o.kind != "stop"], "ordId")
        if name == "GET trade/orders-history":
            rows = [self._order(o) for o in orders if not o.open and (o.kind != "stop" or o.child)]
            return self._page(query, [] if self.unborn else rows, "ordId")
        if name == "GET trade/orders-algo-pending":
            stops = [o for o in orders if o.open and o.kind == "stop"] if "conditional" in query["ordType"] else []
            return self._page(query, [self._algo_row(order) for order in stops], "algoId")
        if name in ("GET trade/fills", "GET trade/fills-history"):
            return self._list_fills(name, query)
        if name in ("GET account/bills", "GET account/bills-archive"):
            begin = int(query.get("begin", 0))
            return self._page(query, [self._bill(*paid) for paid in self.fundings if paid[0] >= begin], "billId")
        raise AssertionError(f"nobody should ask for {name}")

    def _list_fills(self, name: str, query: dict[str, str]) -> Reply:
        begin = int(query.get("begin", 0))
        if not name.endswith("history"):
            begin = max(begin, self.market.now() - 3 * 86_400_000)
        fills = [fill for fill in reversed(self.market.fills) if fill.at >= begin]
        if query.get("ordId"):
            fills = [fill for fill in fills if int(query["ordId"]) == (fill.order.child or fill.order.number)]
        return self._page(query, [self._fill(fill) for fill in fills], "billId")

    def _page(self, query: dict[str, str], rows: list[dict[str, Any]], own: str) -> Reply:
        limit = min(int(query.get("limit", 100)), 100)
        if query.get("after"):
            rows = [row for row in rows if int(row[own]) < int(query["after"])]
        return self._ok(rows[:limit])

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _order(self, order: Order) -> dict[str, Any]:
        stop = order.kind == "stop"
        state = {"open": "live", "filled": "filled"}.get(order.state, "canceled")
        if order.open and order.filled:
            state = "partially_filled"
        return {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "ordId": str(order.child or order.number),
            "clOrdId": "" if stop else order.client_id,
            "algoId": str(order.number) if stop else "",
            "algoClOrdId": order.client_id if stop else "",
            "px": str(order.limit_price or ""),
            "sz": str(order.quantity / CONTRACT),
            "ordType": "limit" if order.kind == "limit" else "market",
            "side": order.side,
            "posSide": "net",
            "tdMode": "cross",
            "accFillSz": str(order.filled / CONTRACT),
            "avgPx": str(order.fills[0].price) if order.fills else "",
            "state": state,
            "category": CATEGORIES[order.cause],
            "reduceOnly": str(order.reduce_only).lower(),
            "cTime": str(order.created),
            "uTime": str(order.updated),
        }

    def _algo_row(self, order: Order) -> dict[str, Any]:
        state = "effective" if order.triggered else "live" if order.open else "canceled"
        return {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "algoId": str(order.number),
            "algoClOrdId": order.client_id,
            "clOrdId": "",
            "ordId": str(order.child or ""),
            "ordIdList": [str(order.child)] if order.child else [],
            "ordType": "conditional",
            "side": order.side,
            "posSide": "net",
            "tdMode": "cross",
            "sz": str(order.quantity / CONTRACT),
            "closeFraction": "",
            "slTriggerPx": str(order.trigger_price),
            "slTriggerPxType": order.trigger_source,
            "slOrdPx": "-1",
            "tpTriggerPx": "",
            "triggerPx": "",
            "state": state,
            "reduceOnly": str(order.reduce_only).lower(),
            "cTime": str(order.created),
            "uTime": str(order.updated),
        }

    def _fill(self, fill: Fill) -> dict[str, str]:
        order = fill.order
        return {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "tradeId": str(fill.number + 900_000),
            "billId": str(fill.number),
            "ordId": str(order.child or order.number),
            "clOrdId": "" if order.kind == "stop" else order.client_id,
            "side": fill.side,
            "posSide": "net",
            "fillSz": str(fill.quantity / CONTRACT),
            "fillPx": str(fill.price),
            "fee": str(-fill.fee),
            "feeCcy": "USDT",
            "execType": "T",
            "ts": str(fill.at),
        }

    @staticmethod
    def _bill(at: int, received: Decimal) -> dict[str, str]:
        bill = {"billId": str(at), "instId": INSTRUMENT, "type": "8", "ts": str(at)}
        return bill | {"balChg": str(received), "pnl": str(received)}

    def _positions(self) -> list[dict[str, Any]]:
        held = self.market.position
        if not held:
            return []
        row = {
            "instType": "SWAP",
            "instId": INSTRUMENT,
            "mgnMode": "cross",
            "posSide": "net",
            "pos": str(held / CONTRACT),
            "avgPx": str(self.market.entry_price),
            "liqPx": "30000" if held > 0 else "90000",
            "realizedPnl": str(-sum((fill.fee for fill in self.market.fills), Decimal(0))),
            "uTime": str(self.market.fills[-1].at if self.market.fills else 0),
        }
        return [row]

    # -- streams -------------------------------------------------------------------------------------------------------

    def heard(self, socket: Socket, message: Any) -> list[Any]:
        """A stream's message."""
        if message.get("op") == "login":
            good = message["args"][0]["apiKey"] == KEY and not self.revoked
            return [{"event": "login", "code": "0" if good else "60005", "msg": "", "connId": "x"}]
        if message.get("op") != "subscribe":
            return []
        told: list[Any] = []
        for argument in message["args"]:
            business = "/ws/v5/business" in socket.topics
            assert (argument["channel"] == "orders-algo") is business, "a channel at another's door"
            socket.topics.add(argument["channel"])
            told.append({"event": "subscribe", "arg": argument, "connId": "x"})
        return [*told, *self.told(socket, None)]

    def told(self, socket: Socket, order: Order | None) -> list[Any]:
        """What a stream is told."""
        now = str(self.market.now())
        if order is None:
            mark = {"instId": INSTRUMENT, "instType": "SWAP", "markPx": str(self.market.mark), "ts": now}
            rows = {"tickers": self._ticker(), "mark-price": mark}
        elif order.kind == "stop":
            rows = {"orders-algo": self._algo_row(order)}
            if order.child:
                rows["orders"] = self._order(order)
        else:
            rows = {"orders": self._order(order)}
        return [
            {"arg": {"channel": channel, "instId": INSTRUMENT}, "data": [row]}
            for channel, row in rows.items()
            if channel in socket.topics
        ]
