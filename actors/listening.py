"""Listening: how one position hears prices, and of the time.

In lockstep its market tells it every one, and waits until each has settled. Otherwise it registers at the symbol's desk
what it waits for, is told just those prices, and catches up with the others whenever it needs its extremes.
"""

from typing import TYPE_CHECKING

from actors.domain.events import PriceMoved, TimePassed
from actors.domain.model import Micros, Phase, Position
from actors.domain.price_late import passes_by
from actors.domain.prices import _merged as merged
from actors.domain.prices import next_deadline
from actors.domain.records import changed
from actors.domain.watch import Watch, catch_up, stop_source_of, watch_of
from actors.position_parts import Wake
from actors.runtime.base import tell
from actors.traffic import Listen, MarketPrice, PriceWoke, Register, Unregister

if TYPE_CHECKING:
    from actors.position import PositionActor

SHORTEST_WAKE_SECONDS = 1.0


class Listening:
    """One position's ear, on its actor's turns alone."""

    __slots__ = ("_actor", "_overtaken", "_serial", "_wake_at", "_watch")

    def __init__(self, actor: "PositionActor", watch: Watch | None = None) -> None:
        """It hears nothing before `begin`, unless others register it for this."""
        self._actor = actor
        # None: others register it, after it is made or before. The number is asked for when the first price comes.
        self._serial: int | None = 0 if watch is None else None
        self._overtaken = False
        self._watch = watch
        self._wake_at: Micros | None = None

    def begin(self, *, at_once: bool = False) -> None:
        """From now on prices come here, the latest at once. `at_once`: nothing was decided that comes before."""
        actor, parts = self._actor, self._actor.parts
        if parts.lockstep:
            tell(parts.market, Register(position_id=parts.position_id, ref=actor.actor_ref))
        elif at_once:
            self.on_listen(at_once=True)
        else:
            # A message of its own: what was decided so far is done first, as with a price that comes from the market.
            tell(actor.actor_ref, Listen())

    def end(self) -> None:
        """No price is for this position any more; the market does not wait for it."""
        parts = self._actor.parts
        if parts.lockstep:
            tell(parts.market, Unregister(position_id=parts.position_id))
        self.stop()

    def stop(self) -> None:
        """This actor hears nothing more. In lockstep its market still waits: for the one that takes its place."""
        parts = self._actor.parts
        self._serial, self._watch = 0, None
        parts.desk.unregister(parts.position_id, self._actor.actor_ref)

    def since_now(self, position: Position) -> Position:
        """A position that begins now: prices that were played before are none of its own."""
        parts = self._actor.parts
        return position if parts.lockstep else changed(position, {"seen": parts.desk.present()})

    def saving(self, position: Position) -> None:
        """A state is about to be saved: the tape keeps what came after it."""
        parts = self._actor.parts
        if not parts.lockstep:
            parts.desk.saving(parts.account.shard, position.id, position.seen)

    def acknowledged(self, position: Position) -> None:
        """A state is saved."""
        parts = self._actor.parts
        if position.phase is Phase.CLOSED:
            parts.desk.end(parts.account.shard, position.id)
        elif not parts.lockstep:
            parts.desk.acknowledged(parts.account.shard, position.id, position.seen)

    def on_listen(self, *, at_once: bool = False) -> None:
        """Take the latest price, if it is fresh, then wait for what matters after it.

        `at_once`: the position has nothing else to do, so that one which it does not wait for need not be told to it.
        """
        actor = self._actor
        if actor.position is None:
            return
        position, parts = actor.position, actor.parts
        source = stop_source_of(position.plan.stop_source, position.side)
        quote, sequence, missed = parts.desk.look(parts.account.shard, position.seen, source)
        at = position.updated_at
        if position.seen > 0:
            position = catch_up(position, missed)
        watch = watch_of(position, at) if at_once else None
        if watch is not None and (quote is None or passes_by(position, watch, quote)):
            latest = position.latest if quote is None else merged(position.latest, quote)
            actor.position = changed(position, {"seen": sequence, "latest": latest})
            self._register(at, watch)
            return
        actor.position = changed(position, {"seen": sequence})
        if quote is not None:
            at = max(at, quote.at)
            actor.advance(PriceMoved(quote=quote))
        self._register(at)

    def on_price(self, message: MarketPrice) -> None:
        """One price of the broadcast."""
        self._actor.advance(PriceMoved(quote=message.quote))

    def on_woken(self, message: PriceWoke) -> None:
        """A price that this position waited for. One that an older registration asked for is out of date."""
        actor, wake = self._actor, message.wake
        position = actor.position
        if self._serial is None:
            self._serial = actor.parts.desk.serial(actor.parts.position_id, actor.actor_ref)
        if position is None or wake.serial != self._serial or self._watch is None:
            return
        at = max(position.updated_at, wake.quote.at)
        actor.position = catch_up(position, wake.missed, wake.tick)
        self._watch = None
        actor.advance(PriceMoved(quote=wake.quote))
        self._register(at)

    def catch_up(self) -> None:
        """Bring the position's extremes and latest price up to now. While a price is on its way to it, that decides;
        but the extremes that it will tell came before whatever is heard first.
        """
        actor = self._actor
        if self._watch is None or actor.position is None:
            return
        found = actor.parts.desk.fold(actor.parts.position_id, actor.actor_ref)
        self._overtaken = found is None
        if found is not None:
            actor.position = catch_up(actor.position, *found)
            return
        missed = actor.parts.desk.on_the_way(actor.parts.position_id, actor.actor_ref)
        if missed is not None:
            actor.position = catch_up(actor.position, missed)

    def after(self, at: Micros) -> None:
        """Something was applied: wait for what matters now; where a price is on its way, once that has come.

        To register before would judge by today's levels what was played before they were.
        """
        position = self._actor.position
        if self._overtaken:
            return
        if self._watch is not None and position is not None and watch_of(position, at) != self._watch:
            self._register(at)

    def arm_wake(self, position: Position) -> None:
        """Be reminded when time alone will change something; in lockstep the next price comes before."""
        actor = self._actor
        if actor.parts.lockstep:
            return
        now = actor.event_time()
        deadline = next_deadline(position, now)
        if deadline is None or deadline == self._wake_at:
            return
        self._wake_at = deadline
        delay = max(SHORTEST_WAKE_SECONDS, (deadline - now) / 1_000_000)
        actor.parts.clock.tell_after(delay, actor.actor_ref, Wake())

    def on_wake(self) -> None:
        """Time has passed."""
        actor = self._actor
        position, self._wake_at = actor.position, None
        if position is None:
            return
        actor.apply(TimePassed(at=actor.event_time()))
        self.arm_wake(actor.position or position)

    def _register(self, at: Micros, watch: Watch | None = None) -> None:
        actor = self._actor
        position = actor.position
        if position is None or actor.ended:
            return
        self._watch = watch if watch is not None else watch_of(position, at)
        parts = actor.parts
        self._serial, wake = parts.desk.register(
            parts.position_id,
            actor.actor_ref,
            self._watch,
            position.seen,
            shard=parts.account.shard,
            epoch=parts.epoch,
        )
        if wake is not None:
            tell(actor.actor_ref, PriceWoke(wake=wake))
