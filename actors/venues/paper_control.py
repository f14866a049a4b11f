"""Faults from a file: how a test meddles with the paper venue of a service that runs in another process.

    {"rules": [{"on": "submit", "position": "p1", "leg": "target-1", "delay_request_seconds": 2}]}

The words are those of `Rule`; numbers may also be strings. The file is looked at before each request: a changed one
replaces all rules, counted anew (so do a restart and a `touch`); none means no rules; a malformed one is ignored, with
a warning, and the rules before it stay. Write it elsewhere and rename it, or half a file may be read.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import structlog

from actors.domain.model import OrderKind, OrderSide
from actors.venues.paper_faults import RESTS, Faults, Rule

_log = structlog.get_logger(__name__)


class ControlFile(Faults):
    """Faults whose rules are a file's. Rules added by hand last until the file changes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def take(self, on: str, subject: object, now: float) -> Rule | None:
        """The rule for this subject, by the file as it is now."""
        self._look()
        return super().take(on, subject, now)

    def _look(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            rules = parse_rules(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if self._seen is not None:
                self._seen = None
                self.clear()
            return
        except (OSError, ValueError) as error:
            if seen != self._seen:
                _log.warning("paper.control_ignored", file=str(self._path), reason=str(error))
            self._seen = seen
            return
        self._seen = seen
        self.replace(rules)
        _log.info("paper.control_read", file=str(self._path), rules=len(rules))


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a control file. Raises ValueError, which says what is wrong."""
    content = json.loads(text, parse_float=Decimal)
    if not isinstance(content, Mapping) or content.keys() != {"rules"} or not isinstance(content["rules"], list):
        raise ValueError('the file must be {"rules": [ ... ]} and nothing else')
    return tuple(_rule(number, entry) for number, entry in enumerate(content["rules"], 1))


def _rule(number: int, entry: object) -> Rule:
    if not isinstance(entry, Mapping):
        raise ValueError(f"rule {number} is not an object")
    unknown = sorted(entry.keys() - _READERS.keys())
    if unknown or "on" not in entry:
        raise ValueError(f"rule {number}: {', '.join(unknown)} unknown" if unknown else f"rule {number} has no `on`")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        try:
            values[key] = _READERS[key](value)
        except (ValueError, TypeError, InvalidOperation) as error:
            raise ValueError(f"rule {number}: {key} cannot be {value!r}") from error
    try:
        return Rule(**values)
    except ValueError as error:
        raise ValueError(f"rule {number}: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _number(value: object) -> Decimal:
    number = Decimal(str(value))
    if isinstance(value, bool) or not number.is_finite():
        raise TypeError("not a number")
    return number


def _count(value: object) -> int:
    number = _number(value)
    if number % 1:
        raise TypeError("not a whole number")
    return int(number)


def _seconds(value: object) -> float:
    return float(_number(value))


def _rest(value: object) -> str | float:
    return value if isinstance(value, str) and value in RESTS else _seconds(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("on", "account", "symbol", "client_order_id", "position", "leg", "lose", "error"), _text),
    **dict.fromkeys(("skip", "times", "repeat", "hold_for", "behind_executions"), _count),
    **dict.fromkeys(("for_seconds", "delay_request_seconds", "delay_reply_seconds"), _seconds),
    "kind": OrderKind,
    "side": OrderSide,
    "absent": _truth,
    "fill": _number,
    "rest": _rest,
}
