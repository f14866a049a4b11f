"""Accounts whose exchange must be reached first: ready when it says so, blocked when it says why, never each other."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors import recovery
from actors.domain.model import OrderSide, Phase
from actors.messages import Opened, Refusal
from actors.runtime.base import Ref, tell
from actors.settings import AccountSettings
from actors.venues.base import AccountRequest, StreamRestored, VenueStatus, VenueTraits
from actors.venues.paper import PaperVenue
from persistence.memory_store import MemoryStore
from service.bootstrap import House, assemble
from tests.simulation.house import ORDER_TAG, OTHER, SYMBOL, Keeper

SEEDS = range(4)


class ReachedVenue(PaperVenue):
    """A paper venue that tells prices of watched symbols only, and its state when the test says so."""

    listener: Ref
    watched: list[str]
    own_time = True

    @property
    def traits(self) -> VenueTraits:
        """As a real exchange's."""
        return VenueTraits(
            name="reached",
            stop_triggers=super().traits.stop_triggers,
            expires_requests=True,
            live_money=True,
            lockstep=False,
            own_time=self.own_time,
            subscribes=True,
        )

    def start(self, listener: Ref) -> None:
        """Remember whom to tell."""
        self.listener, self.watched = listener, []
        super().start(listener)

    def watch(self, symbol: str) -> None:
        """Remember what is wanted."""
        self.watched.append(symbol)

    def is_ready(self) -> None:
        """The exchange was reached."""
        tell(self.listener, VenueStatus(account=self._account, ready=True))

    def is_blocked(self, code: str, detail: str) -> None:
        """The exchange refuses the account."""
        tell(self.listener, VenueStatus(account=self._account, ready=False, code=code, detail=detail))


class LiveKeeper(Keeper):
    """A keeper of two accounts, `paper` and `other`, at the same exchange; both must be reached first."""

    venues: dict[str, ReachedVenue]

    def boot(self, *, owner: str = "", trust_the_dead: bool = True) -> House:
        """Start a keeper whose venues say nothing yet."""
        del trust_the_dead
        self.boots += 1
        clock = self.simulator.clock
        first = ReachedVenue(
            account="paper", settings=self.paper, runtime=self.simulator, exchange=self.exchange, faults=self.faults
        )
        second = ReachedVenue(account="other", settings=self.paper, runtime=self.simulator, floor=first.floor)
        self.venues = {"paper": first, "other": second}
        self.house = assemble(
            self.simulator,
            store=MemoryStore(newest_schema=2, now=clock.monotonic, server=self.server, new_write_id=self._write_id()),
            failure_log=self.failures,
            accounts=(self.settings, AccountSettings(name="other", shard="other", request_expiry_seconds=2.0)),
            venues=self.venues,
            order_tag=ORDER_TAG,
            owner=owner or f"keeper-{self.boots}",
            dead_owner=lambda name: name.startswith("keeper-"),
            publish=self.events.append,
            clock_seconds=clock.monotonic,
        )
        self.house.boot()
        self.run(1)
        return self.house

    def reach(self, *names: str) -> None:
        """These accounts' exchange was reached."""
        for name in names:
            self.venues[name].is_ready()
        self.run(1)

    def detail(self, name: str) -> str:
        """What is shown of an account."""
        return self.house.directory.accounts[name].detail


def keeper_at(folder: Path, seed: int, **more: Any) -> LiveKeeper:
    """Booted, nothing reached."""
    keeper = LiveKeeper(folder, [60000], seed=seed, speed=1.0, others=[3000], **more)
    keeper.boot()
    return keeper


@pytest.mark.parametrize("seed", SEEDS)
def test_an_account_is_ready_once_its_exchange_was_reached(tmp_path: Path, seed: int) -> None:
    """Until then nothing is opened, and readiness says what it waits for."""
    keeper = keeper_at(tmp_path, seed)
    answer = keeper.open()
    assert isinstance(answer, Refusal)
    assert answer.code == "not_ready"
    assert "connecting to the exchange" in answer.message
    assert any("connecting" in reason for reason in keeper.house.directory.reasons_not_ready())
    keeper.reach("paper", "other")
    assert keeper.house.directory.reasons_not_ready() == ()
    assert isinstance(keeper.open(), Opened)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_account_that_cannot_trade_does_not_stop_the_others(tmp_path: Path, seed: int) -> None:
    """It says what to do, it opens nothing, and once the exchange lets it, it goes on."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper")
    keeper.venues["other"].is_blocked("position_mode", "hedge mode is on; switch to one-way mode")
    keeper.run(1)
    assert isinstance(keeper.open(), Opened)
    refused = keeper.open(id="p2", account="other")
    assert isinstance(refused, Refusal)
    assert "one-way" in refused.message
    assert "one-way" in keeper.detail("other")
    keeper.reach("other")
    assert isinstance(keeper.open(id="p2", account="other"), Opened)
    keeper.run(2)
    assert {keeper.position("p1").phase, keeper.position("p2").phase} == {Phase.OPEN}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_that_is_revoked_blocks_new_positions_and_nothing_else(tmp_path: Path, seed: int) -> None:
    """The position stays managed; its stop stays where it is."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    resting = keeper.resting()
    keeper.venues["paper"].is_blocked("auth", "the key was refused; make a new one")
    keeper.run(2)
    assert keeper.resting() == resting
    assert keeper.position().protected
    assert isinstance(keeper.open(id="p2", symbol=OTHER), Refusal)
    keeper.moves(59000)
    assert keeper.position().phase is Phase.CLOSED
    assert any("make a new one" in reason for reason in keeper.house.directory.reasons_not_ready())


