"""The trigger book by hand: each kind of watch, trails that share a peak, registrations that come late or again."""

from decimal import Decimal
from typing import Any

import pytest

from actors.domain.model import Quote, Side, Source
from actors.domain.price_book import PriceBook, Wake
from actors.domain.price_levels import FEW, Hits, Registration
from actors.domain.trail_groups import Trails
from actors.domain.watch import Missed, Watch

D = Decimal


def watch(side: str = "long", **levels: Any) -> Watch:
    """What a position waits for; prices of the mark, unless it says otherwise."""
    given: dict[str, Any] = {
        name: D(str(value)) if name not in ("deadline", "stop_source", "targets_source") else value
        for name, value in levels.items()
    }
    usual: dict[str, Any] = {"stop_source": Source.MARK, "targets_source": Source.MARK}
    return Watch(side=Side(side), **{**usual, **given})


def play(book: PriceBook, *prices: object, start: int = 0, **sources: object) -> list[Wake]:
    """Ticks, one a second, of the mark or of what is named."""
    first = book.sequence + 1
    named: dict[str, Any] = {name: D(str(price)) for name, price in sources.items()}
    quotes = [
        Quote(at=start or number, mark=None if price is None else D(str(price)), **named)
        for number, price in enumerate(prices, first)
    ]
    return book.play_all(quotes)


def low_high(missed: Missed | None) -> tuple[object, ...]:
    """The extremes that were missed."""
    assert missed is not None
    return missed.low, missed.high


def keys(woken: list[Wake]) -> list[str]:
    """Who was woken."""
    return [wake.key for wake in woken]


@pytest.mark.parametrize(
    ("waits", "quiet", "price"),
    [
        (watch(stop=90), 91, 90),
        (watch(target=110), 109, 110),
        (watch("short", stop=110), 109, 110),
        (watch("short", target=90), 91, 90),
        (watch(peak=100, trail_gap=5), 96, 95),
        (watch(peak=100, trail_percent=5), 96, 95),
        (watch("short", peak=100, trail_gap=5), 104, 105),
        (watch("short", peak=100, trail_percent=5), 104, 105),
        (watch(peak=100, trail_gap=5, peak_from=110), 109, 110),
        (watch("short", peak=100, trail_gap=5, peak_from=90), 91, 90),
    ],
)
def test_every_level_is_inclusive(waits: Watch, quiet: int, price: int) -> None:
    """A price just before it changes nothing; the level itself wakes, and only once."""
    book = PriceBook()
    book.register("p1", waits)
    assert play(book, quiet, quiet) == []
    assert keys(play(book, price, price)) == ["p1"]


def test_a_woken_position_hears_nothing_until_it_registers_again() -> None:
    """A wake is on its way to it, and there is nothing to fold."""
    book = PriceBook()
    serial, _ = book.register("p1", watch(stop=90))
    wake = play(book, 90)[0]
    assert (wake.serial, wake.tick, book.point("p1")) == (serial, 1, 1)
    assert book.fold("p1") is None
    assert play(book, 80) == []
    again, missed = book.register("p1", watch(stop=70), 1)
    assert again > serial
    assert missed is None
    assert keys(play(book, 70)) == ["p1"]


def test_play_collects_what_play_all_returns() -> None:
    """One tick at a time."""
    book = PriceBook()
    book.register("p1", watch(stop=90))
    book.play(Quote(at=1, mark=D(95)))
    book.play(Quote(at=2, mark=D(90)))
    assert keys(book.woken) == ["p1"]


def test_sides_and_sources_look_at_their_own_prices() -> None:
    """An exit of a long trades at the bid, of a short at the ask."""
    book = PriceBook()
    both = {"stop_source": Source.BID_ASK, "targets_source": Source.LAST}
    book.register("long", watch(stop=90, target=110, **both))
    book.register("short", watch("short", stop=110, target=90, **both))
    assert play(book, 50, ask=100, bid=100, last=100) == []
    assert play(book, None, ask=90, bid=95) == []
    assert keys(play(book, None, bid=90)) == ["long"]
    assert keys(play(book, None, last=90)) == ["short"]


