"""Who may still act: a keeper past its lease, a new owner, and orders whose hour has gone."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.messages import CloseRequest
from actors.runtime.base import tell
from actors.traffic import SendOrder
from actors.venues.base import CancelRequest, OrderRequest, VenueTraits
from actors.venues.paper import PaperVenue
from tests.simulation.house import SYMBOL, Keeper

SEEDS = range(4)


def past_its_lease(folder: Path, seed: int) -> Keeper:
    """A keeper that holds a long of 1 under its own stop, its store gone for longer than the lease."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.run(2)
    keeper.store_is_down = True
    keeper.run(15)
    return keeper


def close_all(keeper: Keeper) -> None:
    """Ask for a close-all; its answer waits for the store."""
    reply = keeper.simulator.reply()
    tell(
        keeper.house.supervisor,
        CloseRequest(position_id="p1", fraction=Decimal(1), request_id="", reply=reply),
    )
    keeper.run(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_a_full_close_goes_out_behind_our_own_stop(tmp_path: Path, seed: int) -> None:
    """The store is merely out of reach: protection is not delayed by it."""
    keeper = past_its_lease(tmp_path, seed)
    close_all(keeper)
    assert keeper.held() == 0
    assert [order.quantity for order in keeper.sent()] == [1, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_nothing_goes_out_once_our_own_stop_is_gone(tmp_path: Path, seed: int) -> None:
    """A new owner replaces the stops first: whoever finds his own gone stands down."""
    keeper = past_its_lease(tmp_path, seed)
    stop = keeper.venue().orders[0]
    now = keeper.simulator.clock.now()
    keeper.exchange.cancel(
        CancelRequest(
            request_id="by hand",
            account="paper",
            symbol=SYMBOL,
            client_order_id=stop.client_order_id,
            kind=stop.kind,
            signed_at=now,
            expires_after_seconds=5,
        ),
        now,
    )
    close_all(keeper)
    assert keeper.held() == 1
    assert len(keeper.sent()) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_past_the_lease_no_partial_goes_out(tmp_path: Path, seed: int) -> None:
    """A target that is crossed then waits until the lease is ours again, and is taken once."""
    keeper = past_its_lease(tmp_path, seed)
    keeper.moves(60600, seconds=5)
    assert keeper.held() == 1
    keeper.store_is_down = False
    keeper.run(20)
    keeper.ready()
    assert keeper.held() == Decimal("0.4")
    assert [order.quantity for order in keeper.sent()] == [1, Decimal("0.6")]


def crash_before_sending(keeper: Keeper, leg: str) -> Callable[[Any, Any], None]:
    """Ends everything just before the gateway would send this leg."""

    def look(actor: object, message: object) -> None:
        if isinstance(message, SendOrder) and message.submit.leg == leg:
            keeper.simulator.before_turn = None
            keeper.crash()

    return look


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_owner_replaces_the_stop_before_it_sends_a_partial(tmp_path: Path, seed: int) -> None:
    """The former owner may still live: by its own stop it would still act, so that goes first."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.run(2)
    keeper.simulator.before_turn = crash_before_sending(keeper, "target-1")
    keeper.moves(60600)
    assert not keeper.alive
    before = len(keeper.exchange.accepted)
    old = {order.client_order_id for order in keeper.venue().orders}
    gone: list[bool] = []

    def at_the_exchange(request: OrderRequest) -> None:
        if request.trigger_price is None:
            gone.append(not old & {order.client_order_id for order in keeper.venue().orders})

    keeper.exchange.before_submit = at_the_exchange
    keeper.boot(owner="another", trust_the_dead=False)
    keeper.run(30)
    keeper.ready()
    kinds = [request.trigger_price is None for request in keeper.exchange.accepted[before:]]
    assert kinds[:2] == [False, True]
    assert gone == [True]
    assert keeper.held() == Decimal("0.4")


def test_the_same_keeper_back_from_the_dead_keeps_its_stop(tmp_path: Path) -> None:
    """A former owner that is proven dead acts by nothing: its stop is good as it is."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.run(2)
    before = len(keeper.exchange.accepted)
    keeper.crash()
    keeper.boot()
    keeper.run(10)
    keeper.ready()
    assert len(keeper.exchange.accepted) == before


def test_no_takeover_where_requests_do_not_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of the former owner could arrive there at any time: nobody acts, and it is said."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.run(2)
    keeper.crash()
    traits = PaperVenue.traits.fget  # type: ignore[attr-defined]

    def forever(venue: PaperVenue) -> VenueTraits:
        known: VenueTraits = traits(venue)
        return replace(known, expires_requests=False)

    monkeypatch.setattr(PaperVenue, "traits", property(forever))
    keeper.boot(owner="another", trust_the_dead=False)
    keeper.run(30)
    reasons = keeper.house.directory.reasons_not_ready()
    assert any("do not expire" in reason for reason in reasons)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_that_the_acknowledged_state_does_not_want_never_reaches_the_exchange(
    tmp_path: Path, seed: int
) -> None:
    """Not even to be refused there: it is withheld."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.run(2)
    asked: list[Decimal] = []

    def at_the_exchange(request: OrderRequest) -> None:
        if request.trigger_price is None:
            asked.append(request.quantity)

    keeper.exchange.before_submit = at_the_exchange
    keeper.store_is_down = True
    keeper.moves(60600, 59990, 60610)
    keeper.store_is_down = False
    keeper.moves(60620)
    assert asked == [1]
