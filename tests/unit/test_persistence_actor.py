"""The persistence actor by hand, one message at a time: no thread, no waiting, a store in memory that can be cut."""

import inspect
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar, cast

import msgpack  # type: ignore[import-untyped]
import pytest
import structlog
from structlog.testing import capture_logs

from persistence import lease
from persistence.actor import PersistenceActor
from persistence.failure_log import UNRECORDED, Failure, MemoryFailureLog
from persistence.lease import Lease, LeaseBoard
from persistence.memory_store import MemoryServer, MemoryStore
from persistence.messages import (
    Drain,
    ReadEvents,
    ReadSnapshot,
    Ref,
    Save,
    Saved,
    SaveFailed,
    SaveTapes,
    ShardLost,
    ShardRefused,
    ShardTaken,
    SnapshotRead,
    TakeShard,
)
from persistence.shard_book import ShardBook
from persistence.store import Change, SnapshotConflict, SnapshotCorrupt, SnapshotUnknown, StaleOwner, StoreUnreachable

SHARD = "main"
Told = TypeVar("Told")


class Receiver:
    """Stands for an actor, and keeps what it was told."""

    _numbers = count(1)

    def __init__(self) -> None:
        self.actor_urn = f"urn:receiver:{next(self._numbers)}"
        self.told: list[Any] = []

    def tell(self, message: Any) -> None:
        """Keep it."""
        self.told.append(message)

    @property
    def ref(self) -> Ref:
        """Itself, taken for the reference of an actor."""
        return cast(Ref, self)

    def take(self, kind: type[Told]) -> list[Told]:
        """What was told of this kind, and forget it."""
        found = [message for message in self.told if isinstance(message, kind)]
        self.told = [message for message in self.told if not isinstance(message, kind)]
        return found


class Reply:
    """Where the edge waits."""

    value: Any = None

    def set(self, value: Any = None) -> None:
        """Keep it."""
        self.value = value


