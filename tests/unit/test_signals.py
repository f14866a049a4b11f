"""What a TradingView body means, and what of it is refused."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.model import Side
from actors.domain.plans import RUNNER, parse_plan
from actors.domain.symbols import matching
from service.http_answers import ApiError
from service.signals import Signal, check_secret, read_signal, share_of

NOW = 1_790_000_000_000_000
SECRET = "a-long-enough-secret"  # noqa: S105
PLANS = {"runner": parse_plan(RUNNER, name="runner")}
ENTER = {"secret": SECRET, "action": "enter_long", "symbol": "BINANCE:BTCUSDT.P", "quantity": "0.01"}
PAPER = {"paper": False}


def read(body: Mapping[str, Any], accounts: Mapping[str, bool] = PAPER, now: int = NOW) -> Signal:
    """A body as it comes over the wire."""
    return read_signal(json.loads(json.dumps(body), parse_float=Decimal), plans=PLANS, accounts=accounts, now=now)


def fault(body: Mapping[str, Any], accounts: Mapping[str, bool] = PAPER) -> ApiError:
    """Why it is refused."""
    with pytest.raises(ApiError) as found:
        read(body, accounts)
    return found.value


def test_an_entry_is_read_whole() -> None:
    """Side, exact quantity, plan, the one account, and what is only recorded."""
    signal = read({**ENTER, "quantity": 0.1, "price": 60123.45, "signal_id": "s-1"})
    assert (signal.enters, signal.side, signal.account) == (True, Side.LONG, "paper")
    assert signal.quantity == Decimal("0.1")
    assert signal.plan == PLANS["runner"]
    assert signal.tags == {"source": "tradingview", "signal_id": "s-1", "price": "60123.45"}


@pytest.mark.parametrize(
    ("action", "market", "enters", "side"),
    [
        ("enter_long", None, True, Side.LONG),
        ("enter_short", "short", True, Side.SHORT),
        ("exit_long", None, False, Side.LONG),
        ("exit_short", "flat", False, Side.SHORT),
        ("close", None, False, None),
        ("buy", "long", True, Side.LONG),
        ("buy", "flat", False, Side.SHORT),
        ("sell", "short", True, Side.SHORT),
        ("sell", "flat", False, Side.LONG),
    ],
)
def test_what_each_action_means(action: str, market: str | None, enters: bool, side: Side | None) -> None:
    """Buy and sell by where they leave the strategy."""
    signal = read({**ENTER, "action": action, **({"market_position": market} if market else {})})
    assert (signal.enters, signal.side) == (enters, side)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"action": "buy"}, "missing", "market_position"),
        ({"action": "buy", "market_position": "short"}, "partial_exit", "action"),
        ({"action": "sell", "market_position": "long"}, "partial_exit", "action"),
        ({"action": "enter_long", "market_position": "short"}, "contradiction", "market_position"),
        ({"action": "hold"}, "not_a_choice", "action"),
        ({"action": None}, "missing", "action"),
        ({"quantity": None}, "missing", "quantity"),
        ({"quantity": "-1"}, "too_small", "quantity"),
        ({"quantity": "1e5"}, "not_a_decimal", "quantity"),
        ({"symbol": ""}, "not_a_string", "symbol"),
        ({"plan": "scalper"}, "unknown_plan", "plan"),
        ({"plan": {"stop": {"percent": "x"}}}, "", "plan"),
        ({"account": ""}, "not_a_string", "account"),
        ({"on_opposite": "hedge"}, "not_a_choice", "on_opposite"),
        ({"signal_id": {"a": 1}}, "not_a_string", "signal_id"),
        ({"timestamp": "yesterday"}, "not_a_time", "timestamp"),
        ({"timestamp": "2026-09-21T12:00:00"}, "not_a_time", "timestamp"),
        ({"timestamp": True}, "not_a_time", "timestamp"),
        ({"max_lag": "90000"}, "too_large", "max_lag"),
        ({"quantitty": "1"}, "unknown_field", "quantitty"),
    ],
)
def test_what_is_wrong_is_said_field_by_field(change: dict[str, Any], code: str, field: str) -> None:
    """And nothing of it repeats the secret."""
    error = fault({**ENTER, **change})
    assert error.status == 422
    named = [(error.code, error.field), *((each.code, each.field) for each in error.faults)]
    assert any(found.startswith(code) and where.startswith(field) for found, where in named), named
    assert SECRET not in str([error.message, *error.faults])


def test_an_account_must_be_named_where_there_are_several() -> None:
    """Money is not sent to whichever comes first."""
    assert fault(ENTER, {"paper": False, "main": True}).field == "account"
    assert read({**ENTER, "account": "paper"}, {"paper": False, "main": True}).account == "paper"


def test_a_live_account_takes_nothing_late() -> None:
    """It requires the time, in any of its usual shapes, and `max_lag` says how old it may be."""
    live = {"main": True}
    assert fault(ENTER, live).field == "timestamp"
    for late, stamps in (
        (30, ("2026-09-21T14:12:50Z", NOW // 1_000_000 - 30, NOW // 1_000 - 30_000, NOW / 1_000_000 - 30)),
        (70, ("2026-09-21T14:12:10+00:00", NOW // 1_000_000 - 70, NOW // 1_000 - 70_000)),
    ):
        for stamp in stamps:
            body = {**ENTER, "timestamp": stamp}
            if late == 30:
                assert read(body, live)
                assert fault({**body, "max_lag": 10}, live).code == "too_late"
            else:
                assert fault(body, live).code == "too_late"
                assert read({**body, "max_lag": 120}, live)
    assert fault({**ENTER, "timestamp": NOW // 1_000_000 + 90}, live).code == "from_the_future"


def test_a_signal_is_known_by_its_id_or_by_its_body() -> None:
    """However it is written; the secret is no part of it, and accounts do not share ids."""
    first = read({**ENTER, "signal_id": "a"})
    assert read({**ENTER, "signal_id": "a", "quantity": 0.010}).key == first.key
    assert read({**ENTER, "signal_id": "a", "quantity": 0.010}).digest == first.digest
    assert read({**ENTER, "signal_id": "b"}).key != first.key
    assert read({**ENTER, "signal_id": "a", "quantity": "2"}).digest != first.digest
    several = {"paper": False, "other": False}
    keys = {read({**ENTER, "signal_id": "a", "account": account}, several).key for account in several}
    assert len(keys) == 2
    assert read(ENTER).key == read({**ENTER, "secret": "another"}).key != first.key
    assert read({**ENTER, "timestamp": NOW // 1_000_000}).key != read(ENTER).key


def test_the_secret_must_be_named_and_is_never_repeated() -> None:
    """Without one configured nothing is taken."""
    check_secret(ENTER, SECRET)
    for body in ({}, {"secret": None}, {"secret": 1}, {"secret": SECRET + "x"}, {"secret": "wröng"}):
        with pytest.raises(ApiError) as found:
            check_secret(body, SECRET)
        assert found.value.status == 401
        assert "wr" not in found.value.message.replace("wrong", "")
    with pytest.raises(ApiError) as found:
        check_secret(ENTER, None)
    assert (found.value.status, "EXITKEEPER_WEBHOOKS__SECRET" in found.value.message) == (403, True)


@given(st.decimals("0.001", "1000", places=3), st.decimals("0.001", "1000", places=3))
def test_a_share_closes_just_what_was_asked_for(quantity: Decimal, remaining: Decimal) -> None:
    """Floored to the step it is neither a step less nor ever more."""
    share = share_of(quantity, remaining)
    step = Decimal("0.001")
    assert (remaining * share // step) * step == min(quantity, remaining)
    assert share_of(None, remaining) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BTC/USDT:USDT", ["BTC/USDT:USDT"]),
        ("BINANCE:BTCUSDT.P", ["BTC/USDT:USDT"]),
        ("BYBIT:BTCUSDT.P", ["BTC/USDT:USDT"]),
        ("btcusdt", ["BTC/USDT:USDT"]),
        ("BTCUSD.P", ["BTC/USD:BTC", "BTC/USD:USDC"]),
        ("BTC/USD:BTC", ["BTC/USD:BTC"]),
        ("BINANCE:", []),
        (":", []),
        ("DOGEUSDT.P", []),
        ("BTC/USDT", []),
    ],
)
def test_symbols_are_found_as_a_chart_writes_them(text: str, found: list[str]) -> None:
    """What expires is never meant; what could be two things is not guessed."""
    known = ["BTC/USDT:USDT", "BTC/USDT:USDT-261225", "ETH/USDT:USDT", "BTC/USD:BTC", "BTC/USD:USDC"]
    assert matching(text, known) == found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [*ENTER, "market_position", "price", "plan", "account", "signal_id", "timestamp", "max_lag", "on_opposite", "x"]
)


@given(st.dictionaries(fields, values, max_size=12))
def test_any_body_is_a_signal_or_a_clear_refusal(body: dict[str, Any]) -> None:
    """Whatever stands in its fields."""
    try:
        signal = read_signal({**ENTER, **body}, plans=PLANS, accounts=PAPER, now=NOW)
    except ApiError as error:
        assert error.status == 422
        assert error.field
    else:
        assert signal.account == "paper"
        assert signal.key.startswith("tv-")


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_timestamp_that_is_no_number_is_refused(text: str) -> None:
    """It cannot be compared with any moment, and ended in an error once."""
    with pytest.raises(ApiError) as caught:
        read_signal({**ENTER, "timestamp": Decimal(text)}, plans=PLANS, accounts=PAPER, now=NOW)
    assert caught.value.status == 422
