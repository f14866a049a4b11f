"""The threads of the pool: how many are awake, and who helps when one is stuck.

Under Python's global lock a second thread adds no speed to actors that compute; it only lets another go on while one
waits. So a message wakes a thread only when none is awake. Everything else is left to a watch that looks, while there
is work, whether the queue moves:

    nobody is awake                        the sender wakes a worker
    messages still wait at the next look   the watch wakes another, up to `workers`
    the same actor still waits for a turn  every awake thread is stuck: the watch adds a spare, up to `most`
    an actor waits for a future            its thread lends its place for as long
    some have messages that may wait       the watch makes a few of them ready at each look
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, Final, Protocol

import structlog

_LOOK_SECONDS: Final = 0.01
"""How often the watch looks. An actor behind a stuck one waits about this long."""

_QUIET_LOOKS: Final = 30
"""After so many looks at an empty queue the watch rests."""

_STUCK_LOOKS: Final = 3
"""A spare thread is added after so many looks at a queue that does not move: a machine may be slow for a moment."""

_SPARE_SECONDS: Final = 5.0
"""How long a thread beyond `workers` waits for work before it ends."""

_MADE_READY: Final = 8
"""How many of those that may wait are made ready at each look while something is pressing."""

_here = threading.local()
_log = structlog.get_logger(__name__)


def wait_limit(timeout_seconds: float | None) -> float:
    """The same in the words of a lock's `acquire`."""
    return -1 if timeout_seconds is None else min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX)


@contextmanager
def lent() -> Iterator[None]:
    """While a thread of a pool waits for something, another takes its place; nothing happens on any other thread."""
    worker = current_worker()
    if worker is None:
        yield
        return
    worker.threads.lend()
    try:
        yield
    finally:
        worker.threads.take_back(worker)


def current_worker() -> "Worker | None":
    """The worker whose thread this is."""
    worker: Worker | None = getattr(_here, "worker", None)
    return worker


class Worker:
    """One thread of a pool, and what it waits on while nothing is to do."""

    def __init__(self, threads: "Threads") -> None:
        self.threads = threads
        self.gate = threading.Lock()
        self.gate.acquire()
        self.turn_of: Any = None
        self.surplus = False

    def run(self) -> None:
        """Take turns until the pool has no more need of this thread."""
        _here.worker = self
        while True:
            self.threads.take_turns(self)
            self.turn_of = None
            if not self.threads.rest(self):
                return


class Leisure(Protocol):
    """What may wait while something is pressing."""

    @property
    def at_leisure(self) -> Sized:
        """All of it."""

    def make_some_ready(self, least: int) -> bool:
        """Make it ready: all of it, or so much while something is pressing; whether there was any."""


class _NothingWaits:
    at_leisure = ()

    def make_some_ready(self, least: int) -> bool:
        return False


