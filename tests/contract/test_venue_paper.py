"""The paper venue keeps the contract of venues, and plays its market in lockstep or at the pace it was told."""

import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import Source
from actors.runtime.simulator import Simulator
from actors.runtime.threads import ThreadRuntime
from actors.venues.base import OrderUpdated, PricesUpdated
from actors.venues.paper import PaperVenue
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings, Speed, WalkSettings
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Listener, Trader, VenueContract

OTHER = "ETH/USDT:USDT"


def ticks(folder: Path, *prices: str, name: str = "prices.csv") -> ReplaySettings:
    """A replay of these prices, one a second."""
    file = folder / name
    rows = [f"2024-01-01T00:{n // 60:02d}:{n % 60:02d}Z,{price}\n" for n, price in enumerate(prices)]
    file.write_text("timestamp,price\n" + "".join(rows))
    return ReplaySettings(file=file)


def settings(folder: Path, market: Any, speed: Speed = "max") -> PaperSettings:
    """A paper exchange in a folder."""
    symbols = market if isinstance(market, dict) else {SYMBOL: market}
    return PaperSettings(path=folder / "paper.db", market=MarketSettings(symbols=symbols), speed=speed)


def until_in(simulator: Simulator) -> Callable[[Callable[[], bool]], bool]:
    """Run a simulator for up to a minute of its time."""

    def until(condition: Callable[[], bool]) -> bool:
        return simulator.run(condition, for_seconds=60)

    return until


def trader_on(
    simulator: Simulator, paper: PaperSettings, exchange: PaperExchange | None = None, **shared: Any
) -> Trader:
    """A trader on a new venue."""
    account = shared.pop("account", ACCOUNT)
    venue = PaperVenue(account=account, settings=paper, runtime=simulator, exchange=exchange, **shared)
    return Trader(venue, simulator, until_in(simulator))


def settle_next(trader: Trader) -> None:
    """Settle the price heard last."""
    prices = trader.prices()[-1]
    trader.venue.settled(prices.symbol, prices.sequence)


def run_on(simulator: Simulator, seconds: float = 5) -> None:
    """Let everything happen that still would."""
    simulator.run(lambda: False, for_seconds=seconds)


def mover(trader: Trader, file: Path) -> Callable[[Decimal], None]:
    """Whoever writes the next row of a replay says where its market goes."""

    def move_to(price: Decimal) -> None:
        rows = file.read_text().count("Z,")
        with file.open("a") as out:
            out.write(f"2024-01-01T00:{rows // 60:02d}:{rows % 60:02d}Z,{price}\n")
        settle_next(trader)

    return move_to


class TestPaperVenue(VenueContract):
    """The contract, in lockstep on a replay."""

    @pytest.fixture
    def trader(self, tmp_path: Path) -> Trader:
        """A trader on a replay that stands at its first price."""
        found = trader_on(Simulator(seed=1), settings(tmp_path, ticks(tmp_path, "60000")))
        found.begin()
        found.move_to = mover(found, tmp_path / "prices.csv")
        return found


class TestPaperVenueOnAWalk(VenueContract):
    """The contract again, on a random walk that goes on meanwhile, with a spread."""

    @pytest.fixture
    def trader(self, tmp_path: Path) -> Trader:
        """A trader on a walk at the pace of the wall."""
        walk = WalkSettings(price=Decimal(60000))
        found = trader_on(Simulator(seed=2), settings(tmp_path, walk, speed=1.0))
        found.begin()
        return found


def test_no_price_before_resume(tmp_path: Path) -> None:
    """Prices wait until the keeper is ready, but the quote can be read."""
    simulator = Simulator(seed=1)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, "100")))
    trader.venue.start(trader.listener)
    run_on(simulator)
    assert trader.prices() == []
    assert trader.quote().last == Decimal(100)


def test_lockstep_waits_for_each_price_to_settle(tmp_path: Path) -> None:
    """One price, and no other until it has settled; repeats and wrong sequences move nothing."""
    simulator = Simulator(seed=3)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, "100", "101", "102")))
    trader.begin()
    assert trader.venue.traits.lockstep
    run_on(simulator)
    assert [(item.quote.last, item.sequence) for item in trader.prices()] == [(Decimal(100), 1)]
    trader.venue.settled(SYMBOL, 7)
    trader.venue.settled(OTHER, 1)
    run_on(simulator)
    assert len(trader.prices()) == 1
    for _ in range(3):
        trader.venue.settled(SYMBOL, 1)
    run_on(simulator)
    assert [item.sequence for item in trader.prices()] == [1, 2]


def test_a_triggered_stop_is_told_before_its_price(tmp_path: Path) -> None:
    """The venue matches before it delivers: when the keeper sees the price, the stop has already been told."""
    simulator = Simulator(seed=4)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, "60000", "50000")))
    trader.begin()
    trader.filled("a")
    trader.submit(trader.stop_order("s", Decimal(55000)))
    heard = len(trader.heard)
    settle_next(trader)
    run_on(simulator)
    update, prices = trader.heard[heard:]
    assert isinstance(update, OrderUpdated)
    assert isinstance(prices, PricesUpdated)
    assert (update.order.state, update.order.trades[0].price) == (OrderState.FILLED, Decimal(50000))
    assert trader.account().position is None


