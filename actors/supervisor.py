"""SupervisorActor: boots, re-spawns, restarts, quarantines, drains.

On boot, for each shard: take the lease, load, spawn one PositionActor for each snapshot; an account acts again once every one
of them is reconciled. An actor that fails is restarted from its snapshot with back-off; more than five times in a minute and
it is quarantined: its stop is verified or placed, then it stands still, and everything else goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pykka
import structlog

from actors.directory import AccountStatus, Directory, Published
from actors.domain.model import Phase, Position
from actors.domain.schema import load
from actors.gateway import GatewayActor, GatewayParts
from actors.market import MarketActor, MarketParts
from actors.messages import (
    AmendRequest,
    CloseRequest,
    DrainService,
    Opened,
    OpenRequest,
    Refusal,
)
from actors.position import PositionActor, PositionParts
from actors.runtime.base import Ref, Runtime, tell
from actors.settings import AccountSettings
from actors.traffic import (
    ActorFailed,
    AlsoAnswer,
    BeginOpening,
    BeginRecovery,
    Boot,
    EnsureStop,
    Finished,
    MarketsReady,
    OpeningEnded,
    Recovered,
    Respawn,
    Restarted,
    ResumeFeed,
    Unregister,
    Unwatch,
    Watch,
)
from actors.venues.base import Venue
from persistence.lease import LeaseBoard, boottime
from persistence.messages import (
    Drain,
    ReadSnapshot,
    ShardLost,
    ShardRefused,
    ShardTaken,
    SnapshotRead,
    TakeShard,
)

RESTART_LIMIT = 5
RESTART_WINDOW_SECONDS = 60.0
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
STOP_SECONDS = 2.0
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorParts:
    """What the supervisor wires its actors with. `venues` has one door for each account."""

    runtime: Runtime
    directory: Directory
    leases: LeaseBoard
    persistence: Ref
    health: Ref
    accounts: tuple[AccountSettings, ...]
    venues: Mapping[str, Venue]
    order_tag: str
    publish: Callable[[Mapping[str, Any]], None]
    boottime: Callable[[], float] = boottime


@dataclass(slots=True)
class _Account:
    """One account at work."""

    settings: AccountSettings
    venue: Venue
    gateway: Ref | None = None
    markets: dict[str, Ref] = field(default_factory=dict)
    recovering: set[str] = field(default_factory=set)
    started: bool = False
    resumed: bool = False


@dataclass(slots=True)
class _Managed:
    """One position's actor, and its restarts."""

    account: str
    symbol: str
    ref: Ref | None
    digest: str = ""
    opening: bool = False
    restarts: list[float] = field(default_factory=list)
    quarantined: bool = False


