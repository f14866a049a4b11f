"""The MarketActor: which prices reach positions, when a feed is stale, and when a price has settled."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pykka
import pytest
import structlog
from structlog.testing import LogCapture

from actors.desk import Desk
from actors.directory import Directory, FeedStatus
from actors.domain.model import Quote
from actors.market import MarketActor, MarketParts, trusted
from actors.runtime.base import Ref, tell
from actors.runtime.simulator import Simulator
from actors.settings import AccountSettings
from actors.traffic import MarketPrice, PriceSettled, Register, SymbolSettled, Unregister
from actors.venues.base import PricesUpdated

SYMBOL = "BTC/USDT:USDT"


class Probe(pykka.ThreadingActor):
    """Keeps what it is told."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self._heard = heard

    def on_receive(self, message: object) -> None:
        """Keep it."""
        self._heard.append(message)


def quote(price: object = 60000, *, at: int = 1, **other: object) -> Quote:
    """A quote whose sources agree, save for those named."""
    prices = {name: Decimal(str(other.get(name, price))) for name in ("mark", "last", "bid", "ask")}
    return Quote(at=at, mark=prices["mark"], last=prices["last"], bid=prices["bid"], ask=prices["ask"])


@dataclass
class Bench:
    """One MarketActor between probes."""

    simulator: Simulator
    lockstep: bool = True
    directory: Directory = field(default_factory=Directory)
    gateway: list[Any] = field(default_factory=list)
    supervisor: list[Any] = field(default_factory=list)
    heard: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.market = self.simulator.spawn(
            MarketActor,
            MarketParts(
                settings=AccountSettings(name="paper", shard="paper", feed_stale_seconds=30.0),
                symbol=SYMBOL,
                gateway=self.simulator.spawn(Probe, self.gateway),
                supervisor=self.simulator.spawn(Probe, self.supervisor),
                directory=self.directory,
                clock=self.simulator.clock,
                lockstep=self.lockstep,
            ),
        )

    def register(self, name: str) -> Ref:
        """A position comes."""
        heard = self.heard.setdefault(name, [])
        ref = self.simulator.spawn(Probe, heard)
        tell(self.market, Register(position_id=name, ref=ref))
        self.run()
        return ref

    def unregister(self, name: str) -> None:
        """A position goes."""
        tell(self.market, Unregister(position_id=name))
        self.run()

    def price(self, sequence: int = 0, **more: Any) -> None:
        """A price comes."""
        tell(self.market, PricesUpdated(symbol=SYMBOL, quote=quote(**more), sequence=sequence))
        self.run()

    def settle(self, name: str, sequence: int) -> None:
        """A position has settled one price."""
        tell(self.market, PriceSettled(position_id=name, sequence=sequence))
        self.run()

    def run(self, seconds: float = 0.0) -> None:
        """Let everybody take the turns that are due."""
        self.simulator.run(for_seconds=seconds)

    @property
    def settled(self) -> list[int]:
        """The sequences that were passed on as settled."""
        return [message.sequence for message in self.gateway if isinstance(message, SymbolSettled)]

    def sequences(self, name: str) -> list[int]:
        """The sequences of the prices one position was told."""
        return [message.sequence for message in self.heard[name] if isinstance(message, MarketPrice)]


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged, whatever the other tests are told to hear."""
    before, heard = structlog.get_config(), LogCapture()
    structlog.configure(processors=[heard], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield heard.entries
    structlog.configure(**before)


@pytest.fixture
def bench() -> Bench:
    """A market in lockstep."""
    return Bench(Simulator(seed=1))


# -- lockstep ----------------------------------------------------------------------------------------------------------


def test_a_price_without_positions_settles_at_once(bench: Bench) -> None:
    """Nobody is waited for."""
    bench.price(1)
    bench.price(2)
    assert bench.settled == [1, 2]


def test_a_price_settles_once_every_position_says_so(bench: Bench) -> None:
    """Not before the last, and only once."""
    bench.register("a")
    bench.register("b")
    bench.price(1)
    assert bench.settled == []
    bench.settle("a", 1)
    bench.settle("a", 1)
    assert bench.settled == []
    bench.settle("b", 1)
    bench.settle("b", 1)
    assert bench.settled == [1]


def test_a_settlement_of_another_price_does_not_count(bench: Bench) -> None:
    """A late word about the one before says nothing about this one."""
    bench.register("a")
    bench.price(1)
    bench.settle("a", 1)
    bench.price(2)
    bench.settle("a", 1)
    assert bench.settled == [1]
    bench.settle("a", 2)
    assert bench.settled == [1, 2]


def test_a_position_that_comes_while_a_price_is_settling_is_waited_for(bench: Bench) -> None:
    """It is told the latest price at once, and the market waits for it too."""
    bench.register("a")
    bench.price(1)
    bench.register("late")
    assert bench.sequences("late") == [1]
    bench.settle("a", 1)
    assert bench.settled == []
    bench.settle("late", 1)
    assert bench.settled == [1]


def test_a_position_that_comes_after_a_price_settled_does_not_settle_it_again(bench: Bench) -> None:
    """It is told the price, and its word about it changes nothing."""
    bench.price(1)
    bench.register("late")
    assert bench.sequences("late") == [1]
    bench.settle("late", 1)
    assert bench.settled == [1]


def test_a_position_that_goes_is_not_waited_for(bench: Bench) -> None:
    """The last one waited for goes: the price has settled."""
    bench.register("a")
    bench.register("b")
    bench.price(1)
    bench.settle("a", 1)
    bench.unregister("b")
    assert bench.settled == [1]
    bench.price(2)
    assert bench.sequences("b") == [1]
    bench.settle("a", 2)
    assert bench.settled == [1, 2]


def test_a_position_that_nobody_waits_for_may_go(bench: Bench) -> None:
    """Also one that never came."""
    bench.register("a")
    bench.unregister("a")
    bench.unregister("nobody")
    bench.price(1)
    assert bench.settled == [1]


def test_a_position_that_comes_back_is_told_the_price_again(bench: Bench) -> None:
    """After a restart its new actor takes the old one's place in the price that is settling."""
    bench.register("a")
    bench.price(1)
    bench.heard["a"].clear()
    bench.register("a")
    assert bench.sequences("a") == [1]
    bench.settle("a", 1)
    assert bench.settled == [1]


