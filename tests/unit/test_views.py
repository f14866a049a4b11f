"""What people are shown of a position: exact numbers, exact times, and nothing that is not saved."""

from dataclasses import replace
from decimal import Decimal

import pytest

from actors.directory import Directory, HealthRecord
from actors.domain.model import Excursion, IntentStatus, OrderSide, Quote, Side
from actors.domain.plans import parse_plan
from service.decimals import parse_decimal, plain
from service.views import POSITION_FIELDS, health_view, moment, position_view
from tests.e2e.service_fakes import AT, intent, opening, published, quote, runner


def test_a_position_has_exactly_the_fields_of_the_api() -> None:
    """In any phase, readable or not."""
    for shown in (
        published(opening()),
        published(runner()),
        replace(published(runner()), position=None, quarantined="cannot be read"),
    ):
        assert tuple(position_view(shown, quote())) == POSITION_FIELDS


def test_until_something_is_filled_prices_are_null() -> None:
    """The quantity is what was asked for."""
    view = position_view(published(opening()), quote())
    assert view["phase"] == "opening"
    assert view["quantity"] == "0.01"
    for name in ("entry_price", "stop_price", "initial_stop_price", "peak_price", "unrealized_pnl", "mae", "mfe"):
        assert view[name] is None
    assert [target["price"] for target in view["targets"]] == [None, None]
    assert [target["number"] for target in view["targets"]] == [1, 2]
    assert view["pending"] == [
        {"leg": "entry", "quantity": "0.01", "status": "sent", "client_order_id": "abcdef01entry"}
    ]


def test_a_runner_is_shown_exactly() -> None:
    """Money adds up, hit targets are told apart from filled ones, the stop at rest is named."""
    view = position_view(published(runner()), quote("60500"))
    assert (view["quantity"], view["remaining"], view["entry_price"]) == ("0.01", "0.004", "60000")
    assert (view["tp1_hit"], view["tp2_hit"]) == (True, False)
    assert view["targets"][0] == {
        "number": 1,
        "price": "60600",
        "quantity": "0.006",
        "order": "market",
        "hit": True,
        "filled": "0.006",
    }
    assert (view["realized_pnl"], view["fees"], view["funding"], view["net_pnl"]) == ("3.6", "0.5", "-0.1", "3")
    assert view["unrealized_pnl"] == "2"
    assert view["protected"] is True
    assert view["resident_stop"] == {"leg": "resident-2", "price": "60000", "quantity": "0.004", "status": "resting"}
    assert view["pending"] == []
    assert view["mfe"] == {
        "price": "60700",
        "percent": "1.1666666666666666666666666667",
        "at": "2023-11-14T22:13:20.123457Z",
    }
    assert view["opened_at"] == "2023-11-14T22:13:20.123456Z"
    assert view["stop_reason"] == "breakeven"


def test_the_open_profit_follows_the_price_the_stop_watches() -> None:
    """A short that watches bid and ask would buy at the ask."""
    plan = parse_plan({"stop": {"percent": "1"}, "trigger_by": {"stop": "bid_ask"}})
    position = runner(side=Side.SHORT, plan=plan)
    prices = Quote(at=AT, mark=Decimal(1), last=Decimal(2), bid=Decimal(59000), ask=Decimal(59500))
    view = position_view(published(position), prices)
    assert view["unrealized_pnl"] == "2"
    assert view["last_price"] == "2"
    assert position_view(published(position), None)["unrealized_pnl"] is None


def test_a_position_that_stands_still_says_so() -> None:
    """Whatever phase it was in before."""
    assert position_view(published(runner(), quarantined="fails"), None)["phase"] == "quarantined"


def test_an_order_whose_end_is_open_is_pending() -> None:
    """A resident stop under way too; once it rests it is shown as the stop."""
    moving = intent("resident-3", OrderSide.SELL, "0.004", IntentStatus.UNKNOWN, trigger_price=Decimal(1))
    position = runner()
    view = position_view(published(replace(position, intents=(*position.intents, moving))), None)
    assert [item["leg"] for item in view["pending"]] == ["resident-3"]
    assert view["resident_stop"]["leg"] == "resident-2"
    leaving = replace(position.intents[-1], cancel_requested=True)
    view = position_view(published(replace(position, intents=(leaving,))), None)
    assert [item["leg"] for item in view["pending"]] == ["resident-2"]
    assert view["protected"] is False


def test_a_resting_target_is_shown_as_a_limit_until_software_closes_it() -> None:
    """Also one that an amendment took out of the plan after it had closed a part."""
    plan = parse_plan(
        {"stop": {"percent": "1"}, "targets": [{"at": {"percent": "2"}, "close": "0.5", "order": "limit"}]}
    )
    position = runner(plan=plan)
    (first, *_) = position.targets
    dropped = replace(first, number=7, hit=False)

    def orders(software: bool) -> list[tuple[int, str]]:
        targets = (replace(first, software=software), dropped)
        view = position_view(published(replace(position, targets=targets)), None)
        return [(target["number"], target["order"]) for target in view["targets"]]

    assert orders(software=False) == [(1, "limit"), (7, "limit")]
    assert orders(software=True) == [(1, "market"), (7, "limit")]


def test_health_is_worst_first() -> None:
    """The silent, then the unprotected, then the slow."""
    directory = Directory()
    directory.health = (
        HealthRecord(actor="fine", kind="x", answered=True),
        HealthRecord(actor="slow", kind="x", answered=True, mailbox_age_seconds=2.0),
        HealthRecord(actor="bare", kind="x", answered=True, protected=False),
        HealthRecord(actor="dead", kind="x", answered=False),
    )
    assert [actor["actor"] for actor in health_view(directory)["actors"]] == ["dead", "bare", "slow", "fine"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.60000", "0.6"),
        ("1E+3", "1000"),
        ("1E-10", "0.0000000001"),
        ("-0.00", "0"),
        ("100", "100"),
        ("-1.50", "-1.5"),
        ("1234567890123456789012345678901234567890.10", "1234567890123456789012345678901234567890.1"),
    ],
)
def test_decimals_are_plain_and_exact(value: str, text: str) -> None:
    """No exponent, no trailing zeros, no rounding to the context's 28 digits."""
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(
    "value", ["1e3", "1_0", "٣", "NaN", "Infinity", "", " 1", "0x1", ".5", "5.", "1" * 21, None, True, [], 1.0]
)
def test_what_is_no_plain_decimal_is_refused(value: object) -> None:
    """Even where Decimal would read it."""
    with pytest.raises(ValueError, match=r"must be|float"):
        parse_decimal(value)


def test_times_always_have_microseconds() -> None:
    """Also when they are zero."""
    assert moment(0) == "1970-01-01T00:00:00.000000Z"
    assert moment(None) is None
    assert Excursion(price=Decimal(1), percent=Decimal(1), at=0).at == 0
