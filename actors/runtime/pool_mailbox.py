"""What an actor on the pool is made of: its mailbox, its reference, and the mixins that put them in place.

A hundred thousand of each are kept, so each is as small as pykka's contract allows, and nothing that only a few ever
need (an event to wait on, a weak reference, room for messages) exists before it is asked for.

pykka's loop takes its messages outside of its `try`, so a mailbox that raises a private BaseException ends a turn and
leaves the actor as it is.
"""

import itertools
import threading
import uuid
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol, cast

import pykka

# The mailbox's port is private to pykka; tests/contract holds every runtime to its documented behaviour.
from pykka._envelope import Envelope

from actors.runtime.base import Clock, Ping, Pong, tell
from actors.runtime.hosting import Hosted

TURN_MESSAGES: Final = 64
"""How many messages an actor handles before others have their turn."""

# pykka's own messages are named tuples. What is neither goes straight to on_receive, as it would after a look at each.
_NOT_FOR_ON_RECEIVE = (Ping, tuple)

# What a turn finds: an actor that is still being made; one whose `on_start` comes first; one that runs; one that has
# ended, and asks that came in too late; one that is made for its first message. Plain numbers: each turn compares them.
NEW, ADMITTED, STARTED, ENDED, ASLEEP = range(5)

# Guards only the making of an event to wait on, which is rare.
_making_event = threading.Lock()


class TurnOver(BaseException):
    """Ends a turn. Raised afresh each time: a shared one would gather tracebacks and pin every frame in them."""


class Attention(Protocol):
    """What a mailbox needs of its pool's threads."""

    @property
    def calm(self) -> bool:
        """Whether somebody will certainly take what is ready."""

    def attend(self) -> None:
        """See to it that somebody does."""


class Scheduler(Protocol):
    """What an actor needs of its pool."""

    def admit(self, mailbox: "Mailbox", actor: pykka.Actor) -> None:
        """Let an actor run that pykka has made and registered."""


class Queue:
    """What the mailboxes of one pool share: whose turn is next, who is claimed, and who waits for whose end.

    Those `at_leisure` become ready when nobody else is, and nothing is `pressing`. One that gets another message is
    ready at once, and each look of the pool's watch makes some ready (pool_threads.py), so that none of them starves.
    """

    def __init__(self) -> None:
        self.ready: deque[Mailbox] = deque()
        # Its methods are one step for every thread, as those of a deque are, and it gives up whom it is asked for.
        self.at_leisure: OrderedDict[Mailbox, bool] = OrderedDict()
        self.pressing: list[Callable[[], object]] = []
        self.busy: dict[Mailbox, object] = {}
        self.endings: dict[Mailbox, list[threading.Lock]] = {}
        self.attention: Attention
        self.make_ready = self.ready.append
        # One step for every thread: whoever reads its own mark back has put it there.
        self.claim = self.busy.setdefault

    def make_some_ready(self, least: int) -> bool:
        """Make those at leisure ready, oldest first: all of them, or so many while something is pressing.

        Whether there were any.
        """
        most = len(self.at_leisure)
        if most and any(pressing() for pressing in self.pressing):
            most = min(most, least)
        for number in range(most):
            try:
                mailbox, _ = self.at_leisure.popitem(last=False)
            except KeyError:
                return number > 0
            self.make_ready(mailbox)
        return most > 0


