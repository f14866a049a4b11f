"""More promises, each of which a planted fault broke unseen (planted.py).

one_exit_in_flight              at most one partial is under way, and at most one full close
sent_only_what_was_wanted       no partial leaves that was never wanted in a stored state
sent_only_within_its_price      an owed partial leaves within its price bound, by the price that its keeper knows
sent_only_within_the_lease      a request expires before the lease under which it was signed
resent_only_past_its_expiry     an id is not sent again while the first request may still arrive (a full close that was
                                lost with its sender, neither saved nor spilled, may be, by the next life, where nobody
                                else holds anything: only one of the two can be executed)
never_at_rest_and_in_software   a target whose order rests is not also closed at the market
former_stops_are_replaced       no partial leaves while a stop of an owner that may live still rests
ours_is_never_somebody_elses    what our own orders executed is not booked as external
nothing_decided_unreconciled    no order is decided between a comeback and its reconciliation
shown_is_stored                 nobody is shown what is not stored
lease_ends_with_the_stores      a keeper believes in its lease no longer than the store does
spilled_is_not_forgotten        what was written to the local disk is in the next state of the same owner
watched_prices_are_kept         a price that a ready keeper watched is in MAE, MFE within WATCHED_SECONDS
told_is_on_record               every event that was published is in the stored trail
"""

from collections import Counter, deque
from decimal import Decimal
from typing import Any

from actors.domain.model import Intent, IntentStatus, OrderKind, Phase, Position
from actors.venues.base import OrderRequest
from persistence.codec import decode_event, decode_snapshot
from persistence.failure_log import Failure
from persistence.store import Fence
from tests.simulation.house import SYMBOL
from tests.simulation.promises import Promises, leg_of_id
from tests.simulation.world import Life

WATCHED_SECONDS = 20.0
_SHARD = "paper"
_UNDER_WAY = (IntentStatus.SENT, IntentStatus.UNKNOWN)


def _ids(position: Position | None) -> set[str]:
    return set() if position is None else {intent.client_order_id for intent in position.intents}


def _partial(leg: str) -> bool:
    return leg.startswith(("target-", "manual-"))


