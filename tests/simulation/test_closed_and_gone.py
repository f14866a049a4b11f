"""A position that has ended leaves no actor behind, with no collector to look for it.

What a boot has loaded is frozen (service/memory.py): of that the collector takes nothing any more, and a cycle in it
would stay for the life of the process.
"""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.domain.model import Phase
from actors.messages import Previewed, Refusal
from actors.position import PositionActor
from tests.simulation.house import Keeper


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is collected but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def actors_of(id: str) -> list[PositionActor]:
    """The position's actors that are still held by anything."""
    found = [each for each in gc.get_objects() if isinstance(each, PositionActor)]
    return [each for each in found if each.parts.position_id == id]


@pytest.mark.usefixtures("no_collector")
def test_a_closed_position_leaves_no_actor(tmp_path: Path) -> None:
    """Opened and closed in one life."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    assert len(actors_of("p1")) == 1
    keeper.moves(60000, 58000, 60000, seconds=6)
    assert keeper.position().phase is Phase.CLOSED
    assert actors_of("p1") == []


@pytest.mark.usefixtures("no_collector")
def test_one_that_came_back_leaves_no_actor(tmp_path: Path) -> None:
    """Opened in one life, closed in the next."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.restart()
    gc.collect()
    assert len(actors_of("p1")) == 1
    keeper.moves(60000, 58000, 60000, seconds=6)
    assert keeper.position().phase is Phase.CLOSED
    assert actors_of("p1") == []


@pytest.mark.usefixtures("no_collector")
def test_what_was_refused_or_only_shown_leaves_no_actor(tmp_path: Path) -> None:
    """Neither a preview nor a refused opening stays."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    assert isinstance(keeper.open(preview=True), Previewed)
    assert isinstance(keeper.adopt(id="p2"), Refusal)
    keeper.run(2)
    found = [each for each in gc.get_objects() if isinstance(each, PositionActor)]
    assert [each.parts.position_id for each in found if each.parts.clock is keeper.simulator.clock] == []
