"""The parts of the live venues that need no exchange: budget, quotes, words, codes, and what happens without ccxt."""

import asyncio
import importlib
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from actors.domain.model import Instrument
from actors.runtime.virtual_clock import VirtualClock
from actors.venues.base import REJECTIONS, OrderRejected, OrderUnknown, VenueUnavailable
from actors.venues.ccxt import binanceusdm_streams, client
from actors.venues.ccxt.binanceusdm import BinanceUsdm
from actors.venues.ccxt.binanceusdm_codes import REJECTED, UNAVAILABLE, concluded
from actors.venues.ccxt.binanceusdm_rows import conditional_of, forced, holding_of, instrument_of
from actors.venues.ccxt.binanceusdm_trades import Executions
from actors.venues.ccxt.budget import Budget, Priority
from actors.venues.ccxt.errors import NoAnswer, NotSent, RestError, scrub
from actors.venues.ccxt.prices import Quotes
from actors.venues.ccxt.settings import CcxtSettings
from actors.venues.ccxt.venue import open_ccxt_venue

BTC = "BTC/USDT:USDT"


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def instrument(symbol: str) -> Instrument:
    """Something that is traded."""
    return Instrument(
        symbol=symbol,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        minimum_quantity=Decimal("0.001"),
        taker_fee_percent=Decimal("0.05"),
    )


# -- the budget --------------------------------------------------------------------------------------------------------


def take(budget: Budget, weight: float, priority: Priority) -> bool:
    """Whether there is budget for this at once."""
    try:
        asyncio.run(budget.take(weight, priority, 0.0))
    except NotSent as error:
        assert error.code == "rate_limited"
        return False
    return True


def test_reads_leave_budget_for_entries_and_protection_never_waits() -> None:
    """Whatever reads have used up, a close goes out."""
    budget = Budget(100, Hand())
    while take(budget, 10, Priority.BACKGROUND):
        pass
    assert not take(budget, 1, Priority.BACKGROUND)
    while take(budget, 10, Priority.READ):
        pass
    assert take(budget, 10, Priority.ENTER)
    assert not take(budget, 1, Priority.ENTER)
    assert all(take(budget, 50, Priority.PROTECT) for _ in range(5))


def test_the_budget_comes_back_with_time_and_follows_the_exchanges_own_count() -> None:
    """Other programs of the same address use it too."""
    hand = Hand()
    budget = Budget(600, hand)
    budget.told(590)
    assert not take(budget, 1, Priority.LOOK)
    hand.now = 30
    assert take(budget, 200, Priority.LOOK)
    assert not take(budget, 100, Priority.LOOK)


def test_a_back_off_holds_everything_but_protection() -> None:
    """For as long as the exchange said."""
    hand = Hand()
    budget = Budget(600, hand)
    budget.back_off(7)
    assert not take(budget, 1, Priority.LOOK)
    assert take(budget, 1, Priority.PROTECT)
    hand.now = 7
    assert take(budget, 1, Priority.LOOK)


# -- quotes ------------------------------------------------------------------------------------------------------------


def test_what_was_not_heard_for_long_is_not_repeated_as_fresh() -> None:
    """Mark, bid and ask grow old; the last trade stays the last trade."""
    hand = Hand()
    quotes = Quotes(10, hand)
    quotes.update(BTC, 1, {"mark": Decimal(1), "last": Decimal(2)})
    hand.now = 10
    quote = quotes.update(BTC, 2, {"bid": Decimal(3), "ask": Decimal(4)})
    assert (quote.mark, quote.last, quote.bid, quote.ask) == tuple(map(Decimal, range(1, 5)))
    hand.now = 11
    quote = quotes.update(BTC, 3, {"bid": Decimal(5)})
    assert quote.mark is None
    assert (quote.last, quote.bid, quote.ask) == (Decimal(2), Decimal(5), Decimal(4))


