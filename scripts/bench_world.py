"""A whole keeper for a measurement: embedded Redis, a paper exchange with many accounts on one floor, every actor.

scripts/bench_seed.py puts positions into it before it boots.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.domain.model import Position
from actors.domain.schema import SCHEMA, known_fields
from actors.runtime.base import Ref, Runtime
from actors.runtime.pool import PoolRuntime
from actors.settings import AccountSettings
from persistence.failure_log import MemoryFailureLog
from persistence.store import Store
from scripts.bench_exchange import CONCRETE, BenchExchange, cursor_of, settings_of, standstill
from scripts.bench_row import check, wait_until
from scripts.bench_seed import seed_ledger, seed_market, seed_store
from scripts.bench_states import ORDER_TAG, PRICE, Copies, Layout
from service import bootstrap, logs
from service.memory import BootMemory


@dataclass(slots=True)
class World:
    """What a measurement has built up; a venue for each account, all on one floor of the exchange."""

    folder: Path
    layout: Layout
    runtime: "Spawned"
    redis: Any
    store: Store
    exchange: BenchExchange
    venues: dict[str, Any]
    house: bootstrap.House | None = None
    saves: list[tuple[int, float]] = field(default_factory=list)
    memory: BootMemory | None = None
    on_event: Callable[[Mapping[str, Any]], None] = lambda _: None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def assemble(self, *, health_seconds: float = 10.0) -> bootstrap.House:
        """Spawn the core actors; nothing runs before `boot`."""
        layout = self.layout
        accounts = tuple(
            AccountSettings(name=name, shard=layout.shard_of(name), feed_stale_seconds=3600.0, **self.settings)
            for name in layout.account_names()
        )
        self.house = bootstrap.assemble(
            self.runtime,
            store=self.store,
            failure_log=MemoryFailureLog(),
            accounts=accounts,
            venues=self.venues,
            order_tag=ORDER_TAG,
            owner=f"bench-{time.time_ns()}",
            dead_owner=lambda owner: owner.startswith("bench-"),
            publish=self.on_event,
            health_seconds=health_seconds,
        )
        return self.house

    def boot(self, *, health_seconds: float = 10.0) -> float:
        """Assemble, boot, and wait until everything is live; how long that took, in seconds."""
        house = self.assemble(health_seconds=health_seconds)
        # As service/bootstrap.py has it.
        self.memory = BootMemory(self._resumed)
        self.memory.begin()
        began = time.perf_counter()
        house.boot()
        self.wait_live()
        return time.perf_counter() - began

    def wait_live(self) -> None:
        """Wait until every account is reconciled and every feed is fresh."""
        wait_until(self._resumed, "every account reconciled")
        wait_until(lambda: not self.running.directory.reasons_not_ready(), "prices resumed")

    def _resumed(self) -> bool:
        found = self.running.directory.accounts
        return len(found) == self.layout.accounts and all(status.reconciled for status in list(found.values()))

    @property
    def running(self) -> bootstrap.House:
        """The house; it must have been assembled."""
        check(self.house is not None, "there is no house yet")
        assert self.house is not None  # noqa: S101 - for the type checker alone.
        return self.house

    def positions(self) -> Mapping[str, Position]:
        """Every position as acknowledged."""
        published = list(self.running.directory.positions.values())
        return {each.position_id: each.position for each in published if each.position is not None}


class Spawned:
    """A runtime that remembers whom it has spawned, so that a sample of them can be pinged."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.refs: dict[str, Ref] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def spawn(self, *words: Any, **named: Any) -> Ref:
        """Start an actor, and remember it."""
        ref: Ref = self._runtime.spawn(*words, **named)
        self.refs[ref.actor_urn] = ref
        return ref

    def spawn_asleep(self, *words: Any) -> Ref:
        """The same for one that is made for its first message."""
        ref: Ref = self._runtime.spawn_asleep(*words)
        self.refs[ref.actor_urn] = ref
        return ref

    def alive(self) -> list[Ref]:
        """Those that live; the others are forgotten."""
        for urn, ref in list(self.refs.items()):
            if not ref.is_alive():
                del self.refs[urn]
        return list(self.refs.values())


