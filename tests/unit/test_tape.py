"""The tape: what the extremes were since a moment, and how little is kept for it."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.domain.model import Quote, Side, Source
from actors.domain.price_book import PriceBook
from actors.domain.tape import NOTHING, Extremes, StoredTape, Tape
from actors.domain.watch import Missed, Watch

D = Decimal


def played(prices: list[int], points: tuple[int, ...] = (), start: int = 1) -> Tape:
    """A tape of these prices, one a second, with these points handed out in time."""
    tape = Tape()
    for number, price in enumerate(prices, start):
        tape.push(D(price), number * 10, number)
        if number in points:
            tape.point(number)
    return tape


def told(extremes: Extremes) -> tuple[Any, ...]:
    """The same as whole numbers."""
    low, low_at, high, high_at = extremes
    return (None if low is None else int(low), low_at, None if high is None else int(high), high_at)


def test_the_extremes_come_with_the_time_they_were_first_there() -> None:
    """A repeat of an extreme is not its time."""
    tape = played([5, 9, 3, 9, 3, 5])
    assert told(tape.since(0)) == (3, 30, 9, 20)


def test_a_repeat_counts_for_who_asks_from_after_the_first() -> None:
    """A tie is the earliest one after the point."""
    tape = played([5, 9, 3, 9, 3, 5], points=(3,))
    assert told(tape.since(3)) == (3, 50, 9, 40)
    assert told(tape.since(0)) == (3, 30, 9, 20)


def test_nothing_was_missed_since_the_present() -> None:
    """No price, no extremes."""
    assert Tape().since(0) == NOTHING
    assert played([5, 9], points=(2,)).since(2) == NOTHING


def test_a_symbol_that_nobody_asks_about_keeps_one_entry_of_each() -> None:
    """A falling price would otherwise be on the stack of highs for ever."""
    tape = played(list(range(1000, 0, -1)))
    assert len(tape) == 2
    assert told(tape.since(0)) == (1, 10_000, 1000, 10)


def test_each_point_keeps_at_most_one_entry_more() -> None:
    """However many prices came between them."""
    tape = played(list(range(1000, 0, -1)), points=tuple(range(100, 1000, 100)))
    assert len(tape) == 10 + 1
    assert told(tape.since(500)) == (1, 10_000, 500, 5010)


def test_pruning_keeps_what_answers_the_points_that_remain() -> None:
    """And the whole, point 0, always."""
    tape = played(list(range(1000, 0, -1)), points=tuple(range(100, 1000, 100)))
    tape.prune([300, 700])
    assert len(tape) == 3 + 1
    assert told(tape.since(300)) == (1, 10_000, 700, 3010)
    assert told(tape.since(700)) == (1, 10_000, 300, 7010)
    assert told(tape.since(0)) == (1, 10_000, 1000, 10)
    tape.push(D(299), 10_010, 1001)
    assert told(tape.since(700)) == (1, 10_000, 300, 7010)


def test_a_point_in_the_past_is_made_from_the_prices_since() -> None:
    """A tick turns out to be one up to which somebody knows all prices."""
    tape = played([9, 1, 5, 4, 6])
    tape.point_back(2, [(D(5), 30, 3), (D(4), 40, 4), (D(6), 50, 5)])
    assert told(tape.since(2)) == (4, 40, 6, 50)
    assert told(tape.since(0)) == (1, 20, 9, 10)
    tape.push(D(5), 60, 6)
    tape.push(D(3), 70, 7)
    assert told(tape.since(2)) == (3, 70, 6, 50)


def test_the_band_is_where_nothing_changes_until_the_next_point() -> None:
    """From low to high, both included; after a point any price may be an extreme again."""
    tape = played([5, 9])
    assert tape.push(D(3), 30, 3) == (D(3), D(9))
    tape.push(D(9), 40, 4)
    tape.push(D(3), 50, 5)
    assert len(tape) == 2
    tape.point(5)
    assert tape.push(D(4), 60, 6) == (D(4), D(4))


story = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), max_size=40)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(story=story)
def test_it_knows_what_a_list_of_all_prices_knows(story: list[tuple[int, bool, bool]]) -> None:
    """For every point, after every price, pruned or not."""
    tape, prices, points = Tape(), list[int](), {0}
    for price, is_point, prunes in story:
        prices.append(price)
        tape.push(D(price), len(prices) * 10, len(prices))
        if is_point:
            points.add(len(prices))
            tape.point(len(prices))
        if prunes:
            points -= {max(points)} - {0}
            tape.prune(sorted(points))
        for point in points:
            later = prices[point:]
            expected: tuple[Any, ...] = (None, 0, None, 0)
            if later:
                low, high = min(later), max(later)
                expected = low, (point + 1 + later.index(low)) * 10, high, (point + 1 + later.index(high)) * 10
            assert told(tape.since(point)) == expected
        assert len(tape) <= 2 * len(points) + 2


# -- saved -------------------------------------------------------------------------------------------------------------


def book() -> PriceBook:
    """Three ticks; a point after the second."""
    found = PriceBook(lineage="one")
    for at, price in ((10, "5.10"), (20, "9"), (30, "3")):
        found.play(Quote(at=at, mark=D(price), bid=D(price) + 1))
        if at == 20:
            found.register("p1", Watch(side=Side.LONG, stop_source=Source.MARK, targets_source=Source.MARK))
    return found


def test_what_was_saved_answers_for_its_own_lineage_by_point_and_for_others_whole() -> None:
    """A position that has seen none of this tape has missed all of it."""
    stored = StoredTape(book().dump())
    assert (stored.lineage, stored.sequence, stored.at) == ("one", 3, 30)
    mark = stored.missed("one", 2, "mark")
    assert mark == Missed(low=D(3), low_at=30, high=D(3), high_at=30)
    bid = stored.missed("two", 2, "bid")
    assert bid == Missed(low=D(4), low_at=30, high=D(10), high_at=20)
    assert stored.missed("one", 0, "last") == Missed()


def test_no_more_is_saved_than_what_is_asked_for() -> None:
    """What every saved position has seen need not be written again."""
    saved = book().dump(after=2)
    assert saved["from"] == 2
    assert saved["sources"]["mark"] == {"lows": [["3", 30, 3]], "highs": [["3", 30, 3]]}
    assert saved["sources"]["last"] == {"lows": [], "highs": []}


def changed(path: list[Any], value: object) -> dict[str, Any]:
    """A dump with one thing in it replaced."""
    plain = book().dump()
    inner: Any = plain
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return plain


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        changed(["more"], 1),
        changed(["lineage"], 1),
        changed(["sequence"], "3"),
        changed(["sequence"], True),
        changed(["sequence"], 1),
        changed(["at"], -1),
        changed(["at"], 1.5),
        changed(["from"], 3),
        changed(["sources"], {}),
        changed(["sources", "mark"], {"lows": []}),
        changed(["sources", "mark", "lows"], "3"),
        changed(["sources", "mark", "lows"], []),
        changed(["sources", "mark", "lows", 0], ["3", 30]),
        changed(["sources", "mark", "lows", 0], [3, 30, 3]),
        changed(["sources", "mark", "lows", 0], ["x", 30, 3]),
        changed(["sources", "mark", "lows", 0], ["NaN", 30, 3]),
        changed(["sources", "mark", "lows", 0], ["3", -30, 3]),
        changed(["sources", "mark", "highs"], [["9", 20, 2], ["10", 30, 3]]),
        changed(["sources", "mark", "highs"], [["9", 20, 3], ["8", 30, 3]]),
        changed(["sources", "mark", "lows"], [["9", 20, 2], ["8", 30, 3]]),
    ],
)
def test_anything_else_is_no_tape(plain: object) -> None:
    """A damaged tape says so, rather than moving a stop."""
    with pytest.raises(ValueError, match="tape"):
        StoredTape(plain)
