"""The simulator: the same seed gives the same run, time is virtual, blocking is refused, and crashes leave nothing."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.runtime.base import Ref, Runtime
from actors.runtime.simulator import START, BlockedInSimulation, RunawaySimulation, Simulator


class Chatter(pykka.ThreadingActor):
    """Notes what it hears and passes it on to its friends, a number of times."""

    def __init__(self, name: str, journal: list[tuple[str, object]], friends: list[Ref]) -> None:
        super().__init__()
        self.name = name
        self.journal = journal
        self.friends = friends

    def on_receive(self, message: Any) -> None:
        """Pass a count on, one less."""
        self.journal.append((self.name, message))
        if message > 0:
            for friend in self.friends:
                friend.tell(message - 1)


class Doer(pykka.ThreadingActor):
    """Does what it is told: a message is a function of the actor."""

    stopped = 0

    def on_stop(self) -> None:
        """Count it."""
        type(self).stopped += 1

    def on_receive(self, message: Any) -> Any:
        """Call it."""
        return message(self)


def journal_of(seed: int) -> list[tuple[str, object]]:
    """What three actors that talk to one another say, by seed."""
    simulator = Simulator(seed)
    journal: list[tuple[str, object]] = []
    friends: list[Ref] = []
    friends.extend(simulator.spawn(Chatter, name, journal, friends) for name in "abc")
    for friend in friends:
        friend.tell(3)
    simulator.run()
    simulator.crash()
    return journal


# -- determinism -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run() -> None:
    """Message for message."""
    assert journal_of(1) == journal_of(1)


def test_other_seeds_give_other_interleavings() -> None:
    """And the same messages in sum."""
    journals = [journal_of(seed) for seed in range(20)]
    assert len({tuple(journal) for journal in journals}) > 15
    assert all(sorted(journal) == sorted(journals[0]) for journal in journals)


def test_the_order_does_not_depend_on_hashes() -> None:
    """Another process with other string hashes sees the same run."""
    script = "from tests.unit.test_simulator import journal_of; print(journal_of(3))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{journal_of(3)}\n"}


def test_every_actor_with_a_message_may_be_next() -> None:
    """Over the seeds, each of two actors is first at times."""

    def first(seed: int) -> str:
        simulator = Simulator(seed)
        journal: list[tuple[str, object]] = []
        for name in "ab":
            simulator.spawn(Chatter, name, journal, []).tell(0)
        simulator.run()
        simulator.crash()
        return journal[0][0]

    assert {first(seed) for seed in range(20)} == {"a", "b"}


def test_one_message_a_turn() -> None:
    """on_start takes a turn of its own, then every message one."""
    simulator = Simulator(0)
    journal: list[tuple[str, object]] = []
    ref = simulator.spawn(Chatter, "a", journal, [])
    ref.tell(0)
    ref.tell(0)
    assert [(simulator.step(), len(journal)) for _ in range(4)] == [(True, 0), (True, 1), (True, 2), (False, 2)]
    simulator.crash()


# -- virtual time ------------------------------------------------------------------------------------------------------


def test_time_stands_still_while_there_is_work_and_then_jumps() -> None:
    """An hour passes at once, and not before the messages are handled."""
    simulator = Simulator(0)
    clock = simulator.clock
    seen: list[int] = []
    ref = simulator.spawn(Doer)
    clock.tell_after(3600.0, ref, lambda _: seen.append(clock.now()))
    for _ in range(10):
        ref.tell(lambda _: seen.append(clock.now()))
    simulator.run()
    assert seen == [START] * 10 + [START + 3600 * 1_000_000]
    simulator.crash()


def test_run_for_seconds_stops_the_clock_at_the_end() -> None:
    """A timer beyond it waits for a later run; one at it is told."""
    simulator = Simulator(0)
    seen: list[str] = []
    ref = simulator.spawn(Doer)
    for delay in (1.0, 2.0, 2.5):
        simulator.clock.tell_after(delay, ref, lambda _, delay=delay: seen.append(str(delay)))
    booted = simulator.clock.monotonic()
    assert simulator.run(for_seconds=2.0)
    assert seen == ["1.0", "2.0"]
    assert simulator.clock.monotonic() - booted == 2.0
    assert simulator.run(for_seconds=10.0)
    assert seen == ["1.0", "2.0", "2.5"]
    assert simulator.clock.monotonic() - booted == 12.0
    simulator.crash()


def test_run_until_says_whether_it_came_true() -> None:
    """And stops there: what follows is left for later."""
    simulator = Simulator(0)
    journal: list[tuple[str, object]] = []
    ref = simulator.spawn(Chatter, "a", journal, [])
    for _ in range(3):
        ref.tell(0)
    assert simulator.run(lambda: len(journal) == 2)
    assert len(journal) == 2
    assert not simulator.run(lambda: len(journal) == 4)
    assert not simulator.run(lambda: len(journal) == 4, for_seconds=5.0)
    simulator.crash()


def test_waiting_again_for_a_tiny_rest_lets_time_pass() -> None:
    """A delay is never rounded down to nothing: an actor that re-arms the rest of its deadline would spin for ever."""
    simulator = Simulator(0)
    before = simulator.clock.now()
    simulator.clock.tell_after(1e-12, simulator.spawn(Doer), lambda _: None)
    simulator.run()
    assert simulator.clock.now() == before + 1
    simulator.crash()


def test_the_timer_of_a_dead_actor_moves_no_clock() -> None:
    """Nobody waits for it."""
    simulator = Simulator(0)
    ref = simulator.spawn(Doer)
    simulator.clock.tell_after(60.0, ref, lambda _: None)
    assert simulator.stop(ref, 1.0)
    now = simulator.clock.now()
    assert not simulator.step()
    assert simulator.clock.now() == now


def test_with_turn_micros_timers_come_between_messages() -> None:
    """Otherwise a timeout could never meet a queue."""
    simulator = Simulator(0, turn_micros=1000)
    seen: list[str] = []
    ref = simulator.spawn(Doer)
    simulator.clock.tell_after(0.01, ref, lambda _: seen.append("timer"))

    def work(actor: Doer, left: int = 100) -> None:
        seen.append("message")
        if left:
            actor.actor_ref.tell(lambda actor: work(actor, left - 1))

    ref.tell(work)
    simulator.run()
    assert 0 < seen.index("timer") < len(seen) - 1
    simulator.crash()


def test_a_run_that_never_ends_is_stopped() -> None:
    """An actor that talks to itself for ever is a bug, and must end the test."""
    simulator = Simulator(0)

    def again(actor: Doer) -> None:
        actor.actor_ref.tell(again)

    simulator.spawn(Doer).tell(again)
    with pytest.raises(RunawaySimulation):
        simulator.run(limit=1000)
    simulator.crash()


# -- blocking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallow", [False, True])
def test_an_ask_inside_a_turn_fails_the_run(swallow: bool) -> None:
    """Even when the actor swallows the exception."""
    simulator = Simulator(0)
    other = simulator.spawn(Doer)

    def block(_: Doer) -> None:
        try:
            other.ask(lambda _: 1, timeout=1)
        except BlockedInSimulation:
            if not swallow:
                raise

    simulator.spawn(Doer).tell(block)
    with pytest.raises(BlockedInSimulation, match="Doer waits inside its turn"):
        simulator.run()
    simulator.crash()


def test_a_blocking_stop_inside_a_turn_fails_the_run() -> None:
    """pykka's, and the runtime's unless it only asks."""
    for block in (
        lambda runtime, ref: ref.stop(),
        lambda runtime, ref: runtime.stop(ref, 1.0),
        lambda runtime, ref: runtime.reply().get(timeout=1),
        lambda runtime, ref: runtime.run(),
    ):
        simulator = Simulator(0)
        other = simulator.spawn(Doer)
        simulator.spawn(Doer).tell(lambda _, block=block, sim=simulator, other=other: block(sim, other))
        with pytest.raises(BlockedInSimulation):
            simulator.run()
        simulator.crash()


def test_reading_an_answer_that_is_there_is_no_blocking() -> None:
    """A resolved future may be read anywhere."""
    simulator = Simulator(0)
    answers: list[object] = []
    reply = simulator.reply()
    reply.set("there")
    simulator.spawn(Doer).tell(lambda _: answers.append(reply.get(timeout=1)))
    simulator.run()
    assert answers == ["there"]
    simulator.crash()


def test_an_answer_that_nobody_can_give_any_more_times_out_at_once() -> None:
    """No virtual or real time is needed to know it."""
    simulator = Simulator(0)
    with pytest.raises(pykka.Timeout):
        simulator.reply().get()


# -- failures ----------------------------------------------------------------------------------------------------------


def test_what_actors_raise_is_recorded_once() -> None:
    """Told or asked, in a handler or a hook; pykka would only log it."""
    simulator = Simulator(0)

    class Broken(pykka.ThreadingActor):
        def on_start(self) -> None:
            raise OSError("on_start")

    def fail(_: Doer) -> None:
        raise ValueError("handler")

    simulator.spawn(Broken)
    simulator.run()
    doer = simulator.spawn(Doer)
    with pytest.raises(ValueError, match="handler"):
        doer.ask(fail)
    doer.tell(fail)
    simulator.run()
    assert [(name, str(error)) for name, error in simulator.failures] == [
        ("Broken", "on_start"),
        ("Doer", "handler"),
        ("Doer", "handler"),
    ]


def test_a_base_exception_leaves_the_run_as_it_is() -> None:
    """A test's own stand-in for a crash is raised out of the run; no hook ran, and other actors are untouched."""
    simulator = Simulator(0)
    stopped = Doer.stopped

    class PowerCut(BaseException):
        pass

    def cut(_: Doer) -> None:
        raise PowerCut

    doer, other = simulator.spawn(Doer), simulator.spawn(Doer)
    answer = doer.ask(cut, block=False)
    with pytest.raises(PowerCut):
        simulator.run()
    assert Doer.stopped == stopped
    assert doer.is_alive()
    assert other.ask(lambda _: "here") == "here"
    with pytest.raises(pykka.Timeout):
        answer.get(timeout=1)
    simulator.crash()


