"""What can happen to the machine: its disk is full or read-only, its memory runs out, its clocks are set.

Disk: a small tmpfs of the keeper's own where this may be mounted (root); without that, a limit on the size of files.

Memory: the keeper hoards until a limit, and is killed there with SIGKILL, as the kernel would; its Redis meets a real
limit of its address space and ends itself.

Clocks: the keeper's wall clock is a file's (crash_clock.py), so every reading of it is off, that of the library that
signs requests included; the boot-time clock is set by a Linux time namespace (root). Redis's clock matters to one key,
the lease, whose end is moved as a step would move it. The machine's own clocks are not touched.
"""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import redis

from scripts.crash_exchange_world import ACCOUNT
from scripts.crash_faults import limit_file_size
from scripts.crash_stand import Stand
from scripts.crash_trial import Fault, nothing

DISK_BYTES = 24 * 1024 * 1024
HOARD_BYTES = 400 * 1024 * 1024
DAY_SECONDS = 86_400.0
LEASE = f"ek:{{{ACCOUNT}}}:lease"


# -- disk --------------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of a few megabytes, mounted while the block lasts; None where this may not be mounted."""
    place = folder / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount is not None and os.geteuid() == 0
    if made and mount is not None:
        words = [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "exitkeeper-crash", str(place)]
        made = subprocess.run(words, check=False, capture_output=True).returncode == 0  # noqa: S603
    try:
        yield place if made else None
    finally:
        if made:
            subprocess.run([shutil.which("umount") or "umount", "--lazy", str(place)], check=False)  # noqa: S603


def _fill(stand: Stand) -> None:
    """Until not one more byte fits."""
    with suppress(OSError), (stand.data_dir / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)
    with suppress(OSError), (stand.data_dir / "ballast-2").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0")
    # A save might still fit into the last page of its file: with something larger Redis finds out at once.
    pid, path = stand.redis_pid(), stand.data_dir / "redis" / "redis.sock"
    with suppress(redis.RedisError), redis.Redis(unix_socket_path=str(path), protocol=2) as client:
        client.set("ballast", "x" * 65_536)
    if pid is not None:
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)


def _empty(stand: Stand) -> None:
    for name in ("ballast", "ballast-2"):
        (stand.data_dir / name).unlink(missing_ok=True)


def _no_file_grows(stand: Stand) -> None:
    """Keeper and Redis may write no byte to any file; both go on, as far as they can."""
    for pid in (_keeper_pid(stand), stand.redis_pid()):
        if pid is not None:
            limit_file_size(pid, 0)


def _files_grow(stand: Stand) -> None:
    for pid in (_keeper_pid(stand), stand.redis_pid()):
        if pid is not None:
            limit_file_size(pid, resource.RLIM_INFINITY)


def disk_faults(seconds: float, *, mounted: bool) -> list[Fault]:
    """A full disk (or the nearest thing to it), and files that may not be written, both with the embedded Redis."""
    limited = Fault(name="no file may grow", seconds=seconds, begin=_no_file_grows, end=_files_grow)
    full = Fault(name="disk full", seconds=seconds, begin=_fill, end=_empty)
    return [full, limited] if mounted else [limited]


