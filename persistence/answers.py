"""What the senders of saves are told. Only what is certain, and only after the trail of it is written down.

Saved: durable and read back. SaveFailed: definitely not saved, and why. Anything else is told nobody.
"""

import structlog

from persistence.messages import ReadEvents, Ref, Saved, TapesSaved, tell, tell_failed
from persistence.reports import Reports
from persistence.shard_book import ShardBook
from persistence.store import Outcome, SnapshotError, StaleOwner, Store, StoreUnreachable
from persistence.words import words_for_ownership

_log = structlog.get_logger("persistence")


class Answers:
    """Answers a batch whole: as it was settled, or as lost with its shard."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def settled(self, book: ShardBook, outcome: Outcome) -> None:
        """The batch was saved, except for what conflicts."""
        entries = book.finish(outcome.saved)
        tapes_told = self._tapes_settled(book, outcome)
        # What was spilled is taken back, and the trail written, before anybody hears of it and acts on it.
        self._reports.record(list(book.settled_spills(outcome.saved)))
        for name, conflict in outcome.conflicts.items():
            self._reports.dropped(book, entries[name], conflict)
        saved = [entries[name] for name in outcome.saved]
        if outcome.unrecorded:
            self._reports.unrecorded(book, saved, outcome.unrecorded)
        elif any(entry.events for entry in saved):
            book.unrecorded = False
        for name, entry in entries.items():
            snapshot = outcome.saved.get(name)
            if snapshot is None:
                tell_failed(entry.save, outcome.conflicts[name])
                continue
            save, version, epoch = entry.save, snapshot.version, snapshot.epoch
            tell(save.reply_to, Saved(position_id=name, change=save.change, version=version, epoch=epoch))
        for ref, told in tapes_told:
            tell(ref, told)
        if outcome.saved:
            _log.debug("snapshot.saved", shard=book.shard, positions=len(outcome.saved), epoch=book.epoch)

    def _tapes_settled(self, book: ShardBook, outcome: Outcome) -> list[tuple[Ref, TapesSaved]]:
        if not outcome.unsaved_tapes:
            return book.tapes.finish(book.shard, book.epoch)
        book.tapes.thaw()
        self._reports.unsaved_tapes(book, outcome.unsaved_tapes)
        return []

    def lost(self, book: ShardBook, error: StaleOwner) -> None:
        """Nothing that waits will be saved: the shard is not ours."""
        entries = book.abandon()
        self._reports.stale_owner(book, error, entries, words_for_ownership(book.epoch, error.epoch))
        for entry in entries:
            tell_failed(entry.save, error)


def answer_events(store: Store, message: ReadEvents) -> None:
    """Set a position's audit trail on the reply, or what kept it from being read."""
    try:
        message.reply.set(store.events(message.shard, message.position_id, message.limit))
    except (StoreUnreachable, SnapshotError) as error:
        message.reply.set(error)
