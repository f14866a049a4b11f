"""What can happen to a Redis, done to a real one: it is killed, stopped, slow, full, read-only, loading, refusing."""

import resource
import signal
import threading
import time

from scripts.crash_proxy import FINE, Weather
from scripts.crash_stand import LEASE_SECONDS, Stand
from scripts.crash_trial import Fault
from tests.crash.redis_world import Server, until

SHORT_SECONDS = 3.0
LONG_SECONDS = LEASE_SECONDS + 4.0


def _server(stand: Stand) -> Server:
    if stand.server is None:
        raise SystemExit("this fault needs a Redis of its own")
    return stand.server


def _command(*words: object) -> "Command":
    return Command(words)


class Command:
    """One command of the operator, as a step of a fault."""

    def __init__(self, words: tuple[object, ...]) -> None:
        self._words = words

    def __call__(self, stand: Stand) -> None:
        """Give it."""
        _server(stand).command(*self._words)


def _kill(stand: Stand) -> None:
    _server(stand).kill()


def _start(stand: Stand) -> None:
    _server(stand).start()


def _restart(stand: Stand) -> None:
    _server(stand).kill()
    _server(stand).start()


def _stop(stand: Stand) -> None:
    _server(stand).signal(signal.SIGSTOP)


def _go_on(stand: Stand) -> None:
    _server(stand).signal(signal.SIGCONT)


def _load(stand: Stand) -> None:
    server = _server(stand)
    with server.operator() as client:
        many = client.pipeline(transaction=False)
        for number in range(60_000):
            many.set(f"other:{number}", "x")
        many.execute()
    server.kill()
    # It looks at its clients once in 1,024 commands, so this is a tenth of a second between two answers.
    server.start(load_delay_microseconds=100, wait=False)


def _hurry(stand: Stand) -> None:
    def hurried() -> bool:
        try:
            return bool(_server(stand).command("CONFIG", "SET", "key-load-delay", "0"))
        except OSError:
            return False

    until(hurried)
    until(_server(stand).answers)


def _break_dump(stand: Stand) -> None:
    """A directory in the place of its dump makes every background save fail, also for root: MISCONF."""
    server = _server(stand)
    dump = server.directory / "dump.rdb"
    # The dump that showed an earlier fault of this kind to be over.
    dump.unlink(missing_ok=True)
    dump.mkdir()
    server.command("CONFIG", "SET", "save", "3600 1")
    server.command("BGSAVE")
    until(lambda: _dump_status(server) == "err")


def _mend_dump(stand: Stand) -> None:
    server = _server(stand)
    (server.directory / "dump.rdb").rmdir()
    server.command("BGSAVE")
    until(lambda: _dump_status(server) == "ok")
    server.command("CONFIG", "SET", "save", "")


def _dump_status(server: Server) -> str:
    with server.operator() as client:
        return str(client.info("persistence")["rdb_last_bgsave_status"])


def limit_file_size(pid: int, limit: int) -> None:
    """Let a process write no file past this size: its disk is full, as far as it can tell."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))


def _fail_append_only_file(stand: Stand) -> None:
    """Its append-only file takes no more: with fsync `always` a redis-server ends itself rather than go on."""
    server = _server(stand)
    if server.process is not None:
        limit_file_size(server.process.pid, 1024)


def _mend_append_only_file(stand: Stand) -> None:
    server = _server(stand)
    if server.process is not None and server.process.poll() is None:
        limit_file_size(server.process.pid, resource.RLIM_INFINITY)
    server.close()
    server.start()


class Slow:
    """Redis answers, later than anybody likes: it stands still for 0.3 of every 0.4 seconds."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, stand: Stand) -> None:
        """Start."""
        self._over.clear()
        self._thread = threading.Thread(target=self._beat, args=(_server(stand),), daemon=True)
        self._thread.start()

    def end(self, stand: Stand) -> None:
        """Stop."""
        del stand
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self, server: Server) -> None:
        while not self._over.is_set():
            server.signal(signal.SIGSTOP)
            time.sleep(0.3)
            server.signal(signal.SIGCONT)
            time.sleep(0.1)


def redis_faults(seconds: float) -> list[Fault]:
    """Each once, lasting this long."""
    slow = Slow()
    return [
        Fault(name="refused", seconds=seconds, begin=_kill, end=_start, causes=("refused", "cut")),
        Fault(name="restarted", seconds=seconds, begin=_restart, refuses=False),
        Fault(name="frozen", seconds=seconds, begin=_stop, end=_go_on, causes=("silent",)),
        Fault(name="slow", seconds=seconds, begin=slow.begin, end=slow.end, refuses=False),
        Fault(name="loading", seconds=seconds, begin=_load, end=_hurry, causes=("loading",)),
        Fault(
            name="maxmemory",
            seconds=seconds,
            begin=_command("CONFIG", "SET", "maxmemory", "1"),
            end=_command("CONFIG", "SET", "maxmemory", "0"),
            causes=("memory",),
        ),
        Fault(
            name="READONLY",
            seconds=seconds,
            begin=_command("REPLICAOF", "127.0.0.1", "1"),
            end=_command("REPLICAOF", "NO", "ONE"),
            causes=("read_only",),
        ),
        Fault(name="MISCONF", seconds=seconds, begin=_break_dump, end=_mend_dump, causes=("disk",)),
        Fault(name="failing AOF", seconds=seconds, begin=_fail_append_only_file, end=_mend_append_only_file),
        Fault(
            name="no rights",
            seconds=seconds,
            begin=_command("ACL", "SETUSER", "default", "-@write"),
            end=_command("ACL", "SETUSER", "default", "+@all"),
            causes=("login",),
        ),
    ]


class Storm:
    """A bad network, with one weather after another."""

    def __init__(self, *weathers: Weather, each_seconds: float) -> None:
        self._weathers = weathers
        self._each_seconds = each_seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, stand: Stand) -> None:
        """The first weather comes now."""
        self._over.clear()
        self._thread = threading.Thread(target=self._blow, args=(stand,), daemon=True)
        self._thread.start()

    def end(self, stand: Stand) -> None:
        """Fine weather."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if stand.proxy is not None:
            stand.proxy.weather = FINE

    def _blow(self, stand: Stand) -> None:
        proxy = stand.proxy
        while proxy is not None:
            for weather in self._weathers:
                proxy.weather = weather
                if weather.refused:
                    proxy.cut_all()
                if self._over.wait(self._each_seconds):
                    return


LOSSY = Weather(delay=0.05, jitter=0.1, lost=0.2)
CUTTING = Weather(delay=0.02, jitter=0.05, cut=0.15, torn=0.15)


def network_faults(seconds: float) -> list[Fault]:
    """Loss and delay; connections cut and torn; silence; and all of them in turn, as long."""
    weathers = {
        "loss and delay": (LOSSY,),
        "cut and torn": (CUTTING,),
        "all in turn": (LOSSY, CUTTING, Weather(stalled=True), Weather(refused=True), LOSSY),
    }
    found = []
    for name, weather in weathers.items():
        storm = Storm(*weather, each_seconds=min(4.0, seconds / len(weather)))
        found.append(Fault(name=name, seconds=seconds, begin=storm.begin, end=storm.end, refuses=False))
    silent = Storm(Weather(stalled=True), each_seconds=seconds)
    found.append(Fault(name="silence", seconds=seconds, begin=silent.begin, end=silent.end, causes=("silent",)))
    return found
