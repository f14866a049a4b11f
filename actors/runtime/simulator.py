"""The simulator: production actors in pykka's own loop, on one thread, in an order drawn from a seed, in virtual time.

The same seed gives the same order: nothing depends on urns, hashes or the machine.

    run(), step(), reply().get()
      └─ a turn: any actor with a message may be next, and handles one; a fresh one runs `on_start`
           └─ when no actor has a message, the clock jumps to the next timer

Actors belong to groups, as processes do: whoever an actor spawns is of its group. A group can vanish alone, or stand
still while the others go on, even in the middle of a turn.
"""

import random
from collections.abc import Callable
from typing import Any

import pykka

from actors.runtime.base import Ref
from actors.runtime.hosting import hosted
from actors.runtime.simulated import (
    BlockedInSimulation,
    Mailbox,
    RunawaySimulation,
    Simulated,
    SimulatedFuture,
    TurnOver,
)
from actors.runtime.timers import micros_of
from actors.runtime.virtual_clock import VirtualClock

__all__ = ["START", "BlockedInSimulation", "RunawaySimulation", "SimulatedFuture", "Simulator"]

START = 1_750_000_000_000_000
"""Where virtual wall time starts unless told otherwise: 2025-06-15, in microseconds UTC."""

BeforeTurn = Callable[[pykka.Actor, object], None]
"""Called with the actor and its message before each turn; the message is None before `on_start`."""


