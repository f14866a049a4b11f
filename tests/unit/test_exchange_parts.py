"""Parts of the paper exchange server by themselves: its audit, its limits, its rules, its options, its addresses."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.domain.model import OrderKind, OrderSide, Source
from actors.venues.base import OrderRequest
from actors.venues.ccxt.endpoint import endpoint_urls
from actors.venues.exchange_audit import audit, read_audit
from actors.venues.exchange_core import ServedExchange
from actors.venues.exchange_dialect import text
from actors.venues.exchange_faults import ExchangeFaults, Subject, read_rule
from actors.venues.exchange_limits import Meter, TooMany
from actors.venues.exchange_options import BadOption, keys_of, settings_of
from actors.venues.exchange_requests import Endpoint
from actors.venues.exchange_settings import RateLimits
from actors.venues.paper_market import Tick
from actors.venues.paper_settings import ReplaySettings, WalkSettings
from actors.venues.paper_sources import open_market
from tests.exchange_world import KEY, SYMBOL, exchange_settings

SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND


class Bench:
    """The core alone, on a clock of the test's, with the first prices played."""

    def __init__(self, folder: Path) -> None:
        self.now = BEGIN
        self.core = ServedExchange(exchange_settings(folder))
        self.core.clock = lambda: self.now
        market = open_market(self.core.settings, self.core.instruments, {})
        for _ in self.core.instruments:
            tick = market.peek(self.now)
            assert tick is not None
            self.core.play(tick, self.now)
            market.advance(tick)

    def order(self, name: str, side: OrderSide, quantity: str, **more: Any) -> int:
        """Place an order a second later; its number."""
        self.now += SECOND
        usual: dict[str, Any] = {"kind": OrderKind.MARKET, "reduce_only": False}
        request = OrderRequest(
            request_id="",
            account=KEY.account,
            symbol=SYMBOL,
            client_order_id=name,
            side=side,
            quantity=Decimal(quantity),
            signed_at=self.now,
            expires_after_seconds=1,
            **{**usual, **more},
        )
        return self.core.place(request).id

    def stop(self, name: str, quantity: str, trigger: str = "59000") -> int:
        """A protective stop of a long."""
        more = {"trigger_price": Decimal(trigger), "trigger_source": Source.MARK, "reduce_only": True}
        return self.order(name, OrderSide.SELL, quantity, kind=OrderKind.STOP_MARKET, **more)


# -- the audit ---------------------------------------------------------------------------------------------------------


def test_the_audit_tells_every_execution_and_size(tmp_path: Path) -> None:
    """By the client id that its owner chose, for a triggered conditional order too."""
    bench = Bench(tmp_path)
    bench.order("entry", OrderSide.BUY, "0.01")
    bench.order("tp", OrderSide.SELL, "0.004", reduce_only=True)
    bench.stop("stop", "0.006")
    bench.now += SECOND
    quote = bench.core.quote(SYMBOL)
    assert quote is not None
    cursor = bench.core.cursors()[SYMBOL]
    low = replace(quote, at=bench.now, mark=Decimal(58000), last=Decimal(58000), bid=Decimal(58000), ask=Decimal(58001))
    bench.core.play(Tick(symbol=SYMBOL, quote=low, previous=cursor, cursor=cursor), bench.now)
    found = audit(bench.core.tables, account=KEY.account)
    assert {name: [str(one.quantity) for one in trades] for name, trades in found.executed().items()} == {
        "entry": ["0.01"],
        "tp": ["0.004"],
        "stop": ["0.006"],
    }
    assert [str(size.quantity) for size in found.sizes] == ["0.01", "0.006", "0.000"]
    assert found.size(KEY.account, SYMBOL, BEGIN + 2 * SECOND) == Decimal("0.006")
    assert found.size(KEY.account, SYMBOL, BEGIN) == 0
    assert audit(bench.core.tables, account="other").executions == ()
    bench.core.close()
    assert read_audit(tmp_path / "exchange.sqlite").executions == found.executions


