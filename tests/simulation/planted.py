"""The catalogue of planted faults: what the campaigns must catch, each by itself, or, where defences hide one another,
in a pair.

A campaign that finds nothing proves something only if it would have found something. So each defence is taken away, and
the campaigns must see it go. Some hide: what one of them lets through another one stops, and each taken away alone
survives any number of runs. Those are taken away in pairs, and by itself each makes a test fall that looks at nothing
else.
"""

import inspect
import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import campaign
from tests.simulation.campaign import BrokenPromise, Options, parse_options, run
from tests.simulation.planted_actors import ACTORS
from tests.simulation.planted_rules import RULES
from tests.simulation.planted_seen import PAIRS, SEEN, TESTS
from tests.simulation.planted_store import STORE
from tests.simulation.planting import Plant, planted

SINGLES: dict[str, Plant] = {plant.name: plant for plant in (*RULES, *ACTORS, *STORE)}


def _paired(first: str, second: str, breaks: str) -> Plant:
    edits = SINGLES[first].edits + SINGLES[second].edits
    return Plant(name=f"{first} + {second}", breaks=breaks, edits=edits, pair=(first, second))


CATALOGUE: dict[str, Plant] = SINGLES | {
    plant.name: plant for plant in (_paired(first, second, breaks) for (first, second), breaks in PAIRS.items())
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """How a fault was caught: by which promise, after how many runs, and the run that shows it."""

    promise: str
    runs: int
    options: Options | None = None


def play(options: Options) -> BrokenPromise | None:
    """One run of the campaigns; the promise that did not hold, if there is one."""
    # Ids that a fault makes random are drawn from here: the same run gives the same ones.
    random.seed(str(options))
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        try:
            run(options, Path(folder))
        except BrokenPromise as broken:
            return broken
    return None


def known_run(plant: Plant) -> Options | None:
    """The run that is known to show a fault, None where no run does."""
    text = SEEN.get(plant.name)
    return None if text is None else parse_options(text)


def catch(plant: Plant, options: Iterable[Options]) -> Caught | None:
    """Play these runs with the fault planted until one shows it; None when it survives them all."""
    runs = 0
    with fresh_comparisons(), planted(plant.edits):
        for each in options:
            runs += 1
            broken = play(each)
            if broken is not None:
                return Caught(promise=broken.invariant, runs=runs, options=each)
    return None


@contextmanager
def fresh_comparisons() -> Iterator[None]:
    """Runs without trouble are remembered to be compared with: not those of a planted fault beyond it."""
    before = dict(campaign._calm_runs)
    campaign._calm_runs.clear()
    try:
        yield
    finally:
        campaign._calm_runs.clear()
        campaign._calm_runs.update(before)


def falls(plant: Plant) -> bool:
    """Whether the test that looks at a hidden defence alone falls once it is taken away."""
    with fresh_comparisons(), planted(plant.edits):
        try:
            stands(plant)
        except Exception:  # noqa: BLE001 - however it falls
            return True
    return False


def stands(plant: Plant) -> None:
    """Run the test that looks at a hidden defence alone. Raises what the test raises."""
    target, given = TESTS[plant.name]
    module, _, name = target.partition(":")
    test = getattr(import_module(module), name)
    wanted = inspect.signature(test).parameters
    with tempfile.TemporaryDirectory(prefix="ek-") as folder, pytest.MonkeyPatch.context() as monkeypatch:
        values: dict[str, Any] = {"tmp_path": Path(folder), "monkeypatch": monkeypatch, **given}
        if "keeper" in wanted:
            values["keeper"] = keeper = import_module(module).Keeper()
            keeper.take()
        test(**{key: value for key, value in values.items() if key in wanted})
