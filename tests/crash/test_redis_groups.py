"""Sentinel and Cluster for real: a primary that dies and is replaced, shards on several nodes, slots that move."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from persistence.redis_commands import Keys
from persistence.redis_connection import Refused, outage_of
from persistence.redis_store import RedisStore
from persistence.store import Change, LeaseHeld, Outage, Outcome, SnapshotUnknown, StaleOwner, StoreUnreachable
from tests.crash.redis_groups import SERVICE, ClusterGroup, Sentinel, SentinelGroup
from tests.crash.redis_world import SHARD, Keeper, Server, until

SHARDS = [f"account-{number}" for number in range(12)]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, which leaves room for sockets."""
    found = Path(tempfile.mkdtemp(prefix="ek-"))
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[SentinelGroup]:
    """A primary, a replica, a Sentinel."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    group = SentinelGroup(directory)
    yield group
    group.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterGroup]:
    """Three nodes with a third of the slots each."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    group = ClusterGroup(directory, nodes=3)
    yield group
    group.close()
    shutil.rmtree(directory)


@pytest.fixture
def store(cluster: ClusterGroup) -> Iterator[RedisStore]:
    """A store on a Cluster with nothing in it."""
    for server in cluster.servers:
        server.command("FLUSHALL")
    found = RedisStore(cluster.url, newest_schema=1)
    yield found
    found.close()


def change(number: int, position_id: str = "p", **fields: Any) -> Change:
    """The so-manieth change of a position."""
    return Change(position_id=position_id, schema=1, grew_from=number - 1, state={"change": number}, **fields)


def slot_of(shard: str) -> int:
    """Where a Cluster keeps a shard."""
    return key_slot(f"ek:{{{shard}}}:fence".encode())


def elsewhere(cluster: ClusterGroup, shard: str) -> Server:
    """A node that does not have this shard."""
    serving = cluster.serving(slot_of(shard))
    return next(server for server in cluster.servers if server is not serving)


# -- Sentinel ----------------------------------------------------------------------------------------------------------


def test_a_primary_that_was_demoted_is_left(sentinels: SentinelGroup) -> None:
    """It takes no writes any more: nothing is saved there, and the next attempt goes to the new primary."""
    store = RedisStore(sentinels.url, newest_schema=1)
    epoch = store.take("first", "me", 3600.0).epoch
    primary, replica = pair(sentinels)
    until(lambda: primary.command("WAIT", 1, 1000) == 1, "the replica does not follow")
    # Its connections stay as they are; it only becomes a copy.
    primary.command("REPLICAOF", "127.0.0.1", replica.port)
    with pytest.raises(StoreUnreachable) as caught:
        store.save("first", epoch, [change(1)])
    assert caught.value.outage is Outage.READ_ONLY
    replica.command("REPLICAOF", "NO", "ONE")
    until(lambda: fails_over(sentinels, replica), "the Sentinel does not fail over")
    assert save_at_last(store, "first", epoch, change(1)).saved["p"].version == 1
    assert replica.command("EXISTS", "ek:{first}:pos:p") == 1
    store.close()


def test_the_store_follows_a_failover_and_the_fence_still_holds(sentinels: SentinelGroup) -> None:
    """The primary dies, its replica takes its place: saving goes on there, and a former owner stays a former owner."""
    store, other = (RedisStore(sentinels.url, newest_schema=1) for _ in range(2))
    former, new = (RedisStore(sentinels.url, newest_schema=1) for _ in range(2))
    epoch = store.take(SHARD, "me", 3600.0).epoch
    assert store.save(SHARD, epoch, [change(1)]).saved["p"].version == 1
    former_epoch = former.take("other", "former", 3600.0).epoch
    new_epoch = new.take("other", "new", 3600.0, dead_owner="former").epoch
    primary, replica = pair(sentinels)
    until(lambda: primary.command("WAIT", 1, 1000) == 1, "the replica does not follow")

    primary.kill()
    try:
        assert save_at_last(store, SHARD, epoch, change(2)).saved["p"].version == 2
        assert sentinels.primary() is replica
        # The fence came along: nobody else has the shard, and who lost one before has lost it after the failover too.
        with pytest.raises(LeaseHeld):
            other.take(SHARD, "you", 10.0)
        with pytest.raises(StaleOwner) as caught:
            former.save("other", former_epoch, [change(1)])
        assert caught.value.epoch == new_epoch
    finally:
        primary.start()
        for each in (store, other, former, new):
            each.close()


def pair(sentinels: SentinelGroup) -> tuple[Server, Server]:
    """The primary and the replica, as the Sentinel knows them now."""
    primary = sentinels.primary()
    return primary, next(server for server in sentinels.servers if server is not primary)


def fails_over(sentinels: SentinelGroup, replica: Server) -> bool:
    """Ask for a failover until the replica is named."""
    with suppress(RedisError):
        sentinels.sentinel.command("SENTINEL", "FAILOVER", SERVICE)
    return sentinels.primary() is replica


