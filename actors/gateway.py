"""GatewayActor: one per account; the only one that talks to that account's venue.

A request is sent once and looked up before any resend. Before it signs, the gateway reads the wall time, *then* checks
that the shard's lease outlives the request's expiry: a keeper that froze in between wakes to a request that the venue
rejects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pykka
import structlog

from actors.account_feed import AccountFeed
from actors.domain.events import OrderAbsent, OrderRefused, OrderUnknown
from actors.domain.model import Micros, OrderKind
from actors.gateway_parts import GatewayParts
from actors.inquiries import Inquiries, Pace
from actors.past_lease import GuardedClose, PastLease
from actors.quarantine import Emergencies, EmergencyStop
from actors.reports import report_of, slot_read, slot_unknown
from actors.runtime.base import Ref, tell, tell_at_leisure
from actors.survey import SlotSurveyed, SurveyAnswered, SurveyedVenue, SurveyRequest
from actors.traffic import (
    ActorFailed,
    CancelForeign,
    CancelOrder,
    EnsureStop,
    GapRead,
    LookUpOrder,
    MarketsReady,
    ReadGap,
    ReadSlot,
    SendOrder,
    Survey,
    Surveyed,
)
from actors.under_way import Overdue, UnderWay
from actors.venues.base import (
    REJECTIONS,
    AccountAnswered,
    AccountRequest,
    CancelRequest,
    CandlesAnswered,
    CandlesRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    RequestFailed,
    VenueFailed,
    VenueOrder,
    VenueUnavailable,
)

_log = structlog.get_logger()

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Later:
    """A message this actor will handle after a delay."""

    message: object


class GatewayActor(pykka.ThreadingActor):
    """Carries requests of one account to its venue, and their outcomes back.

    There may be ten thousand that have nothing to do: what only trouble needs is made when trouble comes.
    """

    use_daemon_thread = True

    def __init__(self, parts: GatewayParts) -> None:
        """The venue is started with MarketsReady, when there is somewhere for its prices to go."""
        super().__init__()
        self._parts = parts
        self._count = 0
        # Request ids must not repeat after a restart: an answer to a former actor would be taken for ours.
        self._name = f"{parts.clock.now():x}"
        self._own = self.actor_ref
        self._replaced = False
        self._feed = AccountFeed(parts, self._own, self._settle)
        wait = parts.settings.request_expiry_seconds + parts.settings.clock_skew_seconds
        self._under_way = UnderWay(parts.clock, self._own, wait)

    @cached_property
    def _cancels(self) -> Pace:
        return Pace(self._parts.clock, RETRY_SECONDS)

    @cached_property
    def _inquiries(self) -> Inquiries:
        parts = self._parts
        return Inquiries(
            clock=parts.clock, venue=parts.venue, settings=parts.settings, own=self._own, new_id=self._new_id
        )

    @cached_property
    def _emergencies(self) -> Emergencies:
        parts = self._parts
        return Emergencies(
            venue=parts.venue,
            settings=parts.settings,
            order_tag=parts.order_tag,
            sign=self._sign,
            track=self._track,
            later=self._later,
        )

    @cached_property
    def _past_lease(self) -> PastLease:
        return PastLease(parts=self._parts, track=self._track, submit=self._submit, refuse=self._not_sent)

    def _settle(self, symbol: str, order_id: str, kind: OrderKind, reply_to: Ref) -> None:
        self._inquiries.settle(symbol, order_id, kind, reply_to)

    def on_receive(self, message: object) -> None:  # noqa: PLR0912 - one line for each message
        """Requests from positions, outcomes and prices from the venue."""
        if self._replaced:
            return
        match message:
            case MarketsReady() if not self._parts.wanted(self._own):
                # Its account has another gateway by now: starting the venue late would take it away from that one.
                self._replaced = True
            case VenueFailed():
                raise RuntimeError(f"the venue has failed: {message.error}")
            case OrderAnswered() | RequestFailed() | AccountAnswered() | CandlesAnswered() | SurveyAnswered():
                self._on_answer(message)
            case SendOrder():
                self._send(message)
            case CancelOrder():
                self._cancel(message)
            case LookUpOrder():
                self._inquiries.begin(message)
            case ReadSlot():
                self._read_slot(message)
            case ReadGap():
                self._read_gap(message)
            case Survey():
                self._survey(message)
            case CancelForeign():
                self._cancel_foreign(message)
            case EnsureStop():
                self._emergencies.begin(message)
            case Overdue():
                self._on_overdue()
            case _Later():
                self.on_receive(message.message)
            case _:
                if not self._feed.on_receive(message) and not self._inquiries.on_receive(message):
                    raise TypeError(f"GatewayActor cannot take {type(message).__name__}")

    def on_stop(self) -> None:
        """Let go of the venue."""
        self._parts.venue.stop(self.actor_ref)

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Its account begins anew."""
        del exception_type, traceback
        self._parts.venue.stop()
        name = f"gateway:{self._parts.settings.name}"
        tell(self._parts.supervisor, ActorFailed(name=name, kind="GatewayActor", error=repr(exception_value)))

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    def _sign(self) -> Micros | None:
        """Wall time read before the lease is checked; None when it is a later life's, or not long enough."""
        signed_at = self._parts.clock.now()
        settings = self._parts.settings
        left = self._parts.leases.seconds_left(settings.shard, self._parts.boottime(), epoch=self._parts.epoch)
        if left <= settings.request_expiry_seconds + settings.clock_skew_seconds:
            return None
        return signed_at

    def _track(self, request: Any) -> str:
        request_id = self._new_id()
        self._under_way.add(request_id, request)
        return request_id

    def _send(self, message: SendOrder) -> None:
        signed_at, overtaken = self._sign(), self._parts.overtaken(message.symbol, message.bound)
        if overtaken:
            self._not_sent(message, overtaken)
        elif signed_at is not None:
            self._submit(message, signed_at)
        elif not self._past_lease.begin(message):
            self._not_sent(message, "the lease of the shard is not ours for long enough")

    def _submit(self, message: SendOrder, signed_at: Micros) -> None:
        submit, account = message.submit, self._parts.settings.name
        self._inquiries.sent(submit.client_order_id)
        request_id = self._track(message)
        _log.info(
            "order.sent",
            account=account,
            leg=submit.leg,
            symbol=message.symbol,
            side=submit.side.value,
            quantity=submit.quantity,
            trigger_price=submit.trigger_price,
            client_order_id=submit.client_order_id,
        )
        self._parts.venue.submit(
            OrderRequest(
                request_id=request_id,
                account=account,
                symbol=message.symbol,
                client_order_id=submit.client_order_id,
                kind=submit.kind,
                side=submit.side,
                quantity=submit.quantity,
                reduce_only=submit.reduce_only,
                trigger_price=submit.trigger_price,
                trigger_source=submit.trigger_source,
                limit_price=submit.limit_price,
                signed_at=signed_at,
                expires_after_seconds=self._parts.settings.request_expiry_seconds,
            )
        )

    def _not_sent(self, message: SendOrder, why: str) -> None:
        """Definite: the request never left. The position hears of it after a while, and decides anew."""
        account = self._parts.settings.name
        _log.warning("order.not_sent", account=account, leg=message.submit.leg, why=why, symbol=message.symbol)
        absent = OrderAbsent(at=self._event_time(message.symbol), client_order_id=message.submit.client_order_id)
        self._parts.clock.tell_after(RETRY_SECONDS, message.reply_to, absent)

    def _cancel(self, message: CancelOrder) -> None:
        signed_at = self._sign()
        if signed_at is None or not self._cancels.due(message.cancel.client_order_id):
            self._later(message)
            return
        self._ask_for_cancel(message, message.cancel.client_order_id, message.cancel.kind, signed_at)

    def _ask_for_cancel(
        self, request: CancelOrder | CancelForeign, order_id: str, kind: OrderKind, signed_at: Micros
    ) -> None:
        settings = self._parts.settings
        self._parts.venue.cancel(
            CancelRequest(
                request_id=self._track(request),
                account=settings.name,
                symbol=request.symbol,
                client_order_id=order_id,
                kind=kind,
                signed_at=signed_at,
                expires_after_seconds=settings.request_expiry_seconds,
            )
        )

    def _read_slot(self, message: ReadSlot) -> None:
        if message.delay_seconds > 0:
            self._later(replace(message, delay_seconds=0.0), message.delay_seconds)
            return
        self._parts.venue.read_account(
            AccountRequest(
                request_id=self._track(message),
                account=self._parts.settings.name,
                symbol=message.symbol,
                trades_since=message.trades_since,
            )
        )

    def _read_gap(self, message: ReadGap) -> None:
        self._parts.venue.read_candles(
            CandlesRequest(
                request_id=self._track(message),
                account=self._parts.settings.name,
                symbol=message.symbol,
                source=message.source,
                since=message.since,
            )
        )

    def _survey(self, message: Survey) -> None:
        venue, settings = self._parts.venue, self._parts.settings
        if not isinstance(venue, SurveyedVenue):
            self._end_survey(message, {})
            return
        self._feed.expect(slot.symbol for slot in message.slots)
        venue.survey(SurveyRequest(request_id=self._track(message), account=settings.name, slots=message.slots))

    def _end_survey(self, message: Survey, slots: Mapping[str, SlotSurveyed]) -> None:
        """Whatever was not found out is asked for slot by slot."""
        tell(message.reply_to, Surveyed(number=message.number, slots=slots))

    def _cancel_foreign(self, message: CancelForeign) -> None:
        """Exactly these, one by one; the fresh read then tells what became of them."""
        if not message.orders:
            self._read_slot(
                ReadSlot(symbol=message.symbol, trades_since=message.trades_since, reply_to=message.reply_to)
            )
            return
        (order_id, kind), rest = message.orders[0], message.orders[1:]
        signed_at = self._sign()
        if signed_at is None:
            self._later(message)
            return
        self._ask_for_cancel(replace(message, orders=rest), order_id, kind, signed_at)

    def _later(self, message: object, delay_seconds: float = RETRY_SECONDS) -> None:
        self._parts.clock.tell_after(delay_seconds, self._own, _Later(message=message))

    def _on_answer(  # noqa: PLR0912 - one line for each pair of request and answer
        self, answer: OrderAnswered | RequestFailed | AccountAnswered | CandlesAnswered | SurveyAnswered
    ) -> None:
        request = self._under_way.pop(answer.request_id)
        if request is None:
            self._inquiries.on_receive(answer)
            return
        match request, answer:
            case GuardedClose(), _:
                self._past_lease.on_answer(request, answer)
            case SendOrder(), OrderAnswered(order=VenueOrder(client_order_id=request.submit.client_order_id)):
                self._report(request.reply_to, answer, read_back=False)
            case SendOrder(), RequestFailed(error=OrderRejected()) if answer.error.code in REJECTIONS:
                self._refuse(request, answer.error.code, answer.error.message)
            case SendOrder(), RequestFailed(error=VenueUnavailable()):
                self._not_sent(request, answer.error.message)
            case SendOrder(), _:
                self._unknown(request)
            case CancelOrder(), OrderAnswered(order=VenueOrder()):
                self._report(request.reply_to, answer, read_back=True)
            case CancelOrder(), _:
                self._look_up_after(request)
            case ReadSlot(), AccountAnswered():
                tell(request.reply_to, slot_read(answer))
            case ReadGap(), CandlesAnswered():
                tell(
                    request.reply_to,
                    GapRead(source=request.source, candles=answer.candles, complete=answer.complete),
                )
            case Survey(), _:
                self._end_survey(request, answer.slots if isinstance(answer, SurveyAnswered) else {})
            case CancelForeign(), _:
                self._cancel_foreign(request)
            case EmergencyStop(), _:
                self._emergencies.on_answer(request, answer)
            case ReadSlot(), RequestFailed(error=OrderRejected(code="unknown_symbol")):
                tell(request.reply_to, slot_unknown(request.symbol, answer.error, self._parts.clock.now()))
            case ((ReadSlot() | ReadGap()), _):
                self._later(request)
            case _:
                raise TypeError(f"{type(request).__name__} was answered by {type(answer).__name__}")

    def _on_overdue(self) -> None:
        """No answer in time: what was asked is unknown now; a read is simply asked again."""
        for request in self._under_way.take_overdue():
            if isinstance(request, SendOrder):
                self._unknown(request)
            elif isinstance(request, CancelOrder):
                self._look_up_after(request)
            elif isinstance(request, GuardedClose):
                self._past_lease.on_answer(request, None)
            elif isinstance(request, EmergencyStop):
                self._emergencies.on_answer(request, None)
            elif isinstance(request, Survey):
                self._end_survey(request, {})
            else:
                self.on_receive(request)

    def _unknown(self, request: SendOrder) -> None:
        order_id = request.submit.client_order_id
        _log.warning(
            "order.unknown",
            account=self._parts.settings.name,
            leg=request.submit.leg,
            symbol=request.symbol,
            client_order_id=order_id,
        )
        tell(request.reply_to, OrderUnknown(at=self._event_time(request.symbol), client_order_id=order_id))
        self._inquiries.settle(request.symbol, order_id, request.submit.kind, request.reply_to)

    def _look_up_after(self, request: CancelOrder) -> None:
        """A cancel without a clear answer: the order's own state says what became of it."""
        cancel = request.cancel
        self._inquiries.settle(request.symbol, cancel.client_order_id, cancel.kind, request.reply_to)

    def _refuse(self, request: SendOrder, code: str, why: str) -> None:
        at = self._event_time(request.symbol)
        order_id = request.submit.client_order_id
        tell(request.reply_to, OrderRefused(at=at, client_order_id=order_id, code=code, message=why))

    def _report(self, ref: Ref, answer: OrderAnswered, *, read_back: bool) -> None:
        if answer.order is not None:
            tell_at_leisure(ref, report_of(answer.order, read_back=read_back, venue_quantity=answer.venue_quantity))

    def _event_time(self, symbol: str) -> Micros:
        quote = self._parts.directory.quote(self._parts.settings.name, symbol)
        if quote is not None:
            return quote.at
        # A venue with a time of its own is not asked for the wall's: 0 is before everything, and changes no stamp.
        return 0 if self._parts.venue.traits.own_time else self._parts.clock.now()
