"""One life of an account at an exchange: from the first connection to the last, on the loop.

Nothing is asked for anybody before the clock is measured, the credentials and the position mode are checked, the
instruments are known and the private stream was tried; until then, and whenever that changes, the account is told as
not ready with what is in the way.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import Any

import structlog

from actors.domain.model import Instrument, Micros, OrderKind, Quote
from actors.runtime.base import Clock
from actors.venues.base import OrderUpdated, PricesUpdated, StreamRestored, VenueStatus
from actors.venues.ccxt.budget import Budget, Priority
from actors.venues.ccxt.client import Call, Wires, calling, open_exchange
from actors.venues.ccxt.dialect import Dialect, Readiness, StreamSpec
from actors.venues.ccxt.errors import NotSent, RestError
from actors.venues.ccxt.prices import Quotes
from actors.venues.ccxt.requests import Requests
from actors.venues.ccxt.settings import CcxtSettings
from actors.venues.ccxt.streams import Streams

CLOCK_READS = 3
LONGEST_ROUND_SECONDS = 1.0
INSTRUMENTS_EVERY_SECONDS = 3600.0
LONGEST_RETRY_SECONDS = 30.0
DEAF_GRACE_SECONDS = 2.0
REREAD_SECONDS = 1.0
FOREIGN_SECONDS = 0.25
ACCOUNT_CODES = frozenset({"auth", "position_mode"})


class Session:
    """The account while it is open. Also the desk at which its dialect reports."""

    def __init__(
        self, settings: CcxtSettings, dialect: type[Dialect], clock: Clock, tell: Callable[[object], None]
    ) -> None:
        """To be made on the loop. `tell` reaches whoever listens now, and nobody after the end."""
        self.settings = settings
        self.clock = clock
        self.tell = tell
        self.flowing = False
        self.instruments: dict[str, Instrument] = {}
        self.watched: list[str] = []
        self.status = VenueStatus(account=settings.account, ready=False, code="connecting", detail="connecting")
        self.wires = Wires(settings, clock.now, Budget(dialect.weight_per_minute, clock.monotonic))
        self.dialect = dialect(settings, open_exchange(dialect, self.wires), self)
        self.quotes = Quotes(settings.price_bound_seconds, clock.monotonic)
        self.streams = Streams(
            self.dialect,
            monotonic=clock.monotonic,
            symbols=lambda: list(self.watched),
            restored=self._on_up,
            lost=self._on_lost,
            scrubbed=self.wires.scrubbed,
        )
        self.wires.on_message = self._on_message
        self.requests = Requests(
            self.dialect,
            instruments=lambda: self.instruments,
            now=self.venue_now,
            monotonic=clock.monotonic,
            scrubbed=self.wires.scrubbed,
            refused=self._on_refusal,
        )
        self._private_heard = 0
        self._rereading = False
        self._updates: dict[tuple[str, str, OrderKind], bool] = {}
        self._again = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._log = structlog.get_logger().bind(account=settings.account)

    def venue_now(self) -> Micros:
        """The exchange's clock."""
        return self.clock.now() + self.wires.offset

    # -- a life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin, and go on until `close`."""
        pause = self.settings.retry_seconds
        while (obstacle := await self._prepare()) is not None:
            self._set_status(obstacle)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)
        for name in self.streams.names:
            self.spawn(self.streams.keep(name))
        deadline = self.clock.monotonic() + self.settings.request_timeout_seconds
        while not self.streams.private_up() and self.clock.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._set_status(None)
        self.spawn(self._keep_checking())
        self.spawn(self._keep_reckoning())

    async def close(self) -> None:
        """End everything."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.dialect.exchange.close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something for as long as the session lasts."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("actor.failed", kind="Session", error=self.wires.scrubbed(repr(error)))

    async def _prepare(self) -> Readiness | None:
        with calling(self._call(Priority.READ)):
            try:
                await self.measure()
                self.instruments = {item.symbol: item for item in await self.dialect.instruments()}
                return await self.dialect.readiness()
            except RestError as error:
                code = self.dialect.verdict(error).code
                return Readiness(code=code if code in ACCOUNT_CODES else "unavailable", detail=error.message)
            except NotSent as error:
                return Readiness(code=error.code, detail=error.message)
            except Exception as error:  # noqa: BLE001 - until it is known to be ready, it is not
                return Readiness(code="unavailable", detail=self.wires.scrubbed(error))

    async def measure(self) -> None:
        """How far the exchange's clock is from ours: by the fastest of a few round trips."""
        best: tuple[float, Micros] | None = None
        for _ in range(CLOCK_READS):
            sent, began = self.clock.now(), self.clock.monotonic()
            theirs = await self.dialect.server_time()
            took = self.clock.monotonic() - began
            if best is None or took < best[0]:
                best = took, theirs - sent - int(took * 500_000)
            if took < LONGEST_ROUND_SECONDS / 10:
                break
        if best is None or best[0] > LONGEST_ROUND_SECONDS:
            raise NotSent("clock", "the exchange answers too slowly to measure its clock")
        self.wires.offset = best[1]

    async def _keep_checking(self) -> None:
        """The clock, the credentials and the position mode, again and again; sooner when a reply gave cause."""
        instruments_at = self.clock.monotonic()
        while True:
            every = min(self.settings.clock_every_seconds, self.settings.check_every_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), every if self.status.ready else self.settings.retry_seconds)
            self._again.clear()
            with calling(self._call(Priority.LOOK)):
                try:
                    await self.measure()
                    self._set_status(await self.dialect.readiness())
                    if self.clock.monotonic() - instruments_at > INSTRUMENTS_EVERY_SECONDS:
                        self.instruments = {item.symbol: item for item in await self.dialect.instruments()}
                        instruments_at = self.clock.monotonic()
                except Exception as error:  # noqa: BLE001 - a check that failed says nothing about the account
                    # A network that is away for a while must not keep a close from being tried.
                    self._log.warning("account.unchecked", why=self.wires.scrubbed(error))

    async def _keep_reckoning(self) -> None:
        """A private stream that is connected and says nothing looks like a quiet market: sizes are compared by REST."""
        known: dict[str, Decimal] | None = None
        while True:
            heard = self._private_heard
            await asyncio.sleep(self.settings.reckon_every_seconds)
            try:
                with calling(self._call(Priority.BACKGROUND)):
                    sizes = await self.dialect.sizes()
            except Exception:  # noqa: BLE001, S112 - it will be compared the next time
                continue
            if known is not None and sizes != known and self._private_heard == heard:
                await asyncio.sleep(DEAF_GRACE_SECONDS)
                if self._private_heard == heard:
                    for spec in self.dialect.streams():
                        if spec.private:
                            self.streams.broken(spec.name, "deaf: positions changed, and it said nothing")
            known = sizes

    def _set_status(self, obstacle: Readiness | None) -> None:
        status = VenueStatus(
            account=self.settings.account,
            ready=obstacle is None,
            code="" if obstacle is None else obstacle.code,
            detail="" if obstacle is None else self.wires.scrubbed(obstacle.detail),
        )
        if status != self.status:
            self.status = status
            self.tell(status)

    def _on_refusal(self, code: str) -> None:
        if code == "auth":
            detail = "the exchange does not accept the API key (any more): check it, its permissions and its addresses"
            self._set_status(Readiness(code="auth", detail=detail))
        if code in ("expired", *ACCOUNT_CODES):
            self._again.set()

    def _call(self, priority: Priority) -> Call:
        return Call(priority=priority, queue_seconds=self.settings.queue_timeout_seconds)

    # -- prices --------------------------------------------------------------------------------------------------------

    async def watch(self, symbol: str) -> None:
        """Follow one more symbol, and begin with its present prices."""
        if symbol not in self.watched:
            self.watched.append(symbol)
            await self.streams.follow(symbol)

    def price(self, symbol: str, at: Micros, **sources: Decimal | None) -> None:
        """New prices from a stream: told at once, each one."""
        quote = self.quotes.update(symbol, at, sources)
        if self.flowing:
            self.tell(PricesUpdated(symbol=symbol, quote=quote))

    async def _seed(self) -> None:
        """What streams tell only when it changes is read once."""
        for symbol in list(self.watched):
            try:
                with calling(self._call(Priority.READ)):
                    quote: Quote = await self.dialect.quote(symbol)
            except Exception:  # noqa: BLE001, S112 - the streams will tell it
                continue
            sources = {name: getattr(quote, name) for name in ("mark", "last", "bid", "ask")}
            self.price(symbol, quote.at, **{name: value for name, value in sources.items() if value is not None})

    # -- streams -------------------------------------------------------------------------------------------------------

    def _on_message(self, stream: str, message: Any) -> bool:
        self.streams.heard(stream)
        try:
            return self.dialect.on_message(stream, message)
        except Exception as error:  # noqa: BLE001 - an error here would end ccxt's reader without a word
            self.streams.broken(stream, f"a message that could not be read: {self.wires.scrubbed(repr(error))}")
            return True

    def _on_up(self, spec: StreamSpec) -> None:
        if not spec.private:
            self.spawn(self._seed())
        elif self.status.code != "connecting":
            self.tell(StreamRestored(account=self.settings.account))

    def _on_lost(self, spec: StreamSpec) -> None:
        if not spec.private:
            self.quotes.forget()

    def broken(self, stream: str, why: str) -> None:
        """A dialect wants a stream to be connected anew."""
        self.streams.broken(stream, why)

    def stream_up(self, stream: str) -> None:
        """A dialect has subscribed a stream."""
        self.streams.up(stream)

    def account_changed(self) -> None:
        """Positions changed, says the private stream."""
        self._private_heard += 1

    def foreign_trade(self) -> None:
        """Let everything be read again, once for all that comes together."""
        self._private_heard += 1
        if not self._rereading:
            self._rereading = True
            self.spawn(self._reread())

    async def _reread(self) -> None:
        await asyncio.sleep(FOREIGN_SECONDS)
        self._rereading = False
        self.tell(StreamRestored(account=self.settings.account))

    def order_changed(self, symbol: str, client_order_id: str, kind: OrderKind) -> None:
        """A wake-up: read the order, and tell it. One that comes during the read makes it be read again."""
        self._private_heard += 1
        key = symbol, client_order_id, kind
        if key in self._updates:
            self._updates[key] = True
            return
        self._updates[key] = True
        self.spawn(self._update(key))

    async def _update(self, key: tuple[str, str, OrderKind]) -> None:
        try:
            while self._updates[key]:
                self._updates[key] = False
                await self._update_once(*key)
        finally:
            del self._updates[key]

    async def _update_once(self, symbol: str, order_id: str, kind: OrderKind) -> None:
        try:
            with calling(self._call(Priority.LOOK)):
                order = await self.requests.order(symbol, order_id, kind)
        except Exception as error:  # noqa: BLE001 - what was not told must be looked for
            self._log.warning("order.unread", client_order_id=order_id, why=self.wires.scrubbed(error))
            await asyncio.sleep(REREAD_SECONDS)
            self.tell(StreamRestored(account=self.settings.account))
            return
        if order is not None:
            self.tell(OrderUpdated(account=self.settings.account, order=order))
