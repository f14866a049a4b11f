"""A stop that is crossed while 100,000 peaks are being saved: how long until its intent is durable.

A whole house holds one real position in each of ten shards: longs that trail at ten distances, above stops at the
exchange that may not follow yet, so that the keeper itself must close. Peaks are saved with the symbol's tape: 100,000
runners of the other side trail on the same desk, every price is a new peak of each of them, and now and then one
crosses one of the ten stops. The second pair of rows is what positions do not do any more: as many states that only
moved a peak, told to the PersistenceActor one by one and at once, and the stops crossed while it works them off.

A full close may leave before it is durable; what is measured is until its intent is told as saved, in flush intervals:
the median time of one batch of a hundred states in the same run.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pykka

from actors.desk import Desk
from actors.domain.model import Side, Source
from actors.domain.schema import SCHEMA, dump
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
from scripts.bench_states import PRICE, Copies, Layout, Slot, trailing_position, with_stop_at
from scripts.bench_world import World, new_store, world

PEAKS = 100_000
SHARDS = 10
BAR = 3.0
# The price rises to the top at once, and falls from there; each of the ten trails at its own distance below. They were
# entered far enough below, and their stops at the exchange placed anew at the boot, that all of it is above those.
TOP = PRICE + 600
ENTRY = Decimal(58000)
STEP = Decimal(20)
NARROWEST, APART = Decimal("0.50"), Decimal("0.05")
NEVER_SECONDS = Decimal(86_400)


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


def distance(number: int) -> Decimal:
    """The trail of one of the ten, in percent."""
    return NARROWEST + APART * number


def stop_of(number: int) -> Decimal:
    """Where its stop is once the price was at the top."""
    return TOP * (1 - distance(number) / 100)


class Ladder(Copies):
    """Runners whose trails differ."""

    def state(self, slot: Slot, *, first_trade: int = 1) -> dict[str, Any]:
        """The copy of one slot as it is stored."""
        found = super().state(slot, first_trade=first_trade)
        found["trail"] = dump(with_stop_at(self.template, distance(slot.number)))["trail"]
        return found


def ladder() -> Ladder:
    """The ten, past both targets."""
    return Ladder(trailing_position(ENTRY))


class Durable:
    """Hears when the intent of a stop is told as saved: looking for it would be late."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def __call__(self, line: Mapping[str, Any]) -> None:
        """One line of the audit trail, which is told once its state is saved."""
        if line["name"] == "intent.saved" and line["fields"]["leg"] == "stop":
            self.at.setdefault(str(line["position"]), time.perf_counter())


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
            peak=TOP,
            trail_percent=Decimal("2.5") + Decimal("0.001") * (number_ % 100),
        )
        desk.register(name, heard, watch, point)
        desk.saving(shards[number_ % len(shards)], name, point)
    return desk


def cross(built: World, file: PriceFile, durable: Durable, number: int, price: Decimal) -> tuple[float, Decimal]:
    """Let prices fall through one stop: seconds from that price to the intent told as saved, and the price."""
    while price - STEP > stop_of(number):
        price -= STEP
        play(built.exchange, file, price)
    check(not durable.at, "a stop was crossed too early")
    price = stop_of(number) - 1
    began = play(built.exchange, file, price)
    wait_until(lambda: bool(durable.at), "the intent of the stop")
    (at,) = durable.at.values()
    durable.at.clear()
    return at - began, price


def among_peaks(bench: Bench, market: tuple[Layout, PriceFile, dict[str, Any]], peaks: int) -> list[float]:
    """Seconds to each of ten intents; every price is a peak of all the runners of the other side."""
    layout, file, settings = market
    durable = Durable()
    with world(bench.folder / "again", layout, copies=ladder(), market=settings, speed=FILE_SPEED) as built:
        built.on_event, built.settings = durable, {"resident_interval_seconds": NEVER_SECONDS}
        built.boot()
        idle_again()
        play(built.exchange, file, TOP)
        nobody = built.runtime.spawn(Peaks)
        desk = trailing_along(built, peaks, nobody)
        idle_again()
        found, price = [], TOP
        for number in range(SHARDS):
            took, price = cross(built, file, durable, number, price)
            found.append(took)
        check(any(tape.saving or tape.durable for tape in desk.tapes.values()), "no tape was saved")
        built.runtime.stop(nobody, 5.0)
    return found


@dataclass(frozen=True, slots=True)
class Flooded:
    """What the flood of saves showed."""

    stops: list[float]
    interval: float
    note: str


def in_the_flood(bench: Bench, market: tuple[Layout, PriceFile, dict[str, Any]], peaks: int) -> Flooded:
    """The same while as many states are worked off that were told one by one."""
    layout, file, settings = market
    durable = Durable()
    with world(bench.folder / "world", layout, copies=ladder(), market=settings, speed=FILE_SPEED) as built:
        built.on_event, built.settings = durable, {"resident_interval_seconds": NEVER_SECONDS}
        built.boot()
        idle_again()
        play(built.exchange, file, TOP)
        idle_again()
        sender = built.runtime.spawn(Peaks)
        heard = _peaks[-1]
        saves = flood(built, sender, Copies(trailing_position()), peaks)
        heard.expected = len(saves)
        built.saves.clear()
        for save in saves:
            tell(built.running.persistence, save)
        # Not before the first of them are saved: the stops shall come in the middle of it.
        wait_until(lambda: heard.saved > 0, "the first peaks")
        stops, price = [], TOP
        for number in range(SHARDS):
            took, price = cross(built, file, durable, number, price)
            if heard.saved < len(saves) or not stops:
                stops.append(took)
        check(heard.done.wait(PATIENCE_SECONDS), "not every peak was saved")
        batches = [seconds for count, seconds in built.saves if count > 1]
        total, most = sum(count for count, _ in built.saves), max(count for count, _ in built.saves)
        note = f"{total:,} states in {len(built.saves):,} batches of up to {most}; {len(stops)} stops came meanwhile"
        _check(built, peaks)
        built.runtime.stop(sender, 5.0)
    return Flooded(stops, median(batches), note)


def run(bench: Bench) -> Result:
    """One flood, and one market of peaks."""
    peaks = bench.size(PEAKS, 400)
    layout = Layout(positions=SHARDS, symbols=1, shards=SHARDS)
    files = [PriceFile.begun(bench.folder / name) for name in ("prices.csv", "again.csv")]
    markets = [(layout, file, {layout.symbol_names()[0]: file.settings}) for file in files]
    flooded = in_the_flood(bench, markets[0], peaks)
    taped = among_peaks(bench, markets[1], peaks)
    rows = (
        *_rows(f"a stop among {peaks:,} rising peaks (tape)", taped, flooded.interval),
        *_rows(f"the same during {peaks:,} saves of peaks, told one by one", flooded.stops, flooded.interval),
    )
    return Result(name="stop", rows=rows, notes=(f"of the second pair of rows: {flooded.note}",))


def _rows(what: str, took: list[float], interval: float) -> tuple[Row, ...]:
    return (
        _row(f"{what}: median of {len(took)}", median(took), interval),
        _row(f"{what}: slowest", max(took), interval),
    )


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
