"""Where the lines of the log go out: in order, as they come, and never to anybody's harm.

A line is written at once. What the stream has buffered is handed to the system at once too, unless that was done a
moment ago: a burst of ten thousand positions writes a hundred thousand lines, and a call of the system for each would
cost more than the line. So a line stays in the process for 20 ms at most, which is what a `kill -9` may take of the
log; warnings and worse, and everything at an orderly end, go out at once. What was decided and done is never only in
the log: the audit trail is saved with the states.
"""

import atexit
import threading
import time
from typing import BinaryIO, Final
from weakref import WeakSet

LATEST_SECONDS: Final = 0.02
"""How long a line may stay in the process."""


class Outlet:
    """A stream, as structlog wants its last logger: a method for each level, told a line without its end.

    The stream's reader may go away: a broken pipe must not end an actor.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._flushed_at = 0.0
        self.waiting = False
        _flusher.serve(self)

    def info(self, line: bytes) -> None:
        """A line that may wait for a moment."""
        self.write(line + b"\n")

    def error(self, line: bytes) -> None:
        """A line that goes out at once."""
        self.write(line + b"\n", at_once=True)

    msg = debug = log = info
    warning = warn = exception = critical = fatal = failure = err = error

    def write(self, data: bytes, *, at_once: bool = False) -> None:
        """Write whole lines. Any thread may, for the stream's own lock keeps them whole."""
        try:
            self._stream.write(data)
        except (OSError, ValueError, RuntimeError):
            return
        if at_once:
            self.flush()
        elif not self.waiting:
            if time.monotonic() - self._flushed_at >= LATEST_SECONDS:
                self.flush()
            else:
                self.waiting = True
                _flusher.wake()

    def flush(self) -> None:
        """Hand over what was written."""
        # In this order: whoever still sees it waiting has written before.
        self.waiting = False
        self._flushed_at = time.monotonic()
        # Not contextlib.suppress, which costs a microsecond a line. RuntimeError: a signal's handler may come in the
        # middle of a write.
        try:  # noqa: SIM105
            self._stream.flush()
        except (OSError, ValueError, RuntimeError):
            pass


class _Flusher:
    """The thread that hands over what waits; there is none before it is needed."""

    def __init__(self) -> None:
        self._outlets: WeakSet[Outlet] = WeakSet()
        # Entered again by a signal that comes in the middle.
        self._lock = threading.RLock()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._thread: threading.Thread | None = None

    def serve(self, outlet: Outlet) -> None:
        """One more."""
        with self._lock:
            self._outlets.add(outlet)

    def wake(self) -> None:
        """Something waits."""
        if self._thread is None:
            try:
                thread = threading.Thread(target=self._run, name="log-flush", daemon=True)
                thread.start()
            except RuntimeError:
                # The machine gives no more threads, or the process is about to end.
                self.flush_waiting()
                return
            self._thread = thread
        try:  # noqa: SIM105
            self._gate.release()
        except RuntimeError:
            # It is awake already.
            pass

    def flush_waiting(self) -> None:
        """Hand over whatever waits."""
        with self._lock:
            waiting = [outlet for outlet in self._outlets if outlet.waiting]
        for outlet in waiting:
            outlet.flush()

    def _run(self) -> None:
        while True:
            self._gate.acquire()
            time.sleep(LATEST_SECONDS)
            self.flush_waiting()


_flusher: Final = _Flusher()
# To be called by hand only before an end that skips the usual one (os._exit).
flush_waiting: Final = _flusher.flush_waiting
atexit.register(flush_waiting)
