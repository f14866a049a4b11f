"""An outage longer than the lease: what was decided in it is told once it is durable."""

from pathlib import Path

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
