"""What a position must be, kept the slow and obvious way: written from the design alone.

It knows no orders, no durability and no retries. It hears prices, the time, trades that became known, and what people
ask; it says which levels stand, what was decided for each leg, and what the books are. Fractions throughout: nothing
is ever rounded but quantities, to the instrument's step.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from actors.domain.events import OpenPosition, Trade
from actors.domain.model import Distance, Level, OrderKind, OrderSide, Plan, PlannedTarget, Quote, Source

SECOND = 1_000_000


@dataclass(slots=True)
class Goal:
    """One target as the ledger sees it."""

    planned: PlannedTarget
    hit: bool = False
    acted: bool = False
    price: Fraction | None = None
    filled: Fraction = Fraction(0)


@dataclass(slots=True)
class Leg:
    """What was decided for one leg, once and for all."""

    quantity: Fraction
    reason: str
    full: bool = False


@dataclass(slots=True)
class Ledger:
    """One position's books."""

    order: OpenPosition
    plan: Plan
    goals: list[Goal] = field(default_factory=list)
    known: dict[Source, Fraction] = field(default_factory=dict)
    now: int = 0

    bought: Fraction = Fraction(0)
    paid: Fraction = Fraction(0)
    remaining: Fraction = Fraction(0)
    entered_at: int | None = None
    complete: bool = False
    amended: bool = False

    stop: Fraction | None = None
    initial_stop: Fraction | None = None
    reason: str = "stop_loss"
    trail: Distance | None = None
    peak: Fraction | None = None
    worst: Fraction | None = None
    best: Fraction | None = None

    legs: dict[str, Leg] = field(default_factory=dict)
    closing: str = ""
    seen_trades: set[str] = field(default_factory=set)
    filled: dict[str, Fraction] = field(default_factory=dict)
    entry_fees: Fraction = Fraction(0)
    exits: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    fees: Fraction = Fraction(0)
    manuals: int = 0
    requests: dict[str, str] = field(default_factory=dict)

    # -- numbers -------------------------------------------------------------------------------------------------------

    @property
    def sign(self) -> int:
        """+1 for a long, -1 for a short."""
        return 1 if self.order.side.value == "long" else -1

    @property
    def entry(self) -> Fraction:
        """The average of what the entry paid."""
        return self.paid / self.bought

    @property
    def realized(self) -> Fraction:
        """The gross profit of all exits, measured from the average entry."""
        return sum((self.sign * (price - self.entry) * quantity for price, quantity in self.exits), Fraction(0))

    def better(self, one: Fraction, other: Fraction) -> bool:
        """Whether one price is strictly better for this position than another."""
        return self.sign * one > self.sign * other

    def floored(self, quantity: Fraction) -> Fraction:
        """Down to the instrument's step."""
        step = Fraction(self.order.instrument.quantity_step)
        return quantity // step * step

    def in_quote(self, quote: Quote, source: Source) -> Fraction | None:
        """The price of a source, as this side sees it; None where it is missing or not to be trusted."""
        if source is Source.MARK:
            price = quote.mark
        elif source is Source.LAST:
            price = quote.last
        else:
            price = quote.bid if self.sign > 0 else quote.ask
        return None if price is None else Fraction(price)

    def seen(self, source: Source) -> Fraction | None:
        """The latest price of a source that was ever seen."""
        return self.known.get(source)

    def look(self, quote: Quote) -> None:
        """Take in the prices of a quote."""
        for source in Source:
            price = self.in_quote(quote, source)
            if price is not None:
                self.known[source] = price

    # -- levels --------------------------------------------------------------------------------------------------------

    def level(self, level: Level, direction: int) -> Fraction:
        """The price of a level; `direction` is +1 for a gain (targets) and -1 for a loss (stops)."""
        value, toward = Fraction(level.value), self.sign * direction
        match level.kind.value:
            case "percent":
                return self.entry + toward * self.entry * value / 100
            case "price":
                return value
            case "atr":
                assert self.plan.atr is not None
                return self.entry + toward * value * Fraction(self.plan.atr)
            case "r":
                assert self.initial_stop is not None
                return self.entry + toward * value * abs(self.entry - self.initial_stop)
            case "breakeven":
                # What closing there brings, less its fee, is what the entry cost with its own.
                rate = self.sign * self.entry_fees / self.paid if level.fees else Fraction(0)
                return self.entry * (1 + rate) / (1 - rate)
            case _:
                return self.price_of(next(goal for goal in self.goals if goal.planned.number == int(value)))

    def price_of(self, goal: Goal) -> Fraction:
        """The price of a target now; of one that was hit, as it was then."""
        if goal.price is not None:
            return goal.price
        assert self.entered_at is not None
        elapsed = Fraction(self.now - self.entered_at, SECOND)
        due = [step for step in goal.planned.at if Fraction(step.after_seconds) <= elapsed]
        return self.level((due or list(goal.planned.at))[-1 if due else 0].level, 1)

    def shares(self) -> dict[int, Fraction]:
        """The quantity of each target: its floored fraction; the last one has all the rest where there is no runner."""
        shares = {goal.planned.number: self.floored(self.bought * Fraction(goal.planned.close)) for goal in self.goals}
        closing = [goal.planned.number for goal in self.goals if goal.planned.close]
        if closing and self.closes_all():
            last = closing[-1]
            shares[last] = self.bought - sum(share for number, share in shares.items() if number != last)
        return shares

    def disabled(self) -> bool:
        """Too little was filled for the plan's minimums: the stop stays, the targets do nothing."""
        if self.amended:
            return False
        least = Fraction(self.order.instrument.minimum_quantity)
        shares = self.shares()
        parts = [shares[goal.planned.number] for goal in self.goals if goal.planned.close]
        runner = self.bought - sum(parts, Fraction(0))
        return any(part < least for part in parts) or 0 < runner < least

    def behind(self, peak: Fraction) -> Fraction:
        """How far the trail stays behind this peak."""
        assert self.trail is not None
        value = Fraction(self.trail.value)
        match self.trail.kind.value:
            case "percent":
                distance = peak * value / 100
            case "price":
                distance = value
            case _:
                assert self.plan.atr is not None
                distance = value * Fraction(self.plan.atr)
        if self.trail.min_percent is not None:
            distance = max(distance, peak * Fraction(self.trail.min_percent) / 100)
        if self.trail.max_percent is not None:
            distance = min(distance, peak * Fraction(self.trail.max_percent) / 100)
        return distance

    def raise_stop(self, level: Fraction, reason: str) -> None:
        """A stop only ever moves in the position's favour, and its reason is what set it where it is."""
        assert self.stop is not None
        if self.better(level, self.stop):
            self.stop, self.reason = level, reason

    def follow(self) -> None:
        """The trail pulls the stop behind the peak."""
        if self.trail is not None and self.peak is not None:
            self.raise_stop(self.peak - self.sign * self.behind(self.peak), "trailing_stop")

    def arm(self, distance: Distance) -> None:
        """Arm the trail, or replace its distance; the peak starts at the latest price of the stop's source."""
        self.trail = distance
        if self.peak is None:
            seen = self.seen(self.plan.stop_source)
            self.peak = self.entry if seen is None else seen
        self.follow()

    # -- what happens --------------------------------------------------------------------------------------------------

    def price(self, quote: Quote) -> None:
        """One quote: extremes, trail, stop, targets, time limit."""
        self.now = quote.at
        self.look(quote)
        if not self.remaining or self.closing:
            return
        price = self.in_quote(quote, self.plan.stop_source)
        if price is not None:
            self.extremes(price)
            if self.trail is not None:
                self.peak = price if self.peak is None or self.better(price, self.peak) else self.peak
                self.follow()
            assert self.stop is not None
            if not self.better(price, self.stop):
                self.close_all("stop", self.reason)
        self.targets(self.in_quote(quote, self.plan.targets_source))

    def extremes(self, price: Fraction) -> None:
        """The worst and the best price since entry."""
        if self.worst is None or self.better(self.worst, price):
            self.worst = price
        if self.best is None or self.better(price, self.best):
            self.best = price

    def targets(self, price: Fraction | None) -> None:
        """Each target that the price has passed, in order."""
        if price is None or self.closing or not self.complete or self.disabled():
            return
        for goal in self.goals:
            if goal.hit or self.better(self.price_of(goal), price):
                continue
            resting = goal.planned.order is OrderKind.LIMIT and goal.planned.close > 0
            if not resting:
                self.pass_target(goal)
            elif goal.planned.actions_on == "touch":
                self.act(goal)

    def pass_target(self, goal: Goal) -> None:
        """A target is hit: its closing leg, then its actions. What others are to close already is not its own."""
        goal.price, goal.hit = self.price_of(goal), True
        number, closing = goal.planned.number, [each.planned for each in self.goals if each.planned.close]
        takes_all = bool(closing) and number == closing[-1].number and self.closes_all()
        share = self.free() if takes_all else min(self.shares()[number], self.free())
        if goal.planned.close and share > 0:
            self.legs[f"target-{number}"] = Leg(share, "take_profit")
        self.act(goal)

    def closes_all(self) -> bool:
        """Whether the plan leaves no runner."""
        return sum(Fraction(goal.planned.close) for goal in self.goals) == 1

    def free(self) -> Fraction:
        """What remains and no decided leg still has to close."""
        open_legs = (leg.quantity - self.filled.get(name, Fraction(0)) for name, leg in self.legs.items())
        return self.remaining - sum(open_legs, Fraction(0))

    def act(self, goal: Goal) -> None:
        """What a target does besides closing, once."""
        if goal.acted:
            return
        goal.acted = True
        then = goal.planned.then_stop
        if then is not None:
            even = then.kind.value == "breakeven" or (then.kind.value == "percent" and then.value == 0)
            self.raise_stop(self.level(then, -1), "breakeven" if even else "target_stop")
        if goal.planned.then_trail is not None:
            self.arm(goal.planned.then_trail)

    def time_is_up(self, at: int) -> bool:
        """Whether the time limit is due, by event time."""
        self.now = max(self.now, at)
        limit = self.plan.time_limit_seconds
        if limit is None or self.entered_at is None or self.closing or not self.remaining:
            return False
        return Fraction(self.now - self.entered_at, SECOND) >= Fraction(limit)

    def close_all(self, leg: str, reason: str) -> None:
        """A full close asks for the tracked remainder, whatever else is under way."""
        self.legs[leg] = Leg(self.remaining, reason, full=True)
        self.closing = leg

    def manual(self, fraction: Fraction, request: str) -> None:
        """A close by hand: a fraction of what remains; the same request closes once."""
        if request and request in self.requests:
            return
        self.manuals += 1
        leg = f"manual-{self.manuals}"
        if request:
            self.requests[request] = leg
        if fraction == 1:
            self.close_all(leg, "manual")
        else:
            self.legs[leg] = Leg(self.floored(self.free() * fraction), "manual")

    # -- trades --------------------------------------------------------------------------------------------------------

    def enter(self, trade: Trade) -> None:
        """What the entry filled is the quantity, its average the entry price; the levels follow until it is whole."""
        quantity = Fraction(trade.quantity)
        self.bought += quantity
        self.remaining += quantity
        self.paid += quantity * Fraction(trade.price)
        first = self.entered_at is None
        self.entered_at = trade.at if first else self.entered_at
        stop = self.level(self.plan.stop, -1)
        self.initial_stop = stop
        self.stop, self.reason = stop, "stop_loss"
        price = self.seen(self.plan.stop_source)
        # An average that moves is what is measured from; what is no excursion from it starts there again.
        self.worst = self.entry if self.worst is None or self.better(self.worst, self.entry) else self.worst
        self.best = self.entry if self.best is None or self.better(self.entry, self.best) else self.best
        if first and price is not None:
            self.extremes(price)
        if first and self.plan.trail is not None:
            self.arm(self.plan.trail)
        self.follow()

    def book(self, leg: str, trade: Trade, trigger: Fraction | None = None) -> None:
        """One trade of one of our orders, once. `trigger` is where a resident stop fired: its price was surely seen."""
        if trade.trade_id in self.seen_trades:
            return
        self.seen_trades.add(trade.trade_id)
        self.fees += Fraction(trade.fee)
        if leg == "entry":
            self.entry_fees += Fraction(trade.fee)
            self.enter(trade)
            return
        quantity, price = Fraction(trade.quantity), Fraction(trade.price)
        self.remaining -= quantity
        self.exits.append((price, quantity))
        self.filled[leg] = self.filled.get(leg, Fraction(0)) + quantity
        for goal in self.goals:
            if leg == f"target-{goal.planned.number}":
                goal.filled += quantity
        if trigger is not None and not self.closing:
            self.extremes(trigger)
            self.closing = "stop"

    def hit_by_fill(self, goal: Goal) -> None:
        """A target that rests is hit once its order has filled; then its actions follow."""
        goal.price, goal.hit = self.price_of(goal), True
        if not self.closing:
            self.act(goal)

    # -- amendments ----------------------------------------------------------------------------------------------------

    def amend(self, plan: Plan) -> None:
        """A new revision that was accepted: hit targets stay as they are; what it repeats unchanged changes nothing."""
        former, old_plan = {goal.planned.number: goal for goal in self.goals}, self.plan
        self.plan, self.amended = plan, True
        self.goals = [former.get(planned.number, Goal(planned)) for planned in plan.targets]
        for goal, planned in zip(self.goals, plan.targets, strict=True):
            goal.planned = planned
        if (plan.stop, plan.atr) != (old_plan.stop, old_plan.atr):
            self.stop, self.reason = self.level(plan.stop, -1), "stop_loss"
        if plan.trail is not None and plan.trail != old_plan.trail:
            self.arm(plan.trail)


def opened(order: OpenPosition) -> Ledger:
    """The books of a position that was just asked for; an adopted one is entered whole."""
    ledger = Ledger(order=order, plan=order.plan, goals=[Goal(planned) for planned in order.plan.targets])
    ledger.now = order.at
    ledger.look(order.quote)
    if order.adopt:
        assert order.entry_price is not None
        ledger.complete = True
        side = OrderSide.BUY if ledger.sign > 0 else OrderSide.SELL
        whole = Trade(
            trade_id="adopted",
            client_order_id="",
            symbol=order.symbol,
            side=side,
            quantity=order.quantity,
            price=order.entry_price,
            fee=Decimal(0),
            at=order.at,
        )
        ledger.book("entry", whole)
    return ledger
