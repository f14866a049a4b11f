"""What every store promises: one suite, for the store in memory and for the one on a real Redis.

The latter three times: on a server of its own, on a primary that a Sentinel names, on a node of a Cluster.
"""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from persistence.codec import decode_snapshot, encode_lease, encode_snapshot
from persistence.memory_store import MemoryServer, MemoryStore
from persistence.redis_server import EmbeddedRedis
from persistence.redis_store import RedisStore
from persistence.store import (
    Change,
    LeaseHeld,
    Line,
    Outcome,
    Snapshot,
    SnapshotConflict,
    SnapshotCorrupt,
    SnapshotUnknown,
    StaleOwner,
    Store,
    StoreUnreachable,
)
from tests.crash.redis_groups import ClusterGroup, SentinelGroup

SHARD = "main"


class MemoryWorld:
    """A store in memory, and the hands of an operator and of a bad network on it."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.seconds = 0.0
        self.plan: dict[str, list[Any]] = {}
        self._ids = count(1)

    def store(self, **settings: Any) -> MemoryStore:
        """One more client of the same server; only those made with faulty=True suffer."""
        faulty = settings.pop("faulty", False)
        settings = {"newest_schema": 2, "new_write_id": lambda: f"w{next(self._ids)}", **settings}
        return MemoryStore(
            now=lambda: self.seconds, server=self.server, faults=self._fault if faulty else None, **settings
        )

    def _fault(self, stage: str) -> None:
        actions = self.plan.get(stage)
        if actions:
            action = actions.pop(0)
            if action is not None:
                action()

    def lose_reply(self, times: int = 1) -> None:
        """The next writes are applied, their replies lost."""
        self.plan["after_write"] = [_cut] * times

    def lose_request(self, times: int = 1) -> None:
        """The next writes never arrive."""
        self.plan["before_write"] = [_cut] * times

    def cut_off(self, times: int) -> None:
        """The next reads fail: the store cannot be reached."""
        self.plan["before_read"] = [_cut] * times

    def before_next_write(self, action: Any) -> None:
        """Do something between the read and the write of the next save."""
        self.plan["before_write"] = [action]

    def expire_lease(self) -> None:
        """Let the lease run out."""
        self.seconds += 3600

    def put(self, position_id: str, raw: bytes) -> None:
        """Write over a stored snapshot."""
        self.server.shard(SHARD).positions[position_id] = raw

    def get(self, position_id: str) -> bytes:
        """The stored bytes."""
        return self.server.shard(SHARD).positions[position_id]

    def remove(self, position_id: str) -> None:
        """Delete a stored snapshot."""
        del self.server.shard(SHARD).positions[position_id]

    def members(self) -> set[str]:
        """The positions that are listed as open."""
        return self.server.shard(SHARD).open

    def unlist(self, position_id: str) -> None:
        """Take a position off that list."""
        self.server.shard(SHARD).open.discard(position_id)

    def forget_after(self, position_id: str) -> float:
        """In how many seconds the snapshot expires; -1 for never."""
        return self.server.shard(SHARD).expires.get(position_id, self.seconds - 1) - self.seconds


class RedisWorld:
    """A store on a real Redis; faults are made at the connection, below everything that handles them."""

    def __init__(self, url: str, operator_url: str | None = None) -> None:
        self.url = url
        self.operator = redis.Redis.from_url(operator_url or url)
        self.operator.flushall()
        self.plan: dict[str, list[Any]] = {}
        self._ids = count(1)
        self._stores: list[RedisStore] = []

    def store(self, **settings: Any) -> RedisStore:
        """One more client of the same server; only those made with faulty=True suffer."""
        faulty = settings.pop("faulty", False)
        settings = {"newest_schema": 2, "new_write_id": lambda: f"w{next(self._ids)}", **settings}
        store = RedisStore(self.url, **settings)
        self._stores.append(store)
        if faulty:
            self._make_faulty(connection_of(store))
        return store

    def _make_faulty(self, connection: Any) -> None:
        exchange = connection._exchange

        def faulty_exchange(commands: Any) -> Any:
            words = {command[0] for command in commands}
            writes = bool(words & {"MSET", "SADD"}) or (words >= {"EXEC", "SET"} and len(commands) == 4)
            try:
                self._run("before_write" if writes else "before_read" if "WATCH" in words else "")
                replies = exchange(commands)
                self._run("after_write" if writes else "")
            except BaseException:
                connection.close()
                raise
            return replies

        connection._exchange = faulty_exchange

    def _run(self, stage: str) -> None:
        actions = self.plan.get(stage)
        if actions:
            actions.pop(0)()

    def close(self) -> None:
        """Let go."""
        for store in self._stores:
            store.close()
        self.operator.close()

    def lose_reply(self, times: int = 1) -> None:
        """The next writes are applied, their replies lost."""
        self.plan["after_write"] = [_cut] * times

    def lose_request(self, times: int = 1) -> None:
        """The next writes never arrive."""
        self.plan["before_write"] = [_cut] * times

    def cut_off(self, times: int) -> None:
        """The next reads fail: the store cannot be reached."""
        self.plan["before_read"] = [_cut] * times

    def before_next_write(self, action: Any) -> None:
        """Do something between the read and the write of the next save."""
        self.plan["before_write"] = [action]

    def expire_lease(self) -> None:
        """Let the lease run out, without waiting for it."""
        self.operator.delete(f"ek:{{{SHARD}}}:lease")

    def put(self, position_id: str, raw: bytes) -> None:
        """Write over a stored snapshot."""
        self.operator.set(f"ek:{{{SHARD}}}:pos:{position_id}", raw)

    def get(self, position_id: str) -> bytes:
        """The stored bytes."""
        found = self.operator.get(f"ek:{{{SHARD}}}:pos:{position_id}")
        assert isinstance(found, bytes)
        return found

    def remove(self, position_id: str) -> None:
        """Delete a stored snapshot."""
        self.operator.delete(f"ek:{{{SHARD}}}:pos:{position_id}")

    def members(self) -> set[str]:
        """The positions that are listed as open."""
        found: Any = self.operator.smembers(f"ek:{{{SHARD}}}:open")
        return {name.decode() for name in found}

    def unlist(self, position_id: str) -> None:
        """Take a position off that list."""
        self.operator.srem(f"ek:{{{SHARD}}}:open", position_id)

    def forget_after(self, position_id: str) -> float:
        """In how many seconds the snapshot expires; -1 for never."""
        return self.operator.ttl(f"ek:{{{SHARD}}}:pos:{position_id}")


World = MemoryWorld | RedisWorld


def connection_of(store: RedisStore) -> Any:
    """The one connection of a store, below everything that handles errors."""
    return store._route._servers.at(SHARD)


def _cut() -> None:
    raise ConnectionError("cut by the test")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One real server for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    server = EmbeddedRedis(directory)
    yield server.ensure()
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def sentinel_urls() -> Iterator[tuple[str, str]]:
    """A real primary that a real Sentinel watches: as the store finds it, and as an operator does."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    group = SentinelGroup(directory, replicas=0)
    yield group.url, group.servers[0].url
    group.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def cluster_urls() -> Iterator[tuple[str, str]]:
    """A real Cluster of one node, which serves every slot."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    group = ClusterGroup(directory, nodes=1)
    yield group.url, group.servers[0].url
    group.close()
    shutil.rmtree(directory)


@pytest.fixture(params=["memory", "redis", "sentinel", "cluster"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each test runs on every store."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    found = redis_world_of(request, request.param)
    yield found
    found.close()


def redis_world_of(request: pytest.FixtureRequest, kind: str) -> RedisWorld:
    """A world on one of the real servers."""
    if kind == "redis":
        return RedisWorld(request.getfixturevalue("redis_url"))
    return RedisWorld(*request.getfixturevalue(f"{kind}_urls"))


def change(position_id: str = "p", grew_from: int = 0, state: dict[str, Any] | None = None, **fields: Any) -> Change:
    """A change with only what matters spelled out."""
    state = {"n": str(grew_from + 1)} if state is None else state
    return Change(position_id=position_id, schema=fields.pop("schema", 1), grew_from=grew_from, state=state, **fields)


def take(store: Store, owner: str = "me") -> int:
    """The shard's epoch, taken."""
    return store.take(SHARD, owner, 10.0).epoch


