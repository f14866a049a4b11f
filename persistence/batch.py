"""Merge: from what is stored and what is asked, the bytes of one transaction. Pure, and the same for every store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from persistence.codec import decode_snapshot, encode_event, encode_fence, encode_snapshot
from persistence.store import Change, Fence, Outcome, Snapshot, SnapshotConflict, SnapshotCorrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One audit line, ready to be appended."""

    position_id: str
    version: int
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One transaction, ready to be sent, and what it means for its sender once it was applied.

    `listed` are the positions that are known to be among the open ones already. `remembered` is what a writer may know
    of these positions once it saw that they are stored.
    """

    epoch: int
    write_id: str
    fence: bytes
    changes: tuple[Change, ...]
    values: Mapping[str, bytes]
    closed: frozenset[str]
    listed: Collection[str]
    remembered: Mapping[str, int]
    lines: Sequence[Line]
    tapes: Mapping[str, bytes]
    outcome: Outcome

    @property
    def empty(self) -> bool:
        """Nothing would be written."""
        return not self.values and not self.tapes

    @property
    def moving(self) -> list[str]:
        """The positions that join the open ones, or leave them."""
        return [name for name in self.values if name not in self.listed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a release knows: the newest schema it reads, and the top-level names of its states (None: all names)."""

    newest_schema: int
    known_fields: frozenset[str] | None = None


_HASH_BITS = 64
_HASH_MASK = 2**_HASH_BITS - 1


def remember(version: int, raw: bytes) -> int:
    """What a writer keeps of a value that it saw stored: its version, and the keyed hash of its bytes."""
    token: int = version << _HASH_BITS | hash(raw) & _HASH_MASK
    return token


def merge(
    fence: Fence,
    write_id: str,
    changes: Sequence[Change],
    stored: Mapping[str, bytes | None],
    *,
    tapes: Mapping[str, bytes],
    rules: Rules,
    remembered: Mapping[str, int] | None = None,
) -> Batch:
    """Grow each change from what is stored; whoever does not fit is dropped alone, into the outcome's conflicts.

    `remembered`: what this very writer stored under this very epoch, by position. Bytes that are still those need not
    be read again, and the position is known to be listed as open.
    """
    values: dict[str, bytes] = {}
    saved: dict[str, Snapshot] = {}
    conflicts: dict[str, SnapshotConflict | SnapshotCorrupt] = {}
    lines: list[Line] = []
    closed: set[str] = set()
    listed: set[str] = set()
    newly: dict[str, int] = {}
    known = remembered or {}
    epoch = fence.epoch
    for change in changes:
        name = change.position_id
        before = stored.get(name)
        own = known.get(name)
        # The bytes that we wrote and saw stored: read once, and without a field that is not ours.
        same = own is not None and before is not None and own & _HASH_MASK == hash(before) & _HASH_MASK
        try:
            if same and own is not None:
                version, carried = own >> _HASH_BITS, _NOTHING
            else:
                version, carried = _read(change, before, rules)
            snapshot = _grow(change, version, carried, epoch, write_id)
            raw = encode_snapshot(snapshot)
            events = [encode_event(name, event) for event in change.events] if change.events else _NO_EVENTS
        except (SnapshotConflict, SnapshotCorrupt) as error:
            conflicts[name] = error
            continue
        values[name] = raw
        saved[name] = snapshot
        if events:
            lines += (Line(position_id=name, version=snapshot.version, event=event) for event in events)
        if change.closed:
            closed.add(name)
            continue
        if same:
            listed.add(name)
        if not carried and _all_known(change, rules):
            newly[name] = remember(snapshot.version, raw)
    after = Fence(epoch=fence.epoch, revision=fence.revision + 1, write_id=write_id)
    return Batch(
        epoch=fence.epoch,
        write_id=write_id,
        fence=encode_fence(after),
        changes=tuple(changes),
        values=values,
        closed=frozenset(closed),
        listed=listed,
        remembered=newly,
        lines=lines,
        tapes=dict(tapes),
        outcome=Outcome(saved=saved, conflicts=conflicts),
    )


def bare_revision(fence: Fence) -> Fence:
    """The fence moved on, and nothing else: whatever was watching it fails. The last commit keeps its name."""
    return replace(fence, revision=fence.revision + 1)


_NOTHING: Mapping[str, Any] = {}
_NO_EVENTS: list[bytes] = []


def _read(change: Change, raw: bytes | None, rules: Rules) -> tuple[int, Mapping[str, Any]]:
    """The version that is stored, and those of its fields that a newer release wrote."""
    if raw is None:
        return 0, _NOTHING
    # A snapshot that this release cannot read is never overwritten: decoding raises, and the change is dropped.
    before = decode_snapshot(change.position_id, raw, rules.newest_schema)
    known = rules.known_fields
    if known is None or known.issuperset(before.state):
        return before.version, _NOTHING
    return before.version, {key: value for key, value in before.state.items() if key not in known}


def _all_known(change: Change, rules: Rules) -> bool:
    """Whether the next save may grow from this state without reading it: it has nothing that would be carried over."""
    known = rules.known_fields
    return change.schema <= rules.newest_schema and (known is None or known.issuperset(change.state))


def _grow(change: Change, version: int, carried: Mapping[str, Any], epoch: int, write_id: str) -> Snapshot:
    name = change.position_id
    if version != change.grew_from:
        message = (
            f"position {name} was not saved: it grew from version {change.grew_from}, and version {version} is stored"
        )
        raise SnapshotConflict(message, position_id=name, stored_version=version)
    return Snapshot(
        position_id=name,
        schema=change.schema,
        version=version + 1,
        epoch=epoch,
        write_id=write_id,
        state={**carried, **change.state} if carried else change.state,
    )