class Keeper:
    """One persistence actor, its clock and its receivers."""

    def __init__(self, server: MemoryServer | None = None, owner: str = "me", **settings: Any) -> None:
        self.seconds = settings.pop("seconds", 1000.0)
        self.timers: list[tuple[float, int, Any, Any]] = []
        self.cut: str | None = None
        self.log = settings.pop("failure_log", None) or MemoryFailureLog()
        self.leases = LeaseBoard()
        self.reachable: list[bool] = []
        self._order = count()
        self.writes = 0
        self.server = server or MemoryServer()
        self.store = MemoryStore(newest_schema=1, now=lambda: self.seconds, faults=self._fault, server=self.server)
        self.supervisor, self.position = Receiver(), Receiver()
        self.actor = PersistenceActor(
            self.store,
            self.log,
            self.leases,
            self,
            owner,
            boottime=lambda: self.seconds,
            on_reachable=self.reachable.append,
            **settings,
        )

    def _fault(self, stage: str) -> None:
        self.writes += stage == "before_write"
        if self.cut in {"all", stage}:
            raise ConnectionError("cut by the test")

    def tell_after(self, delay_seconds: float, ref: Any, message: object) -> None:
        """The actor's clock."""
        self.timers.append((self.seconds + delay_seconds, next(self._order), ref, message))

    def tell(self, *messages: Any) -> None:
        """Put messages into the mailbox together, then let the actor work until it is empty."""
        for message in messages:
            self.actor.actor_ref.tell(message)
        while not self.actor.actor_inbox.empty():
            self.actor.on_receive(self.actor.actor_inbox.get().message)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and every timer ring at its time."""
        end = self.seconds + seconds
        while self.timers and min(self.timers)[0] <= end:
            timer = min(self.timers)
            self.timers.remove(timer)
            self.seconds = max(self.seconds, timer[0])
            self.tell(timer[3])
        self.seconds = end

    def freeze(self, seconds: float) -> None:
        """Let time pass in which nothing here runs."""
        self.seconds += seconds

    def take(self) -> ShardTaken:
        """Take the shard."""
        self.tell(TakeShard(shard=SHARD, reply_to=self.supervisor.ref))
        return self.supervisor.take(ShardTaken)[0]

    def stored(self, position_id: str = "p") -> Any:
        """What is stored, as another client sees it."""
        return MemoryStore(newest_schema=1, now=lambda: self.seconds, server=self.server).read(SHARD, position_id)


def save(
    keeper: Keeper,
    change: int,
    grew_from: int = 0,
    position_id: str = "p",
    reply_to: Receiver | None = None,
    **fields: Any,
) -> Save:
    """A save with only what matters spelled out."""
    return Save(
        shard=SHARD,
        position_id=position_id,
        schema=1,
        grew_from=grew_from,
        change=change,
        state={"change": change},
        reply_to=(reply_to or keeper.position).ref,
        **fields,
    )


@pytest.fixture
def keeper() -> Keeper:
    """A keeper that owns its shard."""
    found = Keeper()
    found.take()
    return found


def test_a_save_is_answered_with_its_version(keeper: Keeper) -> None:
    """Saved tells change, version and epoch of what is durable."""
    keeper.tell(save(keeper, 1))
    assert keeper.position.told == [Saved(position_id="p", change=1, version=1, epoch=1)]
    assert keeper.stored().state == {"change": 1}


def test_the_line_of_owners_goes_on_while_each_is_the_only_one() -> None:
    """Restarts of keepers that are proven dead prolong it; one that nobody vouches for begins it anew."""
    server = MemoryServer()
    lives = [Keeper(server, owner=f"me-{number}", dead_owner=lambda _: True) for number in range(5)]
    taken = [life.take() for life in lives]
    assert [(each.takeover, each.unbroken_since) for each in taken] == [(False, 1)] * 5
    another = Keeper(server, owner="you", dead_owner=lambda _: False)
    another.freeze(3600)
    assert (found := another.take()).takeover
    assert found.unbroken_since == 6
    after = Keeper(server, owner="you-2", dead_owner=lambda _: True, seconds=another.seconds)
    assert (found := after.take()).unbroken_since == 6
    assert not found.takeover


def test_the_line_goes_on_also_when_the_lease_of_a_dead_owner_has_run_out() -> None:
    """Who had it last is noted in the line: proven dead, he needs no lease to be known by."""
    server, seconds = MemoryServer(), 1000.0
    for number in range(3):
        life = Keeper(server, owner=f"me-{number}", dead_owner=lambda owner: owner.startswith("me-"), seconds=seconds)
        taken = life.take()
        assert (taken.takeover, taken.unbroken_since) == (False, 1)
        seconds += 3600
    stranger = Keeper(server, owner="you", dead_owner=lambda owner: owner.startswith("you"), seconds=seconds)
    assert stranger.take().takeover
    back = Keeper(server, owner="me-3", dead_owner=lambda owner: owner.startswith("me-"), seconds=seconds + 3600)
    assert (found := back.take()).takeover
    assert found.unbroken_since == 5


def test_the_last_owner_is_vouched_for_by_a_line_that_reaches_up_to_him_alone() -> None:
    """Somebody who noted nothing had the shard after the dead: he may still act, and nobody knows who he was."""
    server = MemoryServer()
    Keeper(server, owner="me-0", dead_owner=lambda _: True).take()
    MemoryStore(newest_schema=1, now=lambda: 2000.0, server=server).take(SHARD, "you", 10.0)
    assert Keeper(server, owner="me-1", dead_owner=lambda _: True, seconds=3000.0).take().takeover
    # As an older release notes it.
    server.shard(SHARD).line = msgpack.packb([3, 3])
    assert Keeper(server, owner="me-2", dead_owner=lambda _: True, seconds=4000.0).take().takeover


def test_a_line_with_a_gap_says_less() -> None:
    """An owner that noted nothing came in between: of those before the last one nobody knows whether they are dead."""
    server = MemoryServer()
    for number in range(4):
        Keeper(server, owner=f"me-{number}", dead_owner=lambda _: True).take()
    MemoryStore(newest_schema=1, now=lambda: 1000.0, server=server).take(SHARD, "old", 10.0, dead_owner="me-3")
    assert Keeper(server, owner="me-5", dead_owner=lambda _: True).take().unbroken_since == 5
    server.shard(SHARD).line = b"rubbish"
    assert Keeper(server, owner="me-6", dead_owner=lambda _: True).take().unbroken_since == 6


def test_saves_in_the_mailbox_travel_together(keeper: Keeper) -> None:
    """Group commit: one transaction for everything that waits, the newest state per position, every event."""
    before = keeper.writes
    keeper.tell(
        save(keeper, 1, events=[{"n": 1}]),
        save(keeper, 1, position_id="q"),
        save(keeper, 2, events=[{"n": 2}]),
        save(keeper, 3, events=[{"n": 3}]),
    )
    assert keeper.writes == before + 1
    answers = {(told.position_id, told.change, told.version) for told in keeper.position.told}
    assert answers == {("p", 3, 1), ("q", 1, 1)}
    assert keeper.store.events(SHARD, "p") == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_batch_is_bounded() -> None:
    """More than the limit goes in several transactions, and everybody is answered."""
    keeper = Keeper(batch_limit=10)
    keeper.take()
    before = keeper.writes
    keeper.tell(*(save(keeper, 1, position_id=f"p{number}") for number in range(25)))
    assert keeper.writes == before + 3
    assert len(keeper.position.take(Saved)) == 25


def test_a_save_that_has_not_seen_its_answer_yet_still_chains(keeper: Keeper) -> None:
    """A sender may save on before it heard of the last save: the actor carries the version on."""
    keeper.tell(save(keeper, 1))
    keeper.tell(save(keeper, 2, grew_from=0))
    assert [told.version for told in keeper.position.take(Saved)] == [1, 2]


def test_a_respawned_position_must_not_overwrite_what_it_never_saw(keeper: Keeper) -> None:
    """Only the sender's own saves chain: a new one that grew from an older snapshot gets its conflict."""
    keeper.tell(save(keeper, 1))
    respawned = Receiver()
    keeper.tell(save(keeper, 5, grew_from=0, reply_to=respawned))
    assert isinstance(respawned.told[0].error, SnapshotConflict)
    assert keeper.stored().state == {"change": 1}
    assert keeper.log.failures[-1].kind == "snapshot.conflict"
    assert keeper.log.failures[-1].state == {"change": 5}


