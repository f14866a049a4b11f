"""Group commit at scale: full batches, fair turns, what was decided first, and the tapes that travel along."""

from dataclasses import replace
from typing import Any

import pytest

from persistence.failure_log import SPILLED
from persistence.memory_store import MemoryServer
from persistence.messages import Drain, Save, Saved, SaveTapes, ShardTaken, TakeShard, TapesSaved
from persistence.shard_book import SOFT_LIMIT, ShardBook
from persistence.store import Snapshot
from persistence.tape_queue import TAPE_SECONDS
from tests.unit.test_persistence_actor import SHARD, Keeper, Receiver, Reply, save


@pytest.fixture
def owner() -> Keeper:
    """A keeper that owns its shard."""
    found = Keeper()
    found.take()
    return found


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch, owner: Keeper) -> list[tuple[str, list[str], list[str]]]:
    """Each transaction that the store was asked for: shard, positions, tapes."""
    seen: list[tuple[str, list[str], list[str]]] = []
    store_save = owner.store.save

    def noted(shard: str, epoch: int, changes: Any, tapes: Any = None) -> Any:
        seen.append((shard, [change.position_id for change in changes], list(tapes or {})))
        return store_save(shard, epoch, changes, tapes)

    monkeypatch.setattr(owner.store, "save", noted)
    return seen


def soft(keeper: Keeper, change: int = 1, position_id: str = "p", **fields: Any) -> Save:
    """A save of which only the extremes moved."""
    return save(keeper, change, position_id=position_id, soft=True, **fields)


def tapes(reply_to: Receiver | None = None, epoch: int | None = None, **marks: int) -> SaveTapes:
    """Tapes of these symbols, each as long as its mark."""
    raw = {symbol: b"t" * mark for symbol, mark in marks.items()}
    ref = None if reply_to is None else reply_to.ref
    return SaveTapes(shard=SHARD, tapes=raw, epoch=epoch, reply_to=ref, marks=marks)


def stored_tapes(keeper: Keeper) -> dict[str, bytes]:
    """What is stored of them."""
    return keeper.server.shard(SHARD).tapes


def refuse_from(keeper: Keeper, stage: str) -> None:
    """The next transaction gets this far, then everything is cut off."""

    def fault(at: str) -> None:
        if at == stage:
            keeper.cut = "all"
        keeper._fault(at)

    keeper.store.faults = fault


# --- batches and turns -----------------------------------------------------------------------------------------------


def test_ten_thousand_queued_saves_go_in_full_batches(owner: Keeper, batches: list[Any]) -> None:
    """Everything in the mailbox is taken in before the first batch goes: twenty of five hundred, oldest first."""
    names = [f"p{number}" for number in range(10_000)]
    owner.tell(*(save(owner, 1, position_id=name) for name in names))
    assert [len(positions) for _, positions, _ in batches] == [500] * 20
    assert [name for _, positions, _ in batches for name in positions] == names
    assert len(owner.position.take(Saved)) == 10_000


def test_shards_take_turns(owner: Keeper, batches: list[Any]) -> None:
    """Ten shards with a thousand saves each: nobody's second batch goes before everybody's first."""
    shards = [f"s{number}" for number in range(10)]
    owner.tell(*(TakeShard(shard=shard, reply_to=owner.supervisor.ref) for shard in shards))
    saves = [save(owner, 1, position_id=f"p{number}") for number in range(1000)]
    owner.tell(*(replace(each, shard=shard) for shard in shards for each in saves))
    assert [shard for shard, _, _ in batches] == [*shards, *shards]
    assert {len(positions) for _, positions, _ in batches} == {500}


def test_a_lone_decision_waits_for_nobody(owner: Keeper, batches: list[Any]) -> None:
    """No timer, no company: it goes out as soon as it is heard of."""
    timers = len(owner.timers)
    owner.tell(save(owner, 1))
    assert batches == [(SHARD, ["p"], [])]
    assert len(owner.timers) == timers


# --- soft states -----------------------------------------------------------------------------------------------------


def test_what_was_decided_goes_first_and_soft_states_fill_the_batch(owner: Keeper, batches: list[Any]) -> None:
    """Whatever came first: the decided ones, oldest first, then as many soft ones as travel at most."""
    many = [soft(owner, position_id=f"s{number}") for number in range(SOFT_LIMIT + 5)]
    owner.tell(*many, save(owner, 1, position_id="a"), save(owner, 1, position_id="b"))
    first, second = batches
    assert first[1] == ["a", "b", *(f"s{number}" for number in range(SOFT_LIMIT))]
    assert second[1] == [f"s{number}" for number in range(SOFT_LIMIT, SOFT_LIMIT + 5)]