class SupervisorActor(pykka.ThreadingActor):
    """Knows every actor; decides who runs."""

    use_daemon_thread = True

    def __init__(self, parts: SupervisorParts) -> None:
        """Begins with Boot."""
        super().__init__()
        self._parts = parts
        self._accounts = {
            settings.name: _Account(settings, parts.venues[settings.name]) for settings in parts.accounts
        }
        self._managed: dict[str, _Managed] = {}
        self._draining = False
        self._ready_told = False
        self._log = structlog.get_logger()

    def on_receive(self, message: object) -> None:  # noqa: PLR0912 - one line for each message
        """Requests of the edge, word of shards and actors."""
        match message:
            case Boot():
                self._boot()
            case ShardTaken():
                self._on_shard_taken(message)
            case ShardRefused():
                self._on_shard_refused(message)
            case ShardLost():
                self._on_shard_lost(message)
            case OpenRequest():
                self._on_open(message)
            case CloseRequest() | AmendRequest():
                self._on_command(message)
            case OpeningEnded():
                self._on_opening_ended(message)
            case Recovered():
                self._on_recovered(message.position_id)
            case Finished():
                self._on_finished(message.position_id)
            case ActorFailed():
                self._on_failed(message)
            case Respawn():
                self._respawn(message.position_id)
            case SnapshotRead():
                self._on_snapshot(message)
            case DrainService():
                self._drain(message)
            case _:
                raise TypeError(f"SupervisorActor cannot take {type(message).__name__}")

    # -- boot ------------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        for account in self._accounts.values():
            self._publish_account(account, detail="waiting for its lease")
        for shard in dict.fromkeys(account.settings.shard for account in self._accounts.values()):
            self._take(shard)

    def _take(self, shard: str) -> None:
        tell(self._parts.persistence, TakeShard(shard=shard, reply_to=self.actor_ref))

    def _of_shard(self, shard: str) -> list[_Account]:
        return [account for account in self._accounts.values() if account.settings.shard == shard]

    def _on_shard_refused(self, message: ShardRefused) -> None:
        for account in self._of_shard(message.shard):
            self._publish_account(account, detail=message.message)

    def _on_shard_taken(self, message: ShardTaken) -> None:
        if self._draining:
            return
        accounts = self._of_shard(message.shard)
        for account in accounts:
            account.started, account.resumed, account.recovering = True, False, set()
            self._start_account(account)
            self._publish_account(account, epoch=message.epoch, held=True)
        names = {account.settings.name for account in accounts}
        for snapshot in message.loaded.closed:
            self._publish_closed(snapshot.state, snapshot.schema, snapshot.version, snapshot.epoch)
        for snapshot in message.loaded.snapshots:
            spill = message.spills.get(snapshot.position_id)
            schema = message.spill_schemas.get(snapshot.position_id, snapshot.schema)
            begin = BeginRecovery(
                state=snapshot.state if spill is None else spill,
                schema=snapshot.schema if spill is None else schema,
                version=snapshot.version,
                epoch=message.epoch,
                spilled=spill is not None,
            )
            self._recover(snapshot.position_id, begin, names)
        for position_id, error in message.loaded.corrupt.items():
            self._quarantine_unreadable(position_id, accounts[0].settings.name, "", str(error))
        for account in accounts:
            self._resume_if_recovered(account)

    def _start_account(self, account: _Account) -> None:
        """A gateway, and a market for each symbol; those of a former ownership are stopped first."""
        parts, settings = self._parts, account.settings
        self._stop_account(account)
        gateway = parts.runtime.spawn(
            GatewayActor,
            GatewayParts(
                settings=settings,
                venue=account.venue,
                clock=parts.runtime.clock,
                leases=parts.leases,
                directory=parts.directory,
                order_tag=parts.order_tag,
                supervisor=self.actor_ref,
                boottime=parts.boottime,
            ),
        )
        account.gateway = gateway
        self._watch(f"gateway:{settings.name}", "GatewayActor", gateway)
        for instrument in account.venue.instruments():
            market = parts.runtime.spawn(
                MarketActor,
                MarketParts(
                    settings=settings,
                    symbol=instrument.symbol,
                    gateway=gateway,
                    supervisor=self.actor_ref,
                    directory=parts.directory,
                    clock=parts.runtime.clock,
                    lockstep=account.venue.traits.lockstep,
                ),
            )
            account.markets[instrument.symbol] = market
            self._watch(f"market:{settings.name}:{instrument.symbol}", "MarketActor", market)
        tell(gateway, MarketsReady(markets=dict(account.markets)))

    def _recover(self, position_id: str, begin: BeginRecovery, accounts: set[str]) -> None:
        """Spawn the actor of one stored position; what cannot be read is quarantined, and nothing else is touched."""
        try:
            position = load(begin.state, begin.schema)
        except ValueError as error:
            symbol = str(begin.state.get("symbol", ""))
            account = str(begin.state.get("account", ""))
            name = account if account in accounts else min(accounts)
            self._quarantine_unreadable(position_id, name, symbol, str(error))
            return
        account = self._accounts.get(position.account)
        if account is None or position.symbol not in account.markets:
            why = f"account {position.account} or symbol {position.symbol} is no longer configured"
            self._quarantine_unreadable(position_id, position.account, position.symbol, why, position=position)
            return
        managed = _Managed(
            account=position.account, symbol=position.symbol, ref=None, digest=position.request_digest
        )
        former = self._managed.get(position_id)
        if former is not None:
            managed.restarts = former.restarts
        self._managed[position_id] = managed
        account.recovering.add(position_id)
        ref = self._spawn_position(position_id, managed)
        tell(ref, begin)
        self._log.info("actor.recovered", actor=position_id, version=begin.version, epoch=begin.epoch)

    def _spawn_position(self, position_id: str, managed: _Managed) -> Ref:
        parts, account = self._parts, self._accounts[managed.account]
        if account.gateway is None:
            raise RuntimeError(f"account {managed.account} has no gateway yet")
        ref = parts.runtime.spawn(
            PositionActor,
            PositionParts(
                position_id=position_id,
                account=account.settings,
                symbol=managed.symbol,
                order_tag=parts.order_tag,
                clock=parts.runtime.clock,
                directory=parts.directory,
                gateway=account.gateway,
                market=account.markets[managed.symbol],
                persistence=parts.persistence,
                supervisor=self.actor_ref,
                stop_triggers=account.venue.traits.stop_triggers,
                lockstep=account.venue.traits.lockstep,
                own_time=account.venue.traits.own_time,
                publish=parts.publish,
            ),
        )
        managed.ref = ref
        self._watch(position_id, "PositionActor", ref)
        return ref

    def _on_recovered(self, position_id: str) -> None:
        managed = self._managed.get(position_id)
        if managed is None:
            return
        account = self._accounts[managed.account]
        account.recovering.discard(position_id)
        self._resume_if_recovered(account)

    def _resume_if_recovered(self, account: _Account) -> None:
        """Prices flow once every position of the account is reconciled, so that none of them misses one."""
        if account.recovering or account.resumed or account.gateway is None:
            return
        account.resumed = True
        status = self._parts.directory.accounts[account.settings.name]
        self._publish_account(account, epoch=status.epoch, held=True, reconciled=True)
        tell(account.gateway, ResumeFeed())
        if not self._ready_told and all(other.resumed for other in self._accounts.values()):
            self._ready_told = True
            self._log.info("service.ready", accounts=len(self._accounts), positions=len(self._managed))

    def _on_shard_lost(self, message: ShardLost) -> None:
        """Not ours any more: stand down. A lease that merely ran out is taken again by the persistence actor."""
        detail = "another keeper owns it" if message.fenced else "its lease ran out"
        self._stand_down(message.shard, message.epoch, detail)
        if message.fenced and not self._draining:
            self._take(message.shard)

    def _stand_down(self, shard: str, epoch: int, detail: str) -> None:
        """Stop everything of a shard; what is saved is all that counts when it is taken again."""
        for account in self._of_shard(shard):
            account.started = account.resumed = False
            self._publish_account(account, epoch=epoch, detail=detail)
            for position_id, managed in list(self._managed.items()):
                if managed.account == account.settings.name:
                    self._stop(managed.ref, position_id)
                    managed.ref = None
                    if managed.opening:
                        del self._managed[position_id]
            self._stop_account(account)

    def _begin_anew(self, name: str, error: str) -> None:
        """A gateway or market died: its whole account starts again from what is saved."""
        for account in self._accounts.values():
            own = name.split(":")[1] == account.settings.name if ":" in name else False
            if own and account.started and not self._draining:
                shard = account.settings.shard
                self._stand_down(shard, 0, f"restarting after a failure: {error}")
                self._take(shard)

    # -- requests --------------------------------------------------------------------------------------------------

    def _on_open(self, request: OpenRequest) -> None:
        refusal = self._refuse_open(request)
        if refusal is not None:
            request.reply.set(refusal)
            return
        known = self._managed.get(request.id)
        published = self._parts.directory.positions.get(request.id)
        if not request.preview and (known is not None or published is not None):
            self._repeat(request, known, published)
            return
        if not request.preview:
            taken = self._slot_refusal(request)
            if taken is not None:
                request.reply.set(taken)
                return
        name = f"preview:{request.id}" if request.preview else request.id
        managed = _Managed(
            account=request.account, symbol=request.symbol, ref=None, digest=request.digest, opening=True
        )
        self._managed[name] = managed
        tell(self._spawn_position(name, managed), BeginOpening(request=request))

    def _refuse_open(self, request: OpenRequest) -> Refusal | None:
        if self._draining:
            return Refusal(code="not_ready", message="the service is draining; try again once it is back")
        account = self._accounts.get(request.account)
        if account is None:
            names = ", ".join(self._accounts)
            text = f"account: there is no account {request.account}; configured: {names}"
            return Refusal(code="unknown_account", message=text, field="account")
        if not account.started:
            text = f"account {request.account}'s shard is not owned by this keeper (now); try again later"
            return Refusal(code="not_owner", message=text)
        if not account.resumed:
            return Refusal(code="not_ready", message=f"account {request.account} is not reconciled yet; try again soon")
        if request.symbol not in account.markets:
            symbols = ", ".join(account.markets)
            text = f"symbol: {request.symbol} is not traded on account {request.account}; it has {symbols}"
            return Refusal(code="unknown_symbol", message=text, field="symbol")
        return None

    def _repeat(self, request: OpenRequest, known: _Managed | None, published: Published | None) -> None:
        position = published.position if published else None
        digest = known.digest if known else (position.request_digest if position else "")
        if digest != request.digest:
            text = f"id {request.id} was used before for another request; choose a new one"
            request.reply.set(Refusal(code="id_taken", message=text, field="id"))
        elif known is not None and known.ref is not None and not known.quarantined:
            if not tell(known.ref, AlsoAnswer(request=request)):
                request.reply.set(Refusal(code="not_ready", message="the position is being restarted; try again"))
        elif published is not None:
            request.reply.set(Opened(published=published, repeated=True))

    def _slot_refusal(self, request: OpenRequest) -> Refusal | None:
        for position_id, managed in self._managed.items():
            if (managed.account, managed.symbol) != (request.account, request.symbol) or position_id.startswith("preview:"):
                continue
            published = self._parts.directory.positions.get(position_id)
            position = published.position if published else None
            if position is not None and position.phase is Phase.CLOSING:
                text = f"position {position_id} is still closing there; try again once its orders are read back"
                return Refusal(code="closing", message=text, field="symbol")
            text = f"position {position_id} holds {request.symbol} on account {request.account}; one in each slot"
            return Refusal(code="slot_taken", message=text, field="symbol")
        return None

    def _on_command(self, request: CloseRequest | AmendRequest) -> None:
        managed = self._managed.get(request.position_id)
        if managed is None:
            published = self._parts.directory.positions.get(request.position_id)
            if published is None:
                text = f"there is no position {request.position_id}"
                request.reply.set(Refusal(code="not_found", message=text))
            else:
                text = f"position {request.position_id} is closed already"
                request.reply.set(Refusal(code="closed", message=text))
        elif managed.quarantined:
            text = f"position {request.position_id} is quarantined; manage it on the exchange"
            request.reply.set(Refusal(code="quarantined", message=text))
        elif managed.ref is None or not tell(managed.ref, request):
            text = f"position {request.position_id} is being restarted; try again in a moment"
            request.reply.set(Refusal(code="not_ready", message=text))

    def _on_opening_ended(self, message: OpeningEnded) -> None:
        names = (message.position_id,)
        for name in names:
            managed = self._managed.get(name)
            if managed is None:
                continue
            managed.opening = False
            if not message.accepted:
                del self._managed[name]
                self._stop(managed.ref, name)

    def _on_finished(self, position_id: str) -> None:
        managed = self._managed.pop(position_id, None)
        if managed is not None:
            self._stop(managed.ref, position_id)
            self._on_gone(managed, position_id)

    def _on_gone(self, managed: _Managed, position_id: str) -> None:
        account = self._accounts[managed.account]
        account.recovering.discard(position_id)
        self._resume_if_recovered(account)

    # -- failures --------------------------------------------------------------------------------------------------

    def _on_failed(self, message: ActorFailed) -> None:
        self._log.error("actor.failed", actor=message.name, kind=message.kind, error=message.error)
        if message.kind in ("GatewayActor", "MarketActor"):
            self._begin_anew(message.name, message.error)
            return
        managed = self._managed.get(message.name)
        if managed is None or managed.quarantined:
            return
        account = self._accounts[managed.account]
        self._stop(managed.ref, message.name)
        managed.ref = None
        if not account.started:
            return
        if managed.opening:
            # Whether it was saved is open: ask the store, like for any other.
            managed.opening = False
        now = self._parts.runtime.clock.monotonic()
        managed.restarts = [at for at in managed.restarts if now - at < RESTART_WINDOW_SECONDS] + [now]
        if len(managed.restarts) > RESTART_LIMIT:
            self._quarantine(message.name, managed, message.error)
            return
        delay = BACKOFF_SECONDS[min(len(managed.restarts), len(BACKOFF_SECONDS)) - 1]
        self._parts.runtime.clock.tell_after(delay, self.actor_ref, Respawn(position_id=message.name))

    def _respawn(self, position_id: str) -> None:
        managed = self._managed.get(position_id)
        if managed is None or managed.ref is not None or managed.quarantined:
            return
        shard = self._accounts[managed.account].settings.shard
        ask = ReadSnapshot(shard=shard, position_id=position_id, reply_to=self.actor_ref)
        tell(self._parts.persistence, ask)

    def _on_snapshot(self, message: SnapshotRead) -> None:
        managed = self._managed.get(message.position_id)
        if managed is None or managed.ref is not None:
            return
        if message.error is not None:
            self._on_failed(ActorFailed(name=message.position_id, kind="PositionActor", error=str(message.error)))
            return
        if message.snapshot is None:
            # It failed before its first save: it never was.
            del self._managed[message.position_id]
            self._on_gone(managed, message.position_id)
            return
        snapshot = message.snapshot
        epoch = self._parts.directory.accounts[managed.account].epoch
        begin = BeginRecovery(state=snapshot.state, schema=snapshot.schema, version=snapshot.version, epoch=epoch)
        self._log.info("actor.respawned", actor=message.position_id, restarts=len(managed.restarts))
        tell(self._parts.health, Restarted(name=message.position_id))
        self._recover(message.position_id, begin, {managed.account})

    def _quarantine(self, position_id: str, managed: _Managed, why: str) -> None:
        """Too many failures: see to its stop, then let it stand still, and everything else go on."""
        managed.quarantined = True
        published = self._parts.directory.positions.get(position_id)
        self._tell_quarantined(position_id, managed.account, managed.symbol, why)
        if published is not None:
            self._parts.directory.positions[position_id] = replace(published, quarantined=why)
        else:
            self._publish_unreadable(position_id, managed.account, why)
        self._ensure_stop(managed, position_id, published.position if published else None)
        account = self._accounts[managed.account]
        market = account.markets.get(managed.symbol)
        if market is not None:
            tell(market, Unregister(position_id=position_id))
        self._on_gone(managed, position_id)

    def _quarantine_unreadable(
        self, position_id: str, account: str, symbol: str, why: str, *, position: Position | None = None
    ) -> None:
        """A snapshot that cannot be read, or has nowhere to run, is left as it is, and told."""
        managed = _Managed(account=account, symbol=symbol, ref=None, quarantined=True)
        self._tell_quarantined(position_id, account, symbol, why)
        self._publish_unreadable(position_id, account, why, position=position)
        if account in self._accounts:
            self._managed[position_id] = managed
            self._ensure_stop(managed, position_id, position)

    def _tell_quarantined(self, position_id: str, account: str, symbol: str, why: str) -> None:
        self._log.error(
            "actor.quarantined",
            actor=position_id,
            account=account,
            symbol=symbol,
            why=why,
            remedy="its stop on the exchange is checked; manage the position there, mend the cause, then restart",
        )

    def _publish_unreadable(self, position_id: str, account: str, why: str, *, position: Position | None = None) -> None:
        self._parts.directory.positions[position_id] = Published(
            position_id=position_id, account=account, position=position, version=0, epoch=0, quarantined=why
        )

    def _ensure_stop(self, managed: _Managed, position_id: str, position: Position | None) -> None:
        gateway = self._accounts[managed.account].gateway
        if gateway is not None:
            tell(gateway, EnsureStop(position_id=position_id, symbol=managed.symbol, position=position))

    # -- the rest --------------------------------------------------------------------------------------------------

    def _publish_closed(self, state: Mapping[str, Any], schema: int, version: int, epoch: int) -> None:
        try:
            position = load(state, schema)
        except ValueError as error:
            self._log.warning("snapshot.unreadable", error=str(error))
            return
        published = Published(
            position_id=position.id, account=position.account, position=position, version=version, epoch=epoch
        )
        self._parts.directory.positions.setdefault(position.id, published)

    def _publish_account(
        self, account: _Account, *, epoch: int = 0, held: bool = False, reconciled: bool = False, detail: str = ""
    ) -> None:
        traits = account.venue.traits
        self._parts.directory.accounts[account.settings.name] = AccountStatus(
            account=account.settings.name,
            venue=traits.name,
            shard=account.settings.shard,
            live_money=traits.live_money,
            epoch=epoch,
            lease_held=held,
            reconciled=reconciled,
            detail=detail,
        )

    def _watch(self, name: str, kind: str, ref: Ref) -> None:
        self._log.debug("actor.started", actor=name, kind=kind)
        tell(self._parts.health, Watch(name=name, kind=kind, ref=ref))

    def _stop(self, ref: Ref | None, name: str) -> None:
        tell(self._parts.health, Unwatch(name=name))
        if ref is not None and ref.is_alive():
            ref.stop(block=False)

    def _stop_account(self, account: _Account) -> None:
        name = account.settings.name
        for symbol, market in account.markets.items():
            self._stop(market, f"market:{name}:{symbol}")
        account.markets = {}
        if account.gateway is not None:
            self._stop(account.gateway, f"gateway:{name}")
            account.gateway = None

    def _drain(self, message: DrainService) -> None:
        """Stop taking requests; what is told already becomes durable behind it; the leases are given up last."""
        self._draining = True
        self._parts.directory.draining = True
        self._log.info("service.draining", positions=len(self._managed))
        for account in self._accounts.values():
            self._stop_account(account)
        for position_id, managed in self._managed.items():
            self._stop(managed.ref, position_id)
        tell(self._parts.persistence, Drain(reply=message.reply))
