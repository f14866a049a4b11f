"""Levels, distances, triggers, trailing: the arithmetic of the exit rules.

Pure: no clock, no I/O, no randomness. s is the position's sign; "better" means s·a > s·b.
"""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from actors.domain.model import (
    HUNDRED,
    ZERO,
    Distance,
    DistanceKind,
    Instrument,
    Level,
    LevelKind,
    Micros,
    Plan,
    PlannedTarget,
    Position,
    Reason,
    Side,
)

MICROS_PER_SECOND = 1_000_000


def better(side: Side, a: Decimal, b: Decimal) -> bool:
    """Whether price a is strictly better than b for a position of this side."""
    return a > b if side is Side.LONG else a < b


def reached(side: Side, price: Decimal, level: Decimal) -> bool:
    """A target's trigger, inclusive: the price is at the level or better."""
    return price >= level if side is Side.LONG else price <= level


def crossed(side: Side, price: Decimal, stop: Decimal) -> bool:
    """A stop's trigger, inclusive: the price is at the stop or worse."""
    return price <= stop if side is Side.LONG else price >= stop


def distance_at(distance: Distance, peak: Decimal, atr: Decimal | None) -> Decimal:
    """The trailing distance in price units at this peak, clamped."""
    if distance.kind is DistanceKind.PERCENT:
        gap = peak * distance.value / HUNDRED
    elif distance.kind is DistanceKind.PRICE:
        gap = distance.value
    else:
        gap = distance.value * (atr or ZERO)
    if distance.min_percent is not None:
        gap = max(gap, peak * distance.min_percent / HUNDRED)
    if distance.max_percent is not None:
        gap = min(gap, peak * distance.max_percent / HUNDRED)
    return gap


def trailing_stop(side: Side, distance: Distance, peak: Decimal, atr: Decimal | None) -> Decimal:
    """Where the trail puts the stop: the distance behind the peak."""
    return peak - side.sign * distance_at(distance, peak, atr)


def fee_breakeven(side: Side, entry: Decimal, fee_percent: Decimal) -> Decimal:
    """The price at which closing pays for both fees, each `fee_percent` of its notional: p(1 −
    s·f) = entry(1 + s·f).
    """
    fee = side.sign * fee_percent / HUNDRED
    return entry * (1 + fee) / (1 - fee)


def level_price(
    level: Level,
    *,
    side: Side,
    entry: Decimal,
    plan: Plan,
    as_stop: bool,
    risk: Decimal | None = None,
    fee_percent: Decimal = ZERO,
    targets: dict[int, Decimal] | None = None,
) -> Decimal:
    """The price of a level. As a stop, relative levels count against the position; as a target, in its favour.

    `risk` is the initial entry-to-stop distance (R) in price units. Raises KeyError for a target that has no price.
    """
    direction = -side.sign if as_stop else side.sign
    if level.kind is LevelKind.PRICE:
        return level.value
    if level.kind is LevelKind.PERCENT:
        return entry + direction * entry * level.value / HUNDRED
    if level.kind is LevelKind.ATR:
        return entry + direction * level.value * (plan.atr or ZERO)
    if level.kind is LevelKind.R:
        return entry + direction * level.value * (risk or ZERO)
    if level.kind is LevelKind.BREAKEVEN:
        return fee_breakeven(side, entry, fee_percent) if level.fees else entry
    return (targets or {})[int(level.value)]


def is_breakeven(level: Level) -> bool:
    """A breakeven level, percent 0 included."""
    return level.kind is LevelKind.BREAKEVEN or (level.kind is LevelKind.PERCENT and level.value == 0)


def stop_reason_of(level: Level, *, of_target: bool) -> Reason:
    """What a stop that this level set will be called when it closes the position."""
    if is_breakeven(level):
        return Reason.BREAKEVEN
    return Reason.TARGET_STOP if of_target else Reason.STOP_LOSS


