"""Desk: where the positions of one symbol say which prices concern them, and its MarketActor plays the prices.

The one thing that actors share beside the directory: a book (actors/domain/price_book.py) behind a lock, so that a
registration and the prices around it are of one moment. A position that registers names the last price it knows; one
that matters and was played since comes back to it at once, so that no crossing is missed between two messages.

For each shard the desk also keeps what its tape is to be saved as, and what of it is durable already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from actors.domain.live_book import LiveBook
from actors.domain.model import Position, Quote
from actors.domain.price_book import Wake
from actors.domain.tape import StoredTape
from actors.domain.watch import Missed, Watch, catch_up, stop_source_of
from actors.runtime.base import Ref
from actors.runtime.locks import Lock

# So many prices are played under one lock: a position that asks meanwhile waits for a fraction of a millisecond.
_CHUNK = 64
_COMPACT_FROM = 1024
# So many prices of a symbol are remembered one by one, for those who register late. Of more, their extremes are known.
_RING = 512


@dataclass(slots=True)
class ShardTape:
    """One shard's copy of a symbol's tape: what a save under way would make durable, and what is durable."""

    epoch: int
    after: int
    stored: StoredTape | None = None
    durable: StoredTape | None = None
    saving: StoredTape | None = None
    signature: tuple[int, ...] = ()
    # The points of saved states: those acknowledged, and those whose save is under way. `whole`: there are states whose
    # points are not known, so that everything is kept.
    points: dict[str, list[int]] = field(default_factory=dict)
    whole: bool = False
    # Each of those points, and how many ask about it: ten thousand positions are not gone through for every copy.
    asked: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count the points that it begins with."""
        for points in self.points.values():
            for point in points:
                self.asked[point] = self.asked.get(point, 0) + 1

    def ask(self, key: str, point: int) -> None:
        """A state that asks about the prices after this point is about to be saved."""
        points = self.points.setdefault(key, [])
        if not points or points[-1] != point:
            points.append(point)
            self.asked[point] = self.asked.get(point, 0) + 1

    def answered(self, key: str, before: int | None) -> None:
        """Nobody asks for this position about points before that one any more; None: about none at all."""
        points = self.points.get(key, [])
        for point in points:
            if before is None or point < before:
                self.asked[point] -= 1
                if not self.asked[point]:
                    del self.asked[point]
        if before is None:
            self.points.pop(key, None)
        else:
            points[:] = [point for point in points if point >= before]


