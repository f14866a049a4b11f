"""Many accounts on one paper exchange: what waits is served together, and nobody pays for the others.

One transaction for many requests must change nothing but the number of commits: what is told is durable, a request that
fails harms no other, and of each order either everything is in the file or nothing.
"""

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.events import OrderState
from actors.domain.model import OrderSide, Quote
from actors.runtime.simulator import Simulator
from actors.venues.base import (
    AccountRequest,
    OrderAnswered,
    OrderRejected,
    OrderUnknown,
    OrderUpdated,
    PricesUpdated,
    RequestFailed,
    VenueUnavailable,
)
from actors.venues.paper import PaperFloor, PaperVenue
from actors.venues.paper_faults import Faults
from actors.venues.paper_settings import MEMORY, MarketSettings, PaperSettings, ReplaySettings, Speed
from actors.venues.paper_tables import PaperTables
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Trader

D = Decimal


def settings(folder: Path, *prices: object, speed: Speed = "max") -> PaperSettings:
    """A paper exchange in a folder, on a replay of these prices, one a second."""
    file = folder / "prices.csv"
    rows = [f"2024-01-01T00:{n // 60:02d}:{n % 60:02d}Z,{price}\n" for n, price in enumerate(prices)]
    file.write_text("".join(rows))
    market = MarketSettings(symbols={SYMBOL: ReplaySettings(file=file)})
    return PaperSettings(path=folder / "paper.db", market=market, speed=speed)


class Crowd:
    """Several accounts of one floor."""

    def __init__(self, paper: PaperSettings, accounts: int, *, faults: Faults | None = None) -> None:
        self.simulator = Simulator(seed=7)
        self.floor = PaperFloor(settings=paper, runtime=self.simulator, faults=faults)
        self.traders = [self._trader(f"a{number}") for number in range(accounts)]

    def _trader(self, account: str) -> Trader:
        floor, simulator = self.floor, self.simulator
        venue = PaperVenue(account=account, settings=floor.settings, runtime=simulator, floor=floor)
        return Trader(venue, simulator, lambda until: simulator.run(until, for_seconds=60))

    def begin(self) -> None:
        """All start, and are told prices."""
        for trader in self.traders:
            trader.venue.start(trader.listener)
        for trader in self.traders:
            trader.venue.resume()
        self.run_on()

    def run_on(self, seconds: float = 5) -> None:
        """Let everything happen that still would."""
        self.simulator.run(for_seconds=seconds)

    def buy_all(self, **changes: Any) -> list[OrderAnswered | RequestFailed]:
        """All send a market order at once; their outcomes."""
        sent = []
        for number, trader in enumerate(self.traders):
            request = trader.order("b", account=f"a{number}", **changes)
            trader.venue.submit(request)
            sent.append((trader, request.request_id))
        self.run_on()
        return [outcome for trader, request_id in sent for outcome in outcomes(trader, request_id)]

    def trades(self) -> list[int]:
        """How many trades each account has, by the ledger's word."""
        exchange = self.floor.exchange
        assert exchange is not None
        return [len(exchange.read_account(f"a{n}", SYMBOL, 0).trades) for n in range(len(self.traders))]


def outcomes(trader: Trader, request_id: str) -> list[OrderAnswered | RequestFailed]:
    """Every outcome of a request."""
    kinds = (OrderAnswered, RequestFailed)
    return [message for message in trader.heard if isinstance(message, kinds) and message.request_id == request_id]


def filled(outcome: OrderAnswered | RequestFailed) -> bool:
    """Whether it says that the order was filled."""
    return isinstance(outcome, OrderAnswered) and outcome.order is not None and bool(outcome.order.filled)


def failing(patch: pytest.MonkeyPatch, fails: Callable[[PaperTables, str, tuple[object, ...]], bool]) -> list[str]:
    """Let statements fail; the list grows by every one that was tried."""
    execute: Callable[..., Any] = PaperTables.execute
    tried: list[str] = []

    def run(self: PaperTables, sql: str, values: tuple[object, ...] = ()) -> Any:
        tried.append(sql)
        if fails(self, sql, values):
            raise sqlite3.OperationalError("disk I/O error")
        return execute(self, sql, values)

    patch.setattr(PaperTables, "execute", run)
    return tried


# -- requests together -------------------------------------------------------------------------------------------------


