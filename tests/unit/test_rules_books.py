"""The books: profit, fees, funding and extremes, exact to the last digit and with their times."""

import pytest

from actors.domain.events import FundingPaid, PriceMoved
from tests.unit.driver import SECOND, START, D, opened

PLAN = {"stop": {"percent": "50"}, "targets": [{"at": {"percent": "1"}, "close": "0.6"}]}


@pytest.mark.parametrize(("side", "sign"), [("long", 1), ("short", -1)])
def test_realized_profit_is_gross_and_exact(side: str, sign: int) -> None:
    """Six at 101.3 and four at 99.7 from 100: 7.8 - 1.2."""
    desk = opened(PLAN, side)
    desk.price(D(100) + sign * D("1.3"), D(100) - sign * D("0.3"))
    desk.close()
    assert desk.position.realized_pnl == D("6.6")
    assert desk.position.fees == 0


def test_profit_stays_exact_when_the_average_entry_has_no_end() -> None:
    """1 at 100 and 2 at 101 average 100.666…; sold at 101 they earn 1, not 0.999…."""
    desk = opened({"stop": {"percent": "50"}}, held=("entry",), quantity=D(3))
    desk.fill("entry", "1", price="100")
    desk.fill("entry", "2", price="101")
    desk.price("101")
    desk.close()
    assert desk.position.realized_pnl == D(1)


def test_extremes_are_measured_from_the_average_that_the_whole_entry_paid() -> None:
    """Five at 100, a price of 96, five more at 98: from 99 that was 3.03 %, and from 100 it never was better."""
    desk = opened({"stop": {"percent": "50"}}, held=("entry",))
    desk.fill("entry", "5", price="100")
    desk.price("96")
    desk.fill("entry", "5", price="98")
    mae, mfe = desk.position.mae, desk.position.mfe
    assert mae is not None
    assert mfe is not None
    assert (mae.price, mae.percent) == (D(96), D(3) / D(99) * 100)
    assert (mfe.price, mfe.percent) == (D(100), D(1) / D(99) * 100)


def test_profit_follows_an_entry_that_fills_while_its_stop_fires() -> None:
    """Two at 100, one of them stopped at 90; eight more at 90 make the average 92, and the loss 2, not 10."""
    desk = opened({"stop": {"percent": "5"}}, held=("entry", "resident-", "stop"))
    desk.fill("entry", "2", price="100")
    desk.fill("resident-1", "1", price="90")
    assert desk.position.realized_pnl == D(-10)
    desk.fill("entry", "8", price="90")
    assert desk.position.entry_price == D(92)
    assert desk.position.realized_pnl == D(-2)


def test_fees_are_summed_apart_from_the_profit() -> None:
    """0.05 % of 1000 in, of 606 and of 404 out."""
    desk = opened(PLAN, fee_percent="0.05")
    desk.price("101")
    desk.close()
    assert desk.position.realized_pnl == D(10)
    assert desk.position.fees == D("0.5") + D("0.303") + D("0.202")


def test_funding_is_booked_once_by_its_id() -> None:
    """Positive when received; a repeat changes nothing; it moves neither profit nor fees."""
    desk = opened(PLAN)
    for funding_id, amount in (("f1", "1.25"), ("f2", "-0.75"), ("f1", "1.25")):
        desk.tell(FundingPaid(at=desk.at, funding_id=funding_id, amount=D(amount)))
    assert desk.position.funding == D("0.5")
    assert desk.position.realized_pnl == 0
    assert desk.position.fees == 0


@pytest.mark.parametrize(("side", "sign"), [("long", 1), ("short", -1)])
def test_mae_and_mfe_have_price_percent_and_time(side: str, sign: int) -> None:
    """The worst and the best price since entry; percents are magnitudes of the entry price."""
    desk = opened({"stop": {"percent": "50"}}, side)
    for move in ("0.5", "-2", "3.25", "-1", "3", "-2"):
        desk.price(D(100) + sign * D(move))
    mae, mfe = desk.position.mae, desk.position.mfe
    assert mae is not None
    assert mfe is not None
    assert (mae.price, mae.percent, mae.at) == (D(100) - sign * 2, D(2), START + 2 * SECOND)
    assert (mfe.price, mfe.percent, mfe.at) == (D(100) + sign * D("3.25"), D("3.25"), START + 3 * SECOND)


def test_extremes_follow_the_stops_source() -> None:
    """A wick of another source is no excursion."""
    desk = opened({"stop": {"percent": "50"}})
    desk.price(mark="99", last="60", bid="61", ask="140")
    desk.price(mark="101", last="60", bid="61", ask="140")
    assert desk.position.mae is not None
    assert desk.position.mfe is not None
    assert (desk.position.mae.price, desk.position.mfe.price) == (D(99), D(101))


def test_the_price_that_stops_out_counts_as_an_excursion() -> None:
    """Extremes come first: a gap through the stop is how far it really went."""
    desk = opened({"stop": {"percent": "5"}})
    desk.price("90")
    assert desk.position.mae is not None
    assert desk.position.mae.percent == D(10)


@pytest.mark.parametrize(("side", "sign"), [("long", 1), ("short", -1)])
def test_the_peak_is_the_best_price_since_the_trail_was_armed_with_its_time(side: str, sign: int) -> None:
    """What came before arming is an excursion, not a peak."""
    plan = {
        "stop": {"percent": "50"},
        "targets": [{"at": {"percent": "2"}, "close": "0", "then": {"trail": {"price": "10"}}}],
    }
    desk = opened(plan, side)
    assert desk.position.peak_price is None
    desk.price(*(D(100) + sign * D(move) for move in ("1", "2", "4", "3")))
    assert desk.position.peak_price == D(100) + sign * D(4)
    assert desk.position.peak_at == START + 3 * SECOND


def test_without_a_trail_there_is_no_peak() -> None:
    """None, not a number that means nothing."""
    desk = opened(PLAN)
    desk.price("130", "120")
    assert desk.position.peak_price is None
    assert not desk.position.trailing_stop_active


def test_nothing_changes_after_the_end() -> None:
    """A closed position is what it was, whatever the market does."""
    desk = opened(PLAN)
    desk.close()
    before = desk.position
    desk.price("10", "1000")
    assert desk.position == before
    assert desk.tell(PriceMoved(quote=desk.quote)) == ()


def test_every_fill_is_in_the_books_with_its_fee_and_time() -> None:
    """fills: leg, reason, price, quantity, fee, at."""
    desk = opened(PLAN, fee_percent="0.1")
    desk.price("101")
    entry, partial = desk.position.fills
    assert (entry.leg, entry.reason, entry.quantity, entry.fee) == ("entry", "entry", D(10), D(1))
    assert (partial.leg, partial.reason, partial.price, partial.quantity) == ("target-1", "take_profit", D(101), D(6))
    assert partial.fee == D("0.606")
    assert partial.at == desk.at
    assert desk.target(1).filled == D(6)
