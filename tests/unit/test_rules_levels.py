"""Levels and distances: what each way of naming a price means, for a long and for its mirror image."""

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.driver import D, adopted, instrument, opened

FAR = {"percent": "50"}


def stop_after(then_stop: dict[str, Any], side: str = "long", **plan: Any) -> tuple[Decimal | None, str]:
    """Where a target at 10 % moves the stop of a position that came in at 100, and what the stop is called then."""
    target = {"at": {"percent": "10"}, "close": "0", "then": {"stop": then_stop}}
    desk = opened({"stop": {"percent": "2"}, "targets": [target], **plan}, side)
    desk.price("110" if side == "long" else "90")
    return desk.position.stop_price, str(desk.position.stop_reason)


@pytest.mark.parametrize(
    ("level", "long", "short"),
    [
        ({"percent": "1.5"}, "98.5", "101.5"),
        ({"atr": "2"}, "94", "106"),
    ],
)
def test_a_relative_stop_counts_against_the_position(level: dict[str, str], long: str, short: str) -> None:
    """A stop's percent is a loss of the entry price, its atr a multiple of the plan's value."""
    assert opened({"stop": level, "atr": "3"}, "long").position.stop_price == D(long)
    assert opened({"stop": level, "atr": "3"}, "short").position.stop_price == D(short)


@pytest.mark.parametrize(("side", "price"), [("long", "91.25"), ("short", "108.75")])
def test_a_price_level_is_that_price(side: str, price: str) -> None:
    """An absolute stop is where it was said to be."""
    assert opened({"stop": {"price": price}}, side).position.stop_price == D(price)


@pytest.mark.parametrize(
    ("level", "long", "short"),
    [
        ({"percent": "1"}, "101", "99"),
        ({"atr": "2"}, "106", "94"),
        ({"r": "2"}, "104", "96"),
    ],
)
def test_a_relative_target_counts_in_favour(level: dict[str, str], long: str, short: str) -> None:
    """A target's percent is a gain, its r a multiple of the initial distance from entry to stop."""
    plan = {"stop": {"percent": "2"}, "atr": "3", "targets": [{"at": level, "close": "0.5"}]}
    assert opened(plan, "long").target(1).price == D(long)
    assert opened(plan, "short").target(1).price == D(short)


def test_percents_are_of_the_price_at_which_the_entry_filled() -> None:
    """The quote at the time of the request is only an estimate; the venue's fill decides."""
    desk = opened({"stop": {"percent": "1"}, "targets": [{"at": {"percent": "1"}, "close": "0.5"}]}, held=("entry",))
    desk.fill("entry", price="200")
    assert desk.position.entry_price == D(200)
    assert desk.position.stop_price == D(198)
    assert desk.target(1).price == D(202)


@pytest.mark.parametrize(
    ("level", "long", "short", "reason"),
    [
        ({"percent": "0"}, "100", "100", "breakeven"),
        ({"breakeven": "price"}, "100", "100", "breakeven"),
        ({"percent": "-0.5"}, "100.5", "99.5", "target_stop"),
        ({"percent": "1"}, "99", "101", "target_stop"),
        ({"r": "-1"}, "102", "98", "target_stop"),
        ({"r": "0.5"}, "99", "101", "target_stop"),
        ({"atr": "-1"}, "103", "97", "target_stop"),
    ],
)
def test_a_target_moves_the_stop_to_its_level(level: dict[str, str], long: str, short: str, reason: str) -> None:
    """A `then.stop` of 0 is breakeven, a negative percent locks in a gain."""
    assert stop_after(level, "long", atr="3") == (D(long), reason)
    assert stop_after(level, "short", atr="3") == (D(short), reason)


def test_a_target_moves_the_stop_to_a_price() -> None:
    """An absolute `then.stop` is a target's stop whatever its price."""
    assert stop_after({"price": "104.2"}) == (D("104.2"), "target_stop")


def test_a_target_moves_the_stop_to_the_level_of_an_earlier_target() -> None:
    """The usual ladder: at TP2 the stop goes to TP1."""
    plan = {
        "stop": {"percent": "2"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.3"},
            {"at": {"percent": "3"}, "close": "0.3", "then": {"stop": {"target": 1}}},
        ],
    }
    long, short = opened(plan, "long"), opened(plan, "short")
    long.price("103")
    short.price("97")
    assert (long.position.stop_price, short.position.stop_price) == (D(101), D(99))
    assert long.position.stop_reason == "target_stop"


@pytest.mark.parametrize(("side", "price"), [("long", "110"), ("short", "90")])
def test_breakeven_with_fees_pays_for_both_orders(side: str, price: str) -> None:
    """Closing everything at the fee breakeven leaves nothing and costs nothing."""
    plan = {
        "stop": {"percent": "2"},
        "targets": [{"at": {"percent": "10"}, "close": "0", "then": {"stop": {"breakeven": "fees"}}}],
    }
    market = instrument(taker_fee_percent=D("0.05"))
    desk = opened(plan, side, instrument=market, fee_percent="0.05")
    desk.price(price)
    stop = desk.position.stop_price
    assert stop is not None
    assert desk.position.stop_reason == "breakeven"
    desk.price(stop)
    assert desk.position.remaining == 0
    net = desk.position.realized_pnl - desk.position.fees
    assert abs(net) < D("1e-20")


def test_r_is_frozen_when_the_stop_moves() -> None:
    """R is the *initial* distance from entry to stop: a stop at breakeven does not make it 0."""
    plan = {
        "stop": {"percent": "2"},
        "targets": [
            {"at": {"r": "1"}, "close": "0", "then": {"stop": {"percent": "0"}}},
            {"at": {"r": "2"}, "close": "0", "then": {"stop": {"r": "-1"}}},
        ],
    }
    desk = opened(plan)
    desk.price("102", "103")
    assert desk.position.stop_price == D(100)
    assert desk.target(2).price == D(104)
    desk.price("104")
    assert desk.position.stop_price == D(102)
    assert desk.position.initial_stop_price == D(98)


@pytest.mark.parametrize(
    ("distance", "long", "short"),
    [
        ({"percent": "1"}, "118.80", "80.80"),
        ({"price": "3"}, "117", "83"),
        ({"atr": "2"}, "110", "90"),
        ({"price": "3", "min_percent": "5"}, "114", "84"),
        ({"price": "30", "max_percent": "10"}, "108", "88"),
        ({"atr": "2", "max_percent": "5"}, "114", "84"),
        ({"percent": "1", "min_percent": "0.5", "max_percent": "2"}, "118.80", "80.80"),
    ],
)
def test_the_trail_stays_its_distance_behind_the_peak(distance: dict[str, str], long: str, short: str) -> None:
    """Percents, and the clamps of every kind of distance, are of the peak and not of the entry."""
    plan = {"stop": FAR, "trail": distance, "atr": "5"}
    for side, price, stop in (("long", "120", long), ("short", "80", short)):
        desk = adopted(plan, side)
        desk.price(price)
        assert desk.position.peak_price == D(price)
        assert desk.position.stop_price == D(stop)
        assert desk.position.stop_reason == "trailing_stop"


def test_clamps_follow_the_peak() -> None:
    """A fixed distance in price is held between two percents of wherever the peak is now."""
    desk = opened({"stop": FAR, "trail": {"price": "2", "min_percent": "1", "max_percent": "1.8"}})
    desk.price("101")
    assert desk.position.stop_price == D("101") - D("1.818")
    desk.price("150")
    assert desk.position.stop_price == D("148")
    desk.price("300")
    assert desk.position.stop_price == D("297")
