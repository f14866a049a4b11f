"""Manual closes and amended plans: what people change while a position runs."""

from dataclasses import replace
from decimal import Decimal

from actors.domain.errors import CommandRefused, Fault, PlanRefused
from actors.domain.events import AmendPlan, CloseManually
from actors.domain.exits import (
    better,
    crossed,
    elapsed_seconds,
    fee_percent_of,
    floor_to_step,
    leg_quantities,
    level_price,
    reached,
    risk_of,
    stop_reason_of,
    target_prices,
    trailing_stop,
    under_minimum,
)
from actors.domain.model import (
    ZERO,
    CloseRequest,
    LevelKind,
    Phase,
    Plan,
    PlannedTarget,
    Position,
    Reason,
    Target,
)
from actors.domain.shares import committed, leg_of, limits
from actors.domain.step import Step

MAX_CLOSE_REQUESTS = 100


def on_close(step: Step, event: CloseManually) -> None:
    """Close a fraction of what remains. Raises CommandRefused, in words with numbers."""
    position = step.position
    if event.request_id and any(request.request_id == event.request_id for request in position.close_requests):
        return
    _check_close(position, event)
    leg = f"manual-{position.next_manual}"
    if event.fraction == 1:
        if position.closing_reason is not None:
            request_leg, quantity = position.closing_leg, position.remaining
        else:
            request_leg, quantity = leg, position.remaining
            step.change(next_manual=position.next_manual + 1)
            step.begin_full_close(leg, Reason.MANUAL)
    else:
        request_leg, quantity = leg, _partial_quantity(position, event.fraction)
        step.change(next_manual=position.next_manual + 1)
        step.plan_order(event.at, leg, Reason.MANUAL, quantity)
    request = CloseRequest(
        request_id=event.request_id or request_leg, leg=request_leg, quantity=quantity, fraction=event.fraction
    )
    step.change(close_requests=(*step.position.close_requests, request)[-MAX_CLOSE_REQUESTS:])
    step.note("position.close_requested", event.at, leg=request_leg, quantity=quantity, fraction=event.fraction)


def _check_close(position: Position, event: CloseManually) -> None:
    if not 0 < event.fraction <= 1:
        raise CommandRefused("fraction", f"fraction: {event.fraction:f} is not above 0 and at most 1", "fraction")
    if event.fraction < 1 and not event.request_id:
        message = "request_id: required to close a part, so that a repeat of the request closes once"
        raise CommandRefused("missing", message, "request_id")
    if position.phase is Phase.CLOSED:
        raise CommandRefused("closed", f"position {position.id} is closed already")
    if position.phase is Phase.QUARANTINED:
        raise CommandRefused("quarantined", f"position {position.id} is quarantined; close it on the exchange")
    if position.remaining <= 0 and position.closing_reason is None:
        raise CommandRefused("nothing_to_close", f"position {position.id} holds nothing yet; try again once it is open")
    if event.fraction < 1 and position.closing_reason is not None:
        raise CommandRefused("closing", f"position {position.id} is closing already ({position.closing_reason.value})")


def _partial_quantity(position: Position, fraction: Decimal) -> Decimal:
    """The fraction of what remains and is not spoken for, floored; what is left over must stay tradable."""
    free = position.remaining - committed(position)
    quantity = floor_to_step(free * fraction, position.instrument.quantity_step)
    price = position.latest.price(position.plan.targets_source, position.side) if position.latest else None
    price = price or position.entry_price or ZERO
    why = under_minimum(position.instrument, quantity, price)
    if why:
        message = f"fraction: {fraction:f} of {free:f}: {why}; close a larger fraction, or 1 for all"
        raise CommandRefused("below_minimum", message, "fraction")
    rest = under_minimum(position.instrument, free - quantity, price)
    if rest:
        message = f"fraction: {fraction:f} would leave a rest: {rest}; close a smaller fraction, or 1 for all"
        raise CommandRefused("rest_below_minimum", message, "fraction")
    return quantity


# -- amending ----------------------------------------------------------------------------------------------------------


def on_amend(step: Step, event: AmendPlan) -> None:
    """A new revision. Raises PlanRefused or CommandRefused; then nothing is changed."""
    position = step.position
    if position.phase in (Phase.CLOSED, Phase.CLOSING, Phase.QUARANTINED) or position.closing_reason is not None:
        raise CommandRefused("closing", f"position {position.id} is {position.phase.value}; its plan cannot be amended")
    if not position.entry_complete or position.entry_price is None:
        raise CommandRefused("not_open", f"position {position.id} is still opening; amend it once its entry has filled")
    plan = merge_plan(position, event.plan)
    stop = _new_stop(position, plan)
    _check_amendment(position, plan, stop, event)
    _apply(step, plan, stop, event)


