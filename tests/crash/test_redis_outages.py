"""Every kind of Redis outage, with a real server: what was acknowledged is stored, what waits is saved later, once."""

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from persistence.failure_log import LEASE_LOST, REACHABLE, SETTLED, SPILLED, UNREACHABLE, latest_spills
from persistence.redis_store import RedisStore
from persistence.store import Outage
from persistence.words import OUTAGES, words_for
from tests.crash.redis_world import SHARD, Keeper, Network, Position, Server, until

SHORT_LEASE_SECONDS = 1.5
NETWORK = ("request", "reply", "late", "delay")


class World:
    """A server, the network to it, and the outages that an operator can make."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = Server(directory / "server")
        self.network = Network(self.server.port)
        self.keepers: list[Keeper] = []

    def keeper(self, outage: str = "", **settings: Any) -> Keeper:
        """One more keeper of the same installation, behind the proxy where the outage is the network's."""
        url = self.network.url if outage in NETWORK else self.server.url
        keeper = Keeper(url, self.directory, **settings)
        self.keepers.append(keeper)
        return keeper

    def reader(self) -> RedisStore:
        """An independent look at what is stored."""
        return RedisStore(self.server.url, newest_schema=1)

    def begin(self, outage: str) -> None:
        """Make this kind of outage."""
        getattr(self, f"_begin_{outage}", lambda: None)()
        if outage in NETWORK:
            self.network.mode = outage

    def end(self, outage: str) -> None:
        """Make it good again."""
        getattr(self, f"_end_{outage}", self.network.mend)()

    def close(self) -> None:
        """End everything that was started here."""
        self.network.close()
        for keeper in self.keepers:
            keeper.close()
        self.server.close()

    def _begin_refused(self) -> None:
        self.server.kill()

    def _end_refused(self) -> None:
        self.server.start()

    def _begin_frozen(self) -> None:
        self.server.signal(signal.SIGSTOP)

    def _end_frozen(self) -> None:
        self.server.signal(signal.SIGCONT)

    def _begin_asleep(self) -> None:
        self._sleeper = threading.Thread(target=self.server.command, args=("DEBUG", "SLEEP", "3"))
        self._sleeper.start()
        until(lambda: not self.server.answers(timeout_seconds=0.1))

    def _end_asleep(self) -> None:
        self._sleeper.join()

    def _begin_loading(self) -> None:
        with self.server.operator() as client:
            many = client.pipeline(transaction=False)
            for number in range(60_000):
                many.set(f"other:{number}", "x")
            many.execute()
        self.server.kill()
        # It looks at its clients once in 1,024 commands, so this is a tenth of a second between two answers.
        self.server.start(load_delay_microseconds=100, wait=False)

    def _end_loading(self) -> None:
        def hurry() -> bool:
            try:
                return bool(self.server.command("CONFIG", "SET", "key-load-delay", "0"))
            except OSError:
                return False

        until(hurry)
        until(self.server.answers)

    def _begin_read_only(self) -> None:
        self.server.command("REPLICAOF", "127.0.0.1", "1")

    def _end_read_only(self) -> None:
        self.server.command("REPLICAOF", "NO", "ONE")

    def _begin_disk(self) -> None:
        # A directory in the place of its dump makes every background save fail, also for root.
        (self.server.directory / "dump.rdb").mkdir()
        self.server.command("CONFIG", "SET", "save", "3600 1")
        self.server.command("BGSAVE")
        until(lambda: self._dump_status() == "err")

    def _end_disk(self) -> None:
        (self.server.directory / "dump.rdb").rmdir()
        self.server.command("BGSAVE")
        until(lambda: self._dump_status() == "ok")

    def _dump_status(self) -> str:
        with self.server.operator() as client:
            return str(client.info("persistence")["rdb_last_bgsave_status"])

    def _begin_memory(self) -> None:
        self.server.command("CONFIG", "SET", "maxmemory", "1")

    def _end_memory(self) -> None:
        self.server.command("CONFIG", "SET", "maxmemory", "0")

    def _begin_login(self) -> None:
        self.server.command("ACL", "SETUSER", "default", "-@write")

    def _end_login(self) -> None:
        self.server.command("ACL", "SETUSER", "default", "+@all")


# What each outage is called in the failure log, once it has lasted long enough to show.
CAUSES = {
    "refused": Outage.REFUSED,
    "frozen": Outage.SILENT,
    "asleep": Outage.SILENT,
    "request": Outage.SILENT,
    "reply": Outage.SILENT,
    "late": Outage.SILENT,
    "loading": Outage.LOADING,
    "read_only": Outage.READ_ONLY,
    "disk": Outage.DISK,
    "memory": Outage.MEMORY,
    "login": Outage.LOGIN,
}


@pytest.fixture
def world() -> Iterator[World]:
    """A server of the test's own; it is ended by its pid."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    found = World(directory)
    yield found
    found.close()
    shutil.rmtree(directory)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The log of this test."""
    found: list[dict[str, Any]] = []

    def keep(_logger: Any, method: str, entry: Any) -> Any:
        found.append({**entry, "level": method})
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(0))
    yield found
    structlog.configure(**before)


