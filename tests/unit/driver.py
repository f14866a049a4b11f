"""One position under test and an obedient venue: orders are answered at once unless a test holds them back.

The desk knows nothing of the rules. It turns effects into the reports a venue would send, and lets a test say every
word that the world could say.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.domain.advance import advance
from actors.domain.events import (
    AmendPlan,
    Cancel,
    CloseManually,
    Effect,
    Event,
    LookUp,
    Note,
    Observe,
    OpenPosition,
    OrderAbsent,
    OrderRefused,
    OrderReported,
    OrderState,
    OrderUnknown,
    PositionObserved,
    PriceMoved,
    Submit,
    TimePassed,
    Trade,
)
from actors.domain.model import (
    ZERO,
    Instrument,
    Intent,
    Micros,
    OrderKind,
    OrderSide,
    Position,
    Quote,
    Side,
    Target,
    Terms,
)
from actors.domain.opening import open_position
from actors.domain.plans import parse_plan

SECOND: Micros = 1_000_000
START: Micros = 1_700_000_000 * SECOND
SYMBOL = "BTC/USDT:USDT"
ANSWERS_LIMIT = 500

D = Decimal


def instrument(**changes: Any) -> Instrument:
    """A market whose steps are small enough not to matter, unless a test says otherwise."""
    usual: dict[str, Any] = {
        "symbol": SYMBOL,
        "tick_size": D("0.01"),
        "quantity_step": D("0.001"),
        "minimum_quantity": D("0.001"),
    }
    return Instrument(**{**usual, **changes})


def quote(price: object = None, *, at: Any = START, **prices: Any) -> Quote:
    """One price for every source, or one for each that is named."""
    default = None if price is None else D(str(price))
    given: dict[str, Any] = {name: None if value is None else D(str(value)) for name, value in prices.items()}
    return Quote(at=at, **{**dict.fromkeys(("mark", "last", "bid", "ask"), default), **given})


def command(plan: Mapping[str, Any], side: str = "long", entry: object = "100", **changes: Any) -> OpenPosition:
    """An opening at the present price `entry`; further keywords replace any field of the command."""
    usual: dict[str, Any] = {
        "at": START,
        "id": "p1",
        "account": "paper",
        "symbol": SYMBOL,
        "side": Side(side),
        "quantity": D("10"),
        "plan": parse_plan(plan),
        "instrument": instrument(),
        "order_tag": "0badcafe",
        "quote": quote(entry),
        "terms": Terms(),
    }
    return OpenPosition(**{**usual, **changes})


@dataclass(slots=True)
class Order:
    """What the venue holds of one order."""

    submit: Submit
    state: OrderState = OrderState.OPEN
    trades: tuple[Trade, ...] = ()
    altered: dict[str, Any] = field(default_factory=dict)

    @property
    def filled(self) -> Decimal:
        """What was executed so far."""
        return sum((trade.quantity for trade in self.trades), D(0))


@dataclass(slots=True)
class Desk:
    """A position, the venue around it and a clock that only moves when told to.

    `held` names legs (or their beginnings, such as `resident-`) whose submissions and cancellations stay unanswered.
    A limit order at rest fills when its price comes, unless `fills_limits` is taken back or its leg is held.
    """

    position: Position
    at: Micros
    quote: Quote
    held: set[str] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    venue: Decimal = ZERO
    fee_percent: Decimal = ZERO
    price_of_fills: Decimal | None = None
    fills_limits: bool = True
    trades_made: int = 0
    asked: set[tuple[str, Micros]] = field(default_factory=set)

    @classmethod
    def start(cls, opening: OpenPosition, *, held: tuple[str, ...] = (), fee_percent: object = "0") -> "Desk":
        """Open (or adopt) and answer what that asks for, except for the legs that are held."""
        position, effects = open_position(opening)
        desk = cls(position, opening.at, opening.quote, set(held), fee_percent=D(str(fee_percent)))
        if opening.adopt:
            desk.venue = opening.quantity
        desk.answer(effects)
        return desk

    # -- what the world says -------------------------------------------------------------------------------------------

    def tell(self, event: Event) -> tuple[Effect, ...]:
        """Let one event happen with all that follows; returns the effects of this one event alone."""
        self.events.append(event)
        self.position, effects = advance(self.position, event)
        self.answer(effects)
        return effects

    def price(self, *prices: object, seconds: Any = 1, **sources: Any) -> tuple[Effect, ...]:
        """New prices, one after the other, each `seconds` after the one before it."""
        effects: tuple[Effect, ...] = ()
        for value in prices or (None,):
            self.at += int(seconds * SECOND)
            self.quote = quote(value, at=self.at, **sources)
            self._fill_limits()
            effects = self.tell(PriceMoved(quote=self.quote))
        return effects

    def _fill_limits(self) -> None:
        """An exchange executes what rests before anybody hears of the price."""
        for order in list(self.orders.values()) if self.fills_limits else ():
            held = any(order.submit.leg.startswith(leg) for leg in self.held)
            rests = order.submit.kind is OrderKind.LIMIT and order.state is OrderState.OPEN
            if rests and not held and self._crosses(order.submit):
                self._execute(order, None, order.submit.limit_price)
                self.tell(self._report(order))

    def _crosses(self, submit: Submit) -> bool:
        limit = submit.limit_price
        touch = self.quote.bid if submit.side is OrderSide.SELL else self.quote.ask
        if limit is None or touch is None:
            return False
        return touch >= limit if submit.side is OrderSide.SELL else touch <= limit

    def wait(self, seconds: float) -> tuple[Effect, ...]:
        """Time passes without a price."""
        self.at += int(seconds * SECOND)
        return self.tell(TimePassed(at=self.at))

    def close(self, fraction: object = "1", request_id: str = "") -> tuple[Effect, ...]:
        """Close by hand."""
        return self.tell(CloseManually(at=self.at, fraction=D(str(fraction)), request_id=request_id))

    def amend(self, plan: Mapping[str, Any], **changes: Any) -> tuple[Effect, ...]:
        """Send a new revision of the plan."""
        return self.tell(AmendPlan(at=self.at, plan=parse_plan(plan, numbers=True), **changes))

    def fill(self, leg: str, quantity: object = None, *, price: object = None) -> tuple[Effect, ...]:
        """The venue executes (part of) the latest order of a leg and reports it."""
        order = self.order(leg)
        self._execute(order, None if quantity is None else D(str(quantity)), None if price is None else D(str(price)))
        return self.report(leg)

    def cancelled(self, leg: str, *, read_back: bool = True) -> tuple[Effect, ...]:
        """The venue ended the latest order of a leg without executing more of it."""
        order = self.order(leg)
        order.state = OrderState.CANCELLED
        return self.tell(self._report(order, read_back=read_back))

    def report(self, leg: str, *, read_back: bool = False) -> tuple[Effect, ...]:
        """Say (again) what the latest order of a leg is."""
        return self.tell(self._report(self.order(leg), read_back=read_back))

    def alter(self, leg: str, **fields: Any) -> tuple[Effect, ...]:
        """The venue has changed the latest order of a leg, and reports it so from now on."""
        self.order(leg).altered = fields
        return self.report(leg, read_back=True)

    def refuse(self, leg: str, code: str = "rejected") -> tuple[Effect, ...]:
        """The venue definitely did not take the latest order of a leg."""
        order = self.order(leg)
        order.state = OrderState.REJECTED
        identity = order.submit.client_order_id
        return self.tell(OrderRefused(at=self.at, client_order_id=identity, code=code, message="refused by the test"))

    def lose(self, leg: str) -> tuple[Effect, ...]:
        """Nobody knows what became of the latest order of a leg."""
        return self.tell(OrderUnknown(at=self.at, client_order_id=self.order(leg).submit.client_order_id))

    def absent(self, leg: str) -> tuple[Effect, ...]:
        """The latest order of a leg is proven never to have reached the venue."""
        return self.tell_absent(self.order(leg).submit.client_order_id)

    def tell_absent(self, client_order_id: str) -> tuple[Effect, ...]:
        """No order of this id ever reached the venue."""
        return self.tell(OrderAbsent(at=self.at, client_order_id=client_order_id))

    def observe(self, quantity: object, **changes: Any) -> tuple[Effect, ...]:
        """One read of the venue's position."""
        self.venue = D(str(quantity))
        return self.tell(PositionObserved(at=self.at, quantity=self.venue, **changes))

    def trade(self, trade_id: str, quantity: object, price: object, **changes: Any) -> Trade:
        """A trade that no order of ours explains."""
        usual: dict[str, Any] = {
            "trade_id": trade_id,
            "client_order_id": "",
            "symbol": SYMBOL,
            "side": self.position.exit_side,
            "quantity": D(str(quantity)),
            "price": D(str(price)),
            "fee": D(0),
            "at": self.at,
        }
        return Trade(**{**usual, **changes})

    # -- what a test reads ---------------------------------------------------------------------------------------------

    def order(self, leg: str) -> Order:
        """The latest order that was submitted for a leg."""
        return [order for order in self.orders.values() if order.submit.leg == leg][-1]

    def submits(self, leg: str = "") -> list[Submit]:
        """Every submission so far, of one leg (or of those that begin with `leg`)."""
        return [effect for effect in self.effects if isinstance(effect, Submit) and effect.leg.startswith(leg)]

    def notes(self, name: str = "") -> list[Note]:
        """Every line of the audit trail so far, of one name."""
        return [effect for effect in self.effects if isinstance(effect, Note) and name in (effect.name, "")]

    def phase(self) -> str:
        """The phase by its name; a type checker would otherwise hold a phase once read for unchangeable."""
        return self.position.phase.value

    def exits(self) -> list[tuple[str, str, Decimal, Decimal]]:
        """The booked reductions: leg, reason, price, quantity."""
        return [
            (fill.leg, str(fill.reason), fill.price, fill.quantity)
            for fill in self.position.fills
            if fill.leg != "entry"
        ]

    def target(self, number: int) -> Target:
        """The state of one target."""
        return next(target for target in self.position.targets if target.number == number)

    def intent(self, leg: str) -> Intent:
        """The latest intent of a leg."""
        return [intent for intent in self.position.intents if intent.leg == leg][-1]

    def limits(self) -> list[tuple[str, Decimal | None, Decimal]]:
        """The limit orders that are open at the venue: leg, price, what is left of them."""
        return [
            (order.submit.leg, order.submit.limit_price, order.submit.quantity - order.filled)
            for order in self.orders.values()
            if order.submit.kind is OrderKind.LIMIT and order.state is OrderState.OPEN
        ]

    def resting(self) -> list[Order]:
        """The stop orders that are open at the venue."""
        return [
            order
            for order in self.orders.values()
            if order.submit.kind is OrderKind.STOP_MARKET and order.state is OrderState.OPEN
        ]

    # -- the obedient venue --------------------------------------------------------------------------------------------

    def answer(self, effects: tuple[Effect, ...]) -> None:
        """Answer effects and what the answers lead to."""
        pending = deque(effects)
        for _ in range(ANSWERS_LIMIT):
            if not pending:
                return
            effect = pending.popleft()
            self.effects.append(effect)
            reply = self._reply(effect)
            if reply is not None:
                self.events.append(reply)
                self.position, more = advance(self.position, reply)
                pending.extend(more)
        raise AssertionError(f"no rest after {ANSWERS_LIMIT} answers")

    def _reply(self, effect: Effect) -> Event | None:
        if isinstance(effect, Observe):
            if "observe" in self.held:
                return None
            # A gateway reads again a second later: two reads are never made at one moment.
            self.at += SECOND
            return PositionObserved(at=self.at, quantity=self.venue)
        if isinstance(effect, Note):
            return None
        if isinstance(effect, Submit):
            assert effect.client_order_id not in self.orders or self._resent(effect), "a client order id was used twice"
            self.orders[effect.client_order_id] = Order(effect)
        order = self.orders.get(effect.client_order_id)
        if order is None:
            return OrderAbsent(at=self.at, client_order_id=effect.client_order_id)
        if any(order.submit.leg.startswith(leg) for leg in self.held):
            return None
        if isinstance(effect, LookUp) and effect.kind is OrderKind.MARKET and order.state is OrderState.OPEN:
            # The keeper asks again until a market order has ended; a venue has one answer for each moment.
            if (effect.client_order_id, self.at) in self.asked:
                return None
            self.asked.add((effect.client_order_id, self.at))
        crosses = effect.kind is OrderKind.LIMIT and self.fills_limits
        if isinstance(effect, Submit) and (effect.kind is OrderKind.MARKET or (crosses and self._crosses(effect))):
            self._execute(order, None, None)
        if isinstance(effect, Cancel) and order.state is OrderState.OPEN:
            order.state = OrderState.CANCELLED
        return self._report(order, read_back=isinstance(effect, Cancel | LookUp))

    def _resent(self, effect: Submit) -> bool:
        """The same id again is right only for the same order, and only while the venue has none of it."""
        before = self.orders[effect.client_order_id]
        return not before.trades and before.submit.leg == effect.leg and before.submit.quantity >= effect.quantity

    def _execute(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        submit = order.submit
        open_quantity = submit.quantity - order.filled
        done = open_quantity if quantity is None else quantity
        if submit.reduce_only:
            # What reduce-only means: the venue caps the order at the position, whatever it was sent for.
            done = min(done, max(self.venue, D(0)))
        paid = price or self.price_of_fills or self._touch(submit.side)
        if done > 0:
            self.trades_made += 1
            trade = Trade(
                trade_id=f"t{self.trades_made}",
                client_order_id=submit.client_order_id,
                symbol=SYMBOL,
                side=submit.side,
                quantity=done,
                price=paid,
                fee=done * paid * self.fee_percent / 100,
                at=self.at,
            )
            order.trades = (*order.trades, trade)
            self.venue += -done if submit.reduce_only else done
        whole = order.filled == submit.quantity
        order.state = OrderState.FILLED if whole else order.state if quantity is not None else OrderState.CANCELLED

    def _touch(self, side: OrderSide) -> Decimal:
        touch = self.quote.bid if side is OrderSide.SELL else self.quote.ask
        price = touch or self.quote.last or self.quote.mark
        assert price is not None, "the test gave no price to fill at"
        return price

    def _report(self, order: Order, *, read_back: bool = False) -> OrderReported:
        usual: dict[str, Any] = {
            "quantity": order.submit.quantity,
            "limit_price": order.submit.limit_price,
            "reduce_only": order.submit.reduce_only,
        }
        return OrderReported(
            at=self.at,
            client_order_id=order.submit.client_order_id,
            state=order.state,
            filled=order.filled,
            trades=order.trades,
            read_back=read_back,
            **{**usual, **order.altered},
        )


def opened(plan: Mapping[str, Any], side: str = "long", entry: object = "100", **changes: Any) -> Desk:
    """An entered position of 10 at 100 under this plan; `held` and `fee_percent` are the desk's."""
    held = changes.pop("held", ())
    fee_percent = changes.pop("fee_percent", "0")
    return Desk.start(command(plan, side, entry, **changes), held=held, fee_percent=fee_percent)


def adopted(plan: Mapping[str, Any], side: str = "long", entry: object = "100", **changes: Any) -> Desk:
    """The same, taken over from the venue; `price` is the present price where it is not the entry's."""
    price = changes.pop("price", entry)
    return opened(plan, side, price, adopt=True, entry_price=D(str(entry)), **changes)
