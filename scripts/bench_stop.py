"""A stop that is crossed while 100,000 peaks are being saved: how long until its intent is durable.

A whole house holds one real position. The peaks are saves of as many other positions of the same shards, told to the
PersistenceActor at once; while it works them off, the position's stop is crossed. Its full close may leave before it is
durable; what is measured is until the state with the intent is acknowledged, in flush intervals: the median time of one
batch in the same run.
"""

import threading
import time
from decimal import Decimal
from typing import Any

import pykka

from actors.domain.model import Position
from actors.domain.schema import SCHEMA
from actors.runtime.base import Ref, tell
from actors.venues.base import PricesUpdated
from persistence.messages import Save, Saved
from scripts.bench_latency import play
from scripts.bench_row import (
    PATIENCE_SECONDS,
    Bench,
    Result,
    Row,
    check,
    idle_again,
    median,
    milliseconds,
    times,
    wait_until,
)
from scripts.bench_seed import seed
from scripts.bench_states import START_AT, Copies, Layout, Slot, open_position, trailing_position
from scripts.bench_world import World, gateway_of, new_store, world

PEAKS = 100_000
SHARDS = 10
BAR = 3.0
CROSSED = Decimal("59000.0")


class Peaks(pykka.ThreadingActor):
    """Stands for all the positions whose peaks are saved."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.expected = 0
        self.saved = 0
        self.done = threading.Event()
        _peaks.append(self)

    def on_receive(self, message: object) -> None:
        """Count what was saved."""
        check(isinstance(message, Saved), f"a peak was not saved: {message}")
        self.saved += 1
        if self.saved == self.expected:
            self.done.set()


_peaks: list[Peaks] = []


def flood(built: World, sender: Ref, copies: Copies, count: int) -> list[Save]:
    """The saves of one new peak for each of many positions, made beforehand."""
    layout = Layout(positions=count, symbols=-(-count // built.layout.accounts), shards=built.layout.shards)
    epochs = {status.account: status.epoch for status in built.running.directory.accounts.values()}
    found = []
    for slot in layout.slots():
        name = Slot(number=slot.number, position_id=f"q{slot.number:06}", account=slot.account, symbol=slot.symbol)
        found.append(
            Save(
                shard=layout.shard_of(slot.account),
                position_id=name.position_id,
                schema=SCHEMA,
                grew_from=0,
                change=1,
                state=copies.state(name),
                reply_to=sender,
                epoch=epochs[slot.account],
                soft=True,
            )
        )
    return found


def closing(built: World, slot: Slot) -> bool:
    """Whether the decision to close is acknowledged as durable."""
    position: Position | None = built.running.directory.positions[slot.position_id].position
    return position is not None and position.closing_reason is not None


def once(built: World, peaks: int, slot: Slot, heard: Peaks, sender: Ref) -> float:
    """Seconds from the crossing price to the acknowledged intent, in the middle of the flood."""
    saves = flood(built, sender, Copies(trailing_position()), peaks)
    heard.saved, heard.expected = 0, len(saves)
    heard.done.clear()
    built.saves.clear()
    for save in saves:
        tell(built.running.persistence, save)
    # Not before the first of them are saved: the stop shall come in the middle of it.
    wait_until(lambda: heard.saved > 0, "the first peaks")
    quote = play(built, slot.symbol, CROSSED, START_AT + 60_000_000)
    began = time.perf_counter()
    tell(gateway_of(built, slot.account), PricesUpdated(symbol=slot.symbol, quote=quote))
    while not closing(built, slot):
        check(time.perf_counter() - began < PATIENCE_SECONDS, "the stop is not durable")
        time.sleep(0.0005)
    took = time.perf_counter() - began
    under_way = heard.saved
    check(heard.done.wait(PATIENCE_SECONDS), "not every peak was saved")
    check(under_way < len(saves) or len(saves) < 1000, "the peaks were all saved before the stop was")
    return took


def run(bench: Bench) -> Result:
    """One flood, one stop."""
    peaks = bench.size(PEAKS, 400)
    layout = Layout(positions=SHARDS, symbols=1, shards=SHARDS)
    with world(bench.folder / "world", layout) as built:
        seed(built, Copies(open_position()))
        built.boot()
        idle_again()
        sender = built.runtime.spawn(Peaks)
        took = once(built, peaks, next(layout.slots()), _peaks[-1], sender)
        batches = [seconds for count, seconds in built.saves if count > 1]
        _check(built, peaks)
        built.runtime.stop(sender, 5.0)
    interval = median(batches)
    ratio = took / interval
    row = Row(
        what=f"a stop during {peaks:,} saves of peaks",
        measured=f"intent durable after {milliseconds(took)}",
        against=f"flush interval (median batch): {milliseconds(interval)}",
        ratio=times(ratio),
        bar="≤ 3 flush intervals",
        held=ratio <= BAR,
    )
    total = sum(count for count, _ in built.saves)
    notes = (f"{total:,} states in {len(built.saves):,} batches of up to {max(count for count, _ in built.saves)}",)
    return Result(name="stop", rows=(row,), notes=notes)


def _check(built: World, peaks: int) -> None:
    """Every peak is stored."""
    store: Any = new_store(built.redis.url)
    stored = 0
    for shard in store.shards():
        loaded = store.load(shard).snapshots
        stored += sum(snapshot.position_id.startswith("q") for snapshot in loaded)
    store.close()
    check(stored == peaks, f"{stored} of {peaks} peaks are stored")


def hot(bench: Bench) -> None:
    """For the profiler."""
    run(bench)
