"""What the doctor says of real servers: how they keep what they are given, and what is weaker in a group of them."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from persistence.failure_log import UNRECORDED, Failure, FailureLog
from persistence.redis_store import RedisStore
from service.config_load import load_config
from service.doctor_redis import check_redis
from service.doctor_situations import check_failures
from service.findings import Finding, Level
from tests.crash.redis_groups import SERVICE, ClusterGroup, SentinelGroup
from tests.crash.redis_world import Server


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, which leaves room for sockets."""
    found = Path(tempfile.mkdtemp(prefix="ek-"))
    yield found
    shutil.rmtree(found)


@pytest.fixture
def server(directory: Path) -> Iterator[Server]:
    """One server, with an append-only file that is flushed always."""
    found = Server(directory / "server")
    yield found
    found.close()


def findings(url: str) -> list[Finding]:
    """What the doctor says of the Redis at this URL."""
    return list(check_redis(load_config(environment={"EXITKEEPER_REDIS__URL": url})))


def by_name(url: str) -> Mapping[str, Finding]:
    """The last finding of each name."""
    return {finding.name: finding for finding in findings(url)}


def test_a_server_that_keeps_everything_is_well(server: Server) -> None:
    """Version, append-only file, latency: nothing to do."""
    assert {finding.level for finding in findings(server.url)} == {Level.OK}
    assert by_name(server.url)["redis durability"].detail.endswith("appendfsync always")


@pytest.mark.parametrize("policy", ["everysec", "no"])
def test_an_append_only_file_that_is_not_always_flushed_is_warned_of(server: Server, policy: str) -> None:
    """A power cut could take back what was acknowledged: nothing else would tell, as no fsync is asked for there."""
    server.command("CONFIG", "SET", "appendfsync", policy)
    finding = by_name(server.url)["redis durability"]
    assert (finding.level, policy in finding.detail) == (Level.WARN, True)
    assert "appendfsync always" in finding.remedy


def test_no_append_only_file_at_all_is_a_failure(server: Server) -> None:
    """Then a restart forgets every position."""
    server.command("CONFIG", "SET", "appendonly", "no")
    assert by_name(server.url)["redis durability"].level is Level.FAIL


def test_a_policy_that_may_not_be_asked_is_warned_of(server: Server) -> None:
    """Managed servers forbid the question."""
    server.command("ACL", "SETUSER", "default", "-config")
    assert by_name(server.url)["redis durability"].level is Level.WARN


def test_a_server_that_evicts_is_a_failure(server: Server) -> None:
    """It would evict positions."""
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert by_name(server.url)["redis memory"].level is Level.FAIL


def test_something_else_in_the_place_of_a_trail_is_named_with_its_key(server: Server) -> None:
    """Positions are saved all the same, so nothing else would be seen to be wrong; and the remedy works."""
    store = RedisStore(server.url, newest_schema=1)
    store.take("paper", "me", 10.0)
    server.command("SET", "ek:{paper}:events", "not a stream")
    finding = by_name(server.url)["audit trail"]
    assert (finding.level, "ek:{paper}:events is a string" in finding.detail) == (Level.FAIL, True)
    named = re.search(r"RENAME (\S+) (\S+):", finding.remedy)
    assert named
    server.command("RENAME", *named.groups())
    assert "audit trail" not in by_name(server.url)
    store.close()


def test_lines_that_were_not_recorded_are_told_from_the_failure_log(tmp_path: Path) -> None:
    """Also once the trail works again: it lacks them for good."""
    now = 1_800_000_000_000_000
    log = FailureLog(tmp_path / "failures.jsonl", lambda: now)
    log.append([Failure(kind=UNRECORDED, shard="paper", epoch=1, error="WRONGTYPE", position_id="p", events=({},))])
    (finding,) = check_failures(tmp_path / "failures.jsonl", now)
    assert (finding.name, finding.level) == ("audit trail", Level.WARN)
    assert "failures.jsonl" in finding.remedy


def test_sentinels_are_asked_and_what_a_failover_can_cost_is_said(directory: Path) -> None:
    """The primary is looked at as any server; that its replicas lag is said whatever else is well."""
    group = SentinelGroup(directory, replicas=0)
    try:
        found = by_name(group.url)
        assert found["redis sentinel"].level is Level.OK
        assert f"127.0.0.1:{group.servers[0].port}" in found["redis durability"].detail
        failover = found["redis failover"]
        assert (failover.level, "acknowledged" in failover.detail) == (Level.WARN, True)
        assert "min-replicas-to-write 1" in failover.remedy
        assert "one primary with appendfsync always" in failover.remedy
        group.servers[0].command("CONFIG", "SET", "min-replicas-to-write", "1")
        failover = by_name(group.url)["redis failover"]
        assert (failover.level, "CONFIG SET" in failover.remedy) == (Level.WARN, False)
        group.servers[0].command("CONFIG", "SET", "appendfsync", "everysec")
        assert by_name(group.url)["redis durability"].level is Level.WARN
        assert by_name(group.url + "-other")["redis"].level is Level.FAIL
        silent = by_name(f"redis+sentinel://127.0.0.1:{group.sentinel.port},127.0.0.1:9/{SERVICE}")
        assert silent["redis sentinel"].level is Level.WARN
    finally:
        group.close()


def test_every_node_of_a_cluster_is_looked_at(directory: Path) -> None:
    """One that flushes late, one that is away, and slots that nobody serves: each is said of its node."""
    group = ClusterGroup(directory, nodes=2)
    try:
        first, second = group.servers
        found = findings(group.url)
        assert [finding.level for finding in found if finding.name == "redis durability"] == [Level.OK, Level.OK]
        assert by_name(group.url)["redis failover"].level is Level.WARN
        second.command("CONFIG", "SET", "appendfsync", "everysec")
        warned = [finding for finding in findings(group.url) if finding.name == "redis durability"]
        assert [str(second.port) in finding.detail for finding in warned if finding.level is Level.WARN] == [True]
        second.kill()
        failed = [finding for finding in findings(group.url) if finding.level is Level.FAIL]
        assert [str(second.port) in finding.detail for finding in failed] == [True]
        first.command("CLUSTER", "DELSLOTSRANGE", 0, 9)
        assert by_name(group.url)["redis cluster"].level is Level.FAIL
    finally:
        group.close()


@pytest.mark.parametrize(
    "url", ["redis+sentinel://:hush@127.0.0.1:9/s?sentinel_password=hush", "redis+cluster://:hush@127.0.0.1:9"]
)
def test_a_group_that_is_away_is_a_failure_with_a_remedy(url: str) -> None:
    """And never a word of the password."""
    found = findings(url)
    assert found[-1].level is Level.FAIL
    assert all(finding.remedy for finding in found)
    assert "hush" not in str(found)
