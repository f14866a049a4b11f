"""Everything that accepts a body, under bodies that no client would send: the webhook above all, which anybody may hit.

Any bytes under any content type; JSON with names twice, numbers of a thousand digits, NaN, lone surrogates, nesting
without end, and almost right signals with one field gone wrong. Each is answered with a clear error or acted upon as
it says; never a traceback, a 5xx, a dead actor, or a position changed by what was refused.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.keeper import BTC, ETH
from tests.input.effort import effort
from tests.input.live_house import SECRET, Living, living

WEBHOOK = "/v1/webhooks/tradingview"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """One service for everything here, with two positions; at the end it must be as alive as it was."""
    with living(tmp_path_factory.mktemp("bodies")) as found:
        found.opened("p1", BTC)
        found.opened("p2", ETH, side="short")
        yield found
        found.check_alive()


def verdict(house: Living, before: dict[str, Any], response: httpx.Response) -> None:
    """What holds for every answer."""
    text = response.text
    assert response.status_code < 500 or response.status_code in (503, 504), "\n".join([text, *house.failures])
    assert "Traceback" not in text
    assert SECRET not in text
    body = response.json()
    if response.status_code >= 400:
        assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "field"}
        assert house.everything() == before, "a refused request changed a position"


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from(["1", "-1", "0", "1e9", "NaN", "1" * 50, "0.1", BTC, "BINANCE:BTCUSDT.P", "long", "runner"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
# Numbers as they stand in JSON, which Python would not write by itself.
numerals = st.sampled_from(
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "1E-400",
        "-0",
        "0.1",
        "1" * 400,
        "1." + "0" * 400,
        "9" * 5000,
        "1e",
        "01",
    ]
)
odd_texts = st.sampled_from(['"\\ud800"', '"\\u0000"', '"\\udfff\\ud800"', '"' + "x" * 70_000 + '"', "[" * 5000, "{"])

signals: dict[str, list[Any]] = {
    "secret": [SECRET],
    "action": ["enter_long", "enter_short", "exit_long", "exit_short", "close", "buy", "sell", "open", ""],
    "symbol": [BTC, ETH, "BINANCE:BTCUSDT.P", "SOL/USDT:USDT", "NOPE/USDT:USDT", "", "::", "/"],
    "quantity": ["0.01", 1, 0, -1, "all", "1e-30", "100%"],
    "market_position": ["long", "short", "flat", ""],
    "price": ["60000", 1, "x"],
    "plan": ["runner", "nope", {"stop": {"percent": "1"}}, {"stop": {}}, []],
    "account": ["paper", "nope", ""],
    "signal_id": ["s1", "s2", "", "x" * 300],
    "timestamp": ["2026-01-01T00:00:00Z", "now", 0, "1700000000"],
    "max_lag": [60, "60", -1, 10**12],
    "on_opposite": ["refuse", "close", "reverse", ""],
}


@st.composite
def objects(draw: st.DrawFn, fields: dict[str, list[Any]]) -> bytes:
    """The text of an object that is almost right: a few of these fields, some of them replaced, doubled or made up."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), unique=True))
    names = [*draw(st.sampled_from([["secret"], ["secret", "action", "symbol"], []])), *names]
    pairs: list[str] = []
    for name in dict.fromkeys(name for name in names if name in fields):
        how = draw(st.integers(0, 9))
        if how == 0:
            value = draw(numerals | odd_texts)
        elif how == 1:
            value = json.dumps(draw(junk))
        else:
            value = json.dumps(draw(st.sampled_from(fields[name])))
        pairs.append(f"{json.dumps(name)}:{value}")
        if draw(st.integers(0, 30)) == 0:
            pairs.append(pairs[-1])
    if draw(st.integers(0, 9)) == 0:
        pairs.append(f"{json.dumps(draw(st.text(max_size=10)))}:{json.dumps(draw(junk))}")
    return ("{" + ",".join(pairs) + "}").encode("utf-8", "surrogatepass")


