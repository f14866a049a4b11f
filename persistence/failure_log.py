"""Every save that failed or is in doubt, with the state it tried to save: on local disk, because Redis is what failed.

Append-only JSON lines, flushed to the disk before the call returns, 0600, bounded: at `max_bytes` the file becomes the
one old file. It is the trail for an investigation, and a spill: at boot a spilled state may be taken up again, but only
onto the exact snapshot it grew from, and only if no other epoch has owned the shard since. Otherwise it is evidence.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol

SPILLED = "snapshot.spilled"
SETTLED = "snapshot.saved"
"""Takes back the spill of a position, whose state was saved after all."""
DISCARDED = "snapshot.discarded"
"""A spill that a boot found not to apply, and that never will: versions and epochs only grow."""
UNRECORDED = "snapshot.unrecorded"
"""Saved, but the audit trail or the history in Redis took no lines. They are kept here instead."""
UNREACHABLE = "store.unreachable"
REACHABLE = "store.reachable"
LEASE_LOST = "lease.lost"
LEASE_TAKEN = "lease.taken"
"""A lease that had run out, taken again."""

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrewFrom:
    """The stored snapshot that a state grew from; version 0: none was stored."""

    epoch: int
    version: int
    write_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One line. `kind` is the name of the log event; `epoch` is the owner's that failed to save.

    `cause` is the value of the store's Outage, or, for `snapshot.stale_owner`, the epoch that was found.
    """

    kind: str
    shard: str
    epoch: int
    error: str
    position_id: str = ""
    change: int = 0
    schema: int = 0
    grew_from: GrewFrom | None = None
    state: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()
    closed: bool = False
    cause: str = ""
    at: str = ""


_FIELDS = frozenset(field.name for field in fields(Failure))


class FailureRecord(Protocol):
    """What the persistence actor needs of a failure log."""

    def append(self, failures: Sequence[Failure]) -> None:
        """Keep these lines."""

    def spills(self, shard: str) -> Mapping[str, Failure]:
        """The latest spilled state of each position of a shard."""


class MemoryFailureLog:
    """A failure log in memory, for tests and for the simulator."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def append(self, failures: Sequence[Failure]) -> None:
        """Keep these lines, in order."""
        self.failures += failures

    def spills(self, shard: str) -> dict[str, Failure]:
        """The latest spilled state of each position of a shard."""
        return latest_spills(self.failures, shard)


class FailureLog:
    """The log of one keeper. `now` is wall time in microseconds UTC. Raises OSError where the disk fails."""

    def __init__(self, path: Path, now: Callable[[], int], *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = path
        self._old = _rotated(path)
        self._now = now
        self._max_bytes = max_bytes

    def append(self, failures: Sequence[Failure]) -> None:
        """Write these lines and flush them to the disk, all with one fsync."""
        if not failures:
            return
        at = (_EPOCH_START + timedelta(microseconds=self._now())).isoformat(timespec="microseconds")
        at = at.replace("+00:00", "Z")
        data = "".join(_line({**asdict(failure), "at": at}) for failure in failures).encode()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rotate(len(data))
        created = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # A line that a crash tore must not swallow the one after it.
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            _fsync_directory(self._path.parent)

    def read(self) -> Iterator[Failure]:
        """Every line that can be read, oldest first. Torn and foreign lines are passed over."""
        return read_failures(self._path)

    def spills(self, shard: str) -> dict[str, Failure]:
        """The latest spilled state of each position of a shard."""
        return latest_spills(self.read(), shard)

    def _rotate(self, coming: int) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size and size + coming > self._max_bytes:
            self._path.replace(self._old)
            _fsync_directory(self._path.parent)


def read_failures(path: Path) -> Iterator[Failure]:
    """Every line of a failure log and of its rotated predecessor, oldest first, while a keeper may go on writing it.

    Torn and foreign lines are passed over; files that do not exist are empty. Raises OSError for one that exists and
    cannot be read.
    """
    with ExitStack() as stack:
        # The present one first: if it is rotated in between, the old one is the same file, and is read once.
        files: list[IO[bytes]] = []
        for candidate in (path, _rotated(path)):
            with suppress(FileNotFoundError):
                file: IO[bytes] = stack.enter_context(candidate.open("rb"))
                if not files or not os.path.sameopenfile(files[0].fileno(), file.fileno()):
                    files.append(file)
        for file in reversed(files):
            for line in file:
                failure = _parse(line)
                if failure is not None:
                    yield failure


def latest_spills(failures: Iterable[Failure], shard: str) -> dict[str, Failure]:
    """Of these lines, the last spill of each position of the shard, unless it was settled."""
    found: dict[str, Failure] = {}
    for failure in failures:
        if failure.shard != shard:
            continue
        if failure.kind == SPILLED and failure.state is not None:
            found[failure.position_id] = failure
        elif failure.kind in (SETTLED, DISCARDED):
            found.pop(failure.position_id, None)
    return found


def _rotated(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _line(values: Mapping[str, Any]) -> str:
    # What JSON cannot hold is written as its description: a failed save must at least leave its trace.
    return json.dumps(values, ensure_ascii=True, separators=(",", ":"), default=repr) + "\n"


def _parse(line: bytes) -> Failure | None:
    try:
        # Fields of a newer release are passed over, and its spills still count.
        known = {name: value for name, value in json.loads(line).items() if name in _FIELDS}
        texts = [known[name] for name in ("kind", "shard", "error")]
        texts += [known.get(name, "") for name in ("position_id", "cause", "at")]
        grew_from = known.get("grew_from")
        state = known.get("state")
        if not all(isinstance(text, str) for text in texts) or not isinstance(state, dict | None):
            return None
        known["events"] = tuple(known.get("events", ()))
        known["grew_from"] = None if grew_from is None else GrewFrom(**grew_from)
        return Failure(**known)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
