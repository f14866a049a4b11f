"""Runs measurements, each in a fresh process, prints one table, and writes docs/BENCHMARKS.md when asked to.

Exits 0 whatever the figures are; 1 when a measurement found that its own work was not done; 2 for a wrong option.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.bench_document import plain_table, write
from scripts.bench_machine import commit, machine, today, versions
from scripts.bench_profile import profiled
from scripts.bench_row import Bench, Result, Wrong
from scripts.bench_text import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "BENCHMARKS.md"
# Redis's socket lies in the folder, and the kernel takes no long names for one.
PREFIX = "ek-bench-"
TOP_IN_DOCUMENT = 15


def module_of(name: str) -> Any:
    """The module that measures this: its `run` gives a Result, its `hot` is what a profile looks at."""
    return importlib.import_module(f"scripts.bench_{name}")


def measure(name: str, bench: Bench, soak: dict[str, str] | None = None) -> Result:
    """One measurement, in this process."""
    began = time.monotonic()
    module = module_of(name)
    if soak:
        plan = module.Soak(
            minutes=float(soak["minutes"]),
            positions=int(soak["positions"]),
            symbols=int(soak["symbols"]),
            ticks=int(soak["ticks"]),
            volatility=Decimal(soak["volatility"]),
        )
        result: Result = module.soak(bench, plan)
    else:
        result = module.run(bench)
    return replace(
        result, took_seconds=round(time.monotonic() - began, 1), quick=bench.quick, commit=commit(), date=today()
    )


def fresh(name: str, options: argparse.Namespace) -> Result | None:
    """One measurement in a fresh process, so that none inherits another's memory; None where its work was not done."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        out = Path(folder) / "result.json"
        words = [sys.executable, str(Path(__file__).resolve()), "--alone", str(out), name]
        words += ["--quick"] if options.quick else []
        if name == "soak" and not options.quick:
            words += [f"--{each}={getattr(options, each)}" for each in SOAK]
        done = subprocess.run(words, check=False)  # noqa: S603
        if done.returncode or not out.exists():
            return None
        return Result.of_data(json.loads(out.read_text(encoding="utf-8")))


SOAK = {"minutes": "30", "positions": "10000", "symbols": "50", "ticks": "1000", "volatility": "3"}


def profile(name: str, *, quick: bool) -> str:
    """The functions that cost this measurement most."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, profiled() as profiles:
        module_of(name).hot(Bench(folder=Path(folder), quick=quick))
        return profiles.top()


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options. Exits 2 for wrong ones."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; all but the soak without any")
    parser.add_argument("--quick", action="store_true", help="in miniature: shows that it works, and nothing else")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    parser.add_argument("--profile", metavar="NAME", help="show where the time of one goes; with --write keep it")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help=argparse.SUPPRESS)
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    for each, usual in SOAK.items():
        parser.add_argument(f"--{each}", default=usual, help=f"of the soak; {usual} unless said otherwise")
    options = parser.parse_args(words)
    unknown = [name for name in [*options.names, options.profile] if name and name not in SECTIONS]
    if unknown:
        parser.error(f"there is no measurement {unknown[0]}; there are {', '.join(SECTIONS)}")
    try:
        wrong = [each for each in SOAK if Decimal(getattr(options, each)) <= 0]
    except ArithmeticError:
        wrong = ["minutes, --positions, --symbols, --ticks or --volatility"]
    if wrong:
        parser.error(f"--{wrong[0]} is a number above zero")
    return options


def main(words: Sequence[str]) -> int:
    """Do what the options say."""
    options = parse(words)
    if options.list:
        for name, (title, _) in SECTIONS.items():
            print(f"{name:10}{title}")
        return 0
    if options.alone is not None:
        return _alone(options)
    if options.profile:
        found = profile(options.profile, quick=options.quick)
        print(found)
        if options.write:
            kept = "\n".join(found.strip().splitlines()[: TOP_IN_DOCUMENT + 6])
            write(options.document, (), machine(), versions(), {options.profile: kept})
        return 0
    results, failed = [], []
    for name in options.names or [name for name in SECTIONS if name != "soak"]:
        print(f"{name} …", flush=True)
        result = fresh(name, options)
        if result is None:
            failed.append(name)
            continue
        results.append(result)
        # At once: the next one may take an hour.
        if options.write:
            write(options.document, [result], machine(), versions())
    for result in results:
        print(f"\n{SECTIONS[result.name][0]} ({result.took_seconds:.0f} s)")
        print(plain_table(result.rows))
        for note in result.notes:
            print(f"  - {note}")
    if failed:
        print(f"\nwork not done, nothing measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _alone(options: argparse.Namespace) -> int:
    (name,) = options.names
    soak = None
    if name == "soak" and not options.quick:
        soak = {each: getattr(options, each) for each in SOAK}
    bench = Bench(folder=options.alone.parent, quick=options.quick, say=lambda line: print(line, flush=True))
    try:
        result = measure(name, bench, soak)
    except Wrong as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    options.alone.write_text(json.dumps(result.as_data()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
