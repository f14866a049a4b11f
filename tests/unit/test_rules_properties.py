"""What holds for every plan, on every path of prices, whatever the venue does to our orders."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.domain import schema
from actors.domain.advance import advance
from actors.domain.errors import DomainError, PlanRefused
from actors.domain.events import OrderReported, PriceMoved, Reconciled, Recovered, Submit
from actors.domain.model import ZERO, Position
from tests.unit.driver import SECOND, START, D, Desk, opened

ENTRY = 1000
CENTRE = 2 * ENTRY

prices = st.integers(min_value=-150, max_value=150).map(lambda move: D(ENTRY) + D(move) / 2)
paths = st.lists(prices, min_size=1, max_size=25)
QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """A plan for a long at 1000 whose levels are all prices, so that its mirror image is exact."""
    plan: dict[str, Any] = {"stop": {"price": str(ENTRY - draw(st.integers(1, 80)))}}
    if draw(st.booleans()):
        plan["trail"] = {"price": str(draw(st.integers(1, 60)))}
    levels = sorted(draw(st.sets(st.integers(1, 70), max_size=4)))
    budget, targets = 10, []
    for level in levels:
        share = draw(st.integers(0, budget))
        budget -= share
        then: dict[str, Any] = {}
        if draw(st.booleans()):
            then["stop"] = draw(
                st.one_of(
                    st.just({"breakeven": "price"}),
                    st.integers(-20, 30).map(lambda lock: {"price": str(ENTRY - lock)}),
                )
            )
        if draw(st.booleans()):
            then["trail"] = {"price": str(draw(st.integers(1, 40)))}
        target = {"at": {"price": str(ENTRY + level)}, "close": str(D(share) / 10), "then": then}
        if share and draw(st.booleans()):
            target |= {"order": "limit", "actions_on": draw(st.sampled_from(["fill", "touch"]))}
        targets.append(target)
    plan["targets"] = targets
    if draw(st.booleans()):
        plan["time_limit_seconds"] = draw(st.integers(1, 40))
    plan["max_slippage_percent"] = "100"
    return plan


def mirrored(value: Any) -> Any:
    """The same plan reflected at the entry price: every level p becomes 2000 - p; distances stay."""
    if isinstance(value, list):
        return [mirrored(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {"price": str(CENTRE - D(item["price"]))}
        if key in ("stop", "at") and "price" in item
        else item
        if key == "trail"
        else mirrored(item)
        for key, item in value.items()
    }


def reflected(price: Decimal | None) -> Decimal | None:
    """The mirror image of one price."""
    return None if price is None else CENTRE - price


def summary(position: Position, image: bool) -> list[Any]:
    """Everything that a mirror image must have in common, with prices reflected for the image."""
    look = reflected if image else (lambda price: price)
    return [
        position.phase,
        position.remaining,
        position.realized_pnl,
        look(position.stop_price),
        position.stop_reason,
        position.trailing_stop_active,
        look(position.peak_price),
        [(target.number, look(target.price), target.hit, target.filled) for target in position.targets],
        [(fill.leg, fill.reason, look(fill.price), fill.quantity) for fill in position.fills],
        [(extreme.at, extreme.percent, look(extreme.price)) for extreme in (position.mae, position.mfe) if extreme],
        [(intent.leg, intent.quantity, intent.status, look(intent.trigger_price)) for intent in position.intents],
        position.close_reason,
    ]


@QUICK
@given(plan=plans(), path=paths)
def test_a_short_is_the_mirror_image_of_a_long(plan: dict[str, Any], path: list[Decimal]) -> None:
    """No rule prefers a direction."""
    long = opened(plan, "long", ENTRY)
    short = opened(mirrored(plan), "short", ENTRY)
    assert summary(long.position, False) == summary(short.position, True)
    for price in path:
        long.price(price)
        short.price(CENTRE - price)
        assert summary(long.position, False) == summary(short.position, True)


@dataclass
class Watch:
    """What may only ever go one way, remembered from the step before."""

    position: Position

    def see(self, now: Position) -> None:
        """Compare with the step before, and remember."""
        before, sign = self.position, now.side.sign
        self.position = now
        if before.stop_price is not None and before.entry_complete:
            assert now.stop_price is not None
            assert sign * (now.stop_price - before.stop_price) >= 0, "the stop was loosened"
        if before.peak_price is not None:
            assert now.peak_price is not None
            assert sign * (now.peak_price - before.peak_price) >= 0, "the peak fell"
        if before.mae is not None and before.mfe is not None and before.entry_complete:
            assert now.mae is not None
            assert now.mfe is not None
            assert now.mae.percent >= before.mae.percent
            assert now.mfe.percent >= before.mfe.percent
            assert sign * (now.mae.price - before.mae.price) <= 0
            assert sign * (now.mfe.price - before.mfe.price) >= 0
        hit = {target.number for target in before.targets if target.hit}
        assert hit <= {target.number for target in now.targets if target.hit}, "a target was un-hit"
        assert now.fills[: len(before.fills)] == before.fills, "history was rewritten"
        assert now.next_target >= before.next_target
        assert now.updated_at >= before.updated_at


def check_books(desk: Desk) -> None:
    """Nothing was closed that the plan did not ask for, and the books add up."""
    position = desk.position
    closed: dict[str, Decimal] = {}
    for leg, _, _, quantity in desk.exits():
        closed[leg] = closed.get(leg, ZERO) + quantity
    planned = {f"target-{target.number}": target.quantity for target in position.targets}
    for leg, quantity in closed.items():
        if leg in planned:
            assert quantity <= planned[leg], "a leg closed more than was planned for it"
    total = sum(closed.values(), ZERO)
    assert total <= position.quantity, "more was closed than was ever open"
    assert position.remaining == position.quantity - total - position.dust
    assert desk.venue == position.quantity - total, "the venue holds something else than the books say"
    for target in position.targets:
        assert target.filled == closed.get(f"target-{target.number}", ZERO)
        rests = any(intent.kind == "limit" for intent in position.intents if intent.leg == f"target-{target.number}")
        assert target.filled == 0 or target.hit or rests
    check_rests(desk)


def check_rests(desk: Desk) -> None:
    """What rests never reaches the runner's share, nor what else is under way, and rests once for each leg."""
    position = desk.position
    live = [intent for intent in position.intents if intent.live and intent.leg != "entry" and not intent.resident]
    limits = [intent for intent in live if intent.kind == "limit"]
    assert len({intent.leg for intent in live}) == len(live), "two orders of one leg"
    if not limits or position.closing_reason is not None:
        return
    runner = max(ZERO, position.quantity - sum((target.quantity for target in position.targets), ZERO))
    resting = sum((intent.quantity - intent.filled for intent in limits), ZERO)
    assert resting + runner <= position.remaining, "what rests reaches the runner's share"
    under_way = sum((intent.quantity - intent.filled for intent in live), ZERO)
    assert under_way <= position.remaining, "our orders together ask for more than remains"