def read(store: Store, position_id: str) -> Snapshot:
    """A snapshot that must be there."""
    found = store.read(SHARD, position_id)
    assert found is not None
    return found


def conflict(outcome: Outcome, position_id: str) -> SnapshotConflict:
    """Why a position was dropped, which must be its version."""
    found = outcome.conflicts[position_id]
    assert isinstance(found, SnapshotConflict)
    return found


# --- saving ----------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_loaded(world: World) -> None:
    """A saved state comes back whole, from read and from load, to another client too."""
    store = world.store()
    epoch = take(store)
    state = {"a": "1.50", "list": [1, {"b": None}], "text": "ü"}
    outcome = store.save(SHARD, epoch, [change(state=state)], {"BTC/USDT:USDT": b"\x00tape"})
    assert outcome.conflicts == {}
    snapshot = world.store().read(SHARD, "p")
    assert snapshot == outcome.saved["p"]
    assert (snapshot.state, snapshot.version, snapshot.epoch) == (state, 1, epoch)
    loaded = world.store().load(SHARD)
    assert list(loaded.snapshots) == [snapshot]
    assert loaded.tapes == {"BTC/USDT:USDT": b"\x00tape"}
    assert store.read(SHARD, "nobody") is None


def test_the_line_of_owners_is_loaded_as_it_was_noted(world: World) -> None:
    """It is a note beside the fence: it moves nothing, and there is none before the first."""
    store = world.store()
    take(store)
    assert store.load(SHARD).line is None
    before = store.fence(SHARD)
    for line in (Line(since=1, until=1), Line(since=1, until=2)):
        store.note_line(SHARD, line)
        assert world.store().load(SHARD).line == line
    assert store.fence(SHARD) == before


def test_who_noted_the_line_of_owners_is_told_after_his_lease(world: World) -> None:
    """The lease forgets its owner when it runs out; the line is then all that says who was the last."""
    store = world.store()
    epoch = take(store)
    assert store.line(SHARD) is None
    noted = Line(since=1, until=epoch, owner="me")
    store.note_line(SHARD, noted)
    world.expire_lease()
    assert world.store().line(SHARD) == noted
    assert store.lease_owner(SHARD) is None


def test_versions_grow_by_one(world: World) -> None:
    """Versions count commits, one by one, and each commit moves the fence on."""
    store = world.store()
    epoch = take(store)
    before = store.fence(SHARD).revision
    for version in range(5):
        assert store.save(SHARD, epoch, [change(grew_from=version)]).saved["p"].version == version + 1
    after = store.fence(SHARD)
    assert (after.epoch, after.revision) == (epoch, before + 5)
    assert after.write_id == read(store, "p").write_id


def test_a_batch_may_not_hold_a_position_twice(world: World) -> None:
    """Two states of one position in one batch would hide one of them."""
    store = world.store()
    epoch = take(store)
    with pytest.raises(ValueError, match="twice"):
        store.save(SHARD, epoch, [change(), change()])


def test_stale_owner_cannot_save(world: World) -> None:
    """Once a higher epoch owns the shard, the former owner changes nothing."""
    former, new = world.store(), world.store()
    old_epoch = take(former)
    former.save(SHARD, old_epoch, [change()])
    world.expire_lease()
    new_epoch = take(new, "you")
    with pytest.raises(StaleOwner) as caught:
        former.save(SHARD, old_epoch, [change(grew_from=1)])
    assert caught.value.epoch == new_epoch
    assert read(new, "p").version == 1


def test_a_takeover_between_read_and_write_is_noticed(world: World) -> None:
    """The fence is watched: a takeover after the read fails the write that was already on its way."""
    store, other = world.store(faulty=True), world.store()
    epoch = take(store)

    def take_over() -> None:
        world.expire_lease()
        take(other, "you")

    world.before_next_write(take_over)
    with pytest.raises(StaleOwner):
        store.save(SHARD, epoch, [change()])
    assert other.read(SHARD, "p") is None
    assert other.events(SHARD, "p") == []


