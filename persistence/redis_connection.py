"""One connection to Redis that does exactly what it is told: no pool, no retry, no silent reconnect.

The client library's own transactions retry on a lost reply (ten times by default) and report a transaction that *was*
applied as a WatchError. So this speaks through the library's connection objects, one packet out and its replies back,
and every error leaves the connection closed: a half-read reply must never be taken for the next one.
"""

import errno
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from persistence.redis_wire import Replies, pack
from persistence.store import Outage

Command = tuple[Any, ...]


class Refused(RedisError):
    """Definite: the server discarded the whole transaction before it ran anything. Its cause is the server's reason."""


class OwnServerDown(RedisConnectionError):
    """What runs before a connection is made, the start of the embedded server, failed."""


class NoPrimary(RedisConnectionError):
    """No Sentinel names a server that takes writes."""


_WAITAOF_SINCE = (7, 2)

# What EXEC itself answers where the server discarded the transaction before it ran anything: it was flagged while it
# was queued, or its keys are another node's by now. A reply to a single command inside it is none of these.
_DISCARDED = (ExecAbortError, AskError, TryAgainError, ClusterDownError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says about itself. `appendfsync` is None where asking for it is forbidden."""

    version: str
    aof_enabled: bool
    appendfsync: str | None
    role: str = "master"

    @property
    def confirms_fsync(self) -> bool:
        """Whether WAITAOF answers at once. Under `everysec` it would wait a second, so it is not asked there."""
        numbers = tuple(int(part) for part in self.version.split(".")[:2] if part.isdigit())
        return numbers >= _WAITAOF_SINCE and self.aof_enabled and self.appendfsync == "always"


class RedisConnection:
    """A connection, made on first use. Raises RedisError or OSError from every call; is closed after any of them.

    `make` gives a connection object of the library for the server that is the right one now; it may raise the same.
    With `primary_only` a server that is a copy of another is refused, whoever named it.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        read_timeout_seconds: float,
        before_connect: Callable[[], None] | None = None,
        primary_only: bool = False,
    ) -> None:
        self._make = make
        self._read_timeout_seconds = read_timeout_seconds
        self._before_connect = before_connect
        self._primary_only = primary_only
        self._connection: Any = None
        self._replies: Replies | None = None
        self._facts: ServerFacts | None = None
        self._watches = False
        self._awaited: Sequence[Command] = ()

    @property
    def facts(self) -> ServerFacts:
        """What the server said when this connection was made; connects when there is none."""
        return self._open()

    def call(self, *command: Any) -> Any:
        """One command and its reply, for reading only: on a connection that went stale it is tried once more."""
        stale = self._connection is not None
        try:
            return self.pipeline([command])[0]
        except (RedisConnectionError, OSError):
            # Typically the server was restarted since the last call, and asking twice changes nothing.
            if not stale:
                raise
            return self.pipeline([command])[0]

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Several commands in one packet, and their replies. Raises the first reply that is an error."""
        self._open()
        return self._looked_through(commands, self._exchange(commands))

    def _looked_through(self, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        self._watches = self._watches or any(command[0] == "WATCH" for command in commands)
        return replies

    def send(self, commands: Sequence[Command]) -> None:
        """Several commands in one packet, whose replies `collect` reads. Any other call before it drops them."""
        self._open()
        self._send(commands)
        self._awaited = commands

    def collect(self) -> list[Any] | None:
        """The replies to what was sent; None where they were dropped. Raises as `pipeline` does."""
        commands, self._awaited = self._awaited, ()
        return None if not commands else self._looked_through(commands, self._receive(len(commands)))

    def transact(
        self, commands: Sequence[Command], *, confirm_fsync: bool = False, likely: Sequence[bytes] = ()
    ) -> tuple[list[Any] | None, bool]:
        """MULTI, the commands, EXEC, on the connection that has the WATCH; replies (None: what was watched has moved).

        The second value tells whether the fsync was confirmed, true where there is no way to ask. What the server
        refused before it ran anything raises Refused; an error of a single command is a value among the replies.
        `likely`: what is read back if all is well (see Replies).
        """
        # On a fresh connection there would be no WATCH, and the transaction would overwrite whatever it found.
        if not self._watches or self._connection is None or not self._connection.is_connected:
            raise RedisConnectionError("the connection was lost before anything was written")
        self._watches = False
        confirm = self._confirm_command() if confirm_fsync else []
        if self._replies is not None:
            self._replies.likely = likely
        replies = self._exchange([("MULTI",), *commands, ("EXEC",), *confirm])
        executed = replies[len(commands) + 1]
        if isinstance(executed, _DISCARDED):
            # The first command that was not even queued names the reason; EXEC only says that there was one.
            reason = next((reply for reply in replies if isinstance(reply, Exception)), executed)
            raise Refused(str(reason)) from reason
        if isinstance(executed, Exception):
            raise executed
        confirmed = not confirm or _is_confirmed(replies[-1])
        return executed, confirmed

    def confirm_fsync(self) -> bool:
        """Whether all that was written is on this server's disk; true where there is no way to ask."""
        self._open()
        confirm = self._confirm_command()
        return not confirm or _is_confirmed(self._exchange(confirm)[0])

    def _confirm_command(self) -> list[Command]:
        wait_milliseconds = max(1, int(self._read_timeout_seconds * 500))
        confirms = self._facts is not None and self._facts.confirms_fsync
        return [("WAITAOF", 1, 0, wait_milliseconds)] if confirms else []

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        connection, replies = self._connection, self._replies
        self._connection = self._replies = self._facts = None
        self._watches = False
        self._awaited = ()
        if replies is not None:
            replies.close()
        if connection is not None:
            connection.disconnect()

    def _open(self) -> ServerFacts:
        # The library's connection would reconnect by itself inside a send, and a WATCH would be gone unnoticed.
        known = self._facts is not None and self._connection is not None and self._connection.is_connected
        # Replies that nobody collected would be taken for those of the next question.
        if self._facts is not None and known and not self._awaited:
            return self._facts
        self.close()
        if self._before_connect is not None:
            try:
                self._before_connect()
            except Exception as error:
                raise OwnServerDown(str(error)) from error
        connection = self._make()
        try:
            connection.connect()
        except BaseException as error:
            connection.disconnect()
            if _is_foreseen(error):
                raise
            raise _no_redis(error) from error
        # Everything that the library asked while it connected was answered, so nothing is left in its own buffer.
        self._replies = Replies(connection._sock, connection._parser.parse_error)
        self._connection = connection
        facts = self._ask_facts()
        if self._primary_only and facts.role != "master":
            self.close()
            raise ReadOnlyError("the server that was named as the primary is a replica")
        self._facts = facts
        return facts

    def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        self._send(commands)
        return self._receive(len(commands))

    def _send(self, commands: Sequence[Command]) -> None:
        with self._closing():
            if self._connection is None:
                raise RedisConnectionError("the connection was lost before anything was asked")
            self._connection.send_packed_command([pack(commands)], check_health=False)

    def _receive(self, count: int) -> list[Any]:
        with self._closing():
            if self._replies is None:
                raise RedisConnectionError("the connection was lost before anything was asked")
            return self._replies.read_many(count)

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Whatever goes wrong leaves the connection closed."""
        try:
            yield
        except BaseException as error:
            self.close()
            if _is_foreseen(error):
                raise
            raise _no_redis(error) from error

    def _ask_facts(self) -> ServerFacts:
        info, policy = self._exchange([("INFO",), ("CONFIG", "GET", "appendfsync")])
        if not isinstance(info, bytes):
            self.close()
            raise info if isinstance(info, Exception) else InvalidResponse("what answers is no Redis")
        fields = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
        if "redis_version" not in fields:
            self.close()
            raise InvalidResponse("what answers is no Redis")
        # Managed servers forbid CONFIG; INFO does not tell the policy, and then the fsync is simply not confirmed.
        known = isinstance(policy, list) and len(policy) == 2
        return ServerFacts(
            version=fields["redis_version"],
            aof_enabled=fields.get("aof_enabled") == "1",
            appendfsync=policy[1].decode("utf-8", "replace") if known else None,
            role=fields.get("role", "master"),
        )


def _is_foreseen(error: BaseException) -> bool:
    return isinstance(error, RedisError | OSError) or not isinstance(error, Exception)


def _no_redis(error: BaseException) -> InvalidResponse:
    """What the library's parser stumbled over, as an error that every caller expects."""
    return InvalidResponse(f"what answers is no Redis ({type(error).__name__}: {error})")


