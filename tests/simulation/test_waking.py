"""Prices reach just the positions they concern, and no position can tell: the same exits, extremes and peaks."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.desk import Desk
from actors.domain.plans import parse_plan
from actors.runtime.base import Ref, tell
from actors.traffic import BeginRecovery, MarketPrice, PriceWoke
from persistence.messages import SaveTapes
from tests.simulation.house import OTHER, SYMBOL, Keeper
from tests.simulation.outcome import outcome
from tests.simulation.test_recovery import step_alone

SEEDS = range(8)
TRAILING = parse_plan({"stop": {"percent": "1.5"}, "trail": {"percent": "1"}}, name="trailing")
STORY = (60010, 59900, 60300, 60590, 60600, 60700, 60650, 61200, 61300, 61280, 61500, 61450, 61520, 61100, 61000, 60900)


def opened(folder: Path, seed: int = 1, **what: object) -> Keeper:
    """A long of 1 from 60000 on a market that follows the clock."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened(**what)
    return keeper


def woken(keeper: Keeper) -> list[Decimal | None]:
    """The prices that are told to positions from now on."""
    told: list[Decimal | None] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, PriceWoke):
            told.append(message.wake.quote.mark)
        assert not isinstance(message, MarketPrice)

    keeper.simulator.before_turn = note
    return told


def test_a_price_that_changes_nothing_is_told_to_nobody(tmp_path: Path) -> None:
    """Between stop and target: no message, no save of the position, and its extremes are shown all the same."""
    keeper = opened(tmp_path)
    told, version = woken(keeper), keeper.stored_version()
    keeper.moves(60100, 59500, 60400, 60200, seconds=6)
    assert told == []
    assert keeper.stored_version() == version
    position = keeper.position()
    assert position.mfe is not None
    assert position.mae is not None
    assert (position.mfe.price, position.mae.price) == (Decimal(60400), Decimal(59500))


def test_a_price_that_concerns_a_position_is_told_to_it_alone(tmp_path: Path) -> None:
    """The first target of one; the other symbol's position, and the other prices, cost nothing."""
    keeper = Keeper(tmp_path, [60000], speed=1.0, others=[3000])
    keeper.start()
    keeper.opened()
    keeper.opened(id="p2", symbol=OTHER)
    told = woken(keeper)
    keeper.moves(60100, 60600, 60500, seconds=6)
    keeper.moves(3001, 3002, seconds=4, symbol=OTHER)
    assert told == [Decimal(60600)]
    assert keeper.reductions() == [Decimal("0.6")]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_story_ends_as_it_does_where_every_price_is_told(tmp_path: Path, seed: int) -> None:
    """In lockstep every position hears every price: the same exits at the same prices, and the same extremes."""
    every = Keeper(tmp_path / "every", [60000], seed=seed)
    every.start()
    every.opened()
    every.moves(*STORY, seconds=30)
    some = opened(tmp_path / "some", seed)
    told = woken(some)
    some.moves(*STORY, seconds=30)
    wanted, found = outcome(every.position()), outcome(some.position())
    assert found == wanted
    assert found["closed"][0] == "trailing_stop"
    assert len(told) < len(STORY) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_forgets_no_peak_that_only_the_tape_knew(tmp_path: Path, seed: int) -> None:
    """The trail rose by prices that no position saved; after the crash it stands where it stood."""
    keeper = opened(tmp_path, seed, plan=TRAILING)
    keeper.moves(60020, 60040, 60030, seconds=5)
    before = keeper.position()
    raw = keeper.shard.positions["p1"]
    assert before.peak_price == Decimal(60040)
    assert before.stop_price == Decimal("59439.60")
    keeper.restart()
    keeper.run(3)
    after = keeper.position()
    assert (after.peak_price, after.peak_at, after.stop_price) == (before.peak_price, before.peak_at, before.stop_price)
    assert (after.mae, after.mfe) == (before.mae, before.mfe)
    assert not after.extremes_approximate
    assert keeper.shard.positions["p1"] != raw
    keeper.moves(59440, 59439, seconds=4)
    assert keeper.position().close_reason == "trailing_stop"


@pytest.mark.parametrize("seed", SEEDS)
def test_two_crashes_in_a_row_forget_nothing(tmp_path: Path, seed: int) -> None:
    """The second comes while the first is being recovered from, at any turn."""
    turns, crash_at = 10_000, 1
    while crash_at <= turns:
        keeper = opened(tmp_path / str(crash_at), seed, plan=TRAILING)
        keeper.moves(60020, 60040, 59990, seconds=5)
        before = keeper.position()
        keeper.crash()
        keeper.boot()
        if keeper.crashes_at(crash_at, seconds=3):
            keeper.start()
            keeper.run(3)
        else:
            turns = 0
        after = keeper.position()
        assert (after.peak_price, after.stop_price) == (before.peak_price, before.stop_price), crash_at
        assert (after.mae, after.mfe) == (before.mae, before.mfe), crash_at
        crash_at += 7