def check_round_trip(position: Position) -> None:
    """What was decided can be saved and read back at every step."""
    stored = msgpack.unpackb(msgpack.packb(schema.dump(position)))
    loaded = schema.load(stored, schema.SCHEMA)
    assert loaded == position
    assert schema.dump(loaded) == stored


@QUICK
@given(plan=plans(), path=paths, side=st.sampled_from(["long", "short"]))
def test_nothing_ever_goes_back_and_no_more_is_closed_than_planned(
    plan: dict[str, Any], path: list[Decimal], side: str
) -> None:
    """Stop, peak, MAE and MFE are monotone; closed per leg at most planned; in total at most everything."""
    short = side == "short"
    desk = opened(mirrored(plan) if short else plan, side, ENTRY)
    watch = Watch(desk.position)
    for price in path:
        desk.price(CENTRE - price if short else price)
        watch.see(desk.position)
        check_books(desk)
        check_round_trip(desk.position)


@QUICK
@given(plan=plans(), path=paths, quantity=st.integers(1, 400))
def test_the_same_price_again_decides_nothing_more(plan: dict[str, Any], path: list[Decimal], quantity: int) -> None:
    """A repeated quote changes nothing unless it tests a stop that has just moved for the first time."""
    try:
        desk = opened(plan, "long", ENTRY, quantity=D(quantity) / 1000)
    except PlanRefused:
        return
    for price in path:
        desk.price(price)
        desk.tell(PriceMoved(quote=desk.quote))
        before, submits = desk.position, len(desk.submits())
        desk.tell(PriceMoved(quote=desk.quote))
        assert desk.position == before
        assert len(desk.submits()) == submits