def test_a_repeated_change_does_not_chain(keeper: Keeper) -> None:
    """A change that was answered already is no successor of itself."""
    keeper.tell(save(keeper, 1))
    keeper.tell(save(keeper, 1))
    assert len(keeper.position.take(Saved)) == 1
    assert isinstance(keeper.position.told[0].error, SnapshotConflict)


def test_a_batch_that_was_not_saved_waits_again_under_newer_states(keeper: Keeper) -> None:
    """The newest state wins, the events of both are kept, in order, and what was closed stays closed."""
    book = ShardBook(SHARD, 1, keeper.supervisor.ref, 0.0)
    book.add(save(keeper, 1, events=[{"n": 1}], closed=True))
    book.freeze(10)
    book.add(save(keeper, 2, events=[{"n": 2}]))
    book.thaw()
    (change,) = book.freeze(10)
    assert (change.state, change.events, change.closed) == ({"change": 2}, ({"n": 1}, {"n": 2}), True)


def test_a_conflict_fails_one_position_only(keeper: Keeper) -> None:
    """The others of the batch are saved."""
    keeper.tell(save(keeper, 1, grew_from=7), save(keeper, 1, position_id="q"))
    assert [told.position_id for told in keeper.position.take(SaveFailed)] == ["p"]
    assert [told.position_id for told in keeper.position.take(Saved)] == ["q"]


def test_corrupt_bytes_fail_one_position_only(keeper: Keeper) -> None:
    """A damaged snapshot is reported to its position, and the others are saved."""
    keeper.tell(save(keeper, 1), save(keeper, 1, position_id="q"))
    keeper.position.told.clear()
    keeper.server.shard(SHARD).positions["p"] = b"rubbish"
    keeper.tell(save(keeper, 2, 1), save(keeper, 2, 1, position_id="q"))
    (failed,) = keeper.position.take(SaveFailed)
    assert isinstance(failed.error, SnapshotCorrupt)
    assert [told.position_id for told in keeper.position.take(Saved)] == ["q"]


def test_a_closed_position_leaves_the_open_ones(keeper: Keeper) -> None:
    """`closed` is not lost when a later change of the same flush does not repeat it."""
    keeper.tell(save(keeper, 1))
    keeper.tell(save(keeper, 2, 1, closed=True), save(keeper, 3, 1))
    assert keeper.server.shard(SHARD).open == set()
    assert keeper.stored().state == {"change": 3}


def test_tapes_travel_with_the_next_commit(keeper: Keeper) -> None:
    """A tape is saved with its shard's next positions, the newest per symbol."""
    keeper.tell(SaveTapes(shard=SHARD, tapes={"BTC": b"1"}), SaveTapes(shard=SHARD, tapes={"BTC": b"2"}))
    keeper.tell(save(keeper, 1))
    assert keeper.store.load(SHARD).tapes == {"BTC": b"2"}


def test_a_shard_that_is_not_ours_cannot_be_saved() -> None:
    """Without the shard there is no save, and the answer is definite."""
    keeper = Keeper()
    keeper.tell(save(keeper, 1))
    assert isinstance(keeper.position.told[0].error, StaleOwner)


# --- the store out of reach ------------------------------------------------------------------------------------------


def test_storage_trouble_is_retried_and_never_reported_as_failure(keeper: Keeper) -> None:
    """While the store is away nobody is answered; once it is back the newest state is saved, events complete."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1, events=[{"n": 1}]))
    keeper.tell(save(keeper, 2, events=[{"n": 2}]))
    keeper.sleep(1.0)
    assert keeper.position.told == []
    assert keeper.reachable == [False]
    keeper.cut = None
    keeper.sleep(2.0)
    assert keeper.position.told == [Saved(position_id="p", change=2, version=1, epoch=1)]
    assert keeper.store.events(SHARD, "p") == [{"n": 1}, {"n": 2}]
    assert keeper.reachable == [False, True]


def test_what_cannot_be_saved_is_spilled_once_per_change(keeper: Keeper) -> None:
    """Each change that waits is written down once, however often it is tried again."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    keeper.sleep(5.0)
    keeper.tell(save(keeper, 2))
    keeper.sleep(5.0)
    spilled = [failure for failure in keeper.log.failures if failure.kind == "snapshot.spilled"]
    assert [(failure.change, failure.state) for failure in spilled] == [(1, {"change": 1}), (2, {"change": 2})]


