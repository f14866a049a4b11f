"""Ownership: what may be signed, and what a keeper past its lease, or fenced, still does."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.domain.model import OrderKind, Phase
from actors.gateway_parts import GatewayParts
from actors.traffic import CancelOrder, SendOrder
from actors.venues.base import AccountAnswered, CancelRequest
from persistence.lease import Lease
from persistence.memory_store import MemoryStore
from tests.simulation.house import SYMBOL, Keeper

SEEDS = range(4)
# Request expiry and clock skew of the house's account.
NEEDED_SECONDS = 3.0


def opened(folder: Path, seed: int = 1) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from 60000."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    return keeper


def trailing(folder: Path, seed: int) -> Keeper:
    """A runner of 0.4 whose trailing stop (61107.2) is ahead of the stop that rests at the exchange."""
    keeper = opened(folder, seed)
    keeper.moves(60600, 61200, 61300, 61600, seconds=5)
    assert keeper.position().stop_price == Decimal("61107.2")
    return keeper


def freeze(keeper: Keeper, seconds: float) -> None:
    """The keeper does not run for so long; its clocks, on which its lease counts, do."""
    keeper.simulator.clock.elapsed += int(seconds * 1_000_000)


def past_its_lease(keeper: Keeper, *, without_a_lease: float = 12.0) -> None:
    """The store is out of reach for longer than the lease."""
    keeper.store_is_down = True
    keeper.run(without_a_lease)
    assert keeper.house.leases.seconds_left("paper", keeper.simulator.clock.monotonic()) <= 0


def lease_of_the_thief(keeper: Keeper) -> MemoryStore:
    """Somebody else takes the shard, under a higher epoch, once its lease has run out."""
    thief = MemoryStore(newest_schema=2, now=keeper.simulator.clock.monotonic, server=keeper.server)
    thief.take("paper", "thief", 1000.0)
    return thief


def replaced_by_another_owner(keeper: Keeper) -> None:
    """What a new owner does first: the stop of the former one is gone, his own rests, under the position's next id."""
    now = keeper.simulator.clock.now()
    (old,) = keeper.venue().orders
    stored = keeper.stored()
    assert stored is not None
    keeper.exchange.cancel(
        CancelRequest(
            request_id="thief",
            account="paper",
            symbol=SYMBOL,
            client_order_id=old.client_order_id,
            kind=OrderKind.STOP_MARKET,
            signed_at=now,
            expires_after_seconds=5,
        ),
        now,
    )
    keeper.foreign_stop(keeper.order_id(f"resident-{stored.next_resident}"), "60000", str(old.quantity))


