"""Redis' protocol for batches of a thousand values: what goes out in one piece, and what comes back read by C.

The client library packs and parses one argument at a time in Python, which cost more than everything else of a group
commit together. Only the older protocol (RESP2) is spoken: it has no push messages, so the n-th reply always answers
the n-th command. Whatever is not exactly that protocol raises, and whoever called drops the connection.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

_READ_BYTES = 256 * 1024
_LONGEST_LINE = 64 * 1024
_LARGEST_VALUE = 512 * 1024 * 1024
"""What Redis itself allows; a server that announces more is none, and must not be given the memory."""


_END = b"\r\n"
_LENGTHS = [b"$%d\r\n" % size for size in range(16 * 1024)]
"""How the usual values are announced."""

_SIZES = {line: size for size, line in enumerate(_LENGTHS)}


_QUEUED, _QUEUED_LINE = b"QUEUED", b"+QUEUED\r\n"
_USUAL_WORDS = ("MULTI", "EXEC", "XADD", "MAXLEN", "~", "*", "id", "version", "event", "MGET", "MSET", "GET", "WATCH")
_WORDS = {word: b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in _USUAL_WORDS}
"""The texts that are the same in every batch, as they go out."""


def pack(commands: Sequence[Sequence[Any]]) -> bytes:
    """Commands as one packet. Arguments are bytes, str or int. Raises TypeError for any other."""
    parts: list[bytes] = []
    add, one, lengths, usual, words = parts.extend, parts.append, _LENGTHS, len(_LENGTHS), _WORDS
    for command in commands:
        one(b"*%d\r\n" % len(command))
        for argument in command:
            kind = type(argument)
            if kind is str:
                if argument in words:
                    one(words[argument])
                    continue
                value = argument.encode()
            elif kind is bytes:
                value = argument
            elif kind is int:
                value = b"%d" % argument
            else:
                raise TypeError(f"{kind.__name__} is not sent to Redis")
            size = len(value)
            add((lengths[size] if size < usual else b"$%d\r\n" % size, value, _END))
    return b"".join(parts)


class Replies:
    """The replies of one connection, in their order. An error of the server is a value, as the library makes it.

    `likely`: what the next array may begin with, such as what was just written. Where it does, those values themselves
    are found, and nothing is copied; it changes no reply.
    """

    def __init__(self, sock: Any, make_error: Callable[[str], Exception]) -> None:
        self._file = sock.makefile("rb", buffering=_READ_BYTES)
        self._make_error = make_error
        self.likely: Sequence[bytes] = ()

    def close(self) -> None:
        """Let go of the socket, which stays open for as long as this does."""
        self._file.close()

    def read(self) -> Any:
        """The next reply. Raises OSError or RedisError, also for an error that says the connection is of no use."""
        return self._reply(self._file.readline(_LONGEST_LINE))

    def read_many(self, count: int) -> list[Any]:
        """The next replies. Raises as `read` does."""
        found: list[Any] = []
        readline, add = self._file.readline, found.append
        for _ in range(count):
            line = readline(_LONGEST_LINE)
            # What a transaction answers each of its commands before it runs them.
            add(_QUEUED if line == _QUEUED_LINE else self._reply(line))
        self.likely = ()
        return found

    def _reply(self, line: bytes) -> Any:
        kind = line[:1]
        if kind == b"$":
            size = _length(line)
            return None if size < 0 else _ended(self._file.read(size + 2), size)
        if kind == b"*":
            count = _length(line)
            return None if count < 0 else self._array(count)
        if kind == b":":
            return _number(line)
        if kind == b"+":
            return _text(line)
        if kind == b"-":
            error = self._make_error(_text(line).decode("utf-8", "replace"))
            if isinstance(error, RedisConnectionError):
                raise error
            return error
        raise _unexpected(line)

    def _array(self, count: int) -> list[Any]:
        found: list[Any] = []
        readline, read, add, sizes = self._file.readline, self._file.read, found.append, _SIZES
        likely = self.likely if len(self.likely) <= count else ()
        # The values of an MGET: nearly all that a batch is answered goes through here.
        for value in likely:
            line = readline(_LONGEST_LINE)
            size = sizes.get(line)
            if size is None:
                add(self._reply(line))
                continue
            data = read(size + 2)
            same = size == len(value) and data.startswith(value) and data.endswith(_END) and len(data) == size + 2
            add(value if same else _ended(data, size))
        for _ in range(count - len(likely)):
            line = readline(_LONGEST_LINE)
            size = sizes.get(line)
            add(self._reply(line) if size is None else _ended(read(size + 2), size))
        return found


def _ended(data: bytes, size: int) -> bytes:
    if len(data) != size + 2:
        raise RedisConnectionError("Connection closed by server.")
    if data[-2:] != _END:
        raise InvalidResponse("a value does not end where it should")
    return data[:-2]


def _text(line: bytes) -> bytes:
    if line[-2:] != _END:
        raise _unexpected(line)
    return line[1:-2]


def _number(line: bytes) -> int:
    try:
        return int(_text(line))
    except ValueError:
        raise _unexpected(line) from None


def _length(line: bytes) -> int:
    length = _number(line)
    if not -1 <= length <= _LARGEST_VALUE:
        raise _unexpected(line)
    return length


def _unexpected(line: bytes) -> Exception:
    # The line is cut by the end of the stream, or is none of the protocol's.
    if line[-1:] != b"\n" and len(line) < _LONGEST_LINE:
        return RedisConnectionError("Connection closed by server.")
    return InvalidResponse(f"Protocol Error: {line[:80]!r}")
