"""Acting: sent once and looked up before any resend, and what may never be in flight together."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import IntentStatus, OrderKind, Phase
from actors.domain.plans import parse_plan
from actors.messages import Opened, Refusal
from actors.venues.base import OrderRequest, OrderUnknown
from actors.venues.paper_ledger import OrderRead
from tests.simulation.house import Keeper
from tests.simulation.outcome import outcome

SEEDS = range(4)
TWO_CLOSES = {
    "stop": {"percent": "1.5"},
    "targets": [{"at": {"percent": "1"}, "close": "0.5"}, {"at": {"percent": "2"}, "close": "0.3"}],
}


def opened(folder: Path, seed: int = 1, plan: dict[str, Any] | None = None) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from 60000."""
    keeper = Keeper(folder, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.opened(plan=None if plan is None else parse_plan(plan))
    return keeper


def half_told(keeper: Keeper, order_id: str, filled: str, *, times: int) -> None:
    """So often a look-up of this order says that it has ended with less than it has filled."""
    look_up, left = keeper.exchange.look_up, times

    def lag(account: str, symbol: str, client_order_id: str, kind: OrderKind, *, behind: int = 0) -> OrderRead:
        nonlocal left
        read = look_up(account, symbol, client_order_id, kind, behind=behind)
        if client_order_id != order_id or read.order is None or not left:
            return read
        left -= 1
        part = Decimal(filled)
        trade = replace(read.order.trades[0], trade_id=f"{read.order.trades[0].trade_id}-part", quantity=part)
        trades = () if not part else (trade,)
        order = replace(read.order, filled=part, trades=trades, state=OrderState.EXPIRED)
        return replace(read, order=order)

    keeper.exchange.look_up = lag  # type: ignore[method-assign]


# -- unknown -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", [{"lose": "reply"}, {"error": "unknown_after"}, {"delay_reply_seconds": 4}])
@pytest.mark.parametrize("leg", ["entry", "target-1", "stop", "resident-1"])
def test_an_executed_order_without_an_answer_is_found(tmp_path: Path, leg: str, how: dict[str, Any], seed: int) -> None:
    """Whatever it was for: looked up in its own class, booked, never sent twice."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.faults.next("submit", position="p1", leg=leg, **how)
    assert isinstance(keeper.open(), Opened)
    keeper.run(6)
    assert keeper.held() == 1
    keeper.moves(60600, seconds=8)
    keeper.moves(61200, 61700, seconds=8)
    keeper.moves(61190, seconds=8)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "trailing_stop")
    assert [fill.quantity for fill in position.fills] == [1, Decimal("0.6"), Decimal("0.4")]
    ids = [request.client_order_id for request in keeper.exchange.accepted]
    assert len(set(ids)) == len(ids)
    assert keeper.venue().orders == ()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("leg", ["entry", "target-1", "manual-1"])
def test_a_lost_order_is_sent_again_once_it_is_proven_absent(tmp_path: Path, leg: str, seed: int) -> None:
    """Not before its expiry has passed and two reads have not found it; with the same id."""
    keeper = Keeper(tmp_path, [60000], seed=seed, speed=1.0)
    keeper.start()
    keeper.faults.next("submit", position="p1", leg=leg, lose="request")
    sent: list[tuple[int, int]] = []
    order_id, asked = keeper.order_id(leg), keeper.exchange.asked

    def note(request: OrderRequest) -> None:
        if request.client_order_id == order_id:
            sent.append((keeper.simulator.clock.now(), asked.count(("look_up", order_id))))

    keeper.exchange.before_submit = note
    keeper.open()
    keeper.run(12)
    assert keeper.held() == 1
    began = keeper.simulator.clock.now()
    keeper.moves(60600, *[60610] * 11, seconds=12)
    keeper.ask_close(request_id="r1")
    keeper.run(12)
    ((at, looked_up),) = sent
    assert looked_up >= 2
    if leg != "entry":
        assert at - began >= 3_000_000
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.4")]
    assert keeper.position().phase is Phase.CLOSED


@pytest.mark.parametrize("seed", SEEDS)
def test_a_single_read_that_does_not_find_it_proves_nothing(tmp_path: Path, seed: int) -> None:
    """A replica that lags once past the expiry: the second read finds it, and nothing is sent again."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    keeper.faults.next("look_up", position="p1", leg="target-1", absent=True)
    keeper.moves(60600, *[60610] * 9, seconds=10)
    assert [request.client_order_id for request in keeper.sent()].count(keeper.order_id("target-1")) == 1
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("leg", ["target-1", "manual-1"])
def test_an_order_that_arrives_within_its_expiry_is_not_sent_twice(tmp_path: Path, leg: str, seed: int) -> None:
    """The connection broke at once and the request is still on its way: nothing is concluded until it cannot be."""
    keeper = opened(tmp_path, seed)
    on_the_way: list[OrderRequest] = []
    sent_at = 0

    def cut(request: OrderRequest) -> None:
        nonlocal sent_at
        if request.client_order_id == keeper.order_id(leg) and not sent_at:
            sent_at = keeper.simulator.clock.now()
            on_the_way.append(request)
            raise OrderUnknown("network", "the connection was cut")

    def arrive(actor: object, message: object) -> None:
        now = keeper.simulator.clock.now()
        if on_the_way and now > sent_at + 1_500_000:
            keeper.exchange.submit(on_the_way.pop(), now)

    keeper.exchange.before_submit = cut
    keeper.simulator.before_turn = arrive
    if leg == "manual-1":
        keeper.ask_close(request_id="half", fraction="0.5")
    keeper.moves(60600 if leg == "target-1" else 60100, *[60100] * 11, seconds=12)
    assert on_the_way == []
    taken = [request.client_order_id for request in keeper.exchange.accepted]
    assert taken.count(keeper.order_id(leg)) == 1
    assert keeper.held() == (Decimal("0.4") if leg == "target-1" else Decimal("0.5"))


# -- generations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_order_that_ended_short_is_followed_by_one_for_the_rest(tmp_path: Path, seed: int) -> None:
    """TP1 fills 0.2 of 0.6 and expires: read back twice, then the next generation asks for 0.4, and only for that."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("fill", position="p1", leg="target-1", fill=Decimal("0.2"))
    reads: list[int] = []
    first, second = keeper.order_id("target-1"), keeper.order_id("target-1", 1)

    def note(request: OrderRequest) -> None:
        if request.client_order_id == second:
            reads.append(keeper.exchange.asked.count(("look_up", first)))

    keeper.exchange.before_submit = note
    keeper.moves(60600, *[60610] * 9, seconds=10)
    assert keeper.reductions() == [Decimal("0.6"), Decimal("0.4")]
    assert len(reads) == 1
    assert reads[0] >= 2
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_read_that_tells_less_than_was_filled_raises_no_generation(tmp_path: Path, seed: int) -> None:
    """The order filled whole; one read says that it ended with nothing: the second read says otherwise, and counts."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    half_told(keeper, keeper.order_id("target-1"), "0", times=1)
    keeper.moves(60600, *[60610] * 14, seconds=15)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_position_that_disagrees_with_an_order_that_ended_short_is_understood_first(
    tmp_path: Path, seed: int
) -> None:
    """Two reads say that nothing was filled, and less is held: no generation before the difference is explained."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    half_told(keeper, keeper.order_id("target-1"), "0", times=2)
    keeper.moves(60600, *[60610] * 14, seconds=15)
    assert keeper.held() == Decimal("0.4")
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.position().remaining == Decimal("0.4")


@pytest.mark.parametrize("seed", SEEDS)
def test_an_order_that_is_ahead_of_its_trades_is_asked_for_again(tmp_path: Path, seed: int) -> None:
    """Filled, says the order, and its trades are not listed yet: nothing is concluded, nothing more is asked for."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    look_up, left = keeper.exchange.look_up, 4

    def lag(account: str, symbol: str, client_order_id: str, kind: OrderKind, *, behind: int = 0) -> OrderRead:
        nonlocal left
        read = look_up(account, symbol, client_order_id, kind, behind=behind)
        if client_order_id != keeper.order_id("target-1") or read.order is None or not left:
            return read
        left -= 1
        return replace(read, order=replace(read.order, trades=()))

    keeper.exchange.look_up = lag  # type: ignore[method-assign]
    keeper.moves(60600, *[60610] * 14, seconds=15)
    assert left == 0
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.told("position.external_change") == []
    assert [fill.leg for fill in keeper.position().fills] == ["entry", "target-1"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rest", ["next_price", 0.7])
def test_a_fill_in_two_parts_is_one_order(tmp_path: Path, rest: str | float, seed: int) -> None:
    """Half of it is a fact, the other half follows: nothing is asked for a second time, reports repeat and cross."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("fill", position="p1", leg="target-1", fill=Decimal("0.3"), rest=rest)
    keeper.faults.always("report", repeat=2, hold_for=1)
    keeper.moves(60600, *[60610] * 9, seconds=10)
    assert keeper.reductions() == [Decimal("0.6")]
    assert keeper.held() == Decimal("0.4")
    assert keeper.position().targets[0].filled == Decimal("0.6")


# -- one exit order in flight ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ["reply", "request"])
def test_the_second_target_waits_for_the_first_ones_outcome(tmp_path: Path, how: str, seed: int) -> None:
    """One price passes both, the first one's order is unknown: the second goes out once the first is settled."""
    keeper = opened(tmp_path, seed, TWO_CLOSES)
    keeper.faults.next("submit", position="p1", leg="target-1", lose=how)
    statuses: list[IntentStatus] = []

    def note(request: OrderRequest) -> None:
        if request.client_order_id == keeper.order_id("target-2"):
            stored = keeper.stored()
            assert stored is not None
            statuses.extend(intent.status for intent in stored.intents if intent.leg == "target-1")

    keeper.exchange.before_submit = note
    keeper.moves(61300, *[61310] * 14, seconds=15)
    assert statuses == [IntentStatus.FILLED]
    assert keeper.reductions() == [Decimal("0.5"), Decimal("0.3")]
    assert keeper.held() == Decimal("0.2")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_close_includes_an_unknown_partial(tmp_path: Path, seed: int) -> None:
    """The one exception: the stop does not wait for TP1's outcome, and asks for all that is tracked."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    keeper.moves(60600, seconds=1.5)
    keeper.ask_close(request_id="r1")
    keeper.run(0.5)
    assert keeper.reductions() == [Decimal("0.6"), 1]
    assert keeper.held() == 0
    keeper.run(10)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    filled = {fill.leg: fill.quantity for fill in position.fills}
    assert filled == {"entry": 1, "target-1": Decimal("0.6"), "manual-1": Decimal("0.4")}


# -- the slot ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_slot_is_closing_until_the_resident_stop_is_read_back_as_gone(tmp_path: Path, seed: int) -> None:
    """All is sold; the cancel of the stop is lost again and again: it would eat the next position."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("cancel", lose="request", times=3)
    keeper.ask_close(request_id="r1")
    refused = 0
    for _ in range(400):
        answer = keeper.open(id="p2")
        if isinstance(answer, Opened):
            break
        assert isinstance(answer, Refusal)
        refused += 1
        keeper.simulator.run(for_seconds=0.1)
    assert isinstance(answer, Opened)
    assert refused > 50
    assert keeper.order_id("resident-1") not in keeper.resting()
    keeper.run(5)
    assert keeper.held() == 1
    assert len(keeper.resting()) == 1


# -- the store out of reach --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [4, 25])
@pytest.mark.parametrize("what", ["submit", "look_up"])
def test_a_stop_under_way_when_the_store_goes_cancels_nothing(
    tmp_path: Path, what: str, seconds: float, seed: int
) -> None:
    """The new stop rests, and the old one goes only once the store knows of that: until then both guard."""
    keeper = opened(tmp_path, seed)

    def cut(actor: object, message: object) -> None:
        if (what, keeper.order_id("resident-2")) in keeper.exchange.asked:
            keeper.store_is_down = True

    keeper.simulator.before_turn = cut
    keeper.moves(60600, 60610, seconds=seconds)
    assert keeper.resting() == [keeper.order_id("resident-1"), keeper.order_id("resident-2")]
    assert not any(asked == "cancel" for asked, _ in keeper.exchange.asked)
    keeper.simulator.before_turn = None
    keeper.store_is_down = False
    keeper.run(15)
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price) == (Decimal("0.4"), Decimal(60000))


@pytest.mark.parametrize("seed", SEEDS)
def test_many_faults_at_once_end_as_a_calm_day(tmp_path: Path, seed: int) -> None:
    """A third of all requests lost, answers lost, late and doubled, reads lagging: the same legs, reasons and sums."""
    story = [60300, *[60600] * 20, *[61200] * 20, *[61500] * 20, *[60900] * 40]

    def play(keeper: Keeper) -> dict[str, Any]:
        keeper.start()
        keeper.open()
        keeper.run(40)
        keeper.moves(*story, seconds=len(story) + 60)
        result = outcome(keeper.position())
        result["fills"] = [fill[:4] for fill in result["fills"]]
        return {name: result[name] for name in ("phase", "fills", "quantity", "remaining", "money")}

    calm = play(Keeper(tmp_path / "calm", [60000], speed=1.0))
    rough = Keeper(tmp_path / "rough", [60000], speed=1.0, seed=seed)
    rough.faults.sometimes("submit", seed=seed, share=0.2, lose="reply")
    rough.faults.sometimes("submit", seed=seed + 100, share=0.2, lose="request")
    rough.faults.sometimes("cancel", seed=seed + 200, share=0.3, lose="request")
    rough.faults.sometimes("look_up", seed=seed + 300, share=0.3, delay_reply_seconds=0.5, repeat=1)
    rough.faults.always("report", repeat=1)
    assert play(rough) == calm
    assert rough.venue().orders == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_earlier_trade_of_ours_that_nobody_told_explains_what_is_missing(tmp_path: Path, seed: int) -> None:
    """The resident stop filled a tenth, unheard; the close that was booked since is younger: nothing is `external`."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("fill", position="p1", leg="resident-1", fill=Decimal("0.1"))
    keeper.faults.next("report", lose="reply")
    keeper.faults.next("submit", position="p1", leg="stop", error="unavailable")
    keeper.faults.next("fill", position="p1", leg="stop", fill=Decimal("0.5"))
    keeper.moves(59050, *range(59049, 59029, -1), seconds=22)
    position = keeper.position()
    assert position.phase is Phase.CLOSED
    assert keeper.held() == 0
    assert {fill.leg for fill in position.fills} == {"entry", "stop"}
    assert sum(fill.quantity for fill in position.fills if fill.leg == "stop") == 1
    assert sorted(fill.trade_id for fill in position.fills) == [trade.trade_id for trade in keeper.venue().trades]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_resident_stop_that_ended_short_unheard_is_followed_by_a_close(tmp_path: Path, seed: int) -> None:
    """A tenth filled and the rest expired, unheard; a read of the slot finds the trade: the other nine must go too."""
    keeper = opened(tmp_path, seed)
    keeper.faults.next("fill", position="p1", leg="resident-1", fill=Decimal("0.1"))
    keeper.faults.next("report", lose="reply")
    keeper.faults.next("submit", position="p1", leg="stop", for_seconds=40, error="unavailable")
    keeper.moves(59050, *[59040] * 75, seconds=76)
    assert keeper.held() == 0
    assert keeper.position().phase is Phase.CLOSED
