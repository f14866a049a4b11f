"""Snapshots in memory, under the same rules as in Redis: for tests and for the simulator. Nothing outlives the process.

A MemoryServer is what would be the Redis server; a MemoryStore is one client of it. Several stores may share a server,
as several owners would. `faults` is called with a stage and may raise, to lose a request or its reply:

    before_read    nothing was sent        before_write    the write was lost
    after_write    the write was applied, its reply was lost

An Exception is trouble that the store deals with; a BaseException passes through, as the death of the process would.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from persistence.batch import Batch, bare_revision
from persistence.codec import (
    decode_event,
    decode_fence,
    decode_line,
    decode_snapshot,
    encode_fence,
    encode_line,
)
from persistence.commit import ATTEMPTS, CommittingStore, Doubtful, NotSent, Refusals, stale_owner
from persistence.store import Fence, LeaseHeld, Line, Loaded, Snapshot, SnapshotCorrupt, StoreUnreachable

CLOSED_KEPT_SECONDS = 30 * 24 * 3600
EVENTS_KEPT = 100_000
CLOSED_KEPT = 10_000


@dataclass(slots=True)
class ShardData:
    """The bytes of one shard. With a reason to refuse them, the audit trail takes no lines, and no tape is taken."""

    fence: bytes | None = None
    line: bytes | None = None
    lease: tuple[str, int, float] | None = None
    positions: dict[str, bytes] = field(default_factory=dict)
    expires: dict[str, float] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    closed: list[tuple[str, bytes]] = field(default_factory=list)
    tapes: dict[str, bytes] = field(default_factory=dict)
    trail_refuses: str = ""
    tapes_refuse: str = ""


@dataclass(slots=True)
class MemoryServer:
    """What the stores share: shards by name. Tests reach into it as an operator would into Redis."""

    shards: dict[str, ShardData] = field(default_factory=dict)

    def shard(self, name: str) -> ShardData:
        """The shard's bytes, empty when there are none yet."""
        return self.shards.setdefault(name, ShardData())


