"""What pykka documents of actors, references, futures, proxies and the registry, over each runtime."""

import logging
import queue
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from actors.runtime.base import tell
from actors.runtime.pool import PoolRuntime
from actors.runtime.threads import ThreadRuntime
from tests.contract.runtime_stage import PATIENCE_SECONDS, OnThreads, Recorder, Stage, busy_gate, release


class Plain(pykka.ThreadingActor):
    """An actor with nothing of its own but an attribute and a method, for proxies."""

    value = 1

    def double(self, number: int) -> int:
        """Twice the number."""
        return 2 * number

    def fail(self) -> None:
        """Raise."""
        raise LookupError("called")


class Named(pykka.ThreadingActor):
    """Calls its superclass by name, the other way that pykka documents."""

    def __init__(self, seen: list[object]) -> None:
        pykka.ThreadingActor.__init__(self)
        self.seen = seen

    def on_receive(self, message: Any) -> Any:
        """Note it."""
        self.seen.append(message)
        return message

    def on_stop(self) -> None:
        """Note it."""
        self.seen.append("stopped")


class TalksToItself(pykka.ThreadingActor):
    """Tells itself something before it has started, and may never start."""

    def __init__(self, seen: list[object], error: Exception | None = None) -> None:
        super().__init__()
        self.seen = seen
        self.actor_ref.tell("from the constructor")
        if error is not None:
            raise error

    def on_start(self) -> None:
        """Note it."""
        self.seen.append("started")

    def on_receive(self, message: Any) -> None:
        """Note it."""
        self.seen.append(message)


# -- hooks and endings -------------------------------------------------------------------------------------------------


def test_what_the_constructor_tells_comes_after_on_start(stage: Stage) -> None:
    """Messages wait for the actor, however early they are."""
    seen: list[object] = []
    ref = stage.runtime.spawn(TalksToItself, seen)
    ref.tell("from outside")
    assert stage.until(lambda: len(seen) == 3)
    assert seen == ["started", "from the constructor", "from outside"]


def test_a_constructor_that_tells_and_then_fails_leaves_nothing(stage: Stage) -> None:
    """No actor, no hook, no message; and others go on."""
    seen: list[object] = []
    with pytest.raises(LookupError, match="no"):
        stage.runtime.spawn(TalksToItself, seen, LookupError("no"))
    stage.settle()
    assert seen == []
    assert pykka.ActorRegistry.get_all() == []
    assert stage.runtime.spawn(Recorder, []).ask("next", timeout=PATIENCE_SECONDS) == ("answer", "next")


def test_a_superclass_called_by_name_does_as_well(stage: Stage) -> None:
    """pykka documents both ways."""
    seen: list[object] = []
    ref = stage.runtime.spawn(Named, seen)
    ref.tell("told")
    assert ref.ask("asked", timeout=PATIENCE_SECONDS) == "asked"
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    assert seen == ["told", "asked", "stopped"]
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")


def test_on_stop_runs_once(stage: Stage) -> None:
    """Two stops, one end; messages after the first are never handled."""
    seen: list[object] = []
    gate = busy_gate(stage)
    ref = stage.runtime.spawn(Recorder, seen)
    ref.tell(release(gate))
    first = ref.stop(block=False)
    ref.tell("late")
    second = ref.stop(block=False)
    if gate is not None:
        gate.set()
    assert first.get(timeout=PATIENCE_SECONDS) is True
    assert second.get(timeout=PATIENCE_SECONDS) is True
    assert seen == ["started", "stopped"]


def test_stop_says_whether_there_was_something_to_stop(stage: Stage) -> None:
    """True for an actor that ran, false for a dead one."""
    ref = stage.runtime.spawn(Recorder, [])
    assert ref.stop(timeout=PATIENCE_SECONDS) is True
    assert ref.stop(timeout=PATIENCE_SECONDS) is False


def test_an_ask_of_a_dead_actor_fails(stage: Stage) -> None:
    """Through the future, whether or not the asker waits."""
    ref = stage.runtime.spawn(Recorder, [])
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    future = ref.ask("late", block=False)
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=PATIENCE_SECONDS)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("late", timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("fail_on_start", [True, False])
def test_asks_pending_at_a_failure_get_actor_dead(stage: Stage, *, fail_on_start: bool) -> None:
    """Whether on_start failed, or a message that was told."""
    gate = busy_gate(stage)
    seen: list[object] = []

    class Late(Recorder):
        def on_start(self) -> None:
            if gate is not None:
                gate.wait(PATIENCE_SECONDS)
            super().on_start()

    ref = stage.runtime.spawn(Late, seen, fail_on_start=fail_on_start)
    ref.tell(ValueError("told"))
    pending = [ref.ask(number, block=False) for number in range(200)]
    stopping = ref.stop(block=False)
    if gate is not None:
        gate.set()
    for future in pending:
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=PATIENCE_SECONDS)
    assert stopping.get(timeout=PATIENCE_SECONDS) is True
    assert seen == (["started"] if fail_on_start else ["started", ("failed", "told")])
    assert ref not in pykka.ActorRegistry.get_all()


