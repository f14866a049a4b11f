"""The one place where everything is wired together; nobody else names the Redis store or a concrete venue."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import structlog

from actors.directory import Directory
from actors.domain.schema import SCHEMA, known_fields
from actors.health import HealthActor, HealthParts
from actors.messages import DrainService
from actors.roster import SupervisorParts
from actors.runtime.base import Ref, Runtime, tell
from actors.runtime.pool import PoolRuntime
from actors.runtime.system_clock import SystemClock
from actors.settings import AccountSettings
from actors.supervisor import SupervisorActor
from actors.traffic import Boot, Watch
from actors.venues.base import Venue
from actors.venues.ccxt.client import LiveExtraMissing
from actors.venues.ccxt.doctor import probe_account
from actors.venues.ccxt.settings import CcxtSettings
from actors.venues.ccxt.venue import open_ccxt_venue
from actors.venues.exchange_options import JOURNAL, KEYS, lock_exchange, settings_of
from actors.venues.exchange_server import ExchangeServer
from actors.venues.paper import PaperVenue
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings, SymbolSettings, WalkSettings
from persistence.actor import PersistenceActor
from persistence.failure_log import FailureLog, FailureRecord
from persistence.lease import LeaseBoard, boottime
from persistence.redis_server import EmbeddedRedis
from persistence.redis_store import RedisStore
from persistence.store import Store
from service.config import AccountConfig, Config, LiveConfig
from service.data_dir import CannotStart, installation_tag, lock_data_dir, place_of
from service.event_hub import EventHub
from service.http import create_app
from service.http_server import HttpServer
from service.memory import BootMemory

DRAIN_SECONDS = 15.0
PAPER_FEE_PERCENT = Decimal("0.05")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The actors of one keeper, wired and waiting for Boot."""

    runtime: Runtime
    directory: Directory
    leases: LeaseBoard
    persistence: Ref
    health: Ref
    supervisor: Ref

    def boot(self) -> None:
        """Take the shards and go."""
        tell(self.supervisor, Boot())


def assemble(
    runtime: Runtime,
    *,
    store: Store,
    failure_log: FailureRecord,
    accounts: tuple[AccountSettings, ...],
    venues: Mapping[str, Venue],
    order_tag: str,
    owner: str,
    dead_owner: Callable[[str], bool] | None = None,
    publish: Callable[[Mapping[str, Any]], None] = lambda _: None,
    lease_ttl_seconds: float = 10.0,
    clock_seconds: Callable[[], float] = boottime,
    health_seconds: float = 10.0,
) -> House:
    """Spawn the core actors on any runtime. `clock_seconds` is the clock that lease deadlines are on."""
    # The persistence actor tells only changes; before the first one the leases say whether the store answers.
    directory, leases = Directory(store_reachable=True), LeaseBoard()

    def reachable(now: bool) -> None:
        directory.store_reachable = now

    # What follows from an execution waits for the exits that are still to be sent.
    runtime.let_wait_while(lambda: directory.pressed)
    persistence = runtime.spawn(
        PersistenceActor,
        store,
        failure_log,
        leases,
        runtime.clock,
        owner,
        dead_owner=dead_owner,
        lease_ttl_seconds=lease_ttl_seconds,
        boottime=clock_seconds,
        on_reachable=reachable,
    )
    health = runtime.spawn(
        HealthActor, HealthParts(directory=directory, clock=runtime.clock, interval_seconds=health_seconds)
    )
    supervisor = runtime.spawn(
        SupervisorActor,
        SupervisorParts(
            runtime=runtime,
            directory=directory,
            leases=leases,
            persistence=persistence,
            health=health,
            accounts=accounts,
            venues=venues,
            order_tag=order_tag,
            publish=publish,
            boottime=clock_seconds,
        ),
    )
    for name, kind, ref in (
        ("supervisor", "SupervisorActor", supervisor),
        ("persistence", "PersistenceActor", persistence),
    ):
        tell(health, Watch(name=name, kind=kind, ref=ref))
    return House(
        runtime=runtime,
        directory=directory,
        leases=leases,
        persistence=persistence,
        health=health,
        supervisor=supervisor,
    )


# -- the service -------------------------------------------------------------------------------------------------------


