"""What may be read without a mailbox: immutable values, published once they are saved.

Nobody is ever shown a state that a crash could take back. Every entry is replaced whole, so readers on other threads
(HTTP, the terminal, the health log) need no lock. A position is shown with the extremes that the durable tape of its
symbol has beyond its snapshot.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

from actors.desk import Desk
from actors.domain.model import Micros, Phase, Position, Quote

CLOSED_SHOWN = 1_000

FEW_PRESS = 16
"""So many orders leave within a moment: nothing waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One position as acknowledged. `quarantined` says why it stands still; `position` is None when unreadable."""

    position_id: str
    account: str
    position: Position | None
    version: int
    epoch: int
    quarantined: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRecord:
    """One actor's health: a ping that came back through its mailbox, or did not (`answered` false)."""

    actor: str
    kind: str
    answered: bool
    mailbox_depth: int = 0
    mailbox_age_seconds: float = 0.0
    processed: int = 0
    restarts: int = 0
    version: int | None = None
    lag: int | None = None
    epoch: int | None = None
    protected: bool | None = None
    pending: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """One account as its gateway and shard see it. `reconciled` once nothing recorded is unsettled since the boot."""

    account: str
    venue: str
    shard: str
    live_money: bool
    epoch: int = 0
    lease_held: bool = False
    reconciled: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """One symbol's prices: the latest quote, whether they are fresh, and (lockstep) whether the latest has settled."""

    account: str
    symbol: str
    quote: Quote | None
    fresh: bool
    settled: bool = True
    updated_at: Micros = 0


class PublishedPositions(MutableMapping[str, Published]):
    """Published positions by id: written as they are acknowledged, read as the durable tapes bring them up to now.

    Of the closed ones only the latest are shown: a process that runs for months must not grow with all it has closed.
    """

    def __init__(self, present: Callable[[Published], Published]) -> None:
        self._present = present
        self._all: dict[str, Published] = {}
        self._closed: dict[str, None] = {}

    def __getitem__(self, name: str) -> Published:
        """One position, up to now."""
        return self._present(self._all[name])

    def __setitem__(self, name: str, published: Published) -> None:
        """Publish a position."""
        self._all[name] = published
        self._closed.pop(name, None)
        if published.position is not None and published.position.phase is Phase.CLOSED:
            self._closed[name] = None
            if len(self._closed) > CLOSED_SHOWN:
                del self[next(iter(self._closed))]

    def __delitem__(self, name: str) -> None:
        """Show it no more."""
        del self._all[name]
        self._closed.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        """The ids of one moment."""
        return iter(list(self._all))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def everything(self) -> list[Published]:
        """Every position of one moment, up to now."""
        return [self._present(published) for published in list(self._all.values())]

    def closed(self) -> list[Published]:
        """The closed ones that are still shown."""
        found = (self._all.get(name) for name in list(self._closed))
        return [published for published in found if published is not None]

    def acknowledged(self, name: str) -> Published | None:
        """One position as its last acknowledgement left it."""
        return self._all.get(name)


@dataclass(slots=True)
class Directory:
    """The published values. Written by their one owner each, read by anyone.

    `lags` counts the changes of a position that are not acknowledged yet, where there are any; `pressing` names those
    that have decided an order which has not left yet, protective ones apart. `desks` and `feeds` are by the name of a
    feed, that of the account whose prices they are; `feed_of` names it for those that share another's.
    """

    positions: PublishedPositions = field(init=False)
    accounts: dict[str, AccountStatus] = field(default_factory=dict)
    feeds: dict[tuple[str, str], FeedStatus] = field(default_factory=dict)
    desks: dict[tuple[str, str], Desk] = field(default_factory=dict)
    feed_of: dict[str, str] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    pressing: set[str] = field(default_factory=set)
    health: Sequence[HealthRecord] = ()
    health_at: Micros = 0
    store_reachable: bool = False
    draining: bool = False

    def __post_init__(self) -> None:
        """Nothing is published yet."""
        self.positions = PublishedPositions(self._up_to_now)

    def lagging(self, name: str, lag: int) -> None:
        """So many changes of a position are not acknowledged; without any, nothing of it waits to be sent."""
        if lag:
            self.lags[name] = lag
        else:
            self.lags.pop(name, None)
            self.pressing.discard(name)

    @property
    def pressed(self) -> bool:
        """Whether so many orders are on their way to the venues that what follows an execution shall wait for them."""
        return len(self.pressing) > FEW_PRESS

    def quote(self, account: str, symbol: str) -> Quote | None:
        """The latest quote of a symbol, where there is one."""
        feed = self.feeds.get((self.feed_of.get(account, account), symbol))
        return feed.quote if feed else None

    def _up_to_now(self, published: Published) -> Published:
        position, status = published.position, self.accounts.get(published.account)
        if position is None or status is None:
            return published
        desk = self.desks.get((self.feed_of.get(published.account, published.account), position.symbol))
        shown = position if desk is None else desk.as_saved(position, status.shard)
        return published if shown is position else replace(published, position=shown)

    def reasons_not_ready(self) -> tuple[str, ...]:
        """Why the service is not ready, in words; empty when it is."""
        reasons = []
        if self.draining:
            reasons.append("the service is draining")
        if not self.store_reachable:
            reasons.append("Redis is not reachable")
        if not self.accounts:
            reasons.append("no account has started yet")
        for status in self.accounts.values():
            if not status.lease_held:
                reasons.append(
                    f"account {status.account}: the lease of shard {status.shard} is not held {status.detail}"
                )
            elif not status.reconciled:
                reasons.append(f"account {status.account}: not reconciled with the venue yet {status.detail}")
        for feed in list(self.feeds.values()):
            if not feed.fresh:
                reasons.append(f"account {feed.account}: no fresh price of {feed.symbol}")
        return tuple(reason.strip() for reason in reasons)
