"""Taking, renewing and giving up shards, with deadlines that count from before the request was sent."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from persistence.failure_log import Failure, FailureRecord
from persistence.lease import Lease, LeaseBoard
from persistence.messages import ShardTaken
from persistence.reports import Reports
from persistence.shard_book import ShardBook, applies, outlived
from persistence.store import Line, Loaded, Store

_log = structlog.get_logger("persistence")


class Tenure:
    """The leases of one keeper. Blocks on the store, and raises what the store raises."""

    def __init__(
        self,
        store: Store,
        leases: LeaseBoard,
        owner: str,
        reports: Reports,
        *,
        dead_owner: Callable[[str], bool] | None,
        ttl_seconds: float,
        boottime: Callable[[], float],
    ) -> None:
        self._store = store
        self._leases = leases
        self._owner = owner
        self._reports = reports
        self._dead_owner = dead_owner
        self._ttl_seconds = ttl_seconds
        self._boottime = boottime
        # For each shard the last epoch of this process, and the epoch before its unbroken run began.
        self._runs: dict[str, tuple[int, int]] = {}
        self._takeovers: dict[str, bool] = {}

    def acquire(self, shard: str) -> Lease:
        """Take the lease under a higher epoch, and keep count of the epochs that were ours without a gap."""
        dead_owner, ended_at = self._the_dead(shard)
        asked_at = self._boottime()
        fence = self._store.take(shard, self._owner, self._ttl_seconds, dead_owner=dead_owner)
        last, before_run = self._runs.get(shard, (-1, 0))
        ours = fence.epoch == last + 1
        vouched = dead_owner is not None or ended_at == fence.epoch - 1
        self._takeovers[shard] = fence.epoch > 1 and not ours and not vouched
        self._runs[shard] = (fence.epoch, before_run if fence.epoch == last + 1 else fence.epoch - 1)
        lease = self._post(shard, fence.epoch, asked_at + self._ttl_seconds)
        _log.info("lease.taken", shard=shard, epoch=fence.epoch, owner=self._owner)
        return lease

    def _post(self, shard: str, epoch: int, deadline: float) -> Lease:
        lease = Lease(shard=shard, epoch=epoch, deadline=deadline, ours_since=self._runs[shard][1] + 1)
        self._leases.post(lease)
        return lease

    def _the_dead(self, shard: str) -> tuple[str | None, int]:
        """The holder of the lease if it is proven dead; where the lease is gone, the epoch of the one who had it last
        according to the line of owners, if that one is (0: nothing is proven).
        """
        if self._dead_owner is None:
            return None, 0
        holder = self._store.lease_owner(shard)
        if holder is not None:
            return (holder if holder != self._owner and self._dead_owner(holder) else None), 0
        line = self._store.line(shard)
        if line is None or not line.owner or line.owner == self._owner or not self._dead_owner(line.owner):
            return None, 0
        return None, line.until

    def ran_out(self, book: ShardBook) -> bool:
        """Whether the shard's lease can no longer be counted on."""
        return book.lost or self._boottime() >= book.deadline

    def renew(self, book: ShardBook) -> None:
        """Prolong the lease. Raises StaleOwner, with our own epoch when the lease has only run out."""
        asked_at = self._boottime()
        self._store.renew(book.shard, self._owner, book.epoch, self._ttl_seconds)
        book.deadline = asked_at + self._ttl_seconds
        self._post(book.shard, book.epoch, book.deadline)

    def forfeit(self, book: ShardBook) -> None:
        """Tell the gateways to sign nothing more for this shard."""
        self._leases.post(Lease(shard=book.shard, epoch=book.epoch, deadline=0.0, fenced=True))

    def release(self, book: ShardBook) -> None:
        """Give the lease up, so that the next owner need not wait. The gateways are stopped first."""
        self.forfeit(book)
        self._store.release(book.shard, self._owner, book.epoch)

    def load(self, book: ShardBook, failure_log: FailureRecord) -> ShardTaken:
        """Everything of a shard that was taken, with the spilled states that still apply."""
        loaded = self._store.load(book.shard)
        takeover = self._takeovers.get(book.shard, False)
        line = replace(_prolonged(loaded.line, book.epoch, takeover=takeover), owner=self._owner)
        if line != loaded.line:
            self._store.note_line(book.shard, line)
        book.learn(loaded)
        spills = self._spills(book, loaded, failure_log)
        # Written again under the new epoch: a keeper that dies while it comes back finds them next time too.
        self._reports.record([replace(spill, epoch=book.epoch) for spill in spills])
        book.spilled.update(spill.position_id for spill in spills)
        return ShardTaken(
            shard=book.shard,
            epoch=book.epoch,
            loaded=loaded,
            spills={spill.position_id: spill.state or {} for spill in spills},
            spill_schemas={spill.position_id: spill.schema for spill in spills},
            takeover=takeover,
            unbroken_since=line.since,
        )

    def _spills(self, book: ShardBook, loaded: Loaded, failure_log: FailureRecord) -> list[Failure]:
        stored = {snapshot.position_id: snapshot for snapshot in loaded.snapshots}
        _, before_run = self._runs[book.shard]
        found = []
        stale = []
        try:
            spills = failure_log.spills(book.shard)
        except OSError as error:
            self._reports.unreadable_log(error)
            return []
        for name, spill in spills.items():
            if name in loaded.corrupt:
                continue
            # A closed position is not among the loaded, and its spill must not be taken for a new one's.
            snapshot = stored[name] if name in stored else self._store.read(book.shard, name)
            if applies(spill, snapshot, before_run, book.epoch):
                found.append(spill)
            elif outlived(spill, snapshot, before_run, book.epoch):
                stale.append(spill)
        self._reports.discarded(book.shard, book.epoch, stale)
        return found


def _prolonged(noted: Line | None, epoch: int, *, takeover: bool) -> Line:
    """The line of owners up to this epoch. What was noted by another epoch than the one before says nothing: a release
    that knows of no lines, say, has owned the shard since.
    """
    if takeover:
        return Line(since=epoch, until=epoch)
    if noted is not None and noted.until in (epoch - 1, epoch):
        return Line(since=noted.since, until=epoch)
    # Only of the one before it is known that it was the only one.
    return Line(since=max(1, epoch - 1), until=epoch)
