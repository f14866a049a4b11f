"""What the persistence actor writes down when saving goes wrong: the failure log first, then the log, with a remedy."""

from collections.abc import Sequence

import structlog

from persistence.failure_log import Failure, FailureRecord
from persistence.shard_book import ShardBook, Waiting
from persistence.store import SnapshotConflict, SnapshotCorrupt, SnapshotUnknown, StaleOwner

_CORRUPT_REMEDY = "the position is not managed until it is repaired: `exitkeeper snapshots show` tells what is stored"
_CONFLICT_REMEDY = "the position goes on from what is stored; what was not saved is in the failure log"

_log = structlog.get_logger("persistence")


class Reports:
    """Writes failures down. Never raises: a full disk must not stop the saving."""

    def __init__(self, failure_log: FailureRecord) -> None:
        self._failure_log = failure_log

    def record(self, failures: Sequence[Failure]) -> None:
        """Keep these lines in the failure log."""
        try:
            self._failure_log.append(failures)
        except OSError as error:
            _log.error("failure_log.failed", error=str(error), remedy="free space in data_dir, or check its disk")

    def dropped(self, book: ShardBook, entry: Waiting, error: SnapshotConflict | SnapshotCorrupt) -> None:
        """One position was definitely not saved."""
        corrupt = isinstance(error, SnapshotCorrupt)
        kind = "snapshot.failed" if corrupt else "snapshot.conflict"
        self.record([book.failure(kind, entry, error)])
        _log.error(
            kind,
            shard=book.shard,
            position=entry.save.position_id,
            change=entry.save.change,
            error=str(error),
            remedy=_CORRUPT_REMEDY if corrupt else _CONFLICT_REMEDY,
        )

    def unknown(self, book: ShardBook, error: Exception) -> None:
        """Whether a batch was saved could not be settled yet; said once for a batch, however often it is tried."""
        if book.doubt_reported:
            return
        book.doubt_reported = True
        kind = "snapshot.unknown" if isinstance(error, SnapshotUnknown) else "snapshot.failed"
        self.record([Failure(kind=kind, shard=book.shard, epoch=book.epoch, error=str(error))])
        _log.error(
            kind,
            shard=book.shard,
            positions=len(book.batch),
            error=str(error),
            remedy="it is settled as soon as Redis answers again; orders that depend on it wait until then",
        )

    def spill(self, book: ShardBook, error: Exception) -> None:
        """Write down every state that waits, once."""
        failures = list(book.new_spills(error))
        if not failures:
            return
        self.record(failures)
        _log.error(
            "snapshot.spilled",
            shard=book.shard,
            positions=len(failures),
            first_positions=[failure.position_id for failure in failures[:10]],
            error=str(error),
            remedy="Redis does not answer: check that it runs; saving is tried again by itself, nothing is forgotten",
        )

    def stale_owner(self, book: ShardBook, error: StaleOwner, entries: Sequence[Waiting]) -> None:
        """Another owner has the shard, and these states were not saved."""
        self.record([book.failure("snapshot.stale_owner", entry, error) for entry in entries])
        _log.error(
            "snapshot.stale_owner",
            shard=book.shard,
            epoch=book.epoch,
            newer_epoch=error.epoch,
            positions=len(entries),
            error=str(error),
            remedy="another keeper manages these positions; if there should be only one, stop one of the two",
        )

    def lease_lost(self, book: ShardBook) -> None:
        """The lease ran out."""
        _log.error(
            "lease.lost",
            shard=book.shard,
            epoch=book.epoch,
            remedy="Redis did not answer in time; exits rest on the exchange's own stop until the shard is retaken",
        )
