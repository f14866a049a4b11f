"""A real exchange behind the port: calls return at once, and everything else happens on the exchanges' thread."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from actors.domain.model import Instrument
from actors.runtime.base import Clock, Ref, tell
from actors.venues.base import (
    AccountRequest,
    CancelRequest,
    CandlesRequest,
    LookUpRequest,
    OrderRequest,
    OrderUnknown,
    RequestFailed,
    VenueError,
    VenueFailed,
    VenueTraits,
    VenueUnavailable,
)
from actors.venues.ccxt.client import exchange_class
from actors.venues.ccxt.dialect import Dialect
from actors.venues.ccxt.dialects import dialect_of
from actors.venues.ccxt.loop import EXCHANGES, LoopThread
from actors.venues.ccxt.session import Session
from actors.venues.ccxt.settings import CcxtSettings

Request = OrderRequest | CancelRequest | LookUpRequest | AccountRequest | CandlesRequest


class CcxtVenue:
    """One account at one exchange."""

    def __init__(
        self, settings: CcxtSettings, dialect: type[Dialect], clock: Clock, loop: LoopThread = EXCHANGES
    ) -> None:
        """Nothing is connected before `start`."""
        self._settings = settings
        self._dialect = dialect
        self._clock = clock
        self._loop = loop
        self._lock = threading.Lock()
        self._listener: Ref | None = None
        self._life = 0
        self._resumed = False
        self._watched: list[str] = []
        # Belongs to the loop, and is only ever replaced whole.
        self._session: Session | None = None

    @property
    def traits(self) -> VenueTraits:
        """What this exchange can do."""
        return VenueTraits(
            name=self._settings.exchange,
            stop_triggers=self._dialect.stop_triggers,
            expires_requests=True,
            live_money=self._settings.live_money,
            lockstep=False,
            subscribes=True,
        )

    def instruments(self) -> Sequence[Instrument]:
        """Every linear perpetual; none before the account is ready."""
        session = self._session
        return () if session is None else tuple(session.instruments.values())

    def start(self, listener: Ref) -> None:
        """Connect; a session of a former listener ends."""
        with self._lock:
            self._listener = listener
            self._life += 1
            self._resumed = False
            life = self._life
        self._loop.start(lambda: self._begin(life))

    def resume(self, *, prices: bool = True) -> None:
        """Let prices flow; each account has a feed of its own, so that they are always wanted."""
        with self._lock:
            self._resumed = prices
        self._loop.call(self._flow)

    def watch(self, symbol: str) -> None:
        """Follow a symbol; also in the sessions that come after this one."""
        with self._lock:
            if symbol not in self._watched:
                self._watched.append(symbol)
        self._loop.start(lambda: self._follow(symbol))

    def submit(self, request: OrderRequest) -> None:
        """Send an order."""
        self._ask(request, lambda session: session.requests.submit(request))

    def cancel(self, request: CancelRequest) -> None:
        """Cancel an order."""
        self._ask(request, lambda session: session.requests.cancel(request))

    def look_up(self, request: LookUpRequest) -> None:
        """Read an order."""
        self._ask(request, lambda session: session.requests.look_up(request))

    def read_account(self, request: AccountRequest) -> None:
        """Read a symbol of the account."""
        self._ask(request, lambda session: session.requests.account(request))

    def read_candles(self, request: CandlesRequest) -> None:
        """Read candles."""
        self._ask(request, lambda session: session.requests.candles(request))

    def settled(self, symbol: str, sequence: int) -> None:
        """An exchange waits for nobody."""

    def stop(self, listener: Ref | None = None) -> None:
        """End; from now on nothing is told."""
        with self._lock:
            if listener is not None and listener is not self._listener:
                return
            self._listener = None
            self._life += 1
            life = self._life
        self._loop.start(lambda: self._end(life))

    # -- on the loop ---------------------------------------------------------------------------------------------------

    async def _begin(self, life: int) -> None:
        await self._end(life)
        if life != self._life:
            return
        try:
            session = Session(self._settings, self._dialect, self._clock, lambda message: self._tell(life, message))
        except Exception as error:  # noqa: BLE001 - nothing works without a session
            self._tell(life, VenueFailed(error=f"{type(error).__name__}: {error}"))
            return
        self._session = session
        session.watched = list(self._watched)
        session.flowing = self._resumed
        session.spawn(session.run())

    async def _end(self, life: int) -> None:
        session = self._session
        if session is not None and life == self._life:
            self._session = None
            await session.close()

    def _flow(self) -> None:
        if self._session is not None:
            self._session.flowing = self._resumed

    async def _follow(self, symbol: str) -> None:
        if self._session is not None:
            await self._session.watch(symbol)

    def _ask(self, request: Request, work: Callable[[Session], Awaitable[Any]]) -> None:
        life = self._life
        self._loop.start(lambda: self._answer(life, request, work))

    async def _answer(self, life: int, request: Request, work: Callable[[Session], Awaitable[Any]]) -> None:
        session = self._session
        try:
            if session is None:
                raise VenueUnavailable("connecting", "the account is not connected")
            if not session.status.ready:
                raise VenueUnavailable(session.status.code, session.status.detail)
            answer = await work(session)
        except VenueError as error:
            answer = RequestFailed(request_id=request.request_id, error=error)
        except Exception as error:
            # What nobody foresaw proves nothing.
            why = OrderUnknown("failed", f"{type(error).__name__}")
            self._tell(life, RequestFailed(request_id=request.request_id, error=why))
            raise
        self._tell(life, answer)

    def _tell(self, life: int, message: object) -> None:
        with self._lock:
            if life == self._life and self._listener is not None:
                tell(self._listener, message)


def open_ccxt_venue(settings: CcxtSettings, clock: Clock) -> CcxtVenue:
    """An account at a real exchange. Raises LiveExtraMissing where ccxt is not installed, KeyError for an exchange
    that has no file here.
    """
    dialect = dialect_of(settings.exchange)
    exchange_class(settings.exchange)
    return CcxtVenue(settings, dialect, clock)