class Simulator:
    """Runs actors one message at a time, in an order drawn from `seed`.

    Time passes only between turns, when nobody has a message; with `turn_micros`, each turn also takes up to so many
    microseconds, so that timers come between messages. `failures` holds what actors raised, as (class name, exception):
    pykka itself only logs it. What is spawned outside of a turn is of the group that `group` names then. Not
    thread-safe.
    """

    def __init__(
        self, seed: int, start: int = START, *, before_turn: BeforeTurn | None = None, turn_micros: int = 0
    ) -> None:
        self.before_turn = before_turn
        self.failures: list[tuple[str, BaseException]] = []
        self.turn_is_void = False
        self.group = ""
        self._still: set[object] = set()
        self._random = random.Random(seed)
        self._turn_micros = turn_micros
        self._clock = VirtualClock(start)
        self._actors: dict[str, Simulated] = {}
        self._ready: list[Mailbox] = []
        self._running: Simulated | None = None
        self._abort: BaseException | None = None
        self._future_class: type[SimulatedFuture] = type("SimulatedFuture", (SimulatedFuture,), {"_simulator": self})
        self._classes: dict[type[pykka.ThreadingActor], type[pykka.ThreadingActor]] = {}

    # -- the runtime ---------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> VirtualClock:
        """Virtual time."""
        return self._clock

    def spawn(self, actor_class: type[pykka.ThreadingActor], *args: Any, **kwargs: Any) -> Ref:
        """Start an actor; what its `__init__` raises is raised here. `on_start` takes a turn of its own, its first."""
        cls = self._classes.get(actor_class)
        if cls is None:
            namespace = {
                "_hosted_clock": self._clock,
                "_hosted_simulator": self,
                "_create_actor_inbox": staticmethod(lambda: Mailbox(self)),
                "_create_future": staticmethod(self._future_class),
            }
            cls = self._classes[actor_class] = hosted(actor_class, Simulated, namespace)
        return cls.start(*args, **kwargs)

    def spawn_asleep(self, actor_class: type[pykka.ThreadingActor], make: Callable[[], tuple[Any, ...]]) -> Ref:
        """Start an actor. Nobody can tell by its messages whether it was there before the first."""
        return self.spawn(actor_class, *make())

    def reply(self) -> SimulatedFuture:
        """A fresh place for one answer."""
        return self._future_class()

    def let_wait_while(self, pressing: Callable[[], object]) -> None:
        """The seed says whose turn it is: nothing waits."""

    def stop(self, ref: Ref, timeout_seconds: float) -> bool:
        """Stop an actor after the messages before; false when it did not end in (virtual) time. 0 only asks.

        Raises BlockedInSimulation inside a turn, unless it only asks.
        """
        ref.stop(block=False)
        if timeout_seconds > 0:
            self._refuse_to_block()
            self.run(lambda: ref.actor_urn not in self._actors, for_seconds=timeout_seconds)
        return ref.actor_urn not in self._actors

    # -- the test's side -----------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Take one turn, after a jump of the clock where need be; false when nothing is left to do."""
        return self._step(None)

    def run(
        self, until: Callable[[], bool] | None = None, limit: int = 1_000_000, for_seconds: float | None = None
    ) -> bool:
        """Take turns until `until` holds, nothing is left to do, or `for_seconds` of virtual time have passed.

        True when `until` holds at the end, or none was given. The clock stands at the end of `for_seconds` unless
        `until` came first. Raises RunawaySimulation after `limit` turns, BlockedInSimulation, and what an actor raised
        that is no Exception.
        """
        deadline = None if for_seconds is None else self._clock.elapsed + micros_of(for_seconds)
        for _ in range(limit):
            if until is not None and until():
                return True
            if not self._step(deadline):
                if deadline is not None:
                    self._clock.move_to(deadline)
                return until is None or until()
        raise RunawaySimulation(f"not done after {limit} turns")

    def crash(self, group: str | None = None) -> None:
        """Let every actor (of a group) vanish, with mailboxes and timers; no hook runs. New ones go on in virtual time.

        Inside a turn of one of them it also ends that turn at this line. Futures still waiting are never answered.
        """
        self._vanish(group)
        if self._running is not None and self._running.actor_inbox.actor is None:
            self.turn_is_void = True
            raise TurnOver

    @property
    def running(self) -> pykka.Actor | None:
        """Whose turn it is now, None between turns."""
        return self._running

    def group_of(self, actor: pykka.Actor) -> str:
        """The group of an actor of this simulator."""
        return actor.actor_inbox.group if isinstance(actor, Simulated) else ""

    def stand_still(self, seconds: float, who: "str | pykka.Actor") -> None:
        """A group, or one actor, takes no turns for so long, while the others go on.

        Inside one of its turns, that turn stands still at this line; it ends there if its actor vanishes meanwhile.
        Time passes for everybody: what was told to it meanwhile is in its mailbox afterwards.
        """
        running, self._running = self._running, None
        was_still = who in self._still
        self._still.add(who)
        try:
            self.run(for_seconds=seconds)
        except BaseException as error:
            if running is None:
                raise
            # An actor might swallow it; the run must fail all the same.
            self._running = running
            self.abort(error)
            raise TurnOver from error
        finally:
            self._running = running
            if not was_still:
                self._still.discard(who)
        if running is not None and running.actor_inbox.actor is None:
            self.turn_is_void = True
            raise TurnOver

    # -- the actors' side ----------------------------------------------------------------------------------------------

    def admit(self, actor: Simulated) -> None:
        """Take in an actor that pykka has made and registered."""
        self._actors[actor.actor_urn] = actor
        actor.actor_inbox.actor = actor
        actor.actor_inbox.group = self.group if self._running is None else self._running.actor_inbox.group
        self.ready(actor.actor_inbox)

    def ready(self, mailbox: Mailbox) -> None:
        """This mailbox's actor may be next."""
        if mailbox.place is None:
            mailbox.place = len(self._ready)
            self._ready.append(mailbox)

    def record(self, actor: pykka.Actor, error: BaseException) -> None:
        """Remember what an actor raised, once."""
        if not (self.failures and self.failures[-1][1] is error):
            self.failures.append((type(actor).__name__, error))

    def abort(self, error: BaseException) -> None:
        """Void what is left of this turn, and raise `error` out of the run after it; a crash has no error."""
        self.turn_is_void = True
        if not isinstance(error, TurnOver):
            self._abort = error

    def wait_for(self, future: SimulatedFuture, timeout_seconds: float | None) -> None:
        """Run until the future is resolved; pykka.Timeout when that does not happen."""
        self._refuse_to_block()
        self.run(lambda: future.resolved, for_seconds=timeout_seconds)
        if not future.resolved:
            raise pykka.Timeout("nothing is left to do" if timeout_seconds is None else f"{timeout_seconds} seconds")

    # -- turns ---------------------------------------------------------------------------------------------------------

    def _step(self, deadline: int | None) -> bool:
        self._refuse_to_block()
        self._clock.tell_due()
        while not (ready := self._may_be_next()):
            due = self._clock.timers.next_due()
            if due is None or (deadline is not None and due > deadline):
                return False
            self._clock.move_to(due)
            self._clock.tell_due()
        mailbox = ready[self._random.randrange(len(ready))]
        actor = mailbox.actor
        if actor is not None and self.before_turn is not None:
            self.before_turn(actor, mailbox.envelopes[0].message if mailbox.started else None)
        # The hook may have crashed everything.
        if actor is not None and mailbox.actor is actor:
            self._take_turn(actor, mailbox)
        return True

    def _may_be_next(self) -> list[Mailbox]:
        if not self._still:
            return self._ready
        still = self._still
        return [mailbox for mailbox in self._ready if mailbox.group not in still and mailbox.actor not in still]

    def _take_turn(self, actor: Simulated, mailbox: Mailbox) -> None:
        self._running = actor
        try:
            if mailbox.started:
                mailbox.allowed = 1
                actor._actor_loop_running()
            else:
                mailbox.started = True
                actor._actor_loop_setup()
        except TurnOver:
            pass
        finally:
            self._running = None
            self._close_turn(actor, mailbox)
        if self._abort is not None:
            error, self._abort = self._abort, None
            raise error
        if self._turn_micros:
            self._clock.elapsed += self._random.randint(0, self._turn_micros)

    def _close_turn(self, actor: Simulated, mailbox: Mailbox) -> None:
        if self.turn_is_void:
            self.turn_is_void = False
            if mailbox.actor is None:
                # Clean-up code that ran while the crash unwound the handler may have spawned or armed something.
                self._vanish(mailbox.group)
        if mailbox.actor is None:
            return
        if actor.actor_stopped.is_set():
            mailbox.allowed = len(mailbox.envelopes)
            actor._actor_loop_teardown()
            self._forget(actor)
        elif mailbox.empty():
            self._unready(mailbox)

    def _refuse_to_block(self) -> None:
        if self._running is None:
            return
        error = BlockedInSimulation(f"{type(self._running).__name__} waits inside its turn")
        if self._abort is None:
            # An actor might swallow the exception; the run must fail all the same.
            self._abort = error
        raise error

    def _unready(self, mailbox: Mailbox) -> None:
        place, mailbox.place = mailbox.place, None
        if place is None:
            return
        last = self._ready.pop()
        if last is not mailbox:
            self._ready[place] = last
            last.place = place

    def _forget(self, actor: Simulated) -> None:
        mailbox = actor.actor_inbox
        mailbox.actor = None
        mailbox.envelopes.clear()
        self._unready(mailbox)
        del self._actors[actor.actor_urn]

    def _vanish(self, group: str | None) -> None:
        for actor in list(self._actors.values()):
            if group is None or actor.actor_inbox.group == group:
                pykka.ActorRegistry.unregister(actor.actor_ref)
                actor.actor_stopped.set()
                self._forget(actor)
        # Timers of actors that are gone are passed over when they are due.
        if not self._actors:
            self._clock.timers.clear()
