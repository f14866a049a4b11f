"""What a position is: frozen records, Decimal for every price and quantity.

Nothing here decides anything. Times are whole microseconds since 1970 in UTC (`Micros`), so that they compare, save and
replay exactly. Records carry `extra`: fields that a newer release wrote and this one does not know, kept as they came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.domain.words import (
    DistanceKind,
    IntentStatus,
    LevelKind,
    OrderKind,
    OrderSide,
    Phase,
    Reason,
    Side,
    Source,
)

__all__ = [
    "HUNDRED",
    "ZERO",
    "CloseRequest",
    "Distance",
    "DistanceKind",
    "Excursion",
    "Fill",
    "Instrument",
    "Intent",
    "IntentStatus",
    "Level",
    "LevelKind",
    "Micros",
    "Observation",
    "OrderKind",
    "OrderSide",
    "Phase",
    "Plan",
    "PlannedTarget",
    "Position",
    "Quote",
    "Reason",
    "Record",
    "Side",
    "Source",
    "Target",
    "TargetStep",
    "Terms",
]

Micros = int

# Every rule asks every intent for its status; a name of this module is found faster than one of a class.
_SENT, _RESTING, _UNKNOWN = IntentStatus.SENT, IntentStatus.RESTING, IntentStatus.UNKNOWN
_FILLED, _REFUSED, _WITHDRAWN = IntentStatus.FILLED, IntentStatus.REFUSED, IntentStatus.WITHDRAWN

ZERO = Decimal(0)
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A saved record; `extra` holds what a newer release wrote into it."""

    extra: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument(Record):
    """What the venue allows for one symbol. Quantities are in base units, prices in quote units."""

    symbol: str
    tick_size: Decimal
    quantity_step: Decimal
    minimum_quantity: Decimal
    minimum_notional: Decimal = ZERO
    taker_fee_percent: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Level(Record):
    """One price, relative or absolute. For `breakeven`, `fees` says whether the fees are included;
    `value` is then 0.
    """

    kind: LevelKind
    value: Decimal = ZERO
    fees: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance(Record):
    """How far the trailing stop stays behind the peak, clamped between two percents of the peak."""

    kind: DistanceKind
    value: Decimal
    min_percent: Decimal | None = None
    max_percent: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStep(Record):
    """The level of a target from `after_seconds` since entry on."""

    level: Level
    after_seconds: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget(Record):
    """One target as asked for. `close` is a fraction, 0 to 1, of the original quantity."""

    number: int
    at: tuple[TargetStep, ...]
    close: Decimal
    order: OrderKind = OrderKind.MARKET
    actions_on: str = "fill"
    then_stop: Level | None = None
    then_trail: Distance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Record):
    """The exits asked for. Immutable: an amendment is a new revision."""

    stop: Level
    trail: Distance | None = None
    targets: tuple[PlannedTarget, ...] = ()
    time_limit_seconds: Decimal | None = None
    stop_source: Source = Source.MARK
    targets_source: Source = Source.BID_ASK
    max_slippage_percent: Decimal = Decimal("0.2")
    atr: Decimal | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms(Record):
    """What the account's configuration and venue say about this position's orders."""

    resident_interval_seconds: Decimal = Decimal(5)
    resident_step_percent: Decimal = Decimal("0.1")
    stop_triggers: tuple[Source, ...] = (Source.MARK, Source.LAST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Record):
    """One target's state: `hit` (its price was passed) and `filled` (what its orders closed) are separate facts.

    `software`: its order at rest was altered by the exchange, and it is closed by market orders from then on.
    """

    number: int
    price: Decimal | None = None
    quantity: Decimal = ZERO
    hit: bool = False
    hit_at: Micros | None = None
    filled: Decimal = ZERO
    missed: bool = False
    software: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion(Record):
    """An extreme since entry. `percent` is a magnitude of the entry price, never negative."""

    price: Decimal
    percent: Decimal
    at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Record):
    """One venue trade, booked once by its trade id. `fee` is in quote units, positive when paid."""

    leg: str
    reason: Reason
    price: Decimal
    quantity: Decimal
    fee: Decimal
    at: Micros
    trade_id: str
    client_order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Record):
    """The durable decision to send one order for one leg.

    `level` is the target price of a partial's bound; `trigger_price` is a resident stop's; `limit_price` is a resting
    target's; `reads` counts the reads of a terminal order that filled short.
    """

    leg: str
    reason: Reason
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    client_order_id: str
    decided_at: Micros
    generation: int = 0
    status: IntentStatus = IntentStatus.PLANNED
    filled: Decimal = ZERO
    level: Decimal | None = None
    trigger_price: Decimal | None = None
    trigger_source: Source | None = None
    limit_price: Decimal | None = None
    full: bool = False
    cancel_requested: bool = False
    retry_at: Micros | None = None
    attempts: int = 0
    reads: int = 0

    @property
    def reduce_only(self) -> bool:
        """Everything but an entry may only reduce."""
        return self.leg != "entry"

    @property
    def resident(self) -> bool:
        """A protective order at rest."""
        return self.leg.startswith("resident-")

    @property
    def ended(self) -> bool:
        """Nothing more can happen to its order."""
        status = self.status
        return status is _FILLED or status is _WITHDRAWN or status is _REFUSED

    @property
    def live(self) -> bool:
        """An order of it may exist at the venue, or is about to."""
        status = self.status
        return status is _RESTING or status is _SENT or status is _UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest(Record):
    """A manual close that was accepted; repeating its id closes once."""

    request_id: str
    leg: str
    quantity: Decimal
    fraction: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Record):
    """The first of two reads that an unexplained difference needs before it is believed; `at` is wall time."""

    quantity: Decimal
    at: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote(Record):
    """The latest prices of one symbol; a source that is missing or not to be trusted is None."""

    at: Micros
    mark: Decimal | None = None
    last: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None

    def price(self, source: Source, side: Side) -> Decimal | None:
        """The price of a source as a position of this side sees it: its exit would trade at the bid or the ask."""
        if source is Source.MARK:
            return self.mark
        if source is Source.LAST:
            return self.last
        return self.bid if side is Side.LONG else self.ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Record):
    """One managed position: all that must survive, and (unsaved) the latest quote."""

    id: str
    account: str
    symbol: str
    side: Side
    order_tag: str
    instrument: Instrument
    plan: Plan
    requested_quantity: Decimal
    opened_at: Micros
    updated_at: Micros
    terms: Terms = field(default_factory=Terms)
    phase: Phase = Phase.OPENING
    plan_revision: int = 1
    adopted: bool = False
    request_digest: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    quantity: Decimal = ZERO
    remaining: Decimal = ZERO
    entry_price: Decimal | None = None
    entry_value: Decimal = ZERO
    entry_complete: bool = False
    entered_at: Micros | None = None

    initial_stop_price: Decimal | None = None
    stop_price: Decimal | None = None
    stop_reason: Reason = Reason.STOP_LOSS
    targets: tuple[Target, ...] = ()
    targets_disabled: bool = False
    trail: Distance | None = None
    trailing_stop_active: bool = False
    peak_price: Decimal | None = None
    peak_at: Micros | None = None
    mae: Excursion | None = None
    mfe: Excursion | None = None
    extremes_approximate: bool = False

    realized_pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    funding_ids: tuple[str, ...] = ()
    fills: tuple[Fill, ...] = ()
    differing_trades: tuple[str, ...] = ()
    intents: tuple[Intent, ...] = ()
    close_requests: tuple[CloseRequest, ...] = ()

    closing_reason: Reason | None = None
    closing_leg: str = ""
    next_target: int = 1
    next_manual: int = 1
    next_external: int = 1
    next_resident: int = 1
    resident_moved_at: Micros | None = None
    residents_replaced_below: int = 0
    kept_foreign_orders: tuple[str, ...] = ()
    excess: Decimal = ZERO
    observed: Observation | None = None
    disputed: bool = False
    dust: Decimal = ZERO
    closed_at: Micros | None = None
    close_reason: str = ""

    # Where its extremes stand: those of later prices are on this tape of the symbol (actors/domain/tape.py), and are
    # taken from there, so that a price that changes nothing else need not be saved with every position.
    tape: str = field(default="", compare=False)
    seen: int = field(default=0, compare=False)

    latest: Quote | None = field(default=None, metadata={"saved": False}, compare=False)
    reconciling: bool = field(default=False, metadata={"saved": False}, compare=False)

    @property
    def exit_side(self) -> OrderSide:
        """The side of every order that reduces this position."""
        return OrderSide.SELL if self.side is Side.LONG else OrderSide.BUY

    @property
    def protected(self) -> bool:
        """A stop of ours was read back at the venue, since the last start too, and covers what remains."""
        return (
            self.remaining > 0
            and not self.reconciling
            and any(
                intent.status is IntentStatus.RESTING
                and not intent.cancel_requested
                and intent.resident
                and intent.quantity - intent.filled >= self.remaining
                for intent in self.intents
            )
        )