class Application:
    """One keeper process: data directory, Redis, venues, actors, HTTP."""

    def __init__(self, config: Config) -> None:
        """Nothing is touched before `start`."""
        self.config = config
        self.runtime = PoolRuntime()
        self.events = EventHub()
        self.http: HttpServer | None = None
        self.house: House | None = None
        self._lock: IO[str] | None = None
        self._server: EmbeddedRedis | None = None
        self._store: Store | None = None
        self._memory = BootMemory(self._resumed)

    @property
    def directory(self) -> Directory:
        """What may be read without a mailbox."""
        return self._running().directory

    @property
    def supervisor(self) -> Ref:
        """Where requests are told."""
        return self._running().supervisor

    @property
    def persistence(self) -> Ref:
        """Where the audit trail is read."""
        return self._running().persistence

    def _running(self) -> House:
        if self.house is None:
            raise CannotStart("the service has not started")
        return self.house

    def start(self) -> None:
        """Start everything. Raises CannotStart (and the errors of venues, Redis and HTTP, each with its remedy)."""
        config = self.config
        self._memory.begin()
        self._lock = lock_data_dir(config.data_dir)
        order_tag = installation_tag(config.data_dir)
        place = place_of(self._lock)
        url = config.redis.url
        before_connect: Callable[[], None] | None = None
        if url is None:
            server = self._server = EmbeddedRedis(config.data_dir)
            url = server.ensure()
            before_connect = _ensurer(server)
        self._store = RedisStore(url, newest_schema=SCHEMA, known_fields=known_fields(), before_connect=before_connect)
        venues = {
            name: build_venue(account, config.data_dir, self.runtime) for name, account in config.accounts.items()
        }
        ttls = [account.lease_ttl_seconds for account in config.accounts.values() if account.lease_ttl_seconds]
        self.house = assemble(
            self.runtime,
            store=self._store,
            failure_log=FailureLog(config.data_dir / "failures.jsonl", self.runtime.clock.now),
            accounts=tuple(account.settings for account in config.accounts.values()),
            venues=venues,
            order_tag=order_tag,
            owner=f"{order_tag}/{place}/{os.getpid()}-{time.time_ns()}",
            # The lock on this data directory is ours: whoever held a lease from here before has ended.
            dead_owner=lambda owner: owner.startswith(f"{order_tag}/{place}/"),
            publish=self.events.publish,
            lease_ttl_seconds=min(ttls, default=10.0),
        )
        app = create_app(
            directory=self.house.directory,
            supervisor=self.house.supervisor,
            persistence=self.house.persistence,
            plans=config.plans,
            events=self.events,
            token=config.http.token,
            webhook_secret=config.webhooks.secret,
        )
        self.http = HttpServer(app, config.http.host, config.http.port, self.events)
        self.http.start()
        self.house.boot()

    def _resumed(self) -> bool:
        if self.house is None:
            return False
        accounts = tuple(self.house.directory.accounts.values())
        return len(accounts) >= len(self.config.accounts) and all(each.reconciled for each in accounts)

    def healthy(self) -> bool:
        """Whether the core actors live; without them the process must end, and be started again."""
        house = self.house
        return house is not None and house.supervisor.is_alive() and house.persistence.is_alive()

    def stop(self) -> None:
        """Drain: what was accepted becomes durable, leases are given up, Redis ends last."""
        if self.house is not None:
            reply = self.runtime.reply()
            if tell(self.house.supervisor, DrainService(reply=reply)):
                try:
                    reply.get(timeout=DRAIN_SECONDS)
                except Exception:  # noqa: BLE001 - a drain that fails must not keep the rest from ending
                    structlog.get_logger().warning("service.drain_incomplete", remedy="nothing acknowledged is lost")
        if self.http is not None:
            self.http.stop()
        if self.house is not None:
            for ref in (self.house.health, self.house.supervisor, self.house.persistence):
                self.runtime.stop(ref, 2.0)
        if self._store is not None:
            self._store.close()
        if self._server is not None:
            self._server.stop()
        self.runtime.close()
        self._memory.end()
        if self._lock is not None:
            self._lock.close()
        structlog.get_logger().info("service.stopped")


def build(config: Config) -> Application:
    """The application of this configuration, not started."""
    return Application(config)