class MemoryStore(CommittingStore):
    """The Store port in memory. `now` is in seconds and runs the leases and the expiry of closed positions."""

    def __init__(
        self,
        *,
        newest_schema: int,
        known_fields: Collection[str] | None = None,
        new_write_id: Callable[[], str] | None = None,
        now: Callable[[], float] = time.monotonic,
        faults: Callable[[str], None] | None = None,
        server: MemoryServer | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        super().__init__(
            newest_schema=newest_schema, known_fields=known_fields, new_write_id=new_write_id, attempts=attempts
        )
        self._newest_schema = newest_schema
        self._now = now
        self._watched: bytes | None = None
        self.faults = faults
        self.server = server or MemoryServer()

    # --- the steps of a save -----------------------------------------------------------------------------------------

    def _begin(self, shard: str, names: Sequence[str]) -> tuple[Fence, Mapping[str, bytes | None]]:
        self._stage("before_read", NotSent)
        data = self._data(shard)
        self._watched = data.fence
        return decode_fence(shard, data.fence), {name: data.positions.get(name) for name in names}

    def _abandon(self) -> None:
        self._watched = None

    def _commit(self, shard: str, batch: Batch) -> Refusals:
        self._stage("before_write", Doubtful)
        data = self._data(shard)
        if data.fence != self._watched:
            raise Doubtful("the shard was written by somebody else in between")
        self._apply(data, batch)
        self._stage("after_write", Doubtful)
        return Refusals(lines=data.trail_refuses if batch.lines else "", tapes=data.tapes_refuse if batch.tapes else "")

    def _settle(self, shard: str, batch: Batch) -> tuple[Fence, bool]:
        self._stage("before_read", Doubtful)
        data = self._data(shard)
        fence = decode_fence(shard, data.fence)
        if fence.epoch == batch.epoch:
            fence = bare_revision(fence)
            data.fence = encode_fence(fence)
        present = bool(batch.values) and all(data.positions.get(name) == raw for name, raw in batch.values.items())
        return fence, fence.write_id == batch.write_id or present

    def _reset(self) -> None:
        self._watched = None

    def _apply(self, data: ShardData, batch: Batch) -> None:
        data.fence = batch.fence
        data.positions.update(batch.values)
        if not data.tapes_refuse:
            data.tapes.update(batch.tapes)
        for name, raw in batch.values.items():
            data.expires.pop(name, None)
            if name in batch.closed:
                data.open.discard(name)
                data.closed.append((name, raw))
                data.expires[name] = self._now() + CLOSED_KEPT_SECONDS
            elif name not in batch.listed:
                data.open.add(name)
        if not data.trail_refuses:
            data.events += ((line.position_id, line.event) for line in batch.lines)
        del data.events[:-EVENTS_KEPT]
        del data.closed[:-CLOSED_KEPT]

    # --- the lease ---------------------------------------------------------------------------------------------------

    def take(self, shard: str, owner: str, ttl_seconds: float, *, dead_owner: str | None = None) -> Fence:
        """See Store.take. Also raises SnapshotCorrupt when the fence itself cannot be read."""
        trouble: Exception | None = None
        for _ in range(self._attempts):
            try:
                self._stage("before_read", StoreUnreachable)
                data = self._data(shard)
                fence = decode_fence(shard, data.fence)
                if data.lease is not None and data.lease[0] not in (owner, dead_owner):
                    self._begun.pop((shard, owner), None)
                    raise self._held(shard, data.lease)
                watched = (data.fence, data.lease)
                self._stage("before_write", StoreUnreachable)
                self._unmoved(self._data(shard), watched)
                meant = self._next_take(shard, owner, fence)
                data.fence = encode_fence(meant)
                data.lease = (owner, meant.epoch, self._now() + ttl_seconds)
                self._stage("after_write", StoreUnreachable)
                del self._begun[shard, owner]
                return meant
            except StoreUnreachable as error:
                trouble = error
        raise StoreUnreachable(f"shard {shard} could not be taken: {trouble}")

    def _held(self, shard: str, lease: tuple[str, int, float]) -> LeaseHeld:
        owner, _, expires = lease
        remaining_seconds = expires - self._now()
        message = f"shard {shard} is held by {owner} for {remaining_seconds:.1f} s at most"
        return LeaseHeld(message, shard=shard, owner=owner, remaining_seconds=remaining_seconds)

    def renew(self, shard: str, owner: str, epoch: int, ttl_seconds: float) -> None:
        """See Store.renew."""
        self._stage("before_read", StoreUnreachable)
        data = self._data(shard)
        fence = decode_fence(shard, data.fence)
        if fence.epoch != epoch or data.lease is None or data.lease[:2] != (owner, epoch):
            raise stale_owner(shard, epoch, fence.epoch)
        watched = (data.fence, data.lease)
        self._stage("before_write", StoreUnreachable)
        self._unmoved(self._data(shard), watched)
        data.lease = (owner, epoch, self._now() + ttl_seconds)
        self._stage("after_write", StoreUnreachable)

    def _unmoved(self, data: ShardData, watched: tuple[object, object]) -> None:
        """Lease and fence are compared and set together: what moved since they were read fails the write."""
        if (data.fence, data.lease) != watched:
            raise StoreUnreachable("the shard was written by somebody else in between")

    def release(self, shard: str, owner: str, epoch: int) -> None:
        """See Store.release."""
        self._stage("before_read", StoreUnreachable)
        data = self._data(shard)
        if data.lease is not None and data.lease[:2] == (owner, epoch):
            data.lease = None

    def lease_owner(self, shard: str) -> str | None:
        """See Store.lease_owner."""
        self._stage("before_read", StoreUnreachable)
        lease = self._data(shard).lease
        return None if lease is None else lease[0]

    def fence(self, shard: str) -> Fence:
        """See Store.fence."""
        self._stage("before_read", StoreUnreachable)
        return decode_fence(shard, self._data(shard).fence)

    def line(self, shard: str) -> Line | None:
        """See Store.line."""
        self._stage("before_read", StoreUnreachable)
        return decode_line(shard, self._data(shard).line)

    def note_line(self, shard: str, line: Line) -> None:
        """See Store.note_line."""
        self._stage("before_write", StoreUnreachable)
        self._data(shard).line = encode_line(line)

    # --- reading -----------------------------------------------------------------------------------------------------

    def load(self, shard: str, closed_limit: int = 1000) -> Loaded:
        """See Store.load."""
        self._stage("before_read", StoreUnreachable)
        data = self._data(shard)
        snapshots: list[Snapshot] = []
        corrupt: dict[str, SnapshotCorrupt] = {}
        for name in sorted(data.open):
            try:
                snapshots.append(self._decode_open(name, data.positions.get(name)))
            except SnapshotCorrupt as error:
                corrupt[name] = error
        closed: dict[str, Snapshot] = {}
        for name, raw in data.closed[-closed_limit:][::-1] if closed_limit > 0 else []:
            with suppress(SnapshotCorrupt):
                closed.setdefault(name, decode_snapshot(name, raw, self._newest_schema))
        return Loaded(
            snapshots=snapshots,
            corrupt=corrupt,
            closed=list(closed.values()),
            tapes=dict(data.tapes),
            line=decode_line(shard, data.line),
        )

    def read(self, shard: str, position_id: str) -> Snapshot | None:
        """See Store.read."""
        self._stage("before_read", StoreUnreachable)
        raw = self._data(shard).positions.get(position_id)
        return None if raw is None else decode_snapshot(position_id, raw, self._newest_schema)

    def events(self, shard: str, position_id: str, limit: int = 1000) -> Sequence[Mapping[str, Any]]:
        """See Store.events: the latest `limit`, oldest first."""
        self._stage("before_read", StoreUnreachable)
        found = [event for name, event in self._data(shard).events if name == position_id]
        return [decode_event(raw) for raw in found[max(0, len(found) - limit) :]]

    def shards(self) -> Sequence[str]:
        """See Store.shards."""
        return sorted(name for name, data in self.server.shards.items() if data.fence is not None)

    def close(self) -> None:
        """See Store.close. The server keeps what it has."""
        self._reset()

    def _decode_open(self, name: str, raw: bytes | None) -> Snapshot:
        if raw is None:
            raise SnapshotCorrupt(f"position {name} is listed as open, but its snapshot is gone", position_id=name)
        return decode_snapshot(name, raw, self._newest_schema)

    def _data(self, shard: str) -> ShardData:
        data = self.server.shard(shard)
        now = self._now()
        if data.lease is not None and data.lease[2] <= now:
            data.lease = None
        for name in [name for name, expires in data.expires.items() if expires <= now]:
            del data.expires[name]
            del data.positions[name]
        return data

    def _stage(self, stage: str, conclusion: type[Exception]) -> None:
        """Let the test interfere; whatever it raises is what this stage allows to conclude."""
        if self.faults is None:
            return
        try:
            self.faults(stage)
        except Exception as error:
            raise conclusion(f"{stage}: {error}") from error
