"""Reads the exchange's own journal for whoever wants to check what happened there, while it runs or after.

It lists what was executed for each client order id, each position over time, and each conditional order's life. A plain
order that a conditional one became counts under the client id of that one: its owner never chose another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from actors.domain.model import ZERO, Micros, OrderKind, OrderSide
from actors.venues.paper_tables import PaperTables


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One trade. `client_order_id` is the one its owner chose; `cause` is `order`, `liquidated` or `adl`."""

    trade_id: int
    order_id: int
    account: str
    symbol: str
    client_order_id: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    at: Micros
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """From a time on, a position has this signed size."""

    account: str
    symbol: str
    at: Micros
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """An order that rested: from when to when (None: it still does), and what ended it."""

    order_id: int
    account: str
    symbol: str
    client_order_id: str
    kind: OrderKind
    side: OrderSide
    quantity: Decimal
    reduce_only: bool
    trigger_price: Decimal | None
    began: Micros
    ended: Micros | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that could change something; `answer` is None where the server was killed before it had one."""

    id: int
    at: Micros
    account: str
    request: str
    client_order_id: str
    parameters: str
    answered_at: Micros | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All of it, each in the order it happened."""

    executions: tuple[Execution, ...]
    sizes: tuple[Size, ...]
    rests: tuple[Rest, ...]
    requests: tuple[Asked, ...]

    def executed(self) -> Mapping[str, Sequence[Execution]]:
        """For each client order id all its executions."""
        found: dict[str, list[Execution]] = {}
        for execution in self.executions:
            found.setdefault(execution.client_order_id, []).append(execution)
        return found

    def size(self, account: str, symbol: str, at: Micros) -> Decimal:
        """The signed size of a position at a time."""
        sizes = [one for one in self.sizes if (one.account, one.symbol) == (account, symbol) and one.at <= at]
        return sizes[-1].quantity if sizes else ZERO

    def stops(self, account: str, symbol: str) -> tuple[Rest, ...]:
        """The life of each conditional order of a slot."""
        wanted = (account, symbol, OrderKind.STOP_MARKET)
        return tuple(rest for rest in self.rests if (rest.account, rest.symbol, rest.kind) == wanted)

    def unprotected(self, account: str, symbol: str, until: Micros) -> Sequence[tuple[Micros, Micros]]:
        """When a position was open and no conditional order of the closing side rested: from, to."""
        # Each change at its time: the position's new size, or one resting order of a side more or less.
        changes: list[tuple[Micros, Decimal | None, OrderSide | None, int]] = [
            (one.at, one.quantity, None, 0) for one in self.sizes if (one.account, one.symbol) == (account, symbol)
        ]
        for stop in self.stops(account, symbol):
            changes.append((stop.began, None, stop.side, 1))
            if stop.ended is not None:
                changes.append((stop.ended, None, stop.side, -1))
        held, resting = ZERO, {OrderSide.SELL: 0, OrderSide.BUY: 0}
        since: Micros | None = None
        gaps: list[tuple[Micros, Micros]] = []
        for at, group in groupby(sorted(changes, key=lambda change: change[0]), key=lambda change: change[0]):
            if at >= until:
                break
            for _, quantity, side, more in group:
                held = held if quantity is None else quantity
                if side is not None:
                    resting[side] += more
            bare = bool(held) and not resting[OrderSide.SELL if held > 0 else OrderSide.BUY]
            if since is not None and not bare:
                gaps.append((since, at))
            since = (at if since is None else since) if bare else None
        return gaps if since is None else [*gaps, (since, until)]

    def said(self) -> dict[str, Any]:
        """As JSON says it: decimals are strings."""
        names = ("executions", "sizes", "rests", "requests")
        return {
            name: [{key: _plain(value) for key, value in asdict(row).items()} for row in getattr(self, name)]
            for name in names
        }


def read_audit(path: Path, *, account: str | None = None) -> Audit:
    """Audit a journal's file. Raises LedgerError and sqlite3.Error."""
    tables = PaperTables(path)
    try:
        return audit(tables, account=account)
    finally:
        tables.close()


def audit(tables: PaperTables, *, account: str | None = None) -> Audit:
    """Audit one account's journal, or all."""
    with tables.snapshot():
        executions = tuple(_executions(tables, account))
        return Audit(
            executions=executions,
            sizes=_sizes(executions),
            rests=tuple(_rests(tables, account)),
            requests=tuple(_requests(tables, account)),
        )


def _executions(tables: PaperTables, account: str | None) -> list[Execution]:
    rows = tables.execute(
        "SELECT t.id, t.order_id, t.account, t.symbol, coalesce(p.client_order_id, t.client_order_id), t.side,"
        " t.quantity, t.price, t.at, t.cause FROM trades t LEFT JOIN algos a ON a.child_id = t.order_id"
        " LEFT JOIN orders p ON p.id = a.order_id WHERE ? IS NULL OR t.account = ? ORDER BY t.id",
        (account, account),
    )
    return [
        Execution(
            trade_id=row[0],
            order_id=row[1],
            account=row[2],
            symbol=row[3],
            client_order_id=row[4],
            side=OrderSide(row[5]),
            quantity=Decimal(row[6]),
            price=Decimal(row[7]),
            at=row[8],
            cause=row[9],
        )
        for row in rows.fetchall()
    ]


def _sizes(executions: Sequence[Execution]) -> tuple[Size, ...]:
    held: dict[tuple[str, str], Decimal] = {}
    found = []
    for one in executions:
        slot = (one.account, one.symbol)
        held[slot] = held.get(slot, ZERO) + (one.quantity if one.side is OrderSide.BUY else -one.quantity)
        found.append(Size(account=one.account, symbol=one.symbol, at=one.at, quantity=held[slot]))
    return tuple(found)


def _rests(tables: PaperTables, account: str | None) -> list[Rest]:
    """Orders that were open when their first transaction had ended: all but market orders filled at once."""
    rows = tables.execute(
        "SELECT o.id, o.account, o.symbol, o.client_order_id, o.kind, o.side, o.quantity, o.reduce_only,"
        " o.trigger_price, min(h.at), max(h.at), o.state FROM orders o JOIN history h ON h.order_id = o.id"
        " WHERE o.kind <> 'market' AND (? IS NULL OR o.account = ?) GROUP BY o.id ORDER BY o.id",
        (account, account),
    )
    return [
        Rest(
            order_id=row[0],
            account=row[1],
            symbol=row[2],
            client_order_id=row[3],
            kind=OrderKind(row[4]),
            side=OrderSide(row[5]),
            quantity=Decimal(row[6]),
            reduce_only=bool(row[7]),
            trigger_price=None if row[8] is None else Decimal(row[8]),
            began=row[9],
            ended=None if row[11] == "open" else row[10],
            state=row[11],
        )
        for row in rows.fetchall()
    ]


def _requests(tables: PaperTables, account: str | None) -> list[Asked]:
    rows = tables.execute(
        "SELECT id, at, account, request, client_order_id, parameters, answered_at, answer FROM requests"
        " WHERE ? IS NULL OR account = ? ORDER BY id",
        (account, account),
    )
    return [
        Asked(
            id=row[0],
            at=row[1],
            account=row[2],
            request=row[3],
            client_order_id=row[4],
            parameters=row[5],
            answered_at=row[6],
            answer=row[7],
        )
        for row in rows.fetchall()
    ]


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value
