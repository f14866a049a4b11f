"""Opening and adopting: what a plan leads to on this market, and every reason to refuse it."""

from dataclasses import replace
from decimal import Decimal

from actors.domain.booking import complete_entry, enter
from actors.domain.errors import Fault, PlanRefused
from actors.domain.events import Effect, OpenPosition, OrderReported, OrderState, Submit, Trade
from actors.domain.exits import (
    better,
    crossed,
    floor_to_step,
    leg_quantities,
    level_price,
    reached,
    target_prices,
    under_minimum,
)
from actors.domain.model import (
    ZERO,
    Instrument,
    OrderSide,
    Plan,
    Position,
    Quote,
    Reason,
    Side,
)
from actors.domain.orders import work
from actors.domain.plain import shared
from actors.domain.step import Step


def open_position(command: OpenPosition) -> tuple[Position, tuple[Effect, ...]]:
    """A new position: its entry planned and submitted, or (adopting) entered at the venue's quantity and price.

    Raises PlanRefused with every fault, numbers in it; nothing is changed then.
    """
    entry = command.entry_price if command.adopt else entry_estimate(command.quote, command.side)
    faults = check_opening(command, entry)
    if faults or entry is None:
        raise PlanRefused(tuple(faults))
    plan = command.plan
    step = Step(
        Position(
            id=command.id,
            account=command.account,
            symbol=command.symbol,
            side=command.side,
            order_tag=command.order_tag,
            instrument=shared(command.instrument),
            plan=shared(plan),
            requested_quantity=command.quantity,
            opened_at=command.at,
            updated_at=command.at,
            terms=shared(command.terms),
            adopted=command.adopt,
            request_digest=command.request_digest,
            tags=dict(command.tags),
            next_target=max((target.number for target in plan.targets), default=0) + 1,
            kept_foreign_orders=command.kept_foreign_orders,
            latest=command.quote,
        )
    )
    if command.adopt:
        enter(step, command.at, entry, command.quantity)
        complete_entry(step, command.at)
        step.note("position.adopted", command.at, quantity=command.quantity, entry_price=entry)
    else:
        side = OrderSide.BUY if command.side is Side.LONG else OrderSide.SELL
        step.submit(step.plan_order(command.at, "entry", Reason.ENTRY, command.quantity, side=side), command.at)
    work(step, command.at)
    return step.position, tuple(step.effects)


def preview(command: OpenPosition) -> Position:
    """The position that would be, its entry filled at the present price: every price and quantity, nothing sent.

    Raises PlanRefused like `open_position`.
    """
    from actors.domain.advance import advance  # noqa: PLC0415 - advance imports this module's neighbours

    position, effects = open_position(command)
    price = entry_estimate(command.quote, command.side)
    for effect in effects:
        if isinstance(effect, Submit) and effect.leg == "entry" and price is not None:
            trade = Trade(
                trade_id="preview",
                client_order_id=effect.client_order_id,
                symbol=position.symbol,
                side=effect.side,
                quantity=effect.quantity,
                price=price,
                fee=effect.quantity * price * position.instrument.taker_fee_percent / 100,
                at=command.at,
            )
            report = OrderReported(
                at=command.at,
                client_order_id=effect.client_order_id,
                state=OrderState.FILLED,
                quantity=effect.quantity,
                filled=effect.quantity,
                trades=(trade,),
                read_back=True,
            )
            position, _ = advance(position, report)
    return replace(position, intents=())


def entry_estimate(quote: Quote, side: Side) -> Decimal | None:
    """What a market entry would pay now: the ask for a long, the bid for a short, else the last or the mark price."""
    touch = quote.ask if side is Side.LONG else quote.bid
    for price in (touch, quote.last, quote.mark):
        if price is not None:
            return price
    return None


def check_opening(command: OpenPosition, entry: Decimal | None) -> list[Fault]:
    """Everything that is wrong with this opening, in words with numbers."""
    if entry is None or entry <= 0:
        return [Fault("no_price", "symbol", f"{command.symbol} has no price yet; try again when its feed is fresh")]
    faults = check_quantity(command.quantity, entry, command.instrument)
    faults += check_levels(command.plan, command.side, entry, command.instrument, adopt=command.adopt)
    if not faults:
        faults += check_legs(command.plan, command.side, entry, command.quantity, command.instrument)
        faults += _check_liquidation(command, entry)
    if not faults and not command.act_now:
        faults += check_crossed(command.plan, command.side, entry, command.quote, command.instrument)
    return faults


def check_quantity(quantity: Decimal, price: Decimal, instrument: Instrument) -> list[Fault]:
    """A quantity the venue would take: on its step, above its minimums. Never rounded for the user."""
    if quantity <= 0:
        return [Fault("too_small", "quantity", "quantity: must be above 0")]
    step = instrument.quantity_step
    if floor_to_step(quantity, step) == 0:
        return [Fault("below_minimum", "quantity", f"quantity: {quantity:f} is under one step of {step:f}")]
    if floor_to_step(quantity, step) != quantity:
        lower = floor_to_step(quantity, step)
        message = f"quantity: {quantity:f} is not a multiple of the step {step:f}; the nearest below is {lower:f}"
        return [Fault("quantity_step", "quantity", message)]
    why = under_minimum(instrument, quantity, price)
    return [Fault("below_minimum", "quantity", f"quantity: {why}")] if why else []


