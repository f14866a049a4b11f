"""The runtimes that use real threads, under load: what must hold whatever the threads do meanwhile.

No test here waits for a time to pass; patience only bounds how long a failing one takes.
"""

import gc
import logging
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pykka
import pytest
from pykka._envelope import Envelope

from actors.runtime import pool_mailbox, pool_threads
from actors.runtime.base import Ref, Runtime, tell
from actors.runtime.pool import PoolRuntime
from actors.runtime.pool_registry import Refs
from actors.runtime.threads import ThreadRuntime
from tests.contract.runtime_stage import OnThreads, Recorder

PATIENCE_SECONDS = 30.0


@pytest.fixture
def pools() -> Iterator[Callable[..., PoolRuntime]]:
    """Makes pools, and ends what was started on them."""
    made: list[PoolRuntime] = []

    def make(**words: int) -> PoolRuntime:
        made.append(PoolRuntime(**words))
        return made[-1]

    yield make
    for pool in made:
        for ref in pykka.ActorRegistry.get_all():
            pool.stop(ref, PATIENCE_SECONDS)
        pool.close()


@pytest.fixture(params=[ThreadRuntime, PoolRuntime])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """Each runtime that uses threads."""
    made = request.param()
    yield made
    for ref in pykka.ActorRegistry.get_all():
        made.stop(ref, PATIENCE_SECONDS)
    made.close()


def until(condition: Callable[[], bool]) -> bool:
    """Poll until the condition holds."""
    return OnThreads.until(NotImplemented, condition)


