"""The data directory: held by one keeper at a time, and marked once as one installation."""

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO


class CannotStart(Exception):
    """The service cannot start here; the message says what to do."""


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Hold the data directory for this process; the kernel lets go of it when the process ends, however it ends."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / "lock").open("a+")
    except OSError as error:
        raise CannotStart(
            f"the data directory {data_dir} cannot be used: {error}; name another with --data-dir"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        message = f"another keeper (pid {holder}) runs on {data_dir}; stop it, or use another --data-dir"
        raise CannotStart(message) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def place_of(lock: IO[str]) -> str:
    """Which kernel and which file hold the lock: a copy of the data directory is another place."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = secrets.token_hex(8)
    status = os.fstat(lock.fileno())
    return f"{boot}/{status.st_dev:x}-{status.st_ino:x}"


def installation_tag(data_dir: Path) -> str:
    """Eight hex digits that mark this installation's orders; made once, kept in the data directory."""
    path = data_dir / "installation"
    if path.exists():
        tag = path.read_text(encoding="ascii").strip()
        if len(tag) != 8 or any(digit not in "0123456789abcdef" for digit in tag):
            raise CannotStart(f"{path} must hold 8 hex digits; restore it, or its orders cannot be recognised")
        return tag
    tag = secrets.token_hex(4)
    draft = path.with_suffix(".new")
    with draft.open("w", encoding="ascii") as file:
        file.write(tag + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return tag