def test_an_on_failure_that_fails_ends_the_actor_too(stage: Stage) -> None:
    """The hook is the actor's last word, whatever comes of it."""

    class Hopeless(Recorder):
        def on_failure(self, *args: Any) -> None:
            super().on_failure(*args)
            raise LookupError("on_failure")

    seen: list[object] = []
    ref = stage.runtime.spawn(Hopeless, seen)
    ref.tell(ValueError("told"))
    assert stage.until(lambda: ref not in pykka.ActorRegistry.get_all() and len(seen) == 2)
    assert seen == ["started", ("failed", "told")]
    assert not ref.is_alive()


def test_without_on_receive_a_message_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """pykka's default answers None."""
    ref = stage.runtime.spawn(Plain)
    with caplog.at_level(logging.WARNING, logger="pykka"):
        assert ref.ask("what?", timeout=PATIENCE_SECONDS) is None
    assert "Unexpected message" in caplog.text


def test_the_stopped_flag_is_an_event(stage: Stage) -> None:
    """It may be read and waited for, by actor and reference alike."""
    ref = stage.runtime.spawn(Recorder, [])
    assert not ref.actor_stopped.is_set()
    assert ref.actor_stopped.wait(0) is False
    ended: list[bool] = []
    watcher = threading.Thread(target=lambda: ended.append(ref.actor_stopped.wait(PATIENCE_SECONDS)))
    watcher.start()
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    watcher.join()
    assert ended == [True]
    assert ref.actor_stopped.wait(0) is True
    ref.actor_stopped.clear()
    assert not ref.actor_stopped.is_set()
    ref.actor_stopped.set()
    assert ref.actor_stopped.is_set()


def test_urns_are_unique_uuids(stage: Stage) -> None:
    """In pykka's own shape; actor and reference agree."""
    refs = [stage.runtime.spawn(Recorder, []) for _ in range(100)]
    assert len({uuid.UUID(ref.actor_urn) for ref in refs}) == 100
    assert refs[0].ask(lambda actor: actor.actor_urn, timeout=PATIENCE_SECONDS) == refs[0].actor_urn
    assert refs[0].ask(lambda actor: actor.actor_ref, timeout=PATIENCE_SECONDS) is refs[0]
    assert str(refs[0]) == f"Recorder ({refs[0].actor_urn})"
    assert isinstance(refs[0], pykka.ActorRef)


# -- the registry ------------------------------------------------------------------------------------------------------


def test_the_registry_knows_who_runs(stage: Stage) -> None:
    """In the order of their start; by class, superclass, class name and urn; and nobody who has ended."""
    one, two = stage.runtime.spawn(Recorder, []), stage.runtime.spawn(Plain)
    three = stage.runtime.spawn(Recorder, [])
    registry = pykka.ActorRegistry
    assert registry.get_all() == [one, two, three]
    assert registry.get_by_class(Recorder) == [one, three]
    assert registry.get_by_class(pykka.ThreadingActor) == [one, two, three]
    assert registry.get_by_class_name("Plain") == [two]
    assert registry.get_by_urn(three.actor_urn) is three
    assert stage.runtime.stop(one, PATIENCE_SECONDS)
    assert registry.get_all() == [two, three]
    assert registry.get_by_urn(one.actor_urn) is None
    registry.unregister(one)


def test_a_broadcast_reaches_a_class(stage: Stage) -> None:
    """And nobody else."""
    seen: list[object] = []
    for _ in range(3):
        stage.runtime.spawn(Recorder, seen)
    stage.runtime.spawn(Plain)
    pykka.ActorRegistry.broadcast("all", target_class=Recorder)
    pykka.ActorRegistry.broadcast("named", target_class="Recorder")
    assert stage.until(lambda: len(seen) == 9)
    assert seen.count("all") == seen.count("named") == 3


def test_stopping_all_stops_the_last_started_first(stage: Stage) -> None:
    """pykka's order: whoever came later may depend on whoever came before."""
    seen: list[object] = []

    class Ends(Recorder):
        def on_stop(self) -> None:
            seen.append(self.actor_urn)

    refs = [stage.runtime.spawn(Ends, []) for _ in range(5)]
    assert pykka.ActorRegistry.stop_all(timeout=PATIENCE_SECONDS) == [True] * 5
    assert seen == [ref.actor_urn for ref in reversed(refs)]
    assert pykka.ActorRegistry.get_all() == []


