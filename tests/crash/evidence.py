"""What a test reads behind the service's back: the exchange's own ledger, the failure log, the service's log."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from actors.domain.step import ORDER_TAG_DIGITS, client_order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """One execution at the exchange."""

    side: str
    quantity: Decimal
    price: Decimal
    client_order_id: str

    def is_of(self, position_id: str, leg: str) -> bool:
        """Whether it belongs to the first order of a leg, whichever installation sent it."""
        return self.client_order_id[ORDER_TAG_DIGITS:] == client_order_id("", position_id, leg, 0)


@contextmanager
def nobody_writes(ledger: Path) -> Iterator[None]:
    """No process is inside a write of the paper exchange's file: the moment to stop one.

    A keeper that stands still cannot hold a real exchange's books up; one that was stopped inside a write would, by
    SQLite's lock, and would keep every other keeper from the exchange for as long as it stands.
    """
    with closing(sqlite3.connect(ledger, timeout=60, isolation_level=None)) as ours:
        ours.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            ours.execute("ROLLBACK")


class Ledger:
    """The paper exchange's file, read by somebody else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.nobody_writes = partial(nobody_writes, path)

    def executed(self, symbol: str, side: str | None = None) -> list[Executed]:
        """Every execution in a symbol, oldest first."""
        sql = "SELECT side, quantity, price, client_order_id FROM trades WHERE symbol = ? ORDER BY id"
        found = [
            Executed(side=row[0], quantity=Decimal(row[1]), price=Decimal(row[2]), client_order_id=row[3])
            for row in self._read(sql, symbol)
        ]
        return [trade for trade in found if side in (None, trade.side)]

    def held(self, symbol: str) -> Decimal:
        """The signed size of the account's position in a symbol."""
        rows = self._read("SELECT quantity FROM positions WHERE symbol = ?", symbol)
        return sum((Decimal(row[0]) for row in rows), Decimal(0))

    def at_rest(self, symbol: str) -> dict[str, Decimal]:
        """What each order that rests in a symbol would still close, by client order id."""
        sql = "SELECT client_order_id, quantity, filled FROM orders WHERE state = 'open' AND symbol = ?"
        rows = self._read(sql, symbol)
        return {row[0]: Decimal(row[1]) - Decimal(row[2]) for row in rows}

    def _read(self, sql: str, *values: str) -> list[Any]:
        # A connection of its own each time: nothing of it may stay open beside the exchange's.
        with closing(sqlite3.connect(self._path, timeout=30.0)) as connection:
            return connection.execute(sql, values).fetchall()


def sold(trades: Sequence[Executed]) -> list[Decimal]:
    """The quantities of the sales among these."""
    return [trade.quantity for trade in trades if trade.side == "sell"]


def json_lines(path: Path) -> list[Mapping[str, Any]]:
    """Every line of a file that is a JSON object; tracebacks and torn lines are passed over."""
    found: list[Mapping[str, Any]] = []
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def events(log: Path, name: str) -> list[Mapping[str, Any]]:
    """The log lines of one event, oldest first."""
    return [entry for entry in json_lines(log) if entry.get("event") == name]