chaos = st.lists(
    st.one_of(
        st.tuples(st.just("price"), prices),
        st.tuples(st.just("price"), prices),
        st.tuples(st.just("part"), st.integers(1, 9)),
        st.tuples(st.just("whole"), st.just(0)),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0)),
        st.tuples(st.just("absent"), st.just(0)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(0, 30)),
        st.tuples(st.just("close"), st.sampled_from(["0.25", "0.5", "1"])),
        st.tuples(st.just("wait"), st.integers(1, 120)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("observe"), st.just(0)),
        st.tuples(st.just("rest-part"), st.integers(1, 9)),
        st.tuples(st.just("rest-whole"), st.just(0)),
        st.tuples(st.just("rest-end"), st.booleans()),
        st.tuples(st.just("rest-read"), st.just(0)),
        st.tuples(st.just("rest-read"), st.just(1)),
        st.tuples(st.just("rest-lose"), st.just(0)),
        st.tuples(st.just("rest-refuse"), st.just(0)),
        st.tuples(st.just("rest-alter"), st.booleans()),
    ),
    max_size=30,
)


def pending(desk: Desk) -> str | None:
    """The leg of the oldest market order that the venue still has open."""
    for order in desk.orders.values():
        if order.state == "open" and order.submit.kind == "market":
            return order.submit.leg
    return None


def disturb(desk: Desk, what: str, value: Any, serial: int) -> None:
    """One thing that the world may do; an impossible one does nothing."""
    leg = pending(desk)
    if what.startswith("rest-"):
        disturb_rest(desk, what.removeprefix("rest-"), value)
    elif what == "price":
        desk.price(value)
    elif what == "wait":
        desk.wait(value)
    elif what == "observe":
        desk.observe(desk.venue)
    elif what == "close":
        try:
            desk.close(value, f"request-{serial}")
        except DomainError:
            return
    elif what == "restart":
        restart(desk)
    elif what == "repeat":
        reports = [event for event in desk.events if isinstance(event, OrderReported)]
        if reports:
            desk.tell(reports[value % len(reports)])
    elif leg is not None:
        disturb_order(desk, what, value, leg)


def disturb_rest(desk: Desk, what: str, value: Any) -> None:
    """One thing that the venue may do to an order at rest (the newest, or with a value the oldest)."""
    resting = [order for order in desk.orders.values() if order.submit.kind == "limit" and order.state == "open"]
    if not resting:
        return
    order = resting[0 if value else -1]
    leg, price = order.submit.leg, order.submit.limit_price
    if what == "part":
        desk.fill(leg, order.submit.quantity * value / 10 - order.filled if order.filled == 0 else 0, price=price)
    elif what == "whole":
        desk.fill(leg, price=price)
    elif what == "end":
        desk.cancelled(leg, read_back=value)
        desk.report(leg, read_back=True)
        desk.report(leg, read_back=True)
    elif what == "read":
        desk.report(leg, read_back=True)
    elif what == "lose":
        desk.lose(leg)
    elif what == "refuse" and not order.trades and desk.intent(leg).status == "sent":
        desk.refuse(leg)
    elif what == "alter":
        desk.alter(leg, **({"position_wide": True} if value else {"quantity": order.submit.quantity / 2}))