# -- crash -------------------------------------------------------------------------------------------------------------


def test_after_a_crash_nothing_is_left() -> None:
    """No hook, no message, no timer, no entry in the registry; tells to the dead do nothing."""
    simulator = Simulator(0)
    journal: list[tuple[str, object]] = []
    refs = [simulator.spawn(Chatter, name, journal, []) for name in "ab"]
    refs.append(simulator.spawn(Doer))
    simulator.run()
    stopped = Doer.stopped
    pending = refs[0].ask(0, block=False)
    simulator.clock.tell_after(1.0, refs[1], 0)
    simulator.crash()
    assert not simulator.step()
    assert journal == []
    assert Doer.stopped == stopped
    assert not any(ref.is_alive() for ref in refs)
    assert not set(refs) & set(pykka.ActorRegistry.get_all())
    with pytest.raises(pykka.Timeout):
        pending.get(timeout=1)


def test_new_actors_go_on_in_the_same_time() -> None:
    """A restart after a crash sees the clock where it was."""
    simulator = Simulator(0)
    simulator.spawn(Doer)
    simulator.run(for_seconds=60.0)
    simulator.crash()
    now = simulator.clock.now()
    assert simulator.spawn(Doer).ask(lambda _: simulator.clock.now()) == now == START + 60 * 1_000_000
    simulator.crash()


