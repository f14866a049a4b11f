"""What a keeper past its lease may still do, when it has not seen a higher epoch: the store is merely out of reach.

It touches no resident stop, sends no partial and no entry, and makes a protective full close only after reading that
*its* resident stop still rests. A new owner replaces the resident stops first, so that a former one finds its own
gone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from actors.gateway_parts import GatewayParts
from actors.traffic import SendOrder
from actors.venues.base import AccountAnswered, AccountRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedClose:
    """A full close that waits for a read of its slot."""

    send: SendOrder
    signed_at: int


class PastLease:
    """Judges full closes past the lease, part of an account's gateway."""

    def __init__(
        self,
        *,
        parts: GatewayParts,
        track: Callable[[GuardedClose], str],
        submit: Callable[[SendOrder, int], None],
        refuse: Callable[[SendOrder, str], None],
    ) -> None:
        """`track` registers a request and names it; `submit` sends with a signing time, `refuse` says it never left."""
        self._parts = parts
        self._track = track
        self._submit = submit
        self._refuse = refuse

    def begin(self, message: SendOrder) -> bool:
        """Read the slot, if this is a close that may be sent at all; false when it is not."""
        if not message.submit.urgent or not message.guards or self._fenced():
            return False
        # Read before the look at the exchange: a keeper that freezes after that look signs what has expired.
        signed_at = self._parts.clock.now()
        self._parts.venue.read_account(
            AccountRequest(
                request_id=self._track(GuardedClose(send=message, signed_at=signed_at)),
                account=self._parts.settings.name,
                symbol=message.symbol,
                trades_since=0,
            )
        )
        return True

    def on_answer(self, request: GuardedClose, answer: object) -> None:
        """The slot as it is; anything else means that the venue could not be read."""
        send = request.send
        if not isinstance(answer, AccountAnswered):
            self._refuse(send, "past the lease, and the exchange could not be read")
            return
        resting = {order.client_order_id for order in answer.orders}
        if self._fenced() or not resting.intersection(send.guards):
            self._refuse(send, "past the lease, and our stop no longer rests there: another keeper may own it")
            return
        structlog.get_logger().warning(
            "order.past_lease",
            account=self._parts.settings.name,
            leg=send.submit.leg,
            symbol=send.symbol,
            why="Redis is out of reach; our own stop still rests at the exchange, so nobody else has taken over",
        )
        self._submit(send, request.signed_at)

    def _fenced(self) -> bool:
        lease = self._parts.leases.get(self._parts.settings.shard)
        # Taken again by ourselves with nobody in between is no reason to leave a position alone: the next life may be
        # kept from it by the store for a while. Its stop is asked for as ever.
        return lease is None or lease.fenced or self._parts.epoch < lease.ours_since
