"""MarketActor: one per symbol; brings each price to the positions it concerns.

For now every price goes to every position of its symbol. A price that cannot be trusted triggers nothing: a source that
deviates too far from the mark price is left out, a stale feed is told and marked. In lockstep it gathers the positions'
word that a price has settled.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pykka
import structlog

from actors.directory import Directory, FeedStatus
from actors.domain.model import HUNDRED, Quote
from actors.runtime.base import Clock, Ref, Timer, tell
from actors.settings import AccountSettings
from actors.traffic import (
    ActorFailed,
    CheckFreshness,
    MarketPrice,
    PriceSettled,
    Register,
    SymbolSettled,
    Unregister,
)
from actors.venues.base import PricesUpdated


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
    """What a MarketActor works with."""

    settings: AccountSettings
    symbol: str
    gateway: Ref
    supervisor: Ref
    directory: Directory
    clock: Clock
    lockstep: bool


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
                self._positions.pop(message.position_id, None)
                self._forget(message.position_id)
            case CheckFreshness():
                self._check_freshness()
            case _:
                raise TypeError(f"MarketActor cannot take {type(message).__name__}")

    def on_start(self) -> None:
        """A feed that never says anything must not look fresh."""
        self._publish()
        if not self._parts.lockstep:
            self._arm()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Its account begins anew."""
        del exception_type, traceback
        name = f"market:{self._parts.settings.name}:{self._parts.symbol}"
        tell(self._parts.supervisor, ActorFailed(name=name, kind="MarketActor", error=repr(exception_value)))

    def _on_prices(self, message: PricesUpdated) -> None:
        self._heard_at = self._parts.clock.monotonic()
        if not self._fresh:
            self._fresh = True
            self._log.info("feed.recovered")
        quote = trusted(message.quote, self._parts.settings.max_deviation_percent)
        if (quote is not message.quote) != self._deviating:
            self._deviating = quote is not message.quote
            if self._deviating:
                self._log.warning(
                    "feed.deviating",
                    mark=message.quote.mark,
                    last=message.quote.last,
                    bid=message.quote.bid,
                    ask=message.quote.ask,
                    remedy="such prices trigger nothing; the resident stops keep guarding",
                )
        self._latest = quote
        self._sequence = message.sequence
        self._waiting = set(self._positions) if message.sequence else set()
        self._publish()
        price = MarketPrice(quote=quote, sequence=message.sequence)
        for ref in self._positions.values():
            tell(ref, price)
        if message.sequence and not self._waiting:
            self._settle()

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
        self._parts.directory.feeds[(self._parts.settings.name, self._parts.symbol)] = FeedStatus(
            account=self._parts.settings.name,
            symbol=self._parts.symbol,
            quote=self._latest,
            fresh=self._fresh and self._latest is not None,
            settled=not self._waiting,
            updated_at=self._latest.at if self._latest else 0,
        )

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
            self._publish()
            self._log.warning(
                "feed.stale",
                silent_seconds=round(silent, 1),
                remedy="no price triggers until it is back; the resident stops keep guarding",
            )
        self._arm()
