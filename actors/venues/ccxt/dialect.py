"""What one exchange's own file says: how a request is phrased, and what a reply means. Everything else is common.

A `Dialect` talks to the exchange through `self.exchange`, a ccxt.pro object whose replies are not judged by ccxt: a
hook either returns what was read, or lets `RestError`, `NotSent` or `NoAnswer` pass (see errors.py). Common code signs
with the time of the request (`milliseconds()` of the exchange object answers it), keeps the budget, decides between
definite and unknown by `verdict`, looks orders up after each write, holds the streams and tells the listener.

A hook never answers "nothing there" when it could not read: it raises. All quantities are in base units, all times in
microseconds of the exchange's clock, all numbers made by `number` from text.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlsplit

from actors.domain.events import FundingPaid, Trade
from actors.domain.model import Instrument, Micros, OrderKind, Quote, Source
from actors.venues.base import (
    CancelRequest,
    Candle,
    OrderRequest,
    VenueError,
    VenueOrder,
    VenuePosition,
)
from actors.venues.ccxt.errors import RestError
from actors.venues.ccxt.settings import CcxtSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The position in one symbol as one read told it. `stamp` differs whenever anything in it may have changed."""

    position: VenuePosition | None
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What stands in the way of trading: `code` as in VenueStatus, `detail` says what to do."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor: `level` is ok, warn or fail."""

    level: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """One stream that is held for as long as the account is open.

    `private` streams tell of orders, and their return is told as StreamRestored. A stream not heard for
    `silent_after_seconds` (control frames count where `pongs` is true) is taken for dead and connected anew.
    """

    name: str
    private: bool
    silent_after_seconds: float
    pongs: bool = False


class Desk(Protocol):
    """Where a dialect reports what its streams say."""

    def order_changed(self, symbol: str, client_order_id: str, kind: OrderKind) -> None:
        """Something happened to an order: a wake-up, upon which the order is read by REST and then told."""

    def account_changed(self) -> None:
        """The private stream told that positions changed (so it is not deaf)."""

    def foreign_trade(self) -> None:
        """Somebody else traded in this account, or the exchange itself did: everything is read again."""

    def price(self, symbol: str, at: Micros, **sources: Decimal | None) -> None:
        """New prices: any of mark, last, bid, ask. Each call is told as a quote."""

    def broken(self, stream: str, why: str) -> None:
        """A stream has to be connected anew (its key expired, say)."""

    def stream_up(self, stream: str) -> None:
        """A stream is subscribed: from now on nothing is lost."""


