"""Tapes over the lives of keepers: whose prices are whose, and what no crash, spill or takeover may add or lose."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

import actors.market
from actors.desk import Desk
from actors.domain.model import OrderSide
from actors.domain.plans import parse_plan
from actors.messages import DrainService
from actors.position import PositionActor
from actors.runtime.base import Ref, tell
from actors.traffic import PriceWoke
from persistence.memory_store import MemoryStore
from persistence.messages import Saved, ShardTaken, TakeShard
from persistence.store import SnapshotCorrupt
from persistence.tape import encode_tape
from tests.simulation.house import SYMBOL, Keeper
from tests.simulation.shared_floor import SharedFloor
from tests.simulation.test_recovery import newer
from tests.simulation.test_waking import TRAILING, opened

EARLIER = (70000, 69000, 50000, 51000, 60000)
STEPPED = parse_plan(
    {
        "stop": {"percent": "1.5"},
        "trail": {"percent": "1"},
        "targets": [
            {"at": {"percent": "0.1"}, "close": "0", "then": {"stop": {"percent": "1"}}},
            {"at": {"percent": "5"}, "close": "0.5"},
        ],
    },
    name="stepped",
)


def position_actor() -> Ref:
    """The one that was started last."""
    return [ref for ref in pykka.ActorRegistry.get_all() if ref.actor_class.__name__ == "PositionActor"][-1]


def adopting(folder: Path) -> Keeper:
    """A market with a wild past, and a long of 1 that somebody has bought by hand, about to be adopted with a trail."""
    keeper = Keeper(folder, [60000], speed=1.0)
    keeper.start()
    keeper.moves(*EARLIER, seconds=8)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.ask_open(side=None, quantity=None, adopt=True, plan=TRAILING)
    return keeper


def test_an_adopted_position_has_none_of_the_market_s_past(tmp_path: Path) -> None:
    """Whenever the keeper crashes while it adopts: a peak of hours ago would close the position at once."""
    turns, crash_at = 10_000, 1
    while crash_at <= turns:
        keeper = adopting(tmp_path / str(crash_at))
        if keeper.crashes_at(crash_at, seconds=2):
            keeper.start()
        else:
            turns = 0
        keeper.moves(60100, 60050, seconds=4)
        crash_at += 1
        if "p1" not in keeper.house.directory.positions:
            continue
        position = keeper.position()
        assert position.close_reason == "", crash_at
        assert position.mfe is not None
        assert position.mae is not None
        assert (position.mfe.price, position.mae.price) == (Decimal(60100), Decimal(60000)), crash_at


def test_nor_when_its_actor_dies_after_its_first_save(tmp_path: Path) -> None:
    """It begins anew from that save and the tape as it is by then."""
    keeper = adopting(tmp_path)
    keeper.simulator.run(lambda: keeper.stored() is not None)
    tell(position_actor(), object())
    keeper.run(5, failures=1)
    assert keeper.position().close_reason == ""
    assert keeper.position().peak_price == Decimal(60000)


def test_what_came_before_a_peak_does_not_cross_the_stop_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices are played while a position that begins anew looks what it has missed: 60000, then 60700."""
    keeper = opened(tmp_path, plan=TRAILING)
    keeper.moves(60010, 60000, seconds=4)
    ref, look, done = position_actor(), Desk.look, False

    def then_prices(desk: Desk, shard: str, seen: int, source: str) -> Any:
        nonlocal done
        found = look(desk, shard, seen, source)
        if not done:
            done = True
            back = keeper.house.directory.quote("paper", SYMBOL)
            assert back is not None
            for price in map(Decimal, (60000, 60700)):
                quote = replace(back, mark=price, last=price, bid=price, ask=price)
                for woken, wake in desk.play([quote]):
                    tell(woken, PriceWoke(wake=wake))
        return found

    tell(ref, object())
    monkeypatch.setattr(Desk, "look", then_prices)
    keeper.run(5, failures=1)
    assert done
    assert keeper.position().close_reason == ""


def spilled(folder: Path, *prices: int) -> Keeper:
    """Decided in an outage, spilled, crashed, and back again with the store."""
    keeper = opened(folder, plan=STEPPED)
    keeper.run(2)
    keeper.store_is_down = True
    keeper.moves(*prices, seconds=len(prices) + 2)
    assert set(keeper.failures.spills("paper")) == {"p1"}
    keeper.crash()
    keeper.store_is_down = False
    keeper.start()
    keeper.run(3)
    return keeper


