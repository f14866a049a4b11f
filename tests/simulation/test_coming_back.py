"""Coming back: every order looked up first, what candles may say, what is believed, a stop before standing still."""

from decimal import Decimal
from pathlib import Path

import pykka
import pytest

from actors.domain.model import IntentStatus, OrderKind, Phase, Source
from actors.messages import Refusal
from actors.traffic import EnsureStop
from actors.venues.base import CancelRequest, Candle
from tests.simulation.house import SYMBOL, Keeper
from tests.simulation.test_recovery import owing, step_alone

SEEDS = range(4)


def opened(folder: Path, seed: int = 1, *, prices: tuple[int, ...] = (60000,)) -> Keeper:
    """A keeper on a market that goes on by itself, with a long of 1 from the last of these prices."""
    keeper = Keeper(folder, prices, seed=seed, speed=1.0)
    keeper.start()
    keeper.run(len(prices))
    keeper.opened()
    return keeper


def asked_after(keeper: Keeper, *, seconds: float) -> list[tuple[str, str]]:
    """Start again after a crash, and see what the exchange is asked."""
    before = len(keeper.exchange.asked)
    keeper.boot()
    keeper.run(seconds)
    return keeper.exchange.asked[before:]


def live_ids(keeper: Keeper) -> dict[str, IntentStatus]:
    """The orders without a terminal outcome, as saved."""
    stored = keeper.stored()
    assert stored is not None
    return {intent.client_order_id: intent.status for intent in stored.intents if not intent.status.terminal}


# -- look-ups ----------------------------------------------------------------------------------------------------------


def planned(folder: Path, seed: int) -> Keeper:
    """TP1's partial is owed: decided, proven not executed, and its price is not back."""
    keeper = owing(folder, seed)
    step_alone(keeper, 60300)
    keeper.start()
    keeper.run(10)
    return keeper


def sent(folder: Path, seed: int) -> Keeper:
    """TP1's partial is saved as sent."""
    return owing(folder, seed)


def resting(folder: Path, seed: int) -> Keeper:
    """Nothing but the stop at rest."""
    return opened(folder, seed)


def unknown(folder: Path, seed: int) -> Keeper:
    """TP1's partial was not answered."""
    keeper = opened(folder, seed)
    keeper.faults.next("submit", position="p1", leg="target-1", lose="reply")
    keeper.faults.always("look_up", lose="reply")
    keeper.moves(60600, seconds=6)
    keeper.faults.clear()
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("state", [planned, sent, resting, unknown])
def test_every_order_without_an_outcome_is_looked_up_whatever_was_saved(
    tmp_path: Path, state: object, seed: int
) -> None:
    """And nothing is sent or cancelled before each of them was."""
    keeper: Keeper = state(tmp_path, seed)  # type: ignore[operator]
    keeper.crash()
    live = live_ids(keeper)
    assert state.__name__ in {status.value for status in live.values()}  # type: ignore[attr-defined]
    asked = asked_after(keeper, seconds=15)
    first_act = next((index for index, (what, _) in enumerate(asked) if what != "look_up"), len(asked))
    for order_id in live:
        assert ("look_up", order_id) in asked[:first_act]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acts_while_a_look_up_is_open(tmp_path: Path, seed: int) -> None:
    """The price is through the stop and the exchange does not answer for TP1's order: first that, then the close."""
    keeper = owing(tmp_path, seed)
    step_alone(keeper, 59900)
    keeper.faults.always("look_up", position="p1", leg="target-1", lose="reply")
    asked = asked_after(keeper, seconds=30)
    assert [what for what, _ in asked if what != "look_up"] == []
    assert keeper.held() == 1
    refusal = keeper.close()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_ready"
    keeper.faults.clear()
    keeper.run(10)
    assert keeper.position().close_reason == "breakeven"
    assert keeper.held() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acts_before_the_slot_was_read(tmp_path: Path, seed: int) -> None:
    """All orders are known, and what is held is not: the price through the stop waits for that."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60600, seconds=5)
    keeper.crash()
    keeper.faults.always("read_account", lose="reply")
    asked = asked_after(keeper, seconds=10)
    keeper.moves(59990, seconds=5)
    assert [what for what, _ in asked if what != "look_up"] == []
    keeper.faults.clear()
    keeper.run(10)
    keeper.moves(59990, seconds=5)
    assert keeper.position().close_reason == "breakeven"


# -- candles -----------------------------------------------------------------------------------------------------------


def all_candles(keeper: Keeper) -> None:
    """A venue that gives more candles than it was asked for."""
    candles = keeper.exchange.candles

    def more(symbol: str, source: Source, since: int) -> tuple[tuple[Candle, ...], bool]:
        del since
        return candles(symbol, source, 0)

    keeper.exchange.candles = more  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candle_that_began_before_the_last_save_says_nothing(tmp_path: Path, seed: int) -> None:
    """Its extremes are older than the entry: neither MFE nor MAE nor a missed target follow from them."""
    keeper = opened(tmp_path, seed, prices=(61900, 58000, 60000))
    keeper.crash()
    all_candles(keeper)
    step_alone(keeper, *[60010] * 130)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert position.mfe is not None
    assert position.mae is not None
    assert position.mfe.price == 60010
    assert position.mae.price == 60000
    assert keeper.told("position.target_missed") == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candle_from_before_the_trail_was_armed_raises_no_peak(tmp_path: Path, seed: int) -> None:
    """The minute in which the trail was armed had been higher before."""
    keeper = opened(tmp_path, seed, prices=(61900, 60000))
    keeper.moves(60600, 61200, seconds=5)
    assert keeper.position().peak_price == 61200
    keeper.crash()
    all_candles(keeper)
    step_alone(keeper, *[61100] * 130)
    keeper.start()
    keeper.run(3)
    assert keeper.position().peak_price == 61200


@pytest.mark.parametrize("seed", SEEDS)
def test_a_completed_candle_of_the_gap_raises_peak_and_extremes(tmp_path: Path, seed: int) -> None:
    """And the stop follows: the present price is through it, so it closes now, not at what the candle would give."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60600, 61200, seconds=5)
    keeper.crash()
    step_alone(keeper, *[61200] * 60, 61800, *[61500] * 130)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert position.peak_price == 61800
    assert position.stop_price == Decimal("61305.6")
    assert position.phase is Phase.RUNNER
    keeper.moves(61300)
    assert keeper.position().close_reason == "trailing_stop"


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unfinished_candle_says_nothing_yet(tmp_path: Path, seed: int) -> None:
    """What the present minute was so far is not taken: the peak stays."""
    keeper = opened(tmp_path, seed)
    keeper.moves(60600, 61200, seconds=5)
    keeper.crash()
    step_alone(keeper, *[61200] * 60, 61800, 61300)
    keeper.start()
    keeper.run(2)
    assert keeper.position().peak_price == 61300


