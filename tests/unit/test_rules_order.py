"""One price, in order: extremes, trail, stop, targets, time limit."""

import pytest

from tests.unit.driver import SECOND, START, D, Desk, adopted, opened

BREAKEVEN_AT_ONE = {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}}
TRAIL_AT_TWO = {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "1"}}}
LADDER = {"stop": {"percent": "1.5"}, "targets": [BREAKEVEN_AT_ONE, TRAIL_AT_TWO]}


def mirrored(side: str, *prices: str) -> list[str]:
    """The same distances from 100 on the other side, for a short."""
    return list(prices) if side == "long" else [str(D(200) - D(price)) for price in prices]


@pytest.fixture(params=["long", "short"])
def side(request: pytest.FixtureRequest) -> str:
    """Every rule holds for both directions."""
    return str(request.param)


def test_the_stop_is_inclusive_and_closes_all_that_remains(side: str) -> None:
    """A price at the stop is through the stop."""
    desk = opened(LADDER, side)
    desk.price(*mirrored(side, "98.51"))
    assert desk.exits() == []
    (stop,) = mirrored(side, "98.5")
    desk.price(stop)
    assert desk.exits() == [("stop", "stop_loss", D(stop), D(10))]
    assert desk.position.remaining == 0


def test_targets_are_inclusive(side: str) -> None:
    """A price at the target is through the target; one tick before it is not."""
    desk = opened(LADDER, side)
    desk.price(*mirrored(side, "100.99"))
    assert not desk.target(1).hit
    (price,) = mirrored(side, "101")
    desk.price(price)
    assert desk.exits() == [("target-1", "take_profit", D(price), D(6))]
    assert desk.target(1).hit
    assert desk.target(1).hit_at == desk.at
    assert desk.target(1).filled == D(6)


def test_a_stop_that_is_hit_closes_the_remainder_once(side: str) -> None:
    """After the first target only what it left is closed, at breakeven."""
    desk = opened(LADDER, side)
    desk.price(*mirrored(side, "101", "100.5", "100"))
    assert desk.exits() == [
        ("target-1", "take_profit", D(mirrored(side, "101")[0]), D(6)),
        ("stop", "breakeven", D(100), D(4)),
    ]


def test_a_jump_over_several_targets_takes_all_their_legs_and_actions(side: str) -> None:
    """A jump over TP1 and TP2 closes TP1's fraction *and* arms the trail."""
    desk = opened(LADDER, side)
    (far,) = mirrored(side, "105")
    desk.price(far)
    assert desk.exits() == [("target-1", "take_profit", D(far), D(6))]
    assert desk.target(1).hit
    assert desk.target(2).hit
    assert desk.position.trailing_stop_active
    assert desk.position.peak_price == D(far)
    assert desk.position.stop_reason == "trailing_stop"
    assert desk.phase() == "runner"


def test_two_closing_targets_in_one_price_close_both_fractions(side: str) -> None:
    """Each leg is an order of its own, one after the other."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0.3"}, {"at": {"percent": "2"}, "close": "0.2"}],
    }
    desk = opened(plan, side)
    (price,) = mirrored(side, "103")
    desk.price(price)
    assert desk.exits() == [
        ("target-1", "take_profit", D(price), D(3)),
        ("target-2", "take_profit", D(price), D(2)),
    ]


def test_arming_moves_the_stop_at_once_and_tests_it_at_the_next_price(side: str) -> None:
    """The price that arms a trail never fires it, however close the trail is."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [{"at": {"percent": "1"}, "close": "0", "then": {"trail": {"price": "0.01"}}}],
    }
    desk = opened(plan, side)
    price, stop, after = mirrored(side, "102", "101.99", "101.98")
    desk.price(price)
    assert desk.position.stop_price == D(stop)
    assert desk.exits() == []
    desk.price(after)
    assert desk.exits() == [("stop", "trailing_stop", D(after), D(10))]


