"""Sleeping: how a position comes back that has nothing to do, and has no actor before something concerns it.

Most of a hundred thousand positions come back to what they left (actors/domain/undisturbed.py), and then wait for
prices. Such a one is listed, shown, registered at its symbol's desk, known to its gateway and pinged like every other,
by a reference behind which its actor is made for the first message. All that happens here comes to what its actor
would do with BeginRecovery (actors/resuming.py); whatever is not plainly so is left to it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from actors.desk import Desk
from actors.directory import Published
from actors.domain.model import Position, Quote
from actors.domain.plain import shared
from actors.domain.price_late import passes_by
from actors.domain.prices import _merged as merged
from actors.domain.records import changed, maker, settle
from actors.domain.tape import StoredTape
from actors.domain.undisturbed import is_undisturbed
from actors.domain.watch import Watch, catch_up, stop_source_of, watch_of
from actors.position import PositionActor
from actors.position_parts import READS_A_SECOND, LookAround, PositionParts, Rested, look_around_seconds
from actors.recovery import caught_up
from actors.resuming import held_of
from actors.roster import Account, Roster
from actors.runtime.base import Ref, tell
from actors.survey import SlotSurveyed
from actors.traffic import BeginRecovery, PriceWoke

_PARTS, _PUBLISHED = maker(PositionParts), maker(Published)
_LOOK_AROUND = LookAround()
# So many of those that lay down together look around at the same time.
_LOOKS_TOGETHER = 10


class _Waiting(NamedTuple):
    """A position that has nothing to do: as it is from now on, as it is to be shown, and what it waits for."""

    position: Position
    shown: Position
    watch: Watch


class _Make:
    """What a sleeping position's actor is made with."""

    __slots__ = ("_given", "_own", "_rested")

    def __init__(self, given: dict[str, Any], own: tuple[Ref, Desk], rested: Rested) -> None:
        self._given = given
        self._own = own
        self._rested = rested

    def __call__(self) -> tuple[PositionParts, Rested]:
        position, (market, desk) = self._rested.position, self._own
        parts = _PARTS(position_id=position.id, symbol=position.symbol, market=market, desk=desk, **self._given)
        return parts, self._rested


@dataclass(frozen=True, slots=True)
class LooksDue:
    """A supervisor's reminder to itself: it is time for these to look around, a few after the other."""

    refs: tuple[Ref, ...]
    number: int


def look_around_later(roster: Roster, name: str, refs: tuple[Ref, ...]) -> None:
    """Remind those that lay down together; one reminder for each would cost as much as its registration."""
    seconds = look_around_seconds(name, len(roster.parts.directory.positions))
    roster.parts.runtime.clock.tell_after(seconds, roster.supervisor, LooksDue(refs, 0))


def on_looks_due(roster: Roster, message: LooksDue) -> None:
    """Let the next few look around: each wakes up for it, and reminds itself from then on."""
    until = message.number + _LOOKS_TOGETHER
    for ref in message.refs[message.number : until]:
        tell(ref, _LOOK_AROUND)
    if until < len(message.refs):
        delay = _LOOKS_TOGETHER / READS_A_SECOND
        roster.parts.runtime.clock.tell_after(delay, roster.supervisor, LooksDue(message.refs, until))


class Berths:
    """Where positions of one account lie down, in one turn of the supervisor."""

    def __init__(self, roster: Roster, account: Account) -> None:
        """In lockstep every position hears every price, and none sleeps."""
        self._roster = roster
        self._account = account
        self._shard = account.settings.shard
        self._given = roster.parts_given(account)
        self._terms = shared(account.terms)
        self._open = not account.venue.traits.lockstep

    def lie_down(
        self, position_id: str, begin: BeginRecovery, slot: SlotSurveyed, tape: StoredTape | None
    ) -> Ref | None:
        """The reference of a position that goes on as it is; None where its actor is to see for itself."""
        stored = begin.position
        if not self._open or stored is None or begin.spilled or begin.takeover or slot.fundings:
            return None
        roster, account = self._roster, self._account
        market, desk = roster.feeds.market(account, stored.symbol), roster.feeds.desk(account, stored.symbol)
        try:
            waiting = self._as_it_waits(stored, slot, tape, desk)
        except Exception as error:  # noqa: BLE001 - one position must not take the supervisor down; its actor fails alone.
            structlog.get_logger().warning("actor.not_asleep", actor=position_id, error=repr(error))
            return None
        if waiting is None:
            return None
        position, shown, watch = waiting
        rested = Rested(position, begin.version, begin.epoch, watch)
        ref = roster.parts.runtime.spawn_asleep(PositionActor, _Make(self._given, (market, desk), rested))
        # Before a price can wake it: what its actor shows of that is newer.
        self._show(shown, begin)
        serial, wake = desk.register(position_id, ref, watch, position.seen, shard=self._shard, epoch=account.epoch)
        if not serial:
            return None
        if wake is not None:
            tell(ref, PriceWoke(wake=wake))
        return ref

    def _as_it_waits(
        self, stored: Position, slot: SlotSurveyed, tape: StoredTape | None, desk: Desk
    ) -> _Waiting | None:
        """None where anything is to be done for it first, or might be. Changes nothing but the desk's points."""
        if any(read.candles or not read.complete for read in slot.candles):
            return None
        position, seen = caught_up(stored, tape)
        at = position.updated_at
        undisturbed = is_undisturbed(
            position,
            self._terms,
            at=max(slot.read_at, at),
            held=held_of(position, slot),
            looked_up=slot.looked_up,
            listed=slot.orders,
            trades=slot.trades,
        )
        if not undisturbed or _tries_again(position):
            return None
        source = stop_source_of(position.plan.stop_source, position.side)
        quote, sequence, missed = desk.come_back(self._shard, position.id, stored.seen, seen, source)
        nothing = seen <= 0 or (missed.low is None and missed.high is None)
        now = position if nothing else catch_up(position, missed)
        watch = watch_of(now, at)
        latest = slot.quote if slot.quote is not None else Quote(at=slot.read_at)
        if quote is not None:
            if not passes_by(now, watch, quote):
                return None
            latest = merged(latest, quote)
        if now is position is stored:
            # Nobody has seen it yet but who decoded it.
            settle(stored, {"seen": sequence, "latest": latest})
            return _Waiting(stored, stored, watch)
        waiting = changed(now, {"seen": sequence, "latest": latest})
        # Only what a crash would leave may be shown; what is shown asks the tape from there on.
        shown = waiting if now is position else changed(position, {"seen": seen, "latest": latest})
        return _Waiting(waiting, shown, watch)

    def _show(self, position: Position, begin: BeginRecovery) -> None:
        directory = self._roster.parts.directory
        directory.positions[position.id] = _PUBLISHED(
            position_id=position.id,
            account=position.account,
            position=position,
            version=begin.version,
            epoch=begin.epoch,
        )
        directory.lagging(position.id, 0)


def _tries_again(position: Position) -> bool:
    for intent in position.intents:  # noqa: SIM110 - half the price of any()
        if intent.retry_at is not None:
            return True
    return False
