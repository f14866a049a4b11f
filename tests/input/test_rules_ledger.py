"""`advance` against a naive ledger that was written from the design alone: equal after every step.

A machine draws a plan, and then prices, fills (whole, in part, repeated, out of order), lost orders, manual closes,
amendments and restarts. After each step legs, quantities, remaining, stop, reason, peak, MAE and MFE, hit and filled,
and the realised profit are what the ledger says. What no ledger knows, how often an order is sent, is bounded: never
more executed for a leg than was decided for it.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.domain import schema
from actors.domain.advance import advance
from actors.domain.errors import DomainError, PlanRefused
from actors.domain.events import (
    AmendPlan,
    CloseManually,
    Event,
    LookUp,
    OrderRefused,
    OrderReported,
    OrderState,
    OrderUnknown,
    PositionObserved,
    PriceMoved,
    Reconciled,
    Recovered,
    TimePassed,
    Trade,
)
from actors.domain.exits import away_from_market
from actors.domain.model import IntentStatus, OrderKind, Phase, Position, Quote
from actors.domain.opening import open_position
from actors.domain.plans import parse_plan
from tests.input.effort import effort
from tests.input.naive_ledger import Ledger, Leg, opened
from tests.input.plans_drawn import ENTRY, amendments, plans
from tests.input.slow_venue import Held, SlowVenue
from tests.unit.driver import SECOND, START, command, instrument, quote

D = Decimal
TINY = Fraction(1, 10**18)

numbers = st.integers(0, 7)
moves = st.integers(-12, 12)
parts = st.sampled_from([D("0.1"), D("0.5"), D("1")])
fees = st.sampled_from([D(0), D("0.25")])


def close_to(one: Decimal | None, other: Fraction | None) -> bool:
    """Equal, but for the last of 28 digits."""
    if one is None or other is None:
        return one is None and other is None
    return abs(Fraction(one) - other) <= TINY * max(Fraction(1), abs(other))


class Machine(RuleBasedStateMachine):
    """One position, a slow venue, and the books beside it."""

    resting = False

    @initialize(
        data=st.data(),
        short=st.booleans(),
        adopt=st.integers(0, 3).map(lambda number: number == 0),
        quantity=st.sampled_from(["10", "7.3", "0.9"]),
    )
    def begin(self, data: st.DataObject, short: bool, adopt: bool, quantity: str) -> None:
        """Ask for a position under some plan."""
        self.sign = -1 if short else 1
        self.body: dict[str, Any] = data.draw(plans(self.sign, resting=self.resting), label="plan")
        self.at = START
        self.mark = D(ENTRY)
        order = command(
            self.body,
            "short" if short else "long",
            str(ENTRY),
            quantity=D(quantity),
            instrument=instrument(tick_size=D("0.5"), quantity_step=D("0.1"), minimum_quantity=D("0.1")),
            adopt=adopt,
            entry_price=D(ENTRY) if adopt else None,
        )
        self.order = order
        self.venue = SlowVenue(position=order.quantity if adopt else D(0))
        self.late = 0
        self.position: Position | None = None
        try:
            self.position, effects = open_position(order)
        except PlanRefused:
            return
        self.ledger: Ledger = opened(order)
        self.seen_legs: set[str] = set()
        self.manual_closes = False
        self.amended = False
        self.venue.take(effects, lost=False)

    # -- telling both --------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Position:
        """The position; the rules run only where there is one."""
        assert self.position is not None
        return self.position

    def running(self) -> bool:
        """Whether anything can still happen."""
        return self.position is not None and self.position.phase is not Phase.CLOSED

    def tell(self, event: Event, *, lost: bool = False) -> None:
        """Let one event happen to the position, then to the books, and compare them."""
        self.at += 1
        legs_before = set(self.ledger.legs)
        before = self.now
        self.position, effects = advance(before, event)
        self._book(event)
        self.venue.take(effects, lost=lost)
        self._check_decisions(legs_before)
        self._follow_resting_hits()
        self.compare()

    def _book(self, event: Event) -> None:
        """The same event in the ledger's words."""
        ledger = self.ledger
        if isinstance(event, PriceMoved):
            ledger.price(event.quote)
        elif isinstance(event, OrderReported):
            for trade in event.trades:
                self._book_trade(trade)
            held = self.venue.orders[event.client_order_id]
            ended = event.state is not OrderState.OPEN
            booked = sum((t.quantity for t in held.trades if t.trade_id in ledger.seen_trades), D(0))
            if held.submit.leg == "entry" and ended and booked >= event.filled and ledger.bought:
                ledger.complete = True
        elif isinstance(event, PositionObserved):
            for trade in event.trades:
                self._book_trade(trade)
        elif isinstance(event, CloseManually):
            ledger.manual(Fraction(event.fraction), event.request_id)
        elif isinstance(event, AmendPlan):
            ledger.amend(self.now.plan)
        ledger.now = max(ledger.now, event.at)

    def _book_trade(self, trade: Trade) -> None:
        submit = self.venue.orders[trade.client_order_id].submit
        resident = submit.kind is OrderKind.STOP_MARKET
        trigger = Fraction(submit.trigger_price) if resident and submit.trigger_price is not None else None
        self.ledger.book("stop" if resident else submit.leg, trade, trigger)

    def _check_decisions(self, legs_before: set[str]) -> None:
        """What was decided in this step is what the ledger decided, to the digit."""
        position, ledger = self.now, self.ledger
        decided_now = set(ledger.legs) - legs_before
        if position.closing_leg == "time_limit" and not ledger.closing:
            assert ledger.time_is_up(self.at), "the time limit came too early"
            ledger.closing = "time_limit"
        elif ledger.time_is_up(max(self.ledger.now, position.updated_at)) and not decided_now:
            # What the same moment decided goes first; a later moment does not wait.
            self.late += 1
            assert self.late < 3 or position.reconciling, "the time limit is overdue"
        for intent in position.intents:
            leg = intent.leg
            if leg == "entry" or intent.resident or intent.kind is OrderKind.LIMIT or leg in self.seen_legs:
                continue
            self.seen_legs.add(leg)
            if intent.full:
                assert leg == ledger.closing or leg.startswith("manual"), f"{leg} was never decided"
                ledger.legs[leg] = Leg(ledger.remaining, str(intent.reason), full=True)
                assert Fraction(intent.quantity) == ledger.remaining
                continue
            decided = ledger.legs.get(leg)
            assert decided is not None, f"{leg} was never decided"
            if not self.resting:
                assert Fraction(intent.quantity) == decided.quantity, f"{leg} asks for another quantity"
            else:
                assert Fraction(intent.quantity) <= decided.quantity
            assert str(intent.reason) == decided.reason

    def _follow_resting_hits(self) -> None:
        """A target at rest is hit once what it asks for has filled; what else took its share is not the ledger's."""
        states = {target.number: target for target in self.now.targets}
        for goal in self.ledger.goals:
            state = states.get(goal.planned.number)
            limit = goal.planned.order is OrderKind.LIMIT and goal.planned.close > 0
            if state is None or not limit or goal.hit or self.now.reconciling:
                continue
            whole = self.ledger.complete and goal.filled >= self.ledger.shares()[goal.planned.number]
            if whole:
                assert state.hit, f"target {goal.planned.number} has filled and is not hit"
            if state.hit:
                assert whole or goal.acted or self.manual_closes or self.ledger.closing, "hit, and not filled"
                self.ledger.hit_by_fill(goal)

    # -- what may happen -----------------------------------------------------------------------------------------------

    def quoted(self, mark: Decimal, spread: int, hide: int) -> Quote:
        """Prices around a mark; sometimes one is not to be trusted."""
        prices: dict[str, Any] = {
            "mark": mark,
            "last": mark + spread - 1,
            "bid": mark - spread,
            "ask": mark + spread,
        }
        names = list(prices)
        if hide < len(names):
            prices[names[hide]] = None
        return quote(at=self.at, **prices)

    @rule()
    def wait(self) -> None:
        """Nothing happens; a position that was refused, or is closed, has nothing else."""

    @precondition(running)
    @rule(move=moves, spread=st.integers(0, 2), hide=st.integers(0, 20), seconds=st.integers(0, 20))
    def price(self, move: int, spread: int, hide: int, seconds: int) -> None:
        """The market moves."""
        self.at += seconds * SECOND
        self.mark = max(D(800), self.mark + move)
        self.tell(PriceMoved(quote=self.quoted(self.mark, spread, hide)))

    @precondition(running)
    @rule(seconds=st.integers(0, 60))
    def time(self, seconds: int) -> None:
        """Time passes without a price."""
        self.at += seconds * SECOND
        self.tell(TimePassed(at=self.at))

    @precondition(running)
    @rule(number=numbers, part=parts, slip=st.integers(-1, 1), fee=fees, silent=st.booleans())
    def execute(self, number: int, part: Decimal, slip: int, fee: Decimal, silent: bool) -> None:
        """The venue executes (part of) an order that may execute now, and says so, or not yet."""
        held = self.venue.pick(number)
        if held is None or not self.venue.touched(held, self.mark, self.mark):
            return
        quantity = max(D("0.1"), held.submit.quantity * part // D("0.1") * D("0.1"))
        self.venue.execute(held, quantity, self.mark + slip, fee, self.at)
        if not silent:
            self.tell(self.venue.report(held, self.at))

    @precondition(running)
    @rule(number=numbers, old=st.integers(0, 3), bare=st.integers(0, 5).map(lambda number: number == 0))
    def report(self, number: int, old: int, bare: bool) -> None:
        """A report comes late, twice, out of order, or ahead of its trades."""
        held = self.venue.pick(number, only_open=False)
        if held is not None:
            self.tell(self.venue.report(held, self.at, old=old, bare=bare))

    @precondition(running)
    @rule(number=numbers)
    def answer(self, number: int) -> None:
        """The venue answers one question."""
        if self.venue.asked:
            asked = self.venue.asked.pop(number % len(self.venue.asked))
            self.at += SECOND
            self.tell(self.venue.answer(asked, self.at))

    @precondition(running)
    @rule(number=numbers, arrived=st.booleans())
    def lose(self, number: int, arrived: bool) -> None:
        """Nobody knows what became of a request: it arrived, or it did not."""
        held = self.venue.pick(number)
        if held is None or held.told:
            return
        held.arrived = arrived
        identity = held.submit.client_order_id
        self.tell(OrderUnknown(at=self.at, client_order_id=identity))
        self.venue.take((LookUp(client_order_id=identity, kind=held.submit.kind),), lost=False)

    @precondition(running)
    @rule(number=numbers, code=st.sampled_from(["rejected", "rate_limited", "reduce_only"]))
    def refuse(self, number: int, code: str) -> None:
        """The venue refuses a market order of ours that it has not executed."""
        held = self.venue.pick(number, kind=OrderKind.MARKET)
        if held is None or held.told or held.submit.leg == "entry":
            return
        held.state, held.arrived = OrderState.REJECTED, False
        refusal = OrderRefused(at=self.at, client_order_id=held.submit.client_order_id, code=code, message="no")
        self.tell(refusal)

    @precondition(running)
    @rule(part=st.sampled_from([D("0.25"), D("0.5"), D("1"), D("1"), D("0.001")]), request=st.integers(1, 3))
    def close(self, part: Decimal, request: int) -> None:
        """Somebody closes by hand; the same request again closes nothing more."""
        if part == 1 and request > 1:
            return
        before = self.now
        try:
            self.manual_closes = True
            self.tell(CloseManually(at=self.at, fraction=part, request_id=f"r{request}"))
        except DomainError:
            assert self.now is before, "a refused request changed the position"

    @precondition(running)
    @rule(data=st.data(), looser=st.booleans(), act_now=st.booleans())
    def amend(self, data: st.DataObject, looser: bool, act_now: bool) -> None:
        """Somebody sends a new revision of the plan."""
        before = self.now
        hit = frozenset(target.number for target in before.targets if target.hit)
        body = data.draw(amendments(self.body, self.sign, hit, before.next_target), label="amendment")
        try:
            plan = parse_plan(body, numbers=True)
        except PlanRefused:
            return
        event = AmendPlan(at=self.at, plan=plan, allow_looser_stop=looser, act_now=act_now)
        stop = before.stop_price
        try:
            advance(before, event)
        except DomainError:
            assert self.now is before, "a refused request changed the position"
            return
        self.tell(event)
        self.body, self.amended = body, True
        if stop is not None and not looser and self.now.stop_price is not None:
            assert self.sign * (self.now.stop_price - stop) >= 0, "an amendment loosened the stop"

    @precondition(running)
    @rule(takeover=st.booleans())
    def restart(self, takeover: bool) -> None:
        """The keeper is killed and comes back: all it knows is what was saved."""
        bytes_kept = msgpack.packb(schema.dump(self.now))
        back = schema.load(msgpack.unpackb(bytes_kept), schema.SCHEMA)
        assert back == self.now, "a position is not loaded as it was saved"
        self.position = back
        self.venue.asked.clear()
        self.ledger.known.clear()
        order = self.order
        self.tell(Recovered(at=self.at, terms=order.terms, instrument=order.instrument, takeover=takeover))
        asked, self.venue.asked = self.venue.asked, []
        for question in asked:
            self.tell(self.venue.answer(question, self.at))
        present = self.quoted(self.mark, 1, 9)
        self.ledger.look(present)
        self.tell(Reconciled(at=self.at, quote=present))

    @precondition(running)
    @rule()
    def settle(self) -> None:
        """The venue executes what it can and answers everything; then its position is ours, and protected."""
        for _ in range(60):
            for held in list(self.venue.orders.values()):
                if held.open and held.submit.kind is OrderKind.MARKET:
                    self.venue.execute(held, held.submit.quantity, self.mark, D(0), self.at)
                    self.tell(self.venue.report(held, self.at))
            told = [held for held in self.venue.orders.values() if self.unheard(held)]
            for held in told:
                self.tell(self.venue.report(held, self.at))
            if not self.venue.asked and not told:
                break
            if not self.venue.asked:
                continue
            self.at += SECOND
            self.tell(self.venue.answer(self.venue.asked.pop(0), self.at))
        else:
            raise AssertionError(f"never quiet: {self.venue.asked}")
        position = self.now
        in_doubt = any(intent.status in (IntentStatus.SENT, IntentStatus.UNKNOWN) for intent in position.intents)
        assert not in_doubt or position.phase is Phase.CLOSED, "an order is in doubt, and nothing was asked"
        assert position.remaining + position.dust == self.venue.position, "the books are not the venue's"
        if position.phase is Phase.CLOSED:
            assert not any(held.open for held in self.venue.orders.values()), "an order outlives its position"
        elif position.remaining and not position.closing_reason and not position.reconciling:
            self.check_resident()

    def unheard(self, held: Held) -> bool:
        """Whether nothing has been said of an order that was sent, or of what it executed."""
        identity = held.submit.client_order_id
        if any(trade.trade_id not in self.ledger.seen_trades for trade in held.trades):
            return True
        return held.arrived and any(
            intent.client_order_id == identity and intent.status is IntentStatus.SENT for intent in self.now.intents
        )

    def check_resident(self) -> None:
        """One stop at rest, of what remains, where the stop is; behind it only as far as a trail may be."""
        position = self.now
        resting = [held.submit for held in self.venue.orders.values() if held.open and held.submit.trigger_price]
        assert len(resting) == 1, f"{len(resting)} stops rest"
        stop, trigger = position.stop_price, resting[0].trigger_price
        assert stop is not None
        assert trigger is not None
        assert resting[0].quantity == position.remaining
        assert position.protected
        if trigger != away_from_market(position.side, stop, position.instrument.tick_size):
            assert position.stop_reason.value == "trailing_stop"
            behind = self.sign * (stop - trigger)
            waited = self.at - (position.resident_moved_at or 0)
            assert behind < trigger / 1000 or waited < 5 * SECOND or not self.venue.orders, "it does not follow"

    # -- what must be equal --------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Every number of the books."""
        position, ledger = self.now, self.ledger
        assert Fraction(position.quantity) == ledger.bought
        assert Fraction(position.remaining + position.dust) == ledger.remaining
        assert Fraction(position.fees) == ledger.fees
        if not ledger.bought:
            return
        assert close_to(position.entry_price, ledger.entry)
        assert close_to(position.realized_pnl, ledger.realized)
        assert close_to(position.stop_price, ledger.stop), "stop"
        assert close_to(position.initial_stop_price, ledger.initial_stop)
        if not position.closing_reason:
            assert str(position.stop_reason) == ledger.reason
        assert position.trailing_stop_active == (ledger.peak is not None)
        assert close_to(position.peak_price, ledger.peak), "peak"
        assert bool(position.closing_reason) == bool(ledger.closing), "closing"
        self.compare_extremes()
        self.compare_targets()

    def compare_extremes(self) -> None:
        """MAE and MFE: the worst and the best price since entry, in percents of the entry price."""
        ledger, entry = self.ledger, self.ledger.entry
        for found, seen, sign in ((self.now.mae, ledger.worst, -1), (self.now.mfe, ledger.best, 1)):
            assert found is not None
            wanted = entry if seen is None or sign * self.sign * (seen - entry) <= 0 else seen
            assert close_to(found.price, wanted), "extremes"
            assert close_to(found.percent, abs(wanted - entry) / entry * 100), "extremes"

    def compare_targets(self) -> None:
        """hit and filled, of every target of the plan."""
        if not self.ledger.complete:
            return
        states = {target.number: target for target in self.now.targets}
        for goal in self.ledger.goals:
            state = states[goal.planned.number]
            assert state.hit == goal.hit, f"target {state.number}: hit"
            assert Fraction(state.filled) == goal.filled, f"target {state.number}: filled"

    @invariant()
    def no_more_is_executed_than_was_decided(self) -> None:
        """The promise itself, read from what the venue executed."""
        if self.position is None or not self.ledger.bought:
            return
        executed: dict[str, Fraction] = {}
        for trade in self.venue.trades:
            submit = self.venue.orders[trade.client_order_id].submit
            executed[submit.leg] = executed.get(submit.leg, Fraction(0)) + Fraction(trade.quantity)
        shares = self.ledger.shares()
        for leg, quantity in executed.items():
            decided = self.ledger.legs.get(leg)
            if decided is not None and decided.full:
                # An entry that still fills while all is to close is closed as well.
                assert quantity <= executed.get("entry", self.ledger.bought)
            elif decided is not None:
                assert quantity <= decided.quantity, f"{leg} closed more than was decided"
            elif leg.startswith("target-") and not self.amended:
                assert quantity <= shares[int(leg.removeprefix("target-"))], f"{leg} closed more than its share"


class RestingMachine(Machine):
    """The same with targets whose orders rest on the exchange."""

    resting = True


Machine.TestCase.settings = effort(900, steps=40)
RestingMachine.TestCase.settings = effort(700, steps=40)
TestTheLedger = Machine.TestCase
TestTheLedgerWithRestingTargets = RestingMachine.TestCase
