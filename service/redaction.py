"""Redaction: takes secrets out of what is logged, before anybody sees it.

A field named like a secret is hidden, and so is a registered value wherever it stands, deep inside too. Nearly every
line has none of either: that is found out on the finished line, for a fraction of what looking into each field costs.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from decimal import Decimal
from typing import Any, Final

import orjson

HIDDEN: Final = "[hidden]"
_MAX_DEPTH: Final = 8
_SECRET_KEY: Final = re.compile(r"(^|_)(secret|token|password|passphrase|api_?key|authorization)$", re.IGNORECASE)
# As many as are remembered; there are a few hundred.
_MOST_SHAPES: Final = 4096
# A value shorter than this would hide half of every line, and is no secret worth the name.
_SHORTEST: Final = 4


class Redaction:
    """Takes secrets out of log entries: fields named like one, and registered values wherever they appear."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None
        # The names of all fields of a line, where none is a secret's; only ever added to, up to a limit.
        self._shapes: set[tuple[str, ...]] = set()
        # The registered values as they stand in a line of JSON.
        self._as_written: tuple[bytes, ...] = ()

    def register(self, values: Iterable[str]) -> None:
        """Hide exactly these values from now on (replacing the former ones)."""
        known = sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True)
        self._shapes = set()
        self._as_written = tuple(_written(value) for value in known)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """A text without the registered values."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def value(self, value: Any, depth: int = 0) -> Any:
        """Any value without secrets, nested ones included."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float | Decimal):
            return value
        if depth >= _MAX_DEPTH:
            return self.text(repr(value))
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): HIDDEN if _SECRET_KEY.search(str(key)) and item else self.value(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        return self.text(str(value))

    def __call__(self, _logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The structlog processor."""
        clean: dict[str, Any] = self.value(entry)
        return clean

    def is_clean(self, entry: Mapping[str, Any], line: bytes) -> bool:
        """Whether an entry of plain values has nothing to take out; `line` is what it looks like in JSON."""
        # JSON writes a value one character at a time, so one that holds a secret is written as one that holds it.
        for secret in self._as_written:
            if secret in line:
                return False
        shape = tuple(entry)
        if shape in self._shapes:
            return True
        if any(map(_SECRET_KEY.search, shape)):
            return False
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        return True


redaction: Final = Redaction()


def _written(value: str) -> bytes:
    """As it stands in a line of JSON. What UTF-8 has no bytes for is in no line that is finished: b"" finds all."""
    try:
        return orjson.dumps(value)[1:-1]
    except TypeError:
        return b""