def test_the_time_of_a_quote_never_goes_back() -> None:
    """Streams are not in step with each other."""
    quotes = Quotes(10, Hand())
    quotes.update(BTC, 5, {"mark": Decimal(1)})
    assert quotes.update(BTC, 4, {"last": Decimal(1)}).at == 5


def test_after_a_break_only_new_prices_are_told() -> None:
    """What was heard before says nothing about the present."""
    quotes = Quotes(10, Hand())
    quotes.update(BTC, 1, {"mark": Decimal(1), "last": Decimal(2)})
    quotes.forget()
    quote = quotes.update(BTC, 2, {"bid": Decimal(3)})
    assert (quote.mark, quote.last) == (None, None)
    assert quote.bid == 3


# -- codes -------------------------------------------------------------------------------------------------------------


def test_every_code_leads_to_a_refusal_the_port_knows() -> None:
    """And none is on both lists."""
    assert set(REJECTED.values()) <= REJECTIONS
    assert not REJECTED.keys() & UNAVAILABLE.keys()


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "-2022", "ReduceOnly Order is rejected.", OrderRejected),
        (503, "-1008", "Request throttled by system-level protection.", VenueUnavailable),
        (503, "", "Service Unavailable.", VenueUnavailable),
        (503, "", "Internal error; unable to process your request. Please try again.", VenueUnavailable),
        (503, "", "Unknown error, please check your request or try again later.", OrderUnknown),
        (503, "-2022", "a definite code, in an answer that says that nothing is known", OrderUnknown),
        (502, "", "<html>", OrderUnknown),
        (408, "-1007", "Timeout waiting for response from backend server.", OrderUnknown),
        (400, "-1006", "An unexpected response was received from the message bus.", OrderUnknown),
        (400, "-31337", "new", OrderUnknown),
        (403, "", "forbidden", OrderUnknown),
        (429, "-1003", "Too many requests.", VenueUnavailable),
        (418, "", "banned", VenueUnavailable),
    ],
)
def test_only_what_is_documented_as_not_executed_is_definite(status: int, code: str, message: str, kind: type) -> None:
    """Everything else is looked up."""
    assert type(concluded(RestError(status, code, message))) is kind


# -- rows --------------------------------------------------------------------------------------------------------------


def test_the_coarser_of_both_lot_sizes_is_kept_to() -> None:
    """Orders at market have a lot size of their own."""
    row = {
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.01", "minQty": "0.02"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ]
    }
    found = instrument_of(row, BTC, Decimal("0.05"))
    assert (found.quantity_step, found.minimum_quantity) == (Decimal("0.01"), Decimal("0.02"))
    assert (found.tick_size, found.minimum_notional) == (Decimal("0.10"), Decimal(100))


def test_orders_of_the_exchange_itself_are_known_by_their_ids() -> None:
    """Ours can look like none of them."""
    ids = ("autoclose-1", "adl_autoclose", "settlement_autoclose-2", "web_autoclose-", "0" * 32)
    assert [forced(each) for each in ids] == ["liquidated", "adl", "liquidated", "order", "order"]


def test_two_positions_in_one_symbol_are_no_answer() -> None:
    """Hedge mode, seen in the rows themselves."""
    row = {
        "positionAmt": "1",
        "positionSide": "LONG",
        "entryPrice": "1",
        "breakEvenPrice": "1",
        "liquidationPrice": "0",
    }
    with pytest.raises(NoAnswer):
        holding_of([row, {**row, "positionAmt": "-1", "positionSide": "SHORT"}], BTC)
    assert holding_of([], BTC).position is None


def test_a_finished_stop_without_its_child_is_no_answer() -> None:
    """`closed` with nothing filled is what it would look like."""
    row = {"algoStatus": "FINISHED", "clientAlgoId": "s", "algoId": 1, "side": "SELL", "quantity": "1"}
    with pytest.raises(NoAnswer):
        conditional_of(row, BTC, None, ())


