"""The desk of a paper exchange: it answers requests, and plays the faults it was told to.

A request meets its fault here and not in the ledger, so what the ledger says is always true: lost, late and lagging
are only the ways to and from it. The market does not wait for what is delayed, in lockstep neither.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from actors.domain.model import Micros
from actors.runtime.base import Clock, Ref, Timer, tell_at_leisure
from actors.survey import SurveyAnswered, SurveyRequest
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    CancelRequest,
    CandlesAnswered,
    CandlesRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    OrderUnknown,
    OrderUpdated,
    RequestFailed,
    VenueError,
    VenueOrder,
    VenueUnavailable,
)
from actors.venues.paper_faults import Faults, Partial, Rule
from actors.venues.paper_file import InDoubt, Spoiled
from actors.venues.paper_ledger import OrderRead, PaperExchange
from actors.venues.paper_queue import Asked, Door, Request
from actors.venues.paper_tables import OrderRow

_log = structlog.get_logger(__name__)

_MICROS_PER_SECOND = 1_000_000
_RETRY_MICROS = 1_000_000
# On a shared ledger a delayed request of another process is left to that one for so long.
_GRACE: Micros = 500_000
# Timers and wall time are two clocks; a timer that was early is not set again for less than this.
_SHORTEST_SECONDS = 0.001

_NAMES: dict[type, str] = {
    OrderRequest: "submit",
    CancelRequest: "cancel",
    LookUpRequest: "look_up",
    AccountRequest: "read_account",
    CandlesRequest: "read_candles",
    SurveyRequest: "survey",
}


@dataclass(frozen=True, slots=True)
class Arrived:
    """A read that was delayed has arrived."""

    door: Door
    request: Request
    rule: Rule


@dataclass(frozen=True, slots=True)
class Told:
    """An answer or report that was delayed has arrived."""

    door: Door
    message: object
    rule: Rule


@dataclass(frozen=True, slots=True)
class Due:
    """Something under way in the ledger is due."""


@dataclass(slots=True)
class _Held:
    """A message held back until so many others have been told."""

    door: Door
    message: object
    repeat: int
    left: int


class Desk:
    """Answers the requests of all accounts of one exchange. Part of the exchange's actor."""

    def __init__(
        self,
        exchange: PaperExchange,
        clock: Clock,
        faults: Faults | None,
        actor: Ref,
        door_of: Callable[[str], Door | None],
    ) -> None:
        """`door_of` is the door of an account, as far as it has one now."""
        self._exchange = exchange
        self._clock = clock
        self._faults = faults
        self._actor = actor
        self._door_of = door_of
        self._held: list[_Held] = []
        self._on_the_way: dict[int, tuple[Door, Rule]] = {}
        self._timer: Timer | None = None
        self._shared = exchange.settings.shared
        self._grace = _GRACE if self._shared else 0
        exchange.matching.partial_fill = None if faults is None else self._partial_fill

    def close(self) -> None:
        """End. What is under way in the ledger stays there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- requests ------------------------------------------------------------------------------------------------------

    def handle(self, asked: Sequence[Asked]) -> None:
        """Requests have been sent. Those that no fault befalls are served together."""
        unharmed: list[Asked] = []
        for item in asked:
            rule = self._rule(_NAMES[type(item.request)], item.request)
            if rule is None:
                unharmed.append(item)
                continue
            self._serve(unharmed)
            unharmed = []
            if rule.lose == "request":
                continue
            if rule.delay_request_seconds:
                self._send_later(item.door, item.request, rule)
            else:
                self._arrive(item.door, item.request, rule)
        self._serve(unharmed)

    def go_on(self, message: Arrived | Told | Due) -> None:
        """Something that was delayed is due."""
        match message:
            case Arrived(door, request, rule):
                self._arrive(door, request, rule)
            case Told(door, told, rule):
                self._hold_or_deliver(door, told, rule)
            case Due():
                self.look()

    def report(self, door: Door, order: VenueOrder) -> None:
        """The stream's report of an order."""
        update = OrderUpdated(account=door.account, order=order)
        self._reply(door, update, self._rule("report", update))

    def look(self) -> None:
        """Do what is due among the things under way, and come back for the next."""
        now, pending = self._clock.now(), self._exchange.pending
        try:
            due_at = pending.next_due()
            if due_at is None or due_at > now:
                self._look_at(due_at)
                return
            arrived = pending.arrived(now, own=self._on_the_way, grace=self._grace)
            for number, request in arrived:
                door, rule = self._on_the_way.pop(number, (None, Rule(on="request")))
                self._land(door, request, rule)
            for account, order in self._exchange.fill_rests(now):
                self._report_to(account, order)
            due_at = pending.next_due()
            self._look_at(None if due_at is None else due_at + self._grace)
        except sqlite3.Error as error:
            _log.warning("paper.pending_failed", reason=str(error))
            self._look_at(now + _RETRY_MICROS)

    # -- what becomes of a request -------------------------------------------------------------------------------------

    def _rule(self, on: str, subject: object) -> Rule | None:
        rule = None if self._faults is None else self._faults.take(on, subject, self._clock.monotonic())
        if rule is not None:
            _log.info("paper.fault", on=on, order=_order_id(subject), fault=rule.said())
        return rule

    def _send_later(self, door: Door, request: Request, rule: Rule) -> None:
        delay = rule.delay_request_seconds
        if not isinstance(request, OrderRequest | CancelRequest):
            self._clock.tell_after(delay, self._actor, Arrived(door, request, rule))
            return
        arrives_at = self._clock.now() + int(delay * _MICROS_PER_SECOND)
        number = self._exchange.pending.send_later(request, arrives_at)
        self._on_the_way[number] = (door, rule)
        self._clock.tell_after(delay, self._actor, Due())

    def _land(self, door: Door | None, request: OrderRequest | CancelRequest, rule: Rule) -> None:
        """A delayed order or cancellation arrives. Its sender may be gone: then only the account's stream tells it."""
        if door is not None and door.open:
            self._arrive(door, request, rule)
            return
        answer = self._answer(request)
        if isinstance(answer, OrderAnswered) and answer.order is not None:
            self._report_to(request.account, answer.order)

    def _arrive(self, door: Door, request: Request, rule: Rule) -> None:
        if rule.error not in (None, "unknown_after"):
            answer: object = RequestFailed(request_id=request.request_id, error=_error(rule.error or ""))
        else:
            answer = self._answer(request, behind=rule.behind_executions)
            if rule.error is not None:
                answer = RequestFailed(request_id=request.request_id, error=_error("unknown"))
            elif rule.absent and isinstance(answer, OrderAnswered):
                answer = replace(answer, order=None)
        self._reply(door, answer, rule)

    def _report_to(self, account: str, order: VenueOrder) -> None:
        door = self._door_of(account)
        # What is executed on a shared ledger is told by whoever looks around there, to everybody.
        if door is not None and not (self._shared and order.filled):
            self.report(door, order)

    # -- the way back --------------------------------------------------------------------------------------------------

    def _reply(self, door: Door, message: object, rule: Rule | None) -> None:
        if rule is None:
            self._deliver(door, message)
        elif rule.lose == "reply":
            pass
        elif rule.delay_reply_seconds:
            self._clock.tell_after(rule.delay_reply_seconds, self._actor, Told(door, message, rule))
        else:
            self._hold_or_deliver(door, message, rule)

    def _hold_or_deliver(self, door: Door, message: object, rule: Rule) -> None:
        if rule.hold_for:
            self._held.append(_Held(door, message, rule.repeat, rule.hold_for))
        else:
            self._deliver(door, message, repeat=rule.repeat)

    def _deliver(self, door: Door, message: object, *, repeat: int = 0) -> None:
        """Tell a message, and then those that waited for it. What was held back does not free others."""
        if not self._held:
            self._tell(door, message, repeat)
            return
        waiting = list(self._held)
        self._tell(door, message, repeat)
        for held in waiting:
            if held.door is door:
                held.left -= 1
                if not held.left:
                    self._held.remove(held)
                    self._tell(door, held.message, held.repeat)

    def _tell(self, door: Door, message: object, repeat: int) -> None:
        for _ in range(1 + repeat):
            if door.open:
                tell_at_leisure(door.listener, message)

    # -- what the ledger says ------------------------------------------------------------------------------------------

    def _serve(self, asked: Sequence[Asked]) -> None:
        """Answer requests in one transaction; nothing is told before all of it is durable."""
        if len(asked) == 1:
            self._deliver(asked[0].door, self._answer(asked[0].request))
        elif asked:
            answers = self._answers([item.request for item in asked])
            for item, answer in zip(asked, answers, strict=True):
                self._deliver(item.door, answer)

    def _answers(self, requests: Sequence[Request]) -> list[object]:
        writes = any(isinstance(request, OrderRequest | CancelRequest) for request in requests)
        try:
            with self._exchange.together(writes=writes):
                return [self._answer(request) for request in requests]
        except Spoiled:
            return [self._answer(request) for request in requests]
        except InDoubt as error:
            failure: VenueError = OrderUnknown("ledger", f"the paper ledger failed: {error}")
        except sqlite3.Error as error:
            failure = VenueUnavailable("ledger_busy", f"the paper ledger cannot be written: {error}")
        return [
            RequestFailed(request_id=request.request_id, error=failure)
            if isinstance(request, OrderRequest | CancelRequest)
            else self._answer(request)
            for request in requests
        ]

    def _answer(self, request: Request, *, behind: int = 0) -> object:
        """Every request gets an outcome, also when the ledger fails or we are wrong."""
        try:
            return self._outcome(request, {"behind": behind} if behind else {})
        except VenueError as error:
            return RequestFailed(request_id=request.request_id, error=error)
        except sqlite3.Error as error:
            failure: VenueError = VenueUnavailable("ledger", f"the paper ledger cannot be read: {error}")
            if isinstance(request, OrderRequest | CancelRequest):
                failure = OrderUnknown("ledger", f"the paper ledger failed: {error}")
            return RequestFailed(request_id=request.request_id, error=failure)

    def _outcome(self, request: Request, lag: dict[str, int]) -> object:
        exchange = self._exchange
        match request:
            case OrderRequest():
                return self._order_answered(request.request_id, exchange.submit(request, self._clock.now()))
            case CancelRequest():
                return self._order_answered(request.request_id, exchange.cancel(request, self._clock.now()))
            case LookUpRequest():
                read = exchange.look_up(request.account, request.symbol, request.client_order_id, request.kind, **lag)
                return self._order_answered(request.request_id, read)
            case CandlesRequest():
                candles, complete = exchange.candles(request.symbol, request.source, request.since)
                return CandlesAnswered(request_id=request.request_id, candles=candles, complete=complete)
            case AccountRequest():
                return self._account_answered(request, lag)
            case SurveyRequest():
                found = exchange.survey(request.account, request.slots, self._clock.now())
                return SurveyAnswered(request_id=request.request_id, slots=found)

    def _order_answered(self, request_id: str, read: OrderRead) -> OrderAnswered:
        return OrderAnswered(
            request_id=request_id,
            order=read.order,
            read_at=read.at or self._clock.now(),
            venue_quantity=read.venue_quantity,
        )

    def _account_answered(self, request: AccountRequest, lag: dict[str, int]) -> AccountAnswered:
        instrument = self._exchange.instruments.get(request.symbol)
        if instrument is None:
            raise OrderRejected("unknown_symbol", f"{request.symbol} is not traded here")
        read = self._exchange.read_account(request.account, request.symbol, request.trades_since, **lag)
        return AccountAnswered(
            request_id=request.request_id,
            symbol=request.symbol,
            position=read.position,
            orders=read.orders,
            trades=read.trades,
            quote=read.quote,
            instrument=instrument,
            read_at=read.quote.at if read.quote else self._clock.now(),
        )

    # -- things under way ----------------------------------------------------------------------------------------------

    def _partial_fill(self, order: OrderRow) -> Partial | None:
        rule = self._rule("fill", order)
        if rule is None or rule.fill is None:
            return None
        if isinstance(rule.rest, str):
            return Partial(rule.fill, ends=rule.rest == "never")
        self._clock.tell_after(rule.rest, self._actor, Due())
        return Partial(rule.fill, due_at=self._clock.now() + int(rule.rest * _MICROS_PER_SECOND))

    def _look_at(self, due_at: Micros | None) -> None:
        self.close()
        if due_at is not None:
            seconds = max(_SHORTEST_SECONDS, (due_at - self._clock.now()) / _MICROS_PER_SECOND)
            self._timer = self._clock.tell_after(seconds, self._actor, Due())


def _order_id(subject: object) -> str:
    about = subject.order if isinstance(subject, OrderUpdated) else subject
    return str(getattr(about, "client_order_id", ""))


def _error(code: str) -> VenueError:
    if code == "unknown":
        return OrderUnknown("timeout", "no answer in time")
    if code == "unavailable":
        return VenueUnavailable("network", "no connection")
    return OrderRejected(code, "refused for a test")
