"""What may be read without a mailbox: immutable values, published once they are saved.

Nobody is ever shown a state that a crash could take back. Every entry is replaced whole, so readers on other threads
(HTTP, the terminal, the health log) need no lock.
"""

from dataclasses import dataclass, field

from actors.domain.model import Micros, Position, Quote


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


@dataclass(slots=True)
class Directory:
    """The published values. Written by their one owner each, read by anyone.

    `lags` counts, for each position, the changes that are not acknowledged yet.
    """

    positions: dict[str, Published] = field(default_factory=dict)
    accounts: dict[str, AccountStatus] = field(default_factory=dict)
    feeds: dict[tuple[str, str], FeedStatus] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    health: tuple[HealthRecord, ...] = ()
    health_at: Micros = 0
    store_reachable: bool = False
    draining: bool = False

    def quote(self, account: str, symbol: str) -> Quote | None:
        """The latest quote of a symbol, where there is one."""
        feed = self.feeds.get((account, symbol))
        return feed.quote if feed else None

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
        for feed in self.feeds.values():
            if not feed.fresh:
                reasons.append(f"account {feed.account}: no fresh price of {feed.symbol}")
        return tuple(reason.strip() for reason in reasons)