def test_a_source_that_is_missing_triggers_nothing_and_keeps_its_price() -> None:
    """What is known of it is told with the wake."""
    book = PriceBook()
    assert book.latest is None
    play(book, 100, ask=101, bid=99)
    book.register("p1", watch(stop=90))
    assert play(book, None, bid=80) == []
    wake = play(book, 90)[0]
    assert wake.quote == Quote(at=3, mark=D(90))
    assert wake.missed.latest == book.latest == Quote(at=3, mark=D(90), bid=D(80), ask=D(101))


def test_a_moment_wakes_with_the_first_price_at_it_or_after() -> None:
    """Whatever the price, and whatever its source."""
    book = PriceBook()
    book.register("p1", watch(deadline=5))
    assert play(book, 100, start=4) == []
    assert keys(play(book, None, start=5)) == ["p1"]
    book.register("p1", watch(deadline=0))
    assert keys(play(book, 100, start=5)) == ["p1"]


def test_several_are_woken_in_the_order_they_registered() -> None:
    """So that a replay wakes them the same."""
    book = PriceBook()
    book.register("p3", watch(deadline=1))
    book.register("p1", watch(stop=90))
    book.register("p2", watch(peak=100, trail_gap=5))
    assert keys(play(book, 80)) == ["p3", "p1", "p2"]


def test_a_new_registration_replaces_the_former() -> None:
    """Its levels are forgotten, and they do not pile up."""
    book = PriceBook()
    for level in range(1000):
        book.register("p1", watch(stop=level + 1, target=5000 + level, peak=3000, trail_gap=2000 - level))
    assert play(book, 2500) == []
    field = book._by_name["mark"]
    assert len(field.worse(Side.LONG)._heap) < 3 * FEW
    assert len(field.trails(Side.LONG)._singles) < 3 * FEW
    assert keys(play(book, 1999)) == ["p1"]


def test_who_has_left_is_not_woken() -> None:
    """Nor remembered."""
    book = PriceBook()
    book.register("p1", watch(stop=90))
    book.unregister("p1")
    book.unregister("p1")
    assert play(book, 80) == []
    assert book.fold("p1") is None
    with pytest.raises(KeyError):
        book.point("p1")


def test_a_fold_tells_what_was_missed_and_moves_the_point() -> None:
    """The watch goes on, and its running peak with it."""
    book = PriceBook()
    play(book, 50)
    book.register("p1", watch(peak=100, trail_gap=5))
    play(book, 98, 120, 117)
    missed = book.fold("p1")
    assert missed == Missed(low=D(98), low_at=2, high=D(120), high_at=3, latest=Quote(at=4, mark=D(117)))
    assert book.point("p1") == 4
    assert low_high(book.fold("p1")) == (None, None)
    wake = play(book, 115)[0]
    assert low_high(wake.missed) == (115, 115)


# -- trails ------------------------------------------------------------------------------------------------------------


def test_trails_meet_as_the_price_makes_new_highs_and_keep_their_own_distance() -> None:
    """Each falls at its own stop behind the common peak."""
    book = PriceBook()
    for number in range(10):
        book.register(f"gap{number}", watch(peak=100 + number, trail_gap=10 + number))
        book.register(f"percent{number}", watch(peak=100 + number, trail_percent=10 + number))
    assert play(book, 105, 120, 200) == []
    assert keys(play(book, 190)) == ["gap0"]
    assert keys(play(book, 181)) == [f"gap{number}" for number in range(1, 10)]
    assert keys(play(book, 180)) == ["percent0"]
    assert keys(play(book, 178)) == ["percent1"]