def test_a_spill_is_taken_back_when_it_was_saved_after_all(keeper: Keeper) -> None:
    """What was saved later must never be replayed."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    keeper.cut = None
    keeper.sleep(1.0)
    assert keeper.position.take(Saved)
    assert keeper.log.spills(SHARD) == {}


def test_retries_back_off(keeper: Keeper) -> None:
    """0.1 s first, doubling, never more than 2 s apart."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    delays = []
    for _ in range(7):
        due = min(timer for timer in keeper.timers if type(timer[3]).__name__ == "_Retry")
        delays.append(round(due[0] - keeper.seconds, 3))
        keeper.sleep(due[0] - keeper.seconds)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_doubtful_batch_is_repeated_exactly_and_newer_states_wait(keeper: Keeper) -> None:
    """Unknown stays unknown until it is settled; then the newer state goes on from it, and nothing is doubled."""

    def lose_the_reply_and_everything_after(stage: str) -> None:
        if stage == "after_write":
            keeper.cut = "all"
            raise ConnectionError("reply lost")
        keeper._fault(stage)

    keeper.store.faults = lose_the_reply_and_everything_after
    keeper.tell(save(keeper, 1, events=[{"n": 1}]))
    keeper.store.faults = keeper._fault
    keeper.tell(save(keeper, 2, events=[{"n": 2}]))
    assert keeper.position.told == []
    assert [failure.kind for failure in keeper.log.failures].count("snapshot.unknown") == 1
    keeper.cut = None
    keeper.sleep(1.0)
    assert [(told.change, told.version) for told in keeper.position.take(Saved)] == [(1, 1), (2, 2)]
    assert keeper.store.events(SHARD, "p") == [{"n": 1}, {"n": 2}]
    assert keeper.position.told == []


# --- leases ----------------------------------------------------------------------------------------------------------


def test_a_taken_shard_is_loaded_and_its_lease_published(keeper: Keeper) -> None:
    """Whoever took it gets everything that is stored; the gateways see the deadline."""
    keeper.tell(save(keeper, 1))
    taken = keeper.take()
    assert [snapshot.position_id for snapshot in taken.loaded.snapshots] == ["p"]
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) == 10.0


def test_a_held_shard_is_refused_with_the_time_to_wait(keeper: Keeper) -> None:
    """Another keeper is told when to ask again."""
    other = Keeper(keeper.server, "you", seconds=keeper.seconds)
    other.tell(TakeShard(shard=SHARD, reply_to=other.supervisor.ref))
    (refused,) = other.supervisor.take(ShardRefused)
    assert refused.retry_seconds == 10.0


def test_an_owner_proven_dead_is_not_waited_for(keeper: Keeper) -> None:
    """The proof is asked for with the owner's own name."""
    asked: list[str] = []

    def proven_dead(name: str) -> bool:
        asked.append(name)
        return True

    other = Keeper(keeper.server, "you", seconds=keeper.seconds, dead_owner=proven_dead)
    assert other.take().epoch == 2
    assert asked == ["me"]


def test_the_lease_is_renewed_without_being_asked(keeper: Keeper) -> None:
    """Long after its first deadline the lease is ours, under the same epoch."""
    keeper.sleep(100.0)
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) > 6.0
    assert keeper.store.fence(SHARD).epoch == 1
    assert keeper.supervisor.told == []