def test_requests_that_wait_cost_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty orders of fifty accounts: one durable transaction, fifty fills."""
    crowd = Crowd(settings(tmp_path, 60000), 50)
    crowd.begin()
    tried = failing(monkeypatch, lambda *_: False)
    assert all(map(filled, crowd.buy_all()))
    assert tried.count("COMMIT") == tried.count("BEGIN IMMEDIATE") == 1
    assert crowd.trades() == [1] * 50


def test_more_than_a_transaction_takes_is_served_in_several(tmp_path: Path) -> None:
    """The bound delays the rest by one transaction, and forgets none of it."""
    crowd = Crowd(settings(tmp_path, 60000), 3)
    crowd.begin()
    trader = crowd.traders[0]
    ids = [str(number) for number in range(450)]
    for name in ids:
        trader.venue.submit(trader.order(name, account="a0"))
    crowd.run_on()
    answers = [message for message in trader.heard if isinstance(message, OrderAnswered)]
    assert [answer.order.client_order_id for answer in answers if answer.order] == ids


def test_nothing_is_told_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it fails, every order of the transaction is unknown, and none is in the file."""
    crowd = Crowd(settings(tmp_path, 60000), 5)
    crowd.begin()
    with monkeypatch.context() as patch:
        failing(patch, lambda tables, sql, _: sql == "COMMIT" and tables._connection.in_transaction)
        found = crowd.buy_all()
    assert [type(answer.error) for answer in found if isinstance(answer, RequestFailed)] == [OrderUnknown] * 5
    assert crowd.trades() == [0] * 5


def test_a_ledger_that_cannot_be_written_is_not_waited_for_once_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has left when the transaction cannot begin; it is tried once."""
    crowd = Crowd(settings(tmp_path, 60000), 5)
    crowd.begin()
    with monkeypatch.context() as patch:
        tried = failing(patch, lambda _, sql, __: sql == "BEGIN IMMEDIATE")
        found = crowd.buy_all()
    assert [type(answer.error) for answer in found if isinstance(answer, RequestFailed)] == [VenueUnavailable] * 5
    assert tried.count("BEGIN IMMEDIATE") == 1


@pytest.mark.parametrize("rolls_back", [False, True])
@pytest.mark.parametrize("which", [3, 6])
def test_a_request_that_fails_midway_leaves_the_others_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int, rolls_back: bool
) -> None:
    """Also where SQLite takes the whole transaction back by itself: each of the others is executed exactly once."""
    crowd = Crowd(settings(tmp_path, 60000), 7)
    crowd.begin()

    def fails(tables: PaperTables, sql: str, values: tuple[object, ...]) -> bool:
        hit = sql.startswith("INSERT INTO trades") and f"a{which}" in values
        if hit and rolls_back:
            tables._connection.execute("ROLLBACK")
        return hit

    with monkeypatch.context() as patch:
        failing(patch, fails)
        found = crowd.buy_all()
    assert [filled(answer) for answer in found] == [number != which for number in range(7)]
    errors = [answer.error for answer in found if isinstance(answer, RequestFailed)]
    assert [type(error) for error in errors] == [OrderUnknown]
    assert crowd.trades() == [int(number != which) for number in range(7)]
    assert crowd.simulator.failures == []
    # Nothing half-done is remembered either.
    assert all(map(filled, crowd.buy_all()))


def test_a_refused_request_harms_no_other(tmp_path: Path) -> None:
    """It is refused as it would be alone, and sees what those before it did."""
    crowd = Crowd(settings(tmp_path, 60000), 1)
    crowd.begin()
    trader, sell = crowd.traders[0], {"side": OrderSide.SELL, "reduce_only": True, "account": "a0"}
    for request in (
        trader.order("early", **sell),
        trader.order("buy", account="a0"),
        trader.order("tiny", account="a0", quantity=D("0.0001")),
        trader.order("close", **sell),
        trader.order("late", **sell),
    ):
        trader.venue.submit(request)
    crowd.run_on()
    answers = [message for message in trader.heard if isinstance(message, OrderAnswered | RequestFailed)]
    assert [filled(answer) for answer in answers] == [False, True, False, True, False]
    refused = [answer.error for answer in answers if isinstance(answer, RequestFailed)]
    assert [(type(error), error.code) for error in refused] == [
        (OrderRejected, "reduce_only"),
        (OrderRejected, "below_minimum"),
        (OrderRejected, "reduce_only"),
    ]


def test_a_crash_before_the_commit_takes_all_of_them_back(tmp_path: Path) -> None:
    """Neither is in the file, though both were done."""
    paper = settings(tmp_path, 60000)
    crowd = Crowd(paper, 2)
    crowd.begin()
    exchange, orders = (
        crowd.floor.exchange,
        [trader.order("b", account=f"a{n}") for n, trader in enumerate(crowd.traders)],
    )
    assert exchange is not None
    now = crowd.simulator.clock.now()
    with pytest.raises(ZeroDivisionError), exchange.together(writes=True):
        for order in orders:
            assert exchange.submit(order, now).venue_quantity == D("0.01")
        other = sqlite3.connect(tmp_path / "paper.db")
        assert other.execute("SELECT count(*) FROM trades").fetchone() == (0,)
        _ = 1 // 0
    assert crowd.trades() == [0, 0]


def test_faults_befall_single_requests_of_many(tmp_path: Path) -> None:
    """The others are served around it, in the order in which they were sent."""
    faults = Faults()
    crowd = Crowd(settings(tmp_path, 60000), 5, faults=faults)
    crowd.begin()
    faults.next("submit", account="a1", error="unavailable")
    faults.next("submit", account="a2", lose="request")
    faults.next("submit", account="a3", delay_request_seconds=2)
    found = crowd.buy_all()
    assert [filled(answer) for answer in found] == [True, False, True, True]
    assert crowd.trades() == [1, 0, 0, 1, 1]


def test_reads_that_wait_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And need no transaction that writes."""
    crowd = Crowd(settings(tmp_path, 60000), 5)
    crowd.begin()
    tried = failing(monkeypatch, lambda *_: False)
    assert not any(filled(answer) for answer in crowd.buy_all(quantity=D("0.0001")))
    tried.clear()
    for trader in crowd.traders:
        trader.venue.read_account(_account_request(trader))
    crowd.run_on()
    assert (tried.count("BEGIN"), tried.count("BEGIN IMMEDIATE")) == (1, 0)


