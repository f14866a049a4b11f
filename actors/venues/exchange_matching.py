"""How the exchange server executes orders: as the paper exchange does, with Binance's conditional orders and wallets.

A conditional order that triggers becomes a plain order with a client id of the exchange's own, and that one is filled.
"""

from dataclasses import replace
from decimal import Decimal
from secrets import token_hex

from actors.domain.events import OrderState
from actors.domain.model import ZERO, OrderKind, Quote
from actors.venues.exchange_journal import ExchangeJournal
from actors.venues.exchange_settings import ExchangeSettings
from actors.venues.paper_checks import market_price, reducible
from actors.venues.paper_matching import PaperMatching
from actors.venues.paper_pending import PaperPending
from actors.venues.paper_tables import OrderRow, PaperTables


class ServedMatching(PaperMatching):
    """Executes conditional orders through plain ones, and books every execution in the wallet."""

    def __init__(
        self, tables: PaperTables, pending: PaperPending, settings: ExchangeSettings, journal: ExchangeJournal
    ) -> None:
        super().__init__(tables, pending, settings.taker_fee_percent)
        self._journal = journal

    def fill(self, order: OrderRow, quote: Quote, *, rest: bool = False, price: Decimal | None = None) -> OrderRow:
        """A plain order is filled. A conditional one becomes a plain one, which is."""
        if order.kind is not OrderKind.STOP_MARKET:
            return super().fill(order, quote, rest=rest, price=price)
        held, _ = self._tables.position(order.account, order.symbol)
        quantity = reducible(held, order.side) if order.position_wide else order.quantity
        if not quantity or (order.reduce_only and not reducible(held, order.side)):
            state = OrderState.EXPIRED if order.position_wide else OrderState.REJECTED
            return self._tables.change_order(order.id, state, ZERO, quote.at)
        child = self._tables.add_order(
            replace(
                order,
                id=0,
                kind=OrderKind.MARKET,
                client_order_id=token_hex(11),
                quantity=quantity,
                trigger_price=None,
                trigger_source=None,
                updated_at=quote.at,
                position_wide=False,
            )
        )
        self._journal.link(order.id, child.id, quote.at)
        child = super().fill(child, quote)
        return self._tables.change_order(order.id, OrderState.FILLED, child.filled, quote.at)

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
        """Book one execution, in the wallet too."""
        held, entry_price = self._tables.position(order.account, order.symbol)
        after = super().execute(order, quote, quantity, price=price, cause=cause, goes_on=goes_on)
        if quantity:
            paid = market_price(quote, order.side) if price is None else price
            closed = min(quantity, reducible(held, order.side))
            realized = closed * (paid - entry_price) * (1 if held > 0 else -1)
            # One that rested is a maker's: only those are filled at their own price rather than the market's.
            maker = order.limit_price is not None and order.updated_at < quote.at
            self._journal.book(order.account, order.symbol, quote.at, realized, maker=maker)
            self._end_position_wide(order, quote)
        return after

    def _end_position_wide(self, cause: OrderRow, quote: Quote) -> None:
        """closePosition orders live as long as the position (GTE_GTC); the one that closes it has not expired."""
        held, _ = self._tables.position(cause.account, cause.symbol)
        parent = self._journal.parent(cause.id)
        for order in self._tables.open_orders(cause.account, cause.symbol):
            if order.position_wide and order.id != parent and not reducible(held, order.side):
                self._tables.change_order(order.id, OrderState.EXPIRED, order.filled, quote.at)
