"""HealthActor: pings mailboxes, writes the health log.

A health record is a ping that came back through the mailbox; a living thread proves nothing. An actor that does not
answer for a whole round, or is dead, is reported to the supervisor.
"""

from dataclasses import dataclass

import pykka
import structlog

from actors.directory import Directory, HealthRecord
from actors.domain.model import IntentStatus
from actors.runtime.base import Clock, Ping, Pong, Ref, tell
from actors.traffic import ActorFailed, Restarted, Unwatch, Watch

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
                if message.kind == "SupervisorActor":
                    self._supervisor = message.ref
                restarts = self._restarts.get(message.name, 0)
                self._watched[message.name] = _Watched(message.name, message.kind, message.ref, restarts)
                self._by_urn[message.ref.actor_urn] = message.name
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

    def _round(self) -> None:
        """Publish what the last round brought, then ask everyone again."""
        records = [self._record(watched) for watched in self._watched.values() if watched.asked]
        records.sort(key=_badness, reverse=True)
        if records:
            self._parts.directory.health = tuple(records)
            self._parts.directory.health_at = self._parts.clock.now()
            self._write(records)
        now = self._parts.clock.monotonic()
        for watched in list(self._watched.values()):
            watched.pong, watched.asked = None, True
            if not tell(watched.ref, Ping(sent_at=now, reply_to=self.actor_ref)):
                self._report_dead(watched)
        self._parts.clock.tell_after(self._parts.interval_seconds, self.actor_ref, PingRound())

    def _report_dead(self, watched: _Watched) -> None:
        """An actor that died without a word (its start failed, say) is reported once."""
        del self._watched[watched.name]
        self._by_urn.pop(watched.ref.actor_urn, None)
        if self._supervisor is not None:
            dead = ActorFailed(name=watched.name, kind=watched.kind, error="found dead by a ping")
            tell(self._supervisor, dead)

    def _record(self, watched: _Watched) -> HealthRecord:
        pong = watched.pong
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

    def _write(self, records: list[HealthRecord]) -> None:
        if len(records) <= MOST_LINES:
            for record in records:
                self._log.info("actor.health", **_fields(record))
            return
        unanswered = sum(not record.answered for record in records)
        self._log.info(
            "actor.health",
            actors=len(records),
            unanswered=unanswered,
            oldest_message_age_seconds=records[0].mailbox_age_seconds,
            deepest_mailbox=max(record.mailbox_depth for record in records),
        )
        for record in records[:WORST]:
            self._log.info("actor.health", **_fields(record))


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
