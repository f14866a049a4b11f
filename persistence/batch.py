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
    """One transaction, ready to be sent, and what it means for its sender once it was applied."""

    epoch: int
    write_id: str
    fence: bytes
    changes: tuple[Change, ...]
    values: Mapping[str, bytes]
    closed: frozenset[str]
    lines: Sequence[Line]
    tapes: Mapping[str, bytes]
    outcome: Outcome

    @property
    def empty(self) -> bool:
        """Nothing would be written."""
        return not self.values and not self.tapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a release knows: the newest schema it reads, and the top-level names of its states (None: all names)."""

    newest_schema: int
    known_fields: Collection[str] | None = None


def merge(
    fence: Fence,
    write_id: str,
    changes: Sequence[Change],
    stored: Mapping[str, bytes | None],
    *,
    tapes: Mapping[str, bytes],
    rules: Rules,
) -> Batch:
    """Grow each change from what is stored; whoever does not fit is dropped alone, into the outcome's conflicts."""
    values: dict[str, bytes] = {}
    saved: dict[str, Snapshot] = {}
    conflicts: dict[str, SnapshotConflict | SnapshotCorrupt] = {}
    lines: list[Line] = []
    closed: set[str] = set()
    for change in changes:
        name = change.position_id
        try:
            snapshot = _grow(change, stored.get(name), fence.epoch, write_id, rules)
            raw = encode_snapshot(snapshot)
            events = [encode_event(name, event) for event in change.events]
        except (SnapshotConflict, SnapshotCorrupt) as error:
            conflicts[name] = error
            continue
        values[name] = raw
        saved[name] = snapshot
        lines += (Line(position_id=name, version=snapshot.version, event=event) for event in events)
        if change.closed:
            closed.add(name)
    after = Fence(epoch=fence.epoch, revision=fence.revision + 1, write_id=write_id)
    return Batch(
        epoch=fence.epoch,
        write_id=write_id,
        fence=encode_fence(after),
        changes=tuple(changes),
        values=values,
        closed=frozenset(closed),
        lines=lines,
        tapes=dict(tapes),
        outcome=Outcome(saved=saved, conflicts=conflicts),
    )


def bare_revision(fence: Fence) -> Fence:
    """The fence moved on, and nothing else: whatever was watching it fails. The last commit keeps its name."""
    return replace(fence, revision=fence.revision + 1)


def _grow(change: Change, raw: bytes | None, epoch: int, write_id: str, rules: Rules) -> Snapshot:
    name = change.position_id
    # A snapshot that this release cannot read is never overwritten: decoding raises, and the change is dropped.
    before = None if raw is None else decode_snapshot(name, raw, rules.newest_schema)
    version = 0 if before is None else before.version
    if version != change.grew_from:
        message = (
            f"position {name} was not saved: it grew from version {change.grew_from}, and version {version} is stored"
        )
        raise SnapshotConflict(message, position_id=name, stored_version=version)
    state: dict[str, Any] = dict(change.state)
    if before is not None and rules.known_fields is not None:
        for key, value in before.state.items():
            if key not in rules.known_fields:
                state.setdefault(key, value)
    return Snapshot(
        position_id=name, schema=change.schema, version=version + 1, epoch=epoch, write_id=write_id, state=state
    )
