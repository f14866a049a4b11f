"""Records to plain dicts and back: how each type of field is written and read, found out once for each kind.

A position is written with every save and read with every start, a hundred thousand at a time. So nothing is examined
value by value: the annotations of a kind of record are turned into a table of functions the first time, and then only
those fields are looked at which are not as usual.

What many positions have in common is read once and shared: records are immutable, so nobody can tell. The plans,
instruments and terms seen lately are found again by their stored form, digit for digit; likewise short decimals and
names. All that is kept for this is bounded.
"""

import marshal
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import compress
from operator import is_not
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from actors.domain.model import Instrument, Plan, Terms
from actors.domain.records import builder, values_of

# What a plan, an instrument or the terms of an account are for many positions.
SHARED_KINDS = (Plan, Instrument, Terms)
SHARED_RECORDS = 1_024
SHARED_DECIMALS = 4_096
SHARED_TEXTS = 4_096
SHARED_DIGITS = 16
SHARED_LETTERS = 48

# Texts that many positions have in common, or several records of one.
_SHARED_TEXTS = frozenset(
    {"account", "symbol", "order_tag", "leg", "actions_on", "name", "closing_leg", "close_reason", "client_order_id"}
)

Convert = Callable[[Any], Any]
R = TypeVar("R")

_WRITERS: dict[type, Convert] = {}
_WRITERS_ANEW: dict[type, Convert] = {}
_READERS: dict[type, Convert] = {}


def write(record: Any) -> dict[str, Any]:
    """A record as a dict of str, int, bool, None, list and dict; what equals its default is left out."""
    body: dict[str, Any] = writer(type(record))(record)
    return body


def read(kind: type, body: Any) -> Any:
    """The record of a stored dict. Raises ValueError, TypeError or ArithmeticError for what cannot be one."""
    return reader(kind)(body)


def shared(record: R) -> R:
    """This record, or the one that was read or made lately and is the same to the digit: equal ones are held once."""
    kind = type(record)
    # Not remembered as written: this very record is most often given up here for the one that is held already.
    anew = _WRITERS_ANEW.get(kind)
    if anew is None:
        anew = _WRITERS_ANEW[kind] = _writer(kind)
    found: R = read(kind, anew(record))
    return found if repr(found) == repr(record) else record


# -- types -------------------------------------------------------------------------------------------------------------


def _is_saved(field: Field[Any]) -> bool:
    return field.name != "extra" and bool(field.metadata.get("saved", True))


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _required(hint: Any) -> Any:
    return next(arg for arg in get_args(hint) if arg is not NoneType) if _is_optional(hint) else hint


def _is_kind(hint: Any, kind: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)


# -- writing -----------------------------------------------------------------------------------------------------------


_ALWAYS = object()


def writer(kind: type) -> Convert:
    """What writes this kind of record."""
    known = _WRITERS.get(kind)
    if known is None:
        known = _WRITERS[kind] = _remembering(_writer(kind)) if kind in SHARED_KINDS else _writer(kind)
    return known


def _writer(kind: type) -> Convert:
    hints = get_type_hints(kind)
    saved = [field for field in fields(kind) if _is_saved(field)]
    rows: list[tuple[str, Any, Convert | None]] = []
    usuals: list[Any] = []
    for field in saved:
        usual = _ALWAYS if field.default is MISSING else field.default
        convert = _writing(_required(hints[field.name]))
        if convert is not None and _is_optional(hints[field.name]) and usual is not None:
            convert = _or_none(convert)
        # Of an enum, a truth value or nothing there is only one; others may be equal without being the same.
        alike = None if usual is _ALWAYS or isinstance(usual, NoneType | bool | StrEnum) else usual
        usuals.append(usual)
        rows.append((field.name, alike, convert))
    names = values_of([field.name for field in saved])

    def write_record(record: Any) -> dict[str, Any]:
        body: dict[str, Any] = {}
        values = names(record)
        # Most values are the very object that is usual; those are passed over without a look.
        for (name, alike, convert), value in compress(zip(rows, values, strict=True), map(is_not, values, usuals)):
            if alike is not None and value == alike:
                continue
            body[name] = value if convert is None else convert(value)
        if record.extra:
            body.update(deepcopy(record.extra))
        return body

    return write_record


def _writing(hint: Any) -> Convert | None:
    """What makes a value of this type plain; None where it is."""
    if get_origin(hint) is tuple:
        item = _writing(get_args(hint)[0])
        return list if item is None else lambda values: [item(value) for value in values]
    if get_origin(hint) is not None:
        return dict
    if hint is Decimal or _is_kind(hint, StrEnum):
        return str
    return writer(hint) if isinstance(hint, type) and is_dataclass(hint) else None


def _or_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


# -- reading -----------------------------------------------------------------------------------------------------------


def reader(kind: type) -> Convert:
    """What reads this kind of record."""
    known = _READERS.get(kind)
    if known is None:
        known = _READERS[kind] = _sharing(_reader(kind)) if kind in SHARED_KINDS else _reader(kind)
    return known