class Rows:
    """An exchange that lists one execution, of the plain order that a conditional one became long ago."""

    def __init__(self, coin: str = "USDT", weeks: int = 1) -> None:
        self.coin = coin
        self.weeks = weeks
        self.asked: list[str] = []

    async def fapiPrivateGetUserTrades(self, params: Any) -> Any:  # noqa: N802
        """One execution."""
        row = {"id": 7, "orderId": 70, "side": "SELL", "qty": "2", "price": "100", "time": 1_700_000_000_000}
        return [] if "fromId" in params else [{**row, "commission": "0.01", "commissionAsset": self.coin}]

    async def fapiPrivateGetOrder(self, params: Any) -> Any:  # noqa: N802
        """Its plain order, with an id that the exchange made up."""
        self.asked.append(f"order {params['orderId']}")
        return {"clientOrderId": "6gCrw2kRUAF9CvJDGP16IP", "reduceOnly": True}

    async def fapiPrivateGetAllAlgoOrders(self, params: Any) -> Any:  # noqa: N802
        """The conditional one, in the list of the week in which it was made."""
        self.asked.append("conditional")
        found = self.asked.count("conditional") == self.weeks
        assert params["endTime"] - params["startTime"] < 7 * 24 * 3600 * 1000
        return [{"actualOrderId": "70", "clientAlgoId": "ours"}] if found else []

    async def fapiPublicGetKlines(self, params: Any) -> Any:  # noqa: N802
        """The price of a coin in which fees are paid."""
        self.asked.append(f"{params['symbol']} {params['startTime']}")
        return [[params["startTime"], "600.5", "601", "600", "600.7"]]


def executions(rows: Rows, *symbols: str) -> Executions:
    """The executions of an exchange on which these are traded."""
    found = Executions(rows, lambda symbol: symbol.partition(":")[0].replace("/", ""))
    found.learn([instrument(symbol) for symbol in symbols])
    return found


@pytest.mark.parametrize("weeks", [1, 5])
def test_the_parent_of_an_execution_is_found_however_long_its_stop_rested(weeks: int) -> None:
    """And is asked for once."""
    rows = Rows(weeks=weeks)
    found = executions(rows, BTC)
    now = 1_700_000_100_000_000
    for _ in range(2):
        trades = asyncio.run(found.since(BTC, now - 200_000_000, now))
        assert [(trade.client_order_id, trade.trade_id) for trade in trades] == [("ours", "7")]
    assert rows.asked == ["order 70", *["conditional"] * weeks]


@pytest.mark.parametrize(
    ("coin", "symbols", "fee"),
    [
        ("USDT", [BTC], "0.01"),
        ("USDC", [BTC], "0.01"),
        ("BNB", [BTC, "BNB/USDT:USDT"], "6.005"),
        ("BNB", [BTC], "0.1"),
    ],
)
def test_fees_are_told_in_quote_units(coin: str, symbols: list[str], fee: str) -> None:
    """Paid in another coin they are valued at its price when the minute opened, which never changes afterwards."""
    rows = Rows(coin)
    now = 1_700_000_100_000_000
    trades = asyncio.run(executions(rows, *symbols).since(BTC, now - 200_000_000, now))
    assert [trade.fee for trade in trades] == [Decimal(fee)]
    priced = [asked for asked in rows.asked if asked.startswith("BNB")]
    assert priced == (["BNBUSDT 1699999980000"] if len(symbols) > 1 else [])


# -- words, settings, ccxt itself --------------------------------------------------------------------------------------


def test_secrets_and_signatures_are_scrubbed() -> None:
    """From every text, however it came to be there."""
    text = "GET https://x/?timestamp=1&signature=abcdef&listenKey=qwert&apiKey=KEY said SECRET"
    shown = scrub(text, ("KEY", "SECRET"))
    assert not {"abcdef", "qwert", "SECRET"} & set(shown.replace("&", " ").replace("=", " ").split())
    assert "timestamp=1" in shown


