"""The paper exchange server's rules of Binance, as the unmodified ccxt client meets them."""

import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from actors.venues.exchange_server import ExchangeServer
from actors.venues.exchange_settings import ExchangeSettings, RateLimits
from actors.venues.paper_settings import MarketSettings, ReplaySettings
from tests.exchange_world import (
    KEY,
    MARKET,
    OTHER_KEY,
    SYMBOL,
    client,
    control,
    running_exchange,
    using,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExchangeServer]:
    """A server whose prices are pushed by hand: BTC at 60000."""
    with running_exchange(tmp_path) as running:
        yield running


def signed(
    server: ExchangeServer, method: str, path: str, *, key: str = KEY.key, secret: str = KEY.secret, **parameters: Any
) -> httpx.Response:
    """A request signed by hand, with every mistake that is asked for."""
    parameters.setdefault("timestamp", int(time.time() * 1000))
    query = urlencode(parameters)
    signature = hmac.new(secret.encode(), query.encode(), "sha256").hexdigest()
    url = f"{server.endpoint}{path}?{query}&signature={signature}"
    return httpx.request(method, url, headers={"X-MBX-APIKEY": key}, timeout=10)


def refusal(response: httpx.Response) -> tuple[int, int]:
    """The HTTP status and Binance's code."""
    return response.status_code, response.json()["code"]


def order(server: ExchangeServer, **parameters: Any) -> httpx.Response:
    """A plain order by hand: a market buy of 0.01, unless told otherwise."""
    usual = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    return signed(server, "POST", "/fapi/v1/order", **{**usual, **parameters})


def stop(server: ExchangeServer, **parameters: Any) -> httpx.Response:
    """A conditional order by hand: a stop of 0.01 at 59000, unless told otherwise."""
    usual = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL"}
    usual |= {"quantity": "0.01", "triggerPrice": "59000", "workingType": "MARK_PRICE"}
    return signed(server, "POST", "/fapi/v1/algoOrder", **{**usual, **parameters})


# -- the unmodified client ---------------------------------------------------------------------------------------------


def test_a_market_order_is_filled_and_read_back(server: ExchangeServer) -> None:
    """By its id, by its client id, in the trades and in the position."""

    async def play(exchange: Any) -> None:
        sent = await exchange.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "mine-1"})
        assert (sent["status"], sent["filled"], sent["average"]) == ("closed", 0.01, 60000)
        found = await exchange.fetch_order("", SYMBOL, {"origClientOrderId": "mine-1"})
        assert found["id"] == sent["id"]
        [trade] = await exchange.fetch_my_trades(SYMBOL)
        assert (trade["order"], trade["amount"], trade["price"], trade["fee"]["cost"]) == (sent["id"], 0.01, 60000, 0.3)
        [position] = await exchange.fetch_positions()
        assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.01, 60000)
        assert not position["hedged"]

    using(server.endpoint, play)


def test_instruments_are_told_with_their_limits(server: ExchangeServer) -> None:
    """What ccxt's markets say is what the exchange enforces."""

    async def play(exchange: Any) -> None:
        market = exchange.market(SYMBOL)
        assert (market["id"], market["swap"], market["linear"], market["contractSize"]) == ("BTCUSDT", True, True, 1)
        assert market["precision"]["amount"] == 0.001
        assert market["precision"]["price"] == 0.1
        assert market["limits"]["amount"]["min"] == 0.001
        assert market["limits"]["cost"]["min"] == 5

    using(server.endpoint, play)


def test_a_conditional_order_lives_in_a_class_of_its_own(server: ExchangeServer) -> None:
    """It is not among the plain orders; triggered, it names the plain order that carries its fills."""

    async def play(exchange: Any) -> None:
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        sent = await exchange.create_order(
            SYMBOL,
            "market",
            "sell",
            0.01,
            None,
            {"clientOrderId": "stop-1", "stopLossPrice": 59000, "workingType": "MARK_PRICE", "reduceOnly": True},
        )
        assert (sent["clientOrderId"], sent["status"], sent["triggerPrice"]) == ("stop-1", "open", 59000)
        assert await exchange.fetch_open_orders(SYMBOL) == []
        [resting] = await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})
        assert resting["clientOrderId"] == "stop-1"
        control(server.endpoint, "price", {"symbol": SYMBOL, "price": "58990"})
        raw = await exchange.fapiPrivateGetAlgoOrder({"clientAlgoId": "stop-1"})
        assert raw["algoStatus"] == "FINISHED"
        child = await exchange.fetch_order(raw["actualOrderId"], SYMBOL)
        assert (child["status"], child["filled"], child["average"]) == ("closed", 0.01, 58990)
        assert child["clientOrderId"] not in ("", "stop-1")
        trades = await exchange.fetch_my_trades(SYMBOL, params={"orderId": raw["actualOrderId"]})
        assert [trade["amount"] for trade in trades] == [0.01]
        assert await exchange.fetch_positions() == []

    using(server.endpoint, play)


