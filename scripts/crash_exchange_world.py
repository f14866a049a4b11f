"""The three processes of an exchange campaign, how they are killed and started again, and what they say."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from actors.venues.exchange_audit import Audit, read_audit
from scripts.crash_campaign import ROOT, SYMBOLS
from service.bootstrap import embedded_redis_pid

ACCOUNT = "main"
KEY, SECRET = "key-of-the-campaign", "secret-of-the-campaign"
POLL_SECONDS = 0.1
MICROS_PER_SECOND = 1_000_000


class Program:
    """One command that is killed and started again, and when it was not there."""

    def __init__(
        self, words: Sequence[str], log: Path, alive: Callable[[], bool], program: Sequence[str] = ("-m", "service.cli")
    ) -> None:
        """`alive` tells whether it answers; `program` is what Python is given before the words."""
        self._words = [*program, *words]
        self.before: Sequence[str] = ()
        self._log = log.open("ab")
        self._alive = alive
        self.process: subprocess.Popen[bytes] | None = None
        self.killed_at: list[float] = []

    def start(self) -> None:
        """Start a process."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EXITKEEPER_")}
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [*self.before, sys.executable, *self._words],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """kill -9, and the same command again."""
        self.kill_only()
        self.start()

    def kill_only(self) -> None:
        """kill -9, and nothing more."""
        if self.process is not None:
            self.killed_at.append(time.time())
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


