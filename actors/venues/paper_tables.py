"""The paper exchange's tables: one SQLite file, which is the truth because two processes may share it.

Decimals are stored as text. `trigger_hint` and `limit_hint` are the trigger and the limit price as floats: they only
narrow the search for the orders a price may execute; the decision itself compares the exact decimals.

What is remembered between statements (prices, and how far the nearest order at rest is) holds until another connection
has written, or a transaction was taken back.
"""

import sqlite3
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from actors.domain.events import OrderState, Trade
from actors.domain.model import ZERO, Micros, OrderKind, OrderSide, Quote, Source
from actors.venues.base import VenueOrder
from actors.venues.paper_file import LedgerError, PaperFile
from actors.venues.paper_nearest import Nearest

__all__ = ["LedgerError", "MarketRow", "OrderRow", "PaperTables"]

# Wider than the error of a float, so that the hint never hides a stop that the exact comparison would trigger.
_HINT_MARGIN = 1e-9

_SELECT_ORDER = (
    "SELECT id, account, symbol, client_order_id, kind, side, quantity, filled, state, reduce_only, trigger_price,"
    " trigger_source, updated_at, limit_price, position_wide FROM orders"
)
_SELECT_TRADE = "SELECT id, client_order_id, symbol, side, quantity, price, fee, at, cause FROM trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """One order as stored."""

    id: int
    account: str
    symbol: str
    client_order_id: str
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    filled: Decimal
    state: OrderState
    reduce_only: bool
    trigger_price: Decimal | None
    trigger_source: Source | None
    updated_at: Micros
    limit_price: Decimal | None = None
    position_wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRow:
    """One symbol's cursor and latest quote, the extremes of the minute it is in, and the time of its first price."""

    cursor: str
    quote: Quote
    open: Decimal
    high: Decimal
    low: Decimal
    first_at: Micros


