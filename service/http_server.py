"""Serves the application on a thread of its own, so that the main thread stays free for signals."""

import errno
import socket
import threading
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from service.event_hub import EventHub

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


class CannotListen(Exception):
    """The address cannot be listened on; the message says what to do."""


class HttpServer:
    """One listening socket and the thread behind it. Port 0 asks for any free one."""

    def __init__(self, app: ASGIApp, host: str, port: int, events: EventHub | None = None) -> None:
        self._app = app
        self._host = host
        self._wanted_port = port
        self._events = events
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.port = port

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen; the socket is bound when this returns. Raises CannotListen."""
        listener = self._bind()
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        self._server = server
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what is under way, end the streams, and stop."""
        if self._server is None or self._thread is None:
            return
        if self._events is not None:
            self._events.close()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._server = None

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._wanted_port), family=family, backlog=512)
        except OSError as error:
            where = f"{self._host}:{self._wanted_port}"
            if error.errno == errno.EADDRINUSE:
                message = (
                    f"{where} is taken: another program listens there, perhaps another exitkeeper; stop it, or "
                    "choose a port with EXITKEEPER_HTTP__PORT or [http] port"
                )
            else:
                message = f"cannot listen on {where} ({error.strerror}); correct [http] host and port"
            raise CannotListen(message) from error
