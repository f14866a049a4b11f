"""The processes that a fault happens to: a paper exchange whose prices are set by hand, a keeper, and its Redis.

The keeper speaks to the exchange through the real client library. Its Redis is a server of its own behind a loopback
proxy, or the keeper's embedded one. The exchange's own journal is the judge in the end (crash_exchange_judge.py).
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from actors.venues.exchange_audit import read_audit
from persistence.failure_log import UNREACHABLE, Failure, read_failures
from scripts.crash_clock import ClockFile
from scripts.crash_exchange_judge import Played, Watch, judge
from scripts.crash_exchange_world import ACCOUNT, KEY, POLL_SECONDS, SECRET, Program
from scripts.crash_proxy import Proxy
from service.bootstrap import embedded_redis_pid
from tests.crash import campaign_keeper
from tests.crash.redis_world import Server

SYMBOLS = {"btc": "BTC/USDT:USDT", "eth": "ETH/USDT:USDT", "sol": "SOL/USDT:USDT"}
FLAT = {"btc": "60000", "eth": "3000", "sol": "150"}
AOF = Path("appendonlydir") / "appendonly.aof.1.incr.aof"
LEASE_SECONDS = 6.0
PATIENCE_SECONDS = 120.0
KEEPER = str(Path(campaign_keeper.__file__))


class Stand:
    """Everything of one run of faults, in one folder."""

    def __init__(self, folder: Path, *, data_dir: Path | None = None, embedded: bool = False, seed: int = 1) -> None:
        """`data_dir` is the keeper's folder where that is to be a special one; `seed` is the network's."""
        port = 23_000 + 2 * (os.getpid() % 2000)
        self.folder = folder
        self.data_dir = folder / "data" if data_dir is None else data_dir
        self._exchange_url, self.url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        self.server = None if embedded else Server(folder / "redis")
        self.proxy = None if self.server is None else Proxy(self.server.port, seed)
        self._client = httpx.Client(timeout=20.0, trust_env=False)
        self.config = folder / "exitkeeper.toml"
        self.record = folder / "acknowledged.jsonl"
        self.clock = ClockFile(folder / "clock")
        redis = "" if self.proxy is None else f'[redis]\nurl = "{self.proxy.url}"\n'
        self.config.write_text(
            f'data_dir = "{self.data_dir}"\n{redis}[http]\nport = {port + 1}\n[accounts.{ACCOUNT}]\n'
            f'venue = "binanceusdm"\nendpoint = "{self._exchange_url}"\napi_key = "{KEY}"\nsecret = "{SECRET}"\n'
            f'lease_ttl_seconds = "{LEASE_SECONDS:g}"\nrequest_expiry_seconds = "2"\nclock_skew_seconds = "0.5"\n'
        )
        walks = [word for name, symbol in SYMBOLS.items() for word in ("--walk", f"{symbol}={FLAT[name]}")]
        words = ["exchange", "--port", str(port), "--data-dir", str(folder / "exchange"), "--manual", *walks]
        words += ["--weight-per-minute", "1000000", "--orders-per-minute", "100000"]
        words += ["--key", f"{ACCOUNT}:{KEY}:{SECRET}"]
        self.exchange = Program(words, folder / "exchange.log", lambda: self.state() is not None)
        self.keeper = Program(["run", "--config", str(self.config)], folder / "keeper.log", self.ready, self._program())
        self.asked: dict[str, Played] = {}
        self.watch = Watch()
        self.faults: list[str] = []
        self.outages: list[float] = []

    def _program(self) -> list[str]:
        """The keeper's; it writes down what it saves where its Redis is a server of its own."""
        record = ["-", "-"] if self.server is None else [str(self.record), str(self.server.directory / AOF)]
        return [KEEPER, str(self.clock.path), *record]

    def start(self) -> None:
        """The exchange first, then the keeper."""
        self.exchange.start()
        self.wait(lambda: self.state() is not None, "the exchange did not start")
        self.keeper.start()
        self.wait(self.ready, "the keeper did not become ready")

    def stop(self) -> None:
        """The keeper first, so that it drains."""
        self.keeper.stop()
        if self.server is None:
            # Where the concrete parts have their names; whoever runs them by hand borrows them there.
            import_module("service.bootstrap").EmbeddedRedis(self.data_dir).stop()
        if self.proxy is not None:
            self.proxy.close()
        if self.server is not None:
            self.server.close()
        self.exchange.stop()
        self._client.close()

    def say_wrong(self, fault: str) -> None:
        """Remember a broken promise."""
        self.faults.append(fault)

    # -- the keeper ----------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The keeper's answer as JSON; None while it does not give one."""
        try:
            answer = self._client.get(self.url + path)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    def post(self, path: str, body: object) -> httpx.Response | None:
        """The keeper's answer; None where there is none."""
        try:
            return self._client.post(self.url + path, json=body)
        except httpx.HTTPError:
            return None

    def ready(self) -> bool:
        """Whether the keeper says so."""
        return self.get("/readyz") is not None

    def position(self, name: str) -> dict[str, Any] | None:
        """One position as the keeper shows it, compared with what it showed before."""
        found: dict[str, Any] | None = self.get(f"/v1/positions/{name}")
        if found is not None:
            self.watch.saw(found)
        return found

    def open(self, name: str, quantity: str, plan: object) -> None:
        """Open a long position of `btc`, `eth` or `sol` (what `name` ends with), and wait until it is protected."""
        symbol = SYMBOLS[name.rpartition("-")[2]]
        self.asked[name] = Played(id=name, symbol=symbol, side="long", quantity=quantity, plan=plan)
        body = {"id": name, "account": ACCOUNT, "symbol": symbol, "side": "long", "quantity": quantity, "plan": plan}

        def accepted() -> bool:
            answer = self.post("/v1/positions", body)
            if answer is not None and answer.status_code in (400, 422):
                raise SystemExit(f"opening {name} was answered {answer.status_code}: {answer.text}")
            return answer is not None and answer.status_code in (200, 201)

        self.wait(accepted, f"{name} was not accepted")
        self.wait(lambda: self.settled(name), f"{name} is not open and protected")

    def settled(self, name: str) -> bool:
        """Nothing is under way for it."""
        found = self.position(name)
        if found is None or found["pending"]:
            return False
        return found["phase"] == "closed" or (found["phase"] in ("open", "runner") and found["protected"])

    def close(self, name: str) -> None:
        """Close all that is left by hand, asking until it is accepted; and wait until it is done."""
        one = self.asked[name]

        def accepted() -> bool:
            found = self.position(name)
            if found is not None and found["phase"] == "closed":
                return True
            answer = self.post(f"/v1/positions/{name}/close", {"request_id": f"end-{name}"})
            if answer is not None and answer.status_code == 202:
                told = answer.json()
                if told["leg"].startswith("manual-"):
                    one.manual[told["leg"]] = told["quantity"]
            return answer is not None and answer.status_code == 202

        self.wait(accepted, f"closing {name} was not accepted")
        self.wait(lambda: (self.position(name) or {"phase": ""})["phase"] == "closed", f"{name} is not closed")

    def redis_pid(self) -> int | None:
        """Of the Redis that answers; None when none does."""
        if self.server is None:
            return embedded_redis_pid(self.data_dir)
        return None if self.server.process is None else self.server.process.pid

    def failures(self) -> list[Failure]:
        """The keeper's failure log."""
        return list(read_failures(self.data_dir / "failures.jsonl"))

    def causes(self, after: int = 0) -> list[str]:
        """What the keeper said of its store, after so many lines of the failure log."""
        said = [each.cause for each in self.failures()[after:] if each.kind == UNREACHABLE]
        return list(dict.fromkeys(said))

    def log_size(self) -> int:
        """How long the keeper's log is."""
        return (self.folder / "keeper.log").stat().st_size

    def log_since(self, size: int) -> str:
        """What the keeper's log says after that."""
        return (self.folder / "keeper.log").read_bytes()[size:].decode(errors="replace")

    def command(self, *words: str) -> int:
        """Another command of ours on the same configuration; its exit status."""
        other = Program([*words, "--config", str(self.config)], self.folder / "commands.log", self.ready)
        other.start()
        process = other.process
        return 1 if process is None else process.wait(PATIENCE_SECONDS)

    # -- the exchange --------------------------------------------------------------------------------------------------

    def state(self) -> Any:
        """The exchange as it is; None while it does not answer."""
        try:
            answer = self._client.get(f"{self._exchange_url}/paper/state")
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    def move(self, prices: Mapping[str, str]) -> None:
        """Play these prices, each of `btc`, `eth` or `sol`."""
        for name, price in prices.items():
            body = {"symbol": SYMBOLS[name], "price": price}
            self._client.post(f"{self._exchange_url}/paper/price", json=body).raise_for_status()

    def held(self, name: str) -> float:
        """What the exchange holds of `btc`, `eth` or `sol`."""
        state = self.state() or {"accounts": {ACCOUNT: {"positions": {}}}}
        found = state["accounts"][ACCOUNT]["positions"].get(SYMBOLS[name], {"quantity": "0"})
        return float(found["quantity"])

    def verdict(self, story: str, say: Callable[[str], object]) -> list[str]:
        """Everything that the exchange's journal, and what was seen on the way, hold against the keeper."""
        found: list[dict[str, Any]] = []

        def collect() -> bool:
            page = self.get("/v1/positions?phase=all&limit=500")
            found[:] = [] if page is None else page["positions"]
            return page is not None

        self.wait(collect, "the keeper does not list its positions")
        return self.faults + judge(
            read_audit(self.folder / "exchange" / "exchange.sqlite", account=ACCOUNT),
            found,
            self.asked,
            tags=[(self.data_dir / "installation").read_text().strip()],
            state=self.state(),
            outages=self.outages,
            watch=self.watch,
            say=say,
            story=story,
        )

    # -- waiting -------------------------------------------------------------------------------------------------------

    def wait(self, what: Callable[[], bool], otherwise: str, seconds: float = PATIENCE_SECONDS) -> float:
        """Until it is so, and how long it took; SystemExit when it takes too long."""
        began = time.monotonic()
        while not self.soon(what, 1.0):
            for program in (self.exchange, self.keeper):
                if program.process is not None and program.process.poll() is not None:
                    raise SystemExit(f"a process ended by itself: see the logs in {self.folder}")
            if time.monotonic() - began > seconds:
                raise SystemExit(f"{otherwise}: see the logs in {self.folder}")
        return time.monotonic() - began

    def soon(self, what: Callable[[], bool], seconds: float) -> bool:
        """Whether it becomes so within this time."""
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                return False
            time.sleep(POLL_SECONDS / 2)
        return True