# -- believed on the second read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_one_read_that_shows_nothing_held_is_not_believed(tmp_path: Path, seed: int) -> None:
    """The replica has not heard of the entry: nothing is booked, nothing is told, the stop stays."""
    keeper = opened(tmp_path, seed)
    keeper.crash()
    keeper.faults.next("read_account", behind_executions=1)
    keeper.boot()
    keeper.run(10)
    keeper.ready()
    position = keeper.position()
    assert position.phase is Phase.OPEN
    assert position.remaining == 1
    assert keeper.told("position.external_change") == []
    assert keeper.resting() == [keeper.order_id("resident-1")]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_reads_of_what_is_gone_are_believed(tmp_path: Path, seed: int) -> None:
    """Two reads at two times, then closed as `external`, and the stop is taken away.

    As they do not show our own entry either, they may be old ones: they are believed when they are long apart.
    """
    keeper = opened(tmp_path, seed)
    keeper.crash()
    keeper.faults.always("read_account", behind_executions=1)
    before = len(keeper.faults.taken)
    keeper.boot()
    keeper.run(10)
    assert len(keeper.faults.taken) - before >= 2
    assert keeper.position().close_reason == ""
    keeper.run(25)
    assert keeper.position().close_reason == "external"
    assert keeper.resting() == []


# -- missed targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_jump_over_all_targets_in_the_gap_is_told_and_acts_on_nothing(tmp_path: Path, seed: int) -> None:
    """Both targets were passed and are out of reach again: two alerts, no order, no trail, the stop where it was."""
    keeper = opened(tmp_path, seed)
    keeper.crash()
    step_alone(keeper, *[60000] * 60, 62000, *[60100] * 130)
    before = len(keeper.exchange.asked)
    keeper.start()
    keeper.run(3)
    position = keeper.position()
    assert [event["target"] for event in keeper.told("position.target_missed")] == [1, 2]
    assert not any(target.hit for target in position.targets)
    assert not position.trailing_stop_active
    assert position.stop_price == 59100
    assert [what for what, _ in keeper.exchange.asked[before:] if what != "look_up"] == []


# -- quarantine --------------------------------------------------------------------------------------------------------


def fail(position: object, event: object) -> None:
    """Rules that raise at every event."""
    raise RuntimeError(f"planted at {type(event).__name__}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rests", [True, False])
def test_a_position_stands_still_only_once_its_stop_was_verified_or_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rests: bool, seed: int
) -> None:
    """Six failures in a minute: the gateway is told to see to the stop; in the end one rests for all that is held."""
    keeper = opened(tmp_path, seed)
    if not rests:
        now = keeper.simulator.clock.now()
        keeper.exchange.cancel(
            CancelRequest(
                request_id="by-hand",
                account="paper",
                symbol=SYMBOL,
                client_order_id=keeper.order_id("resident-1"),
                kind=OrderKind.STOP_MARKET,
                signed_at=now,
                expires_after_seconds=5,
            ),
            now,
        )
    ensured: list[object] = []

    def note(actor: pykka.Actor, message: object) -> None:
        if isinstance(message, EnsureStop):
            ensured.append(message)

    keeper.simulator.before_turn = note
    monkeypatch.setattr("actors.position.advance", fail)
    monkeypatch.setattr("actors.recovery.advance", fail)
    keeper.add_prices([60100] * 100)
    keeper.run(60, failures=100)
    assert keeper.published().quarantined
    assert len(ensured) == 1
    (stop,) = keeper.venue().orders
    assert (stop.quantity, stop.trigger_price) == (Decimal(1), Decimal(59100))
    assert (stop.client_order_id == keeper.order_id("resident-1")) is rests
