"""A stop that is crossed while 100,000 peaks are being saved: how long until its intent is durable.

A whole house holds one real position in each of ten shards, longs that wait for their stops. Peaks are saved with the
symbol's tape: 100,000 runners of the other side trail on the same desk, every price is a new peak of each of them, and
one of those prices crosses all ten stops. The second row is what positions do not do any more: as many states that only
moved a peak, told to the PersistenceActor one by one and at once, and the ten stops crossed while it works them off.

A full close may leave before it is durable; what is measured is until the last of the ten states with the intent is
acknowledged, in flush intervals: the median time of one batch in the same run.
"""

import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pykka

from actors.desk import Desk
from actors.domain.model import Side, Source
from actors.domain.schema import SCHEMA
from actors.domain.watch import Watch
from actors.runtime.base import Ref, tell
from persistence.messages import Save, Saved
from scripts.bench_exchange import FILE_SPEED, PriceFile, play
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
from scripts.bench_states import PRICE, Copies, Layout, Slot, open_position, trailing_position
from scripts.bench_world import World, new_store, world

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


def trailing_along(built: World, count: int, heard: Ref) -> Desk:
    """Runners of the other side on the symbol of the ten, all with the present price for their peak."""
    (desk,) = built.running.directory.desks.values()
    shards = sorted(desk.tapes)
    point = desk.present()
    for number_ in range(count):
        name = f"short-{number_:06}"
        watch = Watch(
            side=Side.SHORT,
            stop_source=Source.MARK,
            targets_source=Source.BID_ASK,
            peak=PRICE,
            trail_percent=Decimal("2.5") + Decimal("0.001") * (number_ % 100),
        )
        desk.register(name, heard, watch, point)
        desk.saving(shards[number_ % len(shards)], name, point)
    return desk


def among_peaks(built: World, desk: Desk, file: PriceFile) -> float:
    """Seconds from the crossing price to the last acknowledged intent; every price is a peak of all the others."""
    price = PRICE
    while price > CROSSED + 1:
        price -= Decimal("20")
        play(built.exchange, file, price)
    check(any(tape.saving or tape.durable for tape in desk.tapes.values()), "no tape is being saved")
    began = play(built.exchange, file, CROSSED)
    while not closing(built):
        check(time.perf_counter() - began < PATIENCE_SECONDS, "the stop is not durable")
        time.sleep(0.0005)
    return time.perf_counter() - began


def closing(built: World) -> bool:
    """Whether the decision to close is acknowledged as durable, for every position of the house."""
    found = [built.running.directory.positions[slot.position_id].position for slot in built.layout.slots()]
    return all(position is not None and position.closing_reason is not None for position in found)


def once(built: World, saves: Sequence[Save], heard: Peaks, file: PriceFile) -> float:
    """Seconds from the crossing price to the last acknowledged intent, in the middle of the flood."""
    heard.saved, heard.expected = 0, len(saves)
    heard.done.clear()
    built.saves.clear()
    for save in saves:
        tell(built.running.persistence, save)
    # Not before the first of them are saved: the stop shall come in the middle of it.
    wait_until(lambda: heard.saved > 0, "the first peaks")
    began = play(built.exchange, file, CROSSED)
    while not closing(built):
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
    file = PriceFile.begun(bench.folder / "prices.csv")
    market, copies = {layout.symbol_names()[0]: file.settings}, Copies(open_position())
    with world(bench.folder / "world", layout, copies=copies, market=market, speed=FILE_SPEED) as built:
        built.boot()
        idle_again()
        sender = built.runtime.spawn(Peaks)
        saves = flood(built, sender, Copies(trailing_position()), peaks)
        forced = once(built, saves, _peaks[-1], file)
        batches = [seconds for count, seconds in built.saves if count > 1]
        total, most = sum(count for count, _ in built.saves), max(count for count, _ in built.saves)
        many = len(built.saves)
        _check(built, peaks)
        built.runtime.stop(sender, 5.0)
    file = PriceFile.begun(bench.folder / "again.csv")
    market = {layout.symbol_names()[0]: file.settings}
    with world(bench.folder / "again", layout, copies=copies, market=market, speed=FILE_SPEED) as built:
        built.boot()
        idle_again()
        nobody = built.runtime.spawn(Peaks)
        desk = trailing_along(built, peaks, nobody)
        taped = among_peaks(built, desk, file)
        built.runtime.stop(nobody, 5.0)
    interval = median(batches)
    rows = (
        _row(f"the slowest of {SHARDS} stops among {peaks:,} rising peaks (tape)", taped, interval),
        _row(f"the same during {peaks:,} saves of peaks, told one by one", forced, interval),
    )
    notes = (f"of the second row: {total:,} states in {many:,} batches of up to {most}",)
    return Result(name="stop", rows=rows, notes=notes)


def _row(what: str, took: float, interval: float) -> Row:
    ratio = took / interval
    return Row(
        what=what,
        measured=f"intent durable after {milliseconds(took)}",
        against=f"flush interval (median batch): {milliseconds(interval)}",
        ratio=times(ratio),
        bar="≤ 3 flush intervals",
        held=ratio <= BAR,
    )


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
