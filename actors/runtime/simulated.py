"""What a simulated actor is made of: a mailbox that never blocks, a future that never waits inside a turn, the mixin.

pykka's loop takes its messages outside of its `try`, so a mailbox that raises a private BaseException ends a turn and
leaves the actor as it is. The simulator decides whose turn it is.
"""

import queue
import sys
from collections import deque
from types import TracebackType
from typing import Any, ClassVar, Protocol

import pykka

# The mailbox's port is private to pykka; tests/contract holds both runtimes to its documented behaviour.
from pykka._envelope import Envelope

from actors.runtime.hosting import Hosted

_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Scheduler(Protocol):
    """What the parts need of the simulator."""

    turn_is_void: bool

    def admit(self, actor: "Simulated") -> None:
        """Take in an actor that pykka has made and registered."""

    def ready(self, mailbox: "Mailbox") -> None:
        """This mailbox's actor may be next."""

    def record(self, actor: pykka.Actor, error: BaseException) -> None:
        """Remember what an actor raised, once."""

    def abort(self, error: BaseException) -> None:
        """Void what is left of this turn, and raise `error` out of the run after it."""

    def wait_for(self, future: "SimulatedFuture", timeout_seconds: float | None) -> None:
        """Run until the future is resolved; pykka.Timeout when that does not happen."""


class BlockedInSimulation(Exception):
    """An actor waited for something inside its turn. On threads it would block its mailbox, and might deadlock."""


class RunawaySimulation(Exception):
    """The run took more turns than its limit: actors keep each other, or a timer keeps itself, busy."""


class TurnOver(BaseException):
    """Ends a turn. Raised afresh each time: a shared one would gather tracebacks and pin every frame in them."""


class Mailbox:
    """The messages of one actor. Gives out one a turn, and raises where a thread would block."""

    def __init__(self, simulator: Scheduler) -> None:
        self._simulator = simulator
        self.envelopes: deque[Envelope[Any]] = deque()
        self.actor: Simulated | None = None
        self.group = ""
        self.started = False
        self.allowed = 0
        self.place: int | None = None  # where it stands among the ready, so that leaving them takes no search

    def put(self, envelope: Envelope[Any], /) -> None:
        """Take a message in."""
        self.envelopes.append(envelope)
        if self.actor is not None:
            self._simulator.ready(self)

    def get(self) -> Envelope[Any]:
        """The next message this turn may handle; TurnOver when there is none."""
        if self.allowed == 0 or not self.envelopes:
            raise TurnOver
        self.allowed -= 1
        return self.envelopes.popleft()

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self.envelopes

    def qsize(self) -> int:
        """How many messages wait."""
        return len(self.envelopes)


class SimulatedFuture(pykka.Future[Any]):
    """A future whose `get` runs the simulation from outside of it, and is refused inside."""

    _simulator: ClassVar[Scheduler]

    def __init__(self) -> None:
        super().__init__()
        self._outcome: tuple[Any, _ExcInfo | None] | None = None

    @property
    def resolved(self) -> bool:
        """Whether `get` would answer at once."""
        return self._outcome is not None

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer; `timeout` in virtual seconds. pykka.Timeout also when nothing is left that could answer."""
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if self._outcome is None:
            self._simulator.wait_for(self, timeout)
        assert self._outcome is not None  # noqa: S101 - wait_for has raised otherwise; this tells the type checker.
        value, exc_info = self._outcome
        if exc_info is None:
            return value
        kind, error, traceback = exc_info
        if error is None:
            error = kind() if kind is not None else RuntimeError("no exception was given")
        raise error.with_traceback(traceback)

    def set(self, value: Any | None = None) -> None:
        """Answer, once; queue.Full after that, as pykka's futures do."""
        self._settle((value, None))

    def set_exception(self, exc_info: _ExcInfo | None = None) -> None:
        """Answer with an exception, the one being handled unless given."""
        self._settle((None, exc_info or sys.exc_info()))

    def _settle(self, outcome: tuple[Any, _ExcInfo | None]) -> None:
        if self._simulator.turn_is_void:
            return
        if self._outcome is not None or self._get_hook is not None:
            raise queue.Full
        self._outcome = outcome


class Simulated(Hosted):
    """Runs pykka's loop a turn at a time."""

    _hosted_simulator: ClassVar[Scheduler]
    actor_inbox: Mailbox

    def _start_actor_loop(self) -> None:
        self._hosted_simulator.admit(self)

    def _handle_receive(self, message: Any) -> Any:
        try:
            return super()._handle_receive(message)
        except Exception as error:
            if self._hosted_simulator.turn_is_void:
                return None
            self._hosted_simulator.record(self, error)
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by the simulator, once the turn is over.
            # pykka would stop all actors of the process, and wait for each. Here it ends the run, and leaves everything
            # as it was at that very line: so a test places a crash inside a handler.
            self._hosted_simulator.abort(error)
            return None

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Failures of on_start, on_stop and on_failure come only this way.
        if exception_value is not None:
            self._hosted_simulator.record(self, exception_value)
        super()._handle_failure(exception_type, exception_value, traceback)
