"""The log: JSON lines on stdout (coloured when that is a terminal), with every secret taken out.

Event names are constant, everything else is a field. The lines go through orjson and a bytes logger, because the
standard library's formatter costs several times as much. The libraries' own loggers are routed in, so that there is one
format and one redaction. A log that cannot be written never harms whoever wanted to write it.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final

import orjson
import structlog

from service.decimals import plain

HIDDEN: Final = "[hidden]"
_MAX_DEPTH: Final = 8
_SECRET_KEY: Final = re.compile(r"(^|_)(secret|token|password|passphrase|api_?key|authorization)$", re.IGNORECASE)
_NUMBERS: Final = (bool, int, float, Decimal)
# As many names of fields as are remembered; there are a few hundred.
_MOST_NAMES: Final = 4096
# A value shorter than this would hide half of every line, and is no secret worth the name.
_SHORTEST: Final = 4


class Redaction:
    """Takes secrets out of log entries: fields named like one, and registered values wherever they appear."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._known: tuple[str, ...] = ()
        # Field names that are not a secret's, and hold none; only ever added to, up to a limit.
        self._harmless: set[str] = set()

    def register(self, values: Iterable[str]) -> None:
        """Hide exactly these values from now on (replacing the former ones)."""
        known = sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True)
        self._known, self._harmless = tuple(known), set()
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
        if self._is_harmless(entry):
            return entry
        clean: dict[str, Any] = self.value(entry)
        return clean

    def _is_harmless(self, entry: Mapping[str, Any]) -> bool:
        """Whether there is nothing to take out: one search of all texts costs a tenth of a search of each field."""
        harmless, texts = self._harmless, []
        for key, item in entry.items():
            if key not in harmless and not self._learns(key):
                return False
            if isinstance(item, str):
                texts.append(item)
            elif item is not None and not isinstance(item, _NUMBERS):
                return False
        # What stands between them is in no secret that anybody could type, and would only make it look again.
        text = "\0".join(texts)
        return not any(secret in text for secret in self._known)

    def _learns(self, key: object) -> bool:
        if not isinstance(key, str) or _SECRET_KEY.search(key) or any(secret in key for secret in self._known):
            return False
        if len(self._harmless) < _MOST_NAMES:
            self._harmless.add(key)
        return True


redaction: Final = Redaction()


class _QuietStream:
    """A stream whose reader may go away: a broken pipe must not end an actor."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        try:
            return self._stream.write(data)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        # Not contextlib.suppress, which costs a microsecond a line.
        try:  # noqa: SIM105
            self._stream.flush()
        except (OSError, ValueError):
            pass


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
    structlog.configure(
        processors=[
            _opening,
            structlog.processors.format_exc_info,
            redaction,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=_QuietStream(target)),  # type: ignore[arg-type]
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


def _opening(_logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """RFC 3339 UTC, always with microseconds. It comes first in the line, then the level and the event's name."""
    second, micros = divmod(time.time_ns() // 1000, 1_000_000)
    entry["level"] = _LEVELS.get(method, method)
    return {"timestamp": f"{_seconds.text(second)}.{micros:06d}Z", "level": None, "event": None, **entry}


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


# What structlog's own processor would say: a method that is only another word for a level.
_LEVELS: Final = {"warn": "warning", "exception": "error"}
_CONSOLE: Final = structlog.dev.ConsoleRenderer(colors=True, pad_event_to=24)