def test_a_restart_tells_the_price_at_the_cursor_again_and_goes_on(tmp_path: Path) -> None:
    """Every price is told at least once, and none is skipped or matched twice."""
    simulator = Simulator(seed=5)
    paper = settings(tmp_path, ticks(tmp_path, "100", "101", "102", "103"))
    exchange = PaperExchange(paper)
    trader = trader_on(simulator, paper, exchange)
    trader.begin()
    settle_next(trader)
    assert simulator.run(lambda: len(trader.prices()) == 2, for_seconds=5)
    simulator.crash()
    again = trader_on(simulator, paper, exchange)
    again.begin()
    for count in (1, 2):
        settle_next(again)
        assert simulator.run(lambda count=count: len(again.prices()) > count, for_seconds=5)  # type: ignore[misc]
    assert [item.quote.last for item in again.prices()] == [Decimal(101), Decimal(102), Decimal(103)]


def test_the_market_stands_still_while_no_keeper_runs(tmp_path: Path) -> None:
    """Between stop and start no price passes, however long that takes."""
    simulator = Simulator(seed=6)
    paper = settings(tmp_path, ticks(tmp_path, *map(str, range(100, 160))), speed=60.0)
    trader = trader_on(simulator, paper)
    trader.begin()
    simulator.run(lambda: len(trader.prices()) >= 5, for_seconds=10)
    trader.venue.stop()
    simulator.run(for_seconds=3600)
    last = trader.prices()[-1].quote.last
    assert last is not None
    again = trader_on(simulator, paper)
    again.begin()
    simulator.run(lambda: len(again.prices()) >= 2, for_seconds=10)
    assert [item.quote.last for item in again.prices()[:2]] == [last, last + 1]


def test_a_paced_replay_follows_event_time(tmp_path: Path) -> None:
    """At 60x a minute of prices takes a second of wall time."""
    simulator = Simulator(seed=7)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, *map(str, range(100, 200))), speed=60.0))
    trader.begin()
    began = simulator.clock.now()
    assert simulator.run(lambda: len(trader.prices()) == 61, for_seconds=10)
    assert simulator.clock.now() - began == pytest.approx(1_000_000, abs=20_000)
    assert {item.sequence for item in trader.prices()} == {0}


def test_a_walk_at_wall_speed_leaves_a_gap_where_it_stood_still(tmp_path: Path) -> None:
    """At 1x the event time of a price is never before wall time."""
    simulator = Simulator(seed=8)
    paper = settings(tmp_path, WalkSettings(price=Decimal(100)), speed=1.0)
    trader = trader_on(simulator, paper)
    trader.begin()
    trader.venue.stop()
    simulator.run(for_seconds=3600)
    again = trader_on(simulator, paper)
    again.begin()
    assert simulator.run(lambda: len(again.prices()) == 3, for_seconds=10)
    first, second, third = (item.quote.at for item in again.prices())
    assert second - first >= 3600 * 1_000_000
    assert third - second == 1_000_000


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    """At the end of the file more rows are waited for."""
    simulator = Simulator(seed=9)
    replay = ticks(tmp_path, "100")
    trader = trader_on(simulator, settings(tmp_path, replay))
    trader.begin()
    settle_next(trader)
    run_on(simulator)
    assert len(trader.prices()) == 1
    with replay.file.open("a") as file:
        file.write("2024-01-01T00:10:00Z,101\n")
    assert simulator.run(lambda: len(trader.prices()) == 2, for_seconds=5)


def test_a_bad_row_stops_the_prices_but_not_the_exchange(tmp_path: Path) -> None:
    """Orders are still answered when the market cannot go on."""
    simulator = Simulator(seed=10)
    replay = ticks(tmp_path, "60000")
    trader = trader_on(simulator, settings(tmp_path, replay))
    trader.begin()
    with replay.file.open("a") as file:
        file.write("rubbish\n")
    settle_next(trader)
    run_on(simulator)
    assert len(trader.prices()) == 1
    assert trader.filled("a").filled == Decimal("0.01")
    assert simulator.failures == []


def test_two_symbols_come_in_order_of_time(tmp_path: Path) -> None:
    """Prices of several files are merged; at the same time the symbol named first comes first."""
    simulator = Simulator(seed=11)
    market = {OTHER: ticks(tmp_path, "10", "11", name="eth.csv"), SYMBOL: ticks(tmp_path, "100", "101")}
    trader = trader_on(simulator, settings(tmp_path, market))
    trader.begin()
    for count in range(1, 4):
        settle_next(trader)
        assert simulator.run(lambda count=count: len(trader.prices()) > count, for_seconds=5)  # type: ignore[misc]
    assert [item.quote.last for item in trader.prices()] == [Decimal(n) for n in (10, 100, 11, 101)]


