"""The paper venue: a simulated exchange behind the same port as the real ones.

A PaperVenue is one account's door. It owns nothing but the way to the PaperActor, which several accounts may share
(`floor`). Positions, orders, trades and the market's cursor are in the ledger file: they outlive keeper and Redis, and
the market stands still while no keeper runs. All times it tells are event time, that of the latest price; only a
request's expiry is judged by wall time.
"""

from collections.abc import Sequence
from itertools import count
from threading import Lock

from actors.domain.model import Instrument, Source
from actors.runtime.base import Ref, Runtime, tell
from actors.survey import SurveyRequest
from actors.venues.base import (
    AccountRequest,
    CancelRequest,
    CandlesRequest,
    LookUpRequest,
    OrderRequest,
    VenueTraits,
)
from actors.venues.paper_actor import Attach, Detach, PaperActor, Resume, Settled
from actors.venues.paper_control import ControlFile
from actors.venues.paper_faults import Faults
from actors.venues.paper_ledger import PaperExchange
from actors.venues.paper_queue import Asked, Door, Queue, Request
from actors.venues.paper_settings import MEMORY, PaperSettings
from actors.venues.paper_sources import instruments_from

_numbers = count(1)


class PaperFloor:
    """What the accounts of one paper exchange share: its actor, which runs while at least one account has started."""

    def __init__(
        self,
        *,
        settings: PaperSettings,
        runtime: Runtime,
        exchange: PaperExchange | None = None,
        faults: Faults | None = None,
    ) -> None:
        """An `exchange` handed in is not closed at the end, so that it outlives a simulated crash.

        `faults` befall all accounts of the floor; without them the settings may name a file of faults.
        """
        self.faults = faults
        if faults is None and settings.control is not None:
            self.faults = ControlFile(settings.control)
        self.settings = settings
        self.instruments = exchange.instruments if exchange else instruments_from(settings)
        self.accounts: set[str] = set()
        # The name of its prices, for all its accounts; empty while it can only be the floor of one.
        self.feed = ""
        self._runtime = runtime
        self._given = exchange
        self._exchange: PaperExchange | None = exchange
        self._started: set[str] = set()
        self._actor: Ref | None = None
        self._queue = Queue()
        # What the keeper makes of an answer waits for the orders that are still to be executed.
        runtime.let_wait_while(lambda: self._queue.crowded)
        # Accounts start and stop on their gateways' threads.
        self._lock = Lock()

    @property
    def exchange(self) -> PaperExchange | None:
        """The exchange at work, for tests that interfere by hand; None before the first start."""
        return self._exchange

    def name_feed(self) -> None:
        """Several accounts may share it from now on: what they are told has a name."""
        with self._lock:
            if not self.feed:
                path = str(self.settings.path)
                self.feed = f"paper:{path}" if path != MEMORY else f"paper:{path}{next(_numbers)}"

    def enter(self, door: Door) -> tuple[Ref, Queue]:
        """An account starts; the first one starts the actor. Its requests go into the queue."""
        with self._lock:
            if self._actor is None or not self._actor.is_alive():
                self._exchange = self._given or PaperExchange(self.settings)
                # What a former actor has not served got lost with it.
                self._queue = Queue()
                self._actor = self._runtime.spawn(
                    PaperActor,
                    self._exchange,
                    self._runtime.clock,
                    owns_exchange=self._given is None,
                    accounts=self.accounts,
                    queue=self._queue,
                    faults=self.faults,
                )
            self._started.add(door.account)
            tell(self._actor, Attach(door))
            return self._actor, self._queue

    def leave(self, door: Door) -> None:
        """An account stops; the last one ends the actor."""
        with self._lock:
            self._started.discard(door.account)
            actor, last = self._actor, not self._started
            if last:
                self._actor = None
                # What is never served must press nobody.
                self._queue = Queue()
            if actor is not None:
                tell(actor, Detach(door, last))


class PaperVenue:
    """One account's door to a paper exchange (see the Venue port)."""

    def __init__(
        self,
        *,
        account: str,
        settings: PaperSettings,
        runtime: Runtime,
        exchange: PaperExchange | None = None,
        floor: PaperFloor | None = None,
        faults: Faults | None = None,
    ) -> None:
        """`floor` is another venue's floor, to trade on the same exchange and market; settings and faults are then the
        floor's.

        Raises MarketDataError when a file of prices cannot be read.
        """
        self.floor = floor or PaperFloor(settings=settings, runtime=runtime, exchange=exchange, faults=faults)
        self.floor.accounts.add(account)
        if floor is not None:
            floor.name_feed()
        self._account = account
        self._traits: VenueTraits | None = None
        self._actor: Ref | None = None
        self._queue = Queue()
        self._door: Door | None = None
        self._ended = False

    @property
    def traits(self) -> VenueTraits:
        """Stops triggered by mark or last, requests that expire, and lockstep at full speed."""
        if self._traits is None or self._traits.feed != self.floor.feed:
            self._traits = VenueTraits(
                name="paper",
                stop_triggers=(Source.MARK, Source.LAST),
                expires_requests=True,
                live_money=False,
                lockstep=self.floor.settings.speed == "max",
                own_time=True,
                feed=self.floor.feed,
            )
        return self._traits

    def instruments(self) -> Sequence[Instrument]:
        """Every symbol that has a market."""
        return tuple(self.floor.instruments.values())

    def start(self, listener: Ref) -> None:
        """Begin; a listener told before is told nothing more."""
        if self._door is not None:
            self._door.open = False
        self._door = Door(self._account, listener)
        self._actor, self._queue = self.floor.enter(self._door)

    def resume(self, *, prices: bool = True) -> None:
        """Prices may flow, beginning with the one at the cursor; without `prices` they are not told here."""
        if self._actor is not None and self._door is not None:
            tell(self._actor, Resume(self._door, prices))

    def watch(self, symbol: str) -> None:
        """Every symbol's prices are told anyway."""

    def submit(self, request: OrderRequest) -> None:
        """Send an order."""
        self._ask(request)

    def cancel(self, request: CancelRequest) -> None:
        """Cancel an order."""
        self._ask(request)

    def look_up(self, request: LookUpRequest) -> None:
        """Read the most recent order with this client id."""
        self._ask(request)

    def read_account(self, request: AccountRequest) -> None:
        """Read a symbol of the account."""
        self._ask(request)

    def read_candles(self, request: CandlesRequest) -> None:
        """Read completed one-minute candles."""
        self._ask(request)

    def survey(self, request: SurveyRequest) -> None:
        """Read many slots of the account."""
        self._ask(request)

    def settled(self, symbol: str, sequence: int) -> None:
        """The price has settled; repeats and other sequences are ignored."""
        if self._actor is not None and self._door is not None:
            tell(self._actor, Settled(self._door, symbol, sequence))

    def stop(self, listener: Ref | None = None) -> None:
        """End; the market stands still until an account starts again."""
        if self._door is not None and (listener is None or listener == self._door.listener):
            self._door.open = False
            self.floor.leave(self._door)
            self._door = None
            self._actor = None
            self._ended = True

    def _ask(self, request: Request) -> None:
        if self._ended and self._door is None:
            # A gateway that is being replaced may ask once more: nobody waits for its answer.
            return
        if self._actor is None or self._door is None:
            message = "the paper venue has not been started"
            raise RuntimeError(message)
        self._queue.put(Asked(self._door, request), self._actor)
