"""A whole keeper on the simulator: production actors, a store in memory, a paper exchange that outlives crashes."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.directory import Published
from actors.domain.model import Plan, Position, Side
from actors.domain.plans import RUNNER, parse_plan
from actors.domain.schema import SCHEMA, known_fields
from actors.messages import CloseRequest, OpenRequest
from actors.runtime.base import tell
from actors.runtime.simulator import Simulator
from actors.settings import AccountSettings
from actors.venues.paper import PaperVenue
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings
from persistence.failure_log import MemoryFailureLog
from persistence.memory_store import MemoryServer, MemoryStore
from service.bootstrap import House, assemble

SYMBOL = "BTC/USDT:USDT"


class Keeper:
    """One keeper's world: the simulator, and what outlives a crash of the keeper."""

    def __init__(self, folder: Path, prices: Sequence[object], *, seed: int = 1) -> None:
        """`prices` are the ticks of the market, one a second."""
        self.file = folder / "prices.csv"
        self.file.write_text("timestamp,price\n")
        self._ticks = 0
        self.add_prices(prices)
        self.simulator = Simulator(seed=seed)
        self.settings = AccountSettings(name="paper", shard="paper", request_expiry_seconds=2.0)
        self.paper = PaperSettings(
            path=":memory:",
            market=MarketSettings(symbols={SYMBOL: ReplaySettings(file=self.file)}),
            speed="max",
        )
        self.exchange = PaperExchange(self.paper)
        self.server = MemoryServer()
        self.failures = MemoryFailureLog()
        self.events: list[Mapping[str, Any]] = []
        self.boots = 0
        self.house: House

    def add_prices(self, prices: Sequence[object]) -> None:
        """Let the market go on."""
        with self.file.open("a") as file:
            for price in prices:
                minutes, seconds = divmod(self._ticks, 60)
                file.write(f"2022-01-01 00:{minutes:02}:{seconds:02}.000000,{price}\n")
                self._ticks += 1

    def boot(self) -> House:
        """Start a keeper; after `crash` it finds what the former one left."""
        self.boots += 1
        clock = self.simulator.clock
        venue = PaperVenue(account="paper", settings=self.paper, runtime=self.simulator, exchange=self.exchange)
        self.house = assemble(
            self.simulator,
            store=MemoryStore(
                newest_schema=SCHEMA,
                known_fields=known_fields(),
                now=clock.monotonic,
                server=self.server,
                new_write_id=self._write_id(),
            ),
            failure_log=self.failures,
            accounts=(self.settings,),
            venues={"paper": venue},
            order_tag="0badc0de",
            owner=f"keeper-{self.boots}",
            dead_owner=lambda owner: owner.startswith("keeper-"),
            publish=self.events.append,
            clock_seconds=clock.monotonic,
        )
        self.house.boot()
        return self.house

    def _write_id(self) -> Any:
        count = iter(range(1_000_000))
        boot = self.boots
        return lambda: f"w{boot}-{next(count)}"

    def run(self, seconds: float = 1.0) -> None:
        """Let virtual time pass; no actor may have failed."""
        self.simulator.run(for_seconds=seconds)
        assert self.simulator.failures == []

    def ready(self) -> None:
        """Run until prices may flow."""
        for _ in range(200):
            if not self.house.directory.reasons_not_ready():
                return
            self.run(0.1)
        raise AssertionError(self.house.directory.reasons_not_ready())

    def open(
        self, *, side: Side = Side.LONG, quantity: str = "1", plan: Plan | None = None, id: str = "p1", **more: Any
    ) -> Any:
        """Ask for a position and return the answer."""
        reply = self.simulator.reply()
        request = OpenRequest(
            id=id,
            account="paper",
            symbol=SYMBOL,
            side=side,
            quantity=Decimal(quantity),
            plan=plan or parse_plan(RUNNER, name="runner"),
            digest=more.pop("digest", f"{side}{quantity}"),
            reply=reply,
            **more,
        )
        tell(self.house.supervisor, request)
        return reply.get(timeout=5)

    def close(self, *, fraction: str = "1", request_id: str = "", id: str = "p1") -> Any:
        """Ask for a manual close and return the answer."""
        reply = self.simulator.reply()
        tell(
            self.house.supervisor,
            CloseRequest(position_id=id, fraction=Decimal(fraction), request_id=request_id, reply=reply),
        )
        return reply.get(timeout=5)

    def published(self, id: str = "p1") -> Published:
        """The position as everybody sees it."""
        return self.house.directory.positions[id]

    def position(self, id: str = "p1") -> Position:
        """Its state; it must be readable."""
        position = self.published(id).position
        assert position is not None
        return position

    def crash(self) -> None:
        """Everything of the keeper vanishes at once; store and exchange stay."""
        self.simulator.crash()
