"""Which server a shard's keys are on now: the one of the URL, the primary that Sentinels name, a Cluster's node.

Nobody is believed twice: whatever goes wrong closes every connection, and the next one is made only after asking anew.
A Sentinel's word is checked against the server's own role, a Cluster's map by the node itself (it answers MOVED).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import redis
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import MasterNotFoundError, Sentinel

from persistence.address import Address, Kind, Node, parse_address, slots_of
from persistence.redis_commands import Keys
from persistence.redis_connection import (
    Command,
    NoPrimary,
    RedisConnection,
    RedisError,
    connection_maker,
    connection_settings,
)

_LONGEST_QUESTION_SECONDS = 1.0
"""How long one Sentinel is waited for: there are others, and a lease runs meanwhile."""


_Answer = TypeVar("_Answer")


class Servers(Protocol):
    """The connections of one store. Calls raise RedisError or OSError where nobody can be asked."""

    def at(self, shard: str) -> RedisConnection:
        """The connection to the server that holds this shard."""

    def every(self) -> Sequence[RedisConnection]:
        """One connection to each server that holds shards."""

    def close(self) -> None:
        """Drop every connection, and what was believed about who holds what."""


class OneServer:
    """All shards on one server, whether it was named or is looked for."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def at(self, shard: str) -> RedisConnection:
        """The connection."""
        return self._connection

    def every(self) -> Sequence[RedisConnection]:
        """The connection."""
        return [self._connection]

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()


class Sentinels:
    """Asks, for every new connection, which server is the primary. Nothing is kept between two questions."""

    def __init__(self, address: Address, connect_timeout_seconds: float, read_timeout_seconds: float) -> None:
        self._address = address
        self._timeouts = (connect_timeout_seconds, read_timeout_seconds)
        waits = [min(seconds, _LONGEST_QUESTION_SECONDS) for seconds in self._timeouts]
        self._sentinel: Any = Sentinel([])  # type: ignore[no-untyped-call]
        self._sentinel.sentinels = [
            redis.Redis(connection_pool=connection_settings(address.sentinel_url(node), *waits))
            for node in address.nodes
        ]
        self._maker(address.nodes[0])

    def make(self) -> Any:
        """A connection object for the primary. Raises NoPrimary."""
        return self._maker(self._primary())()

    def _primary(self) -> Node:
        try:
            host, port = self._sentinel.discover_master(self._address.service)
        except MasterNotFoundError:
            count = len(self._address.nodes)
            # The library's own message describes its clients, with what they were given.
            raise NoPrimary(f"none of {count} Sentinels names a primary of {self._address.service}") from None
        finally:
            for sentinel in self._sentinel.sentinels:
                sentinel.connection_pool.disconnect()
        return Node(str(host), int(port))

    def _maker(self, node: Node) -> Callable[[], Any]:
        return connection_maker(self._address.server_url(node), *self._timeouts)


