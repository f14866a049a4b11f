"""What becomes of one request of the port: sent once, judged by its code, looked up before it is told.

A write that was accepted is told with what the exchange says of the order afterwards, never with the acceptance itself.
A read is whole or it has failed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from actors.domain.events import FundingPaid, OrderState
from actors.domain.model import ZERO, Instrument, Micros, OrderKind, Side
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    CancelRequest,
    CandlesAnswered,
    CandlesRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    OrderUnknown,
    VenueError,
    VenueOrder,
    VenueUnavailable,
)
from actors.venues.ccxt.budget import Priority
from actors.venues.ccxt.client import Call, calling
from actors.venues.ccxt.dialect import Dialect, Holding
from actors.venues.ccxt.errors import NoAnswer, NotSent, RestError

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
ACCOUNT_READS = 4
FUNDING_EVERY_SECONDS = 60.0

_T = TypeVar("_T")


def signed(holding: Holding) -> Decimal:
    """The size of a position with its sign."""
    position = holding.position
    if position is None:
        return ZERO
    return position.quantity if position.side is Side.LONG else -position.quantity


@dataclass(slots=True)
class _Fundings:
    since: Micros
    read_at: float
    payments: tuple[FundingPaid, ...]


class Requests:
    """The requests of one account. Lives on the loop; every method answers or raises a VenueError."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        instruments: Callable[[], Mapping[str, Instrument]],
        now: Callable[[], Micros],
        monotonic: Callable[[], float],
        scrubbed: Callable[[object], str],
        refused: Callable[[str], None],
    ) -> None:
        """`refused` hears the code of every refusal: some concern the whole account."""
        self._dialect = dialect
        self._instruments = instruments
        self._now = now
        self._monotonic = monotonic
        self._scrubbed = scrubbed
        self._refused = refused
        self._fundings: dict[str, _Fundings] = {}

    # -- writes --------------------------------------------------------------------------------------------------------

    async def submit(self, request: OrderRequest) -> OrderAnswered:
        """Send an order once, and tell what the exchange then says of it."""
        self._check(request)
        protects = request.reduce_only or request.kind is OrderKind.STOP_MARKET
        priority = Priority.PROTECT if protects else Priority.ENTER
        await self._write(request, priority, lambda: self._dialect.send(request))
        with calling(self._call(priority)):
            return await self._settled(request, lambda order: _settles(request.kind, order))

    async def cancel(self, request: CancelRequest) -> OrderAnswered:
        """Cancel an order, and tell what became of it: it may have filled, or never been."""
        gone = False
        try:
            await self._write(request, Priority.PROTECT, lambda: self._dialect.withdraw(request))
        except OrderRejected as error:
            if error.code in ("expired", "auth", "position_mode"):
                raise
            gone = True
        except OrderUnknown:
            gone = True
        with calling(self._call(Priority.PROTECT)):
            if gone:
                return await self.answer(request.request_id, request.symbol, request.client_order_id, request.kind)
            return await self._settled(request, lambda order: order.state is not OrderState.OPEN)

    async def _write(
        self, request: OrderRequest | CancelRequest, priority: Priority, send: Callable[[], Awaitable[None]]
    ) -> None:
        call = self._call(priority)
        call.signed_at, call.expires_after_seconds = request.signed_at, request.expires_after_seconds
        with calling(call):
            try:
                await send()
            except RestError as error:
                verdict = self._dialect.verdict(error)
                self._refused(verdict.code)
                raise verdict from None
            except NotSent as error:
                raise VenueUnavailable(error.code, error.message) from None
            except VenueError:
                raise
            except Exception as error:  # noqa: BLE001 - an exception nobody foresaw proves nothing either
                if not call.left:
                    raise VenueUnavailable("not_sent", self._scrubbed(error)) from None
                raise OrderUnknown("no_answer", self._scrubbed(error)) from None

    async def _settled(
        self, request: OrderRequest | CancelRequest, settles: Callable[[VenueOrder], bool]
    ) -> OrderAnswered:
        """Read the order until it is what the acceptance promised. What is not readable yet is unknown."""
        why = "accepted, and not readable yet"
        for pause in (*PAUSES, None):
            try:
                answer = await self.answer(
                    request.request_id, request.symbol, request.client_order_id, request.kind, wait=False
                )
                if answer.order is not None and settles(answer.order):
                    return answer
            except VenueUnavailable as error:
                why = f"accepted, and then not readable: {error.message}"
            if pause is not None:
                await asyncio.sleep(pause)
        raise OrderUnknown("pending", why)

    def _check(self, request: OrderRequest) -> None:
        """What this exchange would surely refuse is refused here: nothing is rounded for anybody."""
        instrument = self._instruments().get(request.symbol)
        if instrument is None:
            raise OrderRejected("unknown_symbol", f"{request.symbol} is not traded here")
        if request.quantity < instrument.minimum_quantity:
            least = f"{instrument.minimum_quantity:f}"
            raise OrderRejected("below_minimum", f"{request.quantity:f} is below the minimum quantity of {least}")
        if request.quantity % instrument.quantity_step:
            step = f"{instrument.quantity_step:f}"
            raise OrderRejected("quantity_step", f"{request.quantity:f} is no multiple of the step of {step}")
        for price in (request.trigger_price, request.limit_price):
            if price is not None and price % instrument.tick_size:
                raise OrderRejected("price_tick", f"{price:f} is no multiple of the tick of {instrument.tick_size:f}")

    # -- reads ---------------------------------------------------------------------------------------------------------

    async def look_up(self, request: LookUpRequest) -> OrderAnswered:
        """Read one order with all its trades."""
        with calling(self._call(Priority.LOOK)):
            return await self.answer(request.request_id, request.symbol, request.client_order_id, request.kind)

    async def answer(
        self, request_id: str, symbol: str, order_id: str, kind: OrderKind, *, wait: bool = True
    ) -> OrderAnswered:
        """One order and the position after it, as one answer."""
        self._known(symbol)
        order = await self._read(self.order(symbol, order_id, kind, wait=wait))
        holding = await self._read(self._dialect.holding(symbol))
        return OrderAnswered(request_id=request_id, order=order, read_at=self._now(), venue_quantity=signed(holding))

    async def order(self, symbol: str, order_id: str, kind: OrderKind, *, wait: bool = True) -> VenueOrder | None:
        """An order whose trades explain its fill; the trades may lag behind, and are waited for a little."""
        for pause in (*(PAUSES if wait else ()), None):
            order = await self._dialect.find(symbol, order_id, kind)
            if order is None or order.filled == sum((trade.quantity for trade in order.trades), ZERO):
                return order
            if pause is not None:
                await asyncio.sleep(pause)
        raise NoAnswer(f"the trades of {order_id} do not explain its fill yet")

    async def account(self, request: AccountRequest) -> AccountAnswered:
        """Read one symbol whole: the position must be the same before and after everything else."""
        instrument = self._known(request.symbol)
        dialect, symbol = self._dialect, request.symbol
        with calling(self._call(Priority.READ)):
            before = await self._read(dialect.holding(symbol))
            for _ in range(ACCOUNT_READS):
                orders, trades, quote, fundings = await self._read(
                    asyncio.gather(
                        dialect.open_orders(symbol),
                        dialect.trades(symbol, request.trades_since),
                        dialect.quote(symbol),
                        self._funding(symbol, request.trades_since),
                    )
                )
                read_at = self._now()
                after = await self._read(dialect.holding(symbol))
                if before.stamp == after.stamp:
                    return AccountAnswered(
                        request_id=request.request_id,
                        symbol=symbol,
                        position=after.position,
                        orders=tuple(orders),
                        trades=tuple(trades),
                        quote=quote,
                        instrument=instrument,
                        read_at=read_at,
                        fundings=fundings,
                    )
                before = after
        raise VenueUnavailable("unsteady", f"the position in {symbol} changed during every read")

    async def candles(self, request: CandlesRequest) -> CandlesAnswered:
        """Read candles."""
        self._known(request.symbol)
        with calling(self._call(Priority.BACKGROUND)):
            candles, complete = await self._read(self._dialect.candles(request.symbol, request.source, request.since))
        return CandlesAnswered(request_id=request.request_id, candles=tuple(candles), complete=complete)

    async def _funding(self, symbol: str, since: Micros) -> tuple[FundingPaid, ...]:
        """Payments are rare and dear to ask for: once a minute is enough."""
        if since == 0:
            return ()
        known = self._fundings.get(symbol)
        now = self._monotonic()
        if known is None or since < known.since or now - known.read_at > FUNDING_EVERY_SECONDS:
            known = _Fundings(since, now, tuple(await self._dialect.fundings(symbol, since)))
            self._fundings[symbol] = known
        return tuple(payment for payment in known.payments if payment.at >= since)

    def _known(self, symbol: str) -> Instrument:
        instrument = self._instruments().get(symbol)
        if instrument is None:
            raise OrderRejected("unknown_symbol", f"{symbol} is not traded here")
        return instrument

    async def _read(self, reading: Awaitable[_T]) -> _T:
        try:
            return await reading
        except RestError as error:
            self._refused(self._dialect.verdict(error).code)
            raise VenueUnavailable("read_failed", error.message) from None
        except NotSent as error:
            raise VenueUnavailable(error.code, error.message) from None
        except VenueError:
            raise
        except Exception as error:  # noqa: BLE001 - a read that failed in any way is not an answer
            raise VenueUnavailable("read_failed", self._scrubbed(error)) from None

    def _call(self, priority: Priority) -> Call:
        return Call(priority=priority, queue_seconds=self._dialect.settings.queue_timeout_seconds)


def _settles(kind: OrderKind, order: VenueOrder) -> bool:
    """Whether an order has become what its acceptance promised: at market it ends, otherwise it exists."""
    return kind is not OrderKind.MARKET or order.state is not OrderState.OPEN
