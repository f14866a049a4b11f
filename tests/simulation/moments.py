"""Moments that a campaign of full size must have reached: where one never was, its storms prove less than they claim.

A moment is reached when it really is: it is read off the exchange, the store and the keepers, never off the troubles.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from actors.domain.model import IntentStatus, OrderKind, Position

if TYPE_CHECKING:
    from tests.simulation.promises import Ledger, Promises
    from tests.simulation.world import Life

MOMENTS: Final[tuple[str, ...]] = (
    "crash while TP1 is unknown",
    "crash between the save of an intent and its sending",
    "crash while an entry is in doubt",
    "crash while two stops rest",
    "crash while a full close is under way",
    "crash while a partial is half filled",
    "crash during a comeback",
    "resident stop fills while a partial is in flight",
    "resident stop fills while no keeper runs",
    "a target's order fills while no keeper runs",
    "takeover during a save",
    "takeover while a partial is in flight",
    "a former owner sends what the exchange must not take",
    "a former owner's save is refused",
    "a frozen keeper's request has expired",
    "a former owner retakes its own shard",
    "a keeper takes over from one that still lives",
    "a saved write's reply is lost",
    "a power cut takes back a write",
    "the store restarts without a write",
    "the store is out of reach",
    "a full close leaves before it is durable",
    "an order is proven absent and sent again under its id",
    "an order is refused",
    "liquidated while no keeper runs",
    "a target is passed only while no keeper runs",
    "a spilled state is taken up again",
    "closed by a price that nobody watched",
    "a manual close outlives a crash",
    "a position comes back asleep",
    "pause",
)


class Moments:
    """Counts what one run reaches, and notices what only several looks tell."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self._half_closed = False
        self._absent: set[str] = set()
        self._fills = 0

    def reach(self, what: str) -> None:
        """It happened."""
        self.reached[what] += 1

    # -- a keeper dies -------------------------------------------------------------------------------------------------

    def died(self, promises: "Promises", life: "Life", what: str) -> None:
        """What was under way."""
        position = promises.last
        directory = None if life.house is None else life.house.directory
        if (
            directory is not None
            and promises.last_version
            and any("reconciled" in r for r in directory.reasons_not_ready())
        ):
            self.reach("crash during a comeback")
        if position is None:
            return
        taken = promises.taken_ids
        doubt = (IntentStatus.SENT, IntentStatus.UNKNOWN)
        for intent in position.intents:
            if intent.status not in doubt:
                continue
            if intent.leg == "target-1" and intent.client_order_id in taken:
                self.reach("crash while TP1 is unknown")
            if intent.leg == "entry":
                self.reach("crash while an entry is in doubt")
            if intent.full:
                self.reach("crash while a full close is under way")
            if intent.client_order_id not in taken:
                self.reach("crash between the save of an intent and its sending")
        ledger = promises.ledger
        if ledger is None:
            return
        if len(ledger.stops) > 1:
            self.reach("crash while two stops rest")
        closed = {leg: quantity for leg, quantity in ledger.by_leg.items() if leg.startswith("target-")}
        planned = {f"target-{target.number}": target.quantity for target in position.targets}
        if any(0 < quantity < planned.get(leg, quantity) for leg, quantity in closed.items()):
            self.reach("crash while a partial is half filled")
        if any(request.leg not in ledger.by_leg for request in position.close_requests):
            self.reach("a manual close outlives a crash")

    # -- the exchange --------------------------------------------------------------------------------------------------

    def at_exchange(self, promises: "Promises", ledger: "Ledger") -> None:
        """Something was executed, placed or cancelled."""
        fills, self._fills = self._fills, len(ledger.slot.trades)
        if self._fills == fills:
            return
        nobody = not any(life.awake for life in promises.world.lives)
        position = promises.last
        for trade in ledger.slot.trades[fills:]:
            leg = promises.leg_of(trade.client_order_id)
            if leg.startswith("resident-"):
                if nobody:
                    self.reach("resident stop fills while no keeper runs")
                if position is not None and _partial_in_flight(position):
                    self.reach("resident stop fills while a partial is in flight")
            elif leg.startswith("target-") and nobody:
                self.reach("a target's order fills while no keeper runs")
            elif trade.cause == "liquidated" and nobody:
                self.reach("liquidated while no keeper runs")

    def accepted(self, promises: "Promises", leg: str) -> None:
        """The exchange took an order of ours."""
        position = promises.last
        if position is not None and leg in self._absent:
            self.reach("an order is proven absent and sent again under its id")

    # -- the store -----------------------------------------------------------------------------------------------------

    def taken(self, promises: "Promises", life: "Life") -> None:
        """A lease was taken."""
        others = [other for other in promises.world.lives if other is not life and not other.dead and other.epoch]
        if others:
            self.reach("a keeper takes over from one that still lives")
        if promises.last is not None and _partial_in_flight(promises.last) and others:
            self.reach("takeover while a partial is in flight")
        if life.takes:
            self.reach("a former owner retakes its own shard")
        life.takes += 1

    def stored(self, promises: "Promises", before: Position | None, after: Position) -> None:
        """A state was saved."""
        if before is not None and before.closing_reason is None and after.closing_reason is not None:
            life = promises.world.awake
            if life is not None and not life.ready:
                self.reach("closed by a price that nobody watched")
        for intent in after.intents:
            if intent.status is IntentStatus.PLANNED and intent.attempts:
                self._absent.add(intent.leg)

    # -- what was told -------------------------------------------------------------------------------------------------

    def told(self, events: list[Any], refused: list[Any]) -> None:
        """At the end of a run: the events that keepers published, what the exchange refused."""
        names = {event["name"] for event in events}
        if "position.target_missed" in names:
            self.reach("a target is passed only while no keeper runs")
        for _, code in refused:
            self.reach("a frozen keeper's request has expired" if code == "expired" else "an order is refused")


def _partial_in_flight(position: Position) -> bool:
    doubt = (IntentStatus.SENT, IntentStatus.UNKNOWN)
    return any(
        intent.status in doubt and not intent.resident and not intent.full and intent.leg != "entry"
        for intent in position.intents
    ) or any(intent.kind is OrderKind.LIMIT and intent.cancel_requested and intent.live for intent in position.intents)