@pytest.mark.parametrize("seed", SEEDS)
def test_prices_are_asked_for_with_the_first_position_of_a_symbol(tmp_path: Path, seed: int) -> None:
    """An exchange has hundreds of symbols; after a restart those that are held are asked for again."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    assert keeper.venues["paper"].watched == []
    keeper.opened()
    assert keeper.venues["paper"].watched == [SYMBOL]
    assert set(keeper.house.directory.feeds) == {("paper", SYMBOL)}
    keeper.crash()
    keeper.boot()
    assert keeper.venues["paper"].watched == [SYMBOL]
    keeper.reach("paper", "other")
    keeper.moves(60600)
    assert keeper.position().targets[0].filled == Decimal("0.6")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_symbol_that_nobody_holds_shows_no_price_once_its_shard_was_lost(tmp_path: Path, seed: int) -> None:
    """Its market ended with the life of the shard, and no new one comes before somebody opens a position there."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    keeper.moves(60100)
    keeper.close()
    keeper.run(10)
    assert keeper.position().phase is Phase.CLOSED
    assert set(keeper.house.directory.feeds) == {("paper", SYMBOL)}
    # It stands still for longer than its lease, and takes its shard again.
    keeper.simulator.clock.elapsed += 60_000_000
    keeper.run(10)
    keeper.reach("paper", "other")
    assert keeper.house.directory.accounts["paper"].epoch == 2
    assert keeper.house.directory.feeds == {}
    assert keeper.house.directory.reasons_not_ready() == ()
    assert isinstance(keeper.open(id="p2"), Opened)
    assert set(keeper.house.directory.feeds) == {("paper", SYMBOL)}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_symbol_the_exchange_does_not_have_is_refused(tmp_path: Path, seed: int) -> None:
    """With what it has."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    answer = keeper.open(symbol="NOPE/USDT:USDT")
    assert isinstance(answer, Refusal)
    assert answer.code == "unknown_symbol"
    assert SYMBOL in answer.message
    assert keeper.venues["paper"].watched == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_that_was_interrupted_makes_every_slot_be_read_again(tmp_path: Path, seed: int) -> None:
    """What it would have told is found at once, not at the next look around."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    keeper.run(31)
    keeper.by_hand(OrderSide.SELL, "0.4")
    keeper.run(3)
    assert keeper.position().remaining == 1
    tell(keeper.venues["paper"].listener, StreamRestored(account="paper"))
    keeper.run(3)
    assert keeper.position().remaining == Decimal("0.6")
    assert keeper.position().fills[-1].reason.value == "external"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_stream_reports_is_read_back(tmp_path: Path, seed: int) -> None:
    """A report is booked at once and then the exchange is asked: streams are wake-ups."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    stop = keeper.resting()[0]
    before = keeper.exchange.asked.count(("look_up", stop))
    keeper.moves(59000)
    assert keeper.position().phase is Phase.CLOSED
    assert keeper.exchange.asked.count(("look_up", stop)) > before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_read_just_after_a_fill_is_read_again(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads lag behind reports: what was booked a moment ago may be missing in them, and is no excess of anybody's.

    That such a read would also be seen to lack our own trade is taken away here.
    """
    monkeypatch.setattr(recovery, "is_behind", lambda *_: False)
    monkeypatch.setattr(ReachedVenue, "own_time", False)
    # That such a read lacks our own trade would be seen too; here it is not even looked at.
    monkeypatch.setattr("actors.recovery.is_behind", lambda *_: False)
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    keeper.run(5)
    keeper.add_prices([60600])
    while keeper.position().remaining == 1:
        keeper.run(0.05)
    keeper.faults.next("read_account", behind_executions=1)
    tell(keeper.venues["paper"].listener, StreamRestored(account="paper"))
    keeper.run(10)
    assert keeper.told("position.external_change") == []
    assert keeper.position().excess == 0
    assert len(keeper.faults.taken) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_many_that_ask_for_another_read_are_one_row_of_reads(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While reads lag behind our own trade each asks for the next: six that began are still one a second."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    keeper.run(5)
    keeper.faults.always("read_account", behind_executions=1)
    reads: list[AccountRequest] = []
    read = ReachedVenue.read_account

    def counted(venue: ReachedVenue, request: AccountRequest) -> None:
        reads.append(request)
        read(venue, request)

    monkeypatch.setattr(ReachedVenue, "read_account", counted)
    for _ in range(6):
        tell(keeper.venues["paper"].listener, StreamRestored(account="paper"))
        keeper.run(0.15)
    reads.clear()
    keeper.run(10)
    assert 8 <= len(reads) <= 12
    assert keeper.position().remaining == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_one_position_nobody_can_reconcile_does_not_keep_prices_from_the_others(tmp_path: Path, seed: int) -> None:
    """Its order cannot be read after a restart: after a minute the others go on, it is told, and it comes later."""
    keeper = keeper_at(tmp_path, seed)
    keeper.reach("paper", "other")
    keeper.opened()
    keeper.opened(id="p2", symbol=OTHER)
    keeper.crash()
    keeper.faults.next("look_up", symbol=OTHER, times=0, error="unknown_symbol")
    keeper.boot()
    keeper.reach("paper", "other")
    keeper.run(50)
    assert any("not reconciled" in reason for reason in keeper.house.directory.reasons_not_ready())
    keeper.run(15)
    keeper.add_prices([60700] * 40)
    keeper.run(30)
    assert keeper.position("p1").targets[0].filled == Decimal("0.6")
    assert any("p2" in reason for reason in keeper.house.directory.reasons_not_ready())
    keeper.faults.clear()
    keeper.run(10)
    assert not any("reconciled" in reason for reason in keeper.house.directory.reasons_not_ready())
    assert keeper.position("p2").protected