class World:
    """Keeper, its Redis, and the exchange."""

    def __init__(self, folder: Path, market: Path, *, speed: int) -> None:
        """Ports are of this process, so that campaigns can run side by side."""
        port = 19_000 + 2 * (os.getpid() % 2000)
        self.folder = folder
        self.exchange_url, self._keeper_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        self._data = folder / "data"
        config = folder / "exitkeeper.toml"
        config.write_text(
            f'data_dir = "{self._data}"\n[http]\nport = {port + 1}\n[accounts.{ACCOUNT}]\nvenue = "binanceusdm"\n'
            f'endpoint = "{self.exchange_url}"\napi_key = "{KEY}"\nsecret = "{SECRET}"\n'
            'request_expiry_seconds = "2"\nclock_skew_seconds = "0.5"\n'
        )
        self.client = httpx.Client(timeout=15.0, trust_env=False)
        replays = [word for symbol in SYMBOLS for word in ("--replay", f"{symbol}={market}")]
        words = ["exchange", "--port", str(port), "--data-dir", str(folder / "exchange"), "--speed", f"{speed}x"]
        words += ["--key", f"{ACCOUNT}:{KEY}:{SECRET}", *replays]
        self.exchange = Program(words, folder / "exchange.log", lambda: self.control("state", method="GET") is not None)
        self.keeper = Program(["run", "--config", str(config)], folder / "keeper.log", self.ready)
        self.redis_killed_at: list[float] = []

    def programs(self) -> Sequence[Program]:
        """Those that must not end by themselves."""
        return (self.exchange, self.keeper)

    def start(self) -> None:
        """The exchange first, then the keeper."""
        self.exchange.start()
        self.wait(lambda: self.control("state", method="GET") is not None, 60, "the exchange did not start")
        self.keeper.start()

    def stop(self) -> None:
        """The keeper first, so that it drains."""
        self.keeper.stop()
        self.exchange.stop()
        self.client.close()

    def kill_redis(self) -> bool:
        """kill -9 of the keeper's Redis; false where none answers just now."""
        pid = embedded_redis_pid(self._data)
        if pid is None:
            return False
        self.redis_killed_at.append(time.time())
        os.kill(pid, signal.SIGKILL)
        return True

    def outages(self) -> list[float]:
        """When something was killed (seconds since 1970)."""
        return sorted([*self.keeper.killed_at, *self.exchange.killed_at, *self.redis_killed_at])

    # -- the keeper ----------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The keeper's answer as JSON; None while it does not give one."""
        try:
            answer = self.client.get(self._keeper_url + path)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    def post(self, path: str, body: object) -> httpx.Response | None:
        """The keeper's answer; None where there is none."""
        try:
            return self.client.post(self._keeper_url + path, json=body)
        except httpx.HTTPError:
            return None

    def ready(self) -> bool:
        """Whether the keeper says so."""
        return self.get("/readyz") is not None

    def order_tag(self) -> str:
        """The first eight digits of every order id of this keeper."""
        return (self._data / "installation").read_text().strip()

    def collect(self) -> list[dict[str, Any]]:
        """Every position, as the keeper shows it."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/v1/positions?phase=all&limit=100{cursor}")
            if page is None:
                time.sleep(POLL_SECONDS)
                continue
            found += page["positions"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    # -- the exchange --------------------------------------------------------------------------------------------------

    def control(self, path: str, content: Mapping[str, Any] | None = None, method: str = "POST") -> Any:
        """The exchange's control surface; None where it does not answer, or refuses."""
        try:
            if method == "GET":
                answer = self.client.get(f"{self.exchange_url}/paper/{path}", params=content)
            else:
                answer = self.client.request(method, f"{self.exchange_url}/paper/{path}", json=content)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    def held(self) -> dict[str, str]:
        """The signed size of every position at the exchange."""
        while (state := self.control("state", method="GET")) is None:
            time.sleep(POLL_SECONDS)
        positions = state["accounts"][ACCOUNT]["positions"]
        return {symbol: each["quantity"] for symbol, each in positions.items()}

    def flatten(self, symbol: str) -> None:
        """By hand: take away what nobody manages."""
        quantity = self.held().get(symbol)
        if quantity is not None and float(quantity):
            side = "SELL" if float(quantity) > 0 else "BUY"
            order = {"account": ACCOUNT, "symbol": symbol, "side": side, "quantity": quantity.lstrip("-")}
            self.control("order", {**order, "reduceOnly": "true"})

    def calm(self) -> None:
        """No faults any more, the right time, and a market that stands still."""
        self.wait(lambda: self.control("faults", {}, method="DELETE") is not None, 60, "the exchange did not come back")
        self.control("clock", {"skew_ms": 0})
        self.control("market", {"playing": False})

    def audit(self) -> Audit:
        """The exchange's own journal."""
        return read_audit(self.folder / "exchange" / "exchange.sqlite", account=ACCOUNT)

    def await_request(self, seconds: float) -> None:
        """Until the exchange has written down one more order or cancellation, or the time is up."""
        journal = sqlite3.connect(f"file:{self.folder / 'exchange' / 'exchange.sqlite'}?mode=ro", uri=True)
        try:
            first = last = journal.execute("SELECT max(id) FROM requests").fetchone()
            until = time.monotonic() + seconds
            while last == first and time.monotonic() < until:
                time.sleep(0.002)
                last = journal.execute("SELECT max(id) FROM requests").fetchone()
        finally:
            journal.close()

    # -- waiting -------------------------------------------------------------------------------------------------------

    def quiet(self, asked: Iterable[str]) -> bool:
        """Whether nothing is under way at the keeper, and what it holds is what the exchange holds."""
        if not self.ready():
            return False
        held = self.held()
        open_now: dict[str, Any] = {}
        for name in asked:
            found = self.get(f"/v1/positions/{name}")
            if found is not None and found["phase"] != "closed":
                open_now[found["symbol"]] = found
        for symbol in SYMBOLS:
            position = open_now.get(symbol)
            if position is None:
                # Nothing of the keeper's is there; what somebody's hands left is theirs.
                continue
            tracked = position["remaining"] if position["side"] == "long" else f"-{position['remaining']}"
            # A target that rests in the book waits for its price, which the market may never bring again.
            under_way = [order for order in position["pending"] if order["status"] != "resting"]
            settled = not under_way and position["protected"] and position["phase"] in ("open", "runner")
            if not settled or float(held.get(symbol, "0")) != float(tracked):
                return False
        return True

    def wait(self, what: Callable[[], bool], seconds: float, otherwise: str) -> None:
        """Until it is so; SystemExit when it takes too long."""
        until = time.monotonic() + seconds
        while not what():
            for program in self.programs():
                if program.process is not None and program.process.poll() is not None:
                    raise SystemExit(f"a process ended by itself: see the logs in {self.folder}")
            if time.monotonic() > until:
                raise SystemExit(f"{otherwise}: see the logs in {self.folder}")
            time.sleep(POLL_SECONDS)