class Mailbox:
    """The messages of one actor, and the flag that says it has stopped (pykka's `actor_stopped`, a threading.Event).

    A list takes a message in one step that no thread can interrupt, and an empty one holds no memory. Messages of the
    running turn stay in front until it is over, `taken` of them handled or being handled: removing them one at a time
    would move all others each time. Only the thread that runs the turn writes anything but the end of the list.
    """

    __slots__ = ("_event", "actor", "phase", "processed", "queue", "stopped", "taken", "waiting")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.actor: pykka.Actor | Asleep | None = None
        self.phase: int = NEW
        self.waiting: list[Any] = []  # Envelopes of asks, and messages that were told as they are.
        self.taken = 0
        self.processed = 0
        self.stopped = False
        self._event: threading.Event | None = None

    def put(self, envelope: Envelope[Any], /) -> None:
        """Take a message in, and see to it that somebody handles it. Holds no lock: any thread or signal may call."""
        self.waiting.append(envelope)
        queue, mark = self.queue, object()
        if queue.claim(self, mark) is mark:
            queue.make_ready(self)
            if not queue.attention.calm:
                queue.attention.attend()
        elif queue.at_leisure and queue.at_leisure.pop(self, False):
            queue.make_ready(self)

    def put_at_leisure(self, message: Any) -> None:
        """Take a message in that may wait for those of all other actors."""
        self.waiting.append(message)
        queue, mark = self.queue, object()
        if queue.claim(self, mark) is mark:
            queue.at_leisure[self] = True
            if not queue.attention.calm:
                queue.attention.attend()

    def get(self) -> Envelope[Any]:
        """The next message this turn may handle; TurnOver when there is none."""
        taken = self.taken
        if taken < TURN_MESSAGES and taken < len(self.waiting):
            self.taken = taken + 1
            item = self.waiting[taken]
            return item if type(item) is Envelope else Envelope(item)
        raise TurnOver

    def empty(self) -> bool:
        """Whether no message waits."""
        return len(self.waiting) <= self.taken

    def qsize(self) -> int:
        """How many messages wait."""
        return max(0, len(self.waiting) - self.taken)

    def forget_taken(self) -> None:
        """Let go of the messages that were handled."""
        taken = self.taken
        self.processed += taken
        self.taken = 0
        # One step: what other threads append meanwhile stays.
        del self.waiting[:taken]

    # -- the flag ------------------------------------------------------------------------------------------------------

    def is_set(self) -> bool:
        """Whether the actor has stopped."""
        return self.stopped

    def set(self) -> None:
        """Say that it has stopped."""
        self.stopped = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        """Take that back."""
        self.stopped = False
        self._event = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has stopped; false when that takes longer than `timeout` seconds."""
        with _making_event:
            event = self._event
            if event is None:
                event = self._event = threading.Event()
        if self.stopped:
            event.set()
        return event.wait(timeout)


class PoolRef(pykka.ActorRef[Any]):
    """A reference that shares the mailbox's flag, and tells in fewer steps."""

    actor_inbox: Mailbox

    # pykka's constructor also makes a weak reference, for proxies; one is made here when somebody asks for it.
    def __init__(self, actor_class: type[pykka.Actor], urn: str, mailbox: Mailbox) -> None:
        self.actor_class = actor_class
        self.actor_urn = urn
        self.actor_inbox = mailbox

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """Whether the actor has stopped, as an Event."""
        return self.actor_inbox

    @property
    def _actor_weakref(self) -> Any:  # type: ignore[override]
        actor = self.actor_inbox.actor
        return weakref.ref(actor) if isinstance(actor, pykka.Actor) else _nobody

    def tell(self, message: Any) -> None:
        """As pykka's. Raises pykka.ActorDeadError."""
        mailbox = self.actor_inbox
        if mailbox.stopped:
            raise pykka.ActorDeadError(f"{self} not found")
        # From here it is `put` again, without the call: half of what a message costs its sender would be calls. The
        # envelope is made when the message is handled, for ten thousand that wait would rouse the garbage collector.
        mailbox.waiting.append(message if type(message) is not Envelope else Envelope(message))
        queue, mark = mailbox.queue, object()
        if queue.claim(mailbox, mark) is mark:
            queue.make_ready(mailbox)
            if not queue.attention.calm:
                queue.attention.attend()
        elif queue.at_leisure and queue.at_leisure.pop(mailbox, False):
            queue.make_ready(mailbox)

    def tell_at_leisure(self, message: Any) -> None:
        """As `tell`, where others go first. Raises pykka.ActorDeadError."""
        mailbox = self.actor_inbox
        if mailbox.stopped:
            raise pykka.ActorDeadError(f"{self} not found")
        mailbox.put_at_leisure(message if type(message) is not Envelope else Envelope(message))


