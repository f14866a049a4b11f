"""Owed partials: decided, proven not executed, and sent again only at a fair price."""

import pytest

from actors.domain.model import IntentStatus
from tests.unit.driver import D, opened

PLAN = {
    "stop": {"percent": "5"},
    "targets": [
        {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
        {"at": {"percent": "2"}, "close": "0.2"},
    ],
}


@pytest.mark.parametrize(
    ("side", "at", "within", "outside"), [("long", "101", "100.8", "100.79"), ("short", "99", "99.19", "99.2")]
)
def test_an_owed_partial_waits_for_its_price(side: str, at: str, within: str, outside: str) -> None:
    """Sent only while the price is at its level or better, less max_slippage_percent; otherwise still owed, same id."""
    plan = {"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "0.6"}]}
    desk = opened(plan, side, held=("target-",))
    desk.price(at)
    identity = desk.order("target-1").submit.client_order_id
    desk.price(outside)
    desk.lose("target-1")
    desk.absent("target-1")
    desk.price(outside)
    assert len(desk.submits("target-1")) == 1
    assert desk.intent("target-1").status is IntentStatus.PLANNED
    desk.price(within)
    assert [submit.client_order_id for submit in desk.submits("target-1")] == [identity] * 2


def test_the_actions_of_an_owed_partial_stand() -> None:
    """The stop stays at breakeven while the partial waits, and closes all if it is hit."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.lose("target-1")
    desk.price("100.5")
    desk.absent("target-1")
    desk.held.clear()
    assert desk.position.stop_price == D(100)
    desk.price("100")
    assert desk.exits() == [("stop", "breakeven", D(100), D(10))]


def test_slippage_is_the_plans() -> None:
    """A plan with 1 % lets an owed partial go at 1 % under its level."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0.6"}],
        "max_slippage_percent": "1",
    }
    desk = opened(plan, held=("target-",))
    desk.price("101")
    desk.lose("target-1")
    desk.price("100")
    desk.absent("target-1")
    desk.price("100")
    assert len(desk.submits("target-1")) == 2


def test_a_refused_partial_is_owed_and_not_hammered() -> None:
    """Definitely not executed: tried again later, with patience."""
    desk = opened(PLAN, held=("target-",))
    desk.price("101")
    desk.refuse("target-1")
    for _ in range(20):
        desk.price("101", seconds=0.01)
    assert len(desk.submits("target-1")) <= 2
    assert desk.position.remaining == D(10)
    assert desk.target(1).hit
