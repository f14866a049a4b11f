"""Snapshots: what is written can be read, by this release, a later one and an earlier one."""

import json
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from actors.domain import schema
from actors.domain.model import Phase, Reason
from tests.unit.driver import D, Desk, opened

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "position-v1.json"

PLAN: dict[str, Any] = {
    "stop": {"percent": "5"},
    "trail": {"percent": "3", "min_percent": "1"},
    "time_limit_seconds": "3600.5",
    "atr": "2.50",
    "targets": [
        {"at": [{"percent": "1"}, {"r": "0.1", "after_seconds": 60}], "close": "0.3", "then": {"stop": {"atr": "1"}}},
        {"at": {"percent": "2"}, "close": "0.3", "then": {"stop": {"breakeven": "fees"}, "trail": {"price": "1"}}},
    ],
}


def first_schema() -> dict[str, Any]:
    """A state as the first release wrote it."""
    state: dict[str, Any] = json.loads(FIXTURE.read_text(encoding="utf-8"))
    return state


def through_bytes(state: dict[str, Any]) -> dict[str, Any]:
    """What comes back from the store."""
    read: dict[str, Any] = msgpack.unpackb(msgpack.packb(state))
    return read


def busy() -> Desk:
    """A position of which nearly every field is set."""
    desk = opened(PLAN, held=("target-2",), tags={"bot": "a"}, request_digest="d", fee_percent="0.05")
    desk.price("100.5", "101", "99.9", "102")
    desk.close("0.5", "r1")
    desk.observe("30")
    return desk


def test_a_position_reads_back_as_it_was() -> None:
    """Equal in every field, through the bytes of the store; only the latest prices are not kept."""
    position = busy().position
    loaded = schema.load(through_bytes(schema.dump(position)), schema.SCHEMA)
    assert loaded == position
    assert loaded.latest is None
    assert schema.dump(loaded) == schema.dump(position)


def test_a_state_is_plain() -> None:
    """str, int, bool, None, list and dict: no float ever, and nothing that needs our classes to be read."""

    def check(value: Any) -> None:
        assert type(value) in (str, int, bool, type(None), list, dict)
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for child in children:
            check(child)

    check(schema.dump(busy().position))


def test_decimals_keep_their_digits() -> None:
    """A quantity of 1.50 is stored as it was, not as the nearest binary fraction."""
    position = busy().position
    loaded = schema.load(schema.dump(position), schema.SCHEMA)
    assert str(loaded.plan.atr) == "2.50"
    assert isinstance(loaded.remaining, Decimal)


def test_the_first_schema_is_read() -> None:
    """One flag `done` said both that a target was hit and that it filled whole."""
    position = schema.load(through_bytes(first_schema()), 1)
    first, second = position.targets
    assert (first.hit, first.filled, first.hit_at) == (True, D(6), 1700000001000000)
    assert (second.hit, second.filled) == (False, D(0))
    assert position.phase is Phase.OPEN
    assert position.stop_reason is Reason.BREAKEVEN
    assert position.remaining == D(4)
    assert [fill.trade_id for fill in position.fills] == ["t1", "t2"]


def test_a_state_of_the_first_schema_is_written_in_the_present_one() -> None:
    """Read old, write new; what it means stays."""
    position = schema.load(first_schema(), 1)
    state = schema.dump(position)
    assert "done" not in state["targets"][0]
    assert schema.load(through_bytes(state), schema.SCHEMA) == position


def test_reading_does_not_change_what_was_read() -> None:
    """An upcaster works on a copy: the bytes in the store are the evidence."""
    state = first_schema()
    before = deepcopy(state)
    schema.load(state, 1)
    assert state == before


def test_unknown_fields_are_carried_through_untouched() -> None:
    """At the top and in every nested record, whatever their shape."""
    state = schema.dump(schema.load(first_schema(), 1))
    assert state["heartbeat"] == 7
    assert state["plan"]["mood"] == {"calm": True}
    assert state["plan"]["targets"][0]["colour"] == "green"
    assert state["instrument"]["contract_note"].startswith("written by")
    assert state["targets"][0]["confidence"] == "0.9"
    assert state["intents"][0]["route"] == ["a", "b"]