def together(*jobs: Callable[[], object]) -> None:
    """Run jobs on a thread each, and raise what they raised."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        for done in [threads.submit(job) for job in jobs]:
            done.result(PATIENCE_SECONDS)


class Doer(pykka.ThreadingActor):
    """Calls each message with itself."""

    def on_receive(self, message: Any) -> Any:
        """Call it."""
        return message(self)


# -- one at a time, in order -------------------------------------------------------------------------------------------


class Exclusive(pykka.ThreadingActor):
    """Notes who told it what, and whether two threads were ever in it at once."""

    def __init__(self, done: threading.Semaphore) -> None:
        super().__init__()
        self.done = done
        self.inside = threading.Lock()
        self.crowded = False
        self.next_of: dict[int, int] = {}
        self.disorder = 0

    def on_receive(self, message: tuple[int, int]) -> None:
        """One message of one producer."""
        if not self.inside.acquire(blocking=False):
            self.crowded = True
            return
        producer, number = message
        if self.next_of.get(producer, 0) != number:
            self.disorder += 1
        # Gives way to other threads in the midst of it.
        time.sleep(0)
        self.next_of[producer] = number + 1
        self.inside.release()
        self.done.release()


def test_no_two_threads_in_one_actor_and_each_producer_in_order(runtime: Runtime) -> None:
    """Four producers, eight actors, few enough that all want the same ones all the time."""
    done = threading.Semaphore(0)
    actors: list[Exclusive] = []

    class Shown(Exclusive):
        def on_start(self) -> None:
            actors.append(self)

    refs = [runtime.spawn(Shown, done) for _ in range(8)]
    each = 500

    def produce(producer: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(each):
                for ref in refs:
                    ref.tell((producer, number))

        return run

    together(*(produce(number) for number in range(4)))
    for _ in range(4 * each * len(refs)):
        assert done.acquire(timeout=PATIENCE_SECONDS)
    assert len(actors) == len(refs)
    assert not any(actor.crowded or actor.disorder for actor in actors)
    assert all(actor.next_of == dict.fromkeys(range(4), each) for actor in actors)


@pytest.mark.parametrize("blocked_by", ["event", "future"])
def test_nobody_else_takes_the_messages_of_an_actor_that_is_blocked(runtime: Runtime, blocked_by: str) -> None:
    """Threads are free, and messages wait: they are still for the one thread that is in the actor."""
    event, future = threading.Event(), runtime.reply()
    seen: list[object] = []
    ref, other = runtime.spawn(Recorder, seen), runtime.spawn(Recorder, [])
    waits: dict[str, Callable[[Recorder], object]] = {
        "event": lambda _: event.wait(PATIENCE_SECONDS),
        "future": lambda _: future.get(timeout=PATIENCE_SECONDS),
    }
    ref.tell(waits[blocked_by])
    for number in range(5):
        ref.tell(number)
        # Asked later, so whoever would have taken the message has taken it by then.
        assert other.ask(number, timeout=PATIENCE_SECONDS) == ("answer", number)
    assert seen == ["started"]
    event.set()
    future.set()
    assert until(lambda: seen == ["started", *range(5)])


def test_lent_places_that_come_back_put_no_two_threads_in_one_actor(pools: Callable[..., PoolRuntime]) -> None:
    """Places that are lent and taken back all the time: still one thread in an actor."""
    pool = pools(workers=2)
    answerers = [pool.spawn(Recorder, []) for _ in range(4)]
    inside = [threading.Lock() for _ in range(4)]

    def job(place: int, number: int) -> Callable[[Doer], bool]:
        def run(_: Doer) -> bool:
            alone = inside[place].acquire(blocking=False)
            answer = answerers[number % 4].ask(number, timeout=PATIENCE_SECONDS)
            if alone:
                inside[place].release()
            return alone and answer == ("answer", number)

        return run

    askers = [pool.spawn(Doer) for _ in range(4)]
    answers = [ref.ask(job(place, number), block=False) for number in range(200) for place, ref in enumerate(askers)]
    assert all(answer.get(timeout=PATIENCE_SECONDS) for answer in answers)


def test_an_actor_that_never_runs_dry_lets_others_have_their_turn(pools: Callable[..., PoolRuntime]) -> None:
    """A turn is bounded: on one thread, another actor is heard while the first tells itself on and on."""
    pool = pools(workers=1, most_threads=1)
    enough = threading.Event()

    def again(actor: Doer) -> None:
        if not enough.is_set():
            actor.actor_ref.tell(again)

    busy = pool.spawn(Doer)
    for _ in range(2 * pool_mailbox.TURN_MESSAGES):
        busy.tell(again)
    assert pool.spawn(Recorder, []).ask("heard", timeout=PATIENCE_SECONDS) == ("answer", "heard")
    enough.set()


# -- blocked inside a turn ---------------------------------------------------------------------------------------------


def chain(runtime: Runtime, length: int) -> Ref:
    """Actors that each ask the next; the last one answers its depth."""

    class Link(pykka.ThreadingActor):
        def __init__(self, following: Ref | None) -> None:
            super().__init__()
            self.following = following

        def on_receive(self, message: int) -> Any:
            if self.following is None:
                return message
            return self.following.ask(message + 1, timeout=PATIENCE_SECONDS)

    first = None
    for _ in range(length):
        first = runtime.spawn(Link, first)
    assert first is not None
    return first


@pytest.mark.parametrize("kind", ["threads", "pool of 2", "pool of 1"])
def test_fifty_nested_asks(kind: str) -> None:
    """Each actor waits for the next inside its turn; pykka allows it, so it must not deadlock on a pool either."""
    runtime: Any = ThreadRuntime() if kind == "threads" else PoolRuntime(workers=int(kind[-1]))
    first = chain(runtime, 51)
    for _ in range(5):
        assert first.ask(0, timeout=PATIENCE_SECONDS) == 50
    if isinstance(runtime, PoolRuntime):
        # Each round used the threads of the one before.
        assert runtime.thread_count <= 60
    for ref in pykka.ActorRegistry.get_all():
        runtime.stop(ref, PATIENCE_SECONDS)
    runtime.close()


def test_spare_threads_end_when_they_are_not_needed(
    pools: Callable[..., PoolRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to the workers, which stay: the next message must not wait for a thread to be made."""
    monkeypatch.setattr(pool_threads, "_SPARE_SECONDS", 0.02)
    pool = pools(workers=2)
    first = chain(pool, 20)
    for _ in range(3):
        assert first.ask(0, timeout=PATIENCE_SECONDS) == 19
        assert pool.thread_count >= 2
        assert until(lambda: pool.thread_count == 2)
    assert pool.spawn(Recorder, []).ask("still there", timeout=PATIENCE_SECONDS) == ("answer", "still there")


