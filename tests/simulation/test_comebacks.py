"""A bounded number of positions comes back at a time, and none is in the way of the others."""

from pathlib import Path

import pykka
import pytest

import actors.comebacks
from actors.traffic import BeginRecovery, Recovered
from tests.simulation.house import OTHER, Keeper

SEEDS = range(4)


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound under test."""
    monkeypatch.setattr(actors.comebacks, "AT_ONCE", 1)


def two(folder: Path, seed: int = 1) -> Keeper:
    """Two positions that have to come back."""
    keeper = Keeper(folder, [60000], seed=seed, others=[3000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.opened(id="p2", symbol=OTHER)
    keeper.crash()
    return keeper


def heard(keeper: Keeper) -> list[str]:
    """Who begins to come back and who has, in order."""
    told: list[str] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, BeginRecovery):
            told.append(f"begin {message.position.id if message.position else ''}")
        elif isinstance(message, Recovered):
            told.append(f"back {message.position_id}")

    keeper.simulator.before_turn = note
    return told


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_begins_when_the_first_is_back(tmp_path: Path, seed: int) -> None:
    """Not before, and then at once."""
    keeper = two(tmp_path, seed)
    told = heard(keeper)
    keeper.start()
    assert told == ["begin p1", "back p1", "begin p2", "back p2"]
    assert keeper.position("p1").protected
    assert keeper.position("p2").protected


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_takes_long_is_not_waited_for(tmp_path: Path, seed: int) -> None:
    """Its exchange does not answer about it; the other one is back after a few seconds."""
    keeper = two(tmp_path, seed)
    keeper.faults.always("look_up", symbol=keeper.exchange.instruments["BTC/USDT:USDT"].symbol, lose="request")
    told = heard(keeper)
    keeper.boot()
    keeper.run(20)
    assert told[:2] == ["begin p1", "begin p2"]
    assert "back p2" in told
    assert "back p1" not in told
    keeper.faults.clear()
    keeper.run(20)
    keeper.ready()
    assert keeper.position("p1").protected


def test_what_waited_for_a_life_that_has_ended_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard is lost and taken again before the second one's turn: it begins once, in the later life."""
    monkeypatch.setattr(actors.comebacks, "PATIENCE_SECONDS", 60.0)
    keeper = two(tmp_path)
    keeper.faults.always("look_up", lose="request")
    told = heard(keeper)
    keeper.boot()
    keeper.run(3)
    assert told == ["begin p1"]
    keeper.store_is_down = True
    keeper.run(15)
    keeper.store_is_down = False
    keeper.faults.clear()
    keeper.run(90)
    keeper.ready()
    assert told.count("begin p2") == 1
    assert told.count("back p2") == 1
    assert keeper.position("p2").protected
