"""Records to plain dicts and back: how each type of field is written and read, in code made once for each kind.

A position is written with every save and read with every start, a hundred thousand at a time. So its fields are not
examined value by value: the code that writes or reads one kind of record is put together from its annotations the
first time, one or two lines for each field, and compiled.

What many positions have in common is read once and shared: records are immutable, so nobody can tell. The plans,
instruments and terms seen lately are found again by their stored form, digit for digit; likewise short decimals. All
that is kept for this is bounded.
"""

import marshal
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from sys import intern
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from actors.domain.model import Instrument, Plan, Terms
from actors.domain.records import compiled, draft_of

# What a plan, an instrument or the terms of an account are for many positions.
SHARED_KINDS = (Plan, Instrument, Terms)
SHARED_RECORDS = 1_024
SHARED_DECIMALS = 4_096
SHARED_TEXTS = 256
SHARED_DIGITS = 16

# Texts that many positions have in common; the interpreter keeps them as long as somebody uses them.
_COMMON_TEXTS = ("account", "symbol", "order_tag", "leg", "actions_on", "name", "closing_leg", "close_reason")
# Texts that stand in several records of one position.
_REPEATED_TEXTS = ("client_order_id",)

Write = Callable[[Any], dict[str, Any]]
Read = Callable[[Any], Any]

_WRITERS: dict[type, Write] = {}
_READERS: dict[type, Read] = {}


def write(record: Any) -> dict[str, Any]:
    """A record as a dict of str, int, bool, None, list and dict; what equals its default is left out."""
    return writer(type(record))(record)


def read(kind: type, body: Any) -> Any:
    """The record of a stored dict. Raises ValueError, TypeError or ArithmeticError for what cannot be one."""
    return reader(kind)(body)


# -- types -------------------------------------------------------------------------------------------------------------


def _saved(kind: type) -> list[Field[Any]]:
    return [field for field in fields(kind) if field.name != "extra" and field.metadata.get("saved", True)]


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _required(hint: Any) -> Any:
    return next(arg for arg in get_args(hint) if arg is not NoneType) if _is_optional(hint) else hint


def _is_kind(hint: Any, kind: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)


# -- writing -----------------------------------------------------------------------------------------------------------


def writer(kind: type) -> Write:
    """What writes this kind of record."""
    known = _WRITERS.get(kind)
    if known is None:
        hints = get_type_hints(kind)
        scope: dict[str, Any] = {"deepcopy": deepcopy}
        lines = ["def write(record):", "    body = {}"]
        for field in _saved(kind):
            lines += _writing(field, hints[field.name], scope)
        lines += ["    if record.extra:", "        body.update(deepcopy(record.extra))", "    return body"]
        known = _WRITERS[kind] = compiled("write", lines, scope)
    return known


def _writing(field: Field[Any], hint: Any, scope: dict[str, Any]) -> list[str]:
    """The lines that write one field: nothing where it equals its default."""
    name, default = field.name, field.default
    written = _written(_required(hint), "value", scope)
    lines = [f"    value = record.{name}"]
    if default is MISSING:
        if _is_optional(hint):
            written = f"None if value is None else {written}"
        return [*lines, f"    body[{name!r}] = {written}"]
    scope[f"usual_{name}"] = default
    # The usual Decimal is most often the very same object, and comparing two is not cheap.
    same = "value is usual_{0}" if isinstance(default, NoneType | bool | StrEnum) else "value == usual_{0}"
    if isinstance(default, Decimal):
        same = "value is usual_{0} or value == usual_{0}"
    if default is not None and _is_optional(hint):
        written = f"None if value is None else {written}"
    return [*lines, f"    if not ({same.format(name)}):", f"        body[{name!r}] = {written}"]


def _written(hint: Any, value: str, scope: dict[str, Any]) -> str:
    """The expression that makes a value of this type plain."""
    if get_origin(hint) is tuple:
        item = _written(get_args(hint)[0], "item", scope)
        return f"list({value})" if item == "item" else f"[{item} for item in {value}]"
    if get_origin(hint) is not None:
        return f"dict({value})"
    if hint is Decimal:
        return f"str({value})"
    if _is_kind(hint, StrEnum):
        return f"{value}._value_"
    if is_dataclass(hint) and isinstance(hint, type):
        scope[f"write_{hint.__name__}"] = writer(hint)
        return f"write_{hint.__name__}({value})"
    return value


# -- reading -----------------------------------------------------------------------------------------------------------


def reader(kind: type) -> Read:
    """What reads this kind of record."""
    known = _READERS.get(kind)
    if known is None:
        known = _READERS[kind] = _sharing(_reader(kind)) if kind in SHARED_KINDS else _reader(kind)
    return known


