"""The ways in which 60 % became 100 %: each played out, and each ends with what the plan says."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import IntentStatus, OrderKind, OrderSide, Phase
from actors.messages import Amended, Opened, Refusal
from actors.venues.base import OrderRequest
from persistence.batch import Batch
from persistence.commit import Doubtful, Refusals
from persistence.failure_log import MemoryFailureLog
from persistence.memory_store import MemoryStore
from persistence.store import SnapshotConflict
from tests.simulation.house import Keeper
from tests.simulation.test_recovery import step_alone

SEEDS = range(4)
RUNNER_AND_MORE: dict[str, Any] = {
    "stop": {"percent": "1.5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "3"}, "close": "0.2"},
    ],
}


def opened(folder: Path, seed: int = 1) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from 60000."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    return keeper


def dies_at(keeper: Keeper, order_id: str) -> None:
    """The keeper dies at the moment at which the exchange has taken this order."""

    def crash(request: OrderRequest) -> None:
        if request.client_order_id == order_id:
            keeper.exchange.after_submit = lambda _: None
            keeper.crash()

    keeper.exchange.after_submit = crash


def dies_while_its_close_travels(keeper: Keeper) -> None:
    """A close by hand is on its way for 1.8 s, and the keeper dies with its next request to the store."""
    keeper.faults.next("submit", position="p1", leg="manual-1", delay_request_seconds=1.8)
    fault = keeper._fault

    def die(stage: str) -> None:
        fault(stage)
        if keeper.exchange.pending.next_due() is not None:
            keeper.crash()

    keeper._fault = die  # type: ignore[method-assign]
    keeper.restart()
    keeper.ask_close(request_id="r1")
    keeper.simulator.run(lambda: not keeper.alive, for_seconds=3)
    assert not keeper.alive
    keeper._fault = fault  # type: ignore[method-assign]


def opens_when_it_may(keeper: Keeper, *, seconds: float) -> bool:
    """Somebody asks for a new position in the slot ten times a second until he gets it; false when he never does."""
    for _ in range(int(seconds * 10)):
        answer = keeper.open(id="p2")
        if isinstance(answer, Opened):
            return True
        assert isinstance(answer, Refusal)
        keeper.simulator.run(for_seconds=0.1)
    return False


# -- the crash after sending -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_tp1_executed_and_never_recorded_is_looked_up_and_not_sent_again(tmp_path: Path, seed: int) -> None:
    """Killed between the exchange's acceptance and any later save: the order is found, booked, and 60 % stays 60 %."""
    keeper = opened(tmp_path, seed)
    dies_at(keeper, keeper.order_id("target-1"))
    keeper.moves(60600)
    assert not keeper.alive
    assert keeper.held() == Decimal("0.4")
    stored = keeper.stored()
    assert stored is not None
    assert stored.targets[0].filled == 0
    keeper.exchange.asked.clear()
    keeper.start()
    assert ("look_up", keeper.order_id("target-1")) in keeper.exchange.asked
    assert ("submit", keeper.order_id("target-1")) not in keeper.exchange.asked
    keeper.moves(60610, 60620)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
def test_tp1_that_arrives_after_the_restart_is_not_sent_twice(tmp_path: Path, seed: int) -> None:
    """Not to be found when the keeper comes back, because it is still on its way: absence counts past its expiry."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", delay_request_seconds=1.5)
    keeper.add_prices([60600, *[60610] * 20])
    keeper.simulator.run(lambda: bool(keeper.exchange.pending.next_due()), for_seconds=5)
    keeper.crash()
    keeper.start()
    keeper.run(10)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


# -- the amendment after TP1 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ["reply", "request"])
@pytest.mark.parametrize("kept", [True, False])
def test_an_amendment_while_tp1_is_unknown_closes_tp1_once(tmp_path: Path, kept: bool, how: str, seed: int) -> None:
    """Hit, sent, not answered, and the plan is replaced, with target 1 in it or not: it keeps its hit and its order."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose=how)
    keeper.moves(60600, seconds=2)
    assert keeper.position().targets[0].hit
    assert keeper.position().targets[0].filled == 0
    body = RUNNER_AND_MORE if kept else {**RUNNER_AND_MORE, "targets": RUNNER_AND_MORE["targets"][1:]}
    assert isinstance(keeper.amend(body, allow_looser_stop=True), Amended)
    keeper.moves(*[60610] * 20, seconds=20)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    keeper.restart()
    keeper.moves(61810)
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.2")]
    assert keeper.held() == Decimal("0.2")


