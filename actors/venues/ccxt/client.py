"""The ccxt.pro object of one account, bound to rules of ours: the only module that imports ccxt.

It signs with the time of the request in hand, asks our budget rather than ccxt's queue, hands every reply over unjudged
(ccxt's error classes depend on the host name), knows whether a request may have left, and gives each websocket message
to the dialect the moment it arrives: between two calls of a `watch_…` method messages would be lost.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actors.domain.model import Micros
from actors.venues.ccxt.budget import Budget, Priority
from actors.venues.ccxt.dialect import Dialect
from actors.venues.ccxt.errors import NoAnswer, NotSent, RestError, scrub
from actors.venues.ccxt.settings import CcxtSettings

RETRY_AFTER_SECONDS = 10.0
TOO_MANY_REQUESTS = 429
BANNED = 418
BROKEN = "exitkeeper:broken"

# The class of ccxt this is mixed into is known only when an account names it.
if TYPE_CHECKING:
    from typing import Any as _Base
else:
    _Base = object


class LiveExtraMissing(RuntimeError):
    """ccxt is not installed."""


@dataclass(slots=True)
class Call:
    """The request a task is working on. Without `signed_at` it is signed with the present time."""

    priority: Priority
    queue_seconds: float
    signed_at: Micros | None = None
    expires_after_seconds: float = 0.0
    left: bool = False


CALL: ContextVar[Call | None] = ContextVar("call", default=None)
STREAM: ContextVar[str] = ContextVar("stream", default="")


@contextmanager
def calling(call: Call) -> Iterator[Call]:
    """What this task now sends belongs to `call`."""
    token = CALL.set(call)
    try:
        yield call
    finally:
        CALL.reset(token)


class Wires:
    """What the exchange object needs of its surroundings: the time, the budget, and who takes messages."""

    def __init__(self, settings: CcxtSettings, now: Callable[[], Micros], budget: Budget) -> None:
        """`now` is this machine's wall time; `offset` is added to it and is measured elsewhere."""
        self.settings = settings
        self.now = now
        self.budget = budget
        self.offset: Micros = 0
        self.on_message: Callable[[str, Any], bool] = lambda _stream, _message: False

    def milliseconds(self) -> int:
        """The exchange's clock at the moment the request in hand was decided, or now."""
        call = CALL.get()
        at = self.now() if call is None or call.signed_at is None else call.signed_at
        return (at + self.offset) // 1000

    def scrubbed(self, error: object) -> str:
        """Words of an error that may be shown."""
        return scrub(str(error), self.settings.secrets)


def exchange_class(name: str) -> Any:
    """ccxt.pro's class of an exchange; a clear error where ccxt is missing."""
    try:
        pro = import_module("ccxt.pro")
    except ImportError as error:
        message = f"the venue {name} needs ccxt, which is not installed: pip install exitkeeper[live]"
        raise LiveExtraMissing(message) from error
    return getattr(pro, name)


def open_exchange(dialect: type[Dialect], wires: Wires) -> Any:
    """The bound exchange object. To be called on the loop it will live on."""
    settings = wires.settings
    bound = _bound(exchange_class(dialect.exchange_id), dialect, wires)
    exchange = bound(
        {
            "apiKey": settings.api_key,
            "secret": settings.secret,
            "password": settings.password,
            "walletAddress": settings.wallet_address,
            "privateKey": settings.private_key,
            "enableRateLimit": False,
            "timeout": int(settings.request_timeout_seconds * 1000),
            "asyncio_loop": asyncio.get_running_loop(),
            **dialect.config(settings),
        }
    )
    # ccxt writes whole requests, signature included, to its logger.
    exchange.logger = logging.Logger("ccxt", level=logging.CRITICAL + 1)
    exchange.verbose = False
    exchange.timeout_on_exit = 0
    if settings.demo:
        dialect.use_demo(exchange)
    if settings.endpoint is not None:
        dialect.point_at(exchange.urls, settings.endpoint)
    return exchange


def _never_left(error: BaseException | None) -> bool:
    """Whether the connection was never made (refused, no such host). A connection that broke proves nothing."""
    while error is not None:
        if type(error).__name__ in ("ClientConnectorError", "ClientConnectorDNSError", "gaierror"):
            return True
        error = error.__cause__
    return False


