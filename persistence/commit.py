"""How a save is driven: read, merge, write, verify, and after any doubt settle first.

    NotSent     nothing left, or the server refused it before it ran anything: try again
    Doubtful    it may have been applied: settle before concluding anything

One loop for every store, over four steps that each store brings. Nothing is declared unsaved before the fence was moved
on over a new connection, because until then a transaction still under way on the old one could yet be applied.

Trouble that lasts (no answer in time, a server that loads, takes no writes, is full) is not tried again here: the
caller hears of it at once, so that its mailbox is not kept waiting, and tries again with back-off.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from persistence.batch import Batch, Rules, merge, remember
from persistence.store import Change, Fence, Outage, Outcome, Snapshot, SnapshotUnknown, StaleOwner, StoreUnreachable

ATTEMPTS = 5
"""How often a save, or the settling of one, is tried before the caller hears of it."""

_TAKES_REMEMBERED = 100


class Trouble(Exception):
    """A step that failed; `outage` says why."""

    def __init__(self, message: str, outage: Outage = Outage.OTHER) -> None:
        super().__init__(message)
        self.outage = outage


class NotSent(Trouble):
    """Definite: nothing of the transaction left, or the server refused all of it."""


class Doubtful(Trouble):
    """The transaction left, and its end is not known or not as meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Why lines of the record (the audit trail, the history), and why tapes were refused; empty where none were."""

    lines: str = ""
    tapes: str = ""


class CommittingStore(ABC):
    """The save loop. Remembers a batch that could not be settled until it is given again."""

    def __init__(
        self,
        *,
        newest_schema: int,
        known_fields: Collection[str] | None = None,
        new_write_id: Callable[[], str] | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        known = None if known_fields is None else frozenset(known_fields)
        self._rules = Rules(newest_schema=newest_schema, known_fields=known)
        self._new_write_id = new_write_id or _random_write_id
        self._attempts = attempts
        self._unsettled: dict[str, Batch] = {}
        # By shard: the epoch, and what was stored under it and seen so, of each position that is open.
        self._remembered: dict[str, tuple[int, dict[str, int]]] = {}
        # By shard: the same of what was loaded, for the epoch under which it is first saved.
        self._loaded: dict[str, dict[str, int]] = {}
        # Takes that may have been applied unheard, by shard and owner. Their write ids make them unmistakable.
        self._begun: dict[tuple[str, str], list[Fence]] = {}

    def save(
        self, shard: str, epoch: int, changes: Sequence[Change], tapes: Mapping[str, bytes] | None = None
    ) -> Outcome:
        """See Store.save. After SnapshotUnknown, give the same changes again: they are settled first, never doubled."""
        names = [change.position_id for change in changes]
        if len(set(names)) != len(names):
            raise ValueError(f"one batch holds a position twice: {sorted(names)}")
        settled = self._settle_earlier(shard, epoch, tuple(changes))
        if settled is not None:
            return self._settled(shard, settled, tapes)
        trouble = Trouble("never tried")
        for _ in range(self._attempts):
            try:
                fence, stored = self._begin(shard, names)
            except NotSent as error:
                trouble = error
                self._reset()
                if error.outage.lasts:
                    break
                continue
            if fence.epoch != epoch:
                self._remembered.pop(shard, None)
                self._abandon()
                raise stale_owner(shard, epoch, fence.epoch)
            batch = merge(
                fence,
                self._new_write_id(),
                changes,
                stored,
                tapes=tapes or {},
                rules=self._rules,
                remembered=self._known(shard, epoch),
            )
            if batch.empty:
                self._abandon()
                return batch.outcome
            try:
                refused = self._commit(shard, batch) or Refusals()
            except NotSent as error:
                trouble = error
                self._reset()
                if error.outage.lasts:
                    break
                continue
            except Doubtful as error:
                trouble = error
                if self._settle_bounded(shard, epoch, batch):
                    return self._settled(shard, batch, tapes)
                continue
            self._remember(shard, batch)
            return replace(batch.outcome, unrecorded=refused.lines, unsaved_tapes=refused.tapes)
        raise StoreUnreachable(f"nothing was saved for shard {shard}: {trouble}", outage=trouble.outage)

    def _settle_earlier(self, shard: str, epoch: int, changes: tuple[Change, ...]) -> Batch | None:
        earlier = self._unsettled.get(shard)
        if earlier is None or not self._settle_bounded(shard, epoch, earlier):
            return None
        # Given something else, the loop goes on and finds the versions that the settled batch left.
        return earlier if earlier.changes == changes else None

    def _settled(self, shard: str, batch: Batch, tapes: Mapping[str, bytes] | None) -> Outcome:
        """What a batch that was looked for and found means: of tapes nothing, they bear no name to be found by."""
        self._remember(shard, batch)
        return replace(batch.outcome, unsaved_tapes="whether they were saved was not looked for" if tapes else "")

    def _known(self, shard: str, epoch: int) -> dict[str, int]:
        """What is remembered under this epoch. Under another one somebody else may have been here."""
        found = self._remembered.get(shard)
        if found is None or found[0] != epoch:
            found = self._remembered[shard] = (epoch, self._loaded.pop(shard, {}))
        return found[1]

    def _remember_loaded(self, shard: str, snapshots: Sequence[Snapshot], stored: Mapping[str, bytes | None]) -> None:
        """What a load has read of open positions need not be read again before the first save of each.

        Their bytes say all that a save asks, whoever wrote them; and whatever changes one of them changes its bytes.
        """
        known = self._rules.known_fields
        self._loaded[shard] = {
            snapshot.position_id: remember(snapshot.version, raw)
            for snapshot in snapshots
            if (raw := stored[snapshot.position_id]) is not None and (known is None or known.issuperset(snapshot.state))
        }

    def _remember(self, shard: str, batch: Batch) -> None:
        known = self._known(shard, batch.epoch)
        if len(batch.remembered) != len(batch.values):
            for name in batch.values:
                known.pop(name, None)
        known.update(batch.remembered)

    def _settle_bounded(self, shard: str, epoch: int, batch: Batch) -> bool:
        """Whether the batch was saved. Raises StaleOwner, SnapshotUnknown."""
        # It is remembered before it is looked into, so that no way out of here forgets an open doubt.
        self._unsettled[shard] = batch
        trouble = Trouble("never tried")
        for _ in range(self._attempts):
            self._reset()
            try:
                fence, saved = self._settle(shard, batch)
            except (NotSent, Doubtful) as error:
                trouble = error
                if error.outage.lasts:
                    break
                continue
            del self._unsettled[shard]
            if fence.epoch != epoch:
                raise stale_owner(shard, epoch, fence.epoch)
            return saved
        message = f"shard {shard}: whether write {batch.write_id} was saved could not be settled: {trouble}"
        raise SnapshotUnknown(message, outage=trouble.outage)

    def _next_take(self, shard: str, owner: str, fence: Fence) -> Fence:
        """The fence that a take writes over this one: a higher epoch, unless this one is our own, taken unheard."""
        begun = self._begun.get((shard, owner), [])
        ours = fence in begun
        meant = Fence(
            epoch=fence.epoch if ours else fence.epoch + 1,
            revision=fence.revision + 1,
            write_id=self._new_write_id(),
        )
        # Those before one that was applied watched an older fence, and can no longer be.
        self._begun[shard, owner] = [*([fence] if ours else begun[-_TAKES_REMEMBERED:]), meant]
        return meant

    @abstractmethod
    def _begin(self, shard: str, names: Sequence[str]) -> tuple[Fence, Mapping[str, bytes | None]]:
        """Watch and read the fence, read the positions. Raises NotSent."""

    @abstractmethod
    def _abandon(self) -> None:
        """Stop watching; nothing will be written."""

    @abstractmethod
    def _commit(self, shard: str, batch: Batch) -> Refusals | None:
        """Apply the batch if the fence has not moved, read it back and compare.

        Returns what the server refused of that which guards no position, None for nothing. Raises NotSent when the
        server discarded it before it ran anything, Doubtful in every other case.
        """

    @abstractmethod
    def _settle(self, shard: str, batch: Batch) -> tuple[Fence, bool]:
        """Move the fence on, then look: the fence, and whether the batch is what is stored. Raises as above."""

    @abstractmethod
    def _reset(self) -> None:
        """Drop the connection; the next step makes a new one."""


def stale_owner(shard: str, mine: int, found: int) -> StaleOwner:
    """The error for an epoch that is not the fence's."""
    if found > mine:
        message = f"shard {shard} has a newer owner (epoch {found}, this one holds {mine}): this one stops acting on it"
    else:
        message = (
            f"the store knows shard {shard} only up to epoch {found}, this owner holds {mine}: "
            "was Redis emptied, or restored from an older copy?"
        )
    return StaleOwner(message, shard=shard, epoch=found)


def _random_write_id() -> str:
    return uuid4().hex
