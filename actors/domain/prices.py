"""What one price does: extremes, trail, stop, targets, time limit, in this order.

The stop's source drives 1 to 3 and 5, the targets' source drives 4; where both are one, all.
"""

from decimal import Decimal

from actors.domain.events import ExtremesBackfilled, PriceMoved, TimePassed
from actors.domain.exits import (
    MICROS_PER_SECOND,
    better,
    crossed,
    elapsed_seconds,
    fee_percent_of,
    level_price,
    reached,
    risk_of,
    stop_reason_of,
    target_prices,
    trailing_stop,
)
from actors.domain.model import (
    HUNDRED,
    ZERO,
    Excursion,
    IntentStatus,
    Micros,
    Phase,
    Plan,
    PlannedTarget,
    Position,
    Quote,
    Reason,
    Target,
)
from actors.domain.records import changed
from actors.domain.shares import committed, leg_of, nothing_can_rest, resting_targets, rests, shares, target_room
from actors.domain.step import Step


def on_price(step: Step, event: PriceMoved) -> None:
    """Apply one quote."""
    quote = event.quote
    step.see(_merged(step.now.latest, quote))
    if not watching(step.now):
        return
    position = step.now
    price = quote.price(position.plan.stop_source, position.side)
    if price is not None:
        take_extremes(step, price, event.at)
        follow_peak(step, price, event.at)
        stop = step.now.stop_price
        if stop is not None and crossed(position.side, price, stop):
            fire_stop(step, event.at, price)
            return
    price = quote.price(position.plan.targets_source, position.side)
    if price is not None and position.entry_complete and not position.targets_disabled:
        pass_targets(step, price, event.at)


def on_time(step: Step, event: TimePassed) -> None:
    """Time alone decides nothing here: the time limit and orders to be tried again follow every event."""
    del step, event


def watching(position: Position) -> bool:
    """Prices decide something: something is held and no full close is decided."""
    return (
        position.remaining > 0
        and position.closing_reason is None
        and position.phase not in (Phase.CLOSED, Phase.QUARANTINED)
    )


def _merged(old: Quote | None, new: Quote) -> Quote:
    """The latest known price of each source: one that is missing now keeps its former value for arming and bounds."""
    missing = [name for name in ("mark", "last", "bid", "ask") if getattr(new, name) is None]
    if old is None or not missing:
        return new
    return changed(new, {name: getattr(old, name) for name in missing})


def take_extremes(step: Step, price: Decimal, at: Micros) -> bool:
    """Rule 1: MAE and MFE; whether one of them moved."""
    position = step.now
    entry, mae, mfe = position.entry_price, position.mae, position.mfe
    if entry is None or mae is None or mfe is None:
        return False
    if better(position.side, mae.price, price):
        step.change(mae=_excursion(entry, price, at))
    elif better(position.side, price, mfe.price):
        step.change(mfe=_excursion(entry, price, at))
    else:
        return False
    return True


def measure_extremes(step: Step, entry: Decimal, at: Micros) -> None:
    """Measure MAE and MFE from an entry whose average has moved; what is no excursion from it starts there again."""
    position = step.position
    mae, mfe, side = position.mae, position.mfe, position.side
    if mae is not None and mfe is not None:
        worse, better_one = better(side, entry, mae.price), better(side, mfe.price, entry)
        step.change(
            mae=_excursion(entry, mae.price, mae.at) if worse else _excursion(entry, entry, at),
            mfe=_excursion(entry, mfe.price, mfe.at) if better_one else _excursion(entry, entry, at),
        )


def _excursion(entry: Decimal, price: Decimal, at: Micros) -> Excursion:
    return Excursion(price=price, percent=abs(price - entry) / entry * HUNDRED, at=at)


def follow_peak(step: Step, price: Decimal, at: Micros) -> bool:
    """Rules 1 and 2: when armed, the peak follows the price, the stop the peak; whether one of them moved."""
    position = step.now
    peak = position.peak_price
    if not position.trailing_stop_active or position.trail is None or peak is None:
        return False
    higher = better(position.side, price, peak)
    if higher:
        step.change(peak_price=price, peak_at=at)
        peak = price
    stop = trailing_stop(position.side, position.trail, peak, position.plan.atr)
    return step.tighten_stop(stop, Reason.TRAILING_STOP) or higher


