"""The exchange campaign with two keepers on one Redis: kill -9, and SIGSTOP shorter and longer than the lease.

One keeper owns the shard and the other waits. Whoever stands still for less than the lease goes on as if nothing had
been; an owner that stands still for longer is taken over from, and wakes to find that it owns nothing. Redis and the
exchange are killed and stopped too, while requests fail and somebody trades by hand at the same account.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from scripts.crash_campaign import HEADER, month
from scripts.crash_exchange import Campaign, Meddler
from scripts.crash_exchange_judge import Watch, judge
from scripts.crash_exchange_world import ACCOUNT, KEY, POLL_SECONDS, SECRET, Program, World
from tests.crash.redis_world import Server, free_port

LEASE_SECONDS = 6.0
# A takeover comes within the lease; then everything is read at the exchange, in which faults are.
TAKEOVER_SECONDS = LEASE_SECONDS + 20.0
PATIENCE_SECONDS = 120.0
KINDS = (
    "freeze keeper",
    "keeper",
    "pause keeper",
    "redis",
    "pause redis",
    "exchange",
    "pause exchange",
    "freeze redis",
    "keeper",
    "freeze exchange",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """What to play. The market lasts as long as so many strikes take, about."""

    strikes: int = 20
    seconds_each: float = 5.0
    speed: int = 2400

    @property
    def bars(self) -> int:
        """Of the market."""
        return min(45_031, round(self.strikes * self.seconds_each * self.speed / 60))


class Pair(World):
    """Two keepers, a Redis of its own, and the exchange."""

    def __init__(self, folder: Path, market: Path, *, speed: int) -> None:
        super().__init__(folder, market, speed=speed)
        self.server = Server(folder / "redis")
        self.keepers: list[Program] = []
        self.urls: list[str] = []
        self.frozen: set[int] = set()
        self.answering = 0
        for number in range(2):
            port, config = free_port(), folder / f"keeper-{number}.toml"
            config.write_text(
                f'data_dir = "{folder / f"data-{number}"}"\n[redis]\nurl = "{self.server.url}"\n[http]\nport = {port}\n'
                f'[accounts.{ACCOUNT}]\nvenue = "binanceusdm"\nendpoint = "{self.exchange_url}"\napi_key = "{KEY}"\n'
                f'secret = "{SECRET}"\nlease_ttl_seconds = "{LEASE_SECONDS:g}"\nrequest_expiry_seconds = "2"\n'
                'clock_skew_seconds = "0.5"\n'
            )
            self.urls.append(f"http://127.0.0.1:{port}")
            log = folder / f"keeper-{number}.log"
            self.keepers.append(Program(["run", "--config", str(config)], log, self.ready))
        self.keeper = self.keepers[0]

    def programs(self) -> Sequence[Program]:
        """See World.programs."""
        return (self.exchange, *self.keepers)

    def start(self) -> None:
        """See World.start; the second keeper comes when the first owns the shard."""
        super().start()
        self.wait(self.ready, PATIENCE_SECONDS, "the keeper did not become ready")
        self.keepers[1].start()

    def stop(self) -> None:
        """Everybody goes on, and ends."""
        for program in self.programs():
            if program.process is not None and program.process.poll() is None:
                program.process.send_signal(signal.SIGCONT)
        self.server.signal(signal.SIGCONT)
        self.keepers[1].stop()
        super().stop()
        self.server.close()

    def owner(self) -> int | None:
        """Which of the keepers says that it is ready."""
        order = sorted(range(2), key=lambda number: number != self.answering)
        for number in order:
            if number not in self.frozen and self._answer(number, "/readyz") is not None:
                self.answering = number
                return number
        return None

    def get(self, path: str) -> Any:
        """The owner's answer."""
        number = self.owner()
        return None if number is None else self._answer(number, path)

    def post(self, path: str, body: object) -> httpx.Response | None:
        """The owner's answer."""
        number = self.owner()
        if number is None:
            return None
        try:
            return self.client.post(self.urls[number] + path, json=body)
        except httpx.HTTPError:
            return None

    def tags(self) -> list[str]:
        """What the orders of each begin with."""
        return [(self.folder / f"data-{number}" / "installation").read_text().strip() for number in range(2)]

    def _answer(self, number: int, path: str) -> Any:
        try:
            answer = self.client.get(self.urls[number] + path, timeout=5.0)
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None


