"""From a tick to the order that it leads to, the intent durable in between, while nothing else happens.

The clock starts when the exchange has played the price, before anybody is told, and stops when the gateway hands the
partial close to the venue; gateway, market, position, persistence and Redis's fsync lie in between. After
each sample a 4 KB append to a file beside Redis's own is fsynced and timed: the disk of the same seconds.
"""

import os
import time
from decimal import Decimal
from functools import partial
from typing import Any

from actors.domain.model import IntentStatus
from actors.venues.base import OrderRequest
from scripts.bench_exchange import FILE_SPEED, PriceFile, play
from scripts.bench_row import Bench, Result, Row, check, idle_again, milliseconds, percentile, times, wait_until
from scripts.bench_states import ORDER_TAG, Copies, Layout, Slot, open_position
from scripts.bench_world import World, new_store, world

SAMPLES = 500
BARS = {50: 0.0015, 99: 0.005}
TRIGGER = Decimal("60660.0")
SETTLE_SECONDS = 0.02


class Watch:
    """Notes when an account hands an order to its venue."""

    def __init__(self, venue: Any) -> None:
        self.handed_at: dict[str, float] = {}
        self._submit = venue.submit
        venue.submit = self.submit

    def submit(self, request: OrderRequest) -> None:
        """Note it, and pass it on."""
        if request.trigger_price is None:
            self.handed_at[request.symbol] = time.perf_counter()
        self._submit(request)


def sample(built: World, watch: Watch, slot: Slot, file: PriceFile) -> float:
    """One position's target is passed: seconds until its order was handed over."""
    played_at = play(built.exchange, file, TRIGGER)
    wait_until(lambda: slot.symbol in watch.handed_at, f"the order of {slot.position_id}", patience_seconds=60)
    return watch.handed_at.pop(slot.symbol) - played_at


def at_rest(built: World, slot: Slot) -> bool:
    """Whether the position has sold its part and stands behind its new stop."""
    position = built.running.directory.positions[slot.position_id].position
    return (
        position is not None
        and position.remaining < position.quantity
        and position.protected
        and all(intent.status.terminal or intent.status is IntentStatus.RESTING for intent in position.intents)
    )


def fsync_seconds(file: int) -> float:
    """What the disk takes for 4 KB more."""
    began = time.perf_counter()
    os.write(file, b"x" * 4096)
    os.fsync(file)
    return time.perf_counter() - began


def run(bench: Bench) -> Result:
    """Sample and fsync in turn."""
    samples = bench.size(SAMPLES, 10)
    # A symbol for each position, so that a price concerns one alone.
    layout = Layout(positions=samples, symbols=samples, shards=1)
    files = {name: PriceFile.begun(bench.folder / "prices" / f"{name[:4]}.csv") for name in layout.symbol_names()}
    market = {name: file.settings for name, file in files.items()}
    copies = Copies(open_position())
    with world(bench.folder / "world", layout, copies=copies, market=market, speed=FILE_SPEED) as built:
        built.boot()
        watches = {name: Watch(venue) for name, venue in built.venues.items()}
        idle_again()
        latencies, fsyncs = [], []
        path = bench.folder / "world" / "redis" / "bench-fsync"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for slot in layout.slots():
                latencies.append(sample(built, watches[slot.account], slot, files[slot.symbol]))
                wait_until(partial(at_rest, built, slot), f"{slot.position_id} at rest", patience_seconds=60)
                time.sleep(SETTLE_SECONDS)
                fsyncs.append(fsync_seconds(file))
                time.sleep(SETTLE_SECONDS)
        finally:
            os.close(file)
        _check(built, samples)
    rows = []
    for percent, within in BARS.items():
        latency, fsync = percentile(latencies, percent), percentile(fsyncs, percent)
        more = latency - fsync
        rows.append(
            Row(
                what=f"tick to order, p{percent}",
                measured=milliseconds(latency),
                against=f"fsync of 4 KB: {milliseconds(fsync)}",
                ratio=f"{times(latency / fsync)}, {milliseconds(more)} more",
                bar=f"≤ fsync + {within * 1000:g} ms",
                held=more <= within,
            )
        )
    notes = (
        f"{samples:,} samples, each of another position ({layout.said()}); the slowest {milliseconds(max(latencies))}",
    )
    return Result(name="latency", rows=tuple(rows), notes=notes)


def _check(built: World, samples: int) -> None:
    """Every intent is stored, and every order was executed once."""
    store, durable = new_store(built.redis.url), 0
    for shard in store.shards():
        for snapshot in store.load(shard).snapshots:
            legs = [intent["leg"] for intent in snapshot.state["intents"]]
            durable += legs.count("target-1")
    store.close()
    check(durable == samples, f"{durable} of {samples} intents are stored")
    (sold,) = built.exchange.tables.execute(
        "SELECT count(*) FROM trades WHERE side = 'sell' AND client_order_id LIKE ?", (ORDER_TAG + "%",)
    ).fetchone()
    check(sold == samples, f"{sold} of {samples} orders were executed")


def hot(bench: Bench) -> None:
    """For the profiler."""
    run(bench)
