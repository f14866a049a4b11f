"""A tiny exchange for one account and one symbol: what every loopback stand-in trades on behind its own wire format.

It accepts orders, rests stops and limit orders, fills market orders at a set price, and remembers everything. It knows
nothing of HTTP, and nothing of the product under test.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

Kind = Literal["market", "limit", "stop"]
State = Literal["open", "untriggered", "filled", "cancelled", "rejected"]
ZERO = Decimal(0)


class Refused(Exception):
    """An order the exchange does not take; `reason` is one of the exchange's own reasons."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True, kw_only=True)
class Fill:
    """One execution. `at` is in milliseconds."""

    number: int
    order: "Order"
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: int
    cause: str = "order"


@dataclass(slots=True, kw_only=True)
class Order:
    """One order in whatever state it is. `rising` stops trigger when the price comes up to their level."""

    number: int
    client_id: str
    kind: Kind
    side: str
    quantity: Decimal
    reduce_only: bool = False
    trigger_price: Decimal | None = None
    trigger_source: str = "mark"
    rising: bool = False
    limit_price: Decimal | None = None
    state: State = "open"
    triggered: bool = False
    child: int = 0
    reason: str = ""
    cause: str = "order"
    created: int = 0
    updated: int = 0
    fills: list[Fill] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        """What was executed so far."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def open(self) -> bool:
        """Whether it may still execute."""
        return self.state in ("open", "untriggered")


@dataclass(slots=True, kw_only=True)
class Rules:
    """What the exchange allows, in base units and quote units."""

    tick: Decimal = Decimal("0.1")
    step: Decimal = Decimal("0.001")
    minimum: Decimal = Decimal("0.001")
    minimum_notional: Decimal = Decimal(5)
    fee: Decimal = Decimal("0.0005")


class Market:
    """The one symbol and the one account. Every method may be called from any thread."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.lock = threading.RLock()
        self.mark = self.last = Decimal(60000)
        self.spread = Decimal("0.1")
        self.position = ZERO
        self.entry_price = ZERO
        self.orders: list[Order] = []
        self.fills: list[Fill] = []
        self.clock_skew_ms = 0
        self.fill_fraction = Decimal(1)
        self.reject_later = ""
        self.changed: list[Callable[[Order | None], None]] = []
        self._count = 1000

    def now(self) -> int:
        """The exchange's clock, in milliseconds."""
        return int(time.time() * 1000) + self.clock_skew_ms

    @property
    def bid(self) -> Decimal:
        """What a seller gets."""
        return self.last

    @property
    def ask(self) -> Decimal:
        """What a buyer pays."""
        return self.last + self.spread

    def number(self) -> int:
        """A number never used before."""
        self._count += 1
        return self._count

    def find(self, client_id: str, kinds: tuple[Kind, ...] = ("market", "limit", "stop")) -> Order | None:
        """The latest order with this client id among these kinds."""
        with self.lock:
            for order in reversed(self.orders):
                if order.client_id == client_id and order.kind in kinds:
                    return order
        return None

    def by_number(self, number: int) -> Order | None:
        """An order by the exchange's own number."""
        with self.lock:
            return next((order for order in self.orders if order.number == number), None)

    def place(self, order: Order) -> Order:
        """Take an order or raise Refused."""
        with self.lock:
            self._check(order)
            order.created = order.updated = self.now()
            self.orders.append(order)
            if self.reject_later:
                # Accepted for now, as an exchange does that matches later than it answers.
                order.state, order.reason, self.reject_later = "rejected", self.reject_later, ""
            elif order.kind == "stop":
                order.state = "untriggered"
            elif order.kind == "market":
                self._execute(order)
            elif self._through(order):
                # Crossed already: it takes what is there, which is better than it asked for.
                self._execute(order)
            ended = self._end_reductions()
        for each in (order, *ended):
            self._tell(each)
        return order

    def _check(self, order: Order) -> None:
        rules = self.rules
        if order.client_id and any(other.open and other.client_id == order.client_id for other in self.orders):
            raise Refused("duplicate")
        if order.quantity % rules.step:
            raise Refused("step")
        price = order.trigger_price or order.limit_price or self.last
        if order.quantity < rules.minimum or order.quantity * price < rules.minimum_notional:
            raise Refused("minimum")
        if price % rules.tick and order.kind != "market":
            raise Refused("tick")
        if order.kind == "stop":
            present = self.mark if order.trigger_source == "mark" else self.last
            assert order.trigger_price is not None
            if (present >= order.trigger_price) if order.rising else (present <= order.trigger_price):
                raise Refused("rising" if order.rising else "falling")
        if order.reduce_only and order.kind != "stop" and self._reducible(order) <= 0:
            raise Refused("reduce_only")

    def _reducible(self, order: Order) -> Decimal:
        return self.position if order.side == "sell" else -self.position

    def _execute(self, order: Order, price: Decimal | None = None, fraction: Decimal | None = None) -> None:
        wanted = (order.quantity - order.filled) * (self.fill_fraction if fraction is None else fraction)
        if order.reduce_only:
            wanted = min(wanted, max(self._reducible(order), ZERO))
        price = price or (self.ask if order.side == "buy" else self.bid)
        if wanted > 0:
            self._book(order, wanted, price)
        order.state = "filled" if order.filled == order.quantity else "cancelled"
        order.updated = self.now()

    def _book(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        signed = quantity if order.side == "buy" else -quantity
        if self.position * signed >= 0:
            held = abs(self.position)
            self.entry_price = (self.entry_price * held + price * quantity) / (held + quantity)
        elif abs(signed) > abs(self.position):
            self.entry_price = price
        self.position += signed
        fill = Fill(
            number=self.number(),
            order=order,
            side=order.side,
            quantity=quantity,
            price=price,
            fee=quantity * price * self.rules.fee,
            at=self.now(),
            cause=order.cause,
        )
        order.fills.append(fill)
        self.fills.append(fill)

    def _through(self, order: Order) -> bool:
        assert order.limit_price is not None
        return self.ask <= order.limit_price if order.side == "buy" else self.bid >= order.limit_price

    def _end_reductions(self) -> list[Order]:
        """Limit orders that have nothing left to reduce end with the position."""
        ended = [
            order
            for order in self.orders
            if order.state == "open" and order.kind == "limit" and order.reduce_only and self._reducible(order) <= 0
        ]
        for order in ended:
            order.state, order.updated = "cancelled", self.now()
        return ended

    def cancel(self, order: Order) -> None:
        """Cancel an order or raise Refused."""
        with self.lock:
            if not order.open:
                raise Refused("gone")
            order.state, order.updated = "cancelled", self.now()
        self._tell(order)

    def move(self, price: Decimal | str) -> None:
        """Every price is this one now: stops trigger, limit orders fill."""
        touched: list[Order] = []
        with self.lock:
            self.mark = self.last = Decimal(price)
            for order in [order for order in self.orders if order.open]:
                if order.kind == "stop" and order.trigger_price is not None:
                    through = self.last >= order.trigger_price if order.rising else self.last <= order.trigger_price
                    if through:
                        order.triggered, order.child = True, self.number()
                        self._execute(order)
                        touched.append(order)
                elif order.kind == "limit" and self._through(order):
                    self._execute(order, order.limit_price)
                    touched.append(order)
            touched += self._end_reductions()
        for order in touched:
            self._tell(order)
        self._tell(None)

    def seize(self, cause: str, quantity: Decimal | None = None) -> Order:
        """The exchange itself closes some of the position: a liquidation, or auto-deleveraging."""
        with self.lock:
            side = "sell" if self.position > 0 else "buy"
            order = Order(
                number=self.number(),
                client_id="",
                kind="market",
                side=side,
                quantity=quantity or abs(self.position),
                reduce_only=True,
                cause=cause,
                created=self.now(),
            )
            self.orders.append(order)
            self._execute(order, fraction=Decimal(1))
            ended = self._end_reductions()
        for each in (order, *ended):
            self._tell(each)
        return order

    def settle_partly(self, order: Order, quantity: Decimal, price: Decimal | None = None) -> None:
        """Execute a part of a resting order and leave the rest resting."""
        with self.lock:
            self._book(order, quantity, price or order.limit_price or self.last)
            order.updated = self.now()
        self._tell(order)

    def _tell(self, order: Order | None) -> None:
        for listener in self.changed:
            listener(order)