def test_a_take_profit_triggers_from_the_other_side(server: ExchangeServer) -> None:
    """Not at its placement, not below it, but at its price."""
    assert order(server).status_code == 200
    assert refusal(stop(server, type="TAKE_PROFIT_MARKET", triggerPrice="59000")) == (400, -2021)
    assert stop(server, type="TAKE_PROFIT_MARKET", triggerPrice="61000", clientAlgoId="tp").status_code == 200
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "60999.9"})
    assert signed(server, "GET", "/fapi/v1/algoOrder", clientAlgoId="tp").json()["algoStatus"] == "NEW"
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "61000"})
    assert signed(server, "GET", "/fapi/v1/algoOrder", clientAlgoId="tp").json()["algoStatus"] == "FINISHED"


def test_the_working_type_decides_which_price_triggers(server: ExchangeServer) -> None:
    """A wick of the last price does not trigger a stop that works by mark."""
    order(server)
    stop(server, workingType="MARK_PRICE", clientAlgoId="by-mark", quantity="0.004")
    stop(server, workingType="CONTRACT_PRICE", clientAlgoId="by-last", quantity="0.004")
    prices = {"mark": "60000", "last": "58000", "bid": "58000", "ask": "58001"}
    control(server.endpoint, "price", {"symbol": SYMBOL, **prices})
    open_orders = signed(server, "GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT").json()
    assert [each["clientAlgoId"] for each in open_orders] == ["by-mark"]


def test_close_position_closes_whatever_is_held_when_it_triggers(server: ExchangeServer) -> None:
    """Its quantity is told as nothing; without a position there is nothing to rest for."""
    wide = {"closePosition": "true", "quantity": "", "clientAlgoId": "all"}
    assert refusal(stop(server, **wide)) == (400, -4509)
    order(server)
    assert refusal(stop(server, closePosition="true")) == (400, -1106)
    told = stop(server, **wide).json()
    assert (told["closePosition"], told["quantity"]) == (True, "0")
    order(server, quantity="0.02")
    stop(server, **{**wide, "clientAlgoId": "lower", "triggerPrice": "58500"})
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "58900"})
    assert signed(server, "GET", "/fapi/v3/positionRisk").json() == []
    found = [signed(server, "GET", "/fapi/v1/algoOrder", clientAlgoId=name).json() for name in ("all", "lower")]
    assert [each["algoStatus"] for each in found] == ["FINISHED", "EXPIRED"]


def test_a_file_is_replayed_at_its_speed_with_the_walls_time(tmp_path: Path) -> None:
    """A stop is triggered by the row that reaches it; the times told are those of now, the candles of its minutes."""
    prices = tmp_path / "prices.csv"
    rows = [f"2022-01-01 00:00:{second:02},{60000 - 100 * second}" for second in range(30)]
    prices.write_text("\n".join(rows) + "\n", encoding="utf-8")
    market = MarketSettings(symbols={SYMBOL: ReplaySettings(file=prices)})
    (tmp_path / "data").mkdir()
    with running_exchange(tmp_path / "data", market=market, manual=False, speed=10.0) as server:
        order(server)
        assert stop(server, triggerPrice="57500", clientAlgoId="by-file").status_code == 200
        deadline = time.monotonic() + 30
        while (last := control(server.endpoint, "state", method="GET")["prices"][SYMBOL])["last"] != "57100":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert abs(last["at"] - time.time() * 1000) < 30_000
        trade = signed(server, "GET", "/fapi/v1/userTrades", symbol="BTCUSDT").json()[-1]
        assert (trade["price"], trade["side"]) == ("57500", "SELL")
        candles = httpx.get(f"{server.endpoint}/fapi/v1/klines", params={"symbol": "BTCUSDT", "interval": "1m"}).json()
        assert abs(candles[-1][0] - time.time() * 1000) < 120_000
        assert (candles[0][1], candles[-1][4]) == ("60000", "57100")


