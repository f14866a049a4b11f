"""The desk: what it keeps for states that were saved, and that it forgets the rest."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from actors.desk import Desk, missed_of
from actors.domain.live_book import plain_of
from actors.domain.model import Quote, Side
from actors.domain.tape import StoredTape
from actors.domain.watch import Missed, Watch
from actors.domain.words import Source
from actors.runtime.base import Ref
from persistence.tape import decode_tape, encode_tape
from tests.unit.driver import opened

SHARD = "main"
NOBODY = cast(Ref, object())
IDLE = Watch(side=Side.LONG, stop_source=Source.MARK, targets_source=Source.MARK)


def quotes(*prices: int, at: int = 1) -> list[Quote]:
    """Quotes whose sources agree, one a second."""
    return [
        Quote(at=(at + index) * 1_000_000, **cast(Any, dict.fromkeys(("mark", "last", "bid", "ask"), Decimal(price))))
        for index, price in enumerate(prices)
    ]


def joined(stored: StoredTape | None = None, *, seen: int = 0) -> Desk:
    """A desk that one shard has come to."""
    desk = Desk(first=1)
    desk.join(SHARD, 1, stored, max(seen, stored.sequence if stored is not None else 0), {})
    return desk


def played(desk: Desk, *prices: int) -> None:
    """Play prices; nobody is woken."""
    assert list(desk.play(quotes(*prices))) == []


def saved(desk: Desk) -> StoredTape:
    """What is to be saved now, as it is read again."""
    copy = desk.to_save(desk.tapes[SHARD])
    assert copy is not None
    desk.saved(SHARD, 1, copy.sequence)
    return copy


def since(tape: StoredTape, seen: int) -> tuple[object, object]:
    """Lowest and highest mark price after a point."""
    missed: Missed = tape.missed("", seen, "mark")
    return missed.low, missed.high


def test_a_state_that_is_being_saved_is_answered_until_a_later_one_is_acknowledged() -> None:
    """Whichever of them a crash leaves, the tape says what came after it, and nothing of what nobody asks about."""
    desk = joined()
    desk.register("p", NOBODY, IDLE)
    points = []
    for price in (100, 90, 80, 70):
        played(desk, price)
        found = desk.fold("p", NOBODY)
        assert found is not None
        points.append(found[1])
    desk.saving(SHARD, "p", points[0])
    desk.saving(SHARD, "p", points[2])
    played(desk, 60)
    tape = saved(desk)
    assert since(tape, points[0]) == (60, 90)
    assert since(tape, points[2]) == (60, 70)
    desk.acknowledged(SHARD, "p", points[2])
    played(desk, 50)
    tape = saved(desk)
    assert since(tape, points[2]) == (50, 70)
    assert len(tape.entries("mark")[1]) == 2


def test_nothing_new_is_not_saved_again() -> None:
    """A price inside what is known changes no copy."""
    desk = joined()
    desk.register("p", NOBODY, IDLE)
    desk.saving(SHARD, "p", desk.present())
    played(desk, 100, 90)
    saved(desk)
    played(desk, 95, 91, 99)
    assert desk.to_save(desk.tapes[SHARD]) is None
    played(desk, 101)
    assert desk.to_save(desk.tapes[SHARD]) is not None


def test_a_second_copy_waits_for_the_first() -> None:
    """And only the answer to that very copy makes it durable."""
    desk = joined()
    desk.saving(SHARD, "p", desk.present())
    played(desk, 100)
    tape = desk.tapes[SHARD]
    first = desk.to_save(tape)
    assert first is not None
    played(desk, 200)
    assert desk.to_save(tape) is None
    desk.saved(SHARD, 2, first.sequence)
    desk.saved(SHARD, 1, first.sequence + 1)
    assert desk.tapes[SHARD].durable is None
    desk.saved(SHARD, 1, first.sequence)
    assert desk.tapes[SHARD].durable is first
    assert desk.to_save(tape) is not None


def test_a_shard_that_comes_later_brings_what_it_had_stored() -> None:
    """Its own numbers go on; what the desk played before it came is none of its own."""
    before = joined()
    point = before.present()
    before.saving(SHARD, "p", point)
    played(before, 100, 120)
    stored = saved(before)
    later = Desk(first=1)
    played(later, 500, 10)
    later.join(SHARD, 2, stored, stored.sequence + 40, {})
    assert later.present() > stored.sequence + 40
    later.saving(SHARD, "p", point)
    later.saving(SHARD, "q", stored.sequence + 40)
    played(later, 90)
    copy = later.to_save(later.tapes[SHARD])
    assert copy is not None
    assert since(copy, point) == (90, 120)
    assert since(copy, stored.sequence + 40) == (90, 90)


def test_a_tape_comes_back_from_bytes_as_it_was() -> None:
    """Encoded, stored, decoded: the same answers."""
    desk = joined()
    point = desk.present()
    desk.saving(SHARD, "p", point)
    played(desk, 100, 140, 90, 120)
    tape = saved(desk)
    again = StoredTape(decode_tape(encode_tape(plain_of(tape))))
    assert plain_of(again) == plain_of(tape)
    assert since(again, point) == (90, 140)


def test_what_nobody_asks_about_is_forgotten() -> None:
    """A market that falls for days, and a position that is told something at every step: a handful of entries."""
    desk = joined()
    desk.register("p", NOBODY, IDLE)
    point = 0
    for price in range(20_000, 10_000, -1):
        played(desk, price)
        found = desk.fold("p", NOBODY)
        assert found is not None
        point = found[1]
        desk.saving(SHARD, "p", point)
        desk.acknowledged(SHARD, "p", point)
        if price % 50 == 0:
            saved(desk)
    assert desk.size < 10_000
    played(desk, 15_000)
    assert since(saved(desk), point) == (15_000, 15_000)


def test_a_position_that_ended_is_asked_about_no_more() -> None:
    """Its points go with it."""
    desk = joined()
    desk.saving(SHARD, "p", desk.present())
    desk.end(SHARD, "p")
    assert desk.tapes[SHARD].points == {}


def test_an_actor_that_was_replaced_does_not_unregister_its_successor() -> None:
    """It ends after the other one has begun to listen."""
    desk, old, new = joined(), cast(Ref, object()), cast(Ref, object())
    desk.register("p", old, IDLE)
    desk.register("p", new, IDLE)
    desk.unregister("p", old)
    assert desk.fold("p", new) is not None
    desk.unregister("p", new)
    assert desk.fold("p", new) is None


def test_an_actor_that_was_replaced_takes_nothing_of_what_its_successor_has_missed() -> None:
    """It handles what was told to it before it ends: the extremes it would take would be nobody's."""
    desk, old, new = joined(), cast(Ref, object()), cast(Ref, object())
    before, _ = desk.register("p", old, IDLE)
    after, _ = desk.register("p", new, IDLE)
    played(desk, 100, 300, 200)
    assert desk.fold("p", old) is None
    found = desk.fold("p", new)
    assert found is not None
    assert (found[0].low, found[0].high) == (Decimal(100), Decimal(300))
    assert desk.serial("p", old) == 0
    assert desk.serial("p", new) == after > before


