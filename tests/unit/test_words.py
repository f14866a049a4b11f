"""What a storage outage is called, and how it is said: every kind has its words, and no error is taken for another."""

import errno
import socket
import threading
from collections.abc import Iterator

import pytest
from redis.exceptions import AuthenticationError, BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from persistence.failure_log import Failure
from persistence.redis_connection import OwnServerDown, Refused, outage_of
from persistence.redis_store import RedisStore
from persistence.store import Change, Outage, StoreUnreachable
from persistence.words import OUTAGES, words_for, words_for_outage, words_for_ownership


def caused(error: Exception, cause: Exception) -> Exception:
    """An error that was raised over another."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (caused(RedisConnectionError("Error 111"), OSError(errno.ECONNREFUSED, "refused")), Outage.REFUSED),
        (caused(RedisConnectionError("no such file"), OSError(errno.ENOENT, "none")), Outage.REFUSED),
        (caused(RedisConnectionError("Error -2"), socket.gaierror(-2, "unknown name")), Outage.REFUSED),
        (RedisTimeoutError("Timeout reading from socket"), Outage.SILENT),
        (RedisConnectionError("Connection closed by server."), Outage.CUT),
        (ConnectionResetError(), Outage.CUT),
        (BusyLoadingError("Redis is loading the dataset in memory"), Outage.LOADING),
        (caused(Refused("no"), ReadOnlyError("You can't write")), Outage.READ_ONLY),
        (Refused("Transaction discarded because of: MISCONF Redis is configured"), Outage.DISK),
        (ResponseError("MISCONF Errors writing to the AOF file"), Outage.DISK),
        (OutOfMemoryError("command not allowed"), Outage.MEMORY),
        (AuthenticationError("invalid password"), Outage.LOGIN),
        (OwnServerDown("redis-server ended"), Outage.OWN_SERVER),
        (ResponseError("WRONGTYPE"), Outage.OTHER),
    ],
    ids=str,
)
def test_every_error_is_named(error: Exception, outage: Outage) -> None:
    """By its class, its text, or what it was raised over."""
    assert outage_of(error) is outage


def test_an_error_raised_over_itself_is_named_too() -> None:
    """A circle of causes ends."""
    error = RedisConnectionError("cut")
    error.__context__ = caused(ValueError("x"), error)
    assert outage_of(error) is Outage.CUT


def test_every_outage_has_words_of_its_own() -> None:
    """What happened and what to do, for each kind, and never the same twice."""
    assert set(OUTAGES) == set(Outage)
    assert len({words.why for words in OUTAGES.values()}) == len(Outage)
    assert all(words.why and words.remedy for words in OUTAGES.values())
    assert words_for_outage("a kind of a newer release") == OUTAGES[Outage.OTHER]


@pytest.mark.parametrize(("mine", "found", "says"), [(2, 3, "another keeper"), (3, 1, "emptied"), (2, 2, "cannot be")])
def test_why_a_shard_is_not_ours_is_told_apart(mine: int, found: int, says: str) -> None:
    """A newer owner, a Redis set back, a fence that cannot be read: each wants something else done."""
    assert says in words_for_ownership(mine, found).why
    line = Failure(kind="snapshot.stale_owner", shard="s", epoch=mine, error="", cause=str(found))
    assert words_for(line) == words_for_ownership(mine, found)


@pytest.fixture(
    params=[b"HTTP/1.1 400 Bad Request\r\n\r\n", b":x\r\n", b"*-7\r\n$", b"+OK\r\n" * 50, b"\x00" * 64],
    ids=["http", "no number", "no length", "always OK", "zeros"],
)
def stranger(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of something that is no Redis, and answers everything with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                    with client:
                        client.recv(65536)
                        client.sendall(request.param)
                        client.settimeout(1.0)
                        client.recv(65536)
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_what_is_no_redis_is_out_of_reach_and_nothing_worse(stranger: int) -> None:
    """Whatever it answers, a save and a take end with an error that the persistence actor expects."""
    store = RedisStore(f"redis://127.0.0.1:{stranger}/0", newest_schema=1, read_timeout_seconds=0.2, attempts=2)
    with pytest.raises(StoreUnreachable):
        store.save("s", 1, [Change(position_id="p", schema=1, grew_from=0, state={})])
    with pytest.raises(StoreUnreachable):
        store.take("s", "me", 10.0)
    with pytest.raises(StoreUnreachable):
        store.fence("s")
    store.close()