def test_unknown_fields_survive_changes_of_their_records() -> None:
    """A newer release's field outlives our own decisions about the same record."""
    position = busy().position
    state = schema.dump(position)
    state["future"] = {"x": [1, 2]}
    state["plan"]["future"] = "plan"
    state["terms"] = {**state.get("terms", {}), "future": "terms"}
    for name in ("targets", "intents", "fills", "close_requests"):
        for number, record in enumerate(state[name]):
            record["future"] = f"{name}-{number}"
    desk = busy()
    desk.position = schema.load(through_bytes(state), schema.SCHEMA)
    desk.held.clear()
    desk.fill("target-2", price="102")
    desk.price("103", "104", seconds=30)
    desk.price("60")
    assert desk.position.remaining == 0
    after = schema.dump(desk.position)
    assert after["future"] == {"x": [1, 2]}
    assert after["plan"]["future"] == "plan"
    assert after["terms"]["future"] == "terms"
    for name in ("targets", "fills", "close_requests"):
        kept = [record.get("future") for record in after[name][: len(state[name])]]
        assert kept == [record["future"] for record in state[name]]
    kept_intents = {record["client_order_id"]: record.get("future") for record in after["intents"]}
    for record in state["intents"]:
        assert kept_intents.get(record["client_order_id"], record["future"]) == record["future"]


@pytest.mark.parametrize("number", [0, -1, schema.SCHEMA + 1, 99])
def test_a_schema_that_is_not_known_is_refused(number: int) -> None:
    """A newer state is not guessed at: it is quarantined by whoever asked."""
    with pytest.raises(ValueError, match=str(number)):
        schema.load(schema.dump(busy().position), number)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("remaining",), 1.5),
        (("remaining",), "many"),
        (("remaining",), "NaN"),
        (("remaining",), None),
        (("remaining",), []),
        (("side",), "sideways"),
        (("phase",), "asleep"),
        (("opened_at",), "yesterday"),
        (("opened_at",), 1.5),
        (("entry_complete",), "yes"),
        (("targets",), {"1": {}}),
        (("targets",), "none"),
        (("targets", 0), "TP1"),
        (("targets", 0, "number"), "one"),
        (("intents", 0, "status"), "maybe"),
        (("plan",), "runner"),
        (("plan", "stop"), None),
        (("tags",), "a=b"),
        (("tags",), ["a"]),
        (("funding_ids",), [1]),
    ],
)
def test_what_cannot_be_read_is_a_value_error(path: tuple[Any, ...], value: Any) -> None:
    """Corruption has one name, whatever shape it takes; a wrong position must never be half-loaded."""
    state = schema.dump(busy().position)
    place: Any = state
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError):
        schema.load(state, schema.SCHEMA)


@pytest.mark.parametrize("missing", ["id", "plan", "side", "instrument", "opened_at"])
def test_a_state_without_a_required_field_is_a_value_error(missing: str) -> None:
    """Nothing is made up."""
    state = schema.dump(busy().position)
    del state[missing]
    with pytest.raises(ValueError):
        schema.load(state, schema.SCHEMA)


@pytest.mark.parametrize("state", [None, [], "position", 7])
def test_what_is_no_mapping_is_a_value_error(state: Any) -> None:
    """Even when the bytes decode to something else entirely."""
    with pytest.raises(ValueError):
        schema.load(state, schema.SCHEMA)


def test_what_resting_targets_save_is_read_back_and_absent_from_older_states() -> None:
    """Only new fields with defaults: what an older state does not say, it means as it always did."""
    plan = {"stop": {"percent": "5"}, "targets": [{"at": {"percent": "1"}, "close": "0.6", "order": "limit"}]}
    desk = opened(plan)
    desk.fill("target-1", "2", price="101")
    desk.alter("target-1", position_wide=True)
    loaded = schema.load(through_bytes(schema.dump(desk.position)), schema.SCHEMA)
    assert loaded == desk.position
    assert loaded.targets[0].software
    assert [intent.limit_price for intent in loaded.intents if intent.leg == "target-1"] == [D(101)]
    market = schema.dump(busy().position)
    assert not any("limit_price" in saved for saved in market["intents"])
    assert not any("software" in saved for saved in market["targets"])
