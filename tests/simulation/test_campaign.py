"""The campaigns as every check runs them: more than two thousand runs with crashes, the same every time."""

from collections import Counter
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from actors.domain.model import OrderKind, Phase
from tests.simulation.campaign import Options, calm_run, every_crash_of, parse_options, random_run, run
from tests.simulation.moments import MOMENTS
from tests.simulation.stories import STORIES, TOLD

TRIED = [story.name for story in TOLD if story.every]
RANDOM_RUNS = 1000
FOUND = (
    "storm seed=406 lost drawn=4 keep=0,2,5,15,20 ticks=1",
    "unanswered seed=93 lost drawn=4 keep=0,1 ticks=7",
    "storm lost seed=235 drawn=4",
    "short seed=1121 lost drawn=4 keep=1,3 ticks=6",
    "storm seed=374 lost drawn=4 keep=3,4 ticks=25",
    "storm seed=538 lost drawn=4 keep=11 ticks=3",
    "resting-stopped seed=188 drawn=4 keep=1,2,3 ticks=3",
    "storm seed=29959 lost drawn=4",
    "storm seed=23978 lost drawn=4",
    "in-parts seed=23061 lost drawn=4 keep=1,2,3",
    "runner seed=26657 lost drawn=4 keep=0,1,2,3",
    "storm seed=29347 lost drawn=4 keep=0,1,2,6,11,15,16,19",
    "runner seed=30129 lost drawn=4 keep=0,1",
    "halved seed=22281 lost drawn=4 keep=0,2 ticks=4",
    "storm seed=24643 lost drawn=4 keep=0,5,9,13,14 ticks=12",
    "storm seed=20691 lost drawn=4 keep=1,2,6,12,13 ticks=5",
    "storm seed=23435 lost drawn=4 keep=3,4,6 ticks=5",
    "storm seed=21042 lost drawn=4 keep=6,12,14 ticks=2",
    "storm seed=22491 lost drawn=4 keep=9,15,18 ticks=2",
    "storm seed=26679 lost drawn=4 keep=8,10,13,15 ticks=30",
    "storm seed=301787 lost drawn=4 keep=0,7,9 ticks=14",
    "storm seed=301866 lost drawn=4",
    "storm seed=20791 lost drawn=4",
    "storm seed=308307 lost drawn=4 keep=none ticks=11",
    "storm seed=520415 lost drawn=4 keep=0,1,2,3,4,8,9,13,14 ticks=30",
    "storm seed=520791 lost surveyed drawn=4 keep=2,3,13 ticks=21",
    "storm seed=520842 lost surveyed drawn=4 keep=0,17 ticks=24",
    "storm seed=600982 lost drawn=4",
    "storm seed=708902 lost drawn=4 keep=3,7,9,14,20 ticks=5",
    "storm seed=200322 lost drawn=4",
    "storm seed=510778 lost drawn=4 keep=1,11,12 ticks=13",
    "storm seed=402655 lost drawn=4 keep=0,1,2,3,4,5,6,7,8,9,11,13,14,17,20,21",
)
"""Runs that once broke a promise, of the product or of the simulation itself."""


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("story", [story.name for story in TOLD])
def test_a_story_without_trouble_keeps_every_promise(tmp_path: Path, story: str, lost: bool) -> None:
    """Also the promises hold where nothing goes wrong."""
    result = run(Options(seed=1, story=story, lost=lost), tmp_path)
    assert result.points > 60
    assert result.outcome["phase"] is Phase.CLOSED or STORIES[story].crowd


@pytest.mark.parametrize("story", TRIED)
def test_a_crash_at_any_point_changes_nothing_that_counts(tmp_path: Path, story: str) -> None:
    """Every single boundary and turn of the whole life, while the market waits: the end is that of the calm run."""
    crashes = sum(run(options, tmp_path).crashes for options in every_crash_of(story, seed=1, lost=False))
    assert crashes == calm_run(Options(seed=1, story=story), tmp_path).points


@pytest.mark.parametrize("story", TRIED)
def test_a_crash_at_any_point_with_prices_lost_keeps_every_promise(tmp_path: Path, story: str) -> None:
    """Prices go on while no keeper runs: every fifth point, another fifth for each story."""
    every = every_crash_of(story, seed=2, lost=True)
    for options in islice(every, TRIED.index(story) % 5, None, 5):
        assert run(options, tmp_path).crashes == 1


def test_random_troubles_keep_every_promise_and_reach_every_moment(tmp_path: Path) -> None:
    """Crashes, pauses, takeovers, power cuts, storms: none breaks a promise, and every moment of danger is met."""
    reached: Counter[str] = Counter()
    crash_runs = 0
    for seed in range(1, 1 + RANDOM_RUNS):
        result = run(random_run(seed, 4), tmp_path)
        reached.update(result.reached)
        crash_runs += result.crashes > 0
    assert crash_runs > RANDOM_RUNS // 2
    assert [moment for moment in MOMENTS if not reached[moment]] == []


@pytest.mark.parametrize("options", FOUND)
def test_what_was_found_once_stays_found(tmp_path: Path, options: str) -> None:
    """Each broke a promise before it was put right."""
    run(parse_options(options), tmp_path)


def test_the_same_options_are_the_same_run(tmp_path: Path) -> None:
    """Nothing depends on the machine, the folder or what ran before."""
    options = random_run(6, 4)
    first, again = run(options, tmp_path / "a"), run(options, tmp_path / "b")
    assert (first.trace, first.points, first.outcome) == (again.trace, again.points, again.outcome)


def test_options_are_read_back_as_they_are_written() -> None:
    """What a failure prints is what replays it."""
    options = Options(seed=7, story="resting jump", lost=True, crashes=(3, 70), drawn=2, keep=(), ticks=4)
    assert parse_options(str(options)) == options
    with pytest.raises(ValueError, match="no option of a run"):
        parse_options("runner seed=1 surprise=2")
    with pytest.raises(ValueError, match="a story and a seed"):
        parse_options("nothing seed=1")


def test_a_target_at_rest_asks_for_its_share(tmp_path: Path) -> None:
    """The calm run of a resting plan fills 60 % and 20 % by limit orders, the runner by its stop."""
    fills = calm_run(Options(seed=1, story="resting"), tmp_path).outcome["fills"]
    by_leg = {leg: sum(fill[2] for fill in fills if fill[0] == leg) for leg in ("target-1", "target-2")}
    assert by_leg == {"target-1": Decimal("0.6"), "target-2": Decimal("0.2")}
    assert STORIES["resting"].plan.targets[0].order is OrderKind.LIMIT
