"""The last thing done for a quarantined position: its stop is verified, or placed, or `unprotected` is raised.

The emergency stop has a deterministic id of its own, so that it is found again; once the position runs again it is an
orphan there, which is replaced by a proper one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from actors.domain.exits import away_from_market, floor_to_step
from actors.domain.model import ZERO, OrderKind, Position
from actors.domain.orders import trigger_source
from actors.domain.step import client_order_id
from actors.settings import AccountSettings
from actors.traffic import EnsureStop
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    RequestFailed,
    Venue,
    VenueOrder,
    VenuePosition,
)

EMERGENCY_LEG = "resident-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyStop:
    """What a gateway still has to do for one quarantined position."""

    position_id: str
    symbol: str
    position: Position | None
    order_tag: str
    attempt: int = 0


def resting_stops(order_tag: str, slot: AccountAnswered) -> list[VenueOrder]:
    """The stops of ours at rest in the slot."""
    return [
        order
        for order in slot.orders
        if order.client_order_id.startswith(order_tag) and order.kind is OrderKind.STOP_MARKET and order.reduce_only
    ]


def uncovered(stop: EmergencyStop, slot: AccountAnswered) -> Decimal:
    """What we track, the venue holds, and no stop of ours covers: never more than is ours to close."""
    held = slot.position
    if held is None:
        return ZERO
    tracked = held.quantity if stop.position is None else min(stop.position.remaining, held.quantity)
    resting = sum((order.quantity - order.filled for order in resting_stops(stop.order_tag, slot)), ZERO)
    return max(ZERO, tracked - resting)


def emergency_request(
    stop: EmergencyStop,
    held: VenuePosition,
    missing: Decimal,
    *,
    request_id: str,
    account: str,
    signed_at: int,
    expires_after_seconds: float,
) -> OrderRequest | None:
    """A stop at the last saved level for what is missing; None when the saved state does not allow one."""
    position = stop.position
    if position is None or position.stop_price is None or position.side is not held.side:
        return None
    quantity = floor_to_step(missing, position.instrument.quantity_step)
    if quantity <= 0:
        return None
    return OrderRequest(
        request_id=request_id,
        account=account,
        symbol=stop.symbol,
        client_order_id=client_order_id(position.order_tag, position.id, EMERGENCY_LEG, position.next_resident),
        kind=OrderKind.STOP_MARKET,
        side=position.exit_side,
        quantity=quantity,
        reduce_only=True,
        trigger_price=away_from_market(position.side, position.stop_price, position.instrument.tick_size),
        trigger_source=trigger_source(position),
        signed_at=signed_at,
        expires_after_seconds=expires_after_seconds,
    )


def tell_outcome(stop: EmergencyStop, answer: OrderAnswered | RequestFailed | None, *, why: str = "") -> bool:
    """Say whether the position is protected now; raise `position.unprotected` when it is not."""
    log = structlog.get_logger().bind(position=stop.position_id, symbol=stop.symbol)
    if isinstance(answer, OrderAnswered) and answer.order is not None:
        log.warning("position.emergency_stop", trigger_price=answer.order.trigger_price, quantity=answer.order.quantity)
        return True
    if isinstance(answer, RequestFailed):
        why = answer.error.message
    log.error(
        "position.unprotected",
        why=why or "no stop of ours rests there, and the saved state allows none",
        remedy="place a stop on the exchange by hand now",
    )
    return False


def tell_protected(stop: EmergencyStop, order: VenueOrder | None) -> None:
    """The resident stop was verified, or there is nothing to protect."""
    log = structlog.get_logger().bind(position=stop.position_id, symbol=stop.symbol)
    if order is None:
        log.info("position.flat", why="the venue holds nothing in this slot")
    else:
        log.info("position.protected", trigger_price=order.trigger_price, quantity=order.quantity)


class Emergencies:
    """Sees to the stops of quarantined positions, part of their account's gateway."""

    def __init__(
        self,
        *,
        venue: Venue,
        settings: AccountSettings,
        order_tag: str,
        sign: Callable[[], int | None],
        track: Callable[[EmergencyStop], str],
        later: Callable[[object, float], None],
    ) -> None:
        """`sign` gives the time to sign with, None without a lease; `track` registers a request and names it; `later`
        brings a message back after so many seconds.
        """
        self._venue = venue
        self._settings = settings
        self._order_tag = order_tag
        self._sign = sign
        self._track = track
        self._later = later

    def begin(self, message: EnsureStop) -> None:
        """Read the slot first: where our stop rests, nothing else is to be done."""
        stop = EmergencyStop(
            position_id=message.position_id,
            symbol=message.symbol,
            position=message.position,
            order_tag=self._order_tag,
            attempt=message.attempt,
        )
        if not message.symbol:
            tell_outcome(stop, None, why="its snapshot cannot be read, so nobody knows what it holds")
            return
        self._venue.read_account(
            AccountRequest(
                request_id=self._track(stop),
                account=self._settings.name,
                symbol=message.symbol,
                trades_since=message.position.updated_at if message.position else 0,
            )
        )

    def on_answer(self, stop: EmergencyStop, answer: object) -> None:
        """The slot as it is, the outcome of an emergency stop, or None when the venue was silent."""
        if not isinstance(answer, AccountAnswered):
            self._on_outcome(stop, answer)
            return
        missing = uncovered(stop, answer)
        if answer.position is None or missing == 0:
            resting = resting_stops(stop.order_tag, answer)
            tell_protected(stop, resting[-1] if resting and answer.position is not None else None)
            return
        signed_at = self._sign()
        request = None
        if signed_at is not None:
            request = emergency_request(
                stop,
                answer.position,
                missing,
                request_id="",
                account=self._settings.name,
                signed_at=signed_at,
                expires_after_seconds=self._settings.request_expiry_seconds,
            )
        if request is not None:
            self._venue.submit(replace(request, request_id=self._track(stop)))
        elif signed_at is None:
            self._again(stop, None, "the lease of its shard is not ours for long enough to place one")
        else:
            tell_outcome(stop, None)

    def _on_outcome(self, stop: EmergencyStop, answer: object) -> None:
        """Placed, definitely refused, or nobody knows: then the slot is read again, past the request's expiry."""
        match answer:
            case OrderAnswered(order=VenueOrder()):
                tell_outcome(stop, answer)
            case RequestFailed(error=OrderRejected()):
                tell_outcome(stop, answer)
            case RequestFailed():
                self._again(stop, answer, "")
            case _:
                self._again(stop, None, "the venue did not answer in time")

    def _again(self, stop: EmergencyStop, answer: RequestFailed | None, why: str) -> None:
        if stop.attempt == 0:
            tell_outcome(stop, answer, why=why)
        wait = self._settings.request_expiry_seconds + self._settings.clock_skew_seconds
        message = EnsureStop(
            position_id=stop.position_id, symbol=stop.symbol, position=stop.position, attempt=stop.attempt + 1
        )
        self._later(message, wait)
