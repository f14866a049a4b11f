"""Coming back: unreadable snapshots, the resident stop across crashes, owed partials, and giving a shard up."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.domain.model import IntentStatus, OrderKind, Phase, Reason
from actors.domain.plans import RUNNER, parse_plan
from actors.domain.schema import SCHEMA
from actors.messages import CloseAccepted, Opened, Refusal
from actors.venues.paper_replay import ReplaySource
from actors.venues.paper_settings import ReplaySettings
from persistence.codec import decode_snapshot, encode_snapshot
from persistence.memory_store import MemoryStore
from tests.simulation.house import OTHER, SYMBOL, Keeper

SEEDS = range(6)


def started(folder: Path, seed: int = 1, others: tuple[int, ...] = ()) -> Keeper:
    """A keeper with a long on the first symbol and, where there is one, another on the second."""
    keeper = Keeper(folder, [60000], seed=seed, others=others)
    keeper.start()
    keeper.opened()
    if others:
        keeper.opened(id="p2", symbol=OTHER)
    return keeper


def step_alone(keeper: Keeper, *prices: object) -> None:
    """The market goes on while no keeper runs."""
    keeper.add_prices(prices)
    cursors = keeper.exchange.cursors()
    source = ReplaySource(
        SYMBOL, ReplaySettings(file=keeper.files[SYMBOL]), keeper.exchange.instruments[SYMBOL], cursor=cursors[SYMBOL]
    )
    while (tick := source.peek(0)) is not None:
        keeper.exchange.step(tick)
        source.advance(tick)
    source.close()


# -- what cannot be read -----------------------------------------------------------------------------------------------


def damaged(raw: bytes) -> bytes:
    """Bytes that are no snapshot any more."""
    return raw[:-7]


def newer(raw: bytes) -> bytes:
    """The same from a release that is newer than this one."""
    return encode_snapshot(replace(decode_snapshot("p1", raw), schema=SCHEMA + 1))


def unreadable(raw: bytes) -> bytes:
    """A snapshot whose state makes no sense; its symbol can be read."""
    snapshot = decode_snapshot("p1", raw)
    return encode_snapshot(replace(snapshot, state={**snapshot.state, "remaining": "much"}))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spoil", [damaged, newer, unreadable])
def test_what_cannot_be_read_is_quarantined_and_left_as_it_is(tmp_path: Path, spoil: object, seed: int) -> None:
    """Its bytes are never touched, commands are refused, its stop rests on, the other position goes on."""
    keeper = started(tmp_path, seed, others=(3000,))
    keeper.crash()
    raw = keeper.shard.positions["p1"] = spoil(keeper.shard.positions["p1"])  # type: ignore[operator]
    keeper.start()
    published = keeper.published()
    assert published.quarantined
    assert published.position is None
    refusal = keeper.close()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "quarantined"
    refusal = keeper.open()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "id_taken"
    keeper.moves(3030, 3000, symbol=OTHER)
    assert keeper.position("p2").close_reason == "breakeven"
    keeper.run(5)
    assert keeper.shard.positions["p1"] == raw
    assert [order.quantity for order in keeper.venue().orders] == [1]
    keeper.restart()
    assert keeper.published().quarantined
    assert keeper.shard.positions["p1"] == raw


def test_the_slot_of_a_state_that_cannot_be_read_stays_taken(tmp_path: Path) -> None:
    """Where the symbol is readable; even though the venue holds nothing there any more."""
    keeper = started(tmp_path, others=(3000,))
    keeper.crash()
    keeper.shard.positions["p1"] = unreadable(keeper.shard.positions["p1"])
    step_alone(keeper, 59000)
    keeper.start()
    assert keeper.held() == 0
    refusal = keeper.open(id="p3")
    assert isinstance(refusal, Refusal)
    assert refusal.code == "slot_taken"


def test_a_snapshot_that_is_damaged_while_its_actor_is_restarted_ends_in_quarantine(tmp_path: Path) -> None:
    """What is read again and again and stays unreadable is given up, not retried for ever."""
    keeper = started(tmp_path)
    keeper.shard.positions["p1"] = damaged(keeper.shard.positions["p1"])
    keeper.add_prices([60100])
    keeper.run(40)
    assert keeper.published().quarantined
    assert [order.quantity for order in keeper.venue().orders] == [1]


# -- the resident stop -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [(60600,), (60600, 61200, 61900, 62500)])
def test_a_crash_while_a_stop_is_moved_never_leaves_none(tmp_path: Path, story: tuple[int, ...]) -> None:
    """At every turn something rests while something is held; in the end exactly one, of its size."""
    turns, crash_at = 10_000, 1
    while crash_at <= turns:
        keeper = started(tmp_path / str(crash_at), seed=crash_at)
        count = 0

        def look(actor: object, message: object, keeper: Keeper = keeper, crash_at: int = crash_at) -> None:
            nonlocal count
            count += 1
            slot = keeper.venue()
            if slot.position is not None:
                covered = max((order.quantity for order in slot.orders), default=Decimal(0))
                assert covered >= slot.position.quantity, (crash_at, count)
            if count == crash_at:
                keeper.crash()

        keeper.simulator.before_turn = look
        keeper.add_prices(story)
        keeper.run(20)
        if keeper.alive:
            turns = 0
        else:
            keeper.start()
            keeper.run(20)
        (stop,) = keeper.venue().orders
        assert stop.quantity == keeper.held() == Decimal("0.4")
        assert keeper.position().protected
        assert stop.trigger_price is not None
        assert stop.trigger_price >= 60000
        crash_at += 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_that_fired_while_nobody_was_there_is_booked_at_boot(tmp_path: Path, seed: int) -> None:
    """As leg `stop` with the reason the stop had, at its own price and time; nothing is sold again."""
    keeper = started(tmp_path, seed)
    keeper.moves(60600)
    assert keeper.position().stop_price == 60000
    keeper.crash()
    step_alone(keeper, 60100, 59950, 60500, 61900)
    assert keeper.held() == 0
    sold = len(keeper.sent())
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    fill = position.fills[-1]
    assert (fill.leg, fill.reason) == ("stop", Reason.BREAKEVEN)
    assert (fill.price, fill.quantity) == (Decimal(59950), Decimal("0.4"))
    assert (position.phase, position.close_reason, position.closed_at) == (Phase.CLOSED, "breakeven", fill.at)
    assert len(keeper.sent()) == sold
    assert not position.targets[1].hit


@pytest.mark.parametrize("seed", SEEDS)
def test_the_price_is_through_the_stop_at_boot(tmp_path: Path, seed: int) -> None:
    """The trail's stop was ahead of the one at rest: after the gap it closes now, on the present price."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.moves(60600, 61200, 61300, 61600, seconds=5)
    assert keeper.position().stop_price == Decimal("61107.2")
    keeper.crash()
    step_alone(keeper, 61100)
    assert keeper.held() == Decimal("0.4")
    keeper.start()
    keeper.run(3)
    assert keeper.position().close_reason == "trailing_stop"
    assert keeper.held() == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("targets_source", ["bid_ask", "mark"])
