"""Position to plain dict and back: what is stored, and how older forms become this one.

Decimals are strings, enums their values, absent fields have their defaults. A field that this release does not know is
kept in the record's `extra` and written back as it came. The schema number rises only when an old reader would
misunderstand; a new field alone does not raise it.

Schema 1 (fixture in the tests) told a target's state in one flag, `done`; schema 2 tells `hit` and `filled` apart,
because a target takes effect when its price is passed and fills later. A done target of schema 1 had filled whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from actors.domain import plain
from actors.domain.model import Position

SCHEMA = 2


def dump(position: Position) -> dict[str, Any]:
    """The position as a plain dict of str, int, bool, None, list and dict."""
    return plain.write(position)


def load(state: Mapping[str, Any], schema: int) -> Position:
    """The position of a stored dict. Raises ValueError for what cannot be read, a newer schema included."""
    if not 1 <= schema <= SCHEMA:
        raise ValueError(f"schema {schema} is not one this release reads (1 to {SCHEMA})")
    if not isinstance(state, Mapping):
        raise ValueError(f"not a position: stored as {type(state).__name__}")
    body: dict[str, Any] = dict(state)
    try:
        for version in range(schema, SCHEMA):
            body = _UPCASTERS[version](body)
        position = plain.read(Position, body)
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a position: {type(error).__name__}: {error}") from error
    assert isinstance(position, Position)  # noqa: S101 - tells the type checker what plain.read was asked for
    return position


def known_fields() -> frozenset[str]:
    """The top-level fields this release writes; others in a stored state are a newer release's."""
    return frozenset(field.name for field in fields(Position) if field.name != "extra")


def _from_v1(state: dict[str, Any]) -> dict[str, Any]:
    targets = []
    for target in state.get("targets", []):
        target = dict(target)  # noqa: PLW2901
        done = target.pop("done", False)
        if done:
            target.update(hit=True, filled=target.get("quantity", "0"))
        targets.append(target)
    return {**state, "targets": targets}


_UPCASTERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_v1}
