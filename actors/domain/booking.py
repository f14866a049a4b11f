"""Booking: what executions make of a position. Every trade counts once, by its venue trade id."""

from decimal import Decimal

from actors.domain.events import OrderReported, OrderState, Trade
from actors.domain.exits import (
    fee_percent_of,
    leg_quantities,
    level_price,
    stop_reason_of,
    target_prices,
    trailing_stop,
    under_minimum,
)
from actors.domain.limits import end_limit, short_is_confirmed, take_open_limit
from actors.domain.model import (
    ZERO,
    Excursion,
    Fill,
    Intent,
    IntentStatus,
    Micros,
    OrderKind,
    Phase,
    Position,
    Reason,
    Target,
)
from actors.domain.prices import measure_extremes, take_extremes
from actors.domain.shares import number_of
from actors.domain.step import Step


def enter(step: Step, at: Micros, price: Decimal, quantity: Decimal) -> None:
    """Take in what the entry filled: quantity, average price, and with the first fill the stop, the trail, the
    extremes.
    """
    position = step.position
    value = position.entry_value + price * quantity
    total = position.quantity + quantity
    average = value / total
    first = position.entered_at is None
    step.change(
        quantity=total,
        remaining=position.remaining + quantity,
        entry_value=value,
        entry_price=average,
        entered_at=at if first else position.entered_at,
    )
    if first:
        start = Excursion(price=average, percent=ZERO, at=at)
        step.change(mae=start, mfe=start)
        latest = position.latest.price(position.plan.stop_source, position.side) if position.latest else None
        if latest is not None:
            take_extremes(step, latest, at)
    else:
        # A stop may have closed a part already: that, too, is measured from the average as it is now.
        measure_extremes(step, average, at)
        step.change(realized_pnl=_gross(step.position))
    _set_entry_stop(step, at, average, first=first)


def _set_entry_stop(step: Step, at: Micros, average: Decimal, *, first: bool) -> None:
    """The plan's stop from this average; until the entry is complete it follows the average, then only the rules move
    it.
    """
    position = step.position
    plan = position.plan
    stop = level_price(
        plan.stop,
        side=position.side,
        entry=average,
        plan=plan,
        as_stop=True,
        fee_percent=fee_percent_of(position),
    )
    step.change(
        initial_stop_price=stop,
        stop_price=stop,
        stop_reason=stop_reason_of(plan.stop, of_target=False),
    )
    if plan.trail is None:
        return
    if first:
        latest = position.latest.price(plan.stop_source, position.side) if position.latest else None
        peak = average if latest is None else latest
        step.change(trail=plan.trail, trailing_stop_active=True, peak_price=peak, peak_at=at)
        step.note("position.trail_armed", at, peak_price=peak)
    armed = step.position.peak_price
    if armed is not None:
        step.tighten_stop(trailing_stop(position.side, plan.trail, armed, plan.atr), Reason.TRAILING_STOP)


def complete_entry(step: Step, at: Micros) -> None:
    """The original quantity is known: freeze R, set the targets, or disable them where it is too little for them."""
    position = step.position
    entry, stop = position.entry_price, position.initial_stop_price
    if entry is None or stop is None:
        raise ValueError("an entry without a fill cannot be completed")
    plan = position.plan
    prices = target_prices(
        plan,
        side=position.side,
        entry=entry,
        risk=abs(entry - stop),
        fee_percent=fee_percent_of(position),
        elapsed=ZERO,
    )
    legs = leg_quantities(plan, position.quantity, position.instrument.quantity_step)
    targets = tuple(
        Target(number=planned.number, price=prices[planned.number], quantity=legs.get(planned.number, ZERO))
        for planned in plan.targets
    )
    faults = [
        f"target {target.number}: {why}"
        for target in targets
        if target.number in legs and (why := under_minimum(position.instrument, target.quantity, prices[target.number]))
    ]
    runner = position.quantity - sum(legs.values(), ZERO)
    if runner > 0 and (why := under_minimum(position.instrument, runner, entry)):
        faults.append(f"the runner: {why}")
    step.change(entry_complete=True, phase=Phase.OPEN, targets=targets, targets_disabled=bool(faults and targets))
    if step.position.targets_disabled:
        step.note("position.targets_disabled", at, alert=True, why="; ".join(faults), quantity=position.quantity)


