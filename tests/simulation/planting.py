"""How a fault is planted: a line of a production function, as it is and as the fault has it, for as long as needed.

The real function runs, with that line changed, wherever it was imported to: its code is exchanged in place. A line that
is not there any more, or not just once, cannot be planted, and says so: a fault that no longer changes anything would
be caught by nobody, and prove nothing.
"""

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType


class CannotPlant(Exception):
    """The production code does not have what the fault changes. The catalogue must follow the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """In the function `target` ("module:name", or "module:Class.name"), `old` becomes `new`; `old` is there once."""

    target: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One fault: `breaks` says in a sentence what it does. A pair's edits are those of its two."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    pair: tuple[str, ...] = ()


@contextmanager
def planted(edits: Sequence[Edit]) -> Iterator[None]:
    """Let production code have these faults. Raises CannotPlant, with nothing changed."""
    by_target: dict[str, list[Edit]] = {}
    for edit in edits:
        by_target.setdefault(edit.target, []).append(edit)
    codes = [(function_of(target), _changed(target, own)) for target, own in by_target.items()]
    before = [function.__code__ for function, _ in codes]
    try:
        for function, code in codes:
            function.__code__ = code
        yield
    finally:
        for (function, _), code in zip(codes, before, strict=True):
            function.__code__ = code


def function_of(target: str) -> FunctionType:
    """The function of this name, a property's getter included. Raises CannotPlant."""
    module, _, path = target.partition(":")
    try:
        found: object = importlib.import_module(module)
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
    except (ImportError, AttributeError) as error:
        raise CannotPlant(f"{target} is not there any more: {error}") from error
    if isinstance(found, property):
        found = found.fget
    found = inspect.unwrap(found) if callable(found) else found
    if not isinstance(found, FunctionType):
        raise CannotPlant(f"{target} is a {type(found).__name__}, not a function")
    return found


def _changed(target: str, edits: Sequence[Edit]) -> CodeType:
    function = function_of(target)
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        count = source.count(edit.old)
        if count != 1:
            raise CannotPlant(f"{target} has {count} times, not once: {edit.old}")
        source = source.replace(edit.old, edit.new)
    lines = source.splitlines()
    while not lines[0].startswith(("def ", "async def ")):
        del lines[0]
    # Inside a class, so that a `super()` without arguments stays one. Nothing is executed: only the code is taken out.
    body = "class _Planted:\n" + textwrap.indent("\n".join(lines), "    ")
    try:
        code = _code_of(compile(body, f"<planted {target}>", "exec"), function.__name__)
    except SyntaxError as error:
        raise CannotPlant(f"{target} cannot be read with {edits[-1].new!r}: {error}") from error
    if code is None or code.co_freevars != function.__code__.co_freevars:
        raise CannotPlant(f"{target} has other surroundings than it can be planted in")
    return code


def _code_of(code: CodeType, name: str) -> CodeType | None:
    inside = [const for const in code.co_consts if isinstance(const, CodeType)]
    if code.co_name == "_Planted":
        return next((const for const in inside if const.co_name == name), None)
    return next((found for const in inside if (found := _code_of(const, name)) is not None), None)
