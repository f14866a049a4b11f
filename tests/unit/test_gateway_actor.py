"""The GatewayActor: signs only what the lease outlives, sends once, and looks up what it does not know."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pykka
import pytest
import structlog
from structlog.testing import LogCapture

from actors.directory import Directory, FeedStatus
from actors.domain.events import (
    Cancel,
    LookUp,
    OrderAbsent,
    OrderRefused,
    OrderReported,
    OrderState,
    OrderUnknown,
    Submit,
)
from actors.domain.model import Instrument, OrderKind, OrderSide, Quote, Side, Source
from actors.gateway import GatewayActor
from actors.gateway_parts import GatewayParts
from actors.price_bound import PriceBound
from actors.runtime.base import Ref, tell
from actors.runtime.simulator import Simulator
from actors.settings import AccountSettings
from actors.traffic import CancelOrder, EnsureStop, LookUpOrder, MarketsReady, ReadSlot, SendOrder, SlotRead
from actors.venues import base
from actors.venues.base import (
    AccountAnswered,
    AccountRequest,
    CancelRequest,
    LookUpRequest,
    OrderAnswered,
    OrderRejected,
    OrderRequest,
    RequestFailed,
    VenueOrder,
    VenuePosition,
    VenueTraits,
    VenueUnavailable,
)
from persistence.lease import Lease, LeaseBoard
from tests.unit.driver import opened

SYMBOL = "BTC/USDT:USDT"
EXPIRY, SKEW = 5.0, 1.0
INSTRUMENT = Instrument(
    symbol=SYMBOL, tick_size=Decimal("0.1"), quantity_step=Decimal("0.001"), minimum_quantity=Decimal("0.001")
)


class Listener(pykka.ThreadingActor):
    """Keeps what it is told."""

    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self._heard = heard

    def on_receive(self, message: object) -> None:
        """Keep it."""
        self._heard.append(message)


class SilentVenue:
    """Takes every request and answers none; the test answers in its place."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.listener: Ref | None = None

    @property
    def traits(self) -> VenueTraits:
        """A live venue's."""
        return VenueTraits(name="silent", stop_triggers=(), expires_requests=True, live_money=False, lockstep=False)

    def instruments(self) -> Sequence[Instrument]:
        """One symbol."""
        return (INSTRUMENT,)

    def start(self, listener: Ref) -> None:
        """Remember whom to answer."""
        self.listener = listener

    def resume(self, *, prices: bool = True) -> None:
        """No prices here."""

    def stop(self, listener: Ref | None = None) -> None:
        """Nothing to end."""

    def settled(self, symbol: str, sequence: int) -> None:
        """Nothing waits."""

    def watch(self, symbol: str) -> None:
        """No prices here."""

    def _take(self, request: Any) -> None:
        self.requests.append(request)

    def submit(self, request: OrderRequest) -> None:
        """Keep it."""
        self._take(request)

    def cancel(self, request: CancelRequest) -> None:
        """Keep it."""
        self._take(request)

    def look_up(self, request: LookUpRequest) -> None:
        """Keep it."""
        self._take(request)

    def read_account(self, request: base.AccountRequest) -> None:
        """Keep it."""
        self._take(request)

    def read_candles(self, request: base.CandlesRequest) -> None:
        """Keep it."""
        self._take(request)

    def of(self, kind: type) -> list[Any]:
        """The requests of one kind."""
        return [request for request in self.requests if isinstance(request, kind)]


