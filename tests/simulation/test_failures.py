"""Actors that fail: restarted from what is saved, quarantined when it goes on, and everything else goes on."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pykka
import pytest

import actors.position
from actors.domain.advance import advance
from actors.domain.events import Effect, Event, OrderReported, PriceMoved
from actors.domain.model import OrderKind, Phase, Position
from actors.gateway import GatewayActor
from actors.market import MarketActor
from actors.messages import CloseAccepted, Opened, Refusal
from actors.position import PositionActor
from actors.venues.base import CancelRequest
from persistence.messages import Saved
from tests.simulation.house import ORDER_TAG, OTHER, SYMBOL, Keeper
from tests.simulation.outcome import outcome

SEEDS = range(6)
STORY = (60300, 60600, 61200, 61500, 60900)


class Planted(Exception):
    """The failure that a test plants."""


def break_advance(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Position, Event], bool]) -> None:
    """Let the rules raise where the test says so."""

    def broken(position: Position, event: Event) -> tuple[Position, tuple[Effect, ...]]:
        if fails(position, event):
            raise Planted(type(event).__name__)
        return advance(position, event)

    monkeypatch.setattr(actors.position, "advance", broken)


def started(folder: Path, seed: int = 1, others: tuple[int, ...] = (3000,)) -> Keeper:
    """A keeper with a long on the first symbol and, where there is one, another on the second."""
    keeper = Keeper(folder, [60000], seed=seed, others=others)
    keeper.start()
    keeper.opened()
    if others:
        keeper.opened(id="p2", symbol=OTHER)
    return keeper


def calm(folder: Path) -> dict[str, object]:
    """How the story ends when nothing fails."""
    keeper = started(folder, others=())
    keeper.moves(*STORY, seconds=10)
    return outcome(keeper.position())


@pytest.mark.parametrize(
    "kind, nth", [(PriceMoved, nth) for nth in range(1, 6)] + [(OrderReported, nth) for nth in range(1, 9)]
)
def test_a_position_that_fails_once_goes_on_from_its_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Event], nth: int
) -> None:
    """At each of its messages in turn: the same legs, prices and money, each order sent once with the same id."""
    expected = calm(tmp_path / "calm")
    keeper = started(tmp_path / "rough", seed=nth, others=())
    ids = {request.client_order_id for request in keeper.exchange.accepted}
    count = 0

    def fails(position: Position, event: Event) -> bool:
        nonlocal count
        count += isinstance(event, kind)
        return isinstance(event, kind) and count == nth

    break_advance(monkeypatch, fails)
    keeper.add_prices(STORY)
    keeper.run(20, failures=1)
    assert len(keeper.simulator.failures) == 1
    assert outcome(keeper.position()) == expected
    accepted = [request.client_order_id for request in keeper.exchange.accepted]
    assert len(set(accepted)) == len(accepted)
    assert ids < set(accepted)
    assert keeper.published().quarantined == ""


@pytest.mark.parametrize("nth", range(1, 10))
def test_a_position_that_fails_while_it_opens_opens_once(tmp_path: Path, nth: int) -> None:
    """Whatever turn it fails in: repeating the request leads to one position, one entry, one stop."""
    keeper = Keeper(tmp_path, [60000], seed=nth)
    keeper.start()
    count = 0

    def fail(actor: object, message: object) -> None:
        nonlocal count
        if isinstance(actor, PositionActor) and message is not None:
            count += 1
            if count == nth:
                actor.actor_ref.tell(object())

    keeper.simulator.before_turn = fail
    for _ in range(10):
        try:
            answer = keeper.open()
        except pykka.Timeout:
            continue
        if isinstance(answer, Opened):
            break
        keeper.run(0.5, failures=1)
    assert isinstance(answer, Opened)
    keeper.run(5, failures=1)
    assert len(keeper.simulator.failures) == 1
    assert keeper.held() == 1
    assert keeper.position().protected
    assert [(order.quantity, order.trigger_price) for order in keeper.venue().orders] == [(Decimal(1), Decimal(59100))]
    assert len(keeper.sent()) == 1


def test_a_repeat_while_a_position_is_restarted_is_answered(tmp_path: Path) -> None:
    """Before its first save nothing is published; the answer is then `not_ready`, never silence."""
    keeper = Keeper(tmp_path, [60000])
    keeper.start()
    keeper.simulator.before_turn = lambda actor, message: (
        actor.actor_ref.tell(object())
        if isinstance(actor, PositionActor) and message is not None and not keeper.simulator.failures
        else None
    )
    keeper.store_is_down = True
    keeper.ask_open()
    keeper.simulator.run(lambda: bool(keeper.simulator.failures), for_seconds=5)
    keeper.simulator.before_turn = None
    keeper.simulator.run(for_seconds=0.05)
    answer = keeper.open()
    assert isinstance(answer, Refusal), answer
    assert answer.code == "not_ready"


def test_a_failure_counts_as_a_restart_in_the_health_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next round shows it."""
    keeper = started(tmp_path, others=())
    once = iter([True])
    break_advance(monkeypatch, lambda position, event: isinstance(event, PriceMoved) and next(once, False))
    keeper.add_prices([60100])
    keeper.run(25, failures=1)
    records = {record.actor: record for record in keeper.house.directory.health}
    assert records["p1"].restarts == 1
    assert records["p1"].answered


