"""Two keepers want one shard, on one Redis and one exchange: only its owner trades, whenever the other one wakes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from actors.domain.schema import SCHEMA
from actors.domain.step import ORDER_TAG_DIGITS, client_order_id
from persistence.redis_server import EmbeddedRedis
from persistence.redis_store import RedisStore
from tests.crash import frozen_keeper
from tests.crash.evidence import Ledger, events, json_lines
from tests.crash.live_market import LiveMarket, live_market
from tests.e2e.keeper import BTC, ETH, Keeper, settled

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SHARD = "paper"
LEASE_SECONDS = 6
EXPIRY_SECONDS = 2
FLAT = {BTC: "60000", ETH: "3000"}
WHOLE, PARTIAL, RUNNER = Decimal("0.01"), Decimal("0.006"), Decimal("0.004")


class Contender(Keeper):
    """A keeper that may have to wait for its shard."""

    def launch(self, *freeze: str) -> None:
        """Start, and wait for nothing; `freeze` is the moment, position and leg at which it freezes."""
        program = [str(Path(frozen_keeper.__file__)), *freeze] if freeze else ["-m", "service.cli"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def reasons(self) -> str:
        """Why it says that it is not ready; nothing when it is, or does not answer."""
        with suppress(httpx.HTTPError):
            response = self.client.get("/readyz")
            if response.status_code == 503:
                return "; ".join(response.json()["reasons"])
        return ""

    def tag(self) -> str:
        """What its leases begin with."""
        return (self.data_dir / "installation").read_text(encoding="ascii").strip()

    def stopped(self) -> bool:
        """Whether its process stands still."""
        return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)
        self.until(self.stopped, "it does not stop")

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def asked_to_open(self, position_id: str, symbol: str) -> httpx.Response:
        """The answer to a new position."""
        body = {"id": position_id, "account": "paper", "symbol": symbol, "side": "long", "quantity": "0.1"}
        return self.client.post("/v1/positions", json={**body, "plan": "runner"})


class Match:
    """Both keepers, and what is known of them from outside."""

    def __init__(self, folder: Path, url: str, market: LiveMarket) -> None:
        self.ledger = Ledger(folder / "exchange.sqlite")
        self.store = RedisStore(url, newest_schema=SCHEMA)
        self.first, self.second = (self._contender(folder / name, url, market) for name in ("first", "second"))

    def _contender(self, folder: Path, url: str, market: LiveMarket) -> Contender:
        folder.mkdir()
        config = folder / "exitkeeper.toml"
        config.write_text(
            f'[redis]\nurl = "{url}"\n'
            f'[accounts.paper]\nvenue = "paper"\nlease_ttl_seconds = {LEASE_SECONDS}\n'
            f"request_expiry_seconds = {EXPIRY_SECONDS}\nclock_skew_seconds = 1\n"
            f'[accounts.paper.market]\nledger = "{folder.parent / "exchange.sqlite"}"\n{market.replay}',
            encoding="utf-8",
        )
        return Contender(folder, "--config", str(config))

    def epoch(self) -> int:
        """Of the shard's owner, by its fence."""
        return self.store.fence(SHARD).epoch

    def owned_by(self, keeper: Contender) -> bool:
        """Whether the lease is this one's."""
        return (self.store.lease_owner(SHARD) or "").startswith(f"{keeper.tag()}/")

    def the_second_waits(self) -> None:
        """Start the second beside the first, and wait until it has asked for the shard and said who has it."""
        self.second.launch()
        self.second.until(lambda: self.first.tag() in self.second.reasons(), "it does not name the owner")

    def the_second_owns(self, epoch: int) -> None:
        """Wait until the second has taken over and everything is protected by its own orders."""
        self.second.until(self.second.ready, "the second does not take over")
        assert self.epoch() == epoch
        assert self.owned_by(self.second)

    def the_first_stands_down(self) -> None:
        """It says who owns the shard now, and that its own saves count no more."""
        self.first.until(lambda: self.second.tag() in self.first.reasons(), "it does not name the new owner")
        assert events(self.first.log, "snapshot.stale_owner")
        refused = self.first.asked_to_open("late", ETH)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_owner")
        half = {"fraction": "0.5", "request_id": "half"}
        assert self.first.client.post("/v1/positions/mine/close", json=half).status_code == 503
        assert self.ledger.executed(ETH) == []
        assert self.owned_by(self.second)

    def one_stop_rests(self, quantity: Decimal) -> None:
        """Only the second's, for all that is left."""
        position = self.second.position("mine")
        ((order_id, at_rest),) = self.ledger.at_rest(BTC).items()
        leg = position["resident_stop"]["leg"]
        assert order_id[ORDER_TAG_DIGITS:] == client_order_id("", "mine", leg, 0)
        assert at_rest == Decimal(position["remaining"]) == self.ledger.held(BTC) == quantity

    def stored(self) -> tuple[int, int]:
        """Epoch and version of the snapshot in Redis."""
        snapshot = self.store.read(SHARD, "mine")
        assert snapshot is not None
        return snapshot.epoch, snapshot.version

    def close(self) -> None:
        """End everything of it."""
        self.first.end()
        self.second.end()
        self.store.close()