def test_a_stored_tape_answers_in_the_source_of_the_stop() -> None:
    """What a stored position has missed is of the prices that its stop follows."""
    position = opened({"stop": {"percent": "50"}, "trigger_by": {"stop": "last", "targets": "mark"}}).position
    desk = joined()
    position = replace(position, seen=desk.present())
    desk.saving(SHARD, position.id, position.seen)
    assert list(desk.play([replace(quotes(100)[0], last=Decimal(140))])) == []
    assert missed_of(position, saved(desk)).high == 140


def trailing(**levels: Any) -> Watch:
    """A long that waits for these levels of the mark price."""
    return Watch(side=Side.LONG, stop_source=Source.MARK, targets_source=Source.MARK, **levels)


def test_what_crossed_before_a_compaction_still_wakes() -> None:
    """The wake is in its mailbox when a position handles another message, and says that it waits for something else."""
    desk = joined()
    desk.saving(SHARD, "p", desk.present())
    desk.register("p", NOBODY, trailing(stop=Decimal(80), peak=Decimal(90), trail_gap=Decimal(10)))
    played(desk, 85, 100)
    found = desk.fold("p", NOBODY)
    assert found is not None
    assert [wake.key for _, wake in desk.play(quotes(89))] == ["p"]
    assert list(desk.play(quotes(97, 98))) == []
    desk._compact_at = 1
    desk.to_save(desk.tapes[SHARD])
    watch = trailing(stop=Decimal(90), peak=Decimal(100), trail_gap=Decimal(10), target=Decimal(200))
    _, wake = desk.register("p", NOBODY, watch, found[1])
    assert wake is not None
    assert wake.quote.mark == 89


