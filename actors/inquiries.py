"""Looking orders up until the truth is known: found, or absent on repeated reads past the expiry of any request.

An order that was just sent may not be readable yet, and one that cannot be found may still arrive: absence counts
only on two reads after the last moment at which the venue could still have accepted the request.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.domain.events import OrderAbsent, OrderState
from actors.domain.model import OrderKind
from actors.reports import report_of
from actors.runtime.base import Clock, Ref, tell
from actors.settings import AccountSettings
from actors.traffic import LookUpOrder
from actors.venues.base import LookUpRequest, OrderAnswered, RequestFailed, Venue

ABSENT_READS = 2
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
AGAIN_SECONDS = 0.25
_FEW = 32


@dataclass(slots=True)
class _Inquiry:
    symbol: str
    client_order_id: str
    kind: OrderKind
    reply_to: Ref
    absent_from: float
    absent_reads: int = 0
    pause_seconds: float = FIRST_PAUSE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadOverdue:
    request_id: str


class Recent:
    """Moments by order, forgotten some time after they are older than `seconds`: an account trades for months."""

    __slots__ = ("_clock", "_limit", "_marked", "_seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._limit = _FEW
        self._marked: dict[str, float] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._marked)

    def mark(self, order_id: str) -> None:
        """It happens now."""
        now = self._clock.monotonic()
        if len(self._marked) >= self._limit:
            self._marked = {key: at for key, at in self._marked.items() if now - at <= self._seconds}
            self._limit = max(_FEW, 2 * len(self._marked))
        self._marked[order_id] = now

    def at(self, order_id: str) -> float | None:
        """When it was marked last; None when that is long ago, or never."""
        return self._marked.get(order_id)

    def forget(self, order_id: str) -> None:
        """It is settled."""
        self._marked.pop(order_id, None)


class Pace:
    """Keeps what concerns one order apart in time, so that a venue that answers slowly is not flooded."""

    __slots__ = ("_clock", "_recent", "_seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        """At least so many seconds between two marks of one order."""
        self._clock = clock
        self._seconds = seconds
        self._recent = Recent(clock, seconds)

    def rested(self, order_id: str) -> bool:
        """Whether enough time has passed since the last mark."""
        at = self._recent.at(order_id)
        return at is None or self._clock.monotonic() - at >= self._seconds

    def mark(self, order_id: str) -> None:
        """It happens now."""
        self._recent.mark(order_id)

    def due(self, order_id: str) -> bool:
        """Whether it may happen now, and if so, mark it."""
        if not self.rested(order_id):
            return False
        self.mark(order_id)
        return True


class Inquiries:
    """The look-ups under way of one account, part of its gateway."""

    __slots__ = ("_clock", "_new_id", "_open", "_own", "_requests", "_sent", "_settings", "_told", "_venue")

    def __init__(
        self, *, clock: Clock, venue: Venue, settings: AccountSettings, own: Ref, new_id: Callable[[], str]
    ) -> None:
        """`own` is the gateway, to which reminders are told."""
        self._clock = clock
        self._venue = venue
        self._settings = settings
        self._own = own
        self._new_id = new_id
        self._open: dict[str, _Inquiry] = {}
        self._requests: dict[str, str] = {}
        self._sent = Recent(clock, self._expiry_seconds)
        self._told = Pace(clock, AGAIN_SECONDS)

    @property
    def _expiry_seconds(self) -> float:
        return self._settings.request_expiry_seconds + self._settings.clock_skew_seconds

    def sent(self, order_id: str) -> None:
        """Remember when an order was last sent: until its request has expired, absence proves nothing."""
        self._sent.mark(order_id)

    def begin(self, message: LookUpOrder) -> None:
        """A position asks. With `proof` a request of a former life may still be under way."""
        now = self._clock.monotonic()
        look_up = message.look_up
        sent_at = self._sent.at(look_up.client_order_id)
        absent_from = now if sent_at is None else sent_at + self._expiry_seconds
        if look_up.proof and sent_at is None:
            absent_from = now + self._expiry_seconds
        self._start(message.symbol, look_up.client_order_id, look_up.kind, message.reply_to, absent_from)

    def settle(self, symbol: str, order_id: str, kind: OrderKind, reply_to: Ref) -> None:
        """A request of ours has no outcome: find out."""
        now = self._clock.monotonic()
        sent_at = self._sent.at(order_id)
        absent_from = (now if sent_at is None else sent_at) + self._expiry_seconds
        self._start(symbol, order_id, kind, reply_to, absent_from)

    def _start(self, symbol: str, order_id: str, kind: OrderKind, reply_to: Ref, absent_from: float) -> None:
        known = self._open.get(order_id)
        if known is not None:
            known.reply_to = reply_to
            known.absent_from = max(known.absent_from, absent_from)
            return
        self._open[order_id] = _Inquiry(symbol, order_id, kind, reply_to, absent_from)
        if not self._told.rested(order_id):
            # It was told a moment ago; asking at once would only hear the same again.
            self._pause(order_id)
        else:
            self._ask(order_id)

    def _ask(self, order_id: str) -> None:
        inquiry = self._open.get(order_id)
        if inquiry is None:
            return
        request_id = self._new_id()
        self._requests[request_id] = order_id
        self._clock.tell_after(self._expiry_seconds, self._own, _ReadOverdue(request_id=request_id))
        self._venue.look_up(
            LookUpRequest(
                request_id=request_id,
                account=self._settings.name,
                symbol=inquiry.symbol,
                client_order_id=order_id,
                kind=inquiry.kind,
            )
        )

    def on_receive(self, message: object) -> bool:
        """Take an answer or a reminder; false when it is not one of these look-ups'."""
        match message:
            case OrderAnswered() if message.request_id in self._requests:
                self._on_answer(self._requests.pop(message.request_id), message)
            case RequestFailed() if message.request_id in self._requests:
                self._pause(self._requests.pop(message.request_id))
            case _ReadOverdue():
                order_id = self._requests.pop(message.request_id, None)
                if order_id is not None:
                    self._ask(order_id)
            case _Again():
                self._ask(message.client_order_id)
            case _:
                return False
        return True

    def _on_answer(self, order_id: str, answer: OrderAnswered) -> None:
        inquiry = self._open.get(order_id)
        if inquiry is None:
            return
        order = answer.order
        if order is not None and order.client_order_id != order_id:
            # An answer about something else says nothing about this order.
            self._pause(order_id)
            return
        if order is not None:
            if order.state is OrderState.OPEN and order.kind is OrderKind.MARKET:
                # Half a fact: it is told, and asked for again after a pause until it has ended.
                self._pause(order_id)
            else:
                del self._open[order_id]
                self._told.mark(order_id)
            tell(inquiry.reply_to, report_of(order, read_back=True, venue_quantity=answer.venue_quantity))
            return
        if self._clock.monotonic() >= inquiry.absent_from:
            inquiry.absent_reads += 1
        if inquiry.absent_reads >= ABSENT_READS:
            del self._open[order_id]
            self._sent.forget(order_id)
            tell(inquiry.reply_to, OrderAbsent(at=answer.read_at, client_order_id=order_id))
            return
        self._pause(order_id)

    def _pause(self, order_id: str) -> None:
        inquiry = self._open.get(order_id)
        if inquiry is None:
            return
        self._clock.tell_after(inquiry.pause_seconds, self._own, _Again(client_order_id=order_id))
        inquiry.pause_seconds = min(inquiry.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