class TimedStore:
    """A store that notes how many positions each save held and how long it took."""

    def __init__(self, store: Any, saves: list[tuple[int, float]]) -> None:
        self._store = store
        self._saves = saves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def save(self, *words: Any, **named: Any) -> Any:
        """Save, and note it."""
        began = time.perf_counter()
        outcome = self._store.save(*words, **named)
        self._saves.append((len(outcome.saved), time.perf_counter() - began))
        return outcome


@contextmanager
def world(
    folder: Path,
    layout: Layout,
    *,
    copies: Copies | None = None,
    market: Mapping[str, Any] | None = None,
    speed: float = 1.0,
    keep: bool = False,
) -> Iterator[World]:
    """An embedded Redis, a paper exchange with a ledger, and a runtime; all of it ends with the measurement.

    With `copies` a position is there in every slot. `market` has the settings of each symbol's market; without it every
    price stands still. With `keep` Redis and ledger are another process's, and are left as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("wb") as log, logging_to(log):
        server = CONCRETE.EmbeddedRedis(folder)
        runtime = Spawned(PoolRuntime())
        try:
            saves: list[tuple[int, float]] = []
            store: Any = TimedStore(new_store(server.ensure()), saves)
            prices = market or {name: standstill() for name in layout.symbol_names()}
            settings = settings_of(folder, prices, speed)
            if not keep:
                _seed(store, settings, layout, copies)
            saves.clear()
            exchange = BenchExchange(settings)
            built = World(
                folder=folder,
                layout=layout,
                runtime=runtime,
                redis=server,
                store=store,
                exchange=exchange,
                venues=_venues(layout, settings, runtime, exchange),
                saves=saves,
            )
            yield built
            if built.house is not None:
                _end(built, built.house)
            store.close()
        finally:
            runtime.close()
            if not keep:
                server.stop()


def _seed(store: Store, settings: Any, layout: Layout, copies: Copies | None) -> None:
    """Before the exchange opens its ledger for good: it may keep in mind what it has read."""
    exchange = BenchExchange(settings)
    cursors = {name: cursor_of(source) for name, source in settings.market.symbols.items()}
    seed_market(exchange.tables, cursors, PRICE)
    if copies is not None:
        seed_ledger(exchange.tables, layout, copies)
        seed_store(store, layout, copies)
    exchange.close()


def _end(built: World, house: bootstrap.House) -> None:
    """End the actors, so that none of them meets a store that is gone."""
    built.exchange.paused = True
    reply = built.runtime.reply()
    house.supervisor.tell(CONCRETE.DrainService(reply=reply))
    reply.get(timeout=600)
    for ref in (house.health, house.supervisor, house.persistence):
        built.runtime.stop(ref, 10.0)
    built.exchange.close()
    if built.memory is not None:
        built.memory.end()


def _venues(layout: Layout, settings: Any, runtime: Runtime, exchange: BenchExchange) -> dict[str, Any]:
    venues: dict[str, Any] = {}
    floor = None
    for name in layout.account_names():
        venue = CONCRETE.PaperVenue(
            account=name, settings=settings, runtime=runtime, exchange=exchange if floor is None else None, floor=floor
        )
        floor = venue.floor
        venues[name] = venue
    return venues


def new_store(url: str) -> Any:
    """The Redis store as the service opens it."""
    return CONCRETE.RedisStore(url, newest_schema=SCHEMA, known_fields=known_fields())


@contextmanager
def logging_to(log: Any) -> Iterator[None]:
    """The service's own logging, into a file: what it costs belongs to every figure."""
    logs.configure(stream=log, coloured=False)
    try:
        yield
    finally:
        log.flush()
        logs.configure(stream=_nowhere(), level=logging.CRITICAL, coloured=False)


def _nowhere() -> Any:
    """For the rest of the process."""
    return Path("/dev/null").open("wb")
