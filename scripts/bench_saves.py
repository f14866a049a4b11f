"""Saves a second by group commit, against the bare loop that encodes the same states and writes each batch at once.

Group commit is what the PersistenceActor does with a batch: gather in the shard's book, save through the Redis store
(watch, read, merge, write, read back, fsync confirmed), settle. The bare loop is MessagePack and one MSET a batch on a
connection of its own to the same server, under the same `appendfsync always`. Both take turns, on the same states.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pykka
import redis

from actors.domain.schema import SCHEMA
from actors.runtime.base import Ref, tell
from persistence.actor import PersistenceActor
from persistence.failure_log import MemoryFailureLog
from persistence.lease import LeaseBoard
from persistence.messages import Save, Saved, ShardTaken, TakeShard
from persistence.shard_book import ShardBook
from scripts.bench_row import PATIENCE_SECONDS, Bench, Result, Row, check, median, number, spent, times
from scripts.bench_states import Copies, Layout, trailing_position
from scripts.bench_world import World, new_store, world

BATCHES = (100, 1_000)
BAR = 0.5
SHARD = "s00"


class Sender(pykka.ThreadingActor):
    """Tells saves and counts their answers, as so many positions would."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()
        self.done = threading.Event()
        self.expected = 0
        self.saved = 0
        _senders.append(self)

    def on_receive(self, message: object) -> None:
        """Count what was saved."""
        if isinstance(message, ShardTaken):
            self.taken.set()
        elif isinstance(message, Saved):
            self.saved += 1
            if self.saved == self.expected:
                self.done.set()
        else:
            raise TypeError(f"not saved: {message}")


_senders: list[Sender] = []


def states_of(count: int) -> list[dict[str, Any]]:
    """Real states: runners with an armed trail, five orders and two fills behind them."""
    copies = Copies(trailing_position())
    layout = Layout(positions=count, symbols=1, shards=1)
    return [copies.state(slot) for slot in layout.slots()]


def bare_loop(client: Any, states: Sequence[Mapping[str, Any]], batch: int, write: int) -> None:
    """Encode and write, nothing else."""
    pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
    for start in range(0, len(states), batch):
        pairs: list[Any] = []
        for state in states[start : start + batch]:
            pairs += (f"bare:{state['id']}", pack([SCHEMA, write, 1, "w", state]))
        client.execute_command("MSET", *pairs)


def group_commit(store: Any, book: ShardBook, sender: Ref, states: Sequence[Mapping[str, Any]], turn: int) -> None:
    """The persistence actor's own path, without its mailbox. The batch is as large as what waits."""
    for state in states:
        name = str(state["id"])
        known = book.known.get(name)
        book.add(
            Save(
                shard=SHARD,
                position_id=name,
                schema=SCHEMA,
                grew_from=0 if known is None else known.version,
                change=turn,
                state=state,
                reply_to=sender,
                epoch=book.epoch,
            )
        )
    outcome = store.save(SHARD, book.epoch, book.freeze(len(states)), {})
    check(len(outcome.saved) == len(states), "a batch was not saved whole")
    book.finish(outcome.saved)


def run(bench: Bench) -> Result:
    """Both batch sizes, and the same through the mailbox."""
    count, repeats = bench.size(10_000, 200), bench.size(7, 2)
    rows: list[Row] = []
    with world(bench.folder / "world", Layout(positions=1, symbols=1, shards=1)) as built:
        states = states_of(count)
        size = len(msgpack.packb(states[0]))
        for batch in BATCHES:
            rows.append(_direct(bench, built, states, min(batch, count), repeats))
        rows.append(_mailbox(bench, built, states, repeats))
    notes = (
        f"{count:,} states of {size:,} bytes each, {repeats} turns; every save is read back and its fsync confirmed",
    )
    return Result(name="saves", rows=tuple(rows), notes=notes)


