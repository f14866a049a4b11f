"""A real redis-server, a keeper's persistence actor on real threads, and a network between the two that can go bad."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from actors.runtime.threads import ThreadRuntime
from persistence.actor import PersistenceActor
from persistence.failure_log import Failure, FailureLog, read_failures
from persistence.lease import LeaseBoard
from persistence.messages import Ref, Save, Saved, SaveFailed, ShardLost, ShardTaken, TakeShard
from persistence.redis_server import server_binary
from persistence.redis_store import RedisStore

SHARD = "main"
TIMEOUT_SECONDS = 0.5
LONGEST_SECONDS = 40.0


def until(what: Callable[[], Any], why: str = "") -> Any:
    """Wait for something to become true, generously: how long it took decides nothing."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, why or "it never came"
        time.sleep(0.01)
    return found


def free_port() -> int:
    """A loopback port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Server:
    """One redis-server on a loopback port of its own, ended by its pid. `settings` come on top of those it has."""

    def __init__(self, directory: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.binary = server_binary(directory)
        self.port = free_port()
        self.settings = settings or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, load_delay_microseconds: int = 0, wait: bool = True) -> None:
        """Start it; with a delay it takes that long for every command that it loads."""
        settings = {
            **{"port": self.port, "bind": "127.0.0.1", "dir": self.directory, "save": "", "appendonly": "yes"},
            **{"appendfsync": "always", "enable-debug-command": "yes", "key-load-delay": load_delay_microseconds},
            **{"repl-timeout": 3600, "logfile": self.directory / "redis.log"},
            **self.settings,
        }
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        self.process = subprocess.Popen([str(self.binary), *arguments])
        if wait:
            until(self.answers, "redis-server does not start")

    def operator(self, timeout_seconds: float = 10.0) -> Any:
        """Another client, with an operator's rights."""
        return redis.Redis(port=self.port, socket_timeout=timeout_seconds, retry=Retry(NoBackoff(), 0), protocol=2)

    def command(self, *words: Any) -> Any:
        """One command of the operator."""
        with self.operator() as client:
            return client.execute_command(*words)

    def answers(self, timeout_seconds: float = 10.0) -> bool:
        """Whether it answers, and has loaded everything."""
        try:
            with self.operator(timeout_seconds) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(30)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Network:
    """A loopback proxy. `mode` says what happens to what passes: all of it, or from the next commit on.

    pass       everything passes             request    the commit and all after it vanish
    delay      replies wait for `delay`      reply      the commit arrives, its reply and all after it vanish
                                             late       like `request`, but what vanished arrives at `mend`
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.mode = "pass"
        self.delay_seconds = 0.0
        self.broken = threading.Event()
        self._held: list[tuple[socket.socket, bytes]] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def mend(self) -> None:
        """Everything passes again; what was held back arrives now, however late. Broken connections stay broken."""
        for upstream, data in self._held:
            with suppress(OSError):
                upstream.sendall(data)
        self._held.clear()
        self.mode = "pass"
        self.broken.clear()

    def close(self) -> None:
        """Drop every connection."""
        for item in (self._listener, *self._sockets):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    upstream = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._sockets += (client, upstream)
                threading.Thread(target=self._requests, args=(client, upstream), daemon=True).start()
                threading.Thread(target=self._replies, args=(client, upstream), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 20):
                if self.mode in ("request", "late", "reply") and b"MSET" in data:
                    self.broken.set()
                if self.broken.is_set() and self.mode == "late":
                    self._held.append((upstream, data))
                elif not (self.broken.is_set() and self.mode == "request"):
                    upstream.sendall(data)

    def _replies(self, client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(1 << 20):
                if self.broken.is_set():
                    continue
                if self.mode == "delay":
                    time.sleep(self.delay_seconds)
                client.sendall(data)


class Receiver:
    """Stands for an actor: takes what it is told on any thread."""

    _numbers = count(1)

    def __init__(self) -> None:
        self.actor_urn = f"urn:outage:{next(self._numbers)}"
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._told: list[Any] = []

    def tell(self, message: Any) -> None:
        """Keep it."""
        self._queue.put(message)

    @property
    def told(self) -> list[Any]:
        """Everything so far."""
        with suppress(Empty):
            while True:
                self._told.append(self._queue.get_nowait())
        return list(self._told)

    def of(self, kind: type[Any]) -> list[Any]:
        """What was told of one kind."""
        return [message for message in self.told if isinstance(message, kind)]

    @property
    def ref(self) -> Ref:
        """Itself, taken for the reference of an actor."""
        return cast(Ref, self)


class Position:
    """What a position actor does: saves change after change, each with an audit line, and believes what it is told."""

    def __init__(self, keeper: "Keeper", name: str) -> None:
        self._keeper = keeper
        self.name = name
        self.change = 0
        self.receiver = Receiver()

    @property
    def acknowledged(self) -> list[Saved]:
        """Every acknowledgement, in order."""
        return self.receiver.of(Saved)

    def save(self) -> None:
        """Save one more change."""
        self.change += 1
        known = self.acknowledged
        self._keeper.actor.tell(
            Save(
                shard=SHARD,
                position_id=self.name,
                schema=1,
                grew_from=known[-1].version if known else 0,
                change=self.change,
                state={"change": self.change},
                reply_to=self.receiver.ref,
                events=[{"change": self.change}],
            )
        )

    @property
    def settled(self) -> bool:
        """Whether the latest change is acknowledged."""
        return bool(self.acknowledged) and self.acknowledged[-1].change == self.change

    def check(self, store: RedisStore) -> None:
        """Nothing lost, nothing doubled: what is stored is what was acknowledged last, commit by commit."""
        assert self.receiver.of(SaveFailed) == []
        versions = [saved.version for saved in self.acknowledged]
        assert versions == list(range(1, len(versions) + 1))
        stored = store.read(SHARD, self.name)
        assert stored is not None
        assert (stored.version, stored.state) == (versions[-1], {"change": self.change})
        assert stored.epoch == self.acknowledged[-1].epoch
        trail = store.events(SHARD, self.name)
        assert [event["change"] for event in trail] == list(range(1, self.change + 1))


class Keeper:
    """A persistence actor on a thread of its own, with short time-outs."""

    def __init__(self, url: str, directory: Path, owner: str = "me", lease_ttl_seconds: float = 60.0) -> None:
        self.runtime = ThreadRuntime()
        self.failures = directory / "failures.jsonl"
        self.leases = LeaseBoard()
        self.reachable: list[bool] = []
        self.supervisor = Receiver()
        self.store = RedisStore(
            url, newest_schema=1, connect_timeout_seconds=TIMEOUT_SECONDS, read_timeout_seconds=TIMEOUT_SECONDS
        )
        self.actor = self.runtime.spawn(
            PersistenceActor,
            self.store,
            FailureLog(self.failures, self.runtime.clock.now),
            self.leases,
            self.runtime.clock,
            owner,
            lease_ttl_seconds=lease_ttl_seconds,
            on_reachable=self.reachable.append,
        )

    def take(self) -> ShardTaken:
        """Take the shard, asking as often as it needs."""
        before = len(self.supervisor.of(ShardTaken))
        self.actor.tell(TakeShard(shard=SHARD, reply_to=self.supervisor.ref))
        return cast(ShardTaken, until(lambda: self.supervisor.of(ShardTaken)[before:])[0])

    def positions(self, number: int) -> list[Position]:
        """New positions, each saved once and acknowledged."""
        found = [Position(self, f"p{index}") for index in range(number)]
        for position in found:
            position.save()
        until(lambda: all(position.settled for position in found))
        return found

    @property
    def lost(self) -> list[ShardLost]:
        """How often the shard was lost."""
        return self.supervisor.of(ShardLost)

    @property
    def epoch(self) -> int:
        """The epoch as the gateways see it."""
        lease = self.leases.get(SHARD)
        return 0 if lease is None else lease.epoch

    def trail(self) -> list[Failure]:
        """The failure log so far."""
        return list(read_failures(self.failures))

    def close(self) -> None:
        """End it without a word to anybody, as a crash would."""
        self.runtime.close()
        self.runtime.stop(self.actor, 30)
