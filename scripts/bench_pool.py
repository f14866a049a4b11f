"""Many actors on few threads against a thread for each: messages, memory and starting, in a fresh process each.

Both run the same actor class and the same messages. A fan-out tells one message to every actor and ends when all are
handled; it is repeated, and the two processes take turns.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pykka

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.runtime.base import Runtime
from actors.runtime.pool import PoolRuntime
from actors.runtime.threads import ThreadRuntime
from scripts.bench_row import Bench, Result, Row, check, median, number, rss_bytes, times

ACTORS = 10_000
BARS = {"messages": 200.0, "memory": 1 / 8, "start": 1 / 20}


class FanOut:
    """One round of messages; all are this same object."""

    def __init__(self, actors: int) -> None:
        self.actors = actors
        # Drawing from a count is one step to every thread, so that none needs a lock.
        self.numbers = count(1)
        self.done = threading.Event()


class Counted(pykka.ThreadingActor):
    """Handles a message by counting it."""

    use_daemon_thread = True

    def on_receive(self, message: FanOut) -> None:
        """One more of all."""
        if next(message.numbers) == message.actors:
            message.done.set()


def measure(kind: str, actors: int, rounds: int) -> dict[str, Any]:
    """Start the actors on a runtime, then fan out; in this process."""
    gc.collect()
    runtime: Runtime = ThreadRuntime() if kind == "threads" else PoolRuntime()
    runtime.stop(runtime.spawn(Counted), 5.0)
    gc.collect()
    before, began = rss_bytes(), time.perf_counter()
    refs = []
    try:
        for _ in range(actors):
            refs.append(runtime.spawn(Counted))
    except RuntimeError:
        # The machine gives no more threads.
        pass
    started = time.perf_counter() - began
    memory = rss_bytes() - before
    rates = []
    for _ in range(rounds):
        fan = FanOut(len(refs))
        began = time.perf_counter()
        for ref in refs:
            ref.tell(fan)
        check(fan.done.wait(300), "a fan-out was not handled")
        rates.append(len(refs) / (time.perf_counter() - began))
    return {"actors": len(refs), "start_seconds": started, "bytes": memory, "rates": rates}


def child(kind: str, actors: int, rounds: int) -> dict[str, Any]:
    """The same in a fresh process."""
    words = [sys.executable, str(Path(__file__)), kind, str(actors), str(rounds)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=1800)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(bench: Bench) -> Result:
    """Pool and threads in turn."""
    actors, rounds = bench.size(ACTORS, 200), bench.size(5, 2)
    runs: dict[str, list[dict[str, Any]]] = {"pool": [], "threads": []}
    for _ in range(bench.size(3, 1)):
        for kind, found in runs.items():
            found.append(child(kind, actors, rounds))
            bench.say(f"  {kind}: {found[-1]}")
    pool, threads = runs["pool"], runs["threads"]
    most = min(each["actors"] for each in threads)
    check(all(each["actors"] == actors for each in pool), "the pool did not start every actor")

    def rate(found: list[dict[str, Any]]) -> float:
        return median([value for each in found for value in each["rates"]])

    def each_bytes(found: list[dict[str, Any]]) -> float:
        return median([each["bytes"] / each["actors"] for each in found])

    def each_start(found: list[dict[str, Any]]) -> float:
        return median([each["start_seconds"] / each["actors"] for each in found])

    faster = rate(pool) / rate(threads)
    lighter = each_bytes(pool) / each_bytes(threads)
    sooner = each_start(pool) / each_start(threads)
    rows = (
        Row(
            what="fan-out",
            measured=f"pool: {number(rate(pool))} messages/s",
            against=f"threads: {number(rate(threads))} messages/s",
            ratio=times(faster),
            bar="≥ 200×",
            held=faster >= BARS["messages"],
        ),
        Row(
            what="memory an actor",
            measured=f"pool: {each_bytes(pool):,.0f} bytes",
            against=f"threads: {each_bytes(threads):,.0f} bytes",
            ratio=times(lighter),
            bar="≤ 1/8",
            held=lighter <= BARS["memory"],
        ),
        Row(
            what="starting an actor",
            measured=f"pool: {each_start(pool) * 1e6:,.1f} µs",
            against=f"threads: {each_start(threads) * 1e6:,.1f} µs",
            ratio=times(sooner),
            bar="≤ 1/20",
            held=sooner <= BARS["start"],
        ),
    )
    notes = [f"{actors:,} actors; a fresh process for each of {len(pool)} turns, {rounds} fan-outs in each"]
    if most < actors:
        notes.append(f"this machine gives no more than {most:,} threads: that many were measured against {actors:,}")
    return Result(name="pool", rows=rows, notes=tuple(notes))


def hot(bench: Bench) -> None:
    """For the profiler."""
    measure("pool", bench.size(ACTORS, 200), bench.size(20, 2))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))), flush=True)
    # Ten thousand threads are not waited for.
    os._exit(0)
