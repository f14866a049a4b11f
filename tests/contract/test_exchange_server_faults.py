"""What the paper exchange server does on demand: to requests on their way, to its clock, and to accounts."""

import time
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.venues.exchange_server import ExchangeServer
from tests.contract.test_exchange_server import order, refusal, signed, stop
from tests.exchange_world import KEY, OTHER_KEY, SYMBOL, control, running_exchange, using


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExchangeServer]:
    """A server whose prices are pushed by hand: BTC at 60000."""
    with running_exchange(tmp_path) as running:
        yield running


def faults(server: ExchangeServer, *rules: dict[str, Any]) -> None:
    """These rules, after those there are."""
    control(server.endpoint, "faults", {"rules": list(rules)})


def ccxt_error(name: str) -> type[Exception]:
    """One of ccxt's errors."""
    found: type[Exception] = getattr(import_module("ccxt"), name)
    return found


def trades(server: ExchangeServer) -> int:
    """How many executions the account has had."""
    return len(signed(server, "GET", "/fapi/v1/userTrades", symbol="BTCUSDT").json())


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "executed"), [("drop_before", 0), ("drop_after", 1)])
def test_a_connection_is_cut_before_or_after_execution(server: ExchangeServer, where: str, executed: int) -> None:
    """Either way, the client learns nothing."""
    faults(server, {"on": "POST order", where: True})
    with pytest.raises(httpx.RemoteProtocolError):
        order(server)
    assert trades(server) == executed
    assert order(server).status_code == 200


def test_an_answer_is_truncated(server: ExchangeServer) -> None:
    """Executed; half an answer arrives."""
    faults(server, {"on": "POST order", "truncate": 10})
    with pytest.raises(httpx.RemoteProtocolError):
        order(server)
    assert trades(server) == 1


def test_an_answer_is_a_page(server: ExchangeServer) -> None:
    """With status 200 or another, executed or not."""
    faults(
        server,
        {"on": "POST order", "html": True},
        {"on": "POST order", "html": True, "status": 502, "executed": True},
    )
    answers = [order(server), order(server)]
    assert [(answer.status_code, answer.headers["Content-Type"]) for answer in answers] == [
        (200, "text/html"),
        (502, "text/html"),
    ]
    assert trades(server) == 1


def test_an_error_is_answered_with_or_without_execution(server: ExchangeServer) -> None:
    """-1007 tells of an unknown execution status, 503 of nothing at all; -1003 says when to come back."""
    faults(
        server,
        {"on": "POST order", "code": -1007, "executed": True},
        {"on": "POST order", "code": -1000, "status": 503, "executed": True},
        {"on": "POST order", "code": -1003, "retry_after": 7},
        {"on": "POST order", "code": -2019},
    )
    answers = [order(server) for _ in range(4)]
    assert [refusal(answer) for answer in answers] == [(408, -1007), (503, -1000), (429, -1003), (400, -2019)]
    assert answers[1].json()["msg"] == "Unknown error, please check your request or try again later."
    assert answers[2].headers["Retry-After"] == "7"
    assert trades(server) == 2


def test_a_request_hangs_before_execution_until_it_is_too_old(server: ExchangeServer) -> None:
    """It is judged when it is looked at: one that waited longer than its window is refused."""
    faults(server, {"on": "POST order", "hang_before": 0.4, "times": 2})
    assert refusal(order(server, recvWindow=100)) == (400, -1021)
    assert order(server, recvWindow=30_000).status_code == 200
    assert trades(server) == 1


def test_an_answer_hangs_after_execution(server: ExchangeServer) -> None:
    """A client that gives up has traded all the same."""

    async def play(exchange: Any) -> None:
        faults(server, {"on": "POST order", "hang_after": 30})
        exchange.timeout = 300
        with pytest.raises(ccxt_error("RequestTimeout")):
            await exchange.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "given-up"})
        exchange.timeout = 10_000
        found = await exchange.fetch_order("", SYMBOL, {"origClientOrderId": "given-up"})
        assert found["status"] == "closed"

    using(server.endpoint, play)


