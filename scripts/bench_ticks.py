"""How many ticks of one symbol a CPU second carries past N positions, idle and while every one of them trails upwards.

A MarketActor on the runtime of the service is fed with batches of ticks. Its positions registered what they wait for,
computed from real states; the actor behind each registration only counts what it is told. Beside it the naive way:
every price through every position's `advance`.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pykka

from actors.desk import Desk
from actors.directory import Directory
from actors.domain.advance import advance
from actors.domain.events import PriceMoved
from actors.domain.model import Position, Quote
from actors.domain.watch import watch_of
from actors.market import MarketActor, MarketParts
from actors.runtime.base import Ping, Pong, Ref, Runtime, tell
from actors.runtime.pool import PoolRuntime
from actors.settings import AccountSettings
from actors.venues.base import PricesUpdated
from scripts.bench_row import PATIENCE_SECONDS, Bench, Result, Row, check, median, number, spent, times, wait_until
from scripts.bench_states import PRICE, open_position, trailing_position, with_stop_at
from scripts.bench_world import logging_to

SYMBOL = "BTC/USDT:USDT"
BATCH = 100
SIZES = (1, 100, 1_000, 10_000, 100_000)
BARS = {"idle": 150_000, "trailing": 100_000}
PEERS = {"idle": 383, "trailing": 132}
FLATNESS = 1.5
# Finer than any exchange's tick, so that all of a run together stays below the 0.1 percent that move a stop at rest.
STEP = Decimal("0.0001")


class Counter(pykka.ThreadingActor):
    """Stands behind every registration: counts what it is told, and says when a pong came."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.answered = threading.Event()
        _counters.append(self)

    def on_receive(self, message: object) -> None:
        """One more."""
        if isinstance(message, Pong):
            self.answered.set()
        else:
            self.told += 1


_counters: list[Counter] = []


def rows_of_text(kind: str, count: int, first: Decimal) -> list[tuple[int, str, str, str, str]]:
    """The ticks as a stream brings them: time and four prices in text.

    Idle: to and fro within ten ticks, far from every level. Trailing: each a new high.
    """
    found = []
    at = 1_700_000_100_000_000
    for number_ in range(count):
        price = first + (STEP * (number_ + 1) if kind == "trailing" else Decimal("0.1") * (number_ * 7 % 21 - 10))
        text = str(price)
        found.append((at + number_, text, text, text, text))
    return found


def decode(row: tuple[int, str, str, str, str]) -> Quote:
    """One tick as the rules see it."""
    at, mark, last, bid, ask = row
    return Quote(at=at, mark=Decimal(mark), last=Decimal(last), bid=Decimal(bid), ask=Decimal(ask))


class Market:
    """A MarketActor with N registrations, on a runtime of its own."""

    def __init__(self, kind: str, positions: int) -> None:
        self.runtime: Runtime = PoolRuntime()
        self.counter: Ref = self.runtime.spawn(Counter)
        wait_until(lambda: bool(_counters), "the counter")
        self.counted = _counters.pop()
        self.directory = Directory()
        desk = Desk(first=1)
        self.market: Ref = self.runtime.spawn(
            MarketActor,
            MarketParts(
                settings=AccountSettings(name="bench", shard="bench", feed_stale_seconds=3600.0),
                symbol=SYMBOL,
                gateway=self.counter,
                supervisor=self.counter,
                directory=self.directory,
                clock=self.runtime.clock,
                lockstep=False,
                desk=desk,
            ),
        )
        template = states(kind, 1)[0]
        self.first = template.peak_price if template.peak_price is not None else PRICE
        for position in states(kind, positions):
            desk.register(position.id, self.counter, watch_of(position, position.updated_at))
        self.settle()

    def settle(self) -> None:
        """Wait until the market has handled all it was told."""
        self.counted.answered.clear()
        tell(self.market, Ping(sent_at=self.runtime.clock.monotonic(), reply_to=self.counter))
        check(self.counted.answered.wait(PATIENCE_SECONDS), "the market does not answer")

    def feed(self, rows: Sequence[tuple[int, str, str, str, str]], batch: int = BATCH) -> None:
        """Decode and tell ticks, in batches."""
        for start in range(0, len(rows), batch):
            quotes = [decode(row) for row in rows[start : start + batch]]
            self.market.tell(PricesUpdated(symbol=SYMBOL, quote=quotes[-1], earlier=tuple(quotes[:-1])))
        self.settle()

    def close(self) -> None:
        """End its actors."""
        for ref in (self.market, self.counter):
            self.runtime.stop(ref, 10.0)
        closing: Any = self.runtime
        closing.close()