# -- proxies -----------------------------------------------------------------------------------------------------------


def test_a_proxy_reads_writes_and_calls(stage: Stage) -> None:
    """We use none; they are pykka's, and work."""
    proxy: Any = stage.runtime.spawn(Plain).proxy()
    assert proxy.value.get(timeout=PATIENCE_SECONDS) == 1
    proxy.value = 5
    assert proxy.value.get(timeout=PATIENCE_SECONDS) == 5
    assert proxy.double(4).get(timeout=PATIENCE_SECONDS) == 8
    with pytest.raises(LookupError, match="called"):
        proxy.fail().get(timeout=PATIENCE_SECONDS)
    proxy.fail.defer()
    assert stage.until(lambda: not proxy.actor_ref.is_alive())


def test_an_actor_may_have_a_proxy_of_itself_from_the_start(stage: Stage) -> None:
    """pykka's own example makes it in the constructor, to call itself later."""

    class Later(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.in_future: Any = self.actor_ref.proxy()

        def later(self) -> Any:
            return self.in_future.double(21)

    answer = stage.runtime.spawn(Later).proxy().later().get(timeout=PATIENCE_SECONDS)
    assert answer.get(timeout=PATIENCE_SECONDS) == 42


def test_a_dead_actor_has_no_proxy(stage: Stage) -> None:
    """As with every other access."""
    ref = stage.runtime.spawn(Plain)
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


# -- futures -----------------------------------------------------------------------------------------------------------


def test_a_future_is_answered_once_and_read_often(stage: Stage) -> None:
    """queue.Full for every later answer."""
    future: Any = stage.runtime.reply()
    future.set("first")
    with pytest.raises(queue.Full):
        future.set("second")
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError("third"), None))
    assert [future.get(timeout=0), future.get()] == ["first", "first"]


def test_a_future_raises_what_was_raised(stage: Stage) -> None:
    """With its traceback, each time; the exception being handled unless one is given."""
    future: Any = stage.runtime.reply()
    try:
        raise ValueError("original")
    except ValueError as error:
        original = error
        future.set_exception()
    for _ in range(2):
        with pytest.raises(ValueError, match="original") as caught:
            future.get(timeout=0)
        assert caught.value is original
        assert caught.traceback[-1].name == "test_a_future_raises_what_was_raised"
    bare: Any = stage.runtime.reply()
    bare.set_exception((LookupError, None, None))
    with pytest.raises(LookupError):
        bare.get(timeout=0)


def test_futures_compose(stage: Stage) -> None:
    """map, filter, join, reduce and get_all, as documented."""
    ref = stage.runtime.spawn(Plain)
    one, two = ref.proxy().double(1), ref.proxy().double(2)
    patience = PATIENCE_SECONDS
    assert one.map(lambda number: number + 10).get(timeout=patience) == 12
    assert one.join(two).get(timeout=patience) == [2, 4]
    assert one.join(two).filter(lambda number: number > 2).get(timeout=patience) == [4]
    assert one.join(two).reduce(lambda a, b: a + b, 1).get(timeout=patience) == 7
    assert pykka.get_all([one, two], timeout=patience) == [2, 4]


def test_a_hook_answers_once(stage: Stage) -> None:
    """Called by the first `get`, with its timeout; a future with a hook takes no other answer, nor the reverse."""
    future: Any = stage.runtime.reply()
    calls: list[float | None] = []

    def hook(timeout: float | None) -> str:
        calls.append(timeout)
        return "hooked"

    future.set_get_hook(hook)
    assert [future.get(timeout=3), future.get()] == ["hooked", "hooked"]
    assert calls == [3]
    with pytest.raises(queue.Full):
        future.set("answer")


def test_a_future_may_be_awaited(stage: Stage) -> None:
    """It gives way once, then waits."""
    future: Any = stage.runtime.reply()
    future.set("answer")
    steps: Iterator[object] = future.__await__()
    next(steps)
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == "answer"


# -- what is no Exception ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ThreadRuntime, PoolRuntime])
def test_what_is_no_exception_stops_every_actor(kind: type[ThreadRuntime | PoolRuntime]) -> None:
    """pykka's word on SystemExit and the like: the actor stops, then all others, each with on_stop."""
    on_threads = OnThreads(kind())
    seen: list[object] = []
    refs = [on_threads.runtime.spawn(Recorder, seen) for _ in range(5)]

    def leave(_: Recorder) -> None:
        raise SystemExit

    refs[2].tell(leave)
    assert on_threads.until(lambda: seen.count("stopped") == 5)
    assert on_threads.until(lambda: pykka.ActorRegistry.get_all() == [])
    assert not any(ref.is_alive() for ref in refs)
    assert not tell(refs[2], "dead")
    on_threads.threads.close()
