"""A boot with 100,000 snapshots until everything is live, against reading and decoding the same snapshots alone.

Redis and the exchange's ledger are filled once. Then fresh processes come up on them, one after another, as after a
kill -9: each first reads and decodes (MGET by the thousand, MessagePack, `schema.load`), then boots until every account
is reconciled and its prices flow. Also what bench_memory measures: the resident memory of such a process, once every
position's actor has been made.
"""

import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.domain.model import Quote
from actors.domain.price_book import Wake
from actors.domain.schema import load
from actors.domain.watch import Missed
from actors.position import PositionActor
from actors.runtime.base import tell
from actors.traffic import PriceWoke
from persistence.codec import decode_snapshot
from scripts.bench_row import Bench, Result, Row, check, idle_again, median, number, rss_bytes, times, wait_until
from scripts.bench_states import Copies, Layout, open_position
from scripts.bench_world import World, world

POSITIONS = 100_000
SYMBOLS = 100
SHARDS = 10
PAGE = 1000
BAR = 2.5


def layout_of(bench: Bench) -> Layout:
    """100,000 positions as 1,000 accounts that trade 100 symbols each, on ten shards."""
    positions = bench.size(POSITIONS, 60)
    symbols = SYMBOLS if positions >= 10 * SYMBOLS else 10
    accounts = -(-positions // symbols)
    return Layout(positions=positions, symbols=symbols, shards=min(SHARDS, accounts))


def decode_all(url: str, layout: Layout) -> int:
    """Read and decode every snapshot to a position; how many there were."""
    client: Any = redis.Redis(unix_socket_path=url.removeprefix("unix://"), protocol=2)
    count = 0
    for shard in sorted({layout.shard_of(name) for name in layout.account_names()}):
        names = sorted(name.decode() for name in client.execute_command("SMEMBERS", f"ek:{{{shard}}}:open"))
        positions = []
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            values = client.execute_command("MGET", *(f"ek:{{{shard}}}:pos:{name}" for name in page))
            for name, raw in zip(page, values, strict=True):
                snapshot = decode_snapshot(name, raw)
                positions.append(load(snapshot.state, snapshot.schema))
        count += len(positions)
    client.close()
    return count


def wake_everybody(built: World) -> None:
    """Have every position's actor made, as after some hours: memory is not measured of those that sleep.

    Each is told of a price that an earlier registration of it waited for, which changes nothing.
    """
    wake = Wake(key="", serial=-1, quote=Quote(at=0), tick=0, missed=Missed())
    for ref in built.runtime.alive():
        if issubclass(ref.actor_class, PositionActor):
            tell(ref, PriceWoke(wake=wake))


def measure(folder: Path, layout: Layout, *, decode: bool, seeded: bool) -> dict[str, Any]:
    """In this process: decode alone, then boot."""
    gc.collect()
    before = rss_bytes()
    with world(folder, layout, keep=True) as built:
        found: dict[str, Any] = {"before": before}
        if decode:
            # Without the garbage collector, which the boot holds back too.
            gc.disable()
            began, cpu = time.perf_counter(), time.process_time()
            count = decode_all(built.redis.url, layout)
            found["decode"], found["decode_cpu"] = time.perf_counter() - began, time.process_time() - cpu
            gc.enable()
            gc.collect()
            check(count == layout.positions, f"{count} of {layout.positions} snapshots were decoded")
        cpu = time.process_time()
        found["boot"] = built.boot()
        found["boot_cpu"] = time.process_time() - cpu
        expected = layout.positions if seeded else 0
        positions = built.positions()
        check(len(positions) == expected, f"{len(positions)} of {expected} positions came back")
        # It is live before the last of what its comeback changed is acknowledged.
        wait_until(lambda: all(each.protected for each in built.positions().values()), "every position's stop")
        found["saves"] = sum(count for count, _ in built.saves)
        del positions
        wake_everybody(built)
        idle_again()
        gc.collect()
        found["rss"] = rss_bytes()
        print(json.dumps(found), flush=True)
        # Like a kill -9: the next process takes the leases of a dead one.
        os._exit(0)


def child(folder: Path, layout: Layout, *, decode: bool, seeded: bool = True) -> dict[str, Any]:
    """The same in a fresh process."""
    words = [str(folder), str(layout.positions), str(layout.symbols), str(layout.shards), str(int(decode))]
    command = [sys.executable, str(Path(__file__)), *words, str(int(seeded))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3600)  # noqa: S603
    check(done.returncode == 0, f"the booting process failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(bench: Bench) -> Result:
    """Fill once, boot several times."""
    layout = layout_of(bench)
    runs = []
    with world(bench.folder / "world", layout, copies=Copies(open_position())) as built:
        bench.say(f"  seeded {layout.said()}")
        for _ in range(bench.size(3, 1)):
            runs.append(child(built.folder, layout, decode=True))
            bench.say(f"  {runs[-1]}")
    boot, alone = median([each["boot"] for each in runs]), median([each["decode"] for each in runs])
    ratio = median([each["boot"] / each["decode"] for each in runs])
    cpu = median([each["boot_cpu"] / each["decode_cpu"] for each in runs])
    row = Row(
        what=f"boot of {layout.positions:,} positions",
        measured=f"{boot:.2f} s ({number(layout.positions / boot)}/s)",
        against=f"MGET and decode alone: {alone:.2f} s",
        ratio=f"{times(ratio)} (CPU of the keeper {times(cpu)})",
        bar="≤ 2.5×",
        held=ratio <= BAR,
    )
    saved = median([each["saves"] for each in runs]) / layout.positions
    notes = (layout.said(), f"{len(runs)} fresh processes; each boot saved {saved:.2f} states a position")
    return Result(name="boot", rows=(row,), notes=notes)


def hot(bench: Bench) -> None:
    """For the profiler: a boot in this process."""
    positions = bench.size(5_000, 60)
    layout = Layout(positions=positions, symbols=20, shards=min(SHARDS, -(-positions // 20)))
    with world(bench.folder / "world", layout, copies=Copies(open_position())) as built:
        bench.say(f"  {layout.said()}: {built.boot():.2f} s")


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[2:]]
    measure(
        Path(sys.argv[1]),
        Layout(positions=counts[0], symbols=counts[1], shards=counts[2]),
        decode=bool(counts[3]),
        seeded=bool(counts[4]),
    )