def test_a_batch_of_soft_states_alone_is_small(owner: Keeper, batches: list[Any], monkeypatch: Any) -> None:
    """What is decided while a flood of extremes is saved waits for one small batch, then it goes."""
    store_save = owner.store.save
    arriving = [save(owner, 1, position_id="decided")]

    def something_is_decided(*args: Any) -> Any:
        if arriving:
            owner.actor.actor_ref.tell(arriving.pop())
        return store_save(*args)

    monkeypatch.setattr(owner.store, "save", something_is_decided)
    owner.tell(*(soft(owner, position_id=f"s{number}") for number in range(1000)))
    assert len(batches[0][1]) == SOFT_LIMIT
    assert batches[1][1][0] == "decided"
    assert len(owner.position.take(Saved)) == 1001


def test_a_full_batch_of_decisions_takes_no_soft_state() -> None:
    """The bound of a batch is one for both."""
    keeper = Keeper()
    book = ShardBook(SHARD, 1, keeper.supervisor.ref, 0.0)
    book.add(soft(keeper, position_id="s"))
    for number in range(12):
        book.add(save(keeper, 1, position_id=f"p{number}"))
    assert [change.position_id for change in book.freeze(10)] == [f"p{number}" for number in range(10)]


def test_soft_states_coalesce(owner: Keeper, batches: list[Any]) -> None:
    """The newest of a position, at the place of its oldest."""
    owner.tell(*(soft(owner, change, name) for change in (1, 2, 3) for name in ("p", "q")))
    assert batches == [(SHARD, ["p", "q"], [])]
    assert [told.change for told in owner.position.take(Saved)] == [3, 3]


def test_what_was_decided_stays_so_under_a_soft_state() -> None:
    """A soft state on top of a decision that waits is as urgent, and so is a decision on top of a soft one."""
    keeper = Keeper()
    book = ShardBook(SHARD, 1, keeper.supervisor.ref, 0.0)
    book.add(soft(keeper, 1, "other"))
    book.add(save(keeper, 1, events=[{"n": 1}]))
    book.add(soft(keeper, 2, events=[{"n": 2}]))
    book.add(soft(keeper, 1, "late", events=[{"n": 3}]))
    book.add(save(keeper, 2, position_id="late"))
    assert list(book.waiting) == ["p", "late"]
    changes = book.freeze(2)
    assert [(change.state, change.events) for change in changes] == [
        ({"change": 2}, ({"n": 1}, {"n": 2})),
        ({"change": 2}, ({"n": 3},)),
    ]
    assert book.holds("other")


@pytest.mark.parametrize(
    ("before", "after", "stays_soft"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_batch_that_was_not_saved_stays_as_urgent_as_it_was(before: bool, after: bool, stays_soft: bool) -> None:
    """Also under what came meanwhile, whichever of the two was decided."""
    keeper = Keeper()
    book = ShardBook(SHARD, 1, keeper.supervisor.ref, 0.0)
    book.add(save(keeper, 1, soft=before))
    book.freeze(10)
    book.add(save(keeper, 2, soft=after))
    book.thaw()
    assert (list(book.soft), list(book.waiting)) == ((["p"], []) if stays_soft else ([], ["p"]))
    assert book.freeze(10)[0].state == {"change": 2}


def test_a_shard_with_a_decision_goes_before_those_without(owner: Keeper, batches: list[Any]) -> None:
    """However early the others asked."""
    for shard in ("one", "two", "three"):
        owner.tell(TakeShard(shard=shard, reply_to=owner.supervisor.ref))
    asked = [
        replace(soft(owner), shard="one"),
        replace(soft(owner), shard="two"),
        replace(save(owner, 1), shard="three"),
    ]
    owner.tell(*asked)
    assert [shard for shard, _, _ in batches] == ["three", "one", "two"]


def test_an_outage_spills_the_first_soft_state_and_every_decision(owner: Keeper) -> None:
    """Extremes of an hour must not push what was decided out of the log; the spill that is left still applies."""
    owner.cut = "all"
    for change in (1, 2, 3):
        owner.tell(soft(owner, change))
    owner.tell(save(owner, 4))
    owner.tell(soft(owner, 5))
    spilled = [failure.change for failure in owner.log.failures if failure.kind == SPILLED]
    assert spilled == [1, 4]
    assert owner.log.spills(SHARD)["p"].state == {"change": 4}
    owner.cut = None
    owner.sleep(3.0)
    assert owner.position.take(Saved)[-1].change == 5
    assert owner.log.spills(SHARD) == {}


@pytest.mark.parametrize("is_soft", [True, False])
def test_a_spill_is_not_taken_back_while_a_newer_state_waits(is_soft: bool) -> None:
    """Whichever kind it is: only once nothing of the position waits is there nothing left to replay."""
    keeper = Keeper()
    book = ShardBook(SHARD, 1, keeper.supervisor.ref, 0.0)
    book.add(save(keeper, 1))
    assert len(list(book.new_spills(OSError()))) == 1
    for change in (1, 2):
        book.freeze(10)
        if change == 1:
            book.add(save(keeper, 2, soft=is_soft))
        stored = Snapshot(position_id="p", schema=1, version=change, epoch=1, write_id="w", state={})
        book.finish({"p": stored})
        assert len(list(book.settled_spills({"p": stored}))) == (change == 2)


def test_a_soft_state_that_waits_is_saved_before_its_position_is_read_or_left(owner: Keeper) -> None:
    """Drained like everything else."""
    done = Reply()
    owner.tell(soft(owner), Drain(reply=done))
    assert done.value is True
    assert owner.stored().state == {"change": 1}


# --- tapes -----------------------------------------------------------------------------------------------------------


def test_tapes_travel_with_a_position_and_are_answered(owner: Keeper, batches: list[Any]) -> None:
    """One transaction for both; whoever sent them hears which marks are durable, and under which epoch."""
    market = Receiver()
    owner.tell(tapes(market, BTC=3, ETH=5), save(owner, 1))
    assert batches == [(SHARD, ["p"], ["BTC", "ETH"])]
    assert market.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 3, "ETH": 5})]
    assert stored_tapes(owner) == {"BTC": b"ttt", "ETH": b"ttttt"}
    owner.sleep(1.0)
    assert len(batches) == 1


