"""A profile of every thread of a measurement, by the CPU time of each.

The interpreter's profiler sees one thread. Here every thread that starts gets one of its own, on its own CPU clock, so
that waiting (for the interpreter's lock, the disk, a message) is nobody's cost; together they are one table.
"""

import cProfile
import pstats
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any


class _Taken(cProfile.Profile):
    """The figures of one profile, without ending it: its thread may still run."""

    def __init__(self, profile: cProfile.Profile) -> None:
        super().__init__()
        profile.snapshot_stats()
        self.stats: Any = vars(profile)["stats"]

    def create_stats(self) -> None:
        """They are there already."""


class Profiles:
    """The profiles of all threads."""

    def __init__(self) -> None:
        self.each: list[cProfile.Profile] = []

    def begin(self, *_: Any) -> None:
        """Profile the calling thread from now on."""
        profile = cProfile.Profile(time.thread_time)
        self.each.append(profile)
        profile.enable()

    def top(self, count: int = 25) -> str:
        """The functions that cost most by themselves, all threads together."""
        out = StringIO()
        stats: Any = None
        for profile in self.each:
            taken = _Taken(profile)
            if not taken.stats:
                continue
            if stats is None:
                stats = pstats.Stats(taken, stream=out)
            else:
                stats.add(taken)
        if stats is not None:
            stats.strip_dirs().sort_stats("tottime").print_stats(count)
        return out.getvalue()


@contextmanager
def profiled() -> Iterator[Profiles]:
    """Profile this thread and all that start within."""
    profiles = Profiles()
    threading.setprofile(profiles.begin)
    profiles.begin()
    try:
        yield profiles
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
