"""The embedded server against kill -9 and torn files: what was acknowledged is there, and nothing is owned twice."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from persistence import redis_server
from persistence.redis_server import EmbeddedRedis, EmbeddedRedisError, socket_path
from persistence.redis_store import RedisStore
from persistence.store import Change, Outage, Snapshot, StoreUnreachable

SHARD = "main"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path, as sockets want it; whatever server is left in it is ended."""
    directory = Path(tempfile.mkdtemp(prefix="ek-"))
    yield directory
    EmbeddedRedis(directory).stop()
    shutil.rmtree(directory)


def kill(server: EmbeddedRedis) -> int:
    """kill -9, and wait until it is gone; its pid."""
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert server._wait_until_gone()
    return pid


def read(store: RedisStore, position_id: str) -> Snapshot:
    """A snapshot that must be there."""
    found = store.read(SHARD, position_id)
    assert found is not None
    return found


def _ensure(server: EmbeddedRedis) -> None:
    server.ensure()


def save_one(store: RedisStore, epoch: int, number: int) -> None:
    """One more position, acknowledged."""
    change = Change(position_id=f"p{number}", schema=1, grew_from=0, state={"n": number}, events=[{"n": number}])
    assert f"p{number}" in store.save(SHARD, epoch, [change]).saved


def test_everything_acknowledged_survives_kill_nine_of_redis(data_dir: Path) -> None:
    """Killed again and again between saves: nothing that was acknowledged is missing."""
    server = EmbeddedRedis(data_dir)
    store = RedisStore(server.ensure(), newest_schema=1, before_connect=lambda: _ensure(server))
    epoch = store.take(SHARD, "me", 600.0).epoch
    for number in range(12):
        save_one(store, epoch, number)
        if number % 4 == 3:
            kill(server)
    found = store.load(SHARD)
    assert sorted(snapshot.state["n"] for snapshot in found.snapshots) == list(range(12))
    assert store.fence(SHARD).epoch == epoch
    store.close()


