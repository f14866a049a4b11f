"""What every runtime must do: pykka's documented behaviour, time, and health. One suite, run over each of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka
import pytest

from actors.runtime.base import Ping, Pong, Ref, tell
from actors.runtime.pool import PoolRuntime
from actors.runtime.threads import ThreadRuntime
from tests.contract.runtime_stage import PATIENCE_SECONDS, Recorder, Stage, busy_gate, release

# -- pykka's promises --------------------------------------------------------------------------------------------------


def test_on_start_comes_before_the_first_message(stage: Stage) -> None:
    """Messages told right after the spawn wait for on_start."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell("first")
    assert stage.until(lambda: len(seen) == 2)
    assert seen == ["started", "first"]


def test_messages_of_one_sender_keep_their_order(stage: Stage) -> None:
    """A mailbox is first in, first out."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    for number in range(100):
        ref.tell(number)
    assert stage.until(lambda: len(seen) == 101)
    assert seen[1:] == list(range(100))


def test_two_senders_each_keep_their_order(stage: Stage) -> None:
    """Senders may interleave; each one's messages stay in order."""
    seen: list[Any] = []
    target = stage.runtime.spawn(Recorder, seen)

    class Sender(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            target.tell(message)

    senders = {name: stage.runtime.spawn(Sender) for name in "ab"}
    for number in range(50):
        for name, sender in senders.items():
            sender.tell((name, number))
    assert stage.until(lambda: len(seen) == 101)
    for name in senders:
        assert [number for who, number in seen[1:] if who == name] == list(range(50))


def test_an_ask_is_answered(stage: Stage) -> None:
    """What the handler returns is the answer."""
    ref = stage.runtime.spawn(Recorder, [])
    assert ref.ask("question", timeout=PATIENCE_SECONDS) == ("answer", "question")


def test_a_handler_that_raises_when_asked_fails_the_asker_and_not_the_actor(stage: Stage) -> None:
    """pykka hands the exception to the asker and keeps the actor alive; on_failure is not called."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    with pytest.raises(ValueError, match="asked"):
        ref.ask(ValueError("asked"), timeout=PATIENCE_SECONDS)
    assert ref.ask("next", timeout=PATIENCE_SECONDS) == ("answer", "next")
    assert seen == ["started", "next"]


def test_a_handler_that_raises_when_told_ends_the_actor_with_on_failure(stage: Stage) -> None:
    """on_failure is called with the exception, on_stop is not, and the actor is dead."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell(ValueError("told"))
    tell(ref, "too late")
    assert stage.until(lambda: len(seen) == 2)
    stage.settle()
    assert seen == ["started", ("failed", "told")]
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()


def test_a_failing_on_start_ends_the_actor_without_on_failure(stage: Stage) -> None:
    """The trap behind "the supervisor pings": nobody is told when on_start fails."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen, fail_on_start=True)
    assert stage.until(lambda: not ref.is_alive())
    stage.settle()
    assert seen == ["started"]


def test_what_the_constructor_raises_is_raised_by_spawn(stage: Stage) -> None:
    """There is no actor then."""
    with pytest.raises(TypeError):
        stage.runtime.spawn(Recorder)
    assert pykka.ActorRegistry.get_by_class(Recorder) == []


def test_stop_handles_the_messages_before_and_runs_on_stop(stage: Stage) -> None:
    """Messages told before the stop are handled; then on_stop, once."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell("before")
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    assert seen == ["started", "before", "stopped"]
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()


def test_stopping_a_dead_actor_is_no_error(stage: Stage) -> None:
    """It has ended, which is what was asked."""
    ref = stage.runtime.spawn(Recorder, [])
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)


def test_stopping_an_actor_whose_on_stop_fails_ends_it(stage: Stage) -> None:
    """A hook that raises does not keep it alive, and stop does not raise."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen, fail_on_stop=True)
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    assert seen == ["started", "stopped"]


def test_stop_with_no_time_only_asks(stage: Stage) -> None:
    """The actor ends later, by itself; so an actor may ask another to stop without waiting."""
    seen: list[object] = []
    gate = busy_gate(stage)
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell(release(gate))
    assert stage.runtime.stop(ref, 0) is False
    if gate is not None:
        gate.set()
    assert stage.until(lambda: "stopped" in seen)


def test_an_actor_may_stop_itself(stage: Stage) -> None:
    """`self.stop()` in a handler ends it after what is already in the mailbox."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell(lambda actor: actor.stop())
    assert stage.until(lambda: seen == ["started", "stopped"])


def test_asks_pending_at_the_stop_get_actor_dead(stage: Stage) -> None:
    """Nobody is left to wait for an actor that is gone."""
    gate = busy_gate(stage)
    ref = stage.runtime.spawn(Recorder, [])
    ref.tell(release(gate))
    ref.stop(block=False)
    pending = ref.ask("late", block=False)
    if gate is not None:
        gate.set()
    with pytest.raises(pykka.ActorDeadError):
        pending.get(timeout=PATIENCE_SECONDS)


