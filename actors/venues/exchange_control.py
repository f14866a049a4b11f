"""The exchange server's control surface, `/paper/…`: what tests and curious people do to an exchange.

Everything is JSON. A mistake is answered 400 `{"error": …}`. Symbols may be given our way or Binance's. Only requests
that name a loopback host are heard, so that no web page can meddle.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from actors.domain.model import ZERO, Instrument, Micros, OrderKind, OrderSide, Quote
from actors.venues.exchange_app import Answer, read_body, respond
from actors.venues.exchange_audit import audit
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import Json, milliseconds, text
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_faults import ExchangeFaults, read_rule
from actors.venues.exchange_orders import Orders
from actors.venues.exchange_player import Player
from actors.venues.exchange_requests import Request
from actors.venues.exchange_streams import WHICH, Receive, Scope, Send, Streams
from actors.venues.paper_faults import Partial
from actors.venues.paper_tables import OrderRow

_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_PREFIX: Final = "/paper/"
_MICROS_PER_MILLISECOND: Final = 1000
_MICROS_PER_SECOND: Final = 1_000_000
_EVENTS: Final = {"adl": ("adl_autoclose", "adl"), "settle": ("settlement_autoclose-{}", "liquidated")}

Content = Mapping[str, Any]


class Control:
    """An application of its own beside the exchange's."""

    def __init__(
        self, desk: ExchangeDesk, faults: ExchangeFaults, streams: Streams, player: Player, orders: Orders
    ) -> None:
        self._desk = desk
        self._faults = faults
        self._streams = streams
        self._player = player
        self._orders = orders
        desk.core.matching.partial_fill = self._partial_fill
        self._handlers: Mapping[tuple[str, str], Callable[[Content], object]] = {
            ("GET", "state"): self.state,
            ("GET", "faults"): self.rules,
            ("POST", "faults"): self.add_faults,
            ("DELETE", "faults"): self.clear_faults,
            ("POST", "clock"): self.skew,
            ("POST", "streams"): self.streams,
            ("POST", "listen-keys"): self.expire_listen_keys,
            ("POST", "price"): self.price,
            ("DELETE", "price"): self.release_price,
            ("POST", "market"): self.market,
            ("POST", "adl"): lambda content: self.close_by_exchange("adl", content),
            ("POST", "settle"): lambda content: self.close_by_exchange("settle", content),
            ("POST", "liquidate"): self.liquidate,
            ("POST", "fund"): self.fund,
            ("POST", "order"): self.order,
            ("DELETE", "order"): self.cancel,
            ("POST", "keys"): self.revoke,
            ("POST", "mode"): self.mode,
            ("GET", "journal"): self.journal,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        body = await read_body(receive)
        try:
            self._check_host(scope)
            found = self._handlers.get((scope["method"], scope["path"].removeprefix(_PREFIX).strip("/")))
            if found is None:
                raise ValueError(f"there is: {', '.join(sorted(f'{how} {what}' for how, what in self._handlers))}")
            content = dict(parse_qsl(scope["query_string"].decode()))
            content |= orjson.loads(body) if body else {}
            status, answer = 200, found(content)
        except (ValueError, TypeError, KeyError, InvalidOperation) as error:
            status, answer = (
                400,
                {"error": f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)},
            )
        except BinanceError as error:
            status, answer = 400, {"error": error.message, "code": error.code}
        finally:
            self._desk.changed()
        await respond(send, Answer(status=status, content=orjson.dumps(answer), headers={}))

    # -- reading -------------------------------------------------------------------------------------------------------

    def state(self, content: Content) -> Json:
        """Prices, accounts and positions as they are, whatever any fault says."""
        del content
        quotes = [(symbol, self._desk.core.quote(symbol)) for symbol in self._desk.core.instruments]
        accounts = {key.account: self._desk.core.state(key.account) for key in self._desk.settings.keys}
        return {
            "time": milliseconds(self._desk.clock.now()),
            "playing": self._player.playing,
            "prices": {symbol: _prices(quote) for symbol, quote in quotes if quote is not None},
            "accounts": {
                account: {
                    "balance": text(state.wallet.balance),
                    "equity": text(state.equity),
                    "positions": {
                        holding.symbol: {"quantity": text(holding.quantity), "entry_price": text(holding.entry_price)}
                        for holding in state.holdings
                    },
                }
                for account, state in accounts.items()
            },
        }

    def journal(self, content: Content) -> Json:
        """All that the journal says of an account (`account`), or of all."""
        return audit(self._desk.core.tables, account=content.get("account")).said()

    # -- requests and streams ------------------------------------------------------------------------------------------

    def rules(self, content: Content) -> Json:
        """The rules in force."""
        del content
        return {"rules": self._faults.listed()}

    def add_faults(self, content: Content) -> Json:
        """A rule, or several under `rules`, after those there are."""
        for rule in [read_rule(entry) for entry in content.get("rules", [content])]:
            self._faults.add(replace(rule, symbol=self._symbol_of(rule.symbol) if rule.symbol else None))
        return self.rules(content)

    def clear_faults(self, content: Content) -> Json:
        """No rule is in force any more."""
        self._faults.clear()
        return self.rules(content)

    def skew(self, content: Content) -> Json:
        """Set the exchange's clock wrong by `skew_ms` (0: right again)."""
        self._desk.clock.skew = int(content["skew_ms"]) * _MICROS_PER_MILLISECOND
        return {"time": milliseconds(self._desk.clock.now())}

    def streams(self, content: Content) -> Json:
        """`drop` streams ("all", "user", "market"), or `silence` them for `seconds`."""
        for name in ("drop", "silence"):
            if content.get(name, "all") not in WHICH:
                raise ValueError(f"{name} is one of {', '.join(WHICH)}")
        dropped = self._streams.drop(content["drop"]) if "drop" in content else 0
        if "silence" in content:
            self._streams.silence(content["silence"], float(content["seconds"]))
        return {"dropped": dropped}

    def expire_listen_keys(self, content: Content) -> Json:
        """Every listen key of an account expires now."""
        keys = [key for key, account, _ in self._desk.journal.listen_keys() if account == content["account"]]
        for key in keys:
            self._streams.expire(key)
        return {"expired": len(keys)}

    def revoke(self, content: Content) -> Json:
        """An account's key is good no more (`revoked`: true), or good again."""
        revoked = bool(content.get("revoked", True))
        self._desk.journal.set_mode(self._account(content), revoked=revoked)
        return {"revoked": revoked}

    def mode(self, content: Content) -> Json:
        """Set an account's position mode, also while it has positions: `dual` is hedge mode."""
        dual = bool(content["dual"])
        self._desk.journal.set_mode(self._account(content), dual=dual)
        return {"dual": dual}

    # -- the market ----------------------------------------------------------------------------------------------------

    def price(self, content: Content) -> Json:
        """Play a `price` of a `symbol` now (`mark`, `last`, `bid` and `ask` may differ); `hold` it until released."""
        symbol = self._symbol(content)
        usual = Decimal(str(content["price"])) if "price" in content else None
        found = {name: content.get(name, usual) for name in ("mark", "last", "bid", "ask")}
        missing = [name for name, value in found.items() if value is None]
        if missing:
            raise ValueError(f"price, or else {', '.join(missing)}, is missing")
        numbers = {name: Decimal(str(value)) for name, value in found.items()}
        if any(number <= 0 for number in numbers.values()):
            raise ValueError("a price is above zero")
        quote = Quote(
            at=self._desk.clock.now(),
            mark=numbers["mark"],
            last=numbers["last"],
            bid=numbers["bid"],
            ask=numbers["ask"],
        )
        self._player.push(symbol, quote, hold=bool(content.get("hold")))
        return _prices(self._desk.quote(symbol))

    def release_price(self, content: Content) -> Json:
        """Let the source of a `symbol` (or of all) be heard again."""
        for symbol in [self._symbol(content)] if "symbol" in content else list(self._player.held):
            self._player.held.pop(symbol, None)
        return {"held": sorted(self._player.held)}

    def market(self, content: Content) -> Json:
        """Stop the market, or let it go on (`playing`)."""
        self._player.playing = bool(content["playing"])
        return {"playing": self._player.playing}

    # -- what happens to accounts --------------------------------------------------------------------------------------

    def close_by_exchange(self, what: str, content: Content) -> Json:
        """Auto-deleveraging or settlement of a position: all of it, or a `quantity`."""
        account, symbol = self._account(content), self._symbol(content)
        name, cause = _EVENTS[what]
        held = {holding.symbol: holding.quantity for holding in self._desk.core.state(account).holdings}.get(
            symbol, ZERO
        )
        quantity = min(abs(held), Decimal(str(content.get("quantity", abs(held)))))
        if not quantity:
            raise ValueError(f"{account} holds nothing of {symbol}")
        side = OrderSide.SELL if held > 0 else OrderSide.BUY
        client_order_id = name.format(milliseconds(self._desk.clock.now()))
        return self._told(self._desk.core.trade_as(account, symbol, side, quantity, client_order_id, cause=cause))

    def liquidate(self, content: Content) -> Json:
        """Liquidate an account."""
        rows = self._desk.core.liquidate(self._account(content), self._desk.clock.now())
        return {"orders": [self._told(row) for row in rows]}

    def fund(self, content: Content) -> Json:
        """Pay funding to an account (`amount` below zero: it pays)."""
        account, now = self._account(content), self._desk.clock.now()
        self._desk.core.pay_funding(account, self._symbol(content), Decimal(str(content["amount"])), now)
        self._streams.funded(account, now)
        return {"balance": text(self._desk.journal.wallet(account).balance)}

    def order(self, content: Content) -> Json:
        """An order by the account's owner: `type` (MARKET), `side`, `quantity` and Binance's other parameters."""
        account = self._account(content)
        parameters = {"type": "MARKET", "newOrderRespType": "RESULT", "algoType": "CONDITIONAL"}
        name = f"web_{time.monotonic_ns():x}"
        parameters |= {"newClientOrderId": name, "clientAlgoId": name}
        given = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in content.items()}
        parameters |= {**given, "symbol": self._desk_symbol(content), "side": str(content["side"]).upper()}
        conditional = parameters["type"] not in ("MARKET", "LIMIT")
        request = self._request(account, parameters)
        return self._orders.new_algo(request) if conditional else self._orders.new_order(request)

    def cancel(self, content: Content) -> Json:
        """Cancel an order by its `client_order_id`, as the account's owner; in whichever class it is open."""
        account, symbol = self._account(content), self._symbol(content)
        for trigger in (False, True):
            for row in self._desk.reading.open(account, symbol, trigger=trigger):
                if row.client_order_id == content["client_order_id"]:
                    return self._told(self._desk.core.end(row, self._desk.clock.now()))
        raise ValueError(f"no order {content['client_order_id']} is open")

    # -- how -----------------------------------------------------------------------------------------------------------

    def _partial_fill(self, order: OrderRow) -> Partial | None:
        rule = self._faults.take_fill(order.account, order.symbol, self._name(order))
        if rule is None or rule.fill is None:
            return None
        if isinstance(rule.rest, str):
            return Partial(rule.fill, ends=rule.rest == "never")
        return Partial(rule.fill, due_at=self._desk.clock.now() + int(rule.rest * _MICROS_PER_SECOND))

    def _name(self, order: OrderRow) -> str:
        """The client id its owner knows an order by: that of the conditional order it came from, if it did."""
        parent = self._desk.journal.parent(order.id)
        return self._desk.core.tables.order(parent).client_order_id if parent else order.client_order_id

    def _told(self, row: OrderRow) -> Json:
        conditional = row.kind is OrderKind.STOP_MARKET
        return self._desk.reading.algo(row) if conditional else self._desk.reading.order(row)

    def _request(self, account: str, parameters: Mapping[str, str]) -> Request:
        now: Micros = self._desk.clock.now()
        return Request(method="POST", path="/paper/order", parameters=parameters, account=account, now=now)

    def _account(self, content: Content) -> str:
        accounts = [key.account for key in self._desk.settings.keys]
        if content["account"] not in accounts:
            raise ValueError(f"account is one of {', '.join(accounts)}")
        return str(content["account"])

    def _symbol(self, content: Content) -> str:
        return self._symbol_of(str(content["symbol"]))

    def _symbol_of(self, name: str) -> str:
        instruments: Mapping[str, Instrument] = self._desk.core.instruments
        return name if name in instruments else self._desk.symbol_of(name)

    def _desk_symbol(self, content: Content) -> str:
        wanted = self._symbol(content)
        return next(name for name, symbol in self._desk.symbols.items() if symbol == wanted)

    def _check_host(self, scope: Scope) -> None:
        host = dict(scope["headers"]).get(b"host", b"").decode()
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            raise ValueError("the control surface is for this machine only")


def _prices(quote: Quote) -> Json:
    numbers = {"mark": quote.mark, "last": quote.last, "bid": quote.bid, "ask": quote.ask}
    return {"at": milliseconds(quote.at), **{name: text(number or ZERO) for name, number in numbers.items()}}