def test_two_accounts_share_the_market_but_not_their_positions(tmp_path: Path) -> None:
    """Lockstep waits for both, also for the one that starts later; each is told with its own sequence."""
    simulator = Simulator(seed=12)
    paper = settings(tmp_path, ticks(tmp_path, "60000", "60001"))
    one = trader_on(simulator, paper)
    two = trader_on(simulator, paper, account="other", floor=one.venue.floor)  # type: ignore[attr-defined]
    one.begin()
    settle_next(one)
    run_on(simulator)
    assert len(one.prices()) == 1
    two.begin()
    run_on(simulator)
    assert len(one.prices()) == 1
    settle_next(two)
    run_on(simulator)
    assert [len(one.prices()), len(two.prices())] == [2, 2]
    one.filled("a")
    answer = two.submit(two.order("a", account="other", quantity=Decimal("0.02")))
    assert getattr(answer, "venue_quantity", None) == Decimal("0.02")
    position = one.account().position
    assert position is not None
    assert position.quantity == Decimal("0.01")


def test_candles_are_the_minutes_already_played(tmp_path: Path) -> None:
    """Completed minutes only, with the extremes of their ticks; the record is complete."""
    simulator = Simulator(seed=13)
    prices = [str(100 + n % 60) for n in range(125)]
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, *prices), speed=600.0))
    trader.begin()
    assert simulator.run(lambda: len(trader.prices()) == 125, for_seconds=60)
    answer = trader.candles(Source.MARK)
    assert answer.complete
    assert [tuple(map(int, (c.open, c.high, c.low, c.close))) for c in answer.candles] == [(100, 159, 100, 159)] * 2
    assert len(trader.candles(Source.LAST, since=answer.candles[1].at).candles) == 1


def test_the_same_seed_gives_the_same_prices_across_crashes(tmp_path: Path) -> None:
    """A walk interrupted after any price continues as if it had not been."""

    def heard(folder: Path, crash_after: tuple[int, ...]) -> list[Any]:
        folder.mkdir()
        simulator = Simulator(seed=14)
        paper = settings(folder, WalkSettings(price=Decimal(60000), start=0))
        found: list[Any] = []
        for count in crash_after:
            trader = trader_on(simulator, paper)
            trader.begin()
            while len(trader.prices()) < count:
                settle_next(trader)
                had = len(trader.prices())
                assert simulator.run(lambda had=had, t=trader: len(t.prices()) > had, for_seconds=5)  # type: ignore[misc]
            found.extend(item.quote for item in trader.prices() if item.quote not in found)
            simulator.crash()
        return found

    assert heard(tmp_path / "whole", (9,)) == heard(tmp_path / "pieces", (3, 1, 4, 4))


def test_a_new_listener_takes_over(tmp_path: Path) -> None:
    """A gateway that was re-spawned starts the venue again and is told everything from the cursor on."""
    simulator = Simulator(seed=15)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, "100", "101")))
    trader.begin()
    heard: list[Any] = []
    trader.venue.start(simulator.spawn(Listener, heard))
    trader.venue.resume()
    run_on(simulator)
    assert [(item.quote.last, item.sequence) for item in heard] == [(Decimal(100), 1)]
    assert len(trader.prices()) == 1


def test_the_venue_runs_on_threads(tmp_path: Path) -> None:
    """The same actor on a thread of its own: orders are answered and prices wait for each other."""
    runtime = ThreadRuntime()

    def until(condition: Callable[[], bool]) -> bool:
        for _ in range(2000):
            if condition():
                return True
            threading.Event().wait(0.005)
        return condition()

    paper = settings(tmp_path, ticks(tmp_path, "60000", "60001"))
    trader = Trader(PaperVenue(account=ACCOUNT, settings=paper, runtime=runtime), runtime, until)
    try:
        trader.begin()
        trader.filled("a")
        settle_next(trader)
        assert until(lambda: len(trader.prices()) == 2)
        assert trader.account().position is not None
        trader.venue.stop()
    finally:
        runtime.stop(trader.listener, 5)
        runtime.close()


def test_a_ledger_that_fails_for_a_while_only_delays_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the actor nor a price is lost when the file cannot be used for a time."""
    simulator = Simulator(seed=17)
    trader = trader_on(simulator, settings(tmp_path, ticks(tmp_path, "60000", "60001")))
    trader.begin()

    def failing(self: PaperExchange, *_: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(PaperExchange, "step", failing)
        settle_next(trader)
        run_on(simulator)
    assert len(trader.prices()) == 1
    with monkeypatch.context() as patch:
        patch.setattr(PaperExchange, "quote", failing)
        trader.venue.start(trader.listener)
        trader.venue.resume()
        run_on(simulator, 1)
    run_on(simulator)
    settle_next(trader)
    run_on(simulator)
    assert [int(item.quote.last or 0) for item in trader.prices()] == [60000, 60000, 60001]
    assert simulator.failures == []
