"""The exchange of a campaign: the paper exchange in a life of its own, which no crash of a keeper touches.

Keepers come and go; each has a door of its own, as each process has its own connections. In lockstep the market waits
for whoever is there, as the replay in the service does; otherwise prices go on while nobody looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from actors.domain.events import OrderState
from actors.domain.model import OrderKind
from actors.runtime.base import Ref, tell
from actors.runtime.simulator import Simulator
from actors.venues.base import (
    AccountRequest,
    CancelRequest,
    CandlesRequest,
    LookUpRequest,
    OrderRejected,
    OrderRequest,
    VenueOrder,
)
from actors.venues.paper import PaperFloor, PaperVenue
from actors.venues.paper_actor import Attach, Detach, PaperActor
from actors.venues.paper_audience import Audiences
from actors.venues.paper_faults import Faults
from actors.venues.paper_ledger import OrderRead
from actors.venues.paper_market import Tick
from actors.venues.paper_queue import Door, Queue
from actors.venues.paper_settings import PaperSettings
from tests.simulation.house import WatchedExchange

GROUP = "exchange"
Point = Callable[[str], None]


class HallExchange(WatchedExchange):
    """The exchange's ledger, which says when anything was executed, accepted or refused."""

    def __init__(self, settings: PaperSettings) -> None:
        super().__init__(settings)
        self.changed = False
        self.refused: list[tuple[OrderRequest, str]] = []
        self.on_accepted: Callable[[OrderRequest], None] = lambda _: None

    def submit(self, request: OrderRequest, now: int) -> OrderRead:
        """Accept an order, and remember it, or that it was refused."""
        self.changed = True
        try:
            read = super().submit(request, now)
        except OrderRejected as error:
            self.refused.append((request, error.code))
            raise
        self.on_accepted(request)
        return read

    def cancel(self, request: CancelRequest, now: int) -> OrderRead:
        """Cancel an order."""
        self.changed = True
        return super().cancel(request, now)

    def steps(self, ticks: Any) -> tuple[int, tuple[tuple[str, VenueOrder], ...]]:
        """Play prices."""
        played, executed = super().steps(ticks)
        self.changed = self.changed or bool(executed)
        return played, executed

    def fill_rests(self, now: int) -> tuple[tuple[str, VenueOrder], ...]:
        """Fill what partial fills left."""
        self.changed = True
        return super().fill_rests(now)

    def trade_by_hand(self, *args: Any, **more: Any) -> Any:
        """Somebody else trades at the account."""
        self.changed = True
        return super().trade_by_hand(*args, **more)


class _Onlookers(Audiences):
    """A market that waits for nobody."""

    def are_ready(self, accounts: set[str]) -> bool:
        """Prices flow."""
        return True


class HallActor(PaperActor):
    """The exchange at work. Every keeper that is connected hears of what was executed."""

    def __init__(self, *args: Any, waits: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        if not waits:
            self._audiences = _Onlookers(lockstep=False)
        self._desk._door_of = self._any_door

    def _any_door(self, account: str) -> Door | None:
        doors = self._audiences.doors()
        return doors[-1] if doors else None

    def _report(self, executed: Any) -> None:
        for _, order in executed:
            for door in self._audiences.doors():
                self._desk.report(door, order)


class Hall(PaperFloor):
    """Where every keeper enters. The exchange's actor lives as long as the simulation."""

    def __init__(
        self, *, settings: PaperSettings, simulator: Simulator, exchange: HallExchange, faults: Faults, waits: bool
    ) -> None:
        """`waits`: the market stands still while no keeper is ready."""
        super().__init__(settings=settings, runtime=simulator, exchange=exchange, faults=faults)
        self.feed = "paper:hall"
        self._simulator = simulator
        simulator.group = GROUP
        self._actor = simulator.spawn(
            HallActor,
            exchange,
            simulator.clock,
            owns_exchange=False,
            accounts=self.accounts,
            queue=self._queue,
            faults=faults,
            waits=waits,
        )
        simulator.group = ""

    @property
    def actor(self) -> Ref:
        """The exchange's actor."""
        assert self._actor is not None
        return self._actor

    def enter(self, door: Door) -> tuple[Ref, Queue]:
        """A keeper connects."""
        self.accounts.add(door.account)
        tell(self.actor, Attach(door))
        return self.actor, self._queue

    def leave(self, door: Door) -> None:
        """A keeper's connection ends; the exchange goes on."""
        self.accounts.discard(door.account)
        tell(self.actor, Detach(door, last=False))


class KeeperDoor(PaperVenue):
    """One keeper's door. Each request has two boundaries: before it leaves, and after it left."""

    def __init__(
        self, hall: Hall, name: str, simulator: Simulator, *, point: Point, sends: Callable[[Any], None]
    ) -> None:
        """`point` is called at each boundary; `sends` as an order or a cancel leaves."""
        super().__init__(account=name, settings=hall.settings, runtime=simulator, floor=hall)
        hall.accounts.discard(name)
        self._point = point
        self._sends = sends
        self.hall = hall

    @property
    def door(self) -> Door | None:
        """The open connection."""
        return self._door

    def hang_up(self) -> None:
        """The keeper is gone: its connection ends."""
        if self._door is not None:
            self._door.open = False
            self.hall.leave(self._door)

    def submit(self, request: OrderRequest) -> None:
        """Send an order."""
        with self._boundaries("submit"):
            self._sends(request)
            super().submit(request)

    def cancel(self, request: CancelRequest) -> None:
        """Send a cancel."""
        with self._boundaries("cancel"):
            self._sends(request)
            super().cancel(request)

    def look_up(self, request: LookUpRequest) -> None:
        """Ask for an order."""
        with self._boundaries("look_up"):
            super().look_up(request)

    def read_account(self, request: AccountRequest) -> None:
        """Ask for the slot."""
        with self._boundaries("read_account"):
            super().read_account(request)

    def read_candles(self, request: CandlesRequest) -> None:
        """Ask for candles."""
        with self._boundaries("read_candles"):
            super().read_candles(request)

    @contextmanager
    def _boundaries(self, what: str) -> Iterator[None]:
        self._point(f"before {what}")
        yield
        self._point(f"after {what}")


def is_open(order: VenueOrder) -> bool:
    """Whether an order still stands at the exchange."""
    return order.state is OrderState.OPEN


def is_stop(order: VenueOrder) -> bool:
    """Whether it is a protective stop."""
    return order.kind is OrderKind.STOP_MARKET


__all__ = ["GROUP", "Hall", "HallActor", "HallExchange", "KeeperDoor", "Tick", "is_open", "is_stop"]