def save_at_last(store: RedisStore, shard: str, epoch: int, wanted: Change) -> Outcome:
    """Save, as often as a keeper would try."""

    def save() -> Outcome | None:
        with suppress(StoreUnreachable, SnapshotUnknown):
            return store.save(shard, epoch, [wanted])
        return None

    outcome: Outcome = until(save, "the store does not follow the failover")
    return outcome


def test_a_replica_is_never_taken_for_the_primary(directory: Path) -> None:
    """Whoever a Sentinel names, the server's own word counts: from a copy not even the fence is read."""
    replica = Server(directory / "replica", {"replicaof": "127.0.0.1 1"})
    confused = Sentinel(directory / "confused", replica)
    store = RedisStore(f"redis+sentinel://127.0.0.1:{confused.port}/{SERVICE}", newest_schema=1)
    try:
        with pytest.raises(StoreUnreachable, match="is a replica") as caught:
            store.fence(SHARD)
        assert caught.value.outage is Outage.READ_ONLY
    finally:
        store.close()
        confused.close()
        replica.close()


def test_sentinels_have_a_password_of_their_own(directory: Path) -> None:
    """It is used for them alone; a wrong one is an outage with a remedy, and no error repeats it."""
    group = SentinelGroup(directory, replicas=0)
    try:
        group.servers[0].command("ACL", "SETUSER", "default", "resetpass", ">of the server")
        group.sentinel.command("ACL", "SETUSER", "default", "resetpass", ">of@the/sentinel")
        at = f"127.0.0.1:{group.sentinel.port}/{SERVICE}"
        url = f"redis+sentinel://:of%20the%20server@{at}?sentinel_password=of%40the%2Fsentinel"
        store = RedisStore(url, newest_schema=1)
        assert store.take(SHARD, "me", 10.0).epoch == 1
        store.close()
        for wrong, outage in (
            (url.replace("%2F", "%20"), Outage.NO_PRIMARY),
            (url.replace("%20", "%2F"), Outage.LOGIN),
        ):
            store = RedisStore(wrong, newest_schema=1)
            with pytest.raises(StoreUnreachable) as caught:
                store.take(SHARD, "me", 10.0)
            assert caught.value.outage is outage
            assert not re.search(r"of(.|%..)the", str(caught.value))
            store.close()
    finally:
        group.close()


def test_nobody_to_ask_is_an_outage_of_its_own() -> None:
    """No Sentinel, no node of the Cluster: each is said, and nothing hangs."""
    nobody = "127.0.0.1:9,127.0.0.1:10"
    for url, outage in (
        (f"redis+sentinel://{nobody}/{SERVICE}", Outage.NO_PRIMARY),
        (f"redis+cluster://{nobody}", Outage.REFUSED),
    ):
        store = RedisStore(url, newest_schema=1)
        with pytest.raises(StoreUnreachable) as caught:
            store.save(SHARD, 1, [change(1)])
        assert caught.value.outage is outage


# -- Cluster -----------------------------------------------------------------------------------------------------------


def test_shards_are_on_different_nodes(cluster: ClusterGroup, store: RedisStore) -> None:
    """Each where its slot is, whole; what is asked of all shards is asked of all nodes."""
    for number, shard in enumerate(SHARDS):
        epoch = store.take(shard, "me", 3600.0).epoch
        saved = store.save(shard, epoch, [change(1, f"p{number}", events=[{"n": number}])], {"X": b"tape"}).saved
        assert saved[f"p{number}"].version == 1
    assert all(server.command("DBSIZE") for server in cluster.servers)
    other = RedisStore(cluster.url, newest_schema=1)
    assert other.shards() == sorted(SHARDS)
    assert len(other.facts()) == len(cluster.servers)
    for number, shard in enumerate(SHARDS):
        loaded = other.load(shard)
        assert [snapshot.position_id for snapshot in loaded.snapshots] == [f"p{number}"]
        assert loaded.tapes == {"X": b"tape"}
        assert other.events(shard, f"p{number}") == [{"n": number}]
        other.renew(shard, "me", 1, 3600.0)
        other.release(shard, "me", 1)
    other.close()


def test_a_slot_that_moved_is_followed(cluster: ClusterGroup, store: RedisStore) -> None:
    """The store believes an old map: the node says MOVED, and everything goes on where the keys are now."""
    shard = SHARDS[0]
    epoch = store.take(shard, "me", 3600.0).epoch
    store.save(shard, epoch, [change(1)])
    asks: list[Callable[[str], Any]] = [store.fence, store.load, lambda name: store.renew(name, "me", epoch, 3600.0)]
    for number, ask in enumerate(asks, 2):
        target = elsewhere(cluster, shard)
        cluster.move(slot_of(shard), target)
        ask(shard)
        cluster.move(slot_of(shard), elsewhere(cluster, shard))
        assert store.save(shard, epoch, [change(number)]).saved["p"].version == number
    assert store.take(shard, "me", 3600.0).epoch == epoch + 1