def merge_plan(position: Position, asked: Plan) -> Plan:
    """The new plan whole: hit targets carried over, equal ones keep their number, new ones take numbers never used."""
    old = {target.number: target for target in position.plan.targets}
    hit = {target.number for target in position.targets if target.hit}
    faults: list[Fault] = []
    used: set[int] = set()
    result: list[PlannedTarget] = []
    next_number = position.next_target
    for index, target in enumerate(asked.targets):
        number = target.number or _same_as(target, position.plan, used)
        if number in hit and replace(target, number=number) != old[number]:
            message = f"targets.{index}: target {number} is hit and cannot be changed; leave it out or send it as it is"
            faults.append(Fault("target_hit", f"targets.{index}", message))
        elif number and number not in old and number < position.next_target:
            message = f"targets.{index}: number {number} was used before; leave the number out"
            faults.append(Fault("number", f"targets.{index}.number", message))
        if not number:
            number = max(next_number, *(used or {0})) if next_number in used else next_number
            next_number = number + 1
        used.add(number)
        next_number = max(next_number, number + 1) if number >= next_number else next_number
        if number not in hit:
            result.append(replace(target, number=number))
    if faults:
        raise PlanRefused(tuple(faults))
    carried = [target for target in position.plan.targets if target.number in hit]
    plan = replace(asked, targets=(*carried, *result))
    dropped = _closed_by_dropped(position, plan) / position.quantity
    total = sum((target.close for target in plan.targets), dropped)
    if total > 1:
        spent = sum((target.close for target in carried), dropped)
        message = f"the closing fractions sum to {total:f}, of which {spent:f} are hit or filled already; at most 1"
        raise PlanRefused((Fault("fractions", "targets", message),))
    _check_references(plan)
    return plan


def _closed_by_dropped(position: Position, plan: Plan) -> Decimal:
    """What resting targets that are not in the plan (any more) have closed: nobody can ask for it again."""
    kept = {target.number for target in plan.targets}
    return sum((target.filled for target in position.targets if target.number not in kept), ZERO)


def _same_as(target: PlannedTarget, plan: Plan, used: set[int]) -> int:
    """The number of a target of the present plan that says the same, so that repeating a plan changes nothing."""
    for known in plan.targets:
        if known.number not in used and replace(target, number=known.number) == known:
            return known.number
    return 0


def _check_references(plan: Plan) -> None:
    seen: set[int] = set()
    for target in plan.targets:
        levels = [step.level for step in target.at]
        if any(level.kind is LevelKind.TARGET and int(level.value) not in seen for level in levels):
            message = f"target {target.number} refers to a target that does not come before it"
            raise PlanRefused((Fault("level", "targets", message),))
        seen.add(target.number)
        then = target.then_stop
        if then and then.kind is LevelKind.TARGET and int(then.value) not in seen:
            message = f"target {target.number} moves the stop to a target that does not come before it"
            raise PlanRefused((Fault("level", "targets", message),))


def _new_stop(position: Position, plan: Plan) -> tuple[Decimal, Reason]:
    """The stop under the new plan: where its level puts it; an unchanged stop level leaves the stop where it is."""
    if plan.stop == position.plan.stop and plan.atr == position.plan.atr and position.stop_price is not None:
        return position.stop_price, position.stop_reason
    price = level_price(
        plan.stop,
        side=position.side,
        entry=position.entry_price or ZERO,
        plan=plan,
        as_stop=True,
        risk=risk_of(position),
        fee_percent=fee_percent_of(position),
    )
    return price, stop_reason_of(plan.stop, of_target=False)


def _prices(position: Position, plan: Plan, event: AmendPlan) -> dict[int, Decimal]:
    return target_prices(
        plan,
        side=position.side,
        entry=position.entry_price or ZERO,
        risk=risk_of(position),
        fee_percent=fee_percent_of(position),
        elapsed=elapsed_seconds(position.entered_at, event.at),
    )