# -- the spill of a former owner ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lived_on", [True, False])
def test_a_spill_is_not_replayed_once_another_keeper_owned_the_shard(tmp_path: Path, lived_on: bool, seed: int) -> None:
    """Its target was decided in an outage; another keeper had the shard since, whether or not he saved anything."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600)
    keeper.crash()
    assert set(keeper.failures.spills("paper")) == {"p1"}
    keeper.store_is_down = False
    spilled, keeper.failures = keeper.failures, MemoryFailureLog()
    step_alone(keeper, 60300)
    before = keeper.stored_version()
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.simulator.run(lambda: keeper.shard.lease is not None and keeper.shard.lease[0] == "somebody-else")
    if lived_on:
        keeper.ready()
        keeper.run(5)
    keeper.crash()
    assert (keeper.stored_version() > before) is lived_on
    keeper.failures = spilled
    keeper.boot(owner="keeper-1", trust_the_dead=False)
    keeper.run(20)
    keeper.ready()
    keeper.run(5)
    assert keeper.position().targets[0].hit is False
    assert keeper.position().stop_price == 59100
    assert keeper.reductions() == []
    assert keeper.held() == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_spill_of_the_same_keeper_is_taken_up(tmp_path: Path, seed: int) -> None:
    """Nobody had the shard in between: the decision stands, and its partial waits for its price."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600)
    keeper.crash()
    keeper.store_is_down = False
    step_alone(keeper, 60300)
    keeper.start()
    keeper.run(5)
    assert keeper.position().targets[0].hit
    assert keeper.position().stop_price == 60000
    assert keeper.reductions() == []
    keeper.moves(60600)
    assert keeper.reductions() == [Decimal("0.6")]


# -- the stop that was moved -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lost", ["request", "reply"])
def test_a_moved_stop_whose_cancel_was_lost_leaves_exactly_one(tmp_path: Path, lost: str, seed: int) -> None:
    """The old one is looked up and cancelled again until it is read back as gone."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("cancel", lose=lost, times=3)
    keeper.moves(60600, *[60610] * 20, seconds=22)
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price) == (Decimal("0.4"), Decimal(60000))
    assert keeper.position().protected
    assert [i.status for i in keeper.position().intents if i.resident][-1] is IntentStatus.RESTING
    keeper.moves(59990)
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.venue().orders == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_that_dies_while_its_cancel_is_lost_cancels_after_the_restart(tmp_path: Path, seed: int) -> None:
    """Both stops rest when it comes back; one is left, and the cancellation is not forgotten."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("cancel", lose="request")
    keeper.moves(60600, seconds=2)
    assert len(keeper.resting()) == 2
    keeper.restart()
    keeper.run(5)
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price) == (Decimal("0.4"), Decimal(60000))


# -- the late duplicate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_close_that_arrives_past_its_expiry_finds_a_new_position_and_leaves_it(tmp_path: Path, seed: int) -> None:
    """Sent, absent past its expiry, sent again and executed, the slot free, re-entered: then the first one arrives."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="manual-1", delay_request_seconds=9)
    keeper.ask_close(request_id="r1")
    keeper.run(1)
    assert opens_when_it_may(keeper, seconds=7)
    keeper.run(1)
    assert keeper.held() == 1
    assert keeper.exchange.pending.next_due() is not None
    keeper.run(10)
    assert keeper.exchange.pending.next_due() is None
    assert keeper.held() == 1
    assert [order.client_order_id for order in keeper.sent()].count(keeper.order_id("manual-1")) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_slot_is_not_free_while_a_close_may_still_arrive(tmp_path: Path, seed: int) -> None:
    """Nothing is held any more, but a close of ours is on its way: `closing` until it is proven absent or refused."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="manual-1", delay_request_seconds=1.8)
    keeper.ask_close(request_id="r1")
    keeper.add_prices([59000])
    keeper.simulator.run(lambda: keeper.held() == 0, for_seconds=1.5)
    assert keeper.held() == 0
    assert keeper.exchange.pending.next_due() is not None
    assert opens_when_it_may(keeper, seconds=20)
    keeper.run(10)
    assert keeper.held() == 1
    assert keeper.position("p2").protected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_close_of_a_former_life_that_still_arrives_finds_the_slot_taken(tmp_path: Path, seed: int) -> None:
    """Saved and sent, and the keeper died: its successor waits out the expiry before it closes again or frees the
    slot.
    """
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="manual-1", delay_request_seconds=1.8)
    keeper.ask_close(request_id="r1")
    keeper.run(0.1)
    stored = keeper.stored()
    assert stored is not None
    assert stored.closing_reason is not None
    assert keeper.held() == 1
    keeper.crash()
    keeper.boot()
    assert opens_when_it_may(keeper, seconds=20)
    keeper.run(10)
    assert keeper.held() == 1
    assert [order.client_order_id for order in keeper.sent()].count(keeper.order_id("manual-1")) == 1


