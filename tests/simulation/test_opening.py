"""Opening: what is durable before anything is sent, what a repeat is answered, and every refusal."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import IntentStatus, OrderKind, OrderSide, Phase, Position
from actors.domain.plans import parse_plan
from actors.messages import Opened, Previewed, Refusal
from actors.position import PositionActor
from actors.venues.base import OrderRequest
from tests.simulation.house import OTHER, Keeper

SEEDS = range(6)


def code(answer: object) -> str:
    """The code of a refusal; a request that was not refused has none."""
    assert isinstance(answer, Refusal), answer
    return answer.code


def started(folder: Path, *prices: object, seed: int = 1, **more: object) -> Keeper:
    """A keeper that is ready, at the first price."""
    keeper = Keeper(folder, prices or [60000], seed=seed, **more)  # type: ignore[arg-type]
    keeper.start()
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_the_entry_is_stored_before_the_venue_gets_it(tmp_path: Path, seed: int) -> None:
    """When the exchange is handed the order, the store already knows its id as sent."""
    keeper = started(tmp_path, seed=seed)
    seen: list[Position | None] = []

    def look(request: OrderRequest) -> None:
        if not request.reduce_only:
            stored = keeper.stored()
            seen.append(stored)
            assert stored is not None
            assert [(i.client_order_id, i.status) for i in stored.intents] == [
                (request.client_order_id, IntentStatus.SENT)
            ]

    keeper.exchange.before_submit = look
    answer = keeper.open()
    assert isinstance(answer, Opened)
    assert not answer.repeated
    assert answer.published.version == 1
    assert answer.published.position is not None
    assert answer.published.position.phase is Phase.OPENING
    keeper.run(2)
    assert len(seen) == 1
    assert keeper.position().phase is Phase.OPEN


@pytest.mark.parametrize("seed", SEEDS)
def test_every_order_is_stored_before_the_venue_gets_it(tmp_path: Path, seed: int) -> None:
    """Entries, partials and resident stops leave only once the store knows their ids; full closes alone may precede."""
    keeper = started(tmp_path, seed=seed)

    def look(request: OrderRequest) -> None:
        stored = keeper.stored()
        assert stored is not None
        known = {intent.client_order_id for intent in stored.intents}
        full = request.reduce_only and request.quantity == stored.remaining and request.trigger_price is None
        assert request.client_order_id in known or full, request

    keeper.exchange.before_submit = look
    keeper.opened()
    keeper.moves(60600, 61200, 61500, 60900, seconds=8)
    assert keeper.position().phase is Phase.CLOSED
    assert len(keeper.sent()) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_an_identical_request_gets_the_same_position(tmp_path: Path, seed: int) -> None:
    """Also while the first is under way, after a crash and after the close; one entry is sent in all."""
    keeper = started(tmp_path, seed=seed)
    first, second = keeper.ask_open(), keeper.ask_open()
    answers = [first.get(timeout=5), second.get(timeout=5)]
    assert all(isinstance(answer, Opened) for answer in answers), answers
    keeper.run(2)
    later = keeper.open()
    assert isinstance(later, Opened)
    assert later.repeated
    assert later.published.position == keeper.position()
    keeper.restart()
    again = keeper.open()
    assert isinstance(again, Opened)
    assert again.repeated
    keeper.moves(59000)
    assert keeper.position().phase is Phase.CLOSED
    closed = keeper.open()
    assert isinstance(closed, Opened)
    assert closed.repeated
    keeper.restart()
    remembered = keeper.open()
    assert isinstance(remembered, Opened)
    assert remembered.repeated
    assert remembered.published.position is not None
    assert remembered.published.position.phase is Phase.CLOSED
    assert [order.reduce_only for order in keeper.sent()].count(False) == 1


def test_a_repeat_while_the_first_is_under_way_says_so(tmp_path: Path) -> None:
    """Of two identical requests at once, exactly one opened the position."""
    for seed in SEEDS:
        keeper = started(tmp_path, seed=seed)
        replies = [keeper.ask_open(), keeper.ask_open()]
        assert sorted(reply.get(timeout=5).repeated for reply in replies) == [False, True], seed


def test_another_request_under_a_used_id_is_refused(tmp_path: Path) -> None:
    """While it opens, while it is open, after a crash, after the close: `id_taken`."""
    keeper = started(tmp_path)
    first, other = keeper.ask_open(), keeper.ask_open(quantity="2")
    assert isinstance(first.get(timeout=5), Opened)
    assert code(other.get(timeout=5)) == "id_taken"
    keeper.run(2)
    keeper.restart()
    assert code(keeper.open(quantity="2")) == "id_taken"
    keeper.moves(59000)
    assert code(keeper.open(quantity="2")) == "id_taken"
    keeper.restart()
    assert code(keeper.open(quantity="2")) == "id_taken"


def test_an_id_that_only_the_store_remembers_is_taken(tmp_path: Path) -> None:
    """Nobody shows the closed position any more: the first save is refused by the store, and nothing is sent."""
    keeper = started(tmp_path)
    keeper.opened()
    keeper.moves(59000)
    del keeper.house.directory.positions["p1"]
    sent = len(keeper.sent())
    assert code(keeper.open(quantity="2")) == "id_taken"
    keeper.run(2)
    assert len(keeper.sent()) == sent
    assert isinstance(keeper.open(id="p2"), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_position_in_each_slot(tmp_path: Path, seed: int) -> None:
    """A second is refused from the very first moment on; another symbol is another slot."""
    keeper = started(tmp_path, seed=seed, others=[3000])
    first, second = keeper.ask_open(), keeper.ask_open(id="p2")
    assert isinstance(first.get(timeout=5), Opened)
    assert code(second.get(timeout=5)) == "slot_taken"
    keeper.run(2)
    assert code(keeper.open(id="p3")) == "slot_taken"
    assert isinstance(keeper.open(id="p4", symbol=OTHER), Opened)
    keeper.run(2)
    assert keeper.held() == keeper.held(OTHER) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slot_is_closing_until_all_is_read_back(tmp_path: Path, seed: int) -> None:
    """Between the decision to close and the end of every order a new position is refused; after it there is room."""
    keeper = started(tmp_path, seed=seed)
    keeper.opened()
    replies: list[Any] = []

    def ask(actor: object, message: object) -> None:
        closing = keeper.position().phase is Phase.CLOSING
        if closing and isinstance(actor, PositionActor):
            replies.append(keeper.ask_open(id=f"n{len(replies)}"))

    keeper.simulator.before_turn = ask
    keeper.close()
    keeper.run(3)
    keeper.simulator.before_turn = None
    answers = [reply.get(timeout=5) for reply in replies]
    refused = [code(answer) for answer in answers if isinstance(answer, Refusal)]
    assert refused[0] == "closing"
    assert set(refused) <= {"closing", "slot_taken"}
    assert sum(isinstance(answer, Opened) for answer in answers) <= 1
    before = keeper.position("p1")
    assert before.phase is Phase.CLOSED
    assert all(intent.status.terminal for intent in before.intents)
    assert isinstance(answers[-1], Opened) or isinstance(keeper.open(id="last"), Opened)
    keeper.run(3)
    assert keeper.held() == 1


def test_a_position_nobody_manages_is_not_opened_over(tmp_path: Path) -> None:
    """What the venue holds must be adopted or closed first, and the slot is free again after the refusal."""
    keeper = started(tmp_path)
    keeper.by_hand(OrderSide.BUY, "0.5")
    assert code(keeper.open()) == "unmanaged_position"
    keeper.by_hand(OrderSide.SELL, "0.5")
    assert isinstance(keeper.open(), Opened)


def test_unknown_accounts_and_symbols_are_refused(tmp_path: Path) -> None:
    """With what there is, and the field that is wrong."""
    keeper = started(tmp_path)
    refusal = keeper.open(account="nobody")
    assert (code(refusal), refusal.field) == ("unknown_account", "account")
    assert "paper" in refusal.message
    refusal = keeper.open(symbol="DOGE/USDT:USDT")
    assert (code(refusal), refusal.field) == ("unknown_symbol", "symbol")


def test_side_and_quantity_are_required_to_open(tmp_path: Path) -> None:
    """They may be left out only when adopting."""
    keeper = started(tmp_path)
    assert code(keeper.open(side=None)) == "missing"
    assert code(keeper.open(quantity=None)) == "missing"


@pytest.mark.parametrize(
    "quantity, wrong", [("0.0005", "below_minimum"), ("1.0005", "quantity_step"), ("0", "too_small")]
)
def test_what_the_venue_would_refuse_is_refused_before(tmp_path: Path, quantity: str, wrong: str) -> None:
    """Nothing is saved or sent, and the id may be used again."""
    keeper = started(tmp_path)
    assert code(keeper.open(quantity=quantity)) == wrong
    assert keeper.shard.positions == {}
    assert keeper.exchange.accepted == []
    assert isinstance(keeper.open(), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_preview_saves_and_sends_nothing(tmp_path: Path, seed: int) -> None:
    """It shows every price; the same id is free afterwards, and two at once are both answered."""
    keeper = started(tmp_path, seed=seed)
    replies = [keeper.ask_open(preview=True), keeper.ask_open(preview=True)]
    for reply in replies:
        answer = reply.get(timeout=5)
        assert isinstance(answer, Previewed)
        position = answer.published.position
        assert position is not None
        assert (position.entry_price, position.stop_price) == (Decimal(60000), Decimal(59100))
        assert [target.price for target in position.targets] == [60600, 61200]
    keeper.run(2)
    assert keeper.shard.positions == {}
    assert keeper.shard.events == []
    assert keeper.exchange.accepted == []
    assert "p1" not in keeper.house.directory.positions
    assert not keeper.open().repeated


def test_a_preview_shows_what_would_rest(tmp_path: Path) -> None:
    """Its level and its quantity; nothing rests anywhere."""
    keeper = Keeper(tmp_path, [60000])
    keeper.start()
    body = {"stop": {"percent": "1"}, "targets": [{"at": {"percent": "1"}, "close": "0.6", "order": "limit"}]}
    reply = keeper.open(preview=True, plan=parse_plan(body))
    (target,) = reply.published.position.targets
    assert (target.price, target.quantity, target.hit) == (Decimal(60600), Decimal("0.6"), False)
    assert keeper.sent(OrderKind.LIMIT) == []


def test_every_preview_is_let_go(tmp_path: Path) -> None:
    """Two previews of one id at once leave no actor behind."""
    keeper = started(tmp_path)
    before = len(keeper.simulator._actors)
    replies = [keeper.ask_open(preview=True), keeper.ask_open(preview=True)]
    assert all(isinstance(reply.get(timeout=5), Previewed) for reply in replies)
    keeper.run(2)
    assert len(keeper.simulator._actors) == before


def test_a_preview_of_a_taken_slot_shows_its_refusal(tmp_path: Path) -> None:
    """A preview is refused by what would refuse the opening: the position that holds the slot."""
    keeper = started(tmp_path)
    keeper.opened()
    assert code(keeper.open(id="p2", preview=True)) == "slot_taken"
    assert isinstance(keeper.open(), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_opened_before_the_account_is_reconciled(tmp_path: Path, seed: int) -> None:
    """Until then it is `not_owner` or `not_ready`: definitely not accepted."""
    keeper = started(tmp_path, seed=seed)
    keeper.opened()
    keeper.crash()
    keeper.boot()
    codes: list[str] = []
    for _ in range(100):
        answer = keeper.open(id="p2")
        codes.append(code(answer))
        if codes[-1] == "slot_taken":
            break
    assert set(codes[:-1]) <= {"not_owner", "not_ready"}
    assert codes[-1] == "slot_taken"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_entry_that_the_venue_refuses_ends_the_position(tmp_path: Path, seed: int) -> None:
    """The price fell under the minimum notional before the order arrived: closed as `entry_refused`, its slot free."""
    keeper = started(tmp_path, seed=seed)
    limits = keeper.exchange.instruments

    def tighten(request: OrderRequest) -> None:
        if not request.reduce_only:
            limits[request.symbol] = replace(limits[request.symbol], minimum_quantity=request.quantity + 1)

    keeper.exchange.before_submit = tighten
    assert isinstance(keeper.open(), Opened)
    keeper.run(3)
    position = keeper.position()
    assert (position.phase, position.close_reason) == (Phase.CLOSED, "entry_refused")
    assert position.quantity == 0
    assert keeper.told("order.refused")[0]["code"] == "below_minimum"
    keeper.exchange.before_submit = lambda _: None
    assert isinstance(keeper.open(id="p2", quantity="30"), Opened)
    keeper.moves(60100)
    assert keeper.held() == 30


def test_commands_need_a_position_that_is_there(tmp_path: Path) -> None:
    """`not_found` for what never was, `closed` for what is over."""
    keeper = started(tmp_path)
    assert code(keeper.close(id="nobody")) == "not_found"
    keeper.opened()
    keeper.moves(59000)
    assert code(keeper.close()) == "closed"
