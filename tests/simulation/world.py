"""The world of a campaign: machines whose keepers die, freeze and are relieved, one store, one exchange, one clock.

Every boundary of every request to store, failure log and exchange is a point, and so is every turn of an actor. Points
are counted over the whole run; a trouble says at which one it comes. So a run is exactly what its seed and its troubles
say, and the same run can be played again with fewer of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pykka

from actors.domain.model import Position
from actors.domain.schema import SCHEMA, known_fields, load
from actors.settings import AccountSettings
from actors.traffic import BeginRecovery
from actors.venues.base import Venue
from persistence.codec import decode_fence, decode_snapshot
from persistence.failure_log import Failure, FailureRecord, MemoryFailureLog
from persistence.memory_store import MemoryStore, ShardData
from persistence.store import Change, Fence, Outcome, StaleOwner
from service.bootstrap import House
from tests.simulation.hall import Hall, HallExchange, KeeperDoor
from tests.simulation.house import Keeper
from tests.simulation.troubles import NeverWrongTwice, Trouble

MOST_TURNS = 60_000
"""More turns than these in one stretch of time: actors keep each other busy."""


@dataclass(slots=True)
class Life:
    """One keeper from its start to its death.

    `epoch` is what its store told it, `inside` the request it is in, `cuts` how often the store had lost its power when
    that request began.
    """

    number: int
    machine: str
    born_at: float
    house: House | None = None
    door: KeeperDoor | None = None
    epoch: int = 0
    inside: str = ""
    still: bool = False
    dead: bool = False
    takes: int = 0
    cuts: int = 0

    @property
    def group(self) -> str:
        """Its actors' group in the simulator."""
        return f"keeper-{self.number}"

    @property
    def owner(self) -> str:
        """What it calls itself in the lease."""
        return f"{self.machine}-{self.number}"

    @property
    def awake(self) -> bool:
        """Whether it runs."""
        return not self.dead and not self.still

    @property
    def ready(self) -> bool:
        """Whether it has taken its shard and is reconciled."""
        return self.house is not None and not self.house.directory.reasons_not_ready()


class Watcher:
    """What looks on and judges (tests/simulation/promises.py). This one lets everything pass."""

    def look(self) -> None:
        """Before every turn."""

    def sends(self, life: Life, request: Any) -> None:
        """An order or a cancel is about to leave."""

    def acknowledged(self, life: Life, epoch: int, outcome: Outcome) -> None:
        """A save was acknowledged."""

    def taken(self, life: Life, fence: Fence) -> None:
        """A lease was taken."""

    def fenced(self, life: Life, inside: str) -> None:
        """A save of a former owner was refused."""

    def died(self, life: Life, what: str) -> None:
        """A keeper is about to vanish, at this point."""

    def happened(self, what: str) -> None:
        """Something that somebody may count."""


class CampaignStore(MemoryStore):
    """A client of the store that is heard of: what was acknowledged, taken, refused, and where it is."""

    def __init__(self, *args: Any, world: "World", life: Life, **more: Any) -> None:
        super().__init__(*args, faults=lambda stage: world.stage(life, stage), **more)
        self._world = world
        self._life = life

    @contextmanager
    def _request(self, what: str) -> Any:
        self._life.inside = what
        self._world.point(self._life, f"before store {what}")
        self._life.cuts = self._world.cuts
        try:
            yield
        finally:
            self._life.inside = ""

    def save(
        self, shard: str, epoch: int, changes: Sequence[Change], tapes: Mapping[str, bytes] | None = None
    ) -> Outcome:
        """Save a batch."""
        with self._request("save"):
            try:
                outcome = super().save(shard, epoch, changes, tapes)
            except StaleOwner:
                self._world.watcher.fenced(self._life, "save")
                raise
            self._world.watcher.acknowledged(self._life, epoch, outcome)
            self._world.point(self._life, "after store save")
            return outcome

    def take(self, shard: str, owner: str, ttl_seconds: float, *, dead_owner: str | None = None) -> Fence:
        """Take the lease."""
        with self._request("take"):
            fence = super().take(shard, owner, ttl_seconds, dead_owner=dead_owner)
            self._world.unwritten = None
            self._life.epoch = fence.epoch
            self._world.watcher.taken(self._life, fence)
            self._world.point(self._life, "after store take")
            return fence

    def renew(self, shard: str, owner: str, epoch: int, ttl_seconds: float) -> None:
        """Prolong the lease."""
        with self._request("renew"):
            super().renew(shard, owner, epoch, ttl_seconds)
            self._world.point(self._life, "after store renew")

    def load(self, shard: str, closed_limit: int = 1000) -> Any:
        """Read the shard."""
        with self._request("load"):
            loaded = super().load(shard, closed_limit)
            self._world.point(self._life, "after store load")
            return loaded

    def _commit(self, shard: str, batch: Any) -> Any:
        self._world.before_write(self._life, self._data(shard))
        try:
            return super()._commit(shard, batch)
        finally:
            self._world.unwritten = None


