"""Fast copies, writers and readers: to the digit what the slow and obvious way gives, for every kind of record."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from decimal import Decimal
from enum import StrEnum
from random import Random
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.domain import events, model, plain, schema
from actors.domain.model import IntentStatus, Level, LevelKind, OrderKind, Plan, Position, Record
from actors.domain.plans import RUNNER
from actors.domain.records import changed
from actors.domain.step import Step
from tests.unit.driver import D, opened, quote

QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
RECORDS = [kind for kind in vars(model).values() if isinstance(kind, type) and issubclass(kind, Record)]
MESSAGES = [kind for kind in vars(events).values() if is_dataclass(kind) and kind.__module__ == events.__name__]

seeds = st.integers(0, 2**32).map(Random)


def text(random: Random) -> str:
    """A short text; the empty one too."""
    return "".join(random.choices("abc:/-0", k=random.randrange(5)))


def value(hint: Any, random: Random) -> Any:
    """Some value of an annotation."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return value(random.choice(get_args(hint)), random)
    if origin is tuple:
        return tuple(value(get_args(hint)[0], random) for _ in range(random.randrange(3)))
    if origin is not None:
        return {text(random): text(random) for _ in range(random.randrange(3))}
    if hint is Decimal:
        return random.choice(
            [D("0.00"), D("1.50"), Decimal(random.randrange(-999, 999)).scaleb(random.randrange(-4, 2))]
        )
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return random.choice(list(hint))
    if isinstance(hint, type) and is_dataclass(hint):
        return record_of(hint, random)
    return {NoneType: None, int: random.randrange(2**53), str: text(random), bool: random.random() < 0.5}[hint]


def record_of(kind: Any, random: Random) -> Any:
    """Some record of a kind: any field that has a default may be left to it, and `extra` be set."""
    hints = get_type_hints(kind)
    chosen = {
        field.name: value(hints[field.name], random)
        for field in fields(kind)
        if field.name != "extra" and (no_default(field) or random.random() < 0.5)
    }
    if "extra" in hints and random.random() < 0.2:
        chosen["extra"] = {"x_" + text(random): [text(random)]}
    return kind(**chosen)


def no_default(field: Field[Any]) -> bool:
    """Whether a value must be given."""
    return field.default is MISSING and field.default_factory is MISSING