def test_tapes_alone_are_saved_a_moment_later(owner: Keeper, batches: list[Any]) -> None:
    """Not at once, and all that came meanwhile together."""
    market = Receiver()
    owner.tell(tapes(market, BTC=1))
    owner.sleep(TAPE_SECONDS / 2)
    owner.tell(tapes(market, BTC=2, ETH=4))
    owner.sleep(TAPE_SECONDS / 2 - 0.01)
    assert batches == []
    owner.sleep(0.02)
    assert batches == [(SHARD, [], ["BTC", "ETH"])]
    assert market.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 2, "ETH": 4})]
    owner.tell(tapes(market, BTC=7))
    owner.sleep(TAPE_SECONDS + 0.01)
    assert len(batches) == 2


def test_each_sender_hears_of_its_own_tapes(owner: Keeper) -> None:
    """Of those that were saved: one that a newer took the place of is the newer one's to tell. Marks are no must."""
    one, two = Receiver(), Receiver()
    owner.tell(
        tapes(one, BTC=1, ETH=1),
        tapes(two, BTC=2),
        SaveTapes(shard=SHARD, tapes={"SOL": b"s"}, reply_to=two.ref),
        SaveTapes(shard=SHARD, tapes={"XRP": b"x"}),
        save(owner, 1),
    )
    assert one.told == [TapesSaved(shard=SHARD, epoch=1, marks={"ETH": 1})]
    assert two.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 2})]
    assert set(stored_tapes(owner)) == {"BTC", "ETH", "SOL", "XRP"}


def test_a_tape_of_another_epoch_is_dropped(owner: Keeper) -> None:
    """Its sender belongs to a life of the shard that has ended, or to a shard that is not ours."""
    market = Receiver()
    taken = owner.take()
    owner.tell(tapes(market, epoch=taken.epoch - 1, BTC=1), save(owner, 1))
    owner.tell(replace(tapes(market, ETH=1), shard="other"))
    owner.sleep(1.0)
    assert stored_tapes(owner) == {}
    assert market.told == []
    owner.tell(tapes(market, epoch=taken.epoch, BTC=2))
    owner.sleep(1.0)
    assert stored_tapes(owner) == {"BTC": b"tt"}


def test_tapes_that_could_not_be_saved_are_kept_and_tried_again(owner: Keeper) -> None:
    """The newest wins, nothing is spilled, and with no position to save the outage still ends with them saved."""
    market = Receiver()
    owner.cut = "before_write"
    owner.tell(tapes(market, BTC=1, ETH=1))
    owner.sleep(1.0)
    owner.tell(tapes(market, BTC=2))
    owner.sleep(1.0)
    assert market.told == []
    assert not [failure for failure in owner.log.failures if failure.kind == SPILLED]
    owner.cut = None
    owner.sleep(3.0)
    assert stored_tapes(owner) == {"BTC": b"tt", "ETH": b"t"}
    assert market.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 2, "ETH": 1})]
    assert owner.reachable == [False, True]


