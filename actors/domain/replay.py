"""Replay: the exits that a plan would have made on recorded prices.

It decides nothing. It is an ideal exchange around the same `open_position` and `advance` that trade for money: every
order is answered at once with a fill at the present price, so what a replay shows is what the rules do. A limit order
at rest fills at its own price. A stop at rest is acknowledged and never filled, because the rules themselves close at
the stop, at the same price.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.domain.advance import advance
from actors.domain.events import (
    Cancel,
    Effect,
    Event,
    LookUp,
    Observe,
    OpenPosition,
    OrderAbsent,
    OrderReported,
    OrderState,
    PositionObserved,
    PriceMoved,
    Submit,
    Trade,
)
from actors.domain.model import (
    HUNDRED,
    ZERO,
    Fill,
    Instrument,
    Micros,
    OrderKind,
    Phase,
    Plan,
    Position,
    Quote,
    Side,
    Terms,
)
from actors.domain.opening import open_position
from actors.domain.path import (
    BarPath,
    Rows,
    Waypoint,
    first_at_or_after,
    moment_text,
    parse_moment,
    parse_rows,
    waypoints,
)

__all__ = ["IdealExchange", "moment_text", "parse_moment", "parse_rows", "replay"]

# Small enough that neither rounding nor a minimum changes anything, large enough for 28 digits of precision.
_UNIT = Decimal("1E-15")

# At one price a plan can close ten targets and everything; more answers than this mean that the rules go in circles.
_ANSWERS_LIMIT = 1_000

_SYMBOL = "REPLAY"


def replay(
    plan: Plan,
    side: Side,
    rows: Rows,
    entry_at: Micros,
    quantity: Decimal = Decimal(1),
    *,
    fee_percent: Decimal = ZERO,
    bar_path: BarPath = "adverse-first",
) -> dict[str, Any]:
    """The exits of a position entered at the first row at or after `entry_at`, as a dictionary ready for JSON.

    Decimals are strings, times RFC 3339. `realized_pnl` is net of fees; there are none unless `fee_percent` is given.
    Raises PlanRefused and CommandRefused as opening does, and ValueError where the data ends before the entry.
    """
    path = waypoints(rows, first_at_or_after(rows, entry_at), side, bar_path)
    exchange = IdealExchange.enter(plan, side, next(path), quantity, fee_percent)
    for point in path:
        exchange.travel(point)
        if exchange.done:
            break
    return _outcome(exchange.position)


@dataclass(slots=True)
class IdealExchange:
    """The market of one position: it moves the price and answers every order at once, at the present price."""

    position: Position
    at: Micros
    price: Decimal
    fee_percent: Decimal
    resting: dict[str, Submit] = field(default_factory=dict)
    reports: dict[str, OrderReported] = field(default_factory=dict)

    @classmethod
    def enter(
        cls, plan: Plan, side: Side, entry: Waypoint, quantity: Decimal = Decimal(1), fee_percent: Decimal = ZERO
    ) -> "IdealExchange":
        """Open a position at a point of the path; raises PlanRefused and CommandRefused as opening does."""
        instrument = Instrument(
            symbol=_SYMBOL, tick_size=_UNIT, quantity_step=_UNIT, minimum_quantity=_UNIT, taker_fee_percent=fee_percent
        )
        position, effects = open_position(
            OpenPosition(
                at=entry.at,
                id="replay",
                account="replay",
                symbol=_SYMBOL,
                side=side,
                quantity=quantity,
                plan=plan,
                instrument=instrument,
                order_tag="00000000",
                quote=_quote(entry.at, entry.price),
                terms=Terms(),
            )
        )
        exchange = cls(position, entry.at, entry.price, fee_percent)
        exchange._answer(effects)
        return exchange

    @property
    def done(self) -> bool:
        """Nothing of the position is left to decide about."""
        return self.position.phase is Phase.CLOSED

    def travel(self, point: Waypoint) -> None:
        """Go to the next price of the path, by way of every level in between unless the path jumps."""
        if not point.gap:
            start_at, start = self.at, self.price
            while not self.done and (level := self._level_before(point.price)) is not None:
                share = (level - start) / (point.price - start)
                self._move(start_at + int((point.at - start_at) * share), level)
        if not self.done:
            self._move(point.at, point.price)

    def tell(self, event: Event) -> None:
        """Let one event happen, at the present price and moment, with all that follows from it."""
        self._answer(self._advance(event))

    def _answer(self, effects: Iterable[Effect]) -> None:
        """Answer effects, and the effects of the answers, until nothing more is asked."""
        pending = deque(effects)
        for _ in range(_ANSWERS_LIMIT):
            if not pending:
                return
            event = self._reply(pending.popleft())
            if event is not None:
                pending.extend(self._advance(event))
        raise RuntimeError(f"{_ANSWERS_LIMIT} answers at one price did not settle it; please report this plan")

    def _move(self, at: Micros, price: Decimal) -> None:
        self.at, self.price = at, price
        # An order at rest fills where it rests, before anybody is told the price, also when the price jumps past it.
        for order in [*self.resting.values()]:
            if order.kind is OrderKind.LIMIT and self._reached(order):
                self.tell(self._fill(order, order.limit_price))
        self.tell(PriceMoved(quote=_quote(at, price)))

    def _level_before(self, end: Decimal) -> Decimal | None:
        """The first level of the position strictly between the present price and `end`."""
        position, price = self.position, self.price
        levels = [target.price for target in position.targets if not target.hit]
        levels.append(position.stop_price)
        if end > price:
            return min((level for level in levels if level is not None and price < level < end), default=None)
        return max((level for level in levels if level is not None and end < level < price), default=None)

    def _reached(self, order: Submit) -> bool:
        sign = self.position.side.sign
        return order.limit_price is not None and sign * (self.price - order.limit_price) >= 0

    def _advance(self, event: Event) -> tuple[Effect, ...]:
        self.position, effects = advance(self.position, event)
        return effects

    def _reply(self, effect: Effect) -> Event | None:
        """What an exchange without delays and without errors answers."""
        if isinstance(effect, Submit):
            at_once = effect.kind is OrderKind.MARKET or self._reached(effect)
            return self._fill(effect) if at_once else self._rest(effect)
        if isinstance(effect, Cancel):
            order = self.resting.pop(effect.client_order_id, None)
            if order is not None:
                return self._report(order, OrderState.CANCELLED, read_back=True)
        if isinstance(effect, LookUp | Cancel):
            report = self.reports.get(effect.client_order_id)
            return report or OrderAbsent(at=self.at, client_order_id=effect.client_order_id)
        if isinstance(effect, Observe):
            return PositionObserved(at=self.at, quantity=self.position.remaining)
        return None

    def _rest(self, order: Submit) -> OrderReported:
        self.resting[order.client_order_id] = order
        answer = self._report(order, OrderState.OPEN)
        self._report(order, OrderState.OPEN, read_back=True)
        return answer

    def _fill(self, order: Submit, price: Decimal | None = None) -> OrderReported:
        price = self.price if price is None else price
        self.resting.pop(order.client_order_id, None)
        trade = Trade(
            trade_id=f"{order.leg}-{order.client_order_id}",
            client_order_id=order.client_order_id,
            symbol=_SYMBOL,
            side=order.side,
            quantity=order.quantity,
            price=price,
            fee=order.quantity * price * self.fee_percent / HUNDRED,
            at=self.at,
        )
        return self._report(order, OrderState.FILLED, trade)

    def _report(self, order: Submit, state: OrderState, *trades: Trade, read_back: bool = False) -> OrderReported:
        """Say what an order is, and remember it for whoever looks it up."""
        report = OrderReported(
            at=self.at,
            client_order_id=order.client_order_id,
            state=state,
            quantity=order.quantity,
            filled=sum((trade.quantity for trade in trades), ZERO),
            trades=trades,
            read_back=read_back,
        )
        self.reports[order.client_order_id] = report
        return report


def _quote(at: Micros, price: Decimal) -> Quote:
    return Quote(at=at, mark=price, last=price, bid=price, ask=price)


def _outcome(position: Position) -> dict[str, Any]:
    """The answer of the replay command; see the table of commands in the manual."""
    entry = next(fill for fill in position.fills if fill.leg == "entry")
    return {
        "entry": {"at": moment_text(entry.at), "price": _text(entry.price), "quantity": _text(entry.quantity)},
        "exits": [_exit(fill) for fill in position.fills if fill.leg != "entry"],
        "remaining": _text(position.remaining),
        "realized_pnl": _text(position.realized_pnl - position.fees),
        "mae_percent": _text(position.mae.percent if position.mae else ZERO),
        "mfe_percent": _text(position.mfe.percent if position.mfe else ZERO),
        "peak_price": None if position.peak_price is None else _text(position.peak_price),
    }


def _exit(fill: Fill) -> dict[str, str]:
    return {
        "leg": fill.leg,
        "reason": str(fill.reason),
        "at": moment_text(fill.at),
        "price": _text(fill.price),
        "quantity": _text(fill.quantity),
    }


def _text(value: Decimal) -> str:
    """Plain digits without an exponent and without zeros that say nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") or "0" if "." in text else text
