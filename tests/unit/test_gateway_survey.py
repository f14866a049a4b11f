"""A gateway that is asked about many slots at once: what it answers, and what it keeps for whoever takes them."""

from decimal import Decimal
from typing import Any

import pytest

from actors.domain.events import OrderReported, OrderState
from actors.domain.model import OrderKind, OrderSide
from actors.survey import SlotAsked, SlotSurveyed, SurveyAnswered, SurveyRequest
from actors.traffic import LookAgain, SlotsTaken, SlotTaken, Survey, Surveyed
from actors.venues.base import OrderUpdated, RequestFailed, StreamRestored, VenueOrder, VenueUnavailable
from tests.unit.test_gateway_actor import EXPIRY, SKEW, SYMBOL, Bench, SilentVenue

ASKED = SlotAsked(symbol=SYMBOL, trades_since=0, orders=(), sources=(), candles_since=0)


class SilentSurvey(SilentVenue):
    """A silent venue that can be asked about many slots."""

    def survey(self, request: SurveyRequest) -> None:
        """Keep it."""
        self._take(request)


class Surveying(Bench):
    """A gateway at such a venue; whoever listens asks and takes the slot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.unit.test_gateway_actor.SilentVenue", SilentSurvey)
        super().__init__()

    def ask(self) -> SurveyRequest:
        """Ask about one slot."""
        self.tell(Survey(number=7, slots=(ASKED,), reply_to=self.position))
        request: SurveyRequest = self.venue.of(SurveyRequest)[-1]
        return request

    def take(self) -> None:
        """Somebody manages it from now on."""
        slot = SlotTaken(position_id="p1", symbol=SYMBOL, ref=self.position)
        self.tell(SlotsTaken(slots=(slot,)))

    def hear(self, kind: type) -> list[Any]:
        """What was told of this kind."""
        return [message for message in self.heard if isinstance(message, kind)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Surveying:
    """One at work."""
    return Surveying(monkeypatch)


def report() -> OrderUpdated:
    """The stop has fired."""
    order = VenueOrder(
        client_order_id="0badc0de" + "0" * 24,
        venue_order_id="1",
        symbol=SYMBOL,
        kind=OrderKind.STOP_MARKET,
        side=OrderSide.SELL,
        quantity=Decimal(1),
        filled=Decimal(1),
        state=OrderState.FILLED,
        reduce_only=True,
        trigger_price=Decimal(90),
        trades=(),
        updated_at=1,
    )
    return OrderUpdated(account="paper", order=order)


def test_the_answer_goes_to_who_asked(bench: Surveying) -> None:
    """By its number, and once."""
    request = bench.ask()
    assert request.slots == (ASKED,)
    slot = SlotSurveyed(
        symbol=SYMBOL, position=None, orders=(), looked_up=(), trades=(), candles=(), quote=None, read_at=1
    )
    answer = SurveyAnswered(request_id=request.request_id, slots={SYMBOL: slot})
    bench.tell(answer)
    bench.tell(answer)
    assert bench.heard == [Surveyed(number=7, slots={SYMBOL: slot})]


def test_a_failure_is_an_answer_about_nothing(bench: Surveying) -> None:
    """Every slot is then asked for by itself."""
    request = bench.ask()
    bench.tell(RequestFailed(request_id=request.request_id, error=VenueUnavailable("network", "cut")))
    assert bench.heard == [Surveyed(number=7, slots={})]


def test_so_is_silence(bench: Surveying) -> None:
    """It is not asked again."""
    bench.ask()
    bench.run(EXPIRY + SKEW + 1)
    assert bench.heard == [Surveyed(number=7, slots={})]
    assert len(bench.venue.of(SurveyRequest)) == 1


def test_a_venue_that_offers_none_is_not_asked() -> None:
    """The answer is at once that nothing was found."""
    bench = Bench()
    bench.tell(Survey(number=7, slots=(ASKED,), reply_to=bench.position))
    assert bench.heard == [Surveyed(number=7, slots={})]
    assert bench.venue.requests == []


@pytest.mark.parametrize("answered", [False, True])
def test_a_report_that_comes_before_the_slot_is_taken_is_kept(bench: Surveying, answered: bool) -> None:
    """It may be newer than what the survey has read: whoever takes the slot hears it, once."""
    request = bench.ask()
    if answered:
        bench.tell(SurveyAnswered(request_id=request.request_id, slots={}))
    bench.tell(report())
    assert bench.hear(OrderReported) == []
    bench.take()
    assert [told.client_order_id for told in bench.hear(OrderReported)] == [report().order.client_order_id]
    bench.take()
    assert len(bench.hear(OrderReported)) == 1


def test_a_stream_that_broke_meanwhile_has_the_slot_read_again(bench: Surveying) -> None:
    """What it told is lost, and the survey may be older."""
    bench.ask()
    bench.tell(StreamRestored(account="paper"))
    assert bench.hear(LookAgain) == []
    bench.take()
    assert len(bench.hear(LookAgain)) == 1


def test_nothing_is_kept_for_a_slot_that_nobody_asked_about(bench: Surveying) -> None:
    """Who takes it reads it first."""
    bench.tell(report())
    bench.take()
    assert bench.heard == []