def test_limit_orders_rest_and_fill_at_their_price(server: ExchangeServer) -> None:
    """Post-only ones never take; what has nothing left to reduce ends."""

    async def play(exchange: Any) -> None:
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        exit_params = {"reduceOnly": True, "clientOrderId": "tp-1"}
        resting = await exchange.create_order(SYMBOL, "limit", "sell", 0.01, 61000, exit_params)
        assert (resting["status"], resting["timeInForce"], resting["price"]) == ("open", "GTC", 61000)
        with pytest.raises(Exception, match="-5022"):
            await exchange.create_order(SYMBOL, "limit", "sell", 0.01, 59000, {"postOnly": True})
        passive = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, 50000, {"postOnly": True})
        assert (passive["timeInForce"], passive["postOnly"]) == ("PO", True)
        control(server.endpoint, "price", {"symbol": SYMBOL, "price": "61100"})
        filled = await exchange.fetch_order(resting["id"], SYMBOL)
        assert (filled["status"], filled["average"]) == ("closed", 61000)
        trades = await exchange.fetch_my_trades(SYMBOL)
        assert trades[-1]["takerOrMaker"] == "maker"

    using(server.endpoint, play)


def test_balance_follows_profit_and_fees(server: ExchangeServer) -> None:
    """A million, less two fees, plus the profit; and the income says so."""

    async def play(exchange: Any) -> None:
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        control(server.endpoint, "price", {"symbol": SYMBOL, "price": "61000"})
        await exchange.create_order(SYMBOL, "market", "sell", 0.01, None, {"reduceOnly": True})
        balance = await exchange.fetch_balance()
        assert balance["USDT"]["total"] == 1_000_009.395
        kinds = [entry["incomeType"] for entry in await exchange.fapiPrivateGetIncome({"symbol": "BTCUSDT"})]
        assert kinds == ["COMMISSION", "COMMISSION", "REALIZED_PNL"]

    using(server.endpoint, play)


def test_funding_is_told_as_income(server: ExchangeServer) -> None:
    """ccxt reads it as the funding history."""

    async def play(exchange: Any) -> None:
        control(server.endpoint, "fund", {"account": KEY.account, "symbol": SYMBOL, "amount": "-1.25"})
        [payment] = await exchange.fetch_funding_history(SYMBOL)
        assert (payment["amount"], payment["code"]) == (-1.25, "USDT")

    using(server.endpoint, play)


def test_candles_are_of_told_prices_by_wall_minutes(server: ExchangeServer) -> None:
    """Mark and last alike; the forming minute is the last one."""

    async def play(exchange: Any) -> None:
        for price in ("60500", "59500", "60100"):
            control(server.endpoint, "price", {"symbol": SYMBOL, "price": price})
        for params in ({}, {"price": "mark"}):
            candles = await exchange.fetch_ohlcv(SYMBOL, "1m", params=params)
            assert max(candle[2] for candle in candles) == 60500
            assert min(candle[3] for candle in candles) == 59500
            assert candles[-1][4] == 60100
            assert all(candle[0] % 60_000 == 0 for candle in candles)
            # A second may have been the last of its minute.
            assert abs(candles[-1][0] - time.time() * 1000) < 120_000

    using(server.endpoint, play)


def test_what_ccxt_reads_beside_orders(server: ExchangeServer) -> None:
    """Time, tickers, book, trades, leverage, modes and permissions."""

    async def play(exchange: Any) -> None:
        assert abs(await exchange.fetch_time() - time.time() * 1000) < 5000
        assert (await exchange.fetch_ticker(SYMBOL))["last"] == 60000
        assert (await exchange.fetch_bids_asks())[SYMBOL]["bid"] == 60000
        assert (await exchange.fetch_mark_price(SYMBOL))["markPrice"] == 60000
        assert (await exchange.fetch_order_book(SYMBOL))["asks"][0][0] == 60000
        assert len(await exchange.fetch_trades(SYMBOL)) == 1
        assert (await exchange.set_leverage(10, SYMBOL))["leverage"] == 10
        assert (await exchange.fetch_leverage(SYMBOL))["longLeverage"] == 10
        assert (await exchange.fetch_position_mode(SYMBOL))["hedged"] is False
        assert (await exchange.fetch_leverage_tiers([SYMBOL]))[SYMBOL][0]["maintenanceMarginRate"] == 0.005
        assert (await exchange.sapiGetAccountApiRestrictions())["enableWithdrawals"] is False
        with pytest.raises(Exception, match="-4046"):
            await exchange.set_margin_mode("cross", SYMBOL)

    using(server.endpoint, play)


