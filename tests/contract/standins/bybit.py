"""A loopback stand-in of Bybit's V5 API, linear contracts of one unified account in one-way mode.

It checks what it is sent as the exchange does: the signature, the receive window, the position's index, the id in
`orderLinkId`. Lists have 20 rows unless asked for more, and never more than 50.
"""

import hashlib
import hmac
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.contract.standins.market import Fill, Market, Order, Refused
from tests.contract.standins.server import Call, Reply, Socket, Standin

KEY, SECRET = "bybit-key", "bybit-secret-9f2"
SYMBOL = "BTCUSDT"
REFUSALS = {
    "duplicate": (110072, "OrderLinkedID is duplicate"),
    "step": (10001, "Qty invalid"),
    "minimum": (10001, "The number of contracts exceeds minimum limit allowed"),
    "notional": (110094, "Order does not meet minimum order value 5USDT"),
    "tick": (10001, "Price invalid"),
    "rising": (110092, "expect Rising, but trigger_price[1] <= current[2]??MarkPrice"),
    "falling": (110093, "expect Falling, but trigger_price[1] >= current[2]??MarkPrice"),
    "reduce_only": (110017, "current position is zero, cannot fix reduce-only order qty"),
}
STATES = {"open": "New", "untriggered": "Untriggered", "filled": "Filled", "cancelled": "Cancelled"}
TRIGGERS = {"mark": "MarkPrice", "last": "LastPrice"}
CAUSES = {"order": "Trade", "liquidated": "BustTrade", "adl": "AdlTrade"}


