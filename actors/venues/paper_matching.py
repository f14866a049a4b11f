"""How a paper exchange executes orders: at the market, at a stop, or at a limit where they rest.

A limit order that the market has crossed already fills at once at the market's (better) price; one at rest fills at its
own price, once the bid (to sell) or the ask (to buy) reaches it. Everything here happens inside a transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from actors.domain.events import OrderState, Trade
from actors.domain.model import HUNDRED, ZERO, OrderKind, OrderSide, Quote
from actors.venues.base import VenueOrder
from actors.venues.paper_checks import is_crossed, market_price, moved, reducible
from actors.venues.paper_faults import Partial
from actors.venues.paper_pending import PaperPending
from actors.venues.paper_tables import OrderRow, PaperTables


class PaperMatching:
    """Executes orders and books what that changes: trades, the position, the orders themselves."""

    def __init__(self, tables: PaperTables, pending: PaperPending, taker_fee_percent: Decimal) -> None:
        self._tables = tables
        self._pending = pending
        self._fee_percent = taker_fee_percent
        # Asked at each fill where faults are to be played: how much is filled at once. None: all of it.
        self.partial_fill: Callable[[OrderRow], Partial | None] | None = None

    def arrive(self, order: OrderRow, quote: Quote) -> OrderRow:
        """A market or limit order has just been accepted: it executes, or it rests."""
        if order.limit_price is None:
            return self.fill(order, quote)
        if not is_crossed(order, quote):
            return order
        return self.fill(order, quote, price=market_price(quote, order.side))

    def fill_all(
        self, orders: Sequence[OrderRow], quote: Quote, *, rest: bool = False
    ) -> tuple[tuple[str, VenueOrder], ...]:
        """Execute what a price has triggered or crossed: (account, order) of each, as it is then."""
        done: list[tuple[str, VenueOrder]] = []
        for found in orders:
            # One filled before it may have ended it: what a position no longer holds, nothing can reduce.
            order = self._tables.order(found.id)
            if order.state is not OrderState.OPEN:
                continue
            if rest and order.limit_price is not None and not is_crossed(order, quote):
                self._tables.rest_again(order)
                continue
            done.append((order.account, self._tables.told(self.fill(order, quote, rest=rest))))
        return tuple(done)

    def fill(self, order: OrderRow, quote: Quote, *, rest: bool = False, price: Decimal | None = None) -> OrderRow:
        """Execute an order, a reduce-only one for no more than the position holds."""
        price = order.limit_price if price is None else price
        quantity = order.quantity - order.filled
        held, _ = self._tables.position(order.account, order.symbol)
        if order.position_wide:
            quantity = reducible(held, order.side)
        elif order.reduce_only:
            quantity = min(quantity, reducible(held, order.side))
        partial = self.partial_fill(order) if self.partial_fill and not rest else None
        if partial is None or partial.quantity >= quantity:
            return self.execute(order, quote, quantity, price=price)
        at_next_price = partial.due_at is None and order.limit_price is not None
        if not partial.ends and not at_next_price:
            self._pending.add_rest(order, partial.due_at)
        return self.execute(order, quote, partial.quantity, price=price, goes_on=not partial.ends)

    def execute(
        self,
        order: OrderRow,
        quote: Quote,
        quantity: Decimal,
        *,
        price: Decimal | None = None,
        cause: str = "order",
        goes_on: bool = False,
    ) -> OrderRow:
        """Book one execution: trade, position, order. What could not be executed has expired, unless it `goes_on`."""
        price = market_price(quote, order.side) if price is None else price
        if quantity:
            held, entry_price = self._tables.position(order.account, order.symbol)
            delta = quantity if order.side is OrderSide.BUY else -quantity
            after = moved(held, entry_price, delta, price)
            self._tables.save_position(order.account, order.symbol, *after)
            trade = Trade(
                trade_id="",
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=quantity,
                price=price,
                fee=price * quantity * self._fee_percent / HUNDRED,
                at=quote.at,
                cause=cause,
            )
            self._tables.add_trade(order.id, order.account, trade)
            # A position that is only larger or smaller leaves every order as much of a point as it had.
            if held * after[0] <= 0:
                self._end_pointless(order, after[0], quote)
        filled = order.filled + quantity
        state = OrderState.OPEN if goes_on else OrderState.EXPIRED
        if filled >= order.quantity:
            state = OrderState.FILLED
        return self._tables.changed(order, state, filled, quote.at)

    def _end_pointless(self, cause: OrderRow, held: Decimal, quote: Quote) -> None:
        """Reduce-only limit orders end when there is nothing left for them to reduce; nobody is told."""
        for order in self._tables.open_orders(cause.account, cause.symbol):
            pointless = order.reduce_only and order.kind is OrderKind.LIMIT and not reducible(held, order.side)
            if pointless and order.id != cause.id:
                self._tables.change_order(order.id, OrderState.EXPIRED, order.filled, quote.at)

    def trade_by_hand(self, order: OrderRow, quote: Quote, *, price: Decimal | None, cause: str) -> Trade:
        """Execute what somebody else at the account does, whole."""
        added = self._tables.add_order(replace(order, state=OrderState.OPEN, filled=ZERO))
        return self._tables.told(self.execute(added, quote, order.quantity, price=price, cause=cause)).trades[0]
