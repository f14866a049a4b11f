"""The runtime of the service: many actors on a few threads, in pykka's own loop, with the machine's clock.

An actor is queued only while messages wait for it, and handles a bounded number of them before others have their turn:

    tell ── mailbox ── ready ── a thread takes the mailbox, runs the actor's loop, puts it back while messages wait
              └─ claimed from the first message to the end of its last turn: so no two threads ever run one actor

What blocks in a library says so (`own_thread` on its class) and has a thread. Threads are daemons, so that an actor
stuck in a library cannot keep the process from ending: what matters is saved.
"""

import contextlib
import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import pykka
import structlog
from pykka import messages
from pykka._envelope import Envelope

from actors.runtime import pool_registry
from actors.runtime.base import Ref
from actors.runtime.hosting import hosted
from actors.runtime.pool_future import PoolFuture
from actors.runtime.pool_mailbox import (
    ADMITTED,
    ASLEEP,
    ENDED,
    NEW,
    STARTED,
    Asleep,
    Groundwork,
    Mailbox,
    Pooled,
    PoolRef,
    Queue,
    TurnOver,
    Urns,
)
from actors.runtime.pool_threads import Threads, Worker, current_worker, lent, wait_limit
from actors.runtime.system_clock import SystemClock
from actors.runtime.threads import ThreadRuntime

_MOST_THREADS: Final = 256
_numbers = itertools.count(1)
_log = structlog.get_logger(__name__)


def default_workers() -> int:
    """As many as this process may use cores; at least 2, for one may be stuck; at most 4, for one lock holds all."""
    return min(4, max(2, len(os.sched_getaffinity(0))))


