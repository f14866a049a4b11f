"""What the persistence actor remembers of one shard: what waits to be saved, and what is known to be stored. No I/O."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from persistence.failure_log import SETTLED, SPILLED, Failure, GrewFrom
from persistence.messages import Ref, Save
from persistence.store import Change, Loaded, Snapshot, SnapshotCorrupt, StaleOwner
from persistence.tape_queue import TapeQueue

_CLOSED_REMEMBERED = 1_000

SOFT_LIMIT = 100
"""How many soft states travel in one batch: what is decided meanwhile waits for that batch to end.

On a machine that does nothing else a hundred take 2 to 3 ms, five hundred 10 to 15, and each costs nearly the same.
"""


@dataclass(slots=True)
class Waiting:
    """The newest unsaved state of one position, and the audit lines of every change since the last save."""

    save: Save
    events: tuple[Mapping[str, object], ...]
    closed: bool
    soft: bool = False
    spilled: bool = False


@dataclass(slots=True)
class Known:
    """What is stored of one position. `sender` and `change` name the Save it came from, if it came through here.

    There is one for each position of the shard, so a save changes it in place.
    """

    version: int
    epoch: int
    write_id: str
    sender: str = ""
    change: int = 0


@dataclass(slots=True)
class ShardBook:
    """One shard that is ours. A batch stays frozen until it is settled, so that a doubtful one is repeated exactly."""

    shard: str
    epoch: int
    taker: Ref
    deadline: float
    announced: bool = False
    lost: bool = False
    waiting: dict[str, Waiting] = field(default_factory=dict)
    soft: dict[str, Waiting] = field(default_factory=dict)
    tapes: TapeQueue = field(default_factory=TapeQueue)
    batch: dict[str, Waiting] = field(default_factory=dict)
    batch_changes: tuple[Change, ...] = ()
    doubt_reported: bool = False
    unrecorded: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    spilled: set[str] = field(default_factory=set)
    closed: "OrderedDict[str, None]" = field(default_factory=OrderedDict)

    @property
    def urgent(self) -> bool:
        """Whether a position waits in which something was decided, or a batch that is not settled."""
        return bool(self.waiting or self.batch or self.tapes.batch)

    @property
    def unsaved(self) -> bool:
        """Whether a position waits, or a batch that is not settled."""
        return self.urgent or bool(self.soft)

    def holds(self, position_id: str) -> bool:
        """Whether this position waits."""
        return any(position_id in found for found in (self.batch, self.waiting, self.soft))

    def add(self, save: Save) -> None:
        """Take a save in: the newest state wins, no event is dropped, closed stays closed, decided stays decided."""
        name = save.position_id
        before = self.waiting.get(name)
        soft = save.soft and before is None
        if before is None:
            before = self.soft.get(name) if soft else self.soft.pop(name, None)
        entry = Waiting(save, tuple(save.events), save.closed, soft)
        (self.soft if soft else self.waiting)[name] = entry if before is None else _under(before, entry)

    def freeze(self, limit: int, foresee: Callable[[str, Sequence[str]], None] | None = None) -> Sequence[Change]:
        """The next batch: the one that is still open, or those that have waited longest, the decided ones first.

        `foresee` is told shard and positions of a new batch before their states are made (see Foreseeing).
        """
        if not self.batch and not self.tapes.batch:
            self.batch = _first(self.waiting, limit)
            self.batch |= _first(self.soft, min(limit - len(self.batch), SOFT_LIMIT))
            if foresee is not None and self.batch:
                foresee(self.shard, list(self.batch))
            self.batch_changes = tuple(map(self._change, self.batch.values()))
            self.tapes.freeze()
        return self.batch_changes

    def thaw(self) -> None:
        """The batch was definitely not saved: it waits again, under whatever came in the meantime."""
        queues: tuple[dict[str, Waiting], dict[str, Waiting]] = ({}, {})
        for name, entry in self.batch.items():
            newer = self.waiting.pop(name, None) or self.soft.pop(name, None)
            merged = entry if newer is None else _under(entry, newer)
            queues[merged.soft][name] = merged
        self.waiting, self.soft = queues[False] | self.waiting, queues[True] | self.soft
        self.tapes.thaw()
        self._end_batch()

    def finish(self, saved: Mapping[str, Snapshot]) -> Mapping[str, Waiting]:
        """The batch was settled: what is stored is known, and the batch is handed back to be answered."""
        finished = self.batch
        all_known = self.known
        for name, snapshot in saved.items():
            entry = finished[name]
            save, known = entry.save, all_known.get(name)
            if known is None:
                known = all_known[name] = Known(0, 0, "")
            known.version, known.epoch, known.write_id = snapshot.version, snapshot.epoch, snapshot.write_id
            known.sender, known.change = save.reply_to.actor_urn, save.change
            if entry.closed or self.closed:
                self._remember_closed(name, entry.closed)
        self._end_batch()
        return finished

    def learn(self, loaded: Loaded) -> None:
        """What a load found is known."""
        for snapshot in loaded.snapshots:
            self.learn_one(snapshot)

    def learn_one(self, snapshot: Snapshot) -> None:
        """What a read found is known; what came through here keeps its sender, whose next save may be on its way."""
        before = self.known.get(snapshot.position_id)
        if before is None or (before.version, before.write_id) != (snapshot.version, snapshot.write_id):
            # The text of a write id is one for all that were written together, and for all that are loaded from it.
            write_id = sys.intern(snapshot.write_id)
            self.known[snapshot.position_id] = Known(snapshot.version, snapshot.epoch, write_id)

    def abandon(self) -> list[Waiting]:
        """Give up everything that waits, oldest first."""
        entries = [*self.batch.values(), *self.waiting.values(), *self.soft.values()]
        self.waiting, self.soft = {}, {}
        self.tapes.abandon()
        self._end_batch()
        return entries

    def new_spills(self, error: Exception) -> Iterator[Failure]:
        """Everything that waits and was not spilled yet, once per position and change that was decided.

        Of the soft ones the first: an outage of an hour would otherwise fill the log with extremes, until it lets go of
        what was decided at its beginning.
        """
        for entry in [*self.batch.values(), *self.waiting.values(), *self.soft.values()]:
            if not entry.spilled:
                entry.spilled = True
                self.spilled.add(entry.save.position_id)
                yield self.failure(SPILLED, entry, error)

    def settled_spills(self, saved: Mapping[str, Snapshot]) -> Iterator[Failure]:
        """Lines that take back the spills of these positions: what was spilled is saved, and must never be replayed."""
        for name in saved:
            if name in self.spilled and name not in self.waiting and name not in self.soft:
                self.spilled.discard(name)
                yield Failure(kind=SETTLED, shard=self.shard, epoch=self.epoch, error="", position_id=name)

    def failure(self, kind: str, entry: Waiting, error: Exception, cause: str | None = None) -> Failure:
        """A line for the failure log, with the state that was to be saved."""
        save = entry.save
        known = self.known.get(save.position_id)
        grew_from = None
        if save.grew_from == 0 and known is None:
            grew_from = GrewFrom(epoch=0, version=0, write_id="")
        elif known is not None and known.version == self._base(save):
            grew_from = GrewFrom(epoch=known.epoch, version=known.version, write_id=known.write_id)
        return Failure(
            kind=kind,
            shard=self.shard,
            epoch=self.epoch,
            error=str(error),
            position_id=save.position_id,
            change=save.change,
            schema=save.schema,
            grew_from=grew_from,
            state=save.plain,
            events=entry.events,
            closed=entry.closed,
            cause=str(getattr(error, "outage", "")) if cause is None else cause,
        )

    def unreadable(self, error: SnapshotCorrupt) -> StaleOwner:
        """The error for a fence that cannot be read: whoever owns the shard, this keeper cannot prove that it does."""
        return StaleOwner(str(error), shard=self.shard, epoch=self.epoch)

    def _change(self, entry: Waiting) -> Change:
        save = entry.save
        return Change(
            position_id=save.position_id,
            schema=save.schema,
            grew_from=self._base(save),
            state=save.plain,
            events=entry.events,
            closed=entry.closed,
        )

    def _base(self, save: Save) -> int:
        """The version this save grows from: one that the same sender was not told of yet counts.

        Only its own: a position actor that was respawned from an older snapshot must get its conflict.
        """
        known = self.known.get(save.position_id)
        if known is None or save.change <= known.change or known.sender != save.reply_to.actor_urn:
            return save.grew_from
        return max(save.grew_from, known.version)

    def _remember_closed(self, name: str, closed: bool) -> None:
        # Late fills may still be saved to a closed position; a thousand of them later nobody will.
        self.closed.pop(name, None)
        if closed:
            self.closed[name] = None
            if len(self.closed) > _CLOSED_REMEMBERED:
                oldest, _ = self.closed.popitem(last=False)
                self.known.pop(oldest, None)

    def _end_batch(self) -> None:
        self.batch, self.batch_changes = {}, ()
        self.doubt_reported = False


def _first(queue: dict[str, Waiting], limit: int) -> dict[str, Waiting]:
    """Those that have waited longest, taken out."""
    if len(queue) <= limit:
        taken = dict(queue)
        queue.clear()
        return taken
    return {name: queue.pop(name) for name in list(islice(queue, limit))}


def _under(entry: Waiting, newer: Waiting) -> Waiting:
    spilled = newer.spilled or (newer.save.soft and entry.spilled)
    return Waiting(
        newer.save, entry.events + newer.events, entry.closed or newer.closed, entry.soft and newer.soft, spilled
    )


def applies(spill: Failure, stored: Snapshot | None, first_epoch: int, epoch: int) -> bool:
    """Whether a spilled state may be taken up again: exactly what it grew from is stored, and nobody owned it since.

    `first_epoch` is the epoch before the first of this process's unbroken run of epochs, `epoch` the present one. A
    spill that is not older than the present epoch tells of a Redis that was emptied or set back.
    """
    if spill.grew_from is None or not first_epoch <= spill.epoch < epoch:
        return False
    if stored is None:
        return spill.grew_from == GrewFrom(epoch=0, version=0, write_id="")
    return spill.grew_from == GrewFrom(epoch=stored.epoch, version=stored.version, write_id=stored.write_id)


def outlived(spill: Failure, stored: Snapshot | None, first_epoch: int, epoch: int) -> bool:
    """Whether a spill that does not apply never will. One that is ahead of the store may, once Redis is restored."""
    if spill.epoch >= epoch:
        return False
    if spill.epoch < first_epoch:
        return True
    return stored is not None and (spill.grew_from is None or stored.version >= spill.grew_from.version)
