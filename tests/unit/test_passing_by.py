"""A price that passes a position by: telling it changes nothing that matters."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.advance import advance
from actors.domain.events import PriceMoved
from actors.domain.price_late import passes_by
from actors.domain.watch import watch_of
from tests.unit.driver import SECOND, D, opened, quote

PLANS: tuple[dict[str, Any], ...] = (
    {
        "stop": {"percent": "5"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}},
        ],
    },
    {"stop": {"percent": "3"}, "trail": {"percent": "2", "max_percent": "2.5"}},
    {"stop": {"percent": "3"}, "trail": {"price": "1.5", "min_percent": "1"}, "trigger_by": {"stop": "last"}},
    {"stop": {"percent": "3"}, "time_limit_seconds": 60},
    {
        "stop": {"percent": "4"},
        "targets": [
            {
                "at": [{"percent": "2"}, {"percent": "1", "after_seconds": 20}],
                "close": "0.5",
                "then": {"stop": {"percent": "1"}},
            }
        ],
    },
)


@pytest.mark.parametrize("held", [(), ("resident-",), ("target-",)], ids=str)
@given(
    plan=st.sampled_from(PLANS),
    side=st.sampled_from(["long", "short"]),
    prices=st.lists(st.integers(9650, 10350), max_size=6),
    seconds=st.sampled_from([1, 7, 30]),
    last=st.integers(9650, 10350),
    later=st.sampled_from([0, 1, 5, 25, 70]),
    missing=st.sampled_from(["", "mark", "last", "bid"]),
)
def test_nothing_but_the_latest_price_changes(
    *,
    held: tuple[str, ...],
    plan: dict[str, Any],
    side: str,
    prices: list[int],
    seconds: int,
    last: int,
    later: int,
    missing: str,
) -> None:
    """No effect, no other field, and what is waited for afterwards is what was before."""
    desk = opened(plan, side=side, held=held)
    for price in prices:
        desk.price(D(price) / 100, seconds=seconds)
    position = desk.position
    told = quote(D(last) / 100, at=desk.at + later * SECOND, **({missing: None} if missing else {}))
    watch = watch_of(position, position.updated_at)
    if not passes_by(position, watch, told):
        return
    after, effects = advance(position, PriceMoved(quote=told))
    assert effects == ()
    assert after == position
    assert watch_of(after, max(position.updated_at, told.at)) == watch


def test_most_prices_pass_by() -> None:
    """One within what was seen and away from every level does; a new extreme, the stop and a target do not."""
    desk = opened(PLANS[0])
    desk.price("100.5", "99.5", "100")
    watch = watch_of(desk.position, desk.position.updated_at)
    answers = {price: passes_by(desk.position, watch, quote(price, at=desk.at)) for price in (100, 101, 95, 99)}
    assert answers == {100: True, 101: False, 95: False, 99: False}
    assert not passes_by(desk.position, watch, quote(Decimal("100.51"), at=desk.at))
