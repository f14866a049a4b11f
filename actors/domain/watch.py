"""What one position waits for, so that a price which changes nothing need not be told to it; and how it catches up.

`watch_of` says which prices would change a position beyond its extremes. All others only move MAE, MFE, the peak and
the stop that follows the peak, and those `catch_up` takes from the extremes since the position was last told
(actors/domain/tape.py). So telling a position only the prices its watch names equals telling it every price.
"""

from dataclasses import dataclass
from decimal import Decimal

from actors.domain.exits import MICROS_PER_SECOND, better, distance_at, reached, trailing_stop
from actors.domain.model import (
    HUNDRED,
    Distance,
    DistanceKind,
    Intent,
    IntentStatus,
    Micros,
    OrderKind,
    Phase,
    Position,
    Quote,
    Reason,
    Side,
)
from actors.domain.orders import in_bound
from actors.domain.prices import (
    _merged,
    follow_peak,
    has_steps,
    refresh_target_prices,
    take_extremes,
    waits_for_its_fill,
    watching,
)
from actors.domain.records import builder, changed
from actors.domain.step import Step
from actors.domain.words import Source

_MOVED_BY_PRICES = ("mae", "mfe", "peak_price", "peak_at", "stop_price", "stop_reason", "updated_at")

# A level that was computed backwards is taken a hair early: waking once too often is harmless, once too rarely is not.
_HAIR = Decimal("1e-20")

_LOWEST, _HIGHEST = Decimal("-Infinity"), Decimal("Infinity")

# What a source means for each side: an exit would trade at the bid or the ask.
_FIELDS = {
    side: {Source.MARK: "mark", Source.LAST: "last", Source.BID_ASK: traded}
    for side, traded in ((Side.LONG, "bid"), (Side.SHORT, "ask"))
}

