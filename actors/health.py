"""HealthActor: pings mailboxes, writes the health log.

A health record is a ping that came back through the mailbox; a living thread proves nothing. An actor that does not
answer for a whole round, or is dead, is reported to the supervisor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import overload

import pykka
import structlog

from actors.directory import Directory, HealthRecord, Published
from actors.domain.model import IntentStatus
from actors.runtime.base import Clock, Ping, Pong, Ref, tell
from actors.traffic import ActorFailed, Restarted, Unwatch, Watch, WatchAll

INTERVAL_SECONDS = 10.0
MOST_LINES = 1000
WORST = 10


@dataclass(frozen=True, slots=True)
class PingRound:
    """A reminder: close the last round, begin the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthParts:
    """What a HealthActor works with."""

    directory: Directory
    clock: Clock
    interval_seconds: float = INTERVAL_SECONDS


@dataclass(slots=True)
class _Watched:
    name: str
    kind: str
    ref: Ref
    restarts: int = 0
    pong: Pong | None = None
    asked: bool = False
    # What was published of it when it was last looked at, and whether that was protected.
    shown: Published | None = None
    protected: bool | None = None


class Round(Sequence[HealthRecord]):
    """One round of more actors than are told one by one: a record is made when somebody looks at it."""

    def __init__(self, count: int, record: Callable[[int], HealthRecord]) -> None:
        self._count = count
        self._record = record

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> HealthRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HealthRecord]: ...
    def __getitem__(self, index: int | slice) -> HealthRecord | Sequence[HealthRecord]:
        if isinstance(index, slice):
            return [self._record(each) for each in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._record(index % self._count)


class HealthActor(pykka.ThreadingActor):
    """Pings every watched actor, publishes and logs what came back."""

    use_daemon_thread = True

    def __init__(self, parts: HealthParts) -> None:
        """The first round begins one interval after the start."""
        super().__init__()
        self._parts = parts
        self._watched: dict[str, _Watched] = {}
        self._by_urn: dict[str, str] = {}
        self._restarts: dict[str, int] = {}
        self._supervisor: Ref | None = None
        self._log = structlog.get_logger()

    def on_start(self) -> None:
        """Begin the rounds."""
        self._parts.clock.tell_after(self._parts.interval_seconds, self.actor_ref, PingRound())

    def on_receive(self, message: object) -> None:
        """Pongs, and who is to be watched."""
        match message:
            case Pong():
                watched = self._watched.get(self._by_urn.get(message.urn, ""))
                if watched is not None:
                    watched.pong = message
            case Watch():
                self._watch(message)
            case WatchAll():
                for watch in message.watches:
                    self._watch(watch)
            case Unwatch():
                gone = self._watched.pop(message.name, None)
                if gone is not None:
                    self._by_urn.pop(gone.ref.actor_urn, None)
            case Restarted():
                self._restarts[message.name] = self._restarts.get(message.name, 0) + 1
                if message.name in self._watched:
                    self._watched[message.name].restarts = self._restarts[message.name]
            case PingRound():
                self._round()
            case _:
                raise TypeError(f"HealthActor cannot take {type(message).__name__}")

    def _watch(self, message: Watch) -> None:
        if message.kind == "SupervisorActor":
            self._supervisor = message.ref
        restarts = self._restarts.get(message.name, 0)
        self._watched[message.name] = _Watched(message.name, message.kind, message.ref, restarts)
        self._by_urn[message.ref.actor_urn] = message.name

    def _round(self) -> None:
        """Publish what the last round brought, then ask everyone again."""
        asked = [watched for watched in self._watched.values() if watched.asked]
        if asked:
            self._publish(asked)
        ping = Ping(sent_at=self._parts.clock.monotonic(), reply_to=self.actor_ref)
        for watched in list(self._watched.values()):
            watched.pong, watched.asked = None, True
            if not tell(watched.ref, ping):
                self._report_dead(watched)
        self._parts.clock.tell_after(self._parts.interval_seconds, self.actor_ref, PingRound())

    def _publish(self, asked: list[_Watched]) -> None:
        directory = self._parts.directory
        if len(asked) <= MOST_LINES:
            records = sorted((self._record(watched, watched.pong) for watched in asked), key=_badness, reverse=True)
            directory.health = tuple(records)
            for record in records:
                self._log.info("actor.health", **_fields(record))
        else:
            pongs = [watched.pong for watched in asked]
            directory.health = Round(len(asked), lambda index: self._record(asked[index], pongs[index]))
            self._tell_in_sum(asked, pongs)
        directory.health_at = self._parts.clock.now()

    def _tell_in_sum(self, asked: list[_Watched], pongs: list[Pong | None]) -> None:
        answers = [pong for pong in pongs if pong is not None]
        silent = len(asked) - len(answers)
        oldest = max((pong.mailbox_age_seconds for pong in answers), default=0.0)
        self._log.info(
            "actor.health",
            actors=len(asked),
            unanswered=silent,
            oldest_message_age_seconds=self._parts.interval_seconds if silent else oldest,
            deepest_mailbox=max((pong.mailbox_depth for pong in answers), default=0),
        )
        for watched in nlargest(WORST, asked, key=self._worse):
            self._log.info("actor.health", **_fields(self._record(watched, watched.pong)))

    def _worse(self, watched: _Watched) -> tuple[bool, bool, float, int]:
        """As `_badness` has it, without the record."""
        pong = watched.pong
        shown = self._parts.directory.positions.acknowledged(watched.name)
        if shown is not watched.shown:
            watched.shown = shown
            position = shown.position if shown is not None else None
            watched.protected = position.protected if position is not None else None
        if pong is None:
            return (True, watched.protected is False, self._parts.interval_seconds, 0)
        return (False, watched.protected is False, pong.mailbox_age_seconds, pong.mailbox_depth)

    def _report_dead(self, watched: _Watched) -> None:
        """An actor that died without a word (its start failed, say) is reported once."""
        del self._watched[watched.name]
        self._by_urn.pop(watched.ref.actor_urn, None)
        if self._supervisor is not None:
            dead = ActorFailed(name=watched.name, kind=watched.kind, error="found dead by a ping")
            tell(self._supervisor, dead)

    def _record(self, watched: _Watched, pong: Pong | None) -> HealthRecord:
        published = self._parts.directory.positions.acknowledged(watched.name)
        position = published.position if published is not None else None
        status = self._parts.directory.accounts.get(published.account) if published is not None else None
        pending = None
        if position is not None:
            resting = IntentStatus.RESTING
            pending = sum(not i.status.terminal and i.status is not resting for i in position.intents)
        return HealthRecord(
            actor=watched.name,
            kind=watched.kind,
            answered=pong is not None,
            mailbox_depth=pong.mailbox_depth if pong else 0,
            mailbox_age_seconds=pong.mailbox_age_seconds if pong else self._parts.interval_seconds,
            processed=pong.processed if pong else 0,
            restarts=watched.restarts,
            version=published.version if published else None,
            lag=self._parts.directory.lags.get(watched.name, 0 if published else None),
            epoch=status.epoch if status else None,
            protected=position.protected if position else None,
            pending=pending,
        )


def _badness(record: HealthRecord) -> tuple[bool, bool, float, int]:
    """Worst first: silent, unprotected, slow, deep."""
    return (not record.answered, record.protected is False, record.mailbox_age_seconds, record.mailbox_depth)


def _fields(record: HealthRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "actor": record.actor,
        "kind": record.kind,
        "answered": record.answered,
        "mailbox_depth": record.mailbox_depth,
        "oldest_message_age_seconds": round(record.mailbox_age_seconds, 6),
        "processed": record.processed,
        "restarts": record.restarts,
    }
    position_fields = {
        "version": record.version,
        "lag": record.lag,
        "epoch": record.epoch,
        "protected": record.protected,
        "pending": record.pending,
    }
    fields.update({key: value for key, value in position_fields.items() if value is not None})
    return fields