def test_telling_a_dead_actor(stage: Stage) -> None:
    """pykka raises; the helper says false, which a sender must never die of."""
    ref = stage.runtime.spawn(Recorder, [])
    assert tell(ref, "alive")
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("dead")
    assert tell(ref, "dead") is False


def test_actors_may_spawn_actors(stage: Stage) -> None:
    """A child spawned in a handler runs like any other."""
    seen: list[object] = []
    parent = stage.runtime.spawn(Recorder, [])
    parent.tell(lambda _: stage.runtime.spawn(Recorder, seen).tell("hello"))
    assert stage.until(lambda: seen == ["started", "hello"])


def test_the_class_is_still_the_actors_own(stage: Stage) -> None:
    """Registry, logs and isinstance see the class as it was written."""
    ref = stage.runtime.spawn(Recorder, [])
    assert ref.actor_class.__name__ == "Recorder"
    assert issubclass(ref.actor_class, Recorder)
    assert [other.actor_urn for other in pykka.ActorRegistry.get_by_class(Recorder)] == [ref.actor_urn]


# -- answers for the edge ----------------------------------------------------------------------------------------------


def test_a_reply_is_answered_later_by_whoever_has_it(stage: Stage) -> None:
    """The edge waits for what an actor sets, whenever that is."""
    reply = stage.runtime.reply()
    ref = stage.runtime.spawn(Recorder, [])
    ref.tell(lambda _: stage.runtime.clock.tell_after(0.01, ref, lambda _: reply.set("done")))
    assert reply.get(timeout=PATIENCE_SECONDS) == "done"
    assert reply.get(timeout=0) == "done"


def test_a_reply_that_never_comes_times_out(stage: Stage) -> None:
    """Every wait at the edge has an end."""
    with pytest.raises(pykka.Timeout):
        stage.runtime.reply().get(timeout=0.01)


# -- time --------------------------------------------------------------------------------------------------------------


def test_tell_after_waits_at_least_the_delay(stage: Stage) -> None:
    """The clock that measures and the clock that tells are one."""
    clock = stage.runtime.clock
    told_at: list[float] = []
    ref = stage.runtime.spawn(Recorder, [])
    asked_at = clock.monotonic()
    clock.tell_after(0.02, ref, lambda _: told_at.append(clock.monotonic()))
    assert stage.until(lambda: bool(told_at))
    assert told_at[0] - asked_at >= 0.02 - 1e-5


def test_timers_come_in_the_order_of_their_time(stage: Stage) -> None:
    """A shorter delay asked for later overtakes a longer one; equal ones keep their order."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    clock = stage.runtime.clock
    # Far enough from the others that a machine which stands still for a moment in between changes nothing.
    clock.tell_after(1.0, ref, "last")
    clock.tell_after(0.0, ref, "now")
    clock.tell_after(-1, ref, "overdue")
    clock.tell_after(0.1, ref, "soon")
    assert stage.until(lambda: "last" in seen)
    assert [word for word in seen if word not in {"started"}] == ["now", "overdue", "soon", "last"]


def test_a_cancelled_timer_is_not_told(stage: Stage) -> None:
    """Cancelling twice, or after it was told, is harmless."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    cancelled = stage.runtime.clock.tell_after(0.01, ref, "cancelled")
    told = stage.runtime.clock.tell_after(0.02, ref, "told")
    cancelled.cancel()
    assert stage.until(lambda: "told" in seen)
    cancelled.cancel()
    told.cancel()
    stage.settle()
    assert seen == ["started", "told"]


def test_a_timer_for_a_dead_actor_is_dropped(stage: Stage) -> None:
    """And the timers after it still come."""
    dead = stage.runtime.spawn(Recorder, [])
    stage.runtime.clock.tell_after(0.01, dead, "nobody")
    assert stage.runtime.stop(dead, PATIENCE_SECONDS)
    seen: list[object] = []
    ref = stage.runtime.spawn(Recorder, seen)
    stage.runtime.clock.tell_after(0.02, ref, "told")
    assert stage.until(lambda: seen == ["started", "told"])


# -- health ------------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_in_the_actors_place(stage: Stage) -> None:
    """The actor never sees it; the answer came through its mailbox, behind the messages before."""
    seen: list[object] = []
    pongs: list[Any] = []
    asker = stage.runtime.spawn(Recorder, pongs)
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell("one")
    ref.tell("two")
    sent_at = stage.runtime.clock.monotonic()
    ref.tell(Ping(sent_at=sent_at, reply_to=asker))
    assert stage.until(lambda: len(pongs) == 2)
    pong = pongs[1]
    assert isinstance(pong, Pong)
    assert (pong.urn, pong.sent_at, pong.processed) == (ref.actor_urn, sent_at, 2)
    assert pong.mailbox_age_seconds >= 0
    assert seen == ["started", "one", "two"]