def test_a_target_passed_only_while_nobody_was_there_is_not_hit(tmp_path: Path, seed: int, targets_source: str) -> None:
    """It is told as missed, once, and acts on nothing; whichever price triggers it."""
    keeper = Keeper(tmp_path, [60000], seed=seed)
    keeper.start()
    keeper.opened(plan=parse_plan({**RUNNER, "trigger_by": {"stop": "mark", "targets": targets_source}}))
    keeper.crash()
    step_alone(keeper, 60650, *[60640] * 130, 60100)
    keeper.start()
    keeper.run(3)
    assert not keeper.position().targets[0].hit
    assert keeper.held() == 1
    assert len(keeper.told("position.target_missed")) == 1
    keeper.restart()
    keeper.run(3)
    assert len(keeper.told("position.target_missed")) == 1
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.4")


# -- owed --------------------------------------------------------------------------------------------------------------


def owing(folder: Path, seed: int) -> Keeper:
    """TP1's partial is durable as sent, and the keeper died before the exchange got it."""
    keeper = started(folder, seed)

    def crash(actor: object, message: object) -> None:
        stored = keeper.stored()
        owed = stored is not None and any(intent.leg == "target-1" for intent in stored.intents)
        if owed and len(keeper.sent()) == 1:
            keeper.crash()

    keeper.simulator.before_turn = crash
    keeper.add_prices([60600])
    keeper.run(5)
    keeper.simulator.before_turn = None
    assert not keeper.alive
    assert keeper.held() == 1
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_an_owed_partial_waits_for_its_price(tmp_path: Path, seed: int) -> None:
    """Below its level less the slippage it stays owed, its actions stand; with the price back it goes out once."""
    keeper = owing(tmp_path, seed)
    stored = keeper.stored()
    assert stored is not None
    (before,) = [intent for intent in stored.intents if intent.leg == "target-1"]
    step_alone(keeper, 60300)
    keeper.start()
    keeper.run(5)
    position = keeper.position()
    (owed,) = [intent for intent in position.intents if intent.leg == "target-1"]
    assert (owed.status, owed.client_order_id) == (IntentStatus.PLANNED, before.client_order_id)
    assert (position.targets[0].hit, position.stop_price) == (True, Decimal(60000))
    assert keeper.held() == 1
    keeper.restart()
    keeper.moves(60400, 60470)
    assert keeper.held() == 1
    keeper.moves(60480)
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.4")
    reductions = [order for order in keeper.sent() if order.reduce_only]
    assert [(order.client_order_id, order.quantity) for order in reductions] == [
        (before.client_order_id, Decimal("0.6"))
    ]
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
def test_an_owed_partial_is_withdrawn_by_the_stop(tmp_path: Path, seed: int) -> None:
    """The price came back through the stop instead: all that remains is closed, and the partial is never sent."""
    keeper = owing(tmp_path, seed)
    step_alone(keeper, 60300)
    keeper.start()
    keeper.moves(59990)
    assert (keeper.position().phase, keeper.position().close_reason) == (Phase.CLOSED, "breakeven")
    assert keeper.held() == 0
    assert all(order.quantity == 1 for order in keeper.sent() if order.reduce_only)
    assert keeper.position().targets[0].filled == 0


