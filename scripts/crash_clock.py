"""How far a keeper's wall clock is off, in a file that the one who sets it and the keeper both map."""

import mmap
import struct
from pathlib import Path

_FORMAT = "<q"


class ClockFile:
    """Microseconds that are added to the wall clock; a change counts from the next look on."""

    def __init__(self, path: Path) -> None:
        """A file that does not exist begins with a clock that is right."""
        self.path = path
        if not path.exists():
            path.write_bytes(struct.pack(_FORMAT, 0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), struct.calcsize(_FORMAT))

    def step(self, seconds: float) -> None:
        """The clock is off by this much from now on."""
        struct.pack_into(_FORMAT, self._map, 0, round(seconds * 1_000_000))

    def micros(self) -> int:
        """By how much it is off."""
        found: int = struct.unpack_from(_FORMAT, self._map)[0]
        return found
