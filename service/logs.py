"""The log: JSON lines on stdout (coloured when that is a terminal), with every secret taken out.

Event names are constant, everything else is a field. A burst writes hundred thousand lines in the time of its orders,
so a line of plain values takes one step from the call to the outlet; whatever else there is to say takes structlog's
chain of processors, with the same result. The libraries' own loggers are routed in, so that there is one format and one
redaction. A log that cannot be written never harms whoever wanted to write it.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final

import orjson
import structlog

from service.decimals import plain
from service.log_outlet import Outlet, flush_waiting
from service.redaction import HIDDEN, Redaction, redaction

__all__ = ["HIDDEN", "Redaction", "configure", "flush_waiting", "redaction"]


class _ForeignHandler(logging.Handler):
    """Hands records of the standard library's loggers (pykka's, uvicorn's) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        logger = structlog.get_logger()
        logger.log(record.levelno, "library.log", logger=record.name, message=message, exc_info=record.exc_info or None)


def configure(
    *,
    secrets: Iterable[str] = (),
    level: int = logging.INFO,
    stream: BinaryIO | None = None,
    coloured: bool | None = None,
) -> None:
    """Set logging up for this process. `coloured` None asks whether stdout is a terminal."""
    redaction.register(secrets)
    target = sys.stdout.buffer if stream is None else stream
    if coloured is None:
        coloured = stream is None and sys.stdout.isatty()
    renderer: Any = _console if coloured else _json
    outlet = Outlet(target)
    structlog.configure(
        processors=[
            _opening,
            structlog.processors.format_exc_info,
            redaction,
            renderer,
        ],
        wrapper_class=_bound_logger(level),
        logger_factory=lambda *_: outlet,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ForeignHandler()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "pykka"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Handlers must never print their own troubles with a record to stderr.
    logging.raiseExceptions = False


class _Seconds:
    """The text of the present second, which thousands of lines may share."""

    def __init__(self) -> None:
        # Both in one attribute: another thread sees both of one second, or both of another.
        self._latest = (-1, "")

    def text(self, second: int) -> str:
        """`2024-01-31T23:59:59`, of a second since 1970."""
        latest, text = self._latest
        if latest != second:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._latest = (second, text)
        return text


_seconds: Final = _Seconds()


# -- lines of plain values ---------------------------------------------------------------------------------------------


def _bound_logger(level: int) -> type[Any]:
    """structlog's logger of this level, whose methods take the short way where they can."""
    usual = structlog.make_filtering_bound_logger(level)
    short = {
        name: _short(name, getattr(usual, name), at_once=number >= logging.WARNING)
        for name, number in _NUMBERS.items()
        if number >= level
    }
    return type(usual.__name__, (usual,), short)


def _short(name: str, usual: Callable[..., Any], *, at_once: bool) -> Callable[..., Any]:
    def write(self: Any, event: str, *args: Any, **fields: Any) -> Any:
        entry = {"timestamp": _now(), "level": name, "event": event, **self._context, **fields}
        # A type is told by itself, without its parents: what is a string in other clothes goes the usual way.
        if args or not _PLAIN.issuperset(map(type, entry.values())) or self._processors[-1] is not _json:
            return usual(self, event, *args, **fields)
        if entry["level"] is not name or "exc_info" in entry:
            return usual(self, event, **fields)
        try:
            line = orjson.dumps(entry, default=_plain, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            return usual(self, event, **fields)
        if not redaction.is_clean(entry, line):
            return usual(self, event, **fields)
        self._logger.write(line, at_once=at_once)
        return None

    return write


def _now() -> str:
    """RFC 3339 UTC, always with microseconds."""
    second, micros = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_seconds.text(second)}.{micros:06d}Z"


# -- all others --------------------------------------------------------------------------------------------------------


def _opening(_logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The time comes first in the line, then the level and the event's name."""
    entry["level"] = _LEVELS.get(method, method)
    return {"timestamp": _now(), "level": None, "event": None, **entry}


def _json(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> bytes:
    """One JSON line. Lone surrogates and the like, which orjson refuses, are escaped rather than lost."""
    try:
        return orjson.dumps(entry, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return orjson.dumps({key: ascii(value) for key, value in entry.items()})


def _console(logger: Any, method: str, entry: MutableMapping[str, Any]) -> bytes:
    """One coloured line for a person."""
    text = _CONSOLE(logger, method, {key: _shown(value) for key, value in entry.items()})
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else str(value)


def _shown(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else value


_PLAIN: Final = {str, int, float, bool, type(None), Decimal}
_NUMBERS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# What structlog's own processor would say: a method that is only another word for a level.
_LEVELS: Final = {"warn": "warning", "exception": "error"}
_CONSOLE: Final = structlog.dev.ConsoleRenderer(colors=True, pad_event_to=24)
