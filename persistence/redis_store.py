"""Snapshots in Redis: one transaction a batch, guarded by one watched fence, read back before it is believed.

The keys of a shard share a hash tag, hence one slot of a Redis Cluster:

    ek:{shard}:pos:<id>   one snapshot           ek:{shard}:events   stream, the audit trail
    ek:{shard}:fence      epoch, revision, write ek:{shard}:closed   stream of final snapshots
    ek:{shard}:lease      owner, with a TTL      ek:{shard}:tape:<symbol>, ek:{shard}:symbols
    ek:{shard}:open       set of ids             ek:{shard}:line     since when owners followed one another

Every writer advances the fence, so any interleaved write fails the EXEC. The lease is a key of its own, so that
renewing it breaks nobody's WATCH. Where a shard's keys are is asked of persistence/redis_nodes.py before every step,
except that a transaction goes out on the connection that watches, and on no other.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import MovedError, ResponseError

from persistence.batch import Batch, bare_revision
from persistence.codec import (
    decode_event,
    decode_fence,
    decode_line,
    decode_snapshot,
    encode_fence,
    encode_lease,
    encode_line,
)
from persistence.commit import ATTEMPTS, CommittingStore, Doubtful, NotSent, Refusals, stale_owner
from persistence.redis_commands import (
    Keys,
    as_meant,
    closed_of,
    first_questions,
    lease_or_unreadable,
    milliseconds,
    pass_over_another_type,
    positions_as_meant,
    read_back,
    refusals,
    values_present,
    writes,
)
from persistence.redis_connection import Command, RedisError, Refused, ServerFacts, outage_of
from persistence.redis_nodes import Route, servers_of
from persistence.store import Fence, LeaseHeld, Line, Loaded, Outage, Snapshot, SnapshotCorrupt, StoreUnreachable

_PAGE = 1000


class RedisStore(CommittingStore):
    """The Store port on Redis. Blocks; belongs on one thread. What `url` may be: see persistence/address.py."""

    def __init__(
        self,
        url: str,
        *,
        newest_schema: int,
        known_fields: Collection[str] | None = None,
        new_write_id: Callable[[], str] | None = None,
        connect_timeout_seconds: float = 2.0,
        read_timeout_seconds: float = 2.0,
        before_connect: Callable[[], None] | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        super().__init__(
            newest_schema=newest_schema, known_fields=known_fields, new_write_id=new_write_id, attempts=attempts
        )
        self._newest_schema = newest_schema
        self._foreseen: tuple[str, list[str]] | None = None
        self._route = Route(
            servers_of(
                url,
                connect_timeout_seconds=connect_timeout_seconds,
                read_timeout_seconds=read_timeout_seconds,
                before_connect=before_connect,
            )
        )

    # --- the steps of a save -----------------------------------------------------------------------------------------

    def foresee(self, shard: str, position_ids: Sequence[str]) -> None:
        """See Foreseeing."""
        try:
            asked = self._route.watch_ahead(shard, first_questions(Keys(shard), position_ids))
        except (RedisError, OSError):
            self._reset()
        else:
            self._foreseen = (shard, list(position_ids)) if asked else None

    def _begin(self, shard: str, names: Sequence[str]) -> tuple[Fence, Mapping[str, bytes | None]]:
        foreseen, self._foreseen = self._foreseen, None
        try:
            replies = self._collected() if foreseen == (shard, names) else None
            if replies is None:
                replies = self._route.watch(shard, first_questions(Keys(shard), names))
        except (RedisError, OSError) as error:
            raise NotSent(str(error), outage_of(error)) from error
        values = replies[2] if names else []
        return self._decode_watched(shard, replies[1]), dict(zip(names, values, strict=True))

    def _collected(self) -> list[Any] | None:
        """The replies to what was asked ahead; None where it must be asked again: dropped since, or the keys moved."""
        try:
            return self._route.watcher.collect()
        except MovedError:
            self._reset()
            return None

    def _abandon(self) -> None:
        try:
            self._route.watcher.call("UNWATCH")
        except (RedisError, OSError):
            self._reset()

    def _commit(self, shard: str, batch: Batch) -> Refusals | None:
        keys = Keys(shard)
        changes, checks = writes(keys, batch), read_back(keys, batch)
        likely = list(batch.values.values())
        try:
            executed, confirmed = self._route.watcher.transact([*changes, *checks], confirm_fsync=True, likely=likely)
        except Refused as error:
            raise NotSent(str(error), outage_of(error)) from error
        except (RedisError, OSError) as error:
            raise Doubtful(str(error), outage_of(error)) from error
        if executed is None:
            raise Doubtful("the shard was written by somebody else in between")
        found = executed[len(changes) :]
        if not as_meant(found, batch):
            raise Doubtful("what was read back is not what was written")
        if not confirmed:
            raise Doubtful("the fsync was not confirmed in time")
        return refusals(keys, batch, changes, executed)

    def _settle(self, shard: str, batch: Batch) -> tuple[Fence, bool]:
        keys = Keys(shard)
        try:
            fence = self._move_fence_on(shard, keys, batch.epoch)
            replies = self._route.watcher.pipeline(read_back(keys, batch))
            confirmed = self._route.watcher.confirm_fsync()
        except (RedisError, OSError) as error:
            raise Doubtful(str(error), outage_of(error)) from error
        if not confirmed:
            raise Doubtful("the fsync was not confirmed in time")
        after = decode_fence(shard, replies[0])
        # The last commit's name decides where it is still there; otherwise the positions themselves do.
        if after.write_id == batch.write_id or (batch.values and values_present(replies, batch)):
            if batch.values and not positions_as_meant(replies, batch):
                raise Doubtful("it is stored, but not as it was meant: does another program write these keys?")
            return fence, True
        return fence, False

    def _move_fence_on(self, shard: str, keys: Keys, epoch: int) -> Fence:
        """Make whatever still watches the fence fail. A higher epoch has done so already, and is not ours to touch."""
        _, raw = self._route.watch(shard, [("WATCH", keys.fence), ("GET", keys.fence)])
        fence = self._decode_watched(shard, raw)
        if fence.epoch != epoch:
            self._route.watcher.call("UNWATCH")
            return fence
        after = bare_revision(fence)
        if not self._transact([("SET", keys.fence, encode_fence(after))]):
            raise Doubtful("the fence moved while it was being moved")
        return after

    def _decode_watched(self, shard: str, raw: bytes | None) -> Fence:
        try:
            return decode_fence(shard, raw)
        except SnapshotCorrupt:
            self._abandon()
            raise

    def _reset(self) -> None:
        self._foreseen = None
        self._route.close()

    # --- the lease ---------------------------------------------------------------------------------------------------

    def take(self, shard: str, owner: str, ttl_seconds: float, *, dead_owner: str | None = None) -> Fence:
        """See Store.take. Also raises SnapshotCorrupt when the fence itself cannot be read."""
        keys = Keys(shard)
        trouble, outage = "others kept writing it", Outage.OTHER
        for _ in range(self._attempts):
            try:
                fence, lease, remaining_seconds = self._watch_lease(shard, keys)
                if lease is not None and lease[0] not in (owner, dead_owner):
                    self._abandon()
                    self._begun.pop((shard, owner), None)
                    raise LeaseHeld(
                        f"shard {shard} is held by {lease[0]} for {remaining_seconds:.1f} s at most",
                        shard=shard,
                        owner=lease[0],
                        remaining_seconds=remaining_seconds,
                    )
                meant = self._next_take(shard, owner, fence)
                writes: list[Command] = [
                    ("SET", keys.lease, encode_lease(owner, meant.epoch), "PX", milliseconds(ttl_seconds)),
                    ("SET", keys.fence, encode_fence(meant)),
                ]
                if self._transact(writes):
                    del self._begun[shard, owner]
                    return meant
            except (RedisError, OSError) as error:
                trouble, outage = str(error), outage_of(error)
                self._reset()
                if outage.lasts:
                    break
        raise StoreUnreachable(f"shard {shard} could not be taken: {trouble}", outage=outage)

    def renew(self, shard: str, owner: str, epoch: int, ttl_seconds: float) -> None:
        """See Store.renew."""
        keys = Keys(shard)
        with self._unreachable(f"the lease of shard {shard} could not be renewed"):
            for _ in range(self._attempts):
                fence, lease, _ = self._watch_lease(shard, keys)
                if fence.epoch != epoch or lease != (owner, epoch):
                    self._abandon()
                    raise stale_owner(shard, epoch, fence.epoch)
                # XX, because a lease that expires at this very moment must not come back to life.
                value = encode_lease(owner, epoch)
                if self._transact([("SET", keys.lease, value, "XX", "PX", milliseconds(ttl_seconds))]):
                    return
        raise StoreUnreachable(f"the lease of shard {shard} could not be renewed: others kept writing it")

    def release(self, shard: str, owner: str, epoch: int) -> None:
        """See Store.release. Raises StoreUnreachable."""
        keys = Keys(shard)
        with self._unreachable(f"the lease of shard {shard} could not be given up"):
            for _ in range(self._attempts):
                _, lease, _ = self._watch_lease(shard, keys)
                if lease != (owner, epoch):
                    self._abandon()
                    return
                if self._transact([("DEL", keys.lease)]):
                    return

    def lease_owner(self, shard: str) -> str | None:
        """See Store.lease_owner."""
        with self._unreachable(f"the lease of shard {shard} could not be read"):
            raw = self._route.call(shard, "GET", Keys(shard).lease)
        return None if raw is None else lease_or_unreadable(shard, raw)[0]

    def fence(self, shard: str) -> Fence:
        """See Store.fence."""
        with self._unreachable(f"the fence of shard {shard} could not be read"):
            raw = self._route.call(shard, "GET", Keys(shard).fence)
        return decode_fence(shard, raw)

    def line(self, shard: str) -> Line | None:
        """See Store.line."""
        with self._unreachable(f"the line of shard {shard} could not be read"):
            (raw,) = self._get_many(shard, [Keys(shard).line])
        return decode_line(shard, raw)

    def note_line(self, shard: str, line: Line) -> None:
        """See Store.note_line."""
        key = Keys(shard).line
        with self._unreachable(f"the line of shard {shard} could not be noted"):
            self._route.watch(shard, [("WATCH", key)])
            self._transact([("SET", key, encode_line(line))])

    def _watch_lease(self, shard: str, keys: Keys) -> tuple[Fence, tuple[str, int] | None, float]:
        replies = self._route.watch(
            shard,
            [("WATCH", keys.lease, keys.fence), ("GET", keys.fence), ("GET", keys.lease), ("PTTL", keys.lease)],
        )
        lease = None if replies[2] is None else lease_or_unreadable(shard, replies[2])
        return self._decode_watched(shard, replies[1]), lease, max(0, replies[3]) / 1000

    def _transact(self, commands: Sequence[Command]) -> bool:
        """Run commands under what is watched; false when that was changed. Errors raise, and leave it in doubt."""
        executed, _ = self._route.watcher.transact(commands)
        if executed is None:
            return False
        for reply in executed:
            if isinstance(reply, Exception):
                raise reply
        # A conditional SET that did not apply answers nothing.
        return all(reply is not None for reply in executed)

    # --- reading -----------------------------------------------------------------------------------------------------

    def load(self, shard: str, closed_limit: int = 1000) -> Loaded:
        """See Store.load."""
        keys = Keys(shard)
        snapshots: list[Snapshot] = []
        corrupt: dict[str, SnapshotCorrupt] = {}
        with self._unreachable(f"shard {shard} could not be loaded"):
            names = self._members(shard, keys.open)
            values = self._get_many(shard, keys.positions(names))
            symbols = self._symbols(shard, keys)
            tapes = self._get_many(shard, [keys.tape(symbol) for symbol in symbols])
            finals = self._finals(shard, keys, closed_limit)
        for name, raw in zip(names, values, strict=True):
            try:
                snapshots.append(self._decode_open(name, raw))
            except SnapshotCorrupt as error:
                corrupt[name] = error
        self._remember_loaded(shard, snapshots, dict(zip(names, values, strict=True)))
        return Loaded(
            snapshots=snapshots,
            corrupt=corrupt,
            closed=closed_of(finals[:closed_limit], self._newest_schema),
            tapes={symbol: tape for symbol, tape in zip(symbols, tapes, strict=True) if tape is not None},
            line=self.line(shard),
        )

    def read(self, shard: str, position_id: str) -> Snapshot | None:
        """See Store.read."""
        with self._unreachable(f"position {position_id} could not be read"):
            raw = self._route.call(shard, "GET", Keys(shard).position(position_id))
        return None if raw is None else decode_snapshot(position_id, raw, self._newest_schema)

    def events(self, shard: str, position_id: str, limit: int = 1000) -> Sequence[Mapping[str, Any]]:
        """See Store.events: the latest `limit`, oldest first. Raises StoreUnreachable."""
        wanted = position_id.encode()
        found: list[bytes] = []
        end = b"+"
        first_commit_seen = first_commit_passed = False
        while len(found) < limit and not first_commit_passed:
            with self._unreachable(f"the events of position {position_id} could not be read"):
                page = self._route.call(shard, "XREVRANGE", Keys(shard).events, end, "-", "COUNT", _PAGE)
            for _, fields in page:
                entry = dict(zip(fields[::2], fields[1::2], strict=True))
                if entry.get(b"id") == wanted:
                    found.append(entry.get(b"event", b""))
                    first_commit_seen = entry.get(b"version") == b"1"
                elif first_commit_seen:
                    # Nothing of a position is older than its first commit, whose lines stand together.
                    first_commit_passed = True
                    break
            if len(page) < _PAGE:
                break
            end = b"(" + page[-1][0]
        return [decode_event(raw) for raw in reversed(found[:limit])]

    def shards(self) -> Sequence[str]:
        """See Store.shards."""
        found: set[str] = set()
        with self._unreachable("the shards could not be listed"):
            for connection in self._route.every():
                cursor = b"0"
                while True:
                    cursor, page = connection.call("SCAN", cursor, "MATCH", "ek:{*}:fence", "COUNT", _PAGE)
                    found.update(key.decode("utf-8", "replace")[len("ek:{") : -len("}:fence")] for key in page)
                    if cursor == b"0":
                        break
        return sorted(found)

    def facts(self) -> Sequence[ServerFacts]:
        """Version and AOF policy of every server that holds shards. Raises StoreUnreachable."""
        with self._unreachable("the server could not be asked about itself"):
            return [connection.facts for connection in self._route.every()]

    def close(self) -> None:
        """See Store.close."""
        self._reset()

    def _decode_open(self, name: str, raw: bytes | None) -> Snapshot:
        if raw is None:
            raise SnapshotCorrupt(f"position {name} is listed as open, but its snapshot is gone", position_id=name)
        return decode_snapshot(name, raw, self._newest_schema)

    def _members(self, shard: str, key: str) -> list[str]:
        return sorted(name.decode("utf-8", "replace") for name in self._route.call(shard, "SMEMBERS", key))

    def _get_many(self, shard: str, keys: Sequence[str] | Sequence[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = []
        for start in range(0, len(keys), _PAGE):
            values += self._route.call(shard, "MGET", *keys[start : start + _PAGE])
        return values

    def _symbols(self, shard: str, keys: Keys) -> list[str]:
        # A tape whose name is damaged is lost with it, and nothing else is.
        try:
            return self._members(shard, keys.symbols)
        except ResponseError as error:
            pass_over_another_type(error)
            return []

    def _finals(self, shard: str, keys: Keys, limit: int) -> Sequence[Any]:
        # The history guards nothing, and keeps no open position from coming back.
        try:
            found: Sequence[Any] = self._route.call(shard, "XREVRANGE", keys.closed, "+", "-", "COUNT", max(1, limit))
        except ResponseError as error:
            pass_over_another_type(error)
            return []
        return found

    @contextmanager
    def _unreachable(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            self._reset()
            raise StoreUnreachable(f"{what}: {error}", outage=outage_of(error)) from error
