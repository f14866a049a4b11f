"""The core of the exchange server: the paper exchange, with what Binance has beside matching.

An order that opens something needs margin (one at rest binds none here until it is filled), and an account that is not
worth its maintenance margin any more is liquidated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from actors.domain.events import OrderState
from actors.domain.model import HUNDRED, ZERO, Micros, OrderKind, OrderSide, Quote, Source
from actors.venues.base import OrderRejected, OrderRequest
from actors.venues.exchange_journal import Algo, ExchangeJournal, Wallet
from actors.venues.exchange_matching import ServedMatching
from actors.venues.exchange_settings import ExchangeSettings
from actors.venues.paper_checks import market_price
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_market import Tick
from actors.venues.paper_matching import PaperMatching
from actors.venues.paper_tables import OrderRow

TAKE_PROFIT = "TAKE_PROFIT_MARKET"
_MICROS_PER_MILLISECOND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One position and what it means now. `liquidation_price` is 0 where no price would liquidate it."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    leverage: int
    unrealized: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    liquidation_price: Decimal = ZERO

    @property
    def notional(self) -> Decimal:
        """Signed, at the mark price."""
        return self.quantity * self.mark_price


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """All of an account, of one moment."""

    wallet: Wallet
    holdings: tuple[Holding, ...]

    @property
    def unrealized(self) -> Decimal:
        """Of all positions."""
        return sum((holding.unrealized for holding in self.holdings), ZERO)

    @property
    def initial_margin(self) -> Decimal:
        """What the positions bind."""
        return sum((holding.initial_margin for holding in self.holdings), ZERO)

    @property
    def maintenance_margin(self) -> Decimal:
        """What the account must be worth, or it is liquidated."""
        return sum((holding.maintenance_margin for holding in self.holdings), ZERO)

    @property
    def equity(self) -> Decimal:
        """What it is worth."""
        return self.wallet.balance + self.unrealized

    @property
    def available(self) -> Decimal:
        """What a new order may bind."""
        return max(ZERO, self.equity - self.initial_margin)


class ServedExchange(PaperExchange):
    """All accounts of one exchange server. The one thread that serves is its only user."""

    def __init__(self, settings: ExchangeSettings) -> None:
        """Open the journal. Raises MarketDataError and LedgerError."""
        super().__init__(settings.paper())
        self.served = settings
        self.tables = self._tables
        self.journal = ExchangeJournal(self._tables, self._lock, settings.balance)
        self.matching: PaperMatching = ServedMatching(self._tables, self.pending, settings, self.journal)
        # What the next order is beside its request; taken by `_accept` in the same transaction.
        self._algo: Algo | None = None
        self._time_in_force = "GTC"

    # -- orders --------------------------------------------------------------------------------------------------------

    def place(self, request: OrderRequest, algo: Algo | None = None, time_in_force: str = "GTC") -> OrderRow:
        """Accept an order. Raises VenueError."""
        self._algo, self._time_in_force = algo, time_in_force
        try:
            read = self.submit(request, request.signed_at)
        finally:
            self._algo, self._time_in_force = None, "GTC"
        assert read.order is not None  # noqa: S101 - an accepted order is always read back.
        return self.tables.order(int(read.order.venue_order_id))

    def end(self, order: OrderRow, now: Micros, state: OrderState = OrderState.CANCELLED) -> OrderRow:
        """Cancel an open order."""
        with self._lock, self._tables.transaction(durable=True):
            return self._tables.change_order(order.id, state, order.filled, now)

    def trade_as(
        self,
        account: str,
        symbol: str,
        side: OrderSide,
        quantity: Decimal,
        client_order_id: str,
        *,
        cause: str = "order",
        price: Decimal | None = None,
    ) -> OrderRow:
        """Trade as the account's owner, or as the exchange itself: no checks; at the market unless a price is given."""
        with self._lock, self._tables.transaction(durable=True):
            return self._trade(account, symbol, side, quantity, client_order_id, cause=cause, price=price)

    def pay_funding(self, account: str, symbol: str, amount: Decimal, now: Micros) -> None:
        """Pay funding (received where positive)."""
        with self._lock, self._tables.transaction(durable=True):
            self.journal.pay(account, symbol, now, amount, kind="FUNDING_FEE")

    # -- accounts ------------------------------------------------------------------------------------------------------

    def state(self, account: str) -> AccountState:
        """All of an account, of one moment."""
        wallet = self.journal.wallet(account)
        rows = self._tables.execute(
            "SELECT symbol, quantity, entry_price FROM positions WHERE account = ? ORDER BY symbol", (account,)
        ).fetchall()
        holdings = [self._holding(account, row[0], Decimal(row[1]), Decimal(row[2])) for row in rows]
        unrealized = sum((holding.unrealized for holding in holdings), ZERO)
        return AccountState(
            wallet=wallet,
            holdings=tuple(
                replace(
                    holding,
                    liquidation_price=_liquidation_price(
                        holding,
                        wallet.balance + unrealized - holding.unrealized,
                        self.served.maintenance_percent / HUNDRED,
                    ),
                )
                for holding in holdings
            ),
        )

    def play(self, tick: Tick, now: Micros) -> None:
        """Play one price, and liquidate whom it ruins."""
        self.step(tick)
        held = self._tables.execute("SELECT account FROM positions WHERE symbol = ?", (tick.symbol,)).fetchall()
        for (account,) in held:
            state = self.state(account)
            if state.equity <= state.maintenance_margin:
                self.liquidate(account, now)

    def liquidate(self, account: str, now: Micros) -> Sequence[OrderRow]:
        """Close everything an account has, as the exchange's own orders, and cancel what rests."""
        milliseconds = now // _MICROS_PER_MILLISECOND
        with self._lock, self._tables.transaction(durable=True):
            for holding in self.state(account).holdings:
                for order in self._tables.open_orders(account, holding.symbol):
                    self._tables.change_order(order.id, OrderState.EXPIRED, order.filled, now)
            return [
                self._trade(
                    account,
                    holding.symbol,
                    OrderSide.SELL if holding.quantity > 0 else OrderSide.BUY,
                    abs(holding.quantity),
                    f"autoclose-{milliseconds + number}",
                    cause="liquidated",
                )
                for number, holding in enumerate(self.state(account).holdings)
            ]

    # -- inside a transaction ------------------------------------------------------------------------------------------

    def _accept(self, request: OrderRequest) -> OrderRow:
        self._check_margin(request)
        if self._time_in_force == "GTX":
            self._check_passive(request)
        order = super()._accept(request)
        if order.kind is OrderKind.LIMIT:
            self.journal.add_limit(order.id, self._time_in_force)
        if order.kind is OrderKind.STOP_MARKET:
            algo = self._algo or Algo(type="STOP_MARKET", close_position=False)
            self.journal.add_algo(order.id, algo)
            if algo.type == TAKE_PROFIT:
                # Prices reach it from the other side, as they do a limit order: the search for it is that for one.
                self._tables.execute(
                    "UPDATE orders SET limit_hint = trigger_hint, trigger_hint = NULL WHERE id = ?", (order.id,)
                )
            if algo.close_position:
                self._tables.execute("UPDATE orders SET position_wide = 1 WHERE id = ?", (order.id,))
        return self._tables.order(order.id)

    def _check_passive(self, request: OrderRequest) -> None:
        """A post-only order must not trade at once."""
        quote = self._require_quote(request.symbol)
        price, limit = market_price(quote, request.side), request.limit_price or ZERO
        if price <= limit if request.side is OrderSide.BUY else price >= limit:
            raise OrderRejected("post_only", "the order would trade at once")

    def _check_margin(self, request: OrderRequest) -> None:
        if request.reduce_only or request.kind is OrderKind.STOP_MARKET:
            return
        quote = self._require_quote(request.symbol)
        held, _ = self._tables.position(request.account, request.symbol)
        delta = request.quantity if request.side is OrderSide.BUY else -request.quantity
        opened = max(ZERO, abs(held + delta) - abs(held))
        price = market_price(quote, request.side)
        leverage = self.journal.leverage(request.account, request.symbol, self.served.leverage)
        if opened and opened * price / leverage > self.state(request.account).available:
            raise OrderRejected("insufficient_margin", "the account's margin is insufficient")

    def _checked_trigger(self, request: OrderRequest, quote: Quote) -> Decimal:
        if self._algo is None or self._algo.type != TAKE_PROFIT:
            return super()._checked_trigger(request, quote)
        trigger, source = request.trigger_price or ZERO, request.trigger_source or Source.MARK
        if _is_through_profit(request.side, trigger, source, quote):
            raise OrderRejected("would_trigger", f"the {source.value} price is already through {trigger}")
        return trigger

    def _is_due(self, order: OrderRow, quote: Quote) -> bool:
        if order.kind is OrderKind.STOP_MARKET and self.journal.algo(order.id).type == TAKE_PROFIT:
            trigger, source = order.trigger_price or ZERO, order.trigger_source or Source.MARK
            return _is_through_profit(order.side, trigger, source, quote)
        return super()._is_due(order, quote)

    def _trade(
        self,
        account: str,
        symbol: str,
        side: OrderSide,
        quantity: Decimal,
        client_order_id: str,
        *,
        cause: str,
        price: Decimal | None = None,
    ) -> OrderRow:
        quote = self._require_quote(symbol)
        row = OrderRow(
            id=0,
            account=account,
            symbol=symbol,
            client_order_id=client_order_id,
            kind=OrderKind.MARKET,
            side=side,
            quantity=quantity,
            filled=ZERO,
            state=OrderState.OPEN,
            reduce_only=False,
            trigger_price=None,
            trigger_source=None,
            updated_at=quote.at,
        )
        return self.matching.execute(self._tables.add_order(row), quote, quantity, price=price, cause=cause)

    def _holding(self, account: str, symbol: str, quantity: Decimal, entry_price: Decimal) -> Holding:
        quote = self._quote(symbol)
        mark = (quote.mark if quote else None) or entry_price
        leverage = self.journal.leverage(account, symbol, self.served.leverage)
        size = abs(quantity) * mark
        return Holding(
            symbol=symbol,
            quantity=quantity,
            entry_price=entry_price,
            mark_price=mark,
            leverage=leverage,
            unrealized=quantity * (mark - entry_price),
            initial_margin=size / leverage,
            maintenance_margin=size * self.served.maintenance_percent / HUNDRED,
        )


def _is_through_profit(side: OrderSide, trigger: Decimal, source: Source, quote: Quote) -> bool:
    """Whether a price has reached a take profit: from the other side than a stop."""
    price = quote.last if source is Source.LAST else quote.mark
    if price is None:
        return False
    return price >= trigger if side is OrderSide.SELL else price <= trigger


def _liquidation_price(holding: Holding, rest: Decimal, rate: Decimal) -> Decimal:
    """Where the account, worth `rest` without this position, falls to its maintenance margin; 0 when nowhere."""
    quantity = holding.quantity
    price = (quantity * holding.entry_price - rest) / (quantity - abs(quantity) * rate)
    return max(ZERO, price)
