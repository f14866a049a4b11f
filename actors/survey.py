"""A part of the venue's port that not every venue has: one question about many slots of an account.

A keeper that comes back with a hundred thousand positions has four questions about each. Where an exchange can answer
them together, of one moment, one question for some hundred slots does; where it cannot, each slot is asked by itself
(actors/venues/base.py), and every slot that an answer leaves out is too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.domain.events import FundingPaid, Trade
from actors.domain.model import Micros, OrderKind, Quote, Source
from actors.venues.base import Candle, VenueOrder, VenuePosition


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotAsked:
    """One slot of a SurveyRequest: what an AccountRequest, a LookUpRequest for each of `orders` (client order id and
    kind) and a CandlesRequest for each of `sources` would ask.
    """

    symbol: str
    trades_since: Micros
    orders: tuple[tuple[str, OrderKind], ...]
    sources: tuple[Source, ...]
    candles_since: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRequest:
    """Read many slots of an account at once."""

    request_id: str
    account: str
    slots: tuple[SlotAsked, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesRead:
    """The candles of one source, as in CandlesAnswered."""

    source: Source
    candles: tuple[Candle, ...]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSurveyed:
    """One slot, read at one moment with all that was asked about it; `looked_up` has an answer for each order asked
    for, in their order: None where it was not found.
    """

    symbol: str
    position: VenuePosition | None
    orders: tuple[VenueOrder, ...]
    looked_up: tuple[VenueOrder | None, ...]
    trades: tuple[Trade, ...]
    candles: tuple[CandlesRead, ...]
    quote: Quote | None
    read_at: Micros
    fundings: tuple[FundingPaid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyAnswered:
    """The answer to a SurveyRequest, by symbol. A slot that is missing must be asked for by itself."""

    request_id: str
    slots: Mapping[str, SlotSurveyed]


@runtime_checkable
class SurveyedVenue(Protocol):
    """What a venue may offer besides: to read many slots with one question. One that does not is asked slot by slot."""

    def survey(self, request: SurveyRequest) -> None:
        """Read many slots; answered by SurveyAnswered or RequestFailed."""