class Bench:
    """A GatewayActor between a silent venue and a position that listens."""

    def __init__(self) -> None:
        self.simulator = Simulator(seed=1)
        self.venue = SilentVenue()
        self.heard: list[Any] = []
        self.directory = Directory()
        self.leases = LeaseBoard()
        self.lease(1000.0)
        self.position = self.simulator.spawn(Listener, self.heard)
        self.gateway = self.simulator.spawn(
            GatewayActor,
            GatewayParts(
                settings=AccountSettings(
                    name="paper", shard="paper", request_expiry_seconds=EXPIRY, clock_skew_seconds=SKEW
                ),
                venue=self.venue,
                clock=self.simulator.clock,
                epoch=1,
                leases=self.leases,
                directory=self.directory,
                order_tag="0badc0de",
                supervisor=self.simulator.spawn(Listener, []),
                boottime=self.simulator.clock.monotonic,
            ),
        )
        self.tell(MarketsReady(markets={}))

    def lease(self, seconds: float, *, fenced: bool = False, epoch: int = 1, ours_since: int = 1) -> None:
        """The shard is ours for so long from now."""
        deadline = self.simulator.clock.monotonic() + seconds
        self.leases.post(Lease(shard="paper", epoch=epoch, deadline=deadline, fenced=fenced, ours_since=ours_since))

    def tell(self, message: object) -> None:
        """Tell the gateway something and let it act."""
        tell(self.gateway, message)
        self.run()

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass."""
        self.simulator.run(for_seconds=seconds, limit=10_000)
        assert self.simulator.failures == []

    def send(self, bound: PriceBound | None = None) -> OrderRequest | None:
        """Ask for one order; what the venue got of it."""
        before = len(self.venue.of(OrderRequest))
        self.tell(
            SendOrder(
                symbol=SYMBOL,
                submit=Submit(
                    client_order_id="id",
                    leg="target-1",
                    kind=OrderKind.MARKET,
                    side=OrderSide.SELL,
                    quantity=Decimal(1),
                    reduce_only=True,
                ),
                reply_to=self.position,
                bound=bound,
            )
        )
        sent = self.venue.of(OrderRequest)[before:]
        return sent[0] if sent else None

    def answer(self, request: Any, order: VenueOrder | None) -> None:
        """The venue answers."""
        self.tell(OrderAnswered(request_id=request.request_id, order=order, read_at=7, venue_quantity=Decimal(-2)))

    def fail(self, request: Any, error: base.VenueError) -> None:
        """The venue answers with an error."""
        self.tell(RequestFailed(request_id=request.request_id, error=error))

    def answer_look_ups(self, order: VenueOrder | None, seconds: float) -> int:
        """Answer every look-up for a while; how many there were."""
        answered = 0
        for _ in range(int(seconds / 0.05)):
            for request in self.venue.of(LookUpRequest)[answered:]:
                answered += 1
                self.answer(request, order)
            self.run(0.05)
        return answered


def order(state: OrderState = OrderState.FILLED, kind: OrderKind = OrderKind.MARKET) -> VenueOrder:
    """One order as the venue tells it."""
    return VenueOrder(
        client_order_id="id",
        venue_order_id="1",
        symbol=SYMBOL,
        kind=kind,
        side=OrderSide.SELL,
        quantity=Decimal(1),
        filled=Decimal(1),
        state=state,
        reduce_only=True,
        trigger_price=None,
        trades=(),
        updated_at=7,
    )


@pytest.fixture
def bench() -> Bench:
    """A fresh one."""
    return Bench()


@pytest.mark.parametrize("left, signs", [(EXPIRY + SKEW, False), (EXPIRY + SKEW + 0.001, True), (-1.0, False)])
def test_nothing_is_signed_that_the_lease_does_not_outlive(bench: Bench, left: float, signs: bool) -> None:
    """Expiry and clock skew must fit in; otherwise the order never left, which the position hears after a while."""
    bench.lease(left)
    assert (bench.send() is not None) is signs
    assert bench.heard == []
    bench.run(1.5)
    assert bool(bench.heard) is not signs
    assert all(isinstance(message, OrderAbsent) for message in bench.heard)


def test_a_fenced_lease_signs_nothing(bench: Bench) -> None:
    """However long it would have lasted."""
    bench.lease(1000.0, fenced=True)
    assert bench.send() is None


def test_a_life_signs_nothing_under_the_lease_of_the_next_one(bench: Bench) -> None:
    """The same process has taken its shard again: its earlier gateway sends nothing more, but hears of its own end."""
    bench.lease(1000.0, epoch=2)
    assert bench.send() is None
    bench.tell(
        CancelOrder(symbol=SYMBOL, cancel=Cancel(client_order_id="id", kind=OrderKind.MARKET), reply_to=bench.position)
    )
    bench.run(5)
    assert bench.venue.requests == []
    assert [type(message) for message in bench.heard] == [OrderAbsent]


@pytest.mark.parametrize("ours_since, looks", [(1, True), (2, False)])
def test_a_close_of_an_earlier_life_looks_for_its_stop_unless_another_keeper_came_between(
    bench: Bench, ours_since: int, looks: bool
) -> None:
    """Taken again with nobody in between, and kept from coming back by the store: a close must not wait for that."""
    bench.lease(1000.0, epoch=3, ours_since=ours_since)
    close = Submit(
        client_order_id="id",
        leg="stop",
        kind=OrderKind.MARKET,
        side=OrderSide.SELL,
        quantity=Decimal(1),
        reduce_only=True,
        urgent=True,
    )
    bench.tell(SendOrder(symbol=SYMBOL, submit=close, reply_to=bench.position, guards=("resident",)))
    assert [type(request) for request in bench.venue.requests] == ([AccountRequest] if looks else [])


@pytest.mark.parametrize(
    "price, waits, leaves", [("99.8", 0, True), ("99.7", 0, False), (None, 4.9, True), (None, 5.1, False)]
)
def test_a_partial_is_signed_only_while_what_it_was_decided_by_counts(
    bench: Bench, price: str | None, waits: float, leaves: bool
) -> None:
    """The gateway looks again: at the latest price, and at how long ago it was let go; then it is decided anew."""
    now = bench.simulator.clock.monotonic()
    bound = PriceBound(side=Side.LONG, source=Source.LAST, worst=Decimal("99.8"), released_at=now - waits)
    if price is not None:
        quote = Quote(at=1, last=Decimal(price))
        bench.directory.feeds["paper", SYMBOL] = FeedStatus(account="paper", symbol=SYMBOL, quote=quote, fresh=True)
    assert (bench.send(bound) is not None) is leaves
    bench.run(1.5)
    assert [type(message) for message in bench.heard] == ([] if leaves else [OrderAbsent])


def test_a_request_carries_when_it_was_signed_and_how_long_it_counts(bench: Bench) -> None:
    """So that a frozen keeper's request is rejected by the venue."""
    request = bench.send()
    assert request is not None
    assert request.signed_at == bench.simulator.clock.now()
    assert request.expires_after_seconds == EXPIRY