def test_a_slot_that_moves_between_read_and_write_is_no_doubt(
    cluster: ClusterGroup, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node discards the transaction whole: it is sent again to the new one, and nothing had to be settled."""
    shard = SHARDS[1]
    epoch = store.take(shard, "me", 3600.0).epoch
    before = store.fence(shard).revision
    begin = store._begin
    moves = [cluster.move]

    def begin_and_move(*args: Any) -> Any:
        found = begin(*args)
        if moves:
            moves.pop()(slot_of(shard), elsewhere(cluster, shard))
        return found

    monkeypatch.setattr(store, "_begin", begin_and_move)
    assert store.save(shard, epoch, [change(1, events=[{"n": 1}])]).saved["p"].version == 1
    assert store.events(shard, "p") == [{"n": 1}]
    # A doubt would have cost one more, the bare revision that settles it.
    assert store.fence(shard).revision == before + 1


def test_an_exec_that_is_redirected_itself_is_definite(
    cluster: ClusterGroup, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything was queued, then the slot moved: EXEC answers MOVED, and nothing of it was done."""
    shard = SHARDS[2]
    keys = Keys(shard)
    store.take(shard, "me", 3600.0)
    connection: Any = store._route._servers.at(shard)
    connection.pipeline([("WATCH", keys.lease)])
    exchange = connection._exchange

    def move_before_exec(commands: Any) -> Any:
        replies = exchange(commands[:-1])
        cluster.move(slot_of(shard), elsewhere(cluster, shard))
        return replies + exchange(commands[-1:])

    monkeypatch.setattr(connection, "_exchange", move_before_exec)
    with pytest.raises(Refused) as caught:
        connection.transact([("SET", keys.fence, b"late")])
    assert outage_of(caught.value) is Outage.MOVING
    assert store.fence(shard).epoch == 1


def test_a_slot_on_its_way_takes_nothing_and_loses_nothing(cluster: ClusterGroup, store: RedisStore) -> None:
    """Half of the keys here, half there: definitely not saved, bounded, and saved once the move has ended."""
    shard = SHARDS[3]
    keys = Keys(shard)
    epoch = store.take(shard, "me", 3600.0).epoch
    store.save(shard, epoch, [change(1)])
    revision = store.fence(shard).revision
    source, target = cluster.serving(slot_of(shard)), elsewhere(cluster, shard)
    cluster.begin_move(slot_of(shard), target)
    for moved in ([keys.position("p")], [keys.fence], None):
        cluster.move_keys(slot_of(shard), source, target, moved)
        for _ in range(2):
            with pytest.raises(StoreUnreachable) as caught:
                store.save(shard, epoch, [change(2)])
            assert caught.value.outage is Outage.MOVING
    cluster.end_move(slot_of(shard), target)
    assert store.fence(shard).revision == revision
    assert store.save(shard, epoch, [change(2)]).saved["p"].version == 2


def test_a_keeper_saves_on_while_its_slot_moves(cluster: ClusterGroup, store: RedisStore, directory: Path) -> None:
    """Over a slot that moves again and again: nothing lost, nothing doubled, nobody told that anything failed."""
    keeper = Keeper(cluster.url, directory)
    try:
        keeper.take()
        positions = keeper.positions(3)
        for _ in range(4):
            for position in positions:
                position.save()
            cluster.move(slot_of(SHARD), elsewhere(cluster, SHARD))
            for position in positions:
                position.save()
            until(lambda: all(position.settled for position in positions))
        for position in positions:
            position.check(store)
        assert keeper.lost == []
    finally:
        keeper.close()


def test_a_node_that_dies_is_waited_for(cluster: ClusterGroup, store: RedisStore) -> None:
    """Its shards are out of reach, soon all are, because the Cluster wants every slot served; then all goes on."""
    epochs = {shard: store.take(shard, "me", 3600.0).epoch for shard in SHARDS}
    dead = cluster.serving(slot_of(SHARDS[0]))
    alive = next(shard for shard in SHARDS if cluster.serving(slot_of(shard)) is not dead)
    versions = dict.fromkeys((SHARDS[0], alive), 0)

    def outage(shard: str) -> Outage | None:
        try:
            versions[shard] = store.save(shard, epochs[shard], [change(versions[shard] + 1)]).saved["p"].version
        except StoreUnreachable as error:
            return error.outage
        return None

    dead.kill()
    try:
        until(lambda: outage(SHARDS[0]) is not None)
        until(lambda: outage(alive) is Outage.CLUSTER_DOWN, "the Cluster does not notice")
    finally:
        dead.start()
    for shard in versions:
        until(lambda shard=shard: outage(shard) is None, "the Cluster does not come back")  # type: ignore[misc]
        assert versions[shard] == read_version(store, shard)


def read_version(store: RedisStore, shard: str) -> int:
    """The stored version."""
    found = store.read(shard, "p")
    assert found is not None
    return found.version
