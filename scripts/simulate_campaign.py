"""A campaign at work: runs spread over processes, and the sum of what they came to."""

import itertools
import logging
import multiprocessing
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tests.simulation.campaign import BrokenPromise, Options, run
from tests.simulation.moments import MOMENTS
from tests.simulation.shrink import shrink, told

CHUNK = 25


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run came to, small enough to be handed between processes."""

    options: Options
    crashes: int = 0
    points: int = 0
    reached: tuple[str, ...] = ()
    broken: str = ""
    report: str = ""


@dataclass(slots=True)
class Campaign:
    """The sum of all runs. `crash_runs` are those in which a keeper vanished at least once."""

    say: Callable[[str], None]
    most_failures: int = 5
    runs: int = 0
    crash_runs: int = 0
    crashes: int = 0
    points: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    failures: list[Ran] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, ran: Ran) -> None:
        """Count one run."""
        self.runs += 1
        self.crash_runs += ran.crashes > 0
        self.crashes += ran.crashes
        self.points += ran.points
        self.reached.update(ran.reached)
        self.kinds[kind_of(ran.options)] += 1
        if ran.broken:
            self.failures.append(ran)
            self.say(ran.report)

    def missing(self) -> list[str]:
        """The moments that no run has reached."""
        return [moment for moment in MOMENTS if not self.reached[moment]]

    @property
    def wall_seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def cpu_seconds(self) -> float:
        """Of this process and of those that have ended."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    def summary(self) -> str:
        """One line."""
        cpu = self.cpu_seconds
        rate = self.runs / cpu if cpu else 0.0
        return (
            f"{self.runs:,} runs, {self.crash_runs:,} with crashes ({self.crashes:,} in all), "
            f"{len(self.failures)} broken, {len(MOMENTS) - len(self.missing())} of {len(MOMENTS)} moments, "
            f"{self.wall_seconds:.0f} s, {rate:.0f} runs a CPU-second"
        )


def kind_of(options: Options) -> str:
    """Which part of a campaign a run belongs to."""
    if options.story == "storm":
        return "storms: every fault at once"
    ticks = "prices lost while no keeper runs" if options.lost else "no price lost"
    return f"{'single crash points' if options.crashes else 'random troubles of told stories'}, {ticks}"


def play(campaign: Campaign, options: Iterable[Options], *, jobs: int) -> None:
    """Play all of these, until too many have broken a promise."""
    chunks = _chunks(options)
    if jobs <= 1:
        for chunk in chunks:
            for ran in _work(chunk):
                campaign.add(ran)
            if len(campaign.failures) >= campaign.most_failures:
                return
        return
    # Forked, so that what a process knows of the stories need not be worked out again.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for done in pool.imap_unordered(_work, chunks):
            for ran in done:
                campaign.add(ran)
            if len(campaign.failures) >= campaign.most_failures:
                pool.terminate()
                return
        pool.close()
        pool.join()


def _chunks(options: Iterable[Options]) -> Iterator[list[Options]]:
    left = iter(options)
    while chunk := list(itertools.islice(left, CHUNK)):
        yield chunk


def be_quiet() -> None:
    """What the keepers of a run have to say is not what is asked for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def _work(chunk: list[Options]) -> list[Ran]:
    be_quiet()
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        return [_run(options, Path(folder)) for options in chunk]


def _run(options: Options, folder: Path) -> Ran:
    try:
        result = run(options, folder)
    except BrokenPromise as failure:
        small = shrink(failure, folder)
        report = f"\n{'=' * 100}\n{told(small)}\nfirst    ./scripts/simulate --replay '{options}'"
        return Ran(options, broken=failure.invariant, report=report)
    return Ran(options, crashes=result.crashes, points=result.points, reached=tuple(result.reached))
