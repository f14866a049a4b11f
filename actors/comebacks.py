"""Comebacks: how many positions come back at the same time.

Part of the supervisor, used on its thread alone. A hundred thousand that all ask their exchange at once would wait for
its answers longer than an answer may take, ask again, and hold all they have asked for in memory. So a bounded number
comes back at a time, and the next begins when one is reconciled. One that takes long, because its exchange cannot be
reached, say, gives its place up: it is not in the way of the others.
"""

from collections import deque
from dataclasses import dataclass, replace

from actors.managed import Managed
from actors.roster import Roster
from actors.runtime.base import tell
from actors.traffic import BeginRecovery, ComebacksDue

AT_ONCE = 500
PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Pending:
    position_id: str
    managed: Managed
    begin: BeginRecovery


class Comebacks:
    """Begins comebacks, a bounded number at a time."""

    def __init__(self, roster: Roster) -> None:
        """Nothing is pending."""
        self._roster = roster
        self._pending: deque[_Pending] = deque()
        self._since: dict[str, float] = {}
        self._looking = False

    def add(self, position_id: str, managed: Managed, begin: BeginRecovery) -> None:
        """This position is to come back; at once, where there is room."""
        self._pending.append(_Pending(position_id, managed, begin))
        self._go_on()

    def ended(self, position_id: str) -> None:
        """It is reconciled, or will not be: the next one."""
        if self._since.pop(position_id, None) is not None:
            self._go_on()

    def look(self) -> None:
        """Those that take long are not waited for."""
        self._looking = False
        long_ago = self._roster.parts.runtime.clock.monotonic() - PATIENCE_SECONDS
        self._since = {name: since for name, since in self._since.items() if since > long_ago}
        self._go_on()

    def _go_on(self) -> None:
        while self._pending and len(self._since) < AT_ONCE:
            self._begin(self._pending.popleft())
        if self._pending and not self._looking:
            self._looking = True
            self._roster.parts.runtime.clock.tell_after(_LOOK_SECONDS, self._roster.supervisor, ComebacksDue())

    def _begin(self, pending: _Pending) -> None:
        roster, name, managed, begin = self._roster, pending.position_id, pending.managed, pending.begin
        account = roster.accounts[managed.account]
        outdated = roster.managed.get(name) is not managed or managed.ref is not None or managed.quarantined
        if outdated or roster.draining or not account.started or account.epoch != begin.epoch:
            # Its shard was lost meanwhile, or it was taken again: another one of these is for that life.
            return
        self._since[name] = roster.parts.runtime.clock.monotonic()
        ref = roster.spawn_position(name, managed)
        tape = begin.tape or roster.feeds.stored_tape(account, managed.symbol)
        tell(ref, replace(begin, tape=tape))
        roster.log_of_one()("actor.recovered", actor=name, version=begin.version, epoch=begin.epoch)