def fire_stop(step: Step, at: Micros, price: Decimal) -> None:
    """Rule 3: the stop closes all that remains, under the name of what set it where it is."""
    position = step.now
    step.note("position.stop_hit", at, stop_price=position.stop_price, price=price, reason=position.stop_reason.value)
    step.begin_full_close("stop", position.stop_reason)


def pass_targets(step: Step, price: Decimal, at: Micros) -> None:
    """Rule 4: targets in order; one price may pass several."""
    refresh_target_prices(step, at)
    for planned in step.now.plan.targets:
        target = step.target(planned.number)
        if target.hit or target.price is None or waits_for_its_fill(step.now, planned, target):
            continue
        if reached(step.now.side, price, target.price):
            hit_target(step, planned, price, at)


def waits_for_its_fill(position: Position, planned: PlannedTarget, target: Target) -> bool:
    """A target with an order at rest is hit by its fill, not by a price, unless its plan says touch.

    Where too little remains for an order to rest there is no fill to wait for, and its actions must not be lost.
    """
    return rests(planned, target) and planned.actions_on != "touch" and not nothing_can_rest(position, target)


def has_steps(plan: Plan) -> bool:
    """Whether a target of the plan comes closer with time."""
    for planned in plan.targets:  # noqa: SIM110 - asked with every price, and this is half the price of any()
        if len(planned.at) != 1:
            return True
    return False


def refresh_target_prices(step: Step, at: Micros) -> None:
    """A target that comes closer with time has the price of its present step."""
    position = step.now
    if position.entry_price is None or not has_steps(position.plan):
        return
    prices = target_prices(
        position.plan,
        side=position.side,
        entry=position.entry_price,
        risk=risk_of(position),
        fee_percent=fee_percent_of(position),
        elapsed=elapsed_seconds(position.entered_at, at),
    )
    for target in position.targets:
        if not target.hit and target.number in prices and target.price != prices[target.number]:
            step.change_target(target.number, price=prices[target.number])


def hit_target(step: Step, planned: PlannedTarget, price: Decimal, at: Micros) -> None:
    """A target's price is passed: its leg is decided, and its actions take effect at once."""
    target = step.target(planned.number)
    step.change_target(planned.number, hit=True, hit_at=at)
    step.note("position.target_hit", at, target=planned.number, target_price=target.price, price=price)
    if not rests(planned, target):
        _owe_leg(step, planned, target, at)
    take_actions(step, planned, price, at)


def _owe_leg(step: Step, planned: PlannedTarget, target: Target, at: Micros) -> None:
    """Decide a target's market order. What other decided reductions and orders at rest are for is not its own."""
    position, leg = step.now, leg_of(planned.number)
    free = position.remaining - committed(position) - sum(shares(position).values(), ZERO)
    closing = [other.number for other in position.plan.targets if other.close > 0]
    takes_all = bool(closing) and planned.number == closing[-1] and _fractions(position) == 1
    own = min(target.quantity - target.filled, free, target_room(position))
    quantity = free if takes_all and not target.software else own
    if planned.close > 0 and quantity > 0:
        generation = step.next_generation(leg)
        step.plan_order(at, leg, Reason.TAKE_PROFIT, quantity, generation=generation, level=target.price)


def take_actions(step: Step, planned: PlannedTarget, price: Decimal, at: Micros) -> None:
    """What a target does beside closing its part: move the stop, arm the trail."""
    if planned.then_stop is not None:
        _move_stop(step, planned, at)
    if planned.then_trail is not None:
        _arm_trail(step, planned, price, at)


def _fractions(position: Position) -> Decimal:
    return sum((target.close for target in position.plan.targets), ZERO)