def _reader(kind: type) -> Convert:
    hints = get_type_hints(kind)
    build = builder(kind)
    usual = {field.name: _usual(field) for field in fields(kind)}
    required = frozenset(name for name, value in usual.items() if value is MISSING)
    known = frozenset(usual) - {"extra"}
    converts = {field.name: _reading(field.name, hints[field.name]) for field in fields(kind) if _is_saved(field)}

    def read_record(body: Any) -> Any:
        if type(body) is not dict and not isinstance(body, Mapping):
            raise _unfit(kind, body)
        values, unknown = usual.copy(), False
        for name, value in body.items():
            if name in converts:
                values[name] = converts[name](value)
            else:
                unknown = True
        if not required <= body.keys():
            raise TypeError(f"{kind.__name__} is stored without {', '.join(sorted(required - body.keys()))}")
        if unknown:
            # What a newer release wrote. A field that is not saved is ours, and was never meant to be there.
            values["extra"] = {name: value for name, value in body.items() if name not in known} or None
        return build(values.values())

    return read_record


def _usual(field: Field[Any]) -> Any:
    """What a field is when nothing of it is stored; MISSING where there must be something."""
    if field.default_factory is dict:
        return _EMPTY
    return field.default if field.default_factory is MISSING else field.default_factory()


def _reading(name: str, hint: Any) -> Convert:
    """What reads a value of this type, and refuses every other."""
    if _is_optional(hint):
        return _or_none(_reading(name, _required(hint)))
    if get_origin(hint) is tuple:
        item = _reading("", get_args(hint)[0])
        return lambda values: tuple([item(value) for value in _listed(values)])
    if get_origin(hint) is not None:
        return lambda value: dict(value) or _EMPTY
    if hint is Decimal:
        return _DECIMALS.__getitem__
    if _is_kind(hint, StrEnum):
        return _Words(hint).__getitem__
    if isinstance(hint, type) and is_dataclass(hint):
        return reader(hint)
    return _TEXTS.__getitem__ if name in _SHARED_TEXTS else _exactly(hint)


def _exactly(kind: type) -> Convert:
    def read_plain(value: Any) -> Any:
        if type(value) is not kind:
            raise _unfit(kind, value)
        return value

    return read_plain


def _listed(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is stored as {type(value).__name__}")
    return value


def _unfit(kind: type, value: Any) -> TypeError:
    return TypeError(f"{kind.__name__} is stored as {type(value).__name__}")


# -- what is shared ----------------------------------------------------------------------------------------------------


_EMPTY: Mapping[str, Any] = {}


class _Words(dict[Any, Any]):
    """The members of an enum by their values."""

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__({member.value: member for member in kind})
        self.kind = kind

    def __missing__(self, value: Any) -> Any:
        return self.kind(value)


class _Lately(dict[Any, Any]):
    """What was made of some text or bytes lately. What a whole generation does not ask for is forgotten."""

    def __init__(self, limit: int, make: Convert, longest: int) -> None:
        super().__init__()
        self.limit, self.make, self.longest = limit, make, longest
        self.former: dict[Any, Any] = {}

    def __missing__(self, key: Any) -> Any:
        made = self.former.get(key)
        if made is None:
            made = self.make(key)
            if len(key) > self.longest:
                return made
        self.keep(key, made)
        return made

    def keep(self, key: Any, made: Any) -> None:
        """Remember this one; at the limit a new generation begins."""
        if len(self) >= self.limit:
            self.former = dict(self)
            self.clear()
        self[key] = made


def _decimal(text: Any) -> Decimal:
    if not isinstance(text, str):
        raise TypeError(f"a decimal is stored as {type(text).__name__}")
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(f"{text} is not a finite decimal")
    return number


_DECIMALS = _Lately(SHARED_DECIMALS, _decimal, SHARED_DIGITS)
_TEXTS = _Lately(SHARED_TEXTS, _exactly(str), SHARED_LETTERS)


def _sharing(read_anew: Convert) -> Convert:
    """A reader that finds what it has read lately by its stored form.

    The form of version 2 says the type of everything and nothing of who else refers to it: equal bytes are equal
    states, to the digit.
    """
    lately = _Lately(SHARED_RECORDS, str, 0)

    def read_shared(body: Any) -> Any:
        try:
            form = marshal.dumps(body, 2)
        except ValueError:
            return read_anew(body)
        found = lately.get(form) or lately.former.get(form)
        if found is None:
            # From the bytes, not from what the caller has in his hands, who may change it.
            found = read_anew(marshal.loads(form))  # noqa: S302 - just written here
            lately.keep(form, found)
        return found

    return read_shared


def _remembering(write_anew: Convert) -> Convert:
    """A writer that keeps what it has written lately, found by the very record; each time a new dict is made of it."""
    lately = _Lately(SHARED_RECORDS, str, 0)

    def write_remembered(record: Any) -> Any:
        known = lately.get(id(record)) or lately.former.get(id(record))
        # The record is kept with its form, so that no other can have its id meanwhile.
        if known is not None and known[0] is record:
            return marshal.loads(known[1])  # noqa: S302 - written here
        body = write_anew(record)
        try:
            lately.keep(id(record), (record, marshal.dumps(body, 2)))
        except ValueError:
            return body
        return body

    return write_remembered
