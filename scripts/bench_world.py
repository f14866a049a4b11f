"""A whole keeper for a measurement: embedded Redis, a paper exchange with many accounts on one floor, every actor.

scripts/bench_seed.py puts positions into it before it boots.
"""

import importlib
import importlib.util
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.domain.model import Position
from actors.domain.schema import SCHEMA, known_fields
from actors.runtime.base import Ref, Runtime
from actors.runtime.threads import ThreadRuntime
from actors.settings import AccountSettings
from actors.venues.base import OrderRequest
from persistence.failure_log import MemoryFailureLog
from persistence.store import Store
from scripts.bench_row import check, wait_until
from scripts.bench_states import ORDER_TAG, PRICE, START_AT, Layout, instrument
from service import bootstrap, logs
from tests.simulation.house import WatchedExchange

# Only service/bootstrap.py names a concrete venue, store or server (tests/test_tidy.py), so they are taken from there.
# What a module merely imports is no export of it to mypy: hence Any.
CONCRETE: Any = bootstrap
MOST_BY_THREADS = 2000
_WALK_STANDS_STILL = Decimal(10_000_000)


def runtime_class() -> Any:
    """The runtime of many actors on few threads; a thread for each actor where this commit has no pool yet."""
    if importlib.util.find_spec("actors.runtime.pool") is None:
        return ThreadRuntime
    return vars(importlib.import_module("actors.runtime.pool"))["PoolRuntime"]


class _Unheard(list[Any]):
    """A list that keeps nothing: half an hour of orders would weigh more than what is measured."""

    def append(self, _item: Any) -> None:
        """Forget it."""


class BenchExchange(WatchedExchange):
    """The paper exchange with a stop watch: when a price was played, when orders came, and a market that can pause."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.accepted, self.asked = _Unheard(), _Unheard()
        self.paused = False
        self.steps = 0
        self.played_at = 0.0
        self.price = Decimal(0)
        self.recording = False
        self.executed_at: list[float] = []

    def step(self, tick: Any) -> Any:
        """Play a price, unless the market pauses; the exchange's actor tries again a second later."""
        if self.paused:
            raise sqlite3.OperationalError("the market pauses")
        found = super().step(tick)
        self.played_at, self.price = time.perf_counter(), tick.quote.mark
        self.steps += 1
        return found

    def submit(self, request: OrderRequest, now: int) -> Any:
        """Take an order; while recording, note when a market order was executed."""
        read = super().submit(request, now)
        if self.recording and request.trigger_price is None:
            self.executed_at.append(time.perf_counter())
        return read

    @property
    def lock(self) -> Any:
        """For whoever writes the rows while the exchange is at work."""
        return self._lock

    @property
    def tables(self) -> Any:
        """The rows, for bulk writing and for judging."""
        return self._tables


@dataclass(slots=True)
class World:
    """What a measurement has built up. `floor` is the paper exchange's; a venue for each account."""

    folder: Path
    layout: Layout
    runtime: Runtime
    redis: Any
    store: Store
    exchange: BenchExchange
    venues: dict[str, Any]
    house: bootstrap.House | None = None
    saves: list[tuple[int, float]] = field(default_factory=list)
    on_event: Callable[[Mapping[str, Any]], None] = lambda _: None

    def assemble(self, *, health_seconds: float = 10.0) -> bootstrap.House:
        """Spawn the core actors; nothing runs before `boot`."""
        layout = self.layout
        accounts = tuple(
            AccountSettings(name=name, shard=layout.shard_of(name), feed_stale_seconds=3600.0)
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
        began = time.perf_counter()
        house.boot()
        self.wait_live()
        return time.perf_counter() - began

    def wait_live(self) -> None:
        """Wait until every account is reconciled and every feed is fresh."""
        house = self.running
        accounts = self.layout.accounts
        found = house.directory.accounts

        def reconciled() -> bool:
            return len(found) == accounts and all(status.reconciled for status in list(found.values()))

        wait_until(reconciled, "every account reconciled")
        wait_until(lambda: not house.directory.reasons_not_ready(), "prices resumed")

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


def affordable(positions: int) -> int:
    """As many as this commit's runtime can carry: with a thread for each actor, a few thousand."""
    return min(positions, MOST_BY_THREADS) if runtime_class() is ThreadRuntime else positions


@contextmanager
def world(
    folder: Path, layout: Layout, *, market: Mapping[str, Any] | None = None, speed: float = 1.0, keep: bool = False
) -> Iterator[World]:
    """An embedded Redis, a paper exchange with a ledger, and a runtime; all of it ends with the measurement.

    `market` has the settings of a symbol's market; without it every price stands still. With `keep` the Redis goes on:
    it was started by another process, to which it belongs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("wb") as log, logging_to(log):
        server = CONCRETE.EmbeddedRedis(folder)
        used: Any = Spawned(runtime_class()())
        try:
            saves: list[tuple[int, float]] = []
            store = TimedStore(new_store(server.ensure()), saves)
            settings = CONCRETE.PaperSettings(
                path=folder / "exchange.sqlite",
                market=CONCRETE.MarketSettings(
                    symbols={name: (market or {}).get(name) or standstill() for name in layout.symbol_names()}
                ),
                instruments=tuple(instrument(name) for name in layout.symbol_names()),
                speed=speed,
            )
            exchange = BenchExchange(settings)
            venues = _venues(layout, settings, used, exchange)
            built = World(
                folder=folder,
                layout=layout,
                runtime=used,
                redis=server,
                store=store,
                exchange=exchange,
                venues=venues,
                saves=saves,
            )
            yield built
            if built.house is not None:
                _end(built, built.house)
            store.close()
        finally:
            used.close()
            if not keep:
                server.stop()


def _end(built: World, house: bootstrap.House) -> None:
    """End the actors, so that none of them meets a store that is gone."""
    built.exchange.paused = True
    reply = built.runtime.reply()
    house.supervisor.tell(CONCRETE.DrainService(reply=reply))
    reply.get(timeout=300)
    for ref in (house.health, house.supervisor, house.persistence):
        built.runtime.stop(ref, 10.0)
    built.exchange.close()


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


def standstill() -> Any:
    """A market whose second price is months away."""
    return CONCRETE.WalkSettings(
        price=PRICE, interval_seconds=_WALK_STANDS_STILL, start=START_AT, spread_percent=Decimal(0)
    )


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


def gateway_of(built: World, account: str) -> Ref:
    """The actor that hears what the exchange tells an account."""
    door = vars(built.venues[account])["_door"]
    listener: Ref = door.listener
    return listener