@contextmanager
def two_keepers(folder: Path) -> Iterator[tuple[Match, LiveMarket]]:
    """One Redis, one exchange, one market, and two keepers that are not started yet."""
    server = EmbeddedRedis(folder / "store")
    with live_market(folder, FLAT) as market:
        try:
            match = Match(folder, server.ensure(), market)
            try:
                yield match, market
            finally:
                match.close()
        finally:
            server.stop()


def quantities(match: Match, side: str) -> list[Decimal]:
    """What was executed in BTC."""
    return [trade.quantity for trade in match.ledger.executed(BTC, side)]


def test_a_paused_owner_is_replaced_and_does_nothing_when_it_wakes(tmp_path: Path) -> None:
    """The second waits as long as the lease lives; paused past it, the first neither saves nor trades any more."""
    with two_keepers(tmp_path) as (match, market):
        first, second = match.first, match.second
        first.start()
        before = first.opened("mine")
        match.the_second_waits()
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * LEASE_SECONDS:
            assert second.reasons()
            assert match.epoch() == before["epoch"]
            time.sleep(0.1)
        refused = second.asked_to_open("early", ETH)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_owner")
        assert events(second.log, "lease.taken") == []

        with match.ledger.nobody_writes():
            first.pause()
        match.the_second_owns(before["epoch"] + 1)
        former = before["resident_stop"]["leg"]
        second.until(lambda: second.position("mine")["resident_stop"]["leg"] != former, "the stop is not replaced")
        second.until(lambda: settled(second.position("mine")), "the new stop does not rest")
        match.one_stop_rests(WHOLE)
        market.move(BTC, "60700")
        second.until(lambda: second.position("mine")["remaining"] == "0.004", "the second does not close its part")
        second.until(lambda: settled(second.position("mine")), "the runner is not protected")

        stored = match.stored()
        first.go_on()
        match.the_first_stands_down()
        assert match.stored() == stored
        match.one_stop_rests(RUNNER)
        assert (quantities(match, "buy"), quantities(match, "sell")) == ([WHOLE], [PARTIAL])

        market.move(BTC, "59900")
        second.until(lambda: second.position("mine")["phase"] == "closed", "the runner is not stopped out")
        assert (quantities(match, "buy"), quantities(match, "sell")) == ([WHOLE], [PARTIAL, RUNNER])
        assert match.ledger.at_rest(BTC) == {}
        assert match.epoch() == before["epoch"] + 1


