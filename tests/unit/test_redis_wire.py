"""The protocol of Redis: packed as the library packs, read as the library reads, and no bytes get anything else out."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import BusyLoadingError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from persistence.redis_wire import Replies, pack

ARGUMENTS = st.text(max_size=20) | st.binary(max_size=20) | st.integers(-(10**18), 10**18)


def library() -> Any:
    """A connection object of the library, never connected."""
    return redis.Redis().connection_pool.make_connection()


@contextmanager
def replies(raw: bytes) -> Iterator[Replies]:
    """What a server sent before it closed the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        found = Replies(ours, library()._parser.parse_error)
        yield found
        found.close()


def read(raw: bytes) -> Any:
    """The first reply in these bytes."""
    with replies(raw) as found:
        return found.read()


@settings(deadline=None)
@given(commands=st.lists(st.lists(ARGUMENTS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_commands_go_out_as_the_library_would_send_them(commands: list[list[Any]]) -> None:
    """Byte for byte, whatever the arguments are."""
    named = [["SET", *command] for command in commands]
    assert pack(named) == b"".join(library().pack_commands(named))


def test_a_large_value_goes_out_whole() -> None:
    """Also one above the usual sizes."""
    for size in (16 * 1024 - 1, 16 * 1024, 10**6):
        assert pack([("SET", "k", b"x" * size)]) == b"".join(library().pack_commands([("SET", "k", b"x" * size)]))


@pytest.mark.parametrize("argument", [None, 1.5, True, memoryview(b"x")])
def test_what_has_no_one_form_is_not_sent(argument: Any) -> None:
    """A None that became text would be stored as such."""
    with pytest.raises(TypeError):
        pack([("SET", "k", argument)])


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-3\r\n", -3),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
        (b"*0\r\n", []),
        (b"*5\r\n$1\r\na\r\n$-1\r\n:7\r\n+QUEUED\r\n*2\r\n$1\r\nb\r\n*0\r\n", [b"a", None, 7, b"QUEUED", [b"b", []]]),
    ],
)
def test_replies_are_read_as_they_were_meant(raw: bytes, meant: Any) -> None:
    """Values, numbers, nothing, lists of lists."""
    assert read(raw) == meant


@pytest.mark.parametrize(
    "likely", [[b"ab", b"c"], [b"xy", b"c"], [b"a", b"c"], [b"abc", b"c"], [b"", b"", b"", b""], [b"c", b"ab"], [b"ab"]]
)
def test_what_was_expected_changes_no_reply(likely: list[bytes]) -> None:
    """Whether it came, or something else did."""
    with replies(b"+QUEUED\r\n*2\r\n*2\r\n$2\r\nab\r\n$1\r\nc\r\n*3\r\n:1\r\n$-1\r\n$2\r\nab\r\n") as found:
        found.likely = likely
        assert found.read_many(2) == [b"QUEUED", [[b"ab", b"c"], [1, None, b"ab"]]]


@pytest.mark.parametrize("raw", [b"*1\r\n$2\r\nab", b"*1\r\n$2\r\nab\r", b"*1\r\n$2\r\na"])
def test_what_was_expected_must_have_come_whole(raw: bytes) -> None:
    """A value is not believed before its end is there."""
    with replies(raw) as found, pytest.raises(RedisConnectionError):
        found.likely = [b"ab"]
        found.read_many(1)


def test_replies_are_read_one_after_the_other() -> None:
    """The n-th answers the n-th command, and after the last there is none."""
    with replies(b"+A\r\n$1\r\nb\r\n:3\r\n") as found:
        assert [found.read(), found.read(), found.read()] == [b"A", b"b", 3]
        with pytest.raises(RedisConnectionError):
            found.read()


def test_an_error_of_one_command_is_a_value() -> None:
    """The others of its transaction were run all the same."""
    error, value = read(b"*2\r\n-WRONGTYPE not a stream\r\n:1\r\n")
    assert isinstance(error, ResponseError)
    assert (str(error), value) == ("WRONGTYPE not a stream", 1)


def test_an_error_about_the_whole_server_is_raised() -> None:
    """A server that loads answers nothing else."""
    with pytest.raises(BusyLoadingError):
        read(b"-LOADING Redis is loading the dataset in memory\r\n")


@pytest.mark.parametrize("raw", [b"", b"$5\r\nab", b"$2\r\nab", b"*2\r\n:1\r\n", b"+O", b"*1\r\n$3\r\nabc", b":1\r"])
def test_a_reply_that_was_cut_off_is_never_taken_for_one(raw: bytes) -> None:
    """The connection broke in the middle of it."""
    with pytest.raises(RedisConnectionError):
        read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 400\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"$2\r\nabcd\r\n",
        b"*1\r\n$2\r\nabcd\r\n",
        b"$99999999999\r\n",
        b"+a\n",
    ],
)
def test_what_is_not_the_protocol_is_said_to_be_none(raw: bytes) -> None:
    """Nor is memory given for what such a server announces."""
    with pytest.raises(InvalidResponse):
        read(raw)


@settings(deadline=None)
@given(raw=st.lists(st.sampled_from([b"*", b"$", b":", b"+", b"-", b"1", b"2", b"a", b"\r\n", b"\xff"]), max_size=30))
def test_no_bytes_raise_anything_else(raw: list[bytes]) -> None:
    """Only what the connection is closed over."""
    with suppress(RedisError, OSError):
        read(b"".join(raw))