def test_the_deadline_counts_from_before_the_renewal(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that took three seconds leaves seven, not ten."""
    renew = keeper.store.renew

    def slow_renew(*args: Any) -> None:
        renew(*args)
        keeper.seconds += 3.0

    monkeypatch.setattr(keeper.store, "renew", slow_renew)
    timer = min(keeper.timers)
    keeper.timers.remove(timer)
    keeper.tell(timer[3])
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) == 7.0


def test_a_stale_owner_stands_down(keeper: Keeper) -> None:
    """A higher epoch: the lease is fenced, every waiting sender and the supervisor are told, nothing is tried again."""
    keeper.freeze(11.0)
    other = Keeper(keeper.server, "you", seconds=keeper.seconds)
    assert other.take().epoch == 2
    keeper.tell(save(keeper, 1), save(keeper, 1, position_id="q"))
    failed = keeper.position.take(SaveFailed)
    assert [(told.position_id, type(told.error)) for told in failed] == [("p", StaleOwner), ("q", StaleOwner)]
    assert keeper.supervisor.told == [ShardLost(shard=SHARD, epoch=2, fenced=True)]
    lease = keeper.leases.get(SHARD)
    assert lease is not None
    assert lease.fenced
    keeper.sleep(60.0)
    assert other.stored() is None


def test_a_lease_that_ran_out_is_retaken_under_a_higher_epoch(keeper: Keeper) -> None:
    """Out of reach past the lease: lost, not fenced; then retaken, and what waited is saved before the hand-over."""
    keeper.tell(save(keeper, 1))
    keeper.cut = "all"
    keeper.tell(save(keeper, 2, 1))
    keeper.sleep(15.0)
    assert keeper.supervisor.told == [ShardLost(shard=SHARD, epoch=1, fenced=False)]
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) < 0
    keeper.cut = None
    keeper.sleep(3.0)
    taken = keeper.supervisor.told[1]
    assert (taken.epoch, taken.spills) == (2, {})
    assert taken.loaded.snapshots[0].state == {"change": 2}
    assert keeper.position.told[-1] == Saved(position_id="p", change=2, version=2, epoch=2)


def test_a_frozen_keeper_wakes_up_and_retakes(keeper: Keeper) -> None:
    """Suspended past its lease, with nobody else there: it never goes on under the old epoch."""
    keeper.freeze(60.0)
    keeper.sleep(5.0)
    lost, taken = keeper.supervisor.told
    assert (lost, taken.epoch) == (ShardLost(shard=SHARD, epoch=1, fenced=False), 2)


def test_what_waited_is_worth_nothing_when_another_owner_came_between(keeper: Keeper) -> None:
    """Another epoch owned the shard in between: the waiting saves fail, and stay as evidence."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    keeper.freeze(11.0)
    other = Keeper(keeper.server, "you", seconds=keeper.seconds)
    other.take()
    done = Reply()
    other.tell(Drain(reply=done))
    keeper.cut = None
    keeper.sleep(5.0)
    (failed,) = keeper.position.take(SaveFailed)
    assert isinstance(failed.error, StaleOwner)
    assert keeper.supervisor.take(ShardTaken)[-1].epoch == 3
    assert keeper.stored() is None
    lease = keeper.leases.get(SHARD)
    assert lease is not None
    assert lease.ours_since == 3


def test_epochs_of_ours_without_a_gap_are_told_with_the_lease(keeper: Keeper) -> None:
    """Taken, run out and taken again by the same process: all of them are ours, also after a renewal."""
    keeper.freeze(60.0)
    keeper.sleep(10.0)
    lease = keeper.leases.get(SHARD)
    assert lease is not None
    assert (lease.epoch, lease.ours_since) == (2, 1)


# --- spills at boot --------------------------------------------------------------------------------------------------


def spilled(server: MemoryServer | None = None) -> Keeper:
    """A keeper that died with one state spilled: change 2 on top of the stored version 1."""
    keeper = Keeper(server)
    keeper.take()
    keeper.tell(save(keeper, 1))
    keeper.cut = "all"
    keeper.tell(save(keeper, 2, 1))
    return keeper


def reborn(keeper: Keeper, owner: str = "me again", **settings: Any) -> Keeper:
    """The next run of the same installation, after the lease."""
    return Keeper(keeper.server, owner, seconds=keeper.seconds + 11.0, failure_log=keeper.log, **settings)


def test_a_spill_applies_to_exactly_what_it_grew_from() -> None:
    """After a crash during an outage, the spilled state comes with the shard."""
    taken = reborn(spilled()).take()
    assert taken.spills == {"p": {"change": 2}}
    assert taken.spill_schemas == {"p": 1}


def test_a_spilled_new_position_applies_while_nothing_is_stored() -> None:
    """A position that never made it into the store is not forgotten."""
    keeper = Keeper()
    keeper.take()
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    assert reborn(keeper).take().spills == {"p": {"change": 1}}


def test_a_spill_survives_a_second_crash_while_coming_back() -> None:
    """Written again under the new epoch, it is found by the next run too."""
    second = reborn(spilled())
    second.take()
    assert reborn(second, "third").take().spills == {"p": {"change": 2}}


def test_a_spill_is_only_evidence_once_another_keeper_owned_the_shard() -> None:
    """Somebody without this log owned the shard in between: what he did counts."""
    keeper = spilled()
    other = Keeper(keeper.server, "elsewhere", seconds=keeper.seconds + 11.0)
    other.take()
    later = Keeper(keeper.server, "me again", seconds=keeper.seconds + 22.0, failure_log=keeper.log)
    assert later.take().spills == {}


def test_a_spill_is_only_evidence_once_the_snapshot_moved_on() -> None:
    """Something else is stored than what it grew from."""
    keeper = spilled()
    MemoryStore(newest_schema=1, server=keeper.server, now=lambda: keeper.seconds).save(
        SHARD, 1, [Change(position_id="p", schema=1, grew_from=1, state={"change": "other"})]
    )
    assert reborn(keeper).take().spills == {}


def test_a_closed_position_is_never_replayed_as_a_new_one() -> None:
    """Even when the line that took its spill back is lost: a closed position is still stored, only not open."""
    keeper = Keeper()
    keeper.take()
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    keeper.cut = None
    keeper.sleep(1.0)
    keeper.tell(save(keeper, 2, 1, closed=True))
    keeper.log.failures = [failure for failure in keeper.log.failures if failure.kind == "snapshot.spilled"]
    assert reborn(keeper).take().spills == {}


# --- reading and leaving ---------------------------------------------------------------------------------------------


def test_reading_a_snapshot_first_saves_what_waits_for_it(keeper: Keeper) -> None:
    """Whoever reads goes on from what is stored, so nothing of that position may still wait."""
    keeper.tell(save(keeper, 1), ReadSnapshot(shard=SHARD, position_id="p", reply_to=keeper.supervisor.ref))
    (read,) = keeper.supervisor.take(SnapshotRead)
    assert read.snapshot is not None
    assert read.snapshot.state == {"change": 1}


def test_reading_while_a_state_cannot_be_saved_is_an_error(keeper: Keeper) -> None:
    """An older snapshot than what waits is never handed out."""
    keeper.cut = "before_write"
    keeper.tell(save(keeper, 1))
    keeper.tell(ReadSnapshot(shard=SHARD, position_id="p", reply_to=keeper.supervisor.ref))
    (read,) = keeper.supervisor.take(SnapshotRead)
    assert read.snapshot is None
    assert isinstance(read.error, StoreUnreachable)


def test_reading_nothing_and_rubbish(keeper: Keeper) -> None:
    """None for nothing, the error for what cannot be read."""
    keeper.server.shard(SHARD).positions["bad"] = b"rubbish"
    for name in ("none", "bad"):
        keeper.tell(ReadSnapshot(shard=SHARD, position_id=name, reply_to=keeper.supervisor.ref))
    nothing, bad = keeper.supervisor.take(SnapshotRead)
    assert (nothing.snapshot, nothing.error) == (None, None)
    assert isinstance(bad.error, SnapshotCorrupt)


def test_the_audit_trail_is_read_through_the_mailbox(keeper: Keeper) -> None:
    """The answer is the trail, or the error that reading it raised."""
    keeper.tell(save(keeper, 1, events=[{"n": 1}]))
    trail, error = Reply(), Reply()
    keeper.tell(ReadEvents(shard=SHARD, position_id="p", reply=trail))
    keeper.cut = "all"
    keeper.tell(ReadEvents(shard=SHARD, position_id="p", reply=error))
    assert trail.value == [{"n": 1}]
    assert isinstance(error.value, StoreUnreachable)


def test_draining_saves_gives_the_lease_up_and_answers(keeper: Keeper) -> None:
    """After a drain all is stored, the next owner need not wait, and our gateways sign nothing."""
    done = Reply()
    keeper.tell(save(keeper, 1), Drain(reply=done))
    assert done.value is True
    assert keeper.stored().state == {"change": 1}
    lease = keeper.leases.get(SHARD)
    assert lease is not None
    assert lease.fenced
    assert Keeper(keeper.server, "you", seconds=keeper.seconds).take().epoch == 2


def test_draining_without_a_store_still_answers_and_leaves_the_spill(keeper: Keeper) -> None:
    """A store that is away does not keep the service from ending; the state is on disk."""
    keeper.cut = "all"
    done = Reply()
    keeper.tell(save(keeper, 1), Drain(reply=done))
    assert done.value is True
    assert keeper.log.spills(SHARD)["p"].state == {"change": 1}


# --- guards, each taken away -----------------------------------------------------------------------------------------


def test_a_lease_is_renewed_three_times_in_its_life(keeper: Keeper) -> None:
    """At every third of the lease, so that two renewals may fail before anything is lost."""
    taken_at = keeper.seconds
    renewals = []
    for _ in range(4):
        due = min(timer for timer in keeper.timers if type(timer[3]).__name__ == "_Renew")
        renewals.append(round(due[0] - taken_at, 3))
        keeper.sleep(due[0] - keeper.seconds)
    assert renewals == [3.333, 6.667, 10.0, 13.333]


def test_two_failed_renewals_do_not_lose_the_lease(keeper: Keeper) -> None:
    """Out of reach for nearly the whole lease: it is renewed in its last moment, under the same epoch."""
    keeper.cut = "all"
    keeper.sleep(7.9)
    keeper.cut = None
    keeper.sleep(2.0)
    assert keeper.supervisor.told == []
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) > 0
    assert keeper.store.fence(SHARD).epoch == 1