def _reader(kind: type) -> Read:
    hints = get_type_hints(kind)
    known = frozenset(field.name for field in fields(kind) if field.name != "extra")
    scope: dict[str, Any] = {"make": object.__new__, "draft": draft_of(kind), "kind": kind, "ABSENT": _ABSENT}
    scope |= {"unfit": _unfit, "lacking": _lacking, "listed": _listed, "unknown": _unknown, "known": known}
    lines = [
        "def read(body):",
        "    if type(body) is not dict and not isinstance(body, Mapping):",
        "        raise unfit(kind, body)",
        "    record, stored, count = make(draft), body.get, 0",
    ]
    scope["Mapping"] = Mapping
    saved = _saved(kind)
    for field in fields(kind):
        if field in saved:
            lines += _reading(field, hints[field.name], scope)
        elif field.name != "extra":
            lines += [f"    record.{field.name} = {_default(field, scope)}"]
    lines += [
        "    record.extra = None if count == len(body) else unknown(body, known)",
        "    record.__class__ = kind",
        "    return record",
    ]
    return compiled("read", lines, scope)


def _default(field: Field[Any], scope: dict[str, Any]) -> str:
    """The expression for a field of which nothing is stored."""
    name = field.name
    if field.default is not MISSING:
        scope[f"usual_{name}"] = field.default
        return f"usual_{name}"
    if field.default_factory is dict:
        scope["EMPTY"] = _EMPTY
        return "EMPTY"
    if field.default_factory is not MISSING:
        scope[f"usual_{name}"] = field.default_factory()
        return f"usual_{name}"
    return f"lacking(kind, {name!r})"


def _reading(field: Field[Any], hint: Any, scope: dict[str, Any]) -> list[str]:
    """The lines that read one field, absent or stored."""
    name = field.name
    needed = _required(hint)
    lines = [
        f"    value = stored({name!r}, ABSENT)",
        "    if value is ABSENT:",
        f"        record.{name} = {_default(field, scope)}",
        "    else:",
        "        count += 1",
    ]
    if needed in (int, str, bool):
        scope[needed.__name__] = needed
        unfit = f"type(value) is not {needed.__name__}"
        if _is_optional(hint):
            unfit = f"value is not None and {unfit}"
        lines += [f"        if {unfit}:", f"            raise unfit({needed.__name__}, value)"]
        taken = _text(name, scope) if needed is str and not _is_optional(hint) else "value"
    else:
        taken = _read(needed, "value", scope)
        if _is_optional(hint):
            taken = f"None if value is None else {taken}"
    return [*lines, f"        record.{name} = {taken}"]


def _text(name: str, scope: dict[str, Any]) -> str:
    scope |= {"intern": intern, "texts": _TEXTS}
    return "intern(value)" if name in _COMMON_TEXTS else "texts[value]" if name in _REPEATED_TEXTS else "value"


def _read(hint: Any, value: str, scope: dict[str, Any]) -> str:
    """The expression that reads a value of this type, and refuses every other."""
    if get_origin(hint) is tuple:
        item = _read(get_args(hint)[0], "item", scope)
        return f"tuple([{item} for item in listed({value})])"
    if get_origin(hint) is not None:
        scope["EMPTY"] = _EMPTY
        return f"dict({value}) or EMPTY"
    if hint is Decimal:
        scope["decimals"] = _DECIMALS
        return f"decimals[{value}]"
    if _is_kind(hint, StrEnum):
        scope[f"words_{hint.__name__}"] = _Words(hint)
        return f"words_{hint.__name__}[{value}]"
    if is_dataclass(hint) and isinstance(hint, type):
        scope[f"read_{hint.__name__}"] = reader(hint)
        return f"read_{hint.__name__}({value})"
    scope["exactly"], scope[hint.__name__] = _exactly, hint
    return f"exactly({hint.__name__}, {value})"


def _unknown(body: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any] | None:
    """What a newer release wrote."""
    return {key: value for key, value in body.items() if key not in known} or None


def _unfit(kind: type, value: Any) -> TypeError:
    return TypeError(f"{kind.__name__} is stored as {type(value).__name__}")


def _lacking(kind: type, name: str) -> Any:
    raise TypeError(f"{kind.__name__} is stored without {name}")


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _unfit(kind, value)
    return value


def _listed(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is stored as {type(value).__name__}")
    return value


# -- what is shared ----------------------------------------------------------------------------------------------------


_ABSENT = object()
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

    def __init__(self, limit: int, make: Callable[[Any], Any], longest: int) -> None:
        super().__init__()
        self.limit, self.make, self.longest = limit, make, longest
        self.former: dict[Any, Any] = {}

    def __missing__(self, key: Any) -> Any:
        made = self.former.get(key)
        if made is None:
            made = self.make(key)
            if type(key) is str and len(key) > self.longest:
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
_TEXTS = _Lately(SHARED_TEXTS, str, 64)


def _sharing(read_anew: Read) -> Read:
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