def read_only_start(stand: Stand) -> list[str]:
    """A keeper that is to start on a data directory it may not write: it says so in words, and changes nothing."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        return []
    stand.keeper.kill_only()
    pid = stand.redis_pid()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    wrong = []
    if subprocess.run([mount, "-o", "remount,ro", str(stand.data_dir)], check=False).returncode != 0:  # noqa: S603
        return ["the disk could not be made read-only"]
    try:
        before = stand.log_size()
        stand.keeper.start()
        process = stand.keeper.process
        status = None if process is None else process.wait(60)
        said = stand.log_since(before)
        if status != 1 or "Traceback" in said or "cannot be used" not in said:
            wrong.append(f"a start on a read-only directory ended with {status} and said: {said[-300:]}")
    finally:
        subprocess.run([mount, "-o", "remount,rw", str(stand.data_dir)], check=True)  # noqa: S603
        stand.keeper.start()
    stand.wait(stand.ready, "the keeper does not come back")
    return wrong


# -- memory ------------------------------------------------------------------------------------------------------------


def _keeper_pid(stand: Stand) -> int:
    if stand.keeper.process is None:
        raise SystemExit("the keeper does not run")
    return stand.keeper.process.pid


def _out_of_memory(stand: Stand) -> None:
    process = psutil.Process(_keeper_pid(stand))
    limit = process.memory_info().rss + HOARD_BYTES
    os.kill(process.pid, signal.SIGUSR1)
    while process.memory_info().rss < limit:
        time.sleep(0.002)
    stand.keeper.kill_only()


def _start_keeper(stand: Stand) -> None:
    stand.keeper.start()


def _redis_out_of_memory(stand: Stand) -> None:
    """Nothing more can be allocated; then somebody stores something large."""
    server = stand.server
    if server is None or server.process is None:
        raise SystemExit("this fault needs a Redis of its own")
    pid = server.process.pid
    address_space = psutil.Process(pid).memory_info().vms
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space, address_space))
    with suppress(Exception):
        for number in range(64):
            server.command("SET", f"large:{number}", "x" * (8 * 1024 * 1024))
    server.process.wait(30)


def _start_redis(stand: Stand) -> None:
    if stand.server is not None:
        stand.server.start()


def memory_faults(seconds: float) -> list[Fault]:
    """The keeper, and its Redis."""
    return [
        Fault(name="keeper out of memory", seconds=seconds, begin=_out_of_memory, end=_start_keeper, keeps=False),
        Fault(name="Redis out of memory", seconds=seconds, begin=_redis_out_of_memory, end=_start_redis),
    ]


# -- clocks ------------------------------------------------------------------------------------------------------------


class Step:
    """The keeper's wall clock is off by so much; at the end of the fault it is right again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def begin(self, stand: Stand) -> None:
        """Step."""
        stand.clock.step(self._seconds)

    def end(self, stand: Stand) -> None:
        """Step back."""
        stand.clock.step(0)


class LeaseEnds:
    """Redis's clock steps: forward, and the lease ends at once; back, and it lasts as much longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def begin(self, stand: Stand) -> None:
        """Move the end of the lease, once."""
        if stand.server is not None:
            left = int(stand.server.command("PTTL", LEASE))
            stand.server.command("PEXPIRE", LEASE, max(1, left - round(self._seconds * 1000)))


class Boottime:
    """The keeper starts again where the boot-time clock says something else: as after a reboot, or years of uptime."""

    def __init__(self, seconds: int) -> None:
        self._words = ["unshare", "--time", "--boottime", str(seconds), "--monotonic", str(seconds)]

    def begin(self, stand: Stand) -> None:
        """Kill it, and start it there."""
        stand.keeper.before = self._words
        stand.keeper.kill()
        stand.wait(stand.ready, "the keeper does not come back")


def clock_faults(seconds: float) -> list[Fault]:
    """Forward and back; each clock that matters."""
    found = []
    for name, by in (("+1 h", 3600.0), ("-1 h", -3600.0), ("+1 day", DAY_SECONDS), ("-3 s", -3.0)):
        step = Step(by)
        # An exchange takes nothing that is signed with a wrong time, so what waits may be as much as all of it.
        found.append(Fault(name=f"wall clock {name}", seconds=seconds, begin=step.begin, end=step.end, refuses=False))
    for name, by in (("+1 h", 3600.0), ("-1 h", -3600.0)):
        begin = LeaseEnds(by).begin
        found.append(Fault(name=f"Redis's clock {name}", seconds=seconds, begin=begin, end=nothing, refuses=False))
    if shutil.which("unshare") is not None and os.geteuid() == 0:
        uptime = int(time.clock_gettime(time.CLOCK_BOOTTIME))
        for name, by in (("years later", 100_000_000), ("just booted", 60 - uptime)):
            begin = Boottime(by).begin
            found.append(Fault(name=f"boot-time clock {name}", seconds=seconds, begin=begin, refuses=False))
    return found
