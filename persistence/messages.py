"""What other actors tell the PersistenceActor, and what it tells them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pykka

from persistence.store import Loaded, Snapshot

Ref = pykka.ActorRef[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeShard:
    """Take the shard's lease and load it; answered by ShardTaken or ShardRefused. Renewals then go on by themselves.

    When our own lease ran out while the store was out of reach, `reply_to` is told ShardLost (not fenced), and
    ShardTaken again once the shard was retaken under a higher epoch. What waited to be saved in between is then saved
    under the new epoch, before it is loaded: if nobody else owned the shard, the stored versions still match.
    """

    shard: str
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTaken:
    """The shard is ours under `epoch`, and this is what is stored.

    `spills` are the spilled states that still apply, by id, and `spill_schemas` the schemas they were written in. One
    whose id is not among the loaded was a new position. `takeover`: a former owner may still be alive; it is neither
    proven dead nor this process itself. `unbroken_since`: from this epoch on every owner was the only one; who saved
    last before it may still be alive.
    """

    shard: str
    epoch: int
    loaded: Loaded
    spills: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spill_schemas: Mapping[str, int] = field(default_factory=dict)
    takeover: bool = False
    unbroken_since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRefused:
    """Not taken now: somebody else's lease, or an unreachable store. `retry_seconds` says when to ask again."""

    shard: str
    message: str
    retry_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLost:
    """Another epoch owns the shard, or our lease ran out: stop acting on it. `fenced` when a higher epoch was seen."""

    shard: str
    epoch: int
    fenced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Save this state; answered by Saved or SaveFailed to `reply_to`.

    Newest state per position wins within one flush: `change` is the sender's own count, and an answer for change n
    covers every change up to n. `grew_from` is the last version the sender saw acknowledged; while an earlier save of
    the same position is under way the actor itself carries the version on. `events` are audit lines, none is dropped.
    `epoch` is the one its sender was started under: a save of a former life is answered StaleOwner.
    `state` may be what makes it: of a position that changes several times within one flush only the last is made.
    `soft`: only extremes moved and nothing was decided. Such a state gives way to those of other positions where
    something was; on top of one that was decided and still waits it is as urgent as that.
    """

    shard: str
    position_id: str
    schema: int
    grew_from: int
    change: int
    state: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    reply_to: Ref
    events: Sequence[Mapping[str, Any]] = ()
    closed: bool = False
    epoch: int | None = None
    soft: bool = False

    @property
    def plain(self) -> Mapping[str, Any]:
        """The state itself."""
        return self.state() if callable(self.state) else self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTapes:
    """Save these tapes, by symbol, with the shard's next group commit; without one by themselves, a moment later.

    A newer tape replaces an older that still waits. Answered by TapesSaved to `reply_to`; a tape that could not be
    saved is kept and tried again, and one of another epoch than the shard's is dropped without an answer. `marks` are
    the sender's own numbers, by symbol.
    """

    shard: str
    tapes: Mapping[str, bytes]
    epoch: int | None = None
    reply_to: Ref | None = None
    marks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapesSaved:
    """Acknowledged, durable, read back: the tapes of these symbols, up to the mark that came with each."""

    shard: str
    epoch: int
    marks: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Acknowledged, durable, read back: all changes up to `change`."""

    position_id: str
    change: int
    version: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFailed:
    """Definitely not saved: `error` is SnapshotConflict, SnapshotCorrupt or StaleOwner. Storage trouble is retried
    inside and never reported as this."""

    position_id: str
    change: int
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSnapshot:
    """Read one stored snapshot; answered by SnapshotRead."""

    shard: str
    position_id: str
    reply_to: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRead:
    """What is stored: a snapshot, None, or the error that reading it raised."""

    position_id: str
    snapshot: Snapshot | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEvents:
    """Read a position's audit trail; the answer is set on `reply` (a pykka future): a sequence, or an exception."""

    shard: str
    position_id: str
    reply: Any
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Flush what waits, give every lease up, then answer by setting True on `reply`."""

    reply: Any


def tell(ref: Ref, message: object) -> None:
    """Tell; a dead receiver is no error, its successor reads what is stored."""
    # No suppress: it is told once for every save, and would cost as much as the telling.
    try:  # noqa: SIM105
        ref.tell(message)
    except pykka.ActorDeadError:
        pass


def tell_failed(save: Save, error: Exception) -> None:
    """Answer a save that was definitely not made."""
    tell(save.reply_to, SaveFailed(position_id=save.position_id, change=save.change, error=error))