class MorePromises(Promises):
    """The promises of its base, and these."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bytes: bytes | None = None
        self._state: Position | None = None
        self._version = 0
        self._wanted: set[str] = set()
        self._senders: dict[str, Life] = {}
        self._handed_on: set[str] = set()
        self._sent: dict[str, tuple[OrderRequest, Life]] = {}
        self._watched: deque[tuple[float, Decimal]] = deque()
        self._watcher: Life | None = None
        self._expiries: dict[tuple[str, int], float] = {}
        self._shown: dict[int, object] = {}
        self._spill: tuple[str, Failure] | None = None

    def look(self) -> None:
        """Everything that may have changed since the last turn."""
        if self.world.shard.positions.get("p1") is not self._bytes:
            self._stored_anew()
        for life in self.world.lives:
            if not life.dead and life.house is not None:
                self._lease_ends_with_the_stores(life)
                self._shown_is_stored(life)
        self._watch_prices()
        super().look()

    # -- the store -----------------------------------------------------------------------------------------------------

    def _stored_anew(self) -> None:
        raw = self._bytes = self.world.shard.positions.get("p1")
        before, version = self._state, self._version
        if raw is None:
            self._state, self._version = None, 0
            return
        snapshot = decode_snapshot("p1", raw)
        after = self._state = self.world.stored()
        self._version = snapshot.version
        if after is None or snapshot.version <= version:
            return
        if after.closing_reason is None:
            self._wanted.update(intent.client_order_id for intent in after.intents if not intent.status.terminal)
        under_way = [intent for intent in after.intents if intent.status in _UNDER_WAY and intent.reduce_only]
        market = [intent for intent in under_way if not intent.resident and intent.kind is OrderKind.MARKET]
        partials = [intent.leg for intent in market if not intent.full]
        closes = [intent.leg for intent in market if intent.full]
        self.hold("one_exit_in_flight", len(partials) <= 1, f"{partials} are under way")
        self.hold("one_exit_in_flight", len(closes) <= 1, f"{closes} are under way")
        for fill in after.fills:
            ours = bool(leg_of_id(fill.client_order_id))
            theirs = fill.leg.startswith("external")
            self.hold("ours_is_never_somebody_elses", not (ours and theirs), f"{fill.quantity} booked as {fill.leg}")
        self._nothing_decided_unreconciled(before, after)
        self._spilled_is_not_forgotten(after)

    def _nothing_decided_unreconciled(self, before: Position | None, after: Position) -> None:
        if before is None or not after.reconciling:
            return
        name, known = "nothing_decided_unreconciled", {intent.client_order_id for intent in before.intents}
        fresh = [i.leg for i in after.intents if i.client_order_id not in known and i.status in _UNDER_WAY]
        self.hold(name, not fresh or not before.reconciling, f"{fresh} before the slot was read")

    def taken(self, life: Life, fence: Fence) -> None:
        """A lease was taken: the spill that its new owner must take up, if there is one."""
        super().taken(life, fence)
        raw = self.world.shard.positions.get("p1")
        self._handed_on = set() if raw is None else _ids(self.world.stored())
        found = self.world.logs[life.machine].spills(_SHARD).get("p1")
        self._spill = None
        if raw is None or found is None or found.grew_from is None or found.epoch != fence.epoch - 1:
            return
        stored, grew = decode_snapshot("p1", raw), found.grew_from
        if (stored.epoch, stored.version, stored.write_id) == (grew.epoch, grew.version, grew.write_id):
            self._spill = (life.machine, found)
            intents = () if found.state is None else found.state.get("intents", ())
            self._handed_on |= {intent["client_order_id"] for intent in intents}

    def _spilled_is_not_forgotten(self, after: Position) -> None:
        if self._spill is None or self._spill[1].state is None:
            return
        hit = {target["number"] for target in self._spill[1].state.get("targets", ()) if target.get("hit")}
        lost = hit - {target.number for target in after.targets if target.hit}
        self._spill = None
        self.hold("spilled_is_not_forgotten", not lost, f"targets {sorted(lost)} were hit")

    # -- what leaves a keeper ------------------------------------------------------------------------------------------

    def sends(self, life: Life, request: Any) -> None:
        """An order or a cancel is about to leave."""
        if self.world.shard.positions.get("p1") is not self._bytes:
            self._stored_anew()
        if isinstance(request, OrderRequest):
            self._sends_order(life, request)
        super().sends(life, request)

    def _sends_order(self, life: Life, request: OrderRequest) -> None:
        order_id, leg = request.client_order_id, leg_of_id(request.client_order_id)
        intent = self._intent_of(order_id)
        full = leg in ("stop", "time_limit") or (leg.startswith("manual-") and (intent is None or intent.full))
        earlier, sender = self._sent.get(order_id, (None, life))
        if earlier is not None and request.signed_at <= earlier.signed_at:
            # Of a keeper that stood still meanwhile: it is this one that came first.
            earlier = None
        else:
            self._sent[order_id] = request, life
        self._senders[order_id] = life
        if not full:
            self._within_the_lease(life, request, leg)
        if earlier is not None and not self._settled(earlier):
            at_once = self._arrives_by(earlier) > self.world.seconds
            if full and sender is not life and order_id not in self._handed_on and not self.story.crowd:
                # A full close that another life sent and never saved: this one cannot know of it. Where nobody else
                # holds anything the exchange takes the first of the two, and has nothing to reduce for the second.
                at_once = False
            self.hold("resent_only_past_its_expiry", not at_once, f"{leg} again, and the first may still arrive")
        if life.epoch < self.world.epoch or full or not _partial(leg):
            return
        self.hold("sent_only_what_was_wanted", order_id in self._wanted, f"{leg} was never wanted once stored")
        self._within_its_price(life, request, intent)
        ledger = self.ledger
        if ledger is not None:
            at_rest = [
                leg_of_id(order.client_order_id) for order in ledger.slot.orders if order.kind is OrderKind.LIMIT
            ]
            both = request.kind is OrderKind.MARKET and leg in at_rest
            self.hold("never_at_rest_and_in_software", not both, f"{leg} rests, and is closed at the market")
            makers = [self._senders.get(order.client_order_id, life) for order in ledger.stops]
            former = [maker.owner for maker in makers if maker.machine != life.machine and maker is not life]
            self.hold("former_stops_are_replaced", not former, f"{leg} leaves while the stop of {former} rests")

    def _within_its_price(self, life: Life, request: OrderRequest, intent: Intent | None) -> None:
        quote = None if life.house is None else life.house.directory.quote("paper", SYMBOL)
        if quote is None or intent is None or intent.level is None or self._state is None:
            return
        plan = self._state.plan
        price = quote.price(plan.targets_source, self._state.side)
        if price is None or request.kind is not OrderKind.MARKET:
            return
        worst = intent.level * (1 - self.sign * plan.max_slippage_percent / 100)
        within = self.sign * (price - worst) >= 0
        self.hold("sent_only_within_its_price", within, f"{intent.leg} leaves at {price}, its level is {intent.level}")

    def _within_the_lease(self, life: Life, request: OrderRequest, leg: str) -> None:
        lease = None if life.house is None else life.house.leases.get(_SHARD)
        if lease is None:
            return
        clock = self.world.simulator.clock
        ends = self._arrives_by(request) - self.world.seconds + clock.monotonic()
        self.hold("sent_only_within_the_lease", ends <= lease.deadline, f"{leg} outlives its lease")

    def _signed_at(self, request: OrderRequest) -> float:
        return self.world.seconds - (self.world.simulator.clock.now() - request.signed_at) / 1_000_000

    def _arrives_by(self, request: OrderRequest) -> float:
        return self._signed_at(request) + request.expires_after_seconds

    def _settled(self, request: OrderRequest) -> bool:
        """Whether the end of a request is known: the exchange has refused it, or it never left."""
        if any(refused.request_id == request.request_id for refused, _ in self.world.ledger.refused):
            return True
        for rule, subject in self.world.faults.taken:
            if getattr(subject, "request_id", "") == request.request_id and rule.error not in (None, "unknown_after"):
                return rule.error != "unknown"
        return False

    def _intent_of(self, order_id: str) -> Intent | None:
        intents = () if self._state is None else self._state.intents
        return next((intent for intent in intents if intent.client_order_id == order_id), None)

    # -- what a keeper believes and shows ------------------------------------------------------------------------------

    def _lease_ends_with_the_stores(self, life: Life) -> None:
        held = self.world.shard.lease
        if held is not None:
            self._expiries[held[0], held[1]] = held[2]
        lease = None if life.house is None else life.house.leases.get(_SHARD)
        if lease is None or lease.fenced or life.still:
            return
        ends = self._expiries.get((life.owner, lease.epoch))
        if ends is not None:
            late = lease.deadline - ends
            self.hold("lease_ends_with_the_stores", late <= 0.000_01, f"{life.owner} believes {late:.3f} s too long")

    def _shown_is_stored(self, life: Life) -> None:
        shown = None if life.house is None else life.house.directory.positions.acknowledged("p1")
        if shown is None or self._shown.get(life.number) is shown or shown.position is None:
            return
        self._shown[life.number] = shown
        state = self._state
        if state is None or shown.version > self._version:
            self.hold("shown_is_stored", life.still, f"version {shown.version} is shown, {self._version} is stored")
        elif shown.version == self._version and life.epoch == self.world.epoch:
            facts = ("phase", "fills", "targets", "closing_reason", "close_requests", "plan_revision")
            other = [name for name in facts if getattr(shown.position, name) != getattr(state, name)]
            self.hold("shown_is_stored", not other, f"{other} of version {shown.version} are not what is stored")

    # -- prices --------------------------------------------------------------------------------------------------------

    def _watch_prices(self) -> None:
        life, now, state = self.world.awake, self.world.seconds, self._state
        quote = None if life is None or life.house is None else life.house.directory.quote(_SHARD, SYMBOL)
        mark = None if quote is None else quote.mark
        watches = life is not None and life is self._watcher and life.ready and life.epoch == self.world.epoch
        open_ = state is not None and state.entry_complete and state.closing_reason is None and state.remaining > 0
        if not watches or not open_ or state is None or state.phase is Phase.CLOSED or self.world.waits:
            self._watched.clear()
            self._watcher = life
            return
        if mark is not None and (not self._watched or self._watched[-1][1] != mark):
            self._watched.append((now, mark))
        while self._watched and self._watched[0][0] < now - WATCHED_SECONDS:
            self._is_kept(self._watched.popleft()[1])

    def _is_kept(self, price: Decimal) -> None:
        state = self._state
        if state is None or state.mae is None or state.mfe is None:
            return
        low, high = sorted((state.mae.price, state.mfe.price))
        if not low <= price <= high:
            now = self.world.stored()
            if now is not None and now.mae is not None and now.mfe is not None:
                low, high = sorted((now.mae.price, now.mfe.price))
        self.hold("watched_prices_are_kept", low <= price <= high, f"{price} was watched, kept is {low} to {high}")

    # -- in the calm ---------------------------------------------------------------------------------------------------

    def book_equals_exchange(self) -> None:
        """And the trail has what was told."""
        life = self.world.awake
        if life is not None and life.house is not None:
            if life.house.directory.lags:
                # A price may have come just now.
                self.world.pass_time(2.0)
            # An earlier life of the shard may leave its last word there, which is nobody's lag.
            lags = dict(life.house.directory.lags) if self.world.epoch == 1 else {}
            self.hold("book_equals_exchange", not lags, f"{lags} changes are not saved")
        stored = Counter(self._line(decode_event(raw)) for _, raw in self.world.shard.events)
        told = {self._line(event) for event in self.world.events if "fields" in event and event.get("position")}
        missing = sorted(line for line in told if line not in stored)
        self.hold("told_is_on_record", not missing, f"{missing[:1]} of {len(told)}")
        super().book_equals_exchange()

    @staticmethod
    def _line(event: Any) -> str:
        return f"{event.get('name')} {event.get('at')} {sorted(str(each) for each in event.get('fields', {}).items())}"
