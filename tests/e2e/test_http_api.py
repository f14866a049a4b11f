"""The HTTP API over a real socket, with fakes behind it: what is accepted, what is refused, and how it is said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from actors.domain.model import Phase, Side
from service import http_models
from service.http_server import CannotListen, HttpServer
from service.views import POSITION_FIELDS
from tests.e2e.service_fakes import AT, BTC, Service, opening, published, runner, running

OPEN = {"account": "paper", "symbol": BTC, "side": "long", "quantity": "0.01"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for all tests here that leave nothing behind."""
    with running() as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client of it, and an empty directory of positions."""
    service.directory.positions.clear()
    service.seen.clear()
    with httpx.Client(base_url=service.url, trust_env=False) as found:
        yield found


def error(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, whose shape is always the same."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) <= {"error", "faults"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "field"}
    assert "Traceback" not in response.text
    found: dict[str, Any] = body["error"]
    return found


def test_opening_answers_once_it_is_durable(client: httpx.Client, service: Service) -> None:
    """201 with the whole position; an id is made up where none was given."""
    response = client.post("/v1/positions", json=OPEN)
    assert response.status_code == 201
    body = response.json()
    assert tuple(body) == POSITION_FIELDS
    assert (body["phase"], body["quantity"], body["entry_price"]) == ("opening", "0.01", None)
    assert response.headers["location"] == f"/v1/positions/{body['id']}"
    assert len(body["id"]) == 12
    asked = service.seen[0]
    assert (asked.side, asked.quantity, asked.plan.name) == (Side.LONG, Decimal("0.01"), "runner")


def test_an_identical_repeat_is_recognised_however_it_is_written(client: httpx.Client) -> None:
    """200 the second time; the same id for something else is taken."""
    first = {**OPEN, "id": "mine", "quantity": "0.010", "plan": {"stop": {"percent": "1"}}}
    again = {"plan": {"stop": {"percent": "1"}}, "adopt": False, **OPEN, "id": "mine", "tags": {}}
    assert client.post("/v1/positions", json=first).status_code == 201
    assert client.post("/v1/positions", json=again).status_code == 200
    other = client.post("/v1/positions", json={**OPEN, "id": "mine"})
    assert error(other, 409)["code"] == "id_taken"


def test_a_preview_sends_nothing(client: httpx.Client, service: Service) -> None:
    """And a misspelt parameter is no preview by accident: it is refused."""
    assert client.post("/v1/positions?preview=true", json=OPEN).status_code == 200
    assert service.seen[0].preview
    for query in ("preveiw=true", "preview=yes", "preview=true&preview=false"):
        error(client.post(f"/v1/positions?{query}", json=OPEN), 422)
    assert len(service.seen) == 1


def test_adopting_needs_neither_side_nor_quantity(client: httpx.Client, service: Service) -> None:
    """They are the venue's."""
    body = {
        "account": "paper",
        "symbol": BTC,
        "adopt": True,
        "foreign_orders": "keep",
        "act_now": True,
        "tags": {"a": "b"},
    }
    assert client.post("/v1/positions", json=body).status_code == 201
    asked = service.seen[0]
    assert (asked.side, asked.quantity, asked.foreign_orders, asked.act_now) == (None, None, "keep", True)
    assert asked.tags == {"a": "b"}


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        ({"quantity": 0.01}, "quantity", "send it as a string"),
        ({"quantity": "0"}, "quantity", "above 0"),
        ({"quantity": "-1"}, "quantity", "above 0"),
        ({"quantity": "1e5"}, "quantity", "no exponent"),
        ({"quantity": "nan"}, "quantity", "plain decimal"),
        ({"quantity": "١"}, "quantity", "plain decimal"),
        ({"quantity": True}, "quantity", "as a string"),
        ({"quantity": 10**30}, "quantity", "digits"),
        ({"quantity": None}, "quantity", "missing"),
        ({"quantity": ["1"]}, "quantity", "as a string"),
        ({"side": "buy"}, "side", '"long" or "short"'),
        ({"side": None}, "side", '"long" or "short"'),
        ({"side": {}}, "side", '"long" or "short"'),
        ({"account": ""}, "account", "printable"),
        ({"account": 3}, "account", "printable"),
        ({"account": None}, "account", "missing"),
        ({"symbol": "x" * 65}, "symbol", "64"),
        ({"symbol": "a\nb"}, "symbol", "printable"),
        ({"id": "a b"}, "id", "letters"),
        ({"id": "x" * 65}, "id", "64"),
        ({"id": "é"}, "id", "letters"),
        ({"plan": "nonesuch"}, "plan", "runner"),
        ({"plan": 3}, "plan", "object"),
        ({"plan": {}}, "plan.stop", "every plan has a stop"),
        ({"plan": {"stop": {"percent": 1.5}}}, "plan.stop.percent", "send it as a string"),
        ({"plan": {"stop": {"percent": "1"}, "x": 1}}, "plan.x", "unknown"),
        ({"foreign_orders": "keep"}, "foreign_orders", "adopt"),
        ({"adopt": True, "foreign_orders": "eat"}, "foreign_orders", '"keep" or "cancel"'),
        ({"act_now": "yes"}, "act_now", "true or false"),
        ({"adopt": 1}, "adopt", "true or false"),
        ({"tags": {"a": 1}}, "tags.a", "string"),
        ({"tags": []}, "tags", "object"),
        ({"quantitty": "1"}, "quantitty", "known here"),
        ({"\u202e": "1"}, "\\u202e", "known here"),
    ],
)
def test_bad_fields_are_named(
    client: httpx.Client, service: Service, change: dict[str, Any], field: str, word: str
) -> None:
    """422, the field, and what to write instead; nobody was asked."""
    found = error(client.post("/v1/positions", json={**OPEN, **change}), 422)
    assert found["field"] == field
    assert word in found["message"]
    assert service.seen == []