def test_an_unsaved_close_of_a_former_life_that_still_arrives_finds_the_slot_taken(tmp_path: Path) -> None:
    """Sent before it was durable, and the keeper died at once: its successor knows of no close, and closes anew."""
    eaten = []
    for seed in range(8):
        keeper = opened(tmp_path / str(seed), seed)
        dies_while_its_close_travels(keeper)
        keeper.restart()
        keeper.close(request_id="r2")
        assert opens_when_it_may(keeper, seconds=20)
        keeper.run(10)
        if keeper.held() != 1:
            eaten.append(seed)
    assert eaten == []


def test_a_close_where_somebody_else_holds_more_is_never_sent_by_two_lives(tmp_path: Path) -> None:
    """There reduce-only would let the second one close what is theirs: it leaves only once its id is durable."""
    eaten = []
    for seed in range(8):
        keeper = opened(tmp_path / str(seed), seed)
        keeper.by_hand(OrderSide.BUY, "2")
        keeper.run(40)
        assert keeper.position().excess == 2
        dies_while_its_close_travels(keeper)
        keeper.restart()
        keeper.ask_close(request_id="r1")
        keeper.run(12)
        assert keeper.position().phase is Phase.CLOSED
        if keeper.held() != 2:
            eaten.append(seed)
    assert eaten == []


@pytest.mark.parametrize("seed", range(4))
def test_a_close_among_others_that_becomes_possible_before_it_is_saved_waits(tmp_path: Path, seed: int) -> None:
    """What it waited for has ended by itself; until its intent is stored, a next life would know nothing of it."""
    keeper = opened(tmp_path, seed)
    keeper.by_hand(OrderSide.BUY, "2")
    keeper.run(40)
    assert keeper.position().excess == 2
    for number in range(1, 30):
        keeper.faults.next("submit", position="p1", leg=f"resident-{number}", times=0, error="insufficient_margin")
    keeper.faults.next("submit", position="p1", leg="target-1", delay_reply_seconds=1.5)
    keeper.moves(60600, seconds=1.2)
    assert keeper.position().targets[0].hit
    keeper.store_is_down = True
    keeper.ask_close(request_id="r1")
    keeper.run(5)
    assert keeper.reductions() == [Decimal("0.6")]
    keeper.store_is_down = False
    keeper.run(15)
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.4")]
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.held() == 2


def test_a_full_close_that_nobody_saved_is_recognised_by_its_id(tmp_path: Path) -> None:
    """Taken by the exchange, and the keeper dies before any save: no intent, no spill, and still booked as what it
    was.
    """
    unsaved = 0
    for seed in range(12):
        keeper = opened(tmp_path / str(seed), seed)
        dies_at(keeper, keeper.order_id("manual-1"))
        keeper.ask_close(request_id="r1")
        keeper.run(1)
        assert not keeper.alive
        stored = keeper.stored()
        assert stored is not None
        unsaved += stored.closing_reason is None
        assert keeper.failures.failures == []
        keeper.start()
        keeper.run(5)
        position = keeper.position()
        assert (position.phase, position.close_reason) == (Phase.CLOSED, "manual")
        assert [(fill.leg, fill.quantity) for fill in position.fills[1:]] == [("manual-1", Decimal(1))]
        assert keeper.venue().orders == ()
        assert keeper.reductions() == [1]
    assert unsaved


# -- the transaction that was applied late -----------------------------------------------------------------------------


