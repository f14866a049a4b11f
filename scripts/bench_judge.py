"""After a soak: every book against the paper exchange's own ledger.

The books are what Redis holds of every position that ever was, closed ones included. Each execution of ours at the
exchange must be booked once and whole, each slot must hold what its open position says, behind exactly one stop of the
right size and price, and no order of ours may rest that no open position knows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.domain.model import IntentStatus, Phase, Position
from actors.domain.schema import load
from scripts.bench_row import check
from scripts.bench_states import ORDER_TAG
from scripts.bench_world import World, new_store

LISTED = 20


@dataclass(slots=True)
class Verdict:
    """What was compared, and every difference in words."""

    positions: int = 0
    closed: int = 0
    executions: int = 0
    differences: list[str] = field(default_factory=list)


def judge(built: World, ids: Iterable[tuple[str, str]]) -> Verdict:
    """Compare everything. `ids` are (shard, position id) of every position that was ever opened."""
    verdict = Verdict()
    booked: dict[str, Decimal] = defaultdict(Decimal)
    open_books: dict[tuple[str, str], Position] = {}
    for position in _books(built, ids):
        verdict.positions += 1
        for fill in position.fills:
            booked[fill.client_order_id] += fill.quantity
        if position.phase is Phase.CLOSED:
            verdict.closed += 1
            if position.remaining:
                verdict.differences.append(f"{position.id} is closed and still says that {position.remaining} remain")
            continue
        slot = (position.account, position.symbol)
        if slot in open_books:
            verdict.differences.append(f"{position.id} and {open_books[slot].id} share the slot {slot}")
        open_books[slot] = position
    _executions(built, booked, verdict)
    _slots(built, open_books, verdict)
    return verdict


def _books(built: World, ids: Iterable[tuple[str, str]]) -> Iterator[Position]:
    store: Any = new_store(built.redis.url)
    try:
        for shard, position_id in ids:
            snapshot = store.read(shard, position_id)
            check(snapshot is not None, f"{position_id} is not stored")
            yield load(snapshot.state, snapshot.schema)
    finally:
        store.close()


def _executions(built: World, booked: dict[str, Decimal], verdict: Verdict) -> None:
    """What was executed, order by order."""
    executed: dict[str, Decimal] = defaultdict(Decimal)
    rows = built.exchange.tables.execute("SELECT client_order_id, quantity FROM trades").fetchall()
    for order, quantity in rows:
        verdict.executions += 1
        executed[order] += Decimal(quantity)
    for order in executed.keys() | booked.keys():
        if executed[order] != booked[order]:
            verdict.differences.append(f"order {order}: executed {executed[order]}, booked {booked[order]}")


def _slots(built: World, books: dict[tuple[str, str], Position], verdict: Verdict) -> None:
    """What is held and what rests, slot by slot."""
    tables = built.exchange.tables
    held = {(row[0], row[1]): Decimal(row[2]) for row in tables.execute("SELECT * FROM positions").fetchall()}
    rests: dict[tuple[str, str], list[tuple[str, Decimal, Decimal]]] = defaultdict(list)
    query = "SELECT account, symbol, client_order_id, quantity, filled, trigger_price FROM orders WHERE state = 'open'"
    for account, symbol, order, quantity, filled, trigger in tables.execute(query).fetchall():
        if not order.startswith(ORDER_TAG):
            verdict.differences.append(f"{account} {symbol}: somebody else's order {order}")
        rests[account, symbol].append((order, Decimal(quantity) - Decimal(filled), Decimal(trigger or 0)))
    for slot in held.keys() | rests.keys() | books.keys():
        position = books.get(slot)
        remaining = position.remaining if position is not None else Decimal(0)
        if held.get(slot, Decimal(0)) != remaining:
            verdict.differences.append(f"{slot}: held {held.get(slot, 0)}, booked {remaining}")
        stops = [] if position is None else _stops(position)
        if sorted(rests.get(slot, [])) != sorted(stops) or (remaining and len(stops) != 1):
            verdict.differences.append(f"{slot}: {rests.get(slot, [])} rest, the book says {stops}")


def _stops(position: Position) -> list[tuple[str, Decimal, Decimal]]:
    """The stops that the book says rest, each for all that remains."""
    return [
        (intent.client_order_id, position.remaining, intent.trigger_price or Decimal(0))
        for intent in position.intents
        if intent.resident and intent.status is IntentStatus.RESTING
    ]
