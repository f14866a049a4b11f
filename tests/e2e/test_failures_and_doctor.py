"""`exitkeeper failures`, and what `exitkeeper doctor` says of situations: in words, each with what to do."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.directory import AccountStatus
from persistence.failure_log import Failure, FailureLog, GrewFrom
from persistence.store import Outage
from persistence.words import OUTAGES
from service.cli import main
from service.config import Config
from service.config_load import load_config
from service.doctor import Finding, Level
from service.doctor_situations import check_failures, check_lease, check_running, lease_seconds
from tests.e2e.service_fakes import Service, opening, published, runner, running

DAY = 24 * 3600 * 1_000_000
NOW = 1_800_000_000_000_000


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but that of the test."""
    monkeypatch.chdir(tmp_path)
    for name in ("EXITKEEPER_TOKEN", "EXITKEEPER_HTTP__TOKEN", "EXITKEEPER_CONFIG", "EXITKEEPER_URL"):
        monkeypatch.delenv(name, raising=False)


class Log:
    """A failure log whose clock the test sets."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "failures.jsonl"
        self.now = NOW
        self._log = FailureLog(self.path, lambda: self.now)

    def add(self, kind: str, position_id: str = "", *, seconds: int = 1, **fields: Any) -> None:
        """One more line, some seconds after the last."""
        self.now += seconds * 1_000_000
        given = {"kind": kind, "shard": "paper", "epoch": 3, "error": "E", "position_id": position_id, **fields}
        self._log.append([Failure(**given)])

    def outage(self, outage: Outage, position_id: str = "p1") -> None:
        """Redis goes away while a position is to be saved."""
        self.add("store.unreachable", cause=outage.value)
        grew_from = GrewFrom(epoch=3, version=1, write_id="w")
        self.add("snapshot.spilled", position_id, cause=outage.value, state={"change": 1}, grew_from=grew_from)

    def over(self, position_id: str = "p1") -> None:
        """It is back."""
        self.add("snapshot.saved", position_id, error="")
        self.add("store.reachable", error="")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """The log of the data directory that the commands look at."""
    return Log(tmp_path / "data")


def failures(*arguments: str, status: int = 0) -> Result:
    """Run the command; no traceback ever."""
    result = CliRunner().invoke(main, ["failures", "--data-dir", "data", *arguments])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


# -- exitkeeper failures -----------------------------------------------------------------------------------------------


def test_without_a_failure_it_says_so() -> None:
    """An empty place is good news, and no error; nothing is made by looking."""
    assert "everything was saved at once" in failures().output
    assert json.loads(failures("--json").output) == []
    assert not Path("data").exists()


def test_it_tells_when_what_where_and_what_to_do(log: Log) -> None:
    """In words: no name of an event, no exception."""
    log.outage(Outage.MEMORY)
    log.over()
    output = failures().output
    assert output.splitlines()[0].split("  ")[0] == "time"
    for words in ("memory limit", "raise maxmemory", "p1", "all of paper", "saved after all", "Redis answers again"):
        assert words in output
    assert "snapshot." not in output
    assert "2027-01-15T08:00:01" in output


def test_it_is_narrowed_by_position_time_and_number(log: Log) -> None:
    """Each alone and together; the latest are kept."""
    log.outage(Outage.REFUSED, "p1")
    log.outage(Outage.REFUSED, "p2")
    log.outage(Outage.REFUSED, "p1")

    def told(*arguments: str) -> list[tuple[str, str | None]]:
        return [(line["at"][17:19], line["position"]) for line in json.loads(failures("--json", *arguments).output)]

    assert told("--position", "p1") == [("02", "p1"), ("06", "p1")]
    assert told("--since", "2027-01-15T08:00:04Z", "--position", "p1") == [("06", "p1")]
    assert told("--limit", "2") == [("05", None), ("06", "p1")]
    assert "that you asked for" in failures("--position", "nobody").output


def test_programs_are_told_everything(log: Log) -> None:
    """The state that was to be saved, and what it grew from, beside the words."""
    log.outage(Outage.DISK)
    line = json.loads(failures("--json").output)[-1]
    assert (line["kind"], line["position"], line["state"]) == ("snapshot.spilled", "p1", {"change": 1})
    assert line["grew_from"] == {"epoch": 3, "version": 1, "write_id": "w"}
    assert OUTAGES[Outage.DISK].why in line["why"]
    assert line["remedy"] == OUTAGES[Outage.DISK].remedy


def test_the_rotated_file_counts_and_a_torn_line_does_not(log: Log) -> None:
    """As after a crash in the middle of a line."""
    log.outage(Outage.CUT, "old")
    log.path.rename(log.path.with_name("failures.jsonl.1"))
    log.outage(Outage.CUT, "new")
    log.path.write_bytes(log.path.read_bytes() + b'{"kind": "snapshot.spi')
    positions = [line["position"] for line in json.loads(failures("--json").output)]
    assert positions == [None, "old", None, "new"]


def test_a_log_that_cannot_be_read_is_a_failure_with_a_remedy(log: Log) -> None:
    """Exit status 1, and who may read it."""
    log.path.mkdir(parents=True)
    assert "as the user that runs the service" in failures(status=1).output


def test_a_time_that_is_none_is_wrong_usage() -> None:
    """Exit status 2."""
    failures("--since", "yesterday", status=2)
    failures("--limit", "0", status=2)


# -- exitkeeper doctor: the last day -----------------------------------------------------------------------------------


def found(log: Log) -> dict[str, Finding]:
    """What the doctor says of the log, by name."""
    return {finding.name: finding for finding in check_failures(log.path, log.now)}


def test_a_quiet_day_is_fine(log: Log) -> None:
    """Older failures are history."""
    log.outage(Outage.REFUSED)
    log.now += DAY + 1
    assert [finding.level for finding in found(log).values()] == [Level.OK]


@pytest.mark.parametrize("outage", Outage)
def test_an_outage_is_explained_while_it_lasts_and_after(log: Log, outage: Outage) -> None:
    """It fails while it stands, with the changes that wait; over, it is a warning."""
    log.outage(outage)
    standing = found(log)
    assert standing["redis outage"].level is Level.FAIL
    assert OUTAGES[outage].why in standing["redis outage"].detail
    assert OUTAGES[outage].remedy in standing["redis outage"].remedy
    assert (standing["unsaved changes"].level, "p1" in standing["unsaved changes"].detail) == (Level.FAIL, True)
    log.over()
    after = found(log)
    assert set(after) == {"redis outage"}
    assert (after["redis outage"].level, "over since" in after["redis outage"].detail) == (Level.WARN, True)


def test_doubt_and_a_lost_lease_stand_until_they_are_settled(log: Log) -> None:
    """Each by what takes it back."""
    log.add("snapshot.unknown", cause="silent")
    log.add("lease.lost")
    assert {name: finding.level for name, finding in found(log).items()} == {
        "saves in doubt": Level.FAIL,
        "lease lost": Level.FAIL,
    }
    log.add("lease.taken")
    log.add("store.reachable")
    assert {finding.level for finding in found(log).values()} == {Level.WARN}


def test_other_situations_of_the_day_have_a_remedy(log: Log) -> None:
    """Another owner, an emptied Redis, a conflict, an unreadable snapshot, an old spill."""
    log.add("snapshot.stale_owner", "p1", cause="4")
    log.add("snapshot.stale_owner", "p1", cause="1")
    log.add("snapshot.conflict", "p2")
    log.add("snapshot.failed", "p3")
    log.add("snapshot.discarded", "p4")
    findings = list(check_failures(log.path, log.now))
    said = " ".join(finding.detail for finding in findings)
    for words in ("another keeper owns", "was emptied", "dropped (p2)", "cannot be read", "evidence only"):
        assert words in said
    assert all(finding.remedy and finding.level is Level.WARN for finding in findings)


def test_many_lines_that_say_the_same_are_one_finding(log: Log) -> None:
    """With how many they are, and some of the positions."""
    for number in range(9):
        log.add("snapshot.conflict", f"p{number}")
    (finding,) = found(log).values()
    assert "9 times" in finding.detail
    assert "p4 and 4 more" in finding.detail


def test_a_log_that_cannot_be_read_is_said(log: Log) -> None:
    """The doctor goes on."""
    log.path.mkdir(parents=True)
    assert found(log)["failure log"].level is Level.WARN


# -- exitkeeper doctor: leases and the service -------------------------------------------------------------------------


def config(tmp_path: Path, **environment: str) -> Config:
    """A configuration whose data is in the test's folder."""
    return load_config(data_dir=tmp_path / "data", environment=environment)


