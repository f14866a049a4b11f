"""One tick passes the first target of 10,000 positions: until every intent is durable and every order executed.

A whole house on a real embedded Redis; the accounts share one floor of the paper exchange. The clock starts when the
exchange has played the price and ends with the last execution. An order leaves only after its intent was acknowledged
as durable, and what is stored is read back afterwards.
"""

import time
from decimal import Decimal
from typing import Any

from actors.domain.model import IntentStatus, Position
from actors.domain.schema import load
from scripts.bench_exchange import walk
from scripts.bench_row import Bench, Result, Row, check, idle_again, number, wait_until
from scripts.bench_states import PRICE, START_AT, Copies, Layout, open_position
from scripts.bench_world import World, new_store, world

POSITIONS = 10_000
SHARDS = 10
BAR = 3_000
ABOVE = PRICE * Decimal("1.011")
TARGET = "target-1"


def jump() -> Any:
    """A market whose second price is past the first target and short of the second, and which then stays there."""
    return walk(
        start=START_AT,
        interval_seconds=Decimal(60),
        spread_percent=Decimal(0),
        noise_percent=Decimal(0),
        waypoints=((Decimal(60), ABOVE), (Decimal(100_000_000), ABOVE)),
    )


def run(bench: Bench) -> Result:
    """Boot, let the price come, wait for the last execution."""
    layout = Layout(positions=bench.size(POSITIONS, 50), symbols=1, shards=bench.size(SHARDS, 2))
    (symbol,) = layout.symbol_names()
    # At full pace a minute of the market passes at once; what decides when it does is the pause.
    copies, market = Copies(open_position()), {symbol: jump()}
    with world(bench.folder / "world", layout, copies=copies, market=market, speed=100_000.0) as built:
        built.exchange.paused = True
        boot_seconds = built.boot()
        bench.say(f"  booted {layout.said()} in {boot_seconds:.1f} s")
        idle_again()
        built.saves.clear()
        wall, cpu = burst(built)
        after = settled(built)
        rows = (
            Row(
                what=f"{layout.positions:,} targets on one tick",
                measured=f"{number(layout.positions / wall)} positions/s ({wall:.2f} s)",
                against="",
                ratio=f"{number(layout.positions / cpu)} a CPU-s of the keeper",
                bar=f"≥ {BAR:,} positions/s",
                held=layout.positions / wall >= BAR,
            ),
        )
        held_each = sum(count for count, _ in built.saves) / layout.positions
        notes = (
            layout.said()
            + ", all accounts on one floor of the paper exchange, each execution one durable transaction there",
            f"until all was at rest again (stops moved to breakeven and resized, old ones gone): {after:.1f} s",
            f"states saved in all of it: {held_each:.1f} for each position, in {len(built.saves):,} batches",
            "for comparison: a widely used bot commits about 200 trades/s one by one, and 1,350 a CPU-second in "
            "batches that are not durable one by one",
        )
    return Result(name="burst", rows=rows, notes=notes)


def burst(built: World) -> tuple[float, float]:
    """Wall seconds from the price to the last execution, and the CPU seconds of this process in between."""
    exchange = built.exchange
    ticks = exchange.ticks
    exchange.executed_at.clear()
    exchange.recording = True
    cpu = time.process_time()
    # The prices after it say nothing new and would only be in the way.
    exchange.one_alone, exchange.paused = True, False
    wait_until(lambda: exchange.ticks > ticks, "the price")
    began = exchange.played_at
    wanted = built.layout.positions
    wait_until(lambda: len(exchange.executed_at) >= wanted, "every execution")
    cpu = time.process_time() - cpu
    exchange.recording = False
    check(len(exchange.executed_at) == wanted, "more orders were executed than there were targets")
    return max(exchange.executed_at) - began, cpu


def settled(built: World) -> float:
    """Wait until every position is at rest, and check each in the directory, in Redis and at the exchange."""
    began = time.perf_counter()

    def rests(position: Position) -> bool:
        return position.protected and all(
            intent.status.terminal or intent.status is IntentStatus.RESTING for intent in position.intents
        )

    wait_until(lambda: all(rests(position) for position in built.positions().values()), "every position at rest")
    took = time.perf_counter() - began
    check(len(built.positions()) == built.layout.positions, "a position is missing")
    filled = {name: _target(position) for name, position in built.positions().items()}
    check(all(filled.values()), "a target was not filled whole")
    store = new_store(built.redis.url)
    stored = 0
    for shard in store.shards():
        for snapshot in store.load(shard).snapshots:
            check(_target(load(snapshot.state, snapshot.schema)), f"{snapshot.position_id} is not stored as filled")
            stored += 1
    store.close()
    check(stored == built.layout.positions, "not every position is stored")
    sold = built.exchange.tables.execute(
        "SELECT count(*), count(DISTINCT account) FROM trades WHERE side = 'sell'"
    ).fetchone()
    check(sold == (stored, stored), f"the exchange has other executions: {sold}")
    return took


def _target(position: Position) -> bool:
    intents = [intent for intent in position.intents if intent.leg == TARGET]
    return len(intents) == 1 and intents[0].filled == intents[0].quantity == position.quantity - position.remaining


def hot(bench: Bench) -> None:
    """For the profiler."""
    layout = Layout(positions=bench.size(2_000, 50), symbols=1, shards=bench.size(SHARDS, 2))
    copies, market = Copies(open_position()), {layout.symbol_names()[0]: jump()}
    with world(bench.folder / "world", layout, copies=copies, market=market, speed=100_000.0) as built:
        built.exchange.paused = True
        built.boot()
        idle_again()
        burst(built)