class PaperTables(PaperFile):
    """Reads and writes rows."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file. Raises LedgerError when a newer release wrote it."""
        self._markets: dict[str, MarketRow | None] = {}
        self._unsaved: set[str] = set()
        self._nearest: dict[str, Nearest] = {}
        self._newest: dict[str, Micros | None] = {}
        # Of the transaction under way alone, which nobody else writes into: positions, and the trades of new orders.
        self._positions: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        self._new_trades: dict[int, tuple[Trade, ...]] = {}
        super().__init__(path)

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement, of anybody's."""
        if sql.startswith("UPDATE orders") and "_hint" in sql:
            self._nearest.clear()
        return self._connection.execute(sql, values)

    def forget(self) -> None:
        """Whatever was read must be read again."""
        memories = (self._markets, self._unsaved, self._nearest, self._newest, self._positions, self._new_trades)
        for memory in memories:
            memory.clear()

    def flush(self) -> None:
        """The transaction is about to end: of each symbol that was played the last price is written."""
        for symbol in self._unsaved:
            self._write_market(symbol, self._markets[symbol])
        self._unsaved.clear()
        self._positions.clear()
        self._new_trades.clear()

    # -- positions -----------------------------------------------------------------------------------------------------

    def position(self, account: str, symbol: str) -> tuple[Decimal, Decimal]:
        """The signed size and the entry price; zeros when flat."""
        known = self._positions.get((account, symbol))
        if known is not None:
            return known
        row = self.execute(
            "SELECT quantity, entry_price FROM positions WHERE account = ? AND symbol = ?", (account, symbol)
        ).fetchone()
        found = (Decimal(row[0]), Decimal(row[1])) if row else (ZERO, ZERO)
        if self._writes:
            self._positions[(account, symbol)] = found
        return found

    def save_position(self, account: str, symbol: str, quantity: Decimal, entry_price: Decimal) -> None:
        """Replace the position; a size of zero removes it."""
        self._positions.pop((account, symbol), None)
        if quantity:
            self.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                (account, symbol, str(quantity), str(entry_price)),
            )
            if self._writes:
                self._positions[(account, symbol)] = (quantity, entry_price)
        else:
            self.execute("DELETE FROM positions WHERE account = ? AND symbol = ?", (account, symbol))

    # -- orders and trades ---------------------------------------------------------------------------------------------

    def add_order(self, order: OrderRow) -> OrderRow:
        """Insert an order; the answer carries its number."""
        trigger, limit = order.trigger_price, order.limit_price
        cursor = self.execute(
            "INSERT INTO orders(account, symbol, client_order_id, kind, side, quantity, filled, state, reduce_only,"
            " trigger_price, trigger_source, trigger_hint, updated_at, limit_price, limit_hint, position_wide)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                order.account,
                order.symbol,
                order.client_order_id,
                order.kind.value,
                order.side.value,
                str(order.quantity),
                str(order.filled),
                order.state.value,
                int(order.reduce_only),
                None if trigger is None else str(trigger),
                None if order.trigger_source is None else order.trigger_source.value,
                None if trigger is None else float(trigger),
                order.updated_at,
                None if limit is None else str(limit),
                None if limit is None else float(limit),
                int(order.position_wide),
            ),
        )
        number = int(cursor.lastrowid or 0)
        nearest = self._nearest.get(order.symbol)
        if nearest is not None:
            nearest.take_in(order.side, trigger, limit)
        self._new_trades[number] = ()
        return replace(order, id=number)

    def order(self, order_id: int) -> OrderRow:
        """The order of this number."""
        return _order(self.execute(_SELECT_ORDER + " WHERE id = ?", (order_id,)).fetchone())

    def change_order(self, order_id: int, state: OrderState, filled: Decimal, at: Micros) -> OrderRow:
        """Store what became of an order."""
        self._write_change(order_id, state, filled, at)
        return self.order(order_id)

    def changed(self, order: OrderRow, state: OrderState, filled: Decimal, at: Micros) -> OrderRow:
        """Store what became of an order that was read in this transaction."""
        self._write_change(order.id, state, filled, at)
        return replace(order, state=state, filled=filled, updated_at=at)

    def _write_change(self, order_id: int, state: OrderState, filled: Decimal, at: Micros) -> None:
        self.execute(
            "UPDATE orders SET state = ?, filled = ?, updated_at = ? WHERE id = ?",
            (state.value, str(filled), at, order_id),
        )

    def rest_again(self, order: OrderRow) -> None:
        """A limit order waits for its price (again)."""
        limit = None if order.limit_price is None else float(order.limit_price)
        self.execute("UPDATE orders SET limit_hint = ? WHERE id = ?", (limit, order.id))

    def find_order(self, account: str, symbol: str, client_order_id: str, kind: OrderKind) -> OrderRow | None:
        """The most recent order with this client id in the class (plain or trigger) of this kind."""
        row = self.execute(
            _SELECT_ORDER + " WHERE account = ? AND client_order_id = ? AND symbol = ?"
            " AND (kind = 'stop_market') = ? ORDER BY id DESC LIMIT 1",
            (account, client_order_id, symbol, int(kind is OrderKind.STOP_MARKET)),
        ).fetchone()
        return _order(row) if row else None

    def is_open(self, account: str, client_order_id: str) -> bool:
        """Whether an open order of the account has this client id."""
        row = self.execute(
            "SELECT 1 FROM orders WHERE account = ? AND client_order_id = ? AND state = 'open'",
            (account, client_order_id),
        ).fetchone()
        return row is not None

    def open_orders(self, account: str, symbol: str) -> list[OrderRow]:
        """Every open order of a symbol, oldest first."""
        rows = self.execute(
            _SELECT_ORDER + " WHERE state = 'open' AND account = ? AND symbol = ? ORDER BY id",
            (account, symbol),
        )
        return [_order(row) for row in rows.fetchall()]

    def maybe_due(self, symbol: str, low: Decimal, high: Decimal) -> list[OrderRow]:
        """Orders at rest that prices between these may trigger or cross (and perhaps a few more), oldest first."""
        # One statement would scan a whole index for the OR; each of these is a short walk along one.
        under, over = float(low) * (1 - _HINT_MARGIN), float(high) * (1 + _HINT_MARGIN)
        nearest = self._nearest.get(symbol)
        if nearest is None:
            nearest = self._nearest[symbol] = self._find_nearest(symbol)
        if nearest.is_out_of_reach(under, over):
            return []
        # What is found will mostly be executed, and what was cancelled must not be looked for at every price.
        del self._nearest[symbol]
        found: list[OrderRow] = []
        for side, hint, comparison, bound in (
            ("sell", "trigger_hint", ">=", under),
            ("buy", "trigger_hint", "<=", over),
            ("sell", "limit_hint", "<=", over),
            ("buy", "limit_hint", ">=", under),
        ):
            rows = self.execute(
                _SELECT_ORDER + f" WHERE state = 'open' AND symbol = ? AND side = ? AND {hint} {comparison} ?",
                (symbol, side, bound),
            ).fetchall()
            found.extend(_order(row) for row in rows)
        return sorted(found, key=lambda order: order.id) if len(found) > 1 else found

    def _find_nearest(self, symbol: str) -> Nearest:
        query = "SELECT {0}({1}) FROM orders WHERE state = 'open' AND symbol = ? AND side = ? AND {1} IS NOT NULL"
        found = (
            self.execute(query.format(function, hint), (symbol, side)).fetchone()[0]
            for function, hint, side in (
                ("max", "trigger_hint", "sell"),
                ("min", "trigger_hint", "buy"),
                ("max", "limit_hint", "buy"),
                ("min", "limit_hint", "sell"),
            )
        )
        return Nearest.of(*found)

    def add_trade(self, order_id: int, account: str, trade: Trade) -> None:
        """Insert a trade; its number is its trade id."""
        cursor = self.execute(
            "INSERT INTO trades(order_id, account, symbol, client_order_id, side, quantity, price, fee, at, cause)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                order_id,
                account,
                trade.symbol,
                trade.client_order_id,
                trade.side.value,
                str(trade.quantity),
                str(trade.price),
                str(trade.fee),
                trade.at,
                trade.cause,
            ),
        )
        before = self._new_trades.get(order_id)
        if before is not None:
            self._new_trades[order_id] = (*before, replace(trade, trade_id=str(cursor.lastrowid)))

    def trades_since(self, account: str, symbol: str, since: Micros) -> tuple[Trade, ...]:
        """Trades at or after a time, oldest first."""
        rows = self.execute(
            _SELECT_TRADE + " WHERE account = ? AND symbol = ? AND at >= ? ORDER BY id",
            (account, symbol, since),
        )
        return tuple(_trade(row) for row in rows.fetchall())

    def trades_of(self, order_id: int) -> tuple[Trade, ...]:
        """The trades of one order, oldest first."""
        rows = self.execute(_SELECT_TRADE + " WHERE order_id = ? ORDER BY id", (order_id,))
        return tuple(_trade(row) for row in rows.fetchall())

    def told(self, order: OrderRow) -> VenueOrder:
        """The order as the venue tells it, with its trades."""
        trades = self._new_trades.get(order.id)
        if trades is None:
            trades = self.trades_of(order.id)
        return VenueOrder(
            client_order_id=order.client_order_id,
            venue_order_id=str(order.id),
            symbol=order.symbol,
            kind=order.kind,
            side=order.side,
            quantity=order.quantity,
            filled=order.filled,
            state=order.state,
            reduce_only=order.reduce_only,
            trigger_price=order.trigger_price,
            trades=trades,
            updated_at=order.updated_at,
            limit_price=order.limit_price,
            position_wide=order.position_wide,
        )

    # -- the market ----------------------------------------------------------------------------------------------------

    def market(self, symbol: str) -> MarketRow | None:
        """A symbol's cursor and quote, or None before its first price."""
        if not self._open:
            self.look()
        if symbol not in self._markets:
            self._markets[symbol] = self._read_market(symbol)
        return self._markets[symbol]

    def _read_market(self, symbol: str) -> MarketRow | None:
        row = self.execute(
            "SELECT cursor, first_at, at, mark, last, bid, ask, open, high, low FROM market WHERE symbol = ?", (symbol,)
        ).fetchone()
        if row is None:
            return None
        cursor, first_at, at, *prices = row
        mark, last, bid, ask, first, high, low = map(Decimal, prices)
        quote = Quote(at=at, mark=mark, last=last, bid=bid, ask=ask)
        return MarketRow(cursor=cursor, quote=quote, open=first, high=high, low=low, first_at=first_at)

    def newest_candle(self, symbol: str) -> Micros | None:
        """When the newest minute on record began. Inside a snapshot or a transaction."""
        if symbol not in self._newest:
            (self._newest[symbol],) = self.execute("SELECT max(at) FROM candles WHERE symbol = ?", (symbol,)).fetchone()
        return self._newest[symbol]

    def add_candle(self, symbol: str, at: Micros, *prices: str) -> None:
        """Inside a transaction: put a minute on record; `prices` are open, high, low and close."""
        self.execute("INSERT OR REPLACE INTO candles VALUES (?, ?, ?, ?, ?, ?)", (symbol, at, *prices))
        self._newest.pop(symbol, None)

    def cursors(self) -> dict[str, str]:
        """Every symbol's cursor, as far as it has one."""
        return dict(self.execute("SELECT symbol, cursor FROM market").fetchall())

    def save_market(self, symbol: str, row: MarketRow) -> None:
        """Inside a transaction: replace a symbol's cursor and quote, at its end."""
        self._markets[symbol] = row
        self._unsaved.add(symbol)

    def _write_market(self, symbol: str, row: MarketRow | None) -> None:
        assert row is not None  # noqa: S101 - only a row is ever put off; mypy cannot know.
        quote = row.quote
        prices = (quote.mark, quote.last, quote.bid, quote.ask, row.open, row.high, row.low)
        self.execute(
            "INSERT OR REPLACE INTO market VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (symbol, row.cursor, quote.at, *map(str, prices), row.first_at),
        )