def test_the_deadline_of_a_taken_lease_counts_from_before_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A take that took three seconds leaves seven, not ten."""
    keeper = Keeper()
    take = keeper.store.take

    def slow_take(*args: Any, **named: Any) -> Any:
        fence = take(*args, **named)
        keeper.seconds += 3.0
        return fence

    monkeypatch.setattr(keeper.store, "take", slow_take)
    keeper.take()
    assert keeper.leases.seconds_left(SHARD, keeper.seconds) == 7.0


def test_a_renewal_without_an_answer_prolongs_nothing(keeper: Keeper) -> None:
    """Its reply lost, it may have been applied: what the gateways see stays as it was."""
    deadline = keeper.leases.seconds_left(SHARD, 0.0)
    keeper.cut = "after_write"
    keeper.sleep(4.0)
    assert keeper.leases.seconds_left(SHARD, 0.0) == deadline


def test_the_clock_of_leases_counts_suspended_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_BOOTTIME: on CLOCK_MONOTONIC a laptop that slept would believe in its lease."""
    asked: list[int] = []

    def clock(number: int) -> float:
        asked.append(number)
        return 5.0

    monkeypatch.setattr(time, "clock_gettime", clock)
    assert lease.boottime() == 5.0
    assert asked == [time.CLOCK_BOOTTIME]
    assert inspect.signature(PersistenceActor.__init__).parameters["boottime"].default is lease.boottime