def test_a_conflict_drops_one_position_only(world: World) -> None:
    """A wrong version costs that position its save, and no other."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    outcome = store.save(SHARD, epoch, [change("a", 7, events=[{"n": 1}]), change("b", 1), change("c")])
    assert set(outcome.saved) == {"b", "c"}
    assert conflict(outcome, "a").stored_version == 1
    assert read(store, "a").version == 1
    assert store.events(SHARD, "a") == []


def test_a_new_position_never_replaces_a_stored_one(world: World) -> None:
    """A change that grew from nothing conflicts with whatever is there."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change(state={"mine": "1"})])
    outcome = store.save(SHARD, epoch, [change(state={"mine": "2"})])
    assert conflict(outcome, "p").stored_version == 1
    assert read(store, "p").state == {"mine": "1"}


def test_fields_of_a_newer_release_are_carried_over(world: World) -> None:
    """A field this release does not know survives its saves; one it knows and dropped is gone."""
    newer, older = world.store(), world.store(known_fields={"n", "gone"})
    epoch = take(newer)
    newer.save(SHARD, epoch, [change(state={"n": "1", "gone": "x", "future": ["kept"]})])
    older.save(SHARD, epoch, [change(grew_from=1, state={"n": "2"})])
    assert read(older, "p").state == {"n": "2", "future": ["kept"]}


def test_corrupt_bytes_quarantine_one_position_and_are_never_overwritten(world: World) -> None:
    """Unreadable bytes are reported by id, the others load, and no save touches them."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    world.put("a", b"\x95rubbish")
    loaded = store.load(SHARD)
    assert [snapshot.position_id for snapshot in loaded.snapshots] == ["b"]
    assert set(loaded.corrupt) == {"a"}
    with pytest.raises(SnapshotCorrupt):
        store.read(SHARD, "a")
    outcome = store.save(SHARD, epoch, [change("a", 1), change("b", 1)])
    assert set(outcome.saved) == {"b"}
    assert isinstance(outcome.conflicts["a"], SnapshotCorrupt)
    assert world.get("a") == b"\x95rubbish"


def test_a_newer_schema_is_not_read_and_not_touched(world: World) -> None:
    """What a newer release saved waits for that release."""
    store = world.store(newest_schema=2)
    epoch = take(store)
    store.save(SHARD, epoch, [change()])
    newer = encode_snapshot(Snapshot(position_id="p", schema=3, version=1, epoch=epoch, write_id="w", state={"n": "9"}))
    world.put("p", newer)
    assert "newer release" in str(store.load(SHARD).corrupt["p"])
    assert isinstance(store.save(SHARD, epoch, [change(grew_from=1)]).conflicts["p"], SnapshotCorrupt)
    assert world.get("p") == newer


def test_a_state_that_cannot_be_stored_costs_only_its_own_position(world: World) -> None:
    """One impossible state does not keep the batch from being saved."""
    store = world.store()
    epoch = take(store)
    outcome = store.save(SHARD, epoch, [change("a", state={"x": object()}), change("b")])
    assert set(outcome.saved) == {"b"}
    assert set(outcome.conflicts) == {"a"}


def test_a_field_of_a_newer_release_survives_every_later_save(world: World) -> None:
    """Also where this writer knows its own last bytes: what it carried over once it carries over again."""
    newer, older = world.store(), world.store(known_fields={"n"})
    epoch = take(newer)
    newer.save(SHARD, epoch, [change(state={"n": "1", "future": ["kept"]})])
    for version in range(1, 4):
        older.save(SHARD, epoch, [change(grew_from=version)])
    assert read(older, "p").state == {"n": "4", "future": ["kept"]}
    older.save(SHARD, epoch, [change("q", state={"n": "1", "future": "its own"})])
    older.save(SHARD, epoch, [change("q", 1)])
    assert read(older, "q").state == {"n": "2", "future": "its own"}


def test_a_writer_does_not_read_its_own_last_state_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what it did not write itself, or not under this epoch: the first save of a position after a take."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    decoded: list[str] = []

    def noted(position_id: str, *rest: Any) -> Snapshot:
        decoded.append(position_id)
        return decode_snapshot(position_id, *rest)

    monkeypatch.setattr("persistence.batch.decode_snapshot", noted)
    assert store.save(SHARD, epoch, [change("a", 1), change("b", 1)]).conflicts == {}
    assert decoded == []
    epoch = take(store)
    assert store.save(SHARD, epoch, [change("a", 2), change("b", 2)]).conflicts == {}
    assert decoded == ["a", "b"]


def test_a_writer_notices_whatever_else_is_stored_than_its_own_last_bytes(world: World) -> None:
    """Damaged behind a sound envelope, replaced, or gone: quarantined or dropped, as if it had never known it."""
    store, other = world.store(), world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("damaged"), change("replaced"), change("gone"), change("fine")])
    damaged = world.get("damaged")[:-1] + b"\xc1"
    world.put("damaged", damaged)
    other.save(SHARD, epoch, [change("replaced", 1, state={"by": "other"})])
    world.remove("gone")
    outcome = store.save(SHARD, epoch, [change(name, 1) for name in ("damaged", "replaced", "gone", "fine")])
    assert set(outcome.saved) == {"fine"}
    assert isinstance(outcome.conflicts["damaged"], SnapshotCorrupt)
    assert conflict(outcome, "replaced").stored_version == 2
    assert conflict(outcome, "gone").stored_version == 0
    assert world.get("damaged") == damaged
    assert read(store, "replaced").state == {"by": "other"}


def test_a_writer_that_knows_its_bytes_still_compares_versions(world: World) -> None:
    """A state that grew from an older version than its own last one is dropped all the same."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change()])
    store.save(SHARD, epoch, [change(grew_from=1)])
    assert conflict(store.save(SHARD, epoch, [change(grew_from=1)]), "p").stored_version == 2
    assert store.save(SHARD, epoch, [change(grew_from=2)]).saved["p"].version == 3