def test_a_hook_may_crash_before_any_turn() -> None:
    """It sees the actor and the message, and that message is never handled; before on_start the message is None."""
    journal: list[tuple[str, object]] = []
    seen: list[object] = []

    def hook(actor: pykka.Actor, message: object) -> None:
        seen.append((type(actor).__name__, message))
        if message == 1:
            simulator.crash()

    simulator = Simulator(0, before_turn=hook)
    ref = simulator.spawn(Chatter, "a", journal, [])
    for number in (2, 1, 0):
        ref.tell(number)
    simulator.run()
    assert seen == [("Chatter", None), ("Chatter", 2), ("Chatter", 1)]
    assert journal == [("a", 2)]
    assert not ref.is_alive()


def test_a_crash_inside_a_handler_ends_it_at_that_line() -> None:
    """Nothing after it happens: no answer, no message, no hook, and no failure is recorded."""
    simulator = Simulator(0)
    lines: list[str] = []

    def crash(_: Doer) -> None:
        lines.append("before")
        try:
            simulator.crash()
        finally:
            simulator.spawn(Doer).tell(lambda _: lines.append("from the grave"))
        lines.append("after")

    ref = simulator.spawn(Doer)
    answer = ref.ask(crash, block=False)
    stopped = Doer.stopped
    simulator.run()
    assert lines == ["before"]
    assert Doer.stopped == stopped
    assert simulator.failures == []
    with pytest.raises(pykka.Timeout):
        answer.get(timeout=1)
    assert simulator.spawn(Doer).ask(lambda _: "again") == "again"
    simulator.crash()


