"""Two keepers on one paper exchange: one plays the market at a time, the other follows and misses nothing that counts.

And the control file, by which a test reaches the venue of a service in another process.
"""

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import OrderKind
from actors.runtime.simulator import Simulator
from actors.venues.base import OrderUpdated, RequestFailed
from actors.venues.paper import PaperVenue
from actors.venues.paper_control import parse_rules
from actors.venues.paper_faults import Faults, Rule
from actors.venues.paper_ledger import CursorMoved, PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings, WalkSettings
from actors.venues.paper_sources import open_market
from tests.contract.venue_contract import ACCOUNT, SYMBOL, Trader, VenueContract

SECOND = 1_000_000


def shared(folder: Path, **more: Any) -> PaperSettings:
    """A ledger in a folder, shared, with a walk of a price a second."""
    market = MarketSettings(symbols={SYMBOL: WalkSettings(price=Decimal(60000))})
    return PaperSettings(path=folder / "paper.db", market=market, shared=True, **more)


def trader_on(simulator: Simulator, paper: PaperSettings, *, faults: Faults | None = None) -> Trader:
    """A keeper of its own: another floor, another connection to the file."""
    venue = PaperVenue(account=ACCOUNT, settings=paper, runtime=simulator, faults=faults)
    return Trader(venue, simulator, lambda until: simulator.run(until, for_seconds=60))


def times(trader: Trader) -> list[int]:
    """The event times of the prices heard."""
    return [message.quote.at for message in trader.prices()]


class TestSharedPaperVenue(VenueContract):
    """The contract, as the follower of another keeper."""

    @pytest.fixture
    def trader(self, tmp_path: Path) -> Trader:
        """A trader who came second."""
        simulator = Simulator(seed=1)
        for trader in (trader_on(simulator, shared(tmp_path)) for _ in range(2)):
            trader.begin()
        return trader

    def test_nothing_is_told_after_stop(self, trader: Trader) -> None:
        """The listener is let go of, though the other one plays on."""
        assert trader.until(lambda: len(trader.prices()) > 3)
        trader.venue.stop()
        heard = len(trader.heard)
        trader.until(lambda: False)
        assert len(trader.heard) == heard


# -- the lease ---------------------------------------------------------------------------------------------------------


def test_one_plays_until_its_lease_is_stale(tmp_path: Path) -> None:
    """The other one gets it after a second without a renewal, or at once when it is given up."""
    one, two = PaperExchange(shared(tmp_path)), PaperExchange(shared(tmp_path))
    one.feed.player, two.feed.player = "one", "two"
    assert one.feed.claim(0)
    assert not two.feed.claim(SECOND - 1)
    assert one.feed.claim(SECOND - 1)
    assert not two.feed.claim(SECOND + 1)
    assert two.feed.claim(2 * SECOND)
    assert not one.feed.claim(2 * SECOND)
    two.feed.release()
    assert one.feed.claim(2 * SECOND)


def test_a_clock_that_was_set_back_blocks_nobody(tmp_path: Path) -> None:
    """A lease further ahead than any lease could be is stale."""
    one, two = PaperExchange(shared(tmp_path)), PaperExchange(shared(tmp_path))
    one.feed.player, two.feed.player = "one", "two"
    assert one.feed.claim(3600 * SECOND)
    assert two.feed.claim(0)


def test_a_player_that_was_replaced_cannot_play_the_price_in_its_hand(tmp_path: Path) -> None:
    """Even where the new one has not played yet: the transaction looks at the lease."""
    one, two = PaperExchange(shared(tmp_path)), PaperExchange(shared(tmp_path))
    one.feed.player, two.feed.player = "one", "two"
    tick = open_market(one.settings, one.instruments, {}).peek(0)
    assert tick is not None
    assert one.feed.claim(0)
    assert two.feed.claim(2 * SECOND)
    with pytest.raises(CursorMoved):
        one.step(tick)
    two.step(tick)


def test_a_shared_ledger_is_not_played_in_lockstep(tmp_path: Path) -> None:
    """Refused, with the remedy."""
    with pytest.raises(ValueError, match="1x"):
        shared(tmp_path, speed="max")


# -- two keepers -------------------------------------------------------------------------------------------------------


def test_the_follower_hears_the_same_prices(tmp_path: Path) -> None:
    """Each is played once; both hear it, without a sequence."""
    simulator = Simulator(seed=2)
    one, two = (trader_on(simulator, shared(tmp_path)) for _ in range(2))
    one.begin()
    two.begin()
    simulator.run(for_seconds=10)
    assert len(times(one)) >= 10
    assert sorted(set(times(two))) == sorted(set(times(one)) & set(times(two)))
    assert len(set(times(two))) >= 9
    quotes = {message.quote.at: message.quote for message in one.prices()}
    assert all(quotes[message.quote.at] == message.quote for message in two.prices())
    assert {message.sequence for message in two.prices()} == {0}


def test_the_follower_is_told_what_was_executed(tmp_path: Path) -> None:
    """An order of the other keeper at the same account, and a stop that the other one's market triggers."""
    simulator = Simulator(seed=3)
    folder = tmp_path
    file = folder / "prices.csv"
    rows = [f"2024-01-01T00:00:{n:02d}Z,{60000 - 1000 * n}\n" for n in range(20)]
    file.write_text("".join(rows))
    market = MarketSettings(symbols={SYMBOL: ReplaySettings(file=file)})
    paper = PaperSettings(path=folder / "paper.db", market=market, shared=True)
    one, two = (trader_on(simulator, paper) for _ in range(2))
    one.begin()
    two.begin()
    one.filled("a")
    two.submit(two.stop_order("s", Decimal(55000)))
    simulator.run(for_seconds=10)
    for trader in (one, two):
        updates = [message.order for message in trader.heard if isinstance(message, OrderUpdated)]
        assert [order.client_order_id for order in updates] == ["a", "s"]
    assert two.account().position is None


