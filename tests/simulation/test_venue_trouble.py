"""A venue whose answers are lost or refusals: every order is executed once, and all ends as on a calm day."""

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import OrderKind, Phase
from actors.messages import Opened
from actors.venues.base import CancelRequest, OrderRejected, OrderRequest, OrderUnknown, VenueUnavailable
from actors.venues.paper_ledger import OrderRead
from tests.simulation.house import Keeper
from tests.simulation.outcome import outcome

SEEDS = range(8)
STORY = (60300, 60600, 61200, 61500, 60900)


def play(keeper: Keeper) -> dict[str, Any]:
    """Open a long and play the story, with time enough for every look-up."""
    keeper.start()
    assert isinstance(keeper.open(), Opened)
    keeper.simulator.run(for_seconds=120, limit=50_000)
    keeper.add_prices(STORY)
    keeper.simulator.run(for_seconds=120, limit=100_000)
    assert keeper.simulator.failures == []
    assert keeper.held() == 0
    assert keeper.venue().orders == ()
    return outcome(keeper.position())


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_replies_change_nothing_that_counts(tmp_path: Path, seed: int) -> None:
    """Half of the orders are executed and the reply says nothing certain: looked up, never sent twice."""
    calm = play(Keeper(tmp_path / "calm", [60000]))
    keeper, dice = Keeper(tmp_path / "rough", [60000], seed=seed), random.Random(seed)

    def lose(request: OrderRequest) -> None:
        if dice.random() < 0.5:
            raise OrderUnknown("timeout", "no answer in time")

    keeper.exchange.after_submit = lose
    assert play(keeper) == calm
    ids = [request.client_order_id for request in keeper.exchange.accepted]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("seed", SEEDS)
def test_orders_that_never_left_are_sent_again(tmp_path: Path, seed: int) -> None:
    """Half of the requests fail before they leave: definite, so the same id goes out again."""
    calm = play(Keeper(tmp_path / "calm", [60000]))
    keeper, dice = Keeper(tmp_path / "rough", [60000], seed=seed), random.Random(seed)

    def fail(request: OrderRequest) -> None:
        if dice.random() < 0.5:
            raise VenueUnavailable("network", "no connection")

    keeper.exchange.before_submit = fail
    assert play(keeper) == calm
    ids = [request.client_order_id for request in keeper.exchange.accepted]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("seed", SEEDS)
def test_requests_lost_on_their_way_are_sent_again_after_proof(tmp_path: Path, seed: int) -> None:
    """Neither accepted nor answered for certain: absent past the expiry, then sent again with the same id."""
    calm = play(Keeper(tmp_path / "calm", [60000]))
    keeper, dice = Keeper(tmp_path / "rough", [60000], seed=seed), random.Random(seed)

    def lose(request: OrderRequest) -> None:
        if dice.random() < 0.4:
            raise OrderUnknown("timeout", "no answer in time")

    keeper.exchange.before_submit = lose
    assert play(keeper) == calm


def test_a_partial_that_is_refused_for_a_while_stays_owed(tmp_path: Path) -> None:
    """The stop moves all the same; it is tried again with back-off, and taken once."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    tries = 0

    def refuse(request: OrderRequest) -> None:
        nonlocal tries
        if request.kind is OrderKind.MARKET:
            tries += 1
            if tries < 4:
                raise OrderRejected("too_many_stops", "not now")

    keeper.exchange.before_submit = refuse
    keeper.add_prices([60600, *[60610] * 40])
    keeper.simulator.run(for_seconds=45, limit=50_000)
    assert tries == 4
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().stop_price == 60000
    assert len(keeper.told("order.refused")) == 3


def test_a_stop_that_is_refused_while_another_rests_is_tried_with_back_off(tmp_path: Path) -> None:
    """The old one stays; the venue is not flooded with new ones."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    tries = 0

    def refuse(request: OrderRequest) -> None:
        nonlocal tries
        if request.kind is OrderKind.STOP_MARKET:
            tries += 1
            raise OrderRejected("too_many_stops", "there are too many")

    keeper.exchange.before_submit = refuse
    keeper.add_prices([60600, *[60610] * 20])
    keeper.simulator.run(for_seconds=20, limit=20_000)
    assert 1 <= tries <= 10
    assert [order.trigger_price for order in keeper.venue().orders] == [59100]
    keeper.exchange.before_submit = lambda _: None
    keeper.add_prices([60610] * 90)
    keeper.simulator.run(for_seconds=90, limit=20_000)
    resting = [(order.quantity, order.trigger_price) for order in keeper.venue().orders]
    assert resting == [(Decimal("0.4"), Decimal(60000))]


def test_a_stop_that_would_trigger_closes_at_market(tmp_path: Path) -> None:
    """The venue sees the price beyond the stop already: never stay naked."""
    keeper = Keeper(tmp_path, [60000])
    keeper.start()

    def refuse(request: OrderRequest) -> None:
        if request.kind is OrderKind.STOP_MARKET:
            raise OrderRejected("would_trigger", "the price is through")

    keeper.exchange.before_submit = refuse
    keeper.opened()
    keeper.run(3)
    assert keeper.held() == 0
    assert keeper.position().phase is Phase.CLOSED
    assert len(keeper.told("position.unprotected")) == 1


@pytest.mark.parametrize("trouble", ["open", "unavailable", "unknown"])
def test_a_cancel_that_takes_its_time_does_not_flood_the_venue(tmp_path: Path, trouble: str) -> None:
    """Accepted and still open, or not answered: asked again after a pause; in the end exactly one stop rests."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened()
    cancel, asked = keeper.exchange.cancel, 0

    def slow(request: CancelRequest, now: int) -> OrderRead:
        nonlocal asked
        asked += 1
        if trouble == "unavailable":
            raise VenueUnavailable("network", "no connection")
        if trouble == "unknown":
            raise OrderUnknown("timeout", "no answer in time")
        return keeper.exchange.look_up("paper", request.symbol, request.client_order_id, request.kind)

    keeper.exchange.cancel = slow  # type: ignore[method-assign]
    keeper.add_prices([60600, 60610])
    keeper.simulator.run(for_seconds=10, limit=20_000)
    assert 1 <= asked <= 40
    assert keeper.held() == Decimal("0.4")
    keeper.exchange.cancel = cancel  # type: ignore[method-assign]
    keeper.simulator.run(for_seconds=10, limit=20_000)
    resting = [(order.quantity, order.trigger_price) for order in keeper.venue().orders]
    assert resting == [(Decimal("0.4"), Decimal(60000))]


def test_a_stop_that_never_arrives_is_told(tmp_path: Path) -> None:
    """It is placed again and again; meanwhile nothing protects, and somebody must know."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.faults.next("submit", kind=OrderKind.STOP_MARKET, times=0, error="unavailable")
    keeper.open()
    keeper.moves(*[60000] * 20, seconds=20)
    assert not keeper.position().protected
    assert keeper.told("position.unprotected")
    keeper.faults.clear()
    keeper.moves(*[60000] * 10, seconds=10)
    assert keeper.position().protected