def test_membership_is_written_where_it_changes(world: World) -> None:
    """A new position joins, a closed one leaves, one that comes back joins again, and each new epoch lists all anew."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    store.save(SHARD, epoch, [change("a", 1), change("b", 1, closed=True)])
    assert world.members() == {"a"}
    store.save(SHARD, epoch, [change("b", 2)])
    assert world.members() == {"a", "b"}
    world.unlist("a")
    epoch = take(store)
    store.save(SHARD, epoch, [change("a", 2)])
    assert world.members() == {"a", "b"}


def test_a_closed_position_is_not_known_to_be_listed(world: World) -> None:
    """Not even when somebody put the very bytes back that it had while it was."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    opened = world.get("a")
    store.save(SHARD, epoch, [change("a", 1, closed=True)])
    world.put("a", opened)
    store.save(SHARD, epoch, [change("a", 1)])
    assert world.members() == {"a", "b"}


def test_tapes_are_saved_without_a_position(world: World) -> None:
    """One revision of the fence, nothing else; a newer one replaces an older, of its symbol alone."""
    store = world.store()
    epoch = take(store)
    before = store.fence(SHARD).revision
    assert store.save(SHARD, epoch, [], {"BTC": b"1", "ETH": b"1"}).unsaved_tapes == ""
    assert store.save(SHARD, epoch, [], {"BTC": b"2"}).unsaved_tapes == ""
    assert store.fence(SHARD).revision == before + 2
    assert world.store().load(SHARD).tapes == {"BTC": b"2", "ETH": b"1"}


def test_a_former_owner_saves_no_tapes(world: World) -> None:
    """They are under the fence like everything else."""
    former, new = world.store(), world.store()
    old_epoch = take(former)
    world.expire_lease()
    epoch = take(new, "you")
    new.save(SHARD, epoch, [], {"BTC": b"new"})
    with pytest.raises(StaleOwner):
        former.save(SHARD, old_epoch, [], {"BTC": b"old"})
    assert new.load(SHARD).tapes == {"BTC": b"new"}


def test_events_come_back_in_order_and_by_position(world: World) -> None:
    """The audit trail is kept in order, oldest first; a limit keeps the latest."""
    store = world.store()
    epoch = take(store)
    for version in range(3):
        lines = [{"n": 2 * version}, {"n": 2 * version + 1}]
        store.save(SHARD, epoch, [change("a", version, events=lines), change("b", version, events=[{"other": 1}])])
    assert [event["n"] for event in store.events(SHARD, "a")] == [0, 1, 2, 3, 4, 5]
    assert [event["n"] for event in store.events(SHARD, "a", limit=2)] == [4, 5]


def test_a_closed_position_leaves_the_open_ones_and_is_kept_for_thirty_days(world: World) -> None:
    """Closed: not among the open, in the history, still readable, forgotten in 30 days."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    assert world.forget_after("a") == -1
    final = store.save(SHARD, epoch, [change("a", 1, closed=True)]).saved["a"]
    loaded = store.load(SHARD)
    assert [snapshot.position_id for snapshot in loaded.snapshots] == ["b"]
    assert list(loaded.closed) == [final]
    assert store.read(SHARD, "a") == final
    assert 30 * 24 * 3600 - 60 < world.forget_after("a") <= 30 * 24 * 3600


def test_an_open_position_whose_snapshot_is_gone_is_reported(world: World) -> None:
    """Membership without a snapshot is damage, and said so."""
    store = world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change("a"), change("b")])
    if isinstance(world, MemoryWorld):
        del world.server.shard(SHARD).positions["a"]
    else:
        world.operator.delete(f"ek:{{{SHARD}}}:pos:a")
    assert set(store.load(SHARD).corrupt) == {"a"}


def test_shards_are_listed(world: World) -> None:
    """Every shard with a fence is known by name."""
    store = world.store()
    store.take("two", "me", 10.0)
    store.take("one", "me", 10.0)
    assert list(store.shards()) == ["one", "two"]


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_living_lease_is_respected(world: World) -> None:
    """Another owner is told who holds the shard and for how long at most, and the epoch stays."""
    store = world.store()
    epoch = take(store)
    with pytest.raises(LeaseHeld) as caught:
        world.store().take(SHARD, "you", 10.0)
    assert caught.value.owner == "me"
    assert 0 < caught.value.remaining_seconds <= 10
    assert store.fence(SHARD).epoch == epoch
    assert store.lease_owner(SHARD) == "me"


def test_every_take_raises_the_epoch(world: World) -> None:
    """The epoch only grows: by ourselves again, after an expiry, after a release."""
    store = world.store()
    epochs = [take(store), take(store)]
    world.expire_lease()
    epochs.append(take(store, "you"))
    store.release(SHARD, "you", epochs[-1])
    assert store.lease_owner(SHARD) is None
    epochs.append(take(store))
    assert epochs == sorted(set(epochs))


def test_a_dead_owner_is_not_waited_for(world: World) -> None:
    """An owner proven dead is replaced at once; the proof counts for that owner only."""
    store = world.store()
    epoch = take(store)
    with pytest.raises(LeaseHeld):
        store.take(SHARD, "you", 10.0, dead_owner="somebody else")
    assert store.take(SHARD, "you", 10.0, dead_owner="me").epoch == epoch + 1
    assert store.lease_owner(SHARD) == "you"


def test_only_the_present_owner_renews(world: World) -> None:
    """A renewal needs owner, epoch and a lease that has not run out."""
    store = world.store()
    epoch = take(store)
    store.renew(SHARD, "me", epoch, 10.0)
    for owner, claimed in (("you", epoch), ("me", epoch - 1), ("me", epoch + 1)):
        with pytest.raises(StaleOwner):
            store.renew(SHARD, owner, claimed, 10.0)
    world.expire_lease()
    with pytest.raises(StaleOwner) as caught:
        store.renew(SHARD, "me", epoch, 10.0)
    assert caught.value.epoch == epoch
    assert store.lease_owner(SHARD) is None


def test_renewing_breaks_nobodys_save(world: World) -> None:
    """The lease is apart from the fence: a renewal between read and write does not fail the save."""
    store, same_owner = world.store(faulty=True), world.store()
    epoch = take(store)
    world.before_next_write(lambda: same_owner.renew(SHARD, "me", epoch, 10.0))
    before = store.fence(SHARD).revision
    assert store.save(SHARD, epoch, [change()]).saved["p"].version == 1
    # A failed EXEC would have cost one more revision, the bare one that settles it.
    assert store.fence(SHARD).revision == before + 1


def test_a_release_by_anyone_else_changes_nothing(world: World) -> None:
    """Only the holder gives a lease up."""
    store = world.store()
    epoch = take(store)
    store.release(SHARD, "you", epoch)
    store.release(SHARD, "me", epoch - 1)
    assert store.lease_owner(SHARD) == "me"


def test_a_take_whose_reply_was_lost_raises_the_epoch_once(world: World) -> None:
    """A lost reply does not cost an epoch: spills may apply only while nobody came between."""
    store = world.store(faulty=True)
    before = take(store)
    world.lose_reply()
    assert take(store) == before + 1
    assert store.fence(SHARD).epoch == before + 1


def test_a_take_that_was_never_heard_of_is_completed(world: World) -> None:
    """Applied, and every reply lost, past the lease: the next call completes it, so that no epoch seems another's."""
    store = world.store(faulty=True)
    before = take(store)
    world.lose_reply(5)
    with pytest.raises(StoreUnreachable):
        take(store)
    assert store.fence(SHARD).epoch == before + 1
    world.expire_lease()
    assert take(store) == before + 1
    assert store.lease_owner(SHARD) == "me"
    assert take(store) == before + 2


