"""Bytes: how snapshots, fences, leases and audit lines are written, and what is refused when they are read.

A snapshot is the MessagePack of `[schema, version, epoch, write id, state]`. Reading is strict: whatever is not exactly
that raises SnapshotCorrupt and nothing else, so that one damaged key quarantines one position and never a shard.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgpack  # type: ignore[import-untyped]
import orjson

from persistence.store import Fence, Line, Snapshot, SnapshotCorrupt

MAX_SNAPSHOT_BYTES = 4 * 1024 * 1024
"""No position comes near this; what is larger is not one of ours."""

_MAX_INTEGER = 2**63 - 1

_PACK = msgpack.Packer(use_bin_type=True, strict_types=True).pack
"""One for all: making one for each state costs a tenth of the packing. It lets go of what it began when it raises."""


_SIMPLE = frozenset((str, int, bool))
_LINE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot. Raises SnapshotCorrupt for a state that could not be read back."""
    state = snapshot.state if type(snapshot.state) is dict else dict(snapshot.state)
    fields = [snapshot.schema, snapshot.version, snapshot.epoch, snapshot.write_id, state]
    try:
        raw: bytes = _PACK(fields)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"the state of position {snapshot.position_id} cannot be stored: {error}"
        raise SnapshotCorrupt(message, position_id=snapshot.position_id) from error
    # No state is ever stored that a later boot could not read.
    counted = _counts(snapshot.schema) and _counts(snapshot.version) and _counts(snapshot.epoch)
    if not (counted and len(raw) <= MAX_SNAPSHOT_BYTES and is_plain(state)):
        decode_snapshot(snapshot.position_id, raw)
    return raw


def is_plain(state: object) -> bool:
    """Whether this is nothing but names, texts, numbers, lists and maps of names, at every depth.

    JSON can hold only that, and says so in a sixth of the time that reading the packed bytes takes. What it refuses
    (bytes, above all) may be readable all the same, so the caller then looks for himself.
    """
    try:
        orjson.dumps(state)
    except (TypeError, RecursionError):
        return False
    return True


def decode_snapshot(position_id: str, raw: bytes, newest_schema: int | None = None) -> Snapshot:
    """The snapshot in these bytes. Raises SnapshotCorrupt, also for a schema above `newest_schema`."""
    fields = _unpack(raw, 5, position_id, f"the snapshot of position {position_id}")
    schema, version, epoch, write_id, state = fields
    if not (_counts(schema) and _counts(version) and _counts(epoch) and isinstance(write_id, str)):
        raise _corrupt(position_id, f"the snapshot of position {position_id}", "its envelope has the wrong types")
    # The library lets only str and bytes be keys, and asking for the type of each in C is six times as fast.
    if not isinstance(state, dict) or bytes in map(type, state):
        raise _corrupt(position_id, f"the snapshot of position {position_id}", "its state is not a map of names")
    if newest_schema is not None and schema > newest_schema:
        message = (
            f"position {position_id} was saved by a newer release (schema {schema}, this one reads up to "
            f"{newest_schema}): start that release again; nothing is overwritten"
        )
        raise SnapshotCorrupt(message, position_id=position_id)
    return Snapshot(
        position_id=position_id, schema=schema, version=version, epoch=epoch, write_id=write_id, state=state
    )


def encode_fence(fence: Fence) -> bytes:
    """The bytes of a fence."""
    raw: bytes = msgpack.packb([fence.epoch, fence.revision, fence.write_id], use_bin_type=True)
    return raw


def decode_fence(shard: str, raw: bytes | None) -> Fence:
    """The fence in these bytes, all zero when there are none. Raises SnapshotCorrupt (with an empty position id)."""
    if raw is None:
        return Fence(epoch=0, revision=0, write_id="")
    epoch, revision, write_id = _unpack(raw, 3, "", f"the fence of shard {shard}")
    if not (_counts(epoch) and _counts(revision) and isinstance(write_id, str)):
        raise _corrupt("", f"the fence of shard {shard}", "it has the wrong types")
    return Fence(epoch=epoch, revision=revision, write_id=write_id)


