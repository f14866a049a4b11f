"""How requests reach a paper exchange: in a queue of their own, so that those that wait can be served together."""

from collections import deque
from dataclasses import dataclass

from actors.runtime.base import Ref, tell
from actors.survey import SurveyRequest
from actors.venues.base import (
    AccountRequest,
    CancelRequest,
    CandlesRequest,
    LookUpRequest,
    OrderRequest,
)

# So many are served within a moment: nothing waits for them.
FEW_REQUESTS = 16

Request = OrderRequest | CancelRequest | LookUpRequest | AccountRequest | CandlesRequest | SurveyRequest


@dataclass(slots=True)
class Door:
    """One account's side of the venue; `open` is taken back by the venue itself, so that nothing is told after stop."""

    account: str
    listener: Ref
    open: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """An account's request."""

    door: Door
    request: Request


@dataclass(frozen=True, slots=True)
class Serve:
    """Requests wait to be served."""


class Queue:
    """Requests that wait for the exchange, of all its accounts, so that it can serve them together.

    Put in on the gateways' threads, taken out on the exchange's.
    """

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        self._woken = False
        self._serving = 0

    @property
    def crowded(self) -> bool:
        """Whether so many requests wait, or are served, that what is made of the answers shall wait for them."""
        return self._serving + len(self._asked) > FEW_REQUESTS

    def put(self, asked: Asked, actor: Ref) -> None:
        """A further request; the exchange is woken unless it has been since it last looked."""
        self._asked.append(asked)
        if not self._woken:
            self._woken = True
            tell(actor, Serve())

    def take(self, most: int, actor: Ref) -> list[Asked]:
        """The next so many, oldest first. For what is left the exchange is woken again, after what else awaits it."""
        # In this order: a request that comes between the two lines is either taken now, or wakes the exchange.
        self._woken = False
        self._serving = min(most, len(self._asked))
        taken = [self._asked.popleft() for _ in range(self._serving)]
        if self._asked and not self._woken:
            self._woken = True
            tell(actor, Serve())
        return taken

    def served(self) -> None:
        """What was taken has been answered."""
        self._serving = 0
