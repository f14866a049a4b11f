"""A comeback that finds everything as it was recorded: the short answer is what all the rules would have said."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.advance import advance
from actors.domain.events import (
    Effect,
    Event,
    ForeignOrderSeen,
    LookUp,
    OrderState,
    OrphanSeen,
    PositionObserved,
    Reconciled,
    Recovered,
    Trade,
)
from actors.domain.model import Intent, IntentStatus, OrderKind, OrderSide, Position, Quote, Terms
from actors.domain.schema import SCHEMA, dump, load
from actors.domain.undisturbed import undisturbed
from actors.reports import report_of
from actors.venues.base import VenueOrder
from tests.unit.driver import SECOND, D, Desk, opened, quote

PLANS: tuple[dict[str, Any], ...] = (
    {
        "stop": {"percent": "5"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}},
        ],
    },
    {"stop": {"percent": "3"}, "trail": {"percent": "2"}},
    {"stop": {"percent": "3"}, "time_limit_seconds": 60},
    {"stop": {"percent": "4"}, "targets": [{"at": {"percent": "2"}, "close": "0.5", "order": "limit"}]},
)


class Found:
    """What a survey tells of a slot: at first exactly what is recorded, then whatever a test makes of it."""

    def __init__(self, position: Position, at: int) -> None:
        self.position = position
        self.at = at
        self.held = position.remaining
        self.orders = {i.client_order_id: told(i, position, at) for i in position.intents if not i.ended}
        self.listed: list[VenueOrder] = list(self.orders.values())
        self.trades = tuple(
            Trade(
                trade_id=fill.trade_id,
                client_order_id=fill.client_order_id,
                symbol=position.symbol,
                side=position.exit_side,
                quantity=fill.quantity,
                price=fill.price,
                fee=fill.fee,
                at=fill.at,
            )
            for fill in position.fills
        )
        self.terms: Terms = position.terms
        self.quote: Quote = position.latest or quote(100, at=at)

    def change(self, **fields: Any) -> None:
        """The orders at rest are not as they were placed."""
        self.orders = {name: replace(order, **fields) for name, order in self.orders.items()}
        self.listed = list(self.orders.values())

    def short(self) -> Position | None:
        """The short answer."""
        return undisturbed(
            self.position,
            self.terms,
            at=max(self.at, self.position.updated_at),
            held=self.held,
            looked_up=tuple(self.orders.get(i.client_order_id) for i in self.position.intents if not i.ended),
            listed=self.listed,
            trades=self.trades,
            quote=self.quote,
            seen=self.position.seen,
        )

    def by_the_rules(self) -> tuple[Position, list[Effect]]:
        """The long one: event by event, as actors/recovery.py has it."""
        position, effects = self.position, list[Effect]()

        def take(event: Event) -> None:
            nonlocal position
            position, more = advance(position, event)
            effects.extend(more)

        take(Recovered(at=self.at, terms=self.terms, instrument=position.instrument))
        for order in self.orders.values():
            take(report_of(order, read_back=True, venue_quantity=self.held))
        known = {intent.client_order_id for intent in position.intents}
        for order in self.listed:
            if order.client_order_id in known or not order.reduce_only:
                continue
            if order.client_order_id.startswith(position.order_tag):
                take(
                    OrphanSeen(
                        at=self.at,
                        client_order_id=order.client_order_id,
                        kind=order.kind,
                        quantity=order.quantity,
                        trigger_price=order.trigger_price,
                    )
                )
            else:
                take(ForeignOrderSeen(at=self.at, venue_order_id=order.venue_order_id, description="of another"))
        listed = tuple(order.client_order_id for order in self.listed)
        at = max(self.at, position.updated_at)
        take(PositionObserved(at=at, quantity=self.held, read_at=at, trades=self.trades, open_orders=listed))
        take(Reconciled(at=at, quote=self.quote))
        return position, effects


def told(intent: Intent, position: Position, at: int) -> VenueOrder:
    """An order at rest as it was placed."""
    return VenueOrder(
        client_order_id=intent.client_order_id,
        venue_order_id="1",
        symbol=position.symbol,
        kind=intent.kind,
        side=intent.side,
        quantity=intent.quantity,
        filled=intent.filled,
        state=OrderState.OPEN,
        reduce_only=True,
        trigger_price=intent.trigger_price,
        trades=(),
        updated_at=at,
        limit_price=intent.limit_price,
    )


def stored(desk: Desk) -> Position:
    """The position as it comes back from the store."""
    return load(dump(desk.position), SCHEMA)


def in_full(position: Position) -> tuple[Position, object, bool, int]:
    """With what does not count when positions are compared."""
    return position, position.latest, position.reconciling, position.seen


def foreign(order_id: str) -> VenueOrder:
    """Somebody's order to reduce the position."""
    return VenueOrder(
        client_order_id=order_id,
        venue_order_id="77",
        symbol="BTC/USDT:USDT",
        kind=OrderKind.STOP_MARKET,
        side=OrderSide.SELL,
        quantity=D(1),
        filled=D(0),
        state=OrderState.OPEN,
        reduce_only=True,
        trigger_price=D(90),
        trades=(),
        updated_at=0,
    )