def test_rules_know_whom_and_how_often(server: ExchangeServer) -> None:
    """By account, symbol and client id; after so many, for so many; the first that matches takes it."""
    faults(
        server,
        {"on": "*", "account": OTHER_KEY.account, "code": -1001, "times": 0},
        {"on": "POST order", "client_order_id": "that-one", "code": -1001},
        {"on": "POST order", "symbol": "ETHUSDT", "code": -1001},
        {"on": "order", "skip": 1, "times": 1, "code": -1008},
    )
    assert order(server).status_code == 200
    assert refusal(order(server, newClientOrderId="that-one"))[1] == -1001
    assert refusal(order(server, symbol="ETHUSDT"))[1] == -1001
    assert refusal(order(server))[1] == -1008
    assert order(server).status_code == 200
    assert refusal(order(server, key=OTHER_KEY.key, secret=OTHER_KEY.secret))[1] == -1001
    listed = control(server.endpoint, "faults", method="GET")["rules"]
    assert [rule["taken"] for rule in listed] == [1, 1, 1, 1]
    control(server.endpoint, "faults", method="DELETE")
    assert order(server, key=OTHER_KEY.key, secret=OTHER_KEY.secret).status_code == 200


def test_chance_is_the_seeds(tmp_path: Path) -> None:
    """The same requests meet the same faults."""

    def met(folder: Path) -> list[int]:
        folder.mkdir()
        with running_exchange(folder) as server:
            faults(server, {"on": "time", "times": 0, "probability": 0.5, "seed": "s", "code": -1001})
            return [httpx.get(f"{server.endpoint}/fapi/v1/time").status_code for _ in range(20)]

    first = met(tmp_path / "a")
    assert set(first) == {200, 400}
    assert met(tmp_path / "b") == first


def test_a_read_may_not_have_heard_of_the_latest_execution(server: ExchangeServer) -> None:
    """A replica lags; the truth is unharmed."""
    order(server)
    order(server)
    faults(server, {"on": "GET positionRisk", "behind_executions": 1})
    late, now = (signed(server, "GET", "/fapi/v3/positionRisk", symbol="BTCUSDT").json() for _ in range(2))
    assert (late[0]["positionAmt"], now[0]["positionAmt"]) == ("0.01", "0.02")


def test_an_order_is_filled_in_parts(server: ExchangeServer) -> None:
    """The rest follows at the next price, or never; a conditional order's child too."""
    faults(server, {"on": "fill", "fill": "0.004", "rest": "next_price"}, {"on": "fill", "fill": "0.002"})
    first = order(server, newOrderRespType="RESULT", newClientOrderId="parts").json()
    assert (first["status"], first["executedQty"]) == ("PARTIALLY_FILLED", "0.004")
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "60010"})
    whole = signed(server, "GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="parts").json()
    assert (whole["status"], whole["executedQty"], whole["avgPrice"]) == ("FILLED", "0.010", "60006")
    assert order(server, newOrderRespType="RESULT").json()["status"] == "EXPIRED"
    stop(server, clientAlgoId="in-parts", reduceOnly="true")
    faults(server, {"on": "fill", "client_order_id": "in-parts", "fill": "0.003", "rest": "next_price"})
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "58000"})
    assert signed(server, "GET", "/fapi/v1/algoOrder", clientAlgoId="in-parts").json()["algoStatus"] == "TRIGGERED"
    control(server.endpoint, "price", {"symbol": SYMBOL, "price": "58001"})
    assert signed(server, "GET", "/fapi/v1/algoOrder", clientAlgoId="in-parts").json()["algoStatus"] == "FINISHED"


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"on": "order", "delay": 1},
        {"on": "order", "times": "often"},
        {"on": "order", "hang_after": -1},
        {"on": "order", "html": "yes"},
        {"on": "order", "fill": "1"},
        {"on": "fill"},
        {"on": "fill", "fill": "1", "rest": "later"},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(server: ExchangeServer, rule: dict[str, Any]) -> None:
    """With words, and no rule is added."""
    answer = httpx.post(f"{server.endpoint}/paper/faults", json=rule)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
    assert control(server.endpoint, "faults", method="GET") == {"rules": []}


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_wrong_is_told_and_judged_by(server: ExchangeServer) -> None:
    """A client that asks for the time can adjust; one that does not is refused."""

    async def play(exchange: Any) -> None:
        control(server.endpoint, "clock", {"skew_ms": -60_000})
        with pytest.raises(Exception, match="-1021"):
            await exchange.fetch_balance()
        await exchange.load_time_difference()
        assert 50_000 < exchange.options["timeDifference"] < 70_000
        exchange.options["adjustForTimeDifference"] = True
        assert (await exchange.fetch_balance())["USDT"]["total"] == 1_000_000
        sent = await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        assert sent["timestamp"] < time.time() * 1000 - 50_000

    using(server.endpoint, play)


