"""The promises, each a function of its own, held against the world before every turn and at the end of a run.

    closed_at_most_as_decided       no leg closes more than was decided for it
    closed_at_most_the_quantity     all legs together close no more than was bought
    sent_only_what_is_durable       an entry, a partial or a stop leaves only after its intent is stored
    ids_are_the_legs_own            an order's id is that of its position, leg and generation
    executed_once                   no order id is taken twice
    full_close_at_most_what_remains a full close asks for no more than remained at its decision
    always_a_stop                   once a stop rests there is one, until nothing is held or all of it is being closed
    never_unguarded_for_long        held, no live owner and no stop: for UNGUARDED_SECONDS at most
    ended_means_ended               once stored as closed, no order of ours rests or executes
    acknowledged_is_never_lost      what a save acknowledged is stored from then on
    versions_grow_by_one            each commit of a position is the next version
    epochs_never_fall               neither the fence's nor a snapshot's
    stale_epoch_never_saves         what is written bears the fence's own epoch
    stale_epoch_never_sends         what a former owner sends is not taken
    decided_is_never_undone         hits, fills, an armed trail and an end stay what they are
    stop_never_loosens              the stored stop moves in the position's favour
    extremes_never_regress          peak, MAE and MFE
    no_actor_fails                  no actor raises, blocks or runs away
    unknown_is_resolved             in the calm no order is in doubt after RESOLVED_SECONDS
    book_equals_exchange            in the calm the books are the exchange's, what is held is protected
    same_end_as_without_crashes     where no tick was lost, crashes change nothing that counts

A broken one is recorded where it is seen, and raised before the next turn: inside a turn an actor would swallow it.
"""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from actors.domain.model import Intent, IntentStatus, OrderKind, Phase, Position
from actors.domain.shares import in_flight, runner_share, shares
from actors.domain.step import client_order_id
from actors.venues.base import OrderRequest
from actors.venues.paper_ledger import AccountRead
from persistence.codec import decode_snapshot
from persistence.store import Fence, Outcome
from tests.simulation.hall import is_stop
from tests.simulation.house import ORDER_TAG
from tests.simulation.moments import Moments
from tests.simulation.stories import Story
from tests.simulation.world import Life, Watcher, World

UNGUARDED_SECONDS = 45.0
RESOLVED_SECONDS = 30.0
# A close may be decided, wait for its gateway and travel for so long.
_DECIDED_SECONDS = 8.0
_ZERO = Decimal(0)


class Broken(AssertionError):
    """A promise that did not hold, by its name."""

    def __init__(self, invariant: str, why: str) -> None:
        super().__init__(f"{invariant}: {why}")
        self.invariant = invariant
        self.why = why


@dataclass(frozen=True, slots=True)
class Ledger:
    """The exchange's own account of one position: what our orders bought and sold, by leg, and what rests."""

    bought: Decimal
    sold: Decimal
    by_leg: dict[str, Decimal]
    others: Decimal
    stops: tuple[Any, ...]
    slot: AccountRead


@cache
def legs() -> dict[str, tuple[str, int]]:
    """Every id that an order of the campaign's position may bear: its leg and its generation."""
    wanted = [("entry", 40), ("stop", 40), ("time_limit", 40)]
    wanted += [(f"target-{number}", 60) for number in range(1, 8)]
    wanted += [(f"manual-{number}", 20) for number in range(1, 5)]
    wanted += [(f"resident-{number}", 3) for number in range(400)]
    return {
        client_order_id(ORDER_TAG, "p1", leg, generation): (leg, generation)
        for leg, most in wanted
        for generation in range(most)
    }


def leg_of_id(order_id: str) -> str:
    """The leg of one of our orders, empty for anybody else's."""
    return legs().get(order_id, ("", 0))[0]