class Threads:
    """Wakes, parks, adds and retires the threads that take turns from `ready`.

    `calm` says that a sender need not care: somebody is awake, and the watch is on.
    """

    def __init__(
        self,
        name: str,
        ready: deque[Any],
        take_turns: Callable[[Worker], None],
        *,
        workers: int,
        most: int,
        leisure: Leisure | None = None,
    ) -> None:
        self.calm = False
        self.take_turns = take_turns
        self._name = name
        self._ready = ready
        self._leisure = leisure or _NothingWaits()
        self._workers = workers
        self._most = most
        # Senders come here only when it is not calm. Entered again by the thread that holds it (a destructor, a signal
        # that tells a message), the worst that comes of it is a thread too many.
        self._lock = threading.RLock()
        self._all: set[Worker] = set()
        self._parked: list[Worker] = []
        self._awake = 0
        self._watching = False
        self._watch: threading.Thread | None = None
        self._watch_gate = threading.Lock()
        self._watch_gate.acquire()
        self._numbers = 0
        self._closed = False

    # -- what senders do -----------------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Something is ready, and it is not certain that anybody will take it."""
        with self._lock:
            if self._awake == 0:
                self._wake_one()
            elif not self._watching:
                self._start_watch()
            self._see()

    def close(self) -> None:
        """Let threads end as soon as nothing is to do. Later messages start one again, for as long as there are any."""
        with self._lock:
            self._closed = True
            parked, self._parked = self._parked, []
            self._awake += len(parked)
            for worker in parked:
                worker.gate.release()
            if self._watch is not None and not self._watching:
                self._watching = True
                self._watch_gate.release()

    def count(self) -> int:
        """How many threads there are, without the watch."""
        return len(self._all)

    # -- what workers do -----------------------------------------------------------------------------------------------

    def rest(self, worker: Worker) -> bool:
        """Wait until there is something to do; false when the thread shall end."""
        with self._lock:
            self._awake -= 1
            self._see()
            surplus, worker.surplus = worker.surplus and self._awake >= self._workers, False
            # A sender appends, then looks whether anybody is awake. So this looks for work after it is not.
            if not surplus and (self._ready or self._leisure.make_some_ready(0)):
                self._awake += 1
                self._see()
                return True
            if self._closed and not self._leisure.at_leisure:
                self._all.discard(worker)
                return False
            self._parked.append(worker)
            # What waits because something is pressing becomes ready when the watch looks.
            if self._leisure.at_leisure and not self._watching:
                self._start_watch()
                self._see()
        return self._sleep(worker)

    def _sleep(self, worker: Worker) -> bool:
        while not worker.gate.acquire(timeout=_SPARE_SECONDS if self._has_spares() else -1):
            with self._lock:
                if worker not in self._parked:
                    # Somebody wakes it in this very moment.
                    continue
                if self._has_spares():
                    self._parked.remove(worker)
                    self._all.discard(worker)
                    return False
        return True

    def _has_spares(self) -> bool:
        return len(self._all) > self._workers

    def lend(self) -> None:
        """This thread waits inside a turn; others may need its place."""
        with self._lock:
            self._awake -= 1
            if self._ready and self._awake == 0:
                self._wake_one()
            self._see()

    def take_back(self, worker: Worker) -> None:
        """It goes on. There may be one more than there should be, until the end of its turn."""
        with self._lock:
            self._awake += 1
            worker.surplus = self._awake > self._workers
            self._see()

    # -- under the lock ------------------------------------------------------------------------------------------------

    def _see(self) -> None:
        self.calm = self._awake > 0 and self._watching

    def _wake_one(self) -> None:
        if self._parked:
            # The one that rested last: its memory is warm, and those below it may retire.
            worker = self._parked.pop()
            self._awake += 1
            worker.gate.release()
            return
        if len(self._all) >= self._most:
            return
        worker = Worker(self)
        self._numbers += 1
        thread = threading.Thread(target=worker.run, name=f"{self._name}-{self._numbers}", daemon=True)
        self._all.add(worker)
        self._awake += 1
        try:
            thread.start()
        except RuntimeError:
            # The machine gives no more threads. Where there is none at all, the sender must know.
            self._all.discard(worker)
            self._awake -= 1
            if not self._all:
                raise
        if len(self._all) == self._most > self._workers:
            _log.warning("pool.threads_exhausted", threads=self._most, remedy="too many actors block inside a turn")

    def _start_watch(self) -> None:
        self._watching = True
        if self._watch is not None:
            self._watch_gate.release()
            return
        self._watch = threading.Thread(target=self._look_on, name=f"{self._name}-watch", daemon=True)
        try:
            self._watch.start()
        except RuntimeError:
            # No more threads for now: the next sender tries again. This one's message will be handled without.
            self._watching, self._watch = False, None

    # -- the watch -----------------------------------------------------------------------------------------------------

    def _look_on(self) -> None:
        while True:
            self._look_until_quiet()
            with self._lock:
                self._watching = False
                self._see()
                # As in `rest`: a sender that saw the watch on has appended before this.
                if self._ready or self._leisure.at_leisure:
                    self._watching = True
                    self._see()
                    continue
                if self._closed:
                    self._watch = None
                    return
            self._watch_gate.acquire()

    def _look_until_quiet(self) -> None:
        quiet = same = before = 0
        while quiet < _QUIET_LOOKS:
            time.sleep(_LOOK_SECONDS)
            if self._leisure.at_leisure:
                self._leisure.make_some_ready(_MADE_READY)
            try:
                # Only its identity: the watch must keep nothing alive.
                first = id(self._ready[0])
            except IndexError:
                quiet, same, before = quiet + 1, 0, 0
                continue
            same = same + 1 if first == before else 0
            quiet, before = 0, first
            with self._lock:
                if self._awake < self._workers or same >= _STUCK_LOOKS:
                    self._wake_one()
                    same = 0
                self._see()
