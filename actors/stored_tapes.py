"""What a shard had stored of the prices of its symbols, and what its positions have seen of them, when it was taken.

A tape is found by its symbol. Only a shard whose accounts have several feeds names the feed too; whatever the names
were in an earlier life, the numbers of all of them count, so that no number is ever used twice for a shard's symbol.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.domain.tape import StoredTape
from persistence.messages import ShardTaken
from persistence.store import SnapshotCorrupt
from persistence.tape import decode_tape

_SEPARATOR = "@"


def tape_name(symbol: str, feed: str, *, alone: bool) -> str:
    """Under which name a shard keeps a symbol's tape; `alone`: all its accounts see the same prices."""
    return symbol if alone else f"{symbol}{_SEPARATOR}{feed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A shard as it was taken: its tapes as bytes, and for each symbol what each of its positions has seen.

    `unread`: the states of some could not be read, so that what they have seen is not known.
    """

    shard: str
    epoch: int
    tapes: Mapping[str, bytes]
    seen: Mapping[str, Mapping[str, list[int]]]
    unread: bool = False
    decoded: dict[str, StoredTape | None] = field(default_factory=dict)

    def tape(self, symbol: str, feed: str, *, alone: bool) -> tuple[StoredTape | None, int]:
        """The tape of a symbol, and the highest number that the shard has recorded for it anywhere."""
        names = [name for name in self.tapes if name == symbol or name.startswith(symbol + _SEPARATOR)]
        found = {name: tape for name in names if (tape := self._read(name)) is not None}
        own = found.get(tape_name(symbol, feed, alone=alone))
        newest = max(found.values(), key=lambda tape: tape.sequence, default=None)
        states = self.seen.get(symbol, {}).values()
        highest = max((number for numbers in states for number in numbers), default=0)
        chosen = own if own is not None and not alone else newest
        return chosen, max(highest, newest.sequence if newest is not None else 0)

    def _read(self, name: str) -> StoredTape | None:
        """One that cannot be read is told, and done without: it holds extremes, and no decision."""
        if name not in self.decoded:
            self.decoded[name] = None
            try:
                self.decoded[name] = StoredTape(decode_tape(self.tapes[name]))
            except (SnapshotCorrupt, ValueError) as error:
                structlog.get_logger().error(
                    "snapshot.unreadable",
                    shard=self.shard,
                    symbol=name,
                    error=str(error),
                    remedy="what prices did since each position's last save is taken from the venue's candles",
                )
        return self.decoded[name]


def taken_of(message: ShardTaken) -> Taken:
    """What a taken shard says of prices: its tapes, and what its states, the spilled ones too, have seen of them."""
    seen: dict[str, dict[str, list[int]]] = {}
    states: Iterable[tuple[str, Mapping[str, Any]]] = [
        *((snapshot.position_id, snapshot.state) for snapshot in message.loaded.snapshots),
        *message.spills.items(),
    ]
    for name, state in states:
        symbol, number = state.get("symbol"), state.get("seen", 0)
        if isinstance(symbol, str) and type(number) is int and number >= 0:
            seen.setdefault(symbol, {}).setdefault(name, []).append(number)
    return Taken(
        shard=message.shard,
        epoch=message.epoch,
        tapes=message.loaded.tapes,
        seen=seen,
        unread=bool(message.loaded.corrupt),
    )