class Rules(_Base):  # type: ignore[misc]
    """What is ours in the exchange object; mixed in before ccxt's own class."""

    wires: Wires
    dialect: type[Dialect]
    stream_of: dict[str, str]

    def milliseconds(self) -> int:
        """What ccxt signs with."""
        return self.wires.milliseconds()

    async def request(
        self, path: Any, api: Any = "public", method: Any = "GET", params: Any = None, config: Any = None
    ) -> Any:
        """Ask for the budget, then send; what failed on the way is told by whether it may have left."""
        params, config = params or {}, config or {}
        call = CALL.get()
        weight = self.calculate_rate_limiter_cost(api, method, path, params, config) * self.dialect.weight_per_cost
        priority = Priority.BACKGROUND if call is None else call.priority
        queue_seconds = self.wires.settings.queue_timeout_seconds if call is None else call.queue_seconds
        await self.wires.budget.take(weight, priority, queue_seconds)
        try:
            return await super().request(path, api, method, params, config)
        except (RestError, NotSent, NoAnswer):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing about the request
            if _never_left(error):
                if call is not None:
                    call.left = False
                raise NotSent("unreachable", f"no connection to {self.dialect.exchange_id}") from None
            raise NoAnswer(f"{type(error).__name__}: {self.wires.scrubbed(error)}") from None

    def sign(self, *args: Any, **kwargs: Any) -> Any:
        """Let the dialect put its last hand on the signed request."""
        call = CALL.get()
        expiry = self.wires.settings.read_window_seconds
        if call is not None and call.signed_at is not None:
            expiry = call.expires_after_seconds
        self.dialect.before_sign(self, expiry)
        signed = super().sign(*args, **kwargs)
        return self.dialect.sign(signed, expiry, self.wires.milliseconds())

    async def fetch(self, url: Any, method: Any = "GET", headers: Any = None, body: Any = None) -> Any:
        """From here on the request may have left."""
        call = CALL.get()
        if call is not None:
            call.left = True
        return await super().fetch(url, method, headers, body)

    def handle_errors(self, *reply: Any) -> None:
        """Read a reply as it is: its status, its code, its text."""
        code, reason, _url, _method, headers, body, response = reply[:7]
        names = {str(name).lower(): str(value) for name, value in (headers or {}).items()}
        used = self.dialect.used_weight(names)
        if used is not None:
            self.wires.budget.told(used)
        retry_after = _seconds(names.get("retry-after"))
        if code in (TOO_MANY_REQUESTS, BANNED):
            retry_after = RETRY_AFTER_SECONDS if retry_after is None else retry_after
            self.wires.budget.back_off(retry_after)
        refused = self.dialect.refusal(code, response)
        if refused is not None:
            raise RestError(code, refused[0], self.wires.scrubbed(refused[1]), retry_after)
        if code >= 400:
            raise RestError(code, "", self.wires.scrubbed(body or reason), retry_after)
        if not isinstance(response, dict | list):
            raise NoAnswer(f"HTTP {code} with a body that is not JSON: {self.wires.scrubbed(body)[:60]}")

    def client(self, url: Any) -> Any:
        """Remember which stream a connection belongs to."""
        if STREAM.get():
            self.stream_of[url] = STREAM.get()
        return super().client(url)

    def handle_message(self, client: Any, message: Any) -> None:
        """The dialect first; ccxt's own handlers get what it leaves."""
        if not self.wires.on_message(self.stream_of.get(client.url, ""), message):
            super().handle_message(client, message)

    async def listen(self, url: str, messages: Sequence[Any], up: Callable[[], None]) -> None:
        """Connect to a websocket, say these messages, call `up`, and stay until the connection breaks."""
        self.open()
        client = self.client(url)
        broken, connected = client.future(BROKEN), client.connect(self.session)
        timeout = self.wires.settings.request_timeout_seconds
        done, _ = await asyncio.wait({broken, connected}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if connected not in done:
            # A dial that failed rejects what waits on the connection, but not the connection itself.
            raise NotSent("unreachable", f"no websocket to {self.dialect.exchange_id} within {timeout} s")
        for message in messages:
            await client.send(message)
        up()
        await broken

    async def say(self, url: str, message: Any) -> None:
        """One more message to a websocket that is connected."""
        await self.client(url).send(message)

    def frames_at(self, stream: str) -> int:
        """When the last frame of any kind came on a stream, in ccxt's own milliseconds; 0: never."""
        urls = [url for url, name in self.stream_of.items() if name == stream and url in self.clients]
        return max((getattr(self.clients[url], "last_message_at", None) or 0 for url in urls), default=0)

    async def drop(self, stream: str) -> None:
        """Close every connection of a stream; the next call connects anew."""
        for url in [url for url, name in self.stream_of.items() if name == stream]:
            del self.stream_of[url]
            client = self.clients.pop(url, None)
            if client is not None:
                await client.close()


def _bound(base: Any, dialect: type[Dialect], wires: Wires) -> Any:
    return type(base.__name__, (Rules, base), {"wires": wires, "dialect": dialect, "stream_of": {}})


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