class BybitStandin(Standin):
    """Bybit on loopback. `hedge` puts the account in hedge mode, `revoked` makes its key worthless."""

    def __init__(self, market: Market | None = None) -> None:
        super().__init__(market)
        self.hedge = False
        self.revoked = False
        self.history_only = False
        self.fundings: list[tuple[int, Decimal]] = []

    # -- calls ---------------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Reply:
        """What a call is answered."""
        assert "None" not in call.query.values(), f"a literal None was sent: {call.query}"
        name = f"{call.method} {call.path}"
        public = self._public(name, call)
        if public is not None:
            return self._ok(public)
        error = self._authenticate(call)
        if error is not None:
            return self._error(*error)
        return self._private(name, call)

    def _ok(self, result: Any) -> Reply:
        return Reply({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.market.now()})

    def _error(self, code: int, message: str) -> Reply:
        body = {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": self.market.now()}
        return Reply(body)

    def _public(self, name: str, call: Call) -> Any:
        market = self.market
        if name == "GET /v5/market/time":
            now = market.now()
            return {"timeSecond": str(now // 1000), "timeNano": f"{now}000000"}
        if name == "GET /v5/market/instruments-info":
            rows = [self._instrument()] if call.query.get("category") == "linear" else []
            rows = [] if call.query.get("status") == "PreLaunch" else rows
            return {"category": call.query.get("category"), "list": rows, "nextPageCursor": ""}
        if name == "GET /v5/market/tickers":
            return {"category": "linear", "list": [self._ticker()]}
        if name in ("GET /v5/market/kline", "GET /v5/market/mark-price-kline"):
            return {"category": "linear", "symbol": SYMBOL, "list": self._candles(call)}
        return None

    def _instrument(self) -> dict[str, Any]:
        rules = self.market.rules
        return {
            "symbol": SYMBOL,
            "contractType": "LinearPerpetual",
            "status": "Trading",
            "baseCoin": "BTC",
            "quoteCoin": "USDT",
            "settleCoin": "USDT",
            "launchTime": "1584230400000",
            "deliveryTime": "0",
            "priceScale": "1",
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999.8", "tickSize": str(rules.tick)},
            "lotSizeFilter": {
                "maxOrderQty": "1190.000",
                "minOrderQty": str(rules.minimum),
                "qtyStep": str(rules.step),
                "minNotionalValue": str(rules.minimum_notional),
            },
            "unifiedMarginTrade": True,
            "fundingInterval": 480,
        }

    def _ticker(self) -> dict[str, str]:
        market = self.market
        return {
            "symbol": SYMBOL,
            "lastPrice": str(market.last),
            "markPrice": str(market.mark),
            "indexPrice": str(market.mark),
            "bid1Price": str(market.bid),
            "bid1Size": "1.0",
            "ask1Price": str(market.ask),
            "ask1Size": "1.0",
            "fundingRate": "0.0001",
            "nextFundingTime": "1672387200000",
        }

    def _candles(self, call: Call) -> list[list[str]]:
        """Newest first, the minute under way included, at most `limit` rows."""
        minute = 60_000
        now = self.market.now()
        start = int(call.query.get("start", now - 200 * minute))
        end = min(int(call.query.get("end", now)), now)
        first = -(-start // minute) * minute
        times = list(range(first, end + 1, minute))[-int(call.query.get("limit", 200)) :]
        price = str(self.market.mark if "mark" in call.path else self.market.last)
        return [[str(at), price, price, price, price] for at in reversed(times)]

    def _authenticate(self, call: Call) -> tuple[int, str] | None:
        headers = call.headers
        stamp, window = headers.get("x-bapi-timestamp", ""), headers.get("x-bapi-recv-window", "")
        if headers.get("x-bapi-api-key") != KEY:
            return 10003, "API key is invalid."
        if self.revoked:
            return 33004, "Your api key has expired."
        payload = call.text if call.method == "POST" else call.raw_query
        signed = hmac.new(SECRET.encode(), f"{stamp}{KEY}{window}{payload}".encode(), hashlib.sha256).hexdigest()
        if headers.get("x-bapi-sign") != signed:
            return 10004, "error sign! origin_string[...]"
        now = self.market.now()
        if not int(stamp) - 1000 < now <= int(stamp) + int(window):
            return 10002, f"invalid request, please check your server timestamp: req_timestamp[{stamp}],now[{now}]"
        return None

    def _private(self, name: str, call: Call) -> Reply:
        if name == "POST /v5/order/create":
            return self._create(call.body)
        if name == "POST /v5/order/cancel":
            return self._cancel(call.body)
        if name in ("GET /v5/order/realtime", "GET /v5/order/history"):
            return self._list_orders(call)
        if name == "GET /v5/execution/list":
            return self._list_fills(call)
        if name == "GET /v5/position/list":
            return self._ok({"category": "linear", "list": self._positions(), "nextPageCursor": ""})
        if name == "GET /v5/user/query-api":
            return self._ok({"readOnly": 0, "unified": 0, "uta": 1, "permissions": {"ContractTrade": ["Order"]}})
        raise AssertionError(f"nobody should ask for {name}")

    def _create(self, body: dict[str, Any]) -> Reply:
        if body.get("symbol") != SYMBOL or body.get("category") != "linear":
            return self._error(10001, "symbol invalid")
        if (body.get("positionIdx", 0) != 0) is not self.hedge:
            return self._error(10001, "position idx not match position mode")
        assert all(isinstance(body[name], str) for name in ("qty", "price", "triggerPrice") if name in body)
        assert len(body["orderLinkId"]) <= 36
        assert body["timeInForce"] == ("GTC" if body["orderType"] == "Limit" else "IOC")
        stop = "triggerPrice" in body
        order = Order(
            number=self.market.number(),
            client_id=body["orderLinkId"],
            kind="stop" if stop else "limit" if body["orderType"] == "Limit" else "market",
            side=body["side"].lower(),
            quantity=Decimal(body["qty"]),
            reduce_only=body.get("reduceOnly", False),
            trigger_price=Decimal(body["triggerPrice"]) if stop else None,
            # The exchange's default is the last price: a mark stop must say so.
            trigger_source={"MarkPrice": "mark"}.get(body.get("triggerBy", "LastPrice"), "last"),
            rising=body.get("triggerDirection") == 1,
            limit_price=Decimal(body["price"]) if "price" in body else None,
        )
        try:
            self.market.place(order)
        except Refused as refusal:
            return self._error(*REFUSALS[refusal.reason])
        return self._ok({"orderId": self.id_of(order), "orderLinkId": order.client_id})

    def _cancel(self, body: dict[str, Any]) -> Reply:
        order = self._one(body)
        if order is None:
            return self._error(110001, "order not exists or too late to cancel")
        try:
            self.market.cancel(order)
        except Refused:
            return self._error(110001, "order not exists or too late to cancel")
        return self._ok({"orderId": self.id_of(order), "orderLinkId": order.client_id})

    def _one(self, query: dict[str, Any]) -> Order | None:
        if query.get("orderId"):
            return next((order for order in self.market.orders if self.id_of(order) == query["orderId"]), None)
        return self.market.find(query.get("orderLinkId", ""))

    def _list_orders(self, call: Call) -> Reply:
        query, realtime = call.query, call.path.endswith("realtime")
        if query.get("orderId") or query.get("orderLinkId"):
            found = self._one(query)
            orders = [found] if found is not None else []
            if self.history_only and realtime:
                # After a restart of the exchange, what has ended is in the history alone.
                orders = [order for order in orders if order.open]
            if not realtime:
                orders = [order for order in orders if not order.open]
        else:
            orders = [order for order in reversed(self.market.orders) if order.open is realtime]
        return self._page(query, [self._order(order) for order in orders], 50, 20)

    def _list_fills(self, call: Call) -> Reply:
        query = call.query
        now = self.market.now()
        start = int(query.get("startTime", now - 7 * 86_400_000))
        end = int(query.get("endTime", start + 7 * 86_400_000))
        if end - start > 7 * 86_400_000:
            return self._error(10001, "The time range between startTime and endTime cannot exceed 7 days")
        fills = [fill for fill in reversed(self.market.fills) if start <= fill.at <= end]
        if query.get("execType") == "Funding":
            fills = []
        if query.get("orderId"):
            fills = [fill for fill in fills if self.id_of(fill.order) == query["orderId"]]
        elif query.get("orderLinkId"):
            fills = [fill for fill in fills if fill.order.client_id == query["orderLinkId"]]
        rows = [self._fill(fill) for fill in fills]
        if not query.get("orderId") and not query.get("orderLinkId"):
            rows += [self._funding(at, paid) for at, paid in self.fundings if start <= at <= end]
        return self._page(query, rows, 100, 50)

    def _page(self, query: dict[str, str], rows: Sequence[Any], most: int, default: int) -> Reply:
        limit = min(int(query.get("limit", default)), most)
        # A cursor is already escaped when it is handed out, and is to be sent back as it is.
        start = int((query.get("cursor") or "page:0").removeprefix("page:"))
        cursor = f"page%3A{start + limit}" if start + limit < len(rows) else ""
        return self._ok({"category": "linear", "list": rows[start : start + limit], "nextPageCursor": cursor})

    # -- rows ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def id_of(order: Order) -> str:
        """The exchange's own id, which a triggered stop keeps."""
        return f"c0ffee00-0000-4000-8000-{order.number:012d}"

    def _order(self, order: Order) -> dict[str, Any]:
        partly = 0 < order.filled < order.quantity
        status = STATES.get(order.state, "Rejected")
        if partly:
            status = "PartiallyFilled" if order.open else "PartiallyFilledCanceled"
        return {
            "orderId": self.id_of(order),
            "orderLinkId": order.client_id,
            "symbol": SYMBOL,
            "price": str(order.limit_price or "0"),
            "qty": str(order.quantity),
            "side": order.side.capitalize(),
            "positionIdx": 0,
            "orderStatus": status,
            "createType": "CreateByUser",
            "cancelType": "CancelByUser" if order.state == "cancelled" else "UNKNOWN",
            "rejectReason": order.reason or "EC_NoError",
            "avgPrice": str(order.fills[0].price) if order.fills else "",
            "leavesQty": str(order.quantity - order.filled),
            "cumExecQty": str(order.filled),
            "timeInForce": "GTC" if order.kind == "limit" else "IOC",
            "orderType": "Limit" if order.kind == "limit" else "Market",
            "stopOrderType": "Stop" if order.kind == "stop" else "",
            "triggerPrice": str(order.trigger_price or "0.0"),
            "triggerBy": {"mark": "MarkPrice", "last": "LastPrice"}[order.trigger_source]
            if order.kind == "stop"
            else "",
            "triggerDirection": (1 if order.rising else 2) if order.kind == "stop" else 0,
            "reduceOnly": order.reduce_only,
            "closeOnTrigger": False,
            "tpslMode": "",
            "createdTime": str(order.created),
            "updatedTime": str(order.updated),
        }

    def _fill(self, fill: Fill) -> dict[str, Any]:
        return {
            "symbol": SYMBOL,
            "orderId": self.id_of(fill.order),
            "orderLinkId": fill.order.client_id,
            "side": fill.side.capitalize(),
            "execId": f"e-{fill.number}",
            "execType": CAUSES[fill.cause],
            "execPrice": str(fill.price),
            "execQty": str(fill.quantity),
            "execFee": str(fill.fee),
            "feeCurrency": "USDT",
            "execTime": str(fill.at),
            "isMaker": False,
        }

    def _funding(self, at: int, paid: Decimal) -> dict[str, Any]:
        return {
            "symbol": SYMBOL,
            "orderId": f"funding-{at}",
            "orderLinkId": "",
            "side": "Buy",
            "execId": f"f-{at}",
            "execType": "Funding",
            "execPrice": str(self.market.mark),
            "execQty": str(abs(self.market.position)),
            "execFee": str(paid),
            "feeCurrency": "",
            "execTime": str(at),
            "isMaker": False,
        }

    def _positions(self) -> list[dict[str, Any]]:
        held = self.market.position
        row = {
            "positionIdx": 0,
            "symbol": SYMBOL,
            "side": "Buy" if held > 0 else "Sell" if held < 0 else "",
            "size": str(abs(held)),
            "avgPrice": str(self.market.entry_price) if held else "0",
            "liqPrice": "30000" if held > 0 else "90000" if held < 0 else "",
            "markPrice": str(self.market.mark),
            "positionValue": str(abs(held) * self.market.mark),
            "leverage": "10",
            "curRealisedPnl": str(-sum((fill.fee for fill in self.market.fills), Decimal(0))),
            "updatedTime": str(self.market.fills[-1].at if self.market.fills else 0),
        }
        if not self.hedge:
            return [row]
        return [row | {"positionIdx": 1}, row | {"positionIdx": 2, "size": "0", "side": ""}]

    # -- streams -------------------------------------------------------------------------------------------------------

    def heard(self, socket: Socket, message: Any) -> list[Any]:
        """A stream's message."""
        operation = message.get("op")
        if operation == "auth":
            good = message["args"][0] == KEY and not self.revoked
            answer = {"success": good, "ret_msg": "" if good else "Params Error", "op": "auth", "conn_id": "x"}
            return [answer]
        if operation == "subscribe":
            socket.topics.update(message["args"])
            answer = {
                "success": True,
                "ret_msg": "",
                "op": "subscribe",
                "conn_id": "x",
                "req_id": message.get("req_id"),
            }
            return [answer, *self.told(socket, None)]
        if operation == "ping":
            return [{"success": True, "ret_msg": "pong", "conn_id": "x", "op": "ping"}]
        return []

    def told(self, socket: Socket, order: Order | None) -> list[Any]:
        """What a stream is told."""
        now = self.market.now()
        if order is not None:
            if "order" not in socket.topics:
                return []
            return [{"id": "1", "topic": "order", "creationTime": now, "data": [self._order(order)]}]
        topic = f"tickers.{SYMBOL}"
        if topic not in socket.topics:
            return []
        return [{"topic": topic, "type": "snapshot", "data": self._ticker(), "cs": 1, "ts": now}]