def test_a_server_left_running_is_adopted(data_dir: Path) -> None:
    """A keeper killed with -9, its process group with it, leaves its server; the next one adopts that process."""
    script = (
        "import os, sys; from pathlib import Path; from persistence.redis_server import EmbeddedRedis; "
        "server = EmbeddedRedis(Path(sys.argv[1])); server.ensure(); print(server.pid(), flush=True); "
        "os.killpg(0, 9)"
    )
    command = [sys.executable, "-c", script, str(data_dir)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
    assert ended.returncode == -signal.SIGKILL
    server = EmbeddedRedis(data_dir)
    server.ensure()
    assert server.pid() == int(ended.stdout)


def test_a_stopped_server_is_gone_and_starts_again_with_its_data(data_dir: Path) -> None:
    """Stopped in order, started again: the same data, another process."""
    server = EmbeddedRedis(data_dir)
    store = RedisStore(server.ensure(), newest_schema=1)
    epoch = store.take(SHARD, "me", 600.0).epoch
    save_one(store, epoch, 1)
    server.stop()
    assert server.pid() is None
    with pytest.raises(StoreUnreachable):
        store.read(SHARD, "p1")
    server.ensure()
    assert read(store, "p1").state == {"n": 1}
    store.close()


def test_a_torn_append_only_file_loses_only_the_torn_transaction(data_dir: Path) -> None:
    """Cut in the last transaction, at several places: the server boots and has all before it, whole."""
    server = EmbeddedRedis(data_dir)
    store = RedisStore(server.ensure(), newest_schema=1)
    epoch = store.take(SHARD, "me", 600.0).epoch
    log = next((data_dir / "redis" / "appendonlydir").glob("*.incr.aof"))
    sizes = []
    for number in range(3):
        save_one(store, epoch, number)
        sizes.append(log.stat().st_size)
    store.close()
    kill(server)
    whole = log.read_bytes()
    assert all(before < after for before, after in pairwise(sizes))
    for cut in (sizes[1] + 1, sizes[1] + 60, sizes[2] - 1):
        log.write_bytes(whole[:cut])
        store = RedisStore(server.ensure(), newest_schema=1)
        found = store.load(SHARD)
        assert [snapshot.position_id for snapshot in found.snapshots] == ["p0", "p1"]
        assert found.corrupt == {}
        assert store.fence(SHARD).write_id == read(store, "p1").write_id
        assert store.events(SHARD, "p2") == []
        store.close()
        kill(server)


def test_two_servers_never_write_one_directory(data_dir: Path) -> None:
    """With its socket deleted a running server is not replaced: two of them would write one file."""
    server = EmbeddedRedis(data_dir)
    server.ensure()
    pid = server.pid()
    socket = data_dir / "redis" / "redis.sock"
    hidden = socket.with_name("hidden.sock")
    socket.rename(hidden)
    with pytest.raises(EmbeddedRedisError, match=f"kill {pid}"):
        EmbeddedRedis(data_dir, start_timeout_seconds=0.3).ensure()
    hidden.rename(socket)
    assert server.pid() == pid


def test_a_server_with_other_data_is_not_adopted(data_dir: Path) -> None:
    """What answers on the socket must keep its data in our directory."""
    server = EmbeddedRedis(data_dir)
    server.ensure()
    other = EmbeddedRedis(data_dir)
    other._directory = data_dir / "elsewhere"
    with pytest.raises(EmbeddedRedisError, match="keeps its data elsewhere"):
        other.ensure()


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    """The last lines of its own log are in the error."""
    server = EmbeddedRedis(data_dir)
    server.ensure()
    server.stop()
    manifest = next((data_dir / "redis" / "appendonlydir").glob("*.manifest"))
    manifest.write_text("rubbish\n")
    with pytest.raises(EmbeddedRedisError, match=r"(?s)ended with status.*manifest"):
        server.ensure()


def test_nobody_else_can_read_or_connect(data_dir: Path) -> None:
    """The directory, its configuration and the socket belong to the owner alone."""
    EmbeddedRedis(data_dir).ensure()
    directory = data_dir / "redis"
    for path in (directory, directory / "redis.conf", directory / "redis.sock", directory / "server.lock"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_long_path_gets_its_socket_elsewhere(data_dir: Path) -> None:
    """The kernel takes about a hundred bytes; a deep data directory works all the same."""
    deep = data_dir / ("deep" * 30) / "with space"
    server = EmbeddedRedis(deep)
    assert not socket_path(deep.resolve() / "redis").is_relative_to(deep)
    store = RedisStore(server.ensure(), newest_schema=1)
    assert store.take(SHARD, "me", 10.0).epoch == 1
    store.close()
    server.stop()
    shutil.rmtree(server._socket.parent)


def test_a_private_socket_directory_must_be_ours_alone(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory somebody prepared for us, open to others, is refused."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(data_dir))
    deep = Path("/deep" * 30)
    prepared = socket_path(deep).parent
    prepared.chmod(0o777)
    with pytest.raises(EmbeddedRedisError, match="shorter data_dir"):
        socket_path(deep)


def test_a_binary_without_its_run_bit_is_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some installations lose the run bit of the packaged server, in a place that is not ours to change."""
    packaged = data_dir / "packaged-server"
    binary = redis_server._packaged_binary()
    assert binary is not None
    shutil.copyfile(binary, packaged)
    packaged.chmod(0o600)
    monkeypatch.setattr(redis_server, "_packaged_binary", lambda: packaged)
    monkeypatch.setattr(Path, "chmod", _refuse_for(packaged, Path.chmod))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert redis_server.server_binary(data_dir) == data_dir / "redis-server"


def _refuse_for(refused: Path, chmod: Callable[..., None]) -> Callable[..., None]:
    def guarded(path: Path, mode: int, **options: bool) -> None:
        if path == refused:
            raise PermissionError("not ours")
        chmod(path, mode, **options)

    return guarded


def test_a_server_that_hangs_holds_nobody_up_for_long(data_dir: Path) -> None:
    """Once it has answered, a hanging server is not waited for as at a start: leases and spills need the thread."""
    server = EmbeddedRedis(data_dir, start_timeout_seconds=3600, again_timeout_seconds=0.1)
    store = RedisStore(server.ensure(), newest_schema=1, before_connect=lambda: _ensure(server), attempts=1)
    store.take(SHARD, "me", 600.0)
    pid = server.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    store.close()
    with pytest.raises(StoreUnreachable) as caught:
        store.fence(SHARD)
    os.kill(pid, signal.SIGCONT)
    assert caught.value.outage is Outage.OWN_SERVER
    assert store.fence(SHARD).epoch == 1
    assert server.pid() == pid
    store.close()


def test_a_server_that_takes_no_writes_is_not_started_again(data_dir: Path) -> None:
    """With a full disk even PING is refused: the server is there all the same, and says why it does not save."""
    server = EmbeddedRedis(data_dir, start_timeout_seconds=0.5)
    store = RedisStore(server.ensure(), newest_schema=1, before_connect=lambda: _ensure(server))
    epoch = store.take(SHARD, "me", 600.0).epoch
    (data_dir / "redis" / "dump.rdb").mkdir()
    with redis.Redis(unix_socket_path=str(server._socket)) as operator:
        operator.config_set("save", "3600 1")
        operator.bgsave()
        while operator.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.01)
        store.close()
        with pytest.raises(StoreUnreachable) as caught:
            store.save(SHARD, epoch, [Change(position_id="p", schema=1, grew_from=0, state={})])
        assert caught.value.outage is Outage.DISK
        (data_dir / "redis" / "dump.rdb").rmdir()
        operator.config_set("save", "")
    save_one(store, epoch, 1)
    store.close()


def test_the_embedded_server_listens_on_no_port(data_dir: Path) -> None:
    """Its socket in the data directory is the only way in."""
    server = EmbeddedRedis(data_dir)
    client = redis.Redis.from_url(server.ensure(), decode_responses=True)
    assert client.config_get("port") == {"port": "0"}
    assert client.config_get("tls-port") == {"tls-port": "0"}
    client.close()
