"""Waiting for an actor on the event loop: a reply that takes no thread, and what the silence of an actor means."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from actors.directory import Directory
from actors.domain.model import Plan
from actors.runtime.base import Ref, tell
from service.event_hub import EventHub
from service.http_answers import ApiError, unavailable

MAX_WAITING: Final = 1_000


class LoopReply:
    """A Reply whose answer, set on an actor's thread, arrives on the loop that waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    def set(self, value: Any = None) -> None:
        """Answer, once; a repeat, or an answer after everybody has gone, changes nothing."""
        try:
            self._loop.call_soon_threadsafe(self._settle, value)
        except RuntimeError:
            # The loop has ended with the service; nobody is left to be told.
            return

    def get(self, *, timeout: float | None = None) -> Any:
        """Blocking would stop the loop that the answer arrives on."""
        raise RuntimeError("this reply is awaited with wait()")

    async def wait(self, timeout_seconds: float) -> Any:
        """The answer. Raises TimeoutError."""
        return await asyncio.wait_for(asyncio.shield(self._future), timeout_seconds)

    def _settle(self, value: Any) -> None:
        if not self._future.done():
            self._future.set_result(value)


@dataclass(slots=True, kw_only=True)
class Api:
    """What the endpoints work with."""

    directory: Directory
    supervisor: Ref
    persistence: Ref
    plans: Mapping[str, Plan]
    events: EventHub
    now: Callable[[], int]
    answer_seconds: float = 5.0
    waiting: int = field(default=0)

    async def ask(self, message: Callable[[LoopReply], object], *, unknown: str, seconds: float | None = None) -> Any:
        """Ask the supervisor. Raises ApiError: 503 when it was surely not asked, 504 (`unknown`) when it is silent."""
        seconds = self.answer_seconds if seconds is None else seconds
        if self.directory.draining:
            raise unavailable("not_ready", "the service is shutting down; ask again once it is back")
        silence = ApiError(504, "unknown", f"no answer within {seconds:.3g} s; {unknown}")
        return await self._ask(self.supervisor, message, silence, seconds)

    async def read(self, message: Callable[[LoopReply], object]) -> Any:
        """Ask the store's actor for something to read: nothing can be half done, so silence is plain unavailability."""
        silence = unavailable("storage", f"the store did not answer within {self.answer_seconds:g} s; ask again")
        return await self._ask(self.persistence, message, silence, self.answer_seconds)

    async def _ask(self, ref: Ref, message: Callable[[LoopReply], object], silence: ApiError, seconds: float) -> Any:
        if self.waiting >= MAX_WAITING:
            raise ApiError(
                429, "too_many_requests", "too many requests are waiting; slow down", headers={"Retry-After": "1"}
            )
        reply = LoopReply()
        self.waiting += 1
        try:
            if not tell(ref, message(reply)):
                raise unavailable("not_ready", "the service is starting or stopping; ask again")
            return await reply.wait(seconds)
        except TimeoutError:
            raise silence from None
        finally:
            self.waiting -= 1
