"""The exchange server as an ASGI application: every request meets its limits, its faults, its checks and its answer.

A request meets a fault here and not in the journal, so what the journal says is always true.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_faults import ExchangeFaults, ExchangeRule, Subject
from actors.venues.exchange_limits import Meter, TooMany
from actors.venues.exchange_requests import (
    Endpoint,
    Request,
    Routes,
    Security,
    check_signature,
    check_time,
    parameters_of,
)
from actors.venues.exchange_streams import Receive, Scope, Send, Streams
from actors.venues.paper_past import taken_back

_log = structlog.get_logger(__name__)

_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_BUSY: Final = "Unknown error, please check your request or try again later."
_SECRET: Final = ("signature",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it came."""

    method: str
    path: str
    query: str
    body: str
    key: str
    address: str

    @property
    def parameters(self) -> Mapping[str, str]:
        """All parameters, wherever they were sent."""
        return parameters_of(self.query, self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    content: bytes
    headers: Mapping[str, str]
    kind: str = "application/json"


class Cut(Exception):
    """The connection is to be cut instead of an answer."""


class ExchangeApp:
    """Answers Binance's REST dialect; its websockets are the Streams'."""

    def __init__(self, desk: ExchangeDesk, routes: Routes, faults: ExchangeFaults, streams: Streams) -> None:
        self._desk = desk
        self._routes = routes
        self._faults = faults
        self._streams = streams
        self._meter = Meter(desk.settings.rates)
        # Other applications on the same server, by how their paths begin.
        self.others: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or one websocket."""
        for prefix, other in self.others.items():
            if scope["type"] in ("http", "websocket") and scope["path"].startswith(prefix):
                await other(scope, receive, send)
                return
        if scope["type"] == "websocket":
            await self._streams.serve(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        sent = Sent(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode(),
            body=(await read_body(receive)).decode(),
            key=headers.get("x-mbx-apikey", ""),
            address=(scope.get("client") or ("",))[0],
        )
        rule = self.rule_for(sent)
        try:
            answer = await self.answer(sent, rule)
        except Cut:
            scope["state"]["connection"].transport.abort()
            await gone(receive)
            return
        truncate = None if rule is None else rule.truncate
        await respond(send, answer, truncate)
        if truncate is not None:
            scope["state"]["connection"].transport.close()
            await gone(receive)

    def rule_for(self, sent: Sent) -> ExchangeRule | None:
        """The fault that befalls a request, if one does."""
        return self._faults.take(self._subject(sent))

    async def refuse(self, send: Send) -> None:
        """There is nothing here."""
        await respond(send, _error(BinanceError(-1099, message="Path not found.", status=404), {}))

    async def answer(self, sent: Sent, rule: ExchangeRule | None = None) -> Answer:
        """The answer to a request. Raises Cut where a fault cuts the connection."""
        if rule is None:
            return self._answer(sent)
        _log.info("exchange.fault", on=f"{sent.method} {sent.path}", fault=rule.said())
        await asyncio.sleep(rule.hang_before)
        if rule.drop_before:
            raise Cut
        answer: Answer | None = None
        if rule.executed or not (rule.html or rule.code is not None):
            answer = self._answer(sent, behind=rule.behind_executions)
        await asyncio.sleep(rule.hang_after)
        if rule.drop_after:
            raise Cut
        if rule.html:
            return Answer(status=rule.status or 200, content=_HTML, headers={}, kind="text/html")
        if rule.code is not None:
            message = rule.message or (_BUSY if rule.status == 503 else None)
            error = BinanceError(rule.code, "", message=message, status=rule.status)
            retry = {} if rule.retry_after is None else {"Retry-After": f"{rule.retry_after:g}"}
            return _error(error, retry)
        assert answer is not None  # noqa: S101 - only html and code go without one.
        return answer

    def _subject(self, sent: Sent) -> Subject:
        parameters = sent.parameters
        key = self._desk.keys.get(sent.key)
        names = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
        name = parameters.get("symbol", "")
        return Subject(
            method=sent.method,
            path=sent.path,
            account=key.account if key else "",
            symbol=self._desk.symbols.get(name, name),
            client_order_ids=frozenset(parameters[name] for name in names if name in parameters),
        )

    def _answer(self, sent: Sent, *, behind: int = 0) -> Answer:
        headers: dict[str, str] = {}
        try:
            endpoint = self._routes.get((sent.method, sent.path))
            if endpoint is None:
                return _error(BinanceError(-1099, message="Path not found.", status=404), headers)
            headers |= self._meter.count(sent.address, endpoint, self._desk.clock.now())
            request = self._believed(sent, endpoint)
            headers |= self._meter.count_orders(request.account, endpoint, request.now)
            return Answer(status=200, content=self._handled(request, endpoint, behind), headers=headers)
        except TooMany as error:
            return _error(error, {**headers, "Retry-After": str(error.retry_after)})
        except BinanceError as error:
            return _error(error, headers)
        except Exception:  # noqa: BLE001  Whatever it is: like Binance, it is told as an unknown outcome, and logged.
            _log.exception("exchange.failed", request=f"{sent.method} {sent.path}")
            return _error(BinanceError(-1000, message=_BUSY, status=503), headers)
        finally:
            self._desk.changed()

    def _believed(self, sent: Sent, endpoint: Endpoint) -> Request:
        now, parameters, account = self._desk.clock.now(), sent.parameters, ""
        if endpoint.security is not Security.NONE:
            key = self._desk.account(sent.key)
            account = key.account
            if endpoint.security is Security.SIGNED:
                check_time(parameters, now)
                check_signature(sent.query, sent.body, parameters, key.secret)
        return Request(method=sent.method, path=sent.path, parameters=parameters, account=account, now=now)

    def _handled(self, request: Request, endpoint: Endpoint, behind: int) -> bytes:
        """Answer, and journal what may change something: before it does, and what was answered."""
        if behind:
            return self._seen_late(request, endpoint, behind)
        if not endpoint.changes:
            return _json(endpoint.handle(request))
        shown = {name: value for name, value in request.parameters.items() if name not in _SECRET}
        ids = (shown.get(name) for name in ("newClientOrderId", "origClientOrderId", "clientAlgoId"))
        number = self._desk.journal.arrived(
            request.now,
            request.account,
            f"{request.method} {request.path}",
            next((chosen for chosen in ids if chosen), ""),
            orjson.dumps(shown).decode(),
        )
        said = "failed"
        try:
            content = _json(endpoint.handle(request))
            said = content.decode()
        except BinanceError as error:
            said = str(error)
            raise
        finally:
            self._desk.journal.answered(number, self._desk.clock.now(), said)
        return content

    def _seen_late(self, request: Request, endpoint: Endpoint, behind: int) -> bytes:
        """What a replica tells that has not heard of the latest executions."""
        tables = self._desk.core.tables
        with tables.snapshot(), taken_back(tables, request.account, self._desk.symbol(request), behind):
            return _json(endpoint.handle(request))


# -- the way in and the way back ---------------------------------------------------------------------------------------


async def read_body(receive: Receive) -> bytes:
    """A request's whole body."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)


async def respond(send: Send, answer: Answer, truncate: int | None = None) -> None:
    """Send an answer; a truncated one promises more than it sends, and its connection is to be closed."""
    headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.content)), **answer.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    body = answer.content if truncate is None else answer.content[:truncate]
    await send({"type": "http.response.body", "body": body, "more_body": truncate is not None})


async def gone(receive: Receive) -> None:
    """Wait until the server has seen that a connection has ended: it answers by itself where nobody did."""
    with suppress(asyncio.TimeoutError):
        async with asyncio.timeout(1):
            while (await receive())["type"] != "http.disconnect":
                pass


def _json(content: object) -> bytes:
    written: bytes = orjson.dumps(content)
    return written


def _error(error: BinanceError, headers: Mapping[str, str]) -> Answer:
    content = orjson.dumps({"code": error.code, "msg": error.message})
    return Answer(status=error.status, content=content, headers=headers)