def test_several_faults_are_named_at_once(client: httpx.Client) -> None:
    """A person corrects a request once, not once for each mistake."""
    response = client.post("/v1/positions", json={"quantity": 1.5, "side": "up", "x": 1})
    error(response, 422)
    assert {fault["field"] for fault in response.json()["faults"]} == {"quantity", "side", "x", "account", "symbol"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b"\x00", 400, "malformed_json"),
        (b'{"quantity": NaN}', 400, "malformed_json"),
        (b'{"id": "\\ud800"}', 400, "malformed_json"),
        (b'{"n": ' + b"1" * 5000 + b"}", 400, "malformed_json"),
        (b'{"a": 1} trailing', 400, "malformed_json"),
        (b"[]", 422, "not_an_object"),
        (b'"x"', 422, "not_an_object"),
        (b"3", 422, "not_an_object"),
        (b"", 422, "missing"),
        (b'{"quantity": "1", "quantity": "2"}', 422, "duplicate_field"),
        (b'{"plan":' * 200 + b"1" + b"}" * 200, 422, "too_deep"),
        (b"[" * 30000, 422, "too_deep"),
        (b'{"x": "' + b"y" * 70_000 + b'"}', 413, "too_large"),
        (b'{"x": "' + b"y" * 900_000 + b'"}', 413, "too_large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/positions", "/v1/positions/p1/close", "/v1/positions/p1/plan"])
def test_bad_bodies_are_refused(
    client: httpx.Client, service: Service, *, path: str, body: bytes, status: int, code: str
) -> None:
    """On every endpoint that reads a body, with the same words."""
    method = "PUT" if path.endswith("plan") else "POST"
    response = client.request(method, path, content=body)
    if body == b"" and path.endswith("close"):
        # A close without a body is a whole one; this position is only not there.
        assert error(response, 404)["code"] == "not_found"
        return
    assert error(response, status)["code"] == code
    assert service.seen == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("slot_taken", 409),
        ("closing", 409),
        ("unmanaged_position", 409),
        ("foreign_exit_orders", 409),
        ("stale_version", 412),
        ("not_found", 404),
        ("not_ready", 503),
        ("not_owner", 503),
        ("storage", 503),
        ("unknown_symbol", 422),
        ("already_crossed", 422),
    ],
)
def test_refusals_have_the_status_that_says_the_same(client: httpx.Client, code: str, status: int) -> None:
    """A 503 says when to come back."""
    response = client.post("/v1/positions", json={**OPEN, "symbol": f"{code}/X"})
    assert error(response, status)["code"] == code
    assert ("retry-after" in response.headers) == (status == 503)