def test_a_lease_of_exactly_no_seconds_is_none() -> None:
    """At its deadline it has run out, and a fenced one has at once."""
    board = LeaseBoard()
    assert board.seconds_left(SHARD, 0.0) == 0.0
    board.post(Lease(shard=SHARD, epoch=1, deadline=10.0))
    assert board.seconds_left(SHARD, 10.0) == 0.0
    board.post(Lease(shard=SHARD, epoch=1, deadline=10.0, fenced=True))
    assert board.seconds_left(SHARD, 1.0) == 0.0


def test_one_shard_s_unreadable_fence_stops_no_other(keeper: Keeper) -> None:
    """Its owner stands down from that one; the other shards are saved and renewed as if nothing had happened."""
    keeper.tell(TakeShard(shard="other", reply_to=keeper.supervisor.ref))
    keeper.server.shard(SHARD).fence = b"rubbish"
    keeper.tell(save(keeper, 1))
    assert isinstance(keeper.position.take(SaveFailed)[0].error, StaleOwner)
    assert [lost.shard for lost in keeper.supervisor.take(ShardLost)] == [SHARD]
    keeper.sleep(60.0)
    keeper.tell(replace(save(keeper, 1), shard="other"))
    assert [told.version for told in keeper.position.take(Saved)] == [1]
    assert keeper.reachable == []


