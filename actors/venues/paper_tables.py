"""The paper exchange's tables: one SQLite file, read afresh for every decision because two processes may share it.

Decimals are stored as text. `trigger_hint` and `limit_hint` are the trigger and the limit price as floats: they only
narrow the search for the orders a price may execute; the decision itself compares the exact decimals.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from actors.domain.events import OrderState, Trade
from actors.domain.model import ZERO, Micros, OrderKind, OrderSide, Quote, Source
from actors.venues.base import VenueOrder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions(
    account TEXT NOT NULL, symbol TEXT NOT NULL, quantity TEXT NOT NULL, entry_price TEXT NOT NULL,
    PRIMARY KEY(account, symbol)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders(
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, symbol TEXT NOT NULL, client_order_id TEXT NOT NULL,
    kind TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, filled TEXT NOT NULL, state TEXT NOT NULL,
    reduce_only INTEGER NOT NULL, trigger_price TEXT, trigger_source TEXT, trigger_hint REAL,
    updated_at INTEGER NOT NULL, limit_price TEXT, limit_hint REAL, position_wide INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS orders_by_client ON orders(account, client_order_id);
CREATE INDEX IF NOT EXISTS orders_open ON orders(account, symbol) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS orders_resting ON orders(symbol, side, trigger_hint) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS orders_limits ON orders(symbol, side, limit_hint)
    WHERE state = 'open' AND limit_hint IS NOT NULL;
CREATE TABLE IF NOT EXISTS trades(
    id INTEGER PRIMARY KEY AUTOINCREMENT, order_id INTEGER NOT NULL, account TEXT NOT NULL, symbol TEXT NOT NULL,
    client_order_id TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL,
    at INTEGER NOT NULL, cause TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS trades_by_time ON trades(account, symbol, at);
CREATE INDEX IF NOT EXISTS trades_by_order ON trades(order_id);
CREATE TABLE IF NOT EXISTS market(
    symbol TEXT PRIMARY KEY, cursor TEXT NOT NULL, at INTEGER NOT NULL, mark TEXT NOT NULL, last TEXT NOT NULL,
    bid TEXT NOT NULL, ask TEXT NOT NULL, open TEXT NOT NULL, high TEXT NOT NULL, low TEXT NOT NULL,
    first_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS candles(
    symbol TEXT NOT NULL, at INTEGER NOT NULL, open TEXT NOT NULL, high TEXT NOT NULL, low TEXT NOT NULL,
    close TEXT NOT NULL, PRIMARY KEY(symbol, at)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS in_flight(id INTEGER PRIMARY KEY AUTOINCREMENT, due_at INTEGER NOT NULL, request TEXT);
CREATE TABLE IF NOT EXISTS rests(order_id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, due_at INTEGER);
CREATE TABLE IF NOT EXISTS feed(id INTEGER PRIMARY KEY CHECK(id = 1), player TEXT NOT NULL, until INTEGER NOT NULL);
"""
_VERSION = 1
# Columns that an older release's file has not; what it does not say is their default.
_ADDED_COLUMNS = (
    ("limit_price", "TEXT"),
    ("limit_hint", "REAL"),
    ("position_wide", "INTEGER NOT NULL DEFAULT 0"),
)
_BUSY_SECONDS = 5.0
_OPENING_TRIES = 20
# Wider than the error of a float, so that the hint never hides a stop that the exact comparison would trigger.
_HINT_MARGIN = 1e-9

_SELECT_ORDER = (
    "SELECT id, account, symbol, client_order_id, kind, side, quantity, filled, state, reduce_only, trigger_price,"
    " trigger_source, updated_at, limit_price, position_wide FROM orders"
)
_SELECT_TRADE = "SELECT id, client_order_id, symbol, side, quantity, price, fee, at, cause FROM trades"


class LedgerError(Exception):
    """A ledger file that this release cannot use: the message says what to do."""


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