def open_store(config: Config, *, start_server: bool = True) -> tuple[Store, Callable[[], None]]:
    """The store for reading from outside the service, and what to call when done.

    An embedded server that runs is used as it is; where none runs, one is started for the while.
    """
    if config.redis.url is not None:
        store = RedisStore(config.redis.url, newest_schema=SCHEMA, known_fields=known_fields())
        return store, store.close
    server = EmbeddedRedis(config.data_dir)
    running = server.pid() is not None
    if not running and not start_server:
        raise CannotStart(f"no Redis runs in {config.data_dir}; start the service first")
    store = RedisStore(server.ensure(), newest_schema=SCHEMA, known_fields=known_fields())

    def done() -> None:
        store.close()
        if not running:
            server.stop()

    return store, done


def embedded_redis_pid(data_dir: Path) -> int | None:
    """The process id of the embedded Redis that runs on this data directory; None where none answers."""
    return EmbeddedRedis(data_dir).pid()


def _ensurer(server: EmbeddedRedis) -> Callable[[], None]:
    def ensure() -> None:
        server.ensure()

    return ensure


def open_exchange(data_dir: Path, words: Mapping[str, Any]) -> tuple[ExchangeServer, Mapping[str, str]]:
    """The paper exchange server, bound and not started, and where its files are. Raises BadOption and CannotServe."""
    lock = lock_exchange(data_dir)
    server = ExchangeServer(settings_of(data_dir, words), lock)
    files = {"journal": str(data_dir / JOURNAL)}
    return server, files if words.get("keys") else {**files, "keys": str(data_dir / KEYS)}


# -- venues ------------------------------------------------------------------------------------------------------------


def build_venue(account: AccountConfig, data_dir: Path, runtime: Runtime) -> Venue:
    """The venue of one account. Raises CannotStart where a real exchange needs what is not installed."""
    if account.live is not None:
        try:
            return open_ccxt_venue(live_settings(account, account.live), runtime.clock)
        except LiveExtraMissing as error:
            raise CannotStart(f"account {account.name}: {error}") from None
    return PaperVenue(account=account.name, settings=paper_settings(account, data_dir), runtime=runtime)


def live_settings(account: AccountConfig, live: LiveConfig) -> CcxtSettings:
    """What the configuration says of an account at a real exchange, in the adapter's words."""
    return CcxtSettings(
        exchange=account.venue,
        account=account.name,
        api_key=live.api_key or "",
        secret=live.secret or "",
        password=live.password or "",
        wallet_address=live.wallet_address or "",
        private_key=live.private_key or "",
        endpoint=live.endpoint,
        demo=live.demo,
    )


def probe_live(account: AccountConfig, live: LiveConfig) -> Sequence[tuple[str, str, str]]:
    """Ask the exchange about an account: (level, what was found, remedy). For the doctor; it waits for the exchange.

    Raises CannotStart where the exchange needs what is not installed.
    """
    try:
        found = probe_account(live_settings(account, live), SystemClock())
    except LiveExtraMissing as error:
        raise CannotStart(str(error)) from None
    return [(finding.level, finding.text, finding.remedy) for finding in found]


def paper_settings(account: AccountConfig, data_dir: Path) -> PaperSettings:
    """What the configuration says, in the paper venue's words."""
    market = account.market
    symbols: dict[str, SymbolSettings] = {symbol: ReplaySettings(file=file) for symbol, file in market.replay.items()}
    for symbol, walk in market.random_walk.items():
        symbols[symbol] = WalkSettings(
            price=walk.price,
            volatility=walk.volatility,
            drift=walk.drift,
            seed=walk.seed or account.name,
            interval_seconds=walk.interval_seconds,
            waypoints=walk.waypoints,
        )
    limits = {
        symbol: {
            name: value
            for name in ("tick_size", "quantity_step", "minimum_quantity", "minimum_notional")
            if (value := getattr(instrument, name)) is not None
        }
        for symbol, instrument in account.instruments.items()
    }
    fee = account.taker_fee_percent
    return PaperSettings(
        path=market.ledger or data_dir / f"paper-{account.name}.sqlite",
        market=MarketSettings(symbols=symbols),
        limits=limits,
        speed="max" if market.speed is None else float(market.speed),
        taker_fee_percent=PAPER_FEE_PERCENT if fee is None else fee,
        shared=market.ledger is not None,
        control=market.control,
    )
