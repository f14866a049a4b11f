"""One run of the campaigns, and which runs there are.

A run is exactly what its options say: the same options give the same run, on every machine. It plays a story on a world
(world.py) with its troubles, holds every promise before every turn (promises.py), and counts the moments it reached.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actors import comebacks
from actors.runtime.simulator import BlockedInSimulation, RunawaySimulation
from tests.simulation.moments import Moments
from tests.simulation.outcome import outcome
from tests.simulation.player import Player
from tests.simulation.promises import Broken
from tests.simulation.promises_more import MorePromises
from tests.simulation.stories import STORIES, TOLD, Story, drawn
from tests.simulation.troubles import (
    Trouble,
    crash_at,
    draw_crashes,
    draw_exchange_troubles,
    draw_hands,
    draw_keeper_troubles,
    draw_late_sends,
    draw_store_troubles,
)
from tests.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that makes one run.

    `lost`: prices go on while no keeper runs, and are lost to it. `crashes` are points at which the keeper vanishes;
    `drawn` is how many troubles of keepers are drawn from the seed. Of the drawn troubles only those of `keep` come, by
    their place in the list (None: all); of the prices only the first `ticks`. In a storm the exchange and the store
    misbehave too. `surveyed`: a single comeback too is answered by a survey, as those of many are, and sleeps where it
    has nothing to do.
    """

    seed: int
    story: str
    lost: bool = False
    surveyed: bool = False
    crashes: tuple[int, ...] = ()
    drawn: int = 0
    keep: tuple[int, ...] | None = None
    ticks: int | None = None

    def __str__(self) -> str:
        """As `scripts/simulate --replay` reads it."""
        parts = [f"{self.story.replace(' ', '-')}", f"seed={self.seed}"]
        parts += ["lost"] if self.lost else []
        parts += ["surveyed"] if self.surveyed else []
        parts += [f"crashes={','.join(map(str, self.crashes))}"] if self.crashes else []
        parts += [f"drawn={self.drawn}"] if self.drawn else []
        parts += [f"keep={','.join(map(str, self.keep)) or 'none'}"] if self.keep is not None else []
        parts += [f"ticks={self.ticks}"] if self.ticks is not None else []
        return " ".join(parts)


def parse_options(text: str) -> Options:
    """The options in a line that a failure printed. Raises ValueError."""
    story, *words = text.split()
    found: dict[str, Any] = {"story": story.replace("-", " ")}
    for word in words:
        name, _, value = word.partition("=")
        if name in ("lost", "surveyed"):
            found[name] = True
        elif name in ("seed", "drawn", "ticks"):
            found[name] = int(value)
        elif name in ("crashes", "keep"):
            found[name] = () if value == "none" else tuple(int(each) for each in value.split(","))
        else:
            raise ValueError(f"no option of a run: {word}")
    if "seed" not in found or (found["story"] != "storm" and found["story"] not in STORIES):
        raise ValueError(f"a run has a story and a seed: {text}")
    return Options(**found)