def step_at(target: PlannedTarget, elapsed_seconds: Decimal) -> Level:
    """The level that holds this long after the entry."""
    current = target.at[0].level
    for step in target.at[1:]:
        if step.after_seconds > elapsed_seconds:
            break
        current = step.level
    return current


def elapsed_seconds(entered_at: Micros | None, at: Micros) -> Decimal:
    """Seconds since the entry, exact."""
    if entered_at is None:
        return ZERO
    return Decimal(max(0, at - entered_at)) / MICROS_PER_SECOND


def target_prices(
    plan: Plan, *, side: Side, entry: Decimal, risk: Decimal, fee_percent: Decimal, elapsed: Decimal
) -> dict[int, Decimal]:
    """The price of every target at this age of the position, by number."""
    prices: dict[int, Decimal] = {}
    for target in plan.targets:
        prices[target.number] = level_price(
            step_at(target, elapsed),
            side=side,
            entry=entry,
            plan=plan,
            as_stop=False,
            risk=risk,
            fee_percent=fee_percent,
            targets=prices,
        )
    return prices


def floor_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of the step that is not above the quantity."""
    return (quantity / step).to_integral_value(rounding=ROUND_DOWN) * step


def away_from_market(side: Side, price: Decimal, tick: Decimal) -> Decimal:
    """A stop level on the venue's grid, rounded away from the market so that it never fires before
    the software stop.
    """
    rounding = ROUND_FLOOR if side is Side.LONG else ROUND_CEILING
    return (price / tick).to_integral_value(rounding=rounding) * tick


def toward_profit(side: Side, price: Decimal, tick: Decimal) -> Decimal:
    """A resting target's level on the venue's grid, rounded in the position's favour."""
    rounding = ROUND_CEILING if side is Side.LONG else ROUND_FLOOR
    return (price / tick).to_integral_value(rounding=rounding) * tick


def leg_quantities(plan: Plan, quantity: Decimal, step: Decimal) -> dict[int, Decimal]:
    """What each closing target closes: its fraction floored to the step; where the fractions sum to 1, the last gets
    all.
    """
    closing = [target for target in plan.targets if target.close > 0]
    legs = {target.number: floor_to_step(target.close * quantity, step) for target in closing}
    if closing and sum(target.close for target in closing) == 1:
        last = closing[-1].number
        legs[last] = quantity - sum((legs[target.number] for target in closing[:-1]), ZERO)
    return legs


def under_minimum(instrument: Instrument, quantity: Decimal, price: Decimal) -> str:
    """Why the venue would refuse this quantity at this price, in numbers; empty when it would not."""
    if quantity < instrument.minimum_quantity:
        return f"{quantity:f} is under the minimum quantity {instrument.minimum_quantity:f}"
    if quantity * price < instrument.minimum_notional:
        worth, least = quantity * price, instrument.minimum_notional
        return f"{quantity:f} at {price:f} is worth {worth:f}, under the minimum of {least:f}"
    return ""


def within_bound(position: Position, level: Decimal, price: Decimal) -> bool:
    """Whether an owed partial may go out: the price is at its level or better, less the plan's slippage."""
    return reached(position.side, price, worst_price(position, level))


def worst_price(position: Position, level: Decimal) -> Decimal:
    """The last price at which an owed partial of this level may go out."""
    return level - position.side.sign * (level * position.plan.max_slippage_percent / HUNDRED)


def fee_percent_of(position: Position) -> Decimal:
    """The fee rate that the entry paid; the venue's taker fee where the entry tells nothing (an adoption)."""
    paid = sum((fill.fee for fill in position.fills if fill.leg == "entry"), ZERO)
    if paid > 0 and position.entry_value > 0:
        return paid / position.entry_value * HUNDRED
    return position.instrument.taker_fee_percent


def risk_of(position: Position) -> Decimal:
    """R: the initial distance from entry to stop in price units, frozen once the entry is complete."""
    if position.entry_price is None or position.initial_stop_price is None:
        return ZERO
    return abs(position.entry_price - position.initial_stop_price)
