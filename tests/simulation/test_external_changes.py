"""What others do to a position: believed on two reads, told, never answered by selling more than is ours."""

from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import OrderSide, Phase, Reason
from actors.messages import Opened, Refusal
from tests.simulation.house import Keeper

SEEDS = range(6)


def started(folder: Path, seed: int = 1, *, speed: float | str = "max") -> Keeper:
    """A keeper with a long of 1 from 60000."""
    keeper = Keeper(folder, [60000], seed=seed, speed=speed)  # type: ignore[arg-type]
    keeper.start()
    keeper.opened()
    return keeper


def comes_back(keeper: Keeper) -> None:
    """Start again after a crash; bounded, so that a comeback that never ends fails."""
    keeper.boot()
    keeper.simulator.run(lambda: not keeper.house.directory.reasons_not_ready(), for_seconds=60, limit=20_000)
    assert keeper.house.directory.reasons_not_ready() == ()
    keeper.run(3)


def sold(keeper: Keeper) -> Decimal:
    """What the keeper's own market orders asked to sell."""
    return sum((order.quantity for order in keeper.sent() if order.reduce_only), Decimal(0))


# -- found at boot -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
def test_a_position_reduced_by_hand_while_away_shrinks(tmp_path: Path, speed: float | str, seed: int) -> None:
    """The part that is gone is booked as external at its own price; the stop is resized; the plan goes on."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.crash()
    keeper.by_hand(OrderSide.SELL, "0.3")
    comes_back(keeper)
    position = keeper.position()
    assert position.remaining == Decimal("0.7")
    assert [(fill.leg, fill.reason, fill.quantity, fill.price) for fill in position.fills[1:]] == [
        ("external-1", Reason.EXTERNAL, Decimal("0.3"), Decimal(60000))
    ]
    assert [event["kind"] for event in keeper.told("position.external_change")] == ["smaller"]
    assert [order.quantity for order in keeper.venue().orders] == [Decimal("0.7")]
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.1")
    assert sold(keeper) == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
@pytest.mark.parametrize("cause, reason", [("order", "external"), ("liquidated", "liquidated"), ("adl", "adl")])
def test_a_position_gone_while_away_is_closed(
    tmp_path: Path, cause: str, reason: str, speed: float | str, seed: int
) -> None:
    """With the venue's own reason; its resident stop goes, nothing is sold, the slot is free."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.crash()
    keeper.by_hand(OrderSide.SELL, "1", cause=cause)
    comes_back(keeper)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, reason)
    assert (position.fills[-1].reason, position.fills[-1].price) == (Reason(reason), Decimal(60000))
    assert keeper.venue().orders == ()
    assert sold(keeper) == 0
    assert isinstance(keeper.open(id="p2"), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_position_made_larger_while_away_is_managed_at_its_tracked_size(tmp_path: Path, seed: int) -> None:
    """Told as an alert; no exit sells more than was ours, and the stranger's part is left at the end."""
    keeper = started(tmp_path, seed)
    keeper.crash()
    keeper.by_hand(OrderSide.BUY, "0.5")
    comes_back(keeper)
    assert keeper.position().remaining == 1
    assert [event["kind"] for event in keeper.told("position.external_change")] == ["larger"]
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.9")
    keeper.moves(59900)
    assert keeper.position().close_reason == "breakeven"
    keeper.run(3)
    assert keeper.held() == Decimal("0.5")
    assert keeper.venue().orders == ()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
def test_a_flipped_position_ends(tmp_path: Path, speed: float | str, seed: int) -> None:
    """Somebody turned it round: the keeper tells it, ends its own, and leaves what is there now alone for good."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.crash()
    keeper.by_hand(OrderSide.SELL, "3")
    comes_back(keeper)
    keeper.run(3)
    assert (keeper.position().phase, keeper.position().close_reason) == (Phase.CLOSED, "external")
    assert [event["kind"] for event in keeper.told("position.external_change")] == ["flipped"]
    assert keeper.venue().orders == ()
    for _ in range(2):
        keeper.moves(59000, 60600, 61900)
        assert keeper.held() == -2
        assert sold(keeper) == 0
        refusal = keeper.open(id="p2")
        assert isinstance(refusal, Refusal)
        assert refusal.code in ("unmanaged_position", "closing")
        keeper.crash()
        comes_back(keeper)
    answer = keeper.open()
    assert isinstance(answer, Opened)
    assert answer.repeated


# -- found while it runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
def test_a_target_that_finds_less_than_it_wants_is_settled(tmp_path: Path, speed: float | str, seed: int) -> None:
    """Half was sold by hand unseen; TP1 takes what is there, and the position ends, without asking for ever."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.by_hand(OrderSide.SELL, "0.5")
    keeper.add_prices([60600])
    keeper.simulator.run(for_seconds=20, limit=20_000)
    assert keeper.held() == 0
    keeper.add_prices([60610])
    keeper.simulator.run(for_seconds=20, limit=20_000)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    assert keeper.venue().orders == ()
    assert sum(fill.quantity for fill in position.fills if fill.leg == "target-1") == Decimal("0.5")
    assert sum(fill.quantity for fill in position.fills if fill.leg == "external-1") == Decimal("0.5")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
def test_a_target_that_finds_nothing_ends_the_position(tmp_path: Path, speed: float | str, seed: int) -> None:
    """All was sold by hand unseen: the partial is refused, two reads agree, and it is closed as external."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.by_hand(OrderSide.SELL, "1")
    keeper.add_prices([60600])
    keeper.simulator.run(for_seconds=30, limit=20_000)
    keeper.add_prices([60610])
    keeper.simulator.run(for_seconds=30, limit=20_000)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "external")
    assert keeper.venue().orders == ()
    assert keeper.held() == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", ["max", 1.0])
def test_a_close_that_finds_nothing_ends_the_position(tmp_path: Path, speed: float | str, seed: int) -> None:
    """A manual close of what somebody else has closed already."""
    keeper = started(tmp_path, seed, speed=speed)
    keeper.by_hand(OrderSide.SELL, "1")
    keeper.ask_close(request_id="r1")
    keeper.simulator.run(for_seconds=30, limit=20_000)
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.venue().orders == ()
    assert isinstance(keeper.open(id="p2"), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_resident_stop_that_finds_less_ends_the_position(tmp_path: Path, seed: int) -> None:
    """It sells what is there; what was sold by hand before is booked as external."""
    keeper = started(tmp_path, seed)
    keeper.by_hand(OrderSide.SELL, "0.4")
    keeper.add_prices([59000])
    keeper.simulator.run(for_seconds=30, limit=20_000)
    keeper.add_prices([58990])
    keeper.simulator.run(for_seconds=30, limit=20_000)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "stop_loss")
    assert keeper.held() == 0
    assert sum(fill.quantity for fill in position.fills if fill.leg == "stop") == Decimal("0.6")


# -- orders of others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_foreign_order_is_told_once_and_left_alone(tmp_path: Path, seed: int) -> None:
    """At the first read that shows it, never again, and it rests to the end."""
    keeper = started(tmp_path, seed)
    keeper.foreign_stop("theirs", "50000")
    for _ in range(3):
        keeper.restart()
        keeper.run(2)
    told = keeper.told("position.foreign_order")
    assert len(told) == 1
    assert "50000" in told[0]["order"]
    keeper.moves(59000)
    assert keeper.position().phase is Phase.CLOSED
    assert [order.client_order_id for order in keeper.venue().orders] == ["theirs"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_foreign_order_that_rests_before_the_entry_is_told(tmp_path: Path, seed: int) -> None:
    """Nobody said to keep it: it could eat what is about to be bought, so it must not be passed over in silence."""
    keeper = Keeper(tmp_path, [60000], seed=seed)
    keeper.start()
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.foreign_stop("theirs", "50000")
    keeper.by_hand(OrderSide.SELL, "1")
    keeper.opened()
    keeper.restart()
    keeper.run(2)
    assert len(keeper.told("position.foreign_order")) == 1
