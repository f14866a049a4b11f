"""Coming back by survey: one question about many slots, and everything that may go wrong with it."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

import actors.comebacks
from actors.desk import Desk
from actors.domain.model import OrderKind, OrderSide, Position
from actors.domain.plans import parse_plan
from actors.position_parts import LookAround
from actors.traffic import LookUpOrder, ReadSlot, Survey
from tests.simulation.house import OTHER, SYMBOL, Keeper

SEEDS = range(3)
TURNS = 60
TRAILING = parse_plan({"stop": {"percent": "5"}, "trail": {"percent": "4"}})


@pytest.fixture(autouse=True)
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are many here."""
    monkeypatch.setattr(actors.comebacks, "TOGETHER_FROM", 2)


def two(folder: Path, seed: int = 1) -> Keeper:
    """Two positions, each with its stop at rest, and no keeper."""
    keeper = Keeper(folder, [60000], seed=seed, others=[3000], speed=1.0)
    keeper.start()
    keeper.opened()
    keeper.opened(id="p2", symbol=OTHER)
    keeper.crash()
    return keeper


def asked(keeper: Keeper, act: Callable[[], None]) -> dict[type, int]:
    """How many questions of each kind the gateway got meanwhile."""
    counts: dict[type, int] = {}

    def note(actor: pykka.Actor, message: Any) -> None:
        if type(actor).__name__ == "GatewayActor":
            counts[type(message)] = counts.get(type(message), 0) + 1

    keeper.simulator.before_turn = note
    act()
    keeper.simulator.before_turn = None
    return counts


