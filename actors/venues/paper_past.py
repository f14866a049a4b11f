"""A paper ledger as it was some executions ago: what a lagging read of an exchange sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from actors.domain.events import OrderState
from actors.domain.model import ZERO, OrderKind, OrderSide
from actors.venues.paper_checks import moved
from actors.venues.paper_tables import PaperTables

_NAME = "past"


@contextmanager
def taken_back(tables: PaperTables, account: str, symbol: str, executions: int) -> Iterator[None]:
    """Inside a transaction: the last executions of a slot did not happen, until the end of the block.

    Their trades are gone, the position is rebuilt from those before, a market order without any left was never there,
    and a stop rests again. Orders placed or cancelled since are as they are: an exchange's replicas lag one by one.
    """
    if not executions:
        yield
        return
    tables.execute(f"SAVEPOINT {_NAME}")
    try:
        _take_back(tables, account, symbol, executions)
        yield
    finally:
        tables.execute(f"ROLLBACK TO {_NAME}")
        tables.execute(f"RELEASE {_NAME}")
        tables.forget()


def _take_back(tables: PaperTables, account: str, symbol: str, executions: int) -> None:
    undone = tables.execute(
        "SELECT id, order_id FROM trades WHERE account = ? AND symbol = ? ORDER BY id DESC LIMIT ?",
        (account, symbol, executions),
    ).fetchall()
    for trade_id, _ in undone:
        tables.execute("DELETE FROM trades WHERE id = ?", (trade_id,))
    held = entry_price = ZERO
    for trade in tables.trades_since(account, symbol, 0):
        delta = trade.quantity if trade.side is OrderSide.BUY else -trade.quantity
        held, entry_price = moved(held, entry_price, delta, trade.price)
    tables.save_position(account, symbol, held, entry_price)
    for order_id in {order_id for _, order_id in undone}:
        order = tables.order(order_id)
        left = tables.execute("SELECT quantity FROM trades WHERE order_id = ?", (order_id,)).fetchall()
        if order.kind is OrderKind.MARKET and not left:
            tables.execute("DELETE FROM orders WHERE id = ?", (order_id,))
        else:
            filled = sum((Decimal(quantity) for (quantity,) in left), ZERO)
            tables.change_order(order_id, OrderState.OPEN, filled, order.updated_at)
