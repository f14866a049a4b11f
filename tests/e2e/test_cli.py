"""The command line against a real server with fakes behind it: what it prints, and its exit status."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from persistence.store import Fence, Loaded, Snapshot, SnapshotCorrupt
from service.cli import main
from service.cli_snapshots import check_shard
from service.config import Config
from service.config_load import load_config
from service.doctor import Level, check_data_dir, check_redis, check_service
from tests.e2e.service_fakes import BTC, Service, opening, published, runner, running

PRICES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for all tests here."""
    with running() as started:
        yield started


@pytest.fixture(autouse=True)
def alone(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No positions, no configuration but that of the test."""
    service.directory.positions.clear()
    service.seen.clear()
    monkeypatch.chdir(tmp_path)
    for name in ("EXITKEEPER_TOKEN", "EXITKEEPER_HTTP__TOKEN", "EXITKEEPER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXITKEEPER_URL", service.url)


def call(*arguments: str, status: int = 0, **options: Any) -> Result:
    """Run the command; its exit status is part of its contract, and no traceback ever is."""
    result = CliRunner().invoke(main, arguments, **options)
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def test_opening_sends_what_was_said(service: Service) -> None:
    """The account is the only one there is; the id makes a repeat harmless."""
    result = call("open", BTC, "long", "0.010", "--id", "mine")
    assert "mine: opening" in result.output
    asked = service.seen[0]
    assert (asked.account, asked.symbol, asked.side.value, str(asked.quantity), asked.id) == (
        "paper",
        BTC,
        "long",
        "0.01",
        "mine",
    )
    assert not asked.preview


def test_a_preview_says_that_nothing_was_sent(service: Service) -> None:
    """And asks for one."""
    assert "nothing was sent" in call("open", BTC, "short", "1", "--preview").output
    assert service.seen[0].preview


def test_a_plan_comes_from_a_file(service: Service, tmp_path: Path) -> None:
    """JSON or TOML; a float in it is refused by name."""
    (tmp_path / "p.toml").write_text('stop = { percent = "2" }\n', encoding="utf-8")
    call("adopt", BTC, "--plan", "p.toml", "--foreign-orders", "keep", "--act-now")
    asked = service.seen[0]
    assert (str(asked.plan.stop.value), asked.adopt, asked.foreign_orders, asked.act_now) == ("2", True, "keep", True)
    (tmp_path / "p.json").write_text('{"stop": {"percent": 2.5}}', encoding="utf-8")
    assert "send it as a string" in call("open", BTC, "long", "1", "--plan", "p.json", status=1).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("open", BTC, "up", "1"),
        ("open", BTC, "long", "0"),
        ("open", BTC, "long", "1e5"),
        ("open", BTC, "long", "many"),
        ("open", BTC, "long"),
        ("open", BTC, "long", "1", "--plan", "none.json"),
        ("open", BTC, "long", "1", "--account", "other"),
        ("close", "p1", "--fraction", "1.5"),
        ("close", "p/1"),
        ("show", "../health"),
        ("show", ""),
        ("plan", "p1", "none.json"),
        ("positions", "--url", "nonsense"),
        ("positions", "--url", "http://[broken"),
        ("nonesuch",),
        ("replay", "none.csv", "--side", "long", "--entry-at", "2022-01-01 00:00:00"),
        ("replay", "none.csv", "--side", "long", "--entry-at", "soon"),
    ],
)
def test_wrong_usage_is_status_2(service: Service, arguments: tuple[str, ...]) -> None:
    """And nobody was asked to change anything."""
    call(*arguments, status=2)
    assert service.seen == []


def test_a_refusal_is_status_1_with_every_fault() -> None:
    """Field by field."""
    output = call("open", "FAULTS/X", "long", "1", status=1).output
    assert "too little (below_minimum)" in output
    assert "plan.stop: already crossed" in output


def test_a_live_account_asks(service: Service) -> None:
    """Unless --yes, or a preview; no answer is a no."""
    paper = service.directory.accounts["paper"]
    service.directory.accounts["paper"] = replace(paper, live_money=True)
    try:
        call("open", BTC, "long", "1", status=1)
        call("open", BTC, "long", "1", input="n\n", status=1)
        assert service.seen == []
        call("open", BTC, "long", "1", input="y\n")
        call("open", BTC, "long", "1", "--yes")
        call("adopt", BTC, "--preview")
        assert len(service.seen) == 3
    finally:
        service.directory.accounts["paper"] = paper


def test_positions_are_listed_and_shown(service: Service) -> None:
    """As a table for people, as JSON for programs, of which every page is fetched."""
    service.directory.positions["p1"] = published(runner("p1", tags={"a": "[bold]"}))
    service.directory.positions["p2"] = replace(published(opening("p2")), position=None, quarantined="unreadable")
    output = call("positions").output
    assert "60000 breakeven" in output
    assert "TP1✓ TP2" in output
    assert "quarantined" in output
    assert [item["id"] for item in json.loads(call("positions", "--all", "--json").output)] == ["p2", "p1"]
    assert json.loads(call("show", "p1", "--json").output)["stop_price"] == "60000"
    assert "resident-2" in call("show", "p1").output
    assert "quarantined" in call("show", "p2").output
    assert "position.target_hit" in call("events", "p1").output
    assert json.loads(call("events", "p1", "--json").output)[0]["number"] == 1
    assert "no position has the id" in call("show", "p3", status=1).output


def test_an_empty_list_says_so() -> None:
    """Instead of a table without rows."""
    assert "--all shows closed ones" in call("positions").output
    assert call("positions", "--json").output.strip() == "[]"


def test_a_partial_close_has_a_request_id(service: Service) -> None:
    """It is printed, because repeating it closes once."""
    service.directory.positions["p1"] = published(runner())
    output = call("close", "p1", "--fraction", "0.5").output
    asked = service.seen[0]
    assert len(asked.request_id) == 12
    assert asked.request_id in output
    call("close", "p1", "--fraction", "0.5", "--request-id", "again")
    assert service.seen[1].request_id == "again"
    call("close", "p1")
    assert service.seen[2].request_id == ""


def test_a_plan_is_amended(service: Service, tmp_path: Path) -> None:
    """With the flags beside it; a stale version is refused."""
    service.directory.positions["p1"] = published(runner())
    (tmp_path / "p.json").write_text('{"stop": {"percent": "2"}}', encoding="utf-8")
    assert "revision 1" in call("plan", "p1", "p.json", "--allow-looser-stop", "--version", "3").output
    assert service.seen[0].allow_looser_stop
    assert "read it again" in call("plan", "p1", "p.json", "--version", "1", status=1).output
    (tmp_path / "p.toml").write_text("stop = 1979-05-27\n", encoding="utf-8")
    call("plan", "p1", "p.toml", status=1)


def test_without_a_service_the_remedy_is_named() -> None:
    """Port 9 answers nobody."""
    output = call("positions", "--url", "http://127.0.0.1:9", status=1).output
    assert "exitkeeper run" in output


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the command line, where every user of the machine could read it."""
    with running(token="right-token") as service:  # noqa: S106
        assert "wants a token" in call("positions", "--url", service.url, status=1).output
        monkeypatch.setenv("EXITKEEPER_TOKEN", "wrong-token")
        output = call("positions", "--url", service.url, status=1).output
        assert "the token is wrong" in output
        assert "wrong-token" not in output
        monkeypatch.setenv("EXITKEEPER_TOKEN", "right-token")
        call("positions", "--url", service.url)


def test_the_configuration_says_where_the_service_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a URL does; a bad one is status 2 with every problem."""
    monkeypatch.delenv("EXITKEEPER_URL")
    Path("exitkeeper.toml").write_text(f"[http]\nport = {service.server.port}\n", encoding="utf-8")
    call("positions")
    Path("exitkeeper.toml").write_text("[http]\nport = 0.5\nhots = 1\n", encoding="utf-8")
    for command in (("positions",), ("run",), ("snapshots", "list")):
        output = call(*command, status=2).output
        assert "http.port" in output
        assert "http.hots" in output
    assert "http.hots" in call("doctor", status=1).output


TICKS = """timestamp,price
2022-01-01 00:00:00,100
2022-01-01 00:01:00,101.5
2022-01-01 00:02:00,99
"""


def test_a_replay_needs_no_service(tmp_path: Path) -> None:
    """A table, or exactly the JSON of the manual."""
    (tmp_path / "ticks.csv").write_text(TICKS, encoding="utf-8")
    common = ("replay", "ticks.csv", "--side", "long", "--entry-at", "2022-01-01 00:00:00")
    assert "take_profit" in call(*common).output
    outcome = json.loads(call(*common, "--json", "--quantity", "2").output)
    assert set(outcome) == {"entry", "exits", "remaining", "realized_pnl", "mae_percent", "mfe_percent", "peak_price"}
    assert [leg["reason"] for leg in outcome["exits"]] == ["take_profit", "breakeven"]
    assert "at or after" in call(*common[:-1], "2023-01-01 00:00:00", status=1).output
    (tmp_path / "bad.csv").write_text("timestamp,price\n2022-01-01 00:00:00,cheap\n", encoding="utf-8")
    assert "line 2" in call("replay", "bad.csv", *common[2:], status=1).output
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in call("replay", "bytes.csv", *common[2:], status=1).output
    assert "there are: runner" in call(*common, "--plan", "nonesuch", status=2).output
    (tmp_path / "p.json").write_text('{"stop": {"percent": 2.5}}', encoding="utf-8")
    assert "send it as a string" in call(*common, "--plan", "p.json", status=1).output


def test_a_replay_can_be_drawn(tmp_path: Path) -> None:
    """Into a PNG; a folder that is not there is said."""
    pytest.importorskip("matplotlib")
    (tmp_path / "ticks.csv").write_text(TICKS, encoding="utf-8")
    common = ("replay", "ticks.csv", "--side", "long", "--entry-at", "2022-01-01 00:00:00", "--plot")
    call(*common, "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "cannot be written" in call(*common, "none/out.png", status=1).output


def test_snapshots_of_a_place_without_any_say_so() -> None:
    """And nothing is created there."""
    assert "nothing is stored" in call("snapshots", "list", status=1).output
    assert not Path("data").exists()


def test_verify_finds_what_is_wrong_with_a_shard() -> None:
    """Codec, versions, epochs, identity and membership."""
    good = Snapshot(position_id="a", schema=2, version=1, epoch=1, write_id="w", state=_state("a"))
    fence = Fence(epoch=1, revision=1, write_id="w")
    assert check_shard("s", Loaded(snapshots=[good], corrupt={}), fence) == []
    loaded = Loaded(
        snapshots=[
            good,
            replace(good, version=0),
            replace(good, position_id="b", epoch=2),
            replace(good, position_id="c", schema=99),
        ],
        corrupt={"d": SnapshotCorrupt("rubbish", position_id="d")},
        closed=[good],
    )
    text = "\n".join(check_shard("s", loaded, fence))
    for expected in (
        "s/d: rubbish",
        "s/a: is stored twice",
        "s/a: version 0",
        "s/b: epoch 2",
        "s/b: holds the position a",
        "s/c: cannot be decoded",
        "s/a: is kept as open and as closed",
        "s/a: is kept among the closed ones in phase open",
    ):
        assert expected in text


def _state(position_id: str) -> dict[str, Any]:
    from actors.domain.schema import dump  # noqa: PLC0415

    return dump(runner(position_id))


def config(tmp_path: Path, **environment: str) -> Config:
    """A configuration whose data is in the test's folder."""
    return load_config(data_dir=tmp_path / "data", environment=environment)


def test_the_doctor_names_a_remedy_for_a_redis_that_is_away(tmp_path: Path) -> None:
    """And never the password in its URL."""
    (finding,) = check_redis(config(tmp_path, EXITKEEPER_REDIS__URL="redis://:hush@127.0.0.1:9/0"))
    assert finding.level is Level.FAIL
    assert finding.remedy
    assert "hush" not in finding.detail


def test_the_doctor_leaves_no_traces(tmp_path: Path) -> None:
    """It looks at the data directory, it does not make it."""
    assert all(finding.level is not Level.FAIL for finding in check_data_dir(tmp_path / "data"))
    (finding,) = check_redis(config(tmp_path))
    assert finding.level in (Level.OK, Level.WARN)
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_sees_the_service(service: Service, tmp_path: Path) -> None:
    """Ready, not ready, or not there."""
    here = config(tmp_path, EXITKEEPER_HTTP__PORT=str(service.server.port))
    assert check_service(here).level is Level.OK
    service.directory.store_reachable = False
    try:
        finding = check_service(here)
        assert (finding.level, "Redis is not reachable" in finding.detail) == (Level.FAIL, True)
    finally:
        service.directory.store_reachable = True
    assert check_service(config(tmp_path, EXITKEEPER_HTTP__PORT="9")).level is Level.WARN
