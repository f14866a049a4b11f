"""The paper exchange server: the paper matching core behind Binance USDⓈ-M's REST and websocket dialect, on loopback.

It is served from one event loop, whose thread is the only user of the journal. An order's answer leaves after its
transaction is on disk, so a server that is killed has lost nothing that it answered; started again, its market goes on
where its journal says.
"""

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from actors.venues.exchange_accounts import Accounts
from actors.venues.exchange_app import ExchangeApp
from actors.venues.exchange_control import Control
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_faults import ExchangeFaults
from actors.venues.exchange_market import PublicMarket
from actors.venues.exchange_messages import MarketMessages, UserMessages
from actors.venues.exchange_orders import Orders
from actors.venues.exchange_player import Player
from actors.venues.exchange_settings import ExchangeSettings
from actors.venues.exchange_sockets import SocketApi
from actors.venues.exchange_streams import Streams

_STOP_SECONDS: Final = 10.0
_MILLISECOND: Final = 0.001


class CannotServe(Exception):
    """The address cannot be listened on; the message says what to do."""


class _Connection(H11Protocol):
    """Lets the application reach the connection of a request, because some faults are cuts."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would raise them again at its end, before the journal is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """No signal is captured."""
        yield


class ExchangeServer:
    """One exchange server. `start` runs it on a thread of its own, `run` on this one."""

    def __init__(self, settings: ExchangeSettings, lock: object = None) -> None:
        """Bind the socket. `lock` is held for as long as the server is. Raises CannotServe."""
        self.settings = settings
        self._lock = lock
        self._listener = _bind(settings)
        self.port: int = self._listener.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def endpoint(self) -> str:
        """Where it can be reached."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Serve on a thread of its own. Raises whatever keeps it from beginning."""
        self._thread = threading.Thread(target=self._run_aside, name="exchange", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop serving; everything answered is in the journal."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def run(self) -> None:
        """Serve on this thread until SIGTERM or SIGINT asks for the end. Raises whatever keeps it from beginning."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            del number, frame
            if self._server is not None:
                self._server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        asyncio.run(self._serve())

    def _run_aside(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  It is raised again where somebody waits for the start.
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        desk = ExchangeDesk(self.settings)
        try:
            public, faults = PublicMarket(desk), ExchangeFaults()
            streams = Streams(desk, MarketMessages(desk, public), UserMessages(desk))
            desk.changed = streams.history

            def played(symbol: str) -> None:
                streams.history()
                streams.price(symbol)

            player = Player(desk, played)
            orders = Orders(desk)
            routes = {**public.routes(), **orders.routes(), **Accounts(desk).routes()}
            app = ExchangeApp(desk, routes, faults, streams)
            app.others["/paper/"] = Control(desk, faults, streams, player, orders)
            app.others["/ws-fapi/"] = SocketApi(app)
            playing = [asyncio.create_task(player.run()), asyncio.create_task(_every_second(streams))]
            try:
                await self._listen(app)
            finally:
                for task in playing:
                    task.cancel()
                await asyncio.gather(*playing, return_exceptions=True)
                player.close()
        finally:
            desk.close()

    async def _listen(self, app: ExchangeApp) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=_Connection,
            ws="websockets-sansio",
            server_header=False,
            # A client's pool must not find its connection closed just as it sends an order.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(_MILLISECOND)
        self._ready.set()
        await serving


async def _every_second(streams: Streams) -> None:
    while True:
        await asyncio.sleep(1)
        streams.second()


def _bind(settings: ExchangeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            message = f"{where} is taken: another program listens there; stop it, or choose another with --port"
        else:
            message = f"cannot listen on {where} ({error.strerror}); correct the host and the port"
        raise CannotServe(message) from error
