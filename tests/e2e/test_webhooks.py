"""TradingView's alerts against the service itself: each acts once, whatever happens in between."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bootstrap import Application
from service.config_load import load_config
from service.logs import redaction
from tests.e2e.keeper import BTC, ETH, SOL, Keeper, configuration, free_port, prices, settled
from tests.e2e.test_one_store_one_thread import until

SECRET = "a-long-enough-secret"  # noqa: S105
PATH = "/v1/webhooks/tradingview"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The service in this process, with a token: a webhook can send none."""
    folder = tmp_path_factory.mktemp("webhooks")
    files = {BTC: prices(folder, "btc", "60000"), ETH: prices(folder, "eth", "3000"), SOL: prices(folder, "sol", "150")}
    environment = {
        "EXITKEEPER_HTTP__PORT": str(free_port()),
        "EXITKEEPER_HTTP__TOKEN": "the-token",
        "EXITKEEPER_WEBHOOKS__SECRET": SECRET,
    }
    found = Application(
        load_config(Path(configuration(folder, files)), data_dir=folder / "data", environment=environment)
    )
    redaction.register(found.config.secrets())  # As the command does before it starts the service.
    found.start()
    try:
        yield found
    finally:
        found.stop()
        redaction.register(())


@pytest.fixture(scope="module")
def client(service: Application) -> Iterator[httpx.Client]:
    """With the token, which only the other paths look at."""
    headers = {"Authorization": "Bearer the-token"}
    url = f"http://127.0.0.1:{service.config.http.port}"
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False, headers=headers) as found:
        until(lambda: found.get("/readyz").status_code == 200)
        yield found


def send(client: httpx.Client, **body: Any) -> httpx.Response:
    """One alert, as TradingView sends it: text, and no header of ours."""
    content = httpx.Response(200, json={"secret": SECRET, **body}).content
    url = client.base_url.join(PATH)
    return httpx.post(url, content=content, headers={"Content-Type": "text/plain"}, trust_env=False, timeout=30.0)


def position(client: httpx.Client, id: str) -> dict[str, Any]:
    """As it is shown."""
    found: dict[str, Any] = client.get(f"/v1/positions/{id}").json()
    return found


def entered(client: httpx.Client, **body: Any) -> str:
    """Enter, and wait until it is settled; the position's id."""
    response = send(client, **body)
    assert response.status_code == 201, response.text
    id = str(response.json()["position"]["id"])
    until(lambda: settled(position(client, id)))
    return id


def closed(client: httpx.Client, id: str) -> Callable[[], bool]:
    """Whether it is closed."""
    return lambda: position(client, id)["phase"] == "closed"


def open_ids(client: httpx.Client) -> list[str]:
    """What is not closed."""
    return [each["id"] for each in client.get("/v1/positions").json()["positions"]]


def test_a_signal_enters_once_and_exits_once(client: httpx.Client) -> None:
    """Repeats find what was done, also after somebody else holds the slot."""
    enter = {
        "action": "enter_long",
        "symbol": "BINANCE:BTCUSDT.P",
        "quantity": 0.01,
        "signal_id": "in",
        "price": 60000.5,
    }
    first = entered(client, **enter)
    shown = position(client, first)
    assert (shown["symbol"], shown["quantity"], shown["side"]) == (BTC, "0.01", "long")
    assert shown["tags"] == {"source": "tradingview", "signal_id": "in", "price": "60000.5"}
    again = send(client, **enter)
    assert (again.status_code, again.json()["result"], again.json()["position"]["id"]) == (200, "repeated", first)
    assert send(client, **{**enter, "quantity": 0.02}).json()["error"]["code"] == "id_taken"
    leave = {"action": "exit_long", "symbol": "BTCUSDT.P", "signal_id": "out"}
    assert send(client, **{**leave, "action": "exit_short"}).json()["result"] == "nothing_to_do"
    left = send(client, **leave)
    assert (left.status_code, left.json()["result"], left.json()["leg"]) == (202, "closing", "manual-1")
    until(closed(client, first))
    until(lambda: BTC not in [each["symbol"] for each in client.get("/v1/positions").json()["positions"]])
    second = entered(client, **{**enter, "signal_id": "in-2"})
    late = send(client, **leave)
    assert (late.status_code, late.json()["result"], late.json()["position"]["id"]) == (200, "repeated", first)
    assert send(client, **enter).json()["result"] == "repeated"
    assert position(client, second)["phase"] == "open"
    assert send(client, action="close", symbol=BTC, signal_id="in-2").status_code == 409
    assert send(client, action="close", symbol=BTC, signal_id="out-2").status_code == 202
    until(closed(client, second))
    until(lambda: send(client, action="close", symbol=BTC).json().get("result") == "nothing_to_do")


