"""Resting targets: their orders in the exchange's book, placed, cut, moved and taken back as the state needs.

A target's order is never changed where it rests: it is cancelled, read back twice, and what is missing asked for under
the next generation. At most one order of a leg has not ended, and a new one goes out only when all that rest, those
being cancelled included, leave room for it.
"""

from decimal import Decimal

from actors.domain.model import ZERO, Intent, IntentStatus, Micros, OrderKind, PlannedTarget, Position, Reason, Target
from actors.domain.prices import refresh_target_prices, take_actions
from actors.domain.shares import (
    budget,
    in_book,
    leg_of,
    limit_price,
    limits,
    may_rest,
    nothing_can_rest,
    number_of,
    owed_to,
    placeable,
    resting_targets,
    shares,
)
from actors.domain.step import Step

KEPT_ENDED = 4


def settle_hits(step: Step, at: Micros) -> None:
    """A resting target is hit once its order has filled, and has nothing more to ask for; then its actions follow.

    Not while a comeback is being reconciled: what filled meanwhile takes effect from the present price on.
    """
    for planned, target in resting_targets(step.now):
        if not target.hit and target.filled > 0 and _is_complete(step.position, target):
            _hit_by_fill(step, planned, target, at)


def _is_complete(position: Position, target: Target) -> bool:
    if target.quantity - target.filled < position.instrument.quantity_step:
        return True
    own = [intent for intent in position.intents if intent.leg == leg_of(target.number)]
    whole = bool(own) and own[-1].status is IntentStatus.FILLED and own[-1].filled >= own[-1].quantity
    return whole and nothing_can_rest(position, target)


def _hit_by_fill(step: Step, planned: PlannedTarget, target: Target, at: Micros) -> None:
    last = [fill for fill in step.position.fills if fill.leg == leg_of(target.number)][-1]
    step.change_target(target.number, hit=True, hit_at=last.at)
    step.note("position.target_hit", at, target=target.number, target_price=target.price, price=last.price)
    if step.position.closing_reason is None:
        take_actions(step, planned, last.price, at)


def work_resting(step: Step, at: Micros, *, may_place: bool) -> None:
    """Bring the orders at rest in line with the plan and with what remains."""
    if step.now.remaining <= 0 or not (step.census().limits or _any_at_rest(step.now)):
        return
    if any(len(planned.at) > 1 for planned, _ in resting_targets(step.position)):
        refresh_target_prices(step, at)
    asked = {} if step.position.targets_disabled else shares(step.position)
    for intent in limits(step.position):
        _take_back(step, intent, asked)
    if may_place and not step.position.disputed:
        for planned, target in resting_targets(step.position):
            _place(step, planned, target, asked.get(planned.number, ZERO), at)
    _close_altered_in_software(step, at)
    _forget_ended(step)


def _any_at_rest(position: Position) -> bool:
    """Whether any of this concerns the position: its plan asks for orders at rest, or one of them was altered."""
    return may_rest(position.plan) or any(target.software for target in position.targets)


def _take_back(step: Step, intent: Intent, asked: dict[int, Decimal]) -> None:
    """End an order that asks for something else than it should by now."""
    position = step.position
    number = number_of(intent.leg)
    target = next((target for target in position.targets if target.number == number), None)
    share = asked.get(number, ZERO)
    if intent.status is IntentStatus.PLANNED:
        if target is None or not placeable(position, target, share):
            step.change_intent(intent.client_order_id, status=IntentStatus.WITHDRAWN)
    elif intent.status is IntentStatus.RESTING and not intent.cancel_requested:
        fits = intent.quantity - intent.filled == share
        if target is None or not fits or intent.limit_price != limit_price(position, target):
            step.cancel(intent)


def _place(step: Step, planned: PlannedTarget, target: Target, share: Decimal, at: Micros) -> None:
    position, leg = step.position, leg_of(planned.number)
    current = next((i for i in position.intents if i.leg == leg and not i.status.terminal), None)
    if not placeable(position, target, share) or in_book(position) + share > budget(position):
        return
    price = limit_price(position, target)
    if current is None:
        current = step.plan_order(
            at,
            leg,
            Reason.TAKE_PROFIT,
            share,
            kind=OrderKind.LIMIT,
            generation=step.next_generation(leg),
            limit_price=price,
        )
    else:
        is_owed = current.status is IntentStatus.PLANNED and current.kind is OrderKind.LIMIT
        if not is_owed or (current.retry_at is not None and current.retry_at > at):
            return
        current = step.change_intent(current.client_order_id, quantity=share, limit_price=price)
    step.submit(current, at)


def _close_altered_in_software(step: Step, at: Micros) -> None:
    """A target that was hit before its order was altered is owed at once; one that was not waits for its price."""
    for target in step.position.targets:
        leg = leg_of(target.number)
        own = [intent for intent in step.position.intents if intent.leg == leg]
        if not target.software or not target.hit or any(intent.kind is OrderKind.MARKET for intent in own):
            continue
        owed = min(owed_to(step.position, leg), step.position.remaining)
        if owed > 0 and all(intent.status.terminal for intent in own):
            generation = step.next_generation(leg)
            step.plan_order(at, leg, Reason.TAKE_PROFIT, owed, generation=generation, level=target.price)


def _forget_ended(step: Step) -> None:
    """An order that was moved often leaves many that have ended; the latest are enough to number the next."""
    gone: set[str] = set()
    for target in step.position.targets:
        own = [i for i in step.position.intents if i.leg == leg_of(target.number) and i.kind is OrderKind.LIMIT]
        gone.update(i.client_order_id for i in own[:-KEPT_ENDED] if i.status.terminal)
    if gone:
        step.change(intents=tuple(i for i in step.position.intents if i.client_order_id not in gone))


def cancel_resting(step: Step) -> None:
    """Everything is to close: whatever rests for a target goes, in whichever state it is, each by its own id."""
    for intent in limits(step.position):
        if intent.live and not intent.cancel_requested:
            step.cancel(intent)
