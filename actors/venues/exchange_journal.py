"""The exchange's own journal: what happened, in the order it happened, in the same file as positions and orders.

SQLite itself writes the history of every order and execution, by triggers in the transaction that changed them, so that
the journal can neither miss nor invent one. Requests, wallets and listen keys are written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from threading import RLock
from typing import Final

from actors.domain.model import ZERO, Micros
from actors.venues.paper_tables import PaperTables

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS history(id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,"
    " order_id INTEGER NOT NULL, event TEXT NOT NULL, trade_id INTEGER, state TEXT NOT NULL, filled TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS history_by_order ON history(order_id)",
    "CREATE TRIGGER IF NOT EXISTS history_new AFTER INSERT ON orders BEGIN INSERT INTO"
    " history(at, order_id, event, state, filled) VALUES (NEW.updated_at, NEW.id, 'new', NEW.state, NEW.filled); END",
    "CREATE TRIGGER IF NOT EXISTS history_changed AFTER UPDATE OF state, filled ON orders"
    " WHEN NEW.state <> OLD.state OR NEW.filled <> OLD.filled BEGIN INSERT INTO history(at, order_id, event, state,"
    " filled) VALUES (NEW.updated_at, NEW.id, 'changed', NEW.state, NEW.filled); END",
    "CREATE TRIGGER IF NOT EXISTS history_trade AFTER INSERT ON trades BEGIN INSERT INTO history(at, order_id, event,"
    " trade_id, state, filled) VALUES (NEW.at, NEW.order_id, 'trade', NEW.id, '', NEW.quantity); END",
    "CREATE TABLE IF NOT EXISTS requests(id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, account TEXT NOT"
    " NULL, request TEXT NOT NULL, client_order_id TEXT NOT NULL, parameters TEXT NOT NULL, answered_at INTEGER,"
    " answer TEXT)",
    "CREATE TABLE IF NOT EXISTS algos(order_id INTEGER PRIMARY KEY, type TEXT NOT NULL, close_position INTEGER NOT"
    " NULL, child_id INTEGER, triggered_at INTEGER)",
    "CREATE INDEX IF NOT EXISTS algos_by_child ON algos(child_id)",
    "CREATE TABLE IF NOT EXISTS limits(order_id INTEGER PRIMARY KEY, time_in_force TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS wallets(account TEXT PRIMARY KEY, balance TEXT NOT NULL, dual INTEGER NOT NULL,"
    " revoked INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS leverages(account TEXT, symbol TEXT, leverage INTEGER NOT NULL, PRIMARY KEY(account,"
    " symbol))",
    "CREATE TABLE IF NOT EXISTS fills(trade_id INTEGER PRIMARY KEY, realized TEXT NOT NULL, maker INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS income(id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, account TEXT NOT"
    " NULL, symbol TEXT NOT NULL, type TEXT NOT NULL, amount TEXT NOT NULL, trade_id TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS listen_keys(key TEXT PRIMARY KEY, account TEXT NOT NULL, expires_at INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the history: an order is `new`, has `changed`, or has had a `trade`."""

    id: int
    at: Micros
    order_id: int
    event: str
    trade_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algo:
    """What a conditional order is beside its trigger: its type, and the plain order it became (0: none yet)."""

    type: str
    close_position: bool
    child_id: int = 0
    triggered_at: Micros = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """An account's money and mode."""

    balance: Decimal
    dual: bool
    revoked: bool