def test_a_crash_in_on_start_and_one_in_on_stop() -> None:
    """Hooks are handlers too."""
    simulator = Simulator(0)

    class Fragile(pykka.ThreadingActor):
        def __init__(self, *, at_start: bool) -> None:
            super().__init__()
            self.at_start = at_start

        def on_start(self) -> None:
            if self.at_start:
                simulator.crash()

        def on_stop(self) -> None:
            simulator.crash()

    for at_start in (True, False):
        other = simulator.spawn(Doer)
        simulator.run()
        ref = simulator.spawn(Fragile, at_start=at_start)
        ref.stop(block=False)
        simulator.run()
        assert not ref.is_alive()
        assert not other.is_alive()
    assert simulator.failures == []


def test_turns_pin_no_frames() -> None:
    """A shared end-of-turn exception would gather a traceback per turn, and every actor in them would live for ever."""
    simulator: Runtime = Simulator(0)
    assert isinstance(simulator, Simulator)
    held: list[weakref.ref[pykka.Actor]] = []
    ref = simulator.spawn(Doer)
    ref.tell(lambda actor: held.append(weakref.ref(actor)))
    simulator.run()
    simulator.crash()
    del ref
    gc.collect()
    assert held[0]() is None


class Counting(pykka.ThreadingActor):
    """Counts what it is told, and stands still at its line when told a number of seconds."""

    def __init__(self, simulator: Simulator, seen: list[object]) -> None:
        super().__init__()
        self._simulator, self._seen = simulator, seen

    def on_receive(self, message: object) -> None:
        """Count it."""
        if isinstance(message, float):
            self._simulator.stand_still(message, self._simulator.group_of(self))
        self._seen.append(message)


def test_a_group_vanishes_alone() -> None:
    """The actors of another group go on."""
    simulator, first, second = Simulator(seed=1), list[object](), list[object]()
    simulator.group = "a"
    one = simulator.spawn(Counting, simulator, first)
    simulator.group = "b"
    two = simulator.spawn(Counting, simulator, second)
    simulator.run()
    simulator.crash("a")
    assert not one.is_alive()
    two.tell("still here")
    simulator.run()
    assert (first, second) == ([], ["still here"])


def test_a_turn_stands_still_while_others_go_on_and_ends_there_if_its_group_vanishes() -> None:
    """What follows the line happens after the others' turns, or, where the group has vanished, never."""
    simulator, first, second = Simulator(seed=1), list[object](), list[object]()
    simulator.group = "a"
    one = simulator.spawn(Counting, simulator, first)
    simulator.group = "b"
    two = simulator.spawn(Counting, simulator, second)
    one.tell(2.0)
    simulator.clock.tell_after(1.0, two, "meanwhile")
    simulator.run(lambda: bool(second))
    assert first == [2.0]
    one.tell(2.0)
    simulator.clock.tell_after(1.0, two, "again")
    simulator.before_turn = lambda actor, message: simulator.crash("a") if message == "again" else None
    simulator.run()
    assert (first, second) == ([2.0], ["meanwhile", "again"])
