"""A keeper whose accounts share one floor of the exchange, each with a shard of its own."""

from actors.domain.schema import SCHEMA, known_fields
from actors.settings import AccountSettings
from actors.venues.paper import PaperVenue
from service.bootstrap import House, assemble
from tests.simulation.house import ORDER_TAG, Keeper


class SharedFloor(Keeper):
    """Accounts in the order of their configuration; the first one's venue is told the prices."""

    account_names: tuple[str, ...] = ("paper", "other")

    def boot(self, *, owner: str = "", trust_the_dead: bool = True) -> House:
        """Start a keeper with these accounts; after `crash` it finds what the former one left."""
        self.boots += 1
        clock = self.simulator.clock
        first = PaperVenue(
            account=self.account_names[0],
            settings=self.paper,
            runtime=self.simulator,
            exchange=self.exchange,
            faults=self.faults,
        )
        venues = {self.account_names[0]: first}
        for name in self.account_names[1:]:
            venues[name] = PaperVenue(account=name, settings=self.paper, runtime=self.simulator, floor=first.floor)
        # The exchange of a file has the file's name; this one is in memory, and keeps one over its keepers' lives.
        first.floor.feed = "paper:floor"
        self.house = assemble(
            self.simulator,
            store=self.store_class(
                newest_schema=SCHEMA,
                known_fields=known_fields(),
                now=clock.monotonic,
                server=self.server,
                new_write_id=self._write_id(),
                faults=self._fault,
            ),
            failure_log=self.failures,
            accounts=tuple(
                AccountSettings(name=name, shard=name, request_expiry_seconds=2.0) for name in self.account_names
            ),
            venues=venues,
            order_tag=ORDER_TAG,
            owner=owner or f"keeper-{self.boots}",
            dead_owner=(lambda name: name.startswith("keeper-")) if trust_the_dead else None,
            publish=self.events.append,
            clock_seconds=clock.monotonic,
            health_seconds=self.health_seconds,
        )
        self.house.boot()
        return self.house