def unchanged(keeper: Keeper) -> None:
    """Both are managed, by the stops they had."""
    for name in ("p1", "p2"):
        assert keeper.position(name).protected
        assert not keeper.position(name).reconciling
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 2
    keeper.moves(59000)
    keeper.moves(2900, symbol=OTHER)
    keeper.run(5)
    assert keeper.held() == keeper.held(OTHER) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_question_is_enough_where_everything_is_as_it_was(tmp_path: Path, seed: int) -> None:
    """No slot is read by itself, no order looked up, nothing saved; prices are heard."""
    keeper = two(tmp_path, seed)
    before = {name: keeper.shard.positions[name] for name in ("p1", "p2")}
    counts = asked(keeper, keeper.start)
    assert counts[Survey] == 1
    assert ReadSlot not in counts
    assert LookUpOrder not in counts
    assert before == {name: keeper.shard.positions[name] for name in ("p1", "p2")}
    unchanged(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_price_that_one_waits_for_is_told_to_it_as_before(tmp_path: Path, seed: int) -> None:
    """It was registered by others, and hears of its target by that registration; later ones are its own."""
    keeper = two(tmp_path, seed)
    keeper.start()
    keeper.moves(60700, seconds=6)
    assert keeper.position().remaining == Decimal("0.4")
    assert keeper.position("p2").remaining == 1
    keeper.moves(61300, 61500, 60900, seconds=6)
    assert keeper.held() == 0
    assert [target.hit for target in keeper.position().targets] == [True, True]


def test_it_is_shown_before_a_price_can_wake_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it makes of that price is shown by itself: shown afterwards as it came back, it would be open for ever."""
    keeper = two(tmp_path)
    shown: list[int] = []
    register = Desk.register

    def look(desk: Desk, key: str, *rest: Any, **more: Any) -> Any:
        published = keeper.house.directory.positions.acknowledged(key)
        shown.append(0 if published is None else published.version)
        return register(desk, key, *rest, **more)

    monkeypatch.setattr(Desk, "register", look)
    keeper.start()
    assert shown == [keeper.published(name).version for name in ("p1", "p2")]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_comes_to_the_same_as_a_comeback_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Of the same past, prices that only the tape has and minutes that only the candles have included."""

    def end(folder: Path) -> list[Position]:
        keeper = Keeper(folder, [60000], seed=seed, others=[3000], speed=1.0)
        keeper.start()
        keeper.opened(plan=TRAILING)
        keeper.opened(id="p2", symbol=OTHER, plan=TRAILING)
        keeper.moves(60100, 60200, 60150, seconds=6)
        keeper.crash()
        keeper.exchange.asked.clear()
        keeper.start()
        keeper.run(5)
        return [keeper.position("p1"), keeper.position("p2")]

    surveyed = end(tmp_path / "surveyed")
    monkeypatch.setattr(actors.comebacks, "TOGETHER_FROM", 1000)
    assert surveyed == end(tmp_path / "alone")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "fault",
    [
        {"lose": "request"},
        {"lose": "reply"},
        {"error": "unavailable"},
        {"error": "unknown"},
        {"delay_reply_seconds": 8.0},
        {"delay_request_seconds": 1.0},
        {"repeat": 2},
    ],
    ids=str,
)
def test_without_an_answer_each_asks_for_itself(tmp_path: Path, fault: dict[str, Any], seed: int) -> None:
    """Whatever becomes of the question; an answer that comes too late is nobody's any more."""
    keeper = two(tmp_path, seed)
    keeper.faults.always("survey", **fault)
    keeper.boot()
    keeper.run(15)
    keeper.ready()
    unchanged(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_that_is_gone_is_placed_again(tmp_path: Path, seed: int) -> None:
    """One slot is not as it was recorded: that one is asked about by itself, the other goes on."""
    keeper = two(tmp_path, seed)
    (old,) = keeper.resting()
    keeper.cancel_by_hand(old, OrderKind.STOP_MARKET)
    counts = asked(keeper, keeper.start)
    assert counts[LookUpOrder] >= 1
    keeper.run(5)
    (new,) = keeper.resting()
    assert new != old
    assert keeper.position("p1").protected
    assert keeper.position("p2").protected
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("quantity", ["0.4", "1"])
def test_what_was_closed_by_hand_is_believed_on_two_reads(tmp_path: Path, quantity: str, seed: int) -> None:
    """A survey is one read, and decides nothing."""
    keeper = two(tmp_path, seed)
    keeper.by_hand(OrderSide.SELL, quantity)

    def come_back() -> None:
        keeper.boot()
        keeper.run(15)

    counts = asked(keeper, come_back)
    assert counts[ReadSlot] >= 2
    keeper.ready()
    assert keeper.position("p1").remaining == 1 - Decimal(quantity)
    assert keeper.position("p2").protected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_owner_replaces_every_stop(tmp_path: Path, seed: int) -> None:
    """Who saved them last may still act: what a survey finds at rest is not taken over."""
    keeper = two(tmp_path, seed)
    (old,) = keeper.resting()
    keeper.boot(owner="keeper-2", trust_the_dead=False)
    keeper.run(30)
    keeper.ready()
    keeper.run(10)
    assert old not in keeper.resting()
    assert len(keeper.sent(OrderKind.STOP_MARKET)) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_at_any_turn_of_a_comeback_leaves_all_as_it_was(tmp_path: Path, seed: int) -> None:
    """Between question, answer, beginning and the taking of the slots: the next life finds the same."""
    crashed = 0
    for turn in range(1, TURNS):
        keeper = two(tmp_path / str(turn), seed)
        keeper.boot()
        crashed += keeper.crashes_at(turn, seconds=3)
        if not keeper.alive:
            keeper.boot()
        keeper.ready()
        assert len(keeper.resting()) == 1, turn
        assert len(keeper.sent(OrderKind.STOP_MARKET)) == 2, turn
        assert keeper.position("p1").protected, turn
        assert keeper.position("p2").protected, turn
    assert crashed >= 20


def test_fewer_than_many_ask_for_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for one is the single questions."""
    monkeypatch.setattr(actors.comebacks, "TOGETHER_FROM", 3)
    counts = asked(two(tmp_path), lambda: None)
    assert counts == {}
    keeper = two(tmp_path / "again")
    counts = asked(keeper, keeper.start)
    assert Survey not in counts
    assert counts[ReadSlot] == 2
    assert keeper.position("p1").symbol == SYMBOL
    unchanged(keeper)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_bound_holds_for_surveys_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """However few may come back at a time, all do."""
    monkeypatch.setattr(actors.comebacks, "AT_ONCE", at_once)
    keeper = two(tmp_path)
    keeper.start()
    unchanged(keeper)


@pytest.mark.parametrize("seed", SEEDS)
def test_those_that_have_nothing_to_do_are_told_nothing(tmp_path: Path, seed: int) -> None:
    """Their actors need not be there before a price, a report or a person concerns them."""
    keeper = two(tmp_path, seed)
    told: list[tuple[str, object]] = []

    def note(actor: pykka.Actor, message: Any) -> None:
        if type(actor).__name__ == "PositionActor" and message is not None:
            told.append((actor.parts.position_id, message))  # type: ignore[attr-defined]

    keeper.simulator.before_turn = note
    keeper.start()
    keeper.run(5)
    assert told == []
    for name in ("p1", "p2"):
        assert keeper.position(name).protected
        assert not keeper.position(name).reconciling
    keeper.run(40)
    assert {name for name, message in told if isinstance(message, LookAround)} == {"p1", "p2"}
    keeper.simulator.before_turn = None
    unchanged(keeper)