def test_a_pong_counts_what_still_waits(stage: Stage) -> None:
    """Depth is what the mailbox holds when the ping is reached, the ping itself excluded."""
    gate = busy_gate(stage)
    pongs: list[Any] = []
    asker = stage.runtime.spawn(Recorder, pongs)
    ref = stage.runtime.spawn(Recorder, [])
    ref.tell(release(gate))
    ref.tell(Ping(sent_at=0.0, reply_to=asker))
    for number in range(3):
        ref.tell(number)
    if gate is not None:
        gate.set()
    assert stage.until(lambda: len(pongs) == 2)
    assert pongs[1].mailbox_depth == 3


def test_a_ping_from_a_dead_actor_harms_nobody(stage: Stage) -> None:
    """The answer is dropped."""
    asker = stage.runtime.spawn(Recorder, [])
    assert stage.runtime.stop(asker, PATIENCE_SECONDS)
    ref = stage.runtime.spawn(Recorder, [])
    ref.tell(Ping(sent_at=0.0, reply_to=asker))
    assert ref.ask("alive", timeout=PATIENCE_SECONDS) == ("answer", "alive")


def test_a_handler_that_raises_still_counts_as_handled(stage: Stage) -> None:
    """`processed` is what left the mailbox."""
    pongs: list[Any] = []
    asker: Ref = stage.runtime.spawn(Recorder, pongs)
    ref = stage.runtime.spawn(Recorder, [])
    with pytest.raises(ValueError, match="asked"):
        ref.ask(ValueError("asked"), timeout=PATIENCE_SECONDS)
    ref.tell(Ping(sent_at=0.0, reply_to=asker))
    assert stage.until(lambda: len(pongs) == 2)
    assert pongs[1].processed == 1


# -- real threads ------------------------------------------------------------------------------------------------------


def timer_threads() -> int:
    """How many there are, whatever other threads come and go."""
    return sum(thread.name == "timers" for thread in threading.enumerate())


def test_all_timers_share_one_thread() -> None:
    """A thread per timer would be a thread per waiting position."""
    runtime = ThreadRuntime()
    ref = runtime.spawn(Recorder, [])
    before = timer_threads()
    for number in range(200):
        runtime.clock.tell_after(60.0, ref, number)
    assert timer_threads() == before + 1
    runtime.close()
    assert timer_threads() == before
    assert runtime.stop(ref, PATIENCE_SECONDS)


@pytest.mark.parametrize("on_threads", [ThreadRuntime, PoolRuntime])
def test_a_closed_runtime_drops_later_timers(on_threads: type[ThreadRuntime | PoolRuntime]) -> None:
    """Actors that still run while the service ends may go on asking for them."""
    runtime = on_threads()
    seen: list[object] = []
    ref = runtime.spawn(Recorder, seen)
    runtime.close()
    runtime.clock.tell_after(0.0, ref, "late").cancel()
    runtime.clock.tell_after(0.0, ref, "late")
    assert runtime.stop(ref, PATIENCE_SECONDS)
    assert seen == ["started", "stopped"]


@pytest.mark.parametrize("on_threads", [ThreadRuntime, PoolRuntime])
def test_stopping_a_busy_actor_gives_up_in_time(on_threads: type[ThreadRuntime | PoolRuntime]) -> None:
    """False, and no exception, when a handler does not come back."""
    runtime = on_threads()
    gate = threading.Event()
    ref = runtime.spawn(Recorder, [])
    ref.tell(release(gate))
    assert runtime.stop(ref, 0.02) is False
    gate.set()
    assert runtime.stop(ref, PATIENCE_SECONDS)


@pytest.mark.parametrize("on_threads", [ThreadRuntime, PoolRuntime])
def test_many_threads_may_stop_one_actor(on_threads: type[ThreadRuntime | PoolRuntime]) -> None:
    """pykka never answers a stop that races another; each of these must end all the same."""
    runtime = on_threads()
    for _ in range(20):
        ref = runtime.spawn(Recorder, [])
        with ThreadPoolExecutor(4) as pool:
            stops = [pool.submit(runtime.stop, ref, PATIENCE_SECONDS) for _ in range(4)]
        assert [stop.result() for stop in stops] == [True] * 4


def test_actor_threads_are_daemons() -> None:
    """An actor stuck in a library must not keep the process from ending."""
    runtime = ThreadRuntime()
    threads: list[threading.Thread] = []
    ref = runtime.spawn(Recorder, [])
    ref.ask(lambda _: threads.append(threading.current_thread()), timeout=PATIENCE_SECONDS)
    assert threads[0].daemon
    assert threads[0].name.startswith("Recorder-")
    assert runtime.stop(ref, PATIENCE_SECONDS)