def slowly(value: Any) -> Any:
    """The stored form of a value, by looking at what it is: the reference that the compiled writers must equal."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [slowly(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, Record):
        return value
    body: dict[str, Any] = {}
    for field in fields(value):
        if field.name != "extra" and field.metadata.get("saved", True):
            mine = getattr(value, field.name)
            has_usual = isinstance(field.default, int | str | Decimal | tuple | NoneType)
            if not has_usual or mine != field.default:
                body[field.name] = slowly(mine)
    return body | dict(value.extra or {})


@pytest.mark.parametrize("kind", RECORDS)
@QUICK
@given(random=seeds)
def test_what_is_written_is_what_the_slow_way_writes(kind: type, random: Random) -> None:
    """Same fields, same order, same plain types; so the bytes in the store are the same."""
    record = record_of(kind, random)
    assert msgpack.packb(plain.write(record)) == msgpack.packb(slowly(record))


@pytest.mark.parametrize("kind", RECORDS)
@QUICK
@given(random=seeds)
def test_what_is_read_is_what_was_written(kind: type, random: Random) -> None:
    """Digit by digit, through the bytes, and of this very class; twice, because the second may be shared."""
    record = record_of(kind, random)
    body = msgpack.unpackb(msgpack.packb(slowly(record)))
    for _ in range(2):
        found = plain.read(kind, body)
        assert type(found) is kind
        assert found == record
        assert slowly(found) == body


@pytest.mark.parametrize("kind", [*RECORDS, *MESSAGES])
@QUICK
@given(random=seeds)
def test_a_fast_copy_is_what_replace_makes(kind: Any, random: Random) -> None:
    """For every kind of record and of message, whichever fields are changed; what was copied stays as it was."""
    record, other = record_of(kind, random), record_of(kind, random)
    names = [field.name for field in fields(kind) if random.random() < 0.5]
    before = {field.name: getattr(record, field.name) for field in fields(kind)}
    values_now = {name: getattr(other, name) for name in names}
    copy, expected = changed(record, values_now), replace(record, **values_now)
    assert type(copy) is kind
    for field in fields(kind):
        assert getattr(copy, field.name) is getattr(expected, field.name)
        assert getattr(record, field.name) is before[field.name]


def test_a_fast_copy_is_as_frozen_as_its_original() -> None:
    """The draft it was made as is not what is handed out."""
    copy = changed(opened(RUNNER).position, {"disputed": True})
    with pytest.raises(AttributeError):
        copy.disputed = False  # type: ignore[misc]
    assert hash(changed(Level(kind=LevelKind.R), {})) == hash(Level(kind=LevelKind.R))


@pytest.mark.parametrize("name", ["colour", "protected", "exit_side"])
def test_a_field_that_is_none_cannot_be_changed(name: str) -> None:
    """A misspelt name is a mistake of ours, and is not swallowed."""
    with pytest.raises(AttributeError):
        changed(opened(RUNNER).position, {name: 1})


def stored() -> dict[str, Any]:
    """A position as it comes from the store."""
    state: dict[str, Any] = msgpack.unpackb(msgpack.packb(schema.dump(opened(RUNNER).position)))
    return state


def test_positions_share_what_they_have_in_common() -> None:
    """A hundred thousand positions of a few plans hold a few plans."""
    first, second = schema.load(stored(), schema.SCHEMA), schema.load(stored(), schema.SCHEMA)
    assert first is not second
    for name in ("plan", "instrument", "terms", "quantity", "account", "symbol"):
        assert getattr(first, name) is getattr(second, name)


def test_positions_that_were_opened_share_what_they_have_in_common() -> None:
    """As those do that were read; and one whose plan is written with other digits keeps its own."""
    first, second = opened(RUNNER).position, opened(RUNNER).position
    for name in ("plan", "instrument", "terms"):
        assert getattr(first, name) is getattr(second, name)
    longer = opened({**RUNNER, "max_slippage_percent": "0.20"}).position
    assert longer.plan == first.plan
    assert str(longer.plan.max_slippage_percent) == "0.20"


def test_what_is_shared_is_the_same_to_the_digit() -> None:
    """1.5 and 1.50 are equal numbers and different states; true is not 1, and never becomes it."""
    usual, longer, wrong = stored(), stored(), stored()
    longer["plan"]["stop"]["value"] = "1.50"
    wrong["plan"]["stop"]["fees"] = 0
    assert str(schema.load(usual, schema.SCHEMA).plan.stop.value) == "1.5"
    assert str(schema.load(longer, schema.SCHEMA).plan.stop.value) == "1.50"
    assert str(schema.load(usual, schema.SCHEMA).plan.stop.value) == "1.5"
    with pytest.raises(ValueError, match="bool is stored as int"):
        schema.load(wrong, schema.SCHEMA)


def test_nothing_shared_can_be_changed_through_what_was_read_or_written() -> None:
    """Neither the state that was loaded, nor one that was dumped, reaches into another position's plan."""
    state = stored()
    state["plan"]["mood"] = {"calm": [True]}
    clean = deepcopy(state)
    first = schema.load(state, schema.SCHEMA)
    state["plan"]["mood"]["calm"].append(False)
    schema.dump(first)["plan"]["mood"]["calm"].append(None)
    schema.dump(first)["plan"]["targets"].clear()
    assert schema.dump(schema.load(clean, schema.SCHEMA)) == clean


def test_what_is_kept_for_sharing_is_bounded() -> None:
    """Prices never end; what is remembered of them does, and what is forgotten is made again."""
    seen = plain._Lately(4, Decimal, 5)
    made = [seen[str(number)] for number in range(100)]
    assert made == [Decimal(number) for number in range(100)]
    assert len(seen) + len(seen.former) <= 8
    assert seen["99"] is made[99]
    assert seen["123456"] is not seen["123456"]
    assert seen["3"] == made[3]


