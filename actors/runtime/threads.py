"""A thread per actor, as in plain pykka, and the machine's clock.

Threads are daemons, so that an actor stuck in a library cannot keep the process from ending: what matters is saved.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pykka

from actors.runtime.base import Ref
from actors.runtime.hosting import Hosted, hosted
from actors.runtime.system_clock import SystemClock

_numbers = itertools.count(1)


class _Threaded(Hosted):
    """Runs pykka's loop on a thread that its runtime knows."""

    _hosted_threads: ClassVar[dict[str, threading.Thread]]

    def _start_actor_loop(self) -> None:
        thread = threading.Thread(target=self._hosted_run, name=f"{type(self).__name__}-{next(_numbers)}", daemon=True)
        self._hosted_threads[self.actor_urn] = thread
        try:
            thread.start()
        except RuntimeError:
            # The machine gives no more threads. pykka has registered the actor already, and would list a ghost.
            del self._hosted_threads[self.actor_urn]
            pykka.ActorRegistry.unregister(self.actor_ref)
            self.actor_stopped.set()
            raise

    def _hosted_run(self) -> None:
        try:
            self._actor_loop()
        finally:
            self._hosted_threads.pop(self.actor_urn, None)


class ThreadRuntime:
    """Spawns actors on a thread each. Mailboxes and futures are pykka's own unless others are given."""

    def __init__(
        self,
        *,
        clock: SystemClock | None = None,
        inbox_class: Callable[[], Any] | None = None,
        future_class: Callable[[], pykka.Future[Any]] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._parts: dict[str, Any] = {}
        if inbox_class is not None:
            self._parts["_create_actor_inbox"] = staticmethod(inbox_class)
        if future_class is not None:
            self._parts["_create_future"] = staticmethod(future_class)
        self._threads: dict[str, threading.Thread] = {}
        self._classes: dict[type[pykka.ThreadingActor], type[pykka.ThreadingActor]] = {}

    @property
    def clock(self) -> SystemClock:
        """The machine's time."""
        return self._clock

    def spawn(self, actor_class: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Ref:
        """Start an actor; what its `__init__` raises is raised here. `on_start` may still fail, on its thread."""
        cls = self._classes.get(actor_class)
        if cls is None:
            namespace = self._parts | {"_hosted_clock": self._clock, "_hosted_threads": self._threads}
            cls = self._classes[actor_class] = hosted(actor_class, _Threaded, namespace)
        return cls.start(*args, **kwargs)

    def spawn_asleep(self, actor_class: type[pykka.ThreadingActor], make: Callable[[], tuple[Any, ...]]) -> Ref:
        """Start an actor: its thread would have to wait for its first message anyway."""
        return self.spawn(actor_class, *make())

    def reply(self) -> "pykka.ThreadingFuture[Any]":
        """A fresh place for one answer. Setting it twice raises queue.Full, as pykka's futures do."""
        return pykka.ThreadingFuture()

    def stop(self, ref: Ref, timeout_seconds: float) -> bool:
        """Stop an actor after the messages before; false when it did not end in time. Never raises; 0 only asks.

        Waits for the thread, not for pykka's answer: a stop that races another one is never answered, and an answer
        comes before the thread has ended.
        """
        ref.stop(block=False)
        thread = self._threads.get(ref.actor_urn)
        if thread is None:
            return not ref.is_alive()
        if thread is threading.current_thread():
            return False
        thread.join(max(0.0, timeout_seconds))
        return not thread.is_alive()

    def let_wait_while(self, pressing: Callable[[], object]) -> None:
        """Every actor has a thread: nothing waits."""

    def close(self) -> None:
        """End the timers. Actors that still run are left to end with the process."""
        self._clock.close()