def _account_request(trader: Trader) -> AccountRequest:
    return AccountRequest(request_id=trader.next_id(), account=ACCOUNT, symbol=SYMBOL, trades_since=0)


# -- prices together ---------------------------------------------------------------------------------------------------

# So fast that several prices are due at each turn of the simulator's clock, which takes a microsecond.
BURSTS = 7e6


def told(trader: Trader) -> list[int]:
    """Every price told, in order, those that came together one by one."""
    return [int(quote.last or 0) for message in trader.prices() for quote in message.quotes]


def test_prices_due_together_are_told_together_and_none_is_left_out(tmp_path: Path) -> None:
    """In one message, oldest first; alone each is its own."""
    prices = list(range(1000, 1100))
    crowd = Crowd(settings(tmp_path, *prices, speed=BURSTS), 1)
    crowd.begin()
    (trader,) = crowd.traders
    assert told(trader) == prices
    assert len(trader.prices()) < 30
    assert all(message.sequence == 0 for message in trader.prices())
    quote = Quote(at=1, last=D(1))
    assert PricesUpdated(symbol=SYMBOL, quote=quote).quotes == (quote,)


def test_lockstep_tells_one_price_at_a_time(tmp_path: Path) -> None:
    """However fast it is."""
    crowd = Crowd(settings(tmp_path, *range(1000, 1010)), 1)
    crowd.begin()
    (trader,) = crowd.traders
    for _ in range(9):
        trader.venue.settled(SYMBOL, trader.prices()[-1].sequence)
        crowd.run_on(1)
    assert told(trader) == list(range(1000, 1010))
    assert not any(message.earlier for message in trader.prices())


def test_each_price_of_many_is_matched_by_itself(tmp_path: Path) -> None:
    """A stop that one in the middle triggers fills at that price, though the last is back above; it is told first."""
    crowd = Crowd(settings(tmp_path, 60000, speed=BURSTS), 1)
    crowd.begin()
    (trader,) = crowd.traders
    trader.venue.submit(trader.order("b", account="a0"))
    trader.venue.submit(trader.stop_order("s", D(55000), account="a0"))
    crowd.run_on()
    heard = len(trader.heard)
    with (tmp_path / "prices.csv").open("a") as file:
        file.writelines(f"2024-01-01T00:00:{n:02d}Z,{price}\n" for n, price in ((1, 59000), (2, 54000), (3, 60000)))
    crowd.run_on()
    new = trader.heard[heard:]
    (update,) = (message for message in new if isinstance(message, OrderUpdated))
    assert (update.order.state, update.order.trades[0].price) == (OrderState.FILLED, D(54000))
    below = next(message for message in new if isinstance(message, PricesUpdated) and D(54000) in _lasts(message))
    assert new.index(update) < new.index(below)
    assert told(trader) == [60000, 59000, 54000, 60000]