def book_trade(step: Step, intent: Intent, trade: Trade) -> bool:
    """Book one execution of one of our orders; false when it was booked before."""
    leg = "stop" if intent.resident else intent.leg
    if not _add_fill(step, leg, intent.reason, trade):
        return False
    step.change_intent(intent.client_order_id, filled=_filled_of(step, intent))
    if intent.leg == "entry":
        enter(step, trade.at, trade.price, trade.quantity)
        return True
    reduce(step, trade.price, trade.quantity)
    number = number_of(leg)
    if number:
        step.change_target(number, filled=step.target(number).filled + trade.quantity)
    if intent.resident and step.now.closing_reason is None:
        # The venue has fired our stop: its source has reached the trigger price at least, a price that we may never
        # be told, and from here on everything that remains is on its way out.
        if intent.trigger_price is not None:
            take_extremes(step, intent.trigger_price, trade.at)
        step.begin_full_close("stop", intent.reason)
    return True


def book_external(step: Step, leg: str, reason: Reason, trade: Trade) -> bool:
    """Book a reduction that was not ours; false when it was booked before."""
    if not _add_fill(step, leg, reason, trade):
        return False
    reduce(step, trade.price, trade.quantity)
    return True


def _add_fill(step: Step, leg: str, reason: Reason, trade: Trade) -> bool:
    position = step.now
    known = next((fill for fill in position.fills if fill.trade_id == trade.trade_id), None)
    if known is not None:
        _compare(step, known, trade)
        return False
    fill = Fill(
        leg=leg,
        reason=reason,
        price=trade.price,
        quantity=trade.quantity,
        fee=trade.fee,
        at=trade.at,
        trade_id=trade.trade_id,
        client_order_id=trade.client_order_id,
    )
    step.change(fills=(*position.fills, fill), fees=position.fees + trade.fee)
    step.note(
        "order.filled",
        trade.at,
        leg=leg,
        reason=reason.value,
        price=trade.price,
        quantity=trade.quantity,
        trade_id=trade.trade_id,
        client_order_id=trade.client_order_id,
    )
    return True


def _compare(step: Step, known: Fill, trade: Trade) -> None:
    """A trade that we know, told with other numbers: ours stay, and it is said once. Fees are settled later by some."""
    told = step.position.differing_trades
    same = (known.price, known.quantity) == (trade.price, trade.quantity)
    if same or known.leg.startswith("external-") or trade.trade_id in told:
        return
    step.change(differing_trades=(*told, trade.trade_id))
    step.note(
        "order.differs",
        trade.at,
        alert=True,
        leg=known.leg,
        trade_id=trade.trade_id,
        booked_price=known.price,
        booked_quantity=known.quantity,
        told_price=trade.price,
        told_quantity=trade.quantity,
    )


def _filled_of(step: Step, intent: Intent) -> Decimal:
    own = (fill.quantity for fill in step.now.fills if fill.client_order_id == intent.client_order_id)
    return sum(own, ZERO)


def reduce(step: Step, price: Decimal, quantity: Decimal) -> None:
    """Take an executed reduction off what remains and into the gross profit."""
    position = step.now
    remaining = position.remaining
    step.change(remaining=max(ZERO, remaining - quantity), realized_pnl=_gross(position))
    if quantity > remaining:
        over = quantity - remaining
        step.note("position.overfilled", position.updated_at, alert=True, over=over, price=price)


def _gross(position: Position) -> Decimal:
    """The gross profit of all exits: what they brought against their share of what the entry cost.

    From the sums, not from the average entry price, which may have no end: a position closed whole is exact.
    """
    if position.quantity == 0:
        return ZERO
    exits = [fill for fill in position.fills if fill.leg != "entry"]
    brought = sum((fill.price * fill.quantity for fill in exits), ZERO)
    closed = sum((fill.quantity for fill in exits), ZERO)
    return position.side.sign * (brought - position.entry_value * closed / position.quantity)