class PoolRuntime:
    """Spawns actors that share `workers` threads; up to `most_threads` while some of them are blocked."""

    def __init__(self, *, workers: int | None = None, most_threads: int = _MOST_THREADS) -> None:
        pool_registry.install()
        self._clock = SystemClock()
        self._own = ThreadRuntime(clock=self._clock, inbox_class=queue.SimpleQueue, future_class=PoolFuture)
        self._queue = Queue()
        self._threads = self._queue.attention = Threads(
            f"pool{next(_numbers)}",
            self._queue.ready,
            self._take_turns,
            workers=workers or default_workers(),
            most=most_threads,
            leisure=self._queue,
        )
        self._urns = Urns()
        self._classes: dict[type[pykka.ThreadingActor], type[pykka.ThreadingActor]] = {}

    @property
    def clock(self) -> SystemClock:
        """The machine's time."""
        return self._clock

    def let_wait_while(self, pressing: Callable[[], object]) -> None:
        """While something is pressing, messages told at leisure wait, but for some at each look of the watch."""
        self._queue.pressing.append(pressing)

    @property
    def thread_count(self) -> int:
        """How many threads the actors share now."""
        return self._threads.count()

    def spawn(self, actor_class: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Ref:
        """Start an actor; what its `__init__` raises is raised here. `on_start` may still fail, in its first turn."""
        if getattr(actor_class, "own_thread", False):
            return self._own.spawn(actor_class, *args, **kwargs)
        return self._class_of(actor_class).start(*args, **kwargs)

    def spawn_asleep(self, actor_class: type[pykka.ThreadingActor], make: Callable[[], tuple[Any, ...]]) -> Ref:
        """An actor that is made for its first message; of pings it hears nothing before. pykka's registry has it from
        then on.
        """
        if getattr(actor_class, "own_thread", False):
            return self._own.spawn_asleep(actor_class, make)
        cls = self._class_of(actor_class)
        mailbox = Mailbox(self._queue)
        ref = PoolRef(cls, self._urns(), mailbox)
        mailbox.actor = Asleep(cls, make, ref)
        mailbox.phase = ASLEEP
        return ref

    def _class_of(self, actor_class: type[pykka.ThreadingActor]) -> type[pykka.ThreadingActor]:
        cls = self._classes.get(actor_class)
        if cls is None:
            namespace = {
                "_hosted_clock": self._clock,
                "_pool": self,
                "_pool_urns": self._urns,
                "_create_actor_inbox": staticmethod(functools.partial(Mailbox, self._queue)),
                "_create_future": staticmethod(PoolFuture),
            }
            cls = self._classes[actor_class] = hosted(actor_class, Pooled, namespace, Groundwork)
        return cls

    def reply(self) -> PoolFuture:
        """A fresh place for one answer. Setting it twice raises queue.Full, as pykka's futures do."""
        return PoolFuture()

    def stop(self, ref: Ref, timeout_seconds: float) -> bool:
        """Stop an actor after the messages before; false when it did not end in time. Never raises; 0 only asks.

        Waits until the actor is gone, not for pykka's answer, which comes before.
        """
        mailbox = ref.actor_inbox
        if not isinstance(mailbox, Mailbox):
            with lent():
                return self._own.stop(ref, timeout_seconds)
        ref.stop(block=False)
        worker = current_worker()
        if timeout_seconds > 0 and (worker is None or worker.turn_of is not mailbox):
            self._wait_for_end(mailbox, timeout_seconds)
        return mailbox.phase == ENDED

    def close(self) -> None:
        """End the timers, and each thread as soon as it has nothing to do. Actors that run go on until they end."""
        self._clock.close()
        self._threads.close()

    # -- turns ---------------------------------------------------------------------------------------------------------

    def admit(self, mailbox: Mailbox, actor: pykka.Actor) -> None:
        """Let an actor run that pykka has made and registered. Raises RuntimeError where no thread can be had."""
        mailbox.actor = actor
        mailbox.phase = ADMITTED
        # What its constructor told itself may have queued it already, and will have been left alone.
        if self._queue.claim(mailbox, actor) is not actor:
            return
        self._queue.make_ready(mailbox)
        if not self._threads.calm:
            try:
                self._threads.attend()
            except RuntimeError:
                pykka.ActorRegistry.unregister(actor.actor_ref)
                actor.actor_stopped.set()
                raise

    def _take_turns(self, worker: Worker) -> None:
        """Run actors until none is ready, or this thread is one too many."""
        take, give_back, busy = self._queue.ready.popleft, self._queue.make_ready, self._queue.busy
        while not worker.surplus:
            try:
                mailbox = take()
            except IndexError:
                if self._queue.make_some_ready(0):
                    continue
                return
            worker.turn_of = mailbox
            actor: Any = mailbox.actor
            phase = mailbox.phase
            try:
                if phase == STARTED:
                    actor._actor_loop_running()
                    # It stopped: otherwise its mailbox has ended the turn.
                    self._end(mailbox, actor)
                elif phase == ADMITTED:
                    mailbox.phase = STARTED
                    actor._actor_loop_setup()
                    actor._actor_loop_running()
                    self._end(mailbox, actor)
                elif phase == ASLEEP:
                    self._wake(mailbox, actor)
                elif phase == ENDED:
                    _answer_late(mailbox)
                else:
                    self._leave_alone(mailbox)
                    continue
            except TurnOver:
                pass
            except BaseException as error:  # noqa: BLE001 - pykka's thread would die, and leave an actor that never answers.
                self._end_by(mailbox, actor, error)
            mailbox.forget_taken()
            if mailbox.waiting:
                give_back(mailbox)
                continue
            del busy[mailbox]
            # Whoever still saw the claim has appended before: that message must not lie there until the next.
            if mailbox.waiting:
                self._claim_again(mailbox)

    def _wake(self, mailbox: Mailbox, asleep: Asleep) -> None:
        """Make the actor that these messages are for, unless none of them needs it, and let it run its first turn."""
        if asleep.answer_pings(mailbox, self._clock):
            return
        try:
            actor: Any = asleep.wake()
        except BaseException as error:  # noqa: BLE001 - the thread would die; a dead actor is found by its next ping.
            _log.error("pool.actor_not_made", actor=mailbox.actor, exc_info=error)
            mailbox.set()
            mailbox.actor = None
            mailbox.phase = ENDED
            self._release_waiting(mailbox)
            return
        mailbox.phase = STARTED
        try:
            actor._actor_loop_setup()
            actor._actor_loop_running()
        except TurnOver:
            return
        except BaseException as error:  # noqa: BLE001 - as in _take_turns, by its own name.
            self._end_by(mailbox, actor, error)
            return
        self._end(mailbox, actor)

    def _claim_again(self, mailbox: Mailbox) -> None:
        mark = object()
        if self._queue.claim(mailbox, mark) is mark:
            self._queue.make_ready(mailbox)

    def _leave_alone(self, mailbox: Mailbox) -> None:
        # Its actor told itself something in its constructor, which still runs, or has failed.
        del self._queue.busy[mailbox]
        if mailbox.phase != NEW:
            self._claim_again(mailbox)

    # -- endings -------------------------------------------------------------------------------------------------------

    def _end(self, mailbox: Mailbox, actor: pykka.Actor) -> None:
        mailbox.forget_taken()
        try:
            actor._actor_loop_teardown()
        except TurnOver:
            # More of them wait than one turn handles. The rest is answered late.
            pass
        except Exception:  # noqa: BLE001 - an asker that was answered already; the others must be answered too.
            _log.exception("pool.answer_refused", actor=actor.actor_urn)
        mailbox.actor = None
        mailbox.phase = ENDED
        self._release_waiting(mailbox)

    def _end_by(self, mailbox: Mailbox, actor: pykka.Actor, error: BaseException) -> None:
        _log.error("pool.actor_lost", actor=str(actor), exc_info=error)
        pykka.ActorRegistry.unregister(actor.actor_ref)
        actor.actor_stopped.set()
        self._end(mailbox, actor)

    def _wait_for_end(self, mailbox: Mailbox, timeout_seconds: float) -> None:
        gate = threading.Lock()
        gate.acquire()
        gates = mailbox.queue.endings.setdefault(mailbox, [])
        gates.append(gate)
        # Whoever ends it looks for gates after it has ended; so this looks for the end after its gate is there.
        if mailbox.phase == ENDED:
            self._release_waiting(mailbox)
            return
        with lent():
            ended = gate.acquire(timeout=wait_limit(timeout_seconds))
        if not ended:
            with contextlib.suppress(ValueError):
                gates.remove(gate)

    def _release_waiting(self, mailbox: Mailbox) -> None:
        for gate in mailbox.queue.endings.pop(mailbox, ()):
            gate.release()


def _answer_late(mailbox: Mailbox) -> None:
    """Answer what came in when the actor had ended. pykka leaves whoever asks in that moment waiting for ever."""
    waiting = mailbox.waiting[:]
    del mailbox.waiting[: len(waiting)]
    for envelope in waiting:
        if type(envelope) is not Envelope or envelope.reply_to is None:
            continue
        # Somebody may have answered it already; there is nobody to tell.
        with contextlib.suppress(queue.Full):
            if isinstance(envelope.message, messages._ActorStop):
                envelope.reply_to.set(None)
            else:
                error = pykka.ActorDeadError("the actor stopped before it handled the message")
                envelope.reply_to.set_exception((type(error), error, None))
