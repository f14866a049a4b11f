"""The product whole, in this process: embedded Redis, paper account, actors on the pool, HTTP on loopback."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pykka

from service import http_guard
from service.bootstrap import Application
from service.config_load import load_config
from tests.e2e.keeper import BTC, ETH, SOL, configuration, free_port, prices, settled

SECRET = "a-long-enough-secret"  # noqa: S105
PATIENCE_SECONDS = 60.0


class Recorder:
    """Keeps what the guard of the API would log: the traceback that a client never sees, and a test wants to."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures

    def exception(self, event: str, **fields: Any) -> None:
        """Note what could not be answered."""
        self.failures.append(f"{event} {fields}\n{traceback.format_exc()}")


@dataclass(slots=True)
class Living:
    """A service that runs, and a client of it."""

    application: Application
    client: httpx.Client
    failures: list[str] = field(default_factory=list)
    core: list[Any] = field(default_factory=list)

    def wait(self, what: Callable[[], Any], why: str) -> Any:
        """Wait for something to become true, generously: how long it took decides nothing."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline, why
            time.sleep(0.02)
        return found

    def position(self, name: str) -> dict[str, Any]:
        """One position, as it is shown."""
        found: dict[str, Any] = self.client.get(f"/v1/positions/{name}").json()
        return found

    def opened(self, name: str, symbol: str, **body: Any) -> dict[str, Any]:
        """Open a position under the plan `runner`, and wait until it is filled and protected."""
        wanted = {"id": name, "account": "paper", "symbol": symbol, "side": "long", "quantity": "0.1", **body}
        response = self.client.post("/v1/positions", json=wanted)
        assert response.status_code in (200, 201), response.text
        self.wait(lambda: settled(self.position(name)), f"{name} is not open and protected")
        return self.position(name)

    def everything(self) -> dict[str, Any]:
        """What is known of every position, but for how often it was saved."""
        found = self.client.get("/v1/positions?phase=all&limit=1000").json()["positions"]
        return {
            position["id"]: {name: value for name, value in position.items() if name not in ("version", "updated_at")}
            for position in found
        }

    def at_rest(self) -> dict[str, Any]:
        """The same, once nothing that was accepted before is under way any more."""
        found: dict[str, Any] = {}

        def settles() -> bool:
            found.clear()
            found.update(self.everything())
            return all(settled(position) for position in found.values())

        self.wait(settles, "what was accepted is never done")
        return found

    def check_alive(self) -> None:
        """Every actor answers, none was restarted, nobody is in quarantine; only closed positions have none."""
        health = self.client.get("/v1/health").json()
        assert health["ready"], health["reasons"]
        assert not health["quarantined"], health["quarantined"]
        restarted = [actor for actor in health["actors"] if actor.get("restarts")]
        assert not restarted, restarted
        for actor in self.core:
            assert actor.is_alive(), f"{actor} is dead"


@contextmanager
def living(folder: Path, *, ready: bool = True) -> Iterator[Living]:
    """A service whose prices stand still, so that nothing changes but by what it is sent; `ready`: wait until it is."""
    files = {BTC: prices(folder, "btc", "60000"), ETH: prices(folder, "eth", "3000"), SOL: prices(folder, "sol", "150")}
    environment = {"EXITKEEPER_HTTP__PORT": str(free_port()), "EXITKEEPER_WEBHOOKS__SECRET": SECRET}
    path = Path(configuration(folder, files))
    application = Application(load_config(path, data_dir=folder / "data", environment=environment))
    application.start()
    url = f"http://127.0.0.1:{application.config.http.port}"
    try:
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            found = Living(application, client)
            found.core = [ref for ref in pykka.ActorRegistry.get_all() if "Position" not in ref.actor_class.__name__]
            mend = http_guard._log
            http_guard._log = Recorder(found.failures)
            wanted = (200,) if ready else (200, 503)
            found.wait(lambda: client.get("/readyz").status_code in wanted, "the service is not ready")
            try:
                yield found
            finally:
                http_guard._log = mend
    finally:
        application.stop()