class Dialect(ABC):
    """One exchange. A subclass gives the class attributes and overrides the abstract hooks."""

    exchange_id: str
    """ccxt's name of the exchange."""
    stop_triggers: tuple[Source, ...]
    """The price sources its stops can be triggered by, nearest first."""
    weight_per_minute: float = 1200.0
    """The request budget, in the units of ccxt's `cost` table times `weight_per_cost`."""
    weight_per_cost: float = 1.0

    def __init__(self, settings: CcxtSettings, exchange: Any, desk: Desk) -> None:
        """`exchange` is the bound ccxt.pro object (client.py); it lives on the venue's loop only."""
        self.settings = settings
        self.exchange = exchange
        self.desk = desk

    # -- phrasing ------------------------------------------------------------------------------------------------------

    @classmethod
    def config(cls, settings: CcxtSettings) -> dict[str, Any]:
        """What else goes into ccxt's constructor (`options` and the like)."""
        del settings
        return {}

    @classmethod
    def point_at(cls, urls: dict[str, Any], endpoint: str) -> None:
        """Lead ccxt's `urls` to a configured endpoint: every address keeps its path there."""
        urls["api"] = _moved(urls["api"], endpoint.rstrip("/"))

    @classmethod
    def use_demo(cls, exchange: Any) -> None:
        """Lead `exchange` to the exchange's own paper trading."""
        exchange.enable_demo_trading(True)

    @classmethod
    def before_sign(cls, exchange: Any, expires_after_seconds: float) -> None:
        """What ccxt signs with but takes from the object itself: a receive window, say. Nothing runs in between."""
        del exchange, expires_after_seconds

    @classmethod
    def sign(cls, signed: dict[str, Any], expires_after_seconds: float, timestamp_milliseconds: int) -> dict[str, Any]:
        """A last hand on what ccxt signed (`url`, `method`, `headers`, `body`): a header for the expiry, say."""
        del expires_after_seconds, timestamp_milliseconds
        return signed

    @classmethod
    def used_weight(cls, headers: dict[str, str]) -> float | None:
        """The weight used in the present minute where the reply's headers (names in lower case) tell it."""
        del headers
        return None

    # -- what a reply means --------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def refusal(cls, status: int, body: Any) -> tuple[str, str] | None:
        """Code and message when a parsed reply (of any status) is an error; None when it is an answer."""

    @abstractmethod
    def verdict(self, error: RestError) -> VenueError:
        """What may be concluded for a write: OrderRejected and VenueUnavailable only for codes the exchange documents
        as not executed; OrderUnknown for everything else.
        """

    # -- before anything else ------------------------------------------------------------------------------------------

    @abstractmethod
    async def server_time(self) -> Micros:
        """The exchange's clock."""

    @abstractmethod
    async def instruments(self) -> Sequence[Instrument]:
        """Every linear perpetual that can be traded (`self.exchange.load_markets()` included)."""

    @abstractmethod
    async def readiness(self) -> Readiness | None:
        """None when this account can be traded: credentials valid, one-way position mode."""

    @abstractmethod
    async def probe(self) -> list[Finding]:
        """What the doctor wants to know beyond `readiness`: permissions above all."""

    # -- orders --------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def send(self, request: OrderRequest) -> None:
        """Post the order, with its expiry. Returning means accepted, no more: what became of it is looked up."""

    @abstractmethod
    async def withdraw(self, request: CancelRequest) -> None:
        """Cancel the order in its own class, with the request's expiry; any RestError is followed by a look-up."""

    @abstractmethod
    async def find(self, symbol: str, client_order_id: str, kind: OrderKind) -> VenueOrder | None:
        """One order with all its trades, in its own class, a triggered one followed to its child; None: not found."""

    # -- the account ---------------------------------------------------------------------------------------------------

    @abstractmethod
    async def holding(self, symbol: str) -> Holding:
        """The position in one symbol."""

    @abstractmethod
    async def sizes(self) -> dict[str, Decimal]:
        """The signed size of every open position by symbol."""

    @abstractmethod
    async def open_orders(self, symbol: str) -> Sequence[VenueOrder]:
        """Open orders of every class in one symbol (their trades may be left out where nothing is filled)."""

    @abstractmethod
    async def trades(self, symbol: str, since: Micros) -> Sequence[Trade]:
        """Every trade at or after `since`, oldest first, each with the client id of our order, also where a child of
        a triggered stop made it. Since 0: what the exchange lists as recent.
        """

    @abstractmethod
    async def fundings(self, symbol: str, since: Micros) -> Sequence[FundingPaid]:
        """Funding payments at or after `since`, oldest first. Since 0: none are asked for."""

    @abstractmethod
    async def quote(self, symbol: str) -> Quote:
        """Present prices by REST."""

    @abstractmethod
    async def candles(self, symbol: str, source: Source, since: Micros) -> tuple[Sequence[Candle], bool]:
        """Completed one-minute candles from `since` on, and whether they are complete."""

    # -- streams -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def streams(self) -> Sequence[StreamSpec]:
        """The streams of this account."""

    @abstractmethod
    async def hold(self, stream: str, symbols: Sequence[str]) -> None:
        """Connect and subscribe one stream, call `desk.stream_up`, then stay until it breaks (raise or return).

        `self.exchange.listen(url, messages)` does the connecting; `symbols` are those watched so far.
        """

    @abstractmethod
    async def follow(self, stream: str, symbol: str) -> None:
        """One more symbol is watched while the stream is held: subscribe it."""

    @abstractmethod
    def on_message(self, stream: str, message: Any) -> bool:
        """Take one raw message, and report it to the desk; false leaves it to ccxt's own handler (logins, pings)."""


def _moved(address: Any, endpoint: str) -> Any:
    if isinstance(address, dict):
        return {name: _moved(inner, endpoint) for name, inner in address.items()}
    if not isinstance(address, str):
        return address
    parts = urlsplit(address)
    base = "ws" + endpoint.removeprefix("http") if parts.scheme in ("ws", "wss") else endpoint
    return base + parts.path


def number(value: Any) -> Decimal:
    """A number exactly as the exchange wrote it."""
    return Decimal(str(value))
