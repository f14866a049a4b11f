"""PositionActor: owns one position; nothing else may change it.

Every change passes through this mailbox: compute first (`advance`), assign, save, and only once the save is
acknowledged let the effects go, those that the acknowledged state still wants. Protective full closes alone may leave
before.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pykka
import structlog

from actors.audit import line_of
from actors.commands import also_answer, amend, close, refuse_late
from actors.directory import Published
from actors.domain.advance import advance
from actors.domain.events import Effect, Event, Note, Submit
from actors.domain.model import Micros, Phase, Position
from actors.domain.orders import quiet
from actors.domain.records import changed
from actors.domain.schema import SCHEMA, dump
from actors.domain.watch import only_extremes
from actors.effects import release
from actors.listening import Listening
from actors.messages import AmendRequest, CloseRequest
from actors.opening import Opening
from actors.outbox import may_leave_unsaved, press, release_due
from actors.position_parts import LookAround, PositionParts, Rested, Waiting, Wake, look_around_seconds
from actors.recovery import Recovery
from actors.resuming import resume
from actors.runtime.base import tell
from actors.traffic import (
    ActorFailed,
    AlsoAnswer,
    BeginOpening,
    BeginRecovery,
    Finished,
    GapRead,
    Listen,
    LookAgain,
    MarketPrice,
    OpeningEnded,
    PriceSettled,
    PriceWoke,
    ReadSlot,
    SlotFreed,
    SlotRead,
    SlotTaken,
)
from persistence.messages import Save, Saved, SaveFailed


class PositionActor(pykka.ThreadingActor):
    """Owns one position. Every change passes through this mailbox."""

    use_daemon_thread = True

    def __init__(self, parts: PositionParts, rested: Rested | None = None) -> None:
        """It is empty until BeginOpening or BeginRecovery tells what it is, unless it came back and rested."""
        super().__init__()
        self.parts = parts
        self.position: Position | None = None if rested is None else rested.position
        self.version = 0 if rested is None else rested.version
        self._epoch = 0 if rested is None else rested.epoch
        self._change = 0
        self._acked_change = 0
        self._states: dict[int, Position] = {}
        self._waiting: list[Waiting] = []
        self._observing, self.reads_at = 0, 0.0
        self._sequence = 0
        self.booked_at: float | None = None
        self.ended = False
        self.listening = Listening(self, None if rested is None else rested.watch)
        self.opening: Opening | None = None
        self._recovery: Recovery | None = None

    def on_receive(self, message: object) -> None:  # noqa: PLR0912 - one line for each message
        """Events of the market, the venue, the store and people."""
        if self.ended:
            refuse_late(message)
            return
        match message:
            case PriceWoke():
                self.listening.on_woken(message)
            case MarketPrice():
                self._on_price(message)
            case Saved():
                self._on_saved(message)
            case SaveFailed():
                self._on_save_failed(message)
            case SlotRead():
                self._observing = max(0, self._observing - 1)
                reader = self.opening or self.recovery
                reader.on_slot(message)
                if self._recovery is not None and not self._recovery.under_way:
                    # A hundred thousand positions keep nothing that only their comeback needed.
                    self._recovery = None
                self._settle()
            case GapRead():
                self.recovery.on_gap(message)
                if not self.recovery.under_way:
                    self._recovery = None
            case BeginOpening():
                self.opening = Opening(self, message.request)
                self.opening.begin()
            case AlsoAnswer():
                also_answer(self, self.opening, message)
            case BeginRecovery():
                self.version, self._epoch = message.version, message.epoch
                # What a former life had not saved is nothing that this one lags behind with.
                self._publish_lag()
                if not resume(self, message):
                    self.recovery.begin(message)
            case CloseRequest():
                close(self, message)
            case AmendRequest():
                amend(self, message)
            case Wake():
                self.listening.on_wake()
            case LookAround():
                self.read_slot()
                self._look_around_later()
            case LookAgain():
                self.read_slot()
            case Listen():
                self.listening.on_listen()
            case _ if isinstance(message, Event):
                self.apply(message)
            case _:
                raise TypeError(f"PositionActor cannot take {type(message).__name__}")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """The supervisor starts it again from its snapshot; what was not acknowledged never happened."""
        del exception_type, traceback
        for waiting in self._waiting:
            if waiting.answer is not None:
                # Whether it was saved is open; the caller's time-out tells him to repeat with the same id.
                self.log.warning("actor.answer_lost", change=waiting.change)
        self.parts.directory.pressing.discard(self.parts.position_id)
        failure = ActorFailed(name=self.parts.position_id, kind="PositionActor", error=repr(exception_value))
        tell(self.parts.supervisor, failure)

    @property
    def log(self) -> Any:
        """Where lines about this position go."""
        return structlog.get_logger().bind(position=self.parts.position_id, account=self.parts.account.name)

    @property
    def recovery(self) -> Recovery:
        """How this position comes back, and what it makes of a read of its slot."""
        if self._recovery is None:
            self._recovery = Recovery(self)
        return self._recovery

    def on_stop(self) -> None:
        """Hear nothing more. A cycle would stay for good: no collector looks at what was frozen after the boot."""
        self.listening.stop()
        del self.listening
        self.opening = self._recovery = None
        self._waiting = []
        self.parts.directory.pressing.discard(self.parts.position_id)

    def apply(self, event: Event, answer: Callable[[Published], None] | None = None) -> None:
        """Catch up with the prices, then advance by one event. Raises DomainError, nothing changed."""
        self.listening.catch_up()
        before = self.position
        self.advance(event, answer)
        if before is not None:
            self.listening.after(max(event.at, before.updated_at))

    def advance(self, event: Event, answer: Callable[[Published], None] | None = None) -> None:
        """Advance by one event, save, and release what may be released. Raises DomainError, nothing changed."""
        before = self.position
        if before is None:
            return
        after, effects = advance(before, event)
        if self._recovery is not None:
            self._recovery.on_event(event)
        self.take(before, after, effects, answer)

    def take(
        self,
        before: Position | None,
        after: Position,
        effects: tuple[Effect, ...],
        answer: Callable[[Published], None] | None = None,
    ) -> None:
        """Make `after` the state: save it if it differs, queue its effects behind the save."""
        self.position = after
        if before is not None and before.fills != after.fills:
            self.booked_at = self.parts.clock.monotonic()
        notes = [effect for effect in effects if isinstance(effect, Note)]
        if after != before or notes:
            self._change += 1
            self._save(after, notes, soft=not effects and only_extremes(before, after))
        for effect in effects:
            if isinstance(effect, Submit) and may_leave_unsaved(self, effect):
                release(self, effect)
            else:
                self._waiting.append(Waiting(self._change, effect=effect))
                press(self, effect)
        if answer is not None:
            self._waiting.append(Waiting(self._change, answer=answer))
        if self._waiting and self._acked_change >= self._change:
            self._release_acknowledged(after)
        self.listening.arm_wake(after)
        self._settle()

    def _save(self, position: Position, notes: list[Note], *, soft: bool) -> None:
        self._states[self._change] = position
        self.listening.saving(position)
        self._publish_lag()
        tell(
            self.parts.persistence,
            Save(
                shard=self.parts.account.shard,
                position_id=position.id,
                schema=SCHEMA,
                grew_from=self.version,
                change=self._change,
                state=partial(dump, position),
                reply_to=self.actor_ref,
                events=[line_of(note, position.id) for note in notes],
                closed=position.phase is Phase.CLOSED,
                epoch=self.parts.epoch,
                soft=soft,
            ),
        )

    def _on_saved(self, message: Saved) -> None:
        if message.change <= self._acked_change:
            return
        if message.epoch != self.parts.epoch:
            self._on_saved_later(message)
            return
        acknowledged = self._states.get(message.change)
        self._acked_change = message.change
        self._publish_lag()
        self.version, self._epoch = message.version, message.epoch
        self._states = {change: state for change, state in self._states.items() if change > message.change}
        if acknowledged is None:
            return
        if self._acked_change >= self._change and self.position is not None:
            # Whether it is reconciled is not saved, and so may have changed since the save began without another one.
            acknowledged = changed(acknowledged, {"reconciling": self.position.reconciling})
        self.publish(acknowledged)
        self.listening.acknowledged(acknowledged)
        self._release_acknowledged(acknowledged)
        if acknowledged.phase is Phase.CLOSED and not self._waiting:
            self._finish()
            return
        self._settle()

    def _publish_lag(self) -> None:
        self.parts.directory.lagging(self.parts.position_id, self._change - self._acked_change)

    def _on_saved_later(self, message: Saved) -> None:
        """It was saved under a later epoch: durable, but another life of this position acts on it, not this one."""
        acknowledged = self._states.get(message.change)
        self.ended = True
        if acknowledged is None:
            return
        self.version, self._epoch = message.version, message.epoch
        self.publish(acknowledged)
        for waiting in self._waiting:
            if waiting.change > message.change:
                continue
            if waiting.answer is not None:
                waiting.answer(self.parts.directory.positions[acknowledged.id])
            elif isinstance(waiting.effect, Note):
                release(self, waiting.effect)

    def publish(self, position: Position) -> None:
        """Show an acknowledged state."""
        self.parts.directory.positions[position.id] = Published(
            position_id=position.id,
            account=position.account,
            position=position,
            version=self.version,
            epoch=self._epoch,
            quarantined="flipped on the exchange" if position.phase is Phase.QUARANTINED else "",
        )

    def publish_acknowledged(self) -> None:
        """Show the present state, if all of it is saved."""
        if self.position is not None and self.version and self._acked_change >= self._change:
            self.publish(self.position)

    def _on_save_failed(self, message: SaveFailed) -> None:
        """Definite: another version is stored, or another keeper owns the shard. This actor cannot go on."""
        if self.opening is not None and self.version == 0:
            self.opening.on_save_failed(message.error)
            return
        self.ended = True
        failure = ActorFailed(name=self.parts.position_id, kind="PositionActor", error=str(message.error))
        tell(self.parts.supervisor, failure)

    # -- effects ---------------------------------------------------------------------------------------------------

    def _release_acknowledged(self, acknowledged: Position) -> None:
        """Let go what waited for this acknowledgement."""
        due = [waiting for waiting in self._waiting if waiting.change <= self._acked_change]
        self._waiting = [waiting for waiting in self._waiting if waiting.change > self._acked_change]
        release_due(self, due, acknowledged)

    def read_slot(self, *, delay_seconds: float = 0.0) -> None:
        """Ask the gateway for the venue's view of this slot."""
        self._observing += 1
        position = self.position
        since = 0
        if position is not None:
            # Not since the last fill: an older trade of ours may never have been told.
            since = position.opened_at
        tell(
            self.parts.gateway,
            ReadSlot(
                symbol=self.parts.symbol,
                trades_since=since,
                reply_to=self.actor_ref,
                delay_seconds=delay_seconds,
            ),
        )

    # -- prices and time -------------------------------------------------------------------------------------------

    def event_time(self) -> Micros:
        """Now, by the venue's own time: that of the latest price, or the wall where there is none."""
        known = self.position.updated_at if self.position is not None else 0
        if not self.parts.own_time:
            return max(self.parts.clock.now(), known)
        quote = self.parts.directory.quote(self.parts.account.name, self.parts.symbol)
        return known if quote is None else max(quote.at, known)

    def manage(self, *, surveyed: bool = False) -> None:
        """From now on prices of the symbol come here, and reports of the slot's orders (of one that was surveyed they
        do already).
        """
        if not surveyed:
            self.take_slot()
        self.listening.begin(at_once=surveyed)
        self._look_around_later()

    def _look_around_later(self) -> None:
        """In lockstep the market waits for every read, and nobody changes anything by hand at that speed."""
        if not self.parts.lockstep:
            seconds = look_around_seconds(self.parts.position_id, len(self.parts.directory.positions))
            self.parts.clock.tell_after(seconds, self.actor_ref, LookAround())

    def take_slot(self) -> None:
        """From now on reports of the slot's orders come here."""
        parts = self.parts
        tell(parts.gateway, SlotTaken(position_id=parts.position_id, symbol=parts.symbol, ref=self.actor_ref))

    def _on_price(self, message: MarketPrice) -> None:
        self._sequence = message.sequence
        self.listening.on_price(message)
        self._settle()

    def _settle(self) -> None:
        """In lockstep: say that a price has settled, once its changes are saved and its orders are booked."""
        position = self.position
        if not self._sequence or position is None or self._waiting or self._acked_change < self._change:
            return
        if self._observing or position.reconciling or not quiet(position):
            return
        tell(self.parts.market, PriceSettled(position_id=position.id, sequence=self._sequence))
        self._sequence = 0

    def answer_once_saved(self, answer: Callable[[Published], None]) -> None:
        """Answer when the present state is acknowledged."""
        self._waiting.append(Waiting(self._change, answer=answer))

    def opened(self) -> None:
        """The opening is durable: the slot is ours."""
        self.opening = None
        tell(self.parts.supervisor, OpeningEnded(position_id=self.parts.position_id, accepted=True))

    def abandon(self) -> None:
        """The opening was refused: nothing was saved, nothing was sent."""
        self.ended = True
        self._leave()
        tell(self.parts.supervisor, OpeningEnded(position_id=self.parts.position_id, accepted=False))

    def _finish(self) -> None:
        self._leave()
        tell(self.parts.supervisor, Finished(position_id=self.parts.position_id))
        self.ended = True

    def _leave(self) -> None:
        """No price and no report is for us any more; the market does not wait for us."""
        parts = self.parts
        self.listening.end()
        parts.directory.lagging(parts.position_id, 0)
        tell(parts.gateway, SlotFreed(position_id=parts.position_id, symbol=parts.symbol))