anything = (
    st.binary(max_size=300)
    | junk.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{" * 60_000, b"[" * 70_000, b"null", b'"', b" " * 70_000])
    | (numerals | odd_texts).map(str.encode)
)
types = st.sampled_from(
    [
        *("application/json", "text/plain", "text/plain; charset=utf-16", "application/x-www-form-urlencoded"),
        *("multipart/form-data", "multipart/form-data; boundary=", "", "x", "application/json; charset=nope", "\xff"),
    ]
)


openings: dict[str, list[Any]] = {
    "id": ["p1", "p9", "", "a b", "x" * 65],
    "account": ["paper", "nope", "", 1],
    "symbol": [BTC, "SOL/USDT:USDT", "NOPE", ""],
    "side": ["long", "short", "up"],
    "quantity": ["0.01", 0.01, "0", "-1", "1e3", "9" * 30],
    "plan": ["runner", "nope", {"stop": {"percent": "1"}}, {"stop": {"percent": 1.5}}, {"targets": [{}]}, None],
    "adopt": [True, False, "yes"],
    "foreign_orders": ["keep", "cancel", "x"],
    "act_now": [True, False, 1],
    "tags": [{}, {"a": "b"}, {"a": 1}, [], {"x" * 100: "y"}],
}
closes: dict[str, list[Any]] = {
    "fraction": ["0.5", "1e-9", "0", "2", "-1", 0.5, "0.9999999999999999999"],
    "request_id": ["r1", "r2", "", "a b", 7, "x" * 65],
}
plans: dict[str, list[Any]] = {
    "stop": [
        {"percent": "1"},
        {"price": "59000"},
        {"r": "1"},
        {"atr": "1"},
        {"target": 1},
        {"percent": "-5"},
        {},
        None,
    ],
    "trail": [{"percent": "1"}, {"percent": "0"}, {"price": "1", "min_percent": "9", "max_percent": "1"}, "x"],
    "targets": [
        *([], [{"at": {"percent": "1"}, "close": "0.6"}], [{"at": [], "close": "1"}], [{}] * 11, {"0": {}}),
        [{"number": 1, "at": {"percent": "5"}, "close": "1", "then": []}],
        [{"at": [{"percent": "5"}, {"percent": "1", "after_seconds": "x"}], "close": "0.1"}],
        [{"at": {"target": 10**20}, "close": "0.1"}],
    ],
    "time_limit_seconds": ["1e9", 5, "-1", 0, "9" * 40],
    "trigger_by": [{"stop": "mark"}, {"stop": "x"}, {"x": "mark"}, "mark"],
    "max_slippage_percent": ["0", "100", "-1", "1e50"],
    "atr": ["1", "0", "-1", "1e30"],
    "allow_looser_stop": [True, False, "x"],
    "act_now": [False, "x"],
}
# In this order: what closes positions comes last.
REQUESTS: list[tuple[str, str, dict[str, list[Any]]]] = [
    ("PUT", "/v1/positions/p1/plan", plans),
    ("POST", "/v1/positions", openings),
    ("POST", "/v1/positions?preview=true", openings),
    ("POST", "/v1/positions/p2/close", closes),
]


@pytest.mark.parametrize(
    ("method", "path", "fields"), REQUESTS, ids=[f"{method} {path}" for method, path, _ in REQUESTS]
)
def test_every_endpoint_takes_any_body(house: Living, method: str, path: str, fields: dict[str, list[Any]]) -> None:
    """Opening, previewing, closing, amending."""
    matches = st.sampled_from(["", "1", "*", '"1"', "x", "9" * 40, "-1", "\xff"])

    @effort(60)
    @given(body=st.one_of(objects(fields), objects(fields), anything), kind=types, match=matches)
    def ask(body: bytes, kind: str, match: str) -> None:
        before = house.at_rest()
        headers = {b"content-type": kind.encode("latin-1")}
        if match:
            headers[b"if-match"] = match.encode("latin-1")
        verdict(house, before, house.client.request(method, path, content=body, headers=headers))

    ask()


@effort(25)
@given(last=st.sampled_from(["0", "-1", "9" * 50, "x", "\xff", "1,2"]) | st.text(st.characters(codec="latin-1")))
def test_a_stream_begins_whatever_was_seen_last(house: Living, last: str) -> None:
    """`Last-Event-ID` is the client's word: the stream begins, or says what is wrong."""
    value = "".join(letter for letter in last if letter.isprintable()).strip().encode("latin-1")
    with house.client.stream("GET", "/v1/events", headers={b"last-event-id": value}) as response:
        assert response.status_code in (200, 400, 422, 429)


@effort(120)
@given(body=st.one_of(objects(signals), objects(signals), anything), kind=types)
def test_a_webhook_takes_any_body(house: Living, body: bytes, kind: str) -> None:
    """The one path that the whole Internet may reach."""
    before = house.at_rest()
    response = house.client.post(WEBHOOK, content=body, headers={b"content-type": kind.encode("latin-1")})
    verdict(house, before, response)