class PaperTables:
    """Reads and writes rows. One connection; whoever uses it from several threads locks around it."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file. Raises LedgerError when a newer release wrote it."""
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._durable: bool | None = None
        self._write_ahead()
        with self.transaction(durable=True):
            (version,) = self.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                message = f"{path} was written by a newer release (version {version}): use that one, or another file"
                raise LedgerError(message)
            self._add_columns()
            for statement in _SCHEMA.split(";\n"):
                self.execute(statement)
            self.execute(f"PRAGMA user_version={_VERSION}")

    def _add_columns(self) -> None:
        known = {str(row[1]) for row in self.execute("PRAGMA table_info(orders)").fetchall()}
        for name, kind in _ADDED_COLUMNS:
            if known and name not in known:
                self.execute(f"ALTER TABLE orders ADD COLUMN {name} {kind}")

    def _write_ahead(self) -> None:
        """Change to WAL. SQLite does not wait for another process that opens the same new file just now, so we do."""
        for _ in range(_OPENING_TRIES):
            try:
                self.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                # Unlike the change of mode, a transaction waits until the other one is done.
                self.execute("BEGIN IMMEDIATE")
                self.execute("ROLLBACK")
        self.execute("PRAGMA journal_mode=WAL")

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(sql, values)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """Write all or nothing. Not durable means: a power cut may take it back, though a kill -9 may not.

        A commit that waits for the disk costs ten times one that does not (235 against 22 microseconds measured), so
        only executions and changes of orders do. A durable commit carries all earlier ones with it: what a power cut
        takes back is at most the cursor, to where it stood at the last execution.
        """
        if durable is not self._durable:
            self.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one moment."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("COMMIT")

    # -- positions -----------------------------------------------------------------------------------------------------

    def position(self, account: str, symbol: str) -> tuple[Decimal, Decimal]:
        """The signed size and the entry price; zeros when flat."""
        row = self.execute(
            "SELECT quantity, entry_price FROM positions WHERE account = ? AND symbol = ?", (account, symbol)
        ).fetchone()
        return (Decimal(row[0]), Decimal(row[1])) if row else (ZERO, ZERO)

    def save_position(self, account: str, symbol: str, quantity: Decimal, entry_price: Decimal) -> None:
        """Replace the position; a size of zero removes it."""
        if quantity:
            self.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                (account, symbol, str(quantity), str(entry_price)),
            )
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
        return self.order(int(cursor.lastrowid or 0))

    def order(self, order_id: int) -> OrderRow:
        """The order of this number."""
        return _order(self.execute(_SELECT_ORDER + " WHERE id = ?", (order_id,)).fetchone())

    def change_order(self, order_id: int, state: OrderState, filled: Decimal, at: Micros) -> OrderRow:
        """Store what became of an order."""
        self.execute(
            "UPDATE orders SET state = ?, filled = ?, updated_at = ? WHERE id = ?",
            (state.value, str(filled), at, order_id),
        )
        return self.order(order_id)

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

    def add_trade(self, order_id: int, account: str, trade: Trade) -> None:
        """Insert a trade; its number is its trade id."""
        self.execute(
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

    def trades_since(self, account: str, symbol: str, since: Micros) -> tuple[Trade, ...]:
        """Trades at or after a time, oldest first."""
        rows = self.execute(
            _SELECT_TRADE + " WHERE account = ? AND symbol = ? AND at >= ? ORDER BY id",
            (account, symbol, since),
        )
        return tuple(_trade(row) for row in rows.fetchall())

    def told(self, order: OrderRow) -> VenueOrder:
        """The order as the venue tells it, with its trades."""
        rows = self.execute(_SELECT_TRADE + " WHERE order_id = ? ORDER BY id", (order.id,))
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
            trades=tuple(_trade(row) for row in rows.fetchall()),
            updated_at=order.updated_at,
            limit_price=order.limit_price,
            position_wide=order.position_wide,
        )

    # -- the market ----------------------------------------------------------------------------------------------------

    def market(self, symbol: str) -> MarketRow | None:
        """A symbol's cursor and quote, or None before its first price."""
        row = self.execute(
            "SELECT cursor, first_at, at, mark, last, bid, ask, open, high, low FROM market WHERE symbol = ?", (symbol,)
        ).fetchone()
        if row is None:
            return None
        cursor, first_at, at, *prices = row
        mark, last, bid, ask, first, high, low = map(Decimal, prices)
        quote = Quote(at=at, mark=mark, last=last, bid=bid, ask=ask)
        return MarketRow(cursor=cursor, quote=quote, open=first, high=high, low=low, first_at=first_at)

    def cursors(self) -> dict[str, str]:
        """Every symbol's cursor, as far as it has one."""
        return dict(self.execute("SELECT symbol, cursor FROM market").fetchall())

    def save_market(self, symbol: str, row: MarketRow) -> None:
        """Replace a symbol's cursor and quote."""
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