def test_an_answer_is_reported_once(bench: Bench) -> None:
    """As an answer, not as read back; its repeat is nobody's any more."""
    request = bench.send()
    bench.answer(request, order())
    bench.answer(request, order())
    (report,) = bench.heard
    assert isinstance(report, OrderReported)
    assert not report.read_back
    assert report.venue_quantity == 2
    bench.run(100)
    assert bench.venue.requests == [request]


def test_a_rejection_is_definite(bench: Bench) -> None:
    """With its code; nothing is looked up."""
    request = bench.send()
    bench.fail(request, OrderRejected("below_minimum", "too small"))
    (refused,) = bench.heard
    assert isinstance(refused, OrderRefused)
    assert refused.code == "below_minimum"
    bench.run(100)
    assert bench.venue.requests == [request]


def test_what_never_left_is_told_after_a_pause(bench: Bench) -> None:
    """Definite too: the position decides anew."""
    request = bench.send()
    bench.fail(request, VenueUnavailable("network", "no connection"))
    assert bench.heard == []
    bench.run(2)
    assert [type(message) for message in bench.heard] == [OrderAbsent]
    assert bench.venue.requests == [request]


@pytest.mark.parametrize("how", ["unknown", "silence", "nothing"])
def test_everything_else_is_looked_up(bench: Bench, how: str) -> None:
    """An unclear error, silence past the expiry, an answer without our order: unknown, and then found."""
    request = bench.send()
    if how == "unknown":
        bench.fail(request, base.OrderUnknown("timeout", "no answer in time"))
    elif how == "nothing":
        bench.answer(request, None)
    else:
        bench.run(EXPIRY + SKEW + 0.1)
    assert isinstance(bench.heard[0], OrderUnknown)
    bench.answer_look_ups(order(), 1.0)
    assert [type(message) for message in bench.heard] == [OrderUnknown, OrderReported]
    assert bench.heard[1].read_back
    assert len(bench.venue.of(OrderRequest)) == 1


