"""Two processes on one paper exchange: one is frozen, the other plays on; thawed, it follows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pykka
import pytest

from actors.domain.model import OrderKind, OrderSide
from actors.runtime.base import tell
from actors.runtime.threads import ThreadRuntime
from actors.venues.base import OrderRequest, OrderUpdated, PricesUpdated
from actors.venues.paper import PaperVenue
from actors.venues.paper_settings import MarketSettings, PaperSettings, WalkSettings
from tests.crash.evidence import nobody_writes

ROOT = Path(__file__).resolve().parents[2]
SYMBOL = "BTC/USDT:USDT"
# Only a hang is cut off by it.
PATIENCE_SECONDS = 90.0


class Loud(pykka.ThreadingActor):
    """Prints what the venue tells."""

    def on_receive(self, message: Any) -> None:
        """One line of JSON each."""
        if isinstance(message, PricesUpdated):
            print(json.dumps(["price", message.quote.at, str(message.quote.last)]), flush=True)
        elif isinstance(message, OrderUpdated):
            print(json.dumps(["order", message.order.client_order_id, message.order.state]), flush=True)


def serve(folder: Path) -> None:
    """A keeper's venue, which buys whatever client id it reads on its standard input."""
    walk = WalkSettings(price=Decimal(60000), interval_seconds=Decimal("0.1"))
    paper = PaperSettings(path=folder / "paper.db", market=MarketSettings(symbols={SYMBOL: walk}), shared=True)
    runtime = ThreadRuntime()
    venue = PaperVenue(account="main", settings=paper, runtime=runtime)
    listener = runtime.spawn(Loud)
    venue.start(listener)
    actor = venue._actor
    assert actor is not None
    # Before there are prices: two threads that print at once would mix their lines.
    print(json.dumps(["player", actor.actor_urn]), flush=True)
    venue.resume()
    for line in sys.stdin:
        venue.submit(
            OrderRequest(
                request_id=line,
                account="main",
                symbol=SYMBOL,
                client_order_id=line.strip(),
                kind=OrderKind.MARKET,
                side=OrderSide.BUY,
                quantity=Decimal("0.01"),
                reduce_only=False,
                signed_at=runtime.clock.now(),
                expires_after_seconds=5.0,
            )
        )
    tell(listener, None)


class Process:
    """One such keeper, and what it has printed."""

    def __init__(self, folder: Path) -> None:
        code = (
            "import structlog; from pathlib import Path; from tests.crash.test_paper_shared import serve; "
            "structlog.configure(logger_factory=structlog.ReturnLoggerFactory()); "
            f"serve(Path({str(folder)!r}))"
        )
        self.heard: list[list[Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(json.loads(line))

    def of(self, kind: str) -> list[list[Any]]:
        """What it has printed of one kind."""
        return [line for line in list(self.heard) if line[0] == kind]

    def buy(self, client_order_id: str) -> None:
        """Let it buy."""
        assert self.process.stdin is not None
        self.process.stdin.write(client_order_id + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Freeze or thaw it."""
        os.kill(self.process.pid, number)

    def stopped(self) -> bool:
        """Whether it stands still."""
        return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)

    def end(self) -> None:
        """Whatever became of the test."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def holder(folder: Path) -> str:
    """Who holds the lease."""
    connection = sqlite3.connect(folder / "paper.db", timeout=PATIENCE_SECONDS)
    row = connection.execute("SELECT player FROM feed").fetchone()
    connection.close()
    return str(row[0]) if row else ""


@pytest.mark.crash
def test_a_frozen_player_is_replaced_and_follows_when_thawed(tmp_path: Path) -> None:
    """Prices go on, each played once; the thawed one hears what was executed while it was frozen."""
    processes = [Process(tmp_path) for _ in range(2)]
    try:
        until(lambda: all(len(process.of("price")) > 5 for process in processes))
        names = {process.of("player")[0][1]: process for process in processes}
        frozen = names[holder(tmp_path)]
        (other,) = (process for process in processes if process is not frozen)
        with nobody_writes(tmp_path / "paper.db"):
            frozen.signal(signal.SIGSTOP)
            until(frozen.stopped)
        heard = len(other.of("price"))
        until(lambda: len(other.of("price")) > heard + 20)
        assert names[holder(tmp_path)] is other
        other.buy("meanwhile")
        until(lambda: ["order", "meanwhile", "filled"] in other.heard)
        told = len(frozen.of("price"))
        frozen.signal(signal.SIGCONT)
        until(lambda: ["order", "meanwhile", "filled"] in frozen.heard and len(frozen.of("price")) > told + 10)
        played: dict[int, str] = {}
        for process in processes:
            for _, at, price in process.of("price"):
                assert played.setdefault(at, price) == price
    finally:
        for process in processes:
            process.end()
