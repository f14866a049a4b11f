"""Whose quantity is whose: what decided reductions, resting targets and the runner may each have of what remains.

A resting target's order stands in the exchange's book, out of our hands, so its share is bounded before it goes there:
all resting targets together never reach the runner's share, nor what other decided reductions still have to close.
"""

from decimal import Decimal

from actors.domain.exits import floor_to_step, toward_profit, under_minimum
from actors.domain.model import ZERO, Intent, IntentStatus, OrderKind, Plan, PlannedTarget, Position, Target


def leg_of(number: int) -> str:
    """The leg of a target."""
    return f"target-{number}"


def number_of(leg: str) -> int:
    """The number of a target's leg, 0 for any other leg."""
    return int(leg.removeprefix("target-")) if leg.startswith("target-") else 0


def rests(planned: PlannedTarget, target: Target) -> bool:
    """Whether a target closes by an order at rest; one that an exchange has altered is closed in software from then
    on.
    """
    return planned.order is OrderKind.LIMIT and planned.close > 0 and not target.software


def may_rest(plan: Plan) -> bool:
    """Whether a target of the plan asks for an order at rest."""
    for planned in plan.targets:  # noqa: SIM110 - asked with every price, and this is half the price of any()
        if planned.order is OrderKind.LIMIT:
            return True
    return False


def resting_targets(position: Position) -> list[tuple[PlannedTarget, Target]]:
    """The targets that close by an order at rest, nearest first, done or not."""
    if not may_rest(position.plan):
        return []
    state = {target.number: target for target in position.targets}
    pairs = [(planned, state[planned.number]) for planned in position.plan.targets if planned.number in state]
    return [(planned, target) for planned, target in pairs if rests(planned, target)]


def limits(position: Position, leg: str = "") -> list[Intent]:
    """The resting targets' orders that have not ended, of one leg or of all."""
    return [
        intent
        for intent in position.intents
        if intent.kind is OrderKind.LIMIT and not intent.ended and leg in ("", intent.leg)
    ]


def in_flight(intent: Intent) -> bool:
    """An order is under way: sent and not yet understood, or being cancelled. What merely rests is not."""
    return intent.live and (intent.status is not IntentStatus.RESTING or intent.cancel_requested)


def in_book(position: Position) -> Decimal:
    """What resting targets' orders could still close, those under way and those being cancelled included."""
    return sum((intent.quantity - intent.filled for intent in limits(position) if intent.live), ZERO)


def owed_to(position: Position, leg: str) -> Decimal:
    """What a leg may still close: what its first order asked for, less everything booked for it since.

    A resting target's orders come in sizes that depend on what remains: there it is what the target asks for.
    """
    own = [intent for intent in position.intents if intent.leg == leg]
    asked = own[0].quantity if own else ZERO
    if any(intent.kind is OrderKind.LIMIT for intent in own):
        asked = sum((target.quantity for target in position.targets if leg_of(target.number) == leg), ZERO)
    return asked - sum((fill.quantity for fill in position.fills if fill.leg == leg), ZERO)


def committed(position: Position) -> Decimal:
    """What decided reductions have not filled yet, resting targets apart: it is spoken for."""
    return sum(
        (
            intent.quantity - intent.filled
            for intent in position.intents
            if not intent.ended and intent.reduce_only and not intent.resident and intent.kind is not OrderKind.LIMIT
        ),
        ZERO,
    )


def runner_share(position: Position) -> Decimal:
    """What no target ever closes; targets that an amendment dropped had what they had filled by then."""
    return max(ZERO, position.quantity - sum((target.quantity for target in position.targets), ZERO))


def target_room(position: Position) -> Decimal:
    """What all targets together may still close: a dropped one that filled late has closed another's part."""
    filled = sum((target.filled for target in position.targets), ZERO)
    return max(ZERO, position.quantity - runner_share(position) - filled)


def budget(position: Position) -> Decimal:
    """How much all resting targets together may have in the book."""
    return max(ZERO, position.remaining - runner_share(position) - committed(position))


def shares(position: Position) -> dict[int, Decimal]:
    """What each resting target's order should ask for now, by number: what its target lacks, while the budget lasts."""
    pairs = resting_targets(position)
    found: dict[int, Decimal] = {}
    left = budget(position) if pairs else ZERO
    for planned, target in pairs:
        lacking = max(ZERO, target.quantity - target.filled)
        found[planned.number] = floor_to_step(min(lacking, left), position.instrument.quantity_step)
        left -= found[planned.number]
    return found


def limit_price(position: Position, target: Target) -> Decimal | None:
    """Where a target rests: its price on the venue's grid, rounded in the position's favour."""
    if target.price is None:
        return None
    return toward_profit(position.side, target.price, position.instrument.tick_size)


def placeable(position: Position, target: Target, quantity: Decimal) -> bool:
    """Whether the venue would take an order of this quantity at the target's price."""
    price = limit_price(position, target)
    return price is not None and quantity > 0 and not under_minimum(position.instrument, quantity, price)


def nothing_can_rest(position: Position, target: Target) -> bool:
    """Whether a resting target has no order, and may have none: too little remains for it."""
    if limits(position, leg_of(target.number)):
        return False
    return not placeable(position, target, shares(position).get(target.number, ZERO))