def on_order_reported(step: Step, event: OrderReported) -> None:
    """Take in the state of one order of ours: book its trades, then conclude what its state allows."""
    intent = step.intent(event.client_order_id)
    if intent is None:
        return
    news = [book_trade(step, intent, trade) for trade in event.trades]
    intent = step.intent(event.client_order_id) or intent
    if intent.status.terminal:
        return
    if intent.filled < event.filled:
        # The report is ahead of its trades: what is booked is by trade, so ask for them before anything is concluded.
        step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN)
        step.look_up(intent)
        return
    if event.state is OrderState.OPEN:
        if intent.kind is OrderKind.LIMIT:
            take_open_limit(step, intent, event)
        else:
            _take_open(step, intent, event)
    elif intent.leg == "entry":
        _end_entry(step, intent, event.at)
    elif intent.kind is OrderKind.LIMIT:
        end_limit(step, intent, event, news=any(news))
    elif intent.resident:
        status = IntentStatus.FILLED if intent.filled > 0 else IntentStatus.WITHDRAWN
        step.change_intent(intent.client_order_id, status=status)
    else:
        _end_reduction(step, intent, event, news=any(news))


def _take_open(step: Step, intent: Intent, event: OrderReported) -> None:
    if not intent.resident:
        # A market order that is still open is half a fact; its end is asked for.
        step.change_intent(intent.client_order_id, status=IntentStatus.SENT)
        if intent.cancel_requested:
            step.cancel(intent)
        step.look_up(intent)
    elif not event.read_back:
        if intent.status is IntentStatus.RESTING:
            return
        step.change_intent(intent.client_order_id, status=IntentStatus.SENT)
        step.look_up(intent)
    elif intent.cancel_requested:
        step.change_intent(intent.client_order_id, status=IntentStatus.RESTING)
        step.cancel(intent)
    elif intent.status is not IntentStatus.RESTING:
        step.change_intent(intent.client_order_id, status=IntentStatus.RESTING)
        step.note("order.resolved", event.at, leg=intent.leg, state="resting", trigger_price=intent.trigger_price)


def _end_entry(step: Step, intent: Intent, at: Micros) -> None:
    status = IntentStatus.FILLED if intent.filled > 0 else IntentStatus.REFUSED
    step.change_intent(intent.client_order_id, status=status)
    if intent.filled > 0 and not step.now.entry_complete:
        complete_entry(step, at)


def _end_reduction(step: Step, intent: Intent, event: OrderReported, *, news: bool) -> None:
    """A reduction's order is terminal: whole, or short of what it asked for, which two agreeing reads must confirm."""
    order_id = intent.client_order_id
    if intent.filled >= intent.quantity or step.now.remaining == 0:
        step.change_intent(order_id, status=IntentStatus.FILLED)
        return
    if not short_is_confirmed(step, intent, event, news=news):
        return
    if step.position.disputed:
        # The order is final, the position disagrees: nothing more is asked for before that is understood.
        step.observe("an order ended short, and the position disagrees with what is booked")
    done = step.change_intent(order_id, status=IntentStatus.FILLED if intent.filled else IntentStatus.WITHDRAWN)
    if not done.full and step.position.closing_reason is None:
        # The leg is owed what this order left: a new generation asks for it, and only for it.
        step.plan_order(
            event.at,
            done.leg,
            done.reason,
            min(done.quantity - done.filled, step.position.remaining),
            generation=done.generation + 1,
            level=done.level,
        )


def settle_dust(step: Step, at: Micros) -> None:
    """What remains below the minimum after fills is dust: reported, and no longer held against the slot."""
    position = step.now
    too_few = position.remaining < position.instrument.minimum_quantity
    if not too_few and not position.closing_reason:
        return
    exits = [fill for fill in position.fills if fill.leg != "entry"]
    if position.remaining <= 0 or not exits or not position.entry_complete:
        return
    # A runner may become worth less than the minimum merely because its price moved; only what a full close has left
    # over is dust by its worth.
    worthless = position.closing_reason and under_minimum(position.instrument, position.remaining, exits[-1].price)
    if not too_few and not worthless:
        return
    step.note("position.dust", at, quantity=position.remaining)
    step.change(dust=position.dust + position.remaining, remaining=ZERO)


def with_updated(step: Step, at: Micros) -> None:
    """Stamp the change, never back in time."""
    if at > step.now.updated_at:
        step.change(updated_at=at)