def _move_stop(step: Step, planned: PlannedTarget, at: Micros) -> None:
    position = step.now
    level = planned.then_stop
    if level is None or position.entry_price is None:
        return
    prices = {target.number: target.price for target in position.targets if target.price is not None}
    stop = level_price(
        level,
        side=position.side,
        entry=position.entry_price,
        plan=position.plan,
        as_stop=True,
        risk=risk_of(position),
        fee_percent=fee_percent_of(position) if level.fees else ZERO,
        targets=prices,
    )
    if step.tighten_stop(stop, stop_reason_of(level, of_target=True)):
        step.note("position.stop_moved", at, stop_price=stop, reason=step.now.stop_reason.value)


def _arm_trail(step: Step, planned: PlannedTarget, price: Decimal, at: Micros) -> None:
    position = step.now
    trail = planned.then_trail
    if trail is None:
        return
    peak = position.peak_price
    if not position.trailing_stop_active or peak is None:
        latest = position.latest.price(position.plan.stop_source, position.side) if position.latest else None
        peak = price if latest is None else latest
        step.change(peak_price=peak, peak_at=at)
    step.change(trail=trail, trailing_stop_active=True)
    step.note("position.trail_armed", at, peak_price=peak, target=planned.number)
    stop = trailing_stop(position.side, trail, peak, position.plan.atr)
    if step.tighten_stop(stop, Reason.TRAILING_STOP):
        step.note("position.stop_moved", at, stop_price=stop, reason=Reason.TRAILING_STOP.value)


def limit_time(step: Step, at: Micros) -> None:
    """Rule 5, after every event: the time limit closes all that remains, by event time.

    A target that the same moment passed goes first, and the time limit takes the rest; a later moment does not wait.
    """
    position = step.now
    limit = position.plan.time_limit_seconds
    if limit is None or position.entered_at is None or not watching(position):
        return
    if any(
        not intent.status.terminal and intent.reduce_only and not intent.resident and intent.decided_at == at
        for intent in position.intents
    ):
        return
    if at - position.entered_at >= limit * MICROS_PER_SECOND:
        step.note("position.time_limit", at, seconds=limit)
        step.begin_full_close("time_limit", Reason.TIME_LIMIT)


def on_backfill(step: Step, event: ExtremesBackfilled) -> None:
    """Extremes of a gap raise the peak and MAE/MFE; targets that only the gap passed are told, and act on nothing."""
    position = step.position
    if not watching(position):
        return
    if not event.exact:
        step.change(extremes_approximate=True)
    for price, at in ((event.low, event.low_at), (event.high, event.high_at)):
        if price is not None:
            take_extremes(step, price, at)
            follow_peak(step, price, at)
    best = event.targets_high if position.side.sign > 0 else event.targets_low
    if best is None or not position.entry_complete:
        return
    # Candles never fill an order at rest: what became of it is read from the exchange.
    resting = {planned.number for planned, _ in resting_targets(step.position)}
    planned_numbers = {planned.number for planned in position.plan.targets}
    for target in step.position.targets:
        if target.hit or target.missed or target.price is None or not reached(position.side, best, target.price):
            continue
        if target.number in resting or target.number not in planned_numbers:
            continue
        step.change_target(target.number, missed=True)
        step.note(
            "position.target_missed",
            event.at,
            alert=True,
            target=target.number,
            target_price=target.price,
            best_price=best,
        )


def next_deadline(position: Position, after: Micros = 0) -> Micros | None:
    """When after that moment time alone will change something: the time limit, an order that may be tried again, a
    resting target that moves.
    """
    if position.phase in (Phase.CLOSED, Phase.QUARANTINED):
        return None
    moments = [
        intent.retry_at
        for intent in position.intents
        if intent.retry_at is not None and intent.status in (IntentStatus.PLANNED, IntentStatus.REFUSED)
    ]
    limit = position.plan.time_limit_seconds
    if limit is not None and position.entered_at is not None and watching(position):
        moments.append(position.entered_at + int(limit * MICROS_PER_SECOND))
    for planned, target in resting_targets(position):
        if not target.hit:
            entered_at = position.entered_at or 0
            moments += [entered_at + int(step.after_seconds * MICROS_PER_SECOND) for step in planned.at[1:]]
    return min((moment for moment in moments if moment > after), default=None)