def test_a_take_that_was_never_heard_of_is_not_mistaken_for_another_owner_s(world: World) -> None:
    """Our request was lost, and somebody else took the very epoch we meant: ours is a higher one."""
    store, other = world.store(faulty=True), world.store()
    before = take(store)
    world.lose_request(5)
    with pytest.raises(StoreUnreachable):
        take(store)
    world.expire_lease()
    theirs = take(other, "you")
    assert theirs == before + 1
    other.release(SHARD, "you", theirs)
    assert take(store) == before + 2


# --- doubt -----------------------------------------------------------------------------------------------------------


def test_a_lost_reply_is_settled_as_saved_exactly_once(world: World) -> None:
    """The transaction was applied, its reply lost: saved, one version, its events once."""
    store = world.store(faulty=True)
    epoch = take(store)
    before = store.fence(SHARD).revision
    world.lose_reply()
    outcome = store.save(SHARD, epoch, [change(events=[{"n": 1}]), change("q")])
    # One for the save, and the bare one that came before anything was concluded.
    assert store.fence(SHARD).revision == before + 2
    assert outcome.saved["p"].version == 1
    assert store.read(SHARD, "p") == outcome.saved["p"]
    assert store.events(SHARD, "p") == [{"n": 1}]


def test_a_lost_request_is_tried_again(world: World) -> None:
    """The transaction never arrived: it is settled as not saved, and sent again."""
    store = world.store(faulty=True)
    epoch = take(store)
    world.lose_request(2)
    outcome = store.save(SHARD, epoch, [change(events=[{"n": 1}])])
    assert outcome.saved["p"].version == 1
    assert store.events(SHARD, "p") == [{"n": 1}]


@pytest.mark.parametrize("lose", ["lose_reply", "lose_request"])
@pytest.mark.parametrize("names", [["p"], []])
def test_after_a_doubt_tapes_are_never_called_saved_unless_they_are(world: World, names: list[str], lose: str) -> None:
    """A position is recognised by its write id. A tape has none: found to be applied, it is to be given again."""
    store = world.store(faulty=True)
    epoch = take(store)
    getattr(world, lose)()
    outcome = store.save(SHARD, epoch, [change(name) for name in names], {"BTC": b"1"})
    assert bool(outcome.unsaved_tapes) == (lose == "lose_reply")
    assert [snapshot.version for snapshot in outcome.saved.values()] == [1] * len(names)
    assert store.save(SHARD, epoch, [], {"BTC": b"2"}).unsaved_tapes == ""
    assert store.load(SHARD).tapes == {"BTC": b"2"}


def test_what_was_found_saved_after_a_doubt_is_grown_from(world: World) -> None:
    """Its bytes were seen stored, and it was listed."""
    store = world.store(faulty=True)
    epoch = take(store)
    world.lose_reply()
    store.save(SHARD, epoch, [change()])
    assert store.save(SHARD, epoch, [change(grew_from=1)]).saved["p"].version == 2
    assert world.members() == {"p"}


def test_another_writer_between_read_and_write_is_settled(world: World) -> None:
    """A second writer of the same epoch wins one position; ours is dropped from the batch, the rest is saved."""
    store, other = world.store(faulty=True), world.store()
    epoch = take(store)
    world.before_next_write(lambda: other.save(SHARD, epoch, [change("p", state={"by": "other"})]))
    outcome = store.save(SHARD, epoch, [change("p", state={"by": "us"}), change("q")])
    assert set(outcome.saved) == {"q"}
    assert conflict(outcome, "p").stored_version == 1
    assert read(store, "p").state == {"by": "other"}


def test_an_unreachable_store_says_that_nothing_was_sent(world: World) -> None:
    """When not even the read comes through, nothing was changed, and the error says so."""
    store = world.store(faulty=True)
    epoch = take(store)
    world.cut_off(100)
    with pytest.raises(StoreUnreachable):
        store.save(SHARD, epoch, [change()])
    world.cut_off(0)
    assert store.read(SHARD, "p") is None


def test_a_doubt_that_cannot_be_settled_is_unknown_until_the_same_batch_comes_again(world: World) -> None:
    """Unknown, never unsaved: given again, the batch is found saved and is not written twice."""
    store = world.store(faulty=True)
    epoch = take(store)
    batch = [change(events=[{"n": 1}])]

    def cut_the_reply_and_all_after_it() -> None:
        world.cut_off(5)
        _cut()

    world.plan["after_write"] = [cut_the_reply_and_all_after_it]
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, batch)
    outcome = store.save(SHARD, epoch, batch)
    assert outcome.saved["p"].version == 1
    assert read(store, "p").version == 1
    assert store.events(SHARD, "p") == [{"n": 1}]


