"""What is under way at a paper exchange: requests that have not arrived yet, and the rests of partial fills.

Both are in the ledger, because neither ends with the process that began it.
"""

import json
from collections.abc import Container
from dataclasses import fields
from decimal import Decimal
from enum import Enum
from threading import RLock
from typing import Any

from actors.domain.events import OrderState
from actors.domain.model import Micros, OrderKind, OrderSide, Source
from actors.venues.base import CancelRequest, OrderRequest
from actors.venues.paper_tables import OrderRow, PaperTables

Sent = OrderRequest | CancelRequest

_CLASSES: dict[str, type[OrderRequest] | type[CancelRequest]] = {"order": OrderRequest, "cancel": CancelRequest}
_READERS = {
    "kind": OrderKind,
    "side": OrderSide,
    "quantity": Decimal,
    "trigger_price": Decimal,
    "trigger_source": Source,
    "limit_price": Decimal,
}


class PaperPending:
    """Rows of both kinds. All raise sqlite3.Error when the file fails."""

    def __init__(self, tables: PaperTables, lock: RLock) -> None:
        self._tables = tables
        self._lock = lock

    # -- requests on their way -----------------------------------------------------------------------------------------

    def send_later(self, request: Sent, arrives_at: Micros) -> int:
        """A request will arrive at that wall time; its number on the way."""
        with self._lock, self._tables.transaction(durable=True):
            cursor = self._tables.execute(
                "INSERT INTO in_flight(due_at, request) VALUES (?, ?)", (arrives_at, _written(request))
            )
            return int(cursor.lastrowid or 0)

    def arrived(self, now: Micros, *, own: Container[int], grace: Micros) -> list[tuple[int, Sent]]:
        """Requests that have arrived, taken off the way; those that are not our own only after a grace."""
        with self._lock:
            rows = self._tables.execute(
                "SELECT id, due_at, request FROM in_flight WHERE due_at <= ? ORDER BY due_at, id", (now,)
            ).fetchall()
            due = [(number, text) for number, due_at, text in rows if number in own or due_at + grace <= now]
            found: list[tuple[int, Sent]] = []
            for number, text in due:
                with self._tables.transaction(durable=True):
                    taken = self._tables.execute("DELETE FROM in_flight WHERE id = ?", (number,)).rowcount
                if taken:
                    found.append((number, _read(text)))
            return found

    # -- the rests of partial fills ------------------------------------------------------------------------------------

    def add_rest(self, order: OrderRow, due_at: Micros | None) -> None:
        """Inside a transaction: the rest of an order is filled later, and no price triggers it a second time."""
        self._tables.execute("UPDATE orders SET trigger_hint = NULL, limit_hint = NULL WHERE id = ?", (order.id,))
        self._tables.execute("INSERT OR REPLACE INTO rests VALUES (?, ?, ?)", (order.id, order.symbol, due_at))

    def has_rests(self, symbol: str) -> bool:
        """Inside a transaction: whether an order of a symbol waits for its next price."""
        query = "SELECT 1 FROM rests WHERE symbol = ? AND due_at IS NULL"
        return self._tables.execute(query, (symbol,)).fetchone() is not None

    def rests(self, symbol: str) -> list[OrderRow]:
        """Inside a transaction: orders of a symbol whose rest waits for its next price, taken off the list."""
        return self._taken("SELECT order_id FROM rests WHERE symbol = ? AND due_at IS NULL ORDER BY order_id", symbol)

    def rests_due(self, now: Micros) -> list[OrderRow]:
        """Inside a transaction: orders whose rest is due by time, taken off the list."""
        return self._taken("SELECT order_id FROM rests WHERE due_at <= ? ORDER BY order_id", now)

    def _taken(self, query: str, value: object) -> list[OrderRow]:
        numbers = [number for (number,) in self._tables.execute(query, (value,)).fetchall()]
        for number in numbers:
            self._tables.execute("DELETE FROM rests WHERE order_id = ?", (number,))
        # One that has been cancelled meanwhile is left as it is.
        orders = [self._tables.order(number) for number in numbers]
        return [order for order in orders if order.state is OrderState.OPEN]

    def next_due(self) -> Micros | None:
        """When the next of either is due by wall time; None when nothing is under way."""
        with self._lock:
            (due_at,) = self._tables.execute(
                "SELECT min(due_at) FROM (SELECT due_at FROM in_flight UNION ALL SELECT due_at FROM rests)"
            ).fetchone()
            return None if due_at is None else int(due_at)


def _written(request: Sent) -> str:
    name = "order" if isinstance(request, OrderRequest) else "cancel"
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    return json.dumps({"is": name, **{key: _plain(value) for key, value in values.items()}})


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Decimal) else value


def _read(text: str) -> Sent:
    values: dict[str, Any] = json.loads(text)
    made = _CLASSES[values.pop("is")]
    for key, reader in _READERS.items():
        if values.get(key) is not None:
            values[key] = reader(values[key])
    return made(**values)
