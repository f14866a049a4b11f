"""What the exchange's own journal says of a campaign, held against what was asked for and what the keeper shows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.domain.step import ORDER_TAG_DIGITS, client_order_id
from actors.venues.exchange_audit import Audit, Execution, Rest
from scripts.crash_exchange_world import ACCOUNT

GENERATIONS = 12
RESIDENTS = 4000
MICROS_PER_SECOND = 1_000_000
# A stop that somebody cancels by hand is missed at the next look around at the latest (30 s); a process that was killed
# is back, reconciled and protected within 15 s more.
UNPROTECTED_SECONDS = 45.0


@dataclass(slots=True)
class Played:
    """One position that was asked for, and the parts of it that somebody closed by request."""

    id: str
    symbol: str
    side: str
    quantity: str
    plan: Any
    answered: bool = False
    ended: bool = False
    manual: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Watch:
    """What the keeper showed along the way: versions and epochs may only grow, and a hit target stays hit."""

    seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def saw(self, position: Mapping[str, Any]) -> None:
        """Compare with what was shown of it before."""
        hits = sum(target["hit"] for target in position["targets"])
        now = (position["version"], position["epoch"], hits)
        before = self.seen.get(position["id"], now)
        if any(later < earlier for later, earlier in zip(now, before, strict=True)):
            self.faults.append(f"{position['id']}: version, epoch or hits went back from {before} to {now}")
        self.seen[position["id"]] = now


def judge(
    audit: Audit,
    positions: Sequence[Mapping[str, Any]],
    asked: Mapping[str, Played],
    *,
    tags: Sequence[str],
    state: Any,
    outages: Sequence[float],
    watch: Watch,
    say: Callable[[str], object],
    story: str,
) -> list[str]:
    """Every way in which a promise was broken, in words; empty when none was.

    `tags` are what the orders of each keeper begin with, `outages` the moments of kills.
    """
    faults = list(watch.faults)
    executed = audit.executed()
    names = {}
    for name in asked:
        for leg in [*_legs(asked[name]), *(f"resident-{number}" for number in range(RESIDENTS))]:
            for generation in range(1 if leg.startswith("resident-") else GENERATIONS):
                # Whichever keeper sent it: what follows its tag says what it is for.
                names[client_order_id("", name, leg, generation)] = (name, leg)
    ours: dict[str, dict[str, list[Execution]]] = {}
    for order_id, executions in executed.items():
        if not order_id.startswith(tuple(tags)):
            continue
        found = names.get(order_id[ORDER_TAG_DIGITS:])
        if found is None:
            faults.append(f"an order with our tag is of no position: {order_id}")
            continue
        ours.setdefault(found[0], {}).setdefault(found[1], []).extend(executions)
    shown = {position["id"]: position for position in positions}
    gaps: list[tuple[float, str]] = []
    for name, legs in ours.items():
        position = shown.get(name)
        if position is None:
            faults.append(f"{name}: the exchange executed orders of it, and the keeper does not know it")
            continue
        faults += _quantities(position, asked[name], legs)
        faults += _books(position, legs)
        gaps += [(seconds, name) for seconds in _unprotected(audit, position, legs, names)]
    faults += _sizes(positions, state)
    longest = max(gaps, default=(0.0, "none"))
    if longest[0] > UNPROTECTED_SECONDS:
        faults.append(f"{longest[1]}: without a live stop for {longest[0]:.1f} s")
    closed = Counter(position["close_reason"] for position in positions if position["phase"] == "closed")
    say(story)
    legs_executed = sum(len(legs) for legs in ours.values())
    say(
        f"{len(positions)} positions, {legs_executed} legs executed, ended by {dict(closed)}; "
        f"{len(audit.executions)} executions, {len(audit.requests)} orders and cancellations, {len(outages)} kills"
    )
    say(f"longest without a live stop: {longest[0]:.1f} s (bound {UNPROTECTED_SECONDS:.0f} s), {longest[1]}")
    for fault in faults[:50]:
        say(f"  {fault}")
    say(f"{len(faults)} broken promises")
    return faults


def _legs(one: Played) -> list[str]:
    targets = [f"target-{number}" for number in range(1, 6)]
    manual = [f"manual-{number}" for number in range(1, 40)]
    return ["entry", *targets, "stop", "time_limit", *manual]


def _total(executions: Sequence[Execution]) -> Decimal:
    return sum((each.quantity for each in executions), Decimal(0))


def _quantities(position: Mapping[str, Any], one: Played, legs: Mapping[str, Sequence[Execution]]) -> list[str]:
    """No leg over what was planned for it, no total over the position."""
    faults = []
    planned = {f"target-{target['number']}": Decimal(target["quantity"]) for target in position["targets"]}
    planned |= {leg: Decimal(quantity) for leg, quantity in one.manual.items()}
    planned["entry"] = Decimal(one.quantity)
    entered = _total(legs.get("entry", ()))
    for leg, executions in legs.items():
        if _total(executions) > planned.get(leg, entered):
            faults.append(f"{one.id}: {leg} executed {_total(executions)} of {planned.get(leg, entered)}")
    closed = sum((_total(executions) for leg, executions in legs.items() if leg != "entry"), Decimal(0))
    if closed > entered:
        faults.append(f"{one.id}: closed {closed} of {entered}")
    return faults


def _books(position: Mapping[str, Any], legs: Mapping[str, Sequence[Execution]]) -> list[str]:
    """Every execution of ours is in the keeper's books once, under its leg, at its price; and nothing else is."""
    truth = Counter(
        ("stop" if leg.startswith("resident-") else leg, each.quantity.normalize(), each.price.normalize())
        for leg, executions in legs.items()
        for each in executions
    )
    booked = Counter(
        (fill["leg"], Decimal(fill["quantity"]).normalize(), Decimal(fill["price"]).normalize())
        for fill in position["fills"]
        if not fill["leg"].startswith("external-")
    )
    missing, invented = truth - booked, booked - truth
    faults = [f"{position['id']}: not in the books: {list(missing.elements())}"] if missing else []
    return faults + ([f"{position['id']}: booked, and never executed: {list(invented.elements())}"] if invented else [])


