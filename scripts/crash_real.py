"""Real faults: what happens to Redis, the network, the disk, the memory, the clocks and the append-only file.

    ./scripts/crash --faults redis,network,disk,memory,clock,aof,pauses [--long] [--seed N] [--write]

Each mode plays its faults on real processes and prints a table; the exchange's own journal is the judge. What fails
keeps its folder and says where. `--write` puts the results into docs/PROOF.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.crash_aof import cut
from scripts.crash_campaign import ROOT
from scripts.crash_faults import LONG_SECONDS, SHORT_SECONDS, network_faults, redis_faults
from scripts.crash_machine import clock_faults, disk_faults, memory_faults, read_only_start, small_disk
from scripts.crash_pauses import Pauses, play_pauses
from scripts.crash_proof import write_proof
from scripts.crash_stand import Stand
from scripts.crash_trial import HEADINGS, Fault, Row, play

Say = Callable[[str], object]
MODES = ("redis", "network", "disk", "memory", "clock", "aof", "pauses")


@dataclass(slots=True)
class Result:
    """One mode's: how much was done, in words, and everything that was wrong."""

    mode: str
    done: str = ""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How much of each mode: for how long a fault lasts, and how many cuts and strikes."""

    fault_seconds: tuple[float, ...] = (SHORT_SECONDS,)
    network_seconds: tuple[float, ...] = (8.0,)
    cut_transactions: int = 4
    cut_every: int = 40
    pauses: Pauses = field(default_factory=Pauses)


SHORT = Length()
LONG = Length(
    fault_seconds=(SHORT_SECONDS, LONG_SECONDS),
    network_seconds=(60.0,),
    cut_every=1,
    pauses=Pauses(strikes=200),
)


def chosen(mode: str, length: Length, *, mounted: bool) -> list[Fault]:
    """The faults of a mode."""
    if mode == "network":
        return [fault for seconds in length.network_seconds for fault in network_faults(seconds)]
    makers: dict[str, Callable[[float], list[Fault]]] = {
        "redis": redis_faults,
        "memory": memory_faults,
        "clock": clock_faults,
        "disk": lambda seconds: disk_faults(seconds, mounted=mounted),
    }
    return [fault for seconds in length.fault_seconds for fault in makers[mode](seconds)]


def run_faults(mode: str, length: Length, folder: Path, *, seed: int, say: Say, only: Sequence[str] = ()) -> Result:
    """Play the faults of a mode, one after the other, on one stand."""
    result, rows = Result(mode), []
    with ExitStack() as held:
        disk = held.enter_context(small_disk(folder)) if mode == "disk" else None
        if mode == "disk" and disk is None:
            say("no small disk can be mounted here (not root): the size of files is limited instead")
        stand = Stand(folder, data_dir=disk, embedded=mode == "disk", seed=seed)
        held.callback(stand.stop)
        stand.start()
        faults = [fault for fault in chosen(mode, length, mounted=disk is not None) if not only or fault.name in only]
        for number, fault in enumerate(faults):
            rows.append(play(stand, fault, number))
        if disk is not None:
            result.wrong += read_only_start(stand)
        print_table(rows, say)
        result.wrong += stand.verdict(f"{mode}: {len(rows)} faults", say)
        if stand.command("snapshots", "verify") != 0:
            result.wrong.append("`exitkeeper snapshots verify` found something")
    names = ", ".join(dict.fromkeys(row.fault for row in rows))
    each = " and ".join(dict.fromkeys(f"{row.seconds:.0f} s" for row in rows))
    result.done = f"{len(rows)} faults of {each}: {names}"
    result.done += "; a start on a read-only directory" if disk is not None else ""
    return result


def run_aof(length: Length, folder: Path, *, seed: int, say: Say) -> Result:
    """Trade for a while, then cut the append-only file again and again."""
    stand = Stand(folder, seed=seed)
    result = Result("aof")
    try:
        stand.start()
        for number, fault in enumerate(redis_faults(1.0)[:2]):
            play(stand, fault, number)
    finally:
        stand.stop()
    found = cut(stand, last=length.cut_transactions, every=length.cut_every, seed=seed)
    result.wrong = stand.faults + found.wrong
    result.done = f"{found.booted} cuts booted, in the last {found.transactions} transactions ({found.bytes} bytes)"
    say(f"{result.done}; {len(found.wrong)} wrong")
    return result


def print_table(rows: Sequence[Row], say: Say) -> None:
    """The trials, one a line."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def run(mode: str, length: Length, folder: Path, *, seed: int, say: Say = print) -> Result:
    """Play one mode in a folder that is empty."""
    began = time.monotonic()
    if mode == "aof":
        result = run_aof(length, folder, seed=seed, say=say)
    elif mode == "pauses":
        done, wrong = play_pauses(length.pauses, folder, seed=seed, say=say)
        result = Result(mode, done=done, wrong=wrong)
    else:
        result = run_faults(mode, length, folder, seed=seed, say=say)
    result.seconds = time.monotonic() - began
    return result


def commit() -> str:
    """The commit that this is, with a sign where anything but the page of results is changed."""
    found = [
        subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607
        for words in (
            ("rev-parse", "--short", "HEAD"),
            ("status", "--porcelain", "--", ".", ":!docs/PROOF.md"),
        )
    ]
    return (found[0] or "unknown") + ("-dirty" if found[1] else "")


def main() -> None:
    """Read the options, play, exit 1 on anything that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(MODES), help=f"of {', '.join(MODES)}; all unless told")
    parser.add_argument("--long", action="store_true", help="also past the lease, 60 s of network, every byte, 200")
    parser.add_argument("--seed", type=int, default=1, help="chooses moments, cuts and weather")
    parser.add_argument("--write", action="store_true", help="put the results into docs/PROOF.md")
    options = parser.parse_args()
    modes = options.faults.split(",")
    if unknown := set(modes) - set(MODES):
        parser.error(f"--faults: there is no {', '.join(sorted(unknown))}")
    failed = False
    for mode in modes:
        folder = Path(tempfile.mkdtemp(prefix="exitkeeper-crash-"))
        words = f"./scripts/crash --faults {mode}{' --long' if options.long else ''} --seed {options.seed}"
        print(f"== {words}")
        try:
            result = run(mode, LONG if options.long else SHORT, folder, seed=options.seed)
        except SystemExit as error:
            result = Result(mode, done="it did not come to its end", wrong=[str(error)])
        print(f"{mode}: {result.done}; {len(result.wrong)} wrong; {result.seconds:.0f} s")
        for wrong in result.wrong:
            print(f"  {wrong}")
        if result.wrong:
            failed = True
            print(f"everything is left in {folder}; again: {words}")
        else:
            shutil.rmtree(folder)
        if options.write:
            today = datetime.now(UTC).strftime("%Y-%m-%d")
            verdict = f"{len(result.wrong)} wrong" if result.wrong else "nothing wrong"
            write_proof(mode, (today, commit(), f"{result.seconds:.0f} s", result.done, verdict, f"`{words}`"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
