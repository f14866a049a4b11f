"""A paper exchange server for tests, and unmodified ccxt clients of it."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from actors.venues.ccxt.endpoint import use_endpoint
from actors.venues.exchange_options import keys_of
from actors.venues.exchange_server import ExchangeServer
from actors.venues.exchange_settings import ApiKey, ExchangeSettings
from actors.venues.paper_settings import MarketSettings, WalkSettings

SYMBOL = "BTC/USDT:USDT"
KEY = ApiKey(account="main", key="key-of-main", secret="secret-of-main")  # noqa: S106
OTHER_KEY = ApiKey(account="other", key="key-of-other", secret="secret-of-other")  # noqa: S106
MARKET = MarketSettings(
    symbols={
        SYMBOL: WalkSettings(price=Decimal(60000), spread_percent=Decimal(0)),
        "ETH/USDT:USDT": WalkSettings(price=Decimal(3000), spread_percent=Decimal(0)),
    }
)


def exchange_settings(folder: Path, **more: Any) -> ExchangeSettings:
    """Two accounts on a market whose prices are pushed by hand, unless told otherwise."""
    usual: dict[str, Any] = {
        "path": folder / "exchange.sqlite",
        "market": MARKET,
        "keys": (KEY, OTHER_KEY),
        "manual": True,
    }
    return ExchangeSettings(**{**usual, **more})


@contextmanager
def running_exchange(folder: Path, **more: Any) -> Iterator[ExchangeServer]:
    """A server on a free port of loopback, in this process."""
    server = ExchangeServer(exchange_settings(folder, **more))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def client(endpoint: str, key: ApiKey = KEY, **options: Any) -> Any:
    """The unmodified REST client."""
    return _pointed(import_module("ccxt.async_support").binanceusdm(_config(key, options)), endpoint)


def stream_client(endpoint: str, key: ApiKey = KEY, **options: Any) -> Any:
    """The unmodified websocket client."""
    return _pointed(import_module("ccxt.pro").binanceusdm(_config(key, options)), endpoint)


@asynccontextmanager
async def clients(endpoint: str, key: ApiKey = KEY) -> AsyncIterator[Any]:
    """A websocket client (which is a REST client too), with its markets loaded, closed at the end."""
    exchange = stream_client(endpoint, key)
    try:
        await exchange.load_markets()
        yield exchange
    finally:
        await exchange.close()


def using(endpoint: str, play: Callable[[Any], Awaitable[None]], key: ApiKey = KEY) -> None:
    """Play something with a client of a server, on an event loop of its own."""

    async def whole() -> None:
        async with clients(endpoint, key) as exchange:
            await play(exchange)

    asyncio.run(whole())


def client_of(endpoint: str, keys: Path) -> Callable[..., httpx.Response]:
    """A client by hand, signed with the first key of a file: `client("GET", "/fapi/v1/order", symbol="BTCUSDT")`."""
    [key] = keys_of(keys)[:1]
    session = httpx.Client(base_url=endpoint, headers={"X-MBX-APIKEY": key.key}, timeout=10, trust_env=False)

    def ask(method: str, path: str, **parameters: Any) -> httpx.Response:
        query = urlencode({**parameters, "timestamp": int(time.time() * 1000)})
        signature = hmac.new(key.secret.encode(), query.encode(), "sha256").hexdigest()
        return session.request(method, f"{path}?{query}&signature={signature}")

    return ask


def control(endpoint: str, path: str, content: object = None, method: str = "POST") -> Any:
    """Meddle with the server: `POST /paper/…`."""
    answer = httpx.request(method, f"{endpoint}/paper/{path}", json=content, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def eventually(what: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """The first true answer of something asked again and again; the last answer when the time is up."""
    async with asyncio.timeout(seconds):
        while not (found := await what()):
            await asyncio.sleep(0.02)
    return found


def _config(key: ApiKey, options: dict[str, Any]) -> dict[str, Any]:
    return {"apiKey": key.key, "secret": key.secret, "enableRateLimit": False, **options}


def _pointed(exchange: Any, endpoint: str) -> Any:
    use_endpoint(exchange.urls, endpoint)
    return exchange