def test_the_faults_of_a_refusal_are_all_shown(client: httpx.Client) -> None:
    """With their fields."""
    response = client.post("/v1/positions", json={**OPEN, "symbol": "FAULTS/X"})
    assert error(response, 422)["field"] == "quantity"
    assert [fault["field"] for fault in response.json()["faults"]] == ["quantity", "plan.stop"]


def test_silence_is_unknown_and_names_the_id() -> None:
    """504: the caller repeats with the same id, even when it was made up here."""
    with running(answer_seconds=0.05) as service, httpx.Client(base_url=service.url, trust_env=False) as client:
        found = error(client.post("/v1/positions", json={**OPEN, "symbol": "SILENT/X"}), 504)
        assert found["code"] == "unknown"
        assert service.seen[0].id in found["message"]


def test_an_answer_that_nobody_foresaw_is_no_traceback(client: httpx.Client) -> None:
    """500 in the same shape; the log has the rest."""
    found = error(client.post("/v1/positions", json={**OPEN, "symbol": "RUBBISH/X"}), 500)
    assert "rubbish" not in found["message"]


def test_a_draining_service_accepts_nothing() -> None:
    """503 not_ready, and the readiness says why."""
    with running() as service, httpx.Client(base_url=service.url, trust_env=False) as client:
        service.directory.draining = True
        assert error(client.post("/v1/positions", json=OPEN), 503)["code"] == "not_ready"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "reasons": ["the service is draining"]})
        assert client.get("/healthz").status_code == 200


def test_closing_is_accepted_once_durable(client: httpx.Client, service: Service) -> None:
    """202 with the leg; the whole of what remains unless a fraction is given."""
    service.directory.positions["p1"] = published(runner())
    response = client.post("/v1/positions/p1/close", json={"fraction": "0.5", "request_id": "r-1"})
    assert response.status_code == 202
    assert response.json() == {"leg": "manual-1", "request_id": "r-1", "quantity": "0.004"}
    assert client.post("/v1/positions/p1/close").json()["request_id"] is None
    assert [asked.fraction for asked in service.seen] == [Decimal("0.5"), Decimal(1)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"fraction": "0.5"}, "request_id"),
        ({"fraction": "0"}, "fraction"),
        ({"fraction": "1.1"}, "fraction"),
        ({"fraction": 0.5, "request_id": "r"}, "fraction"),
        ({"fraction": "0.5", "request_id": "a b"}, "request_id"),
        ({"fraktion": "1"}, "fraktion"),
    ],
)
def test_bad_closes_are_refused(client: httpx.Client, service: Service, body: dict[str, Any], field: str) -> None:
    """Before anybody is asked."""
    service.directory.positions["p1"] = published(runner())
    assert error(client.post("/v1/positions/p1/close", json=body), 422)["field"] == field
    assert service.seen == []


def test_amending_carries_the_flags_and_the_version(client: httpx.Client, service: Service) -> None:
    """The body is the plan; the flags are not part of it."""
    service.directory.positions["p1"] = published(runner())
    body = {"stop": {"percent": "1"}, "targets": [{"number": 1, "at": {"percent": "1"}, "close": "0.6"}]}
    response = client.put(
        "/v1/positions/p1/plan", json={**body, "allow_looser_stop": True}, headers={"If-Match": '"3"'}
    )
    assert response.status_code == 200
    assert response.headers["etag"] == '"4"'
    asked = service.seen[0]
    assert (asked.body, asked.expected_version, asked.allow_looser_stop, asked.act_now) == (body, 3, True, False)
    stale = client.put("/v1/positions/p1/plan", json=body, headers={"If-Match": "2"})
    assert error(stale, 412)["code"] == "stale_version"


def test_bad_amendments_are_refused(client: httpx.Client, service: Service) -> None:
    """A float, a version that is none, a flag that is none."""
    service.directory.positions["p1"] = published(runner())
    put = "/v1/positions/p1/plan"
    assert error(client.put(put, json={"stop": {"percent": 1.5}}), 422)["field"] == "stop.percent"
    plan = {"stop": {"percent": "1"}}
    assert error(client.put(put, json=plan, headers={"If-Match": "new"}), 422)["field"] == "If-Match"
    assert error(client.put(put, json={**plan, "act_now": 1}), 422)["field"] == "act_now"
    assert service.seen == []