# -- orders it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"quantity": "0.0101"}, -1111),
        ({"quantity": "0"}, -4003),
        ({"quantity": "1000.001"}, -4005),
        ({"quantity": "lots"}, -1102),
        ({"quantity": ""}, -1102),
        ({"symbol": "NOSUCH"}, -1121),
        ({"side": "UP"}, -1117),
        ({"type": "ICEBERG"}, -1116),
        ({"type": "STOP_MARKET", "stopPrice": "59000"}, -4120),
        ({"reduceOnly": "true"}, -2022),
        ({"newClientOrderId": "no spaces"}, -4015),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"positionSide": "LONG"}, -4061),
        ({"type": "LIMIT", "price": "60000.05", "timeInForce": "GTC"}, -1111),
        ({"type": "LIMIT", "price": "60000", "timeInForce": "FOK"}, -1115),
        ({"type": "LIMIT", "price": "60000"}, -1102),
        ({"type": "LIMIT", "price": "100", "timeInForce": "GTC"}, -4164),
        ({"quantity": "900"}, -2019),
    ],
)
def test_a_plain_order_is_refused(server: ExchangeServer, parameters: dict[str, str], code: int) -> None:
    """With Binance's code, and nothing executed."""
    assert refusal(order(server, **parameters)) == (400, code)
    assert signed(server, "GET", "/fapi/v1/allOrders", symbol="BTCUSDT").json() == []


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"triggerPrice": "60000"}, -2021),
        ({"triggerPrice": "59000.05"}, -1111),
        ({"workingType": "BID"}, -1102),
        ({"type": "MARKET"}, -1116),
        ({"algoType": "VP"}, -1102),
        ({"reduceOnly": "true"}, -2022),
    ],
)
def test_a_conditional_order_is_refused(server: ExchangeServer, parameters: dict[str, str], code: int) -> None:
    """With Binance's code, and nothing at rest."""
    assert refusal(stop(server, **parameters)) == (400, code)
    assert signed(server, "GET", "/fapi/v1/openAlgoOrders").json() == []


def test_small_orders_are_spared_when_they_only_reduce(server: ExchangeServer) -> None:
    """The minimum notional is for opening."""
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "4000"})
    assert refusal(order(server, quantity="0.001")) == (400, -4164)
    assert order(server, quantity="0.01").status_code == 200
    assert order(server, side="SELL", quantity="0.001", reduceOnly="true").status_code == 200


def test_a_client_id_is_taken_only_while_its_order_is_open(server: ExchangeServer) -> None:
    """As at Binance: a filled order's id is executed again. Nobody may count on the exchange for that."""
    for _ in range(2):
        assert order(server, newClientOrderId="again").status_code == 200
    assert len(signed(server, "GET", "/fapi/v1/userTrades", symbol="BTCUSDT").json()) == 2
    assert stop(server, clientAlgoId="one").status_code == 200
    assert refusal(stop(server, clientAlgoId="one")) == (400, -4116)
    assert signed(server, "DELETE", "/fapi/v1/algoOrder", clientAlgoId="one").json()["code"] == "200"
    assert stop(server, clientAlgoId="one").status_code == 200


def test_stops_are_limited_in_number(tmp_path: Path) -> None:
    """-4045, until one is gone."""
    with running_exchange(tmp_path, maximum_stops=2) as server:
        assert [stop(server, clientAlgoId=f"s{number}").status_code for number in range(2)] == [200, 200]
        assert refusal(stop(server)) == (400, -4045)
        signed(server, "DELETE", "/fapi/v1/algoOrder", clientAlgoId="s0")
        assert stop(server).status_code == 200