_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], Outage], ...] = (
    ((OwnServerDown,), Outage.OWN_SERVER),
    ((NoPrimary,), Outage.NO_PRIMARY),
    ((BusyLoadingError,), Outage.LOADING),
    ((ReadOnlyError, MasterDownError), Outage.READ_ONLY),
    ((ClusterDownError,), Outage.CLUSTER_DOWN),
    ((AskError, TryAgainError), Outage.MOVING),
    ((OutOfMemoryError,), Outage.MEMORY),
    ((AuthenticationError, AuthorizationError, NoPermissionError), Outage.LOGIN),
    # redis-py's own is no subclass of the built-in one.
    ((RedisTimeoutError, TimeoutError), Outage.SILENT),
)

# An EXEC that fails by itself quotes the reason, and MISCONF has no class of its own.
_BY_TEXT = (
    (re.compile(r"\bMISCONF\b"), Outage.DISK),
    (re.compile(r"\bOOM\b"), Outage.MEMORY),
    (re.compile(r"\b(READONLY|MASTERDOWN)\b"), Outage.READ_ONLY),
    (re.compile(r"\bLOADING\b"), Outage.LOADING),
    (re.compile(r"\b(NOAUTH|WRONGPASS|NOPERM)\b"), Outage.LOGIN),
)

