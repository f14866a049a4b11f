"""Taking a shard: what a new owner does first, and how the old life of a shard that was taken again falls silent."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pykka
import pytest

from actors.domain.model import OrderKind
from actors.recovery import Recovery
from actors.runtime.base import Ping, Ref, tell
from actors.traffic import BeginRecovery, MarketPrice, SendOrder
from actors.venues.base import OrderRequest
from persistence.messages import Save, SaveFailed
from persistence.store import StaleOwner
from tests.simulation.house import SYMBOL, Keeper
from tests.simulation.test_ownership import freeze, lease_of_the_thief, opened, past_its_lease, trailing
from tests.simulation.test_recovery import owing, step_alone

SEEDS = range(4)
LEASE_SECONDS = 10.0


class Listener(pykka.ThreadingActor):
    """Keeps what it is told."""

    def __init__(self, heard: list[object]) -> None:
        super().__init__()
        self._heard = heard

    def on_receive(self, message: object) -> None:
        """Keep it."""
        self._heard.append(message)


# -- a new owner -------------------------------------------------------------------------------------------------------


def watched_partials(keeper: Keeper) -> list[tuple[str, list[str]]]:
    """Every reduction at the market, each with what rested at the exchange when it arrived."""
    seen: list[tuple[str, list[str]]] = []

    def note(request: OrderRequest) -> None:
        if request.kind is OrderKind.MARKET and request.reduce_only:
            seen.append((request.client_order_id, keeper.resting()))

    keeper.exchange.before_submit = note
    return seen


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lost", ["", "request", "reply"])
def test_a_new_owner_replaces_the_resident_stop_first(tmp_path: Path, lost: str, seed: int) -> None:
    """Nobody can prove the former one dead: its stop is replaced, never missed, before any partial goes out."""
    keeper = owing(tmp_path, seed)
    step_alone(keeper, 60610)
    if lost:
        keeper.faults.next("submit", kind=OrderKind.STOP_MARKET, lose=lost)
    partials = watched_partials(keeper)
    (old,) = keeper.resting()
    resting: list[int] = []
    keeper.simulator.before_turn = lambda actor, message: resting.append(len(keeper.resting()))
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.run(30)
    keeper.ready()
    keeper.run(10)
    assert [order_id for order_id, _ in partials] == [keeper.order_id("target-1")]
    assert old not in partials[0][1]
    assert len(partials[0][1]) == 1
    assert min(resting) >= 1
    (stop,) = keeper.venue().orders
    assert stop.client_order_id != old
    assert (stop.quantity, keeper.held()) == (Decimal("0.4"), Decimal("0.4"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_owner_closes_without_waiting_for_the_replacement(tmp_path: Path, seed: int) -> None:
    """A full close is protection: it does not wait for an order of stops."""
    keeper = trailing(tmp_path, seed)
    keeper.crash()
    step_alone(keeper, 61050)
    keeper.faults.always("cancel", lose="request")
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.run(30)
    assert keeper.held() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_restart_of_a_keeper_that_is_proven_dead_leaves_its_stop(tmp_path: Path, seed: int) -> None:
    """Nobody can act by it any more: the same order rests on."""
    keeper = opened(tmp_path, seed)
    before = keeper.resting()
    keeper.restart()
    keeper.run(5)
    assert keeper.resting() == before
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_nor_do_many_restarts_in_a_row(tmp_path: Path, seed: int) -> None:
    """Nothing happens in between, and the same order rests on: the shard knows that each owner was the only one."""
    keeper = opened(tmp_path, seed)
    before = keeper.resting()
    for _ in range(4):
        keeper.restart()
        keeper.run(3)
    assert keeper.resting() == before
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_nor_do_restarts_long_after_the_lease_has_run_out(tmp_path: Path, seed: int) -> None:
    """Its lease no longer names the dead keeper; the shard's line of owners does, and the same order rests on."""
    keeper = opened(tmp_path, seed)
    before = keeper.resting()
    for _ in range(3):
        keeper.crash()
        freeze(keeper, 3 * LEASE_SECONDS)
        keeper.start()
        keeper.run(3)
    assert keeper.resting() == before
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stranger_replaces_the_stop_also_long_after_the_lease_has_run_out(tmp_path: Path, seed: int) -> None:
    """Nobody can prove to it that the former owner is dead, and to the former owner's next life nobody that it is."""
    keeper = opened(tmp_path, seed)
    (old,) = keeper.resting()
    keeper.crash()
    freeze(keeper, 3 * LEASE_SECONDS)
    keeper.boot(owner="stranger", trust_the_dead=False)
    keeper.run(10)
    (strangers,) = keeper.resting()
    assert strangers != old
    keeper.crash()
    freeze(keeper, 3 * LEASE_SECONDS)
    keeper.start()
    keeper.run(10)
    (own,) = keeper.resting()
    assert own not in (old, strangers)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_owner_that_dies_before_it_replaced_leaves_that_to_its_successor(tmp_path: Path, seed: int) -> None:
    """It is proven dead; the one before it is not, and its stop still rests: the successor must replace it."""
    keeper = owing(tmp_path, seed)
    step_alone(keeper, 60610)
    partials = watched_partials(keeper)
    (old,) = keeper.resting()
    keeper.boot(owner="keeper-2", trust_the_dead=False)
    keeper.simulator.run(lambda: keeper.shard.lease is not None and keeper.shard.lease[0] == "keeper-2")
    keeper.crash()
    keeper.start()
    keeper.run(10)
    assert [order_id for order_id, _ in partials] == [keeper.order_id("target-1")]
    assert old not in partials[0][1]
    assert old not in keeper.resting()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_actor_that_fails_before_it_replaced_leaves_that_to_its_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What is stored is a former owner's: the actor that comes back from it replaces the stop all the same."""
    keeper = owing(tmp_path, seed)
    step_alone(keeper, 60610)
    partials = watched_partials(keeper)
    (old,) = keeper.resting()
    begin, failures = Recovery.begin, iter([True])

    def fail_once(recovery: Recovery, message: BeginRecovery) -> None:
        if next(failures, False):
            raise RuntimeError("for the test")
        begin(recovery, message)

    monkeypatch.setattr(Recovery, "begin", fail_once)
    keeper.boot(owner="keeper-2", trust_the_dead=False)
    keeper.run(30, failures=1)
    assert [order_id for order_id, _ in partials] == [keeper.order_id("target-1")]
    assert old not in partials[0][1]
    assert old not in keeper.resting()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_owner_that_dies_while_it_replaces_is_continued(tmp_path: Path, seed: int) -> None:
    """At any moment of the takeover: what is still to be replaced is saved, and no partial precedes it."""
    turns, crash_at = 10_000, 1
    while crash_at <= turns:
        keeper = owing(tmp_path / str(crash_at), seed)
        step_alone(keeper, 60610)
        partials = watched_partials(keeper)
        (old,) = keeper.resting()
        keeper.run(12)
        count = 0

        def look(actor: object, message: object, keeper: Keeper = keeper, crash_at: int = crash_at) -> None:
            nonlocal count
            stored = keeper.stored()
            if stored is not None and stored.residents_replaced_below:
                count += 1
                if count == crash_at:
                    keeper.crash()

        keeper.simulator.before_turn = look
        keeper.boot(owner="keeper-2", trust_the_dead=False)
        keeper.run(15)
        keeper.simulator.before_turn = None
        if keeper.alive:
            turns = 0
        else:
            keeper.start()
            keeper.run(15)
        assert [order_id for order_id, _ in partials] == [keeper.order_id("target-1")], crash_at
        assert old not in partials[0][1], crash_at
        assert keeper.held() == Decimal("0.4"), crash_at
        crash_at += 6


