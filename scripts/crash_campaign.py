"""Plays a month through the running service twice, once killing it and its Redis, and compares what became of it.

The market is a CSV file that grows from one opening to the next: at its end the replay waits, so that every position is
opened at exactly the same price in both runs, however often the service dies in between.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.crash_report import compare, essence, executions, report

ROOT = Path(__file__).resolve().parent.parent
MONTH = ROOT.parent / "shared" / "data" / "btc-perp-2022-01-1m.csv"
HEADER = "timestamp,open,high,low,close,volume\n"
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
BASE_PORT = 18400
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What to play. `positions` openings are tried, spread along the bars, long and short in turn."""

    bars: int = 45_031
    kills: int = 25
    redis_kills: int = 5
    openings: int = 45
    seed: int = 1


def month(bars: int) -> list[str]:
    """The rows of the recorded month, or of a seeded synthetic one where the recording is not beside the project."""
    if MONTH.exists():
        with MONTH.open() as file:
            rows = file.readlines()[1:]
    else:
        rows = list(synthetic(bars))
    return rows[:bars]


def synthetic(bars: int) -> Iterator[str]:
    """One-minute bars of a seeded random walk, in the recording's format."""
    walk = random.Random("a month of one-minute bars")
    at, price = datetime(2022, 1, 1, tzinfo=UTC), 46_000
    for _ in range(bars):
        path = [price]
        for _ in range(4):
            path.append(max(1_000, path[-1] + round(walk.gauss(0, price * 0.0006))))
        stamp = at.strftime("%Y-%m-%d %H:%M:%S.%f")
        yield f"{stamp},{path[0]}.0,{max(path)}.0,{min(path)}.0,{path[-1]}.0,1.0\n"
        at, price = at + timedelta(minutes=1), path[-1]