def test_a_partial_frozen_between_check_and_sending_comes_too_late(tmp_path: Path) -> None:
    """The first freezes with its partial signed: the second sends it under the same id, and the exchange takes one."""
    with two_keepers(tmp_path) as (match, market):
        first, second = match.first, match.second
        first.launch("sending", "mine", "target-1")
        first.until(first.ready, "the first is not ready")
        before = first.opened("mine")
        match.the_second_waits()
        market.move(BTC, "60700")
        first.until(first.stopped, "it has not come to its partial")
        assert quantities(match, "sell") == []

        match.the_second_owns(before["epoch"] + 1)
        second.until(lambda: second.position("mine")["remaining"] == "0.004", "the second does not close its part")
        second.until(lambda: settled(second.position("mine")), "the runner is not protected")
        match.one_stop_rests(RUNNER)
        stored = match.stored()
        first.go_on()
        too_late(first)
        match.the_first_stands_down()
        assert match.stored() == stored
        (partial,) = match.ledger.executed(BTC, "sell")
        assert partial.is_of("mine", "target-1")
        assert partial.quantity == PARTIAL
        match.one_stop_rests(RUNNER)
        assert second.position("mine")["tp1_hit"]


def test_a_save_frozen_before_it_is_written_is_refused(tmp_path: Path) -> None:
    """The first freezes with its partial's intent read, merged and not yet written: it never is, nor is it sent."""
    with two_keepers(tmp_path) as (match, market):
        first, second = match.first, match.second
        first.launch("saving", "mine", "target-1")
        first.until(first.ready, "the first is not ready")
        before = first.opened("mine")
        match.the_second_waits()
        market.move(BTC, "60700")
        first.until(first.stopped, "it has not come to its save")

        match.the_second_owns(before["epoch"] + 1)
        second.until(lambda: second.position("mine")["remaining"] == "0.004", "the second does not close its part")
        second.until(lambda: settled(second.position("mine")), "the runner is not protected")
        stored = match.stored()
        first.go_on()
        match.the_first_stands_down()
        assert match.stored() == stored
        refused = [line for line in json_lines(first.data_dir / "failures.jsonl") if line["position_id"] == "mine"]
        assert {line["kind"] for line in refused} == {"snapshot.stale_owner"}
        assert all("target-1" in [intent["leg"] for intent in line["state"]["intents"]] for line in refused)
        assert "target-1" not in [entry["leg"] for entry in events(first.log, "order.sent")]
        (partial,) = match.ledger.executed(BTC, "sell")
        assert partial.is_of("mine", "target-1")
        assert partial.quantity == PARTIAL
        match.one_stop_rests(RUNNER)


def test_an_entry_frozen_between_check_and_sending_comes_too_late(tmp_path: Path) -> None:
    """The first freezes with its entry signed: the position is entered once, by the second."""
    with two_keepers(tmp_path) as (match, _market):
        first, second = match.first, match.second
        first.launch("sending", "mine", "entry")
        first.until(first.ready, "the first is not ready")
        match.the_second_waits()
        epoch = match.epoch()
        asking = threading.Thread(target=ask_in_vain, args=(first,), daemon=True)
        asking.start()
        first.until(first.stopped, "it has not come to its entry")
        assert quantities(match, "buy") == []

        match.the_second_owns(epoch + 1)
        second.until(lambda: settled(second.position("mine")), "the second does not enter")
        match.one_stop_rests(WHOLE)
        stored = match.stored()
        first.go_on()
        too_late(first)
        match.the_first_stands_down()
        assert match.stored() == stored
        (entry,) = match.ledger.executed(BTC)
        assert entry.is_of("mine", "entry")
        assert (entry.side, entry.quantity) == ("buy", WHOLE)
        match.one_stop_rests(WHOLE)
        asking.join()


def ask_in_vain(keeper: Contender) -> None:
    """Open a position at a keeper that may freeze before it answers."""
    body: dict[str, Any] = {"id": "mine", "account": "paper", "symbol": BTC, "side": "long", "quantity": "0.01"}
    with suppress(httpx.HTTPError):
        httpx.post(
            f"{keeper.client.base_url}/v1/positions",
            json={**body, "plan": "runner"},
            timeout=10.0,
            trust_env=False,
        )


def too_late(keeper: Contender) -> None:
    """The request did leave, as it was signed, and the exchange refused it for its age."""
    keeper.until(lambda: bool(events(keeper.log, frozen_keeper.ANSWERED)), "the request has not reached the exchange")
    (answered,) = events(keeper.log, frozen_keeper.ANSWERED)
    assert answered["what"] == "expired"
    assert answered["late_seconds"] > EXPIRY_SECONDS
