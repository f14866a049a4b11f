"""An actor that need not be there before its first message: nobody can tell by its messages whether it was."""

from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from actors.runtime.base import Ping, Pong, Ref, tell
from actors.runtime.pool import PoolRuntime
from tests.contract.runtime_stage import PATIENCE_SECONDS, OnThreads, Recorder, Stage


def asleep(stage: Stage, seen: list[object], made: list[object] | None = None) -> Ref:
    """A Recorder that is not there yet; `made` gets a mark when it is."""

    def make() -> tuple[Any, ...]:
        if made is not None:
            made.append("made")
        return (seen,)

    return stage.runtime.spawn_asleep(Recorder, make)


@pytest.fixture
def pool() -> Iterator[OnThreads]:
    """A pool, left empty."""
    stage = OnThreads(PoolRuntime())
    yield stage
    stage.threads.close()
    for ref in pykka.ActorRegistry.get_all():
        stage.threads.stop(ref, PATIENCE_SECONDS)


def test_it_starts_and_hears_every_message_in_order(stage: Stage) -> None:
    """The first one included, after on_start, and none twice."""
    seen: list[object] = []
    ref = asleep(stage, seen)
    assert ref.is_alive()
    for number in range(100):
        ref.tell(number)
    assert stage.until(lambda: len(seen) == 101)
    assert seen == ["started", *range(100)]


def test_it_is_asked_like_any_other(stage: Stage) -> None:
    """A question wakes it too."""
    assert asleep(stage, []).ask("question", timeout=PATIENCE_SECONDS) == ("answer", "question")


def test_it_has_the_name_and_reference_that_were_given_before(stage: Stage) -> None:
    """Whoever kept the reference knows the actor by it."""
    found: list[Ref] = []
    ref = asleep(stage, [])
    ref.tell(lambda actor: found.append(actor.actor_ref))
    assert stage.until(lambda: len(found) == 1)
    assert found[0].actor_urn == ref.actor_urn
    assert found[0] == ref
    assert ref in pykka.ActorRegistry.get_all()


def test_it_stops_like_any_other(stage: Stage) -> None:
    """With its hooks: what it was made with may have to be given back."""
    seen: list[object] = []
    ref = asleep(stage, seen)
    assert stage.runtime.stop(ref, PATIENCE_SECONDS)
    assert seen == ["started", "stopped"]
    assert not ref.is_alive()
    assert not tell(ref, "late")
    assert ref not in pykka.ActorRegistry.get_all()


def test_pings_are_answered_and_wake_nobody(pool: OnThreads) -> None:
    """Through its mailbox, which is what a ping is about; a message beside them wakes it, and all are answered."""
    pongs: list[object] = []
    made: list[object] = []
    seen: list[object] = []
    asker = pool.runtime.spawn(Recorder, pongs)
    ref = asleep(pool, seen, made)
    for _ in range(2):
        ref.tell(Ping(sent_at=pool.runtime.clock.monotonic(), reply_to=asker))
    assert pool.until(lambda: len(pongs) == 3)
    assert made == seen == []
    ref.tell("wake")
    ref.tell(Ping(sent_at=pool.runtime.clock.monotonic(), reply_to=asker))
    assert pool.until(lambda: len(pongs) == 4)
    assert made == ["made"]
    assert seen == ["started", "wake"]
    answers = [pong for pong in pongs if isinstance(pong, Pong)]
    assert [pong.urn for pong in answers] == [ref.actor_urn] * 3
    assert [pong.processed for pong in answers] == [0, 0, 1]


def test_one_that_cannot_be_made_is_dead_and_answers_whoever_asks(pool: OnThreads) -> None:
    """As one that has stopped: a health round finds it, and nobody waits for ever."""

    def make() -> tuple[Any, ...]:
        raise ValueError("no parts")

    ref = pool.runtime.spawn_asleep(Recorder, make)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("question", timeout=PATIENCE_SECONDS)
    assert pool.until(lambda: not ref.is_alive())
    assert pool.runtime.stop(ref, PATIENCE_SECONDS)
    assert ref not in pykka.ActorRegistry.get_all()


def test_one_that_begins_by_itself_cannot_be_given_a_reference(pool: OnThreads) -> None:
    """An actor that goes past `super().__init__()` would have two mailboxes; it is refused instead."""

    class Alone(pykka.ThreadingActor):
        def __init__(self) -> None:
            pykka.ThreadingActor.__init__(self)

    ref = pool.runtime.spawn_asleep(Alone, tuple)
    tell(ref, "wake")
    assert pool.until(lambda: not ref.is_alive())
