"""An outage longer than the lease: what was decided in it is told once it is durable."""

from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import Phase
from tests.simulation.house import Keeper


def test_what_happened_past_the_lease_is_told_once_it_is_durable(tmp_path: Path) -> None:
    """The stop fires while the store is gone; the log and the stream have every line of it afterwards."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.store_is_down = True
    keeper.run(15)
    keeper.add_prices([58900, 58800])
    keeper.run(10)
    assert keeper.told("position.closed") == []
    assert keeper.held() == 0
    keeper.store_is_down = False
    keeper.run(30)
    keeper.ready()
    assert keeper.position().phase is Phase.CLOSED
    assert len(keeper.told("position.closed")) == 1
    assert any(line["leg"] == "stop" for line in keeper.told("order.filled"))


@pytest.mark.parametrize("seed", range(6))
def test_a_partial_whose_price_went_while_it_was_saved_stays_owed(tmp_path: Path, seed: int) -> None:
    """The store was away for a moment only; what would leave now is judged by the price of now."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.store_is_down = True
    keeper.moves(60600)
    keeper.moves(60200)
    keeper.store_is_down = False
    keeper.moves(60200)
    assert [order.quantity for order in keeper.sent() if order.reduce_only] == []
    assert keeper.position().targets[0].hit
    keeper.moves(60590)
    assert [order.quantity for order in keeper.sent() if order.reduce_only] == [Decimal("0.6")]
