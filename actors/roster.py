"""Who runs: the accounts and positions at work, how their actors are spawned, stopped and shown.

Part of the supervisor, used on its thread alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.directory import AccountStatus, Directory, Published
from actors.domain.model import Phase, Position, Terms
from actors.domain.records import maker
from actors.domain.schema import load
from actors.feeds import Feed, Feeds
from actors.gateway import GatewayActor
from actors.gateway_parts import GatewayParts
from actors.managed import Managed, ManagedPositions
from actors.position import PositionActor
from actors.position_parts import PositionParts
from actors.runtime.base import Ref, Runtime, tell
from actors.settings import AccountSettings
from actors.survey import SurveyedVenue
from actors.traffic import MarketsReady, ResumeFeed, Unwatch, Watch, WatchAll
from actors.venues.base import Venue
from persistence.lease import LeaseBoard, boottime
from persistence.store import Snapshot

RESTART_WINDOW_SECONDS = 60.0
# As in the health log: of more actors than these the beginnings are told in sum, and each only to who debugs.
LOGGED_ONE_BY_ONE = 1000
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 30.0)


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
class Account:
    """One account at work. Its feed may be that of other accounts too, where they see the same prices."""

    settings: AccountSettings
    venue: Venue
    feed: Feed
    # Whether many of its slots can be read with one question.
    surveyed: bool = False
    gateway: Ref | None = None
    recovering: set[str] = field(default_factory=set)
    started: bool = False
    resumed: bool = False
    epoch: int = 0
    # Who saved a position before this epoch may still act by its stop.
    unbroken_since: int = 0
    # Whether the venue can be traded; one that subscribes must say so first. `blocked` is what is in the way.
    reachable: bool = True
    blocked: str = ""
    # The positions for whose reconciling the others wait no longer, in words.
    blocked_by: str = ""
    failures: list[float] = field(default_factory=list)
    # Until when an order that a former life sent and never saved could still arrive, by symbol.
    late_until: dict[str, float] = field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        """What configuration and venue say about this account's orders."""
        return self.settings.terms(self.venue.traits.stop_triggers)

    def has(self, symbol: str) -> bool:
        """Whether this account trades the symbol, as far as that is known."""
        if not self.venue.traits.subscribes:
            return symbol in self.feed.markets
        known = self.venue.instruments()
        return not known or any(instrument.symbol == symbol for instrument in known)

    def is_served_by(self, gateway: Ref) -> bool:
        """Whether this is the account's gateway now."""
        return self.gateway == gateway

    def next_delay(self, now: float) -> float:
        """How long to wait before this account begins anew: longer with every failure of the last minute."""
        self.failures = [at for at in self.failures if now - at < RESTART_WINDOW_SECONDS] + [now]
        return BACKOFF_SECONDS[min(len(self.failures), len(BACKOFF_SECONDS)) - 1]


_POSITION_PARTS = maker(PositionParts)


