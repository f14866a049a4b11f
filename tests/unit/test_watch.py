"""What a position waits for, and how it catches up: rule by rule. That both together equal every price is tested with
the trigger book (test_price_book_naive.py, test_price_book_walks.py).
"""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.domain.exits import better, reached, trailing_stop
from actors.domain.model import Position, Quote, Side, Source, Terms
from actors.domain.watch import Missed, Watch, catch_up, watch_of
from tests.unit.driver import SECOND, START, D, Desk, opened, quote

TRAIL = {"stop": {"percent": "5"}, "trail": {"percent": "1"}}
BOTH_ON_MARK = {"trigger_by": {"stop": "mark", "targets": "mark"}}


def waits(desk: Desk) -> Watch:
    """What it waits for now."""
    return watch_of(desk.position, desk.at)


def reaches(watch: Watch, price: object) -> bool:
    """Whether a price of the targets' source wakes it."""
    return watch.target is not None and reached(watch.side, D(str(price)), watch.target)


def test_it_waits_for_its_stop_and_its_nearest_target() -> None:
    """Those that come after it are not passed before it."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0.5"}, {"at": {"percent": "2"}, "close": "0"}],
    }
    watch = waits(opened(plan))
    assert (watch.stop, watch.target, watch.peak, watch.deadline) == (D(95), D(101), None, None)
    watch = waits(opened(plan, "short"))
    assert (watch.stop, watch.target) == (D(105), D(99))


def test_a_hit_target_is_waited_for_no_more() -> None:
    """The next one is."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0.5"}, {"at": {"percent": "2"}, "close": "0"}],
    }
    desk = opened(plan)
    desk.price("101")
    assert waits(desk).target == D(102)


def test_a_target_at_rest_is_hit_by_its_fill_and_by_no_price() -> None:
    """Unless the plan says touch."""
    target = {"at": {"percent": "1"}, "close": "0.5", "order": "limit"}
    assert waits(opened({"stop": {"percent": "5"}, "targets": [target]})).target is None
    touched = {**target, "actions_on": "touch"}
    assert waits(opened({"stop": {"percent": "5"}, "targets": [touched]})).target == D(101)


def test_while_it_closes_or_reconciles_no_price_changes_anything() -> None:
    """Whatever the levels are."""
    desk = opened(TRAIL, held=("manual-",))
    desk.close()
    watch = waits(desk)
    assert (watch.stop, watch.target, watch.peak, watch.deadline) == (None, None, None, None)


def test_an_armed_trail_is_waited_for_behind_the_running_peak() -> None:
    """And it is looked at again when its stop at rest is due to move."""
    watch = waits(opened(TRAIL, terms=Terms(resident_step_percent=D(1))))
    assert (watch.peak, watch.trail_percent, watch.trail_gap) == (D(100), D(1), None)
    assert watch.trailing_stop(D(110)) == D("108.9")
    # The stop at rest is at 99; one percent more is 99.99, which the peak 101 brings.
    assert watch.peak_from is not None
    assert abs(watch.peak_from - 101) < D("1e-15")
    assert watch.peak_from <= 101


def test_without_a_stop_at_rest_there_is_none_to_move() -> None:
    """It is under way still."""
    assert waits(opened(TRAIL, held=("resident-",))).peak_from is None


def test_a_stop_behind_the_trails_own_moves_with_the_next_price() -> None:
    """An amendment has put it there."""
    desk = opened(TRAIL | BOTH_ON_MARK)
    desk.amend({"stop": {"percent": "4"}} | BOTH_ON_MARK, allow_looser_stop=True)
    watch = waits(desk)
    assert watch.stop == D(96)
    assert watch.peak_from is not None
    assert reached(watch.side, D(97), watch.peak_from)
    desk.price("100")
    assert desk.position.stop_price == D(99)
    assert waits(desk).stop == D(99)


def test_a_target_that_has_come_closer_takes_effect_with_the_next_price() -> None:
    """Time alone does not look at targets."""
    at = [{"percent": "2"}, {"percent": "1", "after_seconds": "10"}]
    desk = opened({"stop": {"percent": "5"}, "targets": [{"at": at, "close": "0.5"}]} | BOTH_ON_MARK)
    assert waits(desk).deadline == START + 10 * SECOND
    assert not reaches(waits(desk), "1")
    desk.wait(11)
    assert waits(desk).deadline is None
    assert reaches(waits(desk), "1")
    desk.price("100.5")
    assert waits(desk).target == D(101)


def test_the_interval_of_a_stop_at_rest_is_waited_for_once_the_trail_has_moved() -> None:
    """Before it has, its price is."""
    desk = opened(TRAIL, terms=Terms(resident_interval_seconds=D(60), resident_step_percent=D("0.1")))
    assert waits(desk).deadline is None
    desk.price("101")
    assert waits(desk).deadline == START + 60 * SECOND