@pytest.mark.parametrize("prices", [(60010, 60000, 60010, 60000, 60070), (*([60010, 60000] * 3), 60070)])
def test_what_a_spilled_state_has_seen_is_not_numbered_again(tmp_path: Path, prices: tuple[int, ...]) -> None:
    """It has seen more than anything that is stored; the prices of the next life come after that."""
    keeper = spilled(tmp_path, *prices)
    keeper.moves(60090, 60080, seconds=4)
    assert keeper.position().peak_price == Decimal(60090)
    keeper.restart()
    keeper.run(3)
    assert keeper.position().peak_price == Decimal(60090)


def test_a_life_that_cannot_read_a_state_forgets_nothing_of_its_prices(tmp_path: Path) -> None:
    """A release that was rolled back and forward: the tape of the life between still answers for what it left alone."""
    keeper = Keeper(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.moves(61000, 60000, seconds=4)
    keeper.opened(plan=TRAILING)
    keeper.moves(60500, 60400, seconds=4)
    before = keeper.position()
    assert before.peak_price == Decimal(60500)
    keeper.crash()
    raw = keeper.shard.positions["p1"]
    keeper.shard.positions["p1"] = newer(raw)
    keeper.start()
    keeper.moves(60300, 60350, seconds=4)
    keeper.crash()
    keeper.shard.positions["p1"] = raw
    keeper.start()
    keeper.run(3)
    after = keeper.position()
    assert (after.peak_price, after.stop_price) == (before.peak_price, before.stop_price)


def test_a_position_that_died_closed_is_asked_about_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had closed, and died before it could say so."""
    keeper = opened(tmp_path, plan=TRAILING)
    on_saved, died = PositionActor._on_saved, False

    def dying(actor: PositionActor, message: Saved) -> None:
        nonlocal died
        state = actor._states.get(message.change)
        if not died and state is not None and state.phase.value == "closed":
            died = True
            raise RuntimeError("it dies")
        on_saved(actor, message)

    monkeypatch.setattr(PositionActor, "_on_saved", dying)
    keeper.add_prices([60100, 59000])
    keeper.run(10, failures=1)
    assert died
    assert keeper.house.directory.desks["paper", SYMBOL].tapes["paper"].points == {}


# -- accounts that share a feed ----------------------------------------------------------------------------------------


def test_a_shard_that_joins_a_running_desk_costs_nobody_anything(tmp_path: Path) -> None:
    """Its lease was somebody's for some seconds more; then the market falls."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    clock = keeper.simulator.clock
    MemoryStore(newest_schema=2, now=clock.monotonic, server=keeper.server).take("other", "somebody", 12.0)
    keeper.boot()
    keeper.run(4)
    keeper.open()
    keeper.run(2)
    keeper.moves(60100, 60050, seconds=3)
    keeper.run(10)
    keeper.moves(59900, 59800, 59700, seconds=5)
    keeper.run(3)
    position = keeper.position()
    assert position.mae is not None
    assert position.mae.price == Decimal(59700)


def test_a_takeover_adds_nothing_from_before_a_position_was_opened(tmp_path: Path) -> None:
    """The new owner's desk has run for longer, and counts otherwise than the one the position was opened at."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.account_names = ("other",)
    two = keeper.boot(owner="keeper-two", trust_the_dead=False)
    keeper.run(3)
    keeper.account_names = ("paper", "other")
    one = keeper.boot(owner="keeper-one", trust_the_dead=False)
    keeper.run(3)
    keeper.moves(61000, 61000, 61000, *[60000] * 20, seconds=30)
    keeper.house = two
    keeper.open(id="p", account="other", plan=TRAILING)
    keeper.run(3)
    assert keeper.position("p").peak_price == Decimal(60000)
    reply = keeper.simulator.reply()
    tell(two.supervisor, DrainService(reply=reply))
    reply.get(timeout=20)
    keeper.house = one
    keeper.run(30)
    keeper.moves(60001, 60000, 60000, 60000, seconds=8)
    position = keeper.position("p")
    assert position.close_reason == ""
    assert position.peak_price == Decimal(60001)


def test_another_order_of_the_accounts_finds_the_same_tape(tmp_path: Path) -> None:
    """The feed is known by the account that comes first; a shard's tape is not."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(id="p", account="other", plan=TRAILING)
    keeper.moves(60500, 60400, seconds=5)
    before = keeper.position("p")
    assert before.peak_price == Decimal(60500)
    keeper.crash()
    keeper.account_names = ("other", "paper")
    keeper.start()
    keeper.run(3)
    after = keeper.position("p")
    assert (after.peak_price, after.stop_price) == (before.peak_price, before.stop_price)


def test_an_order_that_is_changed_back_brings_no_other_prices(tmp_path: Path) -> None:
    """No number is used twice, whatever the names were in between."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(id="q", account="other", plan=TRAILING)
    keeper.moves(60010, *[60000, 60010] * 10, 60500, 60400, seconds=30)
    keeper.close(id="q")
    keeper.run(3)
    keeper.crash()
    keeper.account_names = ("other", "paper")
    keeper.start()
    keeper.moves(60000, 60000, seconds=4)
    keeper.opened(id="p", account="other", plan=TRAILING)
    keeper.run(2)
    keeper.crash()
    keeper.account_names = ("paper", "other")
    keeper.start()
    keeper.run(3)
    assert keeper.position("p").peak_price == Decimal(60000)


def test_a_shard_without_a_position_is_not_written(tmp_path: Path) -> None:
    """However many accounts see the same prices."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(id="p", account="paper", plan=TRAILING)
    before = keeper.server.shard("other").fence
    keeper.moves(*range(60000, 60020), seconds=25)
    assert keeper.server.shard("other").fence == before
    assert keeper.position("p").peak_price == Decimal(60019)


def test_the_prices_come_by_another_account_when_the_first_one_goes(tmp_path: Path) -> None:
    """Its shard is fenced; the market they share is told by the other account's venue, and goes on."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(id="p", account="other", plan=TRAILING)
    keeper.moves(60010, seconds=3)
    keeper.simulator.run(for_seconds=1)
    fence = MemoryStore(newest_schema=2, now=keeper.simulator.clock.monotonic, server=keeper.server)
    lease = keeper.server.shard("paper").lease
    assert lease is not None
    fence.take("paper", "somebody-else", 600.0, dead_owner=lease[0])
    keeper.run(12)
    assert not keeper.house.directory.accounts["paper"].lease_held
    keeper.moves(60100, 60050, seconds=5)
    assert keeper.position("p").peak_price == Decimal(60100)
    keeper.moves(59490, seconds=4)
    assert keeper.position("p").close_reason == "trailing_stop"


def test_a_tape_that_cannot_be_written_is_told_and_costs_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops and targets of its symbol go on; the tape is saved again when it can be."""
    keeper = opened(tmp_path, plan=TRAILING)
    refused = 0

    def too_large(plain: Any) -> bytes:
        nonlocal refused
        refused += 1
        raise SnapshotCorrupt("it is too large", position_id="")

    monkeypatch.setattr(actors.market, "encode_tape", too_large)
    keeper.moves(60010, 60020, seconds=4)
    assert refused
    monkeypatch.setattr(actors.market, "encode_tape", encode_tape)
    keeper.moves(60030, seconds=4)
    assert keeper.position().peak_price == Decimal(60030)
    keeper.moves(59420, seconds=4)
    assert keeper.position().close_reason == "trailing_stop"


def test_a_shard_that_is_lost_is_nobody_s_to_save(tmp_path: Path) -> None:
    """The desk that others still use keeps nothing for it."""
    keeper = SharedFloor(tmp_path, [60000], speed=1.0)
    keeper.start()
    keeper.opened(id="p", account="paper")
    keeper.opened(id="q", account="other")
    lease = keeper.server.shard("paper").lease
    assert lease is not None
    fence = MemoryStore(newest_schema=2, now=keeper.simulator.clock.monotonic, server=keeper.server)
    fence.take("paper", "somebody-else", 600.0, dead_owner=lease[0])
    keeper.run(12)
    (desk,) = keeper.house.directory.desks.values()
    assert set(desk.tapes) == {"other"}


@pytest.mark.parametrize("seed", range(8))
def test_shards_are_taken_one_after_the_other(tmp_path: Path, seed: int) -> None:
    """What is loaded of all of them at once would be most of the memory that a start uses."""
    keeper = SharedFloor(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.account_names = ("paper", "other", "third", "fourth")
    asked: list[str] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, TakeShard):
            asked.append(f"ask {message.shard}")
        elif isinstance(message, ShardTaken):
            asked.append(f"taken {message.shard}")

    keeper.simulator.before_turn = note
    keeper.start()
    assert asked == [f"{what} {name}" for name in keeper.account_names for what in ("ask", "taken")]
