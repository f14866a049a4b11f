"""Tapes as bytes: the record of one symbol's prices, and nothing that a position could not do without.

A tape is the MessagePack of `[format, checksum, body]`, its body the MessagePack of a plain dict. Reading is strict:
whatever is not exactly that raises SnapshotCorrupt and nothing else, so that a damaged tape costs that tape alone. The
checksum is there because a tape is numbers: one changed bit in them is another extreme, which nobody would notice.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import msgpack  # type: ignore[import-untyped]

from persistence.codec import MAX_SNAPSHOT_BYTES, is_plain
from persistence.store import SnapshotCorrupt

_FORMAT = 1


def encode_tape(plain: Mapping[str, Any]) -> bytes:
    """The bytes of a tape. Raises SnapshotCorrupt for what could not be read back."""
    try:
        body: bytes = msgpack.packb(dict(plain), use_bin_type=True, strict_types=True)
        raw: bytes = msgpack.packb([_FORMAT, zlib.crc32(body), body], use_bin_type=True)
    except Exception as error:
        raise SnapshotCorrupt(f"a tape cannot be stored: {error}", position_id="") from error
    if not is_plain(plain) or len(raw) > MAX_SNAPSHOT_BYTES:
        decode_tape(raw)
    return raw


def decode_tape(raw: bytes) -> dict[str, Any]:
    """The tape in these bytes. Raises SnapshotCorrupt."""
    if len(raw) > MAX_SNAPSHOT_BYTES:
        raise _corrupt(f"it has {len(raw)} bytes")
    fields = _unpack(raw)
    if not isinstance(fields, list) or len(fields) != 3 or type(fields[0]) is not int:
        raise _corrupt("it is not a list of three")
    written, checksum, body = fields
    if written != _FORMAT:
        raise _corrupt(f"it has format {written}, this release reads {_FORMAT}")
    if not isinstance(body, bytes) or type(checksum) is not int or zlib.crc32(body) != checksum:
        raise _corrupt("its bytes are not those that were written")
    tape = _unpack(body)
    if not isinstance(tape, dict) or bytes in map(type, tape):
        raise _corrupt("it is not a map of names")
    return tape


def _unpack(raw: bytes) -> Any:
    try:
        return msgpack.unpackb(raw, raw=False, strict_map_key=True, use_list=True, unicode_errors="strict")
    # As for snapshots: the library's errors have no common base.
    except Exception as error:
        raise _corrupt(str(error) or type(error).__name__) from error


def _corrupt(why: str) -> SnapshotCorrupt:
    return SnapshotCorrupt(f"a tape cannot be read: {why}", position_id="")
