"""What may be read without a mailbox, and how often what nobody tells is looked for."""

from dataclasses import replace

import pytest

from actors import directory as module
from actors.directory import FEW_PRESS, Directory, Published
from actors.domain.model import Phase, Position
from actors.position_parts import LOOK_AROUND_SECONDS, READS_A_SECOND, look_around_seconds
from tests.unit.driver import opened

PLAN = {"stop": {"percent": "1.5"}}


def published(position: Position) -> Published:
    """It, acknowledged."""
    return Published(position_id=position.id, account=position.account, position=position, version=1, epoch=1)


def test_of_the_closed_only_the_latest_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is open stays; one that was closed and is published again is the latest."""
    monkeypatch.setattr(module, "CLOSED_SHOWN", 2)
    directory, position = Directory(), opened(PLAN).position
    for name in ("open", "a", "b", "a", "c"):
        phase = Phase.OPEN if name == "open" else Phase.CLOSED
        directory.positions[name] = published(replace(position, id=name, phase=phase))
    assert list(directory.positions) == ["open", "a", "c"]
    assert [shown.position_id for shown in directory.positions.everything()] == ["open", "a", "c"]


def test_few_positions_look_around_every_half_minute() -> None:
    """As long as all together ask no more than they may."""
    assert look_around_seconds("p", 1) == LOOK_AROUND_SECONDS
    assert look_around_seconds("p", int(LOOK_AROUND_SECONDS * READS_A_SECOND)) == LOOK_AROUND_SECONDS


def test_many_look_around_less_often_and_not_all_at_once() -> None:
    """A hundred thousand ask as often as they may together, spread over the time."""
    count = 100_000
    delays = sorted(look_around_seconds(f"p{number}", count) for number in range(1000))
    mean = sum(delays) / len(delays)
    assert mean == pytest.approx(count / READS_A_SECOND, rel=0.1)
    assert delays[0] < 0.6 * mean
    assert delays[-1] > 1.4 * mean


def test_few_orders_on_their_way_make_nothing_wait() -> None:
    """Many do, until they are acknowledged."""
    directory = Directory()
    directory.pressing.update(str(number) for number in range(FEW_PRESS))
    found = [directory.pressed]
    directory.pressing.add("one more")
    found.append(directory.pressed)
    directory.lagging("one more", 2)
    found.append(directory.pressed)
    directory.lagging("one more", 0)
    found.append(directory.pressed)
    assert found == [False, True, True, False]
    assert not directory.lags
