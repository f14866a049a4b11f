"""What one position does next, given one event: the only place a position changes.

Pure: no clock, no I/O, no randomness, so a replay gives the same answer. First the event's own rule, then the orders
that the state needs (`orders.work`).
"""

from collections.abc import Callable
from typing import Any

from actors.domain.amending import on_amend, on_close
from actors.domain.booking import on_order_reported, with_updated
from actors.domain.events import (
    AmendPlan,
    CloseManually,
    Effect,
    Event,
    ExtremesBackfilled,
    ForeignOrderSeen,
    FundingPaid,
    OrderAbsent,
    OrderRefused,
    OrderReported,
    OrderUnknown,
    OrderWithheld,
    OrphanSeen,
    PositionObserved,
    PriceMoved,
    Reconciled,
    Recovered,
    TimePassed,
)
from actors.domain.model import Phase, Position
from actors.domain.orders import work
from actors.domain.outcomes import (
    on_absent,
    on_orphan,
    on_reconciled,
    on_recovered,
    on_refused,
    on_unknown,
    on_withheld,
)
from actors.domain.prices import on_backfill, on_price, on_time
from actors.domain.reconcile import adopt_lost_report, on_foreign, on_funding, on_observed
from actors.domain.step import Step


def _on_report(step: Step, event: OrderReported) -> None:
    adopt_lost_report(step, event)
    on_order_reported(step, event)


_RULES: dict[type, Callable[[Step, Any], None]] = {
    PriceMoved: on_price,
    TimePassed: on_time,
    ExtremesBackfilled: on_backfill,
    OrderReported: _on_report,
    OrderRefused: on_refused,
    OrderUnknown: on_unknown,
    OrderAbsent: on_absent,
    OrderWithheld: on_withheld,
    PositionObserved: on_observed,
    ForeignOrderSeen: on_foreign,
    OrphanSeen: on_orphan,
    FundingPaid: on_funding,
    Recovered: on_recovered,
    Reconciled: on_reconciled,
    CloseManually: on_close,
    AmendPlan: on_amend,
}


def advance(position: Position, event: Event) -> tuple[Position, tuple[Effect, ...]]:
    """The position after this event, and what it asks of the world.

    Raises PlanRefused or CommandRefused for a command that is not acceptable; the position is then as it was.
    """
    if position.phase is Phase.CLOSED and not isinstance(event, CloseManually | AmendPlan):
        return position, ()
    step = Step(position)
    _RULES[type(event)](step, event)
    # A report may be older than what is known already; what is decided now is not decided in the past.
    work(step, max(event.at, position.updated_at))
    if step.made_a_difference:
        with_updated(step, event.at)
    return step.finish(), tuple(step.effects)