# -- signing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_frozen_between_check_and_send_wakes_to_a_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """It has read the time before it looked at its lease, so what it signs after a long sleep has expired.

    That it would also notice how long ago the partial was let go is taken away here.
    """
    monkeypatch.setattr(GatewayParts, "overtaken", lambda *_: "")
    keeper = opened(tmp_path, seed)
    leases = keeper.house.leases
    look, frozen = leases.seconds_left, False

    def sleep(shard: str, now: float, **named: Any) -> float:
        nonlocal frozen
        left = look(shard, now, **named)
        if not frozen:
            frozen = True
            freeze(keeper, 60)
        return left

    monkeypatch.setattr(leases, "seconds_left", sleep)
    keeper.moves(60600, seconds=2)
    assert frozen
    assert keeper.reductions() == []
    assert any(what == "submit" for what, _ in keeper.exchange.asked[2:])
    assert keeper.held() == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("left, sends", [(NEEDED_SECONDS - 0.1, False), (NEEDED_SECONDS + 0.4, True)])
def test_nothing_is_signed_that_the_lease_may_not_outlive(tmp_path: Path, left: float, sends: bool, seed: int) -> None:
    """The request's expiry and the clocks' skew must fit into what is left at the moment of signing."""
    keeper = opened(tmp_path, seed)

    def shorten(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, SendOrder) and message.submit.leg == "target-1":
            keeper.simulator.before_turn = None
            now = keeper.simulator.clock.monotonic()
            keeper.house.leases.post(Lease(shard="paper", epoch=1, deadline=now + left))

    keeper.simulator.before_turn = shorten
    keeper.add_prices([60600])
    keeper.simulator.run(lambda: keeper.simulator.before_turn is None, for_seconds=3)
    keeper.simulator.run(for_seconds=0.2)
    assert (("submit", keeper.order_id("target-1")) in keeper.exchange.asked) is sends


# -- past the lease, and not fenced ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_a_stop_closes_behind_its_own_resident_stop(tmp_path: Path, seed: int) -> None:
    """The store is merely out of reach: its own stop rests, so nobody else has taken over; booked when it is back."""
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)
    keeper.moves(61100, seconds=4)
    assert keeper.held() == 0
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.4")]
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    keeper.run(5)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "trailing_stop")
    assert keeper.stored() == position
    assert keeper.venue().orders == ()
    assert keeper.shard.lease is not None
    assert keeper.shard.lease[1] > 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "seconds",
    [8, 60],
)
def test_past_the_lease_nothing_is_closed_once_its_resident_stop_is_gone(
    tmp_path: Path, seconds: float, seed: int
) -> None:
    """Another owner has replaced it: the former one reads that, sends nothing, and never takes the new one for its
    own.
    """
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)
    replaced_by_another_owner(keeper)
    keeper.moves(61100, 61000, 60900, seconds=seconds)
    assert keeper.held() == Decimal("0.4")
    assert keeper.reductions() == [Decimal("0.6")]


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_nothing_is_closed_when_the_slot_cannot_be_read(tmp_path: Path, seed: int) -> None:
    """What was not read does not rest."""
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)
    keeper.faults.always("read_account", lose="reply")
    keeper.moves(61100, 61090, 61080, seconds=15)
    assert keeper.reductions() == [Decimal("0.6")]


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_neither_a_partial_nor_a_stop_nor_an_entry_leaves(tmp_path: Path, seed: int) -> None:
    """Only the full close does: the exchange is asked for nothing else."""
    keeper = opened(tmp_path, seed)
    past_its_lease(keeper)
    before = len(keeper.exchange.asked)
    keeper.moves(60600, 60610, 60620, seconds=6)
    keeper.ask_open(id="p2", symbol=SYMBOL)
    keeper.run(3)
    assert [what for what, _ in keeper.exchange.asked[before:] if what != "look_up"] == []
    assert keeper.resting() == [keeper.order_id("resident-1")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_that_waits_in_the_gateway_is_not_sent_past_the_lease(tmp_path: Path, seed: int) -> None:
    """Its save was acknowledged in time; the lease ran out before it was signed."""
    keeper = opened(tmp_path, seed)

    def late(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, SendOrder) and message.submit.leg == "target-1":
            keeper.simulator.before_turn = None
            keeper.store_is_down = True
            freeze(keeper, 15)

    keeper.simulator.before_turn = late
    keeper.moves(60600, 60610, seconds=6)
    assert keeper.store_is_down
    assert keeper.reductions() == []
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    keeper.moves(60620, seconds=5)
    assert keeper.reductions() == [Decimal("0.6")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cancel_that_waits_in_the_gateway_is_not_sent_past_the_lease(tmp_path: Path, seed: int) -> None:
    """The stop was moved and that is saved; the lease ran out before the old one's cancel was signed: both rest."""
    keeper = opened(tmp_path, seed)

    def late(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, CancelOrder):
            keeper.simulator.before_turn = None
            keeper.store_is_down = True
            freeze(keeper, 15)

    keeper.simulator.before_turn = late
    keeper.moves(60600, 60610, seconds=12)
    assert keeper.store_is_down
    assert not any(what == "cancel" for what, _ in keeper.exchange.asked)
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    keeper.moves(60620, seconds=5)
    assert len(keeper.resting()) == 1
    assert keeper.position().protected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_frozen_between_that_read_and_its_close_wakes_to_a_rejection(tmp_path: Path, seed: int) -> None:
    """Its own stop rested when it looked; while it slept another owner came, and the look is worth nothing any more."""
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)
    frozen = False

    def sleep(actor: pykka.Actor, message: object) -> None:
        nonlocal frozen
        if frozen or type(actor).__name__ != "GatewayActor" or not isinstance(message, AccountAnswered):
            return
        frozen = True
        replaced_by_another_owner(keeper)
        freeze(keeper, 60)

    keeper.simulator.before_turn = sleep
    keeper.moves(61100, seconds=1)
    assert frozen
    assert keeper.held() == Decimal("0.4")
    assert keeper.reductions() == [Decimal("0.6")]


# -- fenced ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fenced_keeper_sends_nothing_at_all(tmp_path: Path, seed: int) -> None:
    """Its own stop still rests, its actors have not heard yet: the fence on the board is enough."""
    keeper = trailing(tmp_path, seed)
    keeper.store_is_down = True
    keeper.house.leases.post(Lease(shard="paper", epoch=1, deadline=0.0, fenced=True))
    before = len(keeper.exchange.asked)
    keeper.moves(61100, 61000, seconds=5)
    assert [what for what, _ in keeper.exchange.asked[before:] if what != "look_up"] == []
    assert keeper.held() == Decimal("0.4")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fence_seen_between_the_read_and_the_close_stops_the_close(tmp_path: Path, seed: int) -> None:
    """The higher epoch became known while the slot was read."""
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)

    def fence(actor: pykka.Actor, message: object) -> None:
        if type(actor).__name__ == "GatewayActor" and isinstance(message, AccountAnswered):
            keeper.house.leases.post(Lease(shard="paper", epoch=1, deadline=0.0, fenced=True))

    keeper.simulator.before_turn = fence
    keeper.moves(61100, seconds=3)
    assert keeper.reductions() == [Decimal("0.6")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_that_finds_a_higher_epoch_stands_down(tmp_path: Path, seed: int) -> None:
    """The store is back, and the shard is somebody else's: nothing waits, nothing is saved, nothing is sent."""
    keeper = trailing(tmp_path, seed)
    past_its_lease(keeper)
    keeper.moves(61700, seconds=2)
    lease_of_the_thief(keeper)
    raw = keeper.shard.positions["p1"]
    keeper.store_is_down = False
    keeper.run(10)
    before = len(keeper.exchange.asked)
    keeper.moves(61100, 60500, 60100, seconds=20)
    assert keeper.shard.positions["p1"] == raw
    assert keeper.exchange.asked[before:] == []
    assert keeper.held() == Decimal("0.4")
    assert not keeper.house.directory.accounts["paper"].lease_held