class Promises(Watcher):
    """Looks on at one run."""

    def __init__(self, world: World, story: Story, moments: Moments) -> None:
        self.world = world
        self.story = story
        self.sign = story.side.sign
        self.moments = moments
        self.broken: Broken | None = None
        self.ledger: Ledger | None = None
        self.last: Position | None = None
        self.last_version = 0
        self._raw: bytes | None = None
        self._acked: tuple[int, bytes] = (0, b"")
        self._epoch = 0
        self._remaining: deque[tuple[float, Decimal]] = deque([(0.0, _ZERO)])
        self._stale: set[str] = set()
        self._taken: set[str] = set()
        self._had_stop = False
        self._unguarded_since: float | None = None
        self._ended_with: Decimal | None = None
        world.watcher = self
        world.ledger.on_accepted = self.accepted

    @property
    def taken_ids(self) -> set[str]:
        """The ids of our orders that the exchange took."""
        return self._taken

    def leg_of(self, order_id: str) -> str:
        """The leg of one of our orders, empty for anybody else's."""
        return leg_of_id(order_id)

    def break_(self, invariant: str, why: str) -> None:
        """Record the first promise that does not hold."""
        if self.broken is None:
            self.broken = Broken(invariant, why)
            self.world.say(f"BROKEN {invariant}: {why}")

    def hold(self, invariant: str, holds: bool, why: str) -> None:
        """It holds, or it is broken."""
        if not holds:
            self.break_(invariant, why)

    # -- before every turn ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Everything that may have changed since the last turn."""
        world = self.world
        if world.ledger.changed:
            world.ledger.changed = False
            self._look_at_exchange()
        if world.shard.positions.get("p1") is not self._raw:
            self._look_at_store()
        world.reverted = False
        if world.epoch != self._epoch:
            self.hold("epochs_never_fall", world.epoch > self._epoch, f"fence {world.epoch} after {self._epoch}")
            self._epoch = world.epoch
        self._never_unguarded_for_long()
        if world.simulator.failures:
            self.break_("no_actor_fails", str(world.simulator.failures[0]))
        if self.broken is not None:
            raise self.broken

    # -- the exchange --------------------------------------------------------------------------------------------------

    def _look_at_exchange(self) -> None:
        ledger = self.ledger = self._read_exchange()
        self._closed_at_most_the_quantity(ledger)
        self._closed_at_most_as_decided(ledger)
        self._always_a_stop(ledger)
        self._ended_means_ended(ledger)
        self.moments.at_exchange(self, ledger)

    def _read_exchange(self) -> Ledger:
        slot = self.world.venue()
        by_leg: dict[str, Decimal] = {}
        bought = sold = others = _ZERO
        for trade in slot.trades:
            leg = leg_of_id(trade.client_order_id)
            if not leg:
                others += trade.quantity if trade.side is self.story.entry_side else -trade.quantity
                continue
            by_leg[leg] = by_leg.get(leg, _ZERO) + trade.quantity
            if leg == "entry":
                bought += trade.quantity
            else:
                sold += trade.quantity
        stops = tuple(order for order in slot.orders if is_stop(order) and leg_of_id(order.client_order_id))
        return Ledger(bought=bought, sold=sold, by_leg=by_leg, others=others, stops=stops, slot=slot)

    def _closed_at_most_the_quantity(self, ledger: Ledger) -> None:
        self.hold("closed_at_most_the_quantity", ledger.bought <= self.story.quantity, f"entered {ledger.bought}")
        most = ledger.bought
        if self.story.crowd and any(leg.startswith("resident-") for leg in ledger.by_leg):
            # Where somebody else holds more in the slot, reduce-only does not end what is under way as a stop fires.
            parts = [closed for leg, closed in ledger.by_leg.items() if leg.startswith(("target-", "manual-"))]
            most += max(parts, default=_ZERO)
        self.hold("closed_at_most_the_quantity", ledger.sold <= most, f"closed {ledger.sold} of {ledger.bought}")

    def _closed_at_most_as_decided(self, ledger: Ledger) -> None:
        """A target closes its fraction of what was bought, a manual close what was accepted for it: with a fraction of
        one everything, also what the entry still gets.
        """
        accepted: dict[str, Decimal] | None = None
        for leg, closed in ledger.by_leg.items():
            if leg.startswith("target-"):
                share = self.story.shares.get(int(leg.removeprefix("target-")), _ZERO) * ledger.bought
                self.hold("closed_at_most_as_decided", closed <= share, f"{leg} closed {closed}, its share is {share}")
            elif leg.startswith("manual-"):
                if accepted is None:
                    position = self._present()
                    requests = () if position is None else position.close_requests
                    accepted = {request.leg: request.quantity for request in requests if request.fraction < 1}
                decided = accepted.get(leg, ledger.bought)
                self.hold(
                    "closed_at_most_as_decided", closed <= decided, f"{leg} closed {closed} of {decided} accepted"
                )

    def _always_a_stop(self, ledger: Ledger) -> None:
        held = ledger.bought - ledger.sold + ledger.others
        if held <= 0 or self.story.crowd or ledger.others:
            self._had_stop = False
        elif ledger.stops:
            self._had_stop = True
        elif self._had_stop:
            closing = any(leg in ("stop", "time_limit") for leg in ledger.by_leg)
            closing = closing or any(leg.startswith("resident-") for leg in ledger.by_leg)
            stored = self._present()
            # While the venue is read to hold more than is tracked, stops are moved cancel-first.
            closing = closing or (stored is not None and (stored.closing_reason is not None or stored.excess > 0))
            self.hold("always_a_stop", closing, f"{held} is held and no stop rests, where one did")

    def _ended_means_ended(self, ledger: Ledger) -> None:
        if self._ended_with is None:
            return
        ours = [order for order in ledger.slot.orders if leg_of_id(order.client_order_id)]
        self.hold("ended_means_ended", not ours, f"{[leg_of_id(order.client_order_id) for order in ours]} rest")
        traded = ledger.bought + ledger.sold
        self.hold("ended_means_ended", traded == self._ended_with, "an order of ours was executed after the end")

    def _never_unguarded_for_long(self) -> None:
        ledger, now = self.ledger, self.world.seconds
        held = _ZERO if ledger is None else ledger.bought - ledger.sold + ledger.others
        owned = any(life.awake and life.epoch == self._epoch for life in self.world.lives)
        if held <= 0 or ledger is None or ledger.stops or owned:
            self._unguarded_since = None
        elif self._unguarded_since is None:
            self._unguarded_since = now
        else:
            lasts = now - self._unguarded_since
            self.hold("never_unguarded_for_long", lasts <= UNGUARDED_SECONDS, f"{held} for {lasts:.1f} s")

    # -- what leaves a keeper ------------------------------------------------------------------------------------------

    def sends(self, life: Life, request: Any) -> None:
        """An order or a cancel is about to leave."""
        if life.epoch < self.world.epoch:
            self._stale.add(request.request_id)
            self.moments.reach("a former owner sends what the exchange must not take")
        if not isinstance(request, OrderRequest):
            return
        leg = leg_of_id(request.client_order_id)
        self.hold("ids_are_the_legs_own", bool(leg), f"{request.client_order_id} is nobody's")
        if request.request_id in self._stale:
            return
        stored = self._present()
        intent = None if stored is None else _intent(stored, request.client_order_id)
        may_be_full = leg in ("stop", "time_limit") or (leg.startswith("manual-") and (intent is None or intent.full))
        if may_be_full:
            self._full_close_at_most_what_remains(request, stored)
            if intent is None:
                self.moments.reach("a full close leaves before it is durable")
        elif leg != "resident-0":
            self.hold("sent_only_what_is_durable", intent is not None, f"{leg} is sent, and its intent is not stored")

    def _full_close_at_most_what_remains(self, request: OrderRequest, stored: Position | None) -> None:
        ledger = self.ledger
        now = self.world.seconds
        recent = [remaining for at, remaining in self._remaining if at >= now - _DECIDED_SECONDS]
        before = [remaining for at, remaining in self._remaining if at < now - _DECIDED_SECONDS]
        most = max([*recent, *before[-1:]])
        if ledger is not None and (stored is None or stored.quantity < ledger.bought):
            most = max(most, ledger.bought)
        self.hold(
            "full_close_at_most_what_remains",
            request.quantity <= most,
            f"{leg_of_id(request.client_order_id)} asks for {request.quantity} where {most} remains",
        )

    def accepted(self, request: OrderRequest) -> None:
        """The exchange took an order."""
        leg = leg_of_id(request.client_order_id)
        if not leg:
            return
        self.hold("executed_once", request.client_order_id not in self._taken, f"{leg} was taken twice under one id")
        self._taken.add(request.client_order_id)
        if request.request_id in self._stale:
            guarded = leg in ("stop", "time_limit") or leg.startswith("manual-")
            self.hold("stale_epoch_never_sends", guarded, f"a former owner's {leg} was taken")
        self.moments.accepted(self, leg)

    # -- the store -----------------------------------------------------------------------------------------------------

    def _present(self) -> Position | None:
        if self.world.shard.positions.get("p1") is not self._raw:
            self._look_at_store()
        return self.last

    def _look_at_store(self) -> None:
        raw = self.world.shard.positions.get("p1")
        reverted = self.world.reverted
        self.world.reverted = False
        self._raw = raw
        version, acked = self._acked
        if raw is None:
            self.hold("acknowledged_is_never_lost", not version, f"version {version} is gone")
            self.last, self.last_version = None, 0
            return
        snapshot = decode_snapshot("p1", raw)
        self.hold(
            "acknowledged_is_never_lost",
            snapshot.version > version or (snapshot.version == version and raw == acked),
            f"version {version} was acknowledged, {snapshot.version} is stored",
        )
        before, self.last = self.last, self.world.stored()
        after = self.last
        assert after is not None
        self._remaining.append((self.world.seconds, after.remaining))
        if len(self._remaining) > 40:
            self._remaining.popleft()
        if not reverted:
            self.hold(
                "versions_grow_by_one",
                snapshot.version == self.last_version + 1,
                f"{snapshot.version} after {self.last_version}",
            )
            self.hold(
                "stale_epoch_never_saves",
                snapshot.epoch == self.world.epoch,
                f"{snapshot.epoch} under {self.world.epoch}",
            )
            if before is not None:
                self._compare(before, after)
        self.last_version = snapshot.version
        if after.phase is Phase.CLOSED and self._ended_with is None and self.ledger is not None:
            self._ended_with = self.ledger.bought + self.ledger.sold
            self._ended_means_ended(self.ledger)
        self.moments.stored(self, before, after)

    def _compare(self, before: Position, after: Position) -> None:
        self._decided_is_never_undone(before, after)
        self._stop_never_loosens(before, after)
        self._extremes_never_regress(before, after)

    def _decided_is_never_undone(self, before: Position, after: Position) -> None:
        name = "decided_is_never_undone"
        hit = {target.number for target in after.targets if target.hit}
        for target in before.targets:
            self.hold(name, not target.hit or target.number in hit, f"target {target.number} was hit")
        booked = {fill.trade_id for fill in after.fills}
        self.hold(name, all(fill.trade_id in booked for fill in before.fills), "a fill was forgotten")
        self.hold(name, not before.trailing_stop_active or after.trailing_stop_active, "the trail was armed")
        self.hold(name, before.phase is not Phase.CLOSED or after.phase is Phase.CLOSED, "it was closed")
        self.hold(name, before.closing_reason is None or after.closing_reason is not None, "it was closing")
        self.hold(name, before.quantity <= after.quantity, "its quantity fell")

    def _stop_never_loosens(self, before: Position, after: Position) -> None:
        if before.stop_price is None or not before.entry_complete:
            return
        better = after.stop_price is not None and self.sign * (after.stop_price - before.stop_price) >= 0
        self.hold("stop_never_loosens", better, f"{before.stop_price} -> {after.stop_price}")

    def _extremes_never_regress(self, before: Position, after: Position) -> None:
        name = "extremes_never_regress"
        if before.peak_price is not None and before.trailing_stop_active:
            kept = after.peak_price is not None and self.sign * (after.peak_price - before.peak_price) >= 0
            self.hold(name, kept, f"peak {before.peak_price} -> {after.peak_price}")
        # By price: while an entry is filled in parts, the entry price that a percent refers to moves.
        for what, old, new, sign in (("MAE", before.mae, after.mae, -1), ("MFE", before.mfe, after.mfe, 1)):
            if old is not None:
                kept = new is not None and sign * self.sign * (new.price - old.price) >= 0
                self.hold(name, kept, f"{what} {old.price} -> {new.price if new else None}")

    def acknowledged(self, life: Life, epoch: int, outcome: Outcome) -> None:
        """A save was acknowledged: from now on it is stored."""
        snapshot = outcome.saved.get("p1")
        if snapshot is None:
            return
        self._present()
        raw = self.world.shard.positions.get("p1")
        stored = None if raw is None else decode_snapshot("p1", raw)
        kept = stored is not None and raw is not None and stored.version >= snapshot.version
        self.hold("acknowledged_is_never_lost", kept, f"version {snapshot.version} is told and not stored")
        if raw is not None and stored is not None and stored.version == snapshot.version:
            same = stored.write_id == snapshot.write_id and stored.epoch == snapshot.epoch
            self.hold("acknowledged_is_never_lost", same, f"version {snapshot.version} is another one's")
            self._acked = (snapshot.version, raw)
        self.hold("epochs_never_fall", snapshot.epoch <= self.world.epoch, "acknowledged under a future epoch")

    def taken(self, life: Life, fence: Fence) -> None:
        """A lease was taken."""
        self.moments.taken(self, life)

    def fenced(self, life: Life, inside: str) -> None:
        """A former owner's save was refused."""
        self.moments.reach("a former owner's save is refused")

    def died(self, life: Life, what: str) -> None:
        """A keeper vanishes."""
        self.moments.died(self, life, what)

    def happened(self, what: str) -> None:
        """Something to count."""
        self.moments.reach(what)

    # -- in the calm ---------------------------------------------------------------------------------------------------

    def in_doubt(self) -> list[str]:
        """The orders that are neither done nor at rest."""
        position = self._present()
        return [] if position is None else [intent.leg for intent in position.intents if in_flight(intent)]

    def unknown_is_resolved(self) -> None:
        """Called RESOLVED_SECONDS after the last trouble."""
        self.hold("unknown_is_resolved", not self.in_doubt(), f"{self.in_doubt()} are in doubt")
        self.look()

    def book_equals_exchange(self) -> None:
        """The books are the exchange's, nothing is on its way, and what is held is protected."""
        name, world = "book_equals_exchange", self.world
        life = world.awake
        reasons = (
            ("no keeper runs",) if life is None or life.house is None else life.house.directory.reasons_not_ready()
        )
        self.hold(name, not reasons, f"{reasons}")
        ledger, position = self._read_exchange(), self._present()
        # What others hold in the same slot is theirs; what they closed of ours is gone.
        held = max(_ZERO, ledger.bought - ledger.sold + min(_ZERO, ledger.others))
        if position is None or life is None or life.house is None:
            self.hold(
                name, not ledger.slot.trades and not ledger.slot.orders, "nothing is stored, and there are orders"
            )
            self.look()
            return
        shown = life.house.directory.positions.get("p1")
        self.hold(name, shown is not None and shown.position == world.stored(), "what is shown is not what is stored")
        self.hold(name, position.remaining + position.dust == held, f"{position.remaining} tracked, {held} held")
        booked = {(fill.client_order_id, fill.trade_id, fill.quantity, fill.price) for fill in position.fills}
        traded = {(trade.client_order_id, trade.trade_id, trade.quantity, trade.price) for trade in ledger.slot.trades}
        missing = {trade for trade in traded - booked if leg_of_id(trade[0])}
        self.hold(name, not missing, f"{missing} were never booked")
        made_up = {fill for fill in booked - traded if leg_of_id(fill[0])}
        self.hold(name, not made_up, f"{made_up} never happened")
        self._at_rest(position, ledger, held)
        self.look()

    def _at_rest(self, position: Position, ledger: Ledger, held: Decimal) -> None:
        name = "book_equals_exchange"
        ours = [order for order in ledger.slot.orders if leg_of_id(order.client_order_id)]
        if position.phase is Phase.CLOSED or not held:
            self.hold(name, not ours, "orders rest where nothing is held")
            live = [intent.leg for intent in position.intents if intent.live]
            self.hold(name, not live and bool(position.close_reason), f"{live} live, closed: {position.close_reason}")
            return
        self.hold(name, position.protected, "what is held is not protected")
        covered = sum((order.quantity - order.filled for order in ledger.stops), _ZERO)
        self.hold(name, len(ledger.stops) == 1 and covered == held, f"stops for {covered}, {held} is held")
        self._rests_as_planned(position, ledger)

    def _rests_as_planned(self, position: Position, ledger: Ledger) -> None:
        name = "book_equals_exchange"
        limit = OrderKind.LIMIT
        found = {order.client_order_id: order for order in ledger.slot.orders if order.kind is limit}
        known = {i.client_order_id: i.leg for i in position.intents if i.live and i.limit_price}
        self.hold(name, sorted(found) == sorted(known), f"{sorted(known.values())} recorded, {len(found)} rest")
        resting = sum((order.quantity - order.filled for order in found.values()), _ZERO)
        room = not found or resting + runner_share(position) <= position.remaining
        self.hold(name, room, f"{resting} rests for targets of {position.remaining}")
        missing = [n for n, share in shares(position).items() if share and f"target-{n}" not in known.values()]
        self.hold(name, not missing, f"targets {missing} rest nowhere")


def _intent(position: Position, order_id: str) -> Intent | None:
    return next((intent for intent in position.intents if intent.client_order_id == order_id), None)


def unsettled(position: Position, leg: str) -> bool:
    """Whether an order of this leg was decided and its end is not recorded."""
    return any(
        intent.leg == leg and intent.status in (IntentStatus.SENT, IntentStatus.UNKNOWN) for intent in position.intents
    )
