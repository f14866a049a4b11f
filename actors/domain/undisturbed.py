"""Whether a comeback finds everything as it was recorded, and the position as it then goes on.

Most of a hundred thousand positions come back to what they left: one stop at rest, whole and unfilled, every trade
booked, the size as tracked. For those every event of a comeback (Recovered, a report of the stop, PositionObserved,
Reconciled) changes nothing and asks for nothing, which this says without going through all the rules for it. Whatever
is not plainly so is left to the rules; tests/unit/test_undisturbed.py holds this to what they would have done.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from actors.domain.events import OrderState, Trade
from actors.domain.exits import floor_to_step
from actors.domain.model import Intent, IntentStatus, Micros, OrderKind, Phase, Position, Quote, Terms
from actors.domain.orders import _former_owners_stop, _is_runner, _move_due
from actors.domain.records import changed
from actors.domain.shares import may_rest


class ToldOrder(Protocol):
    """An order as a venue tells it."""

    @property
    def client_order_id(self) -> str:
        """Ours, or somebody else's."""

    @property
    def state(self) -> OrderState:
        """Whether it has ended."""

    @property
    def kind(self) -> OrderKind:
        """Its class."""

    @property
    def quantity(self) -> Decimal:
        """What it asks for."""

    @property
    def filled(self) -> Decimal:
        """What it got."""

    @property
    def trigger_price(self) -> Decimal | None:
        """Where it fires."""

    @property
    def reduce_only(self) -> bool:
        """Whether it may only reduce."""

    @property
    def position_wide(self) -> bool:
        """Whether it would close whatever is there."""

    @property
    def trades(self) -> tuple[Trade, ...]:
        """What it has traded."""


def undisturbed(
    position: Position,
    terms: Terms,
    *,
    at: Micros,
    held: Decimal,
    looked_up: Sequence[ToldOrder | None],
    listed: Sequence[ToldOrder],
    trades: Sequence[Trade],
    quote: Quote,
    seen: int,
) -> Position | None:
    """The position after a comeback that finds it as it was recorded, with the prices seen; None: ask the rules.

    `held` is the size at the venue in the position's own direction; `looked_up` are the orders of its intents that have
    not ended, `listed` what is open in its slot, `trades` those since it was opened, all of the moment `at`.
    """
    if not is_undisturbed(position, terms, at=at, held=held, looked_up=looked_up, listed=listed, trades=trades):
        return None
    return changed(position, {"latest": quote, "reconciling": False, "seen": seen})


def is_undisturbed(
    position: Position,
    terms: Terms,
    *,
    at: Micros,
    held: Decimal,
    looked_up: Sequence[ToldOrder | None],
    listed: Sequence[ToldOrder],
    trades: Sequence[Trade],
) -> bool:
    """The same as a question."""
    stop = _stop_at_rest(position)
    if stop is None or (position.terms is not terms and position.terms != terms) or held != position.remaining:
        return False
    if not _as_recorded(stop, looked_up, listed) or not _all_booked(position, trades):
        return False
    return not _has_work(position, stop, at)


def _stop_at_rest(position: Position) -> Intent | None:
    """The one order that has not ended: a stop for all that remains, of which nothing has filled."""
    stop: Intent | None = None
    for intent in position.intents:
        if intent.kind is OrderKind.LIMIT:
            return None
        if intent.ended:
            continue
        if stop is not None or intent.status is not IntentStatus.RESTING or intent.cancel_requested:
            return None
        stop = intent
    if stop is None or stop.kind is not OrderKind.STOP_MARKET or not stop.resident or stop.filled:
        return None
    if stop.quantity != floor_to_step(position.remaining, position.instrument.quantity_step):
        return None
    return stop


def _as_recorded(stop: Intent, looked_up: Sequence[ToldOrder | None], listed: Sequence[ToldOrder]) -> bool:
    """Whether the stop was found as it was placed, and nothing else that would reduce."""
    if len(looked_up) != 1:
        return False
    (found,) = looked_up
    if (
        found is None
        or found.client_order_id != stop.client_order_id
        or found.state is not OrderState.OPEN
        or found.kind is not stop.kind
        or found.quantity != stop.quantity
        or found.filled
        or found.trades
        or found.trigger_price != stop.trigger_price
        or not found.reduce_only
        or found.position_wide
    ):
        return False
    ours = 0
    for order in listed:
        if order.client_order_id == stop.client_order_id:
            ours += 1
        elif order.reduce_only:
            return False
    return ours == 1


def _all_booked(position: Position, trades: Sequence[Trade]) -> bool:
    """Whether nothing of ours was traded that is not booked, to the digit as it is told."""
    for trade in trades:
        for fill in position.fills:
            if fill.trade_id == trade.trade_id:
                if (fill.price, fill.quantity) != (trade.price, trade.quantity):
                    return False
                break
        else:
            order_id = trade.client_order_id
            if order_id.startswith(position.order_tag) or any(
                intent.client_order_id == order_id for intent in position.intents
            ):
                return False
    return True


def _closed_in_software(position: Position) -> bool:
    for target in position.targets:  # noqa: SIM110 - asked of each that comes back, and this is half the price of any()
        if target.software:
            return True
    return False


def _has_work(position: Position, stop: Intent, at: Micros) -> bool:
    """Whether the rules might have anything to do for it, whatever was found."""
    phase = position.phase
    return (
        (phase is not Phase.OPEN and phase is not Phase.RUNNER)
        or not position.entry_complete
        or position.closing_reason is not None
        or position.disputed
        or position.observed is not None
        or bool(position.excess)
        or (position.residents_replaced_below > 0 and _former_owners_stop(position) is not None)
        or position.plan.time_limit_seconds is not None
        or may_rest(position.plan)
        or _closed_in_software(position)
        or position.remaining < position.instrument.minimum_quantity
        or (phase is Phase.RUNNER) is not _is_runner(position)
        or _move_due(position, stop, at)
    )
