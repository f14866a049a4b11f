"""A crash between any two messages changes nothing that counts: every single point is tried."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.domain.model import OrderKind, Phase, Plan
from actors.domain.plans import parse_plan
from actors.messages import Opened
from tests.simulation.house import SYMBOL, Keeper
from tests.simulation.outcome import outcome

RESTING = parse_plan(
    {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.6", "order": "limit", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "2"}, "close": "0.2", "order": "limit", "then": {"trail": {"percent": "0.8"}}},
        ],
    }
)
RUNNER_PRICES = (60300, 59500, 60600, 61200, 61500, 61400, 61000, 60900)
STOPPED_PRICES = (60200, 59300, 59000, 59900)
BREAKEVEN_PRICES = (60650, 60400, 59990, 60000)
JUMP_PRICES = (61900, 62500, 61900, 61000)
PART_PRICES = (60650, 60400, 59000, 59900)
STORIES: dict[str, tuple[tuple[int, ...], Plan | None]] = {
    "runner": (RUNNER_PRICES, None),
    "stopped": (STOPPED_PRICES, None),
    "breakeven": (BREAKEVEN_PRICES, None),
    "jump": (JUMP_PRICES, None),
    "resting": (RUNNER_PRICES, RESTING),
    "resting stopped": (PART_PRICES, RESTING),
    "resting jump": (JUMP_PRICES, RESTING),
}


def play(
    folder: Path, story: tuple[tuple[int, ...], Plan | None], seed: int, crash_at: int | None
) -> tuple[dict[str, Any], int, Keeper]:
    """Play one story to its end, crashing once before turn `crash_at`; the outcome and how many turns it took."""
    prices, plan = story
    folder.mkdir(exist_ok=True)
    keeper = Keeper(folder, [60000], seed=seed)
    if plan is RESTING:
        keeper.faults.next("fill", position="p1", leg="target-1", fill=Decimal("0.25"), rest="next_price")
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
            answer = keeper.open(plan=plan)
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
    limits = [order.quantity for order in keeper.sent(OrderKind.LIMIT)]
    assert limits == ([Decimal("0.6"), Decimal("0.2")] if STORIES[story][1] else [])
    for crash_at in range(1, turns + 1):
        result, _, keeper = play(tmp_path / "crash", STORIES[story], crash_at, crash_at)
        assert result == expected, f"crash before turn {crash_at}"
        slot = keeper.exchange.read_account("paper", SYMBOL, 0)
        assert not slot.orders, f"crash before turn {crash_at}"
        assert slot.position is None, f"crash before turn {crash_at}"
