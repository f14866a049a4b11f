"""MarketActor: one per symbol of a feed; wakes exactly the positions a price concerns.

It plays prices at the symbol's desk, where positions register what they wait for; what a price does to all others is on
the tape, which is saved with the group commits of their shards. A price that cannot be trusted triggers nothing: a
source that deviates too far from the mark price is left out, a stale feed is told and marked. In lockstep every price
goes to every position, and the next one waits for their word that it has settled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pykka
import structlog

from actors.desk import Desk
from actors.directory import Directory, FeedStatus
from actors.domain.live_book import plain_of
from actors.domain.model import HUNDRED, Quote
from actors.runtime.base import Clock, Ref, Timer, tell
from actors.settings import AccountSettings
from actors.traffic import (
    ActorFailed,
    CheckFreshness,
    MarketPrice,
    PriceSettled,
    PriceWoke,
    Register,
    SaveTapesNow,
    SymbolSettled,
    Unregister,
)
from actors.venues.base import PricesUpdated
from persistence.messages import SaveTapes, TapesSaved
from persistence.store import SnapshotCorrupt
from persistence.tape import encode_tape

# How often a symbol's tape is saved for a shard, at most: what a crash may take of the extremes that no position saved.
TAPE_SECONDS = 0.5


def trusted(quote: Quote, max_deviation_percent: Decimal) -> Quote:
    """The quote without the sources that deviate from mark by more than the percent allowed."""
    mark = quote.mark
    if mark is None or mark <= 0:
        return quote
    limit = mark * max_deviation_percent / HUNDRED
    dropped: dict[str, Any] = {
        name: None
        for name in ("last", "bid", "ask")
        if (price := getattr(quote, name)) is not None and abs(price - mark) > limit
    }
    return replace(quote, **dropped) if dropped else quote


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketParts:
    """What a MarketActor works with. Its settings are those of the account whose prices it brings.

    `tape_name` says under which name a shard keeps this symbol's tape.
    """

    settings: AccountSettings
    symbol: str
    gateway: Ref
    supervisor: Ref
    directory: Directory
    clock: Clock
    lockstep: bool
    desk: Desk = field(default_factory=Desk)
    persistence: Ref | None = None
    tape_name: Callable[[str], str] = str


class MarketActor(pykka.ThreadingActor):
    """Brings the prices of one symbol of one account to its positions."""

    use_daemon_thread = True

    def __init__(self, parts: MarketParts) -> None:
        """Prices come as PricesUpdated; positions register themselves."""
        super().__init__()
        self._parts = parts
        self._positions: dict[str, Ref] = {}
        self._latest: Quote | None = None
        self._sequence = 0
        self._waiting: set[str] = set()
        self._heard_at = parts.clock.monotonic()
        self._fresh = True
        self._deviating = False
        self._timer: Timer | None = None
        self._saving_soon = False
        self._shown: FeedStatus | None = None
        self._log = structlog.get_logger().bind(account=parts.settings.name, symbol=parts.symbol)

    def on_receive(self, message: object) -> None:
        """Prices from the gateway; registrations and settlements from positions."""
        match message:
            case PricesUpdated():
                self._on_prices(message)
            case PriceSettled():
                self._on_settled(message)
            case Register():
                self._register(message)
            case Unregister():
                self._parts.desk.forget(message.position_id)
                self._positions.pop(message.position_id, None)
                self._forget(message.position_id)
            case SaveTapesNow():
                self._save_tapes()
            case TapesSaved():
                self._on_tapes_saved(message)
            case CheckFreshness():
                self._check_freshness()
            case _:
                raise TypeError(f"MarketActor cannot take {type(message).__name__}")

    def on_start(self) -> None:
        """A feed that never says anything must not look fresh."""
        self._publish()
        if not self._parts.lockstep:
            self._arm()

    def on_stop(self) -> None:
        """Its prices are nobody's now: they must not look fresh for ever."""
        self._hide()

    def _hide(self) -> None:
        feeds, name = self._parts.directory.feeds, (self._parts.settings.name, self._parts.symbol)
        if feeds.get(name) is self._shown:
            # What a successor shows by now stays.
            feeds.pop(name, None)

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Its account begins anew."""
        del exception_type, traceback
        self._hide()
        name = f"market:{self._parts.settings.name}:{self._parts.symbol}"
        tell(self._parts.supervisor, ActorFailed(name=name, kind="MarketActor", error=repr(exception_value)))

    def _on_prices(self, message: PricesUpdated) -> None:
        self._heard_at = self._parts.clock.monotonic()
        if not self._fresh:
            self._fresh = True
            self._log.info("feed.recovered")
        limit = self._parts.settings.max_deviation_percent
        quotes = [trusted(quote, limit) for quote in message.quotes]
        self._note_deviation(message.quotes, quotes)
        self._latest = quotes[-1]
        self._sequence = message.sequence
        self._waiting = set(self._positions) if message.sequence else set()
        self._publish()
        if self._positions:
            self._broadcast(quotes, message.sequence)
        if not self._parts.lockstep:
            for ref, wake in self._parts.desk.play(quotes):
                tell(ref, PriceWoke(wake=wake))
            self._save_tapes_soon()
        if message.sequence and not self._waiting:
            self._settle()

    def _note_deviation(self, told: Sequence[Quote], kept: Sequence[Quote]) -> None:
        for quote, result in zip(told, kept, strict=True):
            if (result is not quote) is self._deviating:
                continue
            self._deviating = result is not quote
            if self._deviating:
                self._log.warning(
                    "feed.deviating",
                    mark=quote.mark,
                    last=quote.last,
                    bid=quote.bid,
                    ask=quote.ask,
                    remedy="such prices trigger nothing; the resident stops keep guarding",
                )

    def _broadcast(self, quotes: Sequence[Quote], sequence: int) -> None:
        for quote in quotes:
            price = MarketPrice(quote=quote, sequence=sequence)
            for ref in self._positions.values():
                tell(ref, price)

    # -- the tape ------------------------------------------------------------------------------------------------------

    def _save_tapes_soon(self) -> None:
        if self._parts.persistence is not None and self._parts.desk.tapes and not self._saving_soon:
            self._saving_soon = True
            self._parts.clock.tell_after(TAPE_SECONDS, self.actor_ref, SaveTapesNow())

    def _save_tapes(self) -> None:
        """Save the tape for every shard that has not its latest; one copy a shard is under way at a time."""
        self._saving_soon = False
        desk, persistence = self._parts.desk, self._parts.persistence
        if persistence is None:
            return
        for shard, tape in list(desk.tapes.items()):
            name = self._parts.tape_name(shard)
            try:
                copy = desk.to_save(tape)
                raw = None if copy is None else encode_tape(plain_of(copy))
            except (ValueError, SnapshotCorrupt) as error:
                # It holds extremes and no decision: this symbol's stops and targets go on.
                self._log.error("tapes.unsaved", shard=shard, error=str(error))
                desk.refused(tape)
                continue
            if copy is not None and raw is not None:
                marks = {name: copy.sequence}
                message = SaveTapes(
                    shard=shard, tapes={name: raw}, epoch=tape.epoch, reply_to=self.actor_ref, marks=marks
                )
                tell(persistence, message)

    def _on_tapes_saved(self, message: TapesSaved) -> None:
        for sequence in message.marks.values():
            self._parts.desk.saved(message.shard, message.epoch, sequence)
        self._save_tapes_soon()

    # -- who listens ---------------------------------------------------------------------------------------------------

    def _register(self, message: Register) -> None:
        """A newcomer (or one back from a restart) gets the latest price at once, and settles it like the others."""
        self._positions[message.position_id] = message.ref
        if self._latest is None or not self._fresh:
            return
        if self._sequence and self._waiting:
            self._waiting.add(message.position_id)
        tell(message.ref, MarketPrice(quote=self._latest, sequence=self._sequence))

    def _on_settled(self, message: PriceSettled) -> None:
        if message.sequence == self._sequence:
            self._forget(message.position_id)

    def _forget(self, position_id: str) -> None:
        if position_id in self._waiting:
            self._waiting.discard(position_id)
            if not self._waiting:
                self._settle()

    def _settle(self) -> None:
        self._publish()
        tell(self._parts.gateway, SymbolSettled(symbol=self._parts.symbol, sequence=self._sequence))

    def _publish(self) -> None:
        """A market of an account that has begun anew meanwhile says nothing more: its positions are elsewhere."""
        name = (self._parts.settings.name, self._parts.symbol)
        if self._parts.directory.desks.get(name, self._parts.desk) is not self._parts.desk:
            return
        self._shown = FeedStatus(
            account=self._parts.settings.name,
            symbol=self._parts.symbol,
            quote=self._latest,
            fresh=self._fresh and self._latest is not None,
            settled=not self._waiting,
            updated_at=self._latest.at if self._latest else 0,
        )
        self._parts.directory.feeds[name] = self._shown

    def _arm(self) -> None:
        delay = self._parts.settings.feed_stale_seconds
        self._timer = self._parts.clock.tell_after(delay, self.actor_ref, CheckFreshness())

    def _check_freshness(self) -> None:
        """A feed that says nothing for too long is stale; its positions stand on their resident stops until it is
        back.
        """
        silent = self._parts.clock.monotonic() - self._heard_at
        if silent >= self._parts.settings.feed_stale_seconds and self._fresh:
            self._fresh = False
            self._parts.desk.mark_stale()
            self._publish()
            self._log.warning(
                "feed.stale",
                silent_seconds=round(silent, 1),
                remedy="no price triggers until it is back; the resident stops keep guarding",
            )
        self._arm()
