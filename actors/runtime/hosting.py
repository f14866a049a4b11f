"""Hosting: what a runtime puts in front of any pykka actor class, so that the class need not know how it runs.

A runtime subclasses the actor's class on the fly, with its `Hosted` mixin first. The actor keeps pykka's loop and
hooks; the mixin answers `Ping` in its place and counts what it handled. Everything it keeps on an actor is named
`_hosted_…`, so that it cannot meet an attribute of the actor's own.
"""

from typing import Any, ClassVar, Protocol, cast

import pykka

from actors.runtime.base import Clock, Ping, Pong, tell


class Countable(Protocol):
    """A mailbox that says how many messages wait in it."""

    def qsize(self) -> int:
        """How many messages wait."""


class Hosted(pykka.ThreadingActor):
    """The mixin. Runtimes extend it; `hosted` puts it in front of an actor's class."""

    _hosted_clock: ClassVar[Clock]
    _hosted_processed = 0

    def _handle_receive(self, message: Any) -> Any:
        # Taking messages here rather than in on_receive counts what came through the mailbox, and nothing that an actor
        # hands to its own on_receive again (a stash, for example).
        if isinstance(message, Ping):
            self._hosted_answer(message)
            return None
        self._hosted_processed += 1
        return super()._handle_receive(message)

    def _hosted_answer(self, ping: Ping) -> None:
        pong = Pong(
            urn=self.actor_urn,
            sent_at=ping.sent_at,
            mailbox_age_seconds=max(0.0, self._hosted_clock.monotonic() - ping.sent_at),
            mailbox_depth=cast(Countable, self.actor_inbox).qsize(),
            processed=self._hosted_count(),
        )
        tell(ping.reply_to, pong)

    def _hosted_count(self) -> int:
        return self._hosted_processed


def hosted(
    actor_class: type[pykka.ThreadingActor],
    host: type[Hosted],
    namespace: dict[str, Any],
    *below: type[pykka.ThreadingActor],
) -> type[pykka.ThreadingActor]:
    """A subclass of `actor_class` with the mixin `host` in front; name and module stay the actor's own, in logs too.

    Mixins `below` come between the actor's class and pykka's.
    """
    own = {
        "__module__": actor_class.__module__,
        "__qualname__": actor_class.__qualname__,
        "__doc__": actor_class.__doc__,
    }
    return type(actor_class.__name__, (host, actor_class, *below), own | namespace)
