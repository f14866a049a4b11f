"""What a measurement gives: rows of two figures and their ratio, and the small tools they are measured with."""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 600.0
_POLL_SECONDS = 0.02


class Wrong(Exception):
    """A measurement whose work was not done: its figures would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `held` is None where there is no bar to hold."""

    what: str
    measured: str
    against: str = ""
    ratio: str = ""
    bar: str = ""
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement's rows, and what else is to be known about the run."""

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    took_seconds: float = 0.0
    quick: bool = False
    commit: str = ""
    date: str = ""

    def as_data(self) -> dict[str, Any]:
        """For the document, which is redrawn from it."""
        return asdict(self)

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> "Result":
        """A result that the document has kept."""
        rows = tuple(Row(**row) for row in data["rows"])
        return cls(**{**data, "rows": rows, "notes": tuple(data["notes"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a measurement works with: a folder of its own, and whether it shall be tiny."""

    folder: Path
    quick: bool = False
    say: Callable[[str], None] = print

    def size(self, full: int, quick: int) -> int:
        """The full size, or the tiny one."""
        return quick if self.quick else full

    def sub(self, name: str) -> "Bench":
        """The same in a folder below."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return Bench(folder=folder, quick=self.quick, say=self.say)


@dataclass(slots=True)
class Spent:
    """What a stretch of work cost: wall time, and the CPU time of this whole process."""

    wall: float = 0.0
    cpu: float = 0.0
    rates: list[float] = field(default_factory=list)


@contextmanager
def spent() -> Iterator[Spent]:
    """Time a stretch. Garbage of what came before is collected first, so that it is not on this one's bill."""
    gc.collect()
    found = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield found
    finally:
        found.wall, found.cpu = time.perf_counter() - wall, time.process_time() - cpu


def check(truth: bool, what: str) -> None:
    """The work must have been done. Raises Wrong."""
    if not truth:
        raise Wrong(what)


def wait_until(done: Callable[[], bool], what: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that other threads do. Raises Wrong when it does not come."""
    deadline = time.monotonic() + patience_seconds
    while not done():
        if time.monotonic() > deadline:
            raise Wrong(f"after {patience_seconds:.0f} s still waiting for: {what}")
        time.sleep(_POLL_SECONDS)


def idle_again(*, quiet_seconds: float = 0.25, busy_share: float = 0.05, at_most_seconds: float = 60.0) -> bool:
    """Wait until this process has next to nothing to do; false where it never had, for all of the time."""
    deadline = time.monotonic() + at_most_seconds
    while time.monotonic() < deadline:
        cpu = time.process_time()
        time.sleep(quiet_seconds)
        if time.process_time() - cpu < quiet_seconds * busy_share:
            return True
    return False


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def rss_bytes() -> int:
    """This process's resident memory."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def number(value: float) -> str:
    """A figure as people read it: three digits that count, thousands apart."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def milliseconds(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{seconds * 1000:,.2f} ms"


def times(value: float) -> str:
    """A ratio."""
    return f"{number(value)}×"
