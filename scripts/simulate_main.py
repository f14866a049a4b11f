"""What scripts/simulate runs: campaigns of simulated lives, on as many processes as told, and what they came to."""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import simulate_planted
from scripts.simulate_campaign import Campaign, be_quiet, play
from scripts.simulate_proof import write_proof
from tests.simulation.campaign import Options, options_for, parse_options, run, troubles_of
from tests.simulation.shrink import failure_of, shrink, told

ROOT = Path(__file__).resolve().parent.parent
NIGHTLY_CRASH_RUNS = 100_000
NIGHTLY_SEEDS = 6
NIGHTLY_DRAWN = 4
BATCH = 2_000


def main(words: Sequence[str]) -> int:
    """Run what was asked for; 0 when every promise held and, in a full campaign, every moment was reached."""
    asked = _parser().parse_args(words)
    be_quiet()
    if asked.planted:
        return simulate_planted.main(["--write"] if asked.write else [])
    if asked.replay:
        return _replay(parse_options(asked.replay))
    campaign = Campaign(say=_say, most_failures=asked.failures)
    if asked.nightly:
        _nightly(campaign, asked.jobs)
    elif asked.forever:
        for number in itertools.count(int(asked.seeds.partition(":")[0]) // BATCH):
            seeds = range(number * BATCH, (number + 1) * BATCH)
            play(campaign, options_for(seeds, NIGHTLY_DRAWN), jobs=asked.jobs)
            _say(campaign.summary())
            if campaign.failures:
                break
    else:
        first, _, last = asked.seeds.partition(":")
        play(campaign, options_for(range(int(first), int(last or int(first) + 1)), asked.crashes), jobs=asked.jobs)
    _say(campaign.summary())
    missing = campaign.missing()
    full = asked.nightly or asked.write
    if missing:
        _say(f"never reached: {', '.join(missing)}")
    if full and not campaign.failures and not missing:
        write_proof(ROOT / "docs" / "PROOF.md", campaign)
        _say("written into docs/PROOF.md")
    return 1 if campaign.failures or (full and missing) else 0


def _nightly(campaign: Campaign, jobs: int) -> None:
    """Every single crash point under several seeds, then random troubles until there are enough crash runs."""
    play(campaign, options_for(range(1, 1 + NIGHTLY_SEEDS), "every"), jobs=jobs)
    _say(campaign.summary())
    for number in itertools.count():
        if campaign.crash_runs >= NIGHTLY_CRASH_RUNS or campaign.failures:
            return
        seeds = range(1 + number * BATCH, 1 + (number + 1) * BATCH)
        play(campaign, options_for(seeds, NIGHTLY_DRAWN), jobs=jobs)
        _say(campaign.summary())


def _replay(options: Options) -> int:
    """Play one run again, and make it as small as it gets."""
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        failure = failure_of(options, Path(folder))
        if failure is None:
            _say("\n".join(_course(options, run(options, Path(folder)).trace)))
            return 0
        _say(told(failure))
        small = shrink(failure, Path(folder))
        if small.options != options:
            _say(f"\nas small as it gets:\n\n{told(small)}")
    return 1


def _course(options: Options, trace: Sequence[str]) -> Iterator[str]:
    yield from (f"trouble  {trouble}" for trouble in troubles_of(options))
    yield from trace
    yield f"{options}: every promise held"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", default="1:401", metavar="A:B", help="the seeds from A to before B")
    parser.add_argument("--crashes", default="4", metavar="every|N", help="every crash point, or N random ones a run")
    parser.add_argument("--replay", metavar="RUN", help="play one run again, as a failure printed it")
    parser.add_argument("--forever", action="store_true", help="go on until something breaks")
    parser.add_argument("--nightly", action="store_true", help="at least 100,000 crash runs, into docs/PROOF.md")
    parser.add_argument("--planted", action="store_true", help="the table of planted faults")
    parser.add_argument("--write", action="store_true", help="also into docs/PROOF.md")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--failures", type=int, default=5, metavar="N", help="stop after so many broken runs")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