def test_the_list_shows_what_is_not_closed(client: httpx.Client, service: Service) -> None:
    """Unless a phase is asked for; quarantined ones are there, readable or not."""
    positions = service.directory.positions
    positions["a"] = published(runner("a"))
    positions["b"] = published(runner("b", phase=Phase.CLOSED))
    positions["c"] = replace(published(opening("c")), position=None, quarantined="cannot be read")

    def ids(query: str) -> list[str]:
        return [item["id"] for item in client.get(f"/v1/positions?{query}").json()["positions"]]

    assert ids("") == ["c", "a"]
    assert ids("phase=closed") == ["b"]
    assert ids("phase=all") == ["c", "a", "b"]
    assert ids("phase=quarantined") == ["c"]
    assert ids("account=other") == []
    assert ids(f"symbol={BTC}") == ["a"]


def test_pages_show_every_position_once(client: httpx.Client, service: Service) -> None:
    """Also where many were opened in the same microsecond."""
    for number in range(25):
        service.directory.positions[f"p{number}"] = published(runner(f"p{number}", opened_at=AT + number // 10))
    seen: list[str] = []
    query = "/v1/positions?limit=10"
    for _ in range(5):
        page = client.get(query).json()
        seen += [item["id"] for item in page["positions"]]
        if page["next"] is None:
            break
        query = f"/v1/positions?limit=10&cursor={page['next']}"
    assert sorted(seen) == sorted(service.directory.positions)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "limit=1001",
        "limit=-1",
        "cursor=%21",
        "cursor=eHk",
        "phase=ended",
        "acount=paper",
        "limit=1&limit=2",
    ],
)
def test_bad_queries_are_refused(client: httpx.Client, query: str) -> None:
    """422 with the parameter."""
    assert "field" in error(client.get(f"/v1/positions?{query}"), 422)


def test_one_position_is_shown_with_its_profit(client: httpx.Client, service: Service) -> None:
    """By the price its stop watches."""
    service.directory.positions["p1"] = published(runner())
    response = client.get("/v1/positions/p1")
    assert response.headers["etag"] == '"3"'
    assert response.json()["unrealized_pnl"] == "2"


@pytest.mark.parametrize(
    "path", ["/v1/positions/none", "/v1/positions/none/events", "/v1/positions/%20", "/nowhere", "/"]
)
def test_what_is_not_there_is_a_404(client: httpx.Client, path: str) -> None:
    """In the same shape as every other error."""
    assert error(client.get(path), 404)["code"] == "not_found"


def test_wrong_methods_are_a_405(client: httpx.Client) -> None:
    """In the same shape too."""
    assert error(client.delete("/v1/positions"), 405)["code"] == "method_not_allowed"


def test_the_audit_trail_comes_from_the_store(client: httpx.Client, service: Service) -> None:
    """And when the store is away, that is said without what it said."""
    service.directory.positions["p1"] = published(runner())
    events = client.get("/v1/positions/p1/events").json()["events"]
    assert events == [{"name": "position.target_hit", "at": "2023-11-14T22:13:20.123456Z", "number": 1}]
    service.directory.positions["p2"] = published(runner("p2"))
    found = error(client.get("/v1/positions/p2/events"), 503)
    assert found["code"] == "storage"
    assert "hush" not in found["message"]


def test_accounts_and_health_are_shown(client: httpx.Client) -> None:
    """Every actor's health, worst first."""
    account = client.get("/v1/accounts").json()["accounts"][0]
    assert (account["account"], account["live_money"], account["feeds"][0]["mark"]) == ("paper", False, "60500")
    health = client.get("/v1/health").json()
    assert health["ready"] is True
    assert [record["answered"] for record in health["actors"]] == [False, True]


def test_a_stalled_dispatcher_is_not_alive() -> None:
    """So that a container platform restarts it."""
    with running() as service, httpx.Client(base_url=service.url, trust_env=False) as client:
        assert client.get("/healthz").json() == {"alive": True}
        service.directory.health_at = AT - 61_000_000
        assert error(client.get("/healthz"), 503)["code"] == "stalled"