def _check_amendment(position: Position, plan: Plan, stop: tuple[Decimal, Reason], event: AmendPlan) -> None:
    faults: list[Fault] = []
    side, current = position.side, position.stop_price
    if stop[0] <= 0:
        faults.append(Fault("wrong_side", "stop", f"stop: {stop[0]:f} is no price"))
    if current is not None and better(side, current, stop[0]) and not event.allow_looser_stop:
        message = f"stop: {stop[0]:f} is looser than the present stop {current:f}; say allow_looser_stop to mean it"
        faults.append(Fault("looser_stop", "stop", message))
    hit = {target.number for target in position.targets if target.hit}
    prices = _prices(position, plan, event)
    latest = position.latest
    price = latest.price(plan.stop_source, side) if latest else None
    if price is not None and crossed(side, price, stop[0]) and not event.act_now:
        message = f"stop: {stop[0]:f} is already crossed by the price {price:f}; move it, or say act_now"
        faults.append(Fault("already_crossed", "stop", message))
    price = latest.price(plan.targets_source, side) if latest else None
    legs = leg_quantities(plan, position.quantity, position.instrument.quantity_step)
    before: Decimal | None = None
    for index, target in enumerate(target for target in plan.targets if target.number not in hit):
        name, level = f"targets.{index}", prices[target.number]
        if before is not None and not better(side, level, before):
            faults.append(Fault("order", name, f"{name}: {level:f} does not come after {before:f}; order by profit"))
        before = level
        if price is not None and reached(side, price, level) and not event.act_now:
            message = f"{name}: {level:f} is already passed by the price {price:f}; move it, or say act_now"
            faults.append(Fault("already_crossed", name, message))
        filled = sum((state.filled for state in position.targets if state.number == target.number), ZERO)
        if filled > legs.get(target.number, ZERO):
            message = f"{name}: closes less than the {filled:f} that it has closed already; close more here"
            faults.append(Fault("filled", f"{name}.close", message))
        why = under_minimum(position.instrument, legs[target.number], level) if target.number in legs else ""
        if why:
            faults.append(Fault("leg_below_minimum", f"{name}.close", f"{name}: {why}; close more here"))
    dropped = _closed_by_dropped(position, plan)
    runner = position.quantity - sum(legs.values(), ZERO) - dropped
    if sum((target.close for target in plan.targets), ZERO) != 1 and (runner > 0 or not dropped):
        why = under_minimum(position.instrument, runner, position.entry_price or ZERO)
        if why:
            message = f"the runner that remains after the targets: {why}; close less, or let the fractions sum to 1"
            faults.append(Fault("runner_below_minimum", "targets", message))
    if faults:
        raise PlanRefused(tuple(faults))


def _rested(position: Position, target: Target, plan: Plan) -> bool:
    """Whether a target that the new plan drops has orders at rest, or fills of them, that must still be booked."""
    dropped = all(planned.number != target.number for planned in plan.targets)
    return dropped and bool(target.filled or limits(position, leg_of(target.number)))


def _dropped(target: Target) -> Target:
    """A dropped target asks for nothing more than what it has closed."""
    return replace(target, quantity=target.filled)


def _apply(step: Step, plan: Plan, stop: tuple[Decimal, Reason], event: AmendPlan) -> None:
    position = step.position
    known = {target.number: target for target in position.targets}
    prices = _prices(position, plan, event)
    legs = leg_quantities(plan, position.quantity, position.instrument.quantity_step)
    targets = []
    for planned in plan.targets:
        old = known.get(planned.number)
        if old is not None and old.hit:
            targets.append(old)
        else:
            quantity, price = legs.get(planned.number, ZERO), prices[planned.number]
            fresh = Target(number=planned.number, price=price, quantity=quantity)
            targets.append(fresh if old is None else replace(fresh, filled=old.filled, software=old.software))
    targets += [_dropped(old) for old in position.targets if _rested(position, old, plan)]
    numbers = [target.number for target in plan.targets]
    step.change(
        plan=plan,
        plan_revision=position.plan_revision + 1,
        targets=tuple(targets),
        targets_disabled=False,
        next_target=max(position.next_target, *(number + 1 for number in numbers), 1),
        stop_price=stop[0],
        stop_reason=stop[1],
    )
    if plan.trail is not None and plan.trail != position.plan.trail:
        latest = position.latest.price(plan.stop_source, position.side) if position.latest else None
        peak = position.peak_price if position.trailing_stop_active else latest
        peak = peak if peak is not None else position.entry_price or ZERO
        step.change(trail=plan.trail, trailing_stop_active=True, peak_price=peak)
        if not position.trailing_stop_active:
            step.change(peak_at=event.at)
        step.tighten_stop(trailing_stop(position.side, plan.trail, peak, plan.atr), Reason.TRAILING_STOP)
    step.note(
        "position.plan_amended", event.at, revision=step.position.plan_revision, stop_price=step.position.stop_price
    )