_NOBODY_THERE = {errno.ECONNREFUSED, errno.ENOENT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def outage_of(error: BaseException | None) -> Outage:
    """Why a call failed, from the error or from what it was raised over."""
    found = Outage.OTHER
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for types, outage in _BY_TYPE:
            if isinstance(error, types):
                return outage
        for pattern, outage in _BY_TEXT:
            if pattern.search(str(error)):
                return outage
        if isinstance(error, socket.gaierror) or (isinstance(error, OSError) and error.errno in _NOBODY_THERE):
            return Outage.REFUSED
        if isinstance(error, RedisConnectionError | ConnectionError):
            found = Outage.CUT
        error = error.__cause__ or error.__context__
    return found


def _is_confirmed(reply: Any) -> bool:
    return isinstance(reply, list) and bool(reply) and reply[0] >= 1


def connection_settings(url: str, connect_timeout_seconds: float, read_timeout_seconds: float) -> ConnectionPool:
    """The library's settings for the URL of one server. Raises ValueError, without a word of the URL."""
    try:
        client = redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=connect_timeout_seconds,
            socket_timeout=read_timeout_seconds,
            health_check_interval=0,
            # The older protocol has no push messages, so the n-th reply always answers the n-th command.
            protocol=2,
        )
        pool: ConnectionPool = client.connection_pool
        # Made, and never connected: the library looks at most of what a URL asks for only here.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, RedisError):
        raise ValueError("the Redis URL has a setting behind its ? that the client library does not know") from None
    return pool


def connection_maker(url: str, connect_timeout_seconds: float, read_timeout_seconds: float) -> Callable[[], Any]:
    """What makes connection objects for the URL of one server. Raises ValueError, without a word of the URL.

    Not the pool's own: it counts what it ever made, and refuses for good after a hundred, some minutes of an outage.
    """
    pool: Any = connection_settings(url, connect_timeout_seconds, read_timeout_seconds)
    return lambda: pool.connection_class(**pool.connection_kwargs)


__all__ = [
    "Command",
    "NoPrimary",
    "RedisConnection",
    "RedisError",
    "Refused",
    "ServerFacts",
    "connection_maker",
    "connection_settings",
    "outage_of",
]