def test_a_token_is_wanted_where_one_is_configured() -> None:
    """Probes and the description stay open; a wrong token is never repeated."""
    with running(token="right-token") as service, httpx.Client(base_url=service.url, trust_env=False) as client:  # noqa: S106
        for header in ({}, {"Authorization": "Bearer wrong-token"}, {"Authorization": "Basic right-token"}):
            response = client.get("/v1/positions", headers=header)
            error(response, 401)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert "wrong-token" not in response.text
        error(client.get("/v1/positions", headers={b"Authorization": b"Bearer \xff"}), 401)
        assert client.get("/v1/positions", headers={"Authorization": "Bearer right-token"}).status_code == 200
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 200
        error(client.post("/v1/positions", content=b"x" * 70_000), 401)


def test_other_web_sites_are_refused_without_a_token(client: httpx.Client, service: Service) -> None:
    """A page that is open in a browser on this machine must not close positions."""
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert error(client.post("/v1/positions", json=OPEN, headers=headers), 403)["code"] == "foreign_origin"
    assert service.seen == []
    own = {"Origin": "http://127.0.0.1:8321", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/positions", json=OPEN, headers=own).status_code == 201


def lines(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The next events of a stream."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    for line in response.iter_lines():
        if line.startswith("id: "):
            event["id"] = line[4:]
        elif line.startswith("event: "):
            event["event"] = line[7:]
        elif line.startswith("data: "):
            event["data"] = json.loads(line[6:])
        elif not line and event:
            found.append(event)
            event = {}
            if len(found) == count:
                break
    return found


def test_events_are_followed_and_resumed(client: httpx.Client, service: Service) -> None:
    """With an id each; after a lost connection the reader gets exactly what it missed."""
    with client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        next(response.iter_raw())
    with client.stream("GET", "/v1/events", headers={"Last-Event-ID": "elsewhere-7"}) as response:
        for number in range(3):
            service.events.publish({"name": "order.filled", "at": AT, "price": Decimal("1.50"), "number": number})
        found = lines(response, 4)
    assert found[0]["event"] == "missed"
    assert [event["data"]["number"] for event in found[1:]] == [0, 1, 2]
    assert found[1]["data"]["price"] == "1.5"
    with client.stream("GET", "/v1/events", headers={"Last-Event-ID": found[1]["id"]}) as response:
        assert [event["data"]["number"] for event in lines(response, 2)] == [1, 2]


def test_the_description_is_complete_and_true(client: httpx.Client) -> None:
    """Bodies and answers are described, every reference leads somewhere, and the shapes are those that are sent."""
    schema = client.get("/openapi.json").json()
    text = json.dumps(schema)
    shapes = schema["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in shapes
    opening_body = schema["paths"]["/v1/positions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert opening_body == {"$ref": "#/components/schemas/OpenBody"}
    assert shapes["OpenBody"]["properties"]["quantity"]["anyOf"][0]["type"] == "string"
    assert tuple(http_models.PositionView.model_fields) == POSITION_FIELDS
    assert "HTTPValidationError" not in text
    page = client.get("/docs").text
    assert "/v1/positions/{position_id}/close" in page
    assert "<script" not in page


def test_what_is_answered_fits_its_description(client: httpx.Client, service: Service) -> None:
    """Each shape reads its own answer."""
    service.directory.positions["p1"] = published(runner())
    http_models.PositionsAnswer.model_validate(client.get("/v1/positions").json(), strict=True)
    http_models.AccountsAnswer.model_validate(client.get("/v1/accounts").json(), strict=True)
    http_models.HealthAnswer.model_validate(client.get("/v1/health").json(), strict=True)
    http_models.ErrorAnswer.model_validate(client.post("/v1/positions", json={}).json(), strict=True)


def test_a_taken_port_is_said_clearly(service: Service) -> None:
    """With the setting to change."""
    second = HttpServer(lambda *_: None, "127.0.0.1", service.server.port)  # type: ignore[arg-type]
    with pytest.raises(CannotListen, match=r"is taken.*EXITKEEPER_HTTP__PORT"):
        second.start()
