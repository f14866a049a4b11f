"""A whole keeper on the simulator: production actors, a store in memory, a paper exchange that outlives crashes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.desk import missed_of
from actors.directory import Published
from actors.domain.model import OrderKind, OrderSide, Plan, Position, Side
from actors.domain.plans import RUNNER, parse_plan
from actors.domain.schema import SCHEMA, known_fields, load
from actors.domain.step import client_order_id
from actors.domain.tape import StoredTape
from actors.domain.watch import catch_up
from actors.messages import AmendRequest, CloseRequest, DrainService, OpenRequest
from actors.runtime.base import tell
from actors.runtime.simulator import Simulator
from actors.settings import AccountSettings
from actors.venues.base import CancelRequest, OrderRequest, Venue
from actors.venues.paper import PaperVenue
from actors.venues.paper_faults import Faults
from actors.venues.paper_ledger import AccountRead, OrderRead, PaperExchange
from actors.venues.paper_settings import MarketSettings, PaperSettings, ReplaySettings, Speed
from persistence.codec import decode_snapshot
from persistence.failure_log import FailureRecord, MemoryFailureLog
from persistence.memory_store import MemoryServer, MemoryStore, ShardData
from persistence.tape import decode_tape
from service.bootstrap import House, assemble

SYMBOL = "BTC/USDT:USDT"
OTHER = "ETH/USDT:USDT"
ORDER_TAG = "0badc0de"


def _nothing(_: OrderRequest) -> None:
    pass


class WatchedExchange(PaperExchange):
    """The paper exchange, with a look at every order before it gets it and a list of those it took."""

    def __init__(self, settings: PaperSettings) -> None:
        super().__init__(settings)
        self.before_submit: Callable[[OrderRequest], None] = _nothing
        self.after_submit: Callable[[OrderRequest], None] = _nothing
        self.accepted: list[OrderRequest] = []
        self.asked: list[tuple[str, str]] = []

    def submit(self, request: OrderRequest, now: int) -> OrderRead:
        """Accept an order, and remember it."""
        self.asked.append(("submit", request.client_order_id))
        self.before_submit(request)
        read = super().submit(request, now)
        self.accepted.append(request)
        self.after_submit(request)
        return read

    @contextmanager
    def together(self, *, writes: bool) -> Iterator[None]:
        """Where a test wants to do something once an order is taken, each is durable by itself."""
        if self.after_submit is not _nothing:
            yield
            return
        with super().together(writes=writes):
            yield

    def cancel(self, request: CancelRequest, now: int) -> OrderRead:
        """Cancel an order, and remember that it was asked for."""
        self.asked.append(("cancel", request.client_order_id))
        return super().cancel(request, now)

    def look_up(
        self, account: str, symbol: str, client_order_id: str, kind: OrderKind, *, behind: int = 0
    ) -> OrderRead:
        """Read an order, and remember that it was asked for."""
        self.asked.append(("look_up", client_order_id))
        return super().look_up(account, symbol, client_order_id, kind, behind=behind)


class Keeper:
    """One keeper's world: the simulator, and what outlives a crash of the keeper."""

    def __init__(
        self,
        folder: Path,
        prices: Sequence[object],
        *,
        seed: int = 1,
        speed: Speed = "max",
        others: Sequence[object] = (),
        feed_stale_seconds: float = 30.0,
        health_seconds: float = 10.0,
    ) -> None:
        """`prices` are the ticks of the market, one a second; `others` those of a second symbol, where there is one."""
        folder.mkdir(exist_ok=True)
        self.files = {SYMBOL: folder / "prices.csv"}
        if others:
            self.files[OTHER] = folder / "others.csv"
        self._ticks = dict.fromkeys(self.files, 0)
        for file in self.files.values():
            file.write_text("timestamp,price\n")
        self.add_prices(prices)
        if others:
            self.add_prices(others, symbol=OTHER)
        self.simulator = Simulator(seed=seed)
        self.settings = AccountSettings(
            name="paper", shard="paper", request_expiry_seconds=2.0, feed_stale_seconds=feed_stale_seconds
        )
        self.paper = PaperSettings(
            path=":memory:",
            market=MarketSettings(symbols={name: ReplaySettings(file=file) for name, file in self.files.items()}),
            speed=speed,
        )
        self.exchange = self.open_exchange()
        self.faults = Faults()
        self.server = MemoryServer()
        self.store_class = MemoryStore
        self.failures = MemoryFailureLog()
        self.events: list[Mapping[str, Any]] = []
        self.boots = 0
        self.store_is_down = False
        self.health_seconds = health_seconds
        self.house: House

    # -- the market ----------------------------------------------------------------------------------------------------

    def add_prices(self, prices: Sequence[object], *, symbol: str = SYMBOL) -> None:
        """Let the market go on."""
        with self.files[symbol].open("a") as file:
            for price in prices:
                minutes, seconds = divmod(self._ticks[symbol], 60)
                file.write(f"2022-01-01 00:{minutes:02}:{seconds:02}.000000,{price}\n")
                self._ticks[symbol] += 1

    def moves(self, *prices: object, seconds: float = 3.0, symbol: str = SYMBOL) -> None:
        """Let the market go on, and the keeper with it."""
        self.add_prices(prices, symbol=symbol)
        self.run(seconds)

    def open_exchange(self) -> WatchedExchange:
        """The exchange, which outlives every keeper."""
        return WatchedExchange(self.paper)

    # -- the keeper's life ---------------------------------------------------------------------------------------------

    def boot(self, *, owner: str = "", trust_the_dead: bool = True) -> House:
        """Start a keeper; after `crash` it finds what the former one left."""
        self.boots += 1
        clock = self.simulator.clock
        self.house = assemble(
            self.simulator,
            store=self.open_store(),
            failure_log=self.open_failure_log(),
            accounts=self.account_settings(),
            venues=self.doors(),
            order_tag=ORDER_TAG,
            owner=owner or f"keeper-{self.boots}",
            dead_owner=self.proof_of_death() if trust_the_dead else None,
            publish=self.events.append,
            clock_seconds=clock.monotonic,
            health_seconds=self.health_seconds,
        )
        self.house.boot()
        return self.house

    def open_store(self) -> MemoryStore:
        """This keeper's client of the store."""
        return self.store_class(
            newest_schema=SCHEMA,
            known_fields=known_fields(),
            now=self.simulator.clock.monotonic,
            server=self.server,
            new_write_id=self._write_id(),
            faults=self._fault,
        )

    def open_failure_log(self) -> FailureRecord:
        """This keeper's failure log."""
        return self.failures

    def proof_of_death(self) -> Callable[[str], bool]:
        """Tells whether an owner of a lease is proven dead, where the dead are trusted."""
        return lambda owner: owner.startswith("keeper-")

    def account_settings(self) -> tuple[AccountSettings, ...]:
        """The accounts of this keeper."""
        return (self.settings,)

    def doors(self) -> dict[str, Venue]:
        """A fresh door to the exchange for each of them."""
        return {"paper": self.door("paper")}

    def door(self, account: str, **more: Any) -> PaperVenue:
        """One account's door; to this exchange, unless a floor is given."""
        where = more or {"exchange": self.exchange, "faults": self.faults}
        return PaperVenue(account=account, settings=self.paper, runtime=self.simulator, **where)

    def _write_id(self) -> Any:
        count = iter(range(1_000_000))
        boot = self.boots
        return lambda: f"w{boot}-{next(count)}"

    def _fault(self, stage: str) -> None:
        if self.store_is_down:
            raise ConnectionError(f"the store is out of reach at {stage}")

    def run(self, seconds: float = 1.0, *, failures: int = 0) -> None:
        """Let virtual time pass; no more actors may have failed than said."""
        self.simulator.run(for_seconds=seconds)
        assert len(self.simulator.failures) <= failures, self.simulator.failures

    def ready(self) -> None:
        """Run until prices may flow."""
        for _ in range(200):
            if not self.house.directory.reasons_not_ready():
                return
            self.simulator.run(for_seconds=0.1)
        raise AssertionError(self.house.directory.reasons_not_ready())

    def start(self) -> None:
        """Boot, and run until prices may flow."""
        self.boot()
        self.ready()

    def crash(self) -> None:
        """Everything of the keeper vanishes at once; store and exchange stay."""
        self.simulator.crash()

    def crashes_at(self, turn: int, *, seconds: float) -> bool:
        """Run for so long, and vanish at this turn; whether it came to that."""
        count = 0

        def look(actor: object, message: object) -> None:
            nonlocal count
            count += 1
            if count == turn:
                self.crash()

        self.simulator.before_turn = look
        self.simulator.run(for_seconds=seconds)
        self.simulator.before_turn = None
        return not self.alive

    def restart(self) -> None:
        """Crash, and start again."""
        self.crash()
        self.start()

    @property
    def alive(self) -> bool:
        """Whether a keeper runs."""
        return bool(self.house.supervisor.is_alive())

    # -- requests ------------------------------------------------------------------------------------------------------

    def ask_open(
        self,
        *,
        id: str = "p1",
        side: Side | None = Side.LONG,
        quantity: str | None = "1",
        plan: Plan | None = None,
        symbol: str = SYMBOL,
        account: str = "paper",
        **more: Any,
    ) -> Any:
        """Ask for a position; the answer will be set on what is returned."""
        reply = self.simulator.reply()
        request = OpenRequest(
            id=id,
            account=account,
            symbol=symbol,
            side=side,
            quantity=None if quantity is None else Decimal(quantity),
            plan=plan or parse_plan(RUNNER, name="runner"),
            digest=more.pop("digest", f"{side}{quantity}"),
            reply=reply,
            **more,
        )
        tell(self.house.supervisor, request)
        return reply

    def open(self, **what: Any) -> Any:
        """Ask for a position and return the answer."""
        return self.ask_open(**what).get(timeout=5)

    def adopt(self, **what: Any) -> Any:
        """Ask for the adoption of what the venue holds, and return the answer."""
        return self.open(**{"side": None, "quantity": None, "adopt": True, **what})

    def opened(self, **what: Any) -> Position:
        """Open a position, let its entry and its stop settle, and return it."""
        answer = self.open(**what)
        self.run(2)
        assert hasattr(answer, "published"), answer
        return self.position(what.get("id", "p1"))

    def ask_close(self, *, fraction: str = "1", request_id: str = "", id: str = "p1") -> Any:
        """Ask for a manual close; the answer will be set on what is returned."""
        reply = self.simulator.reply()
        tell(
            self.house.supervisor,
            CloseRequest(position_id=id, fraction=Decimal(fraction), request_id=request_id, reply=reply),
        )
        return reply

    def close(self, *, fraction: str = "1", request_id: str = "", id: str = "p1") -> Any:
        """Ask for a manual close and return the answer."""
        return self.ask_close(fraction=fraction, request_id=request_id, id=id).get(timeout=5)

    def amend(self, body: Mapping[str, Any], *, id: str = "p1", **more: Any) -> Any:
        """Ask for another plan and return the answer."""
        reply = self.simulator.reply()
        tell(self.house.supervisor, AmendRequest(position_id=id, body=body, reply=reply, **more))
        return reply.get(timeout=5)

    def drain(self) -> Any:
        """Ask the service to stop in order, and return the answer."""
        reply = self.simulator.reply()
        tell(self.house.supervisor, DrainService(reply=reply))
        return reply.get(timeout=20)

    # -- what is seen --------------------------------------------------------------------------------------------------

    def published(self, id: str = "p1") -> Published:
        """The position as everybody sees it."""
        return self.house.directory.positions[id]

    def position(self, id: str = "p1") -> Position:
        """Its state; it must be readable."""
        position = self.published(id).position
        assert position is not None
        return position

    @property
    def shard(self) -> ShardData:
        """The bytes of the account's shard."""
        return self.server.shard("paper")

    def stored(self, id: str = "p1") -> Position | None:
        """The position as a crash would leave it; None when nothing is stored."""
        raw = self.shard.positions.get(id)
        if raw is None:
            return None
        snapshot = decode_snapshot(id, raw, SCHEMA)
        position = load(snapshot.state, snapshot.schema)
        tape = self.shard.tapes.get(position.symbol)
        return position if tape is None else catch_up(position, missed_of(position, StoredTape(decode_tape(tape))))

    def stored_version(self, id: str = "p1") -> int:
        """The version that is stored, 0 when nothing is."""
        raw = self.shard.positions.get(id)
        return 0 if raw is None else decode_snapshot(id, raw, SCHEMA).version

    def venue(self, symbol: str = SYMBOL) -> AccountRead:
        """The slot as the exchange has it, with all trades."""
        return self.exchange.read_account("paper", symbol, 0)

    def held(self, symbol: str = SYMBOL) -> Decimal:
        """The signed size of the venue's position."""
        position = self.venue(symbol).position
        return Decimal(0) if position is None else position.quantity * position.side.sign

    def sent(self, kind: OrderKind = OrderKind.MARKET) -> list[OrderRequest]:
        """The keeper's own orders of one kind that the exchange took, oldest first."""
        ours = [request for request in self.exchange.accepted if request.client_order_id.startswith(ORDER_TAG)]
        return [request for request in ours if request.kind is kind]

    def names(self) -> list[str]:
        """The names of the events told so far."""
        return [str(event["name"]) for event in self.events]

    def told(self, name: str) -> list[Mapping[str, Any]]:
        """The fields of every event of this name told so far."""
        return [event["fields"] for event in self.events if event["name"] == name]

    def order_id(self, leg: str, generation: int = 0, *, id: str = "p1") -> str:
        """The client order id of one order of a position."""
        return client_order_id(ORDER_TAG, id, leg, generation)

    def reductions(self) -> list[Decimal]:
        """The quantities of the keeper's own market exits that the exchange took, oldest first."""
        return [order.quantity for order in self.sent() if order.reduce_only]

    def resting(self) -> list[str]:
        """The client order ids of what rests at the exchange, oldest first."""
        return [order.client_order_id for order in self.venue().orders]

    # -- somebody else at the account ----------------------------------------------------------------------------------

    def by_hand(self, side: OrderSide, quantity: str, *, symbol: str = SYMBOL, cause: str = "order") -> None:
        """Trade at the same account, past the keeper."""
        self.exchange.trade_by_hand("paper", symbol, side, Decimal(quantity), cause=cause)

    def cancel_by_hand(self, client_order_id: str, kind: OrderKind) -> None:
        """Cancel an order at the same account, past the keeper; nobody is told."""
        now = self.simulator.clock.now()
        request = CancelRequest(
            request_id="by-hand",
            account="paper",
            symbol=SYMBOL,
            client_order_id=client_order_id,
            kind=kind,
            signed_at=now,
            expires_after_seconds=5.0,
        )
        PaperExchange.cancel(self.exchange, request, now)

    def foreign_stop(self, client_order_id: str, price: str, quantity: str = "1", *, symbol: str = SYMBOL) -> None:
        """Somebody else's reduce-only stop at rest."""
        now = self.simulator.clock.now()
        self.exchange.submit(
            OrderRequest(
                request_id="by-hand",
                account="paper",
                symbol=symbol,
                client_order_id=client_order_id,
                kind=OrderKind.STOP_MARKET,
                side=OrderSide.SELL,
                quantity=Decimal(quantity),
                reduce_only=True,
                signed_at=now,
                expires_after_seconds=5.0,
                trigger_price=Decimal(price),
            ),
            now,
        )
