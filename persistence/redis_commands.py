"""What one batch is in Redis commands: the keys, what is written, what is read back, and how that must look."""

from collections.abc import Sequence
from typing import Any

from persistence.batch import Batch
from persistence.redis_connection import Command

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
        self.open = self._prefix + "open"
        self.events = self._prefix + "events"
        self.closed = self._prefix + "closed"
        self.symbols = self._prefix + "symbols"

    def position(self, position_id: str) -> str:
        """Where one snapshot is."""
        return f"{self._prefix}pos:{position_id}"

    def tape(self, symbol: str) -> str:
        """Where one symbol's tape is."""
        return f"{self._prefix}tape:{symbol}"


def writes(keys: Keys, batch: Batch) -> list[Command]:
    """What the transaction changes. The snapshots, the tapes and the fence go in one command."""
    pairs: list[Any] = [keys.fence, batch.fence]
    for name, value in batch.values.items():
        pairs += (keys.position(name), value)
    for symbol, tape in batch.tapes.items():
        pairs += (keys.tape(symbol), tape)
    commands: list[Command] = [("MSET", *pairs)]
    if batch.tapes:
        commands.append(("SADD", keys.symbols, *batch.tapes))
    still_open = [name for name in batch.values if name not in batch.closed]
    if still_open:
        commands.append(("SADD", keys.open, *still_open))
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
    if batch.values:
        commands.append(("MGET", *map(keys.position, batch.values)))
        commands.append(("SMISMEMBER", keys.open, *batch.values))
    return commands


def as_meant(replies: Sequence[Any], batch: Batch) -> bool:
    """Whether the store now holds this batch, byte for byte."""
    if replies[0] != batch.fence:
        return False
    if not batch.values:
        return True
    return list(replies[1]) == list(batch.values.values()) and membership_as_meant(replies[2], batch)


def membership_as_meant(reply: Any, batch: Batch) -> bool:
    """Whether exactly those positions that are open are listed as open."""
    return isinstance(reply, list) and reply == [int(name not in batch.closed) for name in batch.values]