def _nobody() -> None:
    return None


class Asleep:
    """What lies in a mailbox until its first message: how its actor is made then, with the name and reference it has.

    A hundred thousand positions come back as these, and most of them for a long time.
    """

    __slots__ = ("_cls", "_make", "_ref")

    def __init__(self, cls: type[pykka.ThreadingActor], make: Callable[[], tuple[Any, ...]], ref: PoolRef) -> None:
        self._cls = cls
        self._make = make
        self._ref = ref

    def answer_pings(self, mailbox: Mailbox, clock: Clock) -> bool:
        """Answer pings without making it, as it would with nothing else to do; false where anything else waits."""
        waiting = mailbox.waiting[:]
        if not all(type(message) is Ping for message in waiting):
            return False
        for index, ping in enumerate(waiting, 1):
            age = max(0.0, clock.monotonic() - ping.sent_at)
            tell(ping.reply_to, Pong(self._ref.actor_urn, ping.sent_at, age, len(waiting) - index, 0))
        del mailbox.waiting[: len(waiting)]
        return True

    def wake(self) -> pykka.Actor:
        """Make it, and register it. What its `__init__` raises is raised here."""
        cls: Any = self._cls
        actor = cls.__new__(cls)
        actor._pool_given = self._ref
        # What calling the class does, with the reference given.
        cls.__init__(actor, *self._make())
        if actor.actor_ref is not self._ref:
            raise TypeError(f"{cls.__name__} does not call super().__init__, and cannot be spawned asleep")
        pykka.ActorRegistry.register(self._ref)
        made: pykka.Actor = actor
        return made


class Groundwork(pykka.ThreadingActor):
    """The mixin below the actor's own class: its constructor is what `super().__init__()` reaches in place of pykka's.

    An actor that calls `pykka.ThreadingActor.__init__` by name goes past it, and works all the same, only larger.
    """

    _pool_urns: ClassVar[Any]
    # The reference that it had while it was asleep.
    _pool_given: PoolRef | None = None

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        given = self._pool_given
        if given is not None:
            del self._pool_given
            self.actor_urn, self.actor_inbox = given.actor_urn, given.actor_inbox
            self.actor_stopped = cast(threading.Event, given.actor_inbox)
            given.actor_inbox.actor = self
            self._actor_ref = given
            return
        self.actor_urn = self._pool_urns()
        self.actor_inbox = mailbox = cast(Mailbox, self._create_actor_inbox())
        self.actor_stopped = cast(threading.Event, mailbox)
        # Its constructor may already ask for a proxy of itself.
        mailbox.actor = self
        self._actor_ref = PoolRef(type(self), self.actor_urn, mailbox)


class Pooled(Hosted):
    """The mixin above the actor's own class: leaves pykka's loop to the pool, a turn at a time."""

    _pool: ClassVar[Scheduler]
    actor_inbox: Mailbox

    def _start_actor_loop(self) -> None:
        self._pool.admit(self.actor_inbox, self)

    def _handle_receive(self, message: Any) -> Any:
        # The mailbox counts for itself, which saves an attribute of each actor and a step of each message.
        if not isinstance(message, _NOT_FOR_ON_RECEIVE):
            return self.on_receive(message)
        if isinstance(message, Ping):
            self.actor_inbox.processed -= 1
        return super()._handle_receive(message)

    def _hosted_count(self) -> int:
        return self.actor_inbox.processed + self.actor_inbox.taken


class Urns:
    """Unique names in the shape of pykka's: a random number for all of a pool, and a count. Drawing bits costs more."""

    def __init__(self) -> None:
        # The last 48 of a UUID's bits are the count.
        self._prefix = uuid.uuid4().urn[:-12]
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        """One more."""
        return f"{self._prefix}{next(self._numbers):012x}"