def _sizes(positions: Sequence[Mapping[str, Any]], state: Any) -> list[str]:
    """What the keeper says it holds is what the exchange holds."""
    held = state["accounts"][ACCOUNT]["positions"]
    faults = []
    for position in positions:
        if position["phase"] == "closed":
            continue
        sign = 1 if position["side"] == "long" else -1
        there = Decimal(held.get(position["symbol"], {"quantity": "0"})["quantity"])
        if there != sign * Decimal(position["remaining"]):
            faults.append(f"{position['id']}: holds {position['remaining']}, the exchange {there}")
        if position["phase"] == "quarantined":
            faults.append(f"{position['id']}: is quarantined")
    return faults


def _unprotected(
    audit: Audit,
    position: Mapping[str, Any],
    legs: Mapping[str, Sequence[Execution]],
    names: Mapping[str, tuple[str, str]],
) -> list[float]:
    """How long, each time, the position was open at the exchange without a stop of ours at rest."""
    entry = legs.get("entry")
    if not entry:
        return []
    sign = 1 if position["side"] == "long" else -1
    slot = (ACCOUNT, position["symbol"])
    sizes = [size for size in audit.sizes if (size.account, size.symbol) == slot and size.at >= entry[0].at]
    ended = next((size.at for size in sizes if size.quantity * sign <= 0), None)
    until = ended if ended is not None else max(size.at for size in audit.sizes)
    stops: list[Rest] = []
    for rest in audit.stops(*slot):
        name, _ = names.get(rest.client_order_id[ORDER_TAG_DIGITS:], ("", ""))
        if name == position["id"]:
            stops.append(rest)
    covered = sorted((max(stop.began, entry[0].at), min(stop.ended or until, until)) for stop in stops)
    gaps, at = [], entry[0].at
    for began, over in covered:
        if began > at:
            gaps.append((began - at) / MICROS_PER_SECOND)
        at = max(at, over)
    if until > at:
        gaps.append((until - at) / MICROS_PER_SECOND)
    return gaps