@dataclass(slots=True)
class Striker(Meddler):
    """Plays the campaign with its own strikes."""

    # Each keeper is watched by itself: one that just woke may show for a moment what it knew before.
    watches: dict[int, Watch] = field(default_factory=lambda: {0: Watch(), 1: Watch()})
    at: list[float] = field(default_factory=list)
    takeovers: int = 0

    @property
    def pair(self) -> Pair:
        """The world, as what it is."""
        if not isinstance(self.world, Pair):
            raise TypeError("two keepers are needed")
        return self.world

    def _kill(self, which: str) -> None:
        self._aim()
        self.at.append(time.time())
        how, _, name = which.rpartition(" ")
        if how:
            seconds = self.chance.uniform(0.5, 3.0) if how == "pause" else LEASE_SECONDS + self.chance.uniform(1.0, 3.0)
            self._freeze(name, seconds)
        elif name == "redis":
            self.pair.server.kill()
            time.sleep(self.chance.choice((0, 0, 1.0)))
            self.pair.server.start()
        elif name == "exchange":
            self.world.exchange.kill()
        else:
            self.pair.keepers[self.pair.owner() or 0].kill()
        self.kills[which] = self.kills.get(which, 0) + 1

    def _freeze(self, name: str, seconds: float) -> None:
        pair, number = self.pair, self.pair.owner() or 0
        programs = {"keeper": pair.keepers[number], "exchange": pair.exchange}
        process = pair.server.process if name == "redis" else programs[name].process
        if process is None:
            return
        os.kill(process.pid, signal.SIGSTOP)
        try:
            if name != "keeper":
                time.sleep(seconds)
                return
            pair.frozen.add(number)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(POLL_SECONDS)
            if seconds > LEASE_SECONDS:
                until = time.monotonic() + TAKEOVER_SECONDS - seconds
                while pair.owner() is None and time.monotonic() < until:
                    time.sleep(POLL_SECONDS)
                self.takeovers += pair.owner() is not None
        finally:
            os.kill(process.pid, signal.SIGCONT)
            pair.frozen.discard(number)

    def _watching(self) -> Watch:
        return self.watches[self.pair.answering]


def play_pauses(
    pauses: Pauses, folder: Path, *, seed: int, say: Callable[[str], object], kinds: tuple[str, ...] = KINDS
) -> tuple[str, list[str]]:
    """Play one campaign: what was done, in words, and everything that the journal holds against it."""
    market = folder / "prices.csv"
    market.write_text(HEADER + "".join(month(pauses.bars)))
    campaign = Campaign(bars=pauses.bars, kills=pauses.strikes, seed=seed, speed=pauses.speed)
    pair = Pair(folder, market, speed=pauses.speed)
    striker = Striker(campaign, pair, random.Random(seed), kinds=kinds, kills={})
    try:
        pair.start()
        striker.play()
        pair.calm()
        pair.wait(lambda: pair.quiet(striker.asked), PATIENCE_SECONDS, "the keepers did not come to rest")
        watch = Watch(faults=[fault for each in striker.watches.values() for fault in each.faults])
        wrong = judge(
            pair.audit(),
            pair.collect(),
            striker.asked,
            tags=pair.tags(),
            state=pair.control("state", method="GET"),
            outages=striker.at,
            watch=watch,
            say=say,
            story=striker.story(),
        )
    finally:
        pair.stop()
    struck = ", ".join(f"{name} {count}" for name, count in sorted(striker.kills.items()))
    frozen = striker.kills.get("freeze keeper", 0)
    if frozen and not striker.takeovers:
        wrong.append("no keeper ever took over")
    return f"{len(striker.at)} strikes ({struck}), {striker.takeovers} takeovers from a frozen owner", wrong
