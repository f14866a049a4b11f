"""Stored bytes: what was written comes back, and no bytes at all can raise anything but SnapshotCorrupt."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.codec import (
    MAX_SNAPSHOT_BYTES,
    decode_event,
    decode_fence,
    decode_lease,
    decode_snapshot,
    encode_event,
    encode_fence,
    encode_lease,
    encode_snapshot,
)
from persistence.store import Fence, Snapshot, SnapshotCorrupt

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
STATES = st.dictionaries(st.text(max_size=8), PLAIN, max_size=6)
COUNTS = st.integers(0, 2**63 - 1)


def a_snapshot(**fields: Any) -> Snapshot:
    """A snapshot with only what matters spelled out."""
    given_fields: dict[str, Any] = {
        "position_id": "p",
        "schema": 1,
        "version": 3,
        "epoch": 2,
        "write_id": "w",
        "state": {"a": "1"},
    }
    return Snapshot(**(given_fields | fields))


@settings(deadline=None)
@given(schema=COUNTS, version=COUNTS, epoch=COUNTS, write_id=st.text(max_size=40), state=STATES)
def test_a_snapshot_comes_back_as_it_was(
    schema: int, version: int, epoch: int, write_id: str, state: dict[str, Any]
) -> None:
    """Whatever can be written reads back equal."""
    snapshot = a_snapshot(schema=schema, version=version, epoch=epoch, write_id=write_id, state=state)
    assert decode_snapshot("p", encode_snapshot(snapshot)) == snapshot


@settings(deadline=None)
@given(raw=st.binary(max_size=200))
def test_arbitrary_bytes_are_corrupt_and_nothing_else(raw: bytes) -> None:
    """No bytes raise anything but SnapshotCorrupt, whatever they are taken for."""
    decoders: tuple[Callable[[], object], ...] = (
        lambda: decode_snapshot("p", raw),
        lambda: decode_fence("s", raw),
        lambda: decode_lease("s", raw),
        lambda: decode_event(raw),
    )
    for decode in decoders:
        with suppress(SnapshotCorrupt):
            decode()


@settings(deadline=None)
@given(state=STATES, data=st.data())
def test_a_damaged_snapshot_never_raises_anything_else(state: dict[str, Any], data: st.DataObject) -> None:
    """One byte changed or the end cut off: a snapshot or SnapshotCorrupt, nothing else."""
    raw = bytearray(encode_snapshot(a_snapshot(state=state)))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(SnapshotCorrupt):
        decode_snapshot("p", bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@pytest.mark.parametrize(
    "fields",
    [
        [1, 3, 2, "w"],
        [1, 3, 2, "w", {}, 0],
        [True, 3, 2, "w", {}],
        [1, -3, 2, "w", {}],
        [1, "3", 2, "w", {}],
        [1, 3, 2.0, "w", {}],
        [1, 3, 2, b"w", {}],
        [1, 3, 2, "w", []],
        [1, 3, 2, "w", {b"a": 1}],
        [1, 3, 2, "w", {"a": {1: 2}}],
        {"schema": 1},
        "text",
    ],
)
def test_anything_but_the_five_fields_is_corrupt(fields: object) -> None:
    """Types and lengths are checked strictly, and the error names the position."""
    with pytest.raises(SnapshotCorrupt) as caught:
        decode_snapshot("p", msgpack.packb(fields))
    assert caught.value.position_id == "p"


def test_extra_bytes_behind_a_snapshot_are_corrupt() -> None:
    """A snapshot with something behind it was not written by us."""
    with pytest.raises(SnapshotCorrupt):
        decode_snapshot("p", encode_snapshot(a_snapshot()) + b"\x00")


def test_a_newer_schema_is_named_as_a_newer_release() -> None:
    """A snapshot of a newer release is not readable, and the message says why."""
    raw = encode_snapshot(a_snapshot(schema=9))
    assert decode_snapshot("p", raw, newest_schema=9).schema == 9
    with pytest.raises(SnapshotCorrupt, match="newer release"):
        decode_snapshot("p", raw, newest_schema=8)


@pytest.mark.parametrize("value", [object(), {1: "x"}, 2**70, {"deep": (1, 2)}])
def test_a_state_that_could_not_be_read_back_is_not_written(value: object) -> None:
    """What MessagePack cannot carry both ways is refused at the door."""
    with pytest.raises(SnapshotCorrupt):
        encode_snapshot(a_snapshot(state={"a": value}))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.binary(max_size=2) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(state=st.dictionaries(st.text(max_size=3) | st.binary(max_size=2) | st.integers(0, 3), ANYTHING, max_size=4))
def test_a_state_is_refused_or_comes_back_equal(state: Any) -> None:
    """Nothing is ever written that a later boot could not read, or would read as something else."""
    snapshot = a_snapshot(state=state)
    try:
        raw = encode_snapshot(snapshot)
    except SnapshotCorrupt:
        return
    assert decode_snapshot("p", raw) == snapshot


@pytest.mark.parametrize(
    "state",
    [
        {b"a": 1},
        {"a": [{1: 2}]},
        {"a": {"b": {None: 1}}},
        {"a": "x" * MAX_SNAPSHOT_BYTES},
        {"a": "\ud800"},
        {"a": float},
    ],
)
def test_a_state_that_a_boot_would_not_take_is_not_written(state: Any) -> None:
    """Keys that are no names, at any depth; more bytes than are read; half a character."""
    with pytest.raises(SnapshotCorrupt):
        encode_snapshot(a_snapshot(state=state))


def test_a_state_as_deep_as_it_can_be_read_is_written() -> None:
    """And one that is deeper is not; after a refusal the next state is packed as if nothing had been."""
    depths = []
    for depth in (100, 300, 400, 5000):
        state: Any = {}
        for _ in range(depth):
            state = {"a": state}
        try:
            assert decode_snapshot("p", encode_snapshot(a_snapshot(state=state))).state == state
            depths.append(depth)
        except SnapshotCorrupt:
            assert depth > 300
    assert depths[:2] == [100, 300]
    assert decode_snapshot("p", encode_snapshot(a_snapshot())) == a_snapshot()


@pytest.mark.parametrize("fields", [{"schema": True}, {"schema": "1"}, {"version": -1}, {"epoch": 2**63}])
def test_an_envelope_that_could_not_be_read_back_is_not_written(fields: dict[str, Any]) -> None:
    """Counts are counts."""
    with pytest.raises(SnapshotCorrupt):
        encode_snapshot(a_snapshot(**fields))


def test_fence_lease_and_event_come_back_as_they_were() -> None:
    """The small records round-trip, and no fence is a fence of zeros."""
    fence = Fence(epoch=3, revision=4, write_id="w")
    assert decode_fence("s", encode_fence(fence)) == fence
    assert decode_fence("s", None) == Fence(epoch=0, revision=0, write_id="")
    assert decode_lease("s", encode_lease("me", 7)) == ("me", 7)
    assert decode_event(encode_event("p", {"n": 1, "t": "é"})) == {"n": 1, "t": "é"}


_PLAIN_VALUES = st.text() | st.booleans() | st.integers() | st.none() | st.floats() | st.lists(st.integers())


@given(event=st.dictionaries(st.text(), _PLAIN_VALUES | st.dictionaries(st.text(), _PLAIN_VALUES)))
def test_an_audit_line_is_the_same_whichever_way_it_is_written(event: dict[str, Any]) -> None:
    """To the byte; and what the one way cannot write, the other does not write either."""
    general = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        line = general.encode(event).encode()
    except ValueError:
        with pytest.raises(SnapshotCorrupt):
            encode_event("p", event)
    else:
        assert encode_event("p", event) == line