_Trail = tuple[Decimal | None, Decimal | None, Decimal | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The prices that would change a position; every level is inclusive.

    `stop` and `peak_from` are prices of the stop's source, `target` of the targets' source: a price at `stop` or worse
    wakes, one at `peak_from` or `target` or better wakes. With `peak` the trail is armed: its stop lies
    `trail_percent` percent or `trail_gap` (exactly one of them) behind the best price since, itself included, and a
    price at that stop or worse wakes. The first price at or after `deadline` wakes, whatever it is.
    """

    side: Side
    stop_source: Source
    targets_source: Source
    stop: Decimal | None = None
    target: Decimal | None = None
    peak: Decimal | None = None
    trail_percent: Decimal | None = None
    trail_gap: Decimal | None = None
    peak_from: Decimal | None = None
    deadline: Micros | None = None

    def trailing_stop(self, peak: Decimal) -> Decimal:
        """The trail's stop for this peak, to the digit as the rules have it. Only for an armed trail."""
        gap = peak * self.trail_percent / HUNDRED if self.trail_percent is not None else self.trail_gap
        return peak - self.side.sign * (gap or Decimal(0))


# Made for each position that comes back, and whenever something happened to one.
_WATCH = builder(Watch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The extremes of the stop's source in the prices a position was not told, each with the time it was first there.

    None where there was no price. `latest` is the newest known price of each source then.
    """

    low: Decimal | None = None
    low_at: Micros = 0
    high: Decimal | None = None
    high_at: Micros = 0
    latest: Quote | None = None


def stop_source_of(source: Source, side: Side) -> str:
    """The field of a quote that a source means for this side: an exit would trade at the bid or the ask."""
    return _FIELDS[side][source]


def catch_up(position: Position, missed: Missed, seen: int | None = None) -> Position:
    """The position as if it had been told the prices it missed, none of which its watch names; `seen` says up to which.

    The very same one where there is nothing new.
    """
    if missed.low is None and missed.high is None and missed.latest is None and seen in (None, position.seen):
        return position
    step = Step(position)
    if missed.latest is not None and missed.latest is not position.latest:
        step.see(_merged(position.latest, missed.latest))
    if seen is not None and seen != position.seen:
        step.change(seen=seen)
    if watching(position):
        prices = [(missed.low_at, missed.low), (missed.high_at, missed.high)]
        for at, price in sorted((at, price) for at, price in prices if price is not None):
            moved = take_extremes(step, price, at)
            if (follow_peak(step, price, at) or moved) and at > step.now.updated_at:
                step.change(updated_at=at)
    return step.finish()


def only_extremes(before: Position | None, after: Position) -> bool:
    """Whether nothing but what prices alone move has changed: extremes, the peak, and the stop that follows it."""
    if before is None:
        return False
    moved = {name: getattr(after, name) for name in _MOVED_BY_PRICES}
    return changed(before, moved) == after


def watch_of(position: Position, at: Micros) -> Watch:
    """What the position waits for, after the event of time `at` has been applied to it."""
    plan = position.plan
    stop = target = peak = percent = gap = peak_from = None
    held = watching(position)
    if held and not position.reconciling:
        stop, target = position.stop_price, _nearest_target(position, at)
        if position.trailing_stop_active and position.trail is not None and position.peak_price is not None:
            peak = position.peak_price
            percent, gap, peak_from = _trail_of(position, position.trail, peak)
    deadline = _deadline(position, at, held=held)
    watch: Watch = _WATCH(
        (position.side, plan.stop_source, plan.targets_source, stop, target, peak, percent, gap, peak_from, deadline)
    )
    return watch


# -- levels ------------------------------------------------------------------------------------------------------------


def _any_price(side: Side) -> Decimal:
    """A level that every price has reached."""
    return _LOWEST if side is Side.LONG else _HIGHEST


def _nearest_target(position: Position, at: Micros) -> Decimal | None:
    """The first price at which a target is passed, or an owed partial is within its bound again."""
    side = position.side
    levels: list[Decimal] = []
    if position.entry_complete and not position.targets_disabled:
        if _has_come_closer(position, at):
            return _any_price(side)
        states = {target.number: target for target in position.targets}
        for planned in position.plan.targets:
            target = states[planned.number]
            if target.hit or target.price is None:
                continue
            if planned.order is OrderKind.MARKET or not waits_for_its_fill(position, planned, target):
                levels.append(target.price)
    for intent in position.intents:
        if intent.status is IntentStatus.PLANNED and intent.level is not None and not in_bound(position, intent):
            slack = intent.level * position.plan.max_slippage_percent / HUNDRED
            levels.append(intent.level - side.sign * slack)
    if not levels:
        return None
    if len(levels) == 1:
        return levels[0]
    return min(levels) if side is Side.LONG else max(levels)


def _has_come_closer(position: Position, at: Micros) -> bool:
    """Whether a target's next step has begun, which takes effect with the next price of the targets' source."""
    if not has_steps(position.plan):
        return False
    step = Step(position)
    refresh_target_prices(step, at)
    return step.now is not position


def _trail_of(position: Position, trail: Distance, peak: Decimal) -> _Trail:
    """The armed trail (its percent or its gap), and the peak from which it must be looked at again: its stop at rest is
    due to move, or its clamps change what the distance is; from any, where an amendment has put the stop behind the
    trail's own.
    """
    side, atr = position.side, position.plan.atr
    gap = distance_at(trail, peak, atr)
    percents = [trail.value] if trail.kind is DistanceKind.PERCENT else []
    percents += [clamp for clamp in (trail.min_percent, trail.max_percent) if clamp is not None]
    # Where two distances are equal at this very peak, the one that holds beyond it is the trail's from here on.
    beyond = peak + side.sign * abs(peak) * _HAIR
    both = ((peak, gap), (beyond, distance_at(trail, beyond, atr)))
    percent = next((value for value in percents if all(at * value / HUNDRED == far for at, far in both)), None)
    from_here = [_peak_for(side, level, percent, gap) for level in _due_levels(position)]
    if trail.kind is not DistanceKind.PERCENT:
        plain = distance_at(Distance(kind=trail.kind, value=trail.value), peak, atr)
        clamps = [clamp for clamp in (trail.min_percent, trail.max_percent) if clamp]
        from_here += [_early(side, plain * HUNDRED / clamp) for clamp in clamps]
    ahead = [price for price in from_here if price is not None and (reached(side, price, peak))]
    nearest = _peak_from(position, trailing_stop(side, trail, peak, atr), ahead)
    return percent, None if percent is not None else gap, nearest


def _peak_from(position: Position, stop: Decimal, ahead: list[Decimal]) -> Decimal | None:
    if position.stop_price is None or better(position.side, stop, position.stop_price):
        return _any_price(position.side)
    if not ahead:
        return None
    return min(ahead) if position.side is Side.LONG else max(ahead)


def _peak_for(side: Side, stop: Decimal, percent: Decimal | None, gap: Decimal) -> Decimal | None:
    """The peak whose trailing stop is this one."""
    if percent is None:
        return _early(side, stop + side.sign * gap)
    share = 1 - side.sign * percent / HUNDRED
    return _early(side, stop / share) if share > 0 else None


def _early(side: Side, price: Decimal) -> Decimal:
    return price - side.sign * abs(price) * _HAIR


def _due_levels(position: Position) -> list[Decimal]:
    """The stop prices at which the order at rest is to be moved, as `orders` has it."""
    newest = _resting_stop(position)
    if newest is None or newest.trigger_price is None or position.stop_price is None:
        return []
    old, reason = newest.trigger_price, newest.reason
    sign = position.side.sign
    a_tick = old + sign * position.instrument.tick_size
    if position.stop_reason is not Reason.TRAILING_STOP or reason is not Reason.TRAILING_STOP:
        return [a_tick]
    a_step = old + sign * abs(old) * position.terms.resident_step_percent / HUNDRED
    return [max(a_tick, a_step) if sign > 0 else min(a_tick, a_step)]


def _resting_stop(position: Position) -> Intent | None:
    for intent in reversed(position.intents):
        if intent.resident and intent.status is IntentStatus.RESTING and not intent.cancel_requested:
            return intent
    return None


# -- time --------------------------------------------------------------------------------------------------------------


def _deadline(position: Position, at: Micros, *, held: bool) -> Micros | None:
    """When the first price after this one changes something by its time alone; `held`: prices decide something."""
    if position.phase is Phase.CLOSED or position.phase is Phase.QUARANTINED:
        return None
    moments: list[Micros] = []
    for intent in position.intents:
        retry_at = intent.retry_at
        if retry_at is not None and retry_at > at and intent.status in (IntentStatus.PLANNED, IntentStatus.REFUSED):
            moments.append(retry_at)
    if held and position.entered_at is not None:
        if has_steps(position.plan):
            hit = {target.number for target in position.targets if target.hit}
            steps = [step for planned in position.plan.targets if planned.number not in hit for step in planned.at[1:]]
            moments += [moment for step in steps if (moment := _after(position.entered_at, step.after_seconds)) > at]
        if position.plan.time_limit_seconds is not None:
            # Also one that has passed: it waits, for this moment only, for a target that the same price has passed.
            moments.append(_after(position.entered_at, position.plan.time_limit_seconds))
        moved_at, interval = position.resident_moved_at, position.terms.resident_interval_seconds
        if moved_at is not None and _has_moved(position) and (moment := _after(moved_at, interval)) > at:
            moments.append(moment)
    return min(moments) if moments else None


def _has_moved(position: Position) -> bool:
    """Whether the trail has already gone far enough for its stop at rest to follow, once its interval is over."""
    stop = position.stop_price
    if stop is None:
        return False
    newest = _resting_stop(position)
    if newest is None or (newest.trigger_price == stop and position.instrument.tick_size > 0):
        # It rests where it should be.
        return False
    return any(reached(position.side, stop, level) for level in _due_levels(position))


def _after(moment: Micros, seconds: Decimal) -> Micros:
    whole = int(seconds * MICROS_PER_SECOND)
    return moment + whole + (whole != seconds * MICROS_PER_SECOND)