def test_a_time_limit_and_an_order_to_be_tried_again_are_moments() -> None:
    """The nearest of them."""
    desk = opened({"stop": {"percent": "5"}, "time_limit_seconds": "60"})
    assert waits(desk).deadline == START + 60 * SECOND
    desk = opened({"stop": {"percent": "5"}, "time_limit_seconds": "60"}, held=("manual-",))
    desk.close("0.5", "half")
    desk.refuse("manual-1")
    assert waits(desk).deadline == START + SECOND


def test_an_owed_partial_waits_until_its_price_is_back() -> None:
    """Its level, less what the plan lets it slip."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0.5"}],
        "max_slippage_percent": "0.2",
    }
    desk = opened(plan | BOTH_ON_MARK, held=("target-",))
    desk.price("101")
    desk.refuse("target-1")
    desk.price("100", seconds=0)
    assert waits(desk).target == D(101) - D("0.202")


distances = st.fixed_dictionaries(
    {},
    optional={
        "min_percent": st.integers(0, 40).map(lambda value: str(D(value) / 10)),
        "max_percent": st.integers(0, 40).map(lambda value: str(D(value) / 10)),
    },
).filter(lambda clamps: D(clamps.get("min_percent", 0)) <= D(clamps.get("max_percent", 100)))
kinds = st.tuples(
    st.sampled_from(["percent", "price", "atr"]), st.integers(1, 40).map(lambda value: str(D(value) / 10))
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(kind=kinds, clamps=distances, side=st.sampled_from(["long", "short"]), rises=st.lists(st.integers(0, 3000)))
def test_until_it_is_to_be_looked_at_again_a_trail_has_the_stop_that_the_rules_give_it(
    kind: tuple[str, str], clamps: dict[str, str], side: str, rises: list[int]
) -> None:
    """Whichever of distance and clamps holds at a peak; where that changes it is to be looked at again."""
    desk = opened({"stop": {"percent": "50"}, "atr": "1", "trail": {kind[0]: kind[1], **clamps}}, side, held=("resi",))
    position = desk.position
    assert position.trail is not None
    watch = waits(desk)
    for rise in rises:
        peak = D(100) + position.side.sign * D(rise) / 100
        expected = trailing_stop(position.side, position.trail, peak, position.plan.atr)
        if watch.peak_from is None or not reached(position.side, peak, watch.peak_from):
            assert watch.trailing_stop(peak) == expected
        elif peak != watch.peak and not better(position.side, watch.peak_from, peak):
            moved = opened(desk_plan(kind, clamps), side, entry=peak, held=("resi",))
            assert waits(moved).trailing_stop(peak) == expected


def desk_plan(kind: tuple[str, str], clamps: dict[str, str]) -> dict[str, Any]:
    """The same plan for an entry at another price."""
    return {"stop": {"percent": "50"}, "atr": "1", "trail": {kind[0]: kind[1], **clamps}}


# -- catching up -------------------------------------------------------------------------------------------------------


def missed(low: object, low_at: int, high: object, high_at: int, latest: Quote | None = None) -> Missed:
    """Prices that were not told."""
    return Missed(low=D(str(low)), low_at=START + low_at, high=D(str(high)), high_at=START + high_at, latest=latest)


def extremes(position: Position) -> list[tuple[Decimal, int]]:
    """MAE, MFE: price, when."""
    return [(found.price, found.at - START) for found in (position.mae, position.mfe) if found is not None]


def test_what_was_missed_moves_the_extremes_the_peak_and_the_stop() -> None:
    """Each at its time, and the latest of them is the position's."""
    position = catch_up(opened(TRAIL).position, missed("99.5", 3, 102, 2))
    assert extremes(position) == [(D("99.5"), 3), (D(102), 2)]
    assert (position.peak_price, position.peak_at) == (D(102), START + 2)
    assert position.stop_price == D("100.98")
    assert position.updated_at == START + 3


def test_what_is_within_the_extremes_changes_nothing() -> None:
    """And is no change to save."""
    before = catch_up(opened(TRAIL).position, missed(99, 1, 102, 2))
    assert catch_up(before, missed("99.5", 3, 101, 4)) == before
    assert catch_up(before, Missed()) == before


def test_who_is_closing_has_no_extremes_any_more() -> None:
    """But still knows the latest prices."""
    desk = opened(TRAIL, held=("manual-",))
    desk.close()
    after = catch_up(desk.position, missed(90, 3, 110, 2, quote(105, at=START + 4)))
    assert after == desk.position
    assert after.latest == quote(105, at=START + 4)


def test_a_source_that_the_book_has_not_heard_of_keeps_the_price_that_the_position_knows() -> None:
    """The book's first ticks may lack one."""
    position = opened(TRAIL).position
    after = catch_up(position, Missed(latest=Quote(at=START + 1, mark=D(101))))
    assert after.latest == Quote(at=START + 1, mark=D(101), last=D(100), bid=D(100), ask=D(100))
    assert after.latest.price(Source.BID_ASK, Side.LONG) == D(100)
