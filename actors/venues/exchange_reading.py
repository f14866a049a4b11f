"""Reads the exchange's tables for what Binance's endpoints answer."""

from collections.abc import Sequence
from decimal import Decimal

from actors.domain.model import Micros, OrderKind, OrderSide
from actors.venues.exchange_core import ServedExchange
from actors.venues.exchange_dialect import Fill, Json, Told, algo_json, order_json
from actors.venues.paper_tables import OrderRow

_FILLS = (
    "SELECT trades.id, order_id, symbol, side, quantity, price, fee, at, realized, maker FROM trades"
    " LEFT JOIN fills ON fills.trade_id = trades.id"
)
_TRIGGER = f"(kind = '{OrderKind.STOP_MARKET.value}')"


class Reading:
    """Orders, conditional orders and executions of all accounts."""

    def __init__(self, core: ServedExchange) -> None:
        self._core = core
        self._tables = core.tables

    def find(
        self, account: str, symbol: str | None, *, trigger: bool, number: int | None, client_order_id: str | None
    ) -> OrderRow | None:
        """The order of this number, or the latest one with this client id, in one class."""
        wanted = "id = ?" if number is not None else "client_order_id = ?"
        row = self._tables.execute(
            f"SELECT id FROM orders WHERE account = ? AND {wanted} AND {_TRIGGER} = ?"  # noqa: S608
            " AND (? IS NULL OR symbol = ?) ORDER BY id DESC LIMIT 1",
            (account, client_order_id if number is None else number, int(trigger), symbol, symbol),
        ).fetchone()
        return self._tables.order(row[0]) if row else None

    def open(self, account: str, symbol: str | None, *, trigger: bool) -> list[OrderRow]:
        """Every open order of one class, oldest first."""
        rows = self._tables.execute(
            f"SELECT id FROM orders WHERE state = 'open' AND account = ? AND {_TRIGGER} = ?"  # noqa: S608
            " AND (? IS NULL OR symbol = ?) ORDER BY id",
            (account, int(trigger), symbol, symbol),
        ).fetchall()
        return [self._tables.order(number) for (number,) in rows]

    def all(self, account: str, symbol: str, since: int | None, limit: int, *, trigger: bool) -> list[OrderRow]:
        """Orders of one class, from a number on or else the latest, oldest first."""
        order = "DESC" if since is None else "ASC"
        rows = self._tables.execute(
            f"SELECT id FROM orders WHERE account = ? AND symbol = ? AND {_TRIGGER} = ? AND id >= ?"  # noqa: S608
            f" ORDER BY id {order} LIMIT ?",
            (account, symbol, int(trigger), since or 0, limit),
        ).fetchall()
        return [self._tables.order(number) for number in sorted(number for (number,) in rows)]

    def fills(
        self,
        account: str,
        symbol: str,
        limit: int,
        *,
        from_id: int | None = None,
        order_id: int | None = None,
        start: Micros | None = None,
        end: Micros | None = None,
    ) -> list[Fill]:
        """Executions: from an id or a time on, or else the latest; oldest first."""
        order = "DESC" if from_id is None and start is None else "ASC"
        rows = self._tables.execute(
            f"{_FILLS} WHERE account = ? AND symbol = ? AND trades.id >= ? AND at >= ? AND (? IS NULL OR at <= ?)"
            f" AND (? IS NULL OR order_id = ?) ORDER BY trades.id {order} LIMIT ?",
            (account, symbol, from_id or 0, start or 0, end, end, order_id, order_id, limit),
        ).fetchall()
        return sorted((_fill(row) for row in rows), key=lambda fill: fill.trade_id)

    def trade(self, trade_id: int) -> Fill:
        """One execution."""
        return _fill(self._tables.execute(f"{_FILLS} WHERE trades.id = ?", (trade_id,)).fetchone())

    def told(self, row: OrderRow) -> Told:
        """A plain order with everything that is told of it."""
        rows = self._tables.execute(f"{_FILLS} WHERE order_id = ? ORDER BY trades.id", (row.id,)).fetchall()
        return Told(
            row=row,
            created_at=self._core.journal.created_at(row.id),
            fills=[_fill(found) for found in rows],
            time_in_force=self._core.journal.time_in_force(row.id) if row.kind is OrderKind.LIMIT else "GTC",
        )

    def order(self, row: OrderRow) -> Json:
        """A plain order in Binance's words."""
        return order_json(self.told(row))

    def algo(self, row: OrderRow) -> Json:
        """A conditional order in Binance's words."""
        algo = self._core.journal.algo(row.id)
        child = self.told(self._tables.order(algo.child_id)) if algo.child_id else None
        return algo_json(row, algo, self._core.journal.created_at(row.id), child)

    def income(
        self, account: str, symbol: str | None, kind: str | None, *, start: Micros, end: Micros, limit: int
    ) -> Sequence[tuple[int, Micros, str, str, Decimal, str]]:
        """Payments: number, time, symbol, type, amount, trade id; oldest first."""
        rows = self._tables.execute(
            "SELECT id, at, symbol, type, amount, trade_id FROM income WHERE account = ? AND (? IS NULL OR symbol = ?)"
            " AND (? IS NULL OR type = ?) AND at >= ? AND at <= ? ORDER BY id LIMIT ?",
            (account, symbol, symbol, kind, kind, start, end, limit),
        ).fetchall()
        return [(row[0], row[1], row[2], row[3], Decimal(row[4]), row[5]) for row in rows]


def _fill(row: tuple[object, ...]) -> Fill:
    return Fill(
        trade_id=int(str(row[0])),
        order_id=int(str(row[1])),
        symbol=str(row[2]),
        side=OrderSide(str(row[3])),
        quantity=Decimal(str(row[4])),
        price=Decimal(str(row[5])),
        fee=Decimal(str(row[6])),
        at=int(str(row[7])),
        realized=Decimal(str(row[8] or 0)),
        maker=bool(row[9]),
    )
