"""The log's way out: lines in order, at once or a moment later, none lost; the short way says what the long does."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog

from actors.domain.model import Phase
from service import log_outlet, logs
from service.log_outlet import Outlet, flush_waiting


class Buffered(io.BytesIO):
    """A stream that shows what it was told to hand over."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_over = b""
        self.flushed = threading.Event()

    def flush(self) -> None:
        """Everything so far."""
        self.handed_over = self.getvalue()
        self.flushed.set()


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment for which a line may wait does not end by itself."""
    monkeypatch.setattr(log_outlet, "LATEST_SECONDS", 1e9)
    monkeypatch.setattr(log_outlet._Flusher, "wake", lambda _: None)


@pytest.mark.usefixtures("lasting")
def test_what_waits_goes_out_with_the_next_warning_or_at_the_end() -> None:
    """The order is kept, and nothing is left."""
    stream = Buffered()
    outlet = Outlet(stream)
    outlet.flush()
    outlet.info(b"1")
    assert stream.handed_over == b""
    outlet.warning(b"2")
    assert stream.handed_over == b"1\n2\n"
    outlet.info(b"3")
    assert stream.handed_over == b"1\n2\n"
    flush_waiting()
    assert stream.handed_over == b"1\n2\n3\n"


def test_a_line_of_a_burst_goes_out_a_moment_later() -> None:
    """Without anything else that happens."""
    stream = Buffered()
    outlet = Outlet(stream)
    outlet.info(b"1")
    for _ in range(3):
        stream.flushed.clear()
        outlet.info(b"2")
        outlet.info(b"3")
        assert stream.flushed.wait(30)
    outlet.flush()
    assert stream.handed_over == b"1\n" + b"2\n3\n" * 3


def test_without_another_thread_a_line_goes_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may give none."""

    def refused(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(log_outlet._flusher, "_thread", None)
    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(log_outlet, "LATEST_SECONDS", 1e9)
    stream = Buffered()
    outlet = Outlet(stream)
    outlet.flush()
    outlet.info(b"1")
    assert stream.handed_over == b"1\n"


def test_lines_of_many_threads_stay_whole() -> None:
    """Each is one write."""
    stream = io.BytesIO()
    outlet = Outlet(io.BufferedWriter(stream, buffer_size=100))

    def write(word: bytes) -> None:
        for _ in range(200):
            outlet.info(word * 30)

    threads = [threading.Thread(target=write, args=(word,)) for word in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outlet.flush()
    lines = stream.getvalue().splitlines()
    assert sorted(lines) == [b"a" * 30] * 200 + [b"b" * 30] * 200 + [b"c" * 30] * 200


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BytesIO]:
    """Where the log goes, with a clock that stands still."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    found = io.BytesIO()
    logs.configure(secrets=['s3"cret\\värde\n'], stream=found, coloured=False)
    monkeypatch.setattr(logs, "_now", lambda: "2026-01-01T00:00:00.000000Z")
    yield found
    structlog.reset_defaults()
    logs.redaction.register(())
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


class Text(str):
    """A string in other clothes, which takes the long way."""

    __slots__ = ()


FIELDS: list[dict[str, Any]] = [
    {"position": "p1", "price": Decimal("1.50"), "count": 3, "share": 0.5, "held": True, "nothing": None},
    {"text": 'a "quoted" \\ [text] {with} braces\n', "other": "ünïcödé"},
    {"note": 'see s3"cret\\värde\n here'},
    {"token": "visible", "count": 1},
    {"api_key": "", "count": 1},
    {"list": [1, "a"], "nested": {"secret": "visible"}},
    {"big": 10**30},
    {"text": "\ud800"},
    {"level": "mine"},
    {"timestamp": "mine", "phase": Phase.OPEN},
    {"number": float("nan")},
]


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("method", ["info", "warning", "error"])
def test_the_short_way_says_what_the_long_one_does(stream: io.BytesIO, method: str, fields: dict[str, Any]) -> None:
    """Byte for byte, bound fields included."""
    log = structlog.get_logger().bind(account="a1")
    getattr(log, method)("x", **fields)
    getattr(log, method)("x", plain="y", **fields)
    getattr(log, method)(Text("x"), **fields)
    getattr(log, method)(Text("x"), plain="y", **fields)
    first, second, third, fourth = stream.getvalue().splitlines()
    assert (first, second) == (third, fourth)
    assert b"visible" not in stream.getvalue()
    assert all("s3" not in str(value) for value in json.loads(first).values())


def test_whoever_changes_the_chain_is_heard(stream: io.BytesIO) -> None:
    """A test that captures what is logged, for one."""
    log = structlog.get_logger().bind(account="a1")
    with structlog.testing.capture_logs() as heard:
        log.info("x", count=1)
    log.info("y")
    assert heard == [{"account": "a1", "count": 1, "event": "x", "log_level": "info"}]
    assert b'"y"' in stream.getvalue()
    assert b'"x"' not in stream.getvalue()


def test_a_lower_level_is_not_written(stream: io.BytesIO) -> None:
    """As it is configured."""
    structlog.get_logger().debug("x")
    assert stream.getvalue() == b""


def test_placeholders_are_filled_in(stream: io.BytesIO) -> None:
    """As structlog does."""
    structlog.get_logger().info("x %d", 5)
    assert json.loads(stream.getvalue())["event"] == "x 5"