def test_the_directory_shows_whether_the_latest_price_has_settled(bench: Bench) -> None:
    """`settled` follows the positions' word."""
    bench.register("a")
    bench.price(1)
    assert not bench.directory.feeds[("paper", SYMBOL)].settled
    bench.settle("a", 1)
    assert bench.directory.feeds[("paper", SYMBOL)].settled


# -- prices that cannot be trusted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["last", "bid", "ask"])
@pytest.mark.parametrize("price, kept", [(61200, True), (61201, False), (58800, True), (58799, False)])
def test_a_source_more_than_the_limit_from_mark_is_left_out(name: str, price: int, kept: bool) -> None:
    """Two percent exactly is still trusted; the other sources stay as they are."""
    result = trusted(quote(**{name: price}), Decimal(2))
    assert getattr(result, name) == (price if kept else None)
    others = {"mark", "last", "bid", "ask"} - {name}
    assert {getattr(result, other) for other in others} == {Decimal(60000)}


def test_a_quote_without_mark_is_taken_as_it_is() -> None:
    """There is nothing to compare with."""
    bare = Quote(at=1, last=Decimal(5), bid=Decimal(100))
    assert trusted(bare, Decimal(2)) is bare


def test_a_deviating_source_reaches_nobody_and_is_told_once(lines: list[Any]) -> None:
    """While it lasts one alert; when it comes again, another."""
    bench = Bench(Simulator(seed=1), lockstep=False)
    bench.register("a")
    bench.price(price=60000)
    for at in (2, 3, 4):
        bench.price(bid=70000, at=at)
    bench.price(at=5)
    bench.price(ask=1000, at=6)
    told = [line for line in lines if line["event"] == "feed.deviating"]
    assert [line["log_level"] for line in told] == ["warning", "warning"]
    prices = [message.quote for message in bench.heard["a"]]
    assert [price.bid for price in prices] == [60000, None, None, None, 60000, 60000]
    assert prices[-1].ask is None
    assert bench.directory.quote("paper", SYMBOL) == prices[-1]


# -- freshness ---------------------------------------------------------------------------------------------------------


def test_a_silent_feed_is_told_and_its_return_too(lines: list[Any]) -> None:
    """After the limit once, shown as not fresh; with the next price it has recovered."""
    bench = Bench(Simulator(seed=1), lockstep=False)
    bench.price()
    bench.run(29)
    assert bench.directory.feeds[("paper", SYMBOL)].fresh
    bench.run(100)
    assert not bench.directory.feeds[("paper", SYMBOL)].fresh
    assert any("no fresh price" in reason for reason in bench.directory.reasons_not_ready())
    bench.price()
    assert bench.directory.feeds[("paper", SYMBOL)].fresh
    bench.run(100)
    assert [line["event"] for line in lines] == ["feed.stale", "feed.recovered", "feed.stale"]


def test_a_feed_that_speaks_in_time_is_never_stale(lines: list[Any]) -> None:
    """Every price begins the wait anew."""
    bench = Bench(Simulator(seed=1), lockstep=False)
    for _ in range(10):
        bench.price()
        bench.run(20)
    assert lines == []


def test_silence_is_noticed_within_the_limit_and_one_more() -> None:
    """The check need not come at the very moment, but a feed silent for twice the limit is known to be."""
    bench = Bench(Simulator(seed=1), lockstep=False)
    bench.price()
    bench.run(29)
    bench.price()
    bench.run(60)
    assert not bench.directory.feeds[("paper", SYMBOL)].fresh


def test_a_feed_that_never_spoke_is_told_stale() -> None:
    """A market without a first price must not look fresh for ever."""
    bench = Bench(Simulator(seed=1), lockstep=False)
    bench.run(100)
    feed = bench.directory.feeds.get(("paper", SYMBOL))
    assert feed is not None
    assert not feed.fresh


def test_a_market_in_lockstep_stands_still_without_being_stale(bench: Bench) -> None:
    """Its time is that of its prices: silence means nothing."""
    bench.price(1)
    bench.run(1000)
    assert bench.directory.feeds[("paper", SYMBOL)].fresh


def test_a_market_that_fails_is_reported(bench: Bench) -> None:
    """By name, so that its account begins anew."""
    tell(bench.market, object())
    bench.run()
    (failure,) = bench.supervisor
    assert (failure.name, failure.kind) == (f"market:paper:{SYMBOL}", "MarketActor")


def test_a_market_whose_account_has_begun_anew_shows_no_price_any_more() -> None:
    """What it was told late is older than what its successor shows, and nobody plays it."""
    bench = Bench(Simulator(seed=1))
    name = ("paper", SYMBOL)
    bench.directory.desks[name] = Desk()
    bench.directory.feeds[name] = shown = FeedStatus(
        account="paper", symbol=SYMBOL, quote=quote(61000, at=9), fresh=True, settled=True, updated_at=9
    )
    bench.price(price=60000)
    assert bench.directory.feeds[name] is shown