def test_a_tape_that_cannot_be_read_costs_that_tape(tmp_path: Path) -> None:
    """The position comes back, protected, with the extremes that it had saved itself."""
    keeper = opened(tmp_path, plan=TRAILING)
    keeper.moves(60020, 60040, seconds=4)
    keeper.crash()
    keeper.shard.tapes[SYMBOL] = keeper.shard.tapes[SYMBOL][:-3]
    keeper.start()
    keeper.run(3)
    assert keeper.position().protected
    keeper.moves(60050, 59449, seconds=4)
    assert keeper.position().close_reason == "trailing_stop"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_position_that_begins_anew_keeps_what_prices_did_meanwhile(tmp_path: Path, seed: int) -> None:
    """Its actor fails and is restarted while the market goes on."""
    keeper = opened(tmp_path, seed, plan=TRAILING)
    keeper.moves(60020, 60040, 60030, seconds=5)
    ref = [ref for ref in pykka.ActorRegistry.get_all() if ref.actor_class.__name__ == "PositionActor"][-1]
    tell(ref, object())
    keeper.add_prices([60060, 60050])
    keeper.run(5, failures=1)
    position = keeper.position()
    assert position.peak_price == Decimal(60060)
    assert position.mfe is not None
    assert position.mfe.price == Decimal(60060)


def crossing_after_the_next_fold(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """One price of 59000, played just after a position has caught up for the next time, and the former price again."""
    fold, done = Desk.fold, False

    def crossed_after(desk: Desk, key: str, ref: Ref) -> Any:
        nonlocal done
        found = fold(desk, key, ref)
        if not done:
            done = True
            back = keeper.house.directory.quote("paper", SYMBOL)
            assert back is not None
            through = Decimal(59000)
            for woken_ref, wake in desk.play(
                [replace(back, mark=through, last=through, bid=through, ask=through), back]
            ):
                tell(woken_ref, PriceWoke(wake=wake))
        return found

    monkeypatch.setattr(Desk, "fold", crossed_after)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_price_between_two_messages_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Crossed for one price, after the position has caught up and before it says that it waits for something else."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60100, seconds=3)
    crossing_after_the_next_fold(keeper, monkeypatch)
    keeper.amend({"stop": {"percent": "1.2"}, "targets": [{"at": {"percent": "3"}, "close": "0.4"}]})
    keeper.run(4)
    assert keeper.position().close_reason == "stop_loss"


def test_a_price_for_a_former_registration_is_out_of_date(tmp_path: Path) -> None:
    """It was on its way when the position said that it waits for something else, and came to know later prices."""
    keeper = opened(tmp_path)
    heard: list[tuple[Ref, PriceWoke]] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, PriceWoke):
            heard.append((actor.actor_ref, message))

    keeper.simulator.before_turn = note
    keeper.moves(60600, 60700, seconds=5)
    ref, message = heard[0]
    through = Decimal(59000)
    quote = replace(message.wake.quote, mark=through, last=through, bid=through, ask=through)
    tell(ref, PriceWoke(wake=replace(message.wake, quote=quote)))
    keeper.run(3)
    assert keeper.position().remaining == Decimal("0.4")


def test_what_was_played_before_the_entry_is_none_of_its_own(tmp_path: Path) -> None:
    """The market's extremes of earlier hours are on the same tape; a crash, whenever, does not make them its own."""
    turns, crash_at = 10_000, 1
    while crash_at <= turns:
        keeper = Keeper(tmp_path / str(crash_at), [60000], speed=1.0)
        keeper.start()
        keeper.moves(70000, 69000, 50000, 51000, 60000, seconds=8)
        keeper.ask_open()
        if keeper.crashes_at(crash_at, seconds=2):
            keeper.start()
        else:
            turns = 0
        keeper.moves(60100, 60050, seconds=4)
        crash_at += 1
        if "p1" not in keeper.house.directory.positions:
            continue
        position = keeper.position()
        assert position.mfe is not None
        assert position.mae is not None
        assert (position.mfe.price, position.mae.price) == (Decimal(60100), Decimal(60000)), crash_at


def test_one_copy_of_a_tape_is_under_way_at_a_time(tmp_path: Path) -> None:
    """However fast prices come, and however slow the store is: one small write after the other."""
    keeper = opened(tmp_path, plan=TRAILING)
    copies = 0

    def count(actor: pykka.Actor, message: object) -> None:
        nonlocal copies
        copies += isinstance(message, SaveTapes)

    keeper.store_is_down = True
    keeper.simulator.before_turn = count
    keeper.moves(*range(60001, 60041), seconds=5)
    assert copies == 1
    keeper.store_is_down = False
    keeper.run(40)
    assert keeper.position().peak_price == Decimal(60040)


def test_a_position_that_is_down_is_not_told_twice(tmp_path: Path) -> None:
    """What happened while no keeper ran is for the candles; the tape is for what a keeper saw."""
    keeper = opened(tmp_path, plan=TRAILING)
    keeper.moves(60020, seconds=3)
    keeper.crash()
    step_alone(keeper, 60200, 60100)
    begun: list[BeginRecovery] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, BeginRecovery):
            begun.append(message)

    keeper.simulator.before_turn = note
    keeper.start()
    keeper.run(3)
    assert begun[0].tape is not None
    assert keeper.position().peak_price in (Decimal(60100), Decimal(60200))
