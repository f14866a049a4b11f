"""The PersistenceActor: group commit, leases, and what to do while the store is out of reach.

It alone uses the store, and may block on it. Saves that are in its mailbox travel in one transaction, newest state per
position. An answer is given when it is certain: Saved, or SaveFailed with a definite error. Everything else is written
to the local failure log, kept, and tried again with back-off; nothing is reported as failed because Redis is slow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pykka
import structlog

from persistence import lease as leases_module
from persistence.answers import Answers, answer_events
from persistence.failure_log import FailureRecord
from persistence.lease import Lease, LeaseBoard
from persistence.messages import (
    Drain,
    ReadEvents,
    ReadSnapshot,
    Save,
    SaveTapes,
    ShardLost,
    ShardRefused,
    SnapshotRead,
    TakeShard,
    tell,
    tell_failed,
)
from persistence.reach import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, Clock, Reach
from persistence.reports import Reports
from persistence.shard_book import ShardBook
from persistence.store import (
    Foreseeing,
    LeaseHeld,
    Outage,
    SnapshotCorrupt,
    SnapshotError,
    StaleOwner,
    Store,
    StoreUnreachable,
)
from persistence.tape_queue import TAPE_SECONDS
from persistence.tenure import Tenure
from persistence.turns import Turns

_log = structlog.get_logger("persistence")


@dataclass(frozen=True, slots=True)
class _Flush:
    """Save a batch of what waits: told once, when the first Save comes, so that those already in the mailbox join."""


@dataclass(frozen=True, slots=True)
class _TapesDue:
    """Tapes have waited long enough for a position to travel with."""

    shard: str


@dataclass(frozen=True, slots=True)
class _Renew:
    """Prolong this lease. One of an earlier epoch is out of date."""

    shard: str
    epoch: int


@dataclass(frozen=True, slots=True)
class _Retry:
    """See whether the store is back."""


class PersistenceActor(pykka.ThreadingActor):
    """Owns the store. Every save, lease and read passes through this mailbox."""

    own_thread: ClassVar[bool] = True  # It blocks on the store, and would hold up whoever shares a thread with it.

    def __init__(
        self,
        store: Store,
        failure_log: FailureRecord,
        leases: LeaseBoard,
        clock: Clock,
        owner: str,
        *,
        dead_owner: Callable[[str], bool] | None = None,
        lease_ttl_seconds: float = 10.0,
        batch_limit: int = 500,
        boottime: Callable[[], float] = leases_module.boottime,
        on_reachable: Callable[[bool], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._store = store
        self._foresee = store.foresee if isinstance(store, Foreseeing) else None
        self._failure_log = failure_log
        self._clock = clock
        self._lease_ttl_seconds = lease_ttl_seconds
        self._batch_limit = batch_limit
        self._reports = Reports(failure_log)
        self._answers = Answers(self._reports)
        self._tenure = Tenure(
            store, leases, owner, self._reports, dead_owner=dead_owner, ttl_seconds=lease_ttl_seconds, boottime=boottime
        )
        self._reach = Reach(self._reports, boottime, on_reachable)
        self._books: dict[str, ShardBook] = {}
        self._turns = Turns(lambda: tell(self.actor_ref, _Flush()), self._is_urgent)

    def on_receive(self, message: Any) -> None:
        """Handle one message; see persistence.messages."""
        match message:
            case Save():
                self._on_save(message)
            case SaveTapes():
                self._on_tapes(message)
            case _Flush():
                self._on_flush()
            case _TapesDue():
                self._on_tapes_due(message)
            case _Renew():
                self._on_renew(message)
            case _Retry():
                self._on_retry()
            case TakeShard():
                self._on_take(message)
            case ReadSnapshot():
                self._on_read(message)
            case ReadEvents():
                answer_events(self._store, message)
            case Drain():
                self._on_drain(message)
            case _:
                _log.warning("persistence.unexpected_message", kind=type(message).__name__)

    def on_stop(self) -> None:
        """Let go of the store's connections."""
        self._store.close()

    # --- saving ------------------------------------------------------------------------------------------------------

    def _on_save(self, save: Save) -> None:
        book = self._books.get(save.shard)
        if book is None:
            error = StaleOwner(f"shard {save.shard} is not held by this keeper", shard=save.shard, epoch=0)
            tell_failed(save, error)
            return
        if book.announced and save.epoch is not None and save.epoch != book.epoch:
            # Its sender belongs to a life of the shard that has ended; what is stored was handed on without it.
            text = f"shard {save.shard} was taken again under epoch {book.epoch}, after this save's {save.epoch}"
            tell_failed(save, StaleOwner(text, shard=save.shard, epoch=book.epoch))
            return
        book.add(save)
        self._turns.ask(save.shard)

    def _on_tapes(self, message: SaveTapes) -> None:
        book = self._books.get(message.shard)
        if book is None or (book.announced and message.epoch is not None and message.epoch != book.epoch):
            return
        book.tapes.add(message)
        self._tapes_later(book)

    def _tapes_later(self, book: ShardBook) -> None:
        if book.tapes.waiting and not book.tapes.timer_set:
            book.tapes.timer_set = True
            self._clock.tell_after(TAPE_SECONDS, self.actor_ref, _TapesDue(book.shard))

    def _on_tapes_due(self, message: _TapesDue) -> None:
        book = self._books.get(message.shard)
        if book is not None:
            book.tapes.timer_set = False
            self._turns.ask(message.shard)

    def _is_urgent(self, shard: str) -> bool:
        book = self._books.get(shard)
        return book is not None and book.urgent

    def _on_flush(self) -> None:
        book = self._books.get(self._turns.take() or "")
        if book is not None and (book.unsaved or book.tapes.waiting):
            if not self._reach.ok:
                outage = self._reach.outage or Outage.OTHER
                self._reports.spill(book, StoreUnreachable("the store is out of reach", outage=outage))
            elif self._save_batch(book) and book.unsaved:
                self._turns.ask(book.shard)
        self._turns.rest()

    def _flush_all(self, book: ShardBook) -> bool:
        """Save all that waits, now. False when it still waits, or the shard was lost over it."""
        while book.unsaved:
            if not self._save_batch(book):
                return False
        # Once: tapes that are refused wait for the next time, and keep nobody.
        if book.tapes.waiting and not self._save_batch(book):
            return False
        return book.shard in self._books

    def _save_batch(self, book: ShardBook) -> bool:
        """Save one batch. False when it could not be settled, or the shard was lost."""
        changes = book.freeze(self._batch_limit, self._foresee)
        try:
            outcome = self._store.save(book.shard, book.epoch, changes, book.tapes.values)
        except StaleOwner as error:
            self._stand_down(book, error)
            return False
        except SnapshotCorrupt as error:
            self._stand_down(book, book.unreadable(error))
            return False
        except StoreUnreachable as error:
            # Definitely not saved, so newer states may take the place of these in the next attempt.
            book.thaw()
            self._trouble(error, book)
            return False
        # Whatever else went wrong, the batch may have been saved: it stays frozen and is given again as it is.
        except Exception as error:  # noqa: BLE001
            self._reports.unknown(book, error)
            self._trouble(error, book)
            return False
        self._answers.settled(book, outcome)
        self._tapes_later(book)
        return True

    # --- the store out of reach --------------------------------------------------------------------------------------

    def _trouble(self, error: Exception, book: ShardBook) -> None:
        self._out_of_reach(book.shard, book.epoch, error)
        self._reports.spill(book, error)

    def _out_of_reach(self, shard: str, epoch: int, error: Exception) -> None:
        self._reach.lost(shard, epoch, error)
        # With no shard of ours there is nothing to retry: whoever wants one asks again.
        wait_seconds = self._reach.next_retry() if self._books else None
        if wait_seconds is not None:
            self._clock.tell_after(wait_seconds, self.actor_ref, _Retry())

    def _on_retry(self) -> None:
        self._reach.retry_pending = False
        for book in list(self._books.values()):
            before = self._reach.troubles
            self._keep_lease(book)
            if self._reach.troubles == before:
                self._catch_up(book)
            # The other shards would only wait for the same time-outs. Trouble of one shard alone is not theirs.
            if self._reach.troubles > before and self._reach.lasts:
                return
        # Without a shard of ours nothing was asked: then the next one that is taken tells.
        if self._books and not self._reach.retry_pending:
            self._reach.back()

    # --- leases ------------------------------------------------------------------------------------------------------

    def _on_take(self, message: TakeShard) -> None:
        shard = message.shard
        book = self._books.get(shard)
        if book is not None:
            # Asked for again (the supervisor was restarted): the same as after a lease that ran out.
            book.taker, book.announced = message.reply_to, False
            self._retake(book)
            return
        try:
            lease = self._acquire(shard)
            book = self._books[shard] = ShardBook(shard, lease.epoch, message.reply_to, lease.deadline)
            self._announce(book)
            self._answered()
        except LeaseHeld as error:
            self._answered()
            wait_seconds = max(FIRST_RETRY_SECONDS, error.remaining_seconds)
            tell(message.reply_to, ShardRefused(shard=shard, message=str(error), retry_seconds=wait_seconds))
        except (StoreUnreachable, SnapshotError) as error:
            self._books.pop(shard, None)
            if isinstance(error, StoreUnreachable):
                self._out_of_reach(shard, 0, error)
            tell(message.reply_to, ShardRefused(shard=shard, message=str(error), retry_seconds=LONGEST_RETRY_SECONDS))

    def _answered(self) -> None:
        # Where a retry is arranged, that one tells, once everything is saved.
        if not self._reach.retry_pending:
            self._reach.back()

    def _acquire(self, shard: str) -> Lease:
        lease = self._tenure.acquire(shard)
        self._renew_later(shard, lease.epoch)
        return lease

    def _announce(self, book: ShardBook) -> None:
        """Load the shard and hand it to whoever took it. Raises StoreUnreachable, SnapshotError."""
        taken = self._tenure.load(book, self._failure_log)
        book.announced = True
        tell(book.taker, taken)

    def _renew_later(self, shard: str, epoch: int) -> None:
        self._clock.tell_after(self._lease_ttl_seconds / 3, self.actor_ref, _Renew(shard, epoch))

    def _on_renew(self, message: _Renew) -> None:
        book = self._books.get(message.shard)
        if book is None or book.epoch != message.epoch:
            return
        # While the store is out of reach, the retries renew it as soon as it is back.
        if self._reach.ok:
            self._keep_lease(book)
        elif self._tenure.ran_out(book):
            self._lose(book)
        if book.epoch == message.epoch:
            self._renew_later(message.shard, message.epoch)

    def _keep_lease(self, book: ShardBook) -> None:
        """Renew the lease, or, once it ran out, retake the shard under a higher epoch."""
        if self._tenure.ran_out(book):
            self._retake(book)
            return
        try:
            self._tenure.renew(book)
        except StaleOwner as error:
            if error.epoch == book.epoch:
                self._retake(book)
            else:
                self._stand_down(book, error)
        except SnapshotCorrupt as error:
            self._stand_down(book, book.unreadable(error))
        except StoreUnreachable as error:
            self._trouble(error, book)

    def _retake(self, book: ShardBook) -> None:
        """Take our own shard again. What waits was decided under the old epoch, and counts if nobody came between."""
        if book.announced:
            self._lose(book)
        try:
            lease = self._acquire(book.shard)
        except LeaseHeld as error:
            self._stand_down(book, StaleOwner(str(error), shard=book.shard, epoch=book.epoch + 1))
            return
        except SnapshotCorrupt as error:
            self._stand_down(book, book.unreadable(error))
            return
        except StoreUnreachable as error:
            self._trouble(error, book)
            return
        self._reports.retaken(book.shard, lease.epoch)
        between = lease.epoch - book.epoch - 1
        book.epoch, book.deadline, book.lost = lease.epoch, lease.deadline, False
        if between:
            message = f"shard {book.shard} had another owner in between"
            self._answers.lost(book, StaleOwner(message, shard=book.shard, epoch=lease.epoch))
            book.known.clear()
        self._catch_up(book)

    def _catch_up(self, book: ShardBook) -> None:
        """Save what waits, then hand over a shard that was retaken."""
        if book.shard not in self._books or not self._flush_all(book) or book.announced:
            return
        try:
            self._announce(book)
        except (StoreUnreachable, SnapshotError) as error:
            self._trouble(error, book)

    def _lose(self, book: ShardBook) -> None:
        """The lease ran out. Nobody is known to have taken it: it is retaken as soon as the store answers."""
        if book.lost:
            return
        book.lost, book.announced = True, False
        self._reports.lease_lost(book)
        tell(book.taker, ShardLost(shard=book.shard, epoch=book.epoch, fenced=False))

    def _stand_down(self, book: ShardBook, error: StaleOwner) -> None:
        """Somebody else owns the shard: nothing of ours counts any more."""
        del self._books[book.shard]
        self._tenure.forfeit(book)
        self._answers.lost(book, error)
        tell(book.taker, ShardLost(shard=book.shard, epoch=error.epoch, fenced=True))

    # --- reading and leaving -----------------------------------------------------------------------------------------

    def _on_read(self, message: ReadSnapshot) -> None:
        """Answer with what is stored, after what waits for that position: whoever reads is about to go on from it."""
        name = message.position_id
        book = self._books.get(message.shard)
        try:
            if book is not None and book.holds(name) and not (self._reach.ok and self._flush_all(book)):
                raise StoreUnreachable(f"position {name} has a state that could not be saved yet")
            snapshot = self._store.read(message.shard, name)
            if book is not None and snapshot is not None:
                book.learn_one(snapshot)
            answer = SnapshotRead(position_id=name, snapshot=snapshot)
        except (StoreUnreachable, SnapshotError) as error:
            answer = SnapshotRead(position_id=name, snapshot=None, error=error)
        tell(message.reply_to, answer)

    def _on_drain(self, message: Drain) -> None:
        for book in list(self._books.values()):
            if not self._flush_all(book) and book.shard not in self._books:
                continue
            try:
                self._tenure.release(book)
            except (StoreUnreachable, SnapshotError) as error:
                why = "the lease could not be given up; the next keeper waits until it runs out"
                _log.warning("lease.lost", shard=book.shard, why=why, error=str(error), remedy="it expires by itself")
            self._books.pop(book.shard, None)
        message.reply.set(True)
