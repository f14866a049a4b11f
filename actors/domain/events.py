"""What can happen to a position (events, commands) and what it asks of the world (effects).

Commands are imperative, events past tense. Numbers in events are cumulative, so that a repeat is harmless. Every event
says when it happened (`at`, microseconds UTC): the domain has no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from actors.domain.model import (
    Instrument,
    Micros,
    OrderKind,
    OrderSide,
    Plan,
    Quote,
    Reason,
    Side,
    Source,
    Terms,
)


class OrderState(StrEnum):
    """What the venue says an order is. All but OPEN are terminal."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One execution at the venue. `fee` is in quote units, positive when paid; `trade_id` is unique in its symbol."""

    trade_id: str
    client_order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: Micros
    cause: str = "order"


# -- what the market and the clock say ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMoved:
    """New prices. A source that is missing or not to be trusted is None and triggers nothing."""

    quote: Quote

    @property
    def at(self) -> Micros:
        """When the venue gave these prices."""
        return self.quote.at


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """The clock moved on without a price."""

    at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremesBackfilled:
    """Extremes of the stop's source while the keeper was away: they may raise peak and MAE/MFE, never fill a target.

    `exact` is false where no record of the gap exists. `targets_high` and `targets_low` are those of the targets'
    source.
    """

    at: Micros
    exact: bool
    high: Decimal | None = None
    high_at: Micros = 0
    low: Decimal | None = None
    low_at: Micros = 0
    targets_high: Decimal | None = None
    targets_low: Decimal | None = None


# -- what the venue says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReported:
    """The state of one order of ours with all its trades so far. A repeat changes nothing.

    `read_back` is true when the venue was asked for it, false for the answer to a submission or a stream's report.
    `venue_quantity` is the size of the venue's position read together with it, where it was read. `position_wide`: the
    venue would close the whole position with it, whatever its quantity; `reduce_only` and `limit_price` are as it says.
    """

    at: Micros
    client_order_id: str
    state: OrderState
    quantity: Decimal
    filled: Decimal
    trades: tuple[Trade, ...] = ()
    read_back: bool = False
    venue_quantity: Decimal | None = None
    position_wide: bool = False
    reduce_only: bool = True
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRefused:
    """The venue definitely did not execute it. `code` is one of those in actors/venues/base.py."""

    at: Micros
    client_order_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUnknown:
    """The request may have left and nobody knows what became of it; it is being looked up."""

    at: Micros
    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAbsent:
    """Proven not executed: never sent, or absent on repeated reads past the request's expiry."""

    at: Micros
    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionObserved:
    """One read of the venue's position in this slot. `quantity` is in this position's direction: negative when flipped.

    `trades` are the slot's trades since the last one booked; `cause` is `external`, `liquidated` or `adl` where known.
    `read_at` is wall time: two reads are two only when they were made at different times, and event time may stand
    still between them. `open_orders` are the client ids of what the same read found open, and as it was asked for;
    None: it did not look. `behind`: its trades lack the latest one of ours that is booked; it may be older than that.
    """

    at: Micros
    quantity: Decimal
    read_at: Micros = 0
    behind: bool = False
    trades: tuple[Trade, ...] = ()
    open_orders: tuple[str, ...] | None = None
    cause: Reason = Reason.EXTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOrderSeen:
    """An exit order in this slot that is not ours; it is left alone."""

    at: Micros
    venue_order_id: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanSeen:
    """An order at rest with our tag that no intent of this position stands for; it goes once we are protected."""

    at: Micros
    client_order_id: str
    kind: OrderKind
    quantity: Decimal
    trigger_price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPaid:
    """A funding payment: positive when received, in quote units. `funding_id` makes a repeat harmless."""

    at: Micros
    funding_id: str
    amount: Decimal


# -- what the keeper itself did ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The position was loaded after a restart: every intent without a terminal outcome must be looked up.

    With `takeover` a former owner may still be alive: its resident stops are replaced before anything else.
    """

    at: Micros
    terms: Terms
    instrument: Instrument
    takeover: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What the venue says is taken in: the position may act again. `quote` holds the present prices, where known."""

    at: Micros
    quote: Quote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderWithheld:
    """A submission whose intent was no longer wanted in the acknowledged state: it was never sent."""

    at: Micros
    client_order_id: str


# -- what people ask ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPosition:
    """Open (or adopt) a position under a plan. `quote` holds the present prices, to which checks and previews refer.

    For an adoption, `quantity` and `entry_price` are the venue's.
    """

    at: Micros
    id: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    plan: Plan
    instrument: Instrument
    order_tag: str
    quote: Quote
    terms: Terms
    adopt: bool = False
    entry_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    act_now: bool = False
    request_digest: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    kept_foreign_orders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseManually:
    """Close a fraction (0 < f <= 1) of what remains; `request_id` is required below 1, and repeating it closes once."""

    at: Micros
    fraction: Decimal = Decimal(1)
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendPlan:
    """Replace the plan by a new revision; hit targets are carried over unchanged."""

    at: Micros
    plan: Plan
    allow_looser_stop: bool = False
    act_now: bool = False


Event = (
    PriceMoved
    | TimePassed
    | ExtremesBackfilled
    | OrderReported
    | OrderRefused
    | OrderUnknown
    | OrderAbsent
    | PositionObserved
    | ForeignOrderSeen
    | OrphanSeen
    | FundingPaid
    | Recovered
    | Reconciled
    | OrderWithheld
    | CloseManually
    | AmendPlan
)


# -- effects -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Send one order. `urgent` (a protective full close) may leave before its intent is durable; all others may not."""

    client_order_id: str
    leg: str
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    reduce_only: bool
    trigger_price: Decimal | None = None
    trigger_source: Source | None = None
    limit_price: Decimal | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel one order of ours, by its own id, and report what became of it."""

    client_order_id: str
    kind: OrderKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Read one order back, in its own class. `proof` asks for absence past the expiry of any
    request still under way.
    """

    client_order_id: str
    kind: OrderKind
    proof: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """Read the venue's position in this slot (again), and answer with PositionObserved."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One line of the audit trail and of the log. `name` is one of the constant names of log events."""

    name: str
    at: Micros
    fields: Mapping[str, Any]
    alert: bool = False


Effect = Submit | Cancel | LookUp | Observe | Note
