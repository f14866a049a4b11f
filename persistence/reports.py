"""What the persistence actor writes down when saving goes wrong: the failure log first, then the log.

Every line says `why` and `remedy` in words that need no knowledge of Redis; `error` has the technical text.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from persistence.failure_log import (
    DISCARDED,
    LEASE_LOST,
    LEASE_TAKEN,
    REACHABLE,
    SPILLED,
    UNREACHABLE,
    UNRECORDED,
    Failure,
    FailureRecord,
)
from persistence.shard_book import ShardBook, Waiting
from persistence.store import Outage, SnapshotConflict, SnapshotCorrupt, SnapshotUnknown, StaleOwner
from persistence.words import Words, outage_in, words_for

_NOT_APPLIED = "something else is stored than what this state grew from, or another epoch owned the shard since"

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
            _log.error(
                "failure_log.failed",
                why="the failure log cannot be written, so this outage leaves no trace on disk",
                error=str(error),
                remedy="free space in data_dir, or check its disk",
            )

    def unreadable_log(self, error: OSError) -> None:
        """What an earlier run could not save was not looked at."""
        _log.error(
            "failure_log.failed",
            why="the failure log cannot be read: what an earlier run could not save is not taken up again",
            error=str(error),
            remedy="give the keeper's user access to failures.jsonl in data_dir, and restart it",
        )

    def discarded(self, shard: str, epoch: int, spills: Sequence[Failure]) -> None:
        """What an earlier run could not save does not apply any more."""
        if not spills:
            return
        lines = [replace(spill, kind=DISCARDED, epoch=epoch, error=_NOT_APPLIED, at="") for spill in spills]
        self.record(lines)
        words = words_for(lines[0])
        _log.warning(
            DISCARDED,
            shard=shard,
            positions=len(lines),
            first_positions=[line.position_id for line in lines[:10]],
            why=words.why,
            remedy=words.remedy,
        )

    def unreachable(self, shard: str, epoch: int, error: Exception, outage: Outage) -> None:
        """The store does not do its work."""
        failure = Failure(kind=UNREACHABLE, shard=shard, epoch=epoch, error=str(error), cause=outage.value)
        self.record([failure])
        words = words_for(failure)
        _log.error(UNREACHABLE, shard=shard, why=words.why, error=str(error), remedy=words.remedy)

    def reachable(self, shard: str, epoch: int, seconds: float) -> None:
        """The store does its work again."""
        self.record([Failure(kind=REACHABLE, shard=shard, epoch=epoch, error="")])
        _log.warning(
            REACHABLE,
            shard=shard,
            away_seconds=round(seconds, 3),
            why="Redis answers again, and everything that waited is saved",
            remedy="nothing to do; `exitkeeper failures` tells what waited",
        )

    def dropped(self, book: ShardBook, entry: Waiting, error: SnapshotConflict | SnapshotCorrupt) -> None:
        """One position was definitely not saved."""
        kind = "snapshot.failed" if isinstance(error, SnapshotCorrupt) else "snapshot.conflict"
        failure = book.failure(kind, entry, error)
        self.record([failure])
        words = words_for(failure)
        _log.error(
            kind,
            shard=book.shard,
            position=entry.save.position_id,
            change=entry.save.change,
            why=words.why,
            error=str(error),
            remedy=words.remedy,
        )

    def unrecorded(self, book: ShardBook, entries: Sequence[Waiting], error: str) -> None:
        """Saved, and not recorded in Redis: the lines are kept here, each time; it is said once until it is over."""
        lines = [
            Failure(
                kind=UNRECORDED,
                shard=book.shard,
                epoch=book.epoch,
                error=error,
                position_id=entry.save.position_id,
                change=entry.save.change,
                schema=entry.save.schema,
                # The history lacks a closed position's last state; an open one's is stored, and needs no copy.
                state=entry.save.plain if entry.closed else None,
                events=entry.events,
                closed=entry.closed,
            )
            for entry in entries
            if entry.events or entry.closed
        ]
        lines = lines or [Failure(kind=UNRECORDED, shard=book.shard, epoch=book.epoch, error=error)]
        self.record(lines)
        if book.unrecorded:
            return
        book.unrecorded = True
        words = words_for(lines[0])
        _log.error(
            UNRECORDED,
            shard=book.shard,
            positions=len(lines),
            first_positions=[line.position_id for line in lines[:10]],
            why=words.why,
            error=error,
            remedy=words.remedy,
        )

    def unsaved_tapes(self, book: ShardBook, error: str) -> None:
        """The positions are saved, and the tapes are not; said once until they are. They guard nothing."""
        if book.tapes.reported:
            return
        book.tapes.reported = True
        _log.warning(
            "tapes.unsaved",
            shard=book.shard,
            symbols=sorted(book.tapes.waiting)[:10],
            why="the record of prices could not be stored; positions and orders are",
            error=error,
            remedy="it is tried again by itself; if this stays, see what else writes the keeper's keys",
        )

    def unknown(self, book: ShardBook, error: Exception) -> None:
        """Whether a batch was saved could not be settled yet; said once for a batch, however often it is tried."""
        if book.doubt_reported:
            return
        book.doubt_reported = True
        kind = "snapshot.unknown" if isinstance(error, SnapshotUnknown) else "snapshot.failed"
        failure = Failure(kind=kind, shard=book.shard, epoch=book.epoch, error=str(error), cause=outage_in(error).value)
        self.record([failure])
        words = words_for(failure)
        _log.error(
            kind,
            shard=book.shard,
            positions=len(book.batch),
            first_positions=list(book.batch)[:10],
            why=words.why,
            error=str(error),
            remedy=words.remedy,
        )

    def spill(self, book: ShardBook, error: Exception) -> None:
        """Write down every state that waits, once."""
        failures = list(book.new_spills(error))
        if not failures:
            return
        self.record(failures)
        words = words_for(failures[0])
        _log.error(
            SPILLED,
            shard=book.shard,
            positions=len(failures),
            first_positions=[failure.position_id for failure in failures[:10]],
            why=words.why,
            error=str(error),
            remedy=f"{words.remedy}; saving is tried again by itself, and nothing is forgotten",
        )

    def stale_owner(self, book: ShardBook, error: StaleOwner, entries: Sequence[Waiting], words: Words) -> None:
        """Another owner has the shard, and these states were not saved."""
        lines = [book.failure("snapshot.stale_owner", entry, error, cause=str(error.epoch)) for entry in entries]
        # That the shard is not ours belongs into the trail even when nothing waited.
        nothing = Failure(
            kind="snapshot.stale_owner", shard=book.shard, epoch=book.epoch, error=str(error), cause=str(error.epoch)
        )
        self.record(lines or [nothing])
        _log.error(
            "snapshot.stale_owner",
            shard=book.shard,
            epoch=book.epoch,
            newer_epoch=error.epoch,
            positions=len(entries),
            why=words.why,
            error=str(error),
            remedy=words.remedy,
        )

    def lease_lost(self, book: ShardBook) -> None:
        """The lease ran out."""
        failure = Failure(kind=LEASE_LOST, shard=book.shard, epoch=book.epoch, error="the lease ran out")
        self.record([failure])
        words = words_for(failure)
        _log.error(LEASE_LOST, shard=book.shard, epoch=book.epoch, why=words.why, remedy=words.remedy)

    def retaken(self, shard: str, epoch: int) -> None:
        """A lease that had run out is ours again; the log has a line of its own for every taken lease."""
        self.record([Failure(kind=LEASE_TAKEN, shard=shard, epoch=epoch, error="")])
