"""The log: one JSON line an event, exact, without secrets, whoever wrote it."""

import io
import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog

from actors.domain.model import Phase
from service import logs


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    """Where the log goes, and everything as it was afterwards."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    found = io.BytesIO()
    logs.configure(secrets=["s3cret-value", "abc"], stream=found, coloured=False)
    yield found
    structlog.reset_defaults()
    logs.redaction.register(())
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def entries(stream: io.BytesIO) -> list[dict[str, Any]]:
    """Every line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line(stream: io.BytesIO) -> None:
    """Time first, in UTC with microseconds; decimals exact, enums as their words."""
    structlog.get_logger().info("order.filled", price=Decimal("1.50"), phase=Phase.OPEN, at=5)
    (entry,) = entries(stream)
    assert list(entry)[:3] == ["timestamp", "level", "event"]
    assert entry["timestamp"][-8:-1].startswith(".")
    assert entry["timestamp"].endswith("Z")
    assert (entry["level"], entry["event"], entry["price"], entry["phase"]) == ("info", "order.filled", "1.5", "open")


def test_secrets_are_taken_out_wherever_they_stand(stream: io.BytesIO) -> None:
    """By the name of their field, and by their value in any text, deep inside too."""
    structlog.get_logger().info(
        "x",
        token="visible",  # noqa: S106
        api_key="visible",
        http_token="visible",  # noqa: S106
        Authorization="visible",
        nested={"secret": "visible", "list": [{"password": "visible"}, "see s3cret-value"]},
        message="redis://:s3cret-value@host",
        tokens=3,
    )
    text = stream.getvalue().decode()
    assert "visible" not in text
    assert "s3cret-value" not in text
    (entry,) = entries(stream)
    assert entry["tokens"] == 3
    assert entry["nested"]["list"][1] == "see [hidden]"


@pytest.mark.parametrize(
    "fields",
    [
        {"note": "see s3cret-value"},
        {"s3cret-value": 1},
        {"token": "visible"},
        {"phase": Phase.OPEN, "note": "s3cret-value"},
        {"note": "plain", "list": ["s3cret-value"]},
    ],
)
def test_a_line_that_looks_harmless_is_still_looked_at(stream: io.BytesIO, fields: dict[str, Any]) -> None:
    """Also after the same fields were harmless, and whatever else is in the line."""
    log = structlog.get_logger()
    log.info("x", note="plain", phase=Phase.OPEN, count=1, price=Decimal(1), nothing=None)
    log.info("x", **fields)
    assert b"s3cret-value" not in stream.getvalue()
    assert b"visible" not in stream.getvalue()
    assert "hidden" in json.dumps(entries(stream)[1])


def test_a_secret_that_is_registered_later_is_looked_for_in_known_names_too(stream: io.BytesIO) -> None:
    """What was harmless is judged anew."""
    structlog.get_logger().info("x", **{"new-secret-name": 1})
    logs.redaction.register(["new-secret"])
    structlog.get_logger().info("x", **{"new-secret-name": 1})
    assert stream.getvalue().count(b"new-secret") == 1


def test_a_level_is_named_as_ever(stream: io.BytesIO) -> None:
    """By structlog's own words, whatever the method was called, and whatever a field is called."""
    log = structlog.get_logger()
    log.warning("x", level=7)
    log.exception("x", exc_info=None)
    log.critical("x")
    assert [entry["level"] for entry in entries(stream)] == ["warning", "error", "critical"]


def test_a_second_has_its_own_text() -> None:
    """And keeps it only as long as it lasts."""
    seconds = logs._Seconds()
    for second, text in ((0, "1970-01-01T00:00:00"), (0, "1970-01-01T00:00:00"), (61, "1970-01-01T00:01:01")):
        assert seconds.text(second) == text


def test_a_traceback_is_a_field_without_secrets(stream: io.BytesIO) -> None:
    """On one line, as everything else."""
    try:
        raise ValueError("with s3cret-value inside")
    except ValueError:
        structlog.get_logger().exception("actor.failed")
    (entry,) = entries(stream)
    assert "ValueError: with [hidden] inside" in entry["exception"]


def test_the_libraries_write_into_the_same_log(stream: io.BytesIO) -> None:
    """pykka's and uvicorn's own loggers, arguments that do not fit included."""
    logging.getLogger("pykka").warning("lost %s", "s3cret-value")
    logging.getLogger("uvicorn.error").error("%d things", "no number")
    first, second = entries(stream)
    assert (first["event"], first["logger"], first["message"], first["level"]) == (
        "library.log",
        "pykka",
        "lost [hidden]",
        "warning",
    )
    assert second["message"] == "%d things"


def test_what_json_cannot_say_is_still_logged(stream: io.BytesIO) -> None:
    """Half a surrogate, a huge number, an object of no kind, a ring."""
    ring: list[Any] = []
    ring.append(ring)
    structlog.get_logger().info("x", text="\ud800", number=10**30, thing=object(), ring=ring)
    assert entries(stream)[0]["event"].strip("'") == "x"


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    """A pipe whose reader has gone must not end an actor."""

    class Gone(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise BrokenPipeError

    logs.configure(stream=Gone(), coloured=False)
    structlog.get_logger().info("x")
    structlog.reset_defaults()


def test_on_a_terminal_it_is_coloured(stream: io.BytesIO) -> None:
    """The same redaction, for a person."""
    coloured = io.BytesIO()
    logs.configure(secrets=["s3cret-value"], stream=coloured, coloured=True)
    structlog.get_logger().info("order.filled", price=Decimal("1.50"), note="s3cret-value")
    text = coloured.getvalue().decode()
    assert "\x1b[" in text
    assert "1.5" in text
    assert "s3cret-value" not in text
