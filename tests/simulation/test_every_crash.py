"""A crash between any two messages changes nothing that counts: every single point is tried."""

from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.domain.model import Phase
from actors.messages import Opened
from tests.simulation.house import SYMBOL, Keeper
from tests.simulation.outcome import outcome

RUNNER_PRICES = (60300, 59500, 60600, 61200, 61500, 61400, 61000, 60900)
STOPPED_PRICES = (60200, 59300, 59000, 59900)
BREAKEVEN_PRICES = (60650, 60400, 59990, 60000)
JUMP_PRICES = (61900, 62500, 61900, 61000)
STORIES = {
    "runner": RUNNER_PRICES,
    "stopped": STOPPED_PRICES,
    "breakeven": BREAKEVEN_PRICES,
    "jump": JUMP_PRICES,
}


def play(folder: Path, prices: tuple[int, ...], seed: int, crash_at: int | None) -> tuple[dict[str, Any], int, Keeper]:
    """Play one story to its end, crashing once before turn `crash_at`; the outcome and how many turns it took."""
    folder.mkdir(exist_ok=True)
    keeper = Keeper(folder, [60000], seed=seed)
    turns = 0

    class Crash(Exception):
        pass

    def count(actor: object, message: object) -> None:
        nonlocal turns
        turns += 1
        if turns == crash_at:
            keeper.simulator.crash()

    keeper.boot()
    keeper.ready()
    keeper.simulator.before_turn = count
    done = False
    for _ in range(5):
        if not any(ref.is_alive() for ref in (keeper.house.supervisor,)):
            keeper.boot()
            keeper.ready()
        try:
            answer = keeper.open()
        except pykka.Timeout:
            continue
        assert isinstance(answer, Opened), answer
        done = True
        break
    assert done
    keeper.run(4)
    if not keeper.house.supervisor.is_alive():
        keeper.boot()
        keeper.run(8)
    keeper.add_prices(prices)
    for _ in range(40):
        keeper.run(1)
        if not keeper.house.supervisor.is_alive():
            keeper.boot()
        published = keeper.house.directory.positions.get("p1")
        if published and published.position and published.position.phase is Phase.CLOSED:
            break
    return outcome(keeper.position()), turns, keeper


@pytest.mark.parametrize("story", STORIES)
def test_a_crash_before_any_turn_changes_nothing_that_counts(tmp_path: Path, story: str) -> None:
    """Every turn of the whole life is a crash point; the ledger of the exchange agrees each time."""
    expected, turns, keeper = play(tmp_path / "calm", STORIES[story], 1, None)
    assert expected["phase"] is Phase.CLOSED
    assert turns > 60
    for crash_at in range(1, turns + 1):
        result, _, keeper = play(tmp_path / "crash", STORIES[story], crash_at, crash_at)
        assert result == expected, f"crash before turn {crash_at}"
        slot = keeper.exchange.read_account("paper", SYMBOL, 0)
        assert not slot.orders, f"crash before turn {crash_at}"
        assert slot.position is None, f"crash before turn {crash_at}"
