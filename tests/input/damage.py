"""Damage to what is stored: bytes that are cut, flipped or made up, and states with a value that is not theirs."""

from copy import deepcopy
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import strategies as st

JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**63 - 1, -(2**63), 1.5, float("nan"), float("inf"), "", "0", "-1", "1", "1e999", "NaN"),
    *("Infinity", "-5", "1E-30", "9" * 40, "x", "long", "short", "open", "closed", "quarantined", "sent", "resting"),
    *("resident-x", "target-x", "target-99", "resident-", "entry", "limit", "stop_market", "\x00", "\ud7ff", b"\xff"),
    *([], [None], [[]], {}, {"a": 1}, {"": None}, [{}], [1, 2, 3]),
)

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside a plain value."""
    found: list[tuple[Any, ...]] = []
    children = list(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
    for key, child in children:
        found.append((*path, key))
        if isinstance(child, dict | list):
            found += places(child, (*path, key))
    return found


@st.composite
def damaged_states(draw: st.DrawFn, state: dict[str, Any]) -> dict[str, Any]:
    """The state with one or two values replaced, taken out, doubled, or put where none was."""
    body: dict[str, Any] = deepcopy(state)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(body)))
        inner: Any = body
        for step in path[:-1]:
            inner = inner[step]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "add"]))
        if how == "replace":
            inner[path[-1]] = deepcopy(draw(st.sampled_from(JUNK) | values))
        elif how == "remove":
            del inner[path[-1]]
        elif isinstance(inner, list):
            inner.append(deepcopy(inner[path[-1]]))
        else:
            inner[draw(st.sampled_from(["later", "phase", "intents", "remaining", "stop_price"]))] = deepcopy(
                draw(values)
            )
        if not body:
            break
    return body


@st.composite
def damaged_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes in place of these: made up, cut, with some flipped, doubled, or an envelope with something else in it."""
    how = draw(st.sampled_from(["made up", "cut", "flipped", "doubled", "envelope", "state", "state", "state"]))
    if how == "made up":
        return draw(st.binary(max_size=200))
    if how == "cut":
        return raw[: draw(st.integers(0, max(0, len(raw) - 1)))]
    if how == "doubled":
        return raw + raw
    if how == "flipped" or not raw:
        flipped = bytearray(raw or b"\0")
        for _ in range(draw(st.integers(1, 3))):
            flipped[draw(st.integers(0, len(flipped) - 1))] ^= draw(st.integers(1, 255))
        return bytes(flipped)
    fields = unpacked(raw)
    if not isinstance(fields, list) or not fields:
        return draw(st.binary(max_size=200))
    if how == "envelope" or not isinstance(fields[-1], dict):
        fields[draw(st.integers(0, len(fields) - 1))] = deepcopy(draw(st.sampled_from(JUNK) | values))
    else:
        fields[-1] = draw(damaged_states(fields[-1]))
    return packed(fields)


def unpacked(raw: bytes) -> Any:
    """What is in the bytes, where they can be read."""
    try:
        return msgpack.unpackb(raw, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return None


def packed(fields: Any) -> bytes:
    """The bytes of anything; what cannot be packed is taken out."""
    try:
        raw: bytes = msgpack.packb(fields)
    except (ValueError, OverflowError, TypeError):
        return b"\xc1"
    return raw
