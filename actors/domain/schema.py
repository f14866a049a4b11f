"""Position to plain dict and back: what is stored, and how older forms become this one.

Decimals are strings, enums their values, absent fields have their defaults. A field that this release does not know is
kept in the record's `extra` and written back as it came. The schema number rises only when an old reader would
misunderstand; a new field alone does not raise it.

Schema 1 (fixture in the tests) told a target's state in one flag, `done`; schema 2 tells `hit` and `filled` apart,
because a target takes effect when its price is passed and fills later. A done target of schema 1 had filled whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from actors.domain.model import Position, Record

SCHEMA = 2


def dump(position: Position) -> dict[str, Any]:
    """The position as a plain dict of str, int, bool, None, list and dict."""
    return _dump_record(position)


def load(state: Mapping[str, Any], schema: int) -> Position:
    """The position of a stored dict. Raises ValueError for what cannot be read, a newer schema included."""
    if not 1 <= schema <= SCHEMA:
        raise ValueError(f"schema {schema} is not one this release reads (1 to {SCHEMA})")
    if not isinstance(state, Mapping):
        raise ValueError(f"not a position: stored as {type(state).__name__}")
    body: dict[str, Any] = dict(state)
    for version in range(schema, SCHEMA):
        body = _UPCASTERS[version](body)
    try:
        position = _load_record(Position, body)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not a position: {type(error).__name__}: {error}") from error
    assert isinstance(position, Position)  # noqa: S101 - tells the type checker what _load_record was asked for
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


# -- records -----------------------------------------------------------------------------------------------------------


def _dump_record(record: Record) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, default in _layout(type(record)):
        value = getattr(record, name)
        if value != default:
            body[name] = _dump_value(value)
    if record.extra:
        body.update(record.extra)
    return body


def _dump_value(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Record):
        return _dump_record(value)
    if isinstance(value, tuple):
        return [_dump_value(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value


_NO_DEFAULT = object()
_LAYOUTS: dict[type, tuple[tuple[str, Any], ...]] = {}
_READERS: dict[type, tuple[tuple[str, bool, Callable[[Any], Any]], ...]] = {}


def _layout(kind: type) -> tuple[tuple[str, Any], ...]:
    """Name and default of every saved field; what equals its default need not be written."""
    known = _LAYOUTS.get(kind)
    if known is None:
        rows: list[tuple[str, Any]] = []
        for field in fields(kind):
            if field.name != "extra" and field.metadata.get("saved", True):
                plain = (
                    field.default if isinstance(field.default, int | str | Decimal | tuple | NoneType) else _NO_DEFAULT
                )
                rows.append((field.name, plain))
        known = _LAYOUTS[kind] = tuple(rows)
    return known


def _load_record(kind: type, body: Any) -> Any:
    if not isinstance(body, Mapping):
        raise TypeError(f"{kind.__name__} is stored as {type(body).__name__}")
    readers = _READERS.get(kind)
    if readers is None:
        hints = get_type_hints(kind)
        readers = _READERS[kind] = tuple(
            (field.name, field.metadata.get("saved", True), _reader(hints[field.name]))
            for field in fields(kind)
            if field.name != "extra"
        )
    given: dict[str, Any] = {}
    for name, saved, read in readers:
        if saved and name in body:
            given[name] = read(body[name])
    known = {name for name, _, _ in readers}
    extra = {key: value for key, value in body.items() if key not in known}
    return kind(**given, extra=extra or None)


def _reader(hint: Any) -> Callable[[Any], Any]:
    """How a value of this type is read back."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        inner = _reader(next(arg for arg in get_args(hint) if arg is not NoneType))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = _reader(get_args(hint)[0])
        return lambda value: tuple(item(each) for each in _list_of(value))
    if hint is Decimal:
        return _decimal
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: _load_record(hint, value)
    if hint in (int, str, bool):
        return _exactly(hint)
    return dict


def _list_of(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is stored as {type(value).__name__}")
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} is stored as {type(value).__name__}")
        return value

    return read


def _decimal(value: Any) -> Decimal:
    if not isinstance(value, str):
        raise TypeError(f"a decimal is stored as {type(value).__name__}")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value} is not a finite decimal")
    return number