# -- giving a shard up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drained_keeper_leaves_all_durable_and_the_shard_free(tmp_path: Path, seed: int) -> None:
    """The next one, with no proof of anybody's death, takes it at once and goes on."""
    keeper = started(tmp_path, seed)
    keeper.add_prices([60600])
    keeper.simulator.run(lambda: keeper.position().targets[0].hit, for_seconds=5)
    assert keeper.drain() is True
    assert keeper.shard.lease is None
    refusal = keeper.open(id="late")
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_ready"
    assert "the service is draining" in keeper.house.directory.reasons_not_ready()
    keeper.simulator.run(for_seconds=30)
    assert keeper.shard.lease is None
    keeper.crash()
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.simulator.run(for_seconds=1)
    status = keeper.house.directory.accounts["paper"]
    assert status.lease_held
    keeper.ready()
    keeper.moves(60610)
    assert keeper.held() == Decimal("0.4")
    assert [order.quantity for order in keeper.sent() if order.reduce_only] == [Decimal("0.6")]
    assert isinstance(keeper.close(), CloseAccepted)
    keeper.run(3)
    assert keeper.held() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shard_that_somebody_else_holds_is_taken_when_his_lease_ends(tmp_path: Path, seed: int) -> None:
    """Nobody can prove the former owner dead: the keeper waits for the end of his lease, and then begins by itself."""
    keeper = started(tmp_path, seed)
    keeper.crash()
    keeper.boot(owner="somebody-else", trust_the_dead=False)
    keeper.run(1)
    assert keeper.house.directory.reasons_not_ready()
    assert "keeper-1" in keeper.house.directory.accounts["paper"].detail
    keeper.run(30)
    assert keeper.house.directory.accounts["paper"].lease_held
    keeper.ready()
    keeper.moves(59000)
    assert keeper.position().close_reason == "stop_loss"


def test_a_store_that_is_out_of_reach_at_boot_is_asked_again(tmp_path: Path) -> None:
    """The keeper comes up once it answers."""
    keeper = started(tmp_path)
    keeper.crash()
    keeper.store_is_down = True
    keeper.boot()
    keeper.run(20)
    assert keeper.house.directory.reasons_not_ready()
    keeper.store_is_down = False
    keeper.run(10)
    keeper.ready()
    assert keeper.position().protected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_keeper_whose_shard_was_taken_stands_down(tmp_path: Path, seed: int) -> None:
    """Somebody took it under a higher epoch: it saves nothing, sends nothing, and says that it does not own it."""
    keeper = started(tmp_path, seed)
    other = MemoryStore(newest_schema=SCHEMA, now=keeper.simulator.clock.monotonic, server=keeper.server)
    other.take("paper", "thief", 1000.0, dead_owner="keeper-1")
    raw = keeper.shard.positions["p1"]
    accepted = len(keeper.exchange.accepted)
    keeper.moves(60600, seconds=20)
    assert keeper.shard.positions["p1"] == raw
    assert len(keeper.exchange.accepted) == accepted
    refusal = keeper.open(id="p9")
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_owner"
    other.release("paper", "thief", other.fence("paper").epoch)
    keeper.run(30)
    keeper.ready()
    assert isinstance(keeper.open(), Opened)
    assert len(keeper.sent(OrderKind.STOP_MARKET)) >= 1
