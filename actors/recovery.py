"""How a PositionActor comes back, and what it makes of a read of its slot.

After a restart: look up every intent without a terminal outcome → read the slot → book, compare, backfill → go on.
Until then prices are not asked for, so nothing acts before it is reconciled.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from actors.desk import missed_of
from actors.domain.advance import advance
from actors.domain.events import (
    Event,
    ExtremesBackfilled,
    ForeignOrderSeen,
    OrderAbsent,
    OrderReported,
    OrphanSeen,
    PositionObserved,
    Reconciled,
)
from actors.domain.events import Recovered as PositionRecovered
from actors.domain.model import ZERO, Micros, OrderKind, Position, Quote, Reason, Source
from actors.domain.records import changed
from actors.domain.schema import load
from actors.domain.tape import StoredTape
from actors.domain.watch import catch_up
from actors.opening import describe, terms_of
from actors.runtime.base import tell
from actors.survey import CandlesRead
from actors.traffic import BeginRecovery, GapRead, ReadGap, Recovered, SlotRead
from actors.venues.base import Candle, VenueOrder

if TYPE_CHECKING:
    from actors.position import PositionActor

Gap = GapRead | CandlesRead

# How long a read may lag behind what the venue has told already, and how soon an unreadable slot is asked for again.
SETTLING_SECONDS = 2.0
UNREADABLE_SECONDS = 30.0


class Recovery:
    """One comeback under way, and afterwards the reader of its slot."""

    __slots__ = ("_actor", "_gaps", "_missing", "_open_lookups", "_read", "_recovering", "_saved_at")

    def __init__(self, actor: "PositionActor") -> None:
        """Belongs to one actor for its whole life."""
        self._actor = actor
        self._open_lookups: set[str] = set()
        self._recovering = False
        self._read: SlotRead | None = None
        self._saved_at = 0
        self._missing: set[Source] = set()
        self._gaps: dict[Source, GapRead] = {}

    def begin(self, message: BeginRecovery) -> None:
        """Load the stored state and ask for the truth about its orders. Raises ValueError for a
        state it cannot read.
        """
        actor, tape = self._actor, message.tape
        stored = position = message.position or load(message.state, message.schema)
        if tape is not None:
            position, seen = caught_up(position, tape)
            position = changed(position, {"seen": seen})
        actor.listening.saving(stored)
        if position.seen != stored.seen:
            # What is shown has seen more than what is stored: the tape must answer for both.
            actor.listening.saving(position)
        self._recovering = True
        # Before any answer can arrive: what the look-ups must settle, sent or only planned.
        self._open_lookups = {intent.client_order_id for intent in position.intents if not intent.status.terminal}
        self._saved_at = saved_at(position, tape)
        actor.position = position
        actor.take_slot()
        at = max(position.updated_at, actor.event_time())
        event = PositionRecovered(
            at=at, terms=terms_of(actor), instrument=position.instrument, takeover=message.takeover
        )
        after, effects = advance(position, event)
        if not message.spilled:
            # What is stored was acknowledged, whatever the comeback will change.
            actor.publish(changed(position, {"reconciling": True}))
        # A spilled state is not the stored one: it is saved again, whatever the comeback itself changes.
        actor.take(None if message.spilled else stored, after, effects)
        self._when_looked_up()

    @property
    def under_way(self) -> bool:
        """Whether the comeback is not reconciled yet."""
        return self._recovering

    def on_event(self, event: Event) -> None:
        """An answer about an order: once all are in, the slot is read."""
        if not self._recovering:
            return
        if isinstance(event, OrderReported | OrderAbsent) and event.client_order_id in self._open_lookups:
            self._open_lookups.discard(event.client_order_id)
            self._when_looked_up()

    def _too_fresh(self) -> bool:
        """Whether something of ours was booked a moment ago, at a venue whose reads may lag behind its reports."""
        actor = self._actor
        if actor.parts.own_time or actor.booked_at is None:
            return False
        return actor.parts.clock.monotonic() - actor.booked_at < SETTLING_SECONDS

    def _when_looked_up(self) -> None:
        if self._recovering and not self._open_lookups and self._read is None:
            self._actor.read_slot()

    def on_slot(self, slot: SlotRead) -> None:
        """Compare what the venue holds with what is recorded."""
        actor, position = self._actor, self._actor.position
        if position is None:
            return
        if slot.error:
            # It was traded once, so that its position cannot be judged from this: said, and asked again.
            actor.log.warning("order.unknown", leg="", why=slot.error, symbol=slot.symbol)
            actor.read_slot(delay_seconds=UNREADABLE_SECONDS)
            return
        if self._too_fresh():
            actor.read_slot(delay_seconds=SETTLING_SECONDS / 2)
            return
        for funding in slot.fundings:
            actor.apply(funding)
        position = actor.position or position
        self._foreign_and_orphans(position, slot)
        actor.apply(
            PositionObserved(
                at=max(slot.at, position.updated_at),
                quantity=_own_direction(position, slot),
                read_at=actor.parts.clock.now(),
                behind=is_behind(position, slot),
                trades=slot.trades,
                open_orders=tuple(order.client_order_id for order in slot.orders if as_asked(position, order)),
                cause=_cause(slot),
            )
        )
        after = actor.position
        if self._recovering and self._read is None and after is not None and after.observed is None:
            # A difference that waits for its second read is waited for: nothing acts before it is reconciled.
            self._read = slot
            self._missing = {position.plan.stop_source, position.plan.targets_source}
            for source in sorted(self._missing):
                ask = ReadGap(symbol=actor.parts.symbol, source=source, since=self._saved_at, reply_to=actor.actor_ref)
                tell(actor.parts.gateway, ask)

    def _foreign_and_orphans(self, position: Position, slot: SlotRead) -> None:
        actor = self._actor
        known = {intent.client_order_id for intent in position.intents}
        for order in slot.orders:
            if order.client_order_id in known or not order.reduce_only:
                continue
            ours = order.client_order_id.startswith(position.order_tag)
            if ours and not self._recovering:
                # Placed by another life of this position, perhaps a new owner's: never to be taken for our own.
                continue
            if ours:
                actor.apply(
                    OrphanSeen(
                        at=slot.at,
                        client_order_id=order.client_order_id,
                        kind=order.kind,
                        quantity=order.quantity,
                        trigger_price=order.trigger_price,
                    )
                )
            else:
                actor.apply(
                    ForeignOrderSeen(at=slot.at, venue_order_id=order.venue_order_id, description=describe(order))
                )

    def on_gap(self, gap: GapRead) -> None:
        """Once the candles of both sources are in: backfill the extremes, then go on."""
        actor, position, slot = self._actor, self._actor.position, self._read
        if not self._recovering or position is None or slot is None:
            return
        self._gaps[gap.source] = gap
        self._missing.discard(gap.source)
        if self._missing:
            return
        self._backfill(position, slot)
        self._recovering = False
        quote = slot.quote if slot.quote is not None else Quote(at=slot.at)
        actor.apply(Reconciled(at=max(slot.at, position.updated_at), quote=quote))
        actor.publish_acknowledged()
        actor.manage()
        tell(actor.parts.supervisor, Recovered(position_id=position.id))

    def _backfill(self, position: Position, slot: SlotRead) -> None:
        """Only completed candles that began after the last save, and after the trail was armed, are taken."""
        stops, targets = self._gaps[position.plan.stop_source], self._gaps[position.plan.targets_source]
        event = backfill_of(stops, targets, self._saved_at, at=max(slot.at, position.updated_at))
        if event is not None:
            self._actor.apply(event)


def saved_at(position: Position, tape: StoredTape | None) -> Micros:
    """Up to when a stored position knows its extremes: what began later is taken from candles."""
    return max(position.updated_at, position.peak_at or 0, tape.at if tape is not None else 0)


def caught_up(position: Position, tape: StoredTape | None) -> tuple[Position, int]:
    """A stored position with what the stored tape has beyond it, and what it has seen then."""
    if tape is None:
        return position, position.seen
    # Prices that only moved its extremes were saved with the symbol's tape, not with the position.
    return catch_up(position, missed_of(position, tape)), max(position.seen, tape.sequence)


def backfill_of(stops: Gap, targets: Gap, since: Micros, *, at: Micros) -> ExtremesBackfilled | None:
    """What the candles of both sources that began after `since` say of the extremes; None where they say nothing."""
    highest, lowest = extremes(stops, since)
    best_high, best_low = extremes(targets, since)
    if highest is None and best_high is None and stops.complete:
        return None
    return ExtremesBackfilled(
        at=at,
        exact=stops.complete,
        high=highest.high if highest else None,
        high_at=highest.at if highest else 0,
        low=lowest.low if lowest else None,
        low_at=lowest.at if lowest else 0,
        targets_high=best_high.high if best_high else None,
        targets_low=best_low.low if best_low else None,
    )


def extremes(gap: Gap, since: Micros) -> tuple[Candle | None, Candle | None]:
    """The candles with the highest and the lowest price of those that began after `since`."""
    candles = [candle for candle in gap.candles if candle.at > since]
    highest = max(candles, key=lambda candle: candle.high, default=None)
    return highest, min(candles, key=lambda candle: candle.low, default=None)


def _own_direction(position: Position, slot: SlotRead) -> Decimal:
    held = slot.position
    if held is None:
        return ZERO
    return held.quantity if held.side is position.side else -held.quantity


def as_asked(position: Position, order: VenueOrder) -> bool:
    """Whether a listed order for a target is what we asked for; one that is not is read by itself."""
    for intent in position.intents:
        if intent.client_order_id == order.client_order_id and intent.kind is OrderKind.LIMIT:
            # One that has filled further is read by itself too: its trades may lag behind the listing.
            same = (order.quantity, order.reduce_only) == (intent.quantity, True) and not order.position_wide
            same = same and order.filled == intent.filled
            return same and order.limit_price in (None, intent.limit_price)
    return True


def is_behind(position: Position, slot: SlotRead) -> bool:
    """Whether the slot's trades do not show the latest of ours that is booked, of those that they could show.

    The latest by its own time: an earlier one may have been booked after it.
    """
    since = position.opened_at
    ours = [fill for fill in position.fills if not fill.leg.startswith("external-") and fill.at >= since]
    latest = max((fill.at for fill in ours), default=0)
    listed = {trade.trade_id for trade in slot.trades}
    return any(fill.at == latest and fill.trade_id not in listed for fill in ours)


def _cause(slot: SlotRead) -> Reason:
    for trade in reversed(slot.trades):
        if trade.cause in ("liquidated", "adl"):
            return Reason(trade.cause)
    return Reason.EXTERNAL
