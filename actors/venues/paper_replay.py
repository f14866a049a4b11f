"""A replay of a CSV file: `timestamp,price` ticks, or `timestamp,open,high,low,close[,volume]` bars.

Times are UTC, `2022-01-01 00:00:00.000000` or RFC 3339. A header line is allowed. A bar becomes four ticks at 0, 1/4,
1/2 and 3/4 of its length: open; low then high when it closed at or above its open, else high then low; close. The
length of a bar is the smallest distance between the first rows. At the end of the file more rows are waited for; a last
line without its newline is still being written and not read yet.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import NoReturn

from actors.domain.model import Instrument, Micros
from actors.venues.paper_market import MarketDataError, Tick, quote_of
from actors.venues.paper_settings import ReplaySettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEFAULT_BAR = 60_000_000
_FIRST_ROWS = 10
_MAXIMUM_LINE = 4096
_TICK_COLUMNS = 2
_BAR_COLUMNS = (5, 6)


@dataclass(frozen=True, slots=True)
class _Row:
    """One parsed line and where the next one begins."""

    at: Micros
    prices: tuple[Decimal, ...]
    columns: int
    end: int


class ReplaySource:
    """One symbol's prices from a file."""

    def __init__(self, symbol: str, settings: ReplaySettings, instrument: Instrument, *, cursor: str) -> None:
        """Open the file at the cursor ("": its beginning). Raises MarketDataError."""
        self._symbol = symbol
        self._settings = settings
        self._instrument = instrument
        try:
            self._file = settings.file.open("rb")
        except OSError as error:
            message = f"{symbol}: {settings.file} cannot be read ({error.strerror}); name a CSV file that exists"
            raise MarketDataError(message) from error
        self._bar_length = self._columns = 0
        self._row: _Row | None = None
        self._cursor = ""
        self._offset = self._index = 0
        self._line = 1
        self._after: Micros | None = None
        if cursor:
            self._seek(cursor)

    def first_price(self) -> Decimal | None:
        """The price of the first row, or None while there is none. Raises MarketDataError."""
        rows = self._first_rows()
        return rows[0].prices[0] if rows else None

    def peek(self, now: Micros) -> Tick | None:
        """The next tick, or None at the end of what is written so far. Raises MarketDataError."""
        if self._row is None:
            self._row = self._next_row()
        row = self._row
        if row is None:
            return None
        at = row.at + self._bar_length * self._index // 4
        last = self._index + 1 == len(row.prices)
        place = (row.end, 0, self._line + 1) if last else (self._offset, self._index + 1, self._line)
        return Tick(
            symbol=self._symbol,
            quote=quote_of(at, row.prices[self._index], self._settings.spread_percent, self._instrument.tick_size),
            previous=self._cursor,
            cursor=f'["csv",{place[0]},{place[1]},{place[2]},{at}]',
        )

    def advance(self, tick: Tick) -> None:
        """The tick was played."""
        row = self._row
        if row is None:
            return
        self._cursor = tick.cursor
        self._after = tick.quote.at
        self._index += 1
        if self._index == len(row.prices):
            self._offset, self._index, self._row = row.end, 0, None
            self._line += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _seek(self, cursor: str) -> None:
        kind, *place = json.loads(cursor)
        if kind != "csv":
            message = (
                f"{self._symbol}: the paper exchange has been walking at random and is now told to replay "
                f"{self._settings.file}; take the file out again, or begin anew by moving the exchange's ledger away"
            )
            raise MarketDataError(message)
        self._cursor = cursor
        self._offset, self._index, self._line, self._after = (int(number) for number in place)
        self._file.seek(max(0, self._offset - 1))
        if self._offset and self._file.read(1) != b"\n":
            message = (
                f"{self._settings.file} is not the file that was replayed so far (no row begins at byte "
                f"{self._offset}); bring the former file back, or begin anew by moving the exchange's ledger away"
            )
            raise MarketDataError(message)

    def _next_row(self) -> _Row | None:
        """Read the row at the offset, past a header and empty lines; None while none is complete."""
        if not self._bar_length:
            rows = self._first_rows()
            if not rows:
                return None
            self._columns = rows[0].columns
            gaps = [later.at - earlier.at for earlier, later in pairwise(rows) if later.at > earlier.at]
            self._bar_length = min(gaps, default=_DEFAULT_BAR)
        while (row := self._read_at(self._offset, self._line)) is not None:
            if not row.prices:
                self._offset = row.end
                self._line += 1
                continue
            if row.columns != self._columns:
                self._fail(self._line, f"{row.columns} columns where the first row has {self._columns}")
            # A row is compared with the last tick, so that time never goes back even between the parts of two bars.
            if self._after is not None and self._index == 0 and row.at < self._after:
                self._fail(self._line, "its time is before the price before it; sort the rows, evenly spaced for bars")
            return row
        return None

    def _first_rows(self) -> list[_Row]:
        rows: list[_Row] = []
        offset, line = 0, 1
        while len(rows) < _FIRST_ROWS and (row := self._read_at(offset, line)) is not None:
            if row.prices:
                rows.append(row)
            offset, line = row.end, line + 1
        return rows

    def _read_at(self, offset: int, line: int) -> _Row | None:
        """The row at an offset (without prices: a header or an empty line); None while it is not complete."""
        self._file.seek(offset)
        raw = self._file.readline(_MAXIMUM_LINE)
        end = offset + len(raw)
        if not raw.endswith(b"\n"):
            if len(raw) == _MAXIMUM_LINE:
                self._fail(line, "it has no end; this is not a CSV file of prices")
            return None
        try:
            fields = raw.decode("utf-8-sig").strip().split(",")
        except UnicodeDecodeError:
            self._fail(line, "it is not text; save the file as UTF-8")
        if fields == [""] or (line == 1 and not fields[0][:1].isdigit()):
            return _Row(0, (), 0, end)
        return self._parse(fields, line, end)

    def _parse(self, fields: list[str], line: int, end: int) -> _Row:
        if len(fields) != _TICK_COLUMNS and len(fields) not in _BAR_COLUMNS:
            self._fail(line, f"{len(fields)} columns; ticks are timestamp,price and bars timestamp,open,high,low,close")
        try:
            moment = datetime.fromisoformat(fields[0].strip())
            prices = tuple(Decimal(field.strip()) for field in fields[1:5])
        except (ValueError, InvalidOperation):
            self._fail(line, f"{','.join(fields)!r} is no row of a time in UTC and prices; correct or remove it")
        at = (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND
        if not all(price.is_finite() and price > 0 for price in prices):
            self._fail(line, "a price is not above zero; correct or remove the row")
        if len(prices) == 1:
            return _Row(at, prices, len(fields), end)
        first, high, low, close = prices
        if high < max(first, close) or low > min(first, close):
            self._fail(line, "open or close lies outside high and low; correct or remove the row")
        path = (first, low, high, close) if close >= first else (first, high, low, close)
        return _Row(at, path, len(fields), end)

    def _fail(self, line: int, what: str) -> NoReturn:
        message = f"{self._settings.file}, line {line}: {what}"
        raise MarketDataError(message)