def test_the_present_price_is_not_one_that_is_still_to_come() -> None:
    """A long batch is played a part at a time; whoever comes in between is told the last of what was played."""
    desk = joined()
    desk.register("p", NOBODY, trailing(target=Decimal(200)))
    play = desk.play(quotes(*([200] + [100] * 63 + [50] * 10 + [300])))
    next(play)
    quote, _, _ = desk.look(SHARD, 0, "mark")
    assert quote is not None
    assert quote.mark == 100


def test_an_actor_of_an_earlier_life_does_not_register_again() -> None:
    """What was still in its mailbox comes after the next life has begun to listen."""
    desk, old, new = joined(), cast(Ref, object()), cast(Ref, object())
    stop = trailing(stop=Decimal(90))
    desk.register("p", old, stop, shard=SHARD, epoch=1)
    desk.join(SHARD, 2, None, 0, {})
    desk.register("p", new, stop, shard=SHARD, epoch=2)
    assert desk.register("p", old, stop, shard=SHARD, epoch=1) == (0, None)
    desk.unregister("p", old)
    assert [ref for ref, _ in desk.play(quotes(80))] == [new]


def test_positions_that_have_not_begun_yet_are_answered_for() -> None:
    """Their states were loaded with the shard; a copy that is saved before their actors' first turn keeps theirs."""
    before = joined()
    before.saving(SHARD, "p", before.present())
    played(before, 500)
    point = before.present()
    before.saving(SHARD, "q", point)
    played(before, 300, 200)
    stored = saved(before)
    later = Desk(first=1)
    later.join(SHARD, 2, stored, stored.sequence, {"q": [point]})
    played(later, 199)
    copy = later.to_save(later.tapes[SHARD])
    assert copy is not None
    assert since(copy, point) == (199, 300)


def test_a_shard_that_comes_in_the_middle_is_told_what_came_after() -> None:
    """Its first price is at a point of its own, which no compaction forgets."""
    for compacted in (False, True):
        desk = joined()
        desk.register("p", NOBODY, IDLE)
        desk.saving(SHARD, "p", desk.present())
        played(desk, 100, 110, 105, 90, 95)
        desk.join("late", 1, None, 0, {})
        after = desk.tapes["late"].after
        desk.saving("late", "q", after)
        played(desk, 97, 108, 96, 89, 88, 90)
        if compacted:
            desk._compact_at = 1
            desk.to_save(desk.tapes[SHARD])
        copy = desk.to_save(desk.tapes["late"])
        assert copy is not None
        assert since(copy, after) == (88, 108)


def test_what_is_forgotten_does_not_wait_for_the_store() -> None:
    """A copy is under way and never answered: the tapes do not grow with every price all the same."""
    desk = joined()
    desk.register("p", NOBODY, IDLE)
    desk.saving(SHARD, "p", desk.present())
    played(desk, 60_000)
    assert desk.to_save(desk.tapes[SHARD]) is not None
    for price in range(50_000, 45_000, -1):
        played(desk, price)
        desk.fold("p", NOBODY)
        desk.to_save(desk.tapes[SHARD])
    assert desk.size < 3_000


def test_a_state_that_is_saved_after_a_copy_gets_another() -> None:
    """Also where the market is quiet by then."""
    desk = joined()
    desk.register("p", NOBODY, IDLE)
    desk.saving(SHARD, "p", desk.present())
    played(desk, 300)
    found = desk.fold("p", NOBODY)
    assert found is not None
    played(desk, 200, 250, 240)
    saved(desk)
    desk.saving(SHARD, "p", found[1])
    desk.acknowledged(SHARD, "p", found[1])
    assert since(saved(desk), found[1]) == (200, 250)


STEPS = st.tuples(st.sampled_from(["saving", "acknowledged", "end"]), st.integers(0, 3), st.integers(0, 9))


@given(steps=st.lists(STEPS))
def test_what_is_asked_about_is_what_the_states_have_seen(steps: list[tuple[str, int, int]]) -> None:
    """It is counted along, and never gone through: it must not drift from the states themselves."""
    desk = Desk()
    desk.join(SHARD, 1, None, 0, {"p0": [1, 2], "p1": [2]})
    tape = desk.tapes[SHARD]
    for step, position, point in steps:
        if step == "end":
            desk.end(SHARD, f"p{position}")
        else:
            getattr(desk, step)(SHARD, f"p{position}", point)
        assert tape.asked == dict(Counter(point for points in tape.points.values() for point in points))
