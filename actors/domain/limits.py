"""What reports say about a resting target's order: at rest, altered, filled, ended short."""

from actors.domain.events import OrderReported
from actors.domain.model import Intent, IntentStatus, Micros, OrderKind, Reason
from actors.domain.shares import number_of, owed_to
from actors.domain.step import Step, retry_after


def take_open_limit(step: Step, intent: Intent, event: OrderReported) -> None:
    """The order is open. It rests once it was read back, and what was asked for is what rests; else it goes at once."""
    order_id = intent.client_order_id
    if event.read_back:
        if intent.status is not IntentStatus.RESTING:
            step.change_intent(order_id, status=IntentStatus.RESTING)
            step.note("order.resolved", event.at, leg=intent.leg, state="resting", limit_price=intent.limit_price)
    elif intent.status is not IntentStatus.RESTING:
        step.change_intent(order_id, status=IntentStatus.SENT)
        step.look_up(intent)
    why = _altered(intent, event)
    if why:
        _turn_to_software(step, intent, event, why)
    elif event.quantity < intent.quantity and not intent.cancel_requested:
        # Cut down where it rests. What is missing is asked for anew, after a while: the exchange may cut again.
        step.change_intent(order_id, retry_at=retry_after(intent, event.at))
    elif not intent.cancel_requested:
        return
    if event.read_back or not intent.cancel_requested:
        step.cancel(intent)


def _altered(intent: Intent, event: OrderReported) -> str:
    """What is wrong with an order as the exchange has it; empty when nothing could close more than was asked."""
    if event.position_wide:
        return "it would close the whole position"
    if not event.reduce_only:
        return "it is not reduce-only"
    if event.quantity > intent.quantity:
        return f"it is for {event.quantity:f} instead of {intent.quantity:f}"
    if event.limit_price is not None and event.limit_price != intent.limit_price:
        return f"its price is {event.limit_price:f} instead of {intent.limit_price:f}"
    return ""


def _turn_to_software(step: Step, intent: Intent, event: OrderReported, why: str) -> None:
    """Its target is closed by market orders from now on: a worse price perhaps, but never more than asked."""
    number = number_of(intent.leg)
    target = next((target for target in step.position.targets if target.number == number), None)
    if target is None or target.software:
        return
    step.change_target(number, software=True)
    _tell_altered(step, intent, event.at, why)


def _tell_altered(step: Step, intent: Intent, at: Micros, why: str) -> None:
    step.note("order.altered", at, alert=True, leg=intent.leg, client_order_id=intent.client_order_id, why=why)


def short_is_confirmed(step: Step, intent: Intent, event: OrderReported, *, news: bool) -> bool:
    """Whether two agreeing reads say that a terminal order filled short; asks for the second where they do not yet.

    A read that brought a fill agrees with none before it; one that shows another position disputes the size.
    """
    position = step.position
    if event.venue_quantity is not None and event.venue_quantity != position.remaining + position.excess:
        step.change(disputed=True)
    if event.read_back and intent.reads >= 1 and not news:
        return True
    reads = 0 if not event.read_back else 1 if news else intent.reads + 1
    step.change_intent(intent.client_order_id, status=IntentStatus.UNKNOWN, reads=reads)
    step.look_up(intent)
    return False


def end_limit(step: Step, intent: Intent, event: OrderReported, *, news: bool) -> None:
    """The order is terminal: whole, or short of what it asked for, which two agreeing reads must confirm."""
    order_id = intent.client_order_id
    if intent.filled > intent.quantity:
        _tell_altered(step, intent, event.at, f"it has closed {intent.filled:f} instead of {intent.quantity:f}")
    if intent.filled >= intent.quantity:
        step.change_intent(order_id, status=IntentStatus.FILLED)
        return
    if not short_is_confirmed(step, intent, event, news=news):
        return
    if step.position.disputed:
        step.observe("an order at rest ended, and the position disagrees with what is booked")
    done = step.change_intent(order_id, status=IntentStatus.FILLED if intent.filled else IntentStatus.WITHDRAWN)
    by_the_venue = not done.cancel_requested or done.retry_at is not None
    if by_the_venue and step.position.closing_reason is None:
        _plan_again(step, done, event.at)
    _free_full_close(step)


def _plan_again(step: Step, done: Intent, at: Micros) -> None:
    """Cancelled by hand or by the exchange: what is missing is asked for under the next generation, after a while."""
    missing = owed_to(step.position, done.leg)
    if missing <= 0:
        return
    again = step.plan_order(
        at,
        done.leg,
        Reason.TAKE_PROFIT,
        missing,
        kind=OrderKind.LIMIT,
        generation=step.next_generation(done.leg),
        limit_price=done.limit_price,
    )
    step.change_intent(again.client_order_id, attempts=done.attempts + 1, retry_at=retry_after(done, at))


def _free_full_close(step: Step) -> None:
    """A full close that was refused because of what rested need not wait any longer."""
    for intent in step.position.intents:
        if intent.full and intent.status is IntentStatus.PLANNED:
            step.change_intent(intent.client_order_id, retry_at=None)
