"""Binance's order endpoints: plain orders under `order`, conditional ones under `algoOrder`, each class by itself."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from secrets import token_hex
from typing import Any, Final

from actors.domain.events import OrderState
from actors.domain.model import Instrument, OrderKind, OrderSide, Source
from actors.venues.base import OrderRequest, VenueError
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import Json, acknowledged, text, trade_json
from actors.venues.exchange_errors import BinanceError, refused
from actors.venues.exchange_journal import Algo
from actors.venues.exchange_requests import Endpoint, Request, Routes, Security
from actors.venues.paper_checks import reducible
from actors.venues.paper_tables import OrderRow

_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_CONDITIONAL: Final = ("STOP_MARKET", "TAKE_PROFIT_MARKET")
_CONDITIONAL_ELSEWHERE: Final = (*_CONDITIONAL, "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET")
_SOURCES: Final = {"MARK_PRICE": Source.MARK, "CONTRACT_PRICE": Source.LAST}
_EXPIRY_SECONDS: Final = 60.0
_LONGEST_HISTORY: Final = 7 * 24 * 3600 * 1_000_000


class Orders:
    """Everything that places, cancels and reads orders."""

    def __init__(self, desk: ExchangeDesk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Path and method of each."""
        signed = Security.SIGNED

        def change(handle: Callable[[Request], Any], *, orders: int = 0) -> Endpoint:
            return Endpoint(handle=handle, security=signed, orders=orders, changes=True)

        def read(handle: Callable[[Request], Any], weight: int = 1) -> Endpoint:
            return Endpoint(handle=handle, security=signed, weight=weight)

        return {
            ("POST", "/fapi/v1/order"): change(self.new_order, orders=1),
            ("POST", "/fapi/v1/order/test"): read(self.test_order),
            ("GET", "/fapi/v1/order"): read(self.order),
            ("DELETE", "/fapi/v1/order"): change(self.cancel_order),
            ("GET", "/fapi/v1/openOrder"): read(self.open_order),
            ("GET", "/fapi/v1/openOrders"): read(self.open_orders),
            ("GET", "/fapi/v1/allOrders"): read(self.all_orders, 5),
            ("DELETE", "/fapi/v1/allOpenOrders"): change(self.cancel_open_orders),
            ("GET", "/fapi/v1/userTrades"): read(self.user_trades, 5),
            ("POST", "/fapi/v1/algoOrder"): change(self.new_algo, orders=1),
            ("GET", "/fapi/v1/algoOrder"): read(self.algo),
            ("DELETE", "/fapi/v1/algoOrder"): change(self.cancel_algo),
            ("GET", "/fapi/v1/openAlgoOrders"): read(self.open_algos),
            ("GET", "/fapi/v1/allAlgoOrders"): read(self.all_algos, 5),
            ("DELETE", "/fapi/v1/algoOpenOrders"): change(self.cancel_open_algos),
        }

    # -- plain orders --------------------------------------------------------------------------------------------------

    def new_order(self, request: Request) -> Json:
        """`POST order`: MARKET and LIMIT (GTC, GTX)."""
        row = self._place(self._plain(request), time_in_force=request.text("timeInForce", "GTC"))
        told = self._desk.reading.order(row)
        return told if request.text("newOrderRespType", "ACK") == "RESULT" else acknowledged(told)

    def test_order(self, request: Request) -> Json:
        """`POST order/test`: the checks, and nothing more."""
        self._plain(request)
        return {}

    def order(self, request: Request) -> Json:
        """`GET order`."""
        return self._desk.reading.order(self._find(request, trigger=False, missing=-2013))

    def open_order(self, request: Request) -> Json:
        """`GET openOrder`."""
        row = self._find(request, trigger=False, missing=-2013)
        if row.state is not OrderState.OPEN:
            raise BinanceError(-2013)
        return self._desk.reading.order(row)

    def open_orders(self, request: Request) -> Sequence[Json]:
        """`GET openOrders`."""
        rows = self._desk.reading.open(request.account, self._desk.maybe_symbol(request), trigger=False)
        return [self._desk.reading.order(row) for row in rows]

    def all_orders(self, request: Request) -> Sequence[Json]:
        """`GET allOrders`: from `orderId` on, or else the latest."""
        symbol, since = self._desk.symbol(request), request.integer("orderId")
        rows = self._desk.reading.all(request.account, symbol, since, request.limit(500, 1000), trigger=False)
        return [order for order in map(self._desk.reading.order, rows) if _between(request, order["time"])]

    def cancel_order(self, request: Request) -> Json:
        """`DELETE order`. One that is not open is unknown."""
        return self._desk.reading.order(self._cancel(request, trigger=False))

    def cancel_open_orders(self, request: Request) -> Json:
        """`DELETE allOpenOrders`."""
        self._cancel_all(request, trigger=False)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def user_trades(self, request: Request) -> Sequence[Json]:
        """`GET userTrades`: seven days at most, unless an id is given."""
        from_id, order_id = request.integer("fromId"), request.integer("orderId")
        start, end = request.time("startTime"), request.time("endTime")
        if start is not None and end is not None and end - start > _LONGEST_HISTORY:
            raise BinanceError(-4084, message="Time interval is more than 7 days.")
        if from_id is None and order_id is None and start is None:
            end = end or request.now
            fills = self._desk.reading.fills(
                request.account, self._desk.symbol(request), request.limit(500, 1000), end=end
            )
            return [trade_json(fill) for fill in fills if fill.at >= end - _LONGEST_HISTORY]
        if start is not None and end is None:
            end = start + _LONGEST_HISTORY
        fills = self._desk.reading.fills(
            request.account,
            self._desk.symbol(request),
            request.limit(500, 1000),
            from_id=from_id,
            order_id=order_id,
            start=start,
            end=end,
        )
        return [trade_json(fill) for fill in fills]

    # -- conditional orders --------------------------------------------------------------------------------------------

    def new_algo(self, request: Request) -> Json:
        """`POST algoOrder`: STOP_MARKET and TAKE_PROFIT_MARKET."""
        if request.text("algoType") != "CONDITIONAL":
            raise BinanceError(-1102, "algoType")
        kind = request.text("type")
        if kind not in _CONDITIONAL:
            raise BinanceError(-1116)
        symbol, source = self._desk.symbol(request), _SOURCES.get(request.text("workingType", "CONTRACT_PRICE"))
        if source is None:
            raise BinanceError(-1102, "workingType")
        instrument, close_position = self._desk.instrument(symbol), request.truth("closePosition")
        trigger = request.number("triggerPrice")
        check_price(trigger, instrument)
        side = _side(request)
        order = self._order(
            request,
            symbol,
            OrderKind.STOP_MARKET,
            side,
            self._closed_by(request, symbol, side) if close_position else self._quantity(request, instrument),
            client_order_id=self._client_id(request, "clientAlgoId"),
            reduce_only=close_position or request.truth("reduceOnly"),
            trigger_price=trigger,
            trigger_source=source,
        )
        told = dict(self._desk.reading.algo(self._place(order, Algo(type=kind, close_position=close_position))))
        del told["actualOrderId"], told["actualPrice"]
        return told

    def algo(self, request: Request) -> Json:
        """`GET algoOrder`."""
        return self._desk.reading.algo(self._find(request, trigger=True, missing=-2013))

    def open_algos(self, request: Request) -> Sequence[Json]:
        """`GET openAlgoOrders`."""
        rows = self._desk.reading.open(request.account, self._desk.maybe_symbol(request), trigger=True)
        return [self._desk.reading.algo(row) for row in rows]

    def all_algos(self, request: Request) -> Sequence[Json]:
        """`GET allAlgoOrders`: from `algoId` on, or else the latest."""
        symbol, since = self._desk.symbol(request), request.integer("algoId")
        rows = self._desk.reading.all(request.account, symbol, since, request.limit(500, 1000), trigger=True)
        return [order for order in map(self._desk.reading.algo, rows) if _between(request, order["createTime"])]

    def cancel_algo(self, request: Request) -> Json:
        """`DELETE algoOrder`. One that is not open is unknown."""
        row = self._cancel(request, trigger=True)
        return {"algoId": row.id, "clientAlgoId": row.client_order_id, "code": "200", "msg": "success"}

    def cancel_open_algos(self, request: Request) -> Json:
        """`DELETE algoOpenOrders`."""
        self._cancel_all(request, trigger=True)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    # -- how -----------------------------------------------------------------------------------------------------------

    def _plain(self, request: Request) -> OrderRequest:
        symbol, kind = self._desk.symbol(request), request.text("type")
        if kind in _CONDITIONAL_ELSEWHERE:
            raise BinanceError(-4120)
        if kind not in ("MARKET", "LIMIT"):
            raise BinanceError(-1116)
        instrument = self._desk.instrument(symbol)
        quantity, reduce_only = self._quantity(request, instrument), request.truth("reduceOnly")
        limit_price: Decimal | None = None
        if kind == "LIMIT":
            limit_price = request.number("price")
            check_price(limit_price, instrument)
            if request.text("timeInForce") not in ("GTC", "GTX"):
                raise BinanceError(-1115)
        reference = limit_price or self._desk.quote(symbol).last or Decimal(0)
        if not reduce_only and quantity * reference < instrument.minimum_notional:
            raise BinanceError(-4164, text(instrument.minimum_notional))
        return self._order(
            request,
            symbol,
            OrderKind.LIMIT if limit_price is not None else OrderKind.MARKET,
            _side(request),
            quantity,
            client_order_id=self._client_id(request, "newClientOrderId"),
            reduce_only=reduce_only,
            limit_price=limit_price,
        )

    def _order(
        self,
        request: Request,
        symbol: str,
        kind: OrderKind,
        side: OrderSide,
        quantity: Decimal,
        *,
        client_order_id: str,
        reduce_only: bool,
        trigger_price: Decimal | None = None,
        trigger_source: Source | None = None,
        limit_price: Decimal | None = None,
    ) -> OrderRequest:
        dual = self._desk.journal.wallet(request.account).dual
        # Positions of two sides are not played here: in hedge mode, every order is the mode's mistake.
        if dual or request.text("positionSide", "BOTH") != "BOTH":
            raise BinanceError(-4061)
        return OrderRequest(
            request_id="",
            account=request.account,
            symbol=symbol,
            client_order_id=client_order_id,
            kind=kind,
            side=side,
            quantity=quantity,
            reduce_only=reduce_only,
            signed_at=request.now,
            expires_after_seconds=_EXPIRY_SECONDS,
            trigger_price=trigger_price,
            trigger_source=trigger_source,
            limit_price=limit_price,
        )

    def _place(self, order: OrderRequest, algo: Algo | None = None, time_in_force: str = "GTC") -> OrderRow:
        try:
            return self._desk.core.place(order, algo, time_in_force)
        except VenueError as error:
            raise refused(error, text(self._desk.instrument(order.symbol).minimum_notional)) from error

    def _quantity(self, request: Request, instrument: Instrument) -> Decimal:
        quantity = request.number("quantity")
        if quantity <= 0:
            raise BinanceError(-4003)
        if _finer(quantity, instrument.quantity_step):
            raise BinanceError(-1111)
        if quantity % instrument.quantity_step:
            raise BinanceError(-1013)
        if quantity < instrument.minimum_quantity:
            raise BinanceError(-4004)
        if quantity > self._desk.settings.maximum_quantity:
            raise BinanceError(-4005)
        return quantity

    def _closed_by(self, request: Request, symbol: str, side: OrderSide) -> Decimal:
        """What a closePosition order would close now. Raises BinanceError when that is nothing."""
        for name in ("quantity", "reduceOnly"):
            if request.parameters.get(name):
                raise BinanceError(-1106, name)
        held = {holding.symbol: holding.quantity for holding in self._desk.core.state(request.account).holdings}
        quantity = reducible(held.get(symbol, Decimal(0)), side)
        if not quantity:
            raise BinanceError(-4509)
        return quantity

    def _client_id(self, request: Request, name: str) -> str:
        chosen = request.text(name, token_hex(11))
        if not _CLIENT_ID.fullmatch(chosen):
            raise BinanceError(-4015)
        return chosen

    def _find(self, request: Request, *, trigger: bool, missing: int) -> OrderRow:
        by_number, by_name = ("algoId", "clientAlgoId") if trigger else ("orderId", "origClientOrderId")
        number, client_order_id = request.integer(by_number), request.parameters.get(by_name) or None
        if number is None and client_order_id is None:
            raise BinanceError(-1102, by_name)
        symbol = self._desk.maybe_symbol(request) if trigger else self._desk.symbol(request)
        row = self._desk.reading.find(
            request.account, symbol, trigger=trigger, number=number, client_order_id=client_order_id
        )
        if row is None:
            raise BinanceError(missing)
        return row

    def _cancel(self, request: Request, *, trigger: bool) -> OrderRow:
        row = self._find(request, trigger=trigger, missing=-2011)
        if row.state is not OrderState.OPEN:
            raise BinanceError(-2011)
        return self._desk.core.end(row, request.now)

    def _cancel_all(self, request: Request, *, trigger: bool) -> None:
        for row in self._desk.reading.open(request.account, self._desk.symbol(request), trigger=trigger):
            self._desk.core.end(row, request.now)


def check_price(price: Decimal, instrument: Instrument) -> None:
    """Raises BinanceError for a price off the tick."""
    if price <= 0:
        raise BinanceError(-4001, message="Price less than 0.")
    if _finer(price, instrument.tick_size):
        raise BinanceError(-1111)
    if price % instrument.tick_size:
        raise BinanceError(-4014)


def _finer(number: Decimal, step: Decimal) -> bool:
    """Whether a number has more decimal places than a step."""
    places, allowed = number.normalize().as_tuple().exponent, step.normalize().as_tuple().exponent
    return isinstance(places, int) and isinstance(allowed, int) and places < min(0, allowed)


def _side(request: Request) -> OrderSide:
    side = request.text("side")
    if side not in ("BUY", "SELL"):
        raise BinanceError(-1117)
    return OrderSide(side.lower())


def _between(request: Request, milliseconds: int) -> bool:
    start, end = request.integer("startTime"), request.integer("endTime")
    return (start is None or milliseconds >= start) and (end is None or milliseconds <= end)