def test_an_exit_with_a_quantity_closes_that_much(client: httpx.Client) -> None:
    """And never more; once."""
    id = entered(client, action="buy", market_position="long", symbol="ETHUSDT.P", quantity="0.03", signal_id="e1")
    part = {"action": "exit_long", "symbol": "ETHUSDT.P", "quantity": "0.01", "signal_id": "e2"}
    assert send(client, **part).status_code == 202
    until(lambda: position(client, id)["remaining"] == "0.02")
    assert send(client, **part).json()["result"] == "repeated"
    refused = send(client, action="sell", market_position="long", symbol="ETHUSDT.P", quantity="0.01", signal_id="e3")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "partial_exit")
    assert send(client, action="sell", market_position="flat", symbol="ETHUSDT.P", signal_id="e4").status_code == 202
    until(closed(client, id))
    manual = [fill["quantity"] for fill in position(client, id)["fills"] if fill["leg"].startswith("manual")]
    assert sum(map(Decimal, manual)) == Decimal("0.03")


def test_the_other_side_is_refused_closed_or_reversed(client: httpx.Client) -> None:
    """As the signal says; a reversal that takes longer is finished by sending it again."""
    id = entered(client, action="enter_long", symbol="SOLUSDT.P", quantity="1", signal_id="s1")
    short = {"action": "enter_short", "symbol": "SOLUSDT.P", "quantity": "1"}
    refused = send(client, **short, signal_id="s2")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "opposite_position")
    same = send(client, action="enter_long", symbol="SOLUSDT.P", quantity="1", signal_id="s3", on_opposite="reverse")
    assert (same.status_code, same.json()["error"]["code"]) == (409, "slot_taken")
    assert position(client, id)["phase"] == "open"
    only_close = {**short, "signal_id": "s4", "on_opposite": "close"}
    assert send(client, **only_close).json()["result"] == "closing"
    until(closed(client, id))
    until(lambda: not open_ids(client))
    assert send(client, **only_close).json()["result"] == "repeated"
    assert open_ids(client) == []
    second = entered(client, action="enter_long", symbol="SOLUSDT.P", quantity="1", signal_id="s5")
    reverse = {**short, "signal_id": "s6", "on_opposite": "reverse"}
    answers = [send(client, **reverse)]
    while answers[-1].status_code == 503:
        answers.append(send(client, **reverse))
    assert {answer.status_code for answer in answers} <= {201, 503, 200}
    until(lambda: bool(open_ids(client)))
    (third,) = open_ids(client)
    until(lambda: settled(position(client, third)))
    assert (position(client, third)["side"], position(client, second)["phase"]) == ("short", "closed")
    assert send(client, **reverse).json()["result"] == "repeated"
    assert (
        send(client, action="enter_long", symbol="SOLUSDT.P", quantity="1", signal_id="s5").json()["result"]
        == "repeated"
    )
    assert position(client, third)["phase"] == "open"
    send(client, action="close", symbol="SOLUSDT.P", signal_id="s7")
    until(closed(client, third))


def test_without_the_secret_nothing_is_taken(client: httpx.Client, service: Application) -> None:
    """A token does not stand in for it; and the secret appears in no answer."""
    for body in ({}, {"secret": "wrong-wrong-wrong-wrong"}, {"secret": [SECRET]}):
        response = client.post(PATH, json={"action": "close", "symbol": BTC, **body})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    misplaced = {"secret": SECRET, "action": "enter_long", "symbol": SECRET, "quantity": "1", SECRET: 1}
    response = client.post(PATH, json=misplaced)
    assert response.status_code == 422
    assert SECRET not in response.text
    assert SECRET not in repr(service.config)
    assert SECRET in service.config.secrets()


