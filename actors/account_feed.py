"""What a venue tells by itself, and where it goes: prices to markets, reports to positions, its state upwards.

Streams are wake-ups, REST is the truth: what a report says of an order is booked by trade id, and then read back; a
stream that was interrupted makes every slot be read again.
"""

from collections.abc import Callable, Iterable

from actors.domain.model import OrderKind
from actors.gateway_parts import GatewayParts
from actors.reports import report_of
from actors.runtime.base import Ref, tell
from actors.traffic import (
    LookAgain,
    MarketAdded,
    MarketsReady,
    ResumeFeed,
    SlotFreed,
    SlotsTaken,
    SlotTaken,
    SymbolSettled,
)
from actors.venues.base import OrderUpdated, PricesUpdated, StreamRestored, VenueOrder, VenueStatus


class AccountFeed:
    """The markets and slots of one account, part of its gateway."""

    def __init__(self, parts: GatewayParts, own: Ref, read_back: Callable[[str, str, OrderKind, Ref], None]) -> None:
        """`own` is the gateway; `read_back` looks an order up and reports it to a position."""
        self._parts = parts
        self._own = own
        self._read_back = read_back
        self._markets: dict[str, Ref] = {}
        self._slots: dict[str, SlotTaken] = {}
        # What was told of slots that were surveyed, before somebody has taken them: it may be newer than the survey.
        self._early: dict[str, list[OrderUpdated | StreamRestored]] = {}

    def on_receive(self, message: object) -> bool:  # noqa: PLR0912 - one line for each message
        """Take what concerns prices, slots and the venue's state; false for anything else."""
        match message:
            case PricesUpdated():
                market = self._markets.get(message.symbol)
                if market is not None:
                    tell(market, message)
            case SymbolSettled():
                self._parts.venue.settled(message.symbol, message.sequence)
            case OrderUpdated():
                self._on_update(message.order)
            case StreamRestored():
                for slot in self._slots.values():
                    tell(slot.ref, LookAgain())
                for early in self._early.values():
                    early.append(message)
            case VenueStatus():
                tell(self._parts.supervisor, message)
            case SlotTaken():
                self._take(message)
            case SlotsTaken():
                for taken in message.slots:
                    self._take(taken)
            case SlotFreed():
                slot_taken = self._slots.get(message.symbol)
                if slot_taken is not None and slot_taken.position_id == message.position_id:
                    del self._slots[message.symbol]
            case MarketsReady():
                self._markets = dict(message.markets)
                self._parts.venue.start(self._own)
            case MarketAdded():
                self._markets[message.symbol] = message.ref
                self._parts.venue.watch(message.symbol)
            case ResumeFeed():
                if message.prices:
                    self._parts.venue.resume()
                else:
                    self._parts.venue.resume(prices=False)
            case _:
                return False
        return True

    def expect(self, symbols: Iterable[str]) -> None:
        """These slots are about to be read, and will be taken by whoever makes something of what was read."""
        for symbol in symbols:
            self._early.setdefault(symbol, [])

    def _take(self, slot: SlotTaken) -> None:
        self._slots[slot.symbol] = slot
        for message in self._early.pop(slot.symbol, ()):
            if isinstance(message, OrderUpdated):
                self._on_update(message.order)
            else:
                tell(slot.ref, LookAgain())

    def _on_update(self, order: VenueOrder) -> None:
        slot = self._slots.get(order.symbol)
        if slot is None:
            if (early := self._early.get(order.symbol)) is not None:
                early.append(OrderUpdated(account=self._parts.settings.name, order=order))
            return
        # At once, so that a fill is protected at once; a repeat, or the read that follows, changes nothing more.
        tell(slot.ref, report_of(order, read_back=False, venue_quantity=None))
        if self._parts.venue.traits.subscribes and order.client_order_id.startswith(self._parts.order_tag):
            self._read_back(order.symbol, order.client_order_id, order.kind, slot.ref)