def check_levels(plan: Plan, side: Side, entry: Decimal, instrument: Instrument, *, adopt: bool) -> list[Fault]:
    """The stop on its side of the entry, the targets on theirs and in order of profit, at every age of the position."""
    faults: list[Fault] = []
    fee = instrument.taker_fee_percent
    stop = level_price(plan.stop, side=side, entry=entry, plan=plan, as_stop=True, fee_percent=fee)
    if stop <= 0 or not better(side, entry, stop):
        message = f"stop: {stop:f} is on the wrong side of the entry at {entry:f} for a {side.value}"
        return [Fault("wrong_side", "stop", message)]
    ages = sorted({ZERO} | {step.after_seconds for target in plan.targets for step in target.at})
    previous: dict[int, Decimal] = {}
    for age in ages:
        prices = target_prices(plan, side=side, entry=entry, risk=abs(entry - stop), fee_percent=fee, elapsed=age)
        ordered = [prices[target.number] for target in plan.targets]
        for index, price in enumerate(ordered):
            name = f"targets.{index}"
            if price <= 0 or (age == 0 and not adopt and not better(side, price, entry)):
                message = f"{name}: {price:f} is no profit for a {side.value} from {entry:f}"
                faults.append(Fault("wrong_side", name, message))
            elif index and not better(side, price, ordered[index - 1]):
                message = f"{name}: {price:f} does not come after the target before it at {ordered[index - 1]:f}"
                faults.append(Fault("order", name, f"{message}; list targets in order of profit"))
            elif better(side, price, previous.get(index, price)):
                message = f"{name}: moves away to {price:f} after {age:f} s; a target may only come closer with time"
                faults.append(Fault("order", name, message))
        if faults:
            break
        previous = dict(enumerate(ordered))
    return faults


def check_legs(plan: Plan, side: Side, entry: Decimal, quantity: Decimal, instrument: Instrument) -> list[Fault]:
    """Every closing leg and the runner above the venue's minimums: refused with the numbers, never rounded up."""
    faults: list[Fault] = []
    fee = instrument.taker_fee_percent
    stop = level_price(plan.stop, side=side, entry=entry, plan=plan, as_stop=True, fee_percent=fee)
    prices = target_prices(plan, side=side, entry=entry, risk=abs(entry - stop), fee_percent=fee, elapsed=ZERO)
    legs = leg_quantities(plan, quantity, instrument.quantity_step)
    for index, target in enumerate(plan.targets):
        if target.number in legs:
            why = under_minimum(instrument, legs[target.number], prices[target.number])
            if why:
                message = (
                    f"targets.{index}: its leg of {target.close:f} of {quantity:f}: {why}; open more or close more"
                )
                faults.append(Fault("leg_below_minimum", f"targets.{index}.close", message))
    runner = quantity - sum(legs.values(), ZERO)
    if sum((target.close for target in plan.targets), ZERO) != 1:
        why = under_minimum(instrument, runner, entry)
        if why:
            message = f"the runner that remains after the targets: {why}; open more, or let the fractions sum to 1"
            faults.append(Fault("runner_below_minimum", "quantity", message))
    return faults


def _check_liquidation(command: OpenPosition, entry: Decimal) -> list[Fault]:
    """A stop beyond liquidation would never be reached; only where the venue tells the liquidation price."""
    limit = command.liquidation_price
    if limit is None or limit <= 0:
        return []
    plan, side = command.plan, command.side
    stop = level_price(plan.stop, side=side, entry=entry, plan=plan, as_stop=True)
    if crossed(side, stop, limit):
        message = f"stop: {stop:f} is beyond the liquidation price {limit:f}; move it closer or reduce the leverage"
        return [Fault("beyond_liquidation", "stop", message)]
    return []


def check_crossed(plan: Plan, side: Side, entry: Decimal, quote: Quote, instrument: Instrument) -> list[Fault]:
    """Nothing acts by surprise: a stop or target that the present price has already passed is refused, with both
    prices.
    """
    faults: list[Fault] = []
    fee = instrument.taker_fee_percent
    stop = level_price(plan.stop, side=side, entry=entry, plan=plan, as_stop=True, fee_percent=fee)
    price = quote.price(plan.stop_source, side)
    if price is not None and crossed(side, price, stop):
        message = f"stop: {stop:f} is already crossed by the price {price:f}; move it, or say act_now"
        faults.append(Fault("already_crossed", "stop", message))
    price = quote.price(plan.targets_source, side)
    prices = target_prices(plan, side=side, entry=entry, risk=abs(entry - stop), fee_percent=fee, elapsed=ZERO)
    for index, target in enumerate(plan.targets):
        if price is not None and reached(side, price, prices[target.number]):
            message = f"targets.{index}: {prices[target.number]:f} is already passed by the price {price:f}"
            faults.append(Fault("already_crossed", f"targets.{index}", f"{message}; move it, or say act_now"))
    return faults