def test_what_does_not_exist_is_said_so(server: ExchangeServer) -> None:
    """-2013 to a question, -2011 to a cancellation; also for one of the other class, or no longer open."""
    order(server, newClientOrderId="done")
    stop(server, clientAlgoId="conditional")
    plain, conditional = "/fapi/v1/order", "/fapi/v1/algoOrder"
    for name in ("none", "conditional"):
        assert refusal(signed(server, "GET", plain, symbol="BTCUSDT", origClientOrderId=name)) == (400, -2013)
    assert refusal(signed(server, "GET", conditional, clientAlgoId="done")) == (400, -2013)
    for name in ("none", "done"):
        assert refusal(signed(server, "DELETE", plain, symbol="BTCUSDT", origClientOrderId=name)) == (400, -2011)
    assert refusal(signed(server, "DELETE", conditional, clientAlgoId="none")) == (400, -2011)


def test_an_answer_may_be_an_acknowledgement_only(server: ExchangeServer) -> None:
    """ACK (the default) says that it was accepted; RESULT says what became of it."""
    assert order(server).json()["status"] == "NEW"
    assert order(server, newOrderRespType="RESULT").json()["status"] == "FILLED"


def test_cancelling_everything_spares_the_other_class(server: ExchangeServer) -> None:
    """Plain and conditional orders are cancelled apart."""
    order(server, type="LIMIT", price="50000", timeInForce="GTC")
    stop(server)
    assert signed(server, "DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT").json()["code"] == 200
    assert signed(server, "GET", "/fapi/v1/openOrders").json() == []
    assert len(signed(server, "GET", "/fapi/v1/openAlgoOrders").json()) == 1
    assert signed(server, "DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT").json()["code"] == 200
    assert signed(server, "GET", "/fapi/v1/openAlgoOrders").json() == []


def test_trades_are_paged_by_id_and_time(server: ExchangeServer) -> None:
    """From an id on, from a time on, or the latest; oldest first; no more than seven days."""
    for _ in range(3):
        order(server)
    path = "/fapi/v1/userTrades"

    def ids(**parameters: Any) -> list[int]:
        return [trade["id"] for trade in signed(server, "GET", path, symbol="BTCUSDT", **parameters).json()]

    assert ids() == [1, 2, 3]
    assert ids(limit=2) == [2, 3]
    assert ids(fromId=2) == [2, 3]
    assert ids(fromId=1, limit=1) == [1]
    now = int(time.time() * 1000)
    assert ids(startTime=now - 60_000, limit=2) == [1, 2]
    assert ids(startTime=now + 60_000) == []
    week = 8 * 24 * 3600 * 1000
    assert refusal(signed(server, "GET", path, symbol="BTCUSDT", startTime=now - week, endTime=now)) == (400, -4084)


# -- whom it believes --------------------------------------------------------------------------------------------------


def test_signatures_keys_and_times_are_checked(server: ExchangeServer) -> None:
    """Nothing is told to whom it does not concern."""
    path, now = "/fapi/v3/account", int(time.time() * 1000)
    assert refusal(signed(server, "GET", path, secret="wrong")) == (400, -1022)  # noqa: S106
    assert refusal(signed(server, "GET", path, key="")) == (401, -2014)
    assert refusal(signed(server, "GET", path, key="unknown")) == (401, -2015)
    assert refusal(signed(server, "GET", path, timestamp=now - 5500)) == (400, -1021)
    assert refusal(signed(server, "GET", path, timestamp=now - 5500, recvWindow=60001)) == (400, -1131)
    assert signed(server, "GET", path, timestamp=now - 5500, recvWindow=60000).status_code == 200
    ahead = signed(server, "GET", path, timestamp=now + 5000)
    assert refusal(ahead) == (400, -1021)
    assert "ahead" in ahead.json()["msg"]
    assert refusal(signed(server, "GET", path, timestamp="")) == (400, -1102)


def test_a_changed_request_is_not_believed(server: ExchangeServer) -> None:
    """The signature covers query and body."""
    query = urlencode({"symbol": "BTCUSDT", "timestamp": int(time.time() * 1000)})
    signature = hmac.new(KEY.secret.encode(), query.encode(), "sha256").hexdigest()
    url = f"{server.endpoint}/fapi/v1/leverage?{query}&signature={signature}"
    answer = httpx.post(url, headers={"X-MBX-APIKEY": KEY.key}, content="leverage=100")
    assert refusal(answer) == (400, -1022)


