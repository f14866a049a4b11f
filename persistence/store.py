"""The store's port: what is kept for a shard, and what a caller may conclude when keeping it fails.

    SnapshotError
    ├── SnapshotConflict   definite: this snapshot was not saved, another version is stored
    ├── StaleOwner         definite: nothing was saved, another epoch owns the shard; stop acting
    ├── SnapshotUnknown    it may have been saved; settle it before concluding anything
    └── SnapshotCorrupt    what is stored cannot be read; quarantine, never overwrite

    LeaseHeld              another owner's lease is alive (not an error of a save)
    StoreUnreachable       nothing was sent: the store could not be reached at all

The store knows ids, versions, epochs and bytes; nothing about trading. All calls block and belong on one thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Outage(StrEnum):
    """Why a store does not do its work. persistence/words.py says each of them in words."""

    REFUSED = "refused"
    """Nothing listens where it should be."""
    SILENT = "silent"
    """It took the connection or the request and did not answer in time."""
    CUT = "cut"
    """The connection broke."""
    LOADING = "loading"
    """It reads its data after a restart."""
    READ_ONLY = "read_only"
    """It is a copy that takes no writes."""
    DISK = "disk"
    """It cannot write its own disk, and takes no writes until it can."""
    MEMORY = "memory"
    """It is at its memory limit."""
    LOGIN = "login"
    """It does not accept the user, the password or what they may do."""
    OWN_SERVER = "own_server"
    """The embedded server cannot be started."""
    NO_PRIMARY = "no_primary"
    """No Sentinel names a primary."""
    CLUSTER_DOWN = "cluster_down"
    """The Cluster does not serve these keys now."""
    MOVING = "moving"
    """The Cluster moves these keys to another of its nodes."""
    OTHER = "other"

    @property
    def lasts(self) -> bool:
        """Whether asking again at once would only wait for the same answer."""
        return self not in (Outage.CUT, Outage.MOVING, Outage.OTHER)


class SnapshotError(Exception):
    """Base of what can go wrong with a snapshot."""


class SnapshotConflict(SnapshotError):
    """Definite: not saved. `stored_version` is what the store holds (0: nothing)."""

    def __init__(self, message: str, *, position_id: str, stored_version: int) -> None:
        super().__init__(message)
        self.position_id = position_id
        self.stored_version = stored_version


class StaleOwner(SnapshotError):
    """Definite: not saved, and another epoch owns the shard. The former owner stops acting."""

    def __init__(self, message: str, *, shard: str, epoch: int) -> None:
        super().__init__(message)
        self.shard = shard
        self.epoch = epoch


class SnapshotUnknown(SnapshotError):
    """It may or may not have been saved; `outage` says what keeps it from being settled."""

    def __init__(self, message: str, *, outage: Outage = Outage.OTHER) -> None:
        super().__init__(message)
        self.outage = outage


class SnapshotCorrupt(SnapshotError):
    """Stored bytes that cannot be read, or of a newer schema than this release knows."""

    def __init__(self, message: str, *, position_id: str) -> None:
        super().__init__(message)
        self.position_id = position_id


class LeaseHeld(Exception):
    """The shard's lease is alive and somebody else's. `remaining_seconds` tells how long at most."""

    def __init__(self, message: str, *, shard: str, owner: str, remaining_seconds: float) -> None:
        super().__init__(message)
        self.shard = shard
        self.owner = owner
        self.remaining_seconds = remaining_seconds


class StoreUnreachable(Exception):
    """The store could not be asked, or refused to write; nothing was changed. `outage` says why."""

    def __init__(self, message: str, *, outage: Outage = Outage.OTHER) -> None:
        super().__init__(message)
        self.outage = outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Who may write a shard: `epoch` counts its owners, `revision` its commits; `write_id` names the last of either."""

    epoch: int
    revision: int
    write_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Since which epoch, up to which, every owner of a shard was known to be the only one: no former one may still act.

    A hint of its own beside the fence: it counts only for the epoch that follows `until`, and where there is none that
    fits, less is taken for granted. `owner` noted it, under the epoch `until`: its lease tells that no more once it has
    run out. Empty where an older release noted it.
    """

    since: int
    until: int
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One position as stored. `version` counts its commits; `state` is a plain dict of schema `schema`."""

    position_id: str
    schema: int
    version: int
    epoch: int
    write_id: str
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one save asks for one position: the whole new state, grown from `grew_from` (0: must not exist yet).

    `events` are lines for the audit trail. With `closed` the position leaves the set of open ones, its final
    snapshot goes to the stream of closed ones, and its key expires after 30 days.
    """

    position_id: str
    schema: int
    grew_from: int
    state: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one save: `saved` with its new snapshot, or dropped alone (`conflicts`).

    `unrecorded`: the positions are saved, and lines of the audit trail or of the history were refused; it says why.
    `unsaved_tapes`: why the tapes are to be given again, which is harmless if they were saved all the same.
    """

    saved: Mapping[str, Snapshot] = field(default_factory=dict)
    conflicts: Mapping[str, SnapshotConflict | SnapshotCorrupt] = field(default_factory=dict)
    unrecorded: str = ""
    unsaved_tapes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Everything of a shard at boot. `corrupt` holds what must be quarantined, by id. `line`: as it was last noted."""

    snapshots: Sequence[Snapshot]
    corrupt: Mapping[str, SnapshotCorrupt]
    closed: Sequence[Snapshot] = ()
    tapes: Mapping[str, bytes] = field(default_factory=dict)
    line: Line | None = None


@runtime_checkable
class Foreseeing(Protocol):
    """A store that can use the time in which the states of a batch are made."""

    def foresee(self, shard: str, position_ids: Sequence[str]) -> None:
        """Exactly these positions are about to be saved, by the next call: begin to read what that will need.

        A hint: never raises, and changes no outcome.
        """


class Store(Protocol):
    """Keeps shards. Implemented by redis_store and memory_store; one contract suite binds both."""

    def take(self, shard: str, owner: str, ttl_seconds: float, *, dead_owner: str | None = None) -> Fence:
        """Take a shard's lease under a higher epoch, lease and fence compared and set together.

        `dead_owner` names a former owner that is proven dead, whose lease need not be waited for. A lease that is our
        own (same owner) is retaken too, always under a higher epoch. A take that was applied while its reply was lost
        is completed by the next call: its epoch, of which nobody was told, begins then. Raises LeaseHeld and
        StoreUnreachable.
        """

    def renew(self, shard: str, owner: str, epoch: int, ttl_seconds: float) -> None:
        """Prolong the lease if owner and epoch still are the shard's. Raises StaleOwner, StoreUnreachable."""

    def release(self, shard: str, owner: str, epoch: int) -> None:
        """Give the lease up, if it is still ours, so that the next owner need not wait. The epoch stays."""

    def lease_owner(self, shard: str) -> str | None:
        """Who holds the shard's lease now, None when nobody does. Raises StoreUnreachable."""

    def fence(self, shard: str) -> Fence:
        """The shard's fence as it is now (all zero when there is none). Raises StoreUnreachable."""

    def line(self, shard: str) -> Line | None:
        """The line of owners as it was last noted. Raises StoreUnreachable."""

    def note_line(self, shard: str, line: Line) -> None:
        """Note the line of owners, for whoever loads the shard next. Raises StoreUnreachable."""

    def save(
        self,
        shard: str,
        epoch: int,
        changes: Sequence[Change],
        tapes: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """Save a batch in one transaction: read, merge, write, verify.

        A stored version other than `grew_from` drops that position alone (in `conflicts`). Doubt is settled inside,
        bounded. Raises StaleOwner (another epoch), SnapshotUnknown (could not be settled), StoreUnreachable (nothing
        was sent).
        """

    def load(self, shard: str, closed_limit: int = 1000) -> Loaded:
        """Read a whole shard: open snapshots, the latest closed ones, tapes. Raises StoreUnreachable."""

    def read(self, shard: str, position_id: str) -> Snapshot | None:
        """Read one snapshot, open or closed. Raises SnapshotCorrupt, StoreUnreachable."""

    def events(self, shard: str, position_id: str, limit: int = 1000) -> Sequence[Mapping[str, Any]]:
        """The audit trail of one position, oldest first."""

    def shards(self) -> Sequence[str]:
        """Every shard that has a fence."""

    def close(self) -> None:
        """Let go of every connection."""