class ExchangeJournal:
    """Reads and writes the journal's own tables. All raise sqlite3.Error when the file fails."""

    def __init__(self, tables: PaperTables, lock: RLock, balance: Decimal) -> None:
        """`balance` is what each account begins with."""
        self._tables = tables
        self._lock = lock
        self._balance = balance
        with lock, tables.transaction(durable=True):
            for statement in _SCHEMA:
                tables.execute(statement)

    # -- history -------------------------------------------------------------------------------------------------------

    def newest(self) -> int:
        """The number of the history's last line; 0 while there is none."""
        with self._lock:
            (newest,) = self._tables.execute("SELECT max(id) FROM history").fetchone()
            return newest or 0

    def after(self, number: int) -> list[Event]:
        """The lines after one, oldest first."""
        with self._lock:
            rows = self._tables.execute(
                "SELECT id, at, order_id, event, trade_id FROM history WHERE id > ? ORDER BY id", (number,)
            ).fetchall()
        return [Event(id=row[0], at=row[1], order_id=row[2], event=row[3], trade_id=row[4]) for row in rows]

    def created_at(self, order_id: int) -> Micros:
        """When an order was accepted."""
        row = self._tables.execute("SELECT min(at) FROM history WHERE order_id = ?", (order_id,)).fetchone()
        return int(row[0] or 0)

    # -- requests ------------------------------------------------------------------------------------------------------

    def arrived(self, at: Micros, account: str, request: str, client_order_id: str, parameters: str) -> int:
        """A request that may change something has arrived; its number."""
        with self._lock, self._tables.transaction(durable=False):
            cursor = self._tables.execute(
                "INSERT INTO requests(at, account, request, client_order_id, parameters) VALUES (?,?,?,?,?)",
                (at, account, request, client_order_id, parameters),
            )
            return int(cursor.lastrowid or 0)

    def answered(self, number: int, at: Micros, answer: str) -> None:
        """What it was answered."""
        with self._lock, self._tables.transaction(durable=False):
            self._tables.execute("UPDATE requests SET answered_at = ?, answer = ? WHERE id = ?", (at, answer, number))

    # -- inside a transaction ------------------------------------------------------------------------------------------

    def add_algo(self, order_id: int, algo: Algo) -> None:
        """Remember what a conditional order is."""
        self._tables.execute(
            "INSERT INTO algos VALUES (?, ?, ?, NULL, NULL)", (order_id, algo.type, int(algo.close_position))
        )

    def link(self, order_id: int, child_id: int, at: Micros) -> None:
        """A conditional order has triggered and become a plain one."""
        self._tables.execute(
            "UPDATE algos SET child_id = ?, triggered_at = ? WHERE order_id = ?", (child_id, at, order_id)
        )

    def add_limit(self, order_id: int, time_in_force: str) -> None:
        """Remember how long a limit order lives."""
        self._tables.execute("INSERT INTO limits VALUES (?, ?)", (order_id, time_in_force))

    def book(self, account: str, symbol: str, at: Micros, realized: Decimal, *, maker: bool) -> None:
        """The latest trade's consequences for the wallet."""
        trade_id, fee = self._tables.execute("SELECT id, fee FROM trades ORDER BY id DESC LIMIT 1").fetchone()
        self._tables.execute("INSERT INTO fills VALUES (?, ?, ?)", (trade_id, str(realized), int(maker)))
        self.pay(account, symbol, at, -Decimal(fee), kind="COMMISSION", trade_id=str(trade_id))
        if realized:
            self.pay(account, symbol, at, realized, kind="REALIZED_PNL", trade_id=str(trade_id))

    def pay(self, account: str, symbol: str, at: Micros, amount: Decimal, *, kind: str, trade_id: str = "") -> None:
        """Change a wallet, and say why."""
        self._tables.execute(
            "INSERT INTO income(at, account, symbol, type, amount, trade_id) VALUES (?,?,?,?,?,?)",
            (at, account, symbol, kind, str(amount), trade_id),
        )
        self._save(account, balance=str(self.wallet(account).balance + amount))

    # -- accounts ------------------------------------------------------------------------------------------------------

    def wallet(self, account: str) -> Wallet:
        """An account's money and mode."""
        row = self._tables.execute(
            "SELECT balance, dual, revoked FROM wallets WHERE account = ?", (account,)
        ).fetchone()
        if row is None:
            return Wallet(balance=self._balance, dual=False, revoked=False)
        return Wallet(balance=Decimal(row[0]), dual=bool(row[1]), revoked=bool(row[2]))

    def set_mode(self, account: str, *, dual: bool | None = None, revoked: bool | None = None) -> None:
        """Change the position mode, or take an account's key away (or give it back)."""
        values = {name: int(value) for name, value in (("dual", dual), ("revoked", revoked)) if value is not None}
        with self._lock, self._tables.transaction(durable=True):
            self._save(account, **values)

    def leverage(self, account: str, symbol: str, default: int) -> int:
        """The leverage chosen for a symbol."""
        row = self._tables.execute(
            "SELECT leverage FROM leverages WHERE account = ? AND symbol = ?", (account, symbol)
        ).fetchone()
        return int(row[0]) if row else default

    def set_leverage(self, account: str, symbol: str, leverage: int) -> None:
        """Choose it."""
        with self._lock, self._tables.transaction(durable=True):
            self._tables.execute("INSERT OR REPLACE INTO leverages VALUES (?, ?, ?)", (account, symbol, leverage))

    def algo(self, order_id: int) -> Algo:
        """What a conditional order is."""
        row = self._tables.execute(
            "SELECT type, close_position, child_id, triggered_at FROM algos WHERE order_id = ?", (order_id,)
        ).fetchone()
        if row is None:
            return Algo(type="STOP_MARKET", close_position=False)
        return Algo(type=row[0], close_position=bool(row[1]), child_id=row[2] or 0, triggered_at=row[3] or 0)

    def parent(self, child_id: int) -> int:
        """The conditional order that a plain one came from; 0 when it came from none."""
        row = self._tables.execute("SELECT order_id FROM algos WHERE child_id = ?", (child_id,)).fetchone()
        return int(row[0]) if row else 0

    def time_in_force(self, order_id: int) -> str:
        """How long a limit order lives."""
        row = self._tables.execute("SELECT time_in_force FROM limits WHERE order_id = ?", (order_id,)).fetchone()
        return str(row[0]) if row else "GTC"

    # -- listen keys ---------------------------------------------------------------------------------------------------

    def save_listen_key(self, key: str, account: str, expires_at: Micros) -> None:
        """A key is good until then."""
        with self._lock, self._tables.transaction(durable=True):
            self._tables.execute("INSERT OR REPLACE INTO listen_keys VALUES (?, ?, ?)", (key, account, expires_at))

    def drop_listen_key(self, key: str) -> None:
        """A key is good no more."""
        with self._lock, self._tables.transaction(durable=True):
            self._tables.execute("DELETE FROM listen_keys WHERE key = ?", (key,))

    def listen_keys(self) -> Sequence[tuple[str, str, Micros]]:
        """Every key, its account, and when it expires."""
        with self._lock:
            rows = self._tables.execute("SELECT key, account, expires_at FROM listen_keys").fetchall()
        return [(str(key), str(account), int(expires_at)) for key, account, expires_at in rows]

    def _save(self, account: str, **values: object) -> None:
        self._tables.execute("INSERT OR IGNORE INTO wallets VALUES (?, ?, 0, 0)", (account, str(self._balance + ZERO)))
        for name, value in values.items():
            self._tables.execute(f"UPDATE wallets SET {name} = ? WHERE account = ?", (value, account))  # noqa: S608