def states(kind: str, count: int) -> list[Position]:
    """Real states, N of them: open ones that wait for stop and target, or runners whose trails differ in width."""
    if kind == "idle":
        template = open_position()
        return [replace(template, id=f"p{number_:06}") for number_ in range(count)]
    template = trailing_position()
    widths = [Decimal("0.8") + Decimal("0.001") * width for width in range(100)]
    return [
        replace(with_stop_at(template, widths[number_ % 100]), id=f"p{number_:06}", latest=None)
        for number_ in range(count)
    ]


def naive(kind: str, positions: int, ticks: int) -> float:
    """Ticks a CPU second through `advance` of every position, told every price."""
    every = states(kind, positions)
    first = every[0].peak_price or PRICE
    quotes = [decode(row) for row in rows_of_text(kind, ticks, first)]
    with spent() as cost:
        for quote in quotes:
            event = PriceMoved(quote=quote)
            every = [advance(position, event)[0] for position in every]
    check(kind == "idle" or every[0].peak_price == quotes[-1].mark, "the naive way did not raise the peak")
    return ticks / cost.cpu


def one(kind: str, positions: int, ticks: int, repeats: int) -> tuple[float, float, int]:
    """Median ticks a CPU second and a wall second; and how often any position was woken."""
    market = Market(kind, positions)
    try:
        told = market.counted.told
        rows = rows_of_text(kind, ticks * (repeats + 1), market.first)
        market.feed(rows[:ticks])
        cpu, wall = [], []
        for repeat in range(1, repeats + 1):
            with spent() as cost:
                market.feed(rows[repeat * ticks : (repeat + 1) * ticks])
            cpu.append(ticks / cost.cpu)
            wall.append(ticks / cost.wall)
        quote = market.directory.quote("bench", SYMBOL)
        check(quote is not None and quote.mark == Decimal(rows[-1][1]), "the last price did not arrive")
        return median(cpu), median(wall), market.counted.told - told
    finally:
        market.close()


def ticks_for(bench: Bench, positions: int) -> int:
    """How many in each repetition: half a second of work, for any number of positions."""
    del positions
    return bench.size(50_000, 200)


def decoding(count: int) -> float:
    """Ticks a CPU second that are merely decoded."""
    rows = rows_of_text("trailing", count, PRICE)
    began = time.thread_time()
    for row in rows:
        decode(row)
    return count / (time.thread_time() - began)


def run(bench: Bench) -> Result:
    """Every size, idle and trailing."""
    sizes = SIZES[:3] if bench.quick else SIZES
    repeats = bench.size(5, 2)
    rows: list[Row] = []
    alone = decoding(bench.size(100_000, 1000))
    with (bench.folder / "log.jsonl").open("wb") as log, logging_to(log):
        for kind in ("idle", "trailing"):
            by_size: dict[int, float] = {}
            for positions in sizes:
                count = ticks_for(bench, positions)
                cpu, wall, woken = one(kind, positions, count, repeats)
                by_size[positions] = cpu
                least = naive(kind, positions, bench.size(max(3, 3_000 // positions), 3))
                bench.say(f"  {kind} N={positions:,}: {number(cpu)} ticks/CPU-s, naive {number(least)}, woken {woken}")
                rows.append(
                    Row(
                        what=f"{kind}, N = {positions:,}",
                        measured=f"{number(cpu)} ticks/CPU-s ({number(wall)}/s wall)",
                        against=f"naive broadcast: {number(least)} ticks/CPU-s",
                        ratio=times(cpu / least),
                        bar=f"≥ {BARS[kind]:,} ticks/CPU-s",
                        held=cpu >= BARS[kind],
                    )
                )
            rows.append(_flatness(kind, by_size))
    notes = (
        f"decoding a tick's four prices from text is included; alone it runs at {number(alone)} ticks/CPU-s",
        f"ticks come in batches of {BATCH}, as the paper exchange and the streams deliver them under load",
        "the engine of the comparison (one trailing stop a position, a machine like this one): "
        f"{PEERS['idle']} idle and {PEERS['trailing']} trailing ticks/CPU-s at N = 1,000",
    )
    return Result(name="ticks", rows=tuple(rows), notes=notes)


def _flatness(kind: str, by_size: dict[int, float]) -> Row:
    smallest, largest = min(by_size), max(by_size)
    ratio = by_size[smallest] / by_size[largest]
    return Row(
        what=f"{kind}: cost of a tick at N = {largest:,}",
        measured=f"{1e6 / by_size[largest]:,.1f} µs",
        against=f"N = {smallest:,}: {1e6 / by_size[smallest]:,.1f} µs",
        ratio=times(ratio),
        bar=f"≤ {FLATNESS}×",
        held=ratio <= FLATNESS,
    )


def hot(bench: Bench) -> None:
    """For the profiler."""
    with (bench.folder / "log.jsonl").open("wb") as log, logging_to(log):
        for kind in ("idle", "trailing"):
            one(kind, bench.size(10_000, 100), ticks_for(bench, bench.size(10_000, 100)), 1)