def test_an_order_is_absent_only_past_its_expiry_and_on_two_reads(bench: Bench) -> None:
    """It may still arrive until then, however often it is not found."""
    request = bench.send()
    bench.fail(request, base.OrderUnknown("timeout", "no answer in time"))
    bench.answer_look_ups(None, EXPIRY + SKEW - 0.5)
    assert [type(message) for message in bench.heard] == [OrderUnknown]
    bench.answer_look_ups(None, 5.0)
    assert [type(message) for message in bench.heard] == [OrderUnknown, OrderAbsent]


def test_one_read_past_the_expiry_is_not_enough(bench: Bench) -> None:
    """A single read may lag; absence is believed on the second."""
    request = bench.send()
    bench.fail(request, base.OrderUnknown("timeout", "no answer in time"))
    bench.run(EXPIRY + SKEW + 1)
    bench.answer(bench.venue.of(LookUpRequest)[-1], None)
    assert [type(message) for message in bench.heard] == [OrderUnknown]
    bench.run(2)
    bench.answer(bench.venue.of(LookUpRequest)[-1], None)
    assert [type(message) for message in bench.heard] == [OrderUnknown, OrderAbsent]


def test_an_answer_about_another_order_says_nothing_of_ours(bench: Bench) -> None:
    """Sent or looked up: an answer that carries a strange id leaves the outcome unknown."""
    request = bench.send()
    bench.answer(request, replace(order(), client_order_id="strange"))
    assert [type(message) for message in bench.heard] == [OrderUnknown]
    bench.answer(bench.venue.of(LookUpRequest)[-1], replace(order(), client_order_id="strange"))
    bench.run(2)
    assert [type(message) for message in bench.heard] == [OrderUnknown]
    bench.answer(bench.venue.of(LookUpRequest)[-1], order())
    assert [type(message) for message in bench.heard] == [OrderUnknown, OrderReported]


def test_a_rejection_that_is_not_on_the_list_is_unknown(bench: Bench) -> None:
    """Only a short white list of refusals means that nothing was executed."""
    request = bench.send()
    bench.fail(request, base.OrderRejected("something_new", "no"))
    assert [type(message) for message in bench.heard] == [OrderUnknown]