class Cluster:
    """One connection to each node that is needed. The map of the slots is asked for again after any error."""

    def __init__(self, seeds: Sequence[Node], connect: Callable[[Node], RedisConnection]) -> None:
        self._seeds = tuple(seeds)
        self._connect = connect
        self._asked: list[Node] = list(seeds)
        self._connections: dict[Node, RedisConnection] = {}
        self._slots: list[tuple[int, int, Node]] = []

    def at(self, shard: str) -> RedisConnection:
        """The connection to the node that serves this shard's slot."""
        slot = key_slot(Keys(shard).fence.encode())
        for first, last, node in self._slots or self._discover():
            if first <= slot <= last:
                return self._connection(node)
        raise ClusterDownError(f"no node of the Cluster serves slot {slot}")

    def every(self) -> Sequence[RedisConnection]:
        """One connection to each node that serves slots."""
        nodes = {node for _, _, node in self._slots or self._discover()}
        return [self._connection(node) for node in sorted(nodes)]

    def close(self) -> None:
        """Drop every connection and the map."""
        self._slots = []
        for connection in self._connections.values():
            connection.close()

    def _connection(self, node: Node) -> RedisConnection:
        if node not in self._connections:
            self._connections[node] = self._connect(node)
        return self._connections[node]

    def _discover(self) -> list[tuple[int, int, Node]]:
        trouble: Exception = RedisConnectionError("no node is known")
        silent: list[Node] = []
        for index, node in enumerate(self._asked):
            try:
                slots = slots_of(self._connection(node).call("CLUSTER", "SLOTS"), node)
            except (RedisError, OSError, ValueError) as error:
                self._connection(node).close()
                trouble = error
                silent.append(node)
                continue
            # Asked last the next time: a node that was cut off from the others tells an old map again and again.
            others = [*self._asked[index + 1 :], *self._seeds, *(server for _, _, server in slots)]
            waiting = [other for other in others if other != node and other not in silent]
            self._asked = list(dict.fromkeys([*waiting, node, *silent]))
            self._slots = slots
            self._forget({server for _, _, server in slots})
            return slots
        raise RedisConnectionError(f"none of {len(silent)} nodes tells who serves what: {trouble}") from trouble

    def _forget(self, serving: set[Node]) -> None:
        """Let go of nodes that serve nothing, and of those that nobody mentions any more."""
        for node in set(self._connections) - serving:
            self._connections.pop(node).close()
        self._asked = [node for node in self._asked if node in serving or node in self._seeds]


class Route:
    """From a shard to its server, and from a WATCH to its transaction, which never leaves the watching connection."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._watching: RedisConnection | None = None

    def call(self, shard: str, *command: Any) -> Any:
        """One command and its reply, for reading only, at the server that holds the shard."""
        return self._ask(shard, lambda connection: connection.call(*command))

    def watch(self, shard: str, commands: Sequence[Command]) -> list[Any]:
        """WATCH and read, in one packet."""

        def ask(connection: RedisConnection) -> list[Any]:
            self._watching = connection
            return connection.pipeline(commands)

        return self._ask(shard, ask)

    def watch_ahead(self, shard: str, commands: Sequence[Command]) -> bool:
        """Send a WATCH and reads, whose replies the watcher collects. Not after trouble: false until one went well."""
        if self._watching is None:
            return False
        self._watching = self._servers.at(shard)
        self._watching.send(commands)
        return True

    @property
    def watcher(self) -> RedisConnection:
        """The connection of the last WATCH."""
        if self._watching is None:
            raise RedisConnectionError("nothing is watched")
        return self._watching

    def every(self) -> Sequence[RedisConnection]:
        """One connection to each server that holds shards."""
        return self._servers.every()

    def close(self) -> None:
        """Drop every connection. The next question begins with the question who is to be asked."""
        self._watching = None
        self._servers.close()

    def _ask(self, shard: str, ask: Callable[[RedisConnection], _Answer]) -> _Answer:
        # MOVED is definite, nothing ran there; and what is asked here only reads, so it may be asked again.
        try:
            return ask(self._servers.at(shard))
        except MovedError:
            self.close()
            return ask(self._servers.at(shard))


def servers_of(
    url: str,
    *,
    connect_timeout_seconds: float,
    read_timeout_seconds: float,
    before_connect: Callable[[], None] | None = None,
) -> Servers:
    """The servers that a URL names. Connects to nobody yet. Raises ValueError, without a word of the URL."""
    try:
        address = parse_address(url)
    except ValueError as error:
        raise ValueError(f"the Redis URL {error}") from None
    timeouts = (connect_timeout_seconds, read_timeout_seconds)

    def connect(make: Callable[[], Any], *, primary_only: bool = False) -> RedisConnection:
        return RedisConnection(
            make, read_timeout_seconds=read_timeout_seconds, before_connect=before_connect, primary_only=primary_only
        )

    if address.kind is Kind.SENTINEL:
        return OneServer(connect(Sentinels(address, *timeouts).make, primary_only=True))
    if address.kind is Kind.CLUSTER:
        connection_maker(address.server_url(address.nodes[0]), *timeouts)
        return Cluster(address.nodes, lambda node: connect(connection_maker(address.server_url(node), *timeouts)))
    return OneServer(connect(connection_maker(url, *timeouts)))
