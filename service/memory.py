"""The garbage collector while the service boots: off, then told to leave alone what was loaded.

Every position that is loaded stays. A collector that runs meanwhile looks through all of them again and again, each
time for longer, and finds nothing. Once the accounts have resumed, what is there is frozen (no later run looks at it),
and the collector goes on with what comes after.
"""

import gc
import threading
from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05
# Messages come and go without cycles. Looked for after every 700 of them, as by default, those that are just under way
# were taken for survivors: a burst of ten thousand targets took a fifth longer.
_THRESHOLDS: Final = (50_000, 20, 20)


class BootMemory:
    """Holds the collector back from `begin` until `resumed` holds, at most for `limit_seconds`."""

    def __init__(self, resumed: Callable[[], bool], *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._resumed = resumed
        self._limit_seconds = limit_seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._thresholds: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Switch the collector off, unless somebody has done so: then it is theirs to switch on."""
        if self._thread is not None or not gc.isenabled():
            return
        gc.disable()
        self._thread = threading.Thread(target=self._hold, name="boot-memory", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The service stops: collect as usual, whether or not it had resumed, and what was frozen too."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._over.set()
        thread.join()
        gc.unfreeze()
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            self._thresholds = None

    def _hold(self) -> None:
        looks = int(self._limit_seconds / _LOOK_SECONDS)
        for _ in range(looks):
            if self._over.wait(_LOOK_SECONDS) or self._resumed():
                break
        # Nothing is collected first: that would be the very walk through everything that this saves.
        gc.freeze()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