def test_the_audit_tells_when_a_position_had_no_stop(tmp_path: Path) -> None:
    """From the entry to its stop, and from the stop's cancellation to the end; a stop of the wrong side is none."""
    bench = Bench(tmp_path)
    bench.order("entry", OrderSide.BUY, "0.01")
    first = bench.stop("first", "0.01")
    second = bench.stop("second", "0.01", "59100")
    bench.now += SECOND
    bench.core.end(bench.core.tables.order(first), bench.now)
    bench.now += SECOND
    bench.core.end(bench.core.tables.order(second), bench.now)
    more = {"trigger_price": Decimal(61000), "trigger_source": Source.MARK, "kind": OrderKind.STOP_MARKET}
    bench.order("wrong-side", OrderSide.BUY, "0.01", **more)
    bench.order("out", OrderSide.SELL, "0.01")
    found = audit(bench.core.tables)
    gaps = found.unprotected(KEY.account, SYMBOL, bench.now + 100 * SECOND)
    assert [((a - BEGIN) // SECOND, (b - BEGIN) // SECOND) for a, b in gaps] == [(1, 2), (5, 7)]
    lives = [(stop.client_order_id, stop.state, stop.ended) for stop in found.stops(KEY.account, SYMBOL)]
    assert lives == [
        ("first", "cancelled", BEGIN + 4 * SECOND),
        ("second", "cancelled", BEGIN + 5 * SECOND),
        ("wrong-side", "open", None),
    ]


def test_the_history_is_written_with_what_it_tells(tmp_path: Path) -> None:
    """A change that is rolled back leaves no line behind."""
    bench = Bench(tmp_path)
    number = bench.core.journal.newest()
    with pytest.raises(ZeroDivisionError), bench.core.tables.transaction(durable=True):
        bench.core.tables.execute("INSERT INTO orders SELECT * FROM orders WHERE 0")
        bench.core.journal.pay(KEY.account, SYMBOL, bench.now, Decimal(1), kind="FUNDING_FEE")
        _ = 1 // 0
    assert bench.core.journal.newest() == number
    assert bench.core.journal.wallet(KEY.account).balance == 1_000_000


# -- limits ------------------------------------------------------------------------------------------------------------


def test_weight_is_counted_by_the_minute() -> None:
    """Refused above the limit until the minute ends, and banned for going on."""
    meter = Meter(RateLimits(weight_per_minute=10, patience=2, ban_seconds=120))
    endpoint = Endpoint(handle=lambda request: request, weight=5)
    minute = BEGIN - BEGIN % (60 * SECOND)
    assert [meter.count("a", endpoint, minute)["X-MBX-USED-WEIGHT-1M"] for _ in range(2)] == ["5", "10"]
    statuses = []
    for _ in range(4):
        with pytest.raises(TooMany) as refused:
            meter.count("a", endpoint, minute + 20 * SECOND)
        statuses.append((refused.value.status, refused.value.retry_after))
    assert statuses == [(429, 40), (429, 40), (429, 40), (418, 120)]
    assert meter.count("b", endpoint, minute)["X-MBX-USED-WEIGHT-1M"] == "5"
    with pytest.raises(TooMany):
        meter.count("a", endpoint, minute + 61 * SECOND)
    assert meter.count("a", endpoint, minute + 200 * SECOND)["X-MBX-USED-WEIGHT-1M"] == "5"


# -- rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["*", "order", "POST order", "/fapi/v1/order", "POST /fapi/v1/order"])
def test_a_request_has_several_names(name: str) -> None:
    """With and without its method, with and without its version."""
    faults = ExchangeFaults()
    faults.add(read_rule({"on": name, "code": -1001}))
    assert faults.take(Subject(method="GET", path="/fapi/v1/openOrders")) is None or name == "*"
    faults.clear()
    faults.add(read_rule({"on": name, "code": -1001}))
    assert faults.take(Subject(method="POST", path="/fapi/v1/order")) is not None
    assert faults.take(Subject(method="POST", path="/fapi/v1/order")) is None


# -- options -----------------------------------------------------------------------------------------------------------


def test_without_a_word_it_walks_bitcoin_and_ether(tmp_path: Path) -> None:
    """With a key that is made once."""
    settings = settings_of(tmp_path, {})
    assert list(settings.market.symbols) == ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert keys_of(tmp_path / "exchange-keys.json") == settings.keys == settings_of(tmp_path, {}).keys
    assert settings.keys[0].secret not in repr(settings)


def test_words_become_settings(tmp_path: Path) -> None:
    """A symbol may leave its settlement out."""
    prices = tmp_path / "prices.csv"
    prices.write_text("2022-01-01 00:00:00,100\n", encoding="utf-8")
    words = {"walk": ["SOL/USDT=20:0.5"], "replay": [f"BTC/USDT:USDT={prices}"], "speed": "60x", "balance": "500"}
    settings = settings_of(tmp_path, {**words, "keys": ["a:b:c"], "maximum_stops": 5, "weight_per_minute": 9})
    assert settings.market.symbols["SOL/USDT:USDT"] == WalkSettings(
        price=Decimal(20), volatility=Decimal("0.5"), spread_percent=Decimal("0.01")
    )
    assert settings.market.symbols[SYMBOL] == ReplaySettings(file=prices, spread_percent=Decimal("0.01"))
    assert (settings.speed, str(settings.balance), settings.maximum_stops) == (60.0, "500", 5)
    assert settings.rates.weight_per_minute == 9
    assert not (tmp_path / "exchange-keys.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        {"walk": ["BTC=1"]},
        {"walk": ["BTC/USDT=many"]},
        {"walk": ["BTC/USDT=-1"]},
        {"balance": "NaN"},
        {"speed": "0x"},
        {"keys": ["a:b:c", "a:d:e"]},
        {"keys": ["a:b:c", "d:b:e"]},
        {"keys": ["a:b"]},
        {"host": "192.168.0.1"},
    ],
)
def test_words_that_cannot_be_meant_are_refused(tmp_path: Path, words: dict[str, Any]) -> None:
    """Each with a message."""
    with pytest.raises(BadOption):
        settings_of(tmp_path, words)


# -- addresses and numbers ---------------------------------------------------------------------------------------------


def test_an_endpoint_becomes_every_address() -> None:
    """Websockets beside REST, encrypted where it is."""
    urls = endpoint_urls("https://example.org:1/base/")
    assert urls["fapiPrivateV3"] == "https://example.org:1/base/fapi/v3"
    assert urls["ws"]["linear"] == "wss://example.org:1/base/ws"
    assert urls["ws"]["ws-api"]["linear"] == "wss://example.org:1/base/ws-fapi/v1"
    for wrong in ("127.0.0.1:80", "ftp://x", ""):
        with pytest.raises(ValueError, match="endpoint"):
            endpoint_urls(wrong)


@pytest.mark.parametrize(
    ("number", "expected"),
    [("1E+3", "1000"), ("0.1000", "0.1000"), ("0.123456789", "0.12345679"), ("-4E-9", "0.00000000")],
)
def test_numbers_are_told_plainly(number: str, expected: str) -> None:
    """Never with an exponent, of eight places at most."""
    assert text(Decimal(number)) == expected