def test_arming_starts_the_peak_at_the_latest_price_of_the_stops_source(side: str) -> None:
    """Not at the target's level, not at the price of the targets' source, not at an older extreme."""
    plan = {
        "stop": {"percent": "9"},
        "trigger_by": {"stop": "mark", "targets": "last"},
        "targets": [{"at": {"percent": "2"}, "close": "0", "then": {"trail": {"price": "1"}}}],
    }
    desk = opened(plan, side)
    high, mark, last, stop = mirrored(side, "101.7", "101.5", "103", "100.5")
    desk.price(last="100", mark=high)
    desk.price(last="100", mark=mark)
    desk.price(last=last)
    assert desk.position.trailing_stop_active
    assert desk.position.peak_price == D(mark)
    assert desk.position.stop_price == D(stop)


def test_a_plan_with_a_trail_is_armed_from_the_first_fill_on(side: str) -> None:
    """`trail` in the plan needs no target."""
    desk = opened({"stop": {"percent": "5"}, "trail": {"price": "2"}}, side)
    assert desk.position.trailing_stop_active
    assert desk.position.peak_price == D(100)
    assert desk.position.stop_price == D(mirrored(side, "98")[0])
    high, level = mirrored(side, "101", "99")
    desk.price(high)
    assert desk.position.stop_price == D(level)
    desk.price(level)
    assert desk.exits() == [("stop", "trailing_stop", D(level), D(10))]


def test_a_trail_wider_than_the_stop_leaves_the_stop_where_it_is(side: str) -> None:
    """The reason is the kind of what set the stop where it is: here the plan, until the trail has passed it."""
    desk = opened({"stop": {"percent": "1"}, "trail": {"price": "2"}}, side)
    assert desk.position.stop_reason == "stop_loss"
    low, stop = mirrored(side, "100.5", "99")
    desk.price(low)
    assert desk.position.stop_price == D(stop)
    desk.price(stop)
    assert desk.exits() == [("stop", "stop_loss", D(stop), D(10))]


def test_the_stop_only_moves_in_favour(side: str) -> None:
    """Neither a falling price nor a later target with a lower stop takes it back."""
    plan = {
        "stop": {"percent": "5"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0", "then": {"stop": {"percent": "-0.5"}}},
            {"at": {"percent": "2"}, "close": "0", "then": {"stop": {"percent": "3"}}},
            {"at": {"percent": "3"}, "close": "0", "then": {"trail": {"price": "10"}}},
        ],
    }
    desk = opened(plan, side)
    (locked,) = mirrored(side, "100.5")
    for price in mirrored(side, "101", "102", "100.9", "103", "101"):
        desk.price(price)
        assert desk.position.stop_price == D(locked)
        assert desk.position.stop_reason == "target_stop"


def test_a_later_target_replaces_the_trails_distance(side: str) -> None:
    """The peak goes on from where it is; the new distance only ever brings the stop closer."""
    plan = {
        "stop": {"percent": "5"},
        "trail": {"price": "4"},
        "targets": [{"at": {"percent": "10"}, "close": "0", "then": {"trail": {"price": "1"}}}],
    }
    desk = opened(plan, side)
    high, near, top, tight = mirrored(side, "109", "105", "110", "109")
    desk.price(high)
    assert desk.position.stop_price == D(near)
    desk.price(top)
    assert desk.position.peak_price == D(top)
    assert desk.position.stop_price == D(tight)


def test_the_stop_comes_before_the_targets_when_both_are_met(side: str) -> None:
    """With two sources one quote can be through both: protection goes first and nothing else happens."""
    plan = {**LADDER, "trigger_by": {"stop": "mark", "targets": "last"}}
    desk = opened(plan, side)
    mark, last = mirrored(side, "98", "103")
    desk.price(mark=mark, last=last)
    assert [(leg, reason, quantity) for leg, reason, _, quantity in desk.exits()] == [("stop", "stop_loss", D(10))]
    assert not desk.target(1).hit