def outage_of_some_length(world: World, outage: str, keeper: Keeper, positions: list[Position]) -> None:
    """Save before, at the beginning of and during an outage that lasts until everything is written down."""
    world.begin(outage)
    for position in positions:
        position.save()
    until(lambda: keeper.reachable, "nobody was told of the outage")
    newborn = Position(keeper, "newborn")
    newborn.save()
    positions[0].save()
    positions.append(newborn)
    waiting = {position.name: position.change for position in positions}
    until(lambda: {name: spill.change for name, spill in latest_spills(keeper.trail(), SHARD).items()} == waiting)


def settle(world: World, keeper: Keeper, positions: list[Position]) -> None:
    """After the outage: everything that waited is saved, once, and everybody is told."""
    until(lambda: all(position.settled for position in positions), "what waited was not saved")
    until(lambda: keeper.reachable[-1])
    # Told in turns: false first, true in the end.
    assert keeper.reachable == [index % 2 == 1 for index in range(len(keeper.reachable))]
    reader = world.reader()
    for position in positions:
        position.check(reader)
    reader.close()
    assert latest_spills(keeper.trail(), SHARD) == {}


def check_words(outage: str, keeper: Keeper, lines: list[dict[str, Any]]) -> None:
    """The failure log tells the story, and the log says it in words, with a remedy."""
    trail = keeper.trail()
    kinds = [failure.kind for failure in trail]
    cause = CAUSES[outage]
    assert cause in {failure.cause for failure in trail if failure.kind == UNREACHABLE}
    assert kinds.index(UNREACHABLE) < len(kinds) - 1 - kinds[::-1].index(REACHABLE)
    assert {SPILLED, SETTLED} <= set(kinds)
    assert all(words_for(failure).why and words_for(failure).remedy for failure in trail)
    loud = [line for line in lines if line["level"] in ("warning", "error")]
    assert all(line.get("why") and line.get("remedy") for line in loud), loud
    assert OUTAGES[cause].why in {line["why"] for line in loud if line["event"] == UNREACHABLE}
    assert {SPILLED, REACHABLE} <= {line["event"] for line in loud}


@pytest.mark.parametrize("outage", CAUSES)
def test_an_outage_shorter_than_the_lease(world: World, lines: list[dict[str, Any]], outage: str) -> None:
    """Nobody is told that anything was saved, nobody loses a shard; afterwards all of it is saved, exactly once."""
    keeper = world.keeper(outage)
    epoch = keeper.take().epoch
    positions = keeper.positions(3)
    outage_of_some_length(world, outage, keeper, positions)
    world.end(outage)
    settle(world, keeper, positions)
    assert (keeper.lost, keeper.epoch, positions[0].acknowledged[-1].epoch) == ([], epoch, epoch)
    check_words(outage, keeper, lines)


@pytest.mark.parametrize("outage", [name for name in CAUSES if name != "asleep"])
def test_an_outage_longer_than_the_lease(world: World, lines: list[dict[str, Any]], outage: str) -> None:
    """The lease is lost, nobody else comes: it is retaken under a higher epoch, with all that waited."""
    keeper = world.keeper(outage, lease_ttl_seconds=SHORT_LEASE_SECONDS)
    epoch = keeper.take().epoch
    positions = keeper.positions(3)
    outage_of_some_length(world, outage, keeper, positions)
    until(lambda: keeper.lost, "the loss of the lease was not told")
    world.end(outage)
    settle(world, keeper, positions)
    until(lambda: keeper.epoch > epoch)
    assert {lost.fenced for lost in keeper.lost} == {False}
    assert {LEASE_LOST, "lease.taken"} <= {failure.kind for failure in keeper.trail()}
    check_words(outage, keeper, lines)


@pytest.mark.parametrize("outage", ["request", "late", "reply", "frozen", "refused"])
def test_a_keeper_that_dies_in_an_outage_leaves_nothing_behind(world: World, outage: str) -> None:
    """The next run takes up exactly what was not saved, and nothing that was."""
    first = world.keeper(outage)
    first.take()
    positions = first.positions(2)
    world.begin(outage)
    for position in positions:
        position.save()
    until(lambda: len(latest_spills(first.trail(), SHARD)) == 2)
    first.close()
    world.end(outage)
    second = world.keeper(owner="me again")
    reader = world.reader()
    reader.release(SHARD, "me", 1)
    taken = second.take()
    stored = {snapshot.position_id: snapshot.state["change"] for snapshot in taken.loaded.snapshots}
    spilled = {name: state["change"] for name, state in taken.spills.items()}
    # What is stored and what is spilled never overlap. What froze on its way, or came late, may have been saved.
    assert {**stored, **spilled} == {"p0": 2, "p1": 2}
    assert all(stored[name] == 1 for name in spilled)
    if outage == "reply":
        assert spilled == {}
    if outage in ("request", "refused"):
        assert set(spilled) == {"p0", "p1"}
    reader.close()


def test_a_slow_network_is_no_outage(world: World, lines: list[dict[str, Any]]) -> None:
    """Slower than anybody likes, and within the time-outs: everything is saved, and nobody is alarmed."""
    keeper = world.keeper("delay")
    world.network.delay_seconds = 0.1
    world.network.mode = "delay"
    keeper.take()
    positions = keeper.positions(3)
    for position in positions:
        position.save()
    until(lambda: all(position.settled for position in positions))
    reader = world.reader()
    for position in positions:
        position.check(reader)
    reader.close()
    assert keeper.reachable in ([], [False, True])
    assert keeper.lost == []
    assert {line["event"] for line in lines} <= {"lease.taken", "snapshot.saved", UNREACHABLE, REACHABLE, SPILLED}
