"""Binance's websocket API (`/ws-fapi/v1`): the REST endpoints under other names, many requests on one connection.

A request is signed over its parameters in alphabetical order. Requests meet the same faults as those over REST.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from actors.venues.exchange_app import Cut, ExchangeApp, Sent
from actors.venues.exchange_streams import Receive, Scope, Send

METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "ping": ("GET", "/fapi/v1/ping"),
    "time": ("GET", "/fapi/v1/time"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v1/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "order.place": ("POST", "/fapi/v1/order"),
    "order.test": ("POST", "/fapi/v1/order/test"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}


class SocketApi:
    """An application of its own, in front of the REST one."""

    def __init__(self, app: ExchangeApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from its beginning to its end."""
        if scope["type"] != "websocket":
            await self._app.refuse(send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        answering: set[asyncio.Task[None]] = set()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                said = message.get("text") or (message.get("bytes") or b"").decode()
                task = asyncio.create_task(self._answer(scope, said, send))
                answering.add(task)
                task.add_done_callback(answering.discard)
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)

    async def _answer(self, scope: Scope, said: str, send: Send) -> None:
        try:
            request = json.loads(said)
            number, found = request.get("id"), METHODS.get(request.get("method"))
            parameters = {name: _plain(value) for name, value in (request.get("params") or {}).items()}
        except (ValueError, AttributeError):
            number, found, parameters = None, None, {}
        if found is None:
            error = {"code": -1000, "msg": "Invalid request."}
            await _tell(send, {"id": number, "status": 400, "error": error})
            return
        sent = Sent(
            method=found[0],
            path=found[1],
            query=_signed_text(parameters),
            body="",
            key=parameters.get("apiKey", ""),
            address=(scope.get("client") or ("",))[0],
        )
        rule = self._app.rule_for(sent)
        try:
            answer = await self._app.answer(sent, rule)
        except Cut:
            scope["state"]["connection"].transport.abort()
            return
        if answer.kind != "application/json" or (rule is not None and rule.truncate is not None):
            cut = None if rule is None else rule.truncate
            await send({"type": "websocket.send", "text": answer.content[:cut].decode(errors="replace")})
            return
        name = "result" if answer.status == 200 else "error"
        await _tell(send, {"id": number, "status": answer.status, name: orjson.loads(answer.content)})


def _signed_text(parameters: Mapping[str, str]) -> str:
    names = sorted(name for name in parameters if name != "signature")
    signed = "&".join(f"{name}={parameters[name]}" for name in names)
    return f"{signed}&signature={parameters['signature']}" if "signature" in parameters else signed


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _tell(send: Send, content: Mapping[str, Any]) -> None:
    await send({"type": "websocket.send", "text": orjson.dumps(content).decode()})
