"""The venue's port: what a gateway may ask of an exchange, and the messages its answers arrive as.

A call returns at once; its outcome arrives later, as one message to the listener (the GatewayActor), or never. Nothing
blocks. Outcomes may be delayed, reordered, repeated or lost. Quantities are in base units, prices in quote units.

    VenueError
    ├── OrderRejected      definite: not executed (only a short white list of codes)
    ├── VenueUnavailable   definite: the request never left
    └── OrderUnknown       everything else: look it up
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from actors.domain.events import FundingPaid, OrderState, Trade
from actors.domain.model import Instrument, Micros, OrderKind, OrderSide, Quote, Side, Source
from actors.runtime.base import Ref


class VenueError(Exception):
    """Base of what a venue answers instead of an outcome."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class OrderRejected(VenueError):
    """Definite: not executed. Codes: see REJECTIONS."""


class VenueUnavailable(VenueError):
    """Definite: the request never left."""


class OrderUnknown(VenueError):
    """It may have been executed: look it up."""


REJECTIONS = frozenset(
    {
        "unknown_symbol",
        "quantity_step",
        "price_tick",
        "below_minimum",
        "insufficient_margin",
        "reduce_only",
        "would_trigger",
        "duplicate_id",
        "too_many_stops",
        "expired",
        "blocked_by_exits",
        "position_mode",
        "auth",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """One order to send. It is signed with `signed_at`; past `signed_at + expires_after_seconds`
    the venue rejects it.
    """

    request_id: str
    account: str
    symbol: str
    client_order_id: str
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    reduce_only: bool
    signed_at: Micros
    expires_after_seconds: float
    trigger_price: Decimal | None = None
    trigger_source: Source | None = None
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Cancel one order by its client order id, in its own class (`kind`)."""

    request_id: str
    account: str
    symbol: str
    client_order_id: str
    kind: OrderKind
    signed_at: Micros
    expires_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpRequest:
    """Read one order with all its trades by its client order id, in its own class, terminal ones included."""

    request_id: str
    account: str
    symbol: str
    client_order_id: str
    kind: OrderKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRequest:
    """Read one symbol of an account: position, open orders of every class, trades at or after `trades_since`, quote."""

    request_id: str
    account: str
    symbol: str
    trades_since: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesRequest:
    """Read completed one-minute candles of a price source that began at or after `since`."""

    request_id: str
    account: str
    symbol: str
    source: Source
    since: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """One order as the venue tells it, with all its trades so far. `client_order_id` is "" for
    orders that have none. `position_wide`: the venue would close the whole position with it, whatever its quantity.
    """

    client_order_id: str
    venue_order_id: str
    symbol: str
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    filled: Decimal
    state: OrderState
    reduce_only: bool
    trigger_price: Decimal | None
    trades: tuple[Trade, ...]
    updated_at: Micros
    limit_price: Decimal | None = None
    position_wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePosition:
    """One open position at the venue; `liquidation_price` where the venue tells it."""

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One completed minute of one price source."""

    at: Micros
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


# -- outcomes, told to the listener ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAnswered:
    """The answer to an OrderRequest, a CancelRequest or a LookUpRequest; `order` is None when nothing was found.

    `venue_quantity` is the signed size of the position in that symbol read together with it (long positive).
    """

    request_id: str
    order: VenueOrder | None
    read_at: Micros
    venue_quantity: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """A request that got no outcome: what may be concluded is in the error's class."""

    request_id: str
    error: VenueError


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAnswered:
    """The answer to an AccountRequest: one consistent read. `fundings` are payments at or after `trades_since`."""

    request_id: str
    symbol: str
    position: VenuePosition | None
    orders: tuple[VenueOrder, ...]
    trades: tuple[Trade, ...]
    quote: Quote | None
    instrument: Instrument
    read_at: Micros
    fundings: tuple[FundingPaid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesAnswered:
    """The answer to a CandlesRequest. `complete` is false where part of the time asked for is not on record."""

    request_id: str
    candles: tuple[Candle, ...]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdated:
    """A stream's report of one order (a wake-up; REST is the truth)."""

    account: str
    order: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRestored:
    """The account's stream broke, or was silent for too long, and is back: whatever it told meanwhile is lost."""

    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueStatus:
    """Whether this account can be traded now; until it can, every request fails as VenueUnavailable.

    `code` names what is in the way (`connecting`, `auth`, `position_mode`, …), `detail` says what to do.
    """

    account: str
    ready: bool
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFailed:
    """The venue's own workings have failed: it must be started anew."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesUpdated:
    """New prices of one symbol. A venue that waits for its price to settle gives a `sequence` above 0 (lockstep).

    `earlier` are those before `quote` that have not been told, oldest first, where several came at once: each counts.
    """

    symbol: str
    quote: Quote
    sequence: int = 0
    earlier: tuple[Quote, ...] = ()

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """All of them, oldest first."""
        return (*self.earlier, self.quote) if self.earlier else (self.quote,)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTraits:
    """What a venue can do. With `own_time` its time is that of its prices, not the wall's (a replay, a simulation).

    One that `subscribes` has too many symbols to follow them all: it tells the prices of those it was asked to `watch`,
    and knows its instruments only once it is ready (VenueStatus).

    Accounts with the same `feed` that is not empty see the same prices: one of them may be told for all (`resume`).
    """

    name: str
    stop_triggers: tuple[Source, ...]
    expires_requests: bool
    live_money: bool
    lockstep: bool
    own_time: bool = False
    subscribes: bool = False
    feed: str = ""


class Venue(Protocol):
    """One account's door to an exchange. Calls never block and never raise for what the exchange does."""

    @property
    def traits(self) -> VenueTraits:
        """What this venue can do."""

    def instruments(self) -> Sequence[Instrument]:
        """Every symbol this account can trade. Known before `start` returns, unless the venue `subscribes`."""

    def start(self, listener: Ref) -> None:
        """Begin: outcomes, order updates and prices are told to `listener`. Prices flow only after `resume`."""

    def resume(self, *, prices: bool = True) -> None:
        """The keeper is ready: prices may flow. Without `prices` they flow, but are not told here until asked again.

        Whoever asks for prices anew is told the present one first.
        """

    def watch(self, symbol: str) -> None:
        """The prices of this symbol are wanted from now on (only venues that subscribe need to be told)."""

    def submit(self, request: OrderRequest) -> None:
        """Send an order; answered by OrderAnswered or RequestFailed."""

    def cancel(self, request: CancelRequest) -> None:
        """Cancel an order; answered by OrderAnswered with what became of it (None: not known), or RequestFailed."""

    def look_up(self, request: LookUpRequest) -> None:
        """Read an order; answered by OrderAnswered (order None: not found) or RequestFailed."""

    def read_account(self, request: AccountRequest) -> None:
        """Read a symbol of the account; answered by AccountAnswered or RequestFailed."""

    def read_candles(self, request: CandlesRequest) -> None:
        """Read candles; answered by CandlesAnswered or RequestFailed."""

    def settled(self, symbol: str, sequence: int) -> None:
        """The price with this sequence has settled (only venues in lockstep wait for it)."""

    def stop(self, listener: Ref | None = None) -> None:
        """End; no further message is told. A `listener` that has been replaced since ends nothing."""
