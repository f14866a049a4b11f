"""Stored tapes: what was written comes back, and no bytes at all can raise anything but SnapshotCorrupt."""

from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.codec import MAX_SNAPSHOT_BYTES
from persistence.store import SnapshotCorrupt
from persistence.tape import decode_tape, encode_tape
from tests.unit.test_codec import STATES


@settings(deadline=None)
@given(plain=STATES)
def test_a_tape_comes_back_as_it_was(plain: dict[str, Any]) -> None:
    """Whatever can be written reads back equal."""
    assert decode_tape(encode_tape(plain)) == plain


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_are_corrupt_and_nothing_else(raw: bytes) -> None:
    """A tape costs nobody anything but itself."""
    with suppress(SnapshotCorrupt):
        decode_tape(raw)


@settings(deadline=None)
@given(plain=STATES, data=st.data())
def test_any_changed_byte_is_noticed(plain: dict[str, Any], data: st.DataObject) -> None:
    """Numbers that are off by one bit would be extremes that never were."""
    raw = bytearray(encode_tape(plain))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        assert decode_tape(bytes(raw)) == plain
    except SnapshotCorrupt:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        msgpack.packb({}),
        msgpack.packb([1, 0]),
        msgpack.packb([1, 0, b""]),
        msgpack.packb([True, 0, b""]),
        msgpack.packb([2, 558161692, b"\x80"]),
        msgpack.packb([1, 558161692, "\x80"]),
        msgpack.packb([1, "558161692", b"\x80"]),
        encode_tape({"a": 1})[:-1],
        encode_tape({"a": 1}) + b"\x00",
        msgpack.packb([1, 0, b"x" * MAX_SNAPSHOT_BYTES]),
    ],
)
def test_anything_but_a_tape_is_corrupt(raw: bytes) -> None:
    """Lengths, types, format and checksum are checked strictly."""
    with pytest.raises(SnapshotCorrupt):
        decode_tape(raw)


@pytest.mark.parametrize(
    "plain",
    [{1: 2}, {b"a": 1}, {"a": {1: 2}}, {"a": object()}, {"a": (1,)}, {"a": 2**70}, {"a": b"x" * MAX_SNAPSHOT_BYTES}],
)
def test_what_could_not_be_read_back_is_not_written(plain: Any) -> None:
    """Refused at the door."""
    with pytest.raises(SnapshotCorrupt):
        encode_tape(plain)