def test_a_group_below_the_top_falls_at_the_stop_of_its_own_peak() -> None:
    """Its peak was higher than what the newer ones have seen."""
    book = PriceBook()
    book.register("old", watch(peak=100, trail_gap=60))
    play(book, 200, 150)
    book.register("new", watch(peak=150, trail_gap=30))
    assert play(book, 160, 141) == []
    assert keys(play(book, 140)) == ["old"]
    assert keys(play(book, 130)) == ["new"]


def test_a_group_below_the_top_falls_one_stop_after_the_other() -> None:
    """The nearest of those that are left is waited for."""
    book = PriceBook()
    book.register("near", watch(peak=100, trail_gap=60))
    book.register("far", watch(peak=100, trail_gap=65))
    play(book, 200, 150)
    book.register("new", watch(peak=150, trail_gap=90))
    assert keys(play(book, 160, 140)) == ["near"]
    assert play(book, 136) == []
    assert keys(play(book, 135)) == ["far"]


def test_a_group_that_is_the_top_again_takes_in_equals() -> None:
    """And its stop is theirs as well, also once another group is above it again."""
    book = PriceBook()
    book.register("old", watch(peak=100, trail_gap=60))
    play(book, 200, 150)
    book.register("new", watch(peak=149, trail_gap=5))
    assert keys(play(book, 160, 155)) == ["new"]
    book.register("equal", watch(peak=200, trail_gap=50))
    book.register("newer", watch(peak=155, trail_gap=8))
    assert play(book, 159) == []
    assert keys(play(book, 150)) == ["equal", "newer"]
    assert keys(play(book, 140)) == ["old"]


def test_with_no_distance_a_price_crosses_the_stop_that_it_has_just_moved() -> None:
    """As the rules have it: first the peak, then the stop, inclusive."""
    book = PriceBook()
    book.register("none", watch(peak=100, trail_gap=0))
    book.register("some", watch(peak=100, trail_gap=1))
    assert keys(play(book, 101)) == ["none"]
    assert keys(play(book, 100)) == ["some"]


def test_a_wake_for_another_reason_takes_a_trail_out_of_its_group() -> None:
    """The group forgets it, and the stop that is nearest then is another's."""
    book = PriceBook()
    book.register("near", watch(peak=100, trail_gap=5, target=200))
    book.register("far", watch(peak=100, trail_gap=50))
    assert keys(play(book, 150, 200)) == ["near"]
    assert play(book, 151) == []
    assert keys(play(book, 150)) == ["far"]


def test_a_rising_price_assigns_one_peak_however_many_trail() -> None:
    """After the first new high all are in one group, and nobody is looked at."""
    trails, asked = Trails(Side.LONG), []

    class Counting(Watch):
        """A watch that says when it is asked for its stop."""

        def trailing_stop(self, peak: Decimal) -> Decimal:
            asked.append(peak)
            return super().trailing_stop(peak)

    for number in range(500):
        counted = Counting(
            side=Side.LONG,
            stop_source=Source.MARK,
            targets_source=Source.MARK,
            peak=D(100),
            trail_percent=D(10 + number) / 10,
        )
        trails.add(Registration(f"p{number}", number, counted, 0), D(100) + number)
    trails.rise(D(1000))
    asked.clear()
    for price in range(1001, 1101):
        trails.rise(D(price))
    assert len(asked) == 100
    hits: Hits = []
    trails.fall(D(1100) * D("0.95"), hits)
    assert len(hits) == 41


# -- late and again ----------------------------------------------------------------------------------------------------