def test_the_trail_moves_before_the_stop_is_tested(side: str) -> None:
    """One price both makes the peak and is measured against the stop that this peak set."""
    desk = opened({"stop": {"percent": "5"}, "trail": {"price": "1"}}, side)
    high, below = mirrored(side, "103", "101.9")
    desk.price(high, below)
    assert desk.exits() == [("stop", "trailing_stop", D(below), D(10))]


def test_a_target_comes_before_the_time_limit(side: str) -> None:
    """At one price of the right age, the target takes its fraction and the time limit the rest."""
    desk = opened({**LADDER, "time_limit_seconds": 60}, side)
    (price,) = mirrored(side, "101")
    desk.price(price, seconds=60)
    assert [(leg, reason, quantity) for leg, reason, _, quantity in desk.exits()] == [
        ("target-1", "take_profit", D(6)),
        ("time_limit", "time_limit", D(4)),
    ]


def test_the_time_limit_counts_event_time_since_entry(side: str) -> None:
    """Not before its moment, at its moment exactly, with or without a price."""
    desk = opened({**LADDER, "time_limit_seconds": 60}, side)
    desk.price("100.1", seconds=59)
    assert desk.exits() == []
    desk.wait(0.999999)
    assert desk.exits() == []
    desk.wait(0.000001)
    assert desk.at - START == 60 * SECOND
    assert [(leg, reason, quantity) for leg, reason, _, quantity in desk.exits()] == [
        ("time_limit", "time_limit", D(10))
    ]


def test_a_target_comes_closer_with_time(side: str) -> None:
    """From each step's age on its level holds; a price that lies beyond it then hits."""
    steps = [{"percent": "3"}, {"percent": "2", "after_seconds": 60}, {"percent": "0.5", "after_seconds": "120"}]
    desk = opened({"stop": {"percent": "5"}, "targets": [{"at": steps, "close": "1"}]}, side)
    two, one = mirrored(side, "102", "101")
    desk.price(two, seconds=59)
    desk.price(one, seconds=1)
    assert not desk.target(1).hit
    assert desk.target(1).price == D(two)
    desk.price(one, seconds=59)
    assert not desk.target(1).hit
    desk.price(one, seconds=1)
    assert desk.exits() == [("target-1", "take_profit", D(one), D(10))]


@pytest.mark.parametrize("source", ["mark", "last", "bid_ask"])
def test_the_stop_is_tested_against_its_source_alone(source: str, side: str) -> None:
    """Every other price may be far through the stop."""
    desk = adopted({"stop": {"percent": "2"}, "trigger_by": {"stop": source, "targets": "mark"}}, side)
    inside, through = mirrored(side, "99", "97")
    own = {"mark": "mark", "last": "last", "bid_ask": "bid" if side == "long" else "ask"}[source]
    prices: dict[str, object] = dict.fromkeys(("mark", "last", "bid", "ask"), through)
    desk.price(**{**prices, own: inside})
    assert desk.exits() == []
    assert desk.position.mae is not None
    assert desk.position.mae.price == D(inside)
    desk.price(**{**dict.fromkeys(("mark", "last", "bid", "ask"), inside), own: through})
    assert [reason for _, reason, _, _ in desk.exits()] == ["stop_loss"]


@pytest.mark.parametrize("source", ["mark", "last", "bid_ask"])
def test_targets_are_tested_against_their_source_alone(source: str, side: str) -> None:
    """For `bid_ask` a long uses the bid, a short the ask: the price at which it would be closed."""
    plan = {**LADDER, "trigger_by": {"targets": source}}
    desk = opened(plan, side)
    before, beyond = mirrored(side, "100.5", "101")
    own = {"mark": "mark", "last": "last", "bid_ask": "bid" if side == "long" else "ask"}[source]
    desk.price(**{**dict.fromkeys(("mark", "last", "bid", "ask"), beyond), own: before})
    assert not desk.target(1).hit
    desk.price(**{**dict.fromkeys(("mark", "last", "bid", "ask"), before), own: beyond})
    assert desk.target(1).hit


