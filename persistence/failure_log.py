"""Every save that failed or is in doubt, with the state it tried to save: on local disk, because Redis is what failed.

Append-only JSON lines, flushed to the disk before the call returns, 0600, bounded: at `max_bytes` the file becomes the
one old file. It is the trail for an investigation, and a spill: at boot a spilled state may be taken up again, but only
onto the exact snapshot it grew from, and only if no other epoch has owned the shard since. Otherwise it is evidence.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

SPILLED = "snapshot.spilled"
SETTLED = "snapshot.saved"
"""Takes back the spill of a position, whose state was saved after all."""

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrewFrom:
    """The stored snapshot that a state grew from; version 0: none was stored."""

    epoch: int
    version: int
    write_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One line. `kind` is the name of the log event; `epoch` is the owner's that failed to save."""

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
    at: str = ""


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
        self._old = path.with_name(path.name + ".1")
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
        for path in (self._old, self._path):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:
                continue
            for line in lines:
                failure = _parse(line)
                if failure is not None:
                    yield failure

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


def latest_spills(failures: Iterable[Failure], shard: str) -> dict[str, Failure]:
    """Of these lines, the last spill of each position of the shard, unless it was saved after all."""
    found: dict[str, Failure] = {}
    for failure in failures:
        if failure.shard != shard:
            continue
        if failure.kind == SPILLED and failure.state is not None:
            found[failure.position_id] = failure
        elif failure.kind == SETTLED:
            found.pop(failure.position_id, None)
    return found


def _line(fields: Mapping[str, Any]) -> str:
    # What JSON cannot hold is written as its description: a failed save must at least leave its trace.
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"), default=repr) + "\n"


def _parse(line: bytes) -> Failure | None:
    try:
        fields = json.loads(line)
        grew_from = fields.get("grew_from")
        state = fields.get("state")
        if state is not None and not isinstance(state, dict):
            return None
        fields["events"] = tuple(fields.get("events", ()))
        fields["grew_from"] = None if grew_from is None else GrewFrom(**grew_from)
        return Failure(**fields)
    except (ValueError, TypeError, AttributeError, RecursionError):
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
