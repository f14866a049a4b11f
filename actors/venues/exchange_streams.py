"""The websockets of the exchange server: market streams, by subscription or by address, and each account's own.

Served under every path that Binance has or had: `/ws`, `/stream`, and both below `/public`, `/market` and `/private`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import Json
from actors.venues.exchange_messages import MarketMessages, UserMessages
from actors.venues.exchange_settings import market_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WHICH: Final = ("all", "user", "market")
_MOST_WAITING: Final = 10_000
_EVERY_SECOND: Final = ("markPrice",)
_ARRAYS: Final = {"!markPrice@arr": "markPrice", "!ticker@arr": "ticker", "!miniTicker@arr": "miniTicker"}


@dataclass(eq=False, slots=True)
class Listener:
    """One connection: what it listens to, and what waits to be sent. `account` is "" on a market stream."""

    transport: asyncio.Transport
    wrapped: bool
    account: str = ""
    key: str = ""
    streams: dict[str, None] = field(default_factory=dict)
    waiting: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))

    @property
    def kind(self) -> str:
        """Whether it is a `user` stream or a `market` stream."""
        return "user" if self.key else "market"

    def tell(self, message: object, stream: str = "") -> None:
        """Send a message; a listener that does not read is cut off, as at Binance."""
        content = {"stream": stream, "data": message} if self.wrapped and stream else message
        try:
            self.waiting.put_nowait(orjson.dumps(content))
        except asyncio.QueueFull:
            self.transport.abort()


class Streams:
    """All connections, and what is told to them. Lives on the server's event loop alone."""

    def __init__(self, desk: ExchangeDesk, market: MarketMessages, user: UserMessages) -> None:
        self._desk = desk
        self._market = market
        self._user = user
        self._listeners: set[Listener] = set()
        self._told = desk.journal.newest()
        self._silent_until: dict[str, float] = {}

    # -- what is told --------------------------------------------------------------------------------------------------

    def price(self, symbol: str) -> None:
        """A price has been played."""
        quote = self._desk.core.quote(symbol)
        if quote is not None:
            self._market.played(symbol, quote)
            self._say(symbol, ())

    def second(self) -> None:
        """A second has passed: some prices are told again, changed or not, and old listen keys end."""
        for symbol in self._desk.core.instruments:
            self._say(symbol, _EVERY_SECOND)
        for stream, kind in _ARRAYS.items():
            hearing = [one for one in self._heard("market") if stream in {name[: len(stream)] for name in one.streams}]
            if hearing:
                array = [self._market.say(symbol, kind) for symbol in self._desk.core.instruments]
                for listener in hearing:
                    listener.tell([message for message in array if message], stream)
        now = self._desk.clock.now()
        for key, _, expires_at in self._desk.journal.listen_keys():
            if expires_at <= now:
                self.expire(key)

    def history(self) -> None:
        """Tell every account what has happened to its orders since the last time."""
        for event in self._desk.journal.after(self._told):
            self._told = event.id
            for account, message in self._user.of(event):
                self._tell_account(account, message)

    def funded(self, account: str, at: int) -> None:
        """Funding has been paid."""
        self._tell_account(account, self._user.account(account, at, "FUNDING_FEE"))

    def expire(self, key: str) -> None:
        """A listen key is good no more: its streams are told, and closed."""
        self._desk.journal.drop_listen_key(key)
        for listener in list(self._listeners):
            if listener.key == key:
                listener.tell(self._user.expired(key))
                listener.waiting.put_nowait(None)

    # -- faults --------------------------------------------------------------------------------------------------------

    def drop(self, which: str) -> int:
        """Cut connections; how many there were."""
        dropped = [one for one in self._listeners if which in ("all", one.kind)]
        for listener in dropped:
            listener.transport.abort()
        return len(dropped)

    def silence(self, which: str, seconds: float) -> None:
        """Stay connected, and say nothing for so long: what would have been said is lost."""
        until = asyncio.get_running_loop().time() + seconds
        for kind in ("user", "market") if which == "all" else (which,):
            self._silent_until[kind] = until

    # -- connections ---------------------------------------------------------------------------------------------------

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from its beginning to its end."""
        await receive()
        listener = self._admitted(scope)
        if listener is None:
            await send({"type": "websocket.close", "code": 1008})
            return
        await send({"type": "websocket.accept"})
        self._listeners.add(listener)
        sending = asyncio.create_task(_send_all(listener, send))
        hearing = asyncio.create_task(self._hear(listener, receive))
        try:
            await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not hearing.done():
                with suppress(Exception):
                    await send({"type": "websocket.close", "code": 1000})
        finally:
            self._listeners.discard(listener)
            sending.cancel()
            hearing.cancel()
            await asyncio.gather(sending, hearing, return_exceptions=True)

    def _admitted(self, scope: Scope) -> Listener | None:
        """Who connects, by the address; None is refused."""
        parts = [part for part in scope["path"].split("/") if part and part not in ("public", "market", "private")]
        query = parse_qs(scope["query_string"].decode())
        if not parts or parts[0] not in ("ws", "stream"):
            return None
        names = [name for value in query.get("streams", ()) for name in value.split("/")] + parts[1:]
        keys = {key: account for key, account, _ in self._desk.journal.listen_keys()}
        listener = Listener(scope["state"]["connection"].transport, parts[0] == "stream")
        for name in (*query.get("listenKey", ()), *names):
            if name in keys:
                listener.account, listener.key = keys[name], name
        if query.get("listenKey") and not listener.key:
            return None
        # ccxt numbers its connections: `/ws/0` names no stream.
        listener.streams.update(dict.fromkeys(name for name in names if "@" in name or name.startswith("!")))
        return listener

    async def _hear(self, listener: Listener, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            listener.tell(self._answer(listener, message.get("text") or (message.get("bytes") or b"").decode()))

    def _answer(self, listener: Listener, said: str) -> Json:
        try:
            request = json.loads(said)
            number, method, names = request.get("id"), request["method"], request.get("params", [])
        except (ValueError, KeyError, AttributeError):
            return {"error": {"code": 2, "msg": "Invalid request: it is not a request"}, "id": None}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(listener.streams), "id": number}
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return {"error": {"code": 2, "msg": "Invalid request: unknown method"}, "id": number}
        for name in names:
            if method == "SUBSCRIBE":
                listener.streams[name] = None
            else:
                listener.streams.pop(name, None)
        if method == "SUBSCRIBE":
            self._greet(listener, names)
        return {"result": None, "id": number}

    def _greet(self, listener: Listener, names: Iterable[str]) -> None:
        """Whoever begins to listen is told the present price at once: the next one may be long in coming."""
        asyncio.get_running_loop().call_soon(self._say_to, listener, list(names))

    # -- saying --------------------------------------------------------------------------------------------------------

    def _heard(self, kind: str) -> list[Listener]:
        """Who hears anything now."""
        if asyncio.get_running_loop().time() < self._silent_until.get(kind, 0):
            return []
        return [one for one in self._listeners if kind in ("market", one.kind)]

    def _tell_account(self, account: str, message: Json) -> None:
        for listener in self._heard("user"):
            if listener.account == account:
                listener.tell(message, listener.key)

    def _say(self, symbol: str, kinds: tuple[str, ...]) -> None:
        """Tell a symbol's present price to all who listen (only some kinds, where any are named)."""
        prefix = f"{market_id(symbol).lower()}@"
        said: dict[str, Json | None] = {}
        for listener in self._heard("market"):
            for stream in listener.streams:
                kind = stream.removeprefix(prefix).partition("@")[0]
                if not stream.startswith(prefix) or (kinds and kind not in kinds):
                    continue
                if kind not in said:
                    said[kind] = self._market.say(symbol, kind)
                if said[kind] is not None:
                    listener.tell(said[kind], stream)

    def _say_to(self, listener: Listener, names: list[str]) -> None:
        if listener not in self._heard("market"):
            return
        for stream in names:
            name, _, kind = stream.partition("@")
            symbol = self._desk.symbols.get(name.upper())
            message = self._market.say(symbol, kind.partition("@")[0]) if symbol else None
            if message is not None:
                listener.tell(message, stream)


async def _send_all(listener: Listener, send: Send) -> None:
    while (message := await listener.waiting.get()) is not None:
        await send({"type": "websocket.send", "text": message.decode()})
