"""Positions that are there before a keeper boots, where a former one would have left them.

Their snapshots are in Redis, put there by the store itself; the same positions, orders and trades are in the paper
exchange's ledger, so that a boot reconciles without a difference.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actors.domain.schema import SCHEMA
from persistence.store import Change, Store
from scripts.bench_row import check
from scripts.bench_states import START_AT, Copies, Layout

SEED_OWNER = "bench-seed"
SEED_BATCH = 1000


def seed_store(store: Store, layout: Layout, copies: Copies) -> None:
    """The snapshots of one position in each slot, as a keeper saved them that is dead now."""
    fills = len(copies.template.fills)
    waiting: dict[str, list[Change]] = {}
    for shard in sorted({layout.shard_of(name) for name in layout.account_names()}):
        # Left held, by an owner that is proven dead: what a kill -9 leaves behind, and no takeover.
        store.take(shard, SEED_OWNER, 3600.0)
        waiting[shard] = []
    for slot in layout.slots():
        shard = layout.shard_of(slot.account)
        state = copies.state(slot, first_trade=slot.number * fills + 1)
        waiting[shard].append(Change(position_id=slot.position_id, schema=SCHEMA, grew_from=0, state=state))
        if len(waiting[shard]) >= SEED_BATCH:
            _save(store, shard, waiting[shard])
    for shard, rest in waiting.items():
        _save(store, shard, rest)


def _save(store: Store, shard: str, waiting: list[Change]) -> None:
    if waiting:
        outcome = store.save(shard, 1, waiting)
        check(len(outcome.saved) == len(waiting), f"a seeded snapshot of {shard} was not saved")
        waiting.clear()


_ORDER = (
    "INSERT INTO orders(account, symbol, client_order_id, kind, side, quantity, filled, state, reduce_only,"
    " trigger_price, trigger_source, trigger_hint, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_TRADE = (
    "INSERT INTO trades(order_id, account, symbol, client_order_id, side, quantity, price, fee, at, cause)"
    " VALUES (?,?,?,?,?,?,?,?,?,'order')"
)


def seed_ledger(tables: Any, layout: Layout, copies: Copies) -> None:
    """What the exchange knows of these positions, in one transaction. `tables` are a paper exchange's."""
    at = copies.template.updated_at
    remaining, entry = str(copies.template.remaining), str(copies.template.entry_price)
    with tables.transaction(durable=True):
        for slot in layout.slots():
            state = copies.state(slot)
            numbers = {
                intent["client_order_id"]: int(
                    tables.execute(_ORDER, _order(slot.account, slot.symbol, intent, at)).lastrowid
                )
                for intent in state["intents"]
            }
            sides = {intent["client_order_id"]: intent["side"] for intent in state["intents"]}
            for fill in state["fills"]:
                order = fill["client_order_id"]
                words = (fill["quantity"], fill["price"], fill["fee"], fill["at"])
                tables.execute(_TRADE, (numbers[order], slot.account, slot.symbol, order, sides[order], *words))
            tables.execute("INSERT INTO positions VALUES (?,?,?,?)", (slot.account, slot.symbol, remaining, entry))


def _order(account: str, symbol: str, intent: Mapping[str, Any], at: int) -> tuple[object, ...]:
    done, trigger = intent["status"] == "filled", intent.get("trigger_price")
    return (
        account,
        symbol,
        intent["client_order_id"],
        intent["kind"],
        intent["side"],
        intent["quantity"],
        intent["quantity"] if done else "0",
        "filled" if done else "open" if intent["status"] == "resting" else "cancelled",
        int(intent["leg"] != "entry"),
        trigger,
        intent.get("trigger_source"),
        None if trigger is None else float(trigger),
        at,
    )


def seed_market(tables: Any, symbols: Mapping[str, str], price: Decimal) -> None:
    """Every symbol has had its first price. `symbols` has the cursor of each."""
    text = str(price)
    with tables.transaction(durable=True):
        for symbol, cursor in symbols.items():
            values = (symbol, cursor, START_AT, *[text] * 7, START_AT)
            tables.execute("INSERT OR REPLACE INTO market VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)