class Desk:
    """One symbol's book, shared by its MarketActor and its positions. Every method may be called from any thread."""

    def __init__(self, *, first: int = 0) -> None:
        """Prices are numbered from `first` on."""
        self._lock = Lock()
        self._book = LiveBook(ring=_RING)
        self._book.skip_to(first)
        self._refs: dict[str, Ref] = {}
        # Those whom a price is on its way to.
        self._woken: dict[str, Wake] = {}
        self._compact_at = _COMPACT_FROM
        self._told: Quote | None = None
        self._fresh = False
        self.tapes: dict[str, ShardTape] = {}

    # -- the market's side ---------------------------------------------------------------------------------------------

    def play(self, quotes: Sequence[Quote]) -> Iterator[tuple[Ref, Wake]]:
        """Play prices, oldest first, and hand out whom they wake."""
        for start in range(0, len(quotes), _CHUNK):
            with self._lock:
                chunk = quotes[start : start + _CHUNK]
                woken = self._book.play_all(chunk)
                pairs = [(self._refs[wake.key], wake) for wake in woken]
                for wake in woken:
                    self._woken[wake.key] = wake
                self._told, self._fresh = chunk[-1], True
            yield from pairs

    def mark_stale(self) -> None:
        """The latest price is too old to be told to a newcomer."""
        self._fresh = False

    @property
    def size(self) -> int:
        """How many entries its tapes hold."""
        return self._book.size

    def to_save(self, tape: ShardTape) -> StoredTape | None:
        """A shard's tape, as it is to be saved now; None when what is saved says the same, or a save is under way.

        A shard that has no state to ask about a symbol's prices saves none of them.
        """
        with self._lock:
            self._compact()
            signature = self._book.signature
            if tape.saving is not None or signature == tape.signature or not (tape.points or tape.whole):
                return None
            points = None if tape.whole else tape.asked
            tape.saving = self._book.copy(after=tape.after, before=tape.stored, points=points)
            tape.signature = signature
            return tape.saving

    def refused(self, tape: ShardTape) -> None:
        """The copy cannot be saved: another one is made when there is something new."""
        tape.saving = None

    def _compact(self) -> None:
        """Forget what no position asks about any more, whenever the tapes have doubled."""
        if self._book.size >= self._compact_at:
            tapes = self.tapes.values()
            asked = {point for tape in tapes for point in tape.asked}
            # Where nobody knows what will be asked about, nothing is forgotten.
            if not any(tape.whole for tape in tapes):
                self._book.compact(asked | {tape.after for tape in tapes})
            self._compact_at = max(_COMPACT_FROM, 2 * self._book.size)

    def copy(self, tape: ShardTape) -> StoredTape:
        """All that is known for a shard: what it had stored, and what was played since it came."""
        with self._lock:
            self._book.here()
            return self._book.copy(after=tape.after, before=tape.stored)

    # -- the positions' side -------------------------------------------------------------------------------------------

    def register(
        self, key: str, ref: Ref, watch: Watch, since: int | None = None, *, shard: str = "", epoch: int = 0
    ) -> tuple[int, Wake | None]:
        """Wake `ref` on the first price after `since` (None: the present one) that its watch names, and then no more.

        Returns the registration's number, and the price that was played already and matters, if any. An actor of an
        earlier life of its shard is not registered any more: its number is 0.
        """
        with self._lock:
            tape = self.tapes.get(shard)
            if tape is not None and epoch < tape.epoch:
                return 0, None
            self._refs[key] = ref
            serial, wake = self._book.register(key, watch, since)
            if wake is not None:
                self._woken[key] = wake
            elif self._woken:
                self._woken.pop(key, None)
            return serial, wake

    def serial(self, key: str, ref: Ref) -> int:
        """The number of its latest registration, woken or not; 0 where it has none, or another actor has its place."""
        with self._lock:
            return self._book.serial(key) if self._refs.get(key) == ref else 0

    def unregister(self, key: str, ref: Ref) -> None:
        """Wake it no more, unless another actor has taken its place."""
        with self._lock:
            if self._refs.get(key) == ref:
                del self._refs[key]
                self._woken.pop(key, None)
                self._book.unregister(key)

    def end(self, shard: str, key: str) -> None:
        """A position has ended: its saved state asks for nothing any more."""
        tape = self.tapes.get(shard)
        if tape is not None:
            with self._lock:
                tape.answered(key, None)

    def forget(self, key: str) -> None:
        """Wake nobody under this name."""
        with self._lock:
            if self._refs.pop(key, None) is not None:
                self._woken.pop(key, None)
                self._book.unregister(key)

    def fold(self, key: str, ref: Ref) -> tuple[Missed, int] | None:
        """What the position has missed up to now, and how far that is; None while a price is on its way to it.

        An actor of a former life is told nothing: its successor would never hear of what it takes.
        """
        with self._lock:
            missed = self._book.fold(key) if self._refs.get(key) == ref else None
            return None if missed is None else (missed, self._book.point(key))

    def on_the_way(self, key: str, ref: Ref) -> Missed | None:
        """What the price that is on its way to it will tell of its extremes; None where there is none."""
        with self._lock:
            wake = self._woken.get(key) if self._refs.get(key) == ref else None
            return None if wake is None else wake.missed

    def present(self) -> int:
        """The present sequence, as a point."""
        with self._lock:
            return self._book.here()

    def look(self, shard: str, seen: int, source: str) -> tuple[Quote | None, int, Missed]:
        """Of one moment: the latest price as it was told (None when there is none that is fresh), its sequence, and
        what a source did after `seen`, as far as that was since the shard came to this desk.
        """
        with self._lock:
            tape = self.tapes.get(shard)
            missed = self._book.missed_since(max(seen, tape.after if tape is not None else 0), source)
            return (self._told if self._fresh else None), self._book.here(), missed

    def come_back(self, shard: str, key: str, stored: int, seen: int, source: str) -> tuple[Quote | None, int, Missed]:
        """As `saving` of a stored state that had seen `stored`, and `look` from `seen` on, of one moment. What has seen
        that moment is about to be shown.
        """
        with self._lock:
            book, tape = self._book, self.tapes.get(shard)
            here = book.here()
            if tape is not None:
                for point in (stored, seen, here):
                    tape.ask(key, point)
                if stored < here:
                    # A copy that was made since does not answer for this one.
                    tape.signature = ()
                seen = max(seen, tape.after)
            return (self._told if self._fresh else None), here, book.missed_since(seen, source)

    # -- durability ----------------------------------------------------------------------------------------------------

    def join(
        self,
        shard: str,
        epoch: int,
        stored: StoredTape | None,
        highest: int,
        points: dict[str, list[int]],
        *,
        whole: bool = False,
    ) -> None:
        """A shard's positions come, with the tape that was stored for them and what each has seen of it.

        Every price from now on has a higher number than `highest`, the highest that the shard has recorded.
        """
        with self._lock:
            if self._book.sequence <= highest:
                self._book.skip_to(highest + 1)
            self.tapes[shard] = ShardTape(
                epoch=epoch,
                after=self._book.here(),
                stored=stored,
                durable=stored,
                signature=self._book.signature,
                points=points,
                whole=whole,
            )

    def saving(self, shard: str, key: str, seen: int) -> None:
        """A state that has seen the prices up to here is about to be saved: what came after must stay on the tape."""
        tape = self.tapes.get(shard)
        if tape is not None:
            with self._lock:
                tape.ask(key, seen)
                if seen < self._book.sequence:
                    # A copy that was made since does not answer for this one.
                    tape.signature = ()

    def acknowledged(self, shard: str, key: str, seen: int) -> None:
        """This state is what a crash would leave: older ones are not asked about any more."""
        tape = self.tapes.get(shard)
        if tape is not None:
            with self._lock:
                tape.answered(key, seen)

    def saved(self, shard: str, epoch: int, sequence: int) -> None:
        """A copy of the tape is durable."""
        tape = self.tapes.get(shard)
        if tape is not None and tape.epoch == epoch and tape.saving is not None and tape.saving.sequence == sequence:
            tape.durable, tape.saving = tape.saving, None

    def as_saved(self, position: Position, shard: str) -> Position:
        """A published position with the extremes that the durable tape has beyond it."""
        tape = self.tapes.get(shard)
        if tape is None or tape.durable is None or tape.durable.sequence <= position.seen:
            return position
        return catch_up(position, missed_of(position, tape.durable))


def missed_of(position: Position, tape: StoredTape) -> Missed:
    """What a stored tape has beyond a stored position."""
    return tape.missed("", position.seen, stop_source_of(position.plan.stop_source, position.side))
