"""One run of the campaigns, and which runs there are.

A run is exactly what its options say: the same options give the same run, on every machine. It plays a story on a world
(world.py) with its troubles, holds every promise before every turn (promises.py), and counts the moments it reached.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pykka

from actors.domain.model import OrderKind, OrderSide, Phase, Side
from actors.domain.plans import plan_to_dict
from actors.messages import AmendRequest, Opened, Refusal
from actors.runtime.base import tell
from actors.runtime.simulator import BlockedInSimulation, RunawaySimulation
from tests.simulation.house import SYMBOL
from tests.simulation.moments import Moments
from tests.simulation.outcome import outcome
from tests.simulation.promises import RESOLVED_SECONDS, Broken, Promises
from tests.simulation.stories import STORIES, TOLD, Story, drawn
from tests.simulation.troubles import (
    KEEPER_KINDS,
    Trouble,
    crash_at,
    draw_crashes,
    draw_exchange_troubles,
    draw_hands,
    draw_keeper_troubles,
    draw_store_troubles,
)
from tests.simulation.world import World

LONGEST_CALM_SECONDS = 75
OPENING_TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that makes one run.

    `lost`: prices go on while no keeper runs, and are lost to it. `crashes` are points at which the keeper vanishes;
    `drawn` is how many troubles of keepers are drawn from the seed. Of the drawn troubles only those of `keep` come, by
    their place in the list (None: all); of the prices only the first `ticks`. In a storm the exchange and the store
    misbehave too.
    """

    seed: int
    story: str
    lost: bool = False
    crashes: tuple[int, ...] = ()
    drawn: int = 0
    keep: tuple[int, ...] | None = None
    ticks: int | None = None

    def __str__(self) -> str:
        """As `scripts/simulate --replay` reads it."""
        parts = [f"{self.story.replace(' ', '-')}", f"seed={self.seed}"]
        parts += ["lost"] if self.lost else []
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
        if name == "lost":
            found["lost"] = True
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
    """What goes wrong, in the order in which `keep` counts it: the drawn ones first, then the crashes that were named."""
    dice = random.Random(f"troubles {options.seed} {options.story}")
    found: list[Trouble] = []
    if options.story == "storm":
        found += draw_keeper_troubles(dice, options.drawn, 900)
        found += draw_exchange_troubles(dice) + draw_store_troubles(dice)
        found += draw_hands(dice, len(drawn(options.seed).prices))
    elif options.drawn and options.lost:
        found += draw_keeper_troubles(dice, options.drawn, 500)
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
    """Crashes of a story in which no tick is lost, troubles of one in which they are, or a storm."""
    kind, story = seed % 4, TOLD[seed // 4 % len(TOLD)].name
    if kind == 0:
        return Options(seed=seed, story=story, drawn=max(2, number))
    if kind == 1:
        return Options(seed=seed, story=story, lost=True, drawn=number)
    return Options(seed=seed, story="storm", lost=True, drawn=number)


def every_crash(seed: int, *, stride: int = 7) -> Iterator[Options]:
    """Each crash point of each story, with and without lost ticks."""
    for lost in (False, True):
        lengths = {story.name: points_of(Options(seed=seed, story=story.name, lost=lost)) for story in TOLD}
        for offset in range(stride):
            for name, points in lengths.items():
                for point in range(1 + offset, points + 1, stride):
                    yield Options(seed=seed, story=name, lost=lost, crashes=(point,))


_calm_runs: dict[Options, RunResult] = {}


def calm_run(options: Options, folder: Path) -> RunResult:
    """The same story without any trouble, played once."""
    calm = replace(options, crashes=(), drawn=0, keep=None)
    if calm not in _calm_runs:
        _calm_runs[calm] = _play(calm, folder)
    return _calm_runs[calm]


def points_of(options: Options) -> int:
    """How many points the story has when nothing goes wrong."""
    import tempfile

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


def _play(options: Options, folder: Path) -> RunResult:
    story, troubles = story_of(options), troubles_of(options)
    world = World(folder, seed=options.seed, waits=not options.lost, troubles=troubles)
    promises = Promises(world, story, Moments())
    player = Player(world, promises, story, [*story.troubles, *troubles])
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


class Player:
    """Plays one story: the opening, its prices with all that comes with them, and then the calm."""

    def __init__(self, world: World, promises: Promises, story: Story, troubles: list[Trouble]) -> None:
        self.world = world
        self.promises = promises
        self.story = story
        self.hands = sorted((trouble for trouble in troubles if trouble.kind == "hand"), key=lambda trouble: trouble.at)
        self.lost_keepers = sum(trouble.kind in KEEPER_KINDS for trouble in troubles)
        self.points = 0
        self._half: Any = None
        for rule in story.faults:
            world.faults.next(**rule)

    def play(self) -> None:
        """All of it. Raises Broken."""
        world = self.world
        world.start_on("a")
        self._open()
        if world.waits:
            self._to_the_end()
        else:
            self._storm()
            self._calm()
        self.points = self.points or world.points
        self.promises.book_equals_exchange()

    def _open(self) -> None:
        """Ask for the position until it is there; the same request may be repeated, which opens once."""
        world, story = self.world, self.story
        for _ in range(OPENING_TRIES):
            world.pass_time(1.0)
            life = world.awake
            if life is None or not life.ready:
                continue
            world.house = life.house or world.house
            reply = world.ask_open(side=story.side, plan=story.plan, quantity=str(story.quantity))
            world.pass_time(0.5)
            if reply.resolved and isinstance(reply.get(timeout=0), Opened):
                break
        world.pass_time(1.0)
        if story.crowd:
            world.by_hand(story.entry_side, str(story.crowd))
            world.pass_time(0.5)

    def _to_the_end(self) -> None:
        """The market waits for the keeper: until the position has ended."""
        world = self.world
        world.add_prices(self.story.prices)
        for second in range(60):
            world.pass_time(1.0)
            self._hands(second)
            last = self.promises.last
            if last is not None and last.phase is Phase.CLOSED and world.awake is not None and not world.boots_due:
                if self.hands_are_done(second) and world.awake.ready:
                    break
        self.points = world.points
        world.pass_time(1.0)

    def hands_are_done(self, second: int) -> bool:
        """Whether nobody will interfere any more."""
        return all(hand.at < second for hand in self.hands)

    def _storm(self) -> None:
        world = self.world
        world.add_prices(self.story.prices)
        for second in range(len(self.story.prices)):
            world.pass_time(1.0)
            self._hands(second)
        self.points = world.points

    def _calm(self) -> None:
        """No trouble any more, and a market that stands still: what must be settled by when."""
        world = self.world
        world.calm = True
        world.faults.clear()
        last = self.story.prices[-1] if self.story.prices else 60000
        world.add_prices([last] * LONGEST_CALM_SECONDS)
        world.pass_time(RESOLVED_SECONDS)
        self.promises.unknown_is_resolved()

    # -- hands ---------------------------------------------------------------------------------------------------------

    def _hands(self, second: int) -> None:
        for hand in self.hands:
            if hand.at == second and hand.subject != "half":
                self.world.say(f"by hand: {hand.subject}")
                getattr(self, f"_{hand.subject}")()
            elif hand.subject == "half" and second >= hand.at and (second - hand.at) % 4 == 0:
                self._ask_half()

    def _ask_half(self) -> None:
        """Somebody closes a half, and asks for it again until he is answered."""
        life = self.world.awake
        reply = self._half
        answered = reply is not None and reply.resolved and not isinstance(reply.get(timeout=0), Refusal)
        if life is not None and life.house is not None and not answered and self.promises.last is not None:
            self.world.house = life.house
            self._half = self.world.ask_close(fraction="0.5", request_id="half")

    def _close(self) -> None:
        life = self.world.awake
        if life is not None and life.house is not None:
            self.world.house = life.house
            self.world.ask_close(request_id="all")

    def _amend(self) -> None:
        """Somebody asks for other levels of the same targets; whether he is answered is not waited for."""
        body = plan_to_dict(self.story.plan)
        for target in body["targets"]:
            if "percent" in target["at"]:
                target["at"]["percent"] = str(float(target["at"]["percent"]) * 1.25)
        life = self.world.awake
        if life is not None and life.house is not None:
            reply = self.world.simulator.reply()
            tell(life.house.supervisor, AmendRequest(position_id="p1", body=body, reply=reply, act_now=True))

    def _cancel(self) -> None:
        """Somebody cancels what rests for a target."""
        limits = [order for order in self.world.venue().orders if order.kind is OrderKind.LIMIT]
        for order in limits[:1]:
            self.world.ledger.changed = True
            self.world.cancel_by_hand(order.client_order_id, OrderKind.LIMIT)

    def _reduce(self) -> None:
        """Somebody sells a part past the keeper."""
        if abs(self.world.held()) > self.story.crowd:
            self.world.by_hand(self._exit_side, "0.1")

    def _liquidate(self) -> None:
        """The exchange takes all that is held."""
        held = abs(self.world.held())
        if held:
            self.world.by_hand(self._exit_side, str(held), cause="liquidated")

    @property
    def _exit_side(self) -> OrderSide:
        return OrderSide.SELL if self.story.side is Side.LONG else OrderSide.BUY


__all__ = ["SYMBOL", "BrokenPromise", "Options", "RunResult", "options_for", "parse_options", "pykka", "run"]
