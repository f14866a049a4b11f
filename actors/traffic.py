"""What the actors tell one another. Frozen, so that a message can be repeated, reordered or kept without harm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.arrivals import Arrivals
from actors.domain.events import Cancel, FundingPaid, LookUp, Submit, Trade
from actors.domain.model import Instrument, Micros, OrderKind, Position, Quote, Source
from actors.domain.price_book import Wake
from actors.domain.tape import StoredTape
from actors.messages import OpenRequest
from actors.price_bound import PriceBound
from actors.runtime.base import Ref
from actors.survey import SlotAsked, SlotSurveyed
from actors.venues.base import Candle, VenueOrder, VenuePosition

# -- position -> gateway -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTaken:
    """This position manages the slot from now on: reports of its orders go there."""

    position_id: str
    symbol: str
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFreed:
    """The position has ended, or was refused."""

    position_id: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOrder:
    """Send one order, whose intent is durable (or urgent).

    `guards` are the resident stops that rested when it was decided: past its lease a keeper closes only while it
    finds one of them still there. `bound` is the price and the moment by which a partial was let go.
    """

    symbol: str
    submit: Submit
    reply_to: Ref
    guards: tuple[str, ...] = ()
    bound: PriceBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel one order of ours."""

    symbol: str
    cancel: Cancel
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpOrder:
    """Read one order back until it is found, or proven absent."""

    symbol: str
    look_up: LookUp
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSlot:
    """Read the slot: position, open orders, trades since; after `delay_seconds`. Answered by SlotRead."""

    symbol: str
    trades_since: Micros
    reply_to: Ref
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelForeign:
    """Cancel exactly these foreign orders, then answer with a fresh SlotRead."""

    symbol: str
    orders: tuple[tuple[str, OrderKind], ...]
    trades_since: Micros
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGap:
    """Read the candles that began after `since`. Answered by GapRead."""

    symbol: str
    source: Source
    since: Micros
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Read many slots with one question. Answered by Surveyed, with the same number."""

    number: int
    slots: tuple[SlotAsked, ...]
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsTaken:
    """Several SlotTaken at once."""

    slots: tuple[SlotTaken, ...]


# -- gateway -> position -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRead:
    """One consistent read of a slot; `error`, with its code, where the venue has no such slot."""

    symbol: str
    position: VenuePosition | None
    orders: tuple[VenueOrder, ...]
    trades: tuple[Trade, ...]
    quote: Quote | None
    instrument: Instrument | None
    at: Micros
    error: str = ""
    error_code: str = ""
    fundings: tuple[FundingPaid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a survey has found, by symbol; nothing of a slot that must be read by itself."""

    number: int
    slots: Mapping[str, SlotSurveyed]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRead:
    """Completed candles of the gap. `complete` is false where part of it is not on record."""

    source: Source
    candles: tuple[Candle, ...]
    complete: bool


# -- gateway <-> market <-> position -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPrice:
    """New prices; with a sequence above 0 the receiver answers PriceSettled once what they changed
    is saved and done.
    """

    quote: Quote
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceWoke:
    """A price that a position waits for, by its registration at the desk."""

    wake: Wake


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """A position's reminder to itself: take the latest price, and wait for what matters after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Somebody wants every price of this symbol, the latest at once: in lockstep, each position."""

    position_id: str
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregister:
    """A position wants no prices any more."""

    position_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettled:
    """One position has settled one price."""

    position_id: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSettled:
    """Every position of a symbol has settled one price."""

    symbol: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFreshness:
    """A MarketActor's reminder to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTapesNow:
    """A MarketActor's reminder to itself."""


# -- supervisor <-> others ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Begin: take the shards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginOpening:
    """A fresh PositionActor shall open this."""

    request: OpenRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsoAnswer:
    """An identical request came while the first is under way: answer it too."""

    request: OpenRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginRecovery:
    """A fresh PositionActor shall go on from this stored state; `position` is what was made of it already.

    `tape` is what its shard has stored of its symbol's prices; `slot` is what a survey has found in its slot;
    with `arrivals` it says there that it has come back, where that took no more than this message.
    """

    state: Mapping[str, Any]
    schema: int
    version: int
    epoch: int
    spilled: bool = False
    takeover: bool = False
    tape: StoredTape | None = None
    position: Position | None = None
    slot: SlotSurveyed | None = None
    arrivals: Arrivals | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A position is reconciled after a restart and acts again."""

    position_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningEnded:
    """An opening is durable (`accepted`), or was refused: then its slot is free again."""

    position_id: str
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A position is closed and saved; its slot is free."""

    position_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorFailed:
    """An actor died, or cannot go on; `kind` is its class."""

    name: str
    kind: str
    error: str
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Respawn:
    """A supervisor's reminder to itself: back-off is over."""

    position_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retake:
    """A supervisor's reminder to itself: ask for a shard again."""

    shard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComebacksDue:
    """A supervisor's reminder to itself: comebacks that take long are not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatienceOver:
    """A supervisor's reminder to itself: an account's positions have had time enough to be reconciled."""

    account: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeFeed:
    """The account is reconciled: prices may flow. Without `prices` another account of the same feed is told them."""

    prices: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketsReady:
    """Gateway's markets: where to send the prices of each symbol."""

    markets: Mapping[str, Ref]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketAdded:
    """A gateway's new market, of a venue that subscribes: the prices of this symbol go there."""

    symbol: str
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAgain:
    """Something may have been missed: a position shall read its slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The health actor shall ping this actor from now on."""

    name: str
    kind: str
    ref: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchAll:
    """Several Watch at once."""

    watches: tuple[Watch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwatch:
    """The actor ended in order."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """Count a restart for the health log."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureStop:
    """A quarantined position: verify its resident stop, or place one at the last saved level, or raise unprotected."""

    position_id: str
    symbol: str
    position: Position | None
    attempt: int = 0
