"""Positions that are there before a keeper boots, where a former one would have left them.

Their snapshots are in Redis, put there by the store itself; the same positions, orders and trades are in the paper
exchange's ledger, so that a boot reconciles without a difference.
"""

from actors.domain.schema import SCHEMA
from persistence.store import Change, Store
from scripts.bench_row import check
from scripts.bench_states import PRICE, Copies
from scripts.bench_world import World

SEED_OWNER = "bench-seed"
SEED_BATCH = 1000


def seed(built: World, copies: Copies, *, positions: bool = True) -> None:
    """Put one open position into every slot: its snapshot in Redis, its truth in the exchange's ledger.

    Without `positions` only the market has its price, and no shard an owner.
    """
    if positions:
        seed_store(built, copies)
    seed_ledger(built, copies, positions=positions)
    built.saves.clear()


def seed_store(built: World, copies: Copies) -> None:
    """The snapshots, as a keeper saved them that is dead now."""
    fills = len(copies.template.fills)
    shards: dict[str, list[Change]] = {}
    store, shard_of = built.store, built.layout.shard_of
    for shard in sorted({shard_of(name) for name in built.layout.account_names()}):
        # Left held, by an owner that is proven dead: what a kill -9 leaves behind, and no takeover.
        store.take(shard, SEED_OWNER, 3600.0)
        shards[shard] = []
    for slot in built.layout.slots():
        waiting = shards[shard_of(slot.account)]
        state = copies.state(slot, first_trade=slot.number * fills + 1)
        waiting.append(Change(position_id=slot.position_id, schema=SCHEMA, grew_from=0, state=state))
        if len(waiting) >= SEED_BATCH:
            _save(store, shard_of(slot.account), waiting)
    for shard, waiting in shards.items():
        _save(store, shard, waiting)


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


def seed_ledger(built: World, copies: Copies, *, positions: bool = True) -> None:
    """What the exchange knows of these positions, in one transaction."""
    tables, at = built.exchange.tables, copies.template.updated_at
    remaining, entry = str(copies.template.remaining), str(copies.template.entry_price)
    with tables.transaction(durable=True):
        for slot in built.layout.slots() if positions else ():
            position = copies.state(slot)
            numbers: dict[str, int] = {}
            for intent in position["intents"]:
                done = intent["status"] == "filled"
                trigger = intent.get("trigger_price")
                cursor = tables.execute(
                    _ORDER,
                    (
                        slot.account,
                        slot.symbol,
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
                    ),
                )
                numbers[intent["client_order_id"]] = int(cursor.lastrowid)
            sides = {intent["client_order_id"]: intent["side"] for intent in position["intents"]}
            for fill in position["fills"]:
                order = fill["client_order_id"]
                words = (fill["quantity"], fill["price"], fill["fee"], fill["at"])
                tables.execute(_TRADE, (numbers[order], slot.account, slot.symbol, order, sides[order], *words))
            tables.execute("INSERT INTO positions VALUES (?,?,?,?)", (slot.account, slot.symbol, remaining, entry))
        for symbol in built.layout.symbol_names():
            price = str(copies.template.latest.mark) if copies.template.latest else str(PRICE)
            values = (symbol, f'["walk",0,{at},"{price}"]', at, *[price] * 7, at)
            tables.execute("INSERT OR REPLACE INTO market VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)
