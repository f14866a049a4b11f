"""A keeper whose accounts share one floor of the exchange, each with a shard of its own."""

from actors.settings import AccountSettings
from actors.venues.base import Venue
from tests.simulation.house import Keeper


class SharedFloor(Keeper):
    """Accounts in the order of their configuration; the first one's venue is told the prices."""

    account_names: tuple[str, ...] = ("paper", "other")

    def account_settings(self) -> tuple[AccountSettings, ...]:
        """Each account is its own shard."""
        return tuple(AccountSettings(name=name, shard=name, request_expiry_seconds=2.0) for name in self.account_names)

    def doors(self) -> dict[str, Venue]:
        """The first one opens the floor, the others enter it."""
        first, *others = self.account_names
        door = self.door(first)
        # The exchange of a file has the file's name; this one is in memory, and keeps one over its keepers' lives.
        door.floor.feed = "paper:floor"
        return {first: door, **{name: self.door(name, floor=door.floor) for name in others}}