def test_one_shard_s_doubt_stops_no_other(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubt that stays open in one shard: the others are saved and keep their leases."""
    keeper.tell(TakeShard(shard="other", reply_to=keeper.supervisor.ref))
    store_save = keeper.store.save

    def doubtful(shard: str, *args: Any) -> Any:
        if shard == SHARD:
            raise SnapshotUnknown("not as it was meant")
        return store_save(shard, *args)

    monkeypatch.setattr(keeper.store, "save", doubtful)
    keeper.tell(save(keeper, 1), replace(save(keeper, 7), shard="other", position_id="q"))
    keeper.sleep(30.0)
    assert [told.position_id for told in keeper.position.take(Saved)] == ["q"]
    assert keeper.supervisor.take(ShardLost) == []
    assert keeper.store.fence("other").epoch == 1


def test_a_shard_that_cannot_be_taken_leaves_the_others_their_leases(keeper: Keeper) -> None:
    """Trouble over a take is told, and the shards that are held are renewed all the same."""
    keeper.cut = "all"
    keeper.tell(TakeShard(shard="other", reply_to=keeper.supervisor.ref))
    assert keeper.reachable == [False]
    keeper.cut = None
    keeper.sleep(60.0)
    assert keeper.reachable == [False, True]
    assert keeper.supervisor.take(ShardLost) == []
    assert keeper.store.fence(SHARD).epoch == 1


def test_a_keeper_without_a_shard_tells_when_the_store_is_back() -> None:
    """Nothing to save, nothing to renew: the next take that is answered tells."""
    keeper = Keeper()
    keeper.cut = "all"
    keeper.tell(TakeShard(shard=SHARD, reply_to=keeper.supervisor.ref))
    keeper.sleep(10.0)
    assert keeper.reachable == [False]
    keeper.cut = None
    keeper.tell(TakeShard(shard=SHARD, reply_to=keeper.supervisor.ref))
    assert keeper.reachable == [False, True]


def test_a_take_that_nobody_heard_of_costs_no_waiting_save(keeper: Keeper) -> None:
    """The lease runs out, and the reply to the retake is lost beyond the next lease: still nobody came between."""
    keeper.tell(save(keeper, 1))
    keeper.cut = "all"
    keeper.tell(save(keeper, 2, 1))
    keeper.sleep(11.0)
    keeper.cut = "after_write"
    keeper.sleep(5.0)
    keeper.cut = "all"
    keeper.sleep(20.0)
    keeper.cut = None
    keeper.sleep(5.0)
    assert keeper.position.take(SaveFailed) == []
    assert keeper.position.take(Saved)[-1].change == 2
    assert keeper.stored().state == {"change": 2}


def test_a_spill_is_not_replayed_into_a_redis_that_was_emptied() -> None:
    """Its epoch is ahead of the store's: who owned what since is not known, and it stays on disk as it is."""
    keeper = Keeper()
    for _ in range(3):
        keeper.take()
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    emptied = Keeper(MemoryServer(), "me again", seconds=keeper.seconds, failure_log=keeper.log)
    assert emptied.take().spills == {}
    assert keeper.log.spills(SHARD)["p"].state == {"change": 1}


def test_a_spill_that_will_never_apply_is_said_once() -> None:
    """The next boots do not look at it again; its state stays in the log."""
    keeper = spilled()
    Keeper(keeper.server, "elsewhere", seconds=keeper.seconds + 11.0).take()
    for later in (22.0, 33.0):
        Keeper(keeper.server, "me again", seconds=keeper.seconds + later, failure_log=keeper.log).take()
    discarded = [failure for failure in keeper.log.failures if failure.kind == "snapshot.discarded"]
    assert [failure.state for failure in discarded] == [{"change": 2}]


def test_a_failure_log_that_cannot_be_read_does_not_keep_a_shard_from_being_taken() -> None:
    """It is said, and what is stored is loaded."""

    class Locked(MemoryFailureLog):
        def spills(self, shard: str) -> dict[str, Failure]:
            raise PermissionError("locked")

    assert Keeper(failure_log=Locked()).take().spills == {}


def test_the_failure_log_tells_an_outage_from_its_beginning_to_its_end(keeper: Keeper) -> None:
    """Out of reach, spilled, lease lost, lease taken again, saved after all, in reach: in this order, each once."""
    keeper.cut = "all"
    keeper.tell(save(keeper, 1))
    keeper.sleep(12.0)
    keeper.cut = None
    keeper.sleep(3.0)
    kinds = [failure.kind for failure in keeper.log.failures]
    assert kinds == [
        "store.unreachable",
        "snapshot.spilled",
        "lease.lost",
        "lease.taken",
        "snapshot.saved",
        "store.reachable",
    ]


def test_what_the_trail_does_not_take_is_kept_here_and_the_save_is_acknowledged(keeper: Keeper) -> None:
    """A refused line costs nobody its acknowledgement, is not tried again, and is not forgotten either."""
    keeper.server.shard(SHARD).trail_refuses = "WRONGTYPE"
    writes = keeper.writes
    keeper.tell(save(keeper, 1, events=[{"n": 1}]), save(keeper, 1, position_id="q"))
    keeper.tell(save(keeper, 2, events=[{"n": 2}], closed=True))
    assert [(told.position_id, told.version) for told in keeper.position.take(Saved)] == [("p", 1), ("q", 1), ("p", 2)]
    assert keeper.writes == writes + 2
    revision = keeper.store.fence(SHARD).revision
    keeper.sleep(60)
    assert keeper.store.fence(SHARD).revision == revision
    assert keeper.reachable == []
    kept = [line for line in keeper.log.failures if line.kind == UNRECORDED]
    assert [(line.position_id, line.events, line.state) for line in kept] == [
        ("p", ({"n": 1},), None),
        ("p", ({"n": 2},), {"change": 2}),
    ]
    assert keeper.log.spills(SHARD) == {}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """The log of this test, which is quiet in the others."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


def test_that_the_trail_takes_nothing_is_said_once_until_it_is_over(keeper: Keeper, logged: list[Any]) -> None:
    """Each lost line is written down; the log is not filled with the same sentence."""
    for change, refuses in enumerate(("WRONGTYPE", "WRONGTYPE", "", "WRONGTYPE"), 1):
        keeper.server.shard(SHARD).trail_refuses = refuses
        keeper.tell(save(keeper, change, events=[{"n": change}]))
    said = [line for line in logged if line["event"] == UNRECORDED]
    assert len(said) == 2
    assert all(line["why"] and line["remedy"] for line in said)
    assert len([line for line in keeper.log.failures if line.kind == UNRECORDED]) == 3