# -- taken again -------------------------------------------------------------------------------------------------------


def lives(keeper: Keeper) -> tuple[list[Ref], list[Ref]]:
    """The position actors that come back from now on, and the gateways that answer, in order."""
    positions: list[Ref] = []
    gateways: list[Ref] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, BeginRecovery):
            positions.append(actor.actor_ref)
        if type(actor).__name__ == "GatewayActor" and actor.actor_ref not in gateways:
            gateways.append(actor.actor_ref)

    keeper.simulator.before_turn = note
    return positions, gateways


def own_ref(keeper: Keeper) -> Ref:
    """The actor of this keeper's position, seen as it is pinged."""
    seen: list[Ref] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if type(actor).__name__ == "PositionActor" and isinstance(message, Ping):
            seen.append(actor.actor_ref)

    keeper.simulator.before_turn = note
    quote = keeper.house.directory.quote("paper", SYMBOL)
    assert quote is not None
    keeper.moves(quote.mark, seconds=keeper.health_seconds + 1)
    keeper.simulator.before_turn = None
    return seen[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_expired_lease_is_retaken_under_a_higher_epoch_and_all_is_reconciled_anew(tmp_path: Path, seed: int) -> None:
    """Also by its former owner: every order is looked up again, the slot read, before anything is sent."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60600)
    epoch = keeper.published().epoch
    positions, _ = lives(keeper)
    past_its_lease(keeper)
    assert keeper.house.directory.reasons_not_ready()
    before = len(keeper.exchange.asked)
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    assert keeper.shard.lease is not None
    assert keeper.shard.lease[1] == epoch + 1
    assert len(positions) == 1
    stored = keeper.stored()
    assert stored is not None
    asked = keeper.exchange.asked[before:]
    for intent in stored.intents:
        if not intent.status.terminal:
            assert ("look_up", intent.client_order_id) in asked
    keeper.moves(59990)
    assert keeper.position().close_reason == "breakeven"
    assert keeper.published().epoch == epoch + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lease_that_ran_out_in_a_sleep_is_not_simply_renewed(tmp_path: Path, seed: int) -> None:
    """The store never knew that the keeper slept: its own clock says so, and it begins anew under a higher epoch."""
    keeper = opened(tmp_path, seed)
    epoch = keeper.published().epoch
    positions, _ = lives(keeper)
    freeze(keeper, 3600)
    data = keeper.shard
    assert data.lease is not None
    # The server's own clock stood still with the keeper's machine: as it sees it, the lease is still there.
    data.lease = (data.lease[0], data.lease[1], keeper.simulator.clock.monotonic() + LEASE_SECONDS)
    keeper.run(10)
    keeper.ready()
    assert keeper.shard.lease is not None
    assert keeper.shard.lease[1] == epoch + 1
    assert len(positions) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_save_of_the_old_life_that_arrives_late_is_refused(tmp_path: Path, seed: int) -> None:
    """It grew from exactly what is stored, and still belongs to a life that has ended."""
    keeper = opened(tmp_path, seed)
    epoch = keeper.published().epoch
    past_its_lease(keeper)
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    raw, heard = keeper.shard.positions["p1"], list[object]()
    stored = keeper.stored()
    assert stored is not None
    save = Save(
        shard="paper",
        position_id="p1",
        schema=1,
        grew_from=keeper.stored_version(),
        change=99,
        state={"id": "p1"},
        reply_to=keeper.simulator.spawn(Listener, heard),
        epoch=epoch,
    )
    tell(keeper.house.persistence, save)
    keeper.run(1)
    (answer,) = heard
    assert isinstance(answer, SaveFailed)
    assert isinstance(answer.error, StaleOwner)
    assert keeper.shard.positions["p1"] == raw


@pytest.mark.parametrize("seed", SEEDS)
def test_a_partial_saved_under_the_later_epoch_is_sent_by_the_later_life_alone(tmp_path: Path, seed: int) -> None:
    """What the old life decided in the outage is durable now, under an epoch that is not its own: it lets go."""
    keeper = opened(tmp_path, seed)
    old = own_ref(keeper).actor_urn
    past_its_lease(keeper)
    keeper.moves(60600, 60610, seconds=3)
    sent: list[SendOrder] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, SendOrder):
            sent.append(message)

    keeper.simulator.before_turn = note
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    keeper.moves(60620, seconds=5)
    assert keeper.reductions() == [Decimal("0.6")]
    assert sent
    assert [message for message in sent if message.reply_to.actor_urn == old] == []


@pytest.mark.parametrize("seed", range(24))
def test_a_price_that_reaches_the_old_life_late_makes_it_send_nothing_new(tmp_path: Path, seed: int) -> None:
    """Retaken, and the old position has not heard of it yet: whatever it decides, nothing is sold twice."""
    keeper = trailing(tmp_path, seed)
    old = own_ref(keeper)
    past_its_lease(keeper)
    latest = keeper.house.directory.quote("paper", SYMBOL)
    assert latest is not None
    through = replace(latest, mark=Decimal(61100), last=Decimal(61100), bid=Decimal(61100), ask=Decimal(61100))
    told = False

    def late(actor: pykka.Actor, message: object) -> None:
        nonlocal told
        lease = keeper.shard.lease
        if not told and lease is not None and lease[1] > 1:
            told = True
            tell(old, MarketPrice(quote=through))

    keeper.simulator.before_turn = late
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    assert told
    keeper.moves(61100, seconds=6)
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.4")]
    assert keeper.position().close_reason == "trailing_stop"
    assert keeper.failures.spills("paper") == {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gone_again", [True, False])
def test_what_the_old_owner_still_wants_is_nothing_to_the_new_one(tmp_path: Path, gone_again: bool, seed: int) -> None:
    """Its decision waited in an outage, another keeper lived meanwhile: it stays as evidence, and is not sent."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600, 60300, seconds=15)
    thief = lease_of_the_thief(keeper)
    if not gone_again:
        keeper.store_is_down = False
        keeper.run(5)
    thief.release("paper", "thief", thief.fence("paper").epoch)
    keeper.store_is_down = False
    keeper.run(30)
    keeper.ready()
    keeper.run(5)
    assert not keeper.position().targets[0].hit
    assert keeper.reductions() == []
    assert keeper.held() == 1
    assert any(failure.kind == "snapshot.stale_owner" for failure in keeper.failures.failures)
