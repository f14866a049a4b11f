"""Comebacks: how many positions come back at the same time, and which of them are asked about together.

Part of the supervisor, used on its thread alone. A hundred thousand that all ask their exchange at once would wait for
its answers longer than an answer may take, ask again, and hold all they have asked for in memory. So a bounded number
comes back at a time, and the next begins when one is reconciled. One that takes long, because its exchange cannot be
reached, say, gives its place up: it is not in the way of the others.

Where an account has more than a few, and its exchange can tell of many slots at once, one question is asked for them,
and each begins with its part of the answer (actors/resuming.py), those that have nothing to do without an actor
(actors/sleeping.py). Without an answer each asks for itself.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from actors.arrivals import Arrivals
from actors.domain.records import changed
from actors.domain.tape import StoredTape
from actors.managed import Managed
from actors.resuming import slot_asked
from actors.roster import Account, Roster
from actors.runtime.base import Ref, tell
from actors.sleeping import Berths, look_around_later
from actors.survey import SlotSurveyed
from actors.traffic import BeginRecovery, ComebacksDue, SlotsTaken, SlotTaken, Survey, Surveyed

AT_ONCE = 500
PATIENCE_SECONDS = 5.0
# Fewer are asked for one by one; one question is about so many at most, for its answer must be there in time.
TOGETHER_FROM = 8
TOGETHER_AT_MOST = 250
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _Pending:
    position_id: str
    managed: Managed
    begin: BeginRecovery
    # What its shard had stored of its symbol's prices when its slot was asked about.
    tape: StoredTape | None = None


class Comebacks:
    """Begins comebacks, a bounded number at a time."""

    def __init__(self, roster: Roster, *, arrived: Callable[[Sequence[str]], None]) -> None:
        """Nothing is pending. `arrived` hears of those that came back without an actor."""
        self._roster = roster
        self._arrived = arrived
        self._arrivals = Arrivals(roster.supervisor)
        # By account, so that those of one can be asked about together.
        self._pending: dict[str, deque[_Pending]] = {}
        self._surveyed: dict[int, list[_Pending]] = {}
        self._number = 0
        self._since: dict[str, float] = {}
        # The next begins when no more than so many are on their way.
        self._enough = AT_ONCE - 1
        self._looking = False

    def add(self, position_id: str, managed: Managed, begin: BeginRecovery) -> None:
        """This position is to come back, from the next `go_on` on."""
        self._pending.setdefault(managed.account, deque()).append(_Pending(position_id, managed, begin))

    def ended(self, position_id: str) -> None:
        """It is reconciled, or will not be: the next one."""
        self.all_ended((position_id,))

    def all_ended(self, names: Iterable[str]) -> None:
        """The same of several."""
        before = len(self._since)
        for name in names:
            self._since.pop(name, None)
        if len(self._since) < before and self._pending and len(self._since) <= self._enough:
            self.go_on()

    def look(self) -> None:
        """Those that take long are not waited for."""
        self._looking = False
        long_ago = self._roster.parts.runtime.clock.monotonic() - PATIENCE_SECONDS
        self._since = {name: since for name, since in self._since.items() if since > long_ago}
        self.go_on()

    def go_on(self) -> None:
        """Begin as many as there is room for."""
        self._enough = AT_ONCE - 1
        while self._pending and len(self._since) < AT_ONCE:
            account = self._roster.accounts[next(iter(self._pending))]
            waiting = self._pending[account.settings.name]
            together = account.surveyed and len(waiting) >= TOGETHER_FROM
            room, most = AT_ONCE - len(self._since), min(len(waiting), AT_ONCE, TOGETHER_AT_MOST)
            if together and room < most:
                # A place at a time would be a question for each.
                self._enough = AT_ONCE - most
                break
            most = min(most, room)
            group = [waiting.popleft() for _ in range(most)]
            if not waiting:
                del self._pending[account.settings.name]
            group = [pending for pending in group if not self._outdated(pending)]
            now = self._roster.parts.runtime.clock.monotonic()
            self._since.update((pending.position_id, now) for pending in group)
            if together and group:
                self._survey(account, group)
            else:
                for pending in group:
                    self._begin(pending)
        if self._pending and not self._looking:
            self._looking = True
            self._roster.parts.runtime.clock.tell_after(_LOOK_SECONDS, self._roster.supervisor, ComebacksDue())

    def _survey(self, account: Account, group: list[_Pending]) -> None:
        if account.gateway is None:
            return
        self._number += 1
        # What was asked of a gateway that has ended meanwhile will not be answered.
        accounts = self._roster.accounts
        self._surveyed = {
            number: asked
            for number, asked in self._surveyed.items()
            if accounts[asked[0].managed.account].epoch == asked[0].begin.epoch
        }
        self._surveyed[self._number] = group
        slots = []
        for pending in group:
            pending.tape = self._tape(account, pending)
            if pending.begin.position is not None:
                slots.append(slot_asked(pending.begin.position, pending.tape))
        tell(account.gateway, Survey(number=self._number, slots=tuple(slots), reply_to=self._roster.supervisor))

    def on_surveyed(self, message: Surveyed) -> None:
        """Each begins with what was found in its slot; their gateway hands them what it hears of it from now on."""
        group = self._surveyed.pop(message.number, [])
        # They are of one account, and of one life of it.
        if not group or self._past(group[0]):
            return
        account = self._roster.accounts[group[0].managed.account]
        group = [pending for pending in group if not self._replaced(pending)]
        berths = Berths(self._roster, account)
        taken: list[SlotTaken] = []
        arrived: list[str] = []
        asleep: list[Ref] = []
        quiet = self._roster.quiet
        with self._roster.watching_together():
            for pending in group:
                name, managed, slot = pending.position_id, pending.managed, message.slots.get(pending.managed.symbol)
                ref = None if slot is None else berths.lie_down(name, pending.begin, slot, pending.tape)
                if ref is None:
                    ref = self._begin(pending, slot)
                else:
                    self._roster.begun(name, managed, ref)
                    if not quiet:
                        self._tell_recovered(pending)
                    arrived.append(name)
                    asleep.append(ref)
                taken.append(SlotTaken(position_id=name, symbol=managed.symbol, ref=ref))
        if account.gateway is not None:
            tell(account.gateway, SlotsTaken(slots=tuple(taken)))
        if arrived:
            if quiet:
                self._roster.log.debug("actor.recovered", actors=arrived, epoch=account.epoch)
            look_around_later(self._roster, arrived[0], tuple(asleep))
            self._arrived(arrived)

    def _outdated(self, pending: _Pending) -> bool:
        """Whether its shard was lost meanwhile, or was taken again: another one is for that life then."""
        return self._past(pending) or self._replaced(pending)

    def _past(self, pending: _Pending) -> bool:
        account = self._roster.accounts[pending.managed.account]
        return self._roster.draining or not account.started or account.epoch != pending.begin.epoch

    def _replaced(self, pending: _Pending) -> bool:
        managed = pending.managed
        return (
            managed.ref is not None
            or managed.quarantined
            or self._roster.managed.get(pending.position_id) is not managed
        )

    def _tape(self, account: Account, pending: _Pending) -> StoredTape | None:
        return pending.begin.tape or self._roster.feeds.stored_tape(account, pending.managed.symbol)

    def _begin(self, pending: _Pending, slot: SlotSurveyed | None = None) -> Ref:
        ref = self._roster.spawn_position(pending.position_id, pending.managed)
        tape = self._tape(self._roster.accounts[pending.managed.account], pending)
        begin = changed(pending.begin, {"tape": tape, "slot": slot, "arrivals": self._arrivals})
        tell(ref, begin)
        self._tell_recovered(pending)
        return ref

    def _tell_recovered(self, pending: _Pending) -> None:
        begin = pending.begin
        write = self._roster.log_of_one()
        write("actor.recovered", actor=pending.position_id, version=begin.version, epoch=begin.epoch)
