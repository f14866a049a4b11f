"""Feeds: where prices come from. Accounts that see the same prices share one feed, and one market for each symbol.

Part of the supervisor, used on its thread alone. One account of a feed, its leader, is told the prices by the venue;
its gateway hands them to the markets. Each shard of a feed's accounts keeps a copy of the symbols' tapes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.desk import Desk
from actors.directory import Directory
from actors.domain.tape import StoredTape
from actors.market import MarketActor, MarketParts
from actors.runtime.base import Ref, Runtime, tell
from actors.settings import AccountSettings
from actors.stored_tapes import Taken, tape_name
from actors.traffic import MarketAdded, ResumeFeed
from actors.venues.base import Venue

if TYPE_CHECKING:
    from actors.roster import Account


@dataclass(slots=True)
class Feed:
    """The prices that one or more accounts see, by the name of the one that came first."""

    name: str
    lockstep: bool
    settings: AccountSettings
    markets: dict[str, Ref] = field(default_factory=dict)
    members: dict[str, "Account"] = field(default_factory=dict)

    @property
    def leader(self) -> "Account | None":
        """The account whose venue tells the prices; None while none is at work."""
        return next(iter(self.members.values()), None)


class Feeds:
    """The feeds of this keeper and their markets."""

    def __init__(
        self,
        runtime: Runtime,
        directory: Directory,
        *,
        persistence: Ref,
        supervisor: Ref,
        watch: Callable[[str, str, Ref], None],
        unwatch: Callable[[Ref, str], None],
    ) -> None:
        """`watch` and `unwatch` are told of every market that begins and ends."""
        self._runtime = runtime
        self._directory = directory
        self._persistence = persistence
        self._supervisor = supervisor
        self._watch = watch
        self._unwatch = unwatch
        self._shared: dict[tuple[object, ...], Feed] = {}
        self._taken: dict[str, Taken] = {}
        self._names: dict[str, set[str]] = {}

    def feed_of(self, settings: AccountSettings, venue: Venue) -> Feed:
        """An account's feed: its own, or that of an account which sees the same prices under the same limits."""
        traits = venue.traits
        feed = Feed(name=settings.name, lockstep=traits.lockstep, settings=settings)
        if traits.feed:
            same = (traits.feed, settings.max_deviation_percent, settings.feed_stale_seconds)
            feed = self._shared.setdefault(same, feed)
            self._directory.feed_of[settings.name] = feed.name
        self._names.setdefault(settings.shard, set()).add(feed.name)
        return feed

    # -- who is at work ------------------------------------------------------------------------------------------------

    def enter(self, account: "Account") -> Mapping[str, Ref]:
        """An account has a gateway now. Returns the markets to which that one hands the prices: none, but a leader."""
        feed, venue = account.feed, account.venue
        feed.members[account.settings.name] = account
        if not venue.traits.subscribes:
            for instrument in venue.instruments():
                if instrument.symbol not in feed.markets:
                    self._spawn(account, instrument.symbol)
        for symbol in feed.markets:
            self._join(feed, symbol, account.settings.shard)
        return dict(feed.markets) if feed.leader is account else {}

    def leave(self, account: "Account") -> None:
        """An account's gateway ends. The markets end with the last one; before, another account leads."""
        feed = account.feed
        led = feed.leader is account
        feed.members.pop(account.settings.name, None)
        if not feed.members:
            for symbol, market in feed.markets.items():
                self._unwatch(market, f"market:{feed.name}:{symbol}")
                del self._directory.desks[feed.name, symbol]
            feed.markets = {}
        elif led:
            self._lead(feed)

    def _lead(self, feed: Feed) -> None:
        leader = feed.leader
        if leader is None or leader.gateway is None:
            return
        for symbol, market in feed.markets.items():
            tell(leader.gateway, MarketAdded(symbol=symbol, ref=market))
        if leader.resumed:
            tell(leader.gateway, ResumeFeed())

    def market(self, account: "Account", symbol: str) -> Ref:
        """The market of a symbol; at a venue that subscribes it comes with the first position."""
        feed = account.feed
        known = feed.markets.get(symbol)
        if known is not None:
            return known
        market = self._spawn(account, symbol)
        for member in feed.members.values():
            self._join(feed, symbol, member.settings.shard)
        leader = feed.leader
        if leader is not None and leader.gateway is not None:
            tell(leader.gateway, MarketAdded(symbol=symbol, ref=market))
        return market

    def desk(self, account: "Account", symbol: str) -> Desk:
        """Where the positions of a symbol register."""
        return self._directory.desks[account.feed.name, symbol]

    def _spawn(self, account: "Account", symbol: str) -> Ref:
        feed, gateway = account.feed, account.gateway
        if gateway is None:
            raise RuntimeError(f"account {account.settings.name} has no gateway yet")
        desk = self._directory.desks[feed.name, symbol] = Desk(first=1)
        market = self._runtime.spawn(
            MarketActor,
            MarketParts(
                settings=feed.settings,
                symbol=symbol,
                gateway=gateway,
                supervisor=self._supervisor,
                directory=self._directory,
                clock=self._runtime.clock,
                lockstep=feed.lockstep,
                desk=desk,
                persistence=self._persistence,
                tape_name=lambda shard: tape_name(symbol, feed.name, alone=self._alone(shard)),
            ),
        )
        feed.markets[symbol] = market
        self._watch(f"market:{feed.name}:{symbol}", "MarketActor", market)
        return market

    # -- tapes ---------------------------------------------------------------------------------------------------------

    def taken(self, taken: Taken) -> None:
        """A shard is ours, with what it had stored: before its accounts enter."""
        self._taken[taken.shard] = taken

    def lost(self, shard: str) -> None:
        """Nothing of a shard is saved by us any more."""
        self._taken.pop(shard, None)
        for desk in self._directory.desks.values():
            desk.tapes.pop(shard, None)

    def _alone(self, shard: str) -> bool:
        """Whether all accounts of a shard see the same prices."""
        return len(self._names.get(shard, ())) == 1

    def _join(self, feed: Feed, symbol: str, shard: str) -> None:
        desk, taken = self._directory.desks[feed.name, symbol], self._taken.get(shard)
        joined = desk.tapes.get(shard)
        if taken is None or (joined is not None and joined.epoch == taken.epoch):
            return
        stored, highest = taken.tape(symbol, feed.name, alone=self._alone(shard))
        points = {name: list(numbers) for name, numbers in taken.seen.get(symbol, {}).items()}
        desk.join(shard, taken.epoch, stored, highest, points, whole=taken.unread)

    def stored_tape(self, account: "Account", symbol: str) -> StoredTape | None:
        """What the account's shard had stored of a symbol's prices when it was taken."""
        desk = self._directory.desks.get((account.feed.name, symbol))
        tape = None if desk is None else desk.tapes.get(account.settings.shard)
        return None if tape is None else tape.stored

    def present_tape(self, account: "Account", symbol: str) -> StoredTape | None:
        """The tape as it is now, for a position that begins anew while prices go on."""
        desk = self._directory.desks.get((account.feed.name, symbol))
        tape = None if desk is None else desk.tapes.get(account.settings.shard)
        return None if desk is None or tape is None else desk.copy(tape)
