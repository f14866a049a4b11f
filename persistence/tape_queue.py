"""The tapes of one shard that wait to be saved: the newest of each symbol, with whatever commit goes next. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from persistence.messages import Ref, SaveTapes, TapesSaved

TAPE_SECONDS = 0.25
"""How long tapes wait for a position to travel with. Alone they cost a commit a shard, so not one for each price."""


@dataclass(frozen=True, slots=True)
class WaitingTape:
    """The newest tape of a symbol, and who is told of it once it is saved."""

    raw: bytes
    mark: int | None
    reply_to: Ref | None


@dataclass(slots=True)
class TapeQueue:
    """Tapes are never in doubt: one that may not have been saved is given again, unless a newer one came meanwhile.

    That is safe in any order with the positions: a position names the sequence number that it has seen of a tape, and
    a newer tape answers for every older number.
    """

    waiting: dict[str, WaitingTape] = field(default_factory=dict)
    batch: dict[str, WaitingTape] = field(default_factory=dict)
    timer_set: bool = False
    reported: bool = False

    @property
    def values(self) -> Mapping[str, bytes]:
        """The tapes of the open batch."""
        return {symbol: tape.raw for symbol, tape in self.batch.items()}

    def add(self, message: SaveTapes) -> None:
        """Take tapes in: the newest of a symbol wins."""
        for symbol, raw in message.tapes.items():
            self.waiting[symbol] = WaitingTape(raw, message.marks.get(symbol), message.reply_to)

    def freeze(self) -> None:
        """They travel with the batch that begins."""
        self.batch, self.waiting = self.waiting, {}

    def thaw(self) -> None:
        """They were not saved: they wait again, where no newer one does."""
        self.waiting, self.batch = self.batch | self.waiting, {}

    def finish(self, shard: str, epoch: int) -> list[tuple[Ref, TapesSaved]]:
        """They were saved: whom to tell of what."""
        marks: dict[Ref, dict[str, int]] = {}
        for symbol, tape in self.batch.items():
            if tape.reply_to is not None:
                told = marks.setdefault(tape.reply_to, {})
                if tape.mark is not None:
                    told[symbol] = tape.mark
        self.batch, self.reported = {}, False
        return [(ref, TapesSaved(shard=shard, epoch=epoch, marks=found)) for ref, found in marks.items()]

    def abandon(self) -> None:
        """They are not ours to save any more."""
        self.waiting, self.batch = {}, {}