@pytest.mark.parametrize("prices", [(), ("101",), ("101", "102"), ("101", "102", "104", "103.5")])
def test_what_was_left_at_rest_is_recognised(prices: Sequence[str]) -> None:
    """The plan with a runner, at every step of its way."""
    desk = opened(PLANS[0])
    desk.price(*prices)
    desk.price(*prices[-1:], seconds=30)
    found = Found(stored(desk), desk.at + SECOND)
    short = found.short()
    assert short is not None
    position, effects = found.by_the_rules()
    assert in_full(short) == in_full(position)
    assert all(isinstance(effect, LookUp) for effect in effects)


def disturb(found: Found, how: str, number: Decimal) -> None:  # noqa: PLR0912 - one line for each way
    """Let something be otherwise than it is recorded."""
    position = found.position
    intents = position.intents
    match how:
        case "less" | "more":
            found.held += -number if how == "less" else number
        case "flipped":
            found.held = -found.held
        case "filled" | "quantity" | "trigger_price":
            found.change(**{how: number})
        case "ended":
            found.change(state=OrderState.CANCELLED)
        case "not reduce-only":
            found.change(reduce_only=False)
        case "position-wide":
            found.change(position_wide=True)
        case "not listed":
            found.listed = []
        case "foreign":
            found.listed.append(foreign("somebody"))
        case "orphan":
            found.listed.append(foreign(position.order_tag + "0" * 24))
        case "other numbers" | "another's trade" | "a lost trade" if found.trades:
            changes: dict[str, dict[str, Any]] = {
                "other numbers": {"price": number},
                "another's trade": {"trade_id": "x1", "client_order_id": "somebody"},
                "a lost trade": {"trade_id": "x2", "client_order_id": intents[-1].client_order_id},
            }
            trade = replace(found.trades[0], **changes[how])
            found.trades = (trade,) if how == "other numbers" else (*found.trades, trade)
        case "cancelled" | "unknown" | "second":
            last = intents[-1]
            altered = replace(last, cancel_requested=True)
            if how == "unknown":
                altered = replace(last, status=IntentStatus.UNKNOWN)
            elif how == "second":
                altered = replace(last, leg="resident-99", client_order_id=position.order_tag + "9" * 24)
            after = (*intents, altered) if how == "second" else (*intents[:-1], altered)
            found.position = replace(position, intents=after)
        case "other terms":
            found.terms = replace(found.terms, resident_step_percent=number + 7)
        case "disputed":
            found.position = replace(position, disputed=True)
        case "excess":
            found.position = replace(position, excess=number)
        case "closing":
            found.position = replace(position, closing_reason=position.stop_reason, closing_leg="stop")
        case "remaining":
            found.position = replace(position, remaining=position.remaining - D("0.0005"))
        case _:
            pass


WAYS = (
    "nothing",
    "less",
    "more",
    "flipped",
    "filled",
    "quantity",
    "trigger_price",
    "ended",
    "not reduce-only",
    "position-wide",
    "not listed",
    "foreign",
    "orphan",
    "other numbers",
    "another's trade",
    "a lost trade",
    "cancelled",
    "unknown",
    "second",
    "other terms",
    "disputed",
    "excess",
    "closing",
    "remaining",
)


@given(
    plan=st.sampled_from(PLANS),
    side=st.sampled_from(["long", "short"]),
    prices=st.lists(st.integers(9600, 10500), max_size=6),
    seconds=st.sampled_from([1, 10, 100]),
    hows=st.lists(st.sampled_from(WAYS), max_size=2),
    number=st.sampled_from([D("0.001"), D("0.5"), D(1), D(97)]),
)
def test_the_short_answer_is_the_rules_own(
    *, plan: dict[str, Any], side: str, prices: list[int], seconds: int, hows: list[str], number: Decimal
) -> None:
    """Whatever is found: where there is a short answer, the rules come to the same, and ask for nothing more."""
    desk = opened(plan, side=side)
    for price in prices:
        desk.price(D(price) / 100, seconds=seconds)
    found = Found(stored(desk), desk.at + seconds * SECOND)
    for how in hows:
        disturb(found, how, number)
    short = found.short()
    if short is None:
        return
    position, effects = found.by_the_rules()
    assert in_full(short) == in_full(position)
    assert all(isinstance(effect, LookUp) for effect in effects)


@pytest.mark.parametrize("how", [how for how in WAYS if how not in ("nothing", "another's trade")])
def test_whatever_is_otherwise_is_left_to_the_rules(how: str) -> None:
    """One thing that is not as it was recorded is enough."""
    desk = opened(PLANS[0])
    found = Found(stored(desk), desk.at + SECOND)
    assert found.short() is not None
    disturb(found, how, D(1))
    assert found.short() is None


def test_another_s_trade_in_the_slot_is_none_of_ours() -> None:
    """Where the size is right all the same."""
    desk = opened(PLANS[0])
    found = Found(stored(desk), desk.at + SECOND)
    disturb(found, "another's trade", D(1))
    assert found.short() is not None