@pytest.mark.parametrize(
    ("seconds", "level"), [(10.0, Level.OK), (9.1, Level.OK), (9.0, Level.WARN), (3.0, Level.WARN)]
)
def test_a_lease_must_outlive_an_order_and_a_renewal(tmp_path: Path, seconds: float, level: Level) -> None:
    """Expiry 5 s, skew 1 s, renewed every third: at 9 s there are moments in which nothing could be signed."""
    (account,) = config(tmp_path).accounts.values()
    finding = check_lease(account, seconds)
    assert finding.level is level
    assert ("lease_ttl_seconds above 9" in finding.remedy) is (level is Level.WARN)


def test_the_shortest_lease_of_all_accounts_counts(tmp_path: Path) -> None:
    """One keeper has one length of lease; ten seconds unless an account asks for less."""
    settings = config(tmp_path)
    assert lease_seconds(settings) == 10.0
    (account,) = settings.accounts.values()
    short = replace(account, lease_ttl_seconds=4.0)
    assert lease_seconds(replace(settings, accounts={"a": replace(account, lease_ttl_seconds=7.0), "b": short})) == 4.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service for all tests here."""
    with running(token="t" * 32) as started:
        yield started


def situations_of(service: Service, tmp_path: Path) -> dict[str, Finding]:
    """What the doctor learns from the service, by name."""
    here = config(tmp_path, EXITKEEPER_HTTP__PORT=str(service.server.port), EXITKEEPER_HTTP__TOKEN="t" * 32)
    return {finding.name: finding for finding in check_running(here)}


def test_a_service_without_trouble_has_no_situations(service: Service, tmp_path: Path) -> None:
    """Neither has one that does not run."""
    service.directory.positions.clear()
    assert situations_of(service, tmp_path) == {}
    assert list(check_running(config(tmp_path, EXITKEEPER_HTTP__PORT="9"))) == []


@pytest.mark.parametrize(
    ("detail", "name"),
    [
        ("its lease ran out while Redis was out of reach; only protective full closes are made", "shard lost"),
        ("another keeper owns it", "another keeper"),
        ("shard paper is held by you for 9.0 s at most", "another keeper"),
        ("shard paper could not be taken: Connection refused", "lease"),
        ("waiting for its lease", "lease"),
        ("something new", "service"),
    ],
)
def test_every_reason_not_to_be_ready_has_a_remedy(service: Service, tmp_path: Path, detail: str, name: str) -> None:
    """In the words of the supervisor."""
    service.directory.positions.clear()
    before = dict(service.directory.accounts)
    service.directory.accounts["paper"] = AccountStatus(
        account="paper", venue="paper", shard="paper", live_money=False, detail=detail
    )
    try:
        findings = situations_of(service, tmp_path)
    finally:
        service.directory.accounts.clear()
        service.directory.accounts.update(before)
    assert (findings[name].level, bool(findings[name].remedy)) == (Level.FAIL, True)
    assert detail in findings[name].detail


def test_redis_out_of_reach_is_explained(service: Service, tmp_path: Path) -> None:
    """As the service sees it."""
    service.directory.store_reachable = False
    try:
        assert situations_of(service, tmp_path)["redis"].level is Level.FAIL
    finally:
        service.directory.store_reachable = True


def test_quarantined_and_unprotected_positions_are_named(service: Service, tmp_path: Path) -> None:
    """With what stands between them and a loss."""
    service.directory.positions.clear()
    service.directory.positions["q1"] = published(opening("q1"), quarantined="failed 6 times in 60 s")
    findings = situations_of(service, tmp_path)
    assert "q1: failed 6 times" in findings["quarantined"].detail
    assert findings["quarantined"].remedy
    bare = runner("u1", intents=())
    assert not bare.protected
    service.directory.positions.update(u1=published(bare), safe=published(runner("safe")))
    unprotected = situations_of(service, tmp_path)["unprotected"]
    assert (unprotected.level, unprotected.detail) == (Level.WARN, "no stop of ours was read back for u1")
    assert unprotected.remedy
    service.directory.positions.clear()
