"""Whom a paper exchange tells its prices, and whether they may flow.

All of it costs the same however many accounts there are: ten thousand of them may share one exchange.
"""

from collections import deque
from dataclasses import dataclass, field

from actors.runtime.base import tell
from actors.venues.base import PricesUpdated
from actors.venues.paper_queue import Door


@dataclass(slots=True)
class Audience:
    """What one account has been told. In lockstep prices wait in `queue` while one (`awaited`) has not settled."""

    door: Door
    wants_prices: bool = False
    sequence: int = 0
    queue: deque[PricesUpdated] = field(default_factory=deque)
    awaited: tuple[str, int] | None = None


class Audiences:
    """Every account that has started."""

    def __init__(self, *, lockstep: bool) -> None:
        """`lockstep`: a price follows once every account that is told prices has settled the one before."""
        self._lockstep = lockstep
        self._all: dict[str, Audience] = {}
        self._ready: set[str] = set()
        self._listening: dict[str, Audience] = {}
        self._unsettled: set[str] = set()
        # Those that have just become ready, and are told the present prices first.
        self.newcomers: dict[str, Audience] = {}

    def __len__(self) -> int:
        return len(self._all)

    def doors(self) -> list[Door]:
        """The door of every account."""
        return [audience.door for audience in self._all.values()]

    def door_of(self, account: str) -> Door | None:
        """The door of an account, as far as it has one now."""
        audience = self._all.get(account)
        return None if audience is None else audience.door

    def attach(self, door: Door) -> None:
        """An account has started; a door it had before is forgotten."""
        self._forget(door.account)
        self._all[door.account] = Audience(door)

    def detach(self, door: Door) -> None:
        """An account has stopped; a door that has been replaced since ends nothing."""
        if self._find(door) is not None:
            self._forget(door.account)

    def resume(self, door: Door, *, prices: bool) -> None:
        """An account is ready, and wants to be told prices or not."""
        audience, account = self._find(door), door.account
        if audience is None:
            return
        audience.wants_prices = prices
        if account not in self._ready or prices is not (account in self._listening):
            self.newcomers[account] = audience

    def welcome(self, audience: Audience, present: list[PricesUpdated]) -> bool:
        """A newcomer is told the present prices, if it wants any; whether the market has waited for it."""
        account = audience.door.account
        waited = account not in self._ready
        self._ready.add(account)
        self._listening.pop(account, None)
        self.newcomers.pop(account, None)
        audience.queue.clear()
        if audience.wants_prices:
            self._listening[account] = audience
            audience.queue.extend(present)
            self._tell_next(audience)
        else:
            audience.awaited = None
            self._unsettled.discard(account)
        return waited

    def are_ready(self, accounts: set[str]) -> bool:
        """Prices flow while every account is ready, and in lockstep has settled all it was told.

        Lockstep also waits until all of `accounts` have started; nobody else ever does.
        """
        if not self._all or len(self._ready) < len(self._all):
            return False
        return not self._lockstep or (not self._unsettled and len(accounts) == len(self._all))

    def tell(self, prices: PricesUpdated) -> None:
        """Tell prices to whoever wants them."""
        for audience in self._listening.values():
            audience.queue.append(prices)
            self._tell_next(audience)

    def settle(self, door: Door, symbol: str, sequence: int) -> bool:
        """An account's price has settled; false for a repeat or anything that is not waited for."""
        audience = self._find(door)
        if audience is None or audience.awaited != (symbol, sequence):
            return False
        audience.awaited = None
        self._tell_next(audience)
        return True

    def _find(self, door: Door) -> Audience | None:
        audience = self._all.get(door.account)
        return audience if audience is not None and audience.door is door else None

    def _forget(self, account: str) -> None:
        self._all.pop(account, None)
        self._ready.discard(account)
        self._unsettled.discard(account)
        self._listening.pop(account, None)
        self.newcomers.pop(account, None)

    def _tell_next(self, audience: Audience) -> None:
        """Tell the waiting prices: all of them, or in lockstep one, until it has settled."""
        while audience.queue and audience.awaited is None:
            prices = audience.queue.popleft()
            if self._lockstep:
                audience.sequence += 1
                audience.awaited = (prices.symbol, audience.sequence)
                prices = PricesUpdated(symbol=prices.symbol, quote=prices.quote, sequence=audience.sequence)
            if audience.door.open:
                tell(audience.door.listener, prices)
        if audience.awaited is None:
            self._unsettled.discard(audience.door.account)
        else:
            self._unsettled.add(audience.door.account)
