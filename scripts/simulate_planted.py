"""`scripts/simulate --planted`: every fault of the catalogue planted, and which promise catches it after how many runs.

A campaign of random runs looks for each. What it does not come across in so many is shown by the run that is known to
show it; what hides behind another defence is caught in a pair, and alone by the test that is named.
"""

import argparse
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from scripts.simulate_proof import write_section
from tests.simulation.campaign import Options, options_for
from tests.simulation.planted import CATALOGUE, Caught, catch, falls, known_run
from tests.simulation.planted_seen import TESTS
from tests.simulation.planting import Plant

BEGIN, END = "<!-- planted: written by scripts/simulate --planted -->", "<!-- end of planted -->"
PROOF = Path(__file__).resolve().parent.parent / "docs" / "PROOF.md"
RUNS = 120
DRAWN = 4


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one fault. `by_test`: no run shows it alone, and this test falls."""

    plant: Plant
    caught: Caught | None
    known: bool = False
    by_test: str = ""

    @property
    def survives(self) -> bool:
        """Whether nothing noticed."""
        return self.caught is None and not self.by_test

    def cells(self) -> tuple[str, str, str, str, str]:
        """Fault, single or pair, caught by, runs, how to see it again."""
        kind = "pair" if self.plant.pair else "single"
        if self.caught is not None:
            runs = "known" if self.known else str(self.caught.runs)
            return self.plant.name, kind, self.caught.promise, runs, str(self.caught.options)
        if self.by_test:
            return self.plant.name, kind, "a test", "", self.by_test.replace("tests.", "", 1)
        return self.plant.name, kind, "NOTHING", "", ""


def main(words: Sequence[str]) -> int:
    """Print the table; 1 when a planted fault survives."""
    parser = argparse.ArgumentParser(prog="simulate --planted", description=__doc__)
    parser.add_argument("names", nargs="*", help="these faults only")
    parser.add_argument("--runs", type=int, default=RUNS, help="random runs that look for each")
    parser.add_argument("--write", action="store_true", help="also write the table into docs/PROOF.md")
    asked = parser.parse_args(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    rows = []
    for name in asked.names or CATALOGUE:
        rows.append(look_for(CATALOGUE[name], asked.runs))
        _say(rows[-1])
    if asked.write:
        write_section(PROOF, BEGIN, END, table(rows))
    survivors = [row.plant.name for row in rows if row.survives]
    sys.stdout.write(f"{len(rows)} planted faults, {len(survivors)} survive {', '.join(survivors)}\n")
    return 1 if survivors else 0


def look_for(plant: Plant, runs: int) -> Row:
    """What catches this fault: random runs, the known one, or its own test."""
    if plant.name not in TESTS or known_run(plant) is not None:
        found = catch(plant, _random_runs(runs))
        if found is not None:
            return Row(plant, found)
        known = known_run(plant)
        found = None if known is None else catch(plant, [known])
        if found is not None:
            return Row(plant, found, known=True)
    if plant.name in TESTS and falls(plant):
        return Row(plant, None, by_test=TESTS[plant.name][0])
    return Row(plant, None)


def table(rows: Sequence[Row]) -> str:
    """As docs/PROOF.md shows it."""
    caught = [row for row in rows if not row.survives]
    lines = [
        "",
        f"Run on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {len(caught)} of {len(rows)} are caught; "
        f"{sum(bool(row.plant.pair) for row in rows)} of them are pairs. `runs` counts random runs until one "
        "noticed; where none did, the run that is known to show it is given. Where a test is named, another defence "
        "hides the fault, or the simulated exchange does not do what it is for: that test looks at this defence alone, "
        "and falls.",
        "",
        "| planted fault | what it breaks | | caught by | runs | replay, with the fault planted |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    for row in rows:
        name, kind, promise, runs, replay = row.cells()
        lines.append(f"| {name} | {row.plant.breaks} | {kind} | {promise} | {runs} | `{replay}` |")
    return "\n".join([*lines, ""])


def _random_runs(runs: int) -> Iterator[Options]:
    return itertools.islice(options_for(itertools.count(1), DRAWN), runs)


def _say(row: Row) -> None:
    name, kind, promise, runs, replay = row.cells()
    sys.stdout.write(f"{name:70} {kind:6} {promise:32} {runs:>5}  {replay}\n")
    sys.stdout.flush()