def _order(row: tuple[object, ...]) -> OrderRow:
    trigger_price, trigger_source, limit_price = row[10], row[11], row[13]
    return OrderRow(
        id=int(str(row[0])),
        account=str(row[1]),
        symbol=str(row[2]),
        client_order_id=str(row[3]),
        kind=OrderKind(str(row[4])),
        side=OrderSide(str(row[5])),
        quantity=Decimal(str(row[6])),
        filled=Decimal(str(row[7])),
        state=OrderState(str(row[8])),
        reduce_only=bool(row[9]),
        trigger_price=None if trigger_price is None else Decimal(str(trigger_price)),
        trigger_source=None if trigger_source is None else Source(str(trigger_source)),
        updated_at=int(str(row[12])),
        limit_price=None if limit_price is None else Decimal(str(limit_price)),
        position_wide=bool(row[14]),
    )


def _trade(row: tuple[object, ...]) -> Trade:
    return Trade(
        trade_id=str(row[0]),
        client_order_id=str(row[1]),
        symbol=str(row[2]),
        side=OrderSide(str(row[3])),
        quantity=Decimal(str(row[4])),
        price=Decimal(str(row[5])),
        fee=Decimal(str(row[6])),
        at=int(str(row[7])),
        cause=str(row[8]),
    )
