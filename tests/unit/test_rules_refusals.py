"""Plans that are refused: every fault by its field, nothing guessed, nothing rounded."""

from typing import Any

import pytest

from actors.domain.errors import PlanRefused
from actors.domain.plans import RUNNER, parse_plan, plan_to_dict
from tests.unit.driver import D, adopted, opened, quote

STOP = {"percent": "2"}


def target(percent: object = "1", close: object = "0.5", **rest: Any) -> dict[str, Any]:
    """One target."""
    return {"at": {"percent": percent}, "close": close, **rest}


def fields_refused(plan: Any) -> list[str]:
    """The fields that a plan is refused for."""
    with pytest.raises(PlanRefused) as caught:
        parse_plan(plan)
    assert all(fault.code and fault.message for fault in caught.value.faults)
    return [fault.field for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({}, "stop"),
        ({"stop": {"percent": 1.5}}, "stop.percent"),
        ({"stop": {"percent": "one"}}, "stop.percent"),
        ({"stop": {"percent": "NaN"}}, "stop.percent"),
        ({"stop": {"percent": "Infinity"}}, "stop.percent"),
        ({"stop": {"percent": True}}, "stop.percent"),
        ({"stop": {"percent": None}}, "stop.percent"),
        ({"stop": {}}, "stop"),
        ({"stop": {"percent": "1", "price": "90"}}, "stop"),
        ({"stop": {"percent": "1", "colour": "red"}}, "stop.colour"),
        ({"stop": {"price": "0"}}, "stop.price"),
        ({"stop": {"price": "-5"}}, "stop.price"),
        ({"stop": {"atr": "1"}}, "atr"),
        ({"stop": {"r": "1"}}, "stop"),
        ({"stop": {"target": 1}}, "stop"),
        ({"stop": {"breakeven": "soon"}}, "stop.breakeven"),
        ({"stop": "1.5"}, "stop"),
        ({"stop": STOP, "take_profit": "2"}, "take_profit"),
        ({"stop": {"percent": "2", "confirm_seconds": 5}}, "stop.confirm_seconds"),
        ({"stop": {"percent": "2", "emergency": {"percent": "5"}}}, "stop.emergency"),
        ({"stop": STOP, "targets": [target(close_of="remaining")]}, "targets.0.close_of"),
        ({"stop": STOP, "targets": [{"at": {"percent": "1"}}]}, "targets.0.close"),
        ({"stop": STOP, "targets": [{"close": "1"}]}, "targets.0.at"),
        ({"stop": STOP, "targets": [target(close=0.5)]}, "targets.0.close"),
        ({"stop": STOP, "targets": [target(close="1.1")]}, "targets.0.close"),
        ({"stop": STOP, "targets": [target(close="-0.1")]}, "targets.0.close"),
        ({"stop": STOP, "targets": [target(1.0)]}, "targets.0.at.percent"),
        ({"stop": STOP, "targets": [target(speed="fast")]}, "targets.0.speed"),
        ({"stop": STOP, "targets": [target(then={"close": "1"})]}, "targets.0.then.close"),
        ({"stop": STOP, "targets": [target(then={"stop": {"percent": 0.0}})]}, "targets.0.then.stop.percent"),
        ({"stop": STOP, "targets": [target(then={"trail": {"percent": 0.8}})]}, "targets.0.then.trail.percent"),
        ({"stop": STOP, "targets": [target(order="iceberg")]}, "targets.0.order"),
        ({"stop": STOP, "targets": [target("1", "0.6"), target("2", "0.5")]}, "targets"),
        ({"stop": STOP, "targets": [target(str(place), "0") for place in range(1, 12)]}, "targets"),
        ({"stop": STOP, "targets": {"at": {"percent": "1"}, "close": "1"}}, "targets"),
        ({"stop": STOP, "trail": {"percent": 0.5}}, "trail.percent"),
        ({"stop": STOP, "trail": {"percent": "0"}}, "trail.percent"),
        ({"stop": STOP, "trail": {"percent": "-1"}}, "trail.percent"),
        ({"stop": STOP, "trail": {}}, "trail"),
        ({"stop": STOP, "trail": {"percent": "1", "price": "3"}}, "trail"),
        ({"stop": STOP, "trail": {"percent": "1", "min_percent": "3", "max_percent": "2"}}, "trail"),
        ({"stop": STOP, "trail": {"percent": "1", "floor": "3"}}, "trail.floor"),
        ({"stop": STOP, "trail": {"atr": "1"}}, "atr"),
        ({"stop": STOP, "atr": "0"}, "atr"),
        ({"stop": STOP, "atr": 12.5}, "atr"),
        ({"stop": STOP, "time_limit_seconds": "0"}, "time_limit_seconds"),
        ({"stop": STOP, "time_limit_seconds": 1.5}, "time_limit_seconds"),
        ({"stop": STOP, "trigger_by": {"stop": "moon"}}, "trigger_by.stop"),
        ({"stop": STOP, "trigger_by": {"entry": "mark"}}, "trigger_by.entry"),
        ({"stop": STOP, "max_slippage_percent": 0.2}, "max_slippage_percent"),
        ({"stop": STOP, "max_slippage_percent": "-1"}, "max_slippage_percent"),
    ],
)
def test_a_fault_is_named_by_its_field(plan: dict[str, Any], field: str) -> None:
    """Floats where a decimal string is due, unknown and missing fields, what is reserved, what makes no sense."""
    assert field in fields_refused(plan)


