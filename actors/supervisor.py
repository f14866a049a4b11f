"""SupervisorActor: boots, re-spawns, restarts, quarantines, drains.

On boot, for each shard: take the lease, load, spawn one PositionActor for each snapshot; an account acts again once
every one of them is reconciled. An actor that fails is restarted from its snapshot with back-off; more than five times
in a minute and it is quarantined: its stop is verified or placed, then it stands still, and everything else goes on.
"""

from collections import deque
from collections.abc import Sequence

import pykka
import structlog

from actors.admission import Admission
from actors.arrivals import Arrived
from actors.casualties import Casualties
from actors.comebacks import Comebacks
from actors.domain.records import maker, settle
from actors.domain.schema import SCHEMA, load
from actors.managed import Managed
from actors.messages import AmendRequest, CloseRequest, DrainService, OpenRequest, SlotQuestion
from actors.roster import LOGGED_ONE_BY_ONE, Account, Roster, SupervisorParts
from actors.runtime.base import tell
from actors.sleeping import LooksDue, on_looks_due
from actors.stored_tapes import taken_of
from actors.traffic import (
    ActorFailed,
    BeginRecovery,
    Boot,
    ComebacksDue,
    Finished,
    OpeningEnded,
    PatienceOver,
    Recovered,
    Respawn,
    Retake,
    Surveyed,
)
from actors.venues.base import VenueStatus
from persistence.messages import (
    Drain,
    ShardLost,
    ShardRefused,
    ShardTaken,
    SnapshotRead,
    TakeShard,
)

# A lease may be given up before it runs out, so it is asked for more often than that.
LONGEST_RETRY_SECONDS = 5.0
# How long all positions of an account may take to be reconciled before the prices of the others go on without them.
RECOVERY_SECONDS = 60.0


# Made for each position that is loaded.
_BEGIN = maker(BeginRecovery)


