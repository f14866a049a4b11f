"""The garbage collector: off while the service boots, then told to leave alone what was loaded.

Every position that is loaded stays. A collector that runs meanwhile looks through all of them again and again, each
time for longer, and finds nothing. Once the accounts have resumed, what is there is frozen (no later run looks at it),
and the collector goes on with what is young. It never walks through everything by itself: with ten thousand positions
each walk stopped every actor for half a second, and found nothing, because what ends leaves no cycles. Should memory
grow all the same, everything is looked through then.
"""

import gc
import sys
import threading
from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05
# Messages come and go without cycles. Looked for after every 700 of them, as by default, those that are just under way
# were taken for survivors: a burst of ten thousand targets took a fifth longer.
_THRESHOLDS: Final = (50_000, 20, 1_000_000)
# A walk is worth its pause once there is a quarter more than after the last, and about 50 MB at least.
GROWTH_BLOCKS: Final = 500_000
_WATCH_SECONDS: Final = 10.0


class BootMemory:
    """Holds the collector back from `begin` until `resumed` holds, at most for `limit_seconds`; then watches growth."""

    def __init__(
        self,
        resumed: Callable[[], bool],
        *,
        limit_seconds: float = LIMIT_SECONDS,
        watch_seconds: float = _WATCH_SECONDS,
        growth_blocks: int = GROWTH_BLOCKS,
    ) -> None:
        self.booted = threading.Event()
        self.walks = 0
        self._resumed = resumed
        self._limit_seconds = limit_seconds
        self._watch_seconds = watch_seconds
        self._growth_blocks = growth_blocks
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._thresholds: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Switch the collector off, unless somebody has done so: then it is theirs to switch on."""
        if self._thread is not None or not gc.isenabled():
            return
        gc.disable()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
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

    def _run(self) -> None:
        self._hold()
        self.booted.set()
        limit = self._limit()
        while not self._over.wait(self._watch_seconds):
            if sys.getallocatedblocks() > limit:
                gc.unfreeze()
                gc.collect()
                gc.freeze()
                self.walks += 1
                limit = self._limit()

    def _limit(self) -> int:
        present = sys.getallocatedblocks()
        return present + max(present // 4, self._growth_blocks)

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