def test_each_key_is_an_account_of_its_own(server: ExchangeServer) -> None:
    """Orders and positions of one are nothing to the other."""
    order(server, newClientOrderId="mine")
    other = {"key": OTHER_KEY.key, "secret": OTHER_KEY.secret}
    assert signed(server, "GET", "/fapi/v3/positionRisk", **other).json() == []
    found = signed(server, "GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="mine", **other)
    assert refusal(found) == (400, -2013)
    assert order(server, newClientOrderId="mine", **other).status_code == 200


def test_a_revoked_key_is_refused(server: ExchangeServer) -> None:
    """Until it is given back."""
    control(server.endpoint, "keys", {"account": KEY.account})
    assert refusal(order(server)) == (401, -2015)
    control(server.endpoint, "keys", {"account": KEY.account, "revoked": False})
    assert order(server).status_code == 200


def test_hedge_mode_refuses_orders_without_a_side(server: ExchangeServer) -> None:
    """The mode is changed only while nothing is open, and every order is then the mode's mistake."""
    dual = "/fapi/v1/positionSide/dual"
    assert refusal(signed(server, "POST", dual, dualSidePosition="false")) == (400, -4059)
    order(server)
    assert refusal(signed(server, "POST", dual, dualSidePosition="true")) == (400, -4068)
    order(server, side="SELL")
    stop(server)
    assert refusal(signed(server, "POST", dual, dualSidePosition="true")) == (400, -4067)
    signed(server, "DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    assert signed(server, "POST", dual, dualSidePosition="true").json()["code"] == 200
    assert signed(server, "GET", dual).json() == {"dualSidePosition": True}
    assert refusal(order(server)) == (400, -4061)
    assert {row["positionSide"] for row in signed(server, "GET", "/fapi/v2/positionRisk").json()} == {"LONG", "SHORT"}


def test_too_many_requests_are_refused_and_then_banned(tmp_path: Path) -> None:
    """429 with the time to wait, 418 for who goes on; every answer tells the weight used."""
    rates = RateLimits(weight_per_minute=20, patience=1)
    with running_exchange(tmp_path, rates=rates) as server:
        first = httpx.get(f"{server.endpoint}/fapi/v1/time")
        assert int(first.headers["X-MBX-USED-WEIGHT-1M"]) >= 1
        answers = [httpx.get(f"{server.endpoint}/fapi/v1/depth", params={"symbol": "BTCUSDT"}) for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {answer.status_code for answer in refused} == {429, 418}
        assert all(answer.json()["code"] == -1003 and int(answer.headers["Retry-After"]) > 0 for answer in refused)


def test_too_many_orders_are_refused(tmp_path: Path) -> None:
    """-1015, by account."""
    with running_exchange(tmp_path, rates=RateLimits(orders_per_ten_seconds=2)) as server:
        # The window may turn over once meanwhile.
        answers = [order(server) for _ in range(6)]
        assert int(answers[0].headers["X-MBX-ORDER-COUNT-10S"]) == 1
        assert (429, -1015) in [refusal(answer) for answer in answers if answer.status_code != 200]
        assert order(server, key=OTHER_KEY.key, secret=OTHER_KEY.secret).status_code == 200


def test_it_listens_on_loopback_only() -> None:
    """Whatever it is told."""
    with pytest.raises(ValueError, match="loopback"):
        ExchangeSettings(path=":memory:", market=MARKET, keys=(), host="0.0.0.0")


def test_the_control_surface_hears_this_machine_only(server: ExchangeServer) -> None:
    """A web page that was made to resolve to loopback names another host."""
    answer = httpx.get(f"{server.endpoint}/paper/state", headers={"Host": "evil.example:80"})
    assert answer.status_code == 400


def test_an_unknown_path_is_not_found(server: ExchangeServer) -> None:
    """As JSON, like everything."""
    assert httpx.get(f"{server.endpoint}/fapi/v1/nothing").status_code == 404


def test_clients_are_unmodified() -> None:
    """Only their addresses are changed."""
    exchange = client("http://127.0.0.1:1")
    assert type(exchange).__module__.startswith("ccxt.")
    assert all("127.0.0.1" in str(url) for url in exchange.urls["api"].values())
