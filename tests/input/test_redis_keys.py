"""Keys of the wrong kind, and bytes that are no text, in a real Redis: the whole service boots upon them.

Whatever one key holds, the process lives and answers, what is in other keys is managed, what was put there is left as
it is, and `exitkeeper snapshots verify` ends with words and no traceback.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from persistence.redis_server import EmbeddedRedis
from service.cli import main
from tests.e2e.keeper import BTC, ETH
from tests.input.live_house import living

SHARD = "ek:{paper}:"
# What is put into each key, and whether the account can work with that.
DAMAGE: dict[str, tuple[str, str, bool]] = {
    "a position that is a list": (f"{SHARD}pos:p1", "list", True),
    "a position that is no text": (f"{SHARD}pos:p1", "bytes", True),
    "a fence that is a hash": (f"{SHARD}fence", "hash", False),
    "a fence that is no text": (f"{SHARD}fence", "bytes", False),
    "a lease that is no text": (f"{SHARD}lease", "bytes", False),
    "a lease that is a set": (f"{SHARD}lease", "set", False),
    "a list of what is open that is a string": (f"{SHARD}open", "bytes", False),
    "a name among the open ones that is no text": (f"{SHARD}open", "member", True),
    "an audit trail that is a string": (f"{SHARD}events", "bytes", True),
    "an audit trail with a strange line": (f"{SHARD}events", "line", True),
    "final snapshots that are a hash": (f"{SHARD}closed", "hash", True),
    "a tape that is a list": (f"{SHARD}tape:{BTC}", "list", True),
    "a tape of no symbol": (f"{SHARD}tape:\xff", "bytes", True),
    "a shard without a name": ("ek:{\xff}:fence", "bytes", True),
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a service that held two positions and has ended."""
    folder = tmp_path_factory.mktemp("before")
    with living(folder) as house:
        house.opened("p1", BTC)
        house.opened("p2", ETH, side="short")
    return folder


@pytest.fixture
def folder(before: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it; no server of ours is left."""
    shutil.copytree(before / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.sock", "*.pid", "lock"))
    yield tmp_path
    EmbeddedRedis(tmp_path / "data").stop()


def put(folder: Path, key: bytes, kind: str) -> None:
    """Damage one key."""
    with redis.Redis.from_url(EmbeddedRedis(folder / "data").ensure()) as client:
        if kind == "member":
            client.sadd(key, b"\xff\x00\n")
        elif kind == "line":
            client.xadd(key, {b"\xff": b"\xff"})
        else:
            client.delete(key)
            {
                "list": lambda: client.rpush(key, b"\xff", b"x"),
                "hash": lambda: client.hset(key, b"\xff", b"x"),
                "set": lambda: client.sadd(key, b"\xff"),
                "bytes": lambda: client.set(key, b"\xff\xfe\xc1 no text"),
            }[kind]()


def dumped(folder: Path, key: bytes) -> Any:
    """What a key holds, as the server would move it elsewhere."""
    with redis.Redis.from_url(EmbeddedRedis(folder / "data").ensure()) as client:
        return client.dump(key)


@pytest.mark.parametrize("what", DAMAGE)
def test_the_service_boots_upon_any_key(folder: Path, what: str) -> None:
    """One position, one tape or one shard is lost to it, and never more."""
    name, kind, works = DAMAGE[what]
    key = name.encode("latin-1")
    put(folder, key, kind)
    damaged = dumped(folder, key)
    with living(folder, ready=works) as house:
        for path in ("/healthz", "/v1/health", "/v1/accounts", "/v1/positions", "/v1/positions/p1/events"):
            assert house.client.get(path).status_code in (200, 404, 503), path
        assert not house.failures, house.failures
        for actor in house.core:
            assert actor.is_alive(), f"{actor} is dead"
        if works:
            house.wait(lambda: house.position("p2")["protected"], "the other position is not protected")
            assert house.client.post("/v1/positions/p2/close", json={}).status_code == 202
            house.wait(lambda: house.position("p2")["phase"] == "closed", "the other position cannot be closed")
        if "pos:p1" in name:
            assert house.position("p1")["phase"] == "quarantined"
    if kind not in ("member", "line"):
        assert dumped(folder, key) == damaged, "what was there was written over"
    for words in (("list",), ("show", "p1"), ("verify",)):
        result = CliRunner().invoke(main, ["snapshots", *words, "--data-dir", str(folder / "data")])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.output
    if kind == "member" or "pos:p1" in name or "fence" in what:
        assert result.exit_code == 1, "nothing is said of it"
