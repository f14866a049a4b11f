"""Recorded prices as a path: rows of CSV become ticks in the order in which a position would have met them.

A bar does not say in which order its extremes came. The path takes the adverse one first unless told otherwise, so that
a replay flatters no plan. Only a bar's open (and every recorded tick) may jump; between the ticks of one bar the price
passes through everything in between.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

from actors.domain.model import Micros, Side

BarPath = Literal["adverse-first", "favourable-first"]

TICK_HEADER = ("timestamp", "price")
BAR_HEADER = ("timestamp", "open", "high", "low", "close")

# One bar alone does not tell how long it is; a minute is what most feeds record.
DEFAULT_BAR_LENGTH: Micros = 60_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[+]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)


class Tick(NamedTuple):
    """One recorded price."""

    at: Micros
    price: Decimal


class Bar(NamedTuple):
    """The prices of one interval that began at `at`."""

    at: Micros
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Waypoint(NamedTuple):
    """One price on the path; `gap` says that it was jumped to, not travelled to."""

    at: Micros
    price: Decimal
    gap: bool


Rows = Sequence[Tick | Bar]

R = TypeVar("R", Tick, Bar)


def parse_moment(text: str) -> Micros:
    """Microseconds of `YYYY-MM-DD HH:MM:SS[.ffffff]` (read as UTC) or of an RFC 3339 time; ValueError otherwise."""
    stripped = text.strip()
    try:
        if _MOMENT.fullmatch(stripped) is None:
            raise ValueError
        moment = datetime.fromisoformat(stripped.upper())
    except ValueError:
        message = f"{text!r} is not a time; write it as 2022-01-31 23:59:00.000000 (UTC) or 2022-01-31T23:59:00Z"
        raise ValueError(message) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def moment_text(at: Micros) -> str:
    """RFC 3339 in UTC with microseconds, always the same width, so that texts sort as times do."""
    return (_EPOCH + at * _MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rows(lines: Iterable[str]) -> Rows:
    """Ticks (`timestamp,price`) or bars (`timestamp,open,high,low,close[,volume]`), as the header says.

    Raises ValueError, with the line's number and the remedy, for the first line that cannot be trusted.
    """
    numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
    filled = ((number, line) for number, line in numbered if line)
    number, header = next(filled, (1, ""))
    names = tuple(name.strip().lower() for name in header.lstrip("\ufeff").split(","))
    if names == TICK_HEADER:
        return _in_order(filled, _tick)
    if names in (BAR_HEADER, (*BAR_HEADER, "volume")):
        return _in_order(filled, partial(_bar, columns=len(names)))
    raise _wrong(
        number, "the header must be timestamp,price (ticks) or timestamp,open,high,low,close[,volume] (bars); add it"
    )


def first_at_or_after(rows: Rows, entry_at: Micros) -> int:
    """The index of the row at which a position opened at this moment begins; ValueError where the data ends first."""
    if not rows:
        raise ValueError("the data holds no rows; give it at least one below its header")
    for index, row in enumerate(rows):
        if row.at >= entry_at:
            return index
    raise ValueError(
        f"nothing in the data is at or after {moment_text(entry_at)}; it ends at {moment_text(rows[-1].at)}: "
        "enter earlier, or give data that reaches further"
    )


def waypoints(rows: Rows, start: int, side: Side, bar_path: BarPath) -> Iterator[Waypoint]:
    """The path from row `start` on. The ticks of a bar are at 0, 1/4, 1/2 and 3/4 of its length."""
    quarter = bar_length(rows) // 4
    low_first = (side is Side.LONG) == (bar_path == "adverse-first")
    for row in rows[start:]:
        if isinstance(row, Tick):
            yield Waypoint(row.at, row.price, True)
            continue
        first, second = (row.low, row.high) if low_first else (row.high, row.low)
        yield Waypoint(row.at, row.open, True)
        yield Waypoint(row.at + quarter, first, False)
        yield Waypoint(row.at + 2 * quarter, second, False)
        yield Waypoint(row.at + 3 * quarter, row.close, False)


def bar_length(rows: Rows) -> Micros:
    """The smallest distance of two rows: a hole in the data must not stretch the bar before it."""
    return min((after.at - before.at for before, after in pairwise(rows)), default=DEFAULT_BAR_LENGTH)


def _in_order(lines: Iterable[tuple[int, str]], read: Callable[[int, str], R]) -> tuple[R, ...]:
    """Every row, none before the one above it; two bars (unlike two ticks) cannot begin at once."""
    rows: list[R] = []
    for number, line in lines:
        row = read(number, line)
        if rows and (row.at < rows[-1].at or (row.at == rows[-1].at and isinstance(row, Bar))):
            raise _wrong(number, "its time is not after that of the row above; sort the rows and drop repeats")
        rows.append(row)
    return tuple(rows)


def _tick(number: int, line: str) -> Tick:
    at, (price,) = _fields(number, line, 1, len(TICK_HEADER))
    return Tick(at, price)


def _bar(number: int, line: str, columns: int) -> Bar:
    # A volume is not read: no exit depends on it, and exchanges disagree about its unit.
    at, (opened, high, low, closed) = _fields(number, line, 4, columns)
    if not low <= min(opened, closed) <= max(opened, closed) <= high:
        raise _wrong(number, f"high {high} and low {low} must enclose open {opened} and close {closed}; correct it")
    return Bar(at, opened, high, low, closed)


def _fields(number: int, line: str, prices: int, columns: int) -> tuple[Micros, list[Decimal]]:
    """The time and the prices of one line."""
    cells = line.split(",")
    if len(cells) != columns:
        raise _wrong(number, f"{len(cells)} fields where the header has {columns}; one row has one line")
    try:
        at = parse_moment(cells[0])
    except ValueError as error:
        raise _wrong(number, str(error)) from None
    return at, [_price(number, cell.strip()) for cell in cells[1 : 1 + prices]]


def _price(number: int, text: str) -> Decimal:
    price = Decimal(text) if _NUMBER.fullmatch(text) else None
    if price is None or price <= 0:
        raise _wrong(number, f"{text!r} is not a price; write a number above zero with a dot for decimals")
    return price


def _wrong(number: int, what: str) -> ValueError:
    return ValueError(f"line {number}: {what}")