def encode_lease(owner: str, epoch: int) -> bytes:
    """The bytes of a lease: who holds it, under which epoch."""
    raw: bytes = msgpack.packb([owner, epoch], use_bin_type=True)
    return raw


def decode_lease(shard: str, raw: bytes) -> tuple[str, int]:
    """Owner and epoch of a lease. Raises SnapshotCorrupt (with an empty position id)."""
    owner, epoch = _unpack(raw, 2, "", f"the lease of shard {shard}")
    if not (isinstance(owner, str) and _counts(epoch)):
        raise _corrupt("", f"the lease of shard {shard}", "it has the wrong types")
    return owner, epoch


def encode_line(line: Line) -> bytes:
    """The bytes of a line of owners."""
    raw: bytes = msgpack.packb([line.since, line.until, line.owner], use_bin_type=True)
    return raw


def decode_line(shard: str, raw: bytes | None) -> Line | None:
    """The line in these bytes; None where there is none, or none that can be read: it is a hint, and guards nothing."""
    if raw is None:
        return None
    what = f"the line of shard {shard}"
    try:
        since, until, owner = _unpack(raw, 3, "", what)
    except SnapshotCorrupt:
        try:
            # As an older release noted it.
            (since, until), owner = _unpack(raw, 2, "", what), ""
        except SnapshotCorrupt:
            return None
    fits = _counts(since) and _counts(until) and since <= until and isinstance(owner, str)
    return Line(since=since, until=until, owner=owner) if fits else None


def encode_event(position_id: str, event: Mapping[str, Any]) -> bytes:
    """One audit line, as JSON: it is also read by people. Raises SnapshotCorrupt when it holds what JSON cannot."""
    try:
        # Texts and whole numbers are written alike by both, to the byte, and by this one in a quarter of the time.
        if all(map(_is_simple, event.values())):
            return orjson.dumps(event)
    except TypeError:
        # The other one says what is wrong with it, and knows how to write more.
        pass
    try:
        return _LINE(dict(event)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = f"an audit event of position {position_id} cannot be stored: {error}"
        raise SnapshotCorrupt(message, position_id=position_id) from error


def _is_simple(value: object) -> bool:
    if type(value) is dict:
        return _SIMPLE.issuperset(map(type, value.values()))
    return type(value) in _SIMPLE


def decode_event(raw: bytes) -> dict[str, Any]:
    """One audit line; bytes that are none come back as `{"unreadable": …}`, because a trail is read for evidence."""
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"unreadable": raw.decode("utf-8", "replace")}


def _unpack(raw: bytes, length: int, position_id: str, what: str) -> list[Any]:
    if len(raw) > MAX_SNAPSHOT_BYTES:
        raise _corrupt(position_id, what, f"it has {len(raw)} bytes")
    try:
        fields = msgpack.unpackb(raw, raw=False, strict_map_key=True, use_list=True, unicode_errors="strict")
    # The library's errors have no common base (ValueError, StackError, ExtraData, UnicodeDecodeError, RecursionError,
    # OverflowError for a timestamp out of range), and a new one must not take a whole shard down at boot.
    except Exception as error:
        raise _corrupt(position_id, what, str(error) or type(error).__name__) from error
    if not isinstance(fields, list) or len(fields) != length:
        raise _corrupt(position_id, what, f"it is not a list of {length}")
    return fields


def _counts(value: object) -> bool:
    # bool is an int to Python; a version of True is not a version.
    return type(value) is int and 0 <= value <= _MAX_INTEGER


def _corrupt(position_id: str, what: str, why: str) -> SnapshotCorrupt:
    return SnapshotCorrupt(f"{what} cannot be read: {why}", position_id=position_id)