def test_symbols_and_accounts_that_are_not_there_are_named(client: httpx.Client) -> None:
    """With what there is instead."""
    unknown = send(client, action="close", symbol="DOGEUSDT.P")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unknown_symbol")
    assert BTC in unknown.json()["error"]["message"]
    assert send(client, action="close", symbol=BTC, account="main").json()["error"]["code"] == "unknown_account"


rubbish = st.one_of(
    st.binary(max_size=64),
    st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b'{"secret": "' + SECRET.encode() + b'", "action": "close"',
            b"[" * 5000,
            b'{"a":' * 5000,
            b'{"quantity": NaN}',
            b'{"quantity": 1e999999999}',
            b'{"secret": "\\ud800"}',
            b'{"secret": 1, "secret": 2}',
            b"\xff\xfe{}",
            b"null",
            b'"text"',
            b"0" * 70_000,
            b'{"secret": "' + SECRET.encode() + b'", "quantity": ' + b"9" * 5000 + b"}",
            b'{"secret": "' + SECRET.encode() + b'", "action": "enter_long", "symbol": "X", "quantity": 1e-400}',
        ]
    ),
)


@given(body=rubbish, kind=st.sampled_from(["application/json", "text/plain", "image/png", "", "multipart/form-data"]))
def test_any_bytes_are_answered_and_change_nothing(client: httpx.Client, body: bytes, kind: str) -> None:
    """Of any content type: a clear refusal, never a failure of ours."""
    before = client.get("/v1/positions?phase=all").json()
    response = client.post(PATH, content=body, headers={"Content-Type": kind})
    assert 400 <= response.status_code < 500, response.text
    assert response.json()["error"]["message"]
    assert SECRET not in response.text
    assert client.get("/v1/positions?phase=all").json() == before


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("action", "symbol", "quantity", "market_position", "plan", "account", "signal_id", "timestamp", "max_lag")


@given(body=st.dictionaries(st.sampled_from(FIELDS), values, min_size=1))
def test_any_fields_are_refused_or_have_nothing_to_do(client: httpx.Client, body: dict[str, Any]) -> None:
    """Whatever stands where a word or a number is due."""
    before = client.get("/v1/positions?phase=all").json()
    response = send(client, **{"action": "close", "symbol": "BTCUSDT.P", "quantity": "0.01", **body})
    assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
    assert response.status_code != 200 or response.json()["result"] == "nothing_to_do"
    assert client.get("/v1/positions?phase=all").json() == before


def test_what_a_signal_did_is_known_after_a_kill(tmp_path: Path) -> None:
    """Nothing of it was in memory alone."""
    files = {BTC: prices(tmp_path, "btc", "60000")}
    keeper = Keeper(tmp_path, "--config", configuration(tmp_path, files))
    keeper.environment["EXITKEEPER_WEBHOOKS__SECRET"] = SECRET
    try:
        keeper.start()
        enter = {"secret": SECRET, "action": "enter_long", "symbol": BTC, "quantity": 0.01, "signal_id": "in"}
        id = keeper.client.post(PATH, json=enter).json()["position"]["id"]
        keeper.kill()
        keeper.start()
        again = keeper.client.post(PATH, json=enter).json()
        assert (again["result"], again["position"]["id"]) == ("repeated", id)
        keeper.until(lambda: settled(keeper.client.get(f"/v1/positions/{id}").json()), "it never settled")
        leave = {"secret": SECRET, "action": "close", "symbol": BTC, "signal_id": "out"}
        assert keeper.client.post(PATH, json=leave).status_code == 202
        keeper.kill()
        keeper.start()
        keeper.until(
            lambda: keeper.client.get(f"/v1/positions/{id}").json()["phase"] == "closed", "it was never closed"
        )
        again = keeper.client.post(PATH, json=leave).json()
        assert (again["result"], again["position"]["id"]) == ("repeated", id)
        shown = keeper.client.get(f"/v1/positions/{id}").json()
        assert sum(Decimal(fill["quantity"]) for fill in shown["fills"] if fill["leg"] == "manual-1") == Decimal("0.01")
        log = keeper.log.read_text(encoding="utf-8")
        assert SECRET not in log
    finally:
        keeper.end()
