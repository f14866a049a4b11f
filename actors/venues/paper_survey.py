"""Many slots of one account, read from the paper ledger with three statements instead of a dozen for each slot.

What is told of a slot is what the single reads would tell in the same snapshot (test_venue_paper_survey.py).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from actors.domain.events import OrderState, Trade
from actors.domain.model import Micros, OrderKind, OrderSide, Side, Source
from actors.domain.records import maker
from actors.survey import CandlesRead, SlotAsked, SlotSurveyed
from actors.venues.base import Candle, VenueOrder, VenuePosition
from actors.venues.paper_tables import PaperTables

ReadCandles = Callable[[str, Source, Micros], tuple[tuple[Candle, ...], bool]]

# Each joins what is asked, a list of [symbol, time], in this order: SQLite must not walk through everything else.
_POSITIONS = (
    "SELECT p.symbol, p.quantity, p.entry_price FROM json_each(?) s CROSS JOIN positions p"
    " WHERE p.account = ? AND p.symbol = s.value->>0"
)
_OPEN_ORDERS = (
    "SELECT o.id, o.symbol, o.client_order_id, o.kind, o.side, o.quantity, o.filled, o.reduce_only, o.trigger_price,"
    " o.updated_at, o.limit_price, o.position_wide FROM json_each(?) s CROSS JOIN orders o"
    " WHERE o.state = 'open' AND o.account = ? AND o.symbol = s.value->>0 ORDER BY s.key, o.id"
)
_TRADES = (
    "SELECT t.id, t.client_order_id, t.symbol, t.side, t.quantity, t.price, t.fee, t.at, t.cause"
    " FROM json_each(?) s CROSS JOIN trades t"
    " WHERE t.account = ? AND t.symbol = s.value->>0 AND t.at >= s.value->>1 ORDER BY s.key, t.id"
)
_KINDS: Mapping[str, OrderKind] = {kind.value: kind for kind in OrderKind}
_SIDES: Mapping[str, OrderSide] = {side.value: side for side in OrderSide}
# Thousands of each are made in a row.
_SLOT, _VENUE_ORDER, _TRADE_MADE = maker(SlotSurveyed), maker(VenueOrder), maker(Trade)
_POSITION = maker(VenuePosition)
# Most quantities, prices and fees of an account are those of another row too.
_decimal = lru_cache(maxsize=4_096)(Decimal)
_NONE_SINCE = {source: CandlesRead(source=source, candles=(), complete=True) for source in Source}


def read_slots(
    tables: PaperTables, account: str, slots: Sequence[SlotAsked], now: Micros, read_candles: ReadCandles
) -> Mapping[str, SlotSurveyed]:
    """Every slot asked for, by symbol. Inside a snapshot."""
    asked = json.dumps([(slot.symbol, slot.trades_since) for slot in slots])
    positions = {row[0]: _position(*row) for row in tables.execute(_POSITIONS, (asked, account)).fetchall()}
    orders = _by_symbol(_open_order(tables, row) for row in tables.execute(_OPEN_ORDERS, (asked, account)).fetchall())
    trades = _by_symbol(_trade(row) for row in tables.execute(_TRADES, (asked, account)).fetchall())
    found: dict[str, SlotSurveyed] = {}
    for slot in slots:
        symbol = slot.symbol
        open_orders, market = orders.get(symbol, ()), tables.market(symbol)
        quote = market.quote if market is not None else None
        found[symbol] = _SLOT(
            symbol=symbol,
            position=positions.get(symbol),
            orders=open_orders,
            looked_up=tuple([_look_up(tables, account, symbol, open_orders, asked) for asked in slot.orders]),
            trades=trades.get(symbol, ()),
            candles=_candles(tables, read_candles, slot),
            quote=quote,
            read_at=quote.at if quote is not None else now,
        )
    return found


def _by_symbol(items: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """In the order in which they come; most slots have one."""
    found: dict[str, tuple[Any, ...]] = {}
    for item in items:
        before = found.get(item.symbol)
        found[item.symbol] = (item,) if before is None else (*before, item)
    return found


def _look_up(
    tables: PaperTables, account: str, symbol: str, open_orders: Iterable[VenueOrder], asked: tuple[str, OrderKind]
) -> VenueOrder | None:
    """The most recent order with this client id in this class; one that is open is among those that were read."""
    order_id, kind = asked
    for order in open_orders:
        if order.client_order_id == order_id and (order.kind is OrderKind.STOP_MARKET) == (
            kind is OrderKind.STOP_MARKET
        ):
            return order
    row = tables.find_order(account, symbol, order_id, kind)
    return None if row is None else tables.told(row)


def _candles(tables: PaperTables, read_candles: ReadCandles, slot: SlotAsked) -> tuple[CandlesRead, ...]:
    """Of each source that was asked for; most often no minute has been completed since."""
    newest = tables.newest_candle(slot.symbol)
    if newest is None or newest < slot.candles_since:
        return tuple([_NONE_SINCE[source] for source in slot.sources])
    reads = ((source, *read_candles(slot.symbol, source, slot.candles_since)) for source in slot.sources)
    return tuple([CandlesRead(source=source, candles=candles, complete=whole) for source, candles, whole in reads])


def _position(symbol: str, quantity: str, entry_price: str) -> VenuePosition:
    held = _decimal(quantity)
    position: VenuePosition = _POSITION(
        symbol=symbol,
        side=Side.LONG if held > 0 else Side.SHORT,
        quantity=abs(held),
        entry_price=_decimal(entry_price),
    )
    return position


def _open_order(tables: PaperTables, row: Sequence[Any]) -> VenueOrder:
    number, symbol, order_id, kind, side, quantity, filled, reduce_only, trigger, at, limit, wide = row
    done = _decimal(filled)
    order: VenueOrder = _VENUE_ORDER(
        client_order_id=order_id,
        venue_order_id=str(number),
        symbol=symbol,
        kind=_KINDS[kind],
        side=_SIDES[side],
        quantity=_decimal(quantity),
        filled=done,
        state=OrderState.OPEN,
        reduce_only=bool(reduce_only),
        trigger_price=None if trigger is None else _decimal(trigger),
        trades=tables.trades_of(number) if done else (),
        updated_at=at,
        limit_price=None if limit is None else _decimal(limit),
        position_wide=bool(wide),
    )
    return order


def _trade(row: Sequence[Any]) -> Trade:
    number, order_id, symbol, side, quantity, price, fee, at, cause = row
    trade: Trade = _TRADE_MADE(
        trade_id=str(number),
        client_order_id=order_id,
        symbol=symbol,
        side=_SIDES[side],
        quantity=_decimal(quantity),
        price=_decimal(price),
        fee=_decimal(fee),
        at=at,
        cause=cause,
    )
    return trade
