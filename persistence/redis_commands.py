"""What one batch is in Redis commands: the keys, what is written, what is read back, and how that must look."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from redis.exceptions import ResponseError

from persistence.batch import Batch
from persistence.codec import decode_lease, decode_snapshot
from persistence.commit import Refusals
from persistence.redis_connection import Command
from persistence.store import Snapshot, SnapshotCorrupt

CLOSED_KEPT_MILLISECONDS = 30 * 24 * 3600 * 1000
EVENTS_KEPT = 100_000
CLOSED_KEPT = 10_000


class Keys:
    """The names of one shard's keys."""

    def __init__(self, shard: str) -> None:
        if not shard or "{" in shard or "}" in shard:
            raise ValueError(f"a shard's name is not empty and has no braces, unlike {shard!r}")
        self._prefix = f"ek:{{{shard}}}:"
        self.fence = self._prefix + "fence"
        self.lease = self._prefix + "lease"
        self.line = self._prefix + "line"
        self.open = self._prefix + "open"
        self.events = self._prefix + "events"
        self.closed = self._prefix + "closed"
        self.symbols = self._prefix + "symbols"
        self._positions = self._prefix + "pos:"

    def position(self, position_id: str) -> str:
        """Where one snapshot is."""
        return self._positions + position_id

    def positions(self, position_ids: Iterable[str]) -> list[bytes]:
        """Where these snapshots are."""
        start = self._positions
        return [(start + name).encode() for name in position_ids]

    def tape(self, symbol: str) -> str:
        """Where one symbol's tape is."""
        return f"{self._prefix}tape:{symbol}"


def milliseconds(seconds: float) -> int:
    """A time to live as Redis takes it, never none at all."""
    return max(1, int(seconds * 1000))


def lease_or_unreadable(shard: str, raw: bytes) -> tuple[str, int]:
    """Owner and epoch of a lease; one that cannot be read is somebody's all the same."""
    try:
        return decode_lease(shard, raw)
    except SnapshotCorrupt:
        return ("somebody whose lease cannot be read", 0)


def pass_over_another_type(error: ResponseError) -> None:
    """Something else is in the key's place. Any other error is raised."""
    if not str(error).startswith("WRONGTYPE"):
        raise error


def first_questions(keys: Keys, names: Sequence[str]) -> list[Command]:
    """What a save of these positions asks first."""
    commands: list[Command] = [("WATCH", keys.fence), ("GET", keys.fence)]
    return [*commands, ("MGET", *keys.positions(names))] if names else commands


def writes(keys: Keys, batch: Batch) -> list[Command]:
    """What the transaction changes. The snapshots, the tapes and the fence go in one command."""
    pairs: list[Any] = [keys.fence, batch.fence]
    pairs += chain.from_iterable(zip(keys.positions(batch.values), batch.values.values(), strict=True))
    for symbol, tape in batch.tapes.items():
        pairs += (keys.tape(symbol), tape)
    commands: list[Command] = [("MSET", *pairs)]
    if batch.tapes:
        commands.append(("SADD", keys.symbols, *batch.tapes))
    joining = [name for name in batch.moving if name not in batch.closed]
    if joining:
        commands.append(("SADD", keys.open, *joining))
    if batch.closed:
        commands.append(("SREM", keys.open, *sorted(batch.closed)))
    for line in batch.lines:
        fields = ("id", line.position_id, "version", line.version, "event", line.event)
        commands.append(("XADD", keys.events, "MAXLEN", "~", EVENTS_KEPT, "*", *fields))
    for name in sorted(batch.closed):
        final = ("id", name, "snapshot", batch.values[name])
        commands.append(("XADD", keys.closed, "MAXLEN", "~", CLOSED_KEPT, "*", *final))
        commands.append(("PEXPIRE", keys.position(name), CLOSED_KEPT_MILLISECONDS))
    return commands


def read_back(keys: Keys, batch: Batch) -> list[Command]:
    """What is read back, in the order in which `as_meant` takes the replies."""
    commands: list[Command] = [("GET", keys.fence)]
    if not batch.empty:
        commands.append(("MGET", *keys.positions(batch.values), *map(keys.tape, batch.tapes)))
    if batch.moving:
        commands.append(("SMISMEMBER", keys.open, *batch.moving))
    if batch.tapes:
        commands.append(("SMISMEMBER", keys.symbols, *batch.tapes))
    return commands


def as_meant(replies: Sequence[Any], batch: Batch) -> bool:
    """Whether the store now holds this batch, byte for byte."""
    return replies[0] == batch.fence and positions_as_meant(replies, batch) and _tapes_present(replies, batch)


def positions_as_meant(replies: Sequence[Any], batch: Batch) -> bool:
    """Whether the positions are stored, byte for byte, and those of them that join or leave the open ones have."""
    moving = batch.moving
    listed = not moving or replies[2] == [int(name not in batch.closed) for name in moving]
    return values_present(replies, batch) and listed


def values_present(replies: Sequence[Any], batch: Batch) -> bool:
    """Whether the positions are stored, byte for byte."""
    return not batch.values or replies[1][: len(batch.values)] == list(batch.values.values())


def symbols_as_meant(replies: Sequence[Any], batch: Batch) -> bool:
    """Whether the tapes will be found at the next boot."""
    return not batch.tapes or replies[-1] == [1] * len(batch.tapes)


def _tapes_present(replies: Sequence[Any], batch: Batch) -> bool:
    return not batch.tapes or replies[1][len(batch.values) :] == list(batch.tapes.values())


def refusals(keys: Keys, batch: Batch, changes: Sequence[Command], executed: Sequence[Any]) -> Refusals | None:
    """What a transaction whose positions are stored as meant was refused all the same.

    Everything that a position needs was read back. What else was refused is of the record: told, never repeated,
    because the state is saved, and a save that is tried again would be refused there again.
    """
    refused = {
        command[1]: str(reply)
        for command, reply in zip(changes, executed, strict=False)
        if isinstance(reply, Exception)
    }
    found = executed[len(changes) :]
    tapes = refused.pop(keys.symbols, "") or ("" if symbols_as_meant(found, batch) else "they are not listed")
    return Refusals(lines=next(iter(refused.values()), ""), tapes=tapes) if refused or tapes else None


def closed_of(entries: Sequence[Any], newest_schema: int) -> list[Snapshot]:
    """The final snapshots in the history: the newest of each position, which comes first.

    History only: what cannot be read here guards nothing and stops nobody.
    """
    found: dict[str, Snapshot] = {}
    for _, fields in entries:
        entry = dict(zip(fields[::2], fields[1::2], strict=True))
        name = entry.get(b"id", b"").decode("utf-8", "replace")
        try:
            found.setdefault(name, decode_snapshot(name, entry.get(b"snapshot", b""), newest_schema))
        except SnapshotCorrupt:
            continue
    return list(found.values())