class Service:
    """One data directory and the service processes that live on it, one after the other."""

    def __init__(self, folder: Path, port: int) -> None:
        """The market file is empty but for its header."""
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.market = folder / "prices.csv"
        self.market.write_text(HEADER)
        self.config = folder / "exitkeeper.toml"
        replay = ", ".join(f'"{symbol}" = "{self.market}"' for symbol in SYMBOLS)
        self.config.write_text(
            f'data_dir = "{folder / "data"}"\n[http]\nport = {port}\n[accounts.paper]\nvenue = "paper"\n'
            f'request_expiry_seconds = "1"\nclock_skew_seconds = "0.2"\n'
            f'[accounts.paper.market]\nspeed = "max"\nreplay = {{ {replay} }}\n'
            + "".join(f'[accounts.paper.instruments."{symbol}"]\ntick_size = "0.1"\n' for symbol in SYMBOLS)
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=self.url, timeout=10.0, trust_env=False)
        self.log = (folder / "service.log").open("ab")
        self.starts = 0

    def start(self) -> None:
        """Start a process; it comes up by itself."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("EXITKEEPER_")}
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "service.cli", "run", "--config", str(self.config)],
            cwd=ROOT,
            env=environment,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )
        self.starts += 1

    def kill(self) -> None:
        """kill -9 of the service, and the same command again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.start()

    def kill_redis(self) -> bool:
        """kill -9 of the embedded Redis; false where none answers just now."""
        from service.bootstrap import embedded_redis_pid  # noqa: PLC0415 - the path is set below

        pid = embedded_redis_pid(self.folder / "data")
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def stop(self) -> None:
        """SIGTERM, and wait for the drain."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.client.close()
        self.log.close()

    def get(self, path: str) -> dict[str, Any] | None:
        """One answer as JSON; None while the service does not give one."""
        try:
            answer = self.client.get(path)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, json.JSONDecodeError):
            return None

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self.get("/readyz") is not None


@dataclass(slots=True)
class Player:
    """Plays one run: openings at their bars, kills at theirs."""

    campaign: Campaign
    service: Service
    kill_at: list[int] = field(default_factory=list)
    kill_redis_at: list[int] = field(default_factory=list)
    killed: int = 0
    redis_killed: int = 0
    opened: int = 0
    chance: random.Random = field(default_factory=random.Random)
    _times: list[str] = field(default_factory=list)

    def play(self, rows: list[str]) -> dict[str, Any]:
        """The outcome of every position, by id."""
        self._times = [row.partition(",")[0].replace(" ", "T") for row in rows]
        step = max(1, len(rows) // self.campaign.openings)
        self.service.start()
        played = 0
        for number, end in enumerate(range(step, len(rows) + 1, step)):
            self._extend(rows[played:end])
            played = end
            self._wait_settled(end)
            if end + step <= len(rows):
                self._open(number)
        self._extend(rows[played:])
        self._wait_settled(len(rows))
        return self._collect()

    def _extend(self, rows: list[str]) -> None:
        with self.service.market.open("a") as file:
            file.write("".join(rows))

    def _progress(self, accounts: dict[str, Any] | None) -> tuple[int, bool]:
        """How many bars have begun, and whether the last of their prices has settled for every symbol."""
        if accounts is None:
            return 0, False
        feeds = accounts["accounts"][0]["feeds"]
        if len(feeds) < len(SYMBOLS) or any(feed["updated_at"] is None for feed in feeds):
            return 0, False
        oldest = min(feed["updated_at"] for feed in feeds)
        bars = bisect_right(self._times, oldest.removesuffix("Z"))
        settled = all(feed["settled"] and feed["updated_at"][17:22] == "45.00" for feed in feeds)
        return bars, settled

    def _wait_settled(self, end: int) -> None:
        """Wait until the replay stands at the end of what is written, killing on the way when it is time to."""
        waited = time.monotonic()
        best = 0
        while True:
            bars, settled = self._progress(self.service.get("/v1/accounts"))
            if bars > best:
                best, waited = bars, time.monotonic()
            if self._kill_if_due(bars):
                continue
            if bars >= end and settled and self.service.ready():
                return
            ended = self.service.process is not None and self.service.process.poll() is not None
            if ended or time.monotonic() - waited > PATIENCE_SECONDS:
                raise SystemExit(f"no progress since bar {best} of {end}: see {self.service.folder / 'service.log'}")
            time.sleep(POLL_SECONDS)

    def _kill_if_due(self, bars: int) -> bool:
        if self.kill_at and bars >= self.kill_at[0]:
            del self.kill_at[0]
            # Not at the moment of an answer, but at any moment after it.
            time.sleep(self.chance.uniform(0, 0.05))
            self.service.kill()
            self.killed += 1
            return True
        if self.kill_redis_at and bars >= self.kill_redis_at[0]:
            time.sleep(self.chance.uniform(0, 0.05))
            if self.service.kill_redis():
                del self.kill_redis_at[0]
                self.redis_killed += 1
        return False

    def _open(self, number: int) -> None:
        """Open a position in every free slot; a repeat of the same request is the same position."""
        for index, symbol in enumerate(SYMBOLS):
            side = "long" if (number + index) % 2 == 0 else "short"
            body = {
                "id": f"p{number}-{index}",
                "account": "paper",
                "symbol": symbol,
                "side": side,
                "quantity": "0.5",
                "plan": "runner",
            }
            # Some kills come while an opening is under way.
            during = bool(self.kill_at) and self.chance.random() < 0.1
            self._request(body, kill=during)

    def _request(self, body: dict[str, str], *, kill: bool) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if kill:
                kill = False
                del self.kill_at[0]
                self._post_and_kill(body)
            try:
                answer = self.service.client.post("/v1/positions", json=body)
            except httpx.HTTPError:
                time.sleep(POLL_SECONDS)
                continue
            if answer.status_code in (200, 201):
                self.opened += 1
                self._wait_filled(body["id"])
                return
            if answer.status_code == 409 and answer.json()["error"]["code"] == "closing":
                # After a kill the slot waits for orders of the former life that could still arrive.
                time.sleep(POLL_SECONDS)
                continue
            if answer.status_code == 409:
                return
            if answer.status_code not in (503, 504):
                raise SystemExit(f"opening {body['id']} was answered {answer.status_code}: {answer.text}")
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"opening {body['id']} found no answer")

    def _post_and_kill(self, body: dict[str, str]) -> None:
        """Send the request on its way, and kill before its answer can be read."""
        code = "import sys, httpx\ntry: httpx.post(sys.argv[1], content=sys.argv[2], timeout=2)\nexcept Exception: pass"
        sender = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", code, f"{self.service.url}/v1/positions", json.dumps(body)]
        )
        time.sleep(0.25 + self.chance.uniform(0, 0.05))
        self.service.kill()
        self.killed += 1
        sender.wait()

    def _wait_filled(self, position_id: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            position = self.service.get(f"/v1/positions/{position_id}")
            if position is not None and position["phase"] != "opening" and not position["pending"]:
                return
            time.sleep(POLL_SECONDS)
        raise SystemExit(f"{position_id} was not filled")

    def _collect(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        cursor = ""
        while True:
            page = self.service.get(f"/v1/positions?phase=all&limit=100{cursor}")
            if page is None:
                time.sleep(POLL_SECONDS)
                continue
            for position in page["positions"]:
                found[position["id"]] = essence(position)
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"


def run(campaign: Campaign, folder: Path, *, say: Any = print) -> list[str]:
    """Play both runs and compare; the differences."""
    rows = month(campaign.bars)
    calm_folder, killed_folder = folder / "calm", folder / "killed"
    port = BASE_PORT + os.getpid() % 1000
    results = []
    players = []
    for place, kills, redis_kills in ((calm_folder, 0, 0), (killed_folder, campaign.kills, campaign.redis_kills)):
        place.mkdir(parents=True)
        chance = random.Random(campaign.seed)
        service = Service(place, port)
        # The services die first; Redis dies in the last fifth of the month.
        first = sorted(chance.sample(range(10, max(11 + kills, len(rows) * 4 // 5)), kills))
        last = sorted(chance.sample(range(len(rows) * 4 // 5, len(rows) - 10), redis_kills))
        player = Player(campaign, service, kill_at=first, kill_redis_at=last, chance=chance)
        started = time.monotonic()
        try:
            results.append(player.play(rows))
        finally:
            service.stop()
        players.append(player)
        say(
            f"{place.name}: {len(rows)} bars, {player.opened} positions opened, {player.killed} kills of the service, "
            f"{player.redis_killed} of Redis, {time.monotonic() - started:.0f} s"
        )
    differences = compare(*results)
    if executions(calm_folder) != executions(killed_folder):
        differences.append("the exchange's own list of executions differs")
    report(results, differences, say)
    if players[1].killed < campaign.kills or players[1].redis_killed < campaign.redis_kills:
        differences.append("not every kill took place")
    return differences


def main() -> None:
    """Read the options, play, exit 1 on any difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="kill -9 of the service")
    parser.add_argument("--redis-kills", type=int, default=5, help="kill -9 of the embedded Redis")
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments")
    parser.add_argument("--bars", type=int, default=45_031, help="how much of the month to play")
    parser.add_argument("--openings", type=int, default=45, help="how often positions are opened along it")
    parser.add_argument("--keep", type=Path, help="a new folder to leave everything in")
    options = parser.parse_args()
    campaign = Campaign(
        bars=options.bars,
        kills=options.kills,
        redis_kills=options.redis_kills,
        openings=options.openings,
        seed=options.seed,
    )
    if options.keep is not None:
        sys.exit(1 if run(campaign, options.keep) else 0)
    with tempfile.TemporaryDirectory(prefix="exitkeeper-crash-") as folder:
        sys.exit(1 if run(campaign, Path(folder)) else 0)


if __name__ == "__main__":
    main()
