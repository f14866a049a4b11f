"""Who uses the store of a running service: the persistence actor, on its own thread, over a connection of its own."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from persistence.redis_server import EmbeddedRedis
from persistence.redis_store import RedisStore
from service import bootstrap
from service.bootstrap import Application
from service.config_load import load_config
from tests.e2e.keeper import BTC, configuration, free_port, prices, settled

PATIENCE_SECONDS = 60.0
CALLS = ("take", "renew", "release", "lease_owner", "fence", "save", "load", "read", "events", "shards")


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every use of every store that the service makes: what was called, and on which thread."""
    found: list[tuple[str, str]] = []

    def watched(name: str) -> Callable[..., Any]:
        def call(store: RedisStore, *args: Any, **settings: Any) -> Any:
            found.append((name, threading.current_thread().name))
            return getattr(RedisStore, name)(store, *args, **settings)

        return call

    monkeypatch.setattr(
        bootstrap, "RedisStore", type("Watched", (RedisStore,), {name: watched(name) for name in CALLS})
    )
    return found


@pytest.fixture
def service(tmp_path: Path, users: list[tuple[str, str]]) -> Iterator[Application]:
    """The service in this process; after `users`, whose store it is to use."""
    path = configuration(tmp_path, {BTC: prices(tmp_path, "btc", "60000")})
    environment = {"EXITKEEPER_HTTP__PORT": str(free_port())}
    found = Application(load_config(Path(path), data_dir=tmp_path / "data", environment=environment))
    found.start()
    try:
        yield found
    finally:
        found.stop()


def until(what: Callable[[], Any]) -> None:
    """Wait for something, generously."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_only_the_persistence_actor_uses_the_store(
    service: Application, users: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Opening, reading, its events, closing, health: whoever asks, one thread and one connection do the work."""
    url = f"http://127.0.0.1:{service.config.http.port}"
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        body = {"id": "mine", "account": "paper", "symbol": BTC, "side": "long", "quantity": "0.01", "plan": "runner"}
        assert client.post("/v1/positions", json=body).status_code == 201
        until(lambda: settled(client.get("/v1/positions/mine").json()))
        assert client.get("/v1/positions/mine/events").json()
        assert client.get("/v1/health").status_code == 200
        assert client.post("/v1/positions/mine/close", json={}).status_code == 202
        until(lambda: client.get("/v1/positions/mine").json()["phase"] == "closed")
    with redis.Redis.from_url(EmbeddedRedis(tmp_path / "data").url) as operator:
        others = [one for one in operator.client_list() if str(one["id"]) != str(operator.client_id())]
    assert {"take", "load", "save", "events"} <= {name for name, _ in users}
    (thread,) = {thread for _, thread in users}
    assert thread.startswith("PersistenceActor")
    assert len(others) == 1