class SupervisorActor(pykka.ThreadingActor):
    """Knows every actor; decides who runs."""

    use_daemon_thread = True

    def __init__(self, parts: SupervisorParts) -> None:
        """Begins with Boot."""
        super().__init__()
        self._roster = Roster(parts, self.actor_ref)
        self._admission = Admission(self._roster)
        self._comebacks = Comebacks(self._roster, arrived=self._on_all_recovered)
        self._casualties = Casualties(
            self._roster, recover=self._recover_alone, gone=self._on_gone, begin_anew=self._begin_anew
        )
        self._ready_told = False
        self._to_take: deque[str] = deque()
        self._log = structlog.get_logger()

    def on_receive(self, message: object) -> None:  # noqa: PLR0912 - one line for each message
        """Requests of the edge, word of shards and actors."""
        match message:
            case Boot():
                self._boot()
            case ShardTaken():
                self._on_shard_taken(message)
                self._take_next()
            case ShardRefused():
                self._on_shard_refused(message)
                self._take_next()
            case ShardLost():
                self._on_shard_lost(message)
            case VenueStatus():
                self._on_venue_status(message)
            case OpenRequest():
                self._admission.on_open(message)
            case CloseRequest() | AmendRequest():
                self._admission.on_command(message)
            case SlotQuestion():
                self._admission.on_slot_question(message)
            case OpeningEnded():
                self._on_opening_ended(message)
            case Recovered():
                self._on_all_recovered((message.position_id,))
            case Arrived():
                self._on_all_recovered(message.arrivals.take())
            case Finished():
                self._on_finished(message.position_id)
            case ActorFailed():
                self._casualties.on_failed(message)
            case Respawn():
                self._casualties.respawn(message.position_id)
            case SnapshotRead():
                self._casualties.on_snapshot(message)
            case PatienceOver():
                self._on_patience_over(message)
            case Retake():
                self._on_retake(message)
            case Surveyed():
                self._comebacks.on_surveyed(message)
            case ComebacksDue():
                self._comebacks.look()
            case LooksDue():
                on_looks_due(self._roster, message)
            case DrainService():
                self._drain(message)
            case _:
                raise TypeError(f"SupervisorActor cannot take {type(message).__name__}")

    # -- boot ------------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        for account in self._roster.accounts.values():
            self._roster.publish_account(account, detail="waiting for its lease")
        self._to_take.extend(dict.fromkeys(account.settings.shard for account in self._roster.accounts.values()))
        self._take_next()

    def _take_next(self) -> None:
        """At boot one shard after the other: what is loaded of all of them at once would be most of the memory used."""
        if self._to_take:
            self._take(self._to_take.popleft())

    def _take(self, shard: str) -> None:
        tell(self._roster.parts.persistence, TakeShard(shard=shard, reply_to=self.actor_ref))

    def _on_shard_refused(self, message: ShardRefused) -> None:
        """Not now: say why, and ask again."""
        for account in self._roster.of_shard(message.shard):
            self._roster.publish_account(account, detail=message.message)
        self._log.warning(
            "lease.refused", shard=message.shard, why=message.message, retry_seconds=message.retry_seconds
        )
        self._take_later(message.shard, min(message.retry_seconds, LONGEST_RETRY_SECONDS))

    def _take_later(self, shard: str, seconds: float) -> None:
        self._roster.parts.runtime.clock.tell_after(seconds, self.actor_ref, Retake(shard=shard))

    def _on_retake(self, message: Retake) -> None:
        if not self._roster.draining and not any(account.started for account in self._roster.of_shard(message.shard)):
            self._take(message.shard)

    def _on_shard_taken(self, message: ShardTaken) -> None:
        if self._roster.draining:
            return
        accounts = self._roster.of_shard(message.shard)
        self._stop_positions(message.shard)
        if message.takeover and not all(account.venue.traits.expires_requests for account in accounts):
            # A request of the former owner could still be executed there, whenever it arrives.
            detail = (
                "taken over from a keeper that may still act, at a venue whose requests do not expire; end that one"
            )
            for account in accounts:
                self._roster.publish_account(account, epoch=message.epoch, detail=detail)
            self._log.error("lease.takeover_refused", shard=message.shard, remedy=detail)
            return
        self._roster.feeds.taken(taken_of(message))
        for account in accounts:
            account.started, account.resumed, account.recovering = True, False, set()
            account.epoch = message.epoch
            account.unbroken_since = message.epoch if message.takeover else message.unbroken_since
            self._roster.start_account(account)
            self._roster.publish_account(account, epoch=message.epoch, held=True, detail=account.blocked)
        names = {account.settings.name for account in accounts}
        self._roster.forget_unstored(names, {snapshot.position_id for snapshot in message.loaded.snapshots})
        for snapshot in message.loaded.closed:
            self._roster.publish_closed(snapshot.state, snapshot.schema, snapshot.version, snapshot.epoch)
        for snapshot in message.loaded.snapshots:
            spill = message.spills.get(snapshot.position_id)
            schema = message.spill_schemas.get(snapshot.position_id, snapshot.schema)
            begin = _BEGIN(
                state=snapshot.state if spill is None else spill,
                schema=snapshot.schema if spill is None else schema,
                version=snapshot.version,
                epoch=message.epoch,
                spilled=spill is not None,
                # Whoever saved it last may still act by its stop.
                takeover=message.takeover or snapshot.epoch < message.unbroken_since,
            )
            self._recover(snapshot.position_id, begin, names)
        stored = {snapshot.position_id for snapshot in message.loaded.snapshots}
        if len(self._roster.managed) > LOGGED_ONE_BY_ONE:
            self._log.info("actor.recovered", shard=message.shard, actors=len(stored), epoch=message.epoch)
        for position_id, spill in message.spills.items():
            if position_id not in stored:
                # A new position whose first save never arrived: nothing of it was sent, all of it was decided.
                schema = message.spill_schemas.get(position_id, SCHEMA)
                begin = BeginRecovery(state=spill, schema=schema, version=0, epoch=message.epoch, spilled=True)
                self._recover(position_id, begin, names)
        for position_id, error in message.loaded.corrupt.items():
            self._casualties.quarantine_unreadable(position_id, accounts[0].settings.name, "", str(error))
        self._comebacks.go_on()
        for account in accounts:
            if account.venue.traits.subscribes:
                self._be_patient(PatienceOver(account=account.settings.name, epoch=account.epoch))
            self._resume_if_recovered(account)

    def _be_patient(self, reminder: PatienceOver) -> None:
        self._roster.parts.runtime.clock.tell_after(RECOVERY_SECONDS, self.actor_ref, reminder)

    def _on_patience_over(self, message: PatienceOver) -> None:
        """One position that cannot be reconciled must not keep prices from all the others for ever.

        It hears none itself before it is reconciled, so that nothing acts on half the truth.
        """
        account = self._roster.accounts[message.account]
        if not account.started or account.epoch != message.epoch or account.resumed:
            return
        if not account.reachable:
            self._be_patient(message)
            return
        waiting = ", ".join(sorted(account.recovering))
        account.blocked_by = f"not reconciled, and not managed until they are: {waiting}"
        self._log.error("account.unreconciled", account=message.account, remedy=account.blocked_by)
        self._resume(account)

    def _recover(self, position_id: str, begin: BeginRecovery, accounts: set[str]) -> None:
        """Spawn the actor of one stored position; what cannot be read is quarantined, and nothing else is touched.

        `begin` was made for this, and is nobody else's.
        """
        try:
            position = load(begin.state, begin.schema)
            if position.id != position_id:
                # Two actors of one position would send its orders twice.
                raise ValueError(f"it holds the position {position.id}")
        except ValueError as error:
            symbol = str(begin.state.get("symbol", ""))
            claimed = str(begin.state.get("account", ""))
            name = claimed if claimed in accounts else min(accounts)
            self._casualties.quarantine_unreadable(position_id, name, symbol, str(error))
            return
        account = self._roster.accounts.get(position.account)
        if account is None or not account.has(position.symbol):
            why = f"account {position.account} or symbol {position.symbol} is no longer configured"
            self._casualties.quarantine_unreadable(
                position_id, position.account, position.symbol, why, position=position
            )
            return
        managed = Managed(account=position.account, symbol=position.symbol, ref=None, digest=position.request_digest)
        former = self._roster.managed.get(position_id)
        if former is not None:
            managed.restarts = former.restarts
        self._roster.managed[position_id] = managed
        account.recovering.add(position_id)
        settings, now = account.settings, self._roster.parts.runtime.clock.monotonic()
        account.late_until[position.symbol] = now + settings.request_expiry_seconds + settings.clock_skew_seconds
        # The decoded state is handed on instead of the stored one, which is larger.
        settle(begin, {"position": position, "state": {}})
        self._comebacks.add(position_id, managed, begin)

    def _recover_alone(self, position_id: str, begin: BeginRecovery, accounts: set[str]) -> None:
        self._recover(position_id, begin, accounts)
        self._comebacks.go_on()

    def _on_all_recovered(self, names: Sequence[str]) -> None:
        self._comebacks.all_ended(names)
        found = [managed.account for managed in map(self._roster.managed.get, names) if managed is not None]
        for name in dict.fromkeys(found):
            account = self._roster.accounts[name]
            account.recovering.difference_update(names)
            self._resume_if_recovered(account)

    def _resume_if_recovered(self, account: Account) -> None:
        """Prices flow once every position of the account is reconciled, so that none of them misses one."""
        if account.recovering or account.gateway is None or not account.reachable:
            return
        late, account.blocked_by = bool(account.blocked_by), ""
        if not account.resumed:
            self._resume(account)
        elif late:
            self._publish_reconciled(account)

    def _resume(self, account: Account) -> None:
        account.resumed = True
        self._publish_reconciled(account)
        self._roster.resume(account)
        if not self._ready_told and all(other.resumed for other in self._roster.accounts.values()):
            self._ready_told = True
            self._log.info("service.ready", accounts=len(self._roster.accounts), positions=len(self._roster.managed))

    def _publish_reconciled(self, account: Account) -> None:
        """Show an account as reconciled, or what keeps it from that."""
        status = self._roster.parts.directory.accounts[account.settings.name]
        detail = account.blocked or account.blocked_by
        self._roster.publish_account(account, epoch=status.epoch, held=True, reconciled=not detail, detail=detail)

    def _on_venue_status(self, message: VenueStatus) -> None:
        """One account can be traded, or not (any more); the others go on."""
        account = self._roster.accounts.get(message.account)
        if account is None or not account.started:
            return
        account.reachable, account.blocked = message.ready, "" if message.ready else message.detail
        if message.ready:
            self._log.info("account.connected", account=message.account)
        else:
            self._log.error("account.blocked", account=message.account, code=message.code, remedy=message.detail)
        if account.resumed or not message.ready:
            self._publish_reconciled(account)
        self._resume_if_recovered(account)

    def _on_shard_lost(self, message: ShardLost) -> None:
        """Fenced: stand down. Merely run out (the store is out of reach): watch on, within what the gateways allow.

        The persistence actor takes such a lease again by itself, and everything is then reconciled anew.
        """
        if message.fenced:
            self._stand_down(message.shard, message.epoch, "another keeper owns it")
            if not self._roster.draining:
                self._take(message.shard)
            return
        for account in self._roster.of_shard(message.shard):
            account.started = account.resumed = False
            detail = "its lease ran out while Redis was out of reach; only protective full closes are made"
            self._roster.publish_account(account, epoch=message.epoch, detail=detail)

    def _stand_down(self, shard: str, epoch: int, detail: str) -> None:
        """Stop everything of a shard; what is saved is all that counts when it is taken again."""
        for account in self._roster.of_shard(shard):
            account.started = account.resumed = False
            self._roster.publish_account(account, epoch=epoch, detail=detail)
            self._roster.stop_account(account)
        self._roster.feeds.lost(shard)
        self._stop_positions(shard)

    def _stop_positions(self, shard: str) -> None:
        names = {account.settings.name for account in self._roster.of_shard(shard)}
        for position_id, managed in list(self._roster.managed.items()):
            if managed.account in names:
                self._roster.stop(managed.ref, position_id)
                managed.ref = None
                if managed.opening:
                    del self._roster.managed[position_id]

    def _begin_anew(self, name: str, error: str) -> None:
        """A gateway or market died: its whole account starts again from what is saved."""
        for account in self._roster.accounts.values():
            kind, _, rest = name.partition(":")
            owner = account.feed.name if kind == "market" else account.settings.name
            own = rest.partition(":")[0] == owner
            if own and account.started and not self._roster.draining:
                shard = account.settings.shard
                self._stand_down(shard, 0, f"restarting after a failure: {error}")
                self._take_later(shard, account.next_delay(self._roster.parts.runtime.clock.monotonic()))

    def _on_opening_ended(self, message: OpeningEnded) -> None:
        names = (message.position_id,)
        for name in names:
            managed = self._roster.managed.get(name)
            if managed is None:
                continue
            managed.opening = False
            if not message.accepted:
                del self._roster.managed[name]
                self._roster.stop(managed.ref, name)

    def _on_finished(self, position_id: str) -> None:
        managed = self._roster.managed.pop(position_id, None)
        if managed is not None:
            self._roster.stop(managed.ref, position_id)
            self._on_gone(managed, position_id)

    def _on_gone(self, managed: Managed, position_id: str) -> None:
        self._comebacks.ended(position_id)
        account = self._roster.accounts[managed.account]
        account.recovering.discard(position_id)
        self._resume_if_recovered(account)

    # -- the rest --------------------------------------------------------------------------------------------------

    def _drain(self, message: DrainService) -> None:
        """Stop taking requests; what is told already becomes durable behind it; the leases are given up last."""
        self._roster.draining = True
        self._roster.parts.directory.draining = True
        self._log.info("service.draining", positions=len(self._roster.managed))
        for account in self._roster.accounts.values():
            self._roster.stop_account(account)
        for position_id, managed in self._roster.managed.items():
            self._roster.stop(managed.ref, position_id)
        tell(self._roster.parts.persistence, Drain(reply=message.reply))
