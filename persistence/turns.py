"""Which shard's batch is next. One turn is one batch, so that reads, renewals and what was just asked for come between.

First come, first served, and whoever has more goes to the end; but a shard in which something was decided goes before
those in which only extremes moved.
"""

from collections.abc import Callable


class Turns:
    """The shards that have something to save. `arrange` asks for a turn, `urgent` tells who may not wait."""

    def __init__(self, arrange: Callable[[], None], urgent: Callable[[str], bool]) -> None:
        self._arrange = arrange
        self._urgent = urgent
        self._shards: dict[str, None] = {}
        self._arranged = False

    def ask(self, shard: str) -> None:
        """This shard wants a turn; asking again changes nothing."""
        self._shards.setdefault(shard)
        if not self._arranged:
            self._arranged = True
            self._arrange()

    def take(self) -> str | None:
        """Whose turn it is. `rest` must follow."""
        self._arranged = False
        shard = next(filter(self._urgent, self._shards), next(iter(self._shards), None))
        if shard is not None:
            del self._shards[shard]
        return shard

    def rest(self) -> None:
        """The turn is over: arrange one for whoever still waits."""
        if self._shards and not self._arranged:
            self._arranged = True
            self._arrange()
