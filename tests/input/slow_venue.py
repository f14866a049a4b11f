"""A venue that takes its time: orders are lost, execute in parts, and are reported late, twice or out of order.

It knows nothing of plans. What it is asked stays open until somebody lets it answer.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from actors.domain.events import (
    Cancel,
    Effect,
    LookUp,
    Observe,
    OrderAbsent,
    OrderReported,
    OrderState,
    PositionObserved,
    Submit,
    Trade,
)
from actors.domain.model import ZERO, Micros, OrderKind, OrderSide
from tests.unit.driver import SYMBOL


@dataclass(slots=True)
class Held:
    """One order as the venue has it; `told` are the states it went through, each of which may still come."""

    submit: Submit
    arrived: bool = False
    state: OrderState = OrderState.OPEN
    trades: tuple[Trade, ...] = ()
    told: list[tuple[OrderState, tuple[Trade, ...]]] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        """What it has executed."""
        return sum((trade.quantity for trade in self.trades), ZERO)

    @property
    def open(self) -> bool:
        """Whether it may still execute."""
        return self.arrived and self.state is OrderState.OPEN


@dataclass(slots=True)
class SlowVenue:
    """The orders of one slot, its position, and the questions that are still to be answered."""

    position: Decimal = ZERO
    orders: dict[str, Held] = field(default_factory=dict)
    asked: list[Effect] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)

    def take(self, effects: tuple[Effect, ...], *, lost: bool) -> None:
        """Take in what is asked for; submissions that are `lost` never arrive, and nobody is told."""
        for effect in effects:
            if isinstance(effect, Submit):
                held = self.orders.setdefault(effect.client_order_id, Held(effect))
                assert not held.trades, "an order that has executed was sent again"
                held.submit, held.arrived, held.state = effect, held.arrived or not lost, OrderState.OPEN
            elif isinstance(effect, Cancel | LookUp | Observe) and effect not in self.asked:
                self.asked.append(effect)

    def pick(self, number: int, *, kind: OrderKind | None = None, only_open: bool = True) -> Held | None:
        """One order by a number that is drawn, where there is any."""
        fitting = [
            held
            for held in self.orders.values()
            if held.arrived and (held.open or not only_open) and kind in (None, held.submit.kind)
        ]
        return fitting[number % len(fitting)] if fitting else None

    def execute(self, held: Held, quantity: Decimal, price: Decimal, fee: Decimal, at: Micros) -> None:
        """Execute (part of) an order; reduce-only caps it at the position, and what is capped ends there."""
        left = held.submit.quantity - held.filled
        done = min(quantity, left)
        if held.submit.reduce_only:
            done = min(done, self.position)
        if done > 0:
            trade = Trade(
                trade_id=f"t{len(self.trades) + 1}",
                client_order_id=held.submit.client_order_id,
                symbol=SYMBOL,
                side=held.submit.side,
                quantity=done,
                price=price,
                fee=fee,
                at=at,
            )
            self.trades.append(trade)
            held.trades = (*held.trades, trade)
            self.position += -done if held.submit.reduce_only else done
        if held.filled == held.submit.quantity:
            held.state = OrderState.FILLED
        elif done < min(quantity, left):
            held.state = OrderState.CANCELLED
        held.told.append((held.state, held.trades))

    def end(self, held: Held) -> None:
        """End an order without executing more of it."""
        held.state = OrderState.CANCELLED
        held.told.append((held.state, held.trades))

    def report(self, held: Held, at: Micros, *, old: int = 0, bare: bool = False) -> OrderReported:
        """A stream's report of an order: as it is now, or as it was `old` states ago; `bare` leaves its trades out."""
        state, trades = (held.state, held.trades) if not held.told else held.told[-1 - old % len(held.told)]
        filled = sum((trade.quantity for trade in trades), ZERO)
        return self._reported(held, at, state, () if bare else trades, filled, read_back=False)

    def answer(self, asked: Effect, at: Micros) -> PositionObserved | OrderReported | OrderAbsent:
        """The truth, to one question."""
        if isinstance(asked, Observe):
            return PositionObserved(at=at, read_at=at, quantity=self.position, trades=tuple(self.trades))
        assert isinstance(asked, Cancel | LookUp)
        held = self.orders.get(asked.client_order_id)
        if held is None or not held.arrived:
            return OrderAbsent(at=at, client_order_id=asked.client_order_id)
        if isinstance(asked, Cancel) and held.open:
            self.end(held)
        return self._reported(held, at, held.state, held.trades, held.filled, read_back=True)

    @staticmethod
    def _reported(
        held: Held, at: Micros, state: OrderState, trades: tuple[Trade, ...], filled: Decimal, *, read_back: bool
    ) -> OrderReported:
        return OrderReported(
            at=at,
            client_order_id=held.submit.client_order_id,
            state=state,
            quantity=held.submit.quantity,
            filled=filled,
            trades=trades,
            read_back=read_back,
            limit_price=held.submit.limit_price,
        )

    def touched(self, held: Held, mark: Decimal, touch: Decimal) -> bool:
        """Whether an order may execute at these prices: a market order always may."""
        submit, sells = held.submit, held.submit.side is OrderSide.SELL
        if submit.kind is OrderKind.LIMIT:
            assert submit.limit_price is not None
            return touch >= submit.limit_price if sells else touch <= submit.limit_price
        if submit.kind is OrderKind.STOP_MARKET:
            assert submit.trigger_price is not None
            return bool(held.trades) or (mark <= submit.trigger_price if sells else mark >= submit.trigger_price)
        return True
