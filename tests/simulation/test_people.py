"""What people ask of a position: adopt it, close it by hand, amend its plan."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pykka
import pytest

from actors.domain.model import OrderKind, OrderSide, Phase, Reason, Side
from actors.messages import Amended, AmendRequest, CloseAccepted, Opened, Refusal
from actors.runtime.base import tell
from tests.simulation.house import Keeper

SEEDS = range(6)
TIGHT: dict[str, Any] = {
    "stop": {"percent": "1"},
    "targets": [
        {"number": 1, "at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "3"}, "close": "0.2"},
    ],
}


def code(answer: object) -> str:
    """The code of a refusal."""
    assert isinstance(answer, Refusal), answer
    return answer.code


def started(folder: Path, *prices: object, seed: int = 1) -> Keeper:
    """A keeper that is ready, at the first price."""
    keeper = Keeper(folder, prices or [60000], seed=seed)
    keeper.start()
    return keeper


def orders_at_rest(keeper: Keeper) -> dict[str, Decimal]:
    """What rests at the exchange: client order ids and quantities."""
    return {order.client_order_id: order.quantity for order in keeper.venue().orders}


# -- adopting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_adopted_position_has_the_venues_quantity_and_price(tmp_path: Path, seed: int) -> None:
    """No entry is sent; the stop rests at once; the plan runs from there."""
    keeper = started(tmp_path, seed=seed)
    keeper.by_hand(OrderSide.BUY, "0.7")
    keeper.by_hand(OrderSide.BUY, "0.3")
    keeper.moves(60300)
    answer = keeper.adopt()
    assert isinstance(answer, Opened)
    keeper.run(2)
    position = keeper.position()
    assert (position.adopted, position.quantity, position.entry_price) == (True, Decimal(1), Decimal(60000))
    assert position.protected
    assert keeper.sent() == []
    assert [name for name in keeper.names() if name == "position.adopted"] == ["position.adopted"]
    keeper.moves(60600, 60000)
    assert [(order.side, order.quantity) for order in keeper.sent()] == [(OrderSide.SELL, Decimal("0.6"))]
    assert [(fill.leg, fill.quantity) for fill in keeper.position().fills] == [
        ("target-1", Decimal("0.6")),
        ("stop", Decimal("0.4")),
    ]
    assert keeper.position().close_reason == "breakeven"
    assert keeper.venue().position is None


def test_an_adoption_names_what_does_not_fit(tmp_path: Path) -> None:
    """Nothing there, another side, another quantity: each refused, nothing saved."""
    keeper = started(tmp_path)
    assert code(keeper.adopt()) == "nothing_to_adopt"
    keeper.by_hand(OrderSide.SELL, "1")
    assert code(keeper.adopt(side=Side.LONG)) == "wrong_side"
    assert code(keeper.adopt(quantity="2")) == "quantity"
    assert keeper.shard.positions == {}
    assert isinstance(keeper.adopt(side=Side.SHORT, quantity="1"), Opened)


def test_foreign_exit_orders_refuse_an_adoption(tmp_path: Path) -> None:
    """Unless told what to do with them; they are left as they are."""
    keeper = started(tmp_path)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.foreign_stop("theirs", "59000")
    refusal = keeper.adopt()
    assert code(refusal) == "foreign_exit_orders"
    assert orders_at_rest(keeper) == {"theirs": 1}
    assert keeper.shard.positions == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_kept_foreign_orders_are_left_alone_and_not_told_later(tmp_path: Path, seed: int) -> None:
    """They are known; a restart finds nothing new."""
    keeper = started(tmp_path, seed=seed)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.foreign_stop("theirs", "59000")
    assert isinstance(keeper.adopt(foreign_orders="keep"), Opened)
    keeper.run(2)
    keeper.restart()
    assert keeper.told("position.foreign_order") == []
    assert orders_at_rest(keeper)["theirs"] == 1
    assert len(orders_at_rest(keeper)) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_the_foreign_exit_orders_are_cancelled(tmp_path: Path, seed: int) -> None:
    """Both of theirs that would reduce; a preview cancels none."""
    keeper = started(tmp_path, seed=seed)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.foreign_stop("theirs-1", "59000")
    keeper.foreign_stop("theirs-2", "58000", "0.5")
    keeper.open(side=None, quantity=None, adopt=True, foreign_orders="cancel", preview=True, id="look")
    keeper.run(1)
    assert set(orders_at_rest(keeper)) == {"theirs-1", "theirs-2"}
    assert isinstance(keeper.adopt(foreign_orders="cancel"), Opened)
    keeper.run(2)
    assert [order.client_order_id for order in keeper.venue().orders] == [
        order.client_order_id for order in keeper.sent(OrderKind.STOP_MARKET)
    ]
    assert keeper.position().protected


def test_a_target_already_passed_is_refused_unless_told_to_act(tmp_path: Path) -> None:
    """With both prices; with act_now its fraction is closed at once."""
    keeper = started(tmp_path)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.moves(60700)
    refusal = keeper.adopt()
    assert code(refusal) == "already_crossed"
    assert "60600" in refusal.message
    assert "60700" in refusal.message
    assert isinstance(keeper.adopt(act_now=True), Opened)
    keeper.moves(60700)
    assert [order.quantity for order in keeper.sent()] == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")


def test_a_stop_already_crossed_is_refused_unless_told_to_act(tmp_path: Path) -> None:
    """With act_now the position is closed at once, as its stop."""
    keeper = started(tmp_path)
    keeper.by_hand(OrderSide.BUY, "1")
    keeper.moves(59000)
    assert code(keeper.adopt()) == "already_crossed"
    assert isinstance(keeper.adopt(act_now=True), Opened)
    keeper.moves(59000)
    assert keeper.position().close_reason == "stop_loss"
    assert keeper.held() == 0


# -- closing by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fraction, quantity, left", [("1", "1", "0"), ("0.5", "0.5", "0.5")])
def test_a_repeated_close_closes_once(tmp_path: Path, seed: int, fraction: str, quantity: str, left: str) -> None:
    """Twice at once and once more later: one order, one answer."""
    keeper = started(tmp_path, seed=seed)
    keeper.opened()
    replies = [keeper.ask_close(fraction=fraction, request_id="r1") for _ in range(2)]
    answers = [reply.get(timeout=5) for reply in replies]
    assert all(isinstance(answer, CloseAccepted) for answer in answers), answers
    assert {(answer.leg, answer.quantity) for answer in answers} == {("manual-1", Decimal(quantity))}
    keeper.run(3)
    keeper.close(fraction=fraction, request_id="r1")
    keeper.run(3)
    assert [order.quantity for order in keeper.sent() if order.reduce_only] == [Decimal(quantity)]
    assert keeper.held() == Decimal(left)
    assert keeper.position().fills[-1].reason is Reason.MANUAL


@pytest.mark.parametrize("fraction, left", [("1", "0"), ("0.5", "0.5")])
def test_a_close_repeated_after_a_crash_at_any_turn_closes_once(tmp_path: Path, fraction: str, left: str) -> None:
    """The caller repeats until he is answered; between any two turns the keeper may have died."""
    turns = 40
    crash_at = 1
    while crash_at <= turns:
        keeper = Keeper(tmp_path / str(crash_at), [60000], seed=crash_at)
        keeper.start()
        keeper.opened()
        count = 0

        def crash(actor: object, message: object, keeper: Keeper = keeper, crash_at: int = crash_at) -> None:
            nonlocal count
            count += 1
            if count == crash_at:
                keeper.crash()

        keeper.simulator.before_turn = crash
        for _ in range(4):
            if not keeper.alive:
                keeper.start()
            try:
                answer = keeper.close(fraction=fraction, request_id="r1")
            except pykka.Timeout:
                continue
            if isinstance(answer, CloseAccepted):
                break
        assert isinstance(answer, CloseAccepted) or code(answer) == "closed", (crash_at, answer)
        keeper.run(4)
        if not keeper.alive:
            keeper.start()
            keeper.run(4)
        assert keeper.held() == Decimal(left), crash_at
        assert sum(order.quantity for order in keeper.sent() if order.reduce_only) == 1 - Decimal(left), crash_at
        assert keeper.position().remaining == Decimal(left)
        crash_at += 1


def test_a_part_needs_a_request_id(tmp_path: Path) -> None:
    """Without one a repeat could not be told from a second wish."""
    keeper = started(tmp_path)
    keeper.opened()
    assert code(keeper.close(fraction="0.5")) == "missing"
    assert code(keeper.close(fraction="1.5", request_id="r")) == "fraction"
    assert keeper.held() == 1


def test_two_parts_under_two_ids_are_two_closes(tmp_path: Path) -> None:
    """Each of what remains when it is accepted."""
    keeper = started(tmp_path)
    keeper.opened()
    assert keeper.close(fraction="0.5", request_id="a").quantity == Decimal("0.5")
    keeper.run(2)
    assert keeper.close(fraction="0.5", request_id="b").quantity == Decimal("0.25")
    keeper.run(2)
    assert keeper.held() == Decimal("0.25")
    assert keeper.position().protected


# -- amending ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_amended_plan_survives_a_crash(tmp_path: Path, seed: int) -> None:
    """The answer is given once it is durable; a keeper killed right then comes back under the new plan."""
    keeper = started(tmp_path, seed=seed)
    keeper.opened()
    answer = keeper.amend(TIGHT)
    assert isinstance(answer, Amended)
    keeper.restart()
    position = keeper.position()
    assert position.plan_revision == 2
    assert position.stop_price == 59400
    assert [target.price for target in position.targets] == [60600, 61800]
    keeper.run(3)
    assert [order.trigger_price for order in keeper.venue().orders] == [Decimal(59400)]
    keeper.moves(59390)
    assert keeper.position().close_reason == "stop_loss"


def test_a_hit_target_stays_hit_across_amendment_and_crash(tmp_path: Path) -> None:
    """It is not closed a second time, and its number belongs to it."""
    keeper = started(tmp_path)
    keeper.opened()
    keeper.moves(60600)
    assert keeper.held() == Decimal("0.4")
    assert isinstance(keeper.amend({**TIGHT, "stop": {"percent": "1.5"}}), Amended)
    keeper.restart()
    first = keeper.position().targets[0]
    assert (first.number, first.hit, first.filled) == (1, True, Decimal("0.6"))
    keeper.moves(60650, 61800)
    assert keeper.held() == Decimal("0.2")
    assert [order.quantity for order in keeper.sent() if order.reduce_only] == [Decimal("0.6"), Decimal("0.2")]


def test_an_amendment_of_a_version_that_is_gone_is_refused(tmp_path: Path) -> None:
    """`stale_version`, and nothing changed; with the right version it is taken."""
    keeper = started(tmp_path)
    keeper.opened()
    version = keeper.published().version
    keeper.moves(60500)
    assert keeper.published().version > version
    assert code(keeper.amend(TIGHT, expected_version=version)) == "stale_version"
    assert keeper.position().plan_revision == 1
    answer = keeper.amend(TIGHT, expected_version=keeper.published().version)
    assert isinstance(answer, Amended)
    assert answer.published.version > version


def test_two_amendments_of_one_version_at_once_take_one(tmp_path: Path) -> None:
    """Both were written for the same version: the second would overwrite what its author never saw."""
    for seed in SEEDS:
        keeper = Keeper(tmp_path / str(seed), [60000], seed=seed)
        keeper.start()
        keeper.opened()
        version = keeper.published().version
        replies = [keeper.simulator.reply() for _ in range(2)]
        for reply, percent in zip(replies, ("1", "0.9"), strict=True):
            body = {**TIGHT, "stop": {"percent": percent}}
            tell(
                keeper.house.supervisor,
                AmendRequest(position_id="p1", body=body, reply=reply, expected_version=version),
            )
        answers = [reply.get(timeout=5) for reply in replies]
        assert [type(answer) for answer in answers] == [Amended, Refusal], seed


def test_a_looser_stop_must_be_meant(tmp_path: Path) -> None:
    """Refused, and the resident stop stays where it is; allowed, it moves."""
    keeper = started(tmp_path)
    keeper.opened()
    loose = {"stop": {"percent": "3"}}
    assert isinstance(keeper.amend(loose), Refusal)
    assert isinstance(keeper.amend(loose, allow_looser_stop=True), Amended)
    keeper.run(3)
    assert [order.trigger_price for order in keeper.venue().orders] == [Decimal(58200)]
    assert keeper.position().phase is Phase.OPEN


def test_a_plan_with_faults_is_refused_field_by_field(tmp_path: Path) -> None:
    """The position goes on as it was."""
    keeper = started(tmp_path)
    before = keeper.opened()
    refusal = keeper.amend({"stop": {"percent": "1"}, "surprise": 1})
    assert isinstance(refusal, Refusal)
    assert refusal.faults
    assert keeper.position() == before