def test_more_blocked_actors_than_threads_time_out_and_then_go_on(pools: Callable[..., PoolRuntime]) -> None:
    """Threads are bounded. Whoever waits for one that cannot come gives up in its own time, and nothing is stuck."""
    pool = pools(workers=2, most_threads=4)

    class Link(Recorder):
        def on_receive(self, message: Any) -> Any:
            following, patience = message
            return following[0].ask((following[1:], patience), timeout=patience) if following else "end"

    links = [pool.spawn(Link, []) for _ in range(8)]
    with pytest.raises(pykka.Timeout):
        links[0].ask((links[1:], 0.2), timeout=PATIENCE_SECONDS)
    assert pool.thread_count == 4
    assert links[0].ask((links[1:3], PATIENCE_SECONDS), timeout=PATIENCE_SECONDS) == "end"


@pytest.mark.parametrize("how", ["future", "event", "stop"])
def test_a_blocked_workers_slot_is_lent(
    pools: Callable[..., PoolRuntime], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actors that wait inside their turns, more of them than workers, do not keep another from its own."""
    pool = pools(workers=2)
    if how != "event":
        # Only what blocks unseen needs the watch, which would hide it if nothing else were lent.
        monkeypatch.setattr(pool._threads, "_start_watch", lambda: None)
    future, event = pool.reply(), threading.Event()
    held = pool.spawn(HasThread)
    held.tell(lambda _: event.wait(PATIENCE_SECONDS))
    waits: dict[str, Callable[[Doer], object]] = {
        "future": lambda _: future.get(timeout=PATIENCE_SECONDS),
        "event": lambda _: event.wait(PATIENCE_SECONDS),
        "stop": lambda _: pool.stop(held, PATIENCE_SECONDS),
    }
    blocked = [pool.spawn(Doer).ask(waits[how], block=False) for _ in range(6)]
    assert pool.spawn(Recorder, []).ask("free", timeout=PATIENCE_SECONDS) == ("answer", "free")
    event.set()
    future.set(True)
    assert [each.get(timeout=PATIENCE_SECONDS) for each in blocked] == [True] * 6


class HasThread(Doer):
    """Blocks, and says so."""

    own_thread: ClassVar[bool] = True


def test_a_thread_that_comes_back_to_a_full_pool_rests_after_its_turn() -> None:
    """Else every place that was ever lent would add one more thread to those that want the same lock."""
    threads = pool_threads.Threads("test", deque(["work"]), lambda _: None, workers=1, most=2)
    worker = pool_threads.Worker(threads)
    # The one that took its place is awake.
    threads._awake = 1
    threads.take_back(worker)
    surplus = [worker.surplus]
    resting = threading.Thread(target=threads.rest, args=(worker,))
    resting.start()
    assert until(lambda: worker in threads._parked)
    assert [*surplus, worker.surplus] == [True, False]
    threads._wake_one()
    resting.join(PATIENCE_SECONDS)
    assert not resting.is_alive()


def test_what_blocks_on_io_has_a_thread_of_its_own(pools: Callable[..., PoolRuntime]) -> None:
    """And talks with those that share threads, both ways."""
    pool = pools(workers=1, most_threads=1)
    event = threading.Event()
    blocks, shares = pool.spawn(HasThread), pool.spawn(Doer)
    name: Any = blocks.ask(lambda _: threading.current_thread().name, timeout=PATIENCE_SECONDS)
    assert name.startswith("HasThread-")
    blocks.tell(lambda _: event.wait(PATIENCE_SECONDS))
    assert shares.ask(lambda _: "free", timeout=PATIENCE_SECONDS) == "free"
    event.set()
    back: Any = blocks.ask(
        lambda _: shares.ask(lambda _: threading.current_thread().name, timeout=PATIENCE_SECONDS),
        timeout=PATIENCE_SECONDS,
    )
    assert back.startswith("pool")
    assert shares.ask(lambda _: pool.stop(blocks, PATIENCE_SECONDS), timeout=PATIENCE_SECONDS)
    assert not blocks.is_alive()


def test_an_actor_that_stops_itself_does_not_wait_for_itself(pools: Callable[..., PoolRuntime]) -> None:
    """It would wait for ever."""
    pool = pools()
    ref = pool.spawn(Doer)
    assert ref.ask(lambda actor: pool.stop(actor.actor_ref, threading.TIMEOUT_MAX), timeout=PATIENCE_SECONDS) is False
    assert until(lambda: not ref.is_alive())


# -- no message is left lying ------------------------------------------------------------------------------------------


def test_lone_messages_from_many_threads_all_wake_somebody(runtime: Runtime) -> None:
    """Every message finds the pool on its way to sleep, or just asleep: a lost wake-up would leave an ask for ever."""
    refs = [runtime.spawn(Recorder, []) for _ in range(3)]

    def ask() -> None:
        for number in range(700):
            assert refs[number % 3].ask(number, timeout=PATIENCE_SECONDS) == ("answer", number)

    together(ask, ask, ask)


def test_a_message_at_the_end_of_a_turn_is_not_left_lying(pools: Callable[..., PoolRuntime]) -> None:
    """Told after the turn looked for messages and before it gave the claim back: the sender leaves it to the turn."""
    pool = pools()
    seen: list[object] = []
    ref = pool.spawn(Recorder, seen)
    assert until(lambda: seen == ["started"])

    class Interrupted(dict[Any, object]):
        def __delitem__(self, mailbox: Any) -> None:
            if "in between" not in told:
                told.append("in between")
                ref.tell("in between")
            super().__delitem__(mailbox)

    told: list[object] = []
    assert until(lambda: not pool._queue.busy)
    busy = Interrupted()
    pool._queue.busy = busy
    pool._queue.claim = busy.setdefault
    # The worker took the old one along when it woke; the next turns of a new one do not.
    pool.close()
    assert until(lambda: pool.thread_count == 0)
    ref.tell("last")
    assert until(lambda: len(seen) == 3)
    assert seen == ["started", "last", "in between"]


def test_an_actor_that_told_itself_something_while_it_was_made_starts(pools: Callable[..., PoolRuntime]) -> None:
    """Its constructor ends after a thread found it unfinished, and before that thread gave the claim back."""
    pool = pools()
    seen: list[object] = []
    left_alone, spawned = threading.Event(), threading.Event()

    class Interrupted(dict[Any, object]):
        def __delitem__(self, mailbox: Any) -> None:
            left_alone.set()
            assert spawned.wait(PATIENCE_SECONDS)
            super().__delitem__(mailbox)

    class Early(Recorder):
        def __init__(self, seen: list[object]) -> None:
            super().__init__(seen)
            self.actor_ref.tell("early")
            assert left_alone.wait(PATIENCE_SECONDS)

    pool._queue.busy = busy = Interrupted()
    pool._queue.claim = busy.setdefault
    pool.spawn(Early, seen)
    spawned.set()
    assert until(lambda: seen == ["started", "early"])


def test_a_message_while_a_thread_goes_to_rest_is_not_left_lying(
    pools: Callable[..., PoolRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told after the thread found nothing and before it said that it rests: the sender believes it is awake."""
    pool = pools()
    # Nobody else may come to help.
    monkeypatch.setattr(pool._threads, "_start_watch", lambda: None)
    seen: list[object] = []
    rest = pool._threads.rest
    told: list[object] = []

    def interrupted(worker: Any) -> bool:
        if len(told) < 3:
            told.append(len(told))
            (ref,) = pykka.ActorRegistry.get_all()
            ref.tell(told[-1])
        return rest(worker)

    monkeypatch.setattr(pool._threads, "rest", interrupted)
    pool.spawn(Recorder, seen)
    assert until(lambda: len(seen) == 4)
    assert seen == ["started", 0, 1, 2]


def test_an_answer_while_somebody_begins_to_wait_is_not_missed(pools: Callable[..., PoolRuntime]) -> None:
    """Set after the waiter found nothing and before it could be found itself."""
    future = pools().reply()

    class Interrupted(list[Any]):
        def append(self, gate: Any) -> None:
            future.set("answer")
            super().append(gate)

    future._waiters = Interrupted()
    answers: list[object] = []
    # Without a limit: waiting for nothing would be waiting for ever.
    waiter = threading.Thread(target=lambda: answers.append(future.get()), daemon=True)
    waiter.start()
    waiter.join(PATIENCE_SECONDS)
    assert answers == ["answer"]


def test_an_end_while_somebody_begins_to_wait_is_not_missed(pools: Callable[..., PoolRuntime]) -> None:
    """The actor ends after the waiter found it running and before it could be found itself."""
    pool = pools()

    class Interrupted(dict[Any, Any]):
        def setdefault(self, mailbox: Any, gates: Any = None) -> Any:
            assert until(lambda: mailbox.phase == pool_mailbox.ENDED and not pool._queue.busy)
            return super().setdefault(mailbox, gates)

    pool._queue.endings = Interrupted()
    ref = pool.spawn(Recorder, [])
    ended: list[bool] = []
    # Without a limit: waiting for nothing would be waiting for ever.
    waiter = threading.Thread(target=lambda: ended.append(pool.stop(ref, threading.TIMEOUT_MAX)), daemon=True)
    waiter.start()
    waiter.join(PATIENCE_SECONDS)
    assert ended == [True]
    pool._queue.endings = {}


def test_asks_that_race_a_stop_are_all_answered(pools: Callable[..., PoolRuntime]) -> None:
    """With an answer or ActorDeadError. pykka's own threads leave the latest of them waiting for ever."""
    pool = pools()
    outcomes: Counter[str] = Counter()
    for _ in range(60):
        ref = pool.spawn(Recorder, [])
        futures: list[Any] = []

        def ask(ref: Ref = ref, futures: list[Any] = futures) -> None:
            for number in range(30):
                futures.append(ref.ask(number, block=False))

        def stop(ref: Ref = ref) -> None:
            ref.stop(block=False)

        together(ask, stop, ask)
        for future in futures:
            try:
                future.get(timeout=PATIENCE_SECONDS)
                outcomes["answered"] += 1
            except pykka.ActorDeadError:
                outcomes["dead"] += 1
    assert outcomes.total() == 60 * 60


def test_an_ask_that_comes_after_the_end_is_answered(pools: Callable[..., PoolRuntime]) -> None:
    """The asker saw an actor alive, and was held up until it was gone."""
    pool = pools()
    ref = pool.spawn(Recorder, [])
    mailbox = ref.actor_inbox
    assert pool.stop(ref, PATIENCE_SECONDS)
    late, stop = pool.reply(), pool.reply()
    mailbox.put(Envelope("late", reply_to=late))
    mailbox.put(Envelope(pykka.messages._ActorStop(), reply_to=stop))
    mailbox.put(Envelope("told"))
    with pytest.raises(pykka.ActorDeadError):
        late.get(timeout=PATIENCE_SECONDS)
    assert stop.get(timeout=PATIENCE_SECONDS) is None
    assert until(mailbox.empty)


def test_a_hook_that_raises_no_exception_costs_no_thread(pools: Callable[..., PoolRuntime]) -> None:
    """pykka's thread would die of it and leave an actor that never answers; a shared one must serve on."""
    pool = pools(workers=1, most_threads=1)

    class Leaves(Recorder):
        def on_start(self) -> None:
            raise SystemExit

    ref = pool.spawn(Leaves, [])
    pending = ref.ask("pending", block=False)
    with pytest.raises(pykka.ActorDeadError):
        pending.get(timeout=PATIENCE_SECONDS)
    assert not ref.is_alive()
    assert pykka.ActorRegistry.get_all() == []
    assert pool.spawn(Recorder, []).ask("next", timeout=PATIENCE_SECONDS) == ("answer", "next")


def test_a_message_told_inside_the_pools_own_lock_does_not_deadlock(pools: Callable[..., PoolRuntime]) -> None:
    """A destructor or a signal may tell at any line, on the very thread that holds it."""
    pool = pools()
    seen: list[object] = []
    ref = pool.spawn(Recorder, seen)
    assert until(lambda: seen == ["started"])
    with pool._threads._lock:
        ref.tell("within")
    assert until(lambda: seen == ["started", "within"])


# -- nothing stays behind ----------------------------------------------------------------------------------------------


def test_what_has_stopped_is_gone(pools: Callable[..., PoolRuntime], monkeypatch: pytest.MonkeyPatch) -> None:
    """Actor, what its frames held and what it was sent; the references that others keep hold none of it."""
    # pytest keeps each log record, and with it the traceback of the failure below.
    monkeypatch.setattr(logging.getLogger("pykka"), "disabled", True)
    pool = pools()

    class Held:
        pass

    class Local(pykka.ThreadingActor):
        def on_receive(self, message: object) -> None:
            held = Held()
            gone.extend((weakref.ref(self), weakref.ref(held), weakref.ref(message)))

    gone: list[weakref.ref[Any]] = []
    kept = [pool.spawn(Local) for _ in range(20)]
    for ref in kept:
        ref.tell(Held())
    failing = pool.spawn(Recorder, [])
    gone.append(failing._actor_weakref)
    assert gone[0]() is not None
    failing.tell(ValueError("ends it"))
    for ref in kept:
        assert pool.stop(ref, PATIENCE_SECONDS)
    assert until(lambda: not failing.is_alive())
    pool.spawn(Recorder, []).ask("something else", timeout=PATIENCE_SECONDS)
    assert len(gone) == 61

    def nobody() -> bool:
        gc.collect()
        return all(each() is None for each in gone)

    assert until(nobody)


def test_a_mailbox_is_gone_with_its_last_reference(pools: Callable[..., PoolRuntime]) -> None:
    """The pool keeps nothing of an actor that has ended."""
    pool = pools()
    mailboxes: weakref.WeakSet[Any] = weakref.WeakSet()

    def spawn_and_stop() -> None:
        ref = pool.spawn(Recorder, [])
        mailboxes.add(ref)
        assert pool.stop(ref, PATIENCE_SECONDS)
        assert not tell(ref, "late")

    for _ in range(20):
        spawn_and_stop()

    def nobody() -> bool:
        gc.collect()
        return len(mailboxes) == 0

    assert until(nobody)


def test_a_closed_pool_has_no_threads_once_its_actors_rest(pools: Callable[..., PoolRuntime]) -> None:
    """And serves those that are left for as long as they have messages."""
    pool = pools()
    seen: list[object] = []
    ref = pool.spawn(Recorder, seen)
    assert until(lambda: seen == ["started"])
    pool.close()
    assert until(lambda: pool.thread_count == 0)
    assert ref.ask("still there?", timeout=PATIENCE_SECONDS) == ("answer", "still there?")
    assert pool.stop(ref, PATIENCE_SECONDS)
    assert until(lambda: pool.thread_count == 0)


def test_the_registry_answers_as_pykkas_list_does() -> None:
    """With the same order, the same double entries, and no search: nothing is ever compared with another."""

    class Ref:
        compared = 0

        def __eq__(self, other: object) -> bool:
            Ref.compared += 1
            return self is other

        def __hash__(self) -> int:
            return id(self)

    refs: list[Any] = [Ref() for _ in range(50)]
    plain: list[Any] = [*refs, refs[3]]
    kept = Refs(list(refs))
    kept.append(refs[3])
    Ref.compared = 0
    assert Counter(map(id, kept)) == Counter(map(id, plain))
    assert len(kept) == 51
    for ref in [refs[3], refs[40], refs[3], refs[0]]:
        assert ref in kept
        kept.remove(ref)
    assert Ref.compared == 0
    assert refs[0] not in kept
    with pytest.raises(ValueError, match="not registered"):
        kept.remove(refs[0])
    assert [id(ref) for ref in kept[:]] == [id(ref) for at, ref in enumerate(refs) if at not in {0, 3, 40}]