def restart(desk: Desk) -> None:
    """Nothing survives but the saved state; the venue answers every question, and then the rules go on."""
    held, desk.held = desk.held, set()
    desk.position = schema.load(schema.dump(desk.position), schema.SCHEMA)
    desk.tell(Recovered(at=desk.at, terms=desk.position.terms, instrument=desk.position.instrument))
    desk.held = held
    desk.tell(Reconciled(at=desk.at, quote=desk.quote))


def disturb_order(desk: Desk, what: str, value: Any, leg: str) -> None:
    """One thing that the venue may do to the order of a leg."""
    order = desk.order(leg)
    if what == "part":
        desk.fill(leg, order.submit.quantity * value / 10 - order.filled if order.filled == 0 else 0)
    elif what == "whole":
        desk.fill(leg)
    elif what == "end":
        desk.cancelled(leg, read_back=value)
        desk.report(leg, read_back=True)
        desk.report(leg, read_back=True)
    elif what == "lose":
        desk.lose(leg)
    elif what == "refuse" and not order.trades:
        desk.refuse(leg)
    elif what == "absent" and not order.trades:
        # Proven never executed: the venue forgets the order, or the same id could be executed twice.
        desk.lose(leg)
        del desk.orders[order.submit.client_order_id]
        desk.tell_absent(order.submit.client_order_id)
    elif what == "read":
        desk.report(leg, read_back=True)


@settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(plan=plans(), steps=chaos)
def test_a_venue_that_does_its_worst_closes_no_more_than_planned(
    plan: dict[str, Any], steps: list[tuple[str, Any]]
) -> None:
    """Partial fills, lost answers, refusals, repeats, restarts and manual closes in any order."""
    desk = opened(plan, "long", ENTRY, held=("target-", "stop", "manual-", "time_limit"))
    watch = Watch(desk.position)
    for serial, (what, value) in enumerate(steps):
        disturb(desk, what, value, serial)
        watch.see(desk.position)
        check_books(desk)
        check_round_trip(desk.position)
    settle(desk)
    check_books(desk)
    assert desk.venue == 0
    assert desk.phase() == "closed"
    assert desk.resting() == []


def settle(desk: Desk) -> None:
    """Let the venue behave again and close everything: it must come to an end."""
    desk.held.clear()
    for _ in range(6):
        leg = pending(desk)
        while leg is not None:
            desk.fill(leg)
            if pending(desk) == leg:
                desk.cancelled(leg)
                for _ in range(2):
                    desk.report(leg, read_back=True)
            leg = pending(desk)
        for order in list(desk.orders.values()):
            for _ in range(2):
                desk.report(order.submit.leg, read_back=True)
        desk.price("1", seconds=120)


@QUICK
@given(plan=plans(), path=paths)
def test_a_repeat_of_any_report_changes_nothing(plan: dict[str, Any], path: list[Decimal]) -> None:
    """Numbers in events are cumulative: whatever arrives twice is harmless."""
    desk = opened(plan, "long", ENTRY)
    for price in path:
        desk.price(price)
        for event in [event for event in desk.events if isinstance(event, OrderReported)]:
            after, effects = advance(desk.position, event)
            assert after == desk.position
            assert not [effect for effect in effects if isinstance(effect, Submit)]


@QUICK
@given(plan=plans(), path=paths)
def test_the_rules_have_no_memory_but_the_position(plan: dict[str, Any], path: list[Decimal]) -> None:
    """Saved and read back before every price, a position does the same as one that never stopped."""
    steady, restarted = opened(plan, "long", ENTRY), opened(plan, "long", ENTRY)
    for price in path:
        # The present prices are not saved: a comeback reads them before it goes on.
        loaded = schema.load(schema.dump(restarted.position), schema.SCHEMA)
        restarted.position = replace(loaded, latest=restarted.position.latest)
        steady.price(price)
        restarted.price(price)
        assert restarted.position == steady.position
    assert restarted.submits() == steady.submits()
    assert steady.at == START + len(path) * SECOND