def test_settings_never_show_their_secrets() -> None:
    """Neither does anything that holds them."""
    settings = CcxtSettings(exchange="binanceusdm", account="a", api_key="K1", secret="S1", private_key="P1")  # noqa: S106
    assert not [secret for secret in ("K1", "S1", "P1") if secret in repr(settings)]


@pytest.mark.parametrize(
    ("changes", "live"),
    [
        ({}, True),
        ({"demo": True}, False),
        ({"endpoint": "http://127.0.0.1:1"}, False),
        ({"endpoint": "http://localhost:1"}, False),
        ({"endpoint": "https://proxy.example.com"}, True),
    ],
)
def test_only_a_loopback_endpoint_or_demo_trading_moves_no_money(changes: dict[str, Any], live: bool) -> None:
    """An address elsewhere may lead to a real exchange."""
    venue = open_ccxt_venue(CcxtSettings(exchange="binanceusdm", account="a", **changes), VirtualClock(0))
    assert venue.traits.live_money is live
    assert (venue.traits.subscribes, venue.traits.expires_requests, venue.traits.lockstep) == (True, True, False)


def test_without_ccxt_a_live_account_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an optional extra."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(client, "import_module", missing)
    with pytest.raises(client.LiveExtraMissing, match=r"pip install exitkeeper\[live\]"):
        open_ccxt_venue(CcxtSettings(exchange="binanceusdm", account="a"), VirtualClock(0))


def test_nothing_imports_ccxt_before_a_live_account_is_opened() -> None:
    """Importing the venues must work where it is not installed."""
    names = ("venue", "binanceusdm", "doctor", "session", "settings")
    code = "import sys\n" + "".join(f"import actors.venues.ccxt.{name}\n" for name in names)
    code += "raise SystemExit(any(name.split('.')[0] in ('ccxt', 'aiohttp') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert importlib.util.find_spec("ccxt") is not None


def test_an_exchange_nobody_wrote_is_a_key_error() -> None:
    """Configuration refuses it before."""
    with pytest.raises(KeyError):
        open_ccxt_venue(CcxtSettings(exchange="nowhere", account="a"), VirtualClock(0))


class Desk:
    """Notes which streams are given up."""

    def __init__(self) -> None:
        self.given_up: list[str] = []

    def price(self, *_: Any, **__: Any) -> None:
        """Prices are of no interest here."""

    def broken(self, stream: str, why: str) -> None:
        """Note it."""
        self.given_up.append(f"{stream}: {why}")


def test_a_symbol_whose_mark_falls_silent_while_others_go_on_is_subscribed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream as a whole is not silent, so only the symbol's own silence can tell."""
    hand, desk = Hand(), Desk()
    monkeypatch.setattr(binanceusdm_streams, "_seconds", hand)
    dialect: Any = BinanceUsdm(CcxtSettings(exchange="binanceusdm", account="a"), None, desk)
    dialect._ids = {BTC: "BTCUSDT", "ETH/USDT:USDT": "ETHUSDT"}
    dialect._symbols = {"BTCUSDT": BTC, "ETHUSDT": "ETH/USDT:USDT"}
    dialect._subscription("market", [BTC, "ETH/USDT:USDT"])
    for second in range(17):
        assert desk.given_up == []
        hand.now = float(second)
        dialect.on_message("market", {"e": "markPriceUpdate", "s": "BTCUSDT", "E": second, "p": "60000"})
    assert desk.given_up == ["market: the mark of ETH/USDT:USDT was not told for 16 s"]


def test_a_listen_key_that_expired_gives_the_order_stream_up() -> None:
    """The connection may well stay open, and say nothing any more."""
    desk = Desk()
    dialect: Any = BinanceUsdm(CcxtSettings(exchange="binanceusdm", account="a"), None, desk)
    assert dialect.on_message("user", {"e": "listenKeyExpired", "E": 1, "listenKey": "k"})
    assert desk.given_up == ["user: its key has expired"]