def test_an_unsettled_batch_that_was_not_saved_is_saved_when_it_comes_again(world: World) -> None:
    """The other end of the same doubt: it had not arrived, and is written now."""
    store = world.store(faulty=True)
    epoch = take(store)

    def cut_the_request_and_all_after_it() -> None:
        world.cut_off(5)
        _cut()

    world.before_next_write(cut_the_request_and_all_after_it)
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change()])
    assert store.save(SHARD, epoch, [change()]).saved["p"].version == 1


def test_a_doubt_is_settled_under_our_next_epoch_too(world: World) -> None:
    """Retaking the shard does not forget an open doubt: what was saved under the old epoch counts."""
    store = world.store(faulty=True)
    epoch = take(store)
    batch = [change(events=[{"n": 1}])]

    def cut_the_reply_and_all_after_it() -> None:
        world.cut_off(5)
        _cut()

    world.plan["after_write"] = [cut_the_reply_and_all_after_it]
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, batch)
    epoch = take(store)
    assert store.save(SHARD, epoch, batch).saved["p"].version == 1
    assert store.events(SHARD, "p") == [{"n": 1}]


def test_settling_finds_out_about_a_newer_owner(world: World) -> None:
    """A lost reply and a takeover at once: the former owner is told to stop."""
    store, other = world.store(faulty=True), world.store()
    epoch = take(store)

    def lose_the_reply_to_a_newer_owner() -> None:
        world.expire_lease()
        take(other, "you")
        _cut()

    world.plan["after_write"] = [lose_the_reply_to_a_newer_owner]
    with pytest.raises(StaleOwner):
        store.save(SHARD, epoch, [change()])


# --- Redis alone -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["redis", "sentinel", "cluster"])
def redis_world(request: pytest.FixtureRequest) -> Iterator[RedisWorld]:
    """For what only a real server can show."""
    found = redis_world_of(request, request.param)
    yield found
    found.close()


def test_a_transaction_that_arrives_late_fails(redis_world: RedisWorld) -> None:
    """An EXEC still under way when its client gave up finds the fence moved: unsaved stays unsaved."""
    store = redis_world.store(faulty=True)
    epoch = take(store)
    slow: Any = redis_world.operator.connection_pool.make_connection()
    late: list[Any] = []

    def hold_back() -> None:
        # The same transaction on a connection that watched the fence at the same time, its EXEC still on the way.
        slow.connect()
        slow.send_packed_command(slow.pack_commands([("WATCH", f"ek:{{{SHARD}}}:fence")]))
        slow.read_response()
        _cut()

    def deliver() -> None:
        commands = [("MULTI",), ("SET", f"ek:{{{SHARD}}}:pos:p", b"late"), ("EXEC",)]
        slow.send_packed_command(slow.pack_commands(commands))
        late.extend(slow.read_response() for _ in commands)
        _cut()

    redis_world.plan["before_write"] = [hold_back, deliver]
    outcome = store.save(SHARD, epoch, [change()])
    slow.disconnect()
    assert late[-1] is None
    assert store.read(SHARD, "p") == outcome.saved["p"]


def test_the_fsync_is_confirmed_where_the_server_can(redis_world: RedisWorld) -> None:
    """The embedded server answers WAITAOF at once, and is asked."""
    (facts,) = redis_world.store().facts()
    assert facts.appendfsync == "always"
    assert facts.confirms_fsync


def test_an_unconfirmed_fsync_is_not_saved(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the local fsync a save stays in doubt, however often it is looked at."""
    store = redis_world.store()
    epoch = take(store)
    exchange = connection_of(store)._exchange

    def never_on_disk(commands: Any) -> Any:
        replies = exchange(commands)
        return [[0, 0] if command[0] == "WAITAOF" else reply for command, reply in zip(commands, replies, strict=True)]

    monkeypatch.setattr(connection_of(store), "_exchange", never_on_disk)
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change()])


def test_what_is_read_back_is_compared_byte_for_byte(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that returns other bytes than were written has not saved anything."""
    store = redis_world.store()
    epoch = take(store)
    exchange = connection_of(store)._exchange

    def wrong_bytes(commands: Any) -> Any:
        replies = exchange(commands)
        for command, reply in zip(commands, replies, strict=True):
            for part in reply if command[0] == "EXEC" else []:
                if isinstance(part, list) and isinstance(part[0], bytes):
                    part[0] = b"other"
            if command[0] == "MGET" and isinstance(reply, list) and commands[0][0] != "WATCH":
                reply[0] = b"other"
        return replies

    monkeypatch.setattr(connection_of(store), "_exchange", wrong_bytes)
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change()])


def test_membership_that_was_not_written_is_noticed(redis_world: RedisWorld) -> None:
    """A position that would be forgotten at the next boot does not count as saved."""
    store = redis_world.store()
    epoch = take(store)
    redis_world.operator.set(f"ek:{{{SHARD}}}:open", "not a set")
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change()])


