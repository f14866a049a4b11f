"""The seam between actors and how they run.

Actors are plain pykka actors. A runtime spawns them (on a thread each, on a few that they share, or all on one seeded
thread), gives them time, and answers `Ping` in their place, so that every actor has a health that came through its own
mailbox.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pykka

Ref = pykka.ActorRef[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Asks an actor to answer through its mailbox. `sent_at` is the sender's monotonic time in seconds."""

    sent_at: float
    reply_to: Ref


class Pong(NamedTuple):
    """The answer: how long the ping waited behind older messages, and what the mailbox holds now.

    A tuple, because a round of a hundred thousand makes as many of them.
    """

    urn: str
    sent_at: float
    mailbox_age_seconds: float
    mailbox_depth: int
    processed: int


class Timer(Protocol):
    """A message that will be told later, unless it is cancelled."""

    def cancel(self) -> None:
        """Forget it; harmless when it was already told."""


class Clock(Protocol):
    """Time, as actors see it. No actor sleeps, none reads the clock directly."""

    def now(self) -> int:
        """Wall time in microseconds UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back and counts suspended time."""

    def tell_after(self, delay_seconds: float, ref: Ref, message: object) -> Timer:
        """Tell `message` to `ref` once, after the delay; a dead actor by then is no error."""


class Reply(Protocol):
    """Where the edge (HTTP, CLI) waits for the answer of an actor."""

    def set(self, value: Any = None) -> None:
        """Answer, once."""

    def get(self, *, timeout: float | None = None) -> Any:
        """Wait for the answer; pykka.Timeout when it does not come."""


class Runtime(Protocol):
    """How actors run."""

    @property
    def clock(self) -> Clock:
        """The time its actors live in."""

    def spawn(self, actor_class: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Ref:
        """Start an actor on this runtime."""

    def spawn_asleep(self, actor_class: type[pykka.ThreadingActor], make: Callable[[], tuple[Any, ...]]) -> Ref:
        """An actor that need not be there before its first message: `make` has what its class is then made with.

        May be made at once. `make` may be called on any thread, once, and must not depend on when it is called.
        """

    def reply(self) -> Reply:
        """A fresh place for one answer."""

    def stop(self, ref: Ref, timeout_seconds: float) -> bool:
        """Stop one actor after the messages before; false when it did not end in time."""

    def let_wait_while(self, pressing: Callable[[], object]) -> None:
        """While something is pressing, what is told at leisure may wait (`tell_at_leisure`), never for ever."""


def tell_at_leisure(ref: Ref, message: object) -> bool:
    """Tell what follows from something done, and may wait for what others are yet to do; for the rest as `tell`.

    Messages of one sender to one actor keep their order, and nothing waits for ever. A runtime that gives every actor a
    thread tells it at once.
    """
    try:
        getattr(ref, "tell_at_leisure", ref.tell)(message)
    except pykka.ActorDeadError:
        return False
    return True


def tell(ref: Ref, message: object) -> bool:
    """Tell a message; false when the actor is dead, which a sender must never die of."""
    try:
        ref.tell(message)
    except pykka.ActorDeadError:
        return False
    return True