def quarantined(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> Keeper:
    """A keeper whose first position failed on every price until it was given up."""
    keeper = started(folder, seed)
    break_advance(monkeypatch, lambda position, event: position.id == "p1" and isinstance(event, PriceMoved))
    keeper.add_prices([60100])
    keeper.run(40, failures=6)
    assert len(keeper.simulator.failures) == 6
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_more_than_five_failures_in_a_minute_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """It stands still and says why; commands are refused; its resident stop still rests; the other position goes on."""
    keeper = quarantined(tmp_path, monkeypatch, seed)
    assert "Planted" in keeper.published().quarantined
    assert keeper.position().remaining == 1
    for answer in (keeper.close(), keeper.amend({"stop": {"percent": "1"}})):
        assert isinstance(answer, Refusal)
        assert answer.code == "quarantined"
    assert isinstance(keeper.open(), Opened)
    taken = keeper.open(id="p3")
    assert isinstance(taken, Refusal)
    assert taken.code == "slot_taken"
    assert [(order.quantity, order.trigger_price) for order in keeper.venue().orders] == [(Decimal(1), Decimal(59100))]
    keeper.add_prices([3030, 3000], symbol=OTHER)
    keeper.run(5, failures=6)
    assert keeper.position("p2").close_reason == "breakeven"
    assert keeper.house.directory.reasons_not_ready() == ()


def test_five_failures_in_a_minute_are_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that lie further back do not count."""
    keeper = started(tmp_path, others=())
    left = 5

    def fails(position: Position, event: Event) -> bool:
        nonlocal left
        if isinstance(event, PriceMoved) and left:
            left -= 1
            return True
        return False

    break_advance(monkeypatch, fails)
    keeper.add_prices([60100])
    keeper.run(70, failures=5)
    assert keeper.published().quarantined == ""
    left = 5
    keeper.add_prices([60200])
    keeper.run(30, failures=10)
    assert keeper.published().quarantined == ""
    assert keeper.position().mfe is not None
    assert keeper.position().mfe.price == 60200  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quarantined_position_without_a_stop_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """At the last saved level, for what is held, under an id of ours; once."""
    keeper = started(tmp_path, seed)
    for order in keeper.venue().orders:
        cancel_by_hand(keeper, order.client_order_id)
    assert keeper.venue().orders == ()
    break_advance(monkeypatch, lambda position, event: position.id == "p1")
    keeper.add_prices([60100])
    keeper.run(40, failures=6)
    assert keeper.published().quarantined
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price, stop.reduce_only) == (Decimal(1), Decimal(59100), True)
    assert stop.client_order_id.startswith(ORDER_TAG)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_emergency_stop_is_replaced_once_the_position_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """After the restart it is an orphan: a proper resident stop takes its place, and exactly one rests."""
    keeper = started(tmp_path, seed, others=())
    cancel_by_hand(keeper, keeper.venue().orders[0].client_order_id)
    break_advance(monkeypatch, lambda position, event: True)
    keeper.add_prices([60100])
    keeper.run(40, failures=6)
    assert len(keeper.venue().orders) == 1
    monkeypatch.undo()
    held_without_stop: list[bool] = []
    keeper.simulator.before_turn = lambda actor, message: held_without_stop.append(not keeper.venue().orders)
    keeper.crash()
    keeper.start()
    keeper.run(5, failures=6)
    assert not any(held_without_stop)
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price) == (Decimal(1), Decimal(59100))
    known = {intent.client_order_id for intent in keeper.position().intents if intent.resident and intent.live}
    assert known == {stop.client_order_id}
    assert keeper.position().protected
    keeper.add_prices([59000])
    keeper.run(5, failures=6)
    assert keeper.position().close_reason == "stop_loss"
    assert keeper.held() == 0


def cancel_by_hand(keeper: Keeper, client_order_id: str) -> None:
    """Take an order away at the exchange, past the keeper."""
    now = keeper.simulator.clock.now()
    keeper.exchange.cancel(
        CancelRequest(
            request_id="by-hand",
            account="paper",
            symbol=SYMBOL,
            client_order_id=client_order_id,
            kind=OrderKind.STOP_MARKET,
            signed_at=now,
            expires_after_seconds=5.0,
        ),
        now,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [GatewayActor, MarketActor])
def test_an_account_whose_gateway_or_market_failed_begins_anew(
    tmp_path: Path, kind: type[pykka.Actor], seed: int
) -> None:
    """At any moment of the story: its positions come back from what is saved, and end as on a calm day."""
    expected = calm(tmp_path / "calm")
    keeper = started(tmp_path / "rough", seed, others=())
    count = 0

    def fail(actor: pykka.Actor, message: object) -> None:
        nonlocal count
        if isinstance(actor, kind) and message is not None:
            count += 1
            if count == 1 + 2 * seed:
                actor.actor_ref.tell(object())

    keeper.simulator.before_turn = fail
    keeper.add_prices(STORY)
    keeper.run(30, failures=1)
    assert [name for name, _ in keeper.simulator.failures] == [kind.__name__]
    assert outcome(keeper.position()) == expected
    assert keeper.venue().position is None
    assert keeper.venue().orders == ()
    keeper.ready()
    assert isinstance(keeper.open(id="next"), Opened)


def test_a_save_that_another_version_defeats_restarts_the_position(tmp_path: Path) -> None:
    """It grew from something else than what is stored: what is stored counts, and the position goes on from it."""
    keeper = started(tmp_path, others=())
    raw = keeper.shard.positions["p1"]
    dropped = 0

    def drop(actor: pykka.Actor, message: object) -> None:
        nonlocal dropped
        if isinstance(message, Saved) and not dropped:
            dropped += 1
            keeper.shard.positions["p1"] = raw

    keeper.simulator.before_turn = drop
    keeper.add_prices(STORY)
    keeper.run(20)
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.held() == 0
    assert next(order.quantity for order in keeper.sent() if order.reduce_only) == Decimal("0.6")
    assert sum(fill.quantity for fill in keeper.position().fills if fill.leg == "target-1") == Decimal("0.6")


def test_a_close_is_answered_after_the_position_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is restarted `not_ready`; then the same request closes it once."""
    keeper = started(tmp_path, others=())
    once = iter([True])
    break_advance(monkeypatch, lambda position, event: isinstance(event, PriceMoved) and next(once, False))
    keeper.add_prices([60100])
    keeper.simulator.run(lambda: bool(keeper.simulator.failures), for_seconds=5)
    keeper.run(0.01, failures=1)
    answer = keeper.close(request_id="r")
    assert isinstance(answer, Refusal)
    assert answer.code == "not_ready"
    keeper.run(5, failures=1)
    assert isinstance(keeper.close(request_id="r"), CloseAccepted)
    keeper.run(5, failures=1)
    assert keeper.held() == 0
