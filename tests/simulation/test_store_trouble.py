"""Durable before acting: what may leave while the store is out of reach, and what becomes of it afterwards."""

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import OrderSide, Phase
from actors.messages import CloseAccepted, Opened
from tests.simulation.house import Keeper
from tests.simulation.outcome import outcome

SEEDS = range(6)


def watched(keeper: Keeper) -> list[int]:
    """Every version the store showed, turn by turn; it may only grow."""
    versions = [0]

    def look(actor: object, message: object) -> None:
        version = keeper.stored_version()
        assert version >= versions[-1]
        if version > versions[-1]:
            versions.append(version)

    keeper.simulator.before_turn = look
    return versions


def opened(folder: Path, seed: int) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from 60000."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    watched(keeper)
    keeper.opened()
    return keeper


def reductions(keeper: Keeper) -> list[Decimal]:
    """The quantities of the keeper's own market exits, oldest first."""
    return [order.quantity for order in keeper.sent() if order.reduce_only]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_waits_for_the_store(tmp_path: Path, seed: int) -> None:
    """A target crossed while the store is out of reach sends nothing until its intent is acknowledged; then once."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600, 60610, 60620)
    assert reductions(keeper) == []
    assert not keeper.position().targets[0].hit
    keeper.store_is_down = False
    keeper.run(4)
    assert reductions(keeper) == [Decimal("0.6")]
    assert keeper.position().targets[0].filled == Decimal("0.6")
    assert keeper.stored() == keeper.position()
    assert keeper.failures.spills("paper") == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_entry_leaves_while_the_store_is_out_of_reach(tmp_path: Path, seed: int) -> None:
    """It is answered and sent once the store is back."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.store_is_down = True
    reply = keeper.ask_open()
    keeper.run(3)
    assert keeper.exchange.accepted == []
    assert not reply.resolved
    keeper.store_is_down = False
    assert isinstance(reply.get(timeout=5), Opened)
    keeper.run(3)
    assert len(keeper.sent()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_resident_orders_are_left_alone_while_the_store_is_out_of_reach(tmp_path: Path, seed: int) -> None:
    """A stop that a rule moved stays at the exchange where it was; it follows once that is durable."""
    keeper = opened(tmp_path, seed)
    before = keeper.venue().orders
    keeper.store_is_down = True
    keeper.moves(60600, 60610, 60620)
    assert keeper.venue().orders == before
    keeper.store_is_down = False
    keeper.run(4)
    resting = [(order.quantity, order.trigger_price) for order in keeper.venue().orders]
    assert resting == [(Decimal("0.4"), Decimal(60000))]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_resident_order_is_cancelled_while_the_store_is_out_of_reach(tmp_path: Path, seed: int) -> None:
    """Where a stop is moved by cancelling first, that cancellation waits for its acknowledgement like everything."""
    keeper = opened(tmp_path, seed)
    keeper.by_hand(OrderSide.BUY, "0.5")
    keeper.run(40)
    assert keeper.position().excess == Decimal("0.5")
    before = keeper.resting()
    keeper.store_is_down = True
    keeper.moves(60600, 60610, 60620)
    assert [asked for asked in keeper.exchange.asked if asked[0] == "cancel"] == []
    assert keeper.resting() == before
    keeper.store_is_down = False
    keeper.run(4)
    assert ("cancel", before[0]) in keeper.exchange.asked
    assert keeper.position().protected


def trailing(folder: Path, seed: int) -> Keeper:
    """A runner whose trailing stop is ahead of the stop that rests at the exchange."""
    keeper = opened(folder, seed)
    keeper.moves(60600, 61200, 61300, 61600, seconds=5)
    position = keeper.position()
    assert position.trailing_stop_active
    resting = [order.trigger_price for order in keeper.venue().orders]
    assert position.stop_price is not None
    assert resting[-1] is not None
    assert resting[-1] < position.stop_price
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stops_full_close_does_not_wait_for_the_store(tmp_path: Path, seed: int) -> None:
    """It is sent at once; when the store is back everything is saved and booked, nothing twice."""
    keeper = trailing(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(61100)
    assert keeper.held() == 0
    assert reductions(keeper) == [Decimal("0.6"), Decimal("0.4")]
    stored = keeper.stored()
    assert stored is not None
    assert stored.closing_reason is None
    keeper.store_is_down = False
    keeper.moves(61050)
    assert (keeper.position().phase, keeper.position().close_reason) == (Phase.CLOSED, "trailing_stop")
    assert reductions(keeper) == [Decimal("0.6"), Decimal("0.4")]
    assert keeper.stored() == keeper.position()
    assert keeper.venue().orders == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_close_that_was_never_saved_is_recognised_after_a_crash(tmp_path: Path, seed: int) -> None:
    """Sent before it was durable, and then the keeper died: its id says whose it is; it is booked as what it was."""
    keeper = trailing(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(61100)
    assert keeper.held() == 0
    keeper.crash()
    keeper.store_is_down = False
    keeper.start()
    keeper.moves(61050)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "trailing_stop")
    assert [(fill.leg, fill.quantity) for fill in position.fills[1:]] == [
        ("target-1", Decimal("0.6")),
        ("stop", Decimal("0.4")),
    ]
    assert reductions(keeper) == [Decimal("0.6"), Decimal("0.4")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_manual_close_of_all_is_sent_at_once_and_answered_once_durable(tmp_path: Path, seed: int) -> None:
    """Protection is never delayed; the answer is, because only what is saved counts as accepted."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    reply = keeper.ask_close(request_id="r1")
    keeper.run(2)
    assert keeper.held() == 0
    assert not reply.resolved
    keeper.store_is_down = False
    assert isinstance(reply.get(timeout=5), CloseAccepted)
    keeper.run(3)
    assert keeper.position().close_reason == "manual"
    assert reductions(keeper) == [1]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_that_is_no_longer_wanted_is_withheld(tmp_path: Path, seed: int) -> None:
    """Decided, its save slow, and the stop fires before it is acknowledged: it is never sent."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600, 59990)
    assert keeper.held() == 0
    assert reductions(keeper) == [1]
    keeper.store_is_down = False
    keeper.moves(59980)
    assert reductions(keeper) == [1]
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "breakeven")
    assert position.targets[0].hit
    assert position.targets[0].filled == 0
    assert keeper.venue().trades[-1].quantity == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outage_longer_than_the_lease_loses_nothing(tmp_path: Path, seed: int) -> None:
    """The keeper stands down and retakes its own shard; what the resident stop did meanwhile is booked as the stop."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.4")
    keeper.store_is_down = True
    keeper.moves(60700, 59990, 60100, seconds=30)
    assert keeper.held() == 0
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "breakeven")
    assert [fill.leg for fill in position.fills] == ["entry", "target-1", "stop"]
    assert keeper.stored() == position


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_decided_in_an_outage_longer_than_the_lease_is_sent_once(tmp_path: Path, seed: int) -> None:
    """The decision waits in the persistence actor, is saved under the new epoch, and goes out then, once."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600, 60610, seconds=20)
    assert reductions(keeper) == []
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    keeper.moves(60620)
    assert reductions(keeper) == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().protected


def play(folder: Path, seed: int, fault: Callable[[], bool]) -> Keeper:
    """One runner's life in lockstep, every stage of every store request failing when `fault` says so."""
    keeper = Keeper(folder, [60000], seed=seed)
    keeper.start()
    keeper.opened()
    watched(keeper)

    def decide(actor: object, message: object) -> None:
        keeper.store_is_down = fault()

    look = keeper.simulator.before_turn
    assert look is not None

    def both(actor: object, message: object) -> None:
        decide(actor, message)
        look(actor, message)  # type: ignore[arg-type]

    keeper.simulator.before_turn = both
    keeper.moves(60300, 59500, 60600, 61200, 61500, 61400, 61000, 60900, seconds=60)
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_that_fails_half_of_the_time_changes_nothing_that_counts(tmp_path: Path, seed: int) -> None:
    """The same legs, reasons, prices and money as on a calm day."""
    calm = outcome(play(tmp_path / "calm", 1, lambda: False).position())
    dice = random.Random(seed)
    keeper = play(tmp_path / "rough", seed, lambda: dice.random() < 0.5)
    assert outcome(keeper.position()) == calm
    assert keeper.stored() == keeper.position()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_in_an_outage_comes_back_to_one_truth(tmp_path: Path, seed: int) -> None:
    """The spill of what could not be saved is taken up, or the store's word is; the partial goes out once."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600)
    keeper.crash()
    keeper.store_is_down = False
    keeper.start()
    keeper.moves(60610, 60620)
    assert reductions(keeper) == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")
    assert [order.quantity for order in keeper.venue().orders] == [Decimal("0.4")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slot_that_closed_in_an_outage_is_free_again(tmp_path: Path, seed: int) -> None:
    """Its last state was saved when the shard was retaken: nobody waits for an actor that will not come back."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(59000, seconds=20)
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    stored = keeper.stored()
    assert stored is not None
    assert stored.phase is Phase.CLOSED
    assert keeper.position() == stored
    assert isinstance(keeper.open(id="p2"), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_opening_in_an_outage_longer_than_the_lease_enters_once(tmp_path: Path, seed: int) -> None:
    """Its first answer is lost with the lease; the repeat finds the position saved when the store came back."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.store_is_down = True
    keeper.ask_open()
    keeper.run(20)
    assert keeper.exchange.accepted == []
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    answer = keeper.open()
    assert isinstance(answer, Opened)
    keeper.run(3)
    assert keeper.held() == 1
    assert [order.reduce_only for order in keeper.sent()] == [False]
    assert keeper.position().protected
