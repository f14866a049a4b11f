"""The one thread in which every exchange object lives: an event loop that no actor ever waits for."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class LoopThread:
    """An event loop on a daemon thread of its own, begun when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function on the loop, soon; returns at once."""
        self._started().call_soon_threadsafe(function, *args)

    def start(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run a coroutine on the loop, soon; returns at once."""
        self.call(self._spawn, work)

    def run(self, work: Coroutine[Any, Any, Any], timeout_seconds: float) -> Any:
        """Run a coroutine and wait for its result: for command lines only, never for actors."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result(timeout_seconds)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        # The loop itself keeps only weak references to its tasks.
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="exchanges", daemon=True).start()
            return self._loop


EXCHANGES = LoopThread()
