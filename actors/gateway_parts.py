"""What a GatewayActor works with."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.directory import Directory
from actors.price_bound import PriceBound
from actors.runtime.base import Clock, Ref
from actors.settings import AccountSettings
from actors.venues.base import Venue
from persistence.lease import LeaseBoard, boottime


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """What a GatewayActor works with. It signs under the lease of its own `epoch` alone; `wanted` tells whether its
    account has not got another one meanwhile.
    """

    settings: AccountSettings
    venue: Venue
    clock: Clock
    epoch: int
    leases: LeaseBoard
    directory: Directory
    order_tag: str
    supervisor: Ref
    boottime: Callable[[], float] = boottime
    wanted: Callable[[Ref], bool] = lambda _: True

    def overtaken(self, symbol: str, bound: PriceBound | None) -> str:
        """Why a partial that was let go may not be signed any more, in words; empty while it may."""
        if bound is None:
            return ""
        quote = self.directory.quote(self.settings.name, symbol)
        return bound.overtaken(quote, self.clock.monotonic(), self.settings.request_expiry_seconds)
