"""The paper exchange's ledger file: its schema, and transactions, one inside another where several requests share one.

SQLite waits for the disk once a durable commit (235 against 22 microseconds measured), not once a request: so requests
that wait together are served in one transaction, and nothing is told before its commit.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
CREATE INDEX IF NOT EXISTS orders_stops ON orders(symbol, side, trigger_hint)
    WHERE state = 'open' AND trigger_hint IS NOT NULL;
DROP INDEX IF EXISTS orders_resting;
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


class LedgerError(Exception):
    """A ledger file that this release cannot use: the message says what to do."""


class Spoiled(Exception):
    """A request failed in the middle of a transaction it shared: nothing of it was written, each must be done alone."""


class InDoubt(Exception):
    """The commit of a shared transaction failed: whether it was written must be looked up."""


class PaperFile:
    """One connection; whoever uses it from several threads locks around it."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file. Raises LedgerError when a newer release wrote it."""
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._durable: bool | None = None
        # Whether a transaction or a snapshot is open that others join, and whether one of those left half its work.
        self._open = False
        self._writes = False
        self._spoiled = False
        # What another connection has committed changes it: until then what was read need not be read again.
        self._version = -1
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
        """Run one statement, of anybody's."""
        return self._connection.execute(sql, values)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def look(self) -> None:
        """Forget what was read when another connection has written since."""
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self.forget()

    def forget(self) -> None:
        """Whatever was read must be read again."""

    def flush(self) -> None:
        """The transaction is about to end: write what was put off until then."""

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """Write all or nothing. Not durable means: a power cut may take it back, though a kill -9 may not.

        A commit that waits for the disk costs ten times one that does not, so only executions and changes of orders do.
        A durable commit carries all earlier ones with it: what a power cut takes back is at most the cursor, to where
        it stood at the last execution.

        Inside another transaction it is part of that one, which must be as durable.
        """
        if self._writes:
            assert self._durable or not durable  # noqa: S101 - or what is told now could be taken back by a power cut.
            with self._joined():
                yield
            return
        if durable is not self._durable:
            self.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self.execute("BEGIN IMMEDIATE")
        self._open = self._writes = True
        try:
            self.look()
            yield
            self.flush()
            self.execute("COMMIT")
        except BaseException:
            self.forget()
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise
        finally:
            self._open = self._writes = False

    @contextmanager
    def shared_transaction(self) -> Iterator[None]:
        """One durable transaction for what several requests do. One that fails before it wrote anything harms no other.

        Raises Spoiled when one failed later than that: then nothing of any of them was written. Raises InDoubt when it
        is the commit that failed, and sqlite3.Error when it could not begin.
        """
        self._spoiled = False
        commits = False
        try:
            with self.transaction(durable=True):
                yield
                self._check()
                commits = True
        except sqlite3.Error as error:
            if commits:
                raise InDoubt(str(error)) from error
            raise

    def _check(self) -> None:
        """Raises Spoiled. Some errors make SQLite take the transaction back: what followed would be written at once."""
        if self._spoiled or not self._connection.in_transaction:
            raise Spoiled

    @contextmanager
    def _joined(self) -> Iterator[None]:
        self._check()
        before = self._connection.total_changes
        try:
            yield
        except BaseException as error:
            if isinstance(error, sqlite3.Error) or self._connection.total_changes != before:
                self._spoiled = True
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one moment; inside a transaction or another snapshot they are of its moment."""
        if self._open:
            yield
            return
        self.execute("BEGIN")
        self._open = True
        try:
            self.look()
            yield
        finally:
            self._open = False
            self.execute("COMMIT")