def test_a_closed_position_that_is_still_listed_is_noticed(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be opened again at the next boot; the writer knows it well, and looks all the same."""
    store = redis_world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change(), change("q")])
    store.save(SHARD, epoch, [change(grew_from=1), change("q", 1)])
    exchange = connection_of(store)._exchange

    def stays_listed(commands: Any) -> Any:
        kept = [("PING",) if command[0] == "SREM" else command for command in commands]
        return exchange(kept)

    monkeypatch.setattr(connection_of(store), "_exchange", stays_listed)
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change(grew_from=2, closed=True), change("q", 2)])


def test_a_tape_that_was_not_listed_is_not_called_saved(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next boot would not find it."""
    store = redis_world.store()
    epoch = take(store)
    exchange = connection_of(store)._exchange

    def never_listed(commands: Any) -> Any:
        mine = ("SADD", f"ek:{{{SHARD}}}:symbols")
        return exchange([("PING",) if command[:2] == mine else command for command in commands])

    monkeypatch.setattr(connection_of(store), "_exchange", never_listed)
    outcome = store.save(SHARD, epoch, [change()], {"BTC": b"tape"})
    assert list(outcome.saved) == ["p"]
    assert outcome.unsaved_tapes


def test_tapes_are_read_back_too(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other bytes than were written are not a saved tape; the position beside it is."""
    store = redis_world.store()
    epoch = take(store)
    exchange = connection_of(store)._exchange

    def wrong_tape(commands: Any) -> Any:
        replies = exchange(commands)
        for command, reply in zip(commands, replies, strict=True):
            for part in reply if command[0] == "EXEC" else []:
                if isinstance(part, list) and isinstance(part[-1], bytes):
                    part[-1] = b"other"
        return replies

    monkeypatch.setattr(connection_of(store), "_exchange", wrong_tape)
    for names in (["p"], []):
        outcome = store.save(SHARD, epoch, [change(name) for name in names], {"BTC": b"tape"})
        assert list(outcome.saved) == names
        assert outcome.unsaved_tapes


def test_something_else_in_the_place_of_the_tapes_costs_only_them(redis_world: RedisWorld) -> None:
    """Positions are saved, at once, and come back; no tape is called saved that the next boot would not find."""
    store = redis_world.store()
    epoch = take(store)
    redis_world.operator.set(f"ek:{{{SHARD}}}:symbols", "not a set")
    redis_world.operator.lpush(f"ek:{{{SHARD}}}:tape:ETH", "not a string")
    before = store.fence(SHARD).revision
    outcome = store.save(SHARD, epoch, [change(events=[{"n": 1}])], {"BTC": b"1"})
    assert (set(outcome.saved), outcome.unrecorded) == ({"p"}, "")
    assert "wrong kind of value" in outcome.unsaved_tapes
    assert store.fence(SHARD).revision == before + 1
    loaded = store.load(SHARD)
    assert ([snapshot.position_id for snapshot in loaded.snapshots], loaded.tapes) == (["p"], {})
    redis_world.operator.delete(f"ek:{{{SHARD}}}:symbols")
    redis_world.operator.sadd(f"ek:{{{SHARD}}}:symbols", "ETH")
    assert store.save(SHARD, epoch, [], {"BTC": b"1"}).unsaved_tapes == ""
    assert store.load(SHARD).tapes == {"BTC": b"1"}


def test_a_thousand_positions_are_saved_and_loaded_whole(redis_world: RedisWorld) -> None:
    """Several pages and packets, values of all sizes, each with what came with it."""
    store = redis_world.store()
    epoch = take(store)
    many = {f"p{number:04d}": {"n": str(number), "text": "ü\r\n" * number} for number in range(1500)}
    changes = [change(name, state=state) for name, state in many.items()]
    assert store.save(SHARD, epoch, changes).conflicts == {}
    assert {found.position_id: found.state for found in store.load(SHARD).snapshots} == many


def test_membership_is_looked_at_again_when_settling(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right bytes under a position that is not listed as open do not count as saved either."""
    store = redis_world.store()
    epoch = take(store)
    exchange = connection_of(store)._exchange

    def not_listed(commands: Any) -> Any:
        replies = exchange(commands)
        for command, reply in zip(commands, replies, strict=True):
            for part in reply if command[0] == "EXEC" else [reply] if command[0] == "SMISMEMBER" else []:
                if part == [1]:
                    part[0] = 0
        return replies

    monkeypatch.setattr(connection_of(store), "_exchange", not_listed)
    with pytest.raises(SnapshotUnknown):
        store.save(SHARD, epoch, [change()])


def test_the_lease_is_watched_as_well_as_the_fence(redis_world: RedisWorld) -> None:
    """A lease that appears between read and write is respected, whatever the fence says."""
    store = redis_world.store(faulty=True)
    lease = encode_lease("you", 1)
    redis_world.before_next_write(lambda: redis_world.operator.set(f"ek:{{{SHARD}}}:lease", lease, px=9000))
    with pytest.raises(LeaseHeld):
        take(store)
    assert store.fence(SHARD).epoch == 0


@pytest.mark.parametrize("opened_again", [False, True])
def test_a_transaction_never_moves_to_another_connection(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch, opened_again: bool
) -> None:
    """Without its WATCH a transaction proves nothing: a connection lost in between is not replaced, nor one that is."""
    store = redis_world.store()
    epoch = take(store)
    begin = store._begin

    def begin_and_lose_the_connection(*args: Any) -> Any:
        found = begin(*args)
        connection_of(store).close()
        if opened_again:
            connection_of(store).call("PING")
        monkeypatch.setattr(store, "_begin", begin)
        redis_world.store().save(SHARD, epoch, [change(state={"by": "other"})])
        return found

    monkeypatch.setattr(store, "_begin", begin_and_lose_the_connection)
    assert set(store.save(SHARD, epoch, [change(state={"by": "us"})]).conflicts) == {"p"}
    assert read(store, "p").state == {"by": "other"}


def test_settling_happens_on_a_new_connection(redis_world: RedisWorld) -> None:
    """Also where the old one is sound, as after a failed EXEC: what is under way on it must not outlive the look."""
    connections: list[int] = []
    store = redis_world.store(faulty=True, before_connect=lambda: connections.append(1))
    epoch = take(store)
    before = len(connections)
    other = redis_world.store()
    redis_world.before_next_write(lambda: other.save(SHARD, epoch, [change("q")]))
    assert set(store.save(SHARD, epoch, [change("p")]).saved) == {"p"}
    assert len(connections) == before + 1


def test_the_fence_is_watched_as_well_as_the_lease_by_a_take(redis_world: RedisWorld) -> None:
    """A save of the former owner between read and write is not written over: its revision stays below the take's."""
    former, store = redis_world.store(), redis_world.store(faulty=True)
    epoch = take(former)
    redis_world.expire_lease()
    redis_world.before_next_write(lambda: former.save(SHARD, epoch, [change()]))
    saved_at = former.fence(SHARD).revision + 1
    taken = store.take(SHARD, "you", 10.0)
    assert (taken.epoch, taken.revision) == (epoch + 1, saved_at + 1)
    assert read(store, "p").epoch == epoch


def test_before_connect_runs_before_each_new_connection(redis_world: RedisWorld) -> None:
    """The embedded server gets its chance to be restarted."""
    calls: list[int] = []
    store = redis_world.store(before_connect=lambda: calls.append(1))
    store.fence(SHARD)
    store.fence(SHARD)
    assert len(calls) == 1
    store.close()
    store.fence(SHARD)
    assert len(calls) == 2


def test_a_store_connects_as_often_as_it_must(redis_world: RedisWorld) -> None:
    """The library's pool counts what it ever made, and refuses after a hundred: a long outage must not use that up."""
    store = redis_world.store()
    for _ in range(150):
        store.close()
        assert store.fence(SHARD).epoch == 0


def test_a_record_that_is_refused_costs_nobody_its_acknowledgement(redis_world: RedisWorld) -> None:
    """Something else is in the trail's place: the position is saved, once, and what was not recorded is told."""
    store = redis_world.store()
    epoch = take(store)
    redis_world.operator.set(f"ek:{{{SHARD}}}:events", "not a stream")
    redis_world.operator.set(f"ek:{{{SHARD}}}:closed", "not a stream")
    before = store.fence(SHARD).revision
    outcome = store.save(SHARD, epoch, [change("a", events=[{"n": 1}]), change("b")])
    assert set(outcome.saved) == {"a", "b"}
    assert "wrong kind of value" in outcome.unrecorded
    assert store.fence(SHARD).revision == before + 1
    assert "wrong kind of value" in store.save(SHARD, epoch, [change("b", 1, closed=True)]).unrecorded
    assert [snapshot.position_id for snapshot in store.load(SHARD).snapshots] == ["a"]
    redis_world.operator.delete(f"ek:{{{SHARD}}}:events")
    assert store.save(SHARD, epoch, [change("a", 1, events=[{"n": 2}])]).unrecorded == ""
    assert store.events(SHARD, "a") == [{"n": 2}]


def test_unknown_schemes_are_refused_with_the_known_ones_named() -> None:
    """A URL that nobody knows says so at once, and without its password."""
    with pytest.raises(ValueError, match=r"redis://, rediss://, unix://, redis\+sentinel://") as caught:
        RedisStore("postgres://:hush@host/name", newest_schema=1)
    assert "hush" not in str(caught.value)


def test_braces_cannot_leave_the_hash_tag(redis_world: RedisWorld) -> None:
    """A shard's name with braces would scatter its keys over a cluster."""
    with pytest.raises(ValueError, match="braces"):
        redis_world.store().fence("a}b")


def test_a_save_that_was_foreseen_is_a_save_like_any_other(redis_world: RedisWorld) -> None:
    """Also where another one was foreseen, or something else is asked in between."""
    store = redis_world.store()
    epoch = take(store)
    store.foresee(SHARD, ["p"])
    assert store.save(SHARD, epoch, [change()]).conflicts == {}
    store.foresee(SHARD, ["q"])
    assert store.save(SHARD, epoch, [change(grew_from=1)]).conflicts == {}
    store.foresee(SHARD, ["p", "q"])
    assert read(store, "p").version == 2
    store.renew(SHARD, "me", epoch, 10.0)
    assert store.save(SHARD, epoch, [change(grew_from=2), change("q")]).conflicts == {}
    store.foresee(SHARD, ["p"])
    store.foresee(SHARD, ["p", "q"])
    outcome = store.save(SHARD, epoch, [change(grew_from=3), change("q", 1)])
    assert [read(store, name) for name in ("p", "q")] == [outcome.saved["p"], outcome.saved["q"]]


def test_what_happens_after_a_save_was_foreseen_is_noticed(redis_world: RedisWorld) -> None:
    """What was read ahead is watched from then on: a save of somebody else in between, and a takeover."""
    store, other = redis_world.store(), redis_world.store()
    epoch = take(store)
    store.save(SHARD, epoch, [change()])
    store.foresee(SHARD, ["p"])
    other.save(SHARD, epoch, [change(grew_from=1, state={"by": "other"})])
    outcome = store.save(SHARD, epoch, [change(grew_from=1)])
    assert conflict(outcome, "p").stored_version == 2
    store.foresee(SHARD, ["p"])
    redis_world.expire_lease()
    take(other, "other")
    with pytest.raises(StaleOwner):
        store.save(SHARD, epoch, [change(grew_from=2)])
    assert read(store, "p").state == {"by": "other"}


def test_a_foreseen_save_outlives_its_connection(redis_world: RedisWorld) -> None:
    """What was asked ahead got lost with it; the save asks again."""
    store = redis_world.store()
    epoch = take(store)
    store.foresee(SHARD, ["p"])
    redis_world.operator.client_kill_filter(_type="normal", skipme=True)
    assert set(store.save(SHARD, epoch, [change()]).saved) == {"p"}


def test_what_was_loaded_is_not_read_again_before_its_first_save(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it has fields of a newer release, which are carried over, or was changed since it was loaded."""
    known = frozenset({"n"})
    store, newer = redis_world.store(known_fields=known), redis_world.store()
    epoch = take(store)
    states: dict[str, dict[str, Any]] = {name: {"n": "1"} for name in ("same", "newer", "changed")}
    states["newer"]["future"] = "its own"
    newer.save(SHARD, epoch, [change(name, state=state) for name, state in states.items()])
    store.load(SHARD)
    newer.save(SHARD, epoch, [change("changed", 1, state={"n": "2"})])
    decoded: list[str] = []

    def noted(position_id: str, *rest: Any) -> Snapshot:
        decoded.append(position_id)
        return decode_snapshot(position_id, *rest)

    monkeypatch.setattr("persistence.batch.decode_snapshot", noted)
    outcome = store.save(SHARD, epoch, [change(name, 1, state={"n": "3"}) for name in states])
    assert decoded == ["newer", "changed"]
    assert conflict(outcome, "changed").stored_version == 2
    assert read(store, "newer").state == {"n": "3", "future": "its own"}
    assert read(store, "same").state == {"n": "3"}