class CampaignLog:
    """A keeper's failure log on its machine's disk: lines are there or not, before and after."""

    def __init__(self, world: "World", life: Life, log: MemoryFailureLog) -> None:
        self._world, self._life, self._log = world, life, log

    def append(self, failures: Sequence[Failure]) -> None:
        """Keep these lines."""
        if failures:
            self._world.point(self._life, "before failure log")
            self._log.append(failures)
            self._world.point(self._life, "after failure log")

    def spills(self, shard: str) -> Mapping[str, Failure]:
        """The latest spilled states."""
        return self._log.spills(shard)


@dataclass(slots=True)
class Boot:
    """A keeper that will be started."""

    at: float
    machine: str


@dataclass(slots=True)
class Troubles:
    """What is to come, by where it comes."""

    points: dict[int, Trouble] = field(default_factory=dict)
    sends: dict[int, Trouble] = field(default_factory=dict)
    stages: dict[int, Trouble] = field(default_factory=dict)
    outages: list[Trouble] = field(default_factory=list)


class World(Keeper):
    """Machines, store and exchange of one run."""

    def __init__(self, folder: Path, *, seed: int, waits: bool, troubles: Iterable[Trouble] = ()) -> None:
        """`waits`: no tick is lost, the market stands still while no keeper is ready."""
        super().__init__(folder, [60000], seed=seed, speed="max" if waits else 1.0, health_seconds=30.0)
        self.waits = waits
        self.faults = NeverWrongTwice()
        self.watcher = Watcher()
        self.hall = Hall(
            settings=self.paper,
            simulator=self.simulator,
            exchange=self.ledger,
            faults=self.faults,
            waits=waits,
        )
        self.lives: list[Life] = []
        self.boots_due: list[Boot] = []
        self.logs = {"a": MemoryFailureLog(), "b": MemoryFailureLog()}
        self.points = 0
        self.stages = 0
        self.sends = 0
        self.calm = False
        self.unwritten: tuple[ShardData, dict[str, Any]] | None = None
        self.reverted = False
        self.cuts = 0
        self._writer: Life | None = None
        self.trace: list[str] = []
        self.on_point: Callable[[int, Life, str], None] | None = None
        self.troubles = Troubles()
        for trouble in troubles:
            self._expect(trouble)
        self.simulator.before_turn = self._before_turn

    def _expect(self, trouble: Trouble) -> None:
        if trouble.when == "point":
            self.troubles.points[trouble.at] = trouble
        elif trouble.when == "send":
            self.troubles.sends[trouble.at] = trouble
        elif trouble.when == "stage":
            self.troubles.stages[trouble.at] = trouble
        elif trouble.kind == "outage":
            self.troubles.outages.append(trouble)
        elif trouble.when == "request":
            self.faults.next(trouble.subject, skip=trouble.at, **dict(trouble.detail))

    # -- the parts of a keeper -----------------------------------------------------------------------------------------

    def open_exchange(self) -> HallExchange:
        """The exchange, which outlives every keeper."""
        self.ledger = HallExchange(self.paper)
        return self.ledger

    def open_store(self) -> MemoryStore:
        """A client of the store."""
        return CampaignStore(
            newest_schema=SCHEMA,
            known_fields=known_fields(),
            now=self.simulator.clock.monotonic,
            server=self.server,
            new_write_id=self._write_id(),
            world=self,
            life=self.newest,
        )

    def open_failure_log(self) -> FailureRecord:
        """The failure log of its machine."""
        return CampaignLog(self, self.newest, self.logs[self.newest.machine])

    def doors(self) -> dict[str, Venue]:
        """A door of its own to the exchange."""
        life = self.newest
        life.door = KeeperDoor(
            self.hall,
            life.group,
            self.simulator,
            point=lambda what: self.point(life, what),
            sends=lambda request: self.watcher.sends(life, request),
        )
        return {"paper": life.door}

    def account_settings(self) -> tuple[AccountSettings, ...]:
        """The account."""
        return (self.settings,)

    def proof_of_death(self) -> Callable[[str], bool]:
        """The lock on a machine's data directory proves that whoever held a lease from there before has ended."""
        machine = self.newest.machine
        return lambda owner: any(life.owner == owner and life.dead for life in self.lives if life.machine == machine)

    @property
    def newest(self) -> Life:
        """The keeper that was started last."""
        return self.lives[-1]

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Virtual seconds since the beginning."""
        return self.simulator.clock.elapsed / 1_000_000

    def say(self, what: str) -> None:
        """A line of the trace that a person reads when a promise is broken."""
        self.trace.append(f"{self.seconds:8.3f} s  point {self.points:4}  {what}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass; keepers that are due are started."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.boot_due()
            due = min((boot.at for boot in self.boots_due), default=end)
            step = max(0.001, min(end, due) - self.seconds)
            self.simulator.run(for_seconds=step, limit=MOST_TURNS)
            self.watcher.look()
        self.boot_due()

    # -- lives ---------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether a keeper runs."""
        return any(not life.dead for life in self.lives)

    @property
    def awake(self) -> Life | None:
        """The keeper that requests go to: one that runs and is ready, or else runs."""
        running = [life for life in self.lives if life.awake and life.house is not None]
        for life in reversed(running):
            if life.ready:
                return life
        return running[-1] if running else None

    def boot_due(self) -> None:
        """Start the keepers whose time has come, one on each machine at most."""
        if not self.boots_due:
            return
        for boot in [boot for boot in self.boots_due if boot.at <= self.seconds]:
            self.boots_due.remove(boot)
            if all(life.dead for life in self.lives if life.machine == boot.machine):
                self.start_on(boot.machine)

    def start_on(self, machine: str) -> Life:
        """Start a keeper on a machine."""
        life = Life(number=len(self.lives) + 1, machine=machine, born_at=self.seconds)
        self.lives.append(life)
        self.say(f"{life.owner} starts")
        group, self.simulator.group = self.simulator.group, life.group
        try:
            life.house = self.boot(owner=life.owner)
        finally:
            self.simulator.group = group
        return life

    def kill(self, life: Life, what: str, *, down: float, machine: str) -> None:
        """This keeper vanishes now; after a while one starts on that machine."""
        self.watcher.died(life, what)
        life.dead = True
        self.say(f"{life.owner} dies: {what}")
        if life.door is not None:
            life.door.hang_up()
        self.boots_due.append(Boot(self.seconds + down, machine))
        self.simulator.crash(life.group)

    # -- points --------------------------------------------------------------------------------------------------------

    def _before_turn(self, actor: pykka.Actor, message: object) -> None:
        self.watcher.look()
        self.boot_due()
        group = self.simulator.group_of(actor)
        if group.startswith("keeper-"):
            life = self.lives[int(group.removeprefix("keeper-")) - 1]
            if isinstance(message, BeginRecovery) and message.spilled:
                self.watcher.happened("a spilled state is taken up again")
            self.point(life, f"{type(actor).__name__} < {type(message).__name__ if message is not None else 'start'}")

    def point(self, life: Life, what: str) -> None:
        """One boundary: the keeper may vanish here, or stand still."""
        self.points += 1
        if self.on_point is not None:
            self.on_point(self.points, life, what)
        trouble = self.troubles.points.get(self.points)
        if what in ("before submit", "before cancel"):
            self.sends += 1
            trouble = trouble or self.troubles.sends.get(self.sends)
        if trouble is None or self.calm or life.dead:
            return
        other = "b" if life.machine == "a" else "a"
        if trouble.kind == "crash":
            self.kill(
                life, what, down=trouble.seconds, machine=other if trouble.detail_of("elsewhere") else life.machine
            )
        elif trouble.kind == "power":
            self._cut_power(life, what, trouble)
        elif trouble.kind == "rival":
            self.boots_due.append(Boot(self.seconds, other))
        elif trouble.kind == "pause" and not life.still:
            self._pause(life, what, trouble, other)

    def _pause(self, life: Life, what: str, trouble: Trouble, other: str) -> None:
        self.say(f"{life.owner} stands still for {trouble.seconds} s: {what}")
        if trouble.detail_of("relieved"):
            self.boots_due.append(Boot(self.seconds + 0.5, other))
        self.watcher.happened("pause")
        life.still = True
        epoch = self.epoch
        try:
            self.simulator.stand_still(trouble.seconds, life.group)
        finally:
            life.still = False
        if life.inside == "save" and self.epoch > epoch:
            self.watcher.happened("takeover during a save")
        self.say(f"{life.owner} goes on")

    def _cut_power(self, life: Life, what: str, trouble: Trouble) -> None:
        """The machine of store and keeper loses its power.

        What was not acknowledged is gone, and so is every connection to the store.
        """
        self.cuts += 1
        if self._unwrite():
            self.watcher.happened("a power cut takes back a write")
        self.kill(life, f"power cut, {what}", down=trouble.seconds, machine=life.machine)

    # -- the store -----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the shard's fence."""
        raw = self.shard.fence
        return 0 if raw is None else MemoryFence.of(raw)

    def before_write(self, life: Life, data: ShardData) -> None:
        """What is stored now, should the write that follows be lost before it is acknowledged."""
        self._writer = life
        kept = {name: _copied(getattr(data, name)) for name in ("fence", "positions", "expires", "open", "tapes")}
        self.unwritten = (data, kept | {"events": len(data.events), "closed": len(data.closed)})

    def _unwrite(self) -> bool:
        if self.unwritten is None:
            return False
        data, kept = self.unwritten
        self.unwritten = None
        written = data.fence is not kept["fence"]
        self.reverted = self.reverted or data.positions != kept["positions"]
        for name in ("fence", "positions", "expires", "open", "tapes"):
            setattr(data, name, kept[name])
        del data.events[kept["events"] :]
        del data.closed[kept["closed"] :]
        return written

    def stage(self, life: Life, stage: str) -> None:
        """A stage of a request to the store: it may be slow, lost, or come to nothing.

        Where the store has lost its power since the request began, no reply comes.
        """
        self._trouble_at(life, stage)
        if life.cuts != self.cuts:
            life.cuts = self.cuts
            raise ConnectionError(f"the store lost its power by {stage}")

    def _trouble_at(self, life: Life, stage: str) -> None:
        if life is not self._writer:
            self.unwritten = None
        write = self.unwritten
        self.point(life, f"store {life.inside} {stage}")
        if self.unwritten is not write:
            # Somebody else wrote while this one stood still.
            self.unwritten = None
        if self.calm:
            return
        self.stages += 1
        if any(each.at <= self.seconds < each.at + each.seconds for each in self.troubles.outages):
            self.watcher.happened("the store is out of reach")
            raise ConnectionError(f"the store is out of reach at {stage}")
        trouble = self.troubles.stages.get(self.stages)
        if trouble is None:
            return
        self.say(f"{life.owner}: {trouble.kind} at {life.inside} {stage}")
        if trouble.kind == "slow":
            running = self.simulator.running
            if running is not None:
                self.simulator.stand_still(trouble.seconds, running)
            return
        if stage == "after_write" and life.inside == "save":
            self.watcher.happened("a saved write's reply is lost")
        if trouble.kind == "undo" and stage == "after_write" and self._unwrite():
            self.watcher.happened("the store restarts without a write")
        raise ConnectionError(f"{trouble.kind} at {stage}")

    # -- what is stored ------------------------------------------------------------------------------------------------

    def snapshot_of(self, name: str = "p1") -> tuple[int, int, Position] | None:
        """Version, epoch and state as a crash would leave them."""
        raw = self.shard.positions.get(name)
        if raw is None:
            return None
        snapshot = decode_snapshot(name, raw, SCHEMA)
        return snapshot.version, snapshot.epoch, load(snapshot.state, snapshot.schema)


class MemoryFence:
    """Epochs of fences, read once for each."""

    _last: tuple[bytes, int] = (b"", 0)

    @classmethod
    def of(cls, raw: bytes) -> int:
        """The epoch in these bytes."""
        if cls._last[0] is not raw:
            cls._last = (raw, decode_fence("paper", raw).epoch)
        return cls._last[1]


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | set) else value