class LateStore(MemoryStore):
    """A store whose transaction may still be under way when its client has given it up: EXEC runs when told to."""

    under_way: list[tuple[str, Batch, bytes | None]]
    hold = False

    def _commit(self, shard: str, batch: Batch) -> Refusals:
        if type(self).hold:
            type(self).hold = False
            type(self).under_way.append((shard, batch, self._watched))
            raise Doubtful("no answer in time")
        return super()._commit(shard, batch)

    def _begin(self, shard: str, names: object) -> object:  # type: ignore[override]
        """The server runs what is still under way before it reads anything else for us."""
        begun = super()._begin(shard, names)  # type: ignore[arg-type]
        while type(self).under_way:
            late, batch, watched = type(self).under_way.pop()
            data = self.server.shard(late)
            if data.fence == watched:
                self._apply(data, batch)
        return begun


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exec_that_runs_after_its_client_gave_up_changes_nothing(tmp_path: Path, seed: int) -> None:
    """Not saved, said the settling; the transaction that is still under way must then fail, and is saved once."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    LateStore.under_way = []
    keeper.store_class = LateStore
    keeper.start()
    keeper.opened()
    versions = keeper.stored_version()
    LateStore.hold = True
    keeper.moves(60600)
    assert not LateStore.hold
    assert LateStore.under_way == []
    assert keeper.failures.failures == []
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.stored() == keeper.position()
    assert keeper.stored_version() > versions
    hits = [raw for _, raw in keeper.shard.events if b"position.target_hit" in raw]
    assert len(hits) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exec_whose_reply_was_lost_is_recognised(tmp_path: Path, seed: int) -> None:
    """It was applied: found by its write id, not written again, and what waited for it goes out once."""
    keeper = opened(tmp_path, seed)
    fault, lost = keeper._fault, 0

    def lose(stage: str) -> None:
        nonlocal lost
        fault(stage)
        stored = keeper.stored()
        if stage == "after_write" and not lost and stored is not None and stored.targets[0].hit:
            lost = keeper.stored_version()
            raise ConnectionError("the reply was lost")

    keeper._fault = lose  # type: ignore[method-assign]
    keeper.restart()
    keeper.moves(60600)
    assert lost
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.stored() == keeper.position()
    hits = [raw for _, raw in keeper.shard.events if b"position.target_hit" in raw]
    assert len(hits) == 1
    assert not any(isinstance(failure.error, SnapshotConflict) for failure in keeper.failures.failures)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_that_dies_between_exec_and_its_reply_sends_tp1_once(tmp_path: Path, seed: int) -> None:
    """Durable means possibly sent: looked up, proven absent, and then sent with the same id."""
    keeper = opened(tmp_path, seed)
    fault = keeper._fault

    def die(stage: str) -> None:
        fault(stage)
        stored = keeper.stored()
        if stage == "after_write" and stored is not None and stored.targets[0].hit:
            keeper._fault = fault  # type: ignore[method-assign]
            keeper.crash()

    keeper._fault = die  # type: ignore[method-assign]
    keeper.restart()
    keeper.moves(60600)
    assert not keeper.alive
    assert keeper.reductions() == []
    keeper.exchange.asked.clear()
    keeper.start()
    keeper.moves(60610, seconds=10)
    asked = keeper.exchange.asked
    target = keeper.order_id("target-1")
    assert asked.count(("submit", target)) == 1
    assert asked.index(("look_up", target)) < asked.index(("submit", target))
    assert keeper.reductions() == [Decimal("0.6")]


# -- the acknowledgement that no longer wants it -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_acknowledged_save_that_no_longer_wants_its_partial_sends_nothing(tmp_path: Path, seed: int) -> None:
    """TP1 decided, its save slow, the position closed by hand meanwhile: the save that comes back asks for nothing."""
    keeper = opened(tmp_path, seed)
    keeper.store_is_down = True
    keeper.moves(60600, seconds=1.5)
    reply = keeper.ask_close(request_id="r1")
    keeper.run(1)
    assert keeper.reductions() == [1]
    keeper.store_is_down = False
    assert reply.get(timeout=5).leg == "manual-1"
    keeper.run(10)
    assert keeper.reductions() == [1]
    assert ("submit", keeper.order_id("target-1")) not in keeper.exchange.asked
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.position().targets[0].filled == 0
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 1
