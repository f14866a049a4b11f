"""The service as its users run it: a process of its own, on a data directory and a port of its own."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from persistence.redis_server import EmbeddedRedis
from service.bootstrap import embedded_redis_pid

ROOT = Path(__file__).resolve().parents[2]
BTC, ETH, SOL = "BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT"
# Only a hang is cut off by it: no assertion depends on how fast this machine is today.
PATIENCE_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to no outgoing connection either."""
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of Exitkeeper's but those given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EXITKEEPER_")}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


class Keeper:
    """One data directory, and the processes that live on it one after the other."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """`arguments` follow `run`."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.arguments = ("run", "--data-dir", str(self.data_dir), *arguments)
        self.environment = environment(EXITKEEPER_HTTP__PORT=str(self.port))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30.0, trust_env=False)
        self.log = folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """The same command every time; returns once it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.until(self.ready, "the service is not ready")

    def kill(self) -> None:
        """kill -9; its Redis lives on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status once it has drained."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Whatever became of the test: no process of ours is left."""
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        EmbeddedRedis(self.data_dir).stop()

    def redis_pid(self) -> int | None:
        """The embedded server's."""
        return embedded_redis_pid(self.data_dir)

    def ready(self) -> bool:
        """Whether /readyz says so; a process that has ended never will."""
        assert self.process is not None
        assert self.process.poll() is None, f"the service has ended:\n{self.last_lines()}"
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{otherwise}:\n{self.last_lines()}"
            time.sleep(0.02)

    def last_lines(self) -> str:
        """The end of the service's log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Another command of ours, in the same place."""
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def get(self, path: str) -> dict[str, Any]:
        """An answer that must be 200."""
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def position(self, position_id: str) -> dict[str, Any]:
        """One position."""
        return self.get(f"/v1/positions/{position_id}")

    def positions(self) -> dict[str, dict[str, Any]]:
        """All of them, closed ones too, by id."""
        found = self.get("/v1/positions?phase=all")["positions"]
        return {position["id"]: position for position in found}

    def opened(self, position_id: str, **body: Any) -> dict[str, Any]:
        """Open a `runner` position, and wait until it is filled and protected; the position."""
        wanted = {"id": position_id, "account": "paper", "symbol": BTC, "side": "long", "quantity": "0.01", **body}
        response = self.client.post("/v1/positions", json={"plan": "runner", **wanted})
        assert response.status_code == 201, response.text
        self.until(lambda: settled(self.position(position_id)), f"{position_id} is not open and protected")
        return self.position(position_id)


def settled(position: Mapping[str, Any]) -> bool:
    """Nothing is under way for it."""
    done = position["protected"] or position["phase"] == "closed"
    return position["phase"] != "opening" and done and not position["pending"]


@contextmanager
def keeping(folder: Path, *arguments: str) -> Iterator[Keeper]:
    """A service that is ready, and is ended whatever happens."""
    keeper = Keeper(folder, *arguments)
    try:
        keeper.start()
        yield keeper
    finally:
        keeper.end()


def prices(folder: Path, name: str, *ticks: str) -> Path:
    """A replay file that begins with these prices, a second apart."""
    path = folder / f"{name}.csv"
    path.write_text("timestamp,price\n", encoding="utf-8")
    add_prices(path, *ticks)
    return path


def add_prices(path: Path, *ticks: str) -> None:
    """More prices at the end of a replay file, a second after one another."""
    first = len(path.read_text(encoding="utf-8").splitlines()) - 1
    with path.open("a", encoding="utf-8") as file:
        for number, tick in enumerate(ticks, first):
            file.write(f"2022-01-01 00:{number // 60:02}:{number % 60:02},{tick}\n")


def configuration(folder: Path, replay: Mapping[str, Path]) -> str:
    """A configuration whose market plays these files in lockstep, and stands still at their ends; its path."""
    files = ", ".join(f'"{symbol}" = "{file}"' for symbol, file in replay.items())
    path = folder / "exitkeeper.toml"
    path.write_text(
        f'[accounts.paper]\nvenue = "paper"\n[accounts.paper.market]\nspeed = "max"\nreplay = {{ {files} }}\n',
        encoding="utf-8",
    )
    return str(path)
