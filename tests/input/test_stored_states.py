"""What is stored, damaged in every way: it is read as it was, or it is told in one error what is wrong with it.

The reading of a state (actors/domain/schema.py) raises ValueError and nothing else, and whatever it does read, it
writes and reads again the same. A state that is read and makes no sense is another matter: its position fails, is
quarantined with its stop in place, and stands still; test_stored_keys.py shows that.
"""

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain import schema
from actors.domain.tape import SOURCES, StoredTape
from persistence import codec
from persistence.store import SnapshotCorrupt
from persistence.tape import decode_tape, encode_tape
from tests.input.damage import damaged_bytes, damaged_states, places, values
from tests.input.effort import effort
from tests.unit.test_schema import busy, first_schema

STATE = schema.dump(busy().position)
FENCE = msgpack.packb([3, 7, "w1"])
LEASE = msgpack.packb(["keeper-1", 3])
SNAPSHOT = msgpack.packb([schema.SCHEMA, 4, 2, "w1-4", STATE])
TAPE: dict[str, Any] = {
    "lineage": "l",
    "sequence": 3,
    "at": 5,
    "from": 0,
    "sources": {name: {"lows": [["99", 1, 1], ["99.5", 4, 3]], "highs": [["101", 2, 2]]} for name in SOURCES},
}


def read_again(state: dict[str, Any], number: int) -> None:
    """Read a state; where that is possible, what it says is written and read the same."""
    try:
        position = schema.load(state, number)
    except ValueError:
        return
    written = schema.dump(position)
    again = schema.load(written, schema.SCHEMA)
    assert again == position
    assert schema.dump(again) == written


@effort(600)
@given(state=damaged_states(STATE))
def test_a_damaged_state_is_read_or_refused(state: dict[str, Any]) -> None:
    """One error for all that can be wrong."""
    read_again(state, schema.SCHEMA)


@effort(200)
@given(state=damaged_states(first_schema()))
def test_a_damaged_state_of_the_first_schema_is_read_or_refused(state: dict[str, Any]) -> None:
    """The upcaster, too, meets what no release ever wrote."""
    read_again(state, 1)


@effort(150)
@given(state=st.dictionaries(st.text(), values, max_size=4) | values, number=st.integers(-1, schema.SCHEMA + 1))
def test_what_never_was_a_state_is_refused(state: Any, number: int) -> None:
    """Anything at all."""
    with pytest.raises(ValueError):
        schema.load(state, number)


@effort(200)
@given(data=st.data())
def test_fields_of_a_newer_release_are_carried_wherever_they_are(data: st.DataObject) -> None:
    """At any depth, in any record, of any shape."""
    state = schema.dump(schema.load(STATE, schema.SCHEMA))
    records = [path for path in places(state) if isinstance(inside(state, path), dict) and path[0] != "tags"]
    path = data.draw(st.sampled_from([(), *records]))
    plain = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    value = data.draw(plain)
    inside(state, path)["a_field_of_tomorrow"] = value
    written = schema.dump(schema.load(state, schema.SCHEMA))
    assert inside(written, path)["a_field_of_tomorrow"] == value
    assert written == state


def inside(state: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for step in path:
        state = state[step]
    return state


@effort(400)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    """Snapshot, fence, lease, line, tape and audit line: SnapshotCorrupt (of a tape ValueError), and nothing else."""
    raw = data.draw(damaged_bytes(SNAPSHOT))
    try:
        read_again(dict(codec.decode_snapshot("p1", raw, schema.SCHEMA).state), schema.SCHEMA)
    except SnapshotCorrupt as error:
        assert error.position_id == "p1"
    for read, whole in ((codec.decode_fence, FENCE), (codec.decode_lease, LEASE)):
        try:
            read("paper", data.draw(damaged_bytes(whole)))
        except SnapshotCorrupt as error:
            assert error.position_id == ""
    codec.decode_line("paper", data.draw(damaged_bytes(LEASE)))
    codec.decode_event(data.draw(damaged_bytes(b'{"name": "order.filled", "at": 1}')))
    try:
        decode_tape(data.draw(damaged_bytes(encode_tape(TAPE))))
    except SnapshotCorrupt as error:
        assert error.position_id == ""


@effort(200)
@given(plain=damaged_states(TAPE))
def test_a_damaged_tape_is_read_or_refused(plain: dict[str, Any]) -> None:
    """It costs that tape, and whatever it still says can be asked for."""
    try:
        tape = StoredTape(plain)
    except ValueError:
        return
    for source in SOURCES:
        tape.missed("l", 1, source)
        tape.entries(source)