def test_without_trigger_by_the_stop_uses_mark_and_the_targets_the_touch() -> None:
    """The defaults: a wick of the last price neither stops out nor takes profit."""
    desk = opened(LADDER)
    desk.price(mark="100", last="50", bid="100", ask="100")
    desk.price(mark="100", last="150", bid="100", ask="150")
    assert desk.exits() == []
    desk.price(mark="100", last="100", bid="101", ask="102")
    assert desk.target(1).hit


def test_a_source_without_a_price_triggers_nothing(side: str) -> None:
    """None stands for stale or not to be trusted; the other sources go on."""
    desk = opened(LADDER, side)
    low, high = mirrored(side, "90", "101")
    desk.price(last=low, bid=low, ask=low)
    assert all(not reason.startswith("stop") for _, reason, _, _ in desk.exits())
    desk.price(mark=high, last=high)
    assert not desk.target(1).hit


def test_market_actions_take_effect_when_the_price_is_passed(side: str) -> None:
    """The position must not be less protected because an exchange is slow: `hit` and `filled` are separate facts."""
    desk = opened(LADDER, side, held=("target-",))
    desk.price(*mirrored(side, "101"))
    assert desk.target(1).hit
    assert desk.target(1).filled == 0
    assert desk.position.stop_price == D(100)
    assert desk.position.stop_reason == "breakeven"
    desk.fill("target-1")
    assert desk.target(1).filled == D(6)


def test_a_hit_target_is_never_hit_again(side: str) -> None:
    """The price may pass the level as often as it likes."""
    desk = opened({"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "0.3"}]}, side)
    desk.price(*mirrored(side, "101", "100.5", "101", "100.2", "102"))
    assert len(desk.exits()) == 1
    assert len(desk.submits("target-1")) == 1


def test_the_runner_begins_after_the_last_closing_target(side: str) -> None:
    """Runner is what remains after the last closing target, carried by the trailing stop."""
    desk = opened(LADDER, side)
    assert desk.phase() == "open"
    desk.price(*mirrored(side, "101"))
    after_first = desk.phase()
    desk.price(*mirrored(side, "102"))
    assert after_first == "runner"
    assert desk.phase() == "runner"
    assert desk.position.remaining == D(4)


def desk_at_runner(side: str) -> Desk:
    """A position whose runner trails by 1 % from a peak at 102 (98)."""
    desk = opened(LADDER, side)
    desk.price(*mirrored(side, "101", "102"))
    return desk


def test_the_runner_is_closed_by_its_trail(side: str) -> None:
    """The whole story of the incident: 60 % at TP1, 40 % by the trailing stop, together everything and no more."""
    desk = desk_at_runner(side)
    peak, low = mirrored(side, "110", "108.8")
    desk.price(peak, low)
    assert [(leg, reason, quantity) for leg, reason, _, quantity in desk.exits()] == [
        ("target-1", "take_profit", D(6)),
        ("stop", "trailing_stop", D(4)),
    ]
    assert sum(quantity for _, _, _, quantity in desk.exits()) == D(10)
    assert desk.phase() == "closed"
    assert desk.position.close_reason == "trailing_stop"


def test_a_target_that_closes_all_gives_its_reason_before_the_time_limit(side: str) -> None:
    """Everything is closed by the target: nothing is left for the time limit to name."""
    plan = {"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "1"}], "time_limit_seconds": 60}
    desk = opened(plan, side)
    desk.price(*mirrored(side, "101"), seconds=60)
    assert [(leg, reason, quantity) for leg, reason, _, quantity in desk.exits()] == [
        ("target-1", "take_profit", D(10))
    ]
