"""What every loopback stand-in shares: a server on a free port, the calls it saw, faults on demand, and sockets.

A stand-in runs on a thread of its own, ends with its test, and reaches nothing but this machine's loopback.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web

from tests.contract.standins.market import Market, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as it came in. Header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    text: str
    raw_query: str
    body: Any

    @property
    def action(self) -> str:
        """What an `/exchange` or `/info` request is about; empty elsewhere."""
        if not isinstance(self.body, dict):
            return ""
        action = self.body.get("action", self.body)
        return str(action.get("type", "")) if isinstance(action, dict) else ""


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with the next `times` calls that match. With `after` the call takes effect first.

    `body` answers instead (None: the connection is cut). `edit` changes the true answer's text instead. Either comes
    after `delay_seconds`.
    """

    match: Callable[[Call], bool]
    times: int = 1
    after: bool = False
    status: int = 200
    body: str | None = None
    content_type: str = "application/json"
    edit: Callable[[str], str] | None = None
    delay_seconds: float = 0.0
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a stand-in answers."""

    body: Any
    status: int = 200


@dataclass(slots=True)
class Socket:
    """One stream and what it subscribed to."""

    web: web.WebSocketResponse
    topics: set[str] = field(default_factory=set)


class Standin:
    """A server on a loopback port. A subclass answers calls and says what a stream is told."""

    def __init__(self, market: Market | None = None) -> None:
        self.market = market or Market()
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.complaints: list[str] = []
        self.sockets: list[Socket] = []
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._done: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self.market.changed.append(self._changed)

    # -- for a subclass ------------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Reply:
        """What a call is answered."""
        raise NotImplementedError

    def heard(self, socket: Socket, message: Any) -> list[Any]:
        """What a stream's message is answered with."""
        raise NotImplementedError

    def told(self, socket: Socket, order: Order | None) -> list[Any]:
        """What a stream is told about an order that changed; None: prices changed."""
        raise NotImplementedError

    # -- life ----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        assert self._ready.wait(10), "the stand-in did not start"
        return self

    def __exit__(self, *_: object) -> None:
        done = self._done
        if done is not None and self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(done.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the stand-in did not end"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        """Where its streams are."""
        return f"ws://127.0.0.1:{self.port}"

    def seen(self, part: str) -> list[Call]:
        """The calls whose path or action contains this."""
        return [call for call in list(self.calls) if part in call.path or part == call.action]

    def fail(self, part: str | Callable[[Call], bool], **changes: Any) -> Fault:
        """The next call goes wrong whose path or action contains this, or of which this is true."""
        match = part if callable(part) else lambda call: part in call.path or part == call.action
        fault = Fault(match=match, **changes)
        self.faults.append(fault)
        return fault

    def break_streams(self) -> None:
        """Cut every stream."""

        async def cut() -> None:
            for socket in list(self.sockets):
                await socket.web.close()

        assert self._loop is not None, "it has not begun"
        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        for socket in list(self.sockets):
            await socket.web.close()
        await runner.cleanup()

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._stream(request)
        text = await request.text()
        body: Any = None
        with contextlib.suppress(ValueError):
            body = json.loads(text) if text else None
        call = Call(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            text=text,
            raw_query=request.rel_url.raw_query_string,
            body=body,
        )
        self.calls.append(call)
        fault = next((fault for fault in self.faults if fault.seen < fault.times and fault.match(call)), None)
        if fault is None:
            reply = self._answer(call)
            return web.Response(text=json.dumps(reply.body), status=reply.status, content_type="application/json")
        fault.seen += 1
        reply = self._answer(call) if fault.after or fault.edit is not None else Reply(None)
        await asyncio.sleep(fault.delay_seconds)
        if fault.edit is None:
            return self._broken(request, fault)
        answer = fault.edit(json.dumps(reply.body))
        return web.Response(text=answer, status=reply.status, content_type="application/json")

    def _answer(self, call: Call) -> Reply:
        try:
            return self.answer(call)
        except Exception as error:
            # A stand-in that stumbles must fail its test, not look like a fault of the exchange.
            self.complaints.append(f"{call.method} {call.path} {call.text}: {error!r}")
            raise

    @staticmethod
    def _broken(request: web.Request, fault: Fault) -> web.Response:
        if fault.body is None:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text=fault.body or "", status=fault.status, content_type=fault.content_type)

    # -- streams -------------------------------------------------------------------------------------------------------

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        socket = Socket(response, {request.path})
        self.sockets.append(socket)
        try:
            async for message in response:
                if message.type is not WSMsgType.TEXT:
                    continue
                if message.data == "ping":
                    await response.send_str("pong")
                    continue
                for reply in self.heard(socket, json.loads(message.data)):
                    await response.send_str(json.dumps(reply))
        finally:
            self.sockets.remove(socket)
        return response

    def _changed(self, order: Order | None) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._spread, order)

    def _spread(self, order: Order | None) -> None:
        for socket in list(self.sockets):
            for message in self.told(socket, order):
                task = asyncio.get_running_loop().create_task(self._say(socket, json.dumps(message)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _say(socket: Socket, text: str) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.web.send_str(text)