def test_a_plan_that_cannot_be_found_again_is_read_all_the_same() -> None:
    """What no release would store is read (or refused) as ever: sharing only ever saves work."""

    class Stranger(dict[str, Any]):
        """A mapping whose bytes are not known."""

    state = stored()
    plan = schema.load(state, schema.SCHEMA).plan
    state["plan"] = Stranger(state["plan"])
    assert schema.load(state, schema.SCHEMA).plan == plan
    assert isinstance(plan, Plan)


def test_the_record_that_is_lacking_a_field_is_named() -> None:
    """The reason is for whoever looks at a quarantined position."""
    state = stored()
    del state["intents"][0]["leg"]
    with pytest.raises(ValueError, match="Intent is stored without leg"):
        schema.load(state, schema.SCHEMA)


def test_unsaved_fields_are_neither_written_nor_read() -> None:
    """The latest prices are those of the market, never those of a former life."""
    position = opened(RUNNER).position
    assert position.latest is not None
    state = schema.dump(position)
    assert "latest" not in state
    loaded = schema.load({**state, "latest": {"at": 1}, "reconciling": True}, schema.SCHEMA)
    assert (loaded.latest, loaded.reconciling, loaded.extra) == (None, False, None)
    assert isinstance(loaded, Position)


def test_a_position_that_was_looked_at_stays_as_it_is() -> None:
    """A rule may keep what it has seen and go on changing: values never change under anybody's hands."""
    position = opened(RUNNER).position
    step = Step(position)
    assert step.position is position
    step.change(disputed=True)
    first = step.position
    step.change(disputed=False, remaining=D(1))
    step.change_target(1, hit=True)
    second = step.position
    assert (position.disputed, first.disputed, second.disputed) == (False, True, False)
    assert (first.remaining, second.remaining) == (position.remaining, D(1))
    assert (first.targets[0].hit, second.targets[0].hit) == (False, True)
    assert first == replace(position, disputed=True)
    with pytest.raises(KeyError):
        step.change(colour="green")


def test_only_a_latest_price_leaves_a_position_what_it_is() -> None:
    """What began a step and was merely shown a price needs no comparison; one that was changed does."""
    position, latest = opened(RUNNER).position, quote("100.5")
    step = Step(position)
    step.see(latest)
    assert step.position is step.before
    assert step.position == position
    assert step.position.latest is latest
    step.change(disputed=True)
    step.see(quote("101"))
    assert step.position is not step.before
    assert step.position != position


@QUICK
@given(random=seeds)
def test_a_census_counts_what_the_rules_would_look_for(random: Random) -> None:
    """One pass over the intents says what many said before; and it is made anew when they change."""
    position = record_of(Position, random)
    step = Step(position)
    for _ in range(2):
        intents = step.position.intents
        census = step.census()
        assert census.planned == any(intent.status is IntentStatus.PLANNED for intent in intents)
        assert census.limits == any(intent.kind is OrderKind.LIMIT for intent in intents)
        assert census.residents == [i for i in intents if i.resident and not i.status.terminal]
        exits = [i for i in intents if not i.resident and i.leg != "entry"]
        assert census.exit_live == any(
            not intent.status.terminal and intent.status is not IntentStatus.PLANNED for intent in exits
        )
        step.plan_order(1, random.choice(["entry", "resident-7", "target-1"]), model.Reason.ENTRY, D(1))
        step.change_intent(step.position.intents[-1].client_order_id, status=random.choice(list(IntentStatus)))


@pytest.mark.parametrize("status", IntentStatus)
def test_an_intent_has_ended_when_its_status_is_terminal(status: IntentStatus) -> None:
    """Said twice, because every rule asks; so it must be said alike."""
    intent = record_of(model.Intent, Random(1))
    intent = replace(intent, status=status)
    assert intent.ended == status.terminal
    assert intent.live == (not status.terminal and status is not IntentStatus.PLANNED)