def _direct(bench: Bench, built: World, states: Sequence[Mapping[str, Any]], batch: int, repeats: int) -> Row:
    client, store = _client(built), new_store(built.redis.url)
    sender = built.runtime.spawn(Sender)
    owner = f"direct-{batch}"
    fence = store.take(SHARD, owner, 3600.0)
    book = ShardBook(SHARD, fence.epoch, sender, float("inf"), announced=True)
    book.learn(store.load(SHARD))
    rates: dict[str, list[float]] = {"bare": [], "group": [], "bare CPU": [], "group CPU": []}
    for turn in range(1, repeats + 2):
        with spent() as bare:
            bare_loop(client, states, batch, turn)
        with spent() as group:
            for start in range(0, len(states), batch):
                group_commit(store, book, sender, states[start : start + batch], turn)
        # The first turn fills caches and grows the server's memory.
        if turn > 1:
            rates["bare"].append(len(states) / bare.wall)
            rates["group"].append(len(states) / group.wall)
            rates["bare CPU"].append(len(states) / bare.cpu)
            rates["group CPU"].append(len(states) / group.cpu)
    _read_back(states, store)
    store.release(SHARD, owner, fence.epoch)
    store.close()
    client.close()
    built.runtime.stop(sender, 5.0)
    group_rate, bare_rate = median(rates["group"]), median(rates["bare"])
    ratio = median([group / bare for group, bare in zip(rates["group"], rates["bare"], strict=True)])
    bench.say(f"  batches of {batch}: {number(group_rate)} saves/s, bare {number(bare_rate)}")
    return Row(
        what=f"batches of {batch:,}",
        measured=f"{number(group_rate)} saves/s ({number(median(rates['group CPU']))} a CPU-s of the keeper)",
        against=f"bare loop: {number(bare_rate)}/s ({number(median(rates['bare CPU']))} a CPU-s)",
        ratio=times(ratio),
        bar="≥ 0.5×",
        held=ratio >= BAR,
    )


def _read_back(states: Sequence[Mapping[str, Any]], store: Any) -> None:
    """What is stored is what was saved."""
    loaded = {snapshot.position_id: snapshot.state for snapshot in store.load(SHARD).snapshots}
    check(len(loaded) >= len(states), "not every state is stored")
    check(all(loaded[str(state["id"])] == state for state in states), "a state is stored otherwise than it was saved")


def _mailbox(bench: Bench, built: World, states: Sequence[Mapping[str, Any]], repeats: int) -> Row:
    """From the first Save told to the last Saved heard."""
    store = new_store(built.redis.url)
    actor = built.runtime.spawn(
        PersistenceActor,
        store,
        MemoryFailureLog(),
        LeaseBoard(),
        built.runtime.clock,
        "mailbox",
        lease_ttl_seconds=60.0,
    )
    sender = built.runtime.spawn(Sender)
    heard = _senders[-1]
    tell(actor, TakeShard(shard=SHARD, reply_to=sender))
    check(heard.taken.wait(30), "the shard was not taken")
    versions = {snapshot.position_id: snapshot.version for snapshot in store_versions(built)}
    rates, cpu_rates = [], []
    for turn in range(1, repeats + 2):
        heard.saved, heard.expected = 0, len(states)
        heard.done.clear()
        with spent() as cost:
            for state in states:
                name = str(state["id"])
                save = Save(
                    shard=SHARD,
                    position_id=name,
                    schema=SCHEMA,
                    grew_from=versions.get(name, 0),
                    change=turn,
                    state=state,
                    reply_to=sender,
                )
                tell(actor, save)
            check(heard.done.wait(PATIENCE_SECONDS), "not every save was answered")
        if turn > 1:
            rates.append(len(states) / cost.wall)
            cpu_rates.append(len(states) / cost.cpu)
    built.runtime.stop(actor, 10.0)
    built.runtime.stop(sender, 5.0)
    bench.say(f"  through the mailbox: {number(median(rates))} saves/s")
    return Row(
        what="through the PersistenceActor's mailbox",
        measured=f"{number(median(rates))} saves/s ({number(median(cpu_rates))} a CPU-s of the keeper)",
        against="",
    )


def store_versions(built: World) -> Sequence[Any]:
    """What is stored now, read by somebody else."""
    store = new_store(built.redis.url)
    found: Sequence[Any] = store.load(SHARD).snapshots
    store.close()
    return found


def _client(built: World) -> Any:
    path = built.redis.url.removeprefix("unix://")
    return redis.Redis(unix_socket_path=path, protocol=2)


def hot(bench: Bench) -> None:
    """For the profiler."""
    count = bench.size(10_000, 200)
    with world(bench.folder / "world", Layout(positions=1, symbols=1, shards=1)) as built:
        _direct(bench, built, states_of(count), 500, bench.size(5, 1))