def test_the_follower_takes_over_and_goes_on_exactly(tmp_path: Path) -> None:
    """The player vanishes without giving up its lease: within two seconds the other one plays."""
    simulator = Simulator(seed=4)
    one, two = (trader_on(simulator, shared(tmp_path)) for _ in range(2))
    one.begin()
    two.begin()
    simulator.run(for_seconds=3)
    # A frozen process: its lease stays in the ledger, and none of its timers is told.
    one.venue._actor.stop(block=False)  # type: ignore[attr-defined]
    simulator.run(for_seconds=2)
    heard = len(times(two))
    simulator.run(for_seconds=5)
    assert len(times(two)) >= heard + 4
    assert times(two) == sorted(times(two))


def test_a_delayed_request_of_a_vanished_keeper_lands_all_the_same(tmp_path: Path) -> None:
    """The exchange executes it, whoever plays; the surviving keeper's stream tells it."""
    simulator, faults = Simulator(seed=5), Faults()
    one, two = trader_on(simulator, shared(tmp_path), faults=faults), trader_on(simulator, shared(tmp_path))
    one.begin()
    two.begin()
    faults.next("submit", delay_request_seconds=2)
    one.venue.submit(one.order("late"))
    simulator.run(for_seconds=1)
    one.venue._actor.stop(block=False)  # type: ignore[attr-defined]
    assert two.look_up("late", OrderKind.MARKET).order is None
    simulator.run(for_seconds=3)
    assert two.look_up("late", OrderKind.MARKET).order is not None
    assert [message.order.client_order_id for message in two.heard if isinstance(message, OrderUpdated)] == ["late"]


# -- the control file --------------------------------------------------------------------------------------------------


@pytest.fixture
def controlled(tmp_path: Path) -> tuple[Trader, Callable[[str], None]]:
    """A trader on a venue with a control file, and how to write that file."""
    simulator, file = Simulator(seed=6), tmp_path / "faults.json"
    trader = trader_on(simulator, shared(tmp_path, control=file))
    trader.begin()
    versions = iter(range(1, 1000))

    def write(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        # Two writes within the resolution of the file system's clock must not look the same.
        os.utime(file, ns=(next(versions) * SECOND * 1000,) * 2)

    return trader, write


def test_rules_are_read_from_the_file_when_it_changes(controlled: tuple[Trader, Callable[[str], None]]) -> None:
    """Without a file nothing happens; a new one acts at once; the same one does not count anew."""
    trader, write = controlled
    trader.filled("a")
    rules = json.dumps({"rules": [{"on": "submit", "kind": "market", "times": "1", "error": "unavailable"}]})
    write(rules)
    assert isinstance(trader.submit(trader.order("b")), RequestFailed)
    trader.filled("b")
    write(rules)
    assert isinstance(trader.submit(trader.order("c")), RequestFailed)
    write('{"rules": []}')
    trader.filled("c")


def test_a_malformed_file_is_ignored(controlled: tuple[Trader, Callable[[str], None]]) -> None:
    """The rules before it stay; a file that is taken away takes them with it."""
    trader, write = controlled
    write('{"rules": [{"on": "submit", "times": 0, "error": "unavailable"}]}')
    assert isinstance(trader.submit(trader.order("a")), RequestFailed)
    write('{"rules": [{"on": "submit", "tims": 3}]}')
    assert isinstance(trader.submit(trader.order("a")), RequestFailed)
    control = trader.venue.floor.settings.control  # type: ignore[attr-defined]
    control.unlink()
    trader.filled("a")


def test_every_word_of_a_rule_can_be_written() -> None:
    """Numbers as numbers or strings; kinds and sides by name."""
    text = """{"rules": [
        {"on": "submit", "account": "a", "symbol": "S", "kind": "stop_market", "side": "sell", "position": "p1",
         "leg": "target-1", "skip": 1, "times": "2", "for_seconds": 3, "lose": "reply", "delay_request_seconds": "0.5",
         "delay_reply_seconds": 0.25, "repeat": 1, "hold_for": 2},
        {"on": "fill", "client_order_id": "x", "fill": 0.3, "rest": "next_price"},
        {"on": "fill", "fill": "0.3", "rest": 2}]}"""
    first, second, third = parse_rules(text)
    assert (first.times, first.delay_request_seconds, first.leg) == (2, 0.5, "target-1")
    assert (second.fill, second.rest, third.rest) == (Decimal("0.3"), "next_price", 2.0)
    written = set(Rule.__dataclass_fields__) - {"when", "absent", "behind_executions", "error"}
    assert all(any(f'"{name}"' in line for line in text.splitlines()) for name in written)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"rules": {}}',
        '{"rules": [], "more": 1}',
        '{"rules": [1]}',
        '{"rules": [{"lose": "reply"}]}',
        '{"rules": [{"on": "submit", "when": "now"}]}',
        '{"rules": [{"on": "submit", "times": 1.5}]}',
        '{"rules": [{"on": "submit", "times": true}]}',
        '{"rules": [{"on": "look_up", "absent": "yes"}]}',
        '{"rules": [{"on": "submit", "kind": "iceberg"}]}',
        '{"rules": [{"on": "submit", "delay_request_seconds": "soon"}]}',
        '{"rules": [{"on": "submit", "account": 7}]}',
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Whole or not at all, and always as ValueError."""
    with pytest.raises(ValueError):
        parse_rules(text)
