"""The product as its users meet it: real processes, kill -9, bad input, damaged data, and the command line."""

import json
import socket
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from persistence.codec import decode_snapshot, encode_snapshot
from persistence.redis_server import EmbeddedRedis
from persistence.store import Snapshot
from tests.e2e.keeper import BTC, ETH, SOL, Keeper, add_prices, configuration, keeping, prices, settled

pytestmark = pytest.mark.e2e

FLAT = {BTC: "60000", ETH: "3000", SOL: "150"}


def at_rest(folder: Path) -> str:
    """A configuration with three symbols whose prices never move."""
    return configuration(folder, {symbol: prices(folder, symbol[:3], price) for symbol, price in FLAT.items()})


def not_worse(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """What a restart must never take back."""
    assert after["id"] == before["id"]
    assert after["version"] >= before["version"]
    sign = 1 if before["side"] == "long" else -1
    assert sign * Decimal(after["stop_price"]) >= sign * Decimal(before["stop_price"])
    for flag in ("tp1_hit", "tp2_hit", "trailing_stop_active"):
        assert after[flag] >= before[flag]
    if before["peak_price"] is not None:
        assert sign * Decimal(after["peak_price"]) >= sign * Decimal(before["peak_price"])
    for extreme in ("mae", "mfe"):
        assert Decimal(after[extreme]["percent"]) >= Decimal(before[extreme]["percent"])
    assert after["fills"][: len(before["fills"])] == before["fills"]


# --- starting, dying, stopping ---------------------------------------------------------------------------------------


def test_a_position_survives_kill_nine_with_no_configuration_at_all(tmp_path: Path) -> None:
    """The sixty seconds of the README: start, open, kill -9, the same command, the same position; SIGTERM drains."""
    with keeping(tmp_path) as keeper:
        before = keeper.opened("mine")
        assert (before["phase"], before["protected"]) == ("open", True)
        redis_pid = keeper.redis_pid()
        keeper.kill()
        assert keeper.redis_pid() == redis_pid is not None
        keeper.start()
        keeper.until(lambda: settled(keeper.position("mine")), "it is not protected again")
        after = keeper.position("mine")
        not_worse(before, after)
        assert (after["fills"], after["remaining"]) == (before["fills"], before["remaining"])
        assert after["protected"]
        assert after["epoch"] > before["epoch"]
        assert list(keeper.positions()) == ["mine"]
        assert keeper.stop() == 0
        assert keeper.redis_pid() is None
        assert "service.stopped" in keeper.last_lines()


def test_the_incident_does_not_happen_again(tmp_path: Path) -> None:
    """Both targets hit, the trail armed, then kill -9: all of it is known, and only the runner's share is closed."""
    market = prices(tmp_path, "btc", "60000")
    with keeping(tmp_path, "--config", configuration(tmp_path, {BTC: market})) as keeper:
        keeper.opened("mine")
        add_prices(market, "60700", "61300", "61500")
        keeper.until(lambda: keeper.position("mine")["peak_price"] == "61500", "the trail has no peak of 61500")
        keeper.until(lambda: settled(keeper.position("mine")), "the first target is not filled")
        before = keeper.position("mine")
        assert (before["tp1_hit"], before["tp2_hit"], before["trailing_stop_active"]) == (True, True, True)
        assert (before["remaining"], before["stop_price"], before["phase"]) == ("0.004", "61008", "runner")
        keeper.kill()
        keeper.start()
        keeper.until(lambda: settled(keeper.position("mine")), "it is not protected again")
        moved = ("version", "epoch", "updated_at", "resident_stop")
        after = keeper.position("mine")
        assert {**after, **dict.fromkeys(moved)} == {**before, **dict.fromkeys(moved)}
        assert after["resident_stop"]["quantity"] == "0.004"
        not_worse(before, after)
        add_prices(market, "60900")
        keeper.until(lambda: keeper.position("mine")["phase"] == "closed", "the trailing stop has not closed it")
        closed = keeper.position("mine")
        assert closed["close_reason"] == "trailing_stop"
        assert [fill["quantity"] for fill in closed["fills"]] == ["0.01", "0.006", "0.004"]


def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """It names the process that runs there, and leaves that one and its Redis alone."""
    with keeping(tmp_path) as keeper:
        redis_pid = keeper.redis_pid()
        second = keeper.command(*keeper.arguments)
        assert second.returncode == 1
        assert f"pid {keeper.pid})" in second.stderr
        assert "--data-dir" in second.stderr
        assert "Traceback" not in second.stdout + second.stderr
        assert keeper.ready()
        assert keeper.redis_pid() == redis_pid


def test_a_taken_port_ends_the_start_with_a_remedy(tmp_path: Path) -> None:
    """And nothing that was started on the way is left."""
    keeper = Keeper(tmp_path)
    try:
        with socket.create_server(("127.0.0.1", keeper.port)):
            ended = keeper.command(*keeper.arguments)
        assert ended.returncode == 1
        assert f"127.0.0.1:{keeper.port} is taken" in ended.stderr
        assert "EXITKEEPER_HTTP__PORT" in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
        assert keeper.redis_pid() is None
    finally:
        keeper.end()


def test_a_bad_configuration_is_wrong_usage_with_every_problem(tmp_path: Path) -> None:
    """Exit status 2, all faults at once, nothing created."""
    path = tmp_path / "bad.toml"
    path.write_text(
        'colour = "red"\n[http]\nport = 70000\n[accounts.a]\nvenue = "nowhere"\n'
        '[accounts.b]\nvenue = "paper"\n[plans.p]\nstop = { percent = 1.5 }\n',
        encoding="utf-8",
    )
    keeper = Keeper(tmp_path, "--config", str(path))
    del keeper.environment["EXITKEEPER_HTTP__PORT"]
    try:
        ended = keeper.command(*keeper.arguments)
        assert ended.returncode == 2
        for problem in ("colour", "http.port", "accounts.a.venue", "accounts.b.market", "plans.p.stop"):
            assert problem in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
        assert not keeper.data_dir.exists()
    finally:
        keeper.end()


@pytest.mark.slow
def test_the_demonstration_shows_what_it_promises_and_survives_kill_nine(tmp_path: Path) -> None:
    """One at breakeven after its first target, one trailing, one stopped out; after kill -9 the same three."""

    outcomes: dict[str, str] = {}

    def shown() -> bool:
        for position_id, position in keeper.positions().items():
            if position["close_reason"] == "stop_loss":
                outcomes[position_id] = "stopped out"
            elif position["trailing_stop_active"]:
                outcomes[position_id] = "trailing"
            elif position["tp1_hit"] and position["stop_reason"] == "breakeven":
                outcomes[position_id] = "breakeven"
        return sorted(outcomes.values()) == ["breakeven", "stopped out", "trailing"]

    with keeping(tmp_path, "--demo") as keeper:
        keeper.until(shown, "the demonstration has not shown its three outcomes")
        before = keeper.positions()
        assert len(before) == 3
        keeper.kill()
        keeper.start()
        after = keeper.positions()
        assert after.keys() == before.keys()
        for position_id, position in before.items():
            not_worse(position, after[position_id])


# --- bad input -------------------------------------------------------------------------------------------------------

OPEN = {"account": "paper", "symbol": ETH, "side": "long", "quantity": "0.1", "plan": "runner"}
FRACTIONS = [{"at": {"percent": "1"}, "close": "0.6"}, {"at": {"percent": "2"}, "close": "0.5"}]
THIN = {"stop": {"percent": "1"}, "targets": [{"at": {"percent": "1"}, "close": "0.9"}]}
BTC_TARGETS = [{"number": 1, "at": {"percent": "1"}, "close": "0.6"}]


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """A service in a market that stands still, with one open position."""
    folder = tmp_path_factory.mktemp("rest")
    with keeping(folder, "--config", at_rest(folder)) as keeper:
        keeper.opened("mine")
        yield keeper


def all_there_is(keeper: Keeper) -> dict[str, Any]:
    """Every position as shown and as stored, and its audit trail."""
    with redis.Redis.from_url(EmbeddedRedis(keeper.data_dir).url) as client:
        names = sorted(client.scan_iter("ek:*:pos:*"))
        stored = {name: client.get(name) for name in names}
        members = client.smembers("ek:{paper}:open")
    positions = keeper.positions()
    trails = {name: keeper.get(f"/v1/positions/{name}/events") for name in positions}
    return {"positions": positions, "stored": stored, "open": members, "trails": trails}


def refused(keeper: Keeper, response: httpx.Response, status: int, code: str, before: dict[str, Any]) -> None:
    """The documented error, in its one shape, and nothing else has changed."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code, response.text
    assert error["message"]
    assert "Traceback" not in response.text
    assert all_there_is(keeper) == before
    assert keeper.ready()


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        pytest.param({"symbol": "DOGE/USDT:USDT"}, 422, "unknown_symbol", id="unknown symbol"),
        pytest.param({"side": "up"}, 422, "not_a_choice", id="wrong side"),
        pytest.param({"plan": {"stop": {"price": "3100"}}}, 422, "wrong_side", id="stop above a long"),
        pytest.param(
            {"side": "short", "plan": {"stop": {"price": "2900"}}}, 422, "wrong_side", id="stop under a short"
        ),
        pytest.param({"plan": {"stop": {"percent": "1"}, "targets": FRACTIONS}}, 422, "fractions", id="fractions"),
        pytest.param({"quantity": "0.0001"}, 422, "below_minimum", id="under the step"),
        pytest.param({"quantity": "0.1005"}, 422, "quantity_step", id="not on the step"),
        pytest.param({"quantity": "0.01", "plan": THIN}, 422, "runner_below_minimum", id="runner under the minimum"),
        pytest.param({"quantity": 0.1}, 422, "float", id="float quantity"),
        pytest.param({"plan": {"stop": {"percent": 1.5}}}, 422, "float", id="float in the plan"),
        pytest.param({"id": "mine"}, 409, "id_taken", id="id of another request"),
        pytest.param({"symbol": BTC}, 409, "slot_taken", id="taken slot"),
        pytest.param({"plan": "nonesuch"}, 422, "unknown_plan", id="unknown plan"),
        pytest.param({"account": "nobody"}, 422, "unknown_account", id="unknown account"),
        pytest.param({"quantiti": "1"}, 422, "unknown_field", id="unknown field"),
    ],
)
def test_a_bad_opening_is_refused_and_changes_nothing(
    resting: Keeper, change: dict[str, Any], status: int, code: str
) -> None:
    """Each with its documented code."""
    before = all_there_is(resting)
    response = resting.client.post("/v1/positions", json={**OPEN, **change})
    refused(resting, response, status, code, before)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b'{"account": ', 400, "malformed_json", id="cut off"),
        pytest.param(b"\xff\xfe", 400, "malformed_json", id="not UTF-8"),
        pytest.param(b"[1]", 422, "not_an_object", id="a list"),
        pytest.param(b'{"id": "' + b"x" * 70_000 + b'"}', 413, "too_large", id="oversized"),
        pytest.param(b'{"account": "a", "account": "b"}', 422, "duplicate_field", id="a name twice"),
    ],
)
def test_a_body_that_cannot_be_read_changes_nothing(resting: Keeper, body: bytes, status: int, code: str) -> None:
    """Whatever was meant, nothing is guessed."""
    before = all_there_is(resting)
    refused(resting, resting.client.post("/v1/positions", content=body), status, code, before)


@pytest.mark.parametrize(
    ("position_id", "body", "status", "code"),
    [
        pytest.param("nobody", {}, 404, "not_found", id="unknown id"),
        pytest.param("mine", {"fraction": "0", "request_id": "r"}, 422, "too_small", id="fraction 0"),
        pytest.param("mine", {"fraction": "2"}, 422, "too_large", id="fraction 2"),
        pytest.param("mine", {"fraction": "0.5"}, 422, "missing", id="partial without request_id"),
        pytest.param("mine", {"fraction": 0.5, "request_id": "r"}, 422, "float", id="float"),
    ],
)
def test_a_bad_close_is_refused_and_closes_nothing(
    resting: Keeper, position_id: str, body: dict[str, Any], status: int, code: str
) -> None:
    """A full close by mistake would be the worst answer of all."""
    before = all_there_is(resting)
    response = resting.client.post(f"/v1/positions/{position_id}/close", json=body)
    refused(resting, response, status, code, before)


@pytest.mark.parametrize(
    ("plan", "version", "status", "code"),
    [
        pytest.param({"stop": {"percent": "1"}, "targets": BTC_TARGETS}, "1", 412, "stale_version", id="stale"),
        pytest.param({"stop": {"percent": "3"}, "targets": BTC_TARGETS}, "*", 422, "looser_stop", id="looser"),
        pytest.param({"stop": {"price": "60500"}}, "*", 422, "already_crossed", id="crossed"),
        pytest.param({"stop": {"percent": 1.5}}, "*", 422, "float", id="float"),
        pytest.param({}, "*", 422, "missing", id="no stop"),
    ],
)
def test_a_bad_amendment_is_refused_and_moves_nothing(
    resting: Keeper, plan: dict[str, Any], version: str, status: int, code: str
) -> None:
    """The stop stays where it is."""
    before = all_there_is(resting)
    response = resting.client.put("/v1/positions/mine/plan", json=plan, headers={"If-Match": version})
    refused(resting, response, status, code, before)


# --- damaged data ----------------------------------------------------------------------------------------------------


def test_unreadable_snapshots_stand_still_and_the_others_go_on(tmp_path: Path) -> None:
    """Garbage and a newer release's snapshot are quarantined, never overwritten, and named by `snapshots verify`."""
    with keeping(tmp_path, "--config", at_rest(tmp_path)) as keeper:
        good = keeper.opened("good")
        keeper.opened("garbage", symbol=ETH, quantity="0.1")
        keeper.opened("newer", symbol=SOL, quantity="1")
        assert keeper.stop() == 0
        server = EmbeddedRedis(keeper.data_dir)
        damaged = damage(server)
        server.stop()
        keeper.start()
        keeper.until(lambda: settled(keeper.position("good")), "the good one is not protected again")
        found = keeper.positions()
        assert {name: position["phase"] for name, position in found.items()} == {
            "good": "open",
            "garbage": "quarantined",
            "newer": "quarantined",
        }
        not_worse(good, found["good"])
        assert {item["id"] for item in keeper.get("/v1/health")["quarantined"]} == {"garbage", "newer"}
        half = keeper.client.post("/v1/positions/good/close", json={"fraction": "0.5", "request_id": "half"})
        assert half.status_code == 202
        keeper.until(lambda: keeper.position("good")["remaining"] == "0.005", "half of the good one is not closed")
        for name in damaged:
            assert keeper.client.post(f"/v1/positions/{name}/close").status_code == 409
        assert stored(server, *damaged) == damaged
        assert keeper.ready()
        verified = keeper.command("snapshots", "verify", "--data-dir", str(keeper.data_dir))
        assert verified.returncode == 1
        assert "paper/garbage: " in verified.stderr
        assert "paper/newer: " in verified.stderr
        assert "paper/good: " not in verified.stderr
        keeper.kill()
        keeper.start()
        assert stored(server, *damaged) == damaged
        assert keeper.position("good")["remaining"] == "0.005"


def damage(server: EmbeddedRedis) -> dict[str, bytes]:
    """Garbage for one, schema 99 for another; their bytes as they are now."""
    with redis.Redis.from_url(server.ensure()) as client:
        key = "ek:{paper}:pos:newer"
        raw = client.get(key)
        assert isinstance(raw, bytes)
        before = decode_snapshot("newer", raw)
        newer = Snapshot(
            position_id="newer",
            schema=99,
            version=before.version,
            epoch=before.epoch,
            write_id=before.write_id,
            state=before.state,
        )
        client.set(key, encode_snapshot(newer))
        client.set("ek:{paper}:pos:garbage", b"\x95\x00garbage\xff")
    return stored(server, "garbage", "newer")


def stored(server: EmbeddedRedis, *names: str) -> dict[str, bytes]:
    """The bytes of snapshots."""
    found: dict[str, bytes] = {}
    with redis.Redis.from_url(server.url) as client:
        for name in names:
            raw = client.get(f"ek:{{paper}}:pos:{name}")
            assert isinstance(raw, bytes)
            found[name] = raw
    return found


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_against_a_running_service(tmp_path: Path) -> None:
    """From a preview to what is stored, by the commands alone."""
    config = at_rest(tmp_path)
    with keeping(tmp_path, "--config", config) as keeper:

        def said(*arguments: str) -> str:
            done = keeper.command(*arguments)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout

        preview = said("open", BTC, "long", "0.01", "--id", "mine", "--preview")
        assert "nothing was sent" in preview
        assert "59100" in preview
        assert json.loads(said("positions", "--all", "--json")) == []
        assert "mine: " in said("open", BTC, "long", "0.01", "--id", "mine")
        keeper.until(lambda: settled(keeper.position("mine")), "the position is not open and protected")
        assert "mine" in said("open", BTC, "long", "0.01", "--id", "mine")
        (listed,) = json.loads(said("positions", "--json"))
        assert (listed["id"], listed["phase"], listed["remaining"]) == ("mine", "open", "0.01")
        assert "59100" in said("show", "mine")
        assert json.loads(said("show", "mine", "--json")) == keeper.position("mine")
        assert "closing 0.005 as manual-1" in said("close", "mine", "--fraction", "0.5", "--request-id", "half")
        keeper.until(lambda: keeper.position("mine")["remaining"] == "0.005", "half is not closed")
        assert "manual-1" in said("close", "mine", "--fraction", "0.5", "--request-id", "half")
        keeper.until(lambda: settled(keeper.position("mine")), "the smaller rest is not protected")
        assert keeper.position("mine")["remaining"] == "0.005"
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps({"stop": {"percent": "1"}, "trail": {"percent": "1"}}), encoding="utf-8")
        assert "revision 2" in said("plan", "mine", str(plan))
        keeper.until(lambda: settled(keeper.position("mine")), "the amended position is not protected")
        assert keeper.position("mine")["stop_price"] == "59400"
        trail = json.loads(said("events", "mine", "--json"))
        assert trail == keeper.get("/v1/positions/mine/events")["events"]
        assert {"order.filled"} <= {event["name"] for event in trail}
        place = ("--data-dir", str(keeper.data_dir), "--config", config)
        (row,) = json.loads(said("snapshots", "list", "--json", *place))
        assert (row["id"], row["kept"], row["version"]) == ("mine", "open", keeper.position("mine")["version"])
        assert json.loads(said("snapshots", "show", "mine", *place))["position"]["remaining"] == "0.005"
        assert "1 snapshots in 1 shards, 0 faults" in said("snapshots", "verify", *place)
        assert "ready at" in said("doctor", *place)