# -- what happens to accounts ------------------------------------------------------------------------------------------


def test_auto_deleveraging_takes_part_of_a_position(server: ExchangeServer) -> None:
    """By an order of the exchange's own."""
    order(server)
    told = control(server.endpoint, "adl", {"account": KEY.account, "symbol": "BTCUSDT", "quantity": "0.004"})
    assert (told["clientOrderId"], told["executedQty"], told["side"]) == ("adl_autoclose", "0.004", "SELL")
    [risk] = signed(server, "GET", "/fapi/v3/positionRisk").json()
    assert risk["positionAmt"] == "0.006"
    settled = control(server.endpoint, "settle", {"account": KEY.account, "symbol": SYMBOL})
    assert settled["clientOrderId"].startswith("settlement_autoclose-")
    assert signed(server, "GET", "/fapi/v3/positionRisk").json() == []


def test_an_account_in_ruin_is_liquidated(tmp_path: Path) -> None:
    """When its equity falls to the maintenance margin; what rests is gone with it. Its price was told before."""
    with running_exchange(tmp_path, balance=Decimal(100)) as server:
        assert order(server, quantity="0.03").status_code == 200
        assert stop(server, triggerPrice="50000").status_code == 200
        [risk] = signed(server, "GET", "/fapi/v3/positionRisk").json()
        told = float(risk["liquidationPrice"])
        assert 56_000 < told < 58_000
        control(server.endpoint, "price", {"symbol": SYMBOL, "price": f"{told + 10:.1f}"})
        assert signed(server, "GET", "/fapi/v3/positionRisk").json() != []
        control(server.endpoint, "price", {"symbol": SYMBOL, "price": f"{told - 10:.1f}"})
        assert signed(server, "GET", "/fapi/v3/positionRisk").json() == []
        assert signed(server, "GET", "/fapi/v1/openAlgoOrders").json() == []
        last = signed(server, "GET", "/fapi/v1/allOrders", symbol="BTCUSDT").json()[-1]
        assert last["clientOrderId"].startswith("autoclose-")
        assert last["type"] == "LIQUIDATION"


def test_the_owner_trades_by_hand(server: ExchangeServer) -> None:
    """Market, limit and conditional orders with ids of the web page's; and cancels what a bot placed."""
    owner = {"account": KEY.account, "symbol": SYMBOL, "side": "sell", "quantity": "0.01"}
    order(server, quantity="0.03")
    assert control(server.endpoint, "order", owner)["clientOrderId"].startswith("web_")
    resting = control(server.endpoint, "order", {**owner, "type": "STOP_MARKET", "triggerPrice": "59000"})
    assert resting["algoStatus"] == "NEW"
    assert len(signed(server, "GET", "/fapi/v1/openAlgoOrders").json()) == 1
    for name in (resting["clientAlgoId"], "a-bots"):
        if name == "a-bots":
            stop(server, clientAlgoId=name)
        control(server.endpoint, "order", {**owner, "client_order_id": name}, method="DELETE")
    assert signed(server, "GET", "/fapi/v1/openAlgoOrders").json() == []


def test_a_price_is_held_until_it_is_released(tmp_path: Path) -> None:
    """A market that plays goes on beneath it, and is heard again."""
    with running_exchange(tmp_path, manual=False) as server:

        def last() -> float:
            return float(control(server.endpoint, "state", method="GET")["prices"][SYMBOL]["last"])

        control(server.endpoint, "price", {"symbol": SYMBOL, "price": "1000", "hold": True})
        before = control(server.endpoint, "state", method="GET")["prices"][SYMBOL]["at"]
        deadline = time.monotonic() + 10
        while control(server.endpoint, "state", method="GET")["prices"][SYMBOL]["at"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert last() == 1000
        control(server.endpoint, "price", method="DELETE")
        while last() == 1000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 55_000 < last() < 65_000
