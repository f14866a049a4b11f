"""What a full round of pings over 100,000 actors costs, as a share of one core at the default interval.

The HealthActor of the service watches actors on the service's runtime, as many as a house with that many positions;
each is published as a real position is. A round is: ask every mailbox, take every answer, build, order and publish
every record, write the log. Measured in CPU seconds of the process, from the second round on.
"""

from typing import Any

import pykka

from actors.directory import AccountStatus, Directory, Published
from actors.health import INTERVAL_SECONDS, HealthActor, HealthParts, PingRound
from actors.runtime.base import Runtime, tell
from actors.runtime.pool import PoolRuntime
from actors.traffic import Watch
from scripts.bench_row import Bench, Result, Row, check, idle_again, median, spent
from scripts.bench_states import Layout, open_position
from scripts.bench_world import logging_to

ACTORS = 100_000
BAR = 0.05
LATER = 1e9


class Idle(pykka.ThreadingActor):
    """Has nothing to do; its runtime answers the pings."""

    use_daemon_thread = True


def rounds(bench: Bench, actors: int, count: int) -> list[float]:
    """CPU seconds of each round."""
    runtime: Runtime = PoolRuntime()
    directory = Directory()
    parts = HealthParts(directory=directory, clock=runtime.clock, interval_seconds=LATER)
    health = runtime.spawn(HealthActor, parts)
    template = open_position()
    layout = Layout(positions=actors, symbols=100, shards=10)
    for slot in layout.slots():
        directory.positions[slot.position_id] = Published(
            position_id=slot.position_id, account=slot.account, position=template, version=1, epoch=1
        )
        tell(health, Watch(name=slot.position_id, kind="PositionActor", ref=runtime.spawn(Idle)))
    for account in layout.account_names():
        shard = layout.shard_of(account)
        directory.accounts[account] = AccountStatus(
            account=account, venue="paper", shard=shard, live_money=False, epoch=1, lease_held=True, reconciled=True
        )
    idle_again()
    found = []
    for number in range(count + 1):
        with spent() as cost:
            tell(health, PingRound())
            check(idle_again(busy_share=0.02), "the round does not end")
        if number:
            found.append(cost.cpu)
            bench.say(f"  round {number}: {cost.cpu:.3f} CPU-s")
    tell(health, PingRound())
    idle_again()
    records = directory.health
    check(len(records) == actors, f"{len(records)} of {actors} actors have a record")
    check(all(record.answered for record in records), "an actor did not answer")
    runtime.stop(health, 10.0)
    closing: Any = runtime
    closing.close()
    return found


def run(bench: Bench) -> Result:
    """Several rounds."""
    actors = bench.size(ACTORS, 200)
    with (bench.folder / "log.jsonl").open("wb") as log, logging_to(log):
        each = rounds(bench, actors, bench.size(5, 2))
    cpu = median(each)
    share = cpu / INTERVAL_SECONDS
    row = Row(
        what=f"one round over {actors:,} actors",
        measured=f"{cpu:.3f} CPU-s",
        against=f"one core for the {INTERVAL_SECONDS:g} s between two rounds",
        ratio=f"{share * 100:.2f} % of a core",
        bar="< 5 %",
        held=share < BAR,
    )
    return Result(name="health", rows=(row,), notes=(f"{1e6 * cpu / actors:.1f} µs an actor and round",))


def hot(bench: Bench) -> None:
    """For the profiler."""
    with (bench.folder / "log.jsonl").open("wb") as log, logging_to(log):
        rounds(bench, bench.size(ACTORS, 200), 2)