def test_the_signing_time_is_read_before_the_deadline_is_checked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that froze between the two would otherwise sign a late request with a fresh time."""
    clock, left = bench.simulator.clock, bench.leases.seconds_left
    now, signed = clock.now, clock.now()

    def frozen_meanwhile(shard: str, at: float, **named: Any) -> float:
        monkeypatch.setattr(clock, "now", lambda: now() + 60_000_000)
        return left(shard, at, **named)

    monkeypatch.setattr(bench.leases, "seconds_left", frozen_meanwhile)
    request = bench.send()
    assert request is not None
    assert request.signed_at == signed


def test_a_look_up_that_is_not_answered_is_asked_again(bench: Bench) -> None:
    """Silence is no answer; reading changes nothing, so it is repeated."""
    bench.tell(
        LookUpOrder(symbol=SYMBOL, look_up=LookUp(client_order_id="id", kind=OrderKind.MARKET), reply_to=bench.position)
    )
    bench.run(EXPIRY + SKEW + 1)
    assert len(bench.venue.of(LookUpRequest)) == 2
    assert bench.heard == []


def test_proof_waits_for_requests_of_a_former_life(bench: Bench) -> None:
    """After a restart an order that is not found may still be on its way."""
    look_up = LookUp(client_order_id="id", kind=OrderKind.MARKET, proof=True)
    bench.tell(LookUpOrder(symbol=SYMBOL, look_up=look_up, reply_to=bench.position))
    bench.answer_look_ups(None, EXPIRY + SKEW - 0.5)
    assert bench.heard == []
    bench.answer_look_ups(None, 5.0)
    assert [type(message) for message in bench.heard] == [OrderAbsent]


def test_look_ups_that_find_nothing_are_paced(bench: Bench) -> None:
    """The pause grows to a second: a venue counts requests."""
    look_up = LookUp(client_order_id="id", kind=OrderKind.MARKET, proof=True)
    bench.tell(LookUpOrder(symbol=SYMBOL, look_up=look_up, reply_to=bench.position))
    assert bench.answer_look_ups(None, EXPIRY + SKEW + 3) <= 15


def test_a_position_that_asks_again_and_again_is_paced(bench: Bench) -> None:
    """Each report makes it ask once more: the venue must not hear of it hundreds of times a second."""
    look_up = LookUp(client_order_id="id", kind=OrderKind.MARKET)
    for _ in range(200):
        bench.tell(LookUpOrder(symbol=SYMBOL, look_up=look_up, reply_to=bench.position))
        bench.answer(bench.venue.of(LookUpRequest)[-1], order(OrderState.EXPIRED))
    assert len(bench.venue.of(LookUpRequest)) <= 20


def test_a_cancel_without_an_answer_is_settled_by_the_orders_own_state(bench: Bench) -> None:
    """Looked up after the expiry; what it then is, is reported as read back."""
    cancel = Cancel(client_order_id="id", kind=OrderKind.STOP_MARKET)
    bench.tell(CancelOrder(symbol=SYMBOL, cancel=cancel, reply_to=bench.position))
    assert len(bench.venue.of(CancelRequest)) == 1
    bench.run(EXPIRY + SKEW + 0.1)
    bench.answer_look_ups(order(OrderState.CANCELLED, OrderKind.STOP_MARKET), 1.0)
    (report,) = bench.heard
    assert (report.state, report.read_back) == (OrderState.CANCELLED, True)


def test_a_cancel_waits_for_a_lease(bench: Bench) -> None:
    """It is signed like everything else."""
    bench.lease(0.0)
    cancel = Cancel(client_order_id="id", kind=OrderKind.STOP_MARKET)
    bench.tell(CancelOrder(symbol=SYMBOL, cancel=cancel, reply_to=bench.position))
    bench.run(3)
    assert bench.venue.of(CancelRequest) == []
    bench.lease(100.0)
    bench.run(1.5)
    assert len(bench.venue.of(CancelRequest)) == 1


def test_a_read_that_fails_is_asked_again(bench: Bench) -> None:
    """After a pause, and answered once."""
    bench.tell(ReadSlot(symbol=SYMBOL, trades_since=0, reply_to=bench.position))
    bench.fail(bench.venue.requests[-1], VenueUnavailable("network", "no connection"))
    assert len(bench.venue.requests) == 1
    bench.run(1.5)
    answer = AccountAnswered(
        request_id=bench.venue.requests[-1].request_id,
        symbol=SYMBOL,
        position=None,
        orders=(),
        trades=(),
        quote=None,
        instrument=INSTRUMENT,
        read_at=7,
    )
    bench.tell(answer)
    bench.tell(answer)
    assert [type(message) for message in bench.heard] == [SlotRead]


# -- quarantine --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged, whatever the other tests are told to hear."""
    before, heard = structlog.get_config(), LogCapture()
    structlog.configure(processors=[heard], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield heard.entries
    structlog.configure(**before)


def held_without_stop(request: Any) -> AccountAnswered:
    """The venue holds a position, and nothing rests."""
    held = VenuePosition(symbol=SYMBOL, side=Side.LONG, quantity=Decimal(1), entry_price=Decimal(60000))
    return AccountAnswered(
        request_id=request.request_id,
        symbol=SYMBOL,
        position=held,
        orders=(),
        trades=(),
        quote=None,
        instrument=INSTRUMENT,
        read_at=7,
    )


def test_a_position_that_cannot_be_protected_is_told_once(lines: list[Any]) -> None:
    """Held, no stop at rest, and no readable state to place one from: one alert, with its true reason."""
    bench = Bench()
    bench.tell(EnsureStop(position_id="p1", symbol=SYMBOL, position=None))
    bench.tell(held_without_stop(bench.venue.requests[-1]))
    bench.run(60)
    told = [line for line in lines if line["event"] == "position.unprotected"]
    assert len(told) == 1
    assert "in time" not in told[0]["why"]
    assert bench.venue.of(OrderRequest) == []


def test_a_venue_that_is_silent_about_a_quarantined_slot_is_told(lines: list[Any]) -> None:
    """Nobody knows whether it is protected: that is an alert too."""
    bench = Bench()
    bench.tell(EnsureStop(position_id="p1", symbol=SYMBOL, position=None))
    bench.run(60)
    told = [line for line in lines if line["event"] == "position.unprotected"]
    assert len(told) == 1
    assert "in time" in told[0]["why"]


def test_an_emergency_stop_without_an_answer_is_looked_for_before_it_is_placed_again(lines: list[Any]) -> None:
    """The slot is read past the request's expiry: there, it is verified; not there, the same id is sent once more."""
    bench = Bench()
    position = opened({"stop": {"percent": "5"}}, quantity=Decimal(1), entry=60000, order_tag="0badc0de").position
    bench.tell(EnsureStop(position_id="p1", symbol=SYMBOL, position=position))
    bench.tell(held_without_stop(bench.venue.requests[-1]))
    (first,) = bench.venue.of(OrderRequest)
    bench.run(13)
    reads = bench.venue.of(base.AccountRequest)
    assert len(reads) > 1
    assert len(bench.venue.of(OrderRequest)) == 1
    bench.tell(held_without_stop(reads[-1]))
    (_, second) = bench.venue.of(OrderRequest)
    assert second.client_order_id == first.client_order_id
    bench.run(13)
    rests = replace(
        order(OrderState.OPEN),
        client_order_id=second.client_order_id,
        kind=OrderKind.STOP_MARKET,
        quantity=Decimal(1),
        filled=Decimal(0),
        reduce_only=True,
    )
    bench.tell(replace(held_without_stop(bench.venue.of(base.AccountRequest)[-1]), orders=(rests,)))
    bench.run(60)
    assert len(bench.venue.of(OrderRequest)) == 2
    told = [line["event"] for line in lines if line["event"].startswith("position.")]
    assert told == ["position.unprotected", "position.protected"]


def test_each_request_is_overdue_in_its_own_time(bench: Bench) -> None:
    """One reminder serves them all: an answered one is passed over, and the next has its whole time."""

    def unknown() -> list[str]:
        return [message.client_order_id for message in bench.heard if isinstance(message, OrderUnknown)]

    for name in ("first", "second", "third"):
        submit = Submit(
            client_order_id=name,
            leg="target-1",
            kind=OrderKind.MARKET,
            side=OrderSide.SELL,
            quantity=Decimal(1),
            reduce_only=True,
        )
        bench.tell(SendOrder(symbol=SYMBOL, submit=submit, reply_to=bench.position))
        bench.run(1.0)
    first, *_ = bench.venue.of(OrderRequest)
    bench.answer(first, replace(order(), client_order_id="first"))
    told: list[list[str]] = []
    for seconds in (EXPIRY + SKEW - 2.1, 0.2, 0.8, 0.2):
        bench.run(seconds)
        told.append(unknown())
    assert told == [[], ["second"], ["second"], ["second", "third"]]
    # Nothing is left to remind of, and the next one is reminded of all the same.
    bench.run(60)
    bench.send()
    bench.run(EXPIRY + SKEW + 0.1)
    assert unknown() == ["second", "third", "id"]