@pytest.mark.parametrize("stage", ["before_write", "after_write"])
def test_after_a_doubt_the_positions_are_settled_and_the_tapes_given_again(
    owner: Keeper, batches: list[Any], stage: str
) -> None:
    """Whether it had been applied or not: the position is saved once, and the tape is told only when it surely is."""
    market = Receiver()
    refuse_from(owner, stage)
    owner.tell(tapes(market, BTC=1), save(owner, 1))
    owner.store.faults = owner._fault
    assert (market.told, owner.position.told) == ([], [])
    owner.cut = None
    owner.sleep(2.0)
    assert [(told.change, told.version) for told in owner.position.take(Saved)] == [(1, 1)]
    assert stored_tapes(owner) == {"BTC": b"t"}
    assert market.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 1})]
    assert batches[-1][2] == ["BTC"]


def test_a_tape_that_came_during_a_doubt_is_not_taken_for_the_one_in_it(owner: Keeper) -> None:
    """Alone, without a position that names the batch: the newer one is written, and only then told."""
    market = Receiver()
    refuse_from(owner, "after_write")
    owner.tell(tapes(market, BTC=1))
    owner.sleep(TAPE_SECONDS + 0.01)
    owner.store.faults = owner._fault
    owner.tell(tapes(market, BTC=2))
    owner.cut = None
    owner.sleep(3.0)
    assert stored_tapes(owner) == {"BTC": b"tt"}
    assert [told.marks for told in market.take(TapesSaved)] == [{"BTC": 2}]


def test_tapes_that_are_refused_cost_no_position_its_acknowledgement(owner: Keeper) -> None:
    """Something else is in their place: positions are saved and told, the tapes wait until they can be."""
    market = Receiver()
    owner.server.shard(SHARD).tapes_refuse = "WRONGTYPE"
    owner.tell(tapes(market, BTC=1), save(owner, 1))
    done = Reply()
    assert owner.position.take(Saved)
    owner.sleep(2.0)
    assert market.told == []
    assert owner.reachable == []
    owner.server.shard(SHARD).tapes_refuse = ""
    owner.sleep(1.0)
    assert stored_tapes(owner) == {"BTC": b"t"}
    assert market.told == [TapesSaved(shard=SHARD, epoch=1, marks={"BTC": 1})]
    owner.tell(tapes(market, ETH=1), Drain(reply=done))
    assert done.value is True
    assert stored_tapes(owner) == {"BTC": b"t", "ETH": b"t"}


def test_a_former_owner_s_tapes_are_not_saved_over_the_new_one_s() -> None:
    """Another epoch came between: what waited here is of no use any more."""
    owner = Keeper()
    owner.take()
    owner.cut = "all"
    owner.tell(tapes(Receiver(), BTC=1), save(owner, 1))
    owner.freeze(11.0)
    other = Keeper(owner.server, "you", seconds=owner.seconds)
    other.take()
    done = Reply()
    other.tell(tapes(BTC=9), Drain(reply=done))
    owner.cut = None
    owner.sleep(5.0)
    assert owner.supervisor.take(ShardTaken)[-1].loaded.tapes == {"BTC": b"t" * 9}
    assert stored_tapes(owner) == {"BTC": b"t" * 9}


def test_stored_tapes_reach_whoever_takes_the_shard() -> None:
    """The next owner begins with what the last one recorded."""
    server = MemoryServer()
    owner = Keeper(server)
    owner.take()
    owner.tell(tapes(BTC=4), Drain(reply=Reply()))
    assert Keeper(server, "you", seconds=owner.seconds).take().loaded.tapes == {"BTC": b"tttt"}


def test_known_positions_share_what_they_can() -> None:
    """One write id for all of a batch, one record for a position however often it is saved: there are many of them."""
    keeper = Keeper(batch_limit=1000)
    keeper.take()
    book = keeper.actor._books[SHARD]
    keeper.tell(*(save(keeper, 1, position_id=f"p{number}") for number in range(1000)))
    before = {name: id(known) for name, known in book.known.items()}
    keeper.tell(*(save(keeper, 2, 1, position_id=f"p{number}") for number in range(1000)))
    assert {name: id(known) for name, known in book.known.items()} == before
    assert {(known.version, known.change) for known in book.known.values()} == {(2, 2)}
    assert len({id(known.write_id) for known in book.known.values()}) == 1
    later = Keeper(keeper.server, "you", seconds=keeper.seconds + 60)
    later.take()
    assert len({id(known.write_id) for known in later.actor._books[SHARD].known.values()}) == 1
