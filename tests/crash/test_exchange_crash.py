"""The paper exchange server as a process of its own: killed, started again, and audited from its own journal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.venues.exchange_audit import read_audit
from actors.venues.exchange_options import JOURNAL, KEYS
from tests.exchange_world import SYMBOL, client_of, using

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0

pytestmark = pytest.mark.crash


class Running:
    """One life of the server."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "service.cli", "exchange", "--port", "0", "--data-dir", str(folder), *options]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.said = json.loads(line)
        self.endpoint = str(self.said["endpoint"])
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        """No goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=30)

    def end(self) -> int:
        """Ask it to end, and tell its exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.endpoint}/fapi/v1/ping", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Running]:
    """A server that is gone at the end, whatever happens."""
    server = Running(folder, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def test_a_killed_server_has_lost_nothing_that_it_answered(tmp_path: Path) -> None:
    """Orders pour in, it dies in the middle, and each answered order is there once; none twice."""
    answered: list[str] = []

    def pour(endpoint: str) -> None:
        trader = client_of(endpoint, tmp_path / KEYS)
        for number in range(10_000):
            name = f"order-{number}"
            try:
                if trader("POST", "/fapi/v1/order", newClientOrderId=name, **MARKET_ORDER).status_code != 200:
                    return
            except httpx.HTTPError:
                return
            answered.append(name)

    with running(tmp_path, "--manual") as first, ThreadPoolExecutor(1) as pool:
        pouring = pool.submit(pour, first.endpoint)
        deadline = time.monotonic() + 60
        while len(answered) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.kill()
        pouring.result(timeout=30)
    with running(tmp_path, "--manual") as second:
        trader = client_of(second.endpoint, tmp_path / KEYS)
        found = trader("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", limit=1000).json()
        names = [order["clientOrderId"] for order in found]
        assert set(answered) <= set(names)
        assert len(names) == len(set(names)) <= len(answered) + 1
        [risk] = trader("GET", "/fapi/v3/positionRisk").json()
        assert Decimal(risk["positionAmt"]) == len(names) * Decimal("0.001")
        assert second.end() == 0
    audit = read_audit(tmp_path / JOURNAL)
    assert {name: len(trades) for name, trades in audit.executed().items()} == dict.fromkeys(names, 1)
    assert audit.sizes[-1].quantity == len(names) * Decimal("0.001")
    asked = {one.client_order_id for one in audit.requests}
    assert set(names) <= asked


def test_the_market_goes_on_where_its_journal_says(tmp_path: Path) -> None:
    """A walk of one seed, interrupted, plays the very steps that it plays uninterrupted."""
    folders = [tmp_path / "interrupted", tmp_path / "whole"]
    options = ("--walk", "BTC/USDT:USDT=60000", "--speed", "20x", "--seed", "s", "--spread", "0.01")
    cursors: list[list[Any]] = []
    for folder, lives in zip(folders, (3, 1), strict=True):
        for life in range(lives):
            with running(folder, *options):
                wait_for_step(folder, 20 * (life + 1) if lives > 1 else 70)
        cursors.append(cursor(folder))
    reckoned = steps(tmp_path / "again", options, max(int(cursor[1]) for cursor in cursors))
    for _, step, _, price in cursors:
        assert reckoned[int(step)] == price


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """In a file that only its owner can read; never told, never logged."""
    with running(tmp_path, "--manual") as server:
        first = json.loads((tmp_path / KEYS).read_text(encoding="utf-8"))
        assert (tmp_path / KEYS).stat().st_mode & 0o777 == 0o600
        assert server.said["keys"] == str(tmp_path / KEYS)
        server.process.send_signal(signal.SIGTERM)
        out, err = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        for secret in (first["paper"]["key"], first["paper"]["secret"]):
            assert secret not in json.dumps(server.said) + out + err
    with running(tmp_path, "--manual"):
        assert json.loads((tmp_path / KEYS).read_text(encoding="utf-8")) == first


def test_two_servers_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second one says so, and ends."""
    with running(tmp_path, "--manual"):
        command = [sys.executable, "-m", "service.cli", "exchange", "--port", "0", "--data-dir", str(tmp_path)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "another exchange runs" in second.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "loopback"),
        (("--walk", "BTC"), "--walk"),
        (("--replay", "BTC/USDT:USDT=/no/such.csv"), "is not a file"),
        (("--speed", "fast"), "--speed"),
        (("--key", "just-a-name"), "ACCOUNT:KEY:SECRET"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    """With what to do about it, and exit status 1."""
    command = [sys.executable, "-m", "service.cli", "exchange", "--data-dir", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_given_keys_are_several_accounts(tmp_path: Path) -> None:
    """From the environment too; then no file is made."""
    environment = {**os.environ, "EXITKEEPER_EXCHANGE_KEYS": "a:key-of-a:secret-of-a b:key-of-b:secret-of-b"}
    command = [sys.executable, "-m", "service.cli", "exchange", "--port", "0", "--data-dir", str(tmp_path), "--manual"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert "keys" not in said
        assert not (tmp_path / KEYS).exists()
        state = httpx.get(f"{said['endpoint']}/paper/state", timeout=30).json()
        assert sorted(state["accounts"]) == ["a", "b"]
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_the_unmodified_client_survives_a_restart_of_the_exchange(tmp_path: Path) -> None:
    """Same port, same keys, same position."""
    with running(tmp_path, "--manual", "--key", "main:key-of-main:secret-of-main") as first:
        port = first.endpoint.rpartition(":")[2]

        async def play(exchange: Any) -> None:
            await exchange.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "before"})
            stop = {"stopLossPrice": 59000, "reduceOnly": True, "clientOrderId": "stop"}
            await exchange.create_order(SYMBOL, "market", "sell", 0.01, None, stop)
            first.kill()
            with running(tmp_path, "--manual", "--key", "main:key-of-main:secret-of-main", "--port", port) as second:
                assert second.endpoint == first.endpoint
                [position] = await exchange.fetch_positions()
                [resting] = await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})
                assert (position["contracts"], resting["clientOrderId"]) == (0.01, "stop")

        using(first.endpoint, play)


# -- how ---------------------------------------------------------------------------------------------------------------

MARKET_ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


def cursor(folder: Path) -> list[Any]:
    """Where BTC's walk stands: kind, step, time, price."""
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect(folder / JOURNAL)
    try:
        [(text,)] = connection.execute("SELECT cursor FROM market WHERE symbol = ?", (SYMBOL,)).fetchall()
    except (sqlite3.OperationalError, ValueError):
        return ["walk", -1, 0, "0"]
    finally:
        connection.close()
    found: list[Any] = json.loads(text)
    return found


def wait_for_step(folder: Path, step: int) -> None:
    """Until the walk has come so far."""
    deadline = time.monotonic() + 60
    while int(cursor(folder)[1]) < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def steps(folder: Path, options: tuple[str, ...], last: int) -> dict[int, str]:
    """The prices of the walk of these options up to a step, reckoned without a server."""
    from actors.venues.exchange_options import settings_of  # noqa: PLC0415
    from actors.venues.paper_sources import instruments_from, open_market  # noqa: PLC0415

    folder.mkdir()
    words = {"walk": [options[1]], "speed": options[3], "seed": options[5], "spread": options[7]}
    paper = settings_of(folder, words).paper()
    market = open_market(paper, instruments_from(paper), {})
    found: dict[int, str] = {}
    for _ in range(last + 1):
        tick = market.peek(0)
        assert tick is not None
        market.advance(tick)
        _, step, _, price = json.loads(tick.cursor)
        found[int(step)] = price
    return found