def test_a_late_registration_is_woken_by_the_first_tick_that_it_missed() -> None:
    """With the extremes up to that tick, and no further."""
    book = PriceBook()
    play(book, 100)
    book.register("p1", watch(stop=90))
    play(book, 85, None, 99, 120, 60, 140, bid=3)
    serial, wake = book.register("p1", watch(stop=70), 2)
    assert wake is not None
    assert (wake.serial, wake.tick, wake.quote) == (serial, 6, Quote(at=6, mark=D(60), bid=D(3)))
    assert low_high(wake.missed) == (60, 120)
    assert wake.missed.high_at == 5
    assert wake.missed.latest == Quote(at=6, mark=D(60), bid=D(3))
    _, wake = book.register("p1", watch(stop=50), wake.tick)
    assert wake is None
    assert low_high(book.fold("p1")) == (140, 140)


def test_a_late_trail_has_the_peak_of_what_it_missed() -> None:
    """Without a tick that would have woken it, it goes on from there."""
    book = PriceBook()
    book.register("p1", watch(deadline=1))
    play(book, 100, 120, 116)
    assert book.register("p1", watch(peak=100, trail_gap=5), 1)[1] is None
    assert keys(play(book, 115)) == ["p1"]


def test_extremes_that_only_look_like_a_crossing_wake_nobody() -> None:
    """The low came before the high."""
    book = PriceBook()
    book.register("p1", watch(deadline=1))
    play(book, 100, 96, 120, 116)
    assert book.register("p1", watch(peak=100, trail_gap=5, targets_source=Source.LAST), 1)[1] is None
    assert keys(play(book, 115)) == ["p1"]


@pytest.mark.parametrize(
    ("waits", "price", "at"),
    [
        (watch(stop=70), "60", 3),
        (watch(target=110), "130", 5),
        (watch(peak=100, trail_gap=5, peak_from=110), "60", 3),
        (watch(stop=70, target=110), "60", 3),
        (watch("short", stop=110), "130", 5),
        (watch("short", target=70), "60", 3),
        (watch(deadline=4), "101", 50),
        (watch(peak=100, trail_gap=65), "101", 50),
    ],
)
def test_of_more_ticks_than_the_ring_holds_the_extremes_are_known(waits: Watch, price: str, at: int) -> None:
    """The price that crossed, at its time; the present one where the extremes do not say when, or whether at all."""
    book = PriceBook(ring=4)
    book.register("p1", watch(deadline=1))
    play(book, 100, 99, 60, 100, 130, *[101] * 45)
    wake = book.register("p1", waits, 1)[1]
    assert wake is not None
    assert (wake.tick, wake.quote) == (50, Quote(at=at, mark=D(price)))
    assert low_high(wake.missed) == (60, 130)
    assert book.register("p1", watch(stop=50), wake.tick)[1] is None


def test_a_point_that_this_book_does_not_have_is_the_nearest_it_has() -> None:
    """Of another book, perhaps; nothing is crossed by mistake."""
    book = PriceBook()
    play(book, 100, 101)
    book.register("p1", watch(stop=90), 17)
    book.register("p2", watch(stop=90), -1)
    assert (book.point("p1"), book.point("p2")) == (2, 0)


def test_what_nobody_asks_for_any_more_may_be_asked_for_again_at_once() -> None:
    """A point that was forgotten is handed out anew, without a tick between."""
    book = PriceBook()
    play(book, 200)
    book.register("p1", watch(stop=1))
    play(book, 100)
    book.register("p2", watch(stop=1))
    book.unregister("p2")
    book.compact()
    book.register("p3", watch(stop=1))
    play(book, 90, 80)
    assert low_high(book.fold("p3")) == (80, 90)
    assert low_high(book.fold("p1")) == (80, 100)


def test_an_idle_symbol_stays_small_and_is_small_again_once_its_points_are_forgotten() -> None:
    """Nothing grows with the number of ticks."""
    book = PriceBook(ring=16)
    book.register("p1", watch(stop=1))
    for price in range(1000, 500, -1):
        play(book, price)
        book.fold("p1")
    assert book.size > 500
    book.compact()
    assert book.size <= 4
    play(book, *range(500, 400, -1))
    assert book.size <= 4
    assert len(book._quotes) <= 100 + 16