def test_every_fault_of_a_plan_is_named_at_once() -> None:
    """Nobody should have to send a plan five times to learn of five mistakes."""
    fields = fields_refused({"stop": {"percent": 1.5}, "colour": "red", "targets": [target(close=0.5), target(odd=1)]})
    assert {"stop.percent", "colour", "targets.0.close", "targets.1.odd"} <= set(fields)


@pytest.mark.parametrize("body", [None, [], "runner", 5])
def test_what_is_not_an_object_is_no_plan(body: Any) -> None:
    """Whatever was sent, the answer is a refusal and not an accident."""
    assert fields_refused(body)


@pytest.mark.parametrize("level", [{"target": 1}, {"target": 2}, {"target": 9}])
def test_a_level_may_only_name_an_earlier_target(level: dict[str, int]) -> None:
    """A target at its own or a later target's level has no price."""
    plan = {"stop": STOP, "targets": [{"at": level, "close": "0.1"}, target("2", "0.1")]}
    assert fields_refused(plan) == ["targets.0"]


def test_steps_of_a_target_begin_at_the_entry_and_grow() -> None:
    """A list of levels, each with after_seconds since entry."""
    first_late = [{"percent": "3", "after_seconds": 5}]
    not_growing = [{"percent": "3"}, {"percent": "2", "after_seconds": 60}, {"percent": "1", "after_seconds": 60}]
    assert fields_refused({"stop": STOP, "targets": [{"at": first_late, "close": "1"}]})
    assert fields_refused({"stop": STOP, "targets": [{"at": not_growing, "close": "1"}]})
    assert fields_refused({"stop": STOP, "targets": [{"at": [], "close": "1"}]})


def test_integers_and_decimal_strings_are_exact_and_welcome() -> None:
    """JSON's integers lose nothing."""
    plan = parse_plan({"stop": {"percent": 2}, "targets": [target(1, 1)]})
    assert plan.stop.value == D(2)
    assert plan.targets[0].close == D(1)


@pytest.mark.parametrize(("side", "stop"), [("long", "100"), ("long", "101"), ("short", "100"), ("short", "99")])
def test_a_stop_on_the_wrong_side_of_the_entry_is_refused(side: str, stop: str) -> None:
    """With both prices in the message."""
    with pytest.raises(PlanRefused, match=stop) as caught:
        opened({"stop": {"price": stop}}, side)
    assert [fault.field for fault in caught.value.faults] == ["stop"]
    assert "100" in str(caught.value)


