"""The HealthActor: pings that came back, worst first; silence and death reported once."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pykka
import pytest
import structlog
from structlog.testing import LogCapture

from actors.directory import Directory, Published
from actors.domain.plans import RUNNER
from actors.health import MOST_LINES, WORST, HealthActor, HealthParts
from actors.runtime.base import Ref, tell
from actors.runtime.simulator import Simulator
from actors.traffic import ActorFailed, Restarted, Unwatch, Watch
from tests.unit.driver import Desk, command

INTERVAL = 10.0


class Listener(pykka.ThreadingActor):
    """Keeps what it is told; the runtime answers pings before it sees them."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self._heard = heard

    def on_receive(self, message: object) -> None:
        """Keep it."""
        self._heard.append(message)


class Bench:
    """A HealthActor, its directory, and a supervisor that listens."""

    def __init__(self) -> None:
        self.simulator = Simulator(seed=1)
        self.directory = Directory()
        self.reported: list[Any] = []
        parts = HealthParts(directory=self.directory, clock=self.simulator.clock)
        self.health = self.simulator.spawn(HealthActor, parts)
        self.supervisor = self.simulator.spawn(Listener, self.reported)
        self.watch("supervisor", self.supervisor, "SupervisorActor")

    def watch(self, name: str, ref: Ref | None = None, kind: str = "PositionActor") -> Ref:
        """Have an actor pinged from now on."""
        ref = ref or self.simulator.spawn(Listener, [])
        tell(self.health, Watch(name=name, kind=kind, ref=ref))
        return ref

    def rounds(self, count: int = 1) -> None:
        """Let rounds pass, and what they brought be told."""
        self.simulator.run(for_seconds=INTERVAL * count)
        self.simulator.run(for_seconds=0)

    @property
    def actors(self) -> list[str]:
        """Who is in the records, in their order."""
        return [record.actor for record in self.directory.health]

    def failures(self) -> list[str]:
        """The names of those reported."""
        return [message.name for message in self.reported if isinstance(message, ActorFailed)]


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged, whatever the other tests are told to hear."""
    before, heard = structlog.get_config(), LogCapture()
    structlog.configure(processors=[heard], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield heard.entries
    structlog.configure(**before)


@pytest.fixture
def bench() -> Bench:
    """A fresh one."""
    return Bench()


def test_a_ping_that_came_back_is_a_record(bench: Bench) -> None:
    """From the second round on: the first only asks."""
    bench.watch("p1")
    bench.rounds()
    assert bench.actors == []
    bench.rounds()
    assert sorted(bench.actors) == ["p1", "supervisor"]
    records = bench.directory.health
    assert all(record.answered for record in records)
    assert bench.directory.health_at > 0


def test_silence_comes_first(bench: Bench) -> None:
    """An actor whose mailbox nobody empties is unanswered, and the worst."""
    bench.watch("good")
    silent = bench.watch("silent")
    bench.rounds()
    mailbox = next(actor for actor in bench.simulator._actors.values() if actor.actor_ref == silent).actor_inbox
    bench.simulator.run(for_seconds=INTERVAL - 0.5)
    mailbox.put = lambda envelope: None  # type: ignore[method-assign]
    bench.simulator.run(for_seconds=1)
    bench.rounds()
    assert bench.actors[0] == "silent"
    worst = bench.directory.health[0]
    assert not worst.answered
    assert worst.mailbox_age_seconds == INTERVAL


def test_an_unprotected_position_comes_before_a_protected_one(bench: Bench) -> None:
    """What is held without a stop is worse than any depth of a mailbox."""
    position = Desk.start(command(RUNNER)).position
    assert position.protected
    for name, version in (("covered", 3), ("naked", 4)):
        bench.watch(name)
        shown = replace(position, id=name)
        if name == "naked":
            shown = replace(shown, intents=(), remaining=Decimal(1))
        bench.directory.positions[name] = Published(
            position_id=name, account="paper", position=shown, version=version, epoch=1
        )
    bench.rounds(2)
    records = {record.actor: record for record in bench.directory.health}
    assert records["naked"].protected is False
    assert records["naked"].version == 4
    assert bench.actors[0] == "naked"


def test_a_record_tells_what_is_not_acknowledged_yet(bench: Bench) -> None:
    """The lag of a position is the number of its changes that no save has covered."""
    bench.watch("p1")
    bench.directory.lags["p1"] = 3
    bench.rounds(2)
    assert [record.lag for record in bench.directory.health if record.actor == "p1"] == [3]


def test_the_dead_are_reported_once(bench: Bench) -> None:
    """With name and kind, to the supervisor; from then on they are watched no more."""
    ref = bench.watch("p1")
    bench.rounds(2)
    ref.stop(block=False)
    bench.rounds(3)
    assert bench.failures() == ["p1"]
    assert bench.actors == ["supervisor"]


def test_who_was_stopped_in_order_is_not_reported(bench: Bench) -> None:
    """Unwatched before."""
    ref = bench.watch("p1")
    bench.rounds()
    tell(bench.health, Unwatch(name="p1"))
    ref.stop(block=False)
    bench.rounds(3)
    assert bench.failures() == []
    assert bench.actors == ["supervisor"]


def test_a_successor_takes_the_place_of_the_former(bench: Bench) -> None:
    """Watched under the same name: the former's death is nobody's business, restarts are counted on."""
    former = bench.watch("p1")
    bench.rounds()
    tell(bench.health, Restarted(name="p1"))
    tell(bench.health, Unwatch(name="p1"))
    former.stop(block=False)
    bench.watch("p1")
    bench.rounds(3)
    assert bench.failures() == []
    (record,) = [record for record in bench.directory.health if record.actor == "p1"]
    assert (record.restarts, record.answered) == (1, True)


def test_every_actor_has_a_line_up_to_a_thousand(lines: list[Any]) -> None:
    """One `actor.health` each."""
    bench = Bench()
    for number in range(4):
        bench.watch(f"p{number}")
    bench.rounds(2)
    assert sorted(line["actor"] for line in lines if line["event"] == "actor.health") == [
        "p0",
        "p1",
        "p2",
        "p3",
        "supervisor",
    ]


def test_past_a_thousand_there_is_a_summary_and_the_worst(lines: list[Any]) -> None:
    """How many, how many silent, and ten lines."""
    bench = Bench()
    heard: list[Any] = []
    for number in range(MOST_LINES + 1):
        bench.watch(f"p{number}", bench.simulator.spawn(Listener, heard))
    bench.rounds(2)
    health = [line for line in lines if line["event"] == "actor.health"]
    assert health[0]["actors"] == MOST_LINES + 2
    assert health[0]["unanswered"] == 0
    assert len(health) == 1 + WORST