class Roster:
    """The accounts and positions of this keeper."""

    def __init__(self, parts: SupervisorParts, supervisor: Ref) -> None:
        """`supervisor` is told of failures."""
        self.parts = parts
        self.supervisor = supervisor
        self.feeds = Feeds(
            parts.runtime,
            parts.directory,
            persistence=parts.persistence,
            supervisor=supervisor,
            watch=self.watch,
            unwatch=self.stop,
        )
        self.accounts = {settings.name: self._account(settings) for settings in parts.accounts}
        self._of_shard: dict[str, list[Account]] = {}
        for account in self.accounts.values():
            self._of_shard.setdefault(account.settings.shard, []).append(account)
        self.managed = ManagedPositions()
        self.draining = False
        self.log = structlog.get_logger()
        self._quiet_log: Any = None
        self._gathered: list[Watch] | None = None

    def _account(self, settings: AccountSettings) -> Account:
        venue = self.parts.venues[settings.name]
        surveyed = isinstance(venue, SurveyedVenue)
        return Account(settings, venue, self.feeds.feed_of(settings, venue), surveyed=surveyed)

    def of_shard(self, shard: str) -> list[Account]:
        """The accounts of a shard."""
        return self._of_shard.get(shard, [])

    def start_account(self, account: Account) -> None:
        """A gateway, and a market for each symbol; those of a former ownership are stopped first.

        At a venue that subscribes a market comes with the first position of its symbol.
        """
        parts, settings = self.parts, account.settings
        self.stop_account(account)
        account.blocked_by = ""
        account.reachable = not account.venue.traits.subscribes
        account.blocked = "" if account.reachable else "connecting to the exchange"
        gateway = parts.runtime.spawn(
            GatewayActor,
            GatewayParts(
                settings=settings,
                venue=account.venue,
                clock=parts.runtime.clock,
                epoch=account.epoch,
                leases=parts.leases,
                directory=parts.directory,
                order_tag=parts.order_tag,
                supervisor=self.supervisor,
                boottime=parts.boottime,
                wanted=account.is_served_by,
            ),
        )
        account.gateway = gateway
        self.watch(f"gateway:{settings.name}", "GatewayActor", gateway)
        tell(gateway, MarketsReady(markets=self.feeds.enter(account)))

    def resume(self, account: Account) -> None:
        """Let the account's prices flow, where it is the one of its feed that is told them."""
        if account.gateway is not None:
            tell(account.gateway, ResumeFeed(prices=account.feed.leader is account))

    def parts_given(self, account: Account) -> dict[str, Any]:
        """What all positions of an account work with. Raises RuntimeError without a gateway."""
        parts, traits = self.parts, account.venue.traits
        if account.gateway is None:
            raise RuntimeError(f"account {account.settings.name} has no gateway yet")
        return {
            "epoch": account.epoch,
            "account": account.settings,
            "order_tag": parts.order_tag,
            "clock": parts.runtime.clock,
            "directory": parts.directory,
            "gateway": account.gateway,
            "persistence": parts.persistence,
            "supervisor": self.supervisor,
            "stop_triggers": traits.stop_triggers,
            "lockstep": traits.lockstep,
            "own_time": traits.own_time,
            "publish": parts.publish,
        }

    def spawn_position(self, position_id: str, managed: Managed) -> Ref:
        """A fresh actor for a position; it is empty until it is told what it is."""
        account = self.accounts[managed.account]
        given = self.parts_given(account)
        market = self.feeds.market(account, managed.symbol)
        desk = self.feeds.desk(account, managed.symbol)
        parts = _POSITION_PARTS(position_id=position_id, symbol=managed.symbol, market=market, desk=desk, **given)
        ref = self.parts.runtime.spawn(PositionActor, parts)
        self.begun(position_id, managed, ref)
        return ref

    def begun(self, position_id: str, managed: Managed, ref: Ref) -> None:
        """This is the position's reference from now on."""
        managed.ref = ref
        self.watch(position_id, "PositionActor", ref)

    def publish_account(
        self, account: Account, *, epoch: int = 0, held: bool = False, reconciled: bool = False, detail: str = ""
    ) -> None:
        """Show an account as it is now."""
        traits = account.venue.traits
        self.parts.directory.accounts[account.settings.name] = AccountStatus(
            account=account.settings.name,
            venue=traits.name,
            shard=account.settings.shard,
            live_money=traits.live_money,
            epoch=epoch,
            lease_held=held,
            reconciled=reconciled,
            detail=detail,
        )

    def publish_closed(self, state: Mapping[str, Any], schema: int, version: int, epoch: int) -> None:
        """Show a position that had closed before this start."""
        try:
            position = load(state, schema)
        except ValueError as error:
            self.log.warning("snapshot.unreadable", error=str(error))
            return
        published = Published(
            position_id=position.id, account=position.account, position=position, version=version, epoch=epoch
        )
        known = self.parts.directory.positions.get(position.id)
        if known is None or known.version < version:
            self.parts.directory.positions[position.id] = published

    def publish_if_closed(self, snapshot: Snapshot) -> bool:
        """Show a stored position that has closed; false for one that has not (or cannot be read)."""
        try:
            closed = load(snapshot.state, snapshot.schema).phase is Phase.CLOSED
        except ValueError:
            return False
        if closed:
            self.publish_closed(snapshot.state, snapshot.schema, snapshot.version, snapshot.epoch)
        return closed

    def forget_unstored(self, accounts: set[str], stored: set[str]) -> None:
        """Positions of these accounts that are no longer stored as open have ended: their slots are free."""
        for position_id, managed in list(self.managed.items()):
            if managed.account in accounts and position_id not in stored:
                del self.managed[position_id]

    @property
    def quiet(self) -> bool:
        """Whether what happens to each is told only to who debugs."""
        return len(self.managed) > LOGGED_ONE_BY_ONE

    def log_of_one(self) -> Callable[..., Any]:
        """How it is told what happens to one actor of many."""
        if not self.quiet:
            write: Callable[..., Any] = self.log.info
            return write
        if self._quiet_log is None:
            # Bound once: it would be for each line, which says nothing most often.
            self._quiet_log = self.log.bind()
        quiet: Callable[..., Any] = self._quiet_log.debug
        return quiet

    def watch(self, name: str, kind: str, ref: Ref) -> None:
        """Let the health actor ping it."""
        if self._gathered is None or not self.quiet:
            self.log_of_one()("actor.started", actor=name, kind=kind)
        watch = Watch(name=name, kind=kind, ref=ref)
        if self._gathered is None:
            tell(self.parts.health, watch)
        else:
            self._gathered.append(watch)

    @contextmanager
    def watching_together(self) -> Iterator[None]:
        """What is spawned within is told to the health actor with one message; nothing may be stopped within."""
        gathered: list[Watch] = []
        self._gathered = gathered
        try:
            yield
        finally:
            self._gathered = None
            if self.quiet:
                self.log.debug("actor.started", actors=[watch.name for watch in gathered])
            tell(self.parts.health, WatchAll(watches=tuple(gathered)))

    def stop(self, ref: Ref | None, name: str) -> None:
        """Let an actor end after the messages before, and be pinged no more."""
        tell(self.parts.health, Unwatch(name=name))
        if ref is not None and ref.is_alive():
            ref.stop(block=False)

    def stop_account(self, account: Account) -> None:
        """End the gateway of an account, and the markets of a feed that nobody else is at."""
        self.feeds.leave(account)
        if account.gateway is not None:
            self.stop(account.gateway, f"gateway:{account.settings.name}")
            account.gateway = None

    def publish_unreadable(self, position_id: str, account: str, why: str, *, position: Position | None = None) -> None:
        """Show a position that stands still because its snapshot cannot be used."""
        self.parts.directory.positions[position_id] = Published(
            position_id=position_id, account=account, position=position, version=0, epoch=0, quarantined=why
        )