@pytest.mark.parametrize(("side", "limit", "fine"), [("long", "95", "94.9"), ("short", "105", "105.1")])
def test_a_stop_beyond_liquidation_is_refused_where_the_venue_tells_it(side: str, limit: str, fine: str) -> None:
    """A stop that liquidation comes before protects nothing."""
    with pytest.raises(PlanRefused, match=limit):
        adopted({"stop": {"percent": "6"}}, side, liquidation_price=D(limit))
    assert adopted({"stop": {"percent": "5"}}, side, liquidation_price=D(fine)).position.stop_price is not None


@pytest.mark.parametrize(
    "targets",
    [
        [target("2", "0.1"), target("1", "0.1")],
        [target("1", "0.1"), {"at": {"price": "100.5"}, "close": "0.1"}],
        [target("-1", "0.1")],
    ],
)
def test_targets_out_of_order_are_refused(targets: list[dict[str, Any]]) -> None:
    """Targets are listed in order of profit, and the first of them is a profit."""
    with pytest.raises(PlanRefused) as caught:
        opened({"stop": STOP, "targets": targets})
    assert all(fault.field.startswith("targets.") for fault in caught.value.faults)


def test_targets_that_change_places_with_time_are_refused() -> None:
    """At every age of the position the order must hold."""
    steps = [{"percent": "3"}, {"percent": "1", "after_seconds": 60}]
    plan = {"stop": STOP, "targets": [target("2", "0.1"), {"at": steps, "close": "0.1"}]}
    with pytest.raises(PlanRefused):
        opened(plan)


def test_a_refused_opening_sends_nothing() -> None:
    """There is no position and no effect: the refusal is all there is."""
    with pytest.raises(PlanRefused):
        opened({"stop": {"price": "200"}})


@pytest.mark.parametrize(
    ("prices", "field"),
    [({"mark": "97"}, "stop"), ({"bid": "101.5", "ask": "101.6"}, "targets.0")],
)
def test_adoption_refuses_what_the_price_has_already_passed(prices: dict[str, str], field: str) -> None:
    """`already_crossed`, unless "act_now" is said."""
    plan = {"stop": STOP, "targets": [target("1", "0.5")]}
    changes: dict[str, Any] = {"mark": "100", "last": "100", "bid": "100", "ask": "100", **prices}
    with pytest.raises(PlanRefused) as caught:
        adopted(plan, quote=quote(**changes))
    assert [(fault.code, fault.field) for fault in caught.value.faults] == [("already_crossed", field)]
    desk = adopted(plan, quote=quote(**changes), act_now=True)
    desk.price(**changes)
    assert len(desk.exits()) == 1


def test_the_runner_is_built_in() -> None:
    """The named plan of the manual, word for word."""
    assert dict(RUNNER) == {
        "stop": {"percent": "1.5"},
        "targets": [
            {"at": {"percent": "1"}, "close": "0.6", "then": {"stop": {"percent": "0"}}},
            {"at": {"percent": "2"}, "close": "0", "then": {"trail": {"percent": "0.8"}}},
        ],
    }


@pytest.mark.parametrize(
    "body",
    [
        dict(RUNNER),
        {"stop": {"price": "90.10"}, "trail": {"atr": "2", "min_percent": "1", "max_percent": "3"}, "atr": "7"},
        {
            "stop": {"atr": "1"},
            "atr": "2",
            "time_limit_seconds": "3600",
            "trigger_by": {"stop": "last", "targets": "mark"},
            "max_slippage_percent": "0.5",
            "targets": [
                {"at": [{"percent": "3"}, {"percent": "2", "after_seconds": 60}], "close": "0.25"},
                {"at": {"r": "4"}, "close": "0.25", "then": {"stop": {"breakeven": "fees"}, "trail": {"price": "5"}}},
                {"at": {"price": "500"}, "close": "0.5", "then": {"stop": {"target": 1}}},
            ],
        },
    ],
)
def test_a_plan_reads_back_as_it_was_written(body: dict[str, Any]) -> None:
    """plan -> JSON -> plan is the same plan, numbers included."""
    plan = parse_plan(body)
    assert parse_plan(plan_to_dict(plan), numbers=True) == plan