def _lasts(message: PricesUpdated) -> list[Decimal | None]:
    return [quote.last for quote in message.quotes]


@pytest.mark.parametrize("word", ["INSERT OR REPLACE INTO market", "COMMIT"])
def test_a_ledger_that_fails_among_many_prices_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The market goes on from where the ledger is."""
    prices = list(range(1000, 1100))
    crowd = Crowd(settings(tmp_path, *prices, speed=BURSTS), 1)
    left = [3]

    def fails(tables: PaperTables, sql: str, _: object) -> bool:
        hit = left[0] > 0 and sql.startswith(word) and tables._writes and bool(crowd.traders[0].prices())
        left[0] -= hit
        return hit

    with monkeypatch.context() as patch:
        failing(patch, fails)
        crowd.begin()
        crowd.run_on()
    assert left == [0]
    assert told(crowd.traders[0]) == prices


# -- one feed for all --------------------------------------------------------------------------------------------------


def test_accounts_of_one_floor_have_one_feed(tmp_path: Path) -> None:
    """Named as long as it exists; a venue with a floor of its own has none to share."""
    crowd = Crowd(settings(tmp_path, 60000), 2)
    one, two = (trader.venue.traits.feed for trader in crowd.traders)
    assert one == two == f"paper:{tmp_path / 'paper.db'}"
    alone = PaperVenue(account="x", settings=crowd.floor.settings, runtime=crowd.simulator)
    assert alone.traits.feed == ""
    PaperVenue(account="y", settings=alone.floor.settings, runtime=crowd.simulator, floor=alone.floor)
    assert alone.traits.feed == one


def test_two_floors_in_memory_have_two_feeds(tmp_path: Path) -> None:
    """They share no prices, though they have the same path."""
    paper = PaperSettings(path=MEMORY, market=settings(tmp_path, 60000).market)
    assert Crowd(paper, 1).traders[0].venue.traits.feed != Crowd(paper, 1).traders[0].venue.traits.feed


@pytest.mark.parametrize("speed", ["max", 1.0])
def test_an_account_that_is_told_no_prices_holds_nobody_up(tmp_path: Path, speed: Speed) -> None:
    """It is ready, its orders are answered and its reports told; in lockstep only the others are waited for."""
    crowd = Crowd(settings(tmp_path, 60000, 54000, 53000, speed=speed), 2)
    one, two = crowd.traders
    for trader in crowd.traders:
        trader.venue.start(trader.listener)
    one.venue.resume()
    crowd.run_on(3)
    assert told(one) == [60000]
    one.venue.settled(SYMBOL, one.prices()[-1].sequence)
    crowd.run_on(3)
    assert told(one) == [60000]
    two.venue.submit(two.order("b", account="a1"))
    two.venue.submit(two.stop_order("s", D(55000), account="a1"))
    crowd.run_on(1)
    two.venue.resume(prices=False)
    for _ in range(3):
        crowd.run_on(1)
        one.venue.settled(SYMBOL, one.prices()[-1].sequence)
    assert told(one) == [60000, 54000, 53000]
    assert two.prices() == []
    assert [message.order.client_order_id for message in two.heard if isinstance(message, OrderUpdated)] == ["s"]


@pytest.mark.parametrize("speed", ["max", 1.0])
def test_prices_may_be_wanted_later(tmp_path: Path, speed: Speed) -> None:
    """Told from then on, the present one first; and given up again."""
    crowd = Crowd(settings(tmp_path, *range(1000, 1010), speed=speed), 2)
    one, two = crowd.traders
    for trader in crowd.traders:
        trader.venue.start(trader.listener)
    one.venue.resume()
    two.venue.resume(prices=False)

    def play(trader: Trader) -> None:
        crowd.run_on(1)
        if trader.prices():
            trader.venue.settled(SYMBOL, trader.prices()[-1].sequence)

    for _ in range(3):
        play(one)
    crowd.run_on(0.1)
    present = told(one)[-1]
    two.venue.resume(prices=True)
    one.venue.resume(prices=False)
    for _ in range(3):
        play(two)
    crowd.run_on(0.1)
    assert told(two)[:3] == [present, present + 1, present + 2]
    assert told(one)[-1] == present