class BrokenPromise(AssertionError):
    """A run in which a promise did not hold: which one, the options that show it, and what happened until then."""

    def __init__(self, invariant: str, why: str, options: Options, trace: tuple[str, ...] = ()) -> None:
        super().__init__(f"{invariant}: {why}  [{options}]")
        self.invariant = invariant
        self.why = why
        self.options = options
        self.trace = trace


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run that kept every promise came to."""

    points: int
    crashes: int
    reached: Counter[str]
    outcome: dict[str, Any] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


# -- which runs there are ----------------------------------------------------------------------------------------------


def story_of(options: Options) -> Story:
    """The story that these options tell."""
    if options.story == "storm":
        return drawn(options.seed, options.ticks)
    story = STORIES[options.story]
    return story if options.ticks is None else replace(story, prices=story.prices[: options.ticks])


def troubles_of(options: Options) -> list[Trouble]:
    """What goes wrong: the drawn troubles, in the order in which `keep` counts them, then the named crashes."""
    dice = random.Random(f"troubles {options.seed} {options.story}")
    found: list[Trouble] = []
    if options.story == "storm":
        found += draw_keeper_troubles(dice, options.drawn, 900)
        found += draw_exchange_troubles(dice) + draw_store_troubles(dice)
        found += draw_hands(dice, len(drawn(options.seed).prices))
        # What is added to the drawing comes last: the places of all others stay what they were.
        found += draw_late_sends(dice)
    elif options.drawn and options.lost:
        found += draw_keeper_troubles(dice, options.drawn, 500) + draw_late_sends(dice)
    elif options.drawn:
        found += draw_crashes(dice, options.drawn, 350, lost=False)
    if options.keep is not None:
        found = [found[place] for place in options.keep if place < len(found)]
    down = 2.0 if options.lost else 0.0
    return found + [crash_at(point, down=down) for point in options.crashes]


def options_for(seeds: Iterable[int], crashes: str | int) -> Iterator[Options]:
    """The runs of a campaign. `every`: each single crash point of each story; a number: so many random ones a run.

    Faults show early: of every story the points come in strides, of random runs the kinds take turns.
    """
    if crashes == "every":
        for seed in seeds:
            yield from every_crash(seed)
        return
    number = int(crashes)
    for seed in seeds:
        yield random_run(seed, number)


def random_run(seed: int, number: int) -> Options:
    """Crashes of a story in which no tick is lost, troubles of one in which they are, or a storm; a third of all with
    surveys.
    """
    kind, surveyed = seed % 4, seed % 3 == 0
    told = [story.name for story in TOLD if story.every or kind]
    story = told[seed // 4 % len(told)]
    if kind == 0:
        return Options(seed=seed, story=story, surveyed=surveyed, drawn=max(2, number))
    if kind == 1:
        return Options(seed=seed, story=story, lost=True, surveyed=surveyed, drawn=number)
    return Options(seed=seed, story="storm", lost=True, surveyed=surveyed, drawn=number)


def every_crash(seed: int, *, stride: int = 7) -> Iterator[Options]:
    """Each crash point of each story, with and without lost ticks."""
    for lost in (False, True):
        tried = [story.name for story in TOLD if story.every]
        lengths = {name: points_of(Options(seed=seed, story=name, lost=lost)) for name in tried}
        for offset in range(stride):
            for name, points in lengths.items():
                for point in range(1 + offset, points + 1, stride):
                    yield Options(seed=seed, story=name, lost=lost, crashes=(point,))


def every_crash_of(story: str, *, seed: int, lost: bool) -> Iterator[Options]:
    """Each crash point of one story."""
    points = points_of(Options(seed=seed, story=story, lost=lost))
    for point in range(1, points + 1):
        yield Options(seed=seed, story=story, lost=lost, crashes=(point,))


_calm_runs: dict[Options, RunResult] = {}


def calm_run(options: Options, folder: Path) -> RunResult:
    """The same story without any trouble, played once."""
    calm = replace(options, crashes=(), drawn=0, keep=None)
    if calm not in _calm_runs:
        _calm_runs[calm] = _play(calm, folder)
    return _calm_runs[calm]


def points_of(options: Options) -> int:
    """How many points the story has when nothing goes wrong."""
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        return calm_run(options, Path(folder)).points


# -- one run -----------------------------------------------------------------------------------------------------------


def run(options: Options, folder: Path) -> RunResult:
    """Play one run. Raises BrokenPromise."""
    result = _play(options, folder)
    story = story_of(options)
    if story.exact and not options.lost and (options.crashes or options.drawn):
        expected = calm_run(options, folder).outcome
        differs = [name for name in expected if result.outcome.get(name) != expected[name]]
        if differs:
            name = differs[0]
            why = f"{name} is {result.outcome.get(name)}, without crashes {expected[name]}"
            raise BrokenPromise("same_end_as_without_crashes", why, options, result.trace)
    return result


@contextmanager
def _surveys(options: Options) -> Iterator[None]:
    before = comebacks.TOGETHER_FROM
    comebacks.TOGETHER_FROM = 1 if options.surveyed else before
    try:
        yield
    finally:
        comebacks.TOGETHER_FROM = before


def _play(options: Options, folder: Path) -> RunResult:
    with _surveys(options):
        return _played(options, folder)


def _played(options: Options, folder: Path) -> RunResult:
    story, troubles = story_of(options), troubles_of(options)
    troubles = [*story.troubles, *troubles]
    world = World(folder, seed=options.seed, waits=not options.lost, troubles=troubles)
    promises = MorePromises(world, story, Moments())
    player = Player(world, promises, story, troubles)
    spawn = world.simulator.spawn_asleep

    def counted(*words: Any) -> Any:
        promises.moments.reach("a position comes back asleep")
        return spawn(*words)

    world.simulator.spawn_asleep = counted  # type: ignore[method-assign, assignment]
    try:
        player.play()
    except Broken as error:
        raise BrokenPromise(error.invariant, error.why, options, tuple(world.trace)) from error
    except BlockedInSimulation as error:
        raise BrokenPromise("no_actor_fails", f"an actor blocks: {error}", options, tuple(world.trace)) from error
    except RunawaySimulation as error:
        raise BrokenPromise("no_actor_fails", f"the actors run away: {error}", options, tuple(world.trace)) from error
    finally:
        world.simulator.before_turn = None
        world.simulator.crash()
        world.exchange.close()
    promises.moments.told(world.events, world.ledger.refused)
    last = promises.last
    return RunResult(
        points=player.points,
        crashes=sum(life.dead for life in world.lives),
        reached=promises.moments.reached,
        outcome={} if last is None else outcome(last),
        trace=tuple(world.trace),
    )
